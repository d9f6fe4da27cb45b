//! TRL's preferences: `prompt`, `chosen`, `rejected`, each a text or a list of messages.
//!
//! Without `prompt`, it is what `chosen` and `rejected` begin with alike. `margin` says by how much
//! the one is better. A row of `prompt`, `completion` and `label` judges one completion.
//!
//! Source: TRL's page on dataset formats, and its `extract_prompt`.

use serde_json::{Map, Value, json};

use super::column::{
    PairRow, ROLE_AND_CONTENT, completion_text, margin, message_json, messages, text,
};
use super::{BadRow, Found, Judged};
use crate::feedback::Thumb;
use crate::{Comparison, Message, Prompt, Role};

pub(super) fn read(row: &Map<String, Value>, found: &mut Found<'_>) -> Result<(), BadRow> {
    if row.contains_key("label") && !row.contains_key("chosen") {
        return read_label(row, found);
    }
    if row.get("chosen").is_some_and(Value::is_array) {
        return read_messages(row, found);
    }
    let (chosen, rejected) = (text(row, "chosen")?, text(row, "rejected")?);
    let margin = margin(row)?;
    let (prompt, begin) = match row.get("prompt") {
        None | Some(Value::Null) => {
            let begin = common_beginning(chosen, rejected);
            (Prompt::Text(chosen[..begin].to_owned()), begin)
        }
        Some(value) => (prompt(value)?, 0),
    };
    let (chosen, rejected) = (&chosen[begin..], &rejected[begin..]);
    PairRow { prompt, chosen, rejected, margin }.add_to(found)
}

/// The rows that say the pairs of a comparison.
pub(super) fn write(comparison: &Comparison) -> Vec<Value> {
    let prompt = comparison.candidate().prompt();
    let prompt_json = match prompt {
        Prompt::Text(text) => json!(text),
        Prompt::Messages(messages) => {
            messages.iter().map(|message| message_json(message, ROLE_AND_CONTENT)).collect()
        }
    };
    let completion = |text: &str| match prompt {
        Prompt::Text(_) => json!(text),
        Prompt::Messages(_) => {
            json!([message_json(&Message::new(Role::Assistant, text), ROLE_AND_CONTENT)])
        }
    };
    let row = |pair: crate::PairOfTexts<'_>| {
        json!({
            "prompt": prompt_json,
            "chosen": completion(pair.chosen),
            "rejected": completion(pair.rejected),
            "margin": pair.margin,
        })
    };
    comparison.pairs().map(row).collect()
}

/// Chosen and rejected are lists of messages, with or without those of the prompt.
fn read_messages(row: &Map<String, Value>, found: &mut Found<'_>) -> Result<(), BadRow> {
    let list = |column: &'static str| {
        messages(row.get(column).unwrap_or(&Value::Null), column, ROLE_AND_CONTENT)
    };
    let (chosen, rejected) = (list("chosen")?, list("rejected")?);
    let [(chosen, before), (rejected, other_before)] = [&chosen, &rejected].map(|list| {
        list.split_last().map_or((None, &[][..]), |(last, before)| (Some(last), before))
    });
    if before != other_before {
        return Err(BadRow::OtherPrompt);
    }
    let prompt = match row.get("prompt") {
        None | Some(Value::Null) => Prompt::Messages(before.to_vec()),
        Some(value) if before.is_empty() => prompt(value)?,
        // Some sets repeat in `prompt` the last thing that was asked.
        Some(Value::String(text)) if before.last().is_some_and(|last| last.text == *text) => {
            Prompt::Messages(before.to_vec())
        }
        Some(_) => return Err(BadRow::OtherPrompt),
    };
    let (Some(chosen), Some(rejected)) = (chosen, rejected) else {
        return Err(BadRow::NoCompletion);
    };
    let (chosen, rejected) = (completion_text(chosen)?, completion_text(rejected)?);
    PairRow { prompt, chosen, rejected, margin: margin(row)? }.add_to(found)
}

/// One completion, judged good or bad.
fn read_label(row: &Map<String, Value>, found: &mut Found<'_>) -> Result<(), BadRow> {
    let expected = "true or false";
    let label = row.get("label").and_then(Value::as_bool);
    let is_up = label.ok_or(BadRow::Column { column: "label", expected })?;
    let list = row.get("completion").filter(|value| value.is_array());
    let completion = match list.map(|list| messages(list, "completion", ROLE_AND_CONTENT)) {
        None => text(row, "completion")?.to_owned(),
        Some(list) => match list?.as_slice() {
            [message] => completion_text(message)?.to_owned(),
            _ => return Err(BadRow::NoCompletion),
        },
    };
    let thumb = Thumb {
        prompt: prompt(row.get("prompt").unwrap_or(&Value::Null))?,
        completion: found.completion(&completion),
        is_up,
        labeler: found.options.labeler.to_owned(),
        reason: None,
        time_ms: found.options.time_ms,
    };
    found.judged.push(Judged::Thumb(thumb));
    Ok(())
}

fn prompt(value: &Value) -> Result<Prompt, BadRow> {
    match value {
        Value::String(text) => Ok(Prompt::Text(text.clone())),
        list => Ok(Prompt::Messages(messages(list, "prompt", ROLE_AND_CONTENT)?)),
    }
}

/// How many bytes two texts begin with alike, a space at the end left to the completions.
fn common_beginning(a: &str, b: &str) -> usize {
    let alike = a.char_indices().zip(b.chars()).take_while(|((_, x), y)| x == y);
    let end = alike.last().map_or(0, |((at, c), _)| at + c.len_utf8());
    if a[..end].ends_with(' ') { end - 1 } else { end }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_implicit_prompt_ends_before_a_space() {
        for (a, b, prompt) in [
            ("The sky is blue.", "The sky is green.", "The sky is"),
            ("ab", "ac", "a"),
            ("éa", "éb", "é"),
            ("é", "è", ""),
            ("same", "same", "same"),
            ("", "x", ""),
        ] {
            assert_eq!(&a[..common_beginning(a, b)], prompt);
        }
    }
}
