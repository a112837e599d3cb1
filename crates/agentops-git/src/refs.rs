//! Our refs, changed only by compare-and-swap. Refs of the user are read, never written.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use sha2::{Digest, Sha256};

use crate::error::{Error, Result};
use crate::lock::Lock;
use crate::names;
use crate::oid::Oid;
use crate::remove::remove_all;
use crate::repo::Repo;

/// What a ref must be for a change to happen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Expect {
    /// Not there.
    Absent,
    /// Exactly this.
    Is(Oid),
}

/// Another process may hold the ref's lock for a moment.
const TRIES: u32 = 6;
/// A lock file of git's on a ref of ours that is older than this belongs to nobody.
const ABANDONED_AFTER: Duration = Duration::from_secs(10);
/// Locks of ours that all refs share.
const REF_LOCKS: u8 = 64;

impl Repo {
    /// What a ref points to.
    pub fn read_ref(&self, name: &str) -> Result<Option<Oid>> {
        names::check_ref(name)?;
        Ok(self.list_refs(name)?.into_iter().find(|(n, _)| n == name).map(|(_, oid)| oid))
    }

    /// The folder of the checkout, the user's own or a linked worktree, that is on this branch.
    ///
    /// # Errors
    /// The name is none of a ref, or git fails.
    pub fn checked_out_in(&self, name: &str) -> Result<Option<PathBuf>> {
        names::check_ref(name)?;
        let out = self.guarded().args(["for-each-ref", "--format=%(refname)%00%(worktreepath)", name]).ok()?;
        let rows = out.split(|byte| *byte == b'\n');
        let of_branch = rows.filter_map(|row| row.strip_prefix(name.as_bytes())?.strip_prefix(b"\0"));
        Ok(of_branch.filter(|path| !path.is_empty()).map(names::path).next())
    }

    /// Refs below a prefix, which ends at a slash or at the end of a name.
    pub fn list_refs(&self, prefix: &str) -> Result<Vec<(String, Oid)>> {
        let prefix = prefix.strip_suffix('/').unwrap_or(prefix);
        if prefix != "refs" {
            names::check_ref(prefix)?;
        }
        let out = self.guarded().args(["for-each-ref", "--format=%(objectname) %(refname)", prefix]).ok()?;
        let text = String::from_utf8_lossy(&out);
        let rows = text.lines().map(|line| {
            let (oid, name) = line.split_once(' ').ok_or_else(|| Error::Unexpected { what: "for-each-ref".to_owned() })?;
            Ok((name.to_owned(), oid.parse()?))
        });
        rows.collect()
    }

    /// Points a ref of ours to `new` if it is what is expected. Already there is success: a repeated action is harmless.
    pub fn update_ref(&self, name: &str, new: &Oid, expect: &Expect) -> Result<()> {
        let old = match expect {
            Expect::Absent => self.hash().zero(),
            Expect::Is(oid) => oid.to_string(),
        };
        self.swap(name, Some(new), expect, &["update-ref", "--no-deref", name, new.as_str(), &old])
    }

    /// Deletes a ref of ours if it is what is expected. Already gone is success.
    pub fn delete_ref(&self, name: &str, expect: &Expect) -> Result<()> {
        match expect {
            Expect::Absent => match self.read_ref(name)? {
                None => Ok(()),
                Some(found) => Err(Error::RefExists { name: name.to_owned(), found }),
            },
            Expect::Is(oid) => self.swap(name, None, expect, &["update-ref", "--no-deref", "-d", name, oid.as_str()]),
        }
    }

    fn swap(&self, name: &str, new: Option<&Oid>, expect: &Expect, args: &[&str]) -> Result<()> {
        names::check_our_ref(name)?;
        let lock = self.ref_lock(name)?;
        let mut abandoned = AbandonedLock::of(self.common_dir().join(format!("{name}.lock")));
        let mut attempt = 0;
        loop {
            let what = args.join(" ");
            let out = self.guarded().args(args.iter().copied()).holding(&lock)?.outliving_us().output()?;
            if out.code == Some(0) {
                return Ok(());
            }
            let found = self.read_ref(name)?;
            if found.as_ref() == new {
                return Ok(());
            }
            if found.is_none()
                && let Some(other) = self.ref_in_the_way(name)?
            {
                return Err(Error::RefInTheWay { name: name.to_owned(), other });
            }
            match (expect, found) {
                (Expect::Absent, Some(found)) => return Err(Error::RefExists { name: name.to_owned(), found }),
                (Expect::Is(oid), found) if found.as_ref() != Some(oid) => {
                    return Err(Error::RefMoved { name: name.to_owned(), expected: oid.clone(), found });
                }
                // As expected, and yet refused: most likely a lock.
                _ if abandoned.is_held()? => std::thread::sleep(Duration::from_millis(50)),
                _ if attempt >= TRIES => return Err(out.failed(what)),
                _ => {
                    std::thread::sleep(Duration::from_millis(5 << attempt));
                    attempt += 1;
                }
            }
        }
    }

    /// A ref beside which git cannot make this one: its name is a folder of the other, or the other way round.
    fn ref_in_the_way(&self, name: &str) -> Result<Option<String>> {
        // `refs` and the folder below it hold no refs themselves.
        for (at, _) in name.match_indices('/').skip(2) {
            if self.read_ref(&name[..at])?.is_some() {
                return Ok(Some(name[..at].to_owned()));
            }
        }
        Ok(self.list_refs(name)?.into_iter().map(|(other, _)| other).find(|other| other != name))
    }

    /// The lock that each of our processes holds while it changes a ref of ours. The git process shares it.
    fn ref_lock(&self, name: &str) -> Result<Lock> {
        let folder = self.common_dir().join("agentops").join("ref-locks");
        fs::create_dir_all(&folder).map_err(Error::io("make", &folder))?;
        let number = Sha256::digest(name.as_bytes())[0] % REF_LOCKS;
        Lock::wait(&folder.join(format!("{number:02}")))
    }
}

/// Git's own lock file of a ref, which a kill leaves behind and git never removes.
///
/// Our processes change a ref only under [`Repo::ref_lock`], so under it none of them holds the file. Your git holds it for
/// a moment when it packs refs. A file that has been there for longer belongs to nobody.
struct AbandonedLock {
    path: PathBuf,
    /// The file that was seen and when.
    seen: Option<(u64, Instant)>,
}

impl AbandonedLock {
    fn of(path: PathBuf) -> Self {
        Self { path, seen: None }
    }

    /// True while the file is there and may still belong to somebody. An abandoned one is removed.
    fn is_held(&mut self) -> Result<bool> {
        let Ok(meta) = fs::symlink_metadata(&self.path) else { return Ok(false) };
        let age = meta.modified().ok().and_then(|at| at.elapsed().ok()).unwrap_or_default();
        let first_seen = match self.seen {
            Some((inode, at)) if inode == meta.ino() => at,
            _ => Instant::now(),
        };
        self.seen = Some((meta.ino(), first_seen));
        if age < ABANDONED_AFTER && first_seen.elapsed() < ABANDONED_AFTER {
            return Ok(true);
        }
        remove_all(&self.path)?;
        Ok(true)
    }
}
