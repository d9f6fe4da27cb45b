//! Lines of a file or a pipe, none longer in memory than a limit.

use std::io::{self, BufRead, Read};

/// A line without its end.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Line {
    /// What it says.
    Whole(Vec<u8>),
    /// Over the limit; what it held is gone.
    TooLong,
}

/// The next line; `None` at the end. What is over `bytes_max` is passed over piece by piece.
pub(crate) fn next(source: &mut dyn BufRead, bytes_max: usize) -> io::Result<Option<Line>> {
    let mut line = Vec::new();
    let mut is_too_long = false;
    loop {
        let mut piece = Vec::new();
        let read = Read::take(&mut *source, bytes_max as u64 + 1).read_until(b'\n', &mut piece)?;
        let is_ended = piece.last() == Some(&b'\n');
        if is_ended {
            piece.pop();
        }
        is_too_long |= line.len() + piece.len() > bytes_max;
        match is_too_long {
            true => line = Vec::new(),
            false => line.append(&mut piece),
        }
        if read == 0 && line.is_empty() && !is_too_long {
            return Ok(None);
        }
        if is_ended || read == 0 {
            return Ok(Some(if is_too_long { Line::TooLong } else { Line::Whole(line) }));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_end_at_their_ends_and_long_ones_are_passed_over() {
        let all = |text: &str| {
            let mut source = text.as_bytes();
            std::iter::from_fn(|| next(&mut source, 3).unwrap()).collect::<Vec<Line>>()
        };
        let whole = |text: &str| Line::Whole(text.as_bytes().to_vec());
        assert_eq!(all(""), []);
        assert_eq!(all("a\n\nbcd"), [whole("a"), whole(""), whole("bcd")]);
        assert_eq!(all("abcd\nabcdefghijkl\nabc\n"), [Line::TooLong, Line::TooLong, whole("abc")]);
        assert_eq!(all("abcdefgh"), [Line::TooLong]);
    }
}
