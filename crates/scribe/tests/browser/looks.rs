//! Light and dark, wide and narrow, English and French: each state on a picture, none too wide.

use serde_json::{Value, json};

use super::server::tiny;
use super::visit::Visit;
use super::webdriver::{Browser, Options};

/// Narrowest phone that is sold.
const PHONE: (u32, u32) = (320, 640);

const ANSWER: &str = "Here is a **short overview** of sorting in Rust, with an example.\n\n\
## How it works\n\n1. `sort` is *stable* and allocates.\n2. `sort_unstable` is faster, in place.\n   \
- It may reorder equal elements.\n   - See [the manual](https://doc.example.org/std/sort?from=chat).\n\n\
```rust\n/// Sorts words by length, then by alphabet, and this comment is long enough to need scrolling.\n\
fn sort_words(words: &mut Vec<String>) -> usize {\n    words.sort_by(|a, b| a.len().cmp(&b.len()).then_with(|| a.cmp(b)));\n    \
let longest = words.last().map_or(0, |word| word.len()); // 0 if empty\n    println!(\"{longest}\");\n    longest\n}\n```\n\n\
| Method | Stable | Memory | Time in the worst case |\n|:--|:-:|--:|--:|\n\
| `sort` | yes | n/2 | O(n log n) |\n| `sort_unstable` | no | 0 | O(n log n) |\n\
| `sort_by_cached_key` | yes | n | O(n log n) comparisons |\n\n\
> Sorting is a solved problem, until it is not.\n\n---\n\nA_very_long_word_without_any_break_at_all_that_goes_on_and_on_and_on_and_on.";

fn conversation() -> Value {
    json!([
        { "role": "user", "content": "How do I sort a list of words in Rust?\nShow me a table, too." },
        { "role": "assistant", "content": ANSWER,
          "figures": "212 tokens \u{b7} 41.3 tokens/s", "figuresTitle": "" },
    ])
}

#[test]
fn nothing_is_too_wide_or_too_small_to_touch() {
    let Some(visit) = Visit::begin(tiny(), Options::default()) else { return };
    let browser = &visit.browser;
    for (size, width, height) in
        [("phone", PHONE.0, PHONE.1), ("tablet", 768, 1024), ("desktop", 1280, 860)]
    {
        browser.resize(width, height);
        for language in ["en", "fr"] {
            browser.open(&format!("{}?lang={language}", visit.server.address));
            assert_eq!(browser.attribute("html", "lang").as_deref(), Some(language));
            for theme in ["light", "dark"] {
                browser.open(&format!("{}?theme={theme}", visit.server.address));
                assert_eq!(browser.attribute("html", "data-theme").as_deref(), Some(theme));
                browser.script("sessionStorage.clear()", &[]);
                browser.reload();
                let name = format!("{size}-{theme}-{language}");
                browser.screenshot(&format!("empty-{name}"));
                assert_fits(browser, &name);
                visit.with_conversation(&conversation());
                assert_fits(browser, &name);
                browser.screenshot(&format!("markdown-end-{name}"));
                browser.script("scrollTo(0, 0)", &[]);
                browser.wait_until("the top", || browser.script("return scrollY", &[]) == 0);
                browser.screenshot(&format!("markdown-{name}"));
            }
        }
        browser.click("[data-action=settings]");
        browser.screenshot(&format!("settings-{size}-dark-fr"));
        assert_fits(browser, size);
    }
    browser.open(&format!("{}nowhere", visit.server.address));
    assert_eq!(browser.text("h1"), "Cette page n\u{2019}existe pas");
    browser.screenshot("not-found-desktop-dark-fr");
}

/// No sideways scroll, and at least 24 by 24 pixels for whatever is to be touched (links in running
/// text are as high as their line, which WCAG 2.5.8 allows).
pub(crate) fn assert_fits(browser: &Browser, name: &str) {
    let wide = browser.script(
        "return [document.documentElement.scrollWidth, document.documentElement.clientWidth]",
        &[],
    );
    assert!(wide[0].as_u64() <= wide[1].as_u64(), "{name}: {wide}");
    let small = browser.script(
        "return [...document.querySelectorAll('a, button, input, textarea, summary')]
            .filter((e) => e.checkVisibility() && !e.closest('.answer p, .answer li, .skip, .visually-hidden')
                && !e.matches('.skip, [type=radio], [type=checkbox]'))
            .map((e) => [e.outerHTML.slice(0, 80), e.getBoundingClientRect()])
            .filter(([, r]) => r.width < 24 || r.height < 24)",
        &[],
    );
    assert_eq!(small, json!([]), "{name}");
}

#[test]
fn the_first_page_speaks_the_readers_language_and_follows_the_system() {
    let options = Options { language: "fr-FR,fr", ..Options::default() };
    let Some(visit) = Visit::begin(tiny(), options) else { return };
    let browser = &visit.browser;
    assert_eq!(browser.attribute("html", "lang").as_deref(), Some("fr"));
    assert_eq!(browser.text("#welcome h2"), "Que voulez-vous savoir ?");
    let background =
        || browser.script("return getComputedStyle(document.documentElement).backgroundColor", &[]);
    let mut seen = Vec::new();
    for scheme in ["light", "dark"] {
        let features = json!({ "features": [{ "name": "prefers-color-scheme", "value": scheme }] });
        browser.devtools("Emulation.setEmulatedMedia", &features);
        seen.push(background());
    }
    assert_eq!(seen, ["rgb(252, 251, 248)", "rgb(25, 26, 28)"]);
    // What is chosen is there from the first paint of the next page: the server writes it.
    browser.click("[data-action=settings]");
    browser.click("#settings [value=light]");
    assert_eq!(background(), "rgb(252, 251, 248)");
    browser.reload();
    assert_eq!(browser.attribute("html", "data-theme").as_deref(), Some("light"));
    browser.click(".language");
    browser.wait_until("English", || browser.attribute("html", "lang").as_deref() == Some("en"));
    visit.assert_quiet();
}
