//! What a stage leaves beside what is the same on every machine: times and messages.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::path::Path;

use artifacts::disk::RealDisk;
use artifacts::folder;
use serde::Serialize;
use training::Trainer;
use training::metrics::StepMetrics;

use super::super::Failure;
use crate::run_state::{MESSAGES_FILE, Message, STAGE_FILE, StageFacts, TIMING_FILE, Timing};

/// The files of a stage. Once they are open, a run does not end because they cannot be written.
#[derive(Debug)]
pub(super) struct Records {
    timing: File,
    messages: File,
}

impl Records {
    /// Opens the files of a stage, and says how long it is.
    pub(super) fn open(trainer: &Trainer) -> Result<Self, Failure> {
        let path = trainer.folder();
        let facts = StageFacts { steps: trainer.steps(), step_tokens: trainer.step_tokens() };
        folder::land_bytes(&RealDisk, &path.join(STAGE_FILE), &serde_json::to_vec(&facts)?)?;
        Ok(Self { timing: append(path, TIMING_FILE)?, messages: append(path, MESSAGES_FILE)? })
    }

    /// Keeps what was told of a step, and how long it took.
    pub(super) fn step(&mut self, metrics: &StepMetrics, seconds: f64) {
        write_line(&mut self.timing, &Timing { step: metrics.step, seconds });
    }

    /// Keeps what was said after a step.
    pub(super) fn message(&mut self, step: u64, text: String) {
        write_line(&mut self.messages, &Message { step, text });
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
