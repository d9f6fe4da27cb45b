//! Which model of a run is served: the last one that the gate let through.

use std::path::{Path, PathBuf};

use artifacts::disk::RealDisk;
use artifacts::folder;
use serde::{Deserialize, Serialize};

use crate::Error;
use crate::checkpoint::read_json;
use crate::run_folder::SERVING_FOLDER;

/// The file that says it.
const FILE: &str = "current.json";
/// The version of its form.
const VERSION: u32 = 1;

/// The models that were promoted, in their order; the last one is served.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Serving {
    version: u32,
    promoted: Vec<Promoted>,
    /// Rounds whose promotion somebody took back: they are not promoted again.
    #[serde(default)]
    taken_back: Vec<usize>,
}

/// The file of a run that says what is served; only names it.
#[must_use]
pub fn file(run: &Path) -> PathBuf {
    run.join(SERVING_FOLDER).join(FILE)
}

/// A model that the gate let through.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Promoted {
    /// The round in which it learned.
    pub round: usize,
    /// Its checkpoint, from the run's folder on.
    pub checkpoint: PathBuf,
}

impl Default for Serving {
    fn default() -> Self {
        Self { version: VERSION, promoted: Vec::new(), taken_back: Vec::new() }
    }
}

impl Serving {
    /// What is served of a run; nothing was promoted where nothing says so.
    ///
    /// # Errors
    ///
    /// Where the file cannot be read, or is of another form.
    pub fn read(run: &Path) -> Result<Self, Error> {
        let path = file(run);
        if !path.exists() {
            return Ok(Self::default());
        }
        let serving: Self = read_json(&path)?;
        if serving.version == VERSION {
            return Ok(serving);
        }
        let problem = format!("version {} is not known here", serving.version);
        Err(Error::OtherCheckpoint { path, problem })
    }

    /// The one that is served.
    #[must_use]
    pub fn current(&self) -> Option<&Promoted> {
        self.promoted.last()
    }

    /// The last one that was promoted before a round: what that round begins with.
    #[must_use]
    pub fn before(&self, round: usize) -> Option<&Promoted> {
        self.promoted.iter().rev().find(|promoted| promoted.round < round)
    }

    /// Lets a model be served from now on, unless its round was promoted before. Returns whether
    /// anything changed.
    pub fn promote(&mut self, promoted: Promoted) -> bool {
        let round = promoted.round;
        let is_new = !self.taken_back.contains(&round)
            && self.promoted.iter().all(|earlier| earlier.round != round);
        if is_new {
            self.promoted.push(promoted);
        }
        is_new
    }

    /// Whether somebody took back the promotion of a round.
    #[must_use]
    pub fn is_taken_back(&self, round: usize) -> bool {
        self.taken_back.contains(&round)
    }

    /// Takes back the last promotion, and returns it.
    pub fn roll_back(&mut self) -> Option<Promoted> {
        let promoted = self.promoted.pop()?;
        self.taken_back.push(promoted.round);
        Some(promoted)
    }

    /// Writes what is served, in one rename.
    ///
    /// # Errors
    ///
    /// Where the disk fails.
    ///
    /// # Panics
    ///
    /// Never: numbers and paths within a run can be written.
    pub fn write(&self, run: &Path) -> Result<(), Error> {
        let folder = run.join(SERVING_FOLDER);
        let failed = |source| Error::Write { path: folder.clone(), source };
        std::fs::create_dir_all(&folder).map_err(failed)?;
        let mut bytes = serde_json::to_vec_pretty(self).expect("numbers and names can be written");
        bytes.push(b'\n');
        Ok(folder::land_bytes(&RealDisk, &folder.join(FILE), &bytes)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_promotion_is_served_and_can_be_taken_back() {
        let run = tempfile::tempdir().unwrap();
        let mut serving = Serving::read(run.path()).unwrap();
        assert_eq!(serving.current(), None);
        for round in 1..=2 {
            let checkpoint = PathBuf::from(format!("7-ppo/round-{round}"));
            assert!(serving.promote(Promoted { round, checkpoint }));
        }
        assert_eq!(serving.before(2).unwrap().round, 1);
        assert_eq!(serving.before(1), None);
        serving.write(run.path()).unwrap();
        let mut serving = Serving::read(run.path()).unwrap();
        assert_eq!(serving.current().unwrap().round, 2);
        assert_eq!(serving.roll_back().unwrap().round, 2);
        serving.write(run.path()).unwrap();
        let mut serving = Serving::read(run.path()).unwrap();
        assert_eq!(serving.current().unwrap().round, 1);
        let again = Promoted { round: 2, checkpoint: PathBuf::from("7-ppo/round-2") };
        assert!(serving.is_taken_back(2) && !serving.promote(again), "not again");
        std::fs::write(run.path().join("8-serving/current.json"), "{}").unwrap();
        assert!(Serving::read(run.path()).is_err());
    }
}
