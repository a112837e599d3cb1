//! A task cut into words, in one pass: where clauses begin, what is quoted, what is code and what is a name.

/// Of a long task the beginning and the end are read, in bytes: what is asked stands there, what is pasted in between.
const HEAD_MAX: usize = 16 * 1024;
const TAIL_MAX: usize = 4 * 1024;

/// What stands between a word and the one before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Before {
    /// Nothing but space, brackets or quotes.
    Nothing,
    Comma,
    /// `.`, `!`, `?`, `;` or `:` followed by space, or a dash with space around it.
    Stop,
    Line,
}

#[derive(Debug, Clone, Copy)]
pub(super) struct Word<'a> {
    /// In lower case (ASCII only).
    pub(super) text: &'a str,
    /// As it was written.
    pub(super) written: &'a str,
    pub(super) before: Before,
    /// Within backticks or double quotes: something that is mentioned.
    pub(super) quoted: bool,
    /// In a fenced block or a line of a stack trace.
    pub(super) code: bool,
    /// A path, a file, an identifier: `src/main.rs`, `delete_user`, `DropDown`, `Foo::bar`.
    pub(super) name: bool,
}

/// The text that is read: whole, or its beginning and its end with a line break between.
pub(super) fn bounded(task: &str) -> String {
    if task.len() <= HEAD_MAX + TAIL_MAX {
        return task.to_owned();
    }
    let head = task.floor_char_boundary(HEAD_MAX);
    let tail = task.ceil_char_boundary(task.len() - TAIL_MAX);
    format!("{}\n{}", &task[..head], &task[tail..])
}

/// The shape of a task beside its words.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(super) struct Shape {
    /// Words outside code.
    pub(super) words: usize,
    /// Words of the first line that has any.
    pub(super) first_line: usize,
    /// Lines that begin with `-`, `*`, `+` or a number.
    pub(super) items: usize,
    pub(super) questions: usize,
    /// Fenced blocks.
    pub(super) fences: usize,
    /// Lines of stack traces.
    pub(super) trace: usize,
    /// Words with a letter outside ASCII.
    pub(super) foreign: usize,
}

/// Words of `text`, with `lower` its lower-case form of the same length.
pub(super) fn read<'a>(text: &'a str, lower: &'a str) -> (Vec<Word<'a>>, Shape) {
    let mut words = Vec::with_capacity(text.len() / 6 + 1);
    let mut shape = Shape::default();
    let mut fenced = false;
    let mut offset = 0;
    for line in text.split_inclusive('\n') {
        let at = offset;
        offset += line.len();
        let trimmed = line.trim_start();
        if trimmed.starts_with("```") || trimmed.starts_with("~~~") {
            fenced = !fenced;
            shape.fences += usize::from(fenced);
            continue;
        }
        let trace = !fenced && is_trace(trimmed);
        shape.trace += usize::from(trace);
        shape.items += usize::from(!fenced && is_item(trimmed));
        let first = words.len();
        line_words(line, &lower[at..offset], fenced || trace, &mut words, &mut shape);
        if let Some(word) = words.get_mut(first) {
            word.before = Before::Line;
        }
        if shape.first_line == 0 && !fenced && !trace {
            shape.first_line = words.len() - first;
        }
    }
    shape.words = words.iter().filter(|word| !word.code).count();
    shape.foreign = words.iter().filter(|word| !word.code && !word.text.is_ascii()).count();
    (words, shape)
}

fn is_item(line: &str) -> bool {
    let rest = line.trim_start_matches(|c: char| c.is_ascii_digit());
    let numbered = rest.len() < line.len() && (rest.starts_with(". ") || rest.starts_with(") "));
    numbered || line.starts_with("- ") || line.starts_with("* ") || line.starts_with("+ ")
}

fn is_trace(line: &str) -> bool {
    line.starts_with("Traceback (most recent")
        || line.starts_with("File \"")
        || (line.starts_with("at ") && line.contains('(') && line.contains(':'))
        || (line.starts_with("thread '") && line.contains("panicked at"))
}

fn line_words<'a>(line: &'a str, lower: &'a str, code: bool, words: &mut Vec<Word<'a>>, shape: &mut Shape) {
    let bytes = line.as_bytes();
    let mut before = Before::Nothing;
    let (mut ticks, mut quotes) = (false, false);
    let mut at = 0;
    while at < bytes.len() {
        if begins_word(line, at) {
            let end = word_end(line, at);
            let (written, text) = (&line[at..end], &lower[at..end]);
            words.push(Word { text, written, before, quoted: ticks || quotes, code, name: is_name(written, line, end) });
            before = Before::Nothing;
            at = end;
            continue;
        }
        let spaced = bytes.get(at + 1).is_none_or(u8::is_ascii_whitespace);
        match bytes[at] {
            b'`' => ticks = !ticks,
            b'"' => quotes = !quotes,
            b',' => before = before.max(Before::Comma),
            b'?' if !code => {
                shape.questions += 1;
                before = Before::Stop;
            }
            b'.' | b'!' | b';' | b':' if spaced => before = Before::Stop,
            b'-' if spaced => before = before.max(Before::Stop),
            _ => {}
        }
        at += line[at..].chars().next().map_or(1, char::len_utf8);
    }
}

fn begins_word(line: &str, at: usize) -> bool {
    let mut chars = line[at..].chars();
    let Some(first) = chars.next() else { return false };
    if first.is_alphanumeric() || first == '_' {
        return true;
    }
    // `--force`, `/login`, `.gitignore`
    let next = chars.next().unwrap_or(' ');
    matches!(first, '-' | '/' | '.') && (next.is_ascii_alphanumeric() || (first == '-' && next == '-'))
}

/// Where the word that begins at `at` ends: letters and digits, and between them what joins names and compounds.
fn word_end(line: &str, at: usize) -> usize {
    let bytes = line.as_bytes();
    let mut end = at;
    while end < bytes.len() {
        let byte = bytes[end];
        let inner = |n: usize| bytes.get(end + n).is_some_and(|b| b.is_ascii_alphanumeric() || *b >= 0x80 || *b == b'_');
        let joins = match byte {
            b'-' | b'/' | b'.' => {
                inner(1) || (end == at && bytes.get(end + 1) == Some(&b'-')) || (end == at + 1 && inner(1))
            }
            b'\'' | b'@' | b'+' => inner(1),
            b':' => (bytes.get(end + 1) == Some(&b':') && inner(2)) || (end > at && bytes[end - 1] == b':' && inner(1)),
            _ => byte.is_ascii_alphanumeric() || byte == b'_',
        };
        if byte < 0x80 {
            if !joins {
                break;
            }
            end += 1;
        } else {
            let Some(c) = line[end..].chars().next() else { break };
            if !c.is_alphanumeric() {
                break;
            }
            end += c.len_utf8();
        }
    }
    end.max(at + 1)
}

fn is_name(written: &str, line: &str, end: usize) -> bool {
    let bytes = written.as_bytes();
    let camel = bytes.windows(2).any(|pair| pair[0].is_ascii_lowercase() && pair[1].is_ascii_uppercase());
    let joined = bytes.iter().any(|b| matches!(b, b'_' | b'/' | b'@')) || written.contains("::");
    let dotted = written.len() > 1 && written.contains('.') && !bytes.iter().all(|b| b.is_ascii_digit() || *b == b'.');
    let called = line[end..].starts_with("()") || line[end..].starts_with("::");
    camel || joined || dotted || called
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn texts(task: &str) -> Vec<String> {
        read(task, &task.to_ascii_lowercase()).0.iter().map(|word| word.text.to_owned()).collect()
    }

    #[test]
    fn compounds_names_and_flags_stay_whole() {
        let all = texts("Drop-down in src/ui/Menu.tsx: don't use --force, see Foo::bar and .gitignore.");
        let expected =
            ["drop-down", "in", "src/ui/menu.tsx", "don't", "use", "--force", "see", "foo::bar", "and", ".gitignore"];
        assert_eq!(all, expected);
    }

    #[test]
    fn code_quotes_items_and_clauses_are_seen() {
        let task = "Fix `delete_user`, please. Two things:\n- one\n2. two?\n```sh\nrm x\n```\n";
        let (words, shape) = read(task, task);
        assert_eq!((shape.items, shape.questions, shape.fences, shape.words, shape.first_line), (2, 1, 1, 8, 5));
        let of = |text: &str| *words.iter().find(|word| word.text == text).unwrap();
        assert!(of("delete_user").quoted && of("delete_user").name);
        assert_eq!(of("please").before, Before::Comma);
        assert_eq!(of("one").before, Before::Line);
        assert!(of("rm").code && !of("one").code);
    }

    proptest! {
        #[test]
        fn any_text_is_read_in_order_and_without_overlap(text in "\\PC{0,200}|[ -~\\n]{0,200}") {
            let lower = text.to_ascii_lowercase();
            let mut last = 0;
            for word in read(&text, &lower).0 {
                let at = word.written.as_ptr() as usize - text.as_ptr() as usize;
                prop_assert!(at >= last && !word.written.is_empty());
                prop_assert_eq!(word.written.to_ascii_lowercase(), word.text);
                last = at + word.written.len();
            }
        }
    }

    #[test]
    fn a_long_task_is_cut_at_letters() {
        let long = "ä".repeat(600_000);
        let cut = bounded(&long);
        assert!(cut.len() <= HEAD_MAX + TAIL_MAX + 1 && cut.len() > HEAD_MAX);
    }
}
