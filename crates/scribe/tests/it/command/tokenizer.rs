//! A tokenizer is trained, shown and used.

use std::fs;
use std::io::Write;
use std::process::Stdio;

use serde_json::Value;

use super::{Ran, Scribe, tiny_chat};

const TEXT: &str = "The cat sat on the mat, and l'été the cats sat on mats. ";

/// Trains on a small text, with more arguments.
fn train(scribe: &Scribe, more: &[&str]) -> Ran {
    fs::write(scribe.folder().join("text.txt"), TEXT.repeat(20)).unwrap();
    let arguments = ["tokenizer", "train", "text.txt", "--output", "tokenizer.json"];
    scribe.run(&[&arguments[..], more].concat())
}

#[test]
fn a_trained_tokenizer_is_shown_and_used() {
    let scribe = Scribe::new();
    let special = ["--special", "<|im_start|>", "--special", "<|im_end|>"];
    let ran = train(&scribe, &[&["--vocabulary", "270", "--json"], &special[..]].concat());
    assert_eq!((ran.code, ran.err.as_str()), (0, ""));
    let report: Value = serde_json::from_str(&ran.out).unwrap();
    assert_eq!(report["schema"], "scribe.tokenizer.train/1");
    assert_eq!((&report["tokens"], &report["merges"]), (&270.into(), &12.into()));
    assert_eq!(report["text_bytes"], TEXT.len() * 20);
    let shown = scribe.run(&["tokenizer", "show", "tokenizer.json"]);
    assert_eq!((shown.code, shown.err.as_str()), (0, ""));
    assert!(shown.out.contains("tokens   270\nsplit    gpt2\n"), "{}", shown.out);
    assert!(shown.out.contains(r#"0 "<|im_start|>", 1 "<|im_end|>""#), "{}", shown.out);

    let which = ["--tokenizer", "tokenizer.json"];
    let text = "the cat's été <|im_end|>";
    let encoded = scribe.run(&[&["tokenizer", "encode", text], &which[..]].concat());
    assert_eq!((encoded.code, encoded.err.as_str()), (0, ""));
    let tokens: Vec<&str> = encoded.out.split_whitespace().collect();
    assert!(tokens.len() < text.len() && !tokens.contains(&"1"), "{}", encoded.out);
    let decoded = scribe.run(&[&["tokenizer", "decode"], &tokens[..], &which[..]].concat());
    assert_eq!((decoded.code, decoded.out), (0, format!("{text}\n")));
    let mut command = scribe.command(&[&["tokenizer", "decode", "--json"], &which[..]].concat());
    let mut child = command.stdin(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(encoded.out.as_bytes()).unwrap();
    let piped = Ran::from(child.wait_with_output().unwrap());
    assert_eq!(serde_json::from_str::<Value>(&piped.out).unwrap()["text"], text);
    let pieces = scribe.run(&["tokenizer", "encode", "Hi", "--pieces", "-m", &tiny_chat()]);
    assert!(pieces.code == 0 && pieces.out.starts_with("TOKEN  TEXT\n"), "{pieces:?}");
}

#[test]
fn the_file_is_the_same_with_any_number_of_threads() {
    let scribe = Scribe::new();
    let with = |threads| {
        let ran = train(&scribe, &["--vocabulary", "280", "--threads", threads]);
        assert_eq!((ran.code, ran.out.as_str()), (0, "tokenizer.json\n"), "{}", ran.err);
        fs::read(scribe.folder().join("tokenizer.json")).unwrap()
    };
    assert_eq!(with("1"), with("3"));
}

#[test]
fn what_the_text_does_not_allow_is_told() {
    let scribe = Scribe::new();
    let ran = train(&scribe, &["--vocabulary", "5000"]);
    assert_eq!(ran.code, 0);
    assert!(ran.err.starts_with("warning: ") && ran.err.contains("instead of 5000"), "{}", ran.err);
    for (more, code, told) in [
        (&["--vocabulary", "100"][..], 2, "at least 256"),
        (&["--vocabulary", "0"], 2, "from 1 to 524288"),
        (&["--vocabulary", "300", "--special", ""], 2, "is empty"),
        (&["--vocabulary", "300", "--split", "gpt5"], 2, "llama3"),
        (&["--vocabulary", "300", "--min-frequency", "0"], 2, "1 or larger"),
        (&["--vocabulary", "300", "absent.txt"], 3, "cannot read absent.txt"),
        (&["--vocabulary", "300", "."], 1, "a folder"),
    ] {
        let ran = train(&scribe, more);
        assert_eq!((ran.code, ran.out.as_str()), (code, ""), "{more:?}: {}", ran.err);
        assert!(ran.err.contains(told), "{more:?}: {}", ran.err);
    }
    let common = ["tokenizer", "train", "bad.txt", "--vocabulary", "300", "--output"];
    let run = |output| scribe.run(&[&common[..], &[output]].concat());
    fs::write(scribe.folder().join("bad.txt"), b"caf\xe9 noir").unwrap();
    let ran = run("new.json");
    assert_eq!(ran.code, 1);
    assert!(ran.err.contains("bad.txt is not UTF-8 at byte 3"), "{}", ran.err);
    fs::write(scribe.folder().join("bad.txt"), "").unwrap();
    let ran = run("new.json");
    assert!(ran.code == 1 && ran.err.contains("no text to learn from"), "{}", ran.err);
    assert!(!scribe.folder().join("new.json").exists());
    // What is wrong with the output is told before the files are looked at.
    fs::write(scribe.folder().join("bad.txt"), b"\xff").unwrap();
    let ran = run(".");
    assert!(ran.code == 2 && ran.err.contains("`.` is a folder"), "{}", ran.err);
    let ran = run("./bad.txt");
    assert!(
        ran.code == 2 && ran.err.contains("a text to learn from and the --output"),
        "{}",
        ran.err
    );
    assert_eq!(fs::read(scribe.folder().join("bad.txt")).unwrap(), b"\xff");
    let ran = run("absent/new.json");
    assert!(ran.code == 3 && ran.err.contains("there is no folder `absent`"), "{}", ran.err);
}

#[test]
fn tokens_that_are_none_and_files_that_are_none_are_refused() {
    let scribe = Scribe::new();
    train(&scribe, &["--vocabulary", "256"]);
    let which = ["--tokenizer", "tokenizer.json"];
    let ran = scribe.run(&[&["tokenizer", "decode", "1", "256"], &which[..]].concat());
    assert_eq!(ran.code, 2);
    assert!(ran.err.contains("there is no token 256: the vocabulary has 256"), "{}", ran.err);
    let ran = scribe.run(&["tokenizer", "show", "absent.json"]);
    assert_eq!(ran.code, 3, "{}", ran.err);
    let ran = scribe.run(&["tokenizer", "show", "text.txt"]);
    assert!(ran.code == 1 && ran.err.contains("cannot use `text.txt`"), "{}", ran.err);
}
