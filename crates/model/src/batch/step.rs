//! One step of a batch: choose the rows, compute them, turn their logits into events.

use engine::ops::attention::{AttentionRow, PAGE_TOKENS};

use super::{Batch, Sequence};
use crate::error::Error;
use crate::gpt::HEAD_ROWS_MAX;
use crate::request::{Event, StopReason, TokenLogprob};
use crate::sampler::{self, Choice};

/// The rows of one step; kept from step to step for its memory.
#[derive(Debug, Default)]
pub(super) struct Plan {
    tokens: Vec<u32>,
    positions: Vec<u32>,
    rows: Vec<Row>,
    /// Rows whose logits are needed.
    wanted: Vec<usize>,
}

/// One token of one sequence.
#[derive(Debug, Clone, Copy)]
struct Row {
    slot: usize,
    position: usize,
}

impl Batch {
    pub(super) fn run_step(&mut self, events: &mut Vec<Event>) {
        let mut plan = std::mem::take(&mut self.plan);
        self.choose_rows(&mut plan);
        if !plan.rows.is_empty() {
            self.stats.steps += 1;
            self.compute(&plan);
            self.advance(&plan);
            self.read_logits(&plan, events);
            self.end_prompts_without_completion(events);
            self.pages.check();
        }
        self.plan = plan;
    }

    /// One row for each sequence that decodes, then prompts in the order of their arrival up to
    /// the size of a chunk.
    fn choose_rows(&mut self, plan: &mut Plan) {
        plan.tokens.clear();
        plan.positions.clear();
        plan.rows.clear();
        plan.wanted.clear();
        let mut order: Vec<usize> =
            (0..self.slots.len()).filter(|slot| self.slots[*slot].is_some()).collect();
        let key = |slot: &usize| self.slots[*slot].as_ref().map(|s| (s.is_prefilling(), s.id));
        order.sort_by_key(key);
        let mut budget = self.options.prefill_chunk;
        for slot in order {
            let Some(sequence) = &mut self.slots[slot] else { continue };
            let pending = sequence.tokens.len() - sequence.stored;
            let rows = if sequence.is_prefilling() { pending.min(budget) } else { pending };
            if sequence.is_prefilling() {
                budget -= rows;
            }
            for position in sequence.stored..sequence.stored + rows {
                if sequence.wants_logits(position) {
                    plan.wanted.push(plan.rows.len());
                }
                plan.tokens.push(sequence.tokens[position]);
                plan.positions.push(position_id(position));
                plan.rows.push(Row { slot, position });
            }
            let pages = (sequence.stored + rows).div_ceil(PAGE_TOKENS);
            while sequence.lease.pages().len() < pages {
                self.pages.grow(&mut sequence.lease);
            }
        }
    }

    fn compute(&mut self, plan: &Plan) {
        let slots = &self.slots;
        let rows: Vec<AttentionRow<'_>> = plan
            .rows
            .iter()
            .map(|row| AttentionRow {
                pages: slots[row.slot].as_ref().map_or(&[], |s| s.lease.pages()),
                position: row.position,
            })
            .collect();
        let (tokens, positions) = (&plan.tokens, &plan.positions);
        self.model.forward(&mut self.workspace, &mut self.cache, tokens, positions, &rows);
    }

    /// The rows' keys and values are in the cache now; full pages become common property.
    fn advance(&mut self, plan: &Plan) {
        for row in &plan.rows {
            let Some(sequence) = &mut self.slots[row.slot] else { continue };
            sequence.stored = row.position + 1;
            if sequence.stored.is_multiple_of(PAGE_TOKENS) {
                let stored = &sequence.tokens[..sequence.stored];
                self.pages.publish(&mut sequence.lease, stored);
            }
        }
    }

    /// Computes the wanted rows' logits, a few rows at a time, and uses each.
    fn read_logits(&mut self, plan: &Plan, events: &mut Vec<Event>) {
        let mut logits = std::mem::take(&mut self.scratch.row);
        logits.resize(self.model.config().vocab, 0.0);
        for wanted in plan.wanted.chunks(HEAD_ROWS_MAX) {
            self.model.head(&mut self.workspace, wanted);
            for (place, row) in wanted.iter().enumerate() {
                self.workspace.logits.download_row(place, &mut logits);
                self.use_logits(plan.rows[*row], &logits, events);
            }
        }
        self.scratch.row = logits;
    }

    fn use_logits(&mut self, row: Row, logits: &[f32], events: &mut Vec<Event>) {
        let Some(sequence) = &mut self.slots[row.slot] else { return };
        let device = self.model.device();
        let next = row.position + 1;
        if next < sequence.prompt_tokens {
            let (token, count) = (sequence.tokens[next], sequence.logprobs.unwrap_or(0));
            let temperature = sequence.sampler.logprobs_temperature();
            let asked = (token, temperature, count);
            let logprob = sampler::logprob(device, logits, asked, &mut self.scratch);
            match logprob {
                Some(logprob) => sequence.prompt_logprobs.push(logprob),
                None => self.fail(row, events),
            }
            return;
        }
        let Some(choice) = sequence.sampler.choose(device, logits, next, &mut self.scratch) else {
            self.fail(row, events);
            return;
        };
        announce(sequence, events);
        let (id, token) = (sequence.id, choice.token);
        let Choice { logprob, alternatives, .. } = choice;
        if sequence.stop_tokens.contains(&token) {
            let stop = Some(TokenLogprob { token, logprob, alternatives });
            events.push(Event::Done { id, reason: StopReason::EndOfTurn, stop });
            self.release(row.slot);
            return;
        }
        sequence.tokens.push(token);
        sequence.sampler.accept(token);
        self.stats.completion_tokens += 1;
        events.push(Event::Token { id, token, logprob, alternatives });
        if sequence.is_full() {
            events.push(Event::Done { id, reason: StopReason::Length, stop: None });
            self.release(row.slot);
        }
    }

    /// Sequences that only wanted their prompt read, or whose prompt fills the context window.
    fn end_prompts_without_completion(&mut self, events: &mut Vec<Event>) {
        for slot in 0..self.slots.len() {
            let Some(sequence) = &mut self.slots[slot] else { continue };
            if !sequence.is_prefilling() && sequence.is_full() {
                announce(sequence, events);
                let id = sequence.id;
                events.push(Event::Done { id, reason: StopReason::Length, stop: None });
                self.release(slot);
            }
        }
    }

    /// Ends a sequence whose logits are not finite. Its full pages may be in the prefix tree
    /// already and stay there: the same tokens would compute the same.
    fn fail(&mut self, row: Row, events: &mut Vec<Event>) {
        if let Some(sequence) = self.slots[row.slot].take() {
            let error = Error::NotFinite { position: row.position };
            events.push(Event::Failed { id: sequence.id, error });
            self.pages.release(sequence.lease, &[]);
        }
    }
}

/// Says once that the whole prompt is in the cache.
fn announce(sequence: &mut Sequence, events: &mut Vec<Event>) {
    if sequence.announced {
        return;
    }
    sequence.announced = true;
    let logprobs = std::mem::take(&mut sequence.prompt_logprobs);
    let (id, cached_tokens) = (sequence.id, sequence.cached_tokens);
    events.push(Event::Prompt { id, cached_tokens, logprobs });
}

#[expect(clippy::cast_possible_truncation, reason = "context windows are capped at 2^24")]
fn position_id(position: usize) -> u32 {
    position as u32
}
