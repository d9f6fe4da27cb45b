//! Text from a file in an error message: short, and without a say over the terminal.

/// The longest excerpt of a file in an error message.
const CHARS_MAX: usize = 300;
/// The most lines of one.
const LINES_MAX: usize = 12;

/// Text that may come from a file, fit for an error message: control and other invisible characters
/// as escapes, cut after 300 characters. Quotes and backslashes stay as they are.
#[must_use]
pub fn shown(text: &str) -> String {
    let mut shown = String::new();
    for c in text.chars().take(CHARS_MAX) {
        if c.is_ascii_graphic() || c == ' ' {
            shown.push(c);
        } else {
            shown.extend(c.escape_debug());
        }
    }
    shown.chars().take(CHARS_MAX).collect()
}

/// As [`shown`], for text of several lines: each by itself, and the first 12.
#[must_use]
pub fn shown_lines(text: &str) -> String {
    let lines: Vec<String> = text.lines().take(LINES_MAX).map(shown).collect();
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_terminal_obeys_is_escaped_and_the_rest_is_not() {
        assert_eq!(shown(r#"unknown field `é \ "日本"`"#), r#"unknown field `é \ "日本"`"#);
        assert_eq!(shown("\u{1b}]0;x\u{7}\n"), r"\u{1b}]0;x\u{7}\n");
        assert_eq!(shown("\u{9b}2J\u{202e}txt"), r"\u{9b}2J\u{202e}txt");
        assert_eq!(shown_lines("a\n\u{1b}b\n"), "a\n\\u{1b}b");
        assert_eq!(shown_lines(&"x\n".repeat(50)).lines().count(), LINES_MAX);
    }

    #[test]
    fn what_turns_the_direction_of_text_or_hides_is_escaped() {
        let turning = "\u{61c}\u{200e}\u{200f}\u{202a}\u{202b}\u{202c}\u{202d}\u{202e}\
                       \u{2066}\u{2067}\u{2068}\u{2069}";
        let hiding = "\u{ad}\u{200b}\u{200c}\u{200d}\u{2028}\u{2029}\u{2060}\u{feff}\u{e0041}";
        for c in turning.chars().chain(hiding.chars()) {
            let code = format!("\\u{{{:x}}}", u32::from(c));
            assert_eq!(shown(&format!("a{c}b")), format!("a{code}b"));
            // Errors that quote a name print it this way.
            assert_eq!(format!("{:?}", format!("a{c}b")), format!("\"a{code}b\""));
        }
    }

    #[test]
    fn long_text_is_cut_after_its_escapes() {
        assert_eq!(shown(&"é".repeat(5_000)), "é".repeat(CHARS_MAX));
        assert_eq!(shown(&"\u{1b}".repeat(5_000)), r"\u{1b}".repeat(CHARS_MAX / 6));
    }
}
