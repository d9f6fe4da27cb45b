//! Reward models beside what can be known of rankings whose noise is known: what `cargo xtask
//! preferences` runs.
//!
//! Completions are random tokens, some of which are liked by so much each; rankings are drawn as
//! Bradley and Terry have it. `kwise SEEDS` lets a tiny model learn rankings of 4 to 9 completions at
//! once, and from the same seed on the same pairs shuffled singly, as after an import of pairs, and
//! fails where rankings at once agree less often with held-out ones. `planted SEEDS` compares with the
//! limit of Bayes: how often the better side by the true scores is the one preferred.
#![expect(clippy::print_stdout, reason = "it prints what it measured")]

use std::num::NonZeroUsize;

use engine::ops::matmul::Precision;
use engine::random::Philox;
use engine::{Device, DeviceOptions};
use model::config::{Config, Shape};
use model::trainable::Trainable;
use training::recipe::RewardRecipe;
use training::reward::{PerPrompt, RankedCompletions, RewardModel, RewardTraining, sigmoid};

type Outcome<T> = Result<T, Box<dyn std::error::Error>>;

/// Tokens that are drawn, from 2 on.
const WORDS: u32 = 30;
/// Tokens below this are liked, by what [`worth`] says.
const LIKED: u32 = 10;
/// Scores this far apart are told apart in 73 % of all cases.
const NOISE: f64 = 0.5;
/// Rankings that a model learns from, and that are held out.
const TRAIN: u64 = 400;
const HELD_OUT: u64 = 400;
/// The share of the limit that is asked for.
const OF_LIMIT: f64 = 0.95;
/// Seeds of the rankings that were used to choose options: reported ones begin here.
const FIRST_SEED: u64 = 100;

/// How rankings are learned from.
#[derive(Debug, Clone, Copy)]
struct Learning {
    /// Rankings of an update, each with all its completions, or pairs.
    comparisons: usize,
    epochs: u32,
    rate: f64,
}

/// Rankings at once, the best of seven settings on two other seeds. Two epochs are a third of the passes
/// through the model that one of their pairs takes, of which each completion is in three to eight.
const AT_ONCE: Learning = Learning { comparisons: 1, epochs: 2, rate: 3e-3 };
/// Pairs that came singly, the best of seven settings on the same seeds.
const SINGLY: Learning = Learning { comparisons: 37, epochs: 1, rate: 5e-3 };
/// Few completions, all of them at once.
const PLANTED: Learning = Learning { comparisons: 8, epochs: 1, rate: 5e-3 };

fn main() -> Outcome<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match *arguments.as_slice() {
        ["kwise", seeds] => kwise(FIRST_SEED, seeds.parse()?, [AT_ONCE, SINGLY]),
        ["kwise", seeds, first, rankings, epochs, rate, rate_singly] => {
            let (comparisons, epochs) = (rankings.parse()?, epochs.parse()?);
            let at_once = Learning { comparisons, epochs, rate: rate.parse()? };
            let singly = Learning { rate: rate_singly.parse()?, ..SINGLY };
            kwise(first.parse()?, seeds.parse()?, [at_once, singly])
        }
        ["planted", seeds] => planted(FIRST_SEED, seeds.parse()?),
        ["planted", seeds, first] => planted(first.parse()?, seeds.parse()?),
        _ => Err("usage: reward_synthetic kwise SEEDS [FIRST RANKINGS EPOCHS RATE RATE_SINGLY] | \
                  planted SEEDS [FIRST]"
            .into()),
    }
}

/// What a token adds to the score of a completion.
fn worth(token: u32) -> f64 {
    match token {
        0..LIKED => (f64::from(token) - 5.5) / 4.0,
        _ => 0.0,
    }
}

fn true_score(completion: &[u32]) -> f64 {
    completion.iter().map(|&token| worth(token)).sum()
}

/// A number strictly between 0 and 1.
fn unit(draws: &Philox, at: [u64; 2]) -> f64 {
    (f64::from(draws.block(at)[0]) + 0.5) / (f64::from(u32::MAX) + 1.0)
}

/// Rankings of `least` to `most` completions, with the doubts of a person.
fn rankings(
    seed: u64,
    first: u64,
    number: u64,
    (least, most): (u64, u64),
) -> Vec<RankedCompletions> {
    let (tokens, doubts) = (Philox::new(seed), Philox::new(seed ^ (1 << 40)));
    let token = |index: u64, t: u64| tokens.block([index, t])[0] % WORDS + 2;
    let ranking = |index: u64| {
        let prompt = (0..4).map(|t| token(index, t)).collect();
        let completions = least + u64::from(tokens.block([index, 1 << 20])[0]) % (most - least + 1);
        let completion = |k: u64| -> Vec<u32> {
            let length = 6 + u64::from(tokens.block([index, (2 << 20) + k])[0] % 5);
            (0..length).map(|t| token(index, 100 * (k + 1) + t)).collect()
        };
        let completions: Vec<Vec<u32>> = (0..completions).map(completion).collect();
        // The best by scores with the noise of Gumbel is first: Yellott 1977.
        let felt = |(k, completion): (u64, &Vec<u32>)| {
            let gumbel = -engine::log(-engine::log(unit(&doubts, [index, k])));
            true_score(completion) / NOISE + gumbel
        };
        let felt: Vec<f64> = (0..).zip(&completions).map(felt).collect();
        let above = |own: &f64| felt.iter().filter(|other| *other > own).count();
        let ranks = felt.iter().map(|own| u32::try_from(above(own)).unwrap_or(u32::MAX)).collect();
        RankedCompletions { prompt, completions, ranks }
    };
    (first..first + number).map(ranking).collect()
}

/// Each pair of each ranking as a comparison of its own.
fn pairs_of(rankings: &[RankedCompletions]) -> Vec<RankedCompletions> {
    let mut pairs = Vec::new();
    for RankedCompletions { prompt, completions, ranks } in rankings {
        for left in 0..ranks.len() {
            for right in left + 1..ranks.len() {
                let both = [left, right];
                pairs.push(RankedCompletions {
                    prompt: prompt.clone(),
                    completions: both.map(|k| completions[k].clone()).to_vec(),
                    ranks: both.map(|k| ranks[k]).to_vec(),
                });
            }
        }
    }
    pairs
}

fn trunk(device: &Device, seed: u64) -> Outcome<Trainable> {
    let shape = Shape {
        vocab: 32,
        width: 32,
        layers: 2,
        heads: 4,
        kv_heads: 2,
        head_size: 8,
        ffn_width: 64,
        context_tokens: 32,
        rope_base: 10_000.0,
        norm_epsilon: 1e-5,
        tied_head: false,
    };
    Ok(Trainable::new(device, &Config::new(&shape)?, Precision::F32, seed)?)
}

/// Scores of the held-out rankings by a model that learned from the others.
fn learned(
    train: &[RankedCompletions],
    learning: Learning,
    held_out: &[RankedCompletions],
    seed: u64,
) -> Outcome<Vec<Vec<f64>>> {
    let threads = NonZeroUsize::new(2);
    let device = Device::cpu(&DeviceOptions { threads, kernels: None })?;
    let recipe = RewardRecipe::default();
    let mut model = RewardModel::new(trunk(&device, seed)?, seed, recipe.optimizer_options());
    let training = RewardTraining {
        epochs: learning.epochs,
        comparisons: learning.comparisons,
        learning_rate: learning.rate,
        clip: 1.0,
        centering: 0.0,
        seed,
    };
    training.run(&mut model, train, &mut |_, _| ());
    Ok(held_out.iter().map(|one| model.raw_scores(one.sequences())).collect())
}

fn accuracy(held_out: &[RankedCompletions], scores: &[Vec<f64>]) -> f64 {
    PerPrompt::of(held_out, scores).agreement().map_or(0.5, |agreement| agreement.accuracy)
}

fn kwise(first: u64, seeds: u64, [at_once, singly]: [Learning; 2]) -> Outcome<()> {
    println!("rankings: {at_once:?}; pairs: {singly:?}");
    let (mut all, mut leads) = ([Vec::new(), Vec::new()], Vec::new());
    for seed in first..first + seeds {
        let train = rankings(seed, 0, TRAIN, (4, 9));
        let held_out = rankings(seed, 1 << 32, HELD_OUT, (4, 9));
        let pairs = pairs_of(&train);
        let passes = |of: &[RankedCompletions], learning: Learning| {
            let completions: usize = of.iter().map(|one| one.completions.len()).sum();
            completions * learning.epochs as usize
        };
        let [own, other] = [(&train, at_once), (&pairs, singly)].map(|(train, learning)| {
            let scores = learned(train, learning, &held_out, seed)?;
            Ok::<_, Box<dyn std::error::Error>>(accuracy(&held_out, &scores))
        });
        let (own, other) = (own?, other?);
        println!(
            "seed {seed}: rankings at once {own:.4} in {} passes, their pairs singly {other:.4} in {}",
            passes(&train, at_once),
            passes(&pairs, singly)
        );
        all[0].push(own);
        all[1].push(other);
        leads.push(own - other);
    }
    let at_least = leads.iter().filter(|lead| **lead >= 0.0).count();
    let [own, other] = all.map(|one| mean(&one));
    let lead = mean(&leads);
    println!("means {own:.4} and {other:.4}, lead {lead:.4}, at least equal in {at_least} seeds");
    match lead >= 0.0 {
        true => Ok(()),
        false => Err("pairs shuffled singly agree more often".into()),
    }
}

fn planted(first: u64, seeds: u64) -> Outcome<()> {
    let mut shares = Vec::new();
    for seed in first..first + seeds {
        let train = rankings(seed, 0, 4 * TRAIN, (2, 4));
        let held_out = rankings(seed, 1 << 32, HELD_OUT, (2, 4));
        let scores = learned(&train, PLANTED, &held_out, seed)?;
        let found = accuracy(&held_out, &scores);
        let (limit, expected) = limit(&held_out, &scores);
        println!(
            "seed {seed}: agrees with {found:.4} of the pairs; expected {expected:.4}, at most {limit:.4}: \
             {:.4} of the limit",
            expected / limit
        );
        shares.push(expected / limit);
    }
    let least = shares.iter().copied().fold(f64::INFINITY, f64::min);
    println!("share of the limit: mean {:.4}, least {least:.4}", mean(&shares));
    match mean(&shares) >= OF_LIMIT {
        true => Ok(()),
        false => Err(format!("less than {OF_LIMIT} of the limit").into()),
    }
}

/// The mean over pairs of the probability that a labeler prefers the truly better side, and of that
/// that one prefers the side with the higher score.
fn limit(held_out: &[RankedCompletions], scores: &[Vec<f64>]) -> (f64, f64) {
    let (mut limits, mut expected) = (Vec::new(), Vec::new());
    for (ranking, scores) in held_out.iter().zip(scores) {
        let truth: Vec<f64> = ranking.completions.iter().map(|c| true_score(c)).collect();
        for left in 0..truth.len() {
            for right in left + 1..truth.len() {
                let left_wins = sigmoid((truth[left] - truth[right]) / NOISE);
                limits.push(left_wins.max(1.0 - left_wins));
                let says_left = scores[left] > scores[right];
                expected.push(if says_left { left_wins } else { 1.0 - left_wins });
            }
        }
    }
    (mean(&limits), mean(&expected))
}

#[expect(clippy::cast_precision_loss, reason = "a few numbers")]
fn mean(of: &[f64]) -> f64 {
    of.iter().sum::<f64>() / of.len() as f64
}
