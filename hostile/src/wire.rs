//! What is read is also looked at from all sides, written, and read again.

use bytes::Bytes;
use codex_core_sip::header_field::HeaderValue;
use codex_core_sip::random::SeededRandom;
use codex_core_sip::sip::digest::{
    Attempt, AuthorizedRequest, Challenge, Credentials, DigestServer, DigestServerSettings, DigestSession, Verdict,
    Verification,
};
use codex_core_sip::sip::header::{CSeq, ContentType, Elements, Name, NameAddr, Via, quote, unquote};
use codex_core_sip::sip::message::{Limits, Message, MessageBuilder, Method, StatusCode, rejection_status};
use codex_core_sip::sip::sdp::{Direction, SessionDescription};
use codex_core_sip::sip::uri::{Uri, escape_user, unescape};
use codex_core_sip::time::Time;
use secrecy::SecretString;

/// Limits that input reaches easily.
const NARROW: Limits =
    Limits { message_bytes: 600, header_count: 8, header_bytes: 90, start_line_bytes: 60, ..Limits::DEFAULT };

pub(crate) fn message(data: &[u8]) {
    let bytes = Bytes::copy_from_slice(data);
    if let Ok(narrow) = Message::parse_with(bytes.clone(), &NARROW) {
        assert!(data.len() <= NARROW.message_bytes && narrow.header_lines().count() <= NARROW.header_count);
    }
    match Message::parse(bytes.clone()) {
        Ok(message) => {
            assert_eq!(message.as_bytes(), &bytes, "what was not changed is kept byte for byte");
            look_at(&message);
            if message.is_request() {
                answer(&message);
            }
            copy(&message);
        }
        Err(error) => {
            assert!(error.offset <= data.len(), "{error:?} lies outside of {} bytes", data.len());
            assert!(!error.rule.is_empty() && !error.problem.is_empty());
            let status = rejection_status(&error);
            if let Some(request) = Message::parse_for_rejection(bytes, &Limits::DEFAULT) {
                assert!(request.is_request() && request.method() != Some(&Method::Ack), "{request:?}");
                let response = MessageBuilder::response(&request, status, None).build();
                // Its headers may be as bad as those of the request; it must only not be a message of another shape.
                assert!(response.starts_with(b"SIP/2.0 ") && response.ends_with(b"\r\n\r\n"));
            }
        }
    }
}

fn look_at(message: &Message) {
    assert_eq!(message.is_request(), message.method().is_some() && message.request_uri().is_some());
    assert_eq!(message.is_request(), message.status().is_none());
    assert!(message.header_lines().count() <= Limits::DEFAULT.header_count);
    assert!(message.body().len() <= message.as_bytes().len());
    assert_eq!(message.body(), message.body_bytes());
    // Without these no message is read at all; whether the value is one is told when it is asked for.
    for name in [Name::Via, Name::From, Name::To, Name::CallId, Name::CSeq] {
        assert!(message.header(name).is_some(), "a message without {name} was read: {message:?}");
    }
    match message.call_id() {
        Ok(id) => {
            assert!(!id.is_empty() && !id.contains(|c: char| c <= ' ' || c == '\x7f'), "a Call-ID is one word: {id:?}");
        }
        Err(error) => {
            let bytes = message.header_bytes(Name::CallId).expect("it is there");
            assert!(core::str::from_utf8(&bytes).is_err(), "{error} in {message:?}");
        }
    }
    let sequence = message.cseq().unwrap_or_else(|error| panic!("{error} in {message:?}"));
    if let Some(method) = message.method() {
        assert_eq!(method, &sequence.method);
    }
    for address in [message.from(), message.to()].into_iter().flatten() {
        look_at_address(&address);
    }
    if let Ok(vias) = message.vias() {
        assert!(!vias.is_empty() && message.top_via().is_ok());
    }
    for &name in Name::ALL {
        assert_eq!(message.header(name).is_some(), message.headers(name).next().is_some());
        assert!(message.list(name).all(|element| !element.contains(['\r', '\n'])), "{name} is unfolded");
        let _ = (message.number(name, u64::from(u32::MAX)), message.has_token(name, "timer"));
        if let Ok(addresses) = message.addresses(name) {
            addresses.iter().for_each(look_at_address);
        }
    }
    let _ = (message.reason_phrase(), message.contacts(), message.content_type());
    assert!(format!("{message:?}").len() <= 8 * message.as_bytes().len() + 1024);
}

/// A response to a message that was read is one that is read.
fn answer(request: &Message) {
    let response = MessageBuilder::response(request, StatusCode::BAD_REQUEST, None).to_tag("fuzz").build();
    let read = Message::parse(response.clone()).unwrap_or_else(|error| panic!("{error}: {response:?} to {request:?}"));
    assert_eq!(read.status(), Some(StatusCode::BAD_REQUEST));
    assert_eq!(read.call_id().ok(), request.call_id().ok());
    assert!(read.body().is_empty());
}

/// Header values that were read can be written, and nothing but them arrives.
fn copy(message: &Message) {
    let Ok(mut builder) = MessageBuilder::request(&Method::Options, "sip:copy@example.com") else { return };
    for name in [Name::Via, Name::From, Name::To, Name::CallId, Name::Contact, Name::Subject, Name::XCustomerData] {
        builder = builder.copy(message, name);
    }
    let written =
        builder.cseq(1, &Method::Options).body(HeaderValue::sanitized("text/plain"), message.body_bytes()).build();
    // The copy may be too large, or its start line does not go with a header; it must not have more headers.
    if let Ok(copy) = Message::parse(written) {
        assert_eq!(copy.body(), message.body());
        assert_eq!(copy.headers(Name::Via).count(), message.headers(Name::Via).count());
        assert_eq!(copy.header(Name::Subject), message.header(Name::Subject));
    }
}

fn look_at_address(address: &NameAddr<'_>) {
    let params = address.params().count();
    assert!(params <= address.as_str().len());
    let _ = (address.display_name(), address.tag(), address.param("expires"), address.is_wildcard());
    if let Ok(uri) = address.parse_uri() {
        assert_eq!(uri.as_str(), address.uri(), "a URI is kept as it is written");
    }
}

pub(crate) fn uri(data: &[u8]) {
    let Ok(text) = core::str::from_utf8(data) else { return };
    let (first, second) = text.split_once('\0').unwrap_or((text, text));
    let _ = unescape(first);
    let escaped = escape_user(first);
    assert_eq!(unescape(&escaped), first, "escaping goes there and back");
    let Ok(uri) = Uri::parse(first) else { return };
    assert_eq!(uri.to_string(), first, "a URI is kept as it is written");
    assert!(!uri.as_str().contains([' ', '\r', '\n', '<', '>', '"']), "{uri}");
    assert_eq!(Uri::parse(uri.as_str()).ok().as_ref(), Some(&uri));
    let _ = (uri.user(), uri.user_unescaped(), uri.password(), uri.host(), uri.port(), uri.after_scheme());
    let _ = (uri.is_sip(), uri.is_sips(), uri.param("lr"), uri.params().count(), uri.headers().count());
    assert!(uri.equivalent(&uri), "{uri} is like itself");
    if let Ok(other) = Uri::parse(second) {
        assert_eq!(uri.equivalent(&other), other.equivalent(&uri), "{uri} and {other}");
    }
    if let Ok(builder) = MessageBuilder::request(&Method::Options, uri.as_str()) {
        assert!(builder.build().starts_with(b"OPTIONS "));
    }
}

pub(crate) fn header(data: &[u8]) {
    let Ok(text) = core::str::from_utf8(data) else { return };
    if let Ok(address) = NameAddr::parse(text) {
        look_at_address(&address);
        assert_eq!(address.to_string(), text);
    }
    if let Ok(via) = Via::parse(text) {
        assert_eq!(via.to_string(), text);
        assert!(!via.sent_by_host().is_empty() && !via.transport().is_empty());
        let _ = (via.sent_by_port(), via.branch(), via.param("received"), via.params().count());
    }
    if let Ok(sequence) = CSeq::parse(text) {
        assert_eq!(CSeq::parse(&sequence.to_string()).ok(), Some(sequence));
    }
    if let Ok(content) = ContentType::parse(text) {
        assert!(content.is(&format!("{}/{}", content.kind(), content.subtype())));
        let _ = (content.param("boundary"), content.params().count());
    }
    let _ = (Name::parse(text), Method::parse(text), HeaderValue::new("X-Any", text));
    let elements = Elements::new(text).count();
    assert!(elements <= text.len() + 1);
    if !text.chars().any(|c| c.is_ascii_control()) {
        assert_eq!(unquote(&quote(text)), text, "quoting goes there and back");
    }
}

pub(crate) fn sdp(data: &[u8]) {
    let Ok(text) = core::str::from_utf8(data) else { return };
    let Ok(mut description) = SessionDescription::parse(text) else { return };
    assert_eq!(description.to_string(), text, "what was not changed is written as it was read");
    let _ = (description.origin(), description.is_hold(), description.attributes().count());
    for media in description.media() {
        let _ = (description.direction(media), description.connection(media), media.codecs().count());
        let _ =
            (media.port(), media.port_count(), media.formats().count(), media.mid(), media.fmtp(0), media.rtpmap(0));
    }
    let media = description.media().len();
    description.set_version(u64::MAX);
    for index in 0..=media {
        description.set_direction(index, Direction::Inactive);
    }
    let changed = SessionDescription::parse(&description.to_string());
    let changed = changed.unwrap_or_else(|error| panic!("{error} after a change of {text:?}"));
    assert_eq!(changed.media().len(), media);
    assert!(changed.media().iter().all(|media| changed.direction(media) == Direction::Inactive));
}

pub(crate) fn digest(data: &[u8]) {
    let Ok(text) = core::str::from_utf8(data) else { return };
    if let Ok(challenges) = Challenge::parse_all(text) {
        assert!(challenges.len() <= text.len());
    }
    let value = HeaderValue::sanitized(text);
    let mut random = SeededRandom::new(1);
    let credentials = Credentials { username: "alice".to_owned(), password: SecretString::from("secret") };
    let mut session = DigestSession::new(credentials);
    let mut attempt = Attempt::default();
    for status in [401, 407] {
        let response = with_credentials(status, &value);
        let request = AuthorizedRequest { method: &Method::Invite, uri: "sip:example.com", body: b"" };
        // The server that asks again and again is refused: that is what ends the loop.
        let mut verdicts = (0..8).map(|_| {
            let verdict = session.challenged(&mut attempt, &response);
            if let Ok(fields) = session.authorize(request, &mut random) {
                assert!(fields.iter().all(|(_, value)| !value.as_str().contains("secret")));
            }
            verdict
        });
        let last = verdicts.by_ref().last();
        assert!(last != Some(Verdict::Retry) || text.contains("stale") || text.to_ascii_lowercase().contains("stale"));
        session.accepted(&response);
    }
    let mut server =
        DigestServer::new(DigestServerSettings { nonce_capacity: 4, ..DigestServerSettings::new("example.com") });
    for _ in 0..8 {
        assert!(!server.challenges(Time::ZERO, &mut random, false).is_empty());
    }
    let request = with_authorization(&value);
    let verification = server.verify(Time::ZERO, &request, Name::Authorization, |_| Some(SecretString::from("secret")));
    assert!(!matches!(verification, Verification::Accepted { .. }), "nobody knows the nonce: {text:?}");
}

fn base(builder: MessageBuilder, method: &Method) -> MessageBuilder {
    builder
        .field(Name::Via, HeaderValue::sanitized("SIP/2.0/WSS a.invalid;branch=z9hG4bK1"))
        .field(Name::From, HeaderValue::sanitized("<sip:alice@example.com>;tag=1"))
        .field(Name::To, HeaderValue::sanitized("<sip:alice@example.com>"))
        .field(Name::CallId, HeaderValue::sanitized("1"))
        .cseq(1, method)
}

fn with_credentials(status: u16, value: &HeaderValue) -> Message {
    let code = StatusCode::new(status).unwrap_or(StatusCode::BAD_REQUEST);
    let name = if status == 401 { Name::WwwAuthenticate } else { Name::ProxyAuthenticate };
    let message = base(MessageBuilder::status_line(code, None), &Method::Register)
        .field(name, value.clone())
        .field(Name::AuthenticationInfo, value.clone());
    read(message)
}

fn with_authorization(value: &HeaderValue) -> Message {
    let builder = MessageBuilder::request(&Method::Register, "sip:example.com");
    let builder = builder.unwrap_or_else(|error| panic!("a plain URI is refused: {error}"));
    read(base(builder, &Method::Register).field(Name::Authorization, value.clone()))
}

fn read(builder: MessageBuilder) -> Message {
    let bytes = builder.build();
    Message::parse_with(bytes.clone(), &Limits { header_bytes: 64 * 1024, ..Limits::DEFAULT })
        .unwrap_or_else(|error| panic!("what was written is refused: {error} in {bytes:?}"))
}
