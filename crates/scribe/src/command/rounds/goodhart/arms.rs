//! One trial: few rankings, reward models that learned from them, and policies that follow these far.

use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use comparisons::{Candidate, Comparison, Judgment};
use corpus::Prompts;
use engine::Device;
use engine::random::Series;
use evals::gold::{LABELER, SyntheticLabeler};
use model::Model;
use model::trainable::Trainable;
use tokenizer::Conversation;
use training::Ended;
use training::candidates::Asked;
use training::ppo::goodhart::{BestOf, Curve, Judge, doublings};
use training::ppo::{PpoEvent, PpoStage, PpoTrainer, Scorer, collect};
use training::recipe::{PpoRecipe, RewardRecipe};
use training::reward::{
    Combine, EncodedComparisons, Place, RewardModel, RewardReport, RewardStage,
};

use super::super::super::interrupt::Interrupt;
use super::super::super::people::{Ground, make_folder, slots};
use super::super::super::ppo::{in_tokens, judge};
use super::super::super::progress::Progress;
use super::super::super::stage::report::policy;
use super::super::super::{Exit, Failure, Session};
use super::super::label;
use super::TrialFigures;
use super::figures::Figures;
use crate::locale::Language;

/// Reward models that are trained apart.
const MODELS: usize = 5;
/// Prompts of the best of many, and completions of each.
const BEST_PROMPTS: usize = 32;
const BEST_COMPLETIONS: usize = 64;

/// How a policy is scored.
#[derive(Debug, Clone, Copy)]
pub(super) struct Arm {
    pub(super) name: &'static str,
    folder: &'static str,
    models: usize,
    combine: Combine,
}

/// One reward model, and five in three ways.
pub(super) const ARMS: [Arm; 4] = [
    Arm { name: "one", folder: "one", models: 1, combine: Combine::Mean },
    Arm { name: "mean of five", folder: "mean", models: MODELS, combine: Combine::Mean },
    Arm { name: "worst of five", folder: "worst", models: MODELS, combine: Combine::Worst },
    Arm {
        name: "mean less variance",
        folder: "uncertain",
        models: MODELS,
        combine: Combine::Uncertain(1.0),
    },
];

/// A trial with rankings and draws of its own.
pub(super) struct Trial<'a> {
    pub(super) ground: &'a Ground,
    pub(super) device: &'a Device,
    pub(super) interrupt: &'a Interrupt,
    pub(super) seed: u64,
    pub(super) folder: PathBuf,
    pub(super) language: Language,
}

impl Trial<'_> {
    /// Does what is not done yet.
    pub(super) fn run(
        &self,
        session: &mut Session,
        command: &str,
    ) -> Result<TrialFigures, Failure> {
        let prompts = self.ground.prompts(session)?;
        let ppo = self.ground.recipe.ppo()?;
        let judge = judge::of(self.ground).ok_or_else(|| {
            Failure::usage(
                "nobody can say how good answers are along the way",
                "set labeler = \"synthetic\" in [rounds]: people are not asked thousands of times",
            )
        })?;
        let reference = self.reference(ppo)?;
        let report = self.reward_models(session, &prompts, &reference)?;
        let (asked, _) = in_tokens(self.ground, ppo, &prompts.train)?;
        let (held_out, _) = in_tokens(self.ground, ppo, &prompts.validation)?;
        let best_of = self.best_of(&reference, &held_out, judge)?;
        drop(reference);
        let mut curves = Vec::with_capacity(ARMS.len());
        for arm in ARMS {
            let stage = self.stage(arm, asked.clone(), held_out.clone())?;
            curves.push((arm.folder, self.follow(session, arm, stage, command)?));
        }
        let arms = curves.iter().map(|(_, curve)| figures_of(curve)).collect::<Result<_, _>>()?;
        self.draw(&curves, &best_of)?;
        let accuracy = report.models.iter().map(|model| model.accuracy).collect();
        Ok(TrialFigures { seed: self.seed, accuracy, best_of, arms })
    }

    /// The model that was taught, to be sampled.
    fn reference(&self, ppo: &PpoRecipe) -> Result<Arc<Model>, Failure> {
        let precision = ppo.precision.of_products();
        let trunk = Trainable::read(self.device, &self.ground.base, precision)?;
        Ok(Arc::new(trunk.served()?))
    }

    /// Reward models, each of which learned from the same few rankings.
    fn reward_models(
        &self,
        session: &mut Session,
        prompts: &Prompts,
        reference: &Arc<Model>,
    ) -> Result<RewardReport, Failure> {
        let recipe = self.reward_recipe(MODELS, Combine::Mean)?;
        let comparisons = self.comparisons(&prompts.train, reference, recipe.held_out)?;
        let folder = self.folder.join("reward");
        make_folder(&folder)?;
        let stage = RewardStage {
            recipe,
            seed: self.seed,
            base: self.ground.base.clone(),
            base_name: self.base_name(&folder.join("model-1")),
            tokenizer: self.ground.tokenizer_folder(),
            rollouts: self.ground.rollouts(self.ground.recipe.ppo()?),
            folder,
        };
        session.terminal.note(format_args!(
            "seed {}: {} rankings, {MODELS} reward models",
            self.seed,
            comparisons.train.len()
        ));
        Ok(stage.run(self.device, &comparisons, &mut |_| ())?)
    }

    fn reward_recipe(&self, models: usize, combine: Combine) -> Result<RewardRecipe, Failure> {
        // What they are to be better than is not measured.
        Ok(RewardRecipe { models, combine, dpo: None, ..self.ground.recipe.reward()?.clone() })
    }

    /// How an adapter in some folder of the trial names what it lies beside.
    fn base_name(&self, folder: &Path) -> String {
        self.ground.run.name_from(folder, &self.ground.base)
    }

    /// Answers of the reference to some prompts, ranked with the doubts of the recipe.
    fn comparisons(
        &self,
        prompts: &[Conversation],
        reference: &Arc<Model>,
        held_out: f64,
    ) -> Result<EncodedComparisons, Failure> {
        let (rounds, ppo) = (self.ground.recipe.rounds()?, self.ground.recipe.ppo()?);
        let order = Series { seed: self.seed, step: 0, epoch: u32::MAX }.permutation(prompts.len());
        let chosen: Vec<Conversation> =
            order.into_iter().take(rounds.prompts).map(|place| prompts[place].clone()).collect();
        let asked = Asked {
            model: Arc::clone(reference),
            digest: label::digest_of(&self.ground.base)?,
            encoding: self.ground.encoding(ppo),
            rollouts: self.ground.rollouts(ppo),
            answers: rounds.answers,
            seed: self.seed,
        };
        let labeler = SyntheticLabeler { noise: rounds.noise, seed: self.seed };
        let mut encoded = EncodedComparisons::default();
        for candidate in asked.sample(&chosen)?.candidates {
            let comparison = ranked(labeler, candidate)?;
            encoded.add(&comparison, &asked.encoding, held_out)?;
        }
        Ok(encoded)
    }

    /// What choosing by the first reward model gains, of the reference's own completions.
    fn best_of(
        &self,
        reference: &Arc<Model>,
        prompts: &[Vec<u32>],
        mut judge: Box<dyn Judge>,
    ) -> Result<Vec<BestOf>, Failure> {
        let prompts = prompts.iter().take(BEST_PROMPTS);
        let asked: Vec<Vec<u32>> =
            prompts.flat_map(|prompt| vec![prompt.clone(); BEST_COMPLETIONS]).collect();
        let rollouts = self.ground.rollouts(self.ground.recipe.ppo()?);
        let found = collect(Arc::clone(reference), &asked, &rollouts, (self.seed, 0))?.rollouts;
        let precision = self.ground.recipe.reward()?.precision.of_products();
        let path = self.folder.join("reward/model-1");
        let place = Place { folder: &path, base: &self.ground.base };
        let scores = RewardModel::read(self.device, place, precision)?.score(&found)?;
        let scores: Vec<_> = scores.into_iter().zip(judge.judge(&found)).collect();
        let of_prompts: Vec<Vec<_>> = scores.chunks(BEST_COMPLETIONS).map(<[_]>::to_vec).collect();
        Ok(doublings(&of_prompts))
    }

    /// A policy of the trial. It goes on past the peak: that is what is to be seen.
    fn stage(
        &self,
        arm: Arm,
        prompts: Vec<Vec<u32>>,
        meter_prompts: Vec<Vec<u32>>,
    ) -> Result<PpoStage, Failure> {
        let recipe = self.ground.recipe.ppo()?.clone();
        let folder = self.folder.join(arm.folder);
        let models = (1..=arm.models).map(|model| format!("reward/model-{model}"));
        Ok(PpoStage {
            recipe: PpoRecipe { stop_at_peak: false, ..recipe },
            reward: self.reward_recipe(arm.models, arm.combine)?,
            seed: self.seed,
            base: self.ground.base.clone(),
            begin: self.ground.base.clone(),
            base_name: self.base_name(&folder.join("checkpoints/step")),
            reward_models: models.map(|model| self.folder.join(model)).collect(),
            tokenizer: self.ground.tokenizer_folder(),
            corpus: Some(self.ground.run.corpus()).filter(|corpus| corpus.exists()),
            prompts,
            meter_prompts,
            stop_tokens: self.ground.stop_tokens(),
            slots: slots(),
            thorough: false,
            folder,
        })
    }

    /// Follows the scores of an arm to the end.
    fn follow(
        &self,
        session: &mut Session,
        arm: Arm,
        stage: PpoStage,
        command: &str,
    ) -> Result<Curve, Failure> {
        let mut trainer = PpoTrainer::open(stage, self.device)?;
        if let Some(judge) = judge::of(self.ground) {
            trainer.set_judge(judge);
        }
        self.interrupt.set_saves(true);
        let (steps, label) = (trainer.steps(), format!("seed {}, {}", self.seed, arm.name));
        let mut progress = Progress::new(&mut session.terminal);
        progress.begin_things(label, "steps", trainer.steps_done(), steps);
        let ended = trainer.run(&mut |event| {
            if let PpoEvent::Step(metrics) = event {
                progress.advance(metrics.step);
            }
            match self.interrupt.is_wanted() {
                true => ControlFlow::Break(()),
                false => ControlFlow::Continue(()),
            }
        })?;
        progress.end();
        if let Ended::Stopped(_) = ended {
            progress.note(format_args!("stopped; go on with: {command}"));
            return Err(Failure::silent(Exit::Interrupted));
        }
        Ok(trainer.curve().clone())
    }

    /// Writes the page of the trial.
    fn draw(&self, curves: &[(&'static str, Curve)], best_of: &[BestOf]) -> Result<(), Failure> {
        let run = self.ground.run.path().file_name().unwrap_or_default().to_string_lossy();
        let arms: Vec<_> = curves.iter().map(|(name, curve)| (*name, curve)).collect();
        let arms = (arms.as_slice(), best_of);
        policy::write_trial(&self.folder, (&run, self.seed), arms, self.language)?;
        Ok(())
    }
}

fn figures_of(curve: &Curve) -> Result<Figures, Failure> {
    Figures::of(curve).ok_or_else(|| {
        Failure::usage("the meter was never read", "set meter_every in [ppo] above 0")
    })
}

fn ranked(labeler: SyntheticLabeler, candidate: Candidate) -> Result<Comparison, Failure> {
    let judgment = Judgment::ranked(LABELER, labeler.rank(&candidate)?, 0);
    Ok(Comparison::new(candidate, judgment)?)
}
