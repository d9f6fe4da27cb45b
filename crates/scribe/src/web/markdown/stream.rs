//! An answer rendered while it is being written: finished blocks once, the open block again.
//!
//! Markdown decides line by line which block a line belongs to, and a line only ever changes the
//! last block. So every block but the last, judged by complete lines alone, is final. Reference
//! definitions are the exception (`[name]: address` reaches back); [`StreamRenderer::finish`]
//! compares with the rendering of the whole text and replaces everything where it differs.

use pulldown_cmark::Event;
use serde::Serialize;

use super::{MARKDOWN_BYTES_MAX, parser, render, repair};

/// An open block of up to this many bytes is rendered again with every piece. A longer one waits
/// until it has grown by a part in [`GROWTH`], so that an answer without paragraphs does not take
/// time that grows with the square of its length.
const TAIL_BYTES: usize = 4 << 10;

/// See [`TAIL_BYTES`].
const GROWTH: usize = 64;

/// What the reader of a stream has to do to show the newest state.
///
/// The page shows the finished blocks, followed by the tail. To apply a patch: cut the tail's
/// HTML to its first `keep` UTF-16 units and add `tail`; add `closed` to the finished blocks. If
/// `replace` is set, forget everything shown before.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Patch {
    /// Whether what was shown so far is dropped first.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub replace: bool,
    /// HTML of blocks that will never change again.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub closed: String,
    /// How many UTF-16 units of the tail shown before are kept.
    pub keep: usize,
    /// What follows them.
    pub tail: String,
}

/// Renders one answer piece by piece.
#[derive(Clone, Debug, Default)]
pub struct StreamRenderer {
    source: String,
    /// Bytes of `source` whose blocks are final.
    closed_bytes: usize,
    closed_html: String,
    /// Bytes of `source` that are shown, finished or in the tail.
    shown_bytes: usize,
    tail_html: String,
    /// UTF-16 units of `tail_html`.
    tail_units: usize,
}

impl StreamRenderer {
    /// A renderer that has seen nothing.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes the next piece of text and tells what changes on the page.
    pub fn push(&mut self, piece: &str) -> Patch {
        self.source.push_str(piece);
        let (open, new) = (self.open_bytes(), self.source.len() - self.shown_bytes);
        if open > TAIL_BYTES && new < open / GROWTH {
            return Patch { keep: self.tail_units, ..Patch::default() };
        }
        self.shown_bytes = self.source.len();
        if open > MARKDOWN_BYTES_MAX {
            // It is shown as it is: neither an end of a block nor an open mark means anything there.
            let tail = render(self.open());
            return self.show(String::new(), tail);
        }
        let closed = self.close_blocks();
        let tail = render(&repair::presentable(self.open()));
        self.show(closed, tail)
    }

    /// Ends the text: from here on the page shows exactly [`render`] of all that was pushed.
    pub fn finish(&mut self) -> Patch {
        let whole = render(&self.source);
        let patch = match whole.strip_prefix(self.closed_html.as_str()) {
            Some(rest) => Patch { closed: rest.to_owned(), ..Patch::default() },
            None => Patch { replace: true, closed: whole.clone(), ..Patch::default() },
        };
        self.closed_bytes = self.source.len();
        self.closed_html = whole;
        self.tail_html.clear();
        patch
    }

    /// Bytes of the blocks that may still change, which every piece renders again.
    #[must_use]
    pub fn open_bytes(&self) -> usize {
        self.source.len() - self.closed_bytes
    }

    /// All that was pushed.
    #[must_use]
    pub fn source(&self) -> &str {
        &self.source
    }

    /// The text of the blocks that may still change.
    fn open(&self) -> &str {
        &self.source[self.closed_bytes..]
    }

    /// Makes `tail` the tail, and tells what changes on the page.
    fn show(&mut self, closed: String, tail: String) -> Patch {
        let patch = Patch { closed, ..self.tail_patch(&tail) };
        self.tail_units = patch.keep + patch.tail.encode_utf16().count();
        self.tail_html = tail;
        patch
    }

    /// Moves every block that can no longer change out of the tail.
    fn close_blocks(&mut self) -> String {
        let open = self.open();
        let complete = &open[..open.rfind('\n').map_or(0, |end| end + 1)];
        let Some(last) = last_block(complete).filter(|&start| start > 0) else {
            return String::new();
        };
        let closed = render(&complete[..last]);
        self.closed_bytes += last;
        self.closed_html.push_str(&closed);
        // The page's tail is what it was; blocks that leave it are cut from its start.
        self.tail_html.clear();
        closed
    }

    fn tail_patch(&self, tail: &str) -> Patch {
        let mut keep = 0;
        let mut bytes = 0;
        for (old, new) in self.tail_html.chars().zip(tail.chars()) {
            if old != new {
                break;
            }
            keep += new.len_utf16();
            bytes += new.len_utf8();
        }
        Patch { keep, tail: tail[bytes..].to_owned(), ..Patch::default() }
    }
}

/// Start of the line on which the last of at least two blocks begins.
fn last_block(source: &str) -> Option<usize> {
    let mut depth = 0_usize;
    let mut blocks = 0_usize;
    let mut last = 0;
    for (event, range) in parser(source).into_offset_iter() {
        let begins = depth == 0 && !matches!(event, Event::End(_));
        match event {
            Event::Start(_) => depth += 1,
            Event::End(_) => depth -= 1,
            _ => {}
        }
        if begins {
            blocks += 1;
            last = range.start;
        }
    }
    let line = source[..last].rfind('\n').map_or(0, |end| end + 1);
    (blocks > 1).then_some(line)
}
