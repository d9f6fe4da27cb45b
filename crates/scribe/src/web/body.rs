//! The body of a request: read within its limits, whoever reads it.

use std::time::Duration;

use axum::body::Body;
use axum::extract::{FromRequest, Request};
use axum::http::header::CONTENT_LENGTH;
use bytes::{Bytes, BytesMut};
use http_body_util::BodyExt as _;
use serde_json::{Map, Value};

use super::error::ApiError;
use super::state::{AppState, Limits};
use super::{fields, work};

/// Most bytes that are read and thrown away so that a client with too long a body hears of it.
const DRAIN_BYTES_MAX: usize = 16 << 20;
/// Longest time spent on that.
const DRAIN_TIME_MAX: Duration = Duration::from_secs(2);
/// Longest body that is parsed where it arrives; longer ones would hold up other requests.
const PARSED_AT_ONCE: usize = 16 << 10;

/// A request's body as a JSON object. The content type is not looked at: many small clients leave
/// it at what their library sends.
#[derive(Clone, Debug)]
pub(super) struct JsonObject(pub Map<String, Value>);

impl FromRequest<AppState> for JsonObject {
    type Rejection = ApiError;

    async fn from_request(request: Request, state: &AppState) -> Result<Self, ApiError> {
        let body = read(request, state.limits()).await?;
        if body.len() <= PARSED_AT_ONCE {
            return fields::parse(&body).map(Self);
        }
        work::run(state, move || fields::parse(&body).map(Self)).await
    }
}

/// Reads the whole body.
///
/// # Errors
///
/// 413 if it is too long, 408 if it stops arriving, 400 if the connection breaks.
pub(super) async fn read(request: Request, limits: &Limits) -> Result<Bytes, ApiError> {
    let reading = read_in_time(request, limits);
    let whole = tokio::time::timeout(limits.body_time, reading).await;
    whole.unwrap_or_else(|_| Err(ApiError::body_timeout(limits.body_time)))
}

async fn read_in_time(request: Request, limits: &Limits) -> Result<Bytes, ApiError> {
    let announced = request
        .headers()
        .get(CONTENT_LENGTH)
        .and_then(|length| length.to_str().ok())
        .and_then(|length| length.parse::<usize>().ok());
    let mut body = request.into_body();
    if announced.is_some_and(|length| length > limits.body_bytes) {
        drain(&mut body).await;
        return Err(ApiError::body_too_large(limits.body_bytes));
    }
    let mut bytes = BytesMut::with_capacity(announced.unwrap_or(0));
    loop {
        let frame = tokio::time::timeout(limits.body_pause, body.frame())
            .await
            .map_err(|_| ApiError::body_timeout(limits.body_pause))?;
        let Some(frame) = frame else { return Ok(bytes.freeze()) };
        let frame = frame.map_err(|error| {
            ApiError::bad_json(format!("The body broke off: {error}. Send it again."))
        })?;
        if let Some(data) = frame.data_ref() {
            if bytes.len() + data.len() > limits.body_bytes {
                drain(&mut body).await;
                return Err(ApiError::body_too_large(limits.body_bytes));
            }
            bytes.extend_from_slice(data);
        }
    }
}

/// Reads on for a while: closing a connection on unread data would take the answer away, too.
async fn drain(body: &mut Body) {
    let reading = async {
        let mut left = DRAIN_BYTES_MAX;
        while let Some(Ok(frame)) = body.frame().await {
            let length = frame.data_ref().map_or(0, Bytes::len);
            let Some(rest) = left.checked_sub(length) else { return };
            left = rest;
        }
    };
    // Whether all of it came makes no difference to the answer.
    drop(tokio::time::timeout(DRAIN_TIME_MAX, reading).await);
}
