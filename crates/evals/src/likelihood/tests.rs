//! Where a choice begins, what a file of tasks may hold, and how answers are counted.

use super::*;

fn small() -> Tokenizer {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../fixtures/smollm2-small.tokenizer.json");
    Tokenizer::from_json(&std::fs::read(path).unwrap()).unwrap()
}

#[test]
fn a_choice_is_what_its_context_leaves() {
    let tokenizer = small();
    let tail = |context: &str, choice: &str| {
        let (whole, of_context) = encode_pair(&tokenizer, context, choice);
        tokenizer.decode(&whole[of_context..])
    };
    assert_eq!(tail("The coffee is", " ready"), " ready");
    // White space at the end of a context is the choice's, as it is in its first token.
    assert_eq!(tail("The coffee is ", "ready"), " ready");
    assert_eq!(tail("", "ready"), "ready");
    // One token spans both: the rest of the tokens is what lm-evaluation-harness takes.
    let (whole, of_context) = encode_pair(&tokenizer, "The coff", "ee");
    assert!(of_context < whole.len());
    assert_eq!(whole, tokenizer.encode("The coffee"));
    assert_eq!(of_context, tokenizer.encode("The coff").len().min(whole.len() - 1));
}

fn read(lines: &[u8]) -> Result<Vec<Task>, Error> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("tasks.jsonl");
    std::fs::write(&path, lines).unwrap();
    read_tasks(&path)
}

#[test]
fn tasks_are_read_line_by_line() {
    let lines = "\n{\"context\": \"1 + 1 =\", \"choices\": [\" 2\", \" 3\"], \"answer\": 0, \"id\": 7}\r\n\n\
                 {\"answer\": 1, \"choices\": [\"a\", \"b\"], \"context\": \"\"}";
    let tasks = read(lines.as_bytes()).unwrap();
    assert_eq!(tasks.len(), 2);
    assert_eq!((tasks[0].context.as_str(), tasks[0].answer), ("1 + 1 =", 0));
    assert_eq!(tasks[1].choices, ["a", "b"]);
    assert!(read(b"").unwrap().is_empty());
    let absent = read_tasks(std::path::Path::new("absent.jsonl"));
    assert!(matches!(absent, Err(Error::Read { .. })));
}

#[test]
fn what_is_no_task_is_told_with_its_line() {
    let good = r#"{"context": "", "choices": ["a", "b"], "answer": 0}"#;
    let long = format!(r#"{{"context": "{}"}}"#, "x".repeat(LINE_BYTES_MAX));
    let many = vec!["\"a\""; CHOICES_MAX + 1].join(",");
    for (bad, told) in [
        ("{".to_owned(), "no task"),
        ("[]".to_owned(), "no task"),
        ("\u{1b}".to_owned(), "no task"),
        (r#"{"context": "", "choices": ["a", "b"]}"#.to_owned(), "missing field `answer`"),
        (good.replace('0', "-1"), "no task"),
        (good.replace('0', "2"), "answer is choice 2, but there are 2"),
        (good.replace(r#", "b""#, ""), "has 1 choices"),
        (good.replace(r#""a", "b""#, &many), "has 65 choices"),
        (good.replace(r#""b""#, r#"" \n""#), "choice 1 is blank"),
        (long, "longer than 1048576 bytes"),
    ] {
        let error = read(format!("{good}\n\n{bad}\n{good}").as_bytes()).unwrap_err();
        assert!(matches!(error, Error::Line { line: 3, .. }), "{error:?}");
        let message = error.to_string();
        assert!(message.contains(told) && !message.contains('\u{1b}'), "{message}");
    }
    assert!(matches!(read(b"\xff"), Err(Error::Line { line: 1, .. })));
}

fn task(choices: &[&str], answer: usize) -> Task {
    let choices = choices.iter().map(|&choice| choice.to_owned()).collect();
    Task { context: String::new(), choices, answer }
}

#[test]
fn answers_are_counted_by_sums_and_by_bytes() {
    let tasks = [
        task(&[" aa", " bbbb"], 0),
        task(&[" aa", " bbbb"], 1),
        task(&["  a", "b", "c", "d"], 1),
        task(&["é", "b"], 0),
    ];
    // By bytes: -1 and -0.75; -1 and -0.75; equals, of which the first is taken; -1 and -1.5.
    let sums = [-2.0, -3.0, -2.0, -3.0, -1.0, -1.0, -1.0, -1.0, -2.0, -1.5];
    let Answers { tasks, accuracy, accuracy_by_bytes, chance, cut, logprobs } =
        judge(&tasks, &sums);
    assert_eq!(logprobs, [&sums[0..2], &sums[2..4], &sums[4..8], &sums[8..10]]);
    assert_eq!((tasks, cut), (4, 0));
    assert!((accuracy.value - 0.25).abs() < 1e-15);
    assert!((accuracy_by_bytes.value - 0.5).abs() < 1e-15);
    assert!((chance - (0.5 + 0.5 + 0.25 + 0.5) / 4.0).abs() < 1e-15);
    // numpy.std([1, 0, 0, 0], ddof=1) / 2 = 0.25, and of two and two 0.288675134594813.
    assert!((accuracy.standard_error.unwrap() - 0.25).abs() < 1e-15);
    assert!((accuracy_by_bytes.standard_error.unwrap() - 0.288_675_134_594_813).abs() < 1e-14);
}
