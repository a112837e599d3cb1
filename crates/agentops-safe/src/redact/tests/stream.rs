//! The outcome does not depend on how a stream is cut, and redacting twice is redacting once.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use proptest::prelude::*;

use super::super::rules::{WINDOW_MAX, all};
use super::rules::{generators, with_secret};
use super::*;

#[test]
fn s6_a_secret_is_found_wherever_the_stream_is_cut() {
    let key =
        format!("-----BEGIN PRIVATE KEY-----\n{}-----END PRIVATE KEY-----", "MIIEvQIBADANBgkqhkiG9w0BAQEFAASC\n".repeat(8));
    let redactor = knowing("kn0wn \"value\"\\of/one");
    let quoted = serde_json::to_string("kn0wn \"value\"\\of/one").expect("a string");
    let base64 = STANDARD.encode("user:kn0wn \"value\"\\of/one");
    let text = format!(
        "{{\"a\":{quoted},\"b\":\"\\n{}\"}} token=\"a1B2c3D4e5F6g7\" {base64} sk-ant-api03-{} {key}\n[redacted:MY_KEY] end",
        "AKIAIOSFODNN7EXAMPLE",
        "x1-".repeat(20)
    );
    let whole = redactor.redact(&text).into_owned();
    for secret in ["kn0wn", "IOSFODNN7", "a1B2c3D4", "x1-x1", "MIIE"] {
        assert!(!whole.contains(secret), "{whole}");
    }
    for cut in 0..=text.len() {
        let out = in_chunks(&redactor, text.as_bytes(), &[cut]);
        assert_eq!(String::from_utf8_lossy(&out), whole, "cut at {cut}");
    }
    let all: Vec<usize> = (0..text.len()).collect();
    assert_eq!(String::from_utf8_lossy(&in_chunks(&redactor, text.as_bytes(), &all)), whole);
}

#[test]
fn s6_a_run_longer_than_the_window_is_hidden_to_its_end() {
    let text = format!("x sk-ant-{} y", "a1".repeat(40_000));
    assert_eq!(plain().redact(&text), "x [redacted:anthropic-key] y");
    let cuts: Vec<usize> = (1..text.len()).step_by(997).collect();
    assert_eq!(in_chunks(&plain(), text.as_bytes(), &cuts), b"x [redacted:anthropic-key] y");
}

#[test]
fn s6_the_stream_holds_back_a_bounded_amount() {
    let redactor = knowing("correct-horse-battery");
    let mut stream = redactor.stream();
    assert_eq!(stream.push(b"plain text\n"), b"plain text\n", "text without a beginning of a secret is not delayed");
    let mut held_most = 0;
    for _ in 0..1000 {
        let _ = stream.push(b"token -----BEGIN PRIVATE KEY----- eyJ sk-ant- \\");
        held_most = held_most.max(stream.held_back());
    }
    assert!((WINDOW_MAX / 2..WINDOW_MAX + 200).contains(&held_most), "{held_most}");
    assert!(!format!("{stream:?}").contains("BEGIN"));
}

#[test]
fn s6_a_flood_of_colour_codes_is_not_held_back() {
    let mut stream = plain().stream();
    let held: Vec<usize> = (0..2000)
        .map(|_| {
            let _ = stream.push(b"sk-ant-\x1b[31m\x1b[0m\x1b[1m\x1b[K\x1b[m\\u001b[0m");
            stream.held_back()
        })
        .collect();
    assert!(held.iter().all(|held| *held < 4 * WINDOW_MAX), "{:?}", held.iter().max());
}

proptest! {
    #![proptest_config(cases(96))]

    #[test]
    fn s6_redaction_is_idempotent_and_the_same_in_chunks(
        pieces in proptest::collection::vec(prop_oneof![
            "[ -~\\n]{0,8}",
            proptest::sample::select(all().iter().flat_map(|rule| rule.keywords).copied().collect::<Vec<_>>())
                .prop_map(str::to_owned),
            proptest::sample::select(generators())
                .prop_flat_map(|(_, secret, form)| secret.prop_map(move |value| with_secret(form, &value))),
            proptest::sample::select(vec![
                "known-value-1", "]known\\n", "n345678]", "[redacted:K]", "[redacted:jwt]", "[redac", "AKIA", "\\", "\\u0",
                "\x1b[31m", "\x1b[", "\\u001b[0m", "\\u0073", "\\\\u002d", "m", "12345678", "0",
            ])
            .prop_map(str::to_owned),
        ], 0..9),
        cuts in proptest::collection::vec(any::<proptest::sample::Index>(), 0..6),
    ) {
        let redactor = Redactor::new([("K".into(), "known-value-1".into()), ("L".into(), "]known\\n345678]".into())]);
        let text = pieces.concat();
        let once = redactor.redact(&text).into_owned();
        prop_assert_eq!(redactor.redact(&once), once.as_str());
        let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut.index(text.len() + 1)).collect();
        cuts.sort_unstable();
        let streamed = in_chunks(&redactor, text.as_bytes(), &cuts);
        prop_assert_eq!(String::from_utf8_lossy(&streamed), once.as_str());
    }

    #[test]
    fn s6_any_bytes_pass(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
        let once = plain().redact_bytes(&bytes).into_owned();
        prop_assert_eq!(plain().redact_bytes(&once), once.as_slice());
    }
}
