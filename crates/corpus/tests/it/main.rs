//! The crate through its public interface: from files to batches.

mod building;
mod loading;
mod prepared;
