//! OASST's conversation trees: a prompt with replies, those of one message ranked by `rank`.
//!
//! Each message that has two or more ranked replies of the assistant is a comparison; its prompt is
//! the way down to it. Rank 0 is best, equal ranks are ties, no rank is unranked.
//!
//! Source: Köpf et al. 2023, arXiv:2304.07327; the trees of `OpenAssistant/oasst1`.

use serde_json::{Map, Value, json};

use super::column::{Names, completion_text, message};
use super::{BadRow, Found, Judged, Unsaid};
use crate::{Candidate, Comparison, Judgment, Message, Prompt, Ranking, Role};

const NAMES: Names = Names { role: "role", content: "text" };

pub(super) fn read(row: &Map<String, Value>, found: &mut Found<'_>) -> Result<(), BadRow> {
    let root = row.get("prompt").ok_or(BadRow::Column { column: "prompt", expected: "a tree" })?;
    let before = found.judged.len() + found.bad.len();
    visit(root, &mut Vec::new(), found)?;
    match found.judged.len() + found.bad.len() > before {
        true => Ok(()),
        false => Err(BadRow::NotJudged),
    }
}

/// The tree that says a comparison.
pub(super) fn write(comparison: &Comparison, ranking: &Ranking) -> Result<Vec<Value>, Unsaid> {
    let prompt = comparison.candidate().prompt().messages().ok_or(Unsaid::PlainPrompt)?;
    if prompt.iter().any(|message| message.role == Role::System) {
        return Err(Unsaid::SystemMessage);
    }
    let last = ranking.groups().len();
    let rank = |number: usize| {
        let below = ranking.below().contains(&number).then_some(last);
        ranking.place(number).or(below)
    };
    let completions = comparison.candidate().completions().iter().enumerate();
    let replies = completions.map(|(number, completion)| {
        let message = Message::new(Role::Assistant, completion.text.as_str());
        let mut node = node(&message, Vec::new());
        node["rank"] = json!(rank(number));
        node
    });
    let mut replies: Vec<Value> = replies.collect();
    for message in prompt.iter().rev() {
        replies = vec![node(message, replies)];
    }
    Ok(vec![json!({ "prompt": replies.pop() })])
}

/// Goes down a tree, the way to a message in hand. The reader of JSON bounds the depth.
fn visit(node: &Value, way: &mut Vec<Message>, found: &mut Found<'_>) -> Result<(), BadRow> {
    way.push(message(node, NAMES)?);
    let replies = node.get("replies").and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
    let is_there = |reply: &&Value| reply.get("deleted").and_then(Value::as_bool) != Some(true);
    let replies: Vec<&Value> = replies.iter().filter(is_there).collect();
    // What people ask next is ranked there, too; that compares no completions.
    let is_answer =
        |reply: &&Value| reply.get("role").and_then(Value::as_str) == Some(Role::Assistant.name());
    let answers: Vec<&Value> = replies.iter().copied().filter(is_answer).collect();
    match compare(&answers, way, found) {
        Ok(Some(comparison)) => found.judged.push(Judged::Comparison(comparison)),
        Ok(None) => (),
        Err(reason) => found.bad.push(reason),
    }
    replies.iter().try_for_each(|reply| visit(reply, way, found))?;
    way.pop();
    Ok(())
}

/// The comparison of the replies to a message, where two or more are ranked.
fn compare(
    replies: &[&Value],
    way: &[Message],
    found: &Found<'_>,
) -> Result<Option<Comparison>, BadRow> {
    let places: Vec<Option<u64>> =
        replies.iter().map(|reply| reply.get("rank").and_then(Value::as_u64)).collect();
    if places.iter().flatten().count() < 2 {
        return Ok(None);
    }
    let completion =
        |reply: &&Value| Ok(found.completion(completion_text(&message(reply, NAMES)?)?));
    let completions = replies.iter().map(completion).collect::<Result<_, BadRow>>()?;
    let candidate = Candidate::new(Prompt::Messages(way.to_vec()), completions)?;
    let ranking = Ranking::from_places(&places)?;
    let judgment = Judgment::ranked(found.options.labeler, ranking, found.options.time_ms);
    Ok(Some(Comparison::new(candidate, judgment)?))
}

fn node(message: &Message, replies: Vec<Value>) -> Value {
    let role = if message.role == Role::User { "prompter" } else { message.role.name() };
    json!({ "role": role, "text": message.text, "replies": replies })
}
