//! A run that a command makes of a recipe, killed and begun again, and what it leaves.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use super::{Ran, Scribe};

/// Time between two looks at what a run has made.
pub(super) const LOOK: Duration = Duration::from_micros(100);
/// A folder with a recipe, and the run that a command may begin there.
pub(super) struct Run {
    pub(super) scribe: Scribe,
    command: &'static str,
}

impl Run {
    pub(super) fn of(command: &'static str, recipe: &str) -> Self {
        let scribe = Scribe::new();
        fs::write(scribe.folder().join("recipe.toml"), recipe).unwrap();
        Self { scribe, command }
    }

    pub(super) fn command(&self) -> Command {
        self.scribe.command(&[self.command, "recipe.toml", "--run", "run"])
    }

    pub(super) fn run(&self) -> Ran {
        Ran::from(self.command().output().unwrap())
    }

    pub(super) fn folder(&self) -> PathBuf {
        self.scribe.folder().join("run")
    }

    /// How far a stage is.
    pub(super) fn metrics_bytes(&self, stage: &str) -> u64 {
        let metrics = self.folder().join(stage).join("metrics.jsonl");
        fs::metadata(metrics).map_or(0, |found| found.len())
    }

    /// Goes on to the end.
    #[track_caller]
    pub(super) fn finish(&self) {
        let ran = self.run();
        assert_eq!(ran.code, 0, "{}", ran.err);
    }

    /// Compares what it left.
    #[track_caller]
    pub(super) fn assert_left(&self, expected: &BTreeMap<PathBuf, Vec<u8>>) {
        let found = files(&self.folder());
        assert_eq!(expected.keys().collect::<Vec<_>>(), found.keys().collect::<Vec<_>>());
        for (name, bytes) in expected {
            assert!(*bytes == found[name], "{} differs", name.display());
        }
    }
}

/// The texts of the fixtures.
pub(super) fn messages() -> PathBuf {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    root.join("fixtures/state-of-the-union").canonicalize().unwrap()
}

/// Whether a file of a run is another each time, as it tells when and how fast it went.
fn tells_of_time(name: &Path) -> bool {
    let name = name.file_name().unwrap().to_string_lossy();
    name.starts_with("events.out.tfevents.")
        || name.starts_with("report")
        || ["run.lock", "times.json", "timing.jsonl", "messages.jsonl"].contains(&&*name)
}

/// All files of a run but those that tell of time, by their paths.
pub(super) fn files(folder: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut files = BTreeMap::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(next) = folders.pop() {
        for entry in fs::read_dir(&next).unwrap() {
            let path = entry.unwrap().path();
            let name = path.strip_prefix(folder).unwrap().to_owned();
            if path.is_dir() {
                folders.push(path);
            } else if !tells_of_time(&name) {
                files.insert(name, fs::read(&path).unwrap());
            }
        }
    }
    files
}

/// Kills of a run: 4, unless `SCRIBE_KILLS` says how many.
pub(super) fn kills() -> usize {
    std::env::var("SCRIBE_KILLS").ok().and_then(|n| n.parse().ok()).unwrap_or(4)
}

/// Random numbers that are the same in every test: SplitMix64.
pub(super) struct Random(pub u64);

impl Random {
    pub(super) fn below(&mut self, end: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % end
    }
}

/// Starts a command and kills it some time after something has come. Returns whether it still ran.
pub(super) fn kill_when(
    mut command: Command,
    has_come: impl Fn() -> bool,
    pause: Duration,
) -> bool {
    let mut child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    while !has_come() && child.try_wait().unwrap().is_none() {
        std::thread::sleep(LOOK);
    }
    std::thread::sleep(pause);
    child.kill().unwrap();
    child.wait().unwrap().code().is_none()
}
