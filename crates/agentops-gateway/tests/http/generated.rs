//! B1 over many generated requests: what the gateway estimates for each, for a judge in another language to compare.
//!
//! `tests/judge.py` counts the same requests with Python's tiktoken; `.ci/run` runs both. Here no tokenizer is looked at, so
//! that a fault in the product's cannot hide itself.

use std::fmt::Write as _;
use std::fs::File;
use std::io::{BufWriter, Write as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use agentops_gateway::host::Host;
use agentops_gateway::lane::{Admitted, Incoming, Lane, Rules};
use agentops_gateway::protocol::Protocol;
use serde_json::{Value, json};

use crate::host::{Told, rules};

/// How many cases are written unless `AGENTOPS_JUDGE_COUNT` says another number.
const CASES: u64 = 100_000;
/// Other cases come with another `AGENTOPS_JUDGE_SEED`.
const SEED: u64 = 1;

/// Random numbers that a seed repeats (splitmix64).
struct Dice(u64);

impl Dice {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }

    fn below(&mut self, bound: usize) -> usize {
        (self.next() % bound.max(1) as u64) as usize
    }

    /// From 1 to `most`; small ones come more often.
    fn some(&mut self, most: usize) -> usize {
        let most = 1 + self.below(most);
        1 + self.below(most)
    }

    fn one_in(&mut self, n: usize) -> bool {
        self.below(n) == 0
    }

    fn of<T: Copy>(&mut self, all: &[T]) -> T {
        all[self.below(all.len())]
    }
}

/// The first and last letters of scripts, and of signs.
const SCRIPTS: [(u32, u32); 40] = [
    (0x61, 0x7A),
    (0x41, 0x5A),
    (0xC0, 0x17F),
    (0x250, 0x2AF),
    (0x300, 0x36F),
    (0x391, 0x3C9),
    (0x410, 0x44F),
    (0x531, 0x586),
    (0x5D0, 0x5EA),
    (0x620, 0x64A),
    (0x710, 0x72F),
    (0x780, 0x7B1),
    (0x905, 0x94D),
    (0x985, 0x9CD),
    (0xA05, 0xA4D),
    (0xA85, 0xACD),
    (0xB05, 0xB4D),
    (0xB85, 0xBCD),
    (0xC05, 0xC4D),
    (0xD05, 0xD4D),
    (0xD85, 0xDDF),
    (0xE01, 0xE4E),
    (0xE81, 0xEC6),
    (0xF40, 0xFBC),
    (0x1000, 0x104F),
    (0x10D0, 0x10FF),
    (0x1200, 0x135A),
    (0x13A0, 0x13F4),
    (0x1780, 0x17DD),
    (0x1820, 0x1877),
    (0x1E00, 0x1FFC),
    (0x2000, 0x206F),
    (0x2190, 0x22FF),
    (0x2500, 0x27BF),
    (0x3041, 0x30FE),
    (0x4E00, 0x9FA5),
    (0xAC00, 0xD7A3),
    (0xE000, 0xF8FF),
    (0x1D400, 0x1D7FF),
    (0x1F300, 0x1FAFF),
];

/// Texts as agents send them, and some that tokenizers find hard.
const PHRASES: [&str; 20] = [
    "The gate holds before the call, and what cannot be counted does not leave. ",
    "fn main() {\n    let total: u64 = items.iter().map(|item| item.len() as u64).sum();\n}\n",
    "def f(x):\n\treturn {'a': [x, None], \"b\": x**2}  # done\r\n",
    "{\"id\": 48151, \"price\": 16.23, \"tags\": [\"a\", \"b\"]}\n",
    "<div class=\"row\"><a href=\"/x?y=1&z=2\">it's</a></div>\n",
    "2026-11-24T10:00:00.123Z ERROR [worker-7] /usr/lib/x.so: 0x7ffde9a0 (code 139)\n",
    "I'll, you're, WE'VE, it's, don't; 'quoted' ",
    "C:\\Users\\me\\file.txt \\\\server\\share\\\"q\\\" ",
    "aHR0cHM6Ly9leGFtcGxlLmNvbS9hP2I9Yw+/",
    "deadbeef0123456789",
    "SELECT * FROM t WHERE a = 'x' AND b != 3.14;\n",
    "----------------------------------------",
    "    ",
    "\n\n\n",
    "\t\t \t",
    "a",
    "0",
    "\u{0}\u{1}\u{7f}\u{85}\u{a0}\u{2028}\u{feff}",
    "e\u{301}n\u{303} \u{1f468}\u{200d}\u{1f469}\u{200d}\u{1f467} ",
    "<|endoftext|><|im_start|>",
];

fn word(dice: &mut Dice, script: (u32, u32), letters: usize) -> String {
    let span = (script.1 - script.0 + 1) as usize;
    (0..letters).filter_map(|_| char::from_u32(script.0 + dice.below(span) as u32)).collect()
}

fn text(dice: &mut Dice, size: usize) -> String {
    let mut text = String::new();
    let script = dice.of(&SCRIPTS);
    while text.len() < size {
        match dice.below(12) {
            0..=5 => {
                let letters = dice.some(12);
                text.push_str(&word(dice, script, letters));
                text.push_str(dice.of(&[" ", " ", " ", ", ", ". ", "\n", "-", "_", "", "/", "  ", "? "]));
            }
            6 => {
                let phrase = dice.of(&PHRASES);
                let times = if size > 300 && dice.one_in(6) { dice.some(40) } else { 1 };
                text.push_str(&phrase.repeat(times));
            }
            7 => {
                let other = dice.of(&SCRIPTS);
                text.push_str(&word(dice, other, 3));
            }
            8 => {
                let _written = write!(text, "{}", dice.next() >> dice.below(60));
            }
            9 => text.push(char::from(b' ' + dice.below(95) as u8)),
            10 => {
                let sign = char::from(b' ' + dice.below(95) as u8);
                let times = dice.some(30);
                text.extend(std::iter::repeat_n(sign, times));
            }
            _ => text.extend(char::from_u32(dice.below(0x11_0000) as u32)),
        }
    }
    text
}

/// JSON as it is written, so that numbers stand there in every form.
fn structure(dice: &mut Dice, size: usize, depth: usize) -> String {
    if size < 4 || depth > 40 {
        return leaf(dice, size);
    }
    match dice.below(7) {
        0 => {
            let one = structure(dice, size / 8, depth + 1);
            let times = size / one.len().max(1) + 1;
            format!("[{}]", vec![one; times].join(","))
        }
        1 => {
            let deep = dice.some(size.min(60));
            format!("{}{}{}", "[".repeat(deep), structure(dice, size / 4, depth + deep), "]".repeat(deep))
        }
        2 | 3 => {
            let count = dice.some(8);
            let members: Vec<String> = (0..count)
                .map(|n| {
                    let mut key = if dice.one_in(3) { text(dice, 6) } else { word(dice, SCRIPTS[0], 5) };
                    // Each comes once.
                    let _written = write!(key, "{n}");
                    format!("{}:{}", json!(key), structure(dice, size / count, depth + 1))
                })
                .collect();
            format!("{{{}}}", members.join(","))
        }
        _ => {
            let count = dice.some(12);
            let items: Vec<String> = (0..count).map(|_| structure(dice, size / count, depth + 1)).collect();
            format!("[{}]", items.join(","))
        }
    }
}

/// A long list of one small value, alone: what is not counted of it shows.
fn grid(dice: &mut Dice, size: usize) -> String {
    let one = match dice.below(4) {
        0 => format!("[{}]", leaf(dice, 0)),
        1 => format!("{{{}:{}}}", json!(word(dice, SCRIPTS[0], 2)), leaf(dice, 0)),
        _ => leaf(dice, 0),
    };
    format!("[{}]", vec![one; 1 + size.min(2_000)].join(","))
}

fn leaf(dice: &mut Dice, size: usize) -> String {
    match dice.below(10) {
        0 => dice.of(&["[]", "{}", "\"\"", "null", "true", "false", "[[]]", "[{}]", "{\"\":\"\"}"]).to_owned(),
        1 => dice.of(&["1e20", "1E-7", "5e-324", "1.5e+300", "-0", "-0.0", "0.1", "1e0", "123456789e-12"]).to_owned(),
        2 => ((dice.next() as i64) >> dice.below(63)).to_string(),
        3 => number(dice),
        4 => format!("{}e{}", dice.below(1000), dice.below(300)),
        _ => {
            let size = dice.below(size + 8);
            json!(text(dice, size)).to_string()
        }
    }
}

/// A number without an exponent.
fn number(dice: &mut Dice) -> String {
    let digits = (dice.next() >> dice.below(60)).to_string();
    match dice.below(5) {
        0 => format!("0.{}{digits}", "0".repeat(dice.below(12))),
        1 => format!("{digits}.0"),
        2 => format!("1{digits}{}", "0".repeat(dice.below(12))),
        3 => format!("-{}.{digits}", dice.next() >> 50),
        _ => format!("7{digits}{digits}"),
    }
}

fn schema(dice: &mut Dice, depth: usize) -> Value {
    let about = 3 + dice.some(30);
    let mut schema = json!({ "description": text(dice, about) });
    match dice.below(if depth > 3 { 3 } else { 6 }) {
        0 => schema["type"] = json!(dice.of(&["string", "integer", "boolean", "number", "null"])),
        1 => {
            let values: Vec<String> = (0..dice.some(12)).map(|_| text(dice, 5)).collect();
            schema["enum"] = json!(values);
        }
        2 => schema["minimum"] = json!(dice.next() >> 40),
        3 => {
            schema["type"] = json!("array");
            schema["items"] = self::schema(dice, depth + 1);
        }
        _ => {
            schema["type"] = json!("object");
            schema["additionalProperties"] = json!(false);
            for _ in 0..dice.some(5) {
                let name = text(dice, 5);
                schema["properties"][name] = self::schema(dice, depth + 1);
            }
        }
    }
    schema
}

/// A request: members of its body as JSON, and the elements of its conversation.
struct Request {
    members: Vec<(&'static str, String)>,
    items: Vec<String>,
}

/// A string as JSON, with more escapes than it needs now and then: clients differ in that.
fn string(dice: &mut Dice, text: &str) -> String {
    if !dice.one_in(3) {
        return json!(text).to_string();
    }
    let mut written = String::from("\"");
    for c in text.chars() {
        match c {
            '/' => written.push_str("\\/"),
            'a'..='z' | ' ' | '0'..='9' if !dice.one_in(8) => written.push(c),
            _ => {
                for unit in c.encode_utf16(&mut [0; 2]) {
                    let _written = write!(written, "\\u{unit:04x}");
                }
            }
        }
    }
    written + "\""
}

fn request(dice: &mut Dice, protocol: Protocol, size: usize) -> Request {
    let mut members = Vec::new();
    if protocol == Protocol::Messages {
        members.push(("max_tokens", "1000".to_owned()));
    }
    let size = dice.below(size) + 1;
    if dice.one_in(4) {
        let given = grid(dice, size);
        return Request { members, items: vec![item(dice, protocol, 1, given)] };
    }
    if dice.one_in(3) {
        let text = text(dice, size / 2);
        let text = string(dice, &text);
        match protocol {
            Protocol::Messages => members.push(("system", format!("[{{\"type\":\"text\",\"text\":{text}}}]"))),
            Protocol::Responses => members.push(("instructions", text)),
            Protocol::Gemini => members.push(("systemInstruction", format!("{{\"parts\":[{{\"text\":{text}}}]}}"))),
            Protocol::Chat => {}
        }
    }
    if dice.one_in(3) {
        let tools: Vec<Value> = (0..dice.some(3)).map(|n| tool(dice, protocol, n)).collect();
        let tools = match protocol {
            Protocol::Gemini => json!([{ "functionDeclarations": tools }]),
            _ => json!(tools),
        };
        let indented = dice.one_in(4);
        members.push(("tools", if indented { serde_json::to_string_pretty(&tools).unwrap() } else { tools.to_string() }));
    }
    let count = dice.some(4);
    let item = |_| {
        let kind = dice.below(3);
        let given = match kind {
            0 => {
                let text = text(dice, size / count);
                string(dice, &text)
            }
            _ => structure(dice, size / count, 0),
        };
        self::item(dice, protocol, kind, given)
    };
    let items = (0..count).map(item).collect();
    Request { members, items }
}

fn tool(dice: &mut Dice, protocol: Protocol, n: usize) -> Value {
    let (name, about) = (format!("tool_{n}"), text(dice, 40));
    let schema = schema(dice, 0);
    match protocol {
        Protocol::Messages => json!({ "name": name, "description": about, "input_schema": schema }),
        Protocol::Responses => json!({ "type": "function", "name": name, "description": about, "parameters": schema }),
        Protocol::Chat => {
            json!({ "type": "function", "function": { "name": name, "description": about, "parameters": schema } })
        }
        Protocol::Gemini => json!({ "name": name, "description": about, "parameters": schema }),
    }
}

/// An element of the conversation: a text (0), what a tool is given (1), or what it gave back.
fn item(dice: &mut Dice, protocol: Protocol, kind: usize, given: String) -> String {
    // Where a protocol wants a text, JSON is written into one.
    let as_text = |dice: &mut Dice| string(dice, &given);
    match (protocol, kind) {
        (Protocol::Messages | Protocol::Chat, 0) if dice.one_in(2) => {
            format!("{{\"role\":\"user\",\"content\":{given}}}")
        }
        (Protocol::Messages | Protocol::Chat, 0) => {
            format!("{{\"role\":\"user\",\"content\":[{{\"type\":\"text\",\"text\":{given}}}]}}")
        }
        (Protocol::Messages, 1) => format!(
            "{{\"role\":\"assistant\",\"content\":[{{\"type\":\"tool_use\",\"id\":\"t\",\"name\":\"f\",\"input\":{{\"a\":{given}}}}}]}}"
        ),
        (Protocol::Messages, _) => format!(
            "{{\"role\":\"user\",\"content\":[{{\"type\":\"tool_result\",\"tool_use_id\":\"t\",\"content\":{}}}]}}",
            as_text(dice)
        ),
        (Protocol::Chat, 1) => format!(
            "{{\"role\":\"assistant\",\"tool_calls\":[{{\"id\":\"c\",\"type\":\"function\",\"function\":{{\"name\":\"f\",\"arguments\":{}}}}}]}}",
            as_text(dice)
        ),
        (Protocol::Chat, _) => format!("{{\"role\":\"tool\",\"tool_call_id\":\"c\",\"content\":{}}}", as_text(dice)),
        (Protocol::Responses, 0) => {
            format!("{{\"type\":\"message\",\"role\":\"user\",\"content\":[{{\"type\":\"input_text\",\"text\":{given}}}]}}")
        }
        (Protocol::Responses, 1) => {
            format!("{{\"type\":\"function_call\",\"call_id\":\"c\",\"name\":\"f\",\"arguments\":{}}}", as_text(dice))
        }
        (Protocol::Responses, _) => {
            format!("{{\"type\":\"function_call_output\",\"call_id\":\"c\",\"output\":{}}}", as_text(dice))
        }
        (Protocol::Gemini, 0) => format!("{{\"role\":\"user\",\"parts\":[{{\"text\":{given}}}]}}"),
        (Protocol::Gemini, 1) => {
            format!("{{\"role\":\"model\",\"parts\":[{{\"functionCall\":{{\"name\":\"f\",\"args\":{{\"a\":{given}}}}}}}]}}")
        }
        (Protocol::Gemini, _) => format!(
            "{{\"role\":\"user\",\"parts\":[{{\"functionResponse\":{{\"name\":\"f\",\"response\":{{\"a\":{given}}}}}}}]}}"
        ),
    }
}

fn models(protocol: Protocol) -> &'static [&'static str] {
    match protocol {
        Protocol::Messages => &["claude-sonnet-5-5", "claude-haiku-4-5"],
        Protocol::Responses => &["gpt-6.2-sol", "gpt-5"],
        Protocol::Chat => &["gpt-4o", "a-model-that-no-table-knows"],
        Protocol::Gemini => &["gemini-3-pro"],
    }
}

impl Request {
    /// The body with its first items.
    fn body(&self, protocol: Protocol, model: &str, items: usize) -> String {
        let mut members: Vec<String> = Vec::new();
        if protocol != Protocol::Gemini {
            members.push(format!("\"model\":\"{model}\""));
        }
        members.extend(self.members.iter().map(|(key, value)| format!("\"{key}\":{value}")));
        members.push(format!("\"{}\":[{}]", protocol.items_key(), self.items[..items].join(",")));
        format!("{{{}}}", members.join(","))
    }
}

/// What the gateway estimates for a body, counted and not guessed from its bytes; `None`: it is refused.
fn estimate(lane: &Arc<Lane>, told: &Told, protocol: Protocol, model: &str, body: &str) -> Option<u64> {
    let model = (protocol == Protocol::Gemini).then(|| model.to_owned());
    let incoming = Incoming { protocol, model, streamed: None, body: body.to_owned().into_bytes().into() };
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let Admitted::Forward { mut ticket, .. } = runtime.block_on(lane.admit(incoming)) else { return None };
    // Without a report the estimate is counted, and outside of a runtime at once.
    ticket.sent();
    ticket.answered(200, false);
    drop(ticket);
    told.wait(std::time::Duration::ZERO, |said| said.rows.last().map(|row| row.estimate))
}

/// Writes cases as JSON lines: protocol, model, body, and the estimate.
fn write_cases(file: &Path, seed: u64, cases: u64) {
    let mut out = BufWriter::new(File::create(file).unwrap());
    for case in 0..cases {
        let mut dice = Dice(seed.wrapping_mul(1 << 32).wrapping_add(case));
        let protocol = Protocol::ALL[(case % 4) as usize];
        let model = dice.of(models(protocol));
        let size = if dice.one_in(300) { 15_000 } else { 300 };
        let request = request(&mut dice, protocol, size);
        let told = Arc::<Told>::default();
        let host = Arc::clone(&told) as Arc<dyn Host>;
        let lane = Lane::new(Rules { takes_limit: true, ..rules(1 << 40, host) });
        let count = request.items.len();
        if dice.one_in(4) {
            // A conversation that grows: what was measured before is not measured again.
            estimate(&lane, &told, protocol, model, &request.body(protocol, model, count.div_ceil(2)));
        }
        let body = request.body(protocol, model, count);
        let estimate = estimate(&lane, &told, protocol, model, &body);
        let line = json!({ "case": format!("{seed}:{case}"), "protocol": protocol.name(), "model": model,
            "estimate": estimate, "body": body });
        writeln!(out, "{line}").unwrap();
    }
    out.flush().unwrap();
}

#[test]
#[ignore = "writes the cases that tests/judge.py compares, into AGENTOPS_JUDGE_CASES; .ci/run runs both"]
fn b1_generated_requests_are_estimated_for_another_judge() {
    let number = |name: &str, usual: u64| std::env::var(name).map_or(usual, |text| text.parse().unwrap());
    let (seed, cases) = (number("AGENTOPS_JUDGE_SEED", SEED), number("AGENTOPS_JUDGE_COUNT", CASES));
    let folder = PathBuf::from(std::env::var_os("AGENTOPS_JUDGE_CASES").expect("a folder for the cases"));
    std::thread::scope(|threads| {
        for half in 0..2 {
            let file = folder.join(format!("{half}.jsonl"));
            threads.spawn(move || write_cases(&file, seed * 2 + half, cases / 2));
        }
    });
}
