//! Batches of rows from the shards of a split, in an order that a seed decides.
//!
//! Row `n` of a run is a function of the corpus, the options and `n` alone. So the rows of a step
//! are the same, in the same order, in micro-batches of any size, and a run that goes on from a
//! stored [`Position`] gets the same bytes as one that never stopped.

use artifacts::hash::Digest;
use serde::{Deserialize, Serialize};

use crate::Error;
use crate::permutation::Permutation;
use crate::shard::Shard;
use crate::split::Split;

/// The longest row, in tokens.
pub const TIME_MAX: usize = 1 << 20;
/// The most numbers of a batch, rows times tokens.
pub const BATCH_TOKENS_MAX: usize = 1 << 26;

/// How a split is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LoaderOptions {
    /// Tokens of a row.
    pub time: usize,
    /// Decides the order of rows in each epoch.
    pub seed: u64,
    /// How documents are put into rows.
    pub packing: Packing,
}

/// How documents are put into rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Packing {
    /// All documents in one stream, cut into rows: nothing is padded, and a document may go on in
    /// another row, which begins without what was before. The last tokens, too few for a row, are
    /// left out. For pretraining.
    Stream,
    /// Each row begins with a document and holds as many whole ones as fit, in the order of the
    /// shards, then padding. A document that is longer than a row is cut. For conversations.
    Whole,
}

/// Rows of tokens, all of one length.
///
/// # Shapes
///
/// All lists are `[rows, time]`, one row after the other.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RowBatch {
    /// Rows.
    pub rows: usize,
    /// Tokens of a row.
    pub time: usize,
    /// What the model reads; 0 in padding.
    pub inputs: Vec<u32>,
    /// What is to follow each input; 0 in padding.
    pub targets: Vec<u32>,
    /// Whether the target is learned: not across the end of a document, not what somebody else than
    /// the model writes, not padding.
    pub learned: Vec<bool>,
    /// The column at which the document of each input begins in its row: attention from column `t`
    /// reaches from `segment_starts[t]` to `t`. Padding is a document of its own.
    pub segment_starts: Vec<u32>,
}

/// How far a run is: small, to be stored in its checkpoints.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Position {
    /// What is read: the corpus, the split and the options, as a digest.
    pub reads: Digest,
    /// Rows so far, over all epochs.
    pub rows: u64,
}

/// Reads batches. Memory: what the shards take, and 16 bytes for each row of [`Packing::Whole`].
#[derive(Debug)]
pub struct Loader {
    stream: Stream,
    options: LoaderOptions,
    rows: Rows,
    position: Position,
}

/// Where the rows of one epoch begin and end in the stream.
#[derive(Debug)]
enum Rows {
    /// Row `n` begins at token `n * time`.
    Stream(u64),
    /// First token and number of tokens of each.
    Whole(Vec<(u64, usize)>),
}

impl Loader {
    /// The rows of these shards; `corpus` is the digest of the manifest.
    pub(crate) fn new(
        shards: Vec<Shard>,
        split: Split,
        options: LoaderOptions,
        corpus: Digest,
    ) -> Result<Self, Error> {
        let LoaderOptions { time, seed, packing } = options;
        if !(1..=TIME_MAX).contains(&time) {
            let expected = format!("between 1 and {TIME_MAX}");
            return Err(Error::Option { option: "time", found: time.to_string(), expected });
        }
        let stream = Stream::new(shards);
        let rows = match packing {
            Packing::Stream => Rows::Stream(stream.tokens.saturating_sub(1) / time as u64),
            Packing::Whole => Rows::Whole(stream.whole_rows(time + 1)),
        };
        if rows.count() == 0 {
            let (split, tokens) = (split.name(), stream.tokens);
            return Err(Error::TooShort { split, tokens, time });
        }
        let identity = format!("{corpus} {} {time} {seed} {packing:?}", split.name());
        let position = Position { reads: Digest::of(identity.as_bytes()), rows: 0 };
        Ok(Self { stream, options, rows, position })
    }

    /// The next rows; an epoch goes over into the next.
    ///
    /// # Errors
    ///
    /// Where a shard cannot be read or holds a token that is not in the vocabulary, or for more than
    /// [`BATCH_TOKENS_MAX`] tokens. The position is as it was then.
    pub fn next_batch(&mut self, rows: usize) -> Result<RowBatch, Error> {
        let time = self.options.time;
        if rows > BATCH_TOKENS_MAX / time {
            let expected = format!("at most {} rows of {time}", BATCH_TOKENS_MAX / time);
            return Err(Error::Option { option: "rows", found: rows.to_string(), expected });
        }
        let numbers = rows * time;
        let mut batch = RowBatch {
            rows,
            time,
            inputs: vec![0; numbers],
            targets: vec![0; numbers],
            learned: vec![false; numbers],
            segment_starts: vec![0; numbers],
        };
        for row in 0..rows {
            let at = self.row_at(self.position.rows.wrapping_add(row as u64));
            self.read_row(at, &mut batch, row)?;
        }
        self.position.rows = self.position.rows.wrapping_add(rows as u64);
        Ok(batch)
    }

    /// Goes on from a position that was stored.
    ///
    /// # Errors
    ///
    /// [`Error::OtherPosition`] where it belongs to another corpus, split or other options.
    pub fn seek(&mut self, position: &Position) -> Result<(), Error> {
        if position.reads != self.position.reads {
            let (found, expected) = (position.reads, self.position.reads);
            return Err(Error::OtherPosition { found, expected });
        }
        self.position.clone_from(position);
        Ok(())
    }

    /// Where the next batch begins.
    #[must_use]
    pub fn position(&self) -> &Position {
        &self.position
    }

    /// Rows of one epoch.
    #[must_use]
    pub fn epoch_rows(&self) -> u64 {
        self.rows.count()
    }

    /// The epoch that the next row belongs to, counted from 0.
    #[must_use]
    pub fn epoch(&self) -> u64 {
        self.position.rows / self.epoch_rows()
    }

    /// Tokens of the split.
    #[must_use]
    pub fn tokens(&self) -> u64 {
        self.stream.tokens
    }

    /// Documents of the split that are longer than a row. With [`Packing::Whole`] they are cut.
    #[must_use]
    pub fn long_documents(&self) -> u64 {
        let row = self.options.time as u64 + 1;
        self.stream.documents().filter(|(begin, end)| end - begin > row).count() as u64
    }

    /// First token and number of tokens of a row, by its number in the run.
    fn row_at(&self, row: u64) -> (u64, usize) {
        let count = self.rows.count();
        let (epoch, place) = (row / count, row % count);
        let place = Permutation::new(count, self.options.seed, epoch).at(place);
        match &self.rows {
            Rows::Stream(_) => (place * self.options.time as u64, self.options.time + 1),
            Rows::Whole(rows) => {
                // A place is below the length of the list.
                rows[usize::try_from(place).unwrap_or(usize::MAX)]
            }
        }
    }

    /// Fills row `row` of a batch from `count` tokens at `begin`.
    fn read_row(
        &self,
        (begin, count): (u64, usize),
        batch: &mut RowBatch,
        row: usize,
    ) -> Result<(), Error> {
        let time = self.options.time;
        let mut tokens = vec![0; count];
        self.stream.read(begin, &mut tokens)?;
        let columns = row * time..(row + 1) * time;
        let inputs = &mut batch.inputs[columns.clone()];
        let targets = &mut batch.targets[columns.clone()];
        let learned = &mut batch.learned[columns.clone()];
        let segment_starts = &mut batch.segment_starts[columns];
        // `t` pairs of a token and the one after it; the last token is a target alone, unless there
        // is padding after it.
        let pairs = count - 1;
        let read = count.min(time);
        inputs[..read].copy_from_slice(&tokens[..read]);
        targets[..pairs].copy_from_slice(&tokens[1..]);
        learned[..pairs].fill(true);
        self.stream.silent(begin, count, |t| {
            // Token `t` of the row is the target of column `t - 1`.
            if let Some(before) = t.checked_sub(1) {
                learned[before] = false;
            }
        });
        let mut segment = 0;
        self.stream.starts(begin, count, |t| {
            if let Some(before) = t.checked_sub(1) {
                learned[before] = false;
            }
            segment_starts[segment..t.min(time)].fill(column(segment));
            segment = t.min(time);
        });
        segment_starts[segment..read].fill(column(segment));
        segment_starts[read..].fill(column(read));
        Ok(())
    }
}

/// The corpus as one stream of tokens: all shards of a split, one after the other.
#[derive(Debug)]
struct Stream {
    shards: Vec<Shard>,
    /// The token of the stream with which each shard begins.
    begins: Vec<u64>,
    tokens: u64,
}

impl Stream {
    fn new(shards: Vec<Shard>) -> Self {
        let mut tokens = 0;
        let begins = shards
            .iter()
            .map(|shard| {
                tokens += shard.tokens();
                tokens - shard.tokens()
            })
            .collect();
        Self { shards, begins, tokens }
    }

    /// The parts of shards that `count` tokens from `begin` on lie in: the shard, its first token,
    /// how many, and how many came before.
    fn parts(&self, begin: u64, count: usize) -> impl Iterator<Item = (&Shard, u64, usize, usize)> {
        let first = self.begins.partition_point(|&start| start <= begin).saturating_sub(1);
        let mut done = 0;
        self.shards[first..].iter().zip(&self.begins[first..]).map_while(move |(shard, start)| {
            if done == count {
                return None;
            }
            let inside = begin + done as u64 - start;
            let left = usize::try_from(shard.tokens() - inside).unwrap_or(usize::MAX);
            let length = left.min(count - done);
            done += length;
            Some((shard, inside, length, done - length))
        })
    }

    fn read(&self, begin: u64, tokens: &mut [u32]) -> Result<(), Error> {
        for (shard, inside, length, done) in self.parts(begin, tokens.len()) {
            shard.read(inside, &mut tokens[done..done + length])?;
        }
        Ok(())
    }

    /// Calls `each` with the columns at which documents begin, in order.
    fn starts(&self, begin: u64, count: usize, mut each: impl FnMut(usize)) {
        for (shard, inside, length, done) in self.parts(begin, count) {
            let starts = shard.starts();
            let first = starts.partition_point(|&start| u64::from(start) < inside);
            let end = inside + length as u64;
            for &start in starts[first..].iter().take_while(|&&start| u64::from(start) < end) {
                each(done + offset(u64::from(start) - inside));
            }
        }
    }

    /// Calls `each` with the columns whose tokens are not learned, in order.
    fn silent(&self, begin: u64, count: usize, mut each: impl FnMut(usize)) {
        for (shard, inside, length, done) in self.parts(begin, count) {
            let (runs, end) = (shard.silent(), inside + length as u64);
            let first = runs.partition_point(|&[_, run_end]| u64::from(run_end) <= inside);
            for &[run_begin, run_end] in &runs[first..] {
                let run_begin = u64::from(run_begin).max(inside);
                if run_begin >= end {
                    break;
                }
                let run_end = u64::from(run_end).min(end);
                (run_begin..run_end).for_each(|token| each(done + offset(token - inside)));
            }
        }
    }

    /// The first token of each document, and the one after its last.
    fn documents(&self) -> impl Iterator<Item = (u64, u64)> {
        self.shards.iter().zip(&self.begins).flat_map(|(shard, begin)| {
            let ends = shard.starts()[1..].iter().map(|&start| u64::from(start));
            let starts = shard.starts().iter().map(|&start| u64::from(start));
            starts
                .zip(ends.chain([shard.tokens()]))
                .map(move |(first, end)| (begin + first, begin + end))
        })
    }

    /// Rows of whole documents, of at most `most` tokens each; a single longer document is cut.
    fn whole_rows(&self, most: usize) -> Vec<(u64, usize)> {
        let mut rows: Vec<(u64, usize)> = Vec::new();
        for (begin, end) in self.documents() {
            let length = usize::try_from(end - begin).unwrap_or(usize::MAX);
            match rows.last_mut() {
                Some((row, count)) if *row + *count as u64 == begin && *count + length <= most => {
                    *count += length;
                }
                _ => rows.push((begin, length.min(most))),
            }
        }
        rows
    }
}

impl Rows {
    fn count(&self) -> u64 {
        match self {
            Self::Stream(count) => *count,
            Self::Whole(rows) => rows.len() as u64,
        }
    }
}

/// A distance within a row.
fn offset(tokens: u64) -> usize {
    usize::try_from(tokens).unwrap_or(usize::MAX)
}

/// A column, which is at most [`TIME_MAX`].
fn column(at: usize) -> u32 {
    u32::try_from(at).unwrap_or(u32::MAX)
}
