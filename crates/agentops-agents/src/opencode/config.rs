//! The configuration of one session.

use agentops_core::models;
use serde_json::{Map, Value, json};

use super::provider::Provider;
use crate::driver::{OUT_DIR, SessionRequest};
use crate::rights::{Allowed, Rights, Shell};

/// Standing instructions of a repository that the program would read itself if we let it read the rest of the project's
/// configuration; the first that is there counts.
const STANDING: &[&str] = &["AGENTS.md", "CLAUDE.md"];

/// All that the program reads besides what its administrator says.
pub(super) fn of_session(model: &str, provider: &Provider, request: &SessionRequest) -> Value {
    let mut entry = if request.route.is_some() { provider.routed() } else { provider.entry.clone() };
    if provider.is_custom() {
        name_model(&mut entry, model, request);
    }
    let standing = STANDING.iter().map(|name| request.work_tree.join(name)).find(|path| path.is_file());
    json!({
        "autoupdate": false,
        "share": "disabled",
        "snapshot": false,
        // What the repository configures for these would be started by the program.
        "formatter": false,
        "lsp": false,
        "mcp": {},
        "model": model,
        "small_model": model,
        "enabled_providers": [provider.id],
        "provider": {provider.id.as_str(): entry},
        "compaction": {"auto": false, "prune": false},
        // A call of its own, only for a name that nobody sees.
        "agent": {"title": {"disable": true}},
        "instructions": standing.iter().map(|path| path.to_string_lossy()).collect::<Vec<_>>(),
        "permission": permission(&Rights::of(request.tools.as_deref(), request.access)),
    })
}

/// What an interactive program gets on top of all that is its user's.
pub(super) fn of_led(provider: &Provider) -> Value {
    json!({"enabled_providers": [provider.id], "provider": {provider.id.as_str(): provider.routed()}})
}

/// A model of a provider that only the configuration knows is only known if it is listed there.
fn name_model(entry: &mut Map<String, Value>, model: &str, request: &SessionRequest) {
    let Some((_, name)) = model.split_once('/') else { return };
    let models = entry.entry("models").or_insert_with(|| json!({}));
    let Some(models) = models.as_object_mut() else { return };
    let listed = models.entry(name).or_insert_with(|| json!({}));
    if let (Some(window), Some(listed)) = (request.window, listed.as_object_mut()) {
        listed.insert("limit".into(), json!({"context": window.tokens(), "output": models::output_limit(model, window)}));
    }
}

/// The program's rules; of those that fit a call the last counts. What is not named is refused, and nobody is asked: a
/// question that is answered with no ends the session's work, a rule does not.
fn permission(rights: &Rights) -> Value {
    let mut rules = Map::new();
    let mut allow = |names: &[&str], allowed: bool| {
        for name in names.iter().filter(|_| allowed) {
            rules.insert((*name).to_owned(), "allow".into());
        }
    };
    allow(&["glob", "grep"], rights.search);
    allow(&["list"], rights.search || rights.read);
    allow(&["webfetch"], rights.fetch);
    allow(&["websearch"], rights.web_search);
    allow(&["todowrite", "todoread"], rights.todo);
    if rights.read {
        // Its own caution with files that hold secrets.
        let read = [("*", "allow"), ("*.env", "deny"), ("*.env.*", "deny"), ("*.env.example", "allow")];
        rules.insert("read".into(), ordered(read.map(|(pattern, action)| (pattern.to_owned(), action))));
    }
    let out = format!("{OUT_DIR}/**");
    let edit = if rights.write { json!("allow") } else { ordered([("*".to_owned(), "deny"), (out, "allow")]) };
    rules.insert("edit".into(), edit);
    match &rights.shell {
        Shell::None => {}
        Shell::Any => drop(rules.insert("bash".into(), "allow".into())),
        Shell::Only(list) => {
            let patterns = list.iter().flat_map(|allowed| match allowed {
                Allowed::Exactly(command) => vec![command.clone()],
                Allowed::Beginning(start) => vec![start.clone(), format!("{start} *")],
            });
            let patterns = patterns.map(|pattern| (pattern, "allow"));
            rules.insert("bash".into(), ordered([("*".to_owned(), "deny")].into_iter().chain(patterns)));
        }
    }
    for name in ["external_directory", "doom_loop"] {
        rules.insert(name.into(), "deny".into());
    }
    let mut whole = Map::new();
    whole.insert("*".into(), "deny".into());
    whole.extend(rules);
    Value::Object(whole)
}

/// Rules by pattern. Their order counts, and a map of JSON is written in the order of its keys: `*` comes before every
/// other character that a path or a command begins with.
fn ordered(rules: impl IntoIterator<Item = (String, &'static str)>) -> Value {
    Value::Object(rules.into_iter().map(|(pattern, action)| (pattern, action.into())).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::driver::Access;

    fn rules(listed: Option<&[&str]>, access: Access) -> Value {
        let listed: Option<Vec<String>> = listed.map(|listed| listed.iter().map(ToString::to_string).collect());
        permission(&Rights::of(listed.as_deref(), access))
    }

    #[test]
    fn what_is_not_named_is_refused_and_named_first() {
        let text = rules(None, Access::Write).to_string();
        assert!(text.starts_with(r#"{"*":"deny","#), "{text}");
        let researcher = rules(None, Access::Artifacts);
        assert_eq!(researcher["edit"].to_string(), r#"{"*":"deny",".agentops-out/**":"allow"}"#);
        assert!(researcher["bash"].is_null() && researcher["webfetch"].is_null());
        assert_eq!(researcher["external_directory"], "deny");
    }

    #[test]
    fn commands_are_patterns() {
        let listed = rules(Some(&["Bash(git log:*)", "Bash(cargo test)", "WebFetch"]), Access::Write);
        let wanted = r#"{"*":"deny","cargo test":"allow","git log":"allow","git log *":"allow"}"#;
        assert_eq!(listed["bash"].to_string(), wanted);
        assert_eq!(listed["webfetch"], "allow");
        assert!(listed["read"].is_null());
        assert_eq!(listed["edit"]["*"], "deny", "it is not listed");
    }
}
