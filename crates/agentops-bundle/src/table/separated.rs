//! Reads lines of cells with separators: CSV by RFC 4180, TSV, and their relatives with `;` and `|`.
//!
//! A cell in quotes may hold separators, line breaks and doubled quotes. A quote that never ends, or ends in the middle of a cell
//! some lines later, is a character like any other, so one stray quote does not swallow the rows behind it.

/// Bytes of the beginning from which the separator is told.
const SAMPLE_BYTES: usize = 256 << 10;
/// Ends of quotes are looked for in vain within at most this many times the source's length. After that all quotes are characters
/// like any others.
const SEARCHES_MAX: usize = 8;

/// How the cells of a source are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Dialect {
    /// Stands between cells.
    pub separator: u8,
    /// Whether `\"` is a quote within a cell, as MySQL writes it.
    pub has_backslash: bool,
    /// Whether the first line is `sep=`, as Excel reads it.
    pub is_declared: bool,
    /// Cells of most records.
    pub width: usize,
    /// Share of the sample's records that have so many cells, in percent.
    pub share_percent: usize,
}

/// One record: a row, a heading, a comment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Record<'a> {
    /// The line on which it begins, from 1.
    pub line: usize,
    /// Its cells, without quotes and without white space at their ends.
    pub cells: Vec<String>,
    /// The record as it is written, without the line's end.
    pub source: &'a str,
    /// Whether a quote has no end.
    pub is_unclosed: bool,
}

impl Dialect {
    /// The dialect in which most records have the same number of cells, at least two; `None` where there is none.
    pub fn of(text: &str) -> Option<Self> {
        if let Some(separator) = declared(text) {
            let dialect = Self { separator, has_backslash: false, is_declared: true, width: 0, share_percent: 0 };
            return Some(dialect.measured(text).unwrap_or(Self { width: 1, share_percent: 100, ..dialect }));
        }
        let escapes: &[bool] = if text.contains("\\\"") { &[false, true] } else { &[false] };
        let mut best: Option<(usize, Self)> = None;
        for separator in *b"\t,;|" {
            for has_backslash in escapes.iter().copied() {
                let dialect = Self { separator, has_backslash, is_declared: false, width: 0, share_percent: 0 };
                let Some(measured) = dialect.measured(text) else { continue };
                let records = measured.records(sample(text));
                let has_heading =
                    records.iter().find(|record| !record.is_comment(measured.width)).map(|first| first.cells.len());
                let score = measured.share_percent + if has_heading == Some(measured.width) { 10 } else { 0 };
                if best.is_none_or(|(best, _)| score > best) {
                    best = Some((score, measured));
                }
            }
        }
        best.map(|(_, dialect)| dialect)
    }

    /// The same with the usual number of cells in the sample; `None` if that is one.
    fn measured(self, text: &str) -> Option<Self> {
        let records = self.records(sample(text));
        let mut widths: Vec<(usize, usize)> = Vec::new();
        for record in records.iter().filter(|record| !record.source.starts_with('#')) {
            match widths.iter_mut().find(|(width, _)| *width == record.cells.len()) {
                Some((_, count)) => *count += 1,
                None => widths.push((record.cells.len(), 1)),
            }
        }
        let all: usize = widths.iter().map(|(_, count)| count).sum();
        let (width, count) =
            widths.into_iter().filter(|(width, _)| *width > 1).max_by_key(|(width, count)| (*count, *width))?;
        Some(Self { width, share_percent: count * 100 / all, ..self })
    }

    /// Reads all records. Blank lines are none, and neither is the line that declares the separator.
    pub fn records<'a>(&self, text: &'a str) -> Vec<Record<'a>> {
        let mut reader = Reader { text, at: 0, line: 1, dialect: *self, unclosed: 0, searched_bytes: 0 };
        if self.is_declared {
            reader.skip_line();
        }
        let mut records = Vec::new();
        while let Some(record) = reader.record() {
            records.push(record);
        }
        records
    }
}

/// The sample as whole lines. A record that its end cuts is one of many.
fn sample(text: &str) -> &str {
    let sample = &text[..text.floor_char_boundary(SAMPLE_BYTES)];
    if sample.len() == text.len() { text } else { sample.rfind('\n').map_or(sample, |end| &sample[..=end]) }
}

/// The separator of a first line `sep=;`.
fn declared(text: &str) -> Option<u8> {
    let line = text.lines().next()?.trim_matches(['"', ' ', '\u{feff}']);
    let prefix = line.get(..4).filter(|prefix| prefix.eq_ignore_ascii_case("sep="))?;
    match &line.as_bytes()[prefix.len()..] {
        [separator] if separator.is_ascii() => Some(*separator),
        b"\\t" => Some(b'\t'),
        // The tab of `sep=` was taken for white space.
        [] => Some(b'\t'),
        _ => None,
    }
}

impl Record<'_> {
    /// Whether it is a comment: it begins with `#` and is not a row or heading of this width. `# ` begins a comment anyway.
    pub fn is_comment(&self, width: usize) -> bool {
        self.source.starts_with("# ") || self.source.starts_with('#') && self.cells.len() != width
    }
}

struct Reader<'a> {
    text: &'a str,
    at: usize,
    line: usize,
    dialect: Dialect,
    /// Quotes without an end so far.
    unclosed: usize,
    /// Bytes that were searched for their ends.
    searched_bytes: usize,
}

/// A cell in quotes that was read.
struct Quoted {
    text: String,
    end: usize,
}

impl<'a> Reader<'a> {
    fn byte(&self, at: usize) -> Option<u8> {
        self.text.as_bytes().get(at).copied()
    }

    fn line_end(&self) -> usize {
        let rest = &self.text.as_bytes()[self.at..];
        memchr::memchr2(b'\n', b'\r', rest).map_or(self.text.len(), |end| self.at + end)
    }

    fn skip_line(&mut self) {
        self.at = self.line_end();
        self.skip_line_break();
    }

    /// Skips `\n`, `\r\n` or `\r`.
    fn skip_line_break(&mut self) {
        match (self.byte(self.at), self.byte(self.at + 1)) {
            (Some(b'\r'), Some(b'\n')) => self.at += 2,
            (Some(b'\r' | b'\n'), _) => self.at += 1,
            _ => return,
        }
        self.line += 1;
    }

    fn record(&mut self) -> Option<Record<'a>> {
        loop {
            let end = self.line_end();
            let line = &self.text[self.at..end];
            if !line.bytes().all(|byte| byte == b' ') {
                break;
            }
            if end == self.text.len() {
                return None;
            }
            self.skip_line();
        }
        let (start, line) = (self.at, self.line);
        let unclosed = self.unclosed;
        // A quote in a comment is no quote.
        let is_comment = self.byte(start) == Some(b'#');
        let mut cells = Vec::new();
        loop {
            cells.push(self.cell(is_comment));
            if self.byte(self.at) != Some(self.dialect.separator) {
                break;
            }
            self.at += 1;
        }
        let source = &self.text[start..self.at];
        self.skip_line_break();
        Some(Record { line, cells, source, is_unclosed: self.unclosed > unclosed })
    }

    /// Reads a cell up to its separator or the line's end.
    fn cell(&mut self, is_comment: bool) -> String {
        let start = self.at;
        let mut at = start;
        while matches!(self.byte(at), Some(byte) if byte == b' ' && byte != self.dialect.separator) {
            at += 1;
        }
        let may_search = self.searched_bytes <= SEARCHES_MAX * self.text.len();
        if self.byte(at) == Some(b'"') && may_search && !is_comment {
            match self.quoted(at) {
                Ok(quoted) => {
                    self.line += line_breaks(&self.text[at..quoted.end]);
                    self.at = quoted.end;
                    return quoted.text.trim().to_owned();
                }
                Err(searched_bytes) => {
                    self.unclosed += 1;
                    self.searched_bytes += searched_bytes;
                }
            }
        }
        self.at = self.plain_end(start);
        self.text[start..self.at].trim().to_owned()
    }

    fn plain_end(&self, from: usize) -> usize {
        let rest = &self.text.as_bytes()[from..];
        memchr::memchr3(self.dialect.separator, b'\n', b'\r', rest).map_or(self.text.len(), |end| from + end)
    }

    /// The cell whose quote is at `open`. If the quote has no end, or an end in the middle of a cell of a later line, the number
    /// of bytes that were searched.
    fn quoted(&self, open: usize) -> Result<Quoted, usize> {
        let bytes = self.text.as_bytes();
        let mut text = String::new();
        let mut from = open + 1;
        let mut at = from;
        loop {
            let rest = bytes.get(at..).unwrap_or_default();
            let found = at + memchr::memchr2(b'"', b'\\', rest).ok_or(bytes.len() - open)?;
            if bytes[found] == b'\\' {
                let is_escape = self.dialect.has_backslash && matches!(self.byte(found + 1), Some(b'"' | b'\\'));
                if is_escape {
                    text.push_str(&self.text[from..found]);
                    from = found + 1;
                }
                at = found + if is_escape { 2 } else { 1 };
                continue;
            }
            text.push_str(&self.text[from..found]);
            if self.byte(found + 1) == Some(b'"') {
                text.push('"');
                (from, at) = (found + 2, found + 2);
                continue;
            }
            let behind = &self.text[found + 1..];
            let end = self.plain_end(found + 1);
            let rest = &behind[..end - found - 1];
            if rest.trim().is_empty() {
                return Ok(Quoted { text, end });
            }
            if text.contains(['\n', '\r']) {
                return Err(found - open);
            }
            // `"a" b` is the cell `a b`.
            text.push_str(rest);
            return Ok(Quoted { text, end });
        }
    }
}

fn line_breaks(text: &str) -> usize {
    let crlf = text.matches("\r\n").count();
    text.bytes().filter(|byte| matches!(byte, b'\n' | b'\r')).count() - crlf
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn rows(text: &str) -> Vec<Vec<String>> {
        let dialect = Dialect::of(text).unwrap_or_else(|| panic!("no separator: {text}"));
        dialect.records(text).into_iter().map(|record| record.cells).collect()
    }

    #[test]
    fn cells_of_every_dialect() {
        for (text, second) in [
            ("id,note\n1,\"a\nb\"\n2,c\n", vec!["1", "a\nb"]),
            ("id,note\r\n1,\"a\r\nb\"\r\n2,c\r\n", vec!["1", "a\r\nb"]),
            ("id,note\n1,\"say \"\"hi\"\"\"\n2,c\n", vec!["1", "say \"hi\""]),
            ("sep=;\nid;note\n1;a,b\n", vec!["1", "a,b"]),
            ("\"sep=|\"\nid|note\n1|a,b\n", vec!["1", "a,b"]),
            ("id\tnote\n1\ta, b\n2\t\"c\td\"\n", vec!["1", "a, b"]),
            ("size;price\n1,5;2,3\n4,5;6,7\n", vec!["1,5", "2,3"]),
            ("id,note\n1,5\" pipe\n2,c\n", vec!["1", "5\" pipe"]),
            ("id,note\n1, \"a, b\" \n2,c\n", vec!["1", "a, b"]),
            ("id,note\n1,\"a \\\"b, c\\\" d\"\n2,e\n", vec!["1", "a \"b, c\" d"]),
            ("id,note\r1,a\r2,b\r", vec!["1", "a"]),
        ] {
            assert_eq!(rows(text)[1], second, "{text}");
        }
    }

    #[test]
    fn a_stray_quote_swallows_no_rows() {
        for text in ["id,note\n1,\"5 pipe\n2,\"ok\"\n3,c\n", "id,note\n1,\"5 pipe\n2,b\n3,c\n"] {
            let records = Dialect::of(text).expect("CSV").records(text);
            assert_eq!(records.len(), 4, "{records:?}");
            assert_eq!(records[1].cells, ["1", "\"5 pipe"]);
            assert!(records[1].is_unclosed && !records[2].is_unclosed);
        }
    }

    #[test]
    fn records_know_their_lines() {
        let text = "id,note\n1,\"a\nb\n\nc\"\n\n2,d\n";
        let lines: Vec<usize> = Dialect::of(text).expect("CSV").records(text).iter().map(|record| record.line).collect();
        assert_eq!(lines, [1, 2, 7]);
    }

    #[test]
    fn a_comment_is_told_from_a_heading() {
        let text = "# exported, by, a, tool\n##source=x\n#CHROM,POS,ID\n1,2,3\n4,5,6\n";
        let dialect = Dialect::of(text).expect("CSV");
        let comments: Vec<bool> = dialect.records(text).iter().map(|record| record.is_comment(dialect.width)).collect();
        assert_eq!(comments, [true, true, false, false, false]);
    }

    #[test]
    fn many_quotes_without_an_end_take_no_time() {
        let text = format!("a,b\n{}", "\"x,\"\"\"y\n".repeat(200_000));
        let dialect = Dialect { separator: b',', has_backslash: false, is_declared: false, width: 2, share_percent: 100 };
        assert!(!dialect.records(&text).is_empty());
    }

    /// A cell as RFC 4180 lets a program write it, and its text: plain, or in quotes with each quote doubled.
    fn cell() -> impl Strategy<Value = (String, String)> {
        let plain = "[a-c;']{0,4}".prop_map(|text| (text.clone(), text));
        let quoted = "[a-c,\"\r\n; ]{0,6}".prop_map(|text| (format!("\"{}\"", text.replace('"', "\"\"")), text));
        prop_oneof![plain, quoted]
    }

    proptest! {
        #[test]
        fn whatever_rfc_4180_lets_a_program_write_is_read(
            rows in prop::collection::vec(prop::collection::vec(cell(), 2..4), 1..20),
            line_end in prop_oneof![Just("\n"), Just("\r\n")],
            has_last_end in any::<bool>(),
        ) {
            let line = |row: &Vec<(String, String)>| row.iter().map(|(written, _)| written.as_str()).collect::<Vec<_>>().join(",");
            let mut text = rows.iter().map(line).collect::<Vec<_>>().join(line_end);
            text.push_str(if has_last_end { line_end } else { "" });
            let dialect = Dialect { separator: b',', has_backslash: false, is_declared: false, width: 2, share_percent: 100 };
            let records = dialect.records(&text);
            prop_assert!(records.iter().all(|record| !record.is_unclosed));
            let read: Vec<Vec<String>> = records.into_iter().map(|record| record.cells).collect();
            let cells = |row: &Vec<(String, String)>| row.iter().map(|(_, cell)| cell.trim().to_owned()).collect();
            prop_assert_eq!(read, rows.iter().map(cells).collect::<Vec<Vec<String>>>());
        }

        #[test]
        fn any_text_is_read(text in "[a,;|\t\"\\\\#\r\n ]{0,80}|\\PC{0,40}") {
            if let Some(dialect) = Dialect::of(&text) {
                let records = dialect.records(&text);
                prop_assert!(records.windows(2).all(|pair| pair[0].line < pair[1].line));
            }
        }
    }
}
