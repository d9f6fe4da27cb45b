//! Kendall's tau-b: how alike two orders with ties are.

use std::cmp::Ordering;

use super::alpha::count;

/// Kendall's tau-b of two lists of places; 1 for the same order, -1 for the opposite.
///
/// `(agreeing - opposed) / sqrt(untied in a * untied in b)` over all pairs of items. `None` where
/// one of the two ties everything.
///
/// # Panics
///
/// Panics if the lists have different lengths.
///
/// Source: Kendall, "The treatment of ties in ranking problems", Biometrika 1945.
#[must_use]
pub fn tau_b(a: &[i64], b: &[i64]) -> Option<f64> {
    assert_eq!(a.len(), b.len(), "{} places and {}", a.len(), b.len());
    let (mut agreeing, mut opposed, mut untied_a, mut untied_b) = (0, 0, 0, 0);
    for first in 0..a.len() {
        for second in first + 1..a.len() {
            let (in_a, in_b) = (a[first].cmp(&a[second]), b[first].cmp(&b[second]));
            untied_a += usize::from(in_a != Ordering::Equal);
            untied_b += usize::from(in_b != Ordering::Equal);
            if in_a != Ordering::Equal && in_b != Ordering::Equal {
                agreeing += usize::from(in_a == in_b);
                opposed += usize::from(in_a != in_b);
            }
        }
    }
    let untied = (count(untied_a) * count(untied_b)).sqrt();
    (untied > 0.0).then(|| (count(agreeing) - count(opposed)) / untied)
}
