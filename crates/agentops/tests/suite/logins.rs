//! The real Claude Code and Codex with logins of their own, made up, through the gateway: the login reaches its provider's official
//! host and nobody else, by way of a proxy that opens TLS with an authority of the user's. No address is changed anywhere.

use agentops_testkit::model::{Growth, ModelServer, Options, Turn, Watch};
use agentops_testkit::proxy::{Asked, Proxy};
use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD as BASE64;
use serde_json::{Value, json};

use crate::real::{Program, conversation, programs, script, sessions, write};
use crate::room::{Room, refs};

const CLAUDE_LOGIN: &str = "sk-ant-oat01-made-up-for-tests";

/// A token in the shape that Codex takes apart. Nobody signed it; it ends in the year 2100.
fn codex_login() -> String {
    let account = json!({"chatgpt_plan_type": "pro", "chatgpt_account_id": "made-up", "chatgpt_user_id": "made-up"});
    let claims = json!({"email": "a@b.example", "exp": 4_102_444_800_u64, "https://api.openai.com/auth": account});
    let part = |value: &Value| BASE64.encode(value.to_string());
    format!("{}.{}.{}", part(&json!({"alg": "RS256", "typ": "JWT"})), part(&claims), BASE64.encode("unsigned"))
}

fn takes_its_login_to_its_providers_host(program: Program) {
    let Some(bin) = programs() else { return };
    let login = if program == Program::Claude { CLAUDE_LOGIN.to_owned() } else { codex_login() };
    let growth = Growth { base: 20_000, step: 1_000, output: 200 };
    let work = conversation("Phase `implement`", vec![write("done.txt", "done\n"), Turn::text("Done.")], growth);
    let watch = vec![Watch::new("login", &login), Watch::new("lane", "agentops-lane-")];
    let server = ModelServer::start_with(script(vec![work]), Options { watch, ..Options::default() }).unwrap();
    let proxy = Proxy::start(&server).unwrap();

    let mut room = Room::new();
    let home = room.root().join("home");
    let authority = home.join("authority.pem");
    proxy.write_authority(&authority).unwrap();
    let config = home.join(".config/agentops");
    std::fs::create_dir_all(&config).unwrap();
    std::fs::write(config.join("config.toml"), format!("[gateway]\nextra-ca = [{:?}]\n", authority.display().to_string()))
        .unwrap();
    room.set("PATH", format!("{}:{}", bin.display(), std::env::var("PATH").unwrap_or_default()));
    room.set("HTTPS_PROXY", proxy.url());
    room.set("NO_PROXY", "127.0.0.1,localhost");
    let (host, place) = match program {
        Program::Claude => {
            room.set("CLAUDE_CODE_OAUTH_TOKEN", &login);
            room.set("CLAUDE_CODE_MAX_RETRIES", "1");
            ("api.anthropic.com:443", "/v1/messages")
        }
        _ => {
            let tokens =
                json!({"id_token": login, "access_token": login, "refresh_token": "made-up", "account_id": "made-up"});
            let auth = json!({"auth_mode": "chatgpt", "OPENAI_API_KEY": null, "tokens": tokens, "last_refresh": "2099-12-01T00:00:00Z"});
            std::fs::create_dir_all(home.join(".codex")).unwrap();
            std::fs::write(home.join(".codex/auth.json"), auth.to_string()).unwrap();
            ("chatgpt.com:443", "/backend-api/codex/responses")
        }
    };
    let (driver, model) = (format!("--driver={}", program.name()), format!("--model={}", program.model()));
    let mut args: Vec<String> =
        ["run", "write done.txt", "--workflow=quick", "--approve=all", "--json", &model, &driver].map(str::to_owned).into();
    let dry = room.run(&[&refs(&args)[..], &["--dry-run"]].concat()).expect(0).json();
    args.push(format!("--trust={}", dry["subject"]["hash"].as_str().unwrap()));
    let view = room.run(&refs(&args)).expect(0).json();

    let calls: Vec<_> = server.requests().into_iter().filter(|record| record.main()).collect();
    assert!(calls.len() >= 4, "{view:#}");
    for call in calls {
        assert_eq!((call.tunnel.as_deref(), call.path.as_str()), (Some(host), place));
        assert!(call.credential_is("login") && !call.saw("lane"), "{call:#?}");
    }
    assert!(proxy.asked().iter().any(|asked| matches!(asked, Asked::Tunnel(to) if to == host)), "{:?}", proxy.asked());
    // What cannot be counted while it comes is not called prevented.
    let expected = if program == Program::Claude { "prevented" } else { "stopped" };
    for session in sessions(&view, "implement") {
        assert_eq!(session["enforcement"], expected, "{session:#}");
    }
}

#[test]
fn claude_code_takes_its_login_to_its_providers_host() {
    takes_its_login_to_its_providers_host(Program::Claude);
}

#[test]
fn codex_takes_its_login_to_its_providers_host() {
    takes_its_login_to_its_providers_host(Program::Codex);
}
