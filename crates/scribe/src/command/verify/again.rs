//! A stage is made again in a folder of its own, from what the run holds before it, and every file of
//! it is compared.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use corpus::sources::RowKind;
use training::recipe::AnyRecipe;
use training::run_folder::{COMPARISONS_FOLDER, PPO_FOLDER, REWARD_FOLDER, SERVING_FOLDER, STAGES};
use training::{Ended, Recipe, RunFolder, text};

use super::{Part, VerifyOptions};
use crate::command::people::Ground;
use crate::command::ppo::{self, DoctorArgument, Round};
use crate::command::stage::{self, TextShow, Work};
use crate::command::{Exit, Failure, Session, pretrain, reward, sft};

/// Files that are another each time, as they tell when and how fast it went.
const TELL_OF_TIME: [&str; 5] =
    ["report.html", "run.lock", "times.json", "timing.jsonl", "messages.jsonl"];
/// What is made from a stage later, and lies in its folder.
const LATER: [&str; 6] = [
    "merged",
    "gate.json",
    "pairs.json",
    "pairs.jsonl",
    "pairs.jsonl.lock",
    "pairs.candidates.jsonl",
];

/// What came of it.
#[derive(Debug)]
pub(super) struct Again {
    /// The folder of the stage, from the run's on.
    pub(super) stage: PathBuf,
    /// Files that were compared.
    pub(super) files: usize,
    /// The first file that differs, and where; nothing where all are the same.
    pub(super) difference: Option<String>,
}

/// A folder beside the run, which goes with this value.
struct Scratch(PathBuf);

impl Drop for Scratch {
    fn drop(&mut self) {
        // What cannot be removed is in nobody's way.
        let _ = fs::remove_dir_all(&self.0);
    }
}

impl Again {
    /// Makes the stage again, and compares.
    pub(super) fn make(session: &mut Session, options: &VerifyOptions) -> Result<Self, Failure> {
        let path = options.recipe.clone().unwrap_or_else(|| options.run.join("recipe.toml"));
        let recipe = AnyRecipe::read(&path).map_err(|error| stage::refused(&path, error))?;
        // Held, so that nobody works at it meanwhile.
        let run = RunFolder::open(&options.run, &recipe.begin_toml())?;
        let round = options.round.get();
        let folder = options.stage.folder(&run, round);
        if !folder.exists() {
            return Err(Failure::not_found(
                format!("there is no `{}`", folder.display()),
                "name a stage that the run has with --stage, and its round with --round",
            ));
        }
        let stage = folder.strip_prefix(run.path()).unwrap_or(&folder).to_owned();
        let scratch = Scratch(beside(run.path()));
        // Begun while it is empty, as any run.
        let anew = RunFolder::open(&scratch.0, &recipe.begin_toml())?;
        for before in options.stage.before(round) {
            copy(&run.path().join(&before), &scratch.0.join(&before))?;
        }
        options.stage.make(session, options, recipe, anew)?;
        let (files, difference) = compare(&folder, &scratch.0.join(&stage))?;
        Ok(Self { stage, files, difference })
    }
}

impl Part {
    fn folder(self, run: &RunFolder, round: usize) -> PathBuf {
        match self {
            Self::Tokenizer => run.tokenizer(),
            Self::Corpus => run.corpus(),
            Self::Pretrain => run.pretrained(),
            Self::Sft => run.fine_tuned(),
            Self::Reward => run.reward(round),
            Self::Ppo => run.ppo(round),
        }
    }

    /// What has to be there for it, from the run's folder on.
    fn before(self, round: usize) -> Vec<PathBuf> {
        let stages = ["1-tokenizer", "2-corpus", STAGES[0], STAGES[1]];
        let count = match self {
            Self::Tokenizer => 0,
            Self::Corpus => 1,
            Self::Pretrain => 2,
            Self::Sft => 3,
            Self::Reward | Self::Ppo => 4,
        };
        let mut before: Vec<PathBuf> = stages[..count].iter().map(PathBuf::from).collect();
        match self {
            Self::Reward => before.push(COMPARISONS_FOLDER.into()),
            Self::Ppo => {
                before.push(SERVING_FOLDER.into());
                before.push(Path::new(REWARD_FOLDER).join(format!("round-{round}")));
                let earlier = (1..round).map(|round| format!("round-{round}"));
                before.extend(earlier.map(|name| Path::new(PPO_FOLDER).join(name)));
            }
            _ => (),
        }
        before
    }

    /// Makes it in a run that has what comes before it.
    fn make(
        self,
        session: &mut Session,
        options: &VerifyOptions,
        recipe: AnyRecipe,
        run: RunFolder,
    ) -> Result<(), Failure> {
        let work = Work::new(session, &options.work, "scribe verify, from its beginning")?;
        let round = options.round.get();
        match self {
            Self::Tokenizer | Self::Corpus => self.make_text(session, &run, whole(&recipe)?, &work),
            Self::Pretrain => {
                let recipe = whole(&recipe)?;
                let texts = stage::sources(session, &recipe.corpus, RowKind::Text)?;
                finished(pretrain::make(session, &run, recipe, texts, &work)?.outcome.finished)
            }
            Self::Sft => {
                let (_, conversations, _) = recipe.fine_tune()?;
                let sources = stage::sources(session, conversations, RowKind::Conversation)?;
                finished(sft::make(session, &run, &recipe, sources, &work)?.outcome.finished)
            }
            Self::Reward => {
                let ground = Ground::of(session, recipe, run, &work.device)?;
                reward::make(session, &work.device, &ground, round).map(drop)
            }
            Self::Ppo => {
                let ground = Ground::of(session, recipe, run, &work.device)?;
                let (begin, doctor) = (ground.begin(round)?, DoctorArgument::default());
                let round = Round { number: round, begin: &begin, doctor };
                let learned = ppo::make(session, &work.device, &ground, round, &work.interrupt)?;
                finished(learned.ended == Ended::Finished)
            }
        }
    }

    fn make_text(
        self,
        session: &mut Session,
        run: &RunFolder,
        recipe: &Recipe,
        work: &Work<'_>,
    ) -> Result<(), Failure> {
        let sources = stage::sources(session, &recipe.corpus, RowKind::Text)?;
        let mut show = TextShow::new(session, recipe.tokenizer.vocabulary);
        let threads = work.threads();
        match self {
            Self::Tokenizer => {
                text::make_tokenizer(run, recipe, &sources, threads, &mut |at| show.show(at))?;
            }
            _ => {
                text::make_corpus(run, recipe, sources, threads, &mut |at| show.show(at))?;
            }
        }
        Ok(())
    }
}

/// A stage that somebody stopped cannot be compared.
fn finished(is_finished: bool) -> Result<(), Failure> {
    if is_finished { Ok(()) } else { Err(Failure::silent(Exit::Interrupted)) }
}

/// A recipe that begins with text.
fn whole(recipe: &AnyRecipe) -> Result<&Recipe, Failure> {
    match recipe {
        AnyRecipe::Whole(recipe) => Ok(recipe),
        AnyRecipe::FineTune(_) => Err(Failure::usage(
            "this run begins with a model that is there",
            "name a stage that it has: --stage sft",
        )),
    }
}

/// A name beside the run that nothing has yet.
fn beside(run: &Path) -> PathBuf {
    let run = run.canonicalize().unwrap_or_else(|_| run.to_owned());
    let name = run.file_name().map_or_else(String::new, |name| name.to_string_lossy().into());
    run.with_file_name(format!(".{name}.verify-{}", std::process::id()))
}

/// Gives a folder or file a second place. What was made once is never written again but for the
/// comparisons, which are copied: of the rest the bytes are shared where the disk can do that.
fn copy(from: &Path, to: &Path) -> Result<(), Failure> {
    if from.is_dir() {
        fs::create_dir_all(to)?;
        for entry in fs::read_dir(from)? {
            let name = entry?.file_name();
            copy(&from.join(&name), &to.join(&name))?;
        }
        return Ok(());
    }
    let grows = from.components().any(|part| part.as_os_str() == COMPARISONS_FOLDER);
    if from.exists() && (grows || fs::hard_link(from, to).is_err()) {
        fs::copy(from, to)?;
    }
    Ok(())
}

/// How many files there are, and the first that differs.
fn compare(old: &Path, new: &Path) -> Result<(usize, Option<String>), Failure> {
    let mut names = BTreeSet::new();
    for folder in [old, new] {
        gather(folder, Path::new(""), &mut names)?;
    }
    for name in &names {
        let [before, after] = [old, new].map(|folder| fs::read(folder.join(name)).ok());
        let difference = match (before, after) {
            (Some(before), Some(after)) if before == after => continue,
            (Some(before), Some(after)) => {
                let equal = before.iter().zip(&after).take_while(|(a, b)| a == b).count();
                format!("`{}` differs from byte {equal} on", name.display())
            }
            (None, _) => format!("`{}` is made again, and is not in the run", name.display()),
            (_, None) => format!("`{}` is in the run, and is not made again", name.display()),
        };
        return Ok((names.len(), Some(difference)));
    }
    Ok((names.len(), None))
}

/// Adds the names of the files that a stage is compared by.
fn gather(stage: &Path, inside: &Path, names: &mut BTreeSet<PathBuf>) -> Result<(), Failure> {
    let folder = stage.join(inside);
    if !folder.is_dir() {
        return Ok(());
    }
    for entry in fs::read_dir(&folder)? {
        let name = entry?.file_name();
        let text = name.to_string_lossy();
        let inside = inside.join(&name);
        if TELL_OF_TIME.contains(&&*text)
            || text.starts_with("events.out.tfevents.")
            || (LATER.contains(&&*text) && inside.components().count() == 1)
        {
            continue;
        }
        match stage.join(&inside).is_dir() {
            true => gather(stage, &inside, names)?,
            false => drop(names.insert(inside)),
        }
    }
    Ok(())
}
