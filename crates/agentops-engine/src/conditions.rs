//! Conditions that a run would meet only at its end, checked before its first session and by `doctor`.

use agentops_agents::environment::{Environment, is_program};
use agentops_git::{Repo, Unwritable, UnwritableFolder, shell_word, unwritable};

use crate::hint;
use crate::paths::Paths;
use crate::space::DiskSpace;

/// Something that would keep a run's result from being written.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Unmet {
    /// Git keeps no branch below the name of another.
    #[error("the branch `{name}` is in the way: git keeps no branch below it, and results are branches `agentops/<run>`")]
    Branch {
        /// Its name.
        name: String,
    },
    /// The same for refs that are no branches.
    #[error("the ref `{name}` is in the way: git keeps no ref below it, and checkpoints are refs below `refs/agentops/`")]
    Ref {
        /// Its name.
        name: String,
    },
    /// A folder of the repository or the state folder cannot be written.
    #[error("the folder {} cannot be written: {}", .0.path.display(), reason(.0.why))]
    Unwritable(UnwritableFolder),
    /// A disk has too little space for a run.
    #[error("{0}")]
    Space(DiskSpace),
}

impl Unmet {
    /// What to type.
    #[must_use]
    pub fn hint(&self) -> String {
        match self {
            Self::Branch { name } => hint::ref_in_the_way(&format!("refs/heads/{name}")),
            Self::Ref { name } => hint::ref_in_the_way(name),
            Self::Space(disk) => disk.hint().to_owned(),
            Self::Unwritable(folder) => mend(folder),
        }
    }
}

fn reason(why: Unwritable) -> String {
    match why {
        Unwritable::ReadOnlyDisk => "its disk is mounted for reading only".to_owned(),
        Unwritable::OtherOwner { user } => format!("it belongs to the user with the number {user}"),
        Unwritable::NoFolder => "it is no folder".to_owned(),
        Unwritable::Permissions => "its permissions do not let you write".to_owned(),
        _ => "the file system refuses, though its permissions let you write".to_owned(),
    }
}

fn mend(folder: &UnwritableFolder) -> String {
    let path = shell_word(&folder.mend.display().to_string());
    match folder.why {
        Unwritable::NoFolder => {
            let path = shell_word(&folder.path.display().to_string());
            format!("look at it, and move it away: mv {path} {path}.moved")
        }
        Unwritable::ReadOnlyDisk => "mount its disk for writing".to_owned(),
        Unwritable::OtherOwner { .. } => {
            format!("work as that user, or take the folder over: sudo chown -R \"$(id -un)\" {path}")
        }
        Unwritable::Permissions => format!("give yourself the permission: find {path} -type d -exec chmod u+rwx {{}} +"),
        _ => format!("see what protects it, with lsattr -d {path} or getfacl {path}"),
    }
}

/// Folders of refs that a run writes below.
const FOLDERS: [&str; 7] = [
    "refs/agentops",
    "refs/agentops/discarded",
    "refs/agentops/kept",
    "refs/agentops/lanes",
    "refs/agentops/results",
    "refs/agentops/runs",
    "refs/agentops/salvage",
];

/// What is in the way of a run's result now.
///
/// # Errors
/// The refs cannot be read.
pub fn unmet(repo: &Repo) -> Result<Vec<Unmet>, agentops_git::Error> {
    let mut unmet = Vec::new();
    for (name, _) in repo.list_refs("refs/heads/agentops")? {
        // A branch below `agentops/records` is in the way of that one.
        if let Some(branch) = name
            .strip_prefix("refs/heads/")
            .filter(|branch| *branch == "agentops" || branch.starts_with("agentops/records/"))
        {
            unmet.push(Unmet::Branch { name: branch.to_owned() });
        }
    }
    let refs = repo.list_refs("refs/agentops")?.into_iter().map(|(name, _)| name);
    unmet.extend(refs.filter(|name| FOLDERS.contains(&name.as_str())).map(|name| Unmet::Ref { name }));
    let refs = [&FOLDERS[..], &["refs/heads/agentops"]].concat();
    unmet.extend(repo.unwritable_folders(&refs).into_iter().map(Unmet::Unwritable));
    Ok(unmet)
}

/// Folders of the state folder that cannot be written.
#[must_use]
pub fn unwritable_state(paths: &Paths) -> Vec<Unmet> {
    let Some(existing) = paths.root().ancestors().find(|path| path.is_dir()) else { return Vec::new() };
    let mut folders = vec![existing.to_owned()];
    if existing == paths.root() {
        let entries = std::fs::read_dir(existing).into_iter().flatten().flatten();
        folders.extend(entries.map(|entry| entry.path()).filter(|path| path.is_dir()));
    }
    let found = folders.into_iter().filter_map(|path| {
        let why = unwritable(&path)?;
        Some(UnwritableFolder { path, mend: existing.to_owned(), why })
    });
    let mut found: Vec<UnwritableFolder> = found.collect();
    // One command mends all of them.
    found.dedup_by(|next, before| next.why == before.why);
    found.into_iter().map(Unmet::Unwritable).collect()
}

/// What to know where git cannot tell who merges. The run itself does not need it, and `merge` can be repeated.
///
/// # Errors
/// Git cannot be asked.
pub fn no_committer(repo: &Repo, env: &Environment) -> Result<Option<String>, agentops_git::Error> {
    let given = |name: &str| env.get(name).is_some_and(|value| !value.is_empty());
    let mut known = true;
    for who in ["GIT_AUTHOR", "GIT_COMMITTER"] {
        let is_given = given(&format!("{who}_NAME")) && given(&format!("{who}_EMAIL"));
        known &= is_given || repo.knows_identity(&format!("{who}_IDENT"))?;
    }
    if known {
        return Ok(None);
    }
    let words = "git does not know who you are, so `agentops merge` will not commit; git config user.name \"Your Name\" and \
                 git config user.email you@example.com tell it";
    Ok(Some(words.to_owned()))
}

/// What to know where git would sign the user's merge with a program that is not there. The run itself does not need it.
///
/// # Errors
/// Git cannot be asked.
pub fn no_signature(repo: &Repo, env: &Environment) -> Result<Option<String>, agentops_git::Error> {
    let Some(program) = repo.signing_program()? else { return Ok(None) };
    let exists = match program.contains('/') {
        // Newer versions of git put the home folder in its place.
        true if program.starts_with('~') => true,
        true => is_program(&repo.work_tree().join(&program)),
        false => env.program(&program).is_some(),
    };
    let words = format!(
        "git signs your commits (commit.gpgSign) and the program {} is not there, so `agentops merge` will not commit; install \
         it, or sign nothing in this repository: git config commit.gpgSign false",
        shell_word(&program)
    );
    Ok((!exists).then_some(words))
}
