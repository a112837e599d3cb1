//! A value that cannot be printed by accident.

use std::fmt;

/// A secret text: a key, a token, a password.
///
/// Formatting it in any way gives `[secret]`; reading it takes the deliberate call [`Secret::expose`], which a reviewer
/// can search for. It has no `Serialize`, so it cannot slip into a ledger, a log or an answer as part of something larger.
///
/// ```
/// use agentops_safe::Secret;
///
/// let key = Secret::new("correct horse");
/// assert_eq!(format!("{key}"), "[secret]");
/// assert_eq!(format!("{key:?}"), "[secret]");
/// assert_eq!(format!("{:#?}", Some(&key)), "Some(\n    [secret],\n)");
/// assert_eq!(key.expose(), "correct horse");
/// ```
///
/// ```compile_fail
/// fn written(value: &impl serde::Serialize) {}
/// written(&agentops_safe::Secret::new("correct horse"));
/// ```
#[derive(Clone)]
pub struct Secret(String);

impl Secret {
    /// Wraps a value. Any text is allowed, also an empty one.
    #[must_use]
    pub fn new(value: impl Into<String>) -> Self {
        Self(value.into())
    }

    /// The value itself, for the one place that needs it: a request header, a child's environment.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl From<String> for Secret {
    fn from(value: String) -> Self {
        Self(value)
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[secret]")
    }
}

impl fmt::Display for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[secret]")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn s6_a_secret_inside_a_larger_value_is_not_printed() {
        #[derive(Debug)]
        #[expect(dead_code, reason = "only its Debug output matters")]
        struct Request {
            key: Secret,
            all: Vec<Secret>,
        }
        let key = Secret::from(String::from("hunter2hunter2"));
        let request = Request { key: key.clone(), all: vec![key] };
        assert!(!format!("{request:?} {request:#?}").contains("hunter2"));
    }
}
