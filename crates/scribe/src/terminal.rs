//! Everything that a person reads on standard output and standard error passes through here.

use std::borrow::Cow;
use std::fmt::{self, Write as _};
use std::io::{self, IsTerminal, Write};

use anstyle::{AnsiColor, Style};
use serde::Serialize;

/// When to color.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, clap::ValueEnum)]
pub enum ColorChoice {
    /// On a terminal, unless `NO_COLOR` is set or `TERM` is `dumb`.
    #[default]
    Auto,
    /// Always, on a pipe as well.
    Always,
    /// Never.
    Never,
}

/// How to talk.
#[derive(Debug, Clone, Copy, Default)]
pub struct TerminalOptions {
    /// When to color.
    pub color: ColorChoice,
    /// 0 = results and what matters; each -v adds one, each -q takes one away.
    pub verbosity: i16,
    /// Results as JSON.
    pub json: bool,
    /// No progress bars.
    pub no_progress: bool,
}

/// Results go to standard output, talk goes to standard error.
pub struct Terminal {
    out: Box<dyn Write + Send>,
    err: Box<dyn Write + Send>,
    paint_out: bool,
    paint_err: bool,
    live: bool,
    /// Whether standard output is a terminal, which obeys control characters.
    screen: bool,
    options: TerminalOptions,
}

const RED: Style = AnsiColor::Red.on_default().bold();
const YELLOW: Style = AnsiColor::Yellow.on_default().bold();
const CYAN: Style = AnsiColor::Cyan.on_default().bold();
const BOLD: Style = Style::new().bold();

impl Terminal {
    /// The terminal of this process.
    #[must_use]
    pub fn of_process(options: TerminalOptions) -> Self {
        let paint = |terminal: bool| match options.color {
            ColorChoice::Always => true,
            ColorChoice::Never => false,
            ColorChoice::Auto => Self::wants_color(terminal),
        };
        let (out, err) = (io::stdout(), io::stderr());
        Self {
            paint_out: paint(out.is_terminal()),
            paint_err: paint(err.is_terminal()),
            live: err.is_terminal() && !options.no_progress && options.verbosity >= 0,
            screen: out.is_terminal(),
            out: Box::new(out),
            err: Box::new(err),
            options,
        }
    }

    /// A terminal that nobody sees.
    #[cfg(test)]
    pub(crate) fn silent() -> Self {
        let (out, err) = (Box::new(io::sink()), Box::new(io::sink()));
        let options = TerminalOptions::default();
        Self { out, err, paint_out: false, paint_err: false, live: false, screen: false, options }
    }

    /// Whether a stream is colored that is, or is not, a terminal, when nobody says.
    #[must_use]
    pub fn wants_color(terminal: bool) -> bool {
        terminal
            && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
            && std::env::var_os("TERM").is_none_or(|term| term != "dumb")
    }

    /// One line of the result. Names and words of files may stand in it: on a terminal, what would
    /// steer that is shown with escapes; a pipe gets every byte.
    ///
    /// # Errors
    ///
    /// The writer's, a closed pipe among them.
    pub fn line(&mut self, line: impl fmt::Display) -> io::Result<()> {
        let line = line.to_string();
        let line = self.on_screen(&line, steady);
        writeln!(self.out, "{line}")
    }

    /// One line of the result as [`line`](Self::line), in bold where standard output shows it.
    ///
    /// # Errors
    ///
    /// The writer's, a closed pipe among them.
    pub fn heading(&mut self, line: impl fmt::Display) -> io::Result<()> {
        let line = line.to_string();
        let line = self.on_screen(&line, steady);
        let style = if self.paint_out { BOLD } else { Style::new() };
        writeln!(self.out, "{style}{line}{style:#}")
    }

    /// A piece of the result, shown at once. Whoever wrote it, on a terminal it is text and nothing
    /// else; a pipe gets every byte.
    ///
    /// # Errors
    ///
    /// The writer's, a closed pipe among them.
    pub fn piece(&mut self, text: &str) -> io::Result<()> {
        let text = self.on_screen(text, without_controls);
        self.out.write_all(text.as_bytes())?;
        self.out.flush()
    }

    /// The result as one JSON document.
    ///
    /// # Errors
    ///
    /// The writer's, a closed pipe among them.
    pub fn json(&mut self, value: &impl Serialize) -> io::Result<()> {
        let text = serde_json::to_string_pretty(value).map_err(io::Error::other)?;
        let text = self.on_screen(&text, steady_json);
        writeln!(self.out, "{text}")
    }

    /// One event of a result that comes over time, as one line of JSON.
    ///
    /// # Errors
    ///
    /// The writer's, a closed pipe among them.
    pub fn json_line(&mut self, value: &impl Serialize) -> io::Result<()> {
        let text = serde_json::to_string(value).map_err(io::Error::other)?;
        let text = self.on_screen(&text, steady_json);
        writeln!(self.out, "{text}")?;
        self.out.flush()
    }

    /// A table: columns as wide as their widest cell, the header in bold.
    ///
    /// # Errors
    ///
    /// The writer's, a closed pipe among them.
    pub fn table(&mut self, header: &[&str], rows: &[Vec<String>]) -> io::Result<()> {
        let width = |column: usize| {
            rows.iter()
                .filter_map(|row| row.get(column))
                .map(|cell| cell.chars().count())
                .chain([header[column].chars().count()])
                .max()
                .unwrap_or(0)
        };
        let widths: Vec<usize> = (0..header.len()).map(width).collect();
        let lay = |cells: &mut dyn Iterator<Item = &str>| {
            let mut line = String::new();
            for (cell, width) in cells.zip(&widths) {
                // Writing to a string cannot fail.
                let _ = write!(line, "{cell:<width$}  ");
            }
            line.trim_end().to_owned()
        };
        let head = lay(&mut header.iter().copied());
        self.heading(head)?;
        for row in rows {
            self.line(lay(&mut row.iter().map(String::as_str)))?;
        }
        Ok(())
    }

    /// Talk: what is being done. Silent with -q.
    pub fn note(&mut self, message: impl fmt::Display) {
        if self.options.verbosity >= 0 {
            self.talk(steady(&message.to_string()));
        }
    }

    /// Talk for whoever asked for more with -v.
    pub fn detail(&mut self, message: impl fmt::Display) {
        if self.options.verbosity > 0 {
            self.talk(steady(&message.to_string()));
        }
    }

    /// Something that may surprise later. Silent with -qq.
    pub fn warn(&mut self, message: impl fmt::Display) {
        if self.options.verbosity > -2 {
            let head = self.on_err(YELLOW, "warning:");
            self.talk(format_args!("{head} {}", steady(&message.to_string())));
        }
    }

    /// An error with its causes and what to do next.
    pub fn error(&mut self, error: &anyhow::Error, hint: Option<&str>) {
        let head = self.on_err(RED, "error:");
        self.talk(format_args!("{head} {}", steady(&error.to_string())));
        let mut told = error.to_string();
        for cause in error.chain().skip(1).map(ToString::to_string) {
            // Some errors say in their own words what their cause says, too.
            if !told.contains(&cause) {
                self.talk(format_args!("  caused by: {}", steady(&cause)));
                told = cause;
            }
        }
        if let Some(hint) = hint {
            let head = self.on_err(CYAN, "hint:");
            self.talk(format_args!("{head} {}", steady(hint)));
        }
    }

    /// Whether results are asked for as JSON.
    #[must_use]
    pub fn wants_json(&self) -> bool {
        self.options.json
    }

    /// Whether results go to a terminal, and to no file or program.
    #[must_use]
    pub fn is_screen(&self) -> bool {
        self.screen
    }

    /// Whether progress bars may be drawn on standard error.
    #[must_use]
    pub fn is_live(&self) -> bool {
        self.live
    }

    /// 0, and one more for each -v, one less for each -q.
    #[must_use]
    pub fn verbosity(&self) -> i16 {
        self.options.verbosity
    }

    fn talk(&mut self, message: impl fmt::Display) {
        // Nobody is left to be told that standard error is closed.
        let _ = writeln!(self.err, "{message}");
    }

    /// The text as a terminal is to have it, where standard output is one.
    fn on_screen<'text>(
        &self,
        text: &'text str,
        tame: fn(&'text str) -> Cow<'text, str>,
    ) -> Cow<'text, str> {
        if self.screen { tame(text) } else { Cow::Borrowed(text) }
    }

    fn on_err(&self, style: Style, text: &str) -> String {
        if self.paint_err { format!("{style}{text}{style:#}") } else { text.to_owned() }
    }
}

impl fmt::Debug for Terminal {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Terminal").field("options", &self.options).finish_non_exhaustive()
    }
}

/// The text with U+FFFD for every control character but the end of a line and the tab.
pub(crate) fn without_controls(text: &str) -> Cow<'_, str> {
    let steers = |c: char| c.is_control() && c != '\n' && c != '\t';
    if !text.contains(steers) {
        return Cow::Borrowed(text);
    }
    let shown = text.chars().map(|c| if steers(c) { char::REPLACEMENT_CHARACTER } else { c });
    Cow::Owned(shown.collect())
}

/// Text that may tell of files and their names, with escapes for every character that steers.
fn steady(text: &str) -> Cow<'_, str> {
    escaped(text, |c| c.escape_unicode().to_string())
}

/// JSON with escapes of its own for every character that steers: those are in strings alone.
fn steady_json(text: &str) -> Cow<'_, str> {
    escaped(text, |c| format!("\\u{:04x}", u32::from(c)))
}

/// The text with `escape` in place of every control character but the end of a line and the tab, and
/// of those that turn the direction of what follows.
fn escaped(text: &str, escape: fn(char) -> String) -> Cow<'_, str> {
    let steers = |c: char| {
        let turns = matches!(c, '\u{61c}' | '\u{200e}' | '\u{200f}')
            || matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
        turns || (c.is_control() && c != '\n' && c != '\t')
    };
    if !text.contains(steers) {
        return Cow::Borrowed(text);
    }
    let mut shown = String::new();
    for c in text.chars() {
        if steers(c) { shown.push_str(&escape(c)) } else { shown.push(c) }
    }
    Cow::Owned(shown)
}

/// A number of bytes for people: `98.4 MB`, decimal as on a disk's label.
#[must_use]
pub fn bytes_for_people(bytes: u64) -> String {
    match bytes {
        1_000_000_000_000.. => format!("{} TB", tenths(bytes, 1_000_000_000_000)),
        1_000_000_000.. => format!("{} GB", tenths(bytes, 1_000_000_000)),
        1_000_000.. => format!("{} MB", tenths(bytes, 1_000_000)),
        1_000.. => format!("{} kB", tenths(bytes, 1_000)),
        _ => format!("{bytes} B"),
    }
}

/// A number of parameters as on model cards: `134.5 M`, with `space` before the unit.
#[must_use]
pub fn count_for_people(count: u64, space: &str) -> String {
    match count {
        1_000_000_000.. => format!("{}{space}B", tenths(count, 1_000_000_000)),
        1_000_000.. => format!("{}{space}M", tenths(count, 1_000_000)),
        1_000.. => format!("{}{space}K", tenths(count, 1_000)),
        _ => count.to_string(),
    }
}

/// A large number in words with three digits that count: `175 billion`; `1,024` below a million.
#[must_use]
pub fn large_for_people(number: f64) -> String {
    let (unit, name) = match number {
        1e18.. => return format!("{number:.2e}"),
        1e15.. => (1e15, "quadrillion"),
        1e12.. => (1e12, "trillion"),
        1e9.. => (1e9, "billion"),
        1e6.. => (1e6, "million"),
        _ => return digits_for_people(whole(number)),
    };
    let share = number / unit;
    let decimals = match share {
        100.0.. => 0,
        10.0.. => 1,
        _ => 2,
    };
    format!("{share:.decimals$} {name}")
}

/// A count with commas between thousands: `1,600`.
#[must_use]
pub fn digits_for_people(count: u64) -> String {
    let digits = count.to_string();
    let mut grouped = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    grouped
}

/// US dollars: `$0.02`, `$1,234`, `$4.93 million`.
#[must_use]
pub fn money_for_people(dollars: f64) -> String {
    match dollars {
        0.0..0.01 => "less than $0.01".to_owned(),
        ..100.0 => format!("${dollars:.2}"),
        _ => format!("${}", large_for_people(dollars)),
    }
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "below a million")]
fn whole(number: f64) -> u64 {
    number.round() as u64
}

/// Units with one decimal, rounded half up, without a detour through floating point.
fn tenths(number: u64, unit: u64) -> String {
    let tenths = (u128::from(number) * 10 + u128::from(unit) / 2) / u128::from(unit);
    format!("{}.{}", tenths / 10, tenths % 10)
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use super::*;

    #[test]
    fn bytes_are_rounded_to_one_decimal() {
        assert_eq!(bytes_for_people(999), "999 B");
        assert_eq!(bytes_for_people(98_362_432), "98.4 MB");
        assert_eq!(bytes_for_people(2_950_000_000), "3.0 GB");
        assert_eq!(bytes_for_people(100 << 40), "110.0 TB");
    }

    #[test]
    fn counts_are_rounded_as_on_model_cards() {
        let counts = [
            (999, "999"),
            (260_000, "260.0K"),
            (134_515_008, "134.5M"),
            (1_543_714_304, "1.5B"),
            (7_241_732_096, "7.2B"),
        ];
        for (count, expected) in counts {
            assert_eq!(count_for_people(count, ""), expected);
        }
    }

    #[test]
    fn large_numbers_and_money_are_said_in_words() {
        for (number, expected) in [
            (12.4, "12"),
            (999_999.0, "999,999"),
            (1_234_567.0, "1.23 million"),
            (174.6e9, "175 billion"),
            (5e11, "500 billion"),
            (3.64e12, "3.64 trillion"),
            (2e18, "2.00e18"),
        ] {
            assert_eq!(large_for_people(number), expected);
        }
        let money = [0.0, 0.05, 99.5, 1_234.4, 4_930_000.0].map(money_for_people);
        let expected = ["less than $0.01", "$0.05", "$99.50", "$1,234", "$4.93 million"];
        assert_eq!(money, expected);
    }

    #[test]
    fn what_a_model_writes_cannot_steer_the_terminal() {
        let hostile = "a\tb\n\x1b]52;c;aGk=\x07\x1b[2J\u{9b}2J\r\x7fé";
        let harmless = without_controls(hostile);
        assert_eq!(
            harmless,
            "a\tb\n\u{fffd}]52;c;aGk=\u{fffd}\u{fffd}[2J\u{fffd}2J\u{fffd}\u{fffd}é"
        );
        assert!(matches!(without_controls("plain\n"), Cow::Borrowed(_)));
    }

    /// Everything that was written.
    #[derive(Clone, Default)]
    struct Written(Arc<Mutex<Vec<u8>>>);

    impl Write for Written {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().write(bytes)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    /// What is written on a terminal, or on a pipe, that shows color.
    fn shown(screen: bool, show: fn(&mut Terminal) -> io::Result<()>) -> String {
        let written = Written::default();
        let out = Box::new(written.clone());
        let mut terminal = Terminal { screen, paint_out: true, out, ..Terminal::silent() };
        show(&mut terminal).unwrap();
        let bytes = written.0.lock().unwrap().clone();
        String::from_utf8(bytes).unwrap()
    }

    #[test]
    fn results_cannot_steer_a_terminal_and_a_pipe_gets_every_byte() {
        const HOSTILE: &str = "a\t\x1b[2J\n\u{9b}2J\u{202e}é";
        const TAME: &str = "a\t\\u{1b}[2J\n\\u{9b}2J\\u{202e}é";
        assert_eq!(shown(true, |t| t.line(HOSTILE)), format!("{TAME}\n"));
        assert_eq!(shown(false, |t| t.line(HOSTILE)), format!("{HOSTILE}\n"));
        assert_eq!(shown(true, |t| t.heading(HOSTILE)), format!("\x1b[1m{TAME}\x1b[0m\n"));
        let table = shown(true, |t| t.table(&["N"], &[vec![HOSTILE.to_owned()]]));
        assert!(table.contains(TAME) && !table.contains("\x1b[2J"), "{table:?}");
        for show in [|t: &mut Terminal| t.json(&HOSTILE), |t: &mut Terminal| t.json_line(&HOSTILE)]
        {
            let (screen, pipe) = (shown(true, show), shown(false, show));
            assert_eq!(screen, "\"a\\t\\u001b[2J\\n\\u009b2J\\u202eé\"\n");
            assert_eq!(pipe, "\"a\\t\\u001b[2J\\n\u{9b}2J\u{202e}é\"\n");
            assert_eq!(serde_json::from_str::<String>(&screen).unwrap(), HOSTILE);
        }
    }

    #[test]
    fn what_a_file_is_called_cannot_steer_the_terminal() {
        assert_eq!(steady("a\t\u{1b}[2J\n\u{202e}é\u{2069}"), "a\t\\u{1b}[2J\n\\u{202e}é\\u{2069}");
        assert!(matches!(steady("plain é\n"), Cow::Borrowed(_)));
    }
}
