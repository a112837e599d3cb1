//! Chats and notes: each message has its sender and all its lines.

use super::{Made, latin1, made, utf16};

#[track_caller]
fn conversation(content: impl AsRef<[u8]>, budget: u64) -> Made {
    made("conversation", content, budget)
}

/// Messages of no weight around some that have it.
fn chat(time: impl Fn(usize) -> String, weighty: &str) -> String {
    let line = |at: usize| match at {
        60 => format!("{} Ada: {weighty}\n", time(at)),
        at => format!("{} {}: ok, sounds good to me\n", time(at), if at % 2 == 0 { "Ada" } else { "Ben" }),
    };
    (0..120).map(line).collect()
}

#[test]
fn a_chat_with_narrow_spaces_in_its_times_is_read() {
    let text =
        chat(|at| format!("[14/10/2026, 3:{:02}:09\u{202f}PM]", at % 60), "We decided to ship on 3 March with 40 units.");
    conversation(&text, 300).holds(&["Ada", "We decided to ship on 3 March with 40 units."]);
}

#[test]
fn a_chat_with_direction_marks_is_read() {
    let text =
        chat(|at| format!("\u{200e}[2026/7/9 02:{:02}:09]", at % 60), "The limit is 250 euros, because the bank asks.");
    conversation(&text, 300).holds(&["The limit is 250 euros, because the bank asks."]);
}

#[test]
fn a_message_of_several_lines_is_one_message() {
    let text = chat(
        |at| format!("[22-01-20 10:{:02}:00]", at % 60),
        "Decision for the launch:\nwe use port 8443\nand never port 80, because the proxy blocks it.",
    );
    conversation(&text, 300).holds(&["we use port 8443", "never port 80"]);
}

#[test]
fn notes_in_latin_1_and_utf_16_keep_their_statements() {
    let notes = "Über die Größe: wir wählen 12 Einheiten, weil das Lager voll ist.\n\n".to_owned()
        + &"Es war schön.\n\n".repeat(200);
    for bytes in [latin1(&notes), utf16(&notes)] {
        conversation(&bytes, 200).holds(&["wir wählen 12 Einheiten"]);
    }
}

#[test]
fn a_paragraph_without_end_loses_nothing_unnamed() {
    let filler = "the weather was fine and we walked along the river without any plan ".repeat(3000);
    let text = format!("{filler}. We must delete all 73 backups before Friday. {filler}\n");
    conversation(&text, 300).accounts_for("We must delete all 73 backups before Friday");
}

#[test]
fn a_decision_in_a_table_and_in_code_is_kept() {
    let filler = "Some words that say nothing new about anything at all.\n\n".repeat(150);
    let text = format!(
        "{filler}| setting | value |\n|---|---|\n| timeout | 45 s |\n\n```sh\nmake deploy REGION=eu-7\n```\n\n{filler}"
    );
    conversation(&text, 300).accounts_for("45 s").accounts_for("REGION=eu-7");
}
