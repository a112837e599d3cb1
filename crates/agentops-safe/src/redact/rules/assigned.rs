//! Keys that look like any random text and are told by the name they are assigned to: `DD_API_KEY=…`.
//!
//! The name begins with the provider and goes on to say that it is a secret: `key`, `token`, `password` …

use super::{Rule, Shape, checks, key};

const UUID: &str = r"[0-9a-fA-F]{8}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{12}";

const fn named(name: &'static str, providers: &'static [&'static str], value: &'static str) -> Rule {
    Rule { shape: Shape::Assigned(value), ..key(name, providers, "").exact().anywhere().checked(checks::assigned) }
}

/// From the provider's name over the rest of the name and the sign of assignment to the value.
pub(super) fn expression(providers: &[&str], value: &str) -> String {
    format!(
        concat!(
            r#"(?i:{})(?i:[A-Za-z0-9_.-]{{0,24}}?(?:key|token|secret|pat|pass|password|pw|auth|sid|webhook))[A-Za-z0-9_-]{{0,12}}"#,
            r#"\\*["'`]?\]?\s{{0,8}}(?:=>|:=|[:=,]|%3[aAdD])\s{{0,8}}\\*["'`]?({})"#
        ),
        providers.join("|"),
        value
    )
}

#[rustfmt::skip]
pub(super) static RULES: &[Rule] = &[
    named("algolia-key", &["algolia"], "[0-9a-f]{32}"),
    named("asana-token", &["asana"], "[0-9a-f]{32}"),
    named("auth0-secret", &["auth0"], "[A-Za-z0-9_-]{64}"),
    named("azure-devops-token", &["azure_devops", "azure-devops", "ado_", "vsts"], "(?:[a-z2-7]{52}|[A-Za-z0-9]{76}AZDO[A-Za-z0-9]{4})"),
    named("azure-key", &["azure", "aoai", "arm_client_secret", "cognitive"], "[A-Za-z0-9_.~+/-]{32,84}=?=?"),
    named("bitbucket-token", &["bitbucket"], "[A-Za-z0-9_=-]{20,64}"),
    named("braintree-key", &["braintree"], "[0-9a-f]{32}"),
    named("cloudflare-token", &["cloudflare", "cf_api", "cf-api", "cf_token", "cfapi"], "(?:[A-Za-z0-9_-]{40}|[0-9a-f]{37})"),
    named("codecov-token", &["codecov"], UUID),
    named("cohere-key", &["cohere", "co_api_key"], "[A-Za-z0-9]{40}"),
    named("confluent-key", &["confluent"], "[A-Za-z0-9+/]{16,64}"),
    named("datadog-key", &["datadog", "dd_api", "dd-api", "dd_app", "dd-app", "ddapi"], "[0-9a-f]{32}(?:[0-9a-f]{8})?"),
    named("deepgram-key", &["deepgram"], "[0-9a-f]{40}"),
    named("deepseek-key", &["deepseek"], "[A-Za-z0-9_-]{32,64}"),
    named("discord-token", &["discord"], r"(?:[A-Za-z0-9_-]{23,28}\.[A-Za-z0-9_-]{6,7}\.[A-Za-z0-9_-]{27,40}|[A-Za-z0-9_-]{32})"),
    named("exa-key", &["exa_api"], UUID),
    named("fastly-key", &["fastly"], "[A-Za-z0-9_-]{32}"),
    named("gitea-token", &["gitea", "forgejo", "codeberg"], "[0-9a-f]{40}"),
    named("heroku-key", &["heroku"], UUID),
    named("hetzner-token", &["hcloud", "hetzner"], "[A-Za-z0-9]{64}"),
    named("intercom-token", &["intercom"], "[A-Za-z0-9_=+/-]{60}"),
    named("launchdarkly-key", &["launchdarkly", "ld_sdk"], "(?:sdk|api|mob)-[0-9a-f]{8}-[0-9a-f-]{27}"),
    named("linode-token", &["linode"], "[0-9a-f]{64}"),
    named("mailchimp-key", &["mailchimp", "mc_api"], "[0-9a-f]{32}-us[0-9]{1,2}"),
    named("mailgun-key", &["mailgun", "mg_api"], "[0-9a-f]{32}-[0-9a-f]{8}-[0-9a-f]{8}"),
    named("mistral-key", &["mistral"], "[A-Za-z0-9]{32}"),
    named("modal-token", &["modal"], "a[ks]-[A-Za-z0-9]{20,24}"),
    named("netlify-token", &["netlify"], "[A-Za-z0-9_-]{40,46}"),
    named("ngrok-token", &["ngrok"], "[A-Za-z0-9_]{40,60}"),
    named("npm-token", &["_authtoken", "npm_auth", "npm_config"], UUID),
    named("okta-token", &["okta"], "[A-Za-z0-9_-]{40,42}"),
    named("paypal-secret", &["paypal"], "[A-Za-z0-9_-]{60,90}"),
    named("postmark-token", &["postmark", "x-postmark"], UUID),
    named("railway-token", &["railway"], UUID),
    named("scaleway-key", &["scw_secret", "scaleway"], UUID),
    named("snowflake-password", &["snowflake"], r"[A-Za-z0-9!@#$%^&*_+=.-]{10,64}"),
    named("snyk-token", &["snyk"], UUID),
    named("telegram-bot-token", &["telegram", "tg_bot"], "[0-9]{6,12}:[A-Za-z0-9_-]{35}"),
    named("trello-key", &["trello"], "[0-9a-f]{32}(?:[0-9a-f]{32})?"),
    named("twilio-token", &["twilio"], "[0-9a-f]{32}"),
    named("twitter-key", &["twitter", "x_api", "x_bearer"], "[A-Za-z0-9%-]{25,120}"),
    named("vault-token", &["vault"], r"s\.[A-Za-z0-9]{24}"),
    named("vercel-token", &["vercel"], "[A-Za-z0-9]{24}"),
    named("voyage-key", &["voyage"], "pa-[A-Za-z0-9_-]{43}"),
    named("wandb-key", &["wandb"], "[0-9a-f]{40}"),
    named("zendesk-token", &["zendesk"], "[A-Za-z0-9]{40}"),
];
