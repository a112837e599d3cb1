//! Files that git refuses or that are too large: they are named, stay in the lane, and keep no other file from a checkpoint.

mod room;

use std::fs::{self, File};
use std::path::Path;

use agentops_git::{Checkpoint, Error, Oid, SizeLimits, Why};
use room::{Fixture, Room, author, omitted, write};

const TERABYTES: u64 = 8 << 40;

fn fixture() -> Fixture {
    let (room, repo) = Room::with_repo();
    write(&repo.work_tree().join("old.u16"), "before");
    write(&repo.work_tree().join("empty"), "");
    room.git(repo.work_tree(), &["add", "."]);
    room.git(repo.work_tree(), &["commit", "-qm", "more"]);
    Fixture::of((room, repo))
}

impl Fixture {
    fn write(&self, path: &str, text: &str) {
        write(&self.lane.path().join(path), text);
    }

    fn write_sparse(&self, path: &str, bytes: u64) {
        sparse(&self.lane.path().join(path), bytes);
    }

    fn try_checkpoint(&self, parent: &Oid) -> Result<Checkpoint, Error> {
        self.lane.checkpoint(parent, "work", &author(), 7, &self.room.scratch())
    }

    fn checkpoint(&self) -> Checkpoint {
        self.try_checkpoint(&self.base).unwrap()
    }

    fn limited(mut self, file_bytes_max: u64, checkpoint_bytes_max: u64) -> Self {
        self.lane = self.lane.with_limits(SizeLimits { file_bytes_max, checkpoint_bytes_max });
        self
    }
}

fn sparse(path: &Path, bytes: u64) {
    File::options().create(true).truncate(false).write(true).open(path).unwrap().set_len(bytes).unwrap();
}

fn changes(point: &Checkpoint) -> Vec<&str> {
    point.changed.iter().map(|change| change.path.to_str().unwrap()).collect()
}

#[test]
fn p6_each_of_many_files_whose_names_git_refuses_is_named() {
    let fixture = fixture();
    // Git takes such a name for `.git`. Its messages about them are longer than what is read of them.
    let folders: Vec<String> = (0..500).map(|number| format!("{}\n{number:03}", "long".repeat(40))).collect();
    for folder in &folders {
        fixture.write(&format!("{folder}/git~1"), "1");
    }
    fixture.write("good.txt", "1");
    let point = fixture.checkpoint();
    let named: Vec<String> = folders.iter().map(|folder| format!("{folder}/git~1")).collect();
    assert_eq!(omitted(&point), named.iter().map(|path| (path.as_str(), Why::BadName)).collect::<Vec<_>>());
    assert_eq!(changes(&point), ["good.txt"]);
}

#[test]
fn p6_a_file_that_git_refuses_is_named_and_all_others_are_kept() {
    let fixture = fixture();
    fixture.write(".gitattributes", "*.u16 working-tree-encoding=UTF-16\n*.bom working-tree-encoding=UTF-16LE\n");
    // UTF-16 with an odd number of bytes, and a mark that this name of the encoding prohibits.
    for path in ["a.u16", "dir/line\nend.u16", "old.u16", "z.u16"] {
        fixture.write(path, "abc");
    }
    fs::write(fixture.lane.path().join("mark.bom"), b"\xff\xfea\0").unwrap();
    fs::write(fixture.lane.path().join("good.u16"), b"\xff\xfea\0").unwrap();
    for path in ["b.txt", "dir/c.txt", "y.txt", "zz.txt"] {
        fixture.write(path, "text\n");
    }
    let point = fixture.checkpoint();
    let refused = ["a.u16", "dir/line\nend.u16", "mark.bom", "old.u16", "z.u16"];
    assert_eq!(omitted(&point), refused.map(|path| (path, Why::Refused)));
    assert_eq!(changes(&point), [".gitattributes", "b.txt", "dir/c.txt", "good.u16", "y.txt", "zz.txt"]);
    assert_eq!(fixture.repo.read_file(&point.commit, "old.u16").unwrap().unwrap(), b"before");
    assert_eq!(fixture.try_checkpoint(&point.commit).unwrap().commit, point.commit, "a repetition comes to the same");

    // A later round neither loses them, nor are they taken for part of the commit.
    fixture.lane.reset_to(&point.commit).unwrap();
    for path in refused {
        assert!(fixture.lane.path().join(path).exists(), "{path}");
    }
    assert_eq!(fs::read(fixture.lane.path().join("old.u16")).unwrap(), b"abc");
    // With the attribute goes the refusal.
    fixture.write(".gitattributes", "");
    let whole = fixture.try_checkpoint(&point.commit).unwrap();
    assert_eq!(omitted(&whole), []);
    let mut expected = refused.to_vec();
    expected.insert(0, ".gitattributes");
    // Git reads a file again for which another attribute holds only if it was written in the same moment as the index.
    assert_eq!(changes(&whole).into_iter().filter(|path| *path != "good.u16").collect::<Vec<_>>(), expected);
}

#[test]
fn p6_an_object_store_that_refuses_every_file_is_no_refusal_of_a_file() {
    let fixture = fixture();
    fixture.write("new.txt", "new\n");
    // A file in place of each folder of objects refuses every user, also root.
    let objects = fixture.repo.common_dir().join("objects");
    for folder in 0..=255 {
        let folder = objects.join(format!("{folder:02x}"));
        if !folder.exists() {
            fs::write(folder, "").unwrap();
        }
    }
    for name in ["a", "b", "c", "d", "e", "f", "g", "h"] {
        fixture.write(name, name);
    }
    let error = fixture.try_checkpoint(&fixture.base).unwrap_err();
    assert!(matches!(error, Error::Failed { .. }), "{error}");
}

#[test]
fn p6_a_sparse_file_of_terabytes_is_named_and_not_read() {
    let fixture = fixture();
    fixture.write("new.txt", "new\n");
    for path in ["huge.bin", "a.txt", "empty"] {
        fixture.write_sparse(path, TERABYTES);
    }
    // As many bytes more as git's index counts in a circle: for git the size is that of the old file.
    fixture.write_sparse("old.u16", TERABYTES + 6);
    let named = ["a.txt", "empty", "huge.bin", "old.u16"].map(|path| (path, Why::TooLarge));
    let point = fixture.checkpoint();
    assert_eq!((changes(&point), omitted(&point)), (vec!["new.txt"], named.to_vec()));
    // Without our index every file is looked at again.
    fs::write(fixture.repo.common_dir().join("agentops/lanes/one/index"), "garbage").unwrap();
    let again = fixture.try_checkpoint(&point.commit).unwrap();
    assert_eq!((&again.commit, omitted(&again)), (&point.commit, named.to_vec()));
    fixture.lane.reset_to(&point.commit).unwrap();
    assert_eq!(fs::metadata(fixture.lane.path().join("a.txt")).unwrap().len(), TERABYTES);
    for path in ["huge.bin", "a.txt", "empty", "old.u16"] {
        fixture.write_sparse(path, 2);
    }
    let small = fixture.try_checkpoint(&point.commit).unwrap();
    assert_eq!((changes(&small), omitted(&small)), (vec!["a.txt", "empty", "huge.bin", "old.u16"], vec![]));
}

#[test]
fn p6_a_checkpoint_takes_the_smaller_files_up_to_its_limit() {
    let fixture = fixture().limited(100, 250);
    for (path, bytes) in [("a", 100), ("b", 101), ("c", 90), ("d", 99), ("e", 10)] {
        fixture.write_sparse(path, bytes);
    }
    let point = fixture.checkpoint();
    assert_eq!((changes(&point), omitted(&point)), (vec!["c", "d", "e"], vec![("a", Why::TooLarge), ("b", Why::TooLarge)]));
    // The next one has room for what was left out by its total alone.
    let next = fixture.try_checkpoint(&point.commit).unwrap();
    assert_eq!((changes(&next), omitted(&next)), (vec!["a"], vec![("b", Why::TooLarge)]));
}

#[test]
fn a_large_file_of_set_up_is_not_read_and_not_named_until_the_agent_changes_it() {
    let fixture = fixture();
    fixture.write_sparse("model.bin", TERABYTES);
    fixture.lane.record_baseline(&[]).unwrap();
    fixture.write("new.txt", "new\n");
    let point = fixture.checkpoint();
    assert_eq!((changes(&point), omitted(&point)), (vec!["new.txt"], vec![]));
    fixture.write_sparse("model.bin", TERABYTES + 1);
    let point = fixture.try_checkpoint(&point.commit).unwrap();
    assert_eq!(omitted(&point), [("model.bin", Why::TooLarge)]);
}

#[test]
fn p6_ignore_rules_that_git_cannot_read_are_named_and_hold_up_nothing_once_they_are_gone() {
    let fixture = fixture();
    fixture.write("new.txt", "new\n");
    fs::create_dir(fixture.lane.path().join("deep")).unwrap();
    fixture.write_sparse("deep/.gitignore", TERABYTES);
    let rules = fixture.lane.path().join("deep/.gitignore");
    match fixture.try_checkpoint(&fixture.base) {
        Err(Error::IgnoreRulesTooLarge { path, bytes }) => assert_eq!((path, bytes), (rules.clone(), TERABYTES)),
        // Newer versions of git leave them out.
        Ok(point) => assert_eq!(omitted(&point), [("deep/.gitignore", Why::TooLarge)]),
        Err(error) => panic!("{error}"),
    }
    fs::remove_file(rules).unwrap();
    let point = fixture.checkpoint();
    assert_eq!((changes(&point), omitted(&point)), (vec!["new.txt"], vec![]));
}
