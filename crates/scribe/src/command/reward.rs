//! `scribe reward`: what people preferred becomes a model that scores.

use std::path::{Path, PathBuf};

use clap::Args;
use comparisons::store::{RowId, Store};
use engine::Device;
use serde::Serialize;
use training::recipe::PpoRecipe;
use training::reward::{EncodedComparisons, RewardEvent, RewardReport, RewardStage};

use super::people::{Ground, PeopleArguments, RoundArgument, make_folder};
use super::progress::Progress;
use super::{Failure, Session};

/// What to learn from, and where.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  scribe compare import rankings.jsonl --run runs/tiny\n  scribe \
                        reward recipes/tiny.toml --run runs/tiny\n\nThe model begins as the one that \
                        the run has taught to answer, with one number in place of the next token. \
                        What was ranked is held out for a share of the prompts, to measure on."
)]
pub struct RewardOptions {
    #[command(flatten)]
    people: PeopleArguments,

    #[command(flatten)]
    round: RoundArgument,
}

/// `scribe reward --json`.
#[derive(Debug, Serialize)]
struct Told<'a> {
    schema: &'static str,
    folder: &'a Path,
    #[serde(flatten)]
    report: &'a RewardReport,
}

/// Trains.
pub(super) fn run(session: &mut Session, options: &RewardOptions) -> Result<(), Failure> {
    let device = Device::cpu(&options.people.device.options())?;
    let ground = Ground::open(&options.people, &device)?;
    let round = options.round.round.get();
    let report = make(session, &device, &ground, round)?;
    tell(session, &ground.run.reward(round), &report)
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
    let stores = (1..=round).map(|round| open_store(&ground.run.comparisons(round)));
    let mut stores = stores.collect::<Result<Vec<_>, _>>()?;
    let mut comparisons = EncodedComparisons::default();
    let mut ids = Vec::with_capacity(stores.len());
    for store in &stores {
        ids.push(encode(store, ground, (&ppo, recipe.held_out), &mut comparisons)?);
    }
    tell_left_out(session, &comparisons);
    let folder = ground.run.reward(round);
    make_folder(&folder)?;
    let stage = RewardStage {
        recipe,
        seed: ground.recipe.seed(),
        base: ground.base.clone(),
        tokenizer: ground.tokenizer_folder(),
        rollouts: ground.rollouts(&ppo),
        folder,
    };
    let report = learn(session, &stage, device, &comparisons)?;
    for (store, ids) in stores.iter_mut().zip(&ids) {
        for model in &report.models {
            store.record_use(model.identity, ids)?;
        }
    }
    Ok(report)
}

/// The comparisons of a round.
fn open_store(path: &Path) -> Result<Store, Failure> {
    if !path.exists() {
        return Err(Failure::not_found(
            format!("there are no comparisons at `{}`", path.display()),
            "import some: scribe compare import FILE --run DIR",
        ));
    }
    Ok(Store::open(path)?.0)
}

/// Adds the comparisons of a store in tokens, and returns the rows that they stand in.
fn encode(
    store: &Store,
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
        session.terminal.warn(format_args!("{count} comparisons are left out: {reason}"));
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
        RewardEvent::Step { model, step, steps, seen } => {
            let label = format!("reward model {model} of {models}, loss {:.3}", seen.loss);
            match step {
                1 => progress.begin_things(label, "steps", 1, steps),
                _ => progress.relabel(label),
            }
            progress.advance(step);
        }
        RewardEvent::Measuring { .. } => progress.relabel("measuring what it learned"),
        _ => {}
    })?;
    progress.end();
    Ok(report)
}

fn tell(session: &mut Session, folder: &Path, report: &RewardReport) -> Result<(), Failure> {
    let terminal = &mut session.terminal;
    if terminal.wants_json() {
        let told = Told { schema: "scribe.reward/1", folder, report };
        return Ok(terminal.json(&told)?);
    }
    let row = |(number, model): (usize, &training::reward::MemberReport)| {
        let percent = |share: f64| format!("{:.1} %", 100.0 * share);
        let [low, high] = model.accuracy_interval;
        let held_out = match model.pairs {
            0 => "nothing held out".to_owned(),
            pairs => format!(
                "{} ({} to {}) of {pairs} pairs",
                percent(model.accuracy),
                percent(low),
                percent(high)
            ),
        };
        let loss = format!("{:.3}", model.loss);
        vec![format!("{number}"), loss, percent(model.train_accuracy), held_out]
    };
    let rows: Vec<_> = (1..).zip(&report.models).map(row).collect();
    terminal.table(&["MODEL", "LOSS", "AGREES, LEARNED", "AGREES, HELD OUT"], &rows)?;
    terminal.line(PathBuf::from(folder).display())?;
    Ok(())
}
