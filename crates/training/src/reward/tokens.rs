//! Comparisons in tokens: what people ranked, as a reward model reads it.

use std::collections::BTreeMap;

use artifacts::hash::Hashing;
use comparisons::{Comparison, Completion, Prompt, Refusal};
use tokenizer::{ChatFormat, Conversation, Message, RenderEnd, Role, Tokenizer};

use super::{BELOW, RankedCompletions};
use crate::Error;
use crate::ppo::doctor::prompts;

/// How comparisons become tokens.
#[derive(Debug, Clone, Copy)]
pub struct Encoding<'a> {
    /// The tokenizer of the model that is to read them.
    pub tokenizer: &'a Tokenizer,
    /// The words in which conversations are written.
    pub format: &'a ChatFormat,
    /// Completions are cut to so many tokens.
    pub completion_tokens: usize,
    /// Longer sequences are refused.
    pub context_tokens: usize,
}

/// Comparisons to learn from, and what became of the others.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct EncodedComparisons {
    /// To learn from.
    pub train: Vec<RankedCompletions>,
    /// To measure on; no prompt of theirs is in the other list.
    pub held_out: Vec<RankedCompletions>,
    /// How many were left out, by why.
    pub left_out: BTreeMap<&'static str, u64>,
}

impl Encoding<'_> {
    /// A prompt with the words that make the model answer, as chat and PPO feed it.
    ///
    /// # Errors
    ///
    /// Where the format cannot write it.
    pub fn prompt(&self, conversation: &Conversation) -> Result<Vec<u32>, Error> {
        let end = RenderEnd::GenerationPrompt;
        Ok(conversation.render(self.tokenizer, self.format, end)?.tokens)
    }

    /// Whether a prompt in tokens is what a chat asks, with no control token from a person's text.
    ///
    /// # Errors
    ///
    /// [`Error::Fault`] where it is not; where the format cannot write the conversation.
    pub fn examine(&self, conversation: &Conversation, prompt: &[u32]) -> Result<(), Error> {
        let asked = (conversation, prompt);
        let found = prompts::examine(self.tokenizer, self.format, asked)?;
        found.map_or(Ok(()), |finding| Err(Error::Fault { finding: Box::new(finding) }))
    }

    /// A completion in tokens: those that were sampled, where they are known and are this tokenizer's;
    /// else its text, with the token that ends a turn.
    fn completion(&self, completion: &Completion) -> Vec<u32> {
        let known = |tokens: &&Vec<u32>| {
            let vocabulary = self.tokenizer.vocabulary_len();
            !tokens.is_empty()
                && tokens.iter().all(|&token| (token as usize) < vocabulary)
                && self.tokenizer.decode(tokens) == completion.text
        };
        match completion.tokens.as_ref().filter(known) {
            Some(tokens) => tokens[..tokens.len().min(self.completion_tokens)].to_vec(),
            None => self.text(&completion.text),
        }
    }

    /// A text as the model would have sampled it, with the token that ends a turn.
    #[must_use]
    pub fn text(&self, text: &str) -> Vec<u32> {
        let mut tokens = self.tokenizer.encode(text);
        tokens.extend(self.tokenizer.end_of_turn().first());
        tokens.truncate(self.completion_tokens);
        tokens
    }

    /// A comparison in tokens. Of completions that nobody ranked nothing is learned.
    ///
    /// # Errors
    ///
    /// Why it cannot be learned from, in one word for a count; and where the format fails.
    fn comparison(
        &self,
        comparison: &Comparison,
    ) -> Result<Result<RankedCompletions, &'static str>, Error> {
        let Some(ranking) = &comparison.judgment().ranking else { return Ok(Err("skipped")) };
        let candidate = comparison.candidate();
        let encode = |text: &str| self.text(text);
        if let Err(refusal) = candidate.check_differ_within(self.completion_tokens, &encode) {
            return Ok(Err(reason(&refusal)));
        }
        let prompt = match candidate.prompt() {
            Prompt::Text(text) => {
                let messages = vec![Message::new(Role::User, text.as_str())];
                self.prompt(&Conversation { messages })?
            }
            messages @ Prompt::Messages(_) => {
                self.prompt(&messages.conversation().unwrap_or_default())?
            }
        };
        let (mut completions, mut ranks) = (Vec::new(), Vec::new());
        for (place, completion) in candidate.completions().iter().enumerate() {
            let rank = match ranking.place(place) {
                Some(rank) => u32::try_from(rank).unwrap_or(BELOW),
                None if ranking.below().contains(&place) => BELOW,
                None => continue,
            };
            completions.push(self.completion(completion));
            ranks.push(rank);
        }
        if completions.len() < 2 {
            return Ok(Err("nothing ranked"));
        }
        let longest = completions.iter().map(Vec::len).max().unwrap_or(0);
        if prompt.len() + longest > self.context_tokens {
            return Ok(Err("longer than the context"));
        }
        Ok(Ok(RankedCompletions { prompt, completions, ranks }))
    }
}

impl EncodedComparisons {
    /// Adds a comparison, to learn from or, for a share of the prompts, to measure on.
    ///
    /// # Errors
    ///
    /// Where the format cannot write it.
    pub fn add(
        &mut self,
        comparison: &Comparison,
        encoding: &Encoding<'_>,
        held_out: f64,
    ) -> Result<(), Error> {
        match encoding.comparison(comparison)? {
            Ok(encoded) if share_of(&encoded.prompt) < held_out => self.held_out.push(encoded),
            Ok(encoded) => self.train.push(encoded),
            Err(reason) => *self.left_out.entry(reason).or_default() += 1,
        }
        Ok(())
    }
}

/// A number from 0 to 1 that follows from a prompt alone.
fn share_of(prompt: &[u32]) -> f64 {
    let mut hashing = Hashing::new(std::io::sink());
    for token in prompt {
        // A sink takes everything.
        let _ = std::io::Write::write_all(&mut hashing, &token.to_le_bytes());
    }
    let (digest, _) = hashing.finish();
    let word = digest.as_bytes().first_chunk().map_or(0, |bytes| u32::from_le_bytes(*bytes));
    f64::from(word) / f64::from(u32::MAX)
}

fn reason(refusal: &Refusal) -> &'static str {
    match refusal {
        Refusal::EqualCompletions { .. } => "equal when cut",
        other => other.kind(),
    }
}
