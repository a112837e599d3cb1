//! Finds what has to be hidden in a piece of text, and how much of the text is too young to tell.

use std::collections::BTreeMap;
use std::sync::OnceLock;

use memchr::memmem;
use regex::bytes::Regex;

use super::rules::encoded::{self, Encoded};
use super::rules::{self, Edge, Found, Tail};
use super::search::{Exacts, Keywords};
use super::view::View;

/// Bytes before a position that decide about it: the escape or colour code that may stand directly before a secret, or the
/// beginning of an option's name.
pub(super) const LOOK_BEHIND: usize = 40;
/// Backslashes before an escape that are counted.
const BACKSLASHES_MAX: usize = 10;
/// The longest escape of a JSON string, `\u0041`, in bytes.
const ESCAPE_BYTES_MAX: usize = 6;

/// So many digits after a known number are hidden with it.
const DIGITS_MAX: usize = 64;

/// A stretch to be replaced, in positions of the scanned text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Span {
    pub start: usize,
    pub end: usize,
    /// Index of the marker that replaces it: rules first, then known values.
    pub marker: usize,
    /// What would go on the span if it ends where the text ends.
    pub tail: Option<Tail>,
    /// Whether a rule found a number where a JSON document may have one: there the marker would break the document.
    pub is_number: bool,
}

/// What was found in a text.
pub(super) struct Scan {
    pub spans: Vec<Span>,
    /// Everything that starts before this position is final, whatever text follows.
    pub settled: usize,
    /// Where the last marker that stood in the text ends.
    pub marker_end: Option<usize>,
}

/// The part of the text between two markers that it already has.
#[derive(Clone, Copy)]
struct Segment {
    start: usize,
    is_after_marker: bool,
    end: usize,
    is_before_marker: bool,
}

/// The rules, ready to be searched: once per process, they are the same for every redactor.
struct ReadyRules {
    keywords: Keywords,
    /// For each keyword its rules.
    owners: Vec<Vec<Owner>>,
    /// Each is compiled when its keyword is met for the first time.
    shapes: Vec<OnceLock<Regex>>,
}

/// What judges what follows a keyword.
#[derive(Clone, Copy)]
enum Owner {
    Rule(usize),
    /// The rule of a key in base64.
    Encoded(&'static Encoded),
}

impl ReadyRules {
    fn shape(&self, index: usize) -> &Regex {
        self.shapes[index].get_or_init(|| rules::all()[index].compiled())
    }
}

fn ready() -> &'static ReadyRules {
    static READY: OnceLock<ReadyRules> = OnceLock::new();
    READY.get_or_init(|| {
        let rules = rules::all()
            .iter()
            .enumerate()
            .flat_map(|(index, rule)| rule.all_keywords().map(move |keyword| (keyword.into_bytes(), Owner::Rule(index))));
        let encoded = encoded::all().iter().map(|form| (form.keyword.to_ascii_lowercase(), Owner::Encoded(form)));
        let mut owners: BTreeMap<Vec<u8>, Vec<Owner>> = BTreeMap::new();
        for (keyword, owner) in rules.chain(encoded) {
            owners.entry(keyword).or_default().push(owner);
        }
        let (keywords, owners) = owners.into_iter().unzip();
        ReadyRules {
            keywords: Keywords::new(keywords),
            owners,
            shapes: rules::all().iter().map(|_| OnceLock::new()).collect(),
        }
    })
}

/// The exact texts of one redactor, ready to be searched: its markers, then the forms of its known values.
pub(super) struct Exact {
    texts: Exacts,
    markers: usize,
    /// For each form the marker that replaces it.
    owners: Vec<usize>,
}

impl Exact {
    pub(super) fn new(markers: &[String], forms: Vec<(Vec<u8>, usize)>) -> Self {
        let (forms, owners): (Vec<_>, Vec<_>) = forms.into_iter().unzip();
        let texts = markers.iter().map(|marker| marker.as_bytes().to_vec()).chain(forms).collect();
        Self { texts: Exacts::new(texts), markers: markers.len(), owners }
    }

    /// The first position from which the text could go on to become a marker, a known form or a keyword.
    fn begun_at(&self, text: &[u8], from: usize) -> usize {
        let keywords = &ready().keywords;
        let first = text.len().saturating_sub(self.texts.longest().max(keywords.longest())).max(from);
        let is_begun = |at: &usize| self.texts.is_begun(&text[*at..]) || keywords.is_begun(&text[*at..]);
        (first..text.len()).find(is_begun).unwrap_or(text.len())
    }

    /// Scans a view from `from`; what lies before is only looked at, never found again. `marker_end` is where a marker
    /// ended before `from`, if one did. With `is_last` nothing follows and everything is settled.
    pub(super) fn scan(&self, view: View<'_>, from: usize, marker_end: Option<usize>, is_last: bool) -> Scan {
        let text = view.text;
        let mut spans = Vec::new();
        let mut markers = Vec::new();
        self.texts.find(text, from, |start, index| {
            let end = start + self.texts.text(index).len();
            match index.checked_sub(self.markers) {
                None => markers.push((start, end)),
                Some(form) => {
                    spans.push(Span {
                        start,
                        end: number_end(text, start, end),
                        marker: self.owners[form],
                        tail: None,
                        is_number: false,
                    });
                }
            }
        });
        // A marker is ours: nothing inside it is a secret, and nothing reaches across it.
        spans.retain(|span| !touches(&markers, span.start, span.end));
        let mut begun = if is_last { text.len() } else { self.begun_at(text, from) };
        while let Some(&(_, end)) = markers.iter().find(|(start, end)| (*start..*end).contains(&begun)) {
            begun = self.begun_at(text, end);
        }
        let mut settled = begun;
        for span in &mut spans {
            if !is_last && span.end + ESCAPE_BYTES_MAX > text.len() {
                settled = settled.min(span.start);
            }
            widen_over_escapes(text, span);
        }
        let ready = ready();
        let mut runs = Runs::default();
        ready.keywords.find(text, from, |at, keyword| {
            if touches(&markers, at, at + ready.keywords.text(keyword).len()) {
                return;
            }
            let segment = segment_at(text, &markers, marker_end, at);
            for &owner in &ready.owners[keyword] {
                let window = match owner {
                    Owner::Rule(index) if !edge_before(rules::all()[index].edge, view, segment, at) => continue,
                    Owner::Encoded(form) if !text[at..].starts_with(&form.keyword) => continue,
                    Owner::Rule(index) => rules::all()[index].window,
                    Owner::Encoded(_) => encoded::WINDOW,
                };
                if !is_last && !segment.is_before_marker && at + window > begun {
                    settled = settled.min(at);
                    continue;
                }
                let span = match owner {
                    Owner::Rule(index) => judge(index, ready.shape(index), view, at, segment, &mut runs),
                    Owner::Encoded(form) => judge_encoded(form, ready.shape(form.rule), text, at, segment, &mut runs),
                };
                if let Some(mut span) = span {
                    widen_over_escapes(text, &mut span);
                    spans.push(span);
                }
            }
        });
        if !is_last {
            // A span may widen to the left over an escape that stands directly before it.
            let near = settled.saturating_sub(ESCAPE_BYTES_MAX).max(from);
            settled = text[near..settled].iter().position(|byte| *byte == b'\\').map_or(settled, |index| near + index);
        }
        let marker_end = markers.last().map(|(_, end)| *end).or(marker_end);
        Scan { spans, settled, marker_end }
    }
}

/// A known number hides the digits that go on it: what is left of them could join what replaces it to the same number.
fn number_end(text: &[u8], start: usize, end: usize) -> usize {
    let is_number = text[start..end].iter().all(|byte| byte.is_ascii_digit() || b"+-.eE".contains(byte));
    let digits = text[end..].iter().take(DIGITS_MAX).take_while(|byte| byte.is_ascii_digit()).count();
    if is_number { end + digits } else { end }
}

/// Markers do not overlap and come in order.
fn touches(markers: &[(usize, usize)], start: usize, end: usize) -> bool {
    let next = markers.partition_point(|(_, marker_end)| *marker_end <= start);
    markers.get(next).is_some_and(|(marker_start, _)| *marker_start < end)
}

fn segment_at(text: &[u8], markers: &[(usize, usize)], before: Option<usize>, at: usize) -> Segment {
    let next = markers.partition_point(|(_, marker_end)| *marker_end <= at);
    let start = next.checked_sub(1).map(|last| markers[last].1).or(before);
    let end = markers.get(next).map(|(marker_start, _)| *marker_start);
    Segment {
        start: start.unwrap_or(0),
        is_after_marker: start.is_some(),
        end: end.unwrap_or(text.len()),
        is_before_marker: end.is_some(),
    }
}

/// Where runs of tail characters end, remembered so that a text made of nothing but keywords costs no square of its size.
#[derive(Default)]
struct Runs([Option<(usize, usize)>; Tail::COUNT]);

impl Runs {
    fn end(&mut self, tail: Tail, text: &[u8], from: usize, limit: usize) -> usize {
        let run = &mut self.0[tail as usize];
        match *run {
            Some((start, end)) if (start..end).contains(&from) => end,
            _ => {
                let end = run_end(tail, text, from, limit);
                *run = Some((from, end));
                end
            }
        }
    }
}

/// The end of the run of tail characters that starts at `from`.
pub(super) fn run_end(tail: Tail, text: &[u8], from: usize, limit: usize) -> usize {
    text[from..limit].iter().position(|byte| !tail.takes(*byte)).map_or(limit, |length| from + length)
}

fn judge(index: usize, shape: &Regex, view: View<'_>, at: usize, segment: Segment, runs: &mut Runs) -> Option<Span> {
    let (rule, text) = (rules::all()[index], view.text);
    let sight = (at + rule.window).min(segment.end);
    // Most words are just words, and to see that takes no captures.
    let has_needed = rule.needs.is_empty() || memmem::find(&text[at..sight], rule.needs.as_bytes()).is_some();
    if !has_needed || !shape.is_match(&text[at..sight]) {
        return None;
    }
    let captures = shape.captures(&text[at..sight])?;
    let secret = captures.iter().skip(1).flatten().next().or_else(|| captures.get(0))?;
    let (start, mut end) = (at + secret.start(), at + secret.end());
    let tail = rule.tail_after(&text[at..start]);
    if let Some(tail) = tail {
        end = runs.end(tail, text, end, segment.end);
    }
    let is_cut_by_marker = segment.is_before_marker && end == segment.end && end < at + rule.window;
    if rule.strict && is_cut_by_marker {
        return None;
    }
    let seen = end.min(sight);
    let next = (end < sight && !view.has_code_at(end)).then(|| text[end]);
    let is_cut = segment.is_before_marker && sight == segment.end;
    let found = Found { head: &text[at..start], value: &text[start..seen], next, after: &text[seen..sight], is_cut };
    // A value that reaches the window's end may go on, or may not have come yet.
    let is_of_number = if end >= at + rule.window { may_be_of_number(found.value) } else { is_json_number(found.value) };
    let is_number = is_of_number && ends_a_name(found.head);
    (rule.check)(&found).then_some(Span { start, end, marker: index, tail, is_number })
}

/// Whether what stands before a value is a closed string and the sign after it, as before a number of a JSON document.
fn ends_a_name(head: &[u8]) -> bool {
    match head.trim_ascii_end() {
        [head @ .., b':' | b','] => head.trim_ascii_end().ends_with(b"\""),
        _ => false,
    }
}

/// Whether what is seen of a value may be the beginning of a number.
fn may_be_of_number(value: &[u8]) -> bool {
    value.iter().all(|byte| byte.is_ascii_digit() || b"+-.eE".contains(byte))
}

/// Whether this is a number as JSON writes it.
pub(super) fn is_json_number(value: &[u8]) -> bool {
    let are_digits = |text: &[u8]| !text.is_empty() && text.iter().all(u8::is_ascii_digit);
    let value = value.strip_prefix(b"-").unwrap_or(value);
    let mut parts = value.splitn(2, |byte| b"eE".contains(byte));
    let mantissa = parts.next().unwrap_or_default();
    let is_exponent = |text: &[u8]| are_digits(text.strip_prefix(b"+").or(text.strip_prefix(b"-")).unwrap_or(text));
    let has_right_exponent = parts.next().is_none_or(is_exponent);
    let mut parts = mantissa.splitn(2, |byte| *byte == b'.');
    let whole = parts.next().unwrap_or_default();
    let has_right_fraction = parts.next().is_none_or(are_digits);
    are_digits(whole) && (whole.len() == 1 || whole[0] != b'0') && has_right_fraction && has_right_exponent
}

/// Judges what the base64 that starts at `at` stands for.
fn judge_encoded(form: &Encoded, shape: &Regex, text: &[u8], at: usize, segment: Segment, runs: &mut Runs) -> Option<Span> {
    let rule = rules::all()[form.rule];
    let sight = (at + encoded::WINDOW).min(segment.end);
    let in_base64 = |byte: &&u8| byte.is_ascii_alphanumeric() || b"+/-_".contains(byte);
    let run = text[at..sight].iter().take_while(in_base64).count();
    let decoded = encoded::decoded(&[&form.before, &text[at..at + run]].concat())?;
    let key = decoded.get(form.zeros..)?;
    let captures = shape.captures(key)?;
    let secret = captures.iter().skip(1).flatten().next().or_else(|| captures.get(0))?;
    let (start, mut end) = (secret.start(), secret.end());
    if let Some(tail) = rule.tail_after(&key[..start]) {
        end = run_end(tail, key, end, key.len());
    }
    let is_cut_by_marker = segment.is_before_marker && at + run == segment.end && end == key.len();
    if rule.strict && is_cut_by_marker {
        return None;
    }
    let found = Found {
        head: &key[..start],
        value: &key[start..end],
        next: key.get(end).copied(),
        after: &key[end..],
        is_cut: at + run == segment.end && segment.is_before_marker,
    };
    if !(rule.check)(&found) {
        return None;
    }
    if end == key.len() {
        // The key, or what base64 pads it with, may go on.
        let end = runs.end(Tail::Header, text, at + run, segment.end);
        return Some(Span { start: at, end, marker: form.rule, tail: Some(Tail::Header), is_number: false });
    }
    let characters = ((form.zeros + end) * 8).div_ceil(6) - form.before.len();
    Some(Span { start: at, end: at + characters, marker: form.rule, tail: None, is_number: false })
}

/// Whether a match may start at `at`. Directly after a marker it may not: what the marker hides is not known, and taking
/// it for an edge would find on a second pass what the first one had left. A colour code is an edge of its own.
fn edge_before(edge: Edge, view: View<'_>, segment: Segment, at: usize) -> bool {
    if edge == Edge::Any || view.has_code_at(at) {
        return true;
    }
    if at == segment.start {
        return !segment.is_after_marker && edge != Edge::Digits;
    }
    let before = &view.text[segment.start.max(at.saturating_sub(LOOK_BEHIND))..at];
    if edge == Edge::Option {
        return begins_an_option(before, segment.is_after_marker && segment.start + before.len() == at);
    }
    let is_open = match before {
        _ if edge == Edge::Digits => {
            return before.len() > 6 && before[before.len() - 6..].iter().all(u8::is_ascii_digit);
        }
        [b'_' | b'-'] if edge == Edge::Word => !segment.is_after_marker,
        [.., byte, b'_' | b'-'] if edge == Edge::Word => !byte.is_ascii_alphanumeric() && !b"_-".contains(byte),
        [.., byte] => !byte.is_ascii_alphanumeric(),
        [] => true,
    };
    is_open || ends_with_escape(before)
}

/// `--`, `-` or `--github-`, and nothing before that goes on a word.
fn begins_an_option(before: &[u8], is_after_marker: bool) -> bool {
    let in_name = |byte: &&u8| byte.is_ascii_alphanumeric() || **byte == b'-';
    let name = before.iter().rev().take_while(in_name).count();
    let (before, name) = before.split_at(before.len() - name);
    let is_open = match before.last() {
        None => !is_after_marker && before.len() + name.len() < LOOK_BEHIND,
        Some(byte) => *byte != b'_' || ends_with_escape(before),
    };
    name.starts_with(b"-") && is_open
}

/// `\n` and the like, `\u000a`, `%3D`, or a colour code such as `ESC[0;31m` (its `[0;31m`, however ESC was written).
fn ends_with_escape(before: &[u8]) -> bool {
    let hex = |count: usize| before[before.len() - count..].iter().all(u8::is_ascii_hexdigit);
    match before {
        [.., b'\\', b'n' | b'r' | b't' | b'b' | b'f'] => true,
        [.., b'\\', b'u', _, _, _, _] => hex(4),
        [.., b'%', _, _] => hex(2),
        [code @ .., b'm'] => {
            let digits = code.iter().rev().take_while(|byte| byte.is_ascii_digit() || **byte == b';').count();
            code[..code.len() - digits].last() == Some(&b'[')
        }
        _ => false,
    }
}

/// Widens a span that begins or ends inside an escape of a JSON string, so that the string stays one.
fn widen_over_escapes(text: &[u8], span: &mut Span) {
    let first = span.start.saturating_sub(ESCAPE_BYTES_MAX - 1);
    if let Some(start) = (first..span.start).find(|at| escape_end(text, *at).is_some_and(|end| end > span.start)) {
        span.start = start;
    }
    let first = span.end.saturating_sub(ESCAPE_BYTES_MAX - 1).max(span.start);
    if let Some(end) = (first..span.end).filter_map(|at| escape_end(text, at)).find(|end| *end > span.end) {
        span.end = end;
    }
}

/// Where the escape that starts at `at` ends; `None` if none starts there. A backslash starts one if an even number of
/// backslashes stands before it, counted no further than [`BACKSLASHES_MAX`].
fn escape_end(text: &[u8], at: usize) -> Option<usize> {
    let before = &text[at.saturating_sub(BACKSLASHES_MAX)..at];
    if text[at] != b'\\' || before.iter().rev().take_while(|byte| **byte == b'\\').count() % 2 == 1 {
        return None;
    }
    let follows = text.get(at + 1..)?;
    match follows {
        [b'u', hex @ ..] if hex.len() >= 4 && hex[..4].iter().all(u8::is_ascii_hexdigit) => Some(at + 6),
        [byte, ..] if byte.is_ascii() => Some(at + 2),
        _ => None,
    }
}
