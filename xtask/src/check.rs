//! `cargo xtask test`: everything that must hold before a change lands.

use anyhow::Result;

use crate::command::{cargo, run, say};
use crate::setup;

/// Sets up what the tests need and checks everything.
///
/// # Errors
///
/// At the first check that fails.
pub(crate) fn everything() -> Result<()> {
    let tools = setup::prepare()?;
    run(&mut cargo(&["fmt", "--all", "--check"]))?;
    run(&mut cargo(&[
        "clippy",
        "--workspace",
        "--all-targets",
        "--locked",
        "--",
        "-D",
        "warnings",
    ]))?;
    run(cargo(&["test", "--workspace", "--locked"]).envs(tools.environment()))?;
    run(cargo(&["doc", "--workspace", "--no-deps", "--locked"]).env("RUSTDOCFLAGS", "-D warnings"))?;
    setup::page_types(&tools)?;
    setup::openai_client(&tools)?;
    say("everything holds");
    Ok(())
}
