//! Round trips, every truncation, every flipped byte of a small shard.

use proptest::prelude::*;

use super::*;

fn bytes(vocabulary: u32, documents: &[Encoded]) -> Vec<u8> {
    let mut builder = ShardBuilder::new(vocabulary);
    documents.iter().for_each(|document| builder.push(document));
    let mut bytes = Vec::new();
    builder.write(&mut bytes).unwrap();
    bytes
}

fn open(bytes: &[u8]) -> Result<Shard, Error> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("x.shard");
    std::fs::write(&path, bytes).unwrap();
    Shard::open(&path)
}

fn tokens(shard: &Shard) -> Result<Vec<u32>, Error> {
    let mut tokens = vec![0; usize::try_from(shard.tokens()).unwrap()];
    shard.read(0, &mut tokens)?;
    Ok(tokens)
}

fn documents() -> Vec<Encoded> {
    vec![
        Encoded { tokens: vec![1, 2, 3], silent: vec![] },
        Encoded { tokens: vec![4], silent: std::iter::once(0..1).collect() },
        Encoded { tokens: vec![5, 6, 7, 8, 9], silent: vec![0..2, 3..4] },
    ]
}

#[test]
fn what_was_written_is_read() {
    for vocabulary in [10, 1 << 16, (1 << 16) + 1, u32::MAX] {
        let shard = open(&bytes(vocabulary, &documents())).unwrap();
        assert_eq!((shard.vocabulary(), shard.tokens()), (vocabulary, 9));
        assert_eq!(tokens(&shard).unwrap(), (1..10).collect::<Vec<u32>>());
        assert_eq!(shard.starts(), [0, 3, 4]);
        assert_eq!(shard.silent(), [[3, 4], [4, 6], [7, 8]]);
        let mut middle = [0; 2];
        shard.read(7, &mut middle).unwrap();
        assert_eq!(middle, [8, 9]);
    }
    let highest = Encoded { tokens: vec![65_535], silent: vec![] };
    assert_eq!(tokens(&open(&bytes(1 << 16, &[highest])).unwrap()).unwrap(), [65_535]);
}

#[test]
fn the_bytes_are_those_of_the_format() {
    let stored = bytes(10, &documents()[1..2]);
    assert_eq!(&stored[..8], b"SCRSHARD");
    let words: Vec<u32> =
        stored[8..].as_chunks::<4>().0.iter().map(|four| u32::from_le_bytes(*four)).collect();
    let header = [1, 2, 10, 0, 1, 0, 1, 0, 1, 0, 0, 0, 0, 0];
    assert_eq!(words[..14], header);
    // The token and its padding, the start, the run.
    assert_eq!(words[14..], [4, 0, 0, 0, 1]);
}

#[test]
fn every_truncation_and_extension_is_refused() {
    let whole = bytes(10, &documents());
    for length in 0..whole.len() {
        let error = open(&whole[..length]).unwrap_err();
        let expected = matches!(&error, Error::Damaged { fault: ShardFault::Length { .. }, .. });
        assert!(expected, "{length}: {error}");
        assert!(error.to_string().ends_with("; build the corpus again"), "{error}");
    }
    let longer = [whole.as_slice(), &[0]].concat();
    assert!(matches!(open(&longer), Err(Error::Damaged { .. })));
}

#[test]
fn a_file_that_shrinks_while_it_is_open_is_an_error() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("x.shard");
    std::fs::write(&path, bytes(10, &documents())).unwrap();
    let shard = Shard::open(&path).unwrap();
    File::options().write(true).open(&path).unwrap().set_len(66).unwrap();
    assert!(matches!(tokens(&shard), Err(Error::Read { .. })));
}

#[test]
fn no_changed_byte_makes_a_panic_or_a_token_that_is_not_there() {
    let whole = bytes(10, &documents());
    for at in 0..whole.len() {
        for value in [0, 1, 2, 4, 9, 0x7f, 0x80, 0xff] {
            let mut changed = whole.clone();
            changed[at] = value;
            let Ok(shard) = open(&changed) else { continue };
            assert!(shard.starts().is_sorted() && shard.starts()[0] == 0);
            if let Ok(tokens) = tokens(&shard) {
                assert!(tokens.iter().all(|&token| token < shard.vocabulary()));
            }
        }
    }
}

#[test]
fn hostile_numbers_are_refused_by_name() {
    let whole = bytes(10, &documents());
    let fault = |at: usize, value: u32| {
        let mut changed = whole.clone();
        changed[at..at + 4].copy_from_slice(&value.to_le_bytes());
        let error = open(&changed).and_then(|shard| tokens(&shard).map(drop)).unwrap_err();
        let Error::Damaged { fault, .. } = error else { panic!("{error}") };
        fault
    };
    let header = |what, found| ShardFault::Header { what, found };
    assert_eq!(fault(0, 0), ShardFault::NotAShard);
    assert_eq!(fault(8, 2), ShardFault::Version { found: 2, known: 1 });
    assert_eq!(fault(12, 3), header("number of bytes of a token", 3));
    assert_eq!(fault(16, 0), header("vocabulary", 0));
    assert_eq!(fault(16, 1 << 20), header("number of bytes of a token", 2));
    assert_eq!(fault(16, 5), ShardFault::Token { token: 5, place: 4, vocabulary: 5 });
    assert_eq!(fault(20, 1), header("reserved part", 1));
    assert_eq!(fault(24, 0), header("number of tokens", 0));
    assert_eq!(fault(28, u32::MAX), header("number of tokens", u64::from(u32::MAX) << 32 | 9));
    assert_eq!(fault(32, 10), header("number of documents", 10));
    assert_eq!(fault(40, u32::MAX), header("number of runs", u64::from(u32::MAX)));
    // 9 tokens of 2 bytes end at 82 and are padded to 88.
    assert_eq!(fault(88, 1), ShardFault::Start { document: 0, start: 1 });
    assert_eq!(fault(96, 3), ShardFault::Start { document: 2, start: 3 });
    assert_eq!(fault(96, 9), ShardFault::Start { document: 2, start: 9 });
    assert_eq!(fault(100, 4), ShardFault::Run { run: 0 });
    assert_eq!(fault(108, 3), ShardFault::Run { run: 1 });
    assert_eq!(fault(120, 10), ShardFault::Run { run: 2 });
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn any_documents_come_back(
        lengths in proptest::collection::vec(1_usize..40, 1..20),
        vocabulary in prop_oneof![Just(50_u32), Just(70_000)],
        seed in any::<u64>(),
    ) {
        let draw = |n: usize| crate::mix::mix(seed ^ n as u64);
        let documents: Vec<Encoded> = lengths.iter().enumerate().map(|(d, &length)| {
            let token = |at: usize| {
                u32::try_from(draw(d << 8 | at) % u64::from(vocabulary)).unwrap()
            };
            let silent = (0..length).filter(|at| draw(at + d) % 3 == 0).map(|at| at..at + 1);
            Encoded { tokens: (0..length).map(token).collect(), silent: silent.collect() }
        }).collect();
        let shard = open(&bytes(vocabulary, &documents)).unwrap();
        let expected: Vec<u32> = documents.iter().flat_map(|d| d.tokens.clone()).collect();
        prop_assert_eq!(tokens(&shard).unwrap(), expected);
        prop_assert_eq!(shard.starts().len(), documents.len());
        let runs: usize = documents.iter().map(|document| document.silent.len()).sum();
        prop_assert_eq!(shard.silent().len(), runs);
    }

    #[test]
    fn no_bytes_at_all_make_a_panic(noise in proptest::collection::vec(any::<u8>(), 0..200)) {
        prop_assert!(open(&noise).is_err());
        let whole = bytes(10, &documents());
        let mut header = whole[..24].to_vec();
        header.extend(&noise);
        if let Ok(shard) = open(&header) {
            let _ = tokens(&shard);
        }
    }
}
