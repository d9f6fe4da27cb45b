//! What the columns of a row hold: texts, messages, pairs.

use serde::Deserialize as _;
use serde_json::{Map, Value, json};

use super::{BadRow, Found, Judged};
use crate::{Candidate, Comparison, Judgment, Message, Prompt, Ranking, Role};

/// The text in a column.
pub(super) fn text<'a>(
    row: &'a Map<String, Value>,
    column: &'static str,
) -> Result<&'a str, BadRow> {
    let value = row.get(column).and_then(Value::as_str);
    value.ok_or(BadRow::Column { column, expected: "a text" })
}

/// How one format names what a message holds.
#[derive(Clone, Copy)]
pub(super) struct Names {
    pub(super) role: &'static str,
    pub(super) content: &'static str,
}

/// The names of TRL and of the interfaces to models.
pub(super) const ROLE_AND_CONTENT: Names = Names { role: "role", content: "content" };
/// Those of sharegpt.
pub(super) const FROM_AND_VALUE: Names = Names { role: "from", content: "value" };

/// One message.
pub(super) fn message(value: &Value, names: Names) -> Result<Message, BadRow> {
    let part = |column: &'static str| {
        let text = value.get(column).and_then(Value::as_str);
        text.ok_or(BadRow::Column { column, expected: "a text" })
    };
    let role = match part(names.role)? {
        "human" | "prompter" => Role::User,
        "gpt" => Role::Assistant,
        name => Role::of_name(name).ok_or(BadRow::UnknownRole)?,
    };
    Ok(Message::new(role, part(names.content)?))
}

/// A list of messages.
pub(super) fn messages(
    value: &Value,
    column: &'static str,
    names: Names,
) -> Result<Vec<Message>, BadRow> {
    let list = value.as_array().ok_or(BadRow::Column { column, expected: "a list of messages" })?;
    list.iter().map(|value| message(value, names)).collect()
}

/// A message in JSON.
pub(super) fn message_json(message: &Message, names: Names) -> Value {
    let role = match (message.role, names.role) {
        (Role::User, "from") => "human",
        (Role::Assistant, "from") => "gpt",
        (role, _) => role.name(),
    };
    json!({ names.role: role, names.content: message.text })
}

/// The text of a completion that is a message.
pub(super) fn completion_text(message: &Message) -> Result<&str, BadRow> {
    match message.role {
        Role::Assistant => Ok(&message.text),
        Role::System | Role::User => Err(BadRow::NoCompletion),
    }
}

/// A pair of completions, the chosen one first.
pub(super) struct PairRow<'a> {
    pub(super) prompt: Prompt,
    pub(super) chosen: &'a str,
    pub(super) rejected: &'a str,
    pub(super) margin: Option<f32>,
}

impl PairRow<'_> {
    pub(super) fn add_to(self, found: &mut Found<'_>) -> Result<(), BadRow> {
        let completions = vec![found.completion(self.chosen), found.completion(self.rejected)];
        let candidate = Candidate::new(self.prompt, completions)?;
        let ranking = Ranking::best_of(2, 0)?;
        let judgment = Judgment::ranked(found.options.labeler, ranking, found.options.time_ms);
        let judgment = Judgment { margin: self.margin, ..judgment };
        found.judged.push(Judged::Comparison(Comparison::new(candidate, judgment)?));
        Ok(())
    }
}

/// The margin of a row, where it has one.
pub(super) fn margin(row: &Map<String, Value>) -> Result<Option<f32>, BadRow> {
    match row.get("margin") {
        None | Some(Value::Null) => Ok(None),
        Some(value) => match f32::deserialize(value) {
            Ok(margin) => Ok(Some(margin)),
            Err(_) => Err(BadRow::Column { column: "margin", expected: "a number" }),
        },
    }
}
