//! Diffs: each change counts once, under the right path.

use super::{Made, latin1, made, utf16};

#[track_caller]
fn patch(content: impl AsRef<[u8]>, budget: u64) -> Made {
    made("patch", content, budget)
}

/// A diff before the change of a lock file that is much larger than the budget, so that the diff is not printed as it stands.
#[track_caller]
fn shortened(content: impl AsRef<[u8]>) -> Made {
    let lines: String = (0..600).map(|at| format!("+checksum-{at} = \"{:016x}\"\n", at * 7919)).collect();
    let lock =
        format!("diff --git a/Cargo.lock b/Cargo.lock\n--- a/Cargo.lock\n+++ b/Cargo.lock\n@@ -0,0 +1,600 @@\n{lines}");
    patch([content.as_ref(), lock.as_bytes()].concat(), 400)
}

#[test]
fn a_merge_is_shown_with_a_sign_for_each_parent() {
    let merge = "commit 31ec0ce\nMerge: ed5adb3 6d2ea0e\n\n    merge\n\ndiff --cc f\nindex 3b6f40a,f4ea702..7676908\n--- a/f\n+++ b/f\n@@@ -1,3 -1,3 +1,3 @@@\n  a\n- B2\n -B1\n++B12\n  c\n";
    shortened(merge).holds(&["++B12", "- B2", " -B1"]).lacks(&["+0 −0"]);
}

#[test]
fn a_deleted_line_of_two_dashes_begins_no_file() {
    let diff = "diff --git a/t.lua b/t.lua\nindex fe41812..71c5a8f 100644\n--- a/t.lua\n+++ b/t.lua\n@@ -1 +1 @@\n--- old comment\n+-- new comment\n@@ -6 +6 @@ local d = 4\n-x = 1\n+x = 2\n";
    shortened(diff).holds(&["--- old comment", "+-- new comment", "+x = 2", "+2 −2"]);
    let bare = "--- t.sql\n+++ t.sql\n@@ -1,2 +1,2 @@\n--- drop it\n+-- keep it\n select 1;\n";
    shortened(bare).holds(&["--- drop it", "+-- keep it", "+1 −1"]);
}

#[test]
fn a_message_that_begins_with_diff_begins_no_patch() {
    let mail = "From 1111111111111111111111111111111111111111 Mon Sep 17 00:00:00 2001\nSubject: [PATCH] Compare trees\n\ndiff is slow where trees are equal, since\n--- is printed for each of them.\n---\n tree.c | 2 +-\n\ndiff --git a/tree.c b/tree.c\nindex 1..2 100644\n--- a/tree.c\n+++ b/tree.c\n@@ -1 +1 @@\n-slow();\n+fast();\n-- \n2.43.0\n";
    shortened(mail).holds(&["diff is slow where trees are equal", "tree.c", "-slow();", "+fast();", "+1 −1"]);
}

#[test]
fn a_quoted_path_is_decoded_and_is_no_rename() {
    let diff = "diff --git \"a/docs/Bug \\346\\216\\222\\346\\237\\245.md\" \"b/docs/Bug \\346\\216\\222\\346\\237\\245.md\"\nindex 1..2 100644\n--- \"a/docs/Bug \\346\\216\\222\\346\\237\\245.md\"\n+++ \"b/docs/Bug \\346\\216\\222\\346\\237\\245.md\"\n@@ -1 +1 @@\n-old\n+new\n";
    shortened(diff).holds(&["docs/Bug 排查.md", "+new"]).lacks(&["renamed", "\\346"]);
}

#[test]
fn new_files_without_headers_of_git_are_all_there() {
    let diff = "--- /dev/null\n+++ b/1.txt\n@@ -0,0 +1 @@\n+alpha\n--- /dev/null\n+++ b/2.txt\n@@ -0,0 +1 @@\n+beta\n";
    shortened(diff).holds(&["1.txt", "+alpha", "2.txt", "+beta"]);
}

#[test]
fn renames_modes_submodules_and_binaries_are_named() {
    let diff = "diff --git a/README.md b/GUIDE.md\nsimilarity index 100%\nrename from README.md\nrename to GUIDE.md\ndiff --git a/run.sh b/run.sh\nold mode 100644\nnew mode 100755\ndiff --git a/logo.png b/logo.png\nindex 1..2 100644\nBinary files a/logo.png and b/logo.png differ\ndiff --git a/lib b/lib\nindex 1111111..2222222 160000\n--- a/lib\n+++ b/lib\n@@ -1 +1 @@\n-Subproject commit 1111111111111111111111111111111111111111\n+Subproject commit 2222222222222222222222222222222222222222\n";
    shortened(diff).holds(&["README.md", "GUIDE.md", "run.sh", "755", "logo.png", "lib", "2222222"]);
}

#[test]
fn a_missing_line_end_is_told_and_hides_no_line() {
    let diff = "diff --git a/file.h b/file.h\nindex aec721e..a3db830 100644\n--- a/file.h\n+++ b/file.h\n@@ -3,3 +3,4 @@\n context\n \n-#endif\n\\ No newline at end of file\n+#define LAST 1\n+#endif\n";
    shortened(diff).holds(&["-#endif", "+#define LAST 1", "+#endif", "+2 −1"]);
}

#[test]
fn each_commit_of_a_mailbox_is_there() {
    let commit = |number: u32, name: &str| {
        format!(
            "From {number:040} Mon Sep 17 00:00:00 2001\nFrom: A <a@localhost>\nSubject: [PATCH {number}/2] Change {name}\n\n---\n {name}.c | 1 +\n\ndiff --git a/{name}.c b/{name}.c\nindex 1..2 100644\n--- a/{name}.c\n+++ b/{name}.c\n@@ -1 +1,2 @@\n one\n+{name}();\n-- \n2.43.0\n\n"
        )
    };
    let mailbox = format!("{}{}", commit(1, "first"), commit(2, "second"));
    patch(&mailbox, 800).holds(&["Change first", "+first();", "Change second", "+second();"]).lacks(&["--- 2.43.0"]);
}

const CHANGE: &str = "diff --git a/maß.txt b/maß.txt\n--- a/maß.txt\n+++ b/maß.txt\n@@ -1,2 +1,2 @@\n Größe\n-drei\n+fünf\n";

#[test]
fn a_patch_in_latin_1_or_utf_16_is_read() {
    for bytes in [latin1(CHANGE), utf16(CHANGE)] {
        let made = patch(&bytes, 500);
        made.holds(&["maß.txt", "-drei", "+fünf"]).lacks(&["\u{feff}", "\u{fffd}"]);
        assert_eq!(made.view["kept"], 1.0, "{:#}", made.view);
    }
}

#[test]
fn a_patch_with_carriage_returns_counts_the_same() {
    shortened(CHANGE.replace('\n', "\r\n")).holds(&["-drei", "+fünf", "+1 −1"]).lacks(&["\r"]);
}

#[test]
fn an_endless_line_in_a_change_hides_no_other_change() {
    let long = "x".repeat(300_000);
    let diff = format!(
        "diff --git a/app.min.js b/app.min.js\n--- a/app.min.js\n+++ b/app.min.js\n@@ -1 +1 @@\n-{long}\n+{long}y\ndiff --git a/src/cart.js b/src/cart.js\n--- a/src/cart.js\n+++ b/src/cart.js\n@@ -1 +1 @@\n-total(1)\n+total(2)\n"
    );
    patch(&diff, 300).holds(&["src/cart.js", "+total(2)", "app.min.js"]).names_a_loss();
}
