//! What is promoted while a server runs is served by it, and no request notices the change.

use std::fs;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::Ran;
use super::rounds::{PEOPLE, json as read_json, rounds, taught};
use super::run::Run;
use super::serve::start;
use super::story::{CONVERSATIONS, RECIPE};

/// Longest wait for a server that has a second to notice.
const PATIENCE: Duration = Duration::from_secs(60);

/// A run whose first round ended with a promotion that has not been written yet, as after a crash
/// between the two.
fn before_promotion() -> Run {
    let story = taught(&format!("{RECIPE}{CONVERSATIONS}{PEOPLE}"));
    let ran = Ran::from(rounds(&story, "1").output().unwrap());
    assert_eq!(ran.code, 0, "{}", ran.err);
    let path = story.folder().join("7-ppo/round-1/gate.json");
    let mut gate = read_json(path.clone());
    gate["judgment"] = json!({ "decision": "promote", "reasons": [] });
    fs::write(path, gate.to_string()).unwrap();
    let _ = fs::remove_dir_all(story.folder().join("8-serving"));
    story
}

fn agent() -> ureq::Agent {
    let config = ureq::Agent::config_builder().http_status_as_error(false).proxy(None);
    ureq::Agent::new_with_config(config.build())
}

fn get(url: &str) -> Value {
    let mut response = agent().get(url).call().unwrap();
    serde_json::from_str(&response.body_mut().read_to_string().unwrap()).unwrap()
}

/// The fingerprint of the model that new requests are answered by.
fn served(url: &str) -> String {
    let models = get(&format!("{url}/v1/models"));
    models["data"][0]["system_fingerprint"].as_str().unwrap().to_owned()
}

/// Waits until something is so.
#[track_caller]
fn wait_until(what: &str, is_so: impl Fn() -> bool) {
    let begun = Instant::now();
    while !is_so() {
        assert!(begun.elapsed() < PATIENCE, "{what} did not come");
        thread::sleep(Duration::from_millis(20));
    }
}

/// The text of a stream, and the fingerprint that all of its parts have.
fn stream(url: &str, seed: usize) -> (String, String) {
    let body = json!({
        "messages": [{ "role": "user", "content": "Who are you?" }],
        "max_tokens": 40, "seed": seed, "stream": true,
    });
    let request = agent().post(&format!("{url}/v1/chat/completions"));
    let mut response =
        request.header("content-type", "application/json").send(body.to_string()).unwrap();
    let text = response.body_mut().read_to_string().unwrap();
    assert_eq!(response.status(), 200, "{text}");
    assert!(text.ends_with("data: [DONE]\n\n"), "{text}");
    let parts = text.split("\n\n").filter_map(|part| part.strip_prefix("data: {"));
    let parts: Vec<Value> =
        parts.map(|part| serde_json::from_str(&format!("{{{part}")).unwrap()).collect();
    let fingerprint = parts[0]["system_fingerprint"].as_str().unwrap();
    assert!(parts.iter().all(|part| part["system_fingerprint"] == fingerprint), "{text}");
    let contents = parts.iter().filter_map(|part| part["choices"][0]["delta"]["content"].as_str());
    (contents.collect(), fingerprint.to_owned())
}

/// Streams of one seed, one after the other, until they are told to stop.
fn keep_asking(url: &str, seed: usize, stop: &AtomicBool) -> Vec<(String, String)> {
    let mut told = Vec::new();
    while !stop.load(Ordering::SeqCst) {
        told.push(stream(url, seed));
    }
    told
}

#[test]
fn a_promotion_is_taken_up_and_no_stream_notices() {
    let story = before_promotion();
    let arguments = ["serve", "--run", "run", "--json", "--address", "127.0.0.1:0"];
    let (_server, ready) = start(&mut story.scribe.command(&arguments));
    let url = ready["url"].as_str().unwrap();
    let old = served(url);
    let stop = AtomicBool::new(false);
    let told = thread::scope(|scope| {
        let asking: Vec<_> = (0..4)
            .map(|seed| {
                scope.spawn({
                    let stop = &stop;
                    move || keep_asking(url, seed, stop)
                })
            })
            .collect();
        let ran = Ran::from(rounds(&story, "1").output().unwrap());
        assert!(ran.code == 0 && ran.out.contains("promoted"), "{}", ran.out);
        wait_until("the promoted model", || served(url) != old);
        thread::sleep(Duration::from_millis(300));
        stop.store(true, Ordering::SeqCst);
        asking.into_iter().map(|asking| asking.join().unwrap()).collect::<Vec<_>>()
    });
    let new = served(url);
    let mut texts = Vec::new();
    for (seed, told) in told.iter().enumerate() {
        for model in [&old, &new] {
            let by_it: Vec<&str> = told
                .iter()
                .filter_map(|(text, by)| (by == model).then_some(text.as_str()))
                .collect();
            let Some(first) = by_it.first() else { panic!("seed {seed} was not asked by {model}") };
            assert!(by_it.iter().all(|text| text == first), "seed {seed}: {by_it:?}");
            texts.push((*first).to_owned());
        }
        assert!(told.iter().all(|(_, by)| *by == old || *by == new));
    }
    assert!(texts.chunks(2).any(|texts| texts[0] != texts[1]), "the models write alike: {texts:?}");
    // Taken back: the same server goes on with the model before, and with its bytes.
    let ran = Ran::from(rounds(&story, "1").arg("--rollback").output().unwrap());
    assert_eq!(ran.code, 0, "{}", ran.err);
    wait_until("the old model", || served(url) == old);
    assert_eq!(stream(url, 0), (texts[0].clone(), old));
}

#[test]
fn a_model_that_cannot_be_read_leaves_the_old_one_in_its_place() {
    let story = before_promotion();
    let weights = story.folder().join("7-ppo/round-1/checkpoints/step-00000006/model.safetensors");
    let whole = fs::read(&weights).unwrap();
    let mut damaged = whole.clone();
    *damaged.last_mut().unwrap() ^= 1;
    fs::write(&weights, damaged).unwrap();
    let log = story.scribe.folder().join("log");
    let arguments = ["serve", "--run", "run", "--json", "--address", "127.0.0.1:0"];
    let mut command = story.scribe.command(&arguments);
    let (_server, ready) = start(command.stderr(fs::File::create(&log).unwrap()));
    let url = ready["url"].as_str().unwrap();
    let before = (served(url), stream(url, 1));
    let serving = story.folder().join("8-serving/current.json");
    let promoted = r#"{"version":1,"promoted":[{"round":1,"checkpoint":"7-ppo/round-1/checkpoints/step-00000006"}]}"#;
    fs::create_dir_all(serving.parent().unwrap()).unwrap();
    fs::write(&serving, promoted).unwrap();
    let outdated = json!({ "status": "ok", "model": "outdated" });
    wait_until("what health says", || get(&format!("{url}/health")) == outdated);
    assert_eq!((served(url), stream(url, 1)), before);
    let told = fs::read_to_string(&log).unwrap();
    assert!(
        told.contains("the old model is served on") && told.contains("model.safetensors"),
        "{told}"
    );
    // Mended, and named again.
    fs::write(&weights, whole).unwrap();
    fs::write(&serving, format!("{promoted}\n")).unwrap();
    wait_until("the promoted model", || served(url) != before.0);
    assert_eq!(get(&format!("{url}/health")), json!({ "status": "ok" }));
}
