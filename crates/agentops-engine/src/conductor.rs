//! The one owner of the truth: takes in what happened, appends it, and starts what is due.
//!
//! Order is everything here. An outcome and the beginnings of the actions that follow from it are appended in one durable
//! transaction; only then are those actions started. Whoever waits for an acknowledgement gets it after that.

use std::collections::{BTreeMap, BTreeSet};

use agentops_core::id::RunId;
use agentops_core::run::{Action, Created, Event, Illegal, Intent, Key, State, Status, Waiting};

use crate::world::{Clock, Processes, Row, Storage, StorageError};

/// What comes in.
#[derive(Debug, Clone, PartialEq)]
pub enum Input {
    /// A new run.
    Create(Box<Created>),
    /// The world reports something.
    Happened(RunId, Event),
    /// An action ended. It counts only while this key is begun: a report that comes twice or too late cannot end an action of
    /// another round that looks the same.
    Outcome(RunId, Key, Event),
    /// A person wants something.
    Intent(RunId, Intent),
}

/// Why an input was not taken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Refusal {
    /// There is no such run.
    #[error("there is no run {0}")]
    NoRun(RunId),
    /// The id is in use.
    #[error("there is a run {0} already")]
    Exists(RunId),
    /// It has ended, and nothing of it goes on.
    #[error("run {0} has ended")]
    Ended(RunId),
    /// The action that it would end is not under way.
    #[error("{0} is not under way")]
    NotBegun(Key),
    /// It reports the end of another action.
    #[error("what was reported is not an outcome of {0}")]
    NotItsOutcome(Key),
    /// A person agreed to what the run left before all of it was there to be shown.
    #[error("run {0} ended meanwhile, and what it left was not compared with anything")]
    NotShown(RunId),
    /// It does not fit the run's state.
    #[error(transparent)]
    Illegal(#[from] Illegal),
}

/// The conductor over a world.
pub struct Conductor<C, S, P> {
    /// Time.
    pub clock: C,
    /// The ledger.
    pub storage: S,
    /// What performs actions.
    pub processes: P,
    runs: BTreeMap<RunId, State>,
    /// Monotonic time at which each timer fires. Kept apart from wall time, so that a jump of the clock neither fires nor
    /// loses one.
    armed: BTreeMap<(RunId, Key), u64>,
}

impl<C: Clock, S: Storage, P: Processes> Conductor<C, S, P> {
    /// Opens the ledger, takes over what another supervisor left, and starts what is due.
    ///
    /// # Errors
    /// The ledger cannot be read, or its events do not fold: then it is damaged.
    pub fn start(clock: C, mut storage: S, processes: P) -> Result<Self, StorageError> {
        let mut runs: BTreeMap<RunId, State> = BTreeMap::new();
        for entry in storage.load_open()? {
            fold(&mut runs, &entry.run, &entry.event, entry.at_ms)
                .map_err(|e| StorageError::Corrupt { path: "ledger".into(), reason: format!("entry {}: {e}", entry.seq) })?;
        }
        let mut conductor = Self { clock, storage, processes, runs, armed: BTreeMap::new() };
        let at_ms = conductor.clock.now_ms();
        let mut rows = Vec::new();
        for (run, state) in &mut conductor.runs {
            let live = state.sessions().any(|(_, session)| session.is_running());
            if live || !state.begun.is_empty() {
                let row = Row { run: run.clone(), at_ms, event: Event::Orphaned };
                state
                    .apply(&row.event, at_ms)
                    .map_err(|e| StorageError::Corrupt { path: "ledger".into(), reason: e.to_string() })?;
                rows.push(row);
            }
        }
        let touched = conductor.runs.keys().cloned().collect();
        conductor.go_on(rows, touched, at_ms)?;
        Ok(conductor)
    }

    /// Takes a batch in with one durable append. Each input is answered: taken, or refused and why.
    ///
    /// # Errors
    /// The ledger failed: this conductor must not be used any more, and nothing of the batch may be acknowledged.
    pub fn take(&mut self, inputs: Vec<Input>) -> Result<Vec<Result<(), Refusal>>, StorageError> {
        let at_ms = self.clock.now_ms();
        let (mut rows, mut touched, mut answers) = (Vec::new(), BTreeSet::new(), Vec::new());
        for input in inputs {
            let (run, event) = match input {
                Input::Create(created) => (created.run.clone(), Event::Created(created)),
                Input::Happened(run, event) => (run, event),
                Input::Outcome(run, key, event) => {
                    if self.state(&run)?.is_some_and(|state| !state.begun.contains(&key)) {
                        answers.push(Err(Refusal::NotBegun(key)));
                        continue;
                    }
                    if !key.is_ended_by(&event) {
                        answers.push(Err(Refusal::NotItsOutcome(key)));
                        continue;
                    }
                    (run, event)
                }
                Input::Intent(run, intent) => (run, Event::Intent(intent)),
            };
            let answer = self.try_apply(&run, &event, at_ms)?;
            if answer.is_ok() {
                touched.insert(run.clone());
                rows.push(Row { run, at_ms, event });
            }
            answers.push(answer);
        }
        self.go_on(rows, touched, at_ms)?;
        Ok(answers)
    }

    /// Fires every timer that is due.
    ///
    /// # Errors
    /// As [`Self::take`].
    pub fn fire(&mut self) -> Result<(), StorageError> {
        let (now, at_ms) = (self.clock.mono_ms(), self.clock.now_ms());
        let due: Vec<(RunId, Key)> =
            self.armed.iter().filter(|(_, at)| **at <= now).map(|(timer, _)| timer.clone()).collect();
        let (mut rows, mut touched) = (Vec::new(), BTreeSet::new());
        for (run, key) in due {
            self.armed.remove(&(run.clone(), key.clone()));
            let event = Event::TimerFired { key };
            if self.try_apply(&run, &event, at_ms)?.is_ok() {
                touched.insert(run.clone());
                rows.push(Row { run, at_ms, event });
            }
        }
        self.go_on(rows, touched, at_ms)
    }

    /// Starts what is due in a run that could not be worked on before.
    ///
    /// # Errors
    /// As [`Self::take`].
    pub fn wake(&mut self, run: &RunId) -> Result<(), StorageError> {
        self.state(run)?;
        let at_ms = self.clock.now_ms();
        self.go_on(Vec::new(), BTreeSet::from([run.clone()]), at_ms)
    }

    /// When the next timer fires, in monotonic milliseconds.
    #[must_use]
    pub fn next_timer(&self) -> Option<u64> {
        self.armed.values().min().copied()
    }

    /// A run's state, loaded when it has ended.
    ///
    /// # Errors
    /// The ledger cannot be read.
    pub fn state(&mut self, run: &RunId) -> Result<Option<&State>, StorageError> {
        if !self.runs.contains_key(run) {
            for entry in self.storage.load_run(run)? {
                fold(&mut self.runs, run, &entry.event, entry.at_ms).map_err(|e| StorageError::Corrupt {
                    path: "ledger".into(),
                    reason: format!("entry {}: {e}", entry.seq),
                })?;
            }
        }
        Ok(self.runs.get(run))
    }

    /// Every run that has not ended, and those that were asked for since.
    pub fn runs(&self) -> impl Iterator<Item = (&RunId, &State)> {
        self.runs.iter()
    }

    /// Whether anything is under way or will be by itself: a session, an action, a timer. A run that waits for an approval
    /// counts: it goes on in the environment that only this process knows.
    #[must_use]
    pub fn busy(&self) -> bool {
        !self.armed.is_empty()
            || self.runs.iter().any(|(run, state)| {
                let live = state.sessions().any(|(_, session)| session.is_running());
                let begun = state.begun.iter().any(|key| *key != Key::StopWork);
                let asks = matches!(state.status(true), Status::Waiting { waiting: Waiting::Approval { .. } });
                let waits = asks && self.processes.may_act(run, state);
                state.outcome.is_none() && (live || begun || waits)
            })
    }

    /// Applies an event to its run, or leaves the run as it was.
    fn try_apply(&mut self, run: &RunId, event: &Event, at_ms: u64) -> Result<Result<(), Refusal>, StorageError> {
        self.state(run)?;
        Ok(match (event, self.runs.get_mut(run)) {
            (Event::Created(_), Some(_)) => Err(Refusal::Exists(run.clone())),
            (Event::Created(_), None) => fold(&mut self.runs, run, event, at_ms).map_err(Refusal::from),
            (_, None) => Err(Refusal::NoRun(run.clone())),
            (_, Some(state)) => state.try_apply(event, at_ms).map_err(Refusal::from),
        })
    }

    /// Appends `rows` together with the beginning of everything that is due now, then starts it. The wall clock was looked at
    /// once for all of it: it may jump between two looks, and a timer would take that for time that has passed.
    fn go_on(&mut self, mut rows: Vec<Row>, touched: BTreeSet<RunId>, at_ms: u64) -> Result<(), StorageError> {
        let mut start: Vec<(RunId, Key, Action)> = Vec::new();
        for run in &touched {
            let Some(state) = self.runs.get_mut(run) else { continue };
            if !self.processes.may_act(run, state) {
                continue;
            }
            for (key, action) in state.actions() {
                let mut events = vec![Event::Began { key: key.clone() }];
                match action {
                    Action::End { outcome } => events.push(Event::Ended { outcome }),
                    action => start.push((run.clone(), key, action)),
                }
                for event in events {
                    state
                        .apply(&event, at_ms)
                        .map_err(|e| StorageError::Corrupt { path: "ledger".into(), reason: format!("run {run}: {e}") })?;
                    rows.push(Row { run: run.clone(), at_ms, event });
                }
            }
        }
        if !rows.is_empty() {
            self.storage.append(&rows)?;
        }
        for (run, key, action) in start {
            if let Some(state) = self.runs.get(&run) {
                self.processes.perform(&run, state, &key, &action);
            }
        }
        self.arm(&touched, at_ms);
        for (run, _) in self.runs.iter().filter(|(_, state)| state.outcome.is_some()) {
            self.processes.ended(run);
        }
        // A supervisor may live long and see many runs: what has ended is in the ledger, and read again when asked for.
        self.runs.retain(|_, state| state.outcome.is_none());
        Ok(())
    }

    fn arm(&mut self, touched: &BTreeSet<RunId>, at_ms: u64) {
        let mono = self.clock.mono_ms();
        for run in touched {
            // A run that cannot be worked on has nothing that a timer could start.
            let state = self.runs.get(run).filter(|state| self.processes.may_act(run, state));
            let timers = state.map(State::timers).unwrap_or_default();
            self.armed.retain(|(of, key), _| of != run || timers.iter().any(|timer| timer.key == *key));
            for timer in timers {
                // A clock that was set back must not make anyone wait longer than the timer's own length.
                let passed = at_ms.saturating_sub(timer.since_ms).min(timer.wait_ms);
                let due = mono + timer.wait_ms - passed;
                self.armed.entry((run.clone(), timer.key)).or_insert(due);
            }
        }
    }
}

fn fold(runs: &mut BTreeMap<RunId, State>, run: &RunId, event: &Event, at_ms: u64) -> Result<(), Illegal> {
    match runs.get_mut(run) {
        Some(state) => state.apply(event, at_ms),
        None => {
            runs.insert(run.clone(), State::first(event, at_ms)?);
            Ok(())
        }
    }
}

#[cfg(test)]
mod ended_tests;
#[cfg(test)]
mod tests;
