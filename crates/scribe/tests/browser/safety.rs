//! Hostile text in a real browser: nothing runs, nothing is fetched.

use serde_json::{Value, json};

use super::server::tiny;
use super::visit::Visit;
use super::webdriver::Options;

const VECTORS: &str = include_str!("../../src/web/markdown/xss-vectors.txt");

#[test]
fn hostile_text_runs_nothing_and_fetches_nothing() {
    let Some(visit) = Visit::begin(tiny(), Options::default()) else { return };
    let browser = &visit.browser;
    let messages: Vec<Value> = VECTORS
        .lines()
        .map(|line| line.replace("\\n", "\n").replace("\\0", "\0").replace("\\x01", "\u{1}"))
        .flat_map(|text| {
            [
                json!({ "role": "user", "content": text }),
                json!({ "role": "assistant", "content": text }),
            ]
        })
        .collect();
    visit.with_conversation(&messages.into());
    // An alert would make this call fail.
    let alive = browser.script_async(
        "await new Promise((done) => setTimeout(done, 300));
         return document.querySelectorAll('#conversation :is(script, img, iframe, object, embed, \
         style, link, meta, base, video, audio, input, form, template, [onerror], [onload], [style])').length",
    );
    assert_eq!(alive, 0);
    let links = browser.script(
        "return [...document.querySelectorAll('.answer a')].map((a) => [a.protocol, a.rel, a.href])",
        &[],
    );
    assert!(!links.as_array().unwrap().is_empty());
    for link in links.as_array().unwrap() {
        assert!(["http:", "https:", "mailto:"].contains(&link[0].as_str().unwrap()), "{link}");
        assert_eq!(link[1], "noopener noreferrer nofollow", "{link}");
    }
    visit.assert_quiet();
}

#[test]
fn only_the_page_s_own_policy_makes_html() {
    let Some(visit) = Visit::begin(tiny(), Options::default()) else { return };
    let refused = visit.browser.script_async(
        "const tried = [
           () => { document.body.innerHTML = '<b>x</b>'; },
           () => { trustedTypes.createPolicy('other', {}); },
           () => { trustedTypes.createPolicy('scribe', {}); },
         ];
         return tried.map((attempt) => { try { attempt(); return 'done'; } catch { return 'refused'; } });",
    );
    assert_eq!(refused, json!(["refused", "refused", "refused"]));
    let foreign = visit
        .browser
        .script_async("return fetch('https://example.org/').then(() => 'done', () => 'refused')");
    assert_eq!(foreign, "refused");
}

#[test]
fn a_link_that_carries_data_is_shown_before_it_opens() {
    let Some(visit) = Visit::begin(tiny(), Options::default()) else { return };
    let browser = &visit.browser;
    visit.with_conversation(&json!([
        { "role": "user", "content": "A link, please." },
        { "role": "assistant", "content": "[click](https://collect.example/?q=secret) ![map](https://pictures.example/map.png)" },
    ]));
    assert!(browser.text(".answer").contains("click (collect.example)"));
    browser.click(".answer a[data-confirm]");
    browser.wait_until("the question", || browser.is_shown("#link"));
    assert_eq!(browser.text("#link .address"), "https://collect.example/?q=secret");
    browser.screenshot("link-desktop-light-en");
    browser.click("#link [value=cancel]");
    assert!(!browser.is_shown("#link"));
    visit.assert_quiet();
}
