//! Answers are learned from conversations, with the same bytes however it is done.

use std::num::NonZeroUsize;
use std::path::Path;

use corpus::Source;
use engine::{Device, DeviceOptions};
use tempfile::tempdir;
use tokenizer::Tokenizer;
use training::fine_tune::{self, Base};
use training::recipe::AnyRecipe;
use training::{Ended, Error, RunFolder, Stage, Trainer, TrainerOptions};

use crate::{Heard, RECIPE, Way, files, messages, train};

const SFT: &str = r#"
[[conversations.source]]
path = "conversations"
[conversations]
validation = 0.1
[sft]
epochs = 0.5
rows = 4
learning_rate = 5e-3
validate_every = 1000
checkpoint_every = 7
"#;

/// Teaches the model of a run, from the conversations of the fixtures.
fn teach(folder: &Path, recipe: &Path, way: Way) -> Result<(Ended, Heard), Error> {
    let recipe = AnyRecipe::read(recipe)?;
    let run = RunFolder::open(folder, &recipe.begin_toml())?;
    let AnyRecipe::Whole(whole) = &recipe else { unreachable!("no `base`") };
    let path = run.finished_pretraining(whole)?;
    let tokenizer = Tokenizer::from_folder(&path)?;
    let name = run.name_from_checkpoint(&path);
    let context_tokens = model_context(&path);
    let base = Base { name: &name, path: &path, tokenizer: &tokenizer, context_tokens };
    let sources = vec![Source::conversations("c", messages().join("../conversations"))];
    fine_tune::prepare(&run, &recipe, &base, sources, NonZeroUsize::MIN, &mut |_| ())?;
    let threads = NonZeroUsize::new(way.threads);
    let device = Device::cpu(&DeviceOptions { threads, kernels: None }).unwrap();
    let stage = Stage::fine_tune(&run, &recipe, &base)?;
    let options = TrainerOptions { device, micro_rows: Some(way.micro_rows) };
    let mut trainer = Trainer::open(stage, &options)?;
    let mut heard = Heard { stop_after: way.stop_after, ..Heard::default() };
    let ended = trainer.run(&mut heard)?;
    Ok((ended, heard))
}

fn model_context(path: &Path) -> usize {
    let config = std::fs::read(path.join("config.json")).unwrap();
    model::Config::from_json(&config).unwrap().context_tokens
}

/// A run whose model is pretrained.
fn pretrained(recipe: &str) -> (tempfile::TempDir, std::path::PathBuf) {
    let folder = tempdir().unwrap();
    let run = folder.path().join("run");
    train(&run, recipe, Way { threads: 2, micro_rows: 4, stop_after: None }).unwrap();
    let path = folder.path().join("recipe.toml");
    std::fs::write(&path, recipe).unwrap();
    (folder, path)
}

/// A recipe with both stages, and room for a question and its answer.
fn both() -> String {
    format!("{RECIPE}{SFT}")
        .replace("context_tokens = 32", "context_tokens = 256")
        .replace("steps = 12", "steps = 12\nrow_tokens = 32")
}

#[test]
fn answers_are_learned_with_the_same_bytes_stopped_or_not() {
    let (folder, path) = pretrained(&both());
    let whole = Way { threads: 2, micro_rows: 4, stop_after: None };
    let run = folder.path().join("run");
    let (ended, heard) = teach(&run, &path, whole).unwrap();
    assert_eq!(ended, Ended::Finished);
    let metrics = training::metrics::read(&run.join("4-sft")).unwrap();
    assert_eq!(metrics.len(), heard.losses.len());
    let learned: u64 = metrics.iter().map(|metrics| metrics.tokens).sum();
    // Half of all rows have about half of all tokens that an assistant says.
    let corpus = corpus::Corpus::open(&run.join("4-sft/corpus")).unwrap();
    let train = &corpus.facts().train;
    let said = train.tokens - train.silent_tokens;
    assert!(said < train.tokens * 3 / 4, "{said} of {}", train.tokens);
    assert!((said * 2 / 5..said * 3 / 5).contains(&learned), "{learned} of {said}");
    let (first, last) = (metrics[0].loss, metrics[metrics.len() - 1].loss);
    assert!(last < first - 0.3, "{first} {last}");

    let before = files(&run.join("4-sft"));
    let generation = &before[Path::new("tokenizer/generation_config.json")];
    let generation: serde_json::Value = serde_json::from_slice(generation).unwrap();
    assert_eq!(generation["eos_token_id"], serde_json::json!([2, 0]), "each end once");
    std::fs::remove_dir_all(run.join("4-sft")).unwrap();
    for stop_after in [Some(3), Some(9), None] {
        teach(&run, &path, Way { threads: 1, micro_rows: 1, stop_after }).unwrap();
    }
    let after = files(&run.join("4-sft"));
    let newest = |name: &&std::path::PathBuf| {
        let name = name.display().to_string();
        !name.contains("step-") || name.contains(&format!("step-{:08}", metrics.len()))
    };
    let names: Vec<_> = before.keys().filter(newest).collect();
    assert!(names.len() > 8);
    for name in names {
        assert!(before[name] == after[name], "{}", name.display());
    }
}

/// The recipe of both stages with an adapter in the second.
fn with_adapter() -> String {
    format!("{}[sft.lora]\nrank = 4\ntargets = [\"q\", \"v\", \"down\"]\n", both())
}

#[test]
fn an_adapter_is_learned_with_the_same_bytes_stopped_or_not() {
    let (folder, path) = pretrained(&with_adapter());
    let run = folder.path().join("run");
    let whole = Way { threads: 2, micro_rows: 4, stop_after: None };
    let base = files(&run.join("3-pretrained"));
    let (ended, heard) = teach(&run, &path, whole).unwrap();
    assert_eq!(ended, Ended::Finished);
    let (first, last) = (heard.losses[0], heard.losses[heard.losses.len() - 1]);
    assert!(last < first - 0.05, "{first} {last}");
    assert_eq!(base, files(&run.join("3-pretrained")), "the base stays");
    let before = files(&run.join("4-sft"));
    let newest = format!("checkpoints/step-{:08}", heard.losses.len());
    let names: Vec<String> = before.keys().map(|name| name.display().to_string()).collect();
    let of_newest: Vec<&str> =
        names.iter().filter_map(|name| name.strip_prefix(&format!("{newest}/"))).collect();
    for name in ["adapter_config.json", "adapter_model.safetensors", "optimizer.safetensors"] {
        assert!(of_newest.contains(&name), "{name} is not among {of_newest:?}");
    }
    for name in ["config.json", "model.safetensors"] {
        assert!(!of_newest.contains(&name), "{name} is the base's");
    }
    let checkpoint = run.join("4-sft").join(&newest);
    let base = model::Adapter::read_base(&checkpoint).unwrap();
    assert!(checkpoint.join(base).join("model.safetensors").is_file(), "the base is found");

    std::fs::remove_dir_all(run.join("4-sft")).unwrap();
    for stop_after in [Some(3), None] {
        teach(&run, &path, Way { threads: 1, micro_rows: 1, stop_after }).unwrap();
    }
    let after = files(&run.join("4-sft"));
    let is_kept = |name: &&String| !name.contains("step-") || name.contains(&newest);
    for name in names.iter().filter(is_kept) {
        let path = Path::new(name);
        assert!(before[path] == after[path], "{name}");
    }

    std::fs::write(&path, with_adapter().replace("rank = 4", "rank = 5")).unwrap();
    let error = teach(&run, &path, whole).unwrap_err();
    assert!(matches!(error, Error::OtherRecipe { .. }), "{error}");
    assert!(error.to_string().contains("sft.lora.rank is 4, not 5"), "{error}");
}

#[test]
fn only_the_model_of_the_same_recipe_is_taught() {
    let (folder, path) = pretrained(&both());
    let (other, _) = pretrained(&both().replace("seed = ", "seed = 9"));
    let checkpoints =
        |folder: &tempfile::TempDir| folder.path().join("run/3-pretrained/checkpoints");
    std::fs::remove_dir_all(checkpoints(&folder)).unwrap();
    std::fs::rename(checkpoints(&other), checkpoints(&folder)).unwrap();
    let way = Way { threads: 1, micro_rows: 4, stop_after: Some(1) };
    let error = teach(&folder.path().join("run"), &path, way).unwrap_err();
    assert!(error.to_string().contains("saved by a run of another recipe"), "{error}");
}

#[test]
fn an_adapter_goes_on_beside_the_weights_that_it_began_beside() {
    let (folder, path) = pretrained(&with_adapter());
    let run = folder.path().join("run");
    let way = |stop_after| Way { threads: 1, micro_rows: 4, stop_after };
    teach(&run, &path, way(Some(2))).unwrap();
    // The same shape and recipe, other weights: signed anew, as no damage would be.
    let base = RunFolder::open(&run, &AnyRecipe::read(&path).unwrap().begin_toml()).unwrap();
    let AnyRecipe::Whole(recipe) = AnyRecipe::read(&path).unwrap() else { unreachable!() };
    let checkpoint = base.finished_pretraining(&recipe).unwrap();
    drop(base);
    let device = Device::cpu(&DeviceOptions::default()).unwrap();
    let precision = engine::ops::matmul::Precision::F32;
    let mut model = model::trainable::Trainable::read(&device, &checkpoint, precision).unwrap();
    let (weights, _) = model.weights_and_gradients();
    weights[0].scale(&device, 1.5);
    let tokenizer = std::fs::read(checkpoint.join("tokenizer.json")).unwrap();
    let others = ["progress.json", "optimizer.safetensors", "tokenizer_config.json"];
    let others = others.map(|name| (name, std::fs::read(checkpoint.join(name)).unwrap()));
    std::fs::remove_dir_all(&checkpoint).unwrap();
    artifacts::folder::land_folder(&artifacts::disk::RealDisk, &checkpoint, |folder| {
        model.write(folder)?;
        for (name, bytes) in &others {
            folder.write_bytes(name, bytes)?;
        }
        folder.write_bytes("tokenizer.json", &tokenizer)?;
        Ok::<(), model::Error>(())
    })
    .unwrap();
    let error = teach(&run, &path, way(None)).unwrap_err();
    assert!(error.to_string().contains("beside other weights than the base has now"), "{error}");
}

#[test]
fn a_recipe_without_conversations_says_what_it_lacks() {
    let (folder, path) = pretrained(RECIPE);
    let way = Way { threads: 1, micro_rows: 1, stop_after: None };
    let error = teach(&folder.path().join("run"), &path, way).unwrap_err();
    assert!(error.to_string().contains("has no section [conversations]"), "{error}");
}

#[test]
fn another_way_to_teach_needs_no_other_pretraining() {
    let (folder, path) = pretrained(&both());
    let run = folder.path().join("run");
    let way = Way { threads: 2, micro_rows: 4, stop_after: Some(1) };
    teach(&run, &path, way).unwrap();
    let before = files(&run.join("3-pretrained"));

    std::fs::write(&path, both().replace("epochs = 0.5", "epochs = 0.25")).unwrap();
    let error = teach(&run, &path, way).unwrap_err();
    assert!(matches!(error, Error::OtherRecipe { .. }), "{error}");
    assert!(error.to_string().contains("4-sft was begun with another recipe"), "{error}");
    std::fs::remove_dir_all(run.join("4-sft")).unwrap();
    teach(&run, &path, way).unwrap();
    assert_eq!(before, files(&run.join("3-pretrained")));
}

#[test]
fn a_model_that_is_not_pretrained_to_its_end_is_not_taught() {
    let folder = tempdir().unwrap();
    let (run, path) = (folder.path().join("run"), folder.path().join("recipe.toml"));
    std::fs::write(&path, both()).unwrap();
    let way = |stop_after| Way { threads: 2, micro_rows: 4, stop_after };
    train(&run, &both(), way(Some(7))).unwrap();
    let error = teach(&run, &path, way(None)).unwrap_err();
    assert!(matches!(error, Error::NotPretrained { steps: 7, .. }), "{error}");
    train(&run, &both(), way(None)).unwrap();
    teach(&run, &path, way(Some(1))).unwrap();
}
