//! The real agent programs behind `agentops with`, with providers that fail for a while.

use std::path::Path;

use agentops_testkit::model::{HttpError, ModelServer, Script, Turn};
use serde_json::Value;

use crate::real::{Program, programs, room, shell, with_each_program};
use crate::room::{Ran, Room, bytes_of};
use crate::with_real::{server, server_with, with, without, words};

/// Seconds after which the provider takes calls again.
const REFUSES_S: u64 = 3;

/// A provider whose first call meets a fault. The next does the work.
fn fails_first(fault: Turn) -> ModelServer {
    server(once(fault))
}

fn once(fault: Turn) -> Vec<Turn> {
    let work = shell("echo went on > after.txt");
    vec![Turn { tools: work.tools, faults_max: Some(1), ..fault }, Turn::text("All is done.")]
}

/// What the program did, and its calls.
fn ran(room: &Room, program: Program, server: &ModelServer) -> (Ran, Vec<Value>) {
    let (ran, report) = with(room, program, &[], &words(program, server, room));
    let calls = report["calls"].as_array().unwrap().clone();
    (ran, calls)
}

/// The program reads the provider's time and tries again by itself.
fn waits_for_its_provider_and_goes_on(program: Program) {
    let Some(bin) = programs() else { return };
    let error = HttpError { status: 429, retry_after_s: Some(REFUSES_S), ..HttpError::default() };
    let server = fails_first(Turn::fail(error));
    let room = room(program, &bin, &server);
    let (ran, calls) = ran(&room, program, &server);
    let ran = ran.expect(0);
    assert!(room.repo().join("after.txt").exists(), "{ran:#?}");
    let refused = calls.iter().position(|call| call["status"] == 429).unwrap();
    let started_ms = |call: &Value| call["started_ms"].as_u64().unwrap();
    let conversation = &calls[refused]["conversation"];
    let next = calls[refused + 1..].iter().find(|call| call["conversation"] == *conversation).unwrap();
    let waited_ms = started_ms(next) - started_ms(&calls[refused]);
    assert!(waited_ms >= REFUSES_S * 1000, "{waited_ms}");
    assert_eq!(calls[refused]["charged"]["tokens"], 0, "{calls:#?}");
}

/// An answer that breaks off after so many chunks.
fn breaks_off(cut_after_chunks: usize) -> Turn {
    // As providers keep it: where a server says that it closes the connection, Node takes its end for the end of the answer,
    // even in the middle.
    let headers = std::collections::BTreeMap::from([("connection".to_owned(), "keep-alive".to_owned())]);
    let text = Some("one two three four five six".to_owned());
    Turn { text, headers, cut_after_chunks: Some(cut_after_chunks), ..Turn::default() }
}

/// The program ends, has done as much of the work and has asked as often as it does without the gateway. Gives how often.
#[track_caller]
fn ends_as_without_it(program: Program, bin: &Path, turns: &[Turn], resets: bool) -> usize {
    let seen = [false, true].map(|is_behind| {
        let server = server_with(turns.to_vec(), Script { resets, ..Script::default() });
        let room = room(program, bin, &server);
        let words = words(program, &server, &room);
        let code =
            if is_behind { with(&room, program, &[], &words).0.code } else { without(&room, program, bin, &words).code };
        (code, room.repo().join("after.txt").exists(), server.main_count())
    });
    assert_eq!(seen[0], seen[1]);
    seen[0].2
}

fn goes_on_as_without_it_when_an_answer_breaks_off(program: Program) {
    let Some(bin) = programs() else { return };
    ends_as_without_it(program, &bin, &once(breaks_off(4)), false);
}

fn goes_on_as_without_it_when_its_connection_is_reset(program: Program) {
    let Some(bin) = programs() else { return };
    for cut_after_chunks in [0, 4] {
        ends_as_without_it(program, &bin, &once(breaks_off(cut_after_chunks)), true);
    }
}

/// S6: the provider's error repeats the key, a few bytes at a time. Neither what the program prints nor what it keeps has it.
fn hears_no_key_that_its_provider_repeats(program: Program) {
    let Some(bin) = programs() else { return };
    let error = HttpError { status: 400, message: "The key dummy-key-for-tests is blocked.".into(), ..HttpError::default() };
    let server = server(vec![Turn { chunk_bytes: std::num::NonZeroUsize::new(3), ..Turn::fail(error) }]);
    let mut room = room(program, &bin, &server);
    room.own_temporary();
    let (ran, calls) = ran(&room, program, &server);
    assert!(calls.iter().any(|call| call["status"] == 400), "{calls:#?}");
    let printed = format!("{}{}", ran.stdout, ran.stderr);
    assert!(printed.contains("is blocked") && !printed.contains("dummy-key-for-tests"), "{printed}");
    for folder in [room.root().join("home"), room.temporary(), room.repo()] {
        // Codex keeps the environment of its shell there for as long as it runs, the person's own variables among it.
        let of_the_echo = |path: &Path| !path.components().any(|part| part.as_os_str() == "shell_snapshots");
        for (path, bytes) in bytes_of(&folder).into_iter().filter(|(path, _)| of_the_echo(path)) {
            assert!(!String::from_utf8_lossy(&bytes).contains("dummy-key-for-tests"), "{}", path.display());
        }
    }
}

with_each_program! {
    claude_code_waits_for_its_provider_and_goes_on: waits_for_its_provider_and_goes_on(Claude);
    codex_waits_for_its_provider_and_goes_on: waits_for_its_provider_and_goes_on(Codex);
    opencode_waits_for_its_provider_and_goes_on: waits_for_its_provider_and_goes_on(OpenCode);
    claude_code_goes_on_as_without_it_when_an_answer_breaks_off: goes_on_as_without_it_when_an_answer_breaks_off(Claude);
    codex_goes_on_as_without_it_when_an_answer_breaks_off: goes_on_as_without_it_when_an_answer_breaks_off(Codex);
    opencode_goes_on_as_without_it_when_an_answer_breaks_off: goes_on_as_without_it_when_an_answer_breaks_off(OpenCode);
    gemini_goes_on_as_without_it_when_an_answer_breaks_off: goes_on_as_without_it_when_an_answer_breaks_off(Gemini);
    claude_code_goes_on_as_without_it_when_its_connection_is_reset:
        goes_on_as_without_it_when_its_connection_is_reset(Claude);
    codex_goes_on_as_without_it_when_its_connection_is_reset: goes_on_as_without_it_when_its_connection_is_reset(Codex);
    opencode_goes_on_as_without_it_when_its_connection_is_reset:
        goes_on_as_without_it_when_its_connection_is_reset(OpenCode);
    gemini_goes_on_as_without_it_when_its_connection_is_reset: goes_on_as_without_it_when_its_connection_is_reset(Gemini);
    gemini_waits_for_its_provider_and_goes_on: waits_for_its_provider_and_goes_on(Gemini);
}

/// Its configuration says that it asks once more.
#[test]
fn codex_asks_as_often_as_its_user_says_when_every_answer_breaks_off() {
    let Some(bin) = programs() else { return };
    assert_eq!(ends_as_without_it(Program::Codex, &bin, &[breaks_off(4)], false), 2);
}

#[test]
fn s6_claude_code_hears_no_key_that_its_provider_repeats() {
    hears_no_key_that_its_provider_repeats(Program::Claude);
}

#[test]
fn s6_codex_hears_no_key_that_its_provider_repeats() {
    hears_no_key_that_its_provider_repeats(Program::Codex);
}

#[test]
fn s6_opencode_hears_no_key_that_its_provider_repeats() {
    hears_no_key_that_its_provider_repeats(Program::OpenCode);
}

#[test]
fn s6_gemini_hears_no_key_that_its_provider_repeats() {
    hears_no_key_that_its_provider_repeats(Program::Gemini);
}
