//! A person's own program, started on their terminal and waited for.

use std::ffi::OsString;
use std::io;
use std::process::{Command, ExitStatus};

use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};
use signal_hook::consts::{SIGHUP, SIGINT, SIGQUIT, SIGTERM};
use signal_hook::iterator::SignalsInfo;
use signal_hook::iterator::exfiltrator::WithOrigin;
use signal_hook::low_level::siginfo::{Cause, Origin};

use crate::driver::Launch;

/// Starts the program with `args` behind the launch's own, on the terminal of this process, and waits for its end.
///
/// Keys such as Ctrl-C are the program's while it runs: the terminal sends them to both, and this process goes on. A signal from
/// another process may have reached this process alone, so this process passes it on. It passes SIGTERM and SIGHUP on in any case.
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
    // Handlers, not "ignore": what is ignored stays ignored in the program that is started.
    let mut signals = SignalsInfo::<WithOrigin>::new([SIGINT, SIGQUIT, SIGTERM, SIGHUP])?;
    let handle = signals.handle();
    let mut child = command.spawn()?;
    let pid = i32::try_from(child.id()).ok().and_then(Pid::from_raw);
    let process = pid.and_then(|pid| pidfd_open(pid, PidfdFlags::empty()).ok());
    std::thread::scope(|scope| {
        scope.spawn(move || {
            for origin in signals.forever() {
                let hand_on = match origin.signal {
                    SIGTERM => Signal::TERM,
                    SIGHUP => Signal::HUP,
                    SIGINT if is_sent(&origin) => Signal::INT,
                    SIGQUIT if is_sent(&origin) => Signal::QUIT,
                    _ => continue,
                };
                // It has ended already where this fails.
                let _ended = process.as_ref().map(|process| pidfd_send_signal(process, hand_on));
            }
        });
        let status = child.wait();
        handle.close();
        status
    })
}

/// Another process sent it, and not the terminal.
fn is_sent(origin: &Origin) -> bool {
    matches!(origin.cause, Cause::Sent(_))
}
