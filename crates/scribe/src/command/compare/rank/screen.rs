//! What a labeler sees: a prompt, completions under marks, and what became of the answer.

use comparisons::queue::{Progress, Question};
use comparisons::store::RowId;
use comparisons::{Prompt, Ranking};
use serde::Serialize;

use super::super::list::beginning;
use super::answer::{in_marks, mark};
use crate::command::Failure;
use crate::terminal::Terminal;

/// What can be typed.
pub(super) const KEYS: &str =
    "best first, as 2>1=3 or 21=3, # reason; s skip, u undo, ? guidelines, q stop";

/// The schema of each line.
const SCHEMA: &str = "scribe.compare.rank/1";

/// Which question it is.
#[derive(Clone, Copy)]
pub(super) struct Turn {
    pub(super) progress: Progress,
    /// Whether it was answered and the answer is to be revised.
    pub(super) is_again: bool,
}

/// `scribe compare rank --json`: one line for each event.
#[derive(Debug, Serialize)]
#[serde(tag = "event", rename_all = "snake_case")]
enum Event<'a> {
    Question {
        schema: &'static str,
        is_again: bool,
        done: usize,
        all: usize,
        prompt: &'a Prompt,
        /// In the order shown; nothing tells where they came from.
        texts: &'a [String],
    },
    Kept {
        schema: &'static str,
        id: RowId,
        /// Of the texts as shown; absent where it was skipped.
        ranking: Option<String>,
    },
    Ended {
        schema: &'static str,
        done: usize,
        all: usize,
    },
}

/// Shows a question.
pub(super) fn show(
    terminal: &mut Terminal,
    question: &Question,
    turn: Turn,
) -> Result<(), Failure> {
    let Question { prompt, texts, .. } = question;
    let Turn { progress: Progress { done, all }, is_again } = turn;
    if terminal.wants_json() {
        terminal.json_line(&Event::Question {
            schema: SCHEMA,
            is_again,
            done,
            all,
            prompt,
            texts,
        })?;
        return Ok(());
    }
    match is_again {
        true => terminal.heading("\nThe one before, again")?,
        false => terminal.heading(format_args!("\n{} of {all}", done + 1))?,
    }
    match prompt {
        Prompt::Text(text) => indented(terminal, text)?,
        Prompt::Messages(messages) => {
            for message in messages {
                indented(terminal, &format!("{}: {}", message.role.name(), message.text))?;
            }
        }
    }
    for (place, text) in texts.iter().enumerate() {
        terminal.heading(format_args!("[{}]", mark(place, texts.len())))?;
        indented(terminal, text)?;
    }
    Ok(())
}

/// Says that an answer is on the disk.
pub(super) fn acknowledge(
    terminal: &mut Terminal,
    id: RowId,
    ranking: Option<&Ranking>,
) -> Result<(), Failure> {
    let ranking = ranking.map(in_marks);
    if terminal.wants_json() {
        terminal.json_line(&Event::Kept { schema: SCHEMA, id, ranking })?;
        return Ok(());
    }
    let ranking = ranking.as_deref().unwrap_or("skipped");
    terminal.line(format_args!("kept {}: {ranking}", beginning(id)))?;
    Ok(())
}

/// Says how far it went, and how it goes on.
pub(super) fn tell_end(
    terminal: &mut Terminal,
    Progress { done, all }: Progress,
    command: &str,
) -> Result<(), Failure> {
    if terminal.wants_json() {
        terminal.json_line(&Event::Ended { schema: SCHEMA, done, all })?;
        return Ok(());
    }
    terminal.line(format_args!("\n{done} of {all} answered"))?;
    if done < all {
        terminal.note(format_args!("go on with: {command}"));
    }
    Ok(())
}

/// Text behind two spaces, so that no line of it can be taken for a mark.
fn indented(terminal: &mut Terminal, text: &str) -> Result<(), Failure> {
    let lines: Vec<&str> = text.lines().collect();
    let shown =
        if lines.is_empty() { "  (empty)".to_owned() } else { format!("  {}", lines.join("\n  ")) };
    terminal.line(shown)?;
    Ok(())
}
