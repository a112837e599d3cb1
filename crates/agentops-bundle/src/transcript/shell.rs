//! What a shell command does to files, and whether it was run for its result. Told by its words; nothing is executed.

use std::sync::LazyLock;

use regex::Regex;

/// A command in parts that matter here.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Command<'a> {
    /// Its lines outside of here-documents and of what is inserted.
    pub lines: Vec<&'a str>,
    /// Its here-documents, in order.
    pub documents: Vec<Document<'a>>,
}

/// A here-document.
#[derive(Debug, PartialEq, Eq)]
pub struct Document<'a> {
    /// The file that it becomes; `None` where a program reads it.
    pub path: Option<&'a str>,
    /// Whether it goes behind what the file has.
    pub appends: bool,
    /// Its lines.
    pub lines: Vec<&'a str>,
    /// How many lines of the command stand before it.
    pub after: usize,
}

static HERE: LazyLock<Regex> = LazyLock::new(|| re(r#"<<-?\s*['"\\]?([A-Za-z_][A-Za-z0-9_]*)['"]?"#));
static INTO: LazyLock<Regex> = LazyLock::new(|| re(r#"(?:^|[^0-9&>-])(>>?)\s*['"]?([^\s'"|;&<>()]+)"#));
static TEE: LazyLock<Regex> = LazyLock::new(|| re(r"\btee\s+(?:-a\s+)?([^\s|;&<>]+)"));
static SAID_INTO: LazyLock<Regex> =
    LazyLock::new(|| re(r#"(?:^|[;&|]\s*)(?:echo|printf)\s[^|;&]*?[^0-9&>-]>>?\s*['"]?([^\s'"|;&<>()]+)"#));
static REMOVED: LazyLock<Regex> = LazyLock::new(|| re(r"(?:^|[;&|]\s*|\bgit\s+)rm\s+([^;&|\n]+)"));
static REVERTED: LazyLock<Regex> = LazyLock::new(|| re(r"\bgit\s+(?:checkout|restore)\s+([^;&|\n]+)"));
static IN_PLACE: LazyLock<Regex> = LazyLock::new(|| {
    re(r"(?:^|[;&|])\s*(?:sed\s+(?:-[a-zA-Z]+\s+)*-[a-zA-Z]*i|perl\s+-[a-z]*i|patch\s|git\s+apply|ed\s+-s)")
});
static MOVES: LazyLock<Regex> = LazyLock::new(|| re(r"(?:^|[;&|]\s*)(?:git\s+)?(?:cp|mv)\s"));
static RUNS: LazyLock<Regex> = LazyLock::new(|| {
    re(
        r"\b(pytest|py\.test|python[0-9.]*|tox|nox|runtests\S*|unittest|make|ninja|cmake|cargo|rustc|npm|pnpm|yarn|npx|node|deno|bun|jest|vitest|tsc|go\s+(?:test|build|run|vet)|mvn|gradlew?|bazel|dotnet|ruby|rspec|rake|bundle|php|phpunit|gcc|clang|g\+\+|sphinx-build|ruff|mypy|eslint|docker|kubectl|terraform|helm|psql|curl)\b",
    )
});
static WRITES: LazyLock<Regex> = LazyLock::new(|| {
    re(
        r#"\.write\(|\.writelines\(|write_text\(|open\([^)\n]*['"][wa]b?\+?['"]|writeFile|File\.write|fileinput|shutil\.(?:copy|move)"#,
    )
});

#[expect(clippy::expect_used, reason = "the patterns are constants of this crate, compiled by its tests")]
pub(super) fn re(pattern: &str) -> Regex {
    Regex::new(pattern).expect("a valid pattern")
}

/// Takes a command apart.
pub fn parse(text: &str) -> Command<'_> {
    let mut command = Command::default();
    let mut lines = text.lines();
    while let Some(line) = lines.next() {
        if edits_in_place(line) {
            command.in_place(line, &mut lines);
            continue;
        }
        command.lines.push(line);
        let ends: Vec<&str> = HERE.captures_iter(line).filter_map(|found| found.get(1).map(|end| end.as_str())).collect();
        if ends.is_empty() || line.contains("<<<") {
            continue;
        }
        let into = INTO.captures(line).and_then(|found| Some((found.get(1)?.as_str(), found.get(2)?.as_str())));
        let tee = TEE.captures(line).and_then(|found| found.get(1)).map(|path| path.as_str());
        for end in ends {
            let body: Vec<&str> = lines.by_ref().take_while(|line| line.trim() != end).collect();
            command.documents.push(Document {
                path: tee.or(into.map(|(_, path)| path)).filter(|path| !path.starts_with("/dev/")),
                appends: into.is_some_and(|(sign, _)| sign == ">>"),
                lines: body,
                after: command.lines.len(),
            });
        }
    }
    command
}

impl<'a> Command<'a> {
    /// `sed -i '12i\\first\nsecond' file`: what it puts into the file are lines like any other, in the script's quotes or
    /// behind `\n`.
    fn in_place(&mut self, line: &'a str, more: &mut std::str::Lines<'a>) {
        let mut body = Vec::new();
        let mut pieces = line.split("\\n");
        self.lines.push(pieces.next().unwrap_or_default());
        body.extend(pieces);
        let is_odd = |line: &str| line.bytes().filter(|byte| *byte == b'\'').count() % 2 == 1;
        if is_odd(line) {
            for line in more.by_ref() {
                body.extend(line.split("\\n"));
                if is_odd(line) {
                    break;
                }
            }
        }
        if !body.is_empty() {
            let lines = body.iter().map(|line| line.strip_suffix('\\').unwrap_or(line)).collect();
            let path = paths(body.last().unwrap_or(&line)).last().or_else(|| paths(line).last());
            self.documents.push(Document { path, appends: true, lines, after: self.lines.len() });
        }
    }
}

/// The files that a command removes.
pub fn removed(text: &str) -> Vec<&str> {
    operands(&REMOVED, text)
}

/// The files whose changes a command throws away; `.` for all of them.
pub fn reverted(text: &str) -> Vec<&str> {
    operands(&REVERTED, text)
}

fn operands<'a>(pattern: &Regex, text: &'a str) -> Vec<&'a str> {
    let found = pattern.captures_iter(text).filter_map(|found| found.get(1));
    found
        .flat_map(|words| words.as_str().split_whitespace())
        .filter(|word| !word.starts_with('-') && *word != "HEAD")
        .map(|word| word.trim_matches(['\'', '"']))
        .collect()
}

/// Whether a command changes files in place (`sed -i` and its kind), without their lines standing in it as lines.
pub fn edits_in_place(line: &str) -> bool {
    IN_PLACE.is_match(line)
}

/// The files that a command writes a few words into.
pub fn said_into(line: &str) -> impl Iterator<Item = &str> {
    let found = SAID_INTO.captures_iter(line).filter_map(|found| found.get(1));
    found.map(|path| path.as_str()).filter(|path| !path.starts_with("/dev/"))
}

/// Whether a command puts files elsewhere.
pub fn moves(line: &str) -> bool {
    MOVES.is_match(line)
}

/// Whether a program that is handed over as text writes files itself.
pub fn writes_files(text: &str) -> bool {
    WRITES.is_match(text)
}

/// Whether a command was run for its result: a test, a build, a program, not a look at files.
pub fn runs(line: &str) -> bool {
    RUNS.is_match(line)
}

/// Words of a command that look like files.
pub fn paths(line: &str) -> impl Iterator<Item = &str> {
    line.split(|c: char| c.is_whitespace() || matches!(c, '\'' | '"' | ';' | '|' | '&' | '<' | '>' | '(' | ')' | '=' | ','))
        .filter(|word| is_path(word))
}

/// Words of a command that look like files, where quoted words are programs for `sed` and its kind.
pub fn operands_of(line: &str) -> impl Iterator<Item = &str> {
    let mut quote = None;
    let words = line.split(move |c: char| match quote {
        Some(open) => {
            if c == open {
                quote = None;
            }
            false
        }
        None => {
            if matches!(c, '\'' | '"') {
                quote = Some(c);
            }
            c.is_whitespace() || matches!(c, ';' | '|' | '&' | '<' | '>')
        }
    });
    words.map(|word| word.trim_matches(['\'', '"'])).filter(|word| is_path(word) && !word.starts_with("s/"))
}

/// Whether a word looks like a file: it has an ending.
fn is_path(word: &str) -> bool {
    let Some((stem, ending)) = word.rsplit_once('.') else { return false };
    !stem.is_empty()
        && !word.starts_with('-')
        && (1..=6).contains(&ending.len())
        && ending.bytes().all(|byte| byte.is_ascii_alphanumeric())
        && ending.bytes().any(|byte| byte.is_ascii_alphabetic())
        && word.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._-/@+~".contains(&byte))
}

/// The last part of a path.
pub fn base(path: &str) -> &str {
    path.trim_end_matches('/').rsplit('/').next().unwrap_or(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_here_document_has_its_file_and_lines() {
        let command = parse("cd x && cat <<'EOF' > a/b.py\nimport re\n\nx = 1\nEOF\npython a/b.py");
        assert_eq!(command.lines, ["cd x && cat <<'EOF' > a/b.py", "python a/b.py"]);
        let [document] = command.documents.as_slice() else { panic!("one document") };
        assert_eq!((document.path, document.lines.as_slice()), (Some("a/b.py"), ["import re", "", "x = 1"].as_slice()));
        let read = parse("python3 - <<EOF\nprint(1)\nEOF");
        assert_eq!(read.documents[0].path, None);
        assert_eq!(parse("cat > x.txt << END\nnever ended").documents[0].lines, ["never ended"]);
        assert_eq!(
            parse("cat <<E >> x\n1\nE").documents[0],
            Document { path: Some("x"), appends: true, lines: vec!["1"], after: 1 }
        );
    }

    #[test]
    fn what_sed_inserts_are_lines() {
        let command = parse(r"sed -i '12i\    if x:\n        return 1' a/b.py");
        assert_eq!(command.lines, [r"sed -i '12i\    if x:"]);
        assert_eq!(command.documents[0].lines, ["        return 1' a/b.py"]);
        assert_eq!(command.documents[0].path, Some("a/b.py"));
        let command = parse("sed -i '3,4c\\\nfirst\\\nsecond' f.rs\ncargo test");
        assert_eq!(command.documents[0].lines, ["first", "second' f.rs"]);
        assert_eq!(command.lines.last(), Some(&"cargo test"));
    }

    #[test]
    fn what_a_command_does_to_files() {
        assert_eq!(removed("cd /t && rm -f a.py 'b.py' && ls"), ["a.py", "b.py"]);
        assert_eq!(said_into("echo one > a.txt && printf x >> b/c; echo 2>&1").collect::<Vec<_>>(), ["a.txt", "b/c"]);
        assert_eq!(reverted("git checkout -- src/a.rs"), ["src/a.rs"]);
        assert!(
            edits_in_place("cd x && sed -i 's/a/b/' f")
                && edits_in_place("sed -n -i p f")
                && !edits_in_place("sed -n 1,3p f")
        );
        assert!(runs("python3 -m pytest -q") && runs("cd x && cargo test") && !runs("grep -rn foo ."));
        assert!(writes_files("with open('f', 'w') as f:") && !writes_files("open('f').read()"));
        let sed = r#"sed -i "s/a.b = c/x.y/" 'src/a.py' t.rs"#;
        assert_eq!(operands_of(sed).collect::<Vec<_>>(), ["src/a.py", "t.rs"]);
        assert_eq!(paths("sed -n '1,5p' src/a.rs && ls -la .. v1.2").collect::<Vec<_>>(), ["src/a.rs"]);
    }
}
