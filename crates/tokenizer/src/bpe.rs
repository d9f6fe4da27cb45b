//! Byte-pair merging of one word in O(n log n).
//!
//! A word starts as one token per byte. Again and again the neighboring pair with the lowest rank,
//! the leftmost among equals, becomes one token, until no neighbors form a known pair.
//! Source: Sennrich et al. 2016, arXiv:1508.07909; the byte level is GPT-2's.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};

/// Words of up to this many bytes are merged by scanning for the lowest rank each time, which is
/// quadratic but without a heap: faster on almost every word of natural text.
const SHORT_WORD: usize = 24;

/// No rank is this high, so it marks "no such pair".
const NO_RANK: u32 = u32::MAX;

/// What two neighboring tokens become.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Merge {
    /// The right token of the pair; the left one is the index of the row.
    right: u32,
    /// Lower ranks merge first.
    rank: u32,
    /// The token that the pair becomes.
    merged: u32,
}

/// All merges of a vocabulary: per left token a row sorted by right token.
///
/// Binary search in short rows instead of a hash table: no file can be made to collide.
#[derive(Debug)]
pub(crate) struct Merges {
    /// `rows[starts[left]..starts[left + 1]]` are the merges that begin with `left`.
    starts: Vec<u32>,
    rows: Vec<Merge>,
    /// The token of each single byte; bytes that the vocabulary lacks vanish from every text.
    byte_tokens: Box<[Option<u32>; 256]>,
}

impl Merges {
    /// Sorts `merges` (`left`, `right`, `merged`, in rank order) for a vocabulary of `tokens`.
    ///
    /// Of two merges of the same pair the later one counts, as in Hugging Face's tokenizers.
    ///
    /// # Panics
    ///
    /// Panics if a token is not below `tokens`, or if there are 2^32 - 1 merges or more.
    pub(crate) fn new(
        tokens: usize,
        merges: &[(u32, u32, u32)],
        byte_tokens: Box<[Option<u32>; 256]>,
    ) -> Self {
        let mut ranked: Vec<(u32, Merge)> = (0u32..)
            .zip(merges)
            .map(|(rank, &(left, right, merged))| (left, Merge { right, rank, merged }))
            .collect();
        assert!(ranked.len() < NO_RANK as usize, "{} merges are too many", ranked.len());
        ranked.sort_unstable_by_key(|&(left, merge)| (left, merge.right, Reverse(merge.rank)));
        ranked.dedup_by_key(|&mut (left, merge)| (left, merge.right));
        let mut starts = vec![0u32; tokens + 1];
        for &(left, merge) in &ranked {
            assert!((merge.right as usize) < tokens && (merge.merged as usize) < tokens);
            starts[left as usize + 1] += 1;
        }
        for left in 0..tokens {
            starts[left + 1] += starts[left];
        }
        Self { starts, rows: ranked.into_iter().map(|(_, merge)| merge).collect(), byte_tokens }
    }

    /// The pairs in rank order, left and right.
    pub(crate) fn in_order(&self) -> Vec<(u32, u32)> {
        let left = |row: usize| self.starts.partition_point(|&start| start as usize <= row) - 1;
        let row = |(row, merge): (usize, &Merge)| {
            (merge.rank, (u32::try_from(left(row)).unwrap_or(u32::MAX), merge.right))
        };
        let mut ranked: Vec<(u32, (u32, u32))> = self.rows.iter().enumerate().map(row).collect();
        ranked.sort_unstable();
        ranked.into_iter().map(|(_, pair)| pair).collect()
    }

    /// Appends the tokens of `word` to `tokens`.
    ///
    /// Positions inside a word are 32 bits: a word of over 1 GiB is cut there.
    pub(crate) fn encode_word(&self, word: &[u8], tokens: &mut Vec<u32>) {
        for part in word.chunks(1 << 30) {
            let bytes = part.iter().filter_map(|&byte| self.byte_tokens[usize::from(byte)]);
            if part.len() <= SHORT_WORD {
                self.merge_short(bytes, tokens);
            } else {
                self.merge_long(bytes.collect(), tokens);
            }
        }
    }

    /// The merge of two neighbors, if there is one.
    fn find(&self, left: u32, right: u32) -> Option<Merge> {
        let left = left as usize;
        let row = &self.rows[self.starts[left] as usize..self.starts[left + 1] as usize];
        row.binary_search_by_key(&right, |merge| merge.right).ok().map(|found| row[found])
    }

    /// Merges at most [`SHORT_WORD`] tokens in place.
    fn merge_short(&self, bytes: impl Iterator<Item = u32>, tokens: &mut Vec<u32>) {
        let start = tokens.len();
        tokens.extend(bytes);
        // `pending[i]` is the merge of word tokens i and i + 1.
        let mut pending = [(NO_RANK, 0u32); SHORT_WORD];
        let look = |left: u32, right: u32| {
            self.find(left, right).map_or((NO_RANK, 0), |merge| (merge.rank, merge.merged))
        };
        let mut length = tokens.len() - start;
        for i in 1..length {
            pending[i - 1] = look(tokens[start + i - 1], tokens[start + i]);
        }
        while length > 1 {
            let pairs = &pending[..length - 1];
            let (mut at, mut lowest) = (0, pairs[0].0);
            for (i, &(rank, _)) in pairs.iter().enumerate().skip(1) {
                if rank < lowest {
                    (at, lowest) = (i, rank);
                }
            }
            if lowest == NO_RANK {
                break;
            }
            tokens[start + at] = pending[at].1;
            tokens.remove(start + at + 1);
            length -= 1;
            if at + 1 < length {
                pending.copy_within(at + 1..length, at);
                pending[at] = look(tokens[start + at], tokens[start + at + 1]);
            }
            if at > 0 {
                pending[at - 1] = look(tokens[start + at - 1], tokens[start + at]);
            }
        }
    }

    /// Merges any number of tokens with a queue over a linked list.
    fn merge_long(&self, bytes: Vec<u32>, tokens: &mut Vec<u32>) {
        let mut queue = Queue::default();
        for (at, pair) in (0u32..).zip(bytes.windows(2)) {
            if let Some(merge) = self.find(pair[0], pair[1]) {
                queue.push(merge.rank, at);
            }
        }
        let mut list = List::new(bytes);
        while let Some((rank, at)) = queue.pop() {
            // An entry is stale when its pair has changed since.
            let Some(next) = list.next_of(at) else { continue };
            let Some(merge) = self.find_at(&list, at, next) else { continue };
            if merge.rank != rank {
                continue;
            }
            list.join(at, next, merge.merged);
            let before = list.previous_of(at).map(|previous| (previous, at));
            let after = list.next_of(at).map(|next| (at, next));
            for (left, right) in before.into_iter().chain(after) {
                if let Some(merge) = self.find_at(&list, left, right) {
                    queue.push(merge.rank, left);
                }
            }
        }
        list.collect_into(tokens);
    }

    /// The merge of the tokens at two positions of a list, if there is one.
    fn find_at(&self, list: &List, left: u32, right: u32) -> Option<Merge> {
        self.find(list.nodes[left as usize].token, list.nodes[right as usize].token)
    }
}

/// Positions to merge at: lowest rank first, then leftmost.
///
/// One list of positions per rank, sorted when its turn comes. A single heap of all entries walks
/// a long word in random order and takes twice as long on 2 MB.
#[derive(Default)]
struct Queue {
    /// The positions of the ranks to come, in any order.
    waiting: BTreeMap<u32, Vec<u32>>,
    /// The rank whose turn it is, and its positions, last one first.
    rank: u32,
    current: Vec<u32>,
    /// What came for a rank whose turn it is or was. Vocabularies that were trained leave this
    /// empty: a pair with a merged token is rarer than the pair that was merged.
    late: BinaryHeap<Reverse<(u32, u32)>>,
}

impl Queue {
    fn push(&mut self, rank: u32, at: u32) {
        if self.current.is_empty() || rank > self.rank {
            self.waiting.entry(rank).or_default().push(at);
        } else {
            self.late.push(Reverse((rank, at)));
        }
    }

    fn pop(&mut self) -> Option<(u32, u32)> {
        if self.current.is_empty()
            && let Some((rank, positions)) = self.waiting.pop_first()
        {
            (self.rank, self.current) = (rank, positions);
            self.current.sort_unstable_by_key(|&at| Reverse(at));
        }
        let next = self.current.last().map(|&at| (self.rank, at));
        match (next, self.late.peek()) {
            (Some(next), Some(&Reverse(late))) if late > next => self.current.pop(),
            (Some(_), None) => self.current.pop(),
            (_, Some(_)) => return self.late.pop().map(|Reverse(late)| late),
            (None, None) => None,
        }
        .map(|at| (self.rank, at))
    }
}

/// A doubly linked list of tokens inside one array.
struct List {
    nodes: Vec<Node>,
}

/// A token with the positions of its neighbors.
struct Node {
    token: u32,
    /// [`List::END`] at the end, and for tokens that are merged away.
    next: u32,
    previous: u32,
}

impl List {
    const END: u32 = u32::MAX;

    fn new(tokens: Vec<u32>) -> Self {
        let node = |(at, token): (u32, u32)| Node {
            token,
            next: at + 1,
            // Before the first there is the end.
            previous: at.wrapping_sub(1),
        };
        let mut nodes: Vec<Node> = (0..Self::END).zip(tokens).map(node).collect();
        if let Some(last) = nodes.last_mut() {
            last.next = Self::END;
        }
        Self { nodes }
    }

    fn next_of(&self, at: u32) -> Option<u32> {
        Some(self.nodes[at as usize].next).filter(|&next| next != Self::END)
    }

    fn previous_of(&self, at: u32) -> Option<u32> {
        Some(self.nodes[at as usize].previous).filter(|&previous| previous != Self::END)
    }

    /// Makes `merged` of the token at `at` and its neighbor at `next`.
    fn join(&mut self, at: u32, next: u32, merged: u32) {
        let after = self.next_of(next);
        let node = &mut self.nodes[at as usize];
        (node.token, node.next) = (merged, after.unwrap_or(Self::END));
        if let Some(after) = after {
            self.nodes[after as usize].previous = at;
        }
        // Nobody merges the dead token again: it has no next one.
        self.nodes[next as usize].next = Self::END;
    }

    fn collect_into(&self, tokens: &mut Vec<u32>) {
        let mut at = (!self.nodes.is_empty()).then_some(0);
        while let Some(position) = at {
            tokens.push(self.nodes[position as usize].token);
            at = self.next_of(position);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Merges;

    /// A vocabulary of letters in which later merges have lower ranks, as no trained one has: the
    /// short and the long way must still agree.
    #[test]
    fn any_order_of_ranks_gives_the_same_tokens_for_short_and_long_words() {
        let mut byte_tokens = Box::new([None; 256]);
        for (token, byte) in (0u32..).zip(b'a'..=b'd') {
            byte_tokens[usize::from(byte)] = Some(token);
        }
        // Tokens from 4 on are made of any two before them, longest first.
        let mut merges: Vec<(u32, u32, u32)> = (4..200)
            .map(|token| ((token * 7) % (token - 1), (token * 13 + 5) % token, token))
            .collect();
        merges.reverse();
        let merges = Merges::new(200, &merges, byte_tokens);
        let mut state = 1u32;
        for length in 2..24 {
            for _ in 0..200 {
                let word: Vec<u8> = (0..length)
                    .map(|_| {
                        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                        b"abcd"[(state >> 30) as usize]
                    })
                    .collect();
                let (mut short, mut long) = (Vec::new(), Vec::new());
                let bytes = || word.iter().map(|byte| u32::from(byte - b'a'));
                merges.merge_short(bytes(), &mut short);
                merges.merge_long(bytes().collect(), &mut long);
                assert_eq!(short, long, "{word:?}");
            }
        }
    }
}
