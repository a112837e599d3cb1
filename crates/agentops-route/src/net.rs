//! The learner: sparse features, a hidden layer, softmax over the labels; learnt with AdaGrad, one example at a time.
//!
//! A feature has a row of numbers, a text is the sum of its features' rows, and each label has a weight for each number. Words
//! that are used alike get rows alike, which a plain linear model cannot do. Several such nets with their own beginnings sit
//! side by side in each row and vote: they err at different places.
//!
//! AdaGrad after Duchi, Hazan, Singer (2011), with one accumulator a row; dropout after Srivastava et al. (2014), on features
//! and hidden numbers. The randomness of both is drawn from counters, so the same examples in the same order give the same
//! net on every machine of one architecture.

use std::collections::HashMap;

use crate::bytes::{Reader, Writer};
use crate::features::{Feature, Plain, features, mix, scaled};

/// Nets side by side.
pub const NETS: usize = 4;
/// Hidden numbers of one net.
pub const HIDDEN: usize = 48;
const WIDTH: usize = NETS * HIDDEN;
/// Rows at most: with it a net of 150 labels stays below 30 MiB.
pub const ROWS_MAX: usize = 1 << 16;
/// What the length of a text's features is multiplied by.
const SCALE: f32 = 10.0;
/// How far a label must lie before the others before an example teaches nothing more, in logits.
const MARGIN: f32 = 1.0;
const DROP_FEATURES: f32 = 0.5;
const DROP_HIDDEN: f32 = 0.3;
const RATE: f32 = 0.3;
/// Half the width of the range that rows begin in.
const BEGIN: f32 = 0.025;

/// A text as rows of the net and what each counts.
pub type Rows = Vec<(u32, f32)>;

/// See the module's documentation.
#[derive(Debug, Clone, Default)]
pub struct Net {
    rows: HashMap<u64, u32, Plain>,
    /// Row by row, net by net, `HIDDEN` numbers.
    table: Vec<u16>,
    /// Squared gradients of each row so far.
    seen: Vec<f32>,
    /// In how many examples each row's feature stood.
    counts: Vec<u32>,
    /// How many examples were counted.
    counted: u32,
    bias: Vec<f32>,
    bias_seen: f32,
    /// Label by label, `WIDTH` numbers.
    out: Vec<f32>,
    out_seen: Vec<f32>,
    out_bias: Vec<f32>,
    out_bias_seen: f32,
    steps: u64,
}

/// What the nets make of a text.
#[derive(Debug, Clone, PartialEq)]
pub struct Heard {
    /// How likely each label is; they sum to one.
    pub likely: Vec<f32>,
    /// How far the best label stands out from the mean, in logits. Texts about nothing that was learnt have little of it.
    pub clear: f32,
}

impl Net {
    /// How many labels it tells apart.
    #[must_use]
    pub fn labels(&self) -> usize {
        self.out_bias.len() / NETS
    }

    /// How many features it knows.
    #[must_use]
    pub fn known(&self) -> usize {
        self.seen.len()
    }

    /// One more label, known by its number. It begins with weights of its own, all small.
    pub fn add_label(&mut self) -> usize {
        let label = self.labels();
        let mut random = Random(0x6c61_6265_6c00 + label as u64);
        let spread = 1.0 / (HIDDEN as f32).sqrt();
        self.out.extend((0..WIDTH).map(|_| random.between(spread)));
        self.out_bias.extend([0.0; NETS]);
        if self.bias.is_empty() {
            self.bias = vec![0.0; WIDTH];
            self.out_seen = vec![BEGUN; WIDTH];
            (self.bias_seen, self.out_bias_seen) = (BEGUN, BEGUN);
        }
        label
    }

    /// A text as rows: what the net does not know is left out.
    #[must_use]
    pub fn rows(&self, features: &[Feature]) -> Rows {
        scaled(features, |key| self.rows.get(&key).copied())
    }

    /// Gives each of these features a row, while there is room.
    pub fn know(&mut self, keys: impl IntoIterator<Item = u64>) {
        for key in keys {
            let row = self.known();
            if row >= ROWS_MAX {
                return;
            }
            let std::collections::hash_map::Entry::Vacant(vacant) = self.rows.entry(key) else { continue };
            vacant.insert(u32::try_from(row).unwrap_or(u32::MAX));
            let mut random = Random(key);
            self.table.extend((0..WIDTH).map(|_| halved(random.between(BEGIN), 0x8000)));
            self.seen.push(BEGUN);
            self.counts.push(0);
        }
    }

    /// Counts the features of one more example, which have rows already.
    pub fn count(&mut self, features: &[Feature]) {
        self.counted += 1;
        for feature in features {
            if let Some(row) = self.rows.get(&feature.key) {
                self.counts[*row as usize] += 1;
            }
        }
    }

    /// The share of a text's features of each kind, by rarity, that stood in an example.
    #[must_use]
    pub fn known_share(&self, features: &[Feature]) -> [f32; 3] {
        let mut sums = [(0.0f32, 0.0f32); 3];
        let all = (self.counted as f32).max(2.0);
        for feature in features {
            let count = self.rows.get(&feature.key).map_or(0, |row| self.counts[*row as usize]);
            let rarity = (all / (1.0 + count as f32)).ln().max(0.0);
            let (known, sum) = &mut sums[feature.kind as usize];
            *sum += rarity;
            if count > 0 {
                *known += rarity;
            }
        }
        sums.map(|(known, sum)| if sum > 0.0 { known / sum } else { 0.0 })
    }

    /// What the nets make of a text. Nothing, where there are no labels.
    #[must_use]
    pub fn hear(&self, rows: &Rows) -> Heard {
        let mut heard = Heard { likely: vec![0.0; self.labels()], clear: 0.0 };
        if heard.likely.is_empty() {
            return heard;
        }
        let mut likely = vec![0.0; heard.likely.len()];
        for net in 0..NETS {
            let mut hidden = self.hidden(net, rows.iter().copied());
            hidden.iter_mut().for_each(|number| *number = number.max(0.0));
            self.logits(net, &hidden, &mut likely);
            let most = likely.iter().copied().fold(f32::MIN, f32::max);
            heard.clear += (most - likely.iter().sum::<f32>() / likely.len() as f32) / NETS as f32;
            softmax(&mut likely);
            heard.likely.iter_mut().zip(&likely).for_each(|(sum, likely)| *sum += likely / NETS as f32);
        }
        heard
    }

    fn hidden(&self, net: usize, rows: impl Iterator<Item = (u32, f32)>) -> [f32; HIDDEN] {
        let mut hidden = [0.0; HIDDEN];
        hidden.copy_from_slice(&self.bias[net * HIDDEN..][..HIDDEN]);
        for (row, weight) in rows {
            let (numbers, weight) = (&self.table[row as usize * WIDTH + net * HIDDEN..][..HIDDEN], weight * SCALE);
            for (sum, number) in hidden.iter_mut().zip(numbers) {
                *sum += weight * whole(*number);
            }
        }
        hidden
    }

    fn logits(&self, net: usize, hidden: &[f32; HIDDEN], logits: &mut [f32]) {
        for (label, logit) in logits.iter_mut().enumerate() {
            *logit = self.out_bias[label * NETS + net] + dot(hidden, numbers(&self.out, label, net));
        }
    }

    /// Learns that a text has this label. `rate` is 1 at the beginning of learning and lower later.
    pub fn learn(&mut self, rows: &Rows, label: usize, rate: f32) {
        let mut error = vec![0.0; self.labels()];
        self.steps += 1;
        for net in 0..NETS {
            let mut random = Random(mix(self.steps * NETS as u64 + net as u64));
            self.step(net, rows, label, rate * RATE, &mut error, &mut random);
        }
    }

    fn step(&mut self, net: usize, rows: &Rows, label: usize, rate: f32, error: &mut [f32], random: &mut Random) {
        let kept: Rows = rows
            .iter()
            .filter(|_| random.unit() >= DROP_FEATURES)
            .map(|(row, weight)| (*row, weight / (1.0 - DROP_FEATURES)))
            .collect();
        let mut hidden = self.hidden(net, kept.iter().copied());
        let mut passed = [0.0; HIDDEN];
        for (number, passed) in hidden.iter_mut().zip(&mut passed) {
            *passed = if *number > 0.0 && random.unit() >= DROP_HIDDEN { 1.0 / (1.0 - DROP_HIDDEN) } else { 0.0 };
            *number *= *passed;
        }
        self.logits(net, &hidden, error);
        error[label] -= MARGIN;
        softmax(error);
        error[label] -= 1.0;
        let squared = error.iter().map(|error| error * error).sum::<f32>();
        if squared < 1e-8 {
            return;
        }
        // The weights of each label, and what the hidden numbers should have been.
        let mut back = [0.0; HIDDEN];
        let mut pace = [0.0; HIDDEN];
        for ((pace, number), seen) in pace.iter_mut().zip(&hidden).zip(&mut self.out_seen[net * HIDDEN..][..HIDDEN]) {
            *seen += squared * number * number;
            *pace = rate * number / seen.sqrt();
        }
        self.out_bias_seen += squared;
        let bias_pace = rate / self.out_bias_seen.sqrt();
        for (label, error) in error.iter().enumerate().filter(|(_, error)| error.abs() > 1e-5) {
            let numbers = numbers_mut(&mut self.out, label, net);
            for ((number, back), pace) in numbers.iter_mut().zip(&mut back).zip(&pace) {
                *back += error * *number;
                *number -= error * pace;
            }
            self.out_bias[label * NETS + net] -= bias_pace * error;
        }
        back.iter_mut().zip(&passed).for_each(|(back, passed)| *back *= passed);
        let squared = back.iter().map(|back| back * back).sum::<f32>();
        if squared == 0.0 {
            return;
        }
        self.bias_seen += squared;
        let bias_pace = rate / self.bias_seen.sqrt();
        for (bias, back) in self.bias[net * HIDDEN..][..HIDDEN].iter_mut().zip(&back) {
            *bias -= bias_pace * back;
        }
        for (row, weight) in kept {
            let (row, weight) = (row as usize, weight * SCALE);
            // The nets share an accumulator: a row is seen by each about as often.
            self.seen[row] += squared * weight * weight / NETS as f32;
            let pace = rate * weight / self.seen[row].sqrt();
            let chance = random.next() as u32;
            let numbers = &mut self.table[row * WIDTH + net * HIDDEN..][..HIDDEN];
            for ((number, back), at) in numbers.iter_mut().zip(&back).zip(0u32..) {
                *number = halved(whole(*number) - pace * back, chance.wrapping_add(at).wrapping_mul(0x9e37_79b1) >> 16);
            }
        }
    }

    /// Learns one more example as it comes: one step, and a large one, for it is worth more than one of many.
    pub fn meet(&mut self, features: &[Feature], label: usize) {
        self.know(features.iter().map(|feature| feature.key));
        self.count(features);
        let rows = self.rows(features);
        self.learn(&rows, label, MEET);
    }

    /// Learns requests, each a text and its label's number, from the beginning. Features that stand in most of them get rows
    /// first.
    pub fn fit(&mut self, requests: &[(&str, usize)]) {
        let mut counts: HashMap<u64, u32, Plain> = HashMap::default();
        for (text, _) in requests {
            features(text).iter().for_each(|feature| *counts.entry(feature.key).or_default() += 1);
        }
        let mut counted: Vec<(u32, u64)> = counts.into_iter().map(|(key, count)| (count, key)).collect();
        counted.sort_unstable_by(|a, b| b.cmp(a));
        counted.truncate(ROWS_MAX);
        self.table.reserve_exact(counted.len() * WIDTH);
        self.know(counted.into_iter().map(|(_, key)| key));
        let mut packed: Vec<Vec<(u16, u16)>> = Vec::with_capacity(requests.len());
        for (text, _) in requests {
            let features = features(text);
            self.count(&features);
            packed.push(self.rows(&features).into_iter().map(pack).collect());
        }
        let passes = passes(requests.len());
        let mut order: Vec<usize> = (0..requests.len()).collect();
        let mut random = Random(mix(requests.len() as u64));
        let mut rows = Rows::new();
        for pass in 0..passes {
            for at in (1..order.len()).rev() {
                order.swap(at, random.below(at + 1));
            }
            let rate = 1.0 - 0.9 * pass as f32 / passes as f32;
            for &at in &order {
                rows.clear();
                rows.extend(packed[at].iter().copied().map(unpack));
                self.learn(&rows, requests[at].1, rate);
            }
        }
    }
}

impl Net {
    pub(crate) fn write(&self, to: &mut Writer) {
        let mut keys = vec![0u64; self.known()];
        self.rows.iter().for_each(|(key, row)| keys[*row as usize] = *key);
        to.many(&keys);
        to.many(&self.table);
        for numbers in [&self.seen, &self.bias, &self.out, &self.out_seen, &self.out_bias] {
            to.many(numbers);
        }
        to.many(&self.counts);
        to.one(self.counted);
        to.one(self.bias_seen);
        to.one(self.out_bias_seen);
        to.one(self.steps);
    }

    pub(crate) fn read(from: &mut Reader<'_>) -> Option<Self> {
        let keys: Vec<u64> = from.many()?;
        let mut net = Self { table: from.many()?, ..Self::default() };
        for numbers in [&mut net.seen, &mut net.bias, &mut net.out, &mut net.out_seen, &mut net.out_bias] {
            *numbers = from.many()?;
        }
        net.counts = from.many()?;
        net.counted = from.one()?;
        net.bias_seen = from.one()?;
        net.out_bias_seen = from.one()?;
        net.steps = from.one()?;
        net.rows.reserve(keys.len());
        net.rows.extend(keys.iter().zip(0u32..).map(|(key, row)| (*key, row)));
        let rows = net.rows.len();
        let begun = if net.labels() == 0 { 0 } else { WIDTH };
        let fits = keys.len() == rows
            && net.table.len() == rows * WIDTH
            && net.seen.len() == rows
            && net.counts.len() == rows
            && net.out.len() == net.labels() * WIDTH
            && net.out_bias.len() == net.labels() * NETS
            && net.bias.len() == begun
            && net.out_seen.len() == begun;
        fits.then_some(net)
    }
}

/// How often examples are gone through: few need more passes.
fn passes(examples: usize) -> usize {
    (150_000 / examples.max(1)).clamp(12, 40)
}

/// The rate at which an example that comes alone is learnt.
const MEET: f32 = 2.0;

/// What every accumulator begins with.
const BEGUN: f32 = 1e-6;

/// A row and what it counts in four bytes: all requests that are learnt are held at once. Rows have numbers below 65,536.
fn pack((row, weight): (u32, f32)) -> (u16, u16) {
    (row as u16, halved(weight, 0x8000))
}

fn unpack((row, weight): (u16, u16)) -> (u32, f32) {
    (u32::from(row), whole(weight))
}

/// A number of the table: the upper half of its bits (bfloat16).
fn whole(half: u16) -> f32 {
    f32::from_bits(u32::from(half) << 16)
}

/// Rounded up as often as the lower half of its bits says: small steps are not lost, they happen more rarely.
fn halved(number: f32, chance: u32) -> u16 {
    ((number.to_bits().wrapping_add(chance & 0xffff)) >> 16) as u16
}

fn numbers(table: &[f32], row: usize, net: usize) -> &[f32; HIDDEN] {
    table[row * WIDTH + net * HIDDEN..].first_chunk().unwrap_or(&[0.0; HIDDEN])
}

fn numbers_mut(table: &mut [f32], row: usize, net: usize) -> &mut [f32] {
    &mut table[row * WIDTH + net * HIDDEN..][..HIDDEN]
}

/// By eight sums at a time, so that it can be done in vector registers.
fn dot(a: &[f32; HIDDEN], b: &[f32; HIDDEN]) -> f32 {
    let mut sums = [0.0; 8];
    for (a, b) in a.as_chunks::<8>().0.iter().zip(b.as_chunks::<8>().0) {
        for ((sum, a), b) in sums.iter_mut().zip(a).zip(b) {
            *sum += a * b;
        }
    }
    sums.iter().sum()
}

fn softmax(logits: &mut [f32]) {
    let most = logits.iter().copied().fold(f32::MIN, f32::max);
    let mut sum = 0.0;
    for logit in logits.iter_mut() {
        *logit = (*logit - most).exp();
        sum += *logit;
    }
    logits.iter_mut().for_each(|likely| *likely /= sum);
}

/// SplitMix64 (Steele, Lea, Flood 2014).
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        mix(self.0)
    }

    /// From 0 up to 1.
    fn unit(&mut self) -> f32 {
        (self.next() >> 40) as f32 / (1u64 << 24) as f32
    }

    fn between(&mut self, most: f32) -> f32 {
        (self.unit() * 2.0 - 1.0) * most
    }

    fn below(&mut self, end: usize) -> usize {
        usize::try_from(self.next() % end as u64).unwrap_or(0)
    }
}
