//! Where a text is cut into words before merging: the split rules of four tokenizer families.
//!
//! Every rule is published as a regular expression. Here each is written out by hand, one branch
//! per alternative and in the same order, so that it runs in linear time and needs no regex engine:
//!
//! | rule | expression |
//! |---|---|
//! | GPT-2 | `'(s\|t\|re\|ve\|m\|ll\|d)\| ?\p{L}+\| ?\p{N}+\| ?[^\s\p{L}\p{N}]+\|\s+(?!\S)\|\s+` |
//! | SmolLM | every `\p{N}` alone, then GPT-2 on what lies between |
//! | cl100k, Llama-3, Qwen-2 | `(?i:'s\|'t\|'re\|'ve\|'m\|'ll\|'d)\|[^\r\n\p{L}\p{N}]?\p{L}+\|\p{N}{1,3}\| ?[^\s\p{L}\p{N}]+[\r\n]*\|\s*[\r\n]+\|\s+(?!\S)\|\s+` |
//!
//! Qwen-2 has `\p{N}` for `\p{N}{1,3}`. The expression that tiktoken uses for cl100k has one more
//! alternative before `\s*[\r\n]+`: `\s+$`, so that white space at the end of a text is one word.
//!
//! `\s` is the standard library's White_Space. `\p{L}` and `\p{N}` come from the crate
//! `unicode-general-category`: the standard library's `is_alphabetic` is another, wider set.

use unicode_general_category::{GeneralCategory, get_general_category};

/// A rule that cuts a text into words; merging never crosses a cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum SplitRule {
    /// The rule of GPT-2 and RoBERTa.
    Gpt2,
    /// The rule of SmolLM and StarCoder: each digit alone, then the rule of GPT-2.
    SmolLm,
    /// The rule of GPT-3.5 and GPT-4 as tiktoken has it.
    Cl100k,
    /// The rule of Llama 3.
    Llama3,
    /// The rule of Qwen 2, 2.5 and 3.
    Qwen2,
}

impl SplitRule {
    /// All rules.
    pub const ALL: [Self; 5] = [Self::Gpt2, Self::SmolLm, Self::Cl100k, Self::Llama3, Self::Qwen2];

    /// What people call it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Gpt2 => "gpt2",
            Self::SmolLm => "smollm",
            Self::Cl100k => "cl100k",
            Self::Llama3 => "llama3",
            Self::Qwen2 => "qwen2",
        }
    }

    /// The rule of that name.
    #[must_use]
    pub fn by_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|rule| rule.name() == name)
    }

    /// The words of `text`, in order; joined, they are `text`.
    #[must_use]
    pub fn words(self, text: &str) -> Words<'_> {
        Words { rule: self, rest: text }
    }
}

/// Where every rule cuts, whatever stands around: behind a letter, before what is none. In no rule
/// does a word go on with anything else after a letter, and only white space at the end of a text
/// looks at what follows it.
impl SplitRule {
    /// The first such place in `text`, in bytes.
    pub(crate) fn first_cut(text: &str) -> Option<usize> {
        let mut letter = false;
        let cut = text.char_indices().find(|&(_, c)| {
            let before = std::mem::replace(&mut letter, class(c) == Class::Letter);
            before && !letter
        });
        cut.map(|(place, _)| place)
    }

    /// The last such place in `text`, in bytes.
    pub(crate) fn last_cut(text: &str) -> Option<usize> {
        // The end of the text may be in the middle of a word.
        let mut letter = true;
        let cut = text.char_indices().rev().find(|&(_, c)| {
            let after = std::mem::replace(&mut letter, class(c) == Class::Letter);
            letter && !after
        });
        cut.map(|(place, c)| place + c.len_utf8())
    }
}

/// The iterator that [`SplitRule::words`] returns.
#[derive(Clone, Debug)]
pub struct Words<'text> {
    rule: SplitRule,
    rest: &'text str,
}

impl<'text> Iterator for Words<'text> {
    type Item = &'text str;

    fn next(&mut self) -> Option<&'text str> {
        let first = self.rest.chars().next()?;
        let length = match self.rule {
            SplitRule::Gpt2 => gpt2_word(self.rest, first, Digits::Joined),
            SplitRule::SmolLm => gpt2_word(self.rest, first, Digits::Single),
            SplitRule::Cl100k => cl100k_word(self.rest, first, 3, TrailingSpace::OneWord),
            SplitRule::Llama3 => cl100k_word(self.rest, first, 3, TrailingSpace::AfterNewline),
            SplitRule::Qwen2 => cl100k_word(self.rest, first, 1, TrailingSpace::AfterNewline),
        };
        debug_assert!(length > 0, "no rule matches the empty word");
        let (word, rest) = self.rest.split_at(length);
        self.rest = rest;
        Some(word)
    }
}

/// Whether the rule of GPT-2 runs alone, or on the text between single digits.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Digits {
    Joined,
    Single,
}

/// What becomes of white space at the end of a text that holds a line end.
#[derive(Clone, Copy, PartialEq, Eq)]
enum TrailingSpace {
    OneWord,
    AfterNewline,
}

/// What the rules ask of a character.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Class {
    Letter,
    Number,
    Space,
    Other,
}

/// Looks up the class of a character.
fn class(c: char) -> Class {
    use GeneralCategory as G;
    match c {
        'a'..='z' | 'A'..='Z' => Class::Letter,
        '0'..='9' => Class::Number,
        '\t'..='\r' | ' ' => Class::Space,
        '\0'..='\x7f' => Class::Other,
        _ if c.is_whitespace() => Class::Space,
        _ => match get_general_category(c) {
            G::UppercaseLetter
            | G::LowercaseLetter
            | G::TitlecaseLetter
            | G::ModifierLetter
            | G::OtherLetter => Class::Letter,
            G::DecimalNumber | G::LetterNumber | G::OtherNumber => Class::Number,
            _ => Class::Other,
        },
    }
}

/// The bytes of the longest beginning of `text` whose characters all satisfy `holds`.
fn run(text: &str, holds: impl Fn(char) -> bool) -> usize {
    text.find(|c| !holds(c)).unwrap_or(text.len())
}

/// The bytes of the longest beginning of `text` that is all of one class.
fn class_run(text: &str, wanted: Class) -> usize {
    run(text, |c| class(c) == wanted)
}

/// The length of the first word by the rule of GPT-2.
fn gpt2_word(text: &str, first: char, digits: Digits) -> usize {
    if let Some(length) = contraction(text, str::eq) {
        return length;
    }
    // ` ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+`: an optional space, then a run of one class.
    let space = usize::from(first == ' ');
    let body = &text[space..];
    if let Some(next) = body.chars().next() {
        match (class(next), digits) {
            (Class::Space, _) => {}
            (Class::Number, Digits::Single) if space == 0 => return next.len_utf8(),
            // The digit has been cut off, so the space before it ends its piece of text.
            (Class::Number, Digits::Single) => return space,
            (kind, _) => return space + class_run(body, kind),
        }
    }
    let spaces = class_run(text, Class::Space);
    let at_end = match (text[spaces..].chars().next(), digits) {
        (None, _) => true,
        (Some(next), Digits::Single) => class(next) == Class::Number,
        (Some(_), Digits::Joined) => false,
    };
    space_word(&text[..spaces], at_end)
}

/// The length of the first word by the rule of cl100k and its descendants.
fn cl100k_word(text: &str, first: char, digits: usize, trailing: TrailingSpace) -> usize {
    if let Some(length) = contraction(text, equal_ignoring_case) {
        return length;
    }
    // `[^\r\n\p{L}\p{N}]?\p{L}+`
    let kind = class(first);
    let newline = matches!(first, '\r' | '\n');
    let skip = if kind == Class::Letter || kind == Class::Number || newline {
        0
    } else {
        first.len_utf8()
    };
    let letters = class_run(&text[skip..], Class::Letter);
    if letters > 0 {
        return skip + letters;
    }
    // `\p{N}{1,3}`
    if kind == Class::Number {
        return text
            .chars()
            .take(digits)
            .take_while(|&c| class(c) == Class::Number)
            .fold(0, |length, c| length + c.len_utf8());
    }
    // ` ?[^\s\p{L}\p{N}]+[\r\n]*`
    let space = usize::from(first == ' ');
    let others = class_run(&text[space..], Class::Other);
    if others > 0 {
        let end = space + others;
        return end + run(&text[end..], |c| matches!(c, '\r' | '\n'));
    }
    let spaces = class_run(text, Class::Space);
    let at_end = spaces == text.len();
    if at_end && trailing == TrailingSpace::OneWord {
        return spaces;
    }
    // `\s*[\r\n]+`: as many as possible, so up to the last line end of the run.
    if let Some(last) = text[..spaces].rfind(['\r', '\n']) {
        return last + 1;
    }
    space_word(&text[..spaces], at_end)
}

/// `\s+(?!\S)|\s+` on a whole run of white space: all of it at the end of the text, else all but
/// its last character, which goes with the next word; a single one is a word of its own.
fn space_word(spaces: &str, at_end: bool) -> usize {
    let last = spaces.chars().next_back().map_or(0, char::len_utf8);
    if at_end || spaces.len() == last { spaces.len() } else { spaces.len() - last }
}

/// The length of an English contraction (`'s`, `'ll` …) at the start of `text`.
fn contraction(text: &str, equal: impl Fn(&str, &str) -> bool) -> Option<usize> {
    let rest = text.strip_prefix('\'')?;
    ["s", "t", "re", "ve", "m", "ll", "d"].into_iter().find_map(|ending| {
        let length: usize = rest.chars().take(ending.len()).map(char::len_utf8).sum();
        equal(&rest[..length], ending).then_some(1 + length)
    })
}

/// Whether `text` is `ending` (lower case ASCII) by simple case folding, in which U+017F, the long
/// s, is an s. No other character folds to a letter of a contraction.
fn equal_ignoring_case(text: &str, ending: &str) -> bool {
    text.chars()
        .map(|c| if c == '\u{17f}' { 's' } else { c.to_ascii_lowercase() })
        .eq(ending.chars())
}

#[cfg(test)]
mod tests {
    use super::SplitRule::{self, Cl100k, Gpt2, Llama3, Qwen2, SmolLm};

    fn check(rule: SplitRule, text: &str, expected: &[&str]) {
        assert_eq!(rule.words(text).collect::<Vec<_>>(), expected, "{rule:?} on {text:?}");
    }

    #[test]
    fn words_of_each_rule() {
        check(Gpt2, "I'm 42  years", &["I", "'m", " 42", " ", " years"]);
        check(Gpt2, "a\n\nb ", &["a", "\n", "\n", "b", " "]);
        check(SmolLm, "x =  42 y", &["x", " =", "  ", "4", "2", " y"]);
        check(SmolLm, " 7", &[" ", "7"]);
        check(Llama3, "I'M 12345!\n\n ok", &["I", "'M", " ", "123", "45", "!\n\n", " ok"]);
        check(Qwen2, "12 ab", &["1", "2", " ab"]);
        check(Llama3, "a \n  ", &["a", " \n", "  "]);
        check(Cl100k, "a \n  ", &["a", " \n  "]);
        check(Llama3, "\tif x", &["\tif", " x"]);
    }

    #[test]
    fn a_cut_behind_a_letter_changes_no_word() {
        let text = "I'm 42  years'ſ!\r\n\n x²,'ll \t\u{301}e\u{301}  日本 12ab \n é'T  ";
        for rule in [Gpt2, SmolLm, Cl100k, Llama3, Qwen2] {
            let whole: Vec<&str> = rule.words(text).collect();
            let (mut from_start, mut cuts) = (0, Vec::new());
            while let Some(cut) = SplitRule::first_cut(&text[from_start..]) {
                from_start += cut;
                cuts.push(from_start);
                let (before, after) = text.split_at(from_start);
                let parts: Vec<&str> = rule.words(before).chain(rule.words(after)).collect();
                assert_eq!(parts, whole, "{rule:?}, cut after {before:?}");
            }
            assert_eq!(cuts.len(), 11);
            let mut rest = text;
            while let Some(cut) = SplitRule::last_cut(rest) {
                assert_eq!(cuts.pop(), Some(cut));
                // The place itself is found no more once the text ends there.
                rest = &rest[..cut];
            }
            assert!(cuts.is_empty());
        }
    }

    #[test]
    fn the_long_s_is_an_s_only_where_case_is_ignored() {
        check(Llama3, "'\u{17f}x", &["'\u{17f}", "x"]);
        check(Gpt2, "'\u{17f}x", &["'", "\u{17f}x"]);
    }
}
