//! From a provider's own counting to parts that do not overlap.
//!
//! A report that cannot be true (no input at all, a negative number, a string) is no report of the input; its output figure
//! still counts where it is larger than what is known. A large report stays here; whether the call can have used that much is
//! decided where its window is known.

use agentops_core::usage::Usage;

use super::json::{Json, Untrue, number, number_of};

/// What a report says.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Report {
    pub(super) usage: Usage,
    /// Of the cache writes, those that are kept for an hour.
    pub(super) cache_write_hour: u64,
    /// Of the output, hidden reasoning, where that is said.
    pub(super) reasoning: Option<u64>,
}

impl Report {
    /// Whether it can be true: no call has no input.
    pub(super) fn has_input(&self) -> bool {
        input_of(&self.usage) > 0
    }

    /// Both reports of one call as one, which is as large in every figure.
    ///
    /// The input's parts are replaced together where the later report has at least as much input in all: it splits the same
    /// input anew into read from a cache, written to it, and neither. Otherwise the larger of each part holds.
    pub(super) fn merged(self, later: Self) -> Self {
        let (a, b) = (self.usage, later.usage);
        let output = a.output.max(b.output);
        let reasoning = self.reasoning.max(later.reasoning);
        if input_of(&b) >= input_of(&a) {
            return Self { usage: Usage { output, ..b }, cache_write_hour: later.cache_write_hour, reasoning };
        }
        let usage = Usage {
            input: a.input.max(b.input),
            cache_read: a.cache_read.max(b.cache_read),
            cache_write: a.cache_write.max(b.cache_write),
            output,
        };
        Self { usage, cache_write_hour: self.cache_write_hour.max(later.cache_write_hour), reasoning }
    }
}

fn input_of(usage: &Usage) -> u64 {
    usage.input.saturating_add(usage.cache_read).saturating_add(usage.cache_write)
}

/// Input that includes what came from the cache (OpenAI, Gemini) is taken apart. A server that says more came from the
/// cache than there was input counts the two apart, and then both stand.
fn apart(input: u64, cached: u64) -> (u64, u64) {
    (if cached > input { input } else { input - cached }, cached)
}

/// The parts and their total, where a server gives one. What it has over the parts was output that the server left out of
/// them, such as reasoning.
fn output_of(total: Option<u64>, input: u64, output: u64) -> u64 {
    total.map_or(output, |total| output.max(total.saturating_sub(input)))
}

/// The figures of an Anthropic report, each as far as it is there: a stream gives them in parts that replace one another.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct MessagesReport {
    input: Option<u64>,
    cache_read: Option<u64>,
    cache_write: Option<u64>,
    cache_write_hour: Option<u64>,
    output: Option<u64>,
    reasoning: Option<u64>,
}

impl MessagesReport {
    pub(super) fn read(usage: Json<'_>) -> Result<Self, Untrue> {
        let [input, cache_read, cache_write, writes, output, details, iterations] = usage.get_each([
            "input_tokens",
            "cache_read_input_tokens",
            "cache_creation_input_tokens",
            "cache_creation",
            "output_tokens",
            "output_tokens_details",
            "iterations",
        ]);
        let lasting = |key| writes.map_or(Ok(None), |writes| number_of(writes, key));
        let (hour, minutes) = (lasting("ephemeral_1h_input_tokens")?, lasting("ephemeral_5m_input_tokens")?);
        let split = hour.or(minutes).map(|_| hour.unwrap_or(0).saturating_add(minutes.unwrap_or(0)));
        let each = |key| sum(iterations.into_iter().flat_map(Json::elements), key);
        Ok(Self {
            input: number(input)?.max(each("input_tokens")?),
            cache_read: number(cache_read)?.max(each("cache_read_input_tokens")?),
            cache_write: number(cache_write)?.max(split).max(each("cache_creation_input_tokens")?),
            cache_write_hour: hour,
            output: number(output)?.max(each("output_tokens")?),
            reasoning: details.map_or(Ok(None), |details| number_of(details, "thinking_tokens"))?,
        })
    }

    pub(super) fn has_output(&self) -> bool {
        self.output.is_some()
    }

    /// This report where the later one says nothing.
    pub(super) fn followed_by(self, later: Self) -> Self {
        Self {
            input: later.input.or(self.input),
            cache_read: later.cache_read.or(self.cache_read),
            cache_write: later.cache_write.or(self.cache_write),
            cache_write_hour: later.cache_write_hour.or(self.cache_write_hour),
            output: later.output.or(self.output),
            reasoning: later.reasoning.or(self.reasoning),
        }
    }

    pub(super) fn report(&self) -> Report {
        let usage = Usage {
            input: self.input.unwrap_or(0),
            cache_read: self.cache_read.unwrap_or(0),
            cache_write: self.cache_write.unwrap_or(0),
            output: self.output.unwrap_or(0),
        };
        let cache_write_hour = self.cache_write_hour.unwrap_or(0).min(usage.cache_write);
        Report { usage, cache_write_hour, reasoning: self.reasoning }
    }
}

/// The sum of a figure over the iterations of a call. A provider that compacts within it reports that only there, and bills all
/// of them. Source: Anthropic's documentation, "Compaction", "Understanding usage".
fn sum<'a>(iterations: impl Iterator<Item = Json<'a>>, key: &str) -> Result<Option<u64>, Untrue> {
    let mut sum = None;
    for iteration in iterations {
        if let Some(tokens) = number_of(iteration, key)? {
            sum = Some(sum.unwrap_or(0_u64).saturating_add(tokens));
        }
    }
    Ok(sum)
}

/// The output that a report names, where the rest of it cannot be true.
pub(super) fn output_alone(usage: Json<'_>, keys: &[&str]) -> Report {
    let output = keys.iter().filter_map(|key| number_of(usage, key).ok().flatten()).fold(0, u64::saturating_add);
    Report { usage: Usage { output, ..Usage::default() }, ..Report::default() }
}

/// A report of OpenAI's, in the words of the Responses or of the Chat Completions protocol.
///
/// DeepSeek's API reference, "Create Chat Completion": `prompt_tokens` is `prompt_cache_hit_tokens` and
/// `prompt_cache_miss_tokens` together.
pub(super) fn openai(usage: Json<'_>, input_key: &str, output_key: &str) -> Report {
    let read = || -> Result<Report, Untrue> {
        let details = |key: &str, name: &str| {
            usage.get(&format!("{key}_details")).map_or(Ok(None), |details| number_of(details, name))
        };
        let hits = number_of(usage, "prompt_cache_hit_tokens")?.unwrap_or(0);
        let misses = number_of(usage, "prompt_cache_miss_tokens")?.unwrap_or(0);
        let input = number_of(usage, input_key)?.unwrap_or(0).max(hits.saturating_add(misses));
        let cached = details(input_key, "cached_tokens")?.filter(|cached| *cached > 0).unwrap_or(hits);
        // Routers that speak this protocol for Anthropic's models name what was written to the cache, within the input.
        let written = details(input_key, "cache_write_tokens")?.unwrap_or(0);
        let reasoning = details(output_key, "reasoning_tokens")?;
        let (fresh, cache_read) = apart(input, cached);
        let (fresh, cache_write) = if written > fresh { (fresh, 0) } else { (fresh - written, written) };
        let output = number_of(usage, output_key)?.unwrap_or(0);
        let output = output_of(number_of(usage, "total_tokens")?, input, output).max(reasoning.unwrap_or(0));
        Ok(Report { usage: Usage { input: fresh, cache_read, cache_write, output }, cache_write_hour: 0, reasoning })
    };
    read().unwrap_or_else(|Untrue| output_alone(usage, &[output_key]))
}

/// A report of Gemini's. What the model thought is not part of its candidates, and what tools gave it is not part of the
/// prompt.
pub(super) fn gemini(usage: Json<'_>) -> Report {
    let read = || -> Result<Report, Untrue> {
        let number = |key: &str| number_of(usage, key);
        let prompt = number("promptTokenCount")?.unwrap_or(0);
        let tools = number("toolUsePromptTokenCount")?.unwrap_or(0);
        let (fresh, cache_read) = apart(prompt, number("cachedContentTokenCount")?.unwrap_or(0));
        let reasoning = number("thoughtsTokenCount")?;
        let output = number("candidatesTokenCount")?.unwrap_or(0).saturating_add(reasoning.unwrap_or(0));
        let output = output_of(number("totalTokenCount")?, prompt.saturating_add(tools), output);
        let usage = Usage { input: fresh.saturating_add(tools), cache_read, cache_write: 0, output };
        Ok(Report { usage, cache_write_hour: 0, reasoning })
    };
    read().unwrap_or_else(|Untrue| output_alone(usage, &["candidatesTokenCount", "thoughtsTokenCount"]))
}
