//! What the tests of this crate share: the tiny models of the fixtures.

use std::path::{Path, PathBuf};

/// Tiny random models of every kind, as folders in Hugging Face's layout.
pub(crate) const TINY: [&str; 8] = [
    "tiny-llama",
    "tiny-llama-tied",
    "tiny-llama-llama3",
    "tiny-llama-yarn",
    "tiny-llama-linear",
    "tiny-llama-shards",
    "tiny-qwen2",
    "tiny-qwen3",
];

/// A file or folder of the fixtures.
pub(crate) fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fixtures").join(name)
}

/// The largest difference of two lists.
pub(crate) fn largest_difference(found: &[f32], expected: &[f32]) -> f32 {
    assert_eq!(found.len(), expected.len());
    found.iter().zip(expected).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max)
}
