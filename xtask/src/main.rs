//! Set-up, tidy tests, fixtures, benches and the whole check.

fn main() {}
