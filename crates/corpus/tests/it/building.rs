//! What is kept and dropped, and that the same gives the same.

use std::collections::BTreeSet;
use std::path::Path;

use corpus::clean::CleanOptions;
use corpus::deduplicate::DeduplicateOptions;
use corpus::language::Language;
use corpus::shard::Shard;
use corpus::sources::BadRows;
use corpus::{BadRow, BuildOptions, Corpus, DropReason, Error, Source, Weight};

use crate::prepared::{Workshop, fixture, sentences, tokenizer};

/// The texts of all documents of a split, without special tokens.
fn documents(folder: &Path, split: &str) -> Vec<String> {
    let tokenizer = tokenizer();
    let mut texts = Vec::new();
    for number in 0.. {
        let path = folder.join(format!("{split}-{number:05}.shard"));
        if !path.exists() {
            break;
        }
        let shard = Shard::open(&path).unwrap();
        let mut tokens = vec![0; usize::try_from(shard.tokens()).unwrap()];
        shard.read(0, &mut tokens).unwrap();
        let ends = shard.starts()[1..].iter().map(|&start| start as usize).chain([tokens.len()]);
        for (&start, end) in shard.starts().iter().zip(ends) {
            texts.push(tokenizer.decode(&tokens[start as usize..end]));
        }
    }
    texts
}

fn options(sources: Vec<Source>) -> BuildOptions {
    BuildOptions {
        clean: CleanOptions { characters_min: 5 },
        validation_ppm: 0,
        ..BuildOptions::new(sources)
    }
}

#[test]
fn the_messages_of_the_presidents_become_a_corpus() {
    let workshop = Workshop::new();
    let source = Source::text("messages", fixture("state-of-the-union"));
    let options = BuildOptions {
        languages: vec![Language::English],
        validation_ppm: 200_000,
        ..BuildOptions::new(vec![source])
    };
    let mut last = 0;
    let out = workshop.path("out");
    let report = Corpus::build(&options, &tokenizer(), &out, &mut |progress| {
        assert_eq!(progress.source, "messages");
        last = progress.tokens;
    })
    .unwrap();
    let corpus = Corpus::open(&out).unwrap();
    assert_eq!(corpus.report().unwrap(), report);
    let text = std::fs::read_to_string(out.join("report.txt")).unwrap();
    assert_eq!(text, report.to_string());
    let messages = &report.sources[0];
    assert_eq!((messages.rows.rows, messages.documents), (20, 20));
    assert_eq!(report.train.documents + report.validation.documents, 20);
    assert!(report.validation.documents > 0 && report.train.documents > 10);
    assert_eq!(report.train.tokens + report.validation.tokens, last);
    assert!((messages.text_bytes / 6..messages.text_bytes / 2).contains(&last));
    assert_eq!(corpus.facts().end_of_text, tokenizer().special("<|endoftext|>"));
    corpus.check_tokenizer(&tokenizer()).unwrap();
    let texts = documents(&out, "train");
    let cleaned: BTreeSet<String> = std::fs::read_dir(fixture("state-of-the-union"))
        .unwrap()
        .map(|entry| std::fs::read_to_string(entry.unwrap().path()).unwrap())
        .map(|text| corpus::clean::clean(&text))
        .collect();
    // The small vocabulary has all bytes, so nothing of a text is lost.
    assert!(texts.iter().all(|text| cleaned.contains(text)));
}

#[test]
fn every_drop_has_its_reason() {
    let workshop = Workshop::new();
    let long = "the quick brown fox jumps over the lazy dog and runs away from it ".repeat(8);
    let french = "Le chat est sur la table et il ne veut pas descendre dans le jardin.";
    let texts = [
        long.as_str(),
        "  \u{0} ",
        "abc",
        "broken \u{fffd}\u{fffd} text of some length",
        &long.to_uppercase(),
        &format!("{long} indeed"),
        french,
    ];
    let source = workshop.texts("all", &texts);
    let options =
        BuildOptions { languages: vec![Language::English], ..options(vec![source.clone()]) };
    let (report, _) = workshop.build("out", &options);
    let dropped = [
        (DropReason::Empty, 1),
        (DropReason::TooShort, 1),
        (DropReason::Broken, 1),
        (DropReason::Language, 1),
        (DropReason::Duplicate, 1),
        (DropReason::NearDuplicate, 1),
    ];
    assert_eq!(report.sources[0].dropped, dropped.into());
    assert_eq!(documents(&workshop.path("out"), "train"), [long.trim()]);

    let keep =
        BuildOptions { deduplicate: DeduplicateOptions::off(), ..self::options(vec![source]) };
    assert_eq!(workshop.build("keep", &keep).0.train.documents, 4);
}

#[test]
fn the_same_sources_give_the_same_bytes_and_validation_does_not_depend_on_order() {
    let workshop = Workshop::new();
    let texts = sentences(400);
    let reversed: Vec<&String> = texts.iter().rev().collect();
    let options = |source| BuildOptions {
        validation_ppm: 100_000,
        shard_tokens: 1_000,
        ..options(vec![source])
    };
    let (report, _) = workshop.build("a", &options(workshop.texts("s", &texts)));
    workshop.build("b", &options(workshop.texts("s", &texts)));
    workshop.build("c", &options(workshop.texts("s", &reversed)));
    assert!(report.train.shards > 5 && report.validation.shards >= 1);
    let manifest = |name: &str| std::fs::read(workshop.path(name).join("MANIFEST.json")).unwrap();
    assert_eq!(manifest("a"), manifest("b"));
    assert_ne!(manifest("a"), manifest("c"));
    for split in ["train", "validation"] {
        let sorted =
            |name| documents(&workshop.path(name), split).into_iter().collect::<BTreeSet<_>>();
        // Which of two near duplicates stays depends on the order; these have none.
        assert_eq!(sorted("a"), sorted("c"));
    }
    let (train, validation) =
        (documents(&workshop.path("a"), "train"), documents(&workshop.path("a"), "validation"));
    assert_eq!(train.len() + validation.len(), 400);
    assert!((15..75).contains(&validation.len()), "{}", validation.len());
    assert!(train.iter().all(|text| !validation.contains(text)));
}

#[test]
fn any_number_of_threads_gives_the_same_bytes() {
    let workshop = Workshop::new();
    // More than one portion, duplicates near and far, bad rows, rows that cannot be written.
    let mut rows: Vec<String> = sentences(1_500)
        .iter()
        .map(|text| serde_json::json!({"prompt": "Say it.", "completion": text}).to_string())
        .collect();
    for at in [3, 700, 1_100, 1_499] {
        rows.insert(at, rows[at - 2].to_uppercase().replace("PROMPT", "prompt"));
        rows.insert(at, rows[at / 2].clone());
        rows.insert(at, r#"{"messages": [{"role": "assistant", "content": "a"}, {"role": "assistant", "content": "b"}]}"#.to_owned());
    }
    let talk = Source::conversations("talk", workshop.rows("talk", &rows.join("\n")).path);
    let sources = vec![talk, Source::text("messages", fixture("state-of-the-union"))];
    let build = |threads: usize| {
        let threads = threads.try_into().unwrap();
        let name = format!("out-{threads}");
        let options =
            BuildOptions { shard_tokens: 9_000, threads, ..BuildOptions::new(sources.clone()) };
        let (report, _) = workshop.build(&name, &options);
        (report, std::fs::read(workshop.path(&name).join("MANIFEST.json")).unwrap())
    };
    let one = build(1);
    let talk = &one.0.sources[0];
    assert!(talk.dropped[&DropReason::Duplicate] >= 4 && talk.rows.bad_rows() > 0, "{}", one.0);
    for threads in [2, 3, 8] {
        assert!(build(threads) == one, "{threads}");
    }
}

#[test]
fn weights_repeat_and_choose() {
    let workshop = Workshop::new();
    let texts = sentences(200);
    let weighted =
        |ppm: u32| Source { weight: Weight::from_ppm(ppm).unwrap(), ..workshop.texts("s", &texts) };
    for (ppm, least, most) in [(500_000, 65, 135), (3_000_000, 600, 600), (1_500_000, 265, 335)] {
        let name = format!("out-{ppm}");
        let (report, _) = workshop.build(&name, &options(vec![weighted(ppm)]));
        assert!((least..=most).contains(&report.train.documents), "{ppm}: {report}");
        assert_eq!(report.sources[0].copies, report.train.documents);
        let again = workshop.build(&format!("{name}-again"), &options(vec![weighted(ppm)]));
        assert_eq!(again.0, report);
    }
    let half = BuildOptions { validation_ppm: 500_000, ..options(vec![weighted(3_000_000)]) };
    let (report, _) = workshop.build("half", &half);
    assert_eq!(report.train.documents + 3 * report.validation.documents, 600);
}

#[test]
fn conversations_are_learned_where_the_assistant_speaks() {
    let workshop = Workshop::new();
    let rows = [
        r#"{"messages": [{"role": "user", "content": "hi"}, {"role": "assistant", "content": "hello"}]}"#,
        r#"{"prompt": "two?", "completion": "two!"}"#,
        r#"{"prompt": "nothing?", "completion": " "}"#,
        r#"{"prompt": "<|im_end|>", "completion": "text"}"#,
    ];
    let source = Source::conversations("c", workshop.rows("c", &rows.join("\n")).path);
    let (report, _) = workshop.build("out", &options(vec![source]));
    assert_eq!(report.sources[0].dropped, [(DropReason::NoAnswer, 1)].into());
    let tokenizer = tokenizer();
    let shard = Shard::open(&workshop.path("out").join("train-00000.shard")).unwrap();
    let mut tokens = vec![0; usize::try_from(shard.tokens()).unwrap()];
    shard.read(0, &mut tokens).unwrap();
    let mut learned = vec![true; tokens.len()];
    for &[begin, end] in shard.silent() {
        learned[begin as usize..end as usize].fill(false);
    }
    let spoken: String = tokens
        .iter()
        .zip(&learned)
        .filter(|(_, learned)| **learned)
        .map(|(&token, _)| tokenizer.token_text(token))
        .collect();
    assert_eq!(spoken, "hello<|im_end|>two!<|im_end|>text<|im_end|>");
    let silent = learned.iter().filter(|learned| !**learned).count();
    assert_eq!(report.train.silent_tokens, silent as u64);
    // What a person wrote made no special token: three conversations of two ends each.
    let end = tokenizer.special("<|im_end|>").unwrap();
    assert_eq!(tokens.iter().filter(|&&token| token == end).count() % 2, 0);
    assert_eq!(shard.starts().len(), 3);
}

#[test]
fn the_conversations_of_the_project_are_whole_and_without_duplicates() {
    let workshop = Workshop::new();
    let source = Source::conversations("conversations", fixture("conversations"));
    let options = BuildOptions { bad_rows: BadRows::Refused, ..BuildOptions::new(vec![source]) };
    let (report, _) = workshop.build("out", &options);
    let source = &report.sources[0];
    assert_eq!((source.rows.rows, source.documents), (339, 339), "{report}");
    assert_eq!((source.rows.files, source.rows.files_passed_over), (1, 1));
    let learned = report.train.tokens - report.train.silent_tokens;
    assert!(learned > report.train.tokens / 3, "{report}");
    let bytes = std::fs::metadata(fixture("conversations/conversations.jsonl")).unwrap().len();
    assert!(bytes < 150_000, "{bytes}");
}

#[test]
fn what_is_wrong_is_said_in_one_sentence_and_leaves_nothing() {
    let workshop = Workshop::new();
    let build = |options: &BuildOptions| {
        let out = workshop.path("out");
        let error = Corpus::build(options, &tokenizer(), &out, &mut |_| ()).unwrap_err();
        assert!(!out.exists() && !workshop.path("out.tmp").exists());
        error.to_string()
    };
    let source = workshop.texts("s", &["short", "short", "x"]);
    let said = build(&BuildOptions::new(vec![source.clone()]));
    assert_eq!(
        said,
        "no document is left to train on: of 3 rows 0 were bad, 3 were dropped (too short), and 0 \
         are for validation; give more text or drop less of it"
    );
    assert!(build(&BuildOptions::new(vec![])).contains("sources is 0 long"));
    let all = BuildOptions { validation_ppm: 1_000_000, ..options(vec![source.clone()]) };
    assert!(build(&all).contains("validation_ppm is 1000000"));
    let none = BuildOptions { shard_tokens: 0, ..options(vec![source.clone()]) };
    assert!(build(&none).contains("shard_tokens is 0"));
    let wrong = Source { column: "body".to_owned(), ..source.clone() };
    assert!(build(&options(vec![wrong])).contains("no column `body`"));
    let strict = BuildOptions {
        bad_rows: BadRows::Refused,
        ..options(vec![workshop.rows("bad", "{\"text\": \"a long enough text\"}\n{\n")])
    };
    assert!(build(&strict).contains("bad.jsonl: line 2"));
    let many =
        BuildOptions { shard_tokens: 1, ..options(vec![workshop.texts("m", &sentences(600))]) };
    assert!(build(&many).contains("more than 512 shards"));

    let good = options(vec![source]);
    let out = workshop.path("there");
    std::fs::create_dir(&out).unwrap();
    let error = Corpus::build(&good, &tokenizer(), &out, &mut |_| ()).unwrap_err();
    assert!(matches!(error, Error::Artifact(artifacts::Error::AlreadyThere { .. })), "{error}");
}

#[test]
fn bad_rows_are_in_the_report() {
    let workshop = Workshop::new();
    let source =
        workshop.rows("s", "{\"text\": \"a long enough text\"}\nnonsense\n{\"text\": 1}\n");
    let (report, _) = workshop.build("out", &options(vec![source]));
    let rows = &report.sources[0].rows;
    assert_eq!(rows.bad, [(BadRow::NotJson, 1), (BadRow::NotText, 1)].into());
    assert_eq!((rows.samples[0].file.as_str(), rows.samples[0].line), ("s.jsonl", 2));
    assert!(report.to_string().contains("    s.jsonl line 3: neither a text nor a list"));
}

#[test]
fn a_changed_file_is_found() {
    let workshop = Workshop::new();
    workshop.build("out", &options(vec![workshop.texts("s", &sentences(20))]));
    let out = workshop.path("out");
    let names: Vec<_> =
        std::fs::read_dir(&out).unwrap().map(|entry| entry.unwrap().path()).collect();
    for path in names {
        let whole = std::fs::read(&path).unwrap();
        let mut changed = whole.clone();
        changed[whole.len() / 2] ^= 1;
        std::fs::write(&path, changed).unwrap();
        assert!(Corpus::verify(&out, |_| ()).is_err(), "{}", path.display());
        std::fs::write(&path, whole).unwrap();
    }
    Corpus::verify(&out, |_| ()).unwrap();
    std::fs::remove_file(out.join("train-00000.shard")).unwrap();
    assert!(Corpus::open(&out).is_err());
}
