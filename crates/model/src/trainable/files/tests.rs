//! Weights through files and back, and the same numbers from them.
#![expect(clippy::cast_possible_truncation, reason = "log-probabilities are compared in f32")]

use artifacts::disk::RealDisk;
use artifacts::folder::land_folder;
use engine::{DeviceOptions, KernelPath};

use super::*;
use crate::Model;
use crate::testing::{TINY, fixture};
use crate::trainable::MicroBatch;

fn device() -> Device {
    let kernels = Some(KernelPath::Reference);
    Device::cpu(&DeviceOptions { threads: None, kernels }).unwrap()
}

fn read(path: &Path) -> Result<Trainable, Error> {
    Trainable::read(&device(), path, Precision::F32)
}

fn land(model: &Trainable, target: &Path) -> Result<(), Error> {
    land_folder(&RealDisk, target, |folder| model.write(folder)).map(drop)
}

fn bits(model: &Trainable) -> Vec<Vec<u32>> {
    model.weights().iter().map(|w| w.to_vec().into_iter().map(f32::to_bits).collect()).collect()
}

/// Log-probabilities of a text, by the model that learns.
fn learning(model: &mut Trainable, text: &[u32]) -> Vec<f32> {
    let (tokens, targets) = (&text[..text.len() - 1], &text[1..]);
    let positions: Vec<u32> = (0..).take(tokens.len()).collect();
    let weights = vec![1.0; tokens.len()];
    let batch = MicroBatch {
        tokens,
        targets,
        positions: &positions,
        weights: &weights,
        scale: 1.0,
        temperature: 1.0,
    };
    model.losses(&batch).logprobs
}

/// The same by the model that is served.
fn serving(path: &Path, text: &[u32]) -> Vec<f32> {
    let model = Model::load(&device(), &Source::detect(path), &mut |_, _| ()).unwrap();
    let mut logprobs = Vec::new();
    let mut visit = |position: usize, logits: &[f32]| {
        let sum: f64 = logits.iter().map(|&logit| f64::from(logit).exp()).sum();
        logprobs.push((f64::from(logits[text[position + 1] as usize]) - sum.ln()) as f32);
    };
    model.read_logits(&text[..text.len() - 1], &mut visit).unwrap();
    logprobs
}

#[test]
fn weights_come_back_with_the_same_bits_and_compute_the_same() {
    let folder = tempfile::tempdir().unwrap();
    let text: Vec<u32> = (3..40).map(|i| i * i % 37).collect();
    for name in TINY.into_iter().chain(["tiny-chat.gguf"]) {
        let mut model = read(&fixture(name)).unwrap();
        let served = serving(&fixture(name), &text);
        for (a, b) in learning(&mut model, &text).iter().zip(&served) {
            assert!((a - b).abs() < 1e-4, "{name}: {a}, served {b}");
        }
        // What rounding or a shorter way of writing would lose.
        let mut row = vec![0.0; model.weights()[1].columns()];
        row[..4].copy_from_slice(&[-0.0, f32::from_bits(1), f32::MAX, 0.1 + f32::EPSILON]);
        model.weights_and_gradients().0[1].upload(0, &row);
        let target = folder.path().join(name);
        land(&model, &target).unwrap();
        let back = read(&target).unwrap();
        assert_eq!(back.config(), model.config(), "{name}");
        assert!(bits(&back) == bits(&model), "{name}");
    }
}

#[test]
fn rows_of_a_gguf_order_are_written_in_hugging_face_s() {
    let folder = tempfile::tempdir().unwrap();
    let halves = read(&fixture("tiny-llama")).unwrap().config().clone();
    let config = halves.with_pairing(Pairing::Interleaved);
    let mut model = Trainable::new(&device(), &config, Precision::F32, 3).unwrap();
    let target = folder.path().join("written");
    land(&model, &target).unwrap();
    let mut back = read(&target).unwrap();
    assert!(bits(&back) != bits(&model), "rows are turned");
    let text: Vec<u32> = (3..40).map(|i| i * i % 37).collect();
    let (before, after) = (learning(&mut model, &text), learning(&mut back, &text));
    for (a, b) in before.iter().zip(&after) {
        assert!((a - b).abs() < 1e-5, "{a}, after {b}");
    }
}

/// What is said of a tiny model with one value of its configuration changed.
fn error_with(key: &str, value: serde_json::Value) -> String {
    let folder = tempfile::tempdir().unwrap();
    let config = std::fs::read(fixture("tiny-llama/config.json")).unwrap();
    let mut config: serde_json::Value = serde_json::from_slice(&config).unwrap();
    config[key] = value;
    std::fs::write(folder.path().join("config.json"), config.to_string()).unwrap();
    let weights = fixture("tiny-llama").join(SINGLE_FILE);
    std::fs::copy(weights, folder.path().join(SINGLE_FILE)).unwrap();
    read(folder.path()).unwrap_err().to_string()
}

#[test]
fn checkpoints_that_do_not_fit_are_refused_by_name() {
    for (key, value, expected) in [
        ("vocab_size", 41.into(), "`model.embed_tokens.weight` has shape [40, 32]"),
        ("num_hidden_layers", 3.into(), "`model.layers.2.input_layernorm.weight` is missing"),
        ("num_hidden_layers", 1.into(), "\"model.layers.1."),
        ("attention_bias", true.into(), "`model.layers.0.self_attn.q_proj.bias` is missing"),
        ("max_position_embeddings", (1 << 22).into(), "at most 1048576 to learn"),
    ] {
        let error = error_with(key, value);
        assert!(error.contains(expected), "{key}: {error}");
    }
}

#[test]
fn what_a_file_has_no_words_for_is_not_written() {
    let folder = tempfile::tempdir().unwrap();
    let target = folder.path().join("written");
    let config = read(&fixture("tiny-llama")).unwrap().config().clone();
    let config = config.with_rope_divisors(vec![1.0, 2.0, 3.0, 4.0]).unwrap();
    let model = Trainable::new(&device(), &config, Precision::F32, 3).unwrap();
    let error = land(&model, &target).unwrap_err().to_string();
    assert!(error.contains("rope_freqs.weight"), "{error}");
    let options = JsonOptions { dtype: engine::Dtype::Bf16, ..JsonOptions::default() };
    let model = read(&fixture("tiny-llama")).unwrap();
    let error = land_folder(&RealDisk, &target, |folder| model.write_with(folder, &options));
    assert!(matches!(error, Err(Error::Unwritable { .. })), "{error:?}");
    assert!(!target.exists());
}
