//! Which crate may use which: the map of ARCHITECTURE.md as a table.

use anyhow::{Context as _, Result};
use serde_json::Value;

use super::Finding;
use crate::command;

/// Each crate of the workspace with those of the workspace that it may use.
const WALLS: &[(&str, &[&str])] = &[
    ("artifacts", &[]),
    ("tokenizer", &["artifacts"]),
    ("corpus", &["artifacts", "tokenizer"]),
    ("engine", &[]),
    ("model", &["artifacts", "engine"]),
    ("comparisons", &["artifacts", "tokenizer"]),
    ("training", &["artifacts", "comparisons", "corpus", "engine", "model", "tokenizer"]),
    ("evals", &["artifacts", "comparisons", "corpus", "engine", "model", "tokenizer"]),
    ("chat", &["model", "tokenizer"]),
    (
        "scribe",
        &[
            "artifacts",
            "chat",
            "comparisons",
            "corpus",
            "engine",
            "evals",
            "model",
            "tokenizer",
            "training",
        ],
    ),
    ("xtask", &["artifacts", "engine"]),
];

/// Crates that alone may be used where they are named: HTTP, terminal and templates of pages stay in `scribe`.
const ONLY_IN: &[(&str, &str)] = &[
    ("axum", "scribe"),
    ("hyper", "scribe"),
    ("ureq", "scribe"),
    ("clap", "scribe"),
    ("ratatui", "scribe"),
    ("askama", "scribe"),
    ("minijinja", "tokenizer"),
    ("liblzma", "evals"),
];

/// What cargo knows of the workspace and all its dependencies.
///
/// # Errors
///
/// Where cargo fails or its answer cannot be read.
pub(super) fn metadata() -> Result<Value> {
    let mut cargo = command::cargo(&["metadata", "--format-version", "1", "--locked"]);
    serde_json::from_str(&command::output(&mut cargo)?).context("cargo metadata is not JSON")
}

/// Edges between crates that the map does not have.
///
/// # Errors
///
/// Where the metadata lack a field.
pub(super) fn check(metadata: &Value) -> Result<Vec<Finding>> {
    let packages = metadata["packages"].as_array().context("metadata without packages")?;
    let mut findings = Vec::new();
    for package in packages.iter().filter(|package| package["source"].is_null()) {
        let name = package["name"].as_str().context("package without name")?;
        let Some((_, allowed)) = WALLS.iter().find(|(known, _)| *known == name) else {
            let advice = "a crate that the map does not know: add it to WALLS and ARCHITECTURE.md";
            findings.push(Finding::new(format!("crates/{name}"), advice));
            continue;
        };
        for dependency in package["dependencies"].as_array().into_iter().flatten() {
            let used = dependency["name"].as_str().context("dependency without name")?;
            let ours = WALLS.iter().any(|(known, _)| *known == used);
            let test_only = dependency["kind"] == "dev";
            if ours && !allowed.contains(&used) && !test_only {
                let advice = format!("must not use {used}: see the map in ARCHITECTURE.md");
                findings.push(Finding::new(format!("crates/{name}"), advice));
            }
            let home = ONLY_IN.iter().find(|(outside, _)| *outside == used);
            if let Some((_, home)) = home.filter(|(_, home)| *home != name && !test_only) {
                let advice = format!("must not use {used}: only {home} does");
                findings.push(Finding::new(format!("crates/{name}"), advice));
            }
        }
    }
    Ok(findings)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    #[test]
    fn a_forbidden_edge_is_found() {
        let metadata = json!({"packages": [
            {"name": "model", "source": null, "dependencies": [
                {"name": "tokenizer", "kind": null},
                {"name": "engine", "kind": null},
            ]},
        ]});
        let findings = super::check(&metadata).unwrap();
        assert_eq!(findings.len(), 1);
        assert!(findings[0].advice.contains("tokenizer"));
    }

    #[test]
    fn http_outside_the_application_is_found() {
        let metadata = json!({"packages": [
            {"name": "chat", "source": null, "dependencies": [{"name": "axum", "kind": null}]},
        ]});
        assert_eq!(super::check(&metadata).unwrap().len(), 1);
    }
}
