//! `scribe corpus`: files and sets of text become a corpus of tokens, and what is in one.

mod source;

use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::thread;

use clap::{Args, Subcommand, ValueEnum};
use corpus::clean::CleanOptions;
use corpus::deduplicate::DeduplicateOptions;
use corpus::language::Language;
use corpus::shard::SHARD_TOKENS_MAX;
use corpus::sources::{BadRows, RowKind};
use corpus::{BuildOptions, Corpus, Error, Facts, Report, Source};
use serde::Serialize;
use tokenizer::Tokenizer;

use super::progress::Progress;
use super::{Exit, Failure, Session, tokenizer as tokenizers};
use crate::config::{THREADS_MAX, count, whole};
use crate::fetch::data::{Set, SetCatalogue, SetEntry, Sets};
use crate::loading;
use crate::terminal::bytes_for_people;

use source::{Place, SourceArgument, share};

/// What to do with a corpus.
#[derive(Debug, Subcommand)]
#[command(
    after_help = "Examples:\n  scribe corpus build book.txt --tokenizer tokenizer.json --out \
                        corpus\n  scribe corpus show corpus"
)]
pub enum CorpusCommand {
    /// Clean documents, drop duplicates, and write them as shards of tokens
    #[command(after_help = "Examples:\n  scribe corpus build book.txt --tokenizer tokenizer.json \
                            --out corpus\n  scribe corpus build wiki=texts/wiki@2 \
                            talk=talk.jsonl.zst@0.5 --language en --tokenizer tokenizer.json --out \
                            corpus\n  scribe corpus build set:sotu set:wiki-vital-en@3 --tokenizer tokenizer.json --out corpus\n  scribe corpus build answers.jsonl --kind conversation \
                            --tokenizer tokenizer.json --out corpus\n\nA source is written \
                            [NAME=]PATH[@WEIGHT]. The path is a file or a folder of .txt, .md and \
                            .jsonl files, which may end in .zst, too, or set:NAME for one of \
                            `scribe corpus sets`, which is fetched once. The weight says how often \
                            each document is taken: 2 is twice, 0.5 takes half of them. Files of \
                            conversations hold one a line, as {\"messages\": [{\"role\": \
                            \"user\", \"content\": \"…\"}, …]}. The same sources, options and \
                            tokenizer give the same bytes.")]
    Build(BuildArguments),
    /// List the sets of free texts that can be named as set:NAME
    #[command(after_help = "Examples:\n  scribe corpus sets\n  scribe corpus sets --json")]
    Sets,
    /// Show what is in a corpus, and what was dropped and why
    #[command(after_help = "Examples:\n  scribe corpus show corpus\n  scribe corpus show corpus \
                            --verify --json")]
    Show(ShowArguments),
}

/// What to build, and from what.
#[derive(Debug, Args)]
pub struct BuildArguments {
    /// Where documents come from; of duplicates the first is kept
    #[arg(required = true, value_name = "SOURCE")]
    sources: Vec<SourceArgument>,

    /// A tokenizer.json, or the model whose tokenizer is used: a .gguf file or a Hugging Face
    /// folder
    #[arg(long, value_name = "FILE")]
    tokenizer: PathBuf,

    /// The folder to write; it must not be there yet
    #[arg(short, long, value_name = "DIR")]
    out: PathBuf,

    /// What the rows of the sources are
    #[arg(long, value_enum, value_name = "KIND", default_value_t = Kind::Text)]
    kind: Kind,

    /// The column of .jsonl files that holds the text
    #[arg(long, value_name = "NAME", default_value = "text")]
    column: String,

    /// The share of documents that is kept apart to measure on
    #[arg(long, value_name = "SHARE", value_parser = share, default_value = "0.01")]
    validation: u32,

    /// Keep only texts in this language, by a guess; may be given several times
    #[arg(long = "language", value_enum, value_name = "LANGUAGE", value_delimiter = ',')]
    languages: Vec<LanguageName>,

    /// Drop texts of fewer characters
    #[arg(long, value_name = "N", value_parser = whole::<usize>, default_value = "32")]
    min_characters: usize,

    /// Keep duplicates and near duplicates
    #[arg(long)]
    no_deduplicate: bool,

    /// Stop at the first bad row instead of counting it
    #[arg(long)]
    strict: bool,

    /// Most tokens of a file of the corpus
    #[arg(long, value_name = "N", value_parser = count::<SHARD_TOKENS_MAX>,
          default_value = "16777216")]
    shard_tokens: NonZeroUsize,

    /// Threads that clean and encode; their number changes nothing [default: one per core]
    #[arg(long, env = "SCRIBE_THREADS", value_name = "N", hide_env_values = true,
          value_parser = count::<THREADS_MAX>)]
    threads: Option<NonZeroUsize>,
}

/// What the rows of a source are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum Kind {
    /// Texts to be continued
    Text,
    /// Conversations whose answers are to be learned
    Conversation,
}

/// A language that can be asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum LanguageName {
    /// English
    En,
    /// French
    Fr,
}

/// What to show.
#[derive(Debug, Args)]
pub struct ShowArguments {
    /// The folder that `scribe corpus build` wrote
    folder: PathBuf,

    /// Check every byte against the digests in its manifest
    #[arg(long)]
    verify: bool,
}

/// `scribe corpus build --json`, `scribe corpus show --json`.
#[derive(Debug, Serialize)]
struct CorpusReport<'a> {
    schema: &'static str,
    folder: &'a Path,
    facts: &'a Facts,
    report: &'a Report,
}

/// `scribe corpus sets --json`.
#[derive(Debug, Serialize)]
struct SetsReport {
    schema: &'static str,
    sets: Vec<SetRow>,
}

/// One set of them.
#[derive(Debug, Serialize)]
struct SetRow {
    name: String,
    title: String,
    /// What is fetched.
    bytes: u64,
    license: String,
    attribution: String,
    homepage: String,
    state: SetState,
}

/// Whether a set is here.
#[derive(Debug, Clone, Copy, Serialize)]
#[serde(rename_all = "snake_case")]
enum SetState {
    Here,
    CanBeFetched,
    Damaged,
}

/// Does it.
pub(super) fn run(session: &mut Session, command: CorpusCommand) -> Result<(), Failure> {
    match command {
        CorpusCommand::Build(arguments) => build(session, &arguments),
        CorpusCommand::Sets => list_sets(session),
        CorpusCommand::Show(arguments) => show(session, &arguments),
    }
}

impl BuildArguments {
    fn options(&self, sources: Vec<Source>) -> BuildOptions {
        let cores = || thread::available_parallelism().unwrap_or(NonZeroUsize::MIN);
        let languages = self.languages.iter().map(|language| match language {
            LanguageName::En => Language::English,
            LanguageName::Fr => Language::French,
        });
        BuildOptions {
            clean: CleanOptions { characters_min: self.min_characters },
            languages: languages.collect(),
            deduplicate: match self.no_deduplicate {
                true => DeduplicateOptions::off(),
                false => DeduplicateOptions::default(),
            },
            validation_ppm: self.validation,
            shard_tokens: self.shard_tokens.get(),
            bad_rows: if self.strict { BadRows::Refused } else { BadRows::Counted },
            threads: self.threads.unwrap_or_else(cores),
            ..BuildOptions::new(sources)
        }
    }

    /// The source that is meant; a set is fetched where it is not here.
    fn source(&self, session: &mut Session, source: &SourceArgument) -> Result<Source, Failure> {
        let SourceArgument { name, place, weight } = source.clone();
        let path = match place {
            Place::Path(path) => path,
            Place::Set(set) => {
                let set = open_set(session, &set)?;
                return Ok(Source { name, weight, ..set.source() });
            }
        };
        let kind = match self.kind {
            Kind::Text => RowKind::Text,
            Kind::Conversation => RowKind::Conversation,
        };
        let column = self.column.clone();
        Ok(Source { kind, column, weight, ..Source::text(name, path) })
    }
}

fn build(session: &mut Session, arguments: &BuildArguments) -> Result<(), Failure> {
    // What is wrong with the output shows before the work is done.
    let above = arguments.out.parent().filter(|folder| *folder != Path::new(""));
    if let Some(folder) = above.filter(|folder| !folder.is_dir()) {
        return Err(Failure::not_found(
            format!("there is no folder `{}`", folder.display()),
            "make it, or name another --out",
        ));
    }
    let tokenizer = read_tokenizer(&arguments.tokenizer)?;
    let sources = arguments.sources.iter().map(|source| arguments.source(session, source));
    let options = arguments.options(sources.collect::<Result<_, _>>()?);
    let report = encode(session, &options, &tokenizer, &arguments.out)
        .map_err(|error| cannot_build(error, arguments))?;
    let corpus = Corpus::open(&arguments.out)?;
    let has_texts = options.sources.iter().any(|source| source.kind == RowKind::Text);
    if has_texts && corpus.facts().end_of_text.is_none() {
        session.terminal.warn(
            "the tokenizer has no token that ends a text, so texts follow each other without a \
             mark; train it with --special \"<|endoftext|>\" to have one",
        );
    }
    let schema = "scribe.corpus.build/1";
    tell(
        session,
        CorpusReport { schema, folder: &arguments.out, facts: corpus.facts(), report: &report },
    )
}

/// The set of texts that is known by this name, fetched first if it is not here, showing progress.
pub(super) fn open_set(session: &mut Session, name: &str) -> Result<Set, Failure> {
    let sets = sets(session)?;
    let offline = session.global.offline;
    let is_new = sets.find(name)?.is_none();
    let mut progress = Progress::new(&mut session.terminal);
    let set = sets.open(name, offline, &mut |event| progress.show(event))?;
    drop(progress);
    if is_new {
        let (license, path) = (&set.facts.license, set.license_path());
        session.terminal.note(format_args!(
            "{name} is under {license}; whom to name stands in {}",
            path.display()
        ));
    }
    Ok(set)
}

fn sets(session: &Session) -> Result<Sets, Failure> {
    Ok(Sets::new(&session.global.data_folder()?, SetCatalogue::embedded()?))
}

fn list_sets(session: &mut Session) -> Result<(), Failure> {
    let sets = sets(session)?;
    let row = |entry: &SetEntry| SetRow {
        name: entry.name.clone(),
        title: entry.title.clone(),
        bytes: entry.wheel.bytes,
        license: entry.license.clone(),
        attribution: entry.attribution.clone(),
        homepage: entry.homepage.clone(),
        state: match sets.find(&entry.name) {
            Ok(Some(_)) => SetState::Here,
            Ok(None) => SetState::CanBeFetched,
            Err(_) => SetState::Damaged,
        },
    };
    let rows: Vec<SetRow> = sets.catalogue().sets.iter().map(row).collect();
    let terminal = &mut session.terminal;
    if terminal.wants_json() {
        terminal.json(&SetsReport { schema: "scribe.corpus.sets/1", sets: rows })?;
        return Ok(());
    }
    let cells = |row: SetRow| {
        let state = match row.state {
            SetState::Here => "here",
            SetState::CanBeFetched => "can be fetched",
            SetState::Damaged => "damaged",
        };
        vec![row.name, bytes_for_people(row.bytes), row.license, state.to_owned(), row.title]
    };
    let rows: Vec<Vec<String>> = rows.into_iter().map(cells).collect();
    terminal.table(&["NAME", "DOWNLOAD", "LICENSE", "STATE", "WHAT"], &rows)?;
    Ok(())
}

/// Builds the corpus, showing how many tokens there are so far and how fast they come.
fn encode(
    session: &mut Session,
    options: &BuildOptions,
    tokenizer: &Tokenizer,
    out: &Path,
) -> Result<Report, Error> {
    let mut progress = Progress::new(&mut session.terminal);
    let mut source = None;
    Corpus::build(options, tokenizer, out, &mut |state| {
        if source.as_deref() != Some(state.source) {
            let label = format!("encoding {}", artifacts::shown(state.source));
            progress.begin_open_tokens(label, state.tokens);
            source = Some(state.source.to_owned());
        }
        progress.advance(state.tokens);
    })
}

fn read_tokenizer(path: &Path) -> Result<Tokenizer, Failure> {
    if !path.is_dir() && path.extension().is_none_or(|ending| ending != "gguf") {
        return tokenizers::read_file(path);
    }
    let cannot = |error| Failure::from(error).context(format!("cannot use `{}`", path.display()));
    loading::read_tokenizer(path).map_err(cannot)
}

/// What went wrong, and which option would help where one does.
fn cannot_build(error: Error, arguments: &BuildArguments) -> Failure {
    let (exit, hint) = match &error {
        Error::Read { source, .. } if source.kind() == std::io::ErrorKind::NotFound => {
            (Exit::NotFound, None)
        }
        Error::Artifact(artifacts::Error::AlreadyThere { .. })
        | Error::UnknownKind { .. }
        | Error::Option { .. } => (Exit::Usage, None),
        Error::NoColumn { .. } => (Exit::Usage, Some("`--column NAME` names it")),
        Error::NoFiles { .. } if arguments.kind == Kind::Conversation => {
            (Exit::Usage, Some("only .jsonl files hold conversations"))
        }
        Error::BadRow { .. } => (Exit::Broken, Some("bad rows are counted without --strict")),
        Error::TooManyShards { .. } => (Exit::Broken, Some("give a larger --shard-tokens")),
        Error::Tokenizer(_) => {
            let message = format!(
                "the tokenizer `{}` has no special tokens that conversations are written with",
                arguments.tokenizer.display()
            );
            let hint = "take that of a chat model, or train one with --special \"<|im_start|>\" \
                        --special \"<|im_end|>\"";
            return Failure::usage(message, hint);
        }
        _ => (Exit::Broken, None),
    };
    Failure { exit, error: Some(error.into()), hint: hint.map(str::to_owned) }
}

fn show(session: &mut Session, arguments: &ShowArguments) -> Result<(), Failure> {
    let folder = &arguments.folder;
    if !folder.join(artifacts::folder::MANIFEST_FILE).exists() {
        return Err(Failure::not_found(
            format!("there is no corpus at `{}`", folder.display()),
            "name a folder that `scribe corpus build` wrote",
        ));
    }
    let corpus = if arguments.verify { verified(session, folder)? } else { Corpus::open(folder)? };
    let report = corpus.report()?;
    let schema = "scribe.corpus.show/1";
    tell(session, CorpusReport { schema, folder, facts: corpus.facts(), report: &report })
}

/// Opens a corpus after a look at every byte, showing progress.
fn verified(session: &mut Session, folder: &Path) -> Result<Corpus, Failure> {
    let sizes = std::fs::read_dir(folder)?.flatten().filter_map(|entry| entry.metadata().ok());
    let total = sizes.map(|metadata| metadata.len()).sum();
    let mut progress = Progress::new(&mut session.terminal);
    progress.begin("checking the corpus", 0, total);
    Ok(Corpus::verify(folder, |bytes| progress.advance(bytes))?)
}

fn tell(session: &mut Session, corpus: CorpusReport<'_>) -> Result<(), Failure> {
    let terminal = &mut session.terminal;
    if terminal.wants_json() {
        terminal.json(&corpus)?;
        return Ok(());
    }
    let Facts { vocabulary, tokenizer, end_of_text, .. } = corpus.facts;
    let end_of_text = end_of_text.map_or_else(|| "none".to_owned(), |token| token.to_string());
    terminal.line(format_args!("tokenizer    {vocabulary} tokens, digest {tokenizer}"))?;
    terminal.line(format_args!("end of text  {end_of_text}"))?;
    terminal.line(corpus.report.to_string().trim_end())?;
    Ok(())
}
