//! Lines of a stream, none longer than a limit.

use std::io::{self, BufRead};

/// The byte order mark, which some programs write before a text.
const MARK: &[u8] = "\u{feff}".as_bytes();

/// A line without its end.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Line<'a> {
    Whole(&'a [u8]),
    /// Over the limit; what it held is gone.
    TooLong,
}

pub(super) struct Lines<R> {
    source: R,
    limit: usize,
    number: u64,
    line: Vec<u8>,
}

impl<R: BufRead> Lines<R> {
    pub(super) fn new(source: R, limit: usize) -> Self {
        Self { source, limit, number: 0, line: Vec::new() }
    }

    /// How many lines were read.
    pub(super) fn number(&self) -> u64 {
        self.number
    }

    /// The next line. Memory: the longest line so far, at most the limit.
    pub(super) fn next(&mut self) -> io::Result<Option<Line<'_>>> {
        self.line.clear();
        let mut is_too_long = false;
        let mut is_there = false;
        loop {
            let bytes = match self.source.fill_buf() {
                Ok(bytes) => bytes,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(error),
            };
            if bytes.is_empty() {
                break;
            }
            is_there = true;
            let end = bytes.iter().position(|&byte| byte == b'\n');
            let part = &bytes[..end.unwrap_or(bytes.len())];
            is_too_long |= self.line.len() + part.len() > self.limit;
            if is_too_long {
                self.line.clear();
            } else {
                self.line.extend_from_slice(part);
            }
            let used = end.map_or(bytes.len(), |end| end + 1);
            self.source.consume(used);
            if end.is_some() {
                break;
            }
        }
        if !is_there {
            return Ok(None);
        }
        self.number += 1;
        if is_too_long {
            return Ok(Some(Line::TooLong));
        }
        let line = match self.line.strip_prefix(MARK) {
            Some(rest) if self.number == 1 => rest,
            _ => &self.line,
        };
        Ok(Some(Line::Whole(line)))
    }
}

#[cfg(test)]
mod tests {
    use std::io::BufReader;

    use super::*;

    fn lines(text: &[u8], limit: usize, buffer: usize) -> Vec<Option<Vec<u8>>> {
        let mut lines = Lines::new(BufReader::with_capacity(buffer, text), limit);
        let mut found = Vec::new();
        while let Some(line) = lines.next().unwrap() {
            found.push(match line {
                Line::Whole(line) => Some(line.to_vec()),
                Line::TooLong => None,
            });
        }
        assert_eq!(lines.number(), found.len() as u64);
        found
    }

    #[test]
    fn lines_are_those_of_the_text_in_any_buffer() {
        let text = b"\xef\xbb\xbfone\n\ntoo long a line\nfour\nlast";
        for buffer in 1..40 {
            let found = lines(text, 9, buffer);
            let expected: [Option<&[u8]>; 5] =
                [Some(b"one"), Some(b""), None, Some(b"four"), Some(b"last")];
            assert_eq!(found, expected.map(|line| line.map(<[u8]>::to_vec)), "{buffer}");
        }
        assert!(lines(b"", 9, 4).is_empty());
        assert_eq!(lines(b"\n", 9, 4), [Some(vec![])]);
    }

    #[test]
    fn the_limit_is_exact() {
        assert_eq!(lines(b"1234\n", 4, 3), [Some(b"1234".to_vec())]);
        assert_eq!(lines(b"12345\n12", 4, 3), [None, Some(b"12".to_vec())]);
        assert_eq!(lines(b"12345", 4, 8), [None]);
    }
}
