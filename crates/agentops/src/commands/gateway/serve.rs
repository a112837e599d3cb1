//! `agentops gateway`: for any program that can be given an address, until it is interrupted.

use std::collections::BTreeSet;

use agentops_agents::driver::{Credential, Reach};
use agentops_core::call::CallRow;
use agentops_core::ceiling::Window;
use agentops_engine::perform::gateway::{Aim, OpenLane, Target, aim, destinations, minute};
use agentops_gateway::destination::{Destination, Destinations, Family, shown_variable};
use agentops_gateway::host::Note;
use agentops_gateway::{Identity, is_lane_address};
use schemars::JsonSchema;
use serde::Serialize;
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

use super::alone::{Alone, News, Show, Wish};
use super::tally::Tally;
use crate::cli::GatewayArgs;
use crate::context::{self, Standing};
use crate::error::{CommandError, SUCCESS, USAGE};
use crate::printer::Printer;
use crate::screen;

/// The variables in which usual programs find the address of a provider.
const ANTHROPIC_BASE: &str = "ANTHROPIC_BASE_URL";
const OPENAI_BASE: &str = "OPENAI_BASE_URL";
const GOOGLE_BASE: &str = "GOOGLE_GEMINI_BASE_URL";

/// A line of `agentops gateway --json`.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case", tag = "line")]
pub enum Line {
    /// The first: how to use it. Whoever has a base address or token can make calls.
    Open {
        /// Where it listens.
        address: String,
        /// A lane for each destination.
        lanes: Vec<LaneLine>,
    },
    /// A call ended.
    Call {
        /// Where it went.
        destination: String,
        /// The call.
        call: Box<CallRow>,
    },
    /// A request was not forwarded.
    Refused {
        /// Where it would have gone.
        destination: String,
        /// Why.
        why: String,
    },
    /// Something to know.
    Note {
        /// The destination.
        destination: String,
        /// What was seen.
        words: String,
    },
    /// The last: what the calls to one destination came to.
    End {
        /// The destination.
        destination: String,
        /// All of them.
        totals: Tally,
    },
}

/// How a destination is used.
#[derive(Debug, Serialize, JsonSchema)]
pub struct LaneLine {
    /// The destination.
    pub destination: String,
    /// Where its calls go, without what looks like a secret.
    pub upstream: String,
    /// The address for programs that append `/v1/…` (or `/v1beta/…`) themselves.
    pub base: String,
    /// What goes in the place of the key.
    pub token: String,
    /// The program's own login passes instead.
    pub login: bool,
    /// Calls get your key; with neither this nor a login they go without.
    pub key: bool,
    /// Variables that lead usual programs here.
    pub env: Vec<(String, String)>,
}

/// `agentops gateway`
pub fn serve(standing: &Standing, args: &GatewayArgs, printer: &Printer) -> Result<u8, CommandError> {
    // Before anything is open, so that no signal ends it unsettled.
    let mut signals = Signals::new([SIGINT, SIGTERM, SIGHUP])?;
    let targets = targets(standing, args)?;
    let alone = Alone::start(standing, args.port)?;
    let mut lanes = Vec::new();
    let mut lines = Vec::new();
    for target in targets {
        let name = target.destination.name().to_owned();
        let (family, credential) = (target.destination.family(), target.credential);
        let upstream = context::redacted(&target.base().to_string());
        let has_key = matches!(target.identity, Identity::Key(_));
        let show = show(name.clone(), printer.clone());
        let wish = Wish {
            name: name.clone(),
            target,
            window: args.window.and_then(|tokens| Window::new(tokens.get())),
            hint: String::new(),
            hint_past_summary: String::new(),
            plain_refusal: false,
            show,
        };
        let (lane, host) = alone.open(standing, wish)?;
        lines.push(lane_line(&name, upstream, family, credential, has_key, &lane));
        lanes.push((name, lane, host));
    }
    print(printer, &Line::Open { address: alone.address().to_string(), lanes: lines });
    let _stopped = signals.forever().next();
    let hosts: Vec<_> = lanes.into_iter().map(|(name, _closed, host)| (name, host)).collect();
    let trouble = alone.end();
    for (destination, host) in hosts {
        print(printer, &Line::End { destination, totals: host.tally() });
    }
    if let Some(trouble) = trouble {
        printer.note(&trouble);
    }
    Ok(SUCCESS)
}

/// The destinations that were named; else all whose key is set, or that have logins.
fn targets(standing: &Standing, args: &GatewayArgs) -> Result<Vec<Target>, CommandError> {
    let refused = |words: String| CommandError::new(USAGE, words);
    let all = Destinations::new(destinations(&standing.user)).map_err(|e| refused(super::super::chain(&e)))?;
    let has_key = |destination: &&Destination| match (args.login, destination.key_env()) {
        (true, _) => destination.login().is_some(),
        (false, Some(name)) => is_set(standing, name),
        (false, None) => true,
    };
    let mut names: Vec<String> = match args.destination.as_slice() {
        [] => all.iter().filter(has_key).map(|destination| destination.name().to_owned()).collect(),
        named => named.to_vec(),
    };
    // One lane for each, however often it is named.
    let mut seen = BTreeSet::new();
    names.retain(|name| seen.insert(name.clone()));
    if names.is_empty() {
        let named = |d: &Destination| Some(format!("{} ({})", d.name(), shown_variable(d.key_env()?)));
        let known: Vec<String> = all.iter().filter_map(named).collect();
        return Err(refused(format!("no destination has its key set; there are {}", known.join(", ")))
            .hint("export a key, or pass your programs' own logins on with --login"));
    }
    let credential = if args.login { Credential::Login } else { Credential::Key };
    let mut targets = Vec::new();
    for destination in names {
        let base = base(standing, &destination)?;
        // The key goes where the calls go. A server at such an address may need none.
        let usual_key = || all.get(&destination)?.key_env().filter(|name| is_set(standing, name)).map(str::to_owned);
        let key_env = base.as_ref().and_then(|_| usual_key());
        let reach = Reach::Gateway { destination, credential, base, key_env };
        if let Aim::At(target) = aim(&standing.user, &standing.env, reach).map_err(refused)? {
            targets.push(*target);
        }
    }
    Ok(targets)
}

/// A value that cannot be used counts as set, so that it is refused by the variable's name.
fn is_set(standing: &Standing, name: &str) -> bool {
    standing.env.lossy_text(name).is_some_and(|value| !value.trim().is_empty())
}

/// The address in the variable that usual programs of this provider read, as `agentops with` and runs take it. A key of a
/// proxy would go to the official host without it.
fn base(standing: &Standing, destination: &str) -> Result<Option<String>, CommandError> {
    let name = match destination {
        "anthropic" => ANTHROPIC_BASE,
        "openai" => OPENAI_BASE,
        "google" => GOOGLE_BASE,
        _ => return Ok(None),
    };
    let Some(base) = standing.env.lossy_text(name).filter(|base| !base.trim().is_empty()) else { return Ok(None) };
    if is_lane_address(&base) {
        let message = format!("{name} is the address of a gateway of ours, and calls cannot go through two");
        return Err(
            CommandError::new(USAGE, message).hint(format!("unset {name} and the key beside it, or use another shell"))
        );
    }
    Ok(Some(base.trim().trim_end_matches('/').to_owned()))
}

fn lane_line(
    name: &str,
    upstream: String,
    family: Family,
    credential: Credential,
    has_key: bool,
    lane: &OpenLane,
) -> LaneLine {
    let route = lane.route(credential);
    let token = route.token.expose().to_owned();
    let (base_name, base, key_name) = match family {
        Family::Anthropic => (ANTHROPIC_BASE, route.base.clone(), "ANTHROPIC_API_KEY"),
        Family::OpenAi => (OPENAI_BASE, format!("{}/v1", route.base), "OPENAI_API_KEY"),
        Family::Google => (GOOGLE_BASE, route.base.clone(), "GEMINI_API_KEY"),
    };
    let login = credential == Credential::Login;
    let mut env = vec![(base_name.to_owned(), base)];
    if !login {
        env.push((key_name.to_owned(), token.clone()));
    }
    LaneLine { destination: name.to_owned(), upstream, base: route.base, token, login, key: has_key, env }
}

fn show(destination: String, printer: Printer) -> Show {
    Box::new(move |_, news| {
        let destination = destination.clone();
        print(
            &printer,
            &match news {
                News::Call { row, .. } => Line::Call { destination, call: Box::new((*row).clone()) },
                News::Refused(refusal) => Line::Refused { destination, why: refusal.to_string() },
                News::Note(Note::RequestRefused { request, status, reason }) => {
                    Line::Refused { destination, why: refused(request, *status, reason) }
                }
                News::Note(note) => Line::Note { destination, words: words(note) },
            },
        );
    })
}

/// The line of a request that was refused before it was judged as a call.
pub fn refused(request: &str, status: u16, reason: &str) -> String {
    format!("{request} with {status}: {reason}")
}

fn words(note: &Note) -> String {
    match note {
        Note::HiddenReasoning => "an answer holds reasoning that is not shown; its length is known at its end only".into(),
        Note::ReportNotBelieved { reported, possible } => format!(
            "the provider reported {reported} tokens for a call of at most {possible}; the report is not believed, and the \
             call is charged at its limit"
        ),
        Note::Redacted => "secrets were taken out of a call".into(),
        Note::ProviderWaits { until_ms } => format!("the provider takes no calls until {}", minute(*until_ms)),
        _ => String::new(),
    }
}

fn print(printer: &Printer, line: &Line) {
    if printer.json() {
        if let Ok(json) = serde_json::to_string(line) {
            printer.document(&json);
        }
        return;
    }
    printer.data(&match line {
        Line::Open { address, lanes } => {
            let mut text = vec![format!("listening on {address}; Ctrl-C ends it")];
            for lane in lanes {
                text.push(format!(
                    "\n# {}: calls go to {}{}",
                    lane.destination,
                    lane.upstream,
                    match (lane.login, lane.key) {
                        (true, _) => ", with your program's own login",
                        (false, true) => "",
                        (false, false) => ", without a key",
                    }
                ));
                text.extend(lane.env.iter().map(|(name, value)| format!("export {name}={value}")));
            }
            text.push(String::new());
            text.join("\n")
        }
        Line::Call { destination, call } => self::call(destination, call),
        Line::Refused { destination, why } => format!("{destination}  refused: {why}"),
        Line::Note { destination, words } => format!("{destination}  {words}"),
        Line::End { destination, totals } => format!("{destination}  {}", totals.line()),
    });
}

/// `anthropic  claude-sonnet-5-5  200  9 % of 200k  18.2k tokens  $0.06  1.2 s`
fn call(destination: &str, call: &CallRow) -> String {
    let status = call.status.map_or_else(|| call.error.clone().unwrap_or_default(), |status| status.to_string());
    let share = Window::new(call.window).map(|window| window.permille(call.context()));
    [
        destination.to_owned(),
        call.model.clone().unwrap_or_else(|| "model not named".into()),
        status,
        share.map(|share| format!("{} of {}", screen::percent(share), screen::thousands(call.window))).unwrap_or_default(),
        call.usage.map_or_else(|| "use unknown".into(), |usage| format!("{} tokens", screen::thousands(usage.context()))),
        screen::money(call.charged.micro_usd),
        screen::duration(call.duration_ms),
    ]
    .join("  ")
}
