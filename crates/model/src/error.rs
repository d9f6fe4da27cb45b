//! What can go wrong between a checkpoint on disk and a sampled token, with what to do about it.

use std::path::PathBuf;

/// Everything that this crate refuses; each message ends with the remedy.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The checkpoint's container is broken or cannot be read. Download it again.
    #[error(transparent)]
    Artifact(#[from] artifacts::Error),
    /// A file beside the weights cannot be read.
    #[error("{}: {source}; check that the file exists and may be read", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the operating system said.
        #[source]
        source: std::io::Error,
    },
    /// The engine refused: not enough memory, or a weight that it cannot pack.
    #[error(transparent)]
    Engine(#[from] engine::Error),
    /// `config.json` is not a JSON object.
    #[error("config.json is not valid: {message}; download the checkpoint again")]
    Json {
        /// What the JSON parser found, with line and column.
        message: String,
    },
    /// The architecture is none that this program can run.
    #[error("architecture `{found}` is not supported; choose a checkpoint of one of: {known}")]
    UnknownArchitecture {
        /// The name in the checkpoint.
        found: String,
        /// The names that are supported, separated by commas.
        known: String,
    },
    /// A value of the configuration is missing.
    #[error("the configuration has no `{key}`; the checkpoint is incomplete, download it again")]
    MissingKey {
        /// The key under which it is searched.
        key: String,
    },
    /// A value of the configuration is outside what any sound model has.
    #[error(
        "the configuration's `{key}` is {found}, but must be {expected}; correct it or choose \
         another checkpoint"
    )]
    BadValue {
        /// The key in the checkpoint.
        key: String,
        /// The value there.
        found: String,
        /// What would be accepted.
        expected: String,
    },
    /// A model has something that a layout of files has no words for.
    #[error("{layout} cannot hold {feature}; choose another layout or type")]
    Unwritable {
        /// What is to be written.
        layout: &'static str,
        /// What it cannot say.
        feature: String,
    },
    /// The checkpoint asks for something that is not built.
    #[error("the checkpoint needs {feature}, which is not supported; choose another checkpoint")]
    Unsupported {
        /// The feature, by the key that asks for it.
        feature: String,
    },
    /// A tensor that the architecture needs is not in the checkpoint.
    #[error("tensor `{name}` is missing; the checkpoint is incomplete, download it again")]
    MissingTensor {
        /// The tensor's name in the checkpoint.
        name: String,
    },
    /// The checkpoint holds a tensor that the architecture has no place for: running without it
    /// would be another model.
    #[error("tensor {name:?} does not belong to a {architecture} model; choose another checkpoint")]
    ExtraTensor {
        /// The tensor's name in the checkpoint.
        name: String,
        /// The architecture that the configuration names.
        architecture: &'static str,
    },
    /// A tensor does not have the shape that the configuration says.
    #[error(
        "tensor `{name}` has shape {found:?}, but the configuration needs {expected:?}; the \
         checkpoint's files do not belong together, download it again"
    )]
    WrongShape {
        /// The tensor's name in the checkpoint.
        name: String,
        /// Its shape there, outermost first.
        found: Vec<u64>,
        /// The shape that follows from the configuration.
        expected: Vec<u64>,
    },
    /// A tensor's element type is none that the engine multiplies.
    #[error("tensor `{name}` has type {found}, which cannot be used; choose another quantization")]
    WrongType {
        /// The tensor's name in the checkpoint.
        name: String,
        /// Its type there.
        found: String,
    },
    /// `adapter_config.json` is not a JSON object.
    #[error("adapter_config.json is not valid: {message}; copy or download the adapter again")]
    AdapterJson {
        /// What the JSON parser found, with line and column.
        message: String,
    },
    /// A value of an adapter is outside what can be used.
    #[error("the adapter's `{key}` is {found}, but must be {expected}; choose another adapter")]
    BadAdapter {
        /// The key in `adapter_config.json`.
        key: String,
        /// The value there.
        found: String,
        /// What would be accepted.
        expected: String,
    },
    /// An adapter asks for something that is not built.
    #[error("the adapter needs {feature}, which is not supported; choose another adapter")]
    UnsupportedAdapter {
        /// The feature, by the key that asks for it.
        feature: String,
    },
    /// A tensor of an adapter does not have the shape that the model needs.
    #[error(
        "the adapter's `{name}` has shape {found:?}, but beside this model it must be \
         {expected:?}; name the model that the adapter was made for"
    )]
    AdapterShape {
        /// The tensor's name.
        name: String,
        /// Its shape in the file, outermost first.
        found: Vec<u64>,
        /// The shape that follows from the model and the adapter's rank.
        expected: Vec<u64>,
    },
    /// A tensor of an adapter is not there, has no place beside the model, or cannot be used.
    #[error(
        "the adapter's `{name}` {problem}; name the model that the adapter was made for, or another adapter"
    )]
    AdapterTensor {
        /// The tensor's name.
        name: String,
        /// What is wrong with it.
        problem: &'static str,
    },
    /// An adapter was made for a model of another shape.
    #[error("the adapter belongs to a model of another shape; name the one that it was made for")]
    OtherAdapter,
    /// An adapter is to be merged into weights that are rounded to blocks.
    #[error(
        "`{name}` is stored as {found}, into which no adapter is merged; write the model in bf16 \
         first, as `scribe models export --to hf --dtype bf16` does, or use the adapter unmerged"
    )]
    MergeIntoBlocks {
        /// The tensor's name in the checkpoint.
        name: String,
        /// Its type there.
        found: String,
    },
    /// The prompt does not fit into the context window.
    #[error(
        "the prompt has {prompt_tokens} tokens, but the context window has {context_tokens}; \
         shorten it"
    )]
    ContextOverflow {
        /// Tokens in the prompt.
        prompt_tokens: usize,
        /// Most tokens that a sequence may have here.
        context_tokens: usize,
    },
    /// No slot or no cache page is free at the moment. Keep the request and try again after a step.
    #[error("all slots or cache pages are taken; try again after the next step")]
    Full,
    /// A field of a request is out of range.
    #[error("`{field}` must be {expected}")]
    InvalidRequest {
        /// The field of the request.
        field: &'static str,
        /// What would be accepted.
        expected: String,
    },
    /// The model gave logits that are not finite: its weights are damaged.
    #[error(
        "the model computed values that are not finite at position {position}; its file is \
         damaged, download it again"
    )]
    NotFinite {
        /// The position whose logits are not finite.
        position: usize,
    },
    /// The cache that was asked for cannot hold even one sequence.
    #[error(
        "a cache of {cache_bytes} bytes cannot hold one sequence of {context_tokens} tokens, which \
         needs {needed_bytes}; give more memory or a smaller context"
    )]
    CacheTooSmall {
        /// Bytes that the options allow.
        cache_bytes: u64,
        /// Bytes that one full context needs.
        needed_bytes: u64,
        /// Tokens of the context window.
        context_tokens: usize,
    },
}
