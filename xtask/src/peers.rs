//! `cargo xtask bench-peers`: speed against llama.cpp in interleaved pairs on this machine.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result};
use serde_json::Value;

use crate::command::{cargo, output, root, run, say, target};
use crate::{convert, setup};

/// Times kept of each side's process, after one that is not counted; the best counts, as in
/// `peer_bench.py`.
const REPETITIONS: &str = "2";

/// Built from source, so that llama.cpp uses every instruction that this machine has.
const PEER: [&str; 3] = ["--no-binary", "llama-cpp-python", "llama-cpp-python==0.3.36"];
const PAIRS: usize = 5;
const THREADS: &str = "2";
/// One stream, eight streams, and a prompt: llama-bench's names with `@` and the number of streams.
const TESTS: [&str; 3] = ["tg64@1", "tg64@8", "pp512"];

/// Times both sides in turn and prints the medians and the ratio ours/theirs.
///
/// # Errors
///
/// Where the peer cannot be built or either side fails.
pub(crate) fn run_all(only: &[&str]) -> Result<()> {
    let tools = setup::prepare()?;
    let model = tools.model().context("the default model could not be fetched")?;
    let peer = setup::python_environment("peers", &PEER)?;
    run(&mut cargo(&["build", "--release", "--package", "scribe", "--locked"]))?;
    for (name, file) in files(model)? {
        if only.is_empty() || only.contains(&name) {
            compare(name, &file, &peer)?;
        }
    }
    Ok(())
}

/// The same weights as Q4_1, Q8_0 and BF16; the latter two made from the first, for speed only.
fn files(model: &Path) -> Result<Vec<(&'static str, PathBuf)>> {
    let folder = target().join("peers-models");
    std::fs::create_dir_all(&folder)?;
    let mut files = vec![("q4_1", model.to_path_buf())];
    for name in ["q8_0", "bf16"] {
        let path = folder.join(format!("{name}.gguf"));
        if !path.is_file() {
            convert::run(name, model, &path)?;
        }
        files.push((name, path));
    }
    Ok(files)
}

fn compare(name: &str, file: &Path, peer: &Path) -> Result<()> {
    let mut ours: BTreeMap<&str, Vec<f64>> = BTreeMap::new();
    let mut theirs: BTreeMap<&str, Vec<f64>> = BTreeMap::new();
    for pair in 0..PAIRS {
        for test in TESTS {
            let (mine, other) = (our_speed(file, test)?, peer_speed(file, test, peer)?);
            if pair == 0 && test == TESTS[0] {
                let version = other["version"].as_str().unwrap_or("?");
                let system = other["system"].as_str().unwrap_or("?");
                say(&format!("llama-cpp-python {version}: {system}"));
            }
            let other = other["tokens_per_second"][test].as_f64().context("the peer's figure")?;
            say(&format!(
                "{name:5} {test:7} pair {}: ours {mine:8.1}, theirs {other:8.1}",
                pair + 1
            ));
            ours.entry(test).or_default().push(mine);
            theirs.entry(test).or_default().push(other);
        }
    }
    say("model  test     ours t/s   llama.cpp t/s   ratio (median of pairs)");
    for test in TESTS {
        let (mine, other) = (&ours[test], &theirs[test]);
        let ratios = mine.iter().zip(other).map(|(mine, other)| mine / other).collect();
        say(&format!(
            "{name:5}  {test:7} {:9.1} {:15.1} {:7.2}",
            median(mine.clone()),
            median(other.clone()),
            median(ratios)
        ));
    }
    Ok(())
}

fn our_speed(file: &Path, test: &str) -> Result<f64> {
    let mut bench = Command::new(target().join("release/scribe"));
    bench.args(["--json", "bench"]);
    match test.strip_prefix("tg").and_then(|test| test.split_once('@')) {
        Some((tokens, streams)) => {
            bench.args(["decode", "--tokens", tokens, "--streams", streams]);
        }
        None => {
            bench.args(["prefill", "--tokens", test.trim_start_matches("pp")]);
        }
    }
    bench.args(["--threads", THREADS, "--repetitions", REPETITIONS, "--model"]).arg(file);
    let report: Value =
        serde_json::from_str(&output(&mut bench)?).context("scribe bench --json")?;
    let samples = report["samples"].as_array().context("scribe bench gives no samples")?;
    let best = samples.iter().filter_map(Value::as_f64).max_by(f64::total_cmp);
    best.context("scribe bench gives no speed")
}

fn peer_speed(file: &Path, test: &str, python: &Path) -> Result<Value> {
    let mut bench = Command::new(python);
    bench.arg(root().join("xtask/python/peer_bench.py")).arg(file).args([THREADS, test]);
    let printed = output(&mut bench)?;
    let last = printed.lines().last().context("the peer printed nothing")?;
    serde_json::from_str(last).context("the peer's answer is not JSON")
}

pub(crate) fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}
