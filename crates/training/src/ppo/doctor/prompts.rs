//! Whether what is asked in training is what is asked in a chat.

use tokenizer::{ChatFormat, Conversation, Message, RenderEnd, Tokenizer};

use super::{Diagnosis, Finding};
use crate::Error;
use crate::per_token::count;

pub(super) const OTHER_WORDS: Diagnosis = Diagnosis::fault(
    "prompt-is-not-what-a-chat-asks",
    "a prompt has other tokens than the same conversation in a chat",
    "build the prompts again with this run's tokenizer and chat format",
);

pub(super) const FORGED: Diagnosis = Diagnosis::fault(
    "text-became-a-control-token",
    "a prompt has other control tokens than the same turns with other words, so text from people has \
     become one, or one is missing or there twice",
    "report it with the prompt and the tokenizer's folder",
);

/// A prompt in tokens against its conversation: it is what a chat would feed, and its special tokens
/// are those of the template alone.
///
/// # Errors
///
/// Where the format cannot write the conversation.
pub fn examine(
    tokenizer: &Tokenizer,
    format: &ChatFormat,
    (conversation, prompt): (&Conversation, &[u32]),
) -> Result<Option<Finding>, Error> {
    let end = RenderEnd::GenerationPrompt;
    let served = conversation.render(tokenizer, format, end)?.tokens;
    if served != prompt {
        let pairs = served.iter().zip(prompt);
        let differs = pairs.take_while(|(left, right)| left == right).count();
        return Ok(Some(OTHER_WORDS.found(0, &[("token", count(differs))])));
    }
    let blank = |message: &Message| Message::new(message.role, "words");
    let blank = Conversation { messages: conversation.messages.iter().map(blank).collect() };
    let expected = blank.render(tokenizer, format, end)?.tokens;
    let specials = |tokens: &[u32]| -> Vec<u32> {
        tokens.iter().copied().filter(|&token| tokenizer.is_special(token)).collect()
    };
    let (found, expected) = (specials(prompt), specials(&expected));
    let evidence = [("control tokens", count(found.len())), ("expected", count(expected.len()))];
    Ok((found != expected).then(|| FORGED.found(0, &evidence)))
}
