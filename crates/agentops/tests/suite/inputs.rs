//! Inputs on which packers, log readers, transcript readers and table tools are known to lose something. Each is made here, and
//! read by the program as a user reads it: what counts in it is in the result, or what is missing is named and scored.

mod catalogue;
mod code;
mod command;
mod conversation;
mod data;
mod log;
mod patch;
mod recall;
mod transcript;

use serde_json::Value;

use crate::room::Room;

/// A bundle as `--json` prints it.
#[derive(Debug)]
struct Made {
    text: String,
    view: Value,
}

impl Made {
    /// Runs `bundle` with these arguments.
    #[track_caller]
    fn of(room: &Room, args: &[&str]) -> Self {
        let view = room.run(&[&["bundle", "--json"], args].concat()).expect(0).json();
        let text = view["text"].as_str().expect("a text").to_owned();
        assert!(!text.contains('\0'), "a NUL byte in the result: {text:?}");
        Self { text, view }
    }

    /// Everything that must be in the result.
    #[track_caller]
    fn holds(&self, wanted: &[&str]) -> &Self {
        for words in wanted {
            assert!(self.text.contains(words), "`{words}` is not in:\n{}\n{:#}", self.text, self.view["fidelity"]);
        }
        self
    }

    /// What must not be in the result.
    #[track_caller]
    fn lacks(&self, unwanted: &[&str]) -> &Self {
        for words in unwanted {
            assert!(!self.text.contains(words), "`{words}` is in:\n{}", self.text);
        }
        self
    }

    /// The text is in the result, or the score is below 1 and an omission is listed.
    #[track_caller]
    fn accounts_for(&self, words: &str) -> &Self {
        if !self.text.contains(words) {
            self.names_a_loss();
        }
        self
    }

    /// The score is below 1, and at least one part that is missing is listed with its place.
    #[track_caller]
    fn names_a_loss(&self) -> &Self {
        let fidelity = &self.view["fidelity"];
        assert!(self.view["kept"].as_f64().is_some_and(|kept| kept < 1.0), "all is kept, it says:\n{:#}", self.view);
        let listed = |list: &str| fidelity[list].as_array().map_or(0, Vec::len);
        assert!(listed("omitted") + listed("lost") > 0, "nothing is named: {fidelity:#}");
        self
    }

    /// How often these words are in the result.
    fn count(&self, words: &str) -> usize {
        self.text.matches(words).count()
    }
}

/// A bundle of one file of this kind, in a room of its own.
#[track_caller]
fn made(kind: &str, content: impl AsRef<[u8]>, budget: u64) -> Made {
    let room = Room::empty();
    std::fs::write(room.repo().join("input"), content).unwrap();
    Made::of(&room, &[kind, "--file=input", &format!("--budget={budget}")])
}

/// UTF-16 in the order of Windows, with a byte order mark.
fn utf16(text: &str) -> Vec<u8> {
    std::iter::once(0xfeff).chain(text.encode_utf16()).flat_map(u16::to_le_bytes).collect()
}

/// Latin-1; the text has no other characters.
fn latin1(text: &str) -> Vec<u8> {
    text.chars().map(|character| u8::try_from(u32::from(character)).expect("a character of Latin-1")).collect()
}

/// A text behind a UTF-8 byte order mark.
fn marked(text: &str) -> String {
    format!("\u{feff}{text}")
}
