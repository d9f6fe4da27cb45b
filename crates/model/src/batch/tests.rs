//! Whatever shares a batch with a sequence, its tokens and the bits of its log-probabilities stay
//! the same; pages are conserved; broken weights end one sequence and nothing else.
#![expect(clippy::cast_possible_truncation, reason = "a test knows how few tokens it has")]

use std::collections::BTreeMap;
use std::num::NonZeroUsize;

use engine::{Device, DeviceOptions, KernelPath};
use proptest::prelude::*;

use super::*;
use crate::checkpoint::Source;
use crate::request::{LogprobsOf, StopReason};
use crate::sampling::Sampling;
use crate::testing::fixture;

fn tiny(name: &str, threads: usize, kernels: Option<KernelPath>) -> Arc<Model> {
    let options = DeviceOptions { threads: NonZeroUsize::new(threads), kernels };
    let device = Device::cpu(&options).unwrap();
    let source = Source::Folder(fixture(name));
    Arc::new(Model::load(&device, &source, &mut |_, _| ()).unwrap())
}

/// A token and the bits of its log-probability.
type Bits = (u32, u32);

/// Everything that a sequence brought, with floats as bits.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
struct Outcome {
    prompt: Vec<Bits>,
    tokens: Vec<(Bits, Vec<Bits>)>,
    ended: Option<StopReason>,
    failed: bool,
}

#[derive(Default)]
struct Outcomes(BTreeMap<SequenceId, Outcome>);

impl Outcomes {
    fn take(&mut self, events: Vec<Event>) {
        for event in events {
            match event {
                Event::Prompt { id, logprobs, .. } => {
                    let bits = |l: &crate::TokenLogprob| (l.token, l.logprob.to_bits());
                    self.0.entry(id).or_default().prompt = logprobs.iter().map(bits).collect();
                }
                Event::Token { id, token, logprob, alternatives } => {
                    let bits = alternatives.iter().map(|(t, l)| (*t, l.to_bits())).collect();
                    let outcome = self.0.get_mut(&id).expect("the prompt comes first");
                    assert_eq!(outcome.ended, None);
                    outcome.tokens.push(((token, logprob.to_bits()), bits));
                }
                Event::Done { id, reason, .. } => self.0.get_mut(&id).unwrap().ended = Some(reason),
                Event::Failed { id, .. } => self.0.entry(id).or_default().failed = true,
            }
        }
    }
}

/// Runs one request alone in a fresh batch.
fn alone(model: &Arc<Model>, request: &SequenceRequest) -> Outcome {
    let options = BatchOptions { slots: 1, prefix_reuse: false, ..BatchOptions::default() };
    let mut batch = Batch::new(Arc::clone(model), options).unwrap();
    let id = batch.add(request.clone()).unwrap();
    let mut outcomes = Outcomes::default();
    while !batch.is_idle() {
        outcomes.take(batch.step().unwrap());
    }
    outcomes.0.remove(&id).unwrap()
}

/// A small generator for the tests' own choices.
struct Dice(u64);

impl Dice {
    fn below(&mut self, most: usize) -> usize {
        self.0 =
            self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) as usize % most
    }

    fn request(&mut self, vocab: usize) -> SequenceRequest {
        // Prompts begin alike, so that the prefix tree has something to do.
        let shared = [0_u32, 20, 70, 130][self.below(4)];
        let own = 1 + self.below(90);
        let mut prompt: Vec<u32> = (0..shared).map(|n| n * n % 31).collect();
        prompt.extend((0..own).map(|_| self.below(vocab) as u32));
        let temperature = [0.0, 0.7, 1.0, 1.5][self.below(4)];
        let sampling = Sampling {
            temperature,
            top_k: [0, 0, 5][self.below(3)],
            top_p: [1.0, 0.9][self.below(2)],
            repetition_penalty: [1.0, 1.2][self.below(2)],
            seed: self.below(1000) as u64,
            ..Sampling::default()
        };
        SequenceRequest {
            prompt,
            max_tokens: self.below(25),
            sampling,
            stop_tokens: vec![self.below(vocab) as u32],
            logprobs: Some(self.below(4)),
            logprobs_of: match (self.below(3), temperature > 0.0) {
                (0, true) => LogprobsOf::Temperature,
                _ => LogprobsOf::Model,
            },
            prompt_logprobs: (self.below(4) == 0).then(|| self.below(150)),
        }
    }
}

/// One random party: up to a dozen requests, some cancelled, against each of them alone.
fn party(model: &Arc<Model>, other: &Arc<Model>, seed: u64) {
    let mut dice = Dice(seed);
    let vocab = model.config().vocab;
    let options = BatchOptions {
        slots: 1 + dice.below(6),
        context_tokens: 256,
        cache_bytes: [None, Some(model.outline().page_bytes() * 7)][dice.below(2)],
        prefill_chunk: 1 + dice.below(100),
        prefix_reuse: dice.below(3) > 0,
    };
    let mut batch = Batch::new(Arc::clone(other), options.clone()).unwrap();
    let mut waiting: Vec<SequenceRequest> =
        (0..2 + dice.below(10)).map(|_| dice.request(vocab)).collect();
    if dice.below(2) == 0 {
        let again = waiting[0].clone();
        waiting.push(again);
    }
    let mut asked = BTreeMap::new();
    let mut outcomes = Outcomes::default();
    let mut cancelled = Vec::new();
    while !waiting.is_empty() || !batch.is_idle() {
        while let Some(request) = waiting.pop() {
            match batch.add(request.clone()) {
                Ok(id) => drop(asked.insert(id, request)),
                Err(Error::Full) => {
                    waiting.push(request);
                    break;
                }
                Err(error) => panic!("{error}"),
            }
        }
        outcomes.take(batch.step().unwrap());
        if dice.below(12) == 0 {
            let which = dice.below(asked.len());
            let id = *asked.keys().nth(which).unwrap();
            if outcomes.0.get(&id).is_none_or(|outcome| outcome.ended.is_none()) {
                batch.cancel(id);
                cancelled.push(id);
            }
        }
    }
    let stats = batch.stats();
    assert_eq!(stats.pages_free + stats.pages_cached, stats.pages, "no page is lost");
    for (id, request) in &asked {
        let expected = alone(model, request);
        let found = outcomes.0.remove(id).unwrap_or_default();
        if cancelled.contains(id) {
            assert!(expected.tokens.starts_with(&found.tokens), "{options:?} {request:?}");
        } else {
            assert_eq!(found, expected, "{options:?} {request:?}");
        }
    }
}

#[test]
fn company_does_not_change_a_bit() {
    let cases = std::env::var("SCRIBE_CASES").ok().and_then(|n| n.parse().ok()).unwrap_or(60);
    let names = ["tiny-llama-tied", "tiny-qwen3", "tiny-llama-shards"];
    let models = names.map(|name| [1, 2].map(|threads| tiny(name, threads, None)));
    for case in 0..cases {
        let pair = &models[case as usize % names.len()];
        party(&pair[0], &pair[case as usize / 3 % 2], case);
    }
}

#[test]
fn company_does_not_change_a_bit_on_other_paths() {
    for kernels in [KernelPath::Reference, KernelPath::Portable, KernelPath::Avx2] {
        if kernels.is_supported() {
            let models = [1, 2].map(|threads| tiny("tiny-llama", threads, Some(kernels)));
            for case in 0..4 {
                party(&models[0], &models[1], 77 + case);
            }
        }
    }
}

/// What a test does to a batch.
#[derive(Debug, Clone)]
enum Action {
    Add { prompt: usize, max_tokens: usize },
    Cancel { which: usize },
    Step,
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]

    #[test]
    fn pages_are_conserved(
        actions in prop::collection::vec(
            prop_oneof![
                (1_usize..200, 0_usize..100)
                    .prop_map(|(prompt, max_tokens)| Action::Add { prompt, max_tokens }),
                (0_usize..10).prop_map(|which| Action::Cancel { which }),
                Just(Action::Step),
                Just(Action::Step),
            ],
            1..60,
        ),
        slots in 1_usize..5,
        pages in 4_u64..10,
    ) {
        let model = tiny("tiny-llama-tied", 1, None);
        let cache_bytes = Some(model.outline().page_bytes() * pages);
        let options =
            BatchOptions { slots, context_tokens: 256, cache_bytes, ..BatchOptions::default() };
        let mut batch = Batch::new(model, options).unwrap();
        let mut ids = Vec::new();
        for action in actions {
            match action {
                Action::Add { prompt, max_tokens } => {
                    let prompt = (0..prompt).map(|n| n as u32 % 3).collect();
                    let request = SequenceRequest { prompt, max_tokens, ..Default::default() };
                    match batch.add(request) {
                        Ok(id) => ids.push(id),
                        Err(error) => prop_assert!(matches!(error, Error::Full), "{error}"),
                    }
                }
                Action::Cancel { which } => {
                    if let Some(id) = ids.get(which) {
                        batch.cancel(*id);
                    }
                }
                Action::Step => drop(batch.step().unwrap()),
            }
            batch.pages.check();
        }
        for id in ids {
            batch.cancel(id);
        }
        let stats = batch.stats();
        prop_assert_eq!(stats.pages_free + stats.pages_cached, stats.pages);
        prop_assert!(batch.is_idle() && stats.live == 0);
    }
}

#[test]
fn a_second_turn_computes_only_what_is_new() {
    let model = tiny("tiny-llama-tied", 1, None);
    let mut batch = Batch::new(Arc::clone(&model), BatchOptions::default()).unwrap();
    let prompt: Vec<u32> = (0..100).map(|n| n % 37).collect();
    let first = SequenceRequest { prompt, max_tokens: 20, logprobs: Some(0), ..Default::default() };
    let id = batch.add(first.clone()).unwrap();
    let mut outcomes = Outcomes::default();
    while !batch.is_idle() {
        outcomes.take(batch.step().unwrap());
    }
    let mut second = first;
    second.prompt.extend(outcomes.0[&id].tokens.iter().map(|((token, _), _)| token));
    second.prompt.extend([1, 2, 3]);
    let id = batch.add(second.clone()).unwrap();
    // All but the last drawn token, whose keys and values were never needed.
    assert_eq!(batch.stats().cached_tokens, 119);
    while !batch.is_idle() {
        outcomes.take(batch.step().unwrap());
    }
    assert_eq!(outcomes.0[&id], alone(&model, &second));
}

#[test]
fn long_prompts_give_way_between_chunks() {
    let model = tiny("tiny-llama-tied", 1, None);
    let mut batch = Batch::new(model, BatchOptions::default()).unwrap();
    let request = |tokens: u32| SequenceRequest {
        prompt: (0..tokens).map(|n| n % 29).collect(),
        max_tokens: 40,
        ..Default::default()
    };
    batch.add(request(3)).unwrap();
    batch.step().unwrap();
    let long = batch.add(request(200)).unwrap();
    for _ in 0..3 {
        let events = batch.step().unwrap();
        assert!(matches!(events[..], [Event::Token { .. }]), "the short one goes on: {events:?}");
    }
    batch.cancel(long);
    assert_eq!((batch.stats().live, batch.stats().prefilling), (1, 0));
    let events = batch.step().unwrap();
    assert!(matches!(events[..], [Event::Token { .. }]), "{events:?}");
}

#[test]
fn prompts_can_be_read_without_a_completion() {
    let model = tiny("tiny-qwen2", 1, None);
    let mut batch = Batch::new(model, BatchOptions::default()).unwrap();
    let request = SequenceRequest {
        prompt: (0..80).map(|n| n % 40).collect(),
        max_tokens: 0,
        logprobs: Some(3),
        prompt_logprobs: Some(0),
        ..Default::default()
    };
    batch.add(request.clone()).unwrap();
    let mut events = Vec::new();
    while !batch.is_idle() {
        events.extend(batch.step().unwrap());
    }
    let [Event::Prompt { logprobs, .. }, Event::Done { reason: StopReason::Length, .. }] =
        &events[..]
    else {
        panic!("{events:?}");
    };
    assert_eq!(logprobs.len(), 79);
    for (logprob, token) in logprobs.iter().zip(&request.prompt[1..]) {
        assert_eq!(logprob.token, *token);
        assert_eq!(logprob.alternatives.len(), 3);
        assert!(logprob.logprob <= logprob.alternatives[0].1);
    }
    // From a place on: what is before the token that predicts the first of them is not computed
    // again.
    let whole = logprobs.clone();
    for (first, cached) in [(1, 0), (70, 69), (80, 79), (1_000, 79)] {
        let cached_before = batch.stats().cached_tokens;
        batch.add(SequenceRequest { prompt_logprobs: Some(first), ..request.clone() }).unwrap();
        assert_eq!(batch.stats().cached_tokens - cached_before, cached);
        let mut found = Vec::new();
        while !batch.is_idle() {
            for event in batch.step().unwrap() {
                if let Event::Prompt { logprobs, .. } = event {
                    found.extend(logprobs);
                }
            }
        }
        assert_eq!(found, whole[(first - 1).min(79)..], "from {first} on");
    }
}

#[test]
fn requests_that_can_never_run_are_refused_and_others_wait() {
    let model = tiny("tiny-llama", 1, None);
    let options = BatchOptions { slots: 1, context_tokens: 100, ..Default::default() };
    let mut batch = Batch::new(Arc::clone(&model), options).unwrap();
    let request =
        |prompt: Vec<u32>| SequenceRequest { prompt, max_tokens: 4, ..Default::default() };
    let overflow = batch.add(request(vec![1; 101])).unwrap_err();
    assert!(
        matches!(overflow, Error::ContextOverflow { prompt_tokens: 101, context_tokens: 100 }),
        "{overflow}"
    );
    assert!(batch.add(request(vec![])).unwrap_err().to_string().contains("prompt"));
    assert!(batch.add(request(vec![40])).unwrap_err().to_string().contains("below 40"));
    let mut wild = request(vec![1]);
    wild.logprobs = Some(21);
    assert!(batch.add(wild).unwrap_err().to_string().contains("logprobs"));
    batch.add(request(vec![1])).unwrap();
    assert!(matches!(batch.add(request(vec![1])), Err(Error::Full)));
    let small = BatchOptions { cache_bytes: Some(1), ..Default::default() };
    assert!(matches!(Batch::new(Arc::clone(&model), small), Err(Error::CacheTooSmall { .. })));
    let none = BatchOptions { slots: 0, ..Default::default() };
    assert!(Batch::new(model, none).unwrap_err().to_string().contains("slots"));
}

#[test]
fn a_full_context_ends_the_completion() {
    let model = tiny("tiny-llama", 1, None);
    let options = BatchOptions { context_tokens: 70, ..Default::default() };
    let mut batch = Batch::new(model, options).unwrap();
    let request = SequenceRequest { prompt: vec![1; 66], max_tokens: 50, ..Default::default() };
    let id = batch.add(request).unwrap();
    let mut outcomes = Outcomes::default();
    while !batch.is_idle() {
        outcomes.take(batch.step().unwrap());
    }
    assert_eq!(outcomes.0[&id].tokens.len(), 4);
    assert_eq!(outcomes.0[&id].ended, Some(StopReason::Length));
}

/// A copy of a tiny model whose embedding of token 39 is not a number.
fn poisoned() -> Arc<Model> {
    let folder = tempfile::tempdir().unwrap();
    let source = fixture("tiny-llama");
    std::fs::copy(source.join("config.json"), folder.path().join("config.json")).unwrap();
    let mut bytes = std::fs::read(source.join("model.safetensors")).unwrap();
    let file = artifacts::safetensors::SafetensorsFile::open(&source.join("model.safetensors"));
    let info = file.unwrap().tensor("model.embed_tokens.weight").unwrap().clone();
    let row = info.offset as usize + 39 * 32 * 4;
    bytes[row..row + 4].copy_from_slice(&f32::NAN.to_le_bytes());
    std::fs::write(folder.path().join("model.safetensors"), bytes).unwrap();
    let device = Device::cpu(&DeviceOptions::default()).unwrap();
    let source = Source::Folder(folder.path().to_owned());
    Arc::new(Model::load(&device, &source, &mut |_, _| ()).unwrap())
}

#[test]
fn values_that_are_not_numbers_end_their_sequence_alone() {
    let model = poisoned();
    let options = BatchOptions { slots: 2, context_tokens: 128, ..Default::default() };
    let mut batch = Batch::new(Arc::clone(&model), options).unwrap();
    let request = |prompt: Vec<u32>| SequenceRequest {
        prompt,
        max_tokens: 30,
        sampling: Sampling { logit_bias: vec![(39, -100.0)], ..Sampling::greedy() },
        logprobs: Some(1),
        ..Default::default()
    };
    let sound = request((0..50).map(|n| n % 39).collect());
    let expected = alone(&model, &sound);
    assert!(!expected.failed && expected.tokens.len() == 30);
    // Several rounds: pages that held broken values are used again.
    // A long prompt's full pages are shared before its last logits are looked at.
    let short = vec![5, 39, 6, 7];
    let long: Vec<u32> = short.iter().copied().cycle().take(PAGE_TOKENS + 20).collect();
    for (round, prompt) in [&short, &long, &short, &long, &long].into_iter().enumerate() {
        let broken = batch.add(request(prompt.clone())).unwrap();
        let fine = batch.add(sound.clone()).unwrap();
        let mut outcomes = Outcomes::default();
        while !batch.is_idle() {
            outcomes.take(batch.step().unwrap());
        }
        assert!(outcomes.0[&broken].failed && outcomes.0[&broken].tokens.is_empty());
        assert_eq!(outcomes.0[&fine], expected, "round {round}");
    }
}

/// ` Paris` in the vocabulary of SmolLM2.
const PARIS: u32 = 7042;

/// A chat prompt that asks for the capital of France, and the answer that transformers gives.
fn question() -> (SequenceRequest, Vec<u32>) {
    let golden = std::fs::read(fixture("smollm2-golden.json")).unwrap();
    let golden: serde_json::Value = serde_json::from_slice(&golden).unwrap();
    let tokens = |key: &str| serde_json::from_value(golden[key].clone()).unwrap();
    let request = SequenceRequest {
        prompt: tokens("tokens"),
        max_tokens: 16,
        sampling: Sampling::greedy(),
        // `<|im_end|>`
        stop_tokens: vec![2],
        logprobs: Some(2),
        ..Default::default()
    };
    (request, tokens("continuation"))
}

#[test]
fn the_real_model_answers_as_transformers_does() {
    let Some(model) = crate::gpt::real_model(KernelPath::Reference) else { return };
    let (request, answer) = question();
    let found = alone(&Arc::new(model), &request);
    let tokens: Vec<u32> = found.tokens.iter().map(|((token, _), _)| *token).collect();
    assert_eq!(tokens, answer[..answer.len() - 1]);
    assert_eq!((answer.last(), found.ended), (Some(&2), Some(StopReason::EndOfTurn)));
}

#[test]
fn the_real_model_knows_the_capital_of_france() {
    let Some(model) = crate::gpt::real_model(KernelPath::best()) else { return };
    let model = Arc::new(model);
    let (question, answer) = question();
    let expected = alone(&model, &question);
    let tokens: Vec<u32> = expected.tokens.iter().map(|((token, _), _)| *token).collect();
    assert_eq!(tokens, answer[..answer.len() - 1]);
    assert!(tokens.contains(&PARIS), "{tokens:?}");
    // The same among others, with a cached beginning, in small chunks.
    let options = BatchOptions { slots: 4, prefill_chunk: 10, ..Default::default() };
    let mut batch = Batch::new(Arc::clone(&model), options).unwrap();
    let mut outcomes = Outcomes::default();
    let mut ids = Vec::new();
    for mate in 0..4 {
        let mut other = question.clone();
        other.prompt.truncate(question.prompt.len() - 9 * mate);
        other.sampling = Sampling { seed: mate as u64, ..Sampling::default() };
        batch.add(if mate == 2 { question.clone() } else { other }).map(|id| ids.push(id)).unwrap();
        outcomes.take(batch.step().unwrap());
    }
    while !batch.is_idle() {
        outcomes.take(batch.step().unwrap());
    }
    assert_eq!(outcomes.0[&ids[2]], expected);
    let (before, prompt_tokens) = (batch.stats().cached_tokens, question.prompt.len() as u64);
    let id = batch.add(question).unwrap();
    let cached = batch.stats().cached_tokens - before;
    assert_eq!(cached, prompt_tokens - 1, "the second time all but one token are there");
    while !batch.is_idle() {
        outcomes.take(batch.step().unwrap());
    }
    assert_eq!(outcomes.0[&id], expected);
}
