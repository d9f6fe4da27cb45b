//! What the pool is built on: the standard library, or loom's models of the same things.

#[cfg(loom)]
pub(super) use loom::{
    cell::UnsafeCell,
    hint::spin_loop,
    sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering, fence},
    sync::{Arc, Mutex},
    thread::{self, JoinHandle},
};
#[cfg(not(loom))]
pub(super) use std::{
    hint::spin_loop,
    sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering, fence},
    sync::{Arc, Mutex},
    thread::{self, JoinHandle},
};

/// [`std::cell::UnsafeCell`] with the interface of loom's, which knows when an access ends.
#[cfg(not(loom))]
pub(super) struct UnsafeCell<T>(std::cell::UnsafeCell<T>);

#[cfg(not(loom))]
impl<T> UnsafeCell<T> {
    pub(super) fn new(value: T) -> Self {
        Self(std::cell::UnsafeCell::new(value))
    }

    pub(super) fn with<R>(&self, read: impl FnOnce(*const T) -> R) -> R {
        read(self.0.get())
    }

    pub(super) fn with_mut<R>(&self, write: impl FnOnce(*mut T) -> R) -> R {
        write(self.0.get())
    }
}

/// How long an idle worker has looked for a job.
#[derive(Default)]
pub(super) struct Patience {
    #[cfg(not(loom))]
    spins: u32,
    #[cfg(not(loom))]
    since: Option<std::time::Instant>,
}

impl Patience {
    /// Passes a moment; whether the worker should let the processor go.
    #[cfg(not(loom))]
    pub(super) fn is_over(&mut self) -> bool {
        spin_loop();
        self.spins += 1;
        if !self.spins.is_multiple_of(64) {
            return false;
        }
        let since = *self.since.get_or_insert_with(std::time::Instant::now);
        since.elapsed() > super::SPIN_TIME
    }

    /// A model has no clock: looking on adds no interleaving that looking once does not have.
    #[cfg(loom)]
    pub(super) fn is_over(&mut self) -> bool {
        true
    }
}
