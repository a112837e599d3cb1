//! Sends a recorded run to an OTLP/HTTP receiver, for looking at it there:
//! `cargo run -p agentops-telemetry --example export -- http://127.0.0.1:6006 [unix milliseconds of its start]`.
//!
//! The same start gives the same run with the same ids. Prints the trace id and what became of the spans.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use agentops_telemetry::{Configured, Exporter, Settings, Timing, When};

#[path = "../tests/common/recorded.rs"]
mod recorded;

#[expect(clippy::disallowed_methods, reason = "an example has no Clock, and receivers show what is recent")]
fn now_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

#[expect(clippy::print_stdout, clippy::print_stderr, reason = "this is a program for a person or a script")]
fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let endpoint = arguments.next().ok_or("usage: export ENDPOINT [START_MS]")?;
    let start_ms = arguments.next().map_or_else(|| Ok(now_ms() - 120_000), |text| text.parse())?;
    let configured = Configured {
        endpoint: Some(&endpoint),
        project: Some("agentops"),
        version: env!("CARGO_PKG_VERSION"),
        instance: "example",
    };
    let settings = Settings::resolve(|name| std::env::var(name).ok(), configured)?.ok_or("OTEL_SDK_DISABLED is set")?;
    let exporter = Exporter::start(settings, Timing::default(), now_ms, |trouble| eprintln!("{trouble}"))?;
    let spans = recorded::spans(&recorded::run(start_ms), None);
    let trace: String = spans[0].trace.0.iter().map(|byte| format!("{byte:02x}")).collect();
    exporter.record(spans, When::Live);
    let report = exporter.close(Duration::from_secs(30));
    println!("{trace} {} {}", report.recorded, report.sent);
    if report.sent == report.recorded { Ok(()) } else { Err("not everything arrived".into()) }
}
