//! The gateway beside its peers: `cargo bench -p agentops-gateway --bench peers [-- PART-OF-A-NAME]`.
//!
//! In one run, by turns: no proxy, a bare hyper pass-through (what a proxy in this language costs at least), this gateway with
//! all that it does for a call (metering, budget, redaction, and traces and metrics for a receiver), the same without traces
//! and metrics, and, where they are installed, nginx, Portkey's gateway, and another one that `AGENTOPS_BENCH_PEER` starts.
//! What is absent is said.
//!
//! Each is a process of its own, so that its CPU can be told from the others'. CPU for a request is the figure to look at: it
//! does not change much when the machine has other work. It prints and asserts nothing.
//!
//! | part | what it measures |
//! |---|---|
//! | `memory`, `calls-memory` | resident memory after one call; after 10,000, 50,000 and 100,000 calls, or as many as a minute allows |
//! | `small`, `big` | CPU of small calls and of conversations that grow to 459 KB; throughput |
//! | `first-byte`, `flood` | streams |
//! | `conversations` | CPU of 1,000 conversations in turn through one lane, far more than it remembers; beside one conversation |
//! | `hostile` | CPU of texts of 256 KB that are made to cost much, beside ordinary text and the bare proxy; both with the gateway's estimate alone and counted by the tokenizer |
//! | `start` | time from start to first answer |
//!
//! | variable | |
//! |---|---|
//! | `AGENTOPS_BENCH_SECONDS` | length of one window, 1 by default |
//! | `AGENTOPS_BENCH_ROUNDS` | windows for each figure, 5 by default |
//! | `AGENTOPS_BENCH_PORTKEY` | folder into which `npm install @portkey-ai/gateway` put Portkey's gateway |
//! | `AGENTOPS_BENCH_PEER` | command that starts a peer; `{port}` and `{upstream}` are filled in |
//! | `AGENTOPS_BENCH_PEER_HEADERS` | what its requests carry: `name: value; name: value`, filled in too |
#![expect(clippy::print_stdout, reason = "what it is for")]

#[path = "peers/bodies.rs"]
mod bodies;
#[path = "peers/conversations.rs"]
mod conversations;
#[path = "peers/figures.rs"]
mod figures;
#[path = "../tests/http/host.rs"]
#[expect(dead_code, reason = "shared with the tests")]
mod host;
#[path = "peers/hostile.rs"]
mod hostile;
#[path = "peers/load.rs"]
mod load;
#[path = "peers/memory.rs"]
mod memory;
#[path = "peers/process.rs"]
mod process;
#[path = "../../agentops-telemetry/tests/common/recorded.rs"]
#[expect(dead_code, reason = "shared with the tests")]
mod recorded;
#[path = "peers/roles.rs"]
mod roles;
#[path = "peers/tracing.rs"]
mod tracing;

fn main() {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    match args.as_slice() {
        ["role", role, rest @ ..] => roles::play(role, rest),
        // `cargo test --all-targets` starts benchmarks too, without this word; it wants to know that they build.
        _ if !args.contains(&"--bench") => {}
        _ => figures::all(args.iter().find(|arg| !arg.starts_with('-')).copied().unwrap_or_default()),
    }
}
