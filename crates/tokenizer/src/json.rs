//! The tokenizer in Hugging Face's `tokenizer.json`.
//!
//! Source: the serialized form of the crate `tokenizers`; what is not read here is refused by name.

use std::fmt;

use serde::Deserialize;
use serde::de::{self, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::Value;

use crate::Error;
use crate::split::SplitRule;
use crate::tokenizer::Extras;
use crate::vocabulary::{
    Builder, Kind, MERGES_MAX, MatchOn, Normalization, Rules, Strip, TOKENS_MAX, Vocabulary,
    check_limit,
};

/// The most bytes in a `tokenizer.json`; the largest known has 33 MB.
pub(crate) const JSON_BYTES_MAX: usize = 64 << 20;

/// The split expressions that are known to the letter.
const EXPRESSIONS: &[(&str, SplitRule)] = &[
    (
        r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+",
        SplitRule::Gpt2,
    ),
    (
        r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+",
        SplitRule::Llama3,
    ),
    (
        r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+",
        SplitRule::Qwen2,
    ),
    (
        r"'(?i:[sdmt]|ll|ve|re)|[^\r\n\p{L}\p{N}]?+\p{L}++|\p{N}{1,3}+| ?[^\s\p{L}\p{N}]++[\r\n]*+|\s++$|\s*[\r\n]|\s+(?!\S)|\s",
        SplitRule::Cl100k,
    ),
];

/// The pre-tokenizers that are known, for the person who brings another.
const PRE_TOKENIZERS_KNOWN: &str = "ByteLevel (GPT-2), Digits + ByteLevel (SmolLM), \
     Split + ByteLevel with the expression of cl100k, Llama 3 or Qwen 2";

/// The first look: which kind of model it is, before its vocabulary is believed to have a form.
#[derive(Deserialize)]
struct Outline {
    model: ModelOutline,
}

#[derive(Deserialize)]
struct ModelOutline {
    r#type: Option<String>,
    merges: Option<IgnoredAny>,
}

/// The file.
#[derive(Deserialize)]
struct File {
    #[serde(default)]
    added_tokens: Vec<AddedToken>,
    #[serde(default)]
    normalizer: Value,
    #[serde(default)]
    pre_tokenizer: Value,
    #[serde(default)]
    post_processor: Value,
    model: Model,
}

#[derive(Deserialize)]
#[expect(clippy::struct_excessive_bools, reason = "the file format has them")]
struct AddedToken {
    id: u32,
    content: String,
    #[serde(default)]
    single_word: bool,
    #[serde(default)]
    lstrip: bool,
    #[serde(default)]
    rstrip: bool,
    #[serde(default)]
    normalized: bool,
    #[serde(default)]
    special: bool,
}

#[derive(Deserialize)]
struct Model {
    vocab: VocabularyJson,
    merges: MergesJson,
    unk_token: Option<String>,
    continuing_subword_prefix: Option<String>,
    end_of_word_suffix: Option<String>,
    #[serde(default)]
    byte_fallback: bool,
    #[serde(default)]
    ignore_merges: bool,
}

/// `{"text": number}`, with all texts in one string.
#[derive(Default)]
struct VocabularyJson {
    texts: Texts,
    numbers: Vec<u32>,
}

/// `["left right"]` or `[["left", "right"]]`.
#[derive(Default)]
struct MergesJson {
    /// Left and right sides in turn.
    sides: Texts,
}

/// Many short texts in one allocation.
#[derive(Default)]
struct Texts {
    joined: String,
    ends: Vec<usize>,
}

impl Texts {
    fn push(&mut self, text: &str) {
        self.joined.push_str(text);
        self.ends.push(self.joined.len());
    }

    fn iter(&self) -> impl Iterator<Item = &str> {
        let starts = std::iter::once(0).chain(self.ends.iter().copied());
        starts.zip(&self.ends).map(|(start, &end)| &self.joined[start..end])
    }
}

/// The expression by which files name a split rule.
pub(crate) fn expression(rule: SplitRule) -> Option<&'static str> {
    EXPRESSIONS.iter().find(|(_, known)| *known == rule).map(|&(expression, _)| expression)
}

/// Reads the file.
pub(crate) fn read(bytes: &[u8]) -> Result<(Vocabulary, Extras), Error> {
    check_limit("the length of tokenizer.json in bytes", bytes.len(), JSON_BYTES_MAX)?;
    let json = |source| Error::json("tokenizer.json", &source);
    let outline: Outline = serde_json::from_slice(bytes).map_err(json)?;
    match outline.model.r#type.as_deref() {
        Some("BPE") => {}
        // Files from before 2020 do not name the type.
        None if outline.model.merges.is_some() => {}
        other => {
            return Err(Error::unsupported("tokenizer model", other.unwrap_or("unnamed"), "BPE"));
        }
    }
    let file: File = serde_json::from_slice(bytes).map_err(json)?;
    check_model(&file.model)?;
    let rules = Rules {
        split: split_rule(&file.pre_tokenizer)?,
        normalization: normalization(&file.normalizer)?,
        ignore_merges: file.model.ignore_merges,
    };
    let beginning = beginning(&file.post_processor, &file.added_tokens);
    let vocabulary = builder(file)?.finish(rules)?;
    let extras = Extras {
        beginning_of_text: beginning,
        beginning_in_templates: beginning,
        ..Extras::default()
    };
    Ok((vocabulary, extras))
}

/// Refuses what byte-level BPE does not have.
fn check_model(model: &Model) -> Result<(), Error> {
    if model.byte_fallback {
        return Err(Error::unsupported("byte_fallback", "true", "false (byte-level BPE)"));
    }
    for (what, text) in [
        ("continuing_subword_prefix", &model.continuing_subword_prefix),
        ("end_of_word_suffix", &model.end_of_word_suffix),
    ] {
        if let Some(text) = text.as_deref().filter(|text| !text.is_empty()) {
            return Err(Error::unsupported(what, text, "none"));
        }
    }
    let byte = |text: &str| text.chars().count() == 1;
    if let Some(unknown) = &model.unk_token
        && model.vocab.texts.iter().filter(|text| byte(text)).count() < 200
    {
        return Err(Error::unsupported("unk_token of a vocabulary without bytes", unknown, "none"));
    }
    Ok(())
}

/// The tokens and merges.
fn builder(file: File) -> Result<Builder, Error> {
    let Model { vocab, merges, .. } = file.model;
    check_limit("the number of tokens", vocab.numbers.len(), TOKENS_MAX)?;
    check_limit("the number of added tokens", file.added_tokens.len(), TOKENS_MAX)?;
    check_limit("the number of merges", merges.sides.ends.len() / 2, MERGES_MAX)?;
    let mut builder = Builder::new();
    for (text, &token) in vocab.texts.iter().zip(&vocab.numbers) {
        builder.set(token, text, Kind::Text)?;
    }
    let mut left = None;
    for side in merges.sides.iter() {
        match left.take() {
            None => left = Some(side),
            Some(left) => builder.push_merge(left, side)?,
        }
    }
    for token in file.added_tokens {
        let AddedToken { id, content, lstrip, rstrip, single_word, normalized, special } = token;
        if special {
            let strip = Strip { left: lstrip, right: rstrip };
            builder.set_special(id, &content, strip)?;
            continue;
        }
        if lstrip || rstrip || single_word {
            return Err(Error::unsupported(
                "an added token that is not special, with lstrip, rstrip or single_word:",
                &content,
                "added tokens without these",
            ));
        }
        let on = if normalized { MatchOn::Normalized } else { MatchOn::Raw };
        builder.set_added(id, &content, on)?;
    }
    Ok(builder)
}

/// The split rule of a `pre_tokenizer`.
fn split_rule(pre_tokenizer: &Value) -> Result<SplitRule, Error> {
    let steps = match pre_tokenizer["type"].as_str() {
        Some("Sequence") => {
            pre_tokenizer["pretokenizers"].as_array().map_or(&[][..], Vec::as_slice)
        }
        _ => std::slice::from_ref(pre_tokenizer),
    };
    let is = |step: &Value, name: &str| step["type"].as_str() == Some(name);
    // Absent flags have the defaults of the crate `tokenizers`.
    let byte_level = |step: &Value, regex: bool| {
        is(step, "ByteLevel")
            && step["add_prefix_space"].as_bool() == Some(false)
            && step["use_regex"].as_bool().unwrap_or(true) == regex
    };
    let rule = match steps {
        [bytes] if byte_level(bytes, true) => Some(SplitRule::Gpt2),
        [digits, bytes]
            if is(digits, "Digits")
                && digits["individual_digits"].as_bool() == Some(true)
                && byte_level(bytes, true) =>
        {
            Some(SplitRule::SmolLm)
        }
        [split, bytes]
            if is(split, "Split")
                && split["behavior"].as_str() == Some("Isolated")
                && split["invert"].as_bool() != Some(true)
                && byte_level(bytes, false) =>
        {
            let expression = split["pattern"]["Regex"].as_str();
            EXPRESSIONS.iter().find(|(known, _)| Some(*known) == expression).map(|&(_, rule)| rule)
        }
        _ => None,
    };
    rule.ok_or_else(|| {
        Error::unsupported("pre_tokenizer", &pre_tokenizer.to_string(), PRE_TOKENIZERS_KNOWN)
    })
}

/// The normalization of a `normalizer`.
fn normalization(normalizer: &Value) -> Result<Normalization, Error> {
    match (normalizer, normalizer["type"].as_str()) {
        (Value::Null, _) => Ok(Normalization::None),
        (_, Some("NFC")) => Ok(Normalization::Nfc),
        (_, Some("Sequence"))
            if normalizer["normalizers"].as_array().is_some_and(Vec::is_empty) =>
        {
            Ok(Normalization::None)
        }
        _ => Err(Error::unsupported("normalizer", &normalizer.to_string(), "NFC, none")),
    }
}

/// The special token that a `post_processor` puts before a text.
fn beginning(post_processor: &Value, added: &[AddedToken]) -> Option<u32> {
    let steps = match post_processor["type"].as_str() {
        Some("Sequence") => post_processor["processors"].as_array().map(Vec::as_slice)?,
        _ => std::slice::from_ref(post_processor),
    };
    let name = steps.iter().find_map(|step| step["single"][0]["SpecialToken"]["id"].as_str())?;
    added.iter().find(|token| token.special && token.content == name).map(|token| token.id)
}

impl<'de> Deserialize<'de> for VocabularyJson {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visit;
        impl<'de> Visitor<'de> for Visit {
            type Value = VocabularyJson;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object of tokens and their numbers")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut vocabulary = VocabularyJson::default();
                while map.next_key_seed(PushText(&mut vocabulary.texts))?.is_some() {
                    vocabulary.numbers.push(map.next_value()?);
                }
                Ok(vocabulary)
            }
        }
        deserializer.deserialize_map(Visit)
    }
}

impl<'de> Deserialize<'de> for MergesJson {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visit;
        impl<'de> Visitor<'de> for Visit {
            type Value = MergesJson;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a list of merges")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Self::Value, A::Error> {
                let mut merges = MergesJson::default();
                while list.next_element_seed(PushMerge(&mut merges.sides))?.is_some() {}
                Ok(merges)
            }
        }
        deserializer.deserialize_seq(Visit)
    }
}

/// Reads a string to the end of some texts.
struct PushText<'texts>(&'texts mut Texts);

/// Reads a merge, in either form, to the end of some texts.
struct PushMerge<'texts>(&'texts mut Texts);

impl<'de> de::DeserializeSeed<'de> for PushText<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl Visitor<'_> for PushText<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a token")
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<(), E> {
        self.0.push(text);
        Ok(())
    }
}

impl<'de> de::DeserializeSeed<'de> for PushMerge<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for PushMerge<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("two tokens, in a list or with a space between")
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<(), E> {
        let (left, right) = text
            .split_once(' ')
            .ok_or_else(|| E::invalid_value(de::Unexpected::Str(text), &self))?;
        self.0.push(left);
        self.0.push(right);
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut pair: A) -> Result<(), A::Error> {
        for index in 0..2 {
            if pair.next_element_seed(PushText(self.0))?.is_none() {
                return Err(de::Error::invalid_length(index, &"two tokens"));
            }
        }
        if pair.next_element::<IgnoredAny>()?.is_some() {
            return Err(de::Error::invalid_length(3, &"two tokens"));
        }
        Ok(())
    }
}
