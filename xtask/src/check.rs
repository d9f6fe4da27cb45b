//! `cargo xtask test`: everything that must hold before a change lands.

use anyhow::Result;

use crate::command::{cargo, run, say, target};
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
    thread_pool("2")?;
    run(cargo(&["doc", "--workspace", "--no-deps", "--locked"]).env("RUSTDOCFLAGS", "-D warnings"))?;
    setup::page_types(&tools)?;
    setup::openai_client(&tools)?;
    say("everything holds");
    Ok(())
}

/// Model-checks the engine's thread pool with at most so many preemptions in an execution.
///
/// # Errors
///
/// Where an interleaving breaks a promise of the pool.
pub(crate) fn thread_pool(preemptions: &str) -> Result<()> {
    // Kernels are built but not run here, so they need no optimization.
    let arguments = ["test", "--package", "engine", "--lib", "--locked"];
    let unoptimized = ["--config", "profile.dev.package.engine.opt-level=0", "threads::model"];
    run(cargo(&[&arguments[..], &unoptimized[..]].concat())
        .env("CARGO_TARGET_DIR", target().join("loom"))
        .env("RUSTFLAGS", "--cfg loom")
        .env("LOOM_MAX_PREEMPTIONS", preemptions))
}
