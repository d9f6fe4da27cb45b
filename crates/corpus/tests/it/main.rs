//! The crate through its public interface: from files to batches.
#![expect(clippy::unwrap_used, reason = "a helper that cannot go on fails its test")]

mod building;
mod loading;
mod prepared;
