//! The real vocabulary of SmolLM2, where its file is at hand.

use std::path::{Path, PathBuf};

use artifacts::gguf::Gguf;
use tokenizer::Tokenizer;

use crate::generated::strings;

/// The model file that the set-up names or fetches.
fn model_file() -> Option<PathBuf> {
    let fetched = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../../target/test-data/SmolLM2-135M-Instruct.Q4_1.gguf");
    let path = std::env::var_os("SCRIBE_TEST_MODEL").map_or(fetched, PathBuf::from);
    path.is_file().then_some(path)
}

/// The whole vocabulary; a visible line where the file is absent.
#[expect(clippy::print_stdout, reason = "a test that is skipped must be seen")]
pub(crate) fn whole(test: &str) -> Option<Tokenizer> {
    let Some(path) = model_file() else {
        println!("skipped: {test}: no SmolLM2 file; set SCRIBE_TEST_MODEL to its path");
        return None;
    };
    let file = Gguf::open(&path).expect("the file is whole");
    Some(Tokenizer::from_gguf(file.header().metadata()).expect("a supported tokenizer"))
}

#[test]
fn known_tokens() {
    let Some(tokenizer) = whole("known_tokens") else { return };
    assert_eq!(tokenizer.vocabulary_len(), 49_152);
    assert_eq!(tokenizer.encode("Hello, world!"), [19_556, 28, 905, 17]);
    assert_eq!(tokenizer.special("<|im_start|>"), Some(1));
    assert_eq!(tokenizer.end_of_turn(), [0, 2]);
    assert_eq!(tokenizer.beginning_of_text(), None);
    assert_eq!(tokenizer.token_text(2), "<|im_end|>");
    assert_eq!(tokenizer.token_bytes(2), b"");
    assert_eq!(tokenizer.token_bytes(905), b" world");
    assert!(tokenizer.is_special(0) && !tokenizer.is_special(905));
}

#[test]
fn decoding_undoes_encoding() {
    let Some(tokenizer) = whole("decoding_undoes_encoding") else { return };
    for text in strings(12_000, 11) {
        // The vocabulary has no token for eight bytes that valid text can hold.
        let text: String = text.chars().filter(|&c| !without_token(c)).collect();
        let tokens = tokenizer.encode(&text);
        assert_eq!(tokenizer.decode(&tokens), text);
        assert!(tokens.iter().all(|&token| !tokenizer.is_special(token)), "{text:?}");
    }
}

/// Characters of which SmolLM2 has no byte: some controls, and planes 4 to 11 and what begins with
/// the bytes 0xf1 and 0xf2.
fn without_token(c: char) -> bool {
    matches!(c, '\u{4}' | '\u{6}' | '\u{13}' | '\u{14}' | '\u{16}' | '\u{1d}')
        || matches!(c, '\u{40000}'..='\u{bffff}')
}
