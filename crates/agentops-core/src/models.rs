//! What is known of models without asking anyone: windows, how dense their tokenizers are, and prices. A table in
//! `data/models.toml` with its sources and its date; unknown is unknown.

mod options;
mod same;

use std::collections::BTreeMap;
use std::sync::LazyLock;

use serde::Deserialize;

use crate::budget::Usd;
use crate::ceiling::Window;
use crate::usage::Usage;

pub use options::{PriceFactor, PriceOption, option_factor};
pub use same::{is_pinned_model, is_same_model, is_snapshot};

/// A million: prices are for that many tokens.
const MILLION: u128 = 1_000_000;

/// The window of a model as the table knows it; of a model that it does not name, the smallest of its family.
///
/// Names may carry a provider in front (`anthropic/claude-…`); that part is not looked at.
#[must_use]
pub fn window_of(model: &str) -> Option<Window> {
    let name = plain(model);
    let named = of_the_model(&TABLE.windows, &name).copied();
    Window::new(named.or_else(|| Some(TABLE.family(&name)?.window))?)
}

/// The most that one answer of a model can have, in tokens. A provider refuses a request with a larger limit. `None`: not known, or
/// more than [`Window::output_cap`].
#[must_use]
pub fn output_max(model: &str) -> Option<u64> {
    let name = plain(model);
    of_the_model(&TABLE.outputs, &name).copied().or_else(|| TABLE.family(&name)?.output)
}

/// The largest output limit that a call to this model is given where nobody sets one, in tokens: the window's output cap, or what
/// the model can write at most where that is less.
#[must_use]
pub fn output_limit(model: &str, window: Window) -> u64 {
    output_max(model).map_or(window.output_cap(), |most| most.min(window.output_cap()))
}

/// Windows that the user set for models by their names. They hold where the table knows none, and where they are smaller.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct UserWindows(BTreeMap<String, Window>);

impl UserWindows {
    /// The smaller of what the user and the table say of a model. The user's is for the name as the program writes it.
    #[must_use]
    pub fn window_of(&self, model: &str) -> Option<Window> {
        [self.0.get(model).copied(), window_of(model)].into_iter().flatten().min()
    }
}

impl FromIterator<(String, Window)> for UserWindows {
    fn from_iter<I: IntoIterator<Item = (String, Window)>>(windows: I) -> Self {
        Self(windows.into_iter().collect())
    }
}

/// How many tokens a model may count at most where o200k_base counts a thousand, for code and prose. More than any known
/// family's for a model that the table does not know.
#[must_use]
pub fn factor_permille(model: &str) -> u64 {
    TABLE.family(&plain(model)).map_or(TABLE.unknown.factor, |family| family.counting.factor)
}

/// What a provider puts around the text of a request, in tokens, as an upper bound.
#[must_use]
pub fn overhead_of(model: &str) -> Overhead {
    let counting = TABLE.family(&plain(model)).map_or(&TABLE.unknown, |family| &family.counting);
    Overhead { request: counting.request, message: counting.message, tool: counting.tool }
}

/// How a model counts images.
#[must_use]
pub fn image_family(model: &str) -> ImageFamily {
    TABLE.family(&plain(model)).map_or(ImageFamily::Unknown, |family| family.images)
}

/// The list price of a model, if it is known.
#[must_use]
pub fn price_of(model: &str) -> Option<Price> {
    of_the_model(&TABLE.prices, &plain(model)).copied()
}

/// The day the prices are of, `2026-11-24`.
#[must_use]
pub fn prices_date() -> &'static str {
    &TABLE.prices_date
}

/// Tokens around a request's text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Overhead {
    /// Once for the request.
    pub request: u64,
    /// For each message.
    pub message: u64,
    /// For each tool.
    pub tool: u64,
}

/// A way to count images.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ImageFamily {
    /// Anthropic's models that see in high resolution.
    Claude,
    /// Those before.
    ClaudeSmall,
    /// OpenAI's models that scale an image down.
    #[serde(rename = "openai")]
    OpenAi,
    /// Those that take an image as large as it is.
    #[serde(rename = "openai-large")]
    OpenAiLarge,
    /// The one that counts a tile as thousands of tokens.
    #[serde(rename = "openai-mini")]
    OpenAiMini,
    /// Google's.
    Gemini,
    /// A model that is not known.
    #[default]
    Unknown,
}

impl ImageFamily {
    /// All of them, in their order.
    pub const ALL: [Self; 7] =
        [Self::Claude, Self::ClaudeSmall, Self::OpenAi, Self::OpenAiLarge, Self::OpenAiMini, Self::Gemini, Self::Unknown];
}

/// A list price.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Price {
    base: Rates,
    /// What calls cost whose prompts are longer than this many tokens.
    long: Option<(u64, Rates)>,
}

/// Millionths of a US dollar per million tokens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Rates {
    input: u64,
    output: u64,
    cache_read: u64,
    cache_write: u64,
    cache_write_hour: u64,
}

/// How long a provider keeps what a call wrote to its cache; the longer, the dearer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CacheLife {
    /// The provider's default, five minutes with Anthropic.
    Default,
    /// An hour.
    Hour,
}

impl Price {
    /// What a call did cost, in millionths of a US dollar, rounded up, if what it wrote to a cache is kept as long as the
    /// provider does by default.
    #[must_use]
    pub fn cost(&self, usage: &Usage) -> u64 {
        self.cost_cached(usage, CacheLife::Default)
    }

    /// What a call did cost, in millionths of a US dollar, rounded up.
    #[must_use]
    pub fn cost_cached(&self, usage: &Usage, life: CacheLife) -> u64 {
        let prompt = usage.input.saturating_add(usage.cache_read).saturating_add(usage.cache_write);
        let rates = self.rates(prompt);
        let write = match life {
            CacheLife::Default => rates.cache_write,
            CacheLife::Hour => rates.cache_write_hour,
        };
        total(&[
            (usage.input, rates.input),
            (usage.cache_read, rates.cache_read),
            (usage.cache_write, write),
            (usage.output, rates.output),
        ])
    }

    /// The price times a factor in thousandths.
    #[must_use]
    pub fn times(self, permille: u64) -> Self {
        let long = self.long.map(|(above, rates)| (above, rates.times(permille)));
        Self { base: self.base.times(permille), long }
    }

    /// The larger of two prices, rate by rate: no call costs more at either of them.
    #[must_use]
    pub fn max(self, other: Self) -> Self {
        let base = self.base.max(other.base);
        let above = [self.long, other.long].into_iter().flatten().map(|(above, _)| above).min();
        let rates = |price: &Self| price.long.map_or(price.base, |(_, rates)| rates.max(price.base));
        Self { base, long: above.map(|above| (above, rates(&self).max(rates(&other)))) }
    }

    /// The most that a call with this much input and output can cost, in millionths of a US dollar: nothing comes from a
    /// cache, and everything is written to the dearest one.
    #[must_use]
    pub fn upper_bound(&self, input: u64, output: u64) -> u64 {
        let rates = self.rates(input);
        let dearest = rates.input.max(rates.cache_read).max(rates.cache_write).max(rates.cache_write_hour);
        total(&[(input, dearest), (output, rates.output)])
    }

    fn rates(&self, prompt: u64) -> &Rates {
        match &self.long {
            Some((above, long)) if prompt > *above => long,
            _ => &self.base,
        }
    }
}

impl Rates {
    fn max(self, other: Self) -> Self {
        Self {
            input: self.input.max(other.input),
            output: self.output.max(other.output),
            cache_read: self.cache_read.max(other.cache_read),
            cache_write: self.cache_write.max(other.cache_write),
            cache_write_hour: self.cache_write_hour.max(other.cache_write_hour),
        }
    }

    fn times(self, permille: u64) -> Self {
        let times = |rate: u64| rate.saturating_mul(permille).div_ceil(1000);
        Self {
            input: times(self.input),
            output: times(self.output),
            cache_read: times(self.cache_read),
            cache_write: times(self.cache_write),
            cache_write_hour: times(self.cache_write_hour),
        }
    }
}

/// The sum of tokens times rates, rounded up once.
fn total(parts: &[(u64, u64)]) -> u64 {
    // Four products of 64 by 64 bits can pass 128 bits only together; such a figure is beyond every limit anyway.
    let sum = parts.iter().fold(0u128, |sum, (tokens, rate)| sum.saturating_add(u128::from(*tokens) * u128::from(*rate)));
    sum.div_ceil(MILLION).try_into().unwrap_or(u64::MAX)
}

/// A model's name without its provider and without a mark such as `[1m]`, with `-` for `.`: both spellings are in use.
fn plain(model: &str) -> String {
    let name = model.rsplit('/').next().unwrap_or(model);
    let name = name.split_once('[').map_or(name, |(name, _)| name);
    name.to_ascii_lowercase().replace('.', "-")
}

/// The entry of this model, or of the model that it is a version of.
fn of_the_model<'t, T>(table: &'t [(String, T)], name: &str) -> Option<&'t T> {
    let known = table.iter().filter(|(known, _)| name.strip_prefix(known.as_str()).is_some_and(is_a_version));
    known.max_by_key(|(known, _)| known.len()).map(|(_, value)| value)
}

/// `gpt-4.1` is not the beginning of `gpt-4-1106`.
fn ends_a_number(begins: &str, rest: &str) -> bool {
    !(begins.ends_with(|c: char| c.is_ascii_digit()) && rest.starts_with(|c: char| c.is_ascii_digit()))
}

/// Whether what follows a name tells only which version of the same model it is: another number would be another model.
fn is_a_version(rest: &str) -> bool {
    let digits: String = rest.chars().map(|c| if c.is_ascii_digit() { '0' } else { c }).collect();
    let version = digits.strip_prefix("-preview").unwrap_or(&digits);
    matches!(version, "" | "-latest" | "-000" | "-00000000" | "-0000-00-00" | "-00-00" | "-00-0000" | "-customtools")
}

static TABLE: LazyLock<Table> =
    LazyLock::new(|| Table::read(include_str!("../data/models.toml")).expect("the table that is built in is tested"));

#[derive(Debug)]
struct Table {
    prices_date: String,
    unknown: Counting,
    /// By the beginning of the name.
    families: Vec<(String, Family)>,
    /// By the name, in tokens.
    windows: Vec<(String, u64)>,
    /// By the name, in tokens.
    outputs: Vec<(String, u64)>,
    /// By the name.
    prices: Vec<(String, Price)>,
}

#[derive(Debug, Clone)]
struct Family {
    /// Its names contain one of these; any name if there are none.
    contains: Vec<String>,
    /// The smallest of its members, in tokens.
    window: u64,
    /// The most that one answer can have, in tokens.
    output: Option<u64>,
    images: ImageFamily,
    counting: Counting,
}

impl Table {
    fn read(text: &str) -> Result<Self, String> {
        let raw: RawTable = toml::from_str(text).map_err(|e| e.to_string())?;
        let mut families = Vec::new();
        for family in raw.families {
            let known = Family {
                contains: family.contains,
                window: family.window,
                output: family.output,
                images: family.images,
                counting: family.counting,
            };
            families.extend(family.begins.list().iter().map(|begins| (plain(begins), known.clone())));
        }
        let named = |limit: RawLimit| limit.models.into_iter().map(move |model| (plain(&model), limit.tokens));
        let windows = raw.windows.into_iter().flat_map(named).collect();
        let outputs = raw.outputs.into_iter().flat_map(named).collect();
        let mut prices = Vec::new();
        for price in raw.prices {
            let long = match (price.above, &price.long) {
                (Some(above), Some(long)) => Some((above, long.check()?)),
                (None, None) => None,
                _ => return Err(format!("{:?}: `above` and `long` belong together", price.models)),
            };
            let checked = Price { base: price.base.check()?, long };
            prices.extend(price.models.iter().map(|model| (plain(model), checked)));
        }
        Ok(Self { prices_date: raw.prices_date, unknown: raw.unknown, families, windows, outputs, prices })
    }

    fn family(&self, name: &str) -> Option<&Family> {
        let first = name.as_bytes().first();
        // Most families begin with another letter.
        let alike = self.families.iter().filter(|(begins, _)| begins.is_empty() || begins.as_bytes().first() == first);
        let known = alike.filter(|(begins, family)| {
            let is_of_kind = family.contains.is_empty() || family.contains.iter().any(|part| name.contains(part.as_str()));
            name.strip_prefix(begins.as_str()).is_some_and(|rest| ends_a_number(begins, rest)) && is_of_kind
        });
        known.max_by_key(|(begins, family)| (begins.len(), !family.contains.is_empty())).map(|(_, family)| family)
    }
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawTable {
    prices_date: String,
    unknown: Counting,
    #[serde(rename = "family")]
    families: Vec<RawFamily>,
    #[serde(rename = "window")]
    windows: Vec<RawLimit>,
    #[serde(rename = "output")]
    outputs: Vec<RawLimit>,
    #[serde(rename = "price")]
    prices: Vec<RawPrice>,
}

#[derive(Debug, Clone, Copy, Deserialize)]
struct Counting {
    factor: u64,
    request: u64,
    message: u64,
    tool: u64,
}

#[derive(Debug, Deserialize)]
struct RawFamily {
    begins: OneOrMore,
    #[serde(default)]
    contains: Vec<String>,
    window: u64,
    output: Option<u64>,
    images: ImageFamily,
    #[serde(flatten)]
    counting: Counting,
}

#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum OneOrMore {
    One(String),
    More(Vec<String>),
}

impl OneOrMore {
    fn list(&self) -> &[String] {
        match self {
            OneOrMore::One(one) => std::slice::from_ref(one),
            OneOrMore::More(more) => more,
        }
    }
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawLimit {
    tokens: u64,
    models: Vec<String>,
}

#[derive(Debug, Deserialize)]
struct RawPrice {
    models: Vec<String>,
    above: Option<u64>,
    long: Option<RawRates>,
    #[serde(flatten)]
    base: RawRates,
}

#[derive(Debug, Deserialize)]
struct RawRates {
    input: f64,
    output: f64,
    cache_read: Option<f64>,
    cache_write: Option<f64>,
    cache_write_hour: Option<f64>,
}

impl RawRates {
    fn check(&self) -> Result<Rates, String> {
        let read =
            |dollars: f64| Usd::from_dollars(dollars).map(|usd| usd.0).ok_or_else(|| format!("{dollars} is no price"));
        let input = read(self.input)?;
        let or = |price: Option<f64>, otherwise: u64| price.map_or(Ok(otherwise), read);
        let cache_write = or(self.cache_write, input)?;
        Ok(Rates {
            input,
            output: read(self.output)?,
            cache_read: or(self.cache_read, input)?,
            cache_write,
            cache_write_hour: or(self.cache_write_hour, cache_write)?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_larger_of_two_prices_is_below_neither() {
        let [plain, long] = ["gpt-5.4-pro", "gpt-6-astra"].map(|model| price_of(model).unwrap());
        for price in [plain.max(long), long.max(plain)] {
            for (input, output) in [(1_000, 1_000), (272_000, 10), (272_001, 10), (900_000, 90_000)] {
                let bound = price.upper_bound(input, output);
                assert!(bound >= plain.upper_bound(input, output).max(long.upper_bound(input, output)), "{input}");
            }
        }
    }

    #[test]
    fn b1_a_model_has_its_own_window_or_the_smallest_of_its_family() {
        for (model, tokens) in [
            ("claude-haiku-4-5", 200_000),
            ("anthropic/claude-opus-5-5", 200_000),
            ("gpt-5.2-codex", 272_000),
            ("gpt-5-2025-08-07", 272_000),
            ("gpt-5.3-codex-spark", 128_000),
            ("gpt-5-chat-latest", 128_000),
            ("openai/gpt-5.9-nobody-knows", 128_000),
            ("gemini-2.5-flash", 1_000_000),
            ("gemini-2.5-flash-preview-09-2025", 1_000_000),
            ("gemini-2.5-flash-image", 32_768),
            ("gemini-2.5-flash-preview-tts", 8_192),
            ("gemini-9-flash-image", 8_192),
            ("gemini-9-pro", 128_000),
            ("gemini-pro-vision", 30_720),
        ] {
            assert_eq!(window_of(model), Window::new(tokens), "{model}");
        }
        for unknown in ["gpt-4-turbo", "gpt-4-1106-preview", "gpt", "llama-4", ""] {
            assert_eq!(window_of(unknown), None, "{unknown}");
        }
    }

    #[test]
    fn b1_no_member_has_a_smaller_window_than_its_family() {
        for (name, tokens) in &TABLE.windows {
            let family = TABLE.family(name).unwrap_or_else(|| panic!("{name} is of no family"));
            assert!(*tokens > family.window, "{name}: {tokens} says nothing that its family's {} does not", family.window);
        }
        let mut names: Vec<_> = TABLE.windows.iter().map(|(name, _)| name).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), TABLE.windows.len(), "no model has two windows");
    }

    #[test]
    fn an_unknown_model_is_counted_as_dense_as_any() {
        let unknown = factor_permille("a-model-nobody-knows");
        assert!(TABLE.families.iter().all(|(_, family)| family.counting.factor <= unknown));
        assert!(factor_permille("claude-opus-4-6") < factor_permille("claude-opus-4.7"));
        assert_eq!(factor_permille("openai/gpt-5.4"), factor_permille("gpt-4o-mini"));
        assert_eq!(factor_permille("gpt-4-1106-preview"), unknown, "its tokenizer is older than that of GPT-4.1");
        assert_eq!(overhead_of("a-model-nobody-knows").message, TABLE.unknown.message);
    }

    #[test]
    fn a_price_is_of_one_model_and_its_versions() {
        let opus = price_of("claude-opus-5-5").expect("in the table");
        assert_eq!(price_of("anthropic/claude-opus-5.5"), Some(opus));
        assert_eq!(price_of("claude-opus-5-5[1m]"), Some(opus));
        assert_eq!(price_of("claude-opus-5-5-20260922"), Some(opus));
        assert_ne!(price_of("claude-opus-5"), Some(opus));
        assert_eq!(price_of("gpt-5-2026-01-01"), price_of("gpt-5"));
        assert_eq!(price_of("gemini-3.1-pro-preview-customtools"), price_of("gemini-3.1-pro"));
        for unknown in [
            "gpt-5.9",
            "claude-opus-4-9",
            "claude-opus-4-9-20270101",
            "gpt-5.7-nano",
            "gemini-2.5-flash-preview-tts",
            "gpt",
            "",
        ] {
            assert_eq!(price_of(unknown), None, "{unknown}");
        }
    }

    #[test]
    fn a_call_costs_what_the_list_says() {
        let opus = price_of("claude-opus-5-5").expect("in the table");
        let usage = Usage { input: 1_000_000, cache_read: 1_000_000, cache_write: 1_000_000, output: 1_000_000 };
        assert_eq!(Usd(opus.cost(&usage)).to_string(), "$29.20");
        assert_eq!(Usd(opus.cost_cached(&usage, CacheLife::Hour)).to_string(), "$32.20");
        let one = Usage { cache_read: 1, ..Usage::default() };
        assert_eq!(opus.cost(&one), 1, "rounded up");
        // The whole call is dearer once its prompt is long.
        let haiku = price_of("claude-haiku-5-5").expect("in the table");
        let prompt = |input| Usage { input, output: 1_000_000, ..Usage::default() };
        assert_eq!(haiku.cost(&prompt(100_000)), 10_000 + 500_000);
        assert_eq!(haiku.cost(&prompt(100_001)), 50_001 + 2_500_000);
    }

    #[test]
    fn options_have_a_price_or_none_is_known() {
        let factor = |option, value, prompt| option_factor(option, value).map(|factor| factor.permille(prompt));
        for standard in ["auto", "default", "flex", "SERVICE_TIER_STANDARD"] {
            assert_eq!(factor(PriceOption::ServiceTier, standard, 1), Some(1000), "{standard}");
        }
        assert_eq!(factor(PriceOption::ServiceTier, "priority", 1), Some(2500));
        assert_eq!(factor(PriceOption::Speed, "fast", 200_000), Some(6000));
        assert_eq!(factor(PriceOption::Speed, "fast", 200_001), Some(12_000));
        assert_eq!(factor(PriceOption::Place, "us", 1), Some(1100));
        assert_eq!(factor(PriceOption::ServiceTier, "hyper", 1), None);
        let both = option_factor(PriceOption::Speed, "fast").zip(option_factor(PriceOption::Place, "us"));
        assert_eq!(both.map(|(fast, us)| fast.and(us).permille(1)), Some(6600));
        let opus = price_of("claude-opus-5-5").expect("in the table");
        let usage = Usage { input: 1_000_000, output: 1_000_000, ..Usage::default() };
        assert_eq!(opus.times(6600).cost(&usage), 66 * opus.cost(&usage) / 10);
    }

    #[test]
    fn the_table_is_sound() {
        let date = prices_date();
        assert!(date.len() == 10 && date.bytes().all(|byte| byte.is_ascii_digit() || byte == b'-'));
        let mut names: Vec<_> = TABLE.prices.iter().map(|(name, _)| name).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), TABLE.prices.len(), "no model has two prices");
        for (name, price) in &TABLE.prices {
            assert!(TABLE.family(name).is_some(), "{name} is of no family");
            for rates in std::iter::once(&price.base).chain(price.long.as_ref().map(|(_, long)| long)) {
                assert!(rates.input > 0 && rates.output >= rates.input && rates.cache_read <= rates.input, "{name}");
                assert!(rates.cache_write >= rates.input && rates.cache_write_hour >= rates.cache_write, "{name}");
            }
        }
    }

    proptest! {
        /// What is reserved before a call is never less than what it costs, however its input is split.
        #[test]
        fn no_usage_costs_more_than_the_upper_bound(
            index in any::<prop::sample::Index>(),
            parts in prop::array::uniform3(0u64..200_000),
            output in 0u64..100_000,
        ) {
            let (_, price) = index.get(&TABLE.prices);
            let [input, cache_read, cache_write] = parts;
            let usage = Usage { input, cache_read, cache_write, output };
            let bound = price.upper_bound(parts.iter().sum(), output);
            prop_assert!(price.cost(&usage) <= bound && price.cost_cached(&usage, CacheLife::Hour) <= bound);
        }
    }
}
