//! The file of what may be asked about: a line is a prompt with its completions, as JSON.

use std::path::Path;

use artifacts::shown;
use comparisons::Candidate;
use comparisons::formats::{BAD_ROWS_SHOWN, ROW_BYTES_MAX};
use comparisons::queue::CANDIDATES_MAX;

use super::Problem;
use crate::lines::{self, Line};

/// The most bytes of a file, which is in memory while people rank.
const BYTES_MAX: usize = 1 << 30;

/// What a file has, with what is said of its lines that are no candidates.
#[derive(Debug, Default)]
pub(crate) struct Candidates {
    pub(crate) all: Vec<Candidate>,
    /// Lines that cannot be asked about.
    pub(crate) bad: u64,
    /// What is wrong with the first few, each with its number.
    pub(crate) told: Vec<String>,
}

impl Candidates {
    /// Reads them; lines that are none are counted, and the first few are told.
    ///
    /// # Errors
    ///
    /// Where the file cannot be read, is too large, or has none at all.
    pub(crate) fn read(path: &Path) -> Result<Self, Problem> {
        let cannot_read = |source| Problem::CannotRead { path: path.to_owned(), source };
        let mut source = corpus::sources::open_by_ending(path).map_err(cannot_read)?;
        let mut candidates = Self::default();
        let (mut bytes, mut number) = (0, 0_u64);
        while let Some(line) = lines::next(&mut source, ROW_BYTES_MAX).map_err(cannot_read)? {
            number += 1;
            if let Line::Whole(text) = &line {
                bytes += text.len();
                if text.trim_ascii().is_empty() {
                    continue;
                }
            }
            match candidate(line) {
                Ok(candidate) => candidates.all.push(candidate),
                Err(reason) => candidates.count_bad(number, &reason),
            }
            if bytes > BYTES_MAX || candidates.all.len() > CANDIDATES_MAX {
                return Err(Problem::TooLarge { path: path.to_owned() });
            }
        }
        match candidates.all.is_empty() {
            true => Err(Problem::NoCandidate { path: path.to_owned(), told: candidates.told }),
            false => Ok(candidates),
        }
    }

    fn count_bad(&mut self, number: u64, reason: &str) {
        self.bad += 1;
        if self.bad <= BAD_ROWS_SHOWN as u64 {
            self.told.push(format!("line {number}: {reason}"));
        }
    }
}

fn candidate(line: Line) -> Result<Candidate, String> {
    match line {
        Line::Whole(text) => {
            let text = str::from_utf8(&text).map_err(|_| "not UTF-8".to_owned())?;
            serde_json::from_str(text).map_err(|error| shown(&error.to_string()))
        }
        Line::TooLong => Err(format!("longer than {ROW_BYTES_MAX} bytes")),
    }
}
