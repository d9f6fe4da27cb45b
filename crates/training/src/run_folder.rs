//! The folder of a run: its recipe, its stages, and a lock so that one process works in it.
//!
//! `recipe.toml`, `1-tokenizer/`, `2-corpus/`, `3-pretrained/`, …; each stage begins when the one
//! before is there whole. `4-sft/` has a `recipe.toml` of its own: to teach the same model anew,
//! remove that folder.

use std::fs::{File, TryLockError};
use std::path::{Path, PathBuf};

use artifacts::checkpoints::{self, Checkpoints};
use artifacts::disk::RealDisk;
use artifacts::folder;

use crate::Error;
use crate::checkpoint::Progress;
use crate::trainer::CHECKPOINTS_FOLDER;

/// The recipe that the run follows.
pub const RECIPE_FILE: &str = "recipe.toml";
/// The folders of the stages that leave a model, in their order.
pub const STAGES: [&str; 2] = ["3-pretrained", "4-sft"];
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
    /// held to that, while later stages may still be added to its recipe.
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
        hold_to(path, recipe)?;
        Ok(Self { path: path.to_owned(), _lock: lock })
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

    /// The checkpoint at the end of pretraining, every byte of which was checked.
    ///
    /// # Errors
    ///
    /// [`Error::NotPretrained`] where there is none yet or steps are left to take, and where
    /// checkpoints are there and none is whole.
    pub fn finished_pretraining(&self) -> Result<PathBuf, Error> {
        let not_yet = |steps| Error::NotPretrained { folder: self.path.clone(), steps };
        let folder = self.pretrained().join(CHECKPOINTS_FOLDER);
        if !folder.exists() {
            return Err(not_yet(0));
        }
        let mut checkpoints = Checkpoints::open(RealDisk, folder, checkpoints::KEEP_MIN)?;
        let latest = checkpoints.latest()?.ok_or_else(|| not_yet(0))?;
        let progress = Progress::read(&latest.path)?;
        if progress.is_finished() { Ok(latest.path) } else { Err(not_yet(progress.step)) }
    }

    /// How a checkpoint of a later stage names one of this run, so that a run may be moved: a path
    /// that begins at its own folder.
    #[must_use]
    pub fn name_from_checkpoint(&self, path: &Path) -> String {
        // `4-sft/checkpoints/step-…` of the run.
        match path.strip_prefix(&self.path) {
            Ok(inside) => Path::new("../../..").join(inside).display().to_string(),
            Err(_) => path.display().to_string(),
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

    /// The conversations in shards.
    #[must_use]
    pub fn fine_tuned_corpus(&self) -> PathBuf {
        self.fine_tuned().join("corpus")
    }
}

/// The newest model of a run, or of one of its stages; `None` for a folder that is neither, or has
/// none yet. Only reads, so that a model can be tried while it learns.
///
/// # Errors
///
/// Where checkpoints are there and none is whole, or the folder cannot be read.
pub fn newest_model(path: &Path) -> Result<Option<PathBuf>, Error> {
    if !path.is_dir() {
        return Ok(None);
    }
    let stages = STAGES.iter().rev().map(|stage| path.join(stage)).chain([path.to_owned()]);
    for stage in stages {
        let newest = checkpoints::newest(&RealDisk, &stage.join(CHECKPOINTS_FOLDER))?;
        if newest.is_some() {
            return Ok(newest);
        }
    }
    Ok(None)
}

/// The newest model of one stage of a run, by the name of its folder in [`STAGES`]; `None` where it
/// has none yet. Only reads.
///
/// # Errors
///
/// As [`newest_model`].
pub fn model_of_stage(run: &Path, stage: &str) -> Result<Option<PathBuf>, Error> {
    Ok(checkpoints::newest(&RealDisk, &run.join(stage).join(CHECKPOINTS_FOLDER))?)
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
    let file = File::create(&path_of_lock).map_err(failed)?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(Error::Locked { folder: path.to_owned() }),
        Err(TryLockError::Error(source)) => Err(failed(source)),
    }
}

/// Keeps the recipe by which a folder is begun, and refuses any other one for it from then on.
pub(crate) fn hold_to(folder: &Path, asked: &str) -> Result<(), Error> {
    let file = folder.join(RECIPE_FILE);
    if !file.exists() {
        return Ok(folder::land_bytes(&RealDisk, &file, asked.as_bytes())?);
    }
    let begun = artifacts::read_text(&file).map_err(|source| Error::Read { path: file, source })?;
    if begun == asked {
        return Ok(());
    }
    let differs = begun.lines().zip(asked.lines()).find(|(a, b)| a != b);
    let difference = match differs {
        Some((begun, asked)) => format!("there is `{begun}`, not `{asked}`"),
        None => "one has more lines".to_owned(),
    };
    let difference = artifacts::shown(&difference);
    Err(Error::OtherRecipe { folder: folder.to_owned(), difference })
}
