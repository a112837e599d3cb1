//! Options of a call that change its price: how fast it is served, and where.
//!
//! The factors are upper bounds over all models: a call that asks for such an option counts at the largest that its source
//! names. What is cheaper than the standard (batches, `flex`) counts as the standard.
//!
//! Sources, as stored copies of them stood on 2026-11-24:
//! - OpenAI `service_tier`: <https://openai.com/api-fast-mode/> (`priority` is now named `fast`: 1.75 to 2.5 times, the most for
//!   GPT-5.5) and <https://vercel.com/changelog/openai-ultrafast-mode-now-available-on-ai-gateway> (`ultrafast`: 6 times).
//! - Gemini `service_tier`: <https://ai.google.dev/gemini-api/docs/optimization> (`priority`: at most twice).
//! - Anthropic `speed`: <https://platform.claude.com/docs/en/build-with-claude/fast-mode> (`fast`: 6 times, and 12 times for
//!   prompts of more than 200,000 tokens).
//! - Anthropic `inference_geo`: <https://platform.claude.com/docs/en/about-claude/pricing> (`us`: 1.1 times).

/// What options do to the list price of a call, in thousandths.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PriceFactor {
    permille: u64,
    long_permille: u64,
}

/// Prompts that are longer than this many tokens are long.
const LONG_PROMPT: u64 = 200_000;

impl PriceFactor {
    /// The list price itself.
    pub const STANDARD: Self = Self::of(1000);

    const fn of(permille: u64) -> Self {
        Self { permille, long_permille: permille }
    }

    /// Both together.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        let both = |a: u64, b: u64| a.saturating_mul(b).div_ceil(1000);
        Self { permille: both(self.permille, other.permille), long_permille: both(self.long_permille, other.long_permille) }
    }

    /// For a prompt of so many tokens, in thousandths.
    #[must_use]
    pub fn permille(self, prompt: u64) -> u64 {
        if prompt > LONG_PROMPT { self.long_permille } else { self.permille }
    }
}

/// What an option with this value does to the price; `None`: it is not known.
#[must_use]
pub fn option_factor(option: PriceOption, value: &str) -> Option<PriceFactor> {
    let value = value.to_ascii_lowercase();
    match (option, value.strip_prefix("service_tier_").unwrap_or(&value)) {
        (
            PriceOption::ServiceTier,
            "auto" | "default" | "standard" | "standard_only" | "flex" | "batch" | "scale" | "unspecified",
        )
        | (PriceOption::Speed, "standard")
        | (PriceOption::Place, "global") => Some(PriceFactor::STANDARD),
        (PriceOption::ServiceTier, "priority" | "fast") => Some(PriceFactor::of(2_500)),
        (PriceOption::ServiceTier, "ultrafast") => Some(PriceFactor::of(6_000)),
        (PriceOption::Speed, "fast") => Some(PriceFactor { permille: 6_000, long_permille: 12_000 }),
        (PriceOption::Place, "us") => Some(PriceFactor::of(1_100)),
        _ => None,
    }
}

/// An option that changes the price.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PriceOption {
    /// `service_tier`
    ServiceTier,
    /// `speed`
    Speed,
    /// `inference_geo`
    Place,
}

impl PriceOption {
    /// The option that a member of a request is.
    #[must_use]
    pub fn of(key: &[u8]) -> Option<Self> {
        match key {
            b"service_tier" | b"serviceTier" => Some(Self::ServiceTier),
            b"speed" => Some(Self::Speed),
            b"inference_geo" => Some(Self::Place),
            _ => None,
        }
    }
}
