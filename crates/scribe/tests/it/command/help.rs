//! Help, usage errors, settings, and what every command has in common.

use clap::CommandFactory;
use expect_test::expect;
use scribe::command::Cli;

use super::{Ran, Scribe};

#[test]
fn short_help_lists_the_commands() {
    let ran = Scribe::new().run(&["-h"]);
    assert_eq!((ran.code, ran.err.as_str()), (0, ""));
    let commands: String = ran
        .out
        .lines()
        .skip_while(|line| *line != "Commands:")
        .take_while(|line| !line.is_empty())
        .map(|line| format!("{line}\n"))
        .collect();
    expect![[r"
        Commands:
          serve        Serve the page and the API (the default)
          chat         Chat in this terminal
          models       List, fetch, inspect, convert and remove models
          tokenizer    Train a tokenizer, and see how text becomes tokens
          corpus       Turn files of text into a corpus that a model learns from
          pretrain     Train a model on text, from the first word to samples of its writing
          sft          Teach a model to answer, by conversations
          compare      Gather what people prefer: import, rank, show, export, delete
          reward       Train a reward model on what people preferred
          ppo          Let the model learn from its reward model, by PPO
          rounds       Rank, reward model, PPO, gate: again and again
          story        From raw text to a model that answers, in one command, with a report card
          watch        Watch a run of training as it goes
          verify       Make a stage of a run again and compare its bytes; tell its lineage
          eval         Measure how good a model is
          bench        Measure how fast a model reads, writes and is served
          plan         Print what a model will take: memory to run it, time and money to train it
          doctor       Check this machine, and say what to do about each finding
          config       Show the settings that hold, and where they come from
          completions  Print a completion script for a shell
          help         Print this message or the help of the given subcommand(s)
    "]]
    .assert_eq(&commands);
}

#[test]
fn every_command_has_an_example_that_parses_and_one_line_about_it() {
    fn walk(command: &clap::Command, path: &str, examples: &mut Vec<String>) {
        assert!(command.get_about().is_some(), "`{path}` says nothing of itself");
        let help = command.get_after_help().unwrap_or_else(|| panic!("`{path}` has no example"));
        examples.extend(help.to_string().lines().map(str::trim).map(str::to_owned));
        for subcommand in command.get_subcommands() {
            walk(subcommand, &format!("{path} {}", subcommand.get_name()), examples);
        }
    }
    let mut lines = Vec::new();
    walk(&Cli::command(), "scribe", &mut lines);
    let mut parsed = 0;
    for line in lines {
        // What comes before the program, and where its output goes, is the shell's business.
        let Some((_, rest)) =
            format!(" {line}").split_once(" scribe ").map(|(a, b)| (a.len(), b.to_owned()))
        else {
            continue;
        };
        let rest = rest.split(" > ").next().unwrap().split("     ").next().unwrap();
        let words = rest.split('"').enumerate().flat_map(|(index, part)| {
            if index % 2 == 1 { vec![part] } else { part.split_whitespace().collect() }
        });
        let words: Vec<&str> = std::iter::once("scribe").chain(words).collect();
        if let Err(error) = Cli::command().try_get_matches_from(&words) {
            panic!("the example `{line}` does not parse: {error}");
        }
        parsed += 1;
    }
    assert!(parsed >= 20, "only {parsed} examples were found");
    Cli::command().debug_assert();
}

#[test]
fn usage_errors_leave_with_2_and_know_the_nearest_word() {
    let scribe = Scribe::new();
    let ran = scribe.run(&["modles"]);
    assert_eq!((ran.code, ran.out.as_str()), (2, ""));
    expect![[r"
        error: unrecognized subcommand 'modles'

          hint: a similar subcommand exists: 'models'

        Usage: scribe [OPTIONS] [COMMAND]

        For more information, try '--help'.
    "]]
    .assert_eq(&ran.err);
    let ran = scribe.run(&["serve", "--cache-bytes", "2X"]);
    assert_eq!(ran.code, 2);
    assert!(
        ran.err.contains("`2X` is no size; write a number, or one with K, M, G or T"),
        "{}",
        ran.err
    );
    let ran = scribe.run(&["chat", "-p", " "]);
    assert_eq!(
        (ran.code, ran.err.as_str()),
        (2, "error: there is nothing to answer\nhint: give a text, as in -p \"Hello\"\n")
    );
}

#[test]
fn habits_from_elsewhere_are_told_the_command_here() {
    let scribe = Scribe::new();
    for (typed, meant) in [
        ("pull", "scribe models pull"),
        ("list", "scribe models list"),
        ("run", "scribe chat --model NAME"),
    ] {
        let ran = scribe.run(&[typed, "smollm2-135m-instruct"]);
        assert_eq!((ran.code, ran.out.as_str()), (2, ""));
        assert!(ran.err.contains(&format!("hint: that is `{meant}` here")), "{}", ran.err);
        assert!(!ran.err.contains("similar"), "{}", ran.err);
    }
    let ran = scribe.run(&["tokenizer", "list"]);
    assert_eq!((ran.code, ran.err.contains("scribe models list")), (2, false), "{}", ran.err);
    let help = scribe.run(&["help", "models", "pull"]);
    assert_eq!((help.code, help.err.as_str()), (0, ""));
    assert_eq!(help.out, scribe.run(&["models", "pull", "--help"]).out);
}

#[test]
fn counts_out_of_range_are_told_with_the_range() {
    let scribe = Scribe::new();
    for (option, number, most) in [
        ("--slots", "0", "1024"),
        ("--slots", "-1", "1024"),
        ("--slots", "1025", "1024"),
        ("--context-tokens", "0", "16777216"),
    ] {
        let ran = scribe.run(&["serve", option, number]);
        assert_eq!(ran.code, 2);
        assert!(
            ran.err.contains(&format!("it must be a whole number from 1 to {most}")),
            "{}",
            ran.err
        );
    }
}

#[test]
fn what_is_neither_true_nor_false_is_refused() {
    let scribe = Scribe::new();
    let run = |value| {
        let mut command = scribe.command(&["models", "list"]);
        Ran::from(command.env("SCRIBE_JSON", value).output().unwrap())
    };
    assert!(run("yes").out.starts_with('{') && !run("0").out.starts_with('{'));
    let ran = run("banana");
    assert_eq!((ran.code, ran.out.as_str()), (2, ""));
    assert!(ran.err.contains("'banana'") && ran.err.contains("true or false"), "{}", ran.err);
}

#[test]
fn color_comes_when_it_is_asked_for_and_only_then() {
    let scribe = Scribe::new();
    let colored = |arguments: &[&str]| {
        let output = scribe.command(arguments).output().unwrap();
        output.stdout.contains(&0x1b) || output.stderr.contains(&0x1b)
    };
    assert!(colored(&["models", "list", "--color", "always"]));
    assert!(colored(&["--color=always", "--help"]));
    assert!(!colored(&["models", "list"]));
    assert!(!colored(&["models", "list", "--color", "never"]));
}

#[test]
fn settings_come_from_files_and_say_so() {
    let scribe = Scribe::new();
    std::fs::write(scribe.folder().join("scribe.toml"), "[serve]\nqueue = 7\n").unwrap();
    let ran = scribe.run(&["config", "show"]);
    assert_eq!(ran.code, 0, "{}", ran.err);
    let words = |key: &str| {
        let line = ran.out.lines().find(|line| line.starts_with(key)).unwrap();
        line.split_whitespace().collect::<Vec<_>>()
    };
    assert_eq!(words("queue"), ["queue", "7", "scribe.toml", "serve"]);
    assert_eq!(words("threads")[..4], ["threads", "1", "environment", "serve,"]);
    assert!(!ran.out.contains("default"), "{}", ran.out);
    let all = scribe.run(&["config", "show", "--all"]);
    assert!(all.out.lines().any(|line| line.starts_with("slots ")), "{}", all.out);
    std::fs::write(scribe.folder().join("scribe.toml"), "[serve]\nqeue = 7\n").unwrap();
    let ran = scribe.run(&["models", "list"]);
    assert_eq!(ran.code, 2);
    expect![[r"
        error: `scribe.toml`: no option is called `qeue`
        hint: did you mean `queue`? `scribe config show --all` lists the keys
    "]]
    .assert_eq(&ran.err);
}

#[test]
fn completions_are_made_for_every_shell() {
    let scribe = Scribe::new();
    for shell in ["bash", "elvish", "fish", "powershell", "zsh"] {
        let ran = scribe.run(&["completions", shell]);
        assert!(ran.code == 0 && ran.out.contains("scribe"), "{shell}: {ran:?}");
    }
}

#[test]
fn a_reader_that_leaves_is_no_error() {
    let scribe = Scribe::new();
    let mut child = scribe.command(&["completions", "bash"]).spawn().unwrap();
    drop(child.stdout.take());
    let output = child.wait_with_output().unwrap();
    assert_eq!((output.status.code(), output.stderr.as_slice()), (Some(0), &b""[..]));
}
