//! A supervisor dies in the middle of a run, and another one goes on.

mod common;

use std::collections::BTreeMap;

use agentops_core::id::RunId;
use agentops_core::run::Event;
use agentops_telemetry::{Observer, When};
use common::receiver::{LONG, Loopback, fine};
use common::{QUICK, START_MS, exporter, recorded, settings};
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::metrics::v1::metric::Data;
use opentelemetry_proto::tonic::trace::v1::Span;
use prost::Message;

fn run_id() -> RunId {
    RunId::from_bits(7)
}

/// What a supervisor sends that reads these events from the ledger and sees those happen, and how many calls it counted.
fn observe(read: &[(u64, Event)], happen: &[(u64, Event)]) -> (Vec<Span>, u64) {
    let receiver = Loopback::start(|_| fine());
    let url = format!("http://{}", receiver.address);
    let (exporter, _) = exporter(settings(&[("OTEL_EXPORTER_OTLP_ENDPOINT", &url)]), QUICK);
    let mut observer = Observer::new(exporter, recorded::redactor());
    for (events, when) in [(read, When::Replayed), (happen, When::Live)] {
        for (at_ms, event) in events {
            observer.saw(&run_id(), event, *at_ms, when);
        }
    }
    let report = observer.close(LONG);
    assert_eq!(report.recorded, report.sent);
    let (mut spans, mut counted) = (Vec::new(), 0);
    for request in receiver.rest() {
        if request.path == "/v1/traces" {
            let request = ExportTraceServiceRequest::decode(request.body.as_slice()).expect("a trace request");
            spans.extend(request.resource_spans.into_iter().flat_map(|all| all.scope_spans).flat_map(|scope| scope.spans));
        } else {
            let request = ExportMetricsServiceRequest::decode(request.body.as_slice()).expect("a metrics request");
            let metrics = request.resource_metrics.into_iter().flat_map(|all| all.scope_metrics);
            let shares =
                metrics.flat_map(|scope| scope.metrics).find(|m| m.name == agentops_telemetry::names::CONTEXT_RATIO);
            if let Some(Data::Histogram(histogram)) = shares.and_then(|metric| metric.data) {
                counted += histogram.data_points.iter().map(|point| point.count).sum::<u64>();
            }
        }
    }
    (spans, counted)
}

fn by_id(spans: Vec<Span>) -> BTreeMap<Vec<u8>, Span> {
    spans.into_iter().map(|span| (span.span_id.clone(), span)).collect()
}

#[test]
fn whoever_goes_on_goes_on_in_the_same_trace() {
    let events = recorded::run(START_MS);
    let (whole, all_calls) = observe(&[], &events);
    let whole = by_id(whole);
    for at in [1, events.len() / 3, events.len() / 2, events.len() - 1] {
        let (read, happen) = events.split_at(at);
        let (first, before) = observe(&[], read);
        let (second, after) = observe(read, happen);
        // Whatever the first one still sent, all is there, nothing is there twice in two forms, and the run is there once.
        assert_eq!(by_id(second.clone()), whole, "cut at {at}");
        assert_eq!(by_id(first.into_iter().chain(second).collect()), whole, "cut at {at}");
        assert_eq!(before + after, all_calls, "cut at {at}: every call is counted once");
    }
}

#[test]
fn a_run_whose_beginning_was_not_seen_is_not_followed() {
    let events = recorded::run(START_MS);
    assert_eq!(observe(&[], &events[1..]).0, []);
}
