//! Your keys do not reach what runs in a lane: not through its environment, and not through `/proc`.

use std::os::unix::fs::{MetadataExt, chown};
use std::process::{Command, Stdio};
use std::sync::{Mutex, PoisonError};

use serde_json::{Value, json};

use crate::room::{Ran, Room, everything, quick_script, refs, scripted, skip_unless_ci};

const KEY: &str = "key-of-mine-for-tests-4711";
const CONFIG: &str = "[commands]\ntest = [\"sh\", \"check.sh\"]\n[lane]\nenv = [\"ADDED_TOKEN\"]\n";

/// `quick`, whose one session that changes files runs this shell text at its end.
fn with_step(text: &str) -> Value {
    let mut script = quick_script();
    script[0]["steps"].as_array_mut().unwrap().push(json!({ "do": "run", "argv": ["sh", "-c", text] }));
    script
}

#[test]
fn s6_what_looks_like_a_secret_reaches_no_lane_unless_the_trusted_settings_name_it() {
    let mut room = Room::new();
    let seen = |who: &str| room.root().join(format!("seen.{who}"));
    let (agent, gate, set_up) = (seen("agent"), seen("gate"), seen("set-up"));
    room.file("check.sh", &format!("env > {}\ntest -f done.txt\n", gate.display()));
    let set_up_line = format!("setup = [[\"sh\", \"-c\", \"env > {}\"]]\n", set_up.display());
    room.file(".agentops/config.toml", &format!("{CONFIG}{set_up_line}"));
    room.git(&["commit", "--quiet", "-am", "settings"]);
    let withheld = [
        ("OPENAI_API_KEY", KEY.to_owned()),
        ("MY_TOKEN", format!("{KEY}-b")),
        ("DATABASE_URL", format!("postgres://me:{KEY}@db/x")),
        ("SSH_AUTH_SOCK", format!("/run/{KEY}")),
        ("AWS_PROFILE", format!("{KEY}-c")),
    ];
    for (name, value) in &withheld {
        room.set(name, value.as_str());
    }
    room.set("ADDED_TOKEN", "added-on-purpose");
    room.set("JAVA_HOME", "/usr/lib/jvm");
    let args = scripted(&room, "quick", with_step(&format!("env > {}", agent.display())));

    let mut names: Vec<&str> = withheld.iter().map(|(name, _)| *name).collect();
    names.sort_unstable();
    let dry = room.run(&[&refs(&args)[..], &["--dry-run"]].concat()).expect(0).json();
    assert_eq!(dry["withheld"], json!(names));
    assert_eq!(dry["agents"][0]["held"], json!(["ADDED_TOKEN"]));
    let trust = room.run(&["trust", "show", "--workflow=quick", "--driver=scripted", "--json"]).expect(0).json();
    assert_eq!(trust["withheld"], json!(names));
    assert!(trust["subject"]["items"].as_array().unwrap().iter().any(|item| item["place"] == "ADDED_TOKEN"), "{trust:#}");
    let shown = room.run(&["trust", "show", "--workflow=quick", "--driver=scripted"]).expect(0).stdout;
    assert!(shown.contains("OPENAI_API_KEY") && !shown.contains(KEY), "{shown}");

    let view = room.run(&refs(&args)).expect(0).json();
    assert_eq!(view["status"]["status"], "done", "{view:#}");
    for file in [agent, gate, set_up] {
        let text = std::fs::read_to_string(&file).unwrap();
        assert!(!text.contains(KEY), "{}: {text}", file.display());
        for present in ["ADDED_TOKEN=added-on-purpose", "JAVA_HOME=/usr/lib/jvm", "PATH=", "AGENTOPS_LANE="] {
            assert!(text.contains(present), "{} lacks {present}: {text}", file.display());
        }
    }
    // One more name is another thing to agree to.
    room.file(".agentops/config.toml", &format!("{}{set_up_line}", CONFIG.replace("TOKEN\"", "TOKEN\", \"MY_TOKEN\"")));
    room.run(&refs(&args)).expect(agentops::error::TRUST_REQUIRED.into());
}

/// The same command as an ordinary user: root may read everything. `None`: nobody else can be become here.
#[expect(clippy::disallowed_methods, reason = "the test starts the program that it tests")]
fn as_ordinary_user(room: &Room, args: &[&str]) -> Option<Command> {
    let command = room.command(args);
    if !rustix::process::geteuid().is_root() {
        return Some(command);
    }
    let drop = ["--reuid=65534", "--regid=65534", "--clear-groups"];
    let able = Command::new("setpriv").args(drop).arg("true").stderr(Stdio::null()).status();
    if !able.is_ok_and(|status| status.success()) {
        skip_unless_ci("setpriv cannot become an ordinary user here");
        return None;
    }
    let mut dropped = Command::new("setpriv");
    let variables = command.get_envs().filter_map(|(name, value)| Some((name.to_owned(), value?.to_owned())));
    // The build may lie in a folder that other users may not enter.
    let program = room.root().join("agentops");
    std::fs::copy(command.get_program(), &program).unwrap();
    dropped.args(drop).arg(program).args(command.get_args()).env_clear().envs(variables);
    dropped.current_dir(room.repo()).stdin(Stdio::null());
    Some(dropped)
}

/// What an agent of an ordinary user finds of the key in `/proc`; `None`: nobody else can be become here. `mark`: what the
/// command finds in `AGENTOPS_SESSION`.
fn found_by_an_agent(mark: Option<&str>) -> Option<String> {
    // One at a time: the agent looks at every process of its user, and a command of the other test does not hide.
    static ALONE: Mutex<()> = Mutex::new(());
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let mut room = Room::new_below(&std::env::temp_dir());
    if let Some(mark) = mark {
        room.set("AGENTOPS_SESSION", mark);
    }
    let (found, seen) = (room.root().join("found"), room.root().join("seen"));
    room.set("MY_TOKEN", KEY);
    // Every process that the agent may look at, by what it may look at. Our own are named to show that they were there.
    let look = format!(
        "for p in /proc/[0-9]*; do read -r name < $p/comm || continue; case $name in agentops*) echo $name >> {seen};; esac; \
         grep -aqs {KEY} $p/environ && echo \"$name environ\" >> {found}; \
         case $name in agentops*) (cat $p/environ; ls $p/fd; head -c 1 $p/mem) 2>/dev/null | grep -q . && [ $p != /proc/$PPID ] \
         && echo \"$name readable\" >> {found};; esac; done; echo looked >> {seen}",
        seen = seen.display(),
        found = found.display()
    )
    // The text itself must not be what is found.
    .replace(KEY, "key-of-min[e]-for-tests-4711");
    let args = scripted(&room, "quick", with_step(&look));
    if rustix::process::geteuid().is_root() {
        for path in everything(room.root()).iter().chain([&room.root().to_owned()]) {
            chown(path, Some(65534), Some(65534)).unwrap();
        }
    }
    let ran = Ran::of(&as_ordinary_user(&room, &refs(&args))?.output().unwrap());
    assert_eq!(ran.code, 0, "{ran:#?}");
    assert_ne!(std::fs::metadata(&seen).unwrap().uid(), 0, "an ordinary user looked");
    let seen = std::fs::read_to_string(&seen).unwrap();
    // The client, its supervisor, the keeper and the scripted agent itself.
    assert!(seen.lines().filter(|line| line.starts_with("agentops")).count() >= 4, "{seen}");
    assert!(seen.contains("agentops-keeper") && seen.contains("looked"), "{seen}");
    Some(std::fs::read_to_string(&found).unwrap_or_default())
}

#[test]
fn s6_an_agent_reads_no_key_from_our_processes() {
    let Some(found) = found_by_an_agent(None) else { return };
    assert_eq!(found, "", "readable by the agent");
}

#[test]
fn planted_a_command_that_does_not_hide_is_found() {
    // One that an agent started does not hide.
    let Some(found) = found_by_an_agent(Some("of another session")) else { return };
    assert!(found.contains("agentops environ") && found.contains("agentops readable"), "{found}");
}
