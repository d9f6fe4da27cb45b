//! Runs through the public interface: what comes out is the same to the byte, however it was made.
#![expect(clippy::unwrap_used, reason = "a helper that cannot go on fails its test")]

mod answers;
mod refusals;
mod same_bytes;

use std::collections::BTreeMap;
use std::num::NonZeroUsize;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

use corpus::Source;
use engine::{Device, DeviceOptions};
use training::{
    Ended, Error, Event, Observer, Recipe, RunFolder, Stage, Trainer, TrainerOptions, text,
};

/// A small run over a few messages, with a look and a checkpoint every few steps.
pub(crate) const RECIPE: &str = r#"
seed = 3
[tokenizer]
vocabulary = 320
[[corpus.source]]
path = "messages"
[corpus]
validation = 0.3
[model]
layers = 2
width = 32
heads = 2
kv_heads = 1
context_tokens = 32
[pretrain]
steps = 12
rows = 4
optimizer = "muon"
learning_rate = 1e-2
warmup_steps = 2
validate_every = 4
validation_rows = 3
checkpoint_every = 5
"#;

/// How a part of a run is made.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Way {
    pub threads: usize,
    pub micro_rows: usize,
    /// The step after which it is stopped.
    pub stop_after: Option<u64>,
}

/// What was heard of a run.
#[derive(Debug, Default)]
pub(crate) struct Heard {
    pub resumed: Option<(u64, usize)>,
    pub saved: Vec<u64>,
    pub not_saved: Vec<String>,
    pub losses: Vec<f64>,
    pub skipped: usize,
    stop_after: Option<u64>,
}

impl Observer for Heard {
    fn hear(&mut self, event: Event<'_>) -> ControlFlow<()> {
        match event {
            Event::Resumed { step, damage } => self.resumed = Some((step, damage.len())),
            Event::Saved { step } => self.saved.push(step),
            Event::NotSaved { error, .. } => self.not_saved.push(error.to_string()),
            Event::Step(metrics) => {
                self.losses.push(metrics.loss);
                self.skipped += usize::from(metrics.skipped);
                if Some(metrics.step) == self.stop_after {
                    return ControlFlow::Break(());
                }
            }
            _ => {}
        }
        ControlFlow::Continue(())
    }
}

/// The texts of the fixtures.
pub(crate) fn messages() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fixtures/state-of-the-union")
}

/// Makes a part of a run.
pub(crate) fn train(folder: &Path, recipe: &str, way: Way) -> Result<(Ended, Heard), Error> {
    let recipe = Recipe::parse(recipe)?;
    let run = RunFolder::open(folder, &recipe.pretraining_toml())?;
    let sources = vec![Source::text("messages", messages())];
    let threads = NonZeroUsize::new(way.threads);
    let device = Device::cpu(&DeviceOptions { threads, kernels: None }).unwrap();
    text::make_tokenizer(&run, &recipe, &sources, NonZeroUsize::MIN, &mut |_| ())?;
    text::make_corpus(&run, &recipe, sources, NonZeroUsize::MIN, &mut |_| ())?;
    let options = TrainerOptions { device, micro_rows: Some(way.micro_rows) };
    let mut trainer = Trainer::open(Stage::pretrain(&run, &recipe)?, &options)?;
    let mut heard = Heard { stop_after: way.stop_after, ..Heard::default() };
    let ended = trainer.run(&mut heard)?;
    Ok((ended, heard))
}

/// All files under a folder but locks, by their paths.
pub(crate) fn files(folder: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut files = BTreeMap::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(next) = folders.pop() {
        for entry in std::fs::read_dir(&next).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if !path.ends_with("run.lock") {
                let name = path.strip_prefix(folder).unwrap().to_owned();
                files.insert(name, std::fs::read(&path).unwrap());
            }
        }
    }
    files
}
