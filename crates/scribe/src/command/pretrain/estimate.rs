//! What a run would take: parameters, memory, arithmetic, and time on this machine.

use std::time::Instant;

use engine::Device;
use model::trainable::{MicroBatch, Trainable};
use serde::Serialize;
use training::Recipe;
use training::optimizer::Optimizer;
use training::plan::Plan;

use super::super::doctor::available_memory_bytes;
use super::super::stage::StageArguments;
use super::super::{Failure, Session};
use crate::run_state::time_for_people;
use crate::terminal::{bytes_for_people, count_for_people};

/// Tokens of the row that is timed.
const PROBE_TOKENS: usize = 256;

/// `scribe pretrain --dry-run --json`.
#[derive(Debug, Serialize)]
struct Report<'a> {
    schema: &'static str,
    #[serde(flatten)]
    plan: &'a Plan,
    total_bytes: u64,
    available_bytes: Option<u64>,
    /// As long as it would take here, as one pass over a few tokens and one update took; absent where there is not
    /// enough memory to try.
    seconds: Option<f64>,
}

/// Prints it.
pub(super) fn show(session: &mut Session, recipe: &Recipe, device: &Device) -> Result<(), Failure> {
    let plan = Plan::new(recipe)?;
    let total_bytes = plan.memory.total_bytes();
    let available_bytes = available_memory_bytes();
    let fits = available_bytes.is_none_or(|available| total_bytes < available);
    let seconds = if fits { Some(probe(recipe, device, &plan)?) } else { None };
    let terminal = &mut session.terminal;
    if terminal.wants_json() {
        let schema = "scribe.pretrain.plan/2";
        let report = Report { schema, plan: &plan, total_bytes, available_bytes, seconds };
        terminal.json(&report)?;
        return Ok(());
    }
    let memory = &plan.memory;
    let row = |name: &str, value: String| vec![name.to_owned(), value];
    let mut rows = vec![
        row("parameters", count_for_people(plan.parameters, " ")),
        row("tokens", count_for_people(plan.tokens, " ")),
        row("arithmetic", format!("{:.3e} floating-point operations", plan.operations)),
        row("weights", bytes_for_people(memory.weights_bytes + memory.copies_bytes)),
        row("gradients", bytes_for_people(memory.gradients_bytes)),
        row("optimizer", bytes_for_people(memory.optimizer_bytes)),
        row("activations", bytes_for_people(memory.activations_bytes)),
        row("memory in all", bytes_for_people(total_bytes)),
    ];
    let time = seconds.map_or_else(
        || "more memory is needed than there is".to_owned(),
        |seconds| format!("about {}", time_for_people(seconds)),
    );
    rows.push(row("time here", time));
    terminal.table(&["WHAT", "HOW MUCH"], &rows)?;
    Ok(())
}

/// Refuses a pretraining for which there is not enough memory, before anything is made.
pub(in crate::command) fn check_memory(
    recipe: &Recipe,
    arguments: &StageArguments,
) -> Result<(), Failure> {
    let config = recipe.model.config(recipe.vocabulary()?)?;
    arguments.check_memory(&config, &recipe.pretrain, recipe.row_tokens())
}

/// Seconds of the run, by one pass over a few tokens and one update of the recipe's model.
pub(in crate::command) fn probe(
    recipe: &Recipe,
    device: &Device,
    plan: &Plan,
) -> Result<f64, Failure> {
    let config = recipe.model.config(recipe.vocabulary()?)?;
    let precision = recipe.pretrain.precision.of_products();
    let mut model = Trainable::new(device, &config, precision, recipe.seed)?;
    if recipe.pretrain.recompute {
        model = model.with_recomputed_layers()?;
    }
    let count = u32::try_from(PROBE_TOKENS.min(recipe.row_tokens()))?;
    let vocab = u32::try_from(config.vocab)?;
    let tokens: Vec<u32> = (0..count).map(|index| index * 7919 % vocab).collect();
    let positions: Vec<u32> = (0..count).collect();
    let weights = vec![1.0; tokens.len()];
    let batch = MicroBatch {
        tokens: &tokens,
        positions: &positions,
        targets: &tokens,
        weights: &weights,
        scale: 1.0,
        temperature: 1.0,
    };
    let mut optimizer =
        Optimizer::new(device, model.parameters(), recipe.pretrain.optimizer_options());
    // The first time takes memory and warms caches.
    let mut seconds = [0.0; 2];
    for step in 1..=2 {
        let begun = Instant::now();
        model.accumulate(&batch);
        let pass = begun.elapsed();
        optimizer.step(model.weights_and_gradients(), step, 0.0, 1.0);
        model.refresh();
        seconds = [pass, begun.elapsed() - pass].map(|time| time.as_secs_f64());
    }
    let [pass, update] = seconds;
    Ok(pass * plan.tokens as f64 / f64::from(count) + update * plan.steps as f64)
}
