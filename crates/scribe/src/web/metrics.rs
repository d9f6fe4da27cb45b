//! What is counted, in the text format that Prometheus scrapes.
//!
//! Names follow text-generation-inference's, with the prefix `scribe_`; times are in seconds.

use std::time::Duration;

use prometheus::{
    Encoder, Histogram, HistogramOpts, IntCounter, IntCounterVec, IntGauge, Opts, Registry,
    TextEncoder,
};

use super::state::AppState;

/// The content type of [`Metrics::text`].
pub const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// Upper bounds of the buckets for times: 1 ms to about 4 minutes.
const SECONDS: [f64; 10] = [0.001, 0.004, 0.016, 0.064, 0.25, 1.0, 4.0, 16.0, 64.0, 256.0];
/// Upper bounds of the buckets for counts of tokens.
const TOKENS: [f64; 8] = [1.0, 4.0, 16.0, 64.0, 256.0, 1024.0, 4096.0, 16384.0];

/// All counters of one server.
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
    requests: IntCounter,
    successes: IntCounter,
    failures: IntCounterVec,
    cancelled: IntCounterVec,
    answers: IntCounterVec,
    duration: Histogram,
    queue_duration: Histogram,
    first_token_duration: Histogram,
    token_duration: Histogram,
    generated_tokens: Histogram,
    prompt_tokens: IntCounter,
    cached_tokens: IntCounter,
    queue_size: IntGauge,
    batch_size: IntGauge,
    connections: IntGauge,
    stalls: IntCounter,
    restarts: IntGauge,
    model_changes: IntGauge,
    model_outdated: IntGauge,
}

/// Where a request was when its client left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// It waited for a slot.
    Queue,
    /// Its prompt was read.
    Prefill,
    /// Its answer was written.
    Decode,
}

/// What one complete request took.
#[derive(Clone, Copy, Debug)]
pub struct Took {
    /// From its submission to its end.
    pub total: Duration,
    /// From its first token to its end.
    pub decoding: Duration,
    /// What it cost.
    pub usage: chat::Usage,
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}

impl Metrics {
    /// All counters at zero.
    ///
    /// # Panics
    ///
    /// Never: the names below are valid and different.
    #[must_use]
    pub fn new() -> Self {
        let registry = Registry::new();
        let made = Making(&registry);
        Self {
            requests: made.counter("scribe_request_count", "Requests for a completion."),
            successes: made.counter("scribe_request_success", "Completions that were completed."),
            failures: made.counters(
                "scribe_request_failure",
                "Requests that were refused or failed, by error code.",
                "err",
            ),
            cancelled: made.counters(
                "scribe_request_cancelled",
                "Requests whose client left, by where they were.",
                "where",
            ),
            answers: made.counters("scribe_http_answers", "HTTP answers, by status.", "status"),
            duration: made.histogram("scribe_request_duration", "Whole time.", &SECONDS),
            queue_duration: made.histogram(
                "scribe_request_queue_duration",
                "Time until a slot was free.",
                &SECONDS,
            ),
            first_token_duration: made.histogram(
                "scribe_request_time_to_first_token_duration",
                "Time from submission to the first text.",
                &SECONDS,
            ),
            token_duration: made.histogram(
                "scribe_request_mean_time_per_token_duration",
                "Time for each token after the first text, mean of a request.",
                &SECONDS,
            ),
            generated_tokens: made.histogram(
                "scribe_request_generated_tokens",
                "Tokens of a completion.",
                &TOKENS,
            ),
            prompt_tokens: made.counter("scribe_prompt_tokens", "Tokens of all prompts."),
            cached_tokens: made.counter(
                "scribe_prefix_cache_hit_tokens",
                "Tokens of prompts that were in the prefix cache.",
            ),
            queue_size: made.gauge("scribe_queue_size", "Requests that wait for a slot."),
            batch_size: made.gauge("scribe_batch_current_size", "Requests that have a slot."),
            connections: made.gauge("scribe_connections", "Open connections."),
            stalls: made.counter(
                "scribe_connections_stalled",
                "Connections cut because the client did not read its answer.",
            ),
            restarts: made
                .gauge("scribe_engine_restarts", "Restarts of the engine after a failure."),
            model_changes: made.gauge(
                "scribe_model_changes",
                "How often another model took the place of the one that answered.",
            ),
            model_outdated: made.gauge(
                "scribe_model_outdated",
                "1 while a model that should answer could not be taken up.",
            ),
            registry,
        }
    }

    /// A request for a completion was submitted.
    pub fn submitted(&self) {
        self.requests.inc();
    }

    /// A request was refused or failed.
    pub fn failed(&self, code: &str) {
        self.failures.with_label_values(&[code]).inc();
    }

    /// A request's client left.
    pub fn cancelled(&self, place: Place) {
        let place = match place {
            Place::Queue => "queue",
            Place::Prefill => "prefill",
            Place::Decode => "decode",
        };
        self.cancelled.with_label_values(&[place]).inc();
    }

    /// A client did not read its answer for too long.
    pub fn stalled(&self) {
        self.stalls.inc();
    }

    /// A request got its slot.
    pub fn admitted(&self, waited: Duration) {
        self.queue_duration.observe(waited.as_secs_f64());
    }

    /// A request's first text came.
    pub fn first_text(&self, waited: Duration) {
        self.first_token_duration.observe(waited.as_secs_f64());
    }

    /// A request was completed.
    #[expect(clippy::cast_precision_loss, reason = "token counts are small")]
    pub fn completed(&self, took: &Took) {
        let tokens = took.usage.completion_tokens;
        self.successes.inc();
        self.duration.observe(took.total.as_secs_f64());
        self.generated_tokens.observe(tokens as f64);
        self.prompt_tokens.inc_by(took.usage.prompt_tokens as u64);
        self.cached_tokens.inc_by(took.usage.cached_tokens as u64);
        if tokens > 1 {
            self.token_duration.observe(took.decoding.as_secs_f64() / (tokens - 1) as f64);
        }
    }

    /// An HTTP answer was given.
    pub fn answered(&self, status: u16) {
        self.answers.with_label_values(&[status.to_string()]).inc();
    }

    /// A connection was opened.
    pub fn connected(&self) {
        self.connections.inc();
    }

    /// A connection was closed.
    pub fn disconnected(&self) {
        self.connections.dec();
    }

    /// Everything as text, with the queues of `state` as they are now.
    #[must_use]
    pub fn text(&self, state: &AppState) -> String {
        let (mut waiting, mut live, mut restarts) = (0, 0, 0);
        for model in state.all_models() {
            let stats = model.generator.stats();
            waiting += stats.waiting;
            live += stats.live;
            restarts += stats.restarts;
        }
        self.queue_size.set(i64::try_from(waiting).unwrap_or(i64::MAX));
        self.batch_size.set(i64::try_from(live).unwrap_or(i64::MAX));
        self.restarts.set(i64::try_from(restarts).unwrap_or(i64::MAX));
        self.model_changes.set(i64::try_from(state.changes()).unwrap_or(i64::MAX));
        self.model_outdated.set(state.is_outdated().into());
        let mut text = Vec::new();
        if let Err(error) = TextEncoder::new().encode(&self.registry.gather(), &mut text) {
            tracing::error!(%error, "the metrics could not be written as text");
        }
        String::from_utf8_lossy(&text).into_owned()
    }
}

/// Makes metrics and registers them; names are constants, so a failure is a defect of this file.
struct Making<'a>(&'a Registry);

impl Making<'_> {
    fn registered<M: prometheus::core::Collector + Clone + 'static>(
        &self,
        metric: prometheus::Result<M>,
    ) -> M {
        let metric = metric.expect("the name of a metric is valid");
        self.0.register(Box::new(metric.clone())).expect("the name of a metric is used once");
        metric
    }

    fn counter(&self, name: &str, help: &str) -> IntCounter {
        self.registered(IntCounter::new(name, help))
    }

    fn counters(&self, name: &str, help: &str, label: &str) -> IntCounterVec {
        self.registered(IntCounterVec::new(Opts::new(name, help), &[label]))
    }

    fn gauge(&self, name: &str, help: &str) -> IntGauge {
        self.registered(IntGauge::new(name, help))
    }

    fn histogram(&self, name: &str, help: &str, buckets: &[f64]) -> Histogram {
        let options = HistogramOpts::new(name, help).buckets(buckets.to_vec());
        self.registered(Histogram::with_opts(options))
    }
}
