//! `scribe plan`: how much memory a model will take, and for what; and what training one takes.

mod training;

use std::num::NonZeroUsize;

use clap::Args;
use model::{BatchOptions, MemoryPlan, SLOTS_MAX};
use serde::Serialize;

use self::training::TrainingOptions;
use super::doctor::{available_memory_bytes, bytes_of};
use super::{Failure, Session, locate, models};
use crate::config::{EngineOptions, count};
use crate::loading::Outline;
use crate::terminal::{Terminal, bytes_for_people, count_for_people};

/// Which model, and how it is to be run; or which recipe, and on what.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  scribe plan\n  scribe plan --model model.gguf --slots 4 \
                        --context-tokens 4096\n  scribe plan recipes/coffee.toml --hardware \
                        here\n  scribe plan gpt-3.5 --hardware h100 --accelerators \
                        1,1024\n\nWithout a recipe, the plan is for running a model. With one it \
                        is for training: parameters, arithmetic, memory, time and money. gpt-3.5 \
                        is a recipe that the program carries: 175 billion parameters, 500 billion \
                        tokens.")]
pub struct PlanOptions {
    /// A recipe: a TOML file, or gpt-3.5
    recipe: Option<String>,

    #[command(flatten)]
    training: TrainingOptions,

    #[command(flatten)]
    engine: EngineOptions,

    #[command(flatten)]
    slots: SlotsOption,
}

/// Completions computed at the same time where nobody says.
pub(super) const SLOTS_DEFAULT: NonZeroUsize = NonZeroUsize::new(8).unwrap();

/// How many completions are computed at the same time.
#[derive(Debug, Clone, Args)]
pub(super) struct SlotsOption {
    /// Completions computed at the same time
    #[arg(
        long,
        env = "SCRIBE_SLOTS",
        value_name = "N",
        hide_env_values = true,
        default_value_t = SLOTS_DEFAULT,
        value_parser = count::<SLOTS_MAX>,
        help_heading = "Model options"
    )]
    pub(super) slots: NonZeroUsize,
}

/// `scribe plan --json`.
#[derive(Debug, Serialize)]
struct Report<'a> {
    schema: &'static str,
    model: &'a str,
    architecture: &'a str,
    parameters: u64,
    quantization: &'a str,
    slots: usize,
    context_tokens: usize,
    weights_bytes: u64,
    cache_bytes: u64,
    cache_tokens: usize,
    workspace_bytes: u64,
    total_bytes: u64,
    available_bytes: Option<u64>,
}

/// Prints the plan.
pub(super) fn run(session: &mut Session, options: &PlanOptions) -> Result<(), Failure> {
    if let Some(recipe) = &options.recipe {
        return training::run(session, recipe, &options.training, &options.engine.device);
    }
    let located = locate::locate(session, &options.engine)?;
    let outline = models::outline(&located, &options.engine)?;
    let batch = outline.batch_options(&options.engine, options.slots.slots.get())?;
    let plan = outline.memory(&batch)?;
    let terminal = &mut session.terminal;
    if terminal.wants_json() {
        terminal.json(&Report {
            schema: "scribe.plan/1",
            model: &outline.located.name,
            architecture: &outline.details.architecture,
            parameters: outline.details.parameters,
            quantization: &outline.details.quantization,
            slots: batch.slots,
            context_tokens: batch.context_tokens,
            weights_bytes: plan.weights_bytes,
            cache_bytes: plan.cache_bytes,
            cache_tokens: plan.cache_tokens,
            workspace_bytes: plan.workspace_bytes,
            total_bytes: plan.total_bytes(),
            available_bytes: available_memory_bytes(),
        })?;
    } else {
        for line in lines(&outline, &batch, &plan) {
            terminal.line(line)?;
        }
    }
    // A plan may be for another machine; on this one the model would be refused.
    if let Err(Failure { error: Some(error), hint, .. }) = check_memory(terminal, &outline, &batch)
    {
        terminal.warn(format_args!("{error}; {}", hint.unwrap_or_default()));
    }
    Ok(())
}

/// Tells the plan as talk.
pub(super) fn tell(
    terminal: &mut Terminal,
    outline: &Outline,
    batch: &BatchOptions,
) -> Result<(), Failure> {
    let plan = outline.memory(batch)?;
    for line in lines(outline, batch, &plan) {
        terminal.note(line);
    }
    Ok(())
}

/// Refuses a model that cannot be in memory, before it is loaded; warns of a cache that may not be,
/// which takes its memory as it fills.
pub(super) fn check_memory(
    terminal: &mut Terminal,
    outline: &Outline,
    batch: &BatchOptions,
) -> Result<(), Failure> {
    let plan = outline.memory(batch)?;
    let Some(free) = available_memory_bytes() else { return Ok(()) };
    let needed = plan.weights_bytes.saturating_add(plan.workspace_bytes);
    if free < needed {
        let (needed, free) = (bytes_for_people(needed), bytes_for_people(free));
        return Err(Failure::broken(
            anyhow::anyhow!("{} needs {needed} of memory, {free} are free", outline.located.name),
            "close other programs, or choose a smaller model or one with fewer bits a weight",
        ));
    }
    let (total, all) = (plan.total_bytes(), bytes_of("MemTotal:").unwrap_or(u64::MAX));
    if total > all {
        let (total, all) = (bytes_for_people(total), bytes_for_people(all));
        return Err(Failure::usage(
            format!("{total} of memory may be needed, this machine has {all}"),
            "choose a smaller --cache-bytes or --context-tokens, or a smaller model",
        ));
    }
    if free < plan.total_bytes() {
        terminal.warn(format_args!(
            "{} of memory are free, {} may be needed; choose a smaller --cache-bytes or \
             --context-tokens",
            bytes_for_people(free),
            bytes_for_people(plan.total_bytes())
        ));
    }
    Ok(())
}

fn lines(outline: &Outline, batch: &BatchOptions, plan: &MemoryPlan) -> Vec<String> {
    let Outline { details, device, .. } = outline;
    let people = bytes_for_people;
    vec![
        format!(
            "{}: {}, {} parameters, {}; {} kernels, {} threads",
            outline.located.name,
            details.architecture,
            count_for_people(details.parameters, " "),
            details.quantization,
            device.kernels(),
            device.threads()
        ),
        format!(
            "memory: {} = weights {} + cache {} ({} tokens) + workspace {}",
            people(plan.total_bytes()),
            people(plan.weights_bytes),
            people(plan.cache_bytes),
            plan.cache_tokens,
            people(plan.workspace_bytes)
        ),
        match batch.slots {
            1 => format!("1 slot, {} tokens of context", batch.context_tokens),
            slots => format!(
                "{slots} slots share the cache, up to {} tokens of context each",
                batch.context_tokens
            ),
        },
    ]
}
