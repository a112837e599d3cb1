//! What stands between untrusted or secret text and the places it could reach.
//!
//! Four things: values that cannot be printed by accident ([`Secret`]), text without its secrets ([`Redactor`], and addresses
//! without their values: [`hide_address_values`]), text
//! that cannot steer a terminal ([`inert`]), and names that are data and never an option, a shell word or a way out of
//! the repository ([`BranchName`], [`RepoPath`]).
//!
//! Everything is a function of its arguments: no disk, no clock, no environment. The caller passes the variables in.

mod addresses;
pub mod names;
pub mod redact;
pub mod secret;
pub mod terminal;
mod withheld;

pub use addresses::hide_address_values;
pub use names::{BranchName, InvalidName, RepoPath};
pub use redact::{RedactStream, Redactor, written_forms};
pub use secret::Secret;
pub use terminal::{inert, inert_json, inert_line, visible, visible_line};
pub use withheld::is_withheld;
