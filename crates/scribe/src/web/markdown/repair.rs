//! The open end of an answer, made presentable: what is half written neither flashes nor leaks.
//!
//! Three things are done to the end of the text, never to what comes before it:
//!
//! 1. A line that so far holds nothing but markers (`-`, `##`, `1.`, a fence, the head of a
//!    table) is held back, because the next character decides what it is.
//! 2. Emphasis and code that have begun are closed, so that they look as they will.
//! 3. A link that is not complete shows its text and leads nowhere.
//!
//! A wrong guess here lasts until the next token; the finished block is rendered as it stands.

use std::borrow::Cow;

use pulldown_cmark::{CodeBlockKind, Event, Tag, TagEnd};

use super::parser;

/// The text to show for the unfinished end `tail` of an answer.
pub(super) fn presentable(tail: &str) -> Cow<'_, str> {
    let line_start = tail.rfind('\n').map_or(0, |end| end + 1);
    let scope = match open_end(tail) {
        End::Code { start } => return Cow::Borrowed(code(tail, start, line_start)),
        End::Inline { start } => start,
    };
    let shown = hold_back_table_head(hold_back_markers(tail, line_start));
    if shown.len() <= scope {
        return Cow::Borrowed(shown);
    }
    match close_inline(&shown[scope..]) {
        Some(inline) => Cow::Owned(format!("{}{inline}", &shown[..scope])),
        None => Cow::Borrowed(shown),
    }
}

/// What the text ends in.
enum End {
    /// A fenced code block that is still open and begins at `start`.
    Code { start: usize },
    /// Running text; its paragraph, heading, cell or item begins at `start`.
    Inline { start: usize },
}

fn open_end(tail: &str) -> End {
    let mut end = End::Inline { start: 0 };
    for (event, range) in parser(tail).into_offset_iter() {
        match event {
            Event::Start(Tag::CodeBlock(CodeBlockKind::Fenced(_))) => {
                end = if is_open_fence(&tail[range.clone()], range.end == tail.len()) {
                    End::Code { start: range.start }
                } else {
                    End::Inline { start: range.end }
                };
            }
            Event::Start(Tag::CodeBlock(CodeBlockKind::Indented) | Tag::HtmlBlock) => {
                end = End::Inline { start: range.end };
            }
            Event::Start(Tag::Paragraph | Tag::Heading { .. } | Tag::Item) => {
                end = End::Inline { start: range.start };
            }
            // Cells that a row lacks are reported as empty ones.
            Event::Start(Tag::TableCell) if !range.is_empty() => {
                end = End::Inline { start: range.start };
            }
            Event::End(TagEnd::TableRow) if tail.ends_with('\n') => {
                end = End::Inline { start: range.end };
            }
            _ => {}
        }
    }
    end
}

/// Whether a fenced block that reaches the end of the text lacks its closing fence.
fn is_open_fence(block: &str, reaches_end: bool) -> bool {
    let fence = block.chars().next().unwrap_or('`');
    let length = block.chars().take_while(|&c| c == fence).count();
    let last = block.lines().skip(1).last().unwrap_or_default();
    let last = last.trim_matches(|c: char| c.is_whitespace() || c == '>');
    let closed = last.len() >= length && last.chars().all(|c| c == fence);
    reaches_end && !closed
}

/// Open code: hides the first line until its language is complete, and a closing fence that has
/// only begun.
fn code(tail: &str, start: usize, line_start: usize) -> &str {
    if line_start <= start {
        return &tail[..line_start];
    }
    let last = tail[line_start..].trim_matches(|c: char| c.is_whitespace() || c == '>');
    let begun = !last.is_empty() && last.len() < 3 && last.chars().all(|c| c == '`' || c == '~');
    if begun { &tail[..line_start] } else { tail }
}

/// Drops the last line if it consists of markers only.
fn hold_back_markers(tail: &str, line_start: usize) -> &str {
    let line = &tail[line_start..];
    let content = without_containers(line);
    let digits = content.trim_start_matches(|c: char| c.is_ascii_digit());
    let number = digits.len() < content.len() && matches!(digits, "" | "." | ")");
    let markers = content.chars().all(|c| "-*+_=~`#|>!:[ \t".contains(c));
    let task = matches!(content.trim_end(), "[ ]" | "[x" | "[X" | "[x]" | "[X]");
    let fence = content.starts_with("```") || content.starts_with("~~~");
    if !line.is_empty() && (number || markers || task || fence) {
        &tail[..line_start]
    } else {
        tail
    }
}

/// The line after quote marks, bullets and numbers.
fn without_containers(line: &str) -> &str {
    let mut rest = line.trim_start();
    loop {
        let digits = rest.trim_start_matches(|c: char| c.is_ascii_digit());
        let marker = if digits.len() < rest.len() { digits } else { rest };
        let bullets: &[&str] =
            if digits.len() < rest.len() { &[". ", ") "] } else { &["- ", "* ", "+ ", ">"] };
        let Some(inner) = bullets.iter().find_map(|bullet| marker.strip_prefix(bullet)) else {
            return rest;
        };
        rest = inner.trim_start();
    }
}

/// Drops the first line of a table until the second one proves that it is a table.
fn hold_back_table_head(tail: &str) -> &str {
    let mut lines = tail.lines().rev();
    let last = lines.next().unwrap_or_default();
    let before = lines.next().unwrap_or_default();
    let is_row = |line: &str| line.trim_start().starts_with('|');
    let is_rule = |line: &str| is_row(line) && line.chars().all(|c| "|:- \t".contains(c));
    let head = if is_row(last) && !is_row(before) {
        last
    } else if is_rule(last) && is_row(before) && !tail.ends_with('\n') && !ends_in_table(tail) {
        before
    } else {
        return tail;
    };
    let end = tail.rfind(head).unwrap_or(tail.len());
    &tail[..end]
}

fn ends_in_table(tail: &str) -> bool {
    parser(tail).into_offset_iter().any(|(event, range)| {
        matches!(event, Event::Start(Tag::Table(_))) && range.end == tail.len()
    })
}

/// One run of `*`, `_` or `~` that waits for its end.
struct Opener {
    mark: char,
    count: usize,
    /// The byte behind the run.
    end: usize,
}

/// Closes what is open at the end of running text; `None` if nothing is.
fn close_inline(text: &str) -> Option<String> {
    let mut openers: Vec<Opener> = Vec::new();
    let mut bracket: Option<usize> = None;
    let mut at = 0;
    while let Some(c) = text[at..].chars().next() {
        let next = at + c.len_utf8();
        match c {
            '\\' if next == text.len() => return Some(closed(&text[..at], &openers, "")),
            // The `!` of a picture; after a word it is an exclamation mark.
            '!' if next == text.len() && text[..at].ends_with([' ', '\n']) => {
                return Some(closed(&text[..at], &openers, ""));
            }
            '\\' => at = next + text[next..].chars().next().map_or(0, char::len_utf8),
            '`' => {
                let run = run_length(&text[at..], '`');
                let inside = at + run;
                match closing_code(&text[inside..], run) {
                    Some(after) => at = inside + after,
                    None => return Some(open_code(text, at, run, &openers)),
                }
            }
            '[' => {
                bracket = Some(at);
                at = next;
            }
            ']' => {
                let Some(start) = bracket.take() else {
                    at = next;
                    continue;
                };
                match link_end(&text[next..]) {
                    LinkEnd::None => at = next,
                    LinkEnd::Complete(length) => at = next + length,
                    LinkEnd::Incomplete => {
                        let text = without_bracket(&text[..at], start, &mut openers);
                        return Some(closed(&text, &openers, ""));
                    }
                }
            }
            '*' | '_' | '~' => {
                let run = run_length(&text[at..], c);
                delimiter(text, at, c, run, &mut openers);
                at += run;
            }
            _ => at = next,
        }
    }
    if openers.is_empty() && bracket.is_none() {
        return None;
    }
    let text = match bracket {
        Some(start) => without_bracket(text, start, &mut openers),
        None => text.to_owned(),
    };
    Some(closed(&text, &openers, ""))
}

fn run_length(text: &str, mark: char) -> usize {
    text.chars().take_while(|&c| c == mark).count()
}

/// Bytes up to and including the closing run of exactly `run` backticks.
fn closing_code(text: &str, run: usize) -> Option<usize> {
    let mut at = 0;
    while let Some(found) = text[at..].find('`') {
        let start = at + found;
        let length = run_length(&text[start..], '`');
        if length == run {
            return Some(start + length);
        }
        at = start + length;
    }
    None
}

/// Closes a code span that began at `at` with `run` backticks.
fn open_code(text: &str, at: usize, run: usize, openers: &[Opener]) -> String {
    // A closing run that has only begun must not show as part of the code.
    let content = text[at + run..].trim_end_matches('`').trim_end();
    if content.is_empty() {
        return closed(&text[..at], openers, "");
    }
    closed(&text[..at + run + content.len()], openers, &"`".repeat(run))
}

/// What follows the `]` of a possible link.
enum LinkEnd {
    /// Nothing that makes it a link.
    None,
    /// A destination of so many bytes.
    Complete(usize),
    /// The text ends before it is decided.
    Incomplete,
}

fn link_end(rest: &str) -> LinkEnd {
    if rest.is_empty() {
        return LinkEnd::Incomplete;
    }
    if !rest.starts_with('(') {
        return LinkEnd::None;
    }
    let mut depth = 0_usize;
    for (at, c) in rest.char_indices() {
        match c {
            '(' => depth += 1,
            ')' if depth == 1 => return LinkEnd::Complete(at + 1),
            ')' => depth -= 1,
            '\n' => return LinkEnd::None,
            _ => {}
        }
    }
    LinkEnd::Incomplete
}

/// The text without the `[` or `![` at `start`.
fn without_bracket(text: &str, start: usize, openers: &mut [Opener]) -> String {
    let before = text[..start].strip_suffix('!').unwrap_or(&text[..start]);
    for opener in openers.iter_mut().filter(|opener| opener.end > start) {
        opener.end -= start + 1 - before.len();
    }
    format!("{before}{}", &text[start + 1..])
}

/// Opens or closes emphasis, by the flanking rules of `CommonMark` as far as they matter here.
fn delimiter(text: &str, at: usize, mark: char, run: usize, openers: &mut Vec<Opener>) {
    let before = text[..at].chars().next_back();
    let after = text[at + run..].chars().next();
    let blank = |c: Option<char>| c.is_none_or(char::is_whitespace);
    let word = |c: Option<char>| c.is_some_and(char::is_alphanumeric);
    let mut left = run;
    if !blank(before) {
        while let Some(opener) = openers.iter_mut().rposition(|o| o.mark == mark && left > 0) {
            openers.truncate(opener + 1);
            let taken = openers[opener].count.min(left);
            openers[opener].count -= taken;
            left -= taken;
            if openers[opener].count == 0 {
                openers.pop();
            }
        }
    }
    let inside_word = word(before) && (mark == '_' || run == 1);
    let single_tilde = mark == '~' && run == 1;
    if left > 0 && !inside_word && !single_tilde && (!blank(after) || at + run == text.len()) {
        openers.push(Opener { mark, count: left, end: at + run });
    }
}

/// `text` with `code_end` and the ends of all open emphasis; an opener with nothing behind it
/// goes away.
fn closed(text: &str, openers: &[Opener], code_end: &str) -> String {
    let mut result = text.to_owned();
    result.push_str(code_end);
    for opener in openers.iter().rev() {
        result.truncate(result.trim_end().len());
        if result.len() <= opener.end {
            result.truncate(opener.end.saturating_sub(opener.count).min(result.len()));
        } else {
            result.extend(std::iter::repeat_n(opener.mark, opener.count));
        }
    }
    result
}
