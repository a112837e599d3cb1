//! A repository of our own making: for the demo.

use std::path::Path;

use crate::error::Result;
use crate::objects::Author;
use crate::refs::Expect;
use crate::repo::Repo;
use crate::run::Git;

/// Makes `root` a repository whose branch `main` has one commit with these files. Nothing of the user's configuration or
/// templates takes part in it.
///
/// # Errors
/// Git is missing or too old, or the folder cannot be written.
pub fn begin(root: &Path, files: &[(&str, &[u8])], message: &str) -> Result<Repo> {
    let git = Git::find()?;
    git.call(["init", "--quiet", "--initial-branch=main", "--template="]).arg(root).ok()?;
    let repo = Repo::discover(&git, root)?;
    let author = Author { name: "AgentOps".to_owned(), email: "agentops@localhost".to_owned() };
    let files: Vec<(&str, Vec<u8>)> = files.iter().map(|(path, content)| (*path, content.to_vec())).collect();
    let commit = repo.commit_files(None, &files, message, &author, 0, root)?;
    // A branch of ours is the one kind of ref we may set; the checkout's own branch is git's business.
    let start = "refs/heads/agentops/start";
    repo.update_ref(start, &commit, &Expect::Absent)?;
    repo.as_user().args(["reset", "--quiet", "--hard", commit.as_str()]).ok()?;
    repo.delete_ref(start, &Expect::Is(commit))?;
    Repo::discover(&git, root)
}
