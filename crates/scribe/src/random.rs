//! Random ids and seeds from the operating system.

/// 64 random bits.
///
/// # Panics
///
/// Panics if the operating system gives no random numbers, without which nothing here is safe.
#[must_use]
pub(crate) fn bits() -> u64 {
    getrandom::u64().expect("the operating system gives random numbers")
}

/// A seed below 2^53: JavaScript reads it from JSON as it is.
#[must_use]
pub(crate) fn seed() -> u64 {
    bits() >> 11
}

/// `prefix` and 128 random bits in hexadecimal.
#[must_use]
pub(crate) fn id(prefix: &str) -> String {
    format!("{prefix}{:016x}{:016x}", bits(), bits())
}
