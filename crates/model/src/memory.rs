//! How much memory a model and its batch take, known before anything is loaded.

use engine::ops::attention::PAGE_TOKENS;

use crate::batch::{BatchOptions, PREFILL_CHUNK_MAX, SLOTS_MAX};
use crate::error::Error;
use crate::outline::Outline;
use crate::workspace::Workspace;

/// Bytes by purpose.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct MemoryPlan {
    /// The packed weights.
    pub weights_bytes: u64,
    /// Keys and values of all sequences and of what is kept for prompts to come.
    pub cache_bytes: u64,
    /// Activations of the largest step, and the turns of every position.
    pub workspace_bytes: u64,
    /// Pages of the cache.
    pub cache_pages: usize,
    /// Tokens that the cache holds.
    pub cache_tokens: usize,
}

impl MemoryPlan {
    /// What a batch with these options takes.
    ///
    /// # Errors
    ///
    /// [`Error::InvalidRequest`] for options out of range, [`Error::CacheTooSmall`] if
    /// `cache_bytes` cannot hold one full context.
    pub fn new(outline: &Outline, options: &BatchOptions) -> Result<Self, Error> {
        let ranges = [
            ("slots", options.slots, SLOTS_MAX),
            ("context_tokens", options.context_tokens, usize::MAX),
            ("prefill_chunk", options.prefill_chunk, PREFILL_CHUNK_MAX),
        ];
        for (field, value, most) in ranges {
            if !(1..=most).contains(&value) {
                return Err(Error::InvalidRequest { field, expected: format!("1 to {most}") });
            }
        }
        let context_tokens = outline.context_tokens(options);
        let page_bytes = outline.page_bytes();
        let pages_per_context = context_tokens.div_ceil(PAGE_TOKENS);
        let pages = match options.cache_bytes {
            None => pages_per_context.saturating_mul(options.slots),
            Some(cache_bytes) => {
                let pages = usize::try_from(cache_bytes / page_bytes).unwrap_or(usize::MAX);
                if pages < pages_per_context {
                    let needed_bytes = page_bytes * pages_per_context as u64;
                    return Err(Error::CacheTooSmall { cache_bytes, needed_bytes, context_tokens });
                }
                pages.min(PAGES_MAX)
            }
        };
        let rows = options.slots + options.prefill_chunk;
        Ok(Self {
            weights_bytes: outline.weights_bytes(),
            cache_bytes: page_bytes * pages as u64,
            workspace_bytes: Workspace::bytes(outline.config(), rows, context_tokens),
            cache_pages: pages,
            cache_tokens: pages * PAGE_TOKENS,
        })
    }

    /// All purposes together.
    #[must_use]
    pub fn total_bytes(&self) -> u64 {
        self.weights_bytes + self.cache_bytes + self.workspace_bytes
    }
}

/// Most pages of a cache: their numbers have 32 bits.
const PAGES_MAX: usize = 1 << 30;
