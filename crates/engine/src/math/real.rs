//! The numbers that slow references are written over.

/// A number that a reference takes and gives: it computes in `f64` and rounds to this type once per
/// result.
///
/// With `f32` a reference is the oracle of the fast twins; with `f64` its derivatives can be held
/// against differences of itself.
pub(crate) trait Real: Copy + Into<f64> {
    /// The nearest value of this type.
    fn rounded(value: f64) -> Self;
}

impl Real for f32 {
    #[expect(clippy::cast_possible_truncation, reason = "rounding to the nearest f32 is meant")]
    fn rounded(value: f64) -> Self {
        value as Self
    }
}

impl Real for f64 {
    fn rounded(value: f64) -> Self {
        value
    }
}
