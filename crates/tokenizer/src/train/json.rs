//! A trained vocabulary as `tokenizer.json`.

use super::Trained;
use crate::json_file::{self, Added, Parts};
use crate::vocabulary::{Normalization, Strip};

/// Writes the file.
pub(super) fn write(trained: &Trained) -> String {
    let texts = trained.tokens.iter().map(String::as_str);
    let tokens: Vec<(&str, u32)> = texts.zip(0u32..).collect();
    let added = |&(text, token)| Added {
        token,
        text,
        special: true,
        strip: Strip::default(),
        normalized: false,
    };
    json_file::write(Parts {
        added: tokens[..trained.special].iter().map(added).collect(),
        normalization: Normalization::None,
        split: trained.split,
        beginning: None,
        ignore_merges: false,
        tokens,
        merges: trained.merges().collect(),
    })
}
