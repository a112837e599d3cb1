//! Sessions of agent programs in the forms in which those programs leave them: found, or counted as not read.

use std::fs;

use serde_json::{Value, json};

use crate::room::Room;

/// A frame of Zstandard that stores its content as it is (RFC 8878: single segment, raw blocks).
fn stored_zst(content: &[u8]) -> Vec<u8> {
    let mut frame = vec![0x28, 0xb5, 0x2f, 0xfd, 0b1010_0000];
    frame.extend(u32::try_from(content.len()).unwrap().to_le_bytes());
    let mut blocks = content.chunks(60_000).peekable();
    while let Some(block) = blocks.next() {
        let last = u32::from(blocks.peek().is_none());
        let header = (u32::try_from(block.len()).unwrap() << 3) | last;
        frame.extend(&header.to_le_bytes()[..3]);
        frame.extend(block);
    }
    frame
}

/// A rollout of Codex in which this was said.
fn rollout(text: &str) -> String {
    let meta =
        json!({ "timestamp": "2031-04-06T10:00:00Z", "type": "session_meta", "payload": { "id": "x", "cwd": "/shop" } });
    let said = json!({ "timestamp": "2031-04-06T10:00:01Z", "type": "response_item", "payload": { "type": "message", "role": "assistant", "content": [{ "type": "output_text", "text": text }] } });
    format!("{meta}\n{said}\n")
}

/// A room with these files in the folder of Codex.
fn codex(files: &[(&str, Vec<u8>)]) -> Room {
    let room = Room::new();
    for (path, content) in files {
        let path = room.root().join("home/.codex").join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    }
    room
}

#[track_caller]
fn found(room: &Room, query: &str) -> Value {
    room.run(&["recall", query, "--all", "--json"]).expect(0).json()
}

#[test]
fn a_compressed_rollout_is_found_or_counted_as_not_read() {
    let room = codex(&[(
        "sessions/2031/04/02/rollout-2031-04-02T10-00-00-b.jsonl.zst",
        stored_zst(rollout("The walrus retries with jitter.").as_bytes()),
    )]);
    let found = found(&room, "walrus jitter");
    let not_read: u64 =
        found["searched"].as_array().unwrap().iter().map(|searched| searched["not_read"].as_u64().unwrap_or(0)).sum();
    assert!(found["passages"].to_string().contains("walrus retries") || not_read == 1, "{found:#}");
}

#[test]
fn an_archived_rollout_is_found() {
    let room = codex(&[(
        "archived_sessions/rollout-2031-04-03T10-00-00-c.jsonl",
        rollout("The otter has a lease of 90 seconds.").into_bytes(),
    )]);
    let found = found(&room, "otter lease");
    assert!(found["passages"].to_string().contains("lease of 90 seconds"), "{found:#}");
}

#[test]
fn a_compressed_rollout_that_is_damaged_is_counted_as_not_read() {
    let room =
        codex(&[("sessions/2031/04/02/rollout-2031-04-02T10-00-00-b.jsonl.zst", b"\x28\xb5\x2f\xfdnot a frame".to_vec())]);
    let found = found(&room, "walrus jitter");
    let people = room.run(&["recall", "walrus jitter", "--all"]).expect(0);
    assert!(found.to_string().contains("rollout-2031") || people.stderr.contains("not read"), "{people:#?} {found:#}");
}

#[test]
fn a_compaction_is_not_told_as_your_words() {
    let mut text = rollout("Done with the heron.");
    text.push_str(&json!({ "timestamp": "2031-04-06T10:00:02Z", "type": "compacted", "payload": { "message": "Summary so far: the heron uses port 7100." } }).to_string());
    let room = codex(&[("sessions/2031/04/06/rollout-2031-04-06T10-00-00-d.jsonl", text.into_bytes())]);
    let found = found(&room, "heron port");
    let passages = found["passages"].as_array().unwrap();
    let summary = passages.iter().find(|passage| passage.to_string().contains("7100")).expect("the summary is found");
    assert_ne!(summary["speaker"], "you", "{summary:#}");
    assert_ne!(summary["who"], "you", "{summary:#}");
}

#[test]
fn a_session_behind_a_byte_order_mark_is_found() {
    let room = codex(&[(
        "sessions/2031/04/06/rollout-2031-04-06T10-00-00-e.jsonl",
        super::marked(&rollout("The lynx caches for 12 minutes.")).into_bytes(),
    )]);
    let found = found(&room, "lynx caches");
    assert!(found["passages"].to_string().contains("12 minutes"), "{found:#}");
}
