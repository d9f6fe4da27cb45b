//! Recipes as people write them, well and badly.

use std::num::NonZeroUsize;
use std::path::Path;

use corpus::BATCH_TOKENS_MAX;
use tokenizer::{SplitRule, TrainOptions, Trainer};

use super::*;
use crate::Error;

/// The smallest recipe: all else has a default.
const LEAST: &str = r#"
[[corpus.source]]
path = "book.txt"
[tokenizer]
[model]
layers = 2
width = 64
heads = 4
context_tokens = 32
[pretrain]
steps = 10
rows = 2
learning_rate = 1e-3
"#;

#[track_caller]
fn refused(line: &str, replacement: &str) -> String {
    assert!(LEAST.contains(line), "{line}");
    let text = LEAST.replace(line, replacement);
    Recipe::parse(&text).unwrap_err().to_string()
}

#[test]
fn a_recipe_needs_little_and_comes_back_from_its_own_text() {
    let recipe = Recipe::parse(LEAST).unwrap();
    assert_eq!((recipe.seed, recipe.pretrain.beta2, recipe.row_tokens()), (0, 0.95, 32));
    let config = recipe.model.config(300).unwrap();
    assert_eq!((config.kv_heads, config.head_size, config.ffn_width), (4, 16, 192));
    assert_eq!(Recipe::parse(&recipe.pretraining_toml()).unwrap(), recipe);
}

#[test]
fn a_field_that_is_not_known_is_refused_with_the_one_that_was_meant() {
    let error = refused("width = 64", "widht = 64");
    assert!(error.contains("line 7: there is no field `widht`; did you mean `width`?"), "{error}");
    let error = refused("steps = 10", "steps = 10\nbanana = 1");
    assert!(error.contains("no field `banana`; there are") && error.contains("steps"), "{error}");
    let error = refused("[pretrain]", "[pretraining]");
    assert!(error.contains("did you mean `pretrain`?"), "{error}");
}

#[test]
fn the_recipes_that_come_with_the_program_are_sound() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../recipes");
    let mut read = 0;
    let entries = [folder.join("plans"), folder].map(|folder| std::fs::read_dir(folder).unwrap());
    for entry in entries.into_iter().flatten() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            continue;
        }
        AnyRecipe::read(&path).unwrap_or_else(|error| panic!("{error}"));
        read += 1;
    }
    assert!(read >= 3, "{read} recipes");
}

#[test]
fn what_is_missing_or_of_the_wrong_kind_is_named() {
    let error = refused("learning_rate = 1e-3", "");
    assert!(error.contains("missing field `learning_rate`"), "{error}");
    let error = refused("steps = 10", "");
    assert!(error.contains("pretrain is neither, but must be for some `steps`"), "{error}");
    let error = refused("steps = 10", "steps = 10\nepochs = 2.0");
    assert!(error.contains("pretrain is both"), "{error}");
    let error = refused("rows = 2", "rows = \"two\"");
    assert!(error.contains("line 12") && error.contains("two"), "{error}");
    let error = refused("rows = 2", "rows =");
    assert!(error.contains("line 12"), "{error}");
}

#[test]
fn values_that_make_no_sense_are_refused_with_what_would_be_accepted() {
    for (line, replacement, expected) in [
        ("steps = 10", "steps = 0", "pretrain.steps is 0, but must be from 1"),
        ("rows = 2", "rows = 2\nrow_tokens = 33", "pretrain.row_tokens is 33"),
        ("rows = 2", "rows = 2\nrow_tokens = 7", "must be an even number"),
        ("rows = 2", "rows = 99999999999", "pretrain.rows is 99999999999"),
        ("learning_rate = 1e-3", "learning_rate = nan", "pretrain.learning_rate is NaN"),
        ("learning_rate = 1e-3", "learning_rate = 1e-3\nwarmup_steps = 11", "from 0 to 10"),
        ("learning_rate = 1e-3", "learning_rate = 1e-3\nkeep = 1", "pretrain.keep is 1"),
        ("rows = 2", "rows = 2\nsamples = [\"\"]", "pretrain.samples is an empty text"),
        ("path = \"book.txt\"", "", "corpus.source is neither, but must be a `path` or a `set`"),
        ("path = \"book.txt\"", "path = \"a\"\nset = \"b\"", "corpus.source is both"),
        ("path = \"book.txt\"", "path = \"a\"\nweight = -1.0", "corpus.source.weight is -1"),
        ("heads = 4", "heads = 3", "head_size"),
        ("[tokenizer]", "[tokenizer]\nsplit = \"words\"", "tokenizer.split is words"),
    ] {
        let error = refused(line, replacement);
        assert!(error.contains(expected), "{replacement}: {error}");
    }
}

#[test]
fn paths_begin_where_the_recipe_lies_and_files_are_named_in_errors() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("recipe.toml");
    std::fs::write(&path, LEAST).unwrap();
    let recipe = Recipe::read(&path).unwrap();
    let written = recipe.corpus.sources[0].path.clone().unwrap();
    assert_eq!(written, Path::new("book.txt"));
    assert_eq!(recipe.corpus.resolve(&written), folder.path().join("book.txt"));
    // Where it lies does not count: the same recipe elsewhere is the same.
    assert_eq!(recipe.identity(), Recipe::parse(LEAST).unwrap().identity());

    std::fs::write(&path, "[model]\nlayerz = 1").unwrap();
    let error = Recipe::read(&path).unwrap_err();
    assert!(matches!(error, Error::InRecipe { .. }) && error.to_string().contains("recipe.toml"));
    std::fs::write(&path, " ".repeat(2 << 20)).unwrap();
    assert!(matches!(Recipe::read(&path).unwrap_err(), Error::RecipeTooLong { .. }));
    assert!(matches!(Recipe::read(folder.path()).unwrap_err(), Error::Read { .. }));
}

#[test]
fn conversations_are_no_texts_and_long_rows_leave_room_for_few() {
    let recipe = |kind: &str, rows: usize| {
        let text = format!(
            "base = \"b\"\n[[conversations.source]]\npath = \"c\"\n{kind}\n[conversations]\n\
             [sft]\nsteps = 1\nrows = {rows}\nlearning_rate = 1e-3\n"
        );
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("recipe.toml");
        std::fs::write(&path, text).unwrap();
        AnyRecipe::read(&path).map_err(|error| error.to_string())
    };
    recipe("", 1).unwrap();
    recipe("kind = \"conversation\"", 1).unwrap();
    let error = recipe("kind = \"text\"", 1).unwrap_err();
    assert!(error.contains("kind is \"text\", but must be \"conversation\""), "{error}");
    // Rows of fine-tuning have 512 tokens where nothing is said, whatever the base attends to.
    recipe("", BATCH_TOKENS_MAX / 512).unwrap();
    let error = recipe("", BATCH_TOKENS_MAX / 512 + 1).unwrap_err();
    assert!(error.contains("sft.rows is 131073"), "{error}");
}

#[test]
fn the_vocabulary_is_that_of_the_tokenizer_that_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("recipe.toml");
    let text = LEAST.replace("[tokenizer]", "[tokenizer]\nfile = \"tokenizer.json\"");
    std::fs::write(&path, text).unwrap();
    let recipe = Recipe::read(&path).unwrap();
    assert!(matches!(recipe.vocabulary(), Err(Error::Read { .. })));
    let options = TrainOptions {
        vocabulary: 258,
        min_frequency: 1,
        special_tokens: vec!["<|end|>".to_owned()],
        split: SplitRule::Gpt2,
        threads: NonZeroUsize::MIN,
    };
    let mut trainer = Trainer::new(options).unwrap();
    trainer.feed("as many as there are").unwrap();
    let trained = trainer.train(&mut |_| ()).unwrap();
    std::fs::write(folder.path().join("tokenizer.json"), trained.json()).unwrap();
    assert_eq!(recipe.vocabulary().unwrap(), 258);
}

#[test]
fn an_adapter_is_for_fine_tuning_and_its_values_are_checked() {
    let text = |lora: &str| {
        let conversations = "[[conversations.source]]\npath = \"c\"\n[conversations]\n";
        let sft = "[sft]\nsteps = 5\nrows = 1\nlearning_rate = 1e-4\n";
        format!("{LEAST}{conversations}{sft}{lora}")
    };
    let recipe = Recipe::parse(&text("[sft.lora]\n")).unwrap();
    let lora = recipe.sft.as_ref().and_then(|sft| sft.lora.as_ref()).unwrap();
    let options = lora.options("base");
    assert_eq!((options.rank, options.alpha, options.targets.len()), (16, 32.0, 7));
    let again = AnyRecipe::Whole(Box::new(recipe)).fine_tune_toml().unwrap();
    assert!(again.contains("[sft.lora]") && again.contains("rank = 16"), "{again}");
    assert!(Recipe::parse(&text("")).unwrap().sft.is_some_and(|sft| sft.lora.is_none()));
    for (lora, expected) in [
        ("[sft.lora]\nrank = 0\n", "sft.lora.rank is 0, but must be from 1 to 1024"),
        ("[sft.lora]\nalpha = -1.0\n", "sft.lora.alpha is -1"),
        ("[sft.lora]\ntargets = []\n", "sft.lora.targets is empty"),
        ("[sft.lora]\ntargets = [\"head\"]\n", "head"),
        ("[sft.lora]\nrnak = 3\n", "no field `rnak`; did you mean `rank`?"),
        ("optimizer = \"muon\"\n[sft.lora]\n", "sft.optimizer is muon, but must be adamw"),
    ] {
        let error = Recipe::parse(&text(lora)).unwrap_err().to_string();
        assert!(error.contains(expected), "{lora}: {error}");
    }
    let error = refused("learning_rate = 1e-3", "learning_rate = 1e-3\n[pretrain.lora]");
    assert!(error.contains("pretrain.lora is there, but must be left out"), "{error}");
}
