//! `scribe watch`: a run as it goes, followed by what its folder tells.

mod screen;

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Args;
use ratatui::DefaultTerminal;
use ratatui::crossterm::event::{self, Event, KeyCode, KeyEvent, KeyEventKind, KeyModifiers};
use serde::Serialize;

use super::{Failure, Session};
use crate::run_state::{Message, RunState, time_for_people};
use crate::terminal::count_for_people;

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

/// `scribe watch --json`.
#[derive(Debug, Serialize)]
struct Report<'a> {
    schema: &'static str,
    run: &'a Path,
    finished: bool,
    step: u64,
    steps: u64,
    tokens: u64,
    loss: Option<f64>,
    held_out_loss: Option<f64>,
    held_out_bits_per_byte: Option<f64>,
    learning_rate: Option<f64>,
    gradient_norm: Option<f64>,
    tokens_per_second: Option<f64>,
    seconds_left: Option<f64>,
    /// Since the last step; much more than a step takes where nobody trains any more.
    quiet_seconds: Option<f64>,
    messages: &'a [Message],
}

/// Shows the run until the person leaves, or once.
pub(super) fn run(session: &mut Session, options: &WatchOptions) -> Result<(), Failure> {
    let mut state = RunState::open(&options.run)?;
    let terminal = &mut session.terminal;
    if terminal.wants_json() {
        terminal.json(&report(&options.run, &state))?;
        return Ok(());
    }
    if !terminal.is_screen() {
        terminal.table(&["WHAT", "HOW MUCH"], &rows(&state))?;
        return Ok(());
    }
    let mut screen = ratatui::try_init()?;
    let left = follow(&mut screen, &mut state);
    ratatui::restore();
    left
}

/// Draws the run and what comes of it until somebody leaves.
fn follow(screen: &mut DefaultTerminal, state: &mut RunState) -> Result<(), Failure> {
    loop {
        screen.draw(|frame| screen::draw(frame, state, state.quiet_for()))?;
        if is_left(LOOK)? {
            return Ok(());
        }
        state.refresh()?;
    }
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

fn report<'a>(run: &'a Path, state: &'a RunState) -> Report<'a> {
    let (last, held_out) = (state.steps.last(), state.held_out());
    let steps = state.facts.steps;
    Report {
        schema: "scribe.watch/1",
        run,
        finished: state.is_finished(),
        step: state.step(),
        steps,
        tokens: state.tokens(),
        loss: last.map(|last| last.loss),
        held_out_loss: held_out.map(|seen| seen.loss),
        held_out_bits_per_byte: held_out.map(|seen| seen.bits_per_byte),
        learning_rate: last.map(|last| last.rate),
        gradient_norm: last.map(|last| last.gradient_norm),
        tokens_per_second: state.recent_speed(),
        seconds_left: state.seconds_left(),
        quiet_seconds: state.quiet_for().map(|time| time.as_secs_f64()),
        messages: &state.messages,
    }
}

/// The same for people, without what is not known yet.
fn rows(state: &RunState) -> Vec<Vec<String>> {
    let (last, held_out) = (state.steps.last(), state.held_out());
    let figures = [
        ("step", Some(format!("{} of {}", state.step(), state.facts.steps))),
        ("tokens", Some(count_for_people(state.tokens(), " "))),
        ("loss", last.map(|last| format!("{:.4}", last.loss))),
        ("held-out loss", held_out.map(|seen| format!("{:.4}", seen.loss))),
        ("held-out bits/byte", held_out.map(|seen| format!("{:.4}", seen.bits_per_byte))),
        ("learning rate", last.map(|last| format!("{:.3e}", last.rate))),
        ("gradient norm", last.map(|last| format!("{:.4}", last.gradient_norm))),
        ("tokens/s", state.recent_speed().map(|speed| format!("{speed:.0}"))),
        ("time left", state.seconds_left().map(time_for_people)),
        ("last step", state.quiet_for().map(ago)),
        ("message", state.messages.last().map(|message| message.text.clone())),
    ];
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
