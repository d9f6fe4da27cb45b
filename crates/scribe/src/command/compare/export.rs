//! `scribe compare export`: comparisons in a format of other programs, with what it cannot say.

use std::io::{self, Write};
use std::path::{Path, PathBuf};

use artifacts::disk::RealDisk;
use artifacts::folder::land_file;
use clap::Args;
use comparisons::formats::{Format, WriteReport, Writer};
use comparisons::store::Snapshot;
use serde::Serialize;

use super::{RoundArguments, counted, format};
use crate::command::{Failure, export as models};
use crate::terminal::Terminal;

/// Examples of the command.
pub(super) const EXAMPLES: &str = "Examples:\n  scribe compare export --run runs/tiny \
    --format trl > pairs.jsonl\n  scribe compare export --run runs/tiny --format oasst --out \
    trees.jsonl\n\nMost formats know pairs alone: a ranking of four becomes its six pairs. \
    What a format cannot say is counted and told on standard error.";

/// Bytes of rows that are gathered before they are shown.
const BUFFER_BYTES: usize = 1 << 16;

/// What to write.
#[derive(Debug, Args)]
pub struct ExportArguments {
    #[command(flatten)]
    round: RoundArguments,

    /// The format
    #[arg(long, value_name = "NAME", value_parser = format())]
    format: Format,

    /// The file to write; it must not be there yet [default: standard output]
    #[arg(short, long, value_name = "FILE")]
    out: Option<PathBuf>,
}

/// `scribe compare export --json`.
#[derive(Debug, Serialize)]
struct Report<'a> {
    schema: &'static str,
    out: &'a Path,
    format: Format,
    #[serde(flatten)]
    written: &'a WriteReport,
}

/// Does it.
pub(super) fn run(terminal: &mut Terminal, arguments: &ExportArguments) -> Result<(), Failure> {
    let format = arguments.format;
    let Some(out) = &arguments.out else {
        if terminal.wants_json() {
            return Err(Failure::usage(
                "--json tells what was written, and standard output has the rows themselves",
                "give --out FILE for the rows, or leave --json out",
            ));
        }
        let snapshot = arguments.round.snapshot(terminal)?;
        let written = write(&snapshot, format, Rows { terminal, waiting: Vec::new() })?;
        tell(terminal, &written);
        return Ok(());
    };
    models::check_target(out)?;
    let snapshot = arguments.round.snapshot(terminal)?;
    let written = land_file(&RealDisk, out, |file| write(&snapshot, format, file))?;
    tell(terminal, &written);
    match terminal.wants_json() {
        true => {
            let schema = "scribe.compare.export/1";
            terminal.json(&Report { schema, out, format, written: &written })?;
        }
        false => terminal.line(out.display())?,
    }
    Ok(())
}

fn write(
    snapshot: &Snapshot<RealDisk>,
    format: Format,
    out: impl Write,
) -> Result<WriteReport, Failure> {
    let mut writer = Writer::new(out, format);
    snapshot.for_each(|_, comparison| writer.write(&comparison).map_err(Failure::from))?;
    Ok(writer.finish()?)
}

fn tell(terminal: &mut Terminal, written: &WriteReport) {
    let comparisons = counted(written.comparisons, "comparison");
    let rows = counted(written.rows, "row");
    terminal.note(format_args!("{comparisons} in {rows}, {} left out", written.left_out));
    if written.unsaid.is_empty() {
        return;
    }
    terminal.note("what the format does not say, with the comparisons that it is missing of:");
    for (unsaid, count) in &written.unsaid {
        terminal.note(format_args!("  {count}: {unsaid}"));
    }
}

/// Rows on their way to standard output, in whole lines: on a terminal they are shown as text.
struct Rows<'a> {
    terminal: &'a mut Terminal,
    waiting: Vec<u8>,
}

impl Write for Rows<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.waiting.extend_from_slice(bytes);
        if self.waiting.len() >= BUFFER_BYTES && bytes.ends_with(b"\n") {
            self.flush()?;
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        let rows = std::mem::take(&mut self.waiting);
        let rows = String::from_utf8(rows).map_err(io::Error::other)?;
        self.terminal.piece(&rows)
    }
}
