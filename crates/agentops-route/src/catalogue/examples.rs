//! Example requests in descriptions: `<example>` blocks with lines such as `user: "…"`.
//!
//! They are what people would say, so they are worth more than prose about it, and they are no part of the description.

use super::{EXAMPLE_BYTES_MAX, EXAMPLES_MAX, beginning};

/// What of a description is read, in bytes: far more than any that was written by hand.
const READ_BYTES_MAX: usize = 32 * 1024;
/// The most `<example>` blocks that are looked for.
const BLOCKS_MAX: usize = 64;

/// The description without its examples, and the requests in them.
pub(super) fn taken_out(description: &str) -> (String, Vec<String>) {
    let description = beginning(description, READ_BYTES_MAX);
    // Line ends written out as `\n`, as programs that generate such files do.
    let written_out =
        description.contains("\\n") && (description.contains("\\n\\n") || find(description, "<example").is_some());
    let unescaped;
    let text = if written_out {
        unescaped = description.replace("\\n", "\n").replace("\\\"", "\"").replace("\\t", " ");
        unescaped.as_str()
    } else {
        description
    };
    let (mut kept, mut requests) = (String::new(), Vec::new());
    let mut rest = text;
    for _ in 0..BLOCKS_MAX {
        let Some(at) = find(rest, "<example>") else { break };
        kept.push_str(&rest[..at]);
        let inside = &rest[at + "<example>".len()..];
        let end =
            [find(inside, "</example>"), find(inside, "<example>")].into_iter().flatten().min().unwrap_or(inside.len());
        said(&inside[..end], &mut requests);
        rest = strip_prefix(&inside[end..], "</example>");
    }
    kept.push_str(rest);
    // Conversations without a frame begin with a quoted `user:`; what leads to it goes as well.
    if let Some(at) = spoken(&kept) {
        said(&kept[at..], &mut requests);
        kept.truncate(at);
        if let Some(context) = rfind(&kept, "context:").filter(|context| kept.len() - context < 600) {
            kept.truncate(context);
        }
    }
    (without_heading(&kept, !requests.is_empty()), requests)
}

/// Where somebody is quoted as the user.
fn spoken(text: &str) -> Option<usize> {
    let mut from = 0;
    while let Some(at) = find(&text[from..], "user:").map(|at| from + at) {
        let after = text[at + "user:".len()..].trim_start();
        let before = text[..at].chars().next_back();
        if after.starts_with(QUOTES) && before.is_none_or(|c| !c.is_alphanumeric()) {
            return Some(at);
        }
        from = at + "user:".len();
    }
    None
}

const QUOTES: [char; 4] = ['"', '\'', '“', '‘'];

/// Adds what users say in a conversation.
fn said(conversation: &str, requests: &mut Vec<String>) {
    let mut rest = conversation;
    while let Some(at) = find(rest, "user:").filter(|_| requests.len() < EXAMPLES_MAX) {
        let turn = &rest[at + "user:".len()..];
        let end = ["assistant:", "user:", "<commentary", "context:", "</example"];
        let end = end.iter().filter_map(|mark| find(turn, mark)).min().unwrap_or(turn.len());
        let request = words(turn[..end].trim());
        let request = beginning(&request, EXAMPLE_BYTES_MAX).trim();
        if !request.is_empty() && requests.len() < EXAMPLES_MAX && !requests.iter().any(|known| known == request) {
            requests.push(request.to_owned());
        }
        rest = &turn[end..];
    }
}

/// What was said, in one line and without the quotes around it.
fn words(turn: &str) -> String {
    let said = match turn.chars().next().filter(|first| QUOTES.contains(first)) {
        Some(open) => {
            let close = match open {
                '“' => '”',
                '‘' => '’',
                same => same,
            };
            let inside = &turn[open.len_utf8()..];
            inside.rfind(close).map_or(inside, |end| &inside[..end])
        }
        // Without quotes a turn is a line.
        None => turn.lines().next().unwrap_or_default(),
    };
    said.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// The description without the heading that the examples stood under.
fn without_heading(text: &str, led_to_examples: bool) -> String {
    let mut text = text.trim();
    loop {
        let plain = ["<examples>", "</examples>", "-", "*", "</example>"];
        if let Some(shorter) = plain.iter().find_map(|end| text.strip_suffix(end)) {
            text = shorter.trim_end();
            continue;
        }
        // `Examples:`, `Here are some examples:`, `Specifically:` – the last sentence, if it says no more than that.
        let start = text.rfind(['.', '\n', '!']).map_or(0, |at| at + 1);
        let last = &text[start..];
        let heads = find(last, "example").is_some() || led_to_examples && last.len() < 40;
        if last.ends_with(':') && last.len() < 80 && heads {
            text = text[..start].trim_end();
            continue;
        }
        let mut lines: Vec<&str> = text.lines().map(str::trim).collect();
        lines.dedup_by(|a, b| a.is_empty() && b.is_empty());
        return lines.join("\n");
    }
}

/// Where a word of ASCII stands, in whatever case.
fn find(text: &str, word: &str) -> Option<usize> {
    text.as_bytes().windows(word.len()).position(|window| window.eq_ignore_ascii_case(word.as_bytes()))
}

fn rfind(text: &str, word: &str) -> Option<usize> {
    text.as_bytes().windows(word.len()).rposition(|window| window.eq_ignore_ascii_case(word.as_bytes()))
}

fn strip_prefix<'a>(text: &'a str, word: &str) -> &'a str {
    match text.get(..word.len()) {
        Some(head) if head.eq_ignore_ascii_case(word) => &text[word.len()..],
        _ => text,
    }
}
