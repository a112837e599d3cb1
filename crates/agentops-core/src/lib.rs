//! The decisions of AgentOps, and nothing else.
//!
//! Ids, the workflow, the state machine of a run, the arithmetic of the ceiling and the laws. Everything here is a
//! function of its arguments: no disk, no clock, no network, no async, no randomness. That is what lets the simulator
//! drive the real machine through thousands of crashes a second.

pub mod agent;
pub mod budget;
pub mod call;
pub mod ceiling;
pub mod id;
pub mod laws;
pub mod models;
pub mod run;
pub mod usage;
pub mod workflow;
