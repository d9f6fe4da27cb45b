//! `scribe watch`: a run as it goes, followed by what its folder tells.

mod policy;
mod screen;
mod text;

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Args;
use ratatui::DefaultTerminal;
use ratatui::crossterm::event::{self, Event, KeyCode, KeyEvent, KeyEventKind, KeyModifiers};

use self::screen::Shown;
use super::{Failure, Session};
use crate::run_state::{Last, time_for_people};

/// Time between two looks at the folder.
const LOOK: Duration = Duration::from_millis(500);

/// Which run to watch.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  scribe watch runs/tiny\n  scribe watch runs/tiny --json\n\nOn \
                        a terminal, curves that follow the run; q leaves, and the run goes on. On \
                        a pipe, and with --json, how the run stands now."
)]
pub struct WatchOptions {
    /// The folder of the run, as `scribe pretrain --run` was given it
    run: PathBuf,
}

/// Shows the run until the person leaves, or once.
pub(super) fn run(session: &mut Session, options: &WatchOptions) -> Result<(), Failure> {
    let mut last = Last::of(&options.run)?;
    let terminal = &mut session.terminal;
    if terminal.wants_json() {
        match &last {
            Last::Text(state) => terminal.json(&text::report(&options.run, state))?,
            Last::Policy(state) => terminal.json(&policy::report(&options.run, state))?,
        }
        return Ok(());
    }
    if !terminal.is_screen() {
        let rows = match &last {
            Last::Text(state) => text::rows(state),
            Last::Policy(state) => policy::rows(state),
        };
        terminal.table(&["WHAT", "HOW MUCH"], &rows)?;
        return Ok(());
    }
    let mut screen = ratatui::try_init()?;
    let left = follow(&mut screen, &options.run, &mut last);
    ratatui::restore();
    left
}

/// Draws the run and what comes of it until somebody leaves.
fn follow(screen: &mut DefaultTerminal, run: &Path, last: &mut Last) -> Result<(), Failure> {
    loop {
        screen.draw(|frame| screen::draw(frame, &shown(last)))?;
        if is_left(LOOK)? {
            return Ok(());
        }
        refresh(run, last)?;
    }
}

/// What is on the screen.
fn shown(last: &Last) -> Shown<'_> {
    match last {
        Last::Text(state) => text::shown(state, state.quiet_for()),
        Last::Policy(state) => policy::shown(state, state.quiet_for()),
    }
}

/// Reads what has come since; where a stage is over, of the one that has begun after it.
fn refresh(run: &Path, last: &mut Last) -> Result<(), Failure> {
    let is_finished = match &*last {
        Last::Text(state) => state.is_finished(),
        Last::Policy(state) => state.is_finished(),
    };
    match last {
        _ if is_finished => *last = Last::of(run)?,
        Last::Text(state) => state.refresh()?,
        Last::Policy(state) => state.refresh()?,
    }
    Ok(())
}

/// Waits for so long, or until a key wants something.
fn is_left(time: Duration) -> io::Result<bool> {
    if !event::poll(time)? {
        return Ok(false);
    }
    Ok(match event::read()? {
        Event::Key(key) if key.kind != KeyEventKind::Release => leaves(key),
        _ => false,
    })
}

fn leaves(key: KeyEvent) -> bool {
    let ctrl_c = key.code == KeyCode::Char('c') && key.modifiers.contains(KeyModifiers::CONTROL);
    ctrl_c || matches!(key.code, KeyCode::Char('q' | 'Q') | KeyCode::Esc)
}

/// Lines of a table, without what is not known yet.
fn known<const N: usize>(figures: [(&str, Option<String>); N]) -> Vec<Vec<String>> {
    let row = |(name, value): (&str, Option<String>)| Some(vec![name.to_owned(), value?]);
    figures.into_iter().filter_map(row).collect()
}

/// A time that has passed.
fn ago(time: Duration) -> String {
    format!("{} ago", time_for_people(time.as_secs_f64()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn q_escape_and_ctrl_c_leave_and_other_keys_do_not() {
        let key = |code, modifiers| leaves(KeyEvent::new(code, modifiers));
        let none = KeyModifiers::NONE;
        assert!(key(KeyCode::Char('q'), none) && key(KeyCode::Esc, none));
        assert!(key(KeyCode::Char('c'), KeyModifiers::CONTROL));
        assert!(!key(KeyCode::Char('c'), none) && !key(KeyCode::Enter, none));
    }
}
