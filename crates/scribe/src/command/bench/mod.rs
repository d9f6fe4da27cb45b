//! `scribe bench`: how fast a model reads, writes and is served, in the columns of llama-bench.

mod measure;
mod serving;

use std::num::NonZeroUsize;

use clap::{Args, Subcommand};
use model::SLOTS_MAX;
use serde::Serialize;

use super::progress::Progress;
use super::{Failure, Session, locate, models, plan};
use crate::config::{ChatFormatOption, EngineOptions, TOKENS_MAX, count};
use crate::loading::{Outline, Weights};
use crate::terminal::{bytes_for_people, count_for_people};

/// What to measure.
#[derive(Debug, Subcommand)]
#[command(after_help = "Examples:\n  scribe bench decode\n  scribe bench prefill --tokens 512\n  \
                        scribe bench serve --streams 4")]
pub enum BenchCommand {
    /// Measure how fast tokens are written, one after the other
    #[command(after_help = "Examples:\n  scribe bench decode --tokens 64 --streams 4\n  scribe \
                            bench decode --threads 1 --json")]
    Decode(Setup<64>),
    /// Measure how fast a prompt is read
    #[command(after_help = "Examples:\n  scribe bench prefill --tokens 512")]
    Prefill(Setup<512>),
    /// Measure the server, with clients on this machine
    #[command(after_help = "Examples:\n  scribe bench serve --streams 8 --tokens 32")]
    Serve(ServeSetup),
}

/// How to measure the server.
#[derive(Debug, Args)]
pub struct ServeSetup {
    #[command(flatten)]
    setup: Setup<32>,

    #[command(flatten)]
    format: ChatFormatOption,
}

/// How to measure; `TOKENS` is the default of `--tokens`.
#[derive(Debug, Args)]
pub struct Setup<const TOKENS: usize> {
    /// Tokens that are read or written
    #[arg(long, value_name = "N", value_parser = count::<TOKENS_MAX>, default_value_t = default_tokens(TOKENS))]
    tokens: NonZeroUsize,

    /// Sequences, or clients, at the same time
    #[arg(long, value_name = "N", value_parser = count::<SLOTS_MAX>, default_value = "1")]
    streams: NonZeroUsize,

    /// Measurements, after one that is not counted
    #[arg(long, value_name = "N", value_parser = count::<1000>, default_value = "5")]
    repetitions: NonZeroUsize,

    #[command(flatten)]
    engine: EngineOptions,
}

/// One row of the table.
#[derive(Debug, Serialize)]
struct Row {
    schema: &'static str,
    model: String,
    quantization: String,
    size_bytes: u64,
    parameters: u64,
    kernels: String,
    threads: usize,
    test: String,
    tokens_per_second: f64,
    standard_deviation: f64,
    samples: Vec<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    latency: Option<Latency>,
}

/// How long clients wait for the first token.
#[derive(Debug, Serialize)]
struct Latency {
    first_token_seconds_median: f64,
    first_token_seconds_p95: f64,
}

/// What a test needs, whatever its defaults were.
#[derive(Debug, Clone, Copy)]
struct Size {
    tokens: usize,
    streams: usize,
    repetitions: usize,
}

/// The context window that is measured in.
#[derive(Debug, Clone, Copy)]
struct Window {
    tokens: usize,
    /// The one that the model was made for.
    native: usize,
}

/// Measures and prints one row.
pub(super) fn run(session: &mut Session, command: BenchCommand) -> Result<(), Failure> {
    match command {
        BenchCommand::Decode(setup) => {
            let size = setup.size();
            let test = name("tg", size);
            measure_weights(session, &setup.engine, size, test, measure::decode)
        }
        BenchCommand::Prefill(setup) => {
            let size = setup.size();
            let test = name("pp", size);
            measure_weights(session, &setup.engine, size, test, measure::prefill)
        }
        BenchCommand::Serve(ServeSetup { setup, format }) => {
            let size = setup.size();
            let (weights, samples, latency) = serving::run(session, &setup.engine, format, size)?;
            let row = Row::new(&weights, name("serve", size), samples, Some(latency));
            show(session, &row)
        }
    }
}

impl<const TOKENS: usize> Setup<TOKENS> {
    fn size(&self) -> Size {
        Size {
            tokens: self.tokens.get(),
            streams: self.streams.get(),
            repetitions: self.repetitions.get(),
        }
    }
}

impl Size {
    /// Refuses more tokens than the context window has room for after a prompt.
    fn check(self, prompt_tokens: usize, window: Window) -> Result<(), Failure> {
        let (tokens, Window { tokens: most, native }) = (self.tokens, window);
        let room = most.saturating_sub(prompt_tokens);
        if tokens <= room {
            return Ok(());
        }
        let more = if most < native { ", or a larger --context-tokens" } else { "" };
        let hint = match room {
            0 => "choose a larger --context-tokens".to_owned(),
            room => format!("choose --tokens up to {room}{more}"),
        };
        let prompt = match prompt_tokens {
            1 => String::new(),
            more => format!(" after a prompt of {more}"),
        };
        let message = format!("{tokens} tokens{prompt} do not fit into a context window of {most}");
        Err(Failure::usage(message, hint))
    }

    /// What is read or written in all measurements together, the first one among them.
    fn all_tokens(self) -> u64 {
        (self.tokens as u64)
            .saturating_mul(self.streams as u64)
            .saturating_mul(self.repetitions as u64 + 1)
    }
}

impl Row {
    fn new(weights: &Weights, test: String, samples: Vec<f64>, latency: Option<Latency>) -> Self {
        let (tokens_per_second, standard_deviation) = mean_and_deviation(&samples);
        Self {
            schema: "scribe.bench/1",
            model: weights.name.clone(),
            quantization: weights.details.quantization.clone(),
            size_bytes: weights.details.bytes,
            parameters: weights.details.parameters,
            kernels: weights.model.device().kernels().to_string(),
            threads: weights.model.device().threads(),
            test,
            tokens_per_second,
            standard_deviation,
            samples,
            latency,
        }
    }
}

fn default_tokens(tokens: usize) -> NonZeroUsize {
    NonZeroUsize::new(tokens).unwrap_or(NonZeroUsize::MIN)
}

/// `tg64`, or `tg64 x 4` for four streams.
fn name(test: &str, size: Size) -> String {
    let streams = if size.streams > 1 { format!(" x {}", size.streams) } else { String::new() };
    format!("{test}{}{streams}", size.tokens)
}

fn measure_weights(
    session: &mut Session,
    engine: &EngineOptions,
    size: Size,
    test: String,
    measure: impl FnOnce(&Weights, measure::Setup<'_>) -> Result<Vec<f64>, Failure>,
) -> Result<(), Failure> {
    let located = locate::locate(session, engine)?;
    let outline = models::outline(&located, engine)?;
    let mut batch = outline.batch_options(engine, size.streams)?;
    let native = outline.model.config().context_tokens;
    // One token more: a prompt to write after, or the one that ends reading.
    let tokens = engine.context_tokens.map_or(native, usize::from).min(native);
    size.check(1, Window { tokens, native })?;
    if engine.context_tokens.is_none() {
        batch.context_tokens = size.tokens + 1;
        batch.cache_bytes = engine.cache_bytes.map(|size| size.0);
    }
    batch.prefix_reuse = false;
    plan::check_memory(&mut session.terminal, &outline, &batch)?;
    let weights = models::load(session, outline, Outline::load)?;
    let mut progress = Progress::new(&mut session.terminal);
    progress.begin_tokens(test.as_str(), size.all_tokens());
    let setup = measure::Setup { batch, size, advance: &mut |tokens| progress.advance(tokens) };
    let samples = measure(&weights, setup)?;
    drop(progress);
    show(session, &Row::new(&weights, test, samples, None))
}

fn show(session: &mut Session, row: &Row) -> Result<(), Failure> {
    let terminal = &mut session.terminal;
    if terminal.wants_json() {
        terminal.json(row)?;
        return Ok(());
    }
    let mut header = vec!["model", "size", "params", "kernels", "threads", "test", "t/s"];
    let mut cells = vec![
        format!("{} {}", row.model, row.quantization),
        bytes_for_people(row.size_bytes),
        count_for_people(row.parameters, " "),
        row.kernels.clone(),
        row.threads.to_string(),
        row.test.clone(),
        format!("{:.2} ± {:.2}", row.tokens_per_second, row.standard_deviation),
    ];
    if let Some(latency) = &row.latency {
        header.push("first token median / p95");
        cells.push(format!(
            "{:.0} / {:.0} ms",
            latency.first_token_seconds_median * 1e3,
            latency.first_token_seconds_p95 * 1e3
        ));
    }
    terminal.line(format_args!("| {} |", header.join(" | ")))?;
    terminal.line(format_args!("|{}", " --- |".repeat(header.len())))?;
    terminal.line(format_args!("| {} |", cells.join(" | ")))?;
    Ok(())
}

/// Mean and sample standard deviation; the deviation of a single sample is 0.
fn mean_and_deviation(samples: &[f64]) -> (f64, f64) {
    let count = |n: usize| u32::try_from(n).map_or(f64::INFINITY, f64::from);
    let mean = samples.iter().sum::<f64>() / count(samples.len().max(1));
    let squares: f64 = samples.iter().map(|sample| (sample - mean).powi(2)).sum();
    (mean, (squares / count(samples.len().saturating_sub(1).max(1))).sqrt())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn deviation_is_that_of_a_sample() {
        // numpy.std([1, 2, 3, 4], ddof=1) = 1.2909944487358056
        let (mean, deviation) = mean_and_deviation(&[1.0, 2.0, 3.0, 4.0]);
        assert!((mean - 2.5).abs() < 1e-12);
        assert!((deviation - 1.290_994_448_735_805_6).abs() < 1e-12);
        assert!(mean_and_deviation(&[7.0]).1.abs() < 1e-12);
    }

    #[test]
    fn tests_are_named_as_in_llama_bench() {
        let size = Size { tokens: 64, streams: 1, repetitions: 5 };
        assert_eq!(name("tg", size), "tg64");
        assert_eq!(name("tg", Size { streams: 4, ..size }), "tg64 x 4");
    }
}
