//! `report.html` of a reward model: what it agrees with, beside what, and whether it is as sure as it is
//! right.

use std::path::{Path, PathBuf};

use artifacts::disk::RealDisk;
use artifacts::folder;
use askama::Template;
use training::reward::{Baseline, Calibration, MemberReport, RewardReport};

use super::super::Failure;
use crate::locale::Language;
use crate::plot::{Mark, Plot, Scale, Series};
use crate::run_state::{Sample, figure};

/// The file in the folder of a round.
const FILE: &str = "report.html";

/// The page.
#[derive(Debug, Template)]
#[template(path = "reward.html")]
struct Page {
    language: Language,
    title: String,
    state: String,
    figures: Vec<Fact>,
    /// A picture, to be put in as it is.
    plot: String,
    samples: Vec<Sample>,
}

/// A name and what it is.
#[derive(Debug)]
struct Fact {
    name: String,
    value: String,
}

impl Page {
    /// The words for `key`.
    fn t(&self, key: &str) -> String {
        self.language.text(key)
    }
}

/// Writes the page of a round, and returns where it is.
pub(super) fn write(
    folder: &Path,
    report: &RewardReport,
    language: Language,
) -> Result<PathBuf, Failure> {
    let path = folder.join(FILE);
    let name = folder.file_name().map_or_else(String::new, |n| n.to_string_lossy().into_owned());
    let page = page(&name, report, language)?;
    folder::land_bytes(&RealDisk, &path, page.as_bytes())?;
    Ok(path)
}

/// The page; the same report gives the same bytes.
fn page(name: &str, report: &RewardReport, language: Language) -> Result<String, askama::Error> {
    let measured = report.models.first().map_or((0, 0), |model| (model.pairs, model.prompts));
    let number = |count: usize| figure(count as u64).into();
    let values = [
        ("comparisons", number(report.comparisons)),
        ("pairs", number(measured.0)),
        ("prompts", number(measured.1)),
    ];
    let page = Page {
        language,
        title: language.format("reward-title", &[("round", name.into())]),
        state: language.format("reward-state", &values),
        figures: figures(report, language),
        plot: plot(&report.models, language),
        samples: Vec::new(),
    };
    page.render()
}

/// How often models and baselines agree with people, and by how much models are ahead.
fn figures(report: &RewardReport, language: Language) -> Vec<Fact> {
    let mut facts = Vec::new();
    for (number, model) in (1..).zip(&report.models).filter(|(_, model)| model.pairs > 0) {
        let value = between(model.accuracy, model.accuracy_interval, language);
        facts.push(Fact { name: name_of_model(number, language), value });
        if let Some(Calibration { expected_error, .. }) = &model.calibration {
            let name = language.text("reward-error");
            facts.push(Fact { name, value: percent(*expected_error, language) });
        }
        for (baseline, lead) in &model.leads {
            let own = [("name", language.text(key_of(*baseline)).into())];
            let name = language.format("reward-ahead", &own);
            facts.push(Fact { name, value: between(lead.lead, lead.interval, language) });
        }
    }
    for (baseline, found) in &report.baselines {
        let value = between(found.accuracy, found.interval, language);
        facts.push(Fact { name: language.text(key_of(*baseline)), value });
    }
    facts
}

fn key_of(baseline: Baseline) -> &'static str {
    match baseline {
        Baseline::Length => "reward-length",
        Baseline::Bigrams => "reward-bigrams",
        Baseline::Dpo => "reward-dpo",
    }
}

fn name_of_model(number: u64, language: Language) -> String {
    language.format("reward-model", &[("number", figure(number).into())])
}

/// A share with the interval that it lies in.
fn between(share: f64, [low, high]: [f64; 2], language: Language) -> String {
    let [share, low, high] = [share, low, high].map(|share| percent(share, language));
    language.format(
        "reward-between",
        &[("share", share.into()), ("low", low.into()), ("high", high.into())],
    )
}

fn percent(share: f64, language: Language) -> String {
    let number = language.number((1_000.0 * share).round() / 10.0);
    format!("{number}\u{a0}%")
}

/// How often each model is right over how sure it is; nothing where nothing was held out.
fn plot(models: &[MemberReport], language: Language) -> String {
    let points = |calibration: &Calibration| -> Vec<(f64, f64)> {
        calibration.bins.iter().map(|bin| (bin.predicted, bin.observed)).collect()
    };
    let of_model = |(number, model): (u64, &MemberReport)| {
        let points = points(model.calibration.as_ref()?);
        Some(Series { name: name_of_model(number, language), mark: Mark::Dots, points })
    };
    let mut series: Vec<Series> = (1..).zip(models).filter_map(of_model).collect();
    if series.iter().all(|series| series.points.is_empty()) {
        return String::new();
    }
    let perfect = vec![(0.5, 0.5), (1.0, 1.0)];
    series.insert(
        0,
        Series { name: language.text("reward-perfect"), mark: Mark::Line, points: perfect },
    );
    let errors = models.iter().filter_map(|model| model.calibration.as_ref());
    let errors: Vec<String> = errors
        .map(|found| {
            let error = percent(found.expected_error, language);
            language.format("reward-calibration-words", &[("error", error.into())])
        })
        .collect();
    let plot = Plot {
        id: "calibration",
        title: language.text("reward-right"),
        description: errors.join(" "),
        x_name: language.text("reward-sure"),
        x_scale: Scale::Linear,
        point: language.point(),
        series,
    };
    plot.svg()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use training::reward::{Agreement, CalibrationBin, Lead};

    use super::*;

    fn report(calibration: Option<Calibration>) -> RewardReport {
        let digest = artifacts::hash::Digest::of(b"");
        let lead = Lead { lead: 0.052, interval: [-0.01, 0.1] };
        let agreement = Agreement { accuracy: 0.55, interval: [0.5, 0.6], pairs: 90, prompts: 40 };
        let model = MemberReport {
            identity: digest,
            loss: 0.6,
            train_accuracy: 0.7,
            accuracy: 0.602,
            accuracy_interval: [0.55, 0.65],
            pairs: 90,
            gain: 1.0,
            bias: 0.0,
            prompts: 40,
            tau: 0.204,
            calibration,
            leads: BTreeMap::from([(Baseline::Bigrams, lead)]),
        };
        RewardReport {
            identity: digest,
            base: digest,
            comparisons: 360,
            held_out: 40,
            left_out: BTreeMap::new(),
            baselines: BTreeMap::from([(Baseline::Bigrams, agreement)]),
            models: vec![model],
        }
    }

    #[test]
    fn a_page_shows_the_curve_and_speaks_both_languages() {
        let bin = |predicted, observed| CalibrationBin { pairs: 45, predicted, observed };
        let bins = vec![bin(0.55, 0.52), bin(0.65, 0.68)];
        let with = report(Some(Calibration { bins, expected_error: 0.03 }));
        let english = page("round-1", &with, Language::English).unwrap();
        let french = page("round-1", &with, Language::French).unwrap();
        for page in [&english, &french] {
            assert!(page.contains("<svg") && page.matches("<circle").count() >= 2, "{page}");
        }
        assert!(english.contains("60.2\u{a0}%") && french.contains("60,2\u{a0}%"), "{french}");
        assert!(english.contains("bag of bigrams") && !french.contains("bag of bigrams"));
        let without = page("round-1", &report(None), Language::English).unwrap();
        assert!(!without.contains("<svg"), "{without}");
    }
}
