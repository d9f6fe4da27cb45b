//! `cargo xtask preferences`: whether reward models learn what rankings hold, on synthetic ones of known
//! noise and on choices of people.

use std::path::PathBuf;

use anyhow::Result;

use crate::command::{cargo, root, run, say, target};
use crate::setup;

/// Seeds of the synthetic rankings.
const SEEDS: &str = "10";
/// Choices of people, beside the repository where somebody has put them.
const CHOICES: &str = "../shared/data/preferences/hh-harmless-train.jsonl.zst";

/// Compares rankings at once with their pairs shuffled singly, and what is learned with the limit of
/// Bayes; then lets an adapter beside the default model learn people's choices in folds, beside a bag
/// of bigrams. `options` of the last part are `name=value`; what is there of a run that was stopped is
/// not measured again.
///
/// # Errors
///
/// Where a bound is not met, or a program fails.
pub(crate) fn measure(options: &[&str]) -> Result<()> {
    for part in ["kwise", "planted"] {
        run(&mut example("reward_synthetic", &[part, SEEDS]))?;
    }
    let choices = root().join(CHOICES);
    if !choices.exists() {
        say(&format!("skipped: people's choices: there is no `{CHOICES}`"));
        return Ok(());
    }
    let Some(model) = setup::default_model()? else { return Ok(()) };
    let out = target().join("reward-folds");
    let paths = [model, choices, out].map(PathBuf::into_os_string);
    run(example("reward_folds", &[]).args(paths).args(options))
}

fn example(name: &str, arguments: &[&str]) -> std::process::Command {
    let build = ["run", "--release", "--quiet", "--package", "training", "--example", name, "--"];
    cargo(&[&build[..], arguments].concat())
}
