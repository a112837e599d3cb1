//! Files that an agent had begun to write when it was killed.
//!
//! Claude Code writes `NAME.tmp.PID.HEX` beside a file, HEX being 12 hexadecimal digits, and renames it to `NAME` (seen in the
//! system calls of 2.1.330). Killed in between, it leaves that file, which nobody names and which may hold half of its text.
//! Nobody waits for it: the agent had not been told that it was written.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use crate::checkpoint::Listing;
use crate::lanes::Lane;

/// Whether a file is called like one that an agent writes before it renames it.
#[must_use]
pub fn is_unfinished(name: &OsStr) -> bool {
    let mut parts = name.as_bytes().rsplitn(4, |byte| *byte == b'.');
    let (Some(hex), Some(pid), Some(tmp), Some(target)) = (parts.next(), parts.next(), parts.next(), parts.next()) else {
        return false;
    };
    let is_hex = |byte: &u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(byte);
    hex.len() == 12
        && hex.iter().all(is_hex)
        && (1..=10).contains(&pid.len())
        && pid.iter().all(u8::is_ascii_digit)
        && tmp == b"tmp"
        && !target.is_empty()
}

impl Lane {
    /// Takes new files that the agent had begun to write out of those that differ. A file that a commit of ours or the agent's own
    /// index has stays.
    pub(crate) fn take_unfinished(&self, listing: &mut Listing, may_be: impl Fn(&Path) -> bool) {
        let (tracked, meant, mut unfinished) = (&listing.tracked, &listing.meant, Vec::new());
        listing.differing.retain(|path| {
            let taken = path.file_name().is_some_and(is_unfinished)
                && !tracked.contains(path)
                && !meant.contains(path)
                && may_be(path)
                && fs::symlink_metadata(self.path().join(path)).is_ok_and(|meta| meta.is_file());
            if taken {
                unfinished.push(path.clone());
            }
            !taken
        });
        listing.unfinished = unfinished;
    }

    /// Removes such files. One that cannot be removed stays in the lane, and in no commit.
    pub(crate) fn remove_unfinished(&self, unfinished: &[PathBuf]) {
        for path in unfinished {
            let _stays = fs::remove_file(self.path().join(path));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_whole_form_is_a_file_that_was_being_written() {
        let is = |name: &str| is_unfinished(OsStr::new(name));
        assert!(
            is("close-out.json.tmp.10813.f32c3e664049") && is(".env.tmp.1.000000000000") && is("a.tmp.4194304.abcdefabcdef")
        );
        for name in [
            "a.tmp",
            "a.tmp.10813",
            "a.tmp.f32c3e664049",
            "a.10813.f32c3e664049",
            ".tmp.10813.f32c3e664049",
            "a.tmp.x0813.f32c3e664049",
            "a.tmp..f32c3e664049",
            "a.tmp.10813.f32c3e66404",
            "a.tmp.10813.F32C3E664049",
            "a.tmp.10813.f32c3e664049.md",
            "a.tmp2.10813.f32c3e664049",
        ] {
            assert!(!is(name), "{name}");
        }
    }
}
