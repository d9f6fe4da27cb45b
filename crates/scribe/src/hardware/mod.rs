//! What a model can be trained on, and what that takes there: accelerators, time, money.

use std::path::Path;

use serde::{Deserialize, Serialize};
use training::plan::Plan;

use crate::command::Failure;
use crate::nearest::nearest_or_whole;
use crate::run_state::figure;

/// The lines that the program carries; the file says what each field means.
const EMBEDDED: &str = include_str!("hardware.toml");
/// The most bytes of a file with a line of somebody's own.
const HARDWARE_BYTES_MAX: u64 = 64 << 10;
/// The most accelerators that are reckoned with: more than there are.
pub(crate) const ACCELERATORS_MAX: usize = 1 << 30;
/// Bytes of a weight in bf16.
const BF16: u64 = 2;
/// Operations in a teraflop.
const TERA: f64 = 1e12;
/// Bytes in a gigabyte.
const GIGA: f64 = 1e9;

/// One kind of accelerator, or a whole machine that counts as one.
#[derive(Debug, Clone, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Hardware {
    /// What people type.
    pub(crate) name: String,
    /// One line for people.
    #[serde(default)]
    pub(crate) title: String,
    /// Operations a second at most, in 10^12.
    pub(crate) peak_teraflops: f64,
    /// Memory in 10^9 bytes.
    pub(crate) memory_gb: f64,
    /// What that memory moves, in 10^9 bytes a second; where it is not known, nothing is said of
    /// how fast a model answers.
    #[serde(default)]
    pub(crate) bandwidth_gb_per_second: Option<f64>,
    /// The share of the peak that training reaches.
    pub(crate) utilization: f64,
    /// US dollars for an hour of one; where it is not known, nothing is said of money.
    #[serde(default)]
    pub(crate) price_per_hour: Option<f64>,
}

/// The lines that the program carries.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Catalogue {
    /// When prices and utilizations were assumed.
    pub(crate) assumed_on: String,
    /// From small to large.
    pub(crate) hardware: Vec<Hardware>,
}

/// A plan on so many accelerators.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub(crate) struct Outlook {
    /// How many.
    pub(crate) accelerators: u64,
    /// What each has to hold.
    pub(crate) bytes_each: f64,
    /// Whether each can.
    pub(crate) fits: bool,
    /// How long it takes.
    pub(crate) seconds: f64,
    /// What it costs in US dollars, where the price of an hour is known.
    pub(crate) dollars: Option<f64>,
}

/// What it takes to let a model answer, its weights in bf16.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub(crate) struct Answering {
    /// The fewest accelerators that hold the weights.
    pub(crate) accelerators: u64,
    /// The most tokens a second of one answer: every weight is read for every token.
    pub(crate) tokens_per_second: Option<f64>,
}

impl Catalogue {
    /// The lines that the program carries.
    ///
    /// # Errors
    ///
    /// None, as a test sees to it.
    pub(crate) fn embedded() -> Result<Self, Failure> {
        Ok(toml::from_str(EMBEDDED)?)
    }

    /// The line of that name, or that a file of somebody's own holds.
    ///
    /// # Errors
    ///
    /// Where there is neither, with the nearest name, or the file holds something else.
    pub(crate) fn find(&self, name: &str) -> Result<Hardware, Failure> {
        let known = || self.hardware.iter().map(|line| line.name.as_str());
        if let Some(line) = self.hardware.iter().find(|line| line.name == name) {
            return Ok(line.clone());
        }
        let path = Path::new(name);
        if path.is_file() {
            return read(path);
        }
        let list = known().collect::<Vec<_>>().join(", ");
        let lowercase = name.to_lowercase();
        let meant = nearest_or_whole(&lowercase, known().collect::<Vec<_>>());
        let hint = match meant {
            Some(meant) => format!("did you mean `{meant}`? there are {list}, here, or a file"),
            None => {
                format!("there are {list}, here (this machine), or a file with a line of yours")
            }
        };
        Err(Failure::not_found(format!("no hardware is called `{name}`"), hint))
    }
}

impl Hardware {
    /// Refuses numbers that no machine has.
    ///
    /// # Errors
    ///
    /// The field and what it must be.
    pub(crate) fn checked(self) -> Result<Self, Failure> {
        let numbers = [
            ("peak_teraflops", Some(self.peak_teraflops), 1e-9, 1e9),
            ("memory_gb", Some(self.memory_gb), 1e-3, 1e9),
            ("bandwidth_gb_per_second", self.bandwidth_gb_per_second, 1e-3, 1e9),
            ("utilization", Some(self.utilization), 1e-4, 1.0),
            ("price_per_hour", self.price_per_hour, 0.0, 1e9),
        ];
        for (name, number, least, most) in numbers {
            if let Some(number) = number.filter(|number| !(least..=most).contains(number)) {
                let message = format!("{name} is {number}");
                return Err(Failure::usage(message, format!("it must be from {least} to {most}")));
            }
        }
        Ok(self)
    }

    /// The fewest accelerators that hold a plan: its weights, gradients, optimizer's state and the
    /// activations of one micro-batch, spread evenly.
    pub(crate) fn least(&self, plan: &Plan) -> u64 {
        self.holding(figure(plan.memory.total_bytes()))
    }

    /// The most accelerators that have something to do: each group that holds the model takes one
    /// row of a step or more.
    pub(crate) fn most(&self, plan: &Plan) -> u64 {
        self.least(plan).saturating_mul(plan.rows as u64)
    }

    /// A plan on so many of them, that work together without loss.
    ///
    /// Weights, gradients and the optimizer's state are spread over all; the activations of a
    /// micro-batch over the fewest that hold the model together.
    pub(crate) fn outlook(&self, plan: &Plan, accelerators: u64) -> Outlook {
        let count = figure(accelerators);
        let group = figure(accelerators.min(self.least(plan)));
        let memory = &plan.memory;
        let bytes_each =
            figure(memory.state_bytes()) / count + figure(memory.activations_bytes) / group;
        let busy = figure(accelerators.min(self.most(plan)));
        let seconds = plan.operations / (self.peak_teraflops * TERA * self.utilization * busy);
        let dollars = self.price_per_hour.map(|price| price * count * seconds / 3_600.0);
        Outlook { accelerators, bytes_each, fits: bytes_each <= self.bytes(), seconds, dollars }
    }

    /// What the model of a plan takes to answer.
    pub(crate) fn answering(&self, plan: &Plan) -> Answering {
        let weights = figure(plan.parameters * BF16);
        let accelerators = self.holding(weights);
        let speed = |bandwidth| bandwidth * GIGA * figure(accelerators) / weights;
        let tokens_per_second = self.bandwidth_gb_per_second.map(speed);
        Answering { accelerators, tokens_per_second }
    }

    fn bytes(&self) -> f64 {
        self.memory_gb * GIGA
    }

    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "at least 1")]
    fn holding(&self, bytes: f64) -> u64 {
        (bytes / self.bytes()).ceil().max(1.0) as u64
    }
}

/// A line of somebody's own.
fn read(path: &Path) -> Result<Hardware, Failure> {
    let context = || format!("cannot read the hardware in `{}`", path.display());
    let length = std::fs::metadata(path)?.len();
    if length > HARDWARE_BYTES_MAX {
        let message = format!("`{}` has more than {HARDWARE_BYTES_MAX} bytes", path.display());
        return Err(Failure::usage(message, "name a file with one line of hardware"));
    }
    let text = artifacts::read_text(path)?;
    let line: Hardware = toml::from_str(&text).map_err(|error| {
        let hint = "it needs name, peak_teraflops, memory_gb and utilization; \
                    bandwidth_gb_per_second and price_per_hour may be added";
        Failure::usage(artifacts::shown_lines(error.message()), hint).context(context())
    })?;
    line.checked().map_err(|failure| failure.context(context()))
}

#[cfg(test)]
mod tests {
    use training::plan::Memory;

    use super::*;

    /// 12 GB of state and 4 GB of activations, 10^18 operations, 8 rows in a step.
    fn plan() -> Plan {
        Plan {
            parameters: 1_000_000_000,
            layers: 1,
            width: 1,
            heads: 1,
            steps: 1,
            rows: 8,
            row_tokens: 1,
            tokens: 8,
            operations: 1e18,
            attention_operations: 0.0,
            micro_tokens: 1,
            memory: Memory {
                weights_bytes: 4_000_000_000,
                copies_bytes: 2_000_000_000,
                gradients_bytes: 3_000_000_000,
                optimizer_bytes: 3_000_000_000,
                activations_bytes: 4_000_000_000,
            },
        }
    }

    fn line() -> Hardware {
        Hardware {
            name: "x".to_owned(),
            title: String::new(),
            peak_teraflops: 100.0,
            memory_gb: 10.0,
            bandwidth_gb_per_second: Some(100.0),
            utilization: 0.5,
            price_per_hour: Some(3.6),
        }
    }

    #[track_caller]
    fn near(found: f64, expected: f64) {
        assert!((found / expected - 1.0).abs() < 1e-9, "{found}, not {expected}");
    }

    #[test]
    fn a_plan_on_several_accelerators_by_hand() {
        let (plan, line) = (plan(), line());
        assert_eq!((line.least(&plan), line.most(&plan)), (2, 16));
        let one = line.outlook(&plan, 1);
        assert!(!one.fits);
        near(one.bytes_each, 16e9);
        near(one.seconds, 20_000.0);
        near(one.dollars.unwrap(), 20.0);
        let two = line.outlook(&plan, 2);
        assert!(two.fits);
        near(two.bytes_each, 8e9);
        let four = line.outlook(&plan, 4);
        near(four.bytes_each, 12e9 / 4.0 + 4e9 / 2.0);
        near(four.seconds, 5_000.0);
        near(four.dollars.unwrap(), 20.0);
        // More than there are rows for cost money and save no time.
        let many = line.outlook(&plan, 32);
        near(many.seconds, 20_000.0 / 16.0);
        near(many.dollars.unwrap(), 40.0);
        let answering = line.answering(&plan);
        assert_eq!(answering.accelerators, 1);
        near(answering.tokens_per_second.unwrap(), 50.0);
    }

    #[test]
    fn the_lines_that_come_with_the_program_are_sound_and_have_names_of_their_own() {
        let catalogue = Catalogue::embedded().unwrap();
        assert_eq!(catalogue.assumed_on.len(), "2026-11-23".len());
        for line in &catalogue.hardware {
            assert_eq!(&catalogue.find(&line.name).unwrap().checked().unwrap(), line);
            assert!(line.price_per_hour.is_some() && !line.title.is_empty(), "{}", line.name);
        }
        let meant = catalogue.find("H10O").unwrap_err().hint.unwrap();
        assert!(meant.starts_with("did you mean `h100`? there are laptop, "), "{meant}");
    }
}
