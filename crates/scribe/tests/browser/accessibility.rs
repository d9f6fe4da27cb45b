//! By keyboard alone, for screen readers, and by the rules of axe-core where it is installed.

use serde_json::{Value, json};

use super::server::tiny;
use super::visit::{ENTER, TAB, Visit};
use super::webdriver::{Browser, Options, skipped, workspace};

/// The rules, where `cargo xtask test` could fetch them.
pub(crate) fn axe() -> Option<String> {
    let file = "target/node_modules/axe-core/axe.min.js";
    let source = std::fs::read_to_string(workspace().join(file)).ok();
    if source.is_none() {
        skipped(&format!("{file} is not there; `cargo xtask test` fetches it where there is npm"));
    }
    source
}

#[test]
fn axe_finds_nothing() {
    let Some(axe) = axe() else { return };
    let Some(visit) = Visit::begin(tiny(), Options::default()) else { return };
    let browser = &visit.browser;
    let check = |name: &str| find_nothing(browser, &axe, name);
    for language in ["en", "fr"] {
        for theme in ["light", "dark"] {
            browser.open(&format!("{}?lang={language}", visit.server.address));
            browser.open(&format!("{}?theme={theme}", visit.server.address));
            browser.script("sessionStorage.clear()", &[]);
            browser.reload();
            check("empty");
            visit.with_conversation(&json!([
                { "role": "user", "content": "A question" },
                { "role": "assistant", "content": "# Title\n\ntext `code` [link](https://example.org/a?b)\n\n```rust\nlet x = 1; // one\nlet s = \"two\";\n```\n\n| a | b |\n|--|--:|\n| 1 | 2 |\n\n> quote\n\n- [x] done", "figures": "1" },
            ]));
            check("conversation");
            browser.click("[data-action=settings]");
            check("settings");
            browser.open(&format!("{}nowhere", visit.server.address));
            check("not found");
        }
    }
}

/// Fails if the rules find anything on the page as it is.
pub(crate) fn find_nothing(browser: &Browser, axe: &str, name: &str) {
    // The rules are injected as a test tool; the page itself would not load them.
    browser.script(axe, &[]);
    let found = browser.script_async(
        "const result = await axe.run(document, { resultTypes: ['violations'] });
         return result.violations.map((v) => [v.id, v.nodes.map((n) => n.html.slice(0, 120) + n.failureSummary)])",
    );
    assert_eq!(found, json!([]), "{name}");
}

#[test]
fn the_whole_way_by_keyboard() {
    let Some(visit) = Visit::begin(tiny(), Options::default()) else { return };
    let browser = &visit.browser;
    visit.limit_answers(5);
    let focused = || {
        browser.script("return document.activeElement.id || document.activeElement.dataset.action || document.activeElement.className", &[])
    };
    assert_eq!(focused(), "prompt");
    browser.press(&["H"]);
    browser.press(&["i"]);
    browser.press(&[ENTER]);
    visit.wait_for_answer();
    assert_eq!(focused(), "prompt");
    // From the top: the skip link comes first and leads to the box.
    browser.script(
        "document.activeElement.blur(); getSelection().removeAllRanges(); scrollTo(0, 0)",
        &[],
    );
    browser.script("document.body.tabIndex = -1; document.body.focus()", &[]);
    browser.press(&[TAB]);
    assert_eq!(focused(), "skip");
    browser.press(&[ENTER]);
    assert_eq!(focused(), "prompt");
    browser.script("document.querySelector('[data-action=settings]').focus()", &[]);
    browser.press(&[ENTER]);
    browser.wait_until("the settings", || browser.is_shown("#settings"));
    browser.press(&[super::visit::ESCAPE]);
    browser.wait_until("their end", || !browser.is_shown("#settings"));
    assert_eq!(focused(), "settings");
}

#[test]
fn screen_readers_hear_whole_blocks_and_no_tokens() {
    let Some(visit) = Visit::begin(tiny(), Options::default()) else { return };
    let browser = &visit.browser;
    visit.limit_answers(40);
    let live = browser.script(
        "return [...document.querySelectorAll('[aria-live], [role=log], [role=status]')].map((e) => e.id)",
        &[],
    );
    assert_eq!(live, json!(["announcer"]));
    visit.ask("Say something.");
    visit.wait_for_answer();
    let heard = browser.script("return [...announcer.children].map((e) => e.textContent)", &[]);
    let heard: Vec<&str> =
        heard.as_array().unwrap().iter().map(|line| line.as_str().unwrap()).collect();
    assert_eq!(heard.first(), Some(&"Scribe is answering\u{2026}"));
    assert_eq!(heard.last(), Some(&"End of the answer."));
    assert!(heard.len() < 12, "{heard:?}");
    let whole = browser.script("return document.querySelector('.answer').textContent", &[]);
    let joined: String = heard[1..].concat();
    let letters = |text: &str| text.chars().filter(|c| c.is_alphanumeric()).collect::<String>();
    assert!(letters(&joined).contains(&letters(whole.as_str().unwrap())), "{heard:?}\n{whole}");
    assert_eq!(
        browser.script("return document.querySelectorAll('h1').length", &[]),
        Value::from(1)
    );
}

#[test]
fn after_a_stop_a_screen_reader_hears_nothing_twice() {
    let Some(visit) = Visit::begin(tiny(), Options::default()) else { return };
    let browser = &visit.browser;
    // The stream that the page would get of an answer of several blocks, stopped by hand.
    let held = "const real = window.fetch; window.fetch = (path, options) => {
        if (path !== '/chat') return real(path, options);
        const events = [
            { type: 'start' },
            { type: 'delta', text: 'One.\\n\\nTwo.\\n\\nThree', closed: '<p>One.</p><p>Two.</p>', tail: '<p>Three</p>' },
        ];
        const text = events.map((event) => `data: ${JSON.stringify(event)}\\n\\n`).join('');
        const body = new ReadableStream({ start(stream) {
            stream.enqueue(new TextEncoder().encode(text));
            options.signal.addEventListener('abort', () => stream.error(options.signal.reason));
        } });
        return Promise.resolve(new Response(body));
    };";
    browser.devtools("Page.addScriptToEvaluateOnNewDocument", &json!({ "source": held }));
    browser.reload();
    visit.ask("Say something.");
    browser.wait_until("three blocks", || browser.find_all(".answer > p").len() == 3);
    browser.press(&[super::visit::ESCAPE]);
    visit.wait_for_answer();
    let heard = browser.script("return [...announcer.children].map((e) => e.textContent)", &[]);
    assert_eq!(heard, json!(["Scribe is answering\u{2026}", "One.", "Two.", "Three", "Stopped."]));
}
