//! Every rule against secrets made from its own expression, and against those that providers give out.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use proptest::prelude::*;
use proptest::strategy::ValueTree as _;
use serde_json::Value;

use super::super::rules::{self, Edge, Found, Rule, WINDOW_MAX};
use super::super::view;
use super::*;

/// For each rule an expression of its secrets and one of what stands around them (`@` is the secret).
pub(super) fn generators() -> Vec<(&'static str, &'static str, &'static str)> {
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
        ("url-password", "[A-Z0-9][A-Za-z0-9!*~.-]{4}[A-Za-z0-9!~.][A-Za-z0-9!*~.-]{3,24}", "postgres://me:@@host/db"),
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
pub(super) fn with_secret(form: &str, secret: &str) -> String {
    match form.split_once("@@") {
        Some((before, after)) => format!("{before}{secret}@{after}"),
        None => form.replace('@', secret),
    }
}

/// Makes texts of a rule's own expression. Building it takes longer than a text.
struct Sampler {
    strategy: proptest::string::RegexGeneratorStrategy<Vec<u8>>,
    shape: regex::bytes::Regex,
}

thread_local! {
    /// One for each rule.
    static SAMPLERS: Vec<Sampler> = rules::all().iter().map(|rule| Sampler::new(rule)).collect();
}

impl Sampler {
    fn new(rule: &Rule) -> Self {
        // Blanks are spaces, backslashes few, nothing is escaped, and what is excluded leaves the rest of ASCII: such a text can be put anywhere.
        let plainer = [
            ("[^", "[!-~--"),
            (r"\s", " "),
            (r#"|\\["\\/bfnrt]"#, ""),
            (r"|\\u[0-9a-f]{4}", ""),
            (r"\\{0,4}", r"\\?"),
            (r"\\*", r"\\{0,2}"),
            (r"(?:\\\\)*", r"(?:\\\\)?"),
            (r"(?:\\\\)+", r"(?:\\\\)"),
            (r"\\+[", r"\\["),
            (r"(?:\n|\\+n)", "\n"),
            (r"(?:\s|\\[nrt])", " "),
            // A login has to say something: this one is made up.
            ("[A-Za-z0-9+/_-]{8,}={0,2}", "(?-i:bWU6Wng3cUxtOXZUMnBX)"),
        ];
        let expression = plainer.iter().fold(rule.expression(), |text, (from, to)| text.replace(from, to));
        let strategy = proptest::string::bytes_regex(&format!("(?-u:{expression})"));
        let strategy = strategy.unwrap_or_else(|error| panic!("{}: {error}", rule.name));
        Self { strategy, shape: rule.compiled() }
    }
}

/// A text that the rule of this index was written for, and the secret in it, both from the rule's own expression.
pub(super) fn sample(index: usize, runner: &mut TestRunner) -> (String, String) {
    SAMPLERS.with(|samplers| sampled(rules::all()[index], &samplers[index], runner))
}

fn sampled(rule: &Rule, sampler: &Sampler, runner: &mut TestRunner) -> (String, String) {
    let Sampler { strategy, shape } = sampler;
    // Of signatures with many escapes one in thirty has none that says a plain character.
    for _ in 0..5000 {
        let text = strategy.new_tree(runner).expect("a tree").current();
        if view::shown(&text) != text {
            continue;
        }
        let captures = shape.captures(&text).unwrap_or_else(|| panic!("{} does not match its own text", rule.name));
        let secret = captures.iter().skip(1).flatten().next().unwrap_or_else(|| captures.get(0).expect("the whole"));
        let found = Found { head: &text[..secret.start()], value: secret.as_bytes(), next: None, after: b"", is_cut: false };
        let is_whole = secret.end() == text.len() || ["url-password", "url-token", "element"].contains(&rule.name);
        // A short secret may also stand in what surrounds it, where it is none.
        let is_once = memchr::memmem::find_iter(&text, secret.as_bytes()).count() == 1;
        if let (true, true, Ok(written)) = ((rule.check)(&found), is_whole && is_once, str::from_utf8(&text)) {
            let secret = String::from_utf8_lossy(secret.as_bytes()).into_owned();
            let before = match rule.edge {
                Edge::Digits => "123456789",
                Edge::Option => "--",
                _ => "",
            };
            return (format!("{before}{written}"), secret);
        }
    }
    panic!("{} takes nothing that its own expression makes", rule.name);
}

#[test]
fn s6_names_in_camel_case_announce_a_secret() {
    for name in ["encryptionKey", "signingKey", "authKey", "accessKey", "privateKey", "apiKey"] {
        let text = format!("{{\"{name}\": \"f7Kq2hZ9xLw4\"}}");
        assert!(plain().finds(text.as_bytes()), "{text}");
    }
}

#[test]
fn s6_stars_hide_a_value_only_where_little_is_shown() {
    assert!(!plain().finds(b"postgres://me:*****1a2b@db.internal/x"));
    assert!(plain().finds(b"postgres://me:*****k.~*c.*7**~~*~x@db.internal/x"));
}

/// Texts of which the test of all rules once made something wrong: each is hidden behind a marker, and idempotently.
#[test]
fn s6_texts_that_once_came_out_wrong_are_hidden() {
    for (text, expected) in [
        ("sshpass\\\n}\\\n}`K}-\\\n\\\n-\\\n\"-p}}}1", "sshpass\\\n}\\\n}`K}-\\\n\\\n-\\\n\"-p[redacted:option]"),
        ("mysqld__m__----h-__\\\nY\\\n\\\n\"-p8e+]}", "mysqld__m__----h-__\\\nY\\\n\\\n\"-p[redacted:option]"),
        (
            "-----BEGIN PRIVATE KEY-----\nMAdEuPmAdEuP01234567890123456789\\\\\x1b[1m\\\\u003d\n-----END PRIVATE KEY-----",
            "[redacted:private-key]",
        ),
        // Escaped for an address, whose rest is no ending of a file's name.
        (
            "q%3Dsig%3dy%eB%250E%25A9%df%25eb%25cB%cA%dd%Ef5_+%BA%B4+%25b0~6%A2n%8DV%2513%F72/1W%25cC.%26z",
            "q%3Dsig%3d[redacted:azure-signature]",
        ),
        ("sshpass -p 12e4567\n", "sshpass -p [redacted:option]\n"),
    ] {
        let out = plain().redact(text).into_owned();
        assert_eq!(out, expected);
        assert_eq!(plain().redact(&out), out);
    }
}

/// A number that goes on past the window is judged by what the window shows, wherever the stream is cut.
#[test]
fn s6_a_long_number_is_replaced_alike_in_a_stream() {
    let digits = "1234567890e".repeat(60);
    for text in [format!("sshpass -p {digits}x"), format!("{{\"session_token\": {digits}x")] {
        let out = plain().redact(&text).into_owned();
        for cut in [0, 100, 511, 512, 513, 523, 530, 600, text.len() - 1] {
            assert_eq!(in_chunks(&plain(), text.as_bytes(), &[cut]), out.as_bytes(), "{text} cut at {cut}");
        }
    }
}

#[test]
fn s6_rules_have_safe_names_and_words() {
    for rule in rules::all() {
        assert!(
            rule.name.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-'),
            "{}",
            rule.name
        );
        assert!(rule.window <= WINDOW_MAX, "{}", rule.name);
        let keywords: Vec<String> = rule.all_keywords().collect();
        assert!(!keywords.is_empty() && keywords.iter().all(|word| word.len() >= 3), "{}", rule.name);
        assert!(keywords.iter().all(|word| *word == word.to_ascii_lowercase()), "{}", rule.name);
    }
}

#[test]
fn s6_the_rules_know_more_than_a_hundred_kinds_of_secrets() {
    let names: std::collections::BTreeSet<&str> = rules::all().iter().map(|rule| rule.name).collect();
    assert!(names.len() > 100, "{}", names.len());
}

proptest! {
    #![proptest_config(cases(1))]

    #[test]
    fn s6_every_rule_hides_what_its_own_expression_makes(seed in any::<u64>(), cut in any::<proptest::sample::Index>()) {
        let mut runner = runner(seed);
        let redactor = plain();
        for (index, rule) in rules::all().iter().enumerate() {
            let (text, secret) = sample(index, &mut runner);
            let json = serde_json::to_string(&text).expect("a string");
            let inner = &json[1..json.len() - 1];
            let at = 1 + cut.index(text.len() - 1);
            let mut forms = vec![
                text.clone(),
                format!("x\n{text}\ny"),
                format!("\x1b[1m{text}\x1b[0m"),
                interrupted(&text, at, "\x1b[01;31m\x1b[K"),
                format!("{{\"a\": {json}}}"),
                format!("\"\\u001b[31m{inner}\\u001b[0m\""),
                serde_json::to_string(&format!("[{json}]")).expect("a string"),
                format!("\"{}\"", spelled(&text)),
            ];
            if !text.contains(['"', '\'', '`', '\\', ' ', ':', '=', ',', '>']) {
                forms.extend(placed(&text));
            }
            for form in forms {
                let out = redactor.redact(&form).into_owned();
                let is_number = scan::is_json_number(secret.as_bytes());
                prop_assert!(is_number || out.contains("[redacted:"), "{}: {form:?} → {out:?}", rule.name);
                let seen = String::from_utf8(view::shown(out.as_bytes())).expect("a text");
                prop_assert!(!out.contains(&secret) && !seen.contains(&secret), "{}: {form:?} → {out:?}", rule.name);
                prop_assert!(redactor.redact(&out) == out.as_str(), "{}: {form:?} → {out:?} → {:?}", rule.name, redactor.redact(&out));
                prop_assert!(redactor.finds(form.as_bytes()) && !redactor.finds(out.as_bytes()));
                if serde_json::from_str::<Value>(&form).is_ok() {
                    prop_assert!(serde_json::from_str::<Value>(&out).is_ok(), "{}: {form} → {out}", rule.name);
                }
                let cuts = [cut.index(form.len())];
                prop_assert!(in_chunks(&redactor, form.as_bytes(), &cuts) == out.as_bytes(), "{}: {form:?} cut at {cuts:?}", rule.name);
            }
        }
    }
}

#[test]
fn s6_every_key_that_is_told_by_its_beginning_is_hidden_in_base64() {
    let mut runner = runner(7);
    let redactor = plain();
    let encoded: std::collections::BTreeSet<usize> = rules::encoded::all().iter().map(|form| form.rule).collect();
    assert!(encoded.len() > 60, "{}", encoded.len());
    let mut shown = Vec::new();
    for index in encoded {
        let rule = rules::all()[index];
        let (key, _) = sample(index, &mut runner);
        // A header of a token and a private key have beginnings of their own; three bytes would be found by chance.
        let has_beginning = rule.keywords.iter().any(|word| word.len() > 3 && key.to_ascii_lowercase().starts_with(word));
        if !has_beginning || ["jwt", "private-key"].contains(&rule.name) {
            continue;
        }
        for before in ["", "u:", "me:"] {
            let text = STANDARD.encode(format!("{before}{key}"));
            let out = redactor.redact(&text);
            if out.len() > 8 + rule.name.len() + "[redacted:]".len() {
                shown.push(format!("{}: {key} in {text} → {out}", rule.name));
            }
        }
    }
    assert!(shown.is_empty(), "{shown:#?}");
}

proptest! {
    #![proptest_config(cases(8))]

    #[test]
    fn s6_rules_find_their_secrets_in_every_place(seed in any::<u64>(), cut in any::<proptest::sample::Index>()) {
        let mut runner = runner(seed);
        let redactor = plain();
        for (name, expression, form) in generators() {
            let strategy = proptest::string::string_regex(expression).expect("an expression");
            let secret = strategy.new_tree(&mut runner).expect("a tree").current();
            // Four stars at an end are what a program leaves of a secret that it hid itself.
            if secret.starts_with("****") || secret.ends_with("****") {
                continue;
            }
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
