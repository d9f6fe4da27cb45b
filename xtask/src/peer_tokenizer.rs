//! `cargo xtask bench-peers tokenizer TEXT`: training a tokenizer beside Hugging Face's tokenizers, in
//! interleaved pairs; both must write the same file.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

use anyhow::{Context as _, Result, bail};
use serde_json::Value;

use crate::command::{cargo, output, root, run, say, target};
use crate::peers::median;
use crate::setup;

const PEER: [&str; 1] = ["tokenizers==0.23.3"];
const PAIRS: usize = 3;
const THREADS: &str = "2";
const VOCABULARIES: [&str; 2] = ["8192", "32768"];

/// Times both sides in turn and prints the medians and the ratio theirs/ours.
///
/// Ours is timed from the start of the process to its end, the peer while it trains.
///
/// # Errors
///
/// Where either side fails, or the two files differ.
pub(crate) fn compare(text: &Path) -> Result<()> {
    let peer = setup::python_environment("peer-tokenizer", &PEER)?;
    run(&mut cargo(&["build", "--release", "--package", "scribe", "--locked"]))?;
    let [our_file, their_file] =
        ["ours", "theirs"].map(|side| target().join(format!("{side}.tokenizer.json")));
    say("vocabulary   ours s   tokenizers s   ratio (median of pairs)");
    for vocabulary in VOCABULARIES {
        let (mut ours, mut theirs, mut ratios) = (Vec::new(), Vec::new(), Vec::new());
        for _ in 0..PAIRS {
            let mine = our_seconds(text, vocabulary, &our_file)?;
            let other = peer_seconds(&peer, text, vocabulary, &their_file)?;
            if std::fs::read(&our_file)? != std::fs::read(&their_file)? {
                bail!("{} and {} differ", our_file.display(), their_file.display());
            }
            ours.push(mine);
            theirs.push(other);
            ratios.push(other / mine);
        }
        let [mine, other, ratio] = [ours, theirs, ratios].map(median);
        say(&format!("{vocabulary:>10} {mine:8.2} {other:14.2} {ratio:7.2}"));
    }
    Ok(())
}

fn our_seconds(text: &Path, vocabulary: &str, file: &PathBuf) -> Result<f64> {
    let mut train = Command::new(target().join("release/scribe"));
    train.args(["tokenizer", "train", "--quiet", "--special", "<|endoftext|>"]);
    train.args(["--vocabulary", vocabulary, "--threads", THREADS, "--output"]).arg(file).arg(text);
    let start = Instant::now();
    output(&mut train)?;
    Ok(start.elapsed().as_secs_f64())
}

fn peer_seconds(python: &Path, text: &Path, vocabulary: &str, file: &PathBuf) -> Result<f64> {
    let mut train = Command::new(python);
    train.env("RAYON_NUM_THREADS", THREADS);
    train.arg(root().join("xtask/python/peer_tokenizer.py")).arg(text).arg(vocabulary).arg(file);
    let report: Value = serde_json::from_str(&output(&mut train)?)?;
    report["seconds"].as_f64().context("the peer gives no time")
}
