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
    assert!(made.text.contains("## src/basket.rs ") && !made.text.contains("CHANGELOG"), "{}", made.text);
    assert!(made.text.contains("    sum - sum * percent / 100\n"), "{}", made.text);
    assert!(
        made.text.contains("## tests/basket.rs ") && made.text.contains("fn discounted_sum_rounds_down"),
        "{}",
        made.text
    );
    let mut file = String::new();
    for line in made.text.lines() {
        match line.strip_prefix("## ").and_then(|line| line.split(' ').next()) {
            Some(path) => file = fs::read_to_string(root.path().join(path)).unwrap(),
            None if line.starts_with(['@', '`', '…']) || line.is_empty() => {}
            None if file.is_empty() => assert!(line.contains("files, "), "{line}"),
            None if line.starts_with("Left out") => break,
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
    let mark = (0..at).rev().find(|at| lines[*at].starts_with('@') || lines[*at].starts_with("## ")).unwrap();
    let number = match lines[mark].strip_prefix('@') {
        Some(mark) => mark.trim_end_matches(" …"),
        None => lines[mark].rsplit([' ', '-']).nth(1).unwrap(),
    };
    let mark = mark + usize::from(lines[mark].starts_with("## "));
    let number: usize = number.parse().unwrap();
    assert_eq!(file.lines().nth(number - 1), Some(lines[mark + 1]));
}

/// A web framework in Go: the question is how it finds the client's address behind proxies. Most words of the task stand in
/// tests, in generated code and in a copy of somebody else's framework.
fn web_framework() -> tempfile::TempDir {
    let root = tempfile::tempdir().unwrap();
    let put = |path: &str, text: String| write(root.path(), path, text);
    let padding = |prefix: &str, n: usize| -> String {
        let one = |i: usize| {
            format!(
                "// {prefix}{i} writes part {i} of a response.\nfunc (c *Context) {prefix}{i}(code int) {{\n\tc.status = code + {i}\n}}\n\n"
            )
        };
        (0..n).map(one).collect()
    };
    let remote = "// RemoteAddress returns the address of the client, taken from a header if a trusted proxy sent it.\nfunc (c *Context) RemoteAddress() string {\n\tfor _, header := range c.engine.AddressHeaders {\n\t\tif value := c.request.Header.Get(header); value != \"\" && c.engine.isTrusted(c.peer) {\n\t\t\treturn lastUntrusted(value)\n\t\t}\n\t}\n\treturn c.peer\n}\n\n";
    put("context.go", format!("package web\n\nimport \"net\"\n\n{}{remote}{}", padding("Write", 40), padding("Render", 40)));
    let engine = "type Engine struct {\n\t// TrustedProxies are networks whose headers are believed.\n\tTrustedProxies []string\n\tAddressHeaders []string\n}\n\nfunc (e *Engine) isTrusted(peer string) bool {\n\tfor _, proxy := range e.TrustedProxies {\n\t\tif contains(proxy, peer) {\n\t\t\treturn true\n\t\t}\n\t}\n\treturn false\n}\n";
    put("engine.go", format!("package web\n\n{engine}"));
    let test = |i: usize| {
        format!(
            "func TestContextClientAddress{i}(t *testing.T) {{\n\tc := newContext(\"client {i} behind proxy {i}\")\n\tc.request.Header.Set(\"X-Forwarded-For\", \"10.0.0.{i}\")\n\tassertEqual(t, \"client ip {i}\", c.RemoteAddress())\n}}\n\n"
        )
    };
    put("context_test.go", format!("package web\n\n{}", (0..120).map(test).collect::<String>()));
    let message = |i: usize| {
        format!(
            "// ClientProxy{i} is the client ip behind proxy {i}.\ntype ClientProxy{i} struct {{\n\tClientIp string\n\tProxyIp string\n\tForwardedFor string\n}}\n\n"
        )
    };
    let messages: String = (0..80).map(message).collect();
    put("api/proxy.pb.go", format!("// Code generated by protoc-gen-go. DO NOT EDIT.\npackage api\n\n{messages}"));
    put("vendor/example.org/other/proxy.go", format!("package other\n\n{messages}"));
    put("assets/client.js", format!("var clientIp=1;{}\n", "proxy(clientIp);behind(proxy);".repeat(2_000)));
    put("testdata/__snapshots__/proxy.snap", "client ip behind proxies X-Forwarded-For\n".repeat(200));
    root
}

#[test]
fn what_has_to_be_changed_comes_before_tests_and_generated_code() {
    let root = web_framework();
    let task = "RemoteAddress returns the proxy's IP instead of the client's IP behind several proxies\n\n\
        With X-Forwarded-For the client ip is wrong: an untrusted header is believed.";
    let made = bundle(root.path(), task, 2_000);
    let mut lines: std::collections::BTreeMap<&str, usize> = std::collections::BTreeMap::new();
    let mut path = "";
    for line in made.text.lines() {
        path = line.strip_prefix("## ").and_then(|rest| rest.split(' ').next()).unwrap_or(path);
        *lines.entry(path).or_default() += 1;
    }
    let of = |path: &str| lines.get(path).copied().unwrap_or_default();
    assert!(made.text.contains("\t\t\treturn lastUntrusted(value)\n"), "{}", made.text);
    assert!(made.text.contains("func (e *Engine) isTrusted(peer string) bool {\n\tfor _, proxy"), "{}", made.text);
    assert!(of("context_test.go") < of("context.go") + of("engine.go"), "{lines:?}");
    for seldom in
        ["api/proxy.pb.go", "vendor/example.org/other/proxy.go", "assets/client.js", "testdata/__snapshots__/proxy.snap"]
    {
        assert_eq!(of(seldom), 0, "{lines:?}");
    }
    let position = |path: &str| made.text.find(&format!("## {path} ")).unwrap_or(usize::MAX);
    assert!(position("context.go") < position("context_test.go"), "{}", made.text);

    let about_tests = bundle(root.path(), "the tests of the client's IP behind proxies (context_test.go) are slow", 2_000);
    assert!(about_tests.text.contains("## context_test.go "), "{}", about_tests.text);
    let about_generated = bundle(root.path(), "api: regenerate the protobuf messages ClientProxy1 and ClientProxy2", 2_000);
    assert!(about_generated.text.contains("## api/proxy.pb.go "), "{}", about_generated.text);
}

#[test]
fn a_bundle_says_what_it_is_and_what_is_left_out() {
    let root = web_framework();
    let made = bundle(root.path(), "RemoteAddress returns the wrong client ip behind proxies", 1_500);
    let first = made.text.lines().next().unwrap();
    assert!(first.contains(&format!(" files, {} of {} tokens. ", made.after, made.before)), "{first}");
    assert!(first.ends_with(render::LEGEND), "{first}");
    assert!(made.text.contains("\nLeft out, the likeliest first:\n- "), "{}", made.text);
    for (at, line) in made.text.lines().enumerate().filter(|(_, line)| line.starts_with("## ")) {
        let fence = made.text.lines().nth(at + 1).unwrap();
        assert!(fence.starts_with("```"), "{line} {fence}");
        let (path, range) = line[3..].rsplit_once(' ').unwrap();
        let (from, to) = range.split_once('-').unwrap();
        let (from, to): (usize, usize) = (from.parse().unwrap(), to.parse().unwrap());
        let file = fs::read_to_string(root.path().join(path)).unwrap();
        assert_eq!(file.lines().nth(from - 1), made.text.lines().nth(at + 2), "{line}");
        assert!(from <= to && to <= file.lines().count(), "{line}");
    }
    assert_eq!(made.text.lines().filter(|line| line.starts_with("```")).count() % 2, 0);
}

#[test]
fn a_function_that_is_cut_has_a_mark() {
    let root = tempfile::tempdir().unwrap();
    let body = |name: &str| {
        (0..90)
            .map(|i| format!("    let {name}_{i} = step({i});\n{}", if i % 9 == 8 { "\n" } else { "" }))
            .collect::<String>()
    };
    write(root.path(), "src/long.rs", format!("fn long() {{\n{}    let discount = 1;\n{}}}\n", body("a"), body("b")));
    write(root.path(), "src/short.rs", "fn short() {\n    let nothing = 1;\n}\n");
    let made = bundle(root.path(), "the discount is wrong", 300);
    let section = made.text.split("## src/long.rs").nth(1).unwrap();
    let cuts = section.lines().filter(|line| line.starts_with('@') && line.ends_with(" …") || *line == "…").count();
    assert!(section.contains("let discount = 1;") && cuts >= 2, "{}", made.text);
    let whole = bundle(root.path(), "short and nothing", 120);
    assert!(whole.text.contains("fn short() {\n    let nothing = 1;\n}\n```"), "{}", whole.text);
}

#[test]
fn a_fence_is_longer_than_those_in_the_text() {
    let root = shop();
    write(root.path(), "docs/manual.md", "# Manual\n\n````text\ndiscount of zebras\n````\n");
    let made = bundle(root.path(), "discount of zebras", 400);
    assert!(made.text.contains("\n`````\n# Manual"), "{}", made.text);
}

#[test]
fn a_source_that_fits_never_becomes_larger() {
    let root = tempfile::tempdir().unwrap();
    write(root.path(), "one.py", "def one():\n    return 1\n".repeat(20));
    for budget in [200, 300, 1_000, 8_000] {
        let made = bundle(root.path(), "one", budget);
        assert!(made.after <= made.before, "{} of {}", made.after, made.before);
        assert!(budget < made.before || made.text == fs::read_to_string(root.path().join("one.py")).unwrap());
    }
    let root = shop();
    for budget in [500, 2_000, 4_000, 20_000, 100_000] {
        let made = bundle(root.path(), "round the discounted sum up", budget);
        let headings: u64 =
            made.text.lines().filter(|line| line.starts_with("## ")).map(|line| tokens::text_tokens(line) + 1).sum();
        assert!(made.after <= made.before + headings, "{} of {}", made.after, made.before);
    }
}

#[test]
fn a_larger_budget_keeps_all_that_a_smaller_one_keeps() {
    for (root, task) in [
        (shop(), "basket: round the discounted sum up, not down"),
        (web_framework(), "RemoteAddress returns the wrong client ip behind proxies"),
    ] {
        write(root.path(), "model.txt", "version https://git-lfs.github.com/spec/v1\noid sha256:aa\nsize 12345678\n");
        let sources = Sources::read(root.path(), task, 20_000, &Redactor::new([])).unwrap();
        let mut before: Vec<Chosen> = Vec::new();
        let mut kept = 0.0;
        for budget in (0..1_400).step_by(7).chain((1_400..20_000).step_by(311)) {
            let (text, chosen) = sources.whole(budget).unwrap_or_else(|| sources.part(budget));
            assert!(tokens::text_tokens(&text) <= budget);
            for (file, (less, more)) in before.iter().zip(&chosen).enumerate() {
                let lost = less.lines.iter().zip(&more.lines).position(|(less, more)| *less && !more);
                assert_eq!(lost, None, "{} at {budget}", sources.opened[file].path);
            }
            let score = sources.bundle(budget).fidelity().score().unwrap_or(0.0);
            assert!(score >= kept, "{score} after {kept} at {budget}");
            (before, kept) = (chosen, score);
        }
        assert!(kept > 0.8, "{kept}");
    }
}

#[test]
fn a_task_that_stands_nowhere_is_known() {
    let root = shop();
    let finds = |task: &str| Sources::read(root.path(), task, 500, &Redactor::new([])).unwrap().finds_task();
    assert!(finds("discount") && finds("docs") && !finds("qwxzv jjkkq") && !finds(""));
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
    assert_eq!(made.text.matches("## src/basket.rs").count(), 1, "{}", made.text);
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
    assert!(made.text.contains("## src/[redacted:SHOP_KEY]/discount?## src/users.rs?.rs 1-1\n"), "{}", made.text);
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

#[test]
fn the_same_signature_is_not_shown_again_and_again() {
    let root = tempfile::tempdir().unwrap();
    let flag = |n: usize| {
        format!(
            "struct Flag{n};\nimpl Flag for Flag{n} {{\n    fn long_help(&self) -> &'static str {{\n        // The flag {n} prints matches.\n        let text = \"prints matching lines {n}\";\n        text\n    }}\n}}\n\n"
        )
    };
    write(root.path(), "src/flags.rs", (0..60).map(flag).collect::<String>());
    write(root.path(), "src/search.rs", "/// Prints matching lines.\npub fn print_matches() {\n    let printed = 1;\n}\n");
    let made = bundle(root.path(), "add a flag that prints the number of matching lines", 700);
    let repeated = made.text.matches("fn long_help(&self)").count();
    let told = made.text.matches("prints match").count();
    assert!(repeated <= told + 4, "{repeated} signatures with {told} lines of text in\n{}", made.text);
}
