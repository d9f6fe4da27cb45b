//! Any chunking of bytes and any stop strings give what a reference gives on the whole text.

use super::*;
use proptest::prelude::*;

fn token(bytes: &[u8]) -> TokenInfo {
    TokenInfo {
        token: 0,
        text: String::new(),
        bytes: bytes.to_vec(),
        logprob: None,
        alternatives: Vec::new(),
    }
}

/// The answer as one sees it who has all bytes: cut at the stop string that is complete first.
fn reference(bytes: &[u8], stops: &[String]) -> (String, bool) {
    let whole = String::from_utf8_lossy(bytes).into_owned();
    for end in 1..=whole.len() {
        let complete = stops
            .iter()
            .filter(|stop| !stop.is_empty() && whole.as_bytes()[..end].ends_with(stop.as_bytes()));
        if let Some(longest) = complete.map(String::len).max() {
            return (whole[..end - longest].to_owned(), true);
        }
    }
    (whole, false)
}

/// Streams the chunks; gives all pieces, the last one from the end of the stream.
fn pieces(chunks: &[Vec<u8>], stops: &[String]) -> (Vec<Piece>, bool) {
    let mut stream = TextStream::new(stops.to_vec());
    let mut pieces: Vec<Piece> = chunks.iter().map(|chunk| stream.push(token(chunk))).collect();
    pieces.push(stream.finish());
    (pieces, stream.stopped())
}

fn joined(pieces: &[Piece]) -> String {
    pieces.iter().map(|piece| piece.text.as_str()).collect()
}

fn joined_tokens(pieces: &[Piece]) -> String {
    pieces.iter().flat_map(|piece| &piece.tokens).map(|token| token.text.as_str()).collect()
}

/// Bytes that meet often: few letters, characters of two to four bytes, halves of them, wrong
/// bytes.
fn any_chunks() -> impl Strategy<Value = Vec<Vec<u8>>> {
    let part = prop_oneof![
        6 => proptest::sample::select(vec!["a", "b", "ab", "é", "€", "😀", "\u{fffd}"])
            .prop_map(|text| text.as_bytes().to_vec()),
        2 => proptest::sample::select(vec![0xC3_u8, 0xA9, 0xF0, 0x9F, 0x98, 0x80, 0xFF, 0xE2])
            .prop_map(|byte| vec![byte]),
    ];
    let bytes = proptest::collection::vec(part, 0..24).prop_map(|parts| parts.concat());
    (bytes, proptest::collection::vec(0_usize..4, 0..40)).prop_map(|(bytes, sizes)| {
        let mut chunks = Vec::new();
        let mut rest = bytes.as_slice();
        for size in sizes {
            let (chunk, after) = rest.split_at(size.min(rest.len()));
            chunks.push(chunk.to_vec());
            rest = after;
        }
        chunks.push(rest.to_vec());
        chunks
    })
}

fn any_stops() -> impl Strategy<Value = Vec<String>> {
    let letters = vec!["a", "b", "é", "€", "😀", "\u{fffd}"];
    let stop = proptest::collection::vec(proptest::sample::select(letters), 0..4)
        .prop_map(|parts| parts.concat());
    proptest::collection::vec(stop, 0..4)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn any_chunking_gives_what_the_whole_text_gives(chunks in any_chunks(), stops in any_stops()) {
        let (expected, stopped) = reference(&chunks.concat(), &stops);
        let (pieces, did_stop) = pieces(&chunks, &stops);
        prop_assert_eq!(joined(&pieces), expected.clone());
        prop_assert_eq!(did_stop, stopped);
        prop_assert_eq!(joined_tokens(&pieces), expected);
    }

    #[test]
    fn no_more_is_held_back_than_a_stop_string_may_need(
        chunks in any_chunks(),
        stops in any_stops(),
    ) {
        let mut stream = TextStream::new(stops.clone());
        let mut seen = Utf8Decoder::default();
        let mut all = String::new();
        let mut released = String::new();
        for chunk in &chunks {
            released.push_str(&stream.push(token(chunk)).text);
            all.push_str(&seen.push(chunk));
            if stream.stopped() {
                break;
            }
            let held = &all[released.len()..];
            let begins = |stop: &String| stop.len() > held.len() && stop.starts_with(held);
            let needed = held.is_empty() || stops.iter().any(begins);
            prop_assert!(needed, "{held:?} is held back for {stops:?}");
        }
    }

    #[test]
    fn decoding_in_chunks_is_lossy_decoding_of_the_whole(chunks in any_chunks()) {
        let mut decoder = Utf8Decoder::default();
        let mut text: String = chunks.iter().map(|chunk| decoder.push(chunk)).collect();
        text.push_str(&decoder.finish());
        let whole = chunks.concat();
        prop_assert_eq!(text, String::from_utf8_lossy(&whole));
    }
}

#[test]
fn a_character_split_over_tokens_comes_out_once_it_is_whole() {
    let mut stream = TextStream::new(Vec::new());
    let smile = "😀".as_bytes();
    assert!(stream.push(token(&smile[..2])).is_empty());
    let piece = stream.push(token(&smile[2..]));
    assert_eq!(piece.text, "😀");
    let texts: Vec<&str> = piece.tokens.iter().map(|token| token.text.as_str()).collect();
    assert_eq!(texts, ["", "😀"], "both tokens come with the character they make");
}

#[test]
fn a_stop_string_inside_a_token_cuts_the_token() {
    let mut stream = TextStream::new(vec!["END".into()]);
    assert_eq!(stream.push(token(b"one E")).text, "one ");
    let piece = stream.push(token(b"ND two"));
    assert!(stream.stopped());
    assert_eq!(piece.text, "");
    assert_eq!(piece.tokens.len(), 1);
    assert_eq!(piece.tokens[0].text, "one ");
    assert_eq!(piece.tokens[0].bytes, b"one ");
    assert!(stream.push(token(b"three")).is_empty() && stream.finish().is_empty());
}

#[test]
fn a_begin_of_a_stop_string_is_released_when_it_turns_out_to_be_text() {
    let (pieces, stopped) = pieces(&[b"x<e".to_vec(), b"m>y<".to_vec()], &["<end>".into()]);
    let texts: Vec<&str> = pieces.iter().map(|piece| piece.text.as_str()).collect();
    assert_eq!(texts, ["x", "<em>y", "<"]);
    assert!(!stopped);
}

#[test]
fn the_stop_string_that_is_complete_first_counts() {
    let stops = ["abcd".to_owned(), "c".to_owned()];
    let (pieces, stopped) = pieces(&[b"abcd".to_vec()], &stops);
    assert_eq!((joined(&pieces).as_str(), stopped), ("ab", true));
}
