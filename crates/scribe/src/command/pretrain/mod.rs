//! `scribe pretrain`: from raw text to a model that writes, in one command that may be stopped at
//! any moment.

pub(super) mod estimate;
mod report;
mod samples;

use std::path::{Path, PathBuf};

use clap::Args;
use corpus::Source;
use engine::Device;
use serde::Serialize;
use training::{Recipe, RunFolder, Stage, text};

use super::stage::{self, Outcome, StageArguments, TextShow};
use super::{Failure, Session};
use crate::locale::Language;
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

    /// The language of the report
    #[arg(
        long,
        env = "SCRIBE_LANGUAGE",
        value_enum,
        default_value_t,
        value_name = "LANGUAGE",
        hide_env_values = true
    )]
    language: Language,

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

/// Trains, or says what that would take.
pub(super) fn run(session: &mut Session, options: &PretrainOptions) -> Result<(), Failure> {
    let recipe =
        Recipe::read(&options.recipe).map_err(|error| stage::refused(&options.recipe, error))?;
    let device = Device::cpu(&options.stage.device.options())?;
    let Some(folder) = options.run.as_deref().filter(|_| !options.dry_run) else {
        return estimate::show(session, &recipe, &device);
    };
    let sources = stage::sources(session, &recipe.corpus)?;
    let run = RunFolder::open(folder, &recipe.pretraining_toml())?;
    prepare(session, &run, &recipe, sources, &device)?;
    let work = Stage::pretrain(&run, &recipe)?;
    let outcome = stage::train(session, "pretraining", work, &device, &options.stage);
    let samples = match &outcome {
        Ok(Outcome { finished: true, model: Some(model), .. }) => {
            samples::write(model, &run, &recipe, &options.stage.device)?
        }
        _ => Vec::new(),
    };
    // A run that failed has a page, too: it shows where.
    let page = write_report(session, &run, &recipe, options.language);
    let outcome = outcome?;
    tell(session, folder, &outcome, &samples, page.as_deref())?;
    if outcome.finished {
        return Ok(());
    }
    let (recipe, run) = (options.recipe.display(), folder.display());
    let command = format!("scribe pretrain {recipe} --run {run}");
    Err(stage::tell_stopped(session, &outcome, &command))
}

/// Says what was made.
fn tell(
    session: &mut Session,
    run: &Path,
    outcome: &Outcome,
    samples: &[Sample],
    report: Option<&Path>,
) -> Result<(), Failure> {
    let terminal = &mut session.terminal;
    if terminal.wants_json() {
        terminal.json(&Report {
            schema: "scribe.pretrain/1",
            run,
            outcome,
            validation_bits_per_byte: outcome.validation.map(|look| look.bits_per_byte),
            samples,
            report,
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

/// Writes the page about the run; a run that went well does not fail by it.
fn write_report(
    session: &mut Session,
    run: &RunFolder,
    recipe: &Recipe,
    language: Language,
) -> Option<PathBuf> {
    match report::write(run, recipe, language) {
        Ok(path) => {
            session.terminal.note(format_args!("{} shows how it went", path.display()));
            Some(path)
        }
        Err(Failure { error, .. }) => {
            let error = error.unwrap_or_else(|| anyhow::anyhow!("it was stopped"));
            session.terminal.warn(format_args!("there is no report of the run: {error:#}"));
            None
        }
    }
}

/// Makes the tokenizer and the corpus of the run, where they are not there.
fn prepare(
    session: &mut Session,
    run: &RunFolder,
    recipe: &Recipe,
    sources: Vec<Source>,
    device: &Device,
) -> Result<(), Failure> {
    let threads = stage::threads(device);
    let mut show = TextShow::new(session, recipe.tokenizer.vocabulary);
    text::make_tokenizer(run, recipe, &sources, threads, &mut |at| show.show(at))?;
    let report = text::make_corpus(run, recipe, sources, threads, &mut |at| show.show(at))?;
    show.tell(&report, &run.corpus());
    Ok(())
}
