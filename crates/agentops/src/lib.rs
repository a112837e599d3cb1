//! The command line of AgentOps: arguments → checked request → library → printer.

mod cli;
mod commands;
mod context;
pub mod env;
pub mod error;
mod interruption;
mod labels;
mod live;
mod printer;
mod repository_changes;
mod routed;
mod run_environment;
mod screen;

use std::process::ExitCode;

use clap::Parser;

use crate::error::CommandError;
use crate::printer::Printer;

/// Runs the command that the process's arguments name.
#[must_use]
pub fn main() -> ExitCode {
    // Keepers and scripted agents are started by the dozen: nothing is parsed or read for them.
    match std::env::args_os().nth(1).as_deref().and_then(|name| name.to_str()) {
        Some(agentops_agents::keeper::SUBCOMMAND) => return agentops_agents::keeper::main(),
        Some(agentops_agents::scripted::SUBCOMMAND) => return agentops_agents::scripted::main(),
        _ => {}
    }
    // Commands and the supervisor hold keys that agents must not read. One that an agent started stays visible: after a crash
    // it is found by the mark in its environment.
    if std::env::var_os(env::SESSION).is_none()
        && let Err(e) = agentops_agents::process::hide()
    {
        Printer::new(false, false).note(&format!("note: other processes of yours may read this one's memory: {e}"));
    }
    let cli = match cli::Cli::try_parse() {
        Ok(cli) => cli,
        Err(e) => {
            // Help and version are answers, not errors; clap knows how they look.
            if !e.use_stderr() {
                let _closed = e.print();
                return ExitCode::from(error::SUCCESS);
            }
            // An error repeats what was typed, which may have been pasted from anywhere.
            Printer::new(false, false).note(e.render().to_string().trim_end());
            return ExitCode::from(error::USAGE);
        }
    };
    let printer = Printer::new(cli.global.json, cli.global.quiet);
    let result = commands::dispatch(&cli, &printer);
    ExitCode::from(result.unwrap_or_else(|e: CommandError| printer.error(&e.with_advice_on_space())))
}
