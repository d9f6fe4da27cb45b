//! Asking, stopping, writing again, beginning anew: with JavaScript, without it, and with a key.

use serde_json::{Value, json};

use super::server::{real, tiny};
use super::visit::{ENTER, ESCAPE, SHIFT, UP, Visit};
use super::webdriver::Options;

const LAST_ANSWER: &str = ".message.assistant:last-child .answer";

#[test]
fn the_default_model_names_the_capital_of_france() {
    let Some(loaded) = real() else { return };
    let Some(visit) = Visit::begin(loaded, Options::default()) else { return };
    let browser = &visit.browser;
    visit.limit_answers(200);
    visit.ask("What is the capital of France?");
    visit.wait_for_answer();
    let answer = browser.text(LAST_ANSWER);
    assert!(answer.contains("Paris"), "{answer}");
    browser.screenshot("answer-desktop-light-en");
    let figures = browser.text(".message.assistant:last-child .figures");
    assert!(figures.contains("tokens/s"), "{figures}");

    // The whole conversation is sent: "it" is understood. How much is there when the picture is
    // taken depends on the machine.
    visit.ask("Tell me more about it. Use a list, and bold words.");
    browser.wait_until("some words", || {
        browser.find_all(".message").len() == 4
            && (browser.find_all("[aria-busy]").is_empty() || browser.text(LAST_ANSWER).len() > 60)
    });
    browser.screenshot("streaming-desktop-light-en");
    visit.wait_for_answer();
    assert_eq!(browser.find_all(".message").len(), 4);
    visit.assert_quiet();
}

#[test]
fn an_answer_can_be_stopped_and_stays_as_it_was_seen() {
    let Some(visit) = Visit::begin(tiny(), Options::default()) else { return };
    let browser = &visit.browser;
    visit.limit_answers(400);
    // The tiny model is too fast to be stopped, so its words come over a slow line.
    visit.slow_down(4_000);
    visit.ask("Write on.");
    browser.wait_until("some words", || {
        browser.find_all(LAST_ANSWER).len() == 1 && browser.text(LAST_ANSWER).len() > 20
    });
    assert_eq!(browser.attribute(LAST_ANSWER, "aria-busy").as_deref(), Some("true"));
    assert!(browser.is_shown(".stop") && !browser.is_shown("#composer [type=submit]"));
    browser.press(&[ESCAPE]);
    visit.wait_for_answer();
    assert_eq!(browser.text(".message.assistant .figures"), "Stopped.");
    let text = kept(&visit)[1]["content"].as_str().unwrap().to_owned();
    let shown =
        browser.script(&format!("return document.querySelector('{LAST_ANSWER}').textContent"), &[]);
    // What is kept is what is shown, but for markdown and the space around blocks.
    let letters = |text: &str| text.chars().filter(|c| c.is_alphanumeric()).collect::<String>();
    assert!(letters(&text).contains(&letters(shown.as_str().unwrap())), "{text}\n{shown}");
    // The answer does not go on.
    visit.slow_down(-1);
    visit.limit_answers(5);
    assert_eq!(kept(&visit)[1]["content"], text);
    visit.assert_quiet();
}

#[test]
fn answers_can_be_written_again_questions_changed_and_chats_begun_anew() {
    let Some(visit) = Visit::begin(tiny(), Options::default()) else { return };
    let browser = &visit.browser;
    visit.limit_answers(12);
    browser.click(".examples button:first-child");
    visit.wait_for_answer();
    assert!(!browser.is_shown("#welcome"));
    assert_eq!(browser.text(".message.user .bubble"), "What is the capital of France?");
    assert!(browser.text(".message.assistant .note.ended").contains("longest length"));

    let first = kept(&visit)[1]["content"].clone();
    browser.click("[data-action=regenerate].tool");
    visit.wait_for_answer();
    // At temperature 0 the same question has the same answer.
    assert_eq!(kept(&visit)[1]["content"], first);
    assert_eq!(browser.find_all(".message").len(), 2);

    browser.type_into("#prompt", UP);
    assert_eq!(browser.find_all(".message").len(), 0);
    browser.type_into("#prompt", &format!("{SHIFT}{ENTER}{SHIFT}And of Spain?{ENTER}"));
    visit.wait_for_answer();
    let changed = kept(&visit);
    assert_eq!(changed[0]["content"], "What is the capital of France?\nAnd of Spain?");

    browser.click("[data-action=copy-answer]");
    browser.reload();
    browser
        .wait_until("the conversation after a reload", || browser.find_all(".message").len() == 2);
    assert_eq!(kept(&visit), changed);

    browser.click("[data-action=new-chat]");
    assert!(browser.is_shown("#welcome"));
    assert_eq!(kept(&visit), Value::Array(Vec::new()));
    assert_eq!(browser.script("return document.activeElement.id", &[]), "prompt");
    visit.assert_quiet();
}

#[test]
fn the_page_says_which_messages_no_longer_fit() {
    let Some(visit) = Visit::begin(tiny(), Options::default()) else { return };
    visit.limit_answers(5);
    let long = "many words and more ".repeat(60);
    let roles = ["user", "assistant"].repeat(3);
    let turns = roles.iter().map(|role| json!({ "role": role, "content": long }));
    visit.with_conversation(&turns.collect());
    visit.ask("And now?");
    visit.wait_for_answer();
    let note = visit.browser.text(".message.assistant:last-child .note.dropped");
    assert!(note.contains("oldest messages no longer fit"), "{note}");
    let before = kept(&visit);
    let browser = &visit.browser;
    let long = "far too long ".repeat(500);
    visit.ask(&long);
    browser.wait_until("the refusal", || browser.is_shown("#composer .problem"));
    let problem = browser.text("#composer .problem");
    assert!(problem.contains("Shorten it."), "{problem}");
    browser.screenshot("problem-desktop-light-en");
    // The question is back in the box, and the conversation goes on without it.
    let draft = browser.script("return document.getElementById('prompt').value", &[]);
    assert_eq!(draft, long.trim());
    assert_eq!(kept(&visit), before);
    browser.script("document.getElementById('prompt').value = ''", &[]);
    visit.ask("Short.");
    visit.wait_for_answer();
    assert!(!browser.is_shown("#composer .problem"));
    assert_eq!(kept(&visit).as_array().unwrap().len(), before.as_array().unwrap().len() + 2);
}

#[test]
fn an_answer_is_copied_whatever_came_after_it() {
    let Some(visit) = Visit::begin(tiny(), Options::default()) else { return };
    let browser = &visit.browser;
    visit.limit_answers(8);
    visit.ask("First.");
    visit.wait_for_answer();
    visit.slow_down(0);
    visit.ask("Second.");
    browser
        .wait_until("the problem", || browser.is_shown(".message.assistant:last-child .problem"));
    let clipboard = "window.copied = [];
        navigator.clipboard.writeText = async (text) => { copied.push(text); }";
    browser.script(clipboard, &[]);
    browser.click(".message.assistant [data-action=copy-answer]");
    let copied = browser.script("return copied", &[]);
    assert_eq!(copied, json!([kept(&visit)[1]["content"]]));
    let heard = browser.script("return announcer.lastChild.textContent", &[]);
    assert_eq!(heard, "Copied");
}

#[test]
fn a_browser_that_keeps_nothing_can_chat_too() {
    let Some(visit) = Visit::with_key(tiny(), Options::default(), Some("open sesame")) else {
        return;
    };
    let browser = &visit.browser;
    let blocked = "for (const area of ['localStorage', 'sessionStorage']) {
        const get = () => { throw new DOMException('denied', 'SecurityError'); };
        Object.defineProperty(window, area, { get });
    }";
    browser.devtools("Page.addScriptToEvaluateOnNewDocument", &json!({ "source": blocked }));
    browser.reload();
    visit.ask("Hello");
    browser.wait_until("the question for the key", || browser.is_shown("#key"));
    browser.type_into("#key-input", &format!("open sesame{ENTER}"));
    visit.wait_for_answer();
    assert!(browser.text(".figures").contains("token"));
}

#[test]
fn what_is_sent_during_a_reload_comes_after_what_was_there() {
    let Some(visit) = Visit::begin(tiny(), Options::default()) else { return };
    let browser = &visit.browser;
    visit.limit_answers(5);
    let messages = json!([
        { "role": "user", "content": "old question" },
        { "role": "assistant", "content": "old **answer**" },
    ]);
    visit.with_conversation(&messages);
    // The HTML of the old answer never comes, or late.
    let held = "const real = window.fetch; window.fetch = (path, ...rest) =>
        path === '/chat/html'
            ? new Promise((go) => { window.go = () => go(real(path, ...rest)); })
            : real(path, ...rest);";
    browser.devtools("Page.addScriptToEvaluateOnNewDocument", &json!({ "source": held }));
    browser.reload();
    visit.ask("new question");
    browser.wait_until("four messages", || browser.find_all("#conversation > .message").len() == 4);
    visit.wait_for_answer();
    browser.script("go()", &[]);
    browser.wait_until("the HTML", || !browser.find_all(".message strong").is_empty());
    let order = browser.script(
        "return [...document.querySelectorAll('#conversation > .message')].map((e) => e.classList[1])",
        &[],
    );
    assert_eq!(order, json!(["user", "assistant", "user", "assistant"]));
    let questions = browser
        .script("return [...document.querySelectorAll('.bubble')].map((e) => e.textContent)", &[]);
    assert_eq!(questions, json!(["old question", "new question"]));
}

#[test]
fn a_server_that_is_gone_is_told_in_a_sentence() {
    let Some(visit) = Visit::begin(tiny(), Options::default()) else { return };
    visit.slow_down(0);
    visit.ask("Anybody there?");
    visit.wait_for_answer();
    let problem = visit.browser.text(".message.assistant .problem");
    assert!(problem.contains("cannot be reached") && problem.contains("Try again"), "{problem}");
}

#[test]
fn a_server_with_a_key_asks_for_it() {
    let Some(visit) = Visit::with_key(tiny(), Options::default(), Some("open sesame")) else {
        return;
    };
    let browser = &visit.browser;
    visit.limit_answers(5);
    visit.ask("Hello");
    browser.wait_until("the question for the key", || browser.is_shown("#key"));
    assert!(!browser.is_shown("#key .problem"));
    browser.screenshot("key-desktop-light-en");
    browser.type_into("#key-input", &format!("wrong{ENTER}"));
    browser.wait_until("the second question", || browser.is_shown("#key .problem"));
    browser.type_into("#key-input", &format!("open sesame{ENTER}"));
    visit.wait_for_answer();
    assert_eq!(browser.find_all(".message").len(), 2);
    assert!(browser.text(".figures").contains("token"));
    let stored = browser.script("return JSON.stringify(localStorage) + document.cookie", &[]);
    assert!(!stored.as_str().unwrap().contains("sesame"), "{stored}");
}

#[test]
fn everything_works_without_javascript() {
    let options = Options { javascript: false, ..Options::default() };
    let Some(visit) = Visit::with_key(tiny(), options, Some("open sesame")) else { return };
    let browser = &visit.browser;
    assert!(!browser.is_shown("[data-action=settings]"));
    let send = |text: &str| {
        browser.type_into("[name=key]", "open sesame");
        let limit = browser.attribute("[name=max_tokens]", "value").unwrap_or_default();
        if limit.is_empty() {
            browser.type_into("[name=max_tokens]", "6");
        }
        browser.type_into("#prompt", text);
        browser.click("#composer .send[type=submit]");
    };
    send("One <b>& two");
    browser.wait_until("the answer", || browser.find_all(".message.assistant").len() == 1);
    assert_eq!(browser.text(".message.user .bubble"), "One <b>& two");
    assert!(browser.text(".figures").contains("6 tokens"));
    send("Three");
    browser.wait_until("the second answer", || browser.find_all(".message.assistant").len() == 2);
    browser.screenshot("no-javascript-desktop-light-en");
    let history: Value =
        serde_json::from_str(&browser.attribute("[name=history]", "value").unwrap()).unwrap();
    assert_eq!(history.as_array().unwrap().len(), 4);
    assert_eq!(history[2]["content"], "Three");

    // A wrong key loses nothing.
    browser.type_into("[name=key]", "wrong");
    browser.type_into("#prompt", "Four");
    browser.click("#composer .send[type=submit]");
    browser.wait_until("the refusal", || browser.is_shown("#composer .problem"));
    assert_eq!(browser.find_all(".message").len(), 4);
    assert_eq!(browser.text("#prompt"), "Four");
    visit.browser.click("[data-action=new-chat]");
    browser.wait_until("an empty page", || browser.find_all(".message").is_empty());
}

fn kept(visit: &Visit) -> Value {
    let text = visit.browser.script("return sessionStorage.getItem('scribe.conversation')", &[]);
    serde_json::from_str(text.as_str().unwrap_or("[]")).unwrap()
}
