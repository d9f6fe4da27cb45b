//! Progress of long work: a bar on a terminal, a line every few seconds on a pipe.

use std::fmt::{self, Write as _};
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};

use crate::fetch::{Event, SourceError};
use crate::terminal::{Terminal, bytes_for_people};

/// Time between two lines on a pipe.
const LINE_INTERVAL: Duration = Duration::from_secs(3);

/// Time between two looks of a bar.
const BAR_INTERVAL: Duration = Duration::from_millis(100);

/// Before this time, what is left can only be guessed.
const PACE_AFTER: Duration = Duration::from_secs(1);

/// What a bar looks like: the label takes what the terminal's width leaves.
const TEMPLATE: &str = "{wide_msg} [{bar:12}] {prefix}";

/// What it looks like where nobody knows how much there is to do.
const OPEN_TEMPLATE: &str = "{wide_msg} {prefix}";

/// Shows how far a piece of work has come.
#[derive(Debug)]
pub(crate) struct Progress<'a> {
    terminal: &'a mut Terminal,
    work: Work,
    bar: Option<ProgressBar>,
    shown: Instant,
}

/// A piece of work.
#[derive(Debug)]
struct Work {
    label: String,
    unit: Unit,
    /// What was done before the work began.
    before: u64,
    /// All there is to do, where that is known.
    total: Option<u64>,
    begun: Instant,
}

/// What is counted.
#[derive(Debug, Clone, Copy)]
enum Unit {
    Bytes,
    Rows,
    Tokens,
    Tasks,
    /// Of these, by their word in the plural.
    Things(&'static str),
}

impl<'a> Progress<'a> {
    /// Progress that shows nothing until it is told of some work.
    pub(crate) fn new(terminal: &'a mut Terminal) -> Self {
        let work = Work::new(String::new(), Unit::Bytes, 0, None);
        Self { terminal, work, bar: None, shown: Instant::now() }
    }

    /// Begins a piece of work of `total` bytes, `done` of which are done.
    pub(crate) fn begin(&mut self, label: impl Into<String>, done: u64, total: u64) {
        self.draw(Work::new(label.into(), Unit::Bytes, done, Some(total)));
    }

    /// Begins a piece of work of `total` tokens.
    pub(crate) fn begin_tokens(&mut self, label: impl Into<String>, total: u64) {
        self.draw(Work::new(label.into(), Unit::Tokens, 0, Some(total)));
    }

    /// Begins a piece of work of nobody knows how many tokens, `done` of which are done.
    pub(crate) fn begin_open_tokens(&mut self, label: impl Into<String>, done: u64) {
        self.draw(Work::new(label.into(), Unit::Tokens, done, None));
    }

    /// Begins a piece of work of nobody knows how many rows of files.
    pub(crate) fn begin_open_rows(&mut self, label: impl Into<String>) {
        self.draw(Work::new(label.into(), Unit::Rows, 0, None));
    }

    /// Begins a piece of work of `total` tokens, `done` of which are done.
    pub(crate) fn begin_tokens_after(&mut self, label: impl Into<String>, done: u64, total: u64) {
        self.draw(Work::new(label.into(), Unit::Tokens, done, Some(total)));
    }

    /// Says something else of the work that is going on.
    pub(crate) fn relabel(&mut self, label: impl Into<String>) {
        self.work.label = label.into();
    }

    /// Says something beside the work.
    pub(crate) fn note(&mut self, message: impl fmt::Display) {
        self.beside(|terminal| terminal.note(message));
    }

    /// Warns of something beside the work.
    pub(crate) fn warn(&mut self, message: impl fmt::Display) {
        self.beside(|terminal| terminal.warn(message));
    }

    fn beside(&mut self, say: impl FnOnce(&mut Terminal)) {
        match &self.bar {
            Some(bar) => bar.suspend(|| say(self.terminal)),
            None => say(self.terminal),
        }
    }

    /// Begins a piece of work of `total` tasks.
    pub(crate) fn begin_tasks(&mut self, label: impl Into<String>, total: u64) {
        self.draw(Work::new(label.into(), Unit::Tasks, 0, Some(total)));
    }

    /// Begins a piece of work of `total` things, `done` of which are done.
    pub(crate) fn begin_things(
        &mut self,
        label: impl Into<String>,
        things: &'static str,
        done: u64,
        total: u64,
    ) {
        self.draw(Work::new(label.into(), Unit::Things(things), done, Some(total)));
    }

    fn draw(&mut self, work: Work) {
        self.end();
        self.work = work;
        self.shown = Instant::now();
        if self.terminal.is_live() {
            let bar = match self.work.total {
                Some(total) => ProgressBar::new(total),
                None => ProgressBar::no_length(),
            };
            let bar = bar.with_position(self.work.before);
            let template = if self.work.total.is_some() { TEMPLATE } else { OPEN_TEMPLATE };
            // A test parses the templates; indicatif's own style would do as well.
            if let Ok(style) = ProgressStyle::with_template(template) {
                bar.set_style(style.progress_chars("=> "));
            }
            bar.set_message(self.work.label.clone());
            bar.set_prefix(self.work.state(self.work.before));
            self.bar = Some(bar);
        }
    }

    /// Tells that `done` bytes, tokens or tasks of the work are done.
    pub(crate) fn advance(&mut self, done: u64) {
        let interval = if self.bar.is_some() { BAR_INTERVAL } else { LINE_INTERVAL };
        if self.shown.elapsed() < interval {
            return;
        }
        self.shown = Instant::now();
        let state = self.work.state(done);
        match &self.bar {
            Some(bar) => {
                bar.set_message(self.work.label.clone());
                bar.set_prefix(state);
                bar.set_position(done);
            }
            None => self.terminal.note(format_args!("{}: {state}", self.work.label)),
        }
    }

    /// Takes the bar away.
    pub(crate) fn end(&mut self) {
        if let Some(bar) = self.bar.take() {
            bar.finish_and_clear();
        }
    }

    /// Shows what a pull tells.
    pub(crate) fn show(&mut self, event: &Event<'_>) {
        match event {
            Event::Waiting { model } => {
                self.terminal
                    .note(format_args!("another scribe is fetching {model}; waiting for it"));
            }
            Event::Source { file, source, resumed_bytes, total_bytes } => {
                let resumed = match resumed_bytes {
                    0 => String::new(),
                    bytes => format!(", {} are here already", bytes_for_people(*bytes)),
                };
                let total = bytes_for_people(*total_bytes);
                self.terminal.note(format_args!("fetching {file} from {source}: {total}{resumed}"));
                self.begin(*file, *resumed_bytes, *total_bytes);
            }
            Event::Advance { bytes } => self.advance(*bytes),
            // The last source that fails is told with all others, as an error.
            Event::SourceFailed { next: None, .. } => self.end(),
            Event::SourceFailed { source, error, next: Some(next) } => {
                self.end();
                if let SourceError::Connect { .. } = error {
                    self.terminal.note(format_args!("{source} cannot be reached; trying {next}"));
                } else {
                    self.terminal.warn(format_args!("{source}: {error}; trying {next}"));
                }
            }
            Event::Verified { file } => {
                self.end();
                self.terminal.note(format_args!("{file} is here and has the right sha256"));
            }
        }
    }
}

impl Work {
    fn new(label: String, unit: Unit, before: u64, total: Option<u64>) -> Self {
        Self { label, unit, before, total, begun: Instant::now() }
    }

    fn state(&self, done: u64) -> String {
        self.state_after(done, self.begun.elapsed())
    }

    /// How much is done, how fast it went so far, and what is left at that pace.
    fn state_after(&self, done: u64, elapsed: Duration) -> String {
        let mut state = match self.total {
            Some(total) => {
                let percent = u128::from(done) * 100 / u128::from(total.max(1));
                format!("{percent} % of {}", self.unit.amount(total))
            }
            None => self.unit.amount(done),
        };
        let milliseconds = u64::try_from(elapsed.as_millis()).unwrap_or(u64::MAX);
        // What was here before took no time now.
        let speed = done.saturating_sub(self.before).saturating_mul(1000) / milliseconds.max(1);
        if elapsed < PACE_AFTER || speed == 0 {
            return state;
        }
        // Writing to a string cannot fail.
        let _ = write!(state, ", {}/s", self.unit.pace(speed));
        if let Some(total) = self.total {
            let left = match total.saturating_sub(done).div_ceil(speed) {
                seconds @ ..120 => format!("{seconds} s"),
                seconds @ ..7200 => format!("{} min", seconds / 60),
                seconds => format!("{} h", seconds / 3600),
            };
            let _ = write!(state, ", {left} left");
        }
        state
    }
}

impl Unit {
    fn amount(self, count: u64) -> String {
        match self {
            Self::Bytes => bytes_for_people(count),
            Self::Rows => format!("{count} rows"),
            Self::Tokens => format!("{count} tokens"),
            Self::Tasks => format!("{count} tasks"),
            Self::Things(things) => format!("{count} {things}"),
        }
    }

    fn pace(self, count: u64) -> String {
        match self {
            Self::Bytes => bytes_for_people(count),
            Self::Rows | Self::Tokens | Self::Tasks | Self::Things(_) => count.to_string(),
        }
    }
}

impl Drop for Progress<'_> {
    fn drop(&mut self) {
        self.end();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bar_can_be_drawn() {
        for template in [TEMPLATE, OPEN_TEMPLATE] {
            assert!(ProgressStyle::with_template(template).is_ok());
        }
    }

    #[test]
    fn the_pace_is_that_of_what_came_now() {
        let work = Work::new(String::new(), Unit::Bytes, 90_000_000, Some(100_000_000));
        assert_eq!(work.state_after(92_000_000, Duration::ZERO), "92 % of 100.0 MB");
        let later = work.state_after(92_000_000, Duration::from_secs(2));
        assert_eq!(later, "92 % of 100.0 MB, 1.0 MB/s, 8 s left");
        let slow = work.state_after(90_001_000, Duration::from_secs(1));
        assert_eq!(slow, "90 % of 100.0 MB, 1.0 kB/s, 2 h left");
        let tokens = Work::new(String::new(), Unit::Tokens, 0, Some(640));
        let half = tokens.state_after(320, Duration::from_secs(10));
        assert_eq!(half, "50 % of 640 tokens, 32/s, 10 s left");
        let open = Work::new(String::new(), Unit::Tokens, 100, None);
        assert_eq!(open.state_after(100, Duration::from_secs(9)), "100 tokens");
        assert_eq!(open.state_after(600, Duration::from_secs(10)), "600 tokens, 50/s");
    }
}
