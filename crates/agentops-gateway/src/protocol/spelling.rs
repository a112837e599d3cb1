//! Names of members that a lax server could take for another.
//!
//! Servers written in Go match names without regard to case (documentation of its package `encoding/json`: "preferring an
//! exact match but also accepting a case-insensitive match"), and the last of two counts. So `Max_Tokens` could be a second limit.

/// Names by which a request says what counts: its conversation, its limits, and what the provider does besides.
const NAMES: &[&str] = &[
    "background",
    "best_of",
    "budget_tokens",
    "cachedContent",
    "cached_content",
    "candidateCount",
    "candidate_count",
    "contents",
    "conversation",
    "fallbacks",
    "functions",
    "generationConfig",
    "generation_config",
    "input",
    "instructions",
    "maxOutputTokens",
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
    "systemInstruction",
    "system_instruction",
    "thinking",
    "thinkingBudget",
    "thinkingConfig",
    "thinking_budget",
    "thinking_config",
    "tools",
    "web_search_options",
];

/// Those with capitals, written without.
const NAMES_IN_LOWER_CASE: &[&str] = &[
    "cachedcontent",
    "candidatecount",
    "generationconfig",
    "maxoutputtokens",
    "systeminstruction",
    "thinkingbudget",
    "thinkingconfig",
];

/// Whether a name differs from one that counts only by its case. No client sends such a one.
pub(super) fn is_misspelt(key: &[u8]) -> bool {
    // Most names are in lower case, and so are most that count.
    let is_lower = key.iter().all(|byte| byte.is_ascii() && !byte.is_ascii_uppercase());
    if is_lower && !NAMES_IN_LOWER_CASE.iter().any(|name| name.as_bytes() == key) {
        return false;
    }
    // Two letters outside of ASCII fold to `k` and `s`: the Kelvin sign and the long s.
    let folds = |key: &str| key.replace('\u{212a}', "k").replace('\u{17f}', "s");
    let Ok(key) = std::str::from_utf8(key) else { return true };
    !NAMES.contains(&key) && NAMES.iter().any(|name| name.eq_ignore_ascii_case(&folds(key)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn b1_a_name_that_counts_in_another_case_is_seen() {
        for name in NAMES {
            assert!(!is_misspelt(name.as_bytes()), "{name}");
            for other in [name.to_ascii_uppercase(), name.to_ascii_lowercase(), name.replacen('s', "\u{17f}", 1)] {
                assert_eq!(is_misspelt(other.as_bytes()), !NAMES.contains(&other.as_str()), "{other}");
            }
        }
        for name in ["promptCacheKey", "reasoningEffort", "safetySettings", "toolConfig", "metadata", "größe", "store", ""]
        {
            assert!(!is_misspelt(name.as_bytes()), "{name}");
        }
        assert!(is_misspelt("max_to\u{212a}ens".as_bytes()) && is_misspelt(b"Messages") && is_misspelt(b"N"));
    }
}
