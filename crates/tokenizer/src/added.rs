//! Finding added tokens inside a text: leftmost first, longest among those.

use std::collections::HashMap;

/// Tokens that are matched as whole strings before the text is split into words.
#[derive(Debug, Default)]
pub(crate) struct Matcher {
    tokens: HashMap<Box<[u8]>, u32>,
    /// The lengths of the tokens that begin with a byte, longest first.
    lengths: HashMap<u8, Vec<usize>>,
}

/// A part of a text: between added tokens, or one of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Part<'text> {
    /// Text that holds no added token.
    Text(&'text str),
    /// An added token.
    Token(u32),
}

impl Matcher {
    /// Adds a token; an empty text never matches.
    pub(crate) fn insert(&mut self, text: &str, token: u32) {
        let Some(&first) = text.as_bytes().first() else { return };
        self.tokens.insert(text.as_bytes().into(), token);
        let lengths = self.lengths.entry(first).or_default();
        if let Err(place) = lengths.binary_search_by(|length| text.len().cmp(length)) {
            lengths.insert(place, text.len());
        }
    }

    /// Cuts `text` at the added tokens in it and hands over the parts in order.
    pub(crate) fn split<'text>(&self, text: &'text str, mut each: impl FnMut(Part<'text>)) {
        let (mut start, mut at) = (0, 0);
        while at < text.len() && !self.tokens.is_empty() {
            let Some((token, length)) = self.find(&text.as_bytes()[at..]) else {
                at += 1;
                continue;
            };
            if start < at {
                each(Part::Text(&text[start..at]));
            }
            each(Part::Token(token));
            at += length;
            start = at;
        }
        if start < text.len() {
            each(Part::Text(&text[start..]));
        }
    }

    /// The longest token that `text` begins with.
    pub(crate) fn at_start(&self, text: &str) -> Option<u32> {
        self.find(text.as_bytes()).map(|(token, _)| token)
    }

    /// The longest token at the start of `text`, and its length.
    ///
    /// A token is whole characters, so a match begins and ends between characters.
    fn find(&self, text: &[u8]) -> Option<(u32, usize)> {
        let lengths = self.lengths.get(text.first()?)?;
        lengths
            .iter()
            .find_map(|&length| self.tokens.get(text.get(..length)?).map(|&token| (token, length)))
    }
}

#[cfg(test)]
mod tests {
    use super::{Matcher, Part};

    #[test]
    fn leftmost_then_longest() {
        let mut matcher = Matcher::default();
        for (token, text) in (0..).zip(["<a>", "<a><b>", "b>", "é", ""]) {
            matcher.insert(text, token);
        }
        let mut parts = Vec::new();
        matcher.split("x<a><b>é<a>b>", |part| parts.push(part));
        use Part::{Text, Token};
        assert_eq!(parts, [Text("x"), Token(1), Token(3), Token(0), Token(2)]);
        matcher.split("", |part| panic!("nothing is in an empty text, yet {part:?} came"));
    }
}
