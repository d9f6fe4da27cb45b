//! The tokenizer through its public interface, against published implementations and golden files.

mod conversations;
mod export;
mod files;
mod generated;
mod oracle;
mod smollm2;
mod speed;
mod templates;
mod train;

use std::path::{Path, PathBuf};

use tokenizer::Tokenizer;

/// The committed beginning of SmolLM2's vocabulary.
fn small_json() -> serde_json::Value {
    let bytes = std::fs::read(fixture("smollm2-small.tokenizer.json")).expect("a committed file");
    serde_json::from_slice(&bytes).expect("valid JSON")
}

/// The tokenizer of [`small_json`].
fn small() -> Tokenizer {
    tokenizer_of(&small_json())
}

/// The tokenizer that a `tokenizer.json` describes.
fn tokenizer_of(json: &serde_json::Value) -> Tokenizer {
    Tokenizer::from_json(json.to_string().as_bytes()).expect("a supported tokenizer")
}

/// A committed file.
fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fixtures").join(name)
}
