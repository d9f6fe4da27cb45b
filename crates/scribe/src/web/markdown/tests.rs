//! What markdown may become, and that a stream ends where the whole text does.

use std::collections::BTreeSet;

use proptest::prelude::{ProptestConfig, any, prop, prop_oneof, proptest};
use proptest::strategy::{Just, Strategy};

use super::{Patch, StreamRenderer, render};

const VECTORS: &str = include_str!("xss-vectors.txt");

/// A document with every element, as a model writes it.
const DOCUMENT: &str = "# A title\n\nSome **bold**, *slanted*, ***both*** and `code` text, \
with a [link](https://example.org/a) in it.\nA second line, 2 * 3 = 6 and snake_case_name.\n\n\
- one\n- two with `a b`\n  - inner **word**\n- [x] done\n\n1. first\n2. second\n\n\
> quoted *text*\n> goes on\n\n```rust\nfn main() {\n    // say it\n    println!(\"hi\");\n}\n```\n\n\
| a | b |\n|:--|--:|\n| 1 | **2** |\n| 3 | `4` |\n\n---\n\n### Smaller\n\nText after it.\n\n\
~~gone~~ and the end: ![picture](https://example.org/p.png)";

/// The page's side of a [`Patch`], as `static/answer.js` does it.
#[derive(Default)]
struct Shown {
    closed: String,
    tail: String,
}

impl Shown {
    fn apply(&mut self, patch: &Patch) {
        if patch.replace {
            *self = Self::default();
        }
        if !patch.closed.is_empty() {
            self.closed.push_str(&patch.closed);
            self.tail.clear();
        }
        let units: Vec<u16> = self.tail.encode_utf16().take(patch.keep).collect();
        self.tail = String::from_utf16(&units).expect("a cut between characters");
        self.tail.push_str(&patch.tail);
    }

    fn html(&self) -> String {
        format!("{}{}", self.closed, self.tail)
    }
}

/// Streams `pieces`; checks every state on the way and returns all of them.
fn stream<'a>(pieces: impl IntoIterator<Item = &'a str>) -> Vec<String> {
    let mut renderer = StreamRenderer::new();
    let mut shown = Shown::default();
    let mut states = Vec::new();
    for piece in pieces {
        shown.apply(&renderer.push(piece));
        assert_harmless(&shown.html());
        states.push(shown.html());
    }
    shown.apply(&renderer.finish());
    states.push(shown.html());
    assert_eq!(shown.html(), render(renderer.source()));
    states
}

fn characters(text: &str) -> impl Iterator<Item = &str> {
    text.char_indices().map(|(at, c)| &text[at..at + c.len_utf8()])
}

/// What a reader sees: the text without elements, the hosts of links left out.
fn visible(html: &str) -> String {
    let mut text = String::new();
    for part in html.split('<') {
        let (tag, after) = part.split_once('>').unwrap_or(("", part));
        if !tag.starts_with("span class=\"host\"") {
            text.push_str(after);
        }
    }
    text.replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&").replace("&nbsp;", " ")
}

/// Walks over HTML as this project's renderer may write it and fails on anything else.
fn assert_harmless(html: &str) {
    let allowed: BTreeSet<&str> = super::sanitize::ELEMENTS.into_iter().collect();
    let mut rest = html;
    while let Some(start) = rest.find('<') {
        rest = &rest[start + 1..];
        let name_end = rest.find(|c: char| !c.is_ascii_alphanumeric() && c != '/').expect("a tag");
        let name = rest[..name_end].trim_start_matches('/');
        assert!(allowed.contains(name), "<{name}> in {html}");
        rest = rest[name_end..].trim_start();
        while !rest.starts_with('>') {
            let (attribute, value) = rest.split_once("=\"").expect("a quoted attribute");
            let (value, after) = value.split_once('"').expect("its end");
            match attribute {
                "href" => assert!(
                    ["http://", "https://", "mailto:"].iter().any(|s| value.starts_with(s)),
                    "{value} in {html}"
                ),
                "rel" => assert_eq!(value, "noopener noreferrer nofollow"),
                "target" => assert_eq!(value, "_blank"),
                "title" | "class" | "start" | "tabindex" | "data-confirm" => {}
                other => panic!("attribute {other} in {html}"),
            }
            rest = after.trim_start();
        }
        rest = &rest[1..];
    }
    assert!(!html.contains("<img"), "{html}");
}

fn vectors() -> impl Iterator<Item = String> {
    VECTORS
        .lines()
        .map(|line| line.replace("\\n", "\n").replace("\\0", "\0").replace("\\x01", "\u{1}"))
}

#[test]
fn nothing_executable_survives() {
    assert!(vectors().count() >= 100, "{} vectors", vectors().count());
    for vector in vectors() {
        assert_harmless(&render(&vector));
        for wrapped in [
            format!("Text before. {vector} Text after."),
            format!("- item\n\n  {vector}\n\n> {vector}"),
            format!("| {vector} |\n|---|\n| {vector} |"),
            format!("**{vector}** [{vector}](https://example.org) `{vector}"),
            format!("```html\n{vector}"),
        ] {
            assert_harmless(&render(&wrapped));
        }
        stream(characters(&vector));
    }
}

#[test]
fn html_is_shown_as_text() {
    assert_eq!(render("a <b onclick=x>b</b>"), "<p>a &lt;b onclick=x&gt;b&lt;/b&gt;</p>");
    assert!(visible(&render("<script>alert(1)</script>")).contains("<script>alert(1)</script>"));
}

#[test]
fn links_show_their_host_and_carry_no_referrer() {
    assert_eq!(
        render("[x](https://example.org/a)"),
        "<p><a href=\"https://example.org/a\" title=\"https://example.org/a\" target=\"_blank\" \
         rel=\"noopener noreferrer nofollow\">x</a> <span class=\"host\">(example.org)</span></p>"
    );
    assert!(!render("<https://example.org/a>").contains("host"));
    assert!(render("[x](https://example.org/a?q=1)").contains("data-confirm"));
    assert!(!render("[x](https://example.org/a)").contains("data-confirm"));
}

#[test]
fn an_address_that_is_not_on_the_web_is_no_link() {
    for address in ["javascript:alert(1)", "/logout", "//evil.example", "#top", "data:,x"] {
        assert_eq!(render(&format!("[x]({address})")), "<p>x</p>");
    }
}

#[test]
fn pictures_become_links() {
    let html = render("![a map](https://example.org/map.png)");
    assert!(html.contains(">a map</a>"), "{html}");
    assert!(render("![](https://example.org/map.png)").contains(">example.org</a>"));
    assert_eq!(render("![map](map.png)"), "<p>map</p>");
}

#[test]
fn code_has_a_language_and_is_escaped() {
    assert_eq!(
        render("```text\na < b\n```"),
        "<figure class=\"code\"><figcaption>text</figcaption><pre tabindex=\"0\"><code>a &lt; b\n\
         </code></pre></figure>"
    );
    let html = render("```rust\nlet x = \"a\"; // b\n```");
    for part in ["hl-k\">let", "hl-s\">\"a\"", "hl-c\">// b"] {
        assert!(html.contains(part), "{part} in {html}");
    }
}

#[test]
fn coloring_loses_no_character() {
    let code = "if a { b('c', \"d\\\"\", `e`) } /* f */ # g -- h\n'''i''' 0x1f let's \u{1f600}";
    for language in
        ["rust", "python", "js", "c", "java", "go", "sh", "sql", "css", "json", "toml", "ruby"]
    {
        let html = render(&format!("```{language}\n{code}\n```"));
        assert_eq!(visible(&html), format!("{language}{code}\n"), "{language}");
    }
}

#[test]
fn tables_keep_their_alignment_without_style_attributes() {
    let html = render("| a | b |\n|:-:|--:|\n| 1 | 2 |");
    assert!(html.contains("<th class=\"center\">a</th><th class=\"right\">b</th>"), "{html}");
    assert!(!html.contains("style"), "{html}");
}

#[test]
fn headings_stand_below_those_of_the_page() {
    assert_eq!(render("# a\n## b\n###### c"), "<h4>a</h4><h5>b</h5><h6>c</h6>");
}

#[test]
fn deep_nesting_is_flattened() {
    for mark in ["> ", "- ", "*a _b ", "[", "1. ", "**a ~~b "] {
        let html = render(&mark.repeat(5_000));
        assert_harmless(&html);
        assert!(html.matches("<blockquote>").count() < 50);
    }
}

#[test]
fn a_stream_ends_as_the_whole_text() {
    let states = stream(characters(DOCUMENT));
    assert_eq!(states.last().expect("states"), &render(DOCUMENT));
    for size in [2, 3, 7, 50] {
        let chars: Vec<char> = DOCUMENT.chars().collect();
        let pieces: Vec<String> = chars.chunks(size).map(|c| c.iter().collect()).collect();
        stream(pieces.iter().map(String::as_str));
    }
}

#[test]
fn text_once_shown_stays() {
    let states = stream(characters(DOCUMENT));
    for pair in states.windows(2) {
        let (before, after) = (visible(&pair[0]), visible(&pair[1]));
        assert!(after.starts_with(before.trim_end()), "{before:?}\nbecame\n{after:?}");
    }
}

#[test]
fn finished_blocks_are_sent_once() {
    let mut renderer = StreamRenderer::new();
    let sent: usize = characters(DOCUMENT).map(|piece| renderer.push(piece).closed.len()).sum();
    let last = renderer.finish();
    assert!(!last.replace);
    assert_eq!(sent + last.closed.len(), render(DOCUMENT).len());
}

/// Without it, an answer of one long paragraph would be read once for each of its tokens.
#[test]
fn a_long_open_block_is_rendered_seldom_and_lags_by_little() {
    let mut renderer = StreamRenderer::new();
    let (mut shown, mut last, mut renderings) = (Shown::default(), String::new(), 0);
    for written in (1..=5_000).map(|count| 2 * count) {
        shown.apply(&renderer.push("&a"));
        let html = shown.html();
        // `&a` has six bytes as HTML, and a paragraph has seven more.
        let visible = html.len().saturating_sub(7) / 6 * 2;
        assert!(written - visible <= written / 64 + 2, "{visible} of {written}");
        renderings += usize::from(html != last);
        last = html;
    }
    assert!(renderings < 2048 + 64, "{renderings} of 5000");
    shown.apply(&renderer.finish());
    assert_eq!(shown.html(), render(renderer.source()));
}

#[test]
fn half_written_markdown_looks_as_it_will() {
    for (half, shown) in [
        ("some **bo", "<p>some <strong>bo</strong></p>"),
        ("some **bold*", "<p>some <strong>bold</strong></p>"),
        ("some **", "<p>some</p>"),
        ("some *sl ", "<p>some <em>sl</em></p>"),
        ("a `co", "<p>a <code>co</code></p>"),
        ("a ``co`", "<p>a <code>co</code></p>"),
        ("see [the pa", "<p>see the pa</p>"),
        ("see [the page](https://exam", "<p>see the page</p>"),
        ("see ![a map](https://exam", "<p>see a map</p>"),
        ("text\n-", "<p>text</p>"),
        ("text\n--", "<p>text</p>"),
        ("text\n- ", "<p>text</p>"),
        ("text\n=", "<p>text</p>"),
        ("text\n#", "<p>text</p>"),
        ("- a\n- ", "<ul><li>a</li></ul>"),
        ("- a\n- **", "<ul><li>a</li></ul>"),
        ("- a\n- **b", "<ul><li>a</li><li><strong>b</strong></li></ul>"),
        ("a\n\n1", "<p>a</p>"),
        ("a\n\n```ru", "<p>a</p>"),
        ("| a | b |", ""),
        ("text\n\n| a | b |\n|--", "<p>text</p>"),
        ("2 * 3", "<p>2 * 3</p>"),
        ("snake_case", "<p>snake_case</p>"),
        ("# Ti", "<h4>Ti</h4>"),
    ] {
        let states = stream([half]);
        assert_eq!(states[0], shown, "{half:?}");
    }
    let open_code = &stream(["```rust\nlet x = 1;\n``"])[0];
    assert_eq!(visible(open_code), "rustlet x = 1;\n");
}

#[test]
fn a_late_reference_replaces_what_was_shown() {
    let mut renderer = StreamRenderer::new();
    renderer.push("[x]\n\nmore\n\n[x]: https://example.org/\n");
    assert!(renderer.finish().replace);
}

/// Pieces that markdown cares about, and some that it does not.
fn pieces() -> impl Strategy<Value = Vec<String>> {
    let marks: Vec<&str> = vec![
        "\n",
        "\n\n",
        "\n",
        "# ",
        "- ",
        "* ",
        "1. ",
        "2) ",
        "> ",
        "    ",
        "  ",
        "```",
        "```rust\n",
        "~~~",
        "`",
        "**",
        "*",
        "_",
        "__",
        "~~",
        "[",
        "](",
        ")",
        "]",
        "!",
        "https://a.example/",
        "| ",
        " |",
        "|---|",
        "---",
        "===",
        "<",
        ">",
        "<b>",
        "</b>",
        "<div>",
        "&",
        "&amp;",
        "\\",
        "word",
        "two words",
        ".",
        " ",
        "[x]: https://b.example\n",
        "\u{e9}",
        "\u{1f600}",
        "\t",
    ];
    prop::collection::vec(
        prop_oneof![8 => prop::sample::select(marks).prop_map(str::to_owned),
            1 => any::<char>().prop_map(String::from), 1 => Just("x".to_owned())],
        0..40,
    )
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2_000, ..ProptestConfig::default() })]
    #[test]
    fn any_prefix_of_any_text_renders(pieces in pieces()) {
        stream(pieces.iter().map(String::as_str));
        let text = pieces.concat();
        stream(characters(&text));
    }

    #[test]
    fn any_text_is_harmless(text in "\\PC{0,80}") {
        assert_harmless(&render(&text));
    }
}
