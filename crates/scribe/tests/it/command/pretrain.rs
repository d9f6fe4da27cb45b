//! `scribe pretrain` as a process: killed, stopped, without room on the disk, called wrongly.

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::time::Duration;

use rustix::process::{Pid, Resource, Rlimit, Signal, kill_process, prlimit};
use serde_json::Value;

use super::run::{LOOK, Random, Run, files, kill_when, kills, messages};
use super::{Ran, Scribe};

/// A run of a second or so that saves often.
const RECIPE: &str = r#"
seed = 3
[tokenizer]
vocabulary = 400
[[corpus.source]]
path = "TEXT"
[corpus]
validation = 0.2
[model]
layers = 2
width = 32
heads = 2
kv_heads = 1
context_tokens = 32
[pretrain]
steps = 120
rows = 4
optimizer = "muon"
learning_rate = 1e-2
warmup_steps = 5
validate_every = 7
validation_rows = 3
checkpoint_every = 3
samples = ["The state"]
"#;

/// Smaller than the model of a checkpoint, larger than any other file that grows.
const ROOM_BYTES: u64 = 64 << 10;

fn training() -> Run {
    Run::of("pretrain", &RECIPE.replace("TEXT", messages().to_str().unwrap()))
}

impl Run {
    /// The run without a limit on files that would end the process when it is reached.
    fn start_with_full_disk_to_come(&self) -> Child {
        let program = env!("CARGO_BIN_EXE_scribe");
        let mut command = self.command();
        let mut shell = Command::new("sh");
        shell.args(["-c", "trap '' XFSZ; exec \"$0\" \"$@\"", program]).args(command.get_args());
        for (name, value) in command.get_envs() {
            match value {
                Some(value) => shell.env(name, value),
                None => shell.env_remove(name),
            };
        }
        shell.current_dir(self.scribe.folder()).stdin(Stdio::null());
        command = shell;
        command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
    }

    fn pretrained(&self) -> PathBuf {
        self.folder().join("3-pretrained")
    }

    /// Whether a checkpoint is being written.
    fn is_saving(&self) -> bool {
        let entries = fs::read_dir(self.pretrained().join("checkpoints")).into_iter().flatten();
        entries.flatten().any(|entry| entry.file_name().to_string_lossy().ends_with(".tmp"))
    }
}

/// What a run leaves that nobody interrupts.
fn uninterrupted() -> &'static BTreeMap<PathBuf, Vec<u8>> {
    static WHOLE: OnceLock<BTreeMap<PathBuf, Vec<u8>>> = OnceLock::new();
    WHOLE.get_or_init(|| {
        let training = training();
        let ran = training.run();
        assert_eq!(ran.code, 0, "{}", ran.err);
        let files = files(&training.folder());
        let last = Path::new("3-pretrained/checkpoints/step-00000120");
        for name in ["model.safetensors", "optimizer.safetensors", "progress.json"] {
            assert!(files.contains_key(&last.join(name)), "{name}");
        }
        files
    })
}

/// What a run does when it is killed.
#[derive(Debug, Clone, Copy)]
enum Moment {
    Tokenizer,
    Corpus,
    Step,
    Saving,
}

impl Moment {
    /// Moments in the order in which a run has them: one of each, and the rest in the training.
    fn of(index: usize, kills: usize) -> Self {
        match index * 8 / kills {
            0 | 1 => Self::Tokenizer,
            2 | 3 => Self::Corpus,
            _ if index.is_multiple_of(2) => Self::Step,
            _ => Self::Saving,
        }
    }

    /// Whether it has come; a run goes on for `bytes` of metrics before it is killed there.
    fn has_come(self, training: &Run, bytes: u64) -> bool {
        match self {
            Self::Tokenizer => training.folder().join("recipe.toml").exists(),
            Self::Corpus => training.folder().join("1-tokenizer").exists(),
            Self::Step => training.metrics_bytes("3-pretrained") > bytes,
            Self::Saving => training.metrics_bytes("3-pretrained") > bytes && training.is_saving(),
        }
    }

    /// Up to so many microseconds pass then.
    fn lasts(self) -> u64 {
        match self {
            Self::Tokenizer | Self::Corpus => 40_000,
            Self::Step => 20_000,
            Self::Saving => 5_000,
        }
    }
}

/// Starts the run and kills it at such a moment. Returns whether it still ran.
fn start_and_kill(training: &Run, moment: Moment, random: &mut Random, more: u64) -> bool {
    let bytes = training.metrics_bytes("3-pretrained") + random.below(more);
    let pause = Duration::from_micros(random.below(moment.lasts()));
    kill_when(training.command(), || moment.has_come(training, bytes), pause)
}

#[test]
fn a_run_that_is_killed_goes_on_to_the_same_bytes() {
    let kills = kills();
    let training = training();
    let whole = uninterrupted()[Path::new("3-pretrained/metrics.jsonl")].len() as u64;
    let mut random = Random(1);
    let mut killed = 0;
    for index in 0..kills {
        let moment = Moment::of(index, kills);
        // Resuming gives up to three steps back, so that a run goes on all the same.
        let hit = start_and_kill(&training, moment, &mut random, whole * 3 / (kills as u64 * 2));
        killed += usize::from(hit);
    }
    assert!(killed * 2 > kills, "only {killed} of {kills} hit a run");
    training.finish();
    training.assert_left(uninterrupted());
}

#[test]
fn ctrl_c_during_the_work_on_text_says_how_to_go_on() {
    let training = training();
    let child = training.command().spawn().unwrap();
    while !training.folder().join("recipe.toml").exists() {
        std::thread::sleep(LOOK);
    }
    // Signals are listened to right after the folder is begun.
    std::thread::sleep(Duration::from_millis(20));
    kill_process(Pid::from_child(&child), Signal::INT).unwrap();
    let ran = Ran::from(child.wait_with_output().unwrap());
    let go_on = "go on with: scribe pretrain recipe.toml --run run\n";
    assert!(ran.code == 130 && ran.err.ends_with(go_on), "{ran:?}");
    training.finish();
    training.assert_left(uninterrupted());
}

#[test]
fn ctrl_c_saves_and_says_how_to_go_on() {
    let training = training();
    let child = training.command().arg("--json").spawn().unwrap();
    while training.metrics_bytes("3-pretrained") < 1_000 {
        std::thread::sleep(LOOK);
    }
    kill_process(Pid::from_child(&child), Signal::INT).unwrap();
    let ran = Ran::from(child.wait_with_output().unwrap());
    assert_eq!(ran.code, 130, "{}", ran.err);
    let go_on = "go on with: scribe pretrain recipe.toml --run run\n";
    assert!(ran.err.ends_with(go_on) && ran.err.contains("stopped after "), "{}", ran.err);
    let told: Value = serde_json::from_str(&ran.out).unwrap();
    let steps = told["steps"].as_u64().unwrap();
    assert_eq!((&told["schema"], &told["finished"]), (&"scribe.pretrain/1".into(), &false.into()));
    assert_eq!(told["model"], format!("run/3-pretrained/checkpoints/step-{steps:08}"));

    let ran = training.run();
    assert_eq!(ran.code, 0, "{}", ran.err);
    assert!(ran.err.contains(&format!("going on after step {steps}\n")), "{}", ran.err);
    training.assert_left(uninterrupted());
}

/// Gives a process so many bytes for each file; `None` for as many as the disk has.
fn limit_files(child: &Child, bytes: Option<u64>) {
    let limit = Rlimit { current: bytes, maximum: None };
    prlimit(Some(Pid::from_child(child)), Resource::Fsize, limit).unwrap();
}

/// Starts a run, and leaves no room as soon as it has a checkpoint.
fn start_and_fill_the_disk(training: &Run) -> Child {
    let mut child = training.start_with_full_disk_to_come();
    while !training.pretrained().join("checkpoints/LATEST").exists() {
        assert!(child.try_wait().unwrap().is_none(), "the run has ended");
        std::thread::sleep(LOOK);
    }
    limit_files(&child, Some(ROOM_BYTES));
    child
}

#[test]
fn a_full_disk_does_not_end_a_run_and_the_next_checkpoint_is_saved() {
    let training = training();
    let mut child = start_and_fill_the_disk(&training);
    let mut lines = BufReader::new(child.stderr.take().unwrap());
    let mut told = String::new();
    while !told.contains("could not be saved, and the run goes on") {
        assert!(lines.read_line(&mut told).unwrap() > 0, "{told}");
    }
    assert!(training.pretrained().join("checkpoints/LATEST").exists());
    limit_files(&child, None);
    lines.read_to_string(&mut told).unwrap();
    assert!(child.wait().unwrap().success(), "{told}");
    training.assert_left(uninterrupted());
}

#[test]
fn a_run_whose_last_step_is_not_saved_says_so_and_goes_on_with_room() {
    let training = training();
    let child = start_and_fill_the_disk(&training);
    let ran = Ran::from(child.wait_with_output().unwrap());
    assert_eq!((ran.code, ran.out.as_str()), (1, ""), "{}", ran.err);
    assert!(ran.err.contains("error: all 120 steps were taken, but only "), "{}", ran.err);
    assert!(ran.err.contains("hint: make room, then give the same command again"), "{}", ran.err);
    training.finish();
    training.assert_left(uninterrupted());
}

#[test]
fn results_are_one_document_or_the_samples_and_the_model() {
    let training = Run::of(
        "pretrain",
        &RECIPE.replace("TEXT", messages().to_str().unwrap()).replace("steps = 120", "steps = 7"),
    );
    let ran = training.run();
    assert_eq!(ran.code, 0, "{}", ran.err);
    assert!(ran.out.starts_with("The state\n"), "{}", ran.out);
    assert!(ran.out.ends_with("\nrun/3-pretrained/checkpoints/step-00000007\n"), "{}", ran.out);
    let ran = Ran::from(training.command().arg("--json").output().unwrap());
    let told: Value = serde_json::from_str(&ran.out).unwrap();
    assert_eq!((ran.code, &told["steps"], &told["finished"]), (0, &7.into(), &true.into()));
    assert_eq!(told["samples"][0]["prompt"], "The state");
    assert!(told["loss"].is_number() && told["validation_bits_per_byte"].is_number(), "{told}");
    let page = fs::read_to_string(training.scribe.folder().join(told["report"].as_str().unwrap()));
    assert!(page.unwrap().contains("Finished after 7 steps"));
}

#[test]
fn a_run_is_watched_from_another_process() {
    let training = training();
    let none = training.scribe.run(&["watch", "run"]);
    let told = "error: `run` holds no run\nhint: name the folder that was given as --run\n";
    assert_eq!((none.code, none.err.as_str()), (3, told));
    let mut child = training.command().stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    while training.metrics_bytes("3-pretrained") < 3_000 {
        std::thread::sleep(LOOK);
    }
    let ran = training.scribe.run(&["watch", "run", "--json"]);
    let told: Value = serde_json::from_str(&ran.out).unwrap();
    assert_eq!(
        (ran.code, &told["schema"], &told["steps"]),
        (0, &"scribe.watch/1".into(), &120.into())
    );
    let step = told["step"].as_u64().unwrap();
    assert!(step > 10 && told["held_out_loss"].is_number(), "{told}");
    assert!(told["tokens_per_second"].is_number() && told["seconds_left"].is_number(), "{told}");
    assert!(told["messages"].to_string().contains("the checkpoint of step 3 is saved"), "{told}");
    assert!(child.wait().unwrap().success());
    let ran = training.scribe.run(&["watch", "run"]);
    assert_eq!((ran.code, ran.err.as_str()), (0, ""));
    assert!(ran.out.contains("\nstep                120 of 120\n"), "{}", ran.out);
}

#[test]
fn tensorboard_gets_a_file_of_each_process_that_takes_steps() {
    let training = training();
    let child = training.command().stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    while training.metrics_bytes("3-pretrained") < 1_000 {
        std::thread::sleep(LOOK);
    }
    kill_process(Pid::from_child(&child), Signal::INT).unwrap();
    assert_eq!(Ran::from(child.wait_with_output().unwrap()).code, 130);
    // The one that goes on, and one that finds all done.
    for _ in 0..2 {
        assert_eq!(training.run().code, 0);
    }
    let entries = fs::read_dir(training.pretrained()).unwrap().map(|entry| entry.unwrap().path());
    let files: Vec<_> = entries
        .filter(|path| path.to_string_lossy().contains("/events.out.tfevents."))
        .map(|path| fs::read(path).unwrap())
        .collect();
    let count =
        |file: &[u8], tag: &str| file.windows(tag.len()).filter(|at| *at == tag.as_bytes()).count();
    let steps: Vec<usize> = files.iter().map(|file| count(file, "gradient_norm")).collect();
    assert!(steps.len() == 2 && !steps.contains(&0), "{steps:?}");
    assert_eq!(steps.iter().sum::<usize>(), 120);
    assert!(files.iter().all(|file| count(file, "brain.Event:2") == 1));
}

/// The exit code and the error of a run of a recipe.
fn refused(training: &Run) -> (i32, String) {
    let ran = training.run();
    assert_eq!(ran.out, "");
    assert!(ran.err.contains("error: "), "{}", ran.err);
    let error = &ran.err[ran.err.find("error: ").unwrap()..];
    (ran.code, error.trim_end().replace(messages().to_str().unwrap(), "TEXT"))
}

#[test]
fn bad_recipes_and_texts_are_told_in_a_sentence() {
    let recipe = RECIPE.replace("TEXT", messages().to_str().unwrap());
    let of_rows = |column| {
        recipe
            .replace(messages().to_str().unwrap(), "rows.jsonl\"\n")
            .replace("\n\"\n", &format!("\ncolumn = \"{column}\"\n"))
    };
    for (recipe, code, expected) in [
        (recipe.replace("steps =", "stepz ="), 2, "`stepz`; did you mean `steps`?"),
        (recipe.replace("= 1e-2", "= -1"), 2, "pretrain.learning_rate is -1, but must be from"),
        (recipe.replace("seed = 3", "seed = "), 2, "line 2: "),
        (RECIPE.replace("TEXT", "absent"), 3, "there is no text at `"),
        (RECIPE.replace("TEXT", "empty.txt"), 1, "there is no text to learn from; give files"),
        (RECIPE.replace("TEXT", "nothing"), 1, "holds no file that can be read here"),
        (of_rows("txet"), 1, "has no column `txet`"),
        (recipe.replace("= 400", "= 300000"), 1, "set tokenizer.vocabulary to at most "),
    ] {
        let training = Run::of("pretrain", &recipe);
        let folder = training.scribe.folder();
        fs::create_dir(folder.join("nothing")).unwrap();
        fs::write(folder.join("empty.txt"), "\n \n").unwrap();
        fs::write(folder.join("rows.jsonl"), "{\"text\": \"a\"}\n".repeat(200)).unwrap();
        let (found, error) = refused(&training);
        assert!(found == code && error.contains(expected), "{expected}: {found}, {error}");
        assert!(error.lines().count() <= 2, "{error}");
    }
    let none = Scribe::new().run(&["pretrain", "absent.toml", "--run", "run"]);
    let told = "error: there is no recipe at `absent.toml`\nhint: name one, such as \
                recipes/tiny.toml\n";
    assert_eq!((none.code, none.err.as_str()), (3, told));
}

#[test]
fn folders_of_others_are_told_in_a_sentence() {
    let training = training();
    fs::create_dir(training.folder()).unwrap();
    fs::write(training.folder().join("letter.txt"), "dear").unwrap();
    let (code, error) = refused(&training);
    assert!(
        code == 1 && error.contains("run holds no run; name a folder that is empty"),
        "{error}"
    );

    fs::remove_file(training.folder().join("letter.txt")).unwrap();
    let lock = fs::File::create(training.folder().join("run.lock")).unwrap();
    lock.lock().unwrap();
    let (code, error) = refused(&training);
    assert!(code == 1 && error.contains("run is in use by another process; wait"), "{error}");

    drop(lock);
    let own = training.folder().join("recipe.toml");
    fs::write(&own, "# my own\n").unwrap();
    let (code, error) = refused(&training);
    assert!(code == 1 && error.contains("run holds no run"), "{error}");
    assert_eq!(fs::read_to_string(own).unwrap(), "# my own\n");
}
