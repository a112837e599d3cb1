//! JSON as a model reads it, written out for a tokenizer.

use std::borrow::Cow;
use std::ops::Range;

use super::{CUT_TOKENS, PART_BYTES, text_tokens};

/// How a value reaches a model.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rendering {
    /// As messages: strings are texts, and the model reads them without their escapes. What tools are given and give back is
    /// JSON within it.
    Messages,
    /// As JSON, strings with their escapes: descriptions of tools, schemas.
    Json,
}

/// Members of messages whose objects and lists a model reads as JSON.
const JSON_MEMBERS: [&[u8]; 8] =
    [b"input", b"args", b"response", b"arguments", b"parameters", b"input_schema", b"schema", b"tools"];

/// Bytes that an exponent may add to a number that a provider writes out: `1e20` has 21 digits in JavaScript. What a form with
/// an exponent may add to a number without one is less than its digits give beyond their tokens.
const EXPONENT_BYTES: u64 = 24;

/// The o200k tokens of a JSON value, written with a blank behind each comma and colon as Python does it or without any as
/// JavaScript does it, whichever has more. `data`: strings that are no text (places within the value, in their order), which count as empty.
///
/// A long value is counted in parts. That may add tokens, and takes none: each cut counts.
#[must_use]
pub fn json_tokens(json: &[u8], rendering: Rendering, data: &[Range<usize>]) -> u64 {
    let json_from = (rendering == Rendering::Json).then_some(0);
    let mut writer = Writer { json, at: 0, text: String::new(), blanks: Vec::new(), tokens: 0, depth: 0, json_from, data };
    writer.write();
    writer.flush();
    writer.tokens.min(json_bound(json, data))
}

/// An upper bound of the tokens of a JSON value without a tokenizer: its bytes, the blanks behind commas and colons, and what
/// exponents may add. No tokenizer makes more tokens than bytes. `data` as for [`json_tokens`].
#[must_use]
pub fn json_bound(json: &[u8], data: &[Range<usize>]) -> u64 {
    let (mut bound, mut at) = (0, 0);
    for data in data {
        bound += text_bound(json.get(at..data.start).unwrap_or_default());
        at = data.end;
    }
    bound + text_bound(json.get(at..).unwrap_or_default())
}

fn text_bound(json: &[u8]) -> u64 {
    const BLOCK: usize = 128;
    let separators = memchr::memchr_iter(b',', json).count() + memchr::memchr_iter(b':', json).count();
    // Small blocks with small sums let the compiler compare many bytes at once.
    let exponents = |(digits, letters): (&[u8], &[u8])| {
        let is_exponent = |(digit, e): (&u8, &u8)| u8::from(digit.is_ascii_digit() & matches!(e, b'e' | b'E'));
        u64::from(digits.iter().zip(letters).map(is_exponent).sum::<u8>())
    };
    let after = json.get(1..).unwrap_or_default();
    let exponents = json.chunks(BLOCK).zip(after.chunks(BLOCK)).map(exponents).sum::<u64>();
    (json.len() + separators) as u64 + exponents * EXPONENT_BYTES
}

struct Writer<'a> {
    json: &'a [u8],
    at: usize,
    text: String,
    /// Where blanks stand in the text that a compact form does not have.
    blanks: Vec<usize>,
    tokens: u64,
    depth: u32,
    /// The depth at which a value began that is read as JSON.
    json_from: Option<u32>,
    data: &'a [Range<usize>],
}

impl Writer<'_> {
    fn write(&mut self) {
        // The next object or list is read as JSON.
        let mut is_json_next = false;
        while let Some(byte) = self.json.get(self.at) {
            match byte {
                b' ' | b'\n' | b'\r' | b'\t' => self.at += 1,
                b'{' | b'[' => {
                    self.depth += 1;
                    if is_json_next {
                        self.json_from = self.json_from.or(Some(self.depth));
                    }
                    is_json_next = false;
                    self.sign(*byte);
                }
                b'}' | b']' => {
                    if self.json_from == Some(self.depth) && self.depth > 0 {
                        self.json_from = None;
                    }
                    self.depth = self.depth.saturating_sub(1);
                    self.sign(*byte);
                }
                b',' | b':' => {
                    is_json_next &= *byte == b':';
                    self.sign(*byte);
                    self.blanks.push(self.text.len());
                    self.text.push(' ');
                }
                b'"' => is_json_next = self.string(),
                _ => self.bare(),
            }
            if self.text.len() >= PART_BYTES {
                self.flush();
                self.tokens += CUT_TOKENS;
            }
        }
    }

    /// Counts what is written: the form with blanks, or the one without where it has more tokens, as `["\\\\:","\\\\:"]` has.
    fn flush(&mut self) {
        let mut tokens = text_tokens(&self.text);
        if !self.blanks.is_empty() {
            let mut compact = String::with_capacity(self.text.len());
            let mut at = 0;
            for blank in self.blanks.drain(..) {
                compact.push_str(&self.text[at..blank]);
                at = blank + 1;
            }
            compact.push_str(&self.text[at..]);
            tokens = tokens.max(text_tokens(&compact));
        }
        self.tokens += tokens;
        self.text.clear();
    }

    fn sign(&mut self, sign: u8) {
        self.text.push(char::from(sign));
        self.at += 1;
    }

    /// Writes a string. Says whether it is the key of a value that is read as JSON.
    fn string(&mut self) -> bool {
        let start = self.at + 1;
        let mut end = start;
        loop {
            match self.json.get(end..).and_then(|rest| memchr::memchr2(b'"', b'\\', rest)) {
                Some(found) if self.json[end + found] == b'"' => {
                    end += found;
                    break;
                }
                Some(found) => end = (end + found + 2).min(self.json.len()),
                None => {
                    // A string without an end.
                    end = self.json.len();
                    break;
                }
            }
        }
        self.at = (end + 1).min(self.json.len());
        let written = &self.json[start..end];
        while self.data.first().is_some_and(|data| data.start < start) {
            self.data = &self.data[1..];
        }
        self.text.push('"');
        if self.data.first().is_none_or(|data| data.start != start) {
            self.content(written);
        }
        // A string without an end has one quote.
        if end < self.json.len() {
            self.text.push('"');
        }
        let next = self.json[self.at..].iter().find(|byte| !matches!(byte, b' ' | b'\n' | b'\r' | b'\t'));
        next == Some(&b':') && JSON_MEMBERS.contains(&written)
    }

    fn content(&mut self, written: &[u8]) {
        if !written.contains(&b'\\') {
            self.text.push_str(&String::from_utf8_lossy(written));
            return;
        }
        // Half a surrogate pair and the like count as they stand.
        let text = serde_json::from_slice::<Cow<'_, str>>(&[b"\"", written, b"\""].concat()).map(Cow::into_owned);
        let text = text.unwrap_or_else(|_| String::from_utf8_lossy(written).into_owned());
        match self.json_from {
            // A client may escape more than is needed; a provider writes what is.
            Some(_) => {
                let escaped = serde_json::to_string(&text).unwrap_or_default();
                self.text.push_str(escaped.trim_start_matches('"').strip_suffix('"').unwrap_or(&escaped));
            }
            None => self.text.push_str(&text),
        }
    }

    /// Writes a number or a word.
    fn bare(&mut self) {
        let is_part =
            |byte: &&u8| !matches!(byte, b'{' | b'}' | b'[' | b']' | b',' | b':' | b'"' | b' ' | b'\n' | b'\r' | b'\t');
        let rest = &self.json[self.at..];
        let word = &rest[..rest.iter().take_while(is_part).count()];
        self.at += word.len();
        let word = String::from_utf8_lossy(word);
        match other_forms(&word) {
            Some(number) => self.text.push_str(&longest_form(&word, number)),
            None => self.text.push_str(&word),
        }
    }
}

/// The value of a number that a provider may write in another form with more tokens; `None`: there is no such form.
///
/// An exponent may be written out; Python writes one in place of more than three zeros behind the point or more than 16 digits
/// before it, JavaScript in place of more than 21 digits of a whole number too.
fn other_forms(word: &str) -> Option<f64> {
    let digits = word.strip_prefix('-').unwrap_or(word);
    let before_point = digits.bytes().take_while(u8::is_ascii_digit).count();
    let may_differ = match digits.as_bytes().get(before_point) {
        None => before_point > 21,
        Some(b'.') => before_point > 16 || digits.starts_with("0.0000") || digits.contains(['e', 'E']),
        Some(_) => digits.contains(['e', 'E']),
    };
    may_differ.then(|| word.parse::<f64>().ok().filter(|number| number.is_finite()))?
}

/// The form with the most tokens: as it is written, as Python writes it (`1e+20`, `1.5e-05`, `100000.0`), and as JavaScript does
/// (`100000000000000000000`, `0.000015`, `1.5e-7`).
fn longest_form(word: &str, number: f64) -> String {
    let scientific = format!("{number:e}");
    let (digits, exponent) = scientific.split_once('e').unwrap_or((&scientific, "0"));
    let exponent: i32 = exponent.parse().unwrap_or_default();
    let sign = if exponent < 0 { '-' } else { '+' };
    // Python reads a number without a point and an exponent as a whole one, and writes all its digits.
    let is_float = word.contains(['.', 'e', 'E']);
    let python = is_float.then(|| match exponent {
        -4..16 => format!("{number:?}"),
        _ => format!("{digits}e{sign}{:02}", exponent.abs()),
    });
    let javascript = match exponent {
        -6..21 => number.to_string(),
        _ => format!("{digits}e{sign}{}", exponent.abs()),
    };
    let all = [Some(word.to_owned()), python, Some(javascript)].into_iter().flatten();
    all.max_by_key(|form| text_tokens(form)).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::*;

    /// As Python writes it.
    fn spaced(value: &Value) -> String {
        match value {
            Value::Array(items) => format!("[{}]", items.iter().map(spaced).collect::<Vec<_>>().join(", ")),
            Value::Object(members) => {
                let member = |(key, value): (&String, &Value)| format!("{}: {}", json!(key), spaced(value));
                format!("{{{}}}", members.iter().map(member).collect::<Vec<_>>().join(", "))
            }
            other => other.to_string(),
        }
    }

    fn value() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            (0..10_i32).prop_map(Value::from),
            any::<f64>().prop_map(Value::from),
            Just(json!("")),
            "[a-z \"\\\\\n\t{}\\[\\],:-]{0,12}".prop_map(Value::from),
            "\\PC{0,6}".prop_map(Value::from),
        ];
        leaf.prop_recursive(6, 60, 8, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..8).prop_map(Value::from),
                prop::collection::vec(("[a-z\"\\\\]{0,3}", inner.clone()), 0..6)
                    .prop_map(|members| Value::Object(members.into_iter().collect())),
                // Many of one kind: lists of lists of nothing, grids of empty strings.
                (inner, 1_usize..40).prop_map(|(one, times)| Value::from(vec![one; times])),
            ]
        })
    }

    proptest! {
        /// As JSON a value has the tokens of what providers may write, and no others.
        #[test]
        fn b1_every_sign_of_a_value_counts(value in value(), indented: bool) {
            let written = if indented { serde_json::to_string_pretty(&value) } else { serde_json::to_string(&value) }.unwrap();
            let counted = json_tokens(written.as_bytes(), Rendering::Json, &[]);
            let (short, long) = (text_tokens(&value.to_string()), text_tokens(&spaced(&value)));
            prop_assert!(counted >= long && counted >= short, "{counted} of {long} and {short}");
            // Exponents may be written out.
            let exponents = value.to_string().matches(['e', 'E']).count() as u64;
            // Each part of a long value counts in the form in which it has the most, and a cut may add some.
            let most = long.max(short);
            let slack = if written.len() < PART_BYTES / 2 { 0 } else { most / 20 };
            prop_assert!(counted <= most + slack + exponents * EXPONENT_BYTES, "{counted} of {long} and {short}");
            prop_assert!(counted <= json_bound(written.as_bytes(), &[]));
        }

        /// Within a message the text of strings counts, and JSON where a tool is given it.
        #[test]
        fn b1_what_tools_are_given_counts_as_json(value in value(), key in prop::sample::select(vec!["input", "args", "response"])) {
            let message = json!({"role": "assistant", "content": [{"type": "tool_use", key: [value]}]});
            let counted = json_tokens(message.to_string().as_bytes(), Rendering::Messages, &[]);
            prop_assert!(counted >= text_tokens(&spaced(&value)));
            prop_assert!(counted <= json_bound(message.to_string().as_bytes(), &[]));
        }

        #[test]
        fn any_bytes_are_counted(bytes in prop::collection::vec(any::<u8>(), 0..400), signs in "[\\[\\]{}\",:\\\\e1 ]{0,60}") {
            for rendering in [Rendering::Messages, Rendering::Json] {
                let _any_bytes = json_tokens(&bytes, rendering, &[]);
                prop_assert!(json_tokens(signs.as_bytes(), rendering, &[]) <= json_bound(signs.as_bytes(), &[]));
            }
        }
    }

    #[test]
    fn escapes_of_texts_are_not_counted() {
        let text = "fn main() {\n\tprintln!(\"hi\");\n}\n".repeat(20);
        let json = json!({ "role": "user", "content": text }).to_string();
        let (plain, counted) = (text_tokens(&text), json_tokens(json.as_bytes(), Rendering::Messages, &[]));
        assert!(plain < counted && counted < plain + 14, "{plain} {counted}");
    }

    #[test]
    fn data_is_not_counted_and_what_stands_around_it_is() {
        let json = br#"{"data":"AAAA","text":"word","more":"BBBB"}"#;
        let data = [9..13, 37..41];
        assert_eq!((&json[data[0].clone()], &json[data[1].clone()]), (&b"AAAA"[..], &b"BBBB"[..]));
        let empty = br#"{"data":"","text":"word","more":""}"#;
        assert_eq!(json_tokens(json, Rendering::Messages, &data), json_tokens(empty, Rendering::Messages, &[]));
    }

    /// A provider that reads a number writes it in its own way.
    #[test]
    fn b1_a_number_counts_in_the_form_with_the_most_tokens() {
        for (written, form) in [
            // Python's.
            ("0.00001234", "1.234e-05"),
            ("-0.000012345678", "-1.2345678e-05"),
            ("12345678901234567.5", "1.2345678901234568e+16"),
            ("1e5", "100000.0"),
            ("1E-7", "1e-07"),
            // JavaScript's.
            ("1e20", "100000000000000000000"),
            ("1234567890123456789012", "1.2345678901234568e+21"),
            ("-1.5e19", "-15000000000000000000"),
            // As they are written.
            ("5.00e+00", "5.00e+00"),
            ("1234567890.00005", "1234567890.00005"),
            ("1e999", "1e999"),
        ] {
            let (json, form) = (vec![written; 1_000].join(","), vec![form; 1_000].join(", "));
            let counted = json_tokens(json.as_bytes(), Rendering::Json, &[]);
            let most = text_tokens(&form);
            assert!(counted >= most && counted <= most + most / 50, "{written}: {counted} of {most}");
            assert!(counted <= json_bound(json.as_bytes(), &[]), "{written}");
        }
    }

    #[test]
    fn b1_lists_of_nothing_count() {
        for (one, least) in
            [("[]", 50_000), ("{}", 50_000), ("\"\"", 50_000), ("[[]]", 100_000), ("1e20", 300_000), ("7", 150_000)]
        {
            let json = format!("{{\"input\":[{}]}}", vec![one; 50_000].join(","));
            let counted = json_tokens(json.as_bytes(), Rendering::Messages, &[]);
            assert!(counted >= least && counted <= json_bound(json.as_bytes(), &[]), "{one}: {counted}");
        }
    }
}
