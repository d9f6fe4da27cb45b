//! `scribe plan RECIPE`: what training takes, on any hardware; and that docs/scale.md says the same.

use std::path::Path;

use serde_json::Value;

use super::{Ran, Scribe};

fn plan(arguments: &[&str]) -> Ran {
    Scribe::new().run(&[&["plan"], arguments].concat())
}

fn report(arguments: &[&str]) -> Value {
    let ran = plan(&[arguments, &["--json"]].concat());
    assert_eq!(ran.code, 0, "{}", ran.err);
    serde_json::from_str(&ran.out).unwrap()
}

/// The text of a recipe or a document, from the root.
fn root(path: &str) -> String {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    root.join(path).to_str().unwrap().to_owned()
}

#[test]
fn the_largest_model_of_the_story_is_planned_by_name() {
    let ran = plan(&["gpt-3.5", "--hardware", "h100"]);
    assert_eq!(ran.code, 0, "{}", ran.err);
    for line in [
        "parameters           175 billion (174,566,105,088)",
        "shape                96 layers, 12288 wide, 96 heads",
        "tokens               500 billion (500,000,358,400)",
    ] {
        assert!(ran.out.contains(line), "{line}: {}", ran.out);
    }
    assert!(ran.out.contains("no: 46 are needed at least"), "{}", ran.out);
    assert!(
        ran.err.contains("989 TFLOP/s, of which 40 % are reached, $2.50 an hour"),
        "{}",
        ran.err
    );
    assert!(ran.err.contains("assumptions of 2026-11-23, not offers"), "{}", ran.err);
}

#[test]
fn prices_utilizations_and_numbers_are_the_persons_own() {
    let of = |more: &[&str]| {
        let told = report(&[&["gpt-3.5", "--hardware", "h100"], more].concat());
        told["hardware"][0]["outlooks"].clone()
    };
    let number = |outlook: &Value, name: &str| outlook[name].as_f64().unwrap();
    let [one, cheap] = [&[][..], &["--price", "1.25"]]
        .map(|more| of(&[more, &["--accelerators", "1024"]].concat())[0].clone());
    assert!((number(&one, "dollars") / number(&cheap, "dollars") - 2.0).abs() < 1e-9);
    let slow = of(&["--accelerators", "1024", "--utilization", "0.2"])[0].clone();
    assert!((number(&slow, "seconds") / number(&one, "seconds") - 2.0).abs() < 1e-9);
    let several = of(&["--accelerators", "1,8"]);
    let counts: Vec<_> = several.as_array().unwrap().iter().map(|o| &o["accelerators"]).collect();
    assert_eq!(counts, [1, 8]);
    let ran = plan(&["gpt-3.5", "--hardware", "h100", "--accelerators", "1000000"]);
    assert!(ran.err.contains("more than 73,600 accelerators have nothing to do"), "{}", ran.err);
}

#[test]
fn hardware_may_be_a_file_or_this_machine() {
    let scribe = Scribe::new();
    let line = "name = \"mine\"\npeak_teraflops = 10\nmemory_gb = 64\nutilization = 0.5\n";
    std::fs::write(scribe.folder().join("mine.toml"), line).unwrap();
    let recipe = root("recipes/tiny.toml");
    let ran = scribe.run(&["plan", &recipe, "--hardware", "mine.toml"]);
    assert_eq!(ran.code, 0, "{}", ran.err);
    assert!(ran.out.contains("mine") && ran.out.contains("no price known"), "{}", ran.out);
    let here = report(&[&recipe, "--hardware", "here"]);
    let line = &here["hardware"][0];
    assert!(line["peak_teraflops"].as_f64().unwrap() > 0.0, "{line}");
    assert_eq!((&line["utilization"], &line["outlooks"][0]["fits"]), (&1.0.into(), &true.into()));

    std::fs::write(scribe.folder().join("mine.toml"), line_without_memory()).unwrap();
    let ran = scribe.run(&["plan", &recipe, "--hardware", "mine.toml"]);
    assert_eq!(ran.code, 2);
    assert!(ran.err.contains("mine.toml") && ran.err.contains("memory_gb"), "{}", ran.err);
}

fn line_without_memory() -> &'static str {
    "name = \"mine\"\npeak_teraflops = 10\nutilization = 0.5\n"
}

#[test]
fn what_cannot_be_planned_is_told_in_a_sentence() {
    let tiny = root("recipes/tiny.toml");
    let answers = root("recipes/answers.toml");
    for (arguments, code, expected) in [
        (&[&tiny[..], "--hardware", "h10"][..], 3, "did you mean `h100`? there are laptop, "),
        (&[&tiny, "--hardware", "abacus"], 3, "there are laptop, rtx-4090, v100, a100, h100, h200"),
        (&[&tiny, "--hardware", "h100", "--price", "-1"], 2, "price_per_hour is -1"),
        (&[&tiny, "--hardware", "h100", "--utilization", "1.5"], 2, "from 0.0001 to 1"),
        (&[&tiny, "--accelerators", "0"], 2, "a whole number from 1 to"),
        (&["--hardware", "h100"], 2, "RECIPE"),
        (&["gpt-35"], 3, "did you mean `gpt-3.5`?"),
        (&["absent.toml"], 3, "there is no recipe at `absent.toml`"),
        (&[&answers], 2, "there is no training to plan"),
    ] {
        let ran = plan(arguments);
        assert_eq!((ran.code, ran.out.as_str()), (code, ""), "{arguments:?}: {}", ran.err);
        assert!(ran.err.contains(expected), "{expected}: {}", ran.err);
    }
}

/// Every table of a plan in the document is what the command prints.
#[test]
fn the_document_says_what_the_command_says() {
    let document = std::fs::read_to_string(root("docs/scale.md")).unwrap();
    let mut checked = 0;
    for block in document.split("```\n$ scribe plan ").skip(1) {
        let (command, rest) = block.split_once('\n').unwrap();
        let expected = rest.split("```").next().unwrap();
        let words: Vec<String> = command
            .split_whitespace()
            .map(|word| if word.starts_with("recipes/") { root(word) } else { word.to_owned() })
            .collect();
        let ran = plan(&words.iter().map(String::as_str).collect::<Vec<_>>());
        let told: Vec<&str> = ran.out.lines().collect();
        for line in expected.lines().filter(|line| !line.is_empty() && *line != "…") {
            assert!(
                told.contains(&line),
                "`scribe plan {command}` has no line\n{line}\n{}",
                ran.out
            );
            checked += 1;
        }
    }
    assert!(checked >= 25, "{checked} lines");
}

/// Every figure in the document's sentences is in a table of it, or follows by arithmetic here.
#[test]
fn the_sentences_of_the_document_have_the_figures_of_the_plan() {
    let document = std::fs::read_to_string(root("docs/scale.md")).unwrap();
    let text = document.split_whitespace().collect::<Vec<_>>().join(" ");
    let told = report(&["gpt-3.5", "--hardware", "h100", "--accelerators", "1,1024"]);
    let number = |name: &str| told[name].as_f64().unwrap();
    let (one, many) = (&told["hardware"][0]["outlooks"][0], &told["hardware"][0]["outlooks"][1]);
    let tiny = report(&[&root("recipes/tiny.toml"), "--hardware", "laptop"]);
    let coffee = report(&[&root("recipes/coffee.toml"), "--hardware", "laptop"]);
    let of = |report: &Value, name: &str| report[name].as_f64().unwrap();
    let percent = 100.0 * number("attention_operations") / number("operations");
    let bytes = number("total_bytes") - told["memory"]["activations_bytes"].as_f64().unwrap();
    let laptop = &tiny["hardware"][0];
    let of_laptop = |name: &str| laptop[name].as_f64().unwrap();
    let day = of_laptop("peak_teraflops") * 1e12 * of_laptop("utilization") * 86_400.0;
    for sentence in [
        format!("a model of {:.0} million parameters", (day / 120.0).sqrt() / 1e6),
        format!("{:.0} billion parameters", number("parameters") / 1e9),
        format!("{:.0} billion tokens", number("tokens") / 1e9),
        format!("{:.2} × 10²³ operations", number("operations") / 1e23),
        format!("attention adds {percent:.1} %"),
        format!("{:.0} bytes for each parameter", bytes / number("parameters")),
        format!("{:.1} TB", bytes / 1e12),
        format!("{:.0} years on one", one["seconds"].as_f64().unwrap() / 31_557_600.0),
        format!("{:.0} days on 1,024", many["seconds"].as_f64().unwrap() / 86_400.0),
        format!("about ${:.0},000", many["dollars"].as_f64().unwrap() / 1e3),
        format!("{:.0} billion times", number("operations") / of(&tiny, "operations") / 1e9),
        format!("{:.0} thousand parameters", of(&tiny, "parameters") / 1e3),
        format!("{:.1} million parameters", of(&coffee, "parameters") / 1e6),
    ] {
        assert!(text.contains(&sentence), "the document does not say `{sentence}`");
    }
}
