//! The meter of a stage reads the same questions each time, and may end the stage at the peak.

use super::*;
use crate::ppo::Scorer;
use crate::ppo::goodhart::Judge;

/// A judge who likes completions whose score by a reward model is near some number: what is beyond is
/// too much of the same.
#[derive(Debug)]
pub(super) struct Near {
    model: RewardModel,
    best: f64,
}

impl Near {
    pub(super) fn score_of(stage: &PpoStage, best: f64) -> Self {
        let precision = stage.reward.precision.of_products();
        let model =
            RewardModel::read(&device(1), stage.place_of(&stage.reward_models[0]), precision);
        Self { model: model.unwrap(), best }
    }
}

impl Judge for Near {
    fn judge(&mut self, rollouts: &[Rollout]) -> Vec<f64> {
        let scores = self.model.score(rollouts).unwrap();
        scores.iter().map(|score| -(score - self.best) * (score - self.best)).collect()
    }
}

/// Many steps away from the reference, at no price.
fn far() -> PpoRecipe {
    PpoRecipe {
        steps: 60,
        kl_coefficient: 0.0,
        kl_target: None,
        meter_every: 1,
        meter_answers: 40,
        stop_at_peak: true,
        checkpoint_every: 7,
        ..recipe()
    }
}

#[test]
fn a_policy_that_has_not_moved_reads_as_the_reference() {
    let given = Given::new();
    for ema in [None, Some(0.9)] {
        let stage = given.stage("begin", PpoRecipe { ema, ..far() });
        let mut trainer = open(stage, 1);
        let reference = trainer.read_reference().unwrap().unwrap();
        let meter = trainer.meter.as_mut().unwrap();
        let read = trainer.ppo.read(meter, &mut trainer.scorer).unwrap();
        assert_eq!(read, reference);
        assert!(read.kl_per_episode.abs() < 1e-300 && read.gold.is_some(), "{read:?}");
    }
}

#[test]
fn a_stage_ends_past_the_peak_and_ends_there_again() {
    let given = Given::new();
    let stage = given.stage("peak", far());
    assert_eq!(work(stage.clone(), 2, u64::MAX), Ended::Finished);
    let trainer = open(stage.clone(), 1);
    let (steps, curve) = (trainer.steps_done(), trainer.curve().clone());
    assert!(steps < 60 && trainer.is_over(), "{steps} {curve:?}");
    assert_eq!(trainer.steps_saved(), steps, "the policy of the end is kept");
    let peak = curve.fit().and_then(|fit| fit.peak()).unwrap();
    let last: Vec<f64> = curve.readings.iter().map(|(_, reading)| reading.distance()).collect();
    assert!(last[last.len() - 2..].iter().all(|&distance| distance > peak), "{peak} {last:?}");
    let expected = files(&stage.folder);
    drop(trainer);
    assert_eq!(work(stage.clone(), 1, u64::MAX), Ended::Finished);
    assert!(files(&stage.folder) == expected, "nothing is left to do");

    // One that is stopped on the way ends at the same place, with the same bytes.
    let stopped = given.stage("stopped", far());
    assert_eq!(work(stopped.clone(), 1, 3), Ended::Stopped(3));
    assert_eq!(work(stopped.clone(), 1, u64::MAX), Ended::Finished);
    assert!(files(&stopped.folder) == expected, "bytes after {steps} steps");
}

#[test]
fn a_peak_that_nobody_would_see_is_refused() {
    let given = Given::new();
    let mut trainer = PpoTrainer::open(given.stage("run", far()), &device(1)).unwrap();
    let error = trainer.run(&mut |_| ControlFlow::Continue(())).unwrap_err().to_string();
    assert!(error.contains("ppo.stop_at_peak") && error.contains("nobody judges"), "{error}");
    let nobody_asked = PpoStage { meter_prompts: vec![], ..given.stage("none", far()) };
    let error = PpoTrainer::open(nobody_asked, &device(1)).unwrap_err().to_string();
    assert!(error.contains("ppo.meter_every") && error.contains("held out"), "{error}");
}
