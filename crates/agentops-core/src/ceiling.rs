//! The 40 % rule as arithmetic.
//!
//! A session may fill 40 % of its model's window: the ceiling. Hand-over begins earlier, at the soft mark: the ceiling
//! less what one call may still put out (8 %) and less a reserve for writing the hand-over (4 %), 28 % by default.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::usage::Usage;

/// The ceiling in thousandths of the window. Fixed: no workflow, agent or flag can raise it.
pub const CEILING_PERMILLE: u64 = 400;
/// What thinking and output of one call may take, in thousandths of the window.
pub const OUTPUT_CAP_PERMILLE: u64 = 80;
/// What is kept for writing the hand-over, in thousandths of the window.
pub const HANDOVER_RESERVE_PERMILLE: u64 = 40;
/// What the start context (task, bundle, findings) may take, in thousandths of the window.
pub const START_CONTEXT_PERMILLE: u64 = 60;
/// Bytes that are counted as one token where no tokenizer is at hand. Prose and code measure 3 to 4.5 bytes a token with
/// the tokenizers in use, so 3 counts rather too much than too little.
pub const BYTES_PER_TOKEN: u64 = 3;

/// A model's context window in tokens, more than zero.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
pub struct Window(u64);

impl Window {
    /// `None` for zero: an unknown window is not a window.
    #[must_use]
    pub fn new(tokens: u64) -> Option<Self> {
        (tokens > 0).then_some(Self(tokens))
    }

    /// The window in tokens.
    #[must_use]
    pub fn tokens(self) -> u64 {
        self.0
    }

    /// The ceiling in tokens, rounded down.
    #[must_use]
    pub fn ceiling(self) -> u64 {
        self.part(CEILING_PERMILLE)
    }

    /// Where hand-over begins, in tokens.
    #[must_use]
    pub fn soft_mark(self) -> u64 {
        self.part(CEILING_PERMILLE - OUTPUT_CAP_PERMILLE - HANDOVER_RESERVE_PERMILLE)
    }

    /// The cap on thinking and output of one call, in tokens.
    #[must_use]
    pub fn output_cap(self) -> u64 {
        self.part(OUTPUT_CAP_PERMILLE)
    }

    /// The most that a start context may take, in tokens.
    #[must_use]
    pub fn start_context(self) -> u64 {
        self.part(START_CONTEXT_PERMILLE)
    }

    /// The share that `tokens` are of this window, in thousandths, rounded up: a share is never shown smaller than it is.
    #[must_use]
    pub fn permille(self, tokens: u64) -> u64 {
        (u128::from(tokens) * 1000).div_ceil(u128::from(self.0)).try_into().unwrap_or(u64::MAX)
    }

    fn part(self, permille: u64) -> u64 {
        (u128::from(self.0) * u128::from(permille) / 1000).try_into().unwrap_or(u64::MAX)
    }
}

/// Tokens that `bytes` of text are counted as without a tokenizer.
#[must_use]
pub fn estimate_tokens(bytes: u64) -> u64 {
    bytes.div_ceil(BYTES_PER_TOKEN)
}

/// How the ceiling is enforced in a session.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Enforcement {
    /// A gateway refuses the call that would pass the ceiling.
    Prevented,
    /// The driver's events stop the session; an overshoot of one call is possible and shown as measured.
    Stopped,
    /// The program calls no model.
    NoModel,
}

/// What must happen after a call was measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// Below the soft mark.
    GoOn,
    /// At or above the soft mark: ask for the hand-over, once.
    HandOver,
    /// At or above the ceiling, or usage cannot be known: stop the session now.
    Stop(StopReason),
}

/// Why a meter stops a session.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum StopReason {
    /// The context reached the ceiling.
    Ceiling,
    /// The program made a call and did not say what it used.
    UsageUnknown,
    /// A budget does not allow the next call.
    Budget,
}

/// Measures one conversation. Reports may only raise the count, never lower it: the context is the larger of what the
/// provider reported and what was seen to go by.
#[derive(Debug, Clone)]
pub struct Meter {
    window: Window,
    /// Own count: start context plus everything that was seen to enter the conversation, in tokens.
    seen: u64,
    /// The largest context reported by a call.
    reported: u64,
    asked: bool,
}

impl Meter {
    /// Starts with what the start context was counted as, in tokens.
    #[must_use]
    pub fn new(window: Window, start: u64) -> Self {
        Self { window, seen: start, reported: 0, asked: false }
    }

    /// The window this meter measures against.
    #[must_use]
    pub fn window(&self) -> Window {
        self.window
    }

    /// The window can only become smaller: the smallest of what driver, table and provider say counts.
    pub fn narrow(&mut self, window: Window) {
        self.window = self.window.min(window);
    }

    /// Text went into the conversation (a tool's result, the model's output): counted from its bytes.
    pub fn saw(&mut self, bytes: u64) {
        self.seen = self.seen.saturating_add(estimate_tokens(bytes));
    }

    /// The context as far as it is known, in tokens.
    #[must_use]
    pub fn context(&self) -> u64 {
        self.seen.max(self.reported)
    }

    /// A call ended. `None`, or all parts zero, means that its usage is unknown.
    pub fn call(&mut self, usage: Option<Usage>) -> Verdict {
        match usage {
            Some(usage) if usage.context() > usage.output => self.reported = self.reported.max(usage.context()),
            // A model call always has input: a report without any is no report.
            _ => return Verdict::Stop(StopReason::UsageUnknown),
        }
        self.verdict()
    }

    /// The verdict on the context as it is now.
    pub fn verdict(&mut self) -> Verdict {
        let context = self.context();
        if context >= self.window.ceiling() {
            Verdict::Stop(StopReason::Ceiling)
        } else if context >= self.window.soft_mark() && !self.asked {
            self.asked = true;
            Verdict::HandOver
        } else {
            Verdict::GoOn
        }
    }
}

/// What a session needs before it starts, checked before tokens are spent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Preflight {
    /// The model's window.
    pub window: u64,
    /// The agent program's own prompt and tools, in tokens.
    pub base: u64,
    /// Agent's prompt, task, bundle and findings, in tokens.
    pub start: u64,
    /// base + start + hand-over reserve + output cap.
    pub needed: u64,
    /// Half the ceiling: what all of that must fit in.
    pub allowed: u64,
}

impl Preflight {
    /// Adds up. It fits when `needed <= allowed`.
    #[must_use]
    pub fn new(window: Window, base: u64, start: u64) -> Self {
        // An eighth of the output cap is enough room to say something useful; the cap itself is an upper bound.
        let floor = window.output_cap() / 8;
        let reserve = window.part(HANDOVER_RESERVE_PERMILLE);
        Self {
            window: window.0,
            base,
            start,
            needed: base.saturating_add(start).saturating_add(reserve).saturating_add(floor),
            allowed: window.ceiling() / 2,
        }
    }

    /// Whether the session may start.
    #[must_use]
    pub fn fits(&self) -> bool {
        self.needed <= self.allowed
    }

    /// The smallest window in which the same session would fit, in tokens.
    #[must_use]
    pub fn smallest_window(&self) -> u64 {
        // needed = base + start + 4 % + 1 % of the window must be at most 20 % of it.
        self.base.saturating_add(self.start).saturating_mul(1000).div_ceil(150)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn used(input: u64, output: u64) -> Option<Usage> {
        Some(Usage { input, output, ..Usage::default() })
    }

    #[test]
    fn marks_of_a_window_of_200k() {
        let window = Window::new(200_000).unwrap();
        assert_eq!((window.soft_mark(), window.ceiling(), window.output_cap()), (56_000, 80_000, 16_000));
        assert_eq!(window.permille(80_001), 401, "a share is rounded up");
    }

    #[test]
    fn missing_and_zero_usage_stop_the_session() {
        let mut meter = Meter::new(Window::new(1000).unwrap(), 10);
        assert_eq!(meter.call(None), Verdict::Stop(StopReason::UsageUnknown));
        assert_eq!(meter.call(used(0, 0)), Verdict::Stop(StopReason::UsageUnknown));
        assert_eq!(meter.call(used(0, 20)), Verdict::Stop(StopReason::UsageUnknown));
    }

    #[test]
    fn preflight_names_the_window_that_would_fit() {
        let tight = Preflight::new(Window::new(32_000).unwrap(), 19_000, 1_000);
        assert!(!tight.fits());
        assert!(Preflight::new(Window::new(tight.smallest_window() + 10).unwrap(), 19_000, 1_000).fits());
    }

    proptest! {
        /// B1, the part without a gateway: whatever is reported, the session is stopped at the first point where either
        /// count reaches the ceiling, and a lie below the own count changes nothing.
        #[test]
        fn b1_reports_can_only_raise(window in 1_000u64..2_000_000, steps in prop::collection::vec((0u64..20_000, any::<u64>()), 1..60)) {
            let window = Window::new(window).unwrap();
            let mut meter = Meter::new(window, 0);
            let mut seen = 0u64;
            for (bytes, report) in steps {
                meter.saw(bytes);
                seen += estimate_tokens(bytes);
                let verdict = meter.call(used(report.max(1), 0));
                prop_assert!(meter.context() >= seen);
                prop_assert!(meter.context() >= report);
                prop_assert_eq!(meter.context() >= window.ceiling(), verdict == Verdict::Stop(StopReason::Ceiling));
                if matches!(verdict, Verdict::Stop(_)) { break; }
            }
        }
    }
}
