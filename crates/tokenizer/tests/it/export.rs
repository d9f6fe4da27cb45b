//! Tokenizers written and read again: the same tokens of every text.
#![expect(clippy::unwrap_used, reason = "a helper that cannot go on fails its test")]

use std::fs;

use artifacts::gguf::{Array, Metadata, Value};
use serde_json::json;
use tokenizer::{Error, Tokenizer};

use crate::generated::strings;
use crate::smollm2::whole;
use crate::{small, small_json, tokenizer_of};

/// Through the metadata of a GGUF file.
fn through_gguf(tokenizer: &Tokenizer, rows: usize) -> Result<Tokenizer, Error> {
    let mut metadata = Metadata::new();
    tokenizer.write_gguf(rows, &mut metadata)?;
    Tokenizer::from_gguf(&metadata)
}

/// Through the files of a folder.
fn through_folder(tokenizer: &Tokenizer) -> Tokenizer {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("tokenizer.json"), tokenizer.to_json()).unwrap();
    fs::write(folder.path().join("tokenizer_config.json"), tokenizer.config_json(77)).unwrap();
    Tokenizer::from_folder(folder.path()).unwrap()
}

fn assert_same(left: &Tokenizer, right: &Tokenizer) {
    for text in strings(2_000, 5).chain(["a<|im_end|>b  c\r\n 123".to_owned()]) {
        assert_eq!(left.encode(&text), right.encode(&text), "{text:?}");
    }
    assert_eq!(left.end_of_turn(), right.end_of_turn());
    assert_eq!(left.beginning_of_text(), right.beginning_of_text());
    assert_eq!((left.begin_token(), left.end_token()), (right.begin_token(), right.end_token()));
    assert_eq!(left.chat_template(), right.chat_template());
    for token in 0..u32::try_from(left.vocabulary_len()).unwrap() {
        assert_eq!(left.token_bytes(token), right.token_bytes(token), "{token}");
        assert_eq!(left.is_special(token), right.is_special(token), "{token}");
    }
}

/// The small vocabulary with a chat template and roles.
fn with_template() -> Tokenizer {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("tokenizer.json"), small_json().to_string()).unwrap();
    let config = json!({ "bos_token": "<|im_start|>", "eos_token": "<|im_end|>",
        "add_bos_token": true, "chat_template": "{{ messages }} \"\u{e9}\"" });
    fs::write(folder.path().join("tokenizer_config.json"), config.to_string()).unwrap();
    Tokenizer::from_folder(folder.path()).unwrap()
}

#[test]
fn a_tokenizer_comes_back_from_both_layouts() {
    for tokenizer in [small(), with_template()] {
        let rows = tokenizer.vocabulary_len();
        assert_same(&tokenizer, &through_folder(&tokenizer));
        let back = through_gguf(&tokenizer, rows).unwrap();
        assert_same(&tokenizer, &back);
        assert_same(&tokenizer, &through_folder(&back));
        // Rows without a token stay unused.
        let padded = through_gguf(&tokenizer, rows + 3).unwrap();
        assert_same(&tokenizer, &padded);
        assert_eq!(padded.vocabulary_len(), rows + 3);
        assert_same(&tokenizer, &through_folder(&padded));
    }
}

#[test]
fn the_whole_vocabulary_comes_back() {
    let Some(tokenizer) = whole("the_whole_vocabulary_comes_back") else { return };
    let folder = through_folder(&tokenizer);
    assert_same(&tokenizer, &folder);
    assert_same(&tokenizer, &through_gguf(&folder, 49_152).unwrap());
}

#[test]
fn every_rule_is_written_by_its_name_or_refused() {
    let split = |expression: &str| {
        json!({ "type": "Sequence", "pretokenizers": [
            { "type": "Split", "pattern": { "Regex": expression }, "behavior": "Isolated" },
            { "type": "ByteLevel", "add_prefix_space": false, "use_regex": false } ] })
    };
    let llama3 = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";
    let qwen2 = llama3.replace("{1,3}", "");
    let cl100k = r"'(?i:[sdmt]|ll|ve|re)|[^\r\n\p{L}\p{N}]?+\p{L}++|\p{N}{1,3}+| ?[^\s\p{L}\p{N}]++[\r\n]*+|\s++$|\s*[\r\n]|\s+(?!\S)|\s";
    let nfc = json!({ "type": "NFC" });
    for (rule, normalizer, ignore_merges, known) in [
        (split(llama3), json!(null), true, Some("llama-bpe")),
        (split(&qwen2), nfc.clone(), false, Some("qwen2")),
        (split(&qwen2), json!(null), false, Some("deepseek-r1-qwen")),
        (split(llama3), nfc, true, None),
        (split(cl100k), json!(null), false, None),
    ] {
        let mut json = small_json();
        (json["pre_tokenizer"], json["normalizer"]) = (rule, normalizer);
        json["model"]["ignore_merges"] = json!(ignore_merges);
        let tokenizer = tokenizer_of(&json);
        assert_same(&tokenizer, &through_folder(&tokenizer));
        let mut metadata = Metadata::new();
        let written = tokenizer.write_gguf(tokenizer.vocabulary_len(), &mut metadata);
        match known {
            Some(name) => {
                written.unwrap();
                assert_eq!(metadata.str("tokenizer.ggml.pre").unwrap(), Some(name));
                assert_same(&tokenizer, &Tokenizer::from_gguf(&metadata).unwrap());
            }
            None => assert!(matches!(written, Err(Error::Unwritable { .. })), "{written:?}"),
        }
    }
}

#[test]
fn words_that_no_merge_makes_are_not_lost() {
    // `zq` is a token, but no merge makes it: it comes of text where words go before merging.
    let mut json = small_json();
    let token = json["model"]["vocab"].as_object().unwrap().len();
    json["model"]["vocab"]["zq"] = json!(token);
    json["model"]["ignore_merges"] = json!(true);
    let tokenizer = tokenizer_of(&json);
    assert_eq!(tokenizer.encode("zq"), [u32::try_from(token).unwrap()]);
    let rows = tokenizer.vocabulary_len();
    let error = through_gguf(&tokenizer, rows).unwrap_err().to_string();
    assert!(error.contains("smollm with ignore_merges = true"), "{error}");
    json["model"]["ignore_merges"] = json!(false);
    through_gguf(&tokenizer_of(&json), rows).unwrap();
    let error = through_gguf(&small(), 10).unwrap_err().to_string();
    assert!(error.contains("for an embedding table of 10 rows"), "{error}");
}

#[test]
fn roles_of_tokens_that_are_not_there_are_left_out() {
    let mut metadata = Metadata::new();
    small().write_gguf(small().vocabulary_len(), &mut metadata).unwrap();
    let mut hostile = Metadata::new();
    for (key, value) in metadata.iter().filter(|(key, _)| !key.contains("bos")) {
        hostile.insert(key, value.clone()).unwrap();
    }
    hostile.insert("tokenizer.ggml.bos_token_id", Value::U32(1 << 30)).unwrap();
    hostile.insert("tokenizer.ggml.add_bos_token", Value::Bool(true)).unwrap();
    let tokenizer = Tokenizer::from_gguf(&hostile).unwrap();
    assert_eq!(tokenizer.begin_token(), None);
    assert_eq!(through_folder(&tokenizer).beginning_of_text(), None);
    let Some(Value::Array(Array::Strings(tokens))) = metadata.get("tokenizer.ggml.tokens") else {
        panic!("tokens are strings");
    };
    assert_eq!(tokens.len(), small().vocabulary_len());
}
