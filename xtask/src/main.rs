//! Developers' commands: set-up, tidy tests, fixtures, benches and the whole check.

#![expect(clippy::cast_possible_truncation, reason = "sizes of small files and shapes")]

mod check;
mod command;
mod conformance;
mod convert;
mod fixtures;
mod gate;
mod interop;
mod long;
mod peer_ppo;
mod peer_tokenizer;
mod peer_training;
mod peers;
mod preferences;
mod setup;
mod tidy;

use std::process::ExitCode;

const USAGE: &str = "\
usage: cargo xtask COMMAND

  test          set up what the tests need, then check everything (what .ci/run calls)
  tidy          the walls and habits of the tree, in seconds
  fixtures      make the files in fixtures/ that this project generates itself
  convert T I O write the GGUF file I as O with every quantized matrix in type T (q8_0 or bf16)
  interop       compare with PyTorch, transformers and lm-evaluation-harness; make golden files
                anew
  conformance   run the tests that docs/ppo.md names for each known mistake and print pass or
                fail for each; then hold the functions of TRL, torchtune, verl and OpenRLHF
                against the vectors in fixtures/ppo, and print who passes what; `conformance own`
                leaves the others out
  long          the fuzzing, equality and model checks at full size; `long gate [SEEDS]` asks the
                gate of a round about hacked, good and null policies of the recipe tiny
  preferences   what reward models learn of synthetic rankings and of people's choices, beside
                the limit of Bayes and a bag of bigrams; `name=value` changes the latter's options
  bench-peers   speed against llama.cpp, in interleaved pairs; with `tokenizer TEXT`, training a
                tokenizer on a file against Hugging Face's tokenizers, and encoding against
                tiktoken; with `training`, steps of training against PyTorch; with
                `ppo [SEEDS]`, steps of PPO against TRL";

/// Seeds where none are asked for.
const SEEDS: u32 = 5;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let outcome = match arguments.as_slice() {
        ["test"] => check::everything(),
        ["tidy"] => tidy::run(),
        ["fixtures"] => fixtures::make(),
        ["convert", dtype, input, output] => convert::run(dtype, input.as_ref(), output.as_ref()),
        ["interop"] => interop::run_all(),
        ["conformance"] => conformance::compare(),
        ["conformance", "own"] => conformance::own(),
        ["long"] => long::run_all(),
        ["long", "gate"] => gate::measure(SEEDS),
        ["long", "gate", seeds] => counted(seeds).and_then(gate::measure),
        ["preferences", options @ ..] => preferences::measure(options),
        ["bench-peers", "tokenizer", text] => peer_tokenizer::compare(text.as_ref()),
        ["bench-peers", "training", shapes @ ..] => peer_training::compare(shapes),
        ["bench-peers", "ppo"] => peer_ppo::compare(SEEDS),
        ["bench-peers", "ppo", seeds] => counted(seeds).and_then(peer_ppo::compare),
        ["bench-peers", rest @ ..] => peers::run_all(rest),
        _ => {
            command::say(USAGE);
            return ExitCode::from(2);
        }
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            command::say(&format!("error: {error:#}"));
            ExitCode::FAILURE
        }
    }
}

fn counted(seeds: &str) -> anyhow::Result<u32> {
    seeds
        .parse()
        .map_err(|_| anyhow::anyhow!("`{seeds}` is no number of seeds: give one from 1 on"))
}
