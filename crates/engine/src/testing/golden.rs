//! The values of PyTorch in `fixtures/backward-golden.json`: named lists of numbers, one a line.

use std::path::Path;

/// The lists of the file.
pub(crate) struct Golden {
    text: String,
}

impl Golden {
    /// Reads the file.
    pub(crate) fn read() -> Self {
        let path =
            Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fixtures/backward-golden.json");
        let text = std::fs::read_to_string(path).expect("the fixture is part of the repository");
        Self { text }
    }

    /// The list of this name.
    ///
    /// # Panics
    ///
    /// Panics if there is none.
    pub(crate) fn list(&self, name: &str) -> Vec<f32> {
        let start = format!("\"{name}\": [");
        let line = self.text.lines().find_map(|line| line.trim_start().strip_prefix(&*start));
        let numbers = line.and_then(|line| line.split(']').next());
        let numbers = numbers.unwrap_or_else(|| panic!("{name} is in the fixture"));
        numbers.split(',').map(|number| number.trim().parse().expect("a number")).collect()
    }

    /// Asserts that `actual` is the list of this name to within 1e-5 of its largest value: results
    /// in `f32` of a few dozen roundings each, next to PyTorch's in `f64`.
    #[track_caller]
    pub(crate) fn assert_close(&self, actual: &[f32], name: &str) {
        let expected = self.list(name);
        let largest = expected.iter().fold(0.0_f32, |largest, value| largest.max(value.abs()));
        super::assert_close(actual, &expected, 1e-5 * largest, name);
    }
}
