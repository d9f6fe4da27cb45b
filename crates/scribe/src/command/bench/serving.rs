//! The server as clients see it: an in-process server on loopback, and clients that stream answers.

use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use serde::Deserialize;
use serde_json::json;
use tokenizer::{Conversation, Message, RenderEnd, Role};

use super::super::progress::Progress;
use super::super::{Failure, Session, locate, models, plan, serve};
use super::{Latency, Size, Window};
use crate::config::{ChatFormatOption, EngineOptions};
use crate::loading::{Loaded, Weights};
use crate::web::{self, AppState, Shutdown};

/// Longest time that one answer may take.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(300);

/// What one client saw of one answer.
#[derive(Debug, Clone, Copy)]
struct Seen {
    tokens: u32,
    first: Duration,
}

/// The part of a streamed chunk that is looked at.
#[derive(Debug, Deserialize)]
struct Chunk {
    usage: Option<Usage>,
}

/// The part of `usage` that is looked at.
#[derive(Debug, Deserialize)]
struct Usage {
    completion_tokens: u32,
}

/// Tokens per second of all clients together in each repetition, and how long first tokens took.
pub(super) fn run(
    session: &mut Session,
    engine: &EngineOptions,
    format: ChatFormatOption,
    size: Size,
) -> Result<(Weights, Vec<f64>, Latency), Failure> {
    let located = locate::locate(session, engine)?;
    let outline = models::outline(&located, engine)?;
    let batch = outline.batch_options(engine, size.streams)?;
    let native = outline.model.config().context_tokens;
    let window = Window { tokens: batch.context_tokens, native };
    // What cannot fit after any prompt is refused before the weights are read.
    size.check(1, window)?;
    plan::check_memory(&mut session.terminal, &outline, &batch)?;
    let loaded = models::load_to_chat(session, outline, format)?;
    size.check(longest_prompt(&loaded, size)?, window)?;
    let weights = loaded.weights.clone();
    let served = serve::served_model(loaded, batch, size.streams, &[])?;
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
    let listener = runtime.block_on(tokio::net::TcpListener::bind("127.0.0.1:0"))?;
    let address = listener.local_addr()?;
    let state = AppState::new(vec![served], web::ServeOptions::new(address));
    let (trigger, shutdown) = Shutdown::manual();
    let server = runtime.spawn(web::serve(state, listener, shutdown));
    let mut progress = Progress::new(&mut session.terminal);
    progress.begin_tokens("answering", size.all_tokens());
    let measured = measure(address, size, |tokens| progress.advance(tokens));
    drop(progress);
    trigger.advance();
    trigger.advance();
    runtime.block_on(server)?;
    let (samples, latency) = measured?;
    Ok((weights, samples, latency))
}

/// `advance` hears how many tokens of all measurements are done.
fn measure(
    address: SocketAddr,
    size: Size,
    mut advance: impl FnMut(u64),
) -> Result<(Vec<f64>, Latency), Failure> {
    let mut samples = Vec::with_capacity(size.repetitions);
    let mut firsts = Vec::new();
    for repetition in 0..=size.repetitions {
        let start = Instant::now();
        let seen = std::thread::scope(|scope| {
            let clients: Vec<_> = (0..size.streams)
                .map(|client| {
                    scope.spawn(move || ask(address, &question(repetition, client), size.tokens))
                })
                .collect();
            clients.into_iter().map(|client| client.join()).collect::<Vec<_>>()
        });
        let seconds = start.elapsed().as_secs_f64();
        let mut tokens = 0;
        for answer in seen {
            let seen = answer.map_err(|_| anyhow::anyhow!("a client thread panicked"))??;
            tokens += seen.tokens;
            if repetition > 0 {
                firsts.push(seen.first.as_secs_f64());
            }
        }
        if repetition > 0 {
            samples.push(f64::from(tokens) / seconds);
        }
        advance((repetition as u64 + 1) * size.tokens as u64 * size.streams as u64);
    }
    firsts.sort_by(f64::total_cmp);
    let at = |percent: usize| firsts[(firsts.len() - 1) * percent / 100];
    let latency = Latency { first_token_seconds_median: at(50), first_token_seconds_p95: at(95) };
    Ok((samples, latency))
}

/// Other words each time, so that no prompt is in the cache from before.
fn question(repetition: usize, client: usize) -> String {
    format!("{repetition}.{client}: tell a story of the sea.")
}

/// Tokens of the longest question as the model reads it.
fn longest_prompt(loaded: &Loaded, size: Size) -> Result<usize, tokenizer::Error> {
    let mut numbers = (0..=size.repetitions).flat_map(|r| (0..size.streams).map(move |c| (r, c)));
    numbers.try_fold(0, |longest, (repetition, client)| {
        let messages = vec![Message::new(Role::User, question(repetition, client))];
        let conversation = Conversation { messages };
        let end = RenderEnd::GenerationPrompt;
        let rendered = conversation.render(&loaded.tokenizer, &loaded.format, end)?;
        Ok(rendered.tokens.len().max(longest))
    })
}

/// Asks one question and reads the streamed answer to its end.
fn ask(address: SocketAddr, question: &str, tokens: usize) -> Result<Seen, anyhow::Error> {
    let body = json!({
        "messages": [{"role": "user", "content": question}],
        "max_tokens": tokens,
        "temperature": 0,
        "stream": true,
        "stream_options": {"include_usage": true},
    });
    let agent = ureq::Agent::new_with_config(
        ureq::Agent::config_builder().timeout_global(Some(ANSWER_TIMEOUT)).proxy(None).build(),
    );
    let start = Instant::now();
    let response = agent
        .post(format!("http://{address}/v1/chat/completions"))
        .header("content-type", "application/json")
        .send(body.to_string())?;
    let mut seen = Seen { tokens: 0, first: Duration::ZERO };
    for line in BufReader::new(response.into_body().into_reader()).lines() {
        let line = line?;
        let Some(data) = line.strip_prefix("data: ").filter(|data| *data != "[DONE]") else {
            continue;
        };
        if seen.first.is_zero()
            && data.contains("\"content\"")
            && !data.contains("\"content\":\"\"")
        {
            seen.first = start.elapsed();
        }
        let chunk: Chunk = serde_json::from_str(data)?;
        if let Some(usage) = chunk.usage {
            seen.tokens = usage.completion_tokens;
        }
    }
    Ok(seen)
}
