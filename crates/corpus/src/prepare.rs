//! What becomes of one document by itself: clean, judged, chosen, in tokens.

use tokenizer::{ChatFormat, Tokenizer};

use crate::clean::{self, CleanOptions};
use crate::deduplicate::{Deduplicator, Unseen};
use crate::demonstration::{self, Encoded};
use crate::language;
use crate::sources::RowKind;
use crate::threads;
use crate::{
    BuildOptions, Content, Document, DropReason, Error, Fingerprint, Place, Split, Weight,
};

/// Documents that are prepared together.
const PORTION_DOCUMENTS: usize = 1_024;
/// Bytes of text after which no further document joins them.
const PORTION_BYTES: usize = 4 << 20;

/// Documents that wait to be prepared together: as many on any number of threads, so that nothing
/// depends on it. Memory: at most 4 MiB of text and one document.
#[derive(Debug, Default)]
pub(crate) struct Portion {
    documents: Vec<Document>,
    bytes: usize,
}

/// What all documents are prepared with.
#[derive(Debug)]
pub(crate) struct Preparer<'a> {
    options: &'a BuildOptions,
    tokenizer: &'a Tokenizer,
    /// How conversations are written, where a source has them.
    format: Option<ChatFormat>,
    end_of_text: Option<u32>,
}

/// A document that is wanted, unless one before it in its portion says the same.
#[derive(Debug)]
pub(crate) struct Prepared {
    pub(crate) place: Place,
    pub(crate) split: Split,
    pub(crate) copies: u32,
    pub(crate) text_bytes: u64,
    pub(crate) unseen: Unseen,
    /// Its tokens; none where its chat format cannot write it, or there are none.
    pub(crate) encoded: Option<Encoded>,
}

impl Portion {
    pub(crate) fn push(&mut self, document: Document) {
        self.bytes += document.content.bytes();
        self.documents.push(document);
    }

    pub(crate) fn is_full(&self) -> bool {
        self.documents.len() >= PORTION_DOCUMENTS || self.bytes >= PORTION_BYTES
    }

    fn take(&mut self) -> Vec<Document> {
        self.bytes = 0;
        std::mem::take(&mut self.documents)
    }
}

impl<'a> Preparer<'a> {
    pub(crate) fn new(options: &'a BuildOptions, tokenizer: &'a Tokenizer) -> Result<Self, Error> {
        let has_conversations =
            options.sources.iter().any(|source| source.kind == RowKind::Conversation);
        let format = match has_conversations {
            true => Some(ChatFormat::detect(tokenizer)?.format),
            false => None,
        };
        Ok(Self { options, tokenizer, format, end_of_text: end_of_text(tokenizer) })
    }

    /// The token at the end of each text.
    pub(crate) fn end_of_text(&self) -> Option<u32> {
        self.end_of_text
    }

    /// Empties a portion and prepares its documents, on as many threads as the options say.
    pub(crate) fn prepare_all(
        &self,
        portion: &mut Portion,
        weight: Weight,
        before: &Deduplicator,
    ) -> Vec<Result<Prepared, DropReason>> {
        let prepare = |document| self.prepare(document, weight, before);
        threads::map(self.options.threads, portion.take(), prepare)
    }

    /// The way of one document: clean, asked for, chosen, not like those of the portions before, in
    /// tokens.
    fn prepare(
        &self,
        document: Document,
        weight: Weight,
        before: &Deduplicator,
    ) -> Result<Prepared, DropReason> {
        let Document { mut content, place } = document;
        clean_content(&mut content);
        let text = content.text();
        self.judge(&content, &text)?;
        let fingerprint = Fingerprint::of(&text);
        let split = Split::of(&fingerprint, self.options.validation_ppm);
        let copies = match split {
            Split::Train => weight.copies(&fingerprint),
            Split::Validation => weight.copies(&fingerprint).min(1),
        };
        if copies == 0 {
            return Err(DropReason::Weight);
        }
        let unseen = before.look_up(&fingerprint, &text)?;
        let encoded = self.encode(&content, &text);
        Ok(Prepared { place, split, copies, text_bytes: text.len() as u64, unseen, encoded })
    }

    /// Refuses a clean document that is not wanted.
    fn judge(&self, content: &Content, text: &str) -> Result<(), DropReason> {
        let fault = match content {
            Content::Text(text) => clean::judge(text, &self.options.clean),
            Content::Conversation(conversation) => (!demonstration::has_answer(conversation))
                .then_some(DropReason::NoAnswer)
                .or_else(|| clean::judge(text, &CleanOptions { characters_min: 0 })),
        };
        let languages = &self.options.languages;
        let is_foreign = || !languages.is_empty() && !languages.contains(&language::guess(text));
        fault.or_else(|| is_foreign().then_some(DropReason::Language)).map_or(Ok(()), Err)
    }

    fn encode(&self, content: &Content, text: &str) -> Option<Encoded> {
        let encoded = match (content, &self.format) {
            (Content::Conversation(conversation), Some(format)) => {
                demonstration::encode(conversation, self.tokenizer, format).ok()?
            }
            _ => {
                let mut tokens: Vec<u32> = self.tokenizer.beginning_of_text().into_iter().collect();
                tokens.extend(self.tokenizer.encode(text));
                tokens.extend(self.end_of_text);
                Encoded { tokens, silent: Vec::new() }
            }
        };
        (!encoded.tokens.is_empty()).then_some(encoded)
    }
}

fn clean_content(content: &mut Content) {
    match content {
        Content::Text(text) => *text = clean::clean(text),
        Content::Conversation(conversation) => {
            for message in &mut conversation.messages {
                message.content = clean::clean(&message.content);
            }
        }
    }
}

/// The token that ends a text that is not a conversation: the model's own, or else the one that ends
/// a turn.
fn end_of_text(tokenizer: &Tokenizer) -> Option<u32> {
    ["<|endoftext|>", "<|end_of_text|>"]
        .into_iter()
        .find_map(|name| tokenizer.special(name))
        .or_else(|| tokenizer.end_of_turn().first().copied())
}
