//! The server as a process: the address it prints, the key, ports in use, and the end.

use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::net::TcpListener;
use std::process::{Child, Command};

use serde_json::Value;

use super::{Ran, Scribe, tiny_chat};

/// A server that is stopped with this value.
pub(super) struct Server(Child);

impl Drop for Server {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

pub(super) fn start(command: &mut Command) -> (Server, Value) {
    let mut child = command.spawn().unwrap();
    let mut line = String::new();
    BufReader::new(child.stdout.as_mut().unwrap()).read_line(&mut line).unwrap();
    let server = Server(child);
    (server, serde_json::from_str(&line).unwrap())
}

fn status(url: &str, key: Option<&str>) -> u16 {
    ask(url, key).status().as_u16()
}

fn ask(url: &str, key: Option<&str>) -> ureq::http::Response<ureq::Body> {
    let agent = ureq::Agent::new_with_config(
        ureq::Agent::config_builder().http_status_as_error(false).proxy(None).build(),
    );
    let mut request = agent.get(url);
    if let Some(key) = key {
        request = request.header("authorization", format!("Bearer {key}"));
    }
    request.call().unwrap()
}

#[test]
fn it_prints_its_address_answers_and_ends_on_a_signal() {
    let scribe = Scribe::new();
    let arguments = ["serve", "--json", "-m", &tiny_chat(), "--address", "127.0.0.1:0"];
    let (mut server, ready) = start(&mut scribe.command(&arguments));
    let url = ready["url"].as_str().unwrap();
    assert_eq!(ready["model"], "tiny-chat");
    assert_eq!(status(&format!("{url}/health"), None), 200);
    assert_eq!(status(&format!("{url}/v1/models"), None), 200);
    // The same port again: a clear error, before any model is looked for.
    let address = url.strip_prefix("http://").unwrap();
    let ran = scribe.run(&["serve", "-m", "absent.gguf", "--address", address]);
    assert_eq!(ran.code, 1);
    assert!(ran.err.starts_with(&format!("error: cannot listen on {address}\n")), "{}", ran.err);
    assert!(
        ran.err.contains("hint: stop what listens there, or choose another port"),
        "{}",
        ran.err
    );
    let id = server.0.id().to_string();
    assert!(Command::new("kill").args(["-TERM", &id]).status().unwrap().success());
    assert_eq!(server.0.wait().unwrap().code(), Some(0));
}

#[test]
fn a_key_is_asked_for_where_one_is_set_and_needed_beyond_this_machine() {
    let scribe = Scribe::new();
    let key = "sk-0123456789abcdef";
    let arguments = ["serve", "--json", "-m", &tiny_chat(), "--address", "127.0.0.1:0"];
    let (server, ready) = start(scribe.command(&arguments).env("SCRIBE_API_KEY", key));
    let models = format!("{}/v1/models", ready["url"].as_str().unwrap());
    assert_eq!(ready["key_required"], true);
    assert_eq!((status(&models, None), status(&models, Some(key))), (401, 200));
    drop(server);
    let ran = scribe.run(&["serve", "--address", "0.0.0.0:0"]);
    assert_eq!(ran.code, 2);
    assert!(
        ran.err.contains("hint: set a key with --api-key-file FILE or SCRIBE_API_KEY"),
        "{}",
        ran.err
    );
    let mut short = scribe.command(&arguments);
    assert_eq!(short.env("SCRIBE_API_KEY", "short").output().unwrap().status.code(), Some(2));
}

#[test]
fn every_request_is_in_the_log_when_it_is_asked_for_and_no_key_is() {
    let key = "sk-0123456789abcdef";
    for (option, logged) in [("-v", true), ("-q", false)] {
        let scribe = Scribe::new();
        let model = tiny_chat();
        let arguments = ["serve", option, "--json", "-m", &model, "--address", "127.0.0.1:0"];
        let mut command = scribe.command(&arguments);
        let log = scribe.folder().join("log");
        command.env("SCRIBE_API_KEY", key).stderr(fs::File::create(&log).unwrap());
        let (server, ready) = start(&mut command);
        let url = format!("{}/v1/models?key={key}", ready["url"].as_str().unwrap());
        let answer = ask(&url, Some(key));
        let id = answer.headers()["x-request-id"].to_str().unwrap();
        assert_eq!(answer.status(), 200);
        assert_eq!(status(&url, Some("sk-another-key-000")), 401);
        drop(server);
        let log = fs::read_to_string(log).unwrap();
        assert_eq!(log.contains(id), logged, "{log}");
        assert_eq!(log.contains("status=401"), logged, "{log}");
        assert!(!log.contains("0123456789") && !log.contains("sk-another"), "{log}");
    }
}

#[test]
fn without_a_command_it_serves() {
    let scribe = Scribe::new();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let mut command = scribe.command(&[]);
    let mut child = command.env("SCRIBE_ADDRESS", &address).spawn().unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(1));
    let mut err = String::new();
    child.stderr.take().unwrap().read_to_string(&mut err).unwrap();
    assert!(err.contains(&format!("cannot listen on {address}")), "{err}");
}

#[test]
fn without_a_command_it_takes_the_options_of_serve() {
    let scribe = Scribe::new();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    for arguments in [["--open", "--address", &address], ["-mabsent.gguf", "--address", &address]] {
        let ran = scribe.run(&arguments);
        assert_eq!(ran.code, 1, "{}", ran.err);
        assert!(ran.err.contains(&format!("cannot listen on {address}")), "{}", ran.err);
    }
    let ran = scribe.run(&["--opne"]);
    assert_eq!(ran.code, 2);
    assert!(ran.err.contains("a similar argument exists: '--open'"), "{}", ran.err);
    let ran = scribe.run(&["models", "list", "--open"]);
    assert_eq!(ran.code, 2);
    assert!(ran.err.contains("Usage: scribe models list"), "{}", ran.err);
}

#[test]
fn a_key_that_is_no_text_is_refused() {
    use std::os::unix::ffi::OsStrExt as _;
    let scribe = Scribe::new();
    let mut command = scribe.command(&["serve", "-m", "absent.gguf", "--address", "127.0.0.1:0"]);
    command.env("SCRIBE_API_KEY", std::ffi::OsStr::from_bytes(b"0123456789abcdef\xff"));
    let ran = Ran::from(command.output().unwrap());
    assert_eq!(ran.code, 2);
    assert!(ran.err.contains("the key in SCRIBE_API_KEY is no valid text"), "{}", ran.err);
}

#[test]
fn the_doctor_takes_the_addresses_that_serve_takes() {
    let scribe = Scribe::new();
    let mut command = scribe.command(&["doctor", "--quick"]);
    let ran = Ran::from(command.env("SCRIBE_ADDRESS", "localhost:0").output().unwrap());
    assert!(ran.out.contains("127.0.0.1:0 is free"), "{ran:?}");
}
