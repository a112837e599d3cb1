//! What a file is for, by its name and its first lines.

use std::path::Path;

use crate::OmissionReason;

/// The languages whose definitions are read with a grammar.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Language {
    /// `.rs`
    Rust,
    /// `.py`
    Python,
    /// `.js` and its relatives
    JavaScript,
    /// `.ts`
    TypeScript,
    /// `.tsx`
    Tsx,
    /// `.go`
    Go,
    /// `.java`
    Java,
    /// `.c`
    C,
    /// `.cc`, `.h` and their relatives
    Cpp,
    /// `.rb`
    Ruby,
    /// `.sh` and its relatives
    Shell,
}

/// What a file is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// What the program is made of.
    Source,
    /// What tests it.
    Test,
    /// An example, a benchmark, a script.
    Example,
    /// What people read.
    Document,
    /// What says how it is built and what it needs: `Cargo.toml`, `package.json`.
    Manifest,
    /// Settings of tools.
    Settings,
    /// What changed when, licences, lists of people.
    Record,
    /// Made by a program, or data.
    Made,
}

/// Role and language of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Kind {
    /// What it is for.
    pub role: Role,
    /// Its language, where there is a grammar for it.
    pub language: Option<Language>,
}

/// Files that are never sources, by name: locks and what packers made are generated; pictures and archives are not text.
pub fn is_never_source(path: &Path) -> Option<OmissionReason> {
    let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    let lower = name.to_ascii_lowercase();
    const LOCKS: &[&str] = &[
        "cargo.lock",
        "package-lock.json",
        "npm-shrinkwrap.json",
        "go.sum",
        "uv.lock",
        "poetry.lock",
        "pdm.lock",
        "yarn.lock",
        "pnpm-lock.yaml",
        "gemfile.lock",
        "composer.lock",
        "bun.lock",
        "bun.lockb",
        "flake.lock",
        "pipfile.lock",
    ];
    const ENDINGS: &[&str] = &[
        "png", "jpg", "jpeg", "gif", "ico", "webp", "bmp", "tiff", "woff", "woff2", "ttf", "otf", "eot", "pdf", "gz", "zip",
        "bz2", "xz", "zst", "lz4", "br", "tar", "tgz", "7z", "jar", "war", "class", "o", "a", "so", "dylib", "dll", "exe",
        "pyc", "wasm", "mp3", "mp4", "mov", "webm", "wav", "ogg", "db", "sqlite",
    ];
    let ending = lower.rsplit_once('.').map_or("", |(_, ending)| ending);
    if LOCKS.contains(&lower.as_str()) || lower.contains(".min.") || ending == "map" {
        Some(OmissionReason::Generated)
    } else if ENDINGS.contains(&ending) {
        Some(OmissionReason::Binary)
    } else {
        None
    }
}

/// What this file is for.
pub fn of(path: &str, text: &str) -> Kind {
    let lower = path.to_ascii_lowercase();
    let (folders, name) = lower.rsplit_once('/').unwrap_or(("", &lower));
    let (stem, ending) = name.rsplit_once('.').unwrap_or((name, ""));
    let language = language(ending, text);
    let in_folder = |names: &[&str]| folders.split('/').any(|folder| names.contains(&folder));
    let role = if is_record(stem, ending) {
        Role::Record
    } else if is_made(text) {
        Role::Made
    } else if is_manifest(name) {
        Role::Manifest
    } else if language.is_some() || is_other_code(ending) {
        let named = stem.starts_with("test_")
            || stem.ends_with("_test")
            || stem.ends_with("_tests")
            || stem.ends_with(".test")
            || stem.ends_with(".spec")
            || stem.ends_with("_spec")
            || matches!(stem, "tests" | "test" | "conftest");
        if named || in_folder(&["test", "tests", "__tests__", "spec", "specs", "testdata", "testing", "e2e"]) {
            Role::Test
        } else if in_folder(&[
            "example",
            "examples",
            "bench",
            "benches",
            "benchmarks",
            "benchsuite",
            "scripts",
            "fuzz",
            "ci",
            "demo",
        ]) {
            Role::Example
        } else {
            Role::Source
        }
    } else if matches!(ending, "md" | "rst" | "txt" | "adoc" | "markdown" | "html" | "htm") {
        if in_folder(&["test", "tests", "fixtures", "templates"]) { Role::Made } else { Role::Document }
    } else if matches!(ending, "toml" | "yml" | "yaml" | "json" | "ini" | "cfg" | "conf" | "xml" | "mod")
        || name.starts_with('.')
    {
        Role::Settings
    } else {
        Role::Made
    };
    Kind { role, language }
}

fn language(ending: &str, text: &str) -> Option<Language> {
    Some(match ending {
        "rs" => Language::Rust,
        "py" | "pyi" => Language::Python,
        "js" | "jsx" | "mjs" | "cjs" => Language::JavaScript,
        "ts" | "mts" | "cts" => Language::TypeScript,
        "tsx" => Language::Tsx,
        "go" => Language::Go,
        "java" => Language::Java,
        "c" => Language::C,
        "cc" | "cpp" | "cxx" | "h" | "hh" | "hpp" | "hxx" => Language::Cpp,
        "rb" | "rake" => Language::Ruby,
        "sh" | "bash" | "zsh" => Language::Shell,
        "" => {
            let first = text.lines().next().unwrap_or_default();
            match first.strip_prefix("#!")? {
                line if line.contains("python") => Language::Python,
                line if line.contains("sh") => Language::Shell,
                line if line.contains("node") => Language::JavaScript,
                line if line.contains("ruby") => Language::Ruby,
                _ => return None,
            }
        }
        _ => return None,
    })
}

/// Code without a grammar here.
fn is_other_code(ending: &str) -> bool {
    matches!(
        ending,
        "kt" | "kts"
            | "swift"
            | "scala"
            | "cs"
            | "php"
            | "lua"
            | "ex"
            | "exs"
            | "erl"
            | "hs"
            | "ml"
            | "mli"
            | "clj"
            | "dart"
            | "zig"
            | "nim"
            | "jl"
            | "r"
            | "pl"
            | "pm"
            | "sql"
            | "vue"
            | "svelte"
            | "proto"
            | "graphql"
            | "fs"
            | "m"
            | "mm"
            | "groovy"
            | "ps1"
            | "fish"
            | "cmake"
            | "s"
            | "css"
            | "scss"
            | "tf"
    )
}

fn is_manifest(name: &str) -> bool {
    matches!(
        name,
        "cargo.toml"
            | "package.json"
            | "pyproject.toml"
            | "setup.py"
            | "setup.cfg"
            | "go.mod"
            | "pom.xml"
            | "build.gradle"
            | "build.gradle.kts"
            | "gemfile"
            | "makefile"
            | "cmakelists.txt"
            | "dockerfile"
            | "tox.ini"
            | "deno.json"
    ) || name.ends_with(".gemspec")
        || (name.starts_with("requirements") && name.ends_with(".txt"))
}

fn is_record(stem: &str, ending: &str) -> bool {
    matches!(ending, "" | "md" | "rst" | "txt" | "markdown")
        && [
            "changelog",
            "changes",
            "history",
            "release",
            "news",
            "licen",
            "copying",
            "unlicense",
            "authors",
            "contributors",
            "code_of_conduct",
        ]
        .iter()
        .any(|name| stem.starts_with(name))
}

/// Whether the first lines say that a program made it.
fn is_made(text: &str) -> bool {
    let head = &text.as_bytes()[..text.len().min(1024)];
    memchr::memmem::find(head, b"@generated").is_some()
        || memchr::memmem::find(head, b"Code generated").is_some()
        || memchr::memmem::find(head, b"DO NOT EDIT").is_some()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn roles_are_known_by_name() {
        let role = |path: &str| of(path, "x").role;
        assert_eq!(role("src/a.rs"), Role::Source);
        assert_eq!(role("context_test.go"), Role::Test);
        assert_eq!(role("test/res.send.js"), Role::Test);
        assert_eq!(role("docs/guide.rst"), Role::Document);
        assert_eq!(role("CHANGES.rst"), Role::Record);
        assert_eq!(role("go.mod"), Role::Manifest);
        assert_eq!(role(".github/workflows/ci.yml"), Role::Settings);
        assert_eq!(of("api.pb.go", "// Code generated by protoc. DO NOT EDIT.\n").role, Role::Made);
        assert_eq!(of("run", "#!/usr/bin/env python3\n").language, Some(Language::Python));
        assert_eq!(is_never_source(Path::new("a/Cargo.lock")), Some(OmissionReason::Generated));
        assert_eq!(is_never_source(Path::new("x.min.js")), Some(OmissionReason::Generated));
        assert_eq!(is_never_source(Path::new("x.PNG")), Some(OmissionReason::Binary));
        assert_eq!(is_never_source(Path::new("x.rs")), None);
    }
}
