//! A stage that learns text, as it is watched.

use std::path::Path;
use std::time::Duration;

use ratatui::style::Color;
use serde::Serialize;
use training::metrics::StepMetrics;

use super::screen::{Curve, Picture, Shown};
use super::{ago, known};
use crate::run_state::{Message, RunState, time_for_people};
use crate::terminal::count_for_people;

/// `scribe watch --json`.
#[derive(Debug, Serialize)]
pub(super) struct Report<'a> {
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

/// How the stage stands.
pub(super) fn report<'a>(run: &'a Path, state: &'a RunState) -> Report<'a> {
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

/// The same for people.
pub(super) fn rows(state: &RunState) -> Vec<Vec<String>> {
    let (last, held_out) = (state.steps.last(), state.held_out());
    known([
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
    ])
}

/// The same on a screen.
pub(super) fn shown(state: &RunState, quiet: Option<Duration>) -> Shown<'_> {
    let (last, held_out) = (state.steps.last(), state.held_out());
    let figures = [
        last.map(|last| format!("loss {:.3}", last.loss)),
        held_out.map(|seen| format!("held out {:.3}", seen.loss)),
        held_out.map(|seen| format!("{:.3} bits/byte", seen.bits_per_byte)),
        state.recent_speed().map(|speed| format!("{speed:.0} tokens/s")),
        state.seconds_left().map(|left| format!("{} left", time_for_people(left))),
    ];
    let curve = |name, color, number: fn(&StepMetrics) -> Option<f64>| {
        Curve::of(&state.steps, name, color, number)
    };
    let learned = curve("learned", Color::Cyan, |metrics| Some(metrics.loss));
    let seen = curve("held out", Color::Yellow, |metrics| Some(metrics.validation?.loss));
    let rate = curve("", Color::Green, |metrics| Some(metrics.rate));
    let norm = curve("", Color::Magenta, |metrics| Some(metrics.gradient_norm));
    Shown {
        pictures: [
            Picture { title: "loss", curves: vec![learned, seen] },
            Picture { title: "learning rate", curves: vec![rate] },
            Picture { title: "gradient norm", curves: vec![norm] },
        ],
        figures: figures.into_iter().flatten().collect(),
        ..Shown::of(state, quiet)
    }
}
