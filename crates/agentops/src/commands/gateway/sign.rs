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
/// The most characters of the line.
const LINE_CHARS: usize = 400;

/// What will be shown, and where.
pub struct Sign {
    tell: Sender<Said>,
    told: Receiver<Said>,
    line: PathBuf,
}

/// It is being shown.
pub struct Showing {
    tell: Sender<Said>,
    thread: JoinHandle<()>,
}

/// For whoever has news.
#[derive(Clone)]
pub struct Teller(Sender<Said>);

enum Said {
    Line {
        text: String,
        /// A person should know it now.
        now: bool,
    },
    End,
}

impl Sign {
    /// `line` is the file.
    pub fn new(line: PathBuf) -> Self {
        let (tell, told) = channel();
        Self { tell, told, line }
    }

    /// Begins to show: in the file, and in the title where that is wanted.
    pub fn begin(self, title: bool) -> std::io::Result<Showing> {
        let Self { tell, told, line } = self;
        let thread = std::thread::Builder::new().name("sign".into()).spawn(move || show(&line, title, &told))?;
        Ok(Showing { tell, thread })
    }

    /// For whoever has news.
    pub fn teller(&self) -> Teller {
        Teller(self.tell.clone())
    }
}

impl Showing {
    /// Ends; the title is again what it was.
    pub fn end(self) {
        let _ended = self.tell.send(Said::End);
        let _panicked = self.thread.join();
    }
}

impl Teller {
    /// How it stands. `now`: a person should know it now, even where nothing shows it all the time.
    pub fn say(&self, text: String, now: bool) {
        let _ended = self.0.send(Said::Line { text, now });
    }
}

fn show(file: &Path, title_wanted: bool, told: &Receiver<Said>) {
    let mut err = std::io::stderr();
    let terminal = err.is_terminal();
    // Each in one write, so that it cannot land inside one of the program's own.
    let mut put = |text: String| {
        let _closed = err.write_all(text.as_bytes()).and_then(|()| err.flush());
    };
    let title = |text: &str| format!("\x1b]2;{}\x07", agentops_safe::inert_line(text, TITLE_CHARS));
    let titled = terminal && title_wanted;
    if titled {
        put("\x1b[22;2t".into());
    }
    while let Ok(Said::Line { text, now }) = told.recv() {
        if titled {
            put(title(&text));
        }
        if now && !terminal {
            put(format!("agentops: {}\n", agentops_safe::inert_line(&text, LINE_CHARS)));
        }
        // Nobody's work depends on it; the next call writes it again.
        let _unwritable = replace(file, &text);
    }
    if titled {
        put("\x1b[23;2t".into());
    }
}

/// Whoever reads it sees a whole line, the old one or the new one.
fn replace(path: &Path, line: &str) -> std::io::Result<()> {
    let next = path.with_extension("next");
    File::create(&next)?.write_all(format!("{}\n", agentops_safe::inert_line(line, LINE_CHARS)).as_bytes())?;
    std::fs::rename(&next, path)
}
