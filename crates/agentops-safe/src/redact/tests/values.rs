//! Values that are known exactly, in every encoding.

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD, URL_SAFE, URL_SAFE_NO_PAD};
use proptest::prelude::*;
use serde_json::Value;

use super::super::rules::WINDOW_MAX;
use super::super::{forms, view};
use super::*;

#[test]
fn s6_long_and_many_lined_values_are_found() {
    let value = (0..900).map(|n| format!("{:x}", n * 7919)).collect::<String>();
    let redactor = knowing(&value);
    let base64 = STANDARD.encode(&value);
    for text in [format!("<{value}>"), format!("<{base64}>")] {
        let out = redactor.redact(&text).into_owned();
        assert!(out.len() < 300, "{out}");
    }
    let lines = "first-line-of-a-known-value-0001\nsecond-line-of-a-known-value-02";
    assert_eq!(knowing(lines).redact("  second-line-of-a-known-value-02"), "  [redacted:MY_KEY]");
}

#[test]
fn s6_no_form_outgrows_the_window_of_the_stream() {
    for character in ["\u{1}", "\"", "é", "🙂", "x"] {
        let longest = forms::forms(&character.repeat(5000)).iter().map(Vec::len).max();
        assert!(longest < Some(WINDOW_MAX), "{character:?}: {longest:?}");
    }
}

#[test]
fn s6_short_values_are_reported_and_names_are_safe() {
    let redactor = Redactor::new([("PIN".into(), "1234".into()), ("a \"b\"\\\n".into(), "long-enough-1".into())]);
    assert_eq!(redactor.too_short(), ["PIN"]);
    assert_eq!(redactor.redact("1234 long-enough-1"), "1234 [redacted:a__b___]");
    assert!(!format!("{redactor:?}").contains("long-enough"));
}

proptest! {
    #![proptest_config(cases(64))]

    #[test]
    fn s6_known_values_are_found_in_every_encoding(
        value in "[!#-~]{6}[ -~äöü\\n\\t]{0,30}[!#-~]{2}",
        around in "[a-z ]{0,5}",
    ) {
        prop_assume!(parts::parts(&value).is_none());
        let redactor = knowing(&value);
        let percent = |plain: fn(u8) -> bool| {
            let one = |byte| if plain(byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") };
            value.bytes().map(one).collect::<String>()
        };
        let json_text = serde_json::to_string(&value).expect("a string");
        let mut texts = placed(&value);
        texts.extend([
            percent(|byte| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte)),
            percent(|byte| byte.is_ascii_alphanumeric() || b"-_.*".contains(&byte)).replace("%20", "+"),
            json_text.clone(),
            serde_json::to_string(&json_text).expect("a string"),
            json_text.replace('/', "\\/"),
            value.bytes().map(|byte| format!("{byte:02x}")).collect(),
        ]);
        let forms = texts.iter().map(|text| format!("{around}{text}{around}")).collect::<Vec<_>>();
        for text in &forms {
            let out = redactor.redact(text).into_owned();
            // A form of nothing but digits may be a number of a JSON document, and stays one.
            prop_assert!(!out.contains(&value) && (out.contains("[redacted:MY_KEY]") || out.contains('0')), "{} → {}", text, out);
            prop_assert_eq!(redactor.redact(&out), out.as_str());
        }
        for before in 0..4 {
            for after in 0..4 {
                let inner = format!("{}{value}{}", &"abcd"[..before], &"wxyz"[..after]);
                for engine in [&STANDARD, &STANDARD_NO_PAD, &URL_SAFE, &URL_SAFE_NO_PAD] {
                    let text = format!("<{}>", engine.encode(&inner));
                    let out = redactor.redact(&text).into_owned();
                    prop_assert!(out.contains("[redacted:MY_KEY]"), "{} → {}", text, out);
                    // What is left besides the marker encodes what was around, and less than a byte of the value.
                    prop_assert!(out.len() <= "<[redacted:MY_KEY]>".len() + 4 + 8, "{} → {}", text, out);
                }
            }
        }
    }

    #[test]
    fn s6_known_values_are_found_through_colours_and_spelling(
        value in "[!-~]{2}[ -~]{6,20}[!-~]{2}",
        at in any::<proptest::sample::Index>(),
    ) {
        let value = value.trim_matches('"').to_owned();
        prop_assume!(value.len() >= KNOWN_BYTES_MIN && parts::parts(&value).is_none());
        let redactor = knowing(&value);
        let json = serde_json::to_string(&value).expect("a string");
        let inner = &json[1..json.len() - 1];
        let at = 1 + at.index(value.len() - 1);
        for text in [
            interrupted(&value, at, "\x1b[38;5;12m"),
            format!("\"{}\"", spelled(&value)),
            format!("\"\\u001B[1m{inner}\\u001b[0m\""),
            STANDARD.encode(&value),
        ] {
            let out = redactor.redact(&text).into_owned();
            let seen = String::from_utf8(view::shown(out.as_bytes())).expect("a text");
            prop_assert!(!seen.contains(&value) && !seen.contains(inner), "{:?} → {:?}", text, out);
            prop_assert_eq!(redactor.redact(&out), out.as_str());
            if serde_json::from_str::<Value>(&text).is_ok() {
                prop_assert!(serde_json::from_str::<Value>(&out).is_ok(), "{:?} → {:?}", text, out);
            }
        }
    }
}
