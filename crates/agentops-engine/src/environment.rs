//! The environment that each run is worked on with.
//!
//! The command that starts or resumes a run lends it the environment of its own shell. It is kept in memory for as long as
//! the run is open, and it is never written: not into the ledger, a blob or a log. A run whose supervisor died has none
//! until somebody resumes it.

mod comparison;

use std::collections::{BTreeMap, BTreeSet};
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
    /// Secrets of the environments that the run had before and that this one lacks, by the variables' names.
    earlier: BTreeSet<(String, String)>,
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
        Self::new(variables, UserConfig::default(), PathBuf::new(), BTreeSet::new())
    }

    fn new(variables: Environment, user: UserConfig, config: PathBuf, earlier: BTreeSet<(String, String)>) -> Self {
        let redactor = Redactor::new(secrets(&variables).into_iter().chain(earlier.iter().cloned()));
        Self { variables, user, config, earlier, redactor, lent: true }
    }

    /// Every secret that the redactor knows.
    fn all_secrets(&self) -> BTreeSet<(String, String)> {
        let mut all = self.earlier.clone();
        all.extend(secrets(&self.variables));
        all
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

    fn with_earlier(&self, earlier: BTreeSet<(String, String)>) -> Self {
        Self::new(self.variables.clone(), self.user.clone(), self.config.clone(), earlier)
    }

    /// The user's folders, with the settings folder that came with this environment.
    #[must_use]
    pub fn home(&self, home: &Home) -> Home {
        Home { config: self.config.clone(), state: home.state.clone() }
    }
}

fn secrets(variables: &Environment) -> BTreeSet<(String, String)> {
    let texts = variables.texts().map(|(name, value)| (name.to_owned(), value.to_owned()));
    agentops_safe::redact::secrets_of(texts).into_iter().collect()
}

/// The environments of all runs that have one.
#[derive(Default)]
pub struct Environments(Mutex<BTreeMap<RunId, Arc<RunEnvironment>>>);

impl Environments {
    fn lock(&self) -> MutexGuard<'_, BTreeMap<RunId, Arc<RunEnvironment>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Makes what a run is worked on with from what a command lent, and reads the user's settings. Runs of one shell share
    /// it.
    ///
    /// # Errors
    /// The user's settings cannot be used.
    pub fn prepare(&self, lent: LentEnvironment) -> Result<Arc<RunEnvironment>, FileError> {
        let LentEnvironment { variables, config } = lent;
        let user = user::read(&config.join(user::FILE_NAME))?;
        let same = |other: &&Arc<RunEnvironment>| {
            other.variables == variables && other.user == user && other.config == config && other.earlier.is_empty()
        };
        if let Some(shared) = self.lock().values().find(same) {
            return Ok(Arc::clone(shared));
        }
        Ok(Arc::new(RunEnvironment::new(variables, user, config, BTreeSet::new())))
    }

    /// Gives a run its environment, in place of the one it had. What it gets knows the secrets of that one as well, so this is
    /// one step: of two commands at once, the second one's environment knows the secrets of the first.
    pub fn lend(&self, run: &RunId, environment: Arc<RunEnvironment>) -> Arc<RunEnvironment> {
        let mut known = self.lock();
        let given = match known.get(run) {
            Some(before) if before.variables == environment.variables => {
                let (user, config) = (&environment.user, &environment.config);
                match before.user == *user && before.config == *config {
                    true => Arc::clone(before),
                    false => Arc::new(environment.with_earlier(before.earlier.clone())),
                }
            }
            Some(before) => {
                let own = secrets(&environment.variables);
                let earlier: BTreeSet<_> = before.all_secrets().difference(&own).cloned().collect();
                if earlier.is_empty() { environment } else { Arc::new(environment.with_earlier(earlier)) }
            }
            None => environment,
        };
        known.insert(run.clone(), Arc::clone(&given));
        given
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
        let all: BTreeSet<_> = known.values().flat_map(|run| run.all_secrets()).collect();
        Arc::new(RunEnvironment { redactor: Redactor::new(all), lent: false, ..RunEnvironment::default() })
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
        all.lend(&run, all.prepare(lent(&[("A_TOKEN", "first-token-1")])).unwrap());
        all.lend(&run, all.prepare(lent(&[("A_TOKEN", "second-token-2")])).unwrap());
        let now = all.of(&run).unwrap();
        assert_eq!(now.variables.text("A_TOKEN").as_deref(), Some("second-token-2"));
        let text = "first-token-1 and second-token-2";
        assert!(!now.redactor().redact(text).contains("token-"), "{}", now.redactor().redact(text));
        assert!(all.of(&other).is_none());
        assert!(!all.nobodys().redactor().redact(text).contains("token-"), "a run without one hides those of all others");
        all.forget(&run);
        assert!(all.runs().is_empty());
    }

    /// Both commands prepare before either is taken in.
    #[test]
    fn s6_of_two_commands_that_lend_at_once_the_second_hides_the_secrets_of_the_first() {
        let (all, run) = (Environments::default(), RunId::from_bits(1));
        all.lend(&run, all.prepare(lent(&[("A_TOKEN", "first-token-1")])).unwrap());
        let second = all.prepare(lent(&[("A_TOKEN", "second-token-2")])).unwrap();
        let third = all.prepare(lent(&[("A_TOKEN", "third-token-3")])).unwrap();
        all.lend(&run, second);
        let now = all.lend(&run, third);
        assert!(Arc::ptr_eq(&now, &all.of(&run).unwrap()));
        let text = "first-token-1, second-token-2 and third-token-3";
        assert!(!now.redactor().redact(text).contains("token-"), "{}", now.redactor().redact(text));
    }

    /// A run may be resumed from many shells. Only other secrets are remembered, each once.
    #[test]
    fn a_run_that_is_lent_many_environments_remembers_their_secrets_once() {
        let (all, run) = (Environments::default(), RunId::from_bits(1));
        for shell in 0..100 {
            let (window, token) = (shell.to_string(), format!("token-{}-of-two", shell % 2));
            all.lend(&run, all.prepare(lent(&[("WINDOWID", &window), ("A_TOKEN", &token)])).unwrap());
        }
        let now = all.of(&run).unwrap();
        assert_eq!(now.earlier, BTreeSet::from([("A_TOKEN".to_owned(), "token-0-of-two".to_owned())]));
        assert!(!now.redactor().redact("token-0-of-two token-1-of-two").contains("of-two"));
    }

    #[test]
    fn runs_of_one_shell_share_what_they_are_worked_on_with() {
        let all = Environments::default();
        let first = all.prepare(lent(&[("A", "1")])).unwrap();
        all.lend(&RunId::from_bits(1), Arc::clone(&first));
        assert!(Arc::ptr_eq(&first, &all.prepare(lent(&[("A", "1")])).unwrap()));
        assert!(!Arc::ptr_eq(&first, &all.prepare(lent(&[("A", "2")])).unwrap()));
    }
}
