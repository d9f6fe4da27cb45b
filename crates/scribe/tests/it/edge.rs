//! Real sockets: clients that leave, dawdle, flood or stall, and the end of the server.

use std::io::ErrorKind;
use std::net::SocketAddr;
use std::time::Duration;

use axum::http::StatusCode;
use scribe::web::AppState;
use serde_json::{Value, json};
use socket2::SockRef;
use tokio::net::TcpStream;

use crate::server::{Server, Setup, chat_body};

/// Longest time to wait for what must come; nothing depends on how soon it does.
const PATIENCE: Duration = Duration::from_secs(60);

/// The text of a request over a connection of its own.
fn post(address: SocketAddr, path: &str, body: &str) -> String {
    format!(
        "POST {path} HTTP/1.1\r\nhost: {address}\r\ncontent-type: application/json\r\n\
         content-length: {}\r\nconnection: close\r\n\r\n{body}",
        body.len()
    )
}

fn get(address: SocketAddr, path: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\n\r\n")
}

async fn connect(address: SocketAddr, text: &str) -> TcpStream {
    let stream = TcpStream::connect(address).await.unwrap();
    write(&stream, text).await;
    stream
}

async fn write(stream: &TcpStream, text: &str) {
    let mut left = text.as_bytes();
    while !left.is_empty() {
        stream.writable().await.unwrap();
        match stream.try_write(left) {
            Ok(written) => left = &left[written..],
            Err(error) => assert_eq!(error.kind(), ErrorKind::WouldBlock, "{error}"),
        }
    }
}

/// What comes next; nothing once the server has closed or cut the connection.
async fn read(stream: &TcpStream) -> Vec<u8> {
    let mut bytes = vec![0; 64 << 10];
    loop {
        let readable = tokio::time::timeout(PATIENCE, stream.readable()).await;
        readable.expect("the server answers or closes").unwrap();
        match stream.try_read(&mut bytes) {
            Ok(length) => {
                bytes.truncate(length);
                return bytes;
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => {}
            Err(_) => return Vec::new(),
        }
    }
}

/// All that comes until the server closes.
async fn rest(stream: TcpStream) -> String {
    let mut all = Vec::new();
    loop {
        let bytes = read(&stream).await;
        if bytes.is_empty() {
            return String::from_utf8_lossy(&all).into_owned();
        }
        all.extend(bytes);
    }
}

async fn ask(address: SocketAddr, text: &str) -> (StatusCode, String) {
    let answer = rest(connect(address, text).await).await;
    let status = answer.get(9..12).and_then(|status| status.parse().ok());
    let body = answer.split_once("\r\n\r\n").map_or("", |(_, body)| body).to_owned();
    (status.unwrap_or_else(|| panic!("no status in {answer:?}")), body)
}

/// Waits until the counters say `line`.
async fn wait_for(state: &AppState, line: &str) {
    let waiting = async {
        while !state.metrics().text(state).lines().any(|found| found == line) {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    if tokio::time::timeout(PATIENCE, waiting).await.is_err() {
        panic!("{line} never came in {}", state.metrics().text(state));
    }
}

/// A request that is worked on until somebody stops it: eight long answers one after the other.
fn long_request(more: Value) -> String {
    let mut body = chat_body(more);
    body["n"] = json!(8);
    body["max_tokens"] = json!(450);
    body.to_string()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_leaves_frees_the_slot() {
    for stream in [true, false] {
        for reset in [true, false] {
            let server = Server::start(&Setup { slots: 1, slow: true, ..Setup::default() }).await;
            let body = long_request(json!({ "stream": stream }));
            let text = post(server.address, "/v1/chat/completions", &body);
            let client = connect(server.address, &text).await;
            wait_for(&server.state, "scribe_batch_current_size 1").await;
            if reset {
                SockRef::from(&client).set_linger(Some(Duration::ZERO)).unwrap();
            }
            drop(client);
            wait_for(&server.state, "scribe_batch_current_size 0").await;
            wait_for(&server.state, "scribe_connections 0").await;
            let text = server.state.metrics().text(&server.state);
            assert!(text.contains("scribe_request_cancelled"), "{text}");
            let short = chat_body(json!({})).to_string();
            let text = post(server.address, "/v1/chat/completions", &short);
            assert_eq!(ask(server.address, &text).await.0, 200);
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_leaves_the_queue_is_gone_from_it() {
    let server = Server::start(&Setup { slots: 1, slow: true, queue: 4, ..Setup::default() }).await;
    let text = post(server.address, "/v1/chat/completions", &long_request(json!({})));
    let first = connect(server.address, &text).await;
    wait_for(&server.state, "scribe_batch_current_size 1").await;
    let second = connect(server.address, &text).await;
    wait_for(&server.state, "scribe_queue_size 1").await;
    drop(second);
    wait_for(&server.state, "scribe_queue_size 0").await;
    wait_for(&server.state, "scribe_request_cancelled{where=\"queue\"} 1").await;
    drop(first);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn half_open_connections_do_not_stop_a_health_check() {
    let server = Server::start(&Setup::default()).await;
    let mut half_open = Vec::new();
    for _ in 0..1000 {
        half_open.push(connect(server.address, "GET /health HTTP/1.1\r\nhost: loc").await);
    }
    let (status, body) = ask(server.address, &get(server.address, "/health")).await;
    assert_eq!((status, body.as_str()), (StatusCode::OK, "{\"status\":\"ok\"}"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_header_or_a_body_that_stops_arriving_ends_the_connection() {
    let mut setup = Setup::default();
    setup.limits.header_timeout = Duration::from_millis(100);
    setup.limits.body_pause = Duration::from_millis(100);
    let server = Server::start(&setup).await;
    for begin in ["", "GET /health HTTP/1.1\r\nhost: x"] {
        let answer = rest(connect(server.address, begin).await).await;
        assert!(!answer.contains("200 OK"), "{answer}");
    }
    let text = post(server.address, "/v1/chat/completions", &chat_body(json!({})).to_string());
    let (status, body) = ask(server.address, &text[..text.len() - 5]).await;
    assert_eq!(status, StatusCode::REQUEST_TIMEOUT);
    assert!(body.contains("request_timeout"), "{body}");
    wait_for(&server.state, "scribe_connections 0").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_body_that_drips_is_given_up_in_the_end() {
    let mut setup = Setup::default();
    setup.limits.body_time = Duration::from_millis(300);
    let server = Server::start(&setup).await;
    let text = post(server.address, "/v1/chat/completions", &chat_body(json!({})).to_string());
    let client = connect(server.address, &text[..text.len() - 100]).await;
    for at in 0..3 {
        tokio::time::sleep(Duration::from_millis(50)).await;
        write(&client, &text[text.len() - 100 + at..][..1]).await;
    }
    let answer = rest(client).await;
    assert!(answer.starts_with("HTTP/1.1 408 "), "{answer}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn too_long_a_body_is_answered_although_it_was_not_read() {
    let server = Server::start(&Setup::default()).await;
    let large = chat_body(json!({ "padding": "x".repeat(3_000_000) })).to_string();
    let (status, body) =
        ask(server.address, &post(server.address, "/v1/chat/completions", &large)).await;
    assert_eq!(status, StatusCode::PAYLOAD_TOO_LARGE);
    assert!(body.contains("request_too_large"), "{body}");
    let chunked = format!(
        "POST /v1/completions HTTP/1.1\r\nhost: {}\r\ntransfer-encoding: chunked\r\n\
         connection: close\r\n\r\n{:x}\r\n{large}\r\n0\r\n\r\n",
        server.address,
        large.len()
    );
    assert_eq!(ask(server.address, &chunked).await.0, StatusCode::PAYLOAD_TOO_LARGE);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn too_many_headers_are_refused() {
    let server = Server::start(&Setup::default()).await;
    let many: String = (0..200).map(|number| format!("x-{number}: y\r\n")).collect();
    let text = format!("GET /health HTTP/1.1\r\nhost: localhost\r\n{many}\r\n");
    let status = ask(server.address, &text).await.0;
    assert_eq!(status, StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_does_not_read_is_cut() {
    let mut setup = Setup::default();
    setup.limits.write_stall = Duration::from_millis(100);
    let server = Server::start(&setup).await;
    let body = long_request(json!({ "stream": true, "logprobs": true, "top_logprobs": 20 }));
    let socket = tokio::net::TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(4096).unwrap();
    let client = socket.connect(server.address).await.unwrap();
    let text = post(server.address, "/v1/chat/completions", &body);
    write(&client, &text).await;
    wait_for(&server.state, "scribe_connections_stalled 1").await;
    wait_for(&server.state, "scribe_batch_current_size 0").await;
    wait_for(&server.state, "scribe_connections 0").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_connection_serves_one_request_after_the_other() {
    let server = Server::start(&Setup::default()).await;
    let once = get(server.address, "/health").replace("close", "keep-alive");
    let client = connect(server.address, &once).await;
    assert!(String::from_utf8_lossy(&read(&client).await).contains("200 OK"));
    write(&client, &get(server.address, "/health")).await;
    assert!(rest(client).await.contains("200 OK"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn told_to_stop_it_finishes_its_streams_and_lets_nobody_in() {
    let server = Server::start(&Setup::default()).await;
    let body = chat_body(json!({ "stream": true, "max_tokens": 450 })).to_string();
    let text = post(server.address, "/v1/chat/completions", &body);
    let client = connect(server.address, &text).await;
    wait_for(&server.state, "scribe_request_count 1").await;
    server.trigger.advance();
    let answer = rest(client).await;
    assert!(answer.contains("\"finish_reason\":\"length\"") && answer.contains("data: [DONE]"));
    tokio::time::timeout(PATIENCE, server.ended).await.unwrap().unwrap();
    assert!(TcpStream::connect(server.address).await.is_err());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn once_the_grace_is_over_streams_end_with_an_error() {
    let mut setup = Setup { slots: 1, slow: true, ..Setup::default() };
    setup.limits.shutdown_grace = Duration::ZERO;
    let server = Server::start(&setup).await;
    let text =
        post(server.address, "/v1/chat/completions", &long_request(json!({ "stream": true })));
    let client = connect(server.address, &text).await;
    wait_for(&server.state, "scribe_batch_current_size 1").await;
    server.trigger.advance();
    let answer = rest(client).await;
    assert!(answer.contains("shutting_down") && !answer.contains("[DONE]"), "{answer}");
    tokio::time::timeout(PATIENCE, server.ended).await.unwrap().unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn told_twice_it_ends_at_once() {
    let server = Server::start(&Setup { slots: 1, slow: true, ..Setup::default() }).await;
    let text =
        post(server.address, "/v1/chat/completions", &long_request(json!({ "stream": true })));
    let client = connect(server.address, &text).await;
    wait_for(&server.state, "scribe_batch_current_size 1").await;
    server.trigger.advance();
    server.trigger.advance();
    tokio::time::timeout(PATIENCE, server.ended).await.unwrap().unwrap();
    assert!(!rest(client).await.contains("[DONE]"));
}
