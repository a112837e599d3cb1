//! What a request says at its top level, and what of its items is not text.

use std::ops::Range;
use std::sync::LazyLock;

use agentops_text::tokens::Rendering;
use aho_corasick::packed::{Config, Searcher};

use agentops_core::models::{PriceFactor, PriceOption, option_factor};

use super::image::ImageTokens;
use super::inline::Rates;
use super::json::Json;
use super::spelling::is_misspelt;
use super::{Protocol, chat, gemini, messages, responses};
use crate::scan::{Field, Malformed};

/// What the top level of a request says. What is not known there is ignored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Head {
    /// The model that is asked for.
    pub model: Option<String>,
    /// Other models that may answer in its place.
    pub other_models: Vec<String>,
    /// The answer shall be streamed.
    pub stream: bool,
    /// The limit of the output; `None`: the request has none.
    pub output: Option<Limit>,
    /// The budget of thinking in tokens; `None`: the request does not say.
    pub thinking: Option<u64>,
    /// It offers tools.
    pub has_tools: bool,
    /// It offers tools that the provider runs within the call, so that results that are not in the request count as input.
    pub server_tools: bool,
    /// It goes on with something that the provider keeps: the body is not the whole conversation.
    pub server_history: bool,
    /// It refers to something that brings content with it; `None`: it does not.
    pub uncountable: Option<Uncountable>,
    /// The answer is made whether or not anybody reads it.
    pub background: bool,
    /// What its options do to its price; `None`: that is not known.
    pub price: Option<PriceFactor>,
    /// Number of answers that the request asks for: at least 1. The output counts that many times.
    pub answers: u64,
    /// Where a limit of the output is written if there is none.
    pub(super) place: Place,
}

/// A limit of the output.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limit {
    /// Where its value stands in the body.
    pub at: Range<usize>,
    /// Tokens; `None`: it is `null`, which the provider takes as no limit. A limit can be written in its place.
    pub tokens: Option<u64>,
}

/// Where a limit can be added.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) enum Place {
    /// As a member of the body.
    #[default]
    Body,
    /// As the first member of the object that begins here.
    Object(usize),
    /// In an object of its own, in place of the value that stands here.
    Value(Range<usize>),
}

/// An edit of a body: these bytes in place of that range.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Edit {
    /// What is replaced; may be empty.
    pub at: Range<usize>,
    /// What stands there instead.
    pub with: Vec<u8>,
}

impl Edit {
    /// The body with the edit.
    #[must_use]
    pub fn apply(&self, body: &[u8]) -> Vec<u8> {
        [&body[..self.at.start], &self.with, &body[self.at.end..]].concat()
    }
}

/// What in a part of a request is not text: images, documents, audio, sealed reasoning, and what it refers to.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Media {
    /// Where encoded data stands in the part, in its order. It is not text and is not counted as text.
    pub data: Vec<Range<usize>>,
    /// Upper bound of the tokens of all media in the part but its images.
    pub tokens: u64,
    /// Upper bound of the tokens of its images, by how a model counts them.
    pub images: ImageTokens,
    /// Why the part cannot be counted; `None`: it can.
    pub uncountable: Option<Uncountable>,
}

/// Why a part of a request cannot be counted. Only what is not in the request, and what two readers could read differently.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Uncountable {
    /// A file that the provider keeps.
    FileId,
    /// A document, audio or video that the provider fetches.
    Address,
    /// An item of a conversation that the provider keeps.
    ItemReference,
    /// An earlier spoken answer that the provider keeps.
    SpokenAnswer,
    /// Settings and instructions that the provider keeps under a name.
    Preset,
    /// A container with files or skills that the provider keeps.
    Container,
    /// A key or a type that is written with escapes.
    EscapedName,
    /// A key that comes twice in one object.
    RepeatedKey,
    /// Content within content, deeper than any client nests it.
    Nesting,
}

impl Uncountable {
    /// The reason, for the end of "the call …".
    #[must_use]
    pub fn reason(self) -> &'static str {
        match self {
            Self::FileId => "refers to a file by its id",
            Self::Address => "refers to a document, audio or video by its address",
            Self::ItemReference => {
                "refers to an item that the provider keeps (an item reference, or an item without its content)"
            }
            Self::SpokenAnswer => "refers to an earlier spoken answer by its id",
            Self::Preset => "names a preset that the provider keeps",
            Self::Container => "names a container, files or skills that the provider keeps",
            Self::EscapedName => "writes the name of a member or a type with escapes",
            Self::RepeatedKey => "has an object with the same key twice",
            Self::Nesting => "nests content too deeply",
        }
    }
}

impl Media {
    /// Adds media whose data may be in the part.
    pub(super) fn add(&mut self, data: Option<Json<'_>>, tokens: u64) {
        let text = |data: Json<'_>| data.raw().map(|_| data.range().start + 1..data.range().end - 1);
        self.data.extend(data.and_then(text));
        self.tokens = self.tokens.saturating_add(tokens);
    }

    /// Adds an image whose size is not known. Its data may be in the part.
    pub(super) fn add_unsized(&mut self, data: Option<Json<'_>>, rates: &Rates) {
        self.add(data, 0);
        self.images.add(ImageTokens::most(rates.image));
    }

    /// The part cannot be counted.
    pub(super) fn refuse(&mut self, why: Uncountable) {
        self.uncountable = self.uncountable.or(Some(why));
    }

    /// Bytes of encoded data.
    #[must_use]
    pub fn data_bytes(&self) -> u64 {
        self.data.iter().map(|range| range.len() as u64).sum()
    }

    /// Adds reasoning that only the provider can read. It comes back as it was given, in base64.
    ///
    /// Three bytes a token: text of models has four and more in English, and the seal adds some hundred bytes of its own.
    pub(super) fn add_sealed(&mut self, sealed: Option<Json<'_>>) {
        if let Some(raw) = sealed.and_then(Json::raw) {
            self.add(sealed, decoded_length(raw).div_ceil(3));
        }
    }

    /// Looks whether an object that means something to its provider can be read in one way only. `keys`: the members that
    /// count here.
    pub(super) fn check(&mut self, object: Json<'_>, keys: &[&str]) {
        let mut seen = 0_u64;
        for (key, value) in object.members() {
            if key.contains(&b'\\') || key == b"type" && value.raw().is_some_and(|kind| kind.contains(&b'\\')) {
                self.refuse(Uncountable::EscapedName);
            }
            let Some(at) = keys.iter().position(|name| name.as_bytes() == key) else { continue };
            if seen & 1 << at != 0 {
                self.refuse(Uncountable::RepeatedKey);
            }
            seen |= 1 << at;
        }
    }
}

/// How deep content may be nested in content: a result of a tool that holds a document that holds blocks has three levels.
pub(super) const DEPTH_MAX: u32 = 8;

/// How many bytes base64 text stands for, at most.
pub(super) fn decoded_length(base64: &[u8]) -> u64 {
    (base64.len() as u64).div_ceil(4).saturating_mul(3)
}

/// The largest limit of tokens that is taken: more does not fit the 32 bits of Gemini's fields, and no model puts out as much.
const LIMIT_MAX: u64 = i32::MAX as u64;
/// The most answers to one request. OpenAI's API reference has this maximum for `n`; Gemini takes 8.
const ANSWERS_MAX: u64 = 128;

/// A whole number, as its digits say it; `None`: `null`. A fraction of zeros, as in `5.0`, is none: clients whose numbers are
/// floats write it, and JSON's schema and the JSON form of Gemini's messages take it for 5.
///
/// Whatever else a server might take for a number (`"5"`, `5e0`) is refused: another server could read another one.
/// No client sends that, and what a provider refuses, such as `-5`, must not be replaced with something valid.
fn whole(value: Json<'_>, max: u64, wrong: &'static str) -> Result<Option<u64>, Malformed> {
    if value.bytes() == b"null" {
        return Ok(None);
    }
    let all_digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let text = std::str::from_utf8(value.bytes()).unwrap_or_default();
    let digits = match text.split_once('.') {
        Some((digits, zeros)) if !zeros.is_empty() && zeros.bytes().all(|byte| byte == b'0') => digits,
        _ => text,
    };
    let is_plain = all_digits(digits) && (digits == "0" || !digits.starts_with('0'));
    let number = is_plain.then(|| digits.parse().ok()).flatten().filter(|number| *number <= max);
    number.map(Some).ok_or(Malformed { what: wrong, at: value.range().start })
}

/// The body's limit and place while its top level is read.
pub(super) struct Builder<'a> {
    pub(super) head: Head,
    has_answers: bool,
    body: &'a [u8],
}

impl<'a> Builder<'a> {
    pub(super) fn value(&self, field: &Field) -> Json<'a> {
        Json::within(self.body, field.value.clone())
    }

    /// Takes an option that changes the price.
    pub(super) fn option(&mut self, key: &[u8], value: Json<'_>) {
        let Some(option) = PriceOption::of(key).filter(|_| !value.is_null()) else { return };
        let factor = value.name().and_then(|value| option_factor(option, &value));
        self.head.price = self.head.price.zip(factor).map(|(known, factor)| known.and(factor));
    }

    /// Takes a limit of the output.
    ///
    /// # Errors
    /// There is one already. Which of the two counts is for each server to say, so neither can be relied on. `null` is none.
    pub(super) fn limit(&mut self, value: Json<'_>) -> Result<(), Malformed> {
        const WRONG: &str = "the limit of the output is not a whole number of tokens";
        if self.head.output.as_ref().is_some_and(|known| known.tokens.is_some()) {
            let second = Err(Malformed { what: "a second limit of the output", at: value.range().start });
            return if value.bytes() == b"null" { Ok(()) } else { second };
        }
        self.head.output = Some(Limit { at: value.range(), tokens: whole(value, LIMIT_MAX, WRONG)? });
        Ok(())
    }

    /// Takes a number of answers.
    ///
    /// # Errors
    /// It cannot be read, no provider takes it, or there is one already.
    pub(super) fn answers(&mut self, value: Json<'_>) -> Result<(), Malformed> {
        const WRONG: &str = "the number of answers is not a whole number from 1 to 128";
        if value.bytes() == b"null" {
            return Ok(());
        }
        let answers = whole(value, ANSWERS_MAX, WRONG)?.unwrap_or(1);
        if answers == 0 {
            return Err(Malformed { what: WRONG, at: value.range().start });
        }
        if std::mem::replace(&mut self.has_answers, true) {
            return Err(Malformed { what: "a second number of answers", at: value.range().start });
        }
        self.head.answers = answers;
        Ok(())
    }

    /// Takes a model that may answer in the place of the one that is asked for.
    ///
    /// # Errors
    /// It is no name, or there are more than anybody needs.
    pub(super) fn other_model(&mut self, value: Json<'_>) -> Result<(), Malformed> {
        const OTHERS_MAX: usize = 16;
        let wrong = |what| Malformed { what, at: value.range().start };
        if self.head.other_models.len() == OTHERS_MAX {
            return Err(wrong("more than 16 models that may answer"));
        }
        self.head.other_models.push(value.name().ok_or_else(|| wrong("a model that is no name"))?);
        self.preset(value);
        Ok(())
    }

    /// The request cannot be counted.
    pub(super) fn refuse(&mut self, why: Uncountable) {
        self.head.uncountable = self.head.uncountable.or(Some(why));
    }

    /// Looks whether the name of a model has OpenRouter's mark for a preset, `@preset/…`, in it.
    fn preset(&mut self, model: Json<'_>) {
        if model.name().is_some_and(|name| name.to_ascii_lowercase().contains("@preset")) {
            self.refuse(Uncountable::Preset);
        }
    }

    /// Takes a budget of thinking.
    ///
    /// # Errors
    /// It cannot be read, or there is one already.
    pub(super) fn thinking(&mut self, value: Json<'_>) -> Result<(), Malformed> {
        const WRONG: &str = "the budget of thinking is not a whole number of tokens";
        if value.bytes() == b"null" {
            return Ok(());
        }
        if self.head.thinking.is_some() {
            return Err(Malformed { what: "a second budget of thinking", at: value.range().start });
        }
        self.head.thinking = whole(value, LIMIT_MAX, WRONG)?;
        Ok(())
    }
}

/// Finds in one pass whether an item may hold anything but text. Such a word ends in a quote, which text inside a string has
/// escaped; an escape is looked for because it could hide a word.
///
/// The library's search for few words at once; its automaton with words that begin alike takes ten times as long.
pub(super) struct Needles(LazyLock<Option<Searcher>>);

impl Needles {
    pub(super) const fn new(build: fn() -> Option<Searcher>) -> Self {
        Self(LazyLock::new(build))
    }

    /// A platform without such a search looks into every item.
    pub(super) fn are_in(&self, item: &[u8]) -> bool {
        self.0.as_ref().is_none_or(|searcher| searcher.find(item).is_some())
    }
}

/// The searcher for these words.
pub(super) fn needles(words: &[&str]) -> Option<Searcher> {
    let words = words.iter().map(|word| format!("{word}\"")).chain(["\\u00".to_owned()]);
    Config::new().builder().extend(words).build()
}

/// Reads what the top level says.
///
/// # Errors
/// It says something twice in different words, so that two readers could understand it differently.
pub fn head(protocol: Protocol, body: &[u8], fields: &[Field]) -> Result<Head, Malformed> {
    let head = Head {
        model: None,
        other_models: Vec::new(),
        stream: false,
        output: None,
        thinking: None,
        has_tools: false,
        server_tools: false,
        server_history: false,
        uncountable: None,
        background: false,
        price: Some(PriceFactor::STANDARD),
        answers: 1,
        place: Place::Body,
    };
    let mut builder = Builder { head, has_answers: false, body };
    for field in fields {
        let key = &body[field.key.clone()];
        let value = builder.value(field);
        if is_misspelt(key) {
            let what = "a member whose name differs from one that counts by its case only";
            return Err(Malformed { what, at: field.key.start });
        }
        match key {
            b"model" => {
                builder.head.model = value.name();
                builder.preset(value);
            }
            b"stream" => builder.head.stream = value.is_true(),
            b"tools" | b"functions" => builder.head.has_tools |= value.elements().next().is_some(),
            // Names that servers which speak like OpenAI's have for the number of answers. Of `best_of` answers they return one.
            b"n" | b"best_of" | b"num_return_sequences" if protocol != Protocol::Gemini => builder.answers(value)?,
            // OpenRouter's list of models that it asks one after another.
            b"models" if protocol != Protocol::Gemini => {
                value.elements().try_for_each(|model| builder.other_model(model))?
            }
            // OpenRouter's instructions and settings under a name.
            b"preset" if protocol != Protocol::Gemini && !value.is_null() => builder.refuse(Uncountable::Preset),
            b"previous_response_id" if protocol != Protocol::Gemini => {
                builder.head.server_history |= !value.is_null();
            }
            // llama.cpp's server and others go by these names, whatever the protocol's own limit says.
            b"n_predict" | b"num_predict" | b"max_new_tokens"
                if protocol != Protocol::Gemini && value.bytes() != b"null" =>
            {
                let what = "a limit of the output that is not the protocol's own";
                return Err(Malformed { what, at: value.range().start });
            }
            _ => {}
        }
        builder.option(key, value);
        match protocol {
            Protocol::Messages => messages::member(&mut builder, key, value)?,
            Protocol::Responses => responses::member(&mut builder, key, value)?,
            Protocol::Chat => chat::member(&mut builder, key, value)?,
            Protocol::Gemini => gemini::member(&mut builder, key, value)?,
        }
    }
    // Of Messages it fills the cache and asks for no answer. Elsewhere some servers take it for no limit.
    let is_zero = |limit: &&Limit| protocol != Protocol::Messages && limit.tokens == Some(0);
    if let Some(limit) = builder.head.output.as_ref().filter(is_zero) {
        return Err(Malformed { what: "the limit of the output is 0", at: limit.at.start });
    }
    Ok(builder.head)
}

/// A part of a body: what is measured as one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BodyPart<'a> {
    /// An element of the conversation.
    Item,
    /// A top-level member: its key.
    Member(&'a [u8]),
}

impl BodyPart<'_> {
    /// How the model reads it: standing instructions and a conversation as messages, tools and settings as JSON.
    #[must_use]
    pub fn rendering(self) -> Rendering {
        match self {
            Self::Item
            | Self::Member(
                b"system"
                | b"systemInstruction"
                | b"system_instruction"
                | b"instructions"
                | b"messages"
                | b"input"
                | b"contents",
            ) => Rendering::Messages,
            Self::Member(_) => Rendering::Json,
        }
    }
}

/// What in a part is not text.
#[must_use]
pub fn media(protocol: Protocol, part: BodyPart<'_>, bytes: &[u8]) -> Media {
    let mut media = match protocol {
        Protocol::Messages => messages::media(part, bytes),
        Protocol::Responses => responses::media(part, bytes),
        Protocol::Chat => chat::media(part, bytes),
        Protocol::Gemini => gemini::media(part, bytes),
    };
    media.data.sort_unstable_by_key(|data| data.start);
    media
}

/// The most marks for the provider's cache in a request. Source: Anthropic, "Prompt caching": four breakpoints.
const CACHE_MARKS_MAX: usize = 4;

/// Where marks for the provider's cache stand in an item, each with one of the commas around it. More than a provider takes
/// are none.
#[must_use]
pub fn cache_marks(item: &[u8]) -> Vec<Range<usize>> {
    let mut marks = Vec::new();
    for block in Json::new(item).get("content").into_iter().flat_map(Json::elements) {
        let mut end_before = None;
        let mut members = block.placed_members().peekable();
        while let Some((key, value)) = members.next() {
            let end = value.range().end;
            if &item[key.clone()] == b"\"cache_control\"" && is_cache_mark(value) {
                let next = members.peek().map(|(next, _)| next.start);
                marks.push(match (end_before, next) {
                    (Some(before), _) => before..end,
                    (None, Some(next)) => key.start..next,
                    (None, None) => key.start..end,
                });
            }
            end_before = Some(end);
        }
    }
    if marks.len() > CACHE_MARKS_MAX { Vec::new() } else { marks }
}

/// The form that clients send, and no other: `{"type":"ephemeral"}`, perhaps with how long it is kept.
fn is_cache_mark(mark: Json<'_>) -> bool {
    const MARK_BYTES_MAX: usize = 64;
    if !mark.is_object() || mark.bytes().len() > MARK_BYTES_MAX {
        return false;
    }
    let (mut kinds, mut lives, mut others) = (0, 0, 0);
    for (key, value) in mark.members() {
        match (key, value.raw()) {
            (b"type", Some(b"ephemeral")) => kinds += 1,
            (b"ttl", Some(b"5m" | b"1h")) => lives += 1,
            _ => others += 1,
        }
    }
    (kinds, others) == (1, 0) && lives <= 1
}

/// Whose words an item of a conversation is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// The program's instructions to the model, with which any conversation of it may begin.
    Instructions,
    /// A person's, or the program's in that place.
    User,
    /// The model's, a tool's, or not known.
    Model,
}

/// Whose words an item is.
#[must_use]
pub fn role(item: &[u8]) -> Role {
    match Json::new(item).get("role").and_then(Json::raw) {
        Some(b"system" | b"developer") => Role::Instructions,
        Some(b"user") => Role::User,
        _ => Role::Model,
    }
}

/// Whether the request's shape says that the program compacts its own context. `last_items` are the last of the
/// conversation, in their order.
#[must_use]
pub fn is_compaction(protocol: Protocol, head: &Head, last_items: &[&[u8]]) -> bool {
    match protocol {
        Protocol::Messages => messages::is_compaction(last_items),
        Protocol::Responses => responses::is_compaction(head, last_items),
        Protocol::Chat => chat::is_compaction(head, last_items),
        Protocol::Gemini => gemini::is_compaction(head, last_items),
    }
}

/// Sets the limit of the output: in place of the one that is there, or as a new member.
#[must_use]
pub fn limit_output(protocol: Protocol, body: &[u8], head: &Head, tokens: u64) -> Edit {
    let key = match protocol {
        Protocol::Messages => "max_tokens",
        Protocol::Responses => "max_output_tokens",
        Protocol::Chat => chat::limit_key(head),
        Protocol::Gemini => "maxOutputTokens",
    };
    let limit_member = format!("\"{key}\":{tokens}");
    let first_member = |brace: usize, member: String| {
        let is_empty = Json::within(body, brace..body.len()).members().next().is_none();
        Edit { at: brace + 1..brace + 1, with: if is_empty { member } else { member + "," }.into_bytes() }
    };
    if let Some(limit) = &head.output {
        let mut at = limit.at.clone();
        if protocol == Protocol::Chat && limit.tokens.is_none() {
            // It may stand under the name that the model does not take.
            match Json::new(body).members().find(|(name, _)| *name == key.as_bytes()) {
                Some((_, value)) => at = value.range(),
                None => return first_member(Json::new(body).range().start, limit_member),
            }
        }
        return Edit { at, with: tokens.to_string().into_bytes() };
    }
    match (&head.place, protocol) {
        (Place::Object(brace), _) => first_member(*brace, limit_member),
        (Place::Value(at), _) => Edit { at: at.clone(), with: format!("{{{limit_member}}}").into_bytes() },
        (Place::Body, Protocol::Gemini) => {
            first_member(Json::new(body).range().start, format!("\"generationConfig\":{{{limit_member}}}"))
        }
        (Place::Body, _) => first_member(Json::new(body).range().start, limit_member),
    }
}

/// The members of an object that holds a limit.
///
/// # Errors
/// A key is written with escapes or in another case, which no client does: it could be a limit under another spelling.
pub(super) fn plain_members(object: Json<'_>) -> Result<impl Iterator<Item = (&[u8], Json<'_>)>, Malformed> {
    match object.members().any(|(key, _)| key.contains(&b'\\') || is_misspelt(key)) {
        true => Err(Malformed { what: "a key in another spelling beside a limit", at: object.range().start }),
        false => Ok(object.members()),
    }
}

/// The texts of an item's content as they are written: a string, or the `text` members of its parts.
pub(super) fn texts(content: Option<Json<'_>>) -> impl Iterator<Item = &[u8]> {
    let whole = content.and_then(Json::raw);
    let parts = content.into_iter().flat_map(Json::elements).filter_map(|part| part.get("text")?.raw());
    whole.into_iter().chain(parts)
}
