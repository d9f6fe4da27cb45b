//! The completions of a batch, in another order in every epoch, in parts.

use engine::random::Series;

/// Parts of a batch for one epoch: whole completions, each in one part.
///
/// The order is a function of `series` (seed, step and epoch) alone. Part `i` of `n` has the places
/// from `i * completions / n` to `(i + 1) * completions / n`: sizes differ by 1 at most.
///
/// # Shapes
///
/// Returns `[parts][completion]`: indices into the batch.
///
/// # Panics
///
/// Panics if there is no part, or there are more parts than completions.
///
/// Source: Huang et al. 2023, "The N implementation details of RLHF with PPO": a fresh permutation in
/// each epoch, as in `openai/lm-human-preferences`.
#[must_use]
pub fn minibatches(completions: usize, parts: usize, series: Series) -> Vec<Vec<usize>> {
    assert!((1..=completions).contains(&parts), "{parts} parts of {completions} completions");
    let order = series.permutation(completions);
    let begin = |part: usize| part * completions / parts;
    (0..parts).map(|part| order[begin(part)..begin(part + 1)].to_vec()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const SERIES: Series = Series { seed: 1, step: 2, epoch: 0 };

    #[test]
    fn every_completion_is_in_one_part() {
        for completions in 1..20 {
            for parts in 1..=completions {
                let found = minibatches(completions, parts, SERIES);
                let sizes: Vec<usize> = found.iter().map(Vec::len).collect();
                let (least, most) = (completions / parts, completions.div_ceil(parts));
                assert!(sizes.iter().all(|size| (least..=most).contains(size)), "{sizes:?}");
                let mut all = found.concat();
                all.sort_unstable();
                assert!(all.into_iter().eq(0..completions), "{parts} of {completions}");
            }
        }
    }

    #[test]
    fn epochs_and_steps_have_orders_of_their_own() {
        let first = minibatches(64, 4, SERIES);
        assert_eq!(first, minibatches(64, 4, SERIES));
        assert_ne!(first, minibatches(64, 4, Series { epoch: 1, ..SERIES }));
        assert_ne!(first, minibatches(64, 4, Series { step: 3, ..SERIES }));
        assert_eq!(first.concat(), minibatches(64, 1, SERIES).concat());
    }
}
