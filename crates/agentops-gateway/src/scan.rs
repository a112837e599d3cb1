//! Finds the top-level members of a JSON object and the elements of one of them, without building a tree.
//!
//! A coding agent sends its whole conversation with each call, and each body repeats most of the one before. So a scan can
//! go on from where two bodies differ: what lies before is known already.

use std::ops::Range;

use memchr::memchr2;

/// The most members at the top level. Requests have some dozens, and each member is looked up among all others.
const MEMBERS_MAX: usize = 256;
/// The most elements of a conversation, which Anthropic's reference of the Messages API names as its limit. What is kept for
/// each is some 70 bytes, and an element needs no more than two.
const ITEMS_MAX: usize = 100_000;

/// A member of the top level: ranges of the body's bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Field {
    /// The key, without its quotes.
    pub key: Range<usize>,
    /// The value, as it stands.
    pub value: Range<usize>,
}

/// Where things stand in a body.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Layout {
    /// All top-level members in their order, that of the items included.
    pub fields: Vec<Field>,
    /// The elements of the member that holds the conversation.
    pub items: Vec<Range<usize>>,
    /// Where that array begins (its bracket); `None`: there is none.
    items_at: Option<usize>,
}

/// The body is not what can be measured: it is not forwarded.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the request cannot be measured: {what}, at byte {at} of its body")]
pub struct Malformed {
    /// What is wrong.
    pub what: &'static str,
    /// Where.
    pub at: usize,
}

impl Layout {
    /// Scans a body whose conversation is the array `items_key`.
    ///
    /// # Errors
    /// It is no JSON object, or a top-level key comes twice or is escaped: a reader that takes the other one of two would
    /// see another request than was measured. Or it has more members than requests have.
    pub fn of(body: &[u8], items_key: &str) -> Result<Self, Malformed> {
        Scan { body, items_key, at: 0 }.object(Layout::default())
    }

    /// As [`Layout::of`], where the first `common` bytes are those of a body that was scanned before.
    ///
    /// # Errors
    /// As for [`Layout::of`].
    pub fn extend(&self, common: usize, body: &[u8], items_key: &str) -> Result<Self, Malformed> {
        // A value ends for certain only where a byte after it is common too: `12` may go on as `123`.
        let ended = |range: &Range<usize>| range.end < common;
        let fields: Vec<Field> = self.fields.iter().take_while(|field| ended(&field.value)).cloned().collect();
        let mut at = fields.last().map_or(0, |field| field.value.end);
        let mut known = Layout { fields, items: Vec::new(), items_at: None };
        if let Some(begin) = self.items_at.filter(|begin| *begin < common) {
            known.items_at = Some(begin);
            known.items = self.items.iter().take_while(|item| ended(item)).cloned().collect();
            let whole = known.fields.iter().any(|field| field.value.start == begin);
            if !whole {
                at = known.items.last().map_or(begin + 1, |item| item.end);
                return Scan { body, items_key, at }.rest_of_items(known, self.key_before(begin));
            }
        }
        if at == 0 {
            return Self::of(body, items_key);
        }
        Scan { body, items_key, at }.members(known, true)
    }

    /// The member of that name.
    #[must_use]
    pub fn field(&self, body: &[u8], key: &str) -> Option<Range<usize>> {
        self.fields.iter().find(|field| &body[field.key.clone()] == key.as_bytes()).map(|field| field.value.clone())
    }

    /// Whether this member holds the conversation.
    #[must_use]
    pub fn is_items(&self, field: &Field) -> bool {
        self.items_at == Some(field.value.start)
    }

    fn key_before(&self, begin: usize) -> Range<usize> {
        self.fields.iter().find(|field| field.value.start == begin).map_or(0..0, |field| field.key.clone())
    }
}

struct Scan<'a> {
    body: &'a [u8],
    items_key: &'a str,
    at: usize,
}

impl Scan<'_> {
    fn fail<T>(&self, what: &'static str) -> Result<T, Malformed> {
        Err(Malformed { what, at: self.at })
    }

    fn peek(&mut self) -> Option<u8> {
        while let Some(byte) = self.body.get(self.at) {
            if !matches!(byte, b' ' | b'\n' | b'\r' | b'\t') {
                return Some(*byte);
            }
            self.at += 1;
        }
        None
    }

    fn take(&mut self, byte: u8, what: &'static str) -> Result<(), Malformed> {
        if self.peek() != Some(byte) {
            return self.fail(what);
        }
        self.at += 1;
        Ok(())
    }

    fn object(mut self, into: Layout) -> Result<Layout, Malformed> {
        self.take(b'{', "no object")?;
        self.members(into, false)
    }

    /// Members up to the end of the body. `after_one`: a member stands directly before.
    fn members(mut self, mut into: Layout, mut after_one: bool) -> Result<Layout, Malformed> {
        loop {
            match self.peek() {
                Some(b'}') => {
                    self.at += 1;
                    return if self.peek().is_none() { Ok(into) } else { self.fail("something after the object") };
                }
                Some(b',') if after_one => self.at += 1,
                Some(_) if !after_one && into.fields.is_empty() => {}
                _ => return self.fail("no comma and no end"),
            }
            if self.peek() != Some(b'"') {
                return self.fail("no key");
            }
            let key = self.string()?;
            let key = key.start + 1..key.end - 1;
            let name = &self.body[key.clone()];
            if name.contains(&b'\\') {
                return self.fail("an escaped key");
            }
            if into.fields.iter().any(|field| &self.body[field.key.clone()] == name) {
                return self.fail("a key that comes twice");
            }
            if into.fields.len() == MEMBERS_MAX {
                return self.fail("more than 256 members");
            }
            let is_items = name == self.items_key.as_bytes();
            self.take(b':', "no colon")?;
            let first = self.peek();
            let start = self.at;
            if is_items && first == Some(b'[') {
                into.items_at = Some(start);
                self.at += 1;
                self.items(&mut into)?;
            } else {
                self.value()?;
            }
            into.fields.push(Field { key, value: start..self.at });
            after_one = true;
        }
    }

    fn rest_of_items(mut self, mut into: Layout, key: Range<usize>) -> Result<Layout, Malformed> {
        let start = into.items_at.unwrap_or(self.at);
        self.items(&mut into)?;
        into.fields.push(Field { key, value: start..self.at });
        self.members(into, true)
    }

    /// Elements up to the end of the array.
    fn items(&mut self, into: &mut Layout) -> Result<(), Malformed> {
        let mut after_one = !into.items.is_empty();
        loop {
            match self.peek() {
                Some(b']') => {
                    self.at += 1;
                    return Ok(());
                }
                Some(b',') if after_one => {
                    self.at += 1;
                    self.peek();
                }
                Some(_) if !after_one => {}
                _ => return self.fail("an array without an end"),
            }
            if into.items.len() == ITEMS_MAX {
                return self.fail("more than 100,000 messages");
            }
            let start = self.at;
            self.value()?;
            into.items.push(start..self.at);
            after_one = true;
        }
    }

    /// A string with its quotes.
    fn string(&mut self) -> Result<Range<usize>, Malformed> {
        let start = self.at;
        self.at += 1;
        loop {
            let Some(found) = self.body.get(self.at..).and_then(|rest| memchr2(b'"', b'\\', rest)) else {
                return self.fail("a string without an end");
            };
            self.at += found + 1;
            if self.body[self.at - 1] == b'"' {
                return Ok(start..self.at);
            }
            self.at += 1;
        }
    }

    /// Skips one value. Brackets are counted, not matched by kind: what a provider refuses may pass here, never the other
    /// way round, since each byte counts.
    fn value(&mut self) -> Result<(), Malformed> {
        let mut depth = 0_u32;
        loop {
            match self.peek() {
                Some(b'"') => {
                    self.string()?;
                }
                Some(b'{' | b'[') => {
                    depth += 1;
                    self.at += 1;
                    continue;
                }
                Some(b'}' | b']') if depth > 0 => {
                    depth -= 1;
                    self.at += 1;
                }
                Some(b',' | b':') if depth > 0 => {
                    self.at += 1;
                    continue;
                }
                Some(byte) if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'+' | b'.') => {
                    let is_part = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'+' | b'.');
                    self.at += self.body[self.at..].iter().take_while(|byte| is_part(byte)).count();
                }
                _ => return self.fail("no value"),
            }
            if depth == 0 {
                return Ok(());
            }
        }
    }
}

/// How many bytes two bodies share at their beginnings.
#[must_use]
pub fn common_prefix(a: &[u8], b: &[u8]) -> usize {
    // Whole blocks are compared by the platform's memcmp; only the small block that differs is looked at byte by byte.
    const BLOCK: usize = 4096;
    const SMALL: usize = 32;
    let blocks = |a: &[u8], b: &[u8], size: usize| {
        a.chunks_exact(size).zip(b.chunks_exact(size)).take_while(|(a, b)| a == b).count() * size
    };
    let mut same = blocks(a, b, BLOCK);
    same += blocks(&a[same..], &b[same..], SMALL);
    same + a[same..].iter().zip(&b[same..]).take_while(|(a, b)| a == b).count()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::{Value, json};

    fn texts<'a>(body: &'a [u8], ranges: &[Range<usize>]) -> Vec<&'a str> {
        ranges.iter().map(|range| std::str::from_utf8(&body[range.clone()]).unwrap()).collect()
    }

    #[test]
    fn members_and_items_are_found() {
        let body = br#" {"model":"m", "messages" : [ {"a":["]",1]} ,"x\"]", 3 ],"system":[{"t":"}"}],"n":-1.5e3}"#;
        let layout = Layout::of(body, "messages").unwrap();
        assert_eq!(texts(body, &layout.items), [r#"{"a":["]",1]}"#, r#""x\"]""#, "3"]);
        assert_eq!(layout.fields.len(), 4);
        assert_eq!(&body[layout.field(body, "n").unwrap()], b"-1.5e3");
    }

    #[test]
    fn what_two_readers_could_read_differently_is_refused() {
        let bad = [
            r#"{"a":1,"a":2}"#,
            r#"{"\u0061":1}"#,
            r#"{"a":1} x"#,
            "[]",
            "",
            "{",
            r#"{"a"}"#,
            r#"{"a":}"#,
            r#"{"a":1,,"b":2}"#,
            r#"{,"a":1}"#,
            r#"{"messages":[1,,2]}"#,
            r#"{"messages":[1 2]}"#,
            r#"{"a":"x"#,
            r#"{"messages":[1,]}"#,
            r#"{"a":1 "b":2}"#,
        ];
        for body in bad {
            assert!(Layout::of(body.as_bytes(), "messages").is_err(), "{body}");
        }
    }

    /// A body is refused for this reason, read as a whole and as one that extends `most`.
    fn is_refused(more: &str, what: &str, layout: &Layout, most: &str) {
        let refused = Layout::of(more.as_bytes(), "messages").unwrap_err();
        assert_eq!(refused.what, what);
        let common = common_prefix(most.as_bytes(), more.as_bytes());
        assert_eq!(layout.extend(common, more.as_bytes(), "messages"), Err(refused));
    }

    /// Looking each member up among all others took more than a second for a body of a quarter of a megabyte.
    #[test]
    fn more_members_than_requests_have_are_refused() {
        let body = |count: usize| {
            let members: Vec<String> = (0..count).map(|n| format!("\"k{n}\":0")).collect();
            format!("{{{}}}", members.join(","))
        };
        let most = body(MEMBERS_MAX);
        let layout = Layout::of(most.as_bytes(), "messages").unwrap();
        assert_eq!(layout.fields.len(), MEMBERS_MAX);
        is_refused(&body(MEMBERS_MAX + 1), "more than 256 members", &layout, &most);
    }

    #[test]
    fn more_messages_than_a_provider_takes_are_refused() {
        let body = |count: usize| format!("{{\"messages\":[{}]}}", vec!["1"; count].join(","));
        let most = body(ITEMS_MAX);
        let layout = Layout::of(most.as_bytes(), "messages").unwrap();
        assert_eq!(layout.items.len(), ITEMS_MAX);
        is_refused(&body(ITEMS_MAX + 1), "more than 100,000 messages", &layout, &most);
    }

    /// A body as text, the conversation anywhere among the members.
    fn body() -> impl Strategy<Value = String> {
        let text = prop_oneof!["[a-z\"\\\\{}\\[\\],: ]{0,20}", Just("\n\u{e9}".to_owned())];
        let item = prop_oneof![
            text.clone().prop_map(|t| json!({"role": "user", "content": t})),
            (text, any::<i32>()).prop_map(|(t, n)| json!([t, n, {"x": null}])),
            any::<i16>().prop_map(|n| json!(f64::from(n) / 4.0)),
        ];
        let items = prop::collection::vec(item.clone(), 0..6);
        (items, prop::collection::vec(item, 0..4), any::<prop::sample::Index>(), "[ \n]?").prop_map(
            |(items, others, at, space)| {
                let mut members: Vec<String> =
                    others.iter().enumerate().map(|(n, other)| format!("\"f{n}\":{space}{other}")).collect();
                let items: Vec<String> = items.iter().map(Value::to_string).collect();
                members.insert(
                    at.index(members.len() + 1),
                    format!("\"messages\":[{space}{}]", items.join(&format!("{space},"))),
                );
                format!("{{{}}}{space}", members.join(&format!(",{space}")))
            },
        )
    }

    proptest! {
        #[test]
        fn a_scan_agrees_with_a_parser(text in body()) {
            let value: Value = serde_json::from_str(&text).unwrap();
            let layout = Layout::of(text.as_bytes(), "messages").unwrap();
            let items: Vec<Value> = texts(text.as_bytes(), &layout.items).iter().map(|t| serde_json::from_str(t).unwrap()).collect();
            prop_assert_eq!(&Value::Array(items), &value["messages"]);
            prop_assert_eq!(layout.fields.len(), value.as_object().unwrap().len());
            for field in &layout.fields {
                let key = std::str::from_utf8(&text.as_bytes()[field.key.clone()]).unwrap();
                prop_assert_eq!(&serde_json::from_slice::<Value>(&text.as_bytes()[field.value.clone()]).unwrap(), &value[key]);
            }
        }

        /// Going on from a body that shares a beginning gives what a scan of the whole gives, for every such body.
        #[test]
        fn going_on_is_scanning_again(old in body(), new in body(), share: prop::sample::Index) {
            let (old, new) = (old.into_bytes(), new.into_bytes());
            // The old one's beginning with the new one's end is often no JSON: then both must say so.
            let cut = share.index(old.len() + 1);
            let mixed = [&old[..cut], &new[cut.min(new.len())..]].concat();
            let known = Layout::of(&old, "messages").unwrap();
            for body in [&new, &mixed, &old] {
                let common = common_prefix(&old, body);
                let again = Layout::of(body, "messages");
                let extended = known.extend(common, body, "messages");
                prop_assert_eq!(again.is_ok(), extended.is_ok());
                if let (Ok(again), Ok(extended)) = (again, extended) {
                    prop_assert_eq!(again, extended);
                }
            }
        }
    }
}
