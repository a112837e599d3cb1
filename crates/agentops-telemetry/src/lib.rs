//! What runs do, as OpenTelemetry traces and metrics in the GenAI conventions.
//!
//! [`Follower`] turns a run's ledger into spans and does nothing else: no clock, no randomness, no input or output. The same
//! ledger gives the same spans with the same ids, so a supervisor that takes a run over goes on in the same trace.
//! [`Settings`] says whether and where to send, and nothing is sent unless somebody asked for it. [`Exporter`] sends, on a
//! thread of its own: a receiver that is slow or gone never slows a run, and what had to be dropped is counted. [`Observer`]
//! puts these together for a supervisor with many runs.
//!
//! Prompts, answers, paths and the task's text are not sent; see [`Follower::new`] for the one exception.

mod exporter;
mod follow;
mod metrics;
pub mod names;
mod observe;
mod post;
mod settings;
mod span;
mod wire;

pub use exporter::{Exporter, Report, StartError, Timing, Trouble, When};
pub use follow::Follower;
pub use observe::Observer;
pub use settings::{About, Configured, Settings, SettingsError, Target, VARIABLES};
pub use span::{Place, Span, SpanId, Text, TraceId, Value};

fn seconds(ms: u64) -> f64 {
    float(ms) / 1000.0
}

fn nanos(ms: u64) -> u64 {
    ms.saturating_mul(1_000_000)
}

/// Exact up to 2^53, and no figure here comes near.
fn float(number: u64) -> f64 {
    number as f64
}
