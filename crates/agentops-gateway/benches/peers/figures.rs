//! What is measured, by turns, and how it is printed.

use std::fmt::Write as _;
use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use tokio::runtime::Runtime;

use crate::bodies::{Growing, small};
use crate::load::{Caller, Target, closed_loop};
use crate::process::Process;

/// Clients at once, where many are wanted.
pub const CONNECTIONS: usize = 64;
const STREAMS: usize = 8;

/// How one of those that are compared is started. The second is the address of what stands behind it.
type Start = Box<dyn Fn(&str) -> Option<(Option<Process>, Target)>>;

pub struct Peer {
    pub name: &'static str,
    pub start: Start,
}

pub struct Running {
    pub name: &'static str,
    pub process: Option<Process>,
    pub target: Arc<Target>,
}

/// A figure's values by peer and round.
pub struct Figure {
    pub title: &'static str,
    pub unit: &'static str,
    pub goal: &'static str,
    pub values: Vec<(&'static str, Vec<f64>)>,
}

pub fn all(wanted: &str) {
    let number = |name: &str, usual: u64| std::env::var(name).ok().and_then(|n| n.parse().ok()).unwrap_or(usual);
    let window = Duration::from_secs(number("AGENTOPS_BENCH_SECONDS", 1).max(1));
    let rounds = usize::try_from(number("AGENTOPS_BENCH_ROUNDS", 5).max(1)).unwrap_or(5);
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let (_provider, upstream) = Process::role(&["provider"]);
    let (_receiver, receiver) = Process::role(&["receiver"]);
    let peers = peers(&receiver);
    let mut running = Vec::new();
    for peer in &peers {
        match (peer.start)(&upstream).and_then(|(process, target)| ready(&runtime, peer.name, process, target)) {
            Some(open) => running.push(open),
            None => println!("{}: absent, it is not installed or does not answer", peer.name),
        }
    }
    let bench = Bench { runtime, window, rounds, running };
    let chosen = |name: &str| wanted.is_empty() || name.contains(wanted);
    let mut figures = Vec::new();
    if chosen("memory") {
        figures.push(bench.memory());
    }
    if chosen("small") {
        figures.extend(bench.small());
    }
    if chosen("big") {
        figures.extend(bench.big());
    }
    if chosen("first-byte") {
        figures.push(bench.first_byte());
    }
    if chosen("flood") {
        figures.push(bench.flood());
    }
    if chosen("conversations") {
        figures.extend(bench.conversations());
    }
    if chosen("start") {
        figures.push(bench.start(&peers, &upstream));
    }
    let hostile = chosen("hostile").then(|| bench.hostile(&upstream));
    let lasting = chosen("calls-memory").then(|| bench.lasting(&peers, &upstream));
    for figure in figures {
        figure.print();
    }
    if let Some(table) = hostile {
        table.print();
    }
    if let Some(lasting) = lasting {
        lasting.print();
    }
    println!("\nsent to the receiver of traces and metrics: {} bytes", received(&receiver).unwrap_or_default());
}

/// How much the receiver took.
fn received(receiver: &str) -> Option<String> {
    let mut stream = TcpStream::connect(receiver.trim_start_matches("http://")).ok()?;
    write!(stream, "GET / HTTP/1.1\r\nhost: receiver\r\nconnection: close\r\n\r\n").ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).ok()?;
    answer.split_once("\r\n\r\n").map(|(_, count)| count.to_owned())
}

/// Waits until it answers a call.
pub fn ready(runtime: &Runtime, name: &'static str, process: Option<Process>, target: Target) -> Option<Running> {
    let target = Arc::new(target);
    let end = Instant::now() + Duration::from_secs(60);
    while Instant::now() < end {
        let answered = runtime.block_on(async {
            let mut caller = Caller::connect(Arc::clone(&target)).await?;
            caller.call(small("plain")).await
        });
        if answered.is_some() {
            return Some(Running { name, process, target });
        }
        std::thread::sleep(Duration::from_micros(500));
    }
    None
}

fn peers(receiver: &str) -> Vec<Peer> {
    let role = |name: &'static str, role: &'static str, workers: &'static str, receiver: Option<&str>| {
        let receiver = receiver.map(str::to_owned);
        let start: Start = Box::new(move |upstream| {
            let arguments: Vec<&str> = [role, upstream, workers].into_iter().chain(receiver.as_deref()).collect();
            let (process, base) = Process::role(&arguments);
            Some((Some(process), Target::new(base, "")))
        });
        Peer { name, start }
    };
    let traced = Some(receiver);
    let mut peers = vec![
        Peer { name: "direct", start: Box::new(|upstream| Some((None, Target::new(upstream, "")))) },
        role("bare", "bare", "0", None),
        role("gateway", "gateway", "0", traced),
        role("gateway, untraced", "gateway", "0", None),
        role("bare, 2 threads", "bare", "2", None),
        role("gateway, 2 threads", "gateway", "2", traced),
        Peer { name: "nginx", start: Box::new(nginx) },
        Peer { name: "portkey", start: Box::new(portkey) },
    ];
    if let Ok(command) = std::env::var("AGENTOPS_BENCH_PEER") {
        let headers = std::env::var("AGENTOPS_BENCH_PEER_HEADERS").unwrap_or_default();
        let start: Start = Box::new(move |upstream| {
            let port = free_port();
            let fill = |text: &str| text.replace("{port}", &port.to_string()).replace("{upstream}", upstream);
            let words: Vec<String> = command.split_whitespace().map(fill).collect();
            let target = Target::new(format!("http://127.0.0.1:{port}"), &fill(&headers));
            Process::start(&words).ok().map(|process| (Some(process), target))
        });
        peers.push(Peer { name: "peer", start });
    }
    peers
}

fn free_port() -> u16 {
    TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap().port()
}

fn nginx(upstream: &str) -> Option<(Option<Process>, Target)> {
    let port = free_port();
    let folder = tempfile::tempdir().ok()?;
    let at = folder.path().display();
    let host = upstream.trim_start_matches("http://");
    let mut temporary = String::new();
    for kind in ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"] {
        writeln!(temporary, "{kind}_temp_path {at}/{kind};").ok()?;
    }
    let text = format!(
        "daemon off; worker_processes 1; pid {at}/pid; error_log {at}/errors;
         events {{ worker_connections 1024; }}
         http {{ access_log off; {temporary} client_max_body_size 64m; client_body_buffer_size 2m; tcp_nodelay on;
           keepalive_requests 1000000;
           upstream provider {{ server {host}; keepalive 128; keepalive_requests 1000000; }}
           server {{ listen 127.0.0.1:{port}; location / {{ proxy_pass http://provider; proxy_http_version 1.1;
             proxy_set_header Connection ''; proxy_buffering off; }} }} }}"
    );
    let file = folder.path().join("nginx.conf");
    std::fs::write(&file, text).ok()?;
    let command = ["nginx", "-e", "stderr", "-c"].map(str::to_owned).into_iter().chain([file.display().to_string()]);
    let process = Process::start(&command.collect::<Vec<_>>()).ok()?.with(folder);
    Some((Some(process), Target::new(format!("http://127.0.0.1:{port}"), "")))
}

/// Portkey's gateway, which does none of what is measured here of ours: neither budget nor redaction nor traces are on.
fn portkey(upstream: &str) -> Option<(Option<Process>, Target)> {
    let folder = std::env::var("AGENTOPS_BENCH_PORTKEY").ok()?;
    let program = format!("{folder}/node_modules/@portkey-ai/gateway/build/start-server.js");
    std::fs::exists(&program).ok()?.then_some(())?;
    let port = free_port();
    let mend = concat!(env!("CARGO_MANIFEST_DIR"), "/benches/peers/portkey.mjs");
    let command = ["node", "--import", mend, &program, &format!("--port={port}"), "--headless"].map(str::to_owned);
    let process = Process::start(&command).ok()?;
    let headers = format!("x-portkey-provider: anthropic; x-portkey-custom-host: {upstream}/v1");
    Some((Some(process), Target::new(format!("http://127.0.0.1:{port}"), &headers)))
}

pub struct Bench {
    pub runtime: Runtime,
    /// Length of one measurement.
    pub window: Duration,
    pub rounds: usize,
    pub running: Vec<Running>,
}

impl Bench {
    /// Measures each in turn, as often as there are rounds, so that what else the machine does hits all alike.
    pub fn by_turns(
        &self,
        title: &str,
        mut measure: impl FnMut(&Running) -> Vec<Option<f64>>,
    ) -> Vec<Vec<(&'static str, Vec<f64>)>> {
        let mut all: Vec<Vec<(&'static str, Vec<f64>)>> = Vec::new();
        for round in 0..self.rounds {
            println!("measuring: {title}, round {} of {}", round + 1, self.rounds);
            for (at, running) in self.running.iter().enumerate() {
                for (which, value) in measure(running).into_iter().enumerate() {
                    if all.len() <= which {
                        all.push(self.running.iter().map(|running| (running.name, Vec::new())).collect());
                    }
                    all[which][at].1.extend(value);
                }
            }
        }
        all
    }

    fn small(&self) -> Vec<Figure> {
        let mut values = self.by_turns("small calls", |running| {
            let before = running.process.as_ref().map(Process::cpu_ns);
            let began = Instant::now();
            let done = self.runtime.block_on(closed_loop(&running.target, CONNECTIONS, self.window, same("plain")));
            let seconds = began.elapsed().as_secs_f64();
            let cpu = running.process.as_ref().zip(before).map(|(process, before)| process.cpu_ns().saturating_sub(before));
            warn(running.name, done.failed);
            vec![cpu.map(|ns| per(ns, done.answered) / 1e3), Some(count(done.answered) / seconds)]
        });
        let rate = values.pop().unwrap_or_default();
        let cpu = values.pop().unwrap_or_default();
        vec![
            Figure { title: "CPU per request, 64 connections", unit: "µs", goal: "<= 1.5 x bare", values: cpu },
            Figure { title: "throughput, 64 connections", unit: "requests/s", goal: ">= 0.8 x bare", values: rate },
        ]
    }

    fn big(&self) -> Vec<Figure> {
        let mut seed: u64 = 1;
        let mut values = self.by_turns("459 KB", |running| {
            let Some(process) = &running.process else { return vec![None, None] };
            let (mut first, mut firsts, mut more, mut mores) = (0, 0, 0, 0);
            let end = Instant::now() + self.window;
            while Instant::now() < end {
                seed += 2;
                // So that the bodies are 459 KB long on average.
                let mut growing = Growing::new(459 - 4 * 12, 0x9e37_79b9_7f4a_7c15_u64.wrapping_mul(seed));
                let mut bodies = vec![growing.body()];
                for _ in 0..24 {
                    growing.extend();
                    bodies.push(growing.body());
                }
                let target = Arc::clone(&running.target);
                let Some(mut caller) = self.runtime.block_on(Caller::connect(target)) else { continue };
                let quiet = || {
                    std::thread::sleep(Duration::from_millis(3));
                    process.cpu_ns()
                };
                let mut bodies = bodies.into_iter();
                let before = quiet();
                let answered = self.runtime.block_on(caller.call(bodies.next().unwrap_or_default()));
                let between = quiet();
                warn(running.name, u64::from(answered.is_none()));
                (first, firsts) = (first + between.saturating_sub(before), firsts + 1);
                let failed = self.runtime.block_on(async {
                    let mut failed = 0;
                    for body in bodies {
                        failed += u64::from(caller.call(body).await.is_none());
                    }
                    failed
                });
                warn(running.name, failed);
                (more, mores) = (more + quiet().saturating_sub(between), mores + 24);
            }
            vec![Some(per(more, mores) / 1e3), Some(per(first, firsts) / 1e3)]
        });
        let first = values.pop().unwrap_or_default();
        let more = values.pop().unwrap_or_default();
        vec![
            Figure { title: "CPU, 459 KB that extend the last by 4 KB", unit: "µs", goal: "<= 2.2 x bare", values: more },
            Figure { title: "CPU, a first body of 411 KB", unit: "µs", goal: "(no bound)", values: first },
        ]
    }

    fn first_byte(&self) -> Figure {
        let values = self.by_turns("first byte", |running| {
            let target = Arc::clone(&running.target);
            let median = self.runtime.block_on(async {
                let mut caller = Caller::connect(target).await?;
                let mut times = Vec::new();
                for _ in 0..40 {
                    times.push(caller.call(small("stream")).await?.as_secs_f64() * 1e3);
                }
                median(&times)
            });
            vec![median]
        });
        let mut values = values.into_iter().next().unwrap_or_default();
        let direct = values.iter().find(|(name, _)| *name == "direct").map(|(_, times)| times.clone()).unwrap_or_default();
        for (_, times) in &mut values {
            *times = times.iter().zip(&direct).map(|(time, direct)| time - direct).collect();
        }
        Figure { title: "first byte of a stream, added to direct's", unit: "ms", goal: "<= 1 ms", values }
    }

    fn flood(&self) -> Figure {
        let values = self.by_turns("stream flood", |running| {
            let Some(process) = &running.process else { return vec![None] };
            let before = process.cpu_ns();
            let done = self.runtime.block_on(closed_loop(&running.target, STREAMS, self.window, same("flood")));
            warn(running.name, done.failed);
            vec![Some(per(process.cpu_ns().saturating_sub(before), done.answered) / 1e3)]
        });
        let values = values.into_iter().next().unwrap_or_default();
        Figure { title: "CPU per stream of 100 chunks, 8 streams", unit: "µs", goal: "<= 1 x bare", values }
    }

    fn start(&self, peers: &[Peer], upstream: &str) -> Figure {
        let values = self.by_turns("start", |running| {
            let peer = peers.iter().find(|peer| peer.name == running.name && running.process.is_some());
            let began = Instant::now();
            let open = peer
                .and_then(|peer| (peer.start)(upstream))
                .and_then(|(process, target)| ready(&self.runtime, running.name, process, target));
            vec![open.map(|_| began.elapsed().as_secs_f64() * 1e3)]
        });
        let values = values.into_iter().next().unwrap_or_default();
        Figure { title: "from start to first answer", unit: "ms", goal: "<= 50 ms", values }
    }
}

/// The same small body each time.
fn same(what: &str) -> impl Fn(u64) -> Bytes + Send + Sync + 'static + use<> {
    let body = small(what);
    move |_| body.clone()
}

pub fn warn(name: &str, failed: u64) {
    if failed > 0 {
        println!("  {name}: {failed} calls failed");
    }
}

#[expect(clippy::cast_precision_loss, reason = "counts far below 2^52")]
pub fn count(n: u64) -> f64 {
    n as f64
}

pub fn per(total: u64, n: u64) -> f64 {
    count(total) / count(n.max(1))
}

pub fn median(values: &[f64]) -> Option<f64> {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted.get(sorted.len() / 2).copied()
}

impl Figure {
    /// The median, from where to where it went, and the median of its ratios to `bare` of the same round and threads.
    fn print(&self) {
        println!("\n{} [{}]  goal: {}", self.title, self.unit, self.goal);
        for (name, values) in &self.values {
            let Some(middle) = median(values) else { continue };
            let (low, high) =
                values.iter().fold((f64::MAX, f64::MIN), |(low, high), value| (low.min(*value), high.max(*value)));
            let limit = if name.ends_with("threads") { "bare, 2 threads" } else { "bare" };
            let bare =
                self.values.iter().find(|(other, _)| *other == limit).map(|(_, bare)| bare.as_slice()).unwrap_or_default();
            let ratios: Vec<f64> = values.iter().zip(bare).map(|(value, bare)| value / bare).collect();
            let ratio =
                median(&ratios).filter(|_| self.unit != "ms").map_or(String::new(), |ratio| format!("{ratio:6.2} x bare"));
            println!("  {name:<20} {middle:>10.2}   ({low:.2} to {high:.2})  {ratio}");
        }
    }
}
