//! Each invariant names the fault that is planted for it, and healthy steps have none.

use std::collections::BTreeSet;

use engine::ops::matmul::Precision;
use model::StopReason;
use tokenizer::{ChatFormat, Conversation, Message, RenderEnd, Role, Tokenizer};

use super::thorough::{Recomputed, alone, frequencies, same_gradient};
use super::*;
use crate::PerToken;
use crate::per_token::count;
use crate::ppo::rollouts::{self, RolloutOptions, Rollouts};
use crate::ppo::step::packed;
use crate::ppo::testing::{Liking, PLAIN, STOP, Setup, ppo, prompts};
use crate::ppo::{
    BeyondCut, KlController, Mean, NoEnd, Ppo, PpoMetrics, Reference, Rollout, Scorer, whiten,
};
use crate::tiny::trunk;

/// A policy that has moved for some steps, with prices for all that may have one.
fn moved(whiten_rewards: bool, beyond: BeyondCut) -> (Ppo, Experience) {
    let mut ppo = ppo(PLAIN);
    ppo.options.no_end = NoEnd::Subtract(1.0);
    (ppo.options.whiten_rewards, ppo.options.beyond) = (whiten_rewards, beyond);
    for _ in 0..3 {
        ppo.step(&prompts(), &mut Liking, 3e-3).unwrap();
    }
    let experience = ppo.experience(&prompts(), &mut Liking).unwrap();
    (ppo, experience)
}

fn name_of(found: Result<(), Error>) -> String {
    match found {
        Err(Error::Fault { finding }) => finding.name.into_owned(),
        other => panic!("{other:?} is no finding"),
    }
}

/// The place of a completion that ended, or was cut, after at least three tokens.
fn place(experience: &Experience, stop_reason: StopReason) -> usize {
    let is_one =
        |rollout: &Rollout| rollout.stop_reason == stop_reason && rollout.completion.len() >= 3;
    experience.rollouts.iter().position(is_one).unwrap()
}

/// Spoils arrays of a step.
type Plant = fn(&mut Experience);

/// Faults of a step's arrays.
const PLANTED: [(&str, Plant); 16] = [
    ("not-a-number", |e| e.values.row_mut(3)[0] = f64::NAN),
    ("not-a-number", |e| e.scores[5] = f64::INFINITY),
    ("probability-above-one", |e| e.logprobs.row_mut(2)[0] = 0.3),
    ("token-after-the-stop", |e| {
        let own = place(e, StopReason::EndOfTurn);
        e.rollouts[own].completion[0] = STOP;
    }),
    // The stop token is looked for as another one.
    ("ended-otherwise", |e| {
        let own = place(e, StopReason::EndOfTurn);
        *e.rollouts[own].completion.last_mut().unwrap() = STOP + 1;
    }),
    // Padding with the stop token hides that a completion was cut.
    ("ended-otherwise", |e| {
        let own = place(e, StopReason::Length);
        *e.rollouts[own].completion.last_mut().unwrap() = STOP;
    }),
    ("score-not-at-the-end", |e| {
        let own = place(e, StopReason::EndOfTurn);
        let old = std::mem::replace(&mut e.scores[own], 2.0);
        let row = e.rewards.row_mut(own);
        row[0] += 2.0;
        *row.last_mut().unwrap() -= old;
    }),
    ("missing-end-not-settled", |e| {
        let own = place(e, StopReason::Length);
        *e.rewards.row_mut(own).last_mut().unwrap() += 1.0;
    }),
    ("missing-end-not-settled", |e| {
        let own = place(e, StopReason::EndOfTurn);
        *e.rewards.row_mut(own).last_mut().unwrap() -= 1.0;
    }),
    // The estimator k2 in place of k1.
    ("drift-charged-otherwise", |e| {
        let own = place(e, StopReason::EndOfTurn);
        let drift = e.logprobs.row(own)[0] - e.reference_logprobs.row(own)[0];
        e.rewards.row_mut(own)[0] = -e.kl_coefficient * 0.5 * drift * drift;
    }),
    ("rewards-scaled-otherwise", |e| e.scaled_rewards = whiten(&e.rewards, Mean::Shift)),
    ("value-past-the-end", |e| {
        let own = place(e, StopReason::EndOfTurn);
        let mut expected = 0.25;
        for advantage in e.advantages.row_mut(own).iter_mut().rev() {
            *advantage += expected;
            expected *= 0.95;
        }
    }),
    ("advantages-not-as-defined", |e| e.advantages.row_mut(0)[0] += 0.25),
    ("returns-of-whitened-advantages", |e| {
        e.returns = e.whitened.zip(&e.values, |advantage, value| advantage + value);
    }),
    // The opposite flag.
    ("advantages-not-whitened", |e| e.whitened = whiten(&e.advantages, Mean::Keep)),
    // The variance that divides by one less.
    ("advantages-not-whitened", |e| {
        let tokens = count(e.whitened.tokens());
        e.whitened = e.whitened.map(|number| number * ((tokens - 1.0) / tokens).sqrt());
    }),
];

#[test]
fn planted_faults_are_named() {
    for (whitened, beyond) in [(false, BeyondCut::Nothing), (true, BeyondCut::Value)] {
        let (ppo, healthy) = moved(whitened, beyond);
        examine(&healthy, &ppo.options).unwrap();
        for (expected, plant) in PLANTED {
            let mut experience = healthy.clone();
            plant(&mut experience);
            let found = examine(&experience, &ppo.options);
            assert_eq!(name_of(found), expected, "whitened {whitened}");
        }
        let mut experience = healthy;
        experience.step = 1;
        assert_eq!(
            name_of(examine(&experience, &ppo.options)),
            "reference-is-another-model",
            "after three steps the policy has left it"
        );
    }
}

/// A scorer that divides by nothing.
struct Broken;

impl Scorer for Broken {
    fn score(&mut self, rollouts: &[Rollout]) -> Result<Vec<f64>, Error> {
        Ok(vec![f64::NAN; rollouts.len()])
    }
}

#[test]
fn faults_end_a_step_before_a_weight_moves() {
    let mut broken = ppo(PLAIN);
    let weights = |ppo: &Ppo| -> Vec<Vec<f32>> {
        ppo.policy.trunk.weights().iter().map(engine::Tensor::to_vec).collect()
    };
    let before = weights(&broken);
    let found = broken.step(&prompts(), &mut Broken, 3e-3).map(|_| ());
    assert_eq!(name_of(found), "not-a-number");

    let device = broken.policy.trunk.device().clone();
    let other = trunk(&device, Precision::F32, 8).frozen();
    broken.reference = Reference::Frozen(Box::new(other));
    let found = broken.step(&prompts(), &mut Liking, 3e-3).map(|_| ());
    assert_eq!(name_of(found), "reference-is-another-model");

    // Learned at another temperature than sampled: the ratio is not 1.
    broken.options.begins_as_reference = false;
    let experience = broken.experience(&prompts(), &mut Liking).unwrap();
    broken.options.rollouts.temperature = 1.0;
    let found = broken.gradient_of_first_minibatch(&experience, 100).map(|_| ());
    assert_eq!(name_of(found), "policy-is-not-the-sampled-one");
    assert_eq!((broken.steps, weights(&broken) == before), (0, true));
}

#[test]
fn completions_of_another_distribution_have_a_drift_below_zero() {
    let (mut ppo, mut experience) = moved(false, BeyondCut::Nothing);
    for _ in 0..12 {
        ppo.step(&prompts(), &mut Liking, 3e-3).unwrap();
    }
    // Drawn from the reference, as if by constraints, and said to be the policy's.
    let Reference::Frozen(reference) = &ppo.reference else { panic!("a copy") };
    let served = std::sync::Arc::new(reference.served().unwrap());
    let asked = [prompts(), prompts(), prompts(), prompts()].concat();
    let Rollouts { rollouts, .. } =
        rollouts::collect(served, &asked, &ppo.options.rollouts, (5, 1)).unwrap();
    let temperature = ppo.options.rollouts.temperature;
    let own = rollouts.iter().map(|rollout| {
        let alone = packed([rollout]);
        let found = ppo.policy.trunk.losses(&alone.micro_batch(temperature)).logprobs;
        found[alone.rows()[0].clone()].iter().map(|&logprob| f64::from(logprob)).collect()
    });
    let own: Vec<Vec<f64>> = own.collect();
    experience.logprobs = PerToken::from_rows(&own);
    experience.reference_logprobs = ppo.reference_logprobs(&rollouts);
    experience.rollouts = rollouts;
    let found = drift::below_zero(&experience, &ppo.options).unwrap();
    assert_eq!(found.name, "drift-below-zero");
    assert!(experience.kl_per_episode() < 0.0, "{found}");
    // Those of the policy itself do not.
    let experience = ppo.experience(&asked, &mut Liking).unwrap();
    assert!(experience.kl_per_episode() > 0.0);
    assert_eq!(drift::below_zero(&experience, &ppo.options), None);
}

#[test]
fn greedy_and_cold_draws_are_noticed() {
    let ppo = ppo(PLAIN);
    let served = std::sync::Arc::new(ppo.policy.trunk.served().unwrap());
    let draws = |temperature: f32| -> Vec<(u32, f64)> {
        let options =
            RolloutOptions { completion_tokens: 1, temperature, ..ppo.options.rollouts.clone() };
        let asked = vec![vec![3, 4]; 512];
        let found =
            rollouts::collect(std::sync::Arc::clone(&served), &asked, &options, (7, 7)).unwrap();
        let tokens = found.rollouts.iter().map(|rollout| rollout.completion[0]);
        tokens.zip(found.logprobs.flat().iter().copied()).collect()
    };
    let fair = draws(0.7);
    assert_eq!(frequencies(1, &fair), None);
    let logprob = |token: u32| fair.iter().find(|(own, _)| *own == token).map(|(_, own)| *own);
    for temperature in [0.01, 0.3] {
        // Drawn colder than the probabilities that are recorded.
        let cold = draws(temperature).into_iter();
        let cold: Vec<_> = cold.filter_map(|(token, _)| Some((token, logprob(token)?))).collect();
        let found = frequencies(1, &cold).map(|finding| finding.name);
        assert_eq!(found.as_deref(), Some("drawn-otherwise"), "{temperature}: {cold:?}");
    }
    // Only the likelier half of the draws' tokens.
    let likely: Vec<_> = fair.iter().copied().filter(|(_, own)| *own > 0.05_f64.ln()).collect();
    assert!(frequencies(1, &likely).is_some(), "{} of {}", likely.len(), fair.len());
}

#[test]
fn what_depends_on_neighbors_or_cuts_is_noticed() {
    let (mut ppo, healthy) = moved(false, BeyondCut::Nothing);
    examine_thoroughly(&mut ppo, &healthy).unwrap();
    let Experience { logprobs, reference_logprobs, values, .. } = healthy.clone();
    let same = Recomputed { logprobs, reference_logprobs, values };
    assert_eq!(alone(&healthy, &same), None);
    let next_up = |numbers: &PerToken| {
        let mut moved = numbers.clone();
        let last = moved.row_mut(4).last_mut().unwrap();
        *last = last.next_up();
        moved
    };
    for other in [
        Recomputed { logprobs: next_up(&same.logprobs), ..same.clone() },
        Recomputed { reference_logprobs: next_up(&same.reference_logprobs), ..same.clone() },
        Recomputed { values: next_up(&same.values), ..same.clone() },
    ] {
        assert_eq!(alone(&healthy, &other).unwrap().name, "depends-on-the-batch");
    }
    let gradient = ppo.gradient_of_first_minibatch(&healthy, 50).unwrap();
    assert!(gradient.iter().any(|&number| number != 0.0));
    assert_eq!(same_gradient(1, &gradient, &gradient), None);
    // A mean of means: half of the minibatch counts a little more.
    let cut: Vec<f32> = gradient.iter().map(|number| number * 1.001).collect();
    let found = same_gradient(1, &gradient, &cut).unwrap();
    assert_eq!(found.name, "depends-on-micro-batches");
}

/// Metrics of a run in which nothing is wrong.
fn healthy_metrics(step: u64) -> PpoMetrics {
    PpoMetrics {
        step,
        episodes: 64,
        score: 0.01 * of(step),
        score_deviation: 1.0,
        kl_per_episode: 0.1 * of(step),
        kl_coefficient: 0.05,
        entropy: 2.0,
        completion_tokens: 30.0,
        ended: 0.9,
        length_correlation: 0.2,
        explained_variance: 0.3,
        clip_fraction: 0.1,
        gradient_norm: 1.5,
        own_gradient_norm: 1.0,
        ..PpoMetrics::default()
    }
}

#[expect(clippy::cast_precision_loss, reason = "few steps")]
fn of(step: u64) -> f64 {
    step as f64
}

/// Spoils metrics of a step.
type Decline = fn(&mut PpoMetrics);

/// Declines that begin with some step.
const DECLINES: [(&str, u64, Decline); 14] = [
    ("drift-below-zero", 1, |m| m.kl_per_episode = -0.05),
    ("gradients-not-finite", 7, |m| m.skipped = 2),
    ("entropy-collapsed", 20, |m| m.entropy = 0.1),
    ("too-much-clipped", 10, |m| m.clip_fraction = 0.7),
    ("drift-beyond-its-target", 10, |m| m.kl_per_episode = 60.0),
    ("price-of-drift-out-of-range", 10, |m| m.kl_coefficient = 6.0),
    ("price-of-drift-out-of-range", 10, |m| m.kl_coefficient = 4e-4),
    ("text-beside-swamps-the-answers", 4, |m| m.gradient_norm = 80.0),
    ("scores-off-their-scale", 1, |m| m.score = -7.0),
    ("scores-do-not-differ", 5, |m| m.score_deviation = 0.0),
    ("score-is-length", 8, |m| m.length_correlation = -0.97),
    ("length-drifts", 12, |m| m.completion_tokens = 5.0),
    ("nothing-ends", 12, |m| m.ended = 0.0),
    ("values-foretell-nothing", 12, |m| m.explained_variance = -0.4),
];

#[test]
fn declines_are_named_and_health_is_not() {
    let kl = KlController::Adaptive { coefficient: 0.05, target: 6.0, horizon_episodes: 1e4 };
    let background = Background { kl, begins_as_reference: true, keeps_scale: true };
    let names = |spoil: &dyn Fn(&mut PpoMetrics)| -> BTreeSet<String> {
        let mut signs = Signs::new(background);
        let steps = (1..=50).flat_map(|step| {
            let mut metrics = healthy_metrics(step);
            spoil(&mut metrics);
            signs.hear(&metrics)
        });
        steps.map(|finding| finding.name.into_owned()).collect()
    };
    assert_eq!(names(&|_| ()), BTreeSet::new());
    for (expected, begin, decline) in DECLINES {
        let found = names(&|metrics| {
            if metrics.step >= begin {
                decline(metrics);
            }
        });
        assert_eq!(found, BTreeSet::from([expected.to_owned()]), "{expected}");
    }
}

#[test]
fn a_sign_is_told_once_and_a_fault_first() {
    let kl = KlController::Fixed { coefficient: 0.05 };
    let mut signs = Signs::new(Background { kl, begins_as_reference: true, keeps_scale: true });
    let spoiled = |step| PpoMetrics {
        skipped: 1,
        score_deviation: 0.0,
        kl_per_episode: -1.0,
        ..healthy_metrics(step)
    };
    let found = signs.hear(&spoiled(1));
    assert_eq!(found[0].gravity, Gravity::Fault, "{found:?}");
    assert!(found.len() > 2, "{found:?}");
    assert!(signs.hear(&spoiled(2)).is_empty());
}

#[test]
fn findings_come_back_as_they_were_written() {
    let folder = tempfile::tempdir().unwrap();
    assert_eq!(Findings::read(folder.path()).unwrap(), []);
    let evidence = [("found", 0.1 + 0.2), ("nothing", f64::NAN)];
    let findings = [estimates::PAST_THE_END.found(3, &evidence)];
    Findings::write(folder.path(), &findings).unwrap();
    assert_eq!(Findings::read(folder.path()).unwrap(), findings);
    let told = findings[0].to_string();
    assert!(told.contains("(found 0.3000); report it"), "{told}");
}

/// A vocabulary of bytes with the marks of ChatML.
fn words() -> Tokenizer {
    let vocab = r#"{"h": 0, "i": 1, "hi": 2, "\u0120": 3, "<|im_start|>": 4, "<|im_end|>": 5,
        "u": 6, "s": 7, "e": 8, "r": 9, "a": 10, "t": 11, "n": 12, "\u010a": 13, "w": 14, "o": 15,
        "d": 16, "<": 17, "|": 18, "m": 19, "_": 20, ">": 21}"#;
    let json = format!(
        r#"{{"model": {{"type": "BPE", "vocab": {vocab}, "merges": ["h i"]}},
        "pre_tokenizer": {{"type": "ByteLevel", "add_prefix_space": false}}, "added_tokens": [
        {{"id": 4, "content": "<|im_start|>", "special": true}},
        {{"id": 5, "content": "<|im_end|>", "special": true}}]}}"#
    );
    Tokenizer::from_json(json.as_bytes()).unwrap()
}

#[test]
fn prompts_with_forged_or_other_tokens_are_noticed() {
    let tokenizer = words();
    let format = ChatFormat::ChatMl { default_system: None };
    // A person types the mark of a turn: letters, not a control token.
    let asked = "hi<|im_start|>user";
    let conversation = Conversation { messages: vec![Message::new(Role::User, asked)] };
    let end = RenderEnd::GenerationPrompt;
    let prompt = conversation.render(&tokenizer, &format, end).unwrap().tokens;
    let look = |conversation: &Conversation, prompt: &[u32]| {
        let found = prompts::examine(&tokenizer, &format, (conversation, prompt)).unwrap();
        found.map(|finding| finding.name.into_owned())
    };
    assert_eq!(look(&conversation, &prompt), None);
    // The first token twice, one missing, another vocabulary's.
    let twice = [&prompt[..1], &prompt].concat();
    for other in [&twice[..], &prompt[1..], &prompt[..prompt.len() - 1], &[0, 1, 2]] {
        assert_eq!(look(&conversation, other).unwrap(), "prompt-is-not-what-a-chat-asks");
    }
    // Tokens that claim to be sampled carry a mark into the prompt.
    let forged = Message::sampled("hi", vec![2, 4, 2]);
    let messages = vec![conversation.messages[0].clone(), forged, Message::new(Role::User, "hi")];
    let conversation = Conversation { messages };
    let prompt = conversation.render(&tokenizer, &format, end).unwrap().tokens;
    assert_eq!(look(&conversation, &prompt).unwrap(), "text-became-a-control-token");
}

#[test]
fn healthy_steps_of_five_seeds_have_no_finding() {
    let background = |kl| Background { kl, begins_as_reference: true, keeps_scale: false };
    for seed in 0..5 {
        for (with_adapter, values_on_trunk) in [(false, false), (true, false), (false, true)] {
            let setup = Setup { with_adapter, values_on_trunk, threads: 2, ..PLAIN };
            let mut ppo = ppo(setup);
            (ppo.seed, ppo.options.thorough) = (seed, seed == 0);
            let mut signs = Signs::new(background(ppo.kl));
            for _ in 0..10 {
                let metrics = ppo.step(&prompts(), &mut Liking, 1e-3).unwrap();
                assert_eq!(signs.hear(&metrics), [], "seed {seed}, {metrics:?}");
            }
        }
    }
}
