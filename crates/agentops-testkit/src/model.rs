//! A model server that follows a script instead of thinking, for tests with the real agent programs.
//!
//! It speaks Anthropic Messages, OpenAI Responses and Chat Completions, and Gemini on a loopback port. A [`Script`] says by
//! meaning what the model does (`write`, `shell`, `read`); the server turns that into the tools that the asking client
//! offers, so one script serves every client. It keeps no conversation state: which turn to serve is read from the request
//! alone, so sessions that run side by side do not disturb each other, and a restarted session begins anew.
//!
//! It must never listen anywhere but on loopback, and never store what a header says: keys travel there.

mod answer;
mod chat;
mod gemini;
mod messages;
mod pick;
mod protocol;
mod received;
mod record;
mod request;
mod responses;
mod script;
mod serve;
mod server;
mod tools;

pub use protocol::Protocol;
pub(crate) use received::Tunnel;
pub use received::{Place, Sighting, Watch};
pub use record::{Record, Served};
pub use script::{
    Conversation, Growth, HttpError, Lie, Other, Reaction, Redirect, Script, ScriptError, ToolCall, Turn, TurnUsage,
    UsageNumbers,
};
pub use server::{ModelServer, Options, StartError};
