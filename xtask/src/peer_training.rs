//! `cargo xtask bench-peers training [losses] [16.9m] [135m]`: steps of training beside PyTorch's, in
//! interleaved pairs, and whether the losses agree in hundreds of steps.

use std::fmt;
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context as _, Result, bail, ensure};
use serde_json::Value;

use crate::command::{cargo, command, output, root, run, say, target};
use crate::interop::PACKAGES;
use crate::peers::median;
use crate::setup;

const PAIRS: usize = 5;
/// Steps of a process that are timed, after those that are not.
const TIMED_STEPS: usize = 3;
const WARM_UP_STEPS: usize = 2;
/// Steps whose losses are compared.
const PARITY_STEPS: usize = 100;
/// Parts of the text that as many steps learn from, each from the first weights on. The first is held
/// to both bounds by itself. A jump of the loss makes chance larger than any rounding, so the others
/// show how much of that is chance: their bf16 counts in the average, and their f32 is to be nearer to
/// PyTorch's f64 than PyTorch's own.
const PARITY_PARTS: usize = 3;
/// The most by which the loss of a step in f32 may differ from PyTorch's.
const F32_DIFFERENCE_MAX: f64 = 2e-3;
/// How much farther than PyTorch's own bf16 ours may be from its f32.
const BF16_RATIO_MAX: f64 = 1.5;
/// The vocabulary of the smaller model.
const VOCABULARY: &str = "8192";
/// Tokens of a step, as both programs have it.
const STEP_TOKENS: usize = 4 * 256;
/// The text that both learn from, again and again.
const TEXT: &str = "fixtures/state-of-the-union";
const SHAPES: [&str; 2] = ["16.9m", "135m"];
/// What is done where nothing else is asked for.
const PARTS: [&str; 3] = ["losses", SHAPES[0], SHAPES[1]];

/// Which products a side computes with, and how.
#[derive(Clone, Copy)]
struct Mode {
    precision: &'static str,
    compiled: bool,
}

const BF16: Mode = Mode { precision: "BF16", compiled: true };
const F32: Mode = Mode { precision: "F32", compiled: true };

/// Compares losses, then times both sides in turn and prints the medians and the ratio ours/theirs;
/// or only the named ones of [`PARTS`]. The larger shape learns as a person would let it who is short
/// of memory: with `recompute = true` and `--micro-rows 2`.
///
/// # Errors
///
/// For another name, where either side fails, or if the losses differ by more than is allowed.
pub(crate) fn compare(only: &[&str]) -> Result<()> {
    if let Some(other) = only.iter().find(|part| !PARTS.contains(part)) {
        bail!("there is no `{other}`: name some of {}", PARTS.join(", "));
    }
    let is_wanted = |part: &str| only.is_empty() || only.contains(&part);
    let sides = Sides::prepare()?;
    if is_wanted(PARTS[0]) {
        sides.compare_losses()?;
    }
    say("model   products   ours t/s   torch.compile t/s   ratio   ours MB   theirs MB   ratio");
    for shape in SHAPES.into_iter().filter(|shape| is_wanted(shape)) {
        for mode in [BF16, F32] {
            sides.time(shape, mode)?;
        }
    }
    Ok(())
}

/// The programs, and what both of them read.
struct Sides {
    python: PathBuf,
    example: PathBuf,
    folder: PathBuf,
}

impl Sides {
    fn prepare() -> Result<Self> {
        let python = setup::python_environment("interop", &PACKAGES)?;
        let build = ["build", "--release", "--locked", "--package"];
        run(cargo(&build).args(["model", "--example", "training_step"]))?;
        run(cargo(&build).arg("scribe"))?;
        let folder = target().join("peer-training");
        let example = target().join("release/examples/training_step");
        let sides = Self { python, example, folder };
        sides.write_inputs()?;
        Ok(sides)
    }

    /// The same weights and tokens for both.
    fn write_inputs(&self) -> Result<()> {
        std::fs::create_dir_all(&self.folder)?;
        for shape in SHAPES {
            let model = self.folder.join(shape);
            if !model.exists() {
                run(command(&self.example, &["new", shape]).arg(model))?;
            }
        }
        let mut files: Vec<PathBuf> = std::fs::read_dir(root().join(TEXT))?
            .map(|entry| Ok(entry?.path()))
            .collect::<Result<_>>()?;
        files.sort();
        let (scribe, tokenizer) =
            (target().join("release/scribe"), self.folder.join("tokenizer.json"));
        let mut train = command(&scribe, &["tokenizer", "train", "--quiet", "--vocabulary"]);
        run(train.args([VOCABULARY, "--output"]).arg(&tokenizer).args(&files))?;
        let texts: std::io::Result<String> = files.iter().map(std::fs::read_to_string).collect();
        let all = self.folder.join("text.txt");
        std::fs::write(&all, texts?)?;
        let mut encode = Command::new(scribe);
        encode.args(["--json", "tokenizer", "encode", "--tokenizer"]).arg(tokenizer);
        let printed = encode.stdin(std::fs::File::open(all)?).output()?;
        ensure!(printed.status.success(), "{}", String::from_utf8_lossy(&printed.stderr));
        let tokens: Value = serde_json::from_slice(&printed.stdout)?;
        let tokens = tokens["tokens"].as_array().context("no tokens were printed")?;
        let count = PARITY_STEPS * STEP_TOKENS;
        for part in 0..PARITY_PARTS {
            let ids = tokens.iter().map(|token| &token["token"]).cycle();
            let ids: Vec<_> = ids.skip(part * count).take(count + 1).collect();
            std::fs::write(self.tokens(part), serde_json::to_vec(&ids)?)?;
        }
        Ok(())
    }

    fn tokens(&self, part: usize) -> PathBuf {
        self.folder.join(format!("tokens-{part}.json"))
    }

    fn ours(&self, shape: &str, precision: &str, work: Work) -> Result<Steps> {
        let mut train = command(&self.example, &["run"]);
        train.arg(self.folder.join(shape)).arg(self.tokens(work.part)).arg(precision);
        train.arg(work.steps.to_string()).args((shape == SHAPES[1]).then_some("lean"));
        Steps::parse(&output(&mut train)?)
    }

    fn theirs(&self, shape: &str, mode: Mode, work: Work) -> Result<Steps> {
        let mut train = command(&self.python, &[]);
        train.arg(root().join("xtask/python/peer_training.py"));
        train.arg(self.folder.join(shape)).arg(self.tokens(work.part)).arg(mode.precision);
        train.arg(work.steps.to_string()).args(mode.compiled.then_some("compile"));
        Steps::parse(&output(&mut train)?)
    }

    /// Whether the steps of all parts go the same way.
    fn compare_losses(&self) -> Result<()> {
        let (mut all, mut faults) = (Distances::default(), Vec::new());
        for part in 0..PARITY_PARTS {
            let distances = self.distances(part)?;
            say(&format!("part {part}: {distances}"));
            faults.extend(distances.faults(part));
            all.f32_most = all.f32_most.max(distances.f32_most);
            for (sum, distance) in all.f64.iter_mut().zip(distances.f64) {
                *sum += distance / PARITY_PARTS as f64;
            }
            all.ours += distances.ours / PARITY_PARTS as f64;
            all.theirs += distances.theirs / PARITY_PARTS as f64;
        }
        say(&format!(
            "{PARITY_PARTS} times {PARITY_STEPS} steps of {}: {all}; allowed {F32_DIFFERENCE_MAX:.0e} \
             in the first part, and {BF16_RATIO_MAX} times in that and in all",
            SHAPES[0]
        ));
        if all.ours > BF16_RATIO_MAX * all.theirs {
            faults.push("bf16 of all parts".to_owned());
        }
        ensure!(faults.is_empty(), "farther apart than is allowed: {}", faults.join(", "));
        Ok(())
    }

    fn distances(&self, part: usize) -> Result<Distances> {
        let (shape, work) = (SHAPES[0], Work { part, steps: PARITY_STEPS });
        let eager = |precision| Mode { precision, compiled: false };
        let (exact, expected) =
            (self.theirs(shape, eager("F64"), work)?, self.theirs(shape, eager("F32"), work)?);
        let ours = self.ours(shape, "F32", work)?;
        Ok(Distances {
            f32_most: ours.farthest_from(&expected),
            f64: [ours.mean_distance(&exact), expected.mean_distance(&exact)],
            ours: self.ours(shape, "BF16", work)?.mean_distance(&expected),
            theirs: self.theirs(shape, eager("BF16"), work)?.mean_distance(&expected),
        })
    }

    fn time(&self, shape: &str, mode: Mode) -> Result<()> {
        let work = Work { part: 0, steps: WARM_UP_STEPS + TIMED_STEPS };
        let (mut ours, mut theirs) = (Vec::new(), Vec::new());
        for _ in 0..PAIRS {
            ours.push(self.ours(shape, mode.precision, work)?);
            theirs.push(self.theirs(shape, mode, work)?);
        }
        let ratios = |figure: fn(&Steps) -> f64| {
            median(ours.iter().zip(&theirs).map(|(o, t)| figure(o) / figure(t)).collect())
        };
        let middle =
            |steps: &[Steps], figure: fn(&Steps) -> f64| median(steps.iter().map(figure).collect());
        say(&format!(
            "{shape:>5} {:>10} {:>10.0} {:>19.0} {:>7.2} {:>9.0} {:>11.0} {:>7.2}",
            mode.precision,
            middle(&ours, Steps::pace),
            middle(&theirs, Steps::pace),
            ratios(Steps::pace),
            middle(&ours, Steps::megabytes),
            middle(&theirs, Steps::megabytes),
            ratios(Steps::megabytes),
        ));
        Ok(())
    }
}

/// What a process is to learn from, and for how long.
#[derive(Clone, Copy)]
struct Work {
    /// Of the text.
    part: usize,
    steps: usize,
}

/// How far losses are from those of PyTorch in f32, and in f64.
#[derive(Default)]
struct Distances {
    /// Ours in f32, at most.
    f32_most: f64,
    /// Of f32 from f64, ours and PyTorch's own, on average.
    f64: [f64; 2],
    /// Ours in bf16, on average.
    ours: f64,
    /// PyTorch's own in bf16, on average.
    theirs: f64,
}

impl Distances {
    /// What is farther apart in a part than is allowed.
    fn faults(&self, part: usize) -> Vec<String> {
        let [own, other] = self.f64;
        let checks = match part {
            0 => [
                ("f32", self.f32_most <= F32_DIFFERENCE_MAX),
                ("bf16", self.ours <= BF16_RATIO_MAX * self.theirs),
            ]
            .to_vec(),
            _ => vec![("f32 from f64", own <= other)],
        };
        let failed = checks.into_iter().filter(|(_, holds)| !holds);
        failed.map(|(what, _)| format!("{what} of part {part}")).collect()
    }
}

impl fmt::Display for Distances {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { f32_most, f64: [own, other], ours, theirs } = self;
        write!(
            out,
            "f32 at most {f32_most:.1e} from PyTorch's, on average {own:.1e} from its f64, \
             PyTorch's own {other:.1e}; bf16 on average {ours:.1e} from its f32, PyTorch's own \
             {theirs:.1e}, {:.2} times",
            ours / theirs
        )
    }
}

/// What a process said of its steps.
struct Steps {
    losses: Vec<f64>,
    seconds: Vec<f64>,
    peak_kilobytes: f64,
}

impl Steps {
    fn parse(printed: &str) -> Result<Self> {
        let (mut losses, mut seconds, mut peak_kilobytes) = (Vec::new(), Vec::new(), 0.0);
        for line in printed.lines() {
            let line: Value = serde_json::from_str(line).context("a line that is not JSON")?;
            losses.extend(line["loss"].as_f64());
            seconds.extend(line["seconds"].as_f64());
            peak_kilobytes = line["peak_kilobytes"].as_f64().unwrap_or(peak_kilobytes);
        }
        ensure!(!losses.is_empty() && losses.len() == seconds.len(), "no steps in {printed:?}");
        Ok(Self { losses, seconds, peak_kilobytes })
    }

    /// Tokens a second of the timed steps' median.
    fn pace(&self) -> f64 {
        STEP_TOKENS as f64 / median(self.seconds[WARM_UP_STEPS..].to_vec())
    }

    fn megabytes(&self) -> f64 {
        self.peak_kilobytes / 1e3
    }

    fn distances<'a>(&'a self, other: &'a Self) -> impl Iterator<Item = f64> + 'a {
        self.losses.iter().zip(&other.losses).map(|(ours, theirs)| (ours - theirs).abs())
    }

    fn farthest_from(&self, other: &Self) -> f64 {
        self.distances(other).fold(0.0, f64::max)
    }

    fn mean_distance(&self, other: &Self) -> f64 {
        self.distances(other).sum::<f64>() / PARITY_STEPS as f64
    }
}
