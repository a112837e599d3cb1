//! Our refs, changed only by compare-and-swap. Refs of the user are read, never written.

use std::time::Duration;

use crate::error::{Error, Result};
use crate::names;
use crate::oid::Oid;
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

impl Repo {
    /// What a ref points to.
    pub fn read_ref(&self, name: &str) -> Result<Option<Oid>> {
        names::check_ref(name)?;
        Ok(self.list_refs(name)?.into_iter().find(|(n, _)| n == name).map(|(_, oid)| oid))
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
        for attempt in 0.. {
            let what = args.join(" ");
            let out = self.guarded().args(args.iter().copied()).output()?;
            if out.code == Some(0) {
                return Ok(());
            }
            let found = self.read_ref(name)?;
            if found.as_ref() == new {
                return Ok(());
            }
            match (expect, found) {
                (Expect::Absent, Some(found)) => return Err(Error::RefExists { name: name.to_owned(), found }),
                (Expect::Is(oid), found) if found.as_ref() != Some(oid) => {
                    return Err(Error::RefMoved { name: name.to_owned(), expected: oid.clone(), found });
                }
                _ if attempt >= TRIES => return Err(out.failed(what)),
                // As expected, and yet refused: most likely a lock.
                _ => std::thread::sleep(Duration::from_millis(5 << attempt)),
            }
        }
        unreachable!("the loop ends by returning")
    }
}
