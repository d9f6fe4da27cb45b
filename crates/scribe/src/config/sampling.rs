//! Options about how tokens are drawn.

use chat::Sampling;
use clap::Args;

use super::whole;
use crate::command::Failure;

/// Heading of these options.
const SAMPLING: &str = "Sampling options";

/// How another answer is drawn where the first one took the most probable tokens: as the makers of
/// the default model advise for it. First answers are not drawn so: asked for the capital of France
/// with 300 seeds, that model named Paris 198 times; its most probable answer is Paris.
const ANOTHER_TEMPERATURE: f32 = 0.2;

/// As [`ANOTHER_TEMPERATURE`].
const ANOTHER_TOP_P: f32 = 0.9;

/// Drawn so near to the most probable, a small model may say the same again and again, to the end of
/// the context window. This much the makers of Qwen2.5 advise against it.
const ANOTHER_REPETITION_PENALTY: f32 = 1.1;

/// The advice for another answer to the same question: where nothing is drawn by default, the first
/// answer would come again.
///
/// It is for whoever names no temperature: who does has said how every answer is to be drawn.
#[must_use]
pub fn another(advice: &Sampling) -> Sampling {
    if advice.temperature > 0.0 {
        return advice.clone();
    }
    Sampling {
        temperature: ANOTHER_TEMPERATURE,
        top_p: ANOTHER_TOP_P,
        repetition_penalty: advice.repetition_penalty.max(ANOTHER_REPETITION_PENALTY),
        ..advice.clone()
    }
}

/// Options about how tokens are drawn; what is absent is the model's own advice.
#[derive(Debug, Clone, Args)]
pub struct SamplingOptions {
    /// Boldness: 0 always takes the most probable token [default: the model's]
    #[arg(long, env = "SCRIBE_TEMPERATURE", value_name = "X", hide_env_values = true,
          help_heading = SAMPLING)]
    pub temperature: Option<f32>,

    /// Draw from the K most probable tokens; 0 = from all [default: the model's]
    #[arg(long, env = "SCRIBE_TOP_K", value_name = "K", hide_env_values = true,
          value_parser = whole::<usize>, help_heading = SAMPLING)]
    pub top_k: Option<usize>,

    /// Draw from the fewest tokens whose probabilities reach P [default: the model's]
    #[arg(long, env = "SCRIBE_TOP_P", value_name = "P", hide_env_values = true,
          help_heading = SAMPLING)]
    pub top_p: Option<f32>,

    /// Draw from tokens at least P times as probable as the first [default: the model's]
    #[arg(long, env = "SCRIBE_MIN_P", value_name = "P", hide_env_values = true,
          help_heading = SAMPLING)]
    pub min_p: Option<f32>,

    /// Above 1: say less of what was said before [default: the model's]
    #[arg(long, env = "SCRIBE_REPETITION_PENALTY", value_name = "X", hide_env_values = true,
          help_heading = SAMPLING)]
    pub repetition_penalty: Option<f32>,

    /// The same seed draws the same answer; at temperature 0 nothing is drawn [default: another one
    /// each time]
    #[arg(long, env = "SCRIBE_SEED", value_name = "N", hide_env_values = true,
          value_parser = whole::<u64>, help_heading = SAMPLING)]
    pub seed: Option<u64>,

    /// Most tokens of an answer [default: as many as fit]
    #[arg(long, env = "SCRIBE_MAX_TOKENS", value_name = "N", hide_env_values = true,
          value_parser = whole::<usize>, help_heading = SAMPLING)]
    pub max_tokens: Option<usize>,
}

impl SamplingOptions {
    /// Checks the numbers that are given, before any model is read.
    ///
    /// # Errors
    ///
    /// A usage error that names the first one that is out of range.
    pub fn check(&self) -> Result<(), Failure> {
        self.over(&Sampling::default(), 0).check(usize::MAX).map_err(|error| {
            Failure::usage(error.to_string(), "`scribe chat --help` says what each number does")
        })
    }

    /// The model's advice with these options in its place where they are given.
    #[must_use]
    pub fn over(&self, advice: &Sampling, seed: u64) -> Sampling {
        Sampling {
            temperature: self.temperature.unwrap_or(advice.temperature),
            top_k: self.top_k.unwrap_or(advice.top_k),
            top_p: self.top_p.unwrap_or(advice.top_p),
            min_p: self.min_p.unwrap_or(advice.min_p),
            repetition_penalty: self.repetition_penalty.unwrap_or(advice.repetition_penalty),
            seed: self.seed.unwrap_or(seed),
            ..advice.clone()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn another_answer_is_drawn_even_where_the_first_one_is_not() {
        let greedy = Sampling { temperature: 0.0, top_k: 7, ..Sampling::default() };
        let drawn = another(&greedy);
        let expected =
            Sampling { temperature: 0.2, top_p: 0.9, repetition_penalty: 1.1, ..greedy.clone() };
        assert_eq!(drawn, expected);
        // A model's own advice against repetitions is kept where it goes further.
        let strict = Sampling { repetition_penalty: 1.3, ..greedy };
        assert_eq!(another(&strict), Sampling { repetition_penalty: 1.3, ..expected });
        let warm = Sampling { temperature: 0.7, ..Sampling::default() };
        assert_eq!(another(&warm), warm);
    }
}
