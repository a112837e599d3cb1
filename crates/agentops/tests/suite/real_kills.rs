//! R1, R2, P3, P6: as `random_kills`, with the real agent programs: they are killed as well as supervisor, keepers, gates and
//! clients, and the run ends as if nobody had been killed.
//!
//! The seed chooses the program: Claude Code, Codex, OpenCode and Gemini in turn. The programs call a scripted model server on
//! loopback.

use std::path::PathBuf;

use agentops_testkit::model::{Growth, ModelServer, Turn};

use crate::compared::Ended;
use crate::random_kills::{Stage, play, roles};
use crate::real::{Program, args_of, conversation, programs, room, script, shell, write};
use crate::room::{Room, nightly};
use crate::user_repo::{UserRepo, in_use};

/// One program with the server that answers it.
struct Agent {
    program: Program,
    bin: PathBuf,
    server: ModelServer,
}

impl Stage for Agent {
    fn room(&self) -> (Room, UserRepo) {
        let room = room(self.program, &self.bin, &self.server);
        // Long enough for a kill to find it.
        room.file("check.sh", "sleep 0.5\ntest -f done.txt && test -f more.txt\n");
        room.git(&["commit", "--quiet", "--all", "-m", "check more"]);
        in_use(&room);
        room.git(&["status"]);
        let user = UserRepo::of(&room);
        (room, user)
    }

    fn command(&self, room: &Room) -> Vec<String> {
        args_of(room, self.program, &self.server, "quick")
    }

    fn look(&self, room: &Room, run: &str, user: &UserRepo) -> Ended {
        Ended::of_real_agents(room, run, user)
    }
}

fn agent(program: Program, bin: PathBuf) -> Agent {
    let mut waits = shell("true");
    waits.delay_ms = 500;
    let turns = vec![write("done.txt", "done\n"), waits, write("more.txt", "more\n"), Turn::text("Done.")];
    let usage = Growth { base: 20_000, step: 1_000, output: 200 };
    let server = ModelServer::start(script(vec![conversation("Phase `implement`", turns, usage)])).unwrap();
    Agent { program, bin, server }
}

#[test]
fn r1_r2_p3_p6_a_run_of_real_agents_ends_the_same_whatever_is_killed_at_a_random_time() {
    if !nightly() {
        println!("skipped: 100 trials with real agents take half an hour; AGENTOPS_NIGHTLY=1 plays them");
        return;
    }
    let Some(bin) = programs() else { return };
    let all = [Program::Claude, Program::Codex, Program::OpenCode, Program::Gemini];
    println!("{}", play(&roles(), &all.map(|program| agent(program, bin.clone())), 100, 2));
}
