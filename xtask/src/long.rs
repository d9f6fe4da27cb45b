//! `cargo xtask long`: the checks that `test` runs as a slice, at full size.

use anyhow::Result;

use crate::command::{cargo, run, say};
use crate::{check, setup};

/// Mutated model files that must each give an error or load, never panic.
const FUZZ_CASES: &str = "1000000";
/// Texts from people of which none may make a control token.
const FORGERIES: &str = "1000000";
/// Random ways to run the same request that must give the same bytes.
const EQUALITY_CASES: &str = "1000";
/// Kills of a training run that must end with the bytes of one that nobody interrupts.
const KILLS: &str = "20";
/// Most preemptions in an execution of the thread pool: minutes, where one more takes hours.
const PREEMPTIONS: &str = "3";

/// Runs the fuzzing, equality, kill and model checks at full size, in release builds.
///
/// # Errors
///
/// At the first check that fails.
pub(crate) fn run_all() -> Result<()> {
    let tools = setup::prepare()?;
    say(&format!("every interleaving of the thread pool with {PREEMPTIONS} preemptions"));
    check::thread_pool(PREEMPTIONS)?;
    say(&format!("{FUZZ_CASES} mutations of model files"));
    run(cargo(&["test", "--release", "--package", "artifacts", "--", "--nocapture"])
        .env("SCRIBE_FUZZ_CASES", FUZZ_CASES))?;
    say(&format!("{FORGERIES} texts from people"));
    let forgeries = ["test", "--release", "--package", "tokenizer", "control_token"];
    run(cargo(&forgeries).args(["--", "--nocapture"]).env("SCRIBE_FUZZ_CASES", FORGERIES))?;
    say(&format!("{EQUALITY_CASES} random cases: batch mates, chunks, reuse, threads"));
    run(cargo(&["test", "--release", "--package", "model", "--", "--nocapture"])
        .envs(tools.environment())
        .env("SCRIBE_CASES", EQUALITY_CASES))?;
    say(&format!("{EQUALITY_CASES} random cases through the queue and the HTTP interface"));
    run(cargo(&["test", "--release", "--package", "scribe", "equality"])
        .envs(tools.environment())
        .env("SCRIBE_CASES", EQUALITY_CASES))?;
    say(&format!("a pretraining, and a story with fine-tuning, that are killed {KILLS} times"));
    run(cargo(&["test", "--release", "--package", "scribe", "killed"]).env("SCRIBE_KILLS", KILLS))
}
