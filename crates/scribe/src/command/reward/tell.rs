//! What a reward model has learned, as a person reads it.

use std::path::Path;

use serde::Serialize;
use training::reward::{Agreement, Baseline, Lead, MemberReport, RewardReport};

use super::super::{Failure, Session};

/// `scribe reward --json`.
#[derive(Debug, Serialize)]
struct Told<'a> {
    schema: &'static str,
    folder: &'a Path,
    #[serde(flatten)]
    report: &'a RewardReport,
}

/// Says how often the models agree with people, beside what they have to be better than.
pub(super) fn tell(
    session: &mut Session,
    folder: &Path,
    report: &RewardReport,
) -> Result<(), Failure> {
    let terminal = &mut session.terminal;
    if terminal.wants_json() {
        let told = Told { schema: "scribe.reward/2", folder, report };
        return Ok(terminal.json(&told)?);
    }
    let rows: Vec<_> = (1..).zip(&report.models).map(row).collect();
    let header = ["MODEL", "LOSS", "AGREES, LEARNED", "AGREES, HELD OUT", "SURE BEYOND RIGHT"];
    terminal.table(&header, &rows)?;
    if !report.baselines.is_empty() {
        let heads = (1..=report.models.len()).map(|number| format!("MODEL {number} IS AHEAD BY"));
        let heads: Vec<String> = heads.collect();
        let header = ["BESIDE", "AGREES, HELD OUT"].into_iter();
        let header: Vec<&str> = header.chain(heads.iter().map(String::as_str)).collect();
        let row = |(baseline, found): (&Baseline, &Agreement)| {
            let own = [name_of(*baseline).to_owned(), agreement(found)].into_iter();
            let leads = report.models.iter().map(|model| lead(model.leads.get(baseline)));
            own.chain(leads).collect()
        };
        let rows: Vec<Vec<String>> = report.baselines.iter().map(row).collect();
        terminal.line("")?;
        terminal.table(&header, &rows)?;
    }
    terminal.line(folder.display())?;
    Ok(())
}

fn row((number, model): (usize, &MemberReport)) -> Vec<String> {
    let held_out = match model.pairs {
        0 => "nothing held out".to_owned(),
        pairs => agreement(&Agreement {
            accuracy: model.accuracy,
            interval: model.accuracy_interval,
            pairs,
            prompts: model.prompts,
        }),
    };
    let error = model.calibration.as_ref();
    let error = error.map_or_else(String::new, |found| percent(found.expected_error));
    vec![
        number.to_string(),
        format!("{:.3}", model.loss),
        percent(model.train_accuracy),
        held_out,
        error,
    ]
}

/// What stands in the table for a baseline.
fn name_of(baseline: Baseline) -> &'static str {
    match baseline {
        Baseline::Length => "length alone",
        Baseline::Bigrams => "bag of bigrams",
        Baseline::Dpo => "DPO, same pairs",
    }
}

fn agreement(found: &Agreement) -> String {
    let Agreement { accuracy, interval: [low, high], pairs, prompts } = found;
    format!(
        "{} ({} to {}), {pairs} pairs of {prompts} prompts",
        percent(*accuracy),
        percent(*low),
        percent(*high)
    )
}

fn lead(found: Option<&Lead>) -> String {
    let points = |share: f64| format!("{:+.1}", 100.0 * share);
    found.map_or_else(String::new, |Lead { lead, interval: [low, high] }| {
        format!("{} points ({} to {})", points(*lead), points(*low), points(*high))
    })
}

fn percent(share: f64) -> String {
    format!("{:.1} %", 100.0 * share)
}
