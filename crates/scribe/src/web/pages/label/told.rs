//! What the page is told: questions without origins, where everybody stands, and problems.

use comparisons::queue::{Progress, Question};
use comparisons::{Error, Prompt, Refusal};
use serde_json::{Value, json};

use crate::labeling::{Own, Problem, Standing};
use crate::web::error::ApiError;

/// Most names that are shown, those with the most answers first.
const PEOPLE_MAX: usize = 20;

/// A question; nothing of it tells where a text came from.
pub(super) fn question(question: &Question) -> Value {
    json!({
        "candidate": question.candidate,
        "times": question.times,
        "prompt": prompt(&question.prompt),
        "texts": question.texts,
    })
}

fn prompt(prompt: &Prompt) -> Value {
    match prompt {
        Prompt::Text(text) => json!([{ "role": "user", "text": text }]),
        Prompt::Messages(messages) => {
            let message =
                |m: &comparisons::Message| json!({ "role": m.role.name(), "text": m.text });
            messages.iter().map(message).collect()
        }
    }
}

/// An answer of the labeler's own.
pub(super) fn own(own: &Own) -> Value {
    let mut told = question(&own.question);
    told["id"] = json!(own.id);
    told["groups"] = own.said.ranking.as_ref().map_or(Value::Null, |r| json!(r.groups()));
    told["reason"] = json!(own.said.reason);
    told
}

/// Where everybody stands.
pub(super) fn standing(standing: &Standing) -> Value {
    let progress = |Progress { done, all }: Progress| json!({ "done": done, "all": all });
    let mut people: Vec<(&String, &usize)> = standing.people.iter().collect();
    people.sort_by_key(|(_, answers)| std::cmp::Reverse(**answers));
    let person = |(name, answers): &(&String, &usize)| json!({ "name": name, "answers": answers });
    let tau =
        |tau: Option<(usize, f64)>| tau.map(|(over, mean)| json!({ "over": over, "tau": mean }));
    json!({
        "own": progress(standing.own),
        "together": progress(standing.together),
        "people": people.iter().take(PEOPLE_MAX).map(person).collect::<Value>(),
        "shared": standing.agreement.shared_candidates,
        "alpha": standing.agreement.alpha_ordinal,
        "tau": tau(standing.tau()),
        "repeats": tau(standing.tau_of_repeats()),
    })
}

/// A problem as every client reads it.
pub(super) fn problem(problem: &Problem) -> ApiError {
    let message = sentence(problem);
    match problem {
        Problem::NothingAsked => ApiError::nothing_to_rank(message),
        Problem::UnknownCandidate => ApiError::unknown_answer(message),
        Problem::AnsweredBefore { .. } => ApiError::answered_before(message),
        Problem::TooManyLabelers => ApiError::invalid("labeler", message),
        Problem::Refused(refusal) => ApiError::invalid(field_of(refusal), message),
        Problem::Store(error) => match error {
            Error::Locked { .. } => ApiError::store_busy(
                "Another program is writing the comparisons. Nothing of your answer was kept yet: \
                 send it again when that program has ended.",
            ),
            Error::OtherJudgment { .. } => ApiError::others_answer(message),
            Error::UnknownRow { .. } | Error::Deleted { .. } => ApiError::unknown_answer(message),
            Error::RowTooLong { .. } | Error::TooManyRevisions { .. } => {
                ApiError::invalid("reason", message)
            }
            _ => not_kept(problem),
        },
        Problem::CannotRead { .. } | Problem::NoCandidate { .. } | Problem::TooLarge { .. } => {
            not_kept(problem)
        }
    }
}

/// Something is wrong with the files: whoever runs the server reads what.
fn not_kept(problem: &Problem) -> ApiError {
    tracing::error!(error = %problem, "comparisons cannot be read or written");
    ApiError::internal()
}

fn field_of(refusal: &Refusal) -> &'static str {
    match refusal {
        Refusal::NoLabeler | Refusal::UnfitLabeler { .. } | Refusal::UnknownLabeler { .. } => {
            "labeler"
        }
        _ => "groups",
    }
}

/// A message of a library as a sentence of its own.
fn sentence(problem: &Problem) -> String {
    let text = problem.to_string();
    let mut letters = text.chars();
    let first = letters.next().map(|first| first.to_uppercase().to_string()).unwrap_or_default();
    format!("{first}{}.", letters.as_str())
}
