//! B1 and B3 for what a request says of its answers: how many there are, and how long each may be. The forwarded body is read by
//! a reader of this test's own.

use std::sync::{Arc, LazyLock};
use std::time::Duration;

use agentops_core::budget::Scope;
use agentops_core::ceiling::Window;
use agentops_core::models::UserWindows;
use agentops_gateway::host::Host;
use agentops_gateway::lane::{Admitted, Incoming, Lane, Rules};
use agentops_gateway::protocol::Protocol;
use agentops_testkit::judge;
use proptest::prelude::*;
use serde_json::Value;
use tokio::runtime::Runtime;

use crate::ceiling::{kit, model, runtime};
use crate::host::{Told, rules};

const WINDOW: u64 = 100_000;
/// What a call of work may take of that window: the ceiling without the reserve for the hand-over.
const ALLOWED: u64 = WINDOW * 36 / 100;

/// The input of these requests is estimated at less, in tokens.
const SLACK: u64 = 2_000;

/// A number as a client may write it.
#[derive(Debug, Clone)]
enum Written {
    Missing,
    Null,
    Whole(u64),
    /// As clients write it whose numbers are floats.
    Float(u64),
    /// What no provider takes, or what two servers could read differently.
    Wrong(&'static str),
}

impl Written {
    fn text(&self) -> Option<String> {
        match self {
            Self::Missing => None,
            Self::Null => Some("null".into()),
            Self::Whole(number) => Some(number.to_string()),
            Self::Float(number) => Some(format!("{number}.0")),
            Self::Wrong(text) => Some((*text).into()),
        }
    }

    fn number(&self) -> Option<u64> {
        match self {
            Self::Whole(number) | Self::Float(number) => Some(*number),
            _ => None,
        }
    }
}

fn written(numbers: impl Strategy<Value = u64> + Clone + 'static) -> impl Strategy<Value = Written> {
    const WRONG: &[&str] = &["-2", "-2.0", "\"5\"", "2.5", "1e3", "NaN", "true", "[9]", "18446744073709551616", "-9e99"];
    prop_oneof![
        4 => Just(Written::Missing),
        1 => Just(Written::Null),
        7 => numbers.clone().prop_map(Written::Whole),
        1 => numbers.prop_map(Written::Float),
        1 => prop::sample::select(WRONG).prop_map(Written::Wrong),
    ]
}

/// What a request says of its answers, under which of the names that there are for it.
#[derive(Debug, Clone)]
struct Says {
    limit: Written,
    answers: Written,
    thinking: Written,
    older_names: bool,
}

fn says() -> impl Strategy<Value = Says> {
    let limits = prop_oneof![1_u64..3_000, 1_u64..200_000];
    (written(limits), written(1_u64..=128), written(1_u64..20_000), any::<bool>())
        .prop_map(|(limit, answers, thinking, older_names)| Says { limit, answers, thinking, older_names })
}

impl Says {
    /// The request's body, its members in the order that a client may choose.
    fn body(&self, protocol: Protocol) -> String {
        let limit_key = match (protocol, self.older_names) {
            (Protocol::Messages, _) | (Protocol::Chat, true) => "max_tokens",
            (Protocol::Responses, _) | (Protocol::Gemini, true) => "max_output_tokens",
            (Protocol::Chat, false) => "max_completion_tokens",
            (Protocol::Gemini, false) => "maxOutputTokens",
        };
        let answers_key = match (protocol, self.older_names) {
            (Protocol::Gemini, false) => "candidateCount",
            (Protocol::Gemini, true) => "candidate_count",
            _ => "n",
        };
        let member = |key: &str, written: &Written| written.text().map(|text| format!("\"{key}\":{text}"));
        let thinking = self.thinking.text().map(|text| match (protocol, self.older_names) {
            (Protocol::Messages, _) => format!("\"thinking\":{{\"type\":\"enabled\",\"budget_tokens\":{text}}}"),
            (Protocol::Responses | Protocol::Chat, _) => format!("\"reasoning\":{{\"max_tokens\":{text}}}"),
            (Protocol::Gemini, false) => format!("\"thinkingConfig\":{{\"thinkingBudget\":{text}}}"),
            (Protocol::Gemini, true) => format!("\"thinking_config\":{{\"thinking_budget\":{text}}}"),
        });
        let said = [member(limit_key, &self.limit), thinking, member(answers_key, &self.answers)];
        let said: Vec<String> = said.into_iter().flatten().collect();
        let model = model(protocol);
        match protocol {
            Protocol::Gemini => {
                let key = if self.older_names { "generation_config" } else { "generationConfig" };
                format!("{{\"contents\":[{{\"parts\":[{{\"text\":\"Say it.\"}}]}}], \"{key}\": {{{}}}}}", said.join(", "))
            }
            _ => {
                let items = protocol.items_key();
                let said: String = said.iter().map(|member| format!(",{member}")).collect();
                format!("{{\"model\":\"{model}\",\"{items}\":[{{\"role\":\"user\",\"content\":\"Say it.\"}}]{said}}}")
            }
        }
    }

    /// Whether the provider takes all of it.
    fn is_valid(&self, protocol: Protocol) -> bool {
        let wrong = [&self.limit, &self.answers, &self.thinking].into_iter().any(|said| matches!(said, Written::Wrong(_)));
        let needs_limit = protocol == Protocol::Messages && matches!(self.limit, Written::Missing | Written::Null);
        !wrong && !needs_limit
    }
}

/// As the provider reads a body: the limit of each answer and the number of answers. Both are taken out of it.
fn take_limits(protocol: Protocol, body: &mut Value) -> (Option<u64>, u64) {
    let holder = match protocol {
        Protocol::Gemini if body.get("generation_config").is_some() => &mut body["generation_config"],
        Protocol::Gemini => &mut body["generationConfig"],
        _ => body,
    };
    let Some(members) = holder.as_object_mut() else { return (None, 1) };
    let limits = ["max_tokens", "max_completion_tokens", "max_output_tokens", "maxOutputTokens"];
    let number = |value: &Value| value.as_f64().map(|number| number as u64);
    let limits: Vec<u64> = limits.iter().filter_map(|key| number(&members.remove(*key)?)).collect();
    assert!(limits.len() <= 1, "two limits: {limits:?}");
    let answers = ["n", "candidateCount", "candidate_count"].iter().filter_map(|key| number(members.get(*key)?));
    (limits.first().copied(), answers.max().unwrap_or(1))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(if std::env::var_os("AGENTOPS_SLOW").is_some() { 20_000 } else { 1_000 }))]

    /// Whatever a request says of its answers, all of them together fit; a limit is only ever lowered; and what a provider
    /// refuses is not made valid.
    #[test]
    fn b1_all_answers_together_fit_and_no_limit_is_raised(which in 0_usize..4, says in says()) {
        let protocol = Protocol::ALL[which];
        let told = Arc::<Told>::default();
        let lane = Lane::new(Rules { takes_limit: true, ..rules(WINDOW, told as Arc<dyn Host>) });
        let text = says.body(protocol);
        let model = (protocol == Protocol::Gemini).then(|| model(protocol).to_owned());
        let call = Incoming { protocol, model, streamed: None, body: text.clone().into() };
        static RUNTIME: LazyLock<Runtime> = LazyLock::new(runtime);
        let sent = match RUNTIME.block_on(lane.admit(call)) {
            Admitted::Forward { body, .. } => body,
            other => {
                let least = says.limit.number().unwrap_or(WINDOW * 8 / 100).min(says.thinking.number().unwrap_or(0) + 4_000);
                let fits = says.is_valid(protocol) && says.answers.number().unwrap_or(1) * least + SLACK <= ALLOWED;
                prop_assert!(!fits, "{text}: {other:?}");
                return Ok(());
            }
        };
        prop_assert!(says.is_valid(protocol), "{}", text);
        let (mut before, mut after): (Value, Value) = (serde_json::from_str(&text).unwrap(), serde_json::from_slice(&sent).unwrap());
        let (limit, answers) = take_limits(protocol, &mut after);
        let limit = limit.expect("what leaves is limited");
        prop_assert!(limit > 0 && judge::tokens(kit(protocol), &sent) + limit * answers <= ALLOWED, "{}", String::from_utf8_lossy(&sent));
        prop_assert!(says.limit.number().is_none_or(|own| limit <= own), "{text} left with {limit} for each");
        if says.limit.number() == Some(limit) {
            prop_assert_eq!(&sent[..], text.as_bytes());
        }
        prop_assert_eq!(take_limits(protocol, &mut before).1, answers);
        prop_assert_eq!(before, after, "nothing but the limit is changed");
    }
}

/// Clients that write all their members write `null` for those that they do not set.
#[test]
fn b1_null_is_no_limit() {
    let sent = |protocol, model: &str, body: &str| {
        let told = Arc::<Told>::default();
        let lane = Lane::new(Rules { takes_limit: true, ..rules(WINDOW, told as Arc<dyn Host>) });
        let call = Incoming { protocol, model: Some(model.into()), streamed: None, body: body.to_owned().into() };
        match runtime().block_on(lane.admit(call)) {
            Admitted::Forward { body, .. } => serde_json::from_slice::<Value>(&body).unwrap(),
            refused => panic!("{body}: {refused:?}"),
        }
    };
    let cap = WINDOW * 8 / 100;
    for (model, limits, older, newer) in [
        ("gpt-5", r#""max_tokens":null"#, None, Some(cap)),
        ("gpt-5", r#""max_completion_tokens":null"#, None, Some(cap)),
        ("gpt-5", r#""max_completion_tokens":null,"max_tokens":null"#, None, Some(cap)),
        ("gpt-5", r#""max_tokens":null,"max_completion_tokens":500"#, None, Some(500)),
        ("gpt-5", r#""max_completion_tokens":500,"max_tokens":null"#, None, Some(500)),
        ("claude-x", r#""max_completion_tokens":null,"max_tokens":null"#, Some(cap), None),
        ("claude-x", r#""max_completion_tokens":null"#, Some(cap), None),
    ] {
        let body = sent(Protocol::Chat, model, &format!(r#"{{"model":"{model}","messages":[],{limits}}}"#));
        let [got_older, got_newer] = ["max_tokens", "max_completion_tokens"].map(|key| body[key].as_u64());
        assert_eq!((got_older, got_newer), (older, newer), "{model} {limits}");
    }
    // Nor is it a second number of answers.
    sent(Protocol::Chat, "gpt-5", r#"{"model":"gpt-5","messages":[],"n":1,"best_of":null}"#);
    for configs in [
        r#""generationConfig":null,"generation_config":{"max_output_tokens":500}"#,
        r#""generation_config":{"max_output_tokens":500},"generationConfig":null"#,
    ] {
        let body = sent(Protocol::Gemini, "gemini-2.5-pro", &format!(r#"{{"contents":[],{configs}}}"#));
        assert_eq!(body["generation_config"]["max_output_tokens"], 500, "{configs}");
    }
}

/// B3: the budget is reserved for all answers.
#[test]
fn b3_every_answer_is_reserved_for() {
    for (protocol, body) in [
        (Protocol::Chat, r#"{"model":"m","messages":[],"max_tokens":2000,"n":5}"#),
        (Protocol::Gemini, r#"{"contents":[],"generationConfig":{"maxOutputTokens":2000,"candidateCount":5}}"#),
    ] {
        let told = Arc::<Told>::default();
        let rules = rules(WINDOW, told as Arc<dyn Host>);
        let (book, scope) = (Arc::clone(&rules.book), Scope::Day("1970-01-01".into()));
        let lane = Lane::new(Rules { takes_limit: true, ..rules });
        let call = Incoming { protocol, model: Some("m".into()), streamed: None, body: body.into() };
        let admitted = runtime().block_on(lane.admit(call));
        assert!(matches!(admitted, Admitted::Forward { .. }), "{admitted:?}");
        let reserved = book.lock().unwrap().account(&scope).unwrap().reserved().tokens;
        assert!((10_000..10_000 + SLACK).contains(&reserved), "{reserved}");
    }
}

/// By its bytes this text has four times as many tokens as by count, and would leave no room for the answer that is asked for.
#[test]
fn a_limit_for_which_there_is_room_stays_as_it_is() {
    const LIMIT: u64 = 20_000;
    let text = "The gate holds before the call. ".repeat(1_000);
    assert!(ALLOWED < LIMIT + text.len() as u64);
    for answers in [1, 2] {
        let told = Arc::<Told>::default();
        let lane = Lane::new(rules(WINDOW, told as Arc<dyn Host>));
        let each = LIMIT / answers;
        let said = format!(r#""max_tokens":{each},"n":{answers},"messages":[{{"role":"user","content":"{text}"}}]"#);
        let sent = format!(r#"{{"model":"gpt-4.1",{said}}}"#);
        let call = Incoming { protocol: Protocol::Chat, model: None, streamed: None, body: sent.clone().into() };
        match runtime().block_on(lane.admit(call)) {
            Admitted::Forward { body, .. } => assert!(body == sent, "{:?}", &body[..60]),
            refused => panic!("{refused:?}"),
        }
    }
}

/// B1: where another model may answer in the place of the one that is asked for, the smallest window counts.
#[test]
fn b1_a_call_fits_every_model_that_may_answer_it() {
    let text = "word ".repeat(60_000);
    let said = format!(r#""max_tokens":50,"messages":[{{"role":"user","content":"{text}"}}]"#);
    let is_forwarded = |protocol, others: &str| {
        let told = Arc::<Told>::default();
        let lane = Lane::new(Rules { window: None, ..rules(WINDOW, told as Arc<dyn Host>) });
        let body = format!(r#"{{"model":"gpt-4.1",{said}{others}}}"#);
        let call = Incoming { protocol, model: None, streamed: None, body: body.into() };
        matches!(runtime().block_on(lane.admit(call)), Admitted::Forward { .. })
    };
    for (others, forwarded) in [
        ("", true),
        (r#","models":["gpt-4.1"],"fallbacks":[{"model":"gpt-4.1"}]"#, true),
        (r#","models":["gpt-4.1","openai/gpt-4o"]"#, false),
        (r#","models":["nobody-knows-it"]"#, false),
        (r#","models":[5]"#, false),
    ] {
        assert_eq!(is_forwarded(Protocol::Chat, others), forwarded, "{others}");
    }
    assert!(is_forwarded(Protocol::Messages, r#","fallbacks":"default""#));
    assert!(!is_forwarded(Protocol::Messages, r#","fallbacks":[{"model":"gpt-4o"}]"#));
}

/// B1: a window that the user sets holds for a model that the table does not know. It raises none, nor does the lane's own where
/// another model may answer.
#[test]
fn b1_a_window_of_the_user_raises_none_that_the_table_knows() {
    let windows = [("gpt-4", 8_192), ("gpt-4o", 500_000), ("gpt-4.1", 64_000)];
    let windows: UserWindows =
        windows.iter().map(|(name, tokens)| ((*name).into(), Window::new(*tokens).unwrap())).collect();
    let window_of = |lane_window: Option<u64>, models: &str| {
        let told = Arc::<Told>::default();
        let user_windows = windows.clone();
        let rules = rules(WINDOW, Arc::clone(&told) as Arc<dyn Host>);
        let lane = Lane::new(Rules { window: lane_window.and_then(Window::new), user_windows, ..rules });
        let body = format!(r#"{{{models},"max_tokens":5,"messages":[{{"role":"user","content":"Hello"}}]}}"#);
        let call = Incoming { protocol: Protocol::Chat, model: None, streamed: None, body: body.into() };
        match runtime().block_on(lane.admit(call)) {
            Admitted::Forward { mut ticket, .. } => {
                ticket.sent();
                ticket.answered(200, false);
                drop(ticket);
                Ok(told.wait(Duration::ZERO, |said| said.rows.last().map(|row| row.window)).expect("a row"))
            }
            _ => Err(told.wait(Duration::ZERO, |said| said.refusals.last().map(ToString::to_string)).expect("a refusal")),
        }
    };
    for (lane, models, window) in [
        (None, r#""model":"gpt-4""#, 8_192),
        (None, r#""model":"gpt-4o""#, 128_000),
        (None, r#""model":"gpt-4.1""#, 64_000),
        (None, r#""model":"gpt-4o","models":["gpt-4"]"#, 8_192),
        (Some(1_000_000), r#""model":"gpt-4o""#, 128_000),
        (Some(1_000_000), r#""model":"gpt-4o","models":["nobody-knows-it"]"#, 128_000),
        (Some(50_000), r#""model":"nobody-knows-it""#, 50_000),
    ] {
        assert_eq!(window_of(lane, models), Ok(window), "{lane:?} {models}");
    }
    let why = window_of(None, r#""model":"gpt-4o","models":["meta/llama-\"3\""]"#).unwrap_err();
    let says = "model `meta/llama-\"3\"` is not known; start with `--window TOKENS`, or write `window = TOKENS` below \
                `[models.\"meta/llama-\\\"3\\\"\"]` in your config.toml";
    assert!(why.contains(says), "the model that is not known is named: {why}");
}
