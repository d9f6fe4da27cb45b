//! Tasks from a file of JSON lines: `{"context": "…", "choices": ["…", "…"], "answer": 0}`.

use std::io::{BufRead, BufReader, Read};
use std::path::Path;

use serde::Deserialize;

use crate::Error;

/// The most tasks of a file.
pub const TASKS_MAX: usize = 1 << 20;
/// The longest file of tasks, in bytes: all of them are in memory.
pub const TASKS_BYTES_MAX: u64 = 256 << 20;
/// The longest line, in bytes.
pub const LINE_BYTES_MAX: usize = 1 << 20;
/// The most choices of a task.
pub const CHOICES_MAX: usize = 64;

/// A question with its possible answers. Other fields of a line are passed over.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct Task {
    /// What comes before; may be empty.
    pub context: String,
    /// What may come after, as it would stand there: mostly with a blank first. None is blank.
    pub choices: Vec<String>,
    /// The right one, counted from 0.
    pub answer: usize,
}

/// What is wrong with a task.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TaskFault {
    /// A line that is too long.
    #[error("it is longer than {LINE_BYTES_MAX} bytes")]
    TooLong,
    /// A line that is no task.
    #[error("it is no task ({message}); write {{\"context\": …, \"choices\": […], \"answer\": 0}}")]
    NotATask {
        /// What the JSON reader found.
        message: String,
    },
    /// Too few or too many choices.
    #[error("it has {found} choices; give 2 to {CHOICES_MAX}")]
    Choices {
        /// How many there are.
        found: usize,
    },
    /// A choice without any letter.
    #[error("choice {choice} is blank; give it some text")]
    Blank {
        /// Its number, counted from 0.
        choice: usize,
    },
    /// An answer that is none of the choices.
    #[error("its answer is choice {answer}, but there are {choices}; count from 0")]
    Answer {
        /// The answer.
        answer: usize,
        /// How many choices there are.
        choices: usize,
    },
    /// A choice that does not fit into the context window.
    #[error(
        "a choice of {tokens} tokens does not fit into a context window of {window}; shorten it, \
         or choose a larger window"
    )]
    ChoiceTooLong {
        /// Tokens of the choice.
        tokens: usize,
        /// Tokens of the window.
        window: usize,
    },
}

/// Reads all tasks of a file; blank lines are passed over.
///
/// # Errors
///
/// [`Error::Read`] where the file cannot be read, [`Error::TooMuch`] where it is too large, and
/// [`Error::Line`] for the first line that is no task.
pub fn read_tasks(path: &Path) -> Result<Vec<Task>, Error> {
    let failed = |source| Error::Read { path: path.to_owned(), source };
    let file = artifacts::open_file(path).map_err(failed)?;
    let mut lines = BufReader::new(file.take(TASKS_BYTES_MAX + 1));
    let (mut tasks, mut bytes) = (Vec::new(), 0);
    for number in 1.. {
        let mut line = Vec::new();
        let longest = LINE_BYTES_MAX as u64 + 1;
        let read = (&mut lines).take(longest).read_until(b'\n', &mut line).map_err(failed)?;
        if read == 0 {
            break;
        }
        bytes += read as u64;
        let too_much = |limit, what| Err(Error::TooMuch { path: path.to_owned(), limit, what });
        if bytes > TASKS_BYTES_MAX {
            return too_much(TASKS_BYTES_MAX, "bytes");
        }
        if line.trim_ascii().is_empty() {
            continue;
        }
        if tasks.len() == TASKS_MAX {
            return too_much(TASKS_MAX as u64, "tasks");
        }
        let fault = |fault| Error::Line { path: path.to_owned(), line: number, fault };
        tasks.push(task(&line).map_err(fault)?);
    }
    Ok(tasks)
}

fn task(line: &[u8]) -> Result<Task, TaskFault> {
    if line.len() > LINE_BYTES_MAX {
        return Err(TaskFault::TooLong);
    }
    let task: Task = serde_json::from_slice(line)
        .map_err(|error| TaskFault::NotATask { message: artifacts::shown(&error.to_string()) })?;
    let choices = task.choices.len();
    if !(2..=CHOICES_MAX).contains(&choices) {
        return Err(TaskFault::Choices { found: choices });
    }
    if let Some(choice) = task.choices.iter().position(|choice| choice.trim().is_empty()) {
        return Err(TaskFault::Blank { choice });
    }
    if task.answer >= choices {
        return Err(TaskFault::Answer { answer: task.answer, choices });
    }
    Ok(task)
}
