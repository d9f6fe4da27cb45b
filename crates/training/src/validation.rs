//! How well a model predicts text that it never learned from.

use corpus::{Corpus, Loader, Packing, Split};

use crate::learner::Learner;
use crate::metrics::ValidationMetrics;
use crate::{Error, Stage};

/// The order of held-out rows is the same in every run.
const SEED: u64 = 0;

/// Rows of held-out text, the same ones each time.
#[derive(Debug)]
pub(crate) struct Validation {
    loader: Loader,
    rows: usize,
    /// Bytes of each token's text; 0 of special ones.
    token_bytes: Vec<u32>,
}

impl Validation {
    /// Up to so many rows; `None` where there are none.
    pub(crate) fn open(
        corpus: &Corpus,
        stage: &Stage,
        token_bytes: Vec<u32>,
    ) -> Result<Option<Self>, Error> {
        let wanted = stage.recipe.validation_rows;
        let least = match stage.packing {
            Packing::Stream => stage.row_tokens as u64 + 1,
            Packing::Whole => 1,
        };
        if wanted == 0 || corpus.facts().validation.tokens < least {
            return Ok(None);
        }
        let loader = corpus.loader(Split::Validation, stage.reads(SEED))?;
        let rows = usize::try_from(loader.epoch_rows()).unwrap_or(wanted).min(wanted);
        Ok(Some(Self { loader, rows, token_bytes }))
    }

    /// Looks at the rows.
    pub(crate) fn measure(&mut self, learner: &mut Learner) -> Result<ValidationMetrics, Error> {
        let begin = self.loader.position().clone();
        let (mut nats, mut tokens, mut bytes) = (0.0, 0_u64, 0_u64);
        let mut left = self.rows;
        while left > 0 {
            let rows = left.min(learner.micro_rows());
            let batch = self.loader.next_batch(rows)?;
            let logprobs = learner.logprobs(&batch);
            for ((&target, &learned), &logprob) in
                batch.targets.iter().zip(&batch.learned).zip(&logprobs)
            {
                if learned {
                    nats -= f64::from(logprob);
                    tokens += 1;
                    bytes += u64::from(self.token_bytes.get(target as usize).copied().unwrap_or(0));
                }
            }
            left -= rows;
        }
        self.loader.seek(&begin)?;
        Ok(ValidationMetrics { loss: per(nats, tokens), bits_per_byte: per(nats, bytes) / LN_2 })
    }
}

/// One bit in nats.
const LN_2: f64 = std::f64::consts::LN_2;

#[expect(clippy::cast_precision_loss, reason = "far fewer than 2^52 tokens")]
fn per(sum: f64, count: u64) -> f64 {
    sum / count.max(1) as f64
}
