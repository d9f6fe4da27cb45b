//! Answers of a model to prompts, for people to compare.

use std::collections::BTreeSet;
use std::sync::Arc;

use artifacts::hash::Digest;
use comparisons::{Candidate, Completion, Message, Origin, Prompt, Role, Sampling};
use model::Model;
use tokenizer::Conversation;

use crate::Error;
use crate::ppo::{RolloutOptions, collect};
use crate::reward::Encoding;

/// What is asked of whom.
#[derive(Debug, Clone)]
pub struct Asked<'a> {
    /// The model that answers.
    pub model: Arc<Model>,
    /// Its hash, which every completion names.
    pub digest: Digest,
    /// How prompts become tokens, and tokens text.
    pub encoding: Encoding<'a>,
    /// How answers are sampled.
    pub rollouts: RolloutOptions,
    /// Answers to each prompt, before equal ones are left out.
    pub answers: usize,
    /// Decides the draws.
    pub seed: u64,
}

/// Candidates, and how many prompts gave none.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Sampled {
    /// One for each prompt with two answers or more that differ.
    pub candidates: Vec<Candidate>,
    /// Prompts whose answers are all the same.
    pub without_choice: u64,
    /// Prompts that leave no room for an answer, or that a comparison has no words for.
    pub left_out: u64,
}

impl Asked<'_> {
    /// Lets the model answer each prompt several times. Equal answers are one.
    ///
    /// # Errors
    ///
    /// Where a prompt cannot be written in tokens, or the model fails.
    pub fn sample(&self, prompts: &[Conversation]) -> Result<Sampled, Error> {
        let mut sampled = Sampled::default();
        let (mut asked, mut tokens) = (Vec::new(), Vec::new());
        for conversation in prompts {
            let encoded = self.encoding.prompt(conversation)?;
            let fits =
                encoded.len() + self.rollouts.completion_tokens <= self.encoding.context_tokens;
            match prompt_of(conversation).filter(|_| fits) {
                Some(prompt) => {
                    asked.push(prompt);
                    tokens.extend(std::iter::repeat_n(encoded, self.answers));
                }
                None => sampled.left_out += 1,
            }
        }
        let found = collect(Arc::clone(&self.model), &tokens, &self.rollouts, (self.seed, 0))?;
        let answers = found.rollouts.chunks(self.answers);
        for (number, (prompt, answers)) in asked.into_iter().zip(answers).enumerate() {
            let completions = answers.iter().enumerate().map(|(place, answer)| {
                self.completion(&answer.completion, (number * self.answers + place) as u64)
            });
            let mut seen = BTreeSet::new();
            let differ: Vec<Completion> =
                completions.filter(|completion| seen.insert(completion.text.clone())).collect();
            match Candidate::new(prompt, differ) {
                Ok(candidate) => sampled.candidates.push(candidate),
                Err(_) => sampled.without_choice += 1,
            }
        }
        Ok(sampled)
    }

    fn completion(&self, tokens: &[u32], index: u64) -> Completion {
        let ends = self.rollouts.stop_tokens.as_slice();
        let text = match tokens.split_last() {
            Some((last, rest)) if ends.contains(last) => rest,
            _ => tokens,
        };
        let temperature = self.rollouts.temperature;
        let origin = Origin::Sampled {
            model: self.digest,
            sampling: Sampling { temperature, top_k: None, top_p: 1.0 },
            seed: self.seed.wrapping_add(index),
        };
        let text = self.encoding.tokenizer.decode(text);
        Completion { text, tokens: Some(tokens.to_vec()), origin }
    }
}

/// A conversation as a comparison says it; none with words of a tool.
#[must_use]
pub fn prompt_of(conversation: &Conversation) -> Option<Prompt> {
    let messages = conversation.messages.iter().map(|message| {
        let role = match message.role {
            tokenizer::Role::System => Role::System,
            tokenizer::Role::User => Role::User,
            tokenizer::Role::Assistant => Role::Assistant,
            // A tool's words, for which comparisons have no role.
            _ => return None,
        };
        Some(Message::new(role, message.content.as_str()))
    });
    messages.collect::<Option<_>>().map(Prompt::Messages)
}
