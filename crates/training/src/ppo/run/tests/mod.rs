//! A stage that is stopped anywhere goes on with the same bytes, and refuses what does not fit.

mod healthy;
mod meter;

use std::collections::BTreeMap;
use std::fs;
use std::num::NonZeroUsize;
use std::path::Path;

use artifacts::folder::land_folder;
use corpus::Corpus;
use engine::DeviceOptions;
use engine::ops::matmul::Precision;
use model::adapter::Target;

use super::*;
use crate::metrics;
use crate::ppo::{BeyondCut, Rollout, rewards::NoEnd};
use crate::recipe::{LoraRecipe, PpoRecipe, RewardRecipe, ValueKind};
use crate::tiny::{moves, trunk};

fn device(threads: usize) -> Device {
    let options = DeviceOptions { threads: NonZeroUsize::new(threads), kernels: None };
    Device::cpu(&options).unwrap()
}

/// What a stage begins with, in a folder.
struct Given {
    folder: tempfile::TempDir,
}

impl Given {
    fn new() -> Self {
        let given = Self { folder: tempfile::tempdir().unwrap() };
        let device = device(1);
        let base = trunk(&device, Precision::F32, 3);
        land_folder(&RealDisk, &given.path("base"), |folder| base.write(folder)).unwrap();
        let words = b"{}".as_slice();
        land_folder(&RealDisk, &given.path("tokenizer"), |folder| {
            folder.write_bytes("tokenizer.json", words)
        })
        .unwrap();
        given.build_corpus();
        let mut reward = RewardModel::new(trunk(&device, Precision::F32, 4), 7, moves());
        let samples: Vec<Rollout> = prompts()
            .into_iter()
            .map(|prompt| Rollout {
                completion: prompt.clone(),
                prompt,
                stop_reason: model::StopReason::Length,
            })
            .collect();
        reward.normalize(&samples).unwrap();
        land_folder(&RealDisk, &given.path("reward"), |folder| {
            reward.write(folder)?;
            folder.write_bytes("tokenizer.json", words)?;
            Ok::<_, Error>(())
        })
        .unwrap();
        given
    }

    /// Text of few words, in tokens that the tiny model has.
    fn build_corpus(&self) {
        let file = self.path("poem.txt");
        fs::write(&file, "hi i hhi ".repeat(200)).unwrap();
        let json = r#"{"model": {"type": "BPE", "vocab": {"h": 0, "i": 1, "hi": 2, "\u0120": 3},
            "merges": ["h i"]}, "pre_tokenizer": {"type": "ByteLevel", "add_prefix_space": false},
            "added_tokens": []}"#;
        let tokenizer = tokenizer::Tokenizer::from_json(json.as_bytes()).unwrap();
        let options = corpus::BuildOptions::new(vec![corpus::Source::text("poem", file)]);
        let options = corpus::BuildOptions { validation_ppm: 0, ..options };
        Corpus::build(&options, &tokenizer, &self.path("corpus"), &mut |_| ()).unwrap();
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn stage(&self, name: &str, recipe: PpoRecipe) -> PpoStage {
        PpoStage {
            recipe,
            reward: RewardRecipe { precision: crate::recipe::Precision::F32, ..Default::default() },
            seed: 9,
            base: self.path("base"),
            begin: self.path("base"),
            base_name: "base".to_owned(),
            reward_models: vec![self.path("reward")],
            tokenizer: self.path("tokenizer"),
            corpus: Some(self.path("corpus")),
            prompts: prompts(),
            meter_prompts: prompts().split_off(6),
            stop_tokens: vec![1],
            slots: 4,
            thorough: false,
            folder: self.path(name),
        }
    }
}

fn prompts() -> Vec<Vec<u32>> {
    (0..11).map(|index| vec![2 + index, 3 + index, 2 + 2 * index % 20]).collect()
}

fn recipe() -> PpoRecipe {
    PpoRecipe {
        steps: 5,
        episodes: 8,
        completion_tokens: 10,
        epochs: 2,
        minibatches: 2,
        learning_rate: 3e-3,
        kl_target: Some(1.0),
        no_end: NoEnd::Subtract(1.0),
        checkpoint_every: 2,
        precision: crate::recipe::Precision::F32,
        ..PpoRecipe::default()
    }
}

/// A stage whose meter is judged.
fn open(stage: PpoStage, threads: usize) -> PpoTrainer {
    let judge = meter::Near::score_of(&stage, 1.0);
    let mut trainer = PpoTrainer::open(stage, &device(threads)).unwrap();
    trainer.set_judge(Box::new(judge));
    trainer
}

/// Works until so many steps are taken.
fn work(stage: PpoStage, threads: usize, until: u64) -> Ended {
    let mut trainer = open(stage, threads);
    let ended = trainer.run(&mut |event| match event {
        PpoEvent::Step(metrics) if metrics.step >= until => ControlFlow::Break(()),
        PpoEvent::NotSaved { error, .. } => panic!("{error}"),
        _ => ControlFlow::Continue(()),
    });
    ended.unwrap()
}

/// All files of the newest checkpoint, and the metrics.
fn files(folder: &Path) -> BTreeMap<String, Vec<u8>> {
    let checkpoints = folder.join(CHECKPOINTS_FOLDER);
    let newest = artifacts::checkpoints::newest(&RealDisk, &checkpoints).unwrap().unwrap();
    let mut files = BTreeMap::new();
    for entry in fs::read_dir(newest.path).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        files.insert(name, fs::read(path).unwrap());
    }
    for name in ["metrics.jsonl", "doctor.json"] {
        files.extend(fs::read(folder.join(name)).map(|bytes| (name.to_owned(), bytes)));
    }
    files
}

#[test]
fn a_stage_that_is_stopped_goes_on_with_the_same_bytes() {
    let given = Given::new();
    let lora = LoraRecipe { rank: 2, alpha: None, targets: Target::ALL.to_vec() };
    let with_text = PpoRecipe { pretraining_coefficient: 0.5, pretraining_rows: 3, ..recipe() };
    let on_trunk = PpoRecipe { values: ValueKind::Trunk, lora: Some(lora), ..recipe() };
    let averaged = PpoRecipe { ema: Some(0.9), ..recipe() };
    let kinds = [
        ("own", recipe()),
        ("text", with_text),
        ("trunk", on_trunk.clone()),
        ("average", averaged),
        ("trunk-average", PpoRecipe { ema: Some(0.9), meter_every: 2, ..on_trunk }),
    ];
    for (kind, recipe) in kinds {
        let whole = given.stage(&format!("{kind}-whole"), recipe.clone());
        let folder = whole.folder.clone();
        assert_eq!(work(whole, 1, u64::MAX), Ended::Finished);
        let expected = files(&folder);
        let lines = metrics::read_lines::<PpoMetrics>(&folder).unwrap();
        assert_eq!(lines.iter().map(|line| line.step).collect::<Vec<_>>(), [1, 2, 3, 4, 5]);
        let text = lines.iter().all(|line| line.pretraining_loss > 0.0);
        assert_eq!(text, kind == "text", "the text beside has a loss");
        assert!(lines[0].kl_coefficient > lines[4].kl_coefficient, "the price falls to its target");
        let read = lines.iter().filter(|line| line.meter.is_some()).map(|line| line.step);
        let expected_reads = if kind == "trunk-average" { vec![2, 4, 5] } else { vec![] };
        assert_eq!(read.collect::<Vec<_>>(), expected_reads);
        for stop in 1..5 {
            let stage = given.stage(&format!("{kind}-{stop}"), recipe.clone());
            assert_eq!(work(stage.clone(), 2, stop), Ended::Stopped(stop));
            assert_eq!(work(stage.clone(), 1, u64::MAX), Ended::Finished);
            let found = files(&stage.folder);
            let differ: Vec<_> =
                expected.keys().filter(|name| found.get(*name) != expected.get(*name)).collect();
            assert!(
                differ.is_empty() && found.len() == expected.len(),
                "{kind} {stop}: {differ:?}"
            );
        }
    }
}

#[test]
fn steps_go_through_all_prompts_in_orders_of_their_own() {
    let given = Given::new();
    let stage = given.stage("order", recipe());
    let first: Vec<Vec<u32>> = (0..11).flat_map(|step| stage.prompts_of(step)).collect();
    for epoch in first.chunks(11) {
        let mut sorted = epoch.to_vec();
        sorted.sort();
        assert_eq!(sorted, prompts());
    }
    assert_ne!(first[..11], first[11..22]);
}

#[test]
fn what_does_not_fit_is_refused_by_name() {
    let given = Given::new();
    let refused =
        |stage: PpoStage| PpoTrainer::open(stage, &device(1)).map(|_| ()).unwrap_err().to_string();
    let stage = given.stage("run", recipe());
    assert!(refused(PpoStage { prompts: vec![], ..stage.clone() }).contains("no prompt"));

    assert_eq!(work(stage.clone(), 1, 2), Ended::Stopped(2));
    let other = PpoRecipe { gamma: 0.9, ..recipe() };
    let error = refused(PpoStage { recipe: other, ..stage.clone() });
    assert!(error.contains("another recipe"), "{error}");
    let error = refused(PpoStage { prompts: vec![vec![2]], ..stage.clone() });
    assert!(error.contains("other prompts"), "{error}");

    fs::write(given.path("reward").join("tokenizer.json"), "[]").unwrap();
    assert!(refused(stage.clone()).contains("reads other tokens"));
    fs::write(given.path("reward").join("tokenizer.json"), "{}").unwrap();

    let facts = given.path("reward").join("reward.json");
    let text = fs::read_to_string(&facts).unwrap();
    let raw = text.split_once("\"scale\"").unwrap().0.to_owned() + "\"scale\": \"raw\"\n}\n";
    fs::write(&facts, raw).unwrap();
    assert!(refused(stage).contains("not normalized"));
}
