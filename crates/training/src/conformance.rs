//! The vectors in `fixtures/ppo`, which say what each function should compute, held against ours.
//!
//! `cargo xtask conformance` holds the same vectors against the functions of other projects.

use std::path::Path;

use engine::random::Series;
use model::StopReason;
use serde_json::{Value, json};

use crate::PerToken;
use crate::per_token::count;
use crate::ppo::kl::Estimator;
use crate::ppo::{
    Beyond, Discount, KlController, Mean, NoEnd, RewardOptions, Scored, goodhart, kl, objective,
};
use crate::reward::{Normalization, ranking_loss};

/// How far a result may be from the expected one, as a share of it where it is above 1.
const BOUND: f64 = 1e-12;

/// The inputs of a case, by name.
#[derive(Clone, Copy)]
struct Inputs<'a>(&'a Value);

impl Inputs<'_> {
    fn number(self, name: &str) -> f64 {
        self.0[name].as_f64().unwrap()
    }

    fn list(self, name: &str) -> Vec<f64> {
        serde_json::from_value(self.0[name].clone()).unwrap()
    }

    fn rows(self, name: &str) -> PerToken {
        let rows: Vec<Vec<f64>> = serde_json::from_value(self.0[name].clone()).unwrap();
        PerToken::from_rows(&rows)
    }

    fn stop_reasons(self) -> Vec<StopReason> {
        let named = |name: &Value| match name.as_str() {
            Some("end_of_turn") => StopReason::EndOfTurn,
            Some("length") => StopReason::Length,
            _ => panic!("{name} ends no completion"),
        };
        self.0["stop_reasons"].as_array().unwrap().iter().map(named).collect()
    }
}

fn ragged(numbers: &PerToken) -> Value {
    numbers.rows().collect()
}

fn rewards(inputs: Inputs<'_>) -> Value {
    let no_end: NoEnd = serde_json::from_value(inputs.0["no_end"].clone()).unwrap();
    let scored = Scored {
        logprobs: &inputs.rows("logprobs"),
        reference_logprobs: &inputs.rows("reference_logprobs"),
        scores: &inputs.list("scores"),
        stop_reasons: &inputs.stop_reasons(),
    };
    let options = RewardOptions { kl_coefficient: inputs.number("kl_coefficient"), no_end };
    json!({ "rewards": ragged(&crate::ppo::rewards(&scored, &options)) })
}

fn advantages(inputs: Inputs<'_>) -> Value {
    let (rewards, values) = (inputs.rows("rewards"), inputs.rows("values"));
    let discount = Discount { gamma: inputs.number("gamma"), lambda: inputs.number("lambda") };
    let found = if inputs.0["next_values"].is_null() {
        crate::ppo::advantages(&rewards, &values, Beyond::Nothing, &discount)
    } else {
        let (stop_reasons, next_values) = (inputs.stop_reasons(), inputs.list("next_values"));
        let beyond = Beyond::CutOnes { stop_reasons: &stop_reasons, next_values: &next_values };
        crate::ppo::advantages(&rewards, &values, beyond, &discount)
    };
    json!({ "advantages": ragged(&found.advantages), "returns": ragged(&found.returns) })
}

fn whiten(inputs: Inputs<'_>) -> Value {
    let mean = if inputs.0["mean"] == "keep" { Mean::Keep } else { Mean::Shift };
    json!({ "whitened": ragged(&crate::ppo::whiten(&inputs.rows("values"), mean)) })
}

fn policy_loss(inputs: Inputs<'_>) -> Value {
    let tokens = objective::Tokens {
        logprobs: &inputs.rows("logprobs"),
        old_logprobs: &inputs.rows("old_logprobs"),
        advantages: &inputs.rows("advantages"),
    };
    let found = objective::policy(&tokens, inputs.number("clip_range"), tokens.logprobs.tokens());
    json!({
        "loss": found.loss,
        "d_logprobs": ragged(&found.d_logprobs),
        "ratio": found.ratio,
        "clip_fraction": found.clip_fraction,
        "approx_kl": found.approx_kl,
    })
}

fn value_loss(inputs: Inputs<'_>) -> Value {
    let values = objective::Values {
        values: &inputs.rows("values"),
        old_values: &inputs.rows("old_values"),
        returns: &inputs.rows("returns"),
    };
    let found = objective::value(&values, inputs.number("clip_range"), values.values.tokens());
    json!({
        "loss": found.loss,
        "d_values": ragged(&found.d_values),
        "clip_fraction": found.clip_fraction,
    })
}

fn kl_estimators(inputs: Inputs<'_>) -> Value {
    let of = |estimator| {
        kl::per_token(estimator, &inputs.rows("logprobs"), &inputs.rows("reference_logprobs"))
    };
    json!({
        "k1": ragged(&of(Estimator::K1)),
        "k2": ragged(&of(Estimator::K2)),
        "k3": ragged(&of(Estimator::K3)),
        "kl_per_episode": kl::per_episode(&of(Estimator::K1)),
    })
}

fn kl_controller(inputs: Inputs<'_>) -> Value {
    let mut controller = KlController::Adaptive {
        coefficient: inputs.number("coefficient"),
        target: inputs.number("target"),
        horizon_episodes: inputs.number("horizon_episodes"),
    };
    let observed: Vec<(f64, usize)> = serde_json::from_value(inputs.0["observed"].clone()).unwrap();
    let coefficients = observed.into_iter().map(|(kl_per_episode, episodes)| {
        controller.observe(kl_per_episode, episodes);
        controller.coefficient()
    });
    json!({ "coefficients": coefficients.collect::<Vec<_>>() })
}

fn ranking(inputs: Inputs<'_>) -> Value {
    let ranks: Vec<u32> = serde_json::from_value(inputs.0["ranks"].clone()).unwrap();
    let found = ranking_loss(&inputs.list("scores"), &ranks, inputs.number("centering"));
    json!({ "loss": found.loss, "d_scores": found.d_scores })
}

fn normalization(inputs: Inputs<'_>) -> Value {
    let found = Normalization::fit(&inputs.list("raw")).unwrap();
    json!({ "gain": found.gain(), "bias": found.bias() })
}

fn entropy(inputs: Inputs<'_>) -> Value {
    json!({ "entropy": objective::entropy(&inputs.list("logits"), inputs.number("temperature")) })
}

fn best_of_kl(inputs: Inputs<'_>) -> Value {
    let completions = u32::try_from(inputs.0["completions"].as_u64().unwrap()).unwrap();
    json!({ "kl": goodhart::best_of_kl(completions) })
}

/// Fails where a number is not the expected one, or one of the two has another form.
fn compare(found: &Value, expected: &Value, place: &str) {
    match (found, expected) {
        (Value::Object(found), Value::Object(expected)) => {
            assert!(found.keys().eq(expected.keys()), "{place}: other names");
            for (name, expected) in expected {
                compare(&found[name], expected, &format!("{place}, {name}"));
            }
        }
        (Value::Array(found), Value::Array(expected)) => {
            assert_eq!(found.len(), expected.len(), "{place}");
            for (index, (found, expected)) in found.iter().zip(expected).enumerate() {
                compare(found, expected, &format!("{place}[{index}]"));
            }
        }
        _ => {
            let (found, expected) = (found.as_f64().unwrap(), expected.as_f64().unwrap());
            let near = (found - expected).abs() <= BOUND * expected.abs().max(1.0);
            assert!(near, "{place}: {found}, but expected {expected}");
        }
    }
}

/// A function that reads the inputs of a case and writes its results.
type Function = fn(Inputs<'_>) -> Value;

const FUNCTIONS: [(&str, Function); 11] = [
    ("rewards", rewards),
    ("advantages", advantages),
    ("whiten", whiten),
    ("policy_loss", policy_loss),
    ("value_loss", value_loss),
    ("kl", kl_estimators),
    ("kl_controller", kl_controller),
    ("ranking_loss", ranking),
    ("normalization", normalization),
    ("entropy", entropy),
    ("best_of_kl", best_of_kl),
];

#[test]
fn every_vector_is_met() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fixtures/ppo");
    assert_eq!(folder.read_dir().unwrap().count(), FUNCTIONS.len(), "a file without a function");
    for (name, function) in FUNCTIONS {
        let text = artifacts::read_text(&folder.join(format!("{name}.json"))).unwrap();
        let vectors: Value = serde_json::from_str(&text).unwrap();
        let cases = vectors["cases"].as_array().unwrap();
        assert!(!cases.is_empty(), "{name} has no case");
        for case in cases {
            let found = function(Inputs(&case["inputs"]));
            compare(&found, &case["expected"], &format!("{name}: {}", case["name"]));
        }
    }
}

/// A whole step: sampled by a policy that has not moved, nothing is clipped, and the losses' gradients
/// are what the advantages and returns alone say.
#[test]
fn a_step_from_rewards_to_minibatches() {
    let logprobs = crate::testing::numbers(1, [3, 5, 2, 4]).map(|number| number - 2.0);
    let values = crate::testing::numbers(2, [3, 5, 2, 4]);
    let scored = Scored {
        logprobs: &logprobs,
        reference_logprobs: &logprobs,
        scores: &[1.0, -1.0, 0.5, -0.5],
        stop_reasons: &[StopReason::EndOfTurn; 4],
    };
    let options = RewardOptions { kl_coefficient: 0.1, no_end: NoEnd::Fixed(-1.0) };
    let rewards = crate::ppo::rewards(&scored, &options);
    assert!(rewards.sum().abs() < 1e-15, "without drift only scores count");
    let estimates =
        crate::ppo::advantages(&rewards, &values, Beyond::Nothing, &Discount::default());
    let whitened = crate::ppo::whiten(&estimates.advantages, Mean::Shift);
    let parts = crate::ppo::minibatches(4, 2, Series { seed: 1, step: 0, epoch: 0 });
    for part in parts {
        let logprobs = logprobs.select(&part);
        let tokens = objective::Tokens {
            logprobs: &logprobs,
            old_logprobs: &logprobs,
            advantages: &whitened.select(&part),
        };
        let found = objective::policy(&tokens, 0.2, logprobs.tokens());
        assert!(found.clip_fraction == 0.0 && found.approx_kl == 0.0, "{found:?}");
        let (values, returns) = (values.select(&part), estimates.returns.select(&part));
        let foretold =
            objective::Values { values: &values, old_values: &values, returns: &returns };
        let found = objective::value(&foretold, 0.2, values.tokens());
        let advantages = estimates.advantages.select(&part);
        let expected = advantages.map(|advantage| -advantage / count(values.tokens()));
        crate::testing::assert_near(found.d_values.flat(), expected.flat(), 1e-14);
    }
}
