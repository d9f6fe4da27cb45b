//! A crash after every call, a fault at every call, a cut and a flipped byte at every place.

use std::collections::BTreeSet;
use std::io::Read as _;

use artifacts::disk::{Fate, Fault, FaultKind, Kind, SimulatedDisk};

use super::*;
use crate::{Candidate, Completion, Judgment, Origin, Prompt, Ranking};

const FAULTS: [FaultKind; 4] =
    [FaultKind::NoSpace, FaultKind::InputOutput, FaultKind::DoneButReported, FaultKind::ShortWrite];

fn path() -> &'static Path {
    Path::new("comparisons.jsonl")
}

fn comparison(name: &str, best: usize, time_ms: u64) -> Comparison {
    let texts = [name.to_owned(), format!("not {name}")];
    let completions = texts.map(|text| Completion::new(text, Origin::Written));
    let candidate = Candidate::new(Prompt::Text("hi".to_owned()), completions.into()).unwrap();
    let ranking = Ranking::best_of(2, best).unwrap();
    Comparison::new(candidate, Judgment::ranked("ada", ranking, time_ms)).unwrap()
}

fn id(name: &str) -> RowId {
    RowId::of(&comparison(name, 0, 1))
}

fn open(disk: &SimulatedDisk) -> Store<SimulatedDisk> {
    Store::open_on(disk.clone(), path()).unwrap().0
}

/// The names of what counts, revised ones with an exclamation mark.
fn names<D: Disk>(store: &Store<D>) -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    let read = store.for_each(|_, comparison| {
        let is_first = comparison.judgment().time_ms == 1;
        let text = &comparison.candidate().completions()[0].text;
        names.insert(format!("{text}{}", if is_first { "" } else { "!" }));
        Ok::<(), Error>(())
    });
    read.unwrap();
    assert_eq!(names.len(), store.count());
    names
}

/// A disk with a store of `a` and `b`, all of it durable.
fn disk_with_two() -> SimulatedDisk {
    let disk = SimulatedDisk::new();
    let mut store = open(&disk);
    store.append(comparison("a", 0, 1)).unwrap();
    store.append(comparison("b", 0, 1)).unwrap();
    disk.after_power_cut(&vec![Fate::Kept; disk.pending()])
}

type Change = fn(&mut Store<SimulatedDisk>) -> Result<(), Error>;

/// Each change of a store of `a` and `b`, with what counts afterwards.
const CHANGES: [(&str, Change, &str); 6] = [
    ("append", |store| store.append(comparison("c", 0, 1)).map(|_| ()), "a b c"),
    ("revise", |store| store.revise(id("a"), comparison("a", 1, 2)).map(|_| ()), "a! b"),
    ("delete", |store| store.delete(id("a"), 9), "b"),
    (
        "import",
        |store| {
            let fill = |import: &mut Import<'_>| {
                ["c", "d"].iter().try_for_each(|name| import.add(comparison(name, 0, 1)))
            };
            store.import(fill).map(|_| ())
        },
        "a b c d",
    ),
    ("record use", |store| store.record_use(Digest::of(b"model"), &[id("a")]), "a b"),
    ("compact", Store::compact, "a b"),
];

fn set(words: &str) -> BTreeSet<String> {
    words.split_whitespace().map(str::to_owned).collect()
}

#[test]
fn a_crash_after_any_call_leaves_the_store_before_or_after_the_change() {
    let mut states = 0;
    for (name, change, after) in CHANGES {
        let (before, after) = (set("a b"), set(after));
        let disk = disk_with_two();
        let mut store = open(&disk);
        disk.record();
        change(&mut store).unwrap();
        let moments = disk.recorded();
        for (moment, call) in moments.iter().zip(0..) {
            for fates in SimulatedDisk::fates(moment.pending()) {
                let restarted = moment.after_power_cut(&fates);
                let mut store = open(&restarted);
                let found = names(&store);
                assert!(found == before || found == after, "{name}, call {call}: {found:?}");
                let is_acknowledged = call + 1 == moments.len();
                assert!(!is_acknowledged || found == after, "{name} was acknowledged and lost");
                store.append(comparison("z", 0, 1)).unwrap();
                let worst = restarted.after_power_cut(&vec![Fate::Lost; restarted.pending()]);
                let expected = &found | &set("z");
                assert_eq!(names(&open(&worst)), expected, "{name}, call {call}");
                states += 1;
            }
        }
    }
    assert!(states > 50, "{states} states");
}

/// A disk some of whose syncs do nothing and say that all is well.
#[derive(Clone, Debug)]
struct Skipping {
    disk: SimulatedDisk,
    is_of_files: bool,
}

#[derive(Debug)]
struct Unsynced(Box<dyn NewFile>);

impl std::io::Write for Unsynced {
    fn write(&mut self, buffer: &[u8]) -> std::io::Result<usize> {
        self.0.write(buffer)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        self.0.flush()
    }
}

impl NewFile for Unsynced {
    fn sync(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl Disk for Skipping {
    fn create(&self, path: &Path) -> std::io::Result<Box<dyn NewFile>> {
        let file = self.disk.create(path)?;
        if self.is_of_files { Ok(Box::new(Unsynced(file))) } else { Ok(file) }
    }

    fn open(&self, path: &Path) -> std::io::Result<Box<dyn std::io::Read>> {
        self.disk.open(path)
    }

    fn kind(&self, path: &Path) -> std::io::Result<Option<Kind>> {
        self.disk.kind(path)
    }

    fn list(&self, folder: &Path) -> std::io::Result<Vec<String>> {
        self.disk.list(folder)
    }

    fn create_folder(&self, path: &Path) -> std::io::Result<()> {
        self.disk.create_folder(path)
    }

    fn sync_folder(&self, path: &Path) -> std::io::Result<()> {
        if self.is_of_files { self.disk.sync_folder(path) } else { Ok(()) }
    }

    fn rename(&self, from: &Path, to: &Path) -> std::io::Result<()> {
        self.disk.rename(from, to)
    }

    fn remove_file(&self, path: &Path) -> std::io::Result<()> {
        self.disk.remove_file(path)
    }

    fn remove_folder(&self, path: &Path) -> std::io::Result<()> {
        self.disk.remove_folder(path)
    }
}

#[test]
fn a_store_that_skips_a_sync_is_caught() {
    for is_of_files in [true, false] {
        let disk = disk_with_two();
        let skipping = Skipping { disk: disk.clone(), is_of_files };
        let (mut store, _) = Store::open_on(skipping, path()).unwrap();
        store.append(comparison("c", 0, 1)).unwrap();
        let is_lost = |fates: &Vec<Fate>| {
            let restarted = disk.after_power_cut(fates);
            match Store::open_on(restarted, path()) {
                Ok((store, _)) => names(&store) != set("a b c"),
                Err(_) => true,
            }
        };
        let caught = SimulatedDisk::fates(disk.pending()).iter().any(is_lost);
        assert!(caught, "no power cut lost what was not synced (files: {is_of_files})");
    }
}

#[test]
fn a_fault_at_any_call_loses_nothing_that_was_acknowledged() {
    for (name, change, after) in CHANGES {
        let counting = disk_with_two();
        let mut store = open(&counting);
        counting.plant(None);
        change(&mut store).unwrap();
        let calls = counting.calls().len();
        for (call, kind) in (0..calls).flat_map(|call| FAULTS.map(|kind| (call, kind))) {
            let disk = disk_with_two();
            let mut store = open(&disk);
            disk.plant(Some(Fault { call, kind, lasting: false }));
            let outcome = change(&mut store);
            disk.plant(None);
            drop(store);
            let mut store = open(&disk);
            let found = names(&store);
            let is_after = found == set(after);
            let what = format!("{name}, call {call}, {kind:?}");
            assert!(is_after || found == set("a b"), "{what}: {found:?}");
            assert!(is_after || outcome.is_err(), "{what} was acknowledged and lost");
            store.append(comparison("z", 0, 1)).unwrap();
            for fates in SimulatedDisk::fates(disk.pending()) {
                let restarted = disk.after_power_cut(&fates);
                assert_eq!(names(&open(&restarted)), &found | &set("z"), "{what}");
            }
        }
    }
}

#[test]
fn a_store_that_failed_says_so_until_it_is_opened_again() {
    let disk = disk_with_two();
    let mut store = open(&disk);
    disk.plant(Some(Fault { call: 1, kind: FaultKind::InputOutput, lasting: false }));
    let error = store.append(comparison("c", 0, 1)).unwrap_err();
    assert!(matches!(error, Error::Write { .. }), "{error}");
    let error = store.append(comparison("c", 0, 1)).unwrap_err();
    assert!(matches!(error, Error::Broken { .. }), "{error}");
    open(&disk).append(comparison("c", 0, 1)).unwrap();
}

/// The bytes of the store on a disk.
fn bytes(disk: &SimulatedDisk) -> Vec<u8> {
    let mut bytes = Vec::new();
    disk.open(path()).unwrap().read_to_end(&mut bytes).unwrap();
    bytes
}

fn disk_of(bytes: &[u8]) -> SimulatedDisk {
    let disk = SimulatedDisk::new();
    disk.create(path()).unwrap().write_all(bytes).unwrap();
    disk
}

#[test]
fn a_file_cut_at_any_byte_opens_with_the_whole_rows_and_says_what_was_cut() {
    let all = bytes(&disk_with_two());
    let header = all.iter().position(|byte| *byte == b'\n').unwrap() + 1;
    for length in 0..all.len() {
        let disk = disk_of(&all[..length]);
        let opened = Store::open_on(disk.clone(), path());
        if length < header {
            assert!(matches!(opened, Err(Error::NotAStore { .. })), "{length} bytes");
            continue;
        }
        let (store, opened) = opened.unwrap();
        assert_eq!(opened.bytes + opened.torn_bytes, length as u64);
        let whole = all[..length].iter().filter(|byte| **byte == b'\n').count();
        assert_eq!((opened.rows, store.count()), (whole as u64, whole - 1));
        assert_eq!(bytes(&disk).len() as u64, opened.bytes, "the torn line is cut");
    }
}

#[test]
fn a_changed_byte_is_named_by_its_line_or_refused() {
    let all = bytes(&disk_with_two());
    let first = all.iter().position(|byte| *byte == b'\n').unwrap() + 1;
    for place in (first..all.len() - 1).step_by(3) {
        let mut changed = all.clone();
        changed[place] ^= 1;
        let error = Store::open_on(disk_of(&changed), path()).unwrap_err();
        assert!(matches!(&error, Error::Damaged { line: 2 | 3, .. }), "{error}");
    }
}

#[test]
fn other_versions_and_files_are_refused_with_the_next_step() {
    let newer = b"{\"format\":\"scribe comparisons\",\"version\":2}\n";
    let error = Store::open_on(disk_of(newer), path()).unwrap_err().to_string();
    assert!(error.contains("version 2") && error.contains("a newer one"), "{error}");
    let other = Store::open_on(disk_of(b"{\"chosen\":\"a\"}\n"), path()).unwrap_err();
    assert!(other.to_string().contains("import it"), "{other}");
}

#[test]
fn a_judgment_is_revised_by_its_labeler_alone() {
    let disk = disk_with_two();
    let mut store = open(&disk);
    let second = store.revise(id("a"), comparison("a", 1, 2)).unwrap();
    let third = store.revise(id("a"), comparison("a", 0, 3)).unwrap();
    assert_eq!((store.count(), names(&store)), (2, set("a! b")));
    assert_eq!(store.answers().last().unwrap().id, third);
    assert_eq!(
        [id("a"), second, third, id("c")].map(|id| store.current(id)),
        [Some(third), Some(third), Some(third), None]
    );
    let other = store.revise(second, comparison("b", 1, 4)).unwrap_err();
    assert!(matches!(other, Error::OtherJudgment { .. }), "{other}");
    let back = store.revise(second, comparison("a", 1, 2)).unwrap_err();
    assert!(matches!(back, Error::Repeated { .. }), "{back}");
    let none = store.revise(id("c"), comparison("c", 1, 2)).unwrap_err();
    assert!(matches!(none, Error::UnknownRow { .. }), "{none}");
    assert_eq!(store.append(comparison("b", 0, 1)).unwrap(), id("b"));
    assert_eq!(store.count(), 2, "what is there is acknowledged again");
}

#[test]
fn what_is_deleted_leaves_the_disk_and_what_was_made_from_it_is_known() {
    let disk = disk_with_two();
    let mut store = open(&disk);
    let artifact = Digest::of(b"a reward model");
    store.record_use(artifact, &[id("a"), id("b")]).unwrap();
    let before = store.bytes;
    store.record_use(artifact, &[id("b"), id("a")]).unwrap();
    assert_eq!(store.bytes, before, "what is known is not written again");
    let newest = store.revise(id("a"), comparison("a", 1, 2)).unwrap();
    store.compact().unwrap();
    assert!(store.made_from_deleted().is_empty());
    store.delete(newest, 5).unwrap();
    store.compact().unwrap();
    assert!(!String::from_utf8(bytes(&disk)).unwrap().contains("not a"), "the text is gone");
    let mut store = open(&disk);
    assert_eq!(store.made_from_deleted(), [(artifact, vec![id("a")])].into());
    assert_eq!(store.made_from(id("b")), [artifact]);
    let back = store.append(comparison("a", 0, 1)).unwrap_err();
    assert!(matches!(back, Error::Deleted { .. }), "{back}");
    let names_of_import = ["a", "b", "c"];
    let imported = store.import(|import| {
        names_of_import.iter().try_for_each(|name| import.add(comparison(name, 0, 1)))
    });
    let imported: Imported = imported.map_err(|error: Error| error).unwrap();
    assert_eq!(imported, Imported { added: 1, present: 1, deleted: 1 });
}

#[test]
fn one_writes_and_many_read() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join(STORE_FILE);
    let (mut store, opened) = Store::open(&path).unwrap();
    assert_eq!(opened, Opened::default());
    store.append(comparison("a", 0, 1)).unwrap();
    assert!(matches!(Store::open(&path), Err(Error::Locked { .. })));
    let snapshots = [0; 2].map(|_| Snapshot::open(RealDisk, &path).unwrap());
    store.append(comparison("b", 0, 1)).unwrap();
    for snapshot in &snapshots {
        let mut count = 0;
        let read = snapshot.for_each(|_, _| {
            count += 1;
            Ok::<(), Error>(())
        });
        read.unwrap();
        assert_eq!((count, snapshot.answers().len()), (1, 1), "a snapshot is of one moment");
    }
    store.delete(id("a"), 2).unwrap();
    store.compact().unwrap();
    let read = snapshots[0].for_each(|_, _| Ok::<(), Error>(()));
    assert!(matches!(read, Err(Error::Changed { .. })));
    drop(store);
    assert_eq!(Store::open(&path).unwrap().0.count(), 1);
}
