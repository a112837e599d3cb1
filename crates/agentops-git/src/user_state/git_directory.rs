//! What stands in the place of a checkout's git directory and of its configuration: an agent can put a link there, and git
//! works on as if nothing had happened.

use std::fs;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::compare::{Difference, quote};
use super::files::as_text;
use crate::names;
use crate::plain_file;
use crate::repo::Repo;
use crate::repository_id::DirectoryId;

/// More than a file in the place of `.git` has.
const GIT_FILE_BYTES_MAX: u64 = 8 * 1024;

/// How a checkout leads to its git directory.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct GitDirectoryState {
    /// `a link` or `a file`, and where it leads; none where `.git` is a folder.
    leads_to: Option<(String, PathBuf)>,
    /// Inode of the git directory, and when it was made.
    folder: Option<(u64, Option<u64>)>,
    /// Where `config` leads, if it is a link.
    config_link: Option<PathBuf>,
}

impl GitDirectoryState {
    /// As it is now; none for a linked worktree, which has a file in any case.
    pub(super) fn of(repo: &Repo) -> Option<Self> {
        if repo.git_dir() != repo.common_dir() {
            return None;
        }
        let place = repo.work_tree().join(".git");
        let meta = fs::symlink_metadata(&place).ok()?;
        let leads_to = match meta {
            meta if meta.is_dir() => None,
            meta if meta.is_symlink() => Some(("a link", fs::read_link(&place).ok()?)),
            _ => Some(("a file", git_file(&place).unwrap_or_default())),
        };
        let leads_to = leads_to.map(|(kind, to)| (kind.to_owned(), as_text(&repo.work_tree().join(to))));
        let folder = leads_to.as_ref().map_or(place.as_path(), |(_, to)| to);
        let folder = DirectoryId::of(folder).map(|id| (id.inode, id.born_ns));
        let config_link = fs::read_link(repo.common_dir().join("config")).ok().map(|to| as_text(&to));
        Some(Self { leads_to, folder, config_link })
    }

    fn is_same_folder(&self, other: &Self) -> bool {
        let id = |(inode, born_ns)| DirectoryId { inode, born_ns };
        self.folder.zip(other.folder).is_some_and(|(one, other)| id(one).is_same(&id(other)))
    }

    pub(super) fn differences(&self, now: &Self, repo: &Repo) -> Vec<Difference> {
        let mut all = Vec::new();
        if self.leads_to != now.leads_to {
            all.push(self.replaced(now, repo));
        }
        if self.config_link != now.config_link {
            let config = quote(&repo.common_dir().join("config").to_string_lossy());
            all.push(match (&self.config_link, &now.config_link) {
                // Git reads the same through it, so the content comes with it; settings that changed are named by themselves.
                (None, Some(to)) => Difference::new(
                    format!("file config replaced by a link to {}", to.display()),
                    format!("cp {config} {config}.new && mv -f {config}.new {config}"),
                ),
                (Some(was), _) => {
                    Difference::without_command(format!("file config no longer is a link to {}", was.display()))
                }
                (None, None) => return all,
            });
        }
        all
    }

    fn replaced(&self, now: &Self, repo: &Repo) -> Difference {
        let place = repo.work_tree().join(".git");
        match (&self.leads_to, &now.leads_to) {
            (None, Some((kind, to))) => {
                let what =
                    format!("the git directory {} replaced by {kind} that leads to {}", place.display(), to.display());
                let (place, to) = (place.to_string_lossy(), to.to_string_lossy());
                if self.is_same_folder(now) && !format!("{place}{to}").contains(char::REPLACEMENT_CHARACTER) {
                    let (place, to) = (quote(&place), quote(&to));
                    return Difference::new(what, format!("rm {place} && mv {to} {place}"));
                }
                Difference::without_command(format!(
                    "{what}, which is not the folder that was there: look for that one before you put anything back"
                ))
            }
            (Some((kind, was)), _) => Difference::without_command(format!(
                "{} no longer is {kind} that leads to {}",
                place.display(),
                was.display()
            )),
            (None, None) => Difference::without_command(format!("the git directory {} changed", place.display())),
        }
    }
}

/// Where a file in the place of `.git` leads.
fn git_file(place: &Path) -> Option<PathBuf> {
    let bytes = plain_file::read(place, GIT_FILE_BYTES_MAX).ok()?;
    Some(names::path(bytes.strip_prefix(b"gitdir:")?.trim_ascii()))
}

impl super::UserState {
    /// What stands in the place of the git directory since this record was made, where nothing else can be compared.
    #[must_use]
    pub fn git_directory_replaced(&self, repo: &Repo) -> Option<Difference> {
        let (before, now) = (self.git_directory.as_ref()?, GitDirectoryState::of(repo)?);
        (before.leads_to != now.leads_to).then(|| before.replaced(&now, repo))
    }
}
