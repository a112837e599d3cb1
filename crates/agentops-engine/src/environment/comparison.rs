//! Compares a run's environment with that of a shell, by names alone, and names where the run's calls go.
//!
//! No value travels: the shell sends hashes with a salt that is drawn for this one request.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::io::Read;
use std::os::unix::ffi::OsStrExt;

use agentops_agents::driver::Credential;
use agentops_agents::environment::Environment;
use agentops_agents::registry;
use agentops_core::agent::AgentRef;
use agentops_core::id::Name;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::RunEnvironment;
use crate::perform::gateway::{Aim, aim};

/// Each shell sets it to the command that it starts.
const OF_EACH_COMMAND: &str = "_";

/// The variables of a shell: their names, and salted hashes of their values.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct EnvironmentHashes {
    salt: Vec<u8>,
    /// Each name with the hash of its value.
    hashes: Environment,
}

impl EnvironmentHashes {
    /// Hashes the values with a new random salt.
    ///
    /// # Errors
    /// The system gives no random bytes.
    pub fn of(variables: &Environment) -> std::io::Result<Self> {
        let mut salt = [0; 32];
        std::fs::File::open("/dev/urandom")?.read_exact(&mut salt)?;
        Ok(Self::with_salt(&salt, variables))
    }

    fn with_salt(salt: &[u8], variables: &Environment) -> Self {
        let hash = |name: &OsStr, value: &OsStr| {
            let mut digest = Sha256::new();
            digest.update(salt);
            digest.update((name.len() as u64).to_le_bytes());
            digest.update(name.as_bytes());
            digest.update(value.as_bytes());
            let hex: String = digest.finalize().iter().map(|byte| format!("{byte:02x}")).collect();
            hex
        };
        let hashes = variables.iter().map(|(name, value)| (name.to_owned(), hash(name, value).into())).collect();
        Self { salt: salt.to_vec(), hashes }
    }

    fn by_name(&self) -> BTreeMap<&OsStr, &OsStr> {
        self.hashes.iter().filter(|(name, _)| *name != OF_EACH_COMMAND).collect()
    }
}

/// The environment that a run works in, beside that of the shell that asks.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", tag = "state")]
pub enum EnvironmentView {
    /// A supervisor has the run's environment.
    Known {
        /// Names of variables that only the run has.
        only_in_run: Vec<String>,
        /// Names of variables that only the asking shell has.
        only_in_shell: Vec<String>,
        /// Names of variables that have another value in the run.
        different: Vec<String>,
        /// Where the calls of the run's agents go.
        calls: Vec<AgentCalls>,
    },
    /// Nobody could be asked.
    Unknown {
        /// Why.
        reason: String,
    },
}

/// Where the calls of one agent go.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct AgentCalls {
    /// The agent.
    pub agent: Name,
    /// Where its calls go.
    #[serde(flatten)]
    pub destination: CallDestination,
}

/// Where calls go.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", tag = "path")]
pub enum CallDestination {
    /// Through the gateway.
    Gateway {
        /// The destination's name.
        destination: String,
        /// Scheme, host and port.
        origin: String,
    },
    /// Past the gateway; the program itself chooses the address.
    PastGateway {
        /// Why.
        reason: String,
    },
    /// The agent calls no model.
    NoModel,
    /// The destination or its key cannot be used, so no session of this agent starts.
    Unusable,
}

impl RunEnvironment {
    /// Compares this environment with a shell's, and looks up where these agents' calls go.
    #[must_use]
    pub fn compare(&self, shell: &EnvironmentHashes, agents: &BTreeMap<Name, AgentRef>) -> EnvironmentView {
        let run = EnvironmentHashes::with_salt(&shell.salt, &self.variables);
        let (run, shell) = (run.by_name(), shell.by_name());
        let text = |name: &OsStr| name.to_string_lossy().into_owned();
        let only = |of: &BTreeMap<&OsStr, &OsStr>, without: &BTreeMap<&OsStr, &OsStr>| {
            of.keys().filter(|name| !without.contains_key(*name)).map(|name| text(name)).collect()
        };
        let different = run.iter().filter(|(name, hash)| shell.get(*name).is_some_and(|other| other != *hash));
        EnvironmentView::Known {
            only_in_run: only(&run, &shell),
            only_in_shell: only(&shell, &run),
            different: different.map(|(name, _)| text(name)).collect(),
            calls: agents
                .iter()
                .map(|(name, agent)| AgentCalls { agent: name.clone(), destination: self.destination(agent) })
                .collect(),
        }
    }

    fn destination(&self, agent: &AgentRef) -> CallDestination {
        let Ok(driver) = registry::driver(agent.driver.as_str()) else { return CallDestination::Unusable };
        let variable = |name: &str| self.variables.lossy_text(name);
        let reach = driver.reach(&agent.settings, agent.model.as_deref(), &variable);
        match aim(&self.user, &self.variables, reach) {
            Ok(Aim::NoModel) => CallDestination::NoModel,
            Ok(Aim::Past(reason)) => CallDestination::PastGateway { reason: self.redactor.redact(&reason).into_owned() },
            Ok(Aim::At(target)) => {
                let base = match target.credential {
                    Credential::Key => Some(target.destination.base()),
                    Credential::Login => target.destination.login(),
                };
                base.map_or(CallDestination::Unusable, |base| CallDestination::Gateway {
                    destination: target.destination.name().to_owned(),
                    origin: base.origin(),
                })
            }
            // The words of the error may hold the address as it was set.
            Err(_) => CallDestination::Unusable,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::ffi::OsString;
    use std::os::unix::ffi::OsStringExt;

    use super::*;

    fn variables(pairs: &[(&str, &str)]) -> Environment {
        pairs.iter().map(|(name, value)| ((*name).into(), (*value).into())).collect()
    }

    #[test]
    fn s6_names_that_differ_are_found_by_hashes_and_no_value_travels() {
        let run = variables(&[("SAME", "same-value"), ("KEY", "run-value"), ("OLD", "old-value"), ("_", "/bin/a")]);
        let shell = variables(&[("KEY", "shell-value"), ("_", "/bin/b"), ("SAME", "same-value"), ("NEW", "new-value")]);
        let hashes = EnvironmentHashes::of(&shell).unwrap();
        let again = EnvironmentHashes::of(&shell).unwrap();
        assert!(hashes.salt != again.salt && hashes.hashes != again.hashes, "a new salt for each request");
        let sent = serde_json::to_string(&hashes).unwrap();
        assert!(sent.contains("KEY") && !sent.contains("value"), "{sent}");
        let received: EnvironmentHashes = serde_json::from_str(&sent).unwrap();
        let view = RunEnvironment::of_variables(run).compare(&received, &BTreeMap::new());
        let expected = EnvironmentView::Known {
            only_in_run: vec!["OLD".into()],
            only_in_shell: vec!["NEW".into()],
            different: vec!["KEY".into()],
            calls: Vec::new(),
        };
        assert_eq!(view, expected);
    }

    #[test]
    fn equal_environments_differ_in_nothing_whatever_their_bytes_are() {
        let odd = OsString::from_vec(vec![0xff, b'x']);
        let run: Environment = [(odd.clone(), odd)].into_iter().collect();
        let hashes = EnvironmentHashes::of(&run).unwrap();
        let received: EnvironmentHashes = serde_json::from_str(&serde_json::to_string(&hashes).unwrap()).unwrap();
        let view = RunEnvironment::of_variables(run).compare(&received, &BTreeMap::new());
        let nothing = Vec::new;
        let expected = EnvironmentView::Known {
            only_in_run: nothing(),
            only_in_shell: nothing(),
            different: nothing(),
            calls: Vec::new(),
        };
        assert_eq!(view, expected);
    }
}
