//! Figures with honest bounds.

use serde::{Deserialize, Serialize};

/// How many of how many were right.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Score {
    /// Right ones.
    pub right: usize,
    /// All of them.
    pub all: usize,
}

impl Score {
    /// Counts one more.
    pub fn count(&mut self, right: bool) {
        self.right += usize::from(right);
        self.all += 1;
    }

    /// The share that was right, 0 to 1; `None`: there were none.
    #[must_use]
    pub fn share(&self) -> Option<f64> {
        (self.all > 0).then(|| self.right as f64 / self.all as f64)
    }

    /// The 95 % interval of the share; see [`wilson`].
    #[must_use]
    pub fn interval(&self) -> (f64, f64) {
        wilson(self.right, self.all)
    }
}

/// The 97.5 % point of the standard normal distribution.
const Z: f64 = 1.959_963_984_540_054;

/// The 95 % score interval of a share, both ends from 0 to 1: Wilson, "Probable inference, the law of succession, and
/// statistical inference", Journal of the American Statistical Association 22 (1927). Of nothing everything is possible.
#[must_use]
pub fn wilson(right: usize, all: usize) -> (f64, f64) {
    if all == 0 {
        return (0.0, 1.0);
    }
    let n = all as f64;
    let share = right.min(all) as f64 / n;
    let middle = share + Z * Z / (2.0 * n);
    let half = Z * (share * (1.0 - share) / n + Z * Z / (4.0 * n * n)).sqrt();
    let whole = 1.0 + Z * Z / n;
    // Rounding must not put the share itself outside.
    (((middle - half) / whole).clamp(0.0, share), ((middle + half) / whole).clamp(share, 1.0))
}

/// Expected calibration error: over 15 bins of equal width, the mean distance between confidence and share that was right,
/// 0 to 1 (Naeini, Cooper, Hauskrecht, "Obtaining well calibrated probabilities using Bayesian binning", 2015). Each row is a
/// confidence from 0 to 1 and whether the answer was right. Of nothing the error is 0.
#[must_use]
pub fn calibration_error(rows: &[(f64, bool)]) -> f64 {
    let mut bins = [(0.0, 0.0); 15];
    for (confidence, right) in rows {
        let (confidences, rights) = &mut bins[((confidence * 15.0).ceil() as usize).clamp(1, 15) - 1];
        *confidences += confidence;
        *rights += f64::from(u8::from(*right));
    }
    bins.iter().map(|(confidences, rights)| f64::abs(confidences - rights)).sum::<f64>() / rows.len().max(1) as f64
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn calibration_error_is_the_distance_in_each_bin() {
        assert!(calibration_error(&[]).abs() < 1e-9);
        let rows = [(0.9, true), (0.9, false), (0.1, false), (0.1, false)];
        assert!((calibration_error(&rows) - (2.0 * 0.4 + 2.0 * 0.1) / 4.0).abs() < 1e-9);
    }

    #[test]
    fn known_intervals() {
        let near = |(low, high): (f64, f64), a: f64, b: f64| (low - a).abs() < 5e-4 && (high - b).abs() < 5e-4;
        assert!(near(wilson(10, 11), 0.623, 0.984), "{:?}", wilson(10, 11));
        assert!(near(wilson(54, 60), 0.799, 0.953), "{:?}", wilson(54, 60));
        assert!(near(wilson(0, 10), 0.0, 0.2775), "{:?}", wilson(0, 10));
        assert_eq!(wilson(0, 0), (0.0, 1.0));
    }

    proptest! {
        #[test]
        fn the_share_lies_inside_and_mirrors(all in 1usize..5_000, part in 0.0f64..=1.0) {
            let right = (all as f64 * part) as usize;
            let (low, high) = wilson(right, all);
            let share = right as f64 / all as f64;
            prop_assert!(0.0 <= low && low <= share && share <= high && high <= 1.0);
            let (mirror_low, mirror_high) = wilson(all - right, all);
            prop_assert!((mirror_low - (1.0 - high)).abs() < 1e-9 && (mirror_high - (1.0 - low)).abs() < 1e-9);
        }
    }
}
