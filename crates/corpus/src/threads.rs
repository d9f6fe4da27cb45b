//! Work on several threads whose results come in the order of the work.

use std::num::NonZeroUsize;
use std::sync::{Mutex, PoisonError};
use std::thread;

/// Does each piece of work on one of so many threads, the caller's among them; returns the results
/// in the order of the pieces.
///
/// # Panics
///
/// Where `run` does.
pub(crate) fn map<W: Send, R: Send>(
    threads: NonZeroUsize,
    work: Vec<W>,
    run: impl Fn(W) -> R + Sync,
) -> Vec<R> {
    let helpers = threads.get().min(work.len()).saturating_sub(1);
    if helpers == 0 {
        return work.into_iter().map(run).collect();
    }
    let work = Mutex::new(work.into_iter().enumerate());
    let take = || work.lock().unwrap_or_else(PoisonError::into_inner).next();
    let do_some = || {
        let mut results = Vec::new();
        while let Some((place, piece)) = take() {
            results.push((place, run(piece)));
        }
        results
    };
    let mut results = thread::scope(|scope| {
        let helpers: Vec<_> = (0..helpers).map(|_| scope.spawn(do_some)).collect();
        let mut results = do_some();
        for helper in helpers {
            results.extend(helper.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)));
        }
        results
    });
    results.sort_unstable_by_key(|(place, _)| *place);
    results.into_iter().map(|(_, result)| result).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_come_in_the_order_of_the_work() {
        for threads in [1, 2, 3, 64] {
            for count in [0, 1, 2, 100] {
                let threads = NonZeroUsize::new(threads).unwrap();
                let found = map(threads, (0..count).collect(), |n: u64| {
                    // Some pieces take longer than others.
                    (0..n % 7).for_each(|_| thread::yield_now());
                    n * 2
                });
                assert_eq!(found, (0..count).map(|n| n * 2).collect::<Vec<_>>());
            }
        }
    }
}
