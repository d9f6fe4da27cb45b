//! The first two stages of a run: a tokenizer that is learned from the text, and the text in tokens.
//!
//! Each lands whole in its folder or not at all; one that is there is not made again.

use std::collections::BTreeSet;
use std::io::Read as _;
use std::num::NonZeroUsize;
use std::path::Path;

use artifacts::disk::RealDisk;
use artifacts::{folder, open_file};
use corpus::deduplicate::DeduplicateOptions;
use corpus::sources::BadRows;
use corpus::{BuildOptions, Content, Corpus, Fingerprint, Report, Source, Split, clean};
use serde_json::json;
use tokenizer::{ChatFormat, Conversation, SplitRule, Tokenizer, TrainOptions, Trainer};

use crate::recipe::{CorpusRecipe, Recipe, TokenizerRecipe, ppm};
use crate::{Error, RunFolder};

/// The end of a text, where the recipe has it among its special tokens.
const END_OF_TEXT: &str = "<|endoftext|>";
/// The most bytes of a `tokenizer.json` that a recipe names.
const TOKENIZER_BYTES_MAX: u64 = 256 << 20;

/// How far the work on the text is.
#[derive(Debug, Clone, Copy)]
pub enum TextProgress<'a> {
    /// Words of this source are counted; rows so far.
    Counting(&'a str, u64),
    /// Tokens are learned; so many so far.
    Learning(usize),
    /// Documents become tokens.
    Encoding(corpus::Progress<'a>),
}

/// Makes the tokenizer of a run, unless it is there. Held-out documents are not read.
///
/// # Errors
///
/// Where a source cannot be read, holds too little text for the vocabulary, or the folder cannot be
/// written.
pub fn make_tokenizer(
    run: &RunFolder,
    recipe: &Recipe,
    sources: &[Source],
    threads: NonZeroUsize,
    progress: &mut dyn FnMut(TextProgress<'_>),
) -> Result<(), Error> {
    let out = run.tokenizer();
    if out.exists() {
        folder::verify(&RealDisk, &out, |_| ()).map_err(Error::damaged(&out))?;
        return Ok(());
    }
    let json = match recipe.tokenizer.file_path() {
        Some(path) => read_tokenizer(&path)?,
        None => learn(recipe, sources, threads, progress)?,
    };
    let tokenizer = Tokenizer::from_json(&json)?;
    check_marks(recipe, &tokenizer)?;
    folder::land_folder(&RealDisk, &out, |folder| {
        folder.write_bytes("tokenizer.json", &json)?;
        let end = tokenizer.special(END_OF_TEXT);
        folder.write_bytes("tokenizer_config.json", &tokenizer_config(recipe, end.is_some()))?;
        match end {
            Some(end) => folder.write_bytes(
                "generation_config.json",
                &pretty(&json!({ "eos_token_id": end, "pad_token_id": end })),
            ),
            None => Ok(()),
        }
    })?;
    Ok(())
}

/// Refuses a tokenizer in which conversations cannot be written, where some are to be learned from.
fn check_marks(recipe: &Recipe, tokenizer: &Tokenizer) -> Result<(), Error> {
    if recipe.sft.is_none() || ChatFormat::detect(tokenizer).is_ok() {
        return Ok(());
    }
    let expected = "a list with the marks of a conversation, such as \"<|im_start|>\" and \
                    \"<|im_end|>\", because the recipe has [sft]";
    Err(Error::field("tokenizer.special", recipe.tokenizer.special.join(", "), expected))
}

/// Turns the text of a run into tokens, unless that is done. Returns what became of it.
///
/// # Errors
///
/// Where a source cannot be read, nothing is left to learn from, or the folder cannot be written.
pub fn make_corpus(
    run: &RunFolder,
    recipe: &Recipe,
    sources: Vec<Source>,
    threads: NonZeroUsize,
    progress: &mut dyn FnMut(TextProgress<'_>),
) -> Result<Report, Error> {
    let out = run.corpus();
    if out.exists() {
        let report = Corpus::verify(&out, |_| ()).and_then(|corpus| corpus.report());
        return report.map_err(Error::damaged(&out));
    }
    let tokenizer = Tokenizer::from_folder(&run.tokenizer())?;
    let options = build_options(&recipe.corpus, sources, threads);
    Ok(Corpus::build(&options, &tokenizer, &out, &mut |at| progress(TextProgress::Encoding(at)))?)
}

/// The first conversations of the sources that a corpus holds out: up to so many.
///
/// # Errors
///
/// Where a source cannot be read.
pub fn held_out_conversations(
    recipe: &CorpusRecipe,
    sources: &[Source],
    most: usize,
) -> Result<Vec<Conversation>, Error> {
    let mut held_out = Vec::new();
    let mut seen = BTreeSet::new();
    for source in sources {
        source.read(BadRows::Counted, &mut |document, _| {
            let fingerprint = Fingerprint::of(&text_of(&document.content));
            if let Content::Conversation(conversation) = document.content
                && held_out.len() < most
                && Split::of(&fingerprint, ppm(recipe.validation)) == Split::Validation
                && seen.insert(fingerprint)
            {
                held_out.push(conversation);
            }
            Ok(())
        })?;
    }
    Ok(held_out)
}

pub(crate) fn build_options(
    recipe: &CorpusRecipe,
    sources: Vec<Source>,
    threads: NonZeroUsize,
) -> BuildOptions {
    let mut options = BuildOptions {
        threads,
        languages: recipe.languages.clone(),
        validation_ppm: ppm(recipe.validation),
        ..BuildOptions::new(sources)
    };
    if let Some(least) = recipe.characters_min {
        options.clean.characters_min = least;
    }
    if !recipe.deduplicate {
        options.deduplicate = DeduplicateOptions::off();
    }
    options
}

/// The `tokenizer.json` that the recipe names.
fn read_tokenizer(path: &Path) -> Result<Vec<u8>, Error> {
    let unreadable = |source| Error::Read { path: path.to_owned(), source };
    let mut json = Vec::new();
    let file = open_file(path).map_err(unreadable)?;
    file.take(TOKENIZER_BYTES_MAX + 1).read_to_end(&mut json).map_err(unreadable)?;
    if json.len() as u64 > TOKENIZER_BYTES_MAX {
        let found = format!("more than {TOKENIZER_BYTES_MAX} bytes long");
        return Err(Error::field("tokenizer.file", found, "shorter"));
    }
    Ok(json)
}

impl Recipe {
    /// How many tokens its tokenizer has, or is to have.
    ///
    /// # Errors
    ///
    /// Where the `tokenizer.json` that it names cannot be read.
    pub fn vocabulary(&self) -> Result<usize, Error> {
        match self.tokenizer.file_path() {
            Some(path) => Ok(Tokenizer::from_json(&read_tokenizer(&path)?)?.vocabulary_len()),
            None => Ok(self.tokenizer.vocabulary),
        }
    }
}

/// Learns a vocabulary from all documents that are not held out.
fn learn(
    recipe: &Recipe,
    sources: &[Source],
    threads: NonZeroUsize,
    progress: &mut dyn FnMut(TextProgress<'_>),
) -> Result<Vec<u8>, Error> {
    let mut trainer = Trainer::new(train_options(&recipe.tokenizer, threads))?;
    let validation = ppm(recipe.corpus.validation);
    for source in sources {
        let mut failed = Ok(());
        source.read(BadRows::Counted, &mut |document, rows| {
            progress(TextProgress::Counting(&source.name, rows.rows));
            let text = text_of(&document.content);
            if failed.is_ok() && Split::of(&Fingerprint::of(&text), validation) == Split::Train {
                failed = trainer.feed(&text);
            }
            Ok(())
        })?;
        failed?;
    }
    let trained = trainer.train(&mut |tokens| progress(TextProgress::Learning(tokens)))?;
    let (found, asked) = (trained.vocabulary_len(), recipe.tokenizer.vocabulary);
    if found < asked {
        return Err(Error::VocabularyTooLarge { found, asked });
    }
    Ok(trained.json().into_bytes())
}

/// A document as the corpus will have it.
fn text_of(content: &Content) -> String {
    match content {
        Content::Text(text) => clean::clean(text),
        Content::Conversation(conversation) => {
            let contents = conversation.messages.iter();
            let contents = contents.map(|message| clean::clean(&message.content));
            contents.collect::<Vec<_>>().join("\n\n")
        }
    }
}

fn train_options(recipe: &TokenizerRecipe, threads: NonZeroUsize) -> TrainOptions {
    TrainOptions {
        vocabulary: recipe.vocabulary,
        min_frequency: recipe.min_frequency,
        special_tokens: recipe.special.clone(),
        split: SplitRule::by_name(&recipe.split).unwrap_or(SplitRule::Gpt2),
        threads,
    }
}

/// What Hugging Face's tools read beside `tokenizer.json`.
fn tokenizer_config(recipe: &Recipe, has_end: bool) -> Vec<u8> {
    let mut config = json!({
        "tokenizer_class": "PreTrainedTokenizerFast",
        "model_max_length": recipe.model.context_tokens,
        "clean_up_tokenization_spaces": false,
    });
    if has_end {
        config["eos_token"] = END_OF_TEXT.into();
    }
    pretty(&config)
}

fn pretty(value: &serde_json::Value) -> Vec<u8> {
    format!("{value:#}\n").into_bytes()
}
