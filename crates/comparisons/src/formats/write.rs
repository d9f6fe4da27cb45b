//! Writing comparisons, with an account of what a format cannot say.

use std::collections::BTreeMap;
use std::fmt;
use std::io::{self, Write};

use serde::Serialize;
use serde_json::Value;

use super::{Format, best_of_four, hh, llama_factory, oasst, open_webui, trl};
use crate::{Comparison, Ranking, Relation};

/// What a format cannot say of a comparison.
///
/// The first few leave the whole comparison out; of the others the rest is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Unsaid {
    /// That it was skipped: left out.
    Skip,
    /// A prompt of plain text: left out.
    PlainPrompt,
    /// A prompt of messages: left out.
    Conversation,
    /// A message of the system, or one that is not first: left out.
    SystemMessage,
    /// A text that holds the marks between turns: left out.
    Marker,
    /// So many completions or pairs: left out.
    OtherCount,
    /// That no completion is preferred to another: left out where no pair is left, or the best is
    /// not one.
    Ties,
    /// Which completions are unranked, or what they say.
    Unranked,
    /// An order of more than two places, or completions that were not compared.
    Order,
    /// By how much one is better.
    Margin,
    /// Who said it, or when.
    Labeler,
    /// Why.
    Reason,
    /// The tokens of a completion.
    Tokens,
    /// Where a completion came from, or in which order it was shown.
    Origin,
}

/// What was written.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct WriteReport {
    /// Comparisons that were written, in part or whole.
    pub comparisons: u64,
    /// Rows that they became.
    pub rows: u64,
    /// Comparisons that were left out.
    pub left_out: u64,
    /// Comparisons of which something is not said, by what it is.
    pub unsaid: BTreeMap<Unsaid, u64>,
}

/// Writes comparisons in one format: JSON lines, or a JSON array for open-webui.
///
/// ```
/// use comparisons::formats::{Format, Unsaid, Writer};
/// # use comparisons::{Candidate, Comparison, Completion, Judgment, Prompt, Ranking};
/// # let completions = ["a", "b", "c"].map(|text| Completion::imported(text, "an example"));
/// # let candidate = Candidate::new(Prompt::Text("?".to_owned()), completions.into())?;
/// # let ranking = Ranking::new(3, vec![vec![2], vec![0, 1]])?;
/// # let comparison = Comparison::new(candidate, Judgment::ranked("ada", ranking, 0))?;
///
/// // c is better than a and b, which are equally good.
/// let mut file = Vec::new();
/// let mut writer = Writer::new(&mut file, Format::Trl);
/// writer.write(&comparison)?;
/// let report = writer.finish()?;
/// assert_eq!((report.rows, report.unsaid[&Unsaid::Ties]), (2, 1));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct Writer<W> {
    out: W,
    format: Format,
    report: WriteReport,
}

impl<W: Write> Writer<W> {
    /// Nothing is written yet.
    pub fn new(out: W, format: Format) -> Self {
        Self { out, format, report: WriteReport::default() }
    }

    /// Writes what the format can say of a comparison.
    ///
    /// # Errors
    ///
    /// What the writer behind fails with.
    pub fn write(&mut self, comparison: &Comparison) -> io::Result<()> {
        let Some(ranking) = &comparison.judgment().ranking else {
            return self.leave_out(Unsaid::Skip);
        };
        match self.rows_of(comparison, ranking) {
            Err(unsaid) => self.leave_out(unsaid),
            Ok(rows) if rows.is_empty() => self.leave_out(Unsaid::Ties),
            Ok(rows) => {
                for unsaid in unsaid(self.format, comparison, ranking) {
                    *self.report.unsaid.entry(unsaid).or_default() += 1;
                }
                self.report.comparisons += 1;
                rows.iter().try_for_each(|row| self.row(row))
            }
        }
    }

    /// Ends the file.
    ///
    /// # Errors
    ///
    /// What the writer behind fails with.
    pub fn finish(mut self) -> io::Result<WriteReport> {
        if self.format == Format::OpenWebui {
            self.out.write_all(if self.report.rows == 0 { b"[]\n" } else { b"\n]\n" })?;
        }
        self.out.flush()?;
        Ok(self.report)
    }

    fn rows_of(&self, comparison: &Comparison, ranking: &Ranking) -> Result<Vec<Value>, Unsaid> {
        match self.format {
            Format::Hh => hh::write(comparison),
            Format::Trl => Ok(trl::write(comparison)),
            Format::Oasst => oasst::write(comparison, ranking),
            Format::BestOfFour => best_of_four::write(comparison, ranking),
            Format::LlamaFactory => llama_factory::write(comparison),
            Format::OpenWebui => open_webui::write(comparison),
        }
    }

    fn row(&mut self, row: &Value) -> io::Result<()> {
        let (before, after) = match (self.format, self.report.rows) {
            (Format::OpenWebui, 0) => ("[\n", ""),
            (Format::OpenWebui, _) => (",\n", ""),
            _ => ("", "\n"),
        };
        self.report.rows += 1;
        write!(self.out, "{before}{row}{after}")
    }

    /// Counts a comparison that the format cannot say.
    fn leave_out(&mut self, unsaid: Unsaid) -> io::Result<()> {
        self.report.left_out += 1;
        *self.report.unsaid.entry(unsaid).or_default() += 1;
        Ok(())
    }
}

impl fmt::Display for Unsaid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Skip => "skipped",
            Self::PlainPrompt => "a prompt of plain text",
            Self::Conversation => "a prompt of messages",
            Self::SystemMessage => "a message of the system",
            Self::Marker => "a text with marks of turns",
            Self::OtherCount => "another number of completions or pairs",
            Self::Ties => "ties",
            Self::Unranked => "unranked completions",
            Self::Order => "the whole order",
            Self::Margin => "a margin",
            Self::Labeler => "the labeler and the time",
            Self::Reason => "the reason",
            Self::Tokens => "tokens",
            Self::Origin => "where completions came from",
        })
    }
}

/// What of a comparison that is written a format does not say.
fn unsaid(format: Format, comparison: &Comparison, ranking: &Ranking) -> Vec<Unsaid> {
    let judgment = comparison.judgment();
    let completions = comparison.candidate().completions();
    let is_tied = ranking.relations().any(|relation| matches!(relation, Relation::Tied(..)));
    let is_oasst = format == Format::Oasst;
    let says_order = match format {
        Format::Oasst => ranking.below().is_empty(),
        Format::BestOfFour => ranking.groups().len() == 1,
        // Gaps are the order; without them the pairs of three places are all alike.
        Format::Trl => true,
        Format::Hh | Format::LlamaFactory | Format::OpenWebui => {
            comparison.pairs().all(|pair| pair.margin <= 1.0)
        }
    };
    let lost = [
        (Unsaid::Ties, is_tied && !is_oasst),
        (Unsaid::Unranked, !ranking.unranked().is_empty() && !is_oasst),
        (Unsaid::Order, !says_order),
        (Unsaid::Margin, judgment.margin.is_some() && format != Format::Trl),
        (Unsaid::Labeler, true),
        (Unsaid::Reason, judgment.reason.is_some() && format != Format::OpenWebui),
        (Unsaid::Tokens, completions.iter().any(|completion| completion.tokens.is_some())),
        (Unsaid::Origin, true),
    ];
    // An export of open-webui names the user, and the second.
    let says_labeler = format == Format::OpenWebui && judgment.time_ms.is_multiple_of(1_000);
    let lost = lost.into_iter().filter(|(_, is_lost)| *is_lost).map(|(unsaid, _)| unsaid);
    lost.filter(|unsaid| *unsaid != Unsaid::Labeler || !says_labeler).collect()
}
