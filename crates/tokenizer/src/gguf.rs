//! The tokenizer in the metadata of a GGUF file.
//!
//! Source: the GGUF specification, section "Tokenizer", and the names that converters write into
//! `tokenizer.ggml.pre`.

use artifacts::gguf::Metadata;

use crate::Error;
use crate::split::SplitRule;
use crate::tokenizer::Extras;
use crate::vocabulary::{
    Builder, Kind, MERGES_MAX, MatchOn, Normalization, Rules, Strip, TOKENS_MAX, Vocabulary,
    check_limit,
};

/// The rules by the names that `tokenizer.ggml.pre` may have.
pub(crate) const RULES: &[(&str, SplitRule, Normalization)] = &[
    ("gpt-2", SplitRule::Gpt2, Normalization::None),
    ("smollm", SplitRule::SmolLm, Normalization::None),
    ("starcoder", SplitRule::SmolLm, Normalization::None),
    ("llama-bpe", SplitRule::Llama3, Normalization::None),
    ("llama3", SplitRule::Llama3, Normalization::None),
    ("llama-v3", SplitRule::Llama3, Normalization::None),
    ("qwen2", SplitRule::Qwen2, Normalization::Nfc),
    ("deepseek-r1-qwen", SplitRule::Qwen2, Normalization::None),
];

/// [`RULES`] in words.
pub(crate) const RULES_KNOWN: &str =
    "gpt-2, smollm, starcoder, llama-bpe, llama3, llama-v3, qwen2, deepseek-r1-qwen";

/// The values of `tokenizer.ggml.token_type`.
pub(crate) const NORMAL: i64 = 1;
const UNKNOWN: i64 = 2;
pub(crate) const CONTROL: i64 = 3;
pub(crate) const USER_DEFINED: i64 = 4;
pub(crate) const UNUSED: i64 = 5;

/// Reads the vocabulary and what belongs to it.
pub(crate) fn read(metadata: &Metadata) -> Result<(Vocabulary, Extras), Error> {
    let model = metadata
        .str("tokenizer.ggml.model")?
        .ok_or(Error::Missing { what: "tokenizer.ggml.model" })?;
    if model != "gpt2" {
        return Err(Error::unsupported("tokenizer.ggml.model", model, "gpt2 (byte-level BPE)"));
    }
    if metadata.bool("tokenizer.ggml.add_space_prefix")? == Some(true) {
        return Err(Error::unsupported("tokenizer.ggml.add_space_prefix", "true", "false"));
    }
    let pre =
        metadata.str("tokenizer.ggml.pre")?.ok_or(Error::Missing { what: "tokenizer.ggml.pre" })?;
    let &(_, split, normalization) = RULES
        .iter()
        .find(|(name, ..)| *name == pre)
        .ok_or_else(|| Error::unsupported("tokenizer.ggml.pre", pre, RULES_KNOWN))?;
    // Llama 3 looks a whole word up before it merges; the format has no field for that.
    let rules = Rules { split, normalization, ignore_merges: split == SplitRule::Llama3 };
    let vocabulary = vocabulary(metadata)?.finish(rules)?;
    Ok((vocabulary, extras(metadata, split)?))
}

/// The tokens and merges.
fn vocabulary(metadata: &Metadata) -> Result<Builder, Error> {
    let tokens = metadata
        .strings("tokenizer.ggml.tokens")?
        .ok_or(Error::Missing { what: "tokenizer.ggml.tokens" })?;
    let merges = metadata
        .strings("tokenizer.ggml.merges")?
        .ok_or(Error::Missing { what: "tokenizer.ggml.merges" })?;
    let types = metadata
        .i64s("tokenizer.ggml.token_type")?
        .ok_or(Error::Missing { what: "tokenizer.ggml.token_type" })?;
    check_limit("the number of tokens", tokens.len(), TOKENS_MAX)?;
    check_limit("the number of merges", merges.len(), MERGES_MAX)?;
    if types.len() != tokens.len() {
        let (tokens, types) = (tokens.len(), types.len());
        return Err(Error::invalid(&format!("{tokens} tokens have {types} token types")));
    }
    let ends = ends(metadata)?;
    let mut builder = Builder::new();
    for ((token, text), kind) in (0u32..).zip(tokens).zip(types) {
        match kind {
            // Some converters forget to mark the tokens that end a turn. Nobody may write those by
            // hand; of a single byte or of merges they would be ordinary text.
            UNUSED => builder.set(token, text, Kind::Unused)?,
            _ if ends.contains(&token) && text.chars().count() < 2 => {
                return Err(Error::open_end(text));
            }
            _ if ends.contains(&token) => builder.set_special(token, text, Strip::default())?,
            UNKNOWN | CONTROL => builder.set_special(token, text, Strip::default())?,
            USER_DEFINED => builder.set_added(token, text, MatchOn::Raw)?,
            _ => builder.set(token, text, Kind::Text)?,
        }
    }
    for merge in merges {
        let (left, right) = merge.split_once(' ').ok_or_else(|| {
            Error::invalid(&format!("merge {merge:?} is not two tokens with a space between"))
        })?;
        builder.push_merge(left, right)?;
    }
    Ok(builder)
}

/// The special roles of tokens, and the chat template.
fn extras(metadata: &Metadata, split: SplitRule) -> Result<Extras, Error> {
    // Llama 3 files are older than the flag and want the token.
    let prepend =
        metadata.bool("tokenizer.ggml.add_bos_token")?.unwrap_or(split == SplitRule::Llama3);
    let beginning = token(metadata, "bos")?;
    Ok(Extras {
        beginning_of_text: beginning.filter(|_| prepend),
        beginning_in_templates: beginning,
        end_in_templates: token(metadata, "eos")?,
        end_of_turn: ends(metadata)?,
        chat_template: metadata.str("tokenizer.chat_template")?.map(str::to_owned),
    })
}

/// The tokens that end a turn.
fn ends(metadata: &Metadata) -> Result<Vec<u32>, Error> {
    let mut ends = Vec::new();
    for role in ["eos", "eot", "eom"] {
        ends.extend(token(metadata, role)?);
    }
    Ok(ends)
}

/// The token with a role; numbers that no token can have are none.
fn token(metadata: &Metadata, role: &str) -> Result<Option<u32>, Error> {
    let token = metadata.u64(&format!("tokenizer.ggml.{role}_token_id"))?;
    Ok(token.and_then(|token| u32::try_from(token).ok()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_known_rules_are_all_listed() {
        let names: Vec<&str> = RULES.iter().map(|&(name, ..)| name).collect();
        assert_eq!(names.join(", "), RULES_KNOWN);
    }
}
