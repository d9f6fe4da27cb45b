//! A comparison as a reward model reads it.

/// A prompt, completions of it, and their order by one person, all in tokens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RankedCompletions {
    /// What was asked.
    pub prompt: Vec<u32>,
    /// At least two, with their stop tokens.
    pub completions: Vec<Vec<u32>>,
    /// The rank of each completion; lower is better, and equal ones are tied but for
    /// [`BELOW`](super::BELOW).
    pub ranks: Vec<u32>,
}

impl RankedCompletions {
    /// Each completion after its prompt.
    pub fn sequences(&self) -> impl Iterator<Item = (&[u32], &[u32])> {
        self.completions.iter().map(|completion| (self.prompt.as_slice(), completion.as_slice()))
    }

    /// Tokens of all sequences.
    #[must_use]
    pub fn tokens(&self) -> usize {
        self.sequences().map(|(prompt, completion)| prompt.len() + completion.len()).sum()
    }
}
