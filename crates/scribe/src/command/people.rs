//! What the commands of learning from people have in common: the run, the model that answers, and the
//! words in which it is asked.

use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};

use artifacts::disk::RealDisk;
use artifacts::folder;
use clap::Args;
use corpus::Prompts;
use corpus::sources::RowKind;
use engine::Dtype;
use tokenizer::{ChatFormat, Tokenizer};
use training::RunFolder;
use training::ppo::RolloutOptions;
use training::recipe::{AnyRecipe, CorpusRecipe, PpoRecipe};
use training::reward::Encoding;
use training::run_folder::ROUNDS_MAX;
use training::serving::Serving;

use super::models::cannot_use;
use super::{Failure, Session, locate, stage};
use crate::config::{AdapterArguments, DeviceArguments, EngineOptions, count};
use crate::export::Opened;
use crate::loading;
use crate::locale::Language;

/// Sequences that are decoded at once.
const SLOTS: usize = 32;

/// Which run and round.
#[derive(Debug, Args)]
pub(super) struct PeopleArguments {
    /// How it learns: a TOML file with the sections [reward], [ppo] and [prompts]
    pub(super) recipe: PathBuf,

    /// The folder of the run
    #[arg(long, value_name = "DIR")]
    pub(super) run: PathBuf,

    #[command(flatten)]
    pub(super) device: DeviceArguments,
}

/// Which round.
#[derive(Debug, Args)]
pub(super) struct RoundArgument {
    /// The round: rankings, a reward model and PPO once
    #[arg(long, value_name = "N", default_value = "1", value_parser = count::<ROUNDS_MAX>)]
    pub(super) round: NonZeroUsize,
}

/// In which language pages are.
#[derive(Debug, Clone, Copy, Args)]
pub(super) struct PagesArgument {
    /// The language of pages about it
    #[arg(
        long,
        env = "SCRIBE_LANGUAGE",
        value_enum,
        default_value_t,
        value_name = "LANGUAGE",
        hide_env_values = true
    )]
    pub(super) language: Language,
}

/// The run, and the model of it that was taught to answer.
#[derive(Debug)]
pub(super) struct Ground {
    pub(super) run: RunFolder,
    pub(super) recipe: AnyRecipe,
    /// Its last checkpoint; of an adapter, what it and its model are as one.
    pub(super) base: PathBuf,
    pub(super) tokenizer: Tokenizer,
    format: ChatFormat,
    context_tokens: usize,
}

impl Ground {
    /// Opens the run of a recipe whose model answers.
    pub(super) fn open(
        session: &mut Session,
        arguments: &PeopleArguments,
        device: &engine::Device,
    ) -> Result<Self, Failure> {
        let path = &arguments.recipe;
        let recipe = AnyRecipe::read(path).map_err(|error| stage::refused(path, error))?;
        let run = RunFolder::open(&arguments.run, &recipe.begin_toml())?;
        Self::of(session, recipe, run, device)
    }

    /// The run of a recipe whose model answers.
    pub(super) fn of(
        session: &mut Session,
        recipe: AnyRecipe,
        run: RunFolder,
        device: &engine::Device,
    ) -> Result<Self, Failure> {
        let taught = run.finished_fine_tuning(&recipe)?;
        let base = match taught.join("config.json").exists() {
            true => taught,
            false => merged(session, &run, &taught)?,
        };
        let tokenizer = loading::read_tokenizer(&base)?;
        let format = ChatFormat::detect(&tokenizer)?.format;
        let outline = model::Outline::read(device, &model::Source::detect(&base))?;
        let context_tokens = outline.config().context_tokens;
        Ok(Self { run, recipe, base, tokenizer, format, context_tokens })
    }

    /// What a round begins with: the last model that was promoted before it, or what the run was taught.
    pub(super) fn begin(&self, round: usize) -> Result<PathBuf, Failure> {
        let serving = Serving::read(self.run.path())?;
        let promoted = serving.before(round);
        Ok(promoted.map_or_else(|| self.base.clone(), |p| self.run.path().join(&p.checkpoint)))
    }

    /// The most tokens that the model attends to.
    pub(super) fn context_tokens(&self) -> usize {
        self.context_tokens
    }

    /// The tokenizer's folder.
    pub(super) fn tokenizer_folder(&self) -> PathBuf {
        self.run.fine_tuned_tokenizer()
    }

    /// What the model is asked, to learn from it and to be measured on it.
    pub(super) fn prompts(&self, session: &mut Session) -> Result<Prompts, Failure> {
        let mut read = |section: &CorpusRecipe| -> Result<Prompts, Failure> {
            let sources = stage::sources(session, section, RowKind::Conversation)?;
            Ok(Prompts::read(&sources, section.validation_ppm())?)
        };
        let prompts = read(self.recipe.prompts()?)?;
        Ok(match self.recipe.evaluation() {
            Some(section) => prompts.measured_on(read(section)?),
            None => prompts,
        })
    }

    /// How texts become tokens; a completion leaves room for a prompt.
    pub(super) fn encoding(&self, ppo: &PpoRecipe) -> Encoding<'_> {
        Encoding {
            tokenizer: &self.tokenizer,
            format: &self.format,
            completion_tokens: ppo.completion_tokens.min(self.context_tokens),
            context_tokens: self.context_tokens,
        }
    }

    /// How the model is sampled.
    pub(super) fn rollouts(&self, ppo: &PpoRecipe) -> RolloutOptions {
        RolloutOptions {
            temperature: ppo.temperature,
            completion_tokens: ppo.completion_tokens,
            stop_tokens: self.stop_tokens(),
            slots: SLOTS,
        }
    }

    /// Tokens that end an answer.
    pub(super) fn stop_tokens(&self) -> Vec<u32> {
        self.tokenizer.end_of_turn().to_vec()
    }
}

/// The model that was taught in an adapter, as one with it: whole weights, beside which other adapters
/// may lie. Written once.
fn merged(session: &mut Session, run: &RunFolder, taught: &Path) -> Result<PathBuf, Failure> {
    let out = run.merged();
    if out.exists() {
        folder::verify(&RealDisk, &out, |_| ())?;
        return Ok(out);
    }
    let located = locate::checkpoint_of(session, run.path(), taught.to_owned())?;
    session.terminal.note(format_args!(
        "the model of this run is an adapter: writing it and its model as one to {}",
        out.display()
    ));
    let opened = Opened::open(&located).map_err(|error| cannot_use(&located, error))?;
    opened.write_folder(&out, Dtype::F32, &mut |_, _| ())?;
    Ok(out)
}

/// The options that compute as training does.
pub(super) fn engine(device: &DeviceArguments) -> EngineOptions {
    EngineOptions {
        model: None,
        adapter: AdapterArguments { adapter: None, merge_adapter: false },
        device: device.clone(),
        context_tokens: None,
        cache_bytes: None,
    }
}

/// Sequences that are decoded at once.
pub(super) fn slots() -> usize {
    SLOTS
}

/// Makes the folder that something is to be left in.
pub(super) fn make_folder(path: &Path) -> Result<(), Failure> {
    Ok(std::fs::create_dir_all(path)?)
}
