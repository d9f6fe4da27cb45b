//! The conversation in the terminal: what was said, the next answer, and stopping it.

use std::pin::pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use ::chat::context::Overflow;
use ::chat::turn::{Prepared, Turn};
use ::chat::{Event, GenerationRequest, Generator, Sampling, StopReason, Usage};
use model::Model;
use serde::Serialize;
use tokenizer::{ChatFormat, Conversation, Message, Role, Tokenizer};

use super::super::Failure;
use super::ChatOptions;
use crate::config::sampling::another;
use crate::loading::{Loaded, Writer};
use crate::terminal::Terminal;

/// Most tokens that a text is gone on with, where nobody says: it has no end of its own.
const WRITTEN_TOKENS: usize = 100;

/// A conversation and the model that continues it.
#[derive(Debug)]
pub(super) struct Talk {
    generator: Generator,
    tokenizer: Tokenizer,
    /// How a conversation is written; `None` where what is typed is a text to go on with.
    format: Option<ChatFormat>,
    model: String,
    /// How first answers are drawn.
    first: Sampling,
    /// How other answers to the same question are drawn.
    other: Sampling,
    seed: u64,
    /// Whether the last message was answered before.
    again: bool,
    max_tokens: Option<usize>,
    conversation: Conversation,
    runtime: tokio::runtime::Runtime,
}

/// The model that speaks.
#[derive(Debug)]
pub(super) struct Speaker {
    pub(super) name: String,
    pub(super) model: Arc<Model>,
    pub(super) tokenizer: Tokenizer,
    pub(super) sampling: Sampling,
    /// `None` for a model that goes on with a text.
    pub(super) format: Option<ChatFormat>,
}

impl Speaker {
    /// A model that answers.
    pub(super) fn answering(loaded: Loaded) -> Self {
        let Loaded { weights, tokenizer, format, sampling, template_passed_over: _ } = loaded;
        let (name, model) = (weights.name, weights.model);
        Self { name, model, tokenizer, sampling, format: Some(format) }
    }

    /// A model that goes on with a text.
    pub(super) fn writing(writer: Writer) -> Self {
        let Writer { weights, tokenizer, sampling } = writer;
        let (name, model) = (weights.name, weights.model);
        Self { name, model, tokenizer, sampling, format: None }
    }
}

/// How an answer ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ended {
    /// By itself.
    Whole,
    /// By Ctrl-C; what was shown is kept.
    Interrupted,
}

/// `scribe chat --json`: one line for each answer.
#[derive(Debug, Serialize)]
struct Report<'a> {
    schema: &'static str,
    model: &'a str,
    answer: &'a str,
    stop_reason: &'static str,
    prompt_tokens: usize,
    cached_tokens: usize,
    completion_tokens: usize,
    first_token_seconds: f64,
    tokens_per_second: f64,
    seed: u64,
}

/// An answer as far as it has come.
#[derive(Debug)]
struct Answer {
    text: String,
    tokens: Vec<u32>,
    usage: Usage,
    reason: Option<StopReason>,
    start: Instant,
    first: Option<Duration>,
}

impl Talk {
    /// A conversation that begins with the system message, if there is one. `sampling` is what the
    /// options and the model's advice give together.
    pub(super) fn new(
        generator: Generator,
        speaker: Speaker,
        sampling: Sampling,
        options: &ChatOptions,
    ) -> Result<Self, Failure> {
        let other = match options.sampling.temperature {
            Some(_) => sampling.clone(),
            None => options.sampling.over(&another(&sampling), sampling.seed),
        };
        let mut talk = Self {
            generator,
            tokenizer: speaker.tokenizer,
            format: speaker.format,
            model: speaker.name,
            seed: sampling.seed,
            other,
            first: sampling,
            again: false,
            max_tokens: options.sampling.max_tokens,
            conversation: Conversation::default(),
            runtime: tokio::runtime::Builder::new_current_thread().enable_all().build()?,
        };
        if let Some(system) = &options.system {
            talk.set_system(system);
        }
        Ok(talk)
    }

    /// Adds what the person says.
    pub(super) fn say(&mut self, text: String) {
        self.again = false;
        self.conversation.messages.push(Message::new(Role::User, text));
    }

    /// Forgets everything but the system message.
    pub(super) fn forget(&mut self) {
        self.conversation.messages.retain(|message| message.role == Role::System);
    }

    /// Sets the instructions that go before everything else; an empty text takes them away.
    pub(super) fn set_system(&mut self, text: &str) {
        self.conversation.messages.retain(|message| message.role != Role::System);
        if !text.is_empty() {
            self.conversation.messages.insert(0, Message::new(Role::System, text));
        }
    }

    /// Takes the last answer back, so that another one can be drawn; `false` if there is none.
    pub(super) fn take_back(&mut self) -> bool {
        let Some(last) = self.conversation.messages.last() else { return false };
        match last.role {
            Role::Assistant => {
                self.conversation.messages.pop();
                self.again = true;
                // The same seed would draw the same answer.
                self.seed = self.seed.wrapping_add(1);
                true
            }
            // An answer that failed left the question behind.
            role => role == Role::User,
        }
    }

    /// Whether what is typed is answered, and not gone on with.
    pub(super) fn answers(&self) -> bool {
        self.format.is_some()
    }

    /// The name of the model.
    pub(super) fn model(&self) -> &str {
        &self.model
    }

    /// What was said so far.
    pub(super) fn messages(&self) -> &[Message] {
        &self.conversation.messages
    }

    /// Lets the model answer, shows the answer while it comes, and keeps it. A question that is
    /// refused is forgotten: it would be refused again, with all that comes after it.
    pub(super) fn answer(&mut self, terminal: &mut Terminal) -> Result<Ended, Failure> {
        let prepared = self.prepare()?;
        if prepared.dropped_messages > 0 {
            terminal.note(format_args!(
                "the oldest {} messages no longer fit and were left out",
                prepared.dropped_messages
            ));
        }
        let mut stream = self.generator.submit(prepared.request)?;
        let mut answer = Answer::new();
        let ended = self.runtime.block_on(async {
            // One for the whole answer: it also hears what comes while a piece is being shown.
            let mut interrupt = pin!(tokio::signal::ctrl_c());
            loop {
                let event = tokio::select! {
                    event = stream.next() => event,
                    _ = &mut interrupt => return Ok(Ended::Interrupted),
                };
                match event {
                    Some(event) => answer.take(event, terminal)?,
                    None if answer.reason.is_some() => return Ok(Ended::Whole),
                    None => {
                        let reason = "it ended unheard".into();
                        return Err(failed(&::chat::Error::EngineFailed { reason }));
                    }
                }
            }
        });
        // Dropping the stream frees the slot of an interrupted answer.
        drop(stream);
        if !answer.text.is_empty() {
            let message = Message::sampled(answer.text.clone(), answer.tokens.clone());
            self.conversation.messages.push(message);
        }
        if terminal.wants_json() {
            let report = answer.report(&self.model, self.seed);
            terminal.json_line(&report)?;
        } else {
            terminal.piece("\n")?;
            terminal.detail(answer.speed());
        }
        ended
    }

    /// The conversation in tokens, without the last question where that is refused.
    fn prepare(&mut self) -> Result<Prepared, Failure> {
        let sampling = if self.again { &self.other } else { &self.first };
        let sampling = Sampling { seed: self.seed, ..sampling.clone() };
        let Some(format) = &self.format else { return Ok(self.prepare_text(sampling)) };
        let turn = Turn {
            conversation: self.conversation.clone(),
            overflow: Overflow::DropOldest,
            max_tokens: self.max_tokens,
            sampling,
            ..Turn::default()
        };
        let context_tokens = self.generator.context_tokens();
        turn.prepare(&self.tokenizer, format, context_tokens).map_err(|error| {
            self.conversation.messages.pop_if(|last| last.role == Role::User);
            error.into()
        })
    }

    /// The last text in tokens, as a beginning to go on with. Of a long one the model sees the end.
    fn prepare_text(&self, sampling: Sampling) -> Prepared {
        let text = self.conversation.messages.last().map_or("", |last| last.content.as_str());
        let mut prompt: Vec<u32> = self.tokenizer.beginning_of_text().into_iter().collect();
        prompt.extend(self.tokenizer.encode(text));
        let most = (self.generator.context_tokens() / 2).max(1);
        let prompt = prompt.split_off(prompt.len().saturating_sub(most));
        let max_tokens = Some(self.max_tokens.unwrap_or(WRITTEN_TOKENS));
        let request = GenerationRequest { prompt, max_tokens, sampling, ..Default::default() };
        Prepared { request, dropped_messages: 0 }
    }
}

impl Answer {
    fn new() -> Self {
        Self {
            text: String::new(),
            tokens: Vec::new(),
            usage: Usage::default(),
            reason: None,
            start: Instant::now(),
            first: None,
        }
    }

    fn take(&mut self, event: Event, terminal: &mut Terminal) -> Result<(), Failure> {
        match event {
            Event::Started { prompt_tokens, cached_tokens, .. } => {
                self.usage.prompt_tokens = prompt_tokens;
                self.usage.cached_tokens = cached_tokens;
            }
            Event::Text { text, tokens } => {
                self.first.get_or_insert_with(|| self.start.elapsed());
                if !terminal.wants_json() {
                    terminal.piece(&text)?;
                }
                self.text.push_str(&text);
                self.tokens.extend(tokens.iter().map(|info| info.token));
                self.usage.completion_tokens = self.tokens.len();
            }
            Event::Done { stop_reason, usage, tokens } => {
                self.reason = Some(stop_reason);
                self.usage = usage;
                self.tokens = tokens;
            }
            Event::Failed(error) => return Err(failed(&error)),
            _ => {}
        }
        Ok(())
    }

    /// Tokens after the first one, by the time after the first one.
    fn tokens_per_second(&self) -> f64 {
        let first = self.first.unwrap_or_default();
        let seconds = self.start.elapsed().saturating_sub(first).as_secs_f64();
        let tokens = u32::try_from(self.usage.completion_tokens.saturating_sub(1)).unwrap_or(0);
        if seconds > 0.0 { f64::from(tokens) / seconds } else { 0.0 }
    }

    fn speed(&self) -> String {
        format!(
            "{} prompt tokens ({} cached), first token after {:.2} s; {} tokens, {:.1} tokens/s",
            self.usage.prompt_tokens,
            self.usage.cached_tokens,
            self.first.unwrap_or_default().as_secs_f64(),
            self.usage.completion_tokens,
            self.tokens_per_second()
        )
    }

    fn report<'a>(&'a self, model: &'a str, seed: u64) -> Report<'a> {
        Report {
            schema: "scribe.chat/1",
            model,
            answer: &self.text,
            stop_reason: match self.reason {
                Some(StopReason::EndOfTurn) => "end_of_turn",
                Some(StopReason::Length) => "length",
                Some(StopReason::Stopped) | None => "stopped",
            },
            prompt_tokens: self.usage.prompt_tokens,
            cached_tokens: self.usage.cached_tokens,
            completion_tokens: self.usage.completion_tokens,
            first_token_seconds: self.first.unwrap_or_default().as_secs_f64(),
            tokens_per_second: self.tokens_per_second(),
            seed,
        }
    }
}

/// The failure of an answer; here nobody but the person is told what the engine said.
fn failed(error: &::chat::Error) -> Failure {
    match error {
        ::chat::Error::EngineFailed { reason } | ::chat::Error::EngineGone { reason } => {
            anyhow::Error::msg(reason.to_string()).context(error.to_string()).into()
        }
        other => anyhow::Error::msg(other.to_string()).into(),
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use ::chat::GeneratorOptions;
    use clap::Parser as _;

    use super::*;
    use crate::command::{Cli, Command};
    use crate::loading::{Located, Outline, SamplingDefaults};

    /// The tiny model's talk on a command line.
    fn talk(line: &[&str]) -> Talk {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fixtures/tiny-chat.gguf");
        let Some(Command::Chat(options)) = Cli::parse_from(line).command else { panic!("chat") };
        let sampling = SamplingDefaults::default();
        let located = Located {
            name: "tiny".to_owned(),
            path,
            adapter: None,
            sampling,
            sha256: None,
            only_pretrained: false,
        };
        let outline = Outline::read(&located, &options.engine).unwrap();
        let batch = outline.batch_options(&options.engine, 1).unwrap();
        let loaded = Loaded::load(outline, options.format.chat_format, &mut |_, _| ()).unwrap();
        let (model, tokenizer) = (loaded.weights.model.clone(), loaded.tokenizer.clone());
        let queue = GeneratorOptions { batch, queue: 1 };
        let generator = Generator::start(model, tokenizer, queue).unwrap();
        let sampling = options.sampling.over(&Sampling::greedy(), 5);
        Talk::new(generator, Speaker::answering(loaded), sampling, &options).unwrap()
    }

    #[test]
    fn another_answer_is_drawn_as_the_options_say_where_they_name_a_temperature() {
        let silent = talk(&["scribe", "chat", "--top-p", "0.5"]);
        assert_eq!(silent.other, Sampling { top_p: 0.5, ..another(&silent.first) });
        for temperature in ["0", "0.8"] {
            let told = talk(&["scribe", "chat", "--temperature", temperature]);
            assert_eq!(told.other, told.first);
        }
    }

    #[test]
    fn a_question_that_is_too_long_does_not_block_the_next_one() {
        let mut talk = talk(&["scribe", "chat", "--max-tokens", "2", "--context-tokens", "128"]);
        let mut terminal = Terminal::silent();
        talk.say("far too long ".repeat(200));
        let refused = talk.answer(&mut terminal).unwrap_err();
        assert!(refused.error.unwrap().to_string().contains("shorten the messages"));
        assert!(talk.messages().is_empty() && !talk.take_back());
        talk.say("Hi".to_owned());
        assert_eq!(talk.answer(&mut terminal).unwrap(), Ended::Whole);
        assert_eq!(talk.messages().len(), 2);
        // Another answer is drawn, where the first one was the most probable; the next is not.
        assert!(talk.take_back() && talk.again && talk.other.temperature > 0.0);
        assert_eq!(talk.answer(&mut terminal).unwrap(), Ended::Whole);
        talk.say("And?".to_owned());
        assert!(!talk.again && talk.first.temperature == 0.0);
    }
}
