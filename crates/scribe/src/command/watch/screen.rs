//! What `scribe watch` draws: curves, figures, messages.

use std::time::Duration;

use ratatui::Frame;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::style::{Color, Style, Stylize};
use ratatui::symbols::Marker;
use ratatui::text::{Line, Span};
use ratatui::widgets::{Axis, Block, Chart, Dataset, GraphType, LegendPosition, Paragraph};

use super::ago;
use crate::plot::thinned;
use crate::run_state::{Message, StageState, StepLine, figure};

/// Terminals smaller than this show the loss alone.
const WIDTH_OF_ALL: u16 = 72;
const HEIGHT_OF_ALL: u16 = 18;
/// Messages that are shown, from the last one on.
const MESSAGES: u16 = 3;

/// A curve of the run.
pub(super) struct Curve {
    name: &'static str,
    color: Color,
    points: Vec<(f64, f64)>,
}

impl Curve {
    pub(super) fn of<L: StepLine>(
        steps: &[L],
        name: &'static str,
        color: Color,
        number: fn(&L) -> Option<f64>,
    ) -> Self {
        let point = |metrics: &L| Some((figure(metrics.step()), number(metrics)?));
        let points = steps.iter().filter_map(point).filter(|(_, y)| y.is_finite());
        Self { name, color, points: thinned(&points.collect::<Vec<_>>()) }
    }

    /// Whether there is nothing to draw.
    pub(super) fn is_empty(&self) -> bool {
        self.points.is_empty()
    }
}

/// Some curves under a title.
#[derive(Default)]
pub(super) struct Picture {
    pub(super) title: &'static str,
    pub(super) curves: Vec<Curve>,
}

/// What is on the screen.
pub(super) struct Shown<'a> {
    pub(super) name: String,
    pub(super) step: u64,
    pub(super) steps: u64,
    /// When the last step was.
    pub(super) when: String,
    /// The first one is drawn large, and alone where there is little room.
    pub(super) pictures: [Picture; 3],
    pub(super) figures: Vec<String>,
    pub(super) messages: &'a [Message],
}

impl<'a> Shown<'a> {
    /// What is the same of every stage; `quiet` is the time since its last step.
    pub(super) fn of<L: StepLine>(state: &'a StageState<L>, quiet: Option<Duration>) -> Self {
        let when = match quiet {
            _ if state.is_finished() => "finished".to_owned(),
            Some(time) => format!("last step {}", ago(time)),
            None => "not begun".to_owned(),
        };
        Self {
            name: state.name(),
            step: state.step(),
            steps: state.facts.steps,
            when,
            pictures: Default::default(),
            figures: Vec::new(),
            messages: &state.messages,
        }
    }
}

/// Draws a stage on the whole screen.
pub(super) fn draw(frame: &mut Frame<'_>, shown: &Shown<'_>) {
    let area = frame.area();
    let all = area.width >= WIDTH_OF_ALL && area.height >= HEIGHT_OF_ALL;
    let messages = if all { MESSAGES } else { 0 };
    let rows = [
        Constraint::Length(1),
        Constraint::Fill(1),
        Constraint::Length(1),
        Constraint::Length(messages),
    ];
    let [head, curves, figures, talk] = Layout::vertical(rows).areas(area);
    frame.render_widget(title(shown), head);
    draw_pictures(frame, curves, &shown.pictures, all);
    frame.render_widget(Line::from(format!(" {}", shown.figures.join(" · "))).bold(), figures);
    let last = shown.messages.iter().rev().take(messages.into()).rev();
    let lines: Vec<Line<'_>> = last
        .map(|message| Line::from(format!(" step {}: {}", message.step, message.text)).dim())
        .collect();
    frame.render_widget(Paragraph::new(lines), talk);
}

fn title(shown: &Shown<'_>) -> Line<'static> {
    let Shown { name, step, steps, when, .. } = shown;
    let percent = step * 100 / (*steps).max(1);
    Line::from(vec![
        Span::from(format!(" {name} ")).bold(),
        Span::from(format!("step {step} of {steps} ({percent} %), {when}")),
        Span::from("   q leaves").dim(),
    ])
}

fn draw_pictures(frame: &mut Frame<'_>, area: Rect, pictures: &[Picture; 3], all: bool) {
    let [large, upper, lower] = pictures;
    if !all {
        return draw_chart(frame, area, large.title, &large.curves);
    }
    let sides = [Constraint::Percentage(60), Constraint::Fill(1)];
    let [left, right] = Layout::horizontal(sides).areas(area);
    let [above, below] = Layout::vertical([Constraint::Fill(1); 2]).areas(right);
    draw_chart(frame, left, large.title, &large.curves);
    draw_chart(frame, above, upper.title, &upper.curves);
    draw_chart(frame, below, lower.title, &lower.curves);
}

fn draw_chart(frame: &mut Frame<'_>, area: Rect, title: &'static str, curves: &[Curve]) {
    let block = Block::bordered().title(format!(" {title} "));
    let points = || curves.iter().flat_map(|curve| &curve.points);
    let (Some(x), Some(y)) = (range(points().map(|at| at.0)), range(points().map(|at| at.1)))
    else {
        return frame.render_widget(Paragraph::new("no step yet").block(block), area);
    };
    let dataset = |curve: &Curve| {
        Dataset::default()
            .name(curve.name)
            .marker(Marker::Braille)
            .graph_type(GraphType::Line)
            .style(Style::new().fg(curve.color))
    };
    let sets = curves.iter().map(|curve| dataset(curve).data(&curve.points)).collect();
    let [x_from, x_to] = x.map(|step| format!("{step:.0}"));
    let y_names = [y[0], f64::midpoint(y[0], y[1]), y[1]].map(short);
    let named = curves.len() > 1;
    let chart = Chart::new(sets)
        .block(block)
        .legend_position(named.then_some(LegendPosition::TopRight))
        .x_axis(Axis::default().bounds(x).labels([x_from, x_to]))
        .y_axis(Axis::default().bounds(y).labels(y_names));
    frame.render_widget(chart, area);
}

/// The least and the greatest number, apart even where they are equal.
fn range(numbers: impl Iterator<Item = f64>) -> Option<[f64; 2]> {
    let (from, to) =
        numbers.fold((f64::INFINITY, f64::NEG_INFINITY), |(from, to), x| (from.min(x), to.max(x)));
    match from < to {
        true => Some([from, to]),
        false if from.is_finite() => Some([from - 0.5, from + 0.5]),
        false => None,
    }
}

/// A number in few characters.
fn short(number: f64) -> String {
    match number.abs() {
        0.0 | 0.01..1000.0 => format!("{number:.2}"),
        _ => format!("{number:.1e}"),
    }
}

#[cfg(test)]
mod tests {
    use ratatui::Terminal;
    use ratatui::backend::TestBackend;

    use super::super::text;
    use super::*;
    use crate::run_state::tests::run_of;

    /// The screen after so many steps.
    fn screen(width: u16, height: u16, steps: u32) -> String {
        let (_folder, state) = run_of(steps);
        let mut terminal = Terminal::new(TestBackend::new(width, height)).unwrap();
        let quiet = (steps > 0).then(|| Duration::from_secs(3));
        terminal.draw(|frame| draw(frame, &text::shown(&state, quiet))).unwrap();
        terminal.backend().to_string()
    }

    #[test]
    fn the_screen_shows_curves_figures_and_the_last_messages() {
        let screen = screen(90, 24, 40);
        for expected in [
            "step 40 of 100 (40 %), last step 3 s ago",
            " loss ",
            " learning rate ",
            " gradient norm ",
            "learned",
            "held out 1.100 · 1.500 bits/byte · 10 tokens/s · 2 min left",
            "step 40: saved",
        ] {
            assert!(screen.contains(expected), "{expected}:\n{screen}");
        }
        assert!(screen.chars().any(|c| ('\u{2801}'..='\u{28ff}').contains(&c)), "{screen}");
    }

    #[test]
    fn small_screens_show_the_loss_and_tiny_ones_do_not_fail() {
        let small = screen(50, 12, 40);
        assert!(small.contains(" loss ") && !small.contains("gradient norm"), "{small}");
        for (width, height) in [(1, 1), (3, 2), (20, 5), (200, 3)] {
            screen(width, height, 40);
        }
    }

    #[test]
    fn before_the_first_step_there_is_nothing_to_draw() {
        let screen = screen(90, 24, 0);
        assert!(screen.contains("step 0 of 100 (0 %), not begun"), "{screen}");
        assert!(screen.contains("no step yet"), "{screen}");
    }
}
