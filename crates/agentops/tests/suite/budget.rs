//! A run's budget, with the real Claude Code behind the gateway: the call that does not fit is not made, a person lets more be
//! spent, and the run goes on.

use agentops_testkit::model::{Conversation, Growth, ModelServer, Script, Turn};

use serde_json::Value;

use crate::real::{Program, programs, room, shell, write};
use crate::room::{close_out, refs};

#[test]
fn b3_a_run_stops_at_its_budget_and_goes_on_when_it_is_raised() {
    let Some(bin) = programs() else { return };
    let large = Growth { base: 30_000, step: 1_000, output: 200 };
    let conversation =
        |when: &str, turns: Vec<Turn>| Conversation { when: when.into(), turns, on: Vec::new(), usage: Some(large) };
    let conversations = vec![
        conversation(
            "Phase `close-out`",
            vec![write(".agentops-out/close-out.json", &close_out("done.txt")), Turn::text("Closed.")],
        ),
        conversation(
            "Phase `implement`",
            vec![shell("true"), shell("echo done > done.txt"), shell("true"), Turn::text("Done.")],
        ),
    ];
    let server = ModelServer::start(Script { conversations, ..Script::default() }).unwrap();
    let mut room = room(Program::Claude, &bin, &server);
    room.set("CLAUDE_CODE_MAX_RETRIES", "0");
    room.file(
        ".agentops/workflows/small.toml",
        "name = \"small\"\ndescription = \"With a budget.\"\n[budget]\ntokens = 120_000\n[[phase]]\nname = \"implement\"\n\
         writes = \"files\"\nagent = \"implement\"\n[[phase.gate]]\nkind = \"command\"\nuse = \"test\"\n[[phase]]\nname = \"close-out\"\n\
         writes = \"artifacts\"\nagent = \"close-out\"\n[[phase.gate]]\nkind = \"artifact\"\nfile = \"close-out.json\"\nschema = \"close-out\"\n",
    );
    let mut args: Vec<String> = [
        "run",
        "write done.txt",
        "--workflow=small",
        "--approve=all",
        "--json",
        "--driver=claude",
        "--model=claude-sonnet-4-5",
    ]
    .map(str::to_owned)
    .into();
    let dry = room.run(&[&refs(&args)[..], &["--dry-run"]].concat()).expect(0).json();
    args.push(format!("--trust={}", dry["subject"]["hash"].as_str().unwrap()));
    let view = room.run(&refs(&args)).expect(agentops::error::NEEDS_DECISION.into()).json();
    assert_eq!(view["status"]["decision"]["kind"], "budget", "{view:#}");
    let spent = view["budget"]["spent"]["tokens"].as_u64().unwrap();
    assert!(spent > 0 && spent <= 120_000, "{view:#}");
    assert!(view["budget"]["spent"]["micro_usd"].as_u64().unwrap() > 0, "{view:#}");
    let next = view["next"][0].as_str().unwrap();
    assert!(next.ends_with("--raise tokens=240000"), "{next}");
    let shown = room.run(&["show"]).expect(0).stdout;
    assert!(shown.contains("of 120k tokens") && shown.contains(next), "{shown}");
    // It can be raised only, and only a budget that there is.
    for wrong in [&["--raise", "tokens=1"][..], &["--raise", "usd=5"], &["--raise", "tokens=many"]] {
        let refused = room.run(&[&["resume"], wrong].concat());
        assert!([agentops::error::USAGE, agentops::error::NOT_NOW].map(i32::from).contains(&refused.code), "{refused:#?}");
    }
    let lane = ["resume", "--raise", "tokens=900000", "--budget", "lane:implement/implement"];
    assert!(room.run(&lane).expect(agentops::error::USAGE.into()).stderr.contains("no limit"));
    // The second session begins anew, and needs more than is left; what is suggested then is enough.
    let raise = |view: &Value| {
        let next = view["next"][0].as_str().unwrap();
        room.run(&next.split(' ').skip(1).chain(["--json"]).collect::<Vec<_>>())
    };
    let more = raise(&view).expect(agentops::error::NEEDS_DECISION.into()).json();
    let done = raise(&more).expect(0).json();
    assert_eq!(done["status"]["status"], "done", "{done:#}");
    assert_eq!(done["budget"]["limits"]["tokens"], 480_000);
    let of = |value: &Value| value["budget"]["spent"]["tokens"].as_u64().unwrap();
    let phases: u64 = done["phases"].as_array().unwrap().iter().map(of).sum();
    assert_eq!(of(&done), phases);
    assert!(of(&done) <= 480_000, "{done:#}");
    let shown = room.run(&["show"]).expect(0).stdout;
    assert!(shown.contains("(list price of ") && shown.contains("prevented"), "{shown}");
}
