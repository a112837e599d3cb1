//! What the command line is given instead of a file: each is read, or refused in words that help, in bounded time and memory.

use std::ffi::OsStr;
use std::fs;
use std::io::Write;
use std::os::unix::ffi::OsStrExt;
use std::process::Stdio;

use agentops::error::USAGE;

use crate::room::{Ran, Room};

const KINDS: [&str; 5] = ["log", "data", "transcript", "conversation", "patch"];

#[test]
fn a_missing_file_is_refused_by_name() {
    let room = Room::empty();
    for kind in KINDS {
        room.run(&["bundle", kind, "--file=missing.txt"]).refused(USAGE, &["missing.txt"]);
    }
    room.run(&["bundle", "code", "--root=missing", "--task=x"]).refused(USAGE, &["missing"]);
}

#[test]
fn an_empty_file_is_told_and_no_success_of_100_percent() {
    let room = Room::empty();
    for content in ["", "\n\n", "\u{feff}"] {
        room.file("empty", content);
        for kind in KINDS {
            let ran = room.run(&["bundle", kind, "--file=empty"]);
            assert!(!ran.stderr.contains("panicked"), "{kind}: {ran:#?}");
            assert!(!ran.stderr.contains("100 %"), "{kind}: {ran:#?}");
            assert!(ran.stderr.contains("empty"), "{kind}: {ran:#?}");
        }
    }
}

#[test]
fn a_folder_where_a_file_is_wanted_is_refused_with_what_reads_folders() {
    let room = Room::empty();
    room.file("src/a.rs", "fn a() {}\n");
    for kind in KINDS {
        room.run(&["bundle", kind, "--file=src"]).refused(USAGE, &["src", "folder", "bundle code"]);
    }
    room.run(&["bundle", "code", "--root=src/a.rs", "--task=x"]).refused(USAGE, &["src/a.rs"]);
}

#[test]
fn a_budget_of_nothing_is_refused_with_what_is_needed() {
    let room = Room::empty();
    room.file("a.log", &"2026-01-02 ERROR it broke\n".repeat(50));
    for kind in KINDS {
        room.run(&["bundle", kind, "--file=a.log", "--budget=0"]).refused(USAGE, &["budget"]);
    }
    room.run(&["bundle", "code", "--task=x", "--budget=0"]).refused(USAGE, &["budget"]);
}

#[test]
fn the_standard_input_is_read_to_its_end() {
    let room = Room::empty();
    let mut child = room.command(&["bundle", "log", "--file=-", "--budget=200"]);
    let mut child = child.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut input = child.stdin.take().unwrap();
    let writer = std::thread::spawn(move || {
        for at in 0..2000 {
            writeln!(input, "2026-01-02 03:04:05 INFO row {at}").unwrap();
        }
        writeln!(input, "2026-01-02 03:04:06 ERROR the pipe ends here").unwrap();
    });
    let ran = Ran::of(&child.wait_with_output().unwrap()).expect(0);
    writer.join().unwrap();
    assert!(ran.stdout.contains("the pipe ends here"), "{ran:#?}");
}

#[test]
fn an_endless_device_and_a_pipe_that_nobody_writes_are_refused_at_once() {
    let room = Room::empty();
    room.run(&["bundle", "log", "--file=/dev/zero"]).refused(USAGE, &["/dev/zero", "device"]);
    let pipe = room.pipe("waiting");
    let file = format!("--file={}", pipe.display());
    room.run(&["bundle", "log", &file]).refused(USAGE, &["waiting", "pipe", "--file -"]);
}

#[test]
fn a_compressed_file_is_read_or_refused_with_the_command_that_unpacks_it() {
    let room = Room::empty();
    let compressed: [(&str, &[u8], &str); 4] = [
        ("a.log.gz", b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\x03\x4b\x2d\x2a\xca\x2f\x02\x00", "gzip -dc"),
        ("a.log.zst", b"\x28\xb5\x2f\xfd\x20\x06\x31\x00\x00error\n", "zstd -dc"),
        ("a.log.xz", b"\xfd7zXZ\x00\x00\x04\xe6\xd6\xb4\x46", "xz -dc"),
        ("a.log.bz2", b"BZh91AY&SY\x00\x01\x02", "bzip2 -dc"),
    ];
    for (name, content, unpacks) in compressed {
        fs::write(room.repo().join(name), content).unwrap();
        for kind in KINDS {
            room.run(&["bundle", kind, &format!("--file={name}")]).refused(USAGE, &[name, "compressed", unpacks]);
        }
    }
}

#[test]
fn a_picture_is_refused_and_not_scored() {
    let room = Room::empty();
    let mut picture = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR".to_vec();
    picture.extend((0..4000_u32).map(|at| (at.wrapping_mul(2_654_435_761) >> 13) as u8));
    fs::write(room.repo().join("picture.png"), picture).unwrap();
    for kind in KINDS {
        let ran = room.run(&["bundle", kind, "--file=picture.png"]);
        assert!(!ran.stderr.contains("100 %") && !ran.stderr.contains("panicked"), "{kind}: {ran:#?}");
        assert!(ran.code != 0 || ran.stderr.contains("not read"), "{kind}: {ran:#?}");
    }
}

#[test]
fn a_path_that_is_no_utf_8_is_read_and_told() {
    let room = Room::empty();
    let name = OsStr::from_bytes(b"gr\xfcn.log");
    fs::write(room.repo().join(name), "2026-01-02 ERROR the green one failed\n").unwrap();
    let mut file = std::ffi::OsString::from("--file=");
    file.push(name);
    let ran = Ran::of(&room.command(&["bundle", "log"]).arg(&file).output().unwrap()).expect(0);
    assert!(ran.stdout.contains("the green one failed"), "{ran:#?}");
    fs::remove_file(room.repo().join(name)).unwrap();
    let missing = Ran::of(&room.command(&["bundle", "log"]).arg(&file).output().unwrap());
    missing.refused(USAGE, &["gr\u{fffd}n.log"]);
}

#[test]
fn a_task_that_says_nothing_is_refused_with_an_example() {
    let room = Room::empty();
    room.file("src/a.rs", "fn a() {}\n");
    for task in ["", "   ", "\n"] {
        room.run(&["bundle", "code", &format!("--task={task}")]).refused(USAGE, &["task"]);
    }
    room.file("empty.txt", "");
    room.run(&["bundle", "code", "--query-file=empty.txt"]).refused(USAGE, &["task"]);
}

#[test]
fn a_task_that_begins_with_dashes_is_taken_or_told_how() {
    let room = Room::empty();
    room.file("src/flags.rs", "fn json_flag() {}\n");
    let ran = room.run(&["bundle", "code", "--task", "--json flag prints nothing"]);
    let helps = ran.stderr.contains("--task=") || ran.stderr.contains("'--task");
    assert!(ran.code == 0 && ran.stdout.contains("json_flag") || helps, "{ran:#?}");
    let taken = room.run(&["bundle", "code", "--task=--json flag prints nothing"]).expect(0);
    assert!(taken.stdout.contains("json_flag"), "{taken:#?}");
}

#[test]
fn a_small_source_does_not_grow() {
    let room = Room::empty();
    room.file(
        "small.log",
        "2026-01-02 03:04:05 INFO start\n2026-01-02 03:04:06 ERROR no route to shop\n2026-01-02 03:04:07 INFO end\n",
    );
    room.file("small.csv", "id,name\n1,a\n2,b\n");
    room.file("small.json", "{\"a\": [1, 2], \"b\": {\"c\": null}}\n");
    room.file("small.diff", "diff --git a/f b/f\n--- a/f\n+++ b/f\n@@ -1 +1 @@\n-a\n+b\n");
    room.file("small.md", "We keep it, because it is fast.\n");
    for (kind, file) in [
        ("log", "small.log"),
        ("data", "small.csv"),
        ("data", "small.json"),
        ("patch", "small.diff"),
        ("conversation", "small.md"),
    ] {
        let view = room.run(&["bundle", kind, &format!("--file={file}"), "--json"]).expect(0).json();
        assert!(view["tokens_after"].as_u64() <= view["tokens_before"].as_u64(), "{file}: {view:#}");
    }
}

#[test]
fn a_kept_bundle_reads_any_encoding_and_names_what_is_no_text() {
    let room = Room::new();
    room.file("notes.md", "We keep the export, because two customers read it.\n");
    fs::write(room.repo().join("install.log"), super::utf16("INFO start\r\nERROR 1603 fatal error\r\nINFO end\r\n"))
        .unwrap();
    fs::write(room.repo().join("old.log.gz"), b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\x03\x4b\x2d\x2a\xca\x2f\x02\x00")
        .unwrap();
    let made = room.run(&["bundle", "create", "--json", "notes.md", "install.log", "old.log.gz"]).expect(0).json();
    let body = made["body"].as_str().unwrap();
    assert!(body.contains("ERROR 1603 fatal error") && body.contains("two customers read it"), "{made:#}");
    assert!(made["kept"].as_f64().unwrap() < 1.0, "{made:#}");
    assert!(made["manifest"]["fidelity"]["omitted"].to_string().contains("old.log.gz"), "{made:#}");
    room.run(&["bundle", "create", "/dev/zero"]).refused(USAGE, &["/dev/zero", "device"]);
}
