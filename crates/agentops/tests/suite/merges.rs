//! The test of a merge, beside supervisors that come and go.

use serde_json::json;

use crate::room::{Room, marked, quick_script, refs, scripted};

#[test]
fn p3_a_supervisor_that_starts_ends_no_gate_of_a_merge_that_is_at_work() {
    let room = Room::new();
    let (arrived, go, now) = (room.pipe("arrived"), room.pipe("go"), room.root().join("now"));
    // The gate of the merged result waits for the test; the one of the run itself does not.
    let check = format!(
        "test ! -e '{}' || {{ echo in > '{}'; cat '{}'; }}\ntest -f done.txt\n",
        now.display(),
        arrived.display(),
        go.display()
    );
    let mut script = quick_script();
    let steps = script[0]["steps"].as_array_mut().unwrap();
    steps.insert(1, json!({ "do": "write", "path": "check.sh", "content": check }));
    let view = room.run(&refs(&scripted(&room, "quick", script))).expect(0).json();
    let run = view["run"].as_str().unwrap();
    room.name_user();

    std::fs::write(&now, "").unwrap();
    let merge = room.command(&["merge", run]).stdout(std::process::Stdio::null()).spawn().unwrap();
    assert_eq!(std::fs::read_to_string(&arrived).unwrap(), "in\n");
    room.kill_supervisor();
    // Another run starts the next supervisor, which ends what the one before left.
    room.run(&refs(&scripted(&room, "quick", quick_script()))).expect(0);
    assert_eq!(marked(&room).len(), 2, "the gate's shell and its cat");
    std::fs::write(&go, "go\n").unwrap();
    let merged = merge.wait_with_output().unwrap();
    assert!(merged.status.success(), "{merged:?}");
    assert!(room.git(&["ls-tree", "--name-only", "HEAD"]).contains("done.txt"));
    assert!(marked(&room).is_empty());
}
