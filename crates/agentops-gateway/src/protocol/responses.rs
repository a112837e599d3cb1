//! OpenAI Responses. Sources: OpenAI's API reference, "Responses" and "Streaming events", and its guide "Images and vision".

use serde_json::json;

use super::json::{Found, Json, each_member, text_length};
use super::reader::{State, sent};
use super::request::{Builder, Head, Media, Needles, decoded_length, needles, texts};
use super::usage;
use crate::scan::Malformed;
use crate::sse::Event;

/// The most tokens an image has: 10,000 patches of 32 pixels square at the detail `original`. Models that count a patch as
/// more than one token take at most 1,536 patches, and those that count tiles have at most eight of 170 tokens and one
/// image more; only `gpt-4o-mini`, whose tiles have 5,667, is above.
const IMAGE_TOKENS_MAX: u64 = 10_000;

static NEEDLES: Needles = Needles::new(|| {
    needles(&[
        "input_image",
        "input_file",
        "input_audio",
        "encrypted_content",
        "item_reference",
        "computer_screenshot",
        "image_generation_call",
    ])
});

/// How codex's own request for a summary begins.
const SUMMARY_BEGINNING: &[u8] = b"You are performing a CONTEXT CHECKPOINT COMPACTION";

pub(super) fn member(builder: &mut Builder<'_>, key: &[u8], value: Json<'_>) -> Result<(), Malformed> {
    match key {
        b"max_output_tokens" => builder.limit(value)?,
        b"previous_response_id" | b"conversation" | b"prompt" => builder.head.server_history |= !value.is_null(),
        b"tools" => {
            let runs = |tool: Json<'_>| {
                let client = [b"function".as_slice(), b"custom", b"namespace", b"local_shell", b"apply_patch", b"computer"];
                let kind = tool.get("type").and_then(Json::raw).unwrap_or(b"function");
                !client.iter().any(|beginning| kind.starts_with(beginning))
            };
            builder.head.server_tools |= value.elements().any(runs);
        }
        _ => {}
    }
    Ok(())
}

pub(super) fn media(item: &[u8]) -> Media {
    let mut media = Media::default();
    if !NEEDLES.are_in(item) {
        return media;
    }
    let item = Json::new(item);
    if item.is_disguised() {
        media.add(None, None);
    }
    match item.get("type").and_then(Json::raw).unwrap_or_default() {
        b"item_reference" => media.add(None, None),
        b"image_generation_call" => media.add(item.get("result").and_then(Json::raw), Some(IMAGE_TOKENS_MAX)),
        _ => media.add_sealed(item.get("encrypted_content")),
    }
    for content in [item.get("content"), item.get("output")].into_iter().flatten() {
        // What a computer shows is one part, everything else a list of them.
        let alone = content.is_object().then_some(content);
        for part in alone.into_iter().chain(content.elements()) {
            self::part(&mut media, part);
        }
    }
    media
}

fn part(media: &mut Media, part: Json<'_>) {
    if part.is_disguised() {
        media.add(None, None);
    }
    match part.get("type").and_then(Json::raw).unwrap_or_default() {
        b"input_image" | b"computer_screenshot" => media.add(data(part.get("image_url")), Some(IMAGE_TOKENS_MAX)),
        b"input_file" => file(media, part),
        b"input_audio" => media.add(audio(part).and_then(|audio| audio.get("data")?.raw()), audio_tokens(part)),
        _ => {}
    }
}

/// A file, by id, by address or within the request. Text has at most a token a byte; of anything else a few bytes may hold
/// any number of pages.
pub(super) fn file(media: &mut Media, file: Json<'_>) {
    let data = file.get("file_data").and_then(Json::raw);
    let is_text = data.is_some_and(|data| data.starts_with(b"data:text/"));
    media.add(data, data.filter(|_| is_text).map(decoded_length));
}

fn audio(part: Json<'_>) -> Option<Json<'_>> {
    part.get("input_audio")
}

/// Sound within the request: ten tokens a second, and the thinnest form of the two that are taken (`mp3` at 8 kbit/s) has
/// 1,000 bytes a second. Twice that, to be sure.
pub(super) fn audio_tokens(part: Json<'_>) -> Option<u64> {
    const BYTES_A_TOKEN: u64 = 50;
    let sound = audio(part)?.get("data")?.raw()?;
    Some(decoded_length(sound).div_ceil(BYTES_A_TOKEN) + 1)
}

/// What is data of an address: all of it, where it holds the data itself.
pub(super) fn data(address: Option<Json<'_>>) -> Option<&[u8]> {
    address.and_then(Json::raw).filter(|address| address.starts_with(b"data:"))
}

pub(super) const fn image_tokens_max() -> u64 {
    IMAGE_TOKENS_MAX
}

pub(super) fn is_compaction(head: &Head, last_items: &[&[u8]]) -> bool {
    let Some(last) = last_items.last().map(|item| Json::new(item)) else { return false };
    let begins = texts(last.get("content")).last().is_some_and(|text| text.starts_with(SUMMARY_BEGINNING));
    let asks = !head.has_tools && last.get("role").and_then(Json::raw) == Some(b"user") && begins;
    asks || last.get("type").and_then(Json::raw) == Some(b"compaction_trigger")
}

pub(super) fn event(state: &mut State, event: Event<'_>) {
    // Clients go by the type in the data; the line that names it is for others.
    let kind = Some(first_type(event.data)).filter(|kind| !kind.is_empty()).unwrap_or(event.name);
    if kind.ends_with(b".delta") {
        return delta(state, event.data);
    }
    match kind {
        b"response.output_item.added" => {
            let item = Json::new(event.data).get("item");
            state.seen.hidden |= item.is_some_and(is_reasoning);
        }
        b"response.output_item.done" => {
            if let Some(item) = Json::new(event.data).get("item") {
                state.seen.hidden |= is_reasoning(item);
                let bytes = written(item);
                // Servers that send no pieces say all of it here; of others it has been counted.
                state.output(bytes.saturating_sub(state.open_bytes));
                state.open_bytes = 0;
            }
        }
        b"response.created" | b"response.in_progress" | b"response.queued" => {
            if let Some(response) = Json::new(event.data).get("response") {
                State::name(&mut state.answer.id, response.get("id"));
                State::name(&mut state.answer.model, response.get("model"));
            }
        }
        b"response.completed" | b"response.incomplete" | b"response.failed" | b"response.cancelled" | b"response.done" => {
            // It is the end, even where it is too long to be read.
            state.answer.complete = kind != b"response.failed";
            if let Some(response) = Json::new(event.data).get("response") {
                whole(state, response);
            }
        }
        b"error" => {
            let body = Json::new(event.data);
            error(state, body.get("error").unwrap_or(body));
        }
        _ => {}
    }
}

/// The type that an event's data give it. By the protocol it comes first, and never after a whole response.
fn first_type(data: &[u8]) -> &[u8] {
    let mut kind = Json::new(data).members().take_while(|(key, _)| *key != b"response");
    kind.find(|(key, _)| *key == b"type").and_then(|(_, value)| value.raw()).unwrap_or_default()
}

/// A piece of an item.
fn delta(state: &mut State, data: &[u8]) {
    let mut bytes = 0;
    each_member(data, |key, value| {
        if let (b"delta", Found::Text(text)) = (key, value) {
            bytes += text_length(text);
        }
    });
    state.open_bytes = state.open_bytes.saturating_add(bytes);
    state.output(bytes);
}

fn is_reasoning(item: Json<'_>) -> bool {
    item.get("type").and_then(Json::raw) == Some(b"reasoning")
}

/// Bytes that the model wrote in an item.
fn written(item: Json<'_>) -> u64 {
    let members = ["arguments", "input", "code", "name"].iter().filter_map(|key| item.get(key)?.raw());
    let parts = [item.get("content"), item.get("summary")];
    let parts = parts.into_iter().flat_map(texts);
    let action = item.get("action").map_or(0, |action| action.bytes().len() as u64);
    members.chain(parts).map(text_length).sum::<u64>() + action
}

/// The response as a whole, at its end.
fn whole(state: &mut State, response: Json<'_>) {
    State::name(&mut state.answer.id, response.get("id"));
    State::name(&mut state.answer.model, response.get("model"));
    let why = response.get("incomplete_details").and_then(|details| details.get("reason"));
    State::name(&mut state.answer.finish, why.or(response.get("status")));
    if let Some(report) = response.get("usage") {
        state.report(usage::openai(report, "input_tokens", "output_tokens"), true);
    }
    if let Some(body) = response.get("error") {
        error(state, body);
    }
}

/// The code says more than the type, where there is one.
pub(super) fn error(state: &mut State, body: Json<'_>) {
    let code = body.get("code").filter(|code| code.name().is_some());
    State::name(&mut state.answer.error, code.or_else(|| body.get("type")));
}

pub(super) fn plain(state: &mut State, body: Json<'_>) {
    whole(state, body);
    state.answer.complete = state.answer.error.is_none() && body.is_object();
}

pub(super) fn cut(state: &State) -> Vec<u8> {
    let answer = &state.answer;
    let response = json!({"id": answer.id.as_deref().unwrap_or_default(), "object": "response", "status": "incomplete",
        "model": answer.model, "incomplete_details": {"reason": "max_output_tokens"}, "output": [], "usage": null});
    sent(Some("response.incomplete"), &json!({"type": "response.incomplete", "response": response}))
}
