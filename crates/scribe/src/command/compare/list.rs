//! The comparisons one by one, with the ids by which they can be deleted.

use std::path::Path;

use artifacts::disk::RealDisk;
use comparisons::store::{RowId, Snapshot};
use comparisons::{Comparison, Prompt};
use serde::Serialize;

use super::show::{cut, in_words};
use crate::command::Failure;
use crate::terminal::Terminal;

/// The digits of an id that are shown; any 8 or more name it.
pub(super) const ID_DIGITS: usize = 12;
/// The letters of a name, of a ranking and of a prompt that fit into a line.
const NAME_LETTERS: usize = 14;
const RANKING_LETTERS: usize = 15;
const PROMPT_LETTERS: usize = 32;

/// `scribe compare show --list --json`, one line for each.
#[derive(Debug, Serialize)]
struct Row<'a> {
    schema: &'static str,
    id: RowId,
    labeler: &'a str,
    /// Completions numbered from 1, best first; absent where it was skipped.
    ranking: Option<String>,
    reason: Option<&'a str>,
    time_ms: u64,
    prompt: &'a Prompt,
}

/// Shows each comparison that counts.
pub(super) fn show(
    terminal: &mut Terminal,
    file: &Path,
    snapshot: &Snapshot<RealDisk>,
) -> Result<(), Failure> {
    if !terminal.wants_json() {
        terminal.heading(line("ID", "LABELER", "RANKING", "PROMPT"))?;
    }
    let shown = snapshot.for_each(|id, comparison| show_one(terminal, id, &comparison));
    shown.map_err(|failure| failure.context(format!("cannot list {}", file.display())))
}

fn show_one(terminal: &mut Terminal, id: RowId, comparison: &Comparison) -> Result<(), Failure> {
    let judgment = comparison.judgment();
    let ranking = judgment.ranking.as_ref().map(in_words);
    let prompt = comparison.candidate().prompt();
    if terminal.wants_json() {
        terminal.json_line(&Row {
            schema: "scribe.compare.list/1",
            id,
            labeler: &judgment.labeler,
            ranking,
            reason: judgment.reason.as_deref(),
            time_ms: judgment.time_ms,
            prompt,
        })?;
        return Ok(());
    }
    let text = match prompt {
        Prompt::Text(text) => text.as_str(),
        Prompt::Messages(messages) => messages.last().map_or("", |message| message.text.as_str()),
    };
    let text: Vec<&str> = text.split_whitespace().take(PROMPT_LETTERS).collect();
    let ranking = ranking.as_deref().unwrap_or("skipped");
    terminal.line(line(&beginning(id), &judgment.labeler, ranking, &text.join(" ")))?;
    Ok(())
}

/// The beginning of an id that is shown in the place of it.
pub(super) fn beginning(id: RowId) -> String {
    id.to_string().chars().take(ID_DIGITS).collect()
}

fn line(id: &str, labeler: &str, ranking: &str, prompt: &str) -> String {
    let labeler = cut(labeler, NAME_LETTERS);
    let ranking = cut(ranking, RANKING_LETTERS);
    let prompt = cut(prompt, PROMPT_LETTERS);
    format!("{id:ID_DIGITS$}  {labeler:NAME_LETTERS$}  {ranking:RANKING_LETTERS$}  {prompt}")
}
