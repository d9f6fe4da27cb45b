//! Rows of JSON lines, or of one JSON array, each with its line; none longer than a limit.

use std::io::{self, BufRead};

use super::ROW_BYTES_MAX;

/// The byte order mark, which some programs write before a text.
const MARK: [u8; 3] = *b"\xef\xbb\xbf";

/// The text of a row.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum RowText<'a> {
    Whole(&'a [u8]),
    /// Over the limit; what it held is gone.
    TooLong,
}

pub(super) struct Rows<R> {
    source: R,
    /// The line of the next byte, counted from 1.
    line: u64,
    kind: Option<Kind>,
    row: Vec<u8>,
    is_too_long: bool,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Lines,
    Array,
    /// After the end of an array.
    Ended,
}

impl<R: BufRead> Rows<R> {
    pub(super) fn new(source: R) -> Self {
        Self { source, line: 1, kind: None, row: Vec::new(), is_too_long: false }
    }

    /// The next row that is not blank, with the line it begins at. Memory: the longest row so far.
    pub(super) fn next(&mut self) -> io::Result<Option<(u64, RowText<'_>)>> {
        let kind = match self.kind {
            Some(kind) => kind,
            None => self.begin()?,
        };
        let line = match kind {
            Kind::Lines => self.next_line()?,
            Kind::Array => self.next_element()?,
            Kind::Ended => None,
        };
        let text = || match self.is_too_long {
            true => RowText::TooLong,
            false => RowText::Whole(&self.row),
        };
        Ok(line.map(|line| (line, text())))
    }

    /// Finds out which of the two it is, by the first byte that is not blank.
    fn begin(&mut self) -> io::Result<Kind> {
        loop {
            let kind = match self.peek()? {
                Some(byte) if byte.is_ascii_whitespace() || MARK.contains(&byte) => None,
                Some(b'[') => Some(Kind::Array),
                _ => Some(Kind::Lines),
            };
            if kind != Some(Kind::Lines) {
                self.take()?;
            }
            if let Some(kind) = kind {
                self.kind = Some(kind);
                return Ok(kind);
            }
        }
    }

    fn next_line(&mut self) -> io::Result<Option<u64>> {
        loop {
            self.clear();
            let line = self.line;
            let mut is_there = false;
            while let Some(byte) = self.take()? {
                is_there = true;
                if byte == b'\n' {
                    break;
                }
                self.push(byte);
            }
            if !is_there {
                return Ok(None);
            }
            if self.is_too_long || !self.row.trim_ascii().is_empty() {
                return Ok(Some(line));
            }
        }
    }

    /// The next element: up to a comma or bracket that is in no string and no inner list or object.
    fn next_element(&mut self) -> io::Result<Option<u64>> {
        self.clear();
        let (mut begin, mut depth) = (None, 0_usize);
        let (mut is_string, mut is_escaped) = (false, false);
        loop {
            let line = self.line;
            let Some(byte) = self.take()? else {
                self.kind = Some(Kind::Ended);
                return Ok(begin);
            };
            match byte {
                _ if is_escaped => is_escaped = false,
                b'\\' if is_string => is_escaped = true,
                b'"' => is_string = !is_string,
                _ if is_string => (),
                b']' if depth == 0 => {
                    self.kind = Some(Kind::Ended);
                    return Ok(begin);
                }
                b',' if depth == 0 && begin.is_some() => return Ok(begin),
                b',' if depth == 0 => continue,
                b'{' | b'[' => depth += 1,
                b'}' | b']' => depth = depth.saturating_sub(1),
                _ => (),
            }
            if begin.is_some() || !byte.is_ascii_whitespace() {
                begin = begin.or(Some(line));
                self.push(byte);
            }
        }
    }

    fn clear(&mut self) {
        self.row.clear();
        self.is_too_long = false;
    }

    fn push(&mut self, byte: u8) {
        if self.row.len() < ROW_BYTES_MAX {
            self.row.push(byte);
        } else {
            self.is_too_long = true;
        }
    }

    fn take(&mut self) -> io::Result<Option<u8>> {
        let byte = self.peek()?;
        if byte.is_some() {
            self.source.consume(1);
        }
        self.line += u64::from(byte == Some(b'\n'));
        Ok(byte)
    }

    fn peek(&mut self) -> io::Result<Option<u8>> {
        loop {
            match self.source.fill_buf() {
                Ok(bytes) => return Ok(bytes.first().copied()),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => (),
                Err(error) => return Err(error),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rows(text: &[u8]) -> Vec<(u64, Option<Vec<u8>>)> {
        let mut rows = Rows::new(text);
        let mut found = Vec::new();
        while let Some((line, row)) = rows.next().unwrap() {
            found.push(match row {
                RowText::Whole(row) => (line, Some(row.trim_ascii().to_vec())),
                RowText::TooLong => (line, None),
            });
        }
        found
    }

    fn row(line: u64, text: &str) -> (u64, Option<Vec<u8>>) {
        (line, Some(text.as_bytes().to_vec()))
    }

    #[test]
    fn lines_and_elements_come_with_their_lines() {
        assert_eq!(rows(b"\xef\xbb\xbf{}\n\n{\"a\":1}"), [row(1, "{}"), row(3, "{\"a\":1}")]);
        let array = b"\n[\n {\"a\": \"],\\\"\"},\n {\n\"b\": [1, {}]}, 7 ]\nrest";
        let elements = [row(3, "{\"a\": \"],\\\"\"}"), row(4, "{\n\"b\": [1, {}]}"), row(5, "7")];
        assert_eq!(rows(array), elements);
        for empty in ["", " \n", "[", "[]", "[ , ]"] {
            assert_eq!(rows(empty.as_bytes()), [], "{empty}");
        }
    }

    #[test]
    fn long_rows_are_passed_over() {
        let long = "x".repeat(ROW_BYTES_MAX);
        assert_eq!(rows(format!("{long}y\n{{}}").as_bytes()), [(1, None), row(2, "{}")]);
        assert_eq!(rows(format!("[\"{long}\",{{}}]").as_bytes()), [(1, None), row(1, "{}")]);
        assert!(rows(long.as_bytes())[0].1.is_some());
    }
}
