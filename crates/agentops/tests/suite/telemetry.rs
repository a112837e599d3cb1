//! Figures reach a receiver that the user names, and nothing else does.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpListener;
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use crate::room::{Room, quick_script, refs, scripted};

/// A receiver of OTLP over HTTP: hands out what was posted, path and body.
fn receiver() -> (String, Receiver<(String, Vec<u8>)>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    let (tell, posts) = channel();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let Ok(mut stream) = stream else { return };
            let tell = tell.clone();
            std::thread::spawn(move || {
                let mut reader = BufReader::new(stream.try_clone().unwrap());
                loop {
                    let (mut line, mut path, mut length) = (String::new(), String::new(), 0);
                    while reader.read_line(&mut line).is_ok_and(|bytes| bytes > 0) && line != "\r\n" {
                        if let Some(rest) = line.strip_prefix("POST ") {
                            path = rest.split(' ').next().unwrap().to_owned();
                        }
                        if let Some(value) = line.to_ascii_lowercase().strip_prefix("content-length:") {
                            length = value.trim().parse().unwrap();
                        }
                        line.clear();
                    }
                    let mut body = vec![0; length];
                    if path.is_empty() || reader.read_exact(&mut body).is_err() || tell.send((path, body)).is_err() {
                        return;
                    }
                    let answer = "HTTP/1.1 200 OK\r\ncontent-type: application/x-protobuf\r\ncontent-length: 0\r\n\r\n";
                    stream.write_all(answer.as_bytes()).unwrap();
                }
            });
        }
    });
    (address, posts)
}

#[test]
fn a_run_arrives_as_spans_without_its_task() {
    let (address, posts) = receiver();
    let mut room = Room::new();
    room.set("OTEL_EXPORTER_OTLP_ENDPOINT", &address);
    let args = scripted(&room, "quick", quick_script());
    let task = args[1].clone();
    room.run(&refs(&args)).expect(0);
    let wanted = ["invoke_workflow quick", "invoke_agent ", "agentops.phase", "gen_ai.usage.input_tokens"];
    let (mut traces, mut metrics, deadline) = (Vec::new(), 0, Instant::now() + Duration::from_secs(60));
    let holds = |traces: &[u8], word: &str| String::from_utf8_lossy(traces).contains(word);
    while metrics == 0 || !wanted.iter().all(|word| holds(&traces, word)) {
        let (path, body) = posts.recv_timeout(deadline.saturating_duration_since(Instant::now())).expect("spans in time");
        match path.as_str() {
            "/v1/traces" => traces.extend(body),
            "/v1/metrics" => metrics += 1,
            other => panic!("{other}"),
        }
    }
    assert!(!holds(&traces, &task), "the task stays here");
}
