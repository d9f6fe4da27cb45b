//! OpenAI's dialect: models, chat completions, completions.

pub(in crate::web) mod chat;
pub(in crate::web) mod completions;
pub(in crate::web) mod models;
mod wire;
