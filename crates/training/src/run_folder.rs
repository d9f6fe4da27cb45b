//! The folder of a run: its recipe, its stages, and a lock so that one process works in it.
//!
//! `recipe.toml`, `1-tokenizer/`, `2-corpus/`, `3-pretrained/`, …; each stage begins when the one
//! before is there whole.

use std::fs::{File, TryLockError};
use std::path::{Path, PathBuf};

use artifacts::checkpoints::{self, Checkpoints};
use artifacts::disk::RealDisk;
use artifacts::folder;

use crate::Error;
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
    /// Opens the folder of a run of this recipe, as [`crate::Recipe::to_toml`] has it, or begins one in a folder that is empty or not
    /// there.
    ///
    /// # Errors
    ///
    /// Where another process works in it, it was begun with another recipe, holds something else, or
    /// cannot be written.
    pub fn open(path: &Path, recipe: &str) -> Result<Self, Error> {
        let failed = |source| Error::Write { path: path.to_owned(), source };
        std::fs::create_dir_all(path).map_err(failed)?;
        let file = path.join(RECIPE_FILE);
        let is_run = file.exists();
        if !is_run && holds_anything(path).map_err(failed)? {
            return Err(Error::NotARun { folder: path.to_owned() });
        }
        let lock = lock(path)?;
        if is_run {
            check_recipe(path, &file, recipe)?;
        } else {
            folder::land_bytes(&RealDisk, &file, recipe.as_bytes())?;
        }
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

    /// The newest checkpoint of a stage that is whole; `None` where there is none.
    ///
    /// # Errors
    ///
    /// Where checkpoints are there and none is whole, or the folder cannot be read.
    pub fn newest(&self, stage: &Path) -> Result<Option<PathBuf>, Error> {
        newest_checkpoint(stage)
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
/// none yet.
///
/// # Errors
///
/// Where checkpoints are there and none is whole, or the folder cannot be read.
pub fn newest_model(path: &Path) -> Result<Option<PathBuf>, Error> {
    let stages = STAGES.iter().rev().map(|stage| path.join(stage)).chain([path.to_owned()]);
    for stage in stages {
        if let Some(checkpoint) = newest_checkpoint(&stage)? {
            return Ok(Some(checkpoint));
        }
    }
    Ok(None)
}

fn newest_checkpoint(stage: &Path) -> Result<Option<PathBuf>, Error> {
    let folder = stage.join(CHECKPOINTS_FOLDER);
    if !folder.join(checkpoints::LATEST_FILE).exists() {
        return Ok(None);
    }
    let mut checkpoints = Checkpoints::open(RealDisk, folder, checkpoints::KEEP_MIN)?;
    Ok(checkpoints.latest()?.map(|latest| latest.path))
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

/// Refuses another recipe than the one that the run was begun with.
fn check_recipe(folder: &Path, file: &Path, asked: &str) -> Result<(), Error> {
    let begun = artifacts::read_text(file)
        .map_err(|source| Error::Read { path: file.to_owned(), source })?;
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
