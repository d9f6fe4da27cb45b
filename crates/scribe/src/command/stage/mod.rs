//! What the stages of training have in common: sources, the loop with its display, how it ends.

pub(super) mod records;
pub(super) mod report;
mod show;

use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::time::Instant;

use clap::Args;
use corpus::Source;
use corpus::sources::RowKind;
use engine::Device;
use serde::Serialize;
use training::metrics::ValidationMetrics;
use training::plan::Memory;
use training::recipe::{CorpusRecipe, SourceRecipe, StageRecipe};
use training::text::TextProgress;
use training::{Ended, RunFolder, Stage, Trainer, TrainerOptions};

use self::show::Show;
use super::doctor::available_memory_bytes;
use super::interrupt::Interrupt;
use super::progress::Progress;
use super::{Exit, Failure, Session, corpus as corpus_command};
use crate::config::{DeviceArguments, count};
use crate::locale::Language;
use crate::run_state::{FolderTimes, RunState};
use crate::terminal::{bytes_for_people, count_for_people};

/// The most rows that may go through the model at once.
const MICRO_ROWS_MAX: usize = 1 << 16;

/// What does not change what comes out.
#[derive(Debug, Args)]
pub(super) struct StageArguments {
    /// Rows that go through the model at once [default: about 2,048 tokens]
    #[arg(long, value_name = "N", value_parser = count::<MICRO_ROWS_MAX>)]
    micro_rows: Option<NonZeroUsize>,

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

    #[command(flatten)]
    pub(super) device: DeviceArguments,
}

impl StageArguments {
    /// Refuses a stage for which there is not enough memory.
    pub(super) fn check_memory(
        &self,
        config: &model::Config,
        stage: &StageRecipe,
        row_tokens: usize,
    ) -> Result<(), Failure> {
        let micro_rows = self.micro_rows.map(usize::from);
        let needed = Memory::new(config, stage, row_tokens, micro_rows).total_bytes();
        let Some(free) = available_memory_bytes().filter(|&free| free < needed) else {
            return Ok(());
        };
        let (needed, free) = (bytes_for_people(needed), bytes_for_people(free));
        Err(Failure::broken(
            anyhow::anyhow!("{needed} of memory are needed, {free} are free"),
            "close other programs, or choose a smaller model, fewer --micro-rows, or `recompute = \
             true` in the recipe",
        ))
    }
}

/// How stages are worked at.
#[derive(Debug)]
pub(super) struct Work<'a> {
    pub(super) device: Device,
    pub(super) arguments: &'a StageArguments,
    pub(super) interrupt: Interrupt,
}

impl<'a> Work<'a> {
    /// Listens to Ctrl-C from now on; `command` is what goes on where it was stopped.
    pub(super) fn new(
        session: &Session,
        arguments: &'a StageArguments,
        command: &str,
    ) -> Result<Self, Failure> {
        let go_on = (session.terminal.verbosity() >= 0).then(|| command.to_owned());
        let device = Device::cpu(&arguments.device.options())?;
        Ok(Self { device, arguments, interrupt: Interrupt::follow(go_on)? })
    }

    /// The threads that work at text.
    pub(super) fn threads(&self) -> NonZeroUsize {
        NonZeroUsize::new(self.device.threads()).unwrap_or(NonZeroUsize::MIN)
    }
}

/// What became of a stage; of held-out text each stage tells in its own way.
#[derive(Debug, Serialize)]
pub(super) struct Outcome {
    pub(super) finished: bool,
    /// Those that are saved: it goes on after them.
    pub(super) steps: u64,
    /// The newest checkpoint, which is a model that any command takes.
    pub(super) model: Option<PathBuf>,
    pub(super) loss: Option<f64>,
    /// Conversations that are cut, because they are longer than a row.
    pub(super) cut_conversations: u64,
    /// Of the look at held-out text before the first step.
    #[serde(skip)]
    pub(super) before: Option<ValidationMetrics>,
    /// Of the last look at held-out text.
    #[serde(skip)]
    pub(super) validation: Option<ValidationMetrics>,
}

/// Works at a stage until it is finished or somebody wants it to end.
pub(super) fn train(
    session: &mut Session,
    label: &'static str,
    stage: Stage,
    work: &Work<'_>,
) -> Result<Outcome, Failure> {
    let micro_rows = work.arguments.micro_rows.map(usize::from);
    let options = TrainerOptions { device: work.device.clone(), micro_rows };
    let row_tokens = stage.row_tokens;
    let mut trainer = Trainer::open(stage, &options)?;
    if let Some(learn) = trainer.adapter_weights() {
        session.terminal.note(format_args!(
            "{} weights learn in an adapter; the model's own {} stay",
            count_for_people(learn, " "),
            count_for_people(trainer.model_weights(), " ")
        ));
    }
    let cut_conversations = trainer.cut_documents();
    if cut_conversations > 0 {
        let most = trainer.context_tokens();
        let mend = match row_tokens < most {
            true => format!("a larger `row_tokens` in the recipe, up to {most}, keeps them whole"),
            false => "the model attends to no more".to_owned(),
        };
        session.terminal.warn(format_args!(
            "{cut_conversations} conversations are cut, because they are longer than the \
             {row_tokens} tokens of a row; {mend}"
        ));
    }
    work.interrupt.set_saves(true);
    let mut show = Show::new(&mut session.terminal, label, &trainer, &work.interrupt)?;
    let finished = trainer.run(&mut show)? == Ended::Finished;
    work.interrupt.set_saves(!finished);
    if finished && trainer.steps_saved() < trainer.steps_done() {
        return Err(not_saved(&trainer));
    }
    let state = RunState::of_stage(trainer.folder())?;
    Ok(Outcome {
        finished,
        steps: trainer.steps_saved(),
        model: trainer.newest_checkpoint(),
        loss: state.steps.last().map(|last| last.loss),
        cut_conversations,
        before: state.steps.first().and_then(|first| first.before),
        validation: state.held_out(),
    })
}

/// Makes a folder of a run, and keeps how long that took; one that is there takes no time.
pub(super) fn timed<T>(
    run: &RunFolder,
    folder: &Path,
    make: impl FnOnce() -> Result<T, training::Error>,
) -> Result<T, Failure> {
    let (is_there, begun) = (folder.exists(), Instant::now());
    let made = make()?;
    if let (false, Some(name)) = (is_there, folder.file_name()) {
        let mut times = FolderTimes::of(run.path());
        times.0.insert(name.to_string_lossy().into_owned(), begun.elapsed().as_secs_f64());
        times.keep(run.path());
    }
    Ok(made)
}

/// All is done, and the end of it is not on disk.
fn not_saved(trainer: &Trainer) -> Failure {
    let (done, saved) = (trainer.steps_done(), trainer.steps_saved());
    let error = anyhow::anyhow!("all {done} steps were taken, but only {saved} could be saved");
    Failure::broken(error, "make room, then give the same command again")
}

/// How a command ends with a stage.
pub(super) fn ended(
    session: &mut Session,
    outcome: &Outcome,
    command: &str,
) -> Result<(), Failure> {
    if outcome.finished {
        return Ok(());
    }
    Err(tell_stopped(session, outcome, command))
}

/// Says how a stage goes on that was stopped.
pub(super) fn tell_stopped(session: &mut Session, outcome: &Outcome, command: &str) -> Failure {
    let steps = outcome.steps;
    session.terminal.note(format_args!("stopped after {steps} steps; go on with: {command}"));
    Failure::silent(Exit::Interrupted)
}

/// The sources of a recipe as the corpus reads them, of that kind where the recipe does not say;
/// sets are fetched if they are not here.
pub(super) fn sources(
    session: &mut Session,
    recipe: &CorpusRecipe,
    kind: RowKind,
) -> Result<Vec<Source>, Failure> {
    let open = |source: &SourceRecipe| {
        let mut opened = match (&source.path, &source.set) {
            (Some(path), _) => source_of_path(&recipe.resolve(path))?,
            (None, set) => {
                corpus_command::open_set(session, set.as_deref().unwrap_or_default())?.source()
            }
        };
        opened.kind = source.kind.unwrap_or(kind);
        if let Some(column) = &source.column {
            opened.column.clone_from(column);
        }
        opened.weight = source.weight()?;
        Ok(opened)
    };
    recipe.sources.iter().map(open).collect()
}

fn source_of_path(path: &Path) -> Result<Source, Failure> {
    if !path.exists() {
        return Err(Failure::not_found(
            format!("there is no text at `{}`", path.display()),
            "relative paths of a recipe begin where it lies",
        ));
    }
    let name = path.file_name().map_or_else(String::new, |name| name.to_string_lossy().into());
    Ok(Source::text(name, path))
}

/// Shows how far the work on text is.
#[derive(Debug)]
pub(super) struct TextShow<'a> {
    progress: Progress<'a>,
    /// What is being done.
    label: String,
    /// Tokens that are to be learned.
    vocabulary: u64,
}

impl<'a> TextShow<'a> {
    pub(super) fn new(session: &'a mut Session, vocabulary: usize) -> Self {
        let progress = Progress::new(&mut session.terminal);
        Self { progress, label: String::new(), vocabulary: vocabulary as u64 }
    }

    pub(super) fn show(&mut self, at: TextProgress<'_>) {
        let (label, done) = match at {
            TextProgress::Counting(source, rows) => (format!("reading {source}"), rows),
            TextProgress::Learning(tokens) => ("learning tokens".to_owned(), tokens as u64),
            TextProgress::Encoding(at) => (format!("encoding {}", at.source), at.tokens),
        };
        if self.label != label {
            self.label.clone_from(&label);
            match at {
                TextProgress::Counting(..) => self.progress.begin_open_rows(label),
                TextProgress::Learning(_) => self.progress.begin_tokens(label, self.vocabulary),
                TextProgress::Encoding(_) => self.progress.begin_open_tokens(label, done),
            }
        }
        self.progress.advance(done);
    }

    /// Says what became of the text.
    pub(super) fn tell(mut self, report: &corpus::Report, folder: &Path) {
        self.progress.end();
        self.progress.note(format_args!(
            "{} tokens to learn from, {} held out; {} says what was dropped and why",
            report.train.tokens,
            report.validation.tokens,
            folder.join("report.txt").display()
        ));
    }
}

/// The failure of a recipe that cannot be used, with the exit code that fits.
pub(super) fn refused(path: &Path, error: training::Error) -> Failure {
    match &error {
        training::Error::Read { source, .. } if source.kind() == std::io::ErrorKind::NotFound => {
            Failure::not_found(
                format!("there is no recipe at `{}`", path.display()),
                "name one, such as recipes/tiny.toml",
            )
        }
        training::Error::Read { .. } => error.into(),
        _ => Failure { exit: Exit::Usage, ..error.into() },
    }
}
