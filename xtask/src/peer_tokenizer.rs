//! `cargo xtask bench-peers tokenizer TEXT`: training a tokenizer beside Hugging Face's tokenizers, and
//! encoding with it beside tiktoken, in interleaved pairs; both sides must come to the same.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

use anyhow::{Context as _, Result, bail};
use serde_json::Value;

use crate::command::{cargo, output, root, run, say, target};
use crate::peers::median;
use crate::setup;

const PEERS: [&str; 3] = ["tokenizers==0.23.3", "tiktoken==0.14.0", "numpy"];
const PAIRS: usize = 3;
/// Encoding takes a second.
const ENCODING_PAIRS: usize = 7;
const THREADS: &str = "2";
const VOCABULARIES: [&str; 2] = ["8192", "32768"];

/// Times both sides in turn and prints the medians and the ratio theirs/ours.
///
/// # Errors
///
/// Where either side fails, or what they come to differs.
pub(crate) fn compare(text: &Path) -> Result<()> {
    let peers = setup::python_environment("peer-tokenizer", &PEERS)?;
    run(&mut cargo(&["build", "--release", "--package", "scribe", "--locked"]))?;
    let example = ["build", "--release", "--package", "corpus", "--example", "encode"];
    run(&mut cargo(&[&example[..], &["--locked"]].concat()))?;
    let files = VOCABULARIES.map(|vocabulary| (vocabulary, file("ours", vocabulary)));
    say("training     ours s   tokenizers s   ratio (median of pairs)");
    for (vocabulary, ours) in &files {
        let theirs = file("theirs", vocabulary);
        pairs(vocabulary, PAIRS, || {
            let mine = our_training(text, vocabulary, ours)?;
            let other = peer_training(&peers, text, vocabulary, &theirs)?;
            if std::fs::read(ours)? != std::fs::read(&theirs)? {
                bail!("{} and {} differ", ours.display(), theirs.display());
            }
            Ok((mine, other))
        })?;
    }
    compare_encoding(&peers, text, &files)
}

/// Both sides encode the same strings, then a few megabytes on one thread.
fn compare_encoding(peers: &Path, text: &Path, tokenizers: &[(&str, PathBuf)]) -> Result<()> {
    let [strings, ids, sample] =
        ["strings.jsonl", "ids.jsonl", "sample.txt"].map(|name| target().join(name));
    run(peer_encoding(peers, "draw").arg(text).args([&strings, &sample]))?;
    for (_, tokenizer) in tokenizers {
        run(our_encoding(tokenizer).args([&strings, &ids]))?;
        run(peer_encoding(peers, "check").args([tokenizer, &strings, &ids]))?;
    }
    say("encoding     ours s       tiktoken s   ratio (median of pairs)");
    for (vocabulary, tokenizer) in tokenizers {
        pairs(vocabulary, ENCODING_PAIRS, || {
            let mine = report(our_encoding(tokenizer).arg(&sample))?;
            let other = report(peer_encoding(peers, "time").args([tokenizer, &sample]))?;
            if mine["tokens"] != other["tokens"] {
                bail!("ours are {} tokens, tiktoken's {}", mine["tokens"], other["tokens"]);
            }
            Ok((seconds(&mine)?, seconds(&other)?))
        })?;
    }
    Ok(())
}

/// Times both sides so many times in turn and prints a line.
fn pairs(name: &str, count: usize, mut pair: impl FnMut() -> Result<(f64, f64)>) -> Result<()> {
    let (mut ours, mut theirs, mut ratios) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..count {
        let (mine, other) = pair()?;
        ours.push(mine);
        theirs.push(other);
        ratios.push(other / mine);
    }
    let [mine, other, ratio] = [ours, theirs, ratios].map(median);
    say(&format!("{name:>10} {mine:8.2} {other:14.2} {ratio:7.2}"));
    Ok(())
}

fn file(side: &str, vocabulary: &str) -> PathBuf {
    target().join(format!("{side}-{vocabulary}.tokenizer.json"))
}

/// From the start of the process to its end, in seconds.
fn our_training(text: &Path, vocabulary: &str, file: &Path) -> Result<f64> {
    let mut train = Command::new(target().join("release/scribe"));
    train.args(["tokenizer", "train", "--quiet", "--special", "<|endoftext|>"]);
    train.args(["--vocabulary", vocabulary, "--threads", THREADS, "--output"]).arg(file).arg(text);
    let start = Instant::now();
    output(&mut train)?;
    Ok(start.elapsed().as_secs_f64())
}

/// The training alone, in seconds.
fn peer_training(python: &Path, text: &Path, vocabulary: &str, file: &Path) -> Result<f64> {
    let mut train = Command::new(python);
    train.env("RAYON_NUM_THREADS", THREADS);
    train.arg(root().join("xtask/python/peer_tokenizer.py")).arg(text).arg(vocabulary).arg(file);
    seconds(&report(&mut train)?)
}

fn our_encoding(tokenizer: &Path) -> Command {
    let mut encode = Command::new(target().join("release/examples/encode"));
    encode.arg(tokenizer);
    encode
}

fn peer_encoding(python: &Path, task: &str) -> Command {
    let mut encode = Command::new(python);
    encode.arg(root().join("xtask/python/peer_encoding.py")).arg(task);
    encode
}

fn report(command: &mut Command) -> Result<Value> {
    Ok(serde_json::from_str(&output(command)?)?)
}

fn seconds(report: &Value) -> Result<f64> {
    report["seconds"].as_f64().context("a report without a time")
}
