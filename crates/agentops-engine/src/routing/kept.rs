//! What was learnt, kept in a file of the private state: a cache. Whatever is wrong with it, it is as if it were not there.
//!
//! The file begins with a line that names its format and the hash of its head. The head is JSON: what it was made of, how many
//! lines of feedback were learnt and which, and what an answer needs of each agent. Two routers follow, which check themselves.

use std::fs::File;
use std::io::{Read, Write};
use std::path::Path;

use agentops_git::temporary::TempFile;
use agentops_route::grow::checkpoint;
use agentops_route::router::{Example, Router};
use serde::{Deserialize, Serialize};

use super::learner::Lines;
use super::sources::Sources;
use super::workflows::Workflows;
use super::{Agent, Here, Learnt, Routing};
use crate::blobs;

/// The format of files that this program writes.
const FORMAT: &str = "agentops routing 1";
/// The largest file that is read, in bytes: a thousand agents and ten thousand lines have some 40 MB.
const FILE_BYTES_MAX: u64 = 256 << 20;

#[derive(Serialize, Deserialize)]
struct Head {
    /// Everything but the feedback.
    key: String,
    /// The feedback.
    records: String,
    /// When the feedback may say something else without a new line.
    until: Option<u64>,
    agents: Vec<Agent>,
    learnt: Learnt,
    problems: Vec<String>,
    /// The hash of the lines with agents that were learnt.
    agent_lines: String,
    /// The lines with workflows that were learnt: text and name.
    workflow_lines: Vec<(String, String)>,
    /// The length of the first router.
    router_bytes: usize,
}

/// What was learnt before, if it was made of the same. New lines of feedback are learnt on top where that gives the same router
/// as learning from the beginning would.
pub fn read(here: Here<'_>, sources: &Sources) -> Option<Routing> {
    let path = here.cache?;
    let bytes = whole(path)?;
    let (head, body) = split(&bytes)?;
    if head.key != sources.key {
        return None;
    }
    let same = head.records == sources.records.key && head.until.is_none_or(|until| here.now_ms < until);
    let (first, second) = body.split_at_checked(head.router_bytes)?;
    let router = Router::from_bytes(first)?;
    let lines: Vec<Example> = head.workflow_lines.into_iter().map(|(text, label)| Example { text, label }).collect();
    let workflows = Workflows::taken(sources.workflows.clone(), Router::from_bytes(second)?, &lines);
    let mut routing = Routing { router, agents: head.agents, workflows, problems: head.problems, learnt: head.learnt };
    if same {
        return Some(routing);
    }
    let gathered = sources.gathered(None);
    let new = Lines::of(&gathered, |label| routing.has_agent(label), |name| routing.workflows.has(name));
    let (learnt, flows_learnt) = (routing.learnt.agents, lines.len());
    let agents_grow = grows(&new.agents, learnt) && hash(&new.agents[..learnt]) == head.agent_lines;
    // Without a line the learner of workflows has not even learnt the profile's examples.
    let flows_grow = new.workflows == lines
        || flows_learnt > 0 && grows(&new.workflows, flows_learnt) && new.workflows[..flows_learnt] == lines;
    if !agents_grow || !flows_grow {
        return None;
    }
    for line in &new.agents[learnt..] {
        routing.router.learn(&line.text, &line.label);
    }
    routing.workflows.learn_more(&new.workflows, flows_learnt);
    routing.learnt = Learnt::of(&new, &gathered);
    routing.problems.retain(|problem| !is_of_feedback(problem));
    routing.problems.extend(sources.problems.iter().filter(|problem| is_of_feedback(problem)).cloned());
    write(here, sources, &routing);
    Some(routing)
}

fn is_of_feedback(problem: &str) -> bool {
    problem.starts_with("feedback ")
}

/// Whether lines that begin with so many learnt ones can be learnt on top of these.
fn grows(lines: &[Example], learnt: usize) -> bool {
    lines.len() >= learnt && checkpoint(lines.len()) <= learnt
}

/// Keeps what was learnt. If that fails, it is learnt again next time.
pub fn write(here: Here<'_>, sources: &Sources, routing: &Routing) {
    let Some(path) = here.cache else { return };
    let gathered = sources.gathered(None);
    let lines = Lines::of(&gathered, |label| routing.has_agent(label), |name| routing.workflows.has(name));
    let router = routing.router.to_bytes();
    let head = Head {
        key: sources.key.clone(),
        records: sources.records.key.clone(),
        until: gathered.until,
        agents: routing.agents.clone(),
        learnt: routing.learnt.clone(),
        problems: routing.problems.clone(),
        agent_lines: hash(&lines.agents),
        workflow_lines: lines.workflows.into_iter().map(|line| (line.text, line.label)).collect(),
        router_bytes: router.len(),
    };
    let Ok(head) = serde_json::to_vec(&head) else { return };
    let first = format!("{FORMAT} {} {}\n", blobs::hash(&head).as_str(), head.len());
    let _only_a_cache = put(path, &[first.as_bytes(), &head, &router, &routing.workflows.router().to_bytes()]);
}

/// How the names of files begin that are being written, beside the cache.
pub const PART: &str = ".routing-";

fn put(path: &Path, parts: &[&[u8]]) -> std::io::Result<()> {
    // Another process may write the same at the same moment: each has a file of its own, and either rename will do.
    let part = TempFile::make(path.parent().unwrap_or(path), PART)?;
    parts.iter().try_for_each(|bytes| part.file().write_all(bytes))?;
    part.rename(path)
}

fn whole(path: &Path) -> Option<Vec<u8>> {
    let file = File::open(path).ok()?;
    let length = file.metadata().ok().filter(|meta| meta.is_file() && meta.len() <= FILE_BYTES_MAX)?.len();
    let mut bytes = Vec::with_capacity(usize::try_from(length).ok()?);
    file.take(FILE_BYTES_MAX).read_to_end(&mut bytes).ok()?;
    Some(bytes)
}

fn split(bytes: &[u8]) -> Option<(Head, &[u8])> {
    let end = bytes.iter().take(200).position(|byte| *byte == b'\n')?;
    let first = std::str::from_utf8(&bytes[..end]).ok()?.strip_prefix(FORMAT)?;
    let (hash, length) = first.trim_start().split_once(' ')?;
    let (head, body) = bytes[end + 1..].split_at_checked(length.parse().ok()?)?;
    (blobs::hash(head).as_str() == hash).then_some(())?;
    Some((serde_json::from_slice(head).ok()?, body))
}

fn hash(lines: &[Example]) -> String {
    let mut text = String::new();
    for line in lines {
        text.push_str(&format!("{} {} {}{}\n", line.text.len(), line.label.len(), line.text, line.label));
    }
    blobs::hash(text.as_bytes()).to_string()
}
