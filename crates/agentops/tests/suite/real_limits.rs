//! The real agent programs in runs whose provider refuses calls and says when it takes them again.

use agentops_core::call::CallRow;
use agentops_core::run::Event;
use agentops_testkit::model::{Growth, HttpError, ModelServer, Turn};
use serde_json::json;

use crate::ceiling::ends;
use crate::decisions::provider_failed;
use crate::provider_limits::timers_fired;
use crate::real::{Program, args_of, conversation, programs, room, script, with_each_program, write};
use crate::room::Room;

/// How long the provider refuses calls after each that it refuses, in seconds.
const REFUSES_S: u64 = 8;

/// A provider that refuses the first session. The second does the work.
fn refuses_first(error: HttpError) -> ModelServer {
    let usage = Growth { base: 20_000, step: 1_000, output: 200 };
    let work = vec![write("done.txt", "done\n"), Turn::text("Done.")];
    let second = conversation("Phase `implement`, lane `implement`, session 2.", work, usage);
    let conversations = vec![second, conversation("Phase `implement`", vec![Turn::fail(error)], usage)];
    ModelServer::start(script(conversations)).unwrap()
}

/// A refusal with which the program gives up before the time is over, in the provider's own words.
fn refusal(program: Program) -> HttpError {
    let error = HttpError { status: 429, message: "Rate limit reached.".into(), ..HttpError::default() };
    let with = |headers: &[(&str, String)]| {
        let headers = headers.iter().map(|(name, value)| ((*name).to_owned(), value.clone())).collect();
        HttpError { headers, ..error.clone() }
    };
    match program {
        Program::Claude => with(&[
            ("anthropic-ratelimit-unified-status", "rejected".into()),
            ("anthropic-ratelimit-unified-reset", format!("{{unix+{REFUSES_S}}}")),
        ]),
        Program::Codex | Program::OpenCode => with(&[
            // OpenCode tries again five times, as soon as it may.
            ("retry-after-ms", "1".into()),
            ("x-ratelimit-remaining-tokens", "0".into()),
            ("x-ratelimit-reset-tokens", format!("{REFUSES_S}s")),
        ]),
        Program::Gemini => {
            let violation = json!({"quotaId": "GenerateRequestsPerDayPerProjectPerModel"});
            let quota = json!({"@type": "type.googleapis.com/google.rpc.QuotaFailure", "violations": [violation]});
            HttpError { retry_after_s: Some(REFUSES_S), details: vec![quota], ..error }
        }
    }
}

/// The wait of the run's only lane, in milliseconds since its session's end.
fn waits_ms(room: &Room, run: &str) -> u64 {
    let failed = provider_failed(room, run);
    let view = room.run(&["show", run, "--json"]).expect(0).json();
    assert_eq!(view["status"]["waiting"]["for"], "provider", "{view:#}");
    view["status"]["waiting"]["until_ms"].as_u64().unwrap().saturating_sub(failed.at_ms)
}

/// The run's calls, in the order of their ends.
fn calls(room: &Room, run: &str) -> Vec<CallRow> {
    let rows = room.entries(run).into_iter().filter_map(|entry| match entry.event {
        Event::Call { row, .. } => row,
        _ => None,
    });
    rows.map(|row| *row).collect()
}

/// Another supervisor waits until the time that the provider named, and the run goes on without a try spent.
fn waits_for_its_provider_and_goes_on(program: Program) {
    let Some(bin) = programs() else { return };
    let provider = refuses_first(refusal(program));
    let room = room(program, &bin, &provider);
    let run = room.detach(&args_of(&room, program, &provider, "quick"));
    provider_failed(&room, &run);
    room.kill_supervisor();
    let view = room.run(&["resume", &run, "--json"]).expect(0).json();
    assert_eq!(view["status"]["status"], "done", "{view:#}");
    assert_eq!(ends(&view)[..2], ["provider", "completed"], "{view:#}");
    assert!(timers_fired(&room, &run).iter().all(|tries| *tries == 0), "{}", room.story());
    let calls = calls(&room, &run);
    let (refused, taken): (Vec<_>, Vec<_>) = calls.into_iter().partition(|call| call.status == Some(429));
    let (refused, taken) = (refused.last().unwrap(), taken.first().unwrap());
    let waited_ms = taken.started_ms - refused.started_ms;
    // A header names whole seconds.
    assert!(waited_ms >= (REFUSES_S - 1) * 1000, "{waited_ms}");
}

/// A program that would wait for hours itself is ended, and its lane waits without it.
fn is_ended_when_its_provider_refuses_for_hours(program: Program) {
    let Some(bin) = programs() else { return };
    let provider = refuses_first(HttpError { status: 429, retry_after_s: Some(7200), ..HttpError::default() });
    let room = room(program, &bin, &provider);
    let run = room.detach(&args_of(&room, program, &provider, "quick"));
    let waits_ms = waits_ms(&room, &run);
    assert!((6_900_000..=7_200_000).contains(&waits_ms), "{waits_ms}");
    assert_eq!(provider.main_count(), 1);
    let status = room.run(&["status", "--json"]).expect(0).json();
    assert_eq!(status["runs"][0]["status"], "waiting", "{status:#}");
    room.run(&["cancel", &run]).expect(0);
}

with_each_program! {
    claude_code_waits_for_its_provider_and_goes_on: waits_for_its_provider_and_goes_on(Claude);
    codex_waits_for_its_provider_and_goes_on: waits_for_its_provider_and_goes_on(Codex);
    opencode_waits_for_its_provider_and_goes_on: waits_for_its_provider_and_goes_on(OpenCode);
    gemini_waits_for_its_provider_and_goes_on: waits_for_its_provider_and_goes_on(Gemini);
    claude_code_is_ended_when_its_provider_refuses_for_hours: is_ended_when_its_provider_refuses_for_hours(Claude);
    codex_is_ended_when_its_provider_refuses_for_hours: is_ended_when_its_provider_refuses_for_hours(Codex);
    opencode_is_ended_when_its_provider_refuses_for_hours: is_ended_when_its_provider_refuses_for_hours(OpenCode);
    gemini_is_ended_when_its_provider_refuses_for_hours: is_ended_when_its_provider_refuses_for_hours(Gemini);
}
