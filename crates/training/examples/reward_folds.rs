//! A reward model beside a bag of bigrams on people's own choices, in folds: what `cargo xtask
//! preferences` runs.
//!
//! `reward_folds MODEL FILE OUT [name=value …]`: `MODEL` is a GGUF file or a folder, `FILE` holds
//! comparisons in a format that `scribe compare import` reads. All rows with the same first message
//! are in one fold. In each fold an adapter with a head of one number learns from the other folds and is
//! measured on its own, and so are the baselines; the scores stay in `OUT`, so that a run that was
//! stopped goes on with the next fold.
#![expect(clippy::print_stdout, reason = "it prints what it measured")]

use std::collections::BTreeMap;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::time::Instant;

use artifacts::gguf::Gguf;
use artifacts::hash::Digest;
use comparisons::formats::{self, Judged, ReadOptions};
use comparisons::{Candidate, Comparison, Message, Prompt};
use engine::{Device, DeviceOptions};
use model::Adapter;
use model::trainable::Trainable;
use serde::{Deserialize, Serialize};
use tokenizer::{ChatFormat, Tokenizer};
use training::recipe::{LoraRecipe, RewardRecipe};
use training::reward::{
    EncodedComparisons, Encoding, PerPrompt, RankedCompletions, RewardModel, RewardTraining,
    bigram_scores, length_scores,
};

type Outcome<T> = Result<T, Box<dyn std::error::Error>>;

/// How it is done; each field may be given as `name=value`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Options {
    folds: usize,
    /// The first ones alone, to see what a choice brings before all are measured.
    measured_folds: usize,
    /// Comparisons that are taken, in an order of their own; 0 for all.
    rows: usize,
    context_tokens: usize,
    completion_tokens: usize,
    threads: usize,
    /// Decides folds, first weights and orders.
    seed: u64,
    rank: usize,
    rate: f64,
    epochs: u32,
    comparisons: usize,
    centering: f64,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            folds: 3,
            measured_folds: usize::MAX,
            rows: 0,
            context_tokens: 192,
            completion_tokens: 96,
            threads: 2,
            seed: 1,
            rank: 16,
            rate: 3e-4,
            epochs: 1,
            comparisons: 8,
            centering: 0.01,
        }
    }
}

/// A comparison in tokens, and what decides its fold.
struct Row {
    ranked: RankedCompletions,
    group: Digest,
}

/// What is known of the held-out rows of a fold: `[rows][completions]` each.
#[derive(Serialize, Deserialize)]
struct Scores {
    options: Options,
    model: Vec<Vec<f64>>,
    length: Vec<Vec<f64>>,
    bigrams: Vec<Vec<f64>>,
}

fn main() -> Outcome<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [model, file, out, rest @ ..] = arguments.as_slice() else {
        return Err("usage: reward_folds MODEL FILE OUT [name=value …]".into());
    };
    let options = options(rest)?;
    let (model, out) = (PathBuf::from(model), PathBuf::from(out));
    std::fs::create_dir_all(&out)?;
    let rows = rows(&model, Path::new(file), &options)?;
    println!("{} comparisons, {options:?}", rows.len());
    let (mut held_out, mut scores) = (Vec::new(), [Vec::new(), Vec::new(), Vec::new()]);
    for fold in 0..options.folds.min(options.measured_folds) {
        let (own, others): (Vec<&Row>, Vec<&Row>) =
            rows.iter().partition(|row| fold_of(row, &options) == fold);
        let found = kept_or_measured(&out, fold, (&own, &others), &model, &options)?;
        let own: Vec<RankedCompletions> = own.iter().map(|row| row.unit()).collect();
        println!("fold {fold}:");
        tell(&own, [&found.model, &found.length, &found.bigrams]);
        held_out.extend(own);
        let Scores { model, length, bigrams, .. } = found;
        scores.iter_mut().zip([model, length, bigrams]).for_each(|(all, one)| all.extend(one));
    }
    println!("all folds:");
    tell(&held_out, scores.each_ref());
    Ok(())
}

/// The options with those that were given.
fn options(given: &[String]) -> Outcome<Options> {
    let mut text = String::new();
    for pair in given {
        let (name, value) = pair.split_once('=').ok_or("give options as name=value")?;
        text.push_str(&format!("{name} = {value}\n"));
    }
    Ok(toml::from_str(&text)?)
}

/// The comparisons of the file, oldest messages dropped until they fit.
fn rows(model: &Path, file: &Path, options: &Options) -> Outcome<Vec<Row>> {
    let tokenizer = match model.is_dir() {
        true => Tokenizer::from_folder(model)?,
        false => Tokenizer::from_gguf(Gguf::open(model)?.header().metadata())?,
    };
    // Without the words that a model's own template puts before all conversations: they say nothing here.
    let format = ChatFormat::ChatMl { default_system: None };
    let encoding = Encoding {
        tokenizer: &tokenizer,
        format: &format,
        completion_tokens: options.completion_tokens,
        context_tokens: options.context_tokens,
    };
    let from =
        ReadOptions { labeler: "people", from: "file", time_ms: 0, labelers: None, decode: None };
    let mut rows = Vec::new();
    let mut left_out: BTreeMap<&'static str, u64> = BTreeMap::new();
    let source = corpus::sources::open_by_ending(file)?;
    let _ = formats::read(source, None, &from, |judged| -> Outcome<()> {
        if let Judged::Comparison(comparison) = judged {
            match encoded(comparison, &encoding)? {
                Ok(row) => rows.push(row),
                Err(why) => *left_out.entry(why).or_default() += 1,
            }
        }
        Ok(())
    })?;
    for (why, count) in left_out {
        println!("{count} comparisons are left out: {why}");
    }
    rows.sort_by_key(|row| (row.group, row.ranked.prompt.clone()));
    rows.truncate(if options.rows == 0 { usize::MAX } else { options.rows });
    Ok(rows)
}

/// A comparison in tokens, or why it cannot be.
fn encoded(
    comparison: Comparison,
    encoding: &Encoding<'_>,
) -> Result<Result<Row, &'static str>, training::Error> {
    let first = comparison.candidate().prompt().messages().and_then(|messages| messages.first());
    let text = first.map_or_else(String::new, |message| message.text.clone());
    let group = Digest::of(text.as_bytes());
    let mut comparison = comparison;
    loop {
        let mut found = EncodedComparisons::default();
        found.add(&comparison, encoding, 0.0)?;
        let why = match (found.train.pop(), found.left_out.into_keys().next()) {
            (Some(ranked), _) => return Ok(Ok(Row { ranked, group })),
            (None, why) => why.unwrap_or("nothing ranked"),
        };
        match without_first(&comparison) {
            Some(shorter) if why == "longer than the context" => comparison = shorter,
            _ => return Ok(Err(why)),
        }
    }
}

/// The same comparison without the first message of its prompt, if that leaves one.
fn without_first(comparison: &Comparison) -> Option<Comparison> {
    let candidate = comparison.candidate();
    let messages: Vec<Message> = candidate.prompt().messages()?.iter().skip(1).cloned().collect();
    let prompt = (!messages.is_empty()).then_some(Prompt::Messages(messages))?;
    let shorter = Candidate::new(prompt, candidate.completions().to_vec()).ok()?;
    Comparison::new(shorter, comparison.judgment().clone()).ok()
}

impl Row {
    /// As figures see it: what is independent is a first message.
    fn unit(&self) -> RankedCompletions {
        let group = self.group.as_bytes().iter().map(|&byte| byte.into()).collect();
        RankedCompletions { prompt: group, ..self.ranked.clone() }
    }
}

fn fold_of(row: &Row, options: &Options) -> usize {
    let mut bytes = options.seed.to_le_bytes().to_vec();
    bytes.extend(row.group.as_bytes());
    let word = Digest::of(&bytes).as_bytes().first_chunk().map_or(0, |b| u32::from_le_bytes(*b));
    word as usize % options.folds
}

/// The scores of a fold, from the file that an earlier run left.
fn kept_or_measured(
    out: &Path,
    fold: usize,
    (own, others): (&[&Row], &[&Row]),
    model: &Path,
    options: &Options,
) -> Outcome<Scores> {
    let path = out.join(format!("fold-{fold}.json"));
    if path.exists() {
        let kept: Scores = serde_json::from_str(&artifacts::read_text(&path)?)?;
        return match kept.options == *options && kept.model.len() == own.len() {
            true => Ok(kept),
            false => Err(format!("{} is of other options or rows", path.display()).into()),
        };
    }
    let ranked = |rows: &[&Row]| rows.iter().map(|row| row.ranked.clone()).collect::<Vec<_>>();
    let (held_out, train) = (ranked(own), ranked(others));
    let begun = Instant::now();
    let (length, bigrams) = (length_scores(&train, &held_out), bigram_scores(&train, &held_out));
    println!("baselines: {:.1?}", begun.elapsed());
    let model = learn(model, (&train, &held_out), options)?;
    let scores = Scores { options: options.clone(), model, length, bigrams };
    std::fs::write(&path, serde_json::to_string(&scores)?)?;
    Ok(scores)
}

/// Lets an adapter learn, and gives what it says of the held-out rows.
fn learn(
    model: &Path,
    (train, held_out): (&[RankedCompletions], &[RankedCompletions]),
    options: &Options,
) -> Outcome<Vec<Vec<f64>>> {
    let threads = NonZeroUsize::new(options.threads);
    let device = Device::cpu(&DeviceOptions { threads, kernels: None })?;
    let trunk = Trainable::read(&device, model, engine::ops::matmul::Precision::F32)?;
    let lora: LoraRecipe = toml::from_str(&format!("rank = {}", options.rank))?;
    let adapter = Adapter::new(&device, trunk.config(), &lora.options("base"), options.seed)?;
    let trunk = trunk.with_adapter(adapter)?;
    let recipe = RewardRecipe::default();
    let mut reward = RewardModel::new(trunk, options.seed, recipe.optimizer_options());
    let training = RewardTraining {
        epochs: options.epochs,
        comparisons: options.comparisons,
        learning_rate: options.rate,
        clip: recipe.clip,
        centering: options.centering,
        seed: options.seed,
    };
    let steps = training.steps(train.len());
    let tokens = u64::from(options.epochs) * train.iter().map(|c| c.tokens() as u64).sum::<u64>();
    println!("{steps} steps, {tokens} tokens to learn from");
    let begun = Instant::now();
    let (mut sum, mut counted) = (0.0, 0);
    training.run(&mut reward, train, &mut |step, seen| {
        (sum, counted) = (sum + seen.loss, counted + 1);
        if step % 20 == 0 || step == steps {
            let mean = sum / f64::from(counted);
            println!("step {step}: loss {mean:.4}, {:.0?}", begun.elapsed());
            (sum, counted) = (0.0, 0);
        }
    });
    #[expect(clippy::cast_precision_loss, reason = "far fewer than 2^52 tokens")]
    let speed = tokens as f64 / begun.elapsed().as_secs_f64();
    println!("{speed:.0} tokens/s");
    Ok(held_out.iter().map(|one| reward.raw_scores(one.sequences())).collect())
}

/// Says how often each orders as people did, and by how much the model is ahead.
fn tell(held_out: &[RankedCompletions], scores: [&Vec<Vec<f64>>; 3]) {
    let found = scores.map(|scores| PerPrompt::of(held_out, scores));
    for (name, one) in ["reward model", "length", "bigrams"].iter().zip(&found) {
        let Some(agreement) = one.agreement() else { continue };
        let [low, high] = agreement.interval;
        let (share, pairs) = (agreement.accuracy, agreement.pairs);
        print!("  {name}: {share:.4} ({low:.4} to {high:.4}) of {pairs} pairs");
        if let Some(lead) = found[0].lead(one).filter(|_| *name != "reward model") {
            let [low, high] = lead.interval;
            print!("; the model is ahead by {:.4} ({low:.4} to {high:.4})", lead.lead);
        }
        println!();
    }
}
