//! A server with the tiny model, asked without or with sockets.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::http::{HeaderMap, Method, Request, StatusCode};
use axum::response::Response;
use chat::{Generator, GeneratorOptions, Sampling};
use engine::{Device, DeviceOptions, KernelPath};
use model::{BatchOptions, Model, Source};
use scribe::web::{self, AppState, Limits, ModelDetails, ServeOptions, ServedModel, Shutdown};
use serde_json::{Value, json};
use tokenizer::{ChatFormat, Tokenizer};
use tokio::net::TcpListener;
use tower::ServiceExt as _;

/// The name of the tiny model, and another one that it answers to.
pub(crate) const NAME: &str = "tiny-chat";
pub(crate) const ALIAS: &str = "gpt-3.5-turbo";
/// Tokens of its context window here.
pub(crate) const CONTEXT: usize = 512;

/// How a server is made.
#[derive(Clone, Debug)]
pub(crate) struct Setup {
    pub(crate) slots: usize,
    pub(crate) queue: usize,
    pub(crate) key: Option<&'static str>,
    /// Whether it computes on kernels so slow that a long request is still there when a test looks.
    pub(crate) slow: bool,
    /// Whether it computes on two threads; they and more than one slow down tests that run beside.
    pub(crate) two_threads: bool,
    pub(crate) prefill_chunk: usize,
    pub(crate) prefix_reuse: bool,
    pub(crate) limits: Limits,
    /// The run whose answers people rank.
    pub(crate) run: Option<PathBuf>,
}

impl Default for Setup {
    fn default() -> Self {
        Self {
            slots: 4,
            queue: 16,
            key: None,
            slow: false,
            two_threads: false,
            prefill_chunk: 64,
            prefix_reuse: true,
            limits: Limits::default(),
            run: None,
        }
    }
}

fn loaded(setup: &Setup) -> &'static (Arc<Model>, Tokenizer) {
    static LOADED: [OnceLock<(Arc<Model>, Tokenizer)>; 4] = [const { OnceLock::new() }; 4];
    LOADED[usize::from(setup.slow) + 2 * usize::from(setup.two_threads)].get_or_init(|| {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fixtures/tiny-chat.gguf");
        let file = artifacts::gguf::Gguf::open(&path).unwrap();
        let tokenizer = Tokenizer::from_gguf(file.header().metadata()).unwrap();
        let kernels = setup.slow.then_some(KernelPath::Reference);
        let threads = if setup.two_threads { 2 } else { 1 };
        let options = DeviceOptions { threads: threads.try_into().ok(), kernels };
        let device = Device::cpu(&options).unwrap();
        let model = Model::load(&device, &Source::Gguf(path), &mut |_, _| {}).unwrap();
        (Arc::new(model), tokenizer)
    })
}

/// The tiny model's tokens.
pub(crate) fn tokenizer() -> Tokenizer {
    loaded(&Setup::default()).1.clone()
}

/// The tiny model behind its queue.
pub(crate) fn served(setup: &Setup) -> ServedModel {
    let (model, tokenizer) = loaded(setup).clone();
    let batch = BatchOptions {
        slots: setup.slots,
        context_tokens: CONTEXT,
        prefill_chunk: setup.prefill_chunk,
        prefix_reuse: setup.prefix_reuse,
        ..BatchOptions::default()
    };
    let options = GeneratorOptions { batch, queue: setup.queue };
    ServedModel {
        name: NAME.to_owned(),
        aliases: vec![ALIAS.to_owned()],
        created: 1_700_000_000,
        generator: Generator::start(model, tokenizer.clone(), options).unwrap(),
        format: ChatFormat::detect(&tokenizer).unwrap().format,
        chat_template: tokenizer.chat_template().map(str::to_owned),
        tokenizer,
        sampling: Sampling::default(),
        details: ModelDetails {
            architecture: "llama".to_owned(),
            parameters: 260_000,
            format: "gguf",
            quantization: "Q8_0".to_owned(),
            bytes: 558_400,
            sha256: None,
        },
    }
}

/// The state of a server bound to `bound`.
pub(crate) fn state(setup: &Setup, bound: SocketAddr) -> AppState {
    let mut options = ServeOptions::new(bound);
    options.key = setup.key.map(web::guard::KeyDigest::of);
    options.limits = setup.limits;
    options.run.clone_from(&setup.run);
    AppState::new(vec![served(setup)], options)
}

/// A server without sockets.
pub(crate) fn app(setup: &Setup) -> (Router, AppState) {
    let state = state(setup, "127.0.0.1:8080".parse().unwrap());
    (web::app(state.clone()), state)
}

/// The same without its state.
pub(crate) fn app_of(setup: &Setup) -> Router {
    app(setup).0
}

/// A server on a port of its own.
pub(crate) struct Server {
    pub(crate) address: SocketAddr,
    pub(crate) state: AppState,
    pub(crate) trigger: web::shutdown::Trigger,
    pub(crate) ended: tokio::task::JoinHandle<()>,
}

impl Server {
    pub(crate) async fn start(setup: &Setup) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let state = state(setup, address);
        let (trigger, shutdown) = Shutdown::manual();
        let ended = tokio::spawn(web::serve(state.clone(), listener, shutdown));
        Self { address, state, trigger, ended }
    }
}

/// An answer, read whole.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) text: String,
}

impl Answer {
    pub(crate) async fn of(response: Response) -> Self {
        let (parts, body) = response.into_parts();
        let bytes = to_bytes(body, usize::MAX).await.unwrap();
        let text = String::from_utf8(bytes.to_vec()).unwrap();
        Self { status: parts.status, headers: parts.headers, text }
    }

    /// The body as JSON.
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    /// The JSON of a good answer.
    pub(crate) fn good(&self) -> Value {
        assert_eq!(self.status, StatusCode::OK, "{}", self.text);
        self.json()
    }

    /// Status, `param` and `code` of a refusal, once its shape is known to be right.
    pub(crate) fn refusal(&self) -> (u16, Option<String>, Option<String>) {
        let body = self.json();
        let error = body["error"].as_object().unwrap_or_else(|| panic!("no error in {body}"));
        let mut fields: Vec<&str> = error.keys().map(String::as_str).collect();
        fields.sort_unstable();
        assert_eq!(fields, ["code", "message", "param", "type"]);
        assert!(error["message"].is_string() && error["type"].is_string());
        let text = |name: &str| error[name].as_str().map(str::to_owned);
        (self.status.as_u16(), text("param"), text("code"))
    }

    /// The events of a stream, without the mark of its end; whether that mark was there.
    pub(crate) fn events(&self) -> (Vec<Value>, bool) {
        assert_eq!(self.status, StatusCode::OK, "{}", self.text);
        let mut done = false;
        let mut events = Vec::new();
        for block in self.text.split_terminator("\n\n").filter(|block| !block.starts_with(':')) {
            assert!(!done, "nothing comes after the end");
            match block.strip_prefix("data: ").unwrap() {
                "[DONE]" => done = true,
                json => events.push(serde_json::from_str(json).unwrap()),
            }
        }
        (events, done)
    }
}

/// A request with a body as it is.
pub(crate) fn request(method: Method, path: &str, body: impl Into<Body>) -> Request<Body> {
    Request::builder()
        .method(method)
        .uri(path)
        .header("host", "localhost:8080")
        .header("content-type", "application/json")
        .body(body.into())
        .unwrap()
}

/// Sends a request and gives the answer with its body still to come.
pub(crate) async fn open(app: &Router, request: Request<Body>) -> Response {
    app.clone().oneshot(request).await.unwrap()
}

pub(crate) async fn send(app: &Router, request: Request<Body>) -> Answer {
    Answer::of(open(app, request).await).await
}

pub(crate) async fn post(app: &Router, path: &str, body: &Value) -> Answer {
    send(app, request(Method::POST, path, body.to_string())).await
}

pub(crate) async fn get(app: &Router, path: &str) -> Answer {
    send(app, request(Method::GET, path, Body::empty())).await
}

/// A short conversation with `more` on top.
pub(crate) fn chat_body(more: Value) -> Value {
    let mut body = json!({
        "model": NAME,
        "messages": [{ "role": "user", "content": "Say something." }],
        "max_tokens": 24,
        "seed": 5,
    });
    for (name, value) in more.as_object().unwrap() {
        body[name] = value.clone();
    }
    body
}
