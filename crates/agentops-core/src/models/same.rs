//! Whether two names are names of one model. Providers and routers write them in many ways.

use super::{TABLE, plain};

/// Words that say which build of a model is meant, and not which model. Numbers after one are a date.
const BUILD_WORDS: &[&str] = &["latest", "preview", "exp", "experimental", "beta", "thinking"];

/// A model's name in the parts that tell it from others.
struct Parts {
    /// `claude`, `sonnet`, in the order of the alphabet: some routers write `claude-4.5-sonnet`.
    words: Vec<String>,
    /// The version, `[4, 5]`; empty: the name leaves it open.
    version: Vec<u64>,
    /// It names a build by its date.
    is_dated: bool,
}

/// Whether an answer from `answered` is one of the model that was asked for. Dates, `-latest`, a provider in front and the
/// suffixes of routers make no other model. A name that the table of models does not know may be an alias of any model.
#[must_use]
pub fn is_same_model(asked: &str, answered: &str) -> bool {
    if asked == answered {
        return true;
    }
    let names = [asked, answered].map(base_name);
    if !names.iter().all(|name| TABLE.family(name).is_some()) {
        return true;
    }
    let [asked, answered] = names.map(|name| Parts::of(&name));
    asked.words == answered.words && (asked.version.is_empty() || asked.version == answered.version)
}

/// Whether a name is a full one, with the date of its build: no alias leads from it to another model.
#[must_use]
pub fn is_snapshot(model: &str) -> bool {
    let name = base_name(model);
    TABLE.family(&name).is_some() && Parts::of(&name).is_dated
}

/// Whether a request for `asked` asks for the model that is pinned as `pinned`, which may be an alias such as `sonnet`.
#[must_use]
pub fn is_pinned_model(pinned: &str, asked: &str) -> bool {
    let alias = base_name(pinned);
    match TABLE.family(&alias) {
        Some(_) => is_same_model(pinned, asked),
        None => !alias.is_empty() && base_name(asked).contains(&alias),
    }
}

/// The name without a provider in front and without a router's suffix (`:free`).
fn base_name(model: &str) -> String {
    let mut name = plain(model).replace(['@', '_'], "-");
    name.truncate(name.find(':').unwrap_or(name.len()));
    name
}

impl Parts {
    fn of(name: &str) -> Self {
        let mut parts = Self { words: Vec::new(), version: Vec::new(), is_dated: false };
        let mut is_build = false;
        let mut tokens = name.split('-').filter(|token| !token.is_empty()).peekable();
        while let Some(token) = tokens.next() {
            if BUILD_WORDS.contains(&token) {
                is_build = true;
                continue;
            }
            let Some(number) = token.parse::<u64>().ok().filter(|_| token.bytes().all(|byte| byte.is_ascii_digit())) else {
                parts.words.push(token.to_owned());
                continue;
            };
            match token.len() {
                // `2024-08-06`
                4 if token.starts_with("20") => {
                    parts.is_dated = true;
                    while tokens.next_if(|next| next.len() == 2 && next.bytes().all(|byte| byte.is_ascii_digit())).is_some()
                    {
                    }
                }
                _ if is_build => parts.is_dated = true,
                // `001`, `0613`, `20250929`
                3.. => parts.is_dated = true,
                _ => parts.version.push(number),
            }
        }
        parts.words.sort_unstable();
        // `claude-opus-4-0` is an alias of `claude-opus-4`.
        while parts.version.len() > 1 && parts.version.last() == Some(&0) {
            parts.version.pop();
        }
        parts
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn other_names_of_a_model_are_the_same_model() {
        for (asked, answered) in [
            ("claude-sonnet-4-5", "claude-sonnet-4-5-20250929"),
            ("claude-sonnet-4-5-20250929", "claude-sonnet-4-5"),
            ("claude-sonnet-4-5[1m]", "claude-sonnet-4-5-20250929"),
            ("anthropic/claude-sonnet-4.5", "anthropic/claude-4.5-sonnet-20250929"),
            ("claude-3-5-sonnet-latest", "claude-3-5-sonnet-20241022"),
            ("claude-opus-4-0", "claude-opus-4-20250514"),
            ("claude-sonnet-4-5@20250929", "claude-sonnet-4-5"),
            ("gpt-4o", "gpt-4o-2024-08-06"),
            ("openai/gpt-5.1", "gpt-5.1-2025-11-13"),
            ("o3", "o3-2025-04-16"),
            ("gpt-4", "gpt-4-0613"),
            ("models/gemini-2.5-pro", "gemini-2.5-pro"),
            ("gemini-flash-latest", "gemini-2.5-flash-preview-09-2025"),
            ("gemini-2.5-flash", "gemini-2.5-flash-preview-05-20"),
            ("gemini-2.0-flash", "gemini-2.0-flash-001"),
            ("GPT-5", "gpt-5"),
            ("anthropic/claude-sonnet-4.5:beta", "claude-sonnet-4-5"),
            // Aliases that the table does not know.
            ("sonnet", "claude-sonnet-4-5-20250929"),
            ("openrouter/auto", "anthropic/claude-sonnet-4.5"),
            ("claude-sonnet-4-5", "our-deployment-7"),
            ("", "claude-sonnet-4-5"),
            ("claude-sonnet-4-5", ""),
        ] {
            assert!(is_same_model(asked, answered), "{asked} {answered}");
        }
    }

    #[test]
    fn another_model_is_seen() {
        for (asked, answered) in [
            ("claude-opus-4-5", "claude-sonnet-4-5-20250929"),
            ("claude-sonnet-4-5", "claude-sonnet-4-20250514"),
            ("claude-sonnet-4-5-20250929", "claude-haiku-4-5-20251001"),
            ("anthropic/claude-opus-4.1", "openai/gpt-5"),
            ("gpt-5", "gpt-5-mini-2025-08-07"),
            ("gpt-5.1-codex-max", "gpt-5.1-codex"),
            ("gpt-4o", "gpt-4o-mini-2024-07-18"),
            ("gemini-2.5-pro", "gemini-2.5-flash"),
            ("gemini-2.5-flash", "gemini-2.0-flash-001"),
            ("o3", "o4-mini-2025-04-16"),
        ] {
            assert!(!is_same_model(asked, answered), "{asked} {answered}");
        }
    }

    #[test]
    fn a_pin_is_a_name_or_an_alias_and_a_dated_name_is_a_full_one() {
        assert!(is_pinned_model("claude-sonnet-4-5", "claude-sonnet-4-5-20250929"));
        assert!(is_pinned_model("sonnet", "claude-sonnet-4-5-20250929"));
        assert!(!is_pinned_model("sonnet", "claude-haiku-4-5-20251001"));
        assert!(!is_pinned_model("claude-sonnet-4-5", "claude-haiku-4-5"));
        assert!(!is_pinned_model("", "claude-haiku-4-5"));
        for name in
            ["claude-sonnet-4-5-20250929", "gpt-4o-2024-08-06", "gpt-4.1-2025-04-14", "gemini-2.5-flash-preview-05-20"]
        {
            assert!(is_snapshot(name), "{name}");
        }
        for name in ["claude-sonnet-4-5", "gpt-5.1", "gemini-flash-latest", "our-deployment-20250101"] {
            assert!(!is_snapshot(name), "{name}");
        }
    }
}
