//! A JSON document stays one, with the same structure.

use std::fmt;

use proptest::prelude::*;
use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::{Value, json};

use super::rules::{generators, sample, with_secret};
use super::*;

/// What of a document redaction may not change. Names that became equal still count apart.
#[derive(Debug, PartialEq, Eq)]
enum Structure {
    Leaf,
    Text,
    List(Vec<Structure>),
    Members(Vec<Structure>),
}

impl<'de> Deserialize<'de> for Structure {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Any;
        impl<'de> Visitor<'de> for Any {
            type Value = Structure;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("any value")
            }

            fn visit_unit<E>(self) -> Result<Structure, E> {
                Ok(Structure::Leaf)
            }

            fn visit_bool<E>(self, _: bool) -> Result<Structure, E> {
                Ok(Structure::Leaf)
            }

            fn visit_i64<E>(self, _: i64) -> Result<Structure, E> {
                Ok(Structure::Leaf)
            }

            fn visit_u64<E>(self, _: u64) -> Result<Structure, E> {
                Ok(Structure::Leaf)
            }

            fn visit_f64<E>(self, _: f64) -> Result<Structure, E> {
                Ok(Structure::Leaf)
            }

            fn visit_str<E>(self, _: &str) -> Result<Structure, E> {
                Ok(Structure::Text)
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut values: A) -> Result<Structure, A::Error> {
                let mut all = Vec::new();
                while let Some(value) = values.next_element()? {
                    all.push(value);
                }
                Ok(Structure::List(all))
            }

            fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Structure, A::Error> {
                let mut all = Vec::new();
                while let Some((_, value)) = members.next_entry::<String, _>()? {
                    all.push(value);
                }
                Ok(Structure::Members(all))
            }
        }
        deserializer.deserialize_any(Any)
    }
}

fn structure(document: &str) -> Structure {
    serde_json::from_str(document).unwrap_or_else(|error| panic!("{error}: {document}"))
}

/// Values that stand in documents as text, as numbers, with quotes, as a document.
const KNOWN: [&str; 7] =
    ["n1\\234\"5678", "n2345678abcd", "1234567890", "12345.6789", "first-half\", \"second-half", "[12,34,56,78]", KEY_FILE];
const KEY_FILE: &str = r#"{"type": "service_account", "private_key": "not-a-pem-but-7-secret", "n": 1}"#;

fn knowing_all() -> Redactor {
    Redactor::new(KNOWN.iter().enumerate().map(|(index, value)| (format!("K{index}"), (*value).to_owned())))
}

fn json_documents() -> impl Strategy<Value = Value> {
    let text = proptest::string::string_regex("[ -~\\n\\t\\\\\"é🙂]{0,20}").expect("an expression");
    let text = (text.boxed(), 0..generators().len(), any::<bool>()).prop_map(|(text, index, plant)| {
        let (_, _, form) = generators()[index];
        if plant { format!("{text}{}{text}", with_secret(form, "a1B2c3D4e5F6g7H8i9J0kLmNoPqRsTuVwXyZaB12")) } else { text }
    });
    let text = text.boxed();
    let known = (proptest::sample::select(&KNOWN[..]), any::<bool>()).prop_map(|(known, is_parsed)| {
        let parsed = serde_json::from_str(known).ok().filter(|_| is_parsed);
        parsed.unwrap_or_else(|| Value::from(known))
    });
    let numbers = prop_oneof![Just(json!(1234567890)), Just(json!(-12345.6789)), Just(json!([12, 34, 56, 78]))];
    let leaf = prop_oneof![
        text.clone().prop_map(Value::from),
        known,
        numbers,
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        Just(Value::Null)
    ];
    leaf.prop_recursive(3, 24, 4, move |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            proptest::collection::vec(
                (prop_oneof![text.clone(), Just("token".into()), Just("password:".into())], inner),
                0..4
            )
            .prop_map(|pairs| Value::Object(pairs.into_iter().collect())),
        ]
    })
}

#[test]
fn s6_a_known_value_that_is_a_document_is_hidden_in_one() {
    let redactor = knowing_all();
    let document = json!({"file": serde_json::from_str::<Value>(KEY_FILE).expect("valid"), "text": KEY_FILE}).to_string();
    let out = redactor.redact(&document).into_owned();
    assert!(!out.contains("not-a-pem"), "{out}");
    assert_eq!(structure(&out), structure(&document));
}

proptest! {
    #![proptest_config(cases(96))]

    #[test]
    fn s6_redacted_json_keeps_its_structure(document in json_documents()) {
        let redactor = knowing_all();
        let pretty = serde_json::to_string_pretty(&document).expect("writes");
        for text in [document.to_string(), pretty, json!(document.to_string()).to_string()] {
            let out = redactor.redact(&text).into_owned();
            prop_assert_eq!(structure(&out), structure(&text), "{} → {}", text, out);
            prop_assert_eq!(redactor.finds(text.as_bytes()), out != text);
        }
    }

    #[test]
    fn s6_the_inside_of_a_json_string_can_be_redacted_alone(document in json_documents()) {
        let text = json!(document.to_string()).to_string();
        let inside = &text.as_bytes()[1..text.len() - 1];
        let out = [b"\"", knowing_all().redact_bytes(inside).as_ref(), b"\""].concat();
        prop_assert!(serde_json::from_slice::<String>(&out).is_ok(), "{}", String::from_utf8_lossy(&out));
    }
}

/// Documents in which the words of a rule are followed by anything but a string.
#[test]
fn s6_a_rule_reads_no_value_out_of_the_rest_of_a_document() {
    let mut runner = runner(11);
    let redactor = plain();
    let mut broken = std::collections::BTreeSet::new();
    for (index, rule) in super::super::rules::all().iter().enumerate() {
        let (text, secret) = sample(index, &mut runner);
        let head = &text[..text.find(&secret).unwrap_or(text.len())];
        for (end, rest) in ["", "=", ":", " "].iter().flat_map(|end| RESTS.map(|rest| (end, rest))) {
            let name = json!(format!("{head}{end}"));
            for document in [
                format!("[{name},{rest}]"),
                format!("{{{name}:{rest}}}"),
                format!("[[{{{name}:{rest}]"),
                format!("[[{{\"name\":{name},\"value\":{rest}]"),
            ] {
                let is_valid = serde_json::from_str::<Value>(&document).is_ok();
                let out = redactor.redact(&document);
                if is_valid && serde_json::from_str::<Structure>(&out).ok() != Some(structure(&document)) {
                    broken.insert(format!("{}: {document} → {out}", rule.name));
                }
            }
        }
    }
    assert!(broken.is_empty(), "{broken:#?}");
}

const RESTS: [&str; 6] =
    ["false,12345", "false}],97", "-12345678e12,true", "null}],\"a1\"", "[false,1e9]", "1234567890123456789e12345"];

/// What these rules take after a name in quotes or after quotes that close is the rest of the document.
#[test]
fn s6_what_follows_a_string_of_json_is_no_value() {
    for (document, hidden) in [
        (r#"["mysql","-p",false]"#, None),
        (r#"["redis-cli -a ",false]"#, None),
        (r#"["deploy","--token=",false,1234]"#, None),
        (r#"["default password ",false]"#, None),
        (r#"["token x = ",false,12345]"#, None),
        (r#"["token=\\",false,1234567]"#, None),
        (r#"[[{"name":"pwd","value":false}],97]"#, None),
        (
            r#"[[{"name":"DB_PASSWORD","value":12345678e1}],false,1]"#,
            Some(r#"[[{"name":"DB_PASSWORD","value":0}],false,1]"#),
        ),
        (r#"{"algolia_key": 1234567890123456789012345678e012}"#, Some(r#"{"algolia_key": 0}"#)),
    ] {
        structure(document);
        assert_eq!(plain().redact(document), hidden.unwrap_or(document));
    }
}
