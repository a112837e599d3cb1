//! Settings of a repository with which git itself does not work in its checkout, although the checkout is there.
//!
//! An agent's `git config` in the user's repository can set them. Our own calls name git directory and work tree, so most
//! commands work all the same and can say what puts the setting back.

use std::fmt::{self, Display};
use std::path::{Path, PathBuf};

use crate::names;
use crate::run::Output;

/// Why git does not work in a checkout.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CheckoutFault {
    /// `core.bare=true`.
    CalledBare,
    /// `core.worktree` leads elsewhere.
    FilesElsewhere,
}

impl CheckoutFault {
    /// The command that puts it back, to be typed in the checkout.
    #[must_use]
    pub fn command(self) -> &'static str {
        match self {
            Self::CalledBare => "git config core.bare false",
            Self::FilesElsewhere => "git config --unset-all core.worktree",
        }
    }
}

impl Display for CheckoutFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::CalledBare => "git takes this checkout for a bare repository (core.bare=true)",
            Self::FilesElsewhere => "git takes another folder for the files of this checkout (core.worktree)",
        })
    }
}

/// The checkout around `start` whose git directory this is: the folder that holds it.
pub(crate) fn checkout_around(start: &Path, git_dir: &[u8]) -> Option<PathBuf> {
    let git_dir = names::path(git_dir.strip_suffix(b"\n").unwrap_or(git_dir));
    let work_tree = git_dir.parent().filter(|_| git_dir.file_name().is_some_and(|name| name == ".git"))?;
    let inside = start.starts_with(work_tree) && !start.starts_with(&git_dir);
    // A repository that is really bare has no index.
    (inside && git_dir.join("index").is_file()).then(|| work_tree.to_owned())
}

/// The file `commondir` in a git directory where it does not belong: git would use another git directory. Only the git
/// directories of linked worktrees have one.
pub(crate) fn misleading_commondir(git_dir: &Path) -> Option<PathBuf> {
    let git_dir = git_dir.canonicalize().ok()?;
    let is_of_worktree = git_dir.parent().and_then(Path::file_name).is_some_and(|name| name == "worktrees");
    let file = git_dir.join("commondir");
    (!is_of_worktree && file.symlink_metadata().is_ok()).then_some(file)
}

/// Why git refuses the configuration of a repository, in its words; none where it refused something else. Git says it in
/// English to our calls.
pub(crate) fn refused_configuration(out: &Output) -> Option<String> {
    const REASONS: [&str; 4] = ["bad config", "git repo version", "unknown repository extension", "bad numeric config"];
    let said = REASONS.iter().any(|reason| out.stderr.contains(reason));
    let words = out.stderr.trim().trim_start_matches("fatal: ").split_whitespace().collect::<Vec<_>>().join(" ");
    (out.code != Some(0) && said).then_some(words)
}
