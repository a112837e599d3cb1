//! Files of a repository that steer agents or run by themselves. A merge that changes one asks a person.
//!
//! Names decide, at any depth and in any case: some programs read such a file of every folder that they work in, and some
//! file systems do not tell `claude.md` from `CLAUDE.md`. A name too many costs a look, a name too few costs the question. The
//! list cannot be complete, and it leaves out what a reviewer reads as code: sources, build scripts, `package.json`.

/// Names of one purpose.
#[derive(Debug)]
pub struct NameGroup {
    /// What these files do.
    pub purpose: &'static str,
    /// Names of files, and of folders with everything below them, in lower case and with a blank between. A `*` stands for any
    /// characters of one name.
    names: &'static str,
}

impl NameGroup {
    /// Its names: of files, and of folders with everything below them. A `*` stands for any characters of one name.
    pub fn names(&self) -> impl Iterator<Item = &'static str> + use<> {
        self.names.split(' ')
    }
}

/// What is asked about.
pub const GROUPS: &[NameGroup] = &[
    NameGroup {
        purpose: "instructions for agents",
        names: "agent.md agents.md agents.*.md claude.md claude.*.md codex.md copilot-instructions.md crush.md \
            crush.*.md gemini.md gemini.*.md iflow.md jules.md opencode.md qwen.md qwen.*.md replit.md \
            warp.md skill.md *.agent.md *.chatmode.md *.instructions.md *.prompt.md .aider* .clinerules* \
            .continuerules .cursorrules .goosehints .kilocoderules* .roorules* .rules .windsurfrules",
    },
    NameGroup {
        purpose: "settings of agent programs, and files that they must not read",
        names: ".agent .agents .aiassistant .amazonq .amp .augment* .claude .claude-plugin .codebuddy .codex \
            .codex-plugin .continue .copilot .crush* .cursor .devin .factory .gemini .goose .iflow .jules \
            .junie .kilo .kilocode* .kiro .mcp.json .openhands .opencode .pi .qodo .qwen .roo .roomodes \
            .tabnine .trae .windsurf .zencoder crush.json gemini-extension.json kilo.json* mcp.json \
            opencode.json* .aiexclude .aiignore .claudeignore .clineignore .codeiumignore .cursorignore \
            .cursorindexingignore .geminiignore .rooignore",
    },
    NameGroup {
        purpose: "git and its hooks",
        names: ".captainhook* .cargo-husky .git-hooks .gitattributes .gitconfig .githooks .gitmodules .husky \
            .huskyrc* .lefthook* .lfsconfig .lintstagedrc* .overcommit.yml .pre-commit-config.y*ml \
            .pre-commit-hooks.y*ml .simple-git-hooks* .worktreeinclude captainhook.json grumphp.y*ml \
            lefthook.* lefthook-local.* lint-staged.config.* simple-git-hooks.*",
    },
    NameGroup {
        purpose: "continuous integration and automation",
        names: ".appveyor* .azure-pipelines* .azuredevops .build.yml .builds .buildkite .circleci .cirrus* \
            .drone* .forgejo .gitea .github .gitlab .gitlab-ci* *.gitlab-ci.yml .mergify* .renovaterc* \
            .semaphore .teamcity .tekton .travis.yml .woodpecker* appveyor.yml azure-pipelines* \
            bitbucket-pipelines.y*ml bitrise.yml buildspec*.yml buildspec*.yaml cloudbuild*.yml cloudbuild*.yaml \
            codemagic.yaml \
            jenkinsfile* netlify.toml renovate.json* vercel.json",
    },
    NameGroup {
        purpose: "editors, shells and development environments",
        names: ".devcontainer* .dir-locals* .direnv .env* .exrc .fleet .gdbinit .gitpod* .idea .irbrc .lldbinit \
            .lvimrc .mise* .nvim* .pryrc .renviron .replit .rprofile .run .theia .tool-versions .vim .vimrc \
            .vs .vscode .zed *.code-workspace *.run.xml *.sublime-project devcontainer.json mise.toml \
            mise.*.toml",
    },
    NameGroup {
        purpose: "package managers and tools that read it wherever they start",
        names: ".bazeliskrc .bazelrc *.bazelrc .bundle .cargo .condarc .mvn .npmrc .nuget .pnp.* .pnpmfile.* \
            .pypirc .yarn .yarnrc* bunfig.toml gradle-wrapper.* nuget.config pip.conf pnpm-workspace.yaml \
            rust-toolchain* sitecustomize.py usercustomize.py",
    },
];

/// What runs leave in a repository: it steers nothing by its place.
const RECORDS: [&str; 3] = ["memory", "runs", "bundles"];

/// Whether a file steers agents or runs by itself, by its path from the root of the repository.
#[must_use]
pub fn steers(path: &str) -> bool {
    let path = folded(path);
    let mut parts = path.splitn(3, '/');
    let (first, second, below) = (parts.next(), parts.next(), parts.next());
    let is_record = below.is_some() && second.is_some_and(|folder| RECORDS.contains(&folder));
    if first == Some(".agentops") && !is_record {
        return true;
    }
    let patterns = || GROUPS.iter().flat_map(NameGroup::names);
    path.split('/').any(|name| patterns().any(|pattern| matches(pattern, name)))
}

/// As a file system compares names that does not tell upper from lower case: `ſ` and `K` are letters of such a name too.
fn folded(path: &str) -> String {
    path.to_uppercase().to_lowercase()
}

fn matches(pattern: &str, name: &str) -> bool {
    match pattern.split_once('*') {
        None => name == pattern,
        Some((begin, end)) => name.strip_prefix(begin).is_some_and(|rest| rest.ends_with(end)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn s2_what_steers_agents_or_runs_by_itself_is_known_at_any_depth_and_in_any_case() {
        for path in "CLAUDE.md claude.md CLAUDE.local.md AGENTS.md AGENTS.override.md GEMINI.md SKILL.md \
            .claude/settings.json .claude/agents/x.md .codex/config.toml .gemini/settings.json \
            .opencode/plugin/a.js opencode.jsonc .mcp.json .cursorrules .cursor/rules/a.mdc .windsurfrules \
            .windsurf/rules/a.md .clinerules .clinerules/a.md .aider.conf.yml \
            .github/copilot-instructions.md .github/instructions/a.instructions.md .github/workflows/a.yml \
            .github/actions/a/action.yml .gitlab-ci.yml .circleci/config.yml Jenkinsfile .envrc .env \
            .vscode/tasks.json .idea/runConfigurations/a.xml .devcontainer.json \
            .devcontainer/devcontainer.json .cargo/config .cargo/config.toml .npmrc .yarnrc.yml .lfsconfig \
            .gitmodules .gitattributes .husky/pre-commit .githooks/pre-commit .pre-commit-config.yaml \
            lefthook.yml .worktreeinclude rust-toolchain.toml"
            .split(' ')
        {
            for path in [path.to_owned(), format!("sub/dir/{path}"), path.to_uppercase()] {
                assert!(steers(&path), "{path}");
            }
        }
        // A link of the folder's name is a file to git.
        assert!(steers(".claude") && steers("sub/.cursor") && steers("AGENT\u{17f}.md"));
    }

    #[test]
    fn code_and_documents_do_not_steer() {
        for path in "src/main.rs build.rs package.json Makefile README.md docs/agents/a.md agents.py src/claude.rs \
            .claudette/x claude/settings.json .gitignore environment.yml done.txt github/workflows/a.yml"
            .split(' ')
        {
            assert!(!steers(path), "{path}");
        }
    }

    #[test]
    fn s2_of_our_own_folder_only_the_records_of_runs_do_not_steer() {
        for path in [".agentops/runs/r-1.json", ".agentops/bundles/a/bundle.md", ".agentops/memory/learnings/a.md"] {
            assert!(!steers(path), "{path}");
        }
        for path in ".agentops/config.toml .agentops/workflows/a.toml .agentops/agents/a.md .agentops/new/x \
            .agentops .AgentOps/config.toml .agentops/runs .agentops/bundles/a/CLAUDE.md"
            .split(' ')
        {
            assert!(steers(path), "{path}");
        }
    }

    #[test]
    fn what_trust_pins_steers() {
        for pinned in crate::trust::PINNED {
            assert!(steers(pinned.trim_end_matches('/')), "{pinned}");
        }
    }

    #[test]
    fn names_are_patterns_that_can_match() {
        for name in GROUPS.iter().flat_map(NameGroup::names) {
            assert_eq!(folded(name), name);
            assert!(!name.contains('/') && name.matches('*').count() < 2, "{name}");
        }
    }
}
