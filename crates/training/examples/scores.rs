//! Scores of a reward model for tokens that another program scores, too: what `cargo xtask bench-peers
//! ppo` compares.
//!
//! usage: scores MODEL BASE SEQUENCES.json, with `[[prompt, completion], …]` in tokens; prints the scores
#![expect(clippy::print_stdout, reason = "it prints what it computed")]

use std::path::Path;

use engine::ops::matmul::Precision;
use engine::{Device, DeviceOptions};
use model::StopReason;
use training::ppo::{Rollout, Scorer};
use training::reward::{Place, RewardModel};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [folder, base, sequences] = arguments.as_slice() else {
        return Err("name a reward model, the model that it began as, and a file".into());
    };
    let device = Device::cpu(&DeviceOptions::default())?;
    let place = Place { folder: Path::new(folder), base: Path::new(base) };
    let sequences: Vec<(Vec<u32>, Vec<u32>)> =
        serde_json::from_str(&std::fs::read_to_string(sequences)?)?;
    let stop_reason = StopReason::EndOfTurn;
    let rollout = |(prompt, completion)| Rollout { prompt, completion, stop_reason };
    let rollouts: Vec<Rollout> = sequences.into_iter().map(rollout).collect();
    let scores = RewardModel::read(&device, place, Precision::F32)?.score(&rollouts)?;
    println!("{}", serde_json::to_string(&scores)?);
    Ok(())
}
