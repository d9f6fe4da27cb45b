//! Habits of the Rust files: headers, width, length, where `unsafe` may stand.

use super::{File, Finding, Tree};

/// Longest line, in characters, outside string tables.
const WIDTH: usize = 100;
/// Most lines of a file.
const LINES: usize = 800;

/// Marks of unfinished work, put together here so that this file does not carry them.
const UNFINISHED: [&str; 5] = [
    concat!("TO", "DO"),
    concat!("FIX", "ME"),
    concat!("XX", "X:"),
    concat!("todo", "!("),
    concat!("unimplemented", "!("),
];

/// Words that the glossary replaces, refused where they are whole identifiers.
const SYNONYMS: [&str; 8] = [
    "input_ids",
    "seq_len",
    "max_len",
    "logps",
    "log_probs",
    "dialog",
    "n_layer",
    "num_hidden_layers",
];
/// The edges that read and write the names of others.
const EDGES: [&str; 4] =
    ["crates/model/src/config/", "crates/model/src/weights.rs", "/web/api/", "xtask/"];

/// Broken habits in Rust files.
pub(super) fn check(tree: &Tree) -> Vec<Finding> {
    let mut findings = Vec::new();
    for file in tree.with_ending(".rs") {
        header(file, &mut findings);
        lines(file, &mut findings);
        unsafety(file, &mut findings);
        synonyms(file, &mut findings);
    }
    findings
}

fn header(file: &File, findings: &mut Vec<Finding>) {
    if !file.text.starts_with("//! ") {
        findings
            .push(Finding::new(&file.path, "begin with a `//! ` sentence: what this file knows"));
    }
    let lines = file.text.lines().count();
    if lines > LINES {
        let advice = format!("{lines} lines: a file of one idea stays under {LINES}");
        findings.push(Finding::new(&file.path, advice));
    }
}

fn lines(file: &File, findings: &mut Vec<Finding>) {
    for (index, line) in file.text.lines().enumerate() {
        let place = || format!("{}:{}", file.path, index + 1);
        if line.contains('\t') || line.ends_with(' ') {
            findings.push(Finding::new(place(), "no tab and no trailing space"));
        }
        let in_a_string =
            line.contains(['"', '\\']) || line.contains("http") || line.contains("=>");
        if line.chars().count() > WIDTH && !in_a_string && !line.trim_start().starts_with("//") {
            findings.push(Finding::new(place(), format!("longer than {WIDTH} characters")));
        }
        if UNFINISHED.iter().any(|mark| line.contains(mark)) {
            findings.push(Finding::new(
                place(),
                "unfinished: do it, or file it, and take the mark away",
            ));
        }
    }
}

fn unsafety(file: &File, findings: &mut Vec<Finding>) {
    if file.path.starts_with("crates/engine/") || file.path.starts_with("xtask/src/tidy/") {
        return;
    }
    for (index, line) in file.text.lines().enumerate() {
        let code = line.split("//").next().unwrap_or_default();
        let names_it = code.contains("unsafe ") || code.contains("cudarc");
        if names_it && !code.contains("unsafe_code") && !code.contains('"') {
            let place = format!("{}:{}", file.path, index + 1);
            findings
                .push(Finding::new(place, "unsafe and device code live in crates/engine alone"));
        }
    }
}

fn synonyms(file: &File, findings: &mut Vec<Finding>) {
    if EDGES.iter().any(|edge| file.path.contains(edge)) {
        return;
    }
    for (index, line) in file.text.lines().enumerate() {
        let code = line.split("//").next().unwrap_or_default();
        if code.contains('"') {
            continue;
        }
        let is_part = |c: char| !(c.is_alphanumeric() || c == '_');
        for word in code.split(is_part).filter(|word| SYNONYMS.contains(word)) {
            let place = format!("{}:{}", file.path, index + 1);
            findings.push(Finding::new(place, format!("`{word}`: docs/glossary.md has the term")));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::{File, Tree};

    fn findings(path: &str, text: &str) -> usize {
        let tree = Tree { files: vec![File { path: path.to_owned(), text: text.to_owned() }] };
        super::check(&tree).len()
    }

    #[test]
    fn each_habit_is_seen() {
        assert_eq!(findings("crates/chat/src/a.rs", "//! A sentence.\nfn f() {}\n"), 0);
        assert_eq!(findings("crates/chat/src/a.rs", "fn f() {}\n"), 1);
        assert_eq!(findings("crates/chat/src/a.rs", "//! A.\nfn f() {} \n"), 1);
        assert_eq!(findings("crates/chat/src/a.rs", "//! A.\nunsafe fn f() {}\n"), 1);
        assert_eq!(findings("crates/engine/src/a.rs", "//! A.\nunsafe fn f() {}\n"), 0);
        assert_eq!(findings("crates/chat/src/a.rs", "//! A.\nlet seq_len = 1;\n"), 1);
        let mark = concat!("//! A.\n// TO", "DO later\n");
        assert_eq!(findings("crates/chat/src/a.rs", mark), 1);
        assert_eq!(findings("crates/chat/src/a.rs", &format!("//! A.\n{}", "x\n".repeat(800))), 1);
    }
}
