//! The same words and tokens as the crates `tokenizers` and `tiktoken-rs`.

use serde_json::{Value, json};
use tokenizer::{SplitRule, Tokenizer};
use tokenizers::pre_tokenizers::byte_level::ByteLevel;
use tokenizers::pre_tokenizers::digits::Digits;
use tokenizers::pre_tokenizers::split::{Split, SplitPattern};
use tokenizers::tokenizer::{
    OffsetReferential, OffsetType, PreTokenizedString, PreTokenizer, SplitDelimiterBehavior,
};

use crate::generated::{strings, themed_strings};
use crate::{small_json, tokenizer_of};

const STRINGS: usize = 12_000;

const GPT2: &str = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+";
const LLAMA3: &str = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";
const QWEN2: &str = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";
const CL100K: &str = r"'(?i:[sdmt]|ll|ve|re)|[^\r\n\p{L}\p{N}]?+\p{L}++|\p{N}{1,3}+| ?[^\s\p{L}\p{N}]++[\r\n]*+|\s++$|\s*[\r\n]|\s+(?!\S)|\s";

/// The published expression of each rule that is one expression.
pub(crate) const EXPRESSIONS: &[(SplitRule, &str)] = &[
    (SplitRule::Gpt2, GPT2),
    (SplitRule::Llama3, LLAMA3),
    (SplitRule::Qwen2, QWEN2),
    (SplitRule::Cl100k, CL100K),
];

pub(crate) fn expression_step(expression: &str) -> Split {
    let pattern = SplitPattern::Regex(expression.to_owned());
    Split::new(pattern, SplitDelimiterBehavior::Isolated, false).expect("a valid expression")
}

/// The words that the oracle's steps cut `text` into.
fn oracle_words<'text>(steps: &[&dyn PreTokenizer], text: &'text str) -> Vec<&'text str> {
    let mut pieces = PreTokenizedString::from(text);
    for step in steps {
        step.pre_tokenize(&mut pieces).expect("the oracle splits everything");
    }
    let splits = pieces.get_splits(OffsetReferential::Original, OffsetType::Byte);
    splits.into_iter().map(|(_, (start, end), _)| &text[start..end]).collect()
}

fn check_words(rule: SplitRule, steps: &[&dyn PreTokenizer], texts: impl Iterator<Item = String>) {
    for text in texts {
        let words: Vec<&str> = rule.words(&text).collect();
        assert_eq!(words, oracle_words(steps, &text), "{rule:?} on {text:?}");
        assert_eq!(words.concat(), text);
    }
}

#[test]
fn words_are_those_of_the_published_expressions() {
    for &(rule, expression) in EXPRESSIONS {
        check_words(rule, &[&expression_step(expression)], strings(STRINGS, 1));
    }
    let (digits, gpt2) = (Digits::new(true), ByteLevel::new(false, true, true));
    check_words(SplitRule::SmolLm, &[&digits, &gpt2], strings(STRINGS, 2));
}

/// A character's class shows in its words: a letter joins `a`, a number joins `1`, a space neither.
#[test]
fn every_character_has_the_class_that_the_oracle_gives_it() {
    let step = expression_step(GPT2);
    let planes = (0..0x3_3480).chain(0xe_0000..0xe_0200);
    let chars: Vec<char> = planes.filter_map(char::from_u32).collect();
    for chunk in chars.chunks(512) {
        let text: String = chunk.iter().flat_map(|&c| ['a', c, '1', ' ', '!', c, '!']).collect();
        check_words(SplitRule::Gpt2, &[&step], std::iter::once(text));
    }
}

/// The small vocabulary, split by another rule.
fn with_rule(expression: &str, normalizer: Value, ignore_merges: bool) -> Value {
    let mut json = small_json();
    json["normalizer"] = normalizer;
    json["model"]["ignore_merges"] = json!(ignore_merges);
    json["pre_tokenizer"] = json!({"type": "Sequence", "pretokenizers": [
        {"type": "Split", "pattern": {"Regex": expression}, "behavior": "Isolated", "invert": false},
        {"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": false}
    ]});
    json
}

/// Both sides read the same file and must give the same tokens for every generated string.
fn check_tokens(json: &Value, texts: impl Iterator<Item = String>) {
    let ours = tokenizer_of(json);
    let mut oracle =
        tokenizers::Tokenizer::from_bytes(json.to_string()).expect("the oracle reads it");
    oracle.set_encode_special_tokens(true);
    for text in texts {
        let expected = oracle.encode_fast(text.as_str(), false).expect("the oracle encodes");
        assert_eq!(ours.encode(&text), expected.get_ids(), "{text:?}");
    }
}

#[test]
fn tokens_of_smollm() {
    check_tokens(&small_json(), strings(STRINGS, 3));
}

#[test]
fn tokens_of_gpt2() {
    let mut json = small_json();
    json["pre_tokenizer"] =
        json!({"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true});
    check_tokens(&json, strings(STRINGS, 4));
}

/// The oracle composes by an old version of Unicode, which lacks some combining marks, so the
/// strings for it are of the themes alone.
#[test]
fn tokens_of_qwen2_with_composition() {
    check_tokens(&with_rule(QWEN2, json!({"type": "NFC"}), false), themed_strings(STRINGS, 5));
}

#[test]
fn tokens_of_llama3_with_whole_words_first() {
    check_tokens(&with_rule(LLAMA3, Value::Null, true), strings(STRINGS, 6));
}

#[test]
fn added_tokens_that_are_not_special_are_found_in_text() {
    let mut json = with_rule(QWEN2, json!({"type": "NFC"}), false);
    let next = json["model"]["vocab"].as_object().expect("a map").len();
    let added = json["added_tokens"].as_array_mut().expect("a list");
    let texts = [
        ("quick", false),
        ("fox jumps", true),
        ("e\u{301}", true),
        ("jumps", false),
        ("   ", false),
        ("булок", true),
        ("<div>", false),
        ("<div", false),
    ];
    for (number, (text, normalized)) in (next..).zip(texts) {
        added.push(
            json!({"id": number, "content": text, "special": false, "normalized": normalized,
            "single_word": false, "lstrip": false, "rstrip": false}),
        );
    }
    check_tokens(&json, themed_strings(STRINGS, 7));
    let ours = tokenizer_of(&json);
    let tokens = ours.encode("a<div>quick");
    assert_eq!(tokens[1..], [u32::try_from(next + 6).unwrap(), u32::try_from(next).unwrap()]);
    assert_eq!(ours.decode(&tokens), "a<div>quick");
}

#[test]
fn tokens_of_cl100k() {
    let oracle = tiktoken_rs::cl100k_base().expect("its vocabulary is built in");
    let ours = cl100k(&oracle);
    for text in strings(STRINGS, 8) {
        assert_eq!(ours.encode(&text), oracle.encode_ordinary(&text), "{text:?}");
    }
}

/// The whole vocabulary of cl100k as a `tokenizer.json`: tiktoken has no merges but joins any two
/// neighbors that make a token, lowest number first, so every way to make a token is a merge.
fn cl100k(oracle: &tiktoken_rs::CoreBPE) -> Tokenizer {
    use std::collections::HashMap;
    let tokens: Vec<Vec<u8>> = (0..100_256)
        .map(|token| oracle.decode_bytes(&[token]).expect("a token of the vocabulary"))
        .collect();
    let known: HashMap<&[u8], usize> =
        tokens.iter().enumerate().map(|(number, bytes)| (bytes.as_slice(), number)).collect();
    let mut merges = Vec::new();
    for (number, bytes) in tokens.iter().enumerate() {
        let halves = (1..bytes.len()).map(|at| bytes.split_at(at));
        let made = halves.filter(|(left, right)| {
            [left, right].iter().all(|half| known.get(*half).is_some_and(|&half| half < number))
        });
        merges.extend(made.map(|(left, right)| json!([spelled(left), spelled(right)])));
    }
    let vocab: serde_json::Map<String, Value> =
        tokens.iter().enumerate().map(|(number, bytes)| (spelled(bytes), json!(number))).collect();
    let mut json = with_rule(CL100K, Value::Null, true);
    json["added_tokens"] = json!([]);
    json["model"]["vocab"] = Value::Object(vocab);
    json["model"]["merges"] = Value::Array(merges);
    tokenizer_of(&json)
}

/// Bytes in the spelling of byte-level vocabularies.
fn spelled(bytes: &[u8]) -> String {
    let plain = |byte: u8| matches!(byte, b'!'..=b'~' | 0xa1..=0xac | 0xae..=0xff);
    let spell = |byte: u8| {
        let before = u32::try_from((0..byte).filter(|&byte| !plain(byte)).count()).expect("small");
        if plain(byte) { char::from(byte) } else { char::from_u32(0x100 + before).expect("a char") }
    };
    bytes.iter().map(|&byte| spell(byte)).collect()
}
