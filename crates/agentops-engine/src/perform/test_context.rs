//! A repository, a state folder and a run for tests of single actions.

use std::sync::Arc;
use std::sync::mpsc::channel;

use agentops_core::id::Commit;
use agentops_core::run::{Created, Event, State};
use agentops_safe::Redactor;

use super::Ctx;
use crate::blobs::Blobs;
use crate::fixture;
use crate::paths::Home;
use crate::ports::Ports;
use crate::reserve::Reserve;
use crate::slots::Slots;
use crate::world::SystemClock;

/// A context over a new repository with one commit, and a run that has just been created. They live as long as the folder.
pub(crate) fn new() -> (tempfile::TempDir, Ctx, State) {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().canonicalize().unwrap();
    std::fs::create_dir(root.join("repo")).unwrap();
    let files: [(&str, &[u8]); 1] = [(".gitattributes", b"*.raw filter=nobody\n")];
    let repo = agentops_git::begin(&root.join("repo"), &files, "one\n").unwrap();
    let home = Home { config: root.join("config"), state: root.join("state") };
    let paths = home.repository(repo.id());
    paths.make().unwrap();
    let blobs = Blobs::open(&paths.blobs(), Redactor::new([])).unwrap();
    let base: Commit = repo.head().unwrap().commit.as_str().parse().unwrap();
    let created = fixture::created(1, &fixture::workflow(), blobs.put_text("a task").unwrap());
    let state = State::first(&Event::Created(Box::new(Created { base, ..created })), 1).unwrap();
    let ctx = Ctx {
        repo,
        clock: SystemClock::default(),
        exe: "/nowhere/agentops".into(),
        env: Arc::default(),
        environments: Arc::default(),
        // Nobody listens.
        tell: channel().0,
        gateways: Arc::default(),
        slots: Slots::new(paths.slots(), 1),
        slot: None,
        ports: Ports::new(paths.ports()),
        reserve: Arc::new(Reserve::at(paths.reserve())),
        stops: Default::default(),
        merge: None,
        blobs,
        paths,
    };
    (folder, ctx, state)
}
