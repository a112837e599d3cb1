//! The promise S6 as properties: whatever the form and wherever the cut, the secret is not in what comes out.

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD, URL_SAFE, URL_SAFE_NO_PAD};
use proptest::prelude::*;
use proptest::strategy::ValueTree as _;
use serde_json::{Value, json};

use super::rules::WINDOW_MAX;
use super::*;

fn plain() -> Redactor {
    Redactor::new([])
}

fn knowing(value: &str) -> Redactor {
    Redactor::new([("MY_KEY".to_owned(), value.to_owned())])
}

fn in_chunks(redactor: &Redactor, text: &[u8], cuts: &[usize]) -> Vec<u8> {
    let mut stream = redactor.stream();
    let mut out = Vec::new();
    let mut from = 0;
    for &cut in cuts {
        out.extend(stream.push(&text[from..cut]));
        from = cut;
    }
    out.extend(stream.push(&text[from..]));
    out.extend(stream.finish());
    out
}

/// One line, or a few, in which a secret is written in a way that people and programs write it.
fn placed(secret: &str) -> Vec<String> {
    let json_text = serde_json::to_string(secret).expect("a string");
    let inner = &json_text[1..json_text.len() - 1];
    let nested = serde_json::to_string(&format!("{{\"k\":{json_text}}}")).expect("a string");
    vec![
        secret.to_owned(),
        format!("export SOME_NAME={secret}\n"),
        format!("[core]\nname = {secret}\nother = 1\n"),
        format!("{{\"name\": \"{inner}\", \"n\": 1}}"),
        format!("{{\"a\":\"line\\n{inner}\\nline\"}}"),
        nested,
        format!("name: {secret}\nnext: \"x\"\n"),
        format!("name: '{secret}'\n"),
        format!("X-Thing: {secret}\r\n\r\n"),
        format!("https://host/path?x={secret}&y=2"),
        format!("let x = \"{secret}\";"),
        format!("call('{secret}')"),
        format!("\x1b[31m{secret}\x1b[0m"),
        format!("\\u001b[1;32m{secret}\\u001b[0m"),
        format!("<a>{secret}</a>"),
        format!("({secret}), [{secret}], `{secret}`"),
        format!("q%3D{secret}%26z"),
        format!("+{secret}\n-{secret}\n"),
    ]
}

/// For each rule an expression of its secrets and one of what stands around them (`@` is the secret).
fn generators() -> Vec<(&'static str, &'static str, &'static str)> {
    vec![
        ("anthropic-key", "sk-ant-api03-[A-Za-z0-9_-]{93}AA", "@"),
        ("openai-key", "sk-proj-[A-Za-z0-9_-]{74}T3BlbkFJ[A-Za-z0-9_-]{74}", "@"),
        ("openai-key", "sk-[A-Za-z0-9]{8}[0-9][A-Za-z0-9]{11}T3BlbkFJ[A-Za-z0-9]{20}", "@"),
        ("openai-key", "sk-or-v1-[0-9a-f]{64}", "@"),
        ("google-api-key", "AIza[A-Za-z0-9_-]{35}", "@"),
        ("google-oauth", "ya29\\.[A-Za-z0-9_-]{60}", "@"),
        ("github-token", "gh[pousr]_[A-Za-z0-9]{36}", "@"),
        ("github-token", "github_pat_[A-Za-z0-9]{22}_[A-Za-z0-9]{59}", "@"),
        ("gitlab-token", "glpat-[A-Za-z0-9_-]{20}", "@"),
        ("aws-access-key-id", "(AKIA|ASIA)[A-Z2-7]{16}", "@"),
        ("aws-secret-key", "[A-Za-z0-9/+]{40}", "aws_secret_access_key = @\n"),
        ("aws-secret-key", "[A-Za-z0-9/+]{40}", "{\"SecretAccessKey\": \"@\"}"),
        ("slack-token", "xox[abpr]-[0-9]{12}-[A-Za-z0-9]{24}", "@"),
        ("slack-webhook", "T[A-Z0-9]{8}/B[A-Z0-9]{8}/[A-Za-z0-9]{24}", "https://hooks.slack.com/services/@"),
        ("stripe-key", "[sr]k_(live|test)_[A-Za-z0-9]{24,90}", "@"),
        ("npm-token", "npm_[A-Za-z0-9]{36}", "@"),
        ("pypi-token", "pypi-AgEIcHlwaS5vcmc[A-Za-z0-9_-]{60}", "@"),
        ("huggingface-token", "hf_[A-Za-z]{34}", "@"),
        ("jwt", "eyJ[A-Za-z0-9_-]{30}\\.eyJ[A-Za-z0-9_-]{60}\\.[A-Za-z0-9_-]{43}", "@"),
        ("authorization", "[A-Z][A-Za-z0-9._~+/-]{20,60}={0,2}", "Authorization: Bearer @\r\n"),
        ("authorization", "[A-Z][A-Za-z0-9+/]{15}", "{\"authorization\":\"Basic @\"}"),
        ("bearer-token", "[a-z][0-9][A-Za-z0-9._-]{20,60}", "curl -H 'x: bearer @'"),
        ("cookie", "session=[A-Za-z0-9]{30}", "Cookie: @\r\n"),
        ("url-password", "[A-Za-z0-9!*~.-]{9,30}", "postgres://me:@@host/db"),
        ("assignment", "[a-f][0-9][A-Zg-w]{7}[2-9][a-z]{8}[A-Z]{5}", "api_key = \"@\""),
        ("assignment", "[a-f][0-9][A-Zg-w]{7}[2-9][a-z]{8}[A-Z]{5}", "{\"clientSecret\":\"@\"}"),
        ("assignment", "[a-f][0-9][A-Zg-w]{7}[2-9][a-z]{8}[A-Z]{5}", "DB_PASSWORD=@\n"),
        ("assignment", "[a-f][0-9][A-Zg-w]{7}[2-9][a-z]{8}[A-Z]{5}", "{\\\"token\\\":\\\"@\\\"}"),
        ("private-key", "[A-Za-z0-9+/]{64}", "-----BEGIN PRIVATE KEY-----\n@\n@\n-----END PRIVATE KEY-----\n"),
        ("private-key", "[A-Za-z0-9+/]{64}", "\"-----BEGIN RSA PRIVATE KEY-----\\n@\\n-----END RSA PRIVATE KEY-----\\n\""),
        ("private-key", "[A-Za-z0-9+/]{64}", "-----BEGIN EC PRIVATE KEY-----\n  @\n  @"),
    ]
}

/// The secret's place: the last `@` but where two stand together, then the first of them.
fn with_secret(form: &str, secret: &str) -> String {
    match form.split_once("@@") {
        Some((before, after)) => format!("{before}{secret}@{after}"),
        None => form.replace('@', secret),
    }
}

#[test]
fn s6_every_rule_has_a_generator_and_a_safe_name() {
    for rule in rules::all() {
        assert!(generators().iter().any(|(name, ..)| *name == rule.name), "{}", rule.name);
        assert!(rule.name.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'-'), "{}", rule.name);
        assert!(rule.window <= WINDOW_MAX && rule.keywords.iter().all(|word| *word == word.to_ascii_lowercase()));
    }
}

#[test]
fn s6_ordinary_text_is_not_touched() {
    let known = Redactor::new([("K".to_owned(), "a-known-value-1".to_owned())]);
    for text in include_str!("ordinary.txt").lines().chain([include_str!("ordinary.txt"), ""]) {
        assert!(matches!(known.redact(text), Cow::Borrowed(same) if same == text), "{text}\n{}", known.redact(text));
    }
}

#[test]
fn s6_this_crate_s_own_code_is_not_touched() {
    for code in
        [include_str!("scan.rs"), include_str!("stream.rs"), include_str!("../names.rs"), include_str!("../terminal.rs")]
    {
        assert_eq!(plain().redact(code), code);
    }
}

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
fn s6_overlapping_values_leave_nothing_behind() {
    let redactor = Redactor::new([("A".into(), "abcdefgh12".into()), ("B".into(), "efgh12345678".into())]);
    assert_eq!(redactor.redact("<abcdefgh12345678>"), "<[redacted:A]>");
}

#[test]
fn s6_short_values_are_reported_and_names_are_safe() {
    let redactor = Redactor::new([("PIN".into(), "1234".into()), ("a \"b\"\\\n".into(), "long-enough-1".into())]);
    assert_eq!(redactor.too_short(), ["PIN"]);
    assert_eq!(redactor.redact("1234 long-enough-1"), "1234 [redacted:a__b___]");
    assert!(!format!("{redactor:?}").contains("long-enough"));
}

#[test]
fn s6_hostile_repetition_costs_no_square() {
    let started = std::time::Instant::now();
    for piece in ["sk-ant-", "password=", "eyJeyJ.", "-----BEGIN PRIVATE KEY-----", "token:\"", "a1]", "://a:", "\\"] {
        let text = piece.repeat(30_000 / piece.len());
        let _ = plain().redact(&text);
    }
    assert!(started.elapsed().as_secs() < 20, "{:?}", started.elapsed());
}

fn json_documents() -> impl Strategy<Value = Value> {
    let text = proptest::string::string_regex("[ -~\\n\\t\\\\\"é🙂]{0,20}").expect("an expression");
    let text = (text.boxed(), 0..generators().len(), any::<bool>()).prop_map(|(text, index, plant)| {
        let (_, _, form) = generators()[index];
        if plant { format!("{text}{}{text}", with_secret(form, "a1B2c3D4e5F6g7H8i9J0kLmNoPqRsTuVwXyZaB12")) } else { text }
    });
    let text = text.boxed();
    let known = Just(Value::from("n1\\234\"5678"));
    let leaf = prop_oneof![text.clone().prop_map(Value::from), known, any::<i64>().prop_map(Value::from), Just(Value::Null)];
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

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn s6_rules_find_their_secrets_in_every_place(seed in any::<u64>(), cut in any::<proptest::sample::Index>()) {
        let mut runner = proptest::test_runner::TestRunner::new_with_rng(
            ProptestConfig::default(),
            proptest::test_runner::TestRng::from_seed(
                proptest::test_runner::RngAlgorithm::ChaCha,
                &[seed.to_le_bytes(), seed.to_be_bytes(), [7; 8], [9; 8]].concat(),
            ),
        );
        let redactor = plain();
        for (name, expression, form) in generators() {
            let strategy = proptest::string::string_regex(expression).expect("an expression");
            let secret = strategy.new_tree(&mut runner).expect("a tree").current();
            let text = with_secret(form, &secret);
            let around = || vec![text.clone(), format!("x\n{text}"), format!("\x1b[1m{text}\x1b[0m")];
            let places = if form == "@" { placed(&text) } else { around() };
            for place in places {
                let out = redactor.redact(&place).into_owned();
                prop_assert!(!out.contains(&secret), "{}: {} → {}", name, place, out);
                prop_assert!(out.contains("[redacted:"), "{}: {} → {}", name, place, out);
                prop_assert_eq!(redactor.redact(&out), out.as_str());
                let cut = cut.index(place.len());
                prop_assert_eq!(in_chunks(&redactor, place.as_bytes(), &[cut]), out.into_bytes());
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn s6_known_values_are_found_in_every_encoding(
        value in "[!-~]{6}[ -~äöü\\n\\t]{0,30}[!-~]{2}",
        around in "[a-z ]{0,5}",
    ) {
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
            prop_assert!(!out.contains(&value) && out.contains("[redacted:MY_KEY]"), "{} → {}", text, out);
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
    fn s6_redacted_json_stays_json(document in json_documents()) {
        let redactor = Redactor::new([("K".into(), "n1\\234\"5678".into()), ("L".into(), "n2345678abcd".into())]);
        let pretty = serde_json::to_string_pretty(&document).expect("writes");
        for text in [document.to_string(), pretty, json!(document.to_string()).to_string()] {
            let out = redactor.redact(&text).into_owned();
            prop_assert!(serde_json::from_str::<Value>(&out).is_ok(), "{} → {}", text, out);
        }
    }

    #[test]
    fn s6_redaction_is_idempotent_and_the_same_in_chunks(
        pieces in proptest::collection::vec(prop_oneof![
            "[ -~\\n]{0,8}",
            proptest::sample::select(rules::all().iter().flat_map(|rule| rule.keywords).copied().collect::<Vec<_>>())
                .prop_map(str::to_owned),
            proptest::sample::select(generators())
                .prop_flat_map(|(_, secret, form)| secret.prop_map(move |value| with_secret(form, &value))),
            proptest::sample::select(vec![
                "known-value-1", "]known\\n", "n345678]", "[redacted:K]", "[redacted:jwt]", "[redac", "AKIA", "\\", "\\u0",
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
