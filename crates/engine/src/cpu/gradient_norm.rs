//! Sum of squares, in lanes of `f64`.

use super::lanes::{Kernel, LANES, Lanes};

/// `Σ x²`, in sixteen sums of every sixteenth value, then these in order.
///
/// The square of an `f32` is exact in `f64`, so no product is rounded and the bits are the same on
/// every path; the path gives its registers alone.
pub(crate) struct SumOfSquares<'a>(pub(crate) &'a [f32]);

impl Kernel for SumOfSquares<'_> {
    type Output = f64;

    #[inline(always)]
    fn run<L: Lanes>(self) -> f64 {
        let mut sums = [0.0; LANES];
        let (chunks, tail) = self.0.as_chunks::<LANES>();
        for chunk in chunks {
            for (sum, &value) in sums.iter_mut().zip(chunk) {
                *sum += f64::from(value) * f64::from(value);
            }
        }
        for (sum, &value) in sums.iter_mut().zip(tail) {
            *sum += f64::from(value) * f64::from(value);
        }
        sums.iter().sum()
    }
}
