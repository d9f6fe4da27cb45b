//! Adapters through files and back, merged and beside, and what is refused of them.

use std::fs;
use std::path::Path;
use std::sync::Arc;

use artifacts::disk::RealDisk;
use artifacts::folder::land_folder;
use engine::{DeviceOptions, Dtype, KernelPath};
use serde_json::{Value, json};

use super::*;
use crate::config::JsonOptions;
use crate::export::Export;
use crate::testing::{fixture, largest_difference};
use crate::{Adapted, Model, Source};

fn device(kernels: KernelPath) -> Device {
    Device::cpu(&DeviceOptions { threads: None, kernels: Some(kernels) }).unwrap()
}

fn options(targets: &[Target]) -> AdapterOptions {
    AdapterOptions { rank: 3, alpha: 6.0, targets: targets.to_vec(), base: "some/base".to_owned() }
}

fn config_of(folder: &Path) -> Config {
    Config::from_json(&fs::read(folder.join("config.json")).unwrap()).unwrap()
}

/// An adapter whose `B`s were drawn, too.
fn drawn(config: &Config, options: &AdapterOptions) -> Adapter {
    let mut adapter = Adapter::new(&device(KernelPath::Portable), config, options, 5).unwrap();
    let places: Vec<Place> = adapter.places.iter().flatten().flatten().cloned().collect();
    for place in places {
        let b = &mut adapter.weights[place.a + 1];
        for part in &place.parts {
            for row in part.rows.clone() {
                let mut values = vec![0.0; b.columns()];
                for rank in part.ranks.clone() {
                    let index = (place.a << 32 | row << 8 | rank) as u64;
                    values[rank] = 0.3 * random::normal(8, index);
                }
                b.upload(row, &values);
            }
        }
    }
    adapter
}

fn land(adapter: &Adapter, folder: &Path) {
    land_folder(&RealDisk, folder, |folder| adapter.write(folder)).unwrap();
}

fn bits(adapter: &Adapter) -> Vec<Vec<u32>> {
    adapter.weights.iter().map(|w| w.to_vec().into_iter().map(f32::to_bits).collect()).collect()
}

/// The logits of a text.
fn logits(path: &Path, kernels: KernelPath, adapted: Option<&Adapted>) -> Vec<f32> {
    let source = Source::detect(path);
    let model = Model::load_adapted(&device(kernels), &source, adapted, &mut |_, _| ()).unwrap();
    let tokens: Vec<u32> = (3..83).map(|i| i * i % 37).collect();
    let mut logits = Vec::new();
    model.read_logits(&tokens, &mut |_, row| logits.extend_from_slice(row)).unwrap();
    logits
}

/// Sets of targets: all, those of other programs' defaults, and parts that do not lie side by side.
const SETS: [&[Target]; 3] =
    [&Target::ALL, &[Target::Value, Target::Query], &[Target::Key, Target::Up, Target::Output]];

#[test]
fn adapters_come_back_with_the_same_bits() {
    let work = tempfile::tempdir().unwrap();
    for (number, targets) in SETS.into_iter().enumerate() {
        let config = config_of(&fixture("tiny-qwen2"));
        let adapter = drawn(&config, &options(targets));
        let folder = work.path().join(number.to_string());
        land(&adapter, &folder);
        let back = Adapter::read(&device(KernelPath::Portable), &config, &folder).unwrap();
        assert_eq!(
            (back.rank, back.scaling, &back.targets),
            (3, adapter.scaling, &adapter.targets)
        );
        assert_eq!(
            (back.base(), Adapter::read_base(&folder).unwrap().as_str()),
            ("some/base", "some/base")
        );
        assert!(bits(&back) == bits(&adapter), "{targets:?}");
    }
}

#[test]
fn an_adapter_begins_as_nothing_and_does_not_depend_on_other_targets() {
    let config = config_of(&fixture("tiny-llama"));
    let new = |targets: &[Target]| {
        Adapter::new(&device(KernelPath::Portable), &config, &options(targets), 5).unwrap()
    };
    let (all, some) = (new(&Target::ALL), new(&[Target::Value]));
    let rows = |adapter: &Adapter| {
        let (place, part) = adapter.part(1, Target::Value).unwrap();
        let a = &adapter.weights[place.a];
        a.to_vec()[part.ranks.start * a.columns()..part.ranks.end * a.columns()].to_vec()
    };
    assert_eq!(rows(&all), rows(&some));
    #[expect(clippy::cast_precision_loss, reason = "a small model")]
    let bound = 1.0 / (config.width as f32).sqrt();
    let largest = rows(&all).into_iter().map(f32::abs).fold(0.0, f32::max);
    assert!(largest <= bound && largest > 0.9 * bound, "{largest} of {bound}");
    let adapted = Adapted::Beside(Arc::new(all));
    for kernels in [KernelPath::Reference, KernelPath::Portable] {
        let path = fixture("tiny-llama");
        let (with, without) =
            (logits(&path, kernels, Some(&adapted)), logits(&path, kernels, None));
        assert!(with.iter().zip(&without).all(|(a, b)| a.to_bits() == b.to_bits()), "{kernels}");
    }
    let expected = (config.width + config.kv_width()) * 3 * config.layers;
    assert_eq!(some.parameters_count(), expected as u64);
}

#[test]
fn beside_and_merged_are_the_same_and_so_is_an_export() {
    let work = tempfile::tempdir().unwrap();
    for (number, targets) in SETS.into_iter().enumerate() {
        for name in ["tiny-llama", "tiny-qwen2", "tiny-qwen3"] {
            let adapter = Arc::new(drawn(&config_of(&fixture(name)), &options(targets)));
            let path = fixture(name);
            let of = |adapted| logits(&path, KernelPath::Reference, Some(&adapted));
            let beside = of(Adapted::Beside(adapter.clone()));
            let plain = logits(&path, KernelPath::Reference, None);
            assert!(largest_difference(&beside, &plain) > 0.05, "{name}: it changes something");
            // The weights of the fixtures are f32; merged ones are rounded once more.
            let off = largest_difference(&beside, &of(Adapted::Merged(adapter.clone())));
            assert!(off < 2e-4, "{name} {targets:?}: merged is off by {off}");

            let out = work.path().join(format!("{name}-{number}"));
            let options = JsonOptions { dtype: Dtype::F32, ..JsonOptions::default() };
            land_folder(&RealDisk, &out, |folder| {
                let mut export = Export::open(&Source::detect(&path))?;
                export.merge(adapter)?;
                export.write_folder(folder, &options, &mut |_, _| ()).map(drop)
            })
            .unwrap();
            let off = largest_difference(&beside, &logits(&out, KernelPath::Reference, None));
            assert!(off < 2e-4, "{name} {targets:?}: the export is off by {off}");
        }
    }
}

#[test]
fn rows_of_queries_and_keys_follow_the_order_of_a_gguf_file() {
    let work = tempfile::tempdir().unwrap();
    let (path, file) = (fixture("tiny-llama"), work.path().join("tiny.gguf"));
    artifacts::folder::land_file(&RealDisk, &file, |out| {
        let export = Export::open(&Source::detect(&path))?;
        export.write_gguf(out, Dtype::F32, &artifacts::gguf::Metadata::new(), &mut |_, _| ())
    })
    .unwrap();
    let adapter = Arc::new(drawn(&config_of(&path), &options(&Target::ALL)));
    for adapted in [Adapted::Beside(adapter.clone()), Adapted::Merged(adapter)] {
        let folder = logits(&path, KernelPath::Reference, Some(&adapted));
        let off =
            largest_difference(&folder, &logits(&file, KernelPath::Reference, Some(&adapted)));
        assert!(off < 2e-5, "off by {off}");
    }
}

#[test]
fn nothing_is_merged_into_quantized_weights() {
    let work = tempfile::tempdir().unwrap();
    let (path, file) = (fixture("tiny-llama"), work.path().join("tiny.gguf"));
    artifacts::folder::land_file(&RealDisk, &file, |out| {
        let export = Export::open(&Source::detect(&path))?;
        export.write_gguf(out, Dtype::Q8_0, &artifacts::gguf::Metadata::new(), &mut |_, _| ())
    })
    .unwrap();
    let adapter = Arc::new(drawn(&config_of(&path), &options(&Target::ALL)));
    let load = |adapted| {
        let device = device(KernelPath::Portable);
        Model::load_adapted(&device, &Source::detect(&file), Some(&adapted), &mut |_, _| ())
    };
    let error = load(Adapted::Merged(adapter.clone())).unwrap_err().to_string();
    assert!(error.contains("Q8_0") && error.contains("scribe models export"), "{error}");
    load(Adapted::Beside(adapter)).unwrap();
}

#[test]
fn adapters_of_other_models_are_refused() {
    let config = config_of(&fixture("tiny-llama"));
    let work = tempfile::tempdir().unwrap();
    let folder = work.path().join("adapter");
    land(&drawn(&config, &options(&[Target::Query])), &folder);
    let mut wider = config.clone();
    wider.width *= 2;
    let device = device(KernelPath::Portable);
    let error = Adapter::read(&device, &wider, &folder).unwrap_err().to_string();
    assert!(error.contains("q_proj.lora_A.weight") && error.contains("made for"), "{error}");
    let mut deeper = config.clone();
    deeper.layers += 1;
    let error = Adapter::read(&device, &deeper, &folder).unwrap_err();
    assert!(matches!(error, Error::AdapterTensor { problem: "is missing", .. }), "{error}");
    let mut shallower = config.clone();
    shallower.layers -= 1;
    let error = Adapter::read(&device, &shallower, &folder).unwrap_err();
    assert!(error.to_string().contains("has no place beside this model"), "{error}");
    let other = Arc::new(drawn(&shallower, &options(&[Target::Query])));
    for adapted in [Adapted::Beside(other.clone()), Adapted::Merged(other)] {
        let source = Source::detect(&fixture("tiny-llama"));
        let error = Model::load_adapted(&device, &source, Some(&adapted), &mut |_, _| ());
        assert!(matches!(error, Err(Error::OtherAdapter)));
    }
}

/// What is said of an adapter with one key changed; `Ok` holds what counts.
fn with_key(key: &str, value: Value) -> Result<f32, String> {
    let config = config_of(&fixture("tiny-llama"));
    let work = tempfile::tempdir().unwrap();
    let folder = work.path().join("adapter");
    land(&drawn(&config, &options(&[Target::Query, Target::Down])), &folder);
    let path = folder.join(CONFIG_FILE);
    let mut header: Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
    header[key] = value;
    fs::write(&path, header.to_string()).unwrap();
    let adapter = Adapter::read(&device(KernelPath::Portable), &config, &folder);
    adapter.map(|adapter| adapter.scale()).map_err(|error| error.to_string())
}

#[test]
fn what_other_programs_say_is_understood_or_refused() {
    for (key, value, scale) in [
        ("use_rslora", json!(true), 6.0 / 3.0_f32.sqrt()),
        ("lora_alpha", json!(1.5), 0.5),
        ("lora_dropout", json!(0.1), 2.0),
        ("target_modules", json!("all-linear"), 2.0),
        ("target_modules", json!(["self_attn.q_proj", "model.layers.0.mlp.down_proj"]), 2.0),
        ("task_type", json!(null), 2.0),
        ("layer_replication", json!(null), 2.0),
        ("a_key_of_tomorrow", json!(false), 2.0),
        ("init_lora_weights", json!("gaussian"), 2.0),
    ] {
        let found = with_key(key, value).unwrap();
        assert!((found - scale).abs() < 1e-6, "{key}: {found}");
    }
    for (key, value, expected) in [
        ("peft_type", json!("LOHA"), "`peft_type` is \"LOHA\", but must be \"LORA\""),
        ("peft_type", json!(null), "must be \"LORA\""),
        ("task_type", json!("SEQ_CLS"), "`task_type` is"),
        ("bias", json!("all"), "`bias` is \"all\", but must be \"none\""),
        ("use_dora", json!(true), "needs `use_dora` (true), which is not supported"),
        ("modules_to_save", json!(["lm_head"]), "needs `modules_to_save`"),
        ("rank_pattern", json!({"q_proj": 4}), "needs `rank_pattern`"),
        ("layers_to_transform", json!([0]), "needs `layers_to_transform`"),
        ("fan_in_fan_out", json!(true), "needs `fan_in_fan_out`"),
        ("a_key_of_tomorrow", json!(3), "needs `a_key_of_tomorrow` (3)"),
        ("a_key_of\u{1b}[2J", json!(3), "needs `a_key_of\\u{1b}[2J`"),
        ("init_lora_weights", json!("pissa_niter_4"), "needs `init_lora_weights`"),
        ("target_modules", json!(["lm_head"]), "`target_modules` is \"lm_head\""),
        ("target_modules", json!([]), "`target_modules` is empty"),
        ("target_modules", json!(["q_proj"]), "has no place"),
        ("target_modules", json!(["q_proj", "down_proj", "up_proj"]), "is missing"),
        ("r", json!(0), "`r` is 0, but must be from 1 to 1024"),
        ("r", json!(1_u64 << 62), "must be from 1 to 1024"),
        ("r", json!(-1), "`r` is -1, but must be a whole number"),
        ("r", json!(4), "has shape"),
        ("lora_alpha", json!(0), "`lora_alpha` is 0, but must be"),
        ("lora_alpha", json!("high"), "must be a number"),
        ("use_rslora", json!(1), "`use_rslora` is 1, but must be true or false"),
    ] {
        let error = with_key(key, value).unwrap_err();
        assert!(error.contains(expected), "{key}: {error}");
    }
}

#[test]
fn an_adapter_with_a_value_that_is_not_finite_is_refused() {
    let config = config_of(&fixture("tiny-llama"));
    let work = tempfile::tempdir().unwrap();
    let folder = work.path().join("adapter");
    let mut adapter = drawn(&config, &options(&[Target::Query]));
    let mut values = adapter.weights()[0].to_vec();
    values[1] = f32::NAN;
    adapter.weights_mut()[0].upload(0, &values);
    land(&adapter, &folder);
    let error = Adapter::read(&device(KernelPath::Portable), &config, &folder).unwrap_err();
    assert!(error.to_string().contains("has values that are not finite"), "{error}");
}

#[test]
fn damaged_files_are_refused() {
    let config = config_of(&fixture("tiny-llama"));
    let work = tempfile::tempdir().unwrap();
    let folder = work.path().join("adapter");
    land(&drawn(&config, &options(&[Target::Query])), &folder);
    let read = || Adapter::read(&device(KernelPath::Portable), &config, &folder);
    for name in [CONFIG_FILE, WEIGHTS_FILE] {
        let whole = fs::read(folder.join(name)).unwrap();
        for length in [0, 1, 7, 9, whole.len() / 2, whole.len() - 3] {
            fs::write(folder.join(name), &whole[..length]).unwrap();
            assert!(read().is_err(), "{name} cut to {length}");
        }
        fs::remove_file(folder.join(name)).unwrap();
        let error = read().unwrap_err().to_string();
        assert!(error.contains(name), "{error}");
        fs::write(folder.join(name), whole).unwrap();
    }
    fs::write(folder.join(CONFIG_FILE), "[]").unwrap();
    let error = read().unwrap_err().to_string();
    assert!(error.contains("adapter_config.json is not valid"), "{error}");
}
