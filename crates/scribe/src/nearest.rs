//! The name that was meant, where another was typed.

use strsim::levenshtein;

/// As much of a name as is enough to mean it.
const PART_LETTERS: usize = 4;

/// The known name nearest to `name`, if it differs in at most a third of its letters: a slip of the
/// fingers.
pub(crate) fn nearest<'a>(name: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let apart = known.into_iter().map(|known| (levenshtein(known, name), known));
    apart
        .min_by_key(|(distance, _)| *distance)
        .filter(|(d, known)| *d <= known.len() / 3)
        .map(|(_, k)| k)
}

/// As [`nearest`], or else the first known name that `name` is a part of, which goes before.
pub(crate) fn nearest_or_whole<'a>(
    name: &str,
    known: impl IntoIterator<Item = &'a str> + Clone,
) -> Option<&'a str> {
    let is_enough = name.len() >= PART_LETTERS;
    let whole = known.clone().into_iter().find(|known| is_enough && known.contains(name));
    whole.or_else(|| nearest(name, known))
}
