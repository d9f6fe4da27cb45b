//! Who says along the way how good a policy's answers are, where the recipe's labeler is a program.

use evals::gold;
use tokenizer::Tokenizer;
use training::ppo::Rollout;
use training::ppo::goodhart::Judge;
use training::recipe::LabelerKind;

use super::super::people::Ground;

/// The taste of the synthetic labeler without its doubts. It sees texts, never scores, and nothing
/// learns from what it says.
#[derive(Debug)]
struct Taste {
    tokenizer: Tokenizer,
}

impl Judge for Taste {
    fn judge(&mut self, rollouts: &[Rollout]) -> Vec<f64> {
        // What ends a turn stands for no text.
        let score = |rollout: &Rollout| gold::score(&self.tokenizer.decode(&rollout.completion));
        rollouts.iter().map(score).collect()
    }
}

/// The judge of a run; with people there is none along the way.
pub(in crate::command) fn of(ground: &Ground) -> Option<Box<dyn Judge>> {
    let labeler = ground.recipe.rounds().ok()?.labeler;
    let tokenizer = ground.tokenizer.clone();
    (labeler == LabelerKind::Synthetic).then(|| Box::new(Taste { tokenizer }) as Box<dyn Judge>)
}
