//! What a checkpoint holds: a model that any program can open, and what its training needs to go on.
//!
//! | file | holds |
//! |---|---|
//! | `config.json`, `model.safetensors`, tokenizer's files | the model, as Hugging Face lays it out |
//! | or `adapter_config.json`, `adapter_model.safetensors`, tokenizer's files | the adapter that \
//! learns beside a model, as PEFT lays it out |
//! | `optimizer.safetensors` | the optimizer's state, in f32 |
//! | `progress.json` | [`Progress`] |

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::path::Path;

use artifacts::StoredType;
use artifacts::folder::NewFolder;
use artifacts::hash::{Digest, Hashing};
use artifacts::safetensors::{self, SafetensorsFile};
use artifacts::tensors::TensorSpec;
use corpus::Position;
use engine::Tensor;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::Error;

/// The file of the optimizer's state.
pub(crate) const STATE_FILE: &str = "optimizer.safetensors";
/// The file of [`Progress`].
const PROGRESS_FILE: &str = "progress.json";
/// The version of its form.
const VERSION: u32 = 1;
/// Bytes of an f32.
const F32_BYTES: usize = size_of::<f32>();

/// How far a run is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Progress {
    /// The version of this form.
    pub version: u32,
    /// The recipe that is followed.
    pub recipe: Digest,
    /// Updates of the weights so far, those left out for gradients that are not finite included.
    pub step: u64,
    /// Updates in all.
    pub steps: u64,
    /// How many were left out.
    pub skipped_steps: u64,
    /// How many of the last ones, without one that was made between them.
    pub skipped_in_a_row: u32,
    /// Where the next rows are read.
    pub position: Position,
    /// How long the metrics are.
    pub metrics_bytes: u64,
    /// The weights beside which an adapter learns, if one does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub base: Option<Digest>,
}

impl Progress {
    /// The beginning of a run of so many steps.
    #[must_use]
    pub fn new(recipe: Digest, steps: u64, position: Position) -> Self {
        Self {
            version: VERSION,
            recipe,
            step: 0,
            steps,
            skipped_steps: 0,
            skipped_in_a_row: 0,
            position,
            metrics_bytes: 0,
            base: None,
        }
    }

    /// Whether all steps were taken.
    #[must_use]
    pub fn is_finished(&self) -> bool {
        self.step >= self.steps
    }

    /// This, if it follows that recipe.
    pub(crate) fn of_recipe(self, path: &Path, recipe: Digest) -> Result<Self, Error> {
        if self.recipe == recipe {
            return Ok(self);
        }
        let problem = "it was saved by a run of another recipe".to_owned();
        Err(Error::OtherCheckpoint { path: path.to_owned(), problem })
    }

    /// This, if its adapter learned beside these weights.
    pub(crate) fn beside(self, path: &Path, base: Option<Digest>) -> Result<Self, Error> {
        if self.base == base {
            return Ok(self);
        }
        let problem = "its adapter learned beside other weights than the base has now; put these \
                       back"
            .to_owned();
        Err(Error::OtherCheckpoint { path: path.to_owned(), problem })
    }

    /// Writes it into a checkpoint.
    pub(crate) fn write(&self, folder: &mut NewFolder<'_>) -> Result<(), artifacts::Error> {
        let mut bytes = serde_json::to_vec_pretty(self).expect("numbers can be written");
        bytes.push(b'\n');
        folder.write_bytes(PROGRESS_FILE, &bytes)
    }

    /// Reads it from a checkpoint.
    ///
    /// # Errors
    ///
    /// Where the file cannot be read or is of another form.
    pub fn read(folder: &Path) -> Result<Self, Error> {
        let path = folder.join(PROGRESS_FILE);
        let progress: Self = read_json(&path)?;
        if progress.version != VERSION {
            let problem = format!("version {} is not known here", progress.version);
            return Err(Error::OtherCheckpoint { path, problem });
        }
        Ok(progress)
    }
}

/// Reads a small file of facts.
pub(crate) fn read_json<T: DeserializeOwned>(path: &Path) -> Result<T, Error> {
    let text = artifacts::read_text(path)
        .map_err(|source| Error::Read { path: path.to_owned(), source })?;
    serde_json::from_str(&text).map_err(|error| {
        let problem = artifacts::shown(&error.to_string());
        Error::OtherCheckpoint { path: path.to_owned(), problem }
    })
}

/// A tensor and what it is called in a file.
#[derive(Debug)]
pub(crate) struct Named<'a> {
    pub name: String,
    pub tensor: &'a Tensor,
}

/// Writes tensors in f32, one row after the other.
pub(crate) fn write_tensors(
    folder: &mut NewFolder<'_>,
    file: &str,
    tensors: &[Named<'_>],
) -> Result<(), artifacts::Error> {
    let spec = |named: &Named<'_>| {
        let shape = [named.tensor.rows() as u64, named.tensor.columns() as u64];
        TensorSpec::new(named.name.as_str(), StoredType::F32, &shape)
    };
    let specs: Vec<TensorSpec> = tensors.iter().map(spec).collect();
    folder.write(file, |out| {
        safetensors::write(out, &BTreeMap::new(), &specs, |index, out| {
            write_rows(tensors[index].tensor, out)
        })
    })?;
    Ok(())
}

/// What tells the weights of a checkpoint from any others, as reward models name the one that they
/// began as.
///
/// # Errors
///
/// Where it is no model that can learn, or cannot be read.
pub fn digest_of_model(device: &engine::Device, folder: &Path) -> Result<Digest, Error> {
    let precision = engine::ops::matmul::Precision::F32;
    digest_of(model::trainable::Trainable::read(device, folder, precision)?.weights())
}

/// What tells weights from any others.
pub(crate) fn digest_of(weights: &[Tensor]) -> Result<Digest, Error> {
    let mut hashing = Hashing::new(io::sink());
    let write = |weight| write_rows(weight, &mut hashing);
    let written: io::Result<()> = weights.iter().try_for_each(write);
    written.map_err(|source| artifacts::Error::Write { source })?;
    Ok(hashing.finish().0)
}

fn write_rows(tensor: &Tensor, out: &mut dyn Write) -> io::Result<()> {
    let mut row = vec![0.0; tensor.columns()];
    let mut bytes = Vec::with_capacity(row.len() * F32_BYTES);
    for index in 0..tensor.rows() {
        tensor.download_row(index, &mut row);
        bytes.clear();
        bytes.extend(row.iter().flat_map(|value| value.to_le_bytes()));
        out.write_all(&bytes)?;
    }
    Ok(())
}

/// Reads tensors by name; the file holds these and no others.
pub(crate) fn read_tensors<'a>(
    path: &Path,
    tensors: impl Iterator<Item = (String, &'a mut Tensor)>,
) -> Result<(), Error> {
    let other = |problem: String| Error::OtherCheckpoint { path: path.to_owned(), problem };
    let file = SafetensorsFile::open(path)?;
    let mut read = 0;
    for (name, tensor) in tensors {
        let info = file.tensor(&name).ok_or_else(|| other(format!("it lacks {name}")))?;
        let shape = [tensor.rows() as u64, tensor.columns() as u64];
        if (info.dtype, info.shape.as_slice()) != (StoredType::F32, &shape) {
            let problem = format!("{name} is {:?} {:?}, not F32 {shape:?}", info.dtype, info.shape);
            return Err(other(problem));
        }
        let bytes = file.read(info)?;
        let (numbers, _) = bytes.as_chunks::<F32_BYTES>();
        let values: Vec<f32> = numbers.iter().map(|&number| f32::from_le_bytes(number)).collect();
        tensor.upload(0, &values);
        read += 1;
    }
    if read != file.tensors().len() {
        return Err(other(format!("it has {} tensors, not {read}", file.tensors().len())));
    }
    Ok(())
}
