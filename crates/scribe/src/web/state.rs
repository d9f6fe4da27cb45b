//! What every request needs: the model, who may ask, the limits and the counters.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use artifacts::hash::Digest;
use chat::{Generator, Sampling};
use tokenizer::{ChatFormat, Tokenizer};
use tokio::sync::Semaphore;

use super::guard::KeyDigest;
use super::metrics::Metrics;
use super::models::Models;
use super::work;
use crate::labeling::Labeling;

/// Digits of a digest that are enough to tell the models of a server apart.
const FINGERPRINT_DIGITS: usize = 12;

/// Shared by all connections; cloning is cheap.
#[derive(Clone, Debug)]
pub struct AppState {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    models: Models,
    options: ServeOptions,
    metrics: Metrics,
    work_places: Arc<Semaphore>,
    /// Absent where there is no run.
    labeling: Option<Arc<Labeling>>,
}

/// A model that answers requests, and what the API tells about it.
#[derive(Clone, Debug)]
pub struct ServedModel {
    /// Its id in the API, such as `smollm2-135m-instruct`.
    pub name: String,
    /// Other names that requests may use for it; they are listed, too.
    pub aliases: Vec<String>,
    /// When it was made or installed, in seconds since 1970.
    pub created: u64,
    /// The queue in front of it.
    pub generator: Generator,
    /// Its tokens.
    pub tokenizer: Tokenizer,
    /// How a conversation is written for it.
    pub format: ChatFormat,
    /// The template that came with it, told to clients that ask for it.
    pub chat_template: Option<String>,
    /// What holds where a request does not say (from `generation_config.json`).
    pub sampling: Sampling,
    /// Facts that clients show.
    pub details: ModelDetails,
}

/// Facts about a model's weights, for people.
#[derive(Clone, Debug, Default)]
pub struct ModelDetails {
    /// The architecture's name, such as `llama`.
    pub architecture: String,
    /// How many weights it has.
    pub parameters: u64,
    /// The container's name, `gguf` or `safetensors`.
    pub format: &'static str,
    /// How they are stored, such as `Q4_1`.
    pub quantization: String,
    /// Bytes on disk.
    pub bytes: u64,
    /// SHA-256 of the weights in hexadecimal, of its adapter's where it has one: where there is one
    /// file, and its manifest says so or it was verified when it was installed.
    pub sha256: Option<String>,
}

/// How the server treats those who connect.
#[derive(Clone, Debug)]
pub struct ServeOptions {
    /// The address that the listener is bound to.
    pub bound: SocketAddr,
    /// Host names that requests may use besides loopback names and the bound address.
    pub allowed_hosts: Vec<String>,
    /// The key that requests must show; nothing for none.
    pub key: Option<KeyDigest>,
    /// The run whose answers people rank on the page `/label`; nothing for none.
    pub run: Option<PathBuf>,
    /// Times and sizes.
    pub limits: Limits,
}

/// Every time and size at the edge, with the values that hold in production as default.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Most connections at the same time. Default 1,024.
    pub connections: usize,
    /// Most connections of one address that is not loopback (proxies connect from there). Default
    /// 64.
    pub connections_per_address: usize,
    /// Time for a request's header; also the longest time that a connection may be idle. Default 15
    /// s.
    pub header_timeout: Duration,
    /// Longest pause while a request's body arrives. Default 15 s.
    pub body_pause: Duration,
    /// Longest time for a whole body. Default 60 s.
    pub body_time: Duration,
    /// Most bytes of a request's body. Default 2 MB.
    pub body_bytes: usize,
    /// Longest time that a client may not read its answer. Default 10 s.
    pub write_stall: Duration,
    /// Time between two signs of life on a quiet stream. Default 15 s.
    pub heartbeat: Duration,
    /// Time for streams to finish once the server is told to stop. Default 30 s.
    pub shutdown_grace: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: 1024,
            connections_per_address: 64,
            header_timeout: Duration::from_secs(15),
            body_pause: Duration::from_secs(15),
            body_time: Duration::from_secs(60),
            body_bytes: 2_000_000,
            write_stall: Duration::from_secs(10),
            heartbeat: Duration::from_secs(15),
            shutdown_grace: Duration::from_secs(30),
        }
    }
}

impl ServeOptions {
    /// Options for a listener on `bound`, with nothing else allowed and no key.
    #[must_use]
    pub fn new(bound: SocketAddr) -> Self {
        let (allowed_hosts, limits) = (Vec::new(), Limits::default());
        Self { bound, allowed_hosts, key: None, run: None, limits }
    }
}

impl ServedModel {
    /// Whether a request that asks for `name` means this model.
    #[must_use]
    pub fn answers_to(&self, name: &str) -> bool {
        self.names().any(|known| known == name)
    }

    /// Its name, then its aliases.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        std::iter::once(self.name.as_str()).chain(self.aliases.iter().map(String::as_str))
    }

    /// What tells its weights from those of others, 64 hexadecimal digits: their SHA-256, or what
    /// is known of the model where that is not.
    #[must_use]
    pub fn digest(&self) -> String {
        self.details.sha256.clone().unwrap_or_else(|| {
            let facts = format!("{} {} {}", self.name, self.created, self.details.bytes);
            Digest::of(facts.as_bytes()).to_string()
        })
    }

    /// The begin of [`ServedModel::digest`], as answers name who gave them.
    #[must_use]
    pub fn fingerprint(&self) -> String {
        let mut digest = self.digest();
        digest.truncate(FINGERPRINT_DIGITS);
        format!("fp_{digest}")
    }

    /// Most tokens of a prompt and its completion together.
    #[must_use]
    pub fn context_tokens(&self) -> usize {
        self.generator.context_tokens()
    }
}

impl AppState {
    /// The state of a server that loads its models and tells everybody to wait until
    /// [`AppState::ready`].
    #[must_use]
    pub fn loading(options: ServeOptions) -> Self {
        let (models, metrics) = (Models::default(), Metrics::new());
        let labeling = options.run.as_deref().map(Labeling::of_run).map(Arc::new);
        let inner = Inner { models, options, metrics, work_places: work::places(), labeling };
        Self { inner: Arc::new(inner) }
    }

    /// The state of a server whose models are there.
    #[must_use]
    pub fn new(models: Vec<ServedModel>, options: ServeOptions) -> Self {
        let state = Self::loading(options);
        state.ready(models);
        state
    }

    /// Opens the server for `models`; the first one answers requests that name none. A server is
    /// opened once: later models are not taken.
    pub fn ready(&self, models: Vec<ServedModel>) {
        self.inner.models.begin(models);
    }

    /// Lets `model` answer in the place of the first one from now on. Requests that have begun end
    /// with the model that they began with, and its memory is free after the last of them.
    pub fn replace(&self, model: ServedModel) {
        self.inner.models.replace(model);
    }

    /// Says whether the first model should have given its place to another one, and could not.
    pub fn set_outdated(&self, outdated: bool) {
        self.inner.models.set_outdated(outdated);
    }

    /// Whether it could not, by what was said last.
    #[must_use]
    pub fn is_outdated(&self) -> bool {
        self.inner.models.is_outdated()
    }

    /// Whether the models are there.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        self.inner.models.are_there()
    }

    /// All models, the default one first; none while they are loaded.
    #[must_use]
    pub fn models(&self) -> Vec<Arc<ServedModel>> {
        self.inner.models.current()
    }

    /// These, and those before them that have not answered all of their requests yet.
    #[must_use]
    pub(super) fn all_models(&self) -> Vec<Arc<ServedModel>> {
        let mut models = self.inner.models.current();
        models.extend(self.inner.models.before());
        models
    }

    /// How often [`AppState::replace`] was called.
    #[must_use]
    pub fn changes(&self) -> u64 {
        self.inner.models.changes()
    }

    /// The model of that name, or the default one where none is named.
    #[must_use]
    pub fn model(&self, name: Option<&str>) -> Option<Arc<ServedModel>> {
        let mut models = self.models().into_iter();
        match name {
            Some(name) => models.find(|model| model.answers_to(name)),
            None => models.next(),
        }
    }

    /// How the server treats those who connect.
    #[must_use]
    pub fn options(&self) -> &ServeOptions {
        &self.inner.options
    }

    /// Times and sizes.
    #[must_use]
    pub fn limits(&self) -> &Limits {
        &self.inner.options.limits
    }

    /// Places for work that is done off the async threads.
    #[must_use]
    pub(super) fn work_places(&self) -> &Arc<Semaphore> {
        &self.inner.work_places
    }

    /// What people rank; `None` where the server has no run.
    #[must_use]
    pub(super) fn labeling(&self) -> Option<&Arc<Labeling>> {
        self.inner.labeling.as_ref()
    }

    /// What is counted.
    #[must_use]
    pub fn metrics(&self) -> &Metrics {
        &self.inner.metrics
    }
}
