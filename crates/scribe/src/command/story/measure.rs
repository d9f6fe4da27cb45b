//! What the report card says, measured: bits per byte beside baselines, and answers to questions that
//! nobody taught.

use chat::context::Overflow;
use chat::turn::Turn;
use corpus::Source;
use model::Sampling;
use tokenizer::{ChatFormat, Conversation, Role};
use training::{Recipe, RunFolder, text};

use super::super::pretrain::Pretrained;
use super::super::pretrain::samples::Pen;
use super::super::sft::FineTuned;
use super::super::stage::Work;
use super::super::{Failure, Session, eval, locate, models};
use super::card::{Answered, Bits};
use crate::config::{AdapterArguments, EngineOptions};
use crate::loading::{self, Outline};

/// Questions that are asked.
const QUESTIONS: usize = 3;
/// The most tokens of an answer.
const ANSWER_TOKENS: usize = 100;

/// What the stages have left.
#[derive(Debug, Clone, Copy)]
pub(super) struct Made<'a> {
    pub(super) run: &'a RunFolder,
    pub(super) recipe: &'a Recipe,
    pub(super) pretrained: &'a Pretrained,
    /// The fine-tuning with its conversations, where the recipe has any.
    pub(super) taught: Option<(&'a FineTuned, &'a [Source])>,
}

impl Made<'_> {
    /// Bits per byte of the held-out texts under the pretrained model, beside the baselines; nothing
    /// where no text is held out.
    pub(super) fn bits(
        &self,
        session: &mut Session,
        work: &Work<'_>,
    ) -> Result<Vec<Bits>, Failure> {
        let engine = engine(work);
        let checkpoint = self.run.finished_pretraining(self.recipe)?;
        let located = locate::checkpoint_of(session, self.run.path(), checkpoint)?;
        let figures = eval::held_out(session, &located, &engine, &self.run.corpus())?;
        let bits = figures.into_iter().flatten().enumerate();
        Ok(bits
            .map(|(index, (name, figure))| Bits {
                is_baseline: index > 0,
                name,
                bits_per_byte: figure.value(),
            })
            .collect())
    }

    /// What the model answers to the first questions that are held out; nothing where none is.
    pub(super) fn answers(
        &self,
        session: &mut Session,
        work: &Work<'_>,
    ) -> Result<Vec<Answered>, Failure> {
        let (Some((taught, sources)), Some(recipe)) = (self.taught, &self.recipe.conversations)
        else {
            return Ok(Vec::new());
        };
        let Some(checkpoint) = &taught.outcome.model else { return Ok(Vec::new()) };
        let held_out = text::held_out_conversations(recipe, sources, QUESTIONS)?;
        if held_out.is_empty() {
            return Ok(Vec::new());
        }
        let located = locate::checkpoint_of(session, self.run.path(), checkpoint.clone())?;
        let outline = models::outline(&located, &engine(work))?;
        let weights = models::load(session, outline, Outline::load)?;
        let tokenizer = loading::read_tokenizer(located.tokenizer_path())?;
        ask(Pen::new(weights.model, tokenizer)?, held_out)
    }
}

/// The options that compute as training does.
fn engine(work: &Work<'_>) -> EngineOptions {
    EngineOptions {
        model: None,
        adapter: AdapterArguments { adapter: None, merge_adapter: false },
        device: work.arguments.device.clone(),
        context_tokens: None,
        cache_bytes: None,
    }
}

/// Lets a model answer, with the tokens it finds likeliest.
fn ask(mut pen: Pen, conversations: Vec<Conversation>) -> Result<Vec<Answered>, Failure> {
    let format = ChatFormat::detect(&pen.tokenizer)?.format;
    let mut answers = Vec::new();
    for mut conversation in conversations {
        let messages = &mut conversation.messages;
        let Some(first) = messages.iter().position(|message| message.role == Role::Assistant)
        else {
            continue;
        };
        let expected = messages[first].content.clone();
        messages.truncate(first);
        let asked = messages.iter().rfind(|message| message.role == Role::User);
        let Some(question) = asked.map(|message| message.content.clone()) else { continue };
        let turn = Turn { conversation, overflow: Overflow::DropOldest, ..Turn::default() };
        // A question that does not fit is none for this model.
        let Ok(prepared) = turn.prepare(&pen.tokenizer, &format, pen.context_tokens) else {
            continue;
        };
        let answer = pen.go_on(prepared.request.prompt, ANSWER_TOKENS, Sampling::greedy())?;
        answers.push(Answered { question, answer: answer.trim().to_owned(), expected });
    }
    Ok(answers)
}
