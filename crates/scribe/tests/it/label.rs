//! `/label` over HTTP: rankings that are kept, sent twice, of somebody else, of nothing, too long.

use std::fs;
use std::path::{Path, PathBuf};

use axum::Router;
use axum::http::{Method, StatusCode};
use comparisons::store::{Snapshot, Store};
use serde_json::{Value, json};

use super::server::{Setup, app_of, get, post, request, send};

/// A run with answers to so many prompts, and a server for it.
struct Run {
    folder: tempfile::TempDir,
    app: Router,
}

impl Run {
    fn new(prompts: usize, answers: usize) -> Self {
        Self::with_key(prompts, answers, None)
    }

    fn with_key(prompts: usize, answers: usize, key: Option<&'static str>) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("5-comparisons/round-1.candidates.jsonl");
        write_candidates(&path, prompts, answers);
        let setup = Setup { key, run: Some(folder.path().to_owned()), ..Setup::default() };
        let app = app_of(&setup);
        Self { folder, app }
    }

    fn store(&self) -> PathBuf {
        self.folder.path().join("5-comparisons/round-1.jsonl")
    }

    /// How many answers count.
    fn kept(&self) -> usize {
        match self.store().exists() {
            true => {
                Snapshot::open(artifacts::disk::RealDisk, &self.store()).unwrap().answers().len()
            }
            false => 0,
        }
    }

    async fn next(&self, labeler: &str, held: &[&Value]) -> Value {
        let body = json!({ "labeler": labeler, "held": held });
        post(&self.app, "/label/next", &body).await.good()
    }

    async fn status(&self, path: &str, body: &Value) -> (StatusCode, Value) {
        let answer = post(&self.app, path, body).await;
        (answer.status, answer.json())
    }
}

/// As `scribe rounds` writes them.
fn write_candidates(path: &Path, prompts: usize, answers: usize) {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    let line = |number: usize| {
        let texts = (0..answers).map(|answer| {
            let origin = json!({ "imported": { "from": "secret" } });
            json!({ "text": format!("answer {answer}"), "origin": origin })
        });
        let user = json!([{ "role": "user", "text": format!("prompt {number}") }]);
        json!({ "prompt": user, "completions": texts.collect::<Vec<_>>() }).to_string()
    };
    fs::write(path, (0..prompts).map(|number| line(number) + "\n").collect::<String>()).unwrap();
}

/// The answer to what was asked, groups of the texts as shown.
fn answer(asked: &Value, labeler: &str, groups: Value) -> Value {
    let question = &asked["question"];
    json!({
        "labeler": labeler, "task": asked["task"], "candidate": question["candidate"],
        "times": question["times"], "groups": groups,
    })
}

#[tokio::test]
async fn a_ranking_is_kept_as_it_was_shown_and_a_double_post_once() {
    let run = Run::new(3, 4);
    let asked = run.next("ada", &[]).await;
    assert_eq!((&asked["task"], &asked["question"]["times"]), (&json!("ranking-1"), &json!(0)));
    assert!(!asked.to_string().contains("secret"), "nobody sees where an answer came from");
    assert_eq!(asked["standing"]["own"], json!({ "done": 0, "all": 3 }));
    let mut body = answer(&asked, "ada", json!([[2], [0, 3], [1]]));
    body["reason"] = json!(" clearer ");
    let first = post(&run.app, "/label/answer", &body).await.good();
    let again = post(&run.app, "/label/answer", &body).await.good();
    assert_eq!((&first["id"], run.kept()), (&again["id"], 1), "what is sent twice is one row");
    assert_eq!(first["standing"]["own"]["done"], 1);
    assert_eq!(first["standing"]["people"], json!([{ "name": "ada", "answers": 1 }]));
    // What is kept is of the candidate, what was said of the texts as shown.
    let texts = asked["question"]["texts"].as_array().unwrap();
    let snapshot = Snapshot::open(artifacts::disk::RealDisk, &run.store()).unwrap();
    let mut seen = 0;
    let read = snapshot.for_each(|_, comparison| {
        let best = comparison.judgment().ranking.as_ref().unwrap().groups()[0][0];
        assert_eq!(comparison.candidate().completions()[best].text, texts[2].as_str().unwrap());
        assert_eq!(comparison.judgment().reason.as_deref(), Some("clearer"));
        seen += 1;
        Ok::<(), comparisons::Error>(())
    });
    read.unwrap();
    assert_eq!(seen, 1);
    // Something else about the same question is no double.
    body["groups"] = json!([[0], [1], [2], [3]]);
    let (status, told) = run.status("/label/answer", &body).await;
    assert_eq!((status, &told["error"]["code"]), (StatusCode::CONFLICT, &json!("answered_before")));
    assert_eq!(run.kept(), 1);
}

#[tokio::test]
async fn the_next_question_is_asked_ahead_and_all_is_answered_once() {
    let run = Run::new(30, 3);
    let mut asked = run.next("ada", &[]).await;
    let mut answers = 0;
    while asked["question"].is_object() {
        let ahead = run.next("ada", &[&asked["question"]["candidate"]]).await;
        post(&run.app, "/label/answer", &answer(&asked, "ada", json!([[1], [0], [2]])))
            .await
            .good();
        let fresh = run.next("ada", &[]).await;
        assert_eq!(ahead["question"], fresh["question"], "what was fetched ahead is what comes");
        asked = fresh;
        answers += 1;
    }
    assert!((30..=40).contains(&answers), "30, and those that come back: {answers}");
    assert_eq!(asked["standing"]["together"], json!({ "done": 30, "all": 30 }));
    let own = &asked["standing"]["own"];
    assert_eq!(own["done"], own["all"]);
}

#[tokio::test]
async fn two_labelers_at_once_share_the_work_and_lose_nothing() {
    let run = Run::new(40, 2);
    run.next("bob", &[]).await;
    let work_off = |name: &'static str| {
        let run = &run;
        async move {
            let mut count = 0;
            loop {
                let asked = run.next(name, &[]).await;
                if asked["question"].is_null() {
                    return count;
                }
                let body = answer(&asked, name, json!([[0], [1]]));
                post(&run.app, "/label/answer", &body).await.good();
                count += 1;
            }
        }
    };
    let (ada, bob) = tokio::join!(work_off("ada"), work_off("bob"));
    assert_eq!(run.kept(), ada + bob);
    assert!(ada > 5 && bob > 5, "{ada} and {bob}");
    let standing = &run.next("ada", &[]).await["standing"];
    assert_eq!(standing["together"], json!({ "done": 40, "all": 40 }));
    assert!(standing["shared"].as_u64().unwrap() >= 1, "{standing}");
    assert!(standing["alpha"].is_f64() && standing["tau"]["tau"].is_f64(), "{standing}");
}

#[tokio::test]
async fn ones_own_answer_is_revised_and_nobody_elses() {
    let run = Run::new(2, 3);
    let asked = run.next("ada", &[]).await;
    let kept =
        post(&run.app, "/label/answer", &answer(&asked, "ada", json!([[0], [1], [2]]))).await;
    let id = kept.good()["id"].clone();
    let revise = |labeler: &str, groups: Value| json!({ "labeler": labeler, "task": "ranking-1", "id": id, "groups": groups });
    let (status, told) = run.status("/label/revise", &revise("eve", json!([[2], [1], [0]]))).await;
    assert_eq!((status, &told["error"]["code"]), (StatusCode::FORBIDDEN, &json!("others_answer")));
    let body = revise("ada", json!([[2], [0, 1]]));
    let first = post(&run.app, "/label/revise", &body).await.good();
    let again = post(&run.app, "/label/revise", &body).await.good();
    assert_eq!((&first["id"], run.kept()), (&again["id"], 1));
    let mine = post(&run.app, "/label/mine", &json!({ "labeler": "ada" })).await.good();
    assert_eq!(mine["answers"][0]["groups"], json!([[2], [0, 1]]));
    assert_eq!(mine["answers"][0]["texts"], asked["question"]["texts"], "in the order shown");
    let others = post(&run.app, "/label/mine", &json!({ "labeler": "eve" })).await.good();
    assert_eq!(others["answers"], json!([]));
}

#[tokio::test]
async fn what_cannot_be_is_refused_and_nothing_kept() {
    let run = Run::new(2, 3);
    let asked = run.next("ada", &[]).await;
    let good = answer(&asked, "ada", json!([[0], [1], [2]]));
    let with = |name: &str, value: Value| {
        let mut body = good.clone();
        body[name] = value;
        body
    };
    let long = "x".repeat(300);
    for (body, status, param) in [
        (with("labeler", json!("")), 400, "labeler"),
        (with("labeler", json!(long)), 400, ""),
        (with("labeler", json!("a\u{1b}[2J")), 400, "labeler"),
        (with("labeler", Value::Null), 400, "labeler"),
        (with("task", json!("gate-1")), 400, "task"),
        (with("task", json!("ranking-2")), 404, ""),
        (with("task", json!("../ranking-1")), 400, "task"),
        (with("candidate", json!("0".repeat(64))), 404, ""),
        (with("candidate", json!("zz")), 400, "candidate"),
        (with("times", json!(2)), 400, "times"),
        (with("times", json!(1)), 404, ""),
        (with("groups", json!([[0], [0], [1]])), 400, "groups"),
        (with("groups", json!([[0], [1]])), 400, "groups"),
        (with("groups", json!([[0], [1], [2], [3]])), 400, "groups"),
        (with("groups", json!([[0], [1], [7]])), 400, "groups"),
        (with("groups", json!([[0], [], [1, 2]])), 400, "groups"),
        (with("groups", json!([[0], [-1], [1.5]])), 400, "groups"),
        (with("groups", json!([vec![0; 1_000]])), 400, "groups"),
        (with("groups", json!("2>1")), 400, "groups"),
        (with("groups", Value::Null), 400, "groups"),
        (with("skip", json!(1)), 400, "skip"),
        (with("reason", json!("x".repeat(20_000))), 400, ""),
    ] {
        let (found, told) = run.status("/label/answer", &body).await;
        let shown = body.to_string();
        assert_eq!(found.as_u16(), status, "{shown:.200}: {told}");
        let message = told["error"]["message"].as_str().unwrap();
        assert!(message.ends_with('.'), "{message}");
        assert!(param.is_empty() || told["error"]["param"] == param, "{shown:.200}: {told}");
    }
    let huge = json!({ "labeler": "ada", "held": "x".repeat(3_000_000) });
    let answer = post(&run.app, "/label/next", &huge).await;
    assert_eq!(answer.status, StatusCode::PAYLOAD_TOO_LARGE);
    assert_eq!(run.kept(), 0, "what is refused leaves nothing");
    post(&run.app, "/label/answer", &good).await.good();
}

#[tokio::test]
async fn a_store_that_another_program_holds_is_said_and_kept_from_nothing() {
    let run = Run::new(2, 2);
    let asked = run.next("ada", &[]).await;
    let body = answer(&asked, "ada", json!([[1], [0]]));
    let (store, _) = Store::open(&run.store()).unwrap();
    let (status, told) = run.status("/label/answer", &body).await;
    assert_eq!((status.as_u16(), &told["error"]["code"]), (503, &json!("store_busy")));
    assert!(told["error"]["message"].as_str().unwrap().contains("send it again"), "{told}");
    drop(store);
    post(&run.app, "/label/answer", &body).await.good();
    assert_eq!(run.kept(), 1);
}

#[tokio::test]
async fn the_pairs_of_a_gate_are_asked_in_the_same_way_and_kept_apart() {
    let run = Run::new(1, 3);
    let pairs = run.folder.path().join("7-ppo/round-1");
    write_candidates(&pairs.join("pairs.candidates.jsonl"), 4, 2);
    let asked = run.next("ada", &[]).await;
    assert_eq!(asked["task"], "pairs-1");
    assert_eq!(asked["question"]["texts"].as_array().unwrap().len(), 2);
    post(&run.app, "/label/answer", &answer(&asked, "ada", json!([[1], [0]]))).await.good();
    assert!(pairs.join("pairs.jsonl").exists() && run.kept() == 0);
    fs::write(pairs.join("gate.json"), "{}").unwrap();
    assert_eq!(run.next("ada", &[]).await["task"], "ranking-1", "the gate has decided");
}

#[tokio::test]
async fn the_page_comes_with_its_policy_and_its_calls_need_the_key_and_no_foreign_page() {
    let run = Run::with_key(1, 2, Some("open sesame, please"));
    let page = get(&run.app, "/label").await;
    assert_eq!(page.status, StatusCode::OK);
    let policy = page.headers["content-security-policy"].to_str().unwrap();
    assert!(policy.contains("default-src 'none'") && policy.contains("connect-src 'self'"));
    for forbidden in ["onclick=", "style=", "javascript:", "http://", "https://", "prompt 0"] {
        assert!(!page.text.contains(forbidden), "{forbidden}");
    }
    let chosen = get(&run.app, "/label?lang=fr").await;
    assert_eq!(chosen.headers["location"], "/label");
    let body = json!({ "labeler": "ada" });
    assert_eq!(run.status("/label/next", &body).await.0, StatusCode::UNAUTHORIZED);
    let mut foreign = request(Method::POST, "/label/next", body.to_string());
    foreign.headers_mut().insert("sec-fetch-site", "cross-site".parse().unwrap());
    foreign.headers_mut().insert("x-api-key", "open sesame, please".parse().unwrap());
    assert_eq!(send(&run.app, foreign).await.status, StatusCode::FORBIDDEN);
}

#[tokio::test]
async fn a_server_without_a_run_says_how_to_start_one() {
    let app = app_of(&Setup::default());
    assert!(get(&app, "/label").await.text.contains("scribe serve --run"));
    let answer = post(&app, "/label/next", &json!({ "labeler": "ada" })).await;
    assert_eq!(
        (answer.status, answer.json()["error"]["code"].clone()),
        (StatusCode::NOT_FOUND, json!("nothing_to_rank"),)
    );
}
