//! Adapters as Hugging Face's PEFT keeps them: `adapter_config.json` and `adapter_model.safetensors`.
//!
//! Source: `LoraConfig` and `get_peft_model_state_dict` of the PEFT repository, version 0.21.

use std::collections::BTreeSet;
use std::io::{self, Write};
use std::path::Path;

use artifacts::folder::NewFolder;
use artifacts::safetensors::{self, SafetensorsFile};
use artifacts::tensors::TensorSpec;
use artifacts::{StoredType, shown};
use engine::{Device, dtype};
use serde_json::{Map, Value, json};

use super::{Adapter, AdapterOptions, Part, Place, Scaling, Target, Which, tensor_name};
use crate::checkpoint::engine_type;
use crate::config::Config;
use crate::error::Error;

/// The file that says how an adapter is meant.
pub const CONFIG_FILE: &str = "adapter_config.json";
/// The file of its weights.
pub const WEIGHTS_FILE: &str = "adapter_model.safetensors";

/// Keys that change nothing of what an adapter computes, or that are read.
const KNOWN: [&str; 21] = [
    "auto_mapping",
    "base_model_name_or_path",
    "bias",
    "ensure_weight_tying",
    "exclude_modules",
    "inference_mode",
    "init_lora_weights",
    "layers_pattern",
    "lora_alpha",
    "lora_dropout",
    "megatron_core",
    "peft_type",
    "peft_version",
    "qalora_group_size",
    "r",
    "revision",
    "runtime_config",
    "target_modules",
    "task_type",
    "use_rslora",
    "eva_config",
];

/// Ways to begin, by name, that leave the model's own weights as they are. Others (PiSSA, OLoRA,
/// LoftQ, …) change them, so that the adapter alone is not the whole.
const LEAVES_BASE: [&str; 3] = ["gaussian", "orthogonal", "eva"];

impl Adapter {
    /// Reads the adapter of a folder for a model of this shape; its rows of q and k lie in Hugging
    /// Face's order.
    ///
    /// # Errors
    ///
    /// What is wrong with its files, by the name of the key or tensor; a feature that is not built;
    /// another shape than the model's.
    pub fn read(device: &Device, config: &Config, folder: &Path) -> Result<Self, Error> {
        let header = read_header(&folder.join(CONFIG_FILE))?;
        let file = SafetensorsFile::open(&folder.join(WEIGHTS_FILE))?;
        let targets = targets(&header, &file)?;
        let by_root = flag(&header, "use_rslora")?;
        let scaling = Scaling { alpha: number(&header, "lora_alpha")?, by_root };
        let options = AdapterOptions {
            rank: rank(&header)?,
            alpha: scaling.alpha,
            targets,
            base: base_of(&header),
        };
        let mut adapter = Self::zeros(device, config, &options, scaling)?;
        adapter.fill(&file)?;
        Ok(adapter)
    }

    /// The model that the adapter of a folder belongs to, as its files say: a name or a path.
    ///
    /// # Errors
    ///
    /// What is wrong with `adapter_config.json`.
    pub fn read_base(folder: &Path) -> Result<String, Error> {
        Ok(base_of(&read_header(&folder.join(CONFIG_FILE))?))
    }

    /// Writes both files, weights in f32.
    ///
    /// # Errors
    ///
    /// [`Error::Artifact`] where the disk fails, or the folder has one of the files already.
    pub fn write(&self, folder: &mut NewFolder<'_>) -> Result<(), Error> {
        folder.write_bytes(CONFIG_FILE, self.header().as_bytes())?;
        let tensors = self.tensors();
        let specs: Vec<TensorSpec> = tensors.iter().map(Stored::spec).collect();
        folder.write(WEIGHTS_FILE, |out| {
            safetensors::write(out, &safetensors::for_pytorch(), &specs, |index, out| {
                self.write_tensor(&tensors[index], out)
            })
        })?;
        Ok(())
    }

    /// What `adapter_config.json` says.
    fn header(&self) -> String {
        let modules: Vec<&str> = self.targets.iter().map(|target| target.module()).collect();
        let json = json!({
            "alpha_pattern": {},
            "auto_mapping": null,
            "base_model_name_or_path": self.base,
            "bias": "none",
            "fan_in_fan_out": false,
            "inference_mode": true,
            "init_lora_weights": true,
            "layers_pattern": null,
            "layers_to_transform": null,
            "lora_alpha": whole(self.scaling.alpha),
            "lora_dropout": 0.0,
            "modules_to_save": null,
            "peft_type": "LORA",
            "r": self.rank,
            "rank_pattern": {},
            "revision": null,
            "target_modules": modules,
            "task_type": "CAUSAL_LM",
            "use_dora": false,
            "use_rslora": self.scaling.by_root,
        });
        format!("{json:#}\n")
    }

    /// All tensors of the file, in the order of the layers.
    fn tensors(&self) -> Vec<Stored> {
        let mut tensors = Vec::new();
        for (layer, products) in self.places.iter().enumerate() {
            for place in products.iter().flatten() {
                let inputs = self.weights[place.a].columns();
                for part in &place.parts {
                    for (which, shape) in
                        [(Which::A, [self.rank, inputs]), (Which::B, [part.rows.len(), self.rank])]
                    {
                        let name = tensor_name(layer, part.target, which);
                        let (a, part) = (place.a, part.clone());
                        tensors.push(Stored { name, which, shape, a, part });
                    }
                }
            }
        }
        tensors
    }

    fn write_tensor(&self, stored: &Stored, out: &mut dyn Write) -> io::Result<()> {
        let Stored { a, part, which, .. } = stored;
        let (weight, rows) = match which {
            Which::A => (&self.weights[*a], part.ranks.clone()),
            Which::B => (&self.weights[a + 1], part.rows.clone()),
        };
        let mut values = vec![0.0; weight.columns()];
        for row in rows {
            weight.download_row(row, &mut values);
            let own = match which {
                Which::A => &values[..],
                Which::B => &values[part.ranks.clone()],
            };
            let bytes: Vec<u8> = own.iter().flat_map(|value| value.to_le_bytes()).collect();
            out.write_all(&bytes)?;
        }
        Ok(())
    }

    /// Reads all tensors; the file holds these and no others.
    fn fill(&mut self, file: &SafetensorsFile) -> Result<(), Error> {
        let Self { places, weights, rank, .. } = self;
        let mut used = BTreeSet::new();
        for (layer, products) in places.iter().enumerate() {
            for Place { a, parts } in products.iter().flatten() {
                let inputs = weights[*a].columns();
                for part in parts {
                    let name = tensor_name(layer, part.target, Which::A);
                    let values = read_tensor(file, &name, [*rank, inputs])?;
                    weights[*a].upload(part.ranks.start, &values);
                    used.insert(name);
                    let name = tensor_name(layer, part.target, Which::B);
                    let values = read_tensor(file, &name, [part.rows.len(), *rank])?;
                    let b = &mut weights[a + 1];
                    let mut row = vec![0.0; b.columns()];
                    for (at, values) in part.rows.clone().zip(values.chunks_exact(*rank)) {
                        b.download_row(at, &mut row);
                        row[part.ranks.clone()].copy_from_slice(values);
                        b.upload(at, &row);
                    }
                    used.insert(name);
                }
            }
        }
        match file.tensors().iter().find(|tensor| !used.contains(&tensor.name)) {
            None => Ok(()),
            Some(tensor) => Err(bad_tensor(&tensor.name, "has no place beside this model")),
        }
    }
}

/// A tensor of the file, and where it lies among the weights.
struct Stored {
    name: String,
    which: Which,
    shape: [usize; 2],
    a: usize,
    part: Part,
}

impl Stored {
    fn spec(&self) -> TensorSpec {
        TensorSpec::new(&self.name, StoredType::F32, &self.shape.map(|length| length as u64))
    }
}

fn read_tensor(file: &SafetensorsFile, name: &str, shape: [usize; 2]) -> Result<Vec<f32>, Error> {
    let info = file.tensor(name).ok_or_else(|| bad_tensor(name, "is missing"))?;
    let expected = shape.map(|length| length as u64);
    if info.shape != expected {
        let (name, found) = (name.to_owned(), info.shape.clone());
        return Err(Error::AdapterShape { name, found, expected: expected.to_vec() });
    }
    let kind = engine_type(info.dtype).filter(|kind| kind.block_elements() == 1);
    let kind = kind.ok_or_else(|| bad_tensor(name, "is not F32, F16 or BF16"))?;
    let mut values = vec![0.0; shape[0] * shape[1]];
    dtype::dequantize_row(kind, &file.read(info)?, &mut values);
    if values.iter().any(|value| !value.is_finite()) {
        return Err(bad_tensor(name, "has values that are not finite"));
    }
    Ok(values)
}

fn bad_tensor(name: &str, problem: &'static str) -> Error {
    Error::AdapterTensor { name: shown(name), problem }
}

/// Reads `adapter_config.json` and refuses what is not built.
fn read_header(path: &Path) -> Result<Map<String, Value>, Error> {
    let text = artifacts::read_text(path)
        .map_err(|source| Error::Read { path: path.to_owned(), source })?;
    let header: Map<String, Value> = serde_json::from_str(&text)
        .map_err(|error| Error::AdapterJson { message: shown(&error.to_string()) })?;
    check_words(&header)?;
    let foreign = header.iter().find(|(key, value)| !KNOWN.contains(&key.as_str()) && says(value));
    if let Some((key, value)) = foreign {
        let feature = shown(&format!("`{key}` ({value})"));
        return Err(Error::UnsupportedAdapter { feature });
    }
    Ok(header)
}

/// Refuses other kinds of adapters.
fn check_words(header: &Map<String, Value>) -> Result<(), Error> {
    for (key, expected) in [("peft_type", "LORA"), ("task_type", "CAUSAL_LM"), ("bias", "none")] {
        let value = header.get(key).unwrap_or(&Value::Null);
        let may_lack = key != "peft_type" && value.is_null();
        if !may_lack && value.as_str() != Some(expected) {
            let found = shown(&value.to_string());
            let (key, expected) = (key.to_owned(), format!("\"{expected}\""));
            return Err(Error::BadAdapter { key, found, expected });
        }
    }
    match header.get("init_lora_weights").and_then(Value::as_str) {
        Some(begin) if !LEAVES_BASE.contains(&begin) => {
            let feature = format!("`init_lora_weights` (\"{begin}\", which changes the model)");
            Err(Error::UnsupportedAdapter { feature: shown(&feature) })
        }
        _ => Ok(()),
    }
}

/// Whether a value asks for something.
fn says(value: &Value) -> bool {
    match value {
        Value::Null => false,
        Value::Bool(flag) => *flag,
        Value::Array(list) => !list.is_empty(),
        Value::Object(map) => !map.is_empty(),
        Value::Number(_) | Value::String(_) => true,
    }
}

fn rank(header: &Map<String, Value>) -> Result<usize, Error> {
    let value = header.get("r").unwrap_or(&Value::Null);
    let rank = value.as_u64().and_then(|rank| usize::try_from(rank).ok());
    rank.ok_or_else(|| bad("r", value, "a whole number"))
}

fn number(header: &Map<String, Value>, key: &str) -> Result<f64, Error> {
    let value = header.get(key).unwrap_or(&Value::Null);
    value.as_f64().ok_or_else(|| bad(key, value, "a number"))
}

/// Off where nothing is said.
fn flag(header: &Map<String, Value>, key: &str) -> Result<bool, Error> {
    match header.get(key) {
        None | Some(Value::Null) => Ok(false),
        Some(Value::Bool(flag)) => Ok(*flag),
        Some(other) => Err(bad(key, other, "true or false")),
    }
}

fn base_of(header: &Map<String, Value>) -> String {
    let base = header.get("base_model_name_or_path").and_then(Value::as_str);
    base.unwrap_or_default().to_owned()
}

/// The matrices that an adapter lies beside: those of its list, or where that is a pattern, those
/// that it has weights for.
fn targets(header: &Map<String, Value>, file: &SafetensorsFile) -> Result<Vec<Target>, Error> {
    let value = header.get("target_modules").unwrap_or(&Value::Null);
    match value {
        Value::Array(modules) => modules.iter().map(target).collect(),
        Value::String(_) => {
            let names = file.tensors().iter().map(|tensor| tensor.name.as_str());
            let part = |module: &str| format!(".{module}.lora_A.");
            let names: Vec<&str> = names.collect();
            let has =
                |target: &Target| names.iter().any(|name| name.contains(&part(target.module())));
            Ok(Target::ALL.into_iter().filter(has).collect())
        }
        _ => Err(bad("target_modules", value, "a list of names")),
    }
}

/// A matrix by its name, or by its path that ends with it.
fn target(module: &Value) -> Result<Target, Error> {
    let name = module.as_str().unwrap_or_default();
    let last = name.rsplit('.').next().unwrap_or_default();
    let target = Target::ALL.into_iter().find(|target| target.module() == last);
    target.ok_or_else(|| {
        let expected = format!("of {}", Target::ALL.map(Target::module).join(", "));
        bad("target_modules", module, &expected)
    })
}

fn bad(key: &str, found: &Value, expected: &str) -> Error {
    let found = shown(&found.to_string());
    Error::BadAdapter { key: key.to_owned(), found, expected: expected.to_owned() }
}

/// A number as people write it: 16, not 16.0.
fn whole(value: f64) -> Value {
    #[expect(clippy::cast_possible_truncation, reason = "compared with what it was")]
    let whole = value as i64;
    #[expect(clippy::cast_precision_loss, reason = "an alpha is at most a million")]
    let same = (whole as f64 - value).abs() == 0.0;
    if same { whole.into() } else { value.into() }
}
