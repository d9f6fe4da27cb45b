//! Runs of tokens as single numbers, which are sorted and counted.
//!
//! A token becomes a code, and a run of up to 5 codes a number with the first code on top. Sorted
//! numbers are sorted runs, and those with the same beginning stand together.

/// Bits of a code: five fit into a number.
pub(super) const CODE_BITS: u32 = 25;
/// The code of the beginning of a document: below those of all tokens, so that runs which begin with
/// it come first.
pub(super) const BEGIN: u32 = 1;

/// The code of a token.
pub(super) fn code(token: u32) -> u32 {
    token + 2
}

/// The last code of a run.
pub(super) fn last(key: u128) -> u32 {
    // The mask leaves 25 bits.
    u32::try_from(key & mask(1)).unwrap_or(0)
}

/// The run without its last code.
pub(super) fn before_last(key: u128) -> u128 {
    key >> CODE_BITS
}

/// A place in a list of runs: there are fewer than 2^32 tokens.
pub(super) fn place(place: usize) -> u32 {
    u32::try_from(place).unwrap_or(u32::MAX)
}

fn mask(codes: usize) -> u128 {
    (1 << (CODE_BITS as usize * codes)) - 1
}

/// Different runs of one length in ascending order, with their counts.
#[derive(Debug, Default)]
pub(super) struct Grams {
    pub(super) keys: Vec<u128>,
    pub(super) counts: Vec<u32>,
}

/// All runs of the greatest length, each as often as it occurs, and how documents begin.
#[derive(Debug)]
pub(super) struct Windows {
    order: usize,
    keys: Vec<u128>,
    /// The first codes of each document, at most as many as the longest run, and how many.
    heads: Vec<(u128, usize)>,
    tokens: usize,
}

impl Windows {
    pub(super) fn new(order: usize) -> Self {
        Self { order, keys: Vec::new(), heads: Vec::new(), tokens: 0 }
    }

    /// Tokens so far, a beginning for each document among them.
    pub(super) fn tokens(&self) -> usize {
        self.tokens
    }

    pub(super) fn add(&mut self, document: &[u32]) {
        let mask = mask(self.order);
        let mut key = u128::from(BEGIN);
        let mut head = (key, 1);
        for (place, &token) in document.iter().enumerate() {
            key = (key << CODE_BITS | u128::from(code(token))) & mask;
            // With the beginning there are two codes more than the place says.
            let codes = place + 2;
            if codes <= self.order {
                head = (key, codes);
            }
            if codes >= self.order {
                self.keys.push(key);
            }
        }
        self.heads.push(head);
        self.tokens += document.len() + 1;
    }

    /// Counts the longest runs; they are not there any more then.
    pub(super) fn count(&mut self) -> Grams {
        let mut keys = std::mem::take(&mut self.keys);
        keys.sort_unstable();
        Grams::count(keys)
    }

    /// Runs of `codes` codes, by those that are one longer: how many different codes stand before
    /// each; and how many documents begin with it, where it holds the beginning.
    ///
    /// The empty run has no count, nor has the beginning alone: it is never predicted.
    pub(super) fn shorten(&self, longer: &Grams, codes: usize) -> Grams {
        if codes == 0 {
            return Grams { keys: vec![0], counts: vec![0] };
        }
        let mut keys = Vec::with_capacity(self.heads.len() + longer.keys.len());
        let long = self.heads.iter().filter(|(_, length)| *length >= codes);
        keys.extend(long.map(|(key, length)| key >> (CODE_BITS as usize * (length - codes))));
        // The beginning stands before all else, so what is left of a longer run never holds it.
        let mask = mask(codes);
        keys.extend(longer.keys.iter().map(|key| key & mask));
        keys.sort_unstable();
        let mut grams = Grams::count(keys);
        if let Some(beginning) = grams.counts.first_mut().filter(|_| codes == 1) {
            *beginning = 0;
        }
        grams
    }
}

impl Grams {
    /// Counts equal neighbors.
    fn count(mut keys: Vec<u128>) -> Self {
        let counts = keys.chunk_by(|left, right| left == right);
        let counts: Vec<u32> = counts.map(|equal| place(equal.len())).collect();
        keys.dedup();
        keys.shrink_to_fit();
        Self { keys, counts }
    }
}
