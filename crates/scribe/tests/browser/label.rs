//! Ranking in a real browser: by keys, by drag, by buttons; on a phone, in both languages, with axe.

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use artifacts::disk::RealDisk;
use comparisons::Comparison;
use comparisons::store::{Snapshot, Store};
use serde_json::{Value, json};

use super::accessibility::{axe, find_nothing};
use super::looks::assert_fits;
use super::server::tiny;
use super::visit::{BACKSPACE, ENTER, RIGHT, Visit};
use super::webdriver::{Browser, Options, workspace};

const ANSWERS: [&str; 4] = [
    "Mix flour, milk and eggs, let it rest for half an hour, and fry thin layers in butter.",
    "A crêpe is a kind of very thin pancake.\n\nYou need:\n- 250 g of flour\n- half a liter of milk\n- 4 eggs",
    "I do not know.",
    "Crêpes! Crêpes! Crêpes! Everybody_loves_a_very_long_word_without_any_break_that_goes_on_and_on_and_on.",
];

/// A run with answers to so many prompts, as `scribe rounds` leaves them.
fn run(prompts: usize, answers: usize) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    training::RunFolder::open(folder.path(), "").unwrap();
    write_candidates(
        &folder.path().join("5-comparisons/round-1.candidates.jsonl"),
        prompts,
        answers,
    );
    folder
}

fn write_candidates(path: &Path, prompts: usize, answers: usize) {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    let mut lines = String::new();
    for number in 0..prompts {
        let texts = ANSWERS.iter().take(answers);
        let texts: Vec<Value> =
            texts.map(|text| json!({ "text": text, "origin": "written" })).collect();
        let user = json!([{ "role": "user", "text": format!("How do I make {number} crêpes?") }]);
        writeln!(lines, "{}", json!({ "prompt": user, "completions": texts })).unwrap();
    }
    fs::write(path, lines).unwrap();
}

fn store(run: &Path) -> PathBuf {
    run.join("5-comparisons/round-1.jsonl")
}

fn kept(path: &Path) -> Vec<Comparison> {
    let mut all = Vec::new();
    if path.exists() {
        let read = Snapshot::open(RealDisk, path).unwrap().for_each(|_, comparison| {
            all.push(comparison);
            Ok::<(), comparisons::Error>(())
        });
        read.unwrap();
    }
    all
}

/// Gives the name, and waits for the first question.
fn sit_down(browser: &Browser, name: &str) {
    browser.type_into("#name", &format!("{name}{ENTER}"));
    browser.wait_until("the first question", || browser.is_shown("#work"));
}

/// The texts as they are shown.
fn shown(browser: &Browser) -> Vec<String> {
    let texts = browser.script(
        "return [...document.querySelectorAll('.card .text')].map((e) => e.textContent)",
        &[],
    );
    serde_json::from_value(texts).unwrap()
}

fn prompt(browser: &Browser) -> String {
    browser.text("#prompt-text")
}

/// Notes how long after a key the next prompt is on the page, and how long until it is painted.
const WATCH: &str = "window.shown = []; window.painted = []; let pressed = 0;
    addEventListener('keydown', () => { pressed = performance.now(); }, true);
    new MutationObserver(() => { const since = pressed;
        shown.push(performance.now() - since);
        requestAnimationFrame(() => setTimeout(() => painted.push(performance.now() - since)));
    }).observe(document.getElementById('prompt-text'), { childList: true });";
/// How many questions have come, one of them ahead.
const ASKED: &str = "return performance.getEntriesByType('resource')
    .filter((entry) => entry.name.endsWith('/label/next') && entry.responseEnd > 0).length";

#[test]
fn twenty_rankings_by_keyboard_are_kept_painted_at_once_and_exported() {
    let run = run(20, 4);
    let Some(visit) = Visit::label(tiny(), Options::default(), run.path()) else { return };
    let browser = &visit.browser;
    sit_down(browser, "Ada");
    browser.script(WATCH, &[]);
    // At most six keys each; the one that has no place is the last one.
    let orders: [(&[&str], &[&[usize]]); 4] = [
        (&["2", "1", "4", ENTER], &[&[1], &[0], &[3], &[2]]),
        (&["3", "=", "1", "=", "2", ENTER], &[&[0, 1, 2], &[3]]),
        (&["4", "0", ENTER], &[&[3], &[0, 1, 2]]),
        (&["1", "2", BACKSPACE, "3", "0", ENTER], &[&[0], &[2], &[1, 3]]),
    ];
    let mut expected = Vec::new();
    for number in 0_usize.. {
        // 5 % come back to the same person.
        if browser.is_shown("#done") {
            break;
        }
        let (keys, groups) = orders[number % orders.len()];
        assert!(keys.len() <= 6);
        let (before, texts) = (prompt(browser), shown(browser));
        // Whoever reads takes longer than this.
        browser.wait_until("the next one ahead", || {
            browser.script(ASKED, &[]).as_u64() >= Some(number as u64 + 2)
        });
        keys.iter().for_each(|key| browser.press(&[key]));
        let said: Vec<Vec<String>> =
            groups.iter().map(|group| group.iter().map(|&n| texts[n].clone()).collect()).collect();
        expected.push((before.clone(), said));
        browser.wait_until("the next prompt", || {
            browser.is_shown("#done") || prompt(browser) != before
        });
    }
    assert!((20..=24).contains(&expected.len()), "{} rankings", expected.len());
    browser.wait_until("all to be kept", || kept(&store(run.path())).len() == expected.len());
    for (comparison, (prompt, said)) in kept(&store(run.path())).iter().zip(&expected) {
        let ranking = comparison.judgment().ranking.as_ref().unwrap();
        let texts = comparison.candidate().completions();
        let sorted = |mut group: Vec<String>| {
            group.sort();
            group
        };
        let text = |group: &Vec<usize>| {
            sorted(group.iter().map(|&number| texts[number].text.clone()).collect())
        };
        let groups: Vec<Vec<String>> = ranking.groups().iter().map(text).collect();
        let said: Vec<Vec<String>> = said.iter().cloned().map(sorted).collect();
        assert_eq!(groups, said, "{prompt}");
        assert_eq!(comparison.judgment().labeler, "Ada");
    }
    let times = |name: &str| -> Vec<f64> {
        let times = browser.script(&format!("return {name}.toSorted((a, b) => a - b)"), &[]);
        serde_json::from_value(times).unwrap()
    };
    let (there, painted) = (times("shown"), times("painted"));
    // The machine may be busy with other things, so the quickest quarter is what the page takes.
    let quarter = there.len() / 4;
    println!("next prompt there after {there:.1?} ms, painted after {painted:.1?} ms");
    assert!(there.len() >= 19 && there[quarter] < 50.0, "{there:?} ms");
    assert!(painted[quarter] < 100.0, "{painted:?} ms");
    export(run.path());
    visit.assert_quiet();
}

/// Lets the program write what was ranked in TRL's format, where `cargo xtask interop` looks for it.
fn export(run: &Path) {
    let file = workspace().join("target/label/trl.jsonl");
    fs::create_dir_all(file.parent().unwrap()).unwrap();
    let _ = fs::remove_file(&file);
    let mut scribe = Command::new(env!("CARGO_BIN_EXE_scribe"));
    scribe.args(["compare", "export", "--format", "trl", "--run"]).arg(run).arg("--out").arg(&file);
    let ran = scribe.output().unwrap();
    let told = String::from_utf8(ran.stderr).unwrap();
    assert!(ran.status.success() && told.contains(" 0 left out"), "{told}");
    assert!(fs::read_to_string(&file).unwrap().lines().count() >= 60);
}

#[test]
fn one_key_is_enough_for_two_and_undo_brings_it_back() {
    let run = run(1, 3);
    let pairs = run.path().join("7-ppo/round-1");
    write_candidates(&pairs.join("pairs.candidates.jsonl"), 5, 2);
    let Some(visit) = Visit::label(tiny(), Options::default(), run.path()) else { return };
    let browser = &visit.browser;
    sit_down(browser, "Bob");
    assert!(!browser.is_shown("#order") && !browser.is_shown("#submit"));
    let page = browser.script("return document.body.textContent", &[]);
    assert!(!page.as_str().unwrap().to_lowercase().contains("gate"));
    let (first, texts) = (prompt(browser), shown(browser));
    browser.press(&["1"]);
    browser.wait_until("the second pair", || prompt(browser) != first);
    let path = pairs.join("pairs.jsonl");
    browser.wait_until("the first one to be kept", || kept(&path).len() == 1);
    let second = prompt(browser);
    browser.press(&["u"]);
    browser.wait_until("the first pair again", || prompt(browser) == first);
    assert!(browser.is_shown("#again") && shown(browser) == texts);
    browser.press(&["2"]);
    browser.wait_until("the second pair again", || prompt(browser) == second);
    let best = |comparison: &Comparison| {
        let best = comparison.judgment().ranking.as_ref().unwrap().groups()[0][0];
        comparison.candidate().completions()[best].text.clone()
    };
    browser.wait_until("the revision", || best(&kept(&path)[0]) == texts[1]);
    assert_eq!(kept(&path).len(), 1, "it took the place of the first");
    browser.press(&["="]);
    browser.wait_until("the third pair", || prompt(browser) != second);
    browser.press(&["s"]);
    browser.wait_until("a tie and a skip", || kept(&path).len() == 3);
    let told: Vec<Option<usize>> = kept(&path)
        .iter()
        .map(|comparison| comparison.judgment().ranking.as_ref().map(|r| r.groups().len()))
        .collect();
    assert_eq!(told, [Some(2), Some(1), None]);
    visit.assert_quiet();
}

#[test]
fn drag_buttons_and_arrows_order_and_a_screen_reader_hears_it() {
    let run = run(3, 4);
    let Some(visit) = Visit::label(tiny(), Options::default(), run.path()) else { return };
    let browser = &visit.browser;
    sit_down(browser, "Cleo");
    let heard = || browser.script("return announcer.textContent", &[]).as_str().unwrap().to_owned();
    let live =
        "return [...document.querySelectorAll('[aria-live]')].map((e) => [e.id, e.ariaLive])";
    assert_eq!(browser.script(live, &[]), json!([["announcer", "polite"]]));
    browser.press(&["2"]);
    assert_eq!(heard(), "Order: 2. Without a place: 1, 3, 4.");
    browser.drag("[data-number='3'].chip", "[data-number='1'].chip", 0.1);
    browser.wait_until("the drag", || heard().starts_with("Order: 4, then 2"));
    browser.drag("[data-number='0'].chip", "[data-number='3'].chip", 0.5);
    browser.wait_until("the tie", || heard().starts_with("Order: 4, 1 tied, then 2"));
    browser.click(".card[data-number='2'] [data-act=earlier]");
    browser.wait_until("the button", || heard() == "Order: 4, 1 tied, then 3, then 2.");
    browser.script("document.querySelector('.chip[data-number=\"3\"]').focus()", &[]);
    browser.press(&[RIGHT]);
    browser.wait_until("the arrow", || heard() == "Order: 1, then 4, then 3, then 2.");
    let focused = browser.script("return document.activeElement.dataset.number", &[]);
    assert_eq!(focused, "3", "what is moved keeps the focus");
    let texts = shown(browser);
    browser.press(&["r"]);
    browser.type_into("#reason", "clear and short");
    browser.press(&[ENTER]);
    browser.wait_until("it to be kept", || kept(&store(run.path())).len() == 1);
    let comparison = &kept(&store(run.path()))[0];
    let best = comparison.judgment().ranking.as_ref().unwrap().groups()[0][0];
    assert_eq!(comparison.candidate().completions()[best].text, texts[0]);
    assert_eq!(comparison.judgment().reason.as_deref(), Some("clear and short"));
    visit.assert_quiet();
}

#[test]
fn what_is_not_kept_is_said_and_sent_again() {
    let run = run(4, 2);
    let Some(visit) = Visit::label(tiny(), Options::default(), run.path()) else { return };
    let browser = &visit.browser;
    sit_down(browser, "Dora");
    let (held, _) = Store::open(&store(run.path())).unwrap();
    browser.press(&["1"]);
    browser.wait_until("the problem", || browser.is_shown("#resend"));
    assert!(browser.text("#label-problem").contains("not kept yet"));
    drop(held);
    browser.click("#resend");
    browser.wait_until("it to be kept", || kept(&store(run.path())).len() == 1);
    browser.wait_until("no problem", || !browser.is_shown("#label-problem"));
    // A later visit lists one's own, and revises them.
    browser.reload();
    browser.wait_until("the next question", || browser.is_shown("#work"));
    browser.click("#own summary");
    browser.click("#own-list button");
    browser.wait_until("the question again", || browser.is_shown("#again"));
    browser.press(&["="]);
    let is_tied = |all: Vec<Comparison>| {
        all.len() == 1 && all[0].judgment().ranking.as_ref().unwrap().groups().len() == 1
    };
    browser.wait_until("the revision", || is_tied(kept(&store(run.path()))));
}

#[test]
fn it_fits_a_phone_in_both_languages_and_axe_finds_nothing() {
    let run = run(3, 4);
    let Some(visit) = Visit::label(tiny(), Options::default(), run.path()) else { return };
    let browser = &visit.browser;
    let axe = axe();
    let check = |name: &str| {
        assert_fits(browser, name);
        browser.screenshot(&format!("label-{name}"));
        if let Some(axe) = &axe {
            find_nothing(browser, axe, name);
        }
    };
    for (size, width, height) in [("phone", 320, 640), ("desktop", 1280, 860)] {
        browser.resize(width, height);
        for (language, theme) in [("en", "light"), ("fr", "dark")] {
            let address = &visit.server.address;
            browser.open(&format!("{address}label?lang={language}"));
            browser.open(&format!("{address}label?theme={theme}"));
            browser.script("localStorage.clear()", &[]);
            browser.reload();
            let name = format!("{size}-{theme}-{language}");
            check(&format!("name-{name}"));
            sit_down(browser, "Zoë");
            check(&format!("question-{name}"));
            for key in ["2", "=", "1", "4"] {
                browser.press(&[key]);
            }
            for details in ["#guidelines", "#own", "#own + details", "#own + details + details"] {
                browser.click(&format!("{details} > summary"));
            }
            check(&format!("order-{name}"));
        }
    }
    browser.press(&["s"]);
    browser.wait_until("the next", || browser.script("return order.textContent", &[]) == "1234");
    browser.press(&["s"]);
    browser.wait_until("the last", || browser.is_shown("#work"));
    browser.press(&["s"]);
    browser.wait_until("the end", || browser.is_shown("#done"));
    check("done-desktop-dark-fr");
    assert_eq!(browser.attribute("html", "lang").as_deref(), Some("fr"));
    visit.assert_quiet();
}
