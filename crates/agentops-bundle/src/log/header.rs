//! What each line of a log begins with: time, host, process ids. Columns that say the same in every kind of line, or only
//! when and where, are left out of the lines; the result says so once.
//!
//! The columns are learnt from a sample of the log in which every kind of line counts once, so that one frequent kind does
//! not make its own words look like a header. What does not fit the learnt form is left as it is.

use std::collections::{BTreeMap, HashSet};

use super::{clean, scan};

/// Lines that are looked at, spread evenly over the log.
const SAMPLE_LINES: usize = 4096;
/// Fewer kinds of lines in the sample say nothing about columns.
const KINDS_MIN: usize = 6;
/// No header has more columns.
const COLUMNS_MAX: usize = 12;
/// A time stands among the first columns, or this is not a log but a table.
const TIME_COLUMNS: usize = 6;
/// At least one of so many kinds of lines has a time, or there is no header to learn.
const TIMED_SHARE: usize = 4;
/// Words between two columns of numbers that still belong to the header: level, component.
const GAP_MAX: usize = 2;

/// Ids have few forms, words have many.
const FORMS_MAX: usize = 24;

/// Names of days and months, which are parts of times.
const CALENDAR: &[&str] = &[
    "Apr", "Aug", "Dec", "Feb", "Fri", "Jan", "Jul", "Jun", "Mar", "May", "Mon", "Nov", "Oct", "Sat", "Sep", "Sun", "Thu",
    "Tue", "Wed",
];

/// What is known of a column.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Column {
    /// Shown.
    Kept,
    /// Numbers and ids: left out.
    Numbers,
    /// A name of a day or month, or a host: left out.
    Place,
    /// The same in all lines: left out where it is.
    Same(Vec<u8>),
}

/// The columns that lines begin with; none if nothing was learnt.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(super) struct Header {
    columns: Vec<Column>,
}

impl Header {
    /// Looks for columns in a log.
    pub(super) fn learn(source: &[u8]) -> Self {
        let mut scratch = Vec::new();
        let mut seen = HashSet::new();
        let mut rows: Vec<Vec<Vec<u8>>> = Vec::new();
        let plain = Header::default();
        for at in sample(source) {
            let line = clean::line(clean::line_at(source, at), &mut scratch);
            // What is indented goes on with the line before: frames of traces, wrapped text.
            let begins = line.first().is_some_and(|byte| !byte.is_ascii_whitespace());
            if begins && seen.insert(scan::kind_of(line, &plain)) {
                rows.push(Fields::of(line).take(COLUMNS_MAX).map(|(start, end)| line[start..end].to_vec()).collect());
            }
        }
        Self::from_rows(&rows)
    }

    fn from_rows(all: &[Vec<Vec<u8>>]) -> Self {
        // Messages of several lines and banners have no header; the lines that have a time say what it is.
        let has_time = |row: &&Vec<Vec<u8>>| row.iter().take(TIME_COLUMNS).any(|field| is_time(field, &form(field)));
        let rows: Vec<&Vec<Vec<u8>>> = all.iter().filter(has_time).collect();
        if rows.len() < KINDS_MIN || rows.len() * TIMED_SHARE < all.len() {
            return Self::default();
        }
        let rows = &rows;
        let seen: Vec<Seen> = (0..COLUMNS_MAX).map(|column| Seen::of(rows, column)).collect();
        let Some(first_time) = seen.iter().take(TIME_COLUMNS).position(|column| column.is_time) else {
            return Self::default();
        };
        let mut end = first_time + 1;
        for (index, column) in seen.iter().enumerate().skip(end) {
            // Process ids follow the time at once; a number after words is what the line tells, unless it never changes.
            let is_id = (column.is_numbers && index == end) || (column.is_bare && column.same.is_some());
            if column.is_time || column.is_calendar || is_id {
                end = index + 1;
            } else if index >= end + GAP_MAX {
                break;
            }
        }
        // RFC 3164: after the time stands the host, then what wrote the line, with a colon.
        if end < COLUMNS_MAX - 1 && seen[0].is_calendar && seen[end - 1].is_time && seen[end + 1].is_tag {
            end += 1;
        }
        let syslog_host = end > 1 && seen[0].is_calendar && !seen[end - 1].is_numbers && !seen[end - 1].is_calendar;
        // Columns after the last number that never change are part of it too.
        while end < COLUMNS_MAX && seen[end].same.is_some() {
            end += 1;
        }
        let last_time = seen[..end].iter().rposition(|column| column.is_time).unwrap_or(first_time);
        let mut after_word = false;
        let columns = seen.into_iter().take(end).enumerate().map(|(index, column)| {
            // Behind a level or a component, a name with a number is a place in the program: that is told.
            if column.is_bare || (column.is_numbers && (!after_word || index < last_time)) {
                Column::Numbers
            } else if column.is_calendar || (syslog_host && index + 1 == end) {
                Column::Place
            } else {
                after_word |= column.same.is_none();
                column.same.map_or(Column::Kept, Column::Same)
            }
        });
        Self { columns: columns.collect() }
    }

    /// Calls `each` with the parts of a line that are shown, in order; with the whole line where it has no such header.
    pub(super) fn each_part<'a>(&self, line: &'a [u8], mut each: impl FnMut(&'a [u8])) {
        if self.columns.is_empty() {
            return each(line);
        }
        let mut parts = [(0, 0); COLUMNS_MAX];
        let mut kept = 0;
        let mut fields = Fields::of(line);
        for column in &self.columns {
            let Some((start, end)) = fields.next() else { return each(line) };
            let field = &line[start..end];
            let left_out = match column {
                Column::Kept => false,
                Column::Numbers => {
                    if !field.iter().any(u8::is_ascii_digit) && !is_none(field) {
                        return each(line);
                    }
                    true
                }
                Column::Place => true,
                Column::Same(value) => field == value,
            };
            if !left_out {
                parts[kept] = (start, end);
                kept += 1;
            }
        }
        for (start, end) in &parts[..kept] {
            each(&line[*start..*end]);
        }
        each(&line[fields.start()..]);
    }

    /// The line as it is shown.
    pub(super) fn strip(&self, line: &[u8]) -> String {
        let mut text = Vec::with_capacity(line.len());
        self.each_part(line, |part| {
            if !text.is_empty() && !part.is_empty() {
                text.push(b' ');
            }
            text.extend_from_slice(part);
        });
        clean::shown(text.trim_ascii_end())
    }

    /// The end of a line that is shown without a gap: what follows the header.
    pub(super) fn tail(&self, line: &[u8]) -> String {
        let mut tail = &line[..0];
        self.each_part(line, |part| tail = part);
        clean::shown(tail.trim_ascii_end())
    }

    /// Whether there is nothing to leave out.
    pub(super) fn is_empty(&self) -> bool {
        self.columns.is_empty()
    }

    /// The columns that a line begins with.
    pub(super) fn left(&self, line: &[u8]) -> String {
        let mut fields = Fields::of(line);
        let end = self.columns.iter().filter_map(|_| fields.next()).last().map_or(0, |(_, end)| end);
        clean::shown(&line[..end])
    }

    /// What is left out of the lines, in words; `None` where it is nothing.
    pub(super) fn left_out(&self) -> Option<String> {
        let mut words = Vec::new();
        for (index, column) in self.columns.iter().enumerate() {
            match column {
                Column::Kept => {}
                Column::Numbers | Column::Place => words.push(format!("{}", index + 1)),
                Column::Same(value) => words.push(format!("{} (`{}`)", index + 1, clean::shown(value))),
            }
        }
        (!words.is_empty()).then(|| words.join(", "))
    }
}

/// Where lines begin that are spread evenly over the log.
fn sample(source: &[u8]) -> impl Iterator<Item = usize> {
    let step = (source.len() / SAMPLE_LINES).max(1);
    let mut at = 0;
    let mut next = 0;
    std::iter::from_fn(move || {
        while at < source.len() {
            let start = at;
            at = memchr::memchr(b'\n', &source[at..]).map_or(source.len(), |found| at + found + 1);
            if start >= next {
                // The next line begins a step further on; between are lines that need not be looked for one by one.
                next = start + step;
                if next > at && next < source.len() {
                    at = memchr::memchr(b'\n', &source[next - 1..]).map_or(source.len(), |found| next + found);
                }
                return Some(start);
            }
        }
        None
    })
}

/// `-`, `(null)` and the like: a number that is not there.
fn is_none(field: &[u8]) -> bool {
    matches!(field, b"-" | b"--" | b"NULL" | b"null" | b"None" | b"(null)")
}

/// The fields of a line: what stands between blanks and bars, as (start, end).
struct Fields<'a> {
    line: &'a [u8],
    at: usize,
}

impl<'a> Fields<'a> {
    fn of(line: &'a [u8]) -> Self {
        Self { line, at: 0 }
    }

    /// Where the next field begins, without the separators before it.
    fn start(&self) -> usize {
        self.at + self.line[self.at..].iter().take_while(|byte| is_separator(**byte)).count()
    }
}

impl Iterator for Fields<'_> {
    type Item = (usize, usize);

    fn next(&mut self) -> Option<Self::Item> {
        let start = self.start();
        let len = self.line[start..].iter().position(|byte| is_separator(*byte)).unwrap_or(self.line.len() - start);
        self.at = start + len;
        (len > 0).then_some((start, self.at))
    }
}

fn is_separator(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | b'|')
}

/// One column of the sample.
struct Seen {
    /// Nearly everywhere numbers of one form, or everywhere something with a number.
    is_numbers: bool,
    /// The former, without letters.
    is_bare: bool,
    /// Numbers that look like a time, a date or seconds since 1970.
    is_time: bool,
    is_calendar: bool,
    /// Ends with a colon nearly everywhere.
    is_tag: bool,
    /// The one value that it has.
    same: Option<Vec<u8>>,
}

impl Seen {
    fn of(rows: &[&Vec<Vec<u8>>], column: usize) -> Self {
        let (mut digits, mut calendar, mut tags, mut times, mut there) = (0, 0, 0, 0, 0);
        let mut forms: BTreeMap<Vec<u8>, usize> = BTreeMap::new();
        let mut values: BTreeMap<&[u8], usize> = BTreeMap::new();
        for field in rows.iter().filter_map(|row| row.get(column)) {
            there += 1;
            digits += usize::from(field.iter().any(u8::is_ascii_digit) || is_none(field));
            tags += usize::from(field.ends_with(b":"));
            let bare: Vec<u8> = field.iter().copied().filter(u8::is_ascii_alphanumeric).collect();
            calendar += usize::from(CALENDAR.binary_search_by(|name| name.as_bytes().cmp(&bare)).is_ok());
            let form = form(field);
            times += usize::from(is_time(field, &form));
            *forms.entry(form).or_default() += 1;
            *values.entry(field).or_default() += 1;
        }
        let most = |count: usize| there > 0 && there * 10 >= rows.len() * 8 && count * 10 >= there * 9;
        let form = forms.iter().max_by_key(|(_, count)| **count).filter(|(_, count)| most(**count)).map(|(form, _)| form);
        let bare = form.is_some_and(|form| form.contains(&b'#') && !form.iter().any(u8::is_ascii_alphabetic));
        let same = values.into_iter().max_by_key(|(_, count)| *count).filter(|(_, count)| most(*count));
        let is_tag = tags * 10 >= there * 6 && there > 0;
        // Nodes and hosts: names of a few forms, each with a number.
        let ids = most(digits) && digits * 100 >= there * 95 && !is_tag && forms.len() <= FORMS_MAX;
        Self {
            is_numbers: bare || ids,
            is_bare: bare,
            is_time: most(times),
            is_calendar: most(calendar),
            is_tag,
            same: same.map(|(value, _)| value.to_vec()),
        }
    }
}

/// A field with its words that have digits as `#`, and those that are joined by punctuation as one.
fn form(field: &[u8]) -> Vec<u8> {
    let mut form: Vec<u8> = Vec::new();
    let mut at = 0;
    while at < field.len() {
        if !scan::is_word(field[at]) {
            form.push(field[at]);
            at += 1;
            continue;
        }
        let start = at;
        while at < field.len() && scan::is_word(field[at]) {
            at += 1;
        }
        if scan::is_variable(&field[start..at]) {
            form.push(b'#');
        } else {
            form.extend_from_slice(&field[start..at]);
        }
    }
    form
}

/// `12:30`, `2024-01-31`, `17/06/09`, `081109`, `1117838570`.
fn is_time(field: &[u8], form: &[u8]) -> bool {
    let digits = field.iter().filter(|byte| byte.is_ascii_digit()).count();
    let joined = form.windows(3).any(|three| three[0] == b'#' && three[2] == b'#' && b":-/.".contains(&three[1]));
    let only = field.iter().all(|byte| !byte.is_ascii_alphabetic() || matches!(byte, b'T' | b'Z'));
    only && digits >= 4 && (joined || digits >= 6)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const WORDS: [&str; 8] = ["opened", "closed", "lost", "ready", "waits", "left", "began", "sleeps"];

    /// A log whose lines are made of a header and words.
    fn stripped(header: impl Fn(usize) -> String) -> Vec<String> {
        let lines: Vec<String> = (0..8).map(|n| format!("{}{} {n} {}", header(n), WORDS[n], WORDS[7 - n])).collect();
        let header = Header::learn(lines.join("\n").as_bytes());
        lines.iter().map(|line| header.strip(line.as_bytes())).collect()
    }

    #[test]
    fn times_and_ids_are_left_out_and_levels_are_not() {
        let level = |n: usize| ["INFO", "WARN"][n % 2];
        let first = stripped(|n| format!("2031-04-05 06:07:0{n},123 77{n} {} ", level(n)));
        assert_eq!(first[0], "INFO opened 0 sleeps");
        assert_eq!(stripped(|n| format!("Apr  5 06:07:0{n} host-a sshd[{n}]: "))[1], "sshd[1]: closed 1 began");
        assert_eq!(stripped(|n| format!("20310405-06:07:0{n}:1|Step_{}|300|", level(n)))[1], "Step_WARN closed 1 began");
        assert_eq!(stripped(|n| format!("[06:07:0{n}] {}: ", level(n)))[2], "INFO: lost 2 left");
    }

    #[test]
    fn what_follows_the_header_is_told() {
        let access =
            stripped(|n| format!("10.0.0.{n} - - [05/Apr/2031:06:07:0{n} +0000] \"GET /{} HTTP/1.1\" 20{n} ", WORDS[n]));
        assert_eq!(access[1], "/closed HTTP/1.1\" 201 closed 1 began");
        let place = stripped(|n| format!("06:07:0{n} {} [main:Peer@{n}] - ", ["INFO", "WARN"][n % 2]));
        assert_eq!(place[1], "WARN [main:Peer@1] - closed 1 began");
    }

    #[test]
    fn no_time_no_header() {
        assert_eq!(stripped(|n| format!("{n} x "))[3], "3 x ready 3 waits");
        assert_eq!(Header::learn(b"2031-04-05 06:07:08 once\n").left_out(), None);
    }

    #[test]
    fn traces_between_do_not_hide_it() {
        let mut log = String::new();
        for (n, word) in WORDS.iter().enumerate() {
            log.push_str(&format!("2031-04-05 06:07:0{n} ERROR {word} door\njava.lang.{word}Error: x\n"));
            (0..9).for_each(|frame| log.push_str(&format!("\tat a.{word}.b{frame}(C.java)\n")));
        }
        let header = Header::learn(log.as_bytes());
        assert_eq!(header.strip(b"2031-04-05 06:07:08 ERROR stuck door"), "stuck door");
        assert_eq!(header.strip(b"\tat a.b(C.java)"), " at a.b(C.java)");
        assert_eq!(header.left_out().as_deref(), Some("1, 2, 3 (`ERROR`)"));
    }

    proptest! {
        #[test]
        fn nothing_but_the_header_is_lost(lines in prop::collection::vec("([0-9]{2}:[0-9]{2}:[0-9]{2} )?[a-zé| ]{0,20}", 0..30)) {
            let header = Header::learn(lines.join("\n").as_bytes());
            for line in &lines {
                let kept = header.strip(line.as_bytes());
                prop_assert!(kept.split_whitespace().all(|word| line.contains(word)), "{line:?} {kept:?}");
            }
        }
    }
}
