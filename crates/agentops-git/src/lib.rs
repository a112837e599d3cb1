//! The only crate that starts git: lanes, checkpoints, merges, refs and records.
//!
//! # How a hostile repository is kept from starting programs
//!
//! Git starts programs that a repository names: hooks, filters, file-system monitors, diff, merge and signing programs.
//! Switching them off one by one leaves the next one that git invents. So there are three kinds of calls:
//!
//! - **plain** (`plain.rs`): everything that looks at contents (trees, files of a work tree, diffs, merges, commits) runs in
//!   a git directory of our own that borrows only the objects and the `info` folder. The repository's configuration is
//!   not read at all, so an attribute such as `filter=x` or `merge=x` names a driver that nobody defined.
//! - **bare-handed** ([`lanes`]): lanes are made and removed by writing the few documented files, not by git.
//! - **guarded** (`repo.rs`): discovery, revisions and refs need the real git directory. Those commands read no attributes;
//!   hooks are off, protocols are forbidden and the directory is always named, never discovered.
//!
//! What is fetched from elsewhere ([`Git::collection`]) goes into a bare repository of our own and is read from its objects.
//!
//! One operation is none of these on purpose: [`Repo::merge_into_checkout`] is the user's own merge.
//!
//! Blocking, std threads only. Paths in a tree are bytes for git and [`std::path::PathBuf`] here.

mod address;
mod agent_commits;
mod agent_refs;
mod baseline;
mod begun_merge;
mod boundary;
mod checkout_fault;
mod checkpoint;
mod collection;
mod diff;
mod disk;
mod error;
mod example;
mod lane_emptied;
mod lane_records;
mod lane_refs;
mod lane_repository;
mod lane_restore;
mod lane_settings;
pub mod lanes;
mod linked_lane;
mod local_changes;
mod lock;
mod lock_files;
mod lock_holders;
mod lock_wait;
mod merge;
mod merge_lock;
mod merge_trace;
mod missing;
mod names;
mod objects;
mod oid;
mod parent_death;
mod pipes;
mod plain;
pub mod plain_file;
mod process_tree;
mod random;
mod records;
mod refs;
mod remove;
mod repo;
mod repository_id;
mod reset;
mod run;
mod shell;
pub mod temporary;
mod tidy;
mod unfinished;
mod user_merge;
mod user_state;
mod writable;

pub use agent_commits::SalvagedCommit;
pub use begun_merge::{BegunMerge, TakenBack};
pub use boundary::on_boundary;
pub use checkout_fault::CheckoutFault;
pub use checkpoint::{Checkpoint, Omitted, SizeLimits, Why};
pub use collection::{Collection, Limits, Source, Wanted};
pub use diff::{DiffStat, FileChange, PathPatch, Status};
pub use disk::{FreeSpace, is_on_full_disk};
pub use error::{Error, Result};
pub use example::begin;
pub use lanes::Lane;
pub use lock_holders::{LockHolder, lock_holders};
pub use lock_wait::LockWaiter;
pub use merge::MergeResult;
pub use merge_lock::MergeLock;
pub use missing::{Need, Promisor};
pub use objects::{Author, TreeEntry};
pub use oid::{Hash, Oid};
pub use plain::sweep_temporary_folders;
pub use records::{RECORDS, RecordFile, Records};
pub use refs::Expect;
pub use remove::remove_all;
pub use repo::{Head, Identity, Repo, WorkStatus};
pub use repository_id::{DirectoryId, IdentityLock, claimed_id, is_id};
pub use run::{Git, Version, points_git_elsewhere};
pub use shell::{removal, shell_word};
pub use unfinished::is_unfinished;
pub use user_merge::{MergeRefusal, TestedMerge, UserMerge};
pub use user_state::{Difference, ProgramParts, ProgramState, UserState};
pub use writable::{Unwritable, UnwritableFolder, unwritable};
