//! What can go wrong between a caller's request and the arithmetic.

use crate::{Dtype, KernelPath};

/// Everything the engine refuses; shape mistakes of a caller are panics instead.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The processor lacks instructions of the requested kernel path.
    /// Remedy: ask for `best` or a lower path, or leave the choice to the engine.
    #[error(
        "this processor cannot run the {requested} kernels; the best it can run is {best}: \
         choose that, or none to have the best chosen"
    )]
    KernelsUnsupported {
        /// The path that was asked for.
        requested: KernelPath,
        /// The fastest path that this processor runs.
        best: KernelPath,
    },
    /// A kernel path's name is none of the known ones.
    #[error("no kernels are called {name:?}: use reference, portable, avx2 or avx512")]
    KernelsUnknown {
        /// The name as given.
        name: String,
    },
    /// A worker thread could not be started. Remedy: fewer threads.
    #[error("worker thread {index} could not be started: allow more threads or ask for fewer")]
    Thread {
        /// Which worker.
        index: usize,
        /// What the operating system said.
        source: std::io::Error,
    },
    /// A matrix part's bytes do not fit its shape and type. Remedy: the file is damaged; fetch it
    /// again.
    #[error(
        "a {dtype} matrix [{out_features}, {in_features}] takes {expected_bytes} bytes, \
         not {actual_bytes}: the file is damaged, fetch it again"
    )]
    MatrixBytes {
        /// The part's element type.
        dtype: Dtype,
        /// Rows in the file.
        out_features: usize,
        /// Columns in the file.
        in_features: usize,
        /// Bytes that this shape takes.
        expected_bytes: usize,
        /// Bytes that were handed in.
        actual_bytes: usize,
    },
    /// A row is not a whole number of blocks, or it is empty.
    #[error(
        "rows of {elements} elements cannot be stored as {dtype}, whose blocks hold \
         {block_elements}: store this matrix in another type"
    )]
    RowLength {
        /// The element type.
        dtype: Dtype,
        /// Elements of a row.
        elements: usize,
        /// Elements of a block.
        block_elements: usize,
    },
    /// A matrix has no part, a part without rows, or more elements than can be addressed.
    #[error("a matrix [{out_features}, {in_features}] is empty or too large to be addressed")]
    MatrixShape {
        /// Rows.
        out_features: usize,
        /// Columns.
        in_features: usize,
    },
    /// There is a reader for this type but no writer.
    #[error("rows cannot be written as {dtype}: use F32, F16, BF16, Q8_0, Q4_0 or Q4_1")]
    QuantizeUnsupported {
        /// The type asked for.
        dtype: Dtype,
    },
}
