//! From sampled tokens to released text: whole characters only, and nothing of a stop string.
//!
//! ```text
//! token bytes ─► Utf8Decoder (whole characters) ─► TextStream (stop strings) ─► Piece
//! ```
//!
//! Bytes that are not UTF-8 become U+FFFD exactly as [`String::from_utf8_lossy`] does it on the
//! whole answer, so the joined pieces do not depend on where one token ends and the next begins.

use std::collections::VecDeque;

/// A sampled token as the reader of an answer sees it.
#[derive(Clone, Debug, PartialEq)]
pub struct TokenInfo {
    /// The sampled id.
    pub token: u32,
    /// The part of the answer that became readable with this token; joined, these are the answer.
    /// Empty for a token that only begins a character.
    pub text: String,
    /// The token's own bytes, whole or not.
    pub bytes: Vec<u8>,
    /// Log-probability of the token; nothing for a prompt's first token or where none was asked
    /// for.
    pub logprob: Option<f32>,
    /// The most probable tokens at this place, best first, as `(token, logprob)`.
    pub alternatives: Vec<(u32, f32)>,
}

/// Text that may be shown, and the tokens that it completes.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Piece {
    /// Valid text, never any part of a stop string.
    pub text: String,
    /// Tokens whose last character is in this piece or an earlier one and that were not yet handed
    /// out.
    pub tokens: Vec<TokenInfo>,
}

impl Piece {
    /// Whether there is nothing in it.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.text.is_empty() && self.tokens.is_empty()
    }
}

/// Turns bytes into whole characters, holding back the begin of an unfinished one.
#[derive(Clone, Debug, Default)]
pub struct Utf8Decoder {
    unfinished: Vec<u8>,
}

impl Utf8Decoder {
    /// Takes more bytes and returns the characters that are complete now.
    pub fn push(&mut self, bytes: &[u8]) -> String {
        self.unfinished.extend_from_slice(bytes);
        let mut text = String::new();
        let mut unfinished_from = self.unfinished.len();
        for chunk in self.unfinished.utf8_chunks() {
            text.push_str(chunk.valid());
            let consumed = chunk.invalid();
            let at_end =
                std::ptr::eq(consumed.as_ptr_range().end, self.unfinished.as_ptr_range().end);
            if at_end && could_continue(consumed) {
                unfinished_from = self.unfinished.len() - consumed.len();
            } else if !consumed.is_empty() {
                text.push(char::REPLACEMENT_CHARACTER);
            }
        }
        self.unfinished.drain(..unfinished_from);
        text
    }

    /// Ends the text: an unfinished character becomes U+FFFD.
    pub fn finish(&mut self) -> String {
        let text = String::from_utf8_lossy(&self.unfinished).into_owned();
        self.unfinished.clear();
        text
    }
}

/// Whether more bytes could make a character of this begin (as opposed to bytes that are wrong
/// already).
fn could_continue(bytes: &[u8]) -> bool {
    matches!(std::str::from_utf8(bytes), Err(error) if error.error_len().is_none())
}

/// The text of one completion while it is being sampled.
///
/// A stop string counts at the place where it is complete first; of several complete at the same
/// place, the longest counts. Text is held back only as long as it is the begin of a stop string.
#[derive(Clone, Debug, Default)]
pub struct TextStream {
    stops: Vec<String>,
    decoder: Utf8Decoder,
    /// Complete characters that may be the begin of a stop string.
    held: String,
    /// Tokens not handed out yet, each with how many bytes of its text are still in `held`.
    waiting: VecDeque<(TokenInfo, usize)>,
    stopped: bool,
}

impl TextStream {
    /// A stream that ends at any of `stops`; empty ones are ignored.
    #[must_use]
    pub fn new(stops: Vec<String>) -> Self {
        let stops = stops.into_iter().filter(|stop| !stop.is_empty()).collect();
        Self { stops, ..Self::default() }
    }

    /// Takes one sampled token (its `text` is filled in here) and returns what may be shown now.
    ///
    /// After a stop string was found ([`Self::stopped`]) nothing more comes out.
    pub fn push(&mut self, mut token: TokenInfo) -> Piece {
        if self.stopped {
            return Piece::default();
        }
        token.text = self.decoder.push(&token.bytes);
        self.held.push_str(&token.text);
        let length = token.text.len();
        self.waiting.push_back((token, length));
        self.release()
    }

    /// Ends the completion and returns all that was held back.
    pub fn finish(&mut self) -> Piece {
        if self.stopped {
            return Piece::default();
        }
        let last = self.decoder.finish();
        if let Some((token, length)) = self.waiting.back_mut() {
            token.text.push_str(&last);
            *length += last.len();
        }
        self.held.push_str(&last);
        let mut piece = self.release();
        if !self.stopped {
            let rest = self.take(self.held.len());
            piece.text.push_str(&rest.text);
            piece.tokens.extend(rest.tokens);
            piece.tokens.extend(self.waiting.drain(..).map(|(token, _)| token));
        }
        piece
    }

    /// Whether a stop string has ended the completion.
    #[must_use]
    pub fn stopped(&self) -> bool {
        self.stopped
    }

    /// Releases what cannot become part of a stop string, or all before the one that is complete.
    fn release(&mut self) -> Piece {
        if let Some(start) = first_stop(&self.held, &self.stops) {
            self.stopped = true;
            let piece = self.take_before_stop(start);
            self.held.clear();
            self.waiting.clear();
            return piece;
        }
        let keep = longest_begin_of_stop(&self.held, &self.stops);
        self.take(self.held.len() - keep)
    }

    /// Takes `length` bytes off `held`, with the tokens that end there or before.
    ///
    /// A token that begins a character waits for the token that completes it.
    fn take(&mut self, length: usize) -> Piece {
        let text: String = self.held.drain(..length).collect();
        let mut left = length;
        let mut complete = 0;
        for (index, (token, in_held)) in self.waiting.iter_mut().enumerate() {
            if *in_held > left {
                *in_held -= left;
                break;
            }
            left -= *in_held;
            *in_held = 0;
            if !token.text.is_empty() {
                complete = index + 1;
            }
        }
        if !self.decoder.unfinished.is_empty() {
            complete = complete.min(self.waiting.len().saturating_sub(1));
        }
        let tokens = self.waiting.drain(..complete).map(|(token, _)| token).collect();
        Piece { text, tokens }
    }

    /// As [`Self::take`], and the token that the stop string cuts in two comes along with its first
    /// part.
    fn take_before_stop(&mut self, start: usize) -> Piece {
        let mut piece = self.take(start);
        let cut = self.waiting.iter().position(|(token, in_held)| token.text.len() > *in_held);
        if let Some(index) = cut {
            piece.tokens.extend(self.waiting.drain(..index).map(|(token, _)| token));
            piece.tokens.extend(self.waiting.pop_front().map(|(mut token, in_held)| {
                token.text.truncate(token.text.len() - in_held);
                token.bytes = token.text.as_bytes().to_vec();
                token
            }));
        }
        piece
    }
}

/// Where the stop string begins that is complete first in `text`.
fn first_stop(text: &str, stops: &[String]) -> Option<usize> {
    stops
        .iter()
        .filter_map(|stop| text.find(stop.as_str()).map(|start| (start + stop.len(), start)))
        .min()
        .map(|(_, start)| start)
}

/// Bytes at the end of `text` that are the begin of a stop string (never a whole one).
fn longest_begin_of_stop(text: &str, stops: &[String]) -> usize {
    let begin_of = |stop: &String| {
        let most = text.len().min(stop.len().saturating_sub(1));
        (1..=most).rev().find(|&length| text.as_bytes().ends_with(&stop.as_bytes()[..length]))
    };
    stops.iter().filter_map(begin_of).max().unwrap_or(0)
}

#[cfg(test)]
mod tests;
