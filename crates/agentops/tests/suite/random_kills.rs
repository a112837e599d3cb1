//! R1, R2, P3, P6: supervisor, keepers, gates, agents and clients are killed at random times; the run ends as if nobody had
//! been killed, and the user's repository is as it was.
//!
//! Every trial has a seed. `AGENTOPS_KILL_SEED=N` plays one trial, `AGENTOPS_KILL_TRIALS=N` sets their number, and
//! `AGENTOPS_KILL_ROLES=gate,client` sets who is killed. The seed fixes who is killed and when; what that moment finds
//! depends on the machine.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fs::File;
use std::hash::{BuildHasher, RandomState};
use std::process::Child;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use crate::compared::{Ended, RUN, Template};
use crate::processes_of::{Processes, Role, all, supervisor};
use crate::room::{Room, refs, slow};
use crate::user_repo::UserRepo;

/// How long each session and each gate waits, so that a kill can find it.
const PAUSE_MS: u64 = 120;
/// Commands that a person may need to bring one run to its end.
const COMMANDS_MAX: usize = 40;
/// How long processes that must end may take. It only ends a test that has failed.
const SURELY: Duration = Duration::from_secs(60);

/// A random sequence: splitmix64.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }

    fn time(&mut self, max: Duration) -> Duration {
        Duration::from_micros(self.below(max.as_micros().try_into().unwrap()))
    }
}

/// One kill.
#[derive(Debug)]
struct Strike {
    role: Role,
    /// Time after the strike before, or after the command was started.
    after: Duration,
    /// Time after the first process of this role was seen.
    within: Duration,
}

/// The kills of one trial, of a run that takes so long when nobody disturbs it.
fn plan(random: &mut Random, roles: &[Role], length: Duration) -> VecDeque<Strike> {
    let count = 3 + random.below(5);
    // A session takes a fixed time in a short run, and a share of a long one.
    let within = (length / 10).max(Duration::from_millis(PAUSE_MS * 3 / 2));
    let strike = |_| Strike {
        role: roles[usize::try_from(random.below(roles.len() as u64)).unwrap()],
        after: random.time(length / 2),
        within: random.time(within),
    };
    (0..count).map(strike).collect()
}

/// How many processes of each role were killed.
type Kills = BTreeMap<Role, usize>;

/// Kills until the command has ended or nothing is left of the plan.
fn kill_meanwhile(room: &Room, client: &mut Child, strikes: &mut VecDeque<Strike>, kills: &mut Kills) {
    let mut since = Instant::now();
    let mut seen = None;
    let mut processes = Processes::of(room);
    while let Some(strike) = strikes.front() {
        if client.try_wait().unwrap().is_some() {
            return;
        }
        if since.elapsed() >= strike.after
            && let Some(victim) = processes.find(strike.role, client)
            && seen.get_or_insert_with(Instant::now).elapsed() >= strike.within
            && victim.kill().unwrap_or(false)
        {
            *kills.entry(strike.role).or_default() += 1;
            strikes.pop_front();
            (since, seen) = (Instant::now(), None);
        }
        // No event says that it is time for a kill: this samples, and which process it finds is part of the chance.
        std::thread::sleep(Duration::from_millis(3));
    }
}

/// The only run of the room and its status.
fn the_run(room: &Room) -> Option<(String, String)> {
    let status = room.run(&["status", "--json"]).expect(0).json();
    let runs = status["runs"].as_array().unwrap();
    assert!(runs.len() <= 1, "{runs:?}");
    let text = |key: &str| runs[0][key].as_str().unwrap().to_owned();
    (!runs.is_empty()).then(|| (text("run"), text("status")))
}

/// The run, and whether it was acknowledged, once nobody can start it any more that was killed meanwhile.
fn settled_run(room: &Room) -> Option<(String, String)> {
    let began = Instant::now();
    loop {
        // In this order: a supervisor that is gone has written what it was to write.
        let supervisor = supervisor(room);
        let run = the_run(room);
        let Some(supervisor) = supervisor.filter(|_| run.is_none()) else { return run };
        assert!(began.elapsed() < SURELY, "a supervisor without a run does not end");
        // Its end is awaited. That it starts a run after all is seen when it is asked again.
        let _ended = supervisor.wait_end(Duration::from_millis(20));
    }
}

/// Starts a command whose output goes into a file.
fn start(room: &Room, args: &[&str]) -> Child {
    let output = File::create(room.root().join("output")).unwrap();
    room.command(args).stdout(output.try_clone().unwrap()).stderr(output).spawn().unwrap()
}

/// A run that is disturbed.
pub trait Stage: Sync {
    /// A room in which nothing has run yet, and what is the user's in it.
    fn room(&self) -> (Room, UserRepo);

    /// The command that starts the run there.
    fn command(&self, room: &Room) -> Vec<String>;

    /// What the finished run looks like. Holds what must hold of every one.
    fn look(&self, room: &Room, run: &str, user: &UserRepo) -> Ended;
}

impl Stage for Template {
    fn room(&self) -> (Room, UserRepo) {
        self.copy()
    }

    fn command(&self, _: &Room) -> Vec<String> {
        RUN.iter().copied().chain([self.trust.as_str()]).map(str::to_owned).collect()
    }

    fn look(&self, room: &Room, run: &str, user: &UserRepo) -> Ended {
        Ended::look(room, run, user)
    }
}

/// Plays one trial; gives what was killed.
fn trial(command: &[&str], room: &Room, seed: u64, roles: &[Role], length: Duration) -> (Kills, String) {
    let mut random = Random(seed);
    let mut strikes = plan(&mut random, roles, length);
    let mut kills = Kills::new();
    let mut acknowledged = None;
    if random.below(2) == 0 {
        let started = room.run(&[command, &["--detach"]].concat()).expect(0).json();
        acknowledged = Some(started["run"].as_str().unwrap().to_owned());
    }
    for _ in 0..COMMANDS_MAX {
        let run = settled_run(room);
        if acknowledged.is_some() {
            assert_eq!(run.as_ref().map(|(run, _)| run), acknowledged.as_ref(), "an acknowledged run is kept");
        }
        acknowledged = run.as_ref().map(|(run, _)| run.clone());
        let mut client = match &run {
            Some((run, status)) if status == "done" => return (kills, run.clone()),
            Some((run, _)) => start(room, &["resume", run, "--json"]),
            None => start(room, command),
        };
        kill_meanwhile(room, &mut client, &mut strikes, &mut kills);
        client.wait().unwrap();
    }
    let output = std::fs::read_to_string(room.root().join("output")).unwrap_or_default();
    panic!("not done after {COMMANDS_MAX} commands; killed {kills:?}; the last said: {output}");
}

/// Nobody lives who worked for this room.
fn assert_nobody_lives(room: &Room) {
    let began = Instant::now();
    // An idle supervisor ends by itself.
    while let Some(living) = all(room).first() {
        assert!(began.elapsed() < SURELY, "{living:?} lives");
        let _ended = living.wait_end(Duration::from_secs(1));
    }
}

/// What the run comes to when nobody disturbs it, and how long it takes.
fn undisturbed(stage: &impl Stage) -> (Ended, Duration) {
    let (room, user) = stage.room();
    let command = stage.command(&room);
    let began = Instant::now();
    let view = room.run(&refs(&command)).expect(0).json();
    let length = began.elapsed();
    (stage.look(&room, view["run"].as_str().unwrap(), &user), length)
}

/// A number that a variable sets.
fn set(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|text| text.parse().expect(name))
}

/// Plays so many trials, unless variables say how many, each on the next stage, in so many threads. Says what was killed.
pub fn play(roles: &[Role], stages: &[impl Stage], usual: u64, threads: usize) -> String {
    let given = set("AGENTOPS_KILL_SEED");
    let trials = set("AGENTOPS_KILL_TRIALS").unwrap_or(if given.is_some() { 1 } else { usual });
    let first = given.unwrap_or_else(|| RandomState::new().hash_one(0) % 1_000_000_000);
    let of_seed = |seed: u64| usize::try_from(seed).unwrap() % stages.len();
    let played: BTreeSet<usize> = (first..first + trials).map(of_seed).collect();
    let expected: BTreeMap<usize, (Ended, Duration)> =
        played.into_iter().map(|stage| (stage, undisturbed(&stages[stage]))).collect();
    let lengths: Vec<_> = expected.values().map(|(_, length)| length).collect();
    let began = Instant::now();
    let (next, failed, killed) = (AtomicU64::new(0), Mutex::new(Vec::new()), Mutex::new(Kills::new()));
    let one = || {
        while let Some(seed) = Some(first + next.fetch_add(1, Ordering::SeqCst)).filter(|seed| *seed < first + trials) {
            let (stage, (expected, length)) = (&stages[of_seed(seed)], &expected[&of_seed(seed)]);
            let (room, user) = stage.room();
            let tried = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
                let (kills, run) = trial(&refs(&stage.command(&room)), &room, seed, roles, *length);
                assert_eq!(stage.look(&room, &run, &user), *expected);
                assert_nobody_lives(&room);
                kills
            }));
            match tried {
                Ok(kills) => {
                    let mut killed = killed.lock().unwrap();
                    kills.into_iter().for_each(|(role, count)| *killed.entry(role).or_default() += count);
                }
                Err(_) => failed.lock().unwrap().push(format!("AGENTOPS_KILL_SEED={seed}\n{}", room.story())),
            }
        }
    };
    std::thread::scope(|scope| (0..threads).for_each(|_| drop(scope.spawn(one))));
    let (killed, failed) = (killed.into_inner().unwrap(), failed.into_inner().unwrap());
    let seconds = began.elapsed().as_secs_f32();
    let figures =
        format!("{trials} trials from seed {first} in {seconds:.1} s; a run takes {lengths:.1?}; killed: {killed:?}");
    assert!(failed.is_empty(), "{figures}; {} failed: {}", failed.len(), failed.join("\n"));
    assert!(!killed.is_empty(), "{figures}: nothing was killed");
    // With so many trials chance leaves nobody out.
    let spared: Vec<_> = roles.iter().filter(|role| trials >= 20 && !killed.contains_key(*role)).collect();
    assert!(spared.is_empty(), "{figures}: nobody of {spared:?} was killed");
    figures
}

/// Who is killed.
pub fn roles() -> Vec<Role> {
    let named = std::env::var("AGENTOPS_KILL_ROLES").unwrap_or_else(|_| "supervisor,keeper,gate,agent,client".into());
    named.split(',').map(|name| name.parse().unwrap()).collect()
}

#[test]
fn r1_r2_p3_p6_a_run_ends_the_same_whatever_is_killed_at_a_random_time() {
    let usual = if slow() { 100 } else { 6 };
    println!("{}", play(&roles(), &[Template::pausing(PAUSE_MS)], usual, 4));
}
