//! Whole training steps of a model, AdamW included, with their losses and times: what
//! `cargo xtask bench-peers training` sets beside PyTorch's.
//!
//! `training_step new SHAPE DIR` writes a model with random weights, `training_step run DIR TOKENS
//! F32|BF16 STEPS` trains it on the numbers of a JSON list and prints a line of JSON a step and one
//! of the memory it took. With `lean` at its end it takes less of that: layers are computed again on the
//! way back, and half of the rows go through the model at once, which changes no bit.
#![expect(clippy::print_stdout, reason = "it prints what it measured")]

use std::path::Path;
use std::time::Instant;

use artifacts::disk::RealDisk;
use artifacts::folder;
use engine::ops::adamw::{self, AdamWOptions, AdamWState, EpsilonForm};
use engine::ops::gradient_norm;
use engine::ops::matmul::Precision;
use engine::{Device, DeviceOptions, Tensor};
use model::Config;
use model::trainable::{MicroBatch, ParameterKind, Trainable};

/// Rows of a step, and tokens of a row.
const SHAPE: [usize; 2] = [4, 256];
const THREADS: usize = 2;

/// 16.9 million weights.
const SMALL: &str = r#"{"architectures": ["LlamaForCausalLM"], "hidden_size": 384,
    "intermediate_size": 1024, "num_hidden_layers": 6, "num_attention_heads": 6,
    "vocab_size": 8192, "max_position_embeddings": 256, "rms_norm_eps": 1e-5,
    "rope_theta": 10000.0}"#;
/// SmolLM2-135M's shape.
const SMOLLM2: &str = r#"{"architectures": ["LlamaForCausalLM"], "hidden_size": 576,
    "intermediate_size": 1536, "num_hidden_layers": 30, "num_attention_heads": 9,
    "num_key_value_heads": 3, "vocab_size": 49152, "max_position_embeddings": 256,
    "rms_norm_eps": 1e-5, "rope_theta": 100000.0, "tie_word_embeddings": true}"#;

const USAGE: &str =
    "usage: training_step new 16.9m|135m DIR | run DIR TOKENS F32|BF16 STEPS [lean]";

type Outcome = Result<(), Box<dyn std::error::Error>>;

fn main() -> Outcome {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let device = Device::cpu(&DeviceOptions { threads: THREADS.try_into().ok(), kernels: None })?;
    match *arguments.as_slice() {
        ["new", "16.9m", folder] => new(&device, SMALL, folder.as_ref()),
        ["new", "135m", folder] => new(&device, SMOLLM2, folder.as_ref()),
        ["run", folder, tokens, precision, steps, ref rest @ ..]
            if rest.is_empty() || *rest == ["lean"] =>
        {
            let precision = match precision {
                "F32" => Precision::F32,
                "BF16" => Precision::Bf16,
                _ => return Err(USAGE.into()),
            };
            let mut model = Trainable::read(&device, folder.as_ref(), precision)?;
            let is_lean = !rest.is_empty();
            if is_lean {
                model = model.with_recomputed_layers()?;
            }
            let parts = if is_lean { 2 } else { 1 };
            run(&device, model, tokens.as_ref(), steps.parse()?, parts)
        }
        _ => Err(USAGE.into()),
    }
}

fn new(device: &Device, shape: &str, out: &Path) -> Outcome {
    let config = Config::from_json(shape.as_bytes())?;
    let model = Trainable::new(device, &config, Precision::F32, 1)?;
    folder::land_folder(&RealDisk, out, |folder| model.write(folder))?;
    Ok(())
}

fn run(
    device: &Device,
    mut model: Trainable,
    tokens: &Path,
    steps: usize,
    parts: usize,
) -> Outcome {
    let tokens: Vec<u32> = serde_json::from_slice(&std::fs::read(tokens)?)?;
    let mut optimizer = Optimizer::new(device, &model);
    let [rows, time] = SHAPE;
    let positions: Vec<u32> = (0..rows).flat_map(|_| (0..).take(time)).collect();
    let weights = vec![1.0; rows * time];
    let scale = 1.0 / f32::from(u16::try_from(rows * time)?);
    for step in 0..steps {
        let own = &tokens[step * rows * time..][..=rows * time];
        let (tokens, targets) = (&own[..rows * time], &own[1..]);
        let start = Instant::now();
        let mut loss = 0.0;
        for part in
            (0..parts).map(|part| part * rows * time / parts..(part + 1) * rows * time / parts)
        {
            let losses = model.accumulate(&MicroBatch {
                tokens: &tokens[part.clone()],
                positions: &positions[part.clone()],
                targets: &targets[part.clone()],
                weights: &weights[part],
                scale,
                temperature: 1.0,
            });
            loss += losses.losses.iter().map(|&loss| f64::from(loss)).sum::<f64>();
        }
        optimizer.step(device, &mut model, step as u64 + 1);
        let seconds = start.elapsed().as_secs_f64();
        println!("{{\"loss\": {loss}, \"seconds\": {seconds}}}");
    }
    if let Some(kilobytes) = peak_kilobytes() {
        println!("{{\"peak_kilobytes\": {kilobytes}}}");
    }
    Ok(())
}

/// The most memory that this process held, where the system tells.
fn peak_kilobytes() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    line.split_whitespace().next()?.parse().ok()
}

/// The moments of all weights.
struct Optimizer {
    first_moments: Vec<Tensor>,
    second_moments: Vec<Tensor>,
    decays: Vec<bool>,
}

impl Optimizer {
    fn new(device: &Device, model: &Trainable) -> Self {
        let zeros = |weights: &Tensor| Tensor::zeros(device, weights.rows(), weights.columns());
        let zeros = || model.weights().iter().map(zeros).collect();
        let kinds = model.parameters().iter().map(|parameter| parameter.kind);
        let decays = kinds.map(|kind| kind != ParameterKind::Vector).collect();
        Self { first_moments: zeros(), second_moments: zeros(), decays }
    }

    /// Clips, steps, and makes the model ready for the next pass.
    fn step(&mut self, device: &Device, model: &mut Trainable, step: u64) {
        let (weights, gradients) = model.weights_and_gradients();
        let norm = gradient_norm::norm(device, gradients);
        let Some(factor) = gradient_norm::clip_factor(norm, 1.0) else { return };
        let moments = self.first_moments.iter_mut().zip(&mut self.second_moments);
        for (((weights, gradients), (first_moments, second_moments)), decays) in
            weights.iter_mut().zip(gradients).zip(moments).zip(&self.decays)
        {
            let options = AdamWOptions {
                learning_rate: 3e-4,
                beta1: 0.9,
                beta2: 0.95,
                epsilon: 1e-8,
                epsilon_form: EpsilonForm::AfterCorrection,
                weight_decay: if *decays { 0.1 } else { 0.0 },
            };
            let state = AdamWState { weights, first_moments, second_moments };
            adamw::step(device, &options, step, state, gradients, factor);
        }
        model.refresh();
        model.clear_gradients();
    }
}
