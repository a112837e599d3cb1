//! Corpora as files: a conversation as JSON lines of turns, or a folder of sessions as JSON lines of messages.
//!
//! A line that cannot be read is left out and counted: one broken line must not hide the rest.

use std::path::{Path, PathBuf};
use std::{fs, io};

use agentops_text::decode::decode;
use serde::Deserialize;

use crate::sessions::{Session, Sessions};
use crate::turns::{Conversation, Turn};

/// A larger file is not read.
const FILE_BYTES_MAX: u64 = 256 << 20;

/// A corpus cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum CorpusError {
    /// A file or folder is not there, or may not be read.
    #[error("{} cannot be read", path.display())]
    Unreadable {
        /// Which one.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// It has nothing of what was expected.
    #[error("{} has no line that is {expected}", path.display())]
    Empty {
        /// Which one.
        path: PathBuf,
        /// What was looked for, in words.
        expected: &'static str,
    },
}

/// Something to look for.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Question {
    /// Its name.
    pub qid: String,
    /// The words.
    #[serde(alias = "question")]
    pub query: String,
    /// Only sessions of this project.
    pub project: Option<String>,
    /// Only sessions before this one.
    pub before_seq: Option<u64>,
}

/// A question's answer: names, best first.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Answer {
    /// The question's name.
    pub qid: String,
    /// What was found.
    pub ids: Vec<String>,
}

/// Answers to questions, and how many lines could not be read.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Answers {
    /// In the order of the questions.
    pub answers: Vec<Answer>,
    /// Lines of the corpus and the questions that were left out.
    pub skipped: u64,
}

/// Ranks a corpus for each question: turns where it is a file, sessions where it is a folder.
///
/// # Errors
///
/// What cannot be read, and a corpus or a file of questions in which there is nothing.
pub fn answer(corpus: &Path, questions: &Path) -> Result<Answers, CorpusError> {
    let mut skipped = 0;
    let asked: Vec<Question> = read_lines(questions, &mut skipped)?;
    if asked.is_empty() {
        return Err(CorpusError::Empty { path: questions.to_owned(), expected: "a question" });
    }
    let answers = if corpus.is_dir() {
        let sessions = read_sessions(corpus, &mut skipped)?;
        let names = |asked: &Question| sessions.rank(&asked.query, asked.project.as_deref(), asked.before_seq);
        asked.iter().map(|asked| found(asked, names(asked).into_iter().map(str::to_owned).collect())).collect()
    } else {
        let turns: Vec<Turn> = read_lines(corpus, &mut skipped)?;
        if turns.is_empty() {
            return Err(CorpusError::Empty { path: corpus.to_owned(), expected: "a turn" });
        }
        let conversation = Conversation::new(&turns);
        let names =
            |asked: &Question| conversation.rank(&asked.query).into_iter().map(|turn| turns[turn].id.clone()).collect();
        asked.iter().map(|asked| found(asked, names(asked))).collect()
    };
    Ok(Answers { answers, skipped })
}

fn found(asked: &Question, ids: Vec<String>) -> Answer {
    Answer { qid: asked.qid.clone(), ids }
}

#[derive(Deserialize)]
struct Head {
    session: String,
    #[serde(default)]
    project: String,
    #[serde(default)]
    seq: u64,
    #[serde(default)]
    patch: String,
}

#[derive(Deserialize)]
struct Message {
    role: String,
    text: String,
}

fn read_sessions(folder: &Path, skipped: &mut u64) -> Result<Sessions, CorpusError> {
    let unreadable = |source| CorpusError::Unreadable { path: folder.to_owned(), source };
    let entries = fs::read_dir(folder).and_then(Iterator::collect::<Result<Vec<_>, _>>).map_err(unreadable)?;
    let mut files: Vec<PathBuf> = entries.into_iter().map(|entry| entry.path()).collect();
    files.retain(|file| file.extension().is_some_and(|extension| extension == "jsonl"));
    files.sort();
    let mut sessions = Sessions::default();
    let mut any = false;
    for file in files {
        let text = read_file(&file)?;
        let mut lines = text.lines().filter(|line| !line.trim().is_empty());
        let Some(head) = lines.next().and_then(|line| serde_json::from_str::<Head>(line).ok()) else {
            *skipped += 1;
            continue;
        };
        let mut session =
            Session { id: head.session, project: head.project, sequence: head.seq, patch: head.patch, ..Session::default() };
        for line in lines {
            match serde_json::from_str::<Message>(line) {
                Ok(message) if message.role == "assistant" => session.said.push(message.text),
                Ok(message) if message.role == "system" => drop(message),
                Ok(message) if session.task.is_empty() => session.task = message.text,
                Ok(message) => session.printed.push(message.text),
                Err(_) => *skipped += 1,
            }
        }
        sessions.push(&session);
        any = true;
    }
    if any { Ok(sessions) } else { Err(CorpusError::Empty { path: folder.to_owned(), expected: "the head of a session" }) }
}

fn read_file(file: &Path) -> Result<String, CorpusError> {
    let unreadable = |source| CorpusError::Unreadable { path: file.to_owned(), source };
    if fs::metadata(file).map_err(unreadable)?.len() > FILE_BYTES_MAX {
        return Err(unreadable(io::Error::other("it is larger than 256 MiB")));
    }
    Ok(decode(&fs::read(file).map_err(unreadable)?).text.into_owned())
}

fn read_lines<T: for<'de> Deserialize<'de>>(file: &Path, skipped: &mut u64) -> Result<Vec<T>, CorpusError> {
    let text = read_file(file)?;
    let mut read = Vec::new();
    for line in text.lines().filter(|line| !line.trim().is_empty()) {
        match serde_json::from_str(line) {
            Ok(value) => read.push(value),
            Err(_) => *skipped += 1,
        }
    }
    Ok(read)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_conversation_and_a_folder_of_sessions_are_told_apart() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        fs::write(at("talk.jsonl"), "{\"id\":\"D1:1\",\"session\":1,\"date\":\"\",\"speaker\":\"A\",\"text\":\"the mill\"}\nbroken\n{\"id\":\"D1:2\",\"text\":\"the sea\"}\n").unwrap();
        fs::write(at("asked.jsonl"), "{\"qid\":\"q\",\"question\":\"sea?\"}\n").unwrap();
        let answers = answer(&at("talk.jsonl"), &at("asked.jsonl")).unwrap();
        assert_eq!((answers.answers[0].ids.clone(), answers.skipped), (vec!["D1:2".to_owned(), "D1:1".to_owned()], 1));

        fs::create_dir(at("sessions")).unwrap();
        for (id, seq, task) in [("p-1", 1, "parser crash"), ("p-2", 2, "slow start"), ("p-9", 9, "parser crash")] {
            let head = serde_json::json!({ "session": id, "project": "p", "seq": seq, "patch": "" });
            let message = serde_json::json!({ "role": "user", "text": task, "index": 1 });
            fs::write(at("sessions").join(format!("{id}.jsonl")), format!("{head}\n{message}\n")).unwrap();
        }
        fs::write(
            at("tasks.jsonl"),
            "{\"qid\":\"t\",\"project\":\"p\",\"before_seq\":9,\"query\":\"the parser crashes\"}\n",
        )
        .unwrap();
        let answers = super::answer(&at("sessions"), &at("tasks.jsonl")).unwrap();
        assert_eq!(answers.answers[0].ids, ["p-1", "p-2"]);
    }

    #[test]
    fn what_is_not_there_is_said() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("empty.jsonl");
        fs::write(&file, "{}\n").unwrap();
        assert!(matches!(answer(&file, &file), Err(CorpusError::Empty { .. })));
        assert!(matches!(answer(&file, Path::new("/nowhere")), Err(CorpusError::Unreadable { .. })));
    }
}
