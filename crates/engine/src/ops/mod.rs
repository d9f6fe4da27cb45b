//! The operations: contract, formula, slow reference and tests in one file each.

pub mod embedding;
pub mod matmul;
