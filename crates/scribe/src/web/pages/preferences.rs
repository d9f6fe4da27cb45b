//! What a reader has chosen for the pages: language and appearance, kept in two cookies.

use axum::http::header::{ACCEPT_LANGUAGE, COOKIE};
use axum::http::{HeaderMap, HeaderValue};

use crate::locale::Language;

/// How the pages look.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Theme {
    /// Light or dark as the reader's system is.
    #[default]
    System,
    /// Always light.
    Light,
    /// Always dark.
    Dark,
}

impl Theme {
    /// The word in cookies, addresses and the page's root element.
    #[must_use]
    pub(super) fn code(self) -> &'static str {
        match self {
            Self::System => "system",
            Self::Light => "light",
            Self::Dark => "dark",
        }
    }

    fn from_code(code: &str) -> Option<Self> {
        [Self::System, Self::Light, Self::Dark].into_iter().find(|theme| theme.code() == code)
    }
}

/// The choices of one reader.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Preferences {
    /// The language of the words around the conversation.
    pub(super) language: Language,
    /// Light, dark, or as the system is.
    pub(super) theme: Theme,
}

impl Preferences {
    /// What the cookies say, else what the browser asks for, else the defaults.
    #[must_use]
    pub(super) fn of(headers: &HeaderMap) -> Self {
        let text = |value: &HeaderValue| value.to_str().ok().map(str::to_owned);
        let accepted = headers.get(ACCEPT_LANGUAGE).and_then(text).unwrap_or_default();
        Self {
            language: cookie(headers, "lang")
                .and_then(|tag| Language::from_tag(&tag))
                .or_else(|| Language::from_header(&accepted))
                .unwrap_or_default(),
            theme: cookie(headers, "theme")
                .and_then(|code| Theme::from_code(&code))
                .unwrap_or_default(),
        }
    }

    /// The cookies that keep what an address such as `/?lang=fr&theme=dark` chooses.
    #[must_use]
    pub(super) fn chosen(query: &str) -> Vec<HeaderValue> {
        let mut cookies = Vec::new();
        for (name, value) in url::form_urlencoded::parse(query.as_bytes()) {
            let code = match &*name {
                "lang" => Language::from_tag(&value).map(Language::code),
                "theme" => Theme::from_code(&value).map(Theme::code),
                _ => None,
            };
            let Some(code) = code else { continue };
            let cookie = format!("{name}={code}; Path=/; Max-Age=31536000; SameSite=Lax");
            cookies.extend(HeaderValue::try_from(cookie));
        }
        cookies
    }
}

/// The value of a cookie.
fn cookie(headers: &HeaderMap, name: &str) -> Option<String> {
    headers
        .get_all(COOKIE)
        .iter()
        .filter_map(|header| header.to_str().ok())
        .flat_map(|header| header.split(';'))
        .filter_map(|pair| pair.trim().split_once('='))
        .find_map(|(known, value)| (known == name).then(|| value.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cookies_win_over_the_browser() {
        let mut headers = HeaderMap::new();
        assert_eq!(Preferences::of(&headers), Preferences::default());
        headers.insert(ACCEPT_LANGUAGE, HeaderValue::from_static("fr"));
        assert_eq!(Preferences::of(&headers).language, Language::French);
        headers.insert(COOKIE, HeaderValue::from_static("a=b; lang=en; theme=dark"));
        let preferences = Preferences::of(&headers);
        assert_eq!(preferences, Preferences { language: Language::English, theme: Theme::Dark });
    }

    #[test]
    fn only_known_choices_become_cookies() {
        let cookies = Preferences::chosen("lang=fr&theme=purple&x=y%0d%0aSet-Cookie:z");
        assert_eq!(cookies, ["lang=fr; Path=/; Max-Age=31536000; SameSite=Lax"]);
    }
}
