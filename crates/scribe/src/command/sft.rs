//! `scribe sft`: a model learns to answer from conversations.

use std::path::{Path, PathBuf};

use clap::Args;
use corpus::Source;
use corpus::sources::RowKind;
use serde::Serialize;
use training::fine_tune::{self, Base};
use training::recipe::AnyRecipe;
use training::{RunFolder, Stage};

use super::stage::report::{self, Subject};
use super::stage::{self, Outcome, StageArguments, TextShow, Work};
use super::{Failure, Session, locate};
use crate::loading;

/// What to teach, and where.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  scribe sft recipes/tiny.toml --run runs/tiny\n  scribe sft \
                        recipes/answers.toml --run runs/answers\n\nA recipe with a `base` teaches \
                        that model: a name from `scribe models list`, a .gguf file or a folder; \
                        any other recipe teaches the model that the run has pretrained. With a \
                        section [sft.lora] an adapter learns and the model stays as it is. The \
                        same command goes on where it stopped.")]
pub struct SftOptions {
    /// What to learn from and how: a TOML file with the sections [conversations] and [sft]
    recipe: PathBuf,

    /// The folder of the run
    #[arg(long, value_name = "DIR")]
    run: PathBuf,

    #[command(flatten)]
    stage: StageArguments,
}

/// `scribe sft --json`.
#[derive(Debug, Serialize)]
struct Report<'a> {
    schema: &'static str,
    run: &'a Path,
    #[serde(flatten)]
    outcome: &'a Outcome,
    /// Nats for a token of held-out answers, before and after; absent where nothing is held out.
    validation_loss_before: Option<f64>,
    validation_loss: Option<f64>,
    /// A page about it, if it could be written.
    report: Option<&'a Path>,
}

/// What fine-tuning leaves.
#[derive(Debug)]
pub(super) struct FineTuned {
    pub(super) outcome: Outcome,
    /// A page about it, if it could be written.
    pub(super) report: Option<PathBuf>,
}

/// Teaches.
pub(super) fn run(session: &mut Session, options: &SftOptions) -> Result<(), Failure> {
    let recipe =
        AnyRecipe::read(&options.recipe).map_err(|error| stage::refused(&options.recipe, error))?;
    let (_, conversations, _) = recipe.fine_tune()?;
    let sources = stage::sources(session, conversations, RowKind::Conversation)?;
    let run = RunFolder::open(&options.run, &recipe.begin_toml())?;
    let command =
        format!("scribe sft {} --run {}", options.recipe.display(), options.run.display());
    let work = Work::new(session, &options.stage, &command)?;
    let made = make(session, &run, &recipe, sources, &work)?;
    tell(session, &options.run, &made)?;
    stage::ended(session, &made.outcome, &command)
}

/// Makes what is not there of tokenizer, corpus and model, with a page.
pub(super) fn make(
    session: &mut Session,
    run: &RunFolder,
    recipe: &AnyRecipe,
    sources: Vec<Source>,
    work: &Work<'_>,
) -> Result<FineTuned, Failure> {
    let (name, path) = base(session, run, recipe)?;
    let tokenizer = loading::read_tokenizer(&path)?;
    let outline = model::Outline::read(&work.device, &model::Source::detect(&path))?;
    let context_tokens = outline.config().context_tokens;
    let base = Base { name: &name, path: &path, tokenizer: &tokenizer, context_tokens };
    let mut show = TextShow::new(session, 0);
    let report =
        fine_tune::prepare(run, recipe, &base, sources, work.threads(), &mut |at| show.show(at))?;
    show.tell(&report, &run.fine_tuned_corpus());
    let stage = Stage::fine_tune(run, recipe, &base)?;
    work.arguments.check_memory(outline.config(), &stage.recipe, stage.row_tokens)?;
    let subject = Subject::of_fine_tuning(run, recipe, stage.row_tokens)?;
    let outcome = stage::train(session, "fine-tuning", stage, work);
    // A run that failed has a page, too: it shows where.
    let report = report::tell(session, &subject, work.arguments.language);
    Ok(FineTuned { outcome: outcome?, report })
}

/// The checkpoint that is taught, and what an adapter beside it is to call it.
fn base(
    session: &mut Session,
    run: &RunFolder,
    recipe: &AnyRecipe,
) -> Result<(String, PathBuf), Failure> {
    let recipe = match recipe {
        AnyRecipe::FineTune(recipe) => recipe,
        AnyRecipe::Whole(recipe) => {
            let path = run.finished_pretraining(recipe)?;
            return Ok((run.name_from_checkpoint(&path), path));
        }
    };
    let base = recipe.base_place();
    let located = locate::locate_model(session, Some(&base))?;
    if located.adapter.is_some() {
        return Err(Failure::usage(
            format!("`{}` is an adapter, beside which nothing is taught", recipe.base),
            "merge it first: `scribe models export` writes it and its model as one",
        ));
    }
    let is_path = Path::new(&base).exists();
    // A path means the same from everywhere; a name of the catalogue, on every machine.
    let name = match is_path {
        true => std::path::absolute(&located.path)?.display().to_string(),
        false => base,
    };
    Ok((name, located.path))
}

/// Says what was made.
fn tell(session: &mut Session, run: &Path, made: &FineTuned) -> Result<(), Failure> {
    let FineTuned { outcome, report } = made;
    let terminal = &mut session.terminal;
    if terminal.wants_json() {
        terminal.json(&Report {
            schema: "scribe.sft/1",
            run,
            outcome,
            validation_loss_before: outcome.before.map(|look| look.loss),
            validation_loss: outcome.validation.map(|look| look.loss),
            report: report.as_deref(),
        })?;
    } else if let (true, Some(model)) = (outcome.finished, &outcome.model) {
        if let (Some(before), Some(after)) = (outcome.before, outcome.validation) {
            terminal.note(format_args!(
                "held-out answers: {:.3} nats a token before, {:.3} after",
                before.loss, after.loss
            ));
        }
        terminal.line(model.display())?;
    }
    Ok(())
}
