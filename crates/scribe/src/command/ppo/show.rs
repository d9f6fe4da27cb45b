//! What people see of a policy while it learns, and what is kept of that.

use std::ops::ControlFlow;
use std::time::Instant;

use training::Ended;
use training::ppo::goodhart::{Curve, Reading};
use training::ppo::{PpoEvent, PpoMetrics, PpoTrainer};

use super::super::Failure;
use super::super::interrupt::Interrupt;
use super::super::progress::Progress;
use super::super::stage::records::{Records, Scalar, write_facts};
use crate::run_state::StageFacts;
use crate::terminal::Terminal;

/// Shows a stage and listens for Ctrl-C.
pub(super) struct Show<'a> {
    progress: Progress<'a>,
    interrupt: &'a Interrupt,
    records: Records,
    steps: u64,
    /// Of a step.
    answers: u64,
    step_begun: Instant,
    /// What the meter said so far.
    curve: Curve,
}

impl<'a> Show<'a> {
    pub(super) fn new(
        terminal: &'a mut Terminal,
        trainer: &PpoTrainer,
        answers: u64,
        interrupt: &'a Interrupt,
    ) -> Result<Self, Failure> {
        let is_over = trainer.is_over();
        let steps = if is_over { trainer.steps_done() } else { trainer.steps() };
        let facts = StageFacts { steps, step_tokens: answers };
        Ok(Self {
            progress: Progress::new(terminal),
            interrupt,
            records: Records::open(trainer.folder(), facts, !is_over)?,
            steps,
            answers,
            step_begun: Instant::now(),
            curve: trainer.curve().clone(),
        })
    }

    /// Shows the steps that are left.
    pub(super) fn follow(mut self, trainer: &mut PpoTrainer) -> Result<Ended, Failure> {
        let done = trainer.steps_done();
        let (done, all) = (done * self.answers, self.steps * self.answers);
        self.progress.begin_things("asking", "answers", done, all);
        let ended = trainer.run(&mut |event| self.hear(&event))?;
        self.progress.end();
        if ended == Ended::Finished && trainer.steps_done() < self.steps {
            let steps = trainer.steps_done();
            self.progress.note(format_args!(
                "ended after step {steps} of {}: past the peak, more drift makes answers worse",
                self.steps
            ));
            write_facts(trainer.folder(), StageFacts { steps, step_tokens: self.answers })?;
        }
        Ok(ended)
    }

    fn hear(&mut self, event: &PpoEvent<'_>) -> ControlFlow<()> {
        match event {
            PpoEvent::Step(metrics) => self.step(metrics),
            PpoEvent::Resumed { step, damage } => {
                for error in *damage {
                    self.warn(*step, format!("{error}; an older checkpoint is used"));
                }
                let told = format!("going on after step {step}");
                self.progress.note(&told);
                self.records.message(*step, told);
                self.records.resumed(*step);
                self.step_begun = Instant::now();
            }
            PpoEvent::Saved { step } => {
                self.records.message(*step, format!("the checkpoint of step {step} is saved"));
            }
            PpoEvent::Warned { step, warning } => self.warn(*step, warning.to_string()),
            PpoEvent::NotSaved { step, error } => {
                self.warn(*step, format!("step {step} could not be saved: {error}"));
            }
            _ => {}
        }
        match self.interrupt.is_wanted() {
            true => ControlFlow::Break(()),
            false => ControlFlow::Continue(()),
        }
    }

    fn step(&mut self, metrics: &PpoMetrics) {
        let seconds = self.step_begun.elapsed().as_secs_f64();
        self.step_begun = Instant::now();
        self.records.step(metrics.step, seconds, "answers_per_second", scalars(metrics));
        self.progress.relabel(format!(
            "step {}/{}: score {:.2}, KL {:.2}, {:.0} tokens an answer",
            metrics.step,
            self.steps,
            metrics.score,
            metrics.kl_per_episode,
            metrics.completion_tokens
        ));
        self.progress.advance(metrics.step * self.answers);
        if metrics.skipped > 0 {
            let (step, skipped) = (metrics.step, metrics.skipped);
            self.warn(
                step,
                format!(
                    "step {step}: {skipped} updates were left out, their gradients are not finite"
                ),
            );
        }
        self.curve.hear(metrics);
        if let Some(reading) = &metrics.meter {
            let told = self.of_meter(metrics.step, reading);
            self.progress.note(&told);
            self.records.message(metrics.step, told);
        }
    }

    /// What the meter says, in a line.
    fn of_meter(&self, step: u64, reading: &Reading) -> String {
        let reference = self.curve.reference.as_ref();
        let mut told = format!(
            "step {step}: {:.2} nats from the reference, {:+.2} by the reward model",
            reading.kl_per_episode,
            reading.proxy - reference.map_or(0.0, |reference| reference.proxy)
        );
        if let Some(gold) = self.curve.gold().last().filter(|_| reading.gold.is_some()) {
            told += &format!(", {:+.3} by the judge", gold.gain);
        }
        if let Some(peak) = self.curve.fit().and_then(|fit| fit.peak()) {
            told += &format!("; the peak is foretold at {:.2} nats", peak * peak);
        }
        told
    }

    /// Warns, and keeps the warning for whoever watches.
    fn warn(&mut self, step: u64, text: String) {
        self.progress.warn(&text);
        self.records.message(step, text);
    }
}

/// What is drawn of a step.
fn scalars(metrics: &PpoMetrics) -> Vec<Scalar> {
    let mut scalars = vec![
        ("score", metrics.score),
        ("reward", metrics.reward),
        ("kl/per_episode", metrics.kl_per_episode),
        ("kl/coefficient", metrics.kl_coefficient),
        ("entropy", metrics.entropy),
        ("completion_tokens", metrics.completion_tokens),
        ("ended", metrics.ended),
        ("policy/loss", metrics.policy_loss),
        ("policy/ratio", metrics.ratio),
        ("policy/clip_fraction", metrics.clip_fraction),
        ("policy/approx_kl", metrics.approx_kl),
        ("policy/gradient_norm", metrics.gradient_norm),
        ("values/loss", metrics.value_loss),
        ("values/clip_fraction", metrics.value_clip_fraction),
        ("values/explained_variance", metrics.explained_variance),
        ("values/gradient_norm", metrics.value_gradient_norm),
        ("pretraining_loss", metrics.pretraining_loss),
        ("learning_rate", metrics.rate),
    ];
    if let Some(reading) = &metrics.meter {
        scalars.push(("meter/kl_per_episode", reading.kl_per_episode));
        scalars.push(("meter/proxy", reading.proxy));
        scalars.extend(reading.gold.map(|gold| ("meter/gold", gold)));
    }
    scalars
}
