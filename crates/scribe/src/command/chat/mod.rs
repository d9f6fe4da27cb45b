//! `scribe chat`: talk with a model in the terminal.

mod commands;
mod repl;
mod turns;

use std::io::IsTerminal;

use ::chat::{Generator, GeneratorOptions};
use clap::Args;

use super::{Exit, Failure, Session, input, locate, models};
use crate::config::sampling::SamplingOptions;
use crate::config::{ChatFormatName, ChatFormatOption, EngineOptions, RunOptions};
use crate::loading::Writer;
use crate::random;
use turns::{Ended, Speaker, Talk};

/// Longest text that is read from standard input.
const STDIN_BYTES_MAX: u64 = 1 << 20;

/// What to say, and to whom.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  scribe chat\n  scribe chat -p \"Write a haiku about \
                        rust\"\n  scribe chat --run runs/tiny\n  cat notes.txt | scribe chat -p \"Summarize:\"\n  echo \"What is \
                        a token?\" | scribe chat --system \"Answer briefly\" --json\n\nA sampling value \
                        that no option gives is the model's own: from generation_config.json \
                        beside its weights, else from the catalogue, else one that changes \
                        nothing (temperature 1). The default model takes the most probable \
                        tokens, so that every seed gives the same answer; /retry draws at \
                        temperature 0.2, top-p 0.9 and a repetition penalty of 1.1, unless \
                        --temperature is given.")]
pub struct ChatOptions {
    /// Say TEXT, and after it what stands on standard input; print the answer and leave
    #[arg(short, long, value_name = "TEXT")]
    prompt: Option<String>,

    /// Instructions that go before everything else
    #[arg(long, env = "SCRIBE_SYSTEM", value_name = "TEXT", hide_env_values = true)]
    system: Option<String>,

    #[command(flatten)]
    sampling: SamplingOptions,

    #[command(flatten)]
    engine: EngineOptions,

    #[command(flatten)]
    run: RunOptions,

    #[command(flatten)]
    format: ChatFormatOption,
}

/// Talks until the person leaves, or says one thing.
pub(super) fn run(session: &mut Session, options: &ChatOptions) -> Result<(), Failure> {
    let piped = if std::io::stdin().is_terminal() {
        None
    } else {
        Some(input::read_stdin(STDIN_BYTES_MAX)?)
    };
    let once = match (&options.prompt, piped) {
        (Some(prompt), Some(text)) if !text.trim().is_empty() => {
            Some(format!("{prompt}\n\n{text}"))
        }
        (Some(prompt), _) => Some(prompt.clone()),
        (None, piped) => piped,
    };
    if once.as_deref().is_some_and(|text| text.trim().is_empty()) {
        return Err(Failure::usage(
            "there is nothing to answer",
            "give a text, as in -p \"Hello\"",
        ));
    }
    options.sampling.check()?;
    let located = locate::locate_any(session, &options.run, &options.engine)?;
    let only_writes = options.format.chat_format == ChatFormatName::Auto && located.only_writes();
    if only_writes && options.system.is_some() {
        return Err(Failure::usage(
            format!("{} has learned to write, not to follow instructions", located.name),
            "leave --system out, or teach it to answer with `scribe sft`",
        ));
    }
    let outline = models::outline(&located, &options.engine)?;
    let batch = outline.batch_options(&options.engine, 1)?;
    super::plan::check_memory(&mut session.terminal, &outline, &batch)?;
    let speaker = match only_writes {
        true => Speaker::writing(models::load(session, outline, Writer::load)?),
        false => Speaker::answering(models::load_to_chat(session, outline, options.format)?),
    };
    let sampling = options.sampling.over(&speaker.sampling, random::seed());
    sampling.check(speaker.model.config().vocab)?;
    let generator = Generator::start(
        speaker.model.clone(),
        speaker.tokenizer.clone(),
        GeneratorOptions { batch, queue: 1 },
    )?;
    session.terminal.detail(format_args!("{}, seed {}", located.name, sampling.seed));
    if only_writes {
        session.terminal.note(format_args!(
            "{} has learned to write, not to answer: it goes on with what you type; `scribe sft` \
             teaches it to answer",
            located.name
        ));
    }
    let mut talk = Talk::new(generator, speaker, sampling, options)?;
    match once {
        Some(text) => {
            talk.say(text.trim_end_matches('\n').to_owned());
            match talk.answer(&mut session.terminal)? {
                Ended::Whole => Ok(()),
                Ended::Interrupted => Err(Failure::silent(Exit::Interrupted)),
            }
        }
        None => repl::run(session, &mut talk),
    }
}
