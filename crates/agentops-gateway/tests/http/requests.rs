//! B1 for requests that are built to be misread: what is forwarded was estimated at no less than a provider reads in it.

use std::sync::{Arc, LazyLock};
use std::time::Duration;

use agentops_gateway::host::Host;
use agentops_gateway::lane::{Admitted, Lane, Rules};
use agentops_gateway::protocol::Protocol;
use proptest::prelude::*;
use serde_json::{Value, json};
use tokio::runtime::Runtime;

use crate::ceiling::{model, runtime};
use crate::host::{Told, rules};
use crate::reference::{self, ALPHABET};

static RUNTIME: LazyLock<Runtime> = LazyLock::new(runtime);

fn encode(bytes: &[u8]) -> String {
    let mut text = String::new();
    for chunk in bytes.chunks(3) {
        let bits = chunk.iter().fold(0_u32, |bits, byte| bits << 8 | u32::from(*byte)) << (8 * (3 - chunk.len()));
        for at in 0..4 {
            text.push(if at <= chunk.len() { ALPHABET[(bits >> (18 - 6 * at) & 63) as usize] as char } else { '=' });
        }
    }
    text
}

/// Something that a message holds.
#[derive(Debug, Clone)]
enum Piece {
    Text(String),
    /// A call of a tool, with what it is given.
    Call(Value),
    Pdf(usize),
    Film(usize),
    /// A file that is not in the request: by its id or by its address.
    FileElsewhere {
        by_id: bool,
    },
    /// An item that the provider keeps, in one of the three forms.
    ItemElsewhere(u8),
    /// The piece in what a tool gave back.
    Result(Box<Piece>),
}

fn piece() -> impl Strategy<Value = Piece> {
    let leaf = prop_oneof![
        4 => ("[a-z ,.]{1,40}", 1_usize..60).prop_map(|(text, times)| Piece::Text(text.repeat(times))),
        2 => (prop::sample::select(vec!["[]", "{}", "\"\"", "[[0]]", "{\"a\":[]}"]), 1_usize..400).prop_map(|(one, times)| {
            let one: Value = serde_json::from_str(one).unwrap();
            Piece::Call(json!({ "grid": vec![one; times] }))
        }),
        2 => (1_usize..3).prop_map(Piece::Pdf),
        1 => (1_usize..3_000).prop_map(Piece::Film),
        1 => any::<bool>().prop_map(|by_id| Piece::FileElsewhere { by_id }),
        1 => (0_u8..3).prop_map(Piece::ItemElsewhere),
    ];
    (leaf, prop::bool::weighted(0.3)).prop_map(|(piece, nested)| if nested { Piece::Result(Box::new(piece)) } else { piece })
}

fn pdf(pages: usize) -> String {
    let kids: Vec<String> = (0..pages).map(|n| format!("{} 0 R", n + 3)).collect();
    let leaves: Vec<String> = (0..pages).map(|n| format!("{} 0 obj<</Type/Page /Parent 2 0 R>>endobj", n + 3)).collect();
    let file = format!("%PDF-1.4\n2 0 obj<</Type/Pages/Kids[{}]>>endobj\n{}", kids.join(" "), leaves.join("\n"));
    encode(file.as_bytes())
}

fn film(bytes: usize) -> String {
    encode(&[&b"\0\0\0\x18ftypisom"[..], &vec![0x11; bytes]].concat())
}

/// The piece as a block of the protocol's content.
fn block(protocol: Protocol, piece: &Piece) -> Value {
    let address = "https://example.com/a.pdf";
    match (protocol, piece) {
        (Protocol::Messages, Piece::Text(text)) => json!({ "type": "text", "text": text }),
        (Protocol::Messages, Piece::Call(given)) => json!({ "type": "tool_use", "id": "t", "name": "f", "input": given }),
        (Protocol::Messages, Piece::Pdf(_) | Piece::Film(_)) => {
            json!({ "type": "document", "source": { "type": "base64", "media_type": "application/pdf", "data": data(piece) } })
        }
        (Protocol::Messages, Piece::FileElsewhere { by_id: true }) => {
            json!({ "type": "document", "source": { "type": "file", "file_id": "f" } })
        }
        (Protocol::Messages, Piece::FileElsewhere { .. }) => {
            json!({ "type": "document", "source": { "type": "url", "url": address } })
        }
        (Protocol::Messages, Piece::Result(inner)) => {
            json!({ "type": "tool_result", "tool_use_id": "t", "content": [block(protocol, inner)] })
        }
        (Protocol::Chat, Piece::Pdf(_) | Piece::Film(_)) => {
            json!({ "type": "file", "file": { "file_data": format!("data:application/pdf;base64,{}", data(piece)) } })
        }
        (Protocol::Chat, Piece::FileElsewhere { by_id: true }) => json!({ "type": "file", "file": { "file_id": "f" } }),
        (Protocol::Chat, Piece::FileElsewhere { .. }) => json!({ "type": "document_url", "document_url": address }),
        (Protocol::Responses, Piece::Pdf(_) | Piece::Film(_)) => {
            json!({ "type": "input_file", "file_data": format!("data:application/pdf;base64,{}", data(piece)) })
        }
        (Protocol::Responses, Piece::FileElsewhere { by_id: true }) => json!({ "type": "input_file", "file_id": "f" }),
        (Protocol::Responses, Piece::FileElsewhere { .. }) => json!({ "type": "input_file", "file_url": address }),
        (Protocol::Responses, Piece::Text(text)) => json!({ "type": "input_text", "text": text }),
        (Protocol::Gemini, Piece::Text(text)) => json!({ "text": text }),
        (Protocol::Gemini, Piece::Call(given)) => json!({ "functionCall": { "name": "f", "args": given } }),
        (Protocol::Gemini, Piece::Pdf(_)) => json!({ "inlineData": { "mimeType": "application/pdf", "data": data(piece) } }),
        (Protocol::Gemini, Piece::Film(_)) => json!({ "inline_data": { "mime_type": "image/png", "data": data(piece) } }),
        (Protocol::Gemini, Piece::FileElsewhere { by_id: true }) => {
            json!({ "fileData": { "fileUri": "f", "mimeType": "image/png" } })
        }
        (Protocol::Gemini, Piece::FileElsewhere { .. }) => json!({ "file_data": { "file_uri": address } }),
        (Protocol::Gemini, Piece::Result(inner)) => {
            json!({ "functionResponse": { "name": "f", "response": {}, "parts": [block(protocol, inner)] } })
        }
        (Protocol::Chat | Protocol::Responses, Piece::Result(inner)) => block(protocol, inner),
        (_, Piece::Text(text)) => json!({ "type": "text", "text": text }),
        (_, Piece::Call(given)) => block(protocol, &Piece::Text(given.to_string())),
        (_, Piece::ItemElsewhere(_)) => block(protocol, &Piece::Text("an item".into())),
    }
}

fn data(piece: &Piece) -> String {
    match piece {
        Piece::Pdf(pages) => pdf(*pages),
        Piece::Film(bytes) => film(*bytes),
        _ => String::new(),
    }
}

fn item(protocol: Protocol, piece: &Piece) -> Value {
    let role = if matches!(piece, Piece::Call(_)) { "assistant" } else { "user" };
    match (protocol, piece) {
        (Protocol::Responses, Piece::ItemElsewhere(form)) => match form {
            0 => json!({ "type": "item_reference", "id": "i" }),
            1 => json!({ "type": null, "id": "i" }),
            _ => json!({ "id": "i" }),
        },
        (Protocol::Responses, Piece::Call(given)) => {
            json!({ "type": "function_call", "call_id": "c", "name": "f", "arguments": given.to_string() })
        }
        (Protocol::Responses, Piece::Result(inner)) => {
            json!({ "type": "function_call_output", "call_id": "c", "output": [block(protocol, inner)] })
        }
        (Protocol::Gemini, _) => json!({ "role": role, "parts": [block(protocol, piece)] }),
        (Protocol::Chat, Piece::Call(given)) => {
            json!({ "role": role, "tool_calls": [{ "id": "c", "type": "function", "function": { "name": "f", "arguments": given.to_string() } }] })
        }
        _ => json!({ "role": role, "content": [block(protocol, piece)] }),
    }
}

/// What is done to a request so that it may be misread. Each is done where the dice say so.
#[derive(Debug, Clone)]
struct Hostile {
    escapes_keys: bool,
    one_for_a_list: bool,
    repeats_keys: bool,
    hides_in_marks: bool,
    in_instructions: bool,
    dice: Vec<u8>,
}

fn hostile() -> impl Strategy<Value = Hostile> {
    let some = || prop::bool::weighted(0.3);
    (some(), some(), some(), some(), some(), prop::collection::vec(any::<u8>(), 1..40)).prop_map(
        |(escapes_keys, one_for_a_list, repeats_keys, hides_in_marks, in_instructions, dice)| Hostile {
            escapes_keys,
            one_for_a_list,
            repeats_keys,
            hides_in_marks,
            in_instructions,
            dice,
        },
    )
}

const HONEST: Hostile = Hostile {
    escapes_keys: false,
    one_for_a_list: false,
    repeats_keys: false,
    hides_in_marks: false,
    in_instructions: false,
    dice: Vec::new(),
};

/// Writes JSON with the forms that a request may take.
struct Writer<'a> {
    how: &'a Hostile,
    thrown: usize,
}

impl Writer<'_> {
    fn throws(&mut self, wanted: bool) -> bool {
        if !wanted || self.how.dice.is_empty() {
            return false;
        }
        self.thrown += 1;
        self.how.dice[self.thrown % self.how.dice.len()] < 60
    }

    fn write(&mut self, value: &Value) -> String {
        match value {
            Value::Array(items) if items.len() == 1 && items[0].is_object() && self.throws(self.how.one_for_a_list) => {
                self.write(&items[0])
            }
            Value::Array(items) => {
                let items: Vec<String> = items.iter().map(|item| self.write(item)).collect();
                format!("[{}]", items.join(","))
            }
            Value::Object(members) => {
                let mut written = Vec::new();
                for (key, value) in members {
                    let name = match self.throws(self.how.escapes_keys) {
                        true => format!("\"\\u{:04x}{}\"", key.as_bytes()[0], &key[1..]),
                        false => format!("\"{key}\""),
                    };
                    let member = format!("{name}:{}", self.write(value));
                    if self.throws(self.how.repeats_keys) {
                        written.push(format!("\"{key}\":\"\""));
                    }
                    written.push(member);
                    if self.throws(self.how.repeats_keys) {
                        written.push(format!("\"{key}\":null"));
                    }
                }
                if members.contains_key("type") && self.throws(self.how.hides_in_marks) {
                    written.push(format!("\"cache_control\":{{\"type\":\"ephemeral\",\"say\":\"{}\"}}", "more ".repeat(8)));
                } else if members.contains_key("type") && self.throws(self.how.hides_in_marks) {
                    written.push("\"cache_control\":{\"type\":\"ephemeral\"}".into());
                }
                format!("{{{}}}", written.join(","))
            }
            other => other.to_string(),
        }
    }
}

fn body(protocol: Protocol, pieces: &[Piece], how: &Hostile) -> String {
    let items: Vec<Value> = pieces.iter().map(|piece| item(protocol, piece)).collect();
    let mut body = json!({ "model": model(protocol) });
    body[protocol.items_key()] = items.into();
    match protocol {
        Protocol::Gemini => body = json!({ "contents": body["contents"] }),
        Protocol::Messages => body["max_tokens"] = 1000.into(),
        Protocol::Responses | Protocol::Chat => {}
    }
    if let Some(piece) = pieces.first().filter(|_| how.in_instructions) {
        match protocol {
            Protocol::Messages => body["system"] = json!([block(protocol, piece)]),
            Protocol::Gemini => body["system_instruction"] = json!({ "parts": [block(protocol, piece)] }),
            Protocol::Responses => body["instructions"] = json!([item(protocol, piece)]),
            Protocol::Chat => {}
        }
    }
    Writer { how, thrown: 0 }.write(&body)
}

/// What becomes of a call: the estimate of its input, counted; `None`: it was refused.
fn forwarded(lane: &Arc<Lane>, told: &Told, protocol: Protocol, body: &str) -> Option<u64> {
    let model = (protocol == Protocol::Gemini).then(|| model(protocol).to_owned());
    let incoming =
        agentops_gateway::lane::Incoming { protocol, model, streamed: None, body: body.to_owned().into_bytes().into() };
    let before = told.wait(Duration::ZERO, |said| Some(said.rows.len())).unwrap();
    RUNTIME.block_on(async {
        let Admitted::Forward { mut ticket, .. } = lane.admit(incoming).await else { return None };
        // An answer without a report: the estimate is counted, and decides.
        ticket.sent();
        ticket.answered(200, false);
        drop(ticket);
        let row = told.wait(Duration::from_secs(60), |said| said.rows.get(before).cloned());
        Some(row.expect("a row").estimate)
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(150))]

    /// A lane is sent a request, and the same request in forms that may be misread, in the same or in another protocol. Each
    /// is refused, or estimated at no less than its provider reads.
    #[test]
    fn b1_a_request_is_read_as_its_provider_reads_it(
        pieces in prop::collection::vec(piece(), 1..5),
        calls in prop::collection::vec((0_usize..4, hostile()), 1..4),
    ) {
        let told = Arc::<Told>::default();
        let lane = Lane::new(Rules { takes_limit: true, ..rules(1 << 40, Arc::clone(&told) as Arc<dyn Host>) });
        for (which, how) in calls {
            let protocol = Protocol::ALL[which];
            let body = body(protocol, &pieces, &how);
            let read = reference::read(protocol, &body);
            if let Some(estimate) = forwarded(&lane, &told, protocol, &body) {
                prop_assert!(!read.refers, "it refers to what is not in it: {body}");
                prop_assert!(estimate >= read.tokens, "{estimate} for {} tokens: {body}", read.tokens);
            }
        }
    }

    /// What clients send in the forms that are documented is forwarded, unless it refers to what is not in it.
    #[test]
    fn an_honest_request_is_forwarded(which in 0_usize..4, pieces in prop::collection::vec(piece(), 1..4)) {
        let protocol = Protocol::ALL[which];
        let told = Arc::<Told>::default();
        let lane = Lane::new(Rules { takes_limit: true, ..rules(1 << 40, Arc::clone(&told) as Arc<dyn Host>) });
        let body = body(protocol, &pieces, &HONEST);
        let read = reference::read(protocol, &body);
        prop_assert_eq!(forwarded(&lane, &told, protocol, &body).is_some(), !read.refers, "{}", body);
    }
}
