//! Diffs of every form, self-made, and what holds for any of them.

use super::*;
use crate::promises;
use proptest::prelude::*;

const DIFF: &str = "commit 1\n\n    Count from one\n\ndiff --git a/src/a.rs b/src/a.rs\nindex 1..2 100644\n--- a/src/a.rs\n+++ b/src/a.rs\n@@ -1,4 +1,5 @@ fn counted()\n let before = 1;\n-let removed_line = 2;\n--- a comment in SQL\n+let added_line = 3;\n+let more_added = 4;\n let behind = 5;\ndiff --git a/Cargo.lock b/Cargo.lock\nindex 1..2 100644\n--- a/Cargo.lock\n+++ b/Cargo.lock\n@@ -1 +1,2 @@\n-version = 3\n+version = 4\n+name = \"locked_package\"\n";

#[test]
fn changed_lines_come_first_and_lock_files_are_counted() {
    let long = format!("{DIFF}{}", lock_lines(60));
    let made = compress(long.as_bytes(), 300).expect("a diff");
    assert!(
        made.text.contains("## src/a.rs (+2 −2)\n@@ -1,4 +1,5 @@ fn counted()\n let before = 1;\n-let removed_line"),
        "{}",
        made.text
    );
    assert!(
        made.text.contains("## Cargo.lock (+62 −1, generated, lines left out)") && !made.text.contains("locked_package")
    );
    let small = compress(long.as_bytes(), 95).expect("a diff");
    assert!(small.text.contains("let added_line = 3;") && !small.text.contains("let behind"), "{}", small.text);
    assert!(small.after <= 95);
}

fn lock_lines(count: usize) -> String {
    (0..count).map(|at| format!("+name = \"locked_package_{at}\"\n")).collect()
}

#[test]
fn a_diff_that_fits_stays_as_it_is() {
    let tokens = text_tokens(DIFF);
    let made = compress(DIFF.as_bytes(), tokens).expect("a diff");
    assert_eq!((made.text.as_str(), made.after, made.fidelity().score()), (DIFF, tokens, Some(1.0)));
}

#[test]
fn what_is_no_diff_is_refused() {
    assert!(matches!(compress(b"hello\nworld", 100), Err(SourceError::Form { .. })));
}

/// Compresses a diff behind so many lines of another file that the whole does not fit.
fn shortened(diff: &str) -> Compressed {
    let filler = "context line that nobody needs to read\n ".repeat(200);
    let source = format!("{diff}diff --git a/zz b/zz\n--- a/zz\n+++ b/zz\n@@ -1,201 +1,201 @@\n {filler}\n");
    let made = compress(source.as_bytes(), 600).expect("a diff");
    assert!(made.after <= 600 && made.after < made.before, "{}", made.text);
    made
}

#[test]
fn a_merge_shows_what_differs_from_each_parent() {
    let merge = "commit 31ec0ce\nMerge: ed5adb3 6d2ea0e\n\n    merge\n\ndiff --cc src/f.rs\nindex 3b6f40a,f4ea702..7676908\n--- a/src/f.rs\n+++ b/src/f.rs\n@@@ -1,3 -1,3 +1,3 @@@ fn merged()\n  before()\n- from_the_first_parent()\n -from_the_second_parent()\n++written_in_the_merge()\n  behind()\n";
    for source in [merge.to_owned(), merge.replace("--cc", "--combined")] {
        let made = shortened(&source);
        let hunk = "## src/f.rs (+1 −2)\n@@@ -1,3 -1,3 +1,3 @@@ fn merged()\n  before()\n- from_the_first_parent()\n -from_the_second_parent()\n++written_in_the_merge()\n  behind()\n";
        assert!(made.text.contains(hunk) && made.text.starts_with("Diff of 2 files, +1 −2"), "{}", made.text);
        assert_eq!(made.fidelity().lost, []);
        let classes: Vec<_> = made.facts.iter().map(|fact| (fact.class, fact.text.as_str())).collect();
        assert!(classes.contains(&(Class::Change, "written_in_the_merge()")), "{classes:?}");
        assert!(classes.contains(&(Class::Definition, "fn merged()")), "{classes:?}");
    }
}

#[test]
fn a_merge_of_three_has_three_signs() {
    let made = shortened(
        "diff --cc f\n@@@@ -1,2 -1,1 -1,1 +1,2 @@@@\n---removed from all\n+  in the first only\n+++in no parent at all\n",
    );
    assert!(made.text.contains("## f (+2 −1)\n") && made.text.contains("+++in no parent at all"), "{}", made.text);
}

#[test]
fn headers_of_files_are_told_in_the_heading() {
    for (source, heading) in [
        ("--- old/a.c\t2026-01-01\n+++ new/a.c\t2026-01-02\n@@ -1 +1 @@\n-x\n+y\n", "## new/a.c (+1 −1)\n"),
        ("diff -u old/a.c new/a.c\n--- old/a.c\n+++ new/a.c\n@@ -1 +1 @@\n-x\n+y\n", "## new/a.c (+1 −1)\n"),
        (
            "Index: src/a.c\n=====\n--- src/a.c\t(revision 1)\n+++ src/a.c\t(working copy)\n@@ -1 +1 @@\n-x\n+y\n",
            "## src/a.c (+1 −1)\n",
        ),
        (
            "diff --git a/x.rs b/x.rs\r\n--- a/x.rs\r\n+++ b/x.rs\r\n@@ -1 +1 @@\r\n-a\r\n+b\r\n",
            "## x.rs (+1 −1)\n@@ -1 +1 @@\n-a\n+b\n",
        ),
        (
            "diff --git \"a/\\303\\244.rs\" \"b/\\303\\244.rs\"\n--- \"a/\\303\\244.rs\"\n+++ \"b/\\303\\244.rs\"\n@@ -1 +1 @@\n-a\n+b\n",
            "## ä.rs (+1 −1)\n",
        ),
        (
            "diff --git a/old name b/new name\nsimilarity index 100%\nrename from old name\nrename to new name\n",
            "## new name (+0 −0, similarity index 100%, renamed from old name)\n",
        ),
        ("diff --git a/run.sh b/run.sh\nold mode 100644\nnew mode 100755\n", "## run.sh (+0 −0, mode 100644 → 100755)\n"),
        (
            "diff --git a/new b/new\nnew file mode 100755\nindex 0..1\n--- /dev/null\n+++ b/new\n@@ -0,0 +1 @@\n+x\n",
            "## new (+1 −0, new, mode 100755)\n",
        ),
        (
            "diff --git a/old b/old\ndeleted file mode 100644\nindex 1..0\n--- a/old\n+++ /dev/null\n@@ -1 +0,0 @@\n-x\n",
            "## old (+0 −1, deleted)\n",
        ),
        (
            "diff --git a/p.png b/p.png\nindex 1..2 100644\nBinary files a/p.png and b/p.png differ\n",
            "## p.png (+0 −0, Binary files a/p.png and b/p.png differ)\n",
        ),
        (
            "diff --git a/p.png b/p.png\nindex 1..2 100644\nGIT binary patch\nliteral 5\nMcmZQ%U|?We\n\nliteral 0\nHcmV?d00001\n\n",
            "## p.png (+0 −0, binary data)\n",
        ),
        (
            "diff --git a/lib b/lib\nindex 1..2 160000\n--- a/lib\n+++ b/lib\n@@ -1 +1 @@\n-Subproject commit 1\n+Subproject commit 2\n",
            "## lib (+1 −1)\n@@ -1 +1 @@\n-Subproject commit 1\n+Subproject commit 2\n",
        ),
        (
            "Submodule lib 1a2b3c4..5d6e7f8:\n  > Read the second file\n",
            "## lib (+0 −0, submodule 1a2b3c4..5d6e7f8, > Read the second file)\n",
        ),
        ("@@ -1 +1 @@\n-a\n+b\n", "## (no file named) (+1 −1)\n"),
    ] {
        let made = shortened(source);
        assert!(made.text.contains(heading), "{source}\nhas no\n{heading}in\n{}", made.text);
        assert_eq!(made.fidelity().lost, [], "{source}");
    }
}

#[test]
fn the_context_and_normal_formats_are_read() {
    let context = "*** old/a.c\t2026-01-01\n--- new/a.c\t2026-01-02\n*************** int counted(void)\n*** 1,4 ****\n  int before;\n! int from_zero = 0;\n- int removed;\n  int behind;\n--- 1,4 ----\n  int before;\n! int from_one = 1;\n+ int more_added;\n  int behind;\n";
    let made = shortened(context);
    assert!(made.text.contains("## new/a.c (+2 −2)\n*************** int counted(void)\n"), "{}", made.text);
    assert!(made.text.contains("! int from_zero = 0;") && made.text.contains("! int from_one = 1;"), "{}", made.text);
    let normal = "diff -r old/a.c new/a.c\n2c2\n< int from_zero = 0;\n---\n> int from_one = 1;\n5a6,7\n> int more_added;\n> int and_more;\nOnly in new: b.c\n";
    let made = shortened(normal);
    let hunks =
        "## new/a.c (+3 −1)\n2c2\n< int from_zero = 0;\n…\n> int from_one = 1;\n5a6,7\n> int more_added;\n> int and_more;\n";
    assert!(made.text.replace("---\n", "…\n").contains(hunks) && made.text.contains("Only in new: b.c\n"), "{}", made.text);
    assert_eq!(made.fidelity().lost, []);
}

#[test]
fn commits_in_a_row_keep_their_messages_where_they_stand() {
    let commit = |at: usize| {
        format!(
            "commit {at}{at}\nAuthor: A <a@example.invalid>\n\n    Subject number {at}\n\n    - an item\n\ndiff --git a/f{at} b/f{at}\nindex 1..2 100644\n--- a/f{at}\n+++ b/f{at}\n@@ -1 +1 @@\n-old text {at}\n+new text {at}\n\n"
        )
    };
    let made = shortened(&format!("{}{}", commit(1), commit(2)));
    let first = "    Subject number 1\n    - an item\n## f1 (+1 −1)\n@@ -1 +1 @@\n-old text 1\n+new text 1\ncommit 22\n";
    assert!(made.text.contains(first) && made.text.contains("## f2 (+1 −1)"), "{}", made.text);
}

#[test]
fn a_mailed_patch_ends_with_its_signature() {
    let made = shortened(
        "From 1 Mon Sep 17 00:00:00 2001\nSubject: [PATCH] Read it\n\n- a remark\n---\n f | 2 +-\n 1 file changed\n\ndiff --git a/f b/f\n--- a/f\n+++ b/f\n@@ -1 +1 @@\n--- a dashed line\n+-- another one\n-- \n2.40.0\n\n",
    );
    assert!(made.text.contains("## f (+1 −1)\n@@ -1 +1 @@\n--- a dashed line\n+-- another one\n"), "{}", made.text);
    assert!(made.text.contains("Subject: [PATCH] Read it\n"), "{}", made.text);
}

#[test]
fn changed_lines_beyond_wrong_counts_belong_to_their_hunk() {
    let made = shortened(
        "--- a/f\n+++ b/f\n@@ -1 +1 @@\n-one\n+two lines\n+more than counted\n\n@@ -9 +9 @@\n-nine\n+the next hunk\n",
    );
    assert!(made.text.contains("## f (+3 −2)\n@@ -1 +1 @@\n-one\n+two lines\n+more than counted\n"), "{}", made.text);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]
    #[test]
    fn never_over_budget(body in "(diff --git a/x b/x\n|diff --cc x\n|--- a/x\n|[+]{3} b/x\n|@@ -1,2 [+]1,2 @@ f\n|@@@ -1,2 -1 [+]1,2 @@@ f\n|GIT binary patch\n|[*]{3} x\n|[*]{15}\n|[*]{3} 1 [*]{4}\n|1c1\n|[<>!] a\n|[ +-]{1,2}[a-z]{0,9}\n|\\PC\n){0,30}", budget in 0u64..200) {
        if let Ok(made) = compress(body.as_bytes(), budget) {
            prop_assert!(made.after <= budget && made.after == text_tokens(&made.text));
        }
    }

    #[test]
    fn a_line_planted_in_a_diff_is_shown_or_named(planted in 0_usize..40, budget in 20_u64..900) {
        const PLANTED: &str = "quokka 7731 vanished";
        let hunk = |at: usize| {
            let lines = [format!(" let a = {at};"), format!("-let b = {at};"), format!("+let c = {at};"), format!(" let d = {at};")];
            format!("@@ -{at}0,3 +{at}0,3 @@ fn f{at}()\n{}\n", lines.join("\n"))
        };
        let file = |at: usize, name: &str| {
            format!("diff --git a/{name} b/{name}\nindex 1..2 100644\n--- a/{name}\n+++ b/{name}\n{}{}", hunk(at), hunk(at + 1))
        };
        let commit = "commit 12\nAuthor: A <a@example.invalid>\n\n    Count from one\n\n";
        let source = format!("{commit}{}{}{}", file(1, "a.rs"), file(3, "yarn.lock"), file(5, "b.rs"));
        let mut lines: Vec<String> = source.lines().map(str::to_owned).collect();
        let at = planted.min(lines.len() - 1);
        // A header may hold the planted words in any form; every other line keeps its sign.
        let sign = &lines[at].get(..1).filter(|sign| [" ", "+", "-"].contains(sign)).unwrap_or_default().to_owned();
        prop_assume!(!["diff", "inde", "--- ", "+++ ", "@@ -"].iter().any(|start| lines[at].starts_with(start)));
        lines[at] = format!("{sign}{PLANTED}");
        let made = compress(lines.join("\n").as_bytes(), budget).expect("a diff");
        promises::accounts_for(&made, at as u64 + 1, PLANTED);
    }

    #[test]
    fn a_larger_budget_never_keeps_less(files in prop::collection::vec(prop::collection::vec("[ +-][a-z]{2,9} [a-z]{2,40}", 1..8), 1..5)) {
        let mut source = String::new();
        for (at, lines) in files.iter().enumerate() {
            let count = |sign: char| lines.iter().filter(|line| !line.starts_with(sign)).count();
            let header = format!("--- a/f{at}.rs\n+++ b/f{at}.rs\n@@ -1,{} +1,{} @@ fn f{at}()\n", count('+'), count('-'));
            source.push_str(&format!("{header}{}\n", lines.join("\n")));
        }
        promises::score_never_falls(compress, source.as_bytes(), 0..text_tokens(&source) + 2);
    }
}

#[test]
fn lines_of_generated_files_binary_data_and_ends_of_long_lines_are_named() {
    let long = format!("+the end of this line {}\n", "is far away ".repeat(200));
    let diff = format!(
        "{DIFF}diff --git a/p.png b/p.png\nGIT binary patch\nliteral 5\nMcmZQ%U|?We\n\ndiff --git a/l b/l\n--- a/l\n+++ b/l\n@@ -0,0 +1 @@\n{long}"
    );
    let made = compress(diff.as_bytes(), 400).expect("a diff");
    let places = |reason: OmissionReason| {
        made.omitted
            .iter()
            .filter(|omission| omission.reason == reason)
            .map(|omission| omission.place.as_str())
            .collect::<Vec<_>>()
    };
    assert_eq!(places(OmissionReason::Generated), ["lines 20–23"], "{}", made.text);
    // The hashes of versions, the binary data, and the line that is cut.
    assert_eq!(places(OmissionReason::Budget), ["line 6", "line 17", "lines 26–27", "line 33"], "{}", made.text);
    assert!(made.text.contains("+the end of this line is far") && made.text.ends_with(" …\n"), "{}", made.text);
    let score = made.fidelity().score().expect("a score");
    assert!((0.98..1.0).contains(&score), "{score}");
}
