//! A tokenizer written for other programs: the metadata of a GGUF file, or Hugging Face's files.

use std::collections::HashMap;

use artifacts::gguf::{Array, Metadata, Value};
use serde_json::json;

use crate::gguf::{CONTROL, NORMAL, RULES, UNUSED, USER_DEFINED};
use crate::json_file::{self, Added, Parts};
use crate::split::SplitRule;
use crate::vocabulary::{Kind, Normalization, Vocabulary};
use crate::{Error, Tokenizer};

impl Tokenizer {
    /// Adds what a GGUF file says of its tokenizer, for an embedding table of `rows` rows: llama.cpp
    /// wants a token for each.
    ///
    /// Lost are the flags of added and special tokens, for which the format has no place: white
    /// space that a token takes with it, and whether one is looked for after normalization.
    ///
    /// # Errors
    ///
    /// [`Error::Unwritable`] for a rule of splitting, normalizing or looking up words that no name of
    /// `tokenizer.ggml.pre` stands for, or for more tokens than rows; [`Error::Artifact`] for a key
    /// that is there already.
    pub fn write_gguf(&self, rows: usize, metadata: &mut Metadata) -> Result<(), Error> {
        let vocabulary = self.vocabulary();
        let pre = pre_tokenizer(vocabulary)?;
        if vocabulary.len() > rows {
            let (tokens, what) = (vocabulary.len(), "the tokenizer");
            let feature = format!("{tokens} tokens for an embedding table of {rows} rows");
            return Err(Error::Unwritable { what, feature });
        }
        let numbers = || (0u32..).take(rows);
        let merges = vocabulary.merges.in_order();
        let spelled = |token| vocabulary.spelled(token);
        let merge = |&(left, right): &(u32, u32)| format!("{} {}", spelled(left), spelled(right));
        let text = |text: &str| Value::String(text.to_owned());
        let strings = |strings| Value::Array(Array::Strings(strings));
        let mut put = |key: &str, value| metadata.insert(format!("tokenizer.{key}"), value);
        put("ggml.model", text("gpt2"))?;
        put("ggml.pre", text(pre))?;
        put("ggml.tokens", strings(numbers().map(|token| name(vocabulary, token)).collect()))?;
        let types = numbers().map(|token| token_type(vocabulary.kind(token))).collect();
        put("ggml.token_type", Value::Array(Array::I32(types)))?;
        put("ggml.merges", strings(merges.iter().map(merge).collect()))?;
        for (role, token) in self.roles() {
            put(&format!("ggml.{role}_token_id"), Value::U32(token))?;
        }
        put("ggml.add_bos_token", Value::Bool(self.beginning_of_text().is_some()))?;
        put("ggml.add_space_prefix", Value::Bool(false))?;
        if let Some(template) = self.chat_template() {
            put("chat_template", text(template))?;
        }
        Ok(())
    }

    /// The `tokenizer.json` of it, as Hugging Face's `tokenizers` writes it.
    ///
    /// Of two tokens with the same text the one that text is made into is written.
    #[must_use]
    pub fn to_json(&self) -> String {
        let vocabulary = self.vocabulary();
        let numbers = 0..u32::try_from(vocabulary.len()).unwrap_or(u32::MAX);
        let used = numbers.filter(|&token| vocabulary.kind(token) != Kind::Unused);
        let spelled: HashMap<u32, String> =
            used.map(|token| (token, vocabulary.spelled(token))).collect();
        let by_text: HashMap<&str, u32> = {
            let mut tokens: Vec<u32> = spelled.keys().copied().collect();
            tokens.sort_unstable();
            tokens.into_iter().map(|token| (spelled[&token].as_str(), token)).collect()
        };
        let mut tokens: Vec<(&str, u32)> = by_text.into_iter().collect();
        tokens.sort_unstable_by_key(|&(_, token)| token);
        let whole = |kind| kind == Kind::Special || kind == Kind::Added;
        let added = tokens
            .iter()
            .filter(|(_, token)| whole(vocabulary.kind(*token)))
            .map(|&(text, token)| added(vocabulary, text, token))
            .collect();
        let merges = vocabulary.merges.in_order();
        let beginning = self.beginning_of_text();
        json_file::write(Parts {
            added,
            normalization: vocabulary.normalization,
            split: vocabulary.split,
            beginning: beginning.and_then(|token| Some((token, spelled.get(&token)?.as_str()))),
            ignore_merges: vocabulary.ignores_merges(),
            tokens,
            merges: merges
                .iter()
                .map(|(left, right)| (spelled[left].as_str(), spelled[right].as_str()))
                .collect(),
        })
    }

    /// The `tokenizer_config.json` of it, with the chat template, for a model of this context
    /// window.
    #[must_use]
    pub fn config_json(&self, context_tokens: usize) -> String {
        let mut json = json!({
            "tokenizer_class": "PreTrainedTokenizerFast",
            "clean_up_tokenization_spaces": false,
            "model_max_length": context_tokens,
            "add_bos_token": self.beginning_of_text().is_some(),
        });
        for (key, token) in [("bos_token", self.begin_token()), ("eos_token", self.end_token())] {
            if let Some(token) = token {
                json[key] = self.token_text(token).into();
            }
        }
        if let Some(template) = self.chat_template() {
            json["chat_template"] = template.into();
        }
        format!("{json:#}\n")
    }

    /// The special token that a text begins with, in templates at least.
    #[must_use]
    pub fn begin_token(&self) -> Option<u32> {
        let begin = self.beginning_of_text().or(self.beginning_in_templates());
        begin.filter(|&token| self.is_special(token))
    }

    /// The special token that ends what the model writes, the first among several.
    #[must_use]
    pub fn end_token(&self) -> Option<u32> {
        let end = self.end_in_templates().filter(|&token| self.is_special(token));
        end.or(self.end_of_turn().first().copied())
    }

    /// The special roles that GGUF names: the beginning, the end, and other ends of a turn.
    fn roles(&self) -> Vec<(&'static str, u32)> {
        let end = self.end_token();
        let others = self.end_of_turn().iter().filter(|token| Some(**token) != end);
        let begin = self.begin_token().map(|token| ("bos", token));
        begin
            .into_iter()
            .chain(end.map(|token| ("eos", token)))
            .chain(["eot", "eom"].into_iter().zip(others.copied()))
            .collect()
    }
}

/// The name of the rules in `tokenizer.ggml.pre`.
fn pre_tokenizer(vocabulary: &Vocabulary) -> Result<&'static str, Error> {
    let (split, normalization) = (vocabulary.split, vocabulary.normalization);
    let what = "a GGUF file";
    let found = RULES.iter().find(|(_, s, n)| (*s, *n) == (split, normalization));
    let Some(&(name, ..)) = found else {
        let normalized = if normalization == Normalization::None { "" } else { " after NFC" };
        let feature = format!("words cut by the rule {split:?}{normalized}");
        return Err(Error::Unwritable { what, feature });
    };
    // Readers look words up before they merge by the rule of Llama 3, and by no other.
    let looks_up = split == SplitRule::Llama3;
    if looks_up != vocabulary.ignores_merges() && !vocabulary.merges_make_all_words() {
        let feature = format!("a vocabulary of {name} with ignore_merges = {}", !looks_up);
        return Err(Error::Unwritable { what, feature });
    }
    Ok(name)
}

fn token_type(kind: Kind) -> i32 {
    let number = match kind {
        Kind::Text => NORMAL,
        Kind::Added => USER_DEFINED,
        Kind::Special => CONTROL,
        Kind::Unused => UNUSED,
    };
    i32::try_from(number).unwrap_or(0)
}

/// What a token is called; numbers without one are called as converters call them.
fn name(vocabulary: &Vocabulary, token: u32) -> String {
    match vocabulary.kind(token) {
        Kind::Unused => format!("[PAD{token}]"),
        Kind::Text | Kind::Added | Kind::Special => vocabulary.spelled(token),
    }
}

fn added<'a>(vocabulary: &Vocabulary, text: &'a str, token: u32) -> Added<'a> {
    let special = vocabulary.kind(token) == Kind::Special;
    let raw = || vocabulary.raw_matcher.at_start(text) == Some(token);
    let strip = vocabulary.strip(token);
    Added { token, text, special, strip, normalized: !special && !raw() }
}
