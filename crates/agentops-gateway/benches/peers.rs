//! The gateway beside its peers: `cargo bench -p agentops-gateway --bench peers [-- PART-OF-A-NAME]`.
//!
//! In one run, by turns: no proxy, a bare hyper pass-through (what a proxy in this language costs at least), nginx if it is
//! installed, this gateway with all that it does for a call, and another gateway if `AGENTOPS_BENCH_PEER` says how to start
//! one. Each is a process of its own, so that its CPU can be told from the others'. CPU for a request is the figure to look
//! at: it does not change much when the machine has other work. It prints and asserts nothing.
//!
//! | variable | |
//! |---|---|
//! | `AGENTOPS_BENCH_SECONDS` | length of one window, 1 by default |
//! | `AGENTOPS_BENCH_ROUNDS` | windows for each figure, 5 by default |
//! | `AGENTOPS_BENCH_PEER` | command that starts a peer; `{port}` and `{upstream}` are filled in |
//! | `AGENTOPS_BENCH_PEER_HEADERS` | what its requests carry: `name: value; name: value`, filled in too |
#![expect(clippy::print_stdout, reason = "what it is for")]

#[path = "peers/figures.rs"]
mod figures;
#[path = "../tests/http/host.rs"]
#[expect(dead_code, reason = "shared with the tests")]
mod host;
#[path = "peers/load.rs"]
mod load;
#[path = "peers/process.rs"]
mod process;
#[path = "peers/roles.rs"]
mod roles;

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
