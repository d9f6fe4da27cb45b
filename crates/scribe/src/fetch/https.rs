//! Plain downloads: connect quickly or give up, go on by ranges, never more than announced.

use std::time::Duration;

use super::SourceError;
use super::staged::Staged;

/// A source that does not answer within this time is passed over.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);

/// A transfer that stands still for this long has failed.
const STALL_TIMEOUT: Duration = Duration::from_secs(20);

/// Redirects that are followed; large files usually live one redirect away.
const REDIRECTS_MAX: u32 = 5;

/// Fetches what `staged` lacks of a file of `bytes` bytes.
///
/// # Errors
///
/// [`SourceError`]; what came stays in `staged` for the next try.
pub(crate) fn fetch(
    url: &str,
    bytes: u64,
    staged: &mut Staged,
    advance: &mut dyn FnMut(u64),
) -> Result<(), SourceError> {
    let config = ureq::Agent::config_builder()
        .https_only(url.starts_with("https://"))
        .http_status_as_error(false)
        .max_redirects(REDIRECTS_MAX)
        .timeout_resolve(Some(CONNECT_TIMEOUT))
        .timeout_connect(Some(CONNECT_TIMEOUT))
        .timeout_per_read(Some(STALL_TIMEOUT))
        .user_agent(concat!("scribe/", env!("CARGO_PKG_VERSION")))
        .build();
    let mut request = ureq::Agent::new_with_config(config).get(url);
    let start = staged.length();
    if start > 0 {
        request = request.header("Range", format!("bytes={start}-"));
    }
    let response =
        request.call().map_err(|error| SourceError::Connect { message: error.to_string() })?;
    let status = response.status().as_u16();
    match status {
        206 if start > 0 && range_start(&response) == Some(start) => {}
        // The server knows no ranges, or sent another one: begin again with the whole file.
        200 => staged.restart()?,
        _ => return Err(SourceError::Status { status }),
    }
    let expected = bytes - staged.length();
    if let Some(length) = response.body().content_length()
        && length != expected
    {
        return Err(SourceError::Length { got: length, expected });
    }
    staged.append(&mut response.into_body().into_reader(), advance)?;
    if staged.length() < bytes {
        let message = "the server closed the connection".into();
        return Err(SourceError::Truncated { got: staged.length(), expected: bytes, message });
    }
    Ok(())
}

/// First byte of a partial answer: `Content-Range: bytes FIRST-LAST/TOTAL`.
fn range_start(response: &ureq::http::Response<ureq::Body>) -> Option<u64> {
    let range = response.headers().get("content-range")?.to_str().ok()?;
    range.strip_prefix("bytes ")?.split('-').next()?.parse().ok()
}
