//! Converts comparisons from standard input to standard output and says on standard error what was
//! lost: `cargo run --example convert -- trl < comparisons.jsonl`.

use std::error::Error;
use std::io::{self, BufReader, BufWriter, Write as _};

use comparisons::formats::{self, Format, Judged, ReadOptions, Writer};

fn main() -> Result<(), Box<dyn Error>> {
    let name = std::env::args().nth(1).unwrap_or_default();
    let format = Format::of_name(&name).ok_or_else(|| {
        format!("`{name}` is no format; give one of {}", Format::ALL.map(Format::name).join(", "))
    })?;
    let options = ReadOptions {
        labeler: "unknown",
        from: "standard input",
        time_ms: 0,
        labelers: None,
        decode: None,
    };
    let mut writer = Writer::new(BufWriter::new(io::stdout().lock()), format);
    let input = BufReader::new(io::stdin().lock());
    let read = formats::read(input, None, &options, |judged| match judged {
        Judged::Comparison(comparison) => Ok(writer.write(&comparison)?),
        _ => Ok::<(), Box<dyn Error>>(()),
    });
    writeln!(io::stderr(), "{:#?}\n{:#?}", ReadShown(read?), writer.finish()?)?;
    Ok(())
}

/// A report, with the reasons of bad rows in words.
struct ReadShown(formats::ReadReport);

impl std::fmt::Debug for ReadShown {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self(report) = self;
        let mut f = f.debug_struct("read");
        f.field("format", &report.format).field("rows", &report.rows);
        f.field("comparisons", &report.comparisons).field("bad", &report.bad);
        let shown = report.shown.iter().map(|bad| format!("line {}: {}", bad.line, bad.reason));
        f.field("shown", &shown.collect::<Vec<_>>()).finish()
    }
}
