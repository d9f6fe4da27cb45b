//! `scribe compare import`: comparisons from files of other programs, all of them or none.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use clap::Args;
use comparisons::feedback::{self, Thumb};
use comparisons::formats::{self, Format, Judged, ReadOptions, ReadReport};
use comparisons::store::{Import, Imported};
use comparisons::{Error, NAME_BYTES_MAX};
use serde::Serialize;

use super::{RoundArguments, cannot_read, counted, format, labeler};
use crate::command::progress::Progress;
use crate::command::{Exit, Failure};
use crate::terminal::Terminal;

/// Examples of the command.
pub(super) const EXAMPLES: &str = "Examples:\n  scribe compare import hh.jsonl.zst --run \
    runs/tiny\n  scribe compare import mine.jsonl --format trl --as ada --run \
    runs/tiny\n\nThe format is found from the first row: Anthropic's HH (hh), TRL's \
    preferences (trl), OASST's trees (oasst), the best of four of lm-human-preferences \
    (best-of-four), LLaMA-Factory's (llama-factory), and what open-webui exports \
    (open-webui). Rows that are no comparison are counted, and the first few are told. All \
    files are taken in, or none; one that was taken in before changes nothing.";

/// The most text of single judgments that is kept until it is paired, in bytes.
const THUMBS_BYTES_MAX: usize = 1 << 30;

/// What to take in.
#[derive(Debug, Args)]
pub struct ImportArguments {
    /// Files of JSON lines or of one JSON array, plain or .zst
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,

    #[command(flatten)]
    round: RoundArguments,

    /// The format of all files [default: found from the first row of each]
    #[arg(long, value_name = "NAME", value_parser = format())]
    format: Option<Format>,

    /// Whose judgments they are, where a row does not say [default: the name of the file]
    #[arg(long = "as", value_name = "LABELER", value_parser = labeler)]
    labeler: Option<String>,

    /// Take judgments of this labeler only, and count those of others as refused; may be given
    /// several times [default: of anybody]
    #[arg(long = "only", value_name = "LABELER", value_parser = labeler)]
    labelers: Vec<String>,
}

/// `scribe compare import --json`.
#[derive(Debug, Serialize)]
struct Report<'a> {
    schema: &'static str,
    store: &'a Path,
    files: &'a [FileReport],
    added: u64,
    /// Those that were there before.
    present: u64,
    /// Those that were deleted here, and stay so.
    deleted: u64,
    /// Thumbs on single completions that say nothing of another one.
    unpaired_thumbs: usize,
    /// Pairs of thumbs that are no comparison, by the reason.
    refused_pairs: &'a BTreeMap<&'static str, u64>,
}

/// What a file held.
#[derive(Debug, Serialize)]
struct FileReport {
    file: PathBuf,
    format: Option<Format>,
    rows: u64,
    comparisons: u64,
    thumbs: u64,
    /// Rows and parts of rows that are no comparison, by the reason.
    refused: BTreeMap<&'static str, u64>,
    /// The first few of them.
    bad_rows: Vec<BadRow>,
}

/// A row that is no comparison.
#[derive(Debug, Serialize)]
struct BadRow {
    line: u64,
    reason: String,
}

/// What was read on the way into the store.
#[derive(Debug, Default)]
struct Read {
    files: Vec<FileReport>,
    thumbs: Vec<Thumb>,
    thumbs_bytes: usize,
    unpaired: usize,
    refused: BTreeMap<&'static str, u64>,
}

/// Does it.
pub(super) fn run(terminal: &mut Terminal, arguments: &ImportArguments) -> Result<(), Failure> {
    let file = arguments.round.file()?;
    // A file that is not there is told before the store is begun.
    for path in &arguments.files {
        artifacts::open_file(path).map_err(|error| cannot_read(path, error))?;
    }
    let mut store = arguments.round.open(terminal)?;
    let mut read = Read::default();
    let imported = {
        let mut progress = Progress::new(terminal);
        store.import(|import| read.all(arguments, import, &mut progress))
    };
    tell_bad_rows(terminal, &read.files);
    tell(terminal, &file, &read, imported?)
}

impl Read {
    /// Reads all files, and pairs what they say of single completions.
    fn all(
        &mut self,
        arguments: &ImportArguments,
        import: &mut Import<'_>,
        progress: &mut Progress<'_>,
    ) -> Result<(), Failure> {
        for path in &arguments.files {
            progress.begin_open_rows(format!("reading {}", path.display()));
            self.file(path, arguments, import, progress)?;
        }
        let paired = feedback::pair(&self.thumbs);
        (self.unpaired, self.refused) = (paired.unpaired, paired.refused);
        paired.comparisons.into_iter().try_for_each(|comparison| import.add(comparison))?;
        Ok(())
    }

    fn file(
        &mut self,
        path: &Path,
        arguments: &ImportArguments,
        import: &mut Import<'_>,
        progress: &mut Progress<'_>,
    ) -> Result<(), Failure> {
        let source = corpus::sources::open_by_ending(path);
        let source = source.map_err(|error| cannot_read(path, error))?;
        let from = name_of(path);
        let labeler = arguments.labeler.as_deref().unwrap_or(&from);
        let labelers: BTreeSet<String> = arguments.labelers.iter().cloned().collect();
        let labelers = Some(&labelers).filter(|labelers| !labelers.is_empty());
        let options = ReadOptions { labeler, from: &from, time_ms: 0, labelers, decode: None };
        let mut judged = 0;
        let report = formats::read(source, arguments.format, &options, |found| {
            judged += 1;
            progress.advance(judged);
            match found {
                Judged::Comparison(comparison) => Ok(import.add(comparison)?),
                Judged::Thumb(thumb) => self.keep(thumb),
                _ => Ok(()),
            }
        });
        let report = report.map_err(|failure| failure.in_file(path))?;
        let found = report.comparisons + report.thumbs;
        self.files.push(FileReport::new(path, report));
        if found == 0 { Err(holds_nothing(path, self.files.last())) } else { Ok(()) }
    }

    /// Keeps a thumb until all are known.
    fn keep(&mut self, thumb: Thumb) -> Result<(), ReadFailure> {
        let prompt = match thumb.prompt.messages() {
            Some(messages) => messages.iter().map(|message| message.text.len()).sum(),
            None => 0,
        };
        self.thumbs_bytes += size_of::<Thumb>() + prompt + thumb.completion.text.len();
        if self.thumbs_bytes > THUMBS_BYTES_MAX {
            return Err(ReadFailure::TooManyThumbs);
        }
        self.thumbs.push(thumb);
        Ok(())
    }
}

/// Why the reading of a file ends.
#[derive(Debug)]
enum ReadFailure {
    Library(Error),
    TooManyThumbs,
}

impl From<Error> for ReadFailure {
    fn from(error: Error) -> Self {
        Self::Library(error)
    }
}

impl ReadFailure {
    fn in_file(self, path: &Path) -> Failure {
        let failure = match self {
            Self::Library(Error::Read { source, .. }) => return cannot_read(path, source),
            Self::Library(error @ Error::UnknownFormat { .. }) => {
                let names = Format::ALL.map(Format::name).join(", ");
                let hint = format!("`--format NAME` says what it is: {names}");
                Failure { exit: Exit::Usage, ..Failure::broken(error, hint) }
            }
            Self::Library(error) => Failure::from(error),
            Self::TooManyThumbs => Failure::broken(
                anyhow::anyhow!("judgments of single completions of more than 1 GiB"),
                "split the file, with all judgments of one prompt in the same part",
            ),
        };
        failure.context(format!("cannot import `{}`", path.display()))
    }
}

impl FileReport {
    fn new(path: &Path, report: ReadReport) -> Self {
        let bad = report.shown.into_iter();
        Self {
            file: path.to_owned(),
            format: report.format,
            rows: report.rows,
            comparisons: report.comparisons,
            thumbs: report.thumbs,
            refused: report.bad,
            bad_rows: bad
                .map(|bad| BadRow { line: bad.line, reason: bad.reason.to_string() })
                .collect(),
        }
    }

    fn refused_rows(&self) -> u64 {
        self.refused.values().sum()
    }
}

/// The name of a file, short enough to be that of a source and fit to be shown.
fn name_of(path: &Path) -> String {
    let name = artifacts::shown(&path.file_name().unwrap_or_default().to_string_lossy());
    let end = (0..=NAME_BYTES_MAX).rev().find(|end| name.is_char_boundary(*end) || *end == 0);
    name.get(..end.unwrap_or(0).min(name.len())).unwrap_or(&name).to_owned()
}

fn holds_nothing(path: &Path, report: Option<&FileReport>) -> Failure {
    let refused = report.map_or(0, FileReport::refused_rows);
    let found = match refused {
        0 => "it has no row".to_owned(),
        refused => format!("{} refused", counted(refused, "row")),
    };
    Failure::broken(
        anyhow::anyhow!("`{}` holds no comparison: {found}; nothing was imported", path.display()),
        "`scribe compare import --help` lists the formats; `--format NAME` names the one it is of",
    )
}

fn tell_bad_rows(terminal: &mut Terminal, files: &[FileReport]) {
    for report in files.iter().filter(|report| report.refused_rows() > 0) {
        terminal.warn(format_args!(
            "{}: {} refused",
            report.file.display(),
            counted(report.refused_rows(), "row")
        ));
        for bad in &report.bad_rows {
            terminal.warn(format_args!("  line {}: {}", bad.line, bad.reason));
        }
    }
}

fn tell(
    terminal: &mut Terminal,
    store: &Path,
    read: &Read,
    imported: Imported,
) -> Result<(), Failure> {
    let Imported { added, present, deleted } = imported;
    if terminal.wants_json() {
        terminal.json(&Report {
            schema: "scribe.compare.import/1",
            store,
            files: &read.files,
            added,
            present,
            deleted,
            unpaired_thumbs: read.unpaired,
            refused_pairs: &read.refused,
        })?;
        return Ok(());
    }
    for report in &read.files {
        let format = report.format.map_or("none", Format::name);
        let (comparisons, rows) = (report.comparisons, counted(report.rows, "row"));
        let comparisons = counted(comparisons, "comparison");
        let thumbs = match report.thumbs {
            0 => String::new(),
            thumbs => format!(", {}", counted(thumbs, "thumb")),
        };
        terminal.line(format_args!(
            "{}: {format}, {rows}, {comparisons}{thumbs}",
            report.file.display()
        ))?;
        for (reason, count) in &report.refused {
            terminal.line(format_args!("  {count} refused: {reason}"))?;
        }
    }
    for (reason, count) in &read.refused {
        terminal.line(format_args!("{} of thumbs refused: {reason}", counted(*count, "pair")))?;
    }
    if read.unpaired > 0 {
        let thumbs = counted(read.unpaired as u64, "thumb");
        terminal.line(format_args!("{thumbs} in no comparison: none on another completion"))?;
    }
    terminal.line(format_args!(
        "{} added, {present} present before, {deleted} deleted before",
        counted(added, "comparison")
    ))?;
    Ok(())
}
