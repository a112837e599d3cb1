//! Logs and outputs of programs: an error is kept in whatever form it comes.

use std::fmt::Write;

use super::{Made, latin1, made, utf16};

/// Lines of a service that does well.
fn healthy(lines: usize) -> String {
    (0..lines).fold(String::new(), |mut log, at| {
        writeln!(log, "2026-01-02 03:{:02}:{:02} INFO worker {}: stored {} rows", at / 60 % 60, at % 60, at % 5, at * 7)
            .unwrap();
        log
    })
}

/// The middle of a healthy log replaced by these lines.
fn amid(lines: usize, trouble: &str) -> String {
    format!("{}{trouble}\n{}", healthy(lines / 2), healthy(lines / 2))
}

#[track_caller]
fn log(content: impl AsRef<[u8]>, budget: u64) -> Made {
    made("log", content, budget)
}

#[test]
fn an_installer_log_in_utf_16_keeps_its_error() {
    let text = amid(400, "MSI (s) (10:2C): Note: 1: 1603 -- Fatal error during installation.");
    log(utf16(&text), 300).holds(&["1603"]);
}

#[test]
fn a_log_in_latin_1_keeps_its_error_and_its_letters() {
    log(latin1(&amid(300, "2026-01-02 03:30:00 ERROR Datei für Größe fehlt: café.txt")), 300)
        .holds(&["Datei für Größe fehlt: café.txt"]);
}

#[test]
fn an_error_is_kept_where_the_forms_of_times_change() {
    let mut text = String::new();
    for at in 0..300 {
        let time = match at % 3 {
            0 => format!("2026-01-02T03:{:02}:00.{:06}+00:00", at % 60, at * 31),
            1 => format!("2026-01-02T03:{:02}:00+00:00", at % 60),
            _ => format!("1/2/2026 3:{:02}:00 AM", at % 60),
        };
        let message = if at == 151 { "ERROR patch list 34 not found" } else { "INFO ok" };
        writeln!(text, "{time} {message}").unwrap();
    }
    let made = log(&text, 200);
    made.holds(&["patch list 34 not found"]);
    assert!(made.count("INFO ok") < 10, "the times differ, the message does not: {}", made.text);
}

#[test]
fn a_request_that_no_pattern_fits_is_kept_once() {
    let mut text = String::new();
    for at in 0..400 {
        writeln!(
            text,
            "10.0.0.{} - - [29/Sep/2026:20:{:02}:55 +0200] \"GET /items/{at} HTTP/1.1\" 200 {}",
            at % 9,
            at % 60,
            at * 3
        )
        .unwrap();
        if at == 200 {
            writeln!(text, "203.0.113.7 - - [29/Sep/2026:20:01:55 +0200] \"\" 400 5253 \"-\" \"-\"").unwrap();
        }
    }
    log(&text, 250).holds(&["203.0.113.7"]);
}

#[test]
fn an_indented_rest_of_a_record_stays_with_it() {
    let trouble = "level=error msg=\"store is gone\" store=main\n  cause=\"disk sda1 is read-only\"\n  retry=never";
    log(amid(400, trouble), 300).holds(&["store is gone", "disk sda1 is read-only", "retry=never"]);
}

#[test]
fn a_blank_line_within_a_message_drops_nothing_behind_it() {
    let trouble =
        "2026-01-02 03:10:00 ERROR checkAcls failed: {\n  relation: \"owner\"\n\n  reason: \"subject 77 is banned\"\n}";
    log(amid(300, trouble), 300).holds(&["checkAcls failed", "subject 77 is banned"]);
}

#[test]
fn a_line_of_log_rotation_ends_nothing() {
    let text = amid(300, "Jul 31 01:00:00 host newsyslog[32770]: logfile turned over due to size>40560K");
    let text = format!("{text}2026-01-02 04:00:00 FATAL worker 3: out of memory\n");
    log(&text, 300).holds(&["out of memory", "logfile turned over"]);
}

/// A log of JSON lines with one that is not like the others.
fn json_lines(trouble: &str) -> String {
    let mut text = String::new();
    for at in 0..300 {
        writeln!(text, r#"{{"time":"2026-01-02T03:{:02}:00Z","level":"INFO","message":"task {at} done"}}"#, at % 60)
            .unwrap();
        if at == 150 {
            writeln!(text, "{trouble}").unwrap();
        }
    }
    text
}

#[test]
fn a_stack_trace_in_a_field_of_its_own_is_kept() {
    let trouble = r#"{"time":"2026-01-02T03:30:00Z","level":"ERROR","message":"Task 67 FAILED.","exc_info":"Traceback (most recent call last):\n  File \"tasks/reports.py\", line 45, in prepare\nAttributeError: 'Task' object has no attribute 'status'"}"#;
    log(json_lines(trouble), 400).holds(&["Task 67 FAILED", "no attribute 'status'", "reports.py"]);
}

#[test]
fn a_message_in_a_nested_field_is_kept() {
    let trouble =
        r#"{"time":"2026-01-02T03:30:00Z","log":{"severity":"critical","body":{"text":"certificate of shop-7 expired"}}}"#;
    log(json_lines(trouble), 300).holds(&["certificate of shop-7 expired"]);
}

#[test]
fn an_error_in_the_lines_of_a_container_runtime_is_kept() {
    let mut text = String::new();
    for at in 0..300 {
        writeln!(text, r#"{{"log":"served /page/{at}\n","stream":"stdout","time":"2026-01-02T03:00:{:02}.1Z"}}"#, at % 60)
            .unwrap();
        if at == 120 {
            writeln!(text, r#"{{"log":"panic: runtime error: index out of range [5] with length 5\n","stream":"stderr","time":"2026-01-02T03:00:00.1Z"}}"#).unwrap();
        }
    }
    log(&text, 250).holds(&["index out of range [5] with length 5"]);
}

#[test]
fn progress_that_overwrites_itself_is_short_and_hides_no_error() {
    let progress: String = (0..=100).map(|percent| format!("Receiving objects: {percent:3}% ({percent}/100)\r")).collect();
    let text = format!("Cloning into 'shop'...\n{progress}fatal: early EOF at object 4711\nunpack-objects failed\n");
    let made = log(&text, 200);
    made.holds(&["early EOF at object 4711"]).lacks(&["\r"]);
    assert!(made.count("Receiving objects") <= 3, "{}", made.text);
}

#[test]
fn an_error_between_control_sequences_is_found() {
    let trouble = "\u{1b}[2K\u{1b}[1G\u{1b}[31m\u{1b}[1mError\u{1b}[22m\u{1b}[39m: \u{1b}]8;;https://localhost\u{7}Cannot find module 'left'\u{1b}]8;;\u{7}\u{1b}[0m";
    log(amid(300, trouble), 300).holds(&["Error", "Cannot find module 'left'"]).lacks(&["\u{1b}"]);
}

#[test]
fn nul_bytes_from_a_crash_hide_no_line() {
    let mut bytes = healthy(200).into_bytes();
    bytes.extend([0; 4096]);
    bytes.extend(b"\n2026-01-02 05:00:00 ERROR journal of volume 9 is torn\n");
    bytes.extend(healthy(200).into_bytes());
    log(&bytes, 300).holds(&["journal of volume 9 is torn"]);
}

#[test]
fn an_error_in_the_middle_of_a_line_without_end_is_kept_or_named() {
    let filler = "step=ok duration=12ms;".repeat(60_000);
    log(format!("{filler}ERROR: cell 88 overheated;{filler}\n"), 300).holds(&["cell 88 overheated"]);
}

#[test]
fn one_error_among_thousands_of_lines_is_kept_at_a_small_budget() {
    log(amid(6000, "2026-01-02 03:50:00 ERROR export: cannot open /var/data/export.csv: permission denied"), 150)
        .holds(&["permission denied"]);
}

#[test]
fn a_lone_compiler_error_is_kept_at_a_small_budget() {
    let mut build = String::new();
    for at in 0..900 {
        writeln!(build, "  Shop.Module{at} -> C:\\build\\bin\\Release\\Shop.Module{at}.dll").unwrap();
        if at == 433 {
            writeln!(build, "C:\\build\\Cart.cs(42,17): error CS1061: 'Cart' does not contain a definition for 'Sum' [C:\\build\\Shop.csproj]").unwrap();
        }
    }
    log(&build, 300).holds(&["Cart.cs(42,17)", "CS1061", "does not contain a definition for 'Sum'"]);
}

#[test]
fn a_lone_bundler_error_is_kept_at_a_small_budget() {
    let mut build = String::new();
    for at in 0..900 {
        writeln!(build, "asset chunk-{at:04}.js {} KiB [emitted] [immutable] [minimized]", at % 97).unwrap();
        if at == 871 {
            build.push_str(
                "ERROR in ./src/cart.ts 12:4-19\nModule not found: Error: Can't resolve './total' in '/app/src'\n\n",
            );
        }
    }
    log(&build, 300).holds(&["./src/cart.ts 12:4-19", "Can't resolve './total'"]);
}

#[test]
fn an_error_that_a_build_service_marks_is_kept() {
    let text = amid(500, "2026-01-02T03:30:00.1234567Z ##[error]Process completed with exit code 137.");
    log(&text, 200).holds(&["exit code 137"]);
}

#[test]
fn a_failure_in_another_language_is_named_if_it_is_not_kept() {
    let made = log(amid(500, "2026-01-02 03:30:00 错误 数据库连接失败 端口 5433"), 200);
    made.holds(&["数据库连接失败"]);
}

#[test]
fn lines_that_differ_only_in_letters_of_an_identifier_are_few() {
    let mut text = String::new();
    for at in 0..500_u32 {
        let id = format!("{:08x}-{:04x}", at.wrapping_mul(2_654_435_761), at % 65_536);
        writeln!(text, "2026-01-02 03:00:00 INFO request|{id}|stored|{}", at % 4).unwrap();
    }
    let made = log(&text, 400);
    assert!(made.count("stored") < 12, "{}", made.text);
    made.names_a_loss();
}
