//! Anthropic's HH: `chosen` and `rejected` are whole conversations in one text each.
//!
//! A turn begins with `\n\nHuman:` or `\n\nAssistant:`; one space behind it belongs to the format.
//! There are no other roles, and no margin.
//!
//! Source: Bai et al. 2022, arXiv:2204.05862; the files of `anthropics/hh-rlhf`.

use serde_json::{Map, Value, json};

use super::column::{PairRow, completion_text, text};
use super::{BadRow, Found, Unsaid};
use crate::{Comparison, MESSAGES_MAX, Message, Prompt, Role};

const MARKERS: [(&str, Role); 2] =
    [("\n\nHuman:", Role::User), ("\n\nAssistant:", Role::Assistant)];

/// Whether both texts begin as those of this format do.
pub(super) fn fits(row: &Map<String, Value>) -> bool {
    let begins = |column: &str| {
        row.get(column).and_then(Value::as_str).is_some_and(|text| without_marker(text).is_some())
    };
    !row.contains_key("prompt") && begins("chosen") && begins("rejected")
}

pub(super) fn read(row: &Map<String, Value>, found: &mut Found<'_>) -> Result<(), BadRow> {
    let (prompt, chosen) = conversation(text(row, "chosen")?, "chosen")?;
    let (other_prompt, rejected) = conversation(text(row, "rejected")?, "rejected")?;
    if prompt != other_prompt {
        return Err(BadRow::OtherPrompt);
    }
    let (chosen, rejected) = (completion_text(&chosen)?, completion_text(&rejected)?);
    let prompt = Prompt::Messages(prompt);
    PairRow { prompt, chosen, rejected, margin: None }.add_to(found)
}

/// The rows that say the pairs of a comparison.
pub(super) fn write(comparison: &Comparison) -> Result<Vec<Value>, Unsaid> {
    let prompt = comparison.candidate().prompt().messages().ok_or(Unsaid::PlainPrompt)?;
    let prompt: String = prompt.iter().map(turn).collect::<Result<_, _>>()?;
    let whole = |completion: &str| {
        Ok(format!("{prompt}{}", turn(&Message::new(Role::Assistant, completion))?))
    };
    let rows = comparison.pairs().map(|pair| {
        Ok(json!({ "chosen": whole(pair.chosen)?, "rejected": whole(pair.rejected)? }))
    });
    rows.collect()
}

fn turn(message: &Message) -> Result<String, Unsaid> {
    let marker = MARKERS.iter().find(|(_, role)| *role == message.role);
    let (marker, _) = marker.ok_or(Unsaid::SystemMessage)?;
    match next_marker(&message.text) {
        None => Ok(format!("{marker} {}", message.text)),
        Some(_) => Err(Unsaid::Marker),
    }
}

/// The messages before the last one, and that one.
fn conversation(text: &str, column: &'static str) -> Result<(Vec<Message>, Message), BadRow> {
    let expected = "a conversation that begins with \\n\\nHuman: or \\n\\nAssistant:";
    let not_here = BadRow::Column { column, expected };
    let (mut role, mut rest) = without_marker(text).ok_or(not_here)?;
    let mut messages = Vec::new();
    while let Some(end) = next_marker(rest).filter(|_| messages.len() <= MESSAGES_MAX) {
        messages.push(message(role, &rest[..end]));
        (role, rest) = without_marker(&rest[end..]).ok_or(BadRow::NoCompletion)?;
    }
    Ok((messages, message(role, rest)))
}

fn message(role: Role, body: &str) -> Message {
    Message::new(role, body.strip_prefix(' ').unwrap_or(body))
}

fn without_marker(text: &str) -> Option<(Role, &str)> {
    MARKERS.iter().find_map(|(marker, role)| Some((*role, text.strip_prefix(marker)?)))
}

fn next_marker(text: &str) -> Option<usize> {
    MARKERS.iter().filter_map(|(marker, _)| text.find(marker)).min()
}
