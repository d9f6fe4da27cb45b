//! The page of a policy: what it was told and what came of it, step by step, where its judge says that
//! it went too far, and what the gate said.

use std::path::{Path, PathBuf};

use artifacts::disk::RealDisk;
use artifacts::folder;
use askama::Template;
use training::ppo::PpoMetrics;
use training::ppo::goodhart::{BestOf, Curve, Measured};
use training::recipe::PpoRecipe;

use super::super::super::{Failure, Session};
use super::{Fact, Page, Picture, REPORT_FILE, description, points, rounded, time};
use crate::locale::Language;
use crate::plot::{Mark, Plot, Scale, Series};
use crate::run_state::{PolicyState, figure};

/// Points of the law that is drawn.
const LAW_POINTS: u32 = 60;

/// What a page of a policy is about.
#[derive(Debug)]
pub(in crate::command) struct PolicySubject<'a> {
    /// The folder of the round.
    pub(in crate::command) folder: PathBuf,
    /// Counted from 1.
    pub(in crate::command) round: usize,
    pub(in crate::command) recipe: &'a PpoRecipe,
    /// Shares of blinded pairs that the policy won at the gate: of all, and of those whose answers are
    /// of nearly one length.
    pub(in crate::command) win_rates: Option<[f64; 2]>,
}

/// Writes the page of a policy and says where it is; a run that went well does not fail by it.
pub(in crate::command) fn tell(
    session: &mut Session,
    subject: &PolicySubject<'_>,
    language: Language,
) {
    match write(subject, language) {
        Ok(path) => session.terminal.note(format_args!("{} shows how it went", path.display())),
        Err(Failure { error, .. }) => {
            let error = error.unwrap_or_else(|| anyhow::anyhow!("it was stopped"));
            session.terminal.warn(format_args!("there is no report of the round: {error:#}"));
        }
    }
}

fn write(subject: &PolicySubject<'_>, language: Language) -> Result<PathBuf, Failure> {
    let state = PolicyState::of_stage(&subject.folder)?;
    let path = subject.folder.join(REPORT_FILE);
    let page = page(subject, &state, language)?;
    folder::land_bytes(&RealDisk, &path, page.as_bytes())?;
    Ok(path)
}

/// The page; the same stage gives the same bytes.
fn page(
    subject: &PolicySubject<'_>,
    state: &PolicyState,
    language: Language,
) -> Result<String, askama::Error> {
    let values = [("run", state.name().into()), ("round", subject.round.into())];
    let key = if state.is_finished() { "report-finished" } else { "report-stopped" };
    let steps = [("done", state.step().into()), ("steps", state.facts.steps.into())];
    let curve = Curve::of(&state.steps);
    let mut plots: Vec<Picture> = goodhart("goodhart", &curve, &[], language).into_iter().collect();
    plots.extend(self::plots(subject.recipe, state, language));
    Page {
        language,
        title: language.format("report-title-policy", &values),
        state: language.format(key, &steps),
        figures: figures(subject, state, &curve, language),
        plots,
        recipe: recipe_facts(subject.recipe, language),
        samples: state.samples(),
    }
    .render()
}

/// What came out, and what it took.
fn figures(
    subject: &PolicySubject<'_>,
    state: &PolicyState,
    curve: &Curve,
    language: Language,
) -> Vec<Fact> {
    let last = state.steps.last();
    let number = |number: f64| language.number(rounded(number));
    let share = |share: f64| format!("{}\u{a0}%", language.number((1000.0 * share).round() / 10.0));
    let peak = curve.fit().and_then(|fit| fit.peak());
    let gold = curve.gold();
    let facts = [
        ("report-score", last.map(|last| number(last.score))),
        ("report-kl", last.map(|last| number(last.kl_per_episode))),
        ("report-judge-gain", gold.last().map(|measured| number(measured.gain))),
        ("report-peak", peak.map(|peak| number(peak * peak))),
        ("report-win-rate", subject.win_rates.map(|[all, _]| share(all))),
        ("report-win-rate-matched", subject.win_rates.map(|[_, matched]| share(matched))),
        ("report-answer-tokens", last.map(|last| number(last.completion_tokens))),
        ("report-time", state.mean_speed().map(|_| time(state.seconds(), language))),
    ];
    let fact = |(key, value): (&str, Option<String>)| {
        value.map(|value| Fact { name: language.text(key), value })
    };
    facts.into_iter().filter_map(fact).collect()
}

/// What decided it.
fn recipe_facts(recipe: &PpoRecipe, language: Language) -> Vec<Fact> {
    let number = |number: f64| language.number(number);
    let count = |count: usize| language.number(figure(count as u64));
    let facts = [
        ("report-steps", number(figure(recipe.steps))),
        ("report-answers", count(recipe.episodes)),
        ("report-epochs", number(recipe.epochs.into())),
        ("report-minibatches", count(recipe.minibatches)),
        ("report-rate", number(recipe.learning_rate)),
        ("report-price", number(recipe.kl_coefficient)),
        ("report-clip-range", number(recipe.clip_range)),
        ("report-average", number(recipe.ema.unwrap_or(0.0))),
        ("report-beside", number(recipe.pretraining_coefficient)),
    ];
    facts.into_iter().map(|(key, value)| Fact { name: language.text(key), value }).collect()
}

fn plots(recipe: &PpoRecipe, state: &PolicyState, language: Language) -> Vec<Picture> {
    let line = |key: &str, number: fn(&PpoMetrics) -> Option<f64>| Series {
        name: language.text(key),
        mark: Mark::Line,
        points: points(&state.steps, number),
    };
    let target = recipe.kl_target.map(|target| Series {
        name: language.text("report-target"),
        mark: Mark::Line,
        points: state.steps.iter().map(|line| (figure(line.step), target)).collect(),
    });
    let mut kl = vec![line("report-kl", |line| Some(line.kl_per_episode))];
    kl.extend(target);
    let score = line("report-score", |line| Some(line.score));
    let reward = line("report-reward", |line| Some(line.reward));
    let policy = line("report-of-policy", |line| Some(line.clip_fraction));
    let values = line("report-of-values", |line| Some(line.value_clip_fraction));
    let all = [
        ("score", "report-score-reward", vec![score, reward]),
        ("kl", "report-kl", kl),
        ("price", "report-price", vec![line("report-price", |line| Some(line.kl_coefficient))]),
        ("entropy", "report-entropy", vec![line("report-entropy", |line| Some(line.entropy))]),
        ("clip", "report-clip", vec![policy, values]),
        (
            "value-loss",
            "report-value-loss",
            vec![line("report-value-loss", |line| Some(line.value_loss))],
        ),
        (
            "explained",
            "report-explained",
            vec![line("report-explained", |line| Some(line.explained_variance))],
        ),
        (
            "length",
            "report-answer-tokens",
            vec![line("report-answer-tokens", |line| Some(line.completion_tokens))],
        ),
        ("ended", "report-ended", vec![line("report-ended", |line| Some(line.ended))]),
        ("norm", "report-norm", vec![line("report-norm", |line| Some(line.gradient_norm))]),
    ];
    let pictures = all.map(|(id, title, series)| super::picture(id, title, series, language));
    pictures.into_iter().filter(|picture| !picture.svg.is_empty()).collect()
}

/// Writes the page of a trial: the meter of each arm by its name, on the first one what choosing by
/// the same reward model gains.
pub(in crate::command) fn write_trial(
    folder: &Path,
    title: (&str, u64),
    (arms, best_of): (&[(&'static str, &Curve)], &[BestOf]),
    language: Language,
) -> Result<PathBuf, Failure> {
    let values = [("run", title.0.into()), ("seed", title.1.to_string().into())];
    let picture = |(number, &(name, curve)): (usize, &(&'static str, &Curve))| {
        let best_of = if number == 0 { best_of } else { &[] };
        let picture = goodhart(name, curve, best_of, language)?;
        Some(Picture { title: language.text(title_of(name)), ..picture })
    };
    let page = Page {
        language,
        title: language.format("report-title-trial", &values),
        state: language.text("report-trial-hint"),
        figures: Vec::new(),
        plots: arms.iter().enumerate().filter_map(picture).collect(),
        recipe: Vec::new(),
        samples: Vec::new(),
    };
    let path = folder.join(REPORT_FILE);
    folder::land_bytes(&RealDisk, &path, page.render()?.as_bytes())?;
    Ok(path)
}

/// The words for an arm of a trial.
fn title_of(arm: &str) -> &'static str {
    match arm {
        "mean" => "report-arm-mean",
        "worst" => "report-arm-worst",
        "uncertain" => "report-arm-uncertain",
        _ => "report-arm-one",
    }
}

/// What reward model and judge say with the distance from the reference, the law that fits the judge,
/// and what choosing gains; none where the meter was never read.
fn goodhart(
    id: &'static str,
    curve: &Curve,
    best_of: &[BestOf],
    language: Language,
) -> Option<Picture> {
    let placed = |measured: Vec<Measured>| {
        let mut points: Vec<(f64, f64)> =
            measured.into_iter().map(|at| (at.distance, at.gain)).collect();
        points.insert(0, (0.0, 0.0));
        points
    };
    let (proxy, gold) = (curve.proxy(), curve.gold());
    if proxy.is_empty() {
        return None;
    }
    let chosen = |best: &BestOf| best.gain(&best_of[0]);
    let chosen: Vec<Measured> = best_of.iter().skip(1).map(chosen).collect();
    let all = [
        ("report-proxy", Mark::Line, placed(proxy)),
        ("report-judge", Mark::Dots, if gold.is_empty() { vec![] } else { placed(gold) }),
        ("report-law", Mark::Line, law(curve)),
        ("report-best-of", Mark::Dots, if chosen.is_empty() { vec![] } else { placed(chosen) }),
    ];
    let series = all.into_iter().filter(|(_, _, points)| !points.is_empty());
    let series: Vec<Series> = series
        .map(|(key, mark, points)| Series { name: language.text(key), mark, points })
        .collect();
    let title = language.text("report-goodhart");
    let descriptions = series.iter().filter_map(|series| description(series, language));
    let plot = Plot {
        id,
        title: title.clone(),
        description: descriptions.collect::<Vec<_>>().join(" "),
        x_name: language.text("report-distance"),
        x_scale: Scale::Linear,
        point: language.point(),
        series,
    };
    Some(Picture { title, svg: plot.svg() })
}

/// The law that fits the judge's readings, from the reference to the farthest of them.
fn law(curve: &Curve) -> Vec<(f64, f64)> {
    let Some(fit) = curve.fit() else { return Vec::new() };
    let farthest = curve.gold().iter().map(|at| at.distance).fold(0.0, f64::max);
    let at = |point: u32| farthest * f64::from(point) / f64::from(LAW_POINTS);
    (0..=LAW_POINTS).map(at).map(|distance| (distance, fit.gain(distance))).collect()
}

#[cfg(test)]
mod tests {
    use std::fs;

    use training::metrics::METRICS_FILE;
    use training::ppo::goodhart::Reading;

    use super::*;
    use crate::run_state::STAGE_FILE;

    /// A round of ten steps, whose judge says less from some distance on.
    fn round(run: &Path) -> PathBuf {
        let folder = run.join("7-ppo/round-2");
        fs::create_dir_all(&folder).unwrap();
        fs::write(folder.join(STAGE_FILE), "{\"steps\":10,\"step_tokens\":16}").unwrap();
        let at = |distance: f64| Reading {
            kl_per_episode: distance * distance,
            proxy: distance,
            gold: Some(distance * (1.0 - 2.0 * distance.max(1e-9).ln())),
            completion_tokens: 20.0,
        };
        let line = |step: u32| {
            let metrics = PpoMetrics {
                step: step.into(),
                score: 0.1 * f64::from(step),
                reference: (step == 1).then(|| at(0.0)),
                meter: Some(at(0.2 * f64::from(step))),
                ..PpoMetrics::default()
            };
            serde_json::to_string(&metrics).unwrap() + "\n"
        };
        fs::write(folder.join(METRICS_FILE), (1..=10).map(line).collect::<String>()).unwrap();
        folder
    }

    #[test]
    fn the_page_tells_of_the_round_in_both_languages() {
        let run = tempfile::tempdir().unwrap();
        let recipe = PpoRecipe { kl_target: Some(4.0), ..PpoRecipe::default() };
        let subject = PolicySubject {
            folder: round(run.path()),
            round: 2,
            recipe: &recipe,
            win_rates: Some([0.625, 0.5]),
        };
        for (language, words) in [
            (Language::English, ["Round 2", "Finished after 10 steps", "62.5\u{a0}%", ">judge<"]),
            (Language::French, ["Tour 2", "Terminé après 10 pas", "62,5\u{a0}%", ">juge<"]),
        ] {
            let page = fs::read_to_string(write(&subject, language).unwrap()).unwrap();
            for word in words {
                assert!(page.contains(word), "{word}: {page}");
            }
            // Ten curves of the stage, and the meter's before them.
            assert_eq!(page.matches("<svg ").count(), 11);
            // The law is fitted: its peak is at exp(1 / 2 - 1), of which KL is the square.
            assert!(page.contains(&language.number(0.3679)), "{page}");
        }
    }

    #[test]
    fn a_trial_shows_what_choosing_gains_beside_the_first_arm() {
        let run = tempfile::tempdir().unwrap();
        let state = PolicyState::of_stage(&round(run.path())).unwrap();
        let curve = Curve::of(&state.steps);
        let best = |completions: u32, gold: f64| BestOf {
            completions,
            distance: f64::from(completions - 1),
            proxy: gold,
            gold,
        };
        let best_of = [best(1, 3.0), best(2, 3.5)];
        let arms = [("one", &curve), ("mean", &curve)];
        let trial = ("<run>", 7);
        let path = write_trial(run.path(), trial, (&arms, &best_of), Language::English).unwrap();
        let page = fs::read_to_string(path).unwrap();
        assert!(page.contains("Trial 7 of &#60;run&#62;"), "{page}");
        assert_eq!(page.matches(">best of n<").count(), 1, "{page}");
        assert_eq!(page.matches(">judge<").count(), 2, "{page}");
    }
}
