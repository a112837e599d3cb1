//! How agent programs are run: drivers, the keeper, the scripted agent.
//!
//! Events in, events out. This crate knows no workflow, no phase and no gate; it never decides what happens next.

pub mod acp;
pub mod ancestry;
pub mod attached;
pub mod claude;
pub mod codex;
pub mod command;
pub mod driver;
pub mod environment;
mod failure;
pub mod gemini;
mod jsonrpc;
pub mod keeper;
pub mod opencode;
pub mod process;
pub mod registry;
mod rights;
pub mod scripted;
mod settings;
pub mod strays;
mod text;
pub mod wait;
