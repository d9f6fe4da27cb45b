//! A recipe for teaching a model to answer: one that is there, or the one that a run has pretrained.

use std::collections::BTreeMap;
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::{CorpusRecipe, PpoRecipe, Recipe, RewardRecipe, RoundsRecipe, StageRecipe, read};
use crate::Error;

/// How a model learns to answer.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FineTune {
    /// Decides the order of rows.
    #[serde(default)]
    pub seed: u64,
    /// The model to begin with: a folder or a file, from where the recipe lies, or a name of the
    /// catalogue.
    pub base: String,
    /// The conversations that are learned from.
    pub conversations: CorpusRecipe,
    /// How it learns.
    pub sft: StageRecipe,
    /// As [`Recipe::prompts`].
    #[serde(default)]
    pub prompts: Option<CorpusRecipe>,
    /// As [`Recipe::evaluation`].
    #[serde(default)]
    pub evaluation: Option<CorpusRecipe>,
    /// As [`Recipe::reward`].
    #[serde(default)]
    pub reward: Option<RewardRecipe>,
    /// As [`Recipe::ppo`].
    #[serde(default)]
    pub ppo: Option<PpoRecipe>,
    /// As [`Recipe::rounds`].
    #[serde(default)]
    pub rounds: Option<RoundsRecipe>,
}

impl FineTune {
    /// The model to begin with: a path that leads there, or a name of the catalogue.
    #[must_use]
    pub fn base_place(&self) -> String {
        let path = self.conversations.resolve(Path::new(&self.base));
        match path.exists() || Path::new(&self.base).components().count() > 1 {
            true => path.display().to_string(),
            false => self.base.clone(),
        }
    }
}

/// Either kind of recipe.
#[derive(Clone, Debug, PartialEq)]
pub enum AnyRecipe {
    /// From text on.
    Whole(Box<Recipe>),
    /// From a model on.
    FineTune(Box<FineTune>),
}

/// All that decides how a model is taught; the one that a run has pretrained has no name.
#[derive(Serialize)]
struct Teaching<'a> {
    seed: u64,
    base: Option<&'a str>,
    conversations: &'a CorpusRecipe,
    sft: &'a StageRecipe,
}

impl AnyRecipe {
    /// Reads and checks a recipe; one with a `base` begins with a model.
    ///
    /// # Errors
    ///
    /// As [`Recipe::read`].
    pub fn read(path: &Path) -> Result<Self, Error> {
        let text = read::text(path)?;
        let has_base = toml::from_str::<toml::Table>(&text).is_ok_and(|t| t.contains_key("base"));
        if !has_base {
            return Recipe::read(path).map(|recipe| Self::Whole(Box::new(recipe)));
        }
        let mut recipe: FineTune = read::parse(&text)
            .and_then(|recipe: FineTune| recipe.check().map(|()| recipe))
            .map_err(|source| Error::InRecipe {
                path: path.to_owned(),
                source: Box::new(source),
            })?;
        let folder = path.parent().unwrap_or(Path::new(""));
        folder.clone_into(&mut recipe.conversations.folder);
        for prompts in recipe.prompts.iter_mut().chain(&mut recipe.evaluation) {
            folder.clone_into(&mut prompts.folder);
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

    /// What the model is asked when people compare its answers, and in PPO.
    ///
    /// # Errors
    ///
    /// [`Error::NoStage`] where the recipe has neither prompts nor conversations.
    pub fn prompts(&self) -> Result<&CorpusRecipe, Error> {
        let (prompts, conversations) = match self {
            Self::FineTune(recipe) => (&recipe.prompts, Some(&recipe.conversations)),
            Self::Whole(recipe) => (&recipe.prompts, recipe.conversations.as_ref()),
        };
        prompts.as_ref().or(conversations).ok_or(Error::NoStage { section: "prompts" })
    }

    /// Prompts that nobody learns from, where they are not held out of [`Self::prompts`].
    #[must_use]
    pub fn evaluation(&self) -> Option<&CorpusRecipe> {
        match self {
            Self::FineTune(recipe) => recipe.evaluation.as_ref(),
            Self::Whole(recipe) => recipe.evaluation.as_ref(),
        }
    }

    /// How a reward model learns.
    ///
    /// # Errors
    ///
    /// [`Error::NoStage`] where the recipe says nothing of it.
    pub fn reward(&self) -> Result<&RewardRecipe, Error> {
        let reward = match self {
            Self::FineTune(recipe) => &recipe.reward,
            Self::Whole(recipe) => &recipe.reward,
        };
        reward.as_ref().ok_or(Error::NoStage { section: "reward" })
    }

    /// How the policy learns from it.
    ///
    /// # Errors
    ///
    /// [`Error::NoStage`] where the recipe says nothing of it.
    pub fn ppo(&self) -> Result<&PpoRecipe, Error> {
        let ppo = match self {
            Self::FineTune(recipe) => &recipe.ppo,
            Self::Whole(recipe) => &recipe.ppo,
        };
        ppo.as_ref().ok_or(Error::NoStage { section: "ppo" })
    }

    /// Who compares answers, and how a round ends.
    ///
    /// # Errors
    ///
    /// [`Error::NoStage`] where the recipe says nothing of it.
    pub fn rounds(&self) -> Result<&RoundsRecipe, Error> {
        let rounds = match self {
            Self::FineTune(recipe) => &recipe.rounds,
            Self::Whole(recipe) => &recipe.rounds,
        };
        rounds.as_ref().ok_or(Error::NoStage { section: "rounds" })
    }

    /// What is drawn follows from it.
    #[must_use]
    pub fn seed(&self) -> u64 {
        match self {
            Self::FineTune(recipe) => recipe.seed,
            Self::Whole(recipe) => recipe.seed,
        }
    }

    /// All that decides how the model is taught, every field in a fixed order.
    ///
    /// # Errors
    ///
    /// As [`Self::fine_tune`].
    pub fn fine_tune_toml(&self) -> Result<String, Error> {
        let (seed, conversations, sft) = self.fine_tune()?;
        let base = match self {
            Self::Whole(_) => None,
            Self::FineTune(recipe) => Some(recipe.base.as_str()),
        };
        Ok(read::write(&Teaching { seed, base, conversations, sft }))
    }

    /// What a run is held to: how its model is pretrained, or from which model it begins.
    #[must_use]
    pub fn begin_toml(&self) -> String {
        match self {
            Self::Whole(recipe) => recipe.pretraining_toml(),
            Self::FineTune(recipe) => {
                read::write(&BTreeMap::from([("base", recipe.base.as_str())]))
            }
        }
    }
}
