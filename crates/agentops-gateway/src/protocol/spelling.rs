//! Names of members that a lax server could take for another.
//!
//! Servers written in Go match names without regard to case (documentation of its package `encoding/json`: "preferring an
//! exact match but also accepting a case-insensitive match"), and the last of two counts. So `Max_Tokens` could be a second limit.

/// Names by which a request says what counts: its conversation, its limits, and what the provider does besides.
const NAMES: &[&str] = &[
    "background",
    "best_of",
    "budget_tokens",
    "cached_content",
    "candidate_count",
    "contents",
    "conversation",
    "fallbacks",
    "functions",
    "generation_config",
    "input",
    "instructions",
    "max_completion_tokens",
    "max_new_tokens",
    "max_output_tokens",
    "max_tokens",
    "mcp_servers",
    "messages",
    "model",
    "models",
    "n",
    "n_predict",
    "num_predict",
    "num_return_sequences",
    "plugins",
    "previous_response_id",
    "prompt",
    "reasoning",
    "service_tier",
    "speed",
    "stream",
    "system",
    "system_instruction",
    "thinking",
    "thinking_budget",
    "thinking_config",
    "tools",
    "web_search_options",
];

/// Those with capitals.
const NAMES_WITH_CAPITALS: &[&str] = &[
    "cachedContent",
    "candidateCount",
    "generationConfig",
    "maxOutputTokens",
    "systemInstruction",
    "thinkingBudget",
    "thinkingConfig",
];

/// Whether a name differs from one that counts only by its case. No client sends such a one.
pub(super) fn is_misspelt(key: &[u8]) -> bool {
    // Most names are in lower case, and so are most that count.
    let is_lower = key.iter().all(|byte| byte.is_ascii() && !byte.is_ascii_uppercase());
    if is_lower {
        return NAMES_WITH_CAPITALS.iter().any(|name| name.as_bytes().eq_ignore_ascii_case(key));
    }
    // Two letters outside of ASCII fold to `k` and `s`: the Kelvin sign and the long s.
    let folds = |key: &str| key.replace('\u{212a}', "k").replace('\u{17f}', "s");
    let Ok(key) = std::str::from_utf8(key) else { return true };
    let names = || NAMES.iter().chain(NAMES_WITH_CAPITALS);
    let folded = folds(key);
    !names().any(|name| *name == key) && names().any(|name| name.eq_ignore_ascii_case(&folded))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn b1_a_name_that_counts_in_another_case_is_seen() {
        for name in NAMES.iter().chain(NAMES_WITH_CAPITALS) {
            let counts = |other: &str| NAMES.contains(&other) || NAMES_WITH_CAPITALS.contains(&other);
            assert!(!is_misspelt(name.as_bytes()), "{name}");
            for other in [name.to_ascii_uppercase(), name.to_ascii_lowercase(), name.replacen('s', "\u{17f}", 1)] {
                assert_eq!(is_misspelt(other.as_bytes()), !counts(&other), "{other}");
            }
        }
        for name in ["promptCacheKey", "reasoningEffort", "safetySettings", "toolConfig", "metadata", "größe", "store", ""]
        {
            assert!(!is_misspelt(name.as_bytes()), "{name}");
        }
        assert!(is_misspelt("max_to\u{212a}ens".as_bytes()) && is_misspelt(b"Messages") && is_misspelt(b"N"));
    }
}
