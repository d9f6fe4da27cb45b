//! `cargo xtask bench-peers ppo [SEEDS]`: steps of PPO beside TRL's, in interleaved pairs, on the model
//! that the recipe `tiny` teaches, with the same prompts and the same reward model.

use std::path::PathBuf;
use std::process::Command;
use std::time::Instant;
use std::{fmt, fs};

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;

use crate::command::{cargo, command, output, root, run, say, target};
use crate::gate::{Change, Trial, newest};
use crate::peers::median;
use crate::setup;

/// The newest TRL that has PPO; 1.13.0 is without.
const PACKAGES: [&str; 5] =
    ["trl==1.12.0", "transformers==5.23.0", "torch==2.15.0", "safetensors", "rich"];
/// As many as the machine's cores; both sides compute with so many.
const THREADS: &str = "2";
/// The most by which a score may differ that TRL's side computes of the same tokens.
const SCORE_DIFFERENCE_MAX: f64 = 1e-3;
/// What both sides do, so that only who does it differs: a fixed price of drift, whole scores, and no
/// text of pretraining, which TRL does not know.
const CHANGES: [Change<'_>; 4] = [
    ("ppo.steps", Some("16")),
    ("ppo.kl_target", None),
    ("ppo.pretraining_coefficient", None),
    ("ppo.checkpoint_every", Some("16")),
];
/// Answers of a step, as the recipe has it.
const EPISODES: f64 = 32.0;
/// Of the last steps, the mean is what was reached.
const LAST_STEPS: usize = 4;

/// Times both sides in turn, TRL's with another seed each time, and prints medians, their ratio, and what
/// scores and drift came to.
///
/// # Errors
///
/// Where TRL cannot be had, a side fails, or the scores of the two reward models differ.
pub(crate) fn compare(seeds: u32) -> Result<()> {
    let python = setup::python_environment("peers-ppo", &PACKAGES)?;
    let sides = Sides::prepare(python)?;
    let (mut ours, mut theirs) = (Vec::new(), Vec::new());
    for seed in 1..=seeds {
        let pair = (sides.ours()?, sides.theirs(seed)?);
        say(&format!("seed {seed}: ours {}; TRL {}", pair.0, pair.1));
        ours.push(pair.0);
        theirs.push(pair.1);
    }
    let middle = |runs: &[Reached], figure: fn(&Reached) -> f64| {
        median(runs.iter().map(figure).collect::<Vec<_>>())
    };
    let (pace, other) = (middle(&ours, |run| run.pace), middle(&theirs, |run| run.pace));
    say(&format!(
        "episodes a second, median of steps and seeds: ours {pace:.1}, TRL {other:.2}, ratio {:.1}",
        pace / other
    ));
    say(&format!(
        "last {LAST_STEPS} steps, medians: score {:.2} at {:.2} nats, TRL {:.2} at {:.2}",
        middle(&ours, |run| run.score),
        middle(&ours, |run| run.kl),
        middle(&theirs, |run| run.score),
        middle(&theirs, |run| run.kl),
    ));
    Ok(())
}

/// What both sides begin with.
struct Sides {
    python: PathBuf,
    recipe: PathBuf,
    /// A run of the recipe, with a reward model.
    run: PathBuf,
    /// The model that the run taught, as others read it.
    taught: PathBuf,
}

impl Sides {
    fn prepare(python: PathBuf) -> Result<Self> {
        let (recipe, run_folder) = Trial::prepare(1)?.rewarded("peers", "gold", &CHANGES)?;
        let taught = run_folder.with_file_name("peers-taught");
        if !taught.exists() {
            let base = newest(&run_folder.join("4-sft/checkpoints"))?;
            let mut export = command(target().join("release/scribe"), &["models", "export"]);
            run(export.arg(base).args(["--to", "hf", "--out"]).arg(&taught))?;
        }
        let sides = Self { python, recipe, run: run_folder, taught };
        sides.check_scores()?;
        Ok(sides)
    }

    fn reward_model(&self) -> PathBuf {
        self.run.join("6-reward/round-1/model-1")
    }

    /// Whether both sides' reward models say the same of the same tokens.
    fn check_scores(&self) -> Result<()> {
        let sequences = self.run.with_file_name("peers-sequences.json");
        output(self.script("tokens").args([&self.recipe, &self.taught, &sequences]))?;
        let example =
            ["run", "--release", "--quiet", "--package", "training", "--example", "scores"];
        let base = newest(&self.run.join("4-sft/checkpoints"))?;
        let ours =
            output(cargo(&example).arg("--").args([&self.reward_model(), &base, &sequences]))?;
        let theirs = output(self.script("scores").args([&self.reward_model(), &sequences]))?;
        let scores = |printed: &str| serde_json::from_str::<Vec<f64>>(printed.trim());
        let (ours, theirs) = (scores(&ours)?, scores(&theirs)?);
        ensure!(!ours.is_empty() && ours.len() == theirs.len(), "other scores than asked for");
        let apart = ours.iter().zip(&theirs).map(|(o, t)| (o - t).abs()).fold(0.0, f64::max);
        say(&format!("scores of {} answers are at most {apart:.1e} apart", ours.len()));
        ensure!(apart <= SCORE_DIFFERENCE_MAX, "the reward models differ");
        Ok(())
    }

    /// A stage of PPO from its beginning; its time is that of the whole process.
    fn ours(&self) -> Result<Reached> {
        let folder = self.run.join("7-ppo");
        if folder.exists() {
            fs::remove_dir_all(&folder)?;
        }
        let mut ppo = command(target().join("release/scribe"), &["ppo"]);
        ppo.arg(&self.recipe).arg("--run").arg(&self.run).args(["--threads", THREADS]);
        let start = Instant::now();
        output(&mut ppo)?;
        let seconds = start.elapsed().as_secs_f64();
        let lines = fs::read_to_string(folder.join("round-1/metrics.jsonl"))?;
        let steps = lines.lines().map(serde_json::from_str).collect::<Result<Vec<Value>, _>>()?;
        let episodes = steps.iter().filter_map(|step| step["episodes"].as_f64()).sum::<f64>();
        Reached::of(&steps, episodes / seconds)
    }

    /// The same by TRL; its time is that of the median step, without what comes before the first.
    fn theirs(&self, seed: u32) -> Result<Reached> {
        let (seed, out) = (seed.to_string(), self.run.with_file_name("peers-trl"));
        let mut train = self.script("train");
        train.args([&self.recipe, &self.taught, &self.reward_model()]).args([&seed, THREADS]);
        let printed = output(train.arg(out))?;
        let lines = printed.lines().filter_map(|line| line.strip_prefix("STEP "));
        let steps = lines.map(serde_json::from_str).collect::<Result<Vec<Value>, _>>()?;
        let seconds: Vec<f64> = steps.iter().filter_map(|step| step["seconds"].as_f64()).collect();
        ensure!(!seconds.is_empty(), "TRL told of no step: {printed}");
        Reached::of(&steps, EPISODES / median(seconds))
    }

    fn script(&self, what: &str) -> Command {
        let mut script = command(&self.python, &[]);
        script.arg(root().join("xtask/python/peer_ppo.py")).arg(what);
        script
    }
}

/// What a stage came to.
struct Reached {
    /// Episodes a second.
    pace: f64,
    /// Means over the last steps, of scores and of nats an episode.
    score: f64,
    kl: f64,
}

impl Reached {
    fn of(steps: &[Value], pace: f64) -> Result<Self> {
        let last = &steps[steps.len().saturating_sub(LAST_STEPS)..];
        let mean = |field: &str| {
            let values = last.iter().map(|step| step[field].as_f64().context("a step's figures"));
            Ok::<_, anyhow::Error>(values.sum::<Result<f64>>()? / last.len() as f64)
        };
        Ok(Self { pace, score: mean("score")?, kl: mean("kl_per_episode")? })
    }
}

impl fmt::Display for Reached {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { pace, score, kl } = self;
        write!(out, "{pace:.1} episodes a second, score {score:.2} at {kl:.2} nats")
    }
}
