//! What the tests share.
#![allow(dead_code, reason = "each test uses a part of it")]

use std::sync::{Arc, Mutex};
use std::time::Duration;

use agentops_telemetry::{Configured, Exporter, Settings, Timing, Trouble};

pub mod receiver;
pub mod recorded;

/// When the recorded run begins.
pub const START_MS: u64 = 1_795_000_000_000;
/// What the exporter's clock says.
pub const NOW_MS: u64 = START_MS + 3_600_000;
/// Nothing waits for others, and nothing is tried for long. What is left out never comes due in a test.
pub const QUICK: Timing = Timing {
    queue: 1000,
    batch: 1000,
    gather: Duration::from_secs(3600),
    metrics: Duration::from_secs(3600),
    retry_first: Duration::from_millis(1),
    retry_total: Duration::from_millis(100),
};

/// What was said of trouble.
#[derive(Debug, Clone, Default)]
pub struct Heard(Arc<Mutex<Vec<Trouble>>>);

impl Heard {
    pub fn all(&self) -> Vec<Trouble> {
        self.0.lock().expect("no test panicked with it").clone()
    }
}

pub fn settings(variables: &[(&str, &str)]) -> Settings {
    let get = |name: &str| variables.iter().find(|(known, _)| *known == name).map(|(_, value)| (*value).to_owned());
    let configured = Configured { version: "1.2.3", instance: "test", ..Configured::default() };
    Settings::resolve(get, configured).expect("the settings can be used").expect("there is an address")
}

pub fn exporter(settings: Settings, timing: Timing) -> (Exporter, Heard) {
    let heard = Heard::default();
    let says = heard.clone();
    let say = move |trouble| says.0.lock().expect("no test panicked with it").push(trouble);
    (Exporter::start(settings, timing, || NOW_MS, say).expect("its thread starts"), heard)
}
