//! Gemini `generateContent`. Sources: the Gemini API reference, "Generating content", and its guides "Token counting",
//! "Image understanding" and "Media resolution".
//!
//! Members have two spellings, for its servers read JSON as protocol buffers do: `maxOutputTokens` and `max_output_tokens`.

use serde_json::json;

use super::inline::{Declared, MediaKind, Rates};
use super::json::{Found, Json, each_member, text_length};
use super::reader::{State, sent};
use super::request::{
    BodyPart, Builder, DEPTH_MAX, Head, Media, Needles, Place, Uncountable, needles, plain_members, texts,
};
use super::usage;
use crate::scan::Malformed;
use crate::sse::Event;

/// The most tokens an image has. An image is scaled down to at most 3,072 pixels a side and cut into tiles of at least 256
/// pixels a side, at most two deep where they are that small: 24 tiles of 258 tokens. Newer models: 2,240 at most.
const IMAGE_TOKENS_MAX: u64 = 24 * 258;

/// A page has 258 tokens (guide "Document understanding"), and 2,240 at the highest resolution of newer models; sound has 32
/// tokens a second (guide "Audio understanding").
const RATES: Rates = Rates { image: IMAGE_TOKENS_MAX, page_image: 2_240, sound_second: 32 };

/// How what Gemini CLI asks for ends when it summarises its own context: for a summary, and whether it is complete.
const SUMMARY_ENDINGS: [&[u8]; 2] = [b"<state_snapshot>.", b"repeat the exact same <state_snapshot> again."];

pub(super) fn member(builder: &mut Builder<'_>, key: &[u8], value: Json<'_>) -> Result<(), Malformed> {
    match key {
        b"generationConfig" | b"generation_config" => {
            // `null` is none.
            match builder.head.place {
                Place::Body | Place::Value(_) => {}
                Place::Object(_) if value.bytes() == b"null" => return Ok(()),
                Place::Object(_) => return Err(Malformed { what: "a second configuration", at: value.range().start }),
            }
            builder.head.place = match value.bytes() {
                [b'{', ..] => Place::Object(value.range().start),
                b"null" => Place::Value(value.range()),
                _ => return Err(Malformed { what: "a configuration that is no object", at: value.range().start }),
            };
            for (key, value) in plain_members(value)? {
                config(builder, key, value)?;
            }
        }
        b"cachedContent" | b"cached_content" => builder.head.server_history |= !value.is_null(),
        b"tools" => {
            let client = [b"functionDeclarations".as_slice(), b"function_declarations"];
            let runs = |tool: Json<'_>| tool.members().any(|(key, value)| !client.contains(&key) && !value.is_null());
            builder.head.server_tools |= value.elements().any(runs);
        }
        _ => {}
    }
    Ok(())
}

fn config(builder: &mut Builder<'_>, key: &[u8], value: Json<'_>) -> Result<(), Malformed> {
    builder.option(key, value);
    match key {
        b"maxOutputTokens" | b"max_output_tokens" => builder.limit(value)?,
        b"candidateCount" | b"candidate_count" => builder.answers(value)?,
        b"thinkingConfig" | b"thinking_config" => {
            let is_budget = |key: &[u8]| matches!(key, b"thinkingBudget" | b"thinking_budget");
            // -1 leaves it to the model.
            let is_open = |budget: &Json<'_>| matches!(budget.bytes(), b"-1" | b"-1.0");
            let budgets = plain_members(value)?.filter(|(key, budget)| is_budget(key) && !is_open(budget));
            for (_, budget) in budgets {
                builder.thinking(budget)?;
            }
        }
        _ => {}
    }
    Ok(())
}

static NEEDLES: Needles = Needles::new(|| {
    needles(&["inlineData", "inline_data", "fileData", "file_data", "thoughtSignature", "thought_signature"])
});

pub(super) fn media(part: BodyPart<'_>, bytes: &[u8]) -> Media {
    let mut media = Media::default();
    if !NEEDLES.are_in(bytes) {
        return media;
    }
    match part {
        BodyPart::Item => content(&mut media, Json::new(bytes)),
        BodyPart::Member(b"contents" | b"systemInstruction" | b"system_instruction") => {
            Json::new(bytes).each().for_each(|one| content(&mut media, one));
        }
        BodyPart::Member(_) => {}
    }
    media
}

fn content(media: &mut Media, content: Json<'_>) {
    media.check(content, &["role", "parts"]);
    parts(media, content.get("parts"), 0);
}

/// Parts of a content. What a function gave back may hold parts of its own.
fn parts(media: &mut Media, list: Option<Json<'_>>, depth: u32) {
    if depth > DEPTH_MAX {
        return media.refuse(Uncountable::Nesting);
    }
    for part in list.into_iter().flat_map(Json::each) {
        media.check(part, &[]);
        for (key, value) in part.members().filter(|(_, value)| !value.is_null()) {
            match key {
                b"inlineData" | b"inline_data" => {
                    media.check(value, &["data"]);
                    let [kind, kind_too, data] = value.get_each(["mimeType", "mime_type", "data"]);
                    let declared = Declared::of_type(kind).and(Declared::of_type(kind_too));
                    match data {
                        Some(data) if declared == Declared::As(MediaKind::Image) => {
                            media.add_image(data, declared, &RATES);
                        }
                        Some(data) => media.add_inline(data, declared, &RATES),
                        None => {}
                    }
                }
                // What its type says may not be true, and a film of hours is a few bytes of address.
                b"fileData" | b"file_data" => media.refuse(Uncountable::Address),
                b"thoughtSignature" | b"thought_signature" => media.add_sealed(Some(value)),
                b"functionResponse" | b"function_response" => {
                    media.check(value, &["parts"]);
                    parts(media, value.get("parts"), depth + 1);
                }
                _ => {}
            }
        }
    }
}

pub(super) fn is_compaction(head: &Head, last_items: &[&[u8]]) -> bool {
    let Some(last) = last_items.last().map(|item| Json::new(item)) else { return false };
    let asks =
        texts(last.get("parts")).last().is_some_and(|text| SUMMARY_ENDINGS.iter().any(|ending| text.ends_with(ending)));
    !head.has_tools && asks
}

pub(super) fn event(state: &mut State, event: Event<'_>) {
    chunk(state, Json::new(event.data));
}

/// One response of a stream: each is whole, with the candidates' next parts.
fn chunk(state: &mut State, chunk: Json<'_>) {
    let mut report = None;
    for (key, value) in chunk.members() {
        match key {
            b"candidates" => candidates(state, value),
            b"usageMetadata" if !value.is_null() => report = Some(usage::gemini(value)),
            b"modelVersion" => State::name(&mut state.answer.model, Some(value)),
            b"responseId" => State::name(&mut state.answer.id, Some(value)),
            b"error" => {
                State::name(&mut state.answer.error, value.get("status"));
                if state.answer.error.is_none() {
                    state.answer.error = Some("error".into());
                }
            }
            b"promptFeedback" => {
                // The prompt was refused: there is no candidate to end.
                if let Some(reason) = value.get("blockReason") {
                    State::name(&mut state.answer.finish, Some(reason));
                    state.answer.complete = true;
                }
            }
            _ => {}
        }
    }
    state.answer.complete |= state.answer.finish.is_some() && state.open_candidates.is_empty();
    // Each response reports what there is so far.
    let is_final = state.answer.complete;
    if let Some(report) = report {
        state.report(report, is_final);
    }
}

fn candidates(state: &mut State, candidates: Json<'_>) {
    for candidate in candidates.elements() {
        let (mut index, mut finish, mut content) = (0, None, None);
        for (key, value) in candidate.members() {
            match key {
                b"index" => index = value.number().unwrap_or(0),
                b"finishReason" => finish = Some(value),
                b"content" => content = Some(value),
                _ => {}
            }
        }
        state.candidate(index, finish);
        let Some(content) = content else { continue };
        let (mut bytes, mut hidden) = (0, false);
        for part in content.get("parts").into_iter().flat_map(Json::each) {
            if let Some(call) = part.get("functionCall").or_else(|| part.get("toolCall")) {
                bytes += call.bytes().len() as u64;
                let written = &mut state.written;
                each_member(call.bytes(), |_, value| {
                    if let Found::Text(text) = value {
                        written.take(text);
                    }
                });
                hidden |= part.get("thoughtSignature").is_some();
                continue;
            }
            let mark = state.written.mark();
            let written = &mut state.written;
            let mut is_summary = false;
            each_member(part.bytes(), |key, value| match (key, value) {
                (b"text" | b"code", Found::Text(text)) => {
                    bytes += text_length(text);
                    written.take(text);
                }
                // What is shown of thoughts is a summary.
                (b"thought", Found::Other(b't')) => is_summary = true,
                (b"thoughtSignature", _) => hidden = true,
                _ => {}
            });
            hidden |= is_summary;
            if is_summary {
                state.written.back_to(&mark);
            }
        }
        state.output(bytes);
        state.hidden(hidden);
    }
}

/// A plain answer, or the array of responses that a stream without events is.
pub(super) fn plain(state: &mut State, body: Json<'_>) {
    if body.is_array() {
        for response in body.elements() {
            chunk(state, response);
        }
    } else {
        chunk(state, body);
    }
    state.answer.complete = state.answer.error.is_none();
    state.answer.usage_is_final = state.answer.usage.is_some();
}

pub(super) fn cut(state: &State) -> Vec<u8> {
    let open = if state.open_candidates.is_empty() { &[0][..] } else { &state.open_candidates };
    let candidates: Vec<_> = open
        .iter()
        .map(|index| json!({"content": {"role": "model", "parts": [{"text": ""}]}, "finishReason": "MAX_TOKENS", "index": index}))
        .collect();
    let answer = &state.answer;
    sent(None, &json!({"candidates": candidates, "modelVersion": answer.model, "responseId": answer.id}))
}
