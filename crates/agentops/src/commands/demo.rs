//! `agentops demo`: the main job on an example, with a scripted agent in place of a real one. Everything else is real: git,
//! the supervisor, lanes, gates, the example's own tests.

mod script;

use std::path::Path;
use std::time::{Duration, Instant};

use agentops_agents::strays;
use agentops_core::run::{Approve, Outcome};
use agentops_engine::paths::Home;
use agentops_engine::plan::{self, RunRequest};
use agentops_engine::supervisor::Lock;
use agentops_engine::trust::Trusted;
use agentops_engine::{client, view};
use agentops_git::temporary::TempFolder;
use rustix::process::{Pid, Signal};

use crate::cli::{DemoArgs, Global};
use crate::context::Context;
use crate::error::{self, CommandError, FAILED};
use crate::interruption::LastAnswer;
use crate::live::{self, Follows};
use crate::printer::Printer;
use crate::routed;

const TASK: &str = "Add a JSON export beside the CSV export, with tests";

/// How the folder of a demo begins that is removed at its end. The next demo removes what a killed one left.
const FOLDER_PREFIX: &str = "agentops-demo.tmp-";
/// How the folder of a demo begins that stays.
const KEPT_PREFIX: &str = "agentops-demo-";
/// How long a supervisor may take to be gone after it was killed.
const KILL_WAIT: Duration = Duration::from_secs(5);

/// `agentops demo`
pub fn demo(args: &DemoArgs, printer: &Printer) -> Result<u8, CommandError> {
    let above = agentops_git::temporary::folder();
    for left in TempFolder::take_over(&above, FOLDER_PREFIX) {
        remove(left.path());
    }
    if args.keep {
        let folder = TempFolder::make(&above, KEPT_PREFIX)?.keep();
        let _answers = answer(&folder, end_supervisor)?;
        let result = play(&folder, args, printer);
        printer.note(&format!("kept in {}", folder.display()));
        return result;
    }
    let folder = TempFolder::make(&above, FOLDER_PREFIX)?;
    let _answers = answer(folder.path(), remove)?;
    let result = play(folder.path(), args, printer);
    remove(folder.path());
    result
}

/// A demo that is ended by a signal leaves nothing.
fn answer(folder: &Path, with: fn(&Path)) -> std::io::Result<LastAnswer> {
    let folder = folder.to_owned();
    LastAnswer::with(move || with(&folder))
}

/// Ends what works in the folder of a demo, and removes it.
fn remove(folder: &Path) {
    end_supervisor(folder);
    agentops_git::sweep_temporary_folders();
    // A process that is being ended may write once more.
    let until = Instant::now() + KILL_WAIT;
    while agentops_git::remove_all(folder).is_err() && folder.exists() && Instant::now() < until {
        std::thread::sleep(KILL_WAIT / 100);
    }
}

/// Kills the demo's supervisor, if there is one, and its agents.
fn end_supervisor(folder: &Path) {
    let state = folder.join("state");
    let home = Home { config: folder.join("config"), state: state.clone() };
    for entry in std::fs::read_dir(state).into_iter().flatten().flatten() {
        let paths = home.repository(&entry.file_name().to_string_lossy());
        let lock = paths.lock();
        let pid = Lock::holder(&lock).and_then(|pid| Pid::from_raw(pid.parse().ok()?));
        let Some(pid) = pid else { continue };
        let _gone_already = rustix::process::kill_process(pid, Signal::KILL);
        let until = Instant::now() + KILL_WAIT;
        while Lock::holder(&lock).is_some() && Instant::now() < until {
            std::thread::sleep(KILL_WAIT / 100);
        }
        strays::end_strays(&paths.mark_prefix());
    }
}

fn play(folder: &Path, args: &DemoArgs, printer: &Printer) -> Result<u8, CommandError> {
    let root = folder.join("notes");
    std::fs::create_dir_all(&root)?;
    let files: [(&str, &[u8]); 3] = [
        ("Cargo.toml", include_bytes!("../../demo/Cargo.toml.txt")),
        ("src/lib.rs", include_bytes!("../../demo/src/lib.rs")),
        (".gitignore", b"/target\nCargo.lock\n"),
    ];
    agentops_git::begin(&root, &files, "The notes example\n")?;
    std::fs::write(folder.join("script.json"), script::script())?;
    printer.note(&format!("A small Rust project in {}, and one task for it:\n\n    {TASK}\n", root.display()));
    printer.note(
        "The agent is scripted: it plays a part that is written down. Git, lanes, gates, tests and records are real.\n",
    );

    let global = Global { repo: Some(root), state_dir: Some(folder.join("state")), json: printer.json(), quiet: false };
    let mut context = Context::find(&global)?.claim()?;
    context.home.config = folder.join("config");
    let settings = [("script".to_owned(), folder.join("script.json").display().to_string())].into();
    let mut request = RunRequest {
        task: TASK.into(),
        workflow: Some("full".into()),
        driver: Some("scripted".into()),
        approve: Approve::All,
        settings,
        ..RunRequest::default()
    };
    routed::route(&context, &mut request, printer)?;
    let blobs = context.blobs()?;
    let subject = plan::plan(&context.repo, &context.home, &blobs, &context.lent().variables, &request)?.subject;
    let mut trusted = Trusted::default();
    trusted.add(context.repo.id(), context.repo.work_tree(), &subject.hash);
    trusted.write(&context.home.trust_file())?;
    let trust = Some(subject.hash.to_string());
    let Some(run) = super::run::start(&context, RunRequest { trust, ..request }, printer)? else {
        return Ok(error::TRUST_REQUIRED);
    };
    if args.kill {
        kill(&context, &run, printer)?;
    }
    let rest = live::follow(&context, &blobs, &run, Follows::Lends, printer)?;
    let code = super::report(&rest.view, printer);
    if !matches!(rest.state.outcome, Some((Outcome::Done, _))) {
        return Ok(if code == error::SUCCESS { FAILED } else { code });
    }
    if !printer.json() {
        show_records(&context, &rest.view, printer)?;
    }
    Ok(code)
}

/// Waits until work is under way, and kills the supervisor that runs it.
fn kill(context: &Context, run: &agentops_core::id::RunId, printer: &Printer) -> Result<(), CommandError> {
    use std::io::BufRead;
    let stream = client::connect(&context.paths, Some(&context.starter()?))?;
    let mut changes = client::follow(stream)?;
    let mut word = String::new();
    while changes.read_line(&mut word).is_ok_and(|bytes| bytes > 0) {
        word.clear();
        let state = context.state(&mut context.ledger()?, run)?;
        // In the second session of the phase that changes files: a hand-over lies before, half a change is in the lane.
        let second =
            |lane: &agentops_core::run::LaneState| lane.live().is_some_and(|live| live.id.ordinal == 2 && live.calls > 0);
        let working = state.phases.get(2).is_some_and(|phase| phase.lanes.iter().any(second));
        if working {
            break;
        }
    }
    let state = context.state(&mut context.ledger()?, run)?;
    let pid = context.supervisor().and_then(|pid| pid.parse::<i32>().ok()).and_then(Pid::from_raw);
    let Some(pid) = pid else { return Err(CommandError::new(FAILED, "there is no supervisor to kill")) };
    let (word, about) = view::words(&state, &state.status(true));
    printer.note(&format!("The run is {word} in {about}. Killing its supervisor now: kill -9 {}", pid.as_raw_nonzero()));
    rustix::process::kill_process(pid, Signal::KILL).map_err(std::io::Error::from)?;
    printer.note("Gone, and the agent with it. Resuming: a new supervisor takes over from the ledger.\n");
    Ok(())
}

/// What the run left in git, from git itself.
fn show_records(context: &Context, view: &view::RunView, printer: &Printer) -> Result<(), CommandError> {
    let Some(branch) = &view.branch else { return Ok(()) };
    let tip = context.repo.resolve(&format!("refs/heads/{branch}"))?;
    printer.data(&format!("\nOn {branch}:"));
    for entry in context.repo.list_tree(&tip, Some(Path::new(".agentops")))? {
        printer.data(&format!("  {}", entry.path.display()));
    }
    let takeovers = if view.takeovers > 0 { format!(" It survived {} kill -9.", view.takeovers) } else { String::new() };
    printer.data(&format!(
        "\nThe agent was scripted; the branch, its tests and these records are real.{takeovers}\nIn your own repository: agentops run \"what is to be done\""
    ));
    Ok(())
}
