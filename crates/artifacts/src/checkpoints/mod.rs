//! Checkpoints of a training run: saved whole, found again whole, one always readable.
//!
//! The folder of a run holds `step-00001234` for each checkpoint, and `LATEST`, one line with the
//! name of the newest. A save is, in this order:
//!
//! 1. the files and their manifest under a temporary name, all synced; one rename; the folder of
//!    the run synced (see [`folder`]);
//! 2. `LATEST`, in the same way;
//! 3. the oldest checkpoints beyond those to keep get a temporary name, the folder of the run is
//!    synced, and only then are they emptied. So none is ever half there under its own name.
//!
//! Whatever has a name of another form is neither read nor removed.
//!
//! Not survived: what [`folder`] does not survive, and two processes that use the folder of one run
//! at the same time; whoever trains holds a lock.

#[cfg(test)]
mod tests;

use std::collections::BTreeSet;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use crate::Error;
use crate::disk::{Disk, Kind};
use crate::folder::{self, Manifest, NewFolder};

/// The name of the file that names the newest checkpoint.
pub const LATEST_FILE: &str = "LATEST";
/// The fewest checkpoints that may be kept: one stays readable whatever happens to the other.
pub const KEEP_MIN: usize = 2;
/// The last step that has a name: eight digits, so that names sort as steps do.
pub const STEP_MAX: u64 = 99_999_999;

/// What the name of a checkpoint begins with.
const PREFIX: &str = "step-";
/// How many digits follow.
const DIGITS: usize = 8;

/// The checkpoints of one training run.
///
/// # Examples
///
/// ```
/// use std::collections::BTreeMap;
/// use artifacts::checkpoints::Checkpoints;
/// use artifacts::disk::SimulatedDisk;
/// use artifacts::tensors::TensorSpec;
/// use artifacts::{Error, StoredType, safetensors};
///
/// let mut checkpoints = Checkpoints::open(SimulatedDisk::new(), "run", 2)?;
/// assert!(checkpoints.latest()?.is_none());
/// checkpoints.save(1_000, |folder| {
///     let tensors = [TensorSpec::new("embedding", StoredType::F32, &[2, 2])];
///     folder.write("model.safetensors", |out| {
///         safetensors::write(out, &BTreeMap::new(), &tensors, |_, out| out.write_all(&[0; 16]))
///     })?;
///     folder.write_bytes("progress.json", b"{}")
/// })?;
/// let latest = checkpoints.latest()?.expect("one was saved");
/// assert_eq!((latest.step, latest.damage.len()), (1_000, 0));
/// # Ok::<(), Error>(())
/// ```
#[derive(Debug)]
pub struct Checkpoints<D> {
    disk: D,
    folder: PathBuf,
    keep: usize,
    /// Steps whose checkpoints could not be read whole: they do not count among those to keep.
    damaged: BTreeSet<u64>,
}

/// The newest checkpoint that is whole.
#[derive(Debug)]
pub struct Latest {
    /// After how many steps of training it was saved.
    pub step: u64,
    /// Its folder.
    pub path: PathBuf,
    /// Its files, every byte of which was checked.
    pub manifest: Manifest,
    /// What is wrong with `LATEST`, and with each newer checkpoint, newest first, each with its
    /// file. Where this is not empty, training went further than it will go on from: say so.
    pub damage: Vec<Error>,
}

impl<D: Disk> Checkpoints<D> {
    /// Opens the folder of a run, or creates it in a folder that is there; what interrupted saves
    /// left behind is removed.
    ///
    /// `keep` is how many checkpoints stay after a save, the new one among them.
    ///
    /// # Errors
    ///
    /// [`Error::KeepTooFew`] for less than [`KEEP_MIN`]; [`Error::InFile`] with
    /// [`Error::NotAFolder`] where something else has the name; [`Error::Io`] where the disk fails.
    pub fn open(disk: D, folder: impl Into<PathBuf>, keep: usize) -> Result<Self, Error> {
        if keep < KEEP_MIN {
            return Err(Error::KeepTooFew { keep, least: KEEP_MIN });
        }
        let checkpoints = Self { disk, folder: folder.into(), keep, damaged: BTreeSet::new() };
        let (disk, path) = (&checkpoints.disk, checkpoints.folder.as_path());
        match folder::look(disk, path)? {
            Some(Kind::Folder) => checkpoints.clear_leftovers()?,
            Some(Kind::File { .. } | Kind::Other) => return Err(Error::NotAFolder.in_file(path)),
            None => {
                disk.create_folder(path).map_err(|source| Error::io("create", path, source))?;
                checkpoints.sync(folder::parent(path))?;
            }
        }
        Ok(checkpoints)
    }

    /// Saves the checkpoint of a step: `fill` writes its files. Returns its manifest.
    ///
    /// Damaged checkpoints of this step and later ones make way: training that went on from an
    /// older one reaches them again. Of the older ones the newest stay, so that there are as many
    /// whole ones as are to be kept; until then none is removed, damaged or not.
    ///
    /// # Errors
    ///
    /// After any error the checkpoint before can still be read, and a save of a later step works.
    ///
    /// - [`Error::StepTooLarge`], or [`Error::AlreadyThere`] where this step or a later one has a
    ///   whole checkpoint: nothing was changed.
    /// - [`Error::Io`] where the disk fails, or what `fill` fails with. Where that was in writing
    ///   `LATEST`, the new checkpoint is whole and [`Checkpoints::latest`] finds it.
    /// - [`Error::Unsettled`] where the checkpoint or `LATEST` is written and whole but may be lost
    ///   if the power fails before the next save.
    /// - [`Error::Surplus`] where all is saved but older checkpoints could not be removed; the next
    ///   save tries again.
    pub fn save<E: From<Error>>(
        &mut self,
        step: u64,
        fill: impl FnOnce(&mut NewFolder<'_>) -> Result<(), E>,
    ) -> Result<Manifest, E> {
        if step > STEP_MAX {
            return Err(Error::StepTooLarge { step, limit: STEP_MAX }.into());
        }
        self.make_way(step)?;
        let path = self.path_of(step);
        let manifest = folder::land_folder(&self.disk, &path, fill)?;
        let line = format!("{}\n", name_of(step));
        folder::land_bytes(&self.disk, &self.folder.join(LATEST_FILE), line.as_bytes())?;
        self.remove_surplus(step)
            .map_err(|source| Error::Surplus { path, source: Box::new(source) })?;
        Ok(manifest)
    }

    /// Finds the newest checkpoint that is whole, and checks every byte of it; `None` where none
    /// was ever saved.
    ///
    /// A newer one that `LATEST` does not name yet counts: its save was interrupted after the
    /// rename that made it whole.
    ///
    /// # Errors
    ///
    /// [`Error::NoWholeCheckpoint`] where there are checkpoints and none is whole, so that nobody
    /// begins anew by mistake; [`Error::Io`] where the folder of the run cannot be listed.
    pub fn latest(&mut self) -> Result<Option<Latest>, Error> {
        let steps = self.steps()?;
        let mut damage = Vec::new();
        match self.named() {
            Ok(Some(step)) if !steps.contains(&step) => {
                damage.push(Error::MissingCheckpoint.in_file(&self.path_of(step)));
            }
            Ok(_) => (),
            Err(error) => damage.push(error),
        }
        for &step in steps.iter().rev() {
            match self.verify(step) {
                Ok(manifest) => {
                    self.damaged.remove(&step);
                    let path = self.path_of(step);
                    return Ok(Some(Latest { step, path, manifest, damage }));
                }
                Err(error) => {
                    self.damaged.insert(step);
                    damage.push(error);
                }
            }
        }
        if damage.is_empty() {
            return Ok(None);
        }
        Err(Error::NoWholeCheckpoint { folder: self.folder.clone(), damage })
    }

    /// The folder of the run.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// The steps of the checkpoints that are there, whole or not, oldest first.
    ///
    /// # Errors
    ///
    /// [`Error::Io`] where the folder of the run cannot be listed.
    pub fn steps(&self) -> Result<Vec<u64>, Error> {
        Ok(self.names()?.iter().filter_map(|name| step_of(name)).collect())
    }

    /// Removes damaged checkpoints of this step and later ones, and refuses where one is whole.
    ///
    /// One that the disk fails to read may be whole tomorrow, so that is an error, too.
    fn make_way(&mut self, step: u64) -> Result<(), Error> {
        let mut in_the_way = Vec::new();
        for there in self.steps()?.into_iter().filter(|&there| there >= step) {
            match self.verify(there) {
                Ok(_) => return Err(Error::AlreadyThere { path: self.path_of(there) }),
                Err(Error::InFile { .. }) => in_the_way.push(there),
                Err(Error::Io { source, .. }) if source.kind() == io::ErrorKind::NotFound => {
                    in_the_way.push(there);
                }
                Err(error) => return Err(error),
            }
        }
        self.remove(&in_the_way)
    }

    /// Removes what is older than the newest checkpoints to keep, of which `step` is the last, and
    /// what interrupted saves left behind.
    fn remove_surplus(&mut self, step: u64) -> Result<(), Error> {
        let older = self.steps()?.into_iter().filter(|&there| there < step);
        let (mut surplus, whole): (Vec<u64>, Vec<u64>) =
            older.partition(|there| self.damaged.contains(there));
        match (whole.len() + 1).checked_sub(self.keep) {
            Some(count) => surplus.extend(&whole[..count]),
            None => surplus.clear(),
        }
        match surplus.as_slice() {
            [] => self.clear_leftovers(),
            surplus => self.remove(surplus),
        }
    }

    /// Removes checkpoints, and with them all leftovers: none is half there under its own name, at no
    /// moment.
    fn remove(&mut self, steps: &[u64]) -> Result<(), Error> {
        if steps.is_empty() {
            return Ok(());
        }
        for step in steps {
            let path = self.path_of(*step);
            let temporary = folder::temporary(&path)?;
            folder::remove_leftover(&self.disk, &temporary)?;
            let renamed = self.disk.rename(&path, &temporary);
            renamed.map_err(|source| Error::io("rename", &path, source))?;
            self.damaged.remove(step);
        }
        self.sync(&self.folder)?;
        self.clear_leftovers()
    }

    /// Removes what has the temporary name of a checkpoint or of `LATEST`.
    fn clear_leftovers(&self) -> Result<(), Error> {
        for name in self.names()? {
            let target = name.strip_suffix(folder::TEMPORARY_ENDING);
            if target.is_some_and(|target| target == LATEST_FILE || step_of(target).is_some()) {
                folder::remove_leftover(&self.disk, &self.folder.join(name))?;
            }
        }
        Ok(())
    }

    /// Checks every byte of one checkpoint.
    fn verify(&self, step: u64) -> Result<Manifest, Error> {
        let path = self.path_of(step);
        match folder::look(&self.disk, &path)? {
            Some(Kind::Folder) => folder::verify(&self.disk, &path, |_| ()),
            Some(Kind::File { .. } | Kind::Other) | None => Err(Error::NotAFolder.in_file(&path)),
        }
    }

    /// The step that `LATEST` names, if it is there.
    fn named(&self) -> Result<Option<u64>, Error> {
        let path = self.folder.join(LATEST_FILE);
        if folder::look(&self.disk, &path)?.is_none() {
            return Ok(None);
        }
        let file = self.disk.open(&path).map_err(|source| Error::io("open", &path, source))?;
        let mut bytes = Vec::new();
        // One byte more than the line has, so that a longer file is seen to be longer.
        file.take((PREFIX.len() + DIGITS + 2) as u64)
            .read_to_end(&mut bytes)
            .map_err(|source| Error::io("read", &path, source))?;
        let line = str::from_utf8(&bytes).ok().and_then(|text| text.strip_suffix('\n'));
        let step = line.and_then(step_of).ok_or_else(|| Error::LatestFile.in_file(&path))?;
        Ok(Some(step))
    }

    fn names(&self) -> Result<Vec<String>, Error> {
        self.disk.list(&self.folder).map_err(|source| Error::io("list", &self.folder, source))
    }

    fn sync(&self, folder: &Path) -> Result<(), Error> {
        self.disk.sync_folder(folder).map_err(|source| Error::io("sync", folder, source))
    }

    fn path_of(&self, step: u64) -> PathBuf {
        self.folder.join(name_of(step))
    }
}

/// A checkpoint that was looked at and not read.
#[derive(Debug)]
pub struct Newest {
    /// Its folder.
    pub path: PathBuf,
    /// What is wrong with newer ones, the newest first.
    pub damage: Vec<Error>,
}

/// The newest checkpoint in the folder of a run whose files are there with their lengths; `None`
/// where none was saved, or there is no such folder.
///
/// Only reads, so that it may look while another process trains there, and looks at no byte of the
/// files themselves: [`Checkpoints::latest`] does, for whoever goes on from it.
///
/// # Errors
///
/// [`Error::NoWholeCheckpoint`] where there are checkpoints and none is whole; [`Error::Io`] where
/// the folder cannot be listed.
pub fn newest(disk: &dyn Disk, folder: &Path) -> Result<Option<Newest>, Error> {
    if folder::look(disk, folder)? != Some(Kind::Folder) {
        return Ok(None);
    }
    let names = disk.list(folder).map_err(|source| Error::io("list", folder, source))?;
    let steps: BTreeSet<u64> = names.iter().filter_map(|name| step_of(name)).collect();
    let mut damage = Vec::new();
    for &step in steps.iter().rev() {
        let path = folder.join(name_of(step));
        match folder::open(disk, &path) {
            Ok(_) => return Ok(Some(Newest { path, damage })),
            Err(error) => damage.push(error),
        }
    }
    if damage.is_empty() {
        return Ok(None);
    }
    Err(Error::NoWholeCheckpoint { folder: folder.to_owned(), damage })
}

/// The name of the checkpoint of a step.
#[must_use]
pub fn name_of(step: u64) -> String {
    format!("{PREFIX}{step:0DIGITS$}")
}

/// The step whose checkpoint has that name; names come from outside, and only one form is one.
fn step_of(name: &str) -> Option<u64> {
    let digits = name.strip_prefix(PREFIX)?;
    let is_step = digits.len() == DIGITS && digits.bytes().all(|byte| byte.is_ascii_digit());
    if is_step { digits.parse().ok() } else { None }
}
