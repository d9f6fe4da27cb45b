//! A trained vocabulary as `tokenizer.json`: names, order and layout are those of the crate
//! `tokenizers`.

use serde::Serialize;
use serde::ser::Serializer;

use super::Trained;
use crate::SplitRule;
use crate::json::expression;

#[derive(Serialize)]
struct File<'a> {
    version: &'static str,
    truncation: (),
    padding: (),
    added_tokens: Vec<AddedToken<'a>>,
    normalizer: (),
    pre_tokenizer: PreTokenizer,
    post_processor: (),
    decoder: PreTokenizer,
    model: Model<'a>,
}

#[derive(Serialize)]
#[expect(clippy::struct_excessive_bools, reason = "the file format has them")]
struct AddedToken<'a> {
    id: usize,
    content: &'a str,
    single_word: bool,
    lstrip: bool,
    rstrip: bool,
    normalized: bool,
    special: bool,
}

/// What cuts and spells text; the last one also reads the spelling back.
#[derive(Serialize)]
#[serde(tag = "type")]
enum PreTokenizer {
    Sequence { pretokenizers: Vec<Self> },
    Digits { individual_digits: bool },
    Split { pattern: Pattern, behavior: &'static str, invert: bool },
    ByteLevel { add_prefix_space: bool, trim_offsets: bool, use_regex: bool },
}

#[derive(Serialize)]
enum Pattern {
    Regex(&'static str),
}

#[derive(Serialize)]
struct Model<'a> {
    r#type: &'static str,
    dropout: (),
    unk_token: (),
    continuing_subword_prefix: (),
    end_of_word_suffix: (),
    fuse_unk: bool,
    byte_fallback: bool,
    ignore_merges: bool,
    vocab: Vocabulary<'a>,
    merges: Vec<(&'a str, &'a str)>,
}

/// The numbers of all tokens, in order.
struct Vocabulary<'a>(&'a [String]);

impl Serialize for Vocabulary<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.0.iter().zip(0u32..))
    }
}

/// Writes the file.
pub(super) fn write(trained: &Trained) -> String {
    let added = |(id, content)| AddedToken {
        id,
        content,
        single_word: false,
        lstrip: false,
        rstrip: false,
        normalized: false,
        special: true,
    };
    let special = trained.tokens[..trained.special].iter().map(String::as_str);
    let file = File {
        version: "1.0",
        truncation: (),
        padding: (),
        added_tokens: special.enumerate().map(added).collect(),
        normalizer: (),
        pre_tokenizer: pre_tokenizer(trained.split),
        post_processor: (),
        // What a decoder's space says is read by nobody; this is what files have there.
        decoder: PreTokenizer::ByteLevel {
            add_prefix_space: true,
            trim_offsets: true,
            use_regex: true,
        },
        model: Model {
            r#type: "BPE",
            dropout: (),
            unk_token: (),
            continuing_subword_prefix: (),
            end_of_word_suffix: (),
            fuse_unk: false,
            byte_fallback: false,
            ignore_merges: false,
            vocab: Vocabulary(&trained.tokens),
            merges: trained.merges().collect(),
        },
    };
    serde_json::to_string_pretty(&file).expect("texts and numbers can be written")
}

/// The steps of a split rule; reading them back gives the rule.
fn pre_tokenizer(split: SplitRule) -> PreTokenizer {
    let first = match (split, expression(split)) {
        (SplitRule::SmolLm, _) => PreTokenizer::Digits { individual_digits: true },
        (SplitRule::Gpt2, _) | (_, None) => return byte_level(true),
        (_, Some(expression)) => PreTokenizer::Split {
            pattern: Pattern::Regex(expression),
            behavior: "Isolated",
            invert: false,
        },
    };
    let last = byte_level(split == SplitRule::SmolLm);
    PreTokenizer::Sequence { pretokenizers: vec![first, last] }
}

fn byte_level(use_regex: bool) -> PreTokenizer {
    PreTokenizer::ByteLevel { add_prefix_space: false, trim_offsets: true, use_regex }
}
