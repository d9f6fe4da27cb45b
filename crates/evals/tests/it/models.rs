//! A model is measured as the definitions say, computed slowly, and alike in any batch.

use std::sync::Arc;

use artifacts::gguf::{Gguf, Metadata, Value};
use engine::{Device, DeviceOptions};
use evals::Error;
use evals::bits_per_byte::Reader;
use evals::likelihood::{Task, TaskFault};
use model::{BatchOptions, Model, Source};
use tokenizer::Tokenizer;

use crate::{fixture, turn};

fn tiny() -> Arc<Model> {
    let device = Device::cpu(&DeviceOptions::default()).unwrap();
    let source = Source::detect(&fixture("tiny-chat.gguf"));
    Arc::new(Model::load(&device, &source, &mut |_, _| ()).unwrap())
}

fn metadata() -> Metadata {
    Gguf::open(&fixture("tiny-chat.gguf")).unwrap().header().metadata().clone()
}

fn tokenizer() -> Tokenizer {
    Tokenizer::from_gguf(&metadata()).unwrap()
}

/// The same, but for the token that it wants before every text.
fn tokenizer_with_beginning() -> Tokenizer {
    let mut changed = Metadata::new();
    let is_own = |key: &&str| !key.ends_with("bos_token_id") && !key.ends_with("add_bos_token");
    let old = metadata();
    for (key, value) in old.iter().filter(|(key, _)| is_own(key)) {
        changed.insert(key, value.clone()).unwrap();
    }
    changed.insert("tokenizer.ggml.bos_token_id", Value::U32(0)).unwrap();
    changed.insert("tokenizer.ggml.add_bos_token", Value::Bool(true)).unwrap();
    Tokenizer::from_gguf(&changed).unwrap()
}

fn batch(slots: usize, prefill_chunk: usize, context_tokens: usize) -> BatchOptions {
    BatchOptions { slots, prefill_chunk, context_tokens, ..BatchOptions::default() }
}

/// The log-probability of each token but the first after all before it.
fn logprobs(model: &Model, tokens: &[u32]) -> Vec<f64> {
    let mut logprobs = Vec::new();
    let visit = &mut |place: usize, logits: &[f32]| {
        let Some(&next) = tokens.get(place + 1) else { return };
        let sum: f64 = logits.iter().map(|&logit| f64::from(logit).exp()).sum();
        logprobs.push(f64::from(logits[next as usize]) - sum.ln());
    };
    model.read_logits(tokens, visit).unwrap();
    logprobs
}

fn texts() -> Vec<String> {
    let words = ["the", "answer", "is", "on", "Paris", "and", "été", "question", "\n", "42"];
    let text = |seed: usize, count: usize| {
        let words = (0..count).map(|n| words[(n * n + seed * n + seed) % words.len()]);
        words.collect::<Vec<_>>().join(" ")
    };
    [1, 2, 40, 25, 90].iter().enumerate().map(|(seed, &count)| text(seed, count)).collect()
}

#[track_caller]
fn check(found: f64, expected: f64) {
    assert!((found / expected - 1.0).abs() < 1e-5, "{found} instead of {expected}");
}

#[test]
fn bits_are_those_of_the_definition() {
    let _turn = turn();
    let model = tiny();
    for (tokenizer, has_beginning) in [(tokenizer(), false), (tokenizer_with_beginning(), true)] {
        for window in [16, 2_048] {
            let mut nats = 0.0;
            for text in texts() {
                let mut tokens = tokenizer.encode(&text);
                match has_beginning {
                    true => tokens.insert(0, 0),
                    false => nats += (tokenizer.vocabulary_len() as f64).ln(),
                }
                for place in 1..tokens.len() {
                    // The window in which the token at `place` is new.
                    let end = match place < window {
                        true => window,
                        false => window + ((place - window) / (window / 2) + 1) * (window / 2),
                    };
                    let begin = end.min(tokens.len()).saturating_sub(window);
                    nats -= logprobs(&model, &tokens[begin..=place]).last().unwrap();
                }
            }
            let options = batch(3, 32, window);
            let reader = Reader::new(&model, &tokenizer, &options);
            let found = reader.bits_per_byte(texts().into_iter().map(Ok), &mut |_| ()).unwrap();
            check(found.figure.bits, nats / std::f64::consts::LN_2);
            assert_eq!(
                found.figure.bytes,
                texts().iter().map(|text| text.len() as u64).sum::<u64>()
            );
            assert_eq!((found.documents(), found.changed_documents), (5, 0));
            check(found.bits_of_documents.iter().sum(), found.figure.bits);
        }
    }
}

#[test]
fn figures_are_the_same_to_the_bit_in_any_batch() {
    let _turn = turn();
    let (model, tokenizer) = (tiny(), tokenizer());
    let tasks = tasks();
    let found = [(1, 64), (3, 7), (8, 512)].map(|(slots, prefill_chunk)| {
        let options = batch(slots, prefill_chunk, 24);
        let reader = Reader::new(&model, &tokenizer, &options);
        let bits = reader.bits_per_byte(texts().into_iter().map(Ok), &mut |_| ()).unwrap();
        (bits.figure.bits.to_bits(), reader.likelihood(&tasks, &mut |_| ()).unwrap())
    });
    assert!(found.iter().all(|other| *other == found[0]), "{found:?}");
}

#[test]
fn a_cache_for_a_single_context_is_enough() {
    let _turn = turn();
    let (model, tokenizer) = (tiny(), tokenizer());
    let bits = |cache_bytes| {
        let options = BatchOptions { cache_bytes, ..batch(4, 64, 128) };
        let reader = Reader::new(&model, &tokenizer, &options);
        reader.bits_per_byte(texts().into_iter().map(Ok), &mut |_| ()).unwrap().figure
    };
    let one = model::MemoryPlan::new(model.outline(), &batch(1, 64, 128)).unwrap().cache_bytes;
    assert_eq!(bits(Some(one)), bits(None));
}

#[test]
fn no_text_and_no_window_are_no_figure() {
    let _turn = turn();
    let (model, tokenizer) = (tiny(), tokenizer());
    let measure = |texts: Vec<Result<String, Error>>, context_tokens| {
        let options = batch(2, 64, context_tokens);
        let reader = Reader::new(&model, &tokenizer, &options);
        reader.bits_per_byte(texts.into_iter(), &mut |_| ())
    };
    assert!(matches!(measure(Vec::new(), 64), Err(Error::Empty { .. })));
    assert!(matches!(measure(vec![Ok("the".to_owned())], 1), Err(Error::Option { .. })));
    let failed = measure(vec![Ok("the".to_owned()), Err(Error::Conversations)], 64);
    assert!(matches!(failed, Err(Error::Conversations)));
}

fn task(context: &str, choices: &[&str], answer: usize) -> Task {
    let choices = choices.iter().map(|&choice| choice.to_owned()).collect();
    Task { context: context.to_owned(), choices, answer }
}

fn tasks() -> Vec<Task> {
    vec![
        task("The capital of France is", &[" Paris", " the answer to that", " user"], 0),
        task("hello", &[" world", " system and not that"], 1),
        task("for you ", &["are", "question it on at is"], 0),
        task("", &["the world", "of that"], 1),
        task(
            "what is in it and on it and at it and in that and of it and to it?",
            &[" A", " B"],
            1,
        ),
    ]
}

#[test]
fn answers_are_those_of_the_definition() {
    let _turn = turn();
    let model = tiny();
    for tokenizer in [tokenizer(), tokenizer_with_beginning()] {
        let beginning = tokenizer.beginning_of_text();
        let (mut right, mut right_by_bytes, mut all) = (0.0, 0.0, Vec::new());
        for Task { context, choices, answer } in tasks() {
            let score = |choice: &String| {
                let whole = tokenizer.encode(&format!("{context}{choice}"));
                let of_context = tokenizer.encode(context.trim_end()).len();
                let tail = whole.len() - of_context;
                let tokens: Vec<u32> = beginning.into_iter().chain(whole).collect();
                let logprobs = logprobs(&model, &tokens);
                let uniform = tail > logprobs.len();
                let predicted = &logprobs[logprobs.len().saturating_sub(tail)..];
                let first = if uniform { (tokenizer.vocabulary_len() as f64).ln() } else { 0.0 };
                predicted.iter().sum::<f64>() - first
            };
            let sums: Vec<f64> = choices.iter().map(score).collect();
            let by_bytes = sums
                .iter()
                .zip(&choices)
                .map(|(sum, choice)| sum / choice.trim_start().len() as f64);
            let best = |numbers: &[f64]| {
                (0..numbers.len()).max_by(|&a, &b| numbers[a].total_cmp(&numbers[b])).unwrap()
            };
            right += f64::from(u8::from(best(&sums) == answer));
            all.extend_from_slice(&sums);
            right_by_bytes += f64::from(u8::from(best(&by_bytes.collect::<Vec<_>>()) == answer));
        }
        let options = batch(3, 32, 256);
        let reader = Reader::new(&model, &tokenizer, &options);
        let found = reader.choices(&tasks(), &mut |_| ()).unwrap();
        assert_eq!(found.logprobs.len(), all.len());
        found.logprobs.iter().zip(all).for_each(|(&found, expected)| check(found, expected));
        let found = reader.likelihood(&tasks(), &mut |_| ()).unwrap();
        check(found.accuracy.value + 1.0, right / 5.0 + 1.0);
        check(found.accuracy_by_bytes.value + 1.0, right_by_bytes / 5.0 + 1.0);
        check(found.chance, (1.0 / 3.0 + 4.0 / 2.0) / 5.0);
        assert_eq!((found.tasks, found.cut), (5, 0));
    }
}

#[test]
fn a_long_context_is_cut_and_a_long_choice_refused() {
    let _turn = turn();
    let (model, tokenizer) = (tiny(), tokenizer());
    let options = batch(2, 64, 8);
    let reader = Reader::new(&model, &tokenizer, &options);
    let long = "the answer is on Paris and ".repeat(9);
    let found = reader.likelihood(&[task(&long, &[" it", " that"], 0)], &mut |_| ()).unwrap();
    assert_eq!((found.cut, found.accuracy.standard_error), (2, None));
    let fitting = task("it", &[" it", " that"], 0);
    let tasks = [fitting, task("it", &[" it", &long], 0)];
    let refused = reader.likelihood(&tasks, &mut |_| ());
    let expected = matches!(
        refused,
        Err(Error::Task { task: 2, fault: TaskFault::ChoiceTooLong { window: 8, .. } })
    );
    assert!(expected, "{refused:?}");
    assert!(matches!(reader.likelihood(&[], &mut |_| ()), Err(Error::Empty { .. })));
}
