//! Which known mistakes of PPO are ruled out here: docs/ppo.md names the tests of each, and this runs
//! them.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use anyhow::{Context as _, Result, bail};

use crate::command::{cargo, root, say};

/// The page whose table names mistakes and tests.
const PAGE: &str = "docs/ppo.md";
/// The heading before that table.
const HEADING: &str = "## Known mistakes";
/// The numbers that it has to have; 29 to 31 are of moderation and of long conversations.
const NUMBERS: [std::ops::RangeInclusive<u32>; 2] = [1..=28, 32..=32];

/// A row of the table.
#[derive(Debug, PartialEq)]
struct Case {
    number: u32,
    mistake: String,
    tests: Vec<String>,
}

/// What became of tests, by the last part of their names.
type Outcomes = BTreeMap<String, bool>;

/// Runs the tests of every mistake and prints a line for each.
///
/// # Errors
///
/// Where the page lacks a number or a number lacks a test; where a test is not there or fails.
pub(super) fn check() -> Result<()> {
    let page = std::fs::read_to_string(root().join(PAGE)).with_context(|| PAGE.to_owned())?;
    let cases = cases(&page)?;
    let wanted: BTreeSet<&str> =
        cases.iter().flat_map(|case| case.tests.iter().map(String::as_str)).collect();
    let mut outcomes = Outcomes::new();
    for (package, names) in packages(&wanted)? {
        say(&format!("{} tests of {package}", names.len()));
        let mut tests = cargo(&["test", "--no-fail-fast", "--package", &package, "--"]);
        let ran = tests.args(names).output().context("cannot start cargo")?;
        read_outcomes(&String::from_utf8_lossy(&ran.stdout), &mut outcomes);
        if outcomes.is_empty() {
            bail!("{package} cannot be tested:\n{}", String::from_utf8_lossy(&ran.stderr));
        }
    }
    tell(&cases, &outcomes)
}

/// A line for each mistake.
fn tell(cases: &[Case], outcomes: &Outcomes) -> Result<()> {
    let mut failed = Vec::new();
    for Case { number, mistake, tests } in cases {
        let missing = tests.iter().find(|name| !outcomes.contains_key(*name));
        let broken = tests.iter().find(|name| outcomes.get(*name) == Some(&false));
        let verdict = match (missing, broken) {
            (Some(name), _) => format!("FAIL, there is no test {name}"),
            (None, Some(name)) => format!("FAIL, {name} fails"),
            (None, None) => format!("pass ({})", tests.len()),
        };
        say(&format!("{number:>3}  {verdict:<9} {mistake}"));
        if missing.or(broken).is_some() {
            failed.push(number.to_string());
        }
    }
    if !failed.is_empty() {
        bail!("not ruled out: {}", failed.join(", "));
    }
    say(&format!("all {} known mistakes are ruled out", cases.len()));
    Ok(())
}

/// The rows of the table, in the order of their numbers.
fn cases(page: &str) -> Result<Vec<Case>> {
    let (_, table) = page.split_once(HEADING).with_context(|| format!("no {HEADING} in {PAGE}"))?;
    let table = table.split("\n## ").next().unwrap_or_default();
    let cases: Vec<Case> = table.lines().filter_map(case).collect();
    let numbers: Vec<u32> = cases.iter().map(|case| case.number).collect();
    let expected: Vec<u32> = NUMBERS.into_iter().flatten().collect();
    if numbers != expected {
        bail!("{PAGE} has the mistakes {numbers:?}, but should have {expected:?}");
    }
    match cases.iter().find(|case| case.tests.is_empty()) {
        Some(case) => bail!("{PAGE}: name a test of {}, {}, in italics", case.number, case.mistake),
        None => Ok(cases),
    }
}

/// A line `| 1 | mistake | what rules it out, with *tests* |`.
fn case(line: &str) -> Option<Case> {
    let mut cells = line.strip_prefix('|')?.split('|').map(str::trim);
    let number = cells.next()?.parse().ok()?;
    let (mistake, here) = (cells.next()?.to_owned(), cells.next()?);
    let is_name = |part: &&str| {
        part.contains('_')
            && part.chars().all(|c| c.is_ascii_lowercase() || c == '_' || c.is_ascii_digit())
    };
    let italics = here.split('*').skip(1).step_by(2);
    Some(Case { number, mistake, tests: italics.filter(is_name).map(str::to_owned).collect() })
}

/// The tests by the crates that have them.
fn packages(wanted: &BTreeSet<&str>) -> Result<BTreeMap<String, Vec<String>>> {
    let mut packages: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for entry in std::fs::read_dir(root().join("crates"))? {
        let folder = entry?.path();
        let mut text = String::new();
        read_sources(&folder, &mut text)?;
        let is_here = |name: &&&str| text.contains(&format!("fn {name}("));
        let names: Vec<String> =
            wanted.iter().filter(is_here).map(|name| (*name).to_owned()).collect();
        if let (Some(package), false) = (folder.file_name(), names.is_empty()) {
            packages.insert(package.to_string_lossy().into_owned(), names);
        }
    }
    Ok(packages)
}

/// All Rust below a folder.
fn read_sources(folder: &Path, text: &mut String) -> Result<()> {
    for entry in std::fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() {
            read_sources(&path, text)?;
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            text.push_str(&std::fs::read_to_string(&path)?);
        }
    }
    Ok(())
}

/// Reads lines `test path::name ... ok`; of tests with one name all have to pass.
fn read_outcomes(printed: &str, outcomes: &mut Outcomes) {
    for line in printed.lines() {
        let Some((path, outcome)) =
            line.strip_prefix("test ").and_then(|line| line.split_once(" ... "))
        else {
            continue;
        };
        let path = path.trim_end_matches(" - should panic");
        let name = path.rsplit("::").next().unwrap_or(path);
        *outcomes.entry(name.to_owned()).or_insert(true) &= outcome.ends_with("ok");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_names_its_tests() {
        let line = "| 7 | a mistake | type: `Type`; *one_test*, *not a test*, and *test_2* of it |";
        let expected = Case {
            number: 7,
            mistake: "a mistake".to_owned(),
            tests: vec!["one_test".to_owned(), "test_2".to_owned()],
        };
        assert_eq!(case(line), Some(expected));
        assert_eq!(case("| # | mistake | here |"), None);
    }

    #[test]
    fn one_failure_of_a_name_is_its_failure() {
        let printed = "running 3 tests\ntest a::same ... ok\ntest b::same ... FAILED\n\
                       test c::other - should panic ... ok\ntest d::ignored ... ignored";
        let mut outcomes = Outcomes::new();
        read_outcomes(printed, &mut outcomes);
        let expected = [("ignored", false), ("other", true), ("same", false)];
        assert_eq!(outcomes, expected.map(|(name, ok)| (name.to_owned(), ok)).into());
        let case =
            |test: &str| Case { number: 1, mistake: String::new(), tests: vec![test.to_owned()] };
        assert!(tell(&[case("other")], &outcomes).is_ok());
        assert!(tell(&[case("same")], &outcomes).is_err());
        assert!(tell(&[case("missing")], &outcomes).is_err());
    }

    #[test]
    fn the_page_names_a_test_for_every_mistake() {
        let page = std::fs::read_to_string(root().join(PAGE)).unwrap();
        let cases = cases(&page).unwrap();
        let wanted: BTreeSet<&str> =
            cases.iter().flat_map(|case| case.tests.iter().map(String::as_str)).collect();
        let found: BTreeSet<String> = packages(&wanted).unwrap().into_values().flatten().collect();
        let missing: Vec<_> = wanted.iter().filter(|name| !found.contains(**name)).collect();
        assert!(missing.is_empty(), "there are no tests {missing:?}");
    }
}
