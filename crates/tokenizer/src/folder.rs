//! The tokenizer in a Hugging Face model folder: `tokenizer.json` and the small files beside it.
//!
//! | file | what is read |
//! |---|---|
//! | `tokenizer.json` | vocabulary, merges, rules, added tokens |
//! | `tokenizer_config.json` | `bos_token`, `eos_token`, `add_bos_token`, `chat_template` |
//! | `special_tokens_map.json` | `bos_token`, `eos_token`, where the file above has none |
//! | `generation_config.json` | `eos_token_id`: one number or a list |
//! | `chat_template.jinja` | the chat template; it goes before that of `tokenizer_config.json` |

use std::io::{ErrorKind, Read as _};
use std::path::Path;

use serde::Deserialize;

use crate::json::{self, JSON_BYTES_MAX};
use crate::template::TEMPLATE_BYTES_MAX;
use crate::tokenizer::Extras;
use crate::vocabulary::{Vocabulary, check_limit};
use crate::{Error, Tokenizer};

/// The most bytes in one of the small files; the largest known has 1.2 MB.
const CONFIG_BYTES_MAX: usize = 8 << 20;

/// `tokenizer_config.json` and `special_tokens_map.json`.
#[derive(Default, Deserialize)]
struct Config {
    bos_token: Option<TokenName>,
    eos_token: Option<TokenName>,
    add_bos_token: Option<bool>,
    chat_template: Option<Template>,
}

/// `generation_config.json`.
#[derive(Default, Deserialize)]
struct Generation {
    eos_token_id: Option<OneOrMany>,
}

/// A token by name, alone or with its flags.
#[derive(Deserialize)]
#[serde(untagged)]
enum TokenName {
    Plain(String),
    Flagged { content: String },
}

/// One template, or several by name.
#[derive(Deserialize)]
#[serde(untagged)]
enum Template {
    One(String),
    Many(Vec<NamedTemplate>),
}

#[derive(Deserialize)]
struct NamedTemplate {
    name: String,
    template: String,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum OneOrMany {
    One(u32),
    Many(Vec<u32>),
}

impl TokenName {
    fn text(&self) -> &str {
        match self {
            Self::Plain(content) | Self::Flagged { content } => content,
        }
    }
}

/// Reads all files of a folder.
pub(crate) fn read(folder: &Path) -> Result<(Vocabulary, Extras), Error> {
    let (vocabulary, mut extras) = read_json(&folder.join("tokenizer.json"))?;
    let config: Config = read_config(folder, "tokenizer_config.json")?;
    let names: Config = read_config(folder, "special_tokens_map.json")?;
    let generation: Generation = read_config(folder, "generation_config.json")?;
    let token = |first: &Option<TokenName>, second: &Option<TokenName>| {
        vocabulary.special(first.as_ref().or(second.as_ref())?.text())
    };
    let beginning = token(&config.bos_token, &names.bos_token);
    extras.beginning_in_templates = beginning.or(extras.beginning_in_templates);
    match config.add_bos_token {
        Some(true) => extras.beginning_of_text = beginning,
        Some(false) => extras.beginning_of_text = None,
        None => {}
    }
    let end = config.eos_token.as_ref().or(names.eos_token.as_ref());
    if let Some(end) = end.map(TokenName::text)
        && vocabulary.special(end).is_none()
        && vocabulary.comes_of_text(end)
    {
        return Err(Error::open_end(end));
    }
    extras.end_in_templates = token(&config.eos_token, &names.eos_token);
    extras.end_of_turn.extend(extras.end_in_templates);
    match generation.eos_token_id {
        Some(OneOrMany::One(token)) => extras.end_of_turn.push(token),
        Some(OneOrMany::Many(tokens)) => extras.end_of_turn.extend(tokens),
        None => {}
    }
    extras.chat_template = chat_template(folder, config.chat_template)?;
    Ok((vocabulary, extras))
}

/// Reads a `tokenizer.json`.
fn read_json(path: &Path) -> Result<(Vocabulary, Extras), Error> {
    let what = "the length of tokenizer.json in bytes";
    let bytes = read_file(path, what, JSON_BYTES_MAX)?.ok_or_else(|| Error::Read {
        path: path.to_owned(),
        source: std::io::Error::from(ErrorKind::NotFound),
    })?;
    json::read(&bytes)
}

/// The template in its own file, else the one in the configuration.
fn chat_template(folder: &Path, configured: Option<Template>) -> Result<Option<String>, Error> {
    let path = folder.join("chat_template.jinja");
    let what = "the length of chat_template.jinja in bytes";
    if let Some(bytes) = read_file(&path, what, TEMPLATE_BYTES_MAX)? {
        let text = String::from_utf8(bytes)
            .map_err(|_| Error::template("chat_template.jinja is not UTF-8"))?;
        return Ok(Some(text));
    }
    Ok(match configured {
        Some(Template::One(template)) => Some(template),
        Some(Template::Many(templates)) => templates
            .into_iter()
            .find(|template| template.name == "default")
            .map(|template| template.template),
        None => None,
    })
}

/// A small file of JSON; the defaults where it is absent.
fn read_config<T: Default + for<'de> Deserialize<'de>>(
    folder: &Path,
    name: &'static str,
) -> Result<T, Error> {
    let what = "the length of a configuration file in bytes";
    match read_file(&folder.join(name), what, CONFIG_BYTES_MAX)? {
        Some(bytes) => serde_json::from_slice(&bytes).map_err(|source| Error::json(name, &source)),
        None => Ok(T::default()),
    }
}

/// A file of limited length; `None` where it is absent.
fn read_file(path: &Path, what: &'static str, limit: usize) -> Result<Option<Vec<u8>>, Error> {
    let error = |source| Error::Read { path: path.to_owned(), source };
    let file = match artifacts::open_file(path) {
        Ok(file) => file,
        Err(source) if source.kind() == ErrorKind::NotFound => return Ok(None),
        Err(source) => return Err(error(source)),
    };
    let mut bytes = Vec::new();
    file.take(limit as u64 + 1).read_to_end(&mut bytes).map_err(error)?;
    check_limit(what, bytes.len(), limit)?;
    Ok(Some(bytes))
}

impl Tokenizer {
    /// Reads a `tokenizer.json` alone, as [`from_json`](Self::from_json).
    ///
    /// # Errors
    ///
    /// As [`from_json`](Self::from_json), and [`Error::Read`] where the file cannot be read.
    pub fn from_file(path: &Path) -> Result<Self, Error> {
        let (vocabulary, extras) = read_json(path)?;
        Ok(Self::new(vocabulary, extras))
    }

    /// Reads the tokenizer in a Hugging Face model folder: `tokenizer.json`, and beside it what is
    /// there of `tokenizer_config.json`, `special_tokens_map.json`, `generation_config.json` and
    /// `chat_template.jinja`.
    ///
    /// # Errors
    ///
    /// Fails where `tokenizer.json` is absent, or one of the files is damaged, too large or of a
    /// kind that is not supported.
    pub fn from_folder(folder: &Path) -> Result<Self, Error> {
        let (vocabulary, extras) = read(folder)?;
        Ok(Self::new(vocabulary, extras))
    }
}
