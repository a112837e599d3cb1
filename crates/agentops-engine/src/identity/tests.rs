//! Identities on real repositories: moved, copied, both, and with an id that somebody else wrote.

use agentops_git::Git;
use tempfile::TempDir;

use super::*;

struct Machine {
    folder: TempDir,
    home: Home,
}

impl Machine {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let home = Home { config: folder.path().join("config"), state: folder.path().join("state") };
        Self { folder, home }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// A new repository with one commit.
    fn begin(&self, name: &str) -> Repo {
        fs::create_dir(self.path(name)).unwrap();
        agentops_git::begin(&self.path(name), &[("README.md", b"one\n")], "one\n").unwrap()
    }

    fn open(&self, name: &str) -> Repo {
        Repo::discover(&Git::find().unwrap(), &self.path(name)).unwrap()
    }

    fn find(&self, name: &str) -> Result<Identity, IdentityError> {
        find(&self.open(name), &self.home)
    }

    /// The id of a repository that has a run: its state folder holds a ledger.
    fn claim(&self, name: &str) -> String {
        let id = claim(&self.open(name), &self.home).unwrap().id;
        fs::write(self.home.repository(&id).ledger(), "").unwrap();
        id
    }

    fn mv(&self, from: &str, to: &str) {
        fs::rename(self.path(from), self.path(to)).unwrap();
    }

    #[expect(clippy::disallowed_methods, reason = "the test copies as a user does")]
    fn cp(&self, from: &str, to: &str) {
        let copied = std::process::Command::new("cp").arg("-r").args([self.path(from), self.path(to)]).status();
        assert!(copied.unwrap().success());
    }

    fn write_id(&self, name: &str, id: &str) {
        let folder = self.path(name).join(".git/agentops");
        fs::create_dir_all(&folder).unwrap();
        fs::write(folder.join("repository-id"), format!("{id}\n")).unwrap();
    }

    fn git_dir(&self, name: &str) -> PathBuf {
        self.path(name).canonicalize().unwrap().join(".git")
    }
}

fn known(id: &str) -> Identity {
    Identity { id: id.to_owned(), ownership: Ownership::Known }
}

#[test]
fn r9_looking_writes_nothing_and_the_first_claim_of_many_counts() {
    let machine = Machine::new();
    let repo = machine.begin("repo");
    assert_eq!(machine.find("repo").unwrap().ownership, Ownership::New);
    let git_dir = machine.git_dir("repo");
    assert!(!machine.home.state.exists() && !git_dir.join("agentops/repository-id").exists());
    let claims = std::thread::scope(|scope| {
        let all = [(); 8].map(|()| scope.spawn(|| claim(&repo, &machine.home).unwrap().id));
        all.map(|one| one.join().unwrap())
    });
    assert_eq!(machine.find("repo").unwrap(), known(&claims[0]));
    assert!(claims.iter().all(|id| *id == claims[0]), "{claims:?}");
    std::os::unix::fs::symlink(machine.path("repo"), machine.path("link")).unwrap();
    assert_eq!(machine.find("link").unwrap(), known(&claims[0]));
}

#[test]
fn r9_a_moved_repository_keeps_its_state() {
    let machine = Machine::new();
    machine.begin("repo");
    let id = machine.claim("repo");
    let from = machine.git_dir("repo");
    machine.mv("repo", "repo2");
    assert_eq!(machine.find("repo2").unwrap(), Identity { id: id.clone(), ownership: Ownership::Moved { from } });
    assert_eq!(machine.claim("repo2"), id);
    assert_eq!(machine.find("repo2").unwrap(), known(&id));
    // What is at the old path now is another repository.
    machine.begin("repo");
    assert_eq!(machine.find("repo").unwrap().ownership, Ownership::New);
    assert_ne!(machine.claim("repo"), id);
    assert_eq!(machine.find("repo2").unwrap(), known(&id));
}

#[test]
fn s2_a_copy_is_another_repository() {
    let machine = Machine::new();
    machine.begin("repo");
    let id = machine.claim("repo");
    let lane = machine.git_dir("repo").join("agentops/lanes/a");
    fs::create_dir_all(&lane).unwrap();
    machine.cp("repo", "copy");
    let of = machine.git_dir("repo");
    assert_eq!(machine.find("copy").unwrap().ownership, Ownership::Copy { of });
    let copy = machine.claim("copy");
    assert_ne!(copy, id);
    assert_eq!((machine.find("copy").unwrap(), machine.find("repo").unwrap()), (known(&copy), known(&id)));
    // The copied records name the other repository's lanes: a leftover that is cleared there would be its work.
    assert!(lane.exists() && !machine.git_dir("copy").join("agentops/lanes").exists());
    // Afterwards each goes its own way.
    machine.mv("repo", "moved");
    assert!(
        matches!(machine.find("moved").unwrap(), Identity { id: found, ownership: Ownership::Moved { .. } } if found == id)
    );
}

#[test]
fn s2_of_a_moved_and_copied_repository_the_moved_one_keeps_the_state() {
    let machine = Machine::new();
    machine.begin("repo");
    let id = machine.claim("repo");
    machine.mv("repo", "moved");
    machine.cp("moved", "copy");
    assert!(matches!(machine.find("copy"), Err(IdentityError::Unclear { id: found, .. }) if found == id));
    assert!(claim(&machine.open("copy"), &machine.home).is_err());
    assert_eq!(machine.claim("moved"), id);
    assert!(matches!(machine.find("copy").unwrap().ownership, Ownership::Copy { .. }));
    // Also where the copy lies at the old path.
    let other = Machine::new();
    other.begin("repo");
    let id = other.claim("repo");
    other.mv("repo", "moved");
    other.cp("moved", "repo");
    assert!(
        matches!(other.find("moved").unwrap(), Identity { id: found, ownership: Ownership::Moved { .. } } if found == id)
    );
    assert_eq!(other.claim("moved"), id);
    assert!(matches!(other.find("repo").unwrap().ownership, Ownership::Copy { .. }));
}

#[test]
fn r11_a_removed_id_is_restored() {
    let machine = Machine::new();
    machine.begin("repo");
    let id = machine.claim("repo");
    for damage in ["", "not an id", "../../etc/passwd00"] {
        fs::remove_dir_all(machine.git_dir("repo").join("agentops")).unwrap();
        if !damage.is_empty() {
            machine.write_id("repo", damage);
        }
        assert_eq!(machine.find("repo").unwrap(), Identity { id: id.clone(), ownership: Ownership::Restored });
        assert_eq!(machine.claim("repo"), id);
        assert_eq!(machine.find("repo").unwrap(), known(&id));
    }
}

#[test]
fn s2_an_id_that_was_written_by_hand_opens_no_other_repositorys_state() {
    let machine = Machine::new();
    for name in ["theirs", "ours", "new"] {
        machine.begin(name);
    }
    let (theirs, ours) = (machine.claim("theirs"), machine.claim("ours"));
    machine.write_id("ours", &theirs);
    machine.write_id("new", &theirs);
    assert_eq!(machine.find("ours").unwrap(), Identity { id: ours.clone(), ownership: Ownership::Restored });
    assert!(matches!(machine.find("new").unwrap().ownership, Ownership::Copy { .. }));
    // Nor when that repository is gone.
    fs::remove_dir_all(machine.path("theirs")).unwrap();
    assert_eq!(machine.find("ours").unwrap(), Identity { id: ours.clone(), ownership: Ownership::Restored });
    assert!(matches!(machine.find("new"), Err(IdentityError::Unclear { .. })));
    assert_eq!(machine.claim("ours"), ours);
    // A link in the place of our folder is not written through.
    let outside = machine.path("outside");
    fs::create_dir(&outside).unwrap();
    fs::remove_dir_all(machine.git_dir("new").join("agentops")).unwrap();
    std::os::unix::fs::symlink(&outside, machine.git_dir("new").join("agentops")).unwrap();
    assert!(claim(&machine.open("new"), &machine.home).is_err());
    assert_eq!(fs::read_dir(&outside).unwrap().count(), 0);
}

#[test]
fn r10_the_state_of_an_older_version_is_taken_over_under_its_name() {
    let machine = Machine::new();
    let repo = machine.begin("repo");
    let old = machine.home.repository(&repo.path_id());
    old.make().unwrap();
    fs::write(old.ledger(), "").unwrap();
    assert_eq!(orphans(&machine.home, None), [Orphan { id: repo.path_id(), repository: LastRepository::NotRecorded }]);
    assert_eq!(machine.find("repo").unwrap(), Identity { id: repo.path_id(), ownership: Ownership::Restored });
    assert_eq!(machine.claim("repo"), repo.path_id());
    assert_eq!(machine.find("repo").unwrap(), known(&repo.path_id()));
    assert_eq!(orphans(&machine.home, None), []);
    machine.mv("repo", "moved");
    assert_eq!(machine.claim("moved"), repo.path_id());
    machine.begin("repo");
    assert_eq!(machine.find("repo").unwrap().ownership, Ownership::New);
}

#[test]
fn r11_a_person_adopts_what_nobody_else_uses_or_separates_a_copy() {
    let machine = Machine::new();
    machine.begin("repo");
    let id = machine.claim("repo");
    machine.cp("repo", "restored");
    let restored = machine.open("restored");
    assert!(matches!(adopt(&restored, &machine.home, &id), Err(IdentityError::InUse { .. })));
    fs::remove_dir_all(machine.path("repo")).unwrap();
    let orphaned = machine.folder.path().canonicalize().unwrap().join("repo/.git");
    assert_eq!(orphans(&machine.home, None), [Orphan { id: id.clone(), repository: LastRepository::At(orphaned) }]);
    for unknown in ["0123456789abcdef", "../config", ""] {
        assert!(matches!(adopt(&restored, &machine.home, unknown), Err(IdentityError::NoState { .. })), "{unknown}");
    }
    let lock = Lock::take(&machine.home.repository(&id).lock()).unwrap();
    assert!(matches!(adopt(&restored, &machine.home, &id), Err(IdentityError::Supervised { .. })));
    drop(lock);
    adopt(&restored, &machine.home, &id).unwrap();
    assert_eq!(machine.find("restored").unwrap(), known(&id));
    // Back and forth: the state that it leaves is nobody's until somebody adopts it.
    let own = separate(&restored, &machine.home).unwrap();
    assert_eq!(machine.find("restored").unwrap(), known(&own));
    assert_eq!(orphans(&machine.home, None), [Orphan { id: id.clone(), repository: LastRepository::GivenUp }]);
    adopt(&restored, &machine.home, &id).unwrap();
    assert_eq!(machine.find("restored").unwrap(), known(&id));
}

#[test]
fn r11_a_damaged_record_is_called_damaged_and_a_person_mends_it() {
    let machine = Machine::new();
    let repo = machine.begin("repo");
    let id = machine.claim("repo");
    let record = machine.home.repository(&id).repository_record();
    for damage in ["", "agentops repository 1\n", "\0\0\0"] {
        fs::write(&record, damage).unwrap();
        let words = machine.find("repo").unwrap_err().to_string();
        assert!(words.contains(&format!("{}, which names its repository, is damaged", record.display())), "{words}");
        assert!(!words.contains("older version"), "{words}");
        assert!(matches!(&orphans(&machine.home, None)[..], [Orphan { repository: LastRepository::Damaged(_), .. }]));
        adopt(&repo, &machine.home, &id).unwrap();
        assert_eq!(machine.find("repo").unwrap(), known(&id));
    }
    // Nobody knows whose it is, also where it has the name that an older version would have given it.
    let of_path = machine.home.repository(&machine.begin("other").path_id());
    of_path.make().unwrap();
    fs::write(of_path.ledger(), "").unwrap();
    fs::write(of_path.repository_record(), "damaged").unwrap();
    assert_eq!(machine.find("other").unwrap().ownership, Ownership::New);
}

#[test]
fn r11_a_copy_of_a_repository_whose_state_was_given_up_is_told_so() {
    let machine = Machine::new();
    let repo = machine.begin("repo");
    let id = machine.claim("repo");
    machine.cp("repo", "copy");
    separate(&repo, &machine.home).unwrap();
    let words = machine.find("copy").unwrap_err().to_string();
    assert!(words.contains(&id) && words.contains("has another state now"), "{words}");
    assert!(!words.contains(" / ") && !words.contains("at /"), "{words}");
    adopt(&machine.open("copy"), &machine.home, &id).unwrap();
    assert_eq!(machine.find("copy").unwrap(), known(&id));
}

/// A lane of a waiting run, in the state folder of this id.
fn lane_in(machine: &Machine, repo: &Repo, id: &str, name: &str) -> PathBuf {
    let folder = machine.home.repository(id).root().join("lanes").join(name);
    let lane = agentops_git::lanes::create(repo, &folder, &repo.head().unwrap().commit, name).unwrap();
    fs::write(lane.path().join("work.txt"), "work").unwrap();
    lane.path().to_owned()
}

#[test]
fn p6_lanes_of_a_state_that_its_repository_gave_up_stay_known_and_kept() {
    let machine = Machine::new();
    let repo = machine.begin("repo");
    let id = machine.claim("repo");
    let lane = lane_in(&machine, &repo, &id, "waits");
    let half = lane_in(&machine, &repo, &id, "half");
    let records = machine.git_dir("repo").join("agentops/lanes");
    fs::remove_file(records.join("half/ready")).unwrap();
    let kept = repo.read_ref("refs/agentops/lanes/waits").unwrap();
    assert!(kept.is_some());
    machine.cp("repo", "copy");

    let own = separate(&repo, &machine.home).unwrap();
    // The next run makes lanes, and clears away what crashes left.
    lane_in(&machine, &repo, &own, "next");
    assert!(lane.join("work.txt").exists() && records.join("waits/ready").exists());
    assert_eq!(repo.read_ref("refs/agentops/lanes/waits").unwrap(), kept);
    assert!(!records.join("half").exists() && half.join("work.txt").exists(), "its folder may be another repository's");
    adopt(&repo, &machine.home, &id).unwrap();
    assert_eq!(agentops_git::lanes::open(&repo, &lane).unwrap().name(), "waits");

    // A copy has none of them.
    let copy = machine.open("copy");
    separate(&copy, &machine.home).unwrap();
    assert_eq!(copy.list_refs("refs/agentops/lanes").unwrap(), []);
    assert!(!machine.git_dir("copy").join("agentops/lanes").exists() && lane.join("work.txt").exists());
}

#[test]
fn r11_another_state_folder_is_named_and_a_lost_one_as_well() {
    let machine = Machine::new();
    machine.begin("repo");
    let id = machine.claim("repo");
    let other = Home { state: machine.path("elsewhere"), ..machine.home.clone() };
    let last = Some(machine.home.state.clone());
    assert_eq!(
        find(&machine.open("repo"), &other).unwrap(),
        Identity { id: id.clone(), ownership: Ownership::Absent { last } }
    );
    assert_eq!(claim(&machine.open("repo"), &other).unwrap().id, id);
    assert_eq!(find(&machine.open("repo"), &other).unwrap(), known(&id));
    assert_eq!(machine.find("repo").unwrap(), known(&id), "the first state folder is still its own");
    machine.claim("repo");
    fs::remove_dir_all(&machine.home.state).unwrap();
    let last = Some(machine.home.state.clone());
    assert_eq!(machine.find("repo").unwrap(), Identity { id, ownership: Ownership::Absent { last } });
}
