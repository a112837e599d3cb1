//! The gateway of this supervisor: started by the first session that needs it. Each session is a lane of its own behind it,
//! and what the gateway tells of that lane comes to the session's thread like everything else.

use std::path::PathBuf;
use std::sync::mpsc::Sender;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use agentops_agents::driver::{self, Reach, Route};
use agentops_agents::environment::Environment;
use agentops_core::budget::{Amount, Book, Limits, Scope};
use agentops_core::call::CallRow;
use agentops_core::ceiling::Window;
use agentops_core::id::SessionId;
use agentops_core::workflow::Secrets;
use agentops_gateway::alone::Ledgers;
use agentops_gateway::day::date;
use agentops_gateway::destination::{Base, Custom, Destination, Destinations, Family, shown_variable};
use agentops_gateway::host::{Answer, Answering, Host, Note, Refusal, WindowRemedy, answer};
use agentops_gateway::lane::{Lane, Rules};
use agentops_gateway::{Config, Gateway, Identity, LaneHandle, LaneSpec, Proxies, usable_key};
use agentops_safe::Secret;

use super::{Ctx, Incoming};
use crate::files::user::UserConfig;
use crate::world::Clock;

/// What the gateway tells a session.
pub(crate) enum Wire {
    /// A grant is needed before a call may leave that was admitted at this time, in milliseconds since 1970.
    Grant(Amount, u64, Answering<Option<Amount>>),
    /// A call has ended; and what it cost above everything granted.
    Settled(Box<CallRow>, Option<Amount>),
    /// A call is not forwarded.
    Refused(Refusal, Answering<()>),
    /// Something to note.
    Noted(Note),
    /// The lane is closed and every call of it has settled.
    Closed,
}

/// A time to the minute, `2026-11-24 18:05 UTC`.
#[must_use]
pub fn minute(at_ms: u64) -> String {
    let at = jiff::Timestamp::from_millisecond(i64::try_from(at_ms).unwrap_or(i64::MAX)).unwrap_or(jiff::Timestamp::MAX);
    at.strftime("%Y-%m-%d %H:%M UTC").to_string()
}

/// When the UTC day of a time began.
#[must_use]
pub fn midnight(now_ms: u64) -> u64 {
    const DAY_MS: u64 = 24 * 60 * 60 * 1000;
    now_ms / DAY_MS * DAY_MS
}

/// The gateways that sessions needed, and the accounts of all budgets.
#[derive(Default)]
pub struct Gateways {
    /// One for each way to the network: certificates and proxies are a gateway's own.
    started: Mutex<Vec<(Config, Arc<Gateway>)>>,
    book: Arc<Mutex<Book>>,
    /// The ledgers of days, which all gateways of the user share; `None`: nothing is shared.
    days: Mutex<Option<Ledgers>>,
}

/// What became of a day's grant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum DayGrant {
    /// The call may be made, as far as the day's budget goes.
    Granted,
    /// What is left of it is not enough.
    UsedUp,
    /// Its ledger cannot be used.
    Failed,
}

/// How a session's calls go.
pub(crate) enum Way {
    /// Through the gateway.
    Through {
        /// The lane; the session's calls end when it is dropped.
        lane: OpenLane,
        /// For the driver.
        route: Route,
        /// Nothing but us holds answers to their limit, and hidden reasoning cannot be counted while it comes.
        loose: bool,
    },
    /// Past it, and why.
    Past(String),
    /// Nowhere.
    NoModel,
}

/// What a lane needs to know of its session.
pub(crate) struct Opening<'a> {
    /// What the driver says.
    pub reach: Reach,
    /// The window as far as it is known.
    pub window: Option<Window>,
    /// The budgets that hold.
    pub budgets: Vec<(Scope, Limits, Amount)>,
    /// What happens to secrets in requests.
    pub secrets: Secrets,
    /// The program repeats without end what is told to be too long.
    pub plain_refusal: bool,
    /// The session's thread.
    pub tell: &'a Sender<Incoming>,
}

impl Gateways {
    /// `spent` is what the run ledger knows of a day before this supervisor, by its date. `folder` holds the ledgers of days,
    /// and no other supervisor of the machine is `named` so.
    pub(crate) fn new(today: &str, spent: Amount, folder: PathBuf, named: String) -> Self {
        let gateways = Self::default();
        let ledgers = Ledgers::new(folder, named, Limits::default(), Arc::clone(&gateways.book));
        *gateways.days() = Some(ledgers);
        // The limits are those of each run's user settings.
        gateways.lock().set(Scope::Day(today.to_owned()), Limits::default(), spent);
        gateways
    }

    fn lock(&self) -> MutexGuard<'_, Book> {
        self.book.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn days(&self) -> MutexGuard<'_, Option<Ledgers>> {
        self.days.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Grants this much out of the budget of the day on which a call was admitted. Without limits a ledger that cannot be used
    /// holds nothing up.
    pub(crate) fn grant_of_day(&self, ask: Amount, admitted_ms: u64, limits: Limits) -> DayGrant {
        let mut days = self.days();
        let Some(ledgers) = days.as_mut() else { return DayGrant::Granted };
        ledgers.limit(limits);
        match ledgers.grant(&date(admitted_ms), ask) {
            Ok(Some(_)) => DayGrant::Granted,
            Ok(None) => DayGrant::UsedUp,
            Err(_) if limits.is_none() => DayGrant::Granted,
            Err(_) => DayGrant::Failed,
        }
    }

    /// Settles a call in the ledger of its day. If that fails, its grant counts as spent.
    pub(crate) fn settle_day(&self, session: &SessionId, row: &CallRow, missing: Option<Amount>) {
        if let Some(ledgers) = self.days().as_mut() {
            let _stays_granted = ledgers.call(&date(row.started_ms), &session.to_string(), row.clone(), missing);
        }
    }

    /// The supervisor ends in order: what was granted for the day and not used is free again.
    pub(crate) fn end(&self) {
        if let Some(ledgers) = self.days().take() {
            let _stays_granted = ledgers.end();
        }
    }

    /// Opens a lane for a session.
    ///
    /// # Errors
    /// Words for a person: the session must not start.
    pub(crate) fn open(&self, ctx: &Ctx, opening: Opening<'_>) -> Result<Way, String> {
        let target = match aim(&ctx.env.user, &ctx.env.variables, opening.reach)? {
            Aim::NoModel => return Ok(Way::NoModel),
            Aim::Past(why) => return Ok(Way::Past(why)),
            Aim::At(target) => *target,
        };
        let (takes_limit, loose) = (target.takes_limit(), target.is_loose());
        let clock = ctx.clock.clone();
        let scopes = opening.budgets.iter().map(|(scope, ..)| scope.clone()).collect();
        for (scope, limits, spent) in opening.budgets {
            self.lock().set(scope, limits, spent);
        }
        let rules = Rules {
            provider: target.provider().to_owned(),
            window: opening.window,
            user_windows: ctx.env.user.windows(),
            window_remedy: WindowRemedy::Agent,
            takes_limit,
            close_when_refused: true,
            hint: String::new(),
            hint_past_summary: String::new(),
            plain_refusal: opening.plain_refusal,
            secrets: opening.secrets,
            redactor: ctx.blobs.redactor().clone(),
            scopes,
            day: ctx.env.user.budget.limits(),
            book: Arc::clone(&self.book),
            clock: Arc::new(move || clock.now_ms()),
            host: Arc::new(SessionHost(opening.tell.clone())),
        };
        let credential = target.credential;
        let lane = OpenLane::new(self.gateway(ctx)?, Lane::new(rules), target)?;
        let route = lane.route(credential);
        Ok(Way::Through { lane, route, loose })
    }

    fn gateway(&self, ctx: &Ctx) -> Result<Arc<Gateway>, String> {
        let mut started = self.started.lock().unwrap_or_else(PoisonError::into_inner);
        let config = config(&ctx.env.user, &ctx.env.variables);
        if let Some((_, gateway)) = started.iter().find(|(known, _)| same_network(known, &config)) {
            return Ok(Arc::clone(gateway));
        }
        let gateway = Arc::new(Gateway::start(config.clone()).map_err(|error| super::chain(&error))?);
        started.push((config, Arc::clone(&gateway)));
        Ok(gateway)
    }
}

/// Where a lane's calls go, and as whom.
pub struct Target {
    /// Where they go.
    pub destination: Destination,
    /// As whom they are made.
    pub identity: Identity,
    /// What the program shows.
    pub credential: driver::Credential,
}

impl Target {
    /// The provider in the words of the OpenTelemetry GenAI conventions; a destination of the user's own goes by its name.
    #[must_use]
    pub fn provider(&self) -> &str {
        match self.destination.name() {
            "google" => "gcp.gemini",
            name => name,
        }
    }

    /// The address that its calls go to. A login goes to its vendor, whatever is configured.
    #[must_use]
    pub fn base(&self) -> &Base {
        let destination = &self.destination;
        let login = destination.login().filter(|_| matches!(self.identity, Identity::Login));
        login.unwrap_or_else(|| destination.base())
    }

    /// The destination takes an output limit where the request sets none. The backends of logins are another matter.
    #[must_use]
    pub fn takes_limit(&self) -> bool {
        !matches!(self.identity, Identity::Login)
    }

    /// Nothing but us holds answers to their limit, and hidden reasoning cannot be counted while it comes.
    #[must_use]
    pub fn is_loose(&self) -> bool {
        !self.takes_limit() && self.destination.family() == Family::OpenAi
    }
}

/// How a program's calls go.
pub enum Aim {
    /// Through the gateway.
    At(Box<Target>),
    /// Past it, and why.
    Past(String),
    /// Nowhere.
    NoModel,
}

/// Where the calls of a program go that says this of itself.
///
/// # Errors
/// Words for a person: the destination is not known, its address cannot be used, or its key is not set.
pub fn aim(user: &UserConfig, env: &Environment, reach: Reach) -> Result<Aim, String> {
    let (name, credential, base, key_env) = match reach {
        Reach::NoModel => return Ok(Aim::NoModel),
        Reach::Direct(why) => return Ok(Aim::Past(why)),
        Reach::Gateway { destination, credential, base, key_env } => (destination, credential, base, key_env),
    };
    let destination = destination(user, &name, base)?;
    let identity = match credential {
        driver::Credential::Login => Identity::Login,
        driver::Credential::Key => key(env, &destination, key_env)?.map_or(Identity::Nobody, Identity::Key),
    };
    Ok(Aim::At(Box::new(Target { destination, identity, credential })))
}

fn destination(user: &UserConfig, name: &str, base: Option<String>) -> Result<Destination, String> {
    let mut custom = destinations(user);
    if let Some(base_url) = base {
        // An address in the program's own settings stands for the one in ours: both are the user's.
        let known = custom.iter().find(|custom| custom.name == name).cloned();
        let family = known.as_ref().map_or_else(|| family(name), |known| Some(known.family));
        let family = family.ok_or_else(|| format!("destination `{name}` is not known"))?;
        let insecure = known.as_ref().is_some_and(|known| known.insecure);
        let (key, key_env) = known.map_or((None, None), |known| (known.key, known.key_env));
        custom.retain(|custom| custom.name != name);
        custom.push(Custom { name: name.into(), base_url, family, key, key_env, insecure });
    }
    let all = Destinations::new(custom).map_err(|error| super::chain(&error))?;
    all.get(name).cloned().ok_or_else(|| {
        let known: Vec<&str> = all.iter().map(Destination::name).collect();
        format!("destination `{name}` is not known; there are {}, and those that your config.toml names", known.join(", "))
    })
}

/// A lane that is open for as long as this lives.
pub struct OpenLane {
    gateway: Arc<Gateway>,
    lane: Arc<Lane>,
    handle: LaneHandle,
}

impl OpenLane {
    /// Opens a lane.
    ///
    /// # Errors
    /// Words for a person.
    pub fn new(gateway: Arc<Gateway>, lane: Arc<Lane>, target: Target) -> Result<Self, String> {
        let Target { destination, identity, .. } = target;
        let spec = LaneSpec { lane: Arc::clone(&lane), destination, identity };
        let handle = gateway.open(spec).map_err(|error| super::chain(&error))?;
        Ok(Self { gateway, lane, handle })
    }

    /// The way to it, for a driver.
    #[must_use]
    pub fn route(&self, credential: driver::Credential) -> Route {
        Route { base: self.handle.base().expose().to_owned(), token: self.handle.token().clone(), credential }
    }

    /// The lane itself.
    #[must_use]
    pub fn lane(&self) -> &Lane {
        &self.lane
    }
}

impl Drop for OpenLane {
    fn drop(&mut self) {
        self.gateway.close(&self.handle);
    }
}

/// The gateway's settings as the user's configuration and environment have them.
#[must_use]
pub fn config(user: &UserConfig, env: &Environment) -> Config {
    Config { extra_cas: user.gateway.extra_ca.clone(), proxies: proxies(env), ..Config::default() }
}

/// Whether two gateways would reach the network in the same way.
fn same_network(a: &Config, b: &Config) -> bool {
    let proxies = |config: &Config| {
        let Proxies { all, http, https, no } = config.proxies.clone();
        [all.expose(), http.expose(), https.expose(), &no].map(str::to_owned)
    };
    a.extra_cas == b.extra_cas && proxies(a) == proxies(b)
}

/// As curl and most programs read them: the lower-case name counts before the other.
fn proxies(env: &Environment) -> Proxies {
    let of = |name: &str| env.text(&name.to_lowercase()).or_else(|| env.text(name)).unwrap_or_default();
    Proxies {
        all: Secret::new(of("ALL_PROXY")),
        http: Secret::new(of("HTTP_PROXY")),
        https: Secret::new(of("HTTPS_PROXY")),
        no: of("NO_PROXY"),
    }
}

/// The destinations that the user's configuration names.
pub fn destinations(user: &UserConfig) -> Vec<Custom> {
    let configured = user.gateway.destination.iter().filter_map(|(name, destination)| {
        let protocol = destination.protocol.as_deref().unwrap_or(name);
        Some(Custom {
            name: name.clone(),
            base_url: destination.base_url.clone(),
            family: family(protocol)?,
            key: None,
            key_env: destination.key_env.clone().or_else(|| default_key_env(name)),
            insecure: destination.insecure,
        })
    });
    configured.collect()
}

fn family(name: &str) -> Option<Family> {
    match name {
        "anthropic" => Some(Family::Anthropic),
        "openai" => Some(Family::OpenAi),
        "google" => Some(Family::Google),
        _ => None,
    }
}

fn default_key_env(name: &str) -> Option<String> {
    let all = Destinations::new([]).ok()?;
    all.get(name)?.key_env().map(str::to_owned)
}

/// The key; `None`: the destination wants none.
fn key(env: &Environment, destination: &Destination, key_env: Option<String>) -> Result<Option<Secret>, String> {
    let Some(name) = key_env.or_else(|| destination.key_env().map(str::to_owned)) else { return Ok(None) };
    let shown = shown_variable(&name);
    let Some(value) = env.lossy_text(&name).filter(|value| !value.trim().is_empty()) else {
        return Err(format!("the key of destination `{}` is not set: export {shown}", destination.name()));
    };
    let key = usable_key(&value).map_err(|error| format!("{shown} cannot be used: {error}"))?;
    Ok(Some(Secret::new(key)))
}

/// Passes on to the session's thread. When the lane and its last call are gone, so is this, and it says so.
struct SessionHost(Sender<Incoming>);

impl SessionHost {
    fn tell(&self, wire: Wire) {
        let _session_over = self.0.send(Incoming::Wire(wire));
    }
}

impl Host for SessionHost {
    fn grant(&self, ask: Amount, admitted_ms: u64) -> Answer<Option<Amount>> {
        let (answering, answer) = answer();
        self.tell(Wire::Grant(ask, admitted_ms, answering));
        answer
    }

    fn settled(&self, row: CallRow, missing: Option<Amount>) {
        self.tell(Wire::Settled(Box::new(row), missing));
    }

    fn refused(&self, refusal: Refusal) -> Answer<()> {
        let (answering, answer) = answer();
        self.tell(Wire::Refused(refusal, answering));
        answer
    }

    fn note(&self, note: Note) {
        self.tell(Wire::Noted(note));
    }
}

impl Drop for SessionHost {
    fn drop(&mut self) {
        self.tell(Wire::Closed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Two supervisors and a gateway without one.
    #[test]
    fn b3_all_gateways_of_a_user_share_the_day() {
        let folder = tempfile::tempdir().expect("a folder");
        let limits = Limits { tokens: Some(1_000), micro_usd: None };
        let supervisor = |name: &str| Gateways::new("1970-01-01", Amount::ZERO, folder.path().to_owned(), name.into());
        let (one, two) = (supervisor("one"), supervisor("two"));
        let mut alone = Ledgers::new(folder.path().to_owned(), "alone".into(), limits, Arc::default());
        let ask = |tokens| Amount::priced(tokens, 0);
        assert!(std::fs::read_dir(folder.path()).expect("a folder").next().is_none(), "nothing is written before a call");
        assert_eq!(one.grant_of_day(ask(400), 5, limits), DayGrant::Granted);
        assert_eq!(alone.grant("1970-01-01", ask(400)).expect("a ledger"), Some(ask(400)));
        assert_eq!(two.grant_of_day(ask(201), 5, limits), DayGrant::UsedUp);
        assert_eq!(two.grant_of_day(ask(200), 5, limits), DayGrant::Granted);
        one.end();
        assert_eq!(two.grant_of_day(ask(400), 5, limits), DayGrant::Granted, "what was not used is free again");
    }

    #[test]
    fn a_ledger_that_cannot_be_used_holds_up_only_what_it_limits() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("file");
        std::fs::write(&file, "").expect("a file");
        let supervisor = Gateways::new("1970-01-01", Amount::ZERO, file, "one".into());
        let limits = Limits { tokens: Some(1_000), micro_usd: None };
        assert_eq!(supervisor.grant_of_day(Amount::priced(1, 0), 5, limits), DayGrant::Failed);
        assert_eq!(supervisor.grant_of_day(Amount::priced(1, 0), 5, Limits::default()), DayGrant::Granted);
    }
}
