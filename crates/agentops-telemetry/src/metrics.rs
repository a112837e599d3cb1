//! Metrics of what has ended, summed up since this process began.
//!
//! Cumulative: every report holds all that was counted so far, so one that is lost loses nothing, and a receiver tells a
//! restart from the time that the sums begin at. What a supervisor reads again from the ledger is not counted again.

use std::collections::BTreeMap;

use crate::names;
use crate::span::{Place, Span, Text, Value};
use crate::wire;

/// Series of one metric. What comes beyond is summed up in one series marked as overflow, as SDKs do: names of models come
/// from providers, and nobody's answers may fill our memory.
const SERIES_MAX: usize = 500;
/// `AggregationTemporality` of OTLP.
const CUMULATIVE: i32 = 2;

/// Bounds that the conventions name for calls.
const CALL_SECONDS: &[f64] = &[0.01, 0.02, 0.04, 0.08, 0.16, 0.32, 0.64, 1.28, 2.56, 5.12, 10.24, 20.48, 40.96, 81.92];
/// Sessions and runs take minutes to hours.
const WORK_SECONDS: &[f64] = &[1.0, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0, 600.0, 1800.0, 3600.0, 7200.0];
/// Calls of a session.
const CALLS: &[f64] = &[1.0, 2.0, 5.0, 10.0, 20.0, 50.0, 100.0, 200.0, 500.0];
/// The soft mark (0.28) and the ceiling (0.4) are bounds: what lies beyond each can be read off.
const RATIO: &[f64] = &[0.05, 0.1, 0.15, 0.2, 0.24, 0.28, 0.32, 0.36, 0.4, 0.5, 0.75, 1.0];

/// How a metric is counted.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Instrument {
    Tokens,
    Dollars,
    Histogram { unit: &'static str, bounds: &'static [f64] },
}

fn instrument(metric: &str) -> Instrument {
    let (unit, bounds) = match metric {
        names::CALL_DURATION | names::CALL_FIRST_CHUNK => ("s", CALL_SECONDS),
        names::AGENT_DURATION | names::WORKFLOW_DURATION => ("s", WORK_SECONDS),
        names::AGENT_CALLS => ("{call}", CALLS),
        names::CONTEXT_RATIO | names::SESSION_RATIO => ("1", RATIO),
        names::SPENT => return Instrument::Dollars,
        _ => return Instrument::Tokens,
    };
    Instrument::Histogram { unit, bounds }
}

/// Attributes of a series: texts only, sorted by name.
type Labels = Vec<(&'static str, String)>;
/// The same, as they stand in a span.
type Seen<'s> = Vec<(&'static str, &'s str)>;

#[derive(Debug, Clone, PartialEq)]
enum Series {
    Tokens(u64),
    Dollars(f64),
    Histogram { bounds: &'static [f64], buckets: Vec<u64>, sum: f64, min: f64, max: f64 },
}

impl Series {
    fn new(instrument: Instrument) -> Self {
        match instrument {
            Instrument::Tokens => Series::Tokens(0),
            Instrument::Dollars => Series::Dollars(0.0),
            Instrument::Histogram { bounds, .. } => {
                let buckets = vec![0; bounds.len() + 1];
                Series::Histogram { bounds, buckets, sum: 0.0, min: f64::INFINITY, max: f64::NEG_INFINITY }
            }
        }
    }

    fn add(&mut self, number: f64) {
        match self {
            // `as` keeps within the range; a call has far fewer tokens than a float holds exactly.
            Series::Tokens(total) => *total = total.saturating_add(number as u64),
            Series::Dollars(total) => *total += number,
            Series::Histogram { bounds, buckets, sum, min, max } => {
                // A bound belongs to the bucket below it.
                buckets[bounds.partition_point(|bound| *bound < number)] += 1;
                (*sum, *min, *max) = (*sum + number, min.min(number), max.max(number));
            }
        }
    }
}

/// All metrics of this process.
#[derive(Debug)]
pub(crate) struct Metrics {
    start_ms: u64,
    /// By metric; the series of each sorted by their labels, with their places in `sums`.
    series: BTreeMap<&'static str, Vec<(Labels, usize)>>,
    sums: Vec<Series>,
    last: LastCall,
}

/// What tells the series of calls from one another; the last, [`names::ERROR`], only those of [`names::CALL_DURATION`].
const OF_CALL: [&str; 6] =
    [names::OPERATION, names::PROVIDER, names::REQUEST_MODEL, names::RESPONSE_MODEL, names::PHASE, names::ERROR];

/// What is counted of each call: an attribute, and its metric. Tokens come last, see [`TOKENS`].
const COUNTED: [(&str, &str); 8] = [
    (names::TIME_TO_FIRST_CHUNK, names::CALL_FIRST_CHUNK),
    (names::USED_RATIO, names::CONTEXT_RATIO),
    (names::COST, names::SPENT),
    (names::INPUT_TOKENS, names::USED_INPUT),
    (names::CACHE_READ, names::USED_CACHE_READ),
    (names::CACHE_WRITE, names::USED_CACHE_WRITE),
    (names::OUTPUT_TOKENS, names::USED_OUTPUT),
    (names::REASONING_TOKENS, names::USED_REASONING),
];
/// From here on [`COUNTED`] are tokens.
const TOKENS: usize = 3;

/// Where the last call was counted. Most calls are of the same series as the one before.
#[derive(Debug, Default)]
struct LastCall {
    labels: [Option<Text>; OF_CALL.len()],
    duration: Option<usize>,
    counted: [Option<usize>; COUNTED.len()],
}

impl Metrics {
    pub(crate) fn new(start_ms: u64) -> Self {
        Self { start_ms, series: BTreeMap::new(), sums: Vec::new(), last: LastCall::default() }
    }

    /// Counts a span.
    pub(crate) fn record(&mut self, span: &Span) {
        match span.place {
            Place::Run => {
                let labels = labels(span, &[names::WORKFLOW, names::ERROR]);
                self.add(names::WORKFLOW_DURATION, &labels, span.seconds());
            }
            Place::Phase(_) => {}
            Place::Session(_) => {
                let labels = labels(span, &[names::AGENT, names::REQUEST_MODEL, names::ERROR, names::PHASE]);
                self.add(names::AGENT_DURATION, &labels, span.seconds());
                self.add_known(span, names::SESSION_CALLS, names::AGENT_CALLS, &labels);
                self.add_known(span, names::USED_RATIO, names::SESSION_RATIO, &labels);
            }
            Place::Call(..) => self.call(span),
        }
    }

    fn call(&mut self, span: &Span) {
        let own = OF_CALL.map(|name| text(span, name));
        if !self.last.labels.iter().map(Option::as_ref).eq(own) {
            self.last = LastCall { labels: own.map(Option::<&Text>::cloned), ..LastCall::default() };
        }
        let of_call = &OF_CALL[..OF_CALL.len() - 1];
        // What a driver reports says when the call ended, not how long it took.
        let is_timed = text(span, names::MEASURED_BY).is_some_and(|by| by.as_str() == "gateway");
        if is_timed {
            let at = self.last.duration.unwrap_or_else(|| self.place(names::CALL_DURATION, &labels(span, &OF_CALL)));
            self.last.duration = Some(at);
            self.sums[at].add(span.seconds());
        }
        for (index, (attribute, metric)) in COUNTED.into_iter().enumerate() {
            if index == 0 && !is_timed {
                continue;
            }
            let Some(number) = span.get(attribute).and_then(Value::number) else { continue };
            let at = self.last.counted[index].unwrap_or_else(|| {
                let mut labels = labels(span, of_call);
                if index >= TOKENS {
                    labels.push((names::MODALITY, "unknown"));
                    labels.sort_unstable();
                }
                self.place(metric, &labels)
            });
            self.last.counted[index] = Some(at);
            self.sums[at].add(number);
        }
    }

    fn add_known(&mut self, span: &Span, attribute: &str, metric: &'static str, labels: &Seen<'_>) {
        if let Some(number) = span.get(attribute).and_then(Value::number) {
            self.add(metric, labels, number);
        }
    }

    fn add(&mut self, metric: &'static str, labels: &[(&'static str, &str)], number: f64) {
        let at = self.place(metric, labels);
        self.sums[at].add(number);
    }

    /// Where a series is summed up; a new one begins.
    fn place(&mut self, metric: &'static str, labels: &[(&'static str, &str)]) -> usize {
        let all = self.series.entry(metric).or_default();
        let find = |all: &[(Labels, usize)], labels: &[(&'static str, &str)]| {
            all.binary_search_by(|(known, _)| {
                known.iter().map(|(name, text)| (*name, text.as_str())).cmp(labels.iter().copied())
            })
        };
        let mut labels = labels;
        let mut found = find(all, labels);
        if found.is_err() && all.len() >= SERIES_MAX {
            labels = &[(names::OVERFLOW, "true")];
            found = find(all, labels);
        }
        match found {
            Ok(at) => all[at].1,
            Err(at) => {
                let labels = labels.iter().map(|(name, text)| (*name, (*text).to_owned())).collect();
                all.insert(at, (labels, self.sums.len()));
                self.sums.push(Series::new(instrument(metric)));
                self.sums.len() - 1
            }
        }
    }

    /// Everything counted so far, as it is sent; `None`: nothing was.
    pub(crate) fn report(&self, now_ms: u64) -> Option<Vec<wire::Metric>> {
        let metrics = self.series.iter().map(|(name, all)| self.metric(name, all, crate::nanos(now_ms)));
        Some(metrics.collect::<Vec<_>>()).filter(|metrics| !metrics.is_empty())
    }

    fn metric(&self, name: &str, all: &[(Labels, usize)], time_unix_nano: u64) -> wire::Metric {
        let start_time_unix_nano = crate::nanos(self.start_ms);
        let (mut numbers, mut histograms) = (Vec::new(), Vec::new());
        for (labels, at) in all {
            let attributes = labels.iter().map(|(key, text)| wire::pair(key, &Value::from(text.as_str()))).collect();
            let number = |value| wire::NumberPoint {
                attributes: Vec::clone(&attributes),
                start_time_unix_nano,
                time_unix_nano,
                value: Some(value),
            };
            match &self.sums[*at] {
                Series::Tokens(total) => {
                    numbers.push(number(wire::Number::Int(i64::try_from(*total).unwrap_or(i64::MAX))));
                }
                Series::Dollars(total) => numbers.push(number(wire::Number::Float(*total))),
                Series::Histogram { bounds, buckets, sum, min, max } => {
                    histograms.push(wire::HistogramPoint {
                        attributes,
                        start_time_unix_nano,
                        time_unix_nano,
                        count: buckets.iter().sum(),
                        sum: Some(*sum),
                        bucket_counts: buckets.clone(),
                        explicit_bounds: bounds.to_vec(),
                        min: Some(*min),
                        max: Some(*max),
                    });
                }
            }
        }
        let sum = |data_points| {
            wire::Data::Sum(wire::Sum { data_points, aggregation_temporality: CUMULATIVE, is_monotonic: true })
        };
        let (unit, data) = match instrument(name) {
            Instrument::Tokens => ("{token}", sum(numbers)),
            Instrument::Dollars => ("{USD}", sum(numbers)),
            Instrument::Histogram { unit, .. } => {
                let histogram = wire::Histogram { data_points: histograms, aggregation_temporality: CUMULATIVE };
                (unit, wire::Data::Histogram(histogram))
            }
        };
        wire::Metric { name: name.to_owned(), unit: unit.to_owned(), data: Some(data) }
    }
}

fn text<'s>(span: &'s Span, name: &str) -> Option<&'s Text> {
    match span.get(name) {
        Some(Value::Text(text)) => Some(text),
        _ => None,
    }
}

/// Those of a span's attributes that are texts, sorted by name.
fn labels<'s>(span: &'s Span, wanted: &[&'static str]) -> Seen<'s> {
    let pair = |name: &&'static str| text(span, name).map(|text| (*name, text.as_str()));
    let mut labels: Seen<'_> = wanted.iter().filter_map(pair).collect();
    labels.sort_unstable();
    labels
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counted(metrics: &Metrics, metric: &str) -> Vec<(Labels, Series)> {
        metrics.series[metric].iter().map(|(labels, at)| (labels.clone(), metrics.sums[*at].clone())).collect()
    }

    #[test]
    fn names_of_providers_cannot_fill_the_memory() {
        let mut metrics = Metrics::new(0);
        let more = 10;
        for number in 0..SERIES_MAX + more {
            metrics.add(names::USED_INPUT, &[(names::RESPONSE_MODEL, &format!("model-{number:05}"))], 1.0);
        }
        let all = counted(&metrics, names::USED_INPUT);
        assert_eq!(all.len(), SERIES_MAX + 1);
        let overflow: Labels = vec![(names::OVERFLOW, "true".into())];
        assert!(all.contains(&(overflow, Series::Tokens(more as u64))));
        // One that was known before is still counted as itself.
        metrics.add(names::USED_INPUT, &[(names::RESPONSE_MODEL, "model-00000")], 4.0);
        assert!(counted(&metrics, names::USED_INPUT).iter().any(|(_, series)| *series == Series::Tokens(5)));
    }

    #[test]
    fn a_share_at_the_ceiling_is_not_beyond_it() {
        let ceiling = crate::float(agentops_core::ceiling::CEILING_PERMILLE) / 1000.0;
        let mut metrics = Metrics::new(0);
        for ratio in [ceiling, ceiling + 0.001] {
            metrics.add(names::CONTEXT_RATIO, &[], ratio);
        }
        let beyond = RATIO.iter().position(|bound| *bound == ceiling).expect("the ceiling is a bound") + 1;
        let [(_, Series::Histogram { buckets, .. })] = &counted(&metrics, names::CONTEXT_RATIO)[..] else {
            panic!("one histogram")
        };
        assert_eq!((buckets[beyond - 1], buckets[beyond]), (1, 1));
        assert_eq!(buckets[beyond + 1..].iter().sum::<u64>(), 0);
    }
}
