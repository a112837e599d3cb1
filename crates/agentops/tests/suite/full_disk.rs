//! R5, R2: the disk under the repository, the state folder or the temporary folder fills while a run is under way. The run
//! stops, says why, loses nothing, and goes on when there is space: it ends as if nobody had filled anything.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::Child;
use std::time::Instant;

use rustix::event::{PollFd, PollFlags, poll};
use rustix::process::{Pid, PidfdFlags, pidfd_open};

use serde_json::json;

use crate::ceiling::ends;
use crate::compared::{Ended, RUN, Template};
use crate::namespace::{Disk, Place, own_mounts};
use crate::room::{Ran, Room, quick_script, scripted, slow};

/// Size of each disk. A run needs less than a quarter of it.
const MEBIBYTES: u32 = 64;

/// What lies on the disk that fills.
#[derive(Debug, Clone, Copy)]
enum Filled {
    Repository,
    State,
    Temporary,
}

impl Filled {
    fn folder(self, room: &Room) -> PathBuf {
        match self {
            Self::Repository => room.repo(),
            Self::State => room.state(),
            Self::Temporary => room.temporary(),
        }
    }
}

/// A room whose temporary folder is its own.
fn room() -> Room {
    let mut room = Room::empty();
    room.own_temporary();
    room
}

/// Durable boundaries that the run has passed.
fn passed(log: &Path) -> usize {
    std::fs::read(log).map_or(0, |text| text.iter().filter(|byte| **byte == b'\n').count())
}

/// What a command said while the disk was full names the disk: in our words, before the run or in the middle of it, or in
/// those of the system.
fn names_the_disk(text: &str) -> bool {
    let ours = text.contains("the disk of ") && (text.contains(" is full") || text.contains(" free, and a run needs "));
    ours || ["No space left on device", "Out of diskspace"].iter().any(|words| text.contains(words))
}

/// Waits until a run has passed so many boundaries. False: its command ended before.
fn await_boundary(boundaries: &mut File, client: &Child, at: usize) -> bool {
    let ended = pidfd_open(Pid::from_child(client), PidfdFlags::empty()).unwrap();
    let (mut passed, mut names) = (0, [0; 4096]);
    while passed < at {
        let mut ready = [PollFd::new(&*boundaries, PollFlags::IN), PollFd::new(&ended, PollFlags::IN)];
        poll(&mut ready, None).unwrap();
        if ready[0].revents().is_empty() {
            return false;
        }
        let length = boundaries.read(&mut names).unwrap();
        passed += names[..length].iter().filter(|byte| **byte == b'\n').count();
    }
    true
}

/// One run whose disk fills once it has passed so many boundaries. Whether the command failed, and named the disk.
fn trial(template: &Template, expected: &Ended, filled: Filled, at: usize) -> bool {
    let room = room();
    let disk = Disk::over(&room, &filled.folder(&room), MEBIBYTES);
    let user = template.copy_into(&room);
    let log = room.pipe("boundaries");
    // Open at both ends, so that nobody who writes into it waits.
    let mut boundaries = File::options().read(true).write(true).open(&log).unwrap();
    let output = room.root().join("output");
    let file = File::create(&output).unwrap();
    let mut command = room.command(&[&RUN[..], &[&template.trust]].concat());
    command.env("AGENTOPS_CRASH_LOG", &log).stdout(file.try_clone().unwrap()).stderr(file);
    if at == 0 {
        disk.fill();
    }
    let mut client = command.spawn().unwrap();
    if at > 0 {
        assert!(await_boundary(&mut boundaries, &client, at), "the run ended before boundary {at}");
        disk.fill();
    }
    let status = client.wait().unwrap();
    let shown = room.run(&["show"]);
    let status_line = room.run(&["status", "--json"]);
    disk.free();
    if !status.success() {
        let text = format!("{}{}{}", std::fs::read_to_string(&output).unwrap(), shown.stdout, shown.stderr);
        assert!(names_the_disk(&text), "{text}");
    }
    let run = match status_line.expect(0).json()["runs"][0]["run"].as_str() {
        Some(run) if !status.success() => room.run(&["resume", run, "--json"]).expect(0).json(),
        Some(run) => room.run(&["show", run, "--json"]).expect(0).json(),
        None => room.run(&[&RUN[..], &[&template.trust]].concat()).expect(0).json(),
    };
    assert_eq!(Ended::look(&room, run["run"].as_str().unwrap(), &user), *expected);
    !status.success()
}

/// Fills the disk at a spread of boundaries, in a mount namespace of its own.
fn play(test: &str, filled: Filled) -> String {
    if !slow() {
        return "skipped: the trials take a minute and a half; AGENTOPS_SLOW=1 plays them".into();
    }
    match own_mounts(test) {
        Place::Inside => {}
        Place::Played => return String::new(),
        Place::Skipped => return "skipped: this machine gives no mount namespace".into(),
    }
    let template = Template::new();
    let room = room();
    let user = template.copy_into(&room);
    let log = room.root().join("boundaries");
    let out = room.command(&[&RUN[..], &[&template.trust]].concat()).env("AGENTOPS_CRASH_LOG", &log).output().unwrap();
    let view = Ran::of(&out).expect(0).json();
    let expected = Ended::look(&room, view["run"].as_str().unwrap(), &user);
    let (all, began) = (passed(&log), Instant::now());
    let spread = if std::env::var_os("AGENTOPS_NIGHTLY").is_some() { 12 } else { 3 };
    let moments: Vec<usize> = match std::env::var("AGENTOPS_FULL_AT") {
        Ok(at) => at.split(',').map(|at| at.parse().unwrap()).collect(),
        Err(_) => (0..spread).map(|n| all * n / spread).collect(),
    };
    let (mut failed, mut refused) = (Vec::new(), Vec::new());
    for at in &moments {
        match std::panic::catch_unwind(|| trial(&template, &expected, filled, *at)) {
            Ok(refusal) => refused.extend(refusal.then_some(*at)),
            Err(_) => failed.push(*at),
        }
    }
    let figures = format!(
        "{filled:?} was full from each of {moments:?} of {all} boundaries on, in {:.0?}; refused with the disk named from \
         {refused:?} on",
        began.elapsed()
    );
    assert!(failed.is_empty(), "{figures}; failed: {failed:?}; AGENTOPS_FULL_AT=N plays one again");
    // A run needs little of the temporary folder.
    assert!(matches!(filled, Filled::Temporary) || !refused.is_empty(), "{figures}: the full disk was never noticed");
    figures
}

#[test]
fn r5_a_full_disk_under_the_repository_pauses_and_loses_nothing() {
    let test = "full_disk::r5_a_full_disk_under_the_repository_pauses_and_loses_nothing";
    println!("{}", play(test, Filled::Repository));
}

#[test]
fn r5_a_full_disk_under_the_state_folder_pauses_and_loses_nothing() {
    let test = "full_disk::r5_a_full_disk_under_the_state_folder_pauses_and_loses_nothing";
    println!("{}", play(test, Filled::State));
}

#[test]
fn r5_a_full_temporary_folder_pauses_and_loses_nothing() {
    println!("{}", play("full_disk::r5_a_full_temporary_folder_pauses_and_loses_nothing", Filled::Temporary));
}

/// What a supervisor needs to write down that an agent has exited is set aside beforehand.
#[test]
fn r2_r5_an_agent_that_exits_while_the_state_disk_is_full_does_not_run_again() {
    match own_mounts("full_disk::r2_r5_an_agent_that_exits_while_the_state_disk_is_full_does_not_run_again") {
        Place::Inside => {}
        Place::Played => return,
        Place::Skipped => return println!("skipped: this machine gives no mount namespace"),
    }
    let room = Room::new();
    let disk = Disk::over(&room, &room.state(), MEBIBYTES);
    let (ready, go, effects) = (room.pipe("ready"), room.pipe("go"), room.root().join("effects"));
    // Only its first run waits.
    let work = format!(
        "test -e {0} || first=1; echo once >> {0}; test -z \"$first\" || {{ echo ready > {1}; read go < {2}; }}",
        effects.display(),
        ready.display(),
        go.display()
    );
    let mut script = quick_script();
    script[0]["steps"].as_array_mut().unwrap().push(json!({ "do": "run", "argv": ["sh", "-c", work] }));
    let run = room.detach(&scripted(&room, "quick", script));
    std::fs::read(&ready).unwrap();
    let reserve = room.private("reserve").unwrap();
    assert!(reserve.exists());
    disk.fill();
    std::fs::write(&go, "go\n").unwrap();
    // The supervisor writes the exit in the space that it gives back. What it gets to after that depends on what is left of it.
    let _no_space = room.run(&["logs", &run, "--follow"]);
    assert!(!reserve.exists());
    disk.free();
    let view = room.run(&["show", &run, "--json"]).expect(0).json();
    let view = match view["status"]["status"] == "done" {
        true => view,
        false => room.run(&["resume", &run, "--json"]).expect(0).json(),
    };
    assert_eq!(std::fs::read_to_string(&effects).unwrap(), "once\n", "{view:#}");
    assert_eq!(ends(&view), ["completed"]);
}
