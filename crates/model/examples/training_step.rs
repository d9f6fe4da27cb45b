//! Times whole training steps of a small model, AdamW included: `training_step [F32|BF16] [STEPS]`.
#![expect(clippy::print_stdout, reason = "it prints what it measured")]

use std::time::Instant;

use engine::ops::adamw::{self, AdamWOptions, AdamWState, EpsilonForm};
use engine::ops::gradient_norm;
use engine::ops::matmul::Precision;
use engine::{Device, DeviceOptions, Tensor};
use model::Config;
use model::trainable::{MicroBatch, Trainable};

/// Rows of a step, and tokens of a row.
const SHAPE: [u32; 2] = [4, 256];

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let precision = match arguments.next().as_deref() {
        Some("F32") => Precision::F32,
        _ => Precision::Bf16,
    };
    let steps: u32 = arguments.next().map_or(Ok(5), |steps| steps.parse())?;
    let config = Config::from_json(
        br#"{"architectures": ["LlamaForCausalLM"], "hidden_size": 384, "intermediate_size": 1024,
        "num_hidden_layers": 6, "num_attention_heads": 6, "vocab_size": 8192,
        "max_position_embeddings": 256, "rms_norm_eps": 1e-5, "rope_theta": 10000.0}"#,
    )?;
    let device = Device::cpu(&DeviceOptions::default())?;
    let mut model = Trainable::new(&device, &config, precision, 1)?;
    let [rows, time] = SHAPE;
    let positions: Vec<u32> = (0..rows).flat_map(|_| 0..time).collect();
    let count = positions.len();
    let text: Vec<u32> = (0..=u32::try_from(count)?).map(|i| i * i * 31 % 8192).collect();
    let weights = vec![1.0; count];
    let scale = 1.0 / f32::from(u16::try_from(count)?);
    let (tokens, targets) = (&text[..count], &text[1..]);
    let batch = MicroBatch { tokens, positions: &positions, targets, weights: &weights, scale };
    let mut optimizer = Optimizer::new(&device, &model);
    for step in 1..=steps {
        let start = Instant::now();
        let losses = model.accumulate(&batch);
        let passed = start.elapsed();
        optimizer.step(&device, &mut model, u64::from(step));
        let all = start.elapsed();
        let loss: f32 = losses.losses.iter().sum();
        let pace = f64::from(rows * time) / all.as_secs_f64();
        println!(
            "step {step}: loss {loss:.4}, passes {passed:.2?}, all {all:.2?}, {pace:.0} tokens/s"
        );
    }
    Ok(())
}

/// The moments of all weights.
struct Optimizer {
    first_moments: Vec<Tensor>,
    second_moments: Vec<Tensor>,
}

impl Optimizer {
    fn new(device: &Device, model: &Trainable) -> Self {
        let zeros = |weights: &Tensor| Tensor::zeros(device, weights.rows(), weights.columns());
        let zeros = || model.weights().iter().map(zeros).collect();
        Self { first_moments: zeros(), second_moments: zeros() }
    }

    /// Clips, steps, and makes the model ready for the next pass.
    fn step(&mut self, device: &Device, model: &mut Trainable, step: u64) {
        let options = AdamWOptions {
            learning_rate: 3e-4,
            beta1: 0.9,
            beta2: 0.95,
            epsilon: 1e-8,
            epsilon_form: EpsilonForm::AfterCorrection,
            weight_decay: 0.1,
        };
        let (weights, gradients) = model.weights_and_gradients();
        let norm = gradient_norm::norm(device, gradients);
        let Some(factor) = gradient_norm::clip_factor(norm, 1.0) else { return };
        let moments = self.first_moments.iter_mut().zip(&mut self.second_moments);
        for ((weights, gradients), (first_moments, second_moments)) in
            weights.iter_mut().zip(gradients).zip(moments)
        {
            let state = AdamWState { weights, first_moments, second_moments };
            adamw::step(device, &options, step, state, gradients, factor);
        }
        model.refresh();
        model.clear_gradients();
    }
}
