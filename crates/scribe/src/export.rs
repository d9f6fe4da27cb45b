//! A model becomes files for other programs: weights, shape, tokenizer and advice together.

use std::io::{self, Read as _};
use std::num::NonZeroUsize;
use std::path::Path;

use artifacts::disk::RealDisk;
use artifacts::folder::{self, NewFolder};
use artifacts::gguf::{Gguf, Metadata, Value};
use engine::{Device, DeviceOptions, Dtype};
use model::Source;
use model::config::JsonOptions;
use model::export::{Export, Exported};
use serde_json::Value as Json;
use tokenizer::Tokenizer;

use crate::loading::{self, Error, Located};

/// What a Hugging Face folder has beside weights and shape; a source that is such a folder gives its
/// own.
const BESIDE: [&str; 5] = [
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "chat_template.jinja",
    "generation_config.json",
];

/// Threads that read an adapter: nothing is computed.
const ONE: NonZeroUsize = NonZeroUsize::MIN;

/// Longest of these files: that of the tokenizers that are read.
const BESIDE_BYTES_MAX: u64 = 64 << 20;

/// Keys of a GGUF file that follow from the weights, and are not taken over.
const OWN_KEYS: [&str; 4] = [
    "general.architecture",
    "general.file_type",
    "general.quantization_version",
    "general.alignment",
];

/// A model that is to be written, and its tokenizer.
#[derive(Debug)]
pub(crate) struct Opened<'a> {
    located: &'a Located,
    export: Export,
    tokenizer: Tokenizer,
}

impl<'a> Opened<'a> {
    /// Opens the files of a model; an adapter that it has is added to its weights.
    pub(crate) fn open(located: &'a Located) -> Result<Self, Error> {
        let mut export = Export::open(&Source::detect(&located.path))?;
        let device = Device::cpu(&DeviceOptions { threads: Some(ONE), kernels: None })?;
        if let Some(adapter) = located.read_adapter(&device, export.config())? {
            export.merge(adapter)?;
        }
        let tokenizer = loading::read_tokenizer(located.tokenizer_path())?;
        Ok(Self { located, export, tokenizer })
    }

    /// The type that all matrices have, if it is one.
    pub(crate) fn stored_dtype(&self) -> Option<Dtype> {
        self.export.stored_dtype()
    }

    /// Writes a folder in Hugging Face's layout; its bytes come back, too.
    pub(crate) fn write_folder(
        self,
        target: &Path,
        dtype: Dtype,
        progress: &mut dyn FnMut(u64, u64),
    ) -> Result<(Exported, u64), Error> {
        let Self { located, export, tokenizer } = self;
        let options = JsonOptions {
            dtype,
            begin_token: tokenizer.begin_token(),
            end_tokens: tokenizer.end_token().into_iter().collect(),
        };
        let context_tokens = export.config().context_tokens;
        let mut exported = None;
        let manifest = folder::land_folder(&RealDisk, target, |folder| {
            write_beside(folder, located, &tokenizer, context_tokens)?;
            exported = Some(export.write_folder(folder, &options, progress)?);
            Ok::<_, Error>(())
        })?;
        let bytes = manifest.files().iter().map(|file| file.bytes).sum();
        let none = Exported { tensors: 0, unblocked: Vec::new() };
        Ok((exported.unwrap_or(none), bytes))
    }

    /// Writes a GGUF file; its bytes come back, too.
    pub(crate) fn write_gguf(
        self,
        target: &Path,
        dtype: Dtype,
        progress: &mut dyn FnMut(u64, u64),
    ) -> Result<(Exported, u64), Error> {
        if target.exists() {
            return Err(artifacts::Error::AlreadyThere { path: target.to_owned() }.into());
        }
        let more = self.metadata()?;
        let exported = folder::land_file(&RealDisk, target, |out| {
            Ok::<_, Error>(self.export.write_gguf(out, dtype, &more, progress)?)
        })?;
        let bytes = std::fs::metadata(target).map_or(0, |metadata| metadata.len());
        Ok((exported, bytes))
    }

    /// The keys of a GGUF file that say nothing of the weights: those that the source has, or its
    /// name and tokenizer.
    fn metadata(&self) -> Result<Metadata, Error> {
        let mut metadata = Metadata::new();
        if self.located.tokenizer_path().is_dir() {
            metadata.insert("general.type", Value::String("model".to_owned()))?;
            metadata.insert("general.name", Value::String(self.located.name.clone()))?;
            self.tokenizer.write_gguf(self.export.config().vocab, &mut metadata)?;
            return Ok(metadata);
        }
        let source = Gguf::open(&self.located.path)?;
        let taken = |key: &str| {
            (key.starts_with("general.") && !OWN_KEYS.contains(&key))
                || key.starts_with("tokenizer.")
        };
        for (key, value) in source.header().metadata().iter().filter(|(key, _)| taken(key)) {
            metadata.insert(key, value.clone())?;
        }
        Ok(metadata)
    }
}

/// Copies the files that the source has beside its weights, and writes those that it has not.
fn write_beside(
    folder: &mut NewFolder<'_>,
    located: &Located,
    tokenizer: &Tokenizer,
    context_tokens: usize,
) -> Result<(), Error> {
    for name in BESIDE {
        let source = located.tokenizer_path();
        let path = source.join(name);
        let own = if source.is_dir() { artifacts::open_file(&path) } else { not_found() };
        match own {
            Ok(file) => {
                folder.write(name, |out| {
                    io::copy(&mut file.take(BESIDE_BYTES_MAX), out)
                        .map_err(|source| artifacts::Error::Write { source })
                })?;
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                if let Some(text) = written(name, located, tokenizer, context_tokens) {
                    folder.write_bytes(name, text.as_bytes())?;
                }
            }
            Err(source) => {
                return Err(tokenizer::Error::Read { path, source }.into());
            }
        }
    }
    Ok(())
}

fn not_found<T>() -> io::Result<T> {
    Err(io::ErrorKind::NotFound.into())
}

/// A file of [`BESIDE`] as it follows from the tokenizer; none where there is nothing to say.
fn written(
    name: &str,
    located: &Located,
    tokenizer: &Tokenizer,
    context_tokens: usize,
) -> Option<String> {
    match name {
        "tokenizer.json" => Some(tokenizer.to_json()),
        "tokenizer_config.json" => Some(tokenizer.config_json(context_tokens)),
        "chat_template.jinja" => tokenizer.chat_template().map(str::to_owned),
        "generation_config.json" => Some(generation_config(located, tokenizer)),
        _ => None,
    }
}

/// The advice that comes with a model, and the tokens that begin and end a text.
fn generation_config(located: &Located, tokenizer: &Tokenizer) -> String {
    let advice = located.advice();
    let mut json = serde_json::to_value(advice).unwrap_or_default();
    if let Some(temperature) = advice.temperature {
        json["do_sample"] = (temperature > 0.0).into();
    }
    if let Some(token) = tokenizer.begin_token() {
        json["bos_token_id"] = token.into();
    }
    let ends = tokenizer.end_of_turn();
    if !ends.is_empty() {
        json["eos_token_id"] = Json::from(ends);
    }
    format!("{json:#}\n")
}
