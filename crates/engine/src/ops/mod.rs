//! The operations: contract, formula, slow reference and tests, in a file or folder each.

pub mod adamw;
pub mod attention;
pub mod cross_entropy;
pub mod draw;
pub mod embedding;
pub mod gradient_norm;
#[cfg(all(test, target_os = "linux"))]
mod guarded;
pub mod log_softmax;
pub mod matmul;
pub mod muon;
pub mod rms_norm;
pub mod rope;
pub mod scalar_head;
pub mod swiglu;

/// Rows of `columns` values that are worth a thread's while in an operation of few instructions
/// each.
fn rows_per_task(columns: usize) -> usize {
    /// About two microseconds of work: below that, waking a thread costs more than it brings.
    const TASK_ELEMENTS: usize = 8192;
    (TASK_ELEMENTS / columns.max(1)).max(1)
}
