//! What the templates show.

use askama::Template;
use fluent_bundle::FluentValue;
use serde::Serialize;

use super::assets;
use super::preferences::{Preferences, Theme};
use super::question::Entry;
use crate::locale::Language;

/// The questions that the empty page offers.
const EXAMPLES: [&str; 4] = ["example-capital", "example-sky", "example-poem", "example-list"];

/// The words that the page's modules use.
const SCRIPT_WORDS: [&str; 9] = [
    "answer-ended",
    "answer-stopped",
    "answering",
    "copied",
    "copy",
    "error-broken-off",
    "error-key",
    "error-network",
    "error-unknown",
];

/// What every page needs.
pub(super) struct Frame {
    pub(super) language: Language,
    pub(super) theme: Theme,
    /// Where the page's own files are.
    pub(super) folder: String,
    /// The page's own address, to which a choice of language leads back.
    pub(super) here: &'static str,
}

impl Frame {
    pub(super) fn new(preferences: Preferences) -> Self {
        let Preferences { language, theme } = preferences;
        Self { language, theme, folder: assets::folder(), here: "/" }
    }

    /// The words for `key`.
    pub(super) fn t(&self, key: &str) -> String {
        self.language.text(key)
    }

    fn welcome(&self, model: &str) -> String {
        self.language.format("welcome-hint", &[("model", FluentValue::from(model))])
    }

    fn examples(&self) -> Vec<String> {
        EXAMPLES.iter().map(|key| self.t(key)).collect()
    }

    /// The modules of the page on which people rank.
    pub(super) fn label_modules(&self) -> Vec<&'static str> {
        let shared = ["announcer.js", "dialogs.js", "page.js", "request.js", "storage.js"];
        let is_used = |name: &&str| name.starts_with("label") || shared.contains(name);
        assets::modules().filter(is_used).collect()
    }

    fn modules(&self) -> Vec<&'static str> {
        assets::modules().filter(|name| !name.starts_with("label")).collect()
    }
}

/// The chat, empty or with a conversation.
#[derive(Template)]
#[template(path = "chat.html")]
pub(super) struct ChatPage {
    pub(super) frame: Frame,
    pub(super) model: ModelShown,
    pub(super) messages: Vec<Shown>,
    /// The conversation as the form sends it back.
    pub(super) history: String,
    /// What the form's fields hold.
    pub(super) settings: SettingsShown,
    /// A message that was not sent, to be sent again.
    pub(super) draft: String,
    /// What went wrong with the form, in words.
    pub(super) problem: String,
    pub(super) key_needed: bool,
    /// An answer without content, for the page's modules to fill.
    pub(super) blank: AnswerShown,
    /// JSON for the page's modules, safe inside an element.
    pub(super) data: String,
}

/// What the page tells of the model.
pub(super) struct ModelShown {
    pub(super) name: String,
    pub(super) context_tokens: usize,
}

/// The settings of the form without JavaScript, as they were sent.
#[derive(Default)]
pub(super) struct SettingsShown {
    pub(super) system: String,
    pub(super) temperature: String,
    pub(super) max_tokens: String,
}

/// One message on the page.
pub(super) enum Shown {
    User(String),
    Assistant(AnswerShown),
}

/// An answer on the page.
#[derive(Default)]
pub(super) struct AnswerShown {
    /// From [`crate::web::markdown::render`] and nothing else.
    pub(super) html: String,
    pub(super) figures: String,
    pub(super) figures_title: String,
    /// How many messages the model did not see, in words; empty for none.
    pub(super) dropped: String,
    /// Why it ended, in words; empty where it ended by itself.
    pub(super) ended: String,
}

/// Everything that is not the chat: an error in words, and the way back.
#[derive(Template)]
#[template(path = "problem.html")]
pub(super) struct ProblemPage {
    pub(super) frame: Frame,
    /// Nothing where it is enough to wait.
    pub(super) status: Option<u16>,
    pub(super) title: String,
    pub(super) message: String,
}

/// What `static/settings.js` reads (its type `PageData`).
#[derive(Serialize)]
struct PageData<'a> {
    words: std::collections::BTreeMap<&'static str, String>,
    temperature: f32,
    history: &'a [Entry],
}

/// The data for the page's modules. No `<` is left that could end the element around it.
pub(super) fn page_data(language: Language, temperature: f32, history: &[Entry]) -> String {
    let words = SCRIPT_WORDS.iter().map(|&key| (key, language.text(key))).collect();
    let data = PageData { words, temperature, history };
    serde_json::to_string(&data).unwrap_or_default().replace('<', "\\u003c")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn data_for_the_modules_cannot_end_its_element() {
        let history = [Entry::user("</script><script>alert(1)</script><!--")];
        let data = page_data(Language::English, 0.5, &history);
        assert!(!data.contains('<'), "{data}");
        let parsed: serde_json::Value = serde_json::from_str(&data).expect("JSON");
        assert_eq!(parsed["history"][0]["content"], "</script><script>alert(1)</script><!--");
        assert_eq!(parsed["words"]["copy"], "Copy");
    }
}
