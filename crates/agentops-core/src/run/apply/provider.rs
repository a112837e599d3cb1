//! Providers that say until when they take no calls. What one says to one lane holds for the run's other lanes whose agents run
//! the same program, since they use the same login.

use super::super::state::{Backoff, PhaseState, State};
use crate::id::Name;

impl State {
    /// The provider of this agent's program takes no calls until then.
    pub(super) fn provider_says(&mut self, agent: &Name, until_ms: u64) {
        if let Some(agent) = self.created.agents.get(agent) {
            let known = self.provider_waits.entry(agent.driver.clone()).or_default();
            *known = until_ms.max(*known);
        }
    }

    /// A lane whose next session would call such a provider waits before it starts one.
    pub(super) fn wait_for_providers(&mut self, at_ms: u64) {
        self.provider_waits.retain(|_, until_ms| *until_ms > at_ms);
        if self.provider_waits.is_empty() {
            return;
        }
        let current = self.current();
        let Some(phase) = self.phases.get_mut(current) else { return };
        let PhaseState { lanes, reviews, .. } = phase;
        for lane in lanes.iter_mut().chain(reviews) {
            let driver = self.created.agents.get(&lane.agent).map(|agent| &agent.driver);
            let Some(until_ms) = driver.and_then(|driver| self.provider_waits.get(driver)) else { continue };
            let tries = lane.backoff.as_ref().map_or(0, |backoff| backoff.tries);
            let waits = lane.backoff.as_ref().is_some_and(|backoff| !backoff.over);
            if !waits && !lane.done && lane.live().is_none() {
                lane.backoff = Some(Backoff { since_ms: at_ms, wait_ms: until_ms - at_ms, tries, over: false });
            }
        }
    }
}
