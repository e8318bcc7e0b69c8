//! Answers of the bridge's own, in JSON: what is wrong and what to do.

use axum::http::{HeaderValue, StatusCode, header};
use axum::response::Response;
use bytes::Bytes;
use serde_json::json;

/// How long a sender is asked to wait while the store fails, in seconds.
pub(crate) const RETRY_AFTER_STORE_FAULT_SECONDS: u32 = 5;

/// `{"error": …, "remedy": …}`.
pub(crate) fn problem(status: StatusCode, error: &str, remedy: &str) -> Response {
    json_bytes(status, Bytes::from(json!({"error": error, "remedy": remedy}).to_string()))
}

/// 503 with `Retry-After`.
pub(crate) fn unavailable(error: &str, retry_after_seconds: u32) -> Response {
    let mut response = problem(StatusCode::SERVICE_UNAVAILABLE, error, "try again later");
    response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(retry_after_seconds));
    response
}

/// 405 for a hook that was asked for by anything but POST.
pub(crate) fn only_post(method: &str) -> Response {
    let mut response = problem(
        StatusCode::METHOD_NOT_ALLOWED,
        &format!("this is a hook for POST, it was asked for with {method}"),
        "set the hook's method to POST at the application in jambonz: with GET jambonz sends no payload",
    );
    response.headers_mut().insert(header::ALLOW, HeaderValue::from_static("POST"));
    response
}

/// JSON that is ready.
pub(crate) fn json_bytes(status: StatusCode, body: Bytes) -> Response {
    let mut response = Response::new(body.into());
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}
