//! `scribe ppo`: a model learns from its reward model.

pub(super) mod judge;
mod samples;
mod show;

use std::path::{Path, PathBuf};

use clap::Args;
use engine::Device;
use serde::Serialize;
use tokenizer::Conversation;
use training::ppo::doctor::{Finding, Findings};
use training::ppo::goodhart::Curve;
use training::ppo::{PpoMetrics, PpoStage, PpoTrainer};
use training::recipe::{PpoRecipe, RewardRecipe};
use training::{Ended, RunFolder};

use self::show::Show;
use super::interrupt::Interrupt;
use super::people::{Ground, PagesArgument, PeopleArguments, RoundArgument, slots};
use super::stage::report::policy::{self, PolicySubject};
use super::{Exit, Failure, Session};
use crate::locale::Language;

/// What to learn from, and where.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  scribe ppo recipes/tiny.toml --run runs/tiny\n  scribe chat \
                        --run runs/tiny --stage ppo\n\nEach step lets the model answer some prompts, scores the \
                        answers with the reward models of the round, and moves the model toward what \
                        scored higher, at a price for every nat of drift from where it began. What \
                        it leaves is not served before a gate has let it through, as in rounds. The \
                        same command goes on where it stopped.")]
pub struct PpoOptions {
    #[command(flatten)]
    people: PeopleArguments,

    #[command(flatten)]
    round: RoundArgument,

    #[command(flatten)]
    doctor: DoctorArgument,

    #[command(flatten)]
    pages: PagesArgument,
}

/// How closely each step is looked at.
#[derive(Debug, Clone, Copy, Default, Args)]
pub(super) struct DoctorArgument {
    /// Let the doctor compute what each step of PPO relies on in other ways, too, and compare the bits;
    /// takes several times as long
    #[arg(long = "doctor")]
    pub(super) thorough: bool,
}

/// `scribe ppo --json`.
#[derive(Debug, Serialize)]
struct Told<'a> {
    schema: &'static str,
    finished: bool,
    /// Those that are saved: it goes on after them.
    steps: u64,
    /// The newest checkpoint, which is a model that any command takes.
    model: Option<&'a Path>,
    first: Option<&'a PpoMetrics>,
    last: Option<&'a PpoMetrics>,
    /// What the doctor found.
    findings: &'a [Finding],
}

/// Learns.
pub(super) fn run(session: &mut Session, options: &PpoOptions) -> Result<(), Failure> {
    let device = Device::cpu(&options.people.device.options())?;
    let ground = Ground::open(session, &options.people, &device)?;
    let people = &options.people;
    let command = format!(
        "scribe ppo {} --run {} --round {}",
        people.recipe.display(),
        people.run.display(),
        options.round.round
    );
    let interrupt =
        Interrupt::follow((session.terminal.verbosity() >= 0).then(|| command.clone()))?;
    let number = options.round.round.get();
    let begin = ground.begin(number)?;
    let round = Round { number, begin: &begin, doctor: options.doctor };
    let learned = make(session, &device, &ground, round, &interrupt)?;
    report(session, &ground, (number, None), options.pages.language)?;
    tell(session, &learned)?;
    ended(session, &learned, &command)
}

/// A round, and what its policy begins as.
#[derive(Debug, Clone, Copy)]
pub(super) struct Round<'a> {
    /// Counted from 1.
    pub(super) number: usize,
    /// A checkpoint.
    pub(super) begin: &'a Path,
    pub(super) doctor: DoctorArgument,
}

/// What a round of PPO leaves.
#[derive(Debug)]
pub(super) struct Learned {
    pub(super) ended: Ended,
    /// The newest checkpoint.
    pub(super) model: Option<PathBuf>,
    steps: u64,
    folder: PathBuf,
}

/// Takes the steps that are left.
pub(super) fn make(
    session: &mut Session,
    device: &Device,
    ground: &Ground,
    round: Round<'_>,
    interrupt: &Interrupt,
) -> Result<Learned, Failure> {
    let stage = stage_of(session, ground, round)?;
    let folder = stage.folder.clone();
    let mut trainer = PpoTrainer::open(stage, device)?;
    if let Some(judge) = judge::of(ground) {
        trainer.set_judge(judge);
    }
    interrupt.set_saves(true);
    let answers = ground.recipe.ppo()?.episodes as u64;
    let show = Show::new(&mut session.terminal, &trainer, answers, interrupt)?;
    let ended = show.follow(&mut trainer)?;
    interrupt.set_saves(ended != Ended::Finished);
    let (model, steps) = (trainer.newest_checkpoint(), trainer.steps_saved());
    drop(trainer);
    if let (Ended::Finished, Some(model)) = (ended, &model) {
        samples::write(session, ground, (model, &folder), device)?;
    }
    Ok(Learned { ended, model, steps, folder })
}

/// Writes the page of a round, with the shares of pairs that it won at the gate, once that is known.
pub(super) fn report(
    session: &mut Session,
    ground: &Ground,
    (round, win_rates): (usize, Option<[f64; 2]>),
    language: Language,
) -> Result<(), Failure> {
    let recipe = ground.recipe.ppo()?;
    let subject = PolicySubject { folder: ground.run.ppo(round), round, recipe, win_rates };
    policy::tell(session, &subject, language);
    Ok(())
}

/// How a command ends with a round of PPO.
pub(super) fn ended(
    session: &mut Session,
    learned: &Learned,
    command: &str,
) -> Result<(), Failure> {
    match learned.ended {
        Ended::Finished => Ok(()),
        Ended::Stopped(steps) => {
            session
                .terminal
                .note(format_args!("stopped after {steps} steps; go on with: {command}"));
            Err(Failure::silent(Exit::Interrupted))
        }
    }
}

fn stage_of(session: &mut Session, ground: &Ground, round: Round<'_>) -> Result<PpoStage, Failure> {
    let recipe = ground.recipe.ppo()?.clone();
    let reward = ground.recipe.reward()?.clone();
    let reward_models = reward_models(&ground.run, round.number, &reward)?;
    let (prompts, meter_prompts) = prompts(session, ground, &recipe)?;
    Ok(PpoStage {
        seed: ground.recipe.seed(),
        base: ground.base.clone(),
        begin: round.begin.to_owned(),
        base_name: {
            let checkpoint = ground.run.ppo_checkpoint(round.number, "step");
            ground.run.name_from(&checkpoint, &ground.base)
        },
        reward_models,
        tokenizer: ground.tokenizer_folder(),
        corpus: Some(ground.run.corpus()).filter(|corpus| corpus.exists()),
        prompts,
        meter_prompts,
        stop_tokens: ground.stop_tokens(),
        slots: slots(),
        thorough: round.doctor.thorough,
        folder: ground.run.ppo(round.number),
        recipe,
        reward,
    })
}

/// The reward models of a round, all of which have to be there.
fn reward_models(
    run: &RunFolder,
    round: usize,
    recipe: &RewardRecipe,
) -> Result<Vec<PathBuf>, Failure> {
    let models: Vec<_> =
        (1..=recipe.models).map(|number| run.reward_model(round, number)).collect();
    match models.iter().find(|model| !model.exists()) {
        None => Ok(models),
        Some(model) => Err(Failure::not_found(
            format!("there is no reward model at `{}`", model.display()),
            "train it first: scribe reward with the same recipe, --run and --round",
        )),
    }
}

/// Prompts in tokens.
type Encoded = Vec<Vec<u32>>;

/// What the model is asked, in tokens: to learn from it, and to be measured on it.
fn prompts(
    session: &mut Session,
    ground: &Ground,
    recipe: &PpoRecipe,
) -> Result<(Encoded, Encoded), Failure> {
    let found = ground.prompts(session)?;
    let (prompts, long) = in_tokens(ground, recipe, &found.train)?;
    let (held_out, _) = in_tokens(ground, recipe, &found.validation)?;
    let terminal = &mut session.terminal;
    if long > 0 {
        terminal.warn(format_args!(
            "{long} prompts are left out: with {} tokens of an answer they are longer than the {} \
             that the model attends to",
            recipe.completion_tokens,
            ground.context_tokens()
        ));
    }
    terminal.note(format_args!("{} prompts", prompts.len()));
    Ok((prompts, held_out))
}

/// Prompts that leave room for an answer, and how many do not.
pub(super) fn in_tokens(
    ground: &Ground,
    recipe: &PpoRecipe,
    conversations: &[Conversation],
) -> Result<(Encoded, usize), Failure> {
    let encoding = ground.encoding(recipe);
    let mut prompts = Vec::new();
    for conversation in conversations {
        let prompt = encoding.prompt(conversation)?;
        encoding.examine(conversation, &prompt)?;
        if prompt.len() + recipe.completion_tokens <= ground.context_tokens() {
            prompts.push(prompt);
        }
    }
    let long = conversations.len() - prompts.len();
    Ok((prompts, long))
}

/// Says what was learned.
pub(super) fn tell(session: &mut Session, learned: &Learned) -> Result<(), Failure> {
    let Learned { ended, model, steps, folder } = learned;
    let lines = training::metrics::read_lines::<PpoMetrics>(folder)?;
    let findings = Findings::read(folder)?;
    let terminal = &mut session.terminal;
    if terminal.wants_json() {
        return Ok(terminal.json(&Told {
            schema: "scribe.ppo/1",
            finished: *ended == Ended::Finished,
            steps: *steps,
            model: model.as_deref(),
            first: lines.first(),
            last: lines.last(),
            findings: &findings,
        })?);
    }
    if let (Ended::Finished, Some(model), [first, .., last]) = (ended, model, lines.as_slice()) {
        terminal.note(format_args!(
            "score {:.2} at first, {:.2} in the end; {:.2} nats of drift",
            first.score, last.score, last.kl_per_episode
        ));
        match findings.len() {
            0 => terminal.note("the doctor found nothing wrong in any step"),
            signs => terminal.note(format_args!("the doctor found {signs} signs, told above")),
        }
        let curve = Curve::of(&lines);
        if let Some(peak) = curve.fit().and_then(|fit| fit.peak()) {
            terminal.note(format_args!(
                "by the judge's readings, answers are best at {:.2} nats of drift",
                peak * peak
            ));
        }
        terminal.line(model.display())?;
    }
    Ok(())
}
