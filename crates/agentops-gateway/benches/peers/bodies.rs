//! The bodies that the clients send, all of them calls of Anthropic's Messages.

use std::fmt::Write as _;

use bytes::Bytes;

const HEAD: &str = "{\"model\":\"bench-model\",\"max_tokens\":1024,\"messages\":[";

/// A call of about 0.2 KB.
pub fn small(what: &str) -> Bytes {
    let stream = if what != "plain" { ",\"stream\":true" } else { "" };
    Bytes::from(format!(
        "{{\"model\":\"bench-{what}\",\"max_tokens\":1024{stream},\"messages\":[{{\"role\":\"user\",\"content\":\"{}\"}}]}}",
        "What is the capital of France, and why? ".repeat(3)
    ))
}

/// A conversation that grows by a message of 4 KB a call, as a coding agent's does.
pub struct Growing {
    text: String,
    seed: u64,
}

impl Growing {
    /// `kilobytes` of messages that no conversation before had.
    pub fn new(kilobytes: usize, seed: u64) -> Self {
        let mut growing = Self { text: HEAD.to_owned(), seed: seed | 1 };
        while growing.text.len() < kilobytes << 10 {
            growing.extend();
        }
        growing
    }

    /// Adds a message.
    pub fn extend(&mut self) {
        let role = if self.seed.is_multiple_of(2) { "assistant" } else { "user" };
        if !self.text.ends_with('[') {
            self.text.push(',');
        }
        self.text.push_str(&format!("{{\"role\":\"{role}\",\"content\":[{{\"type\":\"text\",\"text\":\""));
        let end = self.text.len() + 4000;
        while self.text.len() < end {
            // xorshift: words that do not repeat, with the line ends and quotes of source code.
            self.seed ^= self.seed << 13;
            self.seed ^= self.seed >> 7;
            self.seed ^= self.seed << 17;
            self.text.push_str(&format!("let value_{:x} = read(\\\"{}\\\");\\n", self.seed & 0xffff, self.seed >> 40));
        }
        self.text.push_str("\"}]}");
    }

    pub fn body(&self) -> Bytes {
        Bytes::from(format!("{}]}}", self.text))
    }
}

/// A small call that begins a conversation of its own.
pub fn numbered(number: u64) -> Bytes {
    Bytes::from(format!("{HEAD}{{\"role\":\"user\",\"content\":\"Question {number}: what is the capital of France?\"}}]}}"))
}

/// Bytes of a hostile body, about.
pub const HOSTILE_BYTES: usize = 256 << 10;

/// A kind of text that could cost the gateway more than others of its size.
pub struct Hostile {
    pub name: &'static str,
    make: Make,
}

/// How such a body is made. The number that each carries makes it a conversation of its own, of which nothing is known.
enum Make {
    /// What an agent usually sends.
    Ordinary,
    /// The text of a message, as it is written in JSON, repeated.
    Text(&'static str),
    /// A list in the input of a tool, with this for each of its items.
    List(&'static str),
    /// A list in a list in a list.
    Nested,
    /// An object in the input of a tool, with many members.
    Object,
    /// Many of these messages.
    Messages(&'static str),
    /// Many blocks in a message.
    Blocks(&'static str),
    /// Many members beside the messages.
    Members,
}

/// The first is what the others are compared with.
pub const HOSTILE: [Hostile; 16] = [
    Hostile { name: "ordinary text", make: Make::Ordinary },
    Hostile { name: "digits", make: Make::Text("7") },
    Hostile { name: "dashes", make: Make::Text("-") },
    Hostile { name: "one letter", make: Make::Text("a") },
    Hostile { name: "blanks", make: Make::Text(" ") },
    Hostile { name: "one ideograph", make: Make::Text("字") },
    Hostile { name: "escaped letters", make: Make::Text("\\u0061") },
    Hostile { name: "escaped quotes", make: Make::Text("\\\"") },
    Hostile { name: "deep nesting", make: Make::Nested },
    Hostile { name: "empty lists", make: Make::List("[]") },
    Hostile { name: "empty strings, grid", make: Make::List("[\"\",\"\",\"\",\"\",\"\",\"\",\"\",\"\"]") },
    Hostile { name: "numbers", make: Make::List("1e9") },
    Hostile { name: "keys of an object", make: Make::Object },
    Hostile { name: "small messages", make: Make::Messages("{\"role\":\"user\",\"content\":\"a\"}") },
    Hostile { name: "small blocks", make: Make::Blocks("{\"type\":\"text\",\"text\":\"a\"}") },
    Hostile { name: "members of the body", make: Make::Members },
];

impl Hostile {
    pub fn body(&self, number: u64) -> Bytes {
        let tool = |input: &str| {
            format!(
                "{HEAD}{{\"role\":\"user\",\"content\":\"{number}\"}},{{\"role\":\"assistant\",\"content\":[{{\
                 \"type\":\"tool_use\",\"id\":\"toolu_1\",\"name\":\"draw\",\"input\":{{\"number\":{number},\"value\":{input}}}}}]}}]}}"
            )
        };
        let list = |item: &str| vec![item; HOSTILE_BYTES / (item.len() + 1)].join(",");
        let members = || {
            let mut members = String::new();
            for at in 0..HOSTILE_BYTES / 12 {
                let _written = write!(members, ",\"k{at:06}\":0");
            }
            members
        };
        Bytes::from(match self.make {
            Make::Ordinary => {
                return Growing::new(HOSTILE_BYTES >> 10, 0x9e37_79b9_7f4a_7c15_u64.wrapping_mul(number + 1)).body();
            }
            Make::Text(part) => {
                let text = part.repeat(HOSTILE_BYTES / part.len());
                format!("{HEAD}{{\"role\":\"user\",\"content\":\"{number} {text}\"}}]}}")
            }
            Make::List(item) => tool(&format!("[{}]", list(item))),
            Make::Nested => tool(&format!("{}{}", "[".repeat(HOSTILE_BYTES / 2), "]".repeat(HOSTILE_BYTES / 2))),
            Make::Object => tool(&format!("{{\"n\":{number}{}}}", members())),
            Make::Messages(message) => {
                format!("{HEAD}{{\"role\":\"user\",\"content\":\"{number}\"}},{}]}}", list(message))
            }
            Make::Blocks(block) => {
                let first = format!("{{\"type\":\"text\",\"text\":\"{number}\"}}");
                format!("{HEAD}{{\"role\":\"user\",\"content\":[{first},{}]}}]}}", list(block))
            }
            Make::Members => {
                format!("{HEAD}{{\"role\":\"user\",\"content\":\"{number}\"}}]{}}}", members())
            }
        })
    }
}
