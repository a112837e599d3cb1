//! Known values that contain quotes, such as the key file of a service account kept in one variable.
//!
//! Where such a value stands in a JSON document as it is, its quotes may be those of the document's own strings, and one
//! marker for all of it would break the document. So the secrets inside are searched instead. Escaped or encoded it lies
//! within one string, and is found as a whole.

use serde_json::Value;

use super::KNOWN_BYTES_MIN;
use super::environment::{is_secret_name, is_secret_value};

/// A member without a telling name is taken for a secret from this length on, in bytes, if it looks random.
const RANDOM_BYTES_MIN: usize = 20;

/// What to search instead of the value itself; `None` if it can stand in no JSON document but within one string.
pub(super) fn parts(value: &str) -> Option<Vec<String>> {
    if !could_end_a_string(value) {
        return None;
    }
    let mut found = Vec::new();
    match serde_json::from_str(value) {
        Ok(document) => members("", &document, &mut found),
        Err(_) => {
            let between = |text: &str| text.trim_matches(|c: char| c.is_whitespace() || ",:[]{}".contains(c)).to_owned();
            found.extend(value.split('"').map(between).filter(|part| part.len() >= KNOWN_BYTES_MIN));
            if found.is_empty() {
                return None;
            }
        }
    }
    Some(found)
}

/// Whether a quote inside stands as the first or last of a JSON string would.
fn could_end_a_string(value: &str) -> bool {
    let blank = |byte: u8| byte.is_ascii_whitespace() || b",:".contains(&byte);
    value.as_bytes().windows(3).any(|near| match near {
        [before, b'"', after] => blank(*before) || blank(*after) || b"[{".contains(before) || b"]}".contains(after),
        _ => false,
    })
}

fn members(name: &str, value: &Value, found: &mut Vec<String>) {
    match value {
        Value::String(text) => {
            let is_random = text.len() >= RANDOM_BYTES_MIN
                && text.bytes().any(|byte| byte.is_ascii_digit())
                && text.bytes().any(|byte| byte.is_ascii_alphabetic())
                && !text.contains(['@', ' ']);
            let is_secret = is_random || (is_secret_name(name) && is_secret_value(text));
            if is_secret && text.len() >= KNOWN_BYTES_MIN && !text.contains("://") && !text.contains('"') {
                found.push(text.clone());
            }
        }
        Value::Array(values) => values.iter().for_each(|value| members(name, value, found)),
        Value::Object(pairs) => pairs.iter().for_each(|(name, value)| members(name, value, found)),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn s6_the_secrets_of_a_key_file_are_known_and_its_words_are_not() {
        let file = r#"{"type": "service_account", "project_id": "shop", "private_key_id": "0a1b2c3d4e5f60718293a4b5",
            "private_key": "-----BEGIN PRIVATE KEY-----\nMIIEvQ\n-----END PRIVATE KEY-----\n",
            "client_email": "robot@shop-1.example", "token_uri": "https://oauth2.example/token", "pins": ["s3cretPin"]}"#;
        let known = parts(file).expect("a document");
        assert_eq!(known, ["-----BEGIN PRIVATE KEY-----\nMIIEvQ\n-----END PRIVATE KEY-----\n", "0a1b2c3d4e5f60718293a4b5"]);
    }

    #[test]
    fn s6_a_password_with_a_quote_is_one_value() {
        assert_eq!(parts("cor\"rect-horse"), None);
        assert_eq!(parts("first-half\", \"second-half"), Some(vec!["first-half".to_owned(), "second-half".to_owned()]));
    }
}
