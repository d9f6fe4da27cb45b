//! A recipe for teaching a model to answer: one that is there, or the one that a run has pretrained.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::{CorpusRecipe, Recipe, StageRecipe};
use crate::Error;

/// How a model learns to answer.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FineTune {
    /// Decides the order of rows.
    #[serde(default)]
    pub seed: u64,
    /// The model to begin with: a name of the catalogue, a folder or a file.
    pub base: String,
    /// The conversations that are learned from.
    pub conversations: CorpusRecipe,
    /// How it learns.
    pub sft: StageRecipe,
}

/// Either kind of recipe.
#[derive(Clone, Debug, PartialEq)]
pub enum AnyRecipe {
    /// From text on.
    Whole(Box<Recipe>),
    /// From a model on.
    FineTune(Box<FineTune>),
}

impl FineTune {
    /// The recipe as it is stored in a run's folder: every field, in a fixed order.
    #[must_use]
    pub fn to_toml(&self) -> String {
        // Numbers, texts and lists under names: there is nothing that cannot be written.
        toml::to_string(self).unwrap_or_default()
    }
}

impl AnyRecipe {
    /// Reads and checks a recipe; one with a `base` begins with a model.
    ///
    /// # Errors
    ///
    /// As [`Recipe::read`].
    pub fn read(path: &Path) -> Result<Self, Error> {
        let text = super::read::text(path)?;
        let has_base = toml::from_str::<toml::Table>(&text).is_ok_and(|t| t.contains_key("base"));
        if !has_base {
            return Recipe::read(path).map(|recipe| Self::Whole(Box::new(recipe)));
        }
        let mut recipe: FineTune = super::read::parse(&text)
            .and_then(|recipe: FineTune| recipe.check().map(|()| recipe))
            .map_err(|source| Error::InRecipe {
                path: path.to_owned(),
                source: Box::new(source),
            })?;
        let folder = path.parent().unwrap_or(Path::new(""));
        recipe.conversations.resolve(folder);
        if Path::new(&recipe.base).components().count() > 1 {
            recipe.base = folder.join(PathBuf::from(&recipe.base)).display().to_string();
        }
        Ok(Self::FineTune(Box::new(recipe)))
    }

    /// The conversations and how they are learned from.
    ///
    /// # Errors
    ///
    /// [`Error::NoStage`] where the recipe says nothing of them.
    pub fn fine_tune(&self) -> Result<(u64, &CorpusRecipe, &StageRecipe), Error> {
        match self {
            Self::FineTune(recipe) => Ok((recipe.seed, &recipe.conversations, &recipe.sft)),
            Self::Whole(recipe) => match (&recipe.conversations, &recipe.sft) {
                (Some(conversations), Some(sft)) => Ok((recipe.seed, conversations, sft)),
                (None, _) => Err(Error::NoStage { section: "conversations" }),
                (_, None) => Err(Error::NoStage { section: "sft" }),
            },
        }
    }

    /// The recipe as it is stored in a run's folder.
    #[must_use]
    pub fn to_toml(&self) -> String {
        match self {
            Self::Whole(recipe) => recipe.to_toml(),
            Self::FineTune(recipe) => recipe.to_toml(),
        }
    }
}
