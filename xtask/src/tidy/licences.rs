//! Every dependency comes under a licence of the list in deny.toml.

use anyhow::{Context as _, Result};
use serde_json::Value;

use super::Finding;
use crate::command;

/// Packages whose licence expression no allowed licence satisfies.
///
/// # Errors
///
/// Where deny.toml or the metadata cannot be read.
pub(super) fn check(metadata: &Value) -> Result<Vec<Finding>> {
    let allowed = allowed()?;
    let packages = metadata["packages"].as_array().context("metadata without packages")?;
    let mut findings = Vec::new();
    for package in packages {
        let name = package["name"].as_str().context("package without name")?;
        match package["license"].as_str() {
            Some(expression) if is_allowed(expression, &allowed) => {}
            Some(expression) => findings.push(Finding::new(
                name,
                format!("licence `{expression}` is not on the list in deny.toml"),
            )),
            // A licence file without an expression needs a person to read it.
            None => findings.push(Finding::new(name, "names no licence")),
        }
    }
    Ok(findings)
}

fn allowed() -> Result<Vec<String>> {
    let text = std::fs::read_to_string(command::root().join("deny.toml")).context("deny.toml")?;
    let (_, list) = text.split_once("allow = [").context("deny.toml has no list of licences")?;
    let (list, _) = list.split_once(']').context("the list of licences in deny.toml has no end")?;
    Ok(list.split('"').skip(1).step_by(2).map(str::to_owned).collect())
}

/// An SPDX expression of `OR`, `AND` and parentheses: `AND` binds tighter, `/` is an old spelling of `OR`.
fn is_allowed(expression: &str, allowed: &[String]) -> bool {
    let expression = expression.replace('/', " OR ");
    let mut words: Vec<String> = expression
        .replace('(', " ( ")
        .replace(')', " ) ")
        .split_whitespace()
        .map(str::to_owned)
        .collect();
    words.reverse();
    any(&mut words, allowed) && words.is_empty()
}

fn any(words: &mut Vec<String>, allowed: &[String]) -> bool {
    let mut holds = all(words, allowed);
    while words.last().is_some_and(|word| word == "OR") {
        words.pop();
        holds |= all(words, allowed);
    }
    holds
}

fn all(words: &mut Vec<String>, allowed: &[String]) -> bool {
    let mut holds = one(words, allowed);
    while words.last().is_some_and(|word| word == "AND") {
        words.pop();
        holds &= one(words, allowed);
    }
    holds
}

fn one(words: &mut Vec<String>, allowed: &[String]) -> bool {
    let Some(word) = words.pop() else { return false };
    if word == "(" {
        let holds = any(words, allowed);
        return words.pop().is_some_and(|word| word == ")") && holds;
    }
    let mut licence = word;
    if words.last().is_some_and(|word| word == "WITH") {
        words.pop();
        licence = format!("{licence} WITH {}", words.pop().unwrap_or_default());
    }
    allowed.contains(&licence)
}

#[cfg(test)]
mod tests {
    use super::is_allowed;

    #[test]
    fn expressions() {
        let allowed: Vec<String> =
            ["MIT", "Apache-2.0 WITH LLVM-exception", "ISC"].map(str::to_owned).into();
        for (expression, expected) in [
            ("MIT", true),
            ("GPL-3.0", false),
            ("MIT OR GPL-3.0", true),
            ("MIT/Apache-2.0", true),
            ("MIT AND GPL-3.0", false),
            ("ISC AND (GPL-3.0 OR MIT)", true),
            ("Apache-2.0 WITH LLVM-exception", true),
            ("Apache-2.0", false),
            ("", false),
            ("(MIT", false),
        ] {
            assert_eq!(is_allowed(expression, &allowed), expected, "{expression}");
        }
    }
}
