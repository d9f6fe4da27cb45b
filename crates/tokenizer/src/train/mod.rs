//! Training a tokenizer: text is counted as words, and the most frequent pairs of tokens are merged.
//!
//! 1. [`Trainer::feed`] and [`Trainer::feed_file`] cut text into words and count them, on several
//!    threads. Text goes by; what stays are the different words.
//! 2. [`Trainer::train`] merges pairs of neighbors until the vocabulary is full.
//! 3. [`Trained::json`] is the `tokenizer.json` of it.
//!
//! The same text gives the same file, on any number of threads and in any order of documents; and
//! the same as Hugging Face's `tokenizers` gives with `ByteLevel` and `BpeTrainer`, byte for byte.
//! Two things differ, on text that was made for them: a merge whose token would have the text of a
//! special token, look like one (`<|…|>`) or be longer than a file may hold is passed over; and
//! counts do not overflow.

mod count;
mod hash;
mod json;
mod merges;
mod stream;

use std::num::NonZeroUsize;

use self::count::WordCounts;
use self::merges::{Learner, PairOfTokens};
use crate::vocabulary::{ADDED_BYTES_MAX, TOKEN_BYTES_MAX, looks_like_marker};
use crate::{Error, SplitRule, Tokenizer, byte_level};

/// The most tokens that a vocabulary can be trained to have.
pub const TRAINED_TOKENS_MAX: usize = 1 << 19;

/// The tokens of the single bytes, which every trained vocabulary has.
const BYTES: usize = 256;

/// What tokenizer to train.
#[derive(Clone, Debug)]
pub struct TrainOptions {
    /// How many tokens there are to be: special ones, one for each byte, and one for each merge. At
    /// most [`TRAINED_TOKENS_MAX`].
    pub vocabulary: usize,
    /// How often a pair must occur to be merged.
    pub min_frequency: u64,
    /// Special tokens by name. They are the first tokens, in this order.
    pub special_tokens: Vec<String>,
    /// How text is cut into words.
    pub split: SplitRule,
    /// How many threads count words. The result is the same with any number.
    pub threads: NonZeroUsize,
}

/// Learns a vocabulary from text.
///
/// Memory is bounded by the different words of the text, which may have 1 GiB together; beside
/// them, 4 MiB of text are kept for each thread.
///
/// # Examples
///
/// ```
/// use tokenizer::{TrainOptions, Trainer};
///
/// let options = TrainOptions { vocabulary: 258, ..TrainOptions::default() };
/// let mut trainer = Trainer::new(options)?;
/// trainer.feed("low lower lowest")?;
/// let trained = trainer.train(&mut |_| ())?;
/// assert_eq!(trained.merges().collect::<Vec<_>>(), [("l", "o"), ("lo", "w")]);
/// let tokenizer = trained.tokenizer()?;
/// assert_eq!(tokenizer.encode("low").len(), 1);
/// # Ok::<(), tokenizer::Error>(())
/// ```
#[derive(Debug)]
pub struct Trainer {
    options: TrainOptions,
    words: WordCounts,
}

/// A vocabulary that was learned.
#[derive(Clone, Debug)]
pub struct Trained {
    /// All tokens in the spelling of files; those of [`Self::special`] by name.
    tokens: Vec<String>,
    special: usize,
    merges: Vec<PairOfTokens>,
    split: SplitRule,
}

impl Default for TrainOptions {
    /// 32,768 tokens, none of them special; pairs that occur twice, words as GPT-2 cuts them; one
    /// thread.
    fn default() -> Self {
        Self {
            vocabulary: 32_768,
            min_frequency: 2,
            special_tokens: Vec::new(),
            split: SplitRule::Gpt2,
            threads: NonZeroUsize::MIN,
        }
    }
}

impl TrainOptions {
    /// Checks that such a tokenizer can be.
    fn check(&self) -> Result<(), Error> {
        let special = self.special_tokens.len();
        let (asked, least) = (self.vocabulary, BYTES.saturating_add(special));
        if !(least..=TRAINED_TOKENS_MAX).contains(&asked) {
            return Err(Error::VocabularySize { asked, special, most: TRAINED_TOKENS_MAX });
        }
        let refuse = |name: &str, problem| {
            Err(Error::SpecialToken { name: artifacts::shown(name), problem })
        };
        for (index, name) in self.special_tokens.iter().enumerate() {
            let mut bytes = Vec::new();
            let spells = byte_level::read(name, &mut bytes);
            if name.is_empty() {
                return refuse(name, "is empty");
            }
            if name.len() > ADDED_BYTES_MAX {
                return refuse(name, "is longer than 256 bytes");
            }
            if spells && bytes.len() == 1 {
                return refuse(name, "is the token of a single byte");
            }
            if self.special_tokens[..index].contains(name) {
                return refuse(name, "is given twice");
            }
        }
        Ok(())
    }
}

impl Trainer {
    /// Begins without any text.
    ///
    /// # Errors
    ///
    /// [`Error::VocabularySize`] for a vocabulary without room for all bytes and special tokens, or
    /// above [`TRAINED_TOKENS_MAX`]; [`Error::SpecialToken`] for a special token that cannot be.
    pub fn new(options: TrainOptions) -> Result<Self, Error> {
        options.check()?;
        let words = WordCounts::new(options.split, options.threads);
        Ok(Self { options, words })
    }

    /// Counts the words of a document. No word goes from one document into the next.
    ///
    /// # Errors
    ///
    /// [`Error::TooManyWords`] where the text so far has more different words than fit into memory;
    /// nothing can be trained then.
    pub fn feed(&mut self, document: &str) -> Result<(), Error> {
        self.words.add(document)
    }

    /// Learns merges until the vocabulary is full, or no pair is frequent enough: see
    /// [`Trained::vocabulary_len`]. `progress` hears how many tokens there are so far.
    ///
    /// # Errors
    ///
    /// [`Error::NothingToTrain`] where no text was fed; [`Error::TooManyWords`] as
    /// [`feed`](Self::feed).
    pub fn train(self, progress: &mut dyn FnMut(usize)) -> Result<Trained, Error> {
        let Self { options, words } = self;
        let words = words.finish()?;
        if words.is_empty() {
            return Err(Error::NothingToTrain);
        }
        let special = options.special_tokens.len();
        let (mut tokens, byte_tokens) = first_tokens(options.special_tokens);
        let mut merges = Vec::new();
        let mut learner = Learner::new(&words, &byte_tokens, options.min_frequency);
        drop(words);
        while tokens.len() < options.vocabulary
            && let Some(pair) = learner.most_frequent()
        {
            let spelled = [pair.0, pair.1].map(|token| tokens[token as usize].as_str()).concat();
            let is_special = || tokens[..special].contains(&spelled);
            if spelled.len() > TOKEN_BYTES_MAX || looks_like_marker(&spelled) || is_special() {
                learner.pass_over(pair);
                continue;
            }
            learner.merge(pair, number(tokens.len()));
            tokens.push(spelled);
            merges.push(pair);
            progress(tokens.len());
        }
        Ok(Trained { tokens, special, merges, split: options.split })
    }
}

impl Trained {
    /// How many tokens there are. Fewer than were asked for where the text has no more pairs that
    /// are frequent enough.
    #[must_use]
    pub fn vocabulary_len(&self) -> usize {
        self.tokens.len()
    }

    /// The merges in the order in which they were learned, both sides in the spelling of files.
    pub fn merges(&self) -> impl Iterator<Item = (&str, &str)> {
        let text = |token: u32| self.tokens[token as usize].as_str();
        self.merges.iter().map(move |&(left, right)| (text(left), text(right)))
    }

    /// The `tokenizer.json` of it, as Hugging Face's `tokenizers` writes it.
    #[must_use]
    pub fn json(&self) -> String {
        json::write(self)
    }

    /// The tokenizer.
    ///
    /// # Errors
    ///
    /// [`Error::TooLarge`] where its file would be too large to be read again: tokens of thousands
    /// of bytes.
    pub fn tokenizer(&self) -> Result<Tokenizer, Error> {
        Tokenizer::from_json(self.json().as_bytes())
    }
}

/// The special tokens and those of all bytes in the order of their characters; and the token of each
/// byte.
fn first_tokens(special: Vec<String>) -> (Vec<String>, [u32; BYTES]) {
    let mut bytes: Vec<u8> = (0..=u8::MAX).collect();
    bytes.sort_unstable_by_key(|&byte| byte_level::char_of(byte));
    let (mut tokens, mut byte_tokens) = (special, [0; BYTES]);
    for byte in bytes {
        byte_tokens[usize::from(byte)] = number(tokens.len());
        tokens.push(byte_level::char_of(byte).to_string());
    }
    (tokens, byte_tokens)
}

/// The next token's number.
fn number(tokens: usize) -> u32 {
    u32::try_from(tokens).expect("TRAINED_TOKENS_MAX is below 2^32")
}
