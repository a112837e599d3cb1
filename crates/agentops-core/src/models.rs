//! What is known of models without asking anyone: a small table, and unknown is unknown.

use crate::ceiling::Window;

/// Windows by the beginning of a model's name, the longest beginning first. As the vendors' model pages say, and as their
/// programs report them (November 2026). Some models can be had with a larger window; the smallest counts until the
/// agent file says otherwise.
const WINDOWS: &[(&str, u64)] = &[("claude-", 200_000), ("gpt-5", 272_000)];

/// The window of a model as this table knows it.
///
/// Names may carry a provider in front (`anthropic/claude-…`); that part is not looked at.
#[must_use]
pub fn window_of(model: &str) -> Option<Window> {
    let name = model.rsplit('/').next().unwrap_or(model);
    WINDOWS.iter().find(|(beginning, _)| name.starts_with(beginning)).and_then(|(_, tokens)| Window::new(*tokens))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_families_have_a_window_and_others_are_unknown() {
        assert_eq!(window_of("claude-haiku-4-5"), Window::new(200_000));
        assert_eq!(window_of("anthropic/claude-opus-5-5"), Window::new(200_000));
        assert_eq!(window_of("gpt-5.2-codex"), Window::new(272_000));
        assert_eq!(window_of("gpt-4o"), None);
        assert_eq!(window_of(""), None);
    }
}
