//! Reading a header forward, with every length checked before memory is taken for it.

use std::io::{self, Read};

use crate::Error;
use crate::tensors::HEADER_BYTES_MAX;

/// A position in a header that is read forward, and where it must end at the latest.
pub(crate) struct Cursor<R> {
    source: R,
    position: u64,
    /// The end of the file, or of the longest header that is accepted.
    end: u64,
    file_length: u64,
}

impl<R: Read> Cursor<R> {
    pub(crate) fn new(source: R, file_length: u64) -> Self {
        Self { source, position: 0, end: file_length.min(HEADER_BYTES_MAX), file_length }
    }

    /// Bytes read so far, which is the offset in the file.
    pub(crate) fn position(&self) -> u64 {
        self.position
    }

    /// Refuses to go on unless `count` times `size` more bytes can be there.
    pub(crate) fn expect(&self, what: &'static str, count: u64, size: u64) -> Result<(), Error> {
        let available = self.end - self.position;
        let needed = count.saturating_mul(size);
        if needed <= available {
            return Ok(());
        }
        if needed <= self.file_length - self.position {
            return Err(Error::TooLarge {
                what: "the length of the header",
                value: self.position.saturating_add(needed),
                limit: HEADER_BYTES_MAX,
            });
        }
        Err(Error::Truncated { what, offset: self.position, needed, available })
    }

    pub(crate) fn bytes(&mut self, what: &'static str, count: u64) -> Result<Vec<u8>, Error> {
        self.expect(what, count, 1)?;
        // At most the longest header, so it fits any machine's usize.
        let mut buffer = vec![0; usize::try_from(count).unwrap_or(usize::MAX)];
        self.fill(what, &mut buffer)?;
        Ok(buffer)
    }

    pub(crate) fn array<const N: usize>(&mut self, what: &'static str) -> Result<[u8; N], Error> {
        self.expect(what, N as u64, 1)?;
        let mut buffer = [0; N];
        self.fill(what, &mut buffer)?;
        Ok(buffer)
    }

    pub(crate) fn u32(&mut self, what: &'static str) -> Result<u32, Error> {
        self.array(what).map(u32::from_le_bytes)
    }

    pub(crate) fn u64(&mut self, what: &'static str) -> Result<u64, Error> {
        self.array(what).map(u64::from_le_bytes)
    }

    /// A UTF-8 string preceded by its length, which may not be more than `limit`.
    pub(crate) fn string(&mut self, what: &'static str, limit: u64) -> Result<String, Error> {
        let length = self.u64(what)?;
        if length > limit {
            self.expect(what, length, 1)?;
            return Err(Error::TooLarge { what, value: length, limit });
        }
        let offset = self.position;
        let bytes = self.bytes(what, length)?;
        String::from_utf8(bytes).map_err(|_| Error::NotUtf8 { what, offset })
    }

    fn fill(&mut self, what: &'static str, buffer: &mut [u8]) -> Result<(), Error> {
        self.source.read_exact(buffer).map_err(|source| match source.kind() {
            // The file became shorter, or a slice holds less than the length it was given.
            io::ErrorKind::UnexpectedEof => Error::Truncated {
                what,
                offset: self.position,
                needed: buffer.len() as u64,
                available: 0,
            },
            _ => Error::Unreadable { what, source },
        })?;
        self.position += buffer.len() as u64;
        Ok(())
    }
}
