//! Rows as their makers write them, round trips, hostile rows, cuts at every byte.

use proptest::prelude::*;

use super::*;
use crate::feedback::pair;
use crate::{Candidate, Judgment, Message, Prompt, Ranking, Role};

const OPTIONS: ReadOptions<'_> =
    ReadOptions { labeler: "ada", from: "a test", time_ms: 0, labelers: None, decode: None };

fn read_all(text: &[u8], format: Option<Format>) -> Result<(Vec<Judged>, ReadReport), Error> {
    let mut all = Vec::new();
    let report = read(text, format, &OPTIONS, |judged| {
        all.push(judged);
        Ok::<(), Error>(())
    })?;
    Ok((all, report))
}

/// Prompt, chosen, rejected and margin of all pairs, thumbs paired.
fn pairs(judged: &[Judged]) -> Vec<(Prompt, String, String, f32)> {
    let mut thumbs = Vec::new();
    let mut comparisons = Vec::new();
    for judged in judged {
        match judged {
            Judged::Comparison(comparison) => comparisons.push(comparison.clone()),
            Judged::Thumb(thumb) => thumbs.push(thumb.clone()),
        }
    }
    comparisons.extend(pair(&thumbs).comparisons);
    comparisons.iter().flat_map(pairs_of).collect()
}

fn pairs_of(comparison: &Comparison) -> Vec<(Prompt, String, String, f32)> {
    let prompt = comparison.candidate().prompt();
    let pairs = comparison.pairs();
    pairs.map(|p| (prompt.clone(), p.chosen.into(), p.rejected.into(), p.margin)).collect()
}

fn user(text: &str) -> Prompt {
    Prompt::Messages(vec![Message::new(Role::User, text)])
}

#[test]
fn rows_of_each_format_are_known_and_read() {
    let plain = || Prompt::Text("q".to_owned());
    let one = |prompt: Prompt| vec![(prompt, "a".to_owned(), "b".to_owned(), 1.0)];
    let asked = r#"[{"role":"user","content":"q"}]"#;
    let [a, b] = ["a", "b"].map(|text| format!(r#"{{"role":"assistant","content":"{text}"}}"#));
    let user_q = r#"{"role":"user","content":"q"}"#;
    let cases = [
        (
            Format::Hh,
            r#"{"chosen":"\n\nHuman: q\n\nAssistant: a","rejected":"\n\nHuman: q\n\nAssistant: b"}"#
                .to_owned(),
            user("q"),
        ),
        (Format::Trl, r#"{"prompt":"q","chosen":"a","rejected":"b"}"#.to_owned(), plain()),
        (Format::Trl, r#"{"chosen":"qa","rejected":"qb","margin":null}"#.to_owned(), plain()),
        (
            Format::Trl,
            format!(r#"{{"prompt":{asked},"chosen":[{a}],"rejected":[{b}]}}"#),
            user("q"),
        ),
        (
            Format::Trl,
            format!(r#"{{"chosen":[{user_q},{a}],"rejected":[{user_q},{b}]}}"#),
            user("q"),
        ),
        (
            Format::Trl,
            format!(r#"{{"prompt":"q","chosen":[{user_q},{a}],"rejected":[{user_q},{b}]}}"#),
            user("q"),
        ),
        (
            Format::Oasst,
            r#"{"message_tree_id":"1","prompt":{"role":"prompter","text":"q","replies":[
                {"role":"assistant","text":"b","rank":1,"replies":[]},
                {"role":"assistant","text":"a","rank":0},
                {"role":"assistant","text":"c","rank":null}]}}"#
                .replace('\n', ""),
            user("q"),
        ),
        (
            Format::LlamaFactory,
            r#"{"instruction":"q","input":"","chosen":"a","rejected":"b"}"#.to_owned(),
            user("q"),
        ),
        (
            Format::LlamaFactory,
            r#"{"conversations":[{"from":"human","value":"q"}],
                "chosen":{"from":"gpt","value":"a"},"rejected":{"from":"gpt","value":"b"}}"#
                .replace('\n', ""),
            user("q"),
        ),
        (
            Format::OpenWebui,
            r#"[{"id":"1","chat":{"history":{"messages":{
                "u":{"id":"u","parentId":null,"role":"user","content":"q"},
                "x":{"id":"x","parentId":"u","role":"assistant","content":"a",
                     "annotation":{"rating":1,"reason":"r","comment":""}},
                "y":{"id":"y","parentId":"u","role":"assistant","content":"b",
                     "annotation":{"rating":-1}}}}}}]"#
                .to_owned(),
            user("q"),
        ),
    ];
    for (format, text, prompt) in cases {
        let (judged, report) = read_all(text.as_bytes(), None).unwrap();
        assert_eq!((report.format, report.bad_rows()), (Some(format), 0), "{text}");
        assert_eq!(pairs(&judged), one(prompt), "{text}");
    }
}

#[test]
fn the_best_of_four_beats_three_that_are_not_compared() {
    let text = r#"{"query":"q","sample0":"a","sample1":"b","sample2":"c","sample3":"d","best":2}"#;
    let (judged, report) = read_all(text.as_bytes(), None).unwrap();
    assert_eq!(report.format, Some(Format::BestOfFour));
    let [Judged::Comparison(comparison)] = judged.as_slice() else { panic!("{judged:?}") };
    assert_eq!(comparison.judgment().ranking.as_ref().unwrap().relations().count(), 3);

    let tokens = text.replace("\"q\"", "[1]").replace("\"a\"", "[7, 8]");
    assert_eq!(read_all(tokens.as_bytes(), None).unwrap().1.bad["tokens"], 1);
    let decode = |tokens: &[u32]| format!("{tokens:?}");
    let options = ReadOptions { decode: Some(&decode), ..OPTIONS };
    let mut kept = None;
    let read = read(tokens.as_bytes(), None, &options, |judged| {
        kept = Some(judged);
        Ok::<(), Error>(())
    });
    assert_eq!(read.unwrap().comparisons, 1);
    let Some(Judged::Comparison(comparison)) = kept else { panic!("nothing was read") };
    let first = &comparison.candidate().completions()[0];
    assert_eq!((first.text.as_str(), first.tokens.as_deref()), ("[7, 8]", Some(&[7, 8][..])));
}

#[test]
fn a_thumb_alone_is_a_thumb() {
    let feedback = r#"[{"type":"rating","user_id":"bob","data":{"rating":"1","comment":"nice"},
        "meta":{"message_id":"x"},"snapshot":{"chat":{"chat":{"messages":[
            {"id":"u","role":"user","content":"q"},
            {"id":"x","role":"assistant","content":"a","timestamp":5}]}}}}]"#;
    let label = r#"{"prompt":"q","completion":"a","label":true}"#;
    for (text, labeler, reason, time_ms) in
        [(feedback, "bob", Some("nice"), 5_000), (label, "ada", None, 0)]
    {
        let (judged, report) = read_all(text.as_bytes(), None).unwrap();
        assert_eq!((report.thumbs, report.comparisons), (1, 0));
        let [Judged::Thumb(thumb)] = judged.as_slice() else { panic!("{judged:?}") };
        assert!(thumb.is_up && thumb.completion.text == "a");
        let found = (thumb.labeler.as_str(), thumb.reason.as_deref(), thumb.time_ms);
        assert_eq!(found, (labeler, reason, time_ms));
    }
}

#[test]
fn strangers_are_bad_rows_where_labelers_are_listed() {
    let text = "{\"prompt\":\"q\",\"chosen\":\"a\",\"rejected\":\"b\"}\n".as_bytes();
    for (name, comparisons) in [("ada", 1), ("bob", 0)] {
        let labelers = BTreeSet::from([name.to_owned()]);
        let options = ReadOptions { labelers: Some(&labelers), ..OPTIONS };
        let report = read(text, None, &options, |_| Ok::<(), Error>(())).unwrap();
        assert_eq!((report.comparisons, report.bad_rows()), (comparisons, 1 - comparisons));
        assert_eq!(report.bad.contains_key("unknown labeler"), name == "bob");
    }
}

#[test]
fn deeper_levels_of_a_tree_and_ties_are_comparisons() {
    let text = r#"{"prompt":{"role":"prompter","text":"q","replies":[
        {"role":"assistant","text":"a","rank":0,"replies":[
            {"role":"prompter","text":"and?","rank":0,"replies":[
                {"role":"assistant","text":"c","rank":0},{"role":"assistant","text":"d","rank":0}]},
            {"role":"prompter","text":"so?","rank":1}]},
        {"role":"assistant","text":"gone","rank":1,"deleted":true},
        {"role":"assistant","text":"b","rank":2}]}}"#
        .replace('\n', "");
    let (judged, _) = read_all(text.as_bytes(), None).unwrap();
    let [Judged::Comparison(first), Judged::Comparison(second)] = judged.as_slice() else {
        panic!("{judged:?}")
    };
    assert_eq!(pairs_of(first), [(user("q"), "a".to_owned(), "b".to_owned(), 1.0)]);
    assert_eq!(second.candidate().prompt().messages().unwrap().len(), 3);
    assert_eq!(second.judgment().ranking.as_ref().unwrap().groups(), [[0, 1]]);
}

#[test]
fn system_history_and_input_are_part_of_the_prompt() {
    let text = r#"{"instruction":"i","input":"n","system":"s","history":[["u","v"]],
        "chosen":"a","rejected":"b"}"#
        .replace('\n', "");
    let (judged, _) = read_all(text.as_bytes(), None).unwrap();
    let prompt =
        [(Role::System, "s"), (Role::User, "u"), (Role::Assistant, "v"), (Role::User, "i\nn")];
    let prompt = prompt.map(|(role, text)| Message::new(role, text));
    assert_eq!(pairs(&judged)[0].0, Prompt::Messages(prompt.into()));
}

#[test]
fn bad_rows_are_counted_and_shown_with_their_lines() {
    let hh = |chosen: &str, rejected: &str| {
        serde_json::json!({ "chosen": chosen, "rejected": rejected }).to_string()
    };
    let good = hh("\n\nHuman: q\n\nAssistant: a", "\n\nHuman: q\n\nAssistant: b");
    let rows = [
        (good.clone(), None),
        ("{".to_owned(), Some("not a JSON object")),
        ("[1]".to_owned(), Some("not a JSON object")),
        (hh("q", "\n\nHuman: q"), Some("a column missing")),
        (
            hh("\n\nHuman: q\n\nAssistant: a", "\n\nHuman: r\n\nAssistant: b"),
            Some("different prompts"),
        ),
        (
            hh("\n\nHuman: q\n\nAssistant: a", "\n\nHuman: q\n\nAssistant: a"),
            Some("equal completions"),
        ),
        (hh("\n\nHuman: q", "\n\nHuman: r"), Some("no completion")),
        (hh("\n\nAssistant: a", "\n\nAssistant: b"), Some("empty prompt")),
        (
            format!("{{\"chosen\":{}1{}}}", "[".repeat(200), "]".repeat(200)),
            Some("not a JSON object"),
        ),
        (good, None),
    ];
    let text: Vec<&str> = rows.iter().map(|(text, _)| text.as_str()).collect();
    let (judged, report) = read_all(text.join("\n").as_bytes(), None).unwrap();
    assert_eq!((judged.len(), report.rows, report.comparisons), (2, 10, 2));
    let expected: Vec<(u64, &str)> =
        (1..).zip(&rows).filter_map(|(line, (_, kind))| Some((line, (*kind)?))).collect();
    let shown: Vec<(u64, &str)> =
        report.shown.iter().map(|bad| (bad.line, bad.reason.kind())).collect();
    assert_eq!(shown, expected);
    assert_eq!(report.bad_rows(), 8);
}

#[test]
fn an_unknown_format_is_an_error_that_names_those_that_are_known() {
    let error = read_all(b"{\"a\":1,\"b\":2}\n", None).unwrap_err().to_string();
    assert!(error.contains("hh, trl, oasst, best-of-four, llama-factory, open-webui"), "{error}");
    assert!(error.contains("its columns are: a, b"), "{error}");
    assert_eq!(read_all(b"\n", None).unwrap().1, ReadReport::default());
    for format in Format::ALL {
        assert_eq!(Format::of_name(format.name()), Some(format));
        let (_, report) = read_all(b"{}", Some(format)).unwrap();
        assert_eq!(report.bad_rows(), 1, "{format}");
    }
}

/// What a format writes, and the report.
fn written(format: Format, comparisons: &[Comparison]) -> (Vec<u8>, WriteReport) {
    let mut text = Vec::new();
    let mut writer = Writer::new(&mut text, format);
    comparisons.iter().for_each(|comparison| writer.write(comparison).unwrap());
    let report = writer.finish().unwrap();
    (text, report)
}

/// Texts with everything that formats use as marks.
fn text() -> impl Strategy<Value = String> {
    proptest::collection::vec(
        prop_oneof![
            Just("\n\nHuman:"),
            Just("\n\nAssistant:"),
            Just("\n"),
            Just(" "),
            Just("\""),
            Just("\\"),
            Just("é"),
            Just("[{"),
            Just("]}"),
            Just(","),
            Just("a"),
            Just("\0"),
        ],
        0..6,
    )
    .prop_map(|parts| parts.concat())
}

fn prompts() -> impl Strategy<Value = Prompt> {
    let role = prop_oneof![Just(Role::System), Just(Role::User), Just(Role::Assistant)];
    let message = (role, text()).prop_map(|(role, text)| Message::new(role, text));
    prop_oneof![
        text().prop_map(Prompt::Text),
        proptest::collection::vec(message, 1..4).prop_map(Prompt::Messages),
    ]
}

fn comparisons() -> impl Strategy<Value = Comparison> {
    let texts = proptest::collection::btree_set(text(), 2..=5);
    (prompts(), texts, proptest::collection::vec(0_u8..3, 5)).prop_filter_map(
        "a ranking",
        |(prompt, texts, places)| {
            let places: Vec<Option<u8>> = places.iter().map(|place| Some(*place)).collect();
            let ranking = Ranking::from_places(&places[..texts.len()]).ok()?;
            let completions = texts.iter().map(|text| Completion::imported(text, "a test"));
            let candidate = Candidate::new(prompt, completions.collect()).ok()?;
            Comparison::new(candidate, Judgment::ranked("ada", ranking, 0)).ok()
        },
    )
}

proptest! {
    #[test]
    fn what_a_format_can_say_comes_back_equal(comparison in comparisons()) {
        for format in Format::ALL {
            let (text, report) = written(format, std::slice::from_ref(&comparison));
            prop_assert_eq!(report.comparisons + report.left_out, 1);
            let (judged, read) = read_all(&text, Some(format)).unwrap();
            prop_assert_eq!(read.bad_rows(), 0, "{}: {:?}", format, read);
            if report.comparisons == 0 {
                prop_assert!(judged.is_empty());
                continue;
            }
            let is_whole = !report.unsaid.contains_key(&Unsaid::Order);
            let mut expected = pairs_of(&comparison);
            if format == Format::BestOfFour && !is_whole {
                expected.retain(|pair| pair.1 == expected_best(&comparison));
            }
            let mut found = pairs(&judged);
            if !is_whole {
                expected.iter_mut().chain(&mut found).for_each(|pair| pair.3 = 1.0);
            }
            let order = |a: &(Prompt, String, String, f32), b: &(Prompt, String, String, f32)| {
                (&a.1, &a.2).cmp(&(&b.1, &b.2))
            };
            expected.sort_by(order);
            found.sort_by(order);
            prop_assert_eq!(found, expected, "{}", format);
        }
    }

    #[test]
    fn no_cut_and_no_changed_byte_panics(
        comparison in comparisons(),
        place in 0_usize..4_000,
        byte in any::<u8>(),
    ) {
        for format in Format::ALL {
            let (mut text, _) = written(format, std::slice::from_ref(&comparison));
            for length in 0..text.len() {
                let (judged, report) = read_all(&text[..length], Some(format)).unwrap();
                let read = report.comparisons + report.thumbs;
                prop_assert_eq!(judged.len() as u64, read);
            }
            if let Some(changed) = text.get_mut(place) {
                *changed = byte;
                let (_, report) = read_all(&text, Some(format)).unwrap();
                prop_assert!(report.shown.len() <= BAD_ROWS_SHOWN);
            }
        }
    }

    #[test]
    fn margins_come_back_bit_by_bit(margin in 0.0_f32..1e6) {
        let candidate = ["a", "b"].map(|text| Completion::imported(text, "a test"));
        let candidate = Candidate::new(user("q"), candidate.into()).unwrap();
        let judgment = Judgment::ranked("ada", Ranking::best_of(2, 0).unwrap(), 0);
        let judgment = Judgment { margin: Some(margin), ..judgment };
        let comparison = Comparison::new(candidate, judgment).unwrap();
        let (text, _) = written(Format::Trl, std::slice::from_ref(&comparison));
        let (judged, _) = read_all(&text, None).unwrap();
        prop_assert_eq!(judged, [Judged::Comparison(comparison)]);
    }
}

fn expected_best(comparison: &Comparison) -> String {
    let best = comparison.judgment().ranking.as_ref().unwrap().groups()[0][0];
    comparison.candidate().completions()[best].text.clone()
}
