//! One row of JSON lines: an object, and the text in one of its columns.

use artifacts::shown;
use serde_json::{Map, Value};

use crate::{BadRow, Error, Place};

/// Columns that an error names.
const COLUMNS_SHOWN: usize = 20;

/// The object that a line holds.
pub(super) fn parse(line: &[u8]) -> Result<Map<String, Value>, BadRow> {
    let line = std::str::from_utf8(line).map_err(|_| BadRow::NotUtf8)?;
    serde_json::from_str(line).map_err(|_| BadRow::NotJson)
}

/// The text in a column: itself, or the messages or turns of a list with a blank line between them.
pub(super) fn text(value: &Value) -> Result<String, BadRow> {
    match value {
        Value::String(text) => Ok(text.clone()),
        Value::Array(turns) if !turns.is_empty() => {
            let turns: Option<Vec<&str>> = turns.iter().map(turn).collect();
            Ok(turns.ok_or(BadRow::NotText)?.join("\n\n"))
        }
        _ => Err(BadRow::NotText),
    }
}

/// The text of one turn: a string, or an object's `content`, `value` or `text`.
fn turn(value: &Value) -> Option<&str> {
    match value {
        Value::String(text) => Some(text),
        Value::Object(message) => {
            ["content", "value", "text"].iter().find_map(|name| message.get(*name))?.as_str()
        }
        _ => None,
    }
}

/// What to say of rows that do not have the wanted column.
pub(super) fn no_column(row: &Map<String, Value>, column: &str, place: &Place) -> Error {
    let names: Vec<String> =
        row.keys().take(COLUMNS_SHOWN).map(|name| format!("`{}`", shown(name))).collect();
    let found = if names.is_empty() { "none".to_owned() } else { names.join(", ") };
    Error::NoColumn { file: shown(&place.file), line: place.line, column: shown(column), found }
}
