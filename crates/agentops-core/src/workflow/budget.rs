//! A budget in a workflow file.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::raw::{WorkflowError, wrong};
use crate::budget::{Limits, Usd};

/// A budget in a workflow file. What is not named is not limited.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct RawBudget {
    /// Tokens, input and output together.
    pub tokens: Option<u64>,
    /// US dollars at list prices, at most six digits behind the point.
    pub usd: Option<f64>,
}

impl RawBudget {
    /// Checks it and turns dollars into millionths, exactly. `at` is the table's key.
    pub(super) fn check(&self, at: &str) -> Result<Limits, WorkflowError> {
        if self.tokens == Some(0) {
            return Err(wrong(format!("{at}.tokens"), "0 would allow no call at all; leave it out for no limit"));
        }
        let micro_usd = self.usd.map(|usd| match Usd::from_dollars(usd) {
            Some(Usd(micro)) if micro > 0 => Ok(micro),
            _ => {
                let problem = format!("{usd} is not allowed; amounts above 0 with at most six digits behind the point are");
                Err(wrong(format!("{at}.usd"), problem))
            }
        });
        Ok(Limits { tokens: self.tokens, micro_usd: micro_usd.transpose()? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Limits, String> {
        let raw: RawBudget = toml::from_str(text).map_err(|e| e.to_string())?;
        raw.check("budget").map_err(|e| e.to_string())
    }

    #[test]
    fn amounts_are_read_as_they_are_written() {
        let limit = |tokens, micro_usd| Ok(Limits { tokens, micro_usd });
        assert_eq!(read("tokens = 2_000_000\nusd = 5.00"), limit(Some(2_000_000), Some(5_000_000)));
        assert_eq!(read("usd = 5"), limit(None, Some(5_000_000)), "whole dollars");
        assert_eq!(read("usd = 0.29"), limit(None, Some(290_000)), "no binary fraction is seen");
        assert_eq!(read(""), limit(None, None));
    }

    #[test]
    fn what_is_no_amount_is_refused_with_its_key() {
        for (bad, key) in [
            ("tokens = 0", "budget.tokens: "),
            ("usd = 0", "budget.usd: "),
            ("usd = 0.0", "budget.usd: "),
            ("usd = -1", "budget.usd: "),
            ("usd = 0.0000001", "budget.usd: "),
            ("usd = inf", "budget.usd: "),
            ("usd = nan", "budget.usd: "),
        ] {
            let refused = read(bad).expect_err(bad);
            assert!(refused.starts_with(key), "{bad}: {refused}");
        }
        assert!(read("tokens = -1").is_err() && read("dollars = 1").is_err());
    }
}
