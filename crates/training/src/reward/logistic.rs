//! The probability that one score beats another, stable for any difference.

/// `1 / (1 + exp(-x))`, between 0 and 1.
#[must_use]
pub fn sigmoid(x: f64) -> f64 {
    let small = engine::exp(-x.abs());
    if x < 0.0 { small / (1.0 + small) } else { 1.0 / (1.0 + small) }
}

/// `log(sigmoid(x))`, at most 0: `min(x, 0) - log(1 + exp(-|x|))`, which overflows nowhere.
#[must_use]
pub fn log_sigmoid(x: f64) -> f64 {
    x.min(0.0) - engine::log_1p(engine::exp(-x.abs()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_as_the_formula_where_it_is_stable() {
        for step in -300..=300 {
            let x = f64::from(step) * 0.1;
            let expected = 1.0 / (1.0 + (-x).exp());
            assert!((sigmoid(x) - expected).abs() <= 1e-15 * expected, "{x}");
            assert!((log_sigmoid(x) - -(-x).exp().ln_1p()).abs() < 1e-14, "{x}");
            assert!((sigmoid(x) + sigmoid(-x) - 1.0).abs() < 3e-16, "{x}");
        }
    }

    #[test]
    #[expect(clippy::float_cmp, reason = "so far out, the values are exact")]
    fn finite_at_any_difference() {
        assert_eq!([sigmoid(1e4), sigmoid(-1e4)], [1.0, 0.0]);
        assert_eq!([log_sigmoid(1e4), log_sigmoid(-1e4)], [0.0, -1e4]);
        assert_eq!(log_sigmoid(-1e300), -1e300);
    }
}
