//! The same recipe leaves the same bytes, on any way through it.

use tempfile::tempdir;
use training::Ended;

use crate::{Heard, RECIPE, Way, files, train};

const WHOLE: Way = Way { threads: 1, micro_rows: 4, stop_after: None };

#[track_caller]
fn assert_same(folder: &std::path::Path, other: &std::path::Path) {
    let (one, two) = (files(folder), files(other));
    let names =
        |files: &std::collections::BTreeMap<_, _>| files.keys().cloned().collect::<Vec<_>>();
    assert_eq!(names(&one), names(&two));
    for (name, bytes) in &one {
        assert!(bytes == &two[name], "{} differs", name.display());
    }
}

fn uninterrupted(recipe: &str) -> (tempfile::TempDir, Heard) {
    let folder = tempdir().unwrap();
    let (ended, heard) = train(folder.path(), recipe, WHOLE).unwrap();
    assert_eq!(ended, Ended::Finished);
    (folder, heard)
}

#[test]
fn a_run_learns_and_leaves_a_model_and_metrics() {
    let (folder, heard) = uninterrupted(RECIPE);
    assert_eq!((heard.losses.len(), heard.saved), (12, vec![5, 10, 12]));
    let [first, last] = [heard.losses[0], heard.losses[11]];
    // The first loss is about ln 320; twelve steps teach a part of it.
    assert!((first - 320_f64.ln()).abs() < 0.3 && last < first - 0.4, "{first} {last}");
    let metrics = training::metrics::read(&folder.path().join("3-pretrained")).unwrap();
    let looks = metrics.iter().filter_map(|metrics| metrics.validation);
    let bits: Vec<f64> = looks.map(|validation| validation.bits_per_byte).collect();
    assert_eq!(bits.len(), 3);
    assert!(bits.is_sorted_by(|a, b| a > b), "{bits:?}");
    let names: Vec<String> =
        files(folder.path()).keys().map(|name| name.display().to_string()).collect();
    for name in ["config.json", "model.safetensors", "tokenizer.json", "optimizer.safetensors"] {
        let name = format!("3-pretrained/checkpoints/step-00000012/{name}");
        assert!(names.contains(&name), "{name} is not among {names:?}");
    }
}

#[test]
fn threads_and_micro_batches_change_no_byte() {
    let (folder, _) = uninterrupted(RECIPE);
    for (threads, micro_rows) in [(2, 4), (2, 1), (1, 3)] {
        let other = tempdir().unwrap();
        train(other.path(), RECIPE, Way { threads, micro_rows, stop_after: None }).unwrap();
        assert_same(folder.path(), other.path());
    }
}

#[test]
fn a_run_that_was_stopped_and_goes_on_leaves_the_same_bytes() {
    for recipe in [
        RECIPE.to_owned(),
        RECIPE.replace("muon", "adamw").replace("[pretrain]", "[pretrain]\nprecision = \"f32\""),
    ] {
        let (folder, _) = uninterrupted(&recipe);
        let other = tempdir().unwrap();
        let mut resumed = Vec::new();
        for (stop_after, micro_rows) in [(Some(1), 2), (Some(7), 1), (Some(10), 4), (None, 3)] {
            let way = Way { threads: 2, micro_rows, stop_after };
            let (ended, heard) = train(other.path(), &recipe, way).unwrap();
            assert_eq!(ended, stop_after.map_or(Ended::Finished, Ended::Stopped));
            resumed.push(heard.resumed);
        }
        assert_eq!(resumed, [None, Some((1, 0)), Some((7, 0)), Some((10, 0))]);
        // The last two checkpoints are other ones where the run was stopped elsewhere.
        let keep = |folder: &std::path::Path| {
            let _ = std::fs::remove_dir_all(folder.join("3-pretrained/checkpoints/step-00000010"));
        };
        keep(folder.path());
        keep(other.path());
        assert_same(folder.path(), other.path());
    }
}

#[test]
fn a_run_goes_on_from_an_older_checkpoint_where_the_newest_is_damaged() {
    let (folder, _) = uninterrupted(RECIPE);
    let other = tempdir().unwrap();
    let stopped = Way { stop_after: Some(10), ..WHOLE };
    train(other.path(), RECIPE, stopped).unwrap();
    let weights = other.path().join("3-pretrained/checkpoints/step-00000010/model.safetensors");
    let mut bytes = std::fs::read(&weights).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::write(&weights, bytes).unwrap();

    let (ended, heard) = train(other.path(), RECIPE, WHOLE).unwrap();
    assert_eq!((ended, heard.resumed), (Ended::Finished, Some((5, 1))));
    assert_same(folder.path(), other.path());
}

#[test]
fn a_run_that_is_finished_stays_as_it_is() {
    let (folder, _) = uninterrupted(RECIPE);
    let before = files(folder.path());
    let (ended, heard) = train(folder.path(), RECIPE, WHOLE).unwrap();
    assert_eq!((ended, heard.losses.len(), heard.saved.len()), (Ended::Finished, 0, 0));
    assert_eq!(before, files(folder.path()));
}
