//! Comparisons through the real program: taken in, ranked, shown, written, deleted.

use std::fmt::Write as _;
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::process::{Child, Stdio};

use comparisons::store::{RowId, Store};
use serde_json::{Value, json};

use super::{Ran, Scribe};

/// A row of each format, with the number of comparisons that it comes to.
fn rows() -> Vec<(&'static str, Value)> {
    let user = |text: &str| json!({"role": "user", "content": text});
    let assistant = |text: &str| json!({"role": "assistant", "content": text});
    let reply = |text: &str, rank: u32| json!({"role": "assistant", "text": text, "rank": rank});
    let node = |id: &str, parent: Value, role: &str, text: &str, annotation: Value| {
        json!({"id": id, "parentId": parent, "role": role, "content": text,
               "annotation": annotation})
    };
    let thumbs = json!({"user_id": "cleo", "chat": {"history": {"currentId": "a", "messages": {
        "q": node("q", Value::Null, "user", "Which?", Value::Null),
        "a": node("a", json!("q"), "assistant", "This.", json!({"rating": 1})),
        "b": node("b", json!("q"), "assistant", "That.", json!({"rating": -1})),
    }}}});
    vec![
        (
            "hh",
            json!({"chosen": "\n\nHuman: Hello?\n\nAssistant: Hi.",
                   "rejected": "\n\nHuman: Hello?\n\nAssistant: No."}),
        ),
        (
            "trl",
            json!({"prompt": [user("2 + 2")], "chosen": [assistant("4")],
                   "rejected": [assistant("5")], "margin": 3.0}),
        ),
        (
            "oasst",
            json!({"message_tree_id": "1", "prompt": {"role": "prompter", "text": "A color",
                   "replies": [reply("Red", 1), reply("Blue", 0), reply("Seven", 2)]}}),
        ),
        (
            "best-of-four",
            json!({"query": "Once", "sample0": " upon", "sample1": " a", "sample2": " on",
                   "sample3": " in", "best": 2}),
        ),
        (
            "llama-factory",
            json!({"instruction": "Name a fruit", "input": "", "chosen": "Fig",
                   "rejected": "Fog"}),
        ),
        ("open-webui", json!([thumbs])),
    ]
}

/// The program beside two runs, `run` and `other`.
fn scribe() -> Scribe {
    let scribe = Scribe::new();
    for name in ["run", "other"] {
        training::RunFolder::open(&scribe.folder().join(name), "").unwrap();
    }
    scribe
}

fn write(scribe: &Scribe, name: &str, text: impl AsRef<[u8]>) {
    fs::write(scribe.folder().join(name), text).unwrap();
}

/// Runs `scribe compare`, which must go well, and gives its output.
fn compare(scribe: &Scribe, arguments: &str) -> String {
    let ran = refused(scribe, arguments);
    assert_eq!(ran.code, 0, "{arguments}: {}", ran.err);
    ran.out
}

/// Runs `scribe compare`, however it ends.
fn refused(scribe: &Scribe, arguments: &str) -> Ran {
    let words: Vec<&str> = ["compare"].into_iter().chain(arguments.split(' ')).collect();
    scribe.run(&words)
}

fn json_of(scribe: &Scribe, arguments: &str) -> Value {
    serde_json::from_str(&compare(scribe, &format!("{arguments} --json"))).unwrap()
}

/// A pair in TRL's format.
fn pair(number: usize) -> String {
    json!({"prompt": format!("p{number}"), "chosen": "yes", "rejected": "no"}).to_string()
}

/// So many candidates of three completions, one a line.
fn candidates(count: usize) -> String {
    let completion = |text: &str| json!({"text": text, "origin": {"imported": {"from": "secret"}}});
    let texts = ["best", "good", "bad"].map(completion);
    (0..count).fold(String::new(), |mut lines, number| {
        writeln!(lines, "{}", json!({"prompt": format!("p{number}"), "completions": texts}))
            .unwrap();
        lines
    })
}

/// Starts to rank `candidates.jsonl` with standard input piped.
fn begin_to_rank(scribe: &Scribe, more: &[&str]) -> Child {
    let arguments = ["compare", "rank", "candidates.jsonl", "--as", "ada", "--run", "run"];
    let mut command = scribe.command(&[&arguments[..], more].concat());
    command.stdin(Stdio::piped()).spawn().unwrap()
}

/// Ranks with these lines on standard input.
fn rank(scribe: &Scribe, more: &[&str], lines: &str) -> Ran {
    let mut child = begin_to_rank(scribe, more);
    // Who refuses to begin does not read.
    let _ = child.stdin.take().unwrap().write_all(lines.as_bytes());
    Ran::from(child.wait_with_output().unwrap())
}

#[test]
fn each_format_is_taken_in_shown_written_and_taken_in_again() {
    for (format, row) in rows() {
        let scribe = scribe();
        write(&scribe, "in.json", row.to_string());
        let imported = json_of(&scribe, "import in.json --run run --as ada");
        assert_eq!(imported["schema"], "scribe.compare.import/1");
        assert_eq!(
            (&imported["files"][0]["format"], &imported["added"]),
            (&json!(format), &json!(1))
        );
        let again = compare(&scribe, "import in.json --run run --as ada");
        assert!(again.ends_with("0 comparisons added, 1 present before, 0 deleted before\n"));

        let shown = json_of(&scribe, "show --run run");
        assert_eq!(
            (&shown["comparisons"], &shown["labelers"][0]["answers"]),
            (&json!(1), &json!(1))
        );
        compare(&scribe, &format!("export --run run --format {format} --out out.json"));
        let out = fs::read_to_string(scribe.folder().join("out.json")).unwrap();
        let ran = refused(&scribe, &format!("export --run run --format {format}"));
        assert_eq!(ran.out, out, "a file and standard output have the same bytes");
        assert!(ran.err.starts_with("1 comparison in 1 row, 0 left out\n"), "{}", ran.err);

        compare(&scribe, &format!("import out.json --run other --as ada --format {format}"));
        let back = compare(&scribe, &format!("export --run other --format {format}"));
        assert_eq!(back, out, "{format}");
    }
}

#[test]
fn rounds_labelers_compressed_files_and_bad_rows_are_told() {
    let scribe = scribe();
    let bad = r#"{"prompt": "p", "chosen": "same", "rejected": "same"}"#;
    let long = format!(r#"{{"prompt": "{}"}}"#, "x".repeat(9 << 20));
    let first = pair(1);
    let rows = [first.as_bytes(), bad.as_bytes(), b"\xff\xfe", b"nonsense", long.as_bytes()];
    write(&scribe, "rows.jsonl.zst", zstd::encode_all(&rows.join(&b'\n')[..], 1).unwrap());
    write(&scribe, "more.jsonl", pair(2));
    let ran = refused(&scribe, "import rows.jsonl.zst more.jsonl --run run --round 2");
    assert_eq!(ran.code, 0, "{}", ran.err);
    let told = [
        "rows.jsonl.zst: trl, 5 rows, 1 comparison",
        "  1 refused: equal completions",
        "  1 refused: not UTF-8",
        "  1 refused: not a JSON object",
        "  1 refused: too long",
        "more.jsonl: trl, 1 row, 1 comparison",
        "2 comparisons added, 0 present before, 0 deleted before",
    ];
    let mut lines: Vec<&str> = ran.out.lines().collect();
    lines[1..5].sort_by_key(|line| told.iter().position(|expected| expected == line));
    assert_eq!(lines, told);
    assert!(ran.err.contains("line 2: completions 0 and 1 are equal"), "{}", ran.err);
    assert!(ran.err.contains("line 3: not UTF-8") && ran.err.contains("line 5: longer than"));
    let shown = compare(&scribe, "show --run run --round 2");
    assert!(shown.starts_with("2 comparisons of 2 candidates, 0 skipped\n"), "{shown}");
    assert!(shown.contains("\nrows.jsonl.zst  1        0      not enough\n"), "{shown}");
    assert!(shown.contains("\nalpha, nominal         not enough\n"), "{shown}");
    assert!(shown.lines().all(|line| line.chars().count() <= 80), "{shown}");
    let none = refused(&scribe, "show --run run");
    assert_eq!(none.code, 3);
    assert!(none.err.contains("no comparisons of round 1 yet\nhint: `scribe compare import"));
}

#[test]
fn agreement_is_shown_where_two_rank_the_same() {
    let scribe = scribe();
    let rows: Vec<String> = (0..4).map(pair).collect();
    write(&scribe, "rows.jsonl", rows.join("\n"));
    compare(&scribe, "import rows.jsonl --run run --as ada");
    compare(&scribe, "import rows.jsonl --run run --as bob");
    let shown = json_of(&scribe, "show --run run");
    let agreement = &shown["agreement"];
    assert_eq!(
        (&agreement["shared_candidates"], &agreement["alpha_nominal"]),
        (&json!(4), &json!(1.0))
    );
    assert_eq!(agreement["of_pairs"][0]["labelers"], json!(["ada", "bob"]));
    assert!(compare(&scribe, "show --run run").contains("\nada, bob  1.00 over 4\n"));
}

#[test]
fn what_is_wrong_is_told_with_what_to_do() {
    let scribe = scribe();
    write(&scribe, "pair.jsonl", pair(1));
    write(&scribe, "empty.jsonl", "");
    write(&scribe, "other.jsonl", r#"{"text": "no ranking"}"#);
    write(
        &scribe,
        "alone.jsonl",
        json!({"prompt": {"role": "prompter", "text": "q", "replies":
        [{"role": "assistant", "text": "a", "rank": 0}]}})
        .to_string(),
    );
    write(
        &scribe,
        "equal.jsonl",
        json!({"prompt": "", "chosen": "a", "rejected": "a"}).to_string(),
    );
    write(&scribe, "bytes.jsonl", b"\xff\xfe\n");
    write(&scribe, "huge.jsonl", "x".repeat(9 << 20));
    write(&scribe, "torn.jsonl.zst", &zstd::encode_all(pair(1).as_bytes(), 1).unwrap()[..20]);
    fs::create_dir(scribe.folder().join("folder")).unwrap();
    let name = "x".repeat(257);
    let long = format!("import pair.jsonl --run run --as {name}");
    for (arguments, code, told) in [
        ("import empty.jsonl --run run", 1, "holds no comparison: it has no row"),
        ("import folder --run run", 2, "it is not a file but a folder"),
        ("import absent --run run", 3, "cannot read `absent`"),
        ("import other.jsonl --run run", 2, "its columns are: text"),
        (
            "import other.jsonl --run run",
            2,
            "hint: `--format NAME` says what it is: hh, trl, oasst",
        ),
        ("import alone.jsonl --run run", 1, "holds no comparison: 1 row refused"),
        ("import equal.jsonl --run run", 1, "line 1: completions 0 and 1 are equal"),
        ("import bytes.jsonl --run run", 1, "line 1: not UTF-8"),
        ("import huge.jsonl --run run", 1, "line 1: longer than 8388608 bytes"),
        ("import torn.jsonl.zst --run run", 1, "cannot read `torn.jsonl.zst`"),
        ("import pair.jsonl empty.jsonl --run run", 1, "nothing was imported"),
        ("import pair.jsonl --run run --format csv", 2, "possible values: hh, trl, oasst"),
        ("import pair.jsonl --run nowhere", 3, "there is no run at `nowhere`"),
        ("import pair.jsonl --run folder", 3, "`scribe sft RECIPE --run folder` begins one"),
        ("import pair.jsonl --run run --round 1000", 2, "from 1 to 999"),
        ("import pair.jsonl --run run --as a\u{1b}[2J", 2, "has a control character"),
        (&long, 2, "more than the limit of 256"),
        ("export --run run --format trl --out pair.jsonl", 2, "is there already"),
        ("export --run run --format trl --json", 2, "give --out FILE"),
        ("delete xyz --run run", 2, "an id is 64 hexadecimal digits"),
        ("compact --run other", 3, "no comparisons of round 1 yet"),
        ("rank absent --run run --as ada", 3, "cannot read `absent`"),
        ("rank other.jsonl --run run --as ada", 2, "has nothing that could be ranked"),
    ] {
        let ran = refused(&scribe, arguments);
        assert_eq!((ran.code, ran.out.as_str()), (code, ""), "{arguments}: {}", ran.err);
        assert!(ran.err.contains(told), "{arguments}: {}", ran.err);
        assert!(ran.err.contains("hint: ") || code == 2, "{arguments}: {}", ran.err);
    }
    let shown = json_of(&scribe, "show --run run");
    assert_eq!(shown["comparisons"], 0, "what fails adds nothing");
}

#[test]
fn a_store_that_another_process_holds_is_read_and_not_written() {
    let scribe = scribe();
    write(&scribe, "pair.jsonl", pair(1));
    write(&scribe, "candidates.jsonl", candidates(1));
    compare(&scribe, "import pair.jsonl --run run");
    let held = scribe.folder().join("run/5-comparisons/round-1.jsonl");
    let (store, _) = Store::open(&held).unwrap();
    for arguments in [
        "import pair.jsonl --run run",
        "compact --run run",
        "rank candidates.jsonl --as ada --run run",
    ] {
        let ran = refused(&scribe, arguments);
        assert!(ran.code == 1 && ran.err.contains("another process writes to"), "{}", ran.err);
    }
    assert_eq!(json_of(&scribe, "show --run run")["comparisons"], 1);
    drop(store);
    compare(&scribe, "compact --run run");
}

#[test]
fn what_is_deleted_stays_so_and_what_was_made_from_it_is_told() {
    let scribe = scribe();
    let rows: Vec<String> = (0..2).map(pair).collect();
    write(&scribe, "rows.jsonl", rows.join("\n"));
    compare(&scribe, "import rows.jsonl --run run");
    let path = scribe.folder().join("run/5-comparisons/round-1.jsonl");
    let artifact = artifacts::hash::Digest::of(b"a reward model");
    let (mut store, _) = Store::open(&path).unwrap();
    let ids: Vec<RowId> = store.answers().into_iter().map(|answer| answer.id).collect();
    store.record_use(artifact, &ids[..1]).unwrap();
    drop(store);
    let listed = compare(&scribe, "show --run run --list");
    let id = listed.lines().nth(1).unwrap().split(' ').next().unwrap().to_owned();
    assert!(ids[0].to_string().starts_with(&id), "{listed}");

    let unknown = refused(&scribe, &format!("delete {id} 0123456789 --run run"));
    assert!(unknown.code == 3 && unknown.err.contains("`0123456789`; nothing was deleted"));
    let ran = refused(&scribe, &format!("delete {id} {} --run run", ids[0]));
    assert_eq!(ran.code, 0, "{}", ran.err);
    assert!(ran.out.starts_with("deleted 1 comparison\nmade from what was deleted"), "{}", ran.out);
    assert!(ran.out.contains(&format!("  {artifact}\n    1 row\n")), "{}", ran.out);
    assert!(ran.err.contains("`scribe compare compact --run run --round 1`"), "{}", ran.err);
    let again = compare(&scribe, "import rows.jsonl --run run");
    assert!(again.ends_with("0 comparisons added, 1 present before, 1 deleted before\n"));

    let text = || fs::read_to_string(&path).unwrap();
    assert!(text().contains("\"p0\""));
    compare(&scribe, "compact --run run");
    assert!(!text().contains("\"p0\"") && text().contains("\"p1\""), "the text is off the disk");
    assert!(refused(&scribe, &format!("delete {id} --run run")).code == 3);
}

#[test]
fn a_person_ranks_with_ties_skips_and_second_thoughts() {
    let scribe = scribe();
    write(&scribe, "candidates.jsonl", candidates(3));
    let lines = "?\n\n2 > 1 = 3 # clearer\ns\nu\n321\nq\n";
    let ran = rank(&scribe, &[], lines);
    assert_eq!(ran.code, 0, "{}", ran.err);
    let kept: Vec<&str> = ran.out.lines().filter(|line| line.starts_with("kept ")).collect();
    let rankings: Vec<&str> = kept.iter().map(|line| line.split_once(": ").unwrap().1).collect();
    assert_eq!(rankings, ["2 > 1 = 3", "skipped", "3 > 2 > 1"]);
    assert!(ran.out.contains("\n1 of 3\n") && ran.out.contains("\nThe one before, again\n"));
    assert!(ran.out.ends_with("\n2 of 3 answered\n"), "{}", ran.out);
    assert!(!ran.out.contains("secret"), "nobody sees where a completion came from");
    assert!(ran.err.contains("Harm: what could hurt"), "{}", ran.err);
    assert!(ran.err.contains("go on with: scribe compare rank candidates.jsonl --as ada"));

    let shown = json_of(&scribe, "show --run run");
    assert_eq!((&shown["comparisons"], &shown["skipped"]), (&json!(2), &json!(0)), "revised");
    assert_eq!((&shown["pairs"], &shown["ties"]), (&json!(5), &json!(1)));
    // What was typed is of the texts as shown, and what is kept is of the candidate.
    let (store, _) = Store::open(&scribe.folder().join("run/5-comparisons/round-1.jsonl")).unwrap();
    let mut reasons = Vec::new();
    let read = store.for_each(|_, comparison| {
        let judgment = comparison.judgment();
        let best = judgment.ranking.as_ref().unwrap().groups()[0][0];
        let order = judgment.shown_order.as_ref().unwrap();
        reasons.push(judgment.reason.clone());
        assert_eq!(best, order[if reasons.len() == 1 { 1 } else { 2 }]);
        Ok::<(), comparisons::Error>(())
    });
    read.unwrap();
    assert_eq!(reasons, [Some("clearer".to_owned()), None]);
    drop(store);

    let ran = rank(&scribe, &[], "cab\nu\nacb\n");
    assert!(ran.code == 0 && ran.out.ends_with("\n3 of 3 answered\n"), "{ran:?}");
    assert!(ran.err.contains("all is answered; u revises the last one"), "{}", ran.err);
    assert_eq!(json_of(&scribe, "show --run run")["comparisons"], 3);
}

#[test]
fn on_a_pipe_a_line_that_cannot_be_read_ends_it_after_what_is_kept() {
    let scribe = scribe();
    write(&scribe, "candidates.jsonl", candidates(3));
    for (number, line) in ["1=2", "4321", "yes", "\u{7}"].into_iter().enumerate() {
        let ran = rank(&scribe, &["--round", "2"], &format!("{line}\n123\n"));
        assert_eq!(ran.code, 2, "{number}: {}", ran.err);
        assert!(ran.err.contains("hint: mend that line"), "{}", ran.err);
    }
    let ran = rank(&scribe, &["--round", "2"], &format!("123\n1{}\n", " ".repeat(1 << 20)));
    assert!(ran.code == 2 && ran.err.contains("the line has more than"), "{}", ran.err);
    assert_eq!(json_of(&scribe, "show --run run --round 2")["comparisons"], 1);
    let events = rank(&scribe, &["--json", "--round", "2"], "s\n");
    let events: Vec<Value> =
        events.out.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let names: Vec<&str> = events.iter().map(|event| event["event"].as_str().unwrap()).collect();
    assert_eq!(names, ["question", "kept", "question", "ended"]);
    assert_eq!((&events[0]["done"], &events[3]["done"]), (&json!(1), &json!(2)));
}

#[test]
fn two_who_rank_share_the_work() {
    let scribe = scribe();
    write(&scribe, "candidates.jsonl", candidates(40));
    let lines = "123\n".repeat(50);
    let ada = rank(&scribe, &["--with", "bob"], &lines);
    assert_eq!(ada.code, 0, "{}", ada.err);
    let arguments = ["compare", "rank", "candidates.jsonl", "--as", "bob", "--with", "ada"];
    let mut bob = scribe.command(&[&arguments[..], &["--run", "run"]].concat());
    let mut bob = bob.stdin(Stdio::piped()).spawn().unwrap();
    bob.stdin.take().unwrap().write_all(lines.as_bytes()).unwrap();
    assert_eq!(Ran::from(bob.wait_with_output().unwrap()).code, 0);
    let shown = json_of(&scribe, "show --run run");
    let shared = shown["agreement"]["shared_candidates"].as_u64().unwrap();
    assert_eq!(shown["candidates"], 40);
    assert!((1..20).contains(&shared), "{shown}");
}

#[test]
fn whoever_is_killed_has_what_was_acknowledged() {
    let scribe = scribe();
    write(&scribe, "candidates.jsonl", candidates(400));
    let mut child = begin_to_rank(&scribe, &["--json"]);
    let mut stdin = child.stdin.take().unwrap();
    // More than a pipe holds would wait for a reader; these lines fit.
    stdin.write_all("2 > 1 = 3\n".repeat(400).as_bytes()).unwrap();
    let mut acknowledged = Vec::new();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    while acknowledged.len() < 60 {
        let event: Value = serde_json::from_str(&lines.next().unwrap().unwrap()).unwrap();
        if event["event"] == "kept" {
            acknowledged.push(event["id"].as_str().unwrap().to_owned());
        }
    }
    child.kill().unwrap();
    child.wait().unwrap();
    // What was written to the pipe before the end was acknowledged, too.
    for line in lines.map_while(Result::ok) {
        let Ok(event) = serde_json::from_str::<Value>(&line) else { continue };
        if event["event"] == "kept" {
            acknowledged.push(event["id"].as_str().unwrap().to_owned());
        }
    }
    let listed = compare(&scribe, "show --run run --list --json");
    let there: Vec<Value> = listed.lines().map(|row| serde_json::from_str(row).unwrap()).collect();
    assert!(there.len() < 400, "it was killed on the way");
    for id in acknowledged {
        assert!(there.iter().any(|row| row["id"] == *id), "{id} was acknowledged and is lost");
    }
    let ran = rank(&scribe, &[], &"123\n".repeat(500));
    assert_eq!(ran.code, 0, "{}", ran.err);
    assert_eq!(json_of(&scribe, "show --run run")["candidates"], 400);
}
