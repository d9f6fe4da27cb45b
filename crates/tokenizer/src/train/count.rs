//! How often each word occurs in a text, counted on several threads in memory that does not grow
//! with the text.

use std::collections::HashMap;
use std::hash::BuildHasher;
use std::num::NonZeroUsize;
use std::thread;

use super::hash::Keyed;
use crate::{Error, SplitRule};

/// The text, in bytes, that is collected for each thread before it is counted.
const BATCH_BYTES: usize = 4 << 20;

/// The text, in bytes, that goes to one thread at least; longer documents are cut where every rule
/// cuts.
const PIECE_BYTES: usize = 32 << 10;

/// The longest word that is learned from whole, in bytes; a longer one counts in parts of this
/// length.
const WORD_BYTES_MAX: usize = 1 << 16;

/// The most bytes that all different words may have together. Merging takes about 16 times as much.
pub(super) const WORDS_BYTES_MAX: usize = 1 << 30;

/// A word's bytes, and how often it occurs.
pub(super) type CountedWord = (Box<[u8]>, u64);

/// Words of a batch, borrowed from it, with their counts there.
type FoundWords<'text> = Vec<(&'text [u8], u64)>;

/// Counts words.
///
/// Each thread counts the words of its share of a batch, borrowed from it. Then each takes the
/// words whose hash is its own from all threads and adds them to a map of its own, so that every
/// word is kept once.
#[derive(Debug)]
pub(super) struct WordCounts {
    split: SplitRule,
    keyed: Keyed,
    /// One map for each thread.
    shards: Vec<Shard>,
    batch: String,
    /// Where each piece of the batch ends. No word goes from one into the next.
    ends: Vec<usize>,
}

/// The words whose hash belongs to one thread.
#[derive(Debug)]
struct Shard {
    counts: HashMap<Box<[u8]>, u64, Keyed>,
    bytes: usize,
}

impl WordCounts {
    pub(super) fn new(split: SplitRule, threads: NonZeroUsize) -> Self {
        let keyed = Keyed::new();
        let shard = || Shard { counts: HashMap::with_hasher(keyed.clone()), bytes: 0 };
        let shards = (0..threads.get()).map(|_| shard()).collect();
        Self { split, keyed, shards, batch: String::new(), ends: Vec::new() }
    }

    /// Counts the words of a text that begins and ends where the rule cuts.
    pub(super) fn add(&mut self, mut text: &str) -> Result<(), Error> {
        while !text.is_empty() {
            let (piece, rest) = text.split_at(piece_end(text));
            self.batch.push_str(piece);
            self.ends.push(self.batch.len());
            text = rest;
            if self.batch.len() >= BATCH_BYTES * self.shards.len() {
                self.count_batch()?;
            }
        }
        Ok(())
    }

    /// All words with their counts, in the order of their bytes.
    pub(super) fn finish(mut self) -> Result<Vec<CountedWord>, Error> {
        self.count_batch()?;
        let mut words: Vec<CountedWord> =
            self.shards.into_iter().flat_map(|shard| shard.counts).collect();
        words.sort_unstable();
        Ok(words)
    }

    fn count_batch(&mut self) -> Result<(), Error> {
        let (split, keyed, shards) = (self.split, &self.keyed, self.shards.len());
        let shares = shares(&self.batch, &self.ends, shards);
        let found = on_threads(shares, |share| count_share(&share, split, keyed, shards));
        // What is found for one shard, from all threads.
        let mut of_shards: Vec<Vec<FoundWords<'_>>> = vec![Vec::new(); shards];
        for (shard, words) in found.into_iter().flat_map(|parts| parts.into_iter().enumerate()) {
            of_shards[shard].push(words);
        }
        let work = self.shards.iter_mut().zip(of_shards).collect();
        on_threads(work, |(shard, parts)| shard.add(parts));
        self.batch.clear();
        self.ends.clear();
        let bytes: usize = self.shards.iter().map(|shard| shard.bytes).sum();
        if bytes > WORDS_BYTES_MAX {
            return Err(Error::TooManyWords { limit: WORDS_BYTES_MAX });
        }
        Ok(())
    }
}

impl Shard {
    fn add(&mut self, parts: Vec<FoundWords<'_>>) {
        for (word, count) in parts.into_iter().flatten() {
            if let Some(known) = self.counts.get_mut(word) {
                *known += count;
            } else {
                self.bytes += word.len();
                self.counts.insert(word.into(), count);
            }
        }
    }
}

/// The pieces of a batch, in one list for each thread of about the same length.
fn shares<'text>(batch: &'text str, ends: &[usize], threads: usize) -> Vec<Vec<&'text str>> {
    let mut shares = vec![Vec::new(); threads];
    let mut start = 0;
    for &end in ends {
        shares[start * threads / batch.len()].push(&batch[start..end]);
        start = end;
    }
    shares
}

/// Counts the words of some pieces; returns them by the shard that their hash belongs to.
fn count_share<'text>(
    pieces: &[&'text str],
    split: SplitRule,
    keyed: &Keyed,
    shards: usize,
) -> Vec<FoundWords<'text>> {
    let mut counts: HashMap<&[u8], u64, Keyed> = HashMap::with_hasher(keyed.clone());
    for word in pieces.iter().flat_map(|piece| split.words(piece)) {
        for part in word.as_bytes().chunks(WORD_BYTES_MAX) {
            *counts.entry(part).or_default() += 1;
        }
    }
    let mut parts = vec![Vec::new(); shards];
    for (word, count) in counts {
        // Tables choose a place by the lowest bits, which a shard must not have all alike.
        let shard = (keyed.hash_one(word) >> 32) % shards as u64;
        parts[usize::try_from(shard).unwrap_or(0)].push((word, count));
    }
    parts
}

/// Does each piece of work on a thread of its own; returns the results in order.
fn on_threads<W: Send, R: Send>(work: Vec<W>, run: impl Fn(W) -> R + Sync) -> Vec<R> {
    let run = &run;
    thread::scope(|scope| {
        let threads: Vec<_> =
            work.into_iter().map(|piece| scope.spawn(move || run(piece))).collect();
        let join = |thread: thread::ScopedJoinHandle<'_, R>| {
            thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        };
        threads.into_iter().map(join).collect()
    })
}

/// Where the first piece of a text ends.
fn piece_end(text: &str) -> usize {
    if text.len() <= 2 * PIECE_BYTES {
        return text.len();
    }
    let end = text.floor_char_boundary(PIECE_BYTES);
    SplitRule::last_cut(&text[..end])
        .or_else(|| SplitRule::first_cut(&text[end..]).map(|cut| end + cut))
        .unwrap_or(text.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_word_is_counted_once_on_any_number_of_threads() {
        let line = "The 12 cats' tails, l'été...\r\n\r\n  日本語 と\u{301} 👍🏽\t";
        let text = line.repeat(20_000);
        assert!(text.len() > 20 * PIECE_BYTES);
        let count = |text: &str, threads| {
            let threads = NonZeroUsize::new(threads).unwrap();
            let mut counts = WordCounts::new(SplitRule::Llama3, threads);
            counts.add(text).unwrap();
            counts.finish().unwrap()
        };
        let expected = {
            let mut counts = std::collections::BTreeMap::<&str, u64>::new();
            for word in SplitRule::Llama3.words(&text) {
                *counts.entry(word).or_default() += 1;
            }
            let counts = counts.into_iter();
            counts.map(|(word, count)| (word.as_bytes().into(), count)).collect::<Vec<_>>()
        };
        for threads in [1, 2, 5] {
            assert_eq!(count(&text, threads), expected, "{threads} threads");
        }
        let long = "1".repeat(3 * WORD_BYTES_MAX + 1);
        assert_eq!(count(&long, 2).len(), 2, "111 and 1");
        let long = "x".repeat(3 * WORD_BYTES_MAX + 1);
        assert_eq!(count(&long, 2)[0], (b"x"[..].into(), 1));
    }
}
