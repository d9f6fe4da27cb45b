//! All tokens of a model: what bytes each stands for, and which of them no text can make.

use std::collections::HashMap;

use crate::Error;
use crate::added::Matcher;
use crate::bpe::Merges;
use crate::byte_level;
use crate::split::SplitRule;

/// The most tokens that a vocabulary may have; the largest known has 262,144.
pub(crate) const TOKENS_MAX: usize = 1 << 20;
/// The most merges; the largest known list has 514,906.
pub(crate) const MERGES_MAX: usize = 1 << 21;
/// The most bytes in a token; the longest known has 512.
pub(crate) const TOKEN_BYTES_MAX: usize = 4096;
/// The most bytes in an added token, which is matched at every position of a text.
pub(crate) const ADDED_BYTES_MAX: usize = 256;

/// What a token is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Made by merging; stands for bytes.
    Text,
    /// Matched as a whole string in any text; stands for its own text.
    Added,
    /// Made only by [`Conversation::render`](crate::Conversation::render); stands for no text.
    Special,
    /// A number without a token: padding of the embedding table.
    Unused,
}

/// White space that a special token takes with it from the text around it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Strip {
    /// From the text before.
    pub(crate) left: bool,
    /// From the text after.
    pub(crate) right: bool,
}

/// When the text of an added token is looked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum MatchOn {
    /// Before the text is normalized.
    Raw,
    /// After.
    Normalized,
}

/// How texts are normalized before they are split.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Normalization {
    /// Not at all.
    None,
    /// Unicode canonical composition.
    Nfc,
}

/// A vocabulary while it is being read from a file.
#[derive(Debug)]
pub(crate) struct Builder {
    tokens: Vec<(Box<str>, Kind)>,
    numbers: HashMap<Box<str>, u32>,
    added: Vec<(u32, MatchOn)>,
    strips: HashMap<u32, Strip>,
    merges: Vec<(u32, u32, u32)>,
}

/// A checked vocabulary with its merges.
#[derive(Debug)]
pub(crate) struct Vocabulary {
    /// The bytes of all tokens, one after the other; of special tokens, their names.
    bytes: Vec<u8>,
    /// Where each token ends in `bytes`.
    ends: Vec<u32>,
    kinds: Vec<Kind>,
    special: HashMap<Box<str>, u32>,
    strips: HashMap<u32, Strip>,
    /// Special tokens by name, for the text that a chat template writes.
    pub(crate) special_matcher: Matcher,
    /// Added tokens that are looked for before and after normalization.
    pub(crate) raw_matcher: Matcher,
    pub(crate) normalized_matcher: Matcher,
    pub(crate) merges: Merges,
    /// Words that are tokens, where these go before merging (`ignore_merges`).
    whole_words: Option<HashMap<Box<[u8]>, u32>>,
    pub(crate) split: SplitRule,
    pub(crate) normalization: Normalization,
}

/// How a vocabulary cuts and looks up words; what a file says beside its tokens and merges.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Rules {
    pub(crate) split: SplitRule,
    pub(crate) normalization: Normalization,
    pub(crate) ignore_merges: bool,
}

impl Builder {
    /// An empty vocabulary.
    pub(crate) fn new() -> Self {
        Self {
            tokens: Vec::new(),
            numbers: HashMap::new(),
            added: Vec::new(),
            strips: HashMap::new(),
            merges: Vec::new(),
        }
    }

    /// Gives the number `token` to a text, spelled at the byte level for [`Kind::Text`].
    ///
    /// A number may be given twice, as added tokens are that stand in the vocabulary, too; but not
    /// to two texts, since merges that name the one would make the other.
    ///
    /// A text that looks like a control token becomes special, whatever the file says: see
    /// [`Builder::set_added`].
    pub(crate) fn set(&mut self, token: u32, text: &str, kind: Kind) -> Result<(), Error> {
        let kind = if kind == Kind::Text && looks_like_marker(text) { Kind::Special } else { kind };
        let index = token as usize;
        check_limit("a token number", index, TOKENS_MAX - 1)?;
        let limit = if kind == Kind::Text { TOKEN_BYTES_MAX } else { ADDED_BYTES_MAX };
        check_limit("the length of a token in bytes", text.len(), limit)?;
        if index >= self.tokens.len() {
            self.tokens.resize(index + 1, (Box::default(), Kind::Unused));
        }
        let (before, kind_before) = &self.tokens[index];
        if *kind_before != Kind::Unused && **before != *text {
            let problem = format!("token {token} is given to two texts: {before:?} and {text:?}");
            return Err(Error::invalid(&problem));
        }
        self.tokens[index] = (text.into(), kind);
        if kind != Kind::Unused {
            self.numbers.insert(text.into(), token);
        }
        Ok(())
    }

    /// Makes a token special; white space around it goes as `strip` says.
    pub(crate) fn set_special(
        &mut self,
        token: u32,
        text: &str,
        strip: Strip,
    ) -> Result<(), Error> {
        self.set(token, text, Kind::Special)?;
        if strip != Strip::default() {
            self.strips.insert(token, strip);
        }
        Ok(())
    }

    /// Makes a token one that is matched as a whole string in any text.
    ///
    /// One that looks like a control token becomes special instead, whatever the file says: some
    /// models forget to mark theirs, and nobody may write a control token by hand.
    pub(crate) fn set_added(&mut self, token: u32, text: &str, on: MatchOn) -> Result<(), Error> {
        if looks_like_control(text) {
            return self.set_special(token, text, Strip::default());
        }
        self.set(token, text, Kind::Added)?;
        self.added.push((token, on));
        Ok(())
    }

    /// Appends the next merge in rank order, both sides spelled at the byte level.
    pub(crate) fn push_merge(&mut self, left: &str, right: &str) -> Result<(), Error> {
        check_limit("the number of merges", self.merges.len() + 1, MERGES_MAX)?;
        let number = |text: &str| {
            self.numbers.get(text).copied().ok_or_else(|| {
                Error::invalid(&format!(
                    "merge {left:?} + {right:?} names {text:?}, which is no token"
                ))
            })
        };
        let merge = (number(left)?, number(right)?, number(&[left, right].concat())?);
        self.merges.push(merge);
        Ok(())
    }

    /// Checks that all parts fit together.
    pub(crate) fn finish(self, rules: Rules) -> Result<Vocabulary, Error> {
        let kinds: Vec<Kind> = self.tokens.iter().map(|&(_, kind)| kind).collect();
        let text = |token: u32| kinds[token as usize] == Kind::Text;
        if let Some(&merge) = self
            .merges
            .iter()
            .find(|&&(left, right, merged)| !(text(left) && text(right) && text(merged)))
        {
            let name = &self.tokens[merge.2 as usize].0;
            return Err(Error::invalid(&format!(
                "the merge that makes {name:?} takes part of an added or special token"
            )));
        }
        let (mut bytes, mut ends) = (Vec::new(), Vec::with_capacity(kinds.len()));
        let mut byte_tokens = Box::new([None; 256]);
        for (token, (name, kind)) in (0u32..).zip(&self.tokens) {
            let start = bytes.len();
            if *kind != Kind::Text || !byte_level::read(name, &mut bytes) {
                bytes.extend_from_slice(name.as_bytes());
            } else if let [byte] = bytes[start..] {
                byte_tokens[usize::from(byte)] = Some(token);
            }
            let end = u32::try_from(bytes.len());
            ends.push(end.map_err(|_| too_large("the text of all tokens", bytes.len(), 1 << 32))?);
        }
        if byte_tokens.iter().all(Option::is_none) {
            return Err(Error::invalid("it has no token for any byte"));
        }
        let mut vocabulary = Vocabulary {
            merges: Merges::new(kinds.len(), &self.merges, byte_tokens),
            bytes,
            ends,
            kinds,
            special: HashMap::new(),
            strips: self.strips,
            special_matcher: Matcher::default(),
            raw_matcher: Matcher::default(),
            normalized_matcher: Matcher::default(),
            whole_words: None,
            split: rules.split,
            normalization: rules.normalization,
        };
        vocabulary.index(&self.added, &self.tokens, rules);
        Ok(vocabulary)
    }
}

impl Vocabulary {
    /// Fills everything that is looked up by text.
    fn index(&mut self, added: &[(u32, MatchOn)], tokens: &[(Box<str>, Kind)], rules: Rules) {
        for (token, (name, _)) in
            (0u32..).zip(tokens).filter(|(_, (_, kind))| *kind == Kind::Special)
        {
            self.special.insert(name.clone(), token);
            self.special_matcher.insert(name, token);
        }
        for &(token, on) in added {
            match (&tokens[token as usize], on) {
                ((name, Kind::Added), MatchOn::Raw) => self.raw_matcher.insert(name, token),
                ((name, Kind::Added), MatchOn::Normalized) => {
                    self.normalized_matcher.insert(&rules.normalization.apply(name), token);
                }
                // It was added once more, as a special token.
                _ => {}
            }
        }
        self.whole_words = rules.ignore_merges.then(|| {
            (0..self.len_u32())
                .filter(|&token| self.kind(token) == Kind::Text)
                .map(|token| (self.stored(token).into(), token))
                .collect()
        });
    }

    /// How many tokens there are, unused numbers included.
    pub(crate) fn len(&self) -> usize {
        self.kinds.len()
    }

    fn len_u32(&self) -> u32 {
        u32::try_from(self.kinds.len()).unwrap_or(u32::MAX)
    }

    /// What a token is; unknown numbers are unused.
    pub(crate) fn kind(&self, token: u32) -> Kind {
        self.kinds.get(token as usize).copied().unwrap_or(Kind::Unused)
    }

    /// The bytes that a token adds to a text: none for special, unused and unknown ones.
    pub(crate) fn text_bytes(&self, token: u32) -> &[u8] {
        match self.kind(token) {
            Kind::Text | Kind::Added => self.stored(token),
            Kind::Special | Kind::Unused => &[],
        }
    }

    /// The bytes of a text token, or the name of another; empty for unknown numbers.
    pub(crate) fn stored(&self, token: u32) -> &[u8] {
        let index = token as usize;
        let Some(&end) = self.ends.get(index) else { return &[] };
        let start = index.checked_sub(1).map_or(0, |before| self.ends[before]);
        &self.bytes[start as usize..end as usize]
    }

    /// Whether a token that stands for `text` can come of it: made of its bytes, or matched in it.
    pub(crate) fn comes_of_text(&self, text: &str) -> bool {
        (0..self.len_u32()).any(|token| self.text_bytes(token) == text.as_bytes())
    }

    /// The number of a special token.
    pub(crate) fn special(&self, name: &str) -> Option<u32> {
        self.special.get(name).copied()
    }

    /// The white space that a special token takes from the text around it.
    pub(crate) fn strip(&self, token: u32) -> Strip {
        self.strips.get(&token).copied().unwrap_or_default()
    }

    /// Whether words that are tokens go before merging.
    pub(crate) fn ignores_merges(&self) -> bool {
        self.whole_words.is_some()
    }

    /// Whether every token that text can make comes of merging its bytes, too: then it makes no
    /// difference whether words that are tokens go before merging.
    pub(crate) fn merges_make_all_words(&self) -> bool {
        let mut made = Vec::new();
        let words = self.split;
        (0..self.len_u32()).filter(|&token| self.kind(token) == Kind::Text).all(|token| {
            let Ok(text) = std::str::from_utf8(self.stored(token)) else { return true };
            // What the rule cuts is never looked up whole.
            if words.words(text).nth(1).is_some() {
                return true;
            }
            made.clear();
            self.merges.encode_word(text.as_bytes(), &mut made);
            made == [token]
        })
    }

    /// How a token is spelled in files: its bytes in disguise, or its name.
    pub(crate) fn spelled(&self, token: u32) -> String {
        match self.kind(token) {
            Kind::Text => self.stored(token).iter().copied().map(byte_level::char_of).collect(),
            _ => String::from_utf8_lossy(self.stored(token)).into_owned(),
        }
    }

    /// The token of a whole word, where such go before merging.
    pub(crate) fn whole_word(&self, word: &[u8]) -> Option<u32> {
        self.whole_words.as_ref()?.get(word).copied()
    }
}

impl Normalization {
    /// The normalized text.
    pub(crate) fn apply(self, text: &str) -> std::borrow::Cow<'_, str> {
        use unicode_normalization::{IsNormalized, UnicodeNormalization, is_nfc_quick};
        if self == Self::None || is_nfc_quick(text.chars()) == IsNormalized::Yes {
            text.into()
        } else {
            text.nfc().collect::<String>().into()
        }
    }
}

/// Whether an added token is written like a control token: `<|im_start|>`, `<｜User｜>`.
fn looks_like_control(text: &str) -> bool {
    [("<|", "|>"), ("<｜", "｜>")].iter().any(|(start, end)| {
        text.len() > start.len() + end.len() && text.starts_with(start) && text.ends_with(end)
    })
}

/// Whether a token that may come of merges is written like a control token. Signs alone, such as
/// `<|>|>`, are not.
pub(crate) fn looks_like_marker(text: &str) -> bool {
    looks_like_control(text) && text.contains(char::is_alphanumeric)
}

/// An error where `found` is over `limit`.
pub(crate) fn check_limit(what: &'static str, found: usize, limit: usize) -> Result<(), Error> {
    if found > limit { Err(too_large(what, found, limit)) } else { Ok(()) }
}

/// The error of a limit that is broken.
fn too_large(what: &'static str, found: usize, limit: usize) -> Error {
    Error::TooLarge { what, found: found as u64, limit: limit as u64 }
}
