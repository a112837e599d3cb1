//! Serves a script to an agent program until stdin closes.

use std::error::Error;
use std::io::{Read, Write};
use std::path::PathBuf;

use agentops_testkit::model::{ModelServer, Options, Script};
use agentops_testkit::proxy::{Proxy, ProxyError};
use clap::Parser;

/// Serve a scripted model on a loopback port; prints one JSON line with its addresses, and ends when stdin closes.
#[derive(Debug, Parser)]
#[command(name = "scripted-model")]
struct Args {
    /// What the model says and does: a JSON file.
    #[arg(long, value_name = "FILE")]
    script: PathBuf,
    /// Add each request to this file as a JSON line. Headers, and so keys, are never written.
    #[arg(long, value_name = "FILE")]
    log: Option<PathBuf>,
    /// Start an HTTPS proxy as well, through which every host is this server, and write the certificate to trust here.
    #[arg(long, value_name = "FILE")]
    authority: Option<PathBuf>,
}

fn main() -> Result<(), Box<dyn Error>> {
    let args = Args::parse();
    let server = ModelServer::start_with(Script::load(&args.script)?, Options { log: args.log, ..Options::default() })?;
    let proxy = args.authority.map(|authority| {
        let proxy = Proxy::start(&server)?;
        proxy.write_authority(&authority)?;
        Ok::<_, ProxyError>(proxy)
    });
    let proxy = proxy.transpose()?;
    let mut addresses = serde_json::json!({"base_url": server.base_url()});
    if let Some(proxy) = &proxy {
        addresses["proxy"] = proxy.url().into();
    }
    let mut stdout = std::io::stdout();
    writeln!(stdout, "{addresses}")?;
    stdout.flush()?;
    let mut rest = [0; 4096];
    while std::io::stdin().read(&mut rest)? > 0 {}
    Ok(())
}
