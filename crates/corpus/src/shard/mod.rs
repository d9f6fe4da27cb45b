//! A shard: documents as tokens in one file, with where they begin and what is not learned.
//!
//! All numbers are little-endian:
//!
//! | bytes | what |
//! |---|---|
//! | 8 | `SCRSHARD` |
//! | 4, 4 | version 1; bytes of a token, 2 or 4 |
//! | 4, 4 | tokens of the vocabulary; 0 |
//! | 8, 8, 8 | counts: tokens, documents, runs |
//! | 16 | 0 |
//! | … | the tokens, then zeros up to a multiple of 8 |
//! | 4 each | the token at which each document begins, rising from 0 |
//! | 4, 4 each | runs of tokens that are not learned: the first, and the one after the last |
//!
//! There is nothing after that. A file is hostile: its length must be what the header announces
//! before anything is read, and every number is checked.

use std::fs::File;
use std::io::{self, Write};
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};

use crate::demonstration::Encoded;
use crate::{Error, ShardFault};

/// The first bytes of a shard.
const MAGIC: &[u8; 8] = b"SCRSHARD";
/// The version of the format.
const VERSION: u32 = 1;
/// Bytes of the header.
const HEADER_BYTES: u64 = HEADER_LENGTH as u64;
/// The same, as the length of an array.
const HEADER_LENGTH: usize = 64;
/// The most tokens that a shard is asked to hold. A single document may make it longer.
pub const SHARD_TOKENS_MAX: usize = 1 << 28;
/// Tokens that are read or written at once where they change their width.
const CHUNK_TOKENS: usize = 1 << 14;

/// A shard that is being filled, in memory.
#[derive(Debug)]
pub struct ShardBuilder {
    vocabulary: u32,
    token_bytes: usize,
    /// The tokens as they are stored.
    tokens: Vec<u8>,
    starts: Vec<u32>,
    silent: Vec<[u32; 2]>,
}

impl ShardBuilder {
    /// An empty shard for tokens of a vocabulary of that many.
    #[must_use]
    pub fn new(vocabulary: u32) -> Self {
        let token_bytes = token_bytes(vocabulary);
        Self { vocabulary, token_bytes, tokens: Vec::new(), starts: Vec::new(), silent: Vec::new() }
    }

    /// Adds a document.
    ///
    /// # Panics
    ///
    /// Panics if it has no tokens, if one is not in the vocabulary, if its runs are empty, out of
    /// order or past its end, or if the shard would have 2^32 tokens.
    pub fn push(&mut self, document: &Encoded) {
        assert!(!document.tokens.is_empty(), "a document without tokens");
        let begin = self.tokens();
        assert!(begin + document.tokens.len() < u32::MAX as usize, "a shard of 2^32 tokens");
        let place = |at: usize| u32::try_from(begin + at).unwrap_or(u32::MAX);
        self.starts.push(place(0));
        let mut before = 0;
        for run in &document.silent {
            let ordered = before <= run.start && run.start < run.end;
            assert!(ordered && run.end <= document.tokens.len(), "run {run:?} after {before}");
            before = run.end;
            self.silent.push([place(run.start), place(run.end)]);
        }
        for &token in &document.tokens {
            assert!(token < self.vocabulary, "token {token} of {}", self.vocabulary);
            self.tokens.extend_from_slice(&token.to_le_bytes()[..self.token_bytes]);
        }
    }

    /// Empties the shard.
    pub fn clear(&mut self) {
        self.tokens.clear();
        self.starts.clear();
        self.silent.clear();
    }

    /// How many tokens it holds.
    #[must_use]
    pub fn tokens(&self) -> usize {
        self.tokens.len() / self.token_bytes
    }

    /// Writes the shard.
    ///
    /// # Errors
    ///
    /// What `out` fails with.
    pub fn write(&self, out: &mut dyn Write) -> io::Result<()> {
        let mut header = Vec::from(MAGIC);
        let width = if self.token_bytes == 2 { 2 } else { 4 };
        for number in [VERSION, width, self.vocabulary, 0] {
            header.extend(number.to_le_bytes());
        }
        for count in [self.tokens(), self.starts.len(), self.silent.len(), 0, 0] {
            header.extend((count as u64).to_le_bytes());
        }
        debug_assert_eq!(header.len() as u64, HEADER_BYTES);
        out.write_all(&header)?;
        out.write_all(&self.tokens)?;
        out.write_all(&[0; 7][..self.tokens.len().next_multiple_of(8) - self.tokens.len()])?;
        for numbers in self.starts.chunks(CHUNK_TOKENS) {
            out.write_all(&numbers.iter().flat_map(|n| n.to_le_bytes()).collect::<Vec<u8>>())?;
        }
        for runs in self.silent.chunks(CHUNK_TOKENS) {
            let numbers = runs.as_flattened().iter();
            out.write_all(&numbers.flat_map(|n| n.to_le_bytes()).collect::<Vec<u8>>())?;
        }
        Ok(())
    }
}

/// A shard on disk. Where documents begin and the runs are in memory, 4 and 8 bytes each; tokens are
/// read when they are asked for.
#[derive(Debug)]
pub struct Shard {
    path: PathBuf,
    file: File,
    vocabulary: u32,
    token_bytes: usize,
    tokens: u64,
    starts: Vec<u32>,
    silent: Vec<[u32; 2]>,
}

impl Shard {
    /// Opens a shard, and checks all of it but the tokens, which are checked as they are read.
    ///
    /// # Errors
    ///
    /// Where the file cannot be read or is damaged.
    pub fn open(path: &Path) -> Result<Self, Error> {
        let read = |source| Error::Read { path: path.to_owned(), source };
        let damaged = |fault| Error::Damaged { path: path.to_owned(), fault };
        let file = artifacts::open_file(path).map_err(read)?;
        let length = file.metadata().map_err(read)?.len();
        if length < HEADER_BYTES {
            let fault = ShardFault::Length { expected: HEADER_BYTES, found: length };
            return Err(damaged(fault));
        }
        let mut bytes = [0; HEADER_LENGTH];
        file.read_exact_at(&mut bytes, 0).map_err(read)?;
        let header = Header::parse(&bytes, length).map_err(damaged)?;
        // The length of the file bounds both lists.
        let starts = numbers(&file, header.starts_at, header.documents).map_err(read)?;
        let runs_at = header.starts_at + 4 * header.documents;
        let runs = numbers(&file, runs_at, 2 * header.runs).map_err(read)?;
        let silent = runs.as_chunks::<2>().0.to_vec();
        header.check(&starts, &silent).map_err(damaged)?;
        Ok(Self {
            path: path.to_owned(),
            file,
            vocabulary: header.vocabulary,
            token_bytes: token_bytes(header.vocabulary),
            tokens: header.tokens,
            starts,
            silent,
        })
    }

    /// Tokens of the vocabulary.
    #[must_use]
    pub fn vocabulary(&self) -> u32 {
        self.vocabulary
    }

    /// How many tokens it holds.
    #[must_use]
    pub fn tokens(&self) -> u64 {
        self.tokens
    }

    /// The token at which each document begins, rising from 0.
    #[must_use]
    pub fn starts(&self) -> &[u32] {
        &self.starts
    }

    /// Runs of tokens that are not learned: the first, and the one after the last.
    #[must_use]
    pub fn silent(&self) -> &[[u32; 2]] {
        &self.silent
    }

    /// Reads the tokens from `begin` on, as many as `tokens` holds.
    ///
    /// # Errors
    ///
    /// Where the file cannot be read, or a token is not in the vocabulary.
    ///
    /// # Panics
    ///
    /// Panics if the shard has fewer tokens.
    pub fn read(&self, begin: u64, tokens: &mut [u32]) -> Result<(), Error> {
        let end = begin + tokens.len() as u64;
        assert!(end <= self.tokens, "tokens {begin}..{end} of {}", self.tokens);
        let mut bytes = vec![0; tokens.len().min(CHUNK_TOKENS) * self.token_bytes];
        let mut place = begin;
        for chunk in tokens.chunks_mut(CHUNK_TOKENS) {
            let bytes = &mut bytes[..chunk.len() * self.token_bytes];
            let offset = HEADER_BYTES + place * self.token_bytes as u64;
            self.file
                .read_exact_at(bytes, offset)
                .map_err(|source| Error::Read { path: self.path.clone(), source })?;
            for (token, stored) in chunk.iter_mut().zip(bytes.chunks_exact(self.token_bytes)) {
                let mut four = [0; 4];
                four[..self.token_bytes].copy_from_slice(stored);
                *token = u32::from_le_bytes(four);
                if *token >= self.vocabulary {
                    let (token, vocabulary) = (*token, self.vocabulary);
                    let fault = ShardFault::Token { token, place, vocabulary };
                    return Err(Error::Damaged { path: self.path.clone(), fault });
                }
                place += 1;
            }
        }
        Ok(())
    }
}

/// The numbers of a header that fit the file and each other.
struct Header {
    vocabulary: u32,
    tokens: u64,
    documents: u64,
    runs: u64,
    /// Where in the file the starts begin.
    starts_at: u64,
}

impl Header {
    fn parse(bytes: &[u8; HEADER_LENGTH], length: u64) -> Result<Self, ShardFault> {
        let (words, _) = bytes.as_chunks::<4>();
        let word = |at: usize| u32::from_le_bytes(words[at]);
        let long = |at: usize| u64::from(word(at)) | u64::from(word(at + 1)) << 32;
        let fault = |what, found| Err(ShardFault::Header { what, found });
        if !bytes.starts_with(MAGIC) {
            return Err(ShardFault::NotAShard);
        }
        if word(2) != VERSION {
            return Err(ShardFault::Version { found: word(2), known: VERSION });
        }
        let (width, vocabulary) = (word(3), word(4));
        if vocabulary == 0 {
            return fault("vocabulary", 0);
        }
        if width as usize != token_bytes(vocabulary) {
            return fault("number of bytes of a token", u64::from(width));
        }
        let (tokens, documents, runs) = (long(6), long(8), long(10));
        if tokens == 0 || tokens >= u64::from(u32::MAX) {
            return fault("number of tokens", tokens);
        }
        if documents == 0 || documents > tokens {
            return fault("number of documents", documents);
        }
        if runs > tokens {
            return fault("number of runs", runs);
        }
        if word(5) != 0 || bytes[48..].iter().any(|&byte| byte != 0) {
            return fault("reserved part", u64::from(word(5)));
        }
        // All counts are below 2^32, so nothing overflows.
        let starts_at = HEADER_BYTES + (tokens * u64::from(width)).next_multiple_of(8);
        let expected = starts_at + 4 * documents + 8 * runs;
        if expected != length {
            return Err(ShardFault::Length { expected, found: length });
        }
        Ok(Self { vocabulary, tokens, documents, runs, starts_at })
    }

    fn check(&self, starts: &[u32], silent: &[[u32; 2]]) -> Result<(), ShardFault> {
        let mut least = 0;
        for (document, &start) in starts.iter().enumerate() {
            let first = document == 0 && start != 0;
            if first || u64::from(start) < least || u64::from(start) >= self.tokens {
                return Err(ShardFault::Start { document, start });
            }
            least = u64::from(start) + 1;
        }
        let mut before = 0;
        for (run, &[begin, end]) in silent.iter().enumerate() {
            if begin < before || end <= begin || u64::from(end) > self.tokens {
                return Err(ShardFault::Run { run });
            }
            before = end;
        }
        Ok(())
    }
}

/// Bytes that a token of such a vocabulary takes.
fn token_bytes(vocabulary: u32) -> usize {
    if vocabulary <= 1 << 16 { 2 } else { 4 }
}

/// Numbers of four bytes at a place of a file that has them.
fn numbers(file: &File, offset: u64, count: u64) -> io::Result<Vec<u32>> {
    let mut left = usize::try_from(count).map_err(|_| io::ErrorKind::OutOfMemory)?;
    let mut numbers = Vec::with_capacity(left);
    let mut bytes = vec![0; left.min(CHUNK_TOKENS) * 4];
    while left > 0 {
        let bytes = &mut bytes[..left.min(CHUNK_TOKENS) * 4];
        file.read_exact_at(bytes, offset + 4 * numbers.len() as u64)?;
        numbers.extend(bytes.as_chunks::<4>().0.iter().map(|four| u32::from_le_bytes(*four)));
        left -= bytes.len() / 4;
    }
    Ok(numbers)
}

#[cfg(test)]
mod tests;
