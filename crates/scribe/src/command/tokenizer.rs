//! `scribe tokenizer`: training a tokenizer on text, and looking at what one does.

use std::io;
use std::num::{NonZeroU64, NonZeroUsize};
use std::path::{Path, PathBuf};
use std::thread;

use artifacts::disk::RealDisk;
use artifacts::folder;
use clap::{Args, Subcommand, ValueEnum};
use serde::Serialize;
use tokenizer::{Error, SplitRule, TRAINED_TOKENS_MAX, TrainOptions, Trained, Trainer};

use super::progress::Progress;
use super::{Failure, Session, input, locate, models};
use crate::config::{THREADS_MAX, count, positive};
use crate::loading;

/// Longest text that is read from standard input, in bytes.
const STDIN_BYTES_MAX: u64 = 64 << 20;

/// How many of the longest tokens are shown.
const LONGEST: usize = 5;

/// What to do with a tokenizer.
#[derive(Debug, Subcommand)]
#[command(after_help = "Examples:\n  scribe tokenizer train book.txt --vocabulary 4096 --output \
                        tokenizer.json\n  scribe tokenizer encode \"Hello\" --pieces")]
pub enum TokenizerCommand {
    /// Learn a vocabulary from text files
    #[command(after_help = "Examples:\n  scribe tokenizer train book.txt --vocabulary 4096 \
                            --output tokenizer.json\n  scribe tokenizer train a.txt b.txt \
                            --vocabulary 32768 --split llama3 --special \"<|im_start|>\" \
                            --special \"<|im_end|>\" --output tokenizer.json\n\nFiles are text in \
                            UTF-8. The output is a tokenizer.json as Hugging Face's tokenizers \
                            reads it.")]
    Train(TrainArguments),
    /// Print the tokens of a text
    #[command(after_help = "Examples:\n  scribe tokenizer encode \"Hello\" --tokenizer \
                            tokenizer.json\n  cat book.txt | scribe tokenizer encode --pieces")]
    Encode(EncodeArguments),
    /// Print the text of tokens
    #[command(after_help = "Examples:\n  scribe tokenizer decode 72 101 --tokenizer \
                            tokenizer.json\n  echo 72 101 | scribe tokenizer decode")]
    Decode(DecodeArguments),
    /// Show what is in a tokenizer.json
    #[command(after_help = "Examples:\n  scribe tokenizer show tokenizer.json")]
    Show(ShowArguments),
}

/// What to learn, and from what.
#[derive(Debug, Args)]
pub struct TrainArguments {
    /// Text files in UTF-8
    #[arg(required = true, value_name = "FILES")]
    files: Vec<PathBuf>,

    /// How many tokens there are to be: 256 for the bytes, the special ones, and those learned
    #[arg(long, value_name = "N", value_parser = count::<TRAINED_TOKENS_MAX>)]
    vocabulary: NonZeroUsize,

    /// The file to write; one that is there is replaced
    #[arg(short, long, value_name = "FILE")]
    output: PathBuf,

    /// A special token, such as <|endoftext|>; may be given several times
    #[arg(long = "special", value_name = "TOKEN")]
    special: Vec<String>,

    /// How often two tokens must stand together to become one
    #[arg(long, value_name = "N", value_parser = positive, default_value = "2")]
    min_frequency: NonZeroU64,

    /// How text is cut into words, as the tokenizers of these models do
    #[arg(long, value_enum, value_name = "RULE", default_value_t = SplitName::Gpt2)]
    split: SplitName,

    /// Threads that count words [default: one per core]
    #[arg(long, env = "SCRIBE_THREADS", value_name = "N", hide_env_values = true,
          value_parser = count::<THREADS_MAX>)]
    threads: Option<NonZeroUsize>,
}

/// The split rules that can be asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum SplitName {
    /// Letters, digits and signs apart, each with the space before it
    Gpt2,
    /// As gpt2, each digit alone
    Smollm,
    /// Three digits together, a sign with the letters after it
    Cl100k,
    /// As cl100k, but for white space at the end
    Llama3,
    /// As llama3, each digit alone
    Qwen2,
}

/// Whose tokens.
#[derive(Debug, Args)]
pub(super) struct Which {
    /// A tokenizer.json
    #[arg(long, value_name = "FILE")]
    tokenizer: Option<PathBuf>,

    /// Model whose tokenizer is used where no --tokenizer is given [default: the catalogue's
    /// default model]
    #[arg(short, long, env = "SCRIBE_MODEL", value_name = "NAME|PATH", hide_env_values = true)]
    model: Option<String>,
}

/// What to encode.
#[derive(Debug, Args)]
pub struct EncodeArguments {
    /// The text [default: what is on standard input]
    text: Option<String>,

    /// Print each token with its text
    #[arg(long)]
    pieces: bool,

    #[command(flatten)]
    which: Which,
}

/// What to decode.
#[derive(Debug, Args)]
pub struct DecodeArguments {
    /// The numbers of the tokens [default: those on standard input]
    tokens: Vec<u32>,

    #[command(flatten)]
    which: Which,
}

/// What to show.
#[derive(Debug, Args)]
pub struct ShowArguments {
    /// The tokenizer.json
    file: PathBuf,
}

/// `scribe tokenizer train --json`.
#[derive(Debug, Serialize)]
struct TrainReport<'a> {
    schema: &'static str,
    output: &'a Path,
    tokens: usize,
    tokens_asked: usize,
    merges: usize,
    special_tokens: &'a [String],
    split: &'static str,
    text_bytes: u64,
}

/// `scribe tokenizer encode --json`.
#[derive(Debug, Serialize)]
struct EncodeReport {
    schema: &'static str,
    tokens: Vec<Token>,
}

/// `scribe tokenizer decode --json`.
#[derive(Debug, Serialize)]
struct DecodeReport {
    schema: &'static str,
    text: String,
}

/// `scribe tokenizer show --json`.
#[derive(Debug, Serialize)]
struct ShowReport<'a> {
    schema: &'static str,
    file: &'a Path,
    tokens: usize,
    split: &'static str,
    special_tokens: Vec<Token>,
    longest: Vec<Token>,
}

/// A token and its text; where it is a part of a character, that is U+FFFD.
#[derive(Debug, Serialize)]
struct Token {
    token: u32,
    text: String,
}

/// Does it.
pub(super) fn run(session: &mut Session, command: TokenizerCommand) -> Result<(), Failure> {
    match command {
        TokenizerCommand::Train(arguments) => train(session, &arguments),
        TokenizerCommand::Encode(arguments) => encode(session, arguments),
        TokenizerCommand::Decode(arguments) => decode(session, arguments),
        TokenizerCommand::Show(arguments) => show(session, &arguments.file),
    }
}

impl SplitName {
    fn rule(self) -> SplitRule {
        match self {
            Self::Gpt2 => SplitRule::Gpt2,
            Self::Smollm => SplitRule::SmolLm,
            Self::Cl100k => SplitRule::Cl100k,
            Self::Llama3 => SplitRule::Llama3,
            Self::Qwen2 => SplitRule::Qwen2,
        }
    }
}

/// What a split rule is called on the command line.
fn split_name(rule: SplitRule) -> &'static str {
    match rule {
        SplitRule::Gpt2 => "gpt2",
        SplitRule::SmolLm => "smollm",
        SplitRule::Cl100k => "cl100k",
        SplitRule::Llama3 => "llama3",
        SplitRule::Qwen2 => "qwen2",
        _ => "another",
    }
}

impl Token {
    fn new(tokenizer: &tokenizer::Tokenizer, token: u32) -> Self {
        Self { token, text: tokenizer.token_text(token) }
    }
}

fn train(session: &mut Session, arguments: &TrainArguments) -> Result<(), Failure> {
    let cores = || thread::available_parallelism().unwrap_or(NonZeroUsize::MIN);
    let trainer = Trainer::new(TrainOptions {
        vocabulary: arguments.vocabulary.get(),
        min_frequency: arguments.min_frequency.get(),
        special_tokens: arguments.special.clone(),
        split: arguments.split.rule(),
        threads: arguments.threads.unwrap_or_else(cores),
    });
    let trainer = trainer.map_err(|error| Failure {
        hint: Some("see `scribe tokenizer train --help`".into()),
        ..Failure::usage(error.to_string(), "")
    })?;
    check_output(&arguments.output)?;
    check_other_than_inputs(arguments)?;
    let (trained, text_bytes) = learn(session, trainer, arguments)?;
    let json = trained.json();
    // No file lands that could not be read again.
    let tokens = tokenizer::Tokenizer::from_json(json.as_bytes())?.vocabulary_len();
    folder::land_bytes(&RealDisk, &arguments.output, json.as_bytes())?;
    let asked = arguments.vocabulary.get();
    if tokens < asked {
        session.terminal.warn(format_args!(
            "{tokens} tokens instead of {asked}: no other pair occurs {} times or more; give more \
             text, a smaller --vocabulary or a smaller --min-frequency",
            arguments.min_frequency
        ));
    }
    if session.terminal.wants_json() {
        session.terminal.json(&TrainReport {
            schema: "scribe.tokenizer.train/1",
            output: &arguments.output,
            tokens,
            tokens_asked: asked,
            merges: trained.merges().count(),
            special_tokens: &arguments.special,
            split: split_name(arguments.split.rule()),
            text_bytes,
        })?;
    } else {
        session.terminal.line(arguments.output.display())?;
    }
    Ok(())
}

/// Refuses an output in the place of a text that is learned from.
fn check_other_than_inputs(arguments: &TrainArguments) -> Result<(), Failure> {
    let Ok(output) = arguments.output.canonicalize() else { return Ok(()) };
    let is_output = |file: &&PathBuf| file.canonicalize().is_ok_and(|file| file == output);
    match arguments.files.iter().find(is_output) {
        None => Ok(()),
        Some(file) => Err(Failure::usage(
            format!("`{}` is a text to learn from and the --output, too", file.display()),
            "name another --output, such as tokenizer.json",
        )),
    }
}

/// Refuses an output that cannot be written, before the work is done.
fn check_output(output: &Path) -> Result<(), Failure> {
    if output.is_dir() {
        return Err(Failure::usage(
            format!("`{}` is a folder", output.display()),
            "name a file to write with --output, such as tokenizer.json",
        ));
    }
    let folder = output.parent().filter(|folder| *folder != Path::new(""));
    match folder.filter(|folder| !folder.is_dir()) {
        Some(folder) => Err(Failure::not_found(
            format!("there is no folder `{}`", folder.display()),
            "make it, or name another --output",
        )),
        None => Ok(()),
    }
}

/// Reads the files and learns, showing progress; returns how many bytes of text there were, too.
fn learn(
    session: &mut Session,
    mut trainer: Trainer,
    arguments: &TrainArguments,
) -> Result<(Trained, u64), Failure> {
    let bytes = |path: &PathBuf| std::fs::metadata(path).map_or(0, |metadata| metadata.len());
    let total = arguments.files.iter().map(bytes).sum();
    let mut progress = Progress::new(&mut session.terminal);
    progress.begin("reading text", 0, total);
    let mut done = 0;
    for path in &arguments.files {
        let mut read = 0;
        let fed = trainer.feed_file(path, &mut |bytes| {
            read = bytes;
            progress.advance(done + bytes);
        });
        fed.map_err(|error| cannot_read(error, "name files of text"))?;
        done += read;
    }
    progress.begin_tokens("learning tokens", arguments.vocabulary.get() as u64);
    let trained = trainer.train(&mut |tokens| progress.advance(tokens as u64))?;
    Ok((trained, done))
}

fn encode(session: &mut Session, arguments: EncodeArguments) -> Result<(), Failure> {
    let text = match arguments.text {
        Some(text) => text,
        None => input::read_stdin(STDIN_BYTES_MAX)?,
    };
    let tokenizer = arguments.which.read(session)?;
    let tokens = tokenizer.encode(&text);
    let terminal = &mut session.terminal;
    let pieces = || tokens.iter().map(|&token| Token::new(&tokenizer, token));
    if terminal.wants_json() {
        let schema = "scribe.tokenizer.encode/1";
        terminal.json(&EncodeReport { schema, tokens: pieces().collect() })?;
    } else if arguments.pieces {
        let row = |piece: Token| vec![piece.token.to_string(), format!("{:?}", piece.text)];
        terminal.table(&["TOKEN", "TEXT"], &pieces().map(row).collect::<Vec<_>>())?;
    } else {
        let numbers: Vec<String> = tokens.iter().map(u32::to_string).collect();
        terminal.line(numbers.join(" "))?;
    }
    Ok(())
}

fn decode(session: &mut Session, arguments: DecodeArguments) -> Result<(), Failure> {
    let tokens = if arguments.tokens.is_empty() {
        let refuse = |word: &str| {
            let message = format!("`{}` is no token", artifacts::shown(word));
            Failure::usage(message, "give whole numbers with spaces between")
        };
        let text = input::read_stdin(STDIN_BYTES_MAX)?;
        let numbers = text.split_whitespace().map(|word| word.parse().map_err(|_| refuse(word)));
        numbers.collect::<Result<Vec<u32>, _>>()?
    } else {
        arguments.tokens
    };
    let tokenizer = arguments.which.read(session)?;
    let all = tokenizer.vocabulary_len();
    if let Some(token) = tokens.iter().find(|&&token| token as usize >= all) {
        return Err(Failure::usage(
            format!("there is no token {token}: the vocabulary has {all}"),
            "name the tokenizer that made the tokens with --tokenizer or --model",
        ));
    }
    let text = tokenizer.decode(&tokens);
    if session.terminal.wants_json() {
        session.terminal.json(&DecodeReport { schema: "scribe.tokenizer.decode/1", text })?;
    } else {
        session.terminal.piece(&text)?;
        session.terminal.piece("\n")?;
    }
    Ok(())
}

fn show(session: &mut Session, file: &Path) -> Result<(), Failure> {
    let tokenizer = read_file(file)?;
    let last = u32::try_from(tokenizer.vocabulary_len()).unwrap_or(u32::MAX);
    let special = (0..last).filter(|&token| tokenizer.is_special(token));
    let special_tokens: Vec<Token> = special.map(|token| Token::new(&tokenizer, token)).collect();
    let mut by_length: Vec<u32> = (0..last).collect();
    // The sort is stable: of equals, the first ones.
    by_length.sort_by_key(|&token| std::cmp::Reverse(tokenizer.token_bytes(token).len()));
    by_length.truncate(LONGEST);
    let longest: Vec<Token> =
        by_length.into_iter().map(|token| Token::new(&tokenizer, token)).collect();
    let split = split_name(tokenizer.split_rule());
    let tokens = tokenizer.vocabulary_len();
    let terminal = &mut session.terminal;
    if terminal.wants_json() {
        let schema = "scribe.tokenizer.show/1";
        terminal.json(&ShowReport { schema, file, tokens, split, special_tokens, longest })?;
        return Ok(());
    }
    let list = |tokens: &[Token]| match tokens {
        [] => "none".to_owned(),
        tokens => {
            let texts: Vec<String> =
                tokens.iter().map(|token| format!("{} {:?}", token.token, token.text)).collect();
            texts.join(", ")
        }
    };
    terminal.line(format_args!("tokens   {tokens}"))?;
    terminal.line(format_args!("split    {split}"))?;
    terminal.line(format_args!("special  {}", list(&special_tokens)))?;
    terminal.line(format_args!("longest  {}", list(&longest)))?;
    Ok(())
}

impl Which {
    /// Reads the tokenizer; fetches its model where that is one of the catalogue.
    fn read(&self, session: &mut Session) -> Result<tokenizer::Tokenizer, Failure> {
        if let Some(path) = &self.tokenizer {
            return read_file(path);
        }
        let located = locate::locate_model(session, self.model.as_deref())?;
        let read = loading::read_tokenizer(located.tokenizer_path());
        read.map_err(|error| models::cannot_use(&located, error))
    }
}

/// Reads a tokenizer.json.
pub(super) fn read_file(path: &Path) -> Result<tokenizer::Tokenizer, Failure> {
    tokenizer::Tokenizer::from_file(path).map_err(|error| match &error {
        Error::Read { .. } => cannot_read(error, "name a tokenizer.json"),
        _ => Failure::from(error).context(format!("cannot use `{}`", path.display())),
    })
}

/// The failure to read a file; `hint` says what to name where there is none.
fn cannot_read(error: Error, hint: &str) -> Failure {
    match &error {
        Error::Read { source, .. } if source.kind() == io::ErrorKind::NotFound => {
            Failure::not_found(error.to_string(), hint)
        }
        _ => error.into(),
    }
}
