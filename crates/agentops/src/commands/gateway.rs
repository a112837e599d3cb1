//! `agentops gateway` and `agentops with`: the gateway without a supervisor.

mod alone;
mod serve;
mod tally;
mod with;

pub use serve::serve;
pub use with::with;
