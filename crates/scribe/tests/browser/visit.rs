//! A server and a browser on its page, and what a reader does there.

use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::server::{Loaded, Server};
use super::webdriver::{Browser, Options};

/// The key codes of WebDriver.
pub(crate) const BACKSPACE: &str = "\u{e003}";
pub(crate) const ENTER: &str = "\u{e007}";
pub(crate) const ESCAPE: &str = "\u{e00c}";
pub(crate) const SHIFT: &str = "\u{e008}";
pub(crate) const RIGHT: &str = "\u{e014}";
pub(crate) const TAB: &str = "\u{e004}";
pub(crate) const UP: &str = "\u{e013}";

/// A server and a browser on its page. One at a time: browsers are heavy.
pub(crate) struct Visit {
    pub(crate) browser: Browser,
    pub(crate) server: Server,
    _turn: MutexGuard<'static, ()>,
}

impl Visit {
    /// Nothing where there is no browser.
    pub(crate) fn begin(loaded: Loaded, options: Options) -> Option<Self> {
        Self::with_key(loaded, options, None)
    }

    pub(crate) fn with_key(loaded: Loaded, options: Options, key: Option<&str>) -> Option<Self> {
        Self::of(options, || Server::start(loaded, key, None), "")
    }

    /// On the page on which people rank the answers of a run.
    pub(crate) fn label(loaded: Loaded, options: Options, run: &Path) -> Option<Self> {
        Self::of(options, || Server::start(loaded, None, Some(run)), "label")
    }

    fn of(options: Options, server: impl FnOnce() -> Server, page: &str) -> Option<Self> {
        static TURN: Mutex<()> = Mutex::new(());
        let turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
        let server = server();
        let browser = Browser::start(options)?;
        browser.open(&format!("{}{page}", server.address));
        Some(Self { browser, server, _turn: turn })
    }

    /// Writes a message and sends it.
    pub(crate) fn ask(&self, text: &str) {
        self.browser.type_into("#prompt", &format!("{text}{ENTER}"));
    }

    /// Keeps answers short: the tiny model would go on and on.
    pub(crate) fn limit_answers(&self, tokens: u32) {
        self.set(&serde_json::json!({ "maxTokens": tokens, "temperature": 0 }));
    }

    /// Puts settings into the browser as the panel keeps them.
    pub(crate) fn set(&self, settings: &serde_json::Value) {
        let script = "localStorage.setItem('scribe.settings', JSON.stringify(arguments[0]))";
        self.browser.script(script, std::slice::from_ref(settings));
        self.browser.reload();
    }

    /// Lets so many bytes a second through to the page: 0 for none, -1 for all.
    pub(crate) fn slow_down(&self, bytes: i32) {
        let conditions = serde_json::json!({
            "offline": bytes == 0, "latency": 0, "downloadThroughput": bytes, "uploadThroughput": -1,
        });
        self.browser.devtools("Network.emulateNetworkConditions", &conditions);
    }

    pub(crate) fn wait_for_answer(&self) {
        self.browser.wait_until("the end of the answer", || {
            !self.browser.find_all(".message.assistant:last-child").is_empty()
                && self.browser.find_all("[aria-busy]").is_empty()
        });
    }

    /// Puts a conversation into the tab as a reload finds it, and reloads.
    pub(crate) fn with_conversation(&self, messages: &serde_json::Value) {
        let script = "sessionStorage.setItem('scribe.conversation', JSON.stringify(arguments[0]))";
        self.browser.script(script, std::slice::from_ref(messages));
        self.browser.reload();
        let count = messages.as_array().unwrap().len();
        self.browser.wait_until("the conversation", || {
            self.browser.find_all("#conversation > .message").len() == count
        });
    }

    /// Fails if the browser asked any other host for anything, or complained.
    pub(crate) fn assert_quiet(&self) {
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
