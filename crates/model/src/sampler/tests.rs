//! The fast sampler against a slow one that sorts everything, in f64.
#![expect(clippy::cast_possible_truncation, reason = "a test knows how few tokens it has")]

use engine::DeviceOptions;
use proptest::prelude::*;

use super::*;

fn device() -> Device {
    Device::cpu(&DeviceOptions { threads: std::num::NonZeroUsize::new(1), kernels: None }).unwrap()
}

fn of(sampling: &Sampling, logprobs: Option<usize>, prompt: &[u32]) -> Sampler {
    let (sampling, prompt) = (sampling.clone(), prompt.to_vec());
    Sampler::new(&SequenceRequest { sampling, prompt, logprobs, ..SequenceRequest::default() })
}

fn choose(sampling: &Sampling, logits: &[f32], position: usize) -> Option<u32> {
    let sampler = of(sampling, None, &[]);
    let choice = sampler.choose(&device(), logits, position, &mut Scratch::default());
    choice.map(|choice| choice.token)
}

/// Numbers in -12 .. 12 that look random.
fn logits(seed: u64, count: usize) -> Vec<f32> {
    (0..count).map(|token| random::gumbel(seed, 0, token as u32) * 3.0 - 2.0).collect()
}

/// What the filters keep, by sorting and summing in f64.
fn kept_slowly(logits: &[f32], sampling: &Sampling) -> Vec<u32> {
    let mut order: Vec<usize> = (0..logits.len()).collect();
    order.sort_by(|a, b| logits[*b].total_cmp(&logits[*a]).then(a.cmp(b)));
    if sampling.top_k > 0 {
        order.truncate(sampling.top_k);
    }
    let temperature = f64::from(sampling.temperature);
    let weight = |token: usize| (f64::from(logits[token] - logits[order[0]]) / temperature).exp();
    let total: f64 = order.iter().map(|token| weight(*token)).sum();
    let mut sum = 0.0;
    let mut kept = Vec::new();
    for token in &order {
        let likely = weight(*token) >= f64::from(sampling.min_p);
        if sum < f64::from(sampling.top_p) * total && (likely || kept.is_empty()) {
            kept.push(*token as u32);
        }
        sum += weight(*token);
    }
    if kept.is_empty() { vec![order[0] as u32] } else { kept }
}

fn draw_slowly(logits: &[f32], sampling: &Sampling, position: usize) -> u32 {
    let score = |token: u32| {
        let noise = random::gumbel(sampling.seed, position as u64, token);
        logits[token as usize] * (1.0 / sampling.temperature) + noise
    };
    let mut kept = kept_slowly(logits, sampling);
    kept.sort_unstable();
    let best = kept.iter().copied().reduce(|a, b| if score(b) > score(a) { b } else { a });
    best.unwrap()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(600))]

    #[test]
    fn filters_keep_what_sorting_keeps(
        seed: u64,
        count in 1_usize..700,
        temperature in 0.1_f32..2.0,
        top_k in prop_oneof![Just(0_usize), 1_usize..80],
        top_p in prop_oneof![Just(1.0_f32), 0.0_f32..1.0],
        min_p in prop_oneof![Just(0.0_f32), 0.0_f32..1.0],
    ) {
        let logits = logits(seed, count);
        let sampling = Sampling { temperature, top_k, top_p, min_p, seed, ..Sampling::default() };
        for position in 0..3 {
            let fast = choose(&sampling, &logits, position).unwrap();
            prop_assert_eq!(fast, draw_slowly(&logits, &sampling, position));
        }
    }

    #[test]
    fn the_largest_are_found_in_order(
        values in prop::collection::vec(-4_i8..4, 1..400),
        count in 0_usize..50,
    ) {
        let logits: Vec<f32> = values.iter().map(|v| f32::from(*v)).collect();
        let mut candidates = Vec::new();
        select::top(&logits, count, &mut candidates);
        let mut order: Vec<u32> = (0..logits.len() as u32).collect();
        order.sort_by(|a, b| {
            logits[*b as usize].total_cmp(&logits[*a as usize]).then(a.cmp(b))
        });
        order.truncate(count);
        let found: Vec<u32> = candidates.iter().map(|c| c.token).collect();
        prop_assert_eq!(&found, &order);
        prop_assert_eq!(Some(select::peak(&logits).token), {
            let mut all: Vec<u32> = (0..logits.len() as u32).collect();
            all.sort_by(|a, b| logits[*b as usize].total_cmp(&logits[*a as usize]).then(a.cmp(b)));
            all.first().copied()
        });
    }
}

#[test]
fn draws_follow_the_distribution() {
    let logits = logits(5, 40);
    let draws = 20_000;
    for (temperature, top_k, top_p) in [(1.0, 0, 1.0), (0.7, 10, 1.0), (1.5, 0, 0.8)] {
        let sampling = Sampling { temperature, top_k, top_p, seed: 9, ..Sampling::default() };
        let mut counts = vec![0_u32; logits.len()];
        for position in 0..draws {
            counts[choose(&sampling, &logits, position).unwrap() as usize] += 1;
        }
        let kept = kept_slowly(&logits, &sampling);
        let weight = |token: u32| (f64::from(logits[token as usize] / temperature)).exp();
        let total: f64 = kept.iter().map(|token| weight(*token)).sum();
        for token in 0..logits.len() as u32 {
            let p = if kept.contains(&token) { weight(token) / total } else { 0.0 };
            let expected = p * draws as f64;
            let deviation = (expected * (1.0 - p)).sqrt();
            let off = (f64::from(counts[token as usize]) - expected).abs();
            assert!(
                off <= 5.0 * deviation,
                "token {token}: {} of {expected}",
                counts[token as usize]
            );
        }
    }
}

#[test]
fn greedy_takes_the_largest_and_the_lower_of_equals() {
    let greedy = Sampling::greedy();
    let mut logits = vec![0.0; 100];
    assert_eq!(choose(&greedy, &logits, 0), Some(0));
    logits[63] = 2.0;
    logits[64] = 2.0;
    assert_eq!(choose(&greedy, &logits, 0), Some(63));
    let one = Sampling { top_k: 1, ..Sampling::default() };
    assert_eq!(choose(&one, &logits, 7), Some(63));
    let none = Sampling { top_p: 0.0, ..Sampling::default() };
    assert_eq!(choose(&none, &logits, 7), Some(63));
}

#[test]
fn values_that_are_not_finite_are_noticed_wherever_they_are() {
    for broken in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
        for place in [0, 15, 16, 31, 32, 36] {
            let mut logits = vec![1.0; 37];
            logits[place] = broken;
            assert_eq!(choose(&Sampling::greedy(), &logits, 0), None, "{broken} at {place}");
            assert_eq!(choose(&Sampling::default(), &logits, 0), None, "{broken} at {place}");
            let logprob = logprob(&device(), &logits, (3, 1.0, 2), &mut Scratch::default());
            assert_eq!(logprob, None, "{broken} at {place}");
        }
    }
}

#[test]
fn penalties_and_bias_change_the_choice_but_not_the_logprobs() {
    let sampling = Sampling {
        repetition_penalty: 2.0,
        presence_penalty: 0.5,
        frequency_penalty: 0.25,
        logit_bias: vec![(3, -100.0)],
        ..Sampling::greedy()
    };
    let mut sampler = of(&sampling, Some(2), &[0]);
    sampler.accept(1);
    sampler.accept(1);
    let logits = [3.0, 2.0, -1.0, 2.9, 1.4];
    let mut edited = Vec::new();
    sampler.edit(&logits, &mut edited);
    // 3 / 2 (prompt only); 2 / 2 - 0.5 - 2 * 0.25; untouched; 2.9 - 100; untouched.
    assert_eq!(edited, [1.5, 0.0, -1.0, 2.9 - 100.0, 1.4]);
    let choice = sampler.choose(&device(), &logits, 0, &mut Scratch::default()).unwrap();
    assert_eq!(choice.token, 0);
    let sum: f64 = logits.iter().map(|l| f64::from(*l).exp()).sum();
    let expected = |logit: f64| (logit - sum.ln()) as f32;
    assert!((choice.logprob - expected(3.0)).abs() < 1e-5);
    let tokens: Vec<u32> = choice.alternatives.iter().map(|(token, _)| *token).collect();
    assert_eq!(tokens, [0, 3]);
    assert!((choice.alternatives[1].1 - expected(2.9)).abs() < 1e-5);
}

#[test]
fn logprobs_may_be_those_of_the_temperature() {
    let sampling = Sampling { temperature: 0.5, ..Sampling::default() };
    let request = SequenceRequest {
        sampling,
        logprobs: Some(1),
        logprobs_of: LogprobsOf::Temperature,
        ..SequenceRequest::default()
    };
    let logits = [1.0, 0.25, -0.5];
    let choice = Sampler::new(&request).choose(&device(), &logits, 7, &mut Scratch::default());
    let choice = choice.unwrap();
    let sum: f64 = logits.iter().map(|logit| (f64::from(*logit) / 0.5).exp()).sum();
    let expected = f64::from(logits[choice.token as usize]) / 0.5 - sum.ln();
    assert!((f64::from(choice.logprob) - expected).abs() < 1e-6, "{choice:?} {expected}");
}

#[test]
fn edited_logits_stay_finite() {
    let sampling = Sampling { repetition_penalty: 0.01, ..Sampling::greedy() };
    let sampler = of(&sampling, None, &[0, 1, 2]);
    let mut edited = Vec::new();
    sampler.edit(&[3e38, -3e38, 20.0, 10.0], &mut edited);
    assert_eq!(edited, [1e30, -1e30, 2000.0, 10.0]);
}

#[test]
fn temperatures_near_zero_take_the_largest() {
    let mut logits = vec![10.0; 300];
    logits[200] = 20.0;
    for temperature in [0.0, f32::MIN_POSITIVE, 1e-39, 1e-37, 1e-5, 1e-4] {
        for top_p in [1.0, 0.9] {
            let sampling = Sampling { temperature, top_p, ..Sampling::default() };
            sampling.check(300).unwrap();
            assert_eq!(choose(&sampling, &logits, 0), Some(200), "{temperature} {top_p}");
            let edited = Sampling { logit_bias: vec![(0, 1.0)], ..sampling };
            assert_eq!(choose(&edited, &logits, 0), Some(200), "{temperature} {top_p}");
        }
    }
    let two = vec![(17, 1e29), (250, f32::MAX)];
    let forced = Sampling { temperature: 1e-4, logit_bias: two, ..Sampling::default() };
    assert_eq!(choose(&forced, &logits, 0), Some(250), "the larger of two that are far out");
}

#[test]
fn a_large_bias_forces_or_forbids_a_token() {
    let logits = logits(1, 300);
    for (bias, forced) in [(1e30, true), (f32::MAX, true), (-1e30, false), (f32::MIN, false)] {
        let sampling = Sampling { logit_bias: vec![(17, bias); 3], ..Sampling::default() };
        for position in 0..50 {
            assert_eq!(choose(&sampling, &logits, position) == Some(17), forced, "{bias}");
        }
    }
}

#[test]
fn the_seed_and_the_position_decide() {
    let logits = logits(2, 500);
    let at = |seed, position| {
        let sampling = Sampling { seed, temperature: 2.0, ..Sampling::default() };
        choose(&sampling, &logits, position).unwrap()
    };
    assert_eq!(at(1, 5), at(1, 5));
    let different = (0..50).filter(|p| at(1, *p) != at(2, *p) && at(1, *p) != at(1, p + 1)).count();
    assert!(different > 20, "{different} of 50 differ");
}

#[test]
fn every_number_out_of_range_is_named() {
    let fine = Sampling::default();
    assert!(fine.check(10).is_ok());
    let cases = [
        ("temperature", Sampling { temperature: -0.1, ..fine.clone() }),
        ("temperature", Sampling { temperature: f32::NAN, ..fine.clone() }),
        ("top_p", Sampling { top_p: 1.1, ..fine.clone() }),
        ("min_p", Sampling { min_p: f32::INFINITY, ..fine.clone() }),
        ("repetition_penalty", Sampling { repetition_penalty: 0.0, ..fine.clone() }),
        ("repetition_penalty", Sampling { repetition_penalty: 0.009, ..fine.clone() }),
        ("presence_penalty", Sampling { presence_penalty: 101.0, ..fine.clone() }),
        ("frequency_penalty", Sampling { frequency_penalty: -101.0, ..fine.clone() }),
        ("logit_bias", Sampling { logit_bias: vec![(10, 0.0)], ..fine.clone() }),
        ("logit_bias", Sampling { logit_bias: vec![(1, f32::NAN)], ..fine.clone() }),
        ("logit_bias", Sampling { logit_bias: vec![(1, 0.0); 301], ..fine }),
    ];
    for (field, sampling) in cases {
        let error = sampling.check(10).unwrap_err().to_string();
        assert!(error.contains(field), "{error}");
    }
}
