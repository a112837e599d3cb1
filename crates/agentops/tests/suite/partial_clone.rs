//! Runs in a partial clone: what is missing is fetched before anything is paid, or the run says how.

use agentops::error::{NEEDS_DECISION, TRUST_REQUIRED};

use crate::room::{Room, quick_script, refs, scripted};

/// A room whose repository is a sparse partial clone, and the path of what it was cloned from.
fn partial() -> (Room, std::path::PathBuf) {
    let room = Room::new();
    room.git(&["config", "uploadpack.allowFilter", "true"]);
    room.git(&["config", "uploadpack.allowAnySHA1InWant", "true"]);
    room.file("far/away.txt", "not in the checkout\n");
    room.git(&["add", "-A"]);
    room.git(&["commit", "--quiet", "-m", "more"]);
    let origin = room.root().join("origin");
    std::fs::rename(room.repo(), &origin).unwrap();
    std::fs::create_dir(room.repo()).unwrap();
    let url = format!("file://{}", origin.display());
    room.git(&["clone", "--quiet", "--no-checkout", "--filter=blob:none", &url, "."]);
    room.git(&["sparse-checkout", "set", "--no-cone", "/check.sh", "/.agentops/"]);
    room.git(&["checkout", "--quiet", "main"]);
    room.git(&["config", "user.name", "Person"]);
    room.git(&["config", "user.email", "person@localhost"]);
    (room, origin)
}

#[test]
fn a_run_in_a_partial_clone_fetches_what_it_needs_and_its_result_merges() {
    let (room, origin) = partial();
    let view = room.run(&refs(&scripted(&room, "quick", quick_script()))).expect(0).json();
    let branch = view["branch"].as_str().unwrap();
    assert_eq!(room.git(&["show", &format!("{branch}:far/away.txt")]), "not in the checkout");
    // Meanwhile somebody changed the same project, and the person has pulled it.
    std::fs::write(origin.join("far/other.txt"), "new\n").unwrap();
    std::fs::write(origin.join("far/away.txt"), "changed there\n").unwrap();
    let git = |args: &[&str]| room.git(&[&["-C", origin.to_str().unwrap()], args].concat());
    git(&["add", "-A"]);
    git(&["commit", "--quiet", "-m", "upstream"]);
    room.git(&["pull", "--quiet", "--ff-only"]);
    let shown = room.run(&["show", view["run"].as_str().unwrap(), "--diff"]).expect(0).stdout;
    assert!(shown.contains("+done"), "{shown}");
    room.run(&["merge", view["run"].as_str().unwrap()]).expect(0);
    assert_eq!(room.git(&["show", "HEAD:far/away.txt"]), "changed there");
    assert_eq!(room.git(&["show", "HEAD:done.txt"]), "done");
}

#[test]
fn a_run_whose_remote_is_away_pauses_before_anything_is_paid_and_goes_on_later() {
    let (room, origin) = partial();
    let args = scripted(&room, "quick", quick_script());
    let away = room.root().join("away");
    std::fs::rename(&origin, &away).unwrap();
    let view = room.run(&refs(&args)).expect(NEEDS_DECISION.into()).json();
    assert_eq!(view["status"]["decision"]["kind"], "lane-failed");
    let detail = view["detail"].as_str().unwrap();
    assert!(detail.contains("of this partial clone are missing") && detail.contains("git archive"), "{detail}");
    let sessions = |view: &serde_json::Value| view["phases"][0]["lanes"][0]["sessions"].as_array().unwrap().len();
    assert_eq!(sessions(&view), 0, "nothing was paid");
    std::fs::rename(&away, &origin).unwrap();
    let done = room.run(&["resume", view["run"].as_str().unwrap(), "--json"]).expect(0).json();
    assert_eq!((&done["status"]["status"], sessions(&done)), (&"done".into(), 1));
}

#[test]
fn s2_trust_covers_what_a_partial_clone_fetches_from_and_with() {
    let (room, _) = partial();
    let shown = room.run(&["trust", "show", "--driver=scripted"]).expect(0);
    assert!(format!("{}{}", shown.stdout, shown.stderr).contains("remote of a partial clone"), "{shown:?}");
    let args = scripted(&room, "quick", quick_script());
    room.git(&["config", "core.sshCommand", "/x"]);
    room.run(&refs(&args)).expect(TRUST_REQUIRED.into());
}
