use super::*;
use crate::source_text::SourceText;
use crate::{Fidelity, OmissionReason};
use agentops_safe::Redactor;
use proptest::prelude::*;

/// A service's log with its usual noise, one warning of two lines' kind, and one failure with a trace.
fn service_log() -> String {
    let mut log = String::new();
    for n in 0..400 {
        let time = format!("2031-04-05 06:{:02}:{:02},{:03}", n / 60, n % 60, n * 7 % 1000);
        let line = match n % 5 {
            0 => format!("INFO http: GET /items/{n} 200 in {} ms", n % 17),
            1 => format!("INFO pool: connection {} handed to worker-{}", n * 3, n % 4),
            2 => format!("DEBUG cache: hit for key {:08x}", n * 7919),
            3 => format!("INFO queue: {} jobs waiting", n % 9),
            _ => format!("INFO http: POST /orders 201 in {} ms", n % 23),
        };
        log.push_str(&format!("{time} [main] {line}\n"));
        if n == 100 || n == 101 {
            log.push_str(&format!("{time} [main] WARN disk: volume data{n} has 4% left\n"));
        }
        if n == 250 {
            log.push_str(&format!("{time} [main] ERROR store: commit refused\njava.io.IOException: disk full\n"));
            log.push_str("\tat shop.Store.commit(Store.java:88)\n\tat shop.Api.post(Api.java:12)\n");
        }
    }
    log
}

#[test]
fn a_tenth_has_all_kinds_and_the_trace() {
    let log = service_log();
    let whole = tokens::text_tokens(&log);
    let bundle = compress(log.as_bytes(), whole / 10).unwrap();
    assert!(bundle.after <= whole / 10 && bundle.before == whole);
    for words in ["GET /items/0 200", "handed to worker-1", "data100", "data101", "commit refused", "Store.java:88", "×80"]
    {
        assert!(bundle.text.contains(words), "{words} in\n{}", bundle.text);
    }
    assert!(!bundle.text.contains("06:00:07,049"), "times are left out\n{}", bundle.text);
    assert_eq!(bundle.fidelity().lost, []);
}

#[test]
fn what_is_not_shown_is_reported() {
    let log = service_log();
    let bundle = compress(log.as_bytes(), 150).unwrap();
    let report = bundle.fidelity();
    assert!(bundle.text.contains("commit refused"), "trouble first\n{}", bundle.text);
    assert!(!report.lost.is_empty() && report.score() < Some(1.0));
    let found = Fidelity::of(&bundle.facts, &bundle.text);
    assert_eq!((&report.classes, &report.lost), (&found.classes, &found.lost));
}

#[test]
fn what_fits_is_shown_whole() {
    let bundle = compress(b"\x1b[32mok\x1b[0m\r\n  two\n\n", 100).unwrap();
    assert_eq!(bundle.text, "ok\n  two\n");
}

#[test]
fn strange_sources_are_no_trouble() {
    for source in [&b""[..], b"\n\n\n", b"\0\x01\xff\xfe", "ö".repeat(600_000).as_bytes(), &b"x y".repeat(1 << 19)] {
        for budget in [0, 1, 20, 2000] {
            let bundle = compress(source, budget).unwrap();
            assert!(tokens::text_tokens(&bundle.text) <= budget && bundle.after <= budget);
        }
    }
}

#[test]
fn tokens_of_a_long_log_are_reckoned_to_a_few_per_cent() {
    let log = service_log().repeat(45);
    assert!(log.len() > COUNTED_BYTES_MAX);
    let (reckoned, counted) = (tokens_of(log.as_bytes()) as f64, tokens::text_tokens(&log) as f64);
    assert!((reckoned / counted - 1.0).abs() < 0.05, "{reckoned} {counted}");
}

/// A log of many kinds of ordinary lines with some lines in their middle.
fn noise_around(lines: &str) -> String {
    let verbs = ["opened", "read", "sorted", "merged", "copied", "packed", "signed", "closed"];
    let things = ["index", "page", "segment", "bucket", "archive", "ledger", "snapshot", "manifest"];
    let line = |n: usize| {
        format!("step {n}: {} the {} of {} in {} ms\n", verbs[n % 8], things[n / 8 % 8], things[n / 64 % 8], n * 7 % 90)
    };
    let half = |from: usize| (from..from + 300).map(line).collect::<String>();
    format!("{}{lines}\n{}", half(0), half(300))
}

#[test]
fn an_error_is_shown_without_its_context_when_only_it_fits() {
    let frames: String =
        (0..30).map(|n| format!("    at shop.pricing.internal.Calculator.step{n}(Calculator.java:{n})\n")).collect();
    let log = noise_around(&format!("java.lang.IllegalStateException: cart 7 is closed\n{frames}"));
    for budget in [150, 200, 300, 400, 600, 800, 1200] {
        let bundle = compress(log.as_bytes(), budget).unwrap();
        assert!(bundle.text.contains("IllegalStateException: cart 7 is closed"), "{budget}\n{}", bundle.text);
    }
}

#[test]
fn a_lone_error_of_a_build_is_shown_in_300_tokens() {
    for (line, part) in [
        (
            r"C:\agents\build\12\s\src\Shop\Controllers\Ordering\CartController.cs(112,17): error CS0103: The name 'walrus' does not exist in the current context [C:\agents\build\12\s\src\Shop\Shop.csproj]",
            "error CS0103: The name 'walrus'",
        ),
        (
            "ERROR in ./src/shop/cart/total.js 12:0-41\nModule not found: Error: Can't resolve './walrus'",
            "ERROR in ./src/shop/cart/total.js",
        ),
        ("Action ended 10:02:11: InstallFinalize. Return value 3.", "Return value 3"),
        ("[Pipeline] exited with code 137", "exited with code 137"),
    ] {
        for budget in [100, 300] {
            let bundle = compress(noise_around(line).as_bytes(), budget).unwrap();
            assert!(bundle.text.contains(part), "{budget} {part}\n{}", bundle.text);
        }
    }
}

#[test]
fn the_smallest_budgets_show_errors_before_they_explain_the_form() {
    let log = noise_around("fatal: walrus 7 is gone");
    for budget in [12, 20, 40, 60, 80] {
        let bundle = compress(log.as_bytes(), budget).unwrap();
        assert!(bundle.text.contains("walrus 7 is gone"), "{budget}\n{}", bundle.text);
    }
    assert!(compress(log.as_bytes(), 60).unwrap().text.lines().count() > 1);
}

#[test]
fn the_one_record_with_an_error_is_shown() {
    let record = |n: u64| match n {
        900 => "{\"id\": 900, \"err\": \"walrus\", \"v\": 5}\n".to_owned(),
        _ => format!("{{\"id\": {n}, \"err\": null, \"v\": {}}}\n", n * 37 % 101),
    };
    let log: String = (0..1500).map(record).collect();
    let bundle = compress(log.as_bytes(), 120).unwrap();
    assert!(bundle.text.contains("\"err\": \"walrus\""), "{}", bundle.text);
}

#[test]
fn a_rare_exit_code_is_not_hidden_by_the_usual_one() {
    let log: String =
        (0..900).map(|n| format!("worker {n} exited with code {}\n", if n == 500 { 137 } else { 0 })).collect();
    let bundle = compress(log.as_bytes(), 100).unwrap();
    assert!(bundle.text.contains("worker 500 exited with code 137"), "{}", bundle.text);
}

#[test]
fn an_error_amid_a_line_of_ten_megabytes_is_shown_and_the_line_named() {
    let filler = |word: &str| format!("{word} ").repeat(5_000_000 / (word.len() + 1));
    let log = format!("before\n{}fatal: walrus 7 is gone {}\nafter\n", filler("ab"), filler("cd"));
    for budget in [120, 1500] {
        let bundle = compress(log.as_bytes(), budget).unwrap();
        assert!(bundle.text.contains("fatal: walrus 7 is gone"), "{budget}\n{}", bundle.text);
        let named = bundle.omitted.iter().any(|omission| omission.place.ends_with(" bytes of line 2"));
        assert!(named, "{:?}", bundle.omitted);
        assert!(bundle.fidelity().score() < Some(1.0));
    }
}

#[test]
fn control_characters_hide_nothing() {
    let bar: String = (1..=100).map(|n| format!("\x1b[2Kload {n} %\r")).collect();
    let log = format!("{}start\n{bar}fatal: walrus is gone\rload done\n{}", "\0".repeat(90_000), "tick\n".repeat(3000));
    let bundle = compress(log.as_bytes(), 120).unwrap();
    for part in ["fatal: walrus is gone", "×100 load 100 %", "load done", "start"] {
        assert!(bundle.text.contains(part), "{part}\n{}", bundle.text);
    }
    let returns = noise_around("fatal: walrus is gone").replace('\n', "\r");
    assert!(compress(returns.as_bytes(), 100).unwrap().text.contains("301 fatal: walrus is gone"));
}

#[test]
fn an_installers_log_in_utf_16_shows_its_error() {
    let log = noise_around("CustomAction LaunchSetup returned actual error code 1603");
    let bytes: Vec<u8> = std::iter::once(0xfeff).chain(log.encode_utf16()).flat_map(u16::to_le_bytes).collect();
    let text = SourceText::read(&bytes, &Redactor::new([])).text;
    assert!(compress(text.as_bytes(), 100).unwrap().text.contains("error code 1603"));
}

#[test]
fn more_kinds_than_are_told_apart_hide_no_error() {
    let name = |n: usize| (0..4).map(|place| char::from(b'g' + (n / 17_usize.pow(place) % 17) as u8)).collect::<String>();
    let mut log: String = (0..83_000).map(|n| format!("{} {}\n", name(n), name(n / 3))).collect();
    log.push_str("gggg hhhh error: walrus is gone\n");
    let bundle = compress(log.as_bytes(), 200).unwrap();
    assert!(bundle.text.contains("error: walrus is gone"), "{}", bundle.text);
}

#[test]
fn what_is_not_shown_names_errors() {
    let log: String = (0..250_u8)
        .map(|n| format!("error: {} {}\n", char::from(b'g' + n % 16), "walrus ".repeat(usize::from(n) % 13 + 3)))
        .collect();
    let bundle = compress(log.as_bytes(), 200).unwrap();
    let last = bundle.text.lines().last().unwrap_or_default();
    assert!(last.contains(" kinds not shown, ") && last.contains(" of them errors: "), "{last}");
}

/// The numbers of lines that a place names.
fn numbers(place: &str) -> std::ops::RangeInclusive<u64> {
    let range = place.rsplit(' ').next().unwrap_or_default();
    let (first, last) = range.split_once('–').unwrap_or((range, range));
    first.parse().expect("a number")..=last.parse().expect("a number")
}

/// Lines of a generated log: errors, traces, records, long lines, progress.
const LINES: &str = "(error|info|debug|ERROR cart:|  at x\\.y\\.Z|    at a\\.b\\(C\\.java:[0-9]{1,2}\\)|Traceback \\(most recent call last\\):|test [a-z]{1,4} \\.\\.\\. (ok|FAILED)|\
    load [0-9]{1,2} %\r|\\{\"level\":\"(info|error)\",\"n\":[0-9]{1,4}\\}|(long word ){60}[a-z]{3}|[a-z]{2,6} [a-z]{2,6}|\\PC{0,30}) ?[0-9]{0,4}";

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn never_more_than_the_budget_and_always_the_same(
        lines in prop::collection::vec("(error|info|  at x|test [a-z]{1,4} \\.\\.\\. (ok|FAILED)|\\PC{0,30}) ?[0-9]{0,4}", 0..60),
        budget in 0_u64..300,
    ) {
        let source = lines.join("\n");
        let bundle = compress(source.as_bytes(), budget).unwrap();
        prop_assert!(tokens::text_tokens(&bundle.text) <= budget);
        prop_assert_eq!(&bundle, &compress(source.as_bytes(), budget).unwrap());
    }

    /// A larger budget shows all that a smaller one shows.
    #[test]
    fn value_never_decreases_with_the_budget(
        lines in prop::collection::vec(LINES, 0..60),
        mut budgets in prop::collection::vec(0_u64..900, 2..9),
    ) {
        budgets.sort_unstable();
        let source = lines.join("\n");
        let mut before: Option<(Compressed, Fidelity)> = None;
        for budget in budgets {
            let made = compress(source.as_bytes(), budget).unwrap();
            let report = made.fidelity();
            if let Some((smaller, smaller_report)) = &before {
                prop_assert!(report.score() >= smaller_report.score(), "{budget}\n{}\n{}", smaller.text, made.text);
                for (more, less) in report.classes.iter().zip(&smaller_report.classes) {
                    prop_assert!(more.kept >= less.kept, "{budget} {more:?} {less:?}\n{}\n{}", smaller.text, made.text);
                }
                prop_assert!(made.coverage.unwrap().shown.part >= smaller.coverage.unwrap().shown.part);
            }
            before = Some((made, report));
        }
    }

    /// A line anywhere in a log of any encoding is in the result, or an omission covers it and the score shows that.
    #[test]
    fn a_planted_line_is_shown_or_accounted_for(
        lines in prop::collection::vec(LINES, 1..60),
        at in any::<prop::sample::Index>(),
        planted in "(walrus|error: walrus|walrus walrus walrus [0-9]{1,3})",
        budget in 0_u64..600,
        encoding in 0..5_u8,
    ) {
        let at = at.index(lines.len());
        let mut source = lines.clone();
        source.insert(at, planted.clone());
        let text = source.join("\n");
        let bytes: Vec<u8> = match encoding {
            0 => text.clone().into_bytes(),
            1 => std::iter::once(0xfeff).chain(text.encode_utf16()).flat_map(u16::to_le_bytes).collect(),
            2 => std::iter::once(0xfeff).chain(text.encode_utf16()).flat_map(u16::to_be_bytes).collect(),
            3 => [b"\xef\xbb\xbf", text.as_bytes()].concat(),
            _ => text.chars().map(|c| u8::try_from(u32::from(c)).unwrap_or(b'?')).collect(),
        };
        let source = SourceText::read(&bytes, &Redactor::new([]));
        let made = source.account(compress(source.text.as_bytes(), budget).unwrap());
        if !made.text.contains(&planted) {
            let number = at as u64 + 1;
            let covers = |omission: &crate::Omission| {
                omission.reason != OmissionReason::NotDecoded && numbers(&omission.place).contains(&number)
            };
            prop_assert!(made.omitted.iter().any(covers), "line {number}, {:?}\n{}", made.omitted, made.text);
            prop_assert!(made.fidelity().score() < Some(1.0));
        }
        prop_assert!(made.after <= made.before.max(budget) && made.after == tokens::text_tokens(&made.text));
        if made.before <= budget {
            prop_assert!(made.after <= made.before, "{} {}\n{}", made.before, made.after, made.text);
        }
    }

    /// Without a gap: what is shown and what is omitted are all lines.
    #[test]
    fn shown_and_omitted_lines_are_all_lines(lines in prop::collection::vec(LINES, 0..60), budget in 0_u64..600) {
        let source = lines.join("\n");
        let made = compress(source.as_bytes(), budget).unwrap();
        let coverage = made.coverage.unwrap();
        let omitted: u64 = made.omitted.iter().map(|omission| omission.amount).sum();
        prop_assert_eq!(coverage.shown.part + omitted, coverage.shown.whole);
    }
}
