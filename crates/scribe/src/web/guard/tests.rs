//! Which hosts, origins and keys pass.

use axum::http::HeaderValue;

use super::*;

fn options(bound: &str, allowed: &[&str]) -> ServeOptions {
    let mut options = ServeOptions::new(bound.parse().unwrap());
    options.allowed_hosts = allowed.iter().map(|&host| host.to_owned()).collect();
    options
}

fn headers(pairs: &[(HeaderName, &'static str)]) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for (name, value) in pairs {
        headers.append(name.clone(), HeaderValue::from_static(value));
    }
    headers
}

#[test]
fn only_loopback_may_be_served_without_a_key() {
    for address in ["127.0.0.1:80", "127.9.9.9:80", "[::1]:80", "[::ffff:127.0.0.1]:80"] {
        assert_eq!(check_exposure(address.parse().unwrap(), false), Ok(()), "{address}");
    }
    for address in ["0.0.0.0:80", "[::]:80", "192.168.1.2:80", "8.8.8.8:80"] {
        let address = address.parse().unwrap();
        assert_eq!(check_exposure(address, false), Err(ExposedWithoutKey { address }));
        assert_eq!(check_exposure(address, true), Ok(()));
    }
}

#[test]
fn hosts_are_read_without_port_and_brackets() {
    let cases = [
        ("localhost:8080", Some("localhost")),
        ("LOCALHOST.", Some("localhost")),
        ("127.0.0.1", Some("127.0.0.1")),
        ("[::1]:8080", Some("::1")),
        ("[::1]", Some("::1")),
        ("[::1", None),
        ("a_b-c.example:1", Some("a_b-c.example")),
        ("localhost:80@evil.com", None),
        ("[::1]evil.com", None),
        ("[::1]:80evil.com", None),
        ("[::1]:80:81", None),
        ("[localhost]", None),
        ("::1", None),
        ("evil.com#.localhost", None),
        ("evil.com?.localhost", None),
        ("evil.com/.localhost", None),
        (r"evil.com\.localhost", None),
        ("evil.com .localhost", None),
        ("evil.com%.localhost", None),
        ("evil.com@localhost", None),
        ("evil.com,localhost", None),
        ("localhost:80:81", None),
        ("localhost:+80", None),
        ("localhost:", None),
        ("localhost:65536", None),
        ("localhost..", Some("localhost.")),
        ("", None),
        (":80", None),
    ];
    for (authority, expected) in cases {
        assert_eq!(authority_host(authority).as_deref(), expected, "{authority}");
    }
}

#[test]
fn names_are_known_by_list_and_numbers_by_address() {
    let local = options("127.0.0.1:80", &["models.example"]);
    for host in ["localhost", "a.localhost", "127.0.0.1", "127.0.0.2", "::1", "models.example"] {
        assert!(is_known_host(host, &local), "{host}");
    }
    for host in ["evil.example", "localhost.evil.example", "192.168.1.2", "notlocalhost"] {
        assert!(!is_known_host(host, &local), "{host}");
    }
    assert!(is_known_host("192.168.1.2", &options("0.0.0.0:80", &[])));
    assert!(is_known_host("192.168.1.2", &options("192.168.1.2:80", &[])));
    assert!(!is_known_host("192.168.1.3", &options("192.168.1.2:80", &[])));
    assert!(!is_known_host("evil.example", &options("0.0.0.0:80", &[])));
}

#[test]
fn two_hosts_are_none() {
    let mut two = headers(&[(HOST, "localhost")]);
    two.append(HOST, HeaderValue::from_static("evil.example"));
    assert_eq!(authority(&Uri::from_static("/"), &two), None);
    assert_eq!(authority(&Uri::from_static("/"), &HeaderMap::new()), None);
}

#[test]
fn pages_of_other_sites_may_not_post() {
    let foreign = |method: Method, pairs: &[(HeaderName, &'static str)]| {
        let mut headers = headers(pairs);
        headers.insert(HOST, HeaderValue::from_static("localhost:8080"));
        is_from_foreign_page(&method, &headers, &Uri::from_static("/v1/completions"))
    };
    assert!(!foreign(Method::POST, &[]), "programs send no origin");
    assert!(!foreign(Method::POST, &[(FETCH_SITE, "same-origin")]));
    assert!(!foreign(Method::POST, &[(ORIGIN, "http://localhost:8080")]));
    assert!(foreign(Method::POST, &[(FETCH_SITE, "cross-site")]));
    assert!(foreign(Method::POST, &[(FETCH_SITE, "same-site")]));
    assert!(foreign(Method::POST, &[(ORIGIN, "http://evil.example")]));
    assert!(foreign(Method::POST, &[(ORIGIN, "http://localhost:9090")]));
    assert!(foreign(Method::POST, &[(ORIGIN, "null")]));
    assert!(!foreign(Method::GET, &[(FETCH_SITE, "cross-site")]));
    for method in [Method::GET, Method::POST] {
        for name in [FETCH_SITE, ORIGIN] {
            let own = if name == ORIGIN { "http://localhost:8080" } else { "same-origin" };
            let two = [(name.clone(), own), (name.clone(), own)];
            assert!(foreign(method.clone(), &two), "two {name} of a {method}");
        }
    }
}

#[test]
fn keys_are_read_from_either_header_but_authorization_wins() {
    let shown =
        |pairs: &[(HeaderName, &'static str)]| presented_key(&headers(pairs)).map(str::to_owned);
    assert_eq!(shown(&[(AUTHORIZATION, "Bearer k1")]).as_deref(), Some("k1"));
    assert_eq!(shown(&[(AUTHORIZATION, "bearer k1")]).as_deref(), Some("k1"));
    assert_eq!(shown(&[(API_KEY, "k2")]).as_deref(), Some("k2"));
    assert_eq!(shown(&[(AUTHORIZATION, "Basic k1"), (API_KEY, "k2")]), None);
    assert_eq!(shown(&[(AUTHORIZATION, "Bearer k1"), (API_KEY, "k2")]).as_deref(), Some("k1"));
    assert_eq!(shown(&[]), None);
}

#[test]
fn a_digest_knows_its_key_and_does_not_show_itself() {
    let digest = KeyDigest::of("sk-test");
    assert!(digest.matches("sk-test"));
    assert!(!digest.matches("sk-tesT") && !digest.matches(""));
    assert_eq!(format!("{digest:?}"), "KeyDigest(hidden)");
}

#[test]
fn without_a_key_only_a_sign_of_life_and_the_page_can_be_had() {
    for path in ["/health", "/favicon.ico", "/static/app.js"] {
        assert!(is_open(&Method::GET, path) && !is_open(&Method::POST, path), "{path}");
    }
    assert!(is_open(&Method::GET, "/"));
    assert!(is_open(&Method::POST, "/"), "the form carries its key in its body");
    for path in ["/metrics", "/v1/models", "/static", "/healthz", "//", "/api/tags"] {
        assert!(!is_open(&Method::GET, path), "{path}");
    }
}
