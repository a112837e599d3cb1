//! When a provider that refuses calls takes them again, as it says itself.
//!
//! Sources: RFC 9110, section 10.2.3 (`retry-after`); Anthropic's API reference, "Rate limits" (`anthropic-ratelimit-*`), with
//! `anthropic-ratelimit-unified-reset` as Claude Code 2.1.330 reads it for subscriptions; OpenAI's guide "Rate limits"
//! (`x-ratelimit-*`), and the body's `resets_at` and `resets_in_seconds` as Codex 0.169.0 reads them; `google.rpc.RetryInfo`.

use hyper::header::HeaderMap;
use serde_json::Value;

/// Bodies that are larger say nothing of it.
const BODY_BYTES_MAX: usize = 64 << 10;
/// Numbers of seconds above this are points in time, in Unix seconds.
const DATES_BEGIN: f64 = 1e9;

/// Whether an answer of this status says that the provider takes no calls for a while.
pub(crate) fn asks_to_wait(status: u16) -> bool {
    matches!(status, 429 | 503 | 529)
}

/// As the head of an answer says, in Unix milliseconds; of several figures the latest.
pub(crate) fn of_head(head: &HeaderMap, now_ms: u64) -> Option<u64> {
    let text = |name: &str| head.get(name).and_then(|value| value.to_str().ok()).map(str::trim);
    let after_ms = text("retry-after-ms").and_then(seconds).map(|ms| later(now_ms, ms / 1000.0));
    let after = text("retry-after").and_then(|text| time(text, now_ms));
    let unified = text("anthropic-ratelimit-unified-reset").and_then(|text| time(text, now_ms));
    let of_limits = head.iter().filter_map(|(name, value)| {
        let name = name.as_str();
        let remaining = match name.strip_prefix("x-ratelimit-reset-") {
            Some(what) => format!("x-ratelimit-remaining-{what}"),
            None => {
                let what = name.strip_prefix("anthropic-ratelimit-")?.strip_suffix("-reset")?;
                format!("anthropic-ratelimit-{what}-remaining")
            }
        };
        // The other limits are not why it refuses.
        let is_used_up = text(&remaining)? == "0";
        time(value.to_str().ok()?.trim(), now_ms).filter(|_| is_used_up)
    });
    [after_ms, after, unified].into_iter().flatten().chain(of_limits).max().filter(|until| *until > now_ms)
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
    [at, after].into_iter().flatten().chain(delays).max().filter(|until| *until > now_ms)
}

/// A time in one of the forms that providers use: a date (RFC 3339, or that of HTTP), Unix seconds, seconds from now, or a
/// span such as `6m0s`.
fn time(text: &str, now_ms: u64) -> Option<u64> {
    if let Some(number) = seconds(text) {
        return Some(if number >= DATES_BEGIN { later(0, number) } else { later(now_ms, number) });
    }
    if let Ok(span) = text.parse::<jiff::SignedDuration>() {
        return Some(later(now_ms, span.as_secs_f64()));
    }
    let date = text.parse::<jiff::Timestamp>().ok();
    let date = date.or_else(|| jiff::fmt::rfc2822::DateTimeParser::new().parse_timestamp(text).ok())?;
    u64::try_from(date.as_millisecond()).ok()
}

fn seconds(text: &str) -> Option<f64> {
    let plain = text.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.');
    text.parse().ok().filter(|_| plain)
}

fn later(from_ms: u64, seconds: f64) -> u64 {
    // The cast saturates; no provider means that long.
    from_ms.saturating_add((seconds * 1000.0).ceil() as u64)
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
        assert_eq!(head(&[("retry-after", "99999999999999999999999")]).map(|wait| wait > 1 << 50), Some(true));
    }
}
