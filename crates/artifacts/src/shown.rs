//! Text from a file in an error message: short, and without a say over the terminal.

/// The longest excerpt of a file in an error message.
const CHARS_MAX: usize = 300;

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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_terminal_obeys_is_escaped_and_the_rest_is_not() {
        assert_eq!(shown(r#"unknown field `é \ "日本"`"#), r#"unknown field `é \ "日本"`"#);
        assert_eq!(shown("\u{1b}]0;x\u{7}\n"), r"\u{1b}]0;x\u{7}\n");
        assert_eq!(shown("\u{9b}2J\u{202e}txt"), r"\u{9b}2J\u{202e}txt");
    }

    #[test]
    fn long_text_is_cut_after_its_escapes() {
        assert_eq!(shown(&"é".repeat(5_000)), "é".repeat(CHARS_MAX));
        assert_eq!(shown(&"\u{1b}".repeat(5_000)), r"\u{1b}".repeat(CHARS_MAX / 6));
    }
}
