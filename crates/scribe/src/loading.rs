//! A name or a path becomes a model that can be used: weights, tokens, chat format, defaults.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::UNIX_EPOCH;

use artifacts::gguf::Gguf;
use artifacts::safetensors::SafetensorsFolder;
use artifacts::tensors::TensorInfo;
use chat::Sampling;
use model::{Adapted, Adapter, BatchOptions, MemoryPlan, Model, Source};
use serde::{Deserialize, Serialize};
use tokenizer::{ChatFormat, DetectedFormat, Tokenizer};

use crate::config::{ChatFormatName, EngineOptions};
use crate::web::ModelDetails;

/// Longest context window that is taken without being asked for.
const CONTEXT_TOKENS_DEFAULT: usize = 8192;

/// Largest cache that is taken without being asked for, unless one context needs more.
const CACHE_BYTES_DEFAULT: u64 = 1 << 30;

/// Sampling values that come with a model, where it says any.
#[derive(Debug, Clone, Copy, PartialEq, Default, Deserialize, Serialize)]
#[serde(default)]
pub struct SamplingDefaults {
    /// As [`Sampling::temperature`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub temperature: Option<f32>,
    /// As [`Sampling::top_k`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub top_k: Option<usize>,
    /// As [`Sampling::top_p`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub top_p: Option<f32>,
    /// As [`Sampling::min_p`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub min_p: Option<f32>,
    /// As [`Sampling::repetition_penalty`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub repetition_penalty: Option<f32>,
}

/// A model file or folder, and what is known about it before it is opened.
#[derive(Debug, Clone, PartialEq)]
pub struct Located {
    /// The name that people see and that the API serves.
    pub name: String,
    /// A GGUF file or a Hugging Face folder.
    pub path: PathBuf,
    /// What was learned beside it.
    pub adapter: Option<LocatedAdapter>,
    /// What the catalogue advises.
    pub sampling: SamplingDefaults,
    /// Digest of the weights, or of its adapter's: where there is one file, and its manifest says so
    /// or it was verified when it was installed.
    pub sha256: Option<String>,
    /// Whether a run has pretrained it and taught it no more: it goes on with a text, and knows no
    /// conversation, whatever marks its vocabulary has.
    pub only_pretrained: bool,
}

/// A folder with an adapter, and how it is computed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LocatedAdapter {
    /// A folder in PEFT's layout; the tokenizer that it has, if any, is used.
    pub folder: PathBuf,
    /// Whether it is added to the weights as they are read.
    pub merged: bool,
}

/// A model as its files describe it; its weights are not read yet.
#[derive(Debug, Clone)]
pub struct Outline {
    /// Where it is.
    pub located: Located,
    /// What will compute.
    pub device: engine::Device,
    /// Shape and size.
    pub model: model::Outline,
    /// What was learned beside it.
    pub adapted: Option<Adapted>,
    /// Facts for people.
    pub details: ModelDetails,
}

/// Weights that can compute.
#[derive(Debug, Clone)]
pub struct Weights {
    /// The name that people see.
    pub name: String,
    /// The model.
    pub model: Arc<Model>,
    /// Facts for people.
    pub details: ModelDetails,
    /// When the file was made, in seconds since 1970.
    pub created: u64,
}

/// A model that can chat.
#[derive(Debug)]
pub struct Loaded {
    /// The weights.
    pub weights: Weights,
    /// Text to tokens and back.
    pub tokenizer: Tokenizer,
    /// How a conversation is written for the model.
    pub format: ChatFormat,
    /// Why the model's own chat template is not used, where it cannot be.
    pub template_passed_over: Option<tokenizer::Error>,
    /// What holds where a request does not say.
    pub sampling: Sampling,
}

/// A model that can go on with a text.
#[derive(Debug)]
pub struct Writer {
    /// The weights.
    pub weights: Weights,
    /// Text to tokens and back.
    pub tokenizer: Tokenizer,
    /// What holds where nobody says.
    pub sampling: Sampling,
}

/// Why a model cannot be used. The messages of the crates below say what to do.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The weights or their shape.
    #[error(transparent)]
    Model(#[from] model::Error),
    /// The container.
    #[error(transparent)]
    Artifact(#[from] artifacts::Error),
    /// The tokenizer or the chat format.
    #[error(transparent)]
    Tokenizer(#[from] tokenizer::Error),
    /// The engine.
    #[error(transparent)]
    Engine(#[from] engine::Error),
}

impl SamplingDefaults {
    /// These values where there are some, those of `other` elsewhere.
    #[must_use]
    pub fn or(self, other: Self) -> Self {
        Self {
            temperature: self.temperature.or(other.temperature),
            top_k: self.top_k.or(other.top_k),
            top_p: self.top_p.or(other.top_p),
            min_p: self.min_p.or(other.min_p),
            repetition_penalty: self.repetition_penalty.or(other.repetition_penalty),
        }
    }

    /// A complete set of values: what is absent here is neutral.
    #[must_use]
    pub fn complete(self) -> Sampling {
        let neutral = Sampling::default();
        Sampling {
            temperature: self.temperature.unwrap_or(neutral.temperature),
            top_k: self.top_k.unwrap_or(neutral.top_k),
            top_p: self.top_p.unwrap_or(neutral.top_p),
            min_p: self.min_p.unwrap_or(neutral.min_p),
            repetition_penalty: self.repetition_penalty.unwrap_or(neutral.repetition_penalty),
            ..neutral
        }
    }
}

impl Located {
    /// Where its tokenizer lies, with the words in which it was taught: beside its adapter, if there
    /// is one.
    #[must_use]
    pub fn tokenizer_path(&self) -> &Path {
        match &self.adapter {
            Some(adapter) if adapter.folder.join("tokenizer.json").exists() => &adapter.folder,
            _ => &self.path,
        }
    }

    /// The advice that comes with it, what was learned last first.
    #[must_use]
    pub fn advice(&self) -> SamplingDefaults {
        generation_config(self.tokenizer_path()).or(generation_config(&self.path)).or(self.sampling)
    }

    /// Reads its adapter, if it has one.
    ///
    /// # Errors
    ///
    /// [`Error::Model`] where it cannot be read or belongs to another model.
    pub fn read_adapter(
        &self,
        device: &engine::Device,
        config: &model::Config,
    ) -> Result<Option<Arc<Adapter>>, Error> {
        let Some(adapter) = &self.adapter else { return Ok(None) };
        Ok(Some(Arc::new(Adapter::read(device, config, &adapter.folder)?)))
    }
}

impl Outline {
    /// Looks at the model without reading its weights.
    ///
    /// # Errors
    ///
    /// [`Error`] with what is wrong in which file.
    pub fn read(located: &Located, options: &EngineOptions) -> Result<Self, Error> {
        let device = engine::Device::cpu(&options.device.options())?;
        let mut model = model::Outline::read(&device, &Source::detect(&located.path))?;
        let merged = located.adapter.as_ref().is_some_and(|adapter| adapter.merged);
        let adapter = located.read_adapter(&device, model.config())?;
        if let Some(adapter) = adapter.as_ref().filter(|_| !merged) {
            model = model.beside(adapter);
        }
        let way = if merged { Adapted::Merged } else { Adapted::Beside };
        let adapted = adapter.map(way);
        let mut details = describe(&located.path)?;
        details.architecture = model.config().architecture.gguf_name().to_owned();
        details.parameters = model.parameters();
        details.sha256.clone_from(&located.sha256);
        Ok(Self { located: located.clone(), device, model, adapted, details })
    }

    /// Reads the weights; `progress` hears how many of how many bytes were read.
    ///
    /// # Errors
    ///
    /// [`Error`] with what is wrong in which file.
    pub fn load(self, progress: &mut dyn FnMut(u64, u64)) -> Result<Weights, Error> {
        let path = &self.located.path;
        let (source, adapted) = (Source::detect(path), self.adapted.as_ref());
        let model = Model::load_adapted(&self.device, &source, adapted, progress)?;
        Ok(Weights {
            created: modified_seconds(path),
            name: self.located.name,
            model: Arc::new(model),
            details: self.details,
        })
    }

    /// What a batch with these options takes.
    ///
    /// # Errors
    ///
    /// [`Error::Model`] for options out of range.
    pub fn memory(&self, batch: &BatchOptions) -> Result<MemoryPlan, Error> {
        Ok(MemoryPlan::new(&self.model, batch)?)
    }

    /// The layout of a batch with these options: what is not asked for is planned.
    ///
    /// Without `--cache-bytes` the cache holds a full context for each slot as far as 1 GiB
    /// goes, and one full context in any case.
    ///
    /// # Errors
    ///
    /// [`Error::Model`] for options out of range.
    pub fn batch_options(
        &self,
        options: &EngineOptions,
        slots: usize,
    ) -> Result<BatchOptions, Error> {
        let native = self.model.config().context_tokens;
        let context_tokens =
            options.context_tokens.map_or(CONTEXT_TOKENS_DEFAULT, usize::from).min(native);
        let mut batch = BatchOptions { slots, context_tokens, ..BatchOptions::default() };
        batch.cache_bytes = match options.cache_bytes {
            Some(size) => Some(size.0),
            None => {
                let all = self.memory(&batch)?.cache_bytes;
                let one = self.memory(&BatchOptions { slots: 1, ..batch.clone() })?.cache_bytes;
                Some(all.min(CACHE_BYTES_DEFAULT).max(one))
            }
        };
        Ok(batch)
    }
}

impl Loaded {
    /// Reads weights, tokenizer and sampling defaults; conversations are to be written as
    /// `format_name` says.
    ///
    /// # Errors
    ///
    /// [`Error`] with what is wrong in which file.
    pub fn load(
        outline: Outline,
        format_name: ChatFormatName,
        progress: &mut dyn FnMut(u64, u64),
    ) -> Result<Self, Error> {
        // The small things first: what is wrong with them shows before the weights are read.
        let tokenizer = read_tokenizer(outline.located.tokenizer_path())?;
        let DetectedFormat { format, passed_over } = chat_format(format_name, &tokenizer)?;
        let sampling = outline.located.advice().complete();
        let weights = outline.load(progress)?;
        Ok(Self { weights, tokenizer, format, template_passed_over: passed_over, sampling })
    }
}

impl Writer {
    /// Reads weights, tokenizer and sampling defaults.
    ///
    /// # Errors
    ///
    /// [`Error`] with what is wrong in which file.
    pub fn load(outline: Outline, progress: &mut dyn FnMut(u64, u64)) -> Result<Self, Error> {
        let tokenizer = read_tokenizer(outline.located.tokenizer_path())?;
        let sampling = outline.located.advice().complete();
        let weights = outline.load(progress)?;
        Ok(Self { weights, tokenizer, sampling })
    }
}

impl Located {
    /// Whether the model can go on with a text alone: it was taught no more, or nothing says how a
    /// conversation is written for it. What is wrong with its files is told where it is loaded.
    pub(crate) fn only_writes(&self) -> bool {
        let has_none = |tokenizer: Tokenizer| {
            matches!(ChatFormat::detect(&tokenizer), Err(tokenizer::Error::NoChatFormat))
        };
        self.only_pretrained || read_tokenizer(self.tokenizer_path()).is_ok_and(has_none)
    }
}

/// The tokenizer of a model file or folder.
pub(crate) fn read_tokenizer(path: &Path) -> Result<Tokenizer, Error> {
    Ok(if path.is_dir() {
        Tokenizer::from_folder(path)?
    } else {
        Tokenizer::from_gguf(Gguf::open(path)?.header().metadata())?
    })
}

/// The format that is asked for, if the model can write it.
fn chat_format(name: ChatFormatName, tokenizer: &Tokenizer) -> Result<DetectedFormat, Error> {
    let format = match name {
        ChatFormatName::Auto => return Ok(ChatFormat::detect(tokenizer)?),
        ChatFormatName::Chatml => ChatFormat::ChatMl { default_system: None },
        ChatFormatName::Llama3 => ChatFormat::Llama3,
    };
    format.check(tokenizer)?;
    Ok(DetectedFormat { format, passed_over: None })
}

/// What `generation_config.json` says, in the model's folder or beside its file; a file that
/// cannot be understood says nothing, because it only ever holds advice.
pub(crate) fn generation_config(path: &Path) -> SamplingDefaults {
    let folder = if path.is_dir() { Some(path) } else { path.parent() };
    folder
        .and_then(|folder| artifacts::read_text(&folder.join("generation_config.json")).ok())
        .and_then(|text| serde_json::from_str(&text).ok())
        .unwrap_or_default()
}

/// Size and storage of the weights.
fn describe(path: &Path) -> Result<ModelDetails, Error> {
    let details = if path.is_dir() {
        let tensors: Vec<_> = SafetensorsFolder::open(path)?.tensors().cloned().collect();
        let bytes = tensors.iter().map(|tensor| tensor.bytes).sum();
        let quantization = most_common_type(tensors);
        ModelDetails { bytes, format: "safetensors", quantization, ..ModelDetails::default() }
    } else {
        let file = Gguf::open(path)?;
        let header = file.header();
        // The file's own word: quantizers mix types, so that the most common one may mislead.
        let stated = header.metadata().u64("general.file_type").ok().flatten();
        let quantization = stated
            .and_then(file_type)
            .map_or_else(|| most_common_type(header.tensors().to_vec()), str::to_owned);
        let bytes = std::fs::metadata(path).map_or(0, |metadata| metadata.len());
        ModelDetails { bytes, format: "gguf", quantization, ..ModelDetails::default() }
    };
    Ok(details)
}

/// The type that holds most of the weights: Q4_1, BF16, …
fn most_common_type(mut tensors: Vec<TensorInfo>) -> String {
    tensors.sort_by_key(|tensor| tensor.dtype.name());
    tensors
        .chunk_by(|left, right| left.dtype == right.dtype)
        .max_by_key(|group| group.iter().map(TensorInfo::elements).sum::<u64>())
        .map_or_else(String::new, |group| group[0].dtype.name().to_owned())
}

/// The name of a `general.file_type`, where its types can be computed here.
///
/// Source: `enum llama_ftype` of llama.h.
fn file_type(id: u64) -> Option<&'static str> {
    Some(match id {
        0 => "F32",
        1 => "F16",
        2 => "Q4_0",
        3 => "Q4_1",
        7 => "Q8_0",
        8 => "Q5_0",
        9 => "Q5_1",
        14 => "Q4_K_S",
        15 => "Q4_K_M",
        16 => "Q5_K_S",
        17 => "Q5_K_M",
        18 => "Q6_K",
        32 => "BF16",
        _ => return None,
    })
}

fn modified_seconds(path: &Path) -> u64 {
    let modified = std::fs::metadata(path).and_then(|metadata| metadata.modified()).ok();
    modified.and_then(|time| time.duration_since(UNIX_EPOCH).ok()).map_or(0, |age| age.as_secs())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_model_s_own_advice_comes_before_the_catalogue_s() {
        let folder = tempfile::tempdir().unwrap();
        let config = br#"{"temperature": 0.5, "eos_token_id": 2, "top_k": 7}"#;
        std::fs::write(folder.path().join("generation_config.json"), config).unwrap();
        let own = generation_config(folder.path());
        let advice = SamplingDefaults {
            temperature: Some(0.2),
            top_p: Some(0.9),
            ..SamplingDefaults::default()
        };
        let sampling = own.or(advice).complete();
        assert_eq!(
            sampling,
            Sampling { temperature: 0.5, top_k: 7, top_p: 0.9, ..Sampling::default() }
        );
        let beside = generation_config(&folder.path().join("x.gguf"));
        assert_eq!(beside, own);
    }
}
