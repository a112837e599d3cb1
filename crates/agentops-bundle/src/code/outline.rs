//! The definitions of a file: with a grammar where there is one, else by lines that look like one.
//!
//! A grammar is given a limit of steps, not of time, so that the same file has the same outline on every machine; what it cannot
//! read within that, or at all, is read by lines.

mod grammar;
mod lines;

pub use lines::defines;

use super::kind::{Kind, Language};

/// The most lines of a signature that are shown without the rest.
const SIGNATURE_LINES_MAX: usize = 6;
/// The most definitions of a file that are kept.
const DEFINITIONS_MAX: usize = 20_000;

/// Something that has a name and a body.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Definition {
    /// Its name, as a word of its signature.
    pub name: String,
    /// Its first line with the comments and attributes before it, from 0.
    pub start: usize,
    /// The first line of its signature.
    pub signature: usize,
    /// The line after its signature.
    pub body: usize,
    /// The line after its last.
    pub end: usize,
    /// The definition around it.
    pub parent: Option<usize>,
    /// Whether it only holds others: a class, a module, a group of tests.
    pub holds: bool,
}

/// The definitions of a text, outer before inner, in the order of their lines; with a grammar only where that is asked for.
pub fn of(text: &str, lines: &[&str], kind: Kind, with_grammar: bool) -> Vec<Definition> {
    let mut found = match kind.language.filter(|_| with_grammar) {
        Some(language) => grammar::definitions(text, lines, language).unwrap_or_else(|| lines::definitions(lines)),
        None => lines::definitions(lines),
    };
    found.truncate(DEFINITIONS_MAX);
    found
}

/// The first line of what belongs to a definition: comments, attributes and decorators right before it.
fn with_comments(lines: &[&str], first: usize) -> usize {
    let mut start = first;
    while start > 0 {
        let line = lines[start - 1].trim_start();
        let belongs = ["#[", "@", "//", "#", "*", "/*", "\"\"\""].iter().any(|sign| line.starts_with(sign))
            && !line.starts_with("#include")
            && !line.starts_with("#!");
        if !belongs || first - start >= 60 {
            break;
        }
        start -= 1;
    }
    start
}

/// Whether a function body of this language is where statements stand, and only named things are definitions.
fn is_test_call(language: Language, name: &str) -> bool {
    match language {
        Language::JavaScript | Language::TypeScript | Language::Tsx => {
            matches!(name, "describe" | "it" | "test" | "context" | "suite" | "specify")
        }
        Language::Ruby => matches!(name, "describe" | "it" | "context" | "feature" | "scenario" | "test"),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::code::kind;
    use proptest::prelude::*;

    fn outline(path: &str, text: &str) -> Vec<(String, usize, usize, usize)> {
        let lines: Vec<&str> = text.lines().collect();
        of(text, &lines, kind::of(path, text), true).into_iter().map(|d| (d.name, d.start, d.body, d.end)).collect()
    }

    fn names(path: &str, text: &str) -> Vec<String> {
        outline(path, text).into_iter().map(|(name, ..)| name).collect()
    }

    #[test]
    fn every_language_has_its_definitions() {
        for (path, text, expected) in [
            ("a.rs", "struct A;\nimpl A {\n    fn b(&self) {}\n}\nmacro_rules! c { () => {} }\n", &["A", "A", "b", "c"][..]),
            ("a.py", "class A:\n    def b(self):\n        pass\n\nasync def c():\n    pass\n", &["A", "b", "c"]),
            (
                "a.js",
                "exports.a = function () {\n};\nconst b = () => {\n};\nclass C {\n  d() {}\n}\n",
                &["a", "b", "C", "d"],
            ),
            ("a.test.js", "describe('x', () => {\n  it('does y', () => {\n  });\n});\n", &["x", "does y"]),
            (
                "a.ts",
                "interface A {\n}\nexport function b(): void {\n}\nenum C { D }\ntype E = string;\n",
                &["A", "b", "C", "E"],
            ),
            ("a.go", "package a\n\ntype A struct {\n}\n\nfunc (a *A) B() {\n}\n\nfunc c() {\n}\n", &["A", "B", "c"]),
            ("A.java", "class A {\n  A() {}\n  void b() {}\n}\ninterface C {}\n", &["A", "A", "b", "C"]),
            ("a.c", "struct a {\n  int x;\n};\n\nstatic int *b(int c)\n{\n  return 0;\n}\n", &["a", "b"]),
            ("a.cpp", "namespace n {\nclass A {\n  void b() {}\n};\nvoid A::c() {\n}\n}\n", &["n", "A", "b", "c"]),
            ("a.rb", "module A\n  class B\n    def c\n    end\n  end\nend\n", &["A", "B", "c"]),
            ("a.sh", "a() {\n  true\n}\nfunction b {\n  true\n}\n", &["a", "b"]),
            ("a.kt", "class A {\n    fun b() {\n    }\n}\n", &["A", "b"]),
            ("a.md", "# One\ntext\n## Two\ntext\n", &["One", "Two"]),
            ("a.toml", "[one]\nx = 1\n[[two]]\n", &["one", "two"]),
        ] {
            assert_eq!(names(path, text), expected, "{path}");
        }
    }

    #[test]
    fn a_definition_has_its_comments_and_its_signature() {
        let text = "use x;\n\n/// Says.\n#[inline]\nfn long(\n    a: u8,\n) -> u8 {\n    a\n}\n";
        assert_eq!(outline("a.rs", text), [("long".to_owned(), 2, 7, 9)]);
        let text = "@app.route('/')\ndef index():\n    return 1\n\nx = 1\n";
        assert_eq!(outline("a.py", text), [("index".to_owned(), 0, 2, 3)]);
    }

    #[test]
    fn what_no_grammar_can_read_is_read_by_lines() {
        let broken = "fn a( {{{{ ]]] \n".repeat(30) + "fn found() {\n";
        assert!(names("a.rs", &broken).iter().any(|name| name == "found"));
        let deep = "(".repeat(100_000);
        let _ended = names("a.js", &deep);
    }

    proptest! {
        #[test]
        fn any_text_has_an_outline_within_its_lines(
            text in "([a-z(){};:#'\" =]{0,30}\n){0,30}",
            ending in prop::sample::select(vec!["rs", "py", "js", "tsx", "go", "java", "c", "cpp", "rb", "sh", "md", "zig"]),
        ) {
            let lines: Vec<&str> = text.lines().collect();
            for (at, found) in of(&text, &lines, kind::of(&format!("a.{ending}"), &text), true).iter().enumerate() {
                prop_assert!(found.start <= found.signature && found.signature < found.body);
                prop_assert!(found.body <= found.end && found.end <= lines.len());
                prop_assert!(found.parent.is_none_or(|parent| parent < at));
            }
        }
    }
}
