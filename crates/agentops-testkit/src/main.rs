//! Serves a script to an agent program until stdin closes.

use std::error::Error;
use std::io::{Read, Write};
use std::path::PathBuf;

use agentops_testkit::model::{ModelServer, Options, Script};
use clap::Parser;

/// Serve a scripted model on a loopback port; prints one JSON line with its address, and ends when stdin closes.
#[derive(Debug, Parser)]
#[command(name = "scripted-model")]
struct Args {
    /// What the model says and does: a JSON file.
    #[arg(long, value_name = "FILE")]
    script: PathBuf,
    /// Add each request to this file as a JSON line. Headers, and so keys, are never written.
    #[arg(long, value_name = "FILE")]
    log: Option<PathBuf>,
}

fn main() -> Result<(), Box<dyn Error>> {
    let args = Args::parse();
    let server = ModelServer::start_with(Script::load(&args.script)?, Options { log: args.log, ..Options::default() })?;
    let mut stdout = std::io::stdout();
    writeln!(stdout, "{}", serde_json::json!({"base_url": server.base_url()}))?;
    stdout.flush()?;
    let mut rest = [0; 4096];
    while std::io::stdin().read(&mut rest)? > 0 {}
    Ok(())
}
