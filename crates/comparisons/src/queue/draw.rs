//! Numbers that look random and are a function of a seed and names alone.

use artifacts::hash::Digest;

/// A number for a purpose and the names that it depends on.
///
/// Each name goes into the hash with its length, so that no two lists of names are one text.
pub(super) fn draw(seed: u64, purpose: &str, names: &[&[u8]]) -> u64 {
    let mut bytes = seed.to_le_bytes().to_vec();
    for name in [purpose.as_bytes()].iter().chain(names) {
        bytes.extend((name.len() as u64).to_le_bytes());
        bytes.extend_from_slice(name);
    }
    let digest = Digest::of(&bytes);
    let (first, _) = digest.as_bytes().as_chunks::<8>();
    u64::from_le_bytes(first[0])
}

/// The numbers below `count` in an order that is drawn (Fisher and Yates).
pub(super) fn shuffled(count: usize, mut draw_at: impl FnMut(u64) -> u64) -> Vec<usize> {
    let mut order: Vec<usize> = (0..count).collect();
    for (last, place) in (1..count).rev().zip(0_u64..) {
        // Orders are of at most 16 completions: a remainder of 64 bits is even enough.
        let other = draw_at(place) % (last as u64 + 1);
        order.swap(last, usize::try_from(other).unwrap_or(last));
    }
    order
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn draws_depend_on_every_part() {
        let base = draw(1, "order", &[b"ab", b"c"]);
        assert_eq!(base, draw(1, "order", &[b"ab", b"c"]));
        for other in [
            draw(2, "order", &[b"ab", b"c"]),
            draw(1, "shared", &[b"ab", b"c"]),
            draw(1, "order", &[b"a", b"bc"]),
            draw(1, "order", &[b"abc"]),
        ] {
            assert_ne!(base, other);
        }
    }

    #[test]
    fn all_orders_are_about_as_frequent() {
        let mut counts = std::collections::BTreeMap::new();
        for seed in 0..6_000 {
            let order = shuffled(3, |place| draw(seed, "order", &[&place.to_le_bytes()]));
            *counts.entry(order).or_insert(0) += 1;
        }
        assert_eq!(counts.len(), 6);
        // Five standard deviations of a count of 6,000 draws with chance 1/6 are 144.
        assert!(counts.values().all(|count| (856..1_144).contains(count)), "{counts:?}");
    }
}
