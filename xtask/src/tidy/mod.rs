//! Tidy tests: the walls between crates and the habits of the tree that no compiler checks.

mod licences;
mod prose;
mod source;
mod walls;

use anyhow::{Result, bail};

use crate::command::{self, say};

/// One broken rule: where, and what to do.
#[derive(Debug)]
pub(crate) struct Finding {
    place: String,
    advice: String,
}

impl Finding {
    fn new(place: impl Into<String>, advice: impl Into<String>) -> Self {
        Self { place: place.into(), advice: advice.into() }
    }
}

/// Checks all rules and lists what is broken.
///
/// # Errors
///
/// Where a rule is broken, or the tree cannot be read.
pub(crate) fn run() -> Result<()> {
    let findings = check()?;
    for finding in &findings {
        say(&format!("{}: {}", finding.place, finding.advice));
    }
    if !findings.is_empty() {
        bail!("{} places break a rule of the tree", findings.len());
    }
    say("tidy: every rule of the tree holds");
    Ok(())
}

fn check() -> Result<Vec<Finding>> {
    let tree = Tree::read()?;
    let metadata = walls::metadata()?;
    let mut findings = walls::check(&metadata)?;
    findings.extend(licences::check(&metadata)?);
    findings.extend(source::check(&tree));
    findings.extend(prose::check(&tree));
    Ok(findings)
}

/// The text files of the tree that git tracks or would track.
struct Tree {
    files: Vec<File>,
}

struct File {
    /// From the root of the workspace, with forward slashes.
    path: String,
    text: String,
}

impl Tree {
    fn read() -> Result<Self> {
        let root = command::root();
        let list = command::output(&mut command::command(
            "git",
            &["ls-files", "--cached", "--others", "--exclude-standard"],
        ))?;
        let files = list.lines().filter_map(|path| {
            let text = std::fs::read_to_string(root.join(path)).ok()?;
            Some(File { path: path.to_owned(), text })
        });
        Ok(Self { files: files.collect() })
    }

    fn with_ending<'a>(&'a self, ending: &'a str) -> impl Iterator<Item = &'a File> {
        self.files.iter().filter(move |file| file.path.ends_with(ending))
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_tree_keeps_its_rules() {
        let findings = super::check().unwrap();
        let list: Vec<String> =
            findings.iter().map(|f| format!("{}: {}", f.place, f.advice)).collect();
        assert!(list.is_empty(), "{} findings:\n{}", list.len(), list.join("\n"));
    }
}
