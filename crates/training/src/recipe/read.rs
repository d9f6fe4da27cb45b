//! Reading a recipe: TOML with known fields only, and a suggestion for those that are not.

use std::path::Path;

use artifacts::hash::Digest;
use artifacts::{shown, shown_lines};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::{RECIPE_BYTES_MAX, Recipe};
use crate::Error;

/// A name is near another if at most one letter in three differs.
const LETTERS_PER_DIFFERENCE: usize = 3;

impl Recipe {
    /// Reads and checks a recipe; relative paths in it begin where it lies.
    ///
    /// # Errors
    ///
    /// Where the file cannot be read or is too large, a field is unknown (with the nearest known
    /// one), missing, or has a value that makes no sense.
    pub fn read(path: &Path) -> Result<Self, Error> {
        let text = text(path)?;
        let mut recipe = Self::parse(&text).map_err(|source| Error::InRecipe {
            path: path.to_owned(),
            source: Box::new(source),
        })?;
        recipe.lies_in(path.parent().unwrap_or(Path::new("")));
        Ok(recipe)
    }

    /// Reads and checks a recipe from its text.
    ///
    /// # Errors
    ///
    /// As [`Self::read`].
    pub fn parse(text: &str) -> Result<Self, Error> {
        let recipe: Self = parse(text)?;
        recipe.check()?;
        Ok(recipe)
    }

    /// All that decides how the model is pretrained, every field in a fixed order: what a run is
    /// held to, and its recipe but for the stages after.
    #[must_use]
    pub fn pretraining_toml(&self) -> String {
        let pretraining = Self {
            conversations: None,
            sft: None,
            prompts: None,
            evaluation: None,
            reward: None,
            ppo: None,
            rounds: None,
            ..self.clone()
        };
        write(&pretraining)
    }

    /// What tells the pretraining by this recipe from that by any other.
    #[must_use]
    pub fn identity(&self) -> Digest {
        Digest::of(self.pretraining_toml().as_bytes())
    }

    /// Lets relative paths begin at `folder`.
    fn lies_in(&mut self, folder: &Path) {
        let places = [&mut self.corpus.folder, &mut self.tokenizer.folder];
        let conversations = self.conversations.iter_mut().map(|recipe| &mut recipe.folder);
        let prompts = self.prompts.iter_mut().chain(&mut self.evaluation);
        let prompts = prompts.map(|recipe| &mut recipe.folder);
        for place in places.into_iter().chain(conversations).chain(prompts) {
            folder.clone_into(place);
        }
    }
}

/// The text of a recipe.
pub(super) fn text(path: &Path) -> Result<String, Error> {
    let unreadable = |source| Error::Read { path: path.to_owned(), source };
    let length = std::fs::metadata(path).map_err(unreadable)?.len();
    if length > RECIPE_BYTES_MAX {
        return Err(Error::RecipeTooLong { path: path.to_owned(), limit: RECIPE_BYTES_MAX });
    }
    artifacts::read_text(path).map_err(unreadable)
}

/// A recipe, or a part of one, as text.
pub(super) fn write(recipe: &impl Serialize) -> String {
    // Numbers, texts and lists under names: there is nothing that cannot be written.
    toml::to_string(recipe).unwrap_or_default()
}

/// A recipe of any kind from its text.
pub(super) fn parse<T: DeserializeOwned>(text: &str) -> Result<T, Error> {
    toml::from_str(text).map_err(|error| explain(text, &error))
}

/// The error with the line on which it is and the field that was meant.
fn explain(text: &str, error: &toml::de::Error) -> Error {
    let begin = error.span().map_or(0, |span| span.start.min(text.len()));
    let line = text.as_bytes()[..begin].iter().filter(|&&byte| byte == b'\n').count() + 1;
    let mut quoted = error.message().split('`').skip(1).step_by(2);
    if error.message().starts_with("unknown field")
        && let Some(found) = quoted.next()
    {
        let known: Vec<&str> = quoted.collect();
        return Error::UnknownField {
            line,
            found: shown(found),
            suggestion: nearest(found, &known).map(str::to_owned),
            known: known.join(", "),
        };
    }
    Error::Malformed { line, message: shown_lines(error.message()) }
}

/// The known name that is nearest to what was written.
fn nearest<'a>(found: &str, known: &[&'a str]) -> Option<&'a str> {
    let near = known.iter().map(|name| (strsim::levenshtein(found, name), *name)).min()?;
    (near.0 <= found.chars().count().div_ceil(LETTERS_PER_DIFFERENCE)).then_some(near.1)
}
