//! Habits of what is not Rust: fixtures have a generator, nothing large or private is in the tree,
//! documents name what is there.

use super::{Finding, Tree};
use crate::command;

/// Most bytes that all fixtures may take together.
const FIXTURES_BYTES: u64 = 3 << 20;

/// Folders of somebody's own machine, put together here so that this file does not carry them.
const PRIVATE: [&str; 4] =
    [concat!("/ro", "ot/"), concat!("/ho", "me/"), concat!("/wo", "rk/"), concat!("/Us", "ers/")];

/// Broken habits in documents, scripts and fixtures.
pub(super) fn check(tree: &Tree) -> Vec<Finding> {
    let mut findings = fixtures(tree);
    findings.extend(names(tree, "SECURITY.md", |name| format!("fn {name}(")));
    findings.extend(names(tree, "docs/limits.md", |name| name.to_owned()));
    for file in &tree.files {
        for (index, line) in file.text.lines().enumerate() {
            if let Some(folder) = PRIVATE.iter().find(|folder| line.contains(**folder)) {
                let place = format!("{}:{}", file.path, index + 1);
                findings.push(Finding::new(place, format!("`{folder}` is a path of one machine")));
            }
        }
    }
    findings
}

/// Names in code font that a document gives and no source has; `--options` and paths aside.
fn names(tree: &Tree, document: &str, in_source: impl Fn(&str) -> String) -> Vec<Finding> {
    let text = tree.with_ending(document).next().map_or("", |file| &file.text);
    let is_name = |name: &&str| {
        name.len() > 8
            && name.contains('_')
            && name.chars().all(|c| c.is_alphanumeric() || c == '_')
    };
    let quoted = text.split('`').skip(1).step_by(2).filter(is_name);
    let absent = quoted.filter(|name| {
        let wanted = in_source(name);
        !tree.with_ending(".rs").any(|file| file.text.contains(&wanted))
    });
    absent.map(|name| Finding::new(document, format!("`{name}` is in no source"))).collect()
}

fn fixtures(tree: &Tree) -> Vec<Finding> {
    let mut findings = Vec::new();
    let readme = tree.with_ending("fixtures/README.md").next().map_or("", |file| &file.text);
    let folder = command::root().join("fixtures");
    let mut bytes = 0;
    for entry in std::fs::read_dir(&folder).into_iter().flatten().flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        bytes += size(&entry.path());
        if name != "README.md" && !readme.contains(&format!("`{name}`")) {
            let advice = "fixtures/README.md must name the line that makes it";
            findings.push(Finding::new(format!("fixtures/{name}"), advice));
        }
    }
    if bytes > FIXTURES_BYTES {
        let advice = format!("{bytes} bytes together, at most {FIXTURES_BYTES}");
        findings.push(Finding::new("fixtures", advice));
    }
    findings
}

fn size(path: &std::path::Path) -> u64 {
    if path.is_dir() {
        let entries = std::fs::read_dir(path).into_iter().flatten().flatten();
        return entries.map(|entry| size(&entry.path())).sum();
    }
    path.metadata().map_or(0, |metadata| metadata.len())
}
