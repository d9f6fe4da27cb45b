//! `scribe rounds`: answers are compared, a reward model and the policy learn from that, a gate decides,
//! and all of it again.

mod gate;
mod goodhart;
mod label;
mod pairs;
mod win_rate;

use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use clap::Args;
use engine::Device;
use model::Model;
use serde::Serialize;
use training::gate::Decision;
use training::metrics::METRICS_FILE;
use training::recipe::AnyRecipe;
use training::run_folder::ROUNDS_MAX;
use training::serving::{Promoted, Serving};
use training::{Ended, RunFolder};

pub(super) use self::gate::{GateOptions, gate};
pub(super) use self::goodhart::{GoodhartOptions, goodhart};
pub(super) use self::win_rate::{WinRateOptions, win_rate};

use self::gate::Gate;
use super::interrupt::Interrupt;
use super::people::{self, Ground};
use super::ppo::{self, DoctorArgument, Round};
use super::stage::{self, StageArguments, Work};
use super::{Exit, Failure, Session, locate, models, reward, story};
use crate::config::{EngineOptions, count};
use crate::loading::Outline;
use crate::locale::Language;

/// What is told of a gate.
const HEADS: [&str; 6] = ["ROUND", "WON", "OF PAIRS", "BITS PER BYTE", "TOKENS", "GATE"];

/// What to go through.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  scribe rounds recipes/tiny.toml --run runs/tiny --n 2\n  scribe chat \
                        --run runs/tiny\n\nWhere the run has no model that answers yet, it is made \
                        first, as by story. Each round lets the model answer prompts several times, has the answers ranked, \
                        trains a reward model on all rankings so far, and lets the model learn from it. \
                        The new model is served only if blinded pairs of answers show that it is \
                        better, and nothing else became worse. The same command goes on where it \
                        stopped."
)]
pub struct RoundsOptions {
    /// What to learn from and how: a TOML file with all sections up to [rounds]
    recipe: PathBuf,

    /// The folder of the run
    #[arg(long, value_name = "DIR")]
    run: PathBuf,

    #[command(flatten)]
    stage: StageArguments,

    /// Rounds in all
    #[arg(long, value_name = "N", default_value = "1", value_parser = count::<ROUNDS_MAX>)]
    n: NonZeroUsize,

    /// Take back the last promotion, and serve what was served before
    #[arg(long)]
    rollback: bool,

    #[command(flatten)]
    doctor: DoctorArgument,
}

/// `scribe rounds --json`.
#[derive(Debug, Serialize)]
struct Told {
    schema: &'static str,
    rounds: Vec<Gate>,
    /// The model that is served now.
    model: PathBuf,
}

/// What every part of a round is given.
struct Table<'a> {
    ground: &'a Ground,
    device: &'a Device,
    engine: EngineOptions,
    interrupt: &'a Interrupt,
    doctor: DoctorArgument,
    language: Language,
}

/// Goes through the rounds that are left.
pub(super) fn run(session: &mut Session, options: &RoundsOptions) -> Result<(), Failure> {
    let path = &options.recipe;
    let recipe = AnyRecipe::read(path).map_err(|error| stage::refused(path, error))?;
    recipe.rounds().map_err(|error| stage::refused(path, error))?;
    let run = RunFolder::open(&options.run, &recipe.begin_toml())?;
    if options.rollback {
        return roll_back(session, &run);
    }
    let command = format!(
        "scribe rounds {} --run {} --n {}",
        path.display(),
        run.path().display(),
        options.n
    );
    let work = Work::new(session, &options.stage, &command)?;
    story::teach(session, &run, &recipe, &work, &command)?;
    let ground = Ground::of(session, recipe, run, &work.device)?;
    let table = Table {
        ground: &ground,
        device: &work.device,
        engine: people::engine(&options.stage.device),
        interrupt: &work.interrupt,
        doctor: options.doctor,
        language: options.stage.language,
    };
    let mut rounds = Vec::new();
    for number in 1..=options.n.get() {
        rounds.push(table.round(session, number, &command)?);
    }
    table.tell(session, rounds)
}

impl Table<'_> {
    /// One round, or what a round that is over has left.
    fn round(&self, session: &mut Session, number: usize, command: &str) -> Result<Gate, Failure> {
        let folder = self.ground.run.ppo(number);
        if let Some(gate) = Gate::read(&folder)? {
            self.promote(&gate)?;
            return Ok(gate);
        }
        session.terminal.note(format_args!("round {number}"));
        let served = self.ground.begin(number)?;
        self.label(session, number, &served, command)?;
        // What the policy has begun to learn from stays as it is, whatever people revise meanwhile.
        let report = match folder.join(METRICS_FILE).exists() {
            true => reward::report(self.ground, number)?,
            false => reward::make(session, self.device, self.ground, number)?,
        };
        for model in &report.models {
            session.terminal.note(format_args!(
                "the reward model agrees with {:.1} % of what it learned and {:.1} % of {} held-out \
                 pairs",
                100.0 * model.train_accuracy,
                100.0 * model.accuracy,
                model.pairs
            ));
        }
        let round = Round { number, begin: &served, doctor: self.doctor };
        let learned = ppo::make(session, self.device, self.ground, round, self.interrupt)?;
        let (Ended::Finished, Some(new)) = (learned.ended, &learned.model) else {
            ppo::ended(session, &learned, command)?;
            return Err(Failure::silent(Exit::Broken));
        };
        let gate = self.gate(session, number, (&served, new), command)?;
        // What was decided is kept before it is done: a round that ends between the two goes on here.
        gate.write(&folder)?;
        self.promote(&gate)?;
        ppo::report(session, self.ground, (number, Some(gate.win_rates())), self.language)?;
        Ok(gate)
    }

    /// The checkpoint that is served: the last one that was promoted, or what the run was taught.
    fn served(&self) -> Result<PathBuf, Failure> {
        let run = self.ground.run.path();
        let serving = Serving::read(run)?;
        let promoted = serving.current().map(|promoted| run.join(&promoted.checkpoint));
        Ok(promoted.unwrap_or_else(|| self.ground.base.clone()))
    }

    /// Lets a model be served that the gate let through, unless that was done or taken back before.
    fn promote(&self, gate: &Gate) -> Result<(), Failure> {
        let run = self.ground.run.path();
        let mut serving = Serving::read(run)?;
        let (round, checkpoint) = (gate.round, gate.checkpoint.clone());
        let is_let_through = gate.judgment.decision == Decision::Promote;
        if is_let_through && serving.promote(Promoted { round, checkpoint }) {
            serving.write(run)?;
        }
        Ok(())
    }

    /// A model of the run in memory.
    fn load(&self, session: &mut Session, checkpoint: &Path) -> Result<Arc<Model>, Failure> {
        let run = self.ground.run.path();
        let located = locate::checkpoint_of(session, run, checkpoint.to_owned())?;
        let outline = models::outline(&located, &self.engine)?;
        Ok(models::load(session, outline, Outline::load)?.model)
    }

    /// Ends with exit code 130 where Ctrl-C was pressed.
    fn check_interrupt(&self, session: &mut Session, command: &str) -> Result<(), Failure> {
        if !self.interrupt.is_wanted() {
            return Ok(());
        }
        session.terminal.note(format_args!("stopped; go on with: {command}"));
        Err(Failure::silent(Exit::Interrupted))
    }

    fn tell(&self, session: &mut Session, rounds: Vec<Gate>) -> Result<(), Failure> {
        let model = self.served()?;
        let terminal = &mut session.terminal;
        if terminal.wants_json() {
            return Ok(terminal.json(&Told { schema: "scribe.rounds/1", rounds, model })?);
        }
        let serving = Serving::read(self.ground.run.path())?;
        let row = |gate: &Gate| gate.row(serving.is_taken_back(gate.round));
        let rows: Vec<_> = rounds.iter().map(row).collect();
        terminal.table(&HEADS, &rows)?;
        terminal.line(model.display())?;
        Ok(())
    }
}

/// Takes back the last promotion.
fn roll_back(session: &mut Session, run: &RunFolder) -> Result<(), Failure> {
    let run = run.path();
    let mut serving = Serving::read(run)?;
    let Some(taken_back) = serving.roll_back() else {
        return Err(Failure::usage(
            "no model of this run was promoted",
            "there is nothing to take back: what the run was taught is served",
        ));
    };
    serving.write(run)?;
    let now = serving.current().map_or_else(
        || "the model before all rounds".to_owned(),
        |current| format!("that of round {}", current.round),
    );
    session.terminal.note(format_args!(
        "the model of round {} is no longer served; {now} is",
        taken_back.round
    ));
    Ok(())
}
