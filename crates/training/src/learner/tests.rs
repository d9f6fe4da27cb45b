//! Ten steps of whole models beside those of PyTorch: `fixtures/training-golden.json`.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use corpus::RowBatch;
use engine::ops::matmul::Precision;
use engine::{Device, DeviceOptions, KernelPath, Tensor};
use model::trainable::{Parameter, Trainable};
use serde::Deserialize;

use super::{Learner, Parts, mean_of};
use crate::optimizer::Optimizer;
use crate::recipe::StageRecipe;

const ROWS: usize = 2;
const TIME: usize = 24;
/// Values kept of each tensor, as in `make_training_golden.py`.
const KEPT_VALUES: usize = 12;
/// The options that PyTorch's AdamW had; all others are the recipe's defaults.
const RECIPE: &str = "steps = 10\nrows = 2\nlearning_rate = 1e-3\nprecision = \"f32\"";
const RATE: f64 = 1e-3;

/// What PyTorch made of a model.
#[derive(Deserialize)]
struct Golden {
    /// Before each step, and after the last one.
    losses: Vec<f64>,
    /// Of the gradient of each step, before it is clipped.
    norms: Vec<f64>,
    /// Of the first step, by tensor: norm, sum with alternating signs, some values.
    gradients: BTreeMap<String, Vec<f64>>,
    /// After the last step.
    weights: BTreeMap<String, Vec<f64>>,
}

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fixtures").join(name)
}

fn golden() -> BTreeMap<String, Golden> {
    let text = std::fs::read_to_string(fixture("training-golden.json")).unwrap();
    serde_json::from_str(&text).unwrap()
}

fn paths() -> impl Iterator<Item = KernelPath> {
    let all = [KernelPath::Reference, KernelPath::Portable, KernelPath::Avx2, KernelPath::Avx512];
    all.into_iter().filter(|path| path.is_supported())
}

fn learner(name: &str, path: KernelPath) -> Learner {
    let device = Device::cpu(&DeviceOptions { threads: None, kernels: Some(path) }).unwrap();
    let model = Trainable::read(&device, &fixture(name), Precision::F32).unwrap();
    let recipe: StageRecipe = toml::from_str(RECIPE).unwrap();
    let optimizer = Optimizer::new(&device, model.parameters(), recipe.optimizer_options());
    Learner { device, model, optimizer, clip: recipe.clip, micro_rows: ROWS, base: None }
}

/// As `batch` in `make_training_golden.py`.
fn batch(vocabulary: u32) -> RowBatch {
    let index = 0..u32::try_from(ROWS * TIME).unwrap();
    RowBatch {
        rows: ROWS,
        time: TIME,
        inputs: index.clone().map(|i| (i * i * 7 + i * 3) % vocabulary).collect(),
        targets: index.clone().map(|i| (i * i * 5 + 11) % vocabulary).collect(),
        learned: index.map(|i| i % 5 != 4).collect(),
        segment_starts: vec![0; ROWS * TIME],
    }
}

/// The loss as it stands.
fn loss(learner: &mut Learner, batch: &RowBatch) -> f64 {
    let scale = mean_of(batch.learned.iter().filter(|&&learned| learned).count());
    let parts = Parts::new(batch, ROWS);
    let losses = parts.flat_map(|part| learner.model.losses(&part.micro_batch(scale)).losses);
    losses.map(f64::from).sum()
}

/// Norm, sum with alternating signs, and values at equal distances.
fn digest(values: &[f32]) -> Vec<f64> {
    let values: Vec<f64> = values.iter().copied().map(f64::from).collect();
    let norm = values.iter().map(|value| value * value).sum::<f64>().sqrt();
    let signs = [1.0, -1.0].into_iter().cycle();
    let sum = values.iter().zip(signs).map(|(value, sign)| value * sign).sum();
    let distance = (values.len() / KEPT_VALUES).max(1);
    let kept = values.iter().copied().step_by(distance).take(KEPT_VALUES);
    [norm, sum].into_iter().chain(kept).collect()
}

/// Digests of all tensors by the names under which they are stored.
fn digests(parameters: &[Parameter], tensors: &[Tensor]) -> BTreeMap<String, Vec<f64>> {
    let mut digests = BTreeMap::new();
    for (parameter, tensor) in parameters.iter().zip(tensors) {
        let values = tensor.to_vec();
        let whole: usize = parameter.parts.iter().map(|(_, rows)| rows).sum();
        let mut rest = values.as_slice();
        for (name, rows) in &parameter.parts {
            let (own, others) = rest.split_at(values.len() / whole * rows);
            digests.insert(name.clone(), digest(own));
            rest = others;
        }
    }
    digests
}

/// Fails where tensors differ by more than a share of the tensor's norm.
fn assert_near(found: &BTreeMap<String, Vec<f64>>, golden: &Golden, is_weights: bool, what: &str) {
    let (expected, share) =
        if is_weights { (&golden.weights, 2e-5) } else { (&golden.gradients, 1e-5) };
    assert_eq!(found.keys().collect::<Vec<_>>(), expected.keys().collect::<Vec<_>>(), "{what}");
    for (name, expected) in expected {
        let allowed = share * expected[0];
        for (found, expected) in found[name].iter().zip(expected) {
            let difference = (found - expected).abs();
            assert!(difference <= allowed, "{what}, {name}: {found}, not {expected}");
        }
    }
}

#[test]
fn ten_steps_are_those_of_pytorch() {
    for (name, golden) in golden() {
        for path in paths() {
            let what = format!("{name}, {path}");
            let mut learner = learner(&name, path);
            let batch = batch(u32::try_from(learner.model.config().vocab).unwrap());
            for (step, (expected_loss, expected_norm)) in
                (1..).zip(golden.losses.iter().zip(&golden.norms))
            {
                let outcome = learner.step(&batch, step, RATE);
                let found = [outcome.loss, outcome.gradient_norm];
                for (found, expected) in found.into_iter().zip([expected_loss, expected_norm]) {
                    let near = (found - expected).abs() <= 1e-5 * expected;
                    assert!(near, "{what}, step {step}: {found}, not {expected}");
                }
                if step == 1 {
                    let parameters = learner.model.parameters().to_vec();
                    let found = digests(&parameters, learner.model.gradients());
                    assert_near(&found, &golden, false, &what);
                }
            }
            let (found, expected) = (loss(&mut learner, &batch), golden.losses[10]);
            assert!((found - expected).abs() <= 1e-5 * expected, "{what}: {found}, not {expected}");
            let found = digests(learner.model.parameters(), learner.model.weights());
            assert_near(&found, &golden, true, &what);
        }
    }
}
