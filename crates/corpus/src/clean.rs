//! Making texts even: one form of characters, line ends and blanks; or saying why one is dropped.
//!
//! In this order: Unicode's form NFC; `\r\n`, `\r`, U+0085, U+2028 and U+2029 become `\n`; spaces
//! that do not break (U+00A0, U+202F) become blanks; other control characters than the tab, and the
//! marks U+FEFF, are removed; blanks and tabs at the ends of lines are removed; of more than one
//! blank line in a row one is left; blank lines at both ends are removed. Blanks at the beginnings
//! of lines stay, as they mean something in code and verse. Cleaning what is clean changes nothing.

use serde::{Deserialize, Serialize};
use unicode_normalization::UnicodeNormalization as _;

use crate::DropReason;

/// Line ends in a row that are kept: the end of a line and one blank line.
const LINE_ENDS_MAX: usize = 2;
/// A text is dropped where more than one character of so many is U+FFFD, the mark of a text that was
/// read in the wrong encoding.
pub const CHARACTERS_PER_BROKEN_MIN: usize = 100;

/// What is required of a text.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct CleanOptions {
    /// The fewest characters of a text; shorter ones are dropped. Messages may be of any length.
    pub characters_min: usize,
}

impl Default for CleanOptions {
    fn default() -> Self {
        Self { characters_min: 32 }
    }
}

/// The clean form of a text.
#[must_use]
pub fn clean(text: &str) -> String {
    let mut clean = String::with_capacity(text.len());
    let mut blanks = String::new();
    let mut line_ends = 0;
    let mut characters = text.nfc().peekable();
    while let Some(c) = characters.next() {
        match c {
            '\r' if characters.peek() == Some(&'\n') => (),
            '\n' | '\r' | '\u{85}' | '\u{2028}' | '\u{2029}' => {
                blanks.clear();
                line_ends += 1;
            }
            ' ' | '\u{a0}' | '\u{202f}' => blanks.push(' '),
            '\t' => blanks.push('\t'),
            '\u{feff}' => (),
            c if c.is_control() => (),
            c => {
                if !clean.is_empty() {
                    clean.extend(std::iter::repeat_n('\n', line_ends.min(LINE_ENDS_MAX)));
                }
                line_ends = 0;
                clean.push_str(&blanks);
                blanks.clear();
                clean.push(c);
            }
        }
    }
    // What was removed may have kept a letter and its accent apart.
    if unicode_normalization::is_nfc(&clean) { clean } else { clean.nfc().collect() }
}

/// Why a clean text is dropped, if it is.
#[must_use]
pub fn judge(text: &str, options: &CleanOptions) -> Option<DropReason> {
    if text.is_empty() {
        return Some(DropReason::Empty);
    }
    let characters = text.chars().count();
    let broken = text.chars().filter(|&c| c == '\u{fffd}').count();
    if characters < options.characters_min {
        return Some(DropReason::TooShort);
    }
    (broken * CHARACTERS_PER_BROKEN_MIN > characters).then_some(DropReason::Broken)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn texts_become_even() {
        for (text, expected) in [
            ("", ""),
            (" \n\t\r\n", ""),
            ("a\r\nb\rc\n", "a\nb\nc"),
            ("a\u{2028}b\u{85}c", "a\nb\nc"),
            ("a  \t\n\n\n\n  b", "a\n\n  b"),
            ("a\u{a0}b\u{202f}!", "a b !"),
            ("\u{feff}a\u{0}b\u{1b}[0m\u{7f}\u{9b}", "ab[0m"),
            ("e\u{301}t\u{e9}", "\u{e9}t\u{e9}"),
            ("e\u{1}\u{301}", "\u{e9}"),
            ("\tindented\n    code", "\tindented\n    code"),
            ("one\n \n \ntwo", "one\n\ntwo"),
        ] {
            assert_eq!(clean(text), expected, "{text:?}");
        }
    }

    #[test]
    fn drops_have_their_reasons() {
        let options = CleanOptions { characters_min: 3 };
        for (text, expected) in [
            ("", Some(DropReason::Empty)),
            ("ab", Some(DropReason::TooShort)),
            ("éèà", None),
            ("abc\u{fffd}", Some(DropReason::Broken)),
        ] {
            assert_eq!(judge(text, &options), expected, "{text}");
        }
        let nearly_whole = format!("{}\u{fffd}", "x".repeat(99));
        assert_eq!(judge(&nearly_whole, &options), None);
    }

    proptest! {
        #[test]
        fn cleaning_twice_is_cleaning_once(text in "[ -~\u{a0}\n\r\t\u{0}\u{301}\u{feff}éa-c\u{ac00}\u{1100}\u{1161}]{0,60}") {
            let once = clean(&text);
            prop_assert_eq!(clean(&once), once.clone());
            prop_assert!(!once.contains("\n\n\n") && !once.contains(" \n") && !once.contains('\r'));
            prop_assert!(!once.starts_with('\n') && !once.ends_with(['\n', ' ', '\t']));
        }

        #[test]
        fn any_text_can_be_cleaned(text in any::<String>()) {
            let once = clean(&text);
            prop_assert_eq!(clean(&once), once);
        }
    }
}
