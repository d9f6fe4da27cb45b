//! The meter, read off the policy as it is kept.

use std::sync::Arc;

use super::{Ppo, Scorer};
use crate::Error;
use crate::ppo::goodhart::{Meter, Reading};
use crate::ppo::kl::{self, Estimator};
use crate::ppo::rollouts::Rollouts;

impl Ppo {
    /// What reward models and judge think of the policy, and how far it is from the reference; where
    /// an average of its weights is kept, of that one. Nothing that learns is changed.
    ///
    /// # Errors
    ///
    /// What sampling and scoring report.
    pub fn read(&mut self, meter: &mut Meter, scorer: &mut dyn Scorer) -> Result<Reading, Error> {
        let asked = self.policy.with_kept(|trunk| meter.ask(Arc::new(trunk.served()?)));
        let Rollouts { rollouts, logprobs } = asked?;
        let reference_logprobs = self.reference_logprobs(&rollouts);
        let kl = kl::per_token(Estimator::K1, &logprobs, &reference_logprobs);
        meter.read(&rollouts, kl::per_episode(&kl), scorer)
    }
}
