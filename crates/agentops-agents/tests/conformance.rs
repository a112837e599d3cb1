//! One suite that every driver passes, against recorded output of its program. The data's README says where it is from.

#[path = "common/mod.rs"]
#[allow(dead_code, reason = "the live half is used by the other tests")]
mod common;

use std::collections::{BTreeMap, BTreeSet};

use agentops_agents::driver::{AgentEvent, Driver, Effect, Exit, Failure, Finish, HandOver, Protocol, UsageReports};
use agentops_agents::registry::{all, driver};
use agentops_core::ceiling::{Meter, Verdict, Window};
use agentops_core::usage::Usage;
use proptest::prelude::*;

/// A recording and how it has to end. The end of the process is that of the recording, as its README lists it.
struct Recording {
    driver: &'static str,
    name: &'static str,
    text: &'static str,
    exit: Exit,
    end: End,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    Completed,
    Failed(Failure),
}

macro_rules! recording {
    ($driver:literal, $name:literal, $exit:expr, $end:expr) => {
        Recording {
            driver: $driver,
            name: $name,
            text: include_str!(concat!("data/", $driver, "/", $name, ".jsonl")),
            exit: $exit,
            end: $end,
        }
    };
}

/// What a session without a soft mark makes of each recording.
const RECORDINGS: &[Recording] = &[
    recording!("scripted", "work", Exit::Code(0), End::Completed),
    recording!("claude", "partial", Exit::Code(0), End::Completed),
    recording!("claude", "subagent", Exit::Code(0), End::Completed),
    recording!("claude", "permission-denied", Exit::Code(0), End::Completed),
    recording!("claude", "interrupt", Exit::Code(0), End::Failed(Failure::Program)),
    recording!("claude", "sigint-streaming", Exit::Code(0), End::Failed(Failure::Program)),
    recording!("claude", "sigterm-in-tool", Exit::Code(143), End::Failed(Failure::Program)),
    recording!("claude", "max-turns", Exit::Code(1), End::Failed(Failure::Program)),
    recording!("claude", "error-401", Exit::Code(1), End::Failed(Failure::NotLoggedIn)),
    recording!("claude", "error-529", Exit::Code(1), End::Failed(Failure::Provider)),
    recording!("claude", "error-connection-dropped", Exit::Code(1), End::Failed(Failure::Provider)),
    recording!("claude", "error-prompt-too-long", Exit::Code(1), End::Failed(Failure::PromptTooLong)),
    recording!("claude", "autocompact", Exit::Code(0), End::Failed(Failure::Compacted)),
    recording!("codex", "work", Exit::Code(0), End::Completed),
    recording!("opencode", "work", Exit::Code(0), End::Completed),
    recording!("opencode", "refused", Exit::Code(0), End::Completed),
    recording!("opencode", "cancelled", Exit::Code(0), End::Failed(Failure::Program)),
    recording!("opencode", "error-401", Exit::Code(0), End::Failed(Failure::NotLoggedIn)),
    recording!("opencode", "error-prompt-too-long", Exit::Code(0), End::Failed(Failure::PromptTooLong)),
    recording!("gemini", "work", Exit::Code(0), End::Completed),
    recording!("gemini", "refused", Exit::Code(0), End::Completed),
    recording!("gemini", "cancelled", Exit::Code(0), End::Failed(Failure::Program)),
    recording!("gemini", "error-401", Exit::Code(0), End::Failed(Failure::NotLoggedIn)),
    recording!("gemini", "error-prompt-too-long", Exit::Code(0), End::Failed(Failure::PromptTooLong)),
    recording!("acp", "claude", Exit::Code(0), End::Failed(Failure::Program)),
    recording!("acp", "codex", Exit::Code(0), End::Failed(Failure::Program)),
];

/// Recordings of a session that was asked to hand over at its first call, or at its first tool where the program reports no
/// calls meanwhile, and did.
const HAND_OVERS: &[Recording] = &[
    recording!("scripted", "hand-over", Exit::Code(0), End::Completed),
    recording!("claude", "control", Exit::Code(0), End::Completed),
    recording!("codex", "hand-over", Exit::Code(0), End::Completed),
    recording!("opencode", "hand-over", Exit::Code(0), End::Completed),
    recording!("opencode", "cancelled", Exit::Code(0), End::Completed),
    recording!("gemini", "hand-over", Exit::Code(0), End::Completed),
    recording!("gemini", "cancelled", Exit::Code(0), End::Completed),
    recording!("acp", "claude", Exit::Code(0), End::Completed),
    recording!("acp", "codex", Exit::Code(0), End::Completed),
];

/// What the agent file says. The programs of the recordings report every call where the driver cannot know it by itself.
fn settings(driver: &dyn Driver) -> BTreeMap<String, String> {
    let mut settings = BTreeMap::from([("program".to_owned(), "/bin/true".to_owned())]);
    if driver.name() == "acp" {
        settings.insert("usage".to_owned(), "every-call".to_owned());
    }
    settings
}

fn protocol(driver: &dyn Driver) -> Box<dyn Protocol> {
    let room = tempfile::tempdir().unwrap();
    let mut request = common::request(room.path(), &[]);
    request.settings = settings(driver);
    driver.protocol(&request)
}

/// A session that is fed a recording.
struct Replay {
    protocol: Box<dyn Protocol>,
    events: Vec<AgentEvent>,
    sent: Vec<String>,
    begun: bool,
    hand_over: bool,
    reports_calls: bool,
    closed: bool,
}

impl Replay {
    fn new(driver: &dyn Driver, hand_over: bool) -> Self {
        let mut protocol = protocol(driver);
        let effects = protocol.started();
        let reports_calls = driver.capabilities(&settings(driver)).usage == UsageReports::EveryCall;
        let (events, sent) = (Vec::new(), Vec::new());
        let mut replay = Self { protocol, events, sent, begun: false, hand_over, reports_calls, closed: false };
        replay.perform(effects);
        replay
    }

    fn line(&mut self, line: &str) {
        let effects = self.protocol.line(line);
        self.perform(effects);
    }

    fn exited(&mut self, exit: Exit) {
        let effects = self.protocol.exited(exit);
        self.perform(effects);
    }

    fn perform(&mut self, effects: Vec<Effect>) {
        for effect in effects {
            match effect {
                Effect::Send(line) => {
                    assert!(!line.contains('\n'), "one line: {line}");
                    assert!(!self.closed, "nothing is written after the end: {line}");
                    self.sent.push(line);
                }
                Effect::CloseStdin => self.closed = true,
                Effect::Event(event) => {
                    let caused = match &event {
                        AgentEvent::Ready { .. } if !std::mem::replace(&mut self.begun, true) => self.protocol.begin(),
                        AgentEvent::Call { .. } if self.reports_calls && std::mem::take(&mut self.hand_over) => {
                            self.protocol.hand_over("HAND OVER")
                        }
                        AgentEvent::Tool { .. } if !self.reports_calls && std::mem::take(&mut self.hand_over) => {
                            self.protocol.hand_over("HAND OVER")
                        }
                        _ => Vec::new(),
                    };
                    self.events.push(event);
                    self.perform(caused);
                }
            }
        }
    }

    fn finishes(&self) -> Vec<&Finish> {
        self.events.iter().filter_map(|e| if let AgentEvent::Finished(finish) = e { Some(finish) } else { None }).collect()
    }

    fn calls(&self) -> Vec<(&str, Option<Usage>, bool, bool)> {
        let call = |event| match event {
            &AgentEvent::Call { ref id, usage, last, sub_agent, .. } => Some((id.as_str(), usage, last, sub_agent)),
            _ => None,
        };
        self.events.iter().filter_map(call).collect()
    }
}

fn replay(recording: &Recording, hand_over: bool) -> Replay {
    let mut replay = Replay::new(driver(recording.driver).unwrap(), hand_over);
    recording.text.lines().for_each(|line| replay.line(line));
    replay.exited(recording.exit);
    replay
}

#[test]
fn every_driver_that_speaks_a_protocol_has_recordings_of_work_failure_and_hand_over() {
    for driver in all() {
        let capabilities = driver.capabilities(&settings(*driver));
        let recorded = |list: &[Recording]| list.iter().any(|recording| recording.driver == driver.name());
        let name = driver.name();
        let speaks = capabilities.usage == UsageReports::EveryCall || capabilities.hand_over == HandOver::InBand;
        assert_eq!(speaks, recorded(RECORDINGS), "{name}: record its program's output in tests/data/{name}");
        let in_band = capabilities.hand_over == HandOver::InBand;
        assert_eq!(in_band, recorded(HAND_OVERS), "{name} hands over in band: record one in tests/data/{name}");
    }
}

#[test]
fn every_recording_ends_once_and_as_it_should() {
    for recording in RECORDINGS {
        let replay = replay(recording, false);
        let finishes = replay.finishes();
        let end = match finishes.as_slice() {
            [Finish::Completed] => End::Completed,
            [Finish::Failed { failure, message }] => {
                assert!(!message.is_empty(), "{}", recording.name);
                End::Failed(*failure)
            }
            other => panic!("{}: {other:?}", recording.name),
        };
        assert_eq!(end, recording.end, "{}", recording.name);
    }
}

#[test]
fn a_session_that_is_asked_hands_over_in_the_same_conversation() {
    for recording in HAND_OVERS {
        let replay = replay(recording, true);
        assert_eq!(replay.finishes(), [&Finish::HandedOver], "{}", recording.driver);
        assert_eq!(replay.sent.iter().filter(|line| line.contains("HAND OVER")).count(), 1, "{}", recording.driver);
        assert!(replay.closed);
    }
}

#[test]
fn who_declares_to_know_the_window_is_ready_before_the_prompt() {
    for recording in HAND_OVERS {
        let driver = driver(recording.driver).unwrap();
        if !driver.capabilities(&BTreeMap::new()).window_before_first_call {
            continue;
        }
        let mut replay = Replay::new(driver, false);
        let has_prompt = |replay: &Replay| replay.sent.iter().any(|line| line.contains("Find the export command."));
        assert!(!has_prompt(&replay), "{}", recording.driver);
        recording.text.lines().for_each(|line| replay.line(line));
        assert!(has_prompt(&replay), "{}", recording.driver);
        let first = replay.events.first();
        let AgentEvent::Ready { window, base_tokens, model, .. } = first.unwrap() else { panic!("{first:?}") };
        assert_eq!(*window, Window::new(200_000));
        assert!(base_tokens.is_some() && model.is_some());
    }
}

#[test]
fn every_call_has_an_id_and_one_end() {
    for recording in RECORDINGS.iter().chain(HAND_OVERS) {
        let replay = replay(recording, false);
        let mut over = BTreeSet::new();
        for (id, _, last, _) in replay.calls() {
            assert!(!id.is_empty());
            assert!(!over.contains(id), "{}: {id} is told after its end", recording.name);
            if last {
                over.insert(id);
            }
        }
    }
}

#[test]
fn usage_is_normalised_and_a_meter_can_live_on_it() {
    let context = |name: &str, driver: &str| -> Vec<u64> {
        let recording = RECORDINGS.iter().find(|r| r.name == name && r.driver == driver).unwrap();
        let replay = replay(recording, false);
        let ended = replay.calls().into_iter().filter(|(_, _, last, sub)| *last && !sub);
        ended.map(|(_, usage, ..)| usage.unwrap().context()).collect()
    };
    assert_eq!(context("partial", "claude"), [11_020, 20_021, 29_022]);
    assert_eq!(context("work", "scripted"), [11_020, 20_021]);
    for recording in RECORDINGS.iter().filter(|recording| recording.end == End::Completed) {
        let reports = driver(recording.driver).unwrap().capabilities(&BTreeMap::new()).usage;
        if reports == UsageReports::Never {
            assert_eq!(replay(recording, false).calls(), [], "{}: nothing is made up", recording.driver);
            continue;
        }
        let mut meter = Meter::new(Window::new(200_000).unwrap(), 0);
        for (_, usage, last, sub_agent) in replay(recording, false).calls() {
            if last && !sub_agent {
                assert_eq!(meter.call(usage), Verdict::GoOn, "{}", recording.name);
            }
        }
        assert!(meter.context() > 0, "{}", recording.name);
    }
}

#[test]
fn a_sub_agents_calls_are_told_apart() {
    let recording = RECORDINGS.iter().find(|r| r.name == "subagent").unwrap();
    let replay = replay(recording, false);
    let total: Vec<_> = replay.calls().into_iter().filter(|call| call.3).map(|call| call.1.unwrap().context()).collect();
    assert_eq!(total, [12_021]);
}

#[test]
fn the_context_is_told_as_the_programs_of_the_protocol_count_it() {
    let contexts = |name: &str, driver: &str| -> Vec<u64> {
        let recording = HAND_OVERS.iter().find(|r| r.name == name && r.driver == driver).unwrap();
        replay(recording, true).calls().into_iter().map(|(_, usage, ..)| usage.unwrap().context()).collect()
    };
    assert_eq!(contexts("codex", "acp"), [11_020, 11_020, 29_022]);
    assert_eq!(contexts("cancelled", "opencode"), [29_022], "a cancelled call says nothing");
    assert_eq!(contexts("cancelled", "gemini"), [] as [u64; 0]);
}

#[test]
fn the_refusals_of_a_program_are_told_in_its_own_words() {
    for (driver, words) in [("opencode", "rule which prevents"), ("gemini", "outside")] {
        let recording = RECORDINGS.iter().find(|r| r.name == "refused" && r.driver == driver).unwrap();
        let events = replay(recording, false).events;
        let told = |e: &AgentEvent| matches!(e, AgentEvent::Refused { reason, .. } if reason.contains(words));
        assert!(events.iter().any(told), "{driver}: {events:?}");
    }
}

#[test]
fn what_the_program_refuses_and_what_tools_return_is_told() {
    let recording = RECORDINGS.iter().find(|r| r.name == "permission-denied").unwrap();
    let events = replay(recording, false).events;
    assert!(
        events
            .iter()
            .any(|e| matches!(e, AgentEvent::Refused { name, reason } if name == "Bash" && reason.contains("denied")))
    );
    assert!(
        events.iter().any(|e| matches!(e, AgentEvent::Tool { name, detail } if name == "Bash" && detail.contains("echo")))
    );
    assert!(events.iter().any(|e| matches!(e, AgentEvent::Grew { bytes } if *bytes > 50)));
    assert!(events.contains(&AgentEvent::Said("Done.".to_owned())));
}

#[test]
fn whatever_the_program_asks_is_answered() {
    let mut replay = Replay::new(driver("claude").unwrap(), false);
    let before = replay.sent.len();
    let asks = ["can_use_tool", "hook_callback", "mcp_message", "something_new"];
    for ask in asks {
        replay.line(&format!(
            r#"{{"type":"control_request","request_id":"x-{ask}","request":{{"subtype":"{ask}","tool_name":"Bash"}}}}"#
        ));
    }
    let answers = &replay.sent[before..];
    assert_eq!(answers.len(), asks.len());
    for (ask, answer) in asks.iter().zip(answers) {
        assert!(answer.contains(&format!("x-{ask}")), "{answer}");
    }
    assert!(answers[0].contains(r#""behavior":"deny""#));
    assert!(replay.events.iter().any(|event| matches!(event, AgentEvent::Refused { .. })));
}

#[test]
fn a_turn_that_ends_before_its_next_tool_is_followed_by_the_hand_over() {
    let recording = RECORDINGS.iter().find(|r| r.driver == "claude" && r.name == "partial").unwrap();
    let lines: Vec<&str> = recording.text.lines().collect();
    let mut replay = Replay::new(driver("claude").unwrap(), false);
    lines[..lines.len() - 1].iter().for_each(|line| replay.line(line));
    let effects = replay.protocol.hand_over("HAND OVER");
    replay.perform(effects);
    replay.line(lines[lines.len() - 1]);
    assert!(replay.sent.last().unwrap().contains("HAND OVER"));
    assert!(replay.finishes().is_empty());
    lines.iter().for_each(|line| replay.line(line));
    assert_eq!(replay.finishes(), [&Finish::HandedOver]);
    assert!(replay.protocol.hand_over("AGAIN").is_empty(), "it is over");
}

#[test]
fn compaction_is_refused_when_the_program_asks() {
    let mut replay = Replay::new(driver("claude").unwrap(), false);
    let asks = r#""subtype":"hook_callback","callback_id":"agentops-before-compact","input":{}"#;
    replay.line(&format!(r#"{{"type":"control_request","request_id":"r","request":{{{asks}}}}}"#));
    assert!(replay.sent.last().unwrap().contains(r#""decision":"block""#));
}

#[test]
fn an_exit_before_the_result_is_no_completion_wherever_it_comes() {
    for recording in RECORDINGS.iter().chain(HAND_OVERS) {
        let lines: Vec<&str> = recording.text.lines().collect();
        for count in 0..lines.len() {
            for interrupt in [false, true] {
                let mut replay = Replay::new(driver(recording.driver).unwrap(), false);
                lines[..count].iter().for_each(|line| replay.line(line));
                if !replay.finishes().is_empty() {
                    break;
                }
                if interrupt {
                    let effects = replay.protocol.interrupt();
                    replay.perform(effects);
                }
                replay.exited(Exit::Code(0));
                let finishes = replay.finishes();
                assert!(
                    matches!(finishes.as_slice(), [Finish::Failed { failure: Failure::Program, .. }]),
                    "{}: {finishes:?}",
                    recording.name
                );
            }
        }
    }
}

/// Whatever a program prints: no panic, and one end.
fn survives(driver: &dyn Driver, lines: &[String]) {
    let mut replay = Replay::new(driver, true);
    let effects = if replay.begun { Vec::new() } else { replay.protocol.begin() };
    replay.perform(effects);
    lines.iter().for_each(|line| replay.line(line));
    replay.exited(Exit::Code(0));
    assert_eq!(replay.finishes().len(), 1);
    let notes = replay.events.iter().filter(|event| matches!(event, AgentEvent::Note(note) if note.len() > 5000)).count();
    assert_eq!(notes, 0, "garbage is cut");
}

#[test]
fn long_lines_do_no_harm() {
    let mut lines = vec![
        "x".repeat(1 << 20),
        "[".repeat(1 << 20),
        "{\"a\":".repeat(1 << 18),
        format!("{{\"type\":\"{}\"}}", "y".repeat(1 << 20)),
    ];
    let text = "z".repeat(1 << 20);
    lines.push(format!(r#"{{"type":"assistant","message":{{"id":"m","content":[{{"type":"text","text":"{text}"}}]}}}}"#));
    for driver in all() {
        survives(*driver, &lines);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn garbage_does_no_harm(lines in prop::collection::vec(any::<String>(), 0..20)) {
        for driver in all() {
            survives(*driver, &lines);
        }
    }

    /// Recordings with lines cut short, left out, repeated, and values replaced by others of any type.
    #[test]
    fn broken_recordings_do_no_harm(
        changes in prop::collection::vec((any::<prop::sample::Index>(), 0u8..5, any::<prop::sample::Index>()), 1..8),
    ) {
        for recording in RECORDINGS.iter().chain(HAND_OVERS) {
            let mut lines: Vec<String> = recording.text.lines().map(str::to_owned).collect();
            for (which, change, at) in &changes {
                if lines.is_empty() {
                    break;
                }
                let which = which.index(lines.len());
                let line = lines[which].clone();
                match change {
                    0 => {
                        let end = (0..=at.index(line.len() + 1)).rev().find(|end| line.is_char_boundary(*end)).unwrap();
                        lines[which].truncate(end);
                    }
                    1 => drop(lines.remove(which)),
                    2 => lines.insert(which, line),
                    3 => lines[which] = replace_value(&line, at, &serde_json::Value::Null),
                    _ => lines[which] = replace_value(&line, at, &serde_json::json!([-1, {"type": "text"}])),
                }
            }
            survives(driver(recording.driver).unwrap(), &lines);
        }
    }
}

/// Replaces one value anywhere in a JSON line.
fn replace_value(line: &str, at: &prop::sample::Index, new: &serde_json::Value) -> String {
    let Ok(mut value) = serde_json::from_str::<serde_json::Value>(line) else { return line.to_owned() };
    let mut paths = Vec::new();
    collect(&value, String::new(), &mut paths);
    let path = &paths[at.index(paths.len())];
    *value.pointer_mut(path).unwrap() = new.clone();
    value.to_string()
}

fn collect(value: &serde_json::Value, path: String, paths: &mut Vec<String>) {
    match value {
        serde_json::Value::Object(map) => {
            map.iter().for_each(|(key, value)| {
                collect(value, format!("{path}/{}", key.replace('~', "~0").replace('/', "~1")), paths)
            });
        }
        serde_json::Value::Array(list) => {
            list.iter().enumerate().for_each(|(index, value)| collect(value, format!("{path}/{index}"), paths));
        }
        _ => {}
    }
    paths.push(path);
}
