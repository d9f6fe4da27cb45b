//! `scribe verify`: what of a run was made from what, and a stage made again to compare its bytes.

mod again;
mod lineage;

use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};

use clap::{Args, ValueEnum};
use engine::Device;
use serde::Serialize;
use training::run_folder::{self, ROUNDS_MAX};

use self::again::Again;
use self::lineage::{Artifact, Lineage};
use super::stage::StageArguments;
use super::{Exit, Failure, Session};
use crate::config::count;

/// Which run, and what of it is made again.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  scribe verify runs/tiny --recipe recipes/tiny.toml\n  scribe verify \
                        runs/tiny --recipe recipes/tiny.toml --stage ppo --round 1\n\nIt checks every \
                        byte of what the run holds against its manifests, prints what was made from \
                        what, and makes a stage again in a folder beside the run: the same recipe and \
                        seed give the same bytes. Exit code 1 where something does not fit."
)]
pub struct VerifyOptions {
    /// The folder of the run
    run: PathBuf,

    /// What it was made by: a TOML file [default: what the run keeps, whose relative paths begin there]
    #[arg(long, value_name = "RECIPE")]
    recipe: Option<PathBuf>,

    /// The stage that is made again
    #[arg(long, value_enum, default_value = "tokenizer", value_name = "STAGE")]
    stage: Part,

    /// The round, for the stages reward and ppo
    #[arg(long, value_name = "N", default_value = "1", value_parser = count::<ROUNDS_MAX>)]
    round: NonZeroUsize,

    #[command(flatten)]
    work: StageArguments,
}

/// A stage that can be made again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Part {
    Tokenizer,
    Corpus,
    Pretrain,
    Sft,
    Reward,
    Ppo,
}

/// `scribe verify --json`.
#[derive(Debug, Serialize)]
struct Told<'a> {
    schema: &'static str,
    artifacts: &'a [Artifact],
    /// What does not fit, in sentences.
    problems: &'a [String],
    /// The folder that was made again, from the run's on.
    stage: &'a Path,
    /// Files of it that were compared.
    files: usize,
    /// The first file that differs.
    differs: Option<&'a str>,
}

/// Verifies.
pub(super) fn run(session: &mut Session, options: &VerifyOptions) -> Result<(), Failure> {
    if !run_folder::is_run(&options.run) {
        return Err(Failure::not_found(
            format!("`{}` holds no run", options.run.display()),
            "name the folder that was given as --run",
        ));
    }
    let device = Device::cpu(&options.work.device.options())?;
    let lineage = Lineage::of(&options.run, &device);
    if !session.terminal.wants_json() {
        lineage.tell(&mut session.terminal)?;
    }
    let again = Again::make(session, options)?;
    tell(session, &lineage, &again)?;
    match lineage.problems.is_empty() && again.difference.is_none() {
        true => Ok(()),
        false => Err(Failure::silent(Exit::Broken)),
    }
}

/// Says what was found.
fn tell(session: &mut Session, lineage: &Lineage, again: &Again) -> Result<(), Failure> {
    let terminal = &mut session.terminal;
    if terminal.wants_json() {
        return Ok(terminal.json(&Told {
            schema: "scribe.verify/1",
            artifacts: &lineage.artifacts,
            problems: &lineage.problems,
            stage: &again.stage,
            files: again.files,
            differs: again.difference.as_deref(),
        })?);
    }
    let stage = again.stage.display();
    match &again.difference {
        None => terminal.line(format_args!(
            "{stage}: made again, and the bytes of {} files are the same",
            again.files
        ))?,
        Some(difference) => terminal.line(format_args!("{stage}: {difference}"))?,
    }
    Ok(())
}
