//! The elements that an answer is made of, written from markdown events.

use pulldown_cmark::{Alignment, CodeBlockKind, Event, HeadingLevel, Tag, TagEnd};

use super::highlight;
use super::link::Destination;

/// Languages are named in at most this many characters.
const LANGUAGE_CHARACTERS: usize = 20;

/// Elements nest at most this deep. Browsers have such a limit, too, and reading HTML takes time in
/// proportion to the depth: a page of `>` marks must not keep a server busy.
const DEPTH_MAX: usize = 48;

/// Writes the events as HTML. No element comes from the text itself.
pub(super) fn write<'a>(events: impl Iterator<Item = Event<'a>>) -> String {
    let mut writer = Writer::default();
    for event in events {
        writer.event(event);
    }
    writer.html
}

/// Adds `text` with everything escaped that has a meaning in HTML.
pub(super) fn escape(text: &str, html: &mut String) {
    for c in text.chars() {
        match c {
            '&' => html.push_str("&amp;"),
            '<' => html.push_str("&lt;"),
            '>' => html.push_str("&gt;"),
            '"' => html.push_str("&quot;"),
            '\'' => html.push_str("&#39;"),
            // The parser of a page would change these; a text keeps them visible.
            '\0' => html.push('\u{fffd}'),
            _ => html.push(c),
        }
    }
}

/// A link or a picture that has begun; `None` if its address is not allowed.
struct OpenLink {
    destination: Option<Destination>,
    /// Where the link's own text begins in the output.
    text_start: usize,
}

#[derive(Default)]
struct Writer {
    html: String,
    /// Links and pictures may nest; only the outermost becomes an element.
    links: Vec<OpenLink>,
    /// Name and text of the code block that is open.
    code: Option<(String, String)>,
    alignments: Vec<Alignment>,
    column: usize,
    in_table_head: bool,
    depth: usize,
}

impl Writer {
    fn event(&mut self, event: Event<'_>) {
        match event {
            Event::Start(tag) => {
                self.depth += 1;
                if self.depth <= DEPTH_MAX {
                    self.start(tag);
                }
            }
            Event::End(tag) => {
                if self.depth <= DEPTH_MAX {
                    self.end(tag);
                }
                self.depth -= 1;
            }
            Event::Text(text) => match &mut self.code {
                Some((_, code)) => code.push_str(&text),
                None => escape(&text, &mut self.html),
            },
            Event::Code(text) => {
                self.html.push_str("<code>");
                escape(&text, &mut self.html);
                self.html.push_str("</code>");
            }
            Event::Html(text) | Event::InlineHtml(text) => escape(&text, &mut self.html),
            Event::InlineMath(text) | Event::DisplayMath(text) => escape(&text, &mut self.html),
            // In a conversation a line that ends is meant to end.
            Event::SoftBreak | Event::HardBreak => self.html.push_str("<br>"),
            Event::Rule => self.html.push_str("<hr>"),
            Event::TaskListMarker(done) => {
                self.html.push_str(if done { "\u{2611} " } else { "\u{2610} " });
            }
            Event::FootnoteReference(_) => {}
        }
    }

    fn start(&mut self, tag: Tag<'_>) {
        match tag {
            Tag::Paragraph => self.html.push_str("<p>"),
            Tag::Heading { level, .. } => {
                self.html.push('<');
                self.html.push_str(heading(level));
                self.html.push('>');
            }
            Tag::BlockQuote(_) => self.html.push_str("<blockquote>"),
            Tag::CodeBlock(kind) => self.code = Some((language(&kind), String::new())),
            Tag::HtmlBlock => self.html.push_str("<p class=\"raw\">"),
            Tag::List(None) => self.html.push_str("<ul>"),
            Tag::List(Some(1)) => self.html.push_str("<ol>"),
            Tag::List(Some(first)) => self.html.push_str(&format!("<ol start=\"{first}\">")),
            Tag::Item => self.html.push_str("<li>"),
            Tag::Table(alignments) => {
                self.alignments = alignments;
                self.html.push_str("<div class=\"table\" tabindex=\"0\"><table>");
            }
            Tag::TableHead => {
                self.in_table_head = true;
                self.column = 0;
                self.html.push_str("<thead><tr>");
            }
            Tag::TableRow => {
                self.column = 0;
                self.html.push_str("<tr>");
            }
            Tag::TableCell => self.table_cell(),
            Tag::Emphasis => self.html.push_str("<em>"),
            Tag::Strong => self.html.push_str("<strong>"),
            Tag::Strikethrough => self.html.push_str("<del>"),
            Tag::Link { dest_url, .. } | Tag::Image { dest_url, .. } => self.open_link(&dest_url),
            Tag::FootnoteDefinition(_)
            | Tag::DefinitionList
            | Tag::DefinitionListTitle
            | Tag::DefinitionListDefinition
            | Tag::Superscript
            | Tag::Subscript
            | Tag::MetadataBlock(_) => {}
        }
    }

    fn end(&mut self, tag: TagEnd) {
        match tag {
            TagEnd::Paragraph | TagEnd::HtmlBlock => self.html.push_str("</p>"),
            TagEnd::Heading(level) => {
                self.html.push_str("</");
                self.html.push_str(heading(level));
                self.html.push('>');
            }
            TagEnd::BlockQuote(_) => self.html.push_str("</blockquote>"),
            TagEnd::CodeBlock => self.code_block(),
            TagEnd::List(true) => self.html.push_str("</ol>"),
            TagEnd::List(false) => self.html.push_str("</ul>"),
            TagEnd::Item => self.html.push_str("</li>"),
            TagEnd::Table => self.html.push_str("</tbody></table></div>"),
            TagEnd::TableHead => {
                self.in_table_head = false;
                self.html.push_str("</tr></thead><tbody>");
            }
            TagEnd::TableRow => self.html.push_str("</tr>"),
            TagEnd::TableCell => {
                self.column += 1;
                self.html.push_str(if self.in_table_head { "</th>" } else { "</td>" });
            }
            TagEnd::Emphasis => self.html.push_str("</em>"),
            TagEnd::Strong => self.html.push_str("</strong>"),
            TagEnd::Strikethrough => self.html.push_str("</del>"),
            TagEnd::Link | TagEnd::Image => self.close_link(),
            TagEnd::FootnoteDefinition
            | TagEnd::DefinitionList
            | TagEnd::DefinitionListTitle
            | TagEnd::DefinitionListDefinition
            | TagEnd::Superscript
            | TagEnd::Subscript
            | TagEnd::MetadataBlock(_) => {}
        }
    }

    /// Alignment is a class: the page's policy forbids style attributes.
    fn table_cell(&mut self) {
        self.html.push_str(if self.in_table_head { "<th" } else { "<td" });
        match self.alignments.get(self.column) {
            Some(Alignment::Center) => self.html.push_str(" class=\"center\""),
            Some(Alignment::Right) => self.html.push_str(" class=\"right\""),
            Some(Alignment::Left | Alignment::None) | None => {}
        }
        self.html.push('>');
    }

    fn code_block(&mut self) {
        let Some((language, code)) = self.code.take() else { return };
        self.html.push_str("<figure class=\"code\"><figcaption>");
        escape(&language, &mut self.html);
        self.html.push_str("</figcaption><pre tabindex=\"0\"><code>");
        highlight::write(&language, &code, &mut self.html);
        self.html.push_str("</code></pre></figure>");
    }

    fn open_link(&mut self, address: &str) {
        let destination = if self.links.is_empty() { Destination::parse(address) } else { None };
        if let Some(destination) = &destination {
            destination.open(&mut self.html);
        }
        self.links.push(OpenLink { destination, text_start: self.html.len() });
    }

    fn close_link(&mut self) {
        let Some(link) = self.links.pop() else { return };
        let Some(destination) = link.destination else { return };
        if self.html[link.text_start..].trim().is_empty() {
            self.html.truncate(link.text_start);
            escape(destination.name(), &mut self.html);
        }
        let shown = self.html[link.text_start..].replace("&amp;", "&");
        destination.close(&shown, &mut self.html);
    }
}

/// An answer stands three levels below the page's title, so its headings do too.
fn heading(level: HeadingLevel) -> &'static str {
    match level {
        HeadingLevel::H1 => "h4",
        HeadingLevel::H2 => "h5",
        HeadingLevel::H3 | HeadingLevel::H4 | HeadingLevel::H5 | HeadingLevel::H6 => "h6",
    }
}

/// The first word after the fence, if it can be a language's name.
fn language(kind: &CodeBlockKind<'_>) -> String {
    let CodeBlockKind::Fenced(info) = kind else { return String::new() };
    info.split(|c: char| c.is_whitespace() || c == ',' || c == '{')
        .next()
        .unwrap_or_default()
        .chars()
        .filter(|c| c.is_alphanumeric() || matches!(c, '+' | '#' | '.' | '_' | '-'))
        .take(LANGUAGE_CHARACTERS)
        .collect()
}
