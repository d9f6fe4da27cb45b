//! Figures of a real corpus and of a model, and the memory that counting takes.

#![expect(clippy::unwrap_used, reason = "all of this file is tests")]

mod models;

use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};

use corpus::{BuildOptions, Corpus, Source};
use evals::ngram::{Learner, NgramOptions};
use evals::{Error, Texts, baselines};
use peak_alloc::PeakAlloc;
use tokenizer::{Tokenizer, TrainOptions, Trainer};

#[global_allocator]
static ALLOCATOR: PeakAlloc = PeakAlloc;

/// The allocator counts for the whole process, so the tests of this file take turns.
pub(crate) fn turn() -> MutexGuard<'static, ()> {
    static TURN: Mutex<()> = Mutex::new(());
    TURN.lock().unwrap_or_else(PoisonError::into_inner)
}

pub(crate) fn fixture(name: &str) -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fixtures").join(name)
}

fn small_tokenizer() -> Tokenizer {
    Tokenizer::from_json(&std::fs::read(fixture("smollm2-small.tokenizer.json")).unwrap()).unwrap()
}

/// The annual messages, a third of them for validation.
fn messages(folder: &Path, tokenizer: &Tokenizer) -> Corpus {
    let sources = vec![Source::text("messages", fixture("state-of-the-union"))];
    let options = BuildOptions { validation_ppm: 300_000, ..BuildOptions::new(sources) };
    let out = folder.join("corpus");
    Corpus::build(&options, tokenizer, &out, &mut |_| ()).unwrap();
    Corpus::open(&out).unwrap()
}

#[test]
fn baselines_of_the_annual_messages() {
    let _turn = turn();
    let folder = tempfile::tempdir().unwrap();
    let tokenizer = small_tokenizer();
    let corpus = messages(folder.path(), &tokenizer);
    let texts = Texts::new(&corpus, &tokenizer).unwrap();
    let found = baselines(&texts).unwrap();
    assert_eq!(found.map(|(name, _)| name), ["5-gram", "gzip -9", "xz -9e"]);
    let [ngram, gzip, xz] = found.map(|(_, figure)| figure);
    // All speak of the same text, and some of each gains from what was there before.
    assert!(ngram.bytes > 10_000 && ngram.bytes == gzip.bytes && gzip.bytes == xz.bytes);
    assert!((1.5..2.6).contains(&ngram.value()), "{}", ngram.value());
    assert!((2.5..3.2).contains(&gzip.value()), "{}", gzip.value());
    assert!((1.8..gzip.value()).contains(&xz.value()), "{}", xz.value());
    let again = baselines(&texts).unwrap();
    assert_eq!(again.map(|(_, figure)| figure), [ngram, gzip, xz]);
    let options = TrainOptions { vocabulary: 257, ..TrainOptions::default() };
    let mut other = Trainer::new(options).unwrap();
    other.feed("coffee coffee").unwrap();
    let other = other.train(&mut |_| ()).unwrap().tokenizer().unwrap();
    let refused = Texts::new(&corpus, &other);
    assert!(matches!(refused, Err(Error::Corpus(corpus::Error::OtherTokenizer { .. }))));
}

#[test]
fn conversations_are_no_texts() {
    let _turn = turn();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("talk.jsonl");
    std::fs::write(&path, r#"{"prompt": "What is ready?", "completion": "The coffee."}"#).unwrap();
    let sources = vec![Source::conversations("talk", path)];
    let options = BuildOptions { validation_ppm: 0, ..BuildOptions::new(sources) };
    let (tokenizer, out) = (small_tokenizer(), folder.path().join("corpus"));
    Corpus::build(&options, &tokenizer, &out, &mut |_| ()).unwrap();
    let corpus = Corpus::open(&out).unwrap();
    assert!(matches!(Texts::new(&corpus, &tokenizer), Err(Error::Conversations)));
}

#[test]
fn counting_keeps_to_its_memory() {
    let _turn = turn();
    // The worst there is: every run but the shortest is new.
    let (documents, length) = (200, 1_000);
    let options = NgramOptions { order: 5, vocabulary: 50_000 };
    let mut state = 1_u64;
    let mut token = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        u32::try_from((state >> 33) % 50_000).unwrap()
    };
    let before = ALLOCATOR.current_usage();
    ALLOCATOR.reset_peak_usage();
    let mut learner = Learner::new(options).unwrap();
    for _ in 0..documents {
        let document: Vec<u32> = (0..length).map(|_| token()).collect();
        learner.add(&document).unwrap();
    }
    let ngram = learner.learn().unwrap();
    let peak = (ALLOCATOR.peak_usage() - before) / (documents * length);
    let kept = (ALLOCATOR.current_usage() - before) / (documents * length);
    assert!(ngram.runs() > 4 * documents * (length - 4));
    assert!(peak <= 128 && kept <= 96, "{peak} bytes a token, {kept} kept");
}
