//! Many sequences at once: slots, paged cache, prefix tree, chunked prefill, continuous batching.
//!
//! Each [`step`](Batch::step) is one forward pass over one row for every sequence that decodes and
//! a chunk of the prompts that wait. What a sequence computes depends on its own tokens alone: not
//! on its neighbors, its slot, the size of the chunks, or how much of its prompt was cached.

mod sequence;
mod step;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use engine::ops::attention::{KvCache, PAGE_TOKENS};

use crate::error::Error;
use crate::gpt::Model;
use crate::memory::MemoryPlan;
use crate::pages::Pages;
use crate::request::{Event, SequenceId, SequenceRequest};
use crate::sampler::Scratch;
use crate::workspace::Workspace;

use sequence::Sequence;

/// Most slots of a batch.
pub const SLOTS_MAX: usize = 1024;
/// Most prompt tokens of one step.
pub const PREFILL_CHUNK_MAX: usize = 4096;

/// How a batch is laid out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BatchOptions {
    /// Sequences that can be live at once, 1 to [`SLOTS_MAX`]. Default 8.
    pub slots: usize,
    /// Most tokens of one sequence; at least 1, cut to the model's own context window.
    /// Default 2048.
    pub context_tokens: usize,
    /// Memory of the key-value cache; `None`: as much as all slots can fill.
    pub cache_bytes: Option<u64>,
    /// Most prompt tokens that one step computes, 1 to [`PREFILL_CHUNK_MAX`]. Default 64: between
    /// two chunks the other sequences get their tokens, and a cancelled one gives up its slot.
    pub prefill_chunk: usize,
    /// Whether the keys and values of ended sequences are kept for prompts that begin alike.
    /// Default true.
    pub prefix_reuse: bool,
}

impl Default for BatchOptions {
    fn default() -> Self {
        Self {
            slots: 8,
            context_tokens: 2048,
            cache_bytes: None,
            prefill_chunk: 64,
            prefix_reuse: true,
        }
    }
}

/// What a batch holds at the moment, and what it did so far.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct BatchStats {
    /// Slots in all.
    pub slots: usize,
    /// Sequences that are live.
    pub live: usize,
    /// Those of them whose prompt is not computed yet.
    pub prefilling: usize,
    /// Cache pages in all.
    pub pages: usize,
    /// Pages that nobody uses.
    pub pages_free: usize,
    /// Pages kept for prompts to come; given up when somebody needs them.
    pub pages_cached: usize,
    /// Prompt tokens of all sequences that were let in.
    pub prompt_tokens: u64,
    /// How many of those came from the cache.
    pub cached_tokens: u64,
    /// Tokens of completions: those drawn, without the ones that ended a turn.
    pub completion_tokens: u64,
    /// Steps that computed something.
    pub steps: u64,
}

/// See the file's head. One thread owns it.
#[derive(Debug)]
pub struct Batch {
    model: Arc<Model>,
    options: BatchOptions,
    cache: KvCache,
    pages: Pages,
    slots: Vec<Option<Sequence>>,
    workspace: Workspace,
    scratch: Scratch,
    plan: step::Plan,
    next_id: u64,
    stats: BatchStats,
}

impl Batch {
    /// An empty batch with its cache.
    ///
    /// # Errors
    ///
    /// [`Error::InvalidRequest`] for options out of range, [`Error::CacheTooSmall`] if
    /// `cache_bytes` cannot hold one full context.
    pub fn new(model: Arc<Model>, options: BatchOptions) -> Result<Self, Error> {
        let plan = MemoryPlan::new(model.outline(), &options)?;
        let context_tokens = model.outline().context_tokens(&options);
        let options = BatchOptions { context_tokens, ..options };
        let stats = BatchStats { slots: options.slots, ..BatchStats::default() };
        Ok(Self {
            pages: Pages::new(plan.cache_pages, PAGE_TOKENS, options.prefix_reuse),
            slots: (0..options.slots).map(|_| None).collect(),
            cache: model.new_cache(plan.cache_pages),
            workspace: Workspace::new(model.device(), model.config(), context_tokens),
            scratch: Scratch::default(),
            plan: step::Plan::default(),
            next_id: 0,
            model,
            options,
            stats,
        })
    }

    /// Lets a sequence in; its prompt is computed by the next steps.
    ///
    /// # Errors
    ///
    /// [`Error::ContextOverflow`] and [`Error::InvalidRequest`] for a request that can never run;
    /// [`Error::Full`] if no slot is free, or if the pages that the sequence may need in the worst
    /// case cannot be promised now: keep it and try again after a step.
    pub fn add(&mut self, request: SequenceRequest) -> Result<SequenceId, Error> {
        let context_tokens = self.options.context_tokens;
        request.check(self.model.config().vocab, context_tokens)?;
        let slot = self.slots.iter().position(Option::is_none).ok_or(Error::Full)?;
        let prompt_tokens = request.prompt.len();
        let room = context_tokens - prompt_tokens;
        let tokens_max = prompt_tokens + request.max_tokens.min(room);
        // The last token that is drawn is never fed back.
        let stored_max = if tokens_max > prompt_tokens { tokens_max - 1 } else { prompt_tokens };
        // The last token of the prompt is computed in any case: its logits draw the first token.
        // So is every token whose logits tell the log-probability of the prompt's next one.
        let computed_from = request.prompt_logprobs.map_or(prompt_tokens, |first| first.max(1));
        let reusable = computed_from.min(prompt_tokens) - 1;
        let admission = self.pages.admit(&request.prompt[..reusable], stored_max);
        let admission = admission.ok_or(Error::Full)?;
        if let Some((from, to)) = admission.copy {
            self.cache.copy_page(self.model.device(), from, to);
        }
        let id = SequenceId(self.next_id);
        self.next_id += 1;
        self.stats.prompt_tokens += prompt_tokens as u64;
        self.stats.cached_tokens += admission.cached_tokens as u64;
        let cached_tokens = admission.cached_tokens;
        let sequence = Sequence::new(id, request, tokens_max, admission.lease, cached_tokens);
        self.slots[slot] = Some(sequence);
        Ok(id)
    }

    /// Ends a sequence and frees its slot and pages at once; no event of it comes any more.
    /// Nothing happens if it ended before.
    pub fn cancel(&mut self, id: SequenceId) {
        for slot in 0..self.slots.len() {
            if self.slots[slot].as_ref().is_some_and(|sequence| sequence.id == id) {
                self.release(slot);
            }
        }
    }

    /// One forward pass; see the file's head. Empty when the batch is idle.
    ///
    /// # Errors
    ///
    /// When the device fails; what happens to a single sequence is an [`Event`].
    pub fn step(&mut self) -> Result<Vec<Event>, Error> {
        let mut events = Vec::new();
        self.run_step(&mut events);
        Ok(events)
    }

    /// Whether no sequence is live.
    #[must_use]
    pub fn is_idle(&self) -> bool {
        self.slots.iter().all(Option::is_none)
    }

    /// The model that computes.
    #[must_use]
    pub fn model(&self) -> &Arc<Model> {
        &self.model
    }

    /// The options in force: the context window is never longer than the model's.
    #[must_use]
    pub fn options(&self) -> &BatchOptions {
        &self.options
    }

    /// Figures of the moment.
    #[must_use]
    pub fn stats(&self) -> BatchStats {
        let live = || self.slots.iter().flatten();
        BatchStats {
            live: live().count(),
            prefilling: live().filter(|sequence| sequence.is_prefilling()).count(),
            pages: self.pages.total(),
            pages_free: self.pages.free(),
            pages_cached: self.pages.cached(),
            ..self.stats
        }
    }

    /// Frees a slot; what its sequence computed may stay in the prefix tree.
    fn release(&mut self, slot: usize) {
        if let Some(sequence) = self.slots[slot].take() {
            let stored = &sequence.tokens[..sequence.stored];
            self.pages.release(sequence.lease, stored);
        }
    }
}
