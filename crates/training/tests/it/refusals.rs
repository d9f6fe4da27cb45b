//! What a run refuses, and that nothing is lost by it.

use std::fs;
use std::num::NonZeroUsize;

use corpus::Source;
use tempfile::tempdir;
use training::{Error, Recipe, RunFolder, text};

use crate::{RECIPE, Way, files, messages, train};

const WAY: Way = Way { threads: 1, micro_rows: 4, stop_after: Some(1) };

#[test]
fn a_loss_that_is_not_finite_changes_no_weight_and_ends_the_run_by_name() {
    // A decay of 10 at a rate of 10 multiplies every weight by -99.
    let recipe = RECIPE
        .replace("learning_rate = 1e-2", "learning_rate = 10.0\nweight_decay = 10.0")
        .replace("muon", "adamw")
        .replace("steps = 12", "steps = 40")
        .replace("checkpoint_every = 5", "checkpoint_every = 1");
    let folder = tempdir().unwrap();
    let error = train(folder.path(), &recipe, Way { stop_after: None, ..WAY }).unwrap_err();
    let Error::NotFinite { step, times: 3, first_row, last_row, checkpoint } = error else {
        panic!("{error}");
    };
    assert_eq!((first_row, last_row), ((step - 1) * 4, step * 4 - 1));
    assert_eq!(checkpoint, step - 1);
    // What was saved is finite: the last update that was made.
    let metrics = training::metrics::read(&folder.path().join("3-pretrained")).unwrap();
    assert!(metrics.iter().any(|metrics| metrics.skipped), "{metrics:?}");
    let again = train(folder.path(), &recipe, Way { stop_after: None, ..WAY });
    assert!(matches!(again, Err(Error::NotFinite { .. })));
}

#[test]
fn another_recipe_is_refused_and_nothing_is_changed() {
    let folder = tempdir().unwrap();
    train(folder.path(), RECIPE, WAY).unwrap();
    let before = files(folder.path());
    let other = RECIPE.replace("rows = 4\n", "rows = 5\n");
    let error = train(folder.path(), &other, WAY).unwrap_err();
    assert!(matches!(error, Error::OtherRecipe { .. }));
    assert!(error.to_string().contains("pretrain.rows is 4, not 5"), "{error}");
    let other = RECIPE.replace("[model]", "[model]\ntied_head = true");
    let error = train(folder.path(), &other, WAY).unwrap_err();
    assert!(error.to_string().contains("model.tied_head is false, not true"), "{error}");
    assert_eq!(before, files(folder.path()));
}

#[test]
fn a_recipe_may_be_mended_until_something_was_made_by_it() {
    let folder = tempdir().unwrap();
    let asks_too_much = RECIPE.replace("vocabulary = 320", "vocabulary = 300000");
    let error = train(folder.path(), &asks_too_much, WAY).unwrap_err();
    assert!(matches!(error, Error::VocabularyTooLarge { .. }), "{error}");
    let open = |recipe: &str| {
        let recipe = Recipe::parse(recipe).unwrap();
        RunFolder::open(folder.path(), &recipe.pretraining_toml()).map(|run| (run, recipe))
    };
    let other_model = RECIPE.replace("layers = 2", "layers = 1");
    let (run, recipe) = open(&other_model).unwrap();
    let sources = [Source::text("messages", messages())];
    text::make_tokenizer(&run, &recipe, &sources, NonZeroUsize::MIN, &mut |_| ()).unwrap();
    drop(run);
    // The tokenizer is made, and the model is not.
    let other_text = RECIPE.replace("validation = ", "characters_min = 40\nvalidation = ");
    let error = open(&other_text).unwrap_err();
    assert!(error.to_string().contains("corpus.characters_min is nothing, not 40"), "{error}");
    train(folder.path(), RECIPE, WAY).unwrap();
    assert!(matches!(open(&other_model), Err(Error::OtherRecipe { .. })));
}

#[test]
fn a_damaged_tokenizer_or_corpus_is_named_and_made_anew() {
    let folder = tempdir().unwrap();
    train(folder.path(), RECIPE, WAY).unwrap();
    let before = files(folder.path());
    for (stage, file) in [("1-tokenizer", "tokenizer.json"), ("2-corpus", "corpus.json")] {
        let stage = folder.path().join(stage);
        fs::write(stage.join(file), "{}").unwrap();
        let error = train(folder.path(), RECIPE, WAY).unwrap_err();
        assert!(matches!(error, Error::Damaged { .. }), "{error}");
        let told = format!("{} is damaged; remove it and give the same command", stage.display());
        assert!(error.to_string().starts_with(&told), "{error}");
        fs::remove_dir_all(stage).unwrap();
        train(folder.path(), RECIPE, Way { stop_after: Some(1), ..WAY }).unwrap();
    }
    for (name, bytes) in before.iter().filter(|(name, _)| !name.starts_with("3-pretrained")) {
        assert!(*bytes == files(folder.path())[name], "{}", name.display());
    }
}

#[test]
fn a_link_in_the_place_of_the_lock_empties_nothing() {
    let (folder, other) = (tempdir().unwrap(), tempdir().unwrap());
    let precious = other.path().join("precious.txt");
    fs::write(&precious, "dear").unwrap();
    std::os::unix::fs::symlink(&precious, folder.path().join("run.lock")).unwrap();
    train(folder.path(), RECIPE, WAY).unwrap();
    assert_eq!(fs::read_to_string(precious).unwrap(), "dear");
}

#[test]
fn two_processes_do_not_train_in_one_folder() {
    let folder = tempdir().unwrap();
    let recipe = Recipe::parse(RECIPE).unwrap().pretraining_toml();
    let held = RunFolder::open(folder.path(), &recipe).unwrap();
    assert!(matches!(RunFolder::open(folder.path(), &recipe), Err(Error::Locked { .. })));
    drop(held);
    RunFolder::open(folder.path(), &recipe).unwrap();
}

#[test]
fn a_folder_of_somebody_else_is_left_alone() {
    let folder = tempdir().unwrap();
    fs::write(folder.path().join("letter.txt"), "dear").unwrap();
    let error = train(folder.path(), RECIPE, WAY).unwrap_err();
    assert!(matches!(error, Error::NotARun { .. }));
    assert_eq!(files(folder.path()).len(), 1);
}

#[test]
fn a_vocabulary_larger_than_the_text_allows_is_refused_with_the_largest() {
    let folder = tempdir().unwrap();
    let recipe = RECIPE.replace("vocabulary = 320", "vocabulary = 300000");
    let error = train(folder.path(), &recipe, WAY).unwrap_err();
    let Error::VocabularyTooLarge { found, asked: 300_000 } = error else { panic!("{error}") };
    assert!((1_000..100_000).contains(&found), "{found}");
}

#[test]
fn a_checkpoint_that_does_not_fit_is_refused() {
    let folder = tempdir().unwrap();
    train(folder.path(), RECIPE, WAY).unwrap();
    let checkpoints = "3-pretrained/checkpoints";
    let other = tempdir().unwrap();
    let recipe = RECIPE.replace("layers = 2", "layers = 1");
    train(other.path(), &recipe, WAY).unwrap();
    fs::remove_dir_all(folder.path().join(checkpoints)).unwrap();
    fs::rename(other.path().join(checkpoints), folder.path().join(checkpoints)).unwrap();
    let error = train(folder.path(), RECIPE, WAY).unwrap_err();
    assert!(matches!(error, Error::OtherCheckpoint { .. }), "{error}");
    assert!(error.to_string().contains("another recipe"), "{error}");
}

#[test]
fn metrics_that_were_cut_behind_a_checkpoint_are_noticed() {
    let folder = tempdir().unwrap();
    train(folder.path(), RECIPE, WAY).unwrap();
    let path = folder.path().join("3-pretrained/metrics.jsonl");
    fs::write(&path, "{").unwrap();
    let error = train(folder.path(), RECIPE, WAY).unwrap_err();
    assert!(matches!(error, Error::MetricsCut { found: 1, step: 1, .. }), "{error}");
}
