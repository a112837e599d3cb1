//! The protocol of the driver `codex` against recorded output of the real program, and against garbage.

use std::collections::{BTreeMap, VecDeque};
use std::path::PathBuf;

use agentops_agents::codex::Codex;
use agentops_agents::driver::{
    Access, AgentEvent, Driver, Effect, Exit, Failure, Finish, HandOver, Protocol, SessionRequest, UsageReports,
};
use agentops_core::ceiling::Window;
use agentops_core::usage::Usage;
use proptest::prelude::*;
use serde_json::Value;

const INTERRUPT: &str = include_str!("data/codex/interrupt-then-turn.jsonl");
const STEERED: &str = include_str!("data/codex/steered.jsonl");
const DROPPED: &str = include_str!("data/codex/stream-dropped.jsonl");
const MISSING_FIRST: &str = include_str!("data/codex/usage-missing-first.jsonl");
const MISSING_LATER: &str = include_str!("data/codex/usage-missing-later.jsonl");
const ALL: [&str; 5] = [INTERRUPT, STEERED, DROPPED, MISSING_FIRST, MISSING_LATER];

fn protocol() -> Box<dyn Protocol> {
    Codex.protocol(&SessionRequest {
        work_tree: PathBuf::from("/repo"),
        scratch: PathBuf::from("/room/scratch"),
        instructions: "You are the researcher.".to_owned(),
        prompt: "Do the task.".to_owned(),
        model: Some("gpt-scripted".to_owned()),
        window: Window::new(100_000),
        tools: None,
        access: Access::Write,
        settings: BTreeMap::new(),
        route: None,
        env: Default::default(),
    })
}

/// A session played back: what was sent, and what happened.
struct Played {
    protocol: Box<dyn Protocol>,
    sent: Vec<Value>,
    events: Vec<AgentEvent>,
}

impl Played {
    fn new() -> Self {
        let mut played = Self { protocol: protocol(), sent: Vec::new(), events: Vec::new() };
        let effects = played.protocol.started();
        played.perform(effects, &mut |_, _| Vec::new());
        played
    }

    fn perform(&mut self, effects: Vec<Effect>, then: &mut impl FnMut(&mut dyn Protocol, &AgentEvent) -> Vec<Effect>) {
        let mut queue = VecDeque::from(effects);
        while let Some(effect) = queue.pop_front() {
            match effect {
                Effect::Send(line) => self.sent.push(serde_json::from_str(&line).unwrap()),
                Effect::CloseStdin => {}
                Effect::Event(event) => {
                    let mut caused = match event {
                        AgentEvent::Ready { .. } => self.protocol.begin(),
                        _ => then(&mut *self.protocol, &event),
                    };
                    self.events.push(event);
                    caused.extend(queue);
                    queue = caused.into();
                }
            }
        }
    }

    fn of(lines: &str, mut then: impl FnMut(&mut dyn Protocol, &AgentEvent) -> Vec<Effect>) -> Self {
        let mut played = Self::new();
        for line in lines.lines() {
            let effects = played.protocol.line(line);
            played.perform(effects, &mut then);
        }
        played
    }

    fn methods(&self) -> Vec<&str> {
        self.sent.iter().filter_map(|message| message["method"].as_str()).collect()
    }

    fn usages(&self) -> Vec<Option<u64>> {
        let context = |usage: &Option<Usage>| usage.as_ref().map(Usage::context);
        let of = |event: &AgentEvent| if let AgentEvent::Call { usage, .. } = event { Some(context(usage)) } else { None };
        self.events.iter().filter_map(of).collect()
    }

    fn finish(&self) -> Option<&Finish> {
        let mut all =
            self.events.iter().filter_map(|e| if let AgentEvent::Finished(finish) = e { Some(finish) } else { None });
        let first = all.next();
        assert_eq!(all.next(), None, "a session ends once");
        first
    }
}

fn nothing(_: &mut dyn Protocol, _: &AgentEvent) -> Vec<Effect> {
    Vec::new()
}

#[test]
fn after_an_interrupt_the_hand_over_is_a_turn_of_its_own() {
    let mut asked = false;
    let played = Played::of(INTERRUPT, |protocol, event| match event {
        AgentEvent::Call { .. } if !std::mem::replace(&mut asked, true) => {
            let mut effects = protocol.interrupt();
            effects.extend(protocol.hand_over("Wrap up: write the hand-over."));
            effects
        }
        _ => Vec::new(),
    });
    let methods = ["initialize", "initialized", "thread/start", "turn/start", "turn/interrupt", "turn/start"];
    assert_eq!(played.methods(), methods);
    assert_eq!(played.finish(), Some(&Finish::HandedOver));
    assert_eq!(played.usages(), [Some(11_020), Some(29_022)], "the repeated report is no call");
    let thread = &played.sent[2]["params"];
    assert_eq!(thread["developerInstructions"], "You are the researcher.");
    assert_eq!((&thread["sandbox"], &thread["ephemeral"]), (&"workspace-write".into(), &true.into()));
    let ready = AgentEvent::Ready {
        model: Some("gpt-scripted".to_owned()),
        version: Some("0.169.0".to_owned()),
        window: Window::new(100_000),
        base_tokens: None,
    };
    assert!(played.events.contains(&ready));
}

#[test]
fn an_interrupt_that_nobody_asked_for_is_a_failure() {
    let played = Played::of(INTERRUPT, nothing);
    assert!(matches!(played.finish(), Some(Finish::Failed { failure: Failure::Program, .. })));
}

#[test]
fn a_message_goes_into_the_turn_that_runs() {
    let hand_over = |protocol: &mut dyn Protocol, event: &AgentEvent| match event {
        AgentEvent::Tool { detail, .. } if detail.contains("sleep") => protocol.hand_over("Write your hand-over now."),
        _ => Vec::new(),
    };
    let played = Played::of(STEERED, hand_over);
    assert_eq!(played.methods().last(), Some(&"turn/steer"));
    assert_eq!(played.finish(), Some(&Finish::HandedOver));
    assert_eq!(played.usages(), [Some(1_020), Some(1_120), Some(1_220)]);

    // The turn was over before the message came: its refusal is answered with a turn of its own, in either order.
    let lines: Vec<&str> = STEERED.lines().filter(|line| !line.starts_with(r#"{"id":4"#)).collect();
    let refusal = r#"{"id":4,"error":{"code":-32600,"message":"no active turn to steer"}}"#;
    let late = Played::of(&[&lines[..], &[refusal]].concat().join("\n"), hand_over);
    assert_eq!(late.finish(), None);
    assert_eq!(late.methods().last(), Some(&"turn/start"));
    let end = lines.len() - 1;
    let early = Played::of(&[&lines[..end], &[refusal], &lines[end..]].concat().join("\n"), hand_over);
    assert_eq!(early.finish(), None);
    assert_eq!(early.methods().last(), Some(&"turn/start"));
}

#[test]
fn a_call_without_usage_is_told_from_a_dropped_one() {
    let dropped = Played::of(DROPPED, nothing);
    assert_eq!(dropped.usages(), [Some(11_005)]);
    assert!(matches!(dropped.finish(), Some(Finish::Failed { failure: Failure::Provider, .. })));
    assert_eq!(Played::of(MISSING_FIRST, nothing).usages(), [None, Some(12_005)]);
    assert_eq!(Played::of(MISSING_LATER, nothing).usages(), [Some(11_005), None, Some(12_005)]);
    let silent: Vec<&str> = MISSING_FIRST.lines().filter(|line| !line.contains("tokenUsage")).collect();
    assert!(Played::of(&silent.join("\n"), nothing).usages().contains(&None));
}

#[test]
fn requests_of_the_program_are_refused_at_once() {
    let mut played = Played::of(&STEERED.lines().take(4).collect::<Vec<_>>().join("\n"), nothing);
    for (line, answer) in [
        (
            r#"{"id":"a","method":"item/commandExecution/requestApproval","params":{"command":"rm x"}}"#,
            r#"{"id":"a","result":{"decision":"decline"}}"#,
        ),
        (r#"{"id":7,"method":"new/thing"}"#, r#"{"id":7,"error":{"code":-32601,"message":"not supported"}}"#),
    ] {
        let effects = played.protocol.line(line);
        played.perform(effects, &mut nothing);
        assert_eq!(played.sent.last(), Some(&serde_json::from_str(answer).unwrap()));
        assert!(matches!(played.events.last(), Some(AgentEvent::Refused { .. })));
    }
}

#[test]
fn compaction_and_an_early_end_are_failures() {
    let start: Vec<&str> = STEERED.lines().take(4).collect();
    let compaction = r#"{"method":"item/started","params":{"item":{"type":"contextCompaction","id":"x"}}}"#;
    let played = Played::of(&[&start[..], &[compaction]].concat().join("\n"), nothing);
    assert!(matches!(played.finish(), Some(Finish::Failed { failure: Failure::Compacted, .. })));
    let mut played = Played::of(&start.join("\n"), nothing);
    let effects = played.protocol.exited(Exit::Code(0));
    assert!(matches!(&effects[..], [Effect::Event(AgentEvent::Finished(Finish::Failed { failure: Failure::Program, .. }))]));
}

#[test]
fn what_it_can_do_is_declared() {
    let can = Codex.capabilities(&BTreeMap::new());
    assert_eq!((can.usage, can.hand_over), (UsageReports::EveryCall, HandOver::InBand));
    assert!(can.interrupt && !can.allow_list && !can.output_cap && !can.window_before_first_call);
}

/// Lines of the recordings, cut somewhere, and anything else.
fn any_line() -> impl Strategy<Value = String> {
    let lines: Vec<String> = ALL.iter().flat_map(|lines| lines.lines()).map(str::to_owned).collect();
    let whole = prop::sample::select(lines.clone());
    let cut = (prop::sample::select(lines), any::<prop::sample::Index>()).prop_map(|(line, at)| {
        let chars: Vec<char> = line.chars().collect();
        chars[..at.index(chars.len())].iter().collect()
    });
    let odd = r#"\{"(id|method|params|result|error)":(null|-1|1|"turn/completed"|"item/started"|\[\]|\{\})\}"#;
    prop_oneof![4 => whole, 2 => cut, 1 => ".{0,60}", 1 => odd]
}

proptest! {
    #[test]
    fn no_line_and_no_order_panics_or_ends_a_session_twice(
        lines in prop::collection::vec((any_line(), 0..12_u8), 0..60),
    ) {
        let mut played = Played::new();
        for (line, then) in lines {
            let effects = match then {
                0 => played.protocol.hand_over("over"),
                1 => played.protocol.interrupt(),
                _ => played.protocol.line(&line),
            };
            played.perform(effects, &mut nothing);
        }
        let effects = played.protocol.exited(Exit::Signal(9));
        played.perform(effects, &mut nothing);
        prop_assert!(played.finish().is_some());
    }
}
