//! What open-webui exports: feedback with a snapshot of the chat, or chats with annotations.
//!
//! A feedback has `data` (`rating`, `reason`, `comment`), `meta` (`message_id`) and `snapshot`; a
//! chat has messages, some with an `annotation` of `rating`, `reason` and `comment`. Either way a
//! rating of 1 or -1 is a thumb on one completion; a thumb alone is no comparison.
//!
//! Messages are a map by `id` with `parentId`, or a list in order.
//!
//! Source: `models/feedbacks.py` and the exports of chats of `open-webui/open-webui`.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use super::column::{ROLE_AND_CONTENT, completion_text, message};
use super::{BadRow, Found, Judged, Unsaid};
use crate::feedback::Thumb;
use crate::{Comparison, MESSAGES_MAX, Message, Prompt, Role};

/// Whether a row is a feedback or a chat.
pub(super) fn fits(row: &Map<String, Value>) -> bool {
    chat(row).is_some()
}

pub(super) fn read(row: &Map<String, Value>, found: &mut Found<'_>) -> Result<(), BadRow> {
    let chat = chat(row).ok_or(BadRow::Column { column: "chat", expected: "a chat" })?;
    let messages = Messages::of(chat)?;
    let labeler = row.get("user_id").and_then(Value::as_str).unwrap_or(found.options.labeler);
    let before = found.judged.len() + found.bad.len();
    let judged = match row.get("data") {
        // A snapshot holds annotations of other messages, which are feedback of their own.
        Some(data) => vec![(field(row.get("meta"), "message_id").as_str().unwrap_or(""), data)],
        None => messages.annotated(),
    };
    for (id, annotation) in judged {
        match thumb(&messages, id, annotation, labeler, found) {
            Ok(Some(thumb)) => found.judged.push(Judged::Thumb(thumb)),
            Ok(None) => (),
            Err(reason) => found.bad.push(reason),
        }
    }
    match found.judged.len() + found.bad.len() > before {
        true => Ok(()),
        false => Err(BadRow::NotJudged),
    }
}

/// The chat with one thumb up and one down that says a pair.
pub(super) fn write(comparison: &Comparison) -> Result<Vec<Value>, Unsaid> {
    let prompt = comparison.candidate().prompt().messages().ok_or(Unsaid::PlainPrompt)?;
    let mut pairs = comparison.pairs();
    let (Some(pair), None) = (pairs.next(), pairs.next()) else { return Err(Unsaid::OtherCount) };
    let judgment = comparison.judgment();
    let annotation = |rating: i8| {
        let comment = judgment.reason.as_deref().filter(|_| rating > 0);
        json!({ "rating": rating, "comment": comment })
    };
    let mut messages = Map::new();
    let mut parent = None;
    for (message, number) in prompt.iter().zip(0..) {
        let id = format!("m{number}");
        messages.insert(id.clone(), node(message, &id, parent.as_deref()));
        parent = Some(id);
    }
    for (text, id, rating) in [(pair.chosen, "up", 1), (pair.rejected, "down", -1)] {
        let mut node = node(&Message::new(Role::Assistant, text), id, parent.as_deref());
        node["annotation"] = annotation(rating);
        node["timestamp"] = json!(judgment.time_ms / 1_000);
        messages.insert(id.to_owned(), node);
    }
    let chat = json!({ "history": { "messages": messages, "currentId": "up" } });
    Ok(vec![json!({ "user_id": judgment.labeler, "chat": chat })])
}

/// The messages of a chat, by id.
struct Messages<'a> {
    by_id: BTreeMap<&'a str, Node<'a>>,
}

struct Node<'a> {
    value: &'a Value,
    parent: Option<&'a str>,
}

impl<'a> Messages<'a> {
    fn of(chat: &'a Value) -> Result<Self, BadRow> {
        let mut by_id = BTreeMap::new();
        if let Some(map) = field(chat.get("history"), "messages").as_object() {
            for (id, value) in map {
                let parent = field(Some(value), "parentId").as_str();
                by_id.insert(id.as_str(), Node { value, parent });
            }
            return Ok(Self { by_id });
        }
        let list = chat.get("messages").and_then(Value::as_array);
        let list =
            list.ok_or(BadRow::Column { column: "messages", expected: "a list or a map" })?;
        let mut parent = None;
        for value in list {
            let id = field(Some(value), "id").as_str();
            let id = id.ok_or(BadRow::Column { column: "id", expected: "a text" })?;
            by_id.insert(id, Node { value, parent: parent.replace(id) });
        }
        Ok(Self { by_id })
    }

    fn annotated(&self) -> Vec<(&'a str, &'a Value)> {
        let annotation = |(id, node): (&&'a str, &Node<'a>)| {
            Some((*id, node.value.get("annotation").filter(|value| value.is_object())?))
        };
        self.by_id.iter().filter_map(annotation).collect()
    }

    /// The messages on the way to one, and itself. A way that goes round ends at the limit.
    fn way(&self, id: &str) -> Result<Vec<Message>, BadRow> {
        let mut way = Vec::new();
        let mut next = Some(id);
        while let Some(id) = next.filter(|_| way.len() <= MESSAGES_MAX + 1) {
            let expected = "the id of a message of the chat";
            let node = self.by_id.get(id).ok_or(BadRow::Column { column: "id", expected })?;
            way.push(message(node.value, ROLE_AND_CONTENT)?);
            next = node.parent;
        }
        way.reverse();
        Ok(way)
    }
}

fn chat(row: &Map<String, Value>) -> Option<&Value> {
    let snapshot = field(row.get("snapshot"), "chat").get("chat");
    let chat = snapshot.or_else(|| row.get("chat"))?;
    let is_chat = chat.get("history").is_some() || chat.get("messages").is_some();
    is_chat.then_some(chat)
}

/// The thumb on a message; `None` where the rating is neither 1 nor -1.
fn thumb(
    messages: &Messages<'_>,
    id: &str,
    annotation: &Value,
    labeler: &str,
    found: &Found<'_>,
) -> Result<Option<Thumb>, BadRow> {
    let rating = annotation.get("rating");
    let number = rating.and_then(Value::as_i64);
    let is_up = match number.or_else(|| rating?.as_str()?.parse().ok()) {
        Some(1) => true,
        Some(-1) => false,
        _ => return Ok(None),
    };
    let mut way = messages.way(id)?;
    let completion = way.pop().ok_or(BadRow::NoCompletion)?;
    let said = ["reason", "comment"].map(|name| field(Some(annotation), name).as_str());
    let said: Vec<&str> = said.into_iter().flatten().filter(|text| !text.is_empty()).collect();
    let node = messages.by_id.get(id).map(|node| node.value);
    let seconds = field(node, "timestamp").as_u64().unwrap_or(0);
    Ok(Some(Thumb {
        prompt: Prompt::Messages(way),
        completion: found.completion(completion_text(&completion)?),
        is_up,
        labeler: labeler.to_owned(),
        reason: (!said.is_empty()).then(|| said.join(": ")),
        time_ms: seconds.checked_mul(1_000).filter(|ms| *ms > 0).unwrap_or(found.options.time_ms),
    }))
}

fn node(message: &Message, id: &str, parent: Option<&str>) -> Value {
    json!({ "id": id, "parentId": parent, "role": message.role.name(), "content": message.text })
}

fn field<'a>(value: Option<&'a Value>, name: &str) -> &'a Value {
    value.and_then(|value| value.get(name)).unwrap_or(&Value::Null)
}
