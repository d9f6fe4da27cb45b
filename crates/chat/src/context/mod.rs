//! Makes a conversation fit into the context window: refuse it, or drop its oldest turns whole.

use tokenizer::{ChatFormat, Conversation, RenderEnd, Role, Tokenizer};

use crate::error::Error;

/// What happens to a conversation that is too long.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Overflow {
    /// It is refused: whoever sent it decides what to leave out.
    #[default]
    Refuse,
    /// Its oldest turns are dropped, and the answer says how many messages that were.
    DropOldest,
}

/// The tokens there are for a conversation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Room {
    /// Most tokens of prompt and answer together.
    pub context_tokens: usize,
    /// Tokens that are kept free for the answer where turns are dropped anyway.
    pub answer_tokens: usize,
}

/// A conversation that fits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fitted {
    /// The conversation, ready for the model's answer.
    pub tokens: Vec<u32>,
    /// Messages at its begin that the model does not see.
    pub dropped_messages: usize,
}

/// Writes the conversation in tokens such that at least one more token fits.
///
/// A turn is what the person says and all up to what the person says next. The system messages at
/// the begin and the last turn are never dropped.
///
/// # Errors
///
/// [`Error::ContextOverflow`] if it does not fit, [`Error::Tokenizer`] if it cannot be written.
pub fn fit(
    conversation: &Conversation,
    tokenizer: &Tokenizer,
    format: &ChatFormat,
    room: Room,
    overflow: Overflow,
) -> Result<Fitted, Error> {
    let written = |dropped_messages: usize| -> Result<Fitted, Error> {
        let shorter;
        let conversation = if dropped_messages == 0 {
            conversation
        } else {
            shorter = without_oldest(conversation, dropped_messages);
            &shorter
        };
        let rendered = conversation.render(tokenizer, format, RenderEnd::GenerationPrompt)?;
        Ok(Fitted { tokens: rendered.tokens, dropped_messages })
    };
    // Where turns may go, they make room for the answer, too.
    let most_tokens = match overflow {
        Overflow::Refuse => room.context_tokens.saturating_sub(1),
        Overflow::DropOldest => room.context_tokens.saturating_sub(room.answer_tokens.max(1)),
    };
    let whole = written(0)?;
    if whole.tokens.len() <= most_tokens {
        return Ok(whole);
    }
    let too_long = |fitted: &Fitted| Error::ContextOverflow {
        prompt_tokens: fitted.tokens.len(),
        context_tokens: room.context_tokens,
    };
    let choices = match overflow {
        Overflow::Refuse => return Err(too_long(&whole)),
        Overflow::DropOldest => droppable(conversation),
    };
    let mut best = match choices.last() {
        Some(&most) => written(most)?,
        None => whole,
    };
    if best.tokens.len() >= room.context_tokens {
        return Err(too_long(&best));
    }
    // Fewer turns never take more tokens, so the least number to drop is found by halving.
    let (mut low, mut high) = (0, choices.len().saturating_sub(1));
    while low < high {
        let middle = usize::midpoint(low, high);
        let fitted = written(choices[middle])?;
        if fitted.tokens.len() <= most_tokens {
            (best, high) = (fitted, middle);
        } else {
            low = middle + 1;
        }
    }
    Ok(best)
}

/// How many messages may be dropped: up to the begin of each turn but the first.
fn droppable(conversation: &Conversation) -> Vec<usize> {
    let messages = &conversation.messages;
    let first = leading_system_messages(conversation);
    (first + 1..messages.len())
        .filter(|&index| {
            messages[index].role == Role::User && messages[index - 1].role != Role::User
        })
        .map(|index| index - first)
        .collect()
}

fn leading_system_messages(conversation: &Conversation) -> usize {
    conversation.messages.iter().take_while(|message| message.role == Role::System).count()
}

fn without_oldest(conversation: &Conversation, dropped_messages: usize) -> Conversation {
    let first = leading_system_messages(conversation);
    let mut messages = conversation.messages[..first].to_vec();
    messages.extend_from_slice(&conversation.messages[first + dropped_messages..]);
    Conversation { messages }
}

#[cfg(test)]
mod tests;
