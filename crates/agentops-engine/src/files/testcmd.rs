//! The test command of a repository, proposed from its build and lock files. Only names of files are looked at, and the
//! scripts table of `package.json`: data, nothing is run.

use std::path::Path;

/// A proposed command and the file that it was proposed from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Proposal {
    /// The argument vector.
    pub argv: Vec<String>,
    /// The file.
    pub from: String,
}

/// Proposes the test command of the project in `root`; `None` when no file tells.
#[must_use]
pub fn propose(root: &Path) -> Option<Proposal> {
    let has = |name: &str| root.join(name).is_file();
    let proposal = |argv: &[&str], from: &str| {
        Some(Proposal { argv: argv.iter().map(ToString::to_string).collect(), from: from.into() })
    };
    if has("Cargo.toml") {
        return proposal(&["cargo", "test", "--workspace"], "Cargo.toml");
    }
    if has("package.json") && has_test_script(root) {
        let runner = [("pnpm-lock.yaml", "pnpm"), ("yarn.lock", "yarn"), ("bun.lock", "bun")];
        let runner = runner.iter().find(|(lock, _)| has(lock)).map_or("npm", |(_, runner)| runner);
        return proposal(&[runner, "test"], "package.json");
    }
    if has("go.mod") {
        return proposal(&["go", "test", "./..."], "go.mod");
    }
    if let Some(from) = ["pytest.ini", "conftest.py", "tox.ini"].into_iter().find(|name| has(name)) {
        return proposal(&["python3", "-m", "pytest", "-q"], from);
    }
    if let Some(from) = ["pyproject.toml", "setup.py", "setup.cfg"].into_iter().find(|name| has(name)) {
        let text = std::fs::read_to_string(root.join(from)).unwrap_or_default();
        let pytest = text.contains("pytest");
        let argv: &[&str] =
            if pytest { &["python3", "-m", "pytest", "-q"] } else { &["python3", "-m", "unittest", "discover"] };
        return proposal(argv, from);
    }
    let makefile = ["Makefile", "makefile", "GNUmakefile"].into_iter().find(|name| has(name))?;
    let text = std::fs::read_to_string(root.join(makefile)).ok()?;
    let target = |name: &str| text.lines().any(|line| line.starts_with(&format!("{name}:")));
    ["test", "check"].into_iter().find(|name| target(name)).and_then(|name| proposal(&["make", name], makefile))
}

fn has_test_script(root: &Path) -> bool {
    let text = std::fs::read_to_string(root.join("package.json")).unwrap_or_default();
    let json: serde_json::Value = serde_json::from_str(&text).unwrap_or_default();
    let script = json["scripts"]["test"].as_str().unwrap_or_default();
    // What `npm init` puts there is no test.
    !script.is_empty() && !script.contains("no test specified")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_kind_of_project_gets_its_command() {
        type Files = &'static [(&'static str, &'static str)];
        let cases: [(Files, Option<&str>); 9] = [
            (&[("Cargo.toml", "")], Some("cargo test --workspace")),
            (&[("package.json", r#"{"scripts":{"test":"vitest"}}"#), ("pnpm-lock.yaml", "")], Some("pnpm test")),
            (&[("package.json", r#"{"scripts":{"test":"echo \"Error: no test specified\" && exit 1"}}"#)], None),
            (&[("package.json", "not json")], None),
            (&[("go.mod", "")], Some("go test ./...")),
            (&[("pyproject.toml", "[tool.pytest.ini_options]")], Some("python3 -m pytest -q")),
            (&[("setup.py", "")], Some("python3 -m unittest discover")),
            (&[("Makefile", "all:\n\ncheck: all\n")], Some("make check")),
            (&[("README.md", "")], None),
        ];
        for (files, wanted) in cases {
            let folder = tempfile::tempdir().unwrap();
            for (name, text) in files {
                std::fs::write(folder.path().join(name), text).unwrap();
            }
            let got = propose(folder.path()).map(|proposal| proposal.argv.join(" "));
            assert_eq!(got.as_deref(), wanted, "{files:?}");
        }
    }
}
