//! The pages' own files: part of the program, compressed once, kept by browsers until they change.

use std::io::Write;
use std::sync::LazyLock;

use axum::body::Body;
use axum::extract::Path;
use axum::extract::rejection::PathRejection;
use axum::http::header::{
    ACCEPT_ENCODING, CACHE_CONTROL, CONTENT_ENCODING, CONTENT_TYPE, ETAG, IF_NONE_MATCH, VARY,
};
use axum::http::{HeaderMap, HeaderValue, StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use flate2::Compression;
use flate2::write::GzEncoder;
use sha2::{Digest, Sha256};

use crate::web::error::ApiError;

/// A file as it is written in the source tree.
struct Source {
    name: &'static str,
    bytes: &'static [u8],
}

macro_rules! sources {
    ($($name:literal),* $(,)?) => {
        [$(Source { name: $name, bytes: include_bytes!(concat!("../static/", $name)) }),*]
    };
}

const SOURCES: [Source; 24] = sources![
    "announcer.js",
    "answer.js",
    "api.js",
    "composer.js",
    "conversation.js",
    "copy.js",
    "dialogs.js",
    "favicon.svg",
    "label-bar.js",
    "label-cards.js",
    "label-order.js",
    "label-standing.js",
    "label-talk.js",
    "label.css",
    "label.js",
    "main.js",
    "noscript.css",
    "page.js",
    "request.js",
    "sanitize.js",
    "scribe.css",
    "settings.js",
    "shortcuts.js",
    "storage.js",
];

/// A file as it is sent.
struct Asset {
    name: &'static str,
    content_type: HeaderValue,
    etag: HeaderValue,
    plain: &'static [u8],
    gzip: Vec<u8>,
}

struct Assets {
    /// Changes with every change of any file. It is part of the files' addresses, so that modules
    /// find each other by relative names and browsers never mix two versions.
    version: String,
    assets: Vec<Asset>,
}

static ASSETS: LazyLock<Assets> = LazyLock::new(|| {
    let mut all = Sha256::new();
    let assets = SOURCES
        .iter()
        .map(|source| {
            all.update(source.bytes);
            Asset::of(source)
        })
        .collect();
    Assets { version: hex(&all.finalize()), assets }
});

impl Asset {
    fn of(source: &Source) -> Self {
        let content_type = match source.name.rsplit('.').next() {
            Some("css") => "text/css; charset=utf-8",
            Some("js") => "text/javascript; charset=utf-8",
            _ => "image/svg+xml",
        };
        let etag = format!("\"{}\"", hex(&Sha256::digest(source.bytes)));
        Self {
            name: source.name,
            content_type: HeaderValue::from_static(content_type),
            etag: HeaderValue::try_from(etag).unwrap_or_else(|_| HeaderValue::from_static("\"\"")),
            plain: source.bytes,
            gzip: gzip(source.bytes),
        }
    }
}

/// The first 16 digits of a digest.
fn hex(digest: &[u8]) -> String {
    digest.iter().take(8).map(|byte| format!("{byte:02x}")).collect()
}

/// The folder of the files' present version, such as `/static/0123456789abcdef`.
#[must_use]
pub(super) fn folder() -> String {
    format!("/static/{}", ASSETS.version)
}

/// Names of the modules, so that a page can ask for all of them at once.
pub(super) fn modules() -> impl Iterator<Item = &'static str> {
    SOURCES.iter().map(|source| source.name).filter(|name| name.ends_with(".js"))
}

/// `GET /static/{version}/{name}`.
pub(super) async fn serve(
    uri: Uri,
    path: Result<Path<(String, String)>, PathRejection>,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let assets = &*ASSETS;
    let unknown = || ApiError::unknown_path(uri.path());
    let Path((version, name)) = path.map_err(|_| unknown())?;
    let asset = assets.assets.iter().find(|asset| asset.name == name).ok_or_else(unknown)?;
    let mut response = if headers.get(IF_NONE_MATCH) == Some(&asset.etag) {
        StatusCode::NOT_MODIFIED.into_response()
    } else if accepts_gzip(&headers) {
        let mut response = Body::from(asset.gzip.clone()).into_response();
        response.headers_mut().insert(CONTENT_ENCODING, HeaderValue::from_static("gzip"));
        response
    } else {
        Body::from(asset.plain).into_response()
    };
    // An address of an older version gets today's file, but may not keep it.
    let kept =
        if version == assets.version { "public, max-age=31536000, immutable" } else { "no-cache" };
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, asset.content_type.clone());
    headers.insert(CACHE_CONTROL, HeaderValue::from_static(kept));
    headers.insert(ETAG, asset.etag.clone());
    headers.insert(VARY, HeaderValue::from_static("accept-encoding"));
    Ok(response)
}

/// Whether the client reads gzip.
pub(super) fn accepts_gzip(headers: &HeaderMap) -> bool {
    let accepted = headers.get(ACCEPT_ENCODING).and_then(|value| value.to_str().ok());
    accepted.unwrap_or_default().split(',').any(|coding| {
        let mut parts = coding.split(';').map(str::trim);
        parts.next() == Some("gzip") && !parts.any(|part| matches!(part, "q=0" | "q=0.0"))
    })
}

/// The bytes compressed; empty for what cannot be, which does not happen in memory.
pub(super) fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
    match encoder.write_all(bytes) {
        Ok(()) => encoder.finish().unwrap_or_default(),
        Err(_) => Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use flate2::read::GzDecoder;

    use super::*;

    #[test]
    fn every_file_of_the_folder_is_served_and_unpacks_to_itself() {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/src/web/static");
        for entry in std::fs::read_dir(folder).expect("the folder") {
            let entry = entry.expect("an entry");
            let name = entry.file_name().into_string().expect("a name");
            let asset = ASSETS.assets.iter().find(|asset| asset.name == name).expect("listed");
            let mut unpacked = Vec::new();
            GzDecoder::new(asset.gzip.as_slice()).read_to_end(&mut unpacked).expect("gzip");
            assert_eq!(unpacked, std::fs::read(entry.path()).expect("the file"));
        }
    }

    #[test]
    fn the_files_stay_small() {
        let total = |end: &str| -> usize {
            let of_kind = ASSETS.assets.iter().filter(|asset| asset.name.ends_with(end));
            of_kind.map(|asset| asset.gzip.len()).sum()
        };
        assert!(total(".js") <= 60 * 1024, "{} bytes of JavaScript", total(".js"));
        assert!(total(".css") <= 20 * 1024, "{} bytes of CSS", total(".css"));
    }

    #[test]
    fn nothing_points_to_another_host() {
        for asset in &ASSETS.assets {
            let text = std::str::from_utf8(asset.plain).expect("text");
            for address in text.split("://").skip(1) {
                assert!(address.starts_with("www.w3.org/"), "{}: ://{address:.40}", asset.name);
            }
        }
    }

    #[test]
    fn gzip_is_sent_to_those_who_read_it() {
        for (header, accepted) in
            [("gzip, br", true), ("br;q=1, gzip;q=0.5", true), ("gzip;q=0", false), ("br", false)]
        {
            let headers =
                HeaderMap::from_iter([(ACCEPT_ENCODING, HeaderValue::from_static(header))]);
            assert_eq!(accepts_gzip(&headers), accepted, "{header}");
        }
    }
}
