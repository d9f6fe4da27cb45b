//! What people see of a run while it goes, and what it leaves about time.

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::ops::ControlFlow;
use std::time::Instant;

use serde::Serialize;
use training::metrics::{StepMetrics, ValidationMetrics};
use training::{Event, Observer, Trainer};

use super::super::Failure;
use super::super::interrupt::Interrupt;
use super::super::progress::Progress;
use crate::terminal::Terminal;

/// How long each step took: apart from the metrics, which are the same on every machine.
const TIMING_FILE: &str = "timing.jsonl";

/// Shows a run and listens for Ctrl-C.
#[derive(Debug)]
pub(super) struct Show<'a> {
    label: &'static str,
    progress: Progress<'a>,
    interrupt: &'a Interrupt,
    /// Tokens of a step, and steps of the run.
    step_tokens: u64,
    steps: u64,
    begun: bool,
    step_begun: Instant,
    timing: File,
    last: Option<StepMetrics>,
    before: Option<ValidationMetrics>,
    validation: Option<ValidationMetrics>,
}

/// A line of [`TIMING_FILE`].
#[derive(Debug, Serialize)]
struct Timing {
    step: u64,
    seconds: f64,
}

impl<'a> Show<'a> {
    pub(super) fn new(
        terminal: &'a mut Terminal,
        label: &'static str,
        trainer: &Trainer,
        interrupt: &'a Interrupt,
    ) -> Result<Self, Failure> {
        let path = trainer.folder().join(TIMING_FILE);
        let timing = OpenOptions::new().create(true).append(true).open(path)?;
        Ok(Self {
            label,
            progress: Progress::new(terminal),
            interrupt,
            step_tokens: trainer.step_tokens(),
            steps: trainer.steps(),
            begun: false,
            step_begun: Instant::now(),
            timing,
            last: None,
            before: None,
            validation: None,
        })
    }

    /// The last step's loss, and the first and the last look at held-out text.
    pub(super) fn last(
        &self,
    ) -> (Option<f64>, Option<ValidationMetrics>, Option<ValidationMetrics>) {
        (self.last.as_ref().map(|metrics| metrics.loss), self.before, self.validation)
    }

    fn begin(&mut self, step: u64) {
        if !self.begun {
            let tokens = |steps| steps * self.step_tokens;
            self.progress.begin_tokens_after(self.label, tokens(step), tokens(self.steps));
            self.begun = true;
        }
    }

    fn step(&mut self, metrics: &StepMetrics) {
        self.begin(metrics.step - 1);
        let seconds = self.step_begun.elapsed().as_secs_f64();
        self.step_begun = Instant::now();
        // Figures about time are for people: a run does not end because they cannot be kept.
        let _ = serde_json::to_string(&Timing { step: metrics.step, seconds })
            .map(|line| writeln!(self.timing, "{line}"));
        self.before = self.before.or(metrics.before);
        self.validation = metrics.validation.or(self.validation);
        let held_out = self
            .validation
            .map_or_else(String::new, |v| format!(", {:.3} bits/byte held out", v.bits_per_byte));
        let (step, loss) = (metrics.step, metrics.loss);
        self.progress.relabel(format!("step {step}/{}, loss {loss:.3}{held_out}", self.steps));
        self.progress.advance(step * self.step_tokens);
        if metrics.skipped {
            self.progress.warn(format_args!(
                "step {step}: the loss or a gradient is not finite; no weight was changed"
            ));
        }
        self.last = Some(metrics.clone());
    }
}

impl Observer for Show<'_> {
    fn hear(&mut self, event: Event<'_>) -> ControlFlow<()> {
        match event {
            Event::Resumed { step, damage } => {
                for error in damage {
                    self.progress.warn(format_args!("{error}; an older checkpoint is used"));
                }
                self.progress.note(format_args!("going on after step {step}"));
                self.step_begun = Instant::now();
            }
            Event::Step(metrics) => self.step(metrics),
            Event::NotSaved { step, error } => self
                .progress
                .warn(format_args!("step {step} could not be saved, and the run goes on: {error}")),
            _ => {}
        }
        match self.interrupt.is_wanted() {
            true => ControlFlow::Break(()),
            false => ControlFlow::Continue(()),
        }
    }
}
