//! What a person sees while their program runs: its share and cost, without a byte of the program's own screen.
//!
//! The terminal's title, and a file with one line for programs that can show one. Written on a thread of its own: a terminal
//! that was stopped must not hold up a call.

use std::fs::File;
use std::io::{IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::JoinHandle;

/// The most characters of a title.
const TITLE_CHARS: usize = 120;

/// What is shown, and where.
pub struct Sign {
    tell: Sender<Said>,
    thread: JoinHandle<()>,
}

/// For whoever has news.
#[derive(Clone)]
pub struct Teller(Sender<Said>);

enum Said {
    /// How it stands.
    Now(String),
    /// What a person should know now, and how it stands.
    Alert(String, String),
    End,
}

impl Sign {
    /// Begins to show. `line` is the file.
    pub fn begin(line: PathBuf) -> std::io::Result<Self> {
        let (tell, told) = channel();
        let thread = std::thread::Builder::new().name("sign".into()).spawn(move || show(&line, &told))?;
        Ok(Self { tell, thread })
    }

    pub fn teller(&self) -> Teller {
        Teller(self.tell.clone())
    }

    /// Ends; the title is again what it was.
    pub fn end(self) {
        let _ended = self.tell.send(Said::End);
        let _panicked = self.thread.join();
    }
}

impl Teller {
    /// How it stands.
    pub fn now(&self, line: String) {
        let _ended = self.0.send(Said::Now(line));
    }

    /// What a person should know now, and how it stands.
    pub fn alert(&self, words: String, line: String) {
        let _ended = self.0.send(Said::Alert(words, line));
    }
}

fn show(file: &Path, told: &Receiver<Said>) {
    let mut err = std::io::stderr();
    let terminal = err.is_terminal();
    // Each in one write, so that it cannot land inside one of the program's own.
    let mut put = |text: String| {
        let _closed = err.write_all(text.as_bytes()).and_then(|()| err.flush());
    };
    let title = |text: &str| format!("\x1b]2;{}\x07", agentops_safe::inert_line(text, TITLE_CHARS));
    if terminal {
        put("\x1b[22;2t".into());
    }
    while let Ok(said) = told.recv() {
        let line = match said {
            Said::Now(line) => line,
            Said::Alert(words, line) => {
                if !terminal {
                    put(format!("agentops: {}\n", agentops_safe::inert_line(&words, 400)));
                }
                format!("{words}  ·  {line}")
            }
            Said::End => break,
        };
        if terminal {
            put(title(&line));
        }
        // Nobody's work depends on it; the next call writes it again.
        let _unwritable = replace(file, &line);
    }
    if terminal {
        put("\x1b[23;2t".into());
    }
}

/// Whoever reads it sees a whole line, the old one or the new one.
fn replace(path: &Path, line: &str) -> std::io::Result<()> {
    let next = path.with_extension("next");
    File::create(&next)?.write_all(format!("{}\n", agentops_safe::inert_line(line, 400)).as_bytes())?;
    std::fs::rename(&next, path)
}
