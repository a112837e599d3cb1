//! What we say to the program, and what its counts mean.

use serde_json::{Value, json};

use agentops_core::usage::Usage;

pub(super) fn initialize() -> Value {
    let version = env!("CARGO_PKG_VERSION");
    json!({"clientInfo": {"name": "agentops", "title": "AgentOps", "version": version}})
}

/// The text of a user message as turns take it.
pub(super) fn input(text: &str) -> Value {
    json!([{"type": "text", "text": text}])
}

/// `agentops/0.169.0 (…)`: what the program calls itself begins with our name and goes on with its version.
pub(super) fn version(user_agent: &str) -> Option<String> {
    let (_, rest) = user_agent.split_once('/')?;
    rest.split_whitespace().next().map(str::to_owned)
}

/// A count of tokens; what is missing or no number is nothing.
fn tokens(counts: &Value, key: &str) -> u64 {
    counts[key].as_u64().unwrap_or(0)
}

/// Input includes what was read from and written to a cache; output includes reasoning. `None`: no input at all, so it is
/// no report.
pub(super) fn usage(counts: &Value) -> Option<Usage> {
    let (input, output) = (tokens(counts, "inputTokens"), tokens(counts, "outputTokens"));
    let (cache_read, cache_write) = (tokens(counts, "cachedInputTokens"), tokens(counts, "cacheWriteInputTokens"));
    let input = input.saturating_sub(cache_read).saturating_sub(cache_write);
    let usage = Usage { input, cache_read, cache_write, output };
    (usage.context() > output).then_some(usage)
}

/// What a thread used so far, to see whether it grew.
pub(super) fn total(counts: &Value) -> u64 {
    tokens(counts, "inputTokens").saturating_add(tokens(counts, "outputTokens"))
}

/// What we answer to a request of the program: no, in the words that the request knows. `None`: we do not know it.
pub(super) fn refusal(method: &str) -> Option<Value> {
    let rejection = "not allowed in this session";
    match method {
        "item/commandExecution/requestApproval" | "item/fileChange/requestApproval" => Some(json!({"decision": "decline"})),
        "execCommandApproval" | "applyPatchApproval" => Some(json!({"decision": {"denied": {"rejection": rejection}}})),
        "item/permissions/requestApproval" => Some(json!({"permissions": {}})),
        "item/tool/requestUserInput" => Some(json!({"answers": {}})),
        "mcpServer/elicitation/request" => Some(json!({"action": "decline"})),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_of_usage_do_not_overlap() {
        let counts = json!({"inputTokens": 100, "cachedInputTokens": 60, "cacheWriteInputTokens": 30, "outputTokens": 7});
        assert_eq!(usage(&counts), Some(Usage { input: 10, cache_read: 60, cache_write: 30, output: 7 }));
        assert_eq!(usage(&json!({"inputTokens": 0, "outputTokens": 7})), None);
        assert_eq!(usage(&json!({"inputTokens": "7"})), None);
    }

    #[test]
    fn the_version_follows_our_name() {
        assert_eq!(version("agentops/0.169.0 (Debian)"), Some("0.169.0".to_owned()));
    }
}
