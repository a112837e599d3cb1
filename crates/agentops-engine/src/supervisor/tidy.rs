//! What a supervisor clears away before it leaves: refs of ours that nobody needs.

use std::collections::BTreeSet;

use agentops_git::Oid;

use super::log;
use crate::ledger::Ledger;
use crate::perform::{Ctx, chain};
use crate::world::Clock;

/// Refs of a run's checkpoints stay so long after its result was merged.
const KEPT_AFTER_MERGE_MS: u64 = 14 * 24 * 60 * 60 * 1000;

/// Deletes refs of checkpoints that your own branches contain, and packs the others. Failures are for the log: the next
/// supervisor tries again.
pub(super) fn tidy(ctx: &Ctx, ledger: &Ledger) {
    if let Err(words) = drop_merged(ctx, ledger) {
        log(&format!("refs of merged runs stay: {words}"));
    }
    if let Err(e) = ctx.repo.pack_our_refs() {
        log(&format!("refs are not packed: {}", chain(&e)));
    }
}

fn drop_merged(ctx: &Ctx, ledger: &Ledger) -> Result<(), String> {
    let refs = ctx.repo.list_refs("refs/agentops").map_err(|e| chain(&e))?;
    let of_run = |name: &str| {
        let run = ["refs/agentops/runs/", "refs/agentops/results/"].iter().find_map(|prefix| name.strip_prefix(prefix))?;
        Some(run.split('/').next()?.to_owned())
    };
    let with_refs: BTreeSet<String> = refs.iter().filter_map(|(name, _)| of_run(name)).collect();
    if with_refs.is_empty() {
        return Ok(());
    }
    let before = ctx.clock.now_ms().saturating_sub(KEPT_AFTER_MERGE_MS);
    for (run, merged) in ledger.merged_before(before).map_err(|e| chain(&e))? {
        let Ok(merged) = merged.as_str().parse::<Oid>() else { continue };
        if with_refs.contains(run.as_str()) {
            let prefixes = ["runs", "results"].map(|kind| format!("refs/agentops/{kind}/{run}/"));
            ctx.repo.drop_merged_refs(&prefixes, &merged).map_err(|e| chain(&e))?;
        }
    }
    Ok(())
}
