//! OpenAI Chat Completions, and the servers that speak like it. Source: OpenAI's API reference, "Chat Completions".

use serde_json::json;

use super::json::{Found, Json, each_member, text_length};
use super::reader::{State, sent};
use super::request::{BodyPart, Builder, Head, Media, Needles, Uncountable, needles, plain_members, texts};
use super::{messages, responses, usage};
use crate::scan::Malformed;
use crate::sse::Event;

pub(super) fn member(builder: &mut Builder<'_>, key: &[u8], value: Json<'_>) -> Result<(), Malformed> {
    match key {
        b"max_tokens" | b"max_completion_tokens" => builder.limit(value)?,
        // OpenRouter's name for a budget of thinking.
        b"reasoning" => {
            for (_, budget) in plain_members(value)?.filter(|(key, _)| *key == b"max_tokens") {
                builder.thinking(budget)?;
            }
        }
        b"web_search_options" | b"plugins" => builder.head.server_tools |= !value.is_null(),
        _ => {}
    }
    Ok(())
}

/// OpenAI's own models take only the newer name, many other servers only the older.
pub(super) fn limit_key(head: &Head) -> &'static str {
    let model = head.model.as_deref().unwrap_or_default();
    let name = model.rsplit('/').next().unwrap_or(model);
    let is_openai = ["gpt-", "chatgpt-", "o1", "o3", "o4"].iter().any(|family| name.starts_with(family));
    if is_openai && !name.starts_with("gpt-oss") { "max_completion_tokens" } else { "max_tokens" }
}

static NEEDLES: Needles = Needles::new(|| {
    needles(&[
        "_url",
        "file_uri",
        "fileUrl",
        "fileUri",
        "input_audio",
        "file",
        "audio",
        "source",
        "file_id",
        "fileId",
        "file_data",
        "fileData",
        "\"url",
        "\"uri",
    ])
});

pub(super) fn media(part: BodyPart<'_>, bytes: &[u8]) -> Media {
    let mut media = Media::default();
    if !NEEDLES.are_in(bytes) {
        return media;
    }
    match part {
        BodyPart::Item => message(&mut media, Json::new(bytes)),
        BodyPart::Member(b"messages") => Json::new(bytes).each().for_each(|item| message(&mut media, item)),
        BodyPart::Member(_) => {}
    }
    media
}

fn message(media: &mut Media, message: Json<'_>) {
    media.check(message, &["role", "content", "audio"]);
    if message.get("audio").is_some() {
        media.refuse(Uncountable::SpokenAnswer);
    }
    for part in message.get("content").into_iter().flat_map(Json::each) {
        media.check(part, &["type", "text", "image_url", "input_audio", "file", "video_url", "document_url", "source"]);
        match part.get("type").and_then(Json::raw).unwrap_or_default() {
            b"text" | b"refusal" => {}
            b"image_url" => {
                responses::image(media, part.get("image_url").map(|image| image.get("url").unwrap_or(image)));
            }
            b"input_audio" => {
                responses::sound(media, part.get("input_audio"));
            }
            b"file" => responses::file(media, part.get("file").unwrap_or(part)),
            // Servers in front of Claude take its blocks too.
            kind => match part.get("source").filter(|source| source.is_object()) {
                Some(source) => messages::source(media, source, kind == b"image", 0),
                None => responses::unknown(media, part),
            },
        }
    }
}

/// How opencode's own request for a summary begins.
const SUMMARY_BEGINNING: &[u8] = b"Here is the conversation so far:";

pub(super) fn is_compaction(head: &Head, last_items: &[&[u8]]) -> bool {
    let Some(last) = last_items.last().map(|item| Json::new(item)) else { return false };
    let begins = texts(last.get("content")).last().is_some_and(|text| text.starts_with(SUMMARY_BEGINNING));
    !head.has_tools && last.get("role").and_then(Json::raw) == Some(b"user") && begins
}

pub(super) fn event(state: &mut State, event: Event<'_>) {
    if event.data.trim_ascii() == b"[DONE]" {
        state.answer.complete = true;
        return;
    }
    // One pass over a piece tells whether there is more in it than text.
    let mut bytes = 0;
    let mut more = state.answer.id.is_none() && state.answer.model.is_none();
    let mut hidden = false;
    let written = &mut state.written;
    // Some servers say the same under both names of reasoning.
    let mut reasoning: Option<&[u8]> = None;
    each_member(event.data, |key, value| match (key, value) {
        // OpenRouter says reasoning once more among its details, as `text` or `summary`; elsewhere `text` is a part of a content
        // that is a list, and `input` what a custom tool gets.
        (b"text" | b"summary", Found::Text(text)) if hidden => {
            bytes += text_length(text);
            let details: &[u8] = b"reasoning_details";
            if *reasoning.get_or_insert(details) == details {
                written.take(text);
            }
        }
        (
            b"content" | b"reasoning_content" | b"reasoning" | b"arguments" | b"refusal" | b"transcript" | b"input"
            | b"text",
            Found::Text(text),
        ) => {
            bytes += text_length(text);
            let is_reasoning = matches!(key, b"reasoning_content" | b"reasoning");
            if !is_reasoning || *reasoning.get_or_insert(key) == key {
                written.take(text);
            }
        }
        (b"encrypted_content" | b"reasoning_details", _) => hidden = true,
        (b"finish_reason", Found::Text(_)) | (b"usage" | b"error", Found::Text(_) | Found::Other(b'{')) => more = true,
        // Of several candidates each is kept apart from the others by its number.
        (b"index", Found::Other(digit)) => more |= digit != b'0',
        _ => {}
    });
    state.output(bytes);
    state.hidden(hidden);
    if more || state.open_candidates.is_empty() {
        chunk(state, Json::new(event.data));
    }
}

fn chunk(state: &mut State, chunk: Json<'_>) {
    head(state, chunk);
    for choice in chunk.get("choices").into_iter().flat_map(Json::elements) {
        let index = choice.get("index").and_then(|index| index.number().ok()).unwrap_or(0);
        state.candidate(index, choice.get("finish_reason"));
    }
    state.answer.complete |= state.answer.finish.is_some() && state.open_candidates.is_empty();
    // Some servers report with each piece what there is so far.
    let is_final = state.answer.complete;
    usage(state, chunk, is_final);
}

fn head(state: &mut State, body: Json<'_>) {
    State::name(&mut state.answer.id, body.get("id"));
    State::name(&mut state.answer.model, body.get("model"));
    State::name(&mut state.answer.tier, body.get("service_tier"));
    if let Some(body) = body.get("error") {
        responses::error(state, body);
        if state.answer.error.is_none() {
            state.answer.error = Some("error".into());
        }
    }
}

fn usage(state: &mut State, body: Json<'_>, is_final: bool) {
    let Some(report) = body.get("usage").map(|usage| usage::openai(usage, "prompt_tokens", "completion_tokens")) else {
        return;
    };
    state.seen.hidden |= report.reasoning.is_some_and(|tokens| tokens > 0);
    state.report(report, is_final);
}

pub(super) fn plain(state: &mut State, body: Json<'_>) {
    head(state, body);
    for choice in body.get("choices").into_iter().flat_map(Json::elements) {
        State::name(&mut state.answer.finish, choice.get("finish_reason"));
    }
    usage(state, body, true);
    state.answer.complete = state.answer.error.is_none() && body.is_object();
}

pub(super) fn cut(state: &State) -> Vec<u8> {
    let answer = &state.answer;
    let open = if state.open_candidates.is_empty() { &[0][..] } else { &state.open_candidates };
    let choices: Vec<_> = open.iter().map(|index| json!({"index": index, "delta": {}, "finish_reason": "length"})).collect();
    let last =
        json!({"id": answer.id, "object": "chat.completion.chunk", "created": 0, "model": answer.model, "choices": choices});
    let mut ending = sent(None, &last);
    ending.extend(b"data: [DONE]\n\n");
    ending
}
