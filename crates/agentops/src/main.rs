//! The program: builds the runner and turns its result into an exit code.

use std::process::ExitCode;

fn main() -> ExitCode {
    agentops::main()
}
