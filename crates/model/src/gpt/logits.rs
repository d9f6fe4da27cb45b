//! The logits of every position of a text, for those who compare models.

use engine::ops::attention::{AttentionRow, PAGE_TOKENS};

use super::{HEAD_ROWS_MAX, Model};
use crate::error::Error;
use crate::workspace::Workspace;

impl Model {
    /// Computes the logits after each token of `tokens` and shows them, in order, to
    /// `visit(position, logits)`; `logits` is `[vocab]`. No more than 32 rows exist at once.
    ///
    /// # Errors
    ///
    /// [`Error::ContextOverflow`] for more tokens than the model's context window,
    /// [`Error::InvalidRequest`] for a token that is not in the vocabulary.
    pub fn read_logits(
        &self,
        tokens: &[u32],
        visit: &mut dyn FnMut(usize, &[f32]),
    ) -> Result<(), Error> {
        let (context_tokens, vocab) = (self.outline.context_tokens_max(), self.config().vocab);
        if tokens.len() > context_tokens {
            return Err(Error::ContextOverflow { prompt_tokens: tokens.len(), context_tokens });
        }
        if let Some(token) = tokens.iter().find(|token| **token as usize >= vocab) {
            return Err(Error::InvalidRequest {
                field: "tokens",
                expected: format!("tokens below {vocab}, not {token}"),
            });
        }
        let positions: Vec<u32> = (0..).take(tokens.len()).collect();
        let pages = &positions[..tokens.len().div_ceil(PAGE_TOKENS)];
        let mut cache = self.new_cache(pages.len());
        let mut workspace = Workspace::new(&self.device, self.config(), tokens.len());
        let mut logits = vec![0.0; vocab];
        for first in (0..tokens.len()).step_by(HEAD_ROWS_MAX) {
            let all = first..(first + HEAD_ROWS_MAX).min(tokens.len());
            let rows: Vec<_> =
                all.clone().map(|position| AttentionRow { pages, position }).collect();
            let (tokens, ids) = (&tokens[all.clone()], &positions[all.clone()]);
            self.forward(&mut workspace, &mut cache, tokens, ids, &rows);
            let wanted: Vec<usize> = (0..all.len()).collect();
            self.head(&mut workspace, &wanted);
            for (row, position) in all.enumerate() {
                workspace.logits.download_row(row, &mut logits);
                visit(position, &logits);
            }
        }
        Ok(())
    }
}
