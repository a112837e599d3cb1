//! Anthropic Messages. Sources: Anthropic's API reference, "Messages", "Streaming", "Vision" and "PDF support".

use serde_json::json;

use super::inline::{Declared, Rates, is_data_address};
use super::json::{Found, Json, each_member, text_length};
use super::reader::{State, sent};
use super::request::{BodyPart, Builder, DEPTH_MAX, Media, Needles, Uncountable, needles, plain_members, texts};
use super::usage::{MessagesReport, output_alone};
use crate::scan::Malformed;
use crate::sse::Event;

/// The most tokens an image has: 750 pixels a token, and models that see in high resolution scale an image down to 3.75
/// million pixels, others to about 1,600 tokens.
const IMAGE_TOKENS_MAX: u64 = 5_000;

/// The image of a page is one like others.
const RATES: Rates = Rates { image: IMAGE_TOKENS_MAX, page_image: IMAGE_TOKENS_MAX, sound_second: 32 };

static NEEDLES: Needles =
    Needles::new(|| needles(&["source", "signature", "redacted_thinking", "encrypted_content", "file_id"]));

/// How Claude Code's own request for a summary begins.
const SUMMARY_BEGINNINGS: [&[u8]; 2] =
    [b"CRITICAL: Respond with TEXT ONLY", b"Your task is to create a detailed summary of "];

pub(super) fn member(builder: &mut Builder<'_>, key: &[u8], value: Json<'_>) -> Result<(), Malformed> {
    match key {
        b"max_tokens" if value.bytes() == b"null" => {
            return Err(Malformed {
                what: "`max_tokens` is null, and the protocol needs a number",
                at: value.range().start,
            });
        }
        b"max_tokens" => builder.limit(value)?,
        b"thinking" => {
            for (_, budget) in plain_members(value)?.filter(|(key, _)| *key == b"budget_tokens") {
                builder.thinking(budget)?;
            }
        }
        // Another model may answer in the place of the one that was asked, under a limit of its own.
        b"fallbacks" => {
            for fallback in value.elements() {
                for (key, value) in plain_members(fallback)? {
                    match key {
                        b"model" => builder.other_model(value)?,
                        b"max_tokens" if value.bytes() != b"null" => {
                            let what = "a second limit of the output, in `fallbacks`";
                            return Err(Malformed { what, at: value.range().start });
                        }
                        // A fallback may have options that raise its price.
                        _ => builder.option(key, value),
                    }
                }
            }
        }
        // Tools that the provider runs have a dated type, such as `web_search_20250305`; some dated tools the client runs.
        b"tools" => {
            let runs = |tool: Json<'_>| {
                let kind = tool.get("type").and_then(Json::raw).unwrap_or_default();
                let server = [b"web_".as_slice(), b"code_execution", b"tool_search", b"advisor"];
                server.iter().any(|beginning| kind.starts_with(beginning))
            };
            builder.head.server_tools |= value.elements().any(runs);
        }
        b"container" if !value.is_null() => builder.refuse(Uncountable::Container),
        b"mcp_servers" => builder.head.server_tools |= value.elements().next().is_some(),
        _ => {}
    }
    Ok(())
}

pub(super) fn media(part: BodyPart<'_>, bytes: &[u8]) -> Media {
    let mut media = Media::default();
    if !NEEDLES.are_in(bytes) {
        return media;
    }
    match part {
        BodyPart::Item => message(&mut media, Json::new(bytes)),
        BodyPart::Member(b"messages") => Json::new(bytes).each().for_each(|item| message(&mut media, item)),
        BodyPart::Member(b"system") => content(&mut media, Some(Json::new(bytes)), 0),
        BodyPart::Member(_) => {}
    }
    media
}

fn message(media: &mut Media, message: Json<'_>) {
    media.check(message, &["role", "content"]);
    content(media, message.get("content"), 0);
}

/// Members that say what a block is and what it holds.
const BLOCK_KEYS: [&str; 9] =
    ["type", "source", "content", "text", "input", "data", "signature", "encrypted_content", "thinking"];

/// Blocks of content, some of which hold blocks themselves. The input of a tool is not looked at: the model wrote it, and
/// it counts as the text it is.
fn content(media: &mut Media, blocks: Option<Json<'_>>, depth: u32) {
    if depth > DEPTH_MAX {
        return media.refuse(Uncountable::Nesting);
    }
    for block in blocks.into_iter().flat_map(Json::each) {
        media.check(block, &BLOCK_KEYS);
        match block.get("type").and_then(Json::raw).unwrap_or_default() {
            b"text" | b"tool_use" | b"server_tool_use" | b"mcp_tool_use" => {}
            b"thinking" => media.add_sealed(block.get("signature")),
            b"redacted_thinking" => media.add_sealed(block.get("data")),
            b"web_search_result" => media.add_sealed(block.get("encrypted_content")),
            b"container_upload" => media.refuse(Uncountable::FileId),
            kind => {
                if let Some(source) = block.get("source").filter(|source| source.is_object()) {
                    self::source(media, source, kind == b"image", depth);
                }
                content(media, block.get("content"), depth + 1);
            }
        }
    }
}

/// What a block's content comes from: data, text or blocks within the request, or something that the provider gets itself.
pub(super) fn source(media: &mut Media, source: Json<'_>, is_image: bool, depth: u32) {
    media.check(source, &["type", "media_type", "data", "url", "file_id", "content"]);
    let is_text = source.get("type").and_then(Json::raw) == Some(b"text");
    let declared = Declared::of_type(source.get("media_type"));
    if let Some(data) = source.get("data").filter(|_| !is_text) {
        match is_image {
            true => media.add_image(data, declared, &RATES),
            false => media.add_inline(data, declared, &RATES),
        }
    }
    content(media, source.get("content"), depth + 1);
    for (key, why) in [("url", Uncountable::Address), ("file_id", Uncountable::FileId)] {
        let Some(reference) = source.get(key) else { continue };
        match is_image {
            true if is_data_address(reference) => media.add_image(reference, declared, &RATES),
            true => media.add_unsized(None, &RATES),
            false if is_data_address(reference) => media.add_inline(reference, declared, &RATES),
            false => media.refuse(why),
        }
    }
}

pub(super) fn is_compaction(last_items: &[&[u8]]) -> bool {
    let last = last_items.iter().rev().find_map(|item| {
        let [role, content] = Json::new(item).get_each(["role", "content"]);
        (role.and_then(Json::raw) == Some(b"user")).then_some(content)
    });
    let begins = |text: &[u8]| SUMMARY_BEGINNINGS.iter().any(|beginning| text.starts_with(beginning));
    last.is_some_and(|content| texts(content).last().is_some_and(begins))
}

pub(super) fn event(state: &mut State, event: Event<'_>) {
    const DELTA: &[u8] = b"content_block_delta";
    let is_delta =
        event.name == DELTA || event.name.is_empty() && event.data.starts_with(b"{\"type\":\"content_block_delta\"");
    if is_delta {
        return delta(state, event.data);
    }
    let data = Json::new(event.data);
    match data.get("type").and_then(Json::raw).unwrap_or(event.name) {
        b"message_start" => {
            if let Some(message) = data.get("message") {
                State::name(&mut state.answer.id, message.get("id"));
                State::name(&mut state.answer.model, message.get("model"));
                usage(state, message.get("usage"), false);
            }
        }
        b"content_block_start" => {
            let index = data.get("index").and_then(|index| index.number().ok());
            state.open_block = Some(index.unwrap_or(0));
            let block = data.get("content_block");
            match block.and_then(|block| block.get("type")?.raw()) {
                // What is shown of thinking is a summary; what it cost is known at the end.
                Some(b"thinking" | b"redacted_thinking") => state.hidden(true),
                Some(b"text") => {
                    let text = block.and_then(|block| block.get("text")?.raw()).unwrap_or_default();
                    state.written.take(text);
                    state.output(text_length(text));
                }
                // Some servers send no pieces of what a tool gets.
                _ => {
                    let input = block.and_then(|block| block.get("input"));
                    each_member(input.map(Json::bytes).unwrap_or_default(), |_, value| {
                        if let Found::Text(text) = value {
                            state.written.take(text);
                            state.output(text_length(text));
                        }
                    });
                }
            }
        }
        DELTA => delta(state, event.data),
        b"content_block_stop" => state.open_block = None,
        b"message_delta" => {
            State::name(&mut state.answer.finish, data.get("delta").and_then(|delta| delta.get("stop_reason")));
            usage(state, data.get("usage"), true);
        }
        b"message_stop" => state.answer.complete = true,
        b"error" => error(state, data),
        _ => {}
    }
}

/// A piece of a block. There are many of these, so they are read in one pass.
fn delta(state: &mut State, data: &[u8]) {
    let mut bytes = 0;
    let mut hidden = false;
    let mut is_citation = false;
    let written = &mut state.written;
    each_member(data, |key, value| match (key, value) {
        (b"signature", _) => hidden = true,
        // A citation repeats text of a document. It is not output of the model.
        (b"citation", _) => is_citation = true,
        (b"type", _) => {}
        // A piece of a kind that is not known is taken for what the model wrote.
        (_, Found::Text(text)) if !is_citation => {
            bytes += text_length(text);
            written.take(text);
        }
        _ => {}
    });
    state.output(bytes);
    state.hidden(hidden);
}

fn usage(state: &mut State, usage: Option<Json<'_>>, is_last: bool) {
    let Some(usage) = usage else { return };
    let Ok(report) = MessagesReport::read(usage) else {
        let output = output_alone(usage, &["output_tokens"]);
        return state.report(output, is_last && output.usage.output > 0);
    };
    state.messages_report = state.messages_report.followed_by(report);
    state.report(state.messages_report.report(), is_last && report.has_output());
}

fn error(state: &mut State, body: Json<'_>) {
    State::name(&mut state.answer.error, body.get("error").and_then(|error| error.get("type")));
}

pub(super) fn plain(state: &mut State, body: Json<'_>) {
    let [error, id, model, finish, used] = body.get_each(["error", "id", "model", "stop_reason", "usage"]);
    State::name(&mut state.answer.error, error.and_then(|error| error.get("type")));
    State::name(&mut state.answer.id, id);
    State::name(&mut state.answer.model, model);
    State::name(&mut state.answer.finish, finish);
    usage(state, used, true);
    state.answer.complete = state.answer.error.is_none();
}

pub(super) fn cut(state: &State) -> Vec<u8> {
    let mut ending = Vec::new();
    if let Some(index) = state.open_block {
        ending.extend(sent(Some("content_block_stop"), &json!({"type": "content_block_stop", "index": index})));
    }
    // Some clients read the figure without looking whether it is there. It is the last one that the provider gave.
    let output = state.answer.usage.map_or(0, |usage| usage.output);
    let delta = json!({"type": "message_delta", "delta": {"stop_reason": "max_tokens", "stop_sequence": null},
        "usage": {"output_tokens": output}});
    ending.extend(sent(Some("message_delta"), &delta));
    ending.extend(sent(Some("message_stop"), &json!({"type": "message_stop"})));
    ending
}
