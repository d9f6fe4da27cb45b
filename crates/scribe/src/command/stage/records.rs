//! What a stage leaves beside what is the same on every machine: times, messages, TensorBoard's events.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use artifacts::disk::RealDisk;
use artifacts::folder;
use serde::Serialize;

use super::super::Failure;
use crate::run_state::{
    MESSAGES_FILE, Message, STAGE_FILE, StageFacts, TIMING_FILE, Timing, figure,
};
use crate::tensorboard::EventFile;

/// The files of a stage. Once they are open, a run does not end because they cannot be written.
#[derive(Debug)]
pub(in crate::command) struct Records {
    timing: File,
    messages: File,
    /// None where the stage is at its end, the file could not be begun, or a record is torn: what
    /// follows could not be read.
    events: Option<EventFile<File>>,
    step_tokens: u64,
}

/// A number that is told of a step, by the name under which it is drawn.
pub(in crate::command) type Scalar = (&'static str, f64);

impl Records {
    /// Opens the files of a stage, and says how long it is. One at its end has nothing more to tell.
    pub(in crate::command) fn open(
        path: &Path,
        facts: StageFacts,
        goes_on: bool,
    ) -> Result<Self, Failure> {
        write_facts(path, facts)?;
        Ok(Self {
            timing: append(path, TIMING_FILE)?,
            messages: append(path, MESSAGES_FILE)?,
            events: goes_on.then(|| EventFile::create(path, now()).ok()).flatten(),
            step_tokens: facts.step_tokens,
        })
    }

    /// Keeps what was told of a step, and how long it took; `speed` names tokens, or answers, a second.
    pub(in crate::command) fn step(
        &mut self,
        step: u64,
        seconds: f64,
        speed: &'static str,
        mut scalars: Vec<Scalar>,
    ) {
        write_line(&mut self.timing, &Timing { step, seconds });
        scalars.push((speed, figure(self.step_tokens) / seconds.max(f64::MIN_POSITIVE)));
        self.event(|file| file.scalars(now(), step, &scalars));
    }

    /// Keeps that the stage goes on after a step.
    pub(in crate::command) fn resumed(&mut self, step: u64) {
        self.event(|file| file.resume(now(), step));
    }

    /// Keeps what was said after a step.
    pub(in crate::command) fn message(&mut self, step: u64, text: String) {
        write_line(&mut self.messages, &Message { step, text });
    }

    fn event(&mut self, write: impl FnOnce(&mut EventFile<File>) -> io::Result<()>) {
        let written = |mut file| write(&mut file).is_ok().then_some(file);
        self.events = self.events.take().and_then(written);
    }
}

/// Keeps how long a stage is.
pub(in crate::command) fn write_facts(folder: &Path, facts: StageFacts) -> Result<(), Failure> {
    let bytes = serde_json::to_vec(&facts)?;
    Ok(folder::land_bytes(&RealDisk, &folder.join(STAGE_FILE), &bytes)?)
}

fn append(folder: &Path, name: &str) -> io::Result<File> {
    OpenOptions::new().create(true).append(true).open(folder.join(name))
}

/// Adds a line in one piece.
fn write_line(file: &mut File, value: &impl Serialize) {
    if let Ok(line) = serde_json::to_string(value) {
        let _ = file.write_all(format!("{line}\n").as_bytes());
    }
}

/// Seconds since 1970.
fn now() -> f64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0.0, |since| since.as_secs_f64())
}
