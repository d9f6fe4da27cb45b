//! Slopes of the loss, company that does not matter, and the model that is served.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::num::NonZeroUsize;
use std::path::Path;
use std::sync::Arc;

use artifacts::tensors::TensorSpec;
use artifacts::{StoredType, safetensors};
use engine::ops::log_softmax;
use engine::ops::matmul::Precision;
use engine::{Device, DeviceOptions, Dtype, KernelPath, dtype};

use super::{
    Losses, MicroBatch, Parameter, ParameterKind, Prediction, ScalarHead, Slopes, Trainable,
};
use crate::adapter::{Adapter, AdapterOptions, Target};
use crate::batch::{Batch, BatchOptions};
use crate::checkpoint::Source;
use crate::config::Config;
use crate::gpt::{Adapted, Model};
use crate::request::{Event, LogprobsOf, SequenceRequest};
use crate::sampling::Sampling;

/// A small model of each family, as in its `config.json`.
fn config_json(architecture: &str) -> String {
    let json = serde_json::json!({
        "architectures": [architecture],
        "hidden_size": 24,
        "intermediate_size": 40,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "head_dim": 8,
        "vocab_size": 37,
        "max_position_embeddings": 96,
        "rms_norm_eps": 1e-5,
        "rope_theta": 10000.0,
        "tie_word_embeddings": architecture == "Qwen3ForCausalLM",
        "attention_bias": false,
    });
    json.to_string()
}

const FAMILIES: [&str; 3] = ["LlamaForCausalLM", "Qwen2ForCausalLM", "Qwen3ForCausalLM"];

fn device(kernels: KernelPath, threads: usize) -> Device {
    let options = DeviceOptions { threads: NonZeroUsize::new(threads), kernels: Some(kernels) };
    Device::cpu(&options).unwrap()
}

fn paths() -> impl Iterator<Item = KernelPath> {
    let all = [KernelPath::Portable, KernelPath::Avx2, KernelPath::Avx512];
    all.into_iter().filter(|path| path.is_supported())
}

/// Documents of some lengths, one after the other.
struct Text {
    tokens: Vec<u32>,
    positions: Vec<u32>,
    targets: Vec<u32>,
    weights: Vec<f32>,
}

impl Text {
    fn new(lengths: &[u32]) -> Self {
        let positions: Vec<u32> = lengths.iter().flat_map(|&length| 0..length).collect();
        let tokens: Vec<u32> = (7..).map(|i: u32| i * i % 37).take(positions.len()).collect();
        let targets = tokens.iter().map(|token| (token * 5 + 3) % 37).collect();
        let weights = (0..positions.len()).map(|i| [1.0, 0.0, 1.0, 0.5][i % 4]).collect();
        Self { tokens, positions, targets, weights }
    }

    fn part(&self, rows: std::ops::Range<usize>) -> MicroBatch<'_> {
        MicroBatch {
            tokens: &self.tokens[rows.clone()],
            positions: &self.positions[rows.clone()],
            targets: &self.targets[rows.clone()],
            weights: &self.weights[rows],
            scale: 1.0 / 64.0,
            temperature: 1.0,
        }
    }

    fn all(&self) -> MicroBatch<'_> {
        self.part(0..self.tokens.len())
    }
}

fn sum(losses: &Losses) -> f64 {
    losses.losses.iter().map(|&loss| f64::from(loss)).sum()
}

/// Weights large enough that everything matters.
fn model(device: &Device, family: &str, precision: Precision) -> Trainable {
    let config = Config::from_json(config_json(family).as_bytes()).unwrap();
    let mut model = Trainable::new(device, &config, precision, 11).unwrap();
    let (weights, _) = model.weights_and_gradients();
    for (number, weight) in weights.iter_mut().enumerate() {
        let (rows, columns) = (weight.rows(), weight.columns());
        let noise = (0..rows * columns)
            .map(|i| 0.25 * engine::random::normal(5, (number as u64) << 32 | i as u64));
        let values: Vec<f32> = weight.to_vec().iter().zip(noise).map(|(a, b)| a + b).collect();
        weight.upload(0, &values);
    }
    model.refresh();
    model
}

/// Some gradients of every weight that learns against finite differences of the loss.
#[track_caller]
fn assert_slopes(model: &mut Trainable, what: &str) {
    let text = Text::new(&[7, 1, 5]);
    let _ = model.accumulate(&text.all());
    let gradients: Vec<Vec<f32>> = model.gradients().iter().map(|g| g.to_vec()).collect();
    for (place, gradient) in gradients.iter().enumerate() {
        let name = model.parameters()[place].parts[0].0.clone();
        let size = gradient.iter().map(|g| g.abs()).fold(0.0, f32::max);
        assert!(size > 0.0, "{what} {name} learns");
        let columns = model.weights()[place].columns();
        // Some values of each weight.
        for index in (0..gradient.len()).step_by(gradient.len() / 5 + 1) {
            let row = index / columns;
            if is_beside_blocks(&model.parameters()[place], [row, index % columns]) {
                assert!(gradient[index] == 0.0, "{what} {name} [{index}] stays zero");
                continue;
            }
            let mut at = |step: f32| {
                let mut values = vec![0.0; columns];
                model.weights()[place].download_row(row, &mut values);
                let before = values.clone();
                values[index % columns] += step;
                model.weights_and_gradients().0[place].upload(row, &values);
                model.refresh();
                let loss = sum(&model.losses(&text.all()));
                model.weights_and_gradients().0[place].upload(row, &before);
                model.refresh();
                loss
            };
            let step = 1.0 / 128.0;
            let slope = (8.0 * (at(step) - at(-step)) - (at(2.0 * step) - at(-2.0 * step)))
                / (12.0 * f64::from(step));
            let actual = f64::from(gradient[index]);
            // Losses of about 0.1 are rounded to f32: errors of 2^-28 over a step of 2^-7.
            let close = (actual - slope).abs() <= 2e-5 + 1e-3 * f64::from(size);
            assert!(close, "{what} {name} [{index}]: {actual}, slope {slope}, most {size}");
        }
    }
}

/// Whether a value is one of those of `B` that are zero by construction.
fn is_beside_blocks(parameter: &Parameter, [row, column]: [usize; 2]) -> bool {
    if !parameter.parts[0].0.contains("lora_B") {
        return false;
    }
    let rank = parameter.shape[1] / parameter.parts.len();
    let mut first =
        parameter.shape[0] - parameter.parts.iter().map(|(_, rows)| rows).sum::<usize>();
    assert_eq!(first, 0, "all matrices of the product have an adapter here");
    for (part, (_, rows)) in parameter.parts.iter().enumerate() {
        if (first..first + rows).contains(&row) {
            return column / rank != part;
        }
        first += rows;
    }
    true
}

#[test]
fn every_gradient_is_a_slope_of_the_loss() {
    for family in FAMILIES {
        let device = device(KernelPath::Reference, 1);
        assert_slopes(&mut model(&device, family, Precision::F32), family);
    }
}

/// An adapter of all matrices with some `B`, beside [`model`].
fn adapted(device: &Device, family: &str, precision: Precision) -> Trainable {
    let base = model(device, family, precision);
    let options = AdapterOptions {
        rank: 3,
        alpha: 4.5,
        targets: Target::ALL.to_vec(),
        base: "base".to_owned(),
    };
    let adapter = Adapter::new(device, base.config(), &options, 7).unwrap();
    let mut model = base.with_adapter(adapter).unwrap();
    let parameters = model.parameters().to_vec();
    let (weights, _) = model.weights_and_gradients();
    for (place, (weight, parameter)) in weights.iter_mut().zip(&parameters).enumerate() {
        let (rows, columns) = (weight.rows(), weight.columns());
        let mut values = weight.to_vec();
        for (index, value) in values.iter_mut().enumerate().take(rows * columns) {
            if !is_beside_blocks(parameter, [index / columns, index % columns]) {
                *value += 0.2 * engine::random::normal(6, (place as u64) << 32 | index as u64);
            }
        }
        weight.upload(0, &values);
    }
    model.refresh();
    model
}

#[test]
fn every_gradient_of_an_adapter_is_a_slope_of_the_loss() {
    for family in FAMILIES {
        let device = device(KernelPath::Reference, 1);
        let mut model = adapted(&device, family, Precision::F32);
        assert!(model.gradients.is_empty() && model.lookups.is_none(), "the base has none");
        assert!(model.parameters().iter().all(|p| p.parts[0].0.contains(".lora_")));
        assert_slopes(&mut model, family);
    }
}

#[test]
fn an_adapter_that_begins_changes_no_bit() {
    let text = Text::new(&[30, 2, 65]);
    for path in paths() {
        for precision in [Precision::F32, Precision::Bf16] {
            let device = device(path, 2);
            let mut base = model(&device, "Qwen2ForCausalLM", precision);
            let expected = base.losses(&text.all());
            let options = AdapterOptions {
                rank: 4,
                alpha: 8.0,
                targets: vec![Target::Query, Target::Down],
                base: String::new(),
            };
            let adapter = Adapter::new(&device, base.config(), &options, 1).unwrap();
            let found = base.with_adapter(adapter).unwrap().losses(&text.all());
            let bits = |losses: &Losses| -> Vec<u32> {
                losses.logprobs.iter().map(|logprob| logprob.to_bits()).collect()
            };
            assert!(bits(&found) == bits(&expected), "{path} {precision:?}");
        }
    }
}

#[test]
fn micro_batches_and_threads_change_no_bit_of_an_adapter() {
    let text = Text::new(&[30, 2, 65, 5, 10]);
    for path in paths() {
        for (precision, cut) in [(Precision::F32, 97), (Precision::Bf16, 102)] {
            let run = |threads: usize, cuts: &[usize]| {
                let device = device(path, threads);
                let mut model = adapted(&device, "Qwen3ForCausalLM", precision);
                let mut losses = Vec::new();
                for cut in cuts.windows(2) {
                    losses.extend(model.accumulate(&text.part(cut[0]..cut[1])).losses);
                }
                let gradients = model.gradients().iter().flat_map(|g| g.to_vec());
                losses.into_iter().chain(gradients).map(f32::to_bits).collect::<Vec<_>>()
            };
            let whole = run(1, &[0, 112]);
            assert!(run(2, &[0, 112]) == whole, "{path} {precision:?}: two threads");
            assert!(run(2, &[0, 32, cut, 112]) == whole, "{path} {precision:?}: micro-batches");
        }
    }
}

#[test]
fn the_fast_paths_follow_the_reference() {
    for family in FAMILIES {
        let text = Text::new(&[70, 3, 20]);
        let run = |device: &Device, precision| {
            let mut model = model(device, family, precision);
            let losses = model.accumulate(&text.all());
            (losses, model.gradients().iter().map(|g| g.to_vec()).collect::<Vec<_>>())
        };
        let (oracle, expected) = run(&device(KernelPath::Reference, 2), Precision::F32);
        for path in paths() {
            for (precision, tolerance) in [(Precision::F32, 2e-5), (Precision::Bf16, 6e-2)] {
                let (losses, gradients) = run(&device(path, 2), precision);
                assert!((sum(&losses) / sum(&oracle) - 1.0).abs() < f64::from(tolerance), "{path}");
                for (gradient, expected) in gradients.iter().zip(&expected) {
                    let norm = |values: &[f32]| values.iter().map(|v| v * v).sum::<f32>().sqrt();
                    let error: Vec<f32> =
                        gradient.iter().zip(expected).map(|(a, b)| a - b).collect();
                    let (error, size) = (norm(&error), norm(expected));
                    assert!(
                        error <= tolerance * size,
                        "{family} {path} {precision:?}: {error} of {size}"
                    );
                }
            }
        }
    }
}

#[test]
fn micro_batches_and_threads_change_no_bit() {
    let text = Text::new(&[30, 2, 65, 5, 10]);
    for path in paths() {
        // The last has a tied table, where the head and the lookups meet.
        for family in ["Qwen2ForCausalLM", "Qwen3ForCausalLM"] {
            for (precision, cut) in [(Precision::F32, 97), (Precision::Bf16, 102)] {
                let run = |threads: usize, cuts: &[usize]| {
                    let mut model = model(&device(path, threads), family, precision);
                    let mut losses = Vec::new();
                    for cut in cuts.windows(2) {
                        losses.extend(model.accumulate(&text.part(cut[0]..cut[1])).losses);
                    }
                    let gradients = model.gradients().iter().flat_map(|g| g.to_vec());
                    losses.into_iter().chain(gradients).map(f32::to_bits).collect::<Vec<_>>()
                };
                let (whole, what) = (run(1, &[0, 112]), format!("{family} {path} {precision:?}"));
                assert!(run(2, &[0, 112]) == whole, "{what}: two threads");
                assert!(run(2, &[0, 32, cut, 112]) == whole, "{what}: micro-batches");
            }
        }
    }
}

#[test]
fn layers_computed_again_change_no_bit() {
    let text = Text::new(&[30, 2, 64]);
    let pass = |model: &mut Trainable, text: &Text| {
        let losses = model.accumulate(&text.all()).losses;
        let gradients = model.gradients().iter().flat_map(|g| g.to_vec());
        losses.into_iter().chain(gradients).map(f32::to_bits).collect::<Vec<_>>()
    };
    for path in paths() {
        for family in FAMILIES {
            for precision in [Precision::F32, Precision::Bf16] {
                let device = device(path, 2);
                for make in [model, adapted] {
                    let mut kept = make(&device, family, precision);
                    let mut again =
                        make(&device, family, precision).with_recomputed_layers().unwrap();
                    assert_eq!(again.activations.layers.len(), 1);
                    // The second time by other weights: copies are made anew.
                    for _ in 0..2 {
                        assert!(
                            pass(&mut kept, &text) == pass(&mut again, &text),
                            "{family} {path} {precision:?}"
                        );
                        for model in [&mut kept, &mut again] {
                            model.clear_gradients();
                            let (weights, _) = model.weights_and_gradients();
                            weights.iter_mut().for_each(|weight| weight.scale(&device, 0.75));
                            model.refresh();
                        }
                    }
                }
            }
        }
    }
}

/// The tensor that tokens are looked up in.
const TABLE: &str = "model.embed_tokens.weight";

/// Writes a checkpoint: matrices and the head, which stands apart, in bf16; all else in f32.
fn write_checkpoint(model: &Trainable, family: &str, folder: &Path) {
    let (mut tensors, mut data) = (Vec::new(), Vec::new());
    for (parameter, weights) in model.parameters().iter().zip(model.weights()) {
        let (values, columns) = (weights.to_vec(), weights.columns());
        let mut rest = &values[..];
        for (name, rows) in &parameter.parts {
            let shape = match parameter.kind {
                ParameterKind::Vector if parameter.parts.len() == 1 => vec![columns as u64],
                ParameterKind::Vector => vec![*rows as u64],
                _ => vec![*rows as u64, columns as u64],
            };
            let is_rounded = parameter.kind != ParameterKind::Vector && name != TABLE;
            let (stored, kind) = match is_rounded {
                true => (StoredType::Bf16, Dtype::Bf16),
                false => (StoredType::F32, Dtype::F32),
            };
            let count = usize::try_from(shape.iter().product::<u64>()).unwrap();
            let part = rest.split_off(..count).unwrap();
            data.push(dtype::quantize_row(kind, part).unwrap());
            tensors.push(TensorSpec::new(name, stored, &shape));
            if name == TABLE && model.config().tied_head {
                data.push(dtype::quantize_row(Dtype::Bf16, part).unwrap());
                tensors.push(TensorSpec::new("lm_head.weight", StoredType::Bf16, &shape));
            }
        }
    }
    let mut config: serde_json::Value = serde_json::from_str(&config_json(family)).unwrap();
    config["tie_word_embeddings"] = false.into();
    fs::write(folder.join("config.json"), config.to_string()).unwrap();
    let mut file = File::create(folder.join("model.safetensors")).unwrap();
    let write = |index: usize, out: &mut dyn std::io::Write| out.write_all(&data[index]);
    safetensors::write(&mut file, &BTreeMap::new(), &tensors, write).unwrap();
}

/// Compares the log-probabilities of a model that learns with those of one that is served.
#[track_caller]
fn assert_served(device: &Device, trained: &mut Trainable, served: &Model, what: &str) {
    let text = Text::new(&[70]);
    let trained = trained.losses(&text.all()).logprobs;
    let mut check = |position: usize, logits: &[f32]| {
        let target = text.targets[position] as usize;
        let logprob = log_softmax::row(device, logits, 1.0).logprob(logits[target]);
        // What does not count has no log-probability in training.
        let same = trained[position].to_bits() == logprob.to_bits();
        assert!(same || text.weights[position] == 0.0, "{what} [{position}]");
    };
    served.read_logits(&text.tokens, &mut check).unwrap();
}

#[test]
fn served_logprobs_are_those_of_training() {
    for family in FAMILIES {
        for path in paths() {
            let device = device(path, 2);
            let mut model = model(&device, family, Precision::Bf16);
            let folder = tempfile::tempdir().unwrap();
            write_checkpoint(&model, family, folder.path());
            let source = Source::Folder(folder.path().to_owned());
            let served = Model::load(&device, &source, &mut |_, _| {}).unwrap();
            assert_served(&device, &mut model, &served, &format!("{family} {path}"));
        }
    }
}

#[test]
fn served_logprobs_beside_an_adapter_are_those_of_training() {
    for family in FAMILIES {
        for path in paths() {
            let device = device(path, 2);
            let folder = tempfile::tempdir().unwrap();
            write_checkpoint(&model(&device, family, Precision::Bf16), family, folder.path());
            let mut trained = adapted(&device, family, Precision::Bf16);
            let adapter = Adapted::Beside(Arc::new(trained.adapter().unwrap().clone()));
            let source = Source::Folder(folder.path().to_owned());
            let served =
                Model::load_adapted(&device, &source, Some(&adapter), &mut |_, _| {}).unwrap();
            assert_served(&device, &mut trained, &served, &format!("{family} {path}"));
        }
    }
}

/// Samples from a model as it is now: each sequence's prompt with its completion, the stop token
/// included, and the log-probabilities told while decoding.
fn sample(trained: &Trainable, temperature: f32) -> Vec<(Vec<u32>, Vec<f32>)> {
    let options =
        BatchOptions { slots: 3, context_tokens: 96, prefill_chunk: 5, ..BatchOptions::default() };
    let mut batch = Batch::new(Arc::new(trained.served().unwrap()), options).unwrap();
    let mut sequences = BTreeMap::new();
    for seed in 0..3 {
        let prompt = vec![3, 1, 4, 1, 5 + seed];
        let request = SequenceRequest {
            prompt: prompt.clone(),
            max_tokens: 70,
            sampling: Sampling { temperature, seed: seed.into(), ..Sampling::default() },
            stop_tokens: vec![9],
            logprobs: Some(0),
            logprobs_of: LogprobsOf::Temperature,
            ..SequenceRequest::default()
        };
        sequences.insert(batch.add(request).unwrap(), (prompt, Vec::new()));
    }
    while !batch.is_idle() {
        for event in batch.step().unwrap() {
            let (id, token, logprob) = match event {
                Event::Token { id, token, logprob, .. } => (id, token, logprob),
                Event::Done { id, stop: Some(stop), .. } => (id, stop.token, stop.logprob),
                _ => continue,
            };
            let (tokens, logprobs) = sequences.get_mut(&id).unwrap();
            tokens.push(token);
            logprobs.push(logprob);
        }
    }
    sequences.into_values().collect()
}

#[test]
fn decoded_logprobs_are_those_of_training() {
    for family in FAMILIES {
        for path in paths().chain([KernelPath::Reference]) {
            for precision in [Precision::F32, Precision::Bf16] {
                for make in [model, adapted] {
                    let device = device(path, 2);
                    let mut trained = make(&device, family, precision);
                    for (tokens, decoded) in sample(&trained, 0.7) {
                        let first = tokens.len() - decoded.len();
                        let text = MicroBatch {
                            tokens: &tokens[..tokens.len() - 1],
                            positions: &(0..).take(tokens.len() - 1).collect::<Vec<u32>>(),
                            targets: &tokens[1..],
                            weights: &vec![1.0; tokens.len() - 1],
                            scale: 1.0,
                            temperature: 0.7,
                        };
                        let logprobs = trained.losses(&text).logprobs;
                        let bits = |logprobs: &[f32]| -> Vec<u32> {
                            logprobs.iter().map(|logprob| logprob.to_bits()).collect()
                        };
                        let same = bits(&logprobs[first - 1..]) == bits(&decoded);
                        assert!(same, "{family} {path} {precision:?} {}", decoded.len());
                    }
                }
            }
        }
    }
}

#[test]
fn a_served_model_stays_as_it_was_made() {
    let device = device(KernelPath::best(), 2);
    let mut trained = model(&device, "LlamaForCausalLM", Precision::F32);
    let served = trained.served().unwrap();
    let logits = |served: &Model| {
        let mut all = Vec::new();
        served.read_logits(&[1, 2, 3], &mut |_, logits| all.extend_from_slice(logits)).unwrap();
        all
    };
    let before = logits(&served);
    let (weights, _) = trained.weights_and_gradients();
    weights.iter_mut().for_each(|weight| weight.scale(&device, 0.5));
    trained.refresh();
    assert_eq!(logits(&served), before);
    assert_ne!(logits(&trained.served().unwrap()), before);
}

/// A loss of everything that is predicted, and its derivatives.
fn loss_of(prediction: Prediction) -> (f64, Slopes) {
    let Prediction { logprob, output, row, .. } = prediction;
    let (logprob, output) = (f64::from(logprob), f64::from(output));
    let factor = 0.125 / (1.0 + row as f64);
    let loss = factor * (logprob * logprob + output * output * output);
    let slopes = [2.0 * factor * logprob, 3.0 * factor * output * output];
    #[expect(clippy::cast_possible_truncation, reason = "slopes are f32")]
    let [logprob, output] = slopes.map(|slope| slope as f32);
    (loss, Slopes { logprob, output })
}

/// The loss of [`loss_of`] over all tokens that count.
fn weighed_loss(model: &mut Trainable, head: &mut ScalarHead, text: &Text) -> f64 {
    let mut loss = 0.0;
    let batch = MicroBatch { temperature: 0.75, ..text.all() };
    let losses = model.accumulate_weighed(&batch, Some(head), &mut |prediction| {
        let (own, slopes) = loss_of(prediction);
        loss += own;
        slopes
    });
    let expected = model.losses(&batch);
    assert!(losses == expected, "the losses are those of the targets");
    loss
}

/// A slope of the loss against the gradient of one value, changed by `change`.
#[track_caller]
fn assert_slope(gradient: f32, mut at: impl FnMut(f32) -> f64, what: &str) {
    let step = 1.0 / 128.0;
    let slope = (8.0 * (at(step) - at(-step)) - (at(2.0 * step) - at(-2.0 * step)))
        / (12.0 * f64::from(step));
    let close = (f64::from(gradient) - slope).abs() <= 2e-4 + 2e-3 * slope.abs();
    assert!(close, "{what}: {gradient}, slope {slope}");
}

#[test]
fn a_loss_of_predictions_and_outputs_has_its_slopes() {
    let device = device(KernelPath::Reference, 1);
    let text = Text::new(&[7, 1, 5]);
    for make in [model, adapted] {
        let mut model = make(&device, "Qwen3ForCausalLM", Precision::F32);
        let mut head = ScalarHead::new(&device, 24, 5);
        let _ = weighed_loss(&mut model, &mut head, &text);
        let gradients: Vec<Vec<f32>> = model.gradients().iter().map(|g| g.to_vec()).collect();
        let d_head = head.weight_and_gradient().1.to_vec();
        for index in [0, 11, 23] {
            let at = |step: f32| {
                let mut values = head.weight().to_vec();
                values[index] += step;
                let mut moved = ScalarHead::with_weight(&device, &values, 0.0);
                weighed_loss(&mut model, &mut moved, &text)
            };
            assert_slope(d_head[index], at, "scalar head");
        }
        for (place, gradient) in gradients.iter().enumerate() {
            let columns = model.weights()[place].columns();
            let index = gradient.len() / 2;
            let (row, column) = (index / columns, index % columns);
            if is_beside_blocks(&model.parameters()[place], [row, column]) {
                continue;
            }
            let name = model.parameters()[place].parts[0].0.clone();
            let at = |step: f32| {
                let mut before = vec![0.0; columns];
                model.weights()[place].download_row(row, &mut before);
                let mut values = before.clone();
                values[column] += step;
                model.weights_and_gradients().0[place].upload(row, &values);
                model.refresh();
                let loss = weighed_loss(&mut model, &mut head, &text);
                model.weights_and_gradients().0[place].upload(row, &before);
                model.refresh();
                loss
            };
            assert_slope(gradient[index], at, &name);
        }
    }
}

#[test]
fn outputs_alone_have_the_same_gradient_as_beside_predictions() {
    let text = Text::new(&[30, 2, 65]);
    for path in paths() {
        let device = device(path, 2);
        let documents = text.all().documents();
        let all = MicroBatch { weights: &[1.0; 97], ..text.all() };
        for make in [model, adapted] {
            let slope = |output: f32| 0.5 * output - 1.0;
            let mut model = make(&device, "Qwen2ForCausalLM", Precision::Bf16);
            let mut head = ScalarHead::new(&device, 24, 5);
            let mut outputs = Vec::new();
            let _ = model.accumulate_weighed(&all, Some(&mut head), &mut |prediction| {
                outputs.push(prediction.output);
                Slopes { logprob: 0.0, output: slope(prediction.output) }
            });
            let gradients = |model: &mut Trainable, head: &mut ScalarHead| {
                let own: Vec<f32> = model.gradients().iter().flat_map(|g| g.to_vec()).collect();
                (own, head.weight_and_gradient().1.to_vec())
            };
            let expected = gradients(&mut model, &mut head);
            assert!(expected.0.iter().any(|&gradient| gradient != 0.0));
            model.clear_gradients();
            head.clear_gradient(&device);
            let found = model.accumulate_outputs(documents, &mut head, |outputs| {
                outputs.iter().map(|&output| slope(output)).collect()
            });
            assert_eq!(found, outputs, "{path}");
            assert_eq!(model.outputs(documents, &head), outputs, "{path}");
            assert!(gradients(&mut model, &mut head) == expected, "{path}");
        }
    }
}

#[test]
fn a_model_that_does_not_learn_reads_the_same() {
    let device = device(KernelPath::best(), 2);
    let text = Text::new(&[30, 2, 65]);
    let mut model = model(&device, "Qwen3ForCausalLM", Precision::Bf16);
    let expected = model.losses(&text.all());
    let mut adapted = adapted(&device, "Qwen3ForCausalLM", Precision::Bf16);
    assert!(adapted.losses(&text.all()) != expected);
    assert!(adapted.losses_without_adapter(&text.all()) == expected);
    assert!(model.frozen().losses(&text.all()) == expected);
}

#[test]
#[should_panic(expected = "a frozen model")]
fn a_model_that_does_not_learn_has_no_way_back() {
    let device = device(KernelPath::best(), 1);
    let mut model = model(&device, "LlamaForCausalLM", Precision::F32).frozen();
    let _ = model.accumulate(&Text::new(&[3]).all());
}

#[test]
fn gradients_are_cleared_and_accumulated() {
    let device = device(KernelPath::Portable, 1);
    let text = Text::new(&[9]);
    let mut model = model(&device, "LlamaForCausalLM", Precision::F32);
    let _ = model.accumulate(&text.all());
    let once: Vec<Vec<f32>> = model.gradients().iter().map(|g| g.to_vec()).collect();
    model.clear_gradients();
    assert!(model.gradients().iter().all(|g| g.to_vec().iter().all(|&v| v == 0.0)));
    let _ = model.losses(&text.all());
    assert!(model.gradients().iter().all(|g| g.to_vec().iter().all(|&v| v == 0.0)));
    let _ = model.accumulate(&text.all());
    assert!(model.gradients().iter().zip(&once).all(|(g, once)| g.to_vec() == *once));
}
