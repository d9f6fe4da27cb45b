//! What is written is read again: the same logits, the same bytes, and every difference named.
#![expect(clippy::float_cmp, reason = "numbers come back as they were")]

use std::collections::BTreeMap;
use std::path::Path;

use artifacts::disk::RealDisk;
use artifacts::folder::{land_file, land_folder};
use artifacts::gguf::{Gguf, Value};
use engine::{Device, DeviceOptions, KernelPath};

use super::*;
use crate::Model;
use crate::testing::{TINY, fixture, largest_difference};

fn to_gguf(source: &Path, target: &Path, dtype: Dtype) -> Result<Exported, Error> {
    land_file(&RealDisk, target, |out| {
        let export = Export::open(&Source::detect(source))?;
        export.write_gguf(out, dtype, &Metadata::new(), &mut |_, _| ())
    })
}

fn to_folder(source: &Path, target: &Path, dtype: Dtype) -> Result<(), Error> {
    let options = JsonOptions { dtype, ..JsonOptions::default() };
    land_folder(&RealDisk, target, |folder| {
        let export = Export::open(&Source::detect(source))?;
        export.write_folder(folder, &options, &mut |_, _| ()).map(drop)
    })
    .map(drop)
}

/// The logits of a text by the slow clear path.
fn logits(path: &Path) -> Vec<f32> {
    let options = DeviceOptions { threads: None, kernels: Some(KernelPath::Reference) };
    let device = Device::cpu(&options).unwrap();
    let model = Model::load(&device, &Source::detect(path), &mut |_, _| ()).unwrap();
    let tokens: Vec<u32> = (3..83).map(|i| i * i % 37).collect();
    let mut logits = Vec::new();
    model.read_logits(&tokens, &mut |_, row| logits.extend_from_slice(row)).unwrap();
    logits
}

fn apart(left: &Path, right: &Path) -> f32 {
    largest_difference(&logits(left), &logits(right))
}

#[test]
fn a_folder_becomes_a_file_with_the_same_logits() {
    let work = tempfile::tempdir().unwrap();
    for name in TINY {
        let (file, back) = (work.path().join(format!("{name}.gguf")), work.path().join(name));
        to_gguf(&fixture(name), &file, Dtype::F32).unwrap();
        let off = apart(&fixture(name), &file);
        // Bases, factors and the divisors of Llama 3 are f32 in the file; here that is exact enough.
        assert!(off == 0.0, "{name}: off by {off}");
        if name == "tiny-llama-llama3" {
            let error = to_folder(&file, &back, Dtype::F32).unwrap_err().to_string();
            assert!(error.contains("rope_freqs.weight"), "divisors of no known model: {error}");
            continue;
        }
        to_folder(&file, &back, Dtype::F32).unwrap();
        assert!(weights(&back) == weights(&fixture(name)), "{name}");
        assert_eq!(apart(&fixture(name), &back), 0.0, "{name}");
    }
}

/// All weights by Hugging Face's names and in its order, as f32.
fn weights(path: &Path) -> BTreeMap<String, Vec<u32>> {
    let mut checkpoint = Checkpoint::open(&Source::detect(path)).unwrap();
    let mut weights = BTreeMap::new();
    for item in inventory::of(&checkpoint.config().clone()) {
        let name = item.name(checkpoint.convention());
        let (kind, bytes) = checkpoint.read(&name, &item.shape).unwrap();
        let mut values = vec![0.0; item.rows() * item.columns()];
        dtype::dequantize_row(kind, &bytes, &mut values);
        let config = checkpoint.config();
        let rows = (0..item.rows()).map(|row| item.stored_row(config, Pairing::Halves, row));
        let bits = rows.flat_map(|row| &values[row * item.columns()..][..item.columns()]);
        weights.insert(item.name(Convention::HuggingFace), bits.map(|v| v.to_bits()).collect());
    }
    weights
}

/// The bytes of all tensors.
fn tensors(path: &Path) -> BTreeMap<String, (StoredType, Vec<u8>)> {
    let file = Gguf::open(path).unwrap();
    let read = |tensor: &artifacts::tensors::TensorInfo| {
        (tensor.name.clone(), (tensor.dtype, file.read(tensor).unwrap()))
    };
    file.header().tensors().iter().map(read).collect()
}

#[test]
fn what_is_in_the_wanted_type_is_copied_to_the_byte() {
    let work = tempfile::tempdir().unwrap();
    let (file, folder, again) =
        (work.path().join("a.gguf"), work.path().join("b"), work.path().join("c.gguf"));
    to_gguf(&fixture("tiny-chat.gguf"), &file, Dtype::Q8_0).unwrap();
    assert!(tensors(&file) == tensors(&fixture("tiny-chat.gguf")));
    // Through f32 in Hugging Face's order of rows, and rounded again.
    to_folder(&file, &folder, Dtype::F32).unwrap();
    to_gguf(&folder, &again, Dtype::Q8_0).unwrap();
    assert!(tensors(&again) == tensors(&file));
    assert!(apart(&file, &again) == 0.0);
    let stored = |path: &Path| Export::open(&Source::detect(path)).unwrap().stored_dtype();
    assert_eq!(stored(&file), Some(Dtype::Q8_0));
    assert_eq!(stored(&folder), Some(Dtype::F32));
}

/// A value as a half has it.
fn half(value: f32) -> f32 {
    let mut rounded = [0.0];
    let bytes = dtype::quantize_row(Dtype::F16, &[value]).unwrap();
    dtype::dequantize_row(Dtype::F16, &bytes, &mut rounded);
    rounded[0]
}

/// ggml's `quantize_row_q8_0_ref` and `quantize_row_q4_0_ref`, and what they are read back as.
fn published(dtype: Dtype, block: &[f32]) -> Vec<f32> {
    let peak = *block.iter().reduce(|a, b| if b.abs() > a.abs() { b } else { a }).unwrap();
    let scale = if dtype == Dtype::Q8_0 { peak.abs() / 127.0 } else { peak / -8.0 };
    let inverse = if scale == 0.0 { 0.0 } else { 1.0 / scale };
    let quant = |value: &f32| match dtype {
        Dtype::Q8_0 => (value * inverse).round(),
        _ => (value * inverse + 8.5).trunc().min(15.0) - 8.0,
    };
    block.iter().map(|value| half(scale) * quant(value)).collect()
}

#[test]
fn blocks_are_rounded_by_the_published_formulas() {
    let work = tempfile::tempdir().unwrap();
    let wide = work.path().join("wide.gguf");
    to_gguf(&fixture("tiny-chat.gguf"), &wide, Dtype::F32).unwrap();
    let exact = tensors(&wide);
    for (dtype, most) in [(Dtype::Q8_0, 0.02), (Dtype::Q4_0, 4.0)] {
        let file = work.path().join(format!("{dtype}.gguf"));
        let exported = to_gguf(&wide, &file, dtype).unwrap();
        assert!(exported.unblocked.is_empty(), "{exported:?}");
        for (name, (stored, bytes)) in tensors(&file) {
            let values: Vec<f32> =
                exact[&name].1.as_chunks().0.iter().map(|b| f32::from_le_bytes(*b)).collect();
            if name.contains("norm") {
                assert!((stored, &bytes) == (StoredType::F32, &exact[&name].1), "{name}");
                continue;
            }
            let used = if name == "output.weight" { Dtype::Q8_0 } else { dtype };
            assert_eq!(stored, stored_type(used), "{name}");
            let mut found = vec![0.0; values.len()];
            dtype::dequantize_row(used, &bytes, &mut found);
            let expected: Vec<f32> =
                values.chunks(32).flat_map(|block| published(used, block)).collect();
            assert!(found == expected, "{name} in {used}");
        }
        let off = apart(&wide, &file);
        assert!(off <= most, "{dtype}: off by {off}");
        let header = Gguf::open(&file).unwrap();
        let number = |key: &str| header.header().metadata().u64(key).unwrap();
        assert_eq!(number("general.file_type"), Some(if dtype == Dtype::Q8_0 { 7 } else { 2 }));
        assert_eq!(number("general.quantization_version"), Some(2));
    }
}

#[test]
fn rows_that_are_no_whole_blocks_are_stored_wider_and_named() {
    let work = tempfile::tempdir().unwrap();
    let file = work.path().join("a.gguf");
    let exported = to_gguf(&fixture("tiny-llama"), &file, Dtype::Q4_0).unwrap();
    assert_eq!(exported.unblocked, ["blk.0.ffn_down.weight", "blk.1.ffn_down.weight"]);
    let tensors = tensors(&file);
    assert_eq!(exported.tensors, tensors.len());
    assert_eq!(tensors["blk.0.ffn_down.weight"].0, StoredType::F16);
    assert_eq!(tensors["blk.0.ffn_up.weight"].0, StoredType::Q4_0);
    assert_eq!(Export::open(&Source::detect(&file)).unwrap().stored_dtype(), None);
    let closer = work.path().join("b.gguf");
    to_gguf(&fixture("tiny-llama"), &closer, Dtype::Q8_0).unwrap();
    let off = [&closer, &file].map(|file| apart(&fixture("tiny-llama"), file));
    // Random weights of this size: logits are spread over tens.
    assert!(0.0 < off[0] && off[0] < 4.0 && 2.0 * off[0] < off[1], "{off:?}");
}

#[test]
fn other_keys_come_after_those_of_the_model() {
    let mut more = Metadata::new();
    more.insert("general.name", Value::String("Tiny".to_owned())).unwrap();
    let open = || Export::open(&Source::detect(&fixture("tiny-qwen2"))).unwrap();
    let mut file = Vec::new();
    open().write_gguf(&mut file, Dtype::Bf16, &more, &mut |_, _| ()).unwrap();
    let header = Gguf::parse(&file, file.len() as u64).unwrap();
    let keys: Vec<&str> = header.metadata().iter().map(|(key, _)| key).collect();
    assert_eq!((keys[0], keys[keys.len() - 1]), ("general.architecture", "general.name"));
    assert_eq!(header.version(), 3);
    more.insert("general.architecture", Value::String("qwen2".to_owned())).unwrap();
    let twice = open().write_gguf(&mut Vec::new(), Dtype::Bf16, &more, &mut |_, _| ());
    assert!(matches!(twice, Err(Error::Artifact(_))), "{twice:?}");
}

#[test]
fn what_cannot_be_written_is_named() {
    let work = tempfile::tempdir().unwrap();
    let error = |dtype| {
        let made = to_folder(&fixture("tiny-llama"), &work.path().join("folder"), dtype);
        made.unwrap_err().to_string()
    };
    assert!(error(Dtype::Q8_0).contains("weights in Q8_0"));
    let made = to_gguf(&fixture("tiny-llama"), &work.path().join("a.gguf"), Dtype::Q6K);
    assert!(made.unwrap_err().to_string().contains("weights made in Q6_K"));
    // A weight beyond the halves.
    let mut json = std::fs::read(fixture("tiny-llama/model.safetensors")).unwrap();
    let last = json.len() - 4;
    json[last..].copy_from_slice(&70_000.0_f32.to_le_bytes());
    let source = work.path().join("source");
    std::fs::create_dir(&source).unwrap();
    std::fs::write(source.join("model.safetensors"), json).unwrap();
    std::fs::copy(fixture("tiny-llama/config.json"), source.join("config.json")).unwrap();
    let target = work.path().join("half");
    let error = to_folder(&source, &target, Dtype::F16).unwrap_err().to_string();
    assert!(error.contains("70000, a weight of `model.norm.weight`, in F16"), "{error}");
    assert!(!target.exists());
    to_folder(&source, &target, Dtype::Bf16).unwrap();
}

#[test]
fn the_divisors_of_llama_3_become_its_scaling_again() {
    let config = |factor: f64| {
        let json = serde_json::json!({
            "architectures": ["LlamaForCausalLM"], "hidden_size": 256, "intermediate_size": 64,
            "num_attention_heads": 4, "num_hidden_layers": 1, "vocab_size": 10,
            "max_position_embeddings": 131_072, "rope_theta": 500_000.0,
            "rope_scaling": {"rope_type": "llama3", "factor": factor, "low_freq_factor": 1.0,
                "high_freq_factor": 4.0, "original_max_position_embeddings": 8192},
        });
        Config::from_json(json.to_string().as_bytes()).unwrap()
    };
    for (factor, known) in [(8.0, true), (32.0, true), (16.0, false)] {
        let named = config(factor);
        let divisors = gguf::divisors(&named).unwrap();
        let factor_32 = format!("{factor}").parse().unwrap();
        assert_eq!((divisors[0], divisors[31]), (1.0, factor_32), "fast and slow ones");
        let by_divisors = named.clone().with_rope_divisors(divisors).unwrap();
        assert_eq!(gguf::with_named_scaling(&by_divisors) == named, known, "{factor}");
    }
}
