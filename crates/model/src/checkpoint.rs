//! A checkpoint on disk: its configuration and its tensors by name, whatever the container.

use std::collections::BTreeSet;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use artifacts::StoredType;
use artifacts::gguf::{Gguf, GgufFile};
use artifacts::safetensors::SafetensorsFolder;
use artifacts::tensors::TensorInfo;
use engine::ops::rope::RopeScaling;
use engine::{Dtype, Tensor, dtype};

use crate::adapter::{Adapter, Merge};
use crate::config::{CONFIG_BYTES_MAX, Config};
use crate::error::Error;
use crate::names::{Convention, Global};

/// Rows of head and embedding that are compared.
const ROWS_COMPARED: u64 = 4;

/// Where a model lies.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Source {
    /// One GGUF file.
    Gguf(PathBuf),
    /// A folder with `config.json` and `model.safetensors`, or with shards and their index.
    Folder(PathBuf),
}

impl Source {
    /// A folder is a Hugging Face checkpoint, everything else a GGUF file.
    #[must_use]
    pub fn detect(path: &Path) -> Self {
        if path.is_dir() { Self::Folder(path.to_owned()) } else { Self::Gguf(path.to_owned()) }
    }
}

#[derive(Debug)]
enum Container {
    Gguf(GgufFile),
    Folder(SafetensorsFolder),
}

/// An open checkpoint whose configuration was read and checked.
#[derive(Debug)]
pub(crate) struct Checkpoint {
    container: Container,
    config: Config,
    /// Tensors that some part of the model asked for.
    used: BTreeSet<String>,
    /// An adapter that is added to weights as they are read.
    merge: Option<Merge>,
}

impl Checkpoint {
    pub(crate) fn open(source: &Source) -> Result<Self, Error> {
        let (container, config) = match source {
            Source::Gguf(path) => {
                let file = Gguf::open(path)?;
                let config = Config::from_gguf(file.header())?;
                (Container::Gguf(file), config)
            }
            Source::Folder(path) => {
                let config = Config::from_json(&read_config(&path.join("config.json"))?)?;
                (Container::Folder(SafetensorsFolder::open(path)?), config)
            }
        };
        let mut checkpoint = Self { container, config, used: BTreeSet::new(), merge: None };
        checkpoint.read_rope_divisors()?;
        Ok(checkpoint)
    }

    pub(crate) fn config(&self) -> &Config {
        &self.config
    }

    pub(crate) fn convention(&self) -> Convention {
        match self.container {
            Container::Gguf(_) => Convention::Gguf,
            Container::Folder(_) => Convention::HuggingFace,
        }
    }

    /// Bytes of all tensors together.
    pub(crate) fn tensor_bytes(&self) -> u64 {
        self.tensors().map(|tensor| tensor.bytes).sum()
    }

    /// How many weights differ from each other: a head that repeats the embedding counts once.
    pub(crate) fn parameters(&self) -> Result<u64, Error> {
        let all = self.tensors().map(TensorInfo::elements).sum();
        let convention = self.convention();
        let names = [Global::Embedding, Global::Head].map(|weight| convention.global(weight));
        let [Some(embedding), Some(head)] = names.map(|name| self.find(name)) else {
            return Ok(all);
        };
        let repeats = embedding.shape == head.shape
            && are_parallel(&self.first_rows(embedding)?, &self.first_rows(head)?);
        Ok(if repeats { all - head.elements() } else { all })
    }

    /// The element type of a tensor of exactly this shape.
    pub(crate) fn dtype(&self, name: &str, shape: &[usize]) -> Result<Dtype, Error> {
        self.look_up(name, shape).map(|(_, dtype)| dtype)
    }

    /// Lets weights be read with an adapter added to them.
    ///
    /// # Errors
    ///
    /// [`Error::OtherAdapter`] for a model of another shape, [`Error::MergeIntoBlocks`] where a
    /// weight is quantized: what was added would be rounded away with the rest.
    pub(crate) fn merge(&mut self, adapter: Arc<Adapter>) -> Result<(), Error> {
        adapter.check_fits(&self.config)?;
        let merge = Merge::new(adapter, &self.config, self.convention());
        for name in merge.names() {
            let kind = self.find(name).and_then(|info| engine_type(info.dtype));
            if let Some(kind) = kind.filter(|kind| kind.block_elements() > 1) {
                let (name, found) = (name.to_owned(), kind.to_string());
                return Err(Error::MergeIntoBlocks { name, found });
            }
        }
        self.merge = Some(merge);
        Ok(())
    }

    /// The bytes of a tensor of exactly this shape, in the type that it is stored in.
    pub(crate) fn read(&mut self, name: &str, shape: &[usize]) -> Result<(Dtype, Vec<u8>), Error> {
        let stored = self.dtype(name, shape)?;
        let (dtype, bytes) = self.read_exact(name, shape)?;
        if dtype == stored {
            return Ok((dtype, bytes));
        }
        let (values, _) = bytes.as_chunks();
        let values: Vec<f32> = values.iter().map(|&bytes| f32::from_le_bytes(bytes)).collect();
        Ok((stored, dtype::quantize_row(stored, &values)?))
    }

    /// As [`Self::read`], but weights that an adapter was added to are F32, not rounded.
    pub(crate) fn read_exact(
        &mut self,
        name: &str,
        shape: &[usize],
    ) -> Result<(Dtype, Vec<u8>), Error> {
        let (info, dtype) = self.look_up(name, shape)?;
        let bytes = self.bytes(info)?;
        self.used.insert(name.to_owned());
        let Some(merge) = self.merge.as_ref().filter(|merge| merge.changes(name)) else {
            return Ok((dtype, bytes));
        };
        let mut values = vec![0.0; shape.iter().product()];
        dtype::dequantize_row(dtype, &bytes, &mut values);
        merge.add(name, &self.config, &mut values);
        Ok((Dtype::F32, values.iter().flat_map(|value| value.to_le_bytes()).collect()))
    }

    /// A vector as numbers.
    pub(crate) fn read_vector(&mut self, name: &str, len: usize) -> Result<Vec<f32>, Error> {
        let (kind, bytes) = self.read(name, &[len])?;
        if !len.is_multiple_of(kind.block_elements()) {
            return Err(Error::WrongType { name: name.to_owned(), found: kind.to_string() });
        }
        let mut values = vec![0.0; len];
        dtype::dequantize_row(kind, &bytes, &mut values);
        Ok(values)
    }

    /// A vector on a device, `[1, len]`.
    pub(crate) fn read_tensor(
        &mut self,
        device: &engine::Device,
        name: &str,
        len: usize,
    ) -> Result<Tensor, Error> {
        Ok(Tensor::from_slice(device, 1, len, &self.read_vector(name, len)?))
    }

    /// Refuses a checkpoint with tensors that nothing asked for.
    pub(crate) fn check_all_used(&self) -> Result<(), Error> {
        let (convention, tied_head) = (self.convention(), self.config.tied_head);
        let extra = self.tensors().find(|tensor| {
            !self.used.contains(&tensor.name) && !convention.may_be_ignored(&tensor.name, tied_head)
        });
        match extra {
            None => Ok(()),
            Some(tensor) => Err(Error::ExtraTensor {
                name: tensor.name.clone(),
                architecture: self.config.architecture.gguf_name(),
            }),
        }
    }

    /// GGUF stores Llama 3.1's stretched frequencies as one number per pair of channels.
    fn read_rope_divisors(&mut self) -> Result<(), Error> {
        let name = "rope_freqs.weight";
        if self.convention() != Convention::Gguf || self.find(name).is_none() {
            return Ok(());
        }
        let divisors = self.read_vector(name, self.config.head_size / 2)?;
        if self.config.rope.scaling != RopeScaling::None {
            let feature = format!("{name} together with another rope scaling");
            return Err(Error::Unsupported { feature });
        }
        self.config = self.config.clone().with_rope_divisors(divisors)?;
        Ok(())
    }

    /// The first rows of a matrix as numbers; none of a type that cannot be computed.
    fn first_rows(&self, matrix: &TensorInfo) -> Result<Vec<f32>, Error> {
        let (Some(kind), [out, _]) = (engine_type(matrix.dtype), matrix.shape.as_slice()) else {
            return Ok(Vec::new());
        };
        // Rows are whole blocks, so that the first ones are the first bytes.
        let rows = ROWS_COMPARED.min(*out);
        let bytes = matrix.bytes / (*out).max(1) * rows;
        let bytes = self.bytes(&TensorInfo { bytes, ..matrix.clone() })?;
        let mut values = vec![0.0; bytes.len() / kind.block_bytes() * kind.block_elements()];
        dtype::dequantize_row(kind, &bytes, &mut values);
        Ok(values)
    }

    fn bytes(&self, tensor: &TensorInfo) -> Result<Vec<u8>, Error> {
        Ok(match &self.container {
            Container::Gguf(file) => file.read(tensor)?,
            Container::Folder(folder) => folder.read(tensor)?,
        })
    }

    fn look_up(&self, name: &str, shape: &[usize]) -> Result<(&TensorInfo, Dtype), Error> {
        let info = self.find(name).ok_or_else(|| Error::MissingTensor { name: name.to_owned() })?;
        let expected: Vec<u64> = shape.iter().map(|n| *n as u64).collect();
        if info.shape != expected {
            let found = info.shape.clone();
            return Err(Error::WrongShape { name: name.to_owned(), found, expected });
        }
        let dtype = engine_type(info.dtype).ok_or_else(|| Error::WrongType {
            name: name.to_owned(),
            found: info.dtype.to_string(),
        })?;
        Ok((info, dtype))
    }

    fn find(&self, name: &str) -> Option<&TensorInfo> {
        match &self.container {
            Container::Gguf(file) => file.header().tensor(name),
            Container::Folder(folder) => folder.tensor(name),
        }
    }

    fn tensors(&self) -> Box<dyn Iterator<Item = &TensorInfo> + '_> {
        match &self.container {
            Container::Gguf(file) => Box::new(file.header().tensors().iter()),
            Container::Folder(folder) => Box::new(folder.tensors()),
        }
    }
}

/// Whether two vectors are equal but for rounding to few bits: their cosine is 1 but for two
/// hundredths. That of different matrices is near 0.
fn are_parallel(left: &[f32], right: &[f32]) -> bool {
    let dot = |a: &[f32], b: &[f32]| -> f64 {
        a.iter().zip(b).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum()
    };
    left.len() == right.len()
        && dot(left, right) > 0.98 * (dot(left, left) * dot(right, right)).sqrt()
}

fn read_config(path: &Path) -> Result<Vec<u8>, Error> {
    let error = |source| Error::Read { path: path.to_owned(), source };
    let mut bytes = Vec::new();
    let file = artifacts::open_file(path).map_err(error)?;
    file.take(CONFIG_BYTES_MAX as u64 + 1).read_to_end(&mut bytes).map_err(error)?;
    Ok(bytes)
}

/// The engine's name of a type that it can multiply.
pub(crate) fn engine_type(stored: StoredType) -> Option<Dtype> {
    Some(match stored {
        StoredType::F32 => Dtype::F32,
        StoredType::F16 => Dtype::F16,
        StoredType::Bf16 => Dtype::Bf16,
        StoredType::Q8_0 => Dtype::Q8_0,
        StoredType::Q4_0 => Dtype::Q4_0,
        StoredType::Q4_1 => Dtype::Q4_1,
        StoredType::Q5_0 => Dtype::Q5_0,
        StoredType::Q5_1 => Dtype::Q5_1,
        StoredType::Q4K => Dtype::Q4K,
        StoredType::Q5K => Dtype::Q5K,
        StoredType::Q6K => Dtype::Q6K,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::fixture;

    #[test]
    fn a_head_that_repeats_the_embedding_counts_once() {
        let open = |name: &str| Checkpoint::open(&Source::detect(&fixture(name))).unwrap();
        let untied = open("tiny-chat.gguf");
        let all: u64 = untied.tensors().map(TensorInfo::elements).sum();
        assert_eq!(untied.parameters().unwrap(), all);
        // The embedding again, rounded to eight bits, as quantizers write it.
        let embedding = untied.find("token_embd.weight").unwrap();
        let rows = untied.first_rows(embedding).unwrap();
        let rounded: Vec<f32> = rows.iter().map(|x| (x * 64.0).round() / 64.0).collect();
        assert!(!rows.is_empty() && are_parallel(&rows, &rounded));
        let other: Vec<f32> = rows.iter().rev().copied().collect();
        assert!(!are_parallel(&rows, &other) && !are_parallel(&rows, &[]));
        assert!(!are_parallel(&[0.0; 4], &[0.0; 4]), "nothing is known of zeros");
    }
}
