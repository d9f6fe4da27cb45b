//! A policy that learns from a reward model, as it is watched.

use std::path::Path;
use std::time::Duration;

use ratatui::style::Color;
use serde::Serialize;
use training::ppo::PpoMetrics;
use training::ppo::goodhart::Curve as Readings;

use super::screen::{Curve, Picture, Shown};
use super::{ago, known};
use crate::run_state::{Message, PolicyState, time_for_people};

/// `scribe watch --json`.
#[derive(Debug, Serialize)]
pub(super) struct Report<'a> {
    schema: &'static str,
    run: &'a Path,
    finished: bool,
    step: u64,
    steps: u64,
    last: Option<&'a PpoMetrics>,
    /// Where the meter's readings so far foretell the peak, in nats.
    peak_kl: Option<f64>,
    answers_per_second: Option<f64>,
    seconds_left: Option<f64>,
    /// Since the last step; much more than a step takes where nobody trains any more.
    quiet_seconds: Option<f64>,
    messages: &'a [Message],
}

/// How the stage stands.
pub(super) fn report<'a>(run: &'a Path, state: &'a PolicyState) -> Report<'a> {
    Report {
        schema: "scribe.watch-ppo/1",
        run,
        finished: state.is_finished(),
        step: state.step(),
        steps: state.facts.steps,
        last: state.steps.last(),
        peak_kl: peak_kl(state),
        answers_per_second: state.recent_speed(),
        seconds_left: state.seconds_left(),
        quiet_seconds: state.quiet_for().map(|time| time.as_secs_f64()),
        messages: &state.messages,
    }
}

fn peak_kl(state: &PolicyState) -> Option<f64> {
    let peak = Readings::of(&state.steps).fit()?.peak()?;
    Some(peak * peak)
}

/// The same for people.
pub(super) fn rows(state: &PolicyState) -> Vec<Vec<String>> {
    let last = state.steps.last();
    let figure = |number: fn(&PpoMetrics) -> f64| last.map(|last| format!("{:.4}", number(last)));
    known([
        ("step", Some(format!("{} of {}", state.step(), state.facts.steps))),
        ("score", figure(|last| last.score)),
        ("reward", figure(|last| last.reward)),
        ("KL of an answer", figure(|last| last.kl_per_episode)),
        ("price of KL", figure(|last| last.kl_coefficient)),
        ("peak foretold at KL", peak_kl(state).map(|kl| format!("{kl:.2}"))),
        ("entropy", figure(|last| last.entropy)),
        ("tokens of an answer", figure(|last| last.completion_tokens)),
        ("clip fraction", figure(|last| last.clip_fraction)),
        ("explained variance", figure(|last| last.explained_variance)),
        ("answers/s", state.recent_speed().map(|speed| format!("{speed:.1}"))),
        ("time left", state.seconds_left().map(time_for_people)),
        ("last step", state.quiet_for().map(ago)),
        ("message", state.messages.last().map(|message| message.text.clone())),
    ])
}

/// The same on a screen.
pub(super) fn shown(state: &PolicyState, quiet: Option<Duration>) -> Shown<'_> {
    let last = state.steps.last();
    let figures = [
        last.map(|last| format!("score {:.2}", last.score)),
        last.map(|last| format!("KL {:.2}", last.kl_per_episode)),
        last.map(|last| format!("{:.0} tokens an answer", last.completion_tokens)),
        peak_kl(state).map(|kl| format!("peak foretold at KL {kl:.2}")),
        state.seconds_left().map(|left| format!("{} left", time_for_people(left))),
    ];
    let curve = |name, color, number: fn(&PpoMetrics) -> Option<f64>| {
        Curve::of(&state.steps, name, color, number)
    };
    let score = curve("score", Color::Cyan, |metrics| Some(metrics.score));
    let reward = curve("reward", Color::Yellow, |metrics| Some(metrics.reward));
    let kl = curve("", Color::Green, |metrics| Some(metrics.kl_per_episode));
    let gold = curve("", Color::Magenta, |metrics| metrics.meter?.gold);
    let entropy = curve("", Color::Magenta, |metrics| Some(metrics.entropy));
    let lower = match gold.is_empty() {
        false => Picture { title: "the judge, held-out prompts", curves: vec![gold] },
        true => Picture { title: "entropy", curves: vec![entropy] },
    };
    Shown {
        pictures: [
            Picture { title: "score and reward", curves: vec![score, reward] },
            Picture { title: "KL of an answer", curves: vec![kl] },
            lower,
        ],
        figures: figures.into_iter().flatten().collect(),
        ..Shown::of(state, quiet)
    }
}
