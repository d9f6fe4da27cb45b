//! Models written for other programs: there and back, and what is refused.

use std::fs;
use std::path::Path;

use artifacts::gguf::Gguf;
use serde_json::Value;

use super::{Scribe, tiny_chat};

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

fn json(path: &Path) -> Value {
    serde_json::from_slice(&fs::read(path).unwrap()).unwrap()
}

/// What a model answers.
fn answer(scribe: &Scribe, model: &str) -> String {
    let ran = scribe.run(&[
        "chat",
        "--model",
        model,
        "-p",
        "hello France",
        "--temperature",
        "0",
        "--max-tokens",
        "24",
    ]);
    assert_eq!(ran.code, 0, "{}", ran.err);
    assert!(ran.out.len() > 10, "{}", ran.out);
    ran.out
}

#[test]
fn a_model_goes_to_a_folder_and_back_and_answers_the_same() {
    let scribe = Scribe::new();
    let (folder, file) = (scribe.folder().join("folder"), scribe.folder().join("again.gguf"));
    let arguments = ["models", "export", &tiny_chat(), "--to", "hf", "--out", text(&folder)];
    let ran = scribe.run(&arguments);
    assert_eq!(ran.code, 0, "{}", ran.err);
    assert_eq!(ran.out.trim_end(), text(&folder));
    assert!(ran.err.contains("rounded to Q8_0 already"), "{}", ran.err);
    assert_eq!(json(&folder.join("config.json"))["torch_dtype"], "float32");
    assert!(json(&folder.join("config.json"))["eos_token_id"].is_u64());
    let template = fs::read_to_string(folder.join("chat_template.jinja")).unwrap();
    assert_eq!(json(&folder.join("tokenizer_config.json"))["chat_template"], template);
    assert!(json(&folder.join("generation_config.json"))["eos_token_id"].is_array());
    let again = scribe.run(&["models", "quantize", text(&folder), "--json", "-o", text(&file)]);
    assert_eq!((again.code, again.err.as_str()), (0, ""));
    let report: Value = serde_json::from_str(&again.out).unwrap();
    assert_eq!(report["schema"], "scribe.models.export/1");
    assert_eq!((&report["layout"], &report["dtype"]), (&"gguf".into(), &"q8_0".into()));
    assert_eq!(report["bytes"], fs::metadata(&file).unwrap().len());
    // The weights went through f32 and back without a change.
    let tensors = |path: &Path| {
        let file = Gguf::open(path).unwrap();
        let read = |tensor| file.read(tensor).unwrap();
        let mut all: Vec<_> =
            file.header().tensors().iter().map(|t| (t.name.clone(), read(t))).collect();
        all.sort();
        all
    };
    assert!(tensors(&file) == tensors(Path::new(&tiny_chat())));
    assert_eq!(answer(&scribe, text(&file)), answer(&scribe, &tiny_chat()));
    assert_eq!(answer(&scribe, text(&folder)), answer(&scribe, text(&folder)));
}

#[test]
fn a_folder_keeps_its_own_files() {
    let scribe = Scribe::new();
    let (first, second) = (scribe.folder().join("first"), scribe.folder().join("second"));
    let export = |model: &str, dtype: &str, out: &Path| {
        let arguments =
            ["models", "export", model, "--to", "hf", "--dtype", dtype, "--out", text(out)];
        let ran = scribe.run(&arguments);
        assert_eq!(ran.code, 0, "{}", ran.err);
    };
    export(&tiny_chat(), "f32", &first);
    fs::write(first.join("generation_config.json"), r#"{"temperature": 0.25}"#).unwrap();
    fs::remove_file(first.join("chat_template.jinja")).unwrap();
    export(text(&first), "bf16", &second);
    assert_eq!(json(&second.join("generation_config.json"))["temperature"], 0.25);
    assert_eq!(json(&second.join("config.json"))["torch_dtype"], "bfloat16");
    for name in ["tokenizer.json", "tokenizer_config.json"] {
        assert!(fs::read(first.join(name)).unwrap() == fs::read(second.join(name)).unwrap());
    }
    let template = fs::read_to_string(second.join("chat_template.jinja")).unwrap();
    assert_eq!(json(&first.join("tokenizer_config.json"))["chat_template"], template);
}

#[test]
fn keys_of_a_file_are_taken_over_and_its_types_named() {
    let scribe = Scribe::new();
    let file = scribe.folder().join("four.gguf");
    let arguments = ["models", "quantize", &tiny_chat(), "--dtype", "q4_0", "--out", text(&file)];
    let ran = scribe.run(&arguments);
    assert_eq!(ran.code, 0, "{}", ran.err);
    let header = Gguf::open(&file).unwrap();
    let metadata = header.header().metadata();
    let name = metadata.str("general.name").unwrap();
    assert_eq!(name, Some("Tiny Chat of random weights"));
    assert_eq!(metadata.u64("general.file_type").unwrap(), Some(2));
    assert!(metadata.u64("tokenizer.ggml.padding_token_id").unwrap().is_some());
    answer(&scribe, text(&file));
}

#[test]
fn what_cannot_be_written_is_told_before_anything_is_read() {
    let scribe = Scribe::new();
    let here = scribe.folder().join("here");
    fs::write(&here, "mine").unwrap();
    let export = |to: &str, dtype: &str, out: &str| {
        let arguments =
            ["models", "export", &tiny_chat(), "--to", to, "--dtype", dtype, "--out", out];
        let ran = scribe.run(&arguments);
        (ran.code, ran.err)
    };
    let (code, error) = export("gguf", "f16", text(&here));
    assert_eq!(code, 2);
    assert!(
        error.contains("is there already") && error.contains("hint: choose another"),
        "{error}"
    );
    assert_eq!(fs::read(&here).unwrap(), b"mine");
    let (code, error) = export("hf", "q8_0", "folder");
    assert_eq!(code, 2);
    assert!(error.contains("f32, f16 or bf16") && error.contains("or --to gguf"), "{error}");
    let (code, error) = export("gguf", "f16", "nowhere/a.gguf");
    assert_eq!(code, 3);
    assert!(error.contains("there is no folder `nowhere`"), "{error}");
    assert_eq!(export("gguf", "q5_k", "a.gguf").0, 2);
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fixtures/tiny-llama");
    let arguments = ["models", "quantize", text(&root), "--out", "a.gguf"];
    let ran = scribe.run(&arguments);
    assert_eq!(ran.code, 1);
    assert!(ran.err.contains("tokenizer.json"), "without a tokenizer: {}", ran.err);
    assert!(!scribe.folder().join("a.gguf").exists());
}
