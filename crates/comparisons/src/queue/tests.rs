//! Whole queues, worked off by simulated labelers.

use std::collections::BTreeMap;

use artifacts::hash::Digest;

use super::*;
use crate::store::RowId;
use crate::{Completion, Origin, Sampling};

fn waiting(number: usize, disagreement: f64) -> Waiting {
    let completions = ["first", "second", "third"].map(|text| {
        let sampling = Sampling { temperature: 1.0, top_k: None, top_p: 1.0 };
        let model = Digest::of(text.as_bytes());
        Completion::new(text, Origin::Sampled { model, sampling, seed: 1 })
    });
    let prompt = Prompt::Text(number.to_string());
    Waiting { candidate: Candidate::new(prompt, completions.into()).unwrap(), disagreement }
}

fn labelers(names: &[&str]) -> BTreeSet<String> {
    names.iter().map(|name| (*name).to_owned()).collect()
}

fn queue(candidates: usize, names: &[&str]) -> Queue {
    let waiting = (0..candidates).map(|number| waiting(number, 0.0)).collect();
    Queue::new(waiting, labelers(names), QueueOptions::default()).unwrap()
}

fn answer(question: &Question, labeler: &str, number: usize) -> Answer {
    let id = RowId(Digest::of(&number.to_le_bytes()));
    Answer { id, candidate: question.candidate, labeler: labeler.to_owned(), is_skipped: false }
}

/// All answers, labelers taking turns until nobody has a question.
fn work_off(queue: &Queue, names: &[&str]) -> Vec<Answer> {
    let mut answers = Vec::new();
    loop {
        let before = answers.len();
        for name in names {
            if let Some(question) = queue.next(name, &answers).unwrap() {
                answers.push(answer(&question, name, answers.len()));
            }
        }
        if answers.len() == before {
            return answers;
        }
    }
}

#[test]
fn a_share_is_given_to_two_and_a_share_is_asked_again() {
    let names = ["ada", "bob", "cleo"];
    let queue = queue(400, &names);
    let answers = work_off(&queue, &names);
    let mut by: BTreeMap<CandidateId, Vec<&str>> = BTreeMap::new();
    answers.iter().for_each(|answer| by.entry(answer.candidate).or_default().push(&answer.labeler));
    assert_eq!(by.len(), 400, "each candidate was asked about");
    let distinct = |who: &[&str]| who.iter().collect::<BTreeSet<_>>().len();
    let shared = by.values().filter(|who| distinct(who) == 2).count();
    let repeated = by.values().filter(|who| who.len() > distinct(who)).count();
    // Five standard deviations around 60 and 20 of 400.
    assert!((24..=96).contains(&shared), "{shared} are shared");
    assert!((1..=42).contains(&repeated), "{repeated} are repeated");
    assert!(by.values().all(|who| who.len() - distinct(who) <= 1 && distinct(who) <= 2));
    for name in names {
        let own: Vec<&Answer> = answers.iter().filter(|answer| answer.labeler == name).collect();
        let is_twice = |pair: &[&Answer]| pair[0].candidate == pair[1].candidate;
        assert!(!own.windows(2).any(is_twice), "{name} was asked the same twice in a row");
        let progress = queue.progress(name, &answers).unwrap();
        assert_eq!(progress, Progress { done: own.len(), all: own.len() });
        let at_first = queue.progress(name, &[]).unwrap();
        assert_eq!(at_first, Progress { done: 0, all: own.len() }, "{name} knew it before");
    }
}

#[test]
fn a_restart_changes_nothing() {
    let names = ["ada", "bob"];
    let answers = work_off(&queue(60, &names), &names);
    for length in 0..answers.len() {
        let Answer { labeler, candidate, .. } = &answers[length];
        let next = queue(60, &names).next(labeler, &answers[..length]).unwrap();
        assert_eq!(next.map(|question| question.candidate), Some(*candidate));
    }
}

#[test]
fn disagreement_goes_first() {
    let disagreements = [0.1, f64::NAN, 3.0, 0.0, 0.2, -1.0];
    let waiting = disagreements.iter().enumerate().map(|(number, d)| waiting(number, *d));
    let options = QueueOptions { repeated_percent: 0, ..QueueOptions::default() };
    let queue = Queue::new(waiting.collect(), labelers(&["ada"]), options).unwrap();
    let mut answers = Vec::new();
    let mut prompts = Vec::new();
    while let Some(question) = queue.next("ada", &answers).unwrap() {
        answers.push(answer(&question, "ada", answers.len()));
        let Prompt::Text(prompt) = question.prompt else { panic!("a conversation") };
        prompts.push(prompt);
    }
    assert_eq!(prompts, ["2", "4", "0", "3", "5", "1"]);
}

#[test]
fn a_repeat_comes_after_other_answers_or_not_at_all() {
    let options =
        QueueOptions { repeated_percent: 100, repeat_after: 3, ..QueueOptions::default() };
    for candidates in 1..12 {
        let waiting = (0..candidates).map(|number| waiting(number, 0.0)).collect();
        let queue = Queue::new(waiting, labelers(&["ada"]), options).unwrap();
        let answers = work_off(&queue, &["ada"]);
        let expected = if candidates == 1 { 1 } else { 2 * candidates };
        assert_eq!(answers.len(), expected, "of {candidates}");
        assert_eq!(queue.progress("ada", &answers).unwrap().all, expected);
        assert!(!answers.windows(2).any(|pair| pair[0].candidate == pair[1].candidate));
    }
}

#[test]
fn orders_are_shuffled_and_read_back() {
    let queue = queue(200, &["ada"]);
    let mut answers = Vec::new();
    let mut orders = BTreeSet::new();
    while let Some(question) = queue.next("ada", &answers).unwrap() {
        answers.push(answer(&question, "ada", answers.len()));
        orders.insert(question.shown_order.clone());
        // Whoever ranks by the texts means the same completions in any order.
        let place = |text: &str| question.texts.iter().position(|shown| shown == text).unwrap();
        let groups = ["second", "third", "first"].map(|text| vec![place(text)]);
        let ranking = Ranking::new(3, groups.into()).unwrap();
        let judgment = question.judgment("ada", Some(&ranking), 7).unwrap();
        assert_eq!(judgment.ranking.unwrap().groups(), [[1], [2], [0]]);
        assert_eq!(judgment.shown_order, Some(question.shown_order.clone()));
        let other = Ranking::best_of(2, 0).unwrap();
        assert!(question.judgment("ada", Some(&other), 7).is_err());
    }
    assert_eq!(orders.len(), 6, "every order of three occurs");
}

#[test]
fn a_labeler_who_comes_later_takes_over_a_part_and_nothing_is_asked_in_vain() {
    let first = queue(100, &["ada"]);
    let mut answers = Vec::new();
    for number in 0..40 {
        let question = first.next("ada", &answers).unwrap().unwrap();
        answers.push(answer(&question, "ada", number));
    }
    let second = queue(100, &["ada", "bob"]);
    let answered: BTreeSet<CandidateId> = answers.iter().map(|answer| answer.candidate).collect();
    let bob = second.progress("bob", &answers).unwrap();
    assert!(bob.done == 0 && (10..60).contains(&bob.all), "{bob:?}");
    let question = second.next("bob", &answers).unwrap().unwrap();
    let shared = second.entries.iter().find(|entry| entry.id == question.candidate).unwrap();
    assert!(!answered.contains(&question.candidate) || shared.given_to.len() == 2);
}

#[test]
fn strangers_empty_lists_and_endless_ones_are_refused() {
    let stranger = queue(1, &["ada"]).next("eve", &[]).unwrap_err();
    assert_eq!(stranger, Refusal::UnknownLabeler { labeler: "eve".to_owned() });
    let options = QueueOptions::default();
    let nobody = Queue::new(vec![], labelers(&[]), options).unwrap_err();
    assert_eq!(nobody, Refusal::NoLabeler);
    let many: BTreeSet<String> = (0..=LABELERS_MAX).map(|number| number.to_string()).collect();
    assert_eq!(Queue::new(vec![], many, options).unwrap_err().kind(), "over a limit");
    let twice = Queue::new(vec![waiting(1, 0.0), waiting(1, 5.0)], labelers(&["ada"]), options);
    assert_eq!(twice.unwrap().entries.len(), 1);
}

#[test]
fn what_others_leave_is_asked_and_a_question_comes_back() {
    let queue = queue(40, &["ada", "bob"]);
    let mut answers = Vec::new();
    while let Some(question) = queue.next("ada", &answers).unwrap() {
        let again = queue.question_about(question.candidate, "ada", question.times);
        assert_eq!(again, Some(question.clone()));
        answers.push(answer(&question, "ada", answers.len()));
    }
    let of_ada = queue.answered(&answers).done;
    assert!((5..40).contains(&of_ada), "{of_ada} of 40 are hers");
    while let Some(question) = queue.next_of_others("ada", &answers).unwrap() {
        assert!(queue.candidate(question.candidate).is_some());
        answers.push(answer(&question, "ada", answers.len()));
    }
    assert_eq!(queue.answered(&answers), Progress { done: 40, all: 40 });
    let absent = waiting(99, 0.0).candidate.id();
    assert_eq!((queue.question_about(absent, "ada", 0), queue.candidate(absent)), (None, None));
    assert!(queue.next_of_others("eve", &answers).is_err());
}
