//! Text to tokens and back.

use std::sync::Arc;

use crate::added::Part;
use crate::recent::RecentWords;
use crate::vocabulary::{Kind, Strip, Vocabulary};
use crate::{Error, SplitRule, gguf, json};

/// Special tokens that end a completion in the model families that are supported.
const ENDS: &[&str] =
    &["<|im_end|>", "<|endoftext|>", "<|eot_id|>", "<|eom_id|>", "<|end_of_text|>"];

/// A byte-level BPE tokenizer. Cloning is cheap.
#[derive(Clone, Debug)]
pub struct Tokenizer {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    vocabulary: Vocabulary,
    extras: Extras,
}

/// What a model says about its tokens beside the vocabulary.
#[derive(Debug, Default)]
pub(crate) struct Extras {
    /// The token to put before every text, where the model wants one.
    pub(crate) beginning_of_text: Option<u32>,
    /// The token that chat templates call `bos_token`, wanted or not.
    pub(crate) beginning_in_templates: Option<u32>,
    /// The token that chat templates call `eos_token`.
    pub(crate) end_in_templates: Option<u32>,
    /// Tokens that end a completion.
    pub(crate) end_of_turn: Vec<u32>,
    /// How conversations are written, in Jinja.
    pub(crate) chat_template: Option<String>,
}

impl Tokenizer {
    /// Reads a Hugging Face `tokenizer.json`.
    ///
    /// The file says nothing of chat templates: [`from_folder`](Self::from_folder) reads these too.
    ///
    /// # Errors
    ///
    /// Fails where the file is damaged, and names the kinds of tokenizer that are known where this
    /// is another.
    pub fn from_json(bytes: &[u8]) -> Result<Self, Error> {
        let (vocabulary, extras) = json::read(bytes)?;
        Ok(Self::new(vocabulary, extras))
    }

    /// Reads the tokenizer in the metadata of a GGUF file.
    ///
    /// # Errors
    ///
    /// Fails where a key is missing or damaged, and names the kinds of tokenizer that are known
    /// where this is another.
    pub fn from_gguf(metadata: &artifacts::gguf::Metadata) -> Result<Self, Error> {
        let (vocabulary, extras) = gguf::read(metadata)?;
        Ok(Self::new(vocabulary, extras))
    }

    /// Puts the parts together.
    pub(crate) fn new(vocabulary: Vocabulary, mut extras: Extras) -> Self {
        extras.end_of_turn.extend(ENDS.iter().filter_map(|name| vocabulary.special(name)));
        extras.end_of_turn.retain(|&token| vocabulary.kind(token) == Kind::Special);
        extras.end_of_turn.sort_unstable();
        extras.end_of_turn.dedup();
        Self { inner: Arc::new(Inner { vocabulary, extras }) }
    }

    /// The tokens of a text from people, files or the net: never a special token among them.
    ///
    /// Characters that the vocabulary has no bytes for vanish, as in Hugging Face's tokenizers.
    #[must_use]
    pub fn encode(&self, text: &str) -> Vec<u32> {
        let mut tokens = Vec::with_capacity(text.len() / 3);
        self.encode_into(text, &mut tokens);
        tokens
    }

    /// Appends the tokens of a text, as [`encode`](Self::encode).
    pub(crate) fn encode_into(&self, text: &str, tokens: &mut Vec<u32>) {
        let vocabulary = &self.inner.vocabulary;
        vocabulary.raw_matcher.split(text, |part| match part {
            Part::Token(token) => tokens.push(token),
            Part::Text(text) => {
                let text = vocabulary.normalization.apply(text);
                vocabulary.normalized_matcher.split(&text, |part| match part {
                    Part::Token(token) => tokens.push(token),
                    Part::Text(text) => self.encode_plain(text, tokens),
                });
            }
        });
    }

    /// Appends the tokens of normalized text without added tokens.
    fn encode_plain(&self, text: &str, tokens: &mut Vec<u32>) {
        let vocabulary = &self.inner.vocabulary;
        let mut recent = RecentWords::new(text.len());
        for word in vocabulary.split.words(text) {
            recent.append(word, tokens, |tokens| match vocabulary.whole_word(word.as_bytes()) {
                Some(token) => tokens.push(token),
                None => vocabulary.merges.encode_word(word.as_bytes(), tokens),
            });
        }
    }

    /// The text of tokens; special ones are skipped, bytes that are not UTF-8 become U+FFFD.
    #[must_use]
    pub fn decode(&self, tokens: &[u32]) -> String {
        let bytes: Vec<u8> =
            tokens.iter().flat_map(|&token| self.token_bytes(token)).copied().collect();
        String::from_utf8(bytes)
            .unwrap_or_else(|error| String::from_utf8_lossy(error.as_bytes()).into_owned())
    }

    /// The bytes that a token adds to a text; empty for special tokens and unknown numbers.
    ///
    /// A character may be spread over several tokens: join bytes, not texts.
    #[must_use]
    pub fn token_bytes(&self, token: u32) -> &[u8] {
        self.inner.vocabulary.text_bytes(token)
    }

    /// A token for the eye: special tokens by name, broken characters as U+FFFD.
    #[must_use]
    pub fn token_text(&self, token: u32) -> String {
        String::from_utf8_lossy(self.inner.vocabulary.stored(token)).into_owned()
    }

    /// The number of a special token by its name, such as `<|im_end|>`.
    #[must_use]
    pub fn special(&self, name: &str) -> Option<u32> {
        self.inner.vocabulary.special(name)
    }

    /// Whether a token is special: never made from text, and without text of its own.
    #[must_use]
    pub fn is_special(&self, token: u32) -> bool {
        self.inner.vocabulary.kind(token) == Kind::Special
    }

    /// How many token numbers there are, unused ones included.
    #[must_use]
    pub fn vocabulary_len(&self) -> usize {
        self.inner.vocabulary.len()
    }

    /// How text is cut into words.
    #[must_use]
    pub fn split_rule(&self) -> SplitRule {
        self.inner.vocabulary.split
    }

    /// The token to put before a text that is not a conversation, where the model wants one.
    #[must_use]
    pub fn beginning_of_text(&self) -> Option<u32> {
        self.inner.extras.beginning_of_text
    }

    /// All tokens that end a completion, in ascending order.
    #[must_use]
    pub fn end_of_turn(&self) -> &[u32] {
        &self.inner.extras.end_of_turn
    }

    /// The chat template that came with the model, in Jinja.
    #[must_use]
    pub fn chat_template(&self) -> Option<&str> {
        self.inner.extras.chat_template.as_deref()
    }

    /// The vocabulary, for those who write it.
    pub(crate) fn vocabulary(&self) -> &Vocabulary {
        &self.inner.vocabulary
    }

    /// The token that chat templates call `bos_token`, whether or not a text begins with it.
    #[must_use]
    pub fn beginning_in_templates(&self) -> Option<u32> {
        self.inner.extras.beginning_in_templates
    }

    /// The token that chat templates call `eos_token`.
    #[must_use]
    pub fn end_in_templates(&self) -> Option<u32> {
        self.inner.extras.end_in_templates
    }

    /// Cuts the text that a chat template wrote at the names of special tokens.
    pub(crate) fn split_at_special<'text>(&self, text: &'text str, each: impl FnMut(Part<'text>)) {
        self.inner.vocabulary.special_matcher.split(text, each);
    }

    /// The added token that `text` begins with: one that any text can hold.
    pub(crate) fn leading_added(&self, text: &str) -> Option<u32> {
        let vocabulary = &self.inner.vocabulary;
        [&vocabulary.raw_matcher, &vocabulary.normalized_matcher]
            .into_iter()
            .find_map(|matcher| matcher.at_start(text))
    }

    /// The white space that a special token takes from the text around it.
    pub(crate) fn strip(&self, token: u32) -> Strip {
        self.inner.vocabulary.strip(token)
    }
}
