//! The shortest way: `quick` with the scripted agent.

use crate::room::{Ran, Room, close_out, quick_script, refs, scripted};
use serde_json::json;

fn run(room: &Room, script: serde_json::Value) -> Ran {
    room.run(&refs(&scripted(room, "quick", script)))
}

#[test]
fn a_task_becomes_a_branch_whose_gates_passed() {
    let room = Room::new();
    let head = room.git(&["rev-parse", "HEAD"]);
    let view = run(&room, quick_script()).expect(0).json();
    assert_eq!(view["status"]["status"], "done");
    let branch = view["branch"].as_str().unwrap();
    assert_eq!(room.git(&["show", &format!("{branch}:done.txt")]), "done");
    let records = room.git(&["ls-tree", "-r", "--name-only", branch, ".agentops/"]);
    for folder in ["memory/learnings/", "memory/improvements/", "memory/context/", "runs/"] {
        assert!(records.contains(&format!(".agentops/{folder}")), "{records}");
    }
    // The user's checkout is as it was.
    assert_eq!(room.git(&["rev-parse", "HEAD"]), head);
    assert_eq!(room.git(&["status", "--porcelain"]), "");
    assert!(!room.repo().join("done.txt").exists());
    // Close-out cost one session.
    let close_out = view["phases"].as_array().unwrap().last().unwrap();
    assert_eq!(close_out["lanes"][0]["sessions"].as_array().unwrap().len(), 1);
}

#[test]
fn merge_tests_the_result_and_discard_can_be_undone() {
    let room = Room::new();
    room.git(&["config", "user.name", "Person"]);
    room.git(&["config", "user.email", "person@localhost"]);
    let first = run(&room, quick_script()).expect(0).json();
    let branch = first["branch"].as_str().unwrap();
    room.git(&["switch", "-q", branch]);
    let refused = room.run(&["discard", first["run"].as_str().unwrap()]).expect(7);
    assert!(refused.stderr.contains("switch --detach"), "{refused:?}");
    assert_eq!(room.git(&["rev-parse", "--abbrev-ref", "HEAD"]), branch);
    room.git(&["switch", "-q", "main"]);
    let kept = format!("refs/agentops/discarded/{}", first["run"].as_str().unwrap());
    // A discard that was killed kept what the branch held at that time.
    room.git(&["update-ref", &kept, "main"]);
    room.run(&["discard", first["run"].as_str().unwrap()]).expect(0);
    let ended = room.run(&["cancel", first["run"].as_str().unwrap()]).expect(7);
    assert!(ended.stderr.contains("has ended") && ended.stderr.contains("agentops show"), "{ended:?}");
    assert_eq!(room.git(&["show", &format!("{kept}:done.txt")]), "done");
    let second = run(&room, quick_script()).expect(0).json();
    let merged = room.run(&["merge", second["run"].as_str().unwrap(), "--json"]).expect(0).json();
    assert_eq!(room.git(&["rev-parse", "HEAD"]), merged["commit"].as_str().unwrap());
    assert_eq!(room.git(&["log", "-1", "--format=%an"]), "Person", "a merge is the user's own");
    room.run(&["merge", second["run"].as_str().unwrap()]).expect(7);
}

#[test]
fn a_refused_gate_sends_its_findings_into_a_fresh_session() {
    let room = Room::new();
    let mut script = quick_script();
    script[0]["steps"][1]["content"] = "broken\n".into();
    let mend = json!({ "when": "What was found wrong", "steps": [
        { "do": "call", "usage": 12000 }, { "do": "write", "path": "done.txt", "content": "mended\n" }, { "do": "call", "usage": 13000 }
    ] });
    script.as_array_mut().unwrap().insert(0, mend);
    let view = run(&room, script).expect(0).json();
    let phase = &view["phases"][0];
    assert_eq!(phase["round"], 2);
    assert_eq!(phase["gates"][0]["refusals"], 1);
    assert_eq!(room.git(&["show", &format!("{}:done.txt", view["branch"].as_str().unwrap())]), "mended");
}

#[test]
fn a_gate_that_never_passes_needs_a_decision_and_cancel_keeps_the_work() {
    let room = Room::new();
    let mut script = quick_script();
    script[0]["steps"][1]["content"] = "broken\n".into();
    let view = run(&room, script).expect(4).json();
    assert_eq!(view["status"]["decision"]["kind"], "gate-refused");
    let run = view["run"].as_str().unwrap();
    room.run(&["cancel", run]).expect(0);
    let refs = room.git(&["for-each-ref", "--format=%(refname)", "refs/agentops/runs/"]);
    assert!(refs.lines().count() >= 3, "one checkpoint a session: {refs}");
}

#[test]
fn close_out_without_substance_is_refused() {
    let room = Room::new();
    let mut script = quick_script();
    script[1]["steps"][1]["content"] = close_out("invented.rs").into();
    let view = run(&room, script).expect(4).json();
    assert_eq!(view["status"]["decision"]["kind"], "gate-refused");
    assert_eq!(view["laws"][0]["held"], false);
    assert_eq!(view["branch"], serde_json::Value::Null, "no branch without the laws");
}
