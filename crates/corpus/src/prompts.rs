//! Prompts: conversations up to their last question, for a model to answer.

use std::collections::BTreeSet;

use tokenizer::{Conversation, Role};

use crate::document::{Content, Fingerprint};
use crate::sources::BadRows;
use crate::split::Split;
use crate::{Error, Source};

/// The most prompts that are read.
pub const PROMPTS_MAX: usize = 1 << 20;

/// Prompts for learning, and others that are only for measuring.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Prompts {
    /// A model may learn from answers to these.
    pub train: Vec<Conversation>,
    /// Held out.
    pub validation: Vec<Conversation>,
    /// Conversations in which nobody asks anything.
    pub without_question: u64,
    /// Rows that cannot be read.
    pub bad_rows: u64,
}

impl Prompts {
    /// Reads the prompts of some sources of conversations, each once and in the order in which they
    /// stand. Which ones are held out follows from the words of the whole conversation, as in a corpus:
    /// what is held out here is held out there.
    ///
    /// # Errors
    ///
    /// Where a source cannot be read.
    pub fn read(sources: &[Source], validation_ppm: u32) -> Result<Self, Error> {
        let mut prompts = Self::default();
        let mut seen = BTreeSet::new();
        for source in sources {
            let rows = source.read(BadRows::Counted, &mut |document, _| {
                let Content::Conversation(conversation) = document.content else { return Ok(()) };
                prompts.add(conversation, validation_ppm, &mut seen);
                Ok(())
            })?;
            prompts.bad_rows += rows.bad_rows();
        }
        Ok(prompts)
    }

    /// Measures on the prompts of other sources in place of those that were held out; what is learned
    /// from is left out of them.
    #[must_use]
    pub fn measured_on(mut self, others: Self) -> Self {
        let key =
            |prompt: &Conversation| Fingerprint::of(&Content::Conversation(prompt.clone()).text());
        let learned: BTreeSet<Fingerprint> = self.train.iter().map(key).collect();
        self.validation = others.train.into_iter().chain(others.validation).collect();
        self.validation.retain(|prompt| !learned.contains(&key(prompt)));
        self.without_question += others.without_question;
        self.bad_rows += others.bad_rows;
        self
    }

    fn add(
        &mut self,
        conversation: Conversation,
        validation_ppm: u32,
        seen: &mut BTreeSet<Fingerprint>,
    ) {
        let is_question = |role: Role| role == Role::User;
        let last = conversation.messages.iter().rposition(|message| is_question(message.role));
        let Some(last) = last else {
            self.without_question += 1;
            return;
        };
        let whole = Content::Conversation(conversation);
        let split = Split::of(&Fingerprint::of(&whole.text()), validation_ppm);
        let Content::Conversation(mut conversation) = whole else { return };
        conversation.messages.truncate(last + 1);
        let content = Content::Conversation(conversation);
        let fingerprint = Fingerprint::of(&content.text());
        let Content::Conversation(conversation) = content else { return };
        if seen.len() >= PROMPTS_MAX || !seen.insert(fingerprint) {
            return;
        }
        match split {
            Split::Train => self.train.push(conversation),
            Split::Validation => self.validation.push(conversation),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_measured_on_that_is_learned_from() {
        let ask =
            |text: &str| Conversation { messages: vec![tokenizer::Message::new(Role::User, text)] };
        let learned = Prompts { train: vec![ask("One?"), ask("Two?")], ..Prompts::default() };
        let others = Prompts {
            train: vec![ask("Two?"), ask("Three?")],
            validation: vec![ask("Four?")],
            without_question: 1,
            bad_rows: 2,
        };
        let prompts = learned.clone().measured_on(others);
        assert_eq!(prompts.train, learned.train);
        assert_eq!(prompts.validation, [ask("Three?"), ask("Four?")]);
        assert_eq!((prompts.without_question, prompts.bad_rows), (1, 2));
    }

    #[test]
    fn conversations_end_with_their_last_question_and_come_once() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("talks.jsonl");
        let row = |messages: &[(&str, &str)]| {
            let messages: Vec<_> = messages
                .iter()
                .map(|(role, content)| serde_json::json!({ "role": role, "content": content }))
                .collect();
            serde_json::json!({ "messages": messages }).to_string()
        };
        let rows = [
            row(&[
                ("system", "Be short."),
                ("user", "One?"),
                ("assistant", "1."),
                ("user", "Two?"),
            ]),
            row(&[("user", "Three?"), ("assistant", "3.")]),
            row(&[("user", "Three?"), ("assistant", "Another answer.")]),
            row(&[("assistant", "Nobody asked.")]),
            "not JSON".to_owned(),
        ];
        std::fs::write(&path, rows.join("\n")).unwrap();
        let source = Source::conversations("talks", &path);
        let found = Prompts::read(std::slice::from_ref(&source), 0).unwrap();
        let texts: Vec<Vec<&str>> = found
            .train
            .iter()
            .map(|prompt| prompt.messages.iter().map(|m| m.content.as_str()).collect())
            .collect();
        assert_eq!(texts, [vec!["Be short.", "One?", "1.", "Two?"], vec!["Three?"]]);
        assert_eq!((found.without_question, found.bad_rows), (1, 1));

        let held_out = Prompts::read(&[source], 1_000_000).unwrap();
        assert_eq!((held_out.train, held_out.validation), (vec![], found.train));
    }
}
