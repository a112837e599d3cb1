//! What keeps an agent's work when its agent has exited.

use agentops::error::NEEDS_DECISION;
use serde_json::json;

use crate::namespace::shell_with_mounts;
use crate::room::{Ran, Room, close_out, scripted};

/// R2, R5: the repository's disk is full when the agent's work is to be kept. The agent is not run again for it: its effect
/// outside happens once, the question names the disk, and when there is space `resume` repeats the checkpoint only.
#[test]
fn r5_a_full_disk_under_a_checkpoint_asks_a_person_and_runs_no_agent_again() {
    let room = Room::new();
    let effect = json!({ "do": "run", "argv": ["sh", "-c", "echo \"$AGENTOPS_SESSION\" >> ../../../../../effects"] });
    // There was enough space when the run started.
    let large = "head -c 3000000 /dev/urandom > large.bin; cat /dev/zero > ../../../../../repo/.git/objects/filling || true";
    let large = json!({ "do": "run", "argv": ["sh", "-c", large] });
    let args = scripted(
        &room,
        "quick",
        json!([
            { "when": "lane `implement`", "steps": [
                { "do": "call", "usage": 20000 },
                { "do": "write", "path": "done.txt", "content": "done\n" }, large, effect
            ] },
            { "when": "lane `close-out`", "steps": [
                { "do": "call", "usage": 9000 },
                { "do": "out", "file": "close-out.json", "content": close_out("done.txt") }
            ] }
        ]),
    );
    let words = args.iter().map(|arg| format!("'{arg}'")).collect::<Vec<_>>().join(" ");
    // Objects of the repository lie on a disk of their own.
    let script = format!(
        "cp -a .git/objects ../objects-copy && mount -t tmpfs -o size=32m none .git/objects || exit 74\n\
         cp -a ../objects-copy/. .git/objects/ || exit 74\n'{0}' {words}; code=$?\n\
         rm .git/objects/filling; '{0}' resume --json > ../resumed || exit 76\n\
         git fsck --connectivity-only >&2 || exit 75; exit $code",
        env!("CARGO_BIN_EXE_agentops")
    );
    let Some(out) = shell_with_mounts(&room, &script) else { return };
    let ran = Ran::of(&out);
    assert_eq!(ran.code, i32::from(NEEDS_DECISION), "{ran:?}");
    let asked = ran.json();
    assert_eq!(asked["decisions"][0]["kind"], "checkpoint-failed");
    assert_eq!(asked["decisions"][0]["scope"], "lane");
    let detail = asked["decisions"][0]["detail"].as_str().unwrap();
    assert!(detail.contains("No space left on device"), "{detail}");
    let folder = room.root();
    let resumed: serde_json::Value = serde_json::from_slice(&std::fs::read(folder.join("resumed")).unwrap()).unwrap();
    assert_eq!(resumed["status"]["status"], "done");
    let effects = std::fs::read_to_string(folder.join("effects")).unwrap();
    assert_eq!(effects.lines().count(), 1, "{effects}");
}
