//! LLaMA-Factory's preferences, in its two forms.
//!
//! - alpaca: `instruction`, `input`, `chosen`, `rejected`, also `system` and `history` (a list of
//!   pairs). Instruction and input are one message with a line end between them.
//! - sharegpt: `conversations` with `from` and `value`, and `chosen` and `rejected` as one such
//!   message each; also `system`.
//!
//! Source: the page on data of LLaMA-Factory. What is written is sharegpt, which can say any
//! conversation.

use serde_json::{Map, Value, json};

use super::column::{
    FROM_AND_VALUE, PairRow, completion_text, message, message_json, messages, text,
};
use super::{BadRow, Found, Unsaid};
use crate::{Comparison, Message, Prompt, Role};

pub(super) fn read(row: &Map<String, Value>, found: &mut Found<'_>) -> Result<(), BadRow> {
    let mut prompt = system(row)?;
    if let Some(list) = row.get("conversations") {
        prompt.extend(messages(list, "conversations", FROM_AND_VALUE)?);
        let part = |column| message(row.get(column).unwrap_or(&Value::Null), FROM_AND_VALUE);
        let (chosen, rejected) = (part("chosen")?, part("rejected")?);
        let (chosen, rejected) = (completion_text(&chosen)?, completion_text(&rejected)?);
        let prompt = Prompt::Messages(prompt);
        return PairRow { prompt, chosen, rejected, margin: None }.add_to(found);
    }
    prompt.extend(history(row)?);
    prompt.push(Message::new(Role::User, instruction(row)?));
    let (chosen, rejected) = (text(row, "chosen")?, text(row, "rejected")?);
    PairRow { prompt: Prompt::Messages(prompt), chosen, rejected, margin: None }.add_to(found)
}

/// The rows that say the pairs of a comparison.
pub(super) fn write(comparison: &Comparison) -> Result<Vec<Value>, Unsaid> {
    let messages = comparison.candidate().prompt().messages().ok_or(Unsaid::PlainPrompt)?;
    let (system, rest) = match messages {
        [first, rest @ ..] if first.role == Role::System && !first.text.is_empty() => {
            (Some(&first.text), rest)
        }
        all => (None, all),
    };
    if rest.iter().any(|message| message.role == Role::System) {
        return Err(Unsaid::SystemMessage);
    }
    let json_of = |message: &Message| message_json(message, FROM_AND_VALUE);
    let conversations: Value = rest.iter().map(json_of).collect();
    let completion = |text: &str| json_of(&Message::new(Role::Assistant, text));
    let rows = comparison.pairs().map(|pair| {
        let mut row = json!({
            "conversations": conversations,
            "chosen": completion(pair.chosen),
            "rejected": completion(pair.rejected),
        });
        if let Some(system) = system {
            row["system"] = json!(system);
        }
        row
    });
    Ok(rows.collect())
}

/// The message of the system; none where the text is empty, as sets have an empty column for it.
fn system(row: &Map<String, Value>) -> Result<Vec<Message>, BadRow> {
    match row.get("system") {
        None | Some(Value::Null) => Ok(Vec::new()),
        Some(_) => match text(row, "system")? {
            "" => Ok(Vec::new()),
            text => Ok(vec![Message::new(Role::System, text)]),
        },
    }
}

fn history(row: &Map<String, Value>) -> Result<Vec<Message>, BadRow> {
    let bad = || BadRow::Column { column: "history", expected: "a list of pairs of texts" };
    let pairs = match row.get("history") {
        None | Some(Value::Null) => return Ok(Vec::new()),
        Some(value) => value.as_array().ok_or_else(bad)?,
    };
    let mut messages = Vec::new();
    for pair in pairs {
        let texts = pair.as_array().map(Vec::as_slice);
        let Some([Value::String(asked), Value::String(answered)]) = texts else {
            return Err(bad());
        };
        messages.push(Message::new(Role::User, asked));
        messages.push(Message::new(Role::Assistant, answered));
    }
    Ok(messages)
}

fn instruction(row: &Map<String, Value>) -> Result<String, BadRow> {
    let instruction = text(row, "instruction")?;
    match row.get("input") {
        None | Some(Value::Null) => Ok(instruction.to_owned()),
        Some(_) => match text(row, "input")? {
            "" => Ok(instruction.to_owned()),
            input => Ok(format!("{instruction}\n{input}")),
        },
    }
}
