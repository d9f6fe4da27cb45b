//! What a model has to beat: counts of tokens and two compressors, which get the same training text
//! and the same held-out text.

use corpus::Split;

use crate::compression::{self, Compressor};
use crate::ngram::{Learner, NgramOptions};
use crate::{BitsPerByte, Error, Texts};

/// Tokens of the longest runs that are counted.
pub const ORDER: usize = 5;

/// Bits per byte of the held-out documents of a corpus after its training documents, in this order:
/// counts of runs of up to [`ORDER`] tokens, `gzip -9`, `xz -9e`.
///
/// The text is what the tokens stand for; special tokens have no bytes and take no bits. A document
/// that has copies in the training text is counted as often. The same corpus gives the same bits.
///
/// # Errors
///
/// [`Error::Corpus`] where the corpus cannot be read, [`Error::Empty`] where nothing was held out,
/// [`Error::TooManyTokens`], and [`Error::Compress`].
pub fn baselines(texts: &Texts<'_>) -> Result<[(&'static str, BitsPerByte); 3], Error> {
    let text_bytes = texts.bytes(Split::Train)? + texts.bytes(Split::Validation)?;
    Ok([
        ("5-gram", count(texts)?),
        ("gzip -9", compress(texts, Compressor::Gzip)?),
        ("xz -9e", compress(texts, Compressor::Xz { text_bytes })?),
    ])
}

fn count(texts: &Texts<'_>) -> Result<BitsPerByte, Error> {
    let (corpus, tokenizer) = (texts.corpus(), texts.tokenizer());
    let options = NgramOptions { order: ORDER, vocabulary: corpus.facts().vocabulary };
    let mut learner = Learner::new(options)?;
    for document in corpus.documents(Split::Train)? {
        learner.add(&document?)?;
    }
    let ngram = learner.learn()?;
    let mut figure = BitsPerByte::default();
    for document in corpus.documents(Split::Validation)? {
        let tokens = document?;
        for (&token, logprob) in tokens.iter().zip(ngram.logprobs(&tokens)?) {
            let bytes = tokenizer.token_bytes(token).len();
            if bytes > 0 {
                figure.bytes += bytes as u64;
                figure.add_logprob(logprob);
            }
        }
    }
    figure.or_empty()
}

fn compress(texts: &Texts<'_>, compressor: Compressor) -> Result<BitsPerByte, Error> {
    let all = texts.of(Split::Train)?.chain(texts.of(Split::Validation)?);
    let all = compression::compressed_bytes(compressor, all)?;
    let training = compression::compressed_bytes(compressor, texts.of(Split::Train)?)?;
    let bits = 8.0 * all.saturating_sub(training) as f64;
    BitsPerByte { bits, bytes: texts.bytes(Split::Validation)? }.or_empty()
}
