//! AdamW in lanes.

use super::lanes::{Kernel, LANES, Lanes};

/// The numbers of a step that are the same for all weights.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Coefficients {
    /// What gradients are multiplied with.
    pub(crate) factor: f32,
    /// What is kept of the first moment, and what the gradient brings.
    pub(crate) first: [f32; 2],
    /// What is kept of the second moment, and what the square of the gradient brings.
    pub(crate) second: [f32; 2],
    /// What is kept of the weight.
    pub(crate) keep: f32,
    /// The learning rate over the first moment's bias.
    pub(crate) rate: f32,
    /// One over the second moment's bias.
    pub(crate) correction: f32,
    /// Epsilon inside and outside of the root.
    pub(crate) epsilons: [f32; 2],
}

/// A step of some weights.
pub(crate) struct AdamW<'a> {
    pub(crate) weights: &'a mut [f32],
    pub(crate) first_moments: &'a mut [f32],
    pub(crate) second_moments: &'a mut [f32],
    pub(crate) gradients: &'a [f32],
    pub(crate) coefficients: Coefficients,
}

impl Kernel for AdamW<'_> {
    type Output = ();

    #[inline(always)]
    fn run<L: Lanes>(self) {
        let (weights, weight_tail) = self.weights.as_chunks_mut::<LANES>();
        let (first, first_tail) = self.first_moments.as_chunks_mut::<LANES>();
        let (second, second_tail) = self.second_moments.as_chunks_mut::<LANES>();
        let (gradients, gradient_tail) = self.gradients.as_chunks::<LANES>();
        let moments = first.iter_mut().zip(second);
        for ((weight, (first, second)), gradient) in weights.iter_mut().zip(moments).zip(gradients)
        {
            let before = [L::load(weight), L::load(first), L::load(second)];
            let after = stepped(before, L::load(gradient), &self.coefficients);
            after[0].store(weight);
            after[1].store(first);
            after[2].store(second);
        }
        if !weight_tail.is_empty() {
            let before = [&*weight_tail, first_tail, second_tail].map(L::load_partial);
            let after = stepped(before, L::load_partial(gradient_tail), &self.coefficients);
            after[0].store_partial(weight_tail);
            after[1].store_partial(first_tail);
            after[2].store_partial(second_tail);
        }
    }
}

/// Weight, first and second moment after a step.
#[inline(always)]
fn stepped<L: Lanes>([weight, first, second]: [L; 3], gradient: L, c: &Coefficients) -> [L; 3] {
    let gradient = gradient.mul(L::splat(c.factor));
    let [kept, brought] = c.first.map(L::splat);
    let first = gradient.mul_add(brought, first.mul(kept));
    let [kept, brought] = c.second.map(L::splat);
    let second = gradient.mul(gradient).mul_add(brought, second.mul(kept));
    let [inside, outside] = c.epsilons.map(L::splat);
    let root = second.mul_add(L::splat(c.correction), inside).sqrt().add(outside);
    let change = first.mul(L::splat(c.rate)).div(root);
    [weight.mul(L::splat(c.keep)).sub(change), first, second]
}
