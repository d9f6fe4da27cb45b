//! What a policy answers when it has learned, to be looked at.

use std::path::Path;
use std::sync::Arc;

use artifacts::disk::RealDisk;
use artifacts::folder;
use engine::Device;
use model::{Adapted, Model, Sampling, Source};

use super::super::people::Ground;
use super::super::pretrain::samples::Pen;
use super::super::{Failure, Session, locate};
use crate::run_state::{SAMPLES_FILE, Sample};

/// Prompts that are shown.
const SAMPLES: usize = 4;

/// Lets the model of a checkpoint answer some prompts that nobody learned from, and keeps the answers.
pub(super) fn write(
    session: &mut Session,
    ground: &Ground,
    (checkpoint, stage): (&Path, &Path),
    device: &Device,
) -> Result<(), Failure> {
    let ppo = ground.recipe.ppo()?;
    let encoding = ground.encoding(ppo);
    let mut pen = open(session, ground, checkpoint, device)?;
    let sampling = Sampling {
        temperature: ppo.temperature,
        seed: ground.recipe.seed(),
        ..Sampling::default()
    };
    let mut samples = Vec::new();
    for conversation in ground.prompts(session)?.validation.iter().take(SAMPLES) {
        let Some(asked) = conversation.messages.last() else { continue };
        let tokens = encoding.prompt(conversation)?;
        if tokens.len() + ppo.completion_tokens > ground.context_tokens() {
            continue;
        }
        let answer = pen.go_on(tokens, ppo.completion_tokens, sampling.clone())?;
        samples.push(Sample { prompt: asked.content.clone(), text: format!("\n{answer}") });
    }
    let json = serde_json::to_vec_pretty(&samples)?;
    Ok(folder::land_bytes(&RealDisk, &stage.join(SAMPLES_FILE), &json)?)
}

/// The policy of a checkpoint, which may be an adapter beside what it began as.
fn open(
    session: &mut Session,
    ground: &Ground,
    checkpoint: &Path,
    device: &Device,
) -> Result<Pen, Failure> {
    let located = locate::checkpoint_of(session, ground.run.path(), checkpoint.to_owned())?;
    let source = Source::detect(&located.path);
    let outline = model::Outline::read(device, &source)?;
    let adapted = located.read_adapter(device, outline.config())?.map(Adapted::Beside);
    let model = Model::load_adapted(device, &source, adapted.as_ref(), &mut |_, _| ())?;
    Pen::new(Arc::new(model), ground.tokenizer.clone())
}
