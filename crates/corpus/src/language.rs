//! A guess of what a text is in: English, French, or something else.
//!
//! It counts small words. English and French compete with each other and with five neighbors whose
//! small words look alike. What this cannot do: texts of a few words, code, lists, names, and texts
//! that mix languages are mostly called other; a language that borrows its small words from one of
//! the two is called that one. It is a sieve for large heaps of prose, and off by default.

use std::collections::HashMap;
use std::sync::LazyLock;

use serde::{Deserialize, Serialize};

use crate::document::words;

/// Words from the beginning of a text that are looked at.
pub const WORDS_MAX: usize = 4_096;
/// Of a hundred words, the fewest that must be small words of a language to call a text that.
const PERCENT_MIN: usize = 15;

/// What a text is in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Language {
    /// English.
    English,
    /// French.
    French,
    /// Neither, or not enough text to tell.
    Other,
}

/// Small words by language: the most frequent of each, without those of one letter that also stand in
/// formulas, except where they carry the language.
const SMALL_WORDS: [(Language, &str); 7] = [
    (
        Language::English,
        "the of and to in a is that it for was on with as be by at this have from or had not but \
         are they which you were his her we he she an been has their will would there my all can \
         who more if when so what one our its them than into some could no i me your him do",
    ),
    (
        Language::French,
        "le la les de des du et à un une est que qui dans en pour pas sur il elle au aux ce cette \
         ces ne se par avec plus nous vous ils sont mais ou où son sa ses leur être fait comme \
         tout on je tu d l qu n s c j était ont été même y lui si mon ma mes votre notre",
    ),
    (
        Language::Other,
        "el los las y que en un una por con para es se lo su al del como más pero sus le ya este \
         sí porque esta entre cuando muy sin sobre también me hasta hay donde de la no a",
    ),
    (
        Language::Other,
        "der die das und in zu den ist nicht von mit sich auf für im dem ein eine als auch es an \
         werden aus er hat dass sie nach bei um am sind noch wie einem über einen so zum war ich",
    ),
    (
        Language::Other,
        "il di che e la in un a per è una sono non con del si da le dei nel alla più anche come \
         ma lo della gli al i questo ha o se delle era mi ho nella cui ci essere di",
    ),
    (
        Language::Other,
        "o a os as de que e do da em um uma para é com não por mais dos se na no mas foi ao ele \
         das tem à seu sua ou ser quando muito nos já está eu também só pelo pela de",
    ),
    (
        Language::Other,
        "de het een en van ik te dat die in je is niet hij zijn op aan met als voor had er maar \
         om hem dan zou of wat mijn men dit zo door over ze zich bij ook tot uit der daar haar",
    ),
];

/// Which lists each small word is in, one bit a list.
static LISTS: LazyLock<HashMap<&'static str, u8>> = LazyLock::new(|| {
    let mut lists = HashMap::new();
    for (list, (_, words)) in SMALL_WORDS.iter().enumerate() {
        for word in words.split_whitespace() {
            *lists.entry(word).or_default() |= 1 << list;
        }
    }
    lists
});

/// Guesses what a text is in.
#[must_use]
pub fn guess(text: &str) -> Language {
    let mut counts = [0; SMALL_WORDS.len()];
    let mut total = 0;
    let mut in_lowercase = String::new();
    for word in words(text).take(WORDS_MAX) {
        total += 1;
        in_lowercase.clear();
        in_lowercase.extend(word.chars().flat_map(char::to_lowercase));
        let lists = LISTS.get(in_lowercase.as_str()).copied().unwrap_or(0);
        for (list, count) in counts.iter_mut().enumerate() {
            *count += usize::from(lists >> list & 1);
        }
    }
    let most = counts.iter().copied().max().unwrap_or(0);
    if most * 100 < total * PERCENT_MIN || total == 0 {
        return Language::Other;
    }
    // A tie is no certainty: the last list with the most wins, and those of others come last.
    let best = SMALL_WORDS.iter().zip(counts).rev().find(|(_, count)| *count == most);
    best.map_or(Language::Other, |((language, _), _)| *language)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prose_is_recognized() {
        for (expected, text) in [
            (Language::English, "It was the best of times, it was the worst of times."),
            (
                Language::English,
                "Whenever I find myself growing grim about the mouth, I go to sea.",
            ),
            (
                Language::French,
                "Longtemps, je me suis couché de bonne heure, et mes yeux se fermaient.",
            ),
            (Language::French, "L'homme est né libre, et partout il est dans les fers."),
            (
                Language::Other,
                "En un lugar de la Mancha, de cuyo nombre no quiero acordarme, no ha \
                mucho tiempo que vivía un hidalgo de los de lanza en astillero.",
            ),
            (
                Language::Other,
                "Als Gregor Samsa eines Morgens aus unruhigen Träumen erwachte, fand \
                er sich in seinem Bett zu einem ungeheueren Ungeziefer verwandelt.",
            ),
            (
                Language::Other,
                "Nel mezzo del cammin di nostra vita mi ritrovai per una selva oscura, \
                che la diritta via era smarrita.",
            ),
            (
                Language::Other,
                "No meio do caminho tinha uma pedra, tinha uma pedra no meio do caminho.",
            ),
            (Language::Other, "吾輩は猫である。名前はまだ無い。"),
            (Language::Other, "fn main() { println!(\"{}\", 1 + 2); }"),
            (Language::Other, "1234 5678"),
            (Language::Other, ""),
        ] {
            assert_eq!(guess(text), expected, "{text}");
        }
    }
}
