//! What is known of the conversations of one lane.
//!
//! A body belongs to the conversation whose items (messages) it repeats. What was measured of those items is not measured
//! again, and what the provider counted for them holds for them. An item is recognised by a chain of keyed hashes, so that
//! an item counts as known only behind the same items as before, and nobody can make up one that passes for another.

#[cfg(test)]
mod tests;

use std::cmp::Reverse;
use std::collections::hash_map::RandomState;
use std::hash::BuildHasher;
use std::ops::Range;
use std::sync::Arc;

use agentops_core::models::{self, ImageFamily};
use bytes::Bytes;
use memchr::memmem;

use crate::protocol::{self, BodyPart, ImageTokens, Protocol, Role, Uncountable};
use crate::scan::{Layout, Malformed, common_prefix};

/// Conversations that are remembered in a lane; the one that was silent longest is forgotten first.
const REMEMBERED_MAX: usize = 32;
/// What a report can teach about every text of a lane, in thousandths of our upper bound. No tokenizer is that much denser than
/// its family's published factor: a report beyond it holds something that is not in the body.
const RAISE_MAX: u64 = 2_000;
/// Bodies that are kept for comparing, of those conversations; the rest is recognised by its hashes alone.
const BODIES_MAX: usize = 4;

/// How many tokens a model's provider makes of a text, as upper bounds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Density {
    /// Tokens where o200k makes a thousand.
    pub factor: u64,
    /// Tokens around a request.
    pub request: u64,
    /// Tokens around a message.
    pub message: u64,
    /// How it counts images.
    pub images: ImageFamilies,
}

/// The ways in which one of several models may count images.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ImageFamilies(u8);

impl ImageFamilies {
    /// One way.
    #[must_use]
    pub const fn new(family: ImageFamily) -> Self {
        Self(1 << family as u8)
    }

    /// The largest count of any of them.
    fn count(self, images: ImageTokens) -> u64 {
        let known = ImageFamily::ALL.into_iter().filter(|family| self.0 & Self::new(*family).0 != 0);
        known.map(|family| images.of(family)).max().unwrap_or_default()
    }
}

impl Density {
    /// As the model table has it; that of a model it does not know is above all others.
    #[must_use]
    pub fn of(model: &str) -> Self {
        let around = models::overhead_of(model);
        Self {
            factor: models::factor_permille(model),
            request: around.request,
            message: around.message,
            images: ImageFamilies::new(models::image_family(model)),
        }
    }

    /// The larger figures of both.
    #[must_use]
    pub fn max(self, other: Self) -> Self {
        Self {
            factor: self.factor.max(other.factor),
            request: self.request.max(other.request),
            message: self.message.max(other.message),
            images: ImageFamilies(self.images.0 | other.images.0),
        }
    }
}

/// One member or item of a body, measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Part {
    /// An upper bound in tokens without a tokenizer: bytes, and what media but images may count as.
    pub bound: u64,
    /// Upper bound of its images.
    pub images: ImageTokens,
    /// o200k tokens of the text and the bound of the media; `None`: not counted yet.
    pub counted: Option<Counted>,
    /// Nothing in it looks like a secret.
    pub clean: bool,
    /// Why it cannot be counted; `None`: it can.
    pub uncountable: Option<Uncountable>,
    /// Hash of a member's key and value; 0 for an item, which has its link in the chain.
    hash: u64,
}

/// A part that was counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counted {
    /// o200k tokens of its text.
    pub text: u64,
    /// Upper bound of its media but images, in tokens of the provider.
    pub media: u64,
}

impl Part {
    /// Until a part is measured, nothing with it may leave.
    const UNMEASURED: Self =
        Self { bound: u64::MAX, images: ImageTokens::NONE, counted: None, clean: false, uncountable: None, hash: 0 };

    /// A part that was looked at and not counted. It has no images.
    #[must_use]
    pub fn new(bound: u64, clean: bool, uncountable: Option<Uncountable>) -> Self {
        Self { bound, images: ImageTokens::NONE, counted: None, clean, uncountable, hash: 0 }
    }

    /// The part with these images.
    #[must_use]
    pub fn with_images(self, images: ImageTokens) -> Self {
        Self { images, ..self }
    }

    /// Upper bound in tokens of a family of models.
    #[must_use]
    pub fn upper(&self, density: Density) -> u64 {
        let factor = density.factor;
        let counted =
            self.counted.map(|counted| counted.text.saturating_mul(factor).div_ceil(1000).saturating_add(counted.media));
        let text = counted.map_or(self.bound, |counted| counted.min(self.bound));
        text.saturating_add(density.images.count(self.images))
    }
}

/// What a provider reported for the first items of a conversation.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Report {
    mark: Mark,
    /// Input tokens, caches included.
    input: u64,
}

#[derive(Debug, Clone)]
struct Conversation {
    number: u32,
    /// What was measured holds for this protocol alone: the same bytes mean something else in another one.
    protocol: Protocol,
    chain: Vec<u64>,
    items: Vec<Part>,
    fields: Vec<Part>,
    body: Bytes,
    layout: Layout,
    report: Option<Report>,
    closed: bool,
}

/// The conversations of a lane. A copy is cheap: it shares what is known.
#[derive(Debug, Clone, Default)]
pub struct Conversations {
    /// The one used last comes first.
    known: Vec<Arc<Conversation>>,
    hashing: RandomState,
    last_number: u32,
    /// How far a report was ever above our own upper bound, in thousandths; at least 1000.
    raise: u64,
}

/// A body, read against what is known.
#[derive(Debug, Clone)]
pub struct Reading {
    /// Number of its conversation within the lane, from 1; a new one for a body that repeats nothing known.
    pub number: u32,
    /// The body as it came.
    pub body: Bytes,
    /// Where its members and items are.
    pub layout: Layout,
    /// Items that were known.
    pub matched: usize,
    /// How it was read.
    pub protocol: Protocol,
    /// The conversation was refused before: nothing more of it is forwarded.
    pub closed: bool,
    /// It repeats no known conversation, or less than half of one.
    is_new: bool,
    chain: Vec<u64>,
    items: Vec<Part>,
    fields: Vec<Part>,
    /// The parts that are not known and not measured yet.
    unmeasured: Vec<Slot>,
    report: Option<Report>,
    raise: u64,
}

/// A part of a body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Slot {
    /// The member with this index; the one that holds the items has no bytes of its own.
    Field(usize),
    /// The item with this index.
    Item(usize),
}

impl Conversations {
    /// Reads a body. Its parts that are not known must then be measured ([`Reading::measure`]): that takes a while, in which
    /// other calls are read.
    ///
    /// # Errors
    /// The body cannot be read.
    pub fn read(&self, body: Bytes, protocol: Protocol) -> Result<Reading, Malformed> {
        let items_key = protocol.items_key();
        let alike = || self.known.iter().enumerate().filter(|(_, known)| known.protocol == protocol);
        let nearest =
            alike().map(|(index, known)| (index, common_prefix(&known.body, &body))).max_by_key(|(_, common)| *common);
        let (layout, base, common) = match nearest {
            Some((index, common)) => (self.known[index].layout.extend(common, &body, items_key)?, Some(index), common),
            None => (Layout::of(&body, items_key)?, None, 0),
        };
        // Items before the first difference are the same ones at the same place.
        let same = base.map_or(0, |index| {
            let known = &self.known[index];
            known.layout.items.iter().zip(&layout.items).take_while(|(old, new)| old == new && new.end < common).count()
        });
        let mut chain: Vec<u64> = base.map_or_else(Vec::new, |index| self.known[index].chain[..same].to_vec());
        for item in &layout.items[same..] {
            let before = chain.last().copied().unwrap_or_default();
            chain.push(self.link(before, &body[item.clone()]));
        }
        let shared = |known: &Conversation| known.chain.iter().zip(&chain).take_while(|(old, new)| old == new).count();
        let own = alike().map(|(index, known)| (shared(known), Reverse(index))).max();
        let (matched, owner) =
            own.filter(|(matched, _)| *matched > 0).map_or((0, None), |(matched, Reverse(index))| (matched, Some(index)));

        let mut items: Vec<Part> = owner.map_or_else(Vec::new, |index| self.known[index].items[..matched].to_vec());
        items.resize(layout.items.len(), Part::UNMEASURED);
        let mut unmeasured: Vec<Slot> = (matched..layout.items.len()).map(Slot::Item).collect();
        let look_in = owner.or(base).map(|index| &*self.known[index]);
        let fields = layout.fields.iter().enumerate().map(|(index, field)| {
            if layout.is_items(field) {
                return Part { counted: Some(Counted::default()), ..Part::new(0, true, None) };
            }
            let same_as = |known: &Conversation| {
                let old =
                    known.layout.fields.iter().position(|old| known.body[old.key.clone()] == body[field.key.clone()])?;
                (known.body[known.layout.fields[old].value.clone()] == body[field.value.clone()]).then(|| known.fields[old])
            };
            look_in.and_then(same_as).unwrap_or_else(|| {
                unmeasured.push(Slot::Field(index));
                let hash = self.hashing.hash_one((&body[field.key.clone()], &body[field.value.clone()]));
                Part { hash, ..Part::UNMEASURED }
            })
        });
        let fields = fields.collect();

        let owner = owner.map(|index| &*self.known[index]);
        let is_same = owner.filter(|known| goes_on(known.chain.len(), matched, &layout, &body));
        Ok(Reading {
            number: is_same.map_or(self.last_number + 1, |known| known.number),
            matched,
            protocol,
            closed: is_same.is_some_and(|known| known.closed),
            is_new: is_same.is_none(),
            report: owner.and_then(|known| known.report.clone()).filter(|report| report.mark.is_of(&chain)),
            raise: self.raise.max(1000),
            body,
            layout,
            chain,
            items,
            fields,
            unmeasured,
        })
    }

    /// Remembers a body that is about to be forwarded, or whose conversation is refused. Another conversation may have begun
    /// since the body was read: then the body's number is that of its own conversation, or a new one.
    pub fn remember(&mut self, reading: &mut Reading) {
        let is_same = |known: &Conversation| known.protocol == reading.protocol && known.chain == reading.chain;
        let mut position = self.known.iter().position(|known| known.number == reading.number);
        if reading.is_new && position.is_some_and(|at| !is_same(&self.known[at])) {
            position = self.known.iter().position(|known| is_same(known));
            reading.number = position.map_or(self.last_number + 1, |at| self.known[at].number);
        }
        self.last_number = self.last_number.max(reading.number);
        let closed = position.is_some_and(|at| self.known[at].closed);
        let report = position.and_then(|at| self.known[at].report.clone()).or_else(|| reading.report.clone());
        let conversation = Arc::new(Conversation {
            number: reading.number,
            protocol: reading.protocol,
            chain: reading.chain.clone(),
            items: reading.items.clone(),
            fields: reading.fields.clone(),
            body: reading.body.clone(),
            layout: reading.layout.clone(),
            report,
            closed,
        });
        let at = match position {
            Some(at) => at,
            None if self.known.len() < REMEMBERED_MAX => {
                self.known.push(Arc::clone(&conversation));
                self.known.len() - 1
            }
            None => REMEMBERED_MAX - 1,
        };
        self.known[at] = conversation;
        self.known[..=at].rotate_right(1);
        for old in self.known.iter_mut().skip(BODIES_MAX).filter(|old| !old.body.is_empty()) {
            let old = Arc::make_mut(old);
            old.body = Bytes::new();
            old.layout = Layout::default();
            old.fields.clear();
        }
    }

    /// The provider said how much input a body was. `teaches`: nothing but the body's own text can be in that figure, so that
    /// one above our upper bound says how dense the model's tokenizer is. Otherwise it holds for its conversation alone.
    pub fn reported(&mut self, number: u32, mark: Mark, input: u64, teaches: bool) {
        if teaches {
            let raise = input.saturating_mul(1000).div_ceil(mark.upper.max(1));
            self.raise = self.raise.max(raise.min(RAISE_MAX));
        }
        let Some(known) = self.find(number) else { return };
        // What begins with the same items holds at least as much.
        let before = known.report.as_ref().filter(|report| report.mark.is_of(&known.chain));
        if mark.items > 0 && before.is_none_or(|report| report.mark.items <= mark.items) {
            let input = before.map_or(input, |report| report.input.max(input));
            known.report = Some(Report { mark, input });
        }
    }

    /// Takes over what was counted of a body since it was remembered, as far as its conversation still holds the same parts.
    pub fn counted(&mut self, reading: &Reading) {
        let Some(known) = self.find(reading.number) else { return };
        let same = known.chain.iter().zip(&reading.chain).take_while(|(old, new)| old == new).count();
        for (old, new) in known.items.iter_mut().zip(&reading.items).take(same) {
            old.counted = old.counted.or(new.counted);
        }
        for old in &mut known.fields {
            old.counted = old.counted.or_else(|| reading.fields.iter().find(|new| new.hash == old.hash)?.counted);
        }
    }

    /// Nothing more of this conversation is forwarded.
    pub fn close(&mut self, number: u32) {
        if let Some(known) = self.find(number) {
            known.closed = true;
        }
    }

    fn find(&mut self, number: u32) -> Option<&mut Conversation> {
        self.known.iter_mut().find(|known| known.number == number).map(Arc::make_mut)
    }

    fn link(&self, before: u64, item: &[u8]) -> u64 {
        match without_cache_marks(item) {
            Some(bare) => self.hashing.hash_one((before, &bare[..])),
            None => self.hashing.hash_one((before, item)),
        }
    }
}

/// Where a report belongs: the body that it is about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mark {
    items: usize,
    hash: u64,
    /// What the body was estimated as by our own count.
    upper: u64,
    /// Hashes of its members.
    fields: Vec<u64>,
}

impl Mark {
    fn is_of(&self, chain: &[u64]) -> bool {
        self.items.checked_sub(1).and_then(|last| chain.get(last)) == Some(&self.hash)
    }
}

impl Reading {
    /// Has the parts measured that were not known.
    pub fn measure(&mut self, mut measure: impl FnMut(BodyPart<'_>, &[u8]) -> Part) {
        for slot in std::mem::take(&mut self.unmeasured) {
            let (part, bytes) = self.part(slot);
            let measured = measure(part, bytes);
            let known = match slot {
                Slot::Field(index) => &mut self.fields[index],
                Slot::Item(index) => &mut self.items[index],
            };
            *known = Part { hash: known.hash, ..measured };
        }
    }

    /// The upper bound of its input in tokens: the larger of our own count and of what the provider reported for the part that
    /// it knows, with what is new.
    #[must_use]
    pub fn input(&self, density: Density) -> u64 {
        let own = self.own(density).saturating_mul(self.raise).div_ceil(1000);
        let reported = self.report.as_ref().map_or(0, |report| {
            let items = self.items[report.mark.items..].iter();
            let fields = self.fields.iter().filter(|part| !report.mark.fields.contains(&part.hash));
            let around = density.message.saturating_mul(items.len() as u64);
            items
                .chain(fields)
                .map(|part| part.upper(density))
                .fold(report.input.saturating_add(around), u64::saturating_add)
        });
        own.max(reported)
    }

    /// As [`Reading::input`], by our own count alone and without what reports taught.
    #[must_use]
    pub fn own(&self, density: Density) -> u64 {
        let around = density.request.saturating_add(density.message.saturating_mul(self.items.len() as u64));
        let parts = self.fields.iter().chain(&self.items);
        parts.map(|part| part.upper(density)).fold(around, u64::saturating_add)
    }

    /// Minimum number of tokens of its counted text with any provider: half of the o200k tokens.
    #[must_use]
    pub fn input_min(&self) -> u64 {
        let counted = self.fields.iter().chain(&self.items).filter_map(|part| part.counted);
        counted.map(|counted| counted.text).fold(0, u64::saturating_add) / 2
    }

    /// Why it cannot be counted; `None`: it can.
    #[must_use]
    pub fn uncountable(&self) -> Option<Uncountable> {
        self.fields.iter().chain(&self.items).find_map(|part| part.uncountable)
    }

    /// Upper bound of the tokens of its images and documents, as far as they were counted.
    #[must_use]
    pub fn media_tokens(&self, density: Density) -> u64 {
        let parts = self.fields.iter().chain(&self.items);
        let counted = parts.filter_map(|part| Some(part.counted?.media.saturating_add(density.images.count(part.images))));
        counted.fold(0, u64::saturating_add)
    }

    /// No part is known by its bytes only.
    #[must_use]
    pub fn is_counted(&self) -> bool {
        self.fields.iter().chain(&self.items).all(|part| part.counted.is_some())
    }

    /// The parts that are known by their bytes only.
    #[must_use]
    pub fn uncounted(&self) -> Vec<Slot> {
        let open = |part: &Part| part.counted.is_none();
        let fields = self.fields.iter().enumerate().filter(|(_, part)| open(part)).map(|(index, _)| Slot::Field(index));
        let items = self.items.iter().enumerate().filter(|(_, part)| open(part)).map(|(index, _)| Slot::Item(index));
        fields.chain(items).collect()
    }

    /// What stands in a slot.
    #[must_use]
    pub fn part(&self, slot: Slot) -> (BodyPart<'_>, &[u8]) {
        match slot {
            Slot::Item(index) => (BodyPart::Item, &self.body[self.layout.items[index].clone()]),
            Slot::Field(index) => {
                let field = &self.layout.fields[index];
                (BodyPart::Member(&self.body[field.key.clone()]), &self.body[field.value.clone()])
            }
        }
    }

    /// Takes a count.
    pub fn count(&mut self, slot: Slot, counted: Counted) {
        let part = match slot {
            Slot::Field(index) => self.fields.get_mut(index),
            Slot::Item(index) => self.items.get_mut(index),
        };
        if let Some(part) = part {
            part.counted = Some(counted);
        }
    }

    /// The parts in which something looks like a secret.
    #[must_use]
    pub fn unclean(&self) -> Vec<Range<usize>> {
        let fields = self.fields.iter().zip(&self.layout.fields).filter(|(part, _)| !part.clean);
        let items = self.items.iter().zip(&self.layout.items).filter(|(part, _)| !part.clean);
        let mut found: Vec<Range<usize>> =
            fields.map(|(_, field)| field.value.clone()).chain(items.map(|(_, range)| range.clone())).collect();
        found.sort_unstable_by_key(|range| range.start);
        found
    }

    /// The last items, at most `count`.
    #[must_use]
    pub fn last_items(&self, count: usize) -> Vec<&[u8]> {
        let from = self.layout.items.len().saturating_sub(count);
        self.layout.items[from..].iter().map(|range| &self.body[range.clone()]).collect()
    }

    /// Where the provider's report about this body belongs.
    #[must_use]
    pub fn mark(&self, density: Density) -> Mark {
        Mark {
            items: self.items.len(),
            hash: self.chain.last().copied().unwrap_or_default(),
            upper: self.own(density),
            fields: self.fields.iter().map(|part| part.hash).collect(),
        }
    }
}

/// Whether a body goes on with a conversation of `known` items, of which it repeats the first `matched`. One that repeats less
/// than half is another one that began alike, and so is one that repeats no more than instructions: a sub-agent has those of
/// its program. But one that repeats all that was asked before the model's first answer, and has not become shorter, is the
/// same one with an edited history: programs take old results and signatures out.
fn goes_on(known: usize, matched: usize, layout: &Layout, body: &[u8]) -> bool {
    let leading = |is_one: fn(Role) -> bool| {
        layout.items.iter().take_while(|item| is_one(protocol::role(&body[(*item).clone()]))).count()
    };
    matched == known
        || matched * 2 >= known && matched > leading(|role| role == Role::Instructions)
        || layout.items.len() >= known && matched >= leading(|role| role != Role::Model)
}

/// The item without its marks for the provider's cache, which move from call to call; `None`: it has none.
///
/// A mark is a member of a block of the item's content (anywhere else it is text that the model reads), in the form that
/// clients send: nothing can hide in it. A provider takes four in a request, so no item has more.
fn without_cache_marks(item: &[u8]) -> Option<Vec<u8>> {
    memmem::find(item, b"\"cache_control\"")?;
    let marks = protocol::cache_marks(item);
    let (first, rest) = marks.split_first()?;
    let mut bare = Vec::with_capacity(item.len());
    bare.extend_from_slice(&item[..first.start]);
    let mut at = first.end;
    for mark in rest {
        bare.extend_from_slice(&item[at..mark.start]);
        at = mark.end;
    }
    bare.extend_from_slice(&item[at..]);
    Some(bare)
}
