//! The file of what may be asked about: a line is a prompt with its completions, as JSON.

use std::collections::BTreeMap;
use std::path::Path;

use artifacts::shown;
use comparisons::formats::{BAD_ROWS_SHOWN, ROW_BYTES_MAX};
use comparisons::queue::CANDIDATES_MAX;
use comparisons::{Candidate, CandidateId};

use super::super::lines::{self, Line};
use super::super::{cannot_read, counted};
use crate::command::Failure;
use crate::terminal::Terminal;

/// The most bytes of a file, which is in memory while people rank.
const BYTES_MAX: usize = 1 << 30;

/// Reads candidates; lines that are none are counted, and the first few are told.
pub(super) fn read(
    terminal: &mut Terminal,
    path: &Path,
) -> Result<BTreeMap<CandidateId, Candidate>, Failure> {
    let source = corpus::sources::open_by_ending(path);
    let mut source = source.map_err(|error| cannot_read(path, error))?;
    let mut candidates = BTreeMap::new();
    let (mut bytes, mut number, mut bad) = (0, 0_u64, 0_u64);
    while let Some(line) =
        lines::next(&mut source, ROW_BYTES_MAX).map_err(|error| cannot_read(path, error))?
    {
        number += 1;
        if let Line::Whole(text) = &line {
            bytes += text.len();
            if text.trim_ascii().is_empty() {
                continue;
            }
        }
        match candidate(line) {
            Ok(candidate) => {
                candidates.entry(candidate.id()).or_insert(candidate);
            }
            Err(reason) => {
                bad += 1;
                if bad <= BAD_ROWS_SHOWN as u64 {
                    terminal.warn(format_args!("{}: line {number}: {reason}", path.display()));
                }
            }
        }
        if bytes > BYTES_MAX || candidates.len() > CANDIDATES_MAX {
            return Err(too_large(path));
        }
    }
    match (candidates.is_empty(), bad) {
        (false, 0) => Ok(candidates),
        (false, _) => {
            let rows = counted(bad, "line");
            terminal.warn(format_args!("{}: {rows} cannot be asked about", path.display()));
            Ok(candidates)
        }
        (true, _) => Err(Failure::usage(
            format!("`{}` has nothing that could be ranked", path.display()),
            "give JSON lines such as {\"prompt\": \"…\", \"completions\": [{\"text\": \"…\", \
             \"origin\": \"written\"}, …]}, two completions or more in each",
        )),
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

fn too_large(path: &Path) -> Failure {
    Failure::usage(
        format!("`{}` has more than {CANDIDATES_MAX} candidates or 1 GiB", path.display()),
        "split the file, and rank its parts one after the other",
    )
}
