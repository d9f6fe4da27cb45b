//! `cargo xtask interop`: the same numbers as PyTorch and transformers, and files that others read.

use std::ffi::OsString;

use anyhow::{Context as _, Result};
use engine::KernelPath;

use crate::command::{cargo, command, root, run, say, target};
use crate::setup;

pub(crate) const PACKAGES: [&str; 9] = [
    "torch",
    "transformers",
    "tokenizers",
    "gguf",
    "safetensors",
    "numpy",
    "peft",
    "trl>=0.29",
    // What it asks of a server changes from version to version.
    "lm_eval[api]==0.4.13",
];

/// Compares containers with their own libraries, logits with transformers, and evaluation with
/// lm-evaluation-harness, makes the golden files anew with PyTorch and transformers, and shows whether
/// they changed.
///
/// # Errors
///
/// Where the default model, Python or a package cannot be had, a script fails, or a golden file
/// differs from the committed one.
pub(crate) fn run_all() -> Result<()> {
    let tools = setup::prepare()?;
    let model = tools.model().context("the default model could not be fetched")?;
    let python = setup::python_environment("interop", &PACKAGES)?;
    let script = |name: &str, arguments: &[OsString]| {
        let path = root().join("xtask/python").join(name);
        run(command(&python, &[]).arg(path).args(arguments))
    };

    run(&mut cargo(&["build", "--package", "artifacts", "--example", "containers", "--locked"]))?;
    let folder = target().join("containers");
    std::fs::create_dir_all(&folder)?;
    let tool = target().join("debug/examples/containers");
    script("check_containers.py", &[tool.into(), folder.into(), model.into()])?;

    say("parity with transformers, and llama.cpp's where `bench-peers` has built it");
    let example = ["build", "--release", "--package", "model", "--example", "logits", "--locked"];
    run(&mut cargo(&example))?;
    let logits = target().join("release/examples/logits");
    let text = root().join("LICENSE-APACHE");
    let mut arguments =
        vec![model.into(), (&logits).into(), (&text).into(), KernelPath::best().to_string().into()];
    let peer: Option<OsString> =
        Some(target().join("peers/bin/python")).filter(|peer| peer.is_file()).map(Into::into);
    arguments.extend(peer.clone());
    script("check_parity.py", &arguments)?;

    say("exports as transformers, gguf and llama.cpp read them");
    run(&mut cargo(&["build", "--release", "--package", "scribe", "--locked"]))?;
    let [scribe, exports] = ["release/scribe", "exports"].map(|name| target().join(name));
    let kernels = KernelPath::best().to_string();
    let files = [&scribe, &logits, model, &text, &exports].map(OsString::from);
    let arguments: Vec<OsString> = files.into_iter().chain([kernels.into()]).chain(peer).collect();
    script("check_exports.py", &arguments)?;

    say("adapters as PEFT reads and writes them");
    let (base, folder) = (exports.join("hf"), target().join("adapters"));
    let conversations = root().join("fixtures/conversations/conversations.jsonl");
    let files = [&scribe, &logits, &base, &text, &folder, &conversations];
    script("check_adapter.py", &files.map(OsString::from))?;

    say("what people ranked on the page, as TRL's RewardTrainer takes it in");
    let test = "twenty_rankings_by_keyboard_are_kept_painted_at_once_and_exported";
    run(&mut cargo(&["test", "--package", "scribe", "--test", "browser", "--locked", test]))?;
    let pairs = target().join("label/trl.jsonl");
    match pairs.is_file() {
        true => script("check_trl.py", &[pairs.into()])?,
        false => say("skipped: without Chromium nothing was ranked on the page"),
    }

    say("the figures of `scribe eval`, as lm-evaluation-harness finds them over HTTP");
    let key = "sk-scribe-for-the-check";
    let server = setup::Server::start(&scribe, model, key)?;
    let folder = target().join("lm-eval");
    let [url, key]: [OsString; 2] = [server.url().into(), key.into()];
    script("check_lm_eval.py", &[url, key, scribe.into(), model.into(), folder.into()])?;
    drop(server);

    script("make_tiny_models.py", &["fixtures".into()])?;
    script("make_training_golden.py", &["fixtures".into()])?;
    script("make_smollm2_golden.py", &[model.into(), "fixtures/smollm2-golden.json".into()])?;
    script("make_tokenizer_fixtures.py", &[model.into()])?;
    say("interop: what follows lists golden files that differ from the committed ones");
    run(&mut command("git", &["diff", "--stat", "--exit-code", "--", "fixtures"]))
}
