//! `scribe story`: from raw text to a model that answers, in one command that may be stopped at any
//! moment, with a report card at the end.

mod card;
mod measure;
mod page;

use std::path::PathBuf;

use clap::Args;
use corpus::sources::RowKind;
use training::recipe::AnyRecipe;
use training::{Recipe, RunFolder};

use self::card::Card;
use super::pretrain::estimate;
use super::stage::{self, Outcome, StageArguments, Work};
use super::{Failure, Session, pretrain, sft};

/// What to make, and where.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  scribe story recipes/tiny.toml --run runs/tiny\n  scribe story \
                        recipes/tiny.toml --run runs/tiny --language fr\n\nIt makes a tokenizer, a \
                        corpus, a model that writes (as `scribe pretrain`), and the same model \
                        taught to answer (as `scribe sft`), where the recipe has [conversations] \
                        and [sft]; then it measures both, and leaves report-card.md and \
                        report-card.html in the run. What is there is not made again: the same \
                        command goes on where a run stopped, whichever command began it."
)]
pub struct StoryOptions {
    /// What to learn from, which model, how many steps: a TOML file
    recipe: PathBuf,

    /// The folder of the run
    #[arg(long, value_name = "DIR")]
    run: PathBuf,

    #[command(flatten)]
    stage: StageArguments,
}

/// Makes what is not there of a run up to the model that answers.
pub(super) fn teach(
    session: &mut Session,
    run: &RunFolder,
    recipe: &AnyRecipe,
    work: &Work<'_>,
    command: &str,
) -> Result<(), Failure> {
    use training::Error::{NotFineTuned, NotPretrained};
    match run.finished_fine_tuning(recipe) {
        Err(NotFineTuned { .. } | NotPretrained { .. }) => (),
        there => return Ok(there.map(drop)?),
    }
    // What is wrong with the conversations shows before the hours of pretraining.
    let (_, conversations, _) = recipe.fine_tune()?;
    let conversations = stage::sources(session, conversations, RowKind::Conversation)?;
    if let AnyRecipe::Whole(whole) = recipe {
        estimate::check_memory(whole, work.arguments)?;
        let texts = stage::sources(session, &whole.corpus, RowKind::Text)?;
        let pretrained = pretrain::make(session, run, whole, texts, work)?;
        go_on(session, &pretrained.outcome, work, command)?;
    }
    let taught = sft::make(session, run, recipe, conversations, work)?;
    go_on(session, &taught.outcome, work, command)
}

/// Makes what is not there, and tells of all.
pub(super) fn run(session: &mut Session, options: &StoryOptions) -> Result<(), Failure> {
    let recipe =
        AnyRecipe::read(&options.recipe).map_err(|error| stage::refused(&options.recipe, error))?;
    let AnyRecipe::Whole(whole) = &recipe else {
        return Err(Failure::usage(
            format!("`{}` begins with a model that is there", options.recipe.display()),
            "take a recipe that begins with text, such as recipes/tiny.toml, or use `scribe sft`",
        ));
    };
    // What is wrong with the conversations shows before the hours of pretraining.
    let conversations = match teaches(whole) {
        true => {
            let known = recipe.fine_tune();
            let (_, conversations, _) =
                known.map_err(|error| stage::refused(&options.recipe, error))?;
            Some(stage::sources(session, conversations, RowKind::Conversation)?)
        }
        false => None,
    };
    estimate::check_memory(whole, &options.stage)?;
    let texts = stage::sources(session, &whole.corpus, RowKind::Text)?;
    let run = RunFolder::open(&options.run, &recipe.begin_toml())?;
    let command =
        format!("scribe story {} --run {}", options.recipe.display(), options.run.display());
    let work = Work::new(session, &options.stage, &command)?;

    tell_stage(session, 1, "a model that writes");
    let pretrained = pretrain::make(session, &run, whole, texts, &work)?;
    go_on(session, &pretrained.outcome, &work, &command)?;
    let taught = match &conversations {
        Some(sources) => {
            tell_stage(session, 2, "a model that answers");
            let taught = sft::make(session, &run, &recipe, sources.clone(), &work)?;
            go_on(session, &taught.outcome, &work, &command)?;
            Some(taught)
        }
        None => {
            session.terminal.note("the recipe has no [conversations] and [sft]: no model answers");
            None
        }
    };

    session.terminal.note("measuring what was made");
    let made = measure::Made {
        run: &run,
        recipe: whole,
        pretrained: &pretrained,
        taught: taught.as_ref().zip(conversations.as_deref()),
    };
    let card = Card::of(session, &made, &work)?;
    card.write(&run, options.stage.language)?;
    card.show(session)
}

/// Whether a recipe has anything to say of answers; half of it is refused where it is read.
fn teaches(recipe: &Recipe) -> bool {
    recipe.conversations.is_some() || recipe.sft.is_some()
}

fn tell_stage(session: &mut Session, number: usize, what: &str) {
    session.terminal.note(format_args!("stage {number}: {what}"));
}

/// Ends the story where a stage was stopped, and where that was asked for at its very end.
fn go_on(
    session: &mut Session,
    outcome: &Outcome,
    work: &Work<'_>,
    command: &str,
) -> Result<(), Failure> {
    if outcome.finished && !work.interrupt.is_wanted() {
        return Ok(());
    }
    Err(stage::tell_stopped(session, outcome, command))
}
