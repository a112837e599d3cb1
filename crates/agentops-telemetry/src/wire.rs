//! OTLP as protobuf messages: the part of it that we send, and the answers.
//!
//! Field numbers and types are those of `opentelemetry-proto` 1.x, which are stable. The official crate brings the whole SDK
//! and a random number generator along with its messages, so it is used by the tests only: they read with it what was
//! written with this.

use prost::Message as _;

use crate::names;
use crate::settings::About;
use crate::span::{Place, Span as Ended, Text, Value};

/// `SpanKind` of OTLP.
const INTERNAL: u64 = 1;
const CLIENT: u64 = 3;
/// `StatusCode` of OTLP. A span that did not fail has no status: success is not ours to claim.
const ERROR: u64 = 2;
/// Sampled, and it is known that the parent is of the same process.
const FLAGS: u32 = 0x101;

/// About as long is the span of a call.
const SPAN_BYTES: usize = 2048;

/// A request with these spans, each written by [`put_span`].
pub(crate) fn traces(about: &About, spans: &[u8]) -> Vec<u8> {
    let (resource, scope) = (resource(about).encode_to_vec(), scope(about).encode_to_vec());
    let around = 64 + resource.len() + scope.len();
    let mut out = Vec::with_capacity(around + spans.len());
    message(&mut out, 1, |resource_spans| {
        bytes(resource_spans, 1, &resource);
        message(resource_spans, 2, |scope_spans| {
            bytes(scope_spans, 1, &scope);
            scope_spans.extend_from_slice(spans);
        });
    });
    out
}

/// Appends a span to a batch. Spans are written as they end, straight to the bytes that are sent: there is one for each call of
/// a model, and building messages of the generated kind first costs several times as much. The numbers of members are written
/// out here.
pub(crate) fn put_span(batch: &mut Vec<u8>, span: &Ended) {
    // Most are shorter than this, so that room is made once.
    batch.reserve(SPAN_BYTES);
    message(batch, 2, |out| {
        bytes(out, 1, &span.trace.0);
        bytes(out, 2, &span.id.0);
        if let Some(parent) = &span.parent {
            bytes(out, 4, &parent.0);
        }
        bytes(out, 5, span.name.as_bytes());
        number(out, 6, if matches!(span.place, Place::Call(..)) { CLIENT } else { INTERNAL });
        fixed(out, 7, crate::nanos(span.start_ms).to_le_bytes());
        fixed(out, 8, crate::nanos(span.end_ms).to_le_bytes());
        for (key, value) in &span.attributes {
            message(out, 9, |pair| {
                bytes(pair, 1, key.as_bytes());
                message(pair, 2, |any| put_value(any, value));
            });
        }
        if span.failed {
            message(out, 15, |status| number(status, 3, ERROR));
        }
        key(out, 16, FOUR_BYTES);
        out.extend_from_slice(&FLAGS.to_le_bytes());
    });
}

fn put_value(any: &mut Vec<u8>, value: &Value) {
    match value {
        Value::Text(text) => bytes(any, 1, text.as_str().as_bytes()),
        Value::Bool(yes) => number(any, 2, u64::from(*yes)),
        // Negative numbers are written as their two's complement.
        Value::Int(whole) => number(any, 3, whole.cast_unsigned()),
        Value::Float(float) => fixed(any, 4, float.to_le_bytes()),
        Value::Texts(texts) => message(any, 5, |array| {
            for text in texts {
                message(array, 1, |any| bytes(any, 1, text.as_str().as_bytes()));
            }
        }),
    }
}

/// How a member is written (protobuf's wire types).
const VARINT: u64 = 0;
const EIGHT_BYTES: u64 = 1;
const LENGTH: u64 = 2;
const FOUR_BYTES: u64 = 5;

#[inline]
fn key(out: &mut Vec<u8>, member: u64, how: u64) {
    varint(out, member << 3 | how);
}

fn number(out: &mut Vec<u8>, member: u64, number: u64) {
    key(out, member, VARINT);
    varint(out, number);
}

fn fixed(out: &mut Vec<u8>, member: u64, number: [u8; 8]) {
    key(out, member, EIGHT_BYTES);
    out.extend_from_slice(&number);
}

#[inline]
fn bytes(out: &mut Vec<u8>, member: u64, bytes: &[u8]) {
    key(out, member, LENGTH);
    varint(out, bytes.len() as u64);
    out.extend_from_slice(bytes);
}

fn message(out: &mut Vec<u8>, member: u64, write: impl FnOnce(&mut Vec<u8>)) {
    key(out, member, LENGTH);
    let start = out.len();
    // Its length is known behind it. Most are short, so that one byte is enough; the others move for theirs.
    out.push(0);
    write(out);
    let length = out.len() - start - 1;
    if length < 0x80 {
        out[start] = length as u8;
        return;
    }
    let end = out.len();
    varint(out, length as u64);
    let width = out.len() - end;
    let mut prefix = [0; 10];
    prefix[..width].copy_from_slice(&out[end..]);
    out.copy_within(start + 1..end, start + width);
    out.truncate(start + width + length);
    out[start..start + width].copy_from_slice(&prefix[..width]);
}

#[inline]
fn varint(out: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        out.push(number as u8 | 0x80);
        number >>= 7;
    }
    out.push(number as u8);
}

/// Metrics as they are sent.
pub(crate) fn metrics(about: &About, metrics: Vec<Metric>) -> MetricsRequest {
    let scope_metrics = vec![ScopeMetrics { scope: Some(scope(about)), metrics }];
    MetricsRequest { resource_metrics: vec![ResourceMetrics { resource: Some(resource(about)), scope_metrics }] }
}

fn resource(about: &About) -> Resource {
    Resource { attributes: about.attributes().iter().map(|(key, text)| pair(key, &Value::from(text.as_str()))).collect() }
}

fn scope(about: &About) -> Scope {
    Scope { name: names::SCOPE.to_owned(), version: about.version.clone() }
}

pub(crate) fn pair(key: &str, value: &Value) -> KeyValue {
    let text = |text: &Text| AnyValue { value: Some(Any::Text(text.as_str().to_owned())) };
    let value = match value {
        Value::Text(one) => text(one),
        Value::Texts(texts) => AnyValue { value: Some(Any::Array(ArrayValue { values: texts.iter().map(text).collect() })) },
        Value::Int(number) => AnyValue { value: Some(Any::Int(*number)) },
        Value::Float(number) => AnyValue { value: Some(Any::Float(*number)) },
        Value::Bool(yes) => AnyValue { value: Some(Any::Bool(*yes)) },
    };
    KeyValue { key: key.to_owned(), value: Some(value) }
}

#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct Resource {
    #[prost(message, repeated, tag = "1")]
    pub attributes: Vec<KeyValue>,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct Scope {
    #[prost(string, tag = "1")]
    pub name: String,
    #[prost(string, tag = "2")]
    pub version: String,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct KeyValue {
    #[prost(string, tag = "1")]
    pub key: String,
    #[prost(message, optional, tag = "2")]
    pub value: Option<AnyValue>,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct AnyValue {
    #[prost(oneof = "Any", tags = "1, 2, 3, 4, 5")]
    pub value: Option<Any>,
}

#[derive(Clone, PartialEq, prost::Oneof)]
pub(crate) enum Any {
    #[prost(string, tag = "1")]
    Text(String),
    #[prost(bool, tag = "2")]
    Bool(bool),
    #[prost(int64, tag = "3")]
    Int(i64),
    #[prost(double, tag = "4")]
    Float(f64),
    #[prost(message, tag = "5")]
    Array(ArrayValue),
}

#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct ArrayValue {
    #[prost(message, repeated, tag = "1")]
    pub values: Vec<AnyValue>,
}

/// All metrics as they stand.
#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct MetricsRequest {
    #[prost(message, repeated, tag = "1")]
    pub resource_metrics: Vec<ResourceMetrics>,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct ResourceMetrics {
    #[prost(message, optional, tag = "1")]
    pub resource: Option<Resource>,
    #[prost(message, repeated, tag = "2")]
    pub scope_metrics: Vec<ScopeMetrics>,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct ScopeMetrics {
    #[prost(message, optional, tag = "1")]
    pub scope: Option<Scope>,
    #[prost(message, repeated, tag = "2")]
    pub metrics: Vec<Metric>,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct Metric {
    #[prost(string, tag = "1")]
    pub name: String,
    #[prost(string, tag = "3")]
    pub unit: String,
    #[prost(oneof = "Data", tags = "7, 9")]
    pub data: Option<Data>,
}

#[derive(Clone, PartialEq, prost::Oneof)]
pub(crate) enum Data {
    #[prost(message, tag = "7")]
    Sum(Sum),
    #[prost(message, tag = "9")]
    Histogram(Histogram),
}

#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct Sum {
    #[prost(message, repeated, tag = "1")]
    pub data_points: Vec<NumberPoint>,
    #[prost(int32, tag = "2")]
    pub aggregation_temporality: i32,
    #[prost(bool, tag = "3")]
    pub is_monotonic: bool,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct NumberPoint {
    #[prost(message, repeated, tag = "7")]
    pub attributes: Vec<KeyValue>,
    #[prost(fixed64, tag = "2")]
    pub start_time_unix_nano: u64,
    #[prost(fixed64, tag = "3")]
    pub time_unix_nano: u64,
    #[prost(oneof = "Number", tags = "4, 6")]
    pub value: Option<Number>,
}

#[derive(Clone, Copy, PartialEq, prost::Oneof)]
pub(crate) enum Number {
    #[prost(double, tag = "4")]
    Float(f64),
    #[prost(sfixed64, tag = "6")]
    Int(i64),
}

#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct Histogram {
    #[prost(message, repeated, tag = "1")]
    pub data_points: Vec<HistogramPoint>,
    #[prost(int32, tag = "2")]
    pub aggregation_temporality: i32,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct HistogramPoint {
    #[prost(message, repeated, tag = "9")]
    pub attributes: Vec<KeyValue>,
    #[prost(fixed64, tag = "2")]
    pub start_time_unix_nano: u64,
    #[prost(fixed64, tag = "3")]
    pub time_unix_nano: u64,
    #[prost(fixed64, tag = "4")]
    pub count: u64,
    #[prost(double, optional, tag = "5")]
    pub sum: Option<f64>,
    #[prost(fixed64, repeated, tag = "6")]
    pub bucket_counts: Vec<u64>,
    #[prost(double, repeated, tag = "7")]
    pub explicit_bounds: Vec<f64>,
    #[prost(double, optional, tag = "11")]
    pub min: Option<f64>,
    #[prost(double, optional, tag = "12")]
    pub max: Option<f64>,
}

/// What a receiver answers, for spans as for metrics.
#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct Answer {
    #[prost(message, optional, tag = "1")]
    pub partial_success: Option<PartialSuccess>,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct PartialSuccess {
    /// Spans or points that it did not take.
    #[prost(int64, tag = "1")]
    pub rejected: i64,
}
