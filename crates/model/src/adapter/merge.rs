//! An adapter added to the weights that it lies beside: `W + scale · B · A`.

use std::collections::BTreeMap;
use std::sync::Arc;

use engine::ops::rope::Pairing;

use super::{Adapter, Target};
use crate::config::Config;
use crate::inventory::{self, Item};
use crate::names::{Convention, Weight};

/// The weights of a checkpoint to which an adapter is added as they are read.
#[derive(Debug)]
pub(crate) struct Merge {
    adapter: Arc<Adapter>,
    /// By their names in the checkpoint.
    items: BTreeMap<String, Item>,
}

impl Merge {
    /// All that the adapter lies beside in a checkpoint with these names.
    pub(crate) fn new(adapter: Arc<Adapter>, config: &Config, convention: Convention) -> Self {
        let items = inventory::of(config).into_iter().filter(|item| {
            target_of(item).is_some_and(|(layer, target)| adapter.part(layer, target).is_some())
        });
        let items = items.map(|item| (item.name(convention), item)).collect();
        Self { adapter, items }
    }

    /// The names of these weights.
    pub(crate) fn names(&self) -> impl Iterator<Item = &str> {
        self.items.keys().map(String::as_str)
    }

    /// Whether it changes a tensor.
    pub(crate) fn changes(&self, name: &str) -> bool {
        self.items.contains_key(name)
    }

    /// Adds to a whole matrix, rows as the checkpoint has them. Sums are f64 and rounded once.
    pub(crate) fn add(&self, name: &str, stored: &Config, values: &mut [f32]) {
        let Some(item) = self.items.get(name) else { return };
        let Some((layer, target)) = target_of(item) else { return };
        let Some((place, part)) = self.adapter.part(layer, target) else { return };
        let (a, b) = (&self.adapter.weights[place.a], &self.adapter.weights[place.a + 1]);
        let scale = self.adapter.scaling.factor(self.adapter.rank);
        let mut of_b = vec![0.0; b.columns()];
        let mut of_a = vec![vec![0.0; a.columns()]; part.ranks.len()];
        for (rank, row) in part.ranks.clone().zip(&mut of_a) {
            a.download_row(rank, row);
        }
        for row in 0..item.rows() {
            b.download_row(part.rows.start + row, &mut of_b);
            let at = item.stored_row(stored, Pairing::Halves, row) * a.columns();
            let own = &mut values[at..at + a.columns()];
            add_row(own, scale, &of_b[part.ranks.clone()], &of_a);
        }
    }
}

/// `weights[k] += scale * Σ_r b[r] * a[r, k]`
#[expect(clippy::cast_possible_truncation, reason = "rounded to f32 once")]
fn add_row(weights: &mut [f32], scale: f64, b: &[f32], a: &[Vec<f32>]) {
    let mut sums = vec![0.0; weights.len()];
    for (&b, a) in b.iter().zip(a) {
        for (sum, &a) in sums.iter_mut().zip(a) {
            *sum += f64::from(b) * f64::from(a);
        }
    }
    for (weight, sum) in weights.iter_mut().zip(sums) {
        *weight = (f64::from(*weight) + scale * sum) as f32;
    }
}

/// The matrix that a tensor is, if an adapter may lie beside it.
fn target_of(item: &Item) -> Option<(usize, Target)> {
    match item.weight {
        Weight::Layer { layer, part, .. } if !item.is_vector() => Some((layer, Target::of(part)?)),
        _ => None,
    }
}
