//! The folder of a run: its recipe, its stages, and a lock so that one process works in it.
//!
//! `recipe.toml`, `1-tokenizer/`, `2-corpus/`, `3-pretrained/`, …; each stage begins when the one
//! before is there whole.

use std::fs::{File, TryLockError};
use std::path::{Path, PathBuf};

use artifacts::disk::RealDisk;
use artifacts::folder;

use crate::{Error, Recipe};

/// The recipe that the run follows.
pub const RECIPE_FILE: &str = "recipe.toml";
/// Held while a process works in the folder.
const LOCK_FILE: &str = "run.lock";

/// The folder of a run, locked.
#[derive(Debug)]
pub struct RunFolder {
    path: PathBuf,
    _lock: File,
}

impl RunFolder {
    /// Opens the folder of a run of this recipe, or begins one in a folder that is empty or not
    /// there.
    ///
    /// # Errors
    ///
    /// Where another process works in it, it was begun with another recipe, holds something else, or
    /// cannot be written.
    pub fn open(path: &Path, recipe: &Recipe) -> Result<Self, Error> {
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
            folder::land_bytes(&RealDisk, &file, recipe.to_toml().as_bytes())?;
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
        self.path.join("3-pretrained")
    }
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
fn check_recipe(folder: &Path, file: &Path, recipe: &Recipe) -> Result<(), Error> {
    let begun = artifacts::read_text(file)
        .map_err(|source| Error::Read { path: file.to_owned(), source })?;
    let asked = recipe.to_toml();
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
