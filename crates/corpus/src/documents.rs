//! The documents of a split, whole and one after the other, for those who count rather than learn.

use crate::Error;
use crate::shard::Shard;

/// Reads documents, each as its tokens, in the order of the shards. Memory: one document, and what
/// the shards take.
#[derive(Debug)]
pub struct Documents {
    shards: Vec<Shard>,
    /// The shard of the next document.
    shard: usize,
    /// Its number in that shard.
    document: usize,
}

impl Documents {
    pub(crate) fn new(shards: Vec<Shard>) -> Self {
        Self { shards, shard: 0, document: 0 }
    }
}

impl Iterator for Documents {
    type Item = Result<Vec<u32>, Error>;

    fn next(&mut self) -> Option<Self::Item> {
        // No shard is empty, so the next one has a document.
        if self.shards.get(self.shard)?.starts().len() == self.document {
            (self.shard, self.document) = (self.shard + 1, 0);
        }
        let shard = self.shards.get(self.shard)?;
        let begin = u64::from(*shard.starts().get(self.document)?);
        let end = shard.starts().get(self.document + 1).map_or(shard.tokens(), |&end| end.into());
        self.document += 1;
        let mut tokens = vec![0; usize::try_from(end - begin).unwrap_or(usize::MAX)];
        Some(shard.read(begin, &mut tokens).map(|()| tokens))
    }
}
