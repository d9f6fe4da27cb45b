//! What a stage leaves beside what is the same on every machine: times, messages, TensorBoard's events.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use artifacts::disk::RealDisk;
use artifacts::folder;
use serde::Serialize;
use training::Trainer;
use training::metrics::StepMetrics;

use super::super::Failure;
use crate::run_state::{
    MESSAGES_FILE, Message, STAGE_FILE, StageFacts, TIMING_FILE, Timing, figure,
};
use crate::tensorboard::EventFile;

/// The files of a stage. Once they are open, a run does not end because they cannot be written.
#[derive(Debug)]
pub(super) struct Records {
    timing: File,
    messages: File,
    /// None where the stage is at its end, the file could not be begun, or a record is torn: what
    /// follows could not be read.
    events: Option<EventFile<File>>,
    step_tokens: u64,
}

impl Records {
    /// Opens the files of a stage, and says how long it is.
    pub(super) fn open(trainer: &Trainer) -> Result<Self, Failure> {
        let (path, step_tokens) = (trainer.folder(), trainer.step_tokens());
        let facts = StageFacts { steps: trainer.steps(), step_tokens };
        folder::land_bytes(&RealDisk, &path.join(STAGE_FILE), &serde_json::to_vec(&facts)?)?;
        // A stage at its end has nothing more to tell.
        let goes_on = trainer.steps_done() < trainer.steps();
        Ok(Self {
            timing: append(path, TIMING_FILE)?,
            messages: append(path, MESSAGES_FILE)?,
            events: goes_on.then(|| EventFile::create(path, now()).ok()).flatten(),
            step_tokens,
        })
    }

    /// Keeps what was told of a step, and how long it took.
    pub(super) fn step(&mut self, metrics: &StepMetrics, seconds: f64) {
        write_line(&mut self.timing, &Timing { step: metrics.step, seconds });
        let speed = figure(self.step_tokens) / seconds.max(f64::MIN_POSITIVE);
        let mut scalars = vec![
            ("loss", metrics.loss),
            ("learning_rate", metrics.rate),
            ("gradient_norm", metrics.gradient_norm),
            ("tokens_per_second", speed),
        ];
        if let Some(seen) = metrics.validation {
            scalars.push(("held_out/loss", seen.loss));
            scalars.push(("held_out/bits_per_byte", seen.bits_per_byte));
        }
        self.event(|file| file.scalars(now(), metrics.step, &scalars));
    }

    /// Keeps that the stage goes on after a step.
    pub(super) fn resumed(&mut self, step: u64) {
        self.event(|file| file.resume(now(), step));
    }

    /// Keeps what was said after a step.
    pub(super) fn message(&mut self, step: u64, text: String) {
        write_line(&mut self.messages, &Message { step, text });
    }

    fn event(&mut self, write: impl FnOnce(&mut EventFile<File>) -> io::Result<()>) {
        let written = |mut file| write(&mut file).is_ok().then_some(file);
        self.events = self.events.take().and_then(written);
    }
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
