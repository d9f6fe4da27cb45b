//! The report card: what a run has made, in figures that can be compared, on a terminal and in files.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use artifacts::disk::RealDisk;
use artifacts::folder::land_bytes;
use serde::Serialize;

use super::super::stage::{Outcome, Work};
use super::super::{Failure, Session};
use super::measure::Made;
use super::page;
use crate::locale::Language;
use crate::run_state::{FolderTimes, RunState, Sample, figure};
use crate::terminal::without_controls;

/// The card for people who read text.
const MARKDOWN_FILE: &str = "report-card.md";
/// The card as a page.
const PAGE_FILE: &str = "report-card.html";

/// What was made, and how good it is; `scribe story --json`.
#[derive(Debug, Serialize)]
pub(super) struct Card {
    schema: &'static str,
    run: PathBuf,
    /// What the run is called.
    pub(super) name: String,
    /// Weights of the model.
    pub(super) parameters: u64,
    pub(super) vocabulary: usize,
    /// In the order of the story, those that the recipe does not have included.
    pub(super) stages: Vec<StageLine>,
    /// Of the held-out texts; empty where none is held out.
    pub(super) bits_per_byte: Vec<Bits>,
    /// Nats for a token of held-out answers; absent where none is held out.
    pub(super) answers_loss_before: Option<f64>,
    pub(super) answers_loss: Option<f64>,
    pub(super) cut_conversations: u64,
    pub(super) samples: Vec<Sample>,
    pub(super) answers: Vec<Answered>,
    /// The newest model.
    model: Option<PathBuf>,
    /// The command to type next.
    pub(super) next: String,
}

/// The stages of the story.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum StageOfStory {
    Tokenizer,
    Corpus,
    Pretraining,
    FineTuning,
}

impl StageOfStory {
    /// The key of its name.
    fn key(self) -> &'static str {
        match self {
            Self::Tokenizer => "card-stage-tokenizer",
            Self::Corpus => "card-stage-corpus",
            Self::Pretraining => "card-stage-pretraining",
            Self::FineTuning => "card-stage-answers",
        }
    }
}

/// A stage of the story, and how it went.
#[derive(Debug, Serialize)]
pub(super) struct StageLine {
    pub(super) name: StageOfStory,
    /// Whether the recipe has it.
    pub(super) is_there: bool,
    pub(super) steps: Option<u64>,
    /// Tokens of text, or tokens that were read.
    pub(super) tokens: Option<u64>,
    /// Absent where nobody took the time.
    pub(super) seconds: Option<f64>,
}

/// The figure of the model, or of a baseline.
#[derive(Debug, Serialize)]
pub(super) struct Bits {
    pub(super) name: String,
    pub(super) is_baseline: bool,
    pub(super) bits_per_byte: f64,
}

/// A question that was held out, what the model answers, and what was to be said.
#[derive(Debug, Serialize)]
pub(super) struct Answered {
    pub(super) question: String,
    pub(super) answer: String,
    pub(super) expected: String,
}

/// Something and its value, in one language.
#[derive(Debug)]
pub(super) struct Line {
    pub(super) name: String,
    pub(super) value: String,
}

impl Card {
    /// Measures what was made.
    pub(super) fn of(
        session: &mut Session,
        made: &Made<'_>,
        work: &Work<'_>,
    ) -> Result<Self, Failure> {
        let taught = made.taught.map(|(taught, _)| &taught.outcome);
        let look = |look: Option<training::metrics::ValidationMetrics>| look.map(|look| look.loss);
        let run = made.run.path().to_owned();
        let written = &made.pretrained.outcome;
        let config = made.recipe.model.config(made.recipe.vocabulary()?)?;
        Ok(Self {
            schema: "scribe.story/1",
            name: RunState::of_stage(&made.run.pretrained())?.name(),
            parameters: config.parameters(),
            vocabulary: config.vocab,
            stages: stages(made)?,
            bits_per_byte: made.bits(session, work)?,
            answers_loss_before: taught.and_then(|outcome| look(outcome.before)),
            answers_loss: taught.and_then(|outcome| look(outcome.validation)),
            cut_conversations: taught.map_or(0, |outcome| outcome.cut_conversations),
            samples: made.pretrained.samples.clone(),
            answers: made.answers(session, work)?,
            model: taught.unwrap_or(written).model.clone(),
            next: format!("scribe chat --run {}", run.display()),
            run,
        })
    }

    /// Leaves the card in the run.
    pub(super) fn write(
        &self,
        run: &training::RunFolder,
        language: Language,
    ) -> Result<(), Failure> {
        let land =
            |name: &str, text: &str| land_bytes(&RealDisk, &path(run, name), text.as_bytes());
        land(MARKDOWN_FILE, &self.markdown(language))?;
        land(PAGE_FILE, &page::render(self, language)?)?;
        Ok(())
    }

    /// Shows the card.
    pub(super) fn show(&self, session: &mut Session) -> Result<(), Failure> {
        let terminal = &mut session.terminal;
        if terminal.wants_json() {
            return Ok(terminal.json(self)?);
        }
        // The commands speak English; the pages have the language that is asked for.
        let language = Language::English;
        terminal.line("")?;
        let lines = |lines: Vec<Line>| -> Vec<Vec<String>> {
            lines.into_iter().map(|line| vec![line.name, line.value]).collect()
        };
        terminal.table(&["WHAT", "HOW MUCH"], &lines(self.figures(language)))?;
        terminal.line("")?;
        let stages: Vec<_> = self.stages.iter().map(|stage| stage.cells(language)).collect();
        terminal.table(&["STAGE", "STEPS", "TOKENS", "TIME"], &stages)?;
        if !self.bits_per_byte.is_empty() {
            terminal.line("")?;
            terminal.table(&["HELD-OUT TEXT", "BITS PER BYTE"], &lines(self.bits(language)))?;
        }
        for sample in &self.samples {
            terminal.line("")?;
            terminal.heading(format_args!("{} …", sample.prompt))?;
            terminal.piece(&format!("{}\n", sample.text.trim()))?;
        }
        for answered in &self.answers {
            terminal.line("")?;
            terminal.heading(&answered.question)?;
            terminal.piece(&format!("{}\n", answered.answer))?;
        }
        terminal.line("")?;
        let (markdown, page) = (self.run.join(MARKDOWN_FILE), self.run.join(PAGE_FILE));
        terminal.note(format_args!("{} and {} say so, too", markdown.display(), page.display()));
        terminal.note("next:");
        Ok(terminal.line(&self.next)?)
    }

    /// What was made, in a few lines.
    pub(super) fn figures(&self, language: Language) -> Vec<Line> {
        let line = |key: &str, value: String| Line { name: language.text(key), value };
        let count = |count: u64| language.number(figure(count));
        let loss = |loss: f64| language.number(page::rounded(loss));
        let mut lines = vec![
            line("report-parameters", count(self.parameters)),
            line("report-vocabulary", count(self.vocabulary as u64)),
        ];
        if let Some(model) = self.bits_per_byte.iter().find(|bits| !bits.is_baseline) {
            lines.push(line("report-bits", loss(model.bits_per_byte)));
        }
        lines.extend(self.answers_loss_before.map(|n| line("card-answers-before", loss(n))));
        lines.extend(self.answers_loss.map(|n| line("card-answers-after", loss(n))));
        if self.cut_conversations > 0 {
            lines.push(line("card-cut", count(self.cut_conversations)));
        }
        lines
    }

    /// Bits per byte, of the model and the baselines, the best first.
    pub(super) fn bits(&self, language: Language) -> Vec<Line> {
        let mut bits: Vec<&Bits> = self.bits_per_byte.iter().collect();
        bits.sort_by(|a, b| a.bits_per_byte.total_cmp(&b.bits_per_byte));
        let lines = bits.into_iter().map(|bits| Line {
            name: match bits.is_baseline {
                true => bits.name.clone(),
                false => language.format("card-this", &[("run", bits.name.as_str().into())]),
            },
            value: language.number(page::rounded(bits.bits_per_byte)),
        });
        lines.collect()
    }

    /// The card as Markdown.
    fn markdown(&self, language: Language) -> String {
        let mut text = format!("# {}\n", self.title(language));
        // Writing to a string cannot fail.
        let _ = writeln!(text, "\n| | |\n|---|---|");
        for Line { name, value } in self.figures(language) {
            let _ = writeln!(text, "| {name} | {value} |");
        }
        let words = |key: &str| language.text(key);
        let header = ["card-stage", "report-steps", "report-tokens", "report-time"].map(words);
        let _ = writeln!(text, "\n| {} |\n|---|---|---|---|", header.join(" | "));
        for stage in &self.stages {
            let _ = writeln!(text, "| {} |", stage.cells(language).join(" | "));
        }
        if !self.bits_per_byte.is_empty() {
            let _ = writeln!(text, "\n## {}\n\n| | |\n|---|---|", words("report-bits"));
            for Line { name, value } in self.bits(language) {
                let _ = writeln!(text, "| {} | {value} |", in_cell(&name));
            }
        }
        if !self.samples.is_empty() {
            let _ = writeln!(text, "\n## {}", words("report-samples"));
        }
        for Sample { prompt, text: written } in &self.samples {
            let _ = write!(text, "\n{}", as_code(&format!("{prompt}{written}")));
        }
        if !self.answers.is_empty() {
            let _ = writeln!(text, "\n## {}", words("card-answers"));
        }
        for Answered { question, answer, expected } in &self.answers {
            let _ = write!(text, "\n{}\n", as_code(question));
            let _ = write!(text, "{}:\n\n{}\n", words("card-answer"), as_code(answer));
            let _ = write!(text, "{}:\n\n{}", words("card-expected"), as_code(expected));
        }
        let _ = write!(text, "\n## {}\n\n{}", words("card-next"), as_code(&self.next));
        text
    }

    /// What the card is called.
    pub(super) fn title(&self, language: Language) -> String {
        language.format("card-title", &[("run", self.name.as_str().into())])
    }
}

impl StageLine {
    /// Its name, steps, tokens and time; of one that the recipe does not have, that.
    pub(super) fn cells(&self, language: Language) -> Vec<String> {
        let name = language.text(self.name.key());
        if !self.is_there {
            return vec![name, language.text("card-absent"), String::new(), String::new()];
        }
        let count = |count: Option<u64>| {
            count.map_or_else(String::new, |count| language.number(figure(count)))
        };
        let time = match self.seconds {
            Some(seconds) => page::time(seconds, language),
            None => language.text("card-no-time"),
        };
        vec![name, count(self.steps), count(self.tokens), time]
    }
}

/// The stages of the story. One that comes later has its line here.
fn stages(made: &Made<'_>) -> Result<Vec<StageLine>, Failure> {
    let times = FolderTimes::of(made.run.path());
    let seconds = |folder: &Path| {
        let name = folder.file_name()?.to_string_lossy().into_owned();
        times.0.get(&name).copied()
    };
    let corpus = corpus::Corpus::open(&made.run.corpus())?;
    let facts = corpus.facts();
    let made_folder = |name, folder: &Path, tokens| StageLine {
        name,
        is_there: true,
        steps: None,
        tokens,
        seconds: seconds(folder),
    };
    let tokens = facts.train.tokens + facts.validation.tokens;
    let taught = made.taught.map(|(taught, _)| &taught.outcome);
    Ok(vec![
        made_folder(StageOfStory::Tokenizer, &made.run.tokenizer(), None),
        made_folder(StageOfStory::Corpus, &made.run.corpus(), Some(tokens)),
        trained(StageOfStory::Pretraining, Some(&made.pretrained.outcome), &made.run.pretrained())?,
        trained(StageOfStory::FineTuning, taught, &made.run.fine_tuned())?,
    ])
}

/// A stage that leaves a model.
fn trained(
    name: StageOfStory,
    outcome: Option<&Outcome>,
    folder: &Path,
) -> Result<StageLine, Failure> {
    let Some(outcome) = outcome else {
        return Ok(StageLine { name, is_there: false, steps: None, tokens: None, seconds: None });
    };
    let state = RunState::of_stage(folder)?;
    Ok(StageLine {
        name,
        is_there: true,
        steps: Some(outcome.steps),
        tokens: Some(state.tokens()),
        seconds: state.mean_speed().map(|_| state.seconds()),
    })
}

fn path(run: &training::RunFolder, name: &str) -> PathBuf {
    run.path().join(name)
}

/// Words in a cell of a table, where a line or a bar would end it.
fn in_cell(words: &str) -> String {
    words.replace('|', "\\|").replace('\n', " ")
}

/// Words of people and models as a block of code: as they are, whatever stands in them.
fn as_code(words: &str) -> String {
    // A terminal that shows the file does not obey what a model wrote.
    let words = without_controls(words);
    let lines = words.trim_end().lines().map(|line| format!("    {line}\n"));
    lines.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A card of a run that was not taught.
    pub(in crate::command::story) fn card() -> Card {
        let line = |name, is_there, seconds| StageLine {
            name,
            is_there,
            steps: Some(1_200).filter(|_| is_there),
            tokens: Some(34_000).filter(|_| is_there),
            seconds,
        };
        let bits = |name: &str, is_baseline, bits_per_byte| Bits {
            name: name.to_owned(),
            is_baseline,
            bits_per_byte,
        };
        Card {
            schema: "scribe.story/1",
            run: PathBuf::from("runs/<b>"),
            name: "<b>|x".to_owned(),
            parameters: 529_056,
            vocabulary: 1_024,
            stages: vec![
                line(StageOfStory::Tokenizer, true, Some(0.42)),
                line(StageOfStory::Pretraining, true, None),
                line(StageOfStory::FineTuning, false, None),
            ],
            bits_per_byte: vec![
                bits("<b>|x", false, 2.5),
                bits("gzip -9", true, 2.75),
                bits("5-gram", true, 2.25),
            ],
            answers_loss_before: None,
            answers_loss: None,
            cut_conversations: 2,
            samples: vec![Sample { prompt: "<i>".into(), text: "</p>\n# x\u{1b}[2J\n".into() }],
            answers: vec![Answered {
                question: "Why?".into(),
                answer: "<script>alert(1)</script>".into(),
                expected: "Because.".into(),
            }],
            model: None,
            next: "scribe chat --run runs/<b>".to_owned(),
        }
    }

    #[test]
    fn the_card_is_told_in_both_languages_and_words_stay_words() {
        let english = card().markdown(Language::English);
        for line in [
            "| Parameters | 529,056 |\n",
            "| Tokenizer | 1,200 | 34,000 | 0.4 s |\n",
            "| Pretraining | 1,200 | 34,000 | not timed |\n",
            "| Fine-tuning | not in the recipe |  |  |\n",
            "| 5-gram | 2.25 |\n| <b>\\|x (this model) | 2.5 |\n| gzip -9 | 2.75 |\n",
            "    <i></p>\n    # x\u{fffd}[2J\n",
            "    <script>alert(1)</script>\n",
            "    scribe chat --run runs/<b>\n",
        ] {
            assert!(english.contains(line), "{line}: {english}");
        }
        let french = card().markdown(Language::French);
        assert!(french.contains("| Paramètres | 529\u{202f}056 |\n"), "{french}");
        assert!(french.contains("| 5-gram | 2,25 |\n"), "{french}");
        for (language, words) in
            [(Language::English, "not in the recipe"), (Language::French, "pas dans la recette")]
        {
            let page = page::render(&card(), language).unwrap();
            assert!(page.contains(words), "{page}");
            for asked in ["http:", "https:", "src=", "href=", "url(", "<script", "<b>", "<i>"] {
                assert!(!page.contains(asked), "{asked}: {page}");
            }
        }
    }
}
