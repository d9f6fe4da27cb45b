//! `scribe eval`: how good a model is, in figures that can be compared, beside their baselines.

use std::path::{Path, PathBuf};

use artifacts::shown;
use clap::{Args, Subcommand};
use corpus::{Corpus, Split};
use evals::bits_per_byte::{Measured, Reader};
use evals::likelihood::{self, Answers, Share, Task};
use evals::{BitsPerByte, Texts};
use model::BatchOptions;
use serde::Serialize;
use tokenizer::Tokenizer;

use super::plan::{self, SLOTS_DEFAULT, SlotsOption};
use super::progress::Progress;
use super::rounds::{self, GateOptions, GoodhartOptions, WinRateOptions};
use super::{Failure, Session, locate, models, tokenizer as tokenizers};
use crate::config::EngineOptions;
use crate::loading::{self, Located, Outline, Weights};

/// What to measure.
#[derive(Debug, Subcommand)]
#[command(after_help = "Examples:\n  scribe eval bits-per-byte --model runs/tiny/3-pretrained \
                        --corpus runs/tiny/2-corpus --baselines\n  scribe eval choices tasks.jsonl --model model.gguf")]
pub enum EvalCommand {
    /// Measure how many bits a byte of text takes under a model: the fewer, the better
    #[command(after_help = "Examples:\n  scribe eval bits-per-byte --model model.gguf --corpus \
                            runs/tiny/2-corpus --baselines\n  scribe eval bits-per-byte --text \
                            book.txt --context-tokens 1024 --json\n\nEach document is read by \
                            itself, in windows of the context window that overlap by half. The \
                            baselines learn from the corpus's training texts: counts of up to \
                            five tokens (modified Kneser-Ney), gzip -9 and xz -9e.")]
    BitsPerByte(BitsPerByteOptions),
    /// Have a model choose between answers, by what it finds likeliest to follow
    #[command(
        after_help = "Examples:\n  scribe eval choices tasks.jsonl --model model.gguf\n\nEach \
                            line of TASKS is one question:\n  {\"context\": \"The capital of \
                            France is\", \"choices\": [\" Paris\", \" Rome\"], \"answer\": 0}\nA \
                            choice is read right after its context, so it mostly begins with a \
                            blank."
    )]
    Choices(ChoicesOptions),
    /// Count how often one model of a run answers better than another
    #[command(
        after_help = "Examples:\n  scribe eval win-rate recipes/tiny.toml --run runs/tiny\n\nBoth \
                            models answer prompts that nobody learned from, and the synthetic judge \
                            whose taste the recipe's labeler has says which answer is better. Answers of \
                            nearly one length (within a tenth) are counted apart, too."
    )]
    WinRate(WinRateOptions),
    /// Let the gate of a round judge a checkpoint, without promoting it
    #[command(
        after_help = "Examples:\n  scribe eval gate recipes/tiny.toml --run runs/tiny --new \
                            runs/tiny/7-ppo/round-1/checkpoints/step-00000020\n\nBlinded pairs of \
                            answers, bits per byte, lengths and refusals are what a round is \
                            judged by; nothing is written, and what is served stays."
    )]
    Gate(GateOptions),
    /// Watch a policy become worse by following a weak reward model too far
    #[command(
        after_help = "Examples:\n  scribe story recipes/goodhart.toml --run runs/goodhart\n  scribe \
                            eval goodhart recipes/goodhart.toml --run runs/goodhart\n\nEach trial \
                            ranks a few answers, trains five reward models on them, and lets a policy \
                            follow one of them, and all in three ways, at no price. The judge whose taste \
                            the rankings have says what came of it along the way. The same command \
                            goes on where it stopped."
    )]
    Goodhart(GoodhartOptions),
}

/// What text to measure, and with which model.
#[derive(Debug, Args)]
pub struct BitsPerByteOptions {
    #[command(flatten)]
    what: What,

    /// Measure counted tokens, gzip and xz, too
    #[arg(long, conflicts_with = "text")]
    baselines: bool,

    /// The tokenizer.json that the corpus was built with [default: the model's]
    #[arg(long, value_name = "FILE", conflicts_with = "text")]
    tokenizer: Option<PathBuf>,

    /// The special token before each text, such as <|endoftext|> [default: the one that the model
    /// wants there; where it wants none, nothing predicts the first token of a text]
    #[arg(long, value_name = "TOKEN")]
    begin_with: Option<String>,

    #[command(flatten)]
    engine: EngineOptions,

    #[command(flatten)]
    slots: SlotsOption,
}

/// The text.
#[derive(Debug, Args)]
#[group(required = true, multiple = false)]
struct What {
    /// A corpus of texts: those for validation are measured
    #[arg(long, value_name = "DIR")]
    corpus: Option<PathBuf>,

    /// A file of text, Markdown or JSON lines with a column `text`
    #[arg(long, value_name = "FILE")]
    text: Option<PathBuf>,
}

/// Which tasks, and which model.
#[derive(Debug, Args)]
pub struct ChoicesOptions {
    /// A file of JSON lines with context, choices and answer
    tasks: PathBuf,

    #[command(flatten)]
    engine: EngineOptions,

    #[command(flatten)]
    slots: SlotsOption,
}

/// `scribe eval bits-per-byte --json`.
#[derive(Debug, Serialize)]
struct BitsReport<'a> {
    schema: &'static str,
    model: &'a str,
    window_tokens: usize,
    documents: u64,
    tokens: u64,
    bytes: u64,
    rows: Vec<BitsRow<'a>>,
    /// The model's bits of each document.
    bits_of_documents: &'a [f64],
}

/// The figure of the model, or of a baseline.
#[derive(Debug, Serialize)]
struct BitsRow<'a> {
    name: &'a str,
    bits_per_byte: f64,
    bits: f64,
}

/// `scribe eval choices --json`.
#[derive(Debug, Serialize)]
struct ChoicesReport<'a> {
    schema: &'static str,
    model: &'a str,
    #[serde(flatten)]
    answers: Answers,
}

/// Measures it.
pub(super) fn run(session: &mut Session, command: &EvalCommand) -> Result<(), Failure> {
    match command {
        EvalCommand::BitsPerByte(options) => bits_per_byte(session, options),
        EvalCommand::Choices(options) => choices(session, options),
        EvalCommand::WinRate(options) => rounds::win_rate(session, options),
        EvalCommand::Gate(options) => rounds::gate(session, options),
        EvalCommand::Goodhart(options) => rounds::goodhart(session, options),
    }
}

/// A model that is ready to read.
struct Ready {
    weights: Weights,
    tokenizer: Tokenizer,
    batch: BatchOptions,
    /// The token before every text.
    beginning: Option<u32>,
}

/// A model whose weights are not read yet.
struct Found {
    outline: Outline,
    tokenizer: Tokenizer,
    batch: BatchOptions,
    /// The token before every text.
    beginning: Option<u32>,
}

impl Found {
    fn new(
        session: &mut Session,
        engine: &EngineOptions,
        slots: &SlotsOption,
    ) -> Result<Self, Failure> {
        let located = locate::locate(session, engine)?;
        Self::of(&located, engine, slots.slots.get())
    }

    fn of(located: &Located, engine: &EngineOptions, slots: usize) -> Result<Self, Failure> {
        let outline = models::outline(located, engine)?;
        let tokenizer = loading::read_tokenizer(located.tokenizer_path());
        let tokenizer = tokenizer.map_err(|error| models::cannot_use(located, error))?;
        let batch = outline.batch_options(engine, slots)?;
        let beginning = tokenizer.beginning_of_text();
        Ok(Self { outline, tokenizer, batch, beginning })
    }

    /// The same, with a special token by its name before every text.
    fn begin_with(mut self, name: Option<&str>) -> Result<Self, Failure> {
        if let Some(name) = name {
            let unknown = || {
                let message = format!("the model has no special token `{}`", shown(name));
                Failure::usage(message, "see `scribe tokenizer show` and `scribe models show`")
            };
            self.beginning = Some(self.tokenizer.special(name).ok_or_else(unknown)?);
        }
        Ok(self)
    }

    fn load(self, session: &mut Session) -> Result<Ready, Failure> {
        plan::check_memory(&mut session.terminal, &self.outline, &self.batch)?;
        let weights = models::load(session, self.outline, Outline::load)?;
        let Self { tokenizer, batch, beginning, .. } = self;
        Ok(Ready { weights, tokenizer, batch, beginning })
    }
}

impl Ready {
    fn reader(&self) -> Reader<'_> {
        let reader = Reader::new(&self.weights.model, &self.tokenizer, &self.batch);
        Reader { beginning: self.beginning, ..reader }
    }
}

fn bits_per_byte(session: &mut Session, options: &BitsPerByteOptions) -> Result<(), Failure> {
    // What is wrong with the text shows before the weights are read.
    let found = Found::new(session, &options.engine, &options.slots)?
        .begin_with(options.begin_with.as_deref())?;
    let (ready, measured, baselines) = match &options.what {
        What { corpus: Some(path), .. } => {
            let corpus = open_corpus(path)?;
            let tokenizer = match &options.tokenizer {
                Some(path) => tokenizers::read_file(path)?,
                None => found.tokenizer.clone(),
            };
            let texts = Texts::new(&corpus, &tokenizer).map_err(cannot_measure)?;
            let ready = found.load(session)?;
            let bytes = texts.bytes(Split::Validation)?;
            let measured = measure(session, &ready, bytes, texts.of(Split::Validation)?)?;
            let baselines =
                if options.baselines { baselines(session, &texts)? } else { Vec::new() };
            (ready, measured, baselines)
        }
        What { text, .. } => {
            let texts = read_texts(text.as_deref().unwrap_or(Path::new("")))?;
            let ready = found.load(session)?;
            let bytes = texts.iter().map(|text| text.len() as u64).sum();
            let measured = measure(session, &ready, bytes, texts.into_iter().map(Ok))?;
            (ready, measured, Vec::new())
        }
    };
    show_bits(session, &ready, &measured, &baselines)
}

/// Bits per byte of the held-out texts of a corpus under a model and under the baselines; `None`
/// where nothing is held out. The corpus was built with the model's tokenizer.
pub(super) fn held_out(
    session: &mut Session,
    located: &Located,
    engine: &EngineOptions,
    corpus: &Path,
) -> Result<Option<Vec<(String, BitsPerByte)>>, Failure> {
    let corpus = open_corpus(corpus)?;
    if corpus.facts().validation.tokens == 0 {
        return Ok(None);
    }
    let (tokenizer, figure) = model_on_held_out(session, located, engine, &corpus)?;
    let texts = Texts::new(&corpus, &tokenizer).map_err(cannot_measure)?;
    let mut figures = vec![(located.name.clone(), figure)];
    let baselines = baselines(session, &texts)?.into_iter();
    figures.extend(baselines.map(|(name, figure)| (name.to_owned(), figure)));
    Ok(Some(figures))
}

/// As [`held_out`], under the model alone.
pub(super) fn held_out_bits(
    session: &mut Session,
    located: &Located,
    engine: &EngineOptions,
    corpus: &Path,
) -> Result<Option<BitsPerByte>, Failure> {
    let corpus = open_corpus(corpus)?;
    if corpus.facts().validation.tokens == 0 {
        return Ok(None);
    }
    Ok(Some(model_on_held_out(session, located, engine, &corpus)?.1))
}

/// What a model needs for the held-out texts of a corpus, and the tokenizer that they are in.
fn model_on_held_out(
    session: &mut Session,
    located: &Located,
    engine: &EngineOptions,
    corpus: &Corpus,
) -> Result<(Tokenizer, BitsPerByte), Failure> {
    let found = Found::of(located, engine, SLOTS_DEFAULT.get())?;
    let tokenizer = found.tokenizer.clone();
    let texts = Texts::new(corpus, &tokenizer).map_err(cannot_measure)?;
    let ready = found.load(session)?;
    let bytes = texts.bytes(Split::Validation)?;
    let measured = measure(session, &ready, bytes, texts.of(Split::Validation)?)?;
    Ok((tokenizer, measured.figure))
}

/// A corpus that is there.
fn open_corpus(path: &Path) -> Result<Corpus, Failure> {
    if !path.is_dir() {
        return Err(Failure::not_found(
            format!("there is no corpus at `{}`", path.display()),
            "name the folder of a corpus",
        ));
    }
    Ok(Corpus::open(path)?)
}

fn read_texts(path: &Path) -> Result<Vec<String>, Failure> {
    if !path.exists() {
        return Err(Failure::not_found(
            format!("there is no file `{}`", path.display()),
            "name a file of text, Markdown or JSON lines",
        ));
    }
    Ok(evals::read_texts(path)?)
}

/// An error that has to do with the corpus, with what to type.
fn cannot_measure(error: evals::Error) -> Failure {
    let hint = match &error {
        evals::Error::Corpus(corpus::Error::OtherTokenizer { .. }) => {
            Some("name the tokenizer.json of the corpus with --tokenizer".to_owned())
        }
        _ => None,
    };
    Failure { hint, ..Failure::from(error) }
}

/// Measures texts that have so many bytes, showing progress.
fn measure(
    session: &mut Session,
    ready: &Ready,
    bytes: u64,
    texts: impl Iterator<Item = Result<String, evals::Error>>,
) -> Result<Measured, Failure> {
    let mut progress = Progress::new(&mut session.terminal);
    progress.begin("reading text", 0, bytes);
    let measured = ready.reader().bits_per_byte(texts, &mut |done| progress.advance(done));
    drop(progress);
    let measured = measured?;
    if measured.changed_documents > 0 {
        session.terminal.warn(format_args!(
            "in {} of {} documents the model's tokens stand for a text that is a little different",
            measured.changed_documents,
            measured.documents()
        ));
    }
    Ok(measured)
}

fn baselines(
    session: &mut Session,
    texts: &Texts<'_>,
) -> Result<Vec<(&'static str, BitsPerByte)>, Failure> {
    session.terminal.note("measuring the baselines");
    Ok(evals::baselines(texts)?.to_vec())
}

fn show_bits(
    session: &mut Session,
    ready: &Ready,
    measured: &Measured,
    baselines: &[(&'static str, BitsPerByte)],
) -> Result<(), Failure> {
    let name = ready.weights.name.as_str();
    let row = |name, figure: &BitsPerByte| BitsRow {
        name,
        bits_per_byte: figure.value(),
        bits: figure.bits,
    };
    let mut rows = vec![row(name, &measured.figure)];
    rows.extend(baselines.iter().map(|(name, figure)| row(name, figure)));
    let (documents, Measured { figure, tokens, .. }) = (measured.documents(), measured);
    let (bytes, window_tokens) = (figure.bytes, ready.reader().window()?);
    let terminal = &mut session.terminal;
    if terminal.wants_json() {
        let schema = "scribe.eval.bits-per-byte/1";
        terminal.json(&BitsReport {
            schema,
            model: name,
            window_tokens,
            documents,
            tokens: *tokens,
            bytes,
            rows,
            bits_of_documents: &measured.bits_of_documents,
        })?;
        return Ok(());
    }
    terminal.note(format_args!(
        "{documents} documents, {bytes} bytes, {tokens} tokens of the model in windows of \
         {window_tokens}"
    ));
    let cells = |row: &BitsRow<'_>| vec![row.name.to_owned(), format!("{:.4}", row.bits_per_byte)];
    terminal.table(&["MODEL", "BITS PER BYTE"], &rows.iter().map(cells).collect::<Vec<_>>())?;
    Ok(())
}

fn choices(session: &mut Session, options: &ChoicesOptions) -> Result<(), Failure> {
    let tasks = read_tasks(&options.tasks)?;
    let found = Found::new(session, &options.engine, &options.slots)?;
    let ready = found.load(session)?;
    let mut progress = Progress::new(&mut session.terminal);
    progress.begin_tasks("answering", tasks.len() as u64);
    let answers = ready.reader().likelihood(&tasks, &mut |done| progress.advance(done));
    drop(progress);
    show_answers(session, &ready.weights.name, answers?)
}

fn read_tasks(path: &Path) -> Result<Vec<Task>, Failure> {
    let tasks = likelihood::read_tasks(path).map_err(|error| match &error {
        evals::Error::Read { source, .. } if source.kind() == std::io::ErrorKind::NotFound => {
            Failure::not_found(error.to_string(), "name a file of tasks")
        }
        _ => error.into(),
    })?;
    if tasks.is_empty() {
        let message = format!("there is no task in `{}`", path.display());
        return Err(Failure::usage(message, "see `scribe eval choices --help`"));
    }
    Ok(tasks)
}

fn show_answers(session: &mut Session, model: &str, answers: Answers) -> Result<(), Failure> {
    let terminal = &mut session.terminal;
    if answers.cut > 0 {
        terminal.warn(format_args!(
            "{} contexts were cut, because they are longer than the context window",
            answers.cut
        ));
    }
    if terminal.wants_json() {
        terminal.json(&ChoicesReport { schema: "scribe.eval.choices/1", model, answers })?;
        return Ok(());
    }
    terminal.note(format_args!("{model}: {} tasks", answers.tasks));
    let percent = |share: f64| format!("{:.1} %", 100.0 * share);
    let row = |name: &str, Share { value, standard_error }: Share| {
        let error = standard_error.map_or_else(|| "unknown".to_owned(), percent);
        vec![name.to_owned(), percent(value), error]
    };
    let rows = [
        row("by likelihood", answers.accuracy),
        row("by likelihood per byte", answers.accuracy_by_bytes),
        vec!["by chance".to_owned(), percent(answers.chance), String::new()],
    ];
    terminal.table(&["ANSWERS", "RIGHT", "STANDARD ERROR"], &rows)?;
    Ok(())
}
