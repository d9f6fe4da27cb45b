//! `report-card.html`: the report card on one page that needs nothing beside itself.

use askama::Template;

use super::super::stage::report;
use super::card::{Answered, Card, Line};
use crate::locale::Language;
use crate::run_state::Sample;

pub(super) use report::{rounded, time};

/// The page.
#[derive(Debug, Template)]
#[template(path = "card.html")]
struct Page<'a> {
    language: Language,
    title: String,
    figures: Vec<Line>,
    stages: Vec<Vec<String>>,
    bits: Vec<Line>,
    samples: &'a [Sample],
    answers: &'a [Answered],
    next: &'a str,
}

impl Page<'_> {
    /// The words for `key`.
    fn t(&self, key: &str) -> String {
        self.language.text(key)
    }
}

/// The card as a page; the same card gives the same bytes.
pub(super) fn render(card: &Card, language: Language) -> Result<String, askama::Error> {
    let page = Page {
        language,
        title: card.title(language),
        figures: card.figures(language),
        stages: card.stages.iter().map(|stage| stage.cells(language)).collect(),
        bits: card.bits(language),
        samples: &card.samples,
        answers: &card.answers,
        next: &card.next,
    };
    page.render()
}
