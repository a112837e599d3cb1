//! OpenAI Responses. Sources: OpenAI's API reference, "Responses" and "Streaming events", and its guide "Images and vision".

use serde_json::json;

use super::inline::{Declared, MediaKind, Rates, is_data_address};
use super::json::{Found, Json, each_member, text_length};
use super::reader::{State, sent};
use super::request::{BodyPart, Builder, Head, Media, Needles, Uncountable, needles, plain_members, texts};
use super::usage;
use super::written::Written;
use crate::scan::Malformed;
use crate::sse::Event;

/// What counts for an image of a model that is not known, and for that of a page.
const IMAGE_TOKENS_MAX: u64 = 10_000;

/// Ten tokens for a second of sound.
pub(super) const RATES: Rates = Rates { image: IMAGE_TOKENS_MAX, page_image: IMAGE_TOKENS_MAX, sound_second: 10 };

static NEEDLES: Needles = Needles::new(|| {
    needles(&[
        "input_image",
        "input_file",
        "input_audio",
        "encrypted_content",
        "item_reference",
        "computer_screenshot",
        "image_generation_call",
        "file_id",
        "fileId",
        "file_data",
        "fileData",
        "_url",
        "file_uri",
        "fileUrl",
        "fileUri",
        // A reference needs no type.
        "\"id",
        "\"container",
        "container_id",
        "file_ids",
        "\"skills",
    ])
});

/// How codex's own request for a summary begins.
const SUMMARY_BEGINNING: &[u8] = b"You are performing a CONTEXT CHECKPOINT COMPACTION";

pub(super) fn member(builder: &mut Builder<'_>, key: &[u8], value: Json<'_>) -> Result<(), Malformed> {
    match key {
        b"max_output_tokens" => builder.limit(value)?,
        b"background" => builder.head.background = !value.is_null() && value.bytes() != b"false",
        // OpenRouter's name for a budget of thinking.
        b"reasoning" => {
            for (_, budget) in plain_members(value)?.filter(|(key, _)| *key == b"max_tokens") {
                builder.thinking(budget)?;
            }
        }
        b"conversation" | b"prompt" => builder.head.server_history |= !value.is_null(),
        b"additional_tools" => tools(builder, value),
        b"tools" => {
            let runs = |tool: Json<'_>| {
                let client = [b"function".as_slice(), b"custom", b"namespace", b"local_shell", b"apply_patch", b"computer"];
                let kind = tool.get("type").and_then(Json::raw).unwrap_or(b"function");
                !client.iter().any(|beginning| kind.starts_with(beginning))
            };
            builder.head.server_tools |= value.elements().any(runs);
            tools(builder, value);
        }
        _ => {}
    }
    Ok(())
}

fn tools(builder: &mut Builder<'_>, tools: Json<'_>) {
    if let Some(why) = referenced(tools, NESTED_MAX) {
        builder.refuse(why);
    }
}

/// Tools stand in namespaces, and their settings in objects of theirs.
const NESTED_MAX: usize = 16;

/// What tools refer to that does not stand in the request: a container, files or skills that the provider keeps. A container that
/// is made for the call has neither a name nor files.
fn referenced(value: Json<'_>, depth: usize) -> Option<Uncountable> {
    let Some(depth) = depth.checked_sub(1) else { return Some(Uncountable::Container) };
    let names = |value: Json<'_>| value.raw().is_some_and(|name| !name.is_empty());
    let of_member = |(key, value): (&[u8], Json<'_>)| match key {
        // What a client's own tool takes is described there, under names of its choice.
        b"parameters" | b"input_schema" | b"output_schema" => None,
        b"container_id" | b"skill_id" if names(value) => Some(Uncountable::Container),
        b"container" if names(value) || value.get("id").is_some_and(names) => Some(Uncountable::Container),
        // Skills that stand in the request, or on the client's machine, have a name and no id.
        b"file_ids" | b"skills" if names(value) || value.elements().any(names) => Some(Uncountable::Container),
        b"file_id" | b"fileId" if names(value) => Some(Uncountable::FileId),
        key if key.contains(&b'\\') => Some(Uncountable::Container),
        _ => referenced(value, depth),
    };
    match value.is_object() {
        true => value.members().find_map(of_member),
        false => value.elements().find_map(|element| referenced(element, depth)),
    }
}

pub(super) fn media(part: BodyPart<'_>, bytes: &[u8]) -> Media {
    let mut media = Media::default();
    if !NEEDLES.are_in(bytes) {
        return media;
    }
    match part {
        BodyPart::Item => item(&mut media, Json::new(bytes)),
        BodyPart::Member(b"input" | b"instructions") => Json::new(bytes).each().for_each(|one| item(&mut media, one)),
        BodyPart::Member(_) => {}
    }
    media
}

fn item(media: &mut Media, item: Json<'_>) {
    media.check(item, &["type", "id", "role", "content", "output", "result", "encrypted_content"]);
    let [kind, id, role] = item.get_each(["type", "id", "role"]);
    match kind.and_then(Json::raw).unwrap_or_default() {
        b"item_reference" => media.refuse(Uncountable::ItemReference),
        // What has neither a type nor a role is taken for a reference.
        b"" if role.is_none() && id.is_some() => media.refuse(Uncountable::ItemReference),
        kind if id.is_some() && is_stored(kind, item) => media.refuse(Uncountable::ItemReference),
        b"image_generation_call" => media.add_unsized(item.get("result"), &RATES),
        _ => media.add_sealed(item.get("encrypted_content")),
    }
    // Tools that were found or are added, and where a shell runs.
    for settings in [item.get("tools"), item.get("environment")].into_iter().flatten() {
        if let Some(why) = referenced(settings, NESTED_MAX) {
            media.refuse(why);
        }
    }
    // What a computer shows is one part, everything else a list of them.
    for content in [item.get("content"), item.get("output")].into_iter().flatten() {
        content.each().for_each(|part| self::part(media, part));
    }
}

/// Whether an item with an id has nothing in it, or not what the model would read: the provider takes that from its own store.
fn is_stored(kind: &[u8], item: Json<'_>) -> bool {
    let has = |key: &str| item.get(key).is_some_and(|value| !matches!(value.bytes(), b"[]" | b"{}" | b"\"\""));
    let is_named_only = item
        .members()
        .all(|(key, value)| value.is_null() || matches!(key, b"type" | b"id" | b"status" | b"role" | b"phase" | b"call_id"));
    is_named_only
        || match kind {
            b"reasoning" => !has("encrypted_content") && !has("content"),
            b"compaction" | b"compaction_summary" => !has("encrypted_content"),
            b"file_search_call" => !has("results"),
            _ => false,
        }
}

const PART_KEYS: [&str; 7] = ["type", "image_url", "file_data", "file_id", "file_url", "input_audio", "text"];

fn part(media: &mut Media, part: Json<'_>) {
    media.check(part, &PART_KEYS);
    match part.get("type").and_then(Json::raw).unwrap_or_default() {
        b"input_text" | b"output_text" | b"refusal" | b"reasoning_text" | b"summary_text" => {}
        b"input_image" | b"computer_screenshot" => image(media, part.get("image_url")),
        b"input_audio" => sound(media, part.get("input_audio")),
        b"input_file" => file(media, part),
        _ => unknown(media, part),
    }
}

/// An image, by address, by id or within the request.
pub(super) fn image(media: &mut Media, address: Option<Json<'_>>) {
    match address.filter(|address| is_data_address(*address)) {
        // Some servers take other files here too.
        Some(data) => media.add_image(data, Declared::Nothing, &RATES),
        None => media.add_unsized(None, &RATES),
    }
}

/// Sound within the request. Some servers take its address too.
pub(super) fn sound(media: &mut Media, sound: Option<Json<'_>>) {
    let Some(sound) = sound else { return };
    media.check(sound, &["data", "url"]);
    file_members(media, sound, Declared::As(MediaKind::Sound));
}

/// A file, by id, by address or within the request.
pub(super) fn file(media: &mut Media, file: Json<'_>) {
    media.check(file, &["type", "file_data", "file_id", "file_url", "filename"]);
    file_members(media, file, Declared::of_file_name(file.get("filename")));
}

/// The members of an object that is a file, under the names that servers which speak like OpenAI's give them.
fn file_members(media: &mut Media, file: Json<'_>, declared: Declared) {
    for (key, value) in file.members().filter(|(_, value)| !value.is_null()) {
        match key {
            b"file_data" | b"fileData" | b"data" if value.raw().is_some() => media.add_inline(value, declared, &RATES),
            b"file_id" | b"fileId" => media.refuse(Uncountable::FileId),
            key if is_address_key(key) => address(media, value.get("url").unwrap_or(value), declared),
            _ => {}
        }
    }
}

/// Whether a member of that name holds the address of a file.
fn is_address_key(key: &[u8]) -> bool {
    matches!(
        key,
        b"url"
            | b"uri"
            | b"file_url"
            | b"fileUrl"
            | b"file_uri"
            | b"fileUri"
            | b"audio_url"
            | b"video_url"
            | b"document_url"
    )
}

/// A document, audio or video by its address, which may hold the data itself.
fn address(media: &mut Media, address: Json<'_>, declared: Declared) {
    match is_data_address(address) {
        true => media.add_inline(address, declared, &RATES),
        false => media.refuse(Uncountable::Address),
    }
}

/// A part of a kind that is not known here. What stands in it counts as its bytes; what it refers to cannot be counted.
pub(super) fn unknown(media: &mut Media, part: Json<'_>) {
    for (key, value) in part.members().filter(|(_, value)| !value.is_null()) {
        match key {
            key if key.ends_with(b"_url") => address(media, value.get("url").unwrap_or(value), Declared::Nothing),
            _ if value.is_object() => value.members().for_each(|(key, value)| unknown_member(media, key, value)),
            _ => unknown_member(media, key, value),
        }
    }
}

fn unknown_member(media: &mut Media, key: &[u8], value: Json<'_>) {
    match key {
        _ if value.is_null() => {}
        b"file_id" | b"fileId" => media.refuse(Uncountable::FileId),
        b"file_data" | b"fileData" if value.raw().is_some() => media.add_inline(value, Declared::Nothing, &RATES),
        key if is_address_key(key) => address(media, value.get("url").unwrap_or(value), Declared::Nothing),
        _ => {}
    }
}

pub(super) fn is_compaction(head: &Head, last_items: &[&[u8]]) -> bool {
    let Some(last) = last_items.last().map(|item| Json::new(item)) else { return false };
    let begins = texts(last.get("content")).last().is_some_and(|text| text.starts_with(SUMMARY_BEGINNING));
    let asks = !head.has_tools && last.get("role").and_then(Json::raw) == Some(b"user") && begins;
    asks || last.get("type").and_then(Json::raw) == Some(b"compaction_trigger")
}

pub(super) fn event(state: &mut State, event: Event<'_>) {
    // Clients go by the type in the data; the line that names it is for others.
    let kind = kind(event);
    if kind.ends_with(b".delta") {
        // What reasoning is summed up to is no output of its own.
        return delta(state, event.data, kind == b"response.reasoning_summary_text.delta");
    }
    match kind {
        // What servers say that send no pieces; of others it has been counted.
        b"response.output_text.done"
        | b"response.refusal.done"
        | b"response.reasoning_text.done"
        | b"response.function_call_arguments.done"
        | b"response.custom_tool_call_input.done"
        | b"response.mcp_call_arguments.done"
        | b"response.code_interpreter_call_code.done"
            if state.open_bytes == 0 =>
        {
            let event = Json::new(event.data);
            for text in ["text", "refusal", "arguments", "input", "code"].into_iter().filter_map(|key| event.get(key)?.raw())
            {
                state.written.take(text);
                state.output(text_length(text));
                state.open_bytes = state.open_bytes.saturating_add(text_length(text));
            }
        }
        b"response.output_item.added" => {
            let item = Json::new(event.data).get("item");
            state.hidden(item.is_some_and(is_reasoning));
        }
        b"response.output_item.done" => {
            if let Some(item) = Json::new(event.data).get("item") {
                state.hidden(is_reasoning(item));
                let bytes = written(item).map(text_length).sum::<u64>();
                // Servers that send no pieces say all of it here; of others it has been counted.
                if state.open_bytes == 0 && !is_reasoning(item) {
                    written(item).for_each(|text| state.written.take(text));
                }
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
                // Servers that send no pieces say all of it here.
                if state.written.bytes() == 0 {
                    let bytes = shown(&mut state.written, response);
                    state.output(bytes);
                }
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

fn kind(event: Event<'_>) -> &[u8] {
    Some(first_type(event.data)).filter(|kind| !kind.is_empty()).unwrap_or(event.name)
}

/// Whether it is a piece of an item, or may be: its type stands behind what was cut off.
pub(super) fn may_be_delta(event: Event<'_>) -> bool {
    let kind = kind(event);
    kind.is_empty() || kind.ends_with(b".delta")
}

/// The type that an event's data give it. By the protocol it comes first, and never after a whole response.
fn first_type(data: &[u8]) -> &[u8] {
    let mut kind = Json::new(data).members().take_while(|(key, _)| *key != b"response");
    kind.find(|(key, _)| *key == b"type").and_then(|(_, value)| value.raw()).unwrap_or_default()
}

/// A piece of an item.
fn delta(state: &mut State, data: &[u8], is_summary: bool) {
    let mut bytes = 0;
    let written = &mut state.written;
    each_member(data, |key, value| {
        if let (b"delta", Found::Text(text)) = (key, value) {
            bytes += text_length(text);
            if !is_summary {
                written.take(text);
            }
        }
    });
    state.open_bytes = state.open_bytes.saturating_add(bytes);
    state.output(bytes);
}

fn is_reasoning(item: Json<'_>) -> bool {
    item.get("type").and_then(Json::raw) == Some(b"reasoning")
}

/// What the model wrote in an item.
fn written(item: Json<'_>) -> impl Iterator<Item = &[u8]> {
    let members = ["arguments", "input", "code", "name"].into_iter().filter_map(move |key| item.get(key)?.raw());
    let parts = [item.get("content"), item.get("summary")].into_iter().flat_map(texts);
    let acts = [item.get("action"), item.get("operation")].into_iter().flatten().map(Json::bytes);
    members.chain(parts).chain(acts)
}

/// The response as a whole, at its end.
fn whole(state: &mut State, response: Json<'_>) {
    State::name(&mut state.answer.id, response.get("id"));
    State::name(&mut state.answer.model, response.get("model"));
    State::name(&mut state.answer.tier, response.get("service_tier"));
    let why = response.get("incomplete_details").and_then(|details| details.get("reason"));
    State::name(&mut state.answer.finish, why.or(response.get("status")));
    let status = response.get("status").and_then(Json::raw).unwrap_or(b"completed");
    let is_final = !matches!(status, b"queued" | b"in_progress");
    if let Some(report) = response.get("usage") {
        state.report(usage::openai(report, "input_tokens", "output_tokens"), is_final);
    }
    if let Some(body) = response.get("error") {
        error(state, body);
    }
}

/// Takes what a whole response shows of what the model wrote. Returns its bytes.
fn shown(all: &mut Written, response: Json<'_>) -> u64 {
    let mut bytes = 0;
    for item in response.get("output").into_iter().flat_map(Json::elements).filter(|item| !is_reasoning(*item)) {
        for text in written(item) {
            bytes += text_length(text);
            all.take(text);
        }
    }
    bytes
}

/// The code says more than the type, where there is one.
pub(super) fn error(state: &mut State, body: Json<'_>) {
    let code = body.get("code").filter(|code| code.name().is_some());
    State::name(&mut state.answer.error, code.or_else(|| body.get("type")));
}

pub(super) fn plain(state: &mut State, body: Json<'_>) {
    whole(state, body);
    shown(&mut state.written, body);
    // An answer that is made in the background has only begun.
    let has_begun_only = matches!(body.get("status").and_then(Json::raw), Some(b"queued" | b"in_progress"));
    state.answer.complete = state.answer.error.is_none() && body.is_object() && !has_begun_only;
}

pub(super) fn cut(state: &State) -> Vec<u8> {
    let answer = &state.answer;
    let response = json!({"id": answer.id.as_deref().unwrap_or_default(), "object": "response", "status": "incomplete",
        "model": answer.model, "incomplete_details": {"reason": "max_output_tokens"}, "output": [], "usage": null});
    sent(Some("response.incomplete"), &json!({"type": "response.incomplete", "response": response}))
}
