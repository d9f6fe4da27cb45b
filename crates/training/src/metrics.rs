//! What is told of every step, one line of JSON each.
//!
//! The lines are part of what the same recipe and seed give to the byte: they hold no time and
//! nothing of the machine. A run that goes on from a checkpoint cuts them to where it was.

use std::fs::{File, OpenOptions};
use std::io::{self, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer, Serialize};

use crate::Error;

/// The file of the lines.
pub const METRICS_FILE: &str = "metrics.jsonl";

/// What is told of one step.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct StepMetrics {
    /// The step, counted from 1.
    pub step: u64,
    /// Mean loss of the learned tokens before the update, in nats a token; `null` in the file
    /// where it is not finite.
    #[serde(deserialize_with = "number_or_nan")]
    pub loss: f64,
    /// The learning rate.
    pub rate: f64,
    /// The norm of all gradients before they were clipped; `null` in the file where it is not
    /// finite.
    #[serde(deserialize_with = "number_or_nan")]
    pub gradient_norm: f64,
    /// Tokens that were learned from in this step.
    pub tokens: u64,
    /// Whether the update was left out because gradients were not finite.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub skipped: bool,
    /// What was seen on held-out text before the first update of all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub before: Option<ValidationMetrics>,
    /// What was seen on held-out text after the update, where it was looked at.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub validation: Option<ValidationMetrics>,
}

/// What was seen on held-out text.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct ValidationMetrics {
    /// Mean loss in nats a token.
    pub loss: f64,
    /// Bits that the model needs for a byte of the text: `Σ loss / ln 2` over the bytes of the
    /// predicted tokens.
    pub bits_per_byte: f64,
}

/// The lines of a run on disk.
///
/// What cannot be written, as on a full disk, is kept and written with the next line.
#[derive(Debug)]
pub struct MetricsLog {
    path: PathBuf,
    file: File,
    /// Bytes that are whole lines in the file.
    written: u64,
    pending: Vec<u8>,
}

impl MetricsLog {
    /// Opens the lines of a run that goes on after `bytes` of them; what follows is cut.
    ///
    /// # Errors
    ///
    /// Where the file cannot be written, or is shorter than that.
    pub fn open(folder: &Path, bytes: u64, step: u64) -> Result<Self, Error> {
        let path = folder.join(METRICS_FILE);
        let failed = |source| Error::Write { path: path.clone(), source };
        let mut options = OpenOptions::new();
        let mut file =
            options.create(true).truncate(false).write(true).open(&path).map_err(failed)?;
        let found = file.metadata().map_err(failed)?.len();
        if found < bytes {
            return Err(Error::MetricsCut { path, found, expected: bytes, step });
        }
        file.set_len(bytes).and_then(|()| file.seek(SeekFrom::End(0))).map_err(failed)?;
        Ok(Self { path, file, written: bytes, pending: Vec::new() })
    }

    /// Writes the line of a step.
    ///
    /// # Errors
    ///
    /// Where the disk fails: the line is written with the next one.
    pub fn push(&mut self, metrics: &impl Serialize) -> Result<(), Error> {
        serde_json::to_writer(&mut self.pending, metrics)
            .map_err(|error| self.failed(error.into()))?;
        self.pending.push(b'\n');
        self.flush()
    }

    /// Makes the lines durable. Returns how many bytes they have.
    ///
    /// # Errors
    ///
    /// Where the disk fails.
    pub fn sync(&mut self) -> Result<u64, Error> {
        self.flush()?;
        self.file.sync_data().map_err(|source| self.failed(source))?;
        Ok(self.written)
    }

    fn flush(&mut self) -> Result<(), Error> {
        if let Err(source) = self.file.write_all(&self.pending) {
            // Half a line may be there: it is written over.
            let _ = self.file.set_len(self.written);
            let _ = self.file.seek(SeekFrom::Start(self.written));
            return Err(self.failed(source));
        }
        self.written += self.pending.len() as u64;
        self.pending.clear();
        Ok(())
    }

    fn failed(&self, source: io::Error) -> Error {
        Error::Write { path: self.path.clone(), source }
    }
}

/// Reads the lines of a run, such as for a picture; a last line that is not whole yet is left out.
///
/// # Errors
///
/// Where the file cannot be read, or a line is no such line.
pub fn read(folder: &Path) -> Result<Vec<StepMetrics>, Error> {
    read_lines(folder)
}

/// As [`read`], of a stage that tells of its steps in other words.
///
/// # Errors
///
/// As [`read`].
pub fn read_lines<M: DeserializeOwned>(folder: &Path) -> Result<Vec<M>, Error> {
    let path = folder.join(METRICS_FILE);
    let unreadable = |source| Error::Read { path: path.clone(), source };
    let text = artifacts::read_text(&path).map_err(unreadable)?;
    let whole = text.rfind('\n').map_or("", |end| &text[..end]);
    let lines = whole.lines().map(serde_json::from_str);
    lines.collect::<Result<_, _>>().map_err(|error| unreadable(error.into()))
}

/// A number, or what JSON writes for one that is not finite.
fn number_or_nan<'de, D: Deserializer<'de>>(deserializer: D) -> Result<f64, D::Error> {
    Ok(Option::deserialize(deserializer)?.unwrap_or(f64::NAN))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn metrics(step: u64) -> StepMetrics {
        let validation = Some(ValidationMetrics { loss: 2.5, bits_per_byte: 1.25 });
        StepMetrics {
            step,
            loss: 0.1 + 0.2,
            rate: 1e-3,
            gradient_norm: 0.5,
            tokens: 7,
            skipped: false,
            before: None,
            validation: validation.filter(|_| step.is_multiple_of(2)),
        }
    }

    #[test]
    fn lines_come_back_and_are_cut_where_a_run_goes_on() {
        let folder = tempfile::tempdir().unwrap();
        let mut log = MetricsLog::open(folder.path(), 0, 0).unwrap();
        log.push(&metrics(1)).unwrap();
        log.push(&metrics(2)).unwrap();
        let bytes = log.sync().unwrap();
        log.push(&metrics(3)).unwrap();
        drop(log);
        assert_eq!(read(folder.path()).unwrap(), [1, 2, 3].map(metrics));

        let mut log = MetricsLog::open(folder.path(), bytes, 2).unwrap();
        assert_eq!(read(folder.path()).unwrap(), [1, 2].map(metrics));
        log.push(&metrics(4)).unwrap();
        assert_eq!(read(folder.path()).unwrap(), [1, 2, 4].map(metrics));
        let error = MetricsLog::open(folder.path(), 1 << 20, 9).unwrap_err().to_string();
        assert!(error.contains("step 9") && error.contains("put the file back"), "{error}");
    }
}
