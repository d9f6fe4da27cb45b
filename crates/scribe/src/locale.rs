//! The words of pages and reports in every language, and which language a reader gets.

use std::sync::LazyLock;

use fluent_bundle::concurrent::FluentBundle;
use fluent_bundle::{FluentArgs, FluentResource, FluentValue};
use unic_langid::LanguageIdentifier;

type Bundle = FluentBundle<FluentResource>;

const ENGLISH: &str = include_str!("../i18n/en.ftl");
const FRENCH: &str = include_str!("../i18n/fr.ftl");

/// A language that the pages and reports speak.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Language {
    /// English, where nothing else is asked for.
    #[default]
    #[value(name = "en")]
    English,
    /// French.
    #[value(name = "fr")]
    French,
}

impl Language {
    /// All of them.
    pub(crate) const ALL: [Self; 2] = [Self::English, Self::French];

    /// The code in `lang` attributes, cookies and addresses.
    #[must_use]
    pub(crate) fn code(self) -> &'static str {
        match self {
            Self::English => "en",
            Self::French => "fr",
        }
    }

    /// The language that a tag such as `fr-CA` means, if the pages speak it.
    #[must_use]
    pub(crate) fn from_tag(tag: &str) -> Option<Self> {
        let primary = tag.split(['-', '_']).next().unwrap_or_default().trim();
        Self::ALL.into_iter().find(|language| language.code().eq_ignore_ascii_case(primary))
    }

    /// The language that an `Accept-Language` header likes best.
    #[must_use]
    pub(crate) fn from_header(header: &str) -> Option<Self> {
        let mut best: Option<(Self, f32)> = None;
        for range in header.split(',') {
            let mut parts = range.split(';');
            let Some(language) = parts.next().and_then(Self::from_tag) else { continue };
            let quality = parts
                .find_map(|part| part.trim().strip_prefix("q=")?.parse::<f32>().ok())
                .unwrap_or(1.0);
            if quality > 0.0 && best.is_none_or(|(_, liked)| quality > liked) {
                best = Some((language, quality));
            }
        }
        best.map(|(language, _)| language)
    }

    /// The language that the page offers to switch to.
    #[must_use]
    pub(crate) fn other(self) -> Self {
        match self {
            Self::English => Self::French,
            Self::French => Self::English,
        }
    }

    /// A number of these digits, as the language writes it.
    #[must_use]
    pub(crate) fn number(self, number: f64) -> String {
        self.format("number", &[("number", number.into())])
    }

    /// What stands between whole and broken parts of a number.
    #[must_use]
    pub(crate) fn point(self) -> &'static str {
        match self {
            Self::English => ".",
            Self::French => ",",
        }
    }

    /// The words for `key`.
    #[must_use]
    pub(crate) fn text(self, key: &str) -> String {
        self.format(key, &[])
    }

    /// The words for `key` with values put in.
    ///
    /// A key that does not exist gives itself: the tests see to it that there is none.
    #[must_use]
    pub(crate) fn format(self, key: &str, values: &[(&str, FluentValue<'_>)]) -> String {
        let bundle = self.bundle();
        let Some(pattern) = bundle.get_message(key).and_then(|message| message.value()) else {
            return key.to_owned();
        };
        let mut arguments = FluentArgs::new();
        for (name, value) in values {
            arguments.set(*name, value.clone());
        }
        bundle.format_pattern(pattern, Some(&arguments), &mut Vec::new()).into_owned()
    }

    fn bundle(self) -> &'static Bundle {
        static BUNDLES: LazyLock<[Bundle; 2]> = LazyLock::new(|| {
            let mut bundles =
                [bundle(Language::English, ENGLISH), bundle(Language::French, FRENCH)];
            bundles[0].set_formatter(Some(english_number));
            bundles[1].set_formatter(Some(french_number));
            bundles
        });
        match self {
            Self::English => &BUNDLES[0],
            Self::French => &BUNDLES[1],
        }
    }
}

fn bundle(language: Language, source: &str) -> Bundle {
    // The files are part of the program; the tests prove that they parse.
    let resource = FluentResource::try_new(source.to_owned()).unwrap_or_else(|(parsed, _)| parsed);
    let identifier: LanguageIdentifier = language.code().parse().unwrap_or_default();
    let mut bundle = Bundle::new_concurrent(vec![identifier]);
    // Isolation marks help mixed writing directions, which these languages do not have.
    bundle.set_use_isolating(false);
    bundle.add_resource_overriding(resource);
    bundle
}

fn english_number<M>(value: &FluentValue<'_>, _: &M) -> Option<String> {
    grouped(value, ",", ".")
}

fn french_number<M>(value: &FluentValue<'_>, _: &M) -> Option<String> {
    // Narrow no-break space.
    grouped(value, "\u{202f}", ",")
}

/// A number with its digits in groups of three.
fn grouped(value: &FluentValue<'_>, group: &str, point: &str) -> Option<String> {
    let FluentValue::Number(number) = value else { return None };
    let plain = number.as_string();
    let (whole, fraction) = plain.split_once('.').unwrap_or((&plain, ""));
    let mut text = String::new();
    for (at, digit) in whole.chars().enumerate() {
        if at > 0 && (whole.len() - at).is_multiple_of(3) && !text.ends_with('-') {
            text.push_str(group);
        }
        text.push(digit);
    }
    if !fraction.is_empty() {
        text.push_str(point);
        text.push_str(fraction);
    }
    Some(text)
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use super::*;

    /// Keys with the variables that each uses.
    fn keys(source: &str) -> BTreeMap<String, BTreeSet<String>> {
        FluentResource::try_new(source.to_owned()).expect("the file parses");
        let mut keys = BTreeMap::new();
        let mut current = String::new();
        for line in source.lines().filter(|line| !line.starts_with('#')) {
            if let Some((key, _)) = line.split_once(" =")
                && !line.starts_with(' ')
            {
                current = key.to_owned();
                assert!(keys.insert(current.clone(), BTreeSet::new()).is_none(), "{key} twice");
            }
            for variable in line.split('$').skip(1) {
                let end = variable.find(|c: char| !c.is_alphanumeric()).unwrap_or(variable.len());
                keys.entry(current.clone()).or_default().insert(variable[..end].to_owned());
            }
        }
        keys
    }

    #[test]
    fn every_key_is_translated() {
        assert_eq!(keys(ENGLISH), keys(FRENCH));
        for key in keys(ENGLISH).keys() {
            for language in Language::ALL {
                assert_ne!(&language.text(key), key);
            }
        }
    }

    #[test]
    fn every_key_that_is_used_exists_and_every_key_is_used() {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/");
        let mut sources = String::new();
        let places = ["templates", "src/web/pages", "src/web/pages/label", "src/web/static"];
        let commands = ["src/command/stage/report", "src/command/story", "src/command/reward"];
        for place in places.into_iter().chain(commands) {
            for entry in std::fs::read_dir(format!("{folder}{place}")).expect("the folder") {
                let path = entry.expect("an entry").path();
                if path.is_file() {
                    sources += &std::fs::read_to_string(path).expect("text");
                }
            }
        }
        let known = keys(ENGLISH);
        for start in [".t(\"", ".text(\"", ".format(\""] {
            for used in sources.split(start).skip(1) {
                let key = used.split('"').next().unwrap_or_default();
                assert!(known.contains_key(key) || key.contains(['{', ' ']), "{key} is unknown");
            }
        }
        for key in known.keys() {
            assert!(sources.contains(&format!("\"{key}\"")), "{key} is not used");
        }
    }

    #[test]
    fn plurals_and_numbers_follow_the_language() {
        let one = [("tokens", 1.into()), ("speed", 31.2.into())];
        let many = [("tokens", 1234.into()), ("speed", 31.2.into())];
        assert_eq!(Language::English.format("figures", &one), "1 token · 31.2 tokens/s");
        assert_eq!(Language::English.format("figures", &many), "1,234 tokens · 31.2 tokens/s");
        assert_eq!(
            Language::French.format("figures", &many),
            "1\u{202f}234 jetons · 31,2 jetons/s"
        );
        // French counts zero as singular.
        assert!(
            Language::French.format("figures", &[("tokens", 0.into())]).starts_with("0 jeton ")
        );
    }

    #[test]
    fn the_language_is_negotiated() {
        for (header, language) in [
            ("fr", Some(Language::French)),
            ("fr-CA,fr;q=0.9,en;q=0.8", Some(Language::French)),
            ("de,en;q=0.5,fr;q=0.7", Some(Language::French)),
            ("en-US,en;q=0.5", Some(Language::English)),
            ("fr;q=0, en", Some(Language::English)),
            ("de", None),
            ("", None),
            (";;q=,,", None),
        ] {
            assert_eq!(Language::from_header(header), language, "{header}");
        }
    }
}
