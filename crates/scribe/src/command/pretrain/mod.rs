//! `scribe pretrain`: from raw text to a model that writes, in one command that may be stopped at
//! any moment.

mod estimate;
mod samples;
mod show;

use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};

use clap::Args;
use corpus::Source;
use engine::Device;
use serde::Serialize;
use training::recipe::SourceRecipe;
use training::text::{self, TextProgress};
use training::{Ended, Recipe, RunFolder, Stage, Trainer, TrainerOptions};

use self::samples::Sample;
use self::show::Show;
use super::interrupt::Interrupt;
use super::progress::Progress;
use super::{Exit, Failure, Session};
use crate::config::{DeviceArguments, count};

/// The most rows that may go through the model at once.
const MICRO_ROWS_MAX: usize = 1 << 16;

/// What to train, and where.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  scribe pretrain recipes/tiny.toml --run runs/tiny\n  scribe \
                        pretrain recipes/coffee.toml --dry-run\n\nThe same command goes on where a \
                        run stopped, however it ended. Ctrl-C saves first. The same recipe and \
                        text give the same bytes, on any number of threads and in micro-batches \
                        of any size.")]
pub struct PretrainOptions {
    /// What to learn from, which model, how many steps: a TOML file
    recipe: PathBuf,

    /// The folder of the run
    #[arg(long, value_name = "DIR", required_unless_present = "dry_run")]
    run: Option<PathBuf>,

    /// Print parameters, memory, arithmetic and time, and make nothing
    #[arg(long)]
    dry_run: bool,

    /// Rows that go through the model at once [default: about 2,048 tokens]
    #[arg(long, value_name = "N", value_parser = count::<MICRO_ROWS_MAX>)]
    micro_rows: Option<NonZeroUsize>,

    #[command(flatten)]
    device: DeviceArguments,
}

/// `scribe pretrain --json`.
#[derive(Debug, Serialize)]
struct Report<'a> {
    schema: &'static str,
    run: &'a Path,
    finished: bool,
    steps: u64,
    /// The newest checkpoint, which is a model that any command takes.
    model: Option<PathBuf>,
    loss: Option<f64>,
    validation_bits_per_byte: Option<f64>,
    samples: &'a [Sample],
}

/// Trains, or says what that would take.
pub(super) fn run(session: &mut Session, options: &PretrainOptions) -> Result<(), Failure> {
    let recipe = Recipe::read(&options.recipe).map_err(|error| refused(&options.recipe, error))?;
    let device = Device::cpu(&options.device.options())?;
    let Some(folder) = options.run.as_deref().filter(|_| !options.dry_run) else {
        return estimate::show(session, &recipe, &device);
    };
    let sources = sources(session, &recipe)?;
    let run = RunFolder::open(folder, &recipe)?;
    prepare(session, &run, &recipe, sources, &device)?;

    let interrupt = Interrupt::follow()?;
    let micro_rows = options.micro_rows.map(usize::from);
    let stage = Stage::pretrain(&run, &recipe)?;
    let mut trainer = Trainer::open(stage, &TrainerOptions { device, micro_rows })?;
    let mut show = Show::new(&mut session.terminal, &run, &recipe, &interrupt)?;
    let ended = trainer.run(&mut show)?;
    let (loss, validation) = show.last();
    drop(show);
    let samples = match (ended, trainer.newest_checkpoint()) {
        (Ended::Finished, Some(model)) => samples::write(&model, &run, &recipe, &options.device)?,
        _ => Vec::new(),
    };
    let report = Report {
        schema: "scribe.pretrain/1",
        run: folder,
        finished: ended == Ended::Finished,
        steps: trainer.steps_done(),
        model: trainer.newest_checkpoint(),
        loss,
        validation_bits_per_byte: validation,
        samples: &samples,
    };
    tell(session, &report, options)
}

/// Says what was made.
fn tell(
    session: &mut Session,
    report: &Report<'_>,
    options: &PretrainOptions,
) -> Result<(), Failure> {
    let terminal = &mut session.terminal;
    if terminal.wants_json() {
        terminal.json(report)?;
    } else if let (true, Some(model)) = (report.finished, &report.model) {
        for sample in report.samples {
            terminal.heading(&sample.prompt)?;
            terminal.piece(&format!("{}\n\n", sample.text))?;
        }
        terminal.line(model.display())?;
    }
    if report.finished {
        return Ok(());
    }
    let (recipe, run) = (options.recipe.display(), report.run.display());
    terminal.note(format_args!(
        "stopped after {} steps; go on with: scribe pretrain {recipe} --run {run}",
        report.steps
    ));
    Err(Failure::silent(Exit::Interrupted))
}

/// The sources of the recipe as the corpus reads them; sets are fetched if they are not here.
fn sources(session: &mut Session, recipe: &Recipe) -> Result<Vec<Source>, Failure> {
    recipe.corpus.sources.iter().map(|source| open_source(session, source)).collect()
}

fn open_source(session: &mut Session, recipe: &SourceRecipe) -> Result<Source, Failure> {
    let mut source = match (&recipe.path, &recipe.set) {
        (Some(path), _) => source_of_path(path)?,
        (None, set) => {
            super::corpus::open_set(session, set.as_deref().unwrap_or_default())?.source()
        }
    };
    source.kind = recipe.kind;
    if let Some(column) = &recipe.column {
        source.column.clone_from(column);
    }
    source.weight = recipe.weight()?;
    Ok(source)
}

fn source_of_path(path: &Path) -> Result<Source, Failure> {
    if !path.exists() {
        return Err(Failure::not_found(
            format!("there is no text at `{}`", path.display()),
            "relative paths of a recipe begin where it lies",
        ));
    }
    let name = path.file_name().map_or_else(String::new, |name| name.to_string_lossy().into());
    Ok(Source::text(name, path))
}

/// Makes the tokenizer and the corpus of the run, where they are not there.
fn prepare(
    session: &mut Session,
    run: &RunFolder,
    recipe: &Recipe,
    sources: Vec<Source>,
    device: &Device,
) -> Result<(), Failure> {
    let mut progress = Progress::new(&mut session.terminal);
    let mut stage = String::new();
    let mut show = |at: TextProgress<'_>| {
        let (label, done) = match at {
            TextProgress::Counting(source, rows) => (format!("reading {source}"), rows),
            TextProgress::Learning(tokens) => ("learning tokens".to_owned(), tokens as u64),
            TextProgress::Encoding(at) => (format!("encoding {}", at.source), at.tokens),
        };
        if stage != label {
            stage.clone_from(&label);
            match at {
                TextProgress::Counting(..) => progress.begin_open_rows(label),
                TextProgress::Learning(_) => {
                    progress.begin_tokens(label, recipe.tokenizer.vocabulary as u64);
                }
                TextProgress::Encoding(_) => progress.begin_open_tokens(label, done),
            }
        }
        progress.advance(done);
    };
    let threads = NonZeroUsize::new(device.threads()).unwrap_or(NonZeroUsize::MIN);
    text::make_tokenizer(run, recipe, &sources, threads, &mut show)?;
    let report = text::make_corpus(run, recipe, sources, &mut show)?;
    progress.note(format_args!(
        "{} tokens to learn from, {} held out; {} says what was dropped and why",
        report.train.tokens,
        report.validation.tokens,
        run.corpus().join("report.txt").display()
    ));
    Ok(())
}

/// The failure with the exit code that fits.
fn refused(path: &Path, error: training::Error) -> Failure {
    match &error {
        training::Error::Read { source, .. } if source.kind() == std::io::ErrorKind::NotFound => {
            Failure::not_found(
                format!("there is no recipe at `{}`", path.display()),
                "name one, such as recipes/tiny.toml",
            )
        }
        training::Error::Read { .. } => error.into(),
        _ => Failure { exit: Exit::Usage, ..error.into() },
    }
}
