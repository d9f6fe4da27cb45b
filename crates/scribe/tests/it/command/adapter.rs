//! Adapters as people use them: taught, talked with beside their model or merged, and what is refused.

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

use super::{Scribe, tiny_chat};

/// A model of random weights in f32, and an adapter that was taught beside it.
struct Taught {
    scribe: Scribe,
    base: PathBuf,
    run: PathBuf,
    told: String,
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

impl Taught {
    fn new() -> Self {
        let scribe = Scribe::new();
        let (base, run) = (scribe.folder().join("base"), scribe.folder().join("run"));
        let export = ["models", "export", &tiny_chat(), "--to", "hf", "--out", text(&base)];
        assert_eq!(scribe.run(&export).code, 0);
        let mut rows = String::new();
        for i in 0..24 {
            let question = format!(r#"{{"role": "user", "content": "How many are {i}?"}}"#);
            let answer = format!(r#"{{"role": "assistant", "content": "They are {i} in all."}}"#);
            writeln!(rows, r#"{{"messages": [{question}, {answer}]}}"#).unwrap();
        }
        fs::write(scribe.folder().join("rows.jsonl"), rows).unwrap();
        let recipe = "base = \"base\"\n[[conversations.source]]\npath = \"rows.jsonl\"\n\
            kind = \"conversation\"\n[conversations]\nvalidation = 0.2\n[sft]\nsteps = 4\n\
            rows = 2\nrow_tokens = 128\nlearning_rate = 2e-2\n[sft.lora]\nrank = 4\nalpha = 16\n";
        fs::write(scribe.folder().join("recipe.toml"), recipe).unwrap();
        let ran = scribe.run(&["sft", "recipe.toml", "--run", "run"]);
        assert_eq!(ran.code, 0, "{}", ran.err);
        Self { scribe, base, run, told: ran.err }
    }

    /// What is answered, by arithmetic in which merged and beside are the same but for rounding.
    fn answer(&self, model: &[&str]) -> String {
        let common = ["-p", "hello France", "--temperature", "0", "--max-tokens", "24"];
        let arguments = [&["chat", "--kernels", "reference"], &common[..], model].concat();
        let ran = self.scribe.run(&arguments);
        assert_eq!(ran.code, 0, "{model:?}: {}", ran.err);
        ran.out
    }

    #[track_caller]
    fn refused(&self, arguments: &[&str], code: i32, expected: &str) {
        let ran = self.scribe.run(arguments);
        assert_eq!(ran.code, code, "{arguments:?}: {}", ran.err);
        assert!(ran.err.contains(expected), "{arguments:?}: {}", ran.err);
    }
}

#[test]
fn an_adapter_is_taught_and_answers_beside_its_model_and_merged() {
    let taught = Taught::new();
    assert!(taught.told.contains("weights learn in an adapter"), "{}", taught.told);
    assert!(taught.told.contains("held-out answers"), "{}", taught.told);
    let plain = taught.answer(&["--model", text(&taught.base)]);
    let answer = taught.answer(&["--model", text(&taught.run)]);
    assert_ne!(answer, plain, "something was learned");
    let adapter = text(&taught.run);
    assert_eq!(taught.answer(&["--adapter", adapter]), answer);
    assert_eq!(taught.answer(&["--model", text(&taught.base), "--adapter", adapter]), answer);
    assert_eq!(taught.answer(&["--model", adapter, "--merge-adapter"]), answer);

    let merged = taught.scribe.folder().join("merged");
    for (model, more) in [(text(&taught.base), &["--adapter", adapter][..]), (adapter, &[])] {
        let export = [&["models", "export", model, "--to", "hf", "--out", text(&merged)], more];
        let ran = taught.scribe.run(&export.concat());
        assert_eq!(ran.code, 0, "{}", ran.err);
        assert!(!merged.join("adapter_config.json").exists());
        assert_eq!(taught.answer(&["--model", text(&merged)]), answer);
        fs::remove_dir_all(&merged).unwrap();
    }
    // The base lies outside of the run and is named by its absolute path.
    let moved = taught.scribe.folder().join("moved");
    fs::rename(&taught.run, &moved).unwrap();
    assert_eq!(taught.answer(&["--model", text(&moved)]), answer);
}

#[test]
fn adapters_that_cannot_be_used_are_told_in_a_sentence() {
    let taught = Taught::new();
    let (base, run, quantized) = (text(&taught.base), text(&taught.run), tiny_chat());
    let chat = |more: &[&'static str]| [&["chat", "-p", "hi"], more].concat();
    let with = |model: &str, more: &[&str]| -> Vec<String> {
        let words = [&["chat", "-p", "hi", "--model", model], more].concat();
        words.into_iter().map(str::to_owned).collect()
    };
    let refused = |words: Vec<String>, code, expected| {
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        taught.refused(&words, code, expected);
    };
    refused(with(base, &["--merge-adapter"]), 2, "has no adapter");
    refused(with(base, &["--adapter", base]), 3, "there is no adapter at");
    refused(with(run, &["--adapter", run]), 2, "has an adapter already");
    let merge = &["--adapter", run, "--merge-adapter"];
    refused(with(&quantized, merge), 1, "scribe models export");
    let nowhere = "there is no adapter at `nowhere`";
    taught.refused(&chat(&["--adapter", "nowhere"]), 3, nowhere);
    // A name of the catalogue is no adapter, and nothing is fetched to find that out.
    let nothing = "there is no adapter at `smollm2-135m-instruct`";
    taught.refused(&chat(&["--adapter", "smollm2-135m-instruct"]), 3, nothing);

    // An adapter whose model is gone, and one that says it is its own model.
    let adapter = taught.scribe.folder().join("adapter");
    fs::create_dir(&adapter).unwrap();
    let newest = taught.run.join("4-sft/checkpoints/step-00000004");
    for name in ["adapter_config.json", "adapter_model.safetensors"] {
        fs::copy(newest.join(name), adapter.join(name)).unwrap();
    }
    let header = fs::read_to_string(adapter.join("adapter_config.json")).unwrap();
    for (named, code, expected) in [
        ("/no/such/model", 3, "/no/such/model"),
        (text(&adapter), 2, "is an adapter, too"),
        ("", 2, "do not say which"),
    ] {
        let header = header.replace(base, named);
        fs::write(adapter.join("adapter_config.json"), header).unwrap();
        refused(with(text(&adapter), &[]), code, expected);
    }
    // Beside another model's name its own files do not matter.
    let beside = with(base, &["--adapter", text(&adapter), "--max-tokens", "2"]);
    let beside: Vec<&str> = beside.iter().map(String::as_str).collect();
    assert_eq!(taught.scribe.run(&beside).code, 0);
}
