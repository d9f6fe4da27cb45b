//! The queue over the real batch and a tiny model of random weights; failures put in between.

use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};

use engine::{Device, DeviceOptions, KernelPath};
use model::{SequenceId, Source, StopReason};

use super::*;
use crate::event::Usage;
use crate::stream::TokenInfo;

/// Enough tokens for a request to be live until it is told otherwise.
const LONG: usize = 400;

fn tiny(kernels: Option<KernelPath>) -> (Arc<Model>, Tokenizer) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fixtures/tiny-chat.gguf");
    let file = artifacts::gguf::Gguf::open(&path).unwrap();
    let tokenizer = Tokenizer::from_gguf(file.header().metadata()).unwrap();
    let device = Device::cpu(&DeviceOptions { threads: 1.try_into().ok(), kernels }).unwrap();
    let model = Model::load(&device, &Source::Gguf(path), &mut |_, _| {}).unwrap();
    (Arc::new(model), tokenizer)
}

fn options(slots: usize, queue: usize) -> GeneratorOptions {
    let batch = BatchOptions { slots, context_tokens: 512, ..BatchOptions::default() };
    GeneratorOptions { batch, queue }
}

fn generator(slots: usize, queue: usize) -> (Generator, Tokenizer) {
    let (model, tokenizer) = tiny(None);
    (Generator::start(model, tokenizer.clone(), options(slots, queue)).unwrap(), tokenizer)
}

/// One slot, on kernels so slow that a long request is still there when the test looks.
fn slow_generator(queue: usize) -> (Generator, Tokenizer) {
    let (model, tokenizer) = tiny(Some(KernelPath::Reference));
    (Generator::start(model, tokenizer.clone(), options(1, queue)).unwrap(), tokenizer)
}

fn request(tokenizer: &Tokenizer, text: &str, max_tokens: usize) -> GenerationRequest {
    let sampling = Sampling { seed: 7, ..Sampling::default() };
    let prompt = tokenizer.encode(text);
    GenerationRequest { prompt, max_tokens: Some(max_tokens), sampling, ..Default::default() }
}

/// What a stream told until its end.
#[derive(Debug, Default)]
struct Told {
    text: String,
    infos: Vec<TokenInfo>,
    prompt: Vec<TokenInfo>,
    done: Option<(StopReason, Usage, Vec<u32>)>,
    failed: Option<Error>,
}

fn all(mut stream: Stream) -> Told {
    let mut told = Told::default();
    while let Some(event) = stream.next_blocking() {
        match event {
            Event::Admitted => {}
            Event::Started { prompt, .. } => told.prompt = prompt,
            Event::Text { text, tokens } => {
                told.text.push_str(&text);
                told.infos.extend(tokens);
            }
            Event::Done { stop_reason, usage, tokens } => {
                told.done = Some((stop_reason, usage, tokens));
            }
            Event::Failed(error) => told.failed = Some(error),
        }
    }
    told
}

/// Waits until the request has a slot and its prompt is read.
fn wait_until_started(stream: &mut Stream) {
    while let Some(event) = stream.next_blocking() {
        if matches!(event, Event::Started { .. }) {
            return;
        }
    }
    panic!("the stream ended before it started");
}

#[test]
fn an_answer_is_its_tokens_in_text() {
    let (generator, tokenizer) = generator(2, 4);
    let asked = request(&tokenizer, "once upon", 40);
    let told = all(generator.submit(asked.clone()).unwrap());
    let (reason, usage, tokens) = told.done.unwrap();
    assert_eq!(reason, StopReason::Length);
    assert_eq!(usage.prompt_tokens, asked.prompt.len());
    assert_eq!((usage.completion_tokens, tokens.len()), (40, 40));
    assert_eq!(told.text, tokenizer.decode(&tokens));
    assert!(told.infos.iter().all(|info| info.logprob.is_none()));
}

#[test]
fn the_same_request_draws_the_same_answer_alone_and_in_company() {
    let (generator, tokenizer) = generator(4, 8);
    let alone = all(generator.submit(request(&tokenizer, "a tale", 30)).unwrap()).text;
    let texts = ["a tale", "another", "a tale", "of it"];
    let streams = texts.map(|text| generator.submit(request(&tokenizer, text, 30)).unwrap());
    let told = streams.map(|stream| all(stream).text);
    assert_eq!((&told[0], &told[2]), (&alone, &alone));
    assert_ne!(told[1], alone);
}

#[test]
fn a_stop_string_ends_the_answer_before_it() {
    let (generator, tokenizer) = generator(1, 4);
    let asked = request(&tokenizer, "once upon", 60);
    let whole = all(generator.submit(asked.clone()).unwrap()).text;
    let characters: Vec<char> = whole.chars().collect();
    let stop: String = characters[characters.len() / 2..][..3].iter().collect();
    let told =
        all(generator.submit(GenerationRequest { stop: vec![stop.clone()], ..asked }).unwrap());
    assert_eq!(told.text, whole[..whole.find(&stop).unwrap()]);
    assert_eq!(told.done.unwrap().0, StopReason::Stopped);
}

#[test]
fn logprobs_come_with_the_prompt_and_the_answer() {
    let (generator, tokenizer) = generator(1, 4);
    let asked = request(&tokenizer, "once upon a time", 10);
    let asked = GenerationRequest { logprobs: Some(2), echo: true, ..asked };
    let told = all(generator.submit(asked.clone()).unwrap());
    let texts =
        |infos: &[TokenInfo]| infos.iter().map(|info| info.text.as_str()).collect::<String>();
    assert_eq!(texts(&told.prompt), "once upon a time");
    assert_eq!(texts(&told.infos), told.text);
    assert_eq!(told.prompt[0].logprob, None, "nothing predicts the first token");
    let scored = told.prompt[1..].iter().chain(&told.infos);
    for info in scored {
        assert!(info.logprob.is_some_and(|logprob| logprob <= 0.0));
        assert_eq!(info.alternatives.len(), 2);
    }
    let scoring = GenerationRequest { max_tokens: Some(0), ..asked };
    let scored = all(generator.submit(scoring).unwrap());
    assert_eq!(scored.prompt, told.prompt, "scoring alone gives the same numbers");
    assert_eq!((scored.text.as_str(), scored.done.unwrap().1.completion_tokens), ("", 0));
}

#[test]
fn dropping_a_stream_frees_its_slot_and_its_place_in_the_queue() {
    let (generator, tokenizer) = slow_generator(1);
    let mut first = generator.submit(request(&tokenizer, "first", LONG)).unwrap();
    wait_until_started(&mut first);
    let second = generator.submit(request(&tokenizer, "second", 5)).unwrap();
    let refused = generator.submit(request(&tokenizer, "third", 5)).unwrap_err();
    assert!(matches!(refused, SubmitError::QueueFull { waiting: 1, .. }), "{refused:?}");
    drop(second);
    let third = generator.submit(request(&tokenizer, "third", 5)).unwrap();
    drop(first);
    assert_eq!(all(third).done.unwrap().1.completion_tokens, 5);
}

#[test]
fn what_cannot_be_served_is_refused_with_its_name() {
    let (generator, tokenizer) = generator(1, 1);
    let long = GenerationRequest { prompt: vec![1; 512], ..Default::default() };
    let refused = generator.submit(long.clone()).unwrap_err();
    assert_eq!(refused, SubmitError::ContextOverflow { prompt_tokens: 512, context_tokens: 512 });
    let scoring = GenerationRequest { max_tokens: Some(0), ..long };
    assert!(generator.submit(scoring).is_ok(), "reading a prompt needs no room for an answer");
    let asked = request(&tokenizer, "x", 1);
    let hot = Sampling { temperature: -1.0, ..asked.sampling.clone() };
    let refused =
        generator.submit(GenerationRequest { sampling: hot, ..asked.clone() }).unwrap_err();
    assert!(matches!(refused, SubmitError::Invalid { param: "temperature", .. }), "{refused:?}");
    let stops = vec!["x".to_owned(); STOPS_MAX + 1];
    let refused = generator.submit(GenerationRequest { stop: stops, ..asked }).unwrap_err();
    assert!(matches!(refused, SubmitError::Invalid { param: "stop", .. }), "{refused:?}");
}

/// The real batch, failing at one of its steps.
struct Faulty {
    batch: Batch,
    steps_left: usize,
    fault: Fault,
}

#[derive(Clone, Copy)]
enum Fault {
    Panic,
    Error,
}

impl worker::Engine for Faulty {
    fn add(&mut self, request: SequenceRequest) -> Result<SequenceId, model::Error> {
        self.batch.add(request)
    }

    fn cancel(&mut self, id: SequenceId) {
        self.batch.cancel(id);
    }

    fn step(&mut self) -> Result<Vec<model::Event>, model::Error> {
        self.steps_left = self.steps_left.saturating_sub(1);
        match self.fault {
            _ if self.steps_left > 0 => self.batch.step(),
            Fault::Panic => panic!("planted"),
            Fault::Error => Err(model::Error::NotFinite { position: 3 }),
        }
    }

    fn stats(&self) -> BatchStats {
        self.batch.stats()
    }

    fn context_tokens(&self) -> usize {
        self.batch.options().context_tokens
    }
}

#[test]
fn after_a_failure_of_the_engine_the_queue_is_served_by_a_new_one() {
    for fault in [Fault::Panic, Fault::Error] {
        let (model, tokenizer) = tiny(None);
        let vocabulary = model.config().vocab;
        let made = AtomicUsize::new(0);
        let make = move || {
            // The first engine fails at its tenth step, the second one never.
            let steps_left = [10, usize::MAX][made.fetch_add(1, Ordering::Relaxed).min(1)];
            let batch = Batch::new(Arc::clone(&model), options(1, 4).batch)?;
            Ok(Faulty { batch, steps_left, fault })
        };
        let generator =
            Generator::start_with(make, vocabulary, tokenizer.clone(), options(1, 4)).unwrap();
        let first = generator.submit(request(&tokenizer, "first", LONG)).unwrap();
        let second = generator.submit(request(&tokenizer, "second", 5)).unwrap();
        let Some(Error::EngineFailed { reason }) = all(first).failed else { panic!("it failed") };
        let expected = match fault {
            Fault::Panic => "it panicked: planted",
            Fault::Error => "at position 3",
        };
        assert!(reason.contains(expected), "{reason}");
        assert_eq!(all(second).done.unwrap().1.completion_tokens, 5);
        assert_eq!(generator.stats().restarts, 1);
    }
}

/// A generator whose first engine fails at its second step, and whose others `make` gives.
fn failing_generator(
    make: impl Fn(usize) -> Result<(), model::Error> + Send + 'static,
) -> (Generator, Tokenizer) {
    let (model, tokenizer) = tiny(None);
    let vocabulary = model.config().vocab;
    let made = AtomicUsize::new(0);
    let make = move || {
        let attempt = made.fetch_add(1, Ordering::Relaxed);
        let steps_left = if attempt == 0 { 2 } else { usize::MAX };
        if attempt > 0 {
            make(attempt)?;
        }
        let batch = Batch::new(Arc::clone(&model), options(1, 4).batch)?;
        Ok(Faulty { batch, steps_left, fault: Fault::Error })
    };
    let started = Generator::start_with(make, vocabulary, tokenizer.clone(), options(1, 4));
    (started.unwrap(), tokenizer)
}

#[test]
fn an_engine_that_cannot_be_made_at_once_is_made_a_little_later() {
    let (generator, tokenizer) = failing_generator(|attempt| match attempt {
        1 => panic!("planted"),
        2 => Err(model::Error::Full),
        _ => Ok(()),
    });
    let first = generator.submit(request(&tokenizer, "first", LONG)).unwrap();
    let second = generator.submit(request(&tokenizer, "second", 5)).unwrap();
    assert!(matches!(all(first).failed, Some(Error::EngineFailed { .. })));
    assert_eq!(all(second).done.unwrap().1.completion_tokens, 5);
    assert_eq!(generator.stats().restarts, 1, "attempts that fail are no restarts");
}

#[test]
fn without_an_engine_everybody_is_told_so() {
    let (generator, tokenizer) = failing_generator(|_| panic!("planted"));
    let first = generator.submit(request(&tokenizer, "first", LONG)).unwrap();
    let second = generator.submit(request(&tokenizer, "second", 5)).unwrap();
    assert!(matches!(all(first).failed, Some(Error::EngineFailed { .. })));
    let Some(Error::EngineGone { reason }) = all(second).failed else { panic!("it is gone") };
    assert_eq!(&*reason, "it panicked: planted");
    let refused = generator.submit(request(&tokenizer, "third", 5)).unwrap_err();
    assert_eq!(refused, SubmitError::EngineGone);
    assert_eq!(generator.check_room(), Err(SubmitError::EngineGone));
    assert_eq!(generator.stats().restarts, 0);
    generator.shutdown(Duration::from_secs(60));
}

#[test]
fn whoever_finds_a_free_slot_does_not_count_as_waiting() {
    let (generator, tokenizer) = generator(4, 0);
    let told: Vec<Stream> =
        (0..4).map(|_| generator.submit(request(&tokenizer, "at once", 5)).unwrap()).collect();
    assert!(told.into_iter().all(|stream| all(stream).done.is_some()));
    let (generator, tokenizer) = slow_generator(0);
    let mut first = generator.submit(request(&tokenizer, "first", LONG)).unwrap();
    wait_until_started(&mut first);
    let refused = generator.submit(request(&tokenizer, "second", 5)).unwrap_err();
    assert!(matches!(refused, SubmitError::QueueFull { waiting: 0, .. }), "{refused:?}");
    assert_eq!(generator.check_room().unwrap_err(), refused);
    let next = generator.submit_next(request(&tokenizer, "next", 5)).unwrap();
    drop(first);
    assert!(all(next).done.is_some(), "who follows one that had a slot has a place");
}

#[test]
fn shutting_down_finishes_what_is_there_and_accepts_no_more() {
    let (generator, tokenizer) = generator(1, 4);
    let first = generator.submit(request(&tokenizer, "first", 20)).unwrap();
    let second = generator.submit(request(&tokenizer, "second", 20)).unwrap();
    generator.shutdown(Duration::from_secs(60));
    assert!(all(first).done.is_some() && all(second).done.is_some());
    let refused = generator.submit(request(&tokenizer, "third", 5)).unwrap_err();
    assert_eq!(refused, SubmitError::ShuttingDown);
}

#[test]
fn without_grace_requests_are_told_that_the_server_ends() {
    let (generator, tokenizer) = slow_generator(4);
    let mut first = generator.submit(request(&tokenizer, "first", LONG)).unwrap();
    wait_until_started(&mut first);
    let second = generator.submit(request(&tokenizer, "second", LONG)).unwrap();
    generator.shutdown(Duration::ZERO);
    for stream in [first, second] {
        assert!(matches!(all(stream).failed, Some(Error::ShuttingDown)));
    }
}

#[test]
fn the_thread_ends_with_the_last_handle() {
    let (generator, tokenizer) = slow_generator(4);
    let stream = generator.submit(request(&tokenizer, "first", LONG)).unwrap();
    drop(generator);
    assert!(matches!(all(stream).failed, Some(Error::ShuttingDown)));
}

#[test]
fn seeds_of_several_choices_differ_and_the_first_is_the_requests_own() {
    let seeds: Vec<u64> = (0..8).map(|index| derived_seed(42, index)).collect();
    assert_eq!(seeds[0], 42);
    let different: std::collections::HashSet<_> = seeds.iter().collect();
    assert_eq!(different.len(), 8);
}
