//! The weights of a model that learns, as files: read from any checkpoint, written for every reader.

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::path::Path;

use artifacts::StoredType;
use artifacts::folder::NewFolder;
use artifacts::safetensors::{self, SINGLE_FILE};
use artifacts::tensors::TensorSpec;
use engine::ops::matmul::Precision;
use engine::ops::rope::{Pairing, RopeTable};
use engine::{Device, Tensor, dtype};

use super::Trainable;
use super::parameters::{self, Parameter, ParameterKind};
use crate::checkpoint::{Checkpoint, Source};
use crate::config::{Config, JsonOptions};
use crate::error::Error;
use crate::inventory::{self, Item};
use crate::names::Convention;

impl Trainable {
    /// Reads the weights of a folder in Hugging Face's layout, or of a GGUF file, as f32.
    ///
    /// What [`Trainable::write`] has written comes back with the same bits; quantized weights
    /// become the numbers that they stand for. Rows of q and k come to lie in Hugging Face's order.
    ///
    /// # Errors
    ///
    /// Whatever is wrong with the checkpoint, by the name of the key or tensor.
    pub fn read(device: &Device, path: &Path, precision: Precision) -> Result<Self, Error> {
        let mut checkpoint = Checkpoint::open(&Source::detect(path))?;
        let config = checkpoint.config().clone().with_pairing(Pairing::Halves);
        let items = by_name(&config);
        let (parameters, _) = parameters::list(&config);
        let weights = parameters
            .iter()
            .map(|parameter| read_weight(device, &mut checkpoint, parameter, &items))
            .collect::<Result<_, _>>()?;
        checkpoint.check_all_used()?;
        Self::with_weights(device, &config, precision, weights)
    }

    /// Writes what learns. A model: `config.json` and, in f32, `model.safetensors`, a checkpoint in
    /// Hugging Face's layout, to which only the tokenizer is missing. An adapter: its files in
    /// PEFT's layout. At no time is more than a row of the weights copied.
    ///
    /// # Errors
    ///
    /// [`Error::Unwritable`] for a shape that `config.json` has no words for; [`Error::Artifact`]
    /// where the disk fails, or the folder has one of the files already.
    pub fn write(&self, folder: &mut NewFolder<'_>) -> Result<(), Error> {
        match self.adapter() {
            Some(adapter) => adapter.write(folder),
            None => self.write_with(folder, &JsonOptions::default()),
        }
    }

    /// As [`Trainable::write`] for a model, naming the tokens that begin and end a text.
    ///
    /// # Errors
    ///
    /// As [`Trainable::write`], and [`Error::Unwritable`] for another type than F32 or where an
    /// adapter learns, beside which the weights are not kept.
    pub fn write_with(
        &self,
        folder: &mut NewFolder<'_>,
        options: &JsonOptions,
    ) -> Result<(), Error> {
        if options.dtype != engine::Dtype::F32 {
            let feature = format!("weights that learn in {}", options.dtype);
            return Err(Error::Unwritable { layout: "a checkpoint", feature });
        }
        if self.adapter().is_some() {
            let feature = "the weights beside an adapter that learns".to_owned();
            return Err(Error::Unwritable { layout: "a checkpoint", feature });
        }
        folder.write_bytes("config.json", &self.config.to_json(options)?)?;
        let parts = self.parts();
        let specs: Vec<TensorSpec> = parts.iter().map(Part::spec).collect();
        folder.write(SINGLE_FILE, |out| {
            safetensors::write(out, &safetensors::for_pytorch(), &specs, |index, out| {
                self.write_part(&parts[index], out)
            })
        })?;
        Ok(())
    }

    /// The tensors of the checkpoint, in the order of the weights.
    fn parts(&self) -> Vec<Part> {
        let items = by_name(&self.config);
        let mut parts = Vec::new();
        for (place, parameter) in self.parameters.iter().enumerate() {
            let mut first = 0;
            for (name, _) in &parameter.parts {
                let item = items[name].clone();
                let rows = item.rows();
                parts.push(Part { name: name.clone(), item, place, first });
                first += rows;
            }
        }
        parts
    }

    fn write_part(&self, part: &Part, out: &mut dyn Write) -> io::Result<()> {
        let Part { item, place, first, .. } = part;
        let weight = &self.weights[*place];
        let stored = |row| first + item.stored_row(&self.config, Pairing::Halves, row);
        let mut values = vec![0.0; weight.columns()];
        if item.is_vector() {
            weight.download_row(0, &mut values);
            let in_order: Vec<f32> = (0..item.rows()).map(|row| values[stored(row)]).collect();
            return out.write_all(&little_endian(&in_order));
        }
        for row in 0..item.rows() {
            weight.download_row(stored(row), &mut values);
            out.write_all(&little_endian(&values))?;
        }
        Ok(())
    }
}

fn little_endian(values: &[f32]) -> Vec<u8> {
    values.iter().flat_map(|value| value.to_le_bytes()).collect()
}

/// A tensor of a checkpoint, and where it lies among the weights.
struct Part {
    name: String,
    item: Item,
    place: usize,
    /// Its first row in the weight; of a vector, its first value.
    first: usize,
}

impl Part {
    fn spec(&self) -> TensorSpec {
        let shape: Vec<u64> = self.item.shape.iter().map(|&length| length as u64).collect();
        TensorSpec::new(self.name.clone(), StoredType::F32, &shape)
    }
}

/// The tensors of a shape by the names that parameters have for their parts.
fn by_name(config: &Config) -> BTreeMap<String, Item> {
    let named = |item: Item| (item.name(Convention::HuggingFace), item);
    inventory::of(config).into_iter().map(named).collect()
}

/// Refuses more positions than there can be angles for.
pub(super) fn check_context(config: &Config) -> Result<(), Error> {
    let most = RopeTable::CONTEXT_TOKENS_MAX;
    if config.context_tokens <= most {
        return Ok(());
    }
    Err(Error::BadValue {
        key: "context_tokens".to_owned(),
        found: config.context_tokens.to_string(),
        expected: format!("at most {most} to learn"),
    })
}

/// Reads all parts of one weight.
fn read_weight(
    device: &Device,
    checkpoint: &mut Checkpoint,
    parameter: &Parameter,
    items: &BTreeMap<String, Item>,
) -> Result<Tensor, Error> {
    let [rows, columns] = parameter.shape;
    let items = parameter.parts.iter().map(|(name, _)| &items[name]);
    if parameter.kind == ParameterKind::Vector {
        let parts: Vec<Vec<f32>> =
            items.map(|item| read_vector(checkpoint, item)).collect::<Result<_, _>>()?;
        return Ok(Tensor::from_slice(device, rows, columns, &parts.concat()));
    }
    let mut weight = Tensor::zeros(device, rows, columns);
    let mut first = 0;
    for item in items {
        read_rows(checkpoint, item, &mut weight, first)?;
        first += item.rows();
    }
    Ok(weight)
}

fn read_vector(checkpoint: &mut Checkpoint, item: &Item) -> Result<Vec<f32>, Error> {
    let name = item.name(checkpoint.convention());
    let stored = checkpoint.read_vector(&name, item.rows())?;
    let value = |row| stored[item.stored_row(checkpoint.config(), Pairing::Halves, row)];
    Ok((0..item.rows()).map(value).collect())
}

/// Reads a matrix into the rows of a weight from `first` on.
fn read_rows(
    checkpoint: &mut Checkpoint,
    item: &Item,
    weight: &mut Tensor,
    first: usize,
) -> Result<(), Error> {
    let name = item.name(checkpoint.convention());
    let (kind, bytes) = checkpoint.read(&name, &item.shape)?;
    // Rows are whole blocks: the containers refuse others.
    let row_bytes = bytes.len() / item.rows();
    let mut row = vec![0.0; item.columns()];
    for number in 0..item.rows() {
        let stored = item.stored_row(checkpoint.config(), Pairing::Halves, number);
        dtype::dequantize_row(kind, &bytes[stored * row_bytes..][..row_bytes], &mut row);
        weight.upload(first + number, &row);
    }
    Ok(())
}
