//! The server that the browser visits, with the tiny model or the real one.

use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use chat::{Generator, GeneratorOptions, Sampling};
use engine::{Device, DeviceOptions};
use model::{BatchOptions, Model, Source};
use scribe::web::shutdown::Trigger;
use scribe::web::{self, AppState, ModelDetails, ServeOptions, ServedModel, Shutdown};
use tokenizer::{ChatFormat, Tokenizer};
use tokio::net::TcpListener;
use tokio::runtime::Runtime;

use super::webdriver::{skipped, workspace};

/// A model in memory, shared by the tests.
#[derive(Clone)]
pub(crate) struct Loaded {
    name: &'static str,
    model: Arc<Model>,
    tokenizer: Tokenizer,
    context_tokens: usize,
}

/// Random weights: it writes nonsense, but it writes.
pub(crate) fn tiny() -> Loaded {
    static LOADED: OnceLock<Loaded> = OnceLock::new();
    let path = workspace().join("fixtures/tiny-chat.gguf");
    LOADED.get_or_init(|| load("tiny-chat", &path, 512)).clone()
}

/// The default model where it has been fetched; says so where it has not.
pub(crate) fn real() -> Option<Loaded> {
    static LOADED: OnceLock<Loaded> = OnceLock::new();
    let file = "target/test-data/SmolLM2-135M-Instruct.Q4_1.gguf";
    let path =
        std::env::var_os("SCRIBE_TEST_MODEL").map_or_else(|| workspace().join(file), PathBuf::from);
    if !path.exists() {
        skipped(&format!("the model {file} is not there; set SCRIBE_TEST_MODEL to a copy of it"));
        return None;
    }
    Some(LOADED.get_or_init(|| load("smollm2-135m-instruct", &path, 2048)).clone())
}

fn load(name: &'static str, path: &Path, context_tokens: usize) -> Loaded {
    let file = artifacts::gguf::Gguf::open(path).unwrap();
    let tokenizer = Tokenizer::from_gguf(file.header().metadata()).unwrap();
    let device = Device::cpu(&DeviceOptions { threads: None, kernels: None }).unwrap();
    let source = Source::Gguf(path.to_owned());
    let model = Model::load(&device, &source, &mut |_, _| {}).unwrap();
    Loaded { name, model: Arc::new(model), tokenizer, context_tokens }
}

/// A server on a port of its own; it ends with this value.
pub(crate) struct Server {
    pub(crate) address: String,
    trigger: Trigger,
    _runtime: Runtime,
}

impl Server {
    pub(crate) fn start(loaded: Loaded, key: Option<&str>, run: Option<&Path>) -> Self {
        let runtime = Runtime::new().unwrap();
        let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0")).unwrap();
        let bound = listener.local_addr().unwrap();
        let mut options = ServeOptions::new(bound);
        options.key = key.map(web::guard::KeyDigest::of);
        options.run = run.map(Path::to_owned);
        let state = AppState::new(vec![served(loaded)], options);
        let (trigger, shutdown) = Shutdown::manual();
        runtime.spawn(web::serve(state, listener, shutdown));
        Self { address: format!("http://{bound}/"), trigger, _runtime: runtime }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.trigger.advance();
        self.trigger.advance();
    }
}

fn served(loaded: Loaded) -> ServedModel {
    let Loaded { name, model, tokenizer, context_tokens } = loaded;
    let batch = BatchOptions { slots: 2, context_tokens, ..BatchOptions::default() };
    let options = GeneratorOptions { batch, queue: 8 };
    ServedModel {
        name: name.to_owned(),
        aliases: Vec::new(),
        created: 1_700_000_000,
        generator: Generator::start(model, tokenizer.clone(), options).unwrap(),
        format: ChatFormat::detect(&tokenizer).unwrap().format,
        chat_template: None,
        tokenizer,
        sampling: Sampling::default(),
        details: ModelDetails::default(),
    }
}
