//! The fast twins of the operations, one folder per kernel path.

pub(crate) mod lanes;
