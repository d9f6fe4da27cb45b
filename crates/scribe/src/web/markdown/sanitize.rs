//! The second lock: reads HTML as a browser does and keeps only what is listed here.

use std::collections::{HashMap, HashSet};
use std::sync::LazyLock;

use ammonia::Builder;

/// Every element that an answer may contain.
pub(super) const ELEMENTS: [&str; 26] = [
    "a",
    "blockquote",
    "br",
    "code",
    "del",
    "div",
    "em",
    "figcaption",
    "figure",
    "h4",
    "h5",
    "h6",
    "hr",
    "li",
    "ol",
    "p",
    "pre",
    "span",
    "strong",
    "table",
    "tbody",
    "td",
    "th",
    "thead",
    "tr",
    "ul",
];

static CLEANER: LazyLock<Builder<'static>> = LazyLock::new(|| {
    let set = |values: &[&'static str]| values.iter().copied().collect::<HashSet<_>>();
    let mut builder = Builder::empty();
    builder
        .tags(set(&ELEMENTS))
        .clean_content_tags(set(&["script", "style"]))
        .tag_attributes(HashMap::from([
            ("a", set(&["href", "title", "data-confirm"])),
            ("div", set(&["tabindex"])),
            ("pre", set(&["tabindex"])),
            ("ol", set(&["start"])),
        ]))
        .allowed_classes(HashMap::from([
            ("div", set(&["table"])),
            ("figure", set(&["code"])),
            ("p", set(&["raw"])),
            ("span", set(&["host", "hl-c", "hl-k", "hl-n", "hl-s"])),
            ("td", set(&["center", "right"])),
            ("th", set(&["center", "right"])),
        ]))
        .url_schemes(set(&["http", "https", "mailto"]))
        .url_relative(ammonia::UrlRelative::Deny)
        .link_rel(Some("noopener noreferrer nofollow"))
        .set_tag_attribute_value("a", "target", "_blank")
        .strip_comments(true);
    builder
});

/// Drops everything that is not listed, whatever wrote it.
pub(super) fn clean(html: &str) -> String {
    CLEANER.clean(html).to_string()
}
