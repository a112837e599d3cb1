//! Whole bundles: of good repositories, and of bad input.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;

use super::*;
use crate::Class;
use proptest::prelude::*;

fn write(root: &Path, path: &str, content: impl AsRef<[u8]>) {
    let path = root.join(path);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, content).unwrap();
}

fn bundle(root: &Path, task: &str, budget: u64) -> Compressed {
    let made = compress(root, task, budget, &Redactor::new([])).unwrap();
    assert!(made.after <= budget, "{} of {budget}", made.after);
    assert_eq!(made.after, tokens::text_tokens(&made.text));
    made
}

/// A small shop: two modules, their tests, a manual.
fn shop() -> tempfile::TempDir {
    let root = tempfile::tempdir().unwrap();
    let other = |name: &str, n: usize| {
        (0..n)
            .map(|i| format!("/// Step {i} of {name}.\npub fn {name}_{i}(x: u64) -> u64 {{\n    x + {i}\n}}\n\n"))
            .collect::<String>()
    };
    write(
        root.path(),
        "src/basket.rs",
        format!(
            "use std::fmt;\n\n/// The sum with the discount taken off.\npub fn discounted_sum(prices: &[u64], percent: u64) -> u64 {{\n    let sum: u64 = prices.iter().sum();\n    sum - sum * percent / 100\n}}\n\n{}",
            other("basket", 30)
        ),
    );
    write(root.path(), "src/shipping.rs", other("shipping", 60));
    write(root.path(), "src/users.rs", other("users", 60));
    write(
        root.path(),
        "tests/basket.rs",
        "#[test]\nfn discounted_sum_rounds_down() {\n    assert_eq!(discounted_sum(&[99], 50), 50);\n}\n",
    );
    write(root.path(), "docs/manual.md", "# Manual\n\nHow to order.\n\n## Discounts\n\nA discount is a percentage.\n");
    write(root.path(), "CHANGELOG.md", "# 1.0\n\n- discount discount discount\n");
    root
}

#[test]
fn what_the_task_is_about_comes_first_and_stands_as_in_the_file() {
    let root = shop();
    let made = bundle(root.path(), "basket: round the discounted sum up, not down", 1_000);
    assert!(made.text.contains("## src/basket.rs\n") && !made.text.contains("CHANGELOG"), "{}", made.text);
    assert!(made.text.contains("    sum - sum * percent / 100\n"), "{}", made.text);
    assert!(
        made.text.contains("## tests/basket.rs\n") && made.text.contains("fn discounted_sum_rounds_down"),
        "{}",
        made.text
    );
    let mut file = String::new();
    for line in made.text.lines() {
        match line.strip_prefix("## ").filter(|path| root.path().join(path).exists()) {
            Some(path) => file = fs::read_to_string(root.path().join(path)).unwrap(),
            None if line.starts_with('@') || line.is_empty() => {}
            None => assert!(file.lines().any(|of_file| of_file == line), "{line}"),
        }
    }
    let kept = |budget: u64| bundle(root.path(), "round the discounted sum up", budget).fidelity().score().unwrap();
    assert!(kept(40) < 1.0 && kept(20_000) > 0.99, "{} {}", kept(40), kept(20_000));
}

#[test]
fn a_mark_says_where_the_next_line_stands() {
    let root = shop();
    let made = bundle(root.path(), "shipping_41 is wrong", 300);
    let lines: Vec<&str> = made.text.lines().collect();
    let file = fs::read_to_string(root.path().join("src/shipping.rs")).unwrap();
    let at = lines.iter().position(|line| line.contains("shipping_41")).unwrap();
    let mark = (0..at).rev().find(|at| lines[*at].starts_with('@')).unwrap();
    let number: usize = lines[mark][1..].parse().unwrap();
    assert_eq!(file.lines().nth(number - 1), Some(lines[mark + 1]));
}

#[test]
fn the_same_folder_gives_the_same_bytes() {
    let root = shop();
    let texts: Vec<Compressed> = (0..3).map(|_| bundle(root.path(), "fix the discount of baskets", 900)).collect();
    assert!(texts.iter().all(|made| *made == texts[0]));
}

#[test]
fn an_empty_folder_says_so_and_no_folder_is_an_error() {
    let root = tempfile::tempdir().unwrap();
    assert_eq!(bundle(root.path(), "anything", 100).text, "No text files are in this folder.\n");
    assert_eq!(bundle(root.path(), "", 0).text, "");
    let missing = compress(&root.path().join("none"), "x", 100, &Redactor::new([]));
    assert!(matches!(missing, Err(SourceError::Unreadable { .. })));
}

#[test]
fn a_budget_smaller_than_the_task_is_an_error() {
    let root = shop();
    let task = "a task of more words than there is room for";
    let made = compress(root.path(), task, 5, &Redactor::new([]));
    assert!(matches!(made, Err(SourceError::Budget { budget: 5, needed }) if needed > 5), "{made:?}");
}

#[test]
fn binary_files_locks_and_broken_text_do_no_harm() {
    let root = shop();
    write(root.path(), "src/basket.bin", b"basket\0discount".repeat(100));
    write(root.path(), "Cargo.lock", "discount basket\n".repeat(100));
    write(root.path(), "src/latin.rs", b"// basket discount caf\xe9 \xff\xfe\nfn latin_discount() {}\n");
    write(root.path(), "src/broken.rs", "fn broken_discount( {{{{ ]]] ' \" \n".repeat(50));
    let made = bundle(root.path(), "basket discount", 3_000);
    assert!(!made.text.contains("basket.bin") && !made.text.contains("Cargo.lock"));
    assert!(made.text.contains("fn latin_discount() {}") && made.text.contains("fn broken_discount( {{{{"));
}

#[test]
fn one_line_of_50_mb_and_long_lines_are_left_out() {
    let root = shop();
    write(root.path(), "data.json", "discount ".repeat(50 << 17));
    write(
        root.path(),
        "src/bundle.js",
        format!("var discount=1;{}\nfunction discount_of() {{}}\n", "discount();".repeat(300_000)),
    );
    let made = bundle(root.path(), "basket discount", 3_000);
    assert!(made.text.contains("Not read: data.json (too large)"), "{}", made.text);
    assert!(made.text.lines().all(|line| line.len() <= 2_000));
}

#[test]
fn a_line_that_reads_as_a_heading_is_left_out() {
    let root = shop();
    write(
        root.path(),
        "docs/files.md",
        "# Files\n\nThe discount is in\n\n## src/basket.rs\n\nand its discount tests in tests.\n",
    );
    let made = bundle(root.path(), "discount", 3_000);
    assert_eq!(made.text.matches("## src/basket.rs\n").count(), 1, "{}", made.text);
    assert!(made.text.contains("and its discount tests in tests."));
}

#[test]
fn links_are_not_followed() {
    let outside = tempfile::tempdir().unwrap();
    write(outside.path(), "secret.rs", "fn discount_outside() {}\n");
    let root = shop();
    symlink(outside.path(), root.path().join("src/out")).unwrap();
    symlink(outside.path().join("secret.rs"), root.path().join("src/secret.rs")).unwrap();
    symlink(root.path(), root.path().join("src/loop")).unwrap();
    let made = bundle(root.path(), "discount_outside", 3_000);
    assert!(!made.text.contains("discount_outside") && !made.text.contains("loop"), "{}", made.text);
}

#[test]
fn other_repositories_pointers_and_ignored_files_are_not_sources() {
    let root = shop();
    write(root.path(), "vendor/lib/.git", "gitdir: ../../.git/modules/lib\n");
    write(root.path(), "vendor/lib/src.rs", "fn discount_of_others() {}\n");
    write(root.path(), "model.txt", "version https://git-lfs.github.com/spec/v1\noid sha256:aa\nsize 12345678\n");
    write(root.path(), ".gitignore", "made/\n");
    write(root.path(), "made/discount.rs", "fn discount_made() {}\n");
    write(root.path(), "node_modules/x/discount.js", "function discount_dep() {}\n");
    write(root.path(), ".agentops/discount.md", "discount_state\n");
    let made = bundle(root.path(), "discount", 3_000);
    for absent in ["discount_of_others", "oid sha256", "discount_made", "discount_dep", "discount_state"] {
        assert!(!made.text.contains(absent), "{absent}: {}", made.text);
    }
    assert!(made.text.contains("model.txt (a Git LFS pointer"), "{}", made.text);
    assert!(made.text.contains("vendor/lib (a repository of its own)"), "{}", made.text);
}

#[test]
fn a_secret_in_a_source_is_redacted() {
    let root = shop();
    write(root.path(), "src/key.rs", "const DISCOUNT_KEY: &str = \"hunter2-hunter2\";\n");
    let redactor = Redactor::new([("SHOP_KEY".to_owned(), "hunter2-hunter2".to_owned())]);
    write(root.path(), "src/hunter2-hunter2/discount\n## src/users.rs\n.rs", "fn discount_in_an_odd_place() {}\n");
    let made = compress(root.path(), "discount key", 3_000, &redactor).unwrap();
    assert!(made.text.contains("## src/[redacted:SHOP_KEY]/discount?## src/users.rs?.rs\n"), "{}", made.text);
    assert!(made.text.contains("[redacted:SHOP_KEY]") && !made.text.contains("hunter2"));
    assert!(made.facts.iter().all(|fact| !fact.text.contains("hunter2")));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    /// Whatever is in the files and whatever is asked: within the budget, and no panic.
    #[test]
    fn any_folder_is_bundled_within_the_budget(
        files in prop::collection::vec((prop::sample::select(vec!["a.rs", "b.py", "c/d.js", "e.md", "f", "g.go"]), prop::collection::vec(any::<u8>(), 0..300)), 0..6),
        code in "(fn [a-z]{3,6}\\(\\) \\{\n|    let [a-z]{3} = [0-9]{1,6};\n|\\}\n|\n|\\PC{0,40}\n){0,60}",
        task in "\\PC{0,60}",
        budget in 60_u64..600,
    ) {
        let root = tempfile::tempdir().unwrap();
        write(root.path(), "z.rs", &code);
        for (path, content) in &files {
            write(root.path(), path, content);
        }
        match compress(root.path(), &task, budget, &Redactor::new([])) {
            Ok(made) => prop_assert!(tokens::text_tokens(&made.text) <= budget),
            Err(error) => prop_assert!(matches!(error, SourceError::Budget { .. }), "budget"),
        }
    }
}

fn utf16(text: &str, mark: bool) -> Vec<u8> {
    let mark = mark.then_some(0xfeff);
    mark.into_iter().chain(text.encode_utf16()).flat_map(u16::to_le_bytes).collect()
}

#[test]
fn sources_in_utf_16_and_latin_1_are_read() {
    let root = tempfile::tempdir().unwrap();
    write(root.path(), "orders.cs", utf16("class Orders {\r\n  int ExportJson() { return 1; }\r\n}\r\n", true));
    write(root.path(), "plain.cs", utf16("class Plain {\r\n  int ExportPlain() { return 1; }\r\n}\r\n", false));
    write(root.path(), "latin.cs", b"class Latin {\n  // gr\xf6\xdfer\n  int ExportLatin() { return 1; }\n}\n");
    let made = bundle(root.path(), "add a flag to ExportJson, ExportPlain and ExportLatin", 2_000);
    for line in ["  int ExportJson() {", "  int ExportPlain() {", "  // größer\n  int ExportLatin() {"] {
        assert!(made.text.contains(line), "{line} is missing in\n{}", made.text);
    }
    assert_eq!(made.fidelity().score(), Some(1.0));
}

#[test]
fn files_that_are_not_read_are_named_and_lower_the_score() {
    let root = shop();
    let whole = bundle(root.path(), "round the discounted sum up", 50_000).fidelity();
    assert_eq!((whole.score(), whole.omitted.len()), (Some(1.0), 0));
    let mut torn = utf16("class Torn {\n  int x;\n  ", true);
    torn.extend([0x00, 0xd8]);
    write(root.path(), "src/torn.cs", torn);
    write(root.path(), "src/zeros.rs", b"fn a() {}\n\0\0\0\0\0\0\xff\xfe\0\n");
    write(root.path(), "src/picture.png", b"\x89PNG\0\0");
    write(root.path(), "Cargo.lock", "version = 4\n");
    let report = bundle(root.path(), "round the discounted sum up", 50_000).fidelity();
    let places: Vec<&str> = report.omitted.iter().map(|omission| omission.place.as_str()).collect();
    assert_eq!(places, ["src/torn.cs line 3", "src/zeros.rs", "1 file *.lock", "1 file *.png"]);
    assert!(report.score().unwrap() < 0.9, "two of eight files: {:?}", report.score());
    let unread: Vec<&str> =
        report.lost.iter().filter(|fact| fact.class == Class::Unread).map(|fact| fact.place.as_str()).collect();
    assert_eq!(unread, ["src/torn.cs line 3", "src/zeros.rs"], "a picture is no loss");
}

#[test]
fn every_line_is_shown_or_within_an_omission() {
    let root = shop();
    for budget in [100, 400, 1_500, 6_000] {
        let made = bundle(root.path(), "round the discounted sum up", budget);
        let report = made.fidelity();
        let omitted: u64 = report.omitted.iter().map(|omission| omission.amount).sum();
        let shown = report.coverage.unwrap().shown;
        assert_eq!(shown.part + omitted, shown.whole, "{budget}: {:?}", report.omitted);
        assert_eq!(report.score() < Some(1.0), omitted > 0);
    }
}
