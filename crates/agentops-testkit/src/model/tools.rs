//! From what the script means to the tool that the asking client offers.

use serde_json::{Value, json};

use super::request::{Offered, Request};
use super::script::ToolCall;

/// A call in the client's own words.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Call {
    pub(super) name: String,
    pub(super) namespace: Option<String>,
    pub(super) input: Value,
    /// The client wants plain text for it: `input` is a string.
    pub(super) freeform: bool,
}

/// Long enough for a command of a test; codex otherwise answers early and keeps the command running.
const YIELD_MS: u64 = 20_000;

/// How the clients name their tool to write a file, and its field for the path.
const WRITE: [(&str, &str); 3] = [("Write", "file_path"), ("write", "filePath"), ("write_file", "file_path")];

/// How the clients name their tool to read a file, and its field for the path.
const READ: [(&str, &str); 3] = [("Read", "file_path"), ("read", "filePath"), ("read_file", "file_path")];

/// The client's tool for a call, or, when it offers none that could do it, the words to say instead.
pub(super) fn translate(call: &ToolCall, request: &Request) -> Result<Call, String> {
    let offered = |names: [(&'static str, &'static str); 3]| {
        names.into_iter().find(|(name, _)| request.tools.iter().any(|tool| tool.name == *name))
    };
    match call {
        ToolCall::Write { path, content } => {
            let path = absolute(path, request);
            if let Some((name, field)) = offered(WRITE) {
                return Ok(plain(name, json!({field: path, "content": content})));
            }
            shell(&write_command(&path, content), request)
                .ok_or_else(|| format!("I have no tool to write {path} with this content:\n{content}"))
        }
        ToolCall::Read { path } => {
            let path = absolute(path, request);
            if let Some((name, field)) = offered(READ) {
                return Ok(plain(name, json!({field: path})));
            }
            shell(&format!("cat -- {}", quoted(&path)), request).ok_or_else(|| format!("I have no tool to read {path}."))
        }
        ToolCall::Shell { command } => {
            shell(command, request).ok_or_else(|| format!("I have no tool to run this command:\n{command}"))
        }
        ToolCall::Raw { name, input } => Ok(raw(name, input, &request.tools)),
    }
}

fn plain(name: &str, input: Value) -> Call {
    Call { name: name.into(), namespace: None, input, freeform: false }
}

fn shell(command: &str, request: &Request) -> Option<Call> {
    request.tools.iter().find_map(|tool| match tool.name.as_str() {
        name @ ("Bash" | "bash" | "run_shell_command") => {
            Some(plain(name, json!({"command": command, "description": "Scripted command"})))
        }
        "exec_command" => Some(plain("exec_command", json!({"cmd": command, "yield_time_ms": YIELD_MS}))),
        "shell_command" => Some(plain("shell_command", json!({"command": command}))),
        // A program that calls the command tool: codex offers no more to models that it knows.
        "functions__exec" if tool.freeform => {
            let arguments = json!({"cmd": command, "yield_time_ms": YIELD_MS});
            let input = json!(format!("text(await tools.exec_command({arguments}));"));
            let (name, namespace) = (tool.local.clone(), tool.namespace.clone());
            Some(Call { name, namespace, input, freeform: true })
        }
        "shell" => Some(plain("shell", json!({"command": ["sh", "-c", command]}))),
        _ => None,
    })
}

/// A tool by name. One the client does not offer is called all the same: tests of refused tools want that. A tool of an
/// MCP server has `__` between the parts of its name with some clients, `_` with others, which may leave `mcp` out as well.
fn raw(name: &str, input: &Value, tools: &[Offered]) -> Call {
    let input = if input.is_null() { json!({}) } else { input.clone() };
    let short = name.strip_prefix("mcp__").map(|rest| rest.replacen("__", "_", 1));
    let fits = |tool: &&Offered| {
        let bare = tool.name.strip_prefix("mcp_").unwrap_or(&tool.name);
        tool.name == name || short.as_deref() == Some(bare)
    };
    match tools.iter().find(fits) {
        Some(tool) => Call { name: tool.local.clone(), namespace: tool.namespace.clone(), input, freeform: tool.freeform },
        None => plain(name, input),
    }
}

fn absolute(path: &str, request: &Request) -> String {
    match request.cwd() {
        Some(cwd) if !path.starts_with('/') => format!("{}/{path}", cwd.trim_end_matches('/')),
        _ => path.into(),
    }
}

/// A command line that writes exactly this content. `printf` because a here-document would add a newline and needs a
/// word that the content does not hold.
fn write_command(path: &str, content: &str) -> String {
    let write = format!("printf %s {} > {}", quoted(content), quoted(path));
    match path.rsplit_once('/') {
        Some((folder, _)) if !folder.is_empty() => {
            format!("mkdir -p -- {} && {write}", quoted(folder))
        }
        _ => write,
    }
}

fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(tools: Value) -> Request {
        Request::messages(&json!({"tools": tools, "messages": [
            {"role": "user", "content": "Primary working directory: /w/x\nmore"}]}))
    }

    fn names(list: &[&str]) -> Value {
        list.iter().map(|name| json!({"name": name})).collect()
    }

    #[test]
    fn writing_uses_the_clients_own_tool_and_an_absolute_path() {
        let call = translate(&ToolCall::write("a/b.md", "hi"), &request(names(&["Bash", "Write"]))).unwrap();
        assert_eq!(call, plain("Write", json!({"file_path": "/w/x/a/b.md", "content": "hi"})));
    }

    #[test]
    fn each_clients_own_words_are_used() {
        let path = "/w/x/b.md";
        for (write, read, run, field) in
            [("write", "read", "bash", "filePath"), ("write_file", "read_file", "run_shell_command", "file_path")]
        {
            let request = request(names(&[write, read, run]));
            let call = translate(&ToolCall::write("b.md", "hi"), &request).unwrap();
            assert_eq!(call, plain(write, json!({field: path, "content": "hi"})));
            let call = translate(&ToolCall::Read { path: "b.md".into() }, &request).unwrap();
            assert_eq!(call, plain(read, json!({field: path})));
            let call = translate(&ToolCall::shell("ls"), &request).unwrap();
            assert_eq!((call.name.as_str(), &call.input["command"]), (run, &json!("ls")));
        }
    }

    #[test]
    fn an_mcp_tool_is_called_as_its_client_names_it() {
        let call = ToolCall::Raw { name: "mcp__kit__submit_it".into(), input: Value::Null };
        for name in ["kit_submit_it", "mcp_kit_submit_it"] {
            assert_eq!(translate(&call, &request(names(&[name]))).unwrap().name, name);
        }
        assert_eq!(translate(&call, &request(names(&["other"]))).unwrap().name, "mcp__kit__submit_it");
    }

    #[test]
    fn writing_goes_through_the_shell_where_that_is_all_there_is() {
        let call = translate(&ToolCall::write("b.md", "it's %d\n"), &request(names(&["exec_command"]))).unwrap();
        assert_eq!(
            call.input["cmd"],
            r"mkdir -p -- '/w/x' && printf %s 'it'\''s %d
' > '/w/x/b.md'"
        );
    }

    #[test]
    fn a_command_is_a_program_where_only_programs_run() {
        let offered = json!([{"type": "namespace", "name": "functions", "tools": [{"type": "custom", "name": "exec"}]}]);
        let call = translate(&ToolCall::shell("echo \"a\""), &request(offered)).unwrap();
        assert_eq!((call.namespace.as_deref(), call.name.as_str(), call.freeform), (Some("functions"), "exec", true));
        assert!(call.input.as_str().unwrap().contains(r#"{"cmd":"echo \"a\"""#), "{}", call.input);
    }

    #[test]
    fn without_a_tool_the_content_is_said() {
        let said = translate(&ToolCall::write("b.md", "the content"), &request(names(&["Grep"]))).unwrap_err();
        assert!(said.contains("the content"));
    }

    #[test]
    fn a_tool_of_a_namespace_is_called_with_both_names() {
        let offered = json!([{"type": "namespace", "name": "mcp__kit", "tools": [{"name": "submit"}]}]);
        let call = ToolCall::Raw { name: "mcp__kit__submit".into(), input: Value::Null };
        let call = translate(&call, &request(offered)).unwrap();
        assert_eq!((call.namespace.as_deref(), call.name.as_str()), (Some("mcp__kit"), "submit"));
    }
}
