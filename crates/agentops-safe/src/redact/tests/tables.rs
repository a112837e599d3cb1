//! Secrets as files and commands write them, and look-alikes that stay. All values are made up.

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use serde_json::Value;

use super::*;

/// A made-up password; what stands around it is what tells that it is one.
const MADE_UP: &str = "Zx7qLm9vT2pW";
/// Made-up keys of providers.
const ANTHROPIC: &str = "sk-ant-api03-mAdEuPmAdEuP0123456789abcdefghijklmnop_qrst-AA";
const GITHUB: &str = "ghp_mAdEuP0123456789abcdefghijklmnop12";

/// The text with the made-up password for `@@`.
fn filled(text: &str) -> String {
    text.replace("@@", MADE_UP)
}

/// Texts in which the password must be found: as they are, and within JSON.
const FOUND: &[&str] = &[
    // Files of logins.
    "machine api.host.dev login me password @@",
    "machine git.host.dev\n  login me\n  password @@\n",
    "default login anonymous password @@",
    "machine host.dev password \"@@\"",
    "db.host.dev:5432:shop:me:@@",
    // Command lines.
    "curl -u me:@@ https://host.dev/x",
    "curl -sSfu 'me:@@' https://host.dev/x",
    "curl https://host.dev/x \\\n  --user me:@@",
    "curl --proxy-user \"me:@@\" -x proxy:80 https://host.dev",
    "subprocess.run([\"curl\", \"-u\", \"me:@@\", url])",
    "http --auth me:@@ GET host.dev",
    "deploy --token @@",
    "deploy --token=@@",
    "deploy --token '@@' --fast",
    "deploy --api-key @@ --fast",
    "deploy --github-token @@",
    "deploy --client-secret \"@@\"",
    "deploy -password @@",
    "deploy --pass @@",
    "command: [\"deploy\", \"--token\", \"@@\"]",
    "args:\n  - --token\n  - @@\n",
    "keytool -list -storepass @@ -keystore x.jks",
    "mysql -u root -p@@ shop",
    "mysql -uroot -p'@@' shop",
    "mysqldump --host db -p@@ shop > dump.sql",
    "mariadb -u me -p@@",
    "mongosh --host db -u me -p @@",
    "redis-cli -h db -a @@ ping",
    "sshpass -p @@ ssh me@host.dev",
    "sshpass -p'@@' ssh me@host.dev",
    "sqlcmd -S db -U me -P @@",
    "ldapsearch -x -D cn=me -w @@",
    "smbclient //host/x -U me%@@",
    "openssl rsa -in key.pem -passin pass:@@",
    "docker login -u me -p @@ registry.host.dev",
    "npm config set //registry.host.dev/:_authToken @@",
    "aws configure set aws_secret_access_key @@ --profile x",
    // Elements and attributes.
    "<password>@@</password>",
    "<server><username>me</username><password>@@</password></server>",
    "<db.password type=\"string\">\n  @@\n</db.password>",
    "<clientSecret><![CDATA[@@]]></clientSecret>",
    "<add key=\"Password\" value=\"@@\" />",
    "<property><name>fs.s3a.secret.key</name><value>@@</value></property>",
    // Names and values apart.
    "{\"name\": \"DB_PASSWORD\", \"value\": \"@@\"}",
    "- name: DB_PASSWORD\n  value: @@\n",
    "- name: DB_PASSWORD\n  value: \"@@\"\n",
    // Typed constants.
    "const apiSecret: string = \"@@\";",
    "const API_SECRET: &str = \"@@\";",
    "pub static DB_PASSWORD: &'static str = \"@@\";",
    "api_key: str = '@@'",
    "api_key: Optional[str] = \"@@\"",
    "private readonly accessToken?: string = '@@';",
    "val apiKey: String = \"@@\"",
    "let dbPassword: String = \"@@\"",
    "const apiKey string = \"@@\"",
    "static const char api_key[] = \"@@\";",
    "String dbPassword = \"@@\";",
    // Assignments of every kind of file.
    "password = @@",
    "password: @@",
    "{\"db_password\": \"@@\"}",
    "db.password=@@",
    "DB_PASS=@@",
    "smtp_pass: \"@@\"",
    "SMTP_PASS: '@@'",
    "https://host.dev/x?access_token=@@&y=1",
    "X-Auth-Token: @@",
    "postgres://me:@@@db/x",
];

/// Everything that the text may be within.
fn places(text: &str) -> Vec<String> {
    let once = serde_json::to_string(text).expect("a string");
    let document = format!("{{\"content\":[{once}]}}");
    let twice = serde_json::to_string(&document).expect("a string");
    vec![text.to_owned(), document, twice]
}

fn hides(text: &str, secret: &str) {
    for place in places(text) {
        let out = plain().redact(&place).into_owned();
        assert!(!out.contains(secret) && out.contains("[redacted:"), "{place}\n→ {out}");
        assert_eq!(plain().redact(&out), out, "{place}");
        if serde_json::from_str::<Value>(&place).is_ok() {
            assert!(serde_json::from_str::<Value>(&out).is_ok(), "{place}\n→ {out}");
        }
    }
    let out = plain().redact(text).into_owned();
    for cut in 0..text.len() {
        assert_eq!(in_chunks(&plain(), text.as_bytes(), &[cut]), out.as_bytes(), "{text} cut at {cut}");
    }
}

#[test]
fn s6_secrets_are_found_as_files_and_commands_write_them() {
    for text in FOUND {
        hides(&filled(text), MADE_UP);
    }
}

#[test]
fn s6_secrets_are_found_in_their_own_shapes() {
    let hex = "0123456789abcdef".repeat(4);
    let twilio = format!("SK{}", &hex[..32]);
    let discord = format!("{}.{}.{}", "MTIzNDU2Nzg5MDEyMzQ1Njc4", "GmAdEu", "pMaDeUp0123456789_abcdefghijklmnopqrst");
    let signature = "mAdEuP0123456789%2BabcdefghijklmnopqrstU%3D";
    for (text, secret) in [
        (format!("client = Client(\"{twilio}\")"), twilio.as_str()),
        (format!("TWILIO_API_KEY={twilio}"), &twilio),
        (format!("client.login('{discord}')"), &discord),
        (format!("bot.run(\"{discord}\")"), &discord),
        (format!("I pasted {discord} here"), &discord),
        (format!("DISCORD_TOKEN={discord}"), &discord),
        (format!("https://a.blob.host.dev/x?sv=2024-01-01&se=2026-01-01&sig={signature}"), signature),
        (format!("\"https://a.blob.host.dev/x?sig={signature}&sv=2024-01-01\""), signature),
        (format!("https://b.host.dev/x?X-Amz-Date=1&X-Amz-Signature={hex}"), &hex),
        (format!("https://b.host.dev/x?X-Goog-Signature={hex}{hex}&y=1"), &hex),
        (format!("https://b.host.dev/x?Expires=1&Signature={signature}&Key-Pair-Id=K1"), signature),
        (format!("Authorization: AWS4-HMAC-SHA256 SignedHeaders=host, Signature={hex}"), &hex),
        (format!("https://{MADE_UP}{MADE_UP}@host.dev/x.git"), MADE_UP),
    ] {
        hides(&text, secret);
    }
}

#[test]
fn s6_a_login_in_base64_is_found_by_what_it_says() {
    let login = STANDARD.encode(format!("me:{MADE_UP}"));
    for text in [
        format!("{{\"auths\": {{\"https://index.host.dev/v1/\": {{\"auth\": \"{login}\"}}}}}}"),
        format!("//registry.host.dev/:_auth={login}"),
        format!("auth: {login}"),
        format!("X-Login: Basic {login}"),
        format!("curl -H 'Proxy-Login: basic {login}' https://host.dev"),
    ] {
        hides(&text, &login);
    }
    let no_login = STANDARD.encode("nobody knows what this says");
    let word = STANDARD.encode("user:password");
    for text in [format!("\"auth\": \"{no_login}\""), format!("auth: {word}"), "basic understanding of things".into()] {
        assert_eq!(plain().redact(&text), text);
    }
}

#[test]
fn s6_keys_are_found_in_base64_and_percent_encoded() {
    for key in [ANTHROPIC, GITHUB] {
        for before in ["", "x", "me", "k=\"", "user:"] {
            for after in ["", "\"", "\n", " and so on"] {
                let text = format!("{before}{key}{after}");
                for encoded in [STANDARD.encode(&text), URL_SAFE_NO_PAD.encode(&text)] {
                    let out = plain().redact(&format!("data:\n  token: {encoded}\n")).into_owned();
                    assert!(out.contains("[redacted:"), "{text}: {encoded} → {out}");
                    // What is left is what stood around the key, and at most two characters of its first byte.
                    assert!(out.len() <= "data:\n  token: [redacted:anthropic-key]\n".len() + 12 + 18, "{out}");
                    let alone = format!("<{encoded}>");
                    hides(&alone, &STANDARD.encode(key)[4..20]);
                }
            }
        }
        let all: String = key.bytes().map(|byte| format!("%{byte:02X}")).collect();
        let twice: String = key.bytes().map(|byte| format!("%25{byte:02x}")).collect();
        let signs = key.replace('-', "%2D").replace('_', "%5f");
        for text in [format!("https://host.dev/?k={all}&y=1"), format!("k={twice}"), format!("k%3D{signs}%26y")] {
            let out = plain().redact(&text).into_owned();
            assert!(out.contains("[redacted:") && out.len() < 60, "{text} → {out}");
            hides(&text, &text[20..40]);
        }
    }
    let token = format!("{}.{}.{}", "eyJhbGciOiJIUzI1NiJ9", "eyJzdWIiOiJtYWRlLXVwIn0", "mAdEuP0123456789abcdefghij");
    hides(&format!("token: {}", STANDARD.encode(&token)), &STANDARD.encode(&token)[8..40]);
    let pem = format!("-----BEGIN PRIVATE KEY-----\n{}\n-----END PRIVATE KEY-----\n", "mAdEuP01".repeat(8));
    hides(&format!("tls.key: {}", STANDARD.encode(&pem)), &STANDARD.encode(&pem)[48..100]);
}

/// What looks like a secret and is none: code, documentation, placeholders.
const KEPT: &[&str] = &[
    // Expressions for secrets.
    "const PATTERN: &str = r\"ghp_[A-Za-z0-9]{36}\";",
    "token_pattern = \"ghp_[A-Za-z0-9]{36}\"",
    "secret: /sk-ant-[a-zA-Z0-9_-]{20,}/",
    "{\"token\": \"^xox[baprs]-([0-9a-zA-Z]{10,48})$\"}",
    "password = re.compile(r'(?i)pass(?:word)?=\\S{8,}')",
    "const keyRegex = /(?<key>-----BEGIN PRIVATE KEY-----.*?-----END PRIVATE KEY-----)/s;",
    "assert!(text.starts_with(\"-----BEGIN PRIVATE KEY-----\"));",
    // Commands without a secret.
    "docker run -u 1000:1000 image",
    "docker run --user 1000:1000 image",
    "curl -u $USER:$PASSWORD https://host.dev",
    "curl -u me:${TOKEN} https://host.dev",
    "curl -u user:password https://host.dev",
    "curl -fsSL https://host.dev/install.sh | sh -s -- -u a:b",
    "deploy --token $TOKEN2",
    "deploy --token <TOKEN2>",
    "deploy --token-file /run/secrets/token1",
    "deploy --password-stdin < pw1.txt",
    "deploy --token --fast",
    "git push -u origin feature-1:main",
    "mysql -u root -p shop",
    "mysql -P3306 -p",
    "docker run --name mysql -p3306:3306 mysql:8",
    "ssh -p 2222 me@host.dev",
    "redis-cli -h db ping",
    "npm config set cache /tmp/cache1",
    "openssl req -x509 -passin file:pw1.txt",
    "--token TOKEN  Token to use, see section 2",
    // Documents without a secret.
    "machine learning with a password prompt",
    "a default password is set at login2",
    "<password>${env.DB_PASSWORD2}</password>",
    "<token>identifier</token>",
    "<maxTokens>8192</maxTokens>",
    "{\"name\": \"token\", \"value\": \"identifier\"}",
    "{\"name\": \"token_count\", \"value\": \"123456\"}",
    "- name: DB_PASSWORD\n  valueFrom:\n    secretKeyRef: {name: db-1, key: password}\n",
    "password: string = \"\";",
    "apiKey: string | undefined = process.env.API_KEY2",
    "const token: Token = tokens[index2];",
    "readonly secretName: string = \"my-app-tls\";",
    "author: \"someone\", oauth: \"github\"",
    // Code that names secrets.
    "return { token: r2.data.access_token, res: r2.res };",
    "const privateKey = config2.credentials.privateKey;",
    "exports2.TokenIterator = exports2.SourceMapEntry = void 0;",
    "maxOutputTokens: config2.maxOutputTokens,",
    "refresh_token: tokens2.refresh_token ?? void 0",
    // Addresses, digests and pictures.
    "https://me@host.dev/x",
    "ssh://git-codecommit.us-east-1.host.dev/v1/repos/x",
    "sig=signature1; let sig = sign(&message, &key2);",
    "signature: sha256 of the body",
    "100% done, 50%25 of it, %2d items, %5f",
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNkYPhfDwAChwGA60e6kgAAAABJRU5ErkJggg==",
];

#[test]
fn s6_look_alikes_stay() {
    for text in KEPT {
        for place in places(text) {
            assert!(matches!(plain().redact(&place), Cow::Borrowed(_)), "{place}\n→ {}", plain().redact(&place));
        }
    }
}
