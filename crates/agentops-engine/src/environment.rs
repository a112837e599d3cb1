//! The environment that each run is worked on with.
//!
//! The command that starts or resumes a run lends it the environment of its own shell. It is kept in memory for as long as
//! the run is open, and it is never written: not into the ledger, a blob or a log. A run whose supervisor died has none
//! until somebody resumes it.

mod comparison;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use agentops_agents::environment::Environment;
use agentops_core::id::RunId;
use agentops_safe::Redactor;
use serde::{Deserialize, Serialize};

use crate::files::FileError;
use crate::files::user::{self, UserConfig};
use crate::paths::Home;

pub use comparison::{AgentCalls, CallDestination, EnvironmentHashes, EnvironmentView};

/// What a command lends to a run.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LentEnvironment {
    /// The variables of its shell.
    pub variables: Environment,
    /// The user's settings folder, as this shell names it.
    pub config: PathBuf,
}

/// What a run is worked on with.
pub struct RunEnvironment {
    /// The variables.
    pub variables: Environment,
    /// The user's settings.
    pub user: UserConfig,
    config: PathBuf,
    /// Environments that the run had before, where their secrets differ.
    earlier: Vec<Environment>,
    redactor: Redactor,
    lent: bool,
}

impl Default for RunEnvironment {
    fn default() -> Self {
        Self::of_variables(Environment::default())
    }
}

impl RunEnvironment {
    /// Variables alone, with default settings.
    #[must_use]
    pub fn of_variables(variables: Environment) -> Self {
        let redactor = redactor([&variables]);
        Self { variables, user: UserConfig::default(), config: PathBuf::new(), earlier: Vec::new(), redactor, lent: true }
    }

    /// Knows the secrets of this environment and of those before it.
    #[must_use]
    pub fn redactor(&self) -> &Redactor {
        &self.redactor
    }

    /// Whether a command lent it. Without that, nobody knows what the run's secrets are.
    #[must_use]
    pub fn is_lent(&self) -> bool {
        self.lent
    }

    /// The user's folders, with the settings folder that came with this environment.
    #[must_use]
    pub fn home(&self, home: &Home) -> Home {
        Home { config: self.config.clone(), state: home.state.clone() }
    }
}

fn redactor<'e>(environments: impl IntoIterator<Item = &'e Environment>) -> Redactor {
    let texts = environments.into_iter().flat_map(Environment::texts);
    Redactor::from_env(texts.map(|(name, value)| (name.to_owned(), value.to_owned())))
}

/// The environments of all runs that have one.
#[derive(Default)]
pub struct Environments(Mutex<BTreeMap<RunId, Arc<RunEnvironment>>>);

impl Environments {
    fn lock(&self) -> MutexGuard<'_, BTreeMap<RunId, Arc<RunEnvironment>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Makes what a run is worked on with from what a command lent, and reads the user's settings. Runs of one shell share
    /// it. `run`: the run that has another environment already.
    ///
    /// # Errors
    /// The user's settings cannot be used.
    pub fn prepare(&self, lent: LentEnvironment, run: Option<&RunId>) -> Result<Arc<RunEnvironment>, FileError> {
        let LentEnvironment { variables, config } = lent;
        let user = user::read(&config.join(user::FILE_NAME))?;
        let known = self.lock();
        let mut earlier = Vec::new();
        if let Some(before) = run.and_then(|run| known.get(run)) {
            earlier.clone_from(&before.earlier);
            if before.variables != variables {
                earlier.push(before.variables.clone());
            }
        }
        let same = |other: &&Arc<RunEnvironment>| {
            other.variables == variables && other.user == user && other.config == config && other.earlier == earlier
        };
        if let Some(shared) = known.values().find(same) {
            return Ok(Arc::clone(shared));
        }
        let redactor = redactor(earlier.iter().chain([&variables]));
        Ok(Arc::new(RunEnvironment { variables, user, config, earlier, redactor, lent: true }))
    }

    /// Gives a run its environment, in place of the one it had.
    pub fn lend(&self, run: &RunId, environment: Arc<RunEnvironment>) {
        self.lock().insert(run.clone(), environment);
    }

    /// A run's environment.
    #[must_use]
    pub fn of(&self, run: &RunId) -> Option<Arc<RunEnvironment>> {
        self.lock().get(run).cloned()
    }

    /// For a run that has none: no variable, but a redactor that knows the secrets of all others.
    #[must_use]
    pub fn nobodys(&self) -> Arc<RunEnvironment> {
        let known = self.lock();
        let all = known.values().flat_map(|run| run.earlier.iter().chain([&run.variables]));
        Arc::new(RunEnvironment { redactor: redactor(all), lent: false, ..RunEnvironment::default() })
    }

    /// The run has ended, or was not started after all.
    pub fn forget(&self, run: &RunId) {
        self.lock().remove(run);
    }

    /// The runs that have one.
    #[must_use]
    pub fn runs(&self) -> Vec<RunId> {
        self.lock().keys().cloned().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lent(pairs: &[(&str, &str)]) -> LentEnvironment {
        let variables = pairs.iter().map(|(name, value)| ((*name).into(), (*value).into())).collect();
        LentEnvironment { variables, config: "/nowhere".into() }
    }

    #[test]
    fn s6_a_run_that_got_another_key_still_hides_the_one_before() {
        let all = Environments::default();
        let (run, other) = (RunId::from_bits(1), RunId::from_bits(2));
        all.lend(&run, all.prepare(lent(&[("A_TOKEN", "first-token-1")]), None).unwrap());
        all.lend(&run, all.prepare(lent(&[("A_TOKEN", "second-token-2")]), Some(&run)).unwrap());
        let now = all.of(&run).unwrap();
        assert_eq!(now.variables.text("A_TOKEN").as_deref(), Some("second-token-2"));
        let text = "first-token-1 and second-token-2";
        assert!(!now.redactor().redact(text).contains("token-"), "{}", now.redactor().redact(text));
        assert!(all.of(&other).is_none());
        assert!(!all.nobodys().redactor().redact(text).contains("token-"), "a run without one hides those of all others");
        all.forget(&run);
        assert!(all.runs().is_empty());
    }

    #[test]
    fn runs_of_one_shell_share_what_they_are_worked_on_with() {
        let all = Environments::default();
        let first = all.prepare(lent(&[("A", "1")]), None).unwrap();
        all.lend(&RunId::from_bits(1), Arc::clone(&first));
        assert!(Arc::ptr_eq(&first, &all.prepare(lent(&[("A", "1")]), None).unwrap()));
        assert!(!Arc::ptr_eq(&first, &all.prepare(lent(&[("A", "2")]), None).unwrap()));
    }
}
