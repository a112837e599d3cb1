//! What a provider reads in a request, for tests: a reader that shares nothing with the product's.
//!
//! It keeps every member of an object, undoes the escapes of keys, takes one object for a list of one, and takes of two
//! members with one key whichever asks the model to read more. It finds less than a provider counts, never more: texts by a
//! tokenizer that the product does not link, a page at the least that is published, nothing for what stands around.

use std::fmt;

use agentops_gateway::protocol::Protocol;
use agentops_testkit::judge;
use serde::Deserialize;
use serde::de::{Deserializer, MapAccess, SeqAccess, Visitor};

/// A JSON value with all its members.
#[derive(Debug, Clone, PartialEq)]
pub enum Tree {
    Text(String),
    /// A number, a truth value or nothing, as JSON.
    Bare(String),
    List(Vec<Tree>),
    Object(Vec<(String, Tree)>),
}

impl<'de> Deserialize<'de> for Tree {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct Any;
        impl<'de> Visitor<'de> for Any {
            type Value = Tree;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("JSON")
            }
            fn visit_str<E>(self, text: &str) -> Result<Tree, E> {
                Ok(Tree::Text(text.to_owned()))
            }
            fn visit_unit<E>(self) -> Result<Tree, E> {
                Ok(Tree::Bare("null".into()))
            }
            fn visit_bool<E>(self, value: bool) -> Result<Tree, E> {
                Ok(Tree::Bare(value.to_string()))
            }
            fn visit_u64<E>(self, value: u64) -> Result<Tree, E> {
                Ok(Tree::Bare(value.to_string()))
            }
            fn visit_i64<E>(self, value: i64) -> Result<Tree, E> {
                Ok(Tree::Bare(value.to_string()))
            }
            fn visit_f64<E>(self, value: f64) -> Result<Tree, E> {
                // A provider may write it either way; the shorter one asks for less.
                let (whole, short) = (value.to_string(), format!("{value:e}"));
                Ok(Tree::Bare(if short.len() < whole.len() { short } else { whole }))
            }
            fn visit_seq<A: SeqAccess<'de>>(self, mut from: A) -> Result<Tree, A::Error> {
                let mut items = Vec::new();
                while let Some(item) = from.next_element()? {
                    items.push(item);
                }
                Ok(Tree::List(items))
            }
            fn visit_map<A: MapAccess<'de>>(self, mut from: A) -> Result<Tree, A::Error> {
                let mut members = Vec::new();
                while let Some(member) = from.next_entry()? {
                    members.push(member);
                }
                Ok(Tree::Object(members))
            }
        }
        from.deserialize_any(Any)
    }
}

impl Tree {
    /// All values of that key that are not null.
    pub fn all<'a>(&'a self, key: &'a str) -> impl Iterator<Item = &'a Tree> {
        let members = if let Tree::Object(members) = self { &members[..] } else { &[] };
        members
            .iter()
            .filter(move |(name, value)| name == key && *value != Tree::Bare("null".into()))
            .map(|(_, value)| value)
    }

    fn says(&self, key: &str, word: &str) -> bool {
        self.all(key).any(|value| *value == Tree::Text(word.to_owned()))
    }

    fn is_one_of(&self, types: &[&str]) -> bool {
        types.iter().any(|name| self.says("type", name))
    }

    /// An address from which the provider would fetch something: it does not hold the data itself.
    fn is_elsewhere(&self) -> bool {
        match self.all("url").next().unwrap_or(self) {
            Tree::Text(address) => !address.get(..5).is_some_and(|scheme| scheme.eq_ignore_ascii_case("data:")),
            _ => true,
        }
    }

    /// A list's items; anything else is a list of itself.
    fn each(&self) -> &[Tree] {
        match self {
            Tree::List(items) => items,
            other => std::slice::from_ref(other),
        }
    }

    fn written(&self) -> String {
        match self {
            Tree::Text(text) => serde_json::json!(text).to_string(),
            Tree::Bare(bare) => bare.clone(),
            Tree::List(items) => format!("[{}]", items.iter().map(Tree::written).collect::<Vec<_>>().join(",")),
            Tree::Object(members) => {
                let member = |(key, value): &(String, Tree)| format!("{}:{}", serde_json::json!(key), value.written());
                format!("{{{}}}", members.iter().map(member).collect::<Vec<_>>().join(","))
            }
        }
    }
}

/// What the model is to read.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Found {
    /// The least tokens.
    pub tokens: u64,
    /// Something is not in the request.
    pub refers: bool,
}

/// What a provider reads in a body.
pub fn read(protocol: Protocol, body: &str) -> Found {
    let body: Tree = serde_json::from_str(body).expect("the test writes JSON");
    let mut found = Found::default();
    let conversation = match protocol {
        Protocol::Messages => &["system", "messages"][..],
        Protocol::Chat => &["messages"],
        Protocol::Responses => &["instructions", "input"],
        Protocol::Gemini => &["systemInstruction", "system_instruction", "contents"],
    };
    for key in conversation {
        for part in body.all(key).flat_map(Tree::each) {
            match *key {
                "system" => found.piece(protocol, part),
                _ => found.message(protocol, part),
            }
        }
    }
    let kept = match protocol {
        Protocol::Messages | Protocol::Chat => &["previous_response_id"][..],
        Protocol::Responses => &["previous_response_id", "conversation", "prompt"],
        Protocol::Gemini => &["cachedContent", "cached_content"],
    };
    found.refers |= kept.iter().any(|key| body.all(key).next().is_some());
    body.all("tools").for_each(|tools| found.text(&tools.written()));
    found
}

impl Found {
    fn text(&mut self, text: &str) {
        // What is no JSON counts as it stands.
        let tokens = judge::tokens(agentops_testkit::model::Protocol::Unknown, format!(": {text}").as_bytes());
        self.tokens += tokens.saturating_sub(1);
    }

    fn message(&mut self, protocol: Protocol, message: &Tree) {
        match (protocol, message) {
            (_, Tree::Text(text)) => return self.text(text),
            (Protocol::Responses, _) => {
                let has_role = message.all("role").next().is_some();
                self.refers |= message.says("type", "item_reference");
                self.refers |= !has_role && message.all("type").next().is_none() && message.all("id").next().is_some();
                message.all("arguments").for_each(|text| self.texts(text));
            }
            (Protocol::Chat, _) => {
                self.refers |= message.all("audio").next().is_some();
                for call in message.all("tool_calls").flat_map(Tree::each).flat_map(|call| call.all("function")) {
                    call.all("arguments").for_each(|text| self.texts(text));
                }
            }
            (Protocol::Messages | Protocol::Gemini, _) => {}
        }
        match protocol {
            Protocol::Gemini => message.all("parts").flat_map(Tree::each).for_each(|part| self.part(part)),
            Protocol::Responses => self.content(protocol, message, &["content", "output"]),
            _ => self.content(protocol, message, &["content"]),
        }
    }

    fn texts(&mut self, text: &Tree) {
        if let Tree::Text(text) = text {
            self.text(text);
        }
    }

    /// The blocks that an object holds under these keys.
    fn content(&mut self, protocol: Protocol, holder: &Tree, keys: &[&str]) {
        for held in keys.iter().flat_map(|key| holder.all(key)).flat_map(Tree::each) {
            self.piece(protocol, held);
        }
    }

    fn piece(&mut self, protocol: Protocol, piece: &Tree) {
        match piece {
            Tree::Text(text) => self.text(text),
            block => self.block(protocol, block),
        }
    }

    fn block(&mut self, protocol: Protocol, block: &Tree) {
        block.all("text").for_each(|text| self.texts(text));
        if block.says("type", "tool_use") {
            block.all("input").for_each(|input| self.text(&input.written()));
        }
        let small = ["{\"type\":\"ephemeral\"}", "{\"type\":\"ephemeral\",\"ttl\":\"1h\"}"];
        for mark in block.all("cache_control").map(Tree::written).filter(|mark| !small.contains(&mark.as_str())) {
            self.text(&mark);
        }
        // Of these a provider reads the text, or what only it can read.
        let plain = match protocol {
            Protocol::Messages => {
                const SEALED: [&str; 3] = ["thinking", "redacted_thinking", "web_search_result"];
                block.is_one_of(&["text", "tool_use", "server_tool_use", "mcp_tool_use"]) || block.is_one_of(&SEALED)
            }
            Protocol::Chat => block.is_one_of(&["text", "refusal"]),
            _ => block.is_one_of(&["input_text", "output_text", "refusal", "reasoning_text", "summary_text"]),
        };
        if plain {
            return;
        }
        match protocol {
            Protocol::Messages => {
                self.refers |= block.says("type", "container_upload");
                block.all("source").for_each(|source| self.source(block, source));
                self.content(protocol, block, &["content"]);
            }
            // An image by its address or its id has a known most.
            Protocol::Chat if block.is_one_of(&["image_url", "input_audio"]) => {}
            Protocol::Chat if block.says("type", "file") => self.stored(block.all("file").next().unwrap_or(block)),
            Protocol::Chat if block.all("source").any(|source| matches!(source, Tree::Object(_))) => {
                block.all("source").for_each(|source| self.source(block, source));
            }
            _ if block.is_one_of(&["input_image", "computer_screenshot", "input_audio"]) => {}
            _ => {
                block.all("file").chain([block]).for_each(|file| self.stored(file));
                let mut addresses = block.all("document_url").chain(block.all("video_url"));
                self.refers |= addresses.any(Tree::is_elsewhere);
            }
        }
    }

    /// What a block of Messages comes from.
    fn source(&mut self, block: &Tree, source: &Tree) {
        let is_image = block.says("type", "image");
        self.refers |=
            !is_image && (source.all("url").any(Tree::is_elsewhere) || source.all("file_id").any(Tree::is_elsewhere));
        match source.says("type", "text") {
            true => source.all("data").for_each(|text| self.texts(text)),
            false => source.all("data").for_each(|data| self.file(data)),
        }
        self.content(Protocol::Messages, source, &["content"]);
    }

    /// A file of OpenAI's protocols.
    fn stored(&mut self, file: &Tree) {
        self.refers |= file.all("file_id").next().is_some() || file.all("file_url").any(Tree::is_elsewhere);
        file.all("file_data").for_each(|data| self.file(data));
    }

    fn part(&mut self, part: &Tree) {
        part.all("text").for_each(|text| self.texts(text));
        self.refers |= ["fileData", "file_data"].iter().any(|key| part.all(key).next().is_some());
        let inline = ["inlineData", "inline_data"].into_iter().flat_map(|key| part.all(key));
        inline.flat_map(|inline| inline.all("data")).for_each(|data| self.file(data));
        let calls = ["functionCall", "function_call"].into_iter().flat_map(|key| part.all(key));
        calls.flat_map(|call| call.all("args")).for_each(|args| self.text(&args.written()));
        for gave in ["functionResponse", "function_response"].into_iter().flat_map(|key| part.all(key)) {
            gave.all("response").for_each(|response| self.text(&response.written()));
            gave.all("parts").flat_map(Tree::each).for_each(|part| self.part(part));
        }
    }

    /// A file within the request. The tests write PDFs whose pages stand there uncompressed, and films of noise.
    fn file(&mut self, data: &Tree) {
        const PAGE_TOKENS: u64 = 258;
        let Tree::Text(data) = data else { return };
        let base64 = data.rsplit(',').next().unwrap_or_default();
        let file = decode(base64);
        let pages = file.windows(11).filter(|window| window == b"/Type/Page ").count() as u64;
        self.tokens += match file.starts_with(b"%PDF") {
            true => pages * PAGE_TOKENS,
            // A film has at most as many tokens as bytes.
            false if file.get(4..8) == Some(b"ftyp") => file.len() as u64,
            false => 0,
        };
    }
}

fn decode(base64: &str) -> Vec<u8> {
    let value = |byte: u8| ALPHABET.iter().position(|known| *known == byte);
    let bits: Vec<u8> =
        base64.bytes().filter_map(value).flat_map(|six| (0..6).rev().map(move |n| (six >> n & 1) as u8)).collect();
    bits.chunks_exact(8).map(|byte| byte.iter().fold(0, |byte, bit| byte << 1 | bit)).collect()
}

pub const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
