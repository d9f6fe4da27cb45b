//! How fast a corpus is built, and in how much memory: `cargo run --release -p corpus --example rates
//! -- TOKENIZER THREADS PATH[:COLUMN]…`.

#![expect(clippy::print_stdout, reason = "the result of an example")]

use std::time::Instant;

use corpus::{BuildOptions, Corpus, Source};
use tokenizer::Tokenizer;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let tokenizer = Tokenizer::from_file(arguments.next().ok_or("no TOKENIZER")?.as_ref())?;
    let threads = arguments.next().ok_or("no THREADS")?.parse()?;
    let sources = arguments.map(|path| match path.rsplit_once(':') {
        Some((path, column)) => Source { column: column.to_owned(), ..Source::text(column, path) },
        None => Source::text("text", path),
    });
    let options = BuildOptions { threads, ..BuildOptions::new(sources.collect()) };
    let folder = tempfile::tempdir()?;
    let start = Instant::now();
    let report = Corpus::build(&options, &tokenizer, &folder.path().join("out"), &mut |_| ())?;
    let seconds = start.elapsed().as_secs_f64();
    let (mut rows, mut bytes) = (0, 0);
    for source in &report.sources {
        rows += source.rows.rows;
        bytes += source.text_bytes;
    }
    let tokens = report.train.tokens + report.validation.tokens;
    println!("{report}{seconds:.2} s: {rows} rows, {bytes} bytes of text, {tokens} tokens");
    let status = std::fs::read_to_string("/proc/self/status")?;
    let peak = status.lines().find(|line| line.starts_with("VmHWM")).unwrap_or("VmHWM unknown");
    println!("{peak}");
    Ok(())
}
