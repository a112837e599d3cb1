//! What in a task asks for a person's eye before anything is done: rules over the words of a clause.
//!
//! There is no public set of tasks labelled by risk, so this is a list of rules and nothing else; the traps in `tests.rs`
//! say what it holds and what it leaves alone. In doubt a rule fires: a plan that is shown without need costs a minute.

use serde::Serialize;

use super::lexicon::{Group, Groups, groups};
use super::reading::{Before, Word};

/// Why a task is risky.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Danger {
    /// It is about what real users use right now.
    Production,
    /// Git cannot bring back what it ends: data, resources, published packages, sent mail, rewritten history, keys.
    Irreversible,
    /// It changes how stored data looks.
    Data,
    /// Who may do what, and what keeps secrets secret.
    Security,
    /// Somebody pays more or less after it.
    Money,
    /// Others' code may stop working.
    PublicInterface,
    /// It changes machines, clusters or names on the network.
    Infrastructure,
}

impl Danger {
    /// What a person reads.
    pub fn meaning(self) -> &'static str {
        match self {
            Self::Production => "touches production",
            Self::Irreversible => "cannot be undone",
            Self::Data => "changes stored data",
            Self::Security => "is about security",
            Self::Money => "is about money",
            Self::PublicInterface => "changes what others rely on",
            Self::Infrastructure => "changes infrastructure",
        }
    }
}

/// How far a verb reaches for what it is done to, in words.
const REACH: usize = 8;

/// How far a negation reaches, in words.
const NEGATION_REACH: usize = 4;

/// A clause of more words is no sentence: it is cut, so that a long list costs no more than its length.
const CLAUSE_MAX: usize = 80;

/// The words of a clause with their groups.
struct Clause<'a, 'w> {
    words: &'w [Word<'a>],
    groups: Vec<Groups>,
    /// The first verb that asks for work.
    head: Option<usize>,
    /// All of it is about words, not about what they stand for.
    wording: bool,
    /// It ends something, so no document or test makes it harmless.
    drastic: bool,
}

/// Each danger of the text with the words that decided, in the order of the text; at most one for a danger and clause.
pub(super) fn dangers(words: &[Word<'_>]) -> Vec<(Danger, String)> {
    let mut found = Vec::new();
    let mut start = 0;
    while start < words.len() {
        let limit = words.len().min(start + CLAUSE_MAX);
        let end = (start + 1..limit).find(|at| begins_clause(words, *at)).unwrap_or(limit);
        Clause::new(&words[start..end]).dangers(&mut found);
        start = end;
    }
    found
}

/// A clause begins after a stop, and at a verb after "and", "then", "but" or a comma.
fn begins_clause(words: &[Word<'_>], at: usize) -> bool {
    let word = &words[at];
    if word.before >= Before::Stop || word.code != words[at - 1].code {
        return true;
    }
    let joined =
        word.before == Before::Comma || matches!(words[at - 1].text, "and" | "then" | "but" | "also" | "afterwards");
    joined && groups(word.text).has(Group::Verb)
}

impl<'a, 'w> Clause<'a, 'w> {
    fn new(words: &'w [Word<'a>]) -> Self {
        let groups: Vec<Groups> =
            words.iter().map(|word| if word.code { Groups::default() } else { groups(word.text) }).collect();
        let head = groups.iter().position(|of| of.has(Group::Verb));
        let head_has = |group| head.is_some_and(|at| groups[at].has(group));
        let drastic =
            head_has(Group::Destroy) || head_has(Group::Rotate) || head_has(Group::Deploy) || head_has(Group::Restart);
        let wording = head_has(Group::DocVerb) || groups.iter().any(|of| of.has(Group::Spelling));
        Self { words, groups, head, wording, drastic }
    }

    fn is(&self, at: usize, group: Group) -> bool {
        self.groups.get(at).is_some_and(|of| of.has(group))
    }

    fn find(&self, from: usize, to: usize, group: Group) -> Option<usize> {
        (from..to.min(self.groups.len())).find(|at| self.is(*at, group))
    }

    fn has(&self, group: Group) -> bool {
        self.find(0, self.groups.len(), group).is_some()
    }

    fn text(&self, at: usize) -> &'a str {
        self.words.get(at).map_or("", |word| word.text)
    }

    /// The words from one to another as they were written.
    fn quote(&self, from: usize, to: usize) -> String {
        let words: Vec<&str> = self.words[from..=to].iter().map(|word| word.written).collect();
        words.join(" ")
    }

    fn dangers(&self, found: &mut Vec<(Danger, String)>) {
        let begin = found.len();
        let mut add = |danger: Danger, from: usize, to: usize| {
            if !found[begin..].iter().any(|(known, _)| *known == danger) {
                found.push((danger, self.quote(from.min(to), to.max(from))));
            }
        };
        for at in 0..self.words.len() {
            if self.words[at].code || !self.wording {
                self.command(at, &mut add);
            }
            if self.words[at].code || self.wording {
                continue;
            }
            if self.words[at].name {
                self.name(at, &mut add);
            } else if !self.groups[at].is_none() {
                self.place(at, &mut add);
                if !self.words[at].quoted {
                    self.irreversible(at, &mut add);
                    self.infrastructure(at, &mut add);
                    self.interface(at, &mut add);
                }
                self.data(at, &mut add);
                self.area(at, &mut add);
            }
        }
    }

    /// "do not", "without", "never" shortly before.
    fn negated(&self, at: usize) -> bool {
        let reach = at.saturating_sub(NEGATION_REACH)..at;
        let negation = reach.rev().take_while(|near| *near + 1 == at || self.words[near + 1].before < Before::Comma);
        let mut negation = negation.filter(|near| self.is(*near, Group::Negates));
        negation.next().is_some_and(|near| !(near + 1..at).any(|between| self.is(between, Group::NegatesNot)))
    }

    /// "without touching the billing code": an area that is named to be left alone.
    fn left_alone(&self, at: usize) -> bool {
        let from = at.saturating_sub(NEGATION_REACH + 1);
        (from..at).any(|near| self.is(near, Group::Touch) && self.negated(near))
    }

    /// What is said beside a document or a test is what that is about.
    fn only_about(&self, at: usize) -> bool {
        if self.drastic {
            return false;
        }
        let joined =
            |n: usize| self.words[n].before == Before::Comma || matches!(self.text(n), "and" | "or" | "plus" | "with");
        // "Test the failover" is no test of it in code.
        let about = |n: usize| self.is(n, Group::About) && self.head != Some(n);
        let after = (at + 1..(at + 3).min(self.words.len())).take_while(|n| !joined(*n)).any(about);
        let before = (1..=at).rev().take_while(|n| !joined(*n)).any(|n| about(n - 1));
        after || before
    }

    /// The verb asks for something to be done; it does not tell what happens.
    fn asked(&self, at: usize) -> bool {
        let described = (0..at).any(|n| self.is(n, Group::Describes));
        let begins = at == 0 || (self.head == Some(at) && !described && (0..at).all(|n| self.is(n, Group::Asks)));
        (begins || (!described && self.is(at - 1, Group::Asks))) && !self.negated(at)
    }

    fn irreversible(&self, at: usize, add: &mut impl FnMut(Danger, usize, usize)) {
        let end = (at + 1 + REACH).min(self.words.len());
        self.ended(at, end, add);
        if !self.asked(at) {
            return;
        }
        let lasting = [(Group::Rotate, Group::Credential), (Group::Publish, Group::Package), (Group::Send, Group::Audience)];
        for (verb, object) in lasting {
            if let Some(object) = self.find(at + 1, end, object).filter(|_| self.is(at, verb)) {
                add(Danger::Irreversible, at, object);
            }
        }
        let rewrites = matches!(self.text(at), "rewrite" | "squash" | "clean");
        if let Some(history) = (at + 1..(at + 5).min(end)).find(|n| rewrites && self.text(*n) == "history") {
            add(Danger::Irreversible, at, history);
        }
    }

    /// "drop the table", "by deleting old snapshots", "records should be deleted".
    fn ended(&self, at: usize, end: usize, add: &mut impl FnMut(Danger, usize, usize)) {
        let before = at.checked_sub(1).map_or("", |before| self.text(before));
        if self.is(at, Group::Destroyed) && matches!(before, "be" | "get" | "gets" | "getting") && !self.negated(at) {
            let kept = self.find(0, at, Group::Kept).filter(|_| !self.has(Group::Describes) && !self.has(Group::Code));
            if let Some(kept) = kept {
                add(Danger::Irreversible, kept, at);
            }
        }
        let named = at == 0 || matches!(before, "by" | "start" | "begin" | "bulk" | "mass" | "schedule");
        let named = named && self.is(at, Group::Destroying) && !self.negated(at);
        if !(named || self.is(at, Group::Destroy) && self.asked(at)) {
            return;
        }
        let code = self.find(at + 1, end, Group::Code).is_some()
            || (at + 1..end).any(|n| self.words[n].name && !self.schema_name(n));
        let dropped = self.find(at + 1, end, Group::Dropped).filter(|_| self.text(at) == "drop");
        let kept = self.find(at + 1, end, Group::Kept).or(dropped).filter(|_| !code);
        if let Some(lost) = self.find(at + 1, end, Group::Production).or(kept) {
            add(Danger::Irreversible, at, lost);
        } else if matches!(self.text(at), "wipe" | "destroy" | "nuke" | "erase" | "purge") && !code && end > at + 1 {
            add(Danger::Irreversible, at, (at + 3).min(end - 1));
        }
    }

    /// A table or a column may have a name with an underscore.
    fn schema_name(&self, at: usize) -> bool {
        self.is(at + 1, Group::Table) || self.is(at + 1, Group::Dropped) || (at > 0 && self.is(at - 1, Group::Table))
    }

    fn place(&self, at: usize, add: &mut impl FnMut(Danger, usize, usize)) {
        let live = self.is(at, Group::Live) && self.is(at + 1, Group::Place);
        let customers =
            matches!(self.text(at), "customer" | "customers" | "customers'" | "user") && self.text(at + 1) == "data";
        let production = self.is(at, Group::Production) && !self.is(at + 1, Group::NotPlace);
        let changed = customers && self.head.is_some_and(|head| self.is(head, Group::ChangeVerb));
        if !(production || live || changed) {
            return;
        }
        // "works here but not in production" says where it fails.
        let fails_there = |n: usize| n > 0 && self.text(n - 1) == "but";
        let denied = |n: usize| matches!(self.text(n), "not" | "never" | "outside" | "except" | "no") && !fails_there(n);
        let not = (at.saturating_sub(3)..at).any(denied);
        if !not && !self.left_alone(at) && !self.only_about(at) {
            add(Danger::Production, at, if production { at } else { at + 1 });
        }
    }

    fn data(&self, at: usize, add: &mut impl FnMut(Danger, usize, usize)) {
        if self.only_about(at) || self.left_alone(at) {
            return;
        }
        let near = |group| self.find(at.saturating_sub(3), at, group).or(self.find(at + 1, at + 1 + REACH, group));
        let verb = self.head.filter(|head| self.is(*head, Group::ChangeVerb) && !self.negated(*head));
        if self.is(at, Group::Backfill) && !self.negated(at) {
            add(Danger::Data, at, at);
        } else if self.is(at, Group::Migrate) && !self.negated(at) {
            if let Some(store) = near(Group::Store) {
                add(Danger::Data, at, store);
            } else if let Some(verb) = verb.filter(|verb| *verb < at && self.text(at) == "migration") {
                add(Danger::Data, verb, at);
            }
        } else if self.is(at, Group::Schema)
            && (at > 0 && self.is(at - 1, Group::SchemaOf) || verb.is_some() && near(Group::SchemaOf).is_some())
        {
            add(Danger::Data, at.saturating_sub(1), at);
        } else if self.is(at, Group::Alter) && near(Group::Table).is_some() {
            add(Danger::Data, at, near(Group::Table).unwrap_or(at));
        } else if self.is(at, Group::Column) && !self.has(Group::Report) {
            let stored = near(Group::Table).or(near(Group::Sql));
            if let (Some(verb), Some(stored)) = (verb, stored) {
                add(Danger::Data, verb, stored.max(at));
            }
        }
    }

    fn area(&self, at: usize, add: &mut impl FnMut(Danger, usize, usize)) {
        let second = |first, second| self.is(at, first) && self.is(at + 1, second);
        let security = self.is(at, Group::Security) || second(Group::SecurityFirst, Group::SecuritySecond);
        let shop = |n: usize| n != at && self.is(n, Group::Shop);
        let money = self.is(at, Group::Money)
            || (self.is(at, Group::Checkout)
                && (at.saturating_sub(4)..at + 4).any(shop)
                && !matches!(self.text(at + 1), "of"));
        if !(security || money) || self.left_alone(at) || self.only_about(at) || (self.has(Group::Looks) && !self.drastic) {
            return;
        }
        let to = at + usize::from(security && !self.is(at, Group::Security));
        add(if security { Danger::Security } else { Danger::Money }, at, to);
    }

    /// The parts of a path or an identifier: `src/billing/invoice.rs`.
    fn name(&self, at: usize, add: &mut impl FnMut(Danger, usize, usize)) {
        let text = self.words[at].text;
        let parts = || text.split(|c: char| !c.is_ascii_alphanumeric()).filter(|part| !part.is_empty()).map(groups);
        if parts().any(|part| part.has(Group::About)) || self.only_about(at) || self.left_alone(at) || self.has(Group::Looks)
        {
            return;
        }
        let areas = [
            (Group::Security, Danger::Security),
            (Group::Money, Danger::Money),
            (Group::Production, Danger::Production),
            (Group::Infra, Danger::Infrastructure),
        ];
        for (group, danger) in areas {
            if parts().any(|part| part.has(group)) {
                add(danger, at, at);
            }
        }
    }

    fn interface(&self, at: usize, add: &mut impl FnMut(Danger, usize, usize)) {
        let end = (at + 1 + REACH).min(self.words.len());
        if self.is(at, Group::Breaking)
            && !self.negated(at)
            && let Some(what) = self.find(at + 1, (at + 4).min(end), Group::Compatibility)
        {
            add(Danger::PublicInterface, at, what);
        }
        if self.is(at, Group::Incompatible) && !self.negated(at) && self.text(at.saturating_sub(1)) != "with" {
            add(Danger::PublicInterface, at, at);
        }
        if self.is(at, Group::Deprecate) && (self.asked(at) || self.head == Some(at)) && !self.negated(at) {
            add(Danger::PublicInterface, at, (at + 2).min(end - 1));
        }
        let (withdraw, reshape) = (self.is(at, Group::Withdraw), self.is(at, Group::Reshape));
        if !(withdraw || reshape) || !self.asked(at) || self.only_about(at) {
            return;
        }
        let offered = (at + 1..end).find(|n| {
            let offered = self.is(*n, Group::Interface) || (withdraw && self.is(*n, Group::Offered));
            offered && !self.is(n - 1, Group::Feature)
        });
        let public = (at + 1..end)
            .find(|n| self.text(*n) == "public" || (self.text(*n) == "response" && self.text(n + 1) == "format"));
        let named =
            (at + 1..end).find(|n| withdraw && (self.text(*n).starts_with("--") || self.words[*n].written.starts_with('/')));
        let what = offered.or(public).or(named);
        if let Some(what) = what.filter(|what| self.find(at + 1, what + 3, Group::Code).is_none()) {
            add(Danger::PublicInterface, at, what);
        }
    }

    fn infrastructure(&self, at: usize, add: &mut impl FnMut(Danger, usize, usize)) {
        let end = (at + 1 + REACH).min(self.words.len());
        let asked = self.asked(at);
        if self.is(at, Group::Deploy) && asked && end > at + 1 && self.find(at + 1, end, Group::About).is_none() {
            add(Danger::Infrastructure, at, (at + 2).min(end - 1));
        }
        if self.is(at, Group::Restart)
            && asked
            && !(at + 1..end).any(|n| self.words[n].name || self.is(n, Group::Code))
            && let Some(machine) = self.find(at + 1, end, Group::Machine)
        {
            add(Danger::Infrastructure, at, machine);
        }
        if self.is(at, Group::Roll) && asked && matches!(self.text(at + 1), "back" | "out") {
            add(Danger::Infrastructure, at, (at + 3).min(end - 1));
        }
        if self.only_about(at) || self.left_alone(at) {
            return;
        }
        let balancer = self.is(at, Group::Load) && self.is(at + 1, Group::Balancer);
        if (self.is(at, Group::Cloud) || balancer) && !self.negated(at) {
            add(Danger::Infrastructure, at, at + usize::from(balancer));
        }
        if self.is(at, Group::Dns) {
            let work =
                (at.saturating_sub(5)..(at + 4).min(self.words.len())).find(|n| *n != at && self.is(*n, Group::DnsWork));
            if let Some(work) = work {
                add(Danger::Infrastructure, at, work);
            }
        }
    }

    /// What is typed into a shell or a database, in a sentence or in a block of code.
    fn command(&self, at: usize, add: &mut impl FnMut(Danger, usize, usize)) {
        let (word, next) = (self.words[at].text, self.text(at + 1));
        let before = |n: usize| at.checked_sub(n).map_or("", |at| self.text(at));
        if !self.words[at].code && (self.negated(at) || self.only_about(at) || (0..at).any(|n| self.is(n, Group::Describes)))
        {
            return;
        }
        let after = |group| (at + 1..(at + 3).min(self.words.len())).find(|n| groups(self.text(*n)).has(group));
        if groups(word).has(Group::Infra)
            && let Some(does) = after(Group::InfraDoes)
        {
            add(Danger::Infrastructure, at, does);
            if matches!(self.text(does), "destroy" | "delete" | "uninstall") {
                add(Danger::Irreversible, at, does);
            }
        }
        let forced = matches!(word, "--force" | "-f" | "--force-with-lease") && (1..5).any(|n| before(n) == "push");
        let removed = word == "rm" && matches!(next, "-rf" | "-fr" | "-r");
        let reset =
            word == "reset" && next == "--hard" || word == "clean" && matches!(next, "-fd" | "-fdx" | "-xdf" | "-df");
        let sql = matches!(word, "drop" | "truncate")
            && matches!(next, "table" | "database" | "schema")
            && (self.words[at].code || self.words[at].quoted)
            || self.words[at].written == "DELETE" && self.words.get(at + 1).is_some_and(|word| word.written == "FROM");
        let alone = matches!(word, "force-push" | "filter-branch" | "filter-repo" | "flushall" | "flushdb" | "mkfs");
        let pushed = word == "force" && next == "push";
        if forced || removed || reset || sql || pushed {
            add(Danger::Irreversible, if forced { at - 1 } else { at }, if forced { at } else { at + 1 });
        } else if alone {
            add(Danger::Irreversible, at, at);
        } else if word == "publish" && matches!(before(1), "npm" | "cargo" | "yarn" | "pnpm") {
            add(Danger::Irreversible, at - 1, at);
        }
    }
}
