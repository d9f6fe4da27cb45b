//! Fork and join: one operation's tasks over a few threads, outputs handed out disjointly.
//!
//! A call publishes a job under a new epoch, takes part in it, closes it and waits for those
//! workers that had joined; a worker that comes late finds it closed and keeps out. Nothing is
//! allocated per call, and a worker that the system has put aside never holds up a caller who
//! could finish alone.
#![expect(unsafe_code, reason = "a job borrows from its caller; tasks share one output buffer")]

#[cfg(all(test, loom))]
mod model;
mod sync;

use std::any::Any;
use std::fmt;
use std::marker::PhantomData;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::PoisonError;

use self::sync::{
    Arc, AtomicBool, AtomicU64, AtomicUsize, JoinHandle, Mutex, Ordering, Patience, UnsafeCell,
    fence, spin_loop, thread,
};
use crate::Error;

/// How long an idle worker looks for the next job before it lets the processor go.
#[cfg(not(loom))]
const SPIN_TIME: std::time::Duration = std::time::Duration::from_micros(50);

/// The state of a job: the epoch in the upper half, then this bit, then the joined workers.
const OPEN: u64 = 1 << 31;
const JOINED: u64 = OPEN - 1;

/// The threads of a device: the caller and `threads - 1` workers.
pub(crate) struct Pool {
    shared: Arc<Shared>,
    workers: Vec<JoinHandle<()>>,
}

type Task<'a> = dyn Fn(usize) + Sync + 'a;

struct Shared {
    state: AtomicU64,
    /// Whether some caller has the workers.
    busy: AtomicBool,
    /// The next task to hand out.
    next: AtomicUsize,
    job: UnsafeCell<Job>,
    /// One flag per worker: it sleeps, or is about to.
    parked: Vec<AtomicBool>,
    stop: AtomicBool,
    panic: Mutex<Option<Box<dyn Any + Send>>>,
}

#[derive(Clone, Copy)]
struct Job {
    task: Option<*const Task<'static>>,
    tasks: usize,
}

// SAFETY: `job` is written only by the caller that holds `busy` while no job is open and no worker
// joined, and read only by workers that joined an open job; the other fields are `Sync`. The task
// it points to is `Sync` and outlives the job, because the caller waits for the joined workers.
unsafe impl Sync for Shared {}
// SAFETY: as above.
unsafe impl Send for Shared {}

impl Pool {
    /// Starts `threads - 1` workers.
    pub(crate) fn new(threads: usize) -> Result<Self, Error> {
        let count = threads.saturating_sub(1);
        let shared = Arc::new(Shared {
            state: AtomicU64::new(0),
            busy: AtomicBool::new(false),
            next: AtomicUsize::new(0),
            job: UnsafeCell::new(Job { task: None, tasks: 0 }),
            parked: (0..count).map(|_| AtomicBool::new(false)).collect(),
            stop: AtomicBool::new(false),
            panic: Mutex::new(None),
        });
        let mut pool = Self { shared, workers: Vec::new() };
        for index in 0..count {
            let shared = Arc::clone(&pool.shared);
            let worker = thread::Builder::new()
                .name(format!("engine-{index}"))
                .spawn(move || shared.work(index))
                .map_err(|source| Error::Thread { index, source })?;
            pool.workers.push(worker);
        }
        Ok(pool)
    }

    /// Threads that compute, the caller's included.
    pub(crate) fn threads(&self) -> usize {
        self.workers.len() + 1
    }

    /// Runs `task(0)` to `task(tasks - 1)`, each exactly once, in any order and on any thread, and
    /// returns when all are done. If another caller has the workers, this one computes alone.
    ///
    /// # Panics
    ///
    /// Panics if a task panics.
    pub(crate) fn run(&self, tasks: usize, task: impl Fn(usize) + Sync) {
        let alone = tasks <= 1 || self.workers.is_empty();
        if alone || self.shared.busy.swap(true, Ordering::Acquire) {
            return (0..tasks).for_each(task);
        }
        let mut panic = None;
        {
            let _turn = Turn { shared: &self.shared, panic: &mut panic };
            self.publish(tasks, &task);
            self.shared.take_tasks(&task, tasks);
        }
        if let Some(panic) = panic {
            resume_unwind(panic);
        }
    }

    /// Runs `task(chunk, values)` for each run of `chunk_len` values; the last may be shorter.
    ///
    /// # Panics
    ///
    /// Panics if `chunk_len` is 0 or a task panics.
    pub(crate) fn for_chunks<T: Send>(
        &self,
        values: &mut [T],
        chunk_len: usize,
        task: impl Fn(usize, &mut [T]) + Sync,
    ) {
        let len = values.len();
        let start = SharedStart(values.as_mut_ptr());
        self.run(len.div_ceil(chunk_len), |chunk| {
            let first = chunk * chunk_len;
            let count = chunk_len.min(len - first);
            // SAFETY: `values` is borrowed mutably during the call, chunks are disjoint and each
            // task number is handed out once.
            let values =
                unsafe { std::slice::from_raw_parts_mut(start.get().wrapping_add(first), count) };
            task(chunk, values);
        });
    }

    /// Runs `task` for each strip of `width` columns of `values`, a row-major buffer of rows of
    /// `columns`; only columns in `range` are handed out, and the last strip may be narrower.
    ///
    /// # Panics
    ///
    /// Panics if the shape does not fit, `width` is 0 or a task panics.
    pub(crate) fn for_columns(
        &self,
        values: &mut [f32],
        columns: usize,
        range: std::ops::Range<usize>,
        width: usize,
        task: impl Fn(Strip<'_>) + Sync,
    ) {
        assert!(range.start <= range.end && range.end <= columns, "{range:?} of {columns}");
        assert!(columns > 0 && values.len().is_multiple_of(columns), "rows of {columns}");
        let rows = values.len() / columns;
        let start = SharedStart(values.as_mut_ptr());
        self.run(range.len().div_ceil(width), |index| {
            let first = range.start + index * width;
            let width = width.min(range.end - first);
            let start = start.get().wrapping_add(first);
            task(Strip { start, rows, columns, first, width, borrow: PhantomData });
        });
    }

    /// Opens a job for the workers and wakes as many of them as can be of use.
    fn publish(&self, tasks: usize, task: &Task<'_>) {
        let shared = &*self.shared;
        // SAFETY: only the lifetime changes; `Turn` keeps the caller here until no worker uses it.
        let task = unsafe { std::mem::transmute::<*const Task<'_>, *const Task<'static>>(task) };
        let job = Job { task: Some(task), tasks };
        // SAFETY: this caller holds `busy`, and the previous job was closed and left by all.
        shared.job.with_mut(|slot| unsafe { *slot = job });
        shared.next.store(0, Ordering::Relaxed);
        let epoch = (shared.state.load(Ordering::Relaxed) >> 32).wrapping_add(1);
        shared.state.store((epoch << 32) | OPEN, Ordering::Release);
        // Pairs with the fence in `Shared::park`: either the worker sees the job or this caller
        // sees the flag.
        fence(Ordering::SeqCst);
        for (worker, parked) in self.workers.iter().zip(&shared.parked).take(tasks - 1) {
            if parked.load(Ordering::Relaxed) {
                worker.thread().unpark();
            }
        }
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::Relaxed);
        for worker in self.workers.drain(..) {
            worker.thread().unpark();
            // Tasks' panics are caught and passed on, so a worker itself ends well.
            let _ = worker.join();
        }
    }
}

impl fmt::Debug for Pool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Pool({} threads)", self.threads())
    }
}

/// A caller's time with the workers: ends, also by a panic, when no worker uses the job any more.
struct Turn<'a> {
    shared: &'a Shared,
    /// Receives the panic of a task, before another caller's job may have one.
    panic: &'a mut Option<Box<dyn Any + Send>>,
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        let shared = self.shared;
        let mut state = shared.state.fetch_and(!OPEN, Ordering::AcqRel) & !OPEN;
        let mut spins = 0_u32;
        while state & JOINED != 0 {
            spins += 1;
            if spins.is_multiple_of(1024) {
                thread::yield_now();
            } else {
                spin_loop();
            }
            state = shared.state.load(Ordering::Acquire);
        }
        *self.panic = shared.panic.lock().unwrap_or_else(PoisonError::into_inner).take();
        shared.busy.store(false, Ordering::Release);
    }
}

impl Shared {
    /// A worker's life: join each job once, until the pool is dropped.
    fn work(&self, index: usize) {
        let mut done_epoch = 0;
        while let Some(state) = self.wait_for_job(index, done_epoch) {
            let joined =
                self.state.compare_exchange(state, state + 1, Ordering::AcqRel, Ordering::Relaxed);
            if joined.is_err() {
                continue;
            }
            // SAFETY: the job is open and counts this worker, so its caller waits and writes
            // nothing.
            let Job { task, tasks } = self.job.with(|job| unsafe { *job });
            if let Some(task) = task {
                // SAFETY: as above; the task lives as long as its caller waits.
                self.take_tasks(unsafe { &*task }, tasks);
            }
            done_epoch = state >> 32;
            self.state.fetch_sub(1, Ordering::AcqRel);
        }
    }

    /// Runs tasks until none is left. The first panic is kept for the caller and ends the job.
    fn take_tasks(&self, task: &Task<'_>, tasks: usize) {
        let outcome = catch_unwind(AssertUnwindSafe(|| {
            loop {
                let index = self.next.fetch_add(1, Ordering::Relaxed);
                if index >= tasks {
                    break;
                }
                task(index);
            }
        }));
        if let Err(panic) = outcome {
            self.next.store(tasks, Ordering::Relaxed);
            self.panic.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(panic);
        }
    }

    /// The state of an open job that this worker has not done; none when the pool is dropped.
    fn wait_for_job(&self, index: usize, done_epoch: u64) -> Option<u64> {
        let mut patience = Patience::default();
        loop {
            let state = self.state.load(Ordering::Acquire);
            if is_new_job(state, done_epoch) {
                return Some(state);
            }
            if self.stop.load(Ordering::Relaxed) {
                return None;
            }
            if patience.is_over() {
                self.park(index, done_epoch);
                patience = Patience::default();
            }
        }
    }

    /// Sleeps until a job is published or the pool is dropped, or for no reason.
    fn park(&self, index: usize, done_epoch: u64) {
        self.parked[index].store(true, Ordering::Relaxed);
        // Pairs with the fence in `Pool::publish`. A stop needs none: it always wakes the worker.
        fence(Ordering::SeqCst);
        let state = self.state.load(Ordering::Relaxed);
        if !is_new_job(state, done_epoch) && !self.stop.load(Ordering::Relaxed) {
            thread::park();
        }
        self.parked[index].store(false, Ordering::Relaxed);
    }
}

/// Whether a worker that has done `done_epoch` can join.
fn is_new_job(state: u64, done_epoch: u64) -> bool {
    state & OPEN != 0 && state >> 32 != done_epoch
}

/// The start of a buffer whose disjoint pieces go to different tasks.
struct SharedStart<T>(*mut T);

impl<T> SharedStart<T> {
    fn get(&self) -> *mut T {
        self.0
    }
}

// SAFETY: tasks only touch pieces of their own, and `T: Send` lets these move to their threads.
unsafe impl<T: Send> Sync for SharedStart<T> {}

/// Some neighboring columns of every row of a buffer, for one task alone.
pub(crate) struct Strip<'a> {
    start: *mut f32,
    rows: usize,
    columns: usize,
    first: usize,
    width: usize,
    borrow: PhantomData<&'a mut f32>,
}

impl Strip<'_> {
    /// The first column, counted in the whole buffer.
    pub(crate) fn first(&self) -> usize {
        self.first
    }

    /// Number of columns.
    pub(crate) fn width(&self) -> usize {
        self.width
    }

    /// Number of rows.
    #[cfg(all(test, not(loom)))]
    pub(crate) fn rows(&self) -> usize {
        self.rows
    }

    /// This task's columns of a row.
    pub(crate) fn row(&mut self, row: usize) -> &mut [f32] {
        assert!(row < self.rows, "row {row} of {}", self.rows);
        let start = self.start.wrapping_add(row * self.columns);
        // SAFETY: inside the buffer by `for_columns`' checks; strips are disjoint and each is
        // handed out once; `self` is borrowed mutably, so one row is lent at a time.
        unsafe { std::slice::from_raw_parts_mut(start, self.width) }
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn every_task_runs_once() {
        let pool = Pool::new(3).unwrap();
        for round in 0..2000 {
            let tasks = round % 7;
            let counts: Vec<AtomicUsize> = (0..tasks).map(|_| AtomicUsize::new(0)).collect();
            pool.run(tasks, |task| {
                counts[task].fetch_add(1, Ordering::Relaxed);
            });
            assert!(counts.iter().all(|c| c.load(Ordering::Relaxed) == 1), "round {round}");
            if round % 500 == 0 {
                thread::sleep(4 * SPIN_TIME);
            }
        }
    }

    #[test]
    fn chunks_and_strips_cover_their_buffer() {
        let pool = Pool::new(2).unwrap();
        let mut values = vec![0_u32; 10];
        pool.for_chunks(&mut values, 4, |chunk, values| {
            values.iter_mut().for_each(|v| *v += 1 + u32::try_from(chunk).unwrap());
        });
        assert_eq!(values, [1, 1, 1, 1, 2, 2, 2, 2, 3, 3]);

        let mut values = vec![0.0; 2 * 7];
        pool.for_columns(&mut values, 7, 1..6, 2, |mut strip| {
            for row in 0..strip.rows() {
                let (first, width) = (strip.first() as f32, strip.width() as f32);
                strip.row(row).fill(10.0 * first + width);
            }
        });
        assert_eq!(values[..7], [0.0, 12.0, 12.0, 32.0, 32.0, 51.0, 0.0]);
        assert_eq!(values[..7], values[7..]);
    }

    #[test]
    fn callers_from_several_threads_and_nested_calls_all_finish() {
        let pool = Pool::new(2).unwrap();
        let sum = AtomicUsize::new(0);
        thread::scope(|scope| {
            for _ in 0..3 {
                scope.spawn(|| {
                    for _ in 0..200 {
                        pool.run(4, |_| {
                            pool.run(2, |_| {
                                sum.fetch_add(1, Ordering::Relaxed);
                            });
                        });
                    }
                });
            }
        });
        assert_eq!(sum.into_inner(), 3 * 200 * 4 * 2);
    }

    #[test]
    fn a_panic_reaches_the_caller_and_the_pool_lives_on() {
        let pool = Pool::new(2).unwrap();
        for bad in 0..4 {
            let outcome = catch_unwind(AssertUnwindSafe(|| {
                pool.run(4, |task| assert_ne!(task, bad, "task {task} fails"));
            }));
            assert!(outcome.is_err());
        }
        let done = AtomicUsize::new(0);
        pool.run(4, |_| {
            done.fetch_add(1, Ordering::Relaxed);
        });
        assert_eq!(done.into_inner(), 4);
    }
}
