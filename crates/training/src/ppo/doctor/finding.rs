//! What the doctor says: a name, numbers, a cause, and what to do.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt::{self, Display};
use std::path::Path;

use artifacts::disk::RealDisk;
use artifacts::folder;
use serde::{Deserialize, Serialize};

use crate::Error;

/// What was found in a run, in the stage's folder.
pub const DOCTOR_FILE: &str = "doctor.json";
/// The version of its form.
const VERSION: u32 = 1;

/// What a finding means for a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Gravity {
    /// What was computed is wrong: the run ends, and the step is not kept.
    Fault,
    /// Something may go wrong: the run goes on.
    Sign,
}

/// What can be found, once and for all.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Diagnosis {
    /// In words with hyphens, for programs.
    pub name: &'static str,
    /// What it means for a run.
    pub gravity: Gravity,
    /// What is wrong, the beginning of a sentence.
    pub cause: &'static str,
    /// What to do, its end.
    pub mend: &'static str,
}

/// What was found in a step.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Finding {
    /// The step, counted from 1; 0 before the first.
    pub step: u64,
    /// The name of its [`Diagnosis`].
    pub name: Cow<'static, str>,
    /// What it means for a run.
    pub gravity: Gravity,
    /// The numbers that show it, by what they are of.
    pub evidence: BTreeMap<String, f64>,
    /// What is wrong.
    pub cause: Cow<'static, str>,
    /// What to do.
    pub mend: Cow<'static, str>,
}

impl Diagnosis {
    /// A fault.
    pub(super) const fn fault(name: &'static str, cause: &'static str, mend: &'static str) -> Self {
        Self { name, gravity: Gravity::Fault, cause, mend }
    }

    /// A sign.
    pub(super) const fn sign(name: &'static str, cause: &'static str, mend: &'static str) -> Self {
        Self { name, gravity: Gravity::Sign, cause, mend }
    }

    /// Found in a step, with the numbers that show it; those that JSON cannot write are left out.
    pub(super) fn found(&self, step: u64, evidence: &[(&str, f64)]) -> Finding {
        let finite = evidence.iter().filter(|(_, number)| number.is_finite());
        Finding {
            step,
            name: self.name.into(),
            gravity: self.gravity,
            evidence: finite.map(|&(of, number)| (of.to_owned(), number)).collect(),
            cause: self.cause.into(),
            mend: self.mend.into(),
        }
    }
}

impl Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.step > 0 {
            write!(f, "step {}: ", self.step)?;
        }
        write!(f, "{}", self.cause)?;
        let numbers = self.evidence.iter().map(|(of, number)| format!("{of} {}", short(*number)));
        let numbers: Vec<_> = numbers.collect();
        if !numbers.is_empty() {
            write!(f, " ({})", numbers.join(", "))?;
        }
        write!(f, "; {}", self.mend)
    }
}

/// A number with no more digits than a person reads.
fn short(number: f64) -> String {
    let is_whole = (number - number.round()).abs() < 1e-12 && number.abs() < 1e9;
    match number.abs() {
        _ if is_whole => format!("{number:.0}"),
        size if (1e-3..1e6).contains(&size) => format!("{number:.4}"),
        _ => format!("{number:.3e}"),
    }
}

/// All that was found in a run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Findings {
    version: u32,
    /// In the order of steps.
    pub findings: Vec<Finding>,
}

impl Findings {
    /// What is in the folder of a stage; nothing where nothing was written yet.
    ///
    /// # Errors
    ///
    /// Where the file cannot be read, or is no such file.
    pub fn read(stage: &Path) -> Result<Vec<Finding>, Error> {
        let path = stage.join(DOCTOR_FILE);
        if !path.exists() {
            return Ok(Vec::new());
        }
        let Self { version, findings } = crate::checkpoint::read_json(&path)?;
        if version == VERSION {
            return Ok(findings);
        }
        let problem = format!("version {version} is not known here");
        Err(Error::OtherCheckpoint { path, problem })
    }

    /// Leaves all that was found in the folder of a stage.
    ///
    /// # Errors
    ///
    /// Where the disk fails.
    ///
    /// # Panics
    ///
    /// Never: evidence is finite.
    pub fn write(stage: &Path, findings: &[Finding]) -> Result<(), Error> {
        let all = Self { version: VERSION, findings: findings.to_vec() };
        let mut bytes = serde_json::to_vec_pretty(&all).expect("numbers and texts can be written");
        bytes.push(b'\n');
        Ok(folder::land_bytes(&RealDisk, &stage.join(DOCTOR_FILE), &bytes)?)
    }
}
