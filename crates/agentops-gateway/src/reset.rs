//! When a provider that refuses calls takes them again, as it says itself.
//!
//! Sources: RFC 9110, sections 5.6.7 (dates) and 10.2.3 (`retry-after`); Anthropic's API reference, "Rate limits"
//! (`anthropic-ratelimit-*`), with `anthropic-ratelimit-unified-reset` as Claude Code 2.1.330 reads it for subscriptions;
//! OpenAI's guide "Rate limits" (`x-ratelimit-*`), and the body's `resets_at` and `resets_in_seconds` as Codex 0.169.0 reads
//! them; `google.rpc.RetryInfo`. OpenRouter's `X-RateLimit-Reset`, also in the body's `metadata.headers`, is in Unix
//! milliseconds: github.com/Gitlawb/openclaude/issues/936 shows such an answer. In words: OpenAI's "Please try again in
//! 7m12s." (Codex reads "try again in 11.054s" and "28ms" too), and Gemini's "Please retry in 47.434392449s.", which
//! github.com/browserbase/mcp-server-browserbase/issues/129 shows.

use std::time::UNIX_EPOCH;

use hyper::header::HeaderMap;
use serde_json::Value;

/// Bodies that are larger say nothing of it.
const BODY_BYTES_MAX: usize = 64 << 10;
/// Numbers of seconds above this are points in time, in Unix seconds.
const DATES_BEGIN: f64 = 1e9;
/// Numbers above this are points in time in Unix milliseconds: as seconds they lie after the year 5000.
const DATES_IN_MS_BEGIN: f64 = 1e11;
/// A time further away is an error. The longest quotas of the providers are those of a month.
const WAIT_MAX_MS: u64 = 366 * 24 * 60 * 60 * 1000;

/// Whether an answer of this status says that the provider takes no calls for a while.
pub(crate) fn asks_to_wait(status: u16) -> bool {
    matches!(status, 429 | 503 | 529)
}

/// As the head of an answer says, in Unix milliseconds; of several figures the latest.
pub(crate) fn of_head(head: &HeaderMap, now_ms: u64) -> Option<u64> {
    let texts = |name: &str| head.get_all(name).into_iter().filter_map(|value| value.to_str().ok());
    let after_ms = texts("retry-after-ms").flat_map(|text| text.split(','));
    let after_ms = after_ms.filter_map(|ms| Some(later(now_ms, seconds(ms.trim())? / 1000.0)));
    let after = texts("retry-after").chain(texts("anthropic-ratelimit-unified-reset"));
    let after = after.flat_map(|text| times(text, now_ms));
    let of_limits = head.iter().filter_map(|(name, value)| {
        let remaining = remaining_of(name.as_str())?;
        // The other limits are not why it refuses.
        let is_used_up = texts(&remaining).any(|text| text.trim() == "0");
        time(value.to_str().ok()?.trim(), now_ms).filter(|_| is_used_up)
    });
    latest(after_ms.chain(after).chain(of_limits), now_ms)
}

/// The header that says what is left of the limit whose reset this header names.
fn remaining_of(name: &str) -> Option<String> {
    if let Some(what) = name.strip_prefix("x-ratelimit-reset") {
        return Some(format!("x-ratelimit-remaining{what}"));
    }
    let what = name.strip_prefix("anthropic-ratelimit-")?.strip_suffix("-reset")?;
    Some(format!("anthropic-ratelimit-{what}-remaining"))
}

/// As the body of an answer says, in Unix milliseconds.
pub(crate) fn of_body(body: &[u8], now_ms: u64) -> Option<u64> {
    let body: Value = (body.len() <= BODY_BYTES_MAX).then(|| serde_json::from_slice(body).ok())??;
    // Gemini's streams without events are a list.
    let error = body.get(0).unwrap_or(&body).get("error")?;
    let at = error.get("resets_at").and_then(Value::as_f64).filter(|at| *at >= DATES_BEGIN).map(|at| later(0, at));
    let after = error.get("resets_in_seconds").and_then(Value::as_f64).map(|after| later(now_ms, after));
    let details = error.get("details").and_then(Value::as_array).into_iter().flatten();
    let delays = details.filter_map(|detail| time(detail.get("retryDelay")?.as_str()?, now_ms));
    let in_words = error.get("message").and_then(Value::as_str).and_then(|text| in_words(text, now_ms));
    let relayed = error.pointer("/metadata/headers").and_then(|head| of_relayed(head, now_ms));
    latest([at, after, in_words, relayed].into_iter().flatten().chain(delays), now_ms)
}

/// The latest of these times that is one to wait for. A provider's error must not outrank what else it says.
fn latest(times: impl Iterator<Item = u64>, now_ms: u64) -> Option<u64> {
    times.filter(|until| *until > now_ms && until - now_ms <= WAIT_MAX_MS).max()
}

/// Headers that stand in the body, as OpenRouter's.
fn of_relayed(head: &Value, now_ms: u64) -> Option<u64> {
    let field = |wanted: &str| {
        let mut fields = head.as_object()?.iter();
        fields.find(|(name, _)| name.eq_ignore_ascii_case(wanted)).and_then(|(_, value)| value.as_str())
    };
    let is_used_up = field("x-ratelimit-remaining")? == "0";
    time(field("x-ratelimit-reset")?, now_ms).filter(|_| is_used_up)
}

/// The times of a header that may hold several. A date has a comma too.
fn times(text: &str, now_ms: u64) -> impl Iterator<Item = u64> {
    let whole = time(text.trim(), now_ms);
    let parts = text.split(',').filter(move |_| whole.is_none());
    whole.into_iter().chain(parts.filter_map(move |part| time(part.trim(), now_ms)))
}

/// A time in one of the forms that providers use: a date (RFC 3339, or those of HTTP), Unix seconds or milliseconds, seconds
/// from now, or a span such as `6m0s`.
fn time(text: &str, now_ms: u64) -> Option<u64> {
    if let Some(number) = seconds(text) {
        return Some(match number {
            ..DATES_BEGIN => later(now_ms, number),
            ..DATES_IN_MS_BEGIN => later(0, number),
            _ => later(0, number / 1000.0),
        });
    }
    if let Ok(span) = text.parse::<jiff::SignedDuration>() {
        return Some(later(now_ms, span.as_secs_f64()));
    }
    let date = text.parse::<jiff::Timestamp>().ok();
    let date = date.or_else(|| jiff::fmt::rfc2822::DateTimeParser::new().parse_timestamp(text).ok());
    if let Some(date) = date {
        return u64::try_from(date.as_millisecond()).ok();
    }
    // The two obsolete forms, which recipients have to read as well.
    let date = httpdate::parse_http_date(text).ok()?.duration_since(UNIX_EPOCH).ok()?;
    u64::try_from(date.as_millis()).ok()
}

/// The time that a message tells a person. Of several the latest.
fn in_words(message: &str, now_ms: u64) -> Option<u64> {
    let message = message.to_ascii_lowercase();
    let spans = ["try again in ", "retry in "].into_iter().flat_map(|words| message.split(words).skip(1));
    spans.filter_map(span).map(|span| later(now_ms, span)).max()
}

/// The span of time with which a text begins, in seconds: `1h2m3.5s`, `350ms`, `20 seconds`.
fn span(text: &str) -> Option<f64> {
    let mut rest = text;
    let mut sum = None;
    loop {
        let number_end = rest.find(|char: char| !char.is_ascii_digit() && char != '.').unwrap_or(rest.len());
        let (number, after) = rest.split_at(number_end);
        let after = after.trim_start_matches(' ');
        let unit_end = after.find(|char: char| !char.is_ascii_alphabetic()).unwrap_or(after.len());
        let (unit, after) = after.split_at(unit_end);
        let unit_seconds = match unit {
            "ms" | "millisecond" | "milliseconds" => 0.001,
            "s" | "sec" | "secs" | "second" | "seconds" => 1.0,
            "m" | "min" | "mins" | "minute" | "minutes" => 60.0,
            "h" | "hr" | "hrs" | "hour" | "hours" => 3600.0,
            "d" | "day" | "days" => 86400.0,
            _ => return sum,
        };
        let Some(number) = seconds(number) else { return sum };
        sum = Some(sum.unwrap_or(0.0) + number * unit_seconds);
        rest = after.trim_start_matches(' ');
    }
}

fn seconds(text: &str) -> Option<f64> {
    let plain = text.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.');
    text.parse().ok().filter(|_| plain)
}

fn later(from_ms: u64, seconds: f64) -> u64 {
    // Whole microseconds: the error of a product must not become a millisecond. The cast saturates; a time that far away is
    // none to wait for.
    let micros = (seconds * 1e6).round();
    from_ms.saturating_add((micros / 1000.0).ceil() as u64)
}

#[cfg(test)]
mod tests {
    use hyper::header::{HeaderName, HeaderValue};

    use super::*;

    const NOW: u64 = 1_796_000_000_000;

    fn head(fields: &[(&'static str, &'static str)]) -> Option<u64> {
        let fields = fields.iter().map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value)));
        of_head(&fields.collect(), NOW).map(|until| until - NOW)
    }

    #[test]
    fn each_providers_words_for_when_are_read() {
        assert_eq!(head(&[("retry-after", "7200")]), Some(7_200_000));
        assert_eq!(head(&[("retry-after-ms", "1500")]), Some(1_500));
        assert_eq!(head(&[("retry-after", "Mon, 30 Nov 2026 22:00:00 GMT")]), Some(1_796_076_000_000 - NOW));
        assert_eq!(head(&[("anthropic-ratelimit-unified-reset", "1796000060")]), Some(60_000));
        let anthropic = [
            ("anthropic-ratelimit-requests-remaining", "7"),
            ("anthropic-ratelimit-requests-reset", "2026-11-30T23:00:00Z"),
            ("anthropic-ratelimit-tokens-remaining", "0"),
            ("anthropic-ratelimit-tokens-reset", "2026-11-30T22:00:00Z"),
        ];
        assert_eq!(head(&anthropic), Some(1_796_076_000_000 - NOW));
        let openai = [
            ("x-ratelimit-remaining-requests", "0"),
            ("x-ratelimit-reset-requests", "6m0s"),
            ("x-ratelimit-remaining-tokens", "12"),
            ("x-ratelimit-reset-tokens", "7h0m0s"),
        ];
        assert_eq!(head(&openai), Some(360_000));
        let body = |text: &str| of_body(text.as_bytes(), NOW).map(|until| until - NOW);
        assert_eq!(body(r#"{"error":{"type":"usage_limit_reached","resets_in_seconds":3600}}"#), Some(3_600_000));
        assert_eq!(body(r#"{"error":{"type":"usage_limit_reached","resets_at":1796000005}}"#), Some(5_000));
        let details = r#"{"@type":"type.googleapis.com/google.rpc.RetryInfo","retryDelay":"34.5s"}"#;
        for form in
            [format!(r#"{{"error":{{"details":[{details}]}}}}"#), format!(r#"[{{"error":{{"details":[{details}]}}}}]"#)]
        {
            assert_eq!(body(&form), Some(34_500), "{form}");
        }
    }

    #[test]
    fn what_says_nothing_or_lies_in_the_past_is_no_time() {
        for value in ["", "soon", "-5", "0", "NaN", "1e3", "5x", "Sun, 06 Nov 1994 08:49:37 GMT", "1.2.3", "s", "m5"] {
            let value = HeaderValue::from_static(value);
            let fields = [(HeaderName::from_static("retry-after"), value.clone())];
            assert_eq!(of_head(&fields.into_iter().collect(), NOW), None, "{value:?}");
        }
        for body in ["", "[]", "{}", r#"{"error":"x"}"#, r#"{"error":{"resets_at":5,"resets_in_seconds":"9"}}"#] {
            assert_eq!(of_body(body.as_bytes(), NOW), None, "{body}");
        }
    }

    #[test]
    fn a_date_of_http_is_read_in_each_of_its_forms() {
        for date in ["Mon, 30 Nov 2026 22:00:00 GMT", "Monday, 30-Nov-26 22:00:00 GMT", "Mon Nov 30 22:00:00 2026"] {
            assert_eq!(head(&[("retry-after", date)]), Some(1_796_076_000_000 - NOW), "{date}");
        }
        assert_eq!(head(&[("retry-after", "Tue Dec  1 22:00:00 2026")]), Some(1_796_162_400_000 - NOW));
    }

    #[test]
    fn of_several_times_the_latest_holds() {
        for fields in [
            [("retry-after", "7200, 3600"), ("x-a", "")],
            [("retry-after", "60"), ("retry-after", "7200")],
            [("retry-after", "7200"), ("retry-after", "60")],
            [("retry-after", "5"), ("retry-after-ms", "7200000")],
            [("retry-after-ms", "5, 7200000"), ("retry-after-ms", "60")],
        ] {
            assert_eq!(head(&fields), Some(7_200_000), "{fields:?}");
        }
    }

    #[test]
    fn what_a_message_says_is_read() {
        let body = |message: &str| {
            let body = serde_json::json!({"error": {"code": 429, "message": message}}).to_string();
            of_body(body.as_bytes(), NOW).map(|until| until - NOW)
        };
        for (message, ms) in [
            ("Limit 200, Used 200, Requested 1. Please try again in 7m12s. Visit https://x.", 432_000),
            ("Please try again in 20s.", 20_000),
            ("Please try again in 350ms.", 350),
            ("Please try again in 1h2m3.5s", 3_723_500),
            ("Please try again in 11.054s. Visit", 11_054),
            ("You exceeded your current quota.\nPlease retry in 2h13m4.5s.", 7_984_500),
            ("Please retry in 47.434392449s.", 47_435),
            ("Rate limited. Try again in 35 seconds.", 35_000),
            ("Try again in 20s, or retry in 5m.", 300_000),
        ] {
            assert_eq!(body(message), Some(ms), "{message}");
        }
        for message in
            ["Please try again in a while", "try again in ", "retry in 8:24:07", "retry in .s", "try again in 0s", ""]
        {
            assert_eq!(body(message), None, "{message}");
        }
    }

    #[test]
    fn unix_milliseconds_are_told_from_seconds() {
        for reset in ["1796000060", "1796000060000", "60"] {
            let fields = [("x-ratelimit-remaining", "0"), ("x-ratelimit-reset", reset)];
            assert_eq!(head(&fields), Some(60_000), "{reset}");
            assert_eq!(head(&[("x-ratelimit-remaining", "3"), ("x-ratelimit-reset", reset)]), None, "{reset}");
            let headers =
                serde_json::json!({"X-RateLimit-Limit": "50", "X-RateLimit-Remaining": "0", "X-RateLimit-Reset": reset});
            let body =
                serde_json::json!({"error": {"message": "x", "code": 429, "metadata": {"headers": headers}}}).to_string();
            assert_eq!(of_body(body.as_bytes(), NOW), Some(NOW + 60_000), "{reset}");
        }
    }

    #[test]
    fn a_time_more_than_a_year_away_is_none() {
        for far in
            ["99999999999999999999999", "99999999999999999999", "31622401", "9000000000", "Fri, 31 Dec 9999 23:59:59 GMT"]
        {
            assert_eq!(head(&[("retry-after", far)]), None, "{far}");
            assert_eq!(head(&[("retry-after", far), ("retry-after-ms", "60000")]), Some(60_000), "{far}");
        }
        assert_eq!(head(&[("retry-after", "31622400")]), Some(31_622_400_000));
        let body =
            r#"{"error":{"resets_at":1e300,"resets_in_seconds":1e300,"message":"try again in 99999999999999999999d"}}"#;
        assert_eq!(of_body(body.as_bytes(), NOW), None);
    }
}
