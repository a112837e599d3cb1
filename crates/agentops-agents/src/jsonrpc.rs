//! Lines of JSON-RPC 2.0, as programs speak it on stdio, told apart by their kind.

use serde_json::Value;

/// A line of the program.
#[derive(Debug)]
pub(crate) enum Incoming {
    /// The answer to one of our requests.
    Answer { id: u64, result: Result<Value, Value> },
    /// It asks us something and waits.
    Request { id: Value, method: String, params: Value },
    /// It tells us something.
    Notice { method: String, params: Value },
}

/// `None`: not a line of the protocol. Programs that leave `jsonrpc` out are understood all the same.
pub(crate) fn parse(line: &str) -> Option<Incoming> {
    let Ok(Value::Object(mut message)) = serde_json::from_str(line) else { return None };
    let mut take = |key: &str| message.remove(key).filter(|value| !value.is_null());
    let (id, params) = (take("id"), take("params").unwrap_or_default());
    match (id, take("method")) {
        (Some(id), Some(Value::String(method))) => Some(Incoming::Request { id, method, params }),
        (None, Some(Value::String(method))) => Some(Incoming::Notice { method, params }),
        (Some(id), None) => {
            let result = take("error").map_or_else(|| Ok(take("result").unwrap_or_default()), Err);
            Some(Incoming::Answer { id: id.as_u64()?, result })
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_told_apart() {
        assert!(matches!(parse(r#"{"id":1,"result":{}}"#), Some(Incoming::Answer { id: 1, result: Ok(_) })));
        assert!(matches!(parse(r#"{"id":1,"error":{"code":1}}"#), Some(Incoming::Answer { result: Err(_), .. })));
        assert!(matches!(parse(r#"{"id":"a","method":"m"}"#), Some(Incoming::Request { .. })));
        assert!(matches!(parse(r#"{"method":"m","params":{}}"#), Some(Incoming::Notice { .. })));
        for line in ["", "null", "[]", "{}", r#"{"id":1"#, r#"{"method":1}"#, r#"{"id":"x"}"#] {
            assert!(parse(line).is_none(), "{line}");
        }
    }
}
