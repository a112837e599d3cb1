//! The supervisor: appends events to the ledger and performs the actions that the state machine asks for.
//!
//! It decides nothing. What happens next is in `agentops-core`; this crate gives the machine its world: the ledger, blobs,
//! git, agent programs, gates, and the socket over which every command is its client.

pub mod blobs;
pub mod catalogues;
pub mod chosen;
pub mod client;
pub mod conditions;
pub mod conductor;
pub mod crash;
pub mod environment;
pub mod feedback;
pub mod file_size;
pub mod files;
pub mod hint;
pub mod identity;
pub mod ledger;
pub mod leftovers;
pub mod omitted;
pub mod open_programs;
pub mod paths;
pub mod perform;
pub mod plan;
pub mod ports;
pub mod reserve;
pub mod routing;
pub mod slots;
pub mod space;
pub mod steering;
pub mod supervisor;
pub mod telemetry;
pub mod trust;
pub mod view;
pub mod wire;
pub mod withheld;
pub mod world;

#[cfg(test)]
#[path = "../tests/simulator/fixture.rs"]
mod fixture;
