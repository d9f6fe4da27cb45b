//! What is taken from the counts of seen runs for those that were not seen.

/// The discounts of runs of one length, for a count of 1, 2, and more.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Discounts([f64; 3]);

/// Where they cannot be estimated.
const FALLBACK: [f64; 3] = [0.5, 1.0, 1.5];

impl Discounts {
    /// The discounts for runs with these counts; those of 0 are no runs.
    pub(super) fn estimate(counts: &[u32]) -> Self {
        let mut runs = [0_u64; 4];
        for &count in counts {
            if let Some(runs) = (count as usize).checked_sub(1).and_then(|at| runs.get_mut(at)) {
                *runs += 1;
            }
        }
        let [n1, n2, n3, n4] = runs.map(|runs| runs as f64);
        if n1 == 0.0 || n2 == 0.0 || n3 == 0.0 {
            return Self(FALLBACK);
        }
        let y = n1 / (n1 + 2.0 * n2);
        let discounts = [1.0 - 2.0 * y * n2 / n1, 2.0 - 3.0 * y * n3 / n2, 3.0 - 4.0 * y * n4 / n3];
        // None is above its count: only what is subtracted can be too much. A discount of 0 would
        // leave nothing for runs that were not seen.
        if discounts.iter().all(|&discount| discount > 0.0) {
            Self(discounts)
        } else {
            Self(FALLBACK)
        }
    }

    /// The discount of a count; nothing is taken from 0.
    pub(super) fn of(&self, count: u32) -> f64 {
        match count {
            0 => 0.0,
            1 => self.0[0],
            2 => self.0[1],
            _ => self.0[2],
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_formula_of_chen_and_goodman() {
        // n1 = 6, n2 = 3, n3 = 2, n4 = 1; Y = 6 / 12.
        let counts = [1, 1, 1, 1, 1, 1, 2, 2, 2, 3, 3, 4, 9, 0];
        let Discounts(found) = Discounts::estimate(&counts);
        for (found, expected) in found.into_iter().zip([0.5, 1.0, 2.0]) {
            assert!((found - expected).abs() < 1e-15, "{found} instead of {expected}");
        }
        let discounts = Discounts(found);
        assert!((discounts.of(9) - 2.0).abs() < 1e-15);
        assert!(discounts.of(0).abs() < 1e-15);
    }

    #[test]
    fn what_cannot_be_estimated_falls_back() {
        assert_eq!(Discounts::estimate(&[1, 1, 2]), Discounts(FALLBACK));
        // n3 is so large that the discount of 2 would be negative.
        assert_eq!(Discounts::estimate(&[1, 2, 3, 3, 3, 3]), Discounts(FALLBACK));
        // It is 0: 2 - 3 * (1 / 3) * 2.
        assert_eq!(Discounts::estimate(&[1, 2, 3, 3]), Discounts(FALLBACK));
    }
}
