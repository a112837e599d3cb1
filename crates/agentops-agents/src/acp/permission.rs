//! A program asks whether it may use a tool: answered at once, by what the session may use.

use serde_json::{Value, json};

use crate::rights::{Rights, Room};
use crate::text::{DETAIL_CHARS, cut};

/// Why a tool is refused, for a person and for the program's model.
pub(super) type Refusal = String;

/// What is asked for: one tool call of `session/request_permission`.
pub(super) fn decide(rights: &Rights, room: &Room, call: &Value) -> Result<(), Refusal> {
    let kind = call["kind"].as_str().unwrap_or("other");
    match kind {
        "read" | "search" => {
            let listed = if kind == "read" { rights.read } else { rights.search };
            check(listed, "not in the agent's list of tools")?;
            check(paths(call).all(|path| room.holds(path)), "outside the work tree")
        }
        "edit" | "delete" | "move" => {
            // Without a path nobody knows what would be written.
            check(paths(call).next().is_some(), "it names no path")?;
            let allowed = |path: &str| room.is_out(path) || rights.write && room.holds(path);
            let place = if rights.write { "outside the work tree" } else { "outside the session's out folder" };
            check(paths(call).all(allowed), place)
        }
        "execute" => check(rights.may_run(&command(call)), "not among the agent's commands"),
        "fetch" => check(rights.fetch || rights.web_search, "not in the agent's list of tools"),
        "think" => Ok(()),
        other => Err(format!("a tool of kind `{}` is not in the agent's list", cut(other, 40))),
    }
}

fn check(holds: bool, reason: &str) -> Result<(), Refusal> {
    if holds { Ok(()) } else { Err(reason.to_owned()) }
}

/// Every path that the call names, wherever it names it: locations, differences, its own arguments.
fn paths(call: &Value) -> impl Iterator<Item = &str> {
    let list = |key: &str| call[key].as_array().map_or(&[][..], Vec::as_slice).iter();
    let named = list("locations").chain(list("content")).filter_map(|part| part["path"].as_str());
    let arguments = call["rawInput"].as_object().into_iter().flatten();
    let is_path = |key: &str| ["path", "filePath", "file_path", "filepath", "notebook_path"].contains(&key);
    named.chain(arguments.filter(move |(key, _)| is_path(key)).filter_map(|(_, value)| value.as_str()))
}

/// The command line as the program's arguments have it, else as it shows it.
fn command(call: &Value) -> String {
    match &call["rawInput"]["command"] {
        Value::String(command) => command.clone(),
        Value::Array(words) => words.iter().filter_map(Value::as_str).collect::<Vec<_>>().join(" "),
        _ => call["title"].as_str().unwrap_or_default().trim_matches('`').to_owned(),
    }
}

/// The answer: the option that allows or refuses this once. `None`: what was asked for has been cancelled meanwhile.
pub(super) fn answer(id: &Value, params: &Value, allowed: Option<bool>) -> Value {
    let option = |kind: &str| {
        let fits = |option: &&Value| option["kind"].as_str() == Some(kind);
        params["options"].as_array().into_iter().flatten().find(fits).and_then(|option| option["optionId"].as_str())
    };
    let chosen = match allowed {
        Some(true) => option("allow_once"),
        Some(false) => option("reject_once").or_else(|| option("reject_always")),
        None => None,
    };
    let outcome = match chosen {
        Some(id) => json!({"outcome": "selected", "optionId": id}),
        None => json!({"outcome": "cancelled"}),
    };
    json!({"jsonrpc": "2.0", "id": id, "result": {"outcome": outcome}})
}

/// What the tool is called, and what it is about.
pub(super) fn label(call: &Value) -> (String, String) {
    let text = |key: &str| call[key].as_str().filter(|text| !text.is_empty());
    let name = text("name").or_else(|| text("kind")).unwrap_or("tool");
    let detail = text("title").or_else(|| call["locations"][0]["path"].as_str()).unwrap_or_default();
    (cut(name, 80), cut(detail, DETAIL_CHARS))
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::driver::Access;

    fn asked(rights: &Rights, call: Value) -> Result<(), Refusal> {
        decide(rights, &Room::new(Path::new("/lane")), &call)
    }

    #[test]
    fn who_makes_artifacts_writes_only_below_the_out_folder() {
        let rights = Rights::of(None, Access::Artifacts);
        let edit = |path: &str| asked(&rights, json!({"kind": "edit", "locations": [{"path": path}]}));
        assert!(edit("/lane/.agentops-out/plan.md").is_ok());
        assert_eq!(edit("/lane/src/a.rs").unwrap_err(), "outside the session's out folder");
        assert!(edit("/lane/.agentops-out/../a.rs").is_err());
        assert!(asked(&rights, json!({"kind": "execute", "title": "ls"})).is_err());
        assert!(asked(&rights, json!({"kind": "read", "locations": [{"path": "/lane/a"}]})).is_ok());
        assert!(asked(&rights, json!({"kind": "read", "locations": [{"path": "/etc/passwd"}]})).is_err());
    }

    #[test]
    fn all_paths_of_a_call_must_fit_and_none_is_too_few() {
        let rights = Rights::of(None, Access::Write);
        let two = json!({"kind": "move", "locations": [{"path": "/lane/a"}], "rawInput": {"filePath": "/etc/b"}});
        assert!(asked(&rights, two).is_err());
        assert!(asked(&rights, json!({"kind": "edit", "content": [{"type": "diff", "path": "/lane/a"}]})).is_ok());
        assert_eq!(asked(&rights, json!({"kind": "edit", "title": "a.txt"})).unwrap_err(), "it names no path");
        for nonsense in [json!(null), json!({"kind": 7}), json!({"kind": "switch_mode"}), json!({"kind": "execute"})] {
            assert!(asked(&rights, nonsense.clone()).is_err(), "{nonsense}");
        }
    }

    #[test]
    fn a_command_is_taken_from_the_arguments_before_the_title() {
        let rights = Rights::of(Some(&["Bash(git log:*)".to_owned()]), Access::Write);
        let run = |command: Value| {
            asked(&rights, json!({"kind": "execute", "title": "git log", "rawInput": {"command": command}}))
        };
        assert!(run(json!("git log -1")).is_ok());
        assert!(run(json!(["git", "log"])).is_ok());
        assert!(run(json!("rm -r .")).is_err());
        assert!(asked(&rights, json!({"kind": "execute", "title": "`git log`"})).is_ok());
    }

    #[test]
    fn the_answer_is_for_this_once_and_never_for_always() {
        let options = json!({"options": [{"optionId": "a", "kind": "allow_always"}, {"optionId": "o", "kind": "allow_once"},
            {"optionId": "r", "kind": "reject_once"}]});
        let chosen = |allowed| answer(&json!(7), &options, allowed)["result"]["outcome"].clone();
        assert_eq!(chosen(Some(true))["optionId"], "o");
        assert_eq!(chosen(Some(false))["optionId"], "r");
        assert_eq!(chosen(None), json!({"outcome": "cancelled"}));
        let always = json!({"options": [{"optionId": "a", "kind": "allow_always"}]});
        assert_eq!(answer(&json!("x"), &always, Some(true))["result"]["outcome"]["outcome"], "cancelled");
    }
}
