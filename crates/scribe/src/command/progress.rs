//! Progress of long work: a bar on a terminal, a line every few seconds on a pipe.

use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};

use crate::fetch::Event;
use crate::terminal::{Terminal, bytes_for_people};

/// Time between two lines on a pipe.
const LINE_INTERVAL: Duration = Duration::from_secs(3);

/// What a bar looks like.
const TEMPLATE: &str = "{msg} [{bar:24}] {decimal_bytes}/{decimal_total_bytes} \
                        {decimal_bytes_per_sec} {eta}";

/// Shows how far a number of bytes has come.
#[derive(Debug)]
pub(crate) struct Progress<'a> {
    terminal: &'a mut Terminal,
    label: String,
    total: u64,
    bar: Option<ProgressBar>,
    last_line: Instant,
}

impl<'a> Progress<'a> {
    /// Progress that shows nothing until it is told of some work.
    pub(crate) fn new(terminal: &'a mut Terminal) -> Self {
        Self { terminal, label: String::new(), total: 0, bar: None, last_line: Instant::now() }
    }

    /// Begins a piece of work of `total` bytes, `done` of which are done.
    pub(crate) fn begin(&mut self, label: impl Into<String>, done: u64, total: u64) {
        self.end();
        self.label = label.into();
        self.total = total;
        self.last_line = Instant::now();
        if self.terminal.is_live() {
            let bar = ProgressBar::new(total).with_position(done);
            bar.reset_eta();
            // A test parses the template; indicatif's own style would do as well.
            if let Ok(style) = ProgressStyle::with_template(TEMPLATE) {
                bar.set_style(style.progress_chars("=> "));
            }
            bar.set_message(self.label.clone());
            self.bar = Some(bar);
        }
    }

    /// Tells that `done` bytes of the work are done.
    pub(crate) fn advance(&mut self, done: u64) {
        if let Some(bar) = &self.bar {
            bar.set_position(done);
        } else if self.last_line.elapsed() >= LINE_INTERVAL {
            self.last_line = Instant::now();
            let percent = u128::from(done) * 100 / u128::from(self.total.max(1));
            self.terminal.note(format_args!(
                "{}: {percent} % ({} of {})",
                self.label,
                bytes_for_people(done),
                bytes_for_people(self.total)
            ));
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
                if !self.terminal.is_live() {
                    let resumed = match resumed_bytes {
                        0 => String::new(),
                        bytes => format!(", {} are here already", bytes_for_people(*bytes)),
                    };
                    let total = bytes_for_people(*total_bytes);
                    self.terminal
                        .note(format_args!("fetching {file} from {source}: {total}{resumed}"));
                }
                self.begin(format!("fetching {file} from {source}"), *resumed_bytes, *total_bytes);
            }
            Event::Advance { bytes } => self.advance(*bytes),
            Event::SourceFailed { source, error } => {
                self.end();
                self.terminal.warn(format_args!("{source}: {error}"));
            }
            Event::Verified { file } => {
                self.end();
                self.terminal.note(format_args!("{file} is here and has the right sha256"));
            }
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
        assert!(ProgressStyle::with_template(TEMPLATE).is_ok());
    }
}
