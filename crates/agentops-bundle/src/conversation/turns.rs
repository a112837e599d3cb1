//! Conversations and notes as turns: who said what, in which group (a session, a day, a chapter).
//!
//! Known: JSON lines or a JSON list of objects with a speaker and a text, chat logs in text (`Name: …`, also behind a time in
//! brackets), Markdown and plain text, whose lines are turns of nobody and whose headings are groups.

use std::collections::HashMap;
use std::sync::LazyLock;

use regex::Regex;
use serde_json::Value;

/// A turn of several lines does not grow beyond this: what follows is a turn of its own.
const TURN_BYTES_MAX: usize = 64 << 10;

/// A turn up to this length is kept or left out as a whole.
const WHOLE_BYTES_MAX: usize = 600;
/// A longer one falls into parts of about this length.
const PART_BYTES: usize = 300;
/// A sentence that is longer than this is divided between two words.
const SENTENCE_BYTES_MAX: usize = 1200;

/// One thing that was said or noted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Turn {
    /// Its id in the source, else `line 12`; parts of a long turn have the same.
    pub place: String,
    /// Its line in a text, or the number of its message, from 1.
    pub number: u64,
    /// Its group, an index.
    pub group: usize,
    /// Who said it; empty in notes.
    pub speaker: String,
    /// The words, white space as it stands.
    pub text: String,
}

/// What was read.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Talk {
    /// In order.
    pub turns: Vec<Turn>,
    /// The groups' titles; empty where there is none.
    pub groups: Vec<String>,
    /// What was read counts this many tokens, with time and speaker before each turn.
    pub tokens: u64,
    /// What the turns' numbers count: `line` or `message`.
    pub unit: &'static str,
    /// Headings, with the numbers of their lines.
    pub headings: Vec<(u64, String)>,
    /// Lines that are not JSON among others that are.
    pub unparsed: Vec<u64>,
    /// Records in which nobody says anything.
    pub metadata: Vec<u64>,
}

impl Talk {
    fn push(&mut self, place: String, number: u64, speaker: &str, text: &str) {
        if !text.trim().is_empty() {
            let group = self.groups.len().saturating_sub(1);
            let text = text.trim().to_owned();
            self.turns.push(Turn { place, number, group, speaker: speaker.trim().to_owned(), text });
        }
    }

    fn heading(&mut self, number: u64, title: &str) {
        self.headings.push((number, title.to_owned()));
        self.groups.push(title.to_owned());
    }
}

/// The last place that is at most `at` and between two characters.
pub fn floor(text: &str, at: usize) -> usize {
    let mut at = at.min(text.len());
    while !text.is_char_boundary(at) {
        at -= 1;
    }
    at
}

/// Reads a source of any of the forms.
pub fn read(source: &[u8]) -> Talk {
    let mut talk = objects(source).map_or_else(|| text(&String::from_utf8_lossy(source)), |records| of_objects(&records));
    if talk.groups.is_empty() {
        talk.groups.push(String::new());
    }
    if talk.turns.iter().any(|turn| turn.text.len() > WHOLE_BYTES_MAX) {
        talk.turns = talk.turns.into_iter().flat_map(parted).collect();
    }
    talk
}

/// A long turn as its lines, and long lines as their sentences: of a page-long answer the one line that matters can be kept.
fn parted(turn: Turn) -> Vec<Turn> {
    if turn.text.len() <= WHOLE_BYTES_MAX {
        return vec![turn];
    }
    let mut parts: Vec<&str> = Vec::new();
    for line in turn.text.lines().map(str::trim_end).filter(|line| !line.is_empty()) {
        let mut rest = line;
        while rest.len() > PART_BYTES {
            let from = floor(rest, PART_BYTES / 2);
            let to = floor(rest, SENTENCE_BYTES_MAX);
            let sentence = rest[from..to].find(". ").map(|at| from + at + 1);
            if sentence.is_none() && rest.len() <= SENTENCE_BYTES_MAX {
                break;
            }
            let between_words = || rest[from..to].rfind(char::is_whitespace).map_or(to, |at| from + at);
            let end = sentence.unwrap_or_else(between_words);
            parts.push(&rest[..end]);
            rest = rest[end..].trim_start();
        }
        parts.push(rest);
    }
    let part = |text: &str| Turn {
        text: text.to_owned(),
        place: turn.place.clone(),
        number: turn.number,
        speaker: turn.speaker.clone(),
        group: turn.group,
    };
    parts.into_iter().filter(|text| !text.is_empty()).map(part).collect()
}

/// Records of a source in JSON, each with the number of its message or line.
#[derive(Default)]
struct Records {
    list: Vec<(u64, Value)>,
    unparsed: Vec<u64>,
}

impl Records {
    fn of_list(list: Vec<Value>) -> Self {
        Self { list: (1..).zip(list).collect(), unparsed: Vec::new() }
    }

    /// JSON values, usually one a line.
    fn of_lines(source: &[u8]) -> Self {
        let mut records = Self::default();
        for (number, line) in (1..).zip(source.split(|byte| *byte == b'\n')) {
            for value in serde_json::Deserializer::from_slice(line).into_iter() {
                match value {
                    Ok(value) => records.list.push((number, value)),
                    Err(_) => {
                        records.unparsed.push(number);
                        break;
                    }
                }
            }
        }
        records
    }
}

/// The objects of JSON lines, of a list, or of the list within an object.
fn objects(source: &[u8]) -> Option<Records> {
    let first = source.iter().find(|byte| !byte.is_ascii_whitespace())?;
    if !matches!(first, b'[' | b'{') {
        return None;
    }
    let records = match serde_json::from_slice::<Value>(source) {
        Ok(Value::Array(list)) => Records::of_list(list),
        Ok(Value::Object(mut object)) => {
            let list = ["messages", "turns", "conversation", "chat"].iter().find_map(|key| object.remove(*key));
            match list {
                Some(Value::Array(list)) => Records::of_list(list),
                _ => Records::of_list(vec![Value::Object(object)]),
            }
        }
        Ok(_) => return None,
        Err(_) => Records::of_lines(source),
    };
    let speaking = records.list.iter().filter(|(_, value)| !words(value).is_empty()).count();
    (speaking * 2 > records.list.len() + records.unparsed.len()).then_some(records)
}

/// The words of a turn: a string, or the texts of content blocks.
fn words(value: &Value) -> String {
    let of = |value: &Value| match value {
        Value::String(text) => Some(text.clone()),
        Value::Array(parts) => {
            let texts = parts.iter().filter_map(|part| part.as_str().or_else(|| part.get("text")?.as_str()));
            Some(texts.collect::<Vec<_>>().join("\n")).filter(|text| !text.is_empty())
        }
        _ => None,
    };
    let found = ["text", "content", "message", "body"].iter().find_map(|key| value.get(*key).and_then(of));
    found.unwrap_or_default()
}

fn of_objects(records: &Records) -> Talk {
    let mut talk = Talk { unit: "message", unparsed: records.unparsed.clone(), ..Talk::default() };
    let mut key: Option<String> = None;
    for (number, object) in &records.list {
        let field = |keys: &[&str]| {
            let found = keys.iter().find_map(|key| object.get(*key)).filter(|value| value.is_string() || value.is_number());
            found.map(|value| value.as_str().map_or_else(|| value.to_string(), str::to_owned)).unwrap_or_default()
        };
        let text = words(object);
        if text.trim().is_empty() {
            talk.metadata.push(*number);
            continue;
        }
        let speaker = field(&["speaker", "role", "author", "user", "from", "name", "sender"]);
        let date = field(&["date", "time", "timestamp", "ts", "created_at", "datetime"]);
        let session = field(&["session", "thread", "channel", "conversation_id"]);
        let id = field(&["id", "dia_id", "index"]);
        // Without sessions a day is a group.
        let group = if session.is_empty() { day(&date).to_owned() } else { session };
        if key.as_ref() != Some(&group) {
            talk.groups.push(if date.is_empty() { group.clone() } else { date.clone() });
            key = Some(group);
        }
        talk.tokens += agentops_text::tokens::text_tokens(&format!("{date} {speaker}: {text}\n"));
        talk.push(if id.is_empty() { format!("message {number}") } else { id }, *number, &speaker, &text);
    }
    talk
}

/// The day of a time in the usual machine form; any other is no day.
fn day(date: &str) -> &str {
    let is_day = |day: &str| {
        day.bytes().enumerate().all(|(at, byte)| if at == 4 || at == 7 { byte == b'-' } else { byte.is_ascii_digit() })
    };
    date.get(..10).filter(|day| is_day(day)).unwrap_or_default()
}

/// `Name: …`, `[10:11] Name: …`, `12/03/2024, 10:11 - Name: …`.
static SAYS: LazyLock<Regex> = LazyLock::new(|| {
    re(
        r"^(?:\[?(?P<time>\d[\d/.:, T-]{3,24}(?:[AaPp][Mm])?)\]?\s*(?:-\s*)?)?(?:\*\*)?(?P<name>[\p{Lu}][\w.'-]{0,20}(?: [\p{Lu}][\w.'-]{0,20}){0,2})(?:\*\*)?:(?:\*\*)?\s+(?P<text>\S.*)$",
    )
});

#[expect(clippy::expect_used, reason = "the patterns are constants of this crate, compiled by its tests")]
pub(super) fn re(pattern: &str) -> Regex {
    Regex::new(pattern).expect("a valid pattern")
}

/// A chat log where most lines have a name before them and few names say them, else notes.
fn text(text: &str) -> Talk {
    let mut names: HashMap<&str, usize> = HashMap::new();
    let mut lines = 0;
    for line in text.lines().filter(|line| !line.trim().is_empty()).take(2000) {
        lines += 1;
        if let Some(name) = SAYS.captures(line).and_then(|found| found.name("name")) {
            *names.entry(name.as_str()).or_default() += 1;
        }
    }
    let named: usize = names.values().filter(|count| **count > 1).sum();
    let mut talk = Talk { tokens: agentops_text::tokens::text_tokens(text), unit: "line", ..Talk::default() };
    if named * 2 > lines {
        chat(text, &mut talk)
    } else {
        notes(text, &mut talk)
    }
    talk
}

fn chat(text: &str, talk: &mut Talk) {
    let mut last_day = None;
    for (number, line) in (1..).zip(text.lines()) {
        if let Some(found) = SAYS.captures(line) {
            let part = |name: &str| found.name(name).map(|part| part.as_str()).unwrap_or_default();
            let day = part("time").split([',', ' ', 'T']).next().filter(|day| day.len() >= 8).unwrap_or_default();
            if last_day != Some(day) {
                talk.groups.push(day.to_owned());
                last_day = Some(day);
            }
            talk.push(format!("line {number}"), number, part("name"), part("text"));
        } else if let Some(title) = line.strip_prefix('#') {
            talk.heading(number, title.trim_start_matches('#').trim());
        } else if let Some(last) = talk.turns.last_mut().filter(|last| last.text.len() + line.len() < TURN_BYTES_MAX) {
            // A turn of several lines.
            last.text.push('\n');
            last.text.push_str(line);
        } else {
            talk.push(format!("line {number}"), number, "", line);
        }
    }
    for turn in &mut talk.turns {
        turn.text.truncate(turn.text.trim_end().len());
    }
}

/// Headings are groups, list items and lines of code are turns, wrapped lines of a paragraph are one.
fn notes(text: &str, talk: &mut Talk) {
    talk.groups.push(String::new());
    let mut start = 1;
    let mut paragraph = String::new();
    let mut fenced = false;
    for (number, line) in (1..).zip(text.lines().chain([""])) {
        let item = line.trim_start();
        let is_fence = item.starts_with("```");
        let is_heading = !fenced && item.starts_with('#') && item.trim_start_matches('#').starts_with(' ');
        let is_item = item.starts_with(['-', '*', '+', '>', '|'])
            || item
                .split_once(['.', ')'])
                .is_some_and(|(head, _)| !head.is_empty() && head.len() < 4 && head.bytes().all(|b| b.is_ascii_digit()));
        let ends = item.is_empty() || is_heading || is_item || fenced || is_fence || paragraph.len() > TURN_BYTES_MAX / 2;
        if ends && !paragraph.is_empty() {
            talk.push(format!("line {start}"), start, "", &paragraph);
            paragraph.clear();
        }
        if is_fence {
            fenced = !fenced;
        } else if is_heading {
            talk.heading(number, item.trim_start_matches('#').trim());
        } else if !item.is_empty() {
            if paragraph.is_empty() {
                start = number;
            } else {
                paragraph.push('\n');
            }
            paragraph.push_str(line.trim_end());
        }
    }
    if !paragraph.is_empty() {
        talk.push(format!("line {start}"), start, "", &paragraph);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(talk: &Talk) -> Vec<(usize, &str, &str, &str)> {
        talk.turns.iter().map(|turn| (turn.group, turn.place.as_str(), turn.speaker.as_str(), turn.text.as_str())).collect()
    }

    #[test]
    fn json_lines_with_sessions() {
        let source = br#"{"id":"D1:1","session":1,"date":"8 May","speaker":"Ann","text":"Hello"}
{"id":"D2:1","session":2,"date":"9 May","speaker":"Bob","text":"Bye"}"#;
        let talk = read(source);
        assert_eq!(talk.groups, ["8 May", "9 May"]);
        assert_eq!(said(&talk), [(0, "D1:1", "Ann", "Hello"), (1, "D2:1", "Bob", "Bye")]);
    }

    #[test]
    fn chat_messages_as_a_list() {
        let talk =
            read(br#"[{"role":"user","content":"Hi"},{"role":"assistant","content":[{"type":"text","text":"Yes?"}]}]"#);
        assert_eq!(said(&talk), [(0, "message 1", "user", "Hi"), (0, "message 2", "assistant", "Yes?")]);
    }

    #[test]
    fn a_chat_log_has_names_and_days() {
        let talk = read(b"12/03/2024, 10:11 - Ann Lee: I moved\nto Rome.\n12/03/2024, 10:12 - Bob: When?\n13/03/2024, 09:00 - Bob: Hi\n13/03/2024, 09:01 - Ann Lee: In May");
        assert_eq!(talk.groups, ["12/03/2024", "13/03/2024"]);
        assert_eq!(said(&talk)[..2], [(0, "line 1", "Ann Lee", "I moved\nto Rome."), (0, "line 3", "Bob", "When?")]);
    }

    #[test]
    fn a_long_answer_falls_into_parts() {
        let long = format!("First line.\n\n{} End.", "A sentence that says a thing or two. ".repeat(30));
        let talk = read(
            serde_json::json!([{"role": "user", "content": "Hi"}, {"role": "assistant", "content": long}])
                .to_string()
                .as_bytes(),
        );
        assert!(talk.turns.len() > 5 && talk.turns.iter().all(|turn| turn.text.len() <= PART_BYTES), "{}", talk.turns.len());
        assert!(talk.turns[1..].iter().all(|turn| turn.place == "message 2" && turn.speaker == "assistant"));
        assert_eq!(talk.turns[1].text, "First line.");
    }

    #[test]
    fn notes_have_chapters_paragraphs_and_items() {
        let talk = read(b"# Plan\nFirst line\ngoes on.\n\n- one: a\n- two\n## Later\nEnd");
        assert_eq!(talk.groups, ["", "Plan", "Later"]);
        let texts: Vec<_> = talk.turns.iter().map(|turn| (turn.group, turn.text.as_str())).collect();
        assert_eq!(texts, [(1, "First line\ngoes on."), (1, "- one: a"), (1, "- two"), (2, "End")]);
    }
}
