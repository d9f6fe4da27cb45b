//! No text takes more than about linear time: sizes here are far beyond what quadratic code ends.

use crate::generated::Random;
use crate::{small, tokenizer_of};

#[test]
fn two_megabytes_without_a_space() {
    let tokenizer = small();
    let mut random = Random::new(1);
    let letters: String = (0..2_000_000)
        .map(|_| char::from(b'a' + u8::try_from(random.below(26)).unwrap()))
        .collect();
    for text in [letters, "a".repeat(2_000_000), " ".repeat(2_000_000), "é".repeat(1_000_000)] {
        assert_eq!(tokenizer.decode(&tokenizer.encode(&text)), text);
    }
}

#[test]
fn long_runs_of_every_kind_by_every_rule() {
    let mut json = crate::small_json();
    let qwen = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";
    let rules = [
        json["pre_tokenizer"].clone(),
        serde_json::json!({"type": "ByteLevel", "add_prefix_space": false}),
        serde_json::json!({"type": "Sequence", "pretokenizers": [
            {"type": "Split", "pattern": {"Regex": qwen}, "behavior": "Isolated", "invert": false},
            {"type": "ByteLevel", "add_prefix_space": false, "use_regex": false}]}),
    ];
    for rule in rules {
        json["pre_tokenizer"] = rule;
        let tokenizer = tokenizer_of(&json);
        for piece in
            ["'", "\n", "\r\n", " \n", "\n ", "1", " 1", "!", " !", "\t", "a1", "' ", "\u{3000}"]
        {
            let text = piece.repeat(400_000 / piece.len());
            assert_eq!(tokenizer.decode(&tokenizer.encode(&text)), text);
        }
    }
}
