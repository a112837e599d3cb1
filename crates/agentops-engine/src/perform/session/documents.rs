//! The documents of a session: plain files in the lane's folder for them.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::io::{Error, ErrorKind, Write};
use std::path::{Path, PathBuf};

use agentops_agents::driver::OUT_DIR;
use agentops_core::id::{BlobId, SessionId};
use agentops_core::run::State;
use agentops_core::workflow::Check;
use agentops_git::temporary::TempFile;
use agentops_git::{is_unfinished, plain_file};

use super::super::{Act, Ctx};

/// Documents taken from a lane: how many, and how large each.
const ARTIFACTS_MAX: usize = 32;
const ARTIFACT_BYTES_MAX: u64 = 1024 * 1024;
/// Files that one text names.
const FILES_NAMED_MAX: usize = 20;

/// An agent that cannot write files answers with its document. It is taken only where the first document is missing.
pub(super) fn answer(state: &State, session: &SessionId, out: &Path, said: &str) -> Act<()> {
    let Some(phase) = state.created.workflow.phase(&session.lane.phase) else { return Ok(()) };
    let review = !phase.lanes.iter().any(|lane| lane.name == session.lane.lane);
    let wanted = phase.gates.iter().find_map(|gate| match &gate.check {
        Check::Artifact { file, .. } if !review => Some(file.as_str()),
        Check::Review { .. } if review => Some("verdict.json"),
        _ => None,
    });
    let Some(file) = wanted.filter(|file| !out.join(file).exists() && !said.trim().is_empty()) else { return Ok(()) };
    let text = if file.ends_with(".json") { json_in(said).unwrap_or(said) } else { said };
    write_document(out, file, text)
}

/// Writes a document that is there whole or not at all. The folder is the agent's: links are not followed.
fn write_document(out: &Path, file: &str, text: &str) -> Act<()> {
    match std::fs::symlink_metadata(out) {
        Ok(meta) if !meta.is_dir() => return Ok(()),
        Ok(_) => {}
        Err(_) => std::fs::create_dir_all(out)?,
    }
    // Names with a dot are no documents.
    let part = TempFile::make(out, ".part-")?;
    part.file().write_all(text.as_bytes())?;
    part.file().sync_all()?;
    part.rename(&out.join(file))?;
    Ok(())
}

/// The JSON object in an answer that has words or a fence around it.
fn json_in(text: &str) -> Option<&str> {
    let (start, end) = (text.find('{')?, text.rfind('}')?);
    text.get(start..=end)
}

/// Takes the plain files directly in the folder for documents. What is there besides is named in the notes; what the agent had
/// only begun to write is removed. The folder is the agent's: links are not followed, and sizes are bounded.
pub(super) fn take(ctx: &Ctx, out: &Path, notes: &mut Vec<String>) -> Act<BTreeMap<String, BlobId>> {
    let (mut found, mut unfinished, mut left) = (BTreeMap::new(), Vec::new(), Vec::new());
    if !std::fs::symlink_metadata(out).is_ok_and(|meta| meta.is_dir()) {
        return Ok(found);
    }
    let cannot_read = |path: &Path, e: Error| Error::new(e.kind(), format!("cannot read {}: {e}", path.display()));
    let names = || std::fs::read_dir(out)?.map(|entry| Ok(entry?.file_name())).collect::<Result<Vec<OsString>, _>>();
    let mut names = names().map_err(|e| cannot_read(out, e))?;
    // Files whose names begin with a dot are not documents.
    names.retain(|name| !name.as_encoded_bytes().starts_with(b"."));
    names.sort();
    for name in names {
        let (path, shown) = (out.join(&name), Path::new(OUT_DIR).join(&name));
        if is_unfinished(&name) && std::fs::symlink_metadata(&path).is_ok_and(|meta| meta.is_file()) {
            // A file that cannot be removed is not taken as a document either.
            let _stays = std::fs::remove_file(&path);
            unfinished.push(shown);
            continue;
        }
        let Some(name) = name.to_str().filter(|_| found.len() < ARTIFACTS_MAX) else {
            left.push(shown);
            continue;
        };
        match plain_file::read(&path, ARTIFACT_BYTES_MAX) {
            Ok(bytes) => drop(found.insert(ctx.word(name), ctx.blobs.put(&bytes)?)),
            Err(e) if plain_file::is_no_such_file(&e) || e.kind() == ErrorKind::PermissionDenied => left.push(shown),
            Err(e) if plain_file::is_absent(&e) => {}
            Err(e) => return Err(cannot_read(&path, e).into()),
        }
    }
    notes.extend(unfinished_words(ctx, &unfinished));
    if !left.is_empty() {
        let mib = ARTIFACT_BYTES_MAX >> 20;
        let rule = format!(
            "a document is a plain file that can be read, of at most {mib} MiB, and a session leaves at most {ARTIFACTS_MAX}"
        );
        notes.push(format!("not taken as documents: {} ({rule})", listed(ctx, &left)));
    }
    Ok(found)
}

/// What the agent had begun to write when it was killed, for the session's detail.
pub(super) fn unfinished_words(ctx: &Ctx, unfinished: &[PathBuf]) -> Option<String> {
    (!unfinished.is_empty()).then(|| {
        let files = listed(ctx, unfinished);
        format!("left out what the agent had only begun to write when it ended: {files}")
    })
}

fn listed(ctx: &Ctx, paths: &[PathBuf]) -> String {
    let named = paths.iter().take(FILES_NAMED_MAX).map(|path| ctx.word(&path.display().to_string()));
    let named: Vec<String> = named.collect();
    match paths.len() - named.len() {
        0 => named.join(", "),
        more => format!("{} and {more} more", named.join(", ")),
    }
}

#[cfg(test)]
mod tests;
