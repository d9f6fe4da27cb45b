//! `scribe compare compact`: texts that were deleted or revised leave the disk.

use std::path::Path;

use clap::Args;
use serde::Serialize;

use super::RoundArguments;
use crate::command::Failure;
use crate::terminal::{Terminal, bytes_for_people};

/// Examples of the command.
pub(super) const EXAMPLES: &str = "Examples:\n  scribe compare compact --run \
    runs/tiny\n\nThe ids of what was deleted stay, so that no import brings it back and what \
    was made from it can still be told.";

/// Which store.
#[derive(Debug, Args)]
pub struct CompactArguments {
    #[command(flatten)]
    round: RoundArguments,
}

/// `scribe compare compact --json`.
#[derive(Debug, Serialize)]
struct Report<'a> {
    schema: &'static str,
    file: &'a Path,
    comparisons: usize,
    bytes_before: u64,
    bytes: u64,
}

/// Does it.
pub(super) fn run(terminal: &mut Terminal, arguments: &CompactArguments) -> Result<(), Failure> {
    let mut store = arguments.round.open_what_is_there(terminal)?;
    let file = arguments.round.file()?;
    let bytes_before = std::fs::metadata(&file)?.len();
    store.compact()?;
    let bytes = std::fs::metadata(&file)?.len();
    let report = Report {
        schema: "scribe.compare.compact/1",
        file: &file,
        comparisons: store.count(),
        bytes_before,
        bytes,
    };
    if terminal.wants_json() {
        terminal.json(&report)?;
        return Ok(());
    }
    let freed = bytes_for_people(bytes_before.saturating_sub(bytes));
    terminal.line(format_args!("{}: {freed} are free again", file.display()))?;
    Ok(())
}
