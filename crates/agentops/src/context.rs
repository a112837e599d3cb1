//! What a command needs of the machine, looked up once.

use std::ffi::OsString;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::LazyLock;

use agentops_agents::environment::Environment;
use agentops_core::id::RunId;
use agentops_core::run::State;
use agentops_engine::blobs::Blobs;
use agentops_engine::client::{self, Attendance, Starter};
use agentops_engine::environment::{EnvironmentView, LentEnvironment};
use agentops_engine::files::user::{self, UserConfig};
use agentops_engine::identity::{self, Identity, Ownership, repository_at};
use agentops_engine::ledger::Ledger;
use agentops_engine::paths::{Home, Paths};
use agentops_engine::space;
use agentops_engine::supervisor::Lock;
use agentops_engine::view::RunView;
use agentops_engine::wire::{Reply, Request};
use agentops_git::temporary::{self, TempFolder};
use agentops_git::{Git, Repo, claimed_id};
use agentops_safe::Redactor;

use crate::cli::Global;
use crate::env;
use crate::error::{CommandError, FAILED, NOT_NOW, USAGE};

/// The user's folders, from flags and environment.
pub fn home(global: &Global) -> Result<Home, CommandError> {
    let home = folders(global)?;
    can_be_a_state_folder(&home.state)?;
    Ok(home)
}

/// The same folders; whether the state folder can be one is not looked at.
pub fn folders(global: &Global) -> Result<Home, CommandError> {
    let missing = |what| {
        CommandError::new(USAGE, format!("neither HOME nor {what} is set to an absolute path"))
            .hint(format!("set HOME to your home folder, or {what} to a folder of its own"))
    };
    let config = env::config_dir().ok_or_else(|| missing(env::CONFIG_DIR))?;
    let state = match &global.state_dir {
        Some(folder) => absolute(folder)?,
        None => env::state_dir().ok_or_else(|| missing(env::STATE_DIR))?,
    };
    Ok(Home { config, state })
}

/// An absolute path. Nothing is relative to a working folder that was deleted.
fn absolute(path: &Path) -> Result<PathBuf, CommandError> {
    std::path::absolute(path).map_err(|e| no_working_folder(&e))
}

fn no_working_folder(error: &std::io::Error) -> CommandError {
    if error.kind() != std::io::ErrorKind::NotFound {
        return CommandError::new(FAILED, format!("the working folder cannot be named: {error}"))
            .hint("name your repository's folder with --repo");
    }
    CommandError::new(FAILED, "the folder that this command was started in has been deleted")
        .hint("go into a folder that exists, then run the command again: cd DIR")
}

/// Refuses a path that is a file or that lies where files cannot be made at all.
pub fn can_be_a_state_folder(folder: &Path) -> Result<(), CommandError> {
    let hint = "name a folder of your own with --state-dir or AGENTOPS_STATE_DIR";
    // Before the first run it is made in the nearest folder that exists.
    let Some(existing) = folder.ancestors().find(|path| path.symlink_metadata().is_ok()) else { return Ok(()) };
    if !existing.is_dir() {
        let words = match existing == folder {
            true => format!("the state folder {} is not a folder", folder.display()),
            false => format!(
                "the state folder {} cannot be made, because {} is not a folder",
                folder.display(),
                existing.display()
            ),
        };
        return Err(CommandError::new(FAILED, words).hint(hint));
    }
    if space::is_of_kernel(existing) {
        let words = format!(
            "the state folder {} cannot be made, because {} shows what the kernel knows and keeps no files",
            folder.display(),
            existing.display()
        );
        return Err(CommandError::new(FAILED, words).hint(hint));
    }
    Ok(())
}

/// The folder in which the search for a repository begins.
pub fn start(global: &Global) -> Result<PathBuf, CommandError> {
    let Some(named) = &global.repo else { return std::env::current_dir().map_err(|e| no_working_folder(&e)) };
    let folder = absolute(named)?;
    if folder.exists() && !folder.is_dir() {
        return Err(CommandError::new(USAGE, format!("{} is not a folder", folder.display()))
            .hint("name your repository's folder with --repo"));
    }
    Ok(folder)
}

/// The repository that was named, else the one around this folder. Which state is its own is not looked at.
pub fn repository(global: &Global) -> Result<Repo, CommandError> {
    let start = start(global)?;
    Ok(Repo::discover(&Git::find()?, &start)?)
}

/// What a command needs that is about no repository.
#[derive(Clone)]
pub struct Standing {
    /// The user's folders.
    pub home: Home,
    /// The user's settings.
    pub user: UserConfig,
    /// The environment, as the user's programs get it.
    pub env: Environment,
}

impl Standing {
    /// Looks them up.
    pub fn find(global: &Global) -> Result<Self, CommandError> {
        let home = home(global)?;
        let user = user::read(&home.config_file())?;
        Ok(Self { home, user, env: std::env::vars_os().collect() })
    }

    /// A variable's value, where it is text.
    pub fn var(&self, name: &str) -> Option<String> {
        self.env.text(name)
    }
}

/// A repository and its state.
#[derive(Clone)]
pub struct Context {
    /// The repository.
    pub repo: Repo,
    /// The user's folders.
    pub home: Home,
    /// The repository's private state.
    pub paths: Paths,
    /// How the repository comes to have this state.
    pub ownership: Ownership,
}

impl Context {
    /// Finds the repository.
    pub fn find(global: &Global) -> Result<Self, CommandError> {
        let home = home(global)?;
        let repo = repository(global)?;
        let identity = identity::find(&repo, &home)?;
        Ok(Self::of(&repo, home, identity))
    }

    /// A repository under the id that its state has.
    pub fn of(repo: &Repo, home: Home, identity: Identity) -> Self {
        let (repo, paths) = (repo.with_id(&identity.id), home.repository(&identity.id));
        Self { repo, home, paths, ownership: identity.ownership }
    }

    /// The same, with the repository's id written down: a command that makes state begins with this.
    pub fn claim(&self) -> Result<Self, CommandError> {
        let identity = identity::claim(&self.repo, &self.home)?;
        Ok(Self::of(&self.repo, self.home.clone(), identity))
    }

    /// What a person should know of how the repository comes to have this state, if anything.
    pub fn notice(&self) -> Option<String> {
        let id = self.repo.id();
        // Files that an agent can write name these folders, so they may hold line ends.
        let shown = |path: &Path| agentops_safe::visible_line(&path.display().to_string()).into_owned();
        let state = self.home.state.display();
        match &self.ownership {
            Ownership::Known | Ownership::New => None,
            Ownership::Restored if claimed_id(self.repo.common_dir()).is_none() => None,
            Ownership::Restored => Some(format!(
                "the id in the git directory is another repository's; this repository keeps its own state, {id}"
            )),
            Ownership::Moved { from } => {
                Some(format!("this repository was at {} before; its runs were found again", shown(repository_at(from))))
            }
            Ownership::Copy { of } => Some(format!(
                "this repository is a copy of the one at {}: its runs and its trust stay there, and this one begins its own",
                shown(repository_at(of))
            )),
            Ownership::Absent { last: Some(last) } if *last != self.home.state && last.join(id).is_dir() => Some(format!(
                "the runs of this repository are in the state folder {}, and this command looks in {state} \
                 (--state-dir or AGENTOPS_STATE_DIR)",
                shown(last)
            )),
            Ownership::Absent { last: Some(last) } => Some(format!(
                "the state of this repository's earlier runs, {}, is gone; what git holds of them is in branches agentops/* and \
                 refs/agentops/",
                shown(&last.join(id))
            )),
            Ownership::Absent { last: None } => None,
        }
    }

    /// The blob store, for reading.
    pub fn texts(&self) -> Blobs {
        Blobs::at(&self.paths.blobs(), redactor())
    }

    /// The blob store, for writing.
    pub fn blobs(&self) -> Result<Blobs, CommandError> {
        self.paths.make().map_err(|e| unwritable(self.paths.root(), &e))?;
        Blobs::open(&self.paths.blobs(), redactor()).map_err(|e| unwritable(self.paths.root(), &e))
    }

    /// A blob store that is removed with the folder that comes with it.
    pub fn throwaway_blobs(&self) -> Result<(TempFolder, Blobs), CommandError> {
        let above = self.home.state.join("dry-run");
        let make = || -> std::io::Result<_> {
            std::fs::DirBuilder::new().recursive(true).mode(0o700).create(&above)?;
            // Earlier versions named the folder by their process.
            temporary::sweep_names(&above, |_| true);
            let folder = TempFolder::make(&above, "")?;
            let blobs = Blobs::open(folder.path(), redactor())?;
            Ok((folder, blobs))
        };
        make().map_err(|e| unwritable(&above, &e))
    }

    /// The ledger, for reading.
    pub fn ledger(&self) -> Result<Ledger, CommandError> {
        match Ledger::read(&self.paths.ledger())? {
            Some(ledger) => Ok(ledger),
            None => Err(self.no_runs()),
        }
    }

    /// The run that was named, else the newest.
    pub fn run(&self, ledger: &Ledger, named: Option<&RunId>) -> Result<RunId, CommandError> {
        match named {
            Some(run) => Ok(run.clone()),
            None => ledger.runs(1)?.into_iter().next().map(|line| line.run).ok_or_else(|| self.no_runs()),
        }
    }

    fn no_runs(&self) -> CommandError {
        let error = CommandError::new(NOT_NOW, "there are no runs in this repository yet");
        match self.notice() {
            Some(notice) => error.cause(notice).hint("agentops run \"what is to be done\""),
            None => error.hint("agentops run \"what is to be done\""),
        }
    }

    /// A run's state.
    pub fn state(&self, ledger: &mut Ledger, run: &RunId) -> Result<State, CommandError> {
        let missing = || {
            CommandError::new(NOT_NOW, format!("there is no run {run} in this repository"))
                .hint("`agentops status` lists them")
        };
        ledger.state(run)?.ok_or_else(missing)
    }

    /// The process that holds the supervisor's lock.
    pub fn supervisor(&self) -> Option<String> {
        Lock::holder(&self.paths.lock())
    }

    /// Why no supervisor can run, when none does.
    pub fn hindrance(&self) -> Option<String> {
        if self.supervisor().is_some() { None } else { client::hindrance(&self.paths) }
    }

    /// How a supervisor of this repository is started.
    pub fn starter(&self) -> Result<Starter, CommandError> {
        let args: Vec<OsString> = vec![
            "supervise".into(),
            "--repo".into(),
            self.repo.work_tree().into(),
            "--state-dir".into(),
            self.home.state.clone().into(),
        ];
        Ok(Starter { exe: exe()?, args, env: env::for_supervisor() })
    }

    /// What this command lends to the run that it starts or resumes.
    pub fn lent(&self) -> LentEnvironment {
        LentEnvironment { variables: env::for_runs(), config: self.home.config.clone() }
    }

    /// The environment that a run works in, beside this shell's.
    pub fn environment_of(&self, view: &RunView) -> EnvironmentView {
        if view.ended_at_ms.is_some() {
            return EnvironmentView::Unknown { reason: "the run has ended, and its environment is forgotten".to_owned() };
        }
        client::compare_environment(&self.paths, &view.run, &env::for_runs())
    }

    /// Which runs a supervisor works on now.
    pub fn attendance(&self) -> Attendance {
        Attendance::of(&self.paths)
    }

    /// Asks the supervisor, starting one where none runs.
    pub fn ask(&self, request: &Request) -> Result<Reply, CommandError> {
        self.paths.make().map_err(|e| unwritable(self.paths.root(), &e))?;
        Ok(client::ask(&self.paths, Some(&self.starter()?), request)?)
    }
}

/// Knows the secrets of this process's environment, which never changes.
pub fn redactor() -> Redactor {
    static REDACTOR: LazyLock<Redactor> = LazyLock::new(|| {
        let text = |(name, value): (OsString, OsString)| Some((name.into_string().ok()?, value.into_string().ok()?));
        Redactor::from_env(std::env::vars_os().filter_map(text))
    });
    REDACTOR.clone()
}

/// A person's words without the secrets that this terminal knows.
pub fn redacted(words: &str) -> String {
    redactor().redact(words).into_owned()
}

/// A text to show, without secrets, also where an invisible character divides one: a terminal would show it whole.
pub fn without_secrets(redactor: &Redactor, text: &str) -> String {
    redactor.redact(&agentops_bundle::source_text::without_invisible(text)).into_owned()
}

/// This program's own path.
pub fn exe() -> Result<PathBuf, CommandError> {
    std::env::current_exe().map_err(|e| CommandError::new(FAILED, format!("this program's own path is unknown: {e}")))
}

/// A folder of private state that cannot be used.
pub fn unwritable(folder: &Path, error: &std::io::Error) -> CommandError {
    CommandError::new(FAILED, format!("the state folder {} cannot be written: {error}", folder.display()))
        .hint("name another with --state-dir, or mend its permissions")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn s6_a_secret_with_an_invisible_character_in_it_is_not_shown() {
        let redactor = Redactor::new([("KEY".to_owned(), "very-secret-value-9".to_owned())]);
        for hidden in ["", "\x7f", "\0", "\u{200b}"] {
            let shown = without_secrets(&redactor, &format!("very-sec{hidden}ret-value-9"));
            assert_eq!(shown, "[redacted:KEY]", "{hidden:?}");
        }
    }
}
