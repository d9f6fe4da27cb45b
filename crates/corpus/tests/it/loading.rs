//! Batches: what is in them, in which order, and going on from anywhere.

use corpus::{
    BuildOptions, Corpus, Error, Loader, LoaderOptions, Packing, Position, RowBatch, Source, Split,
};

use crate::prepared::{Workshop, sentences, tokenizer};

/// A corpus of several shards.
fn corpus(workshop: &Workshop, texts: usize) -> Corpus {
    let source = workshop.texts("s", &sentences(texts));
    let options = BuildOptions {
        clean: corpus::clean::CleanOptions { characters_min: 1 },
        validation_ppm: 0,
        shard_tokens: 500,
        ..BuildOptions::new(vec![source])
    };
    workshop.build("out", &options).1
}

fn conversations(workshop: &Workshop) -> Corpus {
    let rows: Vec<String> = (0..40)
        .map(|n| {
            let completion = format!("It is {}.", "very ".repeat(n % 9));
            serde_json::json!({"prompt": format!("What is {n}?"), "completion": completion})
                .to_string()
        })
        .collect();
    let source = Source::conversations("c", workshop.rows("c", &rows.join("\n")).path);
    let options =
        BuildOptions { validation_ppm: 0, shard_tokens: 300, ..BuildOptions::new(vec![source]) };
    workshop.build("out", &options).1
}

fn loader(corpus: &Corpus, packing: Packing, time: usize) -> Loader {
    corpus.loader(Split::Train, LoaderOptions { time, seed: 7, packing }).unwrap()
}

/// The rows of a batch, each by itself.
fn rows(batch: &RowBatch) -> Vec<RowBatch> {
    let part = |row: usize| row * batch.time..(row + 1) * batch.time;
    (0..batch.rows)
        .map(|row| RowBatch {
            rows: 1,
            time: batch.time,
            inputs: batch.inputs[part(row)].to_vec(),
            targets: batch.targets[part(row)].to_vec(),
            learned: batch.learned[part(row)].to_vec(),
            segment_starts: batch.segment_starts[part(row)].to_vec(),
        })
        .collect()
}

#[test]
fn an_epoch_of_the_stream_has_every_token_once() {
    let workshop = Workshop::new();
    let corpus = corpus(&workshop, 100);
    assert!(corpus.facts().train.shards > 3);
    let end = tokenizer().special("<|endoftext|>").unwrap();
    for time in [1, 7, 64, 600] {
        let mut loader = loader(&corpus, Packing::Stream, time);
        let count = usize::try_from(loader.epoch_rows()).unwrap();
        assert_eq!(count as u64, (loader.tokens() - 1) / time as u64);
        let batch = loader.next_batch(count).unwrap();
        // Sorting rows by their place is not possible from outside: compare with a stream read
        // from the shards, in any order.
        let mut stream = Vec::new();
        for number in 0..corpus.facts().train.shards {
            let path = workshop.path("out").join(format!("train-{number:05}.shard"));
            let shard = corpus::shard::Shard::open(&path).unwrap();
            let mut tokens = vec![0; usize::try_from(shard.tokens()).unwrap()];
            shard.read(0, &mut tokens).unwrap();
            stream.extend(tokens);
        }
        let mut expected: Vec<(Vec<u32>, Vec<u32>)> = (0..count)
            .map(|n| n * time)
            .map(|at| (stream[at..at + time].to_vec(), stream[at + 1..=at + time].to_vec()))
            .collect();
        let mut found: Vec<(Vec<u32>, Vec<u32>)> =
            rows(&batch).into_iter().map(|row| (row.inputs, row.targets)).collect();
        assert!(count < 3 || found != expected, "the order is shuffled");
        expected.sort();
        found.sort();
        assert_eq!(found, expected, "rows of {time}");
        for row in rows(&batch) {
            let mut segment = 0;
            for t in 0..time {
                if t > 0 && row.inputs[t - 1] == end {
                    segment = t;
                }
                assert_eq!(row.segment_starts[t] as usize, segment);
                // Nothing is learned across the end of a document.
                assert_eq!(row.learned[t], row.inputs[t] != end);
            }
        }
        assert_eq!(loader.epoch(), 1);
    }
}

#[test]
fn documents_come_whole_and_in_order() {
    let workshop = Workshop::new();
    let corpus = corpus(&workshop, 300);
    assert!(corpus.facts().train.shards > 3);
    let documents: Vec<Vec<u32>> =
        corpus.documents(Split::Train).unwrap().map(Result::unwrap).collect();
    let tokenizer = tokenizer();
    let texts: Vec<String> = documents.iter().map(|tokens| tokenizer.decode(tokens)).collect();
    assert_eq!(texts, sentences(300));
    assert_eq!(corpus.documents(Split::Validation).unwrap().count(), 0);
}

#[test]
fn rows_are_the_same_in_batches_of_any_size_and_epochs_differ() {
    let workshop = Workshop::new();
    let corpus = corpus(&workshop, 60);
    for packing in [Packing::Stream, Packing::Whole] {
        let mut whole = loader(&corpus, packing, 32);
        let count = usize::try_from(whole.epoch_rows()).unwrap();
        let expected = rows(&whole.next_batch(3 * count).unwrap());
        for size in [1, 2, 3, 5, 8, count, count + 1] {
            let mut loader = loader(&corpus, packing, 32);
            let mut found = Vec::new();
            while found.len() < expected.len() {
                let left = expected.len() - found.len();
                found.extend(rows(&loader.next_batch(size.min(left)).unwrap()));
            }
            assert!(found == expected, "{packing:?} in batches of {size}");
        }
        assert_ne!(expected[..count], expected[count..2 * count]);
        let options = LoaderOptions { time: 32, seed: 8, packing };
        let mut other = corpus.loader(Split::Train, options).unwrap();
        assert_ne!(rows(&other.next_batch(count).unwrap()), expected[..count]);
    }
}

#[test]
fn a_run_goes_on_from_any_position() {
    let workshop = Workshop::new();
    let corpus = corpus(&workshop, 30);
    for packing in [Packing::Stream, Packing::Whole] {
        let mut straight = loader(&corpus, packing, 16);
        let count = usize::try_from(straight.epoch_rows()).unwrap();
        let expected = rows(&straight.next_batch(2 * count + 5).unwrap());
        let mut stopped = loader(&corpus, packing, 16);
        for at in 0..expected.len() {
            let stored = serde_json::to_string(stopped.position()).unwrap();
            let mut resumed = loader(&Corpus::open(&workshop.path("out")).unwrap(), packing, 16);
            resumed.seek(&serde_json::from_str::<Position>(&stored).unwrap()).unwrap();
            let rest = rows(&resumed.next_batch(expected.len() - at).unwrap());
            assert!(rest == expected[at..], "{packing:?} from row {at}");
            stopped.next_batch(1).unwrap();
        }
    }
}

#[test]
fn a_position_of_something_else_is_refused() {
    let workshop = Workshop::new();
    let corpus = corpus(&workshop, 30);
    let position = loader(&corpus, Packing::Stream, 16).position().clone();
    for options in [
        LoaderOptions { time: 17, seed: 7, packing: Packing::Stream },
        LoaderOptions { time: 16, seed: 8, packing: Packing::Stream },
        LoaderOptions { time: 16, seed: 7, packing: Packing::Whole },
    ] {
        let mut other = corpus.loader(Split::Train, options).unwrap();
        assert!(matches!(other.seek(&position), Err(Error::OtherPosition { .. })));
    }
    let mut far = loader(&corpus, Packing::Stream, 16);
    far.seek(&Position { rows: u64::MAX, ..position }).unwrap();
    far.next_batch(3).unwrap();
}

#[test]
fn conversations_are_whole_and_apart() {
    let workshop = Workshop::new();
    let corpus = conversations(&workshop);
    let tokenizer = tokenizer();
    let begin = tokenizer.special("<|im_start|>").unwrap();
    let end = tokenizer.special("<|im_end|>").unwrap();
    for time in [64, 100] {
        let mut loader = loader(&corpus, Packing::Whole, time);
        assert_eq!(loader.long_documents(), 0);
        let count = usize::try_from(loader.epoch_rows()).unwrap();
        let mut asked = 0;
        let mut answers = 0;
        for row in rows(&loader.next_batch(count).unwrap()) {
            assert_eq!(row.inputs[0], begin);
            let text = tokenizer.decode(&row.inputs);
            asked += text.matches("What is").count();
            answers += (0..time).filter(|&t| row.learned[t] && row.targets[t] == end).count();
            for t in 0..time {
                let start = row.segment_starts[t] as usize;
                assert!(start <= t);
                if row.learned[t] {
                    assert_eq!(row.inputs[start], begin);
                    assert!(t + 1 == time || row.segment_starts[t + 1] as usize == start);
                    // The prompt is in the same segment.
                    let segment = tokenizer.decode(&row.inputs[start..=t]);
                    assert_eq!(segment.matches("What is").count(), 1, "{segment}");
                }
            }
        }
        assert_eq!((asked, answers), (40, 40), "rows of {time}");
    }
    let cut = loader(&corpus, Packing::Whole, 12);
    assert!(cut.long_documents() > 30);
    assert_eq!(cut.epoch_rows(), 40);
}

#[test]
fn options_that_make_no_sense_are_refused() {
    let workshop = Workshop::new();
    let corpus = corpus(&workshop, 10);
    let said = |split, time| {
        let options = LoaderOptions { time, seed: 0, packing: Packing::Stream };
        corpus.loader(split, options).unwrap_err().to_string()
    };
    assert!(said(Split::Train, 0).starts_with("time is 0, but must be between 1 and"));
    assert!(said(Split::Train, 1 << 19).contains("not enough for a row of 524288"));
    assert!(said(Split::Validation, 8).starts_with("the validation split has 0 tokens"));
    let mut loader = loader(&corpus, Packing::Stream, 8);
    assert!(loader.next_batch(1 << 40).is_err());
    assert!(loader.next_batch(0).unwrap().inputs.is_empty());
    assert_eq!(loader.position().rows, 0);
}
