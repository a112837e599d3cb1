//! The configuration of a lane: the effective settings of your checkout that do no harm.
//!
//! A lane lies elsewhere than your checkout, so an `includeIf` of yours does not hold there, and nothing of your
//! repository's own configuration reaches it. What a commit looks like must still be the same: identity, line ends, remotes.
//! So these settings are copied with the values that they have in your checkout, by a list. Nothing is copied that names a
//! program (hooks, filters, helpers, aliases) or that may hold a secret (credentials, headers, a password in an address).

use std::path::Path;

use crate::address;
use crate::error::Result;
use crate::lanes::{Lane, bytes};
use crate::oid::Hash;
use crate::plain::quoted;

/// Settings that are copied as they are.
const COPIED: [&str; 29] = [
    "author.email",
    "author.name",
    "committer.email",
    "committer.name",
    "core.abbrev",
    "core.attributesfile",
    "core.autocrlf",
    "core.commentchar",
    "core.commentstring",
    "core.eol",
    "core.excludesfile",
    "core.precomposeunicode",
    "core.quotepath",
    "core.safecrlf",
    "core.whitespace",
    "diff.algorithm",
    "diff.mnemonicprefix",
    "diff.noprefix",
    "diff.renames",
    "i18n.commitencoding",
    "i18n.logoutputencoding",
    "merge.conflictstyle",
    "merge.renames",
    "pull.ff",
    "pull.rebase",
    "push.default",
    "user.email",
    "user.name",
    "user.useconfigonly",
];
/// Settings of a remote that are copied beside its address.
const OF_REMOTE: [&str; 4] = ["fetch", "partialclonefilter", "promisor", "tagopt"];
/// Settings of a branch that are copied.
const OF_BRANCH: [&str; 3] = ["merge", "rebase", "remote"];
/// Rows that are copied at most: a configuration with more is not one that a person wrote.
const ROWS_MAX: usize = 5_000;

/// The configuration of a lane, whose folder exists.
pub(crate) fn config(lane: &Lane) -> Result<Vec<u8>> {
    let repo = &lane.repo;
    let settings = repo.all_settings()?;
    let mut config = Config::default();
    let last = |key: &str| settings.iter().rev().find(|(k, _)| k == key).map(|(_, v)| v.as_slice());
    let partial = last("extensions.partialclone");
    let sha256 = repo.hash() == Hash::Sha256;
    // Any extension needs version 1; without one, 0 is what every git reads.
    let version: &[u8] = if sha256 || partial.is_some() { b"1" } else { b"0" };
    config.add("core.repositoryformatversion", version);
    if sha256 {
        config.add("extensions.objectformat", b"sha256");
    }
    if let Some(remote) = partial {
        config.add("extensions.partialclone", remote);
    }
    config.add("core.bare", b"false");
    config.add("core.logallrefupdates", b"true");
    for key in ["core.filemode", "core.symlinks"] {
        if let Some(value) = last(key).filter(|value| [&b"true"[..], b"false"].contains(value)) {
            config.add(key, value);
        }
    }
    config.add("core.ignorecase", if lane.ignores_case() { b"true" } else { b"false" });
    // Signing starts a program, and one in the background would outlive its session.
    for (key, value) in
        [("commit.gpgsign", "false"), ("tag.gpgsign", "false"), ("gc.auto", "0"), ("maintenance.auto", "false")]
    {
        config.add(key, value.as_bytes());
    }
    for key in COPIED {
        if let Some(value) = last(key) {
            config.add(key, value);
        }
    }
    for (key, value) in settings.iter().take(ROWS_MAX) {
        let Some((section, rest)) = key.split_once('.') else { continue };
        let Some((_, variable)) = rest.rsplit_once('.') else { continue };
        match section {
            "remote" if matches!(variable, "url" | "pushurl") => {
                if let Some(url) = harmless_url(value, repo.work_tree()) {
                    config.add(key, &url);
                }
            }
            "remote" if OF_REMOTE.contains(&variable) => config.add(key, value),
            "branch" if OF_BRANCH.contains(&variable) => config.add(key, value),
            _ => {}
        }
    }
    Ok(config.text)
}

/// A configuration file that grows by one setting at a time.
#[derive(Default)]
struct Config {
    text: Vec<u8>,
}

impl Config {
    /// Adds a setting by its full key, in the form in which git lists it.
    fn add(&mut self, key: &str, value: &[u8]) {
        // No value of a setting has one, and git would not read the file.
        if value.contains(&0) || key.contains(['\n', '\0']) {
            return;
        }
        let Some((section, rest)) = key.split_once('.') else { return };
        match rest.rsplit_once('.') {
            None => self.text.extend(format!("[{section}]\n\t{rest} = ").bytes()),
            Some((subsection, variable)) => {
                self.text.extend(format!("[{section} ").bytes());
                self.text.extend(quoted(subsection.as_bytes()));
                self.text.extend(format!("]\n\t{variable} = ").bytes());
            }
        }
        self.text.extend(quoted(value));
        self.text.push(b'\n');
    }
}

/// A remote's address without what may be a secret; none when it is led by a program.
fn harmless_url(url: &[u8], work_tree: &Path) -> Option<Vec<u8>> {
    let text = std::str::from_utf8(url).ok().filter(|text| (1..=address::TEXT_BYTES_MAX).contains(&text.len()))?;
    if text.contains("::") {
        // `ext::` and the like start a program.
        return None;
    }
    if !text.contains("://") {
        let colon = text.find(':');
        let slash = text.find('/');
        let is_path = match (colon, slash) {
            (Some(colon), Some(slash)) => slash < colon,
            (Some(_), None) => false,
            (None, _) => true,
        };
        if !is_path {
            // `host:path`, where no password can stand.
            return Some(url.to_vec());
        }
        // Relative to your checkout, not to the lane.
        return Some(bytes(&work_tree.join(text)).to_vec());
    }
    Some(address::without_secrets(text).into_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_lose_what_may_be_a_secret() {
        let clean =
            |url: &str| harmless_url(url.as_bytes(), Path::new("/home/u/repo")).map(|u| String::from_utf8(u).unwrap());
        for (given, expected) in [
            ("https://me:tok@example.org/a/b.git", "https://example.org/a/b.git"),
            ("https://tok@example.org/a/b.git?private_token=x#y", "https://example.org/a/b.git"),
            ("https://me:t@k@example.org", "https://example.org"),
            ("ssh://git:pw@example.org:22/a", "ssh://git@example.org:22/a"),
            ("git@example.org:a/b.git", "git@example.org:a/b.git"),
            ("example.org:a/b.git", "example.org:a/b.git"),
            ("../lib.git", "/home/u/repo/../lib.git"),
            ("/srv/a:b", "/srv/a:b"),
            ("file:///srv/lib", "file:///srv/lib"),
        ] {
            assert_eq!(clean(given).as_deref(), Some(expected), "{given}");
        }
        assert_eq!(clean("ext::sh -c touch% x"), None);
        assert_eq!(clean(""), None);
    }
}
