//! Files of somebody else's repository, read from its objects: nothing is checked out, nothing of it runs.
//!
//! A shallow bare repository is made in a folder of the caller's, git fetches one commit into it, and the wanted files are
//! read from there. Hooks, filters and attributes need a work tree and a configuration that names them; there is neither.
//! The user's own settings of git count for the way there (keys, proxies, credential helpers), because a private
//! collection is reached by them. Nobody is asked anything, and time and bytes are limited.

use std::path::{Path, PathBuf};

use crate::address;
use crate::error::{Error, Result};
use crate::names;
use crate::objects;
use crate::oid::Oid;
use crate::plain::FOLDER_PREFIX;
use crate::run::{Call, Git};
use crate::temporary::{self, TempFolder};

/// The only ways to another repository.
const PROTOCOLS: &str = "https:ssh:file";
/// How long the whole fetch may take, in seconds.
const FETCH_SECONDS_MAX: u64 = 180;
/// What a fetch may write, in bytes: one pack.
const PACK_BYTES_MAX: u64 = 512 << 20;
/// What is read of it at most, in bytes.
const TOTAL_BYTES_MAX: u64 = 48 << 20;
/// Our name for what was fetched.
const FETCHED: &str = "refs/agentops/fetched";

/// Where a collection comes from: an address of git's or a path, checked to be nothing else.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Source(String);

impl Source {
    /// Takes `https://`, `ssh://` and `file://` addresses, `user@host:path`, and absolute paths.
    ///
    /// # Errors
    /// It is an option, another protocol (`ext::`, `git://`, `http://`), or has control characters.
    pub fn parse(text: &str) -> Result<Self> {
        let bad = || Error::BadName { kind: "address of a git repository", value: address::without_secrets(text) };
        let plain = !text.starts_with('-') && !text.contains("::") && !text.chars().any(char::is_control);
        let scheme = text.split_once("://").map(|(scheme, rest)| (scheme.to_ascii_lowercase(), rest));
        let known = match scheme {
            Some((scheme, rest)) => {
                // A host that begins with a dash would be an option of ssh.
                let host = rest.rsplit_once('@').map_or(rest, |(_, host)| host);
                matches!(scheme.as_str(), "https" | "ssh" | "file") && !host.is_empty() && !host.starts_with('-')
            }
            None => text.starts_with('/') || is_scp(text),
        };
        if plain && known && text.len() <= 2048 { Ok(Self(text.to_owned())) } else { Err(bad()) }
    }

    /// Whether a text looks like an address and not like a path.
    #[must_use]
    pub fn is_address(text: &str) -> bool {
        text.contains("://") || text.contains("::") || is_scp(text)
    }

    /// The address as it may be shown and kept: without passwords and tokens.
    #[must_use]
    pub fn shown(&self) -> String {
        address::without_secrets(&self.0)
    }
}

/// `user@host:path` or `host:path`, as ssh's own copy program writes it.
fn is_scp(text: &str) -> bool {
    let Some((host, path)) = text.split_once(':') else { return false };
    let name = host.rsplit_once('@').map_or(host, |(_, name)| name);
    !host.contains('/') && !name.is_empty() && !name.starts_with('-') && !host.starts_with('-') && !path.is_empty()
}

/// What is taken of a repository.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// The largest file, in bytes.
    pub file_bytes: u64,
    /// The most files.
    pub files: usize,
    /// All files together, in bytes; at most 48 MiB.
    pub total_bytes: u64,
}

/// Files of one commit.
#[derive(Debug, Clone)]
pub struct Collection {
    /// The commit.
    pub commit: Oid,
    /// Path and content, by path.
    pub files: Vec<(PathBuf, Vec<u8>)>,
    /// Wanted files that were left out, and why.
    pub left_out: Vec<(PathBuf, &'static str)>,
}

/// Which of a commit's paths are wanted.
pub type Wanted<'a> = &'a dyn Fn(&[&Path]) -> Vec<bool>;

impl Git {
    /// Fetches the newest commit of a repository's main branch into `scratch`, a folder of the caller's, and reads the files that
    /// are wanted: of all paths together, yes or no for each. Links and submodules are not followed.
    ///
    /// # Errors
    /// It cannot be reached in time, has no commit, or is larger than a fetch may write.
    pub fn collection(&self, source: &Source, scratch: &Path, wanted: Wanted<'_>, limits: &Limits) -> Result<Collection> {
        // A killed command may have left many megabytes.
        temporary::sweep(scratch, FOLDER_PREFIX);
        let room = TempFolder::make(scratch, FOLDER_PREFIX).map_err(Error::io("make a folder in", scratch))?;
        let bare = room.path().join("bare");
        self.call(["init", "--quiet", "--bare", "--template="]).arg(&bare).ok()?;
        let configured = self.on(&bare).args(["config", "--get", "core.sshCommand"]).ok_or_code(&[1])?;
        let mut call = self.on(&bare).named("fetch").seconds(FETCH_SECONDS_MAX).file_bytes_max(PACK_BYTES_MAX);
        for name in ["GIT_SSH_COMMAND", "GIT_SSH", "GIT_SSH_VARIANT", "GIT_SSL_CAINFO", "GIT_SSL_CAPATH"] {
            if let Some(value) = std::env::var_os(name) {
                call = call.env(name, value);
            }
        }
        let own_ssh = ["GIT_SSH_COMMAND", "GIT_SSH"].iter().any(|name| std::env::var_os(name).is_some());
        if !own_ssh && configured.stdout.is_empty() {
            call = call.env("GIT_SSH_COMMAND", "ssh -oBatchMode=yes");
        }
        let settings = ["fetch.unpackLimit=1", "http.lowSpeedLimit=1000", "http.lowSpeedTime=30", "fetch.fsckObjects=false"];
        for setting in settings {
            call = call.arg("-c").arg(setting);
        }
        let args =
            ["fetch", "--quiet", "--depth=1", "--no-tags", "--no-recurse-submodules", "--no-auto-gc", "--end-of-options"];
        let refspec = format!("+HEAD:{FETCHED}");
        let fetched = call.args(args).arg(&source.0).arg(refspec).ok();
        fetched.map_err(|e| match e {
            // What git says may repeat the address.
            Error::Failed { args, code, stderr, lock } => {
                Error::Failed { args, code, stderr: stderr.replace(&source.0, &source.shown()), lock }
            }
            other => other,
        })?;
        let commit = self.on(&bare).args(["rev-parse", "--verify", "--quiet", &format!("{FETCHED}^{{commit}}")]).ok()?;
        let commit = Oid::parse(&commit, "rev-parse")?;
        self.read_files(&bare, commit, wanted, limits)
    }

    fn read_files(&self, bare: &Path, commit: Oid, wanted: Wanted<'_>, limits: &Limits) -> Result<Collection> {
        let out = self.on(bare).args(["ls-tree", "-r", "-z", "-l", "--full-tree", commit.as_str()]).ok()?;
        let (mut chosen, mut left_out, mut total) = (Vec::new(), Vec::new(), 0);
        let files = objects::listed(&out)?;
        let which = wanted(&files.iter().map(|file| file.path.as_path()).collect::<Vec<_>>());
        for file in files.into_iter().zip(which).filter_map(|(file, wanted)| wanted.then_some(file)) {
            let why = if !file.plain {
                Some("a link or a submodule, which is not followed")
            } else if names::check_path(&file.path).is_err() {
                Some("its path is not a path of files")
            } else if file.size > limits.file_bytes {
                Some("too large")
            } else if chosen.len() >= limits.files || total + file.size > limits.total_bytes.min(TOTAL_BYTES_MAX) {
                Some("the collection is too large: what comes later is left out")
            } else {
                None
            };
            match why {
                Some(why) => left_out.push((file.path, why)),
                None => {
                    total += file.size;
                    chosen.push(file);
                }
            }
        }
        let texts = objects::read_blobs(self.on(bare), chosen.iter().map(|file| (&file.oid, file.size)))?;
        let missing = || Error::Unexpected { what: "cat-file".to_owned() };
        let texts = texts.into_iter().map(|text| text.ok_or_else(missing)).collect::<Result<Vec<_>>>()?;
        let files = chosen.into_iter().map(|file| file.path).zip(texts).collect();
        Ok(Collection { commit, files, left_out })
    }

    /// A call in a bare repository of our making.
    fn on(&self, bare: &Path) -> Call {
        let mut call = self.call(["--no-pager"]);
        for setting in ["core.hooksPath=/dev/null", "core.fsmonitor=false", "gc.auto=0", "maintenance.auto=false"] {
            call = call.arg("-c").arg(setting);
        }
        // An empty GIT_ASKPASS is one that is not there, and keeps git from asking by the one for ssh.
        call.env("GIT_DIR", bare)
            .env("GIT_ALLOW_PROTOCOL", PROTOCOLS)
            .env("GIT_ASKPASS", "")
            .env("SSH_ASKPASS_REQUIRE", "never")
            .cwd(bare)
            .preamble()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_addresses_that_lead_to_a_repository_and_nowhere_else() {
        let good = [
            "https://example.org/a/b.git",
            "ssh://git@example.org:22/a",
            "git@example.org:a/b",
            "host:path",
            "file:///srv/x",
            "/srv/x",
            "HTTPS://example.org/a",
        ];
        for text in good {
            assert!(Source::parse(text).is_ok(), "{text}");
        }
        let bad = [
            "",
            "-",
            "--upload-pack=touch x",
            "ext::sh -c touch% x",
            "fd::7",
            "git://example.org/x",
            "http://example.org/x",
            "ftp://example.org/x",
            "ssh://-oProxyCommand=x/y",
            "ssh://user@-oProxyCommand=x/y",
            "-oProxyCommand=x:y",
            "a@-oProxyCommand=x:y",
            "relative/path",
            "https://",
            "https://a\nb",
            "/srv/x\0",
        ];
        for text in bad {
            assert!(Source::parse(text).is_err(), "{text:?}");
        }
    }

    #[test]
    fn an_address_is_shown_without_its_secrets() {
        let shown = |text| Source::parse(text).unwrap().shown();
        assert_eq!(shown("https://me:s3cret@example.org/a?token=x#y"), "https://example.org/a");
        assert_eq!(shown("https://t0ken@example.org"), "https://example.org");
        assert_eq!(shown("ssh://git:pw@example.org/a"), "ssh://git@example.org/a");
        assert_eq!(shown("git@example.org:a/b"), "git@example.org:a/b");
        let refused = Source::parse("http://me:s3cret@example.org/a").unwrap_err().to_string();
        assert!(!refused.contains("s3cret"), "{refused}");
    }
}
