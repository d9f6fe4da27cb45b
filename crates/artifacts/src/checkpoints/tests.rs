//! A crash after every call of a save, a fault at every call, a flipped bit at every place.

use std::io::Write;
use std::os::unix::fs::symlink;

use super::*;
use crate::disk::{Fate, Fault, FaultKind, RealDisk, SimulatedDisk, Skipped, Skipping};
use crate::folder::MANIFEST_FILE;

const RUN: &str = "runs/first";
const FAULTS: [FaultKind; 3] =
    [FaultKind::NoSpace, FaultKind::InputOutput, FaultKind::DoneButReported];

/// The files of the checkpoint of a step, every one of which says which step it is.
fn files(step: u64) -> [(&'static str, Vec<u8>); 3] {
    [
        ("model.safetensors", format!("weights after step {step}").into_bytes()),
        ("optimizer.safetensors", format!("moments {step}").into_bytes()),
        ("progress.json", format!("{step}").into_bytes()),
    ]
}

fn fill(step: u64, folder: &mut NewFolder<'_>) -> Result<(), Error> {
    files(step).iter().try_for_each(|(name, bytes)| {
        folder.write(name, |out| {
            let halves = bytes.chunks(bytes.len().div_ceil(2));
            let mut written = halves.map(|half| out.write_all(half).and_then(|()| out.flush()));
            written.try_for_each(|half| half.map_err(|source| Error::Write { source }))
        })
    })
}

fn save<D: Disk>(checkpoints: &mut Checkpoints<D>, step: u64) -> Result<Manifest, Error> {
    checkpoints.save(step, |folder| fill(step, folder))
}

fn open(disk: &SimulatedDisk) -> Checkpoints<SimulatedDisk> {
    Checkpoints::open(disk.clone(), RUN, 2).unwrap()
}

/// A disk with the folder of a run in which steps 1 to `saved` were saved.
fn disk_after(saved: u64) -> SimulatedDisk {
    let disk = SimulatedDisk::new();
    disk.create_folder(Path::new("runs")).unwrap();
    disk.sync_folder(Path::new("/")).unwrap();
    let mut checkpoints = open(&disk);
    (1..=saved).for_each(|step| assert_eq!(save(&mut checkpoints, step).unwrap().files().len(), 3));
    // What was removed may still be pending; it is to leave room for the changes of the next save.
    settled(&disk)
}

/// The disk when all that was pending has become durable.
fn settled(disk: &SimulatedDisk) -> SimulatedDisk {
    disk.after_power_cut(&vec![Fate::Kept; disk.pending()])
}

fn at(step: u64, name: &str) -> PathBuf {
    Path::new(RUN).join(name_of(step)).join(name)
}

fn read(disk: &SimulatedDisk, path: &Path) -> Vec<u8> {
    let mut bytes = Vec::new();
    disk.open(path).unwrap().read_to_end(&mut bytes).unwrap();
    bytes
}

fn overwrite(disk: &SimulatedDisk, path: &Path, bytes: &[u8]) {
    disk.remove_file(path).unwrap();
    disk.create(path).unwrap().write_all(bytes).unwrap();
}

/// Whether the checkpoint of that step is whole and all of that step.
fn is_whole<D: Disk>(checkpoints: &Checkpoints<D>, disk: &SimulatedDisk, step: u64) -> bool {
    checkpoints.verify(step).is_ok()
        && files(step).iter().all(|(name, bytes)| &read(disk, &at(step, name)) == bytes)
}

/// What whoever starts after a crash finds; an error where anything is torn, mixed or missing.
fn examine(disk: &SimulatedDisk) -> Result<Option<u64>, String> {
    let mut checkpoints = open(disk);
    let names = disk.list(Path::new(RUN)).unwrap();
    if let Some(name) = names.iter().find(|name| name.ends_with(".tmp")) {
        return Err(format!("{name} was left behind"));
    }
    let steps = checkpoints.steps().unwrap();
    if let Some(step) = steps.iter().find(|step| !is_whole(&checkpoints, disk, **step)) {
        return Err(format!("the checkpoint of step {step} is torn"));
    }
    let latest = checkpoints.latest().map_err(|error| error.to_string())?;
    let damage = latest.as_ref().and_then(|latest| latest.damage.first());
    if let Some(error) = damage {
        return Err(error.to_string());
    }
    let found = latest.map(|latest| latest.step);
    assert_eq!(found, steps.last().copied());
    Ok(found)
}

fn found(disk: &SimulatedDisk) -> Option<u64> {
    examine(disk).unwrap()
}

fn worst_power_cut(disk: &SimulatedDisk) -> SimulatedDisk {
    disk.after_power_cut(&vec![Fate::Lost; disk.pending()])
}

/// The step before, if there was one.
fn before(step: u64) -> Option<u64> {
    (step > 1).then(|| step - 1)
}

#[test]
fn a_crash_after_any_call_of_a_save_leaves_the_old_checkpoint_or_the_new_one() {
    let (mut states, mut calls, mut most_pending) = (0, 0, 0);
    for step in 1..=4 {
        let disk = disk_after(step - 1);
        disk.record();
        save(&mut open(&disk), step).unwrap();
        let moments = disk.recorded();
        calls += moments.len() - 1;
        let mut seen = Vec::new();
        for moment in &moments {
            most_pending = most_pending.max(moment.pending());
            for fates in SimulatedDisk::fates(moment.pending()) {
                let restarted = moment.after_power_cut(&fates);
                let found_step = found(&restarted);
                seen.push(found_step);
                states += 1;
                // As many stay readable as were to be kept, or as there were.
                let kept = open(&restarted).steps().unwrap().len() as u64;
                assert!(kept >= (step - 1).min(2), "{kept} are left of those before {step}");
                // Training goes on from there.
                let next = found_step.unwrap_or(0) + 1;
                save(&mut open(&restarted), next).unwrap();
                assert_eq!(found(&worst_power_cut(&restarted)), Some(next));
            }
        }
        seen.sort_unstable();
        seen.dedup();
        assert_eq!(seen, [before(step), Some(step)]);
        assert_eq!(open(&disk).steps().unwrap().len() as u64, step.min(2));
        assert_eq!(found(&worst_power_cut(&disk)), Some(step));
    }
    assert!(most_pending <= 10, "{most_pending} pending: not every subset was tried");
    assert!(states > 2_000, "{states} states after {calls} calls");
    println!("{states} crash states after {calls} calls, {most_pending} pending");
}

#[test]
fn a_crash_while_starting_again_is_survived() {
    let disk = disk_after(2);
    disk.record();
    save(&mut open(&disk), 3).unwrap();
    let mut states = 0;
    for moment in disk.recorded() {
        let restarted = settled(&moment);
        restarted.record();
        open(&restarted);
        for second in restarted.recorded() {
            for fates in SimulatedDisk::fates(second.pending()) {
                assert!(matches!(found(&second.after_power_cut(&fates)), Some(2 | 3)));
                states += 1;
            }
        }
    }
    assert!(states > 500, "{states} states");
}

#[test]
fn a_save_that_skips_a_sync_is_caught() {
    for skipped in [Skipped::Files, Skipped::FoldersBut(RUN), Skipped::Folder(RUN)] {
        let disk = disk_after(2);
        disk.record();
        let mut checkpoints =
            Checkpoints::open(Skipping { disk: disk.clone(), skipped }, RUN, 2).unwrap();
        save(&mut checkpoints, 3).unwrap();
        let caught = disk.recorded().iter().any(|moment| {
            SimulatedDisk::fates(moment.pending())
                .iter()
                .any(|fates| examine(&moment.after_power_cut(fates)).is_err())
        });
        assert!(caught, "a save that skips its sync of {skipped:?} passed");
    }
}

#[test]
fn a_fault_at_any_call_leaves_a_checkpoint_readable_and_a_later_save_works() {
    for step in 1..=3 {
        let prepared = disk_after(step - 1);
        prepared.plant(None);
        let mut checkpoints = open(&prepared);
        let opening = prepared.calls().len();
        save(&mut checkpoints, step).unwrap();
        let calls = prepared.calls();
        for (call, words) in calls.iter().enumerate().skip(opening) {
            for (kind, lasting) in FAULTS.map(|kind| [(kind, false), (kind, true)]).concat() {
                let disk = disk_after(step - 1);
                let mut checkpoints = open(&disk);
                let fault = Fault { call: call - opening, kind, lasting };
                disk.plant(Some(fault));
                let error = save(&mut checkpoints, step).expect_err(words);
                disk.plant(None);
                let message = error.to_string();
                assert!(message.contains(RUN) && message.contains("; "), "{message}");
                let allowed = [before(step), Some(step)];
                let latest = checkpoints.latest().unwrap();
                assert!(latest.iter().all(|latest| latest.damage.is_empty()), "{message}");
                assert!(allowed.contains(&latest.map(|latest| latest.step)), "{message}");
                if matches!(error, Error::Surplus { .. }) {
                    assert_eq!(found(&worst_power_cut(&disk)), Some(step), "{message}");
                }
                if !lasting {
                    for fates in SimulatedDisk::fates(disk.pending()) {
                        let found_step = found(&disk.after_power_cut(&fates));
                        assert!(allowed.contains(&found_step), "{message}");
                    }
                }
                save(&mut checkpoints, step + 1).unwrap();
                assert!(checkpoints.steps().unwrap().len() <= 2, "{message}");
                assert_eq!(found(&worst_power_cut(&disk)), Some(step + 1), "{message}");
            }
        }
    }
}

#[test]
fn a_fault_while_starting_is_an_error_and_nothing_is_lost() {
    let opened = |disk: &SimulatedDisk| -> Result<Option<u64>, Error> {
        let mut checkpoints = Checkpoints::open(disk.clone(), RUN, 2)?;
        let latest = checkpoints.latest()?;
        Ok(latest.filter(|latest| latest.damage.is_empty()).map(|latest| latest.step))
    };
    let prepared = || {
        let disk = disk_after(2);
        disk.create_folder(Path::new("runs/first/step-00000003.tmp")).unwrap();
        drop(disk.create(Path::new("runs/first/LATEST.tmp")).unwrap());
        disk.plant(None);
        disk
    };
    let disk = prepared();
    assert_eq!(opened(&disk).unwrap(), Some(2));
    for call in 0..disk.calls().len() {
        for kind in FAULTS {
            let disk = prepared();
            disk.plant(Some(Fault { call, kind, lasting: false }));
            // A failure to read the newest is told, too: `latest` has damage, or fails.
            assert_ne!(opened(&disk).ok().flatten(), Some(2), "{}", disk.calls()[call]);
            disk.plant(None);
            assert_eq!(opened(&disk).unwrap(), Some(2));
            assert_eq!(found(&worst_power_cut(&disk)), Some(2));
        }
    }
}

#[test]
fn every_flipped_bit_is_found_and_the_checkpoint_before_is_used() {
    let disk = disk_after(2);
    let mut checkpoints = open(&disk);
    for name in ["model.safetensors", "optimizer.safetensors", "progress.json", MANIFEST_FILE] {
        let path = at(2, name);
        let bytes = read(&disk, &path);
        for bit in 0..bytes.len() * 8 {
            let mut damaged = bytes.clone();
            damaged[bit / 8] ^= 1 << (bit % 8);
            overwrite(&disk, &path, &damaged);
            let latest = checkpoints.latest().unwrap().unwrap();
            assert_eq!((latest.step, latest.damage.len()), (1, 1), "bit {bit} of {name}");
            let message = latest.damage[0].to_string();
            let named = if name == MANIFEST_FILE { "step-00000002" } else { name };
            assert!(message.contains(named), "{message}");
        }
        overwrite(&disk, &path, &bytes);
    }
    assert_eq!(found(&disk), Some(2));
}

#[test]
fn damage_is_told_and_training_goes_on_over_it() {
    let disk = disk_after(1);
    let mut checkpoints = Checkpoints::open(disk.clone(), RUN, 3).unwrap();
    save(&mut checkpoints, 2).unwrap();
    save(&mut checkpoints, 3).unwrap();
    disk.remove_file(&at(3, "progress.json")).unwrap();
    overwrite(&disk, &at(2, "model.safetensors"), b"short");
    let disk = settled(&disk);
    let mut checkpoints = Checkpoints::open(disk.clone(), RUN, 3).unwrap();
    let latest = checkpoints.latest().unwrap().unwrap();
    assert_eq!((latest.step, latest.path), (1, Path::new(RUN).join("step-00000001")));
    let told: Vec<String> = latest.damage.iter().map(Error::to_string).collect();
    assert_eq!(
        told,
        [
            "runs/first/step-00000003/progress.json: the manifest lists this file but it is \
             missing; use an older copy of the folder",
            "runs/first/step-00000002/model.safetensors: it has 5 bytes but the manifest says 20; \
             it is damaged: use an older copy of the folder",
        ]
    );
    assert!(matches!(save(&mut checkpoints, 1), Err(Error::AlreadyThere { .. })));
    assert_eq!(checkpoints.steps().unwrap(), [1, 2, 3], "a refused save changes nothing");
    disk.record();
    save(&mut checkpoints, 2).unwrap();
    // A crash in this save leaves the oldest, or the new one under a LATEST that may still be 3.
    for moment in disk.recorded() {
        for fates in SimulatedDisk::fates(moment.pending()) {
            let restarted = moment.after_power_cut(&fates);
            let mut checkpoints = open(&restarted);
            let step = checkpoints.latest().unwrap().unwrap().step;
            assert!(step <= 2 && is_whole(&checkpoints, &restarted, step), "step {step}");
        }
    }
    assert_eq!(checkpoints.steps().unwrap(), [1, 2]);
    assert_eq!(found(&disk), Some(2));
}

#[test]
fn damaged_checkpoints_do_not_count_among_those_to_keep() {
    let disk = disk_after(3);
    overwrite(&disk, &at(3, "progress.json"), b"?");
    let mut checkpoints = open(&disk);
    assert_eq!(checkpoints.latest().unwrap().unwrap().step, 2);
    save(&mut checkpoints, 4).unwrap();
    assert_eq!(checkpoints.steps().unwrap(), [2, 4]);
    // With too few whole ones none is removed.
    overwrite(&disk, &at(4, "progress.json"), b"?");
    overwrite(&disk, &at(2, "progress.json"), b"?");
    let error = checkpoints.latest().unwrap_err();
    assert!(matches!(&error, Error::NoWholeCheckpoint { damage, .. } if damage.len() == 2));
    let message = error.to_string();
    assert!(message.contains("step-00000004/progress.json: its SHA-256"), "{message}");
    assert!(message.contains("(and 1 more); restore one"), "{message}");
    save(&mut checkpoints, 5).unwrap();
    assert_eq!(checkpoints.steps().unwrap(), [2, 4, 5]);
    save(&mut checkpoints, 6).unwrap();
    assert_eq!(checkpoints.steps().unwrap(), [5, 6]);
}

#[test]
fn a_pointer_that_lies_is_told_and_not_followed() {
    let disk = disk_after(2);
    let pointer = Path::new(RUN).join(LATEST_FILE);
    assert_eq!(read(&disk, &pointer), b"step-00000002\n");
    let mut checkpoints = open(&disk);
    let mut damage_of = |bytes: &[u8]| {
        overwrite(&disk, &pointer, bytes);
        let latest = checkpoints.latest().unwrap().unwrap();
        assert_eq!(latest.step, 2, "{}", bytes.escape_ascii());
        latest.damage.into_iter().next()
    };
    assert!(damage_of(b"step-00000001\n").is_none(), "a save that was interrupted");
    for bytes in [
        b"".as_slice(),
        b"step-00000002",
        b"step-00000002\n\n",
        b"step-00000002\nmore",
        b"step-2\n",
        b"../../etc/passwd",
        b"step-../../etc\n",
        b"\xff\xfe",
        &[b'0'; 100_000],
    ] {
        let fault = damage_of(bytes);
        let Some(Error::InFile { path, source }) = fault else { panic!("{fault:?}") };
        assert_eq!((path.as_path(), matches!(*source, Error::LatestFile)), (&*pointer, true));
    }
    let Some(Error::InFile { path, source }) = damage_of(b"step-00000007\n") else {
        panic!("a checkpoint that is missing was not told");
    };
    assert!(path.ends_with("step-00000007") && matches!(*source, Error::MissingCheckpoint));
    disk.remove_file(&pointer).unwrap();
    assert_eq!(found(&disk), Some(2), "the first save may be interrupted before LATEST");
}

#[test]
fn only_names_of_checkpoints_are_read_or_removed() {
    for (name, step) in [
        ("step-00001234", Some(1_234)),
        ("step-99999999", Some(STEP_MAX)),
        ("step-00000000", Some(0)),
        ("step-1", None),
        ("step-000000001", None),
        ("step-+0000001", None),
        ("step- 0000001", None),
        ("step-0000000x", None),
        ("step-٠٠٠٠", None),
        ("Step-00000001", None),
        ("step-00000001/", None),
        ("xstep-00000001", None),
        ("", None),
    ] {
        assert_eq!(step_of(name), step, "{name}");
        assert!(step.is_none_or(|step| name_of(step) == name));
    }
    let disk = disk_after(2);
    let foreign = ["notes.tmp", "step-1", "step-1.tmp", ".tmp", "step-000000001", "x"];
    for name in foreign {
        drop(disk.create(&Path::new(RUN).join(name)).unwrap());
    }
    let mut checkpoints = open(&disk);
    (3..=5).for_each(|step| assert!(save(&mut checkpoints, step).is_ok()));
    let names = disk.list(Path::new(RUN)).unwrap();
    assert!(foreign.iter().all(|name| names.iter().any(|there| there == name)), "{names:?}");
    assert_eq!(names.len(), foreign.len() + 3);
    assert_eq!(checkpoints.latest().unwrap().unwrap().step, 5);
}

#[test]
fn arguments_that_cannot_be_are_refused() {
    let disk = disk_after(1);
    for keep in [0, 1] {
        let error = Checkpoints::open(disk.clone(), RUN, keep).unwrap_err();
        assert!(matches!(error, Error::KeepTooFew { least: 2, .. }), "{error}");
    }
    let mut checkpoints = open(&disk);
    let error = save(&mut checkpoints, STEP_MAX + 1).unwrap_err();
    assert!(matches!(error, Error::StepTooLarge { limit: STEP_MAX, .. }), "{error}");
    save(&mut checkpoints, STEP_MAX).unwrap();
    assert_eq!(found(&disk), Some(STEP_MAX));
    let error = Checkpoints::open(disk.clone(), format!("{RUN}/{LATEST_FILE}"), 2).unwrap_err();
    assert!(error.to_string().contains("should be a folder"), "{error}");
    let error = Checkpoints::open(disk, "nowhere/run", 2).unwrap_err();
    assert!(matches!(error, Error::Io { action: "create", .. }), "{error}");
}

#[test]
fn what_fill_fails_with_is_returned_and_leaves_nothing() {
    let disk = disk_after(2);
    let mut checkpoints = open(&disk);
    let failed = checkpoints.save(3, |folder| {
        folder.write_bytes("model.safetensors", b"begun")?;
        Err(Error::MissingTensor { tensor: "embedding".to_owned() })
    });
    assert!(matches!(failed, Err(Error::MissingTensor { .. })));
    let escaping = checkpoints.save(3, |folder| folder.write_bytes("../../elsewhere", b"x"));
    assert!(matches!(escaping, Err(Error::FileName { .. })));
    assert_eq!(disk.list(Path::new(RUN)).unwrap(), ["LATEST", "step-00000001", "step-00000002"]);
    assert_eq!(found(&disk), Some(2));
}

#[test]
fn the_real_disk_keeps_checkpoints_and_follows_no_links() {
    let folder = tempfile::tempdir().unwrap();
    let run = folder.path().join("run");
    let mut checkpoints = Checkpoints::open(RealDisk, &run, 2).unwrap();
    assert!(checkpoints.latest().unwrap().is_none());
    (1..=3).for_each(|step| assert!(save(&mut checkpoints, step).is_ok()));
    let expected = ["LATEST", "step-00000002", "step-00000003"];
    assert_eq!(RealDisk.list(&run).unwrap(), expected);
    assert_eq!(std::fs::read_to_string(run.join(LATEST_FILE)).unwrap(), "step-00000003\n");
    // A whole checkpoint elsewhere, reached by links only.
    let elsewhere = folder.path().join("elsewhere");
    std::fs::rename(run.join("step-00000003"), &elsewhere).unwrap();
    symlink(&elsewhere, run.join("step-00000003")).unwrap();
    symlink(&elsewhere, run.join("step-00000009.tmp")).unwrap();
    let mut checkpoints = Checkpoints::open(RealDisk, &run, 2).unwrap();
    assert_eq!(RealDisk.list(&run).unwrap(), expected);
    let latest = checkpoints.latest().unwrap().unwrap();
    assert_eq!((latest.step, latest.damage.len()), (2, 1));
    assert!(latest.damage[0].to_string().contains("should be a folder"), "{:?}", latest.damage);
    save(&mut checkpoints, 3).unwrap();
    assert_eq!(RealDisk.list(&run).unwrap(), expected);
    assert_eq!(checkpoints.latest().unwrap().unwrap().step, 3);
    folder::verify(&RealDisk, &elsewhere, |_| ()).unwrap();
}

#[test]
fn who_only_looks_disturbs_no_save_that_goes_on() {
    let look_whole = |disk: &SimulatedDisk| newest(disk, Path::new(RUN)).unwrap();
    let look = |disk: &SimulatedDisk| look_whole(disk).map(|newest| newest.path);
    assert_eq!(look(&SimulatedDisk::new()), None);
    let disk = disk_after(2);
    let mut checkpoints = open(&disk);
    assert_eq!(look(&disk), Some(Path::new(RUN).join(name_of(2))));
    checkpoints
        .save(3, |folder| {
            fill(3, folder)?;
            // Another process asks while the files are there under a temporary name.
            assert_eq!(look(&disk), Some(Path::new(RUN).join(name_of(2))));
            Ok::<(), Error>(())
        })
        .unwrap();
    assert_eq!(look(&disk), Some(Path::new(RUN).join(name_of(3))));
    assert_eq!(found(&disk), Some(3));
    // One without all of its files does not count.
    disk.remove_file(&at(3, "progress.json")).unwrap();
    let found = look_whole(&disk).unwrap();
    assert_eq!((found.path, found.damage.len()), (Path::new(RUN).join(name_of(2)), 1));
    assert!(found.damage[0].to_string().contains(&name_of(3)), "{}", found.damage[0]);
}
