//! One lane behind the gateway: its calls are judged, reserved for, and settled here.

mod reserve;

use std::borrow::Cow;
use std::ops::Range;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use agentops_core::budget::{Book, Limits, Scope};
use agentops_core::call::CallKind;
use agentops_core::ceiling::Window;
use agentops_core::models::{self, Price, UserWindows};
use agentops_core::workflow::Secrets;
use agentops_safe::Redactor;
use agentops_text::tokens;
use bytes::Bytes;

use crate::background::Background;
use crate::conversation::{Conversations, Counted, Density, Part, Reading};
use crate::day::Days;
use crate::host::{Host, Note, Refusal, WindowRemedy};
use crate::judge::{Ask, Decision, Room, decide, wanted};
use crate::offload::{self, LARGE_BYTES};
use crate::protocol::{self, BodyPart, Edit, Head, Protocol, Reply};
use crate::scan::Layout;
use crate::ticket::{Call, Ticket};

pub(crate) use reserve::at_list_price;

/// What holds for a lane's calls.
pub struct Rules {
    /// Name of the provider in the call rows.
    pub provider: String,
    /// The window that the user set for this lane; the model table can only narrow it. `None`: the table alone.
    pub window: Option<Window>,
    /// Windows of single models that the user set.
    pub user_windows: UserWindows,
    /// What is said where a window is not known.
    pub window_remedy: WindowRemedy,
    /// The destination takes an output limit where the request sets none.
    pub takes_limit: bool,
    /// After a refusal nothing more of that conversation is forwarded. Otherwise each call is judged by itself, so that a
    /// person can compact.
    pub close_when_refused: bool,
    /// What a person can do about a refusal at the ceiling, for the end of its words; empty: nothing.
    pub hint: String,
    /// The same, where the program's own summary would not fit either.
    pub hint_past_summary: String,
    /// The client repeats a call for ever, or compacts for ever, when it is told that its prompt is too long: it is told in
    /// neutral words.
    pub plain_refusal: bool,
    /// What happens to secrets in requests.
    pub secrets: Secrets,
    /// What finds them.
    pub redactor: Redactor,
    /// The budgets that hold, besides the day's.
    pub scopes: Vec<Scope>,
    /// The limits of each day. A call counts on the day on which it is admitted.
    pub day: Limits,
    /// Their accounts, shared with other lanes.
    pub book: Arc<Mutex<Book>>,
    /// Wall clock, in milliseconds since 1970.
    pub clock: Arc<dyn Fn() -> u64 + Send + Sync>,
    /// Who is told.
    pub host: Arc<dyn Host>,
}

/// A lane that is open.
pub struct Lane {
    pub(crate) rules: Rules,
    conversations: Mutex<Conversations>,
    days: Mutex<Days>,
    handing_over: AtomicBool,
    /// The lane's own conversation; 0: none yet.
    own: AtomicU32,
    /// The highest number of a conversation so far.
    newest: AtomicU32,
    /// The lane's own conversation is being compacted: the next one that begins is its continuation.
    compacts: AtomicBool,
    hidden: AtomicBool,
    /// The smallest window that anybody named for the lane's model.
    window: Mutex<Option<Window>>,
    /// What the model table says of the last model: most calls of a lane ask for the same one.
    last_model: Mutex<Option<(String, Known)>>,
    /// Texts of rows in which there is no secret, of which there are few.
    clean: Mutex<Vec<Box<str>>>,
    /// Calls whose answers are made in the background.
    pub(crate) background: Background,
}

/// Maximum number of clean texts that are remembered.
const CLEAN_MAX: usize = 16;

/// What the model table and the user say of a model.
#[derive(Clone, Copy)]
struct Known {
    window: Option<Window>,
    output_max: Option<u64>,
    density: Density,
    price: Option<Price>,
}

/// A call as it arrives.
#[derive(Debug, Clone)]
pub struct Incoming {
    /// How it is to be read.
    pub protocol: Protocol,
    /// The model, where the path names it.
    pub model: Option<String>,
    /// Whether the path asks for a stream; `None`: the body says.
    pub streamed: Option<bool>,
    /// The body as it came.
    pub body: Bytes,
}

/// What becomes of it.
#[derive(Debug)]
pub enum Admitted {
    /// It is forwarded.
    Forward {
        /// The body to send: the one that came, unless something had to be changed.
        body: Bytes,
        /// Follows the call and settles it.
        ticket: Ticket,
    },
    /// It is not; this is the client's answer.
    Refuse(Reply),
    /// It is not forwarded, because it cannot be read. The text says why.
    Malformed(String),
}

/// A call that was read and not decided.
struct Judged {
    protocol: Protocol,
    head: Head,
    model: Option<String>,
    window: Window,
    /// The most that an answer can have, of any model that may answer.
    output_max: Option<u64>,
    density: Density,
    price: Option<Price>,
    /// Where several models may answer: the list price of each.
    prices: Vec<(String, Option<Price>)>,
    /// What its options do to its price.
    price_permille: u64,
    kind: CallKind,
    reading: Reading,
}

impl std::fmt::Debug for Lane {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Lane").field("provider", &self.rules.provider).finish_non_exhaustive()
    }
}

pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // A panic elsewhere leaves figures that are still upper bounds.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Lane {
    /// Opens a lane.
    #[must_use]
    pub fn new(rules: Rules) -> Arc<Self> {
        Arc::new(Self {
            window: Mutex::new(rules.window),
            last_model: Mutex::default(),
            clean: Mutex::default(),
            rules,
            conversations: Mutex::default(),
            days: Mutex::default(),
            handing_over: AtomicBool::new(false),
            own: AtomicU32::new(0),
            newest: AtomicU32::new(0),
            compacts: AtomicBool::new(false),
            hidden: AtomicBool::new(false),
            background: Background::default(),
        })
    }

    /// From now on the lane's calls serve the hand-over and may use its reserve.
    pub fn hand_over(&self) {
        self.handing_over.store(true, Ordering::Relaxed);
    }

    /// Somebody names a window for the lane's model: it can only become smaller.
    pub fn narrow(&self, window: Window) {
        let mut known = lock(&self.window);
        *known = Some(known.map_or(window, |known| known.min(window)));
    }

    /// Settles what nobody will ask for any more: answers that are made in the background.
    pub fn end(&self) {
        self.background.end();
    }

    /// Tells the host something.
    pub fn note(&self, note: Note) {
        self.rules.host.note(note);
    }

    /// Text for a person, without secrets.
    pub(crate) fn redacted(&self, text: &str) -> String {
        self.rules.redactor.redact(text).into_owned()
    }

    /// Judges a call, reserves for it, and waits for what must be durable before it leaves.
    pub async fn admit(self: &Arc<Self>, call: Incoming) -> Admitted {
        let (protocol, streamed) = (call.protocol, call.streamed);
        let lane = Arc::clone(self);
        let mut judged = match offload::run(call.body.len(), move || lane.read(call)).await {
            Ok(judged) => judged,
            Err(Unread::Malformed(words)) => return Admitted::Malformed(words),
            Err(Unread::Refused(refusal)) => return Admitted::Refuse(self.refuse(protocol, refusal).await),
        };
        let decision = judged.decide(self.rules.takes_limit).await;
        let room = match decision {
            Decision::Forward(room) if !judged.reading.closed => room,
            Decision::Forward(room) => {
                let needed = judged.input() + room.output;
                return self.too_long(&mut judged, needed, 0).await;
            }
            Decision::TooLong { needed, allowed } => return self.too_long(&mut judged, needed, allowed).await,
        };
        let has_secrets = !judged.reading.unclean().is_empty();
        let (lane, redacted_bytes) = (Arc::clone(self), if has_secrets { judged.reading.body.len() } else { 0 });
        let write = move || (lane.body(&judged, room), judged);
        let (body, mut judged) = match offload::run(redacted_bytes, write).await {
            (Ok(body), judged) => (body, judged),
            (Err(refusal), _) => return Admitted::Refuse(self.refuse(protocol, refusal).await),
        };
        let admission = self.admission();
        let reservation = match self.reserve(&mut judged, room, &admission).await {
            Ok(reservation) => reservation,
            Err(refusal) => return Admitted::Refuse(self.refuse(protocol, refusal).await),
        };
        // From here on nothing is waited for: a client that left would take the reservation with it.
        if has_secrets {
            self.note(Note::Redacted);
        }
        lock(&self.conversations).remember(&mut judged.reading);
        let number = judged.reading.number;
        self.follow_own(&judged);
        let call = Call {
            conversation: number,
            sub_agent: self.is_sub_agent(number),
            kind: judged.kind,
            streamed: streamed.unwrap_or(judged.head.stream),
            input: judged.input(),
            density: judged.density,
            window: judged.window,
            room,
            model: judged.model,
            price: judged.price,
            prices: judged.prices,
            price_permille: judged.price_permille,
            protocol,
            // What a provider's own tools bring in is input too, and nothing of it stands in the body.
            teaches: !judged.head.server_tools,
            background: judged.head.background,
            reading: judged.reading,
        };
        Admitted::Forward { body, ticket: Ticket::new(Arc::clone(self), call, reservation, admission.at_ms) }
    }

    fn read(&self, call: Incoming) -> Result<Judged, Unread> {
        let Incoming { protocol, model, body, .. } = call;
        let looks = self.rules.secrets != Secrets::Pass;
        let measure = |part: BodyPart<'_>, bytes: &[u8]| {
            let clean = !looks || !self.rules.redactor.finds(bytes);
            let media = protocol::media(protocol, part, bytes);
            let bound = tokens::json_bound(bytes, &media.data).saturating_add(media.tokens);
            Part::new(bound, clean, media.uncountable).with_images(media.images)
        };
        let malformed = |words: String| Unread::Malformed(words);
        let reading = if body.len() > LARGE_BYTES {
            // Reading takes a while, in which other calls of the lane must not wait for the lock.
            let known = lock(&self.conversations).clone();
            known.read(body, protocol)
        } else {
            lock(&self.conversations).read(body, protocol)
        };
        let mut reading = reading.map_err(|error| malformed(error.to_string()))?;
        reading.measure(measure);
        let head =
            protocol::head(protocol, &reading.body, &reading.layout.fields).map_err(|error| malformed(error.to_string()))?;
        if protocol == Protocol::Messages && head.output.is_none() {
            // The provider refuses it. With a limit of ours it would be another request than the client's.
            return Err(malformed("`max_tokens` is missing, and the protocol needs it".into()));
        }
        let model = model.or_else(|| head.model.clone());
        let known = self.known(model.as_deref().unwrap_or_default());
        let mut window = self.window(model.as_deref(), known.window)?;
        let Known { mut density, mut output_max, price, .. } = known;
        // Where another model may answer too, the smaller window, the larger count and the dearer price hold.
        let (mut prices, mut dearest) = (Vec::new(), price);
        for other in &head.other_models {
            let other_price = models::price_of(other);
            dearest = dearest.zip(other_price).map(|(price, other)| price.max(other));
            prices.push((other.clone(), other_price));
            window = window.min(self.window(Some(other), self.rules.user_windows.window_of(other))?);
            density = density.max(Density::of(other));
            output_max = [output_max, models::output_max(other)].into_iter().flatten().min();
        }
        let factor = head.price.map(|factor| factor.permille(reading.input(density)));
        if !prices.is_empty() {
            prices.push((model.clone().unwrap_or_default(), price));
        }
        let price = dearest.zip(factor).map(|(price, factor)| price.times(factor));
        if head.server_history {
            return Err(Unread::Refused(Refusal::Uncountable("goes on with a conversation that the provider keeps")));
        }
        if let Some(why) = head.uncountable.or_else(|| reading.uncountable()) {
            return Err(Unread::Refused(Refusal::Uncountable(why.reason())));
        }
        let kind = if self.handing_over.load(Ordering::Relaxed) {
            CallKind::HandOver
        } else if protocol::is_compaction(protocol, &head, &reading.last_items(2)) {
            CallKind::Compaction
        } else {
            CallKind::Work
        };
        let price_permille = factor.unwrap_or(1000);
        Ok(Judged { protocol, head, model, window, output_max, density, price, prices, price_permille, kind, reading })
    }

    /// The smaller of the lane's window and the model's.
    fn window(&self, model: Option<&str>, known: Option<Window>) -> Result<Window, Unread> {
        [*lock(&self.window), known].into_iter().flatten().min().ok_or_else(|| {
            let model = model.map_or_else(|| "(not named)".into(), |model| self.clean(model.to_owned()));
            Unread::Refused(Refusal::WindowUnknown { model, remedy: self.rules.window_remedy })
        })
    }

    fn known(&self, model: &str) -> Known {
        let mut last = lock(&self.last_model);
        if let Some((_, known)) = last.as_ref().filter(|(name, _)| name == model) {
            return *known;
        }
        let (window, price) = (self.rules.user_windows.window_of(model), models::price_of(model));
        let known = Known { window, output_max: models::output_max(model), density: Density::of(model), price };
        *last = Some((model.to_owned(), known));
        known
    }

    /// The body that leaves. Where nothing must be changed it is the one that came, byte for byte.
    fn body(&self, judged: &Judged, room: Room) -> Result<Bytes, Refusal> {
        let unclean = judged.reading.unclean();
        let limit =
            |body: &[u8], head: &Head| room.write.map(|each| protocol::limit_output(judged.protocol, body, head, each));
        let body = &judged.reading.body;
        if unclean.is_empty() {
            return Ok(limit(body, &judged.head).map_or_else(|| body.clone(), |edit| edited(body, &[edit])));
        }
        if self.rules.secrets == Secrets::Refuse {
            return Err(Refusal::Secret);
        }
        let redact = |at: Range<usize>| Edit { with: self.rules.redactor.redact_bytes(&body[at.clone()]).into_owned(), at };
        let body = edited(body, &unclean.into_iter().map(redact).collect::<Vec<_>>());
        // The limit may stand inside what was changed, so the places are looked up again.
        let layout = Layout::of(&body, judged.protocol.items_key()).map_err(|_| Refusal::Secret)?;
        let head = protocol::head(judged.protocol, &body, &layout.fields).map_err(|_| Refusal::Secret)?;
        Ok(limit(&body, &head).map_or_else(|| body.clone(), |edit| edited(&body, &[edit])))
    }

    async fn too_long(&self, judged: &mut Judged, needed: u64, allowed: u64) -> Admitted {
        if self.rules.close_when_refused {
            let mut conversations = lock(&self.conversations);
            conversations.remember(&mut judged.reading);
            conversations.close(judged.reading.number);
        }
        let number = judged.reading.number;
        let refusal = Refusal::Ceiling {
            conversation: number,
            sub_agent: self.is_sub_agent(number),
            kind: judged.kind,
            needed,
            allowed,
            window: judged.window.tokens(),
        };
        let media = judged.reading.media_tokens(judged.density);
        let hint = if refusal.leaves_room_for_summary() { &self.rules.hint } else { &self.rules.hint_past_summary };
        let words = match hint.as_str() {
            // Compacting would send them once more.
            _ if media > 0 && needed.saturating_sub(media) <= allowed => format!(
                "{refusal}; up to {media} of them are images and documents: take them out of the conversation, or begin a \
                 new one (`/clear` or `/new`)"
            ),
            "" => refusal.to_string(),
            hint => format!("{refusal}; {hint}"),
        };
        // That the host is gone changes nothing: the call is not forwarded.
        let _told = self.rules.host.refused(refusal).await;
        Admitted::Refuse(match self.rules.plain_refusal {
            true => protocol::error(judged.protocol, 403, &words),
            false => protocol::too_long(judged.protocol, needed, allowed, &words),
        })
    }

    /// Tells the host of a refusal and gives the client's answer.
    pub(crate) async fn refuse(&self, protocol: Protocol, refusal: Refusal) -> Reply {
        let words = refusal.to_string();
        let status =
            if matches!(refusal, Refusal::Budget(_) | Refusal::SetAside { .. } | Refusal::NotGranted) { 402 } else { 400 };
        let _told = self.rules.host.refused(refusal).await;
        protocol::error(protocol, status, &words)
    }

    fn is_sub_agent(&self, number: u32) -> bool {
        !matches!(self.own.load(Ordering::Relaxed), 0) && self.own.load(Ordering::Relaxed) != number
    }

    /// Follows the lane's own conversation: the first that comes with tools, and the one that goes on after the program has
    /// compacted it. That one begins anew, with the summary, and so has another number.
    fn follow_own(&self, judged: &Judged) {
        let number = judged.reading.number;
        let own = self.own.load(Ordering::Relaxed);
        let is_new = self.newest.fetch_max(number, Ordering::Relaxed) < number;
        if judged.kind == CallKind::Compaction {
            // The request for a summary may be a conversation of its own.
            self.compacts.fetch_or(number == own || is_new, Ordering::Relaxed);
        } else if judged.head.has_tools && (own == 0 || is_new && self.compacts.load(Ordering::Relaxed)) {
            self.own.store(number, Ordering::Relaxed);
            self.compacts.store(false, Ordering::Relaxed);
        } else if number == own {
            // It goes on as it was.
            self.compacts.store(false, Ordering::Relaxed);
        }
    }

    /// The provider said how much input a call was.
    pub(crate) fn reported(&self, call: &Call, input: u64) {
        let mark = call.reading.mark(call.density);
        lock(&self.conversations).reported(call.conversation, mark, input, call.teaches);
    }

    /// What was counted of a body after its call is known for the next one.
    pub(crate) fn counted(&self, reading: &Reading) {
        lock(&self.conversations).counted(reading);
    }

    /// Redacts the body of a request that only asks for a token count. Fails where the profile lets no secret leave.
    pub(crate) async fn without_secrets(self: &Arc<Self>, protocol: Protocol, body: Bytes) -> Result<Bytes, Reply> {
        if self.rules.secrets == Secrets::Pass {
            return Ok(body);
        }
        let (lane, bytes) = (Arc::clone(self), body.len());
        let redact = move || {
            let redactor = &lane.rules.redactor;
            let has_secrets = redactor.finds(&body);
            (if has_secrets { Bytes::from(redactor.redact_bytes(&body).into_owned()) } else { body }, has_secrets)
        };
        match (offload::run(bytes, redact).await, self.rules.secrets) {
            ((_, true), Secrets::Refuse) => Err(self.refuse(protocol, Refusal::Secret).await),
            ((body, has_secrets), _) => {
                if has_secrets {
                    self.note(Note::Redacted);
                }
                Ok(body)
            }
        }
    }

    /// A text for a call's row, without its secrets. Most are those of the calls before: a model, a reason.
    pub(crate) fn clean(&self, text: String) -> String {
        let mut clean = lock(&self.clean);
        if clean.iter().any(|known| **known == *text) {
            return text;
        }
        if let Cow::Owned(redacted) = self.rules.redactor.redact(&text) {
            return redacted;
        }
        if clean.len() < CLEAN_MAX {
            clean.push(text.as_str().into());
        }
        text
    }

    /// Said once a lane.
    pub(crate) fn saw_hidden_reasoning(&self) {
        if !self.hidden.swap(true, Ordering::Relaxed) {
            self.note(Note::HiddenReasoning);
        }
    }
}

enum Unread {
    Malformed(String),
    Refused(Refusal),
}

impl Judged {
    fn input(&self) -> u64 {
        self.reading.input(self.density)
    }

    fn ask(&self, takes_limit: bool) -> Ask {
        Ask {
            window: self.window,
            input: self.input(),
            output: self.head.output.as_ref().and_then(|limit| limit.tokens),
            output_max: self.output_max,
            answers: self.head.answers,
            thinking: self.head.thinking.unwrap_or_default(),
            kind: self.kind,
            takes_limit,
        }
    }

    /// Decides. By its bytes alone a call seems several times as large as it is, so it is counted where less is left for the
    /// answer than the client asks for.
    async fn decide(&mut self, takes_limit: bool) -> Decision {
        let ask = self.ask(takes_limit);
        let decision = decide(&ask);
        let is_tight = match decision {
            Decision::Forward(room) => room.output < wanted(&ask).saturating_mul(ask.answers.max(1)),
            Decision::TooLong { .. } => true,
        };
        if is_tight && self.count().await { decide(&self.ask(takes_limit)) } else { decision }
    }

    /// Counts what is known by its bytes only. `false`: there was nothing to count.
    async fn count(&mut self) -> bool {
        let open = self.reading.uncounted();
        if open.is_empty() {
            return false;
        }
        let (reading, protocol) = (self.reading.clone(), self.protocol);
        let bytes = open.iter().map(|slot| reading.part(*slot).1.len()).sum();
        let count =
            move || open.into_iter().map(|slot| (slot, count_part(protocol, reading.part(slot)))).collect::<Vec<_>>();
        // Counting takes long enough to hold up every other call of this thread.
        let counted = offload::on_own_thread(bytes, count).await;
        for (slot, counted) in counted {
            self.reading.count(slot, counted);
        }
        true
    }
}

/// o200k tokens of a part; the data of media is not text.
pub(crate) fn count_part(protocol: Protocol, (part, bytes): (BodyPart<'_>, &[u8])) -> Counted {
    let media = protocol::media(protocol, part, bytes);
    Counted { text: tokens::json_tokens(bytes, part.rendering(), &media.data), media: media.tokens }
}

/// The body with its edits, which do not overlap and come in their order.
fn edited(body: &Bytes, edits: &[Edit]) -> Bytes {
    let mut out = Vec::with_capacity(body.len() + 64);
    let mut at = 0;
    for edit in edits {
        out.extend_from_slice(&body[at..edit.at.start]);
        out.extend_from_slice(&edit.with);
        at = edit.at.end;
    }
    out.extend_from_slice(&body[at..]);
    Bytes::from(out)
}
