//! The gateway's reading of a request beside that of a reader which shares nothing with it and reads as a provider does.

use agentops_core::models::ImageFamily;
use agentops_gateway::protocol::{self, BodyPart, Protocol};
use agentops_gateway::scan::Layout;
use agentops_text::tokens;

#[path = "../../crates/agentops-gateway/tests/http/reference.rs"]
mod reference;

use reference::Tree;

/// Reads the bytes after the first, which says whose protocol it is. Panics where what the gateway lets through is read
/// differently by the two.
pub fn check(data: &[u8]) {
    let Some((first, body)) = data.split_first() else { return };
    let protocol = Protocol::ALL[usize::from(first % 4)];
    // What is no JSON is refused by every provider.
    let Ok(text) = std::str::from_utf8(body) else { return };
    let Ok(tree @ Tree::Object(_)) = serde_json::from_str::<Tree>(text) else { return };
    let Ok(layout) = Layout::of(body, protocol.items_key()) else { return };
    let Ok(head) = protocol::head(protocol, body, &layout.fields) else { return };
    let fields = layout.fields.iter().filter(|field| !layout.is_items(field));
    let members = fields.map(|field| (BodyPart::Member(&body[field.key.clone()]), &body[field.value.clone()]));
    let parts: Vec<_> = members.chain(layout.items.iter().map(|item| (BodyPart::Item, &body[item.clone()]))).collect();
    // A provider refuses a call of Messages without a limit, and so does the gateway.
    let lacks_limit = protocol == Protocol::Messages && head.output.is_none();
    if lacks_limit || head.server_history || head.uncountable.is_some() {
        return;
    }
    let (mut bound, mut counted) = (0_u64, 0_u64);
    for (part, bytes) in parts {
        let media = protocol::media(protocol, part, bytes);
        if media.uncountable.is_some() {
            return;
        }
        // What the model that counts the least makes of the images.
        let images = ImageFamily::ALL.map(|family| media.images.of(family)).into_iter().min().unwrap_or_default();
        let not_text = media.tokens.saturating_add(images);
        bound = bound.saturating_add(tokens::json_bound(bytes, &media.data)).saturating_add(not_text);
        let text = tokens::json_tokens(bytes, part.rendering(), &media.data);
        counted = counted.saturating_add(text).saturating_add(not_text);
    }
    // It is let through.
    let holder: Vec<&Tree> = match protocol {
        Protocol::Gemini => ["generationConfig", "generation_config"].iter().flat_map(|key| tree.all(key)).collect(),
        _ => vec![&tree],
    };
    let numbers = |keys: &[&str]| -> Vec<f64> {
        let values = holder.iter().flat_map(|holder| keys.iter().flat_map(|key| holder.all(key)));
        values
            .map(|value| if let Tree::Bare(number) = value { number.parse().unwrap_or(f64::NAN) } else { f64::NAN })
            .collect()
    };
    let limits = match protocol {
        Protocol::Messages => numbers(&["max_tokens"]),
        Protocol::Responses => numbers(&["max_output_tokens"]),
        Protocol::Chat => numbers(&["max_tokens", "max_completion_tokens"]),
        Protocol::Gemini => numbers(&["maxOutputTokens", "max_output_tokens"]),
    };
    let own: Vec<f64> = head.output.iter().filter_map(|limit| limit.tokens).map(|tokens| tokens as f64).collect();
    assert!(limits.iter().all(|limit| Some(limit) == own.first()), "limits {limits:?}, read as {own:?}");
    let answers = match protocol {
        Protocol::Messages | Protocol::Responses | Protocol::Chat => numbers(&["n", "best_of", "num_return_sequences"]),
        Protocol::Gemini => numbers(&["candidateCount", "candidate_count"]),
    };
    assert!(answers.iter().all(|answers| *answers <= head.answers as f64), "{answers:?} answers, read as {}", head.answers);
    if protocol != Protocol::Gemini {
        for model in tree.all("model") {
            let Tree::Text(name) = model else { continue };
            let name = &name[..name.floor_char_boundary(256)];
            assert_eq!(head.model.as_deref().unwrap_or_default(), name, "the model");
        }
        let streams = tree.all("stream").any(|stream| *stream == Tree::Bare("true".into()));
        assert_eq!(head.stream, streams, "whether it streams");
    }
    let read = reference::read(protocol, text);
    assert!(!read.refers, "it refers to what is not in it");
    assert!(bound >= read.tokens, "a bound of {bound} for {} tokens", read.tokens);
    // The two tokenizers differ by less, whatever the script: what is left out shows.
    const DIFFER: u64 = 8;
    assert!(counted.saturating_mul(DIFFER) + 64 >= read.tokens, "counted as {counted}: {} tokens", read.tokens);
}
