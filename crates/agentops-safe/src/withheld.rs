//! Which environment variables are withheld from agents, gates and set-up programs.
//!
//! A variable is withheld when its name or its value looks like a secret, or when it opens the way to credentials: those of a
//! cloud, of an SSH or GPG agent, of a cluster. What programs need to run at all passes by name.

use std::sync::LazyLock;

use crate::redact::{self, Redactor};

/// The rules alone, without known values: built once, not for each variable.
static RULES: LazyLock<Redactor> = LazyLock::new(|| Redactor::new([]));

/// Names that always pass: programs do not run without them.
const PASS: &[&str] = &["PATH", "HOME", "USER", "LOGNAME", "SHELL", "PWD", "LANG", "LANGUAGE", "TERM", "TMPDIR", "TZ"];
/// Beginnings of names whose variables configure access to a cloud or a vault: which of them is a secret differs by tool.
const FAMILIES: &[&str] =
    &["AWS_", "AZURE_", "ARM_", "GOOGLE_", "GCP_", "GCLOUD_", "CLOUDSDK_", "VAULT_", "CONSUL_HTTP_", "OP_SESSION_"];
/// Names that lead to credentials without holding one.
const WAYS: &[&str] = &["SSH_AUTH_SOCK", "SSH_AGENT_PID", "GPG_AGENT_INFO", "KUBECONFIG", "DBUS_SESSION_BUS_ADDRESS"];

/// Whether a variable is withheld.
///
/// ```
/// use agentops_safe::is_withheld;
///
/// assert!(is_withheld("OPENAI_API_KEY", "x"));
/// assert!(is_withheld("DATABASE_URL", "postgres://me:s3cr3tpw@db/x"));
/// assert!(is_withheld("SSH_AUTH_SOCK", "/run/user/1000/ssh"));
/// assert!(!is_withheld("PATH", "/usr/bin:/bin"));
/// assert!(!is_withheld("JAVA_HOME", "/usr/lib/jvm/default"));
/// ```
#[must_use]
pub fn is_withheld(name: &str, value: &str) -> bool {
    let upper = name.to_ascii_uppercase();
    if PASS.contains(&upper.as_str()) || upper.starts_with("LC_") {
        return false;
    }
    let by_name = WAYS.contains(&upper.as_str())
        || FAMILIES.iter().any(|family| upper.starts_with(family))
        || redact::is_secret_name(name);
    by_name || redact::holds_password(value) || RULES.finds(value.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn s6_a_variable_is_withheld_by_its_name_or_by_its_value() {
        for (name, value) in [
            ("ANTHROPIC_API_KEY", "short"),
            ("CLAUDE_CODE_OAUTH_TOKEN", "x"),
            ("GITHUB_TOKEN", "x"),
            ("PGPASSWORD", "x"),
            ("AWS_PROFILE", "admin"),
            ("GOOGLE_APPLICATION_CREDENTIALS", "/home/me/key.json"),
            ("ssh_auth_sock", "/tmp/agent"),
            ("KUBECONFIG", "/home/me/.kube/config"),
            ("DATABASE_URL", "mysql://root:hunter2hunter2@db/x"),
            ("HTTPS_PROXY", "http://me:hunter2hunter2@proxy:3128"),
            ("INNOCENT", "ghp_16C7e42F292c6912E7710c838347Ae178B4a"),
        ] {
            assert!(is_withheld(name, value), "{name}");
        }
        for (name, value) in [
            ("PATH", "/usr/bin"),
            ("HOME", "/home/me"),
            ("LC_ALL", "C.UTF-8"),
            ("CARGO_HOME", "/home/me/.cargo"),
            ("RUSTFLAGS", "-D warnings"),
            ("NODE_OPTIONS", "--max-old-space-size=4096"),
            ("ANTHROPIC_BASE_URL", "http://127.0.0.1:4000"),
            ("HTTPS_PROXY", "http://proxy:3128"),
            ("TOKENIZERS_PARALLELISM", "false"),
            ("DATABASE_URL", "sqlite://test.db"),
        ] {
            assert!(!is_withheld(name, value), "{name}");
        }
    }
}
