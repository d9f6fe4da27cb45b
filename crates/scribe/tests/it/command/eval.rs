//! A model is measured on a corpus, on a file of text, and by questions.

use std::fs;
use std::path::Path;

use corpus::{BuildOptions, Corpus, Source};
use serde_json::Value;
use tokenizer::Tokenizer;

use super::{Scribe, tiny_chat};

/// A corpus in the tokens of the model, a third of it for validation.
fn build(folder: &Path) {
    let rows: Vec<String> = (0..60)
        .map(|n| {
            let text = format!("In the year {n} the answer to question {} was Paris.", n * n);
            serde_json::json!({ "text": text }).to_string()
        })
        .collect();
    let path = folder.join("texts.jsonl");
    fs::write(&path, rows.join("\n")).unwrap();
    let gguf = artifacts::gguf::Gguf::open(tiny_chat().as_ref()).unwrap();
    let tokenizer = Tokenizer::from_gguf(gguf.header().metadata()).unwrap();
    let options = BuildOptions {
        validation_ppm: 300_000,
        deduplicate: corpus::deduplicate::DeduplicateOptions::off(),
        ..BuildOptions::new(vec![Source::text("texts", path)])
    };
    Corpus::build(&options, &tokenizer, &folder.join("corpus"), &mut |_| ()).unwrap();
}

#[test]
fn a_model_and_the_baselines_are_measured_on_a_corpus() {
    let scribe = Scribe::new();
    build(scribe.folder());
    let model = tiny_chat();
    let arguments = ["eval", "bits-per-byte", "--corpus", "corpus", "--model", &model];
    let ran = scribe.run(&[&arguments[..], &["--baselines", "--json"]].concat());
    assert_eq!(ran.code, 0, "{}", ran.err);
    let report: Value = serde_json::from_str(&ran.out).unwrap();
    assert_eq!(report["schema"], "scribe.eval.bits-per-byte/1");
    let rows = report["rows"].as_array().unwrap();
    let names: Vec<&str> = rows.iter().map(|row| row["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["tiny-chat", "5-gram", "gzip -9", "xz -9e"]);
    let bytes = report["bytes"].as_f64().unwrap();
    let values: Vec<f64> = rows
        .iter()
        .map(|row| {
            let (value, bits) = (row["bits_per_byte"].as_f64().unwrap(), row["bits"].as_f64());
            assert!((bits.unwrap() / bytes - value).abs() < 1e-9);
            value
        })
        .collect();
    // A model of random weights knows nothing; what was learned from such texts knows a lot.
    assert!(values[0] > 3.0 && values[1] < 1.5, "{values:?}");

    let ran = scribe.run(&[&arguments[..], &["--slots", "1", "-q"]].concat());
    assert_eq!((ran.code, ran.err.as_str()), (0, ""));
    let expected = format!("MODEL      BITS PER BYTE\ntiny-chat  {:.4}\n", values[0]);
    assert_eq!(ran.out, expected);
}

#[test]
fn a_file_of_text_is_measured_as_it_stands() {
    let scribe = Scribe::new();
    fs::write(scribe.folder().join("text.txt"), "The capital of France is Paris.\n").unwrap();
    let model = tiny_chat();
    let arguments = ["eval", "bits-per-byte", "--text", "text.txt", "-m", &model, "--json"];
    let ran = scribe.run(&arguments);
    assert_eq!(ran.code, 0, "{}", ran.err);
    let report: Value = serde_json::from_str(&ran.out).unwrap();
    assert_eq!((&report["documents"], &report["bytes"]), (&1.into(), &32.into()));
    assert_eq!(report["rows"].as_array().unwrap().len(), 1);
    assert_eq!(report["bits_of_documents"], serde_json::json!([report["rows"][0]["bits"]]));
    // With a token before it, the first one is predicted too: another figure of the same text.
    let begun = scribe.run(&[&arguments[..], &["--begin-with", "<|im_start|>"]].concat());
    assert_eq!(begun.code, 0, "{}", begun.err);
    let begun: Value = serde_json::from_str(&begun.out).unwrap();
    assert_eq!(begun["tokens"], report["tokens"]);
    assert_ne!(begun["rows"][0]["bits"], report["rows"][0]["bits"]);
}

#[test]
fn questions_are_answered_by_likelihood() {
    let scribe = Scribe::new();
    let tasks = r#"{"context": "The capital of France is", "choices": [" Paris", " it"], "answer": 0}
{"context": "The capital of France is", "choices": [" Paris", " it"], "answer": 1}"#;
    fs::write(scribe.folder().join("tasks.jsonl"), tasks).unwrap();
    let model = tiny_chat();
    let arguments = ["eval", "choices", "tasks.jsonl", "--model", &model];
    let ran = scribe.run(&[&arguments[..], &["--json"]].concat());
    assert_eq!(ran.code, 0, "{}", ran.err);
    let report: Value = serde_json::from_str(&ran.out).unwrap();
    assert_eq!(report["schema"], "scribe.eval.choices/1");
    assert_eq!((&report["tasks"], &report["chance"]), (&2.into(), &0.5.into()));
    // One of the two is right, whichever the model prefers.
    assert_eq!(report["accuracy"]["value"], 0.5);
    let logprobs = report["logprobs"].as_array().unwrap();
    assert_eq!((logprobs.len(), &logprobs[0]), (2, &logprobs[1]));
    assert!(logprobs[0].as_array().unwrap().iter().all(|logprob| logprob.as_f64().unwrap() < 0.0));
    let ran = scribe.run(&[&arguments[..], &["-q"]].concat());
    assert_eq!((ran.code, ran.err.as_str()), (0, ""));
    let lines: Vec<&str> = ran.out.lines().collect();
    assert_eq!(lines[1], "by likelihood           50.0 %  50.0 %");
    assert_eq!(lines[3], "by chance               50.0 %");
}

#[test]
fn what_cannot_be_measured_is_told() {
    let scribe = Scribe::new();
    build(scribe.folder());
    let write = |name: &str, text: &str| fs::write(scribe.folder().join(name), text).unwrap();
    write("bad.jsonl", "{\"context\": \"\", \"choices\": [\"a\"], \"answer\": 0}\n");
    write("empty.jsonl", "\n");
    write("empty.txt", " \n");
    write("rows.jsonl", "{\"text\": \"a\"}\n[]\n");
    write("chars.txt", "ab ba ab ba");
    let trained = ["tokenizer", "train", "chars.txt", "--vocabulary", "257", "-o", "other.json"];
    assert_eq!(scribe.run(&trained).code, 0);
    let model = tiny_chat();
    for (arguments, code, told) in [
        (&["bits-per-byte"][..], 2, "--corpus <DIR>|--text <FILE>"),
        (&["bits-per-byte", "--text", "empty.txt", "--baselines"], 2, "cannot be used with"),
        (&["bits-per-byte", "--corpus", "absent"], 3, "there is no corpus at `absent`"),
        (&["bits-per-byte", "--text", "absent"], 3, "there is no file `absent`"),
        (&["bits-per-byte", "--text", "empty.txt"], 1, "there is no text to measure on"),
        (&["bits-per-byte", "--text", "rows.jsonl"], 1, "line 2"),
        (
            &["bits-per-byte", "--corpus", "corpus", "--tokenizer", "other.json"],
            1,
            "hint: name the tokenizer.json of the corpus with --tokenizer",
        ),
        (
            &["bits-per-byte", "--corpus", "corpus", "--begin-with", "Paris"],
            2,
            "the model has no special token `Paris`",
        ),
        (&["choices", "absent.jsonl"], 3, "cannot read absent.jsonl"),
        (&["choices", "empty.jsonl"], 2, "there is no task in `empty.jsonl`"),
        (&["choices", "bad.jsonl"], 1, "bad.jsonl: line 1: it has 1 choices; give 2 to 64"),
    ] {
        let mut all = vec!["eval"];
        all.extend_from_slice(arguments);
        if arguments.len() > 1 {
            all.extend(["--model", &model]);
        }
        let ran = scribe.run(&all);
        assert_eq!((ran.code, ran.out.as_str()), (code, ""), "{arguments:?}: {}", ran.err);
        assert!(ran.err.contains(told), "{arguments:?}: {}", ran.err);
    }
}
