//! A crash after every call, a fault at every call, a flipped bit at every place.

use super::*;
use crate::disk::{Fate, Fault, FaultKind, RealDisk, SimulatedDisk, Skipped, Skipping};

const FOLDER: &str = "runs/step-2";
const FILE: &str = "runs/LATEST";

/// A disk with a folder `runs` that is durable, an older checkpoint in it, and a `LATEST`.
fn disk_with_old_state() -> SimulatedDisk {
    let disk = SimulatedDisk::new();
    disk.create_folder(Path::new("runs")).unwrap();
    disk.sync_folder(Path::new("/")).unwrap();
    land_folder(&disk, Path::new("runs/step-1"), |folder| {
        folder.write_bytes("weights.bin", b"old weights")
    })
    .unwrap();
    land_bytes(&disk, Path::new(FILE), b"step-1").unwrap();
    assert_eq!(disk.pending(), 0, "a landing leaves nothing to chance");
    disk
}

/// The whole save path: a folder of three files, one of them in pieces, then the pointer to it.
fn save(disk: &dyn Disk) -> Result<(), Error> {
    land_folder(disk, Path::new(FOLDER), |folder| {
        folder.write_bytes("weights.bin", b"new weights")?;
        folder.write("log.txt", |out| {
            let pieces = [b"one".as_slice(), b"two", b"three"];
            // As pieces of a large file come to the disk.
            pieces.iter().try_for_each(|piece| {
                let written = out.write_all(piece).and_then(|()| out.flush());
                written.map_err(|source| Error::Write { source })
            })
        })?;
        folder.write_bytes("empty", b"")
    })?;
    land_bytes(disk, Path::new(FILE), b"step-2")
}

fn read(disk: &dyn Disk, path: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    disk.open(Path::new(path)).unwrap().read_to_end(&mut bytes).unwrap();
    bytes
}

/// The disk after a power cut that took back all that it could.
fn worst_power_cut(disk: &SimulatedDisk) -> SimulatedDisk {
    disk.after_power_cut(&vec![Fate::Lost; disk.pending()])
}

/// What whoever starts after a crash or a fault finds, once it is certain that nothing is mixed.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Found {
    Old,
    NewFolder,
    NewPointer,
}

fn check(disk: &SimulatedDisk) -> Found {
    let old = verify(disk, Path::new("runs/step-1"), |_| ()).expect("the old checkpoint is whole");
    assert_eq!(old.files().len(), 1);
    let there = disk.kind(Path::new(FOLDER)).unwrap().is_some();
    if there {
        let new = verify(disk, Path::new(FOLDER), |_| ()).expect("a new checkpoint is whole");
        assert_eq!(new.files().len(), 3);
        assert_eq!(read(disk, "runs/step-2/log.txt"), b"onetwothree");
    }
    match read(disk, FILE).as_slice() {
        b"step-1" if there => Found::NewFolder,
        b"step-1" => Found::Old,
        b"step-2" if there => Found::NewPointer,
        other => panic!("LATEST is {:?} and step-2 is there: {there}", other.escape_ascii()),
    }
}

#[test]
fn a_crash_after_any_call_leaves_the_old_state_or_the_new_one() {
    let disk = disk_with_old_state();
    disk.record();
    save(&disk).unwrap();
    let calls = disk.calls();
    let moments = disk.recorded();
    assert_eq!(moments.len(), calls.len() + 1);
    let (mut states, mut most_pending) = (0, 0);
    let mut seen = Vec::new();
    for moment in &moments {
        most_pending = most_pending.max(moment.pending());
        for fates in SimulatedDisk::fates(moment.pending()) {
            let restarted = moment.after_power_cut(&fates);
            seen.push(check(&restarted));
            states += 1;
            // Whatever was left behind, the next save of the same name succeeds.
            if restarted.kind(Path::new(FOLDER)).unwrap().is_none() {
                save(&restarted).unwrap();
                assert_eq!(check(&restarted), Found::NewPointer);
            }
        }
    }
    seen.sort_unstable();
    seen.dedup();
    assert_eq!(seen, [Found::Old, Found::NewFolder, Found::NewPointer]);
    assert!((5..=10).contains(&most_pending), "{most_pending} pending at most");
    assert!(states > 400, "{states} states after {} calls", calls.len());
    println!("{states} crash states after {} calls, {most_pending} pending", calls.len());
    assert_eq!(check(&worst_power_cut(&disk)), Found::NewPointer);
}

#[test]
fn a_save_that_skips_a_sync_is_caught() {
    // The simulator proves itself: the same save without one of its syncs must be seen to fail.
    for skipped in [Skipped::Files, Skipped::FoldersBut("runs"), Skipped::Folder("runs")] {
        let disk = disk_with_old_state();
        disk.record();
        save(&Skipping { disk: disk.clone(), skipped }).unwrap();
        let caught = disk.recorded().iter().any(|moment| {
            SimulatedDisk::fates(moment.pending()).iter().any(|fates| {
                let restarted = moment.after_power_cut(fates);
                let folder = Path::new(FOLDER);
                let there = restarted.kind(folder).unwrap().is_some();
                let torn = there && verify(&restarted, folder, |_| ()).is_err();
                torn || !there && read(&restarted, FILE) != b"step-1"
            })
        });
        assert!(caught, "a save that skips its sync of {skipped:?} passed");
    }
}

#[test]
fn a_fault_at_any_call_leaves_the_old_state_and_says_so() {
    let calls = {
        let disk = disk_with_old_state();
        disk.plant(None);
        save(&disk).unwrap();
        disk.calls()
    };
    let settles = |call: usize| calls[call] == "sync folder runs";
    for call in 0..calls.len() {
        for kind in [FaultKind::NoSpace, FaultKind::InputOutput, FaultKind::DoneButReported] {
            for lasting in [false, true] {
                let disk = disk_with_old_state();
                disk.plant(Some(Fault { call, kind, lasting }));
                let error = save(&disk).expect_err(&calls[call]);
                disk.plant(None);
                let unsettled = matches!(error, Error::Unsettled { .. });
                assert_eq!(unsettled, settles(call), "{}: {error}", calls[call]);
                let message = error.to_string();
                assert!(message.contains("runs/") && message.contains("; "), "{message}");
                let found = check(&disk);
                let renamed = calls[..call].iter().filter(|call| call.starts_with("rename"));
                let expected = [Found::Old, Found::NewFolder, Found::NewPointer];
                let late = kind == FaultKind::DoneButReported && calls[call].starts_with("rename");
                assert_eq!(found, expected[renamed.count() + usize::from(late)], "{message}");
                for fates in SimulatedDisk::fates(disk.pending()) {
                    check(&disk.after_power_cut(&fates));
                }
                if found == Found::Old {
                    save(&disk).expect("the next save succeeds");
                    assert_eq!(check(&worst_power_cut(&disk)), Found::NewPointer);
                }
            }
        }
    }
}

#[test]
fn a_filled_folder_lands_whole_or_waits_for_another_try() {
    let (filled, target) = (Path::new("runs/download"), Path::new("runs/model"));
    let bytes = b"weights";
    let sha256 = hash::Digest::of(bytes);
    let file = ManifestFile { name: "model.gguf".to_owned(), bytes: bytes.len() as u64, sha256 };
    let land = |disk: &SimulatedDisk| land_filled(disk, filled, target, [file.clone()]);
    let prepared = || {
        let disk = disk_with_old_state();
        disk.create_folder(filled).unwrap();
        land_bytes(&disk, &filled.join("model.gguf"), bytes).unwrap();
        disk.sync_folder(Path::new("runs")).unwrap();
        disk.plant(None);
        disk
    };
    let disk = prepared();
    land(&disk).unwrap();
    let calls = disk.calls().len();
    verify(&worst_power_cut(&disk), target, |_| ()).unwrap();
    assert!(matches!(land(&disk), Err(Error::AlreadyThere { .. })));
    for call in 0..calls {
        for kind in [FaultKind::NoSpace, FaultKind::InputOutput, FaultKind::DoneButReported] {
            let disk = prepared();
            disk.plant(Some(Fault { call, kind, lasting: false }));
            land(&disk).unwrap_err();
            disk.plant(None);
            for fates in SimulatedDisk::fates(disk.pending()) {
                let restarted = disk.after_power_cut(&fates);
                if restarted.kind(target).unwrap().is_none() {
                    land(&restarted).expect("the next try succeeds");
                }
                verify(&restarted, target, |_| ()).unwrap();
            }
        }
    }
}

#[test]
fn a_short_write_is_carried_on() {
    let calls = {
        let disk = disk_with_old_state();
        disk.plant(None);
        save(&disk).unwrap();
        disk.calls().len()
    };
    for call in 0..calls {
        let disk = disk_with_old_state();
        disk.plant(Some(Fault { call, kind: FaultKind::ShortWrite, lasting: call == 0 }));
        save(&disk).unwrap();
        disk.plant(None);
        assert_eq!(check(&worst_power_cut(&disk)), Found::NewPointer);
    }
}

#[test]
fn every_flipped_bit_is_found_and_its_file_named() {
    let disk = SimulatedDisk::new();
    let files: [(&str, &[u8]); 2] = [("a.bin", b"some bytes"), ("b.bin", b"more")];
    let folder = Path::new("f");
    land_folder(&disk, folder, |new| {
        files.iter().try_for_each(|(name, bytes)| new.write_bytes(name, bytes))
    })
    .unwrap();
    verify(&disk, folder, |_| ()).unwrap();
    for name in ["a.bin", "b.bin", MANIFEST_FILE] {
        let path = folder.join(name);
        let bytes = read(&disk, path.to_str().unwrap());
        for bit in 0..bytes.len() * 8 {
            let mut damaged = bytes.clone();
            damaged[bit / 8] ^= 1 << (bit % 8);
            disk.remove_file(&path).unwrap();
            disk.create(&path).unwrap().write_all(&damaged).unwrap();
            let error = verify(&disk, folder, |_| ()).unwrap_err();
            let Error::InFile { path: named, .. } = &error else { panic!("{error}") };
            assert!(named == &path || name == MANIFEST_FILE, "bit {bit} of {name}: {error}");
        }
        disk.remove_file(&path).unwrap();
        disk.create(&path).unwrap().write_all(&bytes).unwrap();
    }
    verify(&disk, folder, |_| ()).unwrap();
}

#[test]
fn folders_that_do_not_match_their_manifest_are_refused() {
    let disk = SimulatedDisk::new();
    let folder = Path::new("f");
    land_folder(&disk, folder, |new| new.write_bytes("a", b"bytes")).unwrap();
    let fault = |disk: &SimulatedDisk| match open(disk, folder).unwrap_err() {
        Error::InFile { source, .. } => *source,
        other => other,
    };
    let path = folder.join("a");
    disk.create(&folder.join("b")).unwrap();
    assert!(matches!(fault(&disk), Error::Unlisted));
    disk.remove_file(&folder.join("b")).unwrap();
    disk.remove_file(&path).unwrap();
    assert!(matches!(fault(&disk), Error::MissingFile));
    disk.create_folder(&path).unwrap();
    assert!(matches!(fault(&disk), Error::MissingFile));
    disk.remove_folder(&path).unwrap();
    disk.create(&path).unwrap().write_all(b"byte").unwrap();
    assert!(matches!(fault(&disk), Error::WrongLength { expected: 5, found: 4 }));
    disk.remove_file(&folder.join(MANIFEST_FILE)).unwrap();
    assert!(matches!(fault(&disk), Error::Io { action: "open", .. }));
    let again = land_folder(&disk, folder, |new| new.write_bytes("a", b"bytes"));
    assert!(matches!(again, Err(Error::AlreadyThere { .. })));
}

#[test]
fn names_that_are_not_plain_or_occur_twice_are_refused() {
    let disk = SimulatedDisk::new();
    let long = "n".repeat(129);
    for name in ["", ".", "..", "a/b", "../a", ".hidden", "é", "a b", "a\n", &long, MANIFEST_FILE]
    {
        let landed = land_folder(&disk, Path::new("f"), |new| new.write_bytes(name, b""));
        assert!(matches!(landed, Err(Error::FileName { .. })), "{name:?}");
    }
    let twice = land_folder(&disk, Path::new("f"), |new| {
        new.write_bytes("a", b"")?;
        new.write_bytes("a", b"")
    });
    assert!(matches!(twice, Err(Error::Duplicate { .. })));
    assert_eq!(disk.list(Path::new("")).unwrap(), [""; 0], "nothing is left behind");
    assert!(matches!(land_bytes(&disk, Path::new("/"), b""), Err(Error::Io { .. })));
}

#[test]
fn manifests_in_another_form_are_refused() {
    let mut manifest = Manifest::default();
    assert_eq!(Manifest::parse(&manifest.to_json()).unwrap(), manifest);
    let sha256 = hash::Digest::of(b"");
    manifest.add(ManifestFile { name: "b".to_owned(), bytes: 0, sha256 });
    manifest.add(ManifestFile { name: "a".to_owned(), bytes: u64::MAX, sha256 });
    let text = String::from_utf8(manifest.to_json()).unwrap();
    assert_eq!(Manifest::parse(text.as_bytes()).unwrap(), manifest);
    let refused = |text: String| Manifest::parse(text.as_bytes()).unwrap_err();
    assert!(matches!(refused(text.replace(":1,", ":2,")), Error::NotCanonical { version: 2, .. }));
    assert!(matches!(refused(format!("{text} ")), Error::NotCanonical { .. }));
    assert!(matches!(refused(text.replace("\"b\"", "\"a\"")), Error::Duplicate { .. }));
    assert!(matches!(refused(text.replace("\"b\"", "\"../b\"")), Error::FileName { .. }));
    assert!(matches!(refused(text.replace("e3b0", "E3B0")), Error::Json { .. }));
    assert!(matches!(refused(text.replace("bytes", "size")), Error::Json { .. }));
    let escape = refused(text.replace("bytes", r"\u001b[2J")).to_string();
    assert!(escape.contains(r"\u{1b}[2J") && !escape.contains('\u{1b}'), "{escape}");
    assert!(matches!(refused(text.replace(":0,", ":-1,")), Error::Json { .. }));
    assert!(matches!(refused(" ".repeat(5 << 20)), Error::TooLarge { .. }));
    for length in 0..text.len() {
        assert!(Manifest::parse(&text.as_bytes()[..length]).is_err(), "{length} bytes");
    }
}

#[test]
fn the_real_disk_lands_as_the_simulated_one_does() {
    let folder = tempfile::tempdir().unwrap();
    let target = folder.path().join("step-1");
    std::fs::create_dir_all(folder.path().join("step-1.tmp/deeper")).unwrap();
    std::fs::write(folder.path().join("step-1.tmp/deeper/leftover"), "x").unwrap();
    land_folder(&RealDisk, &target, |new| new.write_bytes("a", b"bytes")).unwrap();
    let mut done = Vec::new();
    let manifest = verify(&RealDisk, &target, |bytes| done.push(bytes)).unwrap();
    assert_eq!(manifest.file("a").unwrap().sha256, hash::Digest::of(b"bytes"));
    assert_eq!(done.last(), Some(&5));
    let latest = folder.path().join("LATEST");
    land_bytes(&RealDisk, &latest, b"one").unwrap();
    land_bytes(&RealDisk, &latest, b"two").unwrap();
    assert_eq!(std::fs::read(&latest).unwrap(), b"two");
    assert_eq!(RealDisk.list(folder.path()).unwrap(), ["LATEST", "step-1"]);
    let failed = land_file(&RealDisk, &latest, |_| Err::<(), _>(Error::MissingFile));
    assert!(matches!(failed, Err(Error::MissingFile)));
    assert_eq!(std::fs::read(&latest).unwrap(), b"two");
    assert_eq!(RealDisk.list(folder.path()).unwrap(), ["LATEST", "step-1"]);
    std::fs::write(target.join("a"), "bites").unwrap();
    assert!(matches!(verify(&RealDisk, &target, |_| ()), Err(Error::InFile { .. })));
}
