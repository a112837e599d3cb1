//! Each run is worked on in the environment of the shell that started or resumed it, and in no other.

use std::io::{BufRead, Read, Write};
use std::net::TcpStream;
use std::path::Path;

use agentops_testkit::model::{HttpError, ModelServer, Options, Script, Turn, Watch};
use serde_json::{Value, json};

use crate::room::{Room, bytes_of, close_out, quick_script, refs, scripted};

const FIRST_KEY: &str = "first-key-for-tests-4711";
const SECOND_KEY: &str = "second-key-for-tests-0815";

/// Not a test of anything: with the argument `acp-program` this test program is an agent program that speaks ACP. It makes one
/// model call with the address and the key that its environment names, and does its phase's work.
#[test]
fn acts_as_an_agent() {
    if !std::env::args().any(|arg| arg == "acp-program") {
        return;
    }
    // The test harness may have begun a line.
    println!();
    for line in std::io::stdin().lock().lines() {
        let message: Value = serde_json::from_str(&line.unwrap()).unwrap();
        let answer = match message["method"].as_str() {
            Some("initialize") => {
                json!({ "result": { "protocolVersion": 1, "agentInfo": { "name": "t", "version": "1" } } })
            }
            Some("session/new") => json!({ "result": { "sessionId": "s", "configOptions": [
                { "id": "model", "currentValue": "small", "options": [{ "value": MODEL }] }
            ] } }),
            Some("session/prompt") => {
                let prompt = message["params"]["prompt"][0]["text"].as_str().unwrap();
                match call_model(prompt) {
                    401 => json!({ "error": { "code": -32000, "message": "Authentication required" } }),
                    200 => {
                        work(prompt);
                        json!({ "result": { "stopReason": "end_turn" } })
                    }
                    status => json!({ "error": { "code": -32603, "message": format!("status {status}") } }),
                }
            }
            Some(_) => json!({ "result": {} }),
            None => continue,
        };
        if !message["id"].is_null() {
            let mut answer = answer;
            answer["jsonrpc"] = "2.0".into();
            answer["id"] = message["id"].clone();
            println!("{answer}");
        }
    }
}

const MODEL: &str = "claude-sonnet-4-5";

fn call_model(prompt: &str) -> u16 {
    let (base, key) = (std::env::var("X_BASE_URL").unwrap(), std::env::var("X_KEY").unwrap());
    let (host, prefix) = base.strip_prefix("http://").unwrap().split_once('/').unwrap();
    let tools = json!([{ "name": "Write", "description": "Writes a file.", "input_schema": { "type": "object" } }]);
    let messages = json!([{ "role": "user", "content": prompt }]);
    let body = json!({ "model": MODEL, "max_tokens": 50, "messages": messages, "tools": tools }).to_string();
    let mut stream = TcpStream::connect(host).unwrap();
    write!(
        stream,
        "POST /{prefix}/v1/messages HTTP/1.1\r\nHost: {host}\r\nx-api-key: {key}\r\nContent-Length: {}\r\n\
         Connection: close\r\n\r\n{body}",
        body.len()
    )
    .unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer.split(' ').nth(1).unwrap().parse().unwrap()
}

fn work(prompt: &str) {
    // A run that is to last until its test says so has a pipe to wait at.
    if let Ok(pipe) = std::env::var("HOLD_AT") {
        std::fs::read(pipe).unwrap();
    }
    if prompt.contains("close-out.json") {
        std::fs::create_dir_all(".agentops-out").unwrap();
        std::fs::write(".agentops-out/close-out.json", close_out("done.txt")).unwrap();
    } else {
        std::fs::write("done.txt", "done\n").unwrap();
    }
}

/// The arguments of a run with that program.
pub fn acp(room: &Room) -> Vec<String> {
    let program = std::env::current_exe().unwrap();
    let args = json!(["environment::acts_as_an_agent", "--exact", "--nocapture", "acp-program"]);
    let mut all: Vec<String> =
        ["run", "write done.txt", "--workflow=quick", "--driver=acp", "--approve=all", "--json"].map(str::to_owned).into();
    all.push(format!("--model={MODEL}"));
    for setting in [
        format!("program={}", program.display()),
        format!("args={args}"),
        "destination=anthropic".to_owned(),
        "base_url_env=X_BASE_URL".to_owned(),
        "key_env=X_KEY".to_owned(),
    ] {
        all.push(format!("--set={setting}"));
    }
    let dry = room.run(&[&refs(&all)[..], &["--dry-run"]].concat()).expect(0).json();
    all.push(format!("--trust={}", dry["subject"]["hash"].as_str().unwrap()));
    all
}

pub fn server(script: Script) -> ModelServer {
    let watch = vec![Watch::new("first", FIRST_KEY), Watch::new("second", SECOND_KEY)];
    ModelServer::start_with(script, Options { watch, ..Options::default() }).unwrap()
}

pub fn enter(room: &mut Room, server: &ModelServer, key: &str) {
    room.set("X_BASE_URL", server.base_url());
    room.set("X_KEY", key);
}

#[test]
fn each_run_calls_its_own_address_with_its_own_key() {
    let (first, second) = (server(Script::default()), server(Script::default()));
    let mut room = Room::new();
    let pipe = room.pipe("hold");
    enter(&mut room, &first, FIRST_KEY);
    room.set("HOLD_AT", pipe.to_str().unwrap());
    let held = room.detach(&acp(&room));
    // Opening it waits for the session to read.
    let hold = std::fs::File::options().write(true).open(&pipe).unwrap();
    let supervisor = room.supervisor().unwrap();

    enter(&mut room, &second, SECOND_KEY);
    room.set("HOLD_AT", "/dev/null");
    let view = room.run(&refs(&acp(&room))).expect(0).json();
    assert_eq!(view["status"]["status"], "done", "{view:#}");
    assert_eq!(room.supervisor(), Some(supervisor), "one supervisor for both");
    assert_eq!((first.main_count(), second.main_count()), (1, 2));
    assert!(second.requests().iter().all(|call| call.credential_is("second") && !call.saw("first")));

    // The first one goes on where it began.
    room.release("hold");
    drop(hold);
    room.run(&["logs", &held, "--follow", "--json"]).expect(0);
    assert_eq!((first.main_count(), second.main_count()), (2, 2));
    assert!(first.requests().iter().all(|call| call.credential_is("first") && !call.saw("second")));
}

#[test]
fn s6_show_names_the_variables_that_differ_and_where_calls_go_and_no_value() {
    let (first, second) = (server(Script::default()), server(Script::default()));
    let mut room = Room::new();
    let pipe = room.pipe("hold");
    enter(&mut room, &first, FIRST_KEY);
    room.set("HOLD_AT", pipe.to_str().unwrap());
    room.set("SAME", "value-of-both-shells");
    let held = room.detach(&acp(&room));
    let hold = std::fs::File::options().write(true).open(&pipe).unwrap();
    let same = room.run(&["show", &held, "--json"]).expect(0).json();
    let origin = first.base_url();
    let calls_of = |agent: &str| json!({ "agent": agent, "path": "gateway", "destination": "anthropic", "origin": origin });
    let calls = json!([calls_of("close-out"), calls_of("implement")]);
    let known = |different: Value, only_in_shell: Value, calls: &Value| json!({ "state": "known", "different": different, "only_in_run": [], "only_in_shell": only_in_shell, "calls": calls });
    assert_eq!(same["environment"], known(json!([]), json!([]), &calls));

    enter(&mut room, &second, SECOND_KEY);
    room.set("ADDED", "value-of-this-shell");
    let json_view = room.run(&["show", &held, "--json"]).expect(0);
    assert_eq!(json_view.json()["environment"], known(json!(["X_BASE_URL", "X_KEY"]), json!(["ADDED"]), &calls));
    let text = room.run(&["show", &held]).expect(0);
    for line in [
        "variables with another value in the run: X_BASE_URL, X_KEY\n".to_owned(),
        "variables only in this shell: ADDED\n".to_owned(),
        format!("calls of agent implement go to {origin} (anthropic)\n"),
    ] {
        assert!(text.stdout.contains(&line), "{line} is not in {}", text.stdout);
    }
    let values = [FIRST_KEY, SECOND_KEY, "value-of-both-shells", "value-of-this-shell", &second.base_url()];
    for output in [&json_view, &text] {
        let said = format!("{}{}", output.stdout, output.stderr);
        for value in values {
            assert!(!said.contains(value), "{value} is in {said}");
        }
    }

    room.release("hold");
    drop(hold);
    room.run(&["logs", &held, "--follow", "--json"]).expect(0);
    for (path, bytes) in bytes_of(&room.state()) {
        for value in values {
            let found = bytes.windows(value.len()).any(|window| window == value.as_bytes());
            assert!(!found, "{} holds {value}", path.display());
        }
    }
    let ended = room.run(&["show", &held, "--json"]).expect(0).json();
    assert_eq!(ended["environment"]["state"], "unknown", "{ended:#}");
}

#[test]
fn a_key_that_was_corrected_counts_from_resume_on() {
    let refused = HttpError { status: 401, ..HttpError::default() };
    let no = agentops_testkit::model::Conversation {
        turns: vec![Turn { http_error: Some(refused), ..Turn::default() }],
        ..Default::default()
    };
    let wrong = server(Script { default: Some(no), ..Script::default() });
    let right = server(Script::default());
    let mut room = Room::new();
    enter(&mut room, &wrong, FIRST_KEY);
    let view = room.run(&refs(&acp(&room))).expect(agentops::error::NEEDS_DECISION.into()).json();
    assert_eq!(view["status"]["decision"]["kind"], "not-logged-in", "{view:#}");
    assert!(wrong.requests().iter().all(|call| call.credential_is("first")));
    let tried = wrong.main_count();

    enter(&mut room, &right, SECOND_KEY);
    let view = room.run(&["resume", view["run"].as_str().unwrap(), "--json"]).expect(0).json();
    assert_eq!(view["status"]["status"], "done", "{view:#}");
    assert_eq!((wrong.main_count(), right.main_count()), (tried, 2));
    assert!(right.requests().iter().all(|call| call.credential_is("second") && !call.saw("first")));
}

/// `quick`, whose sessions and whose gate leave a line with what `WHO` is for them.
fn who(room: &Room, pipe: &Path) -> Vec<String> {
    let say = format!("echo \"$WHO $WHO_TOKEN\" >> {}", room.root().join("who").display());
    let mut script = quick_script();
    for conversation in script.as_array_mut().unwrap() {
        conversation["steps"].as_array_mut().unwrap().push(json!({ "do": "run", "argv": ["sh", "-c", say] }));
    }
    let hold = json!({ "do": "run", "argv": ["cat", pipe] });
    script[0]["steps"].as_array_mut().unwrap().push(hold);
    scripted(room, "quick", script)
}

#[test]
fn s6_after_a_supervisors_death_only_resume_lends_an_environment_and_none_is_ever_stored() {
    let mut room = Room::new();
    room.file("check.sh", &format!("echo \"gate $WHO\" >> {}\ntest -f done.txt\n", room.root().join("who").display()));
    room.git(&["commit", "--quiet", "-am", "check"]);
    let pipe = room.pipe("hold");
    room.set("WHO", "first");
    room.set("WHO_TOKEN", FIRST_KEY);
    let run = room.detach(&who(&room, &pipe));
    let hold = std::fs::File::options().write(true).open(&pipe).unwrap();
    room.kill_supervisor();
    drop(hold);
    room.release("hold");

    // None of these lends one, and none of them starts anything.
    room.set("WHO", "bystander");
    room.set("WHO_TOKEN", SECOND_KEY);
    let status = room.run(&["status", "--json"]).expect(0).json();
    assert_eq!(status["supervisor"], Value::Null);
    assert_eq!(status["runs"][0]["about"], format!("for `agentops resume {run}`"));
    let view = room.run(&["show", &run, "--json"]).expect(0).json();
    assert_eq!(view["status"]["waiting"]["for"], "supervisor", "{view:#}");
    assert_eq!(view["environment"]["state"], "unknown", "{view:#}");
    assert!(
        room.run(&["show", &run])
            .expect(0)
            .stdout
            .contains("the run's environment and the destination of its calls are unknown: no supervisor")
    );
    assert!(room.run(&["logs", &run, "--follow"]).expect(0).stderr.contains(&format!("agentops resume {run}")));
    // A supervisor without an environment takes the run over and does not work on it.
    room.run(&["supervise"]).expect(0);
    let view = room.run(&["show", &run, "--json"]).expect(0).json();
    assert_eq!((&view["takeovers"], &view["status"]["waiting"]["for"]), (&json!(1), &json!("supervisor")));

    room.set("WHO", "second");
    room.set("WHO_TOKEN", SECOND_KEY);
    let view = room.run(&["resume", &run, "--json"]).expect(0).json();
    assert_eq!(view["status"]["status"], "done", "{view:#}");
    let said = std::fs::read_to_string(room.root().join("who")).unwrap();
    let by = |who: &str| said.lines().filter(|line| line.contains(who)).count();
    assert_eq!((by("first"), by("bystander"), by("gate second")), (1, 0, 1), "{said}");
    assert!(by("second") >= 3, "{said}");
    for (path, bytes) in bytes_of(&room.state()) {
        for key in [FIRST_KEY, SECOND_KEY] {
            let found = bytes.windows(key.len()).any(|window| window == key.as_bytes());
            assert!(!found, "{} holds {key}", path.display());
        }
    }
}
