//! How far people have come, each and together, and how far they agree.

use std::collections::BTreeMap;

use comparisons::Error;
use comparisons::agreement::{Agreement, MeanTau, Rankings};
use comparisons::queue::Progress;

use super::desk::snapshot;
use super::{Desk, Problem};

/// Where everybody stands.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Standing {
    /// Of the labeler who asks.
    pub(crate) own: Progress,
    /// Candidates that anybody has answered.
    pub(crate) together: Progress,
    /// Each labeler with how many answers there are, skips included.
    pub(crate) people: BTreeMap<String, usize>,
    /// How far they agree.
    pub(crate) agreement: Agreement,
}

impl Desk {
    /// Where everybody stands.
    ///
    /// # Errors
    ///
    /// Where the file cannot be read, or the labeler is unknown.
    pub(crate) fn standing(&self, labeler: &str) -> Result<Standing, Problem> {
        let [own, together] = self.progress(labeler)?;
        let (mut people, mut rankings) = (BTreeMap::new(), Rankings::default());
        if let Some(snapshot) = snapshot(self.store())? {
            snapshot.for_each(|_, comparison| {
                *people.entry(comparison.judgment().labeler.clone()).or_default() += 1;
                rankings.add(&comparison);
                Ok::<(), Error>(())
            })?;
        }
        Ok(Standing { own, together, people, agreement: rankings.agreement() })
    }
}

impl Standing {
    /// Kendall's tau of all two labelers, as a mean over what they both ranked: of how many candidates,
    /// and the mean.
    pub(crate) fn tau(&self) -> Option<(usize, f64)> {
        mean(self.agreement.of_pairs.values())
    }

    /// The same of repeated answers with the first ones.
    pub(crate) fn tau_of_repeats(&self) -> Option<(usize, f64)> {
        mean(self.agreement.of_repeats.values())
    }
}

#[expect(clippy::cast_precision_loss, reason = "far fewer than 2^52 candidates")]
fn mean<'a>(taus: impl Iterator<Item = &'a MeanTau>) -> Option<(usize, f64)> {
    let each = taus.filter_map(|tau| Some((tau.candidates, tau.mean()?)));
    let (count, sum) = each.fold((0, 0.0), |(count, sum), (candidates, mean)| {
        (count + candidates, sum + mean * candidates as f64)
    });
    (count > 0).then(|| (count, sum / count as f64))
}
