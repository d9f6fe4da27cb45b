//! `scribe story` and `scribe chat --run`: the whole way on a tiny recipe, stopped, killed, badly called.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::OnceLock;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use super::Ran;
use super::run::{LOOK, Random, Run, files, kill_when, kills, messages};

/// A second or so of pretraining and as much of conversations.
pub(super) const RECIPE: &str = r#"
seed = 3
[tokenizer]
vocabulary = 400
[[corpus.source]]
path = "TEXT"
[corpus]
validation = 0.2
[model]
layers = 1
width = 32
heads = 2
context_tokens = 64
[pretrain]
steps = 30
rows = 4
learning_rate = 1e-2
validate_every = 10
validation_rows = 2
checkpoint_every = 5
samples = ["The state"]
"#;

/// Conversations, to be added to it.
pub(super) const CONVERSATIONS: &str = r#"
[[conversations.source]]
path = "TALKS"
kind = "conversation"
[conversations]
validation = 0.1
[sft]
steps = 30
rows = 4
learning_rate = 1e-2
validate_every = 10
checkpoint_every = 5
"#;

fn story() -> Run {
    story_of(&format!("{RECIPE}{CONVERSATIONS}"))
}

pub(super) fn story_of(recipe: &str) -> Run {
    let talks = messages().parent().unwrap().join("conversations/conversations.jsonl");
    let recipe = recipe
        .replace("TEXT", messages().to_str().unwrap())
        .replace("TALKS", talks.to_str().unwrap());
    Run::of("story", &recipe)
}

/// A story that nobody interrupts, with what it printed and its pages in English, which a test
/// writes anew in French.
struct Whole {
    story: Run,
    ran: Ran,
    files: BTreeMap<PathBuf, Vec<u8>>,
    card: String,
    page: String,
    fine_tuning: String,
}

fn whole() -> &'static Whole {
    static WHOLE: OnceLock<Whole> = OnceLock::new();
    WHOLE.get_or_init(|| {
        let story = story();
        let ran = story.run();
        assert_eq!(ran.code, 0, "{}", ran.err);
        let [card, page, fine_tuning] = ["report-card.md", "report-card.html", "4-sft/report.html"]
            .map(|page| fs::read_to_string(story.folder().join(page)).unwrap());
        let files = files(&story.folder());
        Whole { story, ran, files, card, page, fine_tuning }
    })
}

#[test]
fn the_whole_story_ends_in_a_report_card() {
    let Whole { ran, card, page, fine_tuning, .. } = whole();
    for words in [
        "Pretraining",
        "Fine-tuning",
        "run (this model)",
        "gzip -9",
        "xz -9e",
        "5-gram",
        "The state …",
    ] {
        assert!(ran.out.contains(words), "{words}: {}", ran.out);
    }
    assert!(ran.out.ends_with("\nscribe chat --run run\n"), "{}", ran.out);
    assert!(ran.err.contains("conversations are cut, because they are longer than"), "{}", ran.err);
    assert!(
        card.contains("| Fine-tuning | 30 | ") && card.contains("scribe chat --run run"),
        "{card}"
    );
    assert!(page.contains("Report card of run") && !page.contains("http:"), "{page}");
    assert!(fine_tuning.contains("Fine-tuning of run"), "{fine_tuning}");
    assert!(fine_tuning.contains("Finished after 30 steps"), "{fine_tuning}");
}

#[test]
fn the_card_is_one_document_and_what_is_there_is_not_made_again() {
    let Whole { story, files: before, .. } = whole();
    let ran = Ran::from(story.command().args(["--json", "--language", "fr"]).output().unwrap());
    assert_eq!(ran.code, 0, "{}", ran.err);
    assert!(*before == files(&story.folder()), "a finished run was changed");
    let told: Value = serde_json::from_str(&ran.out).unwrap();
    assert_eq!((&told["schema"], &told["name"]), (&"scribe.story/1".into(), &"run".into()));
    let stages: Vec<&str> = told["stages"]
        .as_array()
        .unwrap()
        .iter()
        .map(|stage| {
            assert!(
                stage["is_there"].as_bool().unwrap() && stage["seconds"].is_number(),
                "{stage}"
            );
            stage["name"].as_str().unwrap()
        })
        .collect();
    assert_eq!(stages, ["tokenizer", "corpus", "pretraining", "fine_tuning"]);
    let bits = told["bits_per_byte"].as_array().unwrap();
    assert_eq!((bits.len(), &bits[0]["is_baseline"]), (4, &false.into()));
    assert!(told["answers_loss"].as_f64() < told["answers_loss_before"].as_f64(), "{told}");
    assert_eq!(told["answers"].as_array().unwrap().len(), 3);
    assert!(told["answers"][0]["expected"].as_str().is_some_and(|text| !text.is_empty()), "{told}");
    let page = fs::read_to_string(story.folder().join("report-card.html")).unwrap();
    assert!(page.contains("lang=\"fr\"") && page.contains("Bulletin de run"), "{page}");
}

/// How much a stage has told of its steps.
#[test]
fn a_story_that_is_killed_goes_on_to_the_same_bytes() {
    let (story, kills) = (story(), kills());
    let mut random = Random(2);
    let mut killed = 0;
    for index in 0..kills {
        // Those of the first model have a test of their own.
        let stage = if index * 4 < kills { "3-pretrained" } else { "4-sft" };
        let whole = whole().files[&Path::new(stage).join("metrics.jsonl")].len() as u64;
        let next = story.metrics_bytes(stage) + random.below(whole * 3 / (kills as u64 * 2));
        // In the last steps it could end before it is killed.
        let next = next.min(whole * 3 / 4);
        let pause = Duration::from_micros(random.below(20_000));
        let hit = kill_when(story.command(), || story.metrics_bytes(stage) > next, pause);
        killed += usize::from(hit);
    }
    assert!(killed * 2 > kills, "only {killed} of {kills} hit a story");
    story.finish();
    story.assert_left(&whole().files);
}

#[test]
fn a_story_that_is_stopped_goes_on_to_the_same_bytes() {
    let story = story();
    let begin = || {
        let mut command = story.command();
        command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
    };
    for stage in ["3-pretrained", "4-sft"] {
        let mut child = begin();
        while story.metrics_bytes(stage) < 500 {
            assert!(child.try_wait().unwrap().is_none(), "it ended before {stage}");
            std::thread::sleep(LOOK);
        }
        kill_process(Pid::from_child(&child), Signal::INT).unwrap();
        let ran = Ran::from(child.wait_with_output().unwrap());
        let go_on = "go on with: scribe story recipe.toml --run run\n";
        assert!(ran.code == 130 && ran.err.ends_with(go_on), "{stage}: {ran:?}");
        assert_eq!(ran.out, "");
    }
    story.finish();
    story.assert_left(&whole().files);
}

#[test]
fn a_recipe_without_conversations_has_a_story_without_answers() {
    let story = story_of(&RECIPE.replace("steps = 30", "steps = 3"));
    let ran = story.run();
    assert_eq!(ran.code, 0, "{}", ran.err);
    assert!(ran.err.contains("no [conversations] and [sft]: no model answers"), "{}", ran.err);
    assert!(ran.out.contains("Fine-tuning  not in the recipe"), "{}", ran.out);
    let chat = |more: &[&str]| story.scribe.run(&[&["chat", "--run", "run"], more].concat());
    // What is drawn of a model that has learned so little may be any byte, such as one of colors.
    let ran = chat(&["-p", "The state", "--max-tokens", "3", "--temperature", "0"]);
    assert_eq!(ran.code, 0, "{}", ran.err);
    assert!(
        ran.err.contains("has learned to write, not to answer: it goes on with"),
        "{}",
        ran.err
    );
    let ran = chat(&["-p", "x", "--stage", "sft"]);
    assert_eq!(ran.code, 3);
    let told = "error: the stage sft of `run` has no model yet\nhint: `scribe sft RECIPE --run run` \
                makes it; there is --stage pretrained\n";
    assert_eq!(ran.err, told);
    let ran = chat(&["-p", "x", "--system", "Be brief"]);
    assert!(ran.code == 2 && ran.err.contains("leave --system out"), "{}", ran.err);
}

#[test]
fn an_adapter_of_a_run_answers_beside_its_model_wherever_the_run_is() {
    let lora = "[sft.lora]\nrank = 2\n";
    let text = format!("{RECIPE}{CONVERSATIONS}{lora}").replace("steps = 30", "steps = 3");
    let story = story_of(&text);
    let ran = story.run();
    assert_eq!(ran.code, 0, "{}", ran.err);
    assert!(ran.err.contains("weights learn in an adapter"), "{}", ran.err);
    let page = fs::read_to_string(story.folder().join("4-sft/report.html")).unwrap();
    assert!(page.contains("rank 2, alpha 4"), "{page}");
    let answer = |arguments: &[&str]| {
        let common = ["chat", "-p", "What is rust?", "--max-tokens", "4", "--temperature", "0"];
        let ran = story.scribe.run(&[&common[..], arguments].concat());
        assert_eq!(ran.code, 0, "{arguments:?}: {}", ran.err);
        assert!(!ran.err.contains("has learned to write, not to answer"), "{}", ran.err);
        ran.out
    };
    let expected = answer(&["--run", "run"]);
    assert_eq!(answer(&["--model", "run/3-pretrained", "--adapter", "run"]), expected);
    assert_eq!(answer(&["--run", "run", "--stage", "pretrained", "--adapter", "run"]), expected);
    fs::rename(story.folder(), story.scribe.folder().join("moved")).unwrap();
    assert_eq!(answer(&["--run", "moved"]), expected);
}

#[test]
fn what_makes_a_story_impossible_is_told_before_anything_is_learned() {
    let text = format!("{RECIPE}{CONVERSATIONS}");
    for (from, to, expected) in [
        (
            "vocabulary = 400",
            "vocabulary = 400\nspecial = [\"<|endoftext|>\"]",
            "must be a list with the marks of a conversation",
        ),
        (
            "layers = 1\nwidth = 32\nheads = 2",
            "layers = 400\nwidth = 8192\nheads = 64",
            "of memory are needed",
        ),
        ("kind = \"conversation\"", "kind = \"text\"", "must be \"conversation\""),
    ] {
        assert!(text.contains(from), "{from}");
        let story = story_of(&text.replace(from, to));
        let ran = story.run();
        assert!(ran.code != 0 && ran.err.contains(expected), "{to}: {}", ran.err);
        assert!(!story.folder().join("1-tokenizer").exists(), "{to}: something was made");
    }
}

#[test]
fn every_stage_of_a_run_can_be_talked_to() {
    let Whole { story, .. } = whole();
    let report = |more: &[&str]| {
        let common = ["chat", "--run", "run", "-p", "What is rust?", "--max-tokens", "4", "--json"];
        let ran = story.scribe.run(&[&common[..], more].concat());
        assert_eq!(ran.code, 0, "{}", ran.err);
        (serde_json::from_str::<Value>(&ran.out).unwrap(), ran.err)
    };
    let (newest, quiet) = report(&[]);
    let (taught, _) = report(&["--stage", "sft"]);
    let (pretrained, told) = report(&["--stage", "pretrained"]);
    assert_eq!((&newest["prompt_tokens"], quiet.as_str()), (&taught["prompt_tokens"], ""));
    // What is written for a conversation is not there where a text is gone on with.
    assert!(pretrained["prompt_tokens"].as_u64() < taught["prompt_tokens"].as_u64());
    assert!(told.contains("has learned to write, not to answer"), "{told}");
    let none = story.scribe.run(&["chat", "--run", "absent", "-p", "x"]);
    assert!(none.code == 3 && none.err.contains("scribe story RECIPE --run absent"), "{none:?}");
}

#[test]
fn bad_recipes_are_told_before_anything_is_made() {
    let half = format!("{RECIPE}{}", CONVERSATIONS.split("[sft]").next().unwrap());
    let lost = format!("{RECIPE}{}", CONVERSATIONS.replace("TALKS", "absent.jsonl"));
    let base = "base = \"x\"\n[[conversations.source]]\npath = \"a\"\nkind = \"conversation\"\n\
                [conversations]\n[sft]\nsteps = 1\nrows = 1\nlearning_rate = 1e-3\n";
    for (recipe, code, expected) in [
        (half.as_str(), 2, "the recipe has no section [sft]"),
        (&lost, 3, "there is no text at `"),
        (base, 2, "begins with a model that is there"),
        (&RECIPE.replace("steps =", "stepz ="), 2, "did you mean `steps`?"),
    ] {
        let story = story_of(recipe);
        let ran = story.run();
        assert_eq!((ran.code, ran.out.as_str()), (code, ""), "{}", ran.err);
        assert!(ran.err.contains(expected), "{expected}: {}", ran.err);
        assert!(!Path::new(&story.folder()).exists(), "{expected}: something was made");
    }
}
