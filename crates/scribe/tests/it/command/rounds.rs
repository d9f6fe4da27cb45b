//! `scribe rounds`: from answers to rankings, a reward model, PPO and the gate; stopped, killed, badly
//! called.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;
use std::time::Duration;

use serde_json::Value;

use super::Ran;
use super::run::{Random, Run, files, kill_when, kills};
use super::story::{CONVERSATIONS, RECIPE, story_of};

/// How it learns from people, to be added to a recipe.
pub(super) const PEOPLE: &str = r#"
[reward]
learning_rate = 1e-3
comparisons = 4
samples = 16
precision = "f32"
[ppo]
steps = 6
episodes = 8
completion_tokens = 12
epochs = 2
minibatches = 2
learning_rate = 1e-3
kl_target = 2
pretraining_coefficient = 1
pretraining_rows = 2
ema = 0.9
meter_every = 3
meter_answers = 12
checkpoint_every = 2
precision = "f32"
[rounds]
labeler = "synthetic"
noise = 0.3
prompts = 40
answers = 3
gate_pairs = 60
"#;

fn recipe() -> String {
    format!("{RECIPE}{CONVERSATIONS}{PEOPLE}")
}

/// A run whose model answers.
pub(super) fn taught(recipe: &str) -> Run {
    let story = story_of(recipe);
    for stage in ["pretrain", "sft"] {
        let ran = story.scribe.run(&[stage, "recipe.toml", "--run", "run"]);
        assert_eq!(ran.code, 0, "{}", ran.err);
    }
    story
}

pub(super) fn rounds(story: &Run, n: &str) -> Command {
    story.scribe.command(&["rounds", "recipe.toml", "--run", "run", "--n", n])
}

/// The whole way from raw text over two rounds, which nobody interrupts.
struct Whole {
    story: Run,
    ran: Ran,
    files: BTreeMap<PathBuf, Vec<u8>>,
}

fn whole() -> &'static Whole {
    static WHOLE: OnceLock<Whole> = OnceLock::new();
    WHOLE.get_or_init(|| {
        let story = story_of(&recipe());
        let ran = Ran::from(rounds(&story, "2").output().unwrap());
        assert_eq!(ran.code, 0, "{}", ran.err);
        let files = files(&story.folder());
        Whole { story, ran, files }
    })
}

pub(super) fn json(path: PathBuf) -> Value {
    serde_json::from_str(&fs::read_to_string(path).unwrap()).unwrap()
}

#[test]
fn rounds_end_with_a_verdict_of_the_gate_and_are_gone_through_once() {
    let Whole { story, ran, files: before } = whole();
    let folder = story.folder();
    for round in ["round-1", "round-2"] {
        let gate = json(folder.join("7-ppo").join(round).join("gate.json"));
        let pairs: i64 = ["wins", "ties", "losses"]
            .map(|name| gate["pairs"][name].as_i64().unwrap())
            .iter()
            .sum();
        assert!((1..=60).contains(&pairs), "{gate}");
        let reasons = gate["judgment"]["reasons"].as_array().unwrap();
        let is_promoted = gate["judgment"]["decision"] == "promote";
        assert_eq!(is_promoted, reasons.is_empty(), "{gate}");
        let report = json(folder.join("6-reward").join(round).join("report.json"));
        assert!(report["comparisons"].as_u64().unwrap() > 20, "{report}");
        let metrics = fs::read_to_string(folder.join("7-ppo").join(round).join("metrics.jsonl"));
        let metrics = metrics.unwrap();
        assert_eq!(metrics.lines().count(), 6);
        let first: Value = serde_json::from_str(metrics.lines().next().unwrap()).unwrap();
        let drift = first["kl_per_episode"].as_f64().unwrap();
        // Where the policy begins as the reference, it has not drifted yet.
        assert!(round == "round-2" || drift == 0.0, "{first}");
        assert!(first["reference"]["gold"].is_f64(), "{first}");
        let read = metrics.lines().filter(|line| line.contains("\"meter\"")).count();
        assert_eq!(read, 2, "after steps 3 and 6: {metrics}");
        let page = fs::read_to_string(folder.join("7-ppo").join(round).join("report.html"));
        let page = page.unwrap();
        for expected in ["judge", "Pairs won at the gate", "Tokens of an answer", "In bold"] {
            assert!(page.contains(expected), "{expected}: {page}");
        }
        assert!(page.matches("<svg ").count() >= 10, "{page}");
        let events = fs::read_dir(folder.join("7-ppo").join(round)).unwrap();
        let names = events.map(|entry| entry.unwrap().file_name().into_string().unwrap());
        assert!(names.into_iter().any(|name| name.starts_with("events.out.tfevents.")));
    }
    let watched = Ran::from(story.scribe.command(&["watch", "run", "--json"]).output().unwrap());
    let watched: Value = serde_json::from_str(&watched.out).unwrap();
    assert_eq!(watched["schema"], "scribe.watch-ppo/1");
    assert!(watched["finished"] == true && watched["last"]["meter"]["gold"].is_f64(), "{watched}");
    assert!(ran.out.contains("ROUND") && ran.out.contains("GATE"), "{}", ran.out);
    let again = Ran::from(rounds(story, "2").arg("--json").output().unwrap());
    assert_eq!(again.code, 0, "{}", again.err);
    let told: Value = serde_json::from_str(&again.out).unwrap();
    assert_eq!(told["schema"], "scribe.rounds/1");
    assert_eq!(told["rounds"].as_array().unwrap().len(), 2);
    assert!(*before == files(&folder), "rounds that are over were changed");
    // What learned can be talked to, whatever the gate said.
    let chat = ["chat", "--run", "run", "--stage", "ppo", "-p", "Who are you?"];
    let greedy = ["--max-tokens", "5", "--temperature", "0"];
    let ran = story.scribe.run(&[&chat[..], &greedy].concat());
    assert_eq!(ran.code, 0, "{}", ran.err);
}

#[test]
fn rounds_that_are_killed_go_on_to_the_same_bytes() {
    let mut story = taught(&recipe());
    let mut random = Random(5);
    let mut killed = 0;
    while killed < kills() {
        // What is there by then is not made again, so that each kill hits something later.
        let pause = Duration::from_millis(20 + random.below(300));
        if kill_when(rounds(&story, "2"), || true, pause) {
            killed += 1;
        } else {
            story.assert_left(&whole().files);
            story = taught(&recipe());
        }
    }
    let ran = Ran::from(rounds(&story, "2").output().unwrap());
    assert_eq!(ran.code, 0, "{}", ran.err);
    story.assert_left(&whole().files);
}

#[test]
fn a_promotion_is_served_and_can_be_taken_back() {
    let story = taught(&recipe());
    let ran = Ran::from(rounds(&story, "1").output().unwrap());
    assert_eq!(ran.code, 0, "{}", ran.err);
    // As after a crash between a verdict, whatever it was here, and the promotion that follows.
    let path = story.folder().join("7-ppo/round-1/gate.json");
    let mut gate = json(path.clone());
    gate["judgment"] = serde_json::json!({ "decision": "promote", "reasons": [] });
    fs::write(path, gate.to_string()).unwrap();
    let _ = fs::remove_dir_all(story.folder().join("8-serving"));
    let ran = Ran::from(rounds(&story, "1").output().unwrap());
    assert!(ran.code == 0 && ran.out.contains("promoted"), "{}", ran.out);
    assert!(ran.out.trim_end().ends_with("7-ppo/round-1/checkpoints/step-00000006"), "{}", ran.out);
    let roll_back = || Ran::from(rounds(&story, "1").arg("--rollback").output().unwrap());
    let ran = roll_back();
    assert!(ran.code == 0 && ran.err.contains("the model before all rounds is"), "{}", ran.err);
    let ran = Ran::from(rounds(&story, "1").output().unwrap());
    assert!(ran.out.contains("promoted, and taken back"), "{}", ran.out);
    assert!(ran.out.contains("4-sft") && ran.code == 0, "{}", ran.out);
    let ran = roll_back();
    assert!(ran.code == 2 && ran.err.contains("no model of this run was promoted"), "{}", ran.err);
}

#[test]
fn rounds_wait_for_people() {
    let people = PEOPLE.replace("labeler = \"synthetic\"\nnoise = 0.3", "labeler = \"people\"");
    let story = taught(&format!("{RECIPE}{CONVERSATIONS}{people}"));
    let ran = Ran::from(rounds(&story, "1").output().unwrap());
    assert_eq!(ran.code, 130, "{}", ran.err);
    assert!(ran.err.contains(" prompts ranked; open /label with: scribe serve --run run\n"));
    assert!(ran.err.contains("\n0 of ") && ran.err.contains("--as NAME"), "{}", ran.err);
    // The same answers wait the next time.
    let answers = story.folder().join("5-comparisons/round-1.candidates.jsonl");
    let before = fs::read(&answers).unwrap();
    let ran = Ran::from(rounds(&story, "1").output().unwrap());
    assert!(ran.code == 130 && fs::read(&answers).unwrap() == before, "{}", ran.err);
}

#[test]
fn what_is_missing_is_said_with_what_to_do() {
    let story = story_of(&recipe());
    let refused = |arguments: &[&str], words: &str| {
        let ran = story.scribe.run(&[arguments, &["recipe.toml", "--run", "run"]].concat());
        assert!(ran.code != 0 && ran.err.contains(words), "{arguments:?}: {}", ran.err);
    };
    refused(&["ppo"], "run `scribe sft`");
    story.finish();
    refused(&["reward"], "there are no comparisons at");
    refused(&["ppo"], "there is no reward model at");
    let bare = story.scribe.folder().join("bare.toml");
    let text = fs::read_to_string(story.scribe.folder().join("recipe.toml")).unwrap();
    fs::write(bare, text.split("[reward]").next().unwrap()).unwrap();
    let ran = story.scribe.run(&["rounds", "bare.toml", "--run", "run"]);
    assert!(ran.code != 0 && ran.err.contains("no section [rounds]"), "{}", ran.err);
    let typo = text.replace("kl_target", "kl_targt");
    fs::write(story.scribe.folder().join("typo.toml"), typo).unwrap();
    let ran = story.scribe.run(&["ppo", "typo.toml", "--run", "run"]);
    assert!(ran.code == 2 && ran.err.contains("did you mean `kl_target`?"), "{}", ran.err);
    assert!(Path::new(&story.folder()).join("4-sft").exists());
}
