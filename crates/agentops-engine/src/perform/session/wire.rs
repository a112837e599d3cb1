//! What the gateway tells of a session's calls, and what becomes of it.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use agentops_agents::driver::Failure;
use agentops_core::budget::Amount;
use agentops_core::call::CallRow;
use agentops_core::ceiling::{Enforcement, StopReason, Window};
use agentops_core::run::{Event, SessionEnd};
use agentops_core::usage::Usage;
use agentops_gateway::host::{Note, Refusal};

use super::super::gateway::{DayGrant, OpenLane, Wire, minute};
use super::super::{Incoming, recv_until};
use super::Running;
use crate::files::user::OtherModel;
use crate::world::Clock;

/// How long the last calls of a session that is over may take to settle.
const SETTLE_WAIT: Duration = Duration::from_secs(10);
/// What programs bridge by trying again themselves, in milliseconds.
const WAIT_IN_SESSION_MAX_MS: u64 = 2 * 60 * 1000;
/// How far program and gateway may differ, in thousandths of the gateway's figure.
const DIFFER_PERMILLE: u64 = 10;

/// A session's place behind the gateway.
pub(super) struct Behind {
    lane: Option<OpenLane>,
    loose: bool,
    closed: bool,
    /// What the program says that its calls used, by call.
    said: BTreeMap<String, Usage>,
    /// What the gateway saw.
    seen: Usage,
    /// What the provider answered the last call with.
    status: Option<u16>,
    /// Another model than the pinned one has answered, and that was named.
    other_model_named: bool,
}

impl Behind {
    pub(super) fn new(lane: OpenLane, loose: bool) -> Self {
        let (said, seen) = (BTreeMap::new(), Usage::default());
        Self { lane: Some(lane), loose, closed: false, said, seen, status: None, other_model_named: false }
    }

    /// What cannot be counted while it comes cannot be prevented.
    pub(super) fn enforcement(&self) -> Enforcement {
        if self.loose { Enforcement::Stopped } else { Enforcement::Prevented }
    }

    pub(super) fn hand_over(&self) {
        if let Some(lane) = &self.lane {
            lane.lane().hand_over();
        }
    }

    pub(super) fn narrow(&self, window: Window) {
        if let Some(lane) = &self.lane {
            lane.lane().narrow(window);
        }
    }

    pub(super) fn program_says(&mut self, id: String, usage: Option<Usage>, window: Option<Window>) {
        if let Some(window) = window {
            self.narrow(window);
        }
        if let Some(usage) = usage {
            self.said.insert(id, usage);
        }
    }

    /// What a failure is that the program itself has no better word for: what its provider last answered.
    pub(super) fn class(&self, failure: Failure) -> Failure {
        match (failure, self.status) {
            (Failure::Program, Some(401 | 403)) => Failure::NotLoggedIn,
            (Failure::Program, Some(429 | 500..)) => Failure::Provider,
            (failure, _) => failure,
        }
    }

    /// What the program said in all, where it said something and that is not what the gateway saw.
    fn difference(&self) -> Option<(Usage, Usage)> {
        let mut said = Usage::default();
        self.said.values().for_each(|usage| said.add(*usage));
        let (a, b) = (said.context(), self.seen.context());
        let differ = a.abs_diff(b).saturating_mul(1000) > b.saturating_mul(DIFFER_PERMILLE);
        (!self.said.is_empty() && differ).then_some((said, self.seen))
    }
}

impl Running<'_> {
    pub(super) fn wire(&mut self, wire: Wire) {
        match wire {
            Wire::Grant(ask, admitted_ms, answering) => {
                // Without an answer the call is refused. It may be gone by now; then the grant waits for the next one.
                let limits = self.ctx.env.user.budget.limits();
                match self.stop.is_none().then(|| self.ctx.gateways.grant_of_day(ask, admitted_ms, limits)) {
                    Some(DayGrant::Granted) if self.grant(ask) => {
                        let _gone = answering.send(Some(ask));
                    }
                    Some(DayGrant::UsedUp) => {
                        let _gone = answering.send(None);
                    }
                    _ => {}
                }
            }
            Wire::Settled(row, missing) => {
                self.ctx.gateways.settle_day(&self.job.session, &row, missing);
                if let Some(missing) = missing {
                    self.grant(missing);
                }
                self.settled(row);
            }
            Wire::Refused(refusal, answering) => {
                self.refused(&refusal);
                // The client hears of it after the program was told to end.
                let _gone = answering.send(());
            }
            Wire::Noted(Note::RequestRefused { request, status, reason }) => {
                self.trail(format!("the gateway refused {request} with {status}: {reason}"))
            }
            Wire::Noted(Note::HiddenReasoning) => {
                self.trail("answers hold reasoning that cannot be counted while it comes".into())
            }
            Wire::Noted(Note::ReportNotBelieved { reported, possible }) => self.trail(format!(
                "the provider reported {reported} tokens for a call of at most {possible}; the report is not believed"
            )),
            Wire::Noted(Note::ProviderWaits { until_ms }) => self.provider_waits(until_ms),
            Wire::Noted(Note::Redacted) => self.trail("secrets were taken out of what left for the provider".into()),
            Wire::Noted(_) => {}
            Wire::Closed => {
                if let Some(behind) = &mut self.wire {
                    behind.closed = true;
                }
            }
        }
    }

    /// The provider takes no calls until then. A program that would wait for hours is ended: its lane waits without it.
    fn provider_waits(&mut self, until_ms: u64) {
        self.left.provider_until_ms = self.left.provider_until_ms.max(Some(until_ms));
        let wait_ms = until_ms.saturating_sub(self.ctx.clock.now_ms());
        if wait_ms > WAIT_IN_SESSION_MAX_MS && self.stop.is_none() {
            self.stop = Some(SessionEnd::Provider);
            self.left.detail = Some(format!("the provider takes no calls until {}", minute(until_ms)));
            self.end_program();
        }
    }

    fn grant(&mut self, amount: Amount) -> bool {
        self.report(Event::Granted { session: self.job.session.clone(), amount })
    }

    fn settled(&mut self, row: Box<CallRow>) {
        let (context, sub_agent) = (row.context(), row.sub_agent);
        let over = Window::new(row.window).is_some_and(|window| context >= window.ceiling());
        if let Some(behind) = &mut self.wire {
            behind.status = row.status;
            behind.seen.add(row.usage.unwrap_or_default());
        }
        let other_model = row.breaks_pin(self.agent.model.as_deref()).then(|| other_model_words(&row));
        self.report(Event::Call {
            session: self.job.session.clone(),
            usage: row.usage,
            context,
            window: row.window,
            sub_agent,
            stop: (over && !sub_agent).then_some(StopReason::Ceiling),
            row: Some(row),
        });
        if let Some(words) = other_model {
            self.other_model_answered(words);
        }
    }

    /// A pinned model was replaced: the session is stopped, or it is named once, as the user's settings say.
    fn other_model_answered(&mut self, words: String) {
        let Some(behind) = &mut self.wire else { return };
        if std::mem::replace(&mut behind.other_model_named, true) {
            return;
        }
        self.trail(words.clone());
        if self.ctx.env.user.gateway.other_model == OtherModel::Note {
            return;
        }
        if self.stop.is_none() {
            self.stop = Some(SessionEnd::Refused);
            self.left.detail = Some(format!(
                "stopped, because {words}: choose a model that the provider or router gives you, switch its fallback off, or set \
                 other-model = \"note\" under [gateway] in your config.toml"
            ));
        }
        self.end_program();
    }

    fn refused(&mut self, refusal: &Refusal) {
        let words = refusal.to_string();
        let end = match refusal {
            Refusal::Ceiling { sub_agent: true, .. } => return self.trail(format!("a sub-agent was refused {words}")),
            Refusal::Ceiling { .. } => SessionEnd::Ceiling,
            Refusal::Budget(_) | Refusal::SetAside { .. } | Refusal::NotGranted => SessionEnd::Budget,
            _ => SessionEnd::Refused,
        };
        if self.stop.is_none() {
            self.stop = Some(end);
            self.left.detail = Some(format!("not forwarded: {words}"));
        }
        self.end_program();
    }

    /// Every call is settled and in the ledger before the session's end is.
    pub(super) fn close_lane(&mut self) {
        let Some(behind) = &mut self.wire else { return };
        drop(behind.lane.take());
        let deadline = Some(Instant::now() + SETTLE_WAIT);
        while self.wire.as_ref().is_some_and(|behind| !behind.closed) {
            let next = self.inbox.pop_front().map_or_else(|| recv_until(&self.rx, deadline), Ok);
            match next {
                Ok(Incoming::Wire(wire)) => self.wire(wire),
                Ok(_) => {}
                Err(_) => break,
            }
        }
        if let Some((said, seen)) = self.wire.as_ref().and_then(Behind::difference) {
            self.trail(format!(
                "the program says that it used {} tokens, the gateway saw {}",
                said.context(),
                seen.context()
            ));
            self.left.said = Some(said);
        }
    }
}

fn other_model_words(row: &CallRow) -> String {
    let name = |model: &Option<String>| model.clone().unwrap_or_default();
    format!("model `{}` was asked for and `{}` answered", name(&row.model), name(&row.answered_by))
}
