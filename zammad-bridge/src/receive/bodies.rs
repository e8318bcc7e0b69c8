//! Bodies of requests, read whole and bounded: each for itself, in time, and all together.
//!
//! Whoever sends one may be anybody until its signature was checked, and that needs the whole body. So the first
//! [`FREE_BODY_BYTES`] of a body, far more than jambonz sends, cost nothing but its connection, of which there are
//! [`MAX_CONNECTIONS`](crate::listener::MAX_CONNECTIONS); what goes beyond them is paid from [`LARGE_BODIES_BYTES`] that
//! all share, for as long as the body is kept. When that is used up large bodies are refused, ordinary ones are not.

use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body, HttpBody as _};
use axum::http::StatusCode;
use axum::response::Response;
use bytes::{Bytes, BytesMut};
use http_body_util::BodyExt as _;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tracing::warn;

use super::answers;

/// How large the body of a hook or report may be, in bytes.
pub const MAX_BODY_BYTES: usize = 1024 * 1024;
/// How long a body may take to arrive.
pub const BODY_LIMIT: Duration = Duration::from_secs(10);
/// How many bytes of every body are free.
pub const FREE_BODY_BYTES: usize = 32 * 1024;
/// How many bytes beyond the free ones all bodies may have together, being read or waiting to be passed on.
pub const LARGE_BODIES_BYTES: usize = 16 * 1024 * 1024;
/// After how many seconds a large body may be sent again.
const RETRY_AFTER_SECONDS: u32 = 2;

/// What all bodies share.
#[derive(Debug, Clone)]
pub(super) struct Bodies(Arc<Semaphore>);

impl Default for Bodies {
    fn default() -> Self {
        Self(Arc::new(Semaphore::new(LARGE_BODIES_BYTES)))
    }
}

/// Why a body is not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Refusal {
    TooLarge,
    Busy,
    BrokeOff,
}

/// A body that others pay for as long as it is kept.
struct Paid {
    bytes: Bytes,
    _permit: OwnedSemaphorePermit,
}

impl AsRef<[u8]> for Paid {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

impl Bodies {
    /// A request's body, whole, or what is answered in place of it.
    pub(super) async fn read(&self, body: Body) -> Result<Bytes, Response> {
        let refusal = match tokio::time::timeout(BODY_LIMIT, self.collect(body)).await {
            Ok(Ok(body)) => return Ok(body),
            Ok(Err(refusal)) => refusal,
            Err(_) => {
                return Err(answers::problem(
                    StatusCode::REQUEST_TIMEOUT,
                    &format!("the body did not arrive within {} s", BODY_LIMIT.as_secs()),
                    "send it again",
                ));
            }
        };
        Err(match refusal {
            Refusal::TooLarge => answers::problem(
                StatusCode::PAYLOAD_TOO_LARGE,
                &format!("the body is larger than {MAX_BODY_BYTES} bytes"),
                "jambonz' own requests are far smaller",
            ),
            Refusal::Busy => {
                warn!(limit_bytes = LARGE_BODIES_BYTES, "a large body was refused: too many others are being read");
                answers::unavailable("too many large bodies are being read", RETRY_AFTER_SECONDS)
            }
            Refusal::BrokeOff => answers::problem(StatusCode::BAD_REQUEST, "the body broke off", "send it again"),
        })
    }

    async fn collect(&self, body: Body) -> Result<Bytes, Refusal> {
        let announced = usize::try_from(body.size_hint().lower()).unwrap_or(usize::MAX);
        if announced > MAX_BODY_BYTES {
            return Err(Refusal::TooLarge);
        }
        let mut body = std::pin::pin!(body);
        let (mut first, mut whole) = (Bytes::new(), BytesMut::new());
        let mut permit: Option<OwnedSemaphorePermit> = None;
        let (mut length, mut paid) = (0, FREE_BODY_BYTES);
        while let Some(frame) = body.frame().await {
            // Trailers say nothing to us.
            let Ok(data) = frame.map_err(|_| Refusal::BrokeOff)?.into_data() else { continue };
            length += data.len();
            if length > MAX_BODY_BYTES {
                return Err(Refusal::TooLarge);
            }
            if length > paid {
                let missing = u32::try_from(length - paid).map_err(|_| Refusal::TooLarge)?;
                let more = Arc::clone(&self.0).try_acquire_many_owned(missing).map_err(|_| Refusal::Busy)?;
                match &mut permit {
                    Some(permit) => permit.merge(more),
                    None => permit = Some(more),
                }
                paid = length;
            }
            if first.is_empty() && whole.is_empty() {
                first = data;
            } else {
                if whole.is_empty() {
                    whole.extend_from_slice(&std::mem::take(&mut first));
                }
                whole.extend_from_slice(&data);
            }
        }
        let bytes = if whole.is_empty() { first } else { whole.freeze() };
        Ok(match permit {
            Some(permit) => Bytes::from_owner(Paid { bytes, _permit: permit }),
            None => bytes,
        })
    }
}

#[cfg(test)]
mod tests {
    use axum::http::header;
    use futures_util::stream;

    use super::*;

    fn in_parts(count: usize, bytes: usize) -> Body {
        let part = move |_| Ok::<_, std::io::Error>(Bytes::from(vec![b'x'; bytes]));
        Body::from_stream(stream::iter((0..count).map(part)))
    }

    async fn status(bodies: &Bodies, body: Body) -> u16 {
        bodies.read(body).await.map_or_else(|refusal| refusal.status().as_u16(), |_| 200)
    }

    #[tokio::test(start_paused = true)]
    async fn a_body_comes_whole_whatever_its_parts() {
        let bodies = Bodies::default();
        for (count, bytes) in [(0, 0), (1, 10), (5, 7), (4, FREE_BODY_BYTES), (1, MAX_BODY_BYTES)] {
            let body = bodies.read(in_parts(count, bytes)).await.unwrap();
            assert!(body.len() == count * bytes && body.iter().all(|byte| *byte == b'x'), "{count} times {bytes}");
        }
        assert_eq!(bodies.0.available_permits(), LARGE_BODIES_BYTES, "all was given back");
        assert_eq!(status(&bodies, in_parts(2, MAX_BODY_BYTES / 2 + 1)).await, 413);
        assert_eq!(status(&bodies, Body::from(vec![0; MAX_BODY_BYTES + 1])).await, 413, "announced");
        let broken = stream::iter([Ok(Bytes::from_static(b"{")), Err(std::io::Error::other("cut"))]);
        assert_eq!(status(&bodies, Body::from_stream(broken)).await, 400);
        let endless = stream::pending::<Result<Bytes, std::io::Error>>();
        assert_eq!(status(&bodies, Body::from_stream(endless)).await, 408);
    }

    #[tokio::test(start_paused = true)]
    async fn large_bodies_share_a_bound_and_small_ones_do_not_need_it() {
        let bodies = Bodies::default();
        let mut kept = Vec::new();
        let refusal = loop {
            match bodies.read(in_parts(1, MAX_BODY_BYTES)).await {
                Ok(body) => kept.push(body),
                Err(refusal) => break refusal,
            }
        };
        assert_eq!(kept.len(), LARGE_BODIES_BYTES / (MAX_BODY_BYTES - FREE_BODY_BYTES));
        assert_eq!((refusal.status().as_u16(), &refusal.headers()[header::RETRY_AFTER]), (503, &"2".parse().unwrap()));
        assert_eq!(status(&bodies, in_parts(1, FREE_BODY_BYTES)).await, 200);
        // A part of a body that goes on living is paid for until it is gone.
        let part = kept.pop().unwrap().slice(5..9);
        assert_eq!(status(&bodies, in_parts(1, MAX_BODY_BYTES)).await, 503);
        drop(part);
        assert_eq!(status(&bodies, in_parts(1, MAX_BODY_BYTES)).await, 200);
    }
}
