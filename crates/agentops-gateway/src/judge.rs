//! The decision on one call, before it is forwarded.

use agentops_core::call::CallKind;
use agentops_core::ceiling::{HANDOVER_RESERVE_PERMILLE, Window};

/// The least room for an answer that is left to a call whose output limit is lowered, in tokens, on top of its thinking.
const OUTPUT_FLOOR: u64 = 4_000;

/// What is known of a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ask {
    /// Window of the model that is asked.
    pub window: Window,
    /// Upper bound of the input, in tokens.
    pub input: u64,
    /// The output limit that the request sets for each of its answers; `None`: it sets none.
    pub output: Option<u64>,
    /// The most that an answer of the model can have, in tokens; `None`: not known, or more than the window's output cap.
    pub output_max: Option<u64>,
    /// Number of answers that the request asks for; 0 counts as 1.
    pub answers: u64,
    /// Tokens that the request sets aside for the thinking of each answer, inside its output limit.
    pub thinking: u64,
    /// What it is for.
    pub kind: CallKind,
    /// The destination takes an output limit where the request sets none.
    pub takes_limit: bool,
}

/// What becomes of a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Decision {
    /// It is forwarded.
    Forward(Room),
    /// It is not.
    TooLong {
        /// What it would have needed, in tokens: its input and the least room for an answer.
        needed: u64,
        /// What a call of its kind may take, in tokens.
        allowed: u64,
    },
}

/// The room of a forwarded call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Room {
    /// The most output of all answers together, in tokens. Where the request does not carry a limit, the answer is cut when it
    /// passes this one.
    pub output: u64,
    /// The limit of each answer that must be written into the request; `None`: the request stays as it is.
    pub write: Option<u64>,
    /// Nothing but us holds the answer to its limit.
    pub cut: bool,
}

/// What calls of a kind may take of a window: work leaves the hand-over reserve alone.
#[must_use]
pub fn allowed(window: Window, kind: CallKind) -> u64 {
    let reserve = match kind {
        CallKind::Work => window.tokens().saturating_mul(HANDOVER_RESERVE_PERMILLE) / 1000,
        CallKind::HandOver | CallKind::Compaction => 0,
    };
    window.ceiling().saturating_sub(reserve)
}

/// The output that the request asks for, in tokens an answer. Without a limit of its own it gets no more than the model can
/// write, for a provider refuses a larger one.
#[must_use]
pub fn wanted(ask: &Ask) -> u64 {
    let cap = ask.window.output_cap();
    ask.output.unwrap_or_else(|| ask.output_max.map_or(cap, |most| most.min(cap)))
}

/// Decides. Whatever is forwarded fits: input and output together stay within what the kind is allowed.
#[must_use]
pub fn decide(ask: &Ask) -> Decision {
    let allowed = allowed(ask.window, ask.kind);
    let room = allowed.saturating_sub(ask.input);
    // In a small window the floor would be the whole of it; a quarter of the output cap is enough to say something useful.
    let floor = ask.thinking.saturating_add(OUTPUT_FLOOR.min((ask.window.output_cap() / 4).max(1)));
    let wanted = wanted(ask);
    let answers = ask.answers.max(1);
    let least = wanted.min(floor);
    if room / answers < least || room < answers {
        return Decision::TooLong { needed: ask.input.saturating_add(least.max(1).saturating_mul(answers)), allowed };
    }
    let each = wanted.min(room / answers);
    let output = each * answers;
    Decision::Forward(match ask.output {
        // Of 0 no answer is expected; a server that takes it for no limit is cut.
        Some(0) => Room { output: 0, write: None, cut: true },
        Some(limit) => Room { output, write: (each < limit).then_some(each), cut: false },
        None if ask.takes_limit => Room { output, write: Some(each), cut: false },
        // Without a limit in the request the answer may go on to the ceiling, not to the cap.
        None => Room { output: room, write: None, cut: true },
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn ask(input: u64, output: Option<u64>) -> Ask {
        let window = Window::new(200_000).unwrap();
        Ask { window, input, output, output_max: None, answers: 1, thinking: 0, kind: CallKind::Work, takes_limit: true }
    }

    #[test]
    fn an_output_limit_is_lowered_to_the_room_and_not_below_the_floor() {
        let lowered = Decision::Forward(Room { output: 12_000, write: Some(12_000), cut: false });
        assert_eq!(decide(&ask(60_000, Some(32_000))), lowered);
        assert_eq!(decide(&ask(60_000, Some(100))), Decision::Forward(Room { output: 100, write: None, cut: false }));
        assert_eq!(decide(&ask(69_000, Some(32_000))), Decision::TooLong { needed: 73_000, allowed: 72_000 });
        let thinking = Ask { thinking: 7_000, ..ask(60_000, Some(32_000)) };
        assert_eq!(decide(&thinking), lowered);
        let too_much = Ask { thinking: 9_000, ..thinking };
        assert_eq!(decide(&too_much), Decision::TooLong { needed: 60_000 + 9_000 + 4_000, allowed: 72_000 });
    }

    #[test]
    fn b1_several_answers_share_the_room() {
        let answers = |answers, output| decide(&Ask { answers, ..ask(22_000, output) });
        assert_eq!(answers(5, Some(20_000)), Decision::Forward(Room { output: 50_000, write: Some(10_000), cut: false }));
        assert_eq!(answers(5, Some(2_000)), Decision::Forward(Room { output: 10_000, write: None, cut: false }));
        assert_eq!(answers(5, None), Decision::Forward(Room { output: 50_000, write: Some(10_000), cut: false }));
        assert_eq!(answers(20, Some(20_000)), Decision::TooLong { needed: 22_000 + 20 * 4_000, allowed: 72_000 });
        let thinking = Ask { answers: 5, thinking: 7_000, ..ask(22_000, Some(20_000)) };
        assert_eq!(decide(&thinking), Decision::TooLong { needed: 22_000 + 5 * 11_000, allowed: 72_000 });
    }

    #[test]
    fn a_request_without_a_limit_gets_no_more_than_its_model_can_write() {
        let without = |output_max| decide(&Ask { output_max, ..ask(1_000, None) });
        let forward = |output| Decision::Forward(Room { output, write: Some(output), cut: false });
        assert_eq!([without(None), without(Some(40_000)), without(Some(4_096))], [16_000, 16_000, 4_096].map(forward));
        let several = Ask { answers: 3, output_max: Some(4_096), ..ask(1_000, None) };
        assert_eq!(decide(&several), Decision::Forward(Room { output: 3 * 4_096, write: Some(4_096), cut: false }));
    }

    #[test]
    fn only_handing_over_and_compacting_use_the_reserve() {
        let near = ask(75_000, Some(2_000));
        assert!(matches!(decide(&near), Decision::TooLong { .. }));
        for kind in [CallKind::HandOver, CallKind::Compaction] {
            assert!(matches!(decide(&Ask { kind, ..near }), Decision::Forward(_)));
        }
    }

    proptest! {
        /// B1: what is forwarded stays within the ceiling, whatever is asked.
        #[test]
        fn b1_what_is_forwarded_fits(
            window in 1u64..3_000_000, input: u32, output: Option<u32>, output_max: Option<u16>, answers in 0_u64..200,
            thinking in 0u64..100_000,
            kind in 0..3, takes_limit: bool,
        ) {
            let window = Window::new(window).unwrap();
            let kind = [CallKind::Work, CallKind::HandOver, CallKind::Compaction][kind as usize];
            let input = u64::from(input) % 2_000_000;
            let (output, output_max) = (output.map(u64::from), output_max.map(u64::from));
            let ask = Ask { window, input, output, output_max, answers, thinking, kind, takes_limit };
            let answers = answers.max(1);
            match decide(&ask) {
                Decision::Forward(room) => {
                    prop_assert!(ask.input + room.output <= allowed(window, kind));
                    prop_assert!(room.write.is_none_or(|each| each < ask.output.unwrap_or(u64::MAX)), "a limit is only ever lowered");
                    prop_assert!(ask.output.is_some_and(|limit| limit > 0) || room.write.is_some() != room.cut);
                    if let Some(each) = room.write.or(ask.output) {
                        prop_assert!(room.output == each * answers, "the limit that leaves, for each of the answers");
                    }
                }
                Decision::TooLong { needed, allowed: most } => prop_assert!(needed > most),
            }
        }
    }
}
