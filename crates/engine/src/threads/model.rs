//! The pool model-checked: loom runs these under every interleaving of the threads, and every
//! value that a weakly ordered load may see, up to `LOOM_MAX_PREEMPTIONS` preemptions.
//!
//! `cargo xtask test` calls it with few preemptions, `cargo xtask long` with more. loom itself
//! reports a deadlock, a leaked [`Arc`] and two accesses to a cell that nothing orders.
//!
//! Planted and found: either fence left out, parking without a second look, a caller who does not
//! wait or does not close, a worker that leaves relaxed, a panic taken late, a stop that wakes
//! nobody.

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};

use loom::cell::UnsafeCell;
use loom::model;
use loom::sync::{Arc, Condvar, Mutex};
use loom::thread;

use super::Pool;

/// Runs one task for each count and then reads and writes the counts as their only owner.
fn count(pool: &Pool, counts: &mut [UnsafeCell<usize>]) {
    // SAFETY: loom checks that no other access is under way.
    let add = |cell: &UnsafeCell<usize>| cell.with_mut(|count| unsafe { *count += 1 });
    pool.for_chunks(counts, 1, |_, cells| cells.iter().for_each(add));
    for count in counts {
        count.with_mut(|count| {
            // SAFETY: as above.
            let count = unsafe { &mut *count };
            assert_eq!(std::mem::take(count), 1);
        });
    }
}

fn counts(tasks: usize) -> Vec<UnsafeCell<usize>> {
    (0..tasks).map(|_| UnsafeCell::new(0)).collect()
}

#[test]
fn tasks_run_once_and_end_before_the_call_does() {
    model(|| {
        let pool = Pool::new(2).unwrap();
        count(&pool, &mut counts(2));
        // A worker that comes late to the first job must not take part in it now.
        count(&pool, &mut counts(2));
    });
}

#[test]
fn three_threads_share_the_tasks() {
    model(|| count(&Pool::new(3).unwrap(), &mut counts(3)));
}

#[test]
fn a_job_wakes_a_worker() {
    model(|| {
        let pool = Pool::new(2).unwrap();
        for _ in 0..2 {
            let (second_runs, told) = (Mutex::new(false), Condvar::new());
            pool.run(2, |task| {
                let mut second_runs = second_runs.lock().unwrap();
                if task == 1 {
                    *second_runs = true;
                    told.notify_one();
                }
                // Were the worker's wake-up lost, the caller would wait here for ever.
                while !*second_runs {
                    second_runs = told.wait(second_runs).unwrap();
                }
            });
        }
    });
}

#[test]
fn a_second_caller_computes_alone() {
    model(|| {
        let pool = Arc::new(Pool::new(2).unwrap());
        let other = Arc::clone(&pool);
        let caller = thread::spawn(move || count(&other, &mut counts(2)));
        count(&pool, &mut counts(2));
        caller.join().unwrap();
    });
}

#[test]
fn a_panic_reaches_the_caller() {
    model(|| {
        let pool = Pool::new(2).unwrap();
        // No panic hook, so no output for each interleaving.
        let fail = |task| {
            if task == 1 {
                resume_unwind(Box::new(task))
            }
        };
        let outcome = catch_unwind(AssertUnwindSafe(|| pool.run(2, fail)));
        assert_eq!(outcome.unwrap_err().downcast_ref(), Some(&1_usize));
        count(&pool, &mut counts(2));
    });
}

#[test]
fn a_panic_reaches_no_other_caller() {
    model(|| {
        let pool = Arc::new(Pool::new(2).unwrap());
        let other = Arc::clone(&pool);
        let caller = thread::spawn(move || count(&other, &mut counts(2)));
        let fail = |_| resume_unwind(Box::new(()));
        assert!(catch_unwind(AssertUnwindSafe(|| pool.run(2, fail))).is_err());
        caller.join().unwrap();
    });
}

#[test]
fn workers_end_with_the_pool() {
    model(|| drop(Pool::new(3).unwrap()));
}
