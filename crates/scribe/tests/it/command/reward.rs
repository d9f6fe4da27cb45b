//! `scribe reward`: what it says of a model beside its baselines, adapters on the way to PPO, and
//! comparisons that nothing can be learned from.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use comparisons::store::Store;
use serde_json::{Value, json};

use super::run::{Run, files};
use super::story::{CONVERSATIONS, RECIPE, story_of};
use super::{Ran, Scribe, tiny_chat};

/// How it learns from people, to be added to a recipe.
const PEOPLE: &str = r#"
[reward]
learning_rate = 3e-3
comparisons = 4
samples = 16
held_out = 0.3
precision = "f32"
[reward.dpo]
beta = 0.5
[ppo]
steps = 2
episodes = 4
completion_tokens = 12
epochs = 1
minibatches = 2
learning_rate = 1e-3
precision = "f32"
"#;

/// A run whose model answers.
fn taught() -> Run {
    let story = story_of(&format!("{RECIPE}{CONVERSATIONS}{PEOPLE}"));
    story.finish();
    story
}

/// A pair in TRL's format.
fn pair(prompt: &str, chosen: &str, rejected: &str) -> String {
    let message = |role: &str, text: &str| json!([{"role": role, "content": text}]);
    let row = json!({"prompt": message("user", prompt), "chosen": message("assistant", chosen),
                     "rejected": message("assistant", rejected)});
    format!("{row}\n")
}

/// Pairs of which the one that says yes is preferred, or is not.
fn pairs(number: usize) -> String {
    (0..number).fold(String::new(), |mut rows, n| {
        let _ = write!(rows, "{}", pair(&format!("Is it {n}?"), "Yes, we go.", "No, never it."));
        rows
    })
}

/// Takes rows in, and returns what was said.
#[track_caller]
fn import(scribe: &Scribe, rows: &str, more: &[&str]) -> Ran {
    fs::write(scribe.folder().join("rows.jsonl"), rows).unwrap();
    scribe.run(&[&["compare", "import", "rows.jsonl", "--run", "run"], more].concat())
}

fn command(scribe: &Scribe, name: &str, more: &[&str]) -> Ran {
    scribe.run(&[&[name, "recipe.toml", "--run", "run"], more].concat())
}

#[track_caller]
fn json_of(ran: &Ran) -> Value {
    assert_eq!(ran.code, 0, "{}", ran.err);
    serde_json::from_str(&ran.out).unwrap()
}

fn remove(path: &Path) {
    fs::remove_dir_all(path).unwrap();
}

#[test]
fn a_model_is_told_beside_what_it_has_to_beat() {
    let story = taught();
    let scribe = &story.scribe;
    assert_eq!(import(scribe, &pairs(60), &[]).code, 0);
    let ran = command(scribe, "reward", &[]);
    assert_eq!(ran.code, 0, "{}", ran.err);
    for words in
        ["AGREES, HELD OUT", "length alone", "bag of bigrams", "DPO, same pairs", " points ("]
    {
        assert!(ran.out.contains(words), "{words}: {}", ran.out);
    }
    let before = files(&story.folder());
    let told = json_of(&command(scribe, "reward", &["--json"]));
    assert_eq!(told["schema"], "scribe.reward/2");
    let (model, baselines) = (&told["models"][0], &told["baselines"]);
    let prompts = model["prompts"].as_u64().unwrap();
    assert!((8..40).contains(&prompts) && model["pairs"] == model["prompts"], "{told}");
    assert_eq!(told["comparisons"].as_u64().unwrap() + told["held_out"].as_u64().unwrap(), 60);
    // One word decides, so a bag of bigrams is always right; and no model can be ahead of that.
    assert_eq!(baselines["bigrams"]["accuracy"], 1.0, "{baselines}");
    for name in ["length", "bigrams", "dpo"] {
        let lead = &model["leads"][name];
        let [low, high] = [0, 1].map(|end| lead["interval"][end].as_f64().unwrap());
        let by = lead["lead"].as_f64().unwrap();
        assert!(low <= by && by <= high && baselines[name]["prompts"] == prompts, "{told}");
        let own = model["accuracy"].as_f64().unwrap();
        let other = baselines[name]["accuracy"].as_f64().unwrap();
        assert!((own - other - by).abs() < 1e-12, "{name}: {told}");
    }
    let bins = model["calibration"]["bins"].as_array().unwrap();
    let sum: u64 = bins.iter().map(|bin| bin["pairs"].as_u64().unwrap()).sum();
    assert_eq!(sum, prompts);
    // What is there is told again, and not made again.
    assert!(before == files(&story.folder()), "a stage that is over was changed");
}

#[test]
fn what_cannot_be_learned_from_is_counted_and_kept() {
    let story = taught();
    let scribe = &story.scribe;
    let store = story.folder().join("5-comparisons/round-1.jsonl");
    // A round without a comparison.
    fs::create_dir_all(store.parent().unwrap()).unwrap();
    drop(Store::open(&store).unwrap());
    let ran = command(scribe, "reward", &[]);
    assert_eq!(ran.code, 1, "{}", ran.err);
    assert!(ran.err.contains("there is no comparison to learn from"), "{}", ran.err);
    assert!(ran.err.contains("import some with `scribe compare import`"), "{}", ran.err);
    // Completions that are equal where a completion of 12 tokens is cut.
    let long = "so on and on, and on and on it goes, as it went before and will go on again: ";
    let same = pair("Why?", &format!("{long}yes"), &format!("{long}no"));
    assert_eq!(import(scribe, &same, &[]).code, 0);
    let ran = command(scribe, "reward", &[]);
    assert_eq!(ran.code, 1, "{}", ran.err);
    assert!(ran.err.contains("1 comparison is left out: its completions are equal"), "{}", ran.err);
    assert!(ran.err.contains("(1 were left out)"), "{}", ran.err);
    assert_eq!(import(scribe, &pairs(30), &[]).code, 0);
    let kept = fs::read(&store).unwrap();
    let told = json_of(&command(scribe, "reward", &["--json"]));
    assert_eq!(told["left_out"], json!({"equal when cut": 1}));
    assert_eq!(told["comparisons"].as_u64().unwrap() + told["held_out"].as_u64().unwrap(), 30);
    assert!(fs::read(&store).unwrap().starts_with(&kept), "comparisons were lost");
}

#[test]
fn rows_that_are_no_comparison_are_counted_when_they_come_in() {
    let story = taught();
    let scribe = &story.scribe;
    // One completion, which nothing is compared with.
    let reply = |text: &str, rank: u32| json!({"role": "assistant", "text": text, "rank": rank});
    let tree = |replies: Value| {
        let prompt = json!({"role": "prompter", "text": "A color", "replies": replies});
        format!("{}\n", json!({"message_tree_id": "1", "prompt": prompt}))
    };
    let one = tree(json!([reply("Red", 0)]));
    let two = tree(json!([reply("Red", 0), reply("Blue", 1)]));
    let candidate = json!({"prompt": "A color", "completions":
        [{"text": "Red", "origin": {"imported": {"from": "a test"}}}]});
    fs::write(scribe.folder().join("alone.jsonl"), format!("{candidate}\n")).unwrap();
    let ran = import(scribe, &format!("{two}{one}"), &["--json"]);
    let told = json_of(&ran);
    assert_eq!(
        (&told["added"], &told["files"][0]["comparisons"]),
        (&json!(1), &json!(1)),
        "{told}"
    );
    let rank = ["compare", "rank", "alone.jsonl", "--run", "run", "--as", "ada"];
    let ran = scribe.run(&rank);
    assert!(ran.code != 0 && ran.err.contains("give at least 2"), "{}", ran.err);
    // Somebody who is not on the list.
    let ran = import(scribe, &pairs(3), &["--as", "bob", "--only", "ada", "--only", "cleo"]);
    assert_ne!(ran.code, 0);
    assert!(
        ran.err.contains("3 rows refused") && ran.err.contains("nothing was imported"),
        "{}",
        ran.err
    );
    assert!(ran.err.contains("`bob` is not on the list of labelers"), "{}", ran.err);
    let ran = import(scribe, &pairs(3), &["--as", "cleo", "--only", "ada", "--only", "cleo"]);
    assert!(ran.code == 0 && ran.out.contains("3 comparisons added"), "{} {}", ran.out, ran.err);
}

#[test]
fn a_reward_model_of_another_tokenizer_is_refused() {
    let story = taught();
    let scribe = &story.scribe;
    assert_eq!(import(scribe, &pairs(30), &[]).code, 0);
    assert_eq!(command(scribe, "reward", &[]).code, 0);
    let model = story.folder().join("6-reward/round-1/model-1");
    let own = fs::read(model.join("tokenizer.json")).unwrap();
    let other = String::from_utf8(own.clone()).unwrap().replacen("\"!\"", "\"?!\"", 1);
    fs::write(model.join("tokenizer.json"), other).unwrap();
    let ran = command(scribe, "ppo", &[]);
    assert!(ran.code != 0 && ran.err.contains("reads other tokens than"), "{}", ran.err);
    assert!(ran.err.contains("train the reward model again"), "{}", ran.err);
    assert!(!story.folder().join("7-ppo/round-1/checkpoints").exists());
    fs::write(model.join("tokenizer.json"), own).unwrap();
    let ran = command(scribe, "ppo", &[]);
    assert_eq!(ran.code, 0, "{}", ran.err);
}

/// A model that an adapter was taught beside, by a recipe with a `base`.
fn beside() -> Run {
    let recipe = "base = \"base\"\nseed = 4\n[[conversations.source]]\npath = \"talks.jsonl\"\n\
        kind = \"conversation\"\n[conversations]\nvalidation = 0.2\n[sft]\nsteps = 4\nrows = 2\n\
        row_tokens = 128\nlearning_rate = 2e-2\n[sft.lora]\nrank = 4\nalpha = 16\n";
    let people = PEOPLE.replace("[reward.dpo]", "[reward.lora]\nrank = 4\n[reward.dpo]");
    let more = "[ppo.lora]\nrank = 2\n[rounds]\nlabeler = \"synthetic\"\nprompts = 12\nanswers = 3\n\
        gate_pairs = 10\n";
    let run = Run::of("sft", &format!("{recipe}{people}{more}"));
    let folder = run.scribe.folder();
    let base = folder.join("base");
    let export = ["models", "export", &tiny_chat(), "--to", "hf", "--out", base.to_str().unwrap()];
    assert_eq!(run.scribe.run(&export).code, 0);
    let rows = (0..24).fold(String::new(), |mut rows, n| {
        let question = json!({"role": "user", "content": format!("How many are {n}?")});
        let answer = json!({"role": "assistant", "content": format!("They are {n} in all.")});
        let _ = writeln!(rows, "{}", json!({"messages": [question, answer]}));
        rows
    });
    fs::write(folder.join("talks.jsonl"), rows).unwrap();
    run.finish();
    run
}

#[test]
fn adapters_go_all_the_way_from_a_model_that_is_there() {
    let run = beside();
    let scribe = &run.scribe;
    assert_eq!(import(scribe, &pairs(24), &[]).code, 0);
    let ran = command(scribe, "reward", &[]);
    assert_eq!(ran.code, 0, "{}", ran.err);
    assert!(ran.err.contains("writing it and its model as one"), "{}", ran.err);
    let model = run.folder().join("6-reward/round-1/model-1");
    assert!(
        model.join("adapter_model.safetensors").exists() && !model.join("config.json").exists()
    );
    let ran = command(scribe, "ppo", &[]);
    assert_eq!(ran.code, 0, "{}", ran.err);
    let answered = |ran: Ran| assert!(ran.code == 0 && !ran.out.is_empty(), "{}", ran.err);
    let chat = ["chat", "--run", "run", "--stage", "ppo", "-p", "Who?", "--max-tokens", "5"];
    answered(scribe.run(&chat));
    // An adapter that learned beside other weights says so.
    let facts = model.join("reward.json");
    let own = fs::read_to_string(&facts).unwrap();
    let (before, digest) = own.split_once("\"base\": \"").unwrap();
    let other = if digest.starts_with('0') { "1" } else { "0" };
    fs::write(&facts, format!("{before}\"base\": \"{other}{}", &digest[1..])).unwrap();
    remove(&run.folder().join("7-ppo"));
    let ran = command(scribe, "ppo", &[]);
    assert!(ran.code != 0 && ran.err.contains("learned beside other weights"), "{}", ran.err);
    fs::write(&facts, own).unwrap();
    // Rounds on the same model: the answers of an adapter are ranked, and the gate decides.
    for folder in ["5-comparisons", "6-reward"] {
        remove(&run.folder().join(folder));
    }
    remove(&run.folder().join("7-ppo"));
    let ran = command(scribe, "rounds", &["--n", "1", "--json"]);
    let told = json_of(&ran);
    assert_eq!(told["rounds"].as_array().unwrap().len(), 1, "{told}");
}
