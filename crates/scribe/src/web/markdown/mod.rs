//! Markdown from a model or a person, as HTML in which nothing executable survives.
//!
//! 1. [`pulldown_cmark`] reads the text; raw HTML in it is text like any other.
//! 2. `html` writes the few elements that an answer may contain, and nothing else.
//! 3. `sanitize` reads the result as a browser would and drops what is not on its own list:
//!    a second lock that does not depend on the first.
//!
//! Pictures become links, because loading one from elsewhere would tell that host what the
//! conversation is about. [`StreamRenderer`] renders an answer while it is being written.

mod highlight;
mod html;
mod link;
mod repair;
mod sanitize;
mod stream;

#[cfg(test)]
mod tests;

use pulldown_cmark::{Options, Parser};

pub use stream::{Patch, StreamRenderer};

/// Renders a whole text.
///
/// The result is a list of block elements without a wrapper, safe to put into a page.
///
/// ```
/// use scribe::web::markdown::render;
///
/// assert_eq!(render("**bold** <b>"), "<p><strong>bold</strong> &lt;b&gt;</p>");
/// ```
#[must_use]
pub fn render(source: &str) -> String {
    if source.len() > MARKDOWN_BYTES_MAX {
        let mut html = String::from("<pre tabindex=\"0\"><code>");
        html::escape(source, &mut html);
        html.push_str("</code></pre>");
        return html;
    }
    sanitize::clean(&html::write(parser(source)))
}

/// Longest text that is read as Markdown; longer ones, which no model here writes, are shown as they
/// are, because some texts take time that grows with the square of their length.
const MARKDOWN_BYTES_MAX: usize = 64 << 10;

/// The dialect: `CommonMark` with tables, strikethrough and task lists.
fn parser(source: &str) -> Parser<'_> {
    Parser::new_ext(source, dialect())
}

fn dialect() -> Options {
    Options::ENABLE_TABLES | Options::ENABLE_STRIKETHROUGH | Options::ENABLE_TASKLISTS
}
