//! What it takes to train the model of a recipe: arithmetic, memory, time and money, on any hardware.

use std::num::NonZeroUsize;
use std::path::Path;

use clap::Args;
use engine::Device;
use serde::Serialize;
use training::Recipe;
use training::plan::Plan;
use training::recipe::AnyRecipe;

use super::super::doctor::{available_memory_bytes, bytes_of};
use super::super::pretrain::estimate::probe;
use super::super::{Failure, Session, stage};
use crate::config::{DeviceArguments, count};
use crate::hardware::{ACCELERATORS_MAX, Answering, Catalogue, Hardware, Outlook};
use crate::nearest::nearest;
use crate::run_state::{figure, time_for_people};
use crate::terminal::{
    Terminal, bytes_for_people, digits_for_people, large_for_people, money_for_people,
};

/// Heading of the options about a recipe.
const TRAINING: &str = "Options with a recipe";
/// The recipes that the program carries, to be planned by name.
const RECIPES: [(&str, &str); 1] =
    [("gpt-3.5", include_str!("../../../../../recipes/plans/gpt-3.5.toml"))];
/// The hardware that is measured: this machine.
const HERE: &str = "here";
/// A cluster, to be looked at where one accelerator is not enough and nobody says how many.
const CLUSTER: u64 = 1_024;
/// The model that measures a machine which cannot hold the one that is planned.
const PROBE: &str = "[[corpus.source]]\npath = \"none\"\n[tokenizer]\nvocabulary = 4096\n[model]\n\
    layers = 4\nwidth = 256\nheads = 4\ncontext_tokens = 256\n[pretrain]\nsteps = 1\nrows = 1\n\
    learning_rate = 1e-3\n";

/// On what, and at which price.
#[derive(Debug, Args)]
#[command(next_help_heading = TRAINING)]
pub(super) struct TrainingOptions {
    /// Hardware: a name (laptop, rtx-4090, v100, a100, h100, h200), a file with a line of your own,
    /// or here, which measures this machine [default: all names]
    #[arg(long, value_name = "NAME|FILE", requires = "recipe")]
    hardware: Option<String>,

    /// How many accelerators; several numbers give a row each [default: one, the fewest that hold
    /// the model, and 1024]
    #[arg(long, value_name = "N", value_delimiter = ',', requires = "recipe",
          value_parser = count::<ACCELERATORS_MAX>)]
    accelerators: Vec<NonZeroUsize>,

    /// US dollars for an hour of one accelerator
    #[arg(long, value_name = "DOLLARS", requires = "recipe")]
    price: Option<f64>,

    /// The share of the peak that is reached, such as 0.4
    #[arg(long, value_name = "SHARE", requires = "recipe")]
    utilization: Option<f64>,
}

/// `scribe plan RECIPE --json`.
#[derive(Debug, Serialize)]
struct Report<'a> {
    schema: &'static str,
    recipe: &'a str,
    #[serde(flatten)]
    plan: &'a Plan,
    total_bytes: u64,
    hardware: &'a [On],
    /// When prices and utilizations were assumed that no option gave.
    assumed_on: &'a str,
}

/// A kind of hardware, and the plan on it.
#[derive(Debug, Serialize)]
struct On {
    #[serde(flatten)]
    hardware: Hardware,
    least_accelerators: u64,
    most_accelerators: u64,
    outlooks: Vec<Outlook>,
    answering: Answering,
}

/// Prints what it takes.
pub(super) fn run(
    session: &mut Session,
    name: &str,
    options: &TrainingOptions,
    device: &DeviceArguments,
) -> Result<(), Failure> {
    let recipe = open(name)?;
    let plan = Plan::new(&recipe).map_err(|error| {
        let hint = "say in the recipe how many `steps` there are, in place of `epochs`";
        Failure { hint: Some(hint.to_owned()), ..stage::refused(Path::new(name), error) }
    })?;
    let catalogue = Catalogue::embedded()?;
    let hardware = match options.hardware.as_deref() {
        Some(HERE) => vec![here(session, &recipe, &plan, device)?],
        Some(name) => vec![catalogue.find(name)?],
        None => catalogue.hardware,
    };
    let hardware = hardware.into_iter().map(|line| on(options.over(line)?, &plan, options));
    let hardware = hardware.collect::<Result<Vec<On>, Failure>>()?;
    let terminal = &mut session.terminal;
    if terminal.wants_json() {
        terminal.json(&Report {
            schema: "scribe.plan.training/1",
            recipe: name,
            plan: &plan,
            total_bytes: plan.memory.total_bytes(),
            hardware: &hardware,
            assumed_on: &catalogue.assumed_on,
        })?;
        return Ok(());
    }
    show_plan(terminal, name, &plan)?;
    terminal.line("")?;
    show_hardware(terminal, &hardware)?;
    terminal.line("")?;
    show_answering(terminal, &hardware)?;
    tell_assumptions(terminal, &hardware, &plan, &catalogue.assumed_on);
    Ok(())
}

impl TrainingOptions {
    /// The line with what the options say in its place.
    fn over(&self, line: Hardware) -> Result<Hardware, Failure> {
        if line.name == HERE && self.utilization.is_some() {
            return Err(Failure::usage(
                "the speed of `here` is measured, so it has no utilization",
                "leave --utilization out, or name other --hardware",
            ));
        }
        let hardware = Hardware {
            utilization: self.utilization.unwrap_or(line.utilization),
            price_per_hour: self.price.or(line.price_per_hour),
            ..line
        };
        hardware.checked()
    }

    /// How many accelerators are looked at.
    fn counts(&self, least: u64) -> Vec<u64> {
        if !self.accelerators.is_empty() {
            return self.accelerators.iter().map(|count| count.get() as u64).collect();
        }
        let cluster = (least > 1).then_some(CLUSTER).filter(|&cluster| cluster > least);
        let least = (least > 1).then_some(least);
        [Some(1), least, cluster].into_iter().flatten().collect()
    }
}

/// The recipe at a path, or of a name that the program carries.
fn open(name: &str) -> Result<Recipe, Failure> {
    let path = Path::new(name);
    if let Some((_, text)) = RECIPES.iter().find(|(known, _)| *known == name && !path.exists()) {
        return Ok(Recipe::parse(text)?);
    }
    if !path.exists()
        && let Some(meant) = nearest(name, RECIPES.iter().map(|(known, _)| *known))
    {
        let message = format!("there is no recipe at `{name}`, and none of that name");
        return Err(Failure::not_found(message, format!("did you mean `{meant}`?")));
    }
    match AnyRecipe::read(path).map_err(|error| stage::refused(path, error))? {
        AnyRecipe::Whole(recipe) => Ok(*recipe),
        AnyRecipe::FineTune(_) => Err(Failure::usage(
            format!("`{name}` begins with a model that is there, so there is no training to plan"),
            "plan a recipe with [pretrain], such as recipes/tiny.toml or gpt-3.5",
        )),
    }
}

/// This machine, as fast as one pass over a few tokens and one update went: of the model itself if
/// there is memory for it, else of a small one.
fn here(
    session: &mut Session,
    recipe: &Recipe,
    plan: &Plan,
    device: &DeviceArguments,
) -> Result<Hardware, Failure> {
    let device = Device::cpu(&device.options())?;
    session.terminal.note("measuring this machine");
    let fits = available_memory_bytes().is_none_or(|free| plan.memory.total_bytes() < free);
    let speed = if fits {
        plan.operations / probe(recipe, &device, plan)?
    } else {
        let small = Recipe::parse(PROBE)?;
        let plan = Plan::new(&small)?;
        plan.operations / probe(&small, &device, &plan)?
    };
    let memory = bytes_of("MemTotal:").unwrap_or(plan.memory.total_bytes());
    Ok(Hardware {
        name: HERE.to_owned(),
        title: format!("this machine, {} threads, as measured now", device.threads()),
        peak_teraflops: speed / 1e12,
        memory_gb: figure(memory) / 1e9,
        bandwidth_gb_per_second: None,
        utilization: 1.0,
        price_per_hour: None,
    })
}

fn on(hardware: Hardware, plan: &Plan, options: &TrainingOptions) -> Result<On, Failure> {
    let least_accelerators = hardware.least(plan);
    let counts = options.counts(least_accelerators);
    Ok(On {
        outlooks: counts.into_iter().map(|count| hardware.outlook(plan, count)).collect(),
        answering: hardware.answering(plan),
        most_accelerators: hardware.most(plan),
        least_accelerators,
        hardware,
    })
}

fn show_plan(terminal: &mut Terminal, name: &str, plan: &Plan) -> Result<(), Failure> {
    let Plan { memory, layers, width, heads, .. } = plan;
    let operations = |count: f64| format!("{count:.3e} floating-point operations");
    let step_tokens = plan.rows as u64 * plan.row_tokens;
    let each = |bytes: u64| {
        let each = figure(bytes) / figure(plan.parameters);
        format!("{}, {each:.0} bytes a parameter", bytes_for_people(bytes))
    };
    let rows = [
        ("recipe", name.to_owned()),
        ("parameters", exactly(plan.parameters)),
        ("shape", format!("{layers} layers, {width} wide, {heads} heads")),
        ("tokens", exactly(plan.tokens)),
        (
            "steps",
            format!(
                "{} of {} tokens",
                digits_for_people(plan.steps),
                digits_for_people(step_tokens)
            ),
        ),
        ("weights (6 N D)", operations(plan.operations - plan.attention_operations)),
        ("attention", operations(plan.attention_operations)),
        ("arithmetic in all", operations(plan.operations)),
        ("weights, f32", each(memory.weights_bytes)),
        ("copies for products", each(memory.copies_bytes)),
        ("gradients, f32", each(memory.gradients_bytes)),
        ("optimizer", each(memory.optimizer_bytes)),
        (
            "activations",
            format!(
                "{} for {} tokens at once",
                bytes_for_people(memory.activations_bytes),
                digits_for_people(plan.micro_tokens)
            ),
        ),
        ("memory in all", bytes_for_people(memory.total_bytes())),
    ];
    let rows = rows.map(|(what, value)| vec![what.to_owned(), value]);
    Ok(terminal.table(&["WHAT", "HOW MUCH"], &rows)?)
}

/// A count in words, and to the digit.
fn exactly(count: u64) -> String {
    let (words, digits) = (large_for_people(figure(count)), digits_for_people(count));
    if words == digits { digits } else { format!("{words} ({digits})") }
}

fn show_hardware(terminal: &mut Terminal, hardware: &[On]) -> Result<(), Failure> {
    let mut rows = Vec::new();
    for on in hardware {
        for (index, outlook) in on.outlooks.iter().enumerate() {
            let name = if index == 0 { on.hardware.name.clone() } else { String::new() };
            rows.push(row(name, on, outlook));
        }
    }
    let header = ["HARDWARE", "ACCELERATORS", "MEMORY OF EACH", "FITS", "TIME", "MONEY"];
    Ok(terminal.table(&header, &rows)?)
}

fn row(name: String, on: &On, outlook: &Outlook) -> Vec<String> {
    let fits = match outlook.fits {
        true => "yes".to_owned(),
        false => {
            format!("no: {} are needed at least", digits_for_people(on.least_accelerators))
        }
    };
    vec![
        name,
        digits_for_people(outlook.accelerators),
        format!("{} of {}", bytes(outlook.bytes_each), bytes(on.hardware.memory_gb * 1e9)),
        fits,
        time_for_people(outlook.seconds),
        outlook.dollars.map_or_else(|| "no price known".to_owned(), money_for_people),
    ]
}

fn show_answering(terminal: &mut Terminal, hardware: &[On]) -> Result<(), Failure> {
    let speed = |tokens: f64| format!("{} tokens/s", large_for_people(tokens));
    let rows = hardware.iter().map(|on| {
        let Answering { accelerators, tokens_per_second } = on.answering;
        vec![
            on.hardware.name.clone(),
            digits_for_people(accelerators),
            tokens_per_second.map_or_else(|| "not known".to_owned(), speed),
        ]
    });
    let rows: Vec<_> = rows.collect();
    Ok(terminal.table(&["TO ANSWER, IN BF16", "AT LEAST", "ONE ANSWER AT MOST"], &rows)?)
}

/// Says what the figures stand on.
fn tell_assumptions(terminal: &mut Terminal, hardware: &[On], plan: &Plan, assumed_on: &str) {
    if let [On { hardware, most_accelerators, outlooks, .. }] = hardware {
        let price = match hardware.price_per_hour {
            Some(price) => format!(", ${price:.2} an hour for each"),
            None => String::new(),
        };
        let peak = (hardware.peak_teraflops * 1e3).round() / 1e3;
        let reached = match hardware.utilization {
            1.0.. => String::new(),
            share => format!(", of which {:.0} % are reached", 100.0 * share),
        };
        terminal.note(format_args!("{}: {peak} TFLOP/s{reached}{price}", hardware.title));
        if outlooks.iter().any(|outlook| outlook.accelerators > *most_accelerators) {
            terminal.warn(format_args!(
                "a step has {} rows: more than {} accelerators have nothing to do, and cost all the \
                 same",
                plan.rows,
                digits_for_people(*most_accelerators)
            ));
        }
    }
    terminal.note(format_args!(
        "prices and utilizations are assumptions of {assumed_on}, not offers: --price and \
         --utilization put others in their place; docs/scale.md explains the arithmetic"
    ));
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "bytes, not negative")]
fn bytes(count: f64) -> String {
    bytes_for_people(count as u64)
}
