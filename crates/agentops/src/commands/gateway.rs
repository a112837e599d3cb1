//! `agentops gateway` and `agentops with`: the gateway without a supervisor.

mod alone;
mod report;
mod serve;
mod sign;
mod tally;
mod with;

pub use report::WithReport;
pub use serve::{Line, serve};
pub use with::with;
