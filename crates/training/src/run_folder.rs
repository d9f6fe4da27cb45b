//! The folder of a run: its recipe, its stages, and a lock so that one process works in it.
//!
//! `recipe.toml`, `1-tokenizer/`, `2-corpus/`, `3-pretrained/`, …; each stage begins when the one
//! before is there whole. `4-sft/` has a `recipe.toml` of its own: to teach the same model anew,
//! remove that folder.
//!
//! A run is held to the parts of its recipe by which something in it was made: until then, a recipe
//! that could not be followed may be mended.

use std::collections::BTreeSet;
use std::fs::{File, TryLockError};
use std::path::{Path, PathBuf};

use artifacts::checkpoints::{self, Checkpoints, Newest};
use artifacts::disk::RealDisk;
use artifacts::hash::Digest;
use artifacts::{folder, shown};
use toml::{Table, Value};

use crate::checkpoint::Progress;
use crate::metrics::METRICS_FILE;
use crate::recipe::AnyRecipe;
use crate::serving::Serving;
use crate::trainer::CHECKPOINTS_FOLDER;
use crate::{Error, Recipe};

/// The recipe that the run follows.
pub const RECIPE_FILE: &str = "recipe.toml";
/// The folders of the stages that leave a model, in their order.
pub const STAGES: [&str; 2] = ["3-pretrained", "4-sft"];
/// The folder of the comparisons, one file for each round.
pub const COMPARISONS_FOLDER: &str = "5-comparisons";
/// The folder of the reward models, one folder for each round.
pub const REWARD_FOLDER: &str = "6-reward";
/// The folder of what learned from people, one folder for each round.
pub const PPO_FOLDER: &str = "7-ppo";
/// The folder that says what is served.
pub const SERVING_FOLDER: &str = "8-serving";
/// The most rounds of a run.
pub const ROUNDS_MAX: usize = 999;
/// The first line of [`RECIPE_FILE`], by which it is told from a recipe that somebody wrote.
const WRITTEN_HERE: &str =
    "# What this folder is held to; the recipe that it came from lies elsewhere.\n";
/// Held while a process works in the folder.
const LOCK_FILE: &str = "run.lock";

/// The folder of a run, locked.
#[derive(Debug)]
pub struct RunFolder {
    path: PathBuf,
    _lock: File,
}

impl RunFolder {
    /// Opens the folder of a run, or begins one in a folder that is empty or not there.
    ///
    /// `recipe` says how it begins ([`crate::Recipe::pretraining_toml`] and its like): a run is
    /// held to that as soon as something was made by it, while later stages may still be added to
    /// its recipe.
    ///
    /// # Errors
    ///
    /// Where another process works in it, it was begun with another recipe, holds something else, or
    /// cannot be written.
    pub fn open(path: &Path, recipe: &str) -> Result<Self, Error> {
        let failed = |source| Error::Write { path: path.to_owned(), source };
        std::fs::create_dir_all(path).map_err(failed)?;
        if !path.join(RECIPE_FILE).exists() && holds_anything(path).map_err(failed)? {
            return Err(Error::NotARun { folder: path.to_owned() });
        }
        let lock = lock(path)?;
        let run = Self { path: path.to_owned(), _lock: lock };
        hold_to(path, recipe, run.held_of_pretraining())?;
        Ok(run)
    }

    /// What of its recipe made what is there, the fine-tuning aside.
    fn held_of_pretraining(&self) -> Held {
        let learns = self.pretrained().join(METRICS_FILE).exists();
        if learns || self.fine_tuned_tokenizer().exists() {
            Held::All
        } else if self.tokenizer().exists() {
            Held::Sections(&["seed", "tokenizer", "corpus"])
        } else {
            Held::Sections(&[])
        }
    }

    /// What of the recipe of the fine-tuning made what is there.
    pub(crate) fn held_of_fine_tuning(&self) -> Held {
        if self.fine_tuned().join(METRICS_FILE).exists() {
            Held::All
        } else if self.fine_tuned_corpus().exists() {
            Held::Sections(&["seed", "base", "conversations"])
        } else if self.fine_tuned_tokenizer().exists() {
            Held::Sections(&["base"])
        } else {
            Held::Sections(&[])
        }
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The tokenizer.
    #[must_use]
    pub fn tokenizer(&self) -> PathBuf {
        self.path.join("1-tokenizer")
    }

    /// The corpus in shards.
    #[must_use]
    pub fn corpus(&self) -> PathBuf {
        self.path.join("2-corpus")
    }

    /// The pretrained model: metrics and checkpoints.
    #[must_use]
    pub fn pretrained(&self) -> PathBuf {
        self.path.join(STAGES[0])
    }

    /// The checkpoint at the end of the pretraining by this recipe, every byte of which was checked.
    ///
    /// # Errors
    ///
    /// [`Error::NotPretrained`] where there is none yet or steps are left to take,
    /// [`Error::OtherCheckpoint`] where another recipe made it, and where checkpoints are there and
    /// the newest is not whole.
    pub fn finished_pretraining(&self, recipe: &Recipe) -> Result<PathBuf, Error> {
        self.finished(&self.pretrained(), recipe.identity(), |folder, steps| Error::NotPretrained {
            folder,
            steps,
        })
    }

    /// The checkpoint at the end of the fine-tuning by this recipe, every byte of which was checked.
    ///
    /// # Errors
    ///
    /// [`Error::NotFineTuned`] where there is none yet or steps are left to take, and as
    /// [`Self::finished_pretraining`].
    pub fn finished_fine_tuning(&self, recipe: &AnyRecipe) -> Result<PathBuf, Error> {
        let identity = Digest::of(recipe.fine_tune_toml()?.as_bytes());
        self.finished(&self.fine_tuned(), identity, |folder, steps| Error::NotFineTuned {
            folder,
            steps,
        })
    }

    /// The checkpoint at the end of a stage.
    fn finished(
        &self,
        stage: &Path,
        identity: Digest,
        not_yet: impl Fn(PathBuf, u64) -> Error,
    ) -> Result<PathBuf, Error> {
        let not_yet = |steps| not_yet(self.path.clone(), steps);
        let folder = stage.join(CHECKPOINTS_FOLDER);
        if !folder.exists() {
            return Err(not_yet(0));
        }
        let mut checkpoints = Checkpoints::open(RealDisk, folder, checkpoints::KEEP_MIN)?;
        let mut latest = checkpoints.latest()?.ok_or_else(|| not_yet(0))?;
        let progress = Progress::read(&latest.path)?.of_recipe(&latest.path, identity)?;
        match (progress.is_finished(), latest.damage.pop()) {
            (true, _) => Ok(latest.path),
            // The one at the end may be that which is damaged.
            (false, Some(damage)) => Err(damage.into()),
            (false, None) => Err(not_yet(progress.step)),
        }
    }

    /// How a checkpoint of a later stage names one of this run, so that a run may be moved: a path
    /// that begins at its own folder.
    #[must_use]
    pub fn name_from_checkpoint(&self, path: &Path) -> String {
        self.name_from(&self.fine_tuned().join(CHECKPOINTS_FOLDER).join("step"), path)
    }

    /// The same from any folder of the run; the path itself where either lies outside.
    #[must_use]
    pub fn name_from(&self, folder: &Path, path: &Path) -> String {
        match (folder.strip_prefix(&self.path), path.strip_prefix(&self.path)) {
            (Ok(folder), Ok(inside)) => {
                let up: PathBuf = folder.components().map(|_| "..").collect();
                up.join(inside).display().to_string()
            }
            _ => path.display().to_string(),
        }
    }

    /// The model that answers: metrics and checkpoints.
    #[must_use]
    pub fn fine_tuned(&self) -> PathBuf {
        self.path.join(STAGES[1])
    }

    /// Its tokenizer, with the words in which conversations are written.
    #[must_use]
    pub fn fine_tuned_tokenizer(&self) -> PathBuf {
        self.fine_tuned().join("tokenizer")
    }

    /// The model that answers as one with the adapter that it learned in, for what learns from people.
    #[must_use]
    pub fn merged(&self) -> PathBuf {
        self.fine_tuned().join("merged")
    }

    /// The conversations in shards.
    #[must_use]
    pub fn fine_tuned_corpus(&self) -> PathBuf {
        self.fine_tuned().join("corpus")
    }

    /// What people preferred in a round, counted from 1.
    #[must_use]
    pub fn comparisons(&self, round: usize) -> PathBuf {
        comparisons_of_round(&self.path, round)
    }

    /// The folder of a reward model, counted from 1, in that of its round.
    #[must_use]
    pub fn reward_model(&self, round: usize, number: usize) -> PathBuf {
        self.reward(round).join(format!("model-{number}"))
    }

    /// A checkpoint of PPO in a round.
    #[must_use]
    pub fn ppo_checkpoint(&self, round: usize, name: &str) -> PathBuf {
        self.ppo(round).join(CHECKPOINTS_FOLDER).join(name)
    }

    /// The reward models of a round.
    #[must_use]
    pub fn reward(&self, round: usize) -> PathBuf {
        self.path.join(REWARD_FOLDER).join(name_of_round(round))
    }

    /// What learned from people in a round: metrics and checkpoints.
    #[must_use]
    pub fn ppo(&self, round: usize) -> PathBuf {
        ppo_of_round(&self.path, round)
    }
}

/// Whether a folder is that of a run. Only reads, so that a run can be told while it is worked in.
#[must_use]
pub fn is_run(path: &Path) -> bool {
    artifacts::read_text(&path.join(RECIPE_FILE)).is_ok_and(|text| text.starts_with(WRITTEN_HERE))
}

/// The digest of the recipe that a folder is held to, as checkpoints name it; `None` where there is
/// none.
#[must_use]
pub fn held_recipe(folder: &Path) -> Option<Digest> {
    let text = artifacts::read_text(&folder.join(RECIPE_FILE)).ok()?;
    text.strip_prefix(WRITTEN_HERE).map(|recipe| Digest::of(recipe.as_bytes()))
}

/// What people preferred in a round of a run, counted from 1. The file has a lock of its own, so that
/// people can be asked while the run is worked in.
#[must_use]
pub fn comparisons_of_round(run: &Path, round: usize) -> PathBuf {
    run.join(COMPARISONS_FOLDER).join(format!("{}.jsonl", name_of_round(round)))
}

/// What learned from people in a round of a run, counted from 1, and what the gate said of it. Only
/// names it.
#[must_use]
pub fn ppo_of_round(run: &Path, round: usize) -> PathBuf {
    run.join(PPO_FOLDER).join(name_of_round(round))
}

/// The model of a run that the gate let through last, else the newest one that was taught, or the
/// newest of a stage that is named itself; `None` for a folder that is neither, or has none yet. Only
/// reads, so that a model can be tried while it learns.
///
/// # Errors
///
/// Where checkpoints are there and none is whole, or the folder cannot be read.
pub fn newest_model(path: &Path) -> Result<Option<Newest>, Error> {
    if !path.is_dir() {
        return Ok(None);
    }
    let serving = Serving::read(path)?;
    if let Some(promoted) = serving.current() {
        let path = path.join(&promoted.checkpoint);
        folder::open(&RealDisk, &path)?;
        return Ok(Some(Newest { path, damage: Vec::new() }));
    }
    let stages = STAGES.iter().rev().map(|stage| path.join(stage)).chain([path.to_owned()]);
    for stage in stages {
        let newest = checkpoints::newest(&RealDisk, &stage.join(CHECKPOINTS_FOLDER))?;
        if newest.is_some() {
            return Ok(newest);
        }
    }
    // The folder of all rounds, too, can be named.
    newest_of_rounds(path)
}

/// The newest model of the last round that has one.
fn newest_of_rounds(folder: &Path) -> Result<Option<Newest>, Error> {
    if !folder.is_dir() {
        return Ok(None);
    }
    for round in (1..=ROUNDS_MAX).rev() {
        let checkpoints = folder.join(name_of_round(round)).join(CHECKPOINTS_FOLDER);
        if !checkpoints.is_dir() {
            continue;
        }
        let newest = checkpoints::newest(&RealDisk, &checkpoints)?;
        if newest.is_some() {
            return Ok(newest);
        }
    }
    Ok(None)
}

/// The folder of the last round in which a file is, in that of all rounds.
#[must_use]
pub fn last_round(rounds: &Path, file: &str) -> Option<PathBuf> {
    let mut folders = (1..=ROUNDS_MAX).rev().map(|round| rounds.join(name_of_round(round)));
    folders.find(|folder| folder.join(file).exists())
}

fn name_of_round(round: usize) -> String {
    format!("round-{round}")
}

/// The newest model of one stage of a run, by the name of its folder in [`STAGES`], or of the last
/// round for [`PPO_FOLDER`]; `None` where it has none yet. Only reads.
///
/// # Errors
///
/// As [`newest_model`].
pub fn model_of_stage(run: &Path, stage: &str) -> Result<Option<Newest>, Error> {
    match stage {
        PPO_FOLDER => newest_of_rounds(&run.join(stage)),
        _ => Ok(checkpoints::newest(&RealDisk, &run.join(stage).join(CHECKPOINTS_FOLDER))?),
    }
}

/// Whether a checkpoint is of pretraining: of a model that goes on with a text, and was never shown
/// a conversation.
#[must_use]
pub fn is_pretrained(checkpoint: &Path) -> bool {
    let mut folders = checkpoint.ancestors().skip(1).filter_map(Path::file_name);
    folders.next().is_some_and(|name| name == CHECKPOINTS_FOLDER)
        && folders.next().is_some_and(|name| name == STAGES[0])
}

/// Whether something of somebody else's is there.
fn holds_anything(path: &Path) -> std::io::Result<bool> {
    let mut names = std::fs::read_dir(path)?.map(|entry| entry.map(|entry| entry.file_name()));
    // What a start that was interrupted leaves.
    let is_ours = |name: &std::ffi::OsStr| name.to_string_lossy().contains(RECIPE_FILE);
    names.try_fold(false, |found, name| {
        let name = name?;
        Ok(found || !(name == LOCK_FILE || is_ours(&name)))
    })
}

/// Takes the lock, which goes with the process however it ends.
fn lock(path: &Path) -> Result<File, Error> {
    let path_of_lock = path.join(LOCK_FILE);
    let failed = |source| Error::Write { path: path_of_lock.clone(), source };
    // Not truncated: whatever a link of that name leads to stays as it is.
    let mut open = File::options();
    open.write(true).create(true).truncate(false);
    let file = open.open(&path_of_lock).map_err(failed)?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(Error::Locked { folder: path.to_owned() }),
        Err(TryLockError::Error(source)) => Err(failed(source)),
    }
}

/// What of a recipe a folder is held to.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Held {
    All,
    Sections(&'static [&'static str]),
}

impl Held {
    fn holds(self, section: &str) -> bool {
        match self {
            Self::All => true,
            Self::Sections(sections) => sections.contains(&section),
        }
    }
}

/// Keeps the recipe by which a folder is begun, and refuses any other one for it as far as it is
/// held to it.
pub(crate) fn hold_to(folder: &Path, asked: &str, held: Held) -> Result<(), Error> {
    let file = folder.join(RECIPE_FILE);
    if file.exists() {
        let begun = artifacts::read_text(&file)
            .map_err(|source| Error::Read { path: file.clone(), source })?;
        let Some(begun) = begun.strip_prefix(WRITTEN_HERE) else {
            return Err(Error::NotARun { folder: folder.to_owned() });
        };
        if begun == asked {
            return Ok(());
        }
        let [was, is] = [begun, asked].map(|text| text.parse::<Table>().unwrap_or_default());
        if let Some(difference) = difference(&was, &is, &|section| held.holds(section)) {
            let (folder, difference) = (folder.to_owned(), shown(&difference));
            return Err(Error::OtherRecipe { folder, difference });
        }
    }
    Ok(folder::land_bytes(&RealDisk, &file, format!("{WRITTEN_HERE}{asked}").as_bytes())?)
}

/// The first field of those looked at in which two recipes differ, with both values.
fn difference(begun: &Table, asked: &Table, looks_at: &dyn Fn(&str) -> bool) -> Option<String> {
    let names: BTreeSet<&String> = begun.keys().chain(asked.keys()).collect();
    let differs = |name: &&String| looks_at(name) && begun.get(*name) != asked.get(*name);
    let name = names.into_iter().find(differs)?;
    let told = |value: Option<&Value>| value.map_or_else(|| "nothing".to_owned(), Value::to_string);
    Some(match (begun.get(name), asked.get(name)) {
        (Some(Value::Table(begun)), Some(Value::Table(asked))) => {
            format!("{name}.{}", difference(begun, asked, &|_| true)?)
        }
        (begun, asked) => format!("{name} is {}, not {}", told(begun), told(asked)),
    })
}
