//! Questions and answers in turn: each answer is on the disk before it is acknowledged.

use std::io::BufRead;

use comparisons::queue::{Progress, Question};
use comparisons::store::RowId;
use comparisons::{REASON_BYTES_MAX, Ranking};

use super::answer::{self, Answer};
use super::screen::{self, Turn};
use crate::command::Failure;
use crate::labeling::{Desk, Said as Judged};
use crate::lines::{self, Line};
use crate::terminal::Terminal;

/// One labeler at work.
pub(super) struct Sitting<'a> {
    terminal: &'a mut Terminal,
    desk: Desk,
    labeler: String,
    guidelines: String,
    /// Answers of this sitting that can be taken back, the last one at the end.
    kept: Vec<Kept>,
}

/// An answer that is on the disk.
struct Kept {
    question: Question,
    id: RowId,
}

/// What came of a question.
enum Said {
    Judged(Option<Ranking>, Option<String>),
    Undo,
    Quit,
}

impl<'a> Sitting<'a> {
    pub(super) fn new(
        terminal: &'a mut Terminal,
        desk: Desk,
        labeler: String,
        guidelines: String,
    ) -> Self {
        Self { terminal, desk, labeler, guidelines, kept: Vec::new() }
    }

    /// Asks until nothing is left, somebody stops, or the input ends.
    pub(super) fn run(&mut self, input: &mut dyn BufRead, is_person: bool) -> Result<(), Failure> {
        self.terminal.note(screen::KEYS);
        let mut revised: Option<Kept> = None;
        loop {
            let question = match &revised {
                Some(kept) => Some(kept.question.clone()),
                None => self.desk.next(&self.labeler, &[])?,
            };
            let Some(question) = question else {
                match self.is_last_taken_back(input, is_person)? {
                    true => revised = self.kept.pop(),
                    false => return Ok(()),
                }
                continue;
            };
            let turn = Turn { progress: self.progress()?, is_again: revised.is_some() };
            screen::show(self.terminal, &question, turn)?;
            match self.listen(input, question.texts.len(), is_person)? {
                Said::Quit => return Ok(()),
                Said::Undo => match self.kept.pop() {
                    Some(kept) => revised = Some(kept),
                    None => self.terminal.note("there is no earlier answer of this sitting"),
                },
                Said::Judged(ranking, reason) => {
                    self.keep(question, ranking.as_ref(), reason, revised.take())?;
                }
            }
        }
    }

    /// Says how far it went, and how it goes on.
    pub(super) fn tell_end(&mut self, command: &str) -> Result<(), Failure> {
        let progress = self.progress()?;
        screen::tell_end(self.terminal, progress, command)
    }

    fn progress(&self) -> Result<Progress, Failure> {
        Ok(self.desk.progress(&self.labeler)?[0])
    }

    /// Whether a person who has answered everything wants to revise the last answer.
    fn is_last_taken_back(
        &mut self,
        input: &mut dyn BufRead,
        is_person: bool,
    ) -> Result<bool, Failure> {
        if self.kept.is_empty() {
            return Ok(false);
        }
        self.terminal.note("all is answered; u revises the last one, q leaves");
        // Any two completions will do: what is typed is no ranking.
        let line = self.line(input, is_person)?;
        Ok(line.is_some_and(|line| answer::read(&line, 2) == Ok(Answer::Undo)))
    }

    /// Listens until an answer comes that can be followed. On a pipe a line that cannot be read
    /// ends it: the next one is meant for another question.
    fn listen(
        &mut self,
        input: &mut dyn BufRead,
        count: usize,
        is_person: bool,
    ) -> Result<Said, Failure> {
        loop {
            let Some(line) = self.line(input, is_person)? else { return Ok(Said::Quit) };
            match answer::read(&line, count) {
                Ok(Answer::Ranked(ranking, reason)) => {
                    return Ok(Said::Judged(Some(ranking), reason));
                }
                Ok(Answer::Skip) => return Ok(Said::Judged(None, None)),
                Ok(Answer::Undo) => return Ok(Said::Undo),
                Ok(Answer::Quit) => return Ok(Said::Quit),
                Ok(Answer::Guidelines) => self.terminal.note(&self.guidelines),
                Ok(Answer::Nothing) => (),
                Err(told) if is_person => self.terminal.note(told),
                Err(told) => return Err(unreadable(told)),
            }
        }
    }

    /// The next line that is typed; `None` at the end.
    fn line(
        &mut self,
        input: &mut dyn BufRead,
        is_person: bool,
    ) -> Result<Option<String>, Failure> {
        loop {
            if is_person {
                self.terminal.piece("> ")?;
            }
            let told = match lines::next(input, REASON_BYTES_MAX)? {
                None => return Ok(None),
                Some(Line::Whole(line)) => match String::from_utf8(line) {
                    Ok(line) => return Ok(Some(line)),
                    Err(_) => "the line is not UTF-8; type it anew".to_owned(),
                },
                Some(Line::TooLong) => {
                    format!(
                        "the line has more than {REASON_BYTES_MAX} bytes; give a shorter reason"
                    )
                }
            };
            match is_person {
                true => self.terminal.note(told),
                false => return Err(unreadable(told)),
            }
        }
    }

    /// Puts an answer on the disk, in the place of the one that is revised, and acknowledges it.
    fn keep(
        &mut self,
        question: Question,
        ranking: Option<&Ranking>,
        reason: Option<String>,
        revised: Option<Kept>,
    ) -> Result<(), Failure> {
        let said = Judged { labeler: self.labeler.clone(), ranking: ranking.cloned(), reason };
        let id = match revised {
            Some(earlier) => self.desk.revise(earlier.id, said)?,
            None => self.desk.keep(question.candidate, question.times, said)?,
        };
        self.kept.push(Kept { question, id });
        screen::acknowledge(self.terminal, id, ranking)
    }
}

fn unreadable(told: String) -> Failure {
    Failure::usage(
        told,
        "mend that line; what was kept before it is on the disk, so go on with those after it",
    )
}
