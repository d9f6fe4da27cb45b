//! What the page sends, each field within its limits.

use comparisons::store::RowId;
use comparisons::{COMPLETIONS_MAX, CandidateId, Ranking};
use serde_json::Value;

use crate::labeling::{Said, Task};
use crate::web::error::ApiError;
use crate::web::fields::Fields;

/// Most questions that a page may hold at once: the one shown, and those on their way.
const HELD_MAX: usize = 16;

/// The labeler's name; whether it is one is for the library to say.
pub(super) fn labeler(fields: &Fields<'_>) -> Result<String, ApiError> {
    let name = fields.string("labeler")?.ok_or_else(|| missing("labeler"))?;
    Ok(name.trim().to_owned())
}

/// Candidates that are on the page.
pub(super) fn held(fields: &Fields<'_>) -> Result<Vec<CandidateId>, ApiError> {
    let held = fields.list("held")?.unwrap_or_default();
    if held.len() > HELD_MAX {
        return Err(ApiError::invalid("held", format!("'held' may have at most {HELD_MAX} ids.")));
    }
    held.iter().map(|value| parsed(Some(value), "held")).collect()
}

/// What is answered.
pub(super) fn task(fields: &Fields<'_>) -> Result<Task, ApiError> {
    let name = fields.string("task")?.ok_or_else(|| missing("task"))?;
    Task::of_name(name).ok_or_else(|| {
        ApiError::invalid("task", "'task' must be one that /label/next told, such as ranking-1.")
    })
}

/// Which question is answered: its candidate, and how often it had been answered before.
pub(super) fn question(fields: &Fields<'_>) -> Result<(CandidateId, usize), ApiError> {
    let times = fields.count("times", 0..=1)?.unwrap_or(0);
    Ok((parsed(fields.get("candidate"), "candidate")?, times))
}

/// Which answer is revised.
pub(super) fn row(fields: &Fields<'_>) -> Result<RowId, ApiError> {
    parsed(fields.get("id"), "id")
}

/// What the labeler says: `groups` of the texts as shown, numbered from 0, the best first, or `skip`.
pub(super) fn said(fields: &Fields<'_>) -> Result<Said, ApiError> {
    let ranking = match fields.flag("skip")? {
        true => None,
        false => Some(ranking(fields.list("groups")?.ok_or_else(|| missing("groups"))?)?),
    };
    let reason = fields.string("reason")?.map(str::trim).filter(|reason| !reason.is_empty());
    Ok(Said { labeler: labeler(fields)?, ranking, reason: reason.map(str::to_owned) })
}

fn ranking(groups: &[Value]) -> Result<Ranking, ApiError> {
    let refused = |message: String| ApiError::invalid("groups", message);
    let shape = || {
        refused("'groups' must be lists of numbers from 0, the best first, at most 16.".to_owned())
    };
    let number = |value: &Value| value.as_u64().and_then(|number| usize::try_from(number).ok());
    let group =
        |value: &Value| -> Option<Vec<usize>> { value.as_array()?.iter().map(number).collect() };
    let groups: Option<Vec<Vec<usize>>> =
        groups.iter().take(COMPLETIONS_MAX + 1).map(group).collect();
    let groups = groups.ok_or_else(shape)?;
    let completions = groups.iter().map(Vec::len).sum();
    if completions > COMPLETIONS_MAX || groups.len() > COMPLETIONS_MAX {
        return Err(shape());
    }
    // All that is shown has a place on the page: what is left out is one text too few.
    Ranking::new(completions, groups).map_err(|refusal| refused(format!("{refusal}.")))
}

/// An id in hexadecimal digits.
fn parsed<T: serde::de::DeserializeOwned>(
    value: Option<&Value>,
    name: &'static str,
) -> Result<T, ApiError> {
    let value = value.ok_or_else(|| missing(name))?;
    serde_json::from_value(value.clone())
        .map_err(|_| ApiError::invalid(name, format!("'{name}' must be 64 hexadecimal digits.")))
}

fn missing(name: &'static str) -> ApiError {
    ApiError::invalid(name, format!("'{name}' is missing. Send it."))
}
