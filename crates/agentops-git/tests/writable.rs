//! Folders that cannot be written are found before anything is written.

mod room;

use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt, lchown};
use std::path::Path;

use agentops_git::{Expect, Repo, Unwritable, unwritable};
use room::Room;
use rustix::process::geteuid;

const REFS: [&str; 3] = ["refs/agentops/runs", "refs/agentops/lanes", "refs/heads/agentops"];
const NOBODY: u32 = 65_534;

/// Does it as an ordinary user: root may write everywhere. Only this thread becomes one.
fn as_ordinary_user(room: &Room, work: impl FnOnce() + Send) {
    std::thread::scope(|scope| {
        let done = scope.spawn(|| {
            if geteuid().is_root() {
                give_away(&room.path(""));
                let nobody = rustix::process::Uid::from_raw(NOBODY);
                rustix::thread::set_thread_res_uid(nobody, nobody, nobody).unwrap();
            }
            work();
        });
        done.join().unwrap();
    });
}

fn give_away(path: &Path) {
    lchown(path, Some(NOBODY), Some(NOBODY)).unwrap();
    if path.is_dir() && !path.is_symlink() {
        fs::read_dir(path).unwrap().for_each(|entry| give_away(&entry.unwrap().path()));
    }
}

fn set(path: &Path, mode: u32) {
    fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
}

/// Folders, as they lie in the git directory, and what is to be mended.
fn found(repo: &Repo) -> Vec<(String, String)> {
    let common = repo.common_dir();
    let name = |path: &Path| path.strip_prefix(common).unwrap().display().to_string();
    let folders = repo.unwritable_folders(&REFS);
    assert!(folders.iter().all(|folder| folder.why == Unwritable::Permissions), "{folders:?}");
    folders.iter().map(|folder| (name(&folder.path), name(&folder.mend))).collect()
}

#[test]
fn r5_folders_of_a_repository_that_cannot_be_written_are_found() {
    let (room, repo) = Room::with_repo();
    let base = repo.head().unwrap().commit;
    repo.update_ref("refs/agentops/runs/r-1/x", &base, &Expect::Absent).unwrap();
    repo.update_ref("refs/heads/agentops/r-1", &base, &Expect::Absent).unwrap();
    fs::create_dir_all(repo.common_dir().join("agentops/lanes")).unwrap();
    let fan_out = (0..=255).map(|byte| format!("objects/{byte:02x}")).find(|name| repo.common_dir().join(name).is_dir());
    let fan_out = fan_out.unwrap();
    as_ordinary_user(&room, || {
        assert_eq!(found(&repo), []);
        for (folder, mend) in [
            ("", ""),
            ("objects", "objects"),
            ("objects/pack", "objects"),
            (&fan_out, "objects"),
            ("agentops/lanes", "agentops"),
            ("refs/agentops/runs", "refs"),
            ("refs/agentops", "refs"),
            ("refs/heads/agentops", "refs"),
        ] {
            let path = repo.common_dir().join(folder);
            set(&path, 0o555);
            assert_eq!(found(&repo), [(folder.to_owned(), mend.to_owned())]);
            set(&path, 0o755);
        }
        // Nothing is made in these: all that a run writes lies deeper, and is there.
        for folder in ["refs", "refs/heads", "refs/tags", "hooks"] {
            let path = repo.common_dir().join(folder);
            set(&path, 0o555);
            assert_eq!(found(&repo), [], "{folder}");
            set(&path, 0o755);
        }
        // One command mends all of these.
        for folder in ["objects", "objects/pack", &fan_out] {
            set(&repo.common_dir().join(folder), 0o555);
        }
        assert_eq!(found(&repo), [("objects".to_owned(), "objects".to_owned())]);
        for folder in ["objects", "objects/pack", &fan_out] {
            set(&repo.common_dir().join(folder), 0o755);
        }
        let lanes = repo.common_dir().join("agentops/lanes");
        fs::remove_dir(&lanes).unwrap();
        fs::write(&lanes, "").unwrap();
        let folders = repo.unwritable_folders(&REFS);
        assert!(folders.iter().map(|folder| (&folder.path, folder.why)).eq([(&lanes, Unwritable::NoFolder)]), "{folders:?}");
        if room.path("..").metadata().is_ok_and(|meta| meta.permissions().mode() & 0o002 == 0) {
            assert_eq!(unwritable(&room.path("..")), Some(Unwritable::OtherOwner { user: 0 }));
        }
    });
}
