//! What the folder of a run tells of it, also while a process works there.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::time::Duration;

use artifacts::disk::RealDisk;
use artifacts::folder::land_bytes;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use training::metrics::{METRICS_FILE, StepMetrics, ValidationMetrics};
use training::ppo::PpoMetrics;
use training::run_folder::{PPO_FOLDER, RECIPE_FILE, STAGES, last_round};

use crate::command::Failure;
use crate::terminal::large_for_people;

/// How long the stage is.
pub(crate) const STAGE_FILE: &str = "stage.json";
/// How long each step took: apart from the metrics, which are the same on every machine.
pub(crate) const TIMING_FILE: &str = "timing.jsonl";
/// What people were told while it ran.
pub(crate) const MESSAGES_FILE: &str = "messages.jsonl";
/// What the model wrote when it had learned.
pub(crate) const SAMPLES_FILE: &str = "samples.json";
/// How long tokenizer and corpus took, in the run's own folder.
const FOLDER_TIMES_FILE: &str = "times.json";
/// The most bytes of a file's new lines that are in memory at once; no line is as long.
const READ_BYTES_MAX: u64 = 1 << 20;
/// The most messages that are kept, from the last one on.
const MESSAGES_MAX: usize = 100;
/// The pace of a run is that of its last steps.
const RECENT_STEPS: usize = 50;

/// What stands in [`STAGE_FILE`].
#[derive(Debug, Clone, Copy, Default, Serialize, Deserialize)]
pub(crate) struct StageFacts {
    /// How many steps there are in all; 0 where that is not known yet.
    pub(crate) steps: u64,
    /// Tokens of a step, padding included; of PPO, answers.
    pub(crate) step_tokens: u64,
}

/// A line of [`TIMING_FILE`].
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub(crate) struct Timing {
    /// The step.
    pub(crate) step: u64,
    /// From the end of the one before to its own.
    pub(crate) seconds: f64,
}

/// A line of [`MESSAGES_FILE`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Message {
    /// The last step that was taken then.
    pub(crate) step: u64,
    /// What was said.
    pub(crate) text: String,
}

/// A beginning, and what the model wrote after it.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Sample {
    pub(crate) prompt: String,
    pub(crate) text: String,
}

/// How long the folders of a run took that are not trained, in seconds by their names: kept beside
/// them, as it is another time on every machine.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub(crate) struct FolderTimes(pub(crate) BTreeMap<String, f64>);

impl FolderTimes {
    /// What is known of a run.
    pub(crate) fn of(run: &Path) -> Self {
        let text = artifacts::read_text(&run.join(FOLDER_TIMES_FILE)).ok();
        text.and_then(|text| serde_json::from_str(&text).ok()).unwrap_or_default()
    }

    /// Keeps it; a run does not end because it cannot be kept.
    pub(crate) fn keep(&self, run: &Path) {
        if let Ok(json) = serde_json::to_vec_pretty(self) {
            let _ = land_bytes(&RealDisk, &run.join(FOLDER_TIMES_FILE), &json);
        }
    }
}

/// What a stage tells of a step.
pub(crate) trait StepLine: DeserializeOwned {
    /// The step, counted from 1.
    fn step(&self) -> u64;
}

impl StepLine for StepMetrics {
    fn step(&self) -> u64 {
        self.step
    }
}

impl StepLine for PpoMetrics {
    fn step(&self) -> u64 {
        self.step
    }
}

/// The stage of a run that has begun last.
#[derive(Debug)]
pub(crate) enum Last {
    /// It learns text.
    Text(RunState),
    /// It learns from a reward model.
    Policy(PolicyState),
}

impl Last {
    /// Reads it.
    ///
    /// # Errors
    ///
    /// As [`RunState::open`].
    pub(crate) fn of(run: &Path) -> Result<Self, Failure> {
        let rounds = run.join(PPO_FOLDER);
        match last_round(&rounds, METRICS_FILE).filter(|_| is_run(run)) {
            Some(round) => PolicyState::of_stage(&round).map(Self::Policy),
            None => RunState::open(run).map(Self::Text),
        }
    }
}

/// Whether a folder holds a run.
fn is_run(run: &Path) -> bool {
    run.join(RECIPE_FILE).is_file()
}

/// A stage that learns text.
pub(crate) type RunState = StageState<StepMetrics>;
/// A stage that learns from a reward model.
pub(crate) type PolicyState = StageState<PpoMetrics>;

/// A stage of a run as its folder tells of it.
#[derive(Debug)]
pub(crate) struct StageState<L> {
    folder: PathBuf,
    pub(crate) facts: StageFacts,
    /// What was told of each step, in order.
    pub(crate) steps: Vec<L>,
    pub(crate) messages: Vec<Message>,
    /// Seconds of each step; of one that was taken twice, those of the second time.
    seconds: BTreeMap<u64, f64>,
    metrics_lines: Lines,
    timing_lines: Lines,
    message_lines: Lines,
}

impl RunState {
    /// Reads the last stage of text of a run that has begun.
    ///
    /// # Errors
    ///
    /// [`Exit::NotFound`](crate::command::Exit::NotFound) if the folder holds no run; else as
    /// [`of_stage`](Self::of_stage).
    pub(crate) fn open(run: &Path) -> Result<Self, Failure> {
        if !is_run(run) {
            return Err(Failure::not_found(
                format!("`{}` holds no run", run.display()),
                "name the folder that was given as --run",
            ));
        }
        let stages = STAGES.map(|stage| run.join(stage));
        let begun = stages.iter().rev().find(|stage| stage.join(METRICS_FILE).exists());
        Self::of_stage(begun.unwrap_or(&stages[0]))
    }

    /// What was seen last on held-out text.
    pub(crate) fn held_out(&self) -> Option<ValidationMetrics> {
        self.steps.iter().rev().find_map(|metrics| metrics.validation)
    }
}

impl<L: StepLine> StageState<L> {
    /// Reads the folder of a stage, which may not be there yet.
    ///
    /// # Errors
    ///
    /// Where a file cannot be read or is not what a run writes.
    pub(crate) fn of_stage(folder: &Path) -> Result<Self, Failure> {
        let lines = |name: &str| Lines { path: folder.join(name), offset: 0 };
        let mut state = Self {
            folder: folder.to_owned(),
            facts: StageFacts::default(),
            steps: Vec::new(),
            messages: Vec::new(),
            seconds: BTreeMap::new(),
            metrics_lines: lines(METRICS_FILE),
            timing_lines: lines(TIMING_FILE),
            message_lines: lines(MESSAGES_FILE),
        };
        state.refresh()?;
        Ok(state)
    }

    /// Reads what has come since.
    ///
    /// # Errors
    ///
    /// As [`open`](Self::open).
    pub(crate) fn refresh(&mut self) -> Result<(), Failure> {
        self.facts = self.read(STAGE_FILE).unwrap_or(self.facts);
        let Self { metrics_lines, timing_lines, message_lines, steps, seconds, messages, .. } =
            self;
        let path = metrics_lines.path.display().to_string();
        let told = metrics_lines.each_new(&mut |line| {
            let metrics: L = serde_json::from_str(line)?;
            // A run that goes on from a checkpoint tells of some steps again.
            let before = steps.partition_point(|known| known.step() < metrics.step());
            steps.truncate(before);
            steps.push(metrics);
            Ok(())
        });
        told.map_err(|error| Failure::from(error).context(format!("cannot read {path}")))?;
        // A process that is killed leaves torn lines here, and figures about time are for people.
        timing_lines.each_new(&mut |line| {
            if let Ok(Timing { step, seconds: taken }) = serde_json::from_str(line) {
                seconds.insert(step, taken);
            }
            Ok(())
        })?;
        message_lines.each_new(&mut |line| {
            messages.extend(serde_json::from_str::<Message>(line));
            let surplus = messages.len().saturating_sub(MESSAGES_MAX);
            messages.drain(..surplus);
            Ok(())
        })?;
        Ok(())
    }

    /// What the run is called: its folder's name.
    pub(crate) fn name(&self) -> String {
        let mut above = self.folder.ancestors().skip(1);
        let run = above.find(|folder| is_run(folder)).or(self.folder.parent());
        let run = run.unwrap_or(&self.folder);
        let whole = run.canonicalize().unwrap_or_else(|_| run.to_owned());
        whole.file_name().unwrap_or(whole.as_os_str()).to_string_lossy().into_owned()
    }

    /// Whether all steps were taken.
    pub(crate) fn is_finished(&self) -> bool {
        self.facts.steps > 0 && self.step() == self.facts.steps
    }

    /// How many steps were taken.
    pub(crate) fn step(&self) -> u64 {
        self.steps.last().map_or(0, StepLine::step)
    }

    /// Seconds of all steps that were taken, without those that were taken in vain.
    pub(crate) fn seconds(&self) -> f64 {
        self.seconds.range(..=self.step()).map(|(_, seconds)| seconds).sum()
    }

    /// Tokens that were read.
    pub(crate) fn tokens(&self) -> u64 {
        self.step() * self.facts.step_tokens
    }

    /// Tokens a second of all steps that were timed.
    pub(crate) fn mean_speed(&self) -> Option<f64> {
        self.speed_of(self.seconds.range(..=self.step()).map(|(_, &seconds)| seconds))
    }

    /// Tokens a second of the last steps.
    pub(crate) fn recent_speed(&self) -> Option<f64> {
        let recent = self.seconds.range(..=self.step()).rev().take(RECENT_STEPS);
        self.speed_of(recent.map(|(_, &seconds)| seconds))
    }

    /// Seconds until the last step, at the pace of the last ones.
    pub(crate) fn seconds_left(&self) -> Option<f64> {
        let left = self.facts.steps.saturating_sub(self.step()) * self.facts.step_tokens;
        self.recent_speed().map(|speed| figure(left) / speed)
    }

    /// How long nothing has been told: longer than a step takes where nobody trains any more.
    pub(crate) fn quiet_for(&self) -> Option<Duration> {
        std::fs::metadata(&self.metrics_lines.path).ok()?.modified().ok()?.elapsed().ok()
    }

    /// What the model wrote when it had learned; nothing before.
    pub(crate) fn samples(&self) -> Vec<Sample> {
        self.read(SAMPLES_FILE).unwrap_or_default()
    }

    /// What stands in a small file, if it is there whole.
    fn read<T: DeserializeOwned>(&self, name: &str) -> Option<T> {
        let text = artifacts::read_text(&self.folder.join(name)).ok()?;
        serde_json::from_str(&text).ok()
    }

    fn speed_of(&self, seconds: impl Iterator<Item = f64>) -> Option<f64> {
        let (steps, sum) = seconds.fold((0, 0.0), |(steps, sum), one| (steps + 1, sum + one));
        (sum > 0.0).then(|| figure(steps * self.facts.step_tokens) / sum)
    }
}

/// A count, for arithmetic.
#[expect(clippy::cast_precision_loss, reason = "figures for people")]
pub(crate) fn figure(count: u64) -> f64 {
    count as f64
}

/// Seconds of a year of 365 and a quarter days.
const YEAR_SECONDS: f64 = 31_557_600.0;

/// A time in the unit that fits.
pub(crate) fn time_for_people(seconds: f64) -> String {
    match seconds {
        ..120.0 => format!("{seconds:.0} s"),
        ..7_200.0 => format!("{:.0} min", seconds / 60.0),
        ..172_800.0 => format!("{:.0} h", seconds / 3_600.0),
        ..63_072_000.0 => format!("{:.0} days", seconds / 86_400.0),
        ..315_576_000.0 => format!("{:.1} years", seconds / YEAR_SECONDS),
        _ => format!("{} years", large_for_people(seconds / YEAR_SECONDS)),
    }
}

/// The lines of a file that grows.
#[derive(Debug)]
struct Lines {
    path: PathBuf,
    /// The end of the last line that was read.
    offset: u64,
}

impl Lines {
    /// Reads whole lines that were not read before; all of them where the file has been cut.
    fn each_new(&mut self, read: &mut dyn FnMut(&str) -> io::Result<()>) -> io::Result<()> {
        let mut file = match File::open(&self.path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                self.offset = 0;
                return Ok(());
            }
            Err(error) => return Err(error),
        };
        if file.metadata()?.len() < self.offset {
            self.offset = 0;
        }
        loop {
            file.seek(SeekFrom::Start(self.offset))?;
            let mut bytes = Vec::new();
            (&mut file).take(READ_BYTES_MAX).read_to_end(&mut bytes)?;
            let Some(end) = bytes.iter().rposition(|&byte| byte == b'\n') else {
                return not_too_long(&bytes);
            };
            String::from_utf8_lossy(&bytes[..end]).lines().try_for_each(&mut *read)?;
            self.offset += end as u64 + 1;
        }
    }
}

/// Refuses the beginning of a line that does not end.
fn not_too_long(bytes: &[u8]) -> io::Result<()> {
    if (bytes.len() as u64) < READ_BYTES_MAX {
        return Ok(());
    }
    let message = format!("a line has more than {READ_BYTES_MAX} bytes, which no run writes");
    Err(io::Error::new(io::ErrorKind::InvalidData, message))
}

#[cfg(test)]
pub(crate) mod tests {
    use std::fs;

    use super::*;
    use crate::command::Exit;

    fn begin() -> (tempfile::TempDir, PathBuf) {
        let folder = tempfile::tempdir().unwrap();
        let stage = folder.path().join(STAGES[0]);
        fs::create_dir(&stage).unwrap();
        fs::write(folder.path().join(RECIPE_FILE), "").unwrap();
        fs::write(stage.join(STAGE_FILE), "{\"steps\":100,\"step_tokens\":20}").unwrap();
        (folder, stage)
    }

    fn line(step: u64, rest: &str) -> String {
        format!(
            "{{\"step\":{step},\"loss\":2.5,\"rate\":1e-3,\"gradient_norm\":1.0,\"tokens\":20{rest}}}\n"
        )
    }

    /// A run after so many steps of two seconds, with a look at held-out text every tenth step.
    pub(crate) fn run_of(steps: u32) -> (tempfile::TempDir, RunState) {
        let (folder, stage) = begin();
        for step in 1..=steps {
            let held_out = match step % 10 {
                0 => ",\"validation\":{\"loss\":1.1,\"bits_per_byte\":1.5}",
                _ => "",
            };
            let append = |name: &str, line: &str| {
                let path = stage.join(name);
                let before = fs::read_to_string(&path).unwrap_or_default();
                fs::write(path, before + line).unwrap();
            };
            append(METRICS_FILE, &line(step.into(), held_out));
            append(TIMING_FILE, &format!("{{\"step\":{step},\"seconds\":2}}\n"));
            append(MESSAGES_FILE, &format!("{{\"step\":{step},\"text\":\"saved\"}}\n"));
        }
        let state = RunState::open(folder.path()).unwrap();
        (folder, state)
    }

    #[test]
    fn a_run_is_followed_and_steps_told_twice_count_once() {
        let (folder, stage) = begin();
        let mut state = RunState::open(folder.path()).unwrap();
        assert_eq!((state.step(), state.recent_speed(), state.seconds()), (0, None, 0.0));
        let held_out = ",\"validation\":{\"loss\":2.0,\"bits_per_byte\":1.5}";
        let three = line(1, "") + &line(2, held_out) + &line(3, "");
        fs::write(stage.join(METRICS_FILE), format!("{three}{{\"step\":4,\"lo")).unwrap();
        let timing = "{\"step\":1,\"seconds\":1}\n{\"step\":2,\"seconds\":7}\n{\"st\n\
                      {\"step\":2,\"seconds\":3}\n{\"step\":9,\"seconds\":99}\n";
        fs::write(stage.join(TIMING_FILE), timing).unwrap();
        state.refresh().unwrap();
        assert_eq!((state.step(), state.tokens(), state.seconds()), (3, 60, 4.0));
        assert_eq!(state.mean_speed(), Some(10.0));
        assert_eq!(state.seconds_left(), Some(97.0 * 20.0 / 10.0));
        let seen = ValidationMetrics { loss: 2.0, bits_per_byte: 1.5 };
        assert_eq!(state.held_out(), Some(seen));
        // Another process goes on from a checkpoint of step 1.
        fs::write(stage.join(METRICS_FILE), line(1, "") + &line(2, "")).unwrap();
        state.refresh().unwrap();
        assert_eq!((state.step(), state.steps.len(), state.held_out()), (2, 2, None));
        // Of several stages the last one that has begun is followed.
        let next = folder.path().join(STAGES[1]);
        fs::create_dir(&next).unwrap();
        assert_eq!(RunState::open(folder.path()).unwrap().step(), 2);
        fs::write(next.join(METRICS_FILE), line(1, "")).unwrap();
        let state = RunState::open(folder.path()).unwrap();
        assert_eq!((state.step(), state.is_finished()), (1, false));
    }

    #[test]
    fn what_no_run_writes_is_refused() {
        let (folder, stage) = begin();
        let none = RunState::open(&stage).unwrap_err();
        assert_eq!(none.exit, Exit::NotFound);
        for (metrics, expected) in
            [("{}\n".to_owned(), "missing field"), ("x".repeat(1 << 20), "has more than")]
        {
            fs::write(stage.join(METRICS_FILE), metrics).unwrap();
            let error = RunState::open(folder.path()).unwrap_err().error.unwrap();
            let told = format!("{error:#}");
            assert!(told.contains("metrics.jsonl") && told.contains(expected), "{told}");
        }
    }
}
