//! Text between the lessons: a policy that also goes on learning to predict forgets less of it.

use corpus::{Loader, Position};
use model::trainable::Trainable;

use crate::Error;
use crate::learner::{Parts, mean_of};
use crate::per_token::count;

/// Tokens that go through the policy at once.
const MICRO_TOKENS: usize = 2_048;

/// The text of pretraining, some rows of which are learned with every minibatch.
///
/// Its loss is the mean over its own tokens, so that what it counts beside the loss of the policy, a
/// mean over tokens, too, does not depend on how many there are of either.
///
/// Source: Ouyang et al. 2022, arXiv:2203.02155, section 3.5 (PPO-ptx).
#[derive(Debug)]
pub struct Pretraining {
    /// Where rows are read.
    pub loader: Loader,
    /// Rows of a minibatch.
    pub rows: usize,
    /// What the mean loss of a token counts.
    pub coefficient: f64,
}

impl Pretraining {
    /// Adds the gradient of some rows. Returns their mean loss, in nats a token.
    pub(super) fn accumulate(&mut self, policy: &mut Trainable) -> Result<f64, Error> {
        let batch = self.loader.next_batch(self.rows)?;
        let tokens = batch.learned.iter().filter(|&&learned| learned).count();
        #[expect(clippy::cast_possible_truncation, reason = "a share is rounded to f32 once")]
        let scale = self.coefficient as f32 * mean_of(tokens);
        let micro_rows = (MICRO_TOKENS / batch.time).max(1);
        let mut nats = 0.0;
        for part in Parts::new(&batch, micro_rows) {
            let micro_batch = part.micro_batch(scale);
            let found = policy.accumulate(&micro_batch);
            let counted = micro_batch.weights.iter().zip(found.logprobs);
            nats -= counted.map(|(&weight, logprob)| f64::from(weight * logprob)).sum::<f64>();
        }
        Ok(nats / count(tokens.max(1)))
    }

    /// Where the next rows are read.
    pub(crate) fn position(&self) -> &Position {
        self.loader.position()
    }
}
