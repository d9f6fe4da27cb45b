//! Who may ask: keys, host names, the origin of a page, and the address that is listened on.

use std::net::{IpAddr, Ipv6Addr, SocketAddr};

use axum::extract::{Request, State};
use axum::http::header::{AUTHORIZATION, HOST, ORIGIN};
use axum::http::{HeaderMap, HeaderName, Method, Uri};
use axum::middleware::Next;
use axum::response::Response;
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

use super::error::ApiError;
use super::state::{AppState, ServeOptions};

const API_KEY: HeaderName = HeaderName::from_static("x-api-key");
const FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");

/// The SHA-256 of a key. The key itself is dropped where it is read.
#[derive(Clone, PartialEq, Eq)]
pub struct KeyDigest([u8; 32]);

impl std::fmt::Debug for KeyDigest {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("KeyDigest(hidden)")
    }
}

impl KeyDigest {
    /// The digest of `key`.
    #[must_use]
    pub fn of(key: &str) -> Self {
        Self(Sha256::digest(key.as_bytes()).into())
    }

    /// Whether `key` is the one, in a time that tells nothing about it.
    #[must_use]
    pub fn matches(&self, key: &str) -> bool {
        self.0.ct_eq(&Self::of(key).0).into()
    }
}

/// Listening where others can connect, without a key, would give the model to everybody.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "refusing to listen on {address} without a key: everybody who reaches this machine could use \
     the model; set a key in SCRIBE_API_KEY or --api-key-file, or listen on 127.0.0.1"
)]
pub struct ExposedWithoutKey {
    /// The address that was asked for.
    pub address: SocketAddr,
}

/// Refuses to listen beyond loopback without a key.
///
/// # Errors
///
/// [`ExposedWithoutKey`] if `address` is not a loopback address and no key is set.
pub fn check_exposure(address: SocketAddr, has_key: bool) -> Result<(), ExposedWithoutKey> {
    if address.ip().to_canonical().is_loopback() || has_key {
        Ok(())
    } else {
        Err(ExposedWithoutKey { address })
    }
}

/// Lets a request pass that names a known host, comes from no foreign page, and shows the key.
///
/// # Errors
///
/// 403 for the first two, 401 for the third.
pub async fn check(
    State(state): State<AppState>,
    request: Request,
    next: Next,
) -> Result<Response, ApiError> {
    let options = state.options();
    let authority =
        authority(request.uri(), request.headers()).ok_or_else(ApiError::missing_host)?;
    match authority_host(authority) {
        Some(host) if is_known_host(&host, options) => {}
        Some(host) => return Err(ApiError::unknown_host(&host)),
        None => return Err(ApiError::malformed_host()),
    }
    if is_from_foreign_page(request.method(), request.headers(), request.uri()) {
        return Err(ApiError::foreign_origin());
    }
    if let Some(key) = &options.key {
        let open = is_open(request.method(), request.uri().path());
        if !open && !presented_key(request.headers()).is_some_and(|shown| key.matches(shown)) {
            return Err(ApiError::wrong_key());
        }
    }
    Ok(next.run(request).await)
}

/// What can be had without the key: a sign of life, and the page's own files (which hold no data).
/// The page's plain form carries the key in its body, where its handler looks for it.
fn is_open(method: &Method, path: &str) -> bool {
    let reads = method == Method::GET || method == Method::HEAD;
    let is_form = method == Method::POST && path == "/";
    let is_page =
        matches!(path, "/" | "/label" | "/health" | "/favicon.ico") || path.starts_with("/static/");
    is_form || (reads && is_page)
}

/// The key in `Authorization: Bearer` or, without that header, in `x-api-key`.
fn presented_key(headers: &HeaderMap) -> Option<&str> {
    if let Some(value) = headers.get(AUTHORIZATION) {
        let (scheme, key) = value.to_str().ok()?.split_once(' ')?;
        return scheme.eq_ignore_ascii_case("bearer").then(|| key.trim());
    }
    headers.get(API_KEY)?.to_str().ok()
}

/// The `host[:port]` that the client believes to talk to: one, or nothing that can be relied on.
fn authority<'a>(uri: &'a Uri, headers: &'a HeaderMap) -> Option<&'a str> {
    let mut hosts = headers.get_all(HOST).iter();
    let host = match (hosts.next(), hosts.next()) {
        (Some(host), None) => host.to_str().ok()?,
        (None, None) => uri.authority()?.as_str(),
        _ => return None,
    };
    (!host.is_empty()).then_some(host)
}

/// The host of `host[:port]`, in lower case, without port and brackets; nothing where anything else
/// stands there, which some program on the way could read as another host.
fn authority_host(authority: &str) -> Option<String> {
    let (host, port) = match authority.strip_prefix('[') {
        Some(rest) => {
            let (host, after) = rest.split_once(']')?;
            host.parse::<Ipv6Addr>().ok()?;
            let port = if after.is_empty() { None } else { Some(after.strip_prefix(':')?) };
            (host, port)
        }
        None => {
            let (host, port) = match authority.split_once(':') {
                Some((host, port)) => (host, Some(port)),
                None => (authority, None),
            };
            let is_plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_');
            (Some(host).filter(|host| host.chars().all(is_plain))?, port)
        }
    };
    if let Some(port) = port {
        // `parse` alone would take a sign.
        let is_number = port.chars().all(|c| c.is_ascii_digit()) && port.parse::<u16>().is_ok();
        is_number.then_some(())?;
    }
    let host = host.strip_suffix('.').unwrap_or(host);
    (!host.is_empty()).then(|| host.to_ascii_lowercase())
}

/// Whether a request for `host` is meant for this server. A hostile page can make its own name
/// point to this machine, but it cannot make a browser send another name than its own: so names are
/// listed, and numbers are allowed as far as the server listens on them.
fn is_known_host(host: &str, options: &ServeOptions) -> bool {
    if host == "localhost" || host.ends_with(".localhost") {
        return true;
    }
    if options.allowed_hosts.iter().any(|allowed| allowed.eq_ignore_ascii_case(host)) {
        return true;
    }
    let bound = options.bound.ip().to_canonical();
    match host.parse::<IpAddr>() {
        Ok(address) => {
            let address = address.to_canonical();
            address.is_loopback() || address == bound || bound.is_unspecified()
        }
        Err(_) => false,
    }
}

/// Whether a browser says that another site's page sends this request, and it could change
/// something or cost something. (Reading is prevented by the browser itself: no answer allows other
/// origins.)
fn is_from_foreign_page(method: &Method, headers: &HeaderMap, uri: &Uri) -> bool {
    // A browser sends each once; of two, somebody on the way may have read the other.
    if [FETCH_SITE, ORIGIN].iter().any(|name| headers.get_all(name).iter().nth(1).is_some()) {
        return true;
    }
    if matches!(*method, Method::GET | Method::HEAD | Method::OPTIONS) {
        return false;
    }
    if let Some(site) = headers.get(FETCH_SITE) {
        return site != "same-origin" && site != "none";
    }
    let Some(origin) = headers.get(ORIGIN) else { return false };
    let origin_host = origin
        .to_str()
        .ok()
        .and_then(|origin| origin.split_once("://"))
        .map(|(_, authority)| authority);
    let own = headers.get(HOST).and_then(|host| host.to_str().ok());
    let own = own.or_else(|| uri.authority().map(axum::http::uri::Authority::as_str));
    origin_host.is_none() || origin_host != own
}

#[cfg(test)]
mod tests;
