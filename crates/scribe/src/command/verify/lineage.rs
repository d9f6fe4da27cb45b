//! What of a run was made from what, by hashes, and what of that does not fit.

use std::path::{Path, PathBuf};

use artifacts::disk::RealDisk;
use artifacts::folder::{self, Manifest};
use artifacts::hash::Digest;
use comparisons::store::Snapshot;
use corpus::Corpus;
use engine::Device;
use serde::Serialize;
use tokenizer::Tokenizer;
use training::checkpoint::{Progress, digest_of_model};
use training::reward::{REPORT_FILE, RewardReport};
use training::run_folder::{
    COMPARISONS_FOLDER, PPO_FOLDER, REWARD_FOLDER, ROUNDS_MAX, STAGES, held_recipe,
};
use training::serving::Serving;

use crate::command::Failure;
use crate::terminal::Terminal;

/// Digits of a hash that are shown.
const SHOWN_DIGITS: usize = 12;

/// Something that was made, and from what.
#[derive(Debug, Serialize)]
pub(super) struct Artifact {
    /// Where it is, from the run's folder on.
    path: PathBuf,
    /// Of its manifest, or of the file.
    sha256: Digest,
    /// What it says it was made from.
    made_from: Vec<String>,
}

/// All of a run.
#[derive(Debug)]
pub(super) struct Lineage {
    pub(super) artifacts: Vec<Artifact>,
    /// What does not fit, in sentences.
    pub(super) problems: Vec<String>,
}

/// Looks at a run.
struct Looking<'a> {
    run: &'a Path,
    device: &'a Device,
    found: Lineage,
}

impl Lineage {
    /// Reads every byte of what the run holds.
    pub(super) fn of(run: &Path, device: &Device) -> Self {
        let found = Self { artifacts: Vec::new(), problems: Vec::new() };
        let mut looking = Looking { run, device, found };
        looking.text();
        for stage in STAGES {
            looking.stage(stage);
        }
        for round in 1..=ROUNDS_MAX {
            let name = format!("round-{round}");
            looking.comparisons(&name);
            looking.reward(round, &name);
            looking.ppo(round, &name);
        }
        looking.serving();
        looking.found
    }

    pub(super) fn tell(&self, terminal: &mut Terminal) -> Result<(), Failure> {
        let row = |artifact: &Artifact| {
            let path = artifact.path.display().to_string();
            vec![path, short(artifact.sha256), artifact.made_from.join(", ")]
        };
        let rows: Vec<_> = self.artifacts.iter().map(row).collect();
        terminal.table(&["MADE", "SHA-256", "FROM"], &rows)?;
        for problem in &self.problems {
            terminal.line(format_args!("does not fit: {problem}"))?;
        }
        Ok(())
    }
}

impl Looking<'_> {
    fn problem(&mut self, path: &Path, what: impl std::fmt::Display) {
        self.found.problems.push(format!("{}: {what}", path.display()));
    }

    fn add(&mut self, path: &Path, sha256: Digest, made_from: Vec<String>) {
        self.found.artifacts.push(Artifact { path: path.to_owned(), sha256, made_from });
    }

    /// Checks every byte of a folder, which is called by its path in the run.
    fn folder(&mut self, path: &Path, made_from: Vec<String>) -> Option<Manifest> {
        match folder::verify(&RealDisk, &self.run.join(path), |_| ()) {
            Ok(manifest) => {
                self.add(path, Digest::of(&manifest.to_json()), made_from);
                Some(manifest)
            }
            Err(error) => {
                self.problem(path, error);
                None
            }
        }
    }

    fn exists(&self, path: &Path) -> bool {
        self.run.join(path).exists()
    }

    fn text(&mut self) {
        let tokenizer = Path::new("1-tokenizer");
        if self.exists(tokenizer) {
            let recipe = held_recipe(self.run).map(|digest| format!("recipe {}", short(digest)));
            self.folder(tokenizer, recipe.into_iter().collect());
            self.corpus(Path::new("2-corpus"), tokenizer);
        }
        let fine_tuned = Path::new(STAGES[1]);
        let tokenizer = fine_tuned.join("tokenizer");
        if self.exists(&tokenizer) {
            self.folder(&tokenizer, Vec::new());
            self.corpus(&fine_tuned.join("corpus"), &tokenizer);
        }
    }

    /// A corpus, which says in which tokens it is.
    fn corpus(&mut self, path: &Path, tokenizer: &Path) {
        if !self.exists(path) {
            return;
        }
        self.folder(path, vec![tokenizer.display().to_string()]);
        let checked = Corpus::open(&self.run.join(path)).and_then(|corpus| {
            let tokenizer = Tokenizer::from_folder(&self.run.join(tokenizer));
            tokenizer.ok().map_or(Ok(()), |tokenizer| corpus.check_tokenizer(&tokenizer))
        });
        if let Err(error) = checked {
            self.problem(path, error);
        }
    }

    /// The folders of a stage's checkpoints, from the run's on.
    fn checkpoints(&self, stage: &Path) -> Vec<PathBuf> {
        let folder = stage.join("checkpoints");
        let Ok(entries) = std::fs::read_dir(self.run.join(&folder)) else { return Vec::new() };
        let names = entries.filter_map(|entry| Some(entry.ok()?.file_name()));
        let mut names: Vec<_> = names.filter(|name| is_step(&name.to_string_lossy())).collect();
        names.sort();
        names.iter().map(|name| folder.join(name)).collect()
    }

    /// Checkpoints that name the recipe that they follow.
    fn stage(&mut self, stage: &str) {
        let held_by = match stage == STAGES[0] {
            true => self.run.to_owned(),
            false => self.run.join(stage),
        };
        let held = held_recipe(&held_by);
        let tokenizer = match stage == STAGES[0] {
            true => PathBuf::from("1-tokenizer"),
            false => Path::new(stage).join("tokenizer"),
        };
        for path in self.checkpoints(Path::new(stage)) {
            let progress = match Progress::read(&self.run.join(&path)) {
                Ok(progress) => progress,
                Err(error) => {
                    self.problem(&path, error);
                    continue;
                }
            };
            let mut made_from = vec![format!("recipe {}", short(progress.recipe))];
            made_from.extend(progress.base.map(|base| format!("weights {}", short(base))));
            let manifest = self.folder(&path, made_from);
            if held.is_some_and(|held| held != progress.recipe) {
                self.problem(&path, "it follows another recipe than the run keeps");
            }
            self.same_tokenizer(&path, manifest, &tokenizer);
        }
    }

    /// Whether a model was made with the tokens of a folder.
    fn same_tokenizer(&mut self, path: &Path, manifest: Option<Manifest>, tokenizer: &Path) {
        let digest = |manifest: Manifest| Some(manifest.file("tokenizer.json")?.sha256);
        let expected = folder::open(&RealDisk, &self.run.join(tokenizer)).ok().and_then(digest);
        let found = manifest.and_then(digest);
        if let (Some(expected), Some(found)) = (expected, found)
            && expected != found
        {
            self.problem(path, format_args!("its tokens are not those of {}", tokenizer.display()));
        }
    }

    fn comparisons(&mut self, round: &str) {
        let path = Path::new(COMPARISONS_FOLDER).join(format!("{round}.jsonl"));
        if !self.exists(&path) {
            return;
        }
        let full = self.run.join(&path);
        match (Snapshot::open(RealDisk, &full), artifacts::hash::file(&full, |_| ())) {
            (Ok(snapshot), Ok((digest, _))) => {
                let answers = snapshot.answers().len();
                self.add(&path, digest, vec![format!("{answers} rankings")]);
            }
            (Err(error), _) => self.problem(&path, error),
            (_, Err(error)) => self.problem(&path, error),
        }
    }

    /// Reward models, which name the weights that they began as; their comparisons name them.
    fn reward(&mut self, round: usize, name: &str) {
        let folder = Path::new(REWARD_FOLDER).join(name);
        let report = folder.join(REPORT_FILE);
        if !self.exists(&report) {
            return;
        }
        let read = artifacts::read_text(&self.run.join(&report)).map_err(|e| e.to_string());
        let read = read.and_then(|text| {
            serde_json::from_str::<RewardReport>(&text).map_err(|error| error.to_string())
        });
        let stage = match read {
            Ok(stage) => stage,
            Err(error) => return self.problem(&report, error),
        };
        let used = self.rows_of(round, stage.identity, &folder);
        let made_from = vec![format!("weights {}", short(stage.base)), format!("{used} rankings")];
        for (number, model) in (1..).zip(&stage.models) {
            let path = folder.join(format!("model-{number}"));
            let manifest = self.folder(&path, made_from.clone());
            self.same_tokenizer(&path, manifest, &Path::new(STAGES[1]).join("tokenizer"));
            if model.identity != stage.identity {
                self.problem(&path, "it is of another stage than its report says");
            }
        }
        if used == 0 {
            self.problem(&folder, "no comparison says that it was made from it");
        }
        self.begins_as(&folder, stage.base);
    }

    /// How many comparisons say that an artifact was made from them; a problem where they were deleted.
    fn rows_of(&mut self, round: usize, artifact: Digest, folder: &Path) -> usize {
        let mut used = 0;
        for round in 1..=round {
            let path = training::run_folder::comparisons_of_round(self.run, round);
            let Ok(snapshot) = Snapshot::open(RealDisk, &path) else { continue };
            let [rows, deleted] = snapshot.uses().get(&artifact).copied().unwrap_or_default();
            used += rows;
            if deleted > 0 {
                let what = format!("{deleted} of its comparisons of round {round} are deleted now");
                self.problem(folder, what);
            }
        }
        used
    }

    /// Whether the model that the run taught has these weights.
    fn begins_as(&mut self, path: &Path, base: Digest) {
        let merged = Path::new(STAGES[1]).join("merged");
        let taught = match self.exists(&merged) {
            true => Some(merged),
            false => self.checkpoints(Path::new(STAGES[1])).pop(),
        };
        let Some(taught) = taught else { return };
        match digest_of_model(self.device, &self.run.join(&taught)) {
            Ok(found) if found == base => (),
            Ok(_) => self.problem(path, format_args!("it did not begin as {}", taught.display())),
            Err(error) => self.problem(&taught, error),
        }
    }

    /// What learned by PPO, with the model that it began as and its reward models.
    fn ppo(&mut self, round: usize, name: &str) {
        let folder = Path::new(PPO_FOLDER).join(name);
        let checkpoints = self.checkpoints(&folder);
        if checkpoints.is_empty() {
            return;
        }
        let serving = Serving::read(self.run).unwrap_or_default();
        let begin = serving.before(round).map(|promoted| promoted.checkpoint.clone());
        let begin = begin.or_else(|| self.checkpoints(Path::new(STAGES[1])).pop());
        let rewards = Path::new(REWARD_FOLDER).join(name);
        let mut made_from: Vec<String> =
            begin.iter().map(|path| path.display().to_string()).collect();
        made_from.push(rewards.display().to_string());
        if !self.exists(&rewards.join(REPORT_FILE)) {
            self.problem(&folder, format_args!("{} is not there", rewards.display()));
        }
        for path in checkpoints {
            let manifest = self.folder(&path, made_from.clone());
            self.same_tokenizer(&path, manifest, &Path::new(STAGES[1]).join("tokenizer"));
        }
    }

    /// What is served, and that the gate said so.
    fn serving(&mut self) {
        let file = training::serving::file(self.run);
        let path = file.strip_prefix(self.run).unwrap_or(&file).to_owned();
        if !file.exists() {
            return;
        }
        let serving = match (Serving::read(self.run), artifacts::hash::file(&file, |_| ())) {
            (Ok(serving), Ok((digest, _))) => {
                let served = serving.current().map(|now| now.checkpoint.display().to_string());
                self.add(&path, digest, served.into_iter().collect());
                serving
            }
            (Err(error), _) => return self.problem(&path, error),
            (_, Err(error)) => return self.problem(&path, error),
        };
        let Some(promoted) = serving.current() else { return };
        if !self.exists(&promoted.checkpoint) {
            let gone = format!("{} is not there", promoted.checkpoint.display());
            self.problem(&path, gone);
        }
        let gate = training::run_folder::ppo_of_round(self.run, promoted.round).join("gate.json");
        let said = artifacts::read_text(&gate).ok();
        let said: Option<serde_json::Value> =
            said.and_then(|text| serde_json::from_str(&text).ok());
        let is_let_through = said.is_some_and(|gate| {
            gate["judgment"]["decision"] == "promote"
                && gate["checkpoint"].as_str().map(Path::new) == Some(&promoted.checkpoint)
        });
        if !is_let_through {
            let what = format!("the gate of round {} did not let it through", promoted.round);
            self.problem(&path, what);
        }
    }
}

/// Whether a checkpoint is called so, one that is whole.
fn is_step(name: &str) -> bool {
    name.strip_prefix("step-").is_some_and(|digits| digits.bytes().all(|b| b.is_ascii_digit()))
}

fn short(digest: Digest) -> String {
    let mut text = digest.to_string();
    text.truncate(SHOWN_DIGITS);
    text
}
