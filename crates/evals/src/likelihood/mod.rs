//! Multiple choice by likelihood: which of the choices does a model find the likeliest to follow?
//!
//! As in lm-evaluation-harness, context and choice are encoded together, and the tokens beyond
//! those of the context alone are the choice's; white space at the end of a context is counted to
//! the choice. Of a context that is too long for the window the beginning is left out.
//!
//! A task is answered by the choice with the greatest sum of log-probabilities (`acc` there), or by
//! the one with the greatest sum for each byte (`acc_norm` there, which divides by characters; the
//! blank between context and choice does not count in either). Of equals, the first is the answer.
//!
//! Source: Gao et al., lm-evaluation-harness, `TemplateLM._encode_pair` and
//! `ConfigurableTask.process_results`.

mod tasks;
#[cfg(test)]
mod tests;

use serde::Serialize;
use tokenizer::Tokenizer;

use crate::Error;
use crate::bits_per_byte::Reader;
use crate::passages::{self, Passage};

pub use tasks::{
    CHOICES_MAX, LINE_BYTES_MAX, TASKS_BYTES_MAX, TASKS_MAX, Task, TaskFault, read_tasks,
};

/// How likely the choices of tasks are.
#[derive(Clone, Debug, PartialEq)]
pub struct Choices {
    /// The natural log-probability of each choice after its context: those of the first task, then
    /// those of the next.
    pub logprobs: Vec<f64>,
    /// Choices whose context was cut, because it did not fit into the context window.
    pub cut: u64,
}

/// How many tasks a model answers as they are to be answered.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Answers {
    /// Tasks.
    pub tasks: u64,
    /// Of those, the share that is answered rightly by the sum of log-probabilities.
    pub accuracy: Share,
    /// And by the sum for each byte.
    pub accuracy_by_bytes: Share,
    /// The share that is answered rightly by chance.
    pub chance: f64,
    /// Choices whose context was cut, because it did not fit into the context window.
    pub cut: u64,
    /// The natural log-probabilities of the choices of each task.
    pub logprobs: Vec<Vec<f64>>,
}

/// A share of tasks.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Share {
    /// Between 0 and 1.
    pub value: f64,
    /// Its standard error, `sqrt(value * (1 - value) / (tasks - 1))`; none for a single task.
    pub standard_error: Option<f64>,
}

impl Reader<'_> {
    /// Has the model answer all tasks; `progress` hears how many it has taken up.
    ///
    /// # Errors
    ///
    /// [`Error::Task`] for a choice that does not fit into the context window, [`Error::Model`], and
    /// [`Error::Empty`] where there are no tasks.
    pub fn likelihood(
        &self,
        tasks: &[Task],
        progress: &mut dyn FnMut(u64),
    ) -> Result<Answers, Error> {
        if tasks.is_empty() {
            return Err(Error::Empty { what: "task to answer" });
        }
        let Choices { logprobs, cut } = self.choices(tasks, progress)?;
        Ok(Answers { cut, ..judge(tasks, &logprobs) })
    }

    /// The log-probabilities of all choices; `progress` hears how many tasks have been taken up.
    ///
    /// # Errors
    ///
    /// As [`Self::likelihood`], but for want of tasks.
    pub fn choices(&self, tasks: &[Task], progress: &mut dyn FnMut(u64)) -> Result<Choices, Error> {
        let window = self.window()?;
        let (mut unpredicted, mut cut) = (Vec::new(), 0);
        let pairs = (0..).zip(tasks).flat_map(|(number, task)| {
            task.choices.iter().map(move |choice| (number, &task.context, choice))
        });
        let passages = pairs.map(|(number, context, choice)| {
            progress(number);
            let pair = self.encode_pair(context, choice);
            unpredicted.push(pair.unpredicted);
            let fit = pair.fit(window);
            let (passage, is_cut) = fit.map_err(|fault| Error::Task { task: number + 1, fault })?;
            cut += u64::from(is_cut);
            Ok(passage)
        });
        let mut logprobs = passages::measure(self.model, self.batch, passages)?;
        logprobs.iter_mut().zip(unpredicted).for_each(|(sum, unpredicted)| *sum += unpredicted);
        Ok(Choices { logprobs, cut })
    }

    /// Context and choice in tokens.
    fn encode_pair(&self, context: &str, choice: &str) -> Pair {
        let (whole, of_context) = encode_pair(self.tokenizer, context, choice);
        let before = whole.len();
        let (tokens, unpredicted) = self.begin(whole);
        let first = of_context + tokens.len() - before;
        // Without a context or a beginning the first token of the choice is as likely as any.
        let unpredicted = if first == 0 { unpredicted } else { 0.0 };
        Pair { tokens, first, unpredicted }
    }
}

/// Context and choice.
struct Pair {
    tokens: Vec<u32>,
    /// The first token of the choice.
    first: usize,
    /// The log-probability of a token that nothing predicts.
    unpredicted: f64,
}

impl Pair {
    /// The pair in a window, without the beginning of its context where that is too long.
    fn fit(self, window: usize) -> Result<(Passage, bool), TaskFault> {
        let Self { mut tokens, first, .. } = self;
        let too_many = tokens.len().saturating_sub(window);
        if too_many > 0 && first <= too_many {
            return Err(TaskFault::ChoiceTooLong { tokens: tokens.len() - first, window });
        }
        tokens.drain(..too_many);
        Ok((Passage { tokens, first: (first - too_many).max(1) }, too_many > 0))
    }
}

/// The tokens of context and choice together, and how many of them are the context's.
fn encode_pair(tokenizer: &Tokenizer, context: &str, choice: &str) -> (Vec<u32>, usize) {
    let whole = tokenizer.encode(&format!("{context}{choice}"));
    let of_context = tokenizer.encode(context.trim_end()).len();
    // Where the last token of the context swallows the choice, that token is measured.
    let of_context = of_context.min(whole.len().saturating_sub(1));
    (whole, of_context)
}

/// Counts right answers; `sums` has one number for each choice of each task.
fn judge(tasks: &[Task], mut sums: &[f64]) -> Answers {
    let mut logprobs = Vec::new();
    let (mut right, mut right_by_bytes, mut chance) = (0, 0, 0.0);
    for task in tasks {
        let (of_task, rest) = sums.split_at(task.choices.len());
        sums = rest;
        logprobs.push(of_task.to_vec());
        right += u64::from(greatest(of_task) == task.answer);
        let bytes = task.choices.iter().map(|choice| choice.trim_start().len().max(1));
        let by_bytes: Vec<f64> =
            of_task.iter().zip(bytes).map(|(sum, bytes)| sum / bytes as f64).collect();
        right_by_bytes += u64::from(greatest(&by_bytes) == task.answer);
        chance += 1.0 / task.choices.len() as f64;
    }
    let count = tasks.len() as u64;
    Answers {
        tasks: count,
        accuracy: Share::of(right, count),
        accuracy_by_bytes: Share::of(right_by_bytes, count),
        chance: chance / count as f64,
        cut: 0,
        logprobs,
    }
}

impl Share {
    fn of(right: u64, tasks: u64) -> Self {
        let value = right as f64 / tasks as f64;
        let standard_error =
            (tasks > 1).then(|| (value * (1.0 - value) / (tasks - 1) as f64).sqrt());
        Self { value, standard_error }
    }
}

/// The place of the greatest number, the first of equals.
fn greatest(numbers: &[f64]) -> usize {
    let mut best = 0;
    for (place, number) in numbers.iter().enumerate() {
        if *number > numbers[best] {
            best = place;
        }
    }
    best
}
