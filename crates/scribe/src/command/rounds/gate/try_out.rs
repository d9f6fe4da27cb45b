//! `scribe eval gate`: what the gate of a round would say of two models, without a promotion.

use std::path::PathBuf;

use clap::Args;
use serde::Serialize;
use training::gate::Decision;
use training::recipe::LabelerKind;

use super::super::super::people::{self, Ground, PeopleArguments, RoundArgument};
use super::super::super::ppo::DoctorArgument;
use super::super::super::{Failure, Session};
use super::super::{HEADS, Interrupt, Table};
use super::Gate;
use crate::locale::Language;

/// Which models, and whose draws.
#[derive(Debug, Args)]
pub struct GateOptions {
    #[command(flatten)]
    people: PeopleArguments,

    /// The checkpoint that is served [default: the one of the run]
    #[arg(long, value_name = "DIR")]
    old: Option<PathBuf>,

    /// The checkpoint that may take its place
    #[arg(long, value_name = "DIR")]
    new: PathBuf,

    /// The round whose pairs are drawn; others have other prompts and other answers
    #[command(flatten)]
    round: RoundArgument,
}

/// `scribe eval gate --json`.
#[derive(Debug, Serialize)]
struct Told<'a> {
    schema: &'static str,
    promote: bool,
    win_rate: f64,
    length_matched_win_rate: f64,
    #[serde(flatten)]
    gate: &'a Gate,
}

/// Judges, and tells.
pub(in super::super::super) fn gate(
    session: &mut Session,
    options: &GateOptions,
) -> Result<(), Failure> {
    let device = engine::Device::cpu(&options.people.device.options())?;
    let ground = Ground::open(session, &options.people, &device)?;
    if ground.recipe.rounds()?.labeler == LabelerKind::People {
        return Err(Failure::usage(
            "people are not asked by this command",
            "set labeler = \"synthetic\" in [rounds], or let people compare with: scribe rounds",
        ));
    }
    let interrupt = Interrupt::follow(None)?;
    let table = Table {
        ground: &ground,
        device: &device,
        engine: people::engine(&options.people.device),
        interrupt: &interrupt,
        doctor: DoctorArgument::default(),
        language: Language::default(),
    };
    let old = options.old.clone().map_or_else(|| table.served(), Ok)?;
    let round = options.round.round.get();
    let gate = table.gate(session, round, (&old, &options.new), "")?;
    tell(session, &gate)
}

fn tell(session: &mut Session, gate: &Gate) -> Result<(), Failure> {
    let promote = gate.judgment.decision == Decision::Promote;
    let terminal = &mut session.terminal;
    if terminal.wants_json() {
        let [win_rate, length_matched_win_rate] = gate.win_rates();
        let schema = "scribe.gate/1";
        return Ok(terminal.json(&Told {
            schema,
            promote,
            win_rate,
            length_matched_win_rate,
            gate,
        })?);
    }
    let mut row = gate.row(false);
    if promote {
        row.pop();
        row.push("would be promoted".to_owned());
    }
    Ok(terminal.table(&HEADS, &[row])?)
}
