//! `recall`: what was learnt, decided, said and done before, found by words. It reads and writes nothing; every passage has
//! its source, and what was not searched is said.

use std::path::{Path, PathBuf};

use agentops_engine::blobs::Blobs;
use agentops_engine::ledger::Ledger;
use agentops_git::Repo;
use agentops_memory::copies::{self, Fingerprint, Group};
use agentops_memory::corpus::{self, CorpusError};
use agentops_memory::passages::{self, Kind, Passage, Source};
use agentops_memory::sources::gaps::{GapReason, Gaps, SearchGap};
use agentops_memory::sources::{self, Searched, Wanted, claude, codex, notes};
use agentops_safe::{Redactor, inert_line};
use agentops_text::tokens;
use schemars::JsonSchema;
use serde::Serialize;

use crate::cli::{Global, RecallArgs};
use crate::context::{self, Context};
use crate::env;
use crate::error::{self, CommandError, USAGE};
use crate::printer::Printer;

/// Runs of the private state that are searched, the newest.
const RUNS_MAX: u32 = 200;
/// Of a passage so much is shown, and of a neighbour.
const SHOWN_BYTES_MAX: usize = 1200;
/// See [`SHOWN_BYTES_MAX`].
const NEIGHBOUR_BYTES_MAX: usize = 240;

/// Groups of passages that are made for each passage that is asked for: some do not fit the budget.
const GROUPS_A_PASSAGE: usize = 8;
/// Copies of a passage that are named for people.
const COPIES_NAMED_MAX: usize = 2;

/// What recall found.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct RecallView {
    /// What was asked.
    pub query: String,
    /// Best first.
    pub passages: Vec<PassageView>,
    /// What the passages take, in o200k tokens.
    pub tokens: u64,
    /// What was searched, and what was not.
    pub searched: Vec<Searched>,
}

/// A passage with its neighbours.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct PassageView {
    /// What kind of source it is from.
    pub kind: Kind,
    /// The file or run, and the line where there is one: `path:12`.
    pub source: String,
    /// The commit that changed the file last; absent for what is not in git.
    pub commit: Option<String>,
    /// The folder that it is about; absent where that is unknown.
    pub project: Option<String>,
    /// The day; absent where it is unknown.
    pub date: Option<String>,
    /// Who says it; absent for what nobody says.
    pub speaker: Option<String>,
    /// What stands before it.
    pub before: Option<String>,
    /// The text.
    pub text: String,
    /// What stands after it.
    pub after: Option<String>,
    /// Other places that say the same, best first.
    pub copies: Vec<String>,
}

/// `agentops recall`
pub fn recall(global: &Global, args: &RecallArgs, printer: &Printer) -> Result<u8, CommandError> {
    if let (Some(corpus), Some(queries)) = (&args.corpus, &args.queries) {
        return rank(corpus, queries, printer);
    }
    if args.all || args.project.is_some() {
        // An agent is told of its own project, not of what else its person works on.
        super::person_only()?;
    }
    let query = context::redacted(args.query.as_deref().unwrap_or_default());
    let here = match Context::find(global) {
        Ok(context) => Some(context),
        // Without a repository there is still what agent programs keep.
        Err(_) if args.all || args.project.is_some() => None,
        Err(error) => return Err(error),
    };
    let projects = match (&args.project, args.all) {
        (Some(folder), _) => Some(vec![folder.canonicalize()?]),
        (None, true) => None,
        (None, false) => here.as_ref().map(|here| folders(&here.repo)),
    };
    let redactor = context::redactor();
    let (sources, searched) = gather(here.as_ref(), projects.as_deref(), &redactor);
    let found = passages::find(&sources, &query);
    let mut view = RecallView { query, passages: Vec::new(), tokens: 0, searched };
    let groups = copies::group(&sources, &found, args.limit.saturating_mul(GROUPS_A_PASSAGE));
    choose(&mut view, &sources, &groups, here.as_ref(), args, &redactor);
    if printer.json() {
        printer.value(&view);
    } else {
        print(&view, printer);
    }
    Ok(error::SUCCESS)
}

/// The scorer's form: names for questions, nothing else on stdout.
fn rank(corpus: &Path, queries: &Path, printer: &Printer) -> Result<u8, CommandError> {
    let answers = corpus::answer(corpus, queries)?;
    for answer in &answers.answers {
        printer.document(&serde_json::to_string(answer).map_err(std::io::Error::other)?);
    }
    let skipped = if answers.skipped > 0 { format!(", {} lines not understood", answers.skipped) } else { String::new() };
    printer.note(&format!("{} questions answered{skipped}", answers.answers.len()));
    Ok(error::SUCCESS)
}

impl From<CorpusError> for CommandError {
    fn from(error: CorpusError) -> Self {
        CommandError::of(USAGE, &error).hint("`agentops recall --help` says what a corpus is")
    }
}

/// The folders of a repository: this work tree, and the one that its git directory is in.
fn folders(repo: &Repo) -> Vec<PathBuf> {
    let mut folders = vec![repo.work_tree().to_owned()];
    if let Some(main) = repo.common_dir().parent().filter(|_| repo.common_dir().ends_with(".git")) {
        folders.push(main.to_owned());
    }
    folders
}

/// Everything that is searched, oldest first within its kind.
fn gather(here: Option<&Context>, projects: Wanted<'_>, redactor: &Redactor) -> (Vec<Source>, Vec<Searched>) {
    let (mut sources, mut searched) = (Vec::new(), Vec::new());
    let mut add = |(more, of): (Vec<Source>, Searched)| {
        sources.extend(more);
        searched.push(of);
    };
    let unknown = |what: &str| (Vec::new(), Searched::new(what, "HOME is not set".into(), false));
    add(env::claude_dir().map_or_else(|| unknown("transcripts of Claude Code"), |folder| claude::read(&folder, projects)));
    add(env::codex_dir().map_or_else(|| unknown("transcripts of Codex"), |folder| codex::read(&folder, projects)));
    if let Some(here) = here {
        add(runs(here, redactor));
        notes::read(here.repo.work_tree()).into_iter().for_each(add);
    }
    (sources, searched)
}

/// The runs of the private state: their tasks and the documents that agents wrote.
fn runs(here: &Context, redactor: &Redactor) -> (Vec<Source>, Searched) {
    let place = here.paths.ledger();
    let shown = place.display().to_string();
    let mut searched = Searched::new("runs on this machine", shown.clone(), place.is_file());
    let mut gaps = Gaps::default();
    let mut sources = Vec::new();
    let mut ledger = match Ledger::read(&place) {
        Ok(Some(ledger)) => ledger,
        Ok(None) => return (sources, Searched { there: false, ..searched }),
        Err(_) => {
            gaps.add(GapReason::UnreadableFile, shown);
            return (sources, searched.with_gaps(gaps));
        }
    };
    let blobs = Blobs::at(&here.paths.blobs(), redactor.clone());
    let lines = ledger.runs(RUNS_MAX).unwrap_or_default();
    for line in lines.into_iter().rev() {
        let Ok(Some(state)) = ledger.state(&line.run) else {
            gaps.add(GapReason::UnreadableFile, format!("run {}", line.run));
            continue;
        };
        searched.read += 1;
        let date = Some(notes::date_of(line.started_ms));
        let artifacts = state.phases.iter().flat_map(|phase| &phase.lanes).flat_map(|lane| &lane.artifacts);
        let task = [("task".to_owned(), &line.task)].into_iter();
        for (name, blob) in task.chain(artifacts.map(|(name, blob)| (name.clone(), blob))) {
            let Ok(text) = blobs.text(blob) else {
                gaps.add(GapReason::UnreadableFile, format!("run {} {name}", line.run));
                continue;
            };
            let mut passages = notes::document(&text);
            passages.iter_mut().for_each(|passage| passage.date.clone_from(&date));
            let project = Some(here.repo.work_tree().display().to_string());
            sources.push(Source { kind: Kind::Run, name: format!("run {} {name}", line.run), project, passages });
        }
    }
    (sources, searched.with_gaps(gaps))
}

/// Takes the best passages that fit the budget, each statement once.
fn choose(
    view: &mut RecallView,
    sources: &[Source],
    groups: &[Group],
    here: Option<&Context>,
    args: &RecallArgs,
    redactor: &Redactor,
) {
    let head = here.and_then(|here| here.repo.head().ok());
    let mut shown: Vec<(usize, usize)> = Vec::new();
    // What is shown in full, neighbours included.
    let mut statements: Vec<Fingerprint> = Vec::new();
    for group in groups {
        if view.passages.len() >= args.limit {
            break;
        }
        let found = &group.found;
        // A neighbour of what is shown is shown already.
        if shown.iter().any(|(source, passage)| *source == found.source && passage.abs_diff(found.passage) <= 1) {
            continue;
        }
        let source = &sources[found.source];
        let passage = &source.passages[found.passage];
        let own = Fingerprint::of(&passage.text);
        if statements.iter().any(|statement| statement.covers(&own)) {
            continue;
        }
        let mut near_statements: Vec<Fingerprint> = Vec::new();
        let mut near = |at: Option<usize>| {
            let near = source.passages.get(at?)?;
            let statement = Fingerprint::of(&near.text);
            if own.covers(&statement) || statements.iter().any(|shown| shown.covers(&statement)) {
                return None;
            }
            if near.text.len() <= NEIGHBOUR_BYTES_MAX {
                near_statements.push(statement);
            }
            Some(cut(redactor, near, NEIGHBOUR_BYTES_MAX))
        };
        let in_git = matches!(source.kind, Kind::Memory | Kind::RunRecord | Kind::Bundle);
        let commit = head.as_ref().filter(|_| in_git).zip(here).and_then(|(head, here)| {
            here.repo.last_change(&head.commit, &source.name).ok().flatten().map(|(commit, _)| commit.to_string())
        });
        let made = PassageView {
            kind: source.kind,
            source: place(source, found.passage),
            commit,
            project: source.project.clone(),
            date: passage.date.clone(),
            speaker: passage.speaker.clone(),
            before: near(found.passage.checked_sub(1)),
            text: cut(redactor, passage, SHOWN_BYTES_MAX),
            after: near(Some(found.passage + 1)),
            copies: group.copies.iter().map(|(source, passage)| place(&sources[*source], *passage)).collect(),
        };
        let cost = tokens::text_tokens(&written(&made));
        if view.tokens + cost > args.budget {
            continue;
        }
        view.tokens += cost;
        shown.push((found.source, found.passage));
        statements.push(own);
        statements.extend(near_statements);
        view.passages.push(made);
    }
}

/// Where a passage stands: `path:12`.
fn place(source: &Source, passage: usize) -> String {
    match source.passages[passage].line {
        Some(line) => format!("{}:{line}", source.name),
        None => source.name.clone(),
    }
}

/// A passage without secrets, and not endless. It is cut after that, so that no half of a secret is left.
fn cut(redactor: &Redactor, passage: &Passage, bytes_max: usize) -> String {
    let clean = context::without_secrets(redactor, passage.text.trim());
    let text = sources::beginning(&clean, bytes_max);
    if text.len() < clean.len() { format!("{} …", text.trim_end()) } else { text.to_owned() }
}

/// A passage as a person reads it.
fn written(passage: &PassageView) -> String {
    let short = |commit: &String| format!("commit {}", &commit[..commit.len().min(10)]);
    let about = [
        passage.date.clone(),
        passage.commit.as_ref().map(short),
        passage.project.as_ref().filter(|_| passage.commit.is_none()).cloned(),
        passage.speaker.clone(),
    ];
    let about: Vec<String> = about.into_iter().flatten().collect();
    let mut text = format!("## {}\n{}\n", passage.source, about.join(" · "));
    if !passage.copies.is_empty() {
        let named: Vec<&str> = passage.copies.iter().take(COPIES_NAMED_MAX).map(String::as_str).collect();
        let more = passage.copies.len() - named.len();
        let more = if more > 0 { format!(" and {more} more") } else { String::new() };
        text.push_str(&format!("also in {}{more}\n", named.join(", ")));
    }
    for (part, mark) in [(passage.before.as_ref(), "  ┆ "), (Some(&passage.text), ""), (passage.after.as_ref(), "  ┆ ")]
    {
        for line in part.into_iter().flat_map(|part| part.lines()) {
            text.push_str(&format!("{mark}{line}\n"));
        }
    }
    text
}

fn print(view: &RecallView, printer: &Printer) {
    let texts: Vec<String> = view.passages.iter().map(written).collect();
    if texts.is_empty() {
        printer.note("nothing found");
    } else {
        printer.data(texts.join("\n").trim_end());
    }
    printer.note(&format!("{} passages, {} tokens", view.passages.len(), view.tokens));
    for searched in &view.searched {
        printer.note(&summary(searched));
        searched.gaps.iter().for_each(|gap| printer.note(&format!("  {}", named(gap))));
    }
}

/// What was searched, in a line.
fn summary(searched: &Searched) -> String {
    if !searched.there {
        return format!("{}: none ({})", searched.what, searched.place);
    }
    let mut parts = vec![format!("{} searched", searched.read)];
    let counts = [
        (searched.other_projects, "of other projects left out"),
        (searched.unknown_project, "of an unknown project left out"),
        (searched.not_read, "not read"),
        (searched.not_understood, "lines or records not understood"),
    ];
    parts.extend(counts.iter().filter(|(count, _)| *count > 0).map(|(count, what)| format!("{count} {what}")));
    format!("{}: {}", searched.what, parts.join(", "))
}

/// A gap with examples of where it is, in a line.
fn named(gap: &SearchGap) -> String {
    let record_type = gap.record_type.as_ref().map(|name| format!(" `{}`", inert_line(name, 60))).unwrap_or_default();
    let examples: Vec<String> = gap.examples.iter().map(|place| inert_line(place, 200)).collect();
    let more = gap.count.saturating_sub(examples.len() as u64);
    let more = if more > 0 { format!(" and {more} more") } else { String::new() };
    format!("{}{record_type}: {} ({}{more})", gap.reason.words(), gap.count, examples.join(", "))
}
