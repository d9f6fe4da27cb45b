//! Encodes for `cargo xtask bench-peers tokenizer`: `encode TOKENIZER TEXT` times a text, the second
//! time that it is encoded; `encode TOKENIZER STRINGS IDS` writes the tokens of each string, both as
//! JSON lines. Not beside the tokenizer, whose tests would bring its peers into the build.
#![expect(clippy::print_stdout, reason = "it prints what it measured")]

use std::error::Error;
use std::fs;
use std::path::Path;
use std::time::Instant;

use tokenizer::Tokenizer;

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let files: Vec<&Path> = arguments.iter().map(Path::new).collect();
    match files[..] {
        [tokenizer, text] => time(&read(tokenizer)?, &fs::read_to_string(text)?),
        [tokenizer, strings, ids] => encode(&read(tokenizer)?, strings, ids)?,
        _ => return Err("usage: encode TOKENIZER TEXT | TOKENIZER STRINGS IDS".into()),
    }
    Ok(())
}

fn read(file: &Path) -> Result<Tokenizer, Box<dyn Error>> {
    Ok(Tokenizer::from_json(&fs::read(file)?)?)
}

fn time(tokenizer: &Tokenizer, text: &str) {
    let warm = tokenizer.encode(text).len();
    let start = Instant::now();
    let tokens = tokenizer.encode(text).len();
    let seconds = start.elapsed().as_secs_f64();
    assert_eq!(tokens, warm);
    println!(
        "{}",
        serde_json::json!({ "seconds": seconds, "tokens": tokens, "bytes": text.len() })
    );
}

fn encode(tokenizer: &Tokenizer, strings: &Path, ids: &Path) -> Result<(), Box<dyn Error>> {
    let mut rows = String::new();
    for line in fs::read_to_string(strings)?.lines() {
        let text: String = serde_json::from_str(line)?;
        rows.push_str(&serde_json::to_string(&tokenizer.encode(&text))?);
        rows.push('\n');
    }
    Ok(fs::write(ids, rows)?)
}
