//! Definitions read with a grammar.

use std::ops::ControlFlow;

use tree_sitter::{Node, ParseOptions, ParseState, Parser, TreeCursor};

use super::{Definition, SIGNATURE_LINES_MAX, is_test_call, with_comments};
use crate::code::kind::Language;

/// A larger file is read by lines, in bytes.
const PARSED_BYTES_MAX: usize = 1 << 20;
/// How often the parser may report progress, apart from the size of the file. It does after a fixed number of steps.
const REPORTS_MIN: usize = 2_000;
/// The deepest nesting that is followed.
const DEPTH_MAX: usize = 60;

/// The definitions, or `None` where the text is too large or is not of this language.
pub fn definitions(text: &str, lines: &[&str], language: Language) -> Option<Vec<Definition>> {
    if text.len() > PARSED_BYTES_MAX {
        return None;
    }
    let mut parser = Parser::new();
    parser.set_language(&grammar(language)).ok()?;
    let mut reports = REPORTS_MIN + text.len() / 4;
    let mut on_progress = |_: &ParseState| {
        reports = reports.saturating_sub(1);
        if reports == 0 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    };
    let bytes = text.as_bytes();
    let options = ParseOptions::new().progress_callback(&mut on_progress);
    let tree = parser.parse_with_options(&mut |at, _| bytes.get(at..).unwrap_or_default(), None, Some(options))?;
    let root = tree.root_node();
    let mut walk = Walk { text, lines, language, found: Vec::new() };
    walk.follow(&mut root.walk());
    // What the parser could not make sense of as a whole is better read by lines.
    let broken =
        root.has_error() && walk.found.len() * 2 < lines.iter().filter(|line| super::defines(line).is_some()).count();
    (!broken).then_some(walk.found)
}

fn grammar(language: Language) -> tree_sitter::Language {
    match language {
        Language::Rust => tree_sitter_rust::LANGUAGE,
        Language::Python => tree_sitter_python::LANGUAGE,
        Language::JavaScript => tree_sitter_javascript::LANGUAGE,
        Language::TypeScript => tree_sitter_typescript::LANGUAGE_TYPESCRIPT,
        Language::Tsx => tree_sitter_typescript::LANGUAGE_TSX,
        Language::Go => tree_sitter_go::LANGUAGE,
        Language::Java => tree_sitter_java::LANGUAGE,
        Language::C => tree_sitter_c::LANGUAGE,
        Language::Cpp => tree_sitter_cpp::LANGUAGE,
        Language::Ruby => tree_sitter_ruby::LANGUAGE,
        Language::Shell => tree_sitter_bash::LANGUAGE,
    }
    .into()
}

struct Walk<'a> {
    text: &'a str,
    lines: &'a [&'a str],
    language: Language,
    found: Vec<Definition>,
}

/// What a node defines.
struct Named<'t> {
    name: String,
    body: Option<Node<'t>>,
    holds: bool,
}

impl Walk<'_> {
    /// Goes through the tree without recursion: a program made it, or a person who wants to break us.
    fn follow(&mut self, cursor: &mut TreeCursor<'_>) {
        // For each level: the definition that its nodes are in.
        let mut parents: Vec<Option<usize>> = vec![None];
        let mut depth = 0;
        loop {
            let node = cursor.node();
            let parent = parents[depth];
            let inside = match self.named(node) {
                Some(named) => Some(self.put(node, named, parent)),
                None => parent,
            };
            if depth < DEPTH_MAX && node.named_child_count() > 0 && cursor.goto_first_child() {
                depth += 1;
                parents.truncate(depth);
                parents.push(inside);
                continue;
            }
            while !cursor.goto_next_sibling() {
                if !cursor.goto_parent() || depth == 0 {
                    return;
                }
                depth -= 1;
            }
        }
    }

    fn put(&mut self, node: Node<'_>, named: Named<'_>, parent: Option<usize>) -> usize {
        let signature = node.start_position().row.min(self.lines.len().saturating_sub(1));
        let mut end = node.end_position().row + usize::from(node.end_position().column > 0);
        end = end.clamp(signature + 1, self.lines.len().max(signature + 1));
        let body = match named.body {
            // A body that begins a line, in Python or by a brace on a line of its own, is no part of the signature.
            Some(body) if body.start_position().row > signature && self.begins_line(body) => body.start_position().row,
            Some(body) => body.start_position().row + 1,
            None => end,
        };
        let body = body.clamp(signature + 1, end).min(signature + SIGNATURE_LINES_MAX);
        let after = self
            .found
            .last()
            .map_or(0, |last| if Some(self.found.len() - 1) == parent { last.body } else { last.start + 1 });
        let start = with_comments(self.lines, signature).max(after.min(signature));
        let end = parent.map_or(end, |parent| end.min(self.found[parent].end)).max(body);
        if let Some(parent) = parent
            && self.found[parent].body > signature
        {
            // On one line with what it is in: `enum A { B }` has no lines of its own.
            return parent;
        }
        self.found.push(Definition { name: named.name, start, signature, body, end, parent, holds: named.holds });
        self.found.len() - 1
    }

    fn begins_line(&self, node: Node<'_>) -> bool {
        let at = node.start_position();
        self.lines.get(at.row).is_some_and(|line| line.len() - line.trim_start().len() == at.column)
    }

    fn text_of(&self, node: Node<'_>) -> Option<String> {
        let text = self.text.get(node.byte_range())?;
        (!text.is_empty() && text.len() <= 200).then(|| text.to_owned())
    }

    fn field(&self, node: Node<'_>, field: &str) -> Option<String> {
        self.text_of(node.child_by_field_name(field)?)
    }

    fn named<'t>(&self, node: Node<'t>) -> Option<Named<'t>> {
        if !node.is_named() {
            return None;
        }
        let body = || node.child_by_field_name("body");
        let simple = |holds: bool| Some(Named { name: self.field(node, "name")?, body: body(), holds });
        match (self.language, node.kind()) {
            (Language::Rust, kind) => match kind {
                "function_item"
                | "function_signature_item"
                | "struct_item"
                | "enum_item"
                | "union_item"
                | "macro_definition"
                | "const_item"
                | "static_item"
                | "type_item" => simple(false),
                "trait_item" | "mod_item" => simple(true),
                "impl_item" => {
                    Some(Named { name: self.base_name(node.child_by_field_name("type")?)?, body: body(), holds: true })
                }
                _ => None,
            },
            (Language::Python, kind) => match kind {
                "function_definition" => simple(false),
                "class_definition" => simple(true),
                _ => None,
            },
            (Language::JavaScript | Language::TypeScript | Language::Tsx, kind) => self.script(node, kind),
            (Language::Go, kind) => match kind {
                "function_declaration" | "method_declaration" => simple(false),
                "type_declaration" | "const_declaration" | "var_declaration" => {
                    if node.parent()?.parent().is_some() && kind != "type_declaration" {
                        return None;
                    }
                    let name = (0..node.named_child_count()).find_map(|at| {
                        let spec = node.named_child(u32::try_from(at).ok()?)?;
                        self.field(spec, "name")
                    })?;
                    let last = node.named_child(0).and_then(|spec| spec.child_by_field_name("type"));
                    Some(Named {
                        name,
                        body: last.filter(|body| body.end_position().row > body.start_position().row),
                        holds: false,
                    })
                }
                _ => None,
            },
            (Language::Java, kind) => match kind {
                "class_declaration"
                | "interface_declaration"
                | "enum_declaration"
                | "record_declaration"
                | "annotation_type_declaration" => simple(true),
                "method_declaration" | "constructor_declaration" => simple(false),
                _ => None,
            },
            (Language::C | Language::Cpp, kind) => match kind {
                "function_definition" => {
                    let name = self.declared(node.child_by_field_name("declarator")?)?;
                    Some(Named { name, body: body(), holds: false })
                }
                "struct_specifier" | "union_specifier" | "enum_specifier" if body().is_some() => simple(false),
                "class_specifier" if body().is_some() => simple(true),
                "namespace_definition" => simple(true),
                "preproc_function_def" => simple(false),
                "type_definition" => {
                    let name = self.declared(node.child_by_field_name("declarator")?)?;
                    Some(Named { name, body: None, holds: false })
                }
                _ => None,
            },
            (Language::Ruby, kind) => match kind {
                "method" | "singleton_method" => simple(false),
                "class" | "module" => simple(true),
                "call" => self.test_call(node, "method", "block"),
                _ => None,
            },
            (Language::Shell, kind) => {
                if kind == "function_definition" {
                    simple(false)
                } else {
                    None
                }
            }
        }
    }

    fn script<'t>(&self, node: Node<'t>, kind: &str) -> Option<Named<'t>> {
        let body = |of: Node<'t>| of.child_by_field_name("body");
        let is_function = |node: &Node<'_>| {
            matches!(node.kind(), "function_expression" | "arrow_function" | "function" | "generator_function" | "class")
        };
        match kind {
            "function_declaration"
            | "generator_function_declaration"
            | "method_definition"
            | "function_signature"
            | "enum_declaration"
            | "interface_declaration"
            | "type_alias_declaration" => Some(Named { name: self.field(node, "name")?, body: body(node), holds: false }),
            "class_declaration" | "abstract_class_declaration" | "internal_module" | "module" => {
                Some(Named { name: self.field(node, "name")?, body: body(node), holds: true })
            }
            "variable_declarator" => {
                let value = node.child_by_field_name("value").filter(is_function)?;
                Some(Named { name: self.field(node, "name")?, body: body(value), holds: value.kind() == "class" })
            }
            "assignment_expression" => {
                let value = node.child_by_field_name("right").filter(is_function)?;
                let left = node.child_by_field_name("left")?;
                let name = match left.child_by_field_name("property") {
                    Some(property) => self.text_of(property)?,
                    None => self.text_of(left)?,
                };
                Some(Named { name, body: body(value), holds: false })
            }
            "pair" => {
                let value = node.child_by_field_name("value").filter(is_function)?;
                Some(Named { name: self.field(node, "key")?, body: body(value), holds: false })
            }
            "call_expression" => self.test_call(node, "function", "arguments"),
            _ => None,
        }
    }

    /// `describe("name", …)`: tests are the named things of a file of tests.
    fn test_call<'t>(&self, node: Node<'t>, callee: &str, body: &str) -> Option<Named<'t>> {
        let called = self.field(node, callee)?;
        let word = called.split('.').next().unwrap_or_default();
        if !is_test_call(self.language, word) {
            return None;
        }
        let first = node.child_by_field_name("arguments")?.named_child(0)?;
        if !matches!(first.kind(), "string" | "template_string") {
            return None;
        }
        let name = self.text_of(first)?.trim_matches(['\'', '"', '`']).to_owned();
        let held = node.child_by_field_name(body)?;
        (!name.is_empty()).then_some(Named {
            name,
            body: Some(held),
            holds: matches!(word, "describe" | "context" | "suite" | "feature"),
        })
    }

    /// The name within a C declarator: `*b(int c)` is `b`, `A::c()` is `c`.
    fn declared(&self, declarator: Node<'_>) -> Option<String> {
        let mut node = declarator;
        for _ in 0..12 {
            let next = node.child_by_field_name("declarator").or_else(|| match node.kind() {
                "qualified_identifier" => node.child_by_field_name("name"),
                "parenthesized_declarator" | "reference_declarator" | "template_function" => node.named_child(0),
                _ => None,
            });
            match next {
                Some(next) => node = next,
                None => break,
            }
        }
        self.text_of(node)
    }

    /// The name of a type without its parameters: `Foo<T>` is `Foo`, `a::B` is `B`.
    fn base_name(&self, node: Node<'_>) -> Option<String> {
        let mut node = node;
        for _ in 0..6 {
            let next = match node.kind() {
                "generic_type" => node.child_by_field_name("type"),
                "scoped_type_identifier" => node.child_by_field_name("name"),
                "reference_type" => node.child_by_field_name("type"),
                _ => None,
            };
            match next {
                Some(next) => node = next,
                None => break,
            }
        }
        self.text_of(node)
    }
}
