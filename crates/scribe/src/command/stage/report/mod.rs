//! `report.html`: a run on one page that needs nothing beside itself.

pub(in crate::command) mod policy;

use std::path::{Path, PathBuf};

use artifacts::disk::RealDisk;
use artifacts::folder;
use askama::Template;
use model::AdapterOptions;
use model::adapter::Target;
use training::metrics::StepMetrics;
use training::recipe::{AnyRecipe, CorpusRecipe, OptimizerKind, SourceRecipe, StageRecipe};
use training::schedule::Shape;
use training::{Recipe, RunFolder};

use super::super::{Failure, Session};
use crate::locale::Language;
use crate::plot::{Mark, Plot, Scale, Series};
use crate::run_state::{RunState, Sample, StepLine, figure};

/// The file in the stage's folder.
const REPORT_FILE: &str = "report.html";

/// The loss of longer runs is drawn over the logarithm of steps: it falls most in the first ones.
const LOG_STEPS_MIN: f64 = 1_000.0;

/// The page.
#[derive(Debug, Template)]
#[template(path = "report.html")]
struct Page {
    language: Language,
    title: String,
    state: String,
    figures: Vec<Fact>,
    /// Pictures, to be put in as they are.
    plots: Vec<Picture>,
    recipe: Vec<Fact>,
    samples: Vec<Sample>,
}

/// A name and what it is.
#[derive(Debug)]
struct Fact {
    name: String,
    value: String,
}

/// A picture with its title.
#[derive(Debug)]
struct Picture {
    title: String,
    svg: String,
}

impl Page {
    /// The words for `key`.
    fn t(&self, key: &str) -> String {
        self.language.text(key)
    }
}

/// What a page is about.
#[derive(Debug)]
pub(in crate::command) struct Subject<'a> {
    /// The stage's folder.
    folder: PathBuf,
    /// The words of the title.
    title: &'static str,
    /// The recipe of the run, where its model begins there.
    whole: Option<&'a Recipe>,
    seed: u64,
    text: &'a CorpusRecipe,
    stage: &'a StageRecipe,
    row_tokens: usize,
}

impl<'a> Subject<'a> {
    /// The pretraining of a run.
    pub(in crate::command) fn of_pretraining(run: &RunFolder, recipe: &'a Recipe) -> Self {
        Self {
            folder: run.pretrained(),
            title: "report-title",
            whole: Some(recipe),
            seed: recipe.seed,
            text: &recipe.corpus,
            stage: &recipe.pretrain,
            row_tokens: recipe.row_tokens(),
        }
    }

    /// The fine-tuning of a run, in rows of so many tokens.
    ///
    /// # Errors
    ///
    /// Where the recipe says nothing of it.
    pub(in crate::command) fn of_fine_tuning(
        run: &RunFolder,
        recipe: &'a AnyRecipe,
        row_tokens: usize,
    ) -> Result<Self, Failure> {
        let (seed, text, stage) = recipe.fine_tune()?;
        let whole = match recipe {
            AnyRecipe::Whole(recipe) => Some(&**recipe),
            AnyRecipe::FineTune(_) => None,
        };
        let (folder, title) = (run.fine_tuned(), "report-title-answers");
        Ok(Self { folder, title, whole, seed, text, stage, row_tokens })
    }
}

/// Writes the page of a stage and says where it is; a run that went well does not fail by it.
pub(in crate::command) fn tell(
    session: &mut Session,
    subject: &Subject<'_>,
    language: Language,
) -> Option<PathBuf> {
    match write(subject, language) {
        Ok(path) => {
            session.terminal.note(format_args!("{} shows how it went", path.display()));
            Some(path)
        }
        Err(Failure { error, .. }) => {
            let error = error.unwrap_or_else(|| anyhow::anyhow!("it was stopped"));
            session.terminal.warn(format_args!("there is no report of the run: {error:#}"));
            None
        }
    }
}

/// Writes the page of a stage. Returns where it is.
fn write(subject: &Subject<'_>, language: Language) -> Result<PathBuf, Failure> {
    let state = RunState::of_stage(&subject.folder)?;
    let path = subject.folder.join(REPORT_FILE);
    let page = page(&Run { subject, state: &state }, language)?;
    folder::land_bytes(&RealDisk, &path, page.as_bytes())?;
    Ok(path)
}

/// A subject and how it went.
#[derive(Debug, Clone, Copy)]
struct Run<'a> {
    subject: &'a Subject<'a>,
    state: &'a RunState,
}

impl Run<'_> {
    /// Weights of the model, where the recipe says its shape.
    fn parameters(&self) -> Option<u64> {
        let recipe = self.subject.whole?;
        Some(recipe.model.config(recipe.vocabulary().ok()?).ok()?.parameters())
    }
}

/// The page; the same run gives the same bytes.
fn page(run: &Run<'_>, language: Language) -> Result<String, askama::Error> {
    let state = run.state;
    let steps = state.facts.steps;
    let key = if state.step() == steps { "report-finished" } else { "report-stopped" };
    let values = [("done", state.step().into()), ("steps", steps.into())];
    let page = Page {
        language,
        title: language.format(run.subject.title, &[("run", state.name().into())]),
        state: language.format(key, &values),
        figures: figures(run, language),
        plots: plots(state, language),
        recipe: recipe_facts(run.subject, state.facts.steps, language),
        samples: state.samples(),
    };
    page.render()
}

/// What came out, and what it took.
fn figures(run: &Run<'_>, language: Language) -> Vec<Fact> {
    let state = run.state;
    let fact = |key: &str, value: Option<String>| {
        value.map(|value| Fact { name: language.text(key), value })
    };
    let number = |number: f64| language.number(number);
    let held_out = state.held_out();
    let facts = [
        fact("report-loss", state.steps.last().map(|last| number(rounded(last.loss)))),
        fact("report-held-out", held_out.map(|seen| number(rounded(seen.loss)))),
        fact("report-bits", held_out.map(|seen| number(rounded(seen.bits_per_byte)))),
        fact("report-parameters", run.parameters().map(|count| number(figure(count)))),
        fact("report-tokens", Some(number(figure(state.tokens())))),
        fact("report-time", state.mean_speed().map(|_| time(state.seconds(), language))),
        fact("report-speed", state.mean_speed().map(|speed| number(speed.round()))),
    ];
    facts.into_iter().flatten().collect()
}

/// What decided it.
fn recipe_facts(subject: &Subject<'_>, steps: u64, language: Language) -> Vec<Fact> {
    let stage = subject.stage;
    let number = |count: usize| language.number(figure(count as u64));
    let optimizer = match stage.optimizer {
        OptimizerKind::Adamw => "AdamW",
        OptimizerKind::Muon => "Muon",
    };
    let schedule = match stage.schedule {
        Shape::Constant => "report-constant",
        Shape::Linear => "report-linear",
        Shape::Cosine => "report-cosine",
        Shape::WarmupStableDecay => "report-decay",
    };
    let warmup = [("steps", stage.warmup_steps.into())];
    let text: Vec<String> = subject.text.sources.iter().map(source_name).collect();
    let mut facts = vec![("report-text", text.join(", "))];
    if let Some(recipe) = subject.whole {
        let Recipe { model, .. } = recipe;
        let vocabulary = recipe.vocabulary().map_or_else(|error| error.to_string(), number);
        facts.extend([
            ("report-vocabulary", vocabulary),
            ("report-layers", number(model.layers)),
            ("report-width", number(model.width)),
            ("report-heads", number(model.heads)),
            ("report-context", number(model.context_tokens)),
        ]);
    }
    facts.extend([
        ("report-steps", language.number(figure(steps))),
        ("report-rows", format!("{} × {}", number(stage.rows), number(subject.row_tokens))),
        ("report-optimizer", optimizer.to_owned()),
        ("report-rate", language.number(stage.learning_rate)),
        ("report-schedule", language.text(schedule)),
        ("report-warmup", language.format("report-warmup-steps", &warmup)),
        ("report-seed", subject.seed.to_string()),
    ]);
    if let Some(lora) = &stage.lora {
        let AdapterOptions { rank, alpha, targets, .. } = lora.options("");
        let values = [("rank", rank.into()), ("alpha", alpha.into())];
        let targets = targets.into_iter().map(Target::module);
        let targets: Vec<&str> = targets.collect();
        facts.extend([
            ("report-adapter", language.format("report-adapter-values", &values)),
            ("report-adapter-targets", targets.join(", ")),
        ]);
    }
    let fact = |(key, value)| Fact { name: language.text(key), value };
    facts.into_iter().map(fact).collect()
}

/// A source without the folders around it, which say something of the machine.
fn source_name(source: &SourceRecipe) -> String {
    let file = source.path.as_deref().and_then(Path::file_name);
    let name = file.map(|name| name.to_string_lossy().into_owned());
    name.or_else(|| source.set.clone()).unwrap_or_default()
}

fn plots(state: &RunState, language: Language) -> Vec<Picture> {
    let line = |key: &str, number: fn(&StepMetrics) -> Option<f64>| Series {
        name: language.text(key),
        mark: Mark::Line,
        points: points(&state.steps, number),
    };
    let dots = |key: &str, number: fn(&StepMetrics) -> Option<f64>| Series {
        mark: Mark::Dots,
        ..line(key, number)
    };
    let learned = line("report-learned", |metrics| Some(metrics.loss));
    let held_out = dots("report-held-out-text", |metrics| Some(metrics.validation?.loss));
    let bits = dots("report-bits", |metrics| Some(metrics.validation?.bits_per_byte));
    let rate = line("report-rate", |metrics| Some(metrics.rate));
    let norm = line("report-norm", |metrics| Some(metrics.gradient_norm));
    let all = [
        ("loss", "report-loss", vec![learned, held_out]),
        ("bits", "report-bits", vec![bits]),
        ("rate", "report-rate", vec![rate]),
        ("norm", "report-norm", vec![norm]),
    ];
    let pictures = all.into_iter().map(|(id, title, series)| picture(id, title, series, language));
    pictures.filter(|picture| !picture.svg.is_empty()).collect()
}

fn points<L: StepLine>(steps: &[L], number: fn(&L) -> Option<f64>) -> Vec<(f64, f64)> {
    let point = |metrics: &L| Some((figure(metrics.step()), number(metrics)?));
    steps.iter().filter_map(point).filter(|(_, y)| y.is_finite()).collect()
}

fn picture(id: &'static str, title: &str, mut series: Vec<Series>, language: Language) -> Picture {
    series.retain(|series| !series.points.is_empty());
    let title = language.text(title);
    let descriptions: Vec<String> =
        series.iter().filter_map(|series| description(series, language)).collect();
    let steps = series.iter().filter_map(|series| series.points.last()).map(|point| point.0);
    let x_scale = match id {
        "loss" if steps.fold(0.0, f64::max) >= LOG_STEPS_MIN => Scale::Log,
        _ => Scale::Linear,
    };
    let plot = Plot {
        id,
        title: title.clone(),
        description: descriptions.join(" "),
        x_name: language.text("report-step"),
        x_scale,
        point: language.point(),
        series,
    };
    Picture { title, svg: plot.svg() }
}

/// A curve in a sentence; `None` for one without points.
fn description(series: &Series, language: Language) -> Option<String> {
    let ((from, first), (to, last)) = (*series.points.first()?, *series.points.last()?);
    let least = series.points.iter().map(|point| point.1).fold(f64::INFINITY, f64::min);
    let values = [
        ("name", series.name.as_str().into()),
        ("from", from.into()),
        ("first", rounded(first).into()),
        ("to", to.into()),
        ("last", rounded(last).into()),
        ("least", rounded(least).into()),
    ];
    Some(language.format("report-curve", &values))
}

/// A number with four digits that count.
pub(in crate::command) fn rounded(number: f64) -> f64 {
    format!("{number:.3e}").parse().unwrap_or(number)
}

/// A time in hours, minutes and seconds.
pub(in crate::command) fn time(exact: f64, language: Language) -> String {
    let whole = exact.round();
    let (hours, rest) = ((whole / 3_600.0).floor(), whole % 3_600.0);
    let (minutes, seconds) = ((rest / 60.0).floor(), rest % 60.0);
    match (hours, minutes) {
        (1.0.., _) => format!("{} h {minutes} min", language.number(hours)),
        (_, 1.0..) => format!("{minutes} min {seconds} s"),
        _ if whole < 10.0 => format!("{} s", language.number((exact * 10.0).round() / 10.0)),
        _ => format!("{seconds} s"),
    }
}

#[cfg(test)]
mod tests;
