//! What a store holds, without the texts: which rows count, who said them, what was made of them.

use std::collections::{BTreeMap, BTreeSet};

use artifacts::hash::Digest;

use super::row::{Deleted, Kept, Row, UsedBy};
use super::{Answer, RowId};

/// The rows of a store by what has become of them.
#[derive(Clone, Debug, Default)]
pub(super) struct Index {
    /// Ids of comparisons in the order of their rows, those that no longer count included.
    pub(super) rows: Vec<RowId>,
    /// Comparisons that count.
    live: BTreeMap<RowId, Live>,
    /// Versions that were revised, with the one that counts.
    superseded: BTreeMap<RowId, RowId>,
    deleted: BTreeSet<RowId>,
    used_by: BTreeMap<Digest, BTreeSet<RowId>>,
}

#[derive(Clone, Debug)]
pub(super) struct Live {
    pub(super) answer: Answer,
    /// Its earlier versions, oldest first.
    pub(super) versions: Vec<RowId>,
    /// Its place among the rows, by which answers are in order.
    place: usize,
}

impl Index {
    /// Takes in one row more.
    pub(super) fn add(&mut self, row: &Row) {
        match row {
            Row::Comparison(kept) => self.add_comparison(kept),
            Row::Deleted(deleted) => self.delete(deleted),
            Row::UsedBy(used) => {
                self.used_by.entry(used.artifact).or_default().extend(&used.ids);
            }
        }
    }

    /// The version that counts of a comparison, by the id of any version.
    pub(super) fn live(&self, id: RowId) -> Option<(RowId, &Live)> {
        let id = *self.superseded.get(&id).unwrap_or(&id);
        Some((id, self.live.get(&id)?))
    }

    pub(super) fn is_live(&self, id: RowId) -> bool {
        self.live.contains_key(&id)
    }

    pub(super) fn is_deleted(&self, id: RowId) -> bool {
        self.deleted.contains(&id)
    }

    pub(super) fn is_known(&self, id: RowId) -> bool {
        self.is_deleted(id) || self.live(id).is_some()
    }

    pub(super) fn count(&self) -> usize {
        self.live.len()
    }

    /// Answers that count, in the order of their rows: a revised one is where it was revised.
    pub(super) fn answers(&self) -> Vec<Answer> {
        let mut lives: Vec<&Live> = self.live.values().collect();
        lives.sort_by_key(|live| live.place);
        lives.into_iter().map(|live| live.answer.clone()).collect()
    }

    /// Artifacts with those of their rows that were deleted.
    pub(super) fn made_from_deleted(&self) -> BTreeMap<Digest, Vec<RowId>> {
        let of = |ids: &BTreeSet<RowId>| ids.intersection(&self.deleted).copied().collect();
        let all = self.used_by.iter().map(|(artifact, ids)| (*artifact, of(ids)));
        all.filter(|(_, ids): &(Digest, Vec<RowId>)| !ids.is_empty()).collect()
    }

    /// Artifacts with how many rows they were made from, and how many of those were deleted.
    pub(super) fn uses(&self) -> BTreeMap<Digest, [usize; 2]> {
        let of = |ids: &BTreeSet<RowId>| [ids.len(), ids.intersection(&self.deleted).count()];
        self.used_by.iter().map(|(artifact, ids)| (*artifact, of(ids))).collect()
    }

    pub(super) fn made_from(&self, id: RowId) -> Vec<Digest> {
        let uses = self.used_by.iter().filter(|(_, ids)| ids.contains(&id));
        uses.map(|(artifact, _)| *artifact).collect()
    }

    fn add_comparison(&mut self, kept: &Kept) {
        let judgment = kept.comparison.judgment();
        let answer = Answer {
            id: kept.id,
            candidate: kept.comparison.candidate().id(),
            labeler: judgment.labeler.clone(),
            is_skipped: judgment.ranking.is_none(),
        };
        let place = self.rows.len();
        for &version in &kept.supersedes {
            self.live.remove(&version);
            self.superseded.insert(version, kept.id);
        }
        self.rows.push(kept.id);
        self.live.insert(kept.id, Live { answer, versions: kept.supersedes.clone(), place });
    }

    fn delete(&mut self, deleted: &Deleted) {
        for &id in &deleted.ids {
            self.live.remove(&id);
            self.superseded.remove(&id);
            self.deleted.insert(id);
        }
    }
}

/// The rows that say what an artifact was made from, none of them long.
pub(super) fn uses_in_rows(artifact: Digest, ids: &[RowId]) -> impl Iterator<Item = Row> {
    let chunks = ids.chunks(super::row::IDS_OF_A_ROW);
    chunks.map(move |ids| Row::UsedBy(UsedBy { artifact, ids: ids.to_vec() }))
}
