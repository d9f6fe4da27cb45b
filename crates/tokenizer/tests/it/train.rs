//! Training: merges by hand, and the same file as the crate `tokenizers` makes of the same text.

use std::num::NonZeroUsize;

use tokenizer::{Error, SplitRule, TrainOptions, Trained, Trainer};
use tokenizers::models::bpe::{BPE, BpeTrainer};
use tokenizers::models::{ModelWrapper, TrainerWrapper};
use tokenizers::pre_tokenizers::PreTokenizerWrapper;
use tokenizers::pre_tokenizers::byte_level::ByteLevel;
use tokenizers::pre_tokenizers::digits::Digits;
use tokenizers::pre_tokenizers::sequence::Sequence;
use tokenizers::tokenizer::AddedToken;

use crate::generated::{Random, strings, themed_strings};
use crate::oracle::{EXPRESSIONS, expression_step};

const RULES: [SplitRule; 5] =
    [SplitRule::Gpt2, SplitRule::SmolLm, SplitRule::Llama3, SplitRule::Qwen2, SplitRule::Cl100k];

fn train(options: &TrainOptions, documents: &[impl AsRef<str>]) -> Result<Trained, Error> {
    let mut trainer = Trainer::new(options.clone())?;
    for document in documents {
        trainer.feed(document.as_ref())?;
    }
    trainer.train(&mut |_| ())
}

/// What the oracle makes of the same text, as its own file.
fn oracle(options: &TrainOptions, documents: &[String]) -> tokenizers::Tokenizer {
    let alphabet = ByteLevel::alphabet().into_iter().collect();
    let special = |name: &String| AddedToken::from(name.as_str(), true);
    let trainer = BpeTrainer::builder()
        .show_progress(false)
        .vocab_size(options.vocabulary)
        .min_frequency(options.min_frequency)
        .special_tokens(options.special_tokens.iter().map(special).collect())
        .initial_alphabet(alphabet)
        .build();
    let whole = ByteLevel::new(false, true, true);
    let spelling = ByteLevel::new(false, true, false);
    let steps = |first: PreTokenizerWrapper, last: ByteLevel| -> PreTokenizerWrapper {
        Sequence::new(vec![first, last.into()]).into()
    };
    let expression = EXPRESSIONS.iter().find(|(rule, _)| *rule == options.split);
    let step: PreTokenizerWrapper = match (options.split, expression) {
        (SplitRule::SmolLm, _) => steps(Digits::new(true).into(), whole),
        (SplitRule::Gpt2, _) => whole.into(),
        (_, expression) => {
            let (_, expression) = expression.expect("a rule of one expression");
            steps(expression_step(expression).into(), spelling)
        }
    };
    let mut oracle = tokenizers::Tokenizer::new(ModelWrapper::from(BPE::default()));
    oracle.with_pre_tokenizer(Some(step));
    oracle.with_decoder(Some(ByteLevel::default()));
    let mut trainer = TrainerWrapper::from(trainer);
    oracle.train(&mut trainer, documents.iter()).expect("the oracle trains");
    oracle
}

/// Trains both; the files must be the same, byte for byte, and so must the tokens of other text.
fn check(options: &TrainOptions, documents: &[String]) -> Trained {
    let ours = train(options, documents).expect("a text that can be learned from");
    let oracle = oracle(options, documents);
    let file = ours.json();
    let expected = oracle.to_string(true).expect("the oracle writes");
    // The first line that differs, in place of both files.
    let differs = file.lines().zip(expected.lines()).find(|(ours, theirs)| ours != theirs);
    assert_eq!(differs, None, "{options:?}");
    assert_eq!(file.len(), expected.len(), "{options:?}");
    ours
}

#[test]
fn the_example_by_hand() {
    // Words: low 5, Ġlower 2, Ġnewest 6, Ġwidest 3. Ġ is above all letters, so of equals it is last.
    let text = [&["low"; 5][..], &[" lower"; 2], &[" newest"; 6], &[" widest"; 3]].concat();
    let options = TrainOptions { vocabulary: 300, min_frequency: 3, ..TrainOptions::default() };
    let trained = train(&options, &text).unwrap();
    let expected = [
        ("e", "s"),      // 9 times, as are s t and then es t; e comes before s
        ("es", "t"),     // 9
        ("l", "o"),      // 7
        ("lo", "w"),     // 7
        ("e", "w"),      // 6, as are n e, Ġ n and w est
        ("n", "ew"),     // 6, as are Ġ n, ew est
        ("Ġ", "new"),    // 6
        ("Ġnew", "est"), // 6
        ("d", "est"),    // 3, as are i d, w i, Ġ w
        ("i", "dest"),
        ("w", "idest"),
        ("Ġ", "widest"),
    ];
    assert_eq!(trained.merges().collect::<Vec<_>>(), expected);
    assert_eq!(trained.vocabulary_len(), 256 + expected.len());
    let tokenizer = trained.tokenizer().unwrap();
    let words = |text| -> Vec<String> {
        let tokens = tokenizer.encode(text);
        tokens.iter().map(|&token| tokenizer.token_text(token)).collect()
    };
    assert_eq!(words("lowest newest"), ["low", "est", " newest"]);
    let documents: Vec<String> = text.iter().map(|&word| word.to_owned()).collect();
    check(&options, &documents);
}

#[test]
fn the_files_are_those_of_the_oracle_by_every_rule() {
    let special_tokens = vec!["<|endoftext|>".to_owned(), "<|im_start|>".into(), "[PAD]".into()];
    for (split, seed) in RULES.into_iter().zip(100..) {
        let documents: Vec<String> = strings(3_000, seed).collect();
        for (vocabulary, min_frequency) in [(700, 0), (1_500, 2), (100_000, 7)] {
            let special_tokens = special_tokens.clone();
            let threads = NonZeroUsize::MIN;
            let options =
                TrainOptions { vocabulary, min_frequency, special_tokens, split, threads };
            check(&options, &documents);
        }
    }
}

/// Words of two or three letters: almost every count is one of many equals, and the same letter
/// stands beside itself everywhere.
#[test]
fn equals_and_repeated_letters_merge_as_in_the_oracle() {
    let mut random = Random::new(7);
    for letters in [1, 2, 3] {
        for words in [1, 5, 200] {
            let word = |random: &mut Random| -> String {
                let letter = |random: &mut Random| ["a", "b", "é"][random.below(letters)];
                (0..=random.below(40)).map(|_| letter(random)).collect()
            };
            let documents: Vec<String> = (0..words).map(|_| word(&mut random)).collect();
            for min_frequency in [0, 1, 2, 3] {
                let options =
                    TrainOptions { vocabulary: 400, min_frequency, ..TrainOptions::default() };
                check(&options, &documents);
            }
        }
    }
}

#[test]
fn tokens_of_a_trained_file_are_those_of_the_oracle() {
    for (split, seed) in RULES.into_iter().zip(200..) {
        let documents: Vec<String> = themed_strings(4_000, seed).collect();
        let special_tokens = vec!["<|im_start|>".to_owned(), "<|im_end|>".to_owned()];
        let options =
            TrainOptions { vocabulary: 2_000, special_tokens, split, ..TrainOptions::default() };
        let trained = train(&options, &documents).unwrap();
        let tokenizer = trained.tokenizer().unwrap();
        assert_eq!(tokenizer.split_rule(), split);
        assert_eq!(tokenizer.special("<|im_end|>"), Some(1));
        assert_eq!(tokenizer.vocabulary_len(), trained.vocabulary_len());
        let mut oracle =
            tokenizers::Tokenizer::from_bytes(trained.json()).expect("the oracle reads it");
        oracle.set_encode_special_tokens(true);
        for text in strings(4_000, seed + 50) {
            let expected = oracle.encode_fast(text.as_str(), false).expect("the oracle encodes");
            let tokens = tokenizer.encode(&text);
            assert_eq!(tokens, expected.get_ids(), "{text:?}");
            assert_eq!(tokenizer.decode(&tokens), text);
        }
    }
}

#[test]
fn threads_and_the_order_of_documents_change_nothing() {
    let mut documents: Vec<String> = themed_strings(20_000, 300).collect();
    documents.push(documents.join(" and "));
    let with = |threads, documents: &[String]| {
        let threads = NonZeroUsize::new(threads).unwrap();
        let options = TrainOptions { vocabulary: 1_000, threads, ..TrainOptions::default() };
        train(&options, documents).unwrap().json()
    };
    let one = with(1, &documents);
    documents.reverse();
    for threads in [1, 2, 3, 7] {
        assert_eq!(with(threads, &documents), one, "{threads} threads");
    }
}

#[test]
fn a_file_is_one_document_of_any_length() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("text");
    let text = strings(60_000, 400).collect::<Vec<_>>().join("\n");
    assert!(text.len() > 3 << 20);
    std::fs::write(&path, &text).unwrap();
    let options = TrainOptions { vocabulary: 1_000, ..TrainOptions::default() };
    let mut trainer = Trainer::new(options.clone()).unwrap();
    let mut read = 0;
    trainer.feed_file(&path, &mut |bytes| read = bytes).unwrap();
    assert_eq!(read, text.len() as u64);
    let (of_file, of_text) =
        (trainer.train(&mut |_| ()).unwrap(), train(&options, &[text]).unwrap());
    assert_eq!(of_file.json(), of_text.json());
    let mut trainer = Trainer::new(options).unwrap();
    let missing = trainer.feed_file(&folder.path().join("absent"), &mut |_| ());
    assert!(matches!(missing, Err(Error::Read { .. })), "{missing:?}");
}

#[test]
fn what_cannot_be_trained_is_refused_with_the_reason() {
    let refusal = |vocabulary, special: &[&str]| {
        let special_tokens = special.iter().map(|&name| name.to_owned()).collect();
        let options = TrainOptions { vocabulary, special_tokens, ..TrainOptions::default() };
        Trainer::new(options).map(drop).map_err(|error| error.to_string())
    };
    for (vocabulary, special, reason) in [
        (255, &[][..], "at least 256"),
        (257, &["<|a|>", "<|b|>"], "at least 258"),
        (usize::MAX, &[], "at most 524288"),
        (1000, &["<|a|>", "<|b|>", "<|a|>"], "\"<|a|>\" is given twice"),
        (1000, &[""], "\"\" is empty"),
        (1000, &["a"], "single byte"),
        (1000, &["Ġ"], "single byte"),
        (1000, &[&"x".repeat(257)], "longer than 256 bytes"),
    ] {
        let error = refusal(vocabulary, special).expect_err(reason);
        assert!(error.contains(reason), "{error}");
    }
    assert_eq!(refusal(258, &["<|a|>", "日"]), Ok(()));
    let nothing = train(&TrainOptions::default(), &[""]);
    assert!(matches!(nothing, Err(Error::NothingToTrain)), "{nothing:?}");
}

#[test]
fn a_text_that_allows_fewer_merges_gives_fewer_tokens() {
    let options = TrainOptions { vocabulary: 1_000, ..TrainOptions::default() };
    let trained = train(&options, &["aa bb aa bb"]).unwrap();
    assert_eq!(trained.vocabulary_len(), 256 + 3, "aa, bb and Ġbb");
}

/// Whatever the text, its tokenizer can be read and no text makes a special token.
#[test]
fn merges_that_would_make_special_tokens_are_passed_over() {
    let special_tokens = vec!["the".to_owned(), "<|→|>".to_owned()];
    let options = TrainOptions { vocabulary: 400, special_tokens, ..TrainOptions::default() };
    let text = "the there <|→|> <|😀|> ".repeat(50) + &"x".repeat(60_000);
    let trained = train(&options, &[text]).unwrap();
    let tokenizer = trained.tokenizer().unwrap();
    for text in ["the", "<|→|>", "<|😀|>"] {
        let tokens = tokenizer.encode(text);
        assert!(tokens.len() > 1 && tokens.iter().all(|&token| !tokenizer.is_special(token)));
        assert_eq!(tokenizer.decode(&tokens), text);
    }
}
