//! What holds for the readers of requests whatever they read.

use agentops_gateway::protocol::{self, BodyPart, Protocol};
use agentops_gateway::scan::Layout;
use serde_json::Value;

/// Reads the bytes after the first, which says whose protocol it is. Panics where something does not hold.
pub fn check(data: &[u8]) {
    let Some((first, body)) = data.split_first() else { return };
    let protocol = Protocol::ALL[usize::from(first % 4)];
    whole_item(protocol, body);
    let Ok(layout) = Layout::of(body, protocol.items_key()) else { return };
    for item in &layout.items {
        whole_item(protocol, &body[item.clone()]);
    }
    let Ok(head) = protocol::head(protocol, body, &layout.fields) else { return };
    let items: Vec<&[u8]> = layout.items.iter().map(|item| &body[item.clone()]).collect();
    let _asks = protocol::is_compaction(protocol, &head, &items);
    if let Some(limit) = &head.output {
        assert!(limit.at.start < limit.at.end && limit.at.end <= body.len(), "a limit stands in the body");
    }
    let Ok(before) = serde_json::from_slice::<Value>(body) else { return };
    let edit = protocol::limit_output(protocol, body, &head, 4097);
    let edited = edit.apply(body);
    let after: Value = serde_json::from_slice(&edited).expect("JSON stays JSON");
    let layout = Layout::of(&edited, protocol.items_key()).expect("what could be read can be read");
    let again = protocol::head(protocol, &edited, &layout.fields).expect("what could be read can be read");
    assert_eq!(again.output.and_then(|limit| limit.tokens), Some(4097), "the limit that was set is the limit");
    assert_eq!(before.get(protocol.items_key()), after.get(protocol.items_key()), "the conversation is untouched");
    assert_eq!((again.model, again.stream, again.thinking), (head.model, head.stream, head.thinking));
}

fn whole_item(protocol: Protocol, item: &[u8]) {
    let media = protocol::media(protocol, BodyPart::Item, item);
    assert!(media.data_bytes() <= item.len() as u64, "no more is taken out than is there");
}
