//! Sentences with numbers in them: what an answer cost, what was left out, what went wrong.

use std::time::Duration;

use chat::{StopReason, Usage};
use fluent_bundle::FluentValue;

use crate::locale::Language;
use crate::web::error::ApiError;

/// How fast an answer came.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pace {
    /// From the first word to the last.
    pub(super) decoding: Duration,
    /// From the question to the last word.
    pub(super) total: Duration,
}

impl Pace {
    /// Tokens per second while the answer was written; the first token belongs to the prompt.
    fn speed(&self, tokens: usize) -> f64 {
        let (tokens, time) = if tokens > 1 && self.decoding > Duration::ZERO {
            (tokens - 1, self.decoding)
        } else {
            (tokens, self.total)
        };
        let tokens = u32::try_from(tokens).map_or(f64::MAX, f64::from);
        tokens / time.as_secs_f64().max(1e-3)
    }
}

/// The line under an answer: tokens and speed.
pub(super) fn figures(language: Language, usage: Usage, pace: Pace) -> String {
    let speed = pace.speed(usage.completion_tokens);
    let values = [("tokens", usage.completion_tokens.into()), ("speed", tenths(speed).into())];
    language.format("figures", &values)
}

/// The longer text for those who point at that line.
pub(super) fn figures_title(language: Language, usage: Usage, pace: Pace) -> String {
    let values = [
        ("prompt", usage.prompt_tokens.into()),
        ("cached", usage.cached_tokens.into()),
        ("tokens", usage.completion_tokens.into()),
        ("seconds", tenths(pace.total.as_secs_f64()).into()),
    ];
    language.format("figures-title", &values)
}

/// Says how many messages did not fit; empty for none.
pub(super) fn dropped(language: Language, messages: usize) -> String {
    if messages == 0 {
        return String::new();
    }
    language.format("dropped", &[("dropped", messages.into())])
}

/// Says why an answer ended if it did not end by itself.
pub(super) fn ended(language: Language, reason: StopReason) -> String {
    match reason {
        StopReason::Length => language.text("length-reached"),
        _ => String::new(),
    }
}

/// What went wrong, for the reader of a page.
pub(super) fn problem(language: Language, error: &ApiError) -> String {
    match error.code() {
        Some("queue_full") => {
            let wait = error.retry_after().map_or(1, |wait| wait.as_secs().max(1));
            let wait = u32::try_from(wait).unwrap_or(u32::MAX);
            language.format("error-queue-full", &[("seconds", wait.into())])
        }
        Some("model_loading") => language.text("loading"),
        Some("shutting_down") => language.text("error-shutting-down"),
        Some("context_length_exceeded") => match error.tokens() {
            Some((prompt, context)) => {
                let values = [("prompt", prompt.into()), ("context", context.into())];
                language.format("error-too-long", &values)
            }
            None => language.text("error-conversation-too-long"),
        },
        Some("request_too_large") => language.text("error-conversation-too-long"),
        Some("generation_failed" | "internal_error") => language.text("error-engine"),
        Some("engine_gone") => language.text("error-engine-gone"),
        Some("invalid_api_key") => language.text("error-key"),
        _ => {
            let message = FluentValue::from(error.message().to_owned());
            language.format("error-invalid", &[("message", message)])
        }
    }
}

/// Rounded to one digit after the point; whole from a hundred on.
fn tenths(value: f64) -> f64 {
    if value >= 100.0 { value.round() } else { (value * 10.0).round() / 10.0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_count_tokens_and_time() {
        let usage = Usage { prompt_tokens: 30, cached_tokens: 10, completion_tokens: 11 };
        let pace = Pace { decoding: Duration::from_secs(2), total: Duration::from_secs(3) };
        assert_eq!(figures(Language::English, usage, pace), "11 tokens · 5 tokens/s");
        assert_eq!(
            figures_title(Language::English, usage, pace),
            "30 tokens read, 10 of them remembered from before; 11 written in 3 s"
        );
        let single = Usage { completion_tokens: 1, ..usage };
        assert_eq!(figures(Language::French, single, pace), "1 jeton · 0,3 jetons/s");
    }

    #[test]
    fn dropped_messages_are_told_in_number() {
        assert_eq!(dropped(Language::English, 0), "");
        assert!(dropped(Language::English, 1).starts_with("The oldest message no longer fits"));
        assert!(dropped(Language::French, 4).starts_with("Les 4 messages"));
    }

    #[test]
    fn every_refusal_has_a_sentence_in_the_readers_language() {
        for error in [
            ApiError::queue_full(Duration::from_secs(3)),
            ApiError::loading(),
            ApiError::shutting_down(),
            ApiError::context_overflow("messages", 9_000, 8_192),
            ApiError::body_too_large(2_000_000),
            ApiError::internal(),
            ApiError::engine_gone(),
            ApiError::wrong_key(),
            ApiError::invalid("temperature", "must be a number"),
        ] {
            let (english, french) =
                (problem(Language::English, &error), problem(Language::French, &error));
            assert_ne!(english, french);
            assert!(english.ends_with(['.', 'r']) && !english.contains('{'), "{english}");
        }
        let busy = problem(Language::English, &ApiError::queue_full(Duration::from_secs(3)));
        assert_eq!(busy, "The server is busy. Try again in 3 seconds.");
    }
}
