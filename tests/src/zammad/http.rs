//! The little of HTTP/1.1 that the stand-in speaks: requests with a length, answers with a length, connections that
//! stay open.

use std::io;

use tokio::io::{AsyncRead, AsyncReadExt};

/// A request may be this large, head and body each, in bytes.
const MAX_REQUEST_BYTES: usize = 4 * 1024 * 1024;

/// A request as it was received.
#[derive(Debug, Clone)]
pub struct Request {
    /// `GET`, `POST` …
    pub method: String,
    /// The path with its query.
    pub target: String,
    /// Names in lower case and values, in order.
    pub headers: Vec<(String, String)>,
    /// The body.
    pub body: Vec<u8>,
}

impl Request {
    /// The first value of a header; `name` in lower case.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(own, _)| own == name).map(|(_, value)| value.as_str())
    }

    /// The path without its query.
    #[must_use]
    pub fn path(&self) -> &str {
        self.target.split_once('?').map_or(&self.target, |(path, _)| path)
    }

    /// The query, empty if there is none.
    #[must_use]
    pub fn query(&self) -> &str {
        self.target.split_once('?').map_or("", |(_, query)| query)
    }

    /// Whether the body is said to be of this type.
    pub(super) fn is_of(&self, media_type: &str) -> bool {
        let own = self.header("content-type").unwrap_or_default();
        own.split(';').next().is_some_and(|own| own.trim().eq_ignore_ascii_case(media_type))
    }

    /// Whether the client asks for JSON.
    pub(super) fn accepts_json(&self) -> bool {
        self.header("accept").is_some_and(|value| value.contains("application/json"))
    }

    pub(super) fn keeps_connection(&self) -> bool {
        !self.header("connection").is_some_and(|value| value.eq_ignore_ascii_case("close"))
    }
}

/// An answer.
#[derive(Debug, Clone)]
pub(super) struct Answer {
    pub(super) status: u16,
    pub(super) content_type: &'static str,
    pub(super) retry_after: Option<String>,
    pub(super) body: String,
}

impl Answer {
    pub(super) fn json(status: u16, body: &serde_json::Value) -> Self {
        Self { status, content_type: "application/json; charset=utf-8", retry_after: None, body: body.to_string() }
    }

    pub(super) fn html(status: u16, body: String) -> Self {
        Self { status, content_type: "text/html; charset=utf-8", retry_after: None, body }
    }

    /// As it goes over the wire.
    pub(super) fn bytes(&self) -> Vec<u8> {
        let reason = reason_phrase(self.status);
        let retry_after = match &self.retry_after {
            Some(value) => format!("Retry-After: {value}\r\n"),
            None => String::new(),
        };
        format!(
            "HTTP/1.1 {} {reason}\r\nContent-Type: {}\r\n{retry_after}Content-Length: {}\r\n\r\n{}",
            self.status,
            self.content_type,
            self.body.len(),
            self.body
        )
        .into_bytes()
    }
}

fn reason_phrase(status: u16) -> &'static str {
    match status {
        200 => "OK",
        201 => "Created",
        401 => "Unauthorized",
        403 => "Forbidden",
        404 => "Not Found",
        422 => "Unprocessable Entity",
        429 => "Too Many Requests",
        500 => "Internal Server Error",
        502 => "Bad Gateway",
        503 => "Service Unavailable",
        504 => "Gateway Timeout",
        _ => "Status",
    }
}

/// The next request of a connection; `None` at its end.
pub(super) async fn read(stream: &mut (impl AsyncRead + Unpin), buffer: &mut Vec<u8>) -> io::Result<Option<Request>> {
    let mut searched = 0;
    let head_end = loop {
        if let Some(at) = buffer[searched..].windows(4).position(|w| w == b"\r\n\r\n") {
            break searched + at;
        }
        searched = buffer.len().saturating_sub(3);
        if buffer.len() > MAX_REQUEST_BYTES || stream.read_buf(buffer).await? == 0 {
            return Ok(None);
        }
    };
    let head = String::from_utf8_lossy(&buffer[..head_end]);
    let mut lines = head.split("\r\n");
    let mut first = lines.next().unwrap_or_default().split(' ');
    let method = first.next().unwrap_or_default().to_owned();
    let target = first.next().unwrap_or_default().to_owned();
    let headers: Vec<(String, String)> = lines
        .filter_map(|line| line.split_once(':'))
        .map(|(name, value)| (name.to_ascii_lowercase(), value.trim().to_owned()))
        .collect();
    let mut request = Request { method, target, headers, body: Vec::new() };
    let length = request.header("content-length").and_then(|length| length.parse().ok()).unwrap_or(0_usize);
    if length > MAX_REQUEST_BYTES {
        return Ok(None);
    }
    buffer.drain(..head_end + 4);
    while buffer.len() < length {
        if stream.read_buf(buffer).await? == 0 {
            return Ok(None);
        }
    }
    request.body = buffer.drain(..length).collect();
    Ok(Some(request))
}
