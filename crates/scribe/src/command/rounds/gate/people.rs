//! The gate where people judge: the pairs wait in a file of the run until those that were compared say
//! enough.
//!
//! Nobody who compares them can tell whose an answer is: which of two comes first is drawn in the file,
//! and again for each labeler. A pair counts once, as its labeler sees it now, in the order in which
//! pairs were first compared; what is tied or skipped is a tie. The test may be looked at after any pair,
//! so that the round goes on as soon as enough is shown.

use std::collections::BTreeMap;
use std::path::Path;

use artifacts::disk::RealDisk;
use artifacts::folder;
use artifacts::hash::Digest;
use comparisons::store::Snapshot;
use comparisons::{Candidate, CandidateId, Completion, Origin, Ranking, Refusal, Sampling};
use engine::random::Series;
use serde::{Deserialize, Serialize};
use training::gate::{Blinded, EProcess, TestOptions, Verdict, lengths_match};
use training::recipe::RoundsRecipe;

use super::super::label::{digest_of, write};
use super::super::pairs::{PART, Pair, preferred};
use super::super::{Exit, Failure, Session, Table};
use super::{Answers, Gate};
use crate::labeling::Task;

/// What people do not see of the pairs, in the folder of a round.
const FILE: &str = "pairs.json";

/// Pairs that were drawn, without their texts.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Drawn {
    /// What all answers of the old and of the new model come to.
    answers: [Answers; 2],
    /// Tokens of pairs whose two answers are the same text: nobody is asked, and each is a tie.
    equal: Vec<[usize; 2]>,
    /// Those that people compare.
    asked: BTreeMap<CandidateId, Asked>,
}

/// A pair that people compare.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Asked {
    /// Which of the two completions is the new model's.
    new: usize,
    /// How many tokens the old and the new answer have.
    tokens: [usize; 2],
}

/// By what each model is known, and how both were sampled.
struct Origins {
    models: [Digest; 2],
    sampling: Sampling,
}

impl Table<'_> {
    /// What people's comparisons say so far; ends where more are needed.
    pub(super) fn ask_people(
        &self,
        session: &mut Session,
        models: (&Path, &Path),
        recipe: &RoundsRecipe,
        gate: &mut Gate,
        command: &str,
    ) -> Result<Verdict, Failure> {
        let path = self.ground.run.ppo(gate.round).join(FILE);
        let drawn = match path.exists() {
            true => serde_json::from_str(&artifacts::read_text(&path)?)?,
            false => self.draw(session, models, recipe, gate.round)?,
        };
        let pairs = u32::try_from(drawn.equal.len() + drawn.asked.len()).unwrap_or(u32::MAX);
        let mut process = EProcess::new(TestOptions { alpha: recipe.gate_alpha, pairs });
        let task = Task::pairs(gate.round);
        for (tokens, outcome) in drawn.outcomes(&task.store(self.ground.run.path()))? {
            if process.verdict() == Verdict::Undecided {
                gate.pairs.count(outcome);
                if lengths_match(tokens) {
                    gate.length_matched.count(outcome);
                }
                let _ = process.observe(outcome);
            }
        }
        if process.verdict() == Verdict::Undecided {
            let run = self.ground.run.path().display();
            session.terminal.note(format_args!(
                "{} of at most {pairs} pairs compared; open /label with: scribe serve --run {run}\n\
                 or compare the others with: scribe compare rank --gate --round {} --run {run} --as \
                 NAME\nthen go on with: {command}",
                process.pairs(),
                gate.round
            ));
            return Err(Failure::silent(Exit::Interrupted));
        }
        gate.e_value = process.e_value();
        [gate.old, gate.new] = drawn.answers.map(Answers::measured);
        Ok(process.verdict())
    }

    /// Lets both models answer, and leaves the pairs in the run. The same draws give the same files, so
    /// that what ends on the way is done again.
    fn draw(
        &self,
        session: &mut Session,
        (old, new): (&Path, &Path),
        recipe: &RoundsRecipe,
        round: usize,
    ) -> Result<Drawn, Failure> {
        let pairs = self.pairs(session, (old, new))?;
        let temperature = self.ground.recipe.ppo()?.temperature;
        let origins = Origins {
            models: [digest_of(old)?, digest_of(new)?],
            sampling: Sampling { temperature, top_k: None, top_p: 1.0 },
        };
        let seed = self.ground.recipe.seed().wrapping_add(round as u64);
        let wanted = usize::try_from(recipe.gate_pairs).unwrap_or(usize::MAX);
        let (mut drawn, mut candidates, mut number) = (Drawn::default(), Vec::new(), 0);
        for part in 0..wanted.div_ceil(PART) as u64 {
            for pair in self.answered(&pairs, seed, part)?.iter().take(wanted - number) {
                candidates.extend(drawn.add(pair, &origins, (seed, number as u64))?);
                number += 1;
            }
        }
        let run = self.ground.run.path();
        write(&Task::pairs(round).candidates(run), &candidates)?;
        let mut bytes = serde_json::to_vec_pretty(&drawn)?;
        bytes.push(b'\n');
        folder::land_bytes(&RealDisk, &self.ground.run.ppo(round).join(FILE), &bytes)?;
        Ok(drawn)
    }
}

impl Drawn {
    /// Adds a pair; gives what people are asked, if they are. A pair that is there already tells
    /// nothing new.
    fn add(
        &mut self,
        pair: &Pair,
        origins: &Origins,
        (seed, number): (u64, u64),
    ) -> Result<Option<Candidate>, Failure> {
        self.answers[0].add(&pair.old);
        self.answers[1].add(&pair.new);
        let [old, new] = [(&pair.old, 0), (&pair.new, 1)].map(|(answer, which)| {
            let model = origins.models[which];
            let origin = Origin::Sampled { model, sampling: origins.sampling, seed };
            Completion::new(answer.text.clone(), origin)
        });
        let order = Series { seed, step: u64::MAX, epoch: u32::MAX };
        let place = usize::from(order.below(2, number) == 1);
        let completions = if place == 0 { vec![new, old] } else { vec![old, new] };
        match Candidate::new(pair.prompt.clone(), completions) {
            Ok(candidate) => {
                let asked = Asked { new: place, tokens: pair.tokens() };
                let is_new = self.asked.insert(candidate.id(), asked).is_none();
                Ok(is_new.then_some(candidate))
            }
            Err(Refusal::EqualCompletions { .. }) => {
                self.equal.push(pair.tokens());
                Ok(None)
            }
            Err(refusal) => Err(refusal.into()),
        }
    }

    /// What became of each pair that is known, with the tokens of its answers: first those that nobody
    /// is asked, then those that were compared, each once, in the order of the comparisons.
    fn outcomes(&self, store: &Path) -> Result<Vec<([usize; 2], Blinded)>, Failure> {
        let mut outcomes: Vec<_> =
            self.equal.iter().map(|tokens| (*tokens, Blinded::Tie)).collect();
        if !store.exists() {
            return Ok(outcomes);
        }
        let mut seen = std::collections::BTreeSet::new();
        Snapshot::open(RealDisk, store)?.for_each(|_, comparison| {
            let id = comparison.candidate().id();
            if let Some(asked) = self.asked.get(&id)
                && seen.insert(id)
            {
                let ranking = comparison.judgment().ranking.as_ref();
                outcomes.push((asked.tokens, outcome(ranking, asked.new)));
            }
            Ok::<(), Failure>(())
        })?;
        Ok(outcomes)
    }
}

/// What became of the new answer of two; who skips prefers neither.
fn outcome(ranking: Option<&Ranking>, new: usize) -> Blinded {
    let places = ranking.map(|ranking| [ranking.place(1 - new), ranking.place(new)]);
    // The first place is the best.
    places.map_or(Blinded::Tie, |[old, new]| preferred(old.cmp(&new)))
}

#[cfg(test)]
mod tests {
    use comparisons::store::Store;
    use comparisons::{Comparison, Judgment, Prompt};

    use super::super::super::pairs::Answer;
    use super::*;

    fn pair(number: usize, texts: [&str; 2]) -> Pair {
        let [old, new] = texts.map(|text| Answer { text: text.to_owned(), tokens: text.len() });
        Pair { prompt: Prompt::Text(number.to_string()), old, new }
    }

    fn drawn(pairs: &[Pair]) -> (Drawn, Vec<Candidate>) {
        let models = [Digest::of(b"old"), Digest::of(b"new")];
        let sampling = Sampling { temperature: 1.0, top_k: None, top_p: 1.0 };
        let origins = Origins { models, sampling };
        let mut drawn = Drawn::default();
        let add = |(number, pair): (u64, &Pair)| drawn.add(pair, &origins, (7, number)).unwrap();
        let candidates = (0..).zip(pairs).filter_map(add).collect();
        (drawn, candidates)
    }

    #[test]
    fn which_answer_comes_first_tells_nothing_and_is_known() {
        let pairs: Vec<Pair> = (0..400).map(|number| pair(number, ["old", "new"])).collect();
        let (drawn, candidates) = drawn(&pairs);
        let first = drawn.asked.values().filter(|asked| asked.new == 0).count();
        // Five standard deviations around a half of 400.
        assert!((150..=250).contains(&first), "{first} of 400 are first");
        for candidate in candidates {
            let asked = &drawn.asked[&candidate.id()];
            assert_eq!(candidate.completions()[asked.new].text, "new");
        }
    }

    #[test]
    fn judged_pairs_count_once_in_their_order_and_equal_ones_are_ties() {
        let (drawn, candidates) = drawn(&[
            pair(0, ["a", "bb"]),
            pair(1, ["a", "a"]),
            pair(2, ["a", "b"]),
            pair(3, ["a", "b"]),
        ]);
        assert_eq!((candidates.len(), drawn.equal.len()), (3, 1));
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("pairs.jsonl");
        assert_eq!(drawn.outcomes(&path).unwrap().len(), 1, "nobody was asked");
        let judged = |number: usize, labeler: &str, new_wins: Option<bool>, time_ms: u64| {
            let candidate = candidates[number].clone();
            let new = drawn.asked[&candidate.id()].new;
            let best = |wins: bool| Ranking::best_of(2, if wins { new } else { 1 - new }).unwrap();
            let ranking = new_wins.map(best);
            let judgment = Judgment { ranking, ..Judgment::skipped(labeler, time_ms) };
            Comparison::new(candidate, judgment).unwrap()
        };
        let (mut store, _) = Store::open(&path).unwrap();
        store.append(judged(2, "ada", Some(true), 1)).unwrap();
        let first = store.append(judged(0, "bob", Some(true), 2)).unwrap();
        store.append(judged(2, "bob", Some(false), 3)).unwrap();
        store.append(judged(1, "bob", None, 4)).unwrap();
        store.revise(first, judged(0, "bob", Some(false), 5)).unwrap();
        let expected = [
            ([1, 1], Blinded::Tie),
            ([1, 1], Blinded::Win),
            ([1, 1], Blinded::Tie),
            ([1, 2], Blinded::Loss),
        ];
        assert_eq!(drawn.outcomes(&path).unwrap(), expected);
        let text = serde_json::to_string(&drawn).unwrap();
        let back: Drawn = serde_json::from_str(&text).unwrap();
        assert_eq!(back.outcomes(&path).unwrap(), expected);
    }
}
