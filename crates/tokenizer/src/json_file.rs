//! A vocabulary as `tokenizer.json`: names, order and layout are those of the crate `tokenizers`.

use serde::Serialize;
use serde::ser::Serializer;
use serde_json::{Value, json};

use crate::SplitRule;
use crate::json::expression;
use crate::vocabulary::{Normalization, Strip};

/// What a file says.
pub(crate) struct Parts<'a> {
    pub(crate) added: Vec<Added<'a>>,
    pub(crate) normalization: Normalization,
    pub(crate) split: SplitRule,
    /// The special token that comes before every text.
    pub(crate) beginning: Option<(u32, &'a str)>,
    pub(crate) ignore_merges: bool,
    /// All tokens in the spelling of files, each with its number.
    pub(crate) tokens: Vec<(&'a str, u32)>,
    pub(crate) merges: Vec<(&'a str, &'a str)>,
}

/// A token that is matched as a whole.
pub(crate) struct Added<'a> {
    pub(crate) token: u32,
    pub(crate) text: &'a str,
    pub(crate) special: bool,
    pub(crate) strip: Strip,
    pub(crate) normalized: bool,
}

#[derive(Serialize)]
struct File<'a> {
    version: &'static str,
    truncation: (),
    padding: (),
    added_tokens: Vec<AddedToken<'a>>,
    normalizer: Value,
    pre_tokenizer: PreTokenizer,
    post_processor: Value,
    decoder: PreTokenizer,
    model: Model<'a>,
}

#[derive(Serialize)]
#[expect(clippy::struct_excessive_bools, reason = "the file format has them")]
struct AddedToken<'a> {
    id: u32,
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
struct Vocabulary<'a>(Vec<(&'a str, u32)>);

impl Serialize for Vocabulary<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.0.iter().copied())
    }
}

/// Writes the file.
pub(crate) fn write(parts: Parts<'_>) -> String {
    let Parts { added, normalization, split, beginning, ignore_merges, tokens, merges } = parts;
    let file = File {
        version: "1.0",
        truncation: (),
        padding: (),
        added_tokens: added.into_iter().map(AddedToken::from).collect(),
        normalizer: match normalization {
            Normalization::None => Value::Null,
            Normalization::Nfc => json!({ "type": "NFC" }),
        },
        pre_tokenizer: pre_tokenizer(split),
        post_processor: beginning.map_or(Value::Null, |(token, text)| before_text(token, text)),
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
            ignore_merges,
            vocab: Vocabulary(tokens),
            merges,
        },
    };
    serde_json::to_string_pretty(&file).expect("texts and numbers can be written")
}

impl<'a> From<Added<'a>> for AddedToken<'a> {
    fn from(added: Added<'a>) -> Self {
        Self {
            id: added.token,
            content: added.text,
            single_word: false,
            lstrip: added.strip.left,
            rstrip: added.strip.right,
            normalized: added.normalized,
            special: added.special,
        }
    }
}

/// The step that puts a token before a text, and before the second of a pair.
fn before_text(token: u32, text: &str) -> Value {
    let special = |place: u8| json!({ "SpecialToken": { "id": text, "type_id": place } });
    let sequence = |name: &str, place: u8| json!({ "Sequence": { "id": name, "type_id": place } });
    json!({
        "type": "TemplateProcessing",
        "single": [special(0), sequence("A", 0)],
        "pair": [special(0), sequence("A", 0), special(1), sequence("B", 1)],
        "special_tokens": { text: { "id": text, "ids": [token], "tokens": [text] } },
    })
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
