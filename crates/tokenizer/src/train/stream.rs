//! Feeding a file that may be larger than memory: block by block, with the words of the whole.

use std::io::Read;
use std::path::Path;

use super::Trainer;
use crate::{Error, SplitRule};

/// How many bytes are read at once.
const BLOCK_BYTES: usize = 1 << 20;

/// The longest stretch of text, in bytes, in which a place is looked for where every rule cuts; one
/// without is cut where it ends. No writing that people use comes near it.
const STRETCH_BYTES_MAX: usize = 16 << 20;

impl Trainer {
    /// Counts the words of a file of text in UTF-8, as one document. `progress` hears how many
    /// bytes were read so far.
    ///
    /// # Errors
    ///
    /// [`Error::Read`] where the file cannot be read, [`Error::NotUtf8`] where it is no text, and
    /// [`Error::TooManyWords`] as [`feed`](Self::feed).
    pub fn feed_file(&mut self, path: &Path, progress: &mut dyn FnMut(u64)) -> Result<(), Error> {
        let mut file = artifacts::open_file(path)
            .map_err(|source| Error::Read { path: path.to_owned(), source })?;
        self.feed_stream(&mut file, BLOCK_BYTES, path, progress)
    }

    /// Counts the words of what is read, as one document; `path` is for errors.
    fn feed_stream(
        &mut self,
        stream: &mut dyn Read,
        block_bytes: usize,
        path: &Path,
        progress: &mut dyn FnMut(u64),
    ) -> Result<(), Error> {
        // What was read and not yet fed. Its first `checked` bytes are whole characters.
        let (mut rest, mut checked) = (Vec::new(), 0);
        let mut fed = 0u64;
        loop {
            let block = Read::take(&mut *stream, block_bytes as u64).read_to_end(&mut rest);
            let read = block.map_err(|source| Error::Read { path: path.to_owned(), source })?;
            let at_end = read == 0;
            checked += match std::str::from_utf8(&rest[checked..]) {
                Ok(text) => text.len(),
                // The end of the block may be in the middle of a character.
                Err(error) if error.error_len().is_none() && !at_end => error.valid_up_to(),
                Err(error) => {
                    let byte = fed + (checked + error.valid_up_to()) as u64;
                    return Err(Error::NotUtf8 { path: path.to_owned(), byte });
                }
            };
            let whole = rest.get(..checked).map(std::str::from_utf8);
            let Some(Ok(text)) = whole else { unreachable!("it was checked above") };
            let cut = match SplitRule::last_cut(text) {
                _ if at_end => text.len(),
                Some(cut) => cut,
                None if text.len() >= STRETCH_BYTES_MAX => text.len(),
                None => 0,
            };
            self.feed(&text[..cut])?;
            fed += cut as u64;
            progress(fed);
            rest.drain(..cut);
            checked -= cut;
            if at_end {
                return Ok(());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::TrainOptions;
    use crate::train::count::CountedWord;

    fn fed(text: &[u8], block_bytes: usize) -> Result<Vec<CountedWord>, Error> {
        let mut trainer = Trainer::new(TrainOptions::default()).unwrap();
        trainer.feed_stream(&mut &*text, block_bytes, Path::new("a.txt"), &mut |_| ())?;
        trainer.words.finish()
    }

    #[test]
    fn a_stream_has_the_words_of_the_whole_text() {
        let text = "I'll go, où? 12 345  \n\n  日本語「はい」 don't 👍🏽\r\n ça va ' s".repeat(3);
        let whole = fed(text.as_bytes(), 1 << 20).unwrap();
        for block_bytes in 1..40 {
            assert_eq!(fed(text.as_bytes(), block_bytes).unwrap(), whole, "{block_bytes}");
        }
    }

    #[test]
    fn what_is_no_text_is_refused_with_its_place() {
        for (bytes, place) in
            [(&b"ab \xff"[..], 3), (b"\xff", 0), (b"caf\xc3", 3), (b"a b\xe2\x82", 3)]
        {
            for block_bytes in [1, 2, 3, 100] {
                match fed(bytes, block_bytes) {
                    Err(Error::NotUtf8 { byte, .. }) => assert_eq!(byte, place),
                    other => panic!("{other:?}"),
                }
            }
        }
    }
}
