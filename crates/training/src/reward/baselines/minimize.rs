//! The least of a smooth convex function of many numbers, by its gradient.

use std::collections::VecDeque;

/// Steps whose changes are remembered.
const MEMORY: usize = 8;
/// Most steps.
const STEPS_MAX: usize = 200;
/// A gradient of this share of the first one is as good as none.
const NEAR: f64 = 1e-5;
/// The share of what the slope promises that a step has to bring.
const ENOUGH: f64 = 1e-4;
/// Most times that a step is halved.
const HALVINGS: usize = 30;

/// A step, how it changed the gradient, and one over their product.
struct Change {
    step: Vec<f64>,
    gradient: Vec<f64>,
    inverse: f64,
}

/// Where a function is least, from a place that is near; `function` returns its value and writes its
/// gradient.
///
/// The same function and place give the same bits. Of a function that is not convex it finds some
/// place where the gradient is small, or where no step helps.
///
/// Source: Liu and Nocedal 1989, "On the limited memory BFGS method for large scale optimization";
/// steps are halved until they bring enough (Armijo).
pub(super) fn minimize(place: &mut [f64], mut function: impl FnMut(&[f64], &mut [f64]) -> f64) {
    let mut gradient = vec![0.0; place.len()];
    let mut value = function(place, &mut gradient);
    let goal = NEAR * product(&gradient, &gradient).sqrt();
    let mut changes = VecDeque::with_capacity(MEMORY);
    let (mut tried, mut tried_gradient) = (place.to_vec(), gradient.clone());
    for _ in 0..STEPS_MAX {
        let norm = product(&gradient, &gradient).sqrt();
        if norm <= goal || norm == 0.0 {
            return;
        }
        let mut direction = descent(&gradient, &changes);
        if changes.is_empty() {
            direction.iter_mut().for_each(|d| *d /= norm.max(1.0));
        }
        let slope = product(&gradient, &direction);
        let mut length = 1.0;
        let mut halvings = 0;
        let found = loop {
            for ((to, from), along) in tried.iter_mut().zip(&*place).zip(&direction) {
                *to = from + length * along;
            }
            let found = function(&tried, &mut tried_gradient);
            if found <= value + ENOUGH * length * slope {
                break found;
            }
            halvings += 1;
            if halvings > HALVINGS {
                return;
            }
            length *= 0.5;
        };
        let step: Vec<f64> = tried.iter().zip(&*place).map(|(to, from)| to - from).collect();
        let of_gradient: Vec<f64> =
            tried_gradient.iter().zip(&gradient).map(|(to, from)| to - from).collect();
        let curvature = product(&step, &of_gradient);
        if curvature > 0.0 {
            changes.truncate(MEMORY - 1);
            changes.push_front(Change { step, gradient: of_gradient, inverse: 1.0 / curvature });
        }
        place.copy_from_slice(&tried);
        gradient.copy_from_slice(&tried_gradient);
        value = found;
    }
}

/// Minus the gradient times about the inverse of the curvature, which is known from changes, the
/// newest first.
fn descent(gradient: &[f64], changes: &VecDeque<Change>) -> Vec<f64> {
    let mut direction: Vec<f64> = gradient.iter().map(|slope| -slope).collect();
    let mut shares = Vec::with_capacity(changes.len());
    for change in changes {
        let share = change.inverse * product(&change.step, &direction);
        add(&mut direction, -share, &change.gradient);
        shares.push(share);
    }
    if let Some(Change { gradient, inverse, .. }) = changes.front() {
        let scale = 1.0 / (inverse * product(gradient, gradient));
        direction.iter_mut().for_each(|d| *d *= scale);
    }
    for (change, share) in changes.iter().zip(shares).rev() {
        let other = change.inverse * product(&change.gradient, &direction);
        add(&mut direction, share - other, &change.step);
    }
    direction
}

fn product(left: &[f64], right: &[f64]) -> f64 {
    left.iter().zip(right).map(|(left, right)| left * right).sum()
}

fn add(to: &mut [f64], factor: f64, what: &[f64]) {
    to.iter_mut().zip(what).for_each(|(to, what)| *to += factor * what);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_least_of_a_narrow_bowl_is_found() {
        // Curvatures from 1 to 1,000; least at 1, 2, 3, …
        let bowl = |place: &[f64], gradient: &mut [f64]| {
            let mut value = 0.0;
            for (at, (x, slope)) in (0_u32..).zip(place.iter().zip(gradient)) {
                let (curvature, away) =
                    (10.0_f64.powi(at.try_into().unwrap()), x - 1.0 - f64::from(at));
                value += 0.5 * curvature * away * away;
                *slope = curvature * away;
            }
            value
        };
        let mut place = [0.0; 4];
        minimize(&mut place, bowl);
        for (x, expected) in place.iter().zip([1.0, 2.0, 3.0, 4.0]) {
            assert!((x - expected).abs() < 1e-2, "{place:?}");
        }
        let mut there = [1.0, 2.0, 3.0, 4.0];
        minimize(&mut there, bowl);
        assert_eq!(there.map(f64::to_bits), [1.0, 2.0, 3.0, 4.0].map(f64::to_bits));
    }
}
