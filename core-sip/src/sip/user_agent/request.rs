//! Requests that we send, kept in a form from which they can be written again with other credentials, and from which
//! their ACK and CANCEL can be made.

use bytes::Bytes;

use crate::error::Result;
use crate::header_field::{HeaderField, HeaderName, HeaderValue};
use crate::sip::header::Name;
use crate::sip::message::{MessageBuilder, Method};

/// Every request carries it (RFC 3261 §8.1.1.6).
const MAX_FORWARDS: u64 = 70;

/// A request without what one attempt to send it adds: `Via` and credentials.
#[derive(Debug, Clone)]
pub(super) struct Request {
    pub(super) method: Method,
    pub(super) uri: String,
    pub(super) routes: Vec<String>,
    /// With its tag.
    pub(super) from: String,
    /// With its tag, if it has one.
    pub(super) to: String,
    pub(super) call_id: String,
    pub(super) sequence: u32,
    pub(super) fields: Vec<HeaderField>,
    pub(super) body: Option<(HeaderValue, Bytes)>,
}

impl Request {
    /// The request as it goes out.
    pub(super) fn write(&self, via: &str, credentials: &[HeaderField]) -> Result<Bytes> {
        let mut builder = self.start(&self.method, via, &self.to)?;
        for field in self.fields.iter().chain(credentials) {
            builder = builder.field(field.name.clone(), field.value.clone());
        }
        if let Some((content_type, body)) = &self.body {
            builder = builder.body(content_type.clone(), body.clone());
        }
        Ok(builder.build())
    }

    /// The ACK of a failure (RFC 3261 §17.1.1.3): the INVITE's own Via and route, the response's To.
    pub(super) fn ack_of_failure(&self, via: &str, to: &str) -> Result<Bytes> {
        Ok(self.start(&Method::Ack, via, to)?.build())
    }

    /// The CANCEL of this INVITE (RFC 3261 §9.1).
    pub(super) fn cancel(&self, reason: Option<HeaderField>) -> Self {
        Self {
            method: Method::Cancel,
            uri: self.uri.clone(),
            routes: self.routes.clone(),
            from: self.from.clone(),
            to: self.to.clone(),
            call_id: self.call_id.clone(),
            sequence: self.sequence,
            fields: reason.into_iter().collect(),
            body: None,
        }
    }

    fn start(&self, method: &Method, via: &str, to: &str) -> Result<MessageBuilder> {
        let mut builder = MessageBuilder::request(method, &self.uri)?
            .field(Name::Via, HeaderValue::sanitized(via))
            .number(Name::MaxForwards, MAX_FORWARDS);
        for route in &self.routes {
            builder = builder.field(Name::Route, HeaderValue::sanitized(route));
        }
        Ok(builder
            .field(Name::From, HeaderValue::sanitized(&self.from))
            .field(Name::To, HeaderValue::sanitized(to))
            .field(Name::CallId, HeaderValue::sanitized(&self.call_id))
            .field(Name::CSeq, HeaderValue::sanitized(&format!("{} {}", self.sequence, method.as_str()))))
    }
}

/// A header of ours, whose value is made of what has been checked or drawn.
pub(super) fn field(name: &'static str, value: &str) -> HeaderField {
    HeaderField { name: HeaderName::from_static(name), value: HeaderValue::sanitized(value) }
}
