//! Files of every kind, good rows and bad ones.

use super::*;

fn read(source: &Source, bad_rows: BadRows) -> Result<(Vec<(String, u64)>, Rows), Error> {
    let mut found = Vec::new();
    let rows = source.read(bad_rows, &mut |document, _| {
        found.push((document.content.text().into_owned(), document.place.line));
        Ok(())
    })?;
    Ok((found, rows))
}

fn texts(name: &str, bytes: &[u8]) -> Result<(Vec<(String, u64)>, Rows), Error> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join(name);
    std::fs::write(&path, bytes).unwrap();
    read(&Source::text("it", path), BadRows::Counted)
}

#[test]
fn bad_rows_are_counted_and_shown_with_their_lines() {
    let rows = b"{\"text\": \"one\"}\n\nnot json\n{\"text\": 3}\n\xff\n[1]\n{\"other\": \"x\"}\r\n\
        {\"text\": [\"a\", {\"role\": \"user\", \"content\": \"b\"}]}\n{\"text\": []}\n";
    let (found, rows) = texts("rows.jsonl", rows).unwrap();
    assert_eq!(found, [("one".to_owned(), 1), ("a\n\nb".to_owned(), 8)]);
    assert_eq!((rows.rows, rows.bad_rows(), rows.files), (8, 6, 1));
    let expected =
        [(BadRow::NotUtf8, 1), (BadRow::NotJson, 2), (BadRow::NoColumn, 1), (BadRow::NotText, 2)];
    assert_eq!(rows.bad, expected.into());
    let lines: Vec<u64> = rows.samples.iter().map(|sample| sample.line).collect();
    assert_eq!(lines, [3, 4, 5, 6, 7, 9]);
    assert_eq!(rows.samples[0].reason, BadRow::NotJson);
}

#[test]
fn a_bad_row_ends_a_strict_reading() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("rows.jsonl");
    std::fs::write(&path, "{\"text\": \"one\"}\n{\n").unwrap();
    let error = read(&Source::text("it", path), BadRows::Refused).unwrap_err().to_string();
    assert!(error.starts_with("rows.jsonl: line 2: not a JSON object; "), "{error}");
}

#[test]
fn a_column_that_is_nowhere_is_an_error_that_names_those_that_are() {
    for rows in [1, 1_000] {
        let rows = "{\"body\": \"x\", \"id\": 1}\n".repeat(rows);
        let error = texts("rows.jsonl", rows.as_bytes()).unwrap_err().to_string();
        assert!(error.contains("no column `text`"), "{error}");
        assert!(error.ends_with("name one of its columns: `body`, `id`"), "{error}");
    }
}

#[test]
fn text_files_are_cut_at_separators() {
    let text = "one\ntwo\n<|endoftext|>\n\n<|endoftext|>\nthree";
    for name in ["a.txt", "a.md"] {
        let (found, rows) = texts(name, text.as_bytes()).unwrap();
        assert_eq!(found, [("one\ntwo\n".to_owned(), 1), ("three\n".to_owned(), 6)]);
        assert_eq!(rows.rows, 2);
    }
    assert!(texts("a.txt", b" \n\n").unwrap().0.is_empty());
    assert_eq!(texts("a.txt", b"a\xff\n").unwrap().1.bad, [(BadRow::NotUtf8, 1)].into());
}

#[test]
fn long_text_files_are_cut_at_blank_lines_and_long_lines_are_bad() {
    let paragraph = format!("{}\n\n", "word ".repeat(60_000));
    let (found, _) = texts("a.txt", paragraph.repeat(10).as_bytes()).unwrap();
    assert!((2..=4).contains(&found.len()), "{} parts", found.len());
    let whole: String = found.iter().map(|(text, _)| text.as_str()).collect();
    assert_eq!(whole.replace('\n', ""), paragraph.repeat(10).replace('\n', ""));

    let line = format!("before\n{}\nafter\n", "x".repeat(ROW_BYTES_MAX + 1));
    let (found, rows) = texts("a.txt", line.as_bytes()).unwrap();
    assert_eq!(found, [("before\n".to_owned(), 1), ("after\n".to_owned(), 3)]);
    assert_eq!(rows.samples[0].line, 2);
    let (found, _) = texts("a.txt", "x\n".repeat(ROW_BYTES_MAX).as_bytes()).unwrap();
    assert!(found.iter().all(|(text, _)| text.len() <= ROW_BYTES_MAX));
    assert_eq!(found.iter().map(|(text, _)| text.len()).sum::<usize>(), 2 * ROW_BYTES_MAX);
}

#[test]
fn compressed_files_are_the_same_and_cut_ones_are_an_error() {
    let rows: String = (0..2_000).map(|n| format!("{{\"text\": \"number {n}\"}}\n")).collect();
    let (plain, _) = texts("rows.jsonl", rows.as_bytes()).unwrap();
    let mut frames = zstd::encode_all(&rows.as_bytes()[..100], 1).unwrap();
    frames.extend(zstd::encode_all(&rows.as_bytes()[100..], 3).unwrap());
    let (found, _) = texts("rows.jsonl.zst", &frames).unwrap();
    assert_eq!(found, plain);
    for cut in [1, 3, 10, frames.len() / 2, frames.len() - 1] {
        let error = texts("rows.jsonl.zst", &frames[..cut]).unwrap_err();
        assert!(matches!(error, Error::Read { .. }), "{cut}: {error}");
    }
    assert!(texts("rows.jsonl.zst", b"no frame at all").is_err());
}

#[test]
fn a_window_over_the_limit_is_refused() {
    // A frame header that asks for a window of 2 GiB (descriptor 0xa8: exponent 21), and an empty
    // last block.
    let frame = [0x28, 0xb5, 0x2f, 0xfd, 0x00, 0xa8, 0x01, 0x00, 0x00];
    let error = texts("rows.jsonl.zst", &frame).unwrap_err().to_string();
    assert!(error.contains("too much memory") || error.contains("window"), "{error}");
    let allowed = [0x28, 0xb5, 0x2f, 0xfd, 0x00, 0x88, 0x01, 0x00, 0x00];
    assert!(texts("rows.jsonl.zst", &allowed).unwrap().0.is_empty());
}

#[test]
fn folders_are_read_in_order_and_say_what_was_passed_over() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    std::fs::create_dir(at("b")).unwrap();
    for (name, text) in
        [("c.txt", "3"), ("b/z.MD", "2"), ("a.jsonl", "{\"text\": \"1\"}"), ("d.pdf", "x")]
    {
        std::fs::write(at(name), text).unwrap();
    }
    std::fs::write(at(".hidden.txt"), "x").unwrap();
    std::os::unix::fs::symlink(folder.path(), at("b/loop")).unwrap();
    let (found, rows) = read(&Source::text("it", folder.path()), BadRows::Counted).unwrap();
    let texts: Vec<&str> = found.iter().map(|(text, _)| text.trim()).collect();
    assert_eq!(texts, ["1", "2", "3"]);
    assert_eq!((rows.files, rows.files_passed_over), (3, 2));

    let unknown = read(&Source::text("it", at("d.pdf")), BadRows::Counted).unwrap_err();
    assert!(matches!(unknown, Error::UnknownKind { .. }));
    let absent = read(&Source::text("it", at("none")), BadRows::Counted).unwrap_err();
    assert!(matches!(absent, Error::Read { .. }));
    std::fs::create_dir(at("empty")).unwrap();
    let empty = read(&Source::text("it", at("empty")), BadRows::Counted).unwrap_err();
    assert!(empty.to_string().contains("holds no file"), "{empty}");
}

#[test]
fn whatever_a_row_holds_nothing_panics() {
    let pieces: [&[u8]; 8] = [b"{", b"}", b"[", b"\"text\"", b":", b"\"a\"", b"\xff", b"\n"];
    let mut seed = 1_u64;
    for _ in 0..300 {
        let mut bytes = Vec::new();
        for _ in 0..40 {
            seed = crate::mix::mix(seed);
            bytes.extend_from_slice(pieces[usize::try_from(seed % 8).unwrap()]);
        }
        for name in ["a.jsonl", "a.txt"] {
            match texts(name, &bytes) {
                Ok((found, rows)) => {
                    assert_eq!(rows.rows, found.len() as u64 + rows.bad_rows());
                }
                Err(error) => assert!(matches!(error, Error::NoColumn { .. }), "{error}"),
            }
        }
    }
    let deep = format!("{{\"text\": {}}}", "[".repeat(100_000));
    assert_eq!(texts("a.jsonl", deep.as_bytes()).unwrap().1.bad, [(BadRow::NotJson, 1)].into());
}
