//! `scribe reward`: what people preferred becomes a model that scores.

mod page;
mod tell;

use std::path::Path;

use artifacts::disk::RealDisk;
use clap::Args;
use comparisons::store::{RowId, Snapshot};
use engine::Device;
use training::recipe::PpoRecipe;
use training::reward::{EncodedComparisons, REPORT_FILE, RewardEvent, RewardReport, RewardStage};

use super::people::{Ground, PeopleArguments, RoundArgument, make_folder};
use super::progress::Progress;
use super::{Failure, Session};
use crate::labeling::open_store;
use crate::locale::Language;

/// What to learn from, and where.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  scribe compare import rankings.jsonl --run runs/tiny\n  scribe \
                        reward recipes/tiny.toml --run runs/tiny\n\nThe model begins as the one that \
                        the run has taught to answer, with one number in place of the next token. \
                        What was ranked is held out for a share of the prompts, to measure on, \
                        beside the length of answers and a bag of bigrams. With [reward.lora] an \
                        adapter learns, with [reward.dpo] a policy learns from the same pairs to \
                        be compared with."
)]
pub struct RewardOptions {
    #[command(flatten)]
    people: PeopleArguments,

    #[command(flatten)]
    round: RoundArgument,

    /// The language of the page about it
    #[arg(
        long,
        env = "SCRIBE_LANGUAGE",
        value_enum,
        default_value_t,
        value_name = "LANGUAGE",
        hide_env_values = true
    )]
    language: Language,
}

/// Trains.
pub(super) fn run(session: &mut Session, options: &RewardOptions) -> Result<(), Failure> {
    let device = Device::cpu(&options.people.device.options())?;
    let ground = Ground::open(session, &options.people, &device)?;
    let round = options.round.round.get();
    let report = make(session, &device, &ground, round)?;
    let folder = ground.run.reward(round);
    match page::write(&folder, &report, options.language) {
        Ok(path) => session.terminal.note(format_args!("{} shows it", path.display())),
        Err(Failure { error, .. }) => {
            let error = error.unwrap_or_else(|| anyhow::anyhow!("it was stopped"));
            session.terminal.warn(format_args!("there is no page about it: {error:#}"));
        }
    }
    tell::tell(session, &folder, &report)
}

/// Trains the reward models of a round that are not there yet, on the comparisons of all rounds so far.
pub(super) fn make(
    session: &mut Session,
    device: &Device,
    ground: &Ground,
    round: usize,
) -> Result<RewardReport, Failure> {
    let recipe = ground.recipe.reward()?.clone();
    let ppo = ground.recipe.ppo().cloned().unwrap_or_default();
    let mut comparisons = EncodedComparisons::default();
    let mut read = Vec::with_capacity(round);
    for path in (1..=round).map(|round| ground.run.comparisons(round)) {
        // As they are now: people may go on ranking while a model learns.
        let snapshot = snapshot(&path)?;
        let ids = encode(&snapshot, ground, (&ppo, recipe.held_out), &mut comparisons)?;
        read.push((path, ids));
    }
    tell_left_out(session, &comparisons);
    let folder = ground.run.reward(round);
    make_folder(&folder)?;
    let stage = RewardStage {
        recipe,
        seed: ground.recipe.seed(),
        base: ground.base.clone(),
        base_name: ground.run.name_from(&ground.run.reward_model(round, 1), &ground.base),
        tokenizer: ground.tokenizer_folder(),
        rollouts: ground.rollouts(&ppo),
        folder,
    };
    let report = learn(session, &stage, device, &comparisons)?;
    for (path, ids) in &read {
        let (mut store, _) = open_store(path)?;
        for model in &report.models {
            store.record_use(model.identity, ids)?;
        }
    }
    Ok(report)
}

/// What the training of a round left that is over.
pub(super) fn report(ground: &Ground, round: usize) -> Result<RewardReport, Failure> {
    let path = ground.run.reward(round).join(REPORT_FILE);
    Ok(serde_json::from_str(&artifacts::read_text(&path)?)?)
}

/// The comparisons of a round.
fn snapshot(path: &Path) -> Result<Snapshot<RealDisk>, Failure> {
    if !path.exists() {
        return Err(Failure::not_found(
            format!("there are no comparisons at `{}`", path.display()),
            "import some: scribe compare import FILE --run DIR",
        ));
    }
    Ok(Snapshot::open(RealDisk, path)?)
}

/// Adds the comparisons of a store in tokens, and returns the rows that they stand in.
fn encode(
    store: &Snapshot<RealDisk>,
    ground: &Ground,
    (ppo, held_out): (&PpoRecipe, f64),
    encoded: &mut EncodedComparisons,
) -> Result<Vec<RowId>, Failure> {
    let encoding = ground.encoding(ppo);
    let mut ids = Vec::new();
    store.for_each(|id, comparison| {
        ids.push(id);
        encoded.add(&comparison, &encoding, held_out)?;
        Ok::<_, anyhow::Error>(())
    })?;
    Ok(ids)
}

fn tell_left_out(session: &mut Session, comparisons: &EncodedComparisons) {
    for (reason, count) in &comparisons.left_out {
        let (what, whose) = match count {
            1 => ("comparison is", "its"),
            _ => ("comparisons are", "their"),
        };
        let why = sentence(reason, whose);
        session.terminal.warn(format_args!("{count} {what} left out: {why}"));
    }
    session.terminal.note(format_args!(
        "{} comparisons to learn from, {} held out",
        comparisons.train.len(),
        comparisons.held_out.len()
    ));
}

fn learn(
    session: &mut Session,
    stage: &RewardStage,
    device: &Device,
    comparisons: &EncodedComparisons,
) -> Result<RewardReport, Failure> {
    let mut progress = Progress::new(&mut session.terminal);
    let models = stage.recipe.models;
    let report = stage.run(device, comparisons, &mut |event| match event {
        RewardEvent::Baselines => {
            progress.begin_open_rows("learning what it has to be better than")
        }
        RewardEvent::Dpo { step, steps, seen } => {
            let label = format!("DPO, to compare with, loss {:.3}", seen.loss);
            show(&mut progress, label, step, steps);
        }
        RewardEvent::Step { model, step, steps, seen } => {
            let label = format!("reward model {model} of {models}, loss {:.3}", seen.loss);
            show(&mut progress, label, step, steps);
        }
        RewardEvent::Measuring { .. } => progress.relabel("measuring what it learned"),
        _ => {}
    })?;
    progress.end();
    Ok(report)
}

/// A step, counted from 1, of so many.
fn show(progress: &mut Progress<'_>, label: String, step: u64, steps: u64) {
    match step {
        1 => progress.begin_things(label, "steps", 1, steps),
        _ => progress.relabel(label),
    }
    progress.advance(step);
}

/// Why comparisons are left out, and what would let them in.
fn sentence(reason: &str, whose: &str) -> String {
    match reason {
        "equal when cut" => format!(
            "{whose} completions are equal where they are cut; raise ppo.completion_tokens, or \
             compare shorter answers"
        ),
        "longer than the context" => format!(
            "with {whose} prompt the longest completion is longer than what the model attends to; \
             lower ppo.completion_tokens, or compare answers to shorter prompts"
        ),
        "skipped" => "whoever saw it ranked nothing".to_owned(),
        other => other.to_owned(),
    }
}
