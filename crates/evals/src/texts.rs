//! The texts of a corpus, as what its tokens stand for; and of a file.

use std::path::Path;

use corpus::sources::BadRows;
use corpus::{Content, Corpus, Source, Split};
use tokenizer::Tokenizer;

use crate::Error;

/// The longest text of a file that is measured, in bytes: all of it is in memory.
pub const TEXTS_BYTES_MAX: u64 = 256 << 20;

/// A corpus with the tokenizer that it was built with.
#[derive(Clone, Copy, Debug)]
pub struct Texts<'a> {
    corpus: &'a Corpus,
    tokenizer: &'a Tokenizer,
}

impl<'a> Texts<'a> {
    /// The texts of a corpus.
    ///
    /// # Errors
    ///
    /// [`Error::Corpus`] for another tokenizer than its own, [`Error::Conversations`] where it holds
    /// something else than texts.
    pub fn new(corpus: &'a Corpus, tokenizer: &'a Tokenizer) -> Result<Self, Error> {
        corpus.check_tokenizer(tokenizer)?;
        let facts = corpus.facts();
        if facts.train.silent_tokens + facts.validation.silent_tokens > 0 {
            return Err(Error::Conversations);
        }
        Ok(Self { corpus, tokenizer })
    }

    /// The texts of a split, in the order of the corpus. Special tokens stand for nothing.
    ///
    /// # Errors
    ///
    /// [`Error::Corpus`] where the corpus cannot be read; so does each text.
    pub fn of(&self, split: Split) -> Result<impl Iterator<Item = Result<String, Error>>, Error> {
        let text = |tokens: Vec<u32>| self.tokenizer.decode(&tokens);
        Ok(self.corpus.documents(split)?.map(move |tokens| Ok(text(tokens?))))
    }

    /// How long all texts of a split are, in bytes.
    ///
    /// # Errors
    ///
    /// [`Error::Corpus`] where the corpus cannot be read.
    pub fn bytes(&self, split: Split) -> Result<u64, Error> {
        self.of(split)?.map(|text| Ok(text?.len() as u64)).sum()
    }

    pub(crate) fn corpus(&self) -> &Corpus {
        self.corpus
    }

    pub(crate) fn tokenizer(&self) -> &Tokenizer {
        self.tokenizer
    }
}

/// The documents of a file of text, Markdown or JSON lines, as they stand there, without cleaning.
///
/// # Errors
///
/// [`Error::Corpus`] where the file cannot be read or has a row that is no text, [`Error::TooMuch`]
/// for more than [`TEXTS_BYTES_MAX`].
pub fn read_texts(path: &Path) -> Result<Vec<String>, Error> {
    let (mut texts, mut bytes) = (Vec::new(), 0);
    let read = Source::text("text", path).read(BadRows::Refused, &mut |document, _| {
        if let Content::Text(text) = document.content {
            bytes += text.len() as u64;
            // What is too much is read, but not kept.
            if bytes <= TEXTS_BYTES_MAX {
                texts.push(text);
            }
        }
        Ok(())
    });
    read?;
    if bytes > TEXTS_BYTES_MAX {
        let (path, limit) = (path.to_owned(), TEXTS_BYTES_MAX);
        return Err(Error::TooMuch { path, limit, what: "bytes of text" });
    }
    Ok(texts)
}
