//! `agentops gateway`, called as any program would call it.

use std::ffi::OsStr;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::os::unix::ffi::OsStrExt as _;
use std::process::{Child, Stdio};

use agentops_testkit::model::{ModelServer, Options, Script, Watch};
use serde_json::{Value, json};

use crate::room::Room;

const KEY: &str = "dummy-key-for-tests";

/// One request; gives the status and the body.
fn post(base: &str, path: &str, body: &Value) -> (u16, String) {
    let (host, prefix) = base.strip_prefix("http://").unwrap().split_once('/').unwrap();
    let mut stream = TcpStream::connect(host).unwrap();
    let body = body.to_string();
    write!(
        stream,
        "POST /{prefix}{path} HTTP/1.1\r\nHost: {host}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}",
        body.len()
    )
    .unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    (head.split(' ').nth(1).unwrap().parse().unwrap(), body.to_owned())
}

/// As Ctrl-C does.
fn interrupt(running: &Child) {
    rustix::process::kill_process(rustix::process::Pid::from_child(running), rustix::process::Signal::INT).unwrap();
}

/// What a gateway with these arguments prints of Anthropic's lane.
fn anthropic_lane(room: &Room, args: &[&str]) -> String {
    let mut running = room.command(args).stdout(Stdio::piped()).spawn().unwrap();
    let mut text = BufReader::new(running.stdout.take().unwrap()).lines().map_while(Result::ok);
    let printed = text.find(|line| line.starts_with("# anthropic")).unwrap();
    interrupt(&running);
    assert!(running.wait().unwrap().success());
    printed
}

#[test]
fn it_meters_every_protocol_until_it_is_interrupted() {
    let watch = vec![Watch::new("key", KEY), Watch::new("lane", "agentops-lane-")];
    let server = ModelServer::start_with(Script::default(), Options { watch, ..Options::default() }).unwrap();
    let mut room = Room::empty();
    let folder = room.root().join("home/.config/agentops");
    std::fs::create_dir_all(&folder).unwrap();
    let base = server.base_url();
    let settings = format!(
        "[gateway.destination]\nanthropic = {{ base-url = \"{base}\" }}\nopenai = {{ base-url = \"{base}/v1\" }}\n\
         mine = {{ base-url = \"{base}\", protocol = \"google\", key-env = \"MY_KEY\" }}\n"
    );
    std::fs::write(folder.join("config.toml"), settings).unwrap();
    for name in ["ANTHROPIC_API_KEY", "OPENAI_API_KEY", "MY_KEY"] {
        room.set(name, KEY);
    }
    let mut running = room.command(&["gateway", "--json"]).stdout(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(running.stdout.take().unwrap()).lines().map(|line| line.unwrap());
    let mut next = || -> Value { serde_json::from_str(&lines.next().unwrap()).unwrap() };
    let open = next();
    let names: Vec<&str> =
        open["lanes"].as_array().unwrap().iter().map(|lane| lane["destination"].as_str().unwrap()).collect();
    assert_eq!(names, ["anthropic", "mine", "openai"], "google's own key is not set");
    let lane = |name: &str| open["lanes"].as_array().unwrap().iter().find(|lane| lane["destination"] == name).unwrap();
    let said = json!([{"role": "user", "content": "Hello."}]);
    let parts = json!([{"role": "user", "parts": [{"text": "Hello."}]}]);
    let calls = [
        ("anthropic", "/v1/messages", json!({"model": "claude-sonnet-4-5", "max_tokens": 50, "messages": said})),
        ("openai", "/v1/responses", json!({"model": "gpt-5", "input": said})),
        ("openai", "/v1/chat/completions", json!({"model": "gpt-5", "messages": said})),
        ("mine", "/v1beta/models/gemini-2.5-pro:generateContent", json!({"contents": parts})),
    ];
    for (name, path, body) in &calls {
        let (status, answer) = post(lane(name)["base"].as_str().unwrap(), path, body);
        assert_eq!(status, 200, "{answer}");
        let line = next();
        assert_eq!((&line["line"], &line["destination"]), (&json!("call"), &json!(name)), "{line}");
        assert!(line["call"]["usage"]["output"].is_u64(), "{line}");
    }
    for record in server.requests() {
        assert!(record.saw("key") && !record.saw("lane"), "{record:#?}");
    }
    // What is not known, or cannot be read, is refused and named; what is not a lane's goes nowhere.
    let base = lane("anthropic")["base"].as_str().unwrap();
    let seen = server.requests().len();
    for (path, status, body) in [("/v1/something-new", 404, json!({})), ("/v1/messages", 400, json!([]))] {
        assert_eq!(post(base, path, &body).0, status);
        let line = next();
        let why = line["why"].as_str().unwrap();
        assert!(line["line"] == "refused" && why.contains(path) && why.contains(&status.to_string()), "{line}");
    }
    let wrong = base.replace("agentops-lane-", "agentops-lone-");
    assert!(post(&wrong, "/v1/messages", &calls[0].2).0 >= 400);
    let unknown = json!({"model": "nobody-knows-it", "max_tokens": 50, "messages": said});
    assert_eq!(post(base, "/v1/messages", &unknown).0, 400);
    assert!(next()["why"].as_str().unwrap().contains("nobody-knows-it"));
    assert_eq!(server.requests().len(), seen);
    interrupt(&running);
    let ends = [next(), next(), next()].map(|line| (line["line"].clone(), line["totals"]["calls"].as_u64().unwrap()));
    assert_eq!(ends, [1, 1, 2].map(|calls| (json!("end"), calls)));
    assert!(running.wait().unwrap().success());
}

#[test]
fn calls_go_where_the_usual_programs_would_send_them_and_the_address_is_printed() {
    let watch = vec![Watch::new("key", KEY)];
    let server = ModelServer::start_with(Script::default(), Options { watch, ..Options::default() }).unwrap();
    let mut room = Room::empty();
    for (name, suffix) in [("ANTHROPIC_BASE_URL", "/"), ("OPENAI_BASE_URL", "/v1"), ("GOOGLE_GEMINI_BASE_URL", "")] {
        room.set(name, format!("{}{suffix}", server.base_url()));
    }
    for name in ["ANTHROPIC_API_KEY", "OPENAI_API_KEY", "GEMINI_API_KEY"] {
        room.set(name, KEY);
    }
    let mut running = room.command(&["gateway", "--json"]).stdout(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(running.stdout.take().unwrap()).lines();
    let open: Value = serde_json::from_str(&lines.next().unwrap().unwrap()).unwrap();
    let lanes = open["lanes"].as_array().unwrap();
    let shown: Vec<_> = lanes.iter().map(|lane| (lane["destination"].as_str().unwrap(), &lane["upstream"])).collect();
    let base = json!(server.base_url());
    let with_version = json!(format!("{}/v1", server.base_url()));
    assert_eq!(shown, [("anthropic", &base), ("google", &base), ("openai", &with_version)]);
    let said = json!([{"role": "user", "content": "Hello."}]);
    let call = json!({"model": "claude-sonnet-4-5", "max_tokens": 50, "messages": said});
    let (status, answer) = post(lanes[0]["base"].as_str().unwrap(), "/v1/messages", &call);
    assert_eq!((status, server.requests().len()), (200, 1), "{answer}");
    assert!(server.requests()[0].credential_is("key"), "the key goes where the calls go");
    interrupt(&running);
    assert!(running.wait().unwrap().success());

    // A login goes to its vendor, whatever the variable says; and an address of ours would lead back here.
    let printed = anthropic_lane(&room, &["gateway", "--login", "--destination", "anthropic"]);
    assert!(printed.contains("calls go to https://api.anthropic.com"), "{printed}");
    // A server there may need no key; that it gets none is said.
    room.set("ANTHROPIC_API_KEY", " ");
    let printed = anthropic_lane(&room, &["gateway", "--destination", "anthropic"]);
    assert!(printed.ends_with(", without a key"), "{printed}");
    room.set("ANTHROPIC_API_KEY", KEY);
    room.set("ANTHROPIC_BASE_URL", lanes[0]["base"].as_str().unwrap());
    let refused = room.run(&["gateway"]).expect(agentops::error::USAGE.into());
    assert!(refused.stderr.contains("unset ANTHROPIC_BASE_URL"), "{}", refused.stderr);
}

#[test]
fn without_a_key_it_says_what_is_missing() {
    let room = Room::empty();
    let none = room.run(&["gateway"]).expect(agentops::error::USAGE.into());
    assert!(none.stderr.contains("ANTHROPIC_API_KEY") && none.stderr.contains("--login"), "{}", none.stderr);
    let mut broken = Room::empty();
    broken.set("ANTHROPIC_API_KEY", "sk-first-half sk-second-half");
    let refused = broken.run(&["gateway"]).expect(agentops::error::USAGE.into());
    assert!(
        refused.stderr.contains("ANTHROPIC_API_KEY cannot be used") && refused.stderr.contains("blank"),
        "{}",
        refused.stderr
    );
    assert!(!refused.stderr.contains("half"), "{}", refused.stderr);
    // Nor one that is no text; without it calls would leave with no key.
    for base in ["", "http://127.0.0.1:9"] {
        let mut command = broken.command(&["gateway", "--destination", "anthropic"]);
        command.env("ANTHROPIC_API_KEY", OsStr::from_bytes(b"sk-half\xff")).env("ANTHROPIC_BASE_URL", base);
        let refused = command.output().unwrap();
        let words = String::from_utf8_lossy(&refused.stderr);
        assert_eq!(refused.status.code(), Some(agentops::error::USAGE.into()), "{words}");
        assert!(words.contains("ANTHROPIC_API_KEY cannot be used"), "{words}");
    }
    let named = room.run(&["gateway", "--destination", "nowhere"]).expect(agentops::error::USAGE.into());
    assert!(named.stderr.contains("`nowhere` is not known"), "{}", named.stderr);
}

#[test]
fn a_destination_that_is_named_twice_has_one_lane() {
    let mut room = Room::empty();
    room.set("ANTHROPIC_API_KEY", KEY);
    let arguments = ["gateway", "--json", "--destination", "anthropic", "--destination", "anthropic"];
    let mut running = room.command(&arguments).stdout(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(running.stdout.take().unwrap()).lines();
    let open: Value = serde_json::from_str(&lines.next().unwrap().unwrap()).unwrap();
    interrupt(&running);
    assert!(running.wait().unwrap().success());
    assert_eq!(open["lanes"].as_array().unwrap().len(), 1, "{open}");
}

#[test]
fn s6_a_secret_in_the_settings_is_in_no_error() {
    let shaped = "sk-ant-api03-mAdEuPmAdEuP0123456789abcdefghijklmnop_qrst-AA";
    let plain = "h8Fk29dLq0ZmXv71TzmAdEuP";
    let settings = |key_env: &str| {
        format!(
            "[gateway.destination.x]\nbase-url = \"http://127.0.0.1:9\"\nprotocol = \"anthropic\"\nkey-env = \"{key_env}\"\n"
        )
    };
    for (key_env, base, args) in [
        (shaped, "", &["gateway", "--destination", "x"][..]),
        (plain, "", &["gateway", "--destination", "x"]),
        (plain, "", &["gateway"]),
        ("X_KEY", &format!("https://proxy.example/v1?api-key={plain}"), &["gateway", "--destination", "anthropic"]),
        ("X_KEY", &format!("https://proxy.example/v1?code={plain}"), &["gateway", "--destination", "anthropic"]),
        ("X_KEY", &format!("https://proxy.example/#{plain}"), &["gateway", "--destination", "anthropic"]),
        ("X_KEY", "", &["gateway", "--destination", plain, "--unknown", shaped]),
    ] {
        let mut room = Room::empty();
        let folder = room.root().join("home/.config/agentops");
        std::fs::create_dir_all(&folder).unwrap();
        std::fs::write(folder.join("config.toml"), settings(key_env)).unwrap();
        if !base.is_empty() {
            room.set("ANTHROPIC_BASE_URL", base);
            room.set("ANTHROPIC_API_KEY", KEY);
        }
        for more in [&[][..], &["--json"]] {
            let ran = room.run(&[args, more].concat());
            let shown = format!("{}{}", ran.stdout, ran.stderr);
            assert_eq!(ran.code, 2, "{shown}");
            assert!(!shown.contains(shaped) && (!shown.contains(plain) || args.contains(&plain)), "{shown}");
        }
    }
}

/// What the refusal says works as it is written there.
#[test]
fn a_model_that_the_table_does_not_know_is_called_once_its_window_is_set() {
    let server = ModelServer::start(Script::default()).unwrap();
    let mut room = Room::empty();
    room.set("OPENAI_API_KEY", KEY);
    let folder = room.root().join("home/.config/agentops");
    std::fs::create_dir_all(&folder).unwrap();
    let settings = format!("[gateway.destination.openai]\nbase-url = \"{}/v1\"\n", server.base_url());
    std::fs::write(folder.join("config.toml"), &settings).unwrap();
    let call = json!({"model": "vendor/gpt-4.0", "messages": [{"role": "user", "content": "Hello."}]});
    // Status, and the line that the gateway prints.
    let answered = |arguments: &[&str]| {
        let mut running = room.command(arguments).stdout(Stdio::piped()).spawn().unwrap();
        let mut lines = BufReader::new(running.stdout.take().unwrap()).lines();
        let mut next = || -> Value { serde_json::from_str(&lines.next().unwrap().unwrap()).unwrap() };
        let open = next();
        let (status, body) = post(open["lanes"][0]["base"].as_str().unwrap(), "/v1/chat/completions", &call);
        let line = next();
        interrupt(&running);
        assert!(running.wait().unwrap().success());
        (status, body, line)
    };
    let (status, body, line) = answered(&["gateway", "--json"]);
    let why = line["why"].as_str().unwrap();
    assert_eq!(status, 400);
    assert!(body.contains("--window TOKENS") && why.contains("--window TOKENS"), "{body} {why}");
    let (status, _, line) = answered(&["gateway", "--json", "--window", "100000"]);
    assert_eq!((status, &line["call"]["window"]), (200, &json!(100_000)));
    let quoted: Vec<&str> = why.split('`').collect();
    let [setting, table] = [5, 7].map(|at| quoted[at]);
    let typed = format!("{settings}{table}\n{}\n", setting.replace("TOKENS", "50000"));
    std::fs::write(folder.join("config.toml"), typed).unwrap();
    let (status, _, line) = answered(&["gateway", "--json"]);
    assert_eq!((status, &line["call"]["window"]), (200, &json!(50_000)));
}
