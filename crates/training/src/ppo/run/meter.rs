//! The meter of a stage: when it is read, and when what it shows ends the stage.

use std::path::Path;
use std::sync::Arc;

use model::trainable::Trainable;

use super::{PpoStage, PpoTrainer};
use crate::Error;
use crate::metrics::read_lines;
use crate::ppo::PpoMetrics;
use crate::ppo::goodhart::{Curve, Judge, Meter, Reading};

impl PpoStage {
    /// The meter that the recipe asks for, without a judge.
    pub(super) fn meter(&self) -> Result<Option<Meter>, Error> {
        let every = self.recipe.meter_every;
        if every == 0 {
            return Ok(None);
        }
        if self.meter_prompts.is_empty() {
            return Err(Error::field("ppo.meter_every", every, "0 where no prompt is held out"));
        }
        let prompts = self.meter_prompts.iter().cycle().take(self.recipe.meter_answers);
        let (prompts, rollouts) = (prompts.cloned().collect(), self.options().rollouts);
        Ok(Some(Meter { prompts, rollouts, seed: self.seed, judge: None }))
    }

    /// What was read before, of a stage that goes on.
    pub(super) fn curve(&self, step: u64) -> Result<Curve, Error> {
        match step {
            0 => Ok(Curve::default()),
            _ => Ok(Curve::of(&read_lines::<PpoMetrics>(&self.folder)?)),
        }
    }
}

impl PpoTrainer {
    /// Lets somebody judge what the meter reads. The same judge is needed where a stage goes on.
    pub fn set_judge(&mut self, judge: Box<dyn Judge>) {
        if let Some(meter) = &mut self.meter {
            meter.judge = Some(judge);
        }
    }

    /// Where metrics and checkpoints are left.
    #[must_use]
    pub fn folder(&self) -> &Path {
        &self.stage.folder
    }

    /// What was read so far.
    #[must_use]
    pub fn curve(&self) -> &Curve {
        &self.curve
    }

    /// Whether no step is left to take: all were taken, or the peak is behind and the recipe wants it
    /// to end there.
    #[must_use]
    pub fn is_over(&self) -> bool {
        let recipe = &self.stage.recipe;
        let is_past = recipe.stop_at_peak && self.curve.is_past_peak();
        self.ppo.steps >= recipe.steps || is_past
    }

    /// Refuses a stage that is to end where somebody would see it, and nobody looks.
    pub(super) fn check_judge(&self) -> Result<(), Error> {
        let is_judged = self.meter.as_ref().is_some_and(|meter| meter.judge.is_some());
        if is_judged || !self.stage.recipe.stop_at_peak {
            return Ok(());
        }
        let expected = "false where nobody judges along the way, as with people";
        Err(Error::field("ppo.stop_at_peak", true, expected))
    }

    /// What is thought of the reference, before the first step.
    pub(super) fn read_reference(&mut self) -> Result<Option<Reading>, Error> {
        let Some(meter) = self.meter.as_mut().filter(|_| self.ppo.steps == 0) else {
            return Ok(None);
        };
        let precision = self.stage.recipe.precision.of_products();
        let device = self.ppo.policy.trunk.device();
        let reference = Trainable::read(device, &self.stage.base, precision)?;
        let asked = meter.ask(Arc::new(reference.served()?))?;
        meter.read(&asked.rollouts, 0.0, &mut self.scorer).map(Some)
    }

    /// What is thought of the policy after the step that was taken, where it is time to ask.
    pub(super) fn read_meter(&mut self) -> Result<Option<Reading>, Error> {
        let (step, recipe) = (self.ppo.steps, &self.stage.recipe);
        let Some(meter) = &mut self.meter else { return Ok(None) };
        let is_time = step.is_multiple_of(recipe.meter_every) || step == recipe.steps;
        is_time.then(|| self.ppo.read(meter, &mut self.scorer)).transpose()
    }
}
