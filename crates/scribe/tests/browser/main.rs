//! The chat page in a real browser, with the real server behind it.
//!
//! Where Chromium or the default model is absent, the tests that need it say `skipped: …` and pass.
//! Pictures of every state go to `target/screenshots/`.

mod accessibility;
mod chat;
mod looks;
mod safety;
mod server;
mod webdriver;

use std::sync::{Mutex, MutexGuard, PoisonError};

use server::{Loaded, Server};
use webdriver::{Browser, Options};

/// The key codes of WebDriver.
const ENTER: &str = "\u{e007}";
const ESCAPE: &str = "\u{e00c}";
const SHIFT: &str = "\u{e008}";
const TAB: &str = "\u{e004}";
const UP: &str = "\u{e013}";

/// A server and a browser on its page. One at a time: browsers are heavy.
struct Visit {
    browser: Browser,
    server: Server,
    _turn: MutexGuard<'static, ()>,
}

impl Visit {
    /// Nothing where there is no browser.
    fn begin(loaded: Loaded, options: Options) -> Option<Self> {
        Self::with_key(loaded, options, None)
    }

    fn with_key(loaded: Loaded, options: Options, key: Option<&str>) -> Option<Self> {
        static TURN: Mutex<()> = Mutex::new(());
        let turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
        let server = Server::start(loaded, key);
        let browser = Browser::start(options)?;
        browser.open(&server.address);
        Some(Self { browser, server, _turn: turn })
    }

    /// Writes a message and sends it.
    fn ask(&self, text: &str) {
        self.browser.type_into("#prompt", &format!("{text}{ENTER}"));
    }

    /// Keeps answers short: the tiny model would go on and on.
    fn limit_answers(&self, tokens: u32) {
        let settings = serde_json::json!({ "maxTokens": tokens, "temperature": 0 }).to_string();
        let script = "localStorage.setItem('scribe.settings', arguments[0])";
        self.browser.script(script, &[settings.into()]);
        self.browser.reload();
    }

    /// Lets so many bytes a second through to the page: 0 for none, -1 for all.
    fn slow_down(&self, bytes: i32) {
        let conditions = serde_json::json!({
            "offline": bytes == 0, "latency": 0, "downloadThroughput": bytes, "uploadThroughput": -1,
        });
        self.browser.devtools("Network.emulateNetworkConditions", &conditions);
    }

    fn wait_for_answer(&self) {
        self.browser.wait_until("the end of the answer", || {
            !self.browser.find_all(".message.assistant:last-child").is_empty()
                && self.browser.find_all("[aria-busy]").is_empty()
        });
    }

    /// Puts a conversation into the tab as a reload finds it, and reloads.
    fn with_conversation(&self, messages: &serde_json::Value) {
        let script = "sessionStorage.setItem('scribe.conversation', JSON.stringify(arguments[0]))";
        self.browser.script(script, std::slice::from_ref(messages));
        self.browser.reload();
        let count = messages.as_array().unwrap().len();
        self.browser.wait_until("the conversation", || {
            self.browser.find_all("#conversation > .message").len() == count
        });
    }

    /// Fails if the browser asked any other host for anything, or complained.
    fn assert_quiet(&self) {
        let requests = self.browser.requests();
        assert!(!requests.is_empty());
        for address in requests {
            let own = address.starts_with(&self.server.address);
            // Chromium's own first page.
            let internal = address.starts_with("data:") || address.starts_with("chrome:");
            assert!(own || internal, "the page asked for {address}");
        }
        assert_eq!(self.browser.complaints(), [""; 0]);
    }
}
