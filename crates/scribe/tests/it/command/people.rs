//! A round with people: they rank on the page, the server is killed, and they compare for the gate.

use std::fs;
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::Path;
use std::process::{Child, Stdio};

use artifacts::disk::RealDisk;
use comparisons::store::Snapshot;
use serde_json::{Value, json};

use super::Ran;
use super::rounds::{PEOPLE, json, rounds, taught};
use super::run::Run;
use super::story::{CONVERSATIONS, RECIPE};

/// `scribe serve --run`, killed with this value.
struct Server {
    child: Child,
    url: String,
}

impl Server {
    fn start(story: &Run) -> Self {
        let arguments = ["serve", "--json", "--run", "run", "--address", "127.0.0.1:0"];
        let mut child = story.scribe.command(&arguments).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let ready: Value = serde_json::from_str(&line).unwrap();
        assert_eq!(ready["ranks"], true);
        Self { child, url: ready["url"].as_str().unwrap().to_owned() }
    }

    fn post(&self, path: &str, body: &Value) -> Value {
        let agent = ureq::Agent::new_with_config(
            ureq::Agent::config_builder().http_status_as_error(false).proxy(None).build(),
        );
        let sent = agent.post(format!("{}/label/{path}", self.url)).send(body.to_string());
        let text = sent.unwrap().body_mut().read_to_string().unwrap();
        let answer: Value = serde_json::from_str(&text).unwrap();
        assert!(answer["error"].is_null(), "{answer}");
        answer
    }

    /// What is asked; `None` where nothing is left.
    fn next(&self, labeler: &str) -> Option<Value> {
        let asked = self.post("next", &json!({ "labeler": labeler }));
        asked["question"].is_object().then_some(asked)
    }

    /// Keeps an order of the texts as shown; gives its id.
    fn answer(&self, labeler: &str, asked: &Value, order: &[usize]) -> String {
        let groups: Vec<[usize; 1]> = order.iter().map(|&place| [place]).collect();
        let question = &asked["question"];
        let kept = self.post(
            "answer",
            &json!({
                "labeler": labeler, "task": asked["task"], "candidate": question["candidate"],
                "times": question["times"], "groups": groups,
            }),
        );
        kept["id"].as_str().unwrap().to_owned()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // With SIGKILL: nothing is said any more.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Ids of what counts in a store.
fn kept(path: &Path) -> Vec<String> {
    let snapshot = Snapshot::open(RealDisk, path).unwrap();
    snapshot.answers().iter().map(|answer| answer.id.to_string()).collect()
}

/// The longest text first.
fn by_length(asked: &Value) -> Vec<usize> {
    let texts = asked["question"]["texts"].as_array().unwrap();
    let mut order: Vec<usize> = (0..texts.len()).collect();
    order.sort_by_key(|&place| std::cmp::Reverse(texts[place].as_str().unwrap().len()));
    order
}

/// The new model's text first.
fn new_first(asked: &Value, folder: &Path) -> [usize; 2] {
    let candidate = asked["question"]["candidate"].as_str().unwrap();
    let drawn = json(folder.join("pairs.json"));
    let new = usize::try_from(drawn["asked"][candidate]["new"].as_u64().unwrap()).unwrap();
    let lines = fs::read_to_string(folder.join("pairs.candidates.jsonl")).unwrap();
    let candidates = lines.lines().map(|line| serde_json::from_str(line).unwrap());
    let of_id = |found: &comparisons::Candidate| found.id().to_string() == candidate;
    let found: comparisons::Candidate = candidates.into_iter().find(of_id).unwrap();
    let text = found.completions()[new].text.as_str();
    if asked["question"]["texts"][0] == text { [0, 1] } else { [1, 0] }
}

#[test]
fn people_rank_on_the_page_and_decide_at_the_gate() {
    let people = PEOPLE
        .replace("labeler = \"synthetic\"\nnoise = 0.3", "labeler = \"people\"")
        .replace("gate_pairs = 60", "gate_pairs = 40");
    let story = taught(&format!("{RECIPE}{CONVERSATIONS}{people}"));
    let stopped = |told: &str| {
        let ran = Ran::from(rounds(&story, "1").output().unwrap());
        assert!(ran.code == 130 && ran.err.contains(told), "{told}: {}", ran.err);
    };
    stopped("\n0 of ");

    // Ranked by two, on a server that is killed on the way.
    let store = story.folder().join("5-comparisons/round-1.jsonl");
    let mut acknowledged = Vec::new();
    for _ in 0..2 {
        let server = Server::start(&story);
        for (number, labeler) in ["ada", "bob"].into_iter().cycle().take(12).enumerate() {
            let Some(asked) = server.next(labeler) else { continue };
            acknowledged.push(server.answer(labeler, &asked, &by_length(&asked)));
            assert_eq!(kept(&store).len(), acknowledged.len(), "answer {number}");
        }
        drop(server);
        assert_eq!(kept(&store), acknowledged, "what was acknowledged is there");
    }
    stopped(" prompts ranked; open /label with: scribe serve --run run\n");
    let server = Server::start(&story);
    while let Some(asked) = server.next("ada") {
        server.answer("ada", &asked, &by_length(&asked));
    }

    // The policy learns, and its pairs wait.
    stopped("of at most 40 pairs compared; open /label with: scribe serve --run run\n");
    let folder = story.folder().join("7-ppo/round-1");
    let before = fs::read(folder.join("pairs.candidates.jsonl")).unwrap();
    // What the policy learned from may be revised; it goes on all the same.
    let revised = json!({
        "labeler": "ada", "task": "ranking-1", "id": acknowledged[0], "skip": true,
    });
    server.post("revise", &revised);
    for _ in 0..3 {
        let asked = server.next("ada").unwrap();
        assert_eq!(asked["task"], "pairs-1");
        server.answer("ada", &asked, &new_first(&asked, &folder));
    }
    stopped(" of at most 40 pairs compared");
    assert!(before == fs::read(folder.join("pairs.candidates.jsonl")).unwrap());
    assert!(!folder.join("gate.json").exists());

    // A pair in the terminal, skipped; then the page until it is decided.
    let arguments = ["compare", "rank", "--gate", "--as", "cleo", "--run", "run"];
    let mut rank = story.scribe.command(&arguments).stdin(Stdio::piped()).spawn().unwrap();
    rank.stdin.take().unwrap().write_all(b"s\n").unwrap();
    let ran = Ran::from(rank.wait_with_output().unwrap());
    assert!(ran.code == 0 && ran.out.contains("skipped"), "{ran:?}");
    for _ in 0..20 {
        let Some(asked) = server.next("ada") else { break };
        server.answer("ada", &asked, &new_first(&asked, &folder));
    }
    let ran = Ran::from(rounds(&story, "1").output().unwrap());
    assert_eq!(ran.code, 0, "{}", ran.err);
    let gate = json(folder.join("gate.json"));
    let [wins, ties, losses] =
        ["wins", "ties", "losses"].map(|name| gate["pairs"][name].as_u64().unwrap());
    assert!(wins > 5 && ties >= 1 && losses == 0 && wins + ties < 40, "{gate}");
    assert!(gate["e_value"].as_f64().unwrap() >= 20.0 - 1e-9, "{gate}");
    assert!(server.next("ada").is_none_or(|asked| asked["task"] == "ranking-1"), "it is decided");
}
