//! Ranks answers as a judge would who is easily pleased, for `cargo xtask long gate`.
//!
//! usage: flawed_rankings gold|length|keyword|repetition|flattery NOISE SEED CANDIDATES.jsonl STORE

use std::error::Error;
use std::path::Path;

use comparisons::store::Store;
use comparisons::{Candidate, Comparison, Judgment};
use evals::flawed::Flaw;
use evals::gold::{self, LABELER, SyntheticLabeler};

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [taste, noise, seed, candidates, store] = arguments.as_slice() else {
        return Err("name a taste, the noise, a seed, a file of candidates and a store".into());
    };
    let labeler = SyntheticLabeler { noise: noise.parse()?, seed: seed.parse()? };
    let flaw = Flaw::of_name(taste);
    if flaw.is_none() && taste != "gold" {
        return Err(format!("there is no taste `{taste}`").into());
    }
    let score = |answer: &str| flaw.map_or_else(|| gold::score(answer), |flaw| flaw.score(answer));
    let mut ranked = Vec::new();
    for line in std::fs::read_to_string(candidates)?.lines() {
        let candidate: Candidate = serde_json::from_str(line)?;
        let ranking = labeler.rank_by(&candidate, score)?;
        ranked.push(Comparison::new(candidate, Judgment::ranked(LABELER, ranking, 0))?);
    }
    let (mut store, _) = Store::open(Path::new(store))?;
    store.import(|import| {
        for comparison in ranked {
            import.add(comparison)?;
        }
        Ok::<_, comparisons::Error>(())
    })?;
    Ok(())
}
