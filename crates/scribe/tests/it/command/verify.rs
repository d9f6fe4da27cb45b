//! `scribe verify`: a run that fits, and what is named where it does not.

use std::fs;
use std::path::Path;

use serde_json::Value;

use super::Ran;
use super::rounds::{PEOPLE, rounds, taught};
use super::run::{Run, files};
use super::story::{CONVERSATIONS, RECIPE};

fn verify(story: &Run, more: &[&str]) -> Ran {
    let arguments = [&["verify", "run", "--recipe", "recipe.toml"], more].concat();
    story.scribe.run(&arguments)
}

fn learned() -> Run {
    let story = taught(&format!("{RECIPE}{CONVERSATIONS}{PEOPLE}"));
    let ran = Ran::from(rounds(&story, "1").output().unwrap());
    assert_eq!(ran.code, 0, "{}", ran.err);
    story
}

/// Changes one byte in the middle of a file.
fn damage(path: &Path) {
    let mut bytes = fs::read(path).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(path, bytes).unwrap();
}

#[test]
fn every_stage_is_made_again_with_the_same_bytes() {
    let story = learned();
    let before = files(&story.folder());
    for stage in ["tokenizer", "corpus", "pretrain", "sft", "reward", "ppo"] {
        let ran = verify(&story, &["--stage", stage]);
        assert_eq!(ran.code, 0, "{stage}: {}{}", ran.out, ran.err);
        assert!(ran.out.contains("files are the same"), "{}", ran.out);
        assert!(ran.out.contains("6-reward/round-1/model-1"), "{}", ran.out);
    }
    assert!(before == files(&story.folder()), "verifying changed the run");
    let left = fs::read_dir(story.scribe.folder()).unwrap();
    let names = left.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    assert!(!names.into_iter().any(|name| name.contains("verify")), "a folder was left");
    let ran = verify(&story, &["--json"]);
    let told: Value = serde_json::from_str(&ran.out).unwrap();
    assert_eq!(
        (&told["schema"], &told["problems"]),
        (&"scribe.verify/1".into(), &serde_json::json!([]))
    );
    assert!(told["files"].as_u64().unwrap() >= 3 && told["differs"].is_null(), "{told}");
}

#[test]
fn a_byte_that_was_changed_is_named() {
    let story = learned();
    damage(&story.folder().join("6-reward/round-1/model-1/model.safetensors"));
    let ran = verify(&story, &[]);
    assert_eq!(ran.code, 1, "{}", ran.err);
    let line = ran.out.lines().find(|line| line.starts_with("does not fit: ")).unwrap();
    assert!(line.contains("6-reward/round-1/model-1"), "{line}");
    // With the tokenizer the same; the line of a file without a manifest is compared, too.
    assert!(ran.out.contains("1-tokenizer: made again"), "{}", ran.out);
    damage(&story.folder().join("3-pretrained/metrics.jsonl"));
    let ran = verify(&story, &["--stage", "pretrain"]);
    assert_eq!(ran.code, 1, "{}", ran.err);
    assert!(ran.out.contains("3-pretrained: `metrics.jsonl` differs from byte "), "{}", ran.out);
}

#[test]
fn what_was_made_from_something_else_is_named() {
    let story = learned();
    let run = story.folder();
    // A run that says that another model is served than the gate let through.
    fs::create_dir_all(run.join("8-serving")).unwrap();
    let checkpoint = "4-sft/checkpoints/step-00000030";
    let serving = format!(
        r#"{{"version":1,"promoted":[{{"round":1,"checkpoint":"{checkpoint}"}}],"taken_back":[]}}"#
    );
    fs::write(run.join("8-serving/current.json"), serving).unwrap();
    // And comparisons that were replaced by others.
    fs::remove_file(run.join("5-comparisons/round-1.jsonl")).unwrap();
    let ran = verify(&story, &[]);
    assert_eq!(ran.code, 1, "{}", ran.err);
    for expected in [
        "8-serving/current.json: the gate of round 1 did not let it through",
        "6-reward/round-1: no comparison says that it was made from it",
    ] {
        assert!(ran.out.contains(expected), "{expected}: {}", ran.out);
    }
}

#[test]
fn what_cannot_be_verified_is_said_with_what_to_do() {
    let story = super::story::story_of(&format!("{RECIPE}{CONVERSATIONS}"));
    let ran = verify(&story, &[]);
    assert!(ran.code == 3 && ran.err.contains("`run` holds no run"), "{ran:?}");
    let ran = story.scribe.run(&["pretrain", "recipe.toml", "--run", "run"]);
    assert_eq!(ran.code, 0, "{}", ran.err);
    // What the run keeps is enough where its sources have absolute paths.
    let ran = story.scribe.run(&["verify", "run", "--stage", "corpus"]);
    assert_eq!(ran.code, 0, "{}", ran.err);
    let ran = verify(&story, &["--stage", "ppo"]);
    assert!(ran.code == 3 && ran.err.contains("there is no `run/7-ppo/round-1`"), "{ran:?}");
}
