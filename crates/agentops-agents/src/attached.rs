//! A person's own program, started on their terminal and waited for.

use std::ffi::OsString;
use std::io;
use std::process::{Command, ExitStatus};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use signal_hook::consts::{SIGINT, SIGQUIT};

use crate::driver::Launch;

/// Starts the program with `args` behind the launch's own, on the terminal of this process, and waits for its end.
///
/// Keys such as Ctrl-C are the program's while it runs: this process does not end on them.
///
/// # Errors
/// It cannot be started.
#[expect(clippy::disallowed_methods, reason = "this is the crate that starts agent programs")]
pub fn run(launch: &Launch, args: &[OsString]) -> io::Result<ExitStatus> {
    let mut command = Command::new(&launch.program);
    command.args(&launch.args).args(args);
    for name in &launch.env_remove {
        command.env_remove(name);
    }
    command.envs(launch.env.iter().map(|(name, value)| (name, value)));
    // A handler, not "ignore": what is ignored stays ignored in the program that is started.
    let taken = [SIGINT, SIGQUIT].map(|signal| signal_hook::flag::register(signal, Arc::new(AtomicBool::new(false))));
    let status = command.spawn().and_then(|mut child| child.wait());
    for id in taken.into_iter().flatten() {
        signal_hook::low_level::unregister(id);
    }
    status
}
