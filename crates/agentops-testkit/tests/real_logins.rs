//! Programs that are logged in, with made-up credentials, by way of the proxy: they reach the model under the name of their
//! provider's own host, which nothing in their settings replaces. Runs where `real_agents` does.

mod real;

use std::path::Path;

use agentops_testkit::model::{ModelServer, Options, Record, Script, Watch};
use agentops_testkit::proxy::Proxy;
use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD as BASE64;
use real::{SCRIPT, agent, command, folders};
use serde_json::{Value, json};

const LOGIN: &str = "sk-ant-oat01-made-up";

fn serve(login: &str) -> (ModelServer, Proxy) {
    let options = Options { watch: vec![Watch::new("login", login)], ..Options::default() };
    let server = ModelServer::start_with(Script::parse(SCRIPT).unwrap(), options).unwrap();
    let proxy = Proxy::start(&server).unwrap();
    (server, proxy)
}

/// The calls of the session, all of which came by tunnel to this host and place, with the login.
fn check(server: &ModelServer, work: &Path, tunnel: &str, path: &str) {
    assert_eq!(std::fs::read_to_string(work.join("shell.txt")).unwrap(), "by-shell\n");
    let calls: Vec<Record> = server.requests().into_iter().filter(Record::main).collect();
    assert_eq!(calls.len(), 3);
    for call in calls {
        assert_eq!((call.tunnel.as_deref(), call.path.as_str()), (Some(tunnel), path));
        assert!(call.credential_is("login"), "{:?}", call.headers);
    }
}

#[test]
fn claude_takes_its_login_to_its_providers_host() {
    let Some(program) = agent("claude") else {
        return;
    };
    let (_root, home, work) = folders();
    let (server, proxy) = serve(LOGIN);
    let authority = home.join("authority.pem");
    proxy.write_authority(&authority).unwrap();
    let output = command(&program, &home, &work)
        .env("HTTPS_PROXY", proxy.url())
        .env("NODE_EXTRA_CA_CERTS", authority)
        .env("CLAUDE_CODE_OAUTH_TOKEN", LOGIN)
        .envs([("CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC", "1"), ("DISABLE_AUTOUPDATER", "1")])
        .envs([("DISABLE_TELEMETRY", "1"), ("DISABLE_ERROR_REPORTING", "1"), ("CLAUDE_CODE_MAX_RETRIES", "1")])
        .args(["-p", "PHASE-ONE: do the task.", "--output-format", "stream-json", "--verbose", "--setting-sources", ""])
        .args(["--permission-mode", "dontAsk", "--no-session-persistence"])
        .args(["--tools", "Read,Write,Edit,Bash", "--allowedTools", "Read", "Write", "Bash"])
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
    check(&server, &work, "api.anthropic.com:443", "/v1/messages");
}

/// A token in the shape that codex takes apart. Nobody signed it.
fn token() -> String {
    let account = json!({"chatgpt_plan_type": "pro", "chatgpt_account_id": "made-up", "chatgpt_user_id": "made-up"});
    // The year 2100: codex would renew a token that is about to end.
    let claims = json!({"email": "a@b.example", "exp": 4_102_444_800_u64, "https://api.openai.com/auth": account});
    let part = |value: &Value| BASE64.encode(value.to_string());
    format!("{}.{}.{}", part(&json!({"alg": "RS256", "typ": "JWT"})), part(&claims), BASE64.encode("unsigned"))
}

#[test]
fn codex_takes_its_login_to_its_providers_host() {
    let Some(program) = agent("codex") else {
        return;
    };
    let (_root, home, work) = folders();
    let token = token();
    let (server, proxy) = serve(&token);
    let authority = home.join("authority.pem");
    proxy.write_authority(&authority).unwrap();
    let tokens = json!({"id_token": token, "access_token": token, "refresh_token": "made-up", "account_id": "made-up"});
    let auth = json!({"auth_mode": "chatgpt", "OPENAI_API_KEY": null, "tokens": tokens,
        "last_refresh": "2099-12-01T00:00:00Z"});
    std::fs::create_dir(home.join(".codex")).unwrap();
    std::fs::write(home.join(".codex/auth.json"), auth.to_string()).unwrap();
    // A provider of its own: the built-in one asks other endpoints first, whose answers are not known here.
    let provider = concat!(
        r#"model_providers.login={name="login",base_url="https://chatgpt.com/backend-api/codex",wire_api="responses","#,
        "requires_openai_auth=true,request_max_retries=1,stream_max_retries=1}"
    );
    let output = command(&program, &home, &work)
        .env("HTTPS_PROXY", proxy.url())
        .env("SSL_CERT_FILE", authority)
        .args(["exec", "--json", "--skip-git-repo-check", "-s", "danger-full-access"])
        .args(["-c", r#"model_provider="login""#, "-c", provider, "-c", "model_context_window=100000"])
        .args(["-c", "analytics.enabled=false", "-c", "check_for_update_on_startup=false"])
        .arg("PHASE-ONE: do the task.")
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
    check(&server, &work, "chatgpt.com:443", "/backend-api/codex/responses");
}
