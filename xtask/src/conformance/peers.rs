//! Which other programs compute what the papers say, as a table.

use anyhow::Result;

use crate::command::{command, root, run, say, target};
use crate::setup;

/// What the script needs; the peers' functions are taken out of their wheels.
const PACKAGES: [&str; 2] = ["torch", "numpy"];

/// The peers with the versions that the script knows: of TRL one whose PPO is made of functions, and a
/// later one whose PPO is lines of a loop.
const PEERS: [(&str, &str); 5] = [
    ("trl", "0.11.4"),
    ("trl", "0.29.0"),
    ("torchtune", "0.6.1"),
    ("verl", "0.9.1"),
    ("openrlhf", "0.11.2"),
];

/// Fetches the peers below `target/`, once, and holds their functions against `fixtures/ppo`.
///
/// # Errors
///
/// Where Python or a package cannot be had, or a peer's function cannot be called.
pub(crate) fn compare() -> Result<()> {
    let python = setup::python_environment("conformance", &PACKAGES)?;
    let peers = target().join("conformance-peers");
    for (name, version) in PEERS {
        let folder = peers.join(format!("{name}-{version}"));
        if folder.is_dir() {
            continue;
        }
        say(&format!("set-up: the files of {name} {version}"));
        // Unpacked elsewhere first, so that a folder that is there is whole.
        let partial = peers.join("partial");
        let options = ["-m", "pip", "install", "--quiet", "--no-deps", "--no-compile", "--upgrade"];
        let wanted = format!("{name}=={version}");
        run(command(&python, &options).arg("--target").arg(&partial).arg(wanted))?;
        std::fs::rename(&partial, &folder)?;
    }
    let script = root().join("xtask/python/check_ppo_conformance.py");
    run(command(&python, &[]).arg(script).arg(root().join("fixtures/ppo")).arg(&peers))
}
