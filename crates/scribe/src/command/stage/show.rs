//! What people see of a run while it goes, and what is kept of that.

use std::ops::ControlFlow;
use std::time::Instant;

use training::metrics::{StepMetrics, ValidationMetrics};
use training::{Event, Observer, Trainer};

use super::super::Failure;
use super::super::interrupt::Interrupt;
use super::super::progress::Progress;
use super::records::{Records, Scalar};
use crate::run_state::StageFacts;
use crate::terminal::Terminal;

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
    records: Records,
    validation: Option<ValidationMetrics>,
}

impl<'a> Show<'a> {
    pub(super) fn new(
        terminal: &'a mut Terminal,
        label: &'static str,
        trainer: &Trainer,
        interrupt: &'a Interrupt,
    ) -> Result<Self, Failure> {
        let facts = StageFacts { steps: trainer.steps(), step_tokens: trainer.step_tokens() };
        let goes_on = trainer.steps_done() < trainer.steps();
        Ok(Self {
            label,
            progress: Progress::new(terminal),
            interrupt,
            step_tokens: trainer.step_tokens(),
            steps: trainer.steps(),
            begun: false,
            step_begun: Instant::now(),
            records: Records::open(trainer.folder(), facts, goes_on)?,
            validation: None,
        })
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
        self.records.step(metrics.step, seconds, "tokens_per_second", scalars(metrics));
        self.validation = metrics.validation.or(self.validation);
        let held_out = self
            .validation
            .map_or_else(String::new, |v| format!(", {:.3} bits/byte held out", v.bits_per_byte));
        let (step, loss) = (metrics.step, metrics.loss);
        self.progress.relabel(format!("step {step}/{}, loss {loss:.3}{held_out}", self.steps));
        self.progress.advance(step * self.step_tokens);
        if metrics.skipped {
            self.warn(
                step,
                format!("step {step}: the loss or a gradient is not finite; no weight was changed"),
            );
        }
    }

    /// Warns, and keeps the warning for whoever watches.
    fn warn(&mut self, step: u64, text: String) {
        self.progress.warn(&text);
        self.records.message(step, text);
    }

    fn resumed(&mut self, step: u64, damage: &[artifacts::Error]) {
        for error in damage {
            self.warn(step, format!("{error}; an older checkpoint is used"));
        }
        let told = match step < self.steps {
            true => format!("going on after step {step}"),
            false => format!("all {step} steps were taken before"),
        };
        self.progress.note(&told);
        self.records.message(step, told);
        self.records.resumed(step);
        self.step_begun = Instant::now();
    }
}

/// What is drawn of a step.
fn scalars(metrics: &StepMetrics) -> Vec<Scalar> {
    let mut scalars = vec![
        ("loss", metrics.loss),
        ("learning_rate", metrics.rate),
        ("gradient_norm", metrics.gradient_norm),
    ];
    if let Some(seen) = metrics.validation {
        scalars.push(("held_out/loss", seen.loss));
        scalars.push(("held_out/bits_per_byte", seen.bits_per_byte));
    }
    scalars
}

impl Observer for Show<'_> {
    fn hear(&mut self, event: Event<'_>) -> ControlFlow<()> {
        match event {
            Event::Resumed { step, damage } => self.resumed(step, damage),
            Event::Step(metrics) => self.step(metrics),
            Event::Saved { step } => {
                self.records.message(step, format!("the checkpoint of step {step} is saved"));
            }
            Event::NotSaved { step, error } => self.warn(
                step,
                format!("step {step} could not be saved, and the run goes on: {error}"),
            ),
            _ => {}
        }
        match self.interrupt.is_wanted() {
            true => ControlFlow::Break(()),
            false => ControlFlow::Continue(()),
        }
    }
}
