//! Who a lane reports to in tests: grants whatever is asked for, and remembers.

use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

use agentops_core::budget::{Amount, Limits};
use agentops_core::call::CallRow;
use agentops_core::ceiling::Window;
use agentops_core::models::UserWindows;
use agentops_core::workflow::Secrets;
use agentops_gateway::host::{Answer, Host, Note, Refusal, WindowRemedy, answer};
use agentops_gateway::lane::{Lane, Rules};
use agentops_safe::Redactor;

/// What was reported.
#[derive(Default)]
pub struct Told {
    said: Mutex<Said>,
    changed: Condvar,
}

/// What a lane said, in its order.
#[derive(Default)]
pub struct Said {
    pub rows: Vec<CallRow>,
    pub notes: Vec<Note>,
    pub refusals: Vec<Refusal>,
}

impl Told {
    /// What was said, once `enough` of it was.
    pub fn wait<T>(&self, patience: Duration, enough: impl Fn(&Said) -> Option<T>) -> Option<T> {
        let said = self.said.lock().unwrap();
        let (said, _) = self.changed.wait_timeout_while(said, patience, |said| enough(said).is_none()).unwrap();
        enough(&said)
    }

    fn says(&self, say: impl FnOnce(&mut Said)) {
        say(&mut self.said.lock().unwrap());
        self.changed.notify_all();
    }
}

impl Host for Told {
    fn grant(&self, ask: Amount, _admitted_ms: u64) -> Answer<Option<Amount>> {
        let (answers, waits) = answer();
        answers.send(Some(ask)).ok();
        waits
    }

    fn settled(&self, row: CallRow, _missing: Option<Amount>) {
        self.says(|said| said.rows.push(row));
    }

    fn refused(&self, refusal: Refusal) -> Answer<()> {
        self.says(|said| said.refusals.push(refusal));
        let (answers, waits) = answer();
        answers.send(()).ok();
        waits
    }

    fn note(&self, note: Note) {
        self.says(|said| said.notes.push(note));
    }
}

/// Rules that let through what fits a window of `window` tokens.
pub fn rules(window: u64, host: Arc<dyn Host>) -> Rules {
    Rules {
        hint: String::new(),
        hint_past_summary: String::new(),
        plain_refusal: false,
        provider: "mine".into(),
        window: Window::new(window),
        user_windows: UserWindows::default(),
        window_remedy: WindowRemedy::Command,
        takes_limit: false,
        close_when_refused: false,
        secrets: Secrets::Pass,
        redactor: Redactor::new([]),
        scopes: Vec::new(),
        day: Limits { tokens: Some(u64::MAX / 4), micro_usd: None },
        book: Arc::default(),
        clock: Arc::new(|| 0),
        host,
    }
}

/// A lane, and what it says.
pub fn lane() -> (Arc<Lane>, Arc<Told>) {
    let told = Arc::<Told>::default();
    (Lane::new(rules(1_000_000, Arc::clone(&told) as Arc<dyn Host>)), told)
}
