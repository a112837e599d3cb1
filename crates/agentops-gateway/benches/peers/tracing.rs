//! What the supervisor does with the calls of a lane: each becomes an event of its run, and that spans and metrics, which are
//! sent to a receiver. In the gateway's process, as it is there, so that its CPU counts.

use std::sync::mpsc::{self, Sender};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use agentops_core::call::CallRow;
use agentops_core::id::SessionId;
use agentops_core::run::Event;
use agentops_telemetry::{Configured, Exporter, Observer, Settings, Timing, When};

use crate::recorded;

/// How long the ledger's append takes, as far as it concerns this: what is settled meanwhile is taken in together after it.
const APPEND: Duration = Duration::from_millis(1);

#[expect(clippy::disallowed_methods, reason = "a benchmark has no Clock")]
pub fn now_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

/// Takes calls in and sends what they are to this receiver.
#[expect(clippy::print_stderr, reason = "a person reads it")]
pub fn start(receiver: &str) -> Sender<CallRow> {
    let configured = Configured { endpoint: Some(receiver), project: None, version: "1", instance: "bench" };
    let settings = Settings::resolve(|_| None, configured).unwrap().unwrap();
    let exporter = Exporter::start(settings, Timing::default(), now_ms, |trouble| eprintln!("gateway: {trouble}")).unwrap();
    let mut observer = Observer::new(exporter, crate::roles::redactor());
    let began = now_ms();
    let (calls, settled) = mpsc::channel();
    std::thread::spawn(move || {
        let mut session: Option<SessionId> = None;
        let mut run = None;
        for (at_ms, event) in recorded::run(began) {
            if let Event::Created(created) = &event {
                run = Some(created.run.clone());
            }
            observer.saw(run.as_ref().unwrap(), &event, at_ms, When::Replayed);
            if let Event::SessionReady { session: ready, .. } = event {
                session = Some(ready);
                break;
            }
        }
        let (run, session) = (run.unwrap(), session.unwrap());
        while let Ok(first) = settled.recv() {
            let at_ms = now_ms();
            for row in std::iter::once(first).chain(settled.try_iter()) {
                observer.saw(&run, &call(&session, row), at_ms, When::Live);
            }
            std::thread::sleep(APPEND);
        }
    });
    calls
}

fn call(session: &SessionId, row: CallRow) -> Event {
    Event::Call {
        session: session.clone(),
        usage: row.usage,
        context: row.context(),
        window: row.window,
        sub_agent: row.sub_agent,
        stop: None,
        row: Some(Box::new(row)),
    }
}
