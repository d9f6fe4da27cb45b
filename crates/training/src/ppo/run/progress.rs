//! How far a stage of PPO is: what its checkpoints hold beside the policy's own weights.

use std::path::Path;

use artifacts::folder::NewFolder;
use artifacts::hash::Digest;
use corpus::Position;
use serde::{Deserialize, Serialize};

use crate::Error;
use crate::checkpoint::read_json;
use crate::network::StateFiles;
use crate::ppo::{KlController, Ppo, ValueModel};

/// How far the stage is, in each of its checkpoints.
const PROGRESS_FILE: &str = "ppo.json";
/// The version of its form.
const VERSION: u32 = 1;
/// The weights of a value model of its own.
const VALUES_FILE: &str = "values.safetensors";
/// The policy's weights as they learn, where averages of them are the policy.
const LEARNING_FILE: &str = "learning.safetensors";
/// The state of what learns, beside the policy's weights.
const POLICY_STATE: StateFiles = StateFiles {
    optimizer: "optimizer.safetensors",
    head: "value_head.safetensors",
    head_optimizer: "value_head_optimizer.safetensors",
};
/// That of a value model of its own.
const VALUE_STATE: StateFiles = StateFiles {
    optimizer: "values_optimizer.safetensors",
    head: "values_head.safetensors",
    head_optimizer: "values_head_optimizer.safetensors",
};

/// How far a stage is.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Progress {
    version: u32,
    /// All that decides what comes out.
    identity: Digest,
    pub(super) step: u64,
    steps: u64,
    kl: KlController,
    policy_updates: u64,
    value_updates: u64,
    pub(super) metrics_bytes: u64,
    /// Where the next rows of text are read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    position: Option<Position>,
}

impl Progress {
    /// How far a stage is whose weights are those of `ppo`.
    pub(super) fn of(ppo: &Ppo, identity: Digest, steps: u64, metrics_bytes: u64) -> Self {
        let value_updates = match &ppo.value_model {
            ValueModel::Own(network) => network.updates(),
            ValueModel::OnTrunk => 0,
        };
        Self {
            version: VERSION,
            identity,
            step: ppo.steps,
            steps,
            kl: ppo.kl,
            policy_updates: ppo.policy.updates(),
            value_updates,
            metrics_bytes,
            position: ppo.pretraining.as_ref().map(|text| text.position().clone()),
        }
    }

    /// Reads what a checkpoint says, and refuses that of another stage.
    pub(super) fn read(folder: &Path, identity: Digest) -> Result<Self, Error> {
        let progress: Self = read_json(&folder.join(PROGRESS_FILE))?;
        let problem = if progress.version != VERSION {
            format!("version {} is not known here", progress.version)
        } else if progress.identity != identity {
            "it was saved with another recipe, base, reward model or other prompts".to_owned()
        } else {
            return Ok(progress);
        };
        Err(Error::OtherCheckpoint { path: folder.to_owned(), problem })
    }

    /// Puts `ppo`, whose policy was read from the same checkpoint, where it was when that was saved.
    pub(super) fn restore(&self, ppo: &mut Ppo, folder: &Path) -> Result<(), Error> {
        (ppo.steps, ppo.kl) = (self.step, self.kl);
        if let (Some(text), Some(position)) = (&mut ppo.pretraining, &self.position) {
            text.loader.seek(position)?;
        }
        if ppo.policy.average.is_some() {
            ppo.policy.read_trunk(&folder.join(LEARNING_FILE))?;
        }
        ppo.policy.read_state(folder, &POLICY_STATE, self.policy_updates)?;
        let ValueModel::Own(network) = &mut ppo.value_model else { return Ok(()) };
        network.read_trunk(&folder.join(VALUES_FILE))?;
        network.read_state(folder, &VALUE_STATE, self.value_updates)
    }

    /// Writes all from which [`Progress::restore`] goes on.
    pub(super) fn write(&self, ppo: &mut Ppo, folder: &mut NewFolder<'_>) -> Result<(), Error> {
        ppo.policy.write_kept(folder, LEARNING_FILE)?;
        ppo.policy.write_state(folder, &POLICY_STATE)?;
        if let ValueModel::Own(network) = &ppo.value_model {
            network.write_trunk(folder, VALUES_FILE)?;
            network.write_state(folder, &VALUE_STATE)?;
        }
        let mut bytes = serde_json::to_vec_pretty(self).expect("numbers can be written");
        bytes.push(b'\n');
        folder.write_bytes(PROGRESS_FILE, &bytes)?;
        Ok(())
    }
}
