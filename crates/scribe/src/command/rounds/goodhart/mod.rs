//! `scribe eval goodhart`: how a policy that follows a weak reward model too far becomes worse, where
//! the meter would have ended that, and what several reward models do about it.

mod arms;
mod figures;

use std::path::{Path, PathBuf};

use artifacts::disk::RealDisk;
use artifacts::folder;
use clap::Args;
use engine::Device;
use serde::Serialize;
use training::ppo::goodhart::BestOf;

use self::arms::{ARMS, Trial};
use self::figures::{Comparison, Figures};
use super::super::interrupt::Interrupt;
use super::super::people::{Ground, PagesArgument, PeopleArguments, make_folder};
use super::super::{Failure, Session};

/// The folder of all trials in that of the run.
const FOLDER: &str = "goodhart";
/// What was found, in that folder.
const FILE: &str = "goodhart.json";
/// The most trials at once.
const SEEDS_MAX: u64 = 1_000;

/// Which run, and how often.
#[derive(Debug, Args)]
pub struct GoodhartOptions {
    #[command(flatten)]
    people: PeopleArguments,

    #[command(flatten)]
    pages: PagesArgument,

    /// Trials, each with rankings, reward models and draws of its own
    #[arg(long, value_name = "N", default_value = "5",
        value_parser = clap::value_parser!(u64).range(1..=SEEDS_MAX))]
    seeds: u64,

    /// The seed of the first one; the others follow
    #[arg(long, value_name = "SEED", default_value = "1")]
    first_seed: u64,
}

/// `scribe eval goodhart --json`, and the file.
#[derive(Debug, Serialize)]
struct Told<'a> {
    schema: &'static str,
    trials: &'a [TrialFigures],
    /// Of each arm beside the first one.
    comparisons: Vec<Comparison>,
}

/// What one trial showed.
#[derive(Debug, Serialize)]
struct TrialFigures {
    seed: u64,
    /// How often the reward models agree with held-out rankings.
    accuracy: Vec<f64>,
    best_of: Vec<BestOf>,
    /// In the order of the arms.
    arms: Vec<Figures>,
}

/// Makes the trials that are not there yet, and tells of all.
pub(in super::super) fn goodhart(
    session: &mut Session,
    options: &GoodhartOptions,
) -> Result<(), Failure> {
    let device = Device::cpu(&options.people.device.options())?;
    let ground = Ground::open(session, &options.people, &device)?;
    let command = format!(
        "scribe eval goodhart {} --run {} --seeds {} --first-seed {}",
        options.people.recipe.display(),
        options.people.run.display(),
        options.seeds,
        options.first_seed
    );
    let interrupt =
        Interrupt::follow((session.terminal.verbosity() >= 0).then(|| command.clone()))?;
    let folder = ground.run.path().join(FOLDER);
    let mut trials = Vec::new();
    for number in 0..options.seeds {
        let seed = options.first_seed.wrapping_add(number);
        let folder = folder.join(format!("seed-{seed}"));
        make_folder(&folder)?;
        let trial = Trial {
            ground: &ground,
            device: &device,
            interrupt: &interrupt,
            seed,
            folder,
            language: options.pages.language,
        };
        trials.push(trial.run(session, &command)?);
    }
    tell(session, &folder, &trials)
}

fn tell(session: &mut Session, folder: &Path, trials: &[TrialFigures]) -> Result<(), Failure> {
    let comparisons = figures::compare(trials);
    let told = Told { schema: "scribe.goodhart/1", trials, comparisons };
    let mut bytes = serde_json::to_vec_pretty(&told)?;
    bytes.push(b'\n');
    let path: PathBuf = folder.join(FILE);
    folder::land_bytes(&RealDisk, &path, &bytes)?;
    let terminal = &mut session.terminal;
    if terminal.wants_json() {
        return Ok(terminal.json(&told)?);
    }
    let of_trial = |trial: &TrialFigures| {
        let arms = ARMS.iter().zip(&trial.arms);
        arms.map(|(arm, figures)| figures.row(trial.seed, arm.name)).collect::<Vec<_>>()
    };
    let rows: Vec<_> = trials.iter().flat_map(of_trial).collect();
    let heads = ["SEED", "SCORES OF", "BEST", "AT KL", "LAST", "AT KL", "STOP", "OF BEST"];
    terminal.table(&heads, &rows)?;
    for comparison in &told.comparisons {
        terminal.note(format_args!("{comparison}"));
    }
    terminal.line(path.display())?;
    Ok(())
}
