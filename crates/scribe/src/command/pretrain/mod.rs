//! `scribe pretrain`: from raw text to a model that writes, in one command that may be stopped at
//! any moment.

pub(super) mod estimate;
pub(super) mod samples;

use std::path::{Path, PathBuf};

use clap::Args;
use corpus::Source;
use corpus::sources::RowKind;
use engine::Device;
use serde::Serialize;
use training::{Recipe, RunFolder, Stage, text};

use super::stage::report::{self, Subject};
use super::stage::{self, Outcome, StageArguments, TextShow, Work};
use super::{Failure, Session};
use crate::run_state::Sample;

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

    #[command(flatten)]
    stage: StageArguments,
}

/// `scribe pretrain --json`.
#[derive(Debug, Serialize)]
struct Report<'a> {
    schema: &'static str,
    run: &'a Path,
    #[serde(flatten)]
    outcome: &'a Outcome,
    validation_bits_per_byte: Option<f64>,
    samples: &'a [Sample],
    /// A page about the run, if it could be written.
    report: Option<&'a Path>,
}

/// What pretraining leaves.
#[derive(Debug)]
pub(super) struct Pretrained {
    pub(super) outcome: Outcome,
    /// What the model wrote, once it has learned.
    pub(super) samples: Vec<Sample>,
    /// A page about it, if it could be written.
    pub(super) report: Option<PathBuf>,
}

/// Trains, or says what that would take.
pub(super) fn run(session: &mut Session, options: &PretrainOptions) -> Result<(), Failure> {
    let recipe =
        Recipe::read(&options.recipe).map_err(|error| stage::refused(&options.recipe, error))?;
    let Some(folder) = options.run.as_deref().filter(|_| !options.dry_run) else {
        let device = Device::cpu(&options.stage.device.options())?;
        return estimate::show(session, &recipe, &device);
    };
    estimate::check_memory(&recipe, &options.stage)?;
    let sources = stage::sources(session, &recipe.corpus, RowKind::Text)?;
    let run = RunFolder::open(folder, &recipe.pretraining_toml())?;
    let command =
        format!("scribe pretrain {} --run {}", options.recipe.display(), folder.display());
    let work = Work::new(session, &options.stage, &command)?;
    let made = make(session, &run, &recipe, sources, &work)?;
    tell(session, folder, &made)?;
    stage::ended(session, &made.outcome, &command)
}

/// Makes what is not there of tokenizer, corpus and model, with samples and a page.
pub(super) fn make(
    session: &mut Session,
    run: &RunFolder,
    recipe: &Recipe,
    sources: Vec<Source>,
    work: &Work<'_>,
) -> Result<Pretrained, Failure> {
    prepare(session, run, recipe, sources, work)?;
    let stage = Stage::pretrain(run, recipe)?;
    let outcome = stage::train(session, "pretraining", stage, work);
    let samples = match &outcome {
        Ok(Outcome { finished: true, model: Some(model), .. }) => {
            samples::write(model, run, recipe, &work.device)?
        }
        _ => Vec::new(),
    };
    // A run that failed has a page, too: it shows where.
    let subject = Subject::of_pretraining(run, recipe);
    let report = report::tell(session, &subject, work.arguments.language);
    Ok(Pretrained { outcome: outcome?, samples, report })
}

/// Says what was made.
fn tell(session: &mut Session, run: &Path, made: &Pretrained) -> Result<(), Failure> {
    let Pretrained { outcome, samples, report } = made;
    let terminal = &mut session.terminal;
    if terminal.wants_json() {
        terminal.json(&Report {
            schema: "scribe.pretrain/1",
            run,
            outcome,
            validation_bits_per_byte: outcome.validation.map(|look| look.bits_per_byte),
            samples,
            report: report.as_deref(),
        })?;
    } else if let (true, Some(model)) = (outcome.finished, &outcome.model) {
        for sample in samples {
            terminal.heading(&sample.prompt)?;
            terminal.piece(&format!("{}\n\n", sample.text))?;
        }
        terminal.line(model.display())?;
    }
    Ok(())
}

/// Makes the tokenizer and the corpus of the run, where they are not there.
fn prepare(
    session: &mut Session,
    run: &RunFolder,
    recipe: &Recipe,
    sources: Vec<Source>,
    work: &Work<'_>,
) -> Result<(), Failure> {
    let threads = work.threads();
    let mut show = TextShow::new(session, recipe.tokenizer.vocabulary);
    stage::timed(run, &run.tokenizer(), || {
        text::make_tokenizer(run, recipe, &sources, threads, &mut |at| show.show(at))
    })?;
    let report = stage::timed(run, &run.corpus(), || {
        text::make_corpus(run, recipe, sources, threads, &mut |at| show.show(at))
    })?;
    show.tell(&report, &run.corpus());
    Ok(())
}
