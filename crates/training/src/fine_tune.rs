//! Supervised fine-tuning: conversations become rows, and only what the assistant says is learned.

use std::num::NonZeroUsize;
use std::path::Path;

use artifacts::disk::RealDisk;
use artifacts::folder;
use artifacts::hash::Digest;
use corpus::{Corpus, Packing, Report, Source};
use serde_json::{Value, json};
use tokenizer::{ChatFormat, Tokenizer};

use crate::recipe::{AnyRecipe, StageRecipe};
use crate::run_folder::hold_to;
use crate::text::{TextProgress, build_options};
use crate::{Begin, Error, RunFolder, Stage};

/// The model that is taught.
#[derive(Debug, Clone, Copy)]
pub struct Base<'a> {
    /// What an adapter's files are to call it: a name of the catalogue or a path.
    pub name: &'a str,
    /// Its checkpoint: a folder or a file.
    pub path: &'a Path,
    /// Its tokenizer.
    pub tokenizer: &'a Tokenizer,
    /// The most tokens it attends to.
    pub context_tokens: usize,
}

/// Makes tokenizer and corpus of the stage, where they are not there. Returns what became of the
/// conversations.
///
/// # Errors
///
/// Where the recipe has no such stage, the tokenizer has no marks of conversations, a source cannot
/// be read, a folder cannot be written, or the stage was begun otherwise.
pub fn prepare(
    run: &RunFolder,
    recipe: &AnyRecipe,
    base: &Base<'_>,
    sources: Vec<Source>,
    threads: NonZeroUsize,
    progress: &mut dyn FnMut(TextProgress<'_>),
) -> Result<Report, Error> {
    let (_, conversations, _) = recipe.fine_tune()?;
    make_folder(&run.fine_tuned())?;
    hold_to(&run.fine_tuned(), &recipe.fine_tune_toml()?, run.held_of_fine_tuning())?;
    let out = run.fine_tuned_tokenizer();
    if !out.exists() {
        write_tokenizer(&out, base)?;
    }
    folder::verify(&RealDisk, &out, |_| ()).map_err(Error::damaged(&out))?;
    let tokenizer = Tokenizer::from_folder(&out)?;
    let out = run.fine_tuned_corpus();
    if out.exists() {
        let report = Corpus::verify(&out, |_| ()).and_then(|corpus| corpus.report());
        return report.map_err(Error::damaged(&out));
    }
    let mut options = build_options(conversations, sources, threads);
    // Short questions repeat each other; what was there is found by its fingerprint.
    options.deduplicate.near_documents_max = 0;
    Ok(Corpus::build(&options, &tokenizer, &out, &mut |at| progress(TextProgress::Encoding(at)))?)
}

impl Stage {
    /// The fine-tuning of a run whose corpus is there.
    ///
    /// # Errors
    ///
    /// Where the recipe has no such stage, or asks for longer rows than the model attends to.
    pub fn fine_tune(run: &RunFolder, recipe: &AnyRecipe, base: &Base<'_>) -> Result<Self, Error> {
        let (seed, _, sft) = recipe.fine_tune()?;
        let row_tokens = sft.fine_tune_row_tokens(base.context_tokens)?;
        Ok(Self {
            recipe: sft.clone(),
            seed,
            identity: Digest::of(recipe.fine_tune_toml()?.as_bytes()),
            corpus: run.fine_tuned_corpus(),
            tokenizer: run.fine_tuned_tokenizer(),
            folder: run.fine_tuned(),
            packing: Packing::Whole,
            row_tokens,
            begin: begin(sft, base),
        })
    }
}

/// With the base's own weights, or with an adapter beside them.
fn begin(recipe: &StageRecipe, base: &Base<'_>) -> Begin {
    let path = base.path.to_owned();
    match &recipe.lora {
        None => Begin::Weights(path),
        Some(lora) => Begin::Adapter { base: path, options: Box::new(lora.options(base.name)) },
    }
}

fn make_folder(path: &Path) -> Result<(), Error> {
    std::fs::create_dir_all(path).map_err(|source| Error::Write { path: path.to_owned(), source })
}

/// Writes the base's tokenizer with the words in which conversations are written.
fn write_tokenizer(out: &Path, base: &Base<'_>) -> Result<(), Error> {
    let tokenizer = base.tokenizer;
    let format = ChatFormat::detect(tokenizer)?.format;
    let mut config: Value = serde_json::from_str(&tokenizer.config_json(base.context_tokens))
        .unwrap_or_else(|_| json!({}));
    let mut ends: Vec<u32> = tokenizer.end_of_turn().to_vec();
    if let (None, Some((template, end))) = (tokenizer.chat_template(), format.template()) {
        config["chat_template"] = template.into();
        config["eos_token"] = end.into();
        if let Some(end) = tokenizer.special(end) {
            ends.retain(|&token| token != end);
            ends.insert(0, end);
        }
    }
    folder::land_folder(&RealDisk, out, |folder| {
        folder.write_bytes("tokenizer.json", tokenizer.to_json().as_bytes())?;
        folder.write_bytes("tokenizer_config.json", format!("{config:#}\n").as_bytes())?;
        let generation = json!({ "eos_token_id": ends });
        folder.write_bytes("generation_config.json", format!("{generation:#}\n").as_bytes())
    })?;
    Ok(())
}
