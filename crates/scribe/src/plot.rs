//! Curves as SVG: axes with round numbers, series with names, words for those who do not see it.
//!
//! The picture takes its colors from the page around it: `.plot` and, for the series, `.s0`, `.s1`.
//! The same data give the same bytes.

use std::fmt::Write as _;
use std::ops::RangeInclusive;

/// Size of a picture in its own units; a phone shows it at about four fifths of that.
const WIDTH: f64 = 360.0;
const HEIGHT: f64 = 240.0;
/// Room for numbers and names around the curves.
const LEFT: f64 = 50.0;
const RIGHT: f64 = 12.0;
const TOP: f64 = 28.0;
const BOTTOM: f64 = 40.0;
/// About as many round numbers on each axis.
const TICKS: f64 = 5.0;
/// The most points of a curve; of more, each bin shows its least and its greatest.
const POINTS_MAX: usize = 720;
/// Numbers from here on, and below its inverse, are written as powers of ten.
const PLAIN_MAX: f64 = 1e5;

/// How a series is drawn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mark {
    /// A line.
    Line,
    /// A line with a dot at each point, for a few of them.
    Dots,
}

/// How numbers lie on an axis.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Scale {
    /// Equal steps are equally far apart.
    Linear,
    /// Equal ratios are; numbers that are not positive are left out.
    Log,
}

/// A curve with its name.
#[derive(Debug, Clone)]
pub(crate) struct Series {
    /// What it is called.
    pub(crate) name: String,
    /// How it is drawn.
    pub(crate) mark: Mark,
    /// Its points from left to right; those that are not finite are left out.
    pub(crate) points: Vec<(f64, f64)>,
}

/// A picture of curves.
#[derive(Debug, Clone)]
pub(crate) struct Plot {
    /// A word for it that no other picture of the page has.
    pub(crate) id: &'static str,
    /// What it shows.
    pub(crate) title: String,
    /// The same in a sentence or two with numbers.
    pub(crate) description: String,
    /// What runs from left to right.
    pub(crate) x_name: String,
    /// How it does.
    pub(crate) x_scale: Scale,
    /// What stands between whole and broken parts of a number.
    pub(crate) point: &'static str,
    /// The curves, the last in front.
    pub(crate) series: Vec<Series>,
}

impl Plot {
    /// The picture, to be put into a page as it is.
    pub(crate) fn svg(&self) -> String {
        let Some(frame) = Frame::around(self) else { return String::new() };
        let mut svg = String::new();
        let (id, title) = (self.id, escaped(&self.title));
        // Writing to a string cannot fail.
        let _ = writeln!(
            svg,
            "<svg class=\"plot\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" role=\"img\" \
             aria-labelledby=\"{id}-title {id}-desc\">\
             <title id=\"{id}-title\">{title}</title>\
             <desc id=\"{id}-desc\">{}</desc>",
            escaped(&self.description)
        );
        frame.draw_axes(self, &mut svg);
        for (index, series) in self.series.iter().enumerate() {
            frame.draw_series(index, series, &mut svg);
        }
        // One curve alone is what the title says.
        if self.series.len() > 1 {
            self.draw_names(&mut svg);
        }
        svg.push_str("</svg>\n");
        svg
    }

    /// The names of the series in a line, each behind a piece of its curve.
    fn draw_names(&self, svg: &mut String) {
        let mut x = LEFT;
        for (index, series) in self.series.iter().enumerate() {
            let dot = match series.mark {
                Mark::Dots => format!("<circle cx=\"{:.0}\" cy=\"12\" r=\"3\"/>", x + 8.0),
                Mark::Line => String::new(),
            };
            let _ = writeln!(
                svg,
                "<g class=\"s{index}\"><path d=\"M{x:.0} 12h16\"/>{dot}</g>\
                 <text x=\"{:.0}\" y=\"16\">{}</text>",
                x + 21.0,
                escaped(&series.name)
            );
            x += 40.0 + 7.5 * count(series.name.chars().count());
        }
    }
}

/// Where numbers lie in the picture.
#[derive(Debug)]
struct Frame {
    x: Axis,
    y: Axis,
}

/// One direction: numbers, and where they lie.
#[derive(Debug)]
struct Axis {
    scale: Scale,
    /// The least and the greatest number, as the scale has them.
    from: f64,
    to: f64,
    /// From one round number to the next, where the scale is linear.
    step: f64,
    /// Where these lie.
    begin: f64,
    end: f64,
}

impl Frame {
    /// The frame that all points fit in; `None` where there is no point.
    fn around(plot: &Plot) -> Option<Self> {
        let points = || plot.series.iter().flat_map(|series| series.points.iter().copied());
        let seen = || points().filter(|&(x, y)| x.is_finite() && y.is_finite());
        let x = Axis::around(plot.x_scale, seen().map(|(x, _)| x), LEFT..=WIDTH - RIGHT)?;
        let y = Axis::around(Scale::Linear, seen().map(|(_, y)| y), HEIGHT - BOTTOM..=TOP)?;
        Some(Self { x, y: y.rounded() })
    }

    fn place(&self, (x, y): (f64, f64)) -> Option<(f64, f64)> {
        Some((self.x.place(x)?, self.y.place(y)?))
    }

    fn draw_axes(&self, plot: &Plot, svg: &mut String) {
        let (right, bottom) = (WIDTH - RIGHT, HEIGHT - BOTTOM);
        for (number, y) in self.y.ticks() {
            let _ = writeln!(
                svg,
                "<path class=\"grid\" d=\"M{LEFT} {y:.1}H{right}\"/>\
                 <text class=\"tick\" text-anchor=\"end\" x=\"{}\" y=\"{:.1}\">{}</text>",
                LEFT - 6.0,
                y + 4.0,
                self.y.written(number, plot.point)
            );
        }
        for (number, x) in self.x.ticks() {
            let _ = writeln!(
                svg,
                "<path class=\"axis\" d=\"M{x:.1} {bottom}v4\"/>\
                 <text class=\"tick\" text-anchor=\"middle\" x=\"{x:.1}\" y=\"{}\">{}</text>",
                bottom + 16.0,
                self.x.written(number, plot.point)
            );
        }
        let _ = writeln!(
            svg,
            "<path class=\"axis\" d=\"M{LEFT} {bottom}H{right}\"/>\
             <text text-anchor=\"end\" x=\"{right}\" y=\"{}\">{}</text>",
            HEIGHT - 7.0,
            escaped(&plot.x_name)
        );
    }

    fn draw_series(&self, index: usize, series: &Series, svg: &mut String) {
        let places: Vec<_> = series.points.iter().filter_map(|&at| self.place(at)).collect();
        let places = thinned(&places);
        let mut path = String::new();
        for (at, (x, y)) in places.iter().enumerate() {
            let letter = if at == 0 { 'M' } else { 'L' };
            let _ = write!(path, "{letter}{x:.1} {y:.1}");
        }
        let _ = writeln!(svg, "<g class=\"s{index}\"><path d=\"{path}\"/>");
        // A line through one point cannot be seen.
        if series.mark == Mark::Dots || places.len() == 1 {
            for (x, y) in &places {
                let _ = write!(svg, "<circle cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"3\"/>");
            }
        }
        svg.push_str("</g>\n");
    }
}

impl Axis {
    fn around(
        scale: Scale,
        numbers: impl Iterator<Item = f64>,
        place: RangeInclusive<f64>,
    ) -> Option<Self> {
        let scaled = numbers.filter_map(|number| scale.of(number));
        let (from, to) = scaled.fold((f64::INFINITY, f64::NEG_INFINITY), |(from, to), number| {
            (from.min(number), to.max(number))
        });
        if from > to {
            return None;
        }
        // One number alone stands in the middle.
        let margin = if to > from { 0.0 } else { from.abs().max(1.0) / 2.0 };
        let (begin, end) = place.into_inner();
        let (from, to) = (from - margin, to + margin);
        Some(Self { scale, from, to, step: round_step((to - from) / TICKS), begin, end })
    }

    /// The axis from one round number to another.
    fn rounded(self) -> Self {
        let step = self.step;
        Self { from: (self.from / step).floor() * step, to: (self.to / step).ceil() * step, ..self }
    }

    /// Where a number lies, if it can be shown.
    fn place(&self, number: f64) -> Option<f64> {
        let share = (self.scale.of(number)? - self.from) / (self.to - self.from);
        Some(self.begin + share * (self.end - self.begin))
    }

    /// Round numbers, and where they lie.
    fn ticks(&self) -> Vec<(f64, f64)> {
        let numbers = match self.scale {
            Scale::Linear => multiples(self.step, self.from, self.to),
            Scale::Log => round_ratios(self.from, self.to),
        };
        numbers.into_iter().filter_map(|number| Some((number, self.place(number)?))).collect()
    }

    /// A tick's number with the digits that tell it from its neighbors.
    fn written(&self, number: f64, point: &str) -> String {
        let (greatest, step) = match self.scale {
            Scale::Linear => (self.from.abs().max(self.to.abs()), self.step),
            Scale::Log => (number, number),
        };
        if number.abs() < step / 2.0 {
            return "0".to_owned();
        }
        if !(1.0 / PLAIN_MAX * 10.0..PLAIN_MAX).contains(&greatest) {
            return format!("{number:.1e}").replace(".0e", "e").replace('.', point);
        }
        // As many as the step has: 0.05 has two.
        let digits = (0..6).find(|&digits| is_whole(step * 10_f64.powi(digits))).unwrap_or(6);
        format!("{number:.*}", usize::try_from(digits).unwrap_or(0)).replace('.', point)
    }
}

impl Scale {
    /// A number as the axis has it, if it can be shown.
    fn of(self, number: f64) -> Option<f64> {
        let scaled = match self {
            Self::Linear => number,
            Self::Log => number.log10(),
        };
        scaled.is_finite().then_some(scaled)
    }
}

/// A number near `raw` that is 1, 2 or 5 times a power of ten.
fn round_step(raw: f64) -> f64 {
    let power = 10_f64.powf(raw.log10().floor());
    match raw / power {
        ..1.5 => power,
        ..3.5 => 2.0 * power,
        ..7.5 => 5.0 * power,
        _ => 10.0 * power,
    }
}

/// The multiples of a step from one number to another.
fn multiples(step: f64, from: f64, to: f64) -> Vec<f64> {
    // Rounding must not lose the last one.
    let (first, last) = ((from / step - 1e-6).ceil(), (to / step + 1e-6).floor());
    let along = std::iter::successors(Some(first), |at| Some(at + 1.0));
    along.take_while(|&at| at <= last).map(|at| at * step).collect()
}

/// Powers of ten between two exponents, with 2 and 5 times these where there are few.
fn round_ratios(from: f64, to: f64) -> Vec<f64> {
    let factors: &[f64] = if to - from > TICKS / 2.0 { &[1.0] } else { &[1.0, 2.0, 5.0] };
    let powers = multiples(1.0, from.floor(), to.ceil());
    let all = powers.iter().flat_map(|&power| factors.iter().map(move |f| f * 10_f64.powf(power)));
    all.filter(|number| (from - 1e-9..=to + 1e-9).contains(&number.log10())).collect()
}

/// The points, or of many the least and greatest of each of a number of bins, in their order.
pub(crate) fn thinned(points: &[(f64, f64)]) -> Vec<(f64, f64)> {
    if points.len() <= POINTS_MAX {
        return points.to_vec();
    }
    let bin = points.len().div_ceil(POINTS_MAX / 2);
    let ends = |bin: &[(f64, f64)]| {
        let mut by_height: Vec<usize> = (0..bin.len()).collect();
        by_height.sort_by(|&a, &b| bin[a].1.total_cmp(&bin[b].1));
        let [least, greatest] = [by_height[0], by_height[bin.len() - 1]];
        [bin[least.min(greatest)], bin[least.max(greatest)]]
    };
    points.chunks(bin).flat_map(ends).collect()
}

/// Whether only rounding keeps a number from being whole.
fn is_whole(number: f64) -> bool {
    (number - number.round()).abs() < 1e-6 * number.abs().max(1.0)
}

#[expect(clippy::cast_precision_loss, reason = "a name has fewer than 2^52 characters")]
fn count(count: usize) -> f64 {
    count as f64
}

/// Text with everything escaped that has a meaning in SVG; what XML cannot hold is replaced.
pub(crate) fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            c if c.is_control() && !matches!(c, '\n' | '\t') => {
                out.push(char::REPLACEMENT_CHARACTER)
            }
            c => out.push(c),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use expect_test::expect;

    use super::*;

    fn plot(points: Vec<(f64, f64)>) -> Plot {
        let series = Series { name: "loss".to_owned(), mark: Mark::Line, points };
        Plot {
            id: "loss",
            title: "Loss".to_owned(),
            description: "It falls.".to_owned(),
            x_name: "step".to_owned(),
            x_scale: Scale::Linear,
            point: ".",
            series: vec![series],
        }
    }

    /// The numbers on an axis.
    fn ticks(scale: Scale, from: f64, to: f64) -> String {
        let axis = Axis::around(scale, [from, to].into_iter(), 0.0..=100.0).unwrap();
        let written = axis.ticks().into_iter().map(|(number, _)| axis.written(number, "."));
        written.collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn ticks_are_round_and_told_apart() {
        for (scale, from, to, expected) in [
            (Scale::Linear, 0.0, 300.0, "0 50 100 150 200 250 300"),
            (Scale::Linear, 1.0, 8.0, "1 2 3 4 5 6 7 8"),
            (Scale::Linear, 2.31, 2.69, "2.4 2.5 2.6"),
            (Scale::Linear, -0.07, 0.05, "-0.06 -0.04 -0.02 0 0.02 0.04"),
            (Scale::Linear, 0.0, 4e-5, "0 1e-5 2e-5 3e-5 4e-5"),
            (Scale::Linear, 0.0, 250_000.0, "0 5e4 1e5 1.5e5 2e5 2.5e5"),
            (Scale::Log, 1.0, 90.0, "1 2 5 10 20 50"),
            (Scale::Log, 0.5, 20_000.0, "1 10 100 1000 10000"),
        ] {
            assert_eq!(ticks(scale, from, to), expected, "{from} to {to}");
        }
    }

    #[test]
    fn a_small_picture() {
        let mut plot = plot(vec![(1.0, 4.0), (2.0, f64::NAN), (3.0, 2.0)]);
        let points = vec![(2.0, 3.0)];
        plot.series.push(Series { name: "held out".to_owned(), mark: Mark::Dots, points });
        expect![[r#"
            <svg class="plot" viewBox="0 0 360 240" role="img" aria-labelledby="loss-title loss-desc"><title id="loss-title">Loss</title><desc id="loss-desc">It falls.</desc>
            <path class="grid" d="M50 200.0H348"/><text class="tick" text-anchor="end" x="44" y="204.0">2.0</text>
            <path class="grid" d="M50 157.0H348"/><text class="tick" text-anchor="end" x="44" y="161.0">2.5</text>
            <path class="grid" d="M50 114.0H348"/><text class="tick" text-anchor="end" x="44" y="118.0">3.0</text>
            <path class="grid" d="M50 71.0H348"/><text class="tick" text-anchor="end" x="44" y="75.0">3.5</text>
            <path class="grid" d="M50 28.0H348"/><text class="tick" text-anchor="end" x="44" y="32.0">4.0</text>
            <path class="axis" d="M50.0 200v4"/><text class="tick" text-anchor="middle" x="50.0" y="216">1.0</text>
            <path class="axis" d="M124.5 200v4"/><text class="tick" text-anchor="middle" x="124.5" y="216">1.5</text>
            <path class="axis" d="M199.0 200v4"/><text class="tick" text-anchor="middle" x="199.0" y="216">2.0</text>
            <path class="axis" d="M273.5 200v4"/><text class="tick" text-anchor="middle" x="273.5" y="216">2.5</text>
            <path class="axis" d="M348.0 200v4"/><text class="tick" text-anchor="middle" x="348.0" y="216">3.0</text>
            <path class="axis" d="M50 200H348"/><text text-anchor="end" x="348" y="233">step</text>
            <g class="s0"><path d="M50.0 28.0L348.0 200.0"/>
            </g>
            <g class="s1"><path d="M199.0 114.0"/>
            <circle cx="199.0" cy="114.0" r="3"/></g>
            <g class="s0"><path d="M50 12h16"/></g><text x="71" y="16">loss</text>
            <g class="s1"><path d="M120 12h16"/><circle cx="128" cy="12" r="3"/></g><text x="141" y="16">held out</text>
            </svg>
        "#]].assert_eq(&plot.svg());
    }

    #[test]
    fn words_from_outside_stay_words() {
        let of_two = || {
            let mut plot = plot(vec![(0.0, 1.0)]);
            plot.series.push(plot.series[0].clone());
            plot
        };
        let mut hostile = of_two();
        let text = "</title><script>alert(1)</script>\" onload='x' \u{0}&amp;";
        (hostile.title, hostile.description) = (text.to_owned(), text.to_owned());
        (hostile.x_name, hostile.series[0].name) = (text.to_owned(), text.to_owned());
        let svg = hostile.svg();
        assert!(!svg.contains("<script") && !svg.contains('\0'), "{svg}");
        assert_eq!(svg.matches("&lt;script&gt;").count(), 4);
        let without = of_two().svg();
        for mark in ['<', '"', '\''] {
            assert_eq!(svg.matches(mark).count(), without.matches(mark).count(), "{mark}");
        }
    }

    #[test]
    fn no_data_is_no_picture_and_odd_data_stay_inside() {
        assert_eq!(plot(Vec::new()).svg(), "");
        assert_eq!(plot(vec![(1.0, f64::INFINITY)]).svg(), "");
        for points in [
            vec![(5.0, 5.0)],
            vec![(0.0, 0.0), (1.0, 0.0)],
            vec![(1.0, -1e300), (2.0, 1e300)],
            vec![(1.0, 1e-300), (2.0, 2e-300)],
        ] {
            let svg = plot(points).svg();
            assert!(svg.contains("<path d=\"M") && !svg.contains("NaN"), "{svg}");
        }
        let mut log = plot(vec![(0.0, 1.0), (10.0, 2.0), (100.0, 3.0)]);
        log.x_scale = Scale::Log;
        assert!(log.svg().contains("d=\"M50.0 114.0L348.0 28.0\""), "{}", log.svg());
    }

    #[test]
    fn many_points_become_few_and_no_peak_is_lost() {
        let mut points: Vec<(f64, f64)> = (0..100_000).map(|x| (f64::from(x), 1.0)).collect();
        points[77_777].1 = 9.0;
        let few = thinned(&points);
        assert!(few.len() <= POINTS_MAX && few.contains(&(77_777.0, 9.0)), "{}", few.len());
        assert!(few.is_sorted_by(|a, b| a.0 <= b.0));
        assert!(plot(points).svg().len() < 20_000);
    }
}
