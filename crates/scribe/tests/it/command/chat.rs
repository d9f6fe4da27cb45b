//! Chat on a pipe, and the benches, with the tiny model.

use std::io::Write;
use std::process::Stdio;

use serde_json::Value;

use super::{Ran, Scribe, tiny_chat};

#[test]
fn the_same_seed_gives_the_same_answer_from_an_option_or_a_pipe() {
    let scribe = Scribe::new();
    let model = tiny_chat();
    let common = ["--model", &model, "--seed", "3", "--max-tokens", "12", "--temperature", "1"];
    let ran = scribe.run(&[&["chat", "-p", "Hello"], &common[..]].concat());
    assert_eq!((ran.code, ran.err.as_str()), (0, ""));
    assert!(ran.out.trim().len() > 1, "{:?}", ran.out);
    let mut command = scribe.command(&[&["chat", "--json"], &common[..]].concat());
    let mut child = command.stdin(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(b"Hello\n").unwrap();
    let piped = Ran::from(child.wait_with_output().unwrap());
    let report: Value = serde_json::from_str(&piped.out).unwrap();
    assert_eq!(report["answer"].as_str().unwrap(), ran.out.strip_suffix('\n').unwrap());
    assert_eq!(report["schema"], "scribe.chat/1");
    assert_eq!(report["seed"], 3);
}

#[test]
fn what_is_piped_is_said_after_the_prompt() {
    let scribe = Scribe::new();
    let model = tiny_chat();
    let common = ["-m", &model, "--json", "--max-tokens", "1", "--temperature", "0"];
    let prompt_tokens = |prompt: &[&str], piped: &[u8]| {
        let mut command = scribe.command(&[&["chat"], prompt, &common[..]].concat());
        let mut child = command.stdin(Stdio::piped()).spawn().unwrap();
        child.stdin.take().unwrap().write_all(piped).unwrap();
        let ran = Ran::from(child.wait_with_output().unwrap());
        let report: Value = serde_json::from_str(&ran.out).unwrap();
        report["prompt_tokens"].as_u64().unwrap()
    };
    let together = prompt_tokens(&["-p", "Summarize"], b"a note\n");
    assert_eq!(together, prompt_tokens(&["-p", "Summarize\n\na note"], b""));
    assert!(together > prompt_tokens(&["-p", "Summarize"], b"\n"));
}

#[test]
fn more_is_said_when_it_is_asked_for() {
    let model = tiny_chat();
    let chat = ["chat", "-v", "-p", "Hello", "-m", &model, "--max-tokens", "3", "--seed", "1"];
    let ran = Scribe::new().run(&chat);
    assert_eq!(ran.code, 0);
    assert!(ran.err.contains("tokens/s"), "{}", ran.err);
}

#[test]
fn out_of_range_options_are_refused_by_name() {
    let model = tiny_chat();
    for (model, option, value) in
        [(model.as_str(), "--temperature", "-1"), ("./absent.gguf", "--top-p", "2")]
    {
        let ran = Scribe::new().run(&["chat", "-p", "Hello", "-m", model, option, value]);
        let name = option[2..].replace('-', "_");
        assert_eq!(ran.code, 2, "a wrong option is told before any model is looked for");
        assert!(ran.err.starts_with(&format!("error: `{name}` must be ")), "{}", ran.err);
    }
}

#[test]
fn every_path_of_kernels_can_be_asked_for() {
    let model = tiny_chat();
    let scribe = Scribe::new();
    for kernels in ["reference", "portable"] {
        let mut command = scribe.command(&["plan", "-m", &model]);
        command.env("SCRIBE_KERNELS", kernels);
        let ran = Ran::from(command.output().unwrap());
        assert!(ran.code == 0 && ran.out.contains(&format!("{kernels} kernels")), "{ran:?}");
    }
}

#[test]
fn a_chat_format_can_be_asked_for_that_the_model_has_tokens_for() {
    let (scribe, model) = (Scribe::new(), tiny_chat());
    let chat = |format: &str| {
        let common = ["chat", "-p", "Hello", "-m", &model, "--max-tokens", "3", "--seed", "1"];
        scribe.run(&[&common[..], &["--chat-format", format]].concat())
    };
    let ran = chat("chatml");
    assert_eq!((ran.code, ran.err.as_str()), (0, ""));
    let ran = chat("llama3");
    assert_eq!(ran.code, 1, "{}", ran.err);
    assert!(ran.err.contains("no special token") && ran.err.contains("Llama 3"), "{}", ran.err);
    assert_eq!(chat("alpaca").code, 2);
    // Where no conversation is written, there is nothing to choose.
    assert_eq!(scribe.run(&["plan", "-m", &model, "--chat-format", "chatml"]).code, 2);
}

#[test]
fn a_template_that_is_passed_over_is_told_and_the_option_that_is_named_silences_it() {
    let scribe = Scribe::new();
    let mut bytes = std::fs::read(tiny_chat()).unwrap();
    let (begin, end) = (b"{% for message in messages %}", b"{% endif %}");
    let find = |part: &[u8]| bytes.windows(part.len()).position(|window| window == part).unwrap();
    let place = find(begin)..find(end) + end.len();
    // Of the same length, so that nothing else in the file moves.
    let inspects = "{% for m in messages %}{{ m.content.split('</think>')[-1] }}{% endfor %}";
    let padded = format!("{inspects:width$}", width = place.len());
    bytes[place].copy_from_slice(padded.as_bytes());
    std::fs::write(scribe.folder().join("inspects.gguf"), bytes).unwrap();
    let chat = ["chat", "-p", "Hello", "-m", "./inspects.gguf", "--max-tokens", "3", "--seed", "1"];
    let told = scribe.run(&chat);
    assert_eq!(told.code, 0, "{}", told.err);
    assert!(told.err.contains("written as ChatML") && told.err.contains("</think>"), "{told:?}");
    let advice = told.err.split("with ").nth(1).unwrap().split(" this").next().unwrap();
    let option: Vec<&str> = advice.split(' ').collect();
    let silent = scribe.run(&[&chat[..], &option].concat());
    assert_eq!((silent.code, silent.err.as_str(), silent.out), (0, "", told.out));
}

#[test]
fn benches_print_rows_in_the_columns_of_llama_bench() {
    let scribe = Scribe::new();
    let model = tiny_chat();
    for (test, name) in [("decode", "tg8 x 2"), ("prefill", "pp8 x 2"), ("serve", "serve8 x 2")] {
        let arguments = ["bench", test, "-m", &model, "--tokens", "8", "--streams", "2"];
        let ran = scribe.run(&[&arguments[..], &["--repetitions", "2", "--json"]].concat());
        assert_eq!(ran.code, 0, "{}", ran.err);
        let row: Value = serde_json::from_str(&ran.out).unwrap();
        assert_eq!(row["test"], name);
        assert_eq!(row["samples"].as_array().unwrap().len(), 2);
        assert!(row["tokens_per_second"].as_f64().unwrap() > 0.0);
        assert_eq!(row["latency"].is_null(), test != "serve");
    }
    for (option, most) in [(&[][..], "choose --tokens up to "), (&["--context-tokens", "64"], "63")]
    {
        let arguments = ["bench", "decode", "-m", &model, "--tokens", "1000000"];
        let ran = scribe.run(&[&arguments[..], option].concat());
        assert_eq!(ran.code, 2, "{}", ran.err);
        assert!(ran.err.contains("1000000 tokens do not fit into a context"), "{}", ran.err);
        assert!(ran.err.contains(most), "{}", ran.err);
    }
    // What the server is asked has a prompt, too.
    let serve = ["bench", "serve", "-m", &model, "--context-tokens", "64", "--tokens"];
    let ran = scribe.run(&[&serve[..], &["60"]].concat());
    assert_eq!((ran.code, ran.out.as_str()), (2, ""), "{}", ran.err);
    let most = ran.err.split("--tokens up to ").nth(1).unwrap().split(',').next().unwrap();
    assert!(ran.err.contains("60 tokens after a prompt of "), "{}", ran.err);
    let ran = scribe.run(&[&serve[..], &[most, "--repetitions", "1"]].concat());
    assert_eq!(ran.code, 0, "{}", ran.err);
    let ran = scribe.run(&["bench", "decode", "-m", &model, "--tokens", "4", "--repetitions", "1"]);
    let header = ran.out.lines().next().unwrap();
    assert_eq!(header, "| model | size | params | kernels | threads | test | t/s |");
}
