//! A checkpoint written anew for other programs: in Hugging Face's layout or as GGUF, in other types.
//!
//! Weights pass through one tensor at a time. What is stored in the wanted type already is copied to
//! the byte; everything else becomes f32 and is rounded once.

mod gguf;
#[cfg(test)]
mod tests;

use std::io::{self, Write};
use std::sync::Arc;

use artifacts::StoredType;
use artifacts::folder::NewFolder;
use artifacts::gguf::Metadata;
use artifacts::safetensors::{self, SINGLE_FILE};
use artifacts::tensors::TensorSpec;
use engine::ops::rope::Pairing;
use engine::{Dtype, dtype};

use crate::adapter::Adapter;
use crate::checkpoint::{Checkpoint, Source};
use crate::config::{Config, JsonOptions};
use crate::error::Error;
use crate::inventory::{self, Item};
use crate::names::{Convention, Global, Weight};

/// The largest finite F16.
const F16_MAX: f32 = 65_504.0;

/// A checkpoint that is to be written in another form.
#[derive(Debug)]
pub struct Export {
    checkpoint: Checkpoint,
}

/// What was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Exported {
    /// How many tensors.
    pub tensors: usize,
    /// Matrices whose rows are no whole blocks of the wanted type; stored as F16, as llama.cpp does.
    pub unblocked: Vec<String>,
}

/// One tensor on its way.
struct Plan {
    item: Item,
    name: String,
    dtype: Dtype,
}

impl Export {
    /// Opens a checkpoint and checks that it is complete.
    ///
    /// # Errors
    ///
    /// Whatever is wrong with it, by the name of the key or tensor.
    pub fn open(source: &Source) -> Result<Self, Error> {
        let checkpoint = Checkpoint::open(source)?;
        for item in inventory::of(checkpoint.config()) {
            checkpoint.dtype(&item.name(checkpoint.convention()), &item.shape)?;
        }
        Ok(Self { checkpoint })
    }

    /// Adds an adapter to the weights; sums are rounded once, to the type that is written.
    ///
    /// # Errors
    ///
    /// [`Error::OtherAdapter`] for a model of another shape, [`Error::MergeIntoBlocks`] where a
    /// weight is quantized.
    pub fn merge(&mut self, adapter: Arc<Adapter>) -> Result<(), Error> {
        self.checkpoint.merge(adapter)
    }

    /// Writes `config.json` and `model.safetensors` into a folder. `progress` hears how many of how
    /// many bytes of the source were read.
    ///
    /// # Errors
    ///
    /// [`Error::Unwritable`] for a shape, type or value that the files have no place for;
    /// [`Error::Artifact`] where a disk fails.
    pub fn write_folder(
        mut self,
        folder: &mut NewFolder<'_>,
        options: &JsonOptions,
        progress: &mut dyn FnMut(u64, u64),
    ) -> Result<Exported, Error> {
        let config = gguf::with_named_scaling(self.config());
        folder.write_bytes("config.json", &config.to_json(options)?)?;
        let plans = self.plans(Convention::HuggingFace, |_| options.dtype);
        let specs: Vec<TensorSpec> = plans.iter().map(Plan::spec).collect();
        let mut pass = Pass::new(&mut self.checkpoint, Pairing::Halves, progress);
        let written = folder.write(SINGLE_FILE, |out| {
            safetensors::write(out, &safetensors::for_pytorch(), &specs, |index, out| {
                pass.write(&plans[index], out)
            })
        });
        pass.end(written.map_err(Error::from))?;
        Ok(Exported { tensors: plans.len(), unblocked: Vec::new() })
    }

    /// Writes a GGUF file with llama.cpp's names, order of rows and keys, then those of `more`: a
    /// tokenizer, and what the model is called.
    ///
    /// Norms and biases are F32. A matrix whose rows are no whole blocks of `dtype` is F16. With
    /// [`Dtype::Q4_0`] the output head, or the embedding that serves as one, is Q8_0: llama.cpp
    /// takes more bits there, too (Q6_K).
    ///
    /// # Errors
    ///
    /// As [`Export::write_folder`].
    pub fn write_gguf(
        mut self,
        out: &mut dyn Write,
        dtype: Dtype,
        more: &Metadata,
        progress: &mut dyn FnMut(u64, u64),
    ) -> Result<Exported, Error> {
        let mut metadata = gguf::metadata(self.config(), dtype)?;
        for (key, value) in more.iter() {
            metadata.insert(key, value.clone())?;
        }
        let plans = self.plans(Convention::Gguf, |item| gguf::dtype_of(item, self.config(), dtype));
        let divisors = gguf::divisors(self.config());
        let mut specs: Vec<TensorSpec> = plans.iter().map(Plan::spec).collect();
        specs.extend(divisors.as_ref().map(|divisors| {
            TensorSpec::new(gguf::DIVISORS, StoredType::F32, &[divisors.len() as u64])
        }));
        let pairing = gguf::pairing(self.config());
        let mut pass = Pass::new(&mut self.checkpoint, pairing, progress);
        let written =
            artifacts::gguf::write(out, &metadata, &specs, |index, out| match plans.get(index) {
                Some(plan) => pass.write(plan, out),
                None => divisors
                    .iter()
                    .flatten()
                    .try_for_each(|divisor| out.write_all(&divisor.to_le_bytes())),
            });
        pass.end(written.map_err(Error::from))?;
        let unblocked = |plan: &&Plan| !plan.item.is_vector() && !fits(&plan.item, dtype);
        let unblocked = plans.iter().filter(unblocked).map(|plan| plan.name.clone()).collect();
        Ok(Exported { tensors: specs.len(), unblocked })
    }

    /// The shape of the model, as the source has it.
    #[must_use]
    pub fn config(&self) -> &Config {
        self.checkpoint.config()
    }

    /// The type that all matrices of the source have, if it is one.
    #[must_use]
    pub fn stored_dtype(&self) -> Option<Dtype> {
        let convention = self.checkpoint.convention();
        let mut dtypes = inventory::of(self.config())
            .into_iter()
            .filter(|item| !item.is_vector())
            .map(|item| self.checkpoint.dtype(&item.name(convention), &item.shape).ok());
        let first = dtypes.next()??;
        dtypes.all(|dtype| dtype == Some(first)).then_some(first)
    }

    /// All tensors by their new names, in the type that `dtype_of` says.
    fn plans(&self, convention: Convention, dtype_of: impl Fn(&Item) -> Dtype) -> Vec<Plan> {
        let plan = |item: Item| {
            let (name, dtype) = (item.name(convention), dtype_of(&item));
            Plan { item, name, dtype }
        };
        inventory::of(self.config()).into_iter().map(plan).collect()
    }
}

impl Plan {
    fn spec(&self) -> TensorSpec {
        let shape: Vec<u64> = self.item.shape.iter().map(|&length| length as u64).collect();
        TensorSpec::new(self.name.clone(), stored_type(self.dtype), &shape)
    }
}

/// One pass over the weights, which remembers why it failed: a writer's closure can only say that.
struct Pass<'a> {
    checkpoint: &'a mut Checkpoint,
    /// How rows of q and k are to lie.
    pairing: Pairing,
    progress: &'a mut dyn FnMut(u64, u64),
    read: u64,
    failed: Option<Error>,
}

impl<'a> Pass<'a> {
    fn new(
        checkpoint: &'a mut Checkpoint,
        pairing: Pairing,
        progress: &'a mut dyn FnMut(u64, u64),
    ) -> Self {
        Self { checkpoint, pairing, progress, read: 0, failed: None }
    }

    /// Writes one tensor.
    fn write(&mut self, plan: &Plan, out: &mut dyn Write) -> io::Result<()> {
        let (kind, bytes) = match self.read(&plan.item) {
            Ok(read) => read,
            Err(error) => return Err(self.fail(error)),
        };
        let row_bytes = bytes.len() / plan.item.rows();
        let config = self.checkpoint.config();
        let stored = |row: usize| {
            let row = plan.item.stored_row(config, self.pairing, row);
            &bytes[row * row_bytes..][..row_bytes]
        };
        let rows = (0..plan.item.rows()).map(stored);
        if kind == plan.dtype {
            return rows.into_iter().try_for_each(|row| out.write_all(row));
        }
        let mut values = vec![0.0; plan.item.columns()];
        for row in rows {
            dtype::dequantize_row(kind, row, &mut values);
            match rounded(plan, &values) {
                Ok(row) => out.write_all(&row)?,
                Err(error) => return Err(self.fail(error)),
            }
        }
        Ok(())
    }

    fn read(&mut self, item: &Item) -> Result<(Dtype, Vec<u8>), Error> {
        let name = item.name(self.checkpoint.convention());
        let stored = self.checkpoint.dtype(&name, &item.shape)?;
        let read = self.checkpoint.read_exact(&name, &item.shape)?;
        let elements = item.rows() * item.columns() / stored.block_elements();
        self.read += (elements * stored.block_bytes()) as u64;
        (self.progress)(self.read, self.checkpoint.tensor_bytes());
        // A vector is read value by value.
        if item.is_vector() && read.0.block_elements() != 1 {
            return Err(Error::WrongType { name, found: read.0.to_string() });
        }
        Ok(read)
    }

    fn fail(&mut self, error: Error) -> io::Error {
        let told = io::Error::other(error.to_string());
        self.failed = Some(error);
        told
    }

    /// What came of it: the reason where it failed, and a word against what nobody asked for.
    fn end<T>(self, written: Result<T, Error>) -> Result<T, Error> {
        if let Some(error) = self.failed {
            return Err(error);
        }
        let written = written?;
        self.checkpoint.check_all_used()?;
        Ok(written)
    }
}

/// A row in its new type.
fn rounded(plan: &Plan, values: &[f32]) -> Result<Vec<u8>, Error> {
    let most = if plan.dtype == Dtype::F16 { F16_MAX } else { f32::MAX };
    if plan.dtype != Dtype::F32
        && let Some(value) = values.iter().find(|value| value.is_nan() || value.abs() > most)
    {
        let feature = format!("{value}, a weight of `{}`, in {}", plan.name, plan.dtype);
        return Err(Error::Unwritable { layout: "a checkpoint", feature });
    }
    Ok(dtype::quantize_row(plan.dtype, values)?)
}

/// Whether rows of a matrix are whole blocks.
fn fits(item: &Item, dtype: Dtype) -> bool {
    item.columns().is_multiple_of(dtype.block_elements())
}

/// Whether a matrix makes the logits.
fn is_head(item: &Item, config: &Config) -> bool {
    let head = if config.tied_head { Global::Embedding } else { Global::Head };
    item.weight == Weight::Global(head)
}

/// The containers' name of a type.
fn stored_type(dtype: Dtype) -> StoredType {
    match dtype {
        Dtype::F16 => StoredType::F16,
        Dtype::Bf16 => StoredType::Bf16,
        Dtype::Q8_0 => StoredType::Q8_0,
        Dtype::Q4_0 => StoredType::Q4_0,
        Dtype::Q4_1 => StoredType::Q4_1,
        Dtype::Q5_0 => StoredType::Q5_0,
        Dtype::Q5_1 => StoredType::Q5_1,
        Dtype::Q4K => StoredType::Q4K,
        Dtype::Q5K => StoredType::Q5K,
        Dtype::Q6K => StoredType::Q6K,
        _ => StoredType::F32,
    }
}
