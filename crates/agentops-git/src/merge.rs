//! Merging two commits without a checkout.

use std::path::PathBuf;

use crate::error::{Error, Result};
use crate::missing::Need;
use crate::names;
use crate::oid::Oid;
use crate::repo::Repo;

/// How a merge went.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum MergeResult {
    /// Both fit together. The caller makes the commit.
    Clean {
        /// The merged tree.
        tree: Oid,
    },
    /// They do not.
    Conflict {
        /// Where.
        paths: Vec<PathBuf>,
    },
}

impl Repo {
    /// Merges `theirs` into `ours`, from their common ancestor or from `base`. Attributes are those of `ours`, as in a
    /// checkout, so that `merge=union` works; a driver that the repository names is not run and the text merge is used.
    pub fn merge(&self, ours: &Oid, theirs: &Oid, base: Option<&Oid>) -> Result<MergeResult> {
        let call = self.plain_with_attributes(ours)?;
        let mut call = call.args(["merge-tree", "--write-tree", "-z", "--name-only", "--no-messages"]);
        if let Some(base) = base {
            call = call.arg(format!("--merge-base={base}"));
        }
        let out = call.args([ours.as_str(), theirs.as_str()]).long().ok_or_code(&[1]);
        let out = out.map_err(|e| self.explain_missing(Need::Merge(ours, theirs), e))?;
        let mut fields = names::rows(&out.stdout);
        let tree = fields.next().ok_or_else(|| Error::Unexpected { what: "merge-tree".to_owned() })?;
        if out.code == Some(0) {
            return Ok(MergeResult::Clean { tree: Oid::parse(tree, "merge-tree")? });
        }
        Ok(MergeResult::Conflict { paths: fields.map(names::path).collect() })
    }

    /// The best common ancestor, if there is one.
    pub fn merge_base(&self, a: &Oid, b: &Oid) -> Result<Option<Oid>> {
        let out = self.plain()?.args(["merge-base", a.as_str(), b.as_str()]).ok_or_code(&[1])?;
        if out.code == Some(1) { Ok(None) } else { Oid::parse(&out.stdout, "merge-base").map(Some) }
    }
}
