//! The first part of a round: answers, and who ranks them.

use std::path::Path;

use artifacts::disk::RealDisk;
use artifacts::folder;
use artifacts::hash::Digest;
use comparisons::store::Store;
use comparisons::{Candidate, Comparison, Judgment};
use engine::random::Series;
use evals::gold::{LABELER, SyntheticLabeler};
use training::candidates::{Asked, Sampled};
use training::recipe::{LabelerKind, RoundsRecipe};

use super::super::people::make_folder;
use super::super::progress::Progress;
use super::super::{Exit, Failure, Session};
use super::Table;

impl Table<'_> {
    /// Sees to it that the answers of a round are ranked.
    pub(super) fn label(
        &self,
        session: &mut Session,
        round: usize,
        served: &Path,
        command: &str,
    ) -> Result<(), Failure> {
        let recipe = self.ground.recipe.rounds()?.clone();
        let file = self.ground.run.comparisons(round).with_extension("candidates.jsonl");
        let candidates = match file.exists() {
            true => read(&file)?,
            false => self.ask(session, round, served, &file)?,
        };
        self.check_interrupt(session, command)?;
        let (mut store, _) = Store::open(&self.ground.run.comparisons(round))?;
        match recipe.labeler {
            LabelerKind::Synthetic => rank(session, &mut store, &candidates, self.labeler(&recipe)),
            LabelerKind::People => self.wait(session, (&store, &file), candidates.len(), command),
        }
    }

    /// The simulated labeler of the recipe.
    pub(super) fn labeler(&self, recipe: &RoundsRecipe) -> SyntheticLabeler {
        SyntheticLabeler { noise: recipe.noise, seed: self.ground.recipe.seed() }
    }

    /// Lets the model that is served answer some prompts several times, and keeps the answers.
    fn ask(
        &self,
        session: &mut Session,
        round: usize,
        served: &Path,
        file: &Path,
    ) -> Result<Vec<Candidate>, Failure> {
        let recipe = self.ground.recipe.rounds()?;
        let all = self.ground.prompts(session)?.train;
        let seed = self.ground.recipe.seed();
        let order = Series { seed, step: round as u64, epoch: u32::MAX }.permutation(all.len());
        let prompts: Vec<_> =
            order.into_iter().take(recipe.prompts).map(|place| all[place].clone()).collect();
        let model = self.load(session, served)?;
        let ppo = self.ground.recipe.ppo()?;
        let asked = Asked {
            model,
            digest: digest_of(served)?,
            encoding: self.ground.encoding(ppo),
            rollouts: self.ground.rollouts(ppo),
            answers: recipe.answers,
            seed: seed.wrapping_add((round as u64) << 40),
        };
        session.terminal.note(format_args!(
            "asking {} prompts, {} answers each",
            prompts.len(),
            recipe.answers
        ));
        let Sampled { candidates, without_choice, left_out } = asked.sample(&prompts)?;
        if without_choice + left_out > 0 {
            session.terminal.note(format_args!(
                "{without_choice} prompts got one answer again and again, {left_out} leave no room \
                 for an answer"
            ));
        }
        write(file, &candidates)?;
        Ok(candidates)
    }

    /// Ends where people have not ranked all yet.
    fn wait(
        &self,
        session: &mut Session,
        (store, file): (&Store, &Path),
        candidates: usize,
        command: &str,
    ) -> Result<(), Failure> {
        let ranked = store.count();
        if ranked >= candidates {
            return Ok(());
        }
        let run = self.ground.run.path().display();
        session.terminal.note(format_args!(
            "{ranked} of {candidates} comparisons; rank the others with: scribe compare rank --run \
             {run} --as NAME {}\nthen go on with: {command}",
            file.display()
        ));
        Err(Failure::silent(Exit::Interrupted))
    }
}

/// Lets the simulated labeler rank what is not ranked yet.
fn rank(
    session: &mut Session,
    store: &mut Store,
    candidates: &[Candidate],
    labeler: SyntheticLabeler,
) -> Result<(), Failure> {
    let mut progress = Progress::new(&mut session.terminal);
    progress.begin_things("ranking", "comparisons", 0, candidates.len() as u64);
    let comparisons = candidates.iter().map(|candidate| {
        let judgment = Judgment::ranked(LABELER, labeler.rank(candidate)?, 0);
        Comparison::new(candidate.clone(), judgment)
    });
    let comparisons = comparisons.collect::<Result<Vec<_>, _>>()?;
    store.import(|import| {
        for comparison in comparisons {
            import.add(comparison)?;
        }
        Ok::<_, comparisons::Error>(())
    })?;
    progress.end();
    Ok(())
}

/// The hash of a checkpoint: that of its manifest, which has those of its files.
pub(super) fn digest_of(checkpoint: &Path) -> Result<Digest, Failure> {
    Ok(Digest::of(&std::fs::read(checkpoint.join(folder::MANIFEST_FILE))?))
}

fn write(file: &Path, candidates: &[Candidate]) -> Result<(), Failure> {
    make_folder(file.parent().unwrap_or(Path::new("")))?;
    let mut bytes = Vec::new();
    for candidate in candidates {
        serde_json::to_writer(&mut bytes, candidate)?;
        bytes.push(b'\n');
    }
    Ok(folder::land_bytes(&RealDisk, file, &bytes)?)
}

fn read(file: &Path) -> Result<Vec<Candidate>, Failure> {
    let text = artifacts::read_text(file)?;
    let lines = text.lines().map(serde_json::from_str);
    Ok(lines.collect::<Result<_, _>>()?)
}
