//! When a provider takes calls again, in the words with which agent programs pass it on.

/// Words before a span of time.
const BEFORE_SPAN: [&str; 3] = ["try again in ", "retry in ", "retry after "];
/// Unix seconds have so many digits from 2001 to 2286.
const DATE_DIGITS: usize = 10;

/// As a program's message says, in Unix milliseconds. `None`: it says nothing of it, or a time that has passed.
///
/// It knows Unix seconds behind a bar (`usage limit reached|1796000000`, Claude Code) and spans (`try again in 2 days 3 hours`,
/// Codex; `Please retry in 34.5s`, Gemini; `try again in 6m0s`, OpenAI).
#[must_use]
pub fn until_ms(message: &str, now_ms: u64) -> Option<u64> {
    let message = message.to_ascii_lowercase();
    let spans = BEFORE_SPAN.iter().filter_map(|words| span_ms(message.split_once(words)?.1));
    let spans = spans.map(|span_ms| now_ms.saturating_add(span_ms));
    let dates = message.split('|').skip(1).filter_map(|rest| {
        let digits: String = rest.chars().take_while(char::is_ascii_digit).collect();
        (digits.len() == DATE_DIGITS).then(|| digits.parse::<u64>().ok())?.map(|seconds| seconds * 1000)
    });
    spans.chain(dates).max().filter(|until| *until > now_ms)
}

/// The span that a text begins with, such as `2 days 3 hours 5 minutes.` or `1h2m3.5s`.
fn span_ms(text: &str) -> Option<u64> {
    let mut rest = text;
    let mut sum = None;
    loop {
        rest = rest.trim_start_matches([' ', ',']);
        rest = rest.strip_prefix("and ").unwrap_or(rest);
        let end = rest.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(rest.len());
        let Ok(number) = rest[..end].parse::<f64>() else { return sum };
        let after = rest[end..].trim_start();
        let unit: String = after.chars().take_while(char::is_ascii_alphabetic).collect();
        let unit_ms = match unit.as_str() {
            "ms" | "millisecond" | "milliseconds" => 1.0,
            "s" | "sec" | "secs" | "second" | "seconds" => 1_000.0,
            "m" | "min" | "mins" | "minute" | "minutes" => 60_000.0,
            "h" | "hour" | "hours" => 3_600_000.0,
            "d" | "day" | "days" => 86_400_000.0,
            _ => return sum,
        };
        // The cast saturates.
        sum = Some(sum.unwrap_or(0_u64).saturating_add((number * unit_ms).ceil() as u64));
        rest = &after[unit.len()..];
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: u64 = 1_796_000_000_000;

    #[test]
    fn the_words_of_programs_name_a_time() {
        for (message, wait_s) in [
            ("Claude AI usage limit reached|1796003600", 3_600),
            ("You've hit your usage limit. Try again in 2 days 3 hours 5 minutes.", 183_900),
            ("You've hit your usage limit. Upgrade or try again in 1 hour and 1 minute", 3_660),
            ("Rate limit reached for gpt-5. Please try again in 6m0s. Visit …", 360),
            ("Please retry in 34.5s.", 35),
            ("exceeded retry limit, retry after 20 seconds", 20),
        ] {
            assert_eq!(until_ms(message, NOW).map(|until| (until - NOW).div_ceil(1000)), Some(wait_s), "{message}");
        }
        for message in [
            "",
            "overloaded",
            "try again in a moment",
            "try again in 5",
            "limit|17960036001",
            "limit|1700000000",
            "try again in …",
            "|",
        ] {
            assert_eq!(until_ms(message, NOW), None, "{message}");
        }
        assert!(until_ms("try again in 99999999999999999999 days", NOW).is_some());
    }
}
