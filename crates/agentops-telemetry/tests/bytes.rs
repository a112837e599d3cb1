//! The bytes that leave, read with the official message types and held against the conventions.

mod common;

use std::collections::{BTreeMap, BTreeSet};

use agentops_core::ceiling::CEILING_PERMILLE;
use agentops_core::run::SessionEnd;
use agentops_telemetry::{Report, When, names};
use common::receiver::{LONG, Loopback, fine};
use common::{NOW_MS, QUICK, START_MS, exporter, recorded, settings};
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue};
use opentelemetry_proto::tonic::metrics::v1::metric::Data;
use opentelemetry_proto::tonic::metrics::v1::{AggregationTemporality, Metric, number_data_point};
use opentelemetry_proto::tonic::resource::v1::Resource;
use opentelemetry_proto::tonic::trace::v1::Span;
use opentelemetry_proto::tonic::trace::v1::span::SpanKind;
use opentelemetry_proto::tonic::trace::v1::status::StatusCode;
use prost::Message;

/// What one export sent.
struct Sent {
    traces: Vec<u8>,
    metrics: Vec<u8>,
}

impl Sent {
    fn spans(&self) -> (Resource, Vec<Span>) {
        let mut request = ExportTraceServiceRequest::decode(self.traces.as_slice()).expect("a trace request");
        let mut all = request.resource_spans.pop().expect("one resource");
        let scope = all.scope_spans.pop().expect("one scope");
        assert!(request.resource_spans.is_empty() && all.scope_spans.is_empty());
        assert_eq!(scope.scope.expect("a scope").name, names::SCOPE);
        (all.resource.expect("a resource"), scope.spans)
    }

    fn metrics(&self) -> Vec<Metric> {
        let mut request = ExportMetricsServiceRequest::decode(self.metrics.as_slice()).expect("a metrics request");
        let mut all = request.resource_metrics.pop().expect("one resource");
        all.scope_metrics.pop().expect("one scope").metrics
    }
}

/// Exports a whole recorded run.
fn export(task: Option<&str>) -> Sent {
    let receiver = Loopback::start(|_| fine());
    let url = format!("http://{}", receiver.address);
    let variables =
        [("OTEL_EXPORTER_OTLP_ENDPOINT", url.as_str()), ("OTEL_EXPORTER_OTLP_HEADERS", "x-key=of%20the%20receiver")];
    let (exporter, heard) = exporter(settings(&variables), QUICK);
    let spans = recorded::spans(&recorded::run(START_MS), task);
    let count = spans.len() as u64;
    exporter.record(spans, When::Live);
    assert_eq!(exporter.close(LONG), Report { recorded: count, sent: count });
    assert_eq!(heard.all(), []);
    let (traces, metrics) = (receiver.next(), receiver.next());
    for (request, path) in [(&traces, "/v1/traces"), (&metrics, "/v1/metrics")] {
        assert_eq!(request.path, path);
        assert_eq!(request.headers["content-type"], "application/x-protobuf");
        assert_eq!(request.headers["x-key"], "of the receiver");
    }
    assert_eq!(receiver.rest().len(), 0);
    Sent { traces: traces.body, metrics: metrics.body }
}

fn get<'a>(attributes: &'a [KeyValue], name: &str) -> Option<&'a Value> {
    let found = attributes.iter().find(|pair| pair.key == name);
    found.map(|pair| pair.value.as_ref().and_then(|any| any.value.as_ref()).expect("an attribute has a value"))
}

fn text<'a>(attributes: &'a [KeyValue], name: &str) -> Option<&'a str> {
    get(attributes, name).map(|value| match value {
        Value::StringValue(text) => text.as_str(),
        other => panic!("{name} is no text: {other:?}"),
    })
}

fn int(span: &Span, name: &str) -> Option<u64> {
    get(&span.attributes, name).map(|value| match value {
        Value::IntValue(number) => u64::try_from(*number).expect("not negative"),
        other => panic!("{name} is no whole number: {other:?}"),
    })
}

/// The names of the conventions: those of one kind.
fn conventions(kind: &str) -> BTreeSet<&'static str> {
    let list = include_str!("data/conventions.txt").lines();
    let words = list.filter(|line| !line.starts_with('#')).map(|line| line.split(' ').collect::<Vec<_>>());
    words.filter(|words| words[0] == kind).map(|words| words[1]).collect()
}

#[test]
fn names_are_those_of_the_conventions_or_our_own() {
    let (attributes, metrics) = (conventions("attribute"), conventions("metric"));
    for name in names::CONVENTION_ATTRIBUTES.iter().chain(names::RESOURCE_ATTRIBUTES) {
        assert!(attributes.contains(name), "{name} is not an attribute of the conventions");
    }
    for name in names::CONVENTION_METRICS {
        assert!(metrics.contains(name), "{name} is not a metric of the conventions");
    }
    for name in names::OWN_ATTRIBUTES.iter().chain(names::OWN_METRICS) {
        assert!(name.starts_with("agentops."), "{name} is in a namespace that is not ours");
    }

    let sent = export(None);
    let (resource, spans) = sent.spans();
    let keys = |attributes: &[KeyValue]| attributes.iter().map(|pair| pair.key.clone()).collect::<BTreeSet<_>>();
    let known = |list: &[&[&str]]| list.concat().into_iter().map(str::to_owned).collect::<BTreeSet<_>>();
    assert_eq!(keys(&resource.attributes), known(&[names::RESOURCE_ATTRIBUTES]));
    // Every name that can be sent is sent by this run, but for the two that are not wanted here.
    let sent_keys: BTreeSet<String> = spans.iter().flat_map(|span| keys(&span.attributes)).collect();
    let mut expected = known(&[names::CONVENTION_ATTRIBUTES, names::OWN_ATTRIBUTES]);
    assert!(expected.remove(names::TASK) && expected.remove(names::MODALITY));
    assert_eq!(sent_keys, expected);
    for span in &spans {
        assert_eq!(keys(&span.attributes).len(), span.attributes.len(), "{}: an attribute stands twice", span.name);
    }
    let sent_metrics: BTreeSet<String> = sent.metrics().into_iter().map(|metric| metric.name).collect();
    assert_eq!(sent_metrics, known(&[names::CONVENTION_METRICS, names::OWN_METRICS]));
}

#[test]
fn a_run_is_a_tree_of_phases_sessions_and_calls() {
    let (_, spans) = export(None).spans();
    let by_id: BTreeMap<&[u8], &Span> = spans.iter().map(|span| (span.span_id.as_slice(), span)).collect();
    assert_eq!(by_id.len(), spans.len(), "ids are not shared");
    let roots: Vec<&Span> = spans.iter().filter(|span| span.parent_span_id.is_empty()).collect();
    assert_eq!(roots.iter().map(|span| span.name.as_str()).collect::<Vec<_>>(), ["invoke_workflow full"]);

    for span in &spans {
        assert_eq!((span.trace_id.len(), span.span_id.len()), (16, 8));
        assert_eq!(span.trace_id, roots[0].trace_id);
        assert!(span.start_time_unix_nano <= span.end_time_unix_nano, "{}", span.name);
        let operation = text(&span.attributes, names::OPERATION);
        let kind = if operation == Some("chat") { SpanKind::Client } else { SpanKind::Internal };
        assert_eq!(span.kind, kind as i32, "{}", span.name);
        let failed = text(&span.attributes, names::ERROR).is_some();
        assert_eq!(
            span.status.as_ref().is_some_and(|status| status.code == StatusCode::Error as i32),
            failed,
            "{}",
            span.name
        );
        if span.parent_span_id.is_empty() {
            continue;
        }
        let parent = by_id[span.parent_span_id.as_slice()];
        let expected = match operation {
            Some("chat") => "invoke_agent ",
            Some("invoke_agent") => "phase ",
            _ => "invoke_workflow ",
        };
        assert!(parent.name.starts_with(expected), "{} is within {}", span.name, parent.name);
        assert!(parent.start_time_unix_nano <= span.start_time_unix_nano, "{} begins before {}", span.name, parent.name);
        assert!(span.end_time_unix_nano <= parent.end_time_unix_nano, "{} outlives {}", span.name, parent.name);
        for name in [names::PHASE, names::SESSION] {
            let above = text(&parent.attributes, name);
            assert!(above.is_none() || above == text(&span.attributes, name), "{}: {name}", span.name);
        }
    }
    let sessions: Vec<_> = spans.iter().filter_map(|span| text(&span.attributes, names::SESSION_END)).collect();
    assert_eq!(sessions.len(), 6);
    assert!(sessions.contains(&"interrupted") && sessions.contains(&"handed-over"));
}

#[test]
fn tokens_of_calls_are_those_of_the_provider() {
    let (_, spans) = export(None).spans();
    let of = |session: &str, call: u64| {
        let is =
            |span: &&Span| text(&span.attributes, names::SESSION) == Some(session) && int(span, names::CALL) == Some(call);
        spans.iter().find(is).unwrap_or_else(|| panic!("no call {call} of {session}"))
    };
    let call = of("research/code/1", 1);
    let row = recorded::row(0, 1);
    let usage = row.usage.expect("it has one");
    assert_eq!(int(call, names::INPUT_TOKENS), Some(usage.input + usage.cache_read + usage.cache_write));
    assert_eq!(int(call, names::CACHE_READ), Some(usage.cache_read));
    assert_eq!(int(call, names::CACHE_WRITE), Some(usage.cache_write));
    assert_eq!(int(call, names::CACHE_CREATION), Some(usage.cache_write), "under its former name as well");
    assert_eq!(int(call, names::OUTPUT_TOKENS), Some(usage.output));
    assert_eq!(int(call, names::CONTEXT), Some(usage.context()));
    assert_eq!(int(call, names::CEILING), Some(recorded::WINDOW * CEILING_PERMILLE / 1000));
    let ratio = usage.context() as f64 / recorded::WINDOW as f64;
    assert_eq!(get(&call.attributes, names::USED_RATIO), Some(&Value::DoubleValue(ratio)));
    assert_eq!(call.end_time_unix_nano - call.start_time_unix_nano, row.duration_ms * 1_000_000);
    let finish = get(&call.attributes, names::FINISH_REASONS);
    assert!(
        matches!(finish, Some(Value::ArrayValue(reasons)) if reasons.values == [AnyValue { value: Some(Value::StringValue("end_turn".into())) }])
    );

    // What is not known is not there, least of all as zero.
    let busy = of("implement/one/1", 1);
    assert_eq!(text(&busy.attributes, names::ERROR), Some("http-429"));
    for name in [names::INPUT_TOKENS, names::OUTPUT_TOKENS, names::CACHE_WRITE, names::RESPONSE_ID, names::STREAM] {
        assert_eq!(get(&busy.attributes, name), None, "{name}");
    }
    assert_eq!(text(&busy.attributes, names::COST_SOURCE), Some("upper-bound"));
    assert_eq!(get(&of("implement/one/1", 2).attributes, names::COST), None, "its price is not known");

    // Behind the gateway the driver's report of the same call is no second call; without one it is the call.
    let calls = |session: &str| {
        spans
            .iter()
            .filter(|s| s.kind == SpanKind::Client as i32 && text(&s.attributes, names::SESSION) == Some(session))
            .count()
    };
    assert_eq!((calls("implement/one/1"), calls("implement/two/1")), (3, 1));
    assert_eq!(text(&of("implement/two/1", 1).attributes, names::MEASURED_BY), Some("driver"));
}

#[test]
fn the_same_ledger_gives_the_same_bytes() {
    assert_eq!(export(None).traces, export(None).traces);
    // Another run of the same id, in another ledger, is another trace.
    let traces = |start| recorded::spans(&recorded::run(start), None)[0].trace;
    assert_ne!(traces(START_MS), traces(START_MS + 1));
}

#[test]
fn nothing_of_a_task_a_prompt_or_a_path_is_sent() {
    let sent = export(None);
    for bytes in [&sent.traces, &sent.metrics] {
        let text = String::from_utf8_lossy(bytes);
        assert!(!text.contains("planted"), "{text}");
    }
    assert!(
        String::from_utf8_lossy(&sent.traces).contains("msg_[redacted:API_KEY]"),
        "the id that holds the secret is sent"
    );

    let wanted = export(Some(&format!("fix the login with {}", recorded::SECRET)));
    let (_, spans) = wanted.spans();
    let tasks: Vec<_> = spans.iter().filter_map(|span| text(&span.attributes, names::TASK)).collect();
    assert_eq!(tasks, ["fix the login with [redacted:API_KEY]"]);
    assert!(!String::from_utf8_lossy(&wanted.traces).contains(recorded::SECRET));
}

#[test]
fn metrics_are_the_sums_of_the_spans() {
    let sent = export(None);
    let (_, spans) = sent.spans();
    let calls: Vec<&Span> = spans.iter().filter(|span| span.kind == SpanKind::Client as i32).collect();
    let total = |name: &str| calls.iter().filter_map(|span| int(span, name)).sum::<u64>();
    let mut seen = BTreeSet::new();
    for metric in sent.metrics() {
        seen.insert(metric.name.clone());
        match metric.data.expect("it has data") {
            Data::Sum(sum) => {
                assert_eq!(sum.aggregation_temporality(), AggregationTemporality::Cumulative);
                assert!(sum.is_monotonic);
                for point in &sum.data_points {
                    assert_eq!((point.start_time_unix_nano, point.time_unix_nano), (NOW_MS * 1_000_000, NOW_MS * 1_000_000));
                }
                let tokens: u64 = sum
                    .data_points
                    .iter()
                    .map(|point| match point.value {
                        Some(number_data_point::Value::AsInt(tokens)) => u64::try_from(tokens).expect("not negative"),
                        _ => 0,
                    })
                    .sum();
                let expected = match metric.name.as_str() {
                    names::USED_INPUT => total(names::INPUT_TOKENS),
                    names::USED_OUTPUT => total(names::OUTPUT_TOKENS),
                    names::USED_CACHE_READ => total(names::CACHE_READ),
                    names::USED_CACHE_WRITE => total(names::CACHE_WRITE),
                    names::USED_REASONING => total(names::REASONING_TOKENS),
                    names::SPENT => continue,
                    other => panic!("{other} is no counter"),
                };
                assert_eq!(tokens, expected, "{}", metric.name);
                assert!(tokens > 0 && metric.unit == "{token}");
                let modality = |attributes: &[KeyValue]| text(attributes, names::MODALITY) == Some("unknown");
                assert!(sum.data_points.iter().all(|point| modality(&point.attributes)));
            }
            Data::Histogram(histogram) => {
                assert_eq!(histogram.aggregation_temporality(), AggregationTemporality::Cumulative);
                for point in &histogram.data_points {
                    assert_eq!(point.bucket_counts.len(), point.explicit_bounds.len() + 1);
                    assert_eq!(point.bucket_counts.iter().sum::<u64>(), point.count);
                }
                let count: u64 = histogram.data_points.iter().map(|point| point.count).sum();
                let with = |name: &str| calls.iter().filter(|span| get(&span.attributes, name).is_some()).count();
                let sessions = spans.iter().filter(|span| span.name.starts_with("invoke_agent")).count();
                let driver =
                    calls.iter().filter(|span| text(&span.attributes, names::MEASURED_BY) == Some("driver")).count();
                let expected = match metric.name.as_str() {
                    names::CALL_DURATION => calls.len() - driver,
                    names::CALL_FIRST_CHUNK => with(names::TIME_TO_FIRST_CHUNK),
                    names::CONTEXT_RATIO => with(names::USED_RATIO),
                    names::AGENT_DURATION | names::AGENT_CALLS | names::SESSION_RATIO => sessions,
                    names::WORKFLOW_DURATION => 1,
                    other => panic!("{other} is no histogram"),
                };
                assert_eq!(count, expected as u64, "{}", metric.name);
            }
            other => panic!("{}: {other:?}", metric.name),
        }
    }
    assert_eq!(seen.len(), names::CONVENTION_METRICS.len() + names::OWN_METRICS.len());
}

#[test]
fn a_session_that_went_wrong_is_an_error_and_a_hand_over_is_none() {
    let (_, spans) = export(None).spans();
    let error = |end: SessionEnd| {
        let word = serde_json::to_value(end).expect("a word");
        let is = |span: &&Span| text(&span.attributes, names::SESSION_END) == word.as_str();
        text(&spans.iter().find(is).expect("such a session").attributes, names::ERROR)
    };
    assert_eq!(error(SessionEnd::Interrupted), Some("interrupted"));
    assert_eq!(error(SessionEnd::HandedOver), None);
    assert_eq!(error(SessionEnd::Completed), None);
}
