//! Log-probabilities of runs of tokens under a model, many at a time.

use std::collections::BTreeMap;
use std::sync::Arc;

use model::{Batch, BatchOptions, Event, Model, SequenceId, SequenceRequest};

use crate::Error;

/// Tokens, the last of which are measured.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Passage {
    /// At most as many as the context window of the batch.
    pub(crate) tokens: Vec<u32>,
    /// The first token that is measured, at least 1; those before are read alone.
    pub(crate) first: usize,
}

/// The sum of the natural log-probabilities of the measured tokens of each passage.
///
/// What one passage gets depends on its own tokens alone, so the sums are the same to the bit in
/// any batch. Passages are asked for when there is room for them.
///
/// # Errors
///
/// What `passages` fail with, and [`Error::Model`].
pub(crate) fn measure(
    model: &Arc<Model>,
    options: &BatchOptions,
    passages: impl Iterator<Item = Result<Passage, Error>>,
) -> Result<Vec<f64>, Error> {
    let mut batch = Batch::new(model.clone(), options.clone())?;
    let mut passages = passages.fuse();
    let mut live: BTreeMap<SequenceId, usize> = BTreeMap::new();
    let mut waiting: Option<Passage> = None;
    let mut sums = Vec::new();
    loop {
        while let Some(passage) = waiting.take().map(Ok).or_else(|| passages.next()) {
            let passage = passage?;
            match batch.add(request(&passage)) {
                Ok(id) => {
                    live.insert(id, sums.len());
                    sums.push(0.0);
                }
                Err(model::Error::Full) if !batch.is_idle() => {
                    waiting = Some(passage);
                    break;
                }
                Err(error) => return Err(error.into()),
            }
        }
        if batch.is_idle() {
            return Ok(sums);
        }
        for event in batch.step()? {
            match event {
                Event::Prompt { id, logprobs, .. } => {
                    let Some(place) = live.remove(&id) else { continue };
                    sums[place] = logprobs.iter().map(|token| f64::from(token.logprob)).sum();
                }
                Event::Failed { error, .. } => return Err(error.into()),
                _ => {}
            }
        }
    }
}

fn request(passage: &Passage) -> SequenceRequest {
    assert!(passage.first > 0, "nothing predicts the first token");
    SequenceRequest {
        prompt: passage.tokens.clone(),
        prompt_logprobs: Some(passage.first),
        ..SequenceRequest::default()
    }
}
