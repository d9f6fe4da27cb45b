//! `cargo xtask interop`: the same numbers as PyTorch and transformers, and files that others read.

use anyhow::Result;

use crate::command::{command, run, say};
use crate::setup;

const PACKAGES: [&str; 5] = ["torch", "transformers", "gguf", "safetensors", "numpy"];

/// Makes the golden files anew with PyTorch and transformers, and shows whether they changed.
///
/// # Errors
///
/// Where Python or a package cannot be had, a script fails, or a golden file differs from the committed one.
pub(crate) fn run_all() -> Result<()> {
    let tools = setup::prepare()?;
    let python = setup::python_environment("interop", &PACKAGES)?;
    let scripts = crate::command::root().join("xtask/python");
    for script in ["make_tiny_models.py", "make_smollm2_golden.py", "make_render_golden.py"] {
        let path = scripts.join(script);
        if path.is_file() {
            run(command(&python, &[]).arg(path).envs(tools.environment()))?;
        }
    }
    say("interop: what follows lists golden files that differ from the committed ones");
    run(&mut command("git", &["diff", "--stat", "--exit-code", "--", "fixtures"]))
}
