//! The best of four, as in lm-human-preferences: `query`, `sample0` to `sample3`, `best`.
//!
//! Texts, or the tokens of a tokenizer that the caller gives. Nothing is said of the three others
//! among themselves.
//!
//! Source: Ziegler et al. 2019, arXiv:1909.08593; the labels of `openai/lm-human-preferences`.

use serde::Deserialize as _;
use serde_json::{Map, Value, json};

use super::{BadRow, Found, Judged, Unsaid};
use crate::{Candidate, Comparison, Completion, Judgment, Prompt, Ranking};

const SAMPLES: [&str; 4] = ["sample0", "sample1", "sample2", "sample3"];

pub(super) fn read(row: &Map<String, Value>, found: &mut Found<'_>) -> Result<(), BadRow> {
    let prompt = Prompt::Text(text(row, "query", found)?.0);
    let completion = |column: &&'static str| {
        let (text, tokens) = text(row, column, found)?;
        Ok(Completion { tokens, ..found.completion(&text) })
    };
    let completions = SAMPLES.iter().map(completion).collect::<Result<_, BadRow>>()?;
    let best = row.get("best").and_then(Value::as_u64).and_then(|best| usize::try_from(best).ok());
    let best = best.ok_or(BadRow::Column { column: "best", expected: "a number from 0 to 3" })?;
    let candidate = Candidate::new(prompt, completions)?;
    let ranking = Ranking::best_of(SAMPLES.len(), best)?;
    let judgment = Judgment::ranked(found.options.labeler, ranking, found.options.time_ms);
    found.judged.push(Judged::Comparison(Comparison::new(candidate, judgment)?));
    Ok(())
}

/// The row that says which of four is best.
pub(super) fn write(comparison: &Comparison, ranking: &Ranking) -> Result<Vec<Value>, Unsaid> {
    let Prompt::Text(prompt) = comparison.candidate().prompt() else {
        return Err(Unsaid::Conversation);
    };
    let completions = comparison.candidate().completions();
    if completions.len() != SAMPLES.len() {
        return Err(Unsaid::OtherCount);
    }
    let &[best] = ranking.groups()[0].as_slice() else { return Err(Unsaid::Ties) };
    let mut row = json!({ "query": prompt, "best": best });
    for (name, completion) in SAMPLES.iter().zip(completions) {
        row[*name] = json!(completion.text);
    }
    Ok(vec![row])
}

/// The text of a column, and its tokens where it holds those.
fn text(
    row: &Map<String, Value>,
    column: &'static str,
    found: &Found<'_>,
) -> Result<(String, Option<Vec<u32>>), BadRow> {
    let expected = "a text or a list of tokens";
    match row.get(column) {
        Some(Value::String(text)) => Ok((text.clone(), None)),
        Some(value @ Value::Array(_)) => {
            let tokens = Vec::<u32>::deserialize(value);
            let tokens = tokens.map_err(|_| BadRow::Column { column, expected })?;
            let decode = found.options.decode.ok_or(BadRow::Tokens)?;
            Ok((decode(&tokens), Some(tokens)))
        }
        _ => Err(BadRow::Column { column, expected }),
    }
}
