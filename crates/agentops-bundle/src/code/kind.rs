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
    /// Data, templates, and everything else.
    Data,
    /// Written by a program: it says so, has the name of such a file, is a snapshot of a test, or is minified.
    Generated,
    /// Code of others that was copied into the repository.
    Vendored,
}

impl Role {
    /// Whether people leave files of this role to a program or to others.
    #[must_use]
    pub fn is_seldom_edited(self) -> bool {
        matches!(self, Self::Generated | Self::Vendored)
    }

    /// The name in tables.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Source => "source",
            Self::Test => "test",
            Self::Example => "example",
            Self::Document => "document",
            Self::Manifest => "manifest",
            Self::Settings => "settings",
            Self::Record => "record",
            Self::Data => "data",
            Self::Generated => "generated",
            Self::Vendored => "vendored",
        }
    }
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
    } else if is_generated(name, text) || in_folder(&["__snapshots__", "__generated__"]) {
        Role::Generated
    } else if in_folder(&["vendor", "vendored", "third_party", "third-party", "thirdparty", "3rdparty", "bower_components"])
    {
        Role::Vendored
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
        if in_folder(&["test", "tests", "fixtures", "templates"]) { Role::Data } else { Role::Document }
    } else if matches!(ending, "toml" | "yml" | "yaml" | "json" | "ini" | "cfg" | "conf" | "xml" | "mod")
        || name.starts_with('.')
    {
        Role::Settings
    } else {
        Role::Data
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

/// Endings of files that generators write.
const GENERATED_ENDINGS: &[&str] = &[
    ".lock",
    ".snap",
    ".pb.go",
    "_pb2.py",
    "_pb2.pyi",
    "_pb2_grpc.py",
    ".pb.cc",
    ".pb.h",
    ".pb.rs",
    "_pb.js",
    "_pb.d.ts",
    ".g.dart",
    ".freezed.dart",
    ".g.cs",
    ".designer.cs",
    "_generated.go",
    ".generated.ts",
    ".generated.cs",
    ".bundle.js",
];
/// Lines of a minified file are longer than this on average, in bytes.
const MINIFIED_LINE_BYTES: usize = 400;
/// A shorter text is not called minified, in bytes.
const MINIFIED_BYTES_MIN: usize = 4_000;

/// Whether a program wrote this file, by its name in lower case, by what its first lines say, or by the length of its lines.
fn is_generated(name: &str, text: &str) -> bool {
    if GENERATED_ENDINGS.iter().any(|ending| name.ends_with(ending)) {
        return true;
    }
    let head = &text.as_bytes()[..text.len().min(1024)];
    let says = |words: &[u8]| memchr::memmem::find(head, words).is_some();
    if says(b"@generated") || says(b"Code generated") || says(b"DO NOT EDIT") || says(b"do not edit by hand") {
        return true;
    }
    let has_code_ending = [".js", ".mjs", ".cjs", ".css"].iter().any(|ending| name.ends_with(ending));
    has_code_ending
        && text.len() >= MINIFIED_BYTES_MIN
        && text.len() / (1 + memchr::memchr_iter(b'\n', text.as_bytes()).count()) > MINIFIED_LINE_BYTES
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
        assert_eq!(of("api.pb.go", "// Code generated by protoc. DO NOT EDIT.\n").role, Role::Generated);
        assert_eq!(of("run", "#!/usr/bin/env python3\n").language, Some(Language::Python));
        assert_eq!(is_never_source(Path::new("a/Cargo.lock")), Some(OmissionReason::Generated));
        assert_eq!(is_never_source(Path::new("x.min.js")), Some(OmissionReason::Generated));
        assert_eq!(is_never_source(Path::new("x.PNG")), Some(OmissionReason::Binary));
        assert_eq!(is_never_source(Path::new("x.rs")), None);
    }
}
