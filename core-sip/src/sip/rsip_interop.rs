//! Conversions to and from the crate `rsip` (0.4), the vocabulary that other Rust SIP software shares.
//!
//! What `rsip` has no place for is an error, never dropped: unknown methods, `tel` and other schemes, headers of URIs,
//! values that are not UTF-8. What comes from `rsip` passes our own parser, since its values may hold CR and LF.
//! `rsip` knows no compact header names and no folding, so names go over in their long form and values unfolded; it
//! keeps no reason phrase for the status codes that it knows.

use std::net::IpAddr;

use bytes::Bytes;
use rsip::headers::header::Tokenizer as HeaderTokenizer;

use crate::error::{Error, Result};
use crate::header_field::{HeaderName, HeaderValue};
use crate::sip::header::Name;
use crate::sip::message::{Message, MessageBuilder, Method, StatusCode};
use crate::sip::uri::Uri;

fn no_place(what: &str) -> Error {
    Error::Protocol { problem: format!("the crate rsip cannot represent {what}") }
}

impl TryFrom<&Method> for rsip::Method {
    type Error = Error;

    fn try_from(method: &Method) -> Result<Self> {
        Ok(match method {
            Method::Invite => Self::Invite,
            Method::Ack => Self::Ack,
            Method::Bye => Self::Bye,
            Method::Cancel => Self::Cancel,
            Method::Register => Self::Register,
            Method::Options => Self::Options,
            Method::Info => Self::Info,
            Method::Update => Self::Update,
            Method::Prack => Self::PRack,
            Method::Refer => Self::Refer,
            Method::Notify => Self::Notify,
            Method::Subscribe => Self::Subscribe,
            Method::Message => Self::Message,
            Method::Publish => Self::Publish,
            Method::Other(_) => return Err(no_place("a method that it does not know")),
        })
    }
}

impl From<rsip::Method> for Method {
    fn from(method: rsip::Method) -> Self {
        match method {
            rsip::Method::Invite => Self::Invite,
            rsip::Method::Ack => Self::Ack,
            rsip::Method::Bye => Self::Bye,
            rsip::Method::Cancel => Self::Cancel,
            rsip::Method::Register => Self::Register,
            rsip::Method::Options => Self::Options,
            rsip::Method::Info => Self::Info,
            rsip::Method::Update => Self::Update,
            rsip::Method::PRack => Self::Prack,
            rsip::Method::Refer => Self::Refer,
            rsip::Method::Notify => Self::Notify,
            rsip::Method::Subscribe => Self::Subscribe,
            rsip::Method::Message => Self::Message,
            rsip::Method::Publish => Self::Publish,
        }
    }
}

impl From<StatusCode> for rsip::StatusCode {
    fn from(status: StatusCode) -> Self {
        match Self::from(status.as_u16()) {
            Self::Other(code, _) => Self::Other(code, status.default_reason().to_owned()),
            known => known,
        }
    }
}

impl TryFrom<&rsip::StatusCode> for StatusCode {
    type Error = Error;

    fn try_from(status: &rsip::StatusCode) -> Result<Self> {
        Self::new(status.code())
            .ok_or_else(|| Error::Protocol { problem: format!("{} is not a status code, 100 to 699", status.code()) })
    }
}

impl TryFrom<&Uri> for rsip::Uri {
    type Error = Error;

    fn try_from(uri: &Uri) -> Result<Self> {
        if !uri.is_sip() {
            return Err(no_place("URIs of other schemes than sip and sips without loss"));
        }
        if uri.headers().next().is_some() {
            return Err(no_place("headers of a URI"));
        }
        let host = uri.host();
        let address = host.strip_prefix('[').and_then(|h| h.strip_suffix(']')).unwrap_or(host);
        let host = match address.parse::<IpAddr>() {
            Ok(address) => rsip::Host::IpAddr(address),
            Err(_) => rsip::Host::Domain(host.into()),
        };
        let params = uri.params().map(param).collect();
        Ok(Self {
            scheme: Some(if uri.is_sips() { rsip::Scheme::Sips } else { rsip::Scheme::Sip }),
            auth: uri.user().map(|user| rsip::Auth::from((user, uri.password()))),
            host_with_port: rsip::HostWithPort { host, port: uri.port().map(rsip::Port::from) },
            params,
            headers: Vec::new(),
        })
    }
}

/// Well-known parameters keep their type only if nothing is lost by it: `rsip` knows no `transport=sctp-tls` and drops
/// the value of `lr=on`.
fn param((name, value): (&str, Option<&str>)) -> rsip::Param {
    let written = value.map_or_else(|| format!(";{name}"), |value| format!(";{name}={value}"));
    rsip::Param::try_from((name, value))
        .ok()
        .filter(|known| known.to_string().eq_ignore_ascii_case(&written))
        .unwrap_or_else(|| rsip::Param::Other(name.into(), value.map(Into::into)))
}

impl TryFrom<&rsip::Uri> for Uri {
    type Error = Error;

    fn try_from(uri: &rsip::Uri) -> Result<Self> {
        let mut text = match &uri.scheme {
            None => "sip:".to_owned(),
            Some(scheme) => format!("{scheme}:"),
        };
        if let Some(auth) = &uri.auth {
            text.push_str(&format!("{auth}@"));
        }
        // `rsip` writes IPv6 addresses without their brackets.
        match &uri.host_with_port.host {
            rsip::Host::IpAddr(IpAddr::V6(address)) => text.push_str(&format!("[{address}]")),
            host => text.push_str(&host.to_string()),
        }
        if let Some(port) = &uri.host_with_port.port {
            text.push_str(&format!(":{port}"));
        }
        for param in &uri.params {
            // `rsip` writes transports in capitals; everybody else writes them small.
            match param {
                rsip::Param::Transport(transport) => {
                    text.push_str(&format!(";transport={}", transport.to_string().to_ascii_lowercase()));
                }
                param => text.push_str(&param.to_string()),
            }
        }
        Ok(Self::parse(&text)?)
    }
}

fn headers_to_rsip(message: &Message) -> Result<rsip::Headers> {
    let mut headers = rsip::Headers::default();
    for (name, value) in message.header_lines_bytes() {
        let name = match Name::parse(name) {
            Some(known) => known.as_str(),
            None => name,
        };
        let header: rsip::Header = HeaderTokenizer::from((name.as_bytes(), &*value))
            .try_into()
            .map_err(|_| no_place("a header value that is not UTF-8"))?;
        headers.push(header);
    }
    Ok(headers)
}

impl TryFrom<&Message> for rsip::SipMessage {
    type Error = Error;

    fn try_from(message: &Message) -> Result<Self> {
        let headers = headers_to_rsip(message)?;
        let (version, body) = (rsip::Version::V2, message.body().to_vec());
        if let (Some(method), Some(uri)) = (message.method(), message.request_uri()) {
            let uri = (&Uri::parse(uri)?).try_into()?;
            return Ok(Self::Request(rsip::Request { method: method.try_into()?, uri, version, headers, body }));
        }
        let status = message.status().ok_or_else(|| no_place("a message that is neither request nor response"))?;
        let status_code = match (rsip::StatusCode::from(status.as_u16()), message.reason_phrase()) {
            (rsip::StatusCode::Other(code, _), Some(reason)) => rsip::StatusCode::Other(code, reason.to_owned()),
            (known, _) => known,
        };
        Ok(Self::Response(rsip::Response { status_code, version, headers, body }))
    }
}

impl TryFrom<&Message> for rsip::Request {
    type Error = Error;

    fn try_from(message: &Message) -> Result<Self> {
        match message.try_into()? {
            rsip::SipMessage::Request(request) => Ok(request),
            rsip::SipMessage::Response(_) => Err(Error::Protocol { problem: "a response is no request".to_owned() }),
        }
    }
}

impl TryFrom<&Message> for rsip::Response {
    type Error = Error;

    fn try_from(message: &Message) -> Result<Self> {
        match message.try_into()? {
            rsip::SipMessage::Response(response) => Ok(response),
            rsip::SipMessage::Request(_) => Err(Error::Protocol { problem: "a request is no response".to_owned() }),
        }
    }
}

/// Writes the message anew: each value is checked, and `Content-Length` is that of the body.
fn from_parts(
    mut builder: MessageBuilder,
    version: &rsip::Version,
    headers: &rsip::Headers,
    body: &[u8],
) -> Result<Message> {
    if *version != rsip::Version::V2 {
        return Err(Error::Protocol { problem: "the version is not SIP/2.0".to_owned() });
    }
    for header in headers.iter() {
        let line = header.to_string();
        let (name, value) = line.split_once(':').unwrap_or((&line, ""));
        builder = builder.field(HeaderName::new(name)?, HeaderValue::new(name, value)?);
    }
    Ok(Message::parse(builder.untyped_body(Bytes::copy_from_slice(body)).build())?)
}

impl TryFrom<&rsip::Request> for Message {
    type Error = Error;

    fn try_from(request: &rsip::Request) -> Result<Self> {
        let uri = Uri::try_from(&request.uri)?;
        let builder = MessageBuilder::request(&request.method.into(), uri.as_str())?;
        from_parts(builder, &request.version, &request.headers, &request.body)
    }
}

impl TryFrom<&rsip::Response> for Message {
    type Error = Error;

    fn try_from(response: &rsip::Response) -> Result<Self> {
        let status = StatusCode::try_from(&response.status_code)?;
        let reason = match &response.status_code {
            rsip::StatusCode::Other(_, reason) => Some(reason.as_str()),
            _ => None,
        };
        from_parts(MessageBuilder::status_line(status, reason), &response.version, &response.headers, &response.body)
    }
}

impl TryFrom<&rsip::SipMessage> for Message {
    type Error = Error;

    fn try_from(message: &rsip::SipMessage) -> Result<Self> {
        match message {
            rsip::SipMessage::Request(request) => request.try_into(),
            rsip::SipMessage::Response(response) => response.try_into(),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rsip::headers::UntypedHeader;

    use super::*;

    const REQUESTS: [&str; 4] = [
        "REGISTER sips:ss2.biloxi.example.com SIP/2.0\r\nVia: SIP/2.0/TLS client.biloxi.example.com:5061;branch=z9hG4bKnashd92\r\n\
         Max-Forwards: 70\r\nTo: Bob <sips:bob@biloxi.example.com>\r\nFrom: Bob <sips:bob@biloxi.example.com>;tag=ja743ks76zlflH\r\n\
         Call-ID: 1j9FpLxk3uxtm8tn@biloxi.example.com\r\nCSeq: 2 REGISTER\r\nContact: <sips:bob@client.biloxi.example.com>\r\n\
         Authorization: Digest username=\"bob\", realm=\"atlanta.example.com\", nonce=\"ea9c8e88df84f1cec4341ae6cbe5a359\", \
         opaque=\"\", uri=\"sips:ss2.biloxi.example.com\", response=\"dfe56131d1958046689d83306477ecc\"\r\nContent-Length: 0\r\n\r\n",
        "INVITE sip:bob:pw@192.0.2.1:5070;transport=tcp;lr;ob;x=y SIP/2.0\r\nVia: SIP/2.0/WSS a.invalid;branch=z9hG4bK1\r\n\
         Via: SIP/2.0/UDP b.invalid;branch=z9hG4bK2\r\nFrom: \"Ж\" <sip:a@b>;tag=1\r\nTo: <sip:bob@b>\r\nCall-ID: c\r\n\
         CSeq: 7 INVITE\r\nSubject: hi\r\nX-Customer-Data: {\"a\":\"ö\"}\r\nContent-Type: text/plain\r\nContent-Length: 4\r\n\r\nbody",
        "PRACK sip:b@h SIP/2.0\r\nVia: SIP/2.0/TCP h\r\nFrom: <sip:a@b>\r\nTo: <sip:b@b>\r\nCall-ID: c\r\nCSeq: 7 PRACK\r\n\
         RAck: 1 2 INVITE\r\nContent-Length: 0\r\n\r\n",
        "OPTIONS sip:h SIP/2.0\r\nVia: SIP/2.0/TCP h\r\nFrom: <sip:a@b>\r\nTo: <sip:b@b>\r\nCall-ID: c\r\nCSeq: 7 OPTIONS\r\n\
         Content-Length: 0\r\n\r\n",
    ];

    const RESPONSES: [&str; 2] = [
        "SIP/2.0 401 Unauthorized\r\nVia: SIP/2.0/WSS a.invalid;branch=z9hG4bK1\r\nFrom: <sip:a@b>;tag=1\r\n\
         To: <sip:b@b>;tag=2\r\nCall-ID: c\r\nCSeq: 1 REGISTER\r\nWWW-Authenticate: Digest realm=\"r\", nonce=\"n\"\r\n\
         Content-Length: 0\r\n\r\n",
        "SIP/2.0 299 Whatever it is\r\nVia: SIP/2.0/WSS a.invalid\r\nFrom: <sip:a@b>;tag=1\r\nTo: <sip:b@b>;tag=2\r\n\
         Call-ID: c\r\nCSeq: 1 OPTIONS\r\nContent-Length: 0\r\n\r\n",
    ];

    fn ours(text: &str) -> Message {
        Message::parse(Bytes::copy_from_slice(text.as_bytes())).unwrap()
    }

    #[test]
    fn both_parsers_read_the_same() {
        for text in REQUESTS.iter().chain(&RESPONSES) {
            let theirs = rsip::SipMessage::try_from(*text).unwrap();
            assert_eq!(rsip::SipMessage::try_from(&ours(text)).unwrap(), theirs, "{text}");
        }
    }

    #[test]
    fn what_goes_over_and_back_is_the_same_text() {
        for text in REQUESTS.iter().chain(&RESPONSES) {
            let theirs = rsip::SipMessage::try_from(&ours(text)).unwrap();
            assert_eq!(Message::try_from(&theirs).unwrap().as_bytes(), text.as_bytes(), "{text}");
        }
        let request = rsip::Request::try_from(&ours(REQUESTS[0])).unwrap();
        assert!(rsip::Response::try_from(&ours(REQUESTS[0])).is_err());
        assert_eq!(Message::try_from(&request).unwrap().as_bytes(), REQUESTS[0].as_bytes());
        let response = rsip::Response::try_from(&ours(RESPONSES[1])).unwrap();
        assert_eq!(Message::try_from(&response).unwrap().as_bytes(), RESPONSES[1].as_bytes());
    }

    #[test]
    fn names_are_long_and_values_unfolded_over_there() {
        let text = REQUESTS[3].replace("Via:", "v :").replace("<sip:b@b>", "\"B\"\r\n\t<sip:b@b>");
        let theirs = rsip::SipMessage::try_from(&ours(&text)).unwrap().to_string();
        assert!(
            theirs.contains("\r\nVia: SIP/2.0/TCP h\r\n") && theirs.contains("\r\nTo: \"B\" <sip:b@b>\r\n"),
            "{theirs}"
        );
    }

    #[test]
    fn methods_and_status_codes_go_both_ways() {
        for method in rsip::Method::all() {
            let ours = Method::from(method);
            assert_eq!((rsip::Method::try_from(&ours).unwrap(), ours.to_string()), (method, method.to_string()));
        }
        assert!(rsip::Method::try_from(&Method::Other("NEW".into())).is_err());
        for code in 100..700 {
            let ours = StatusCode::new(code).unwrap();
            assert_eq!(StatusCode::try_from(&rsip::StatusCode::from(ours)).unwrap(), ours);
        }
        assert!(StatusCode::try_from(&rsip::StatusCode::from(99)).is_err());
    }

    #[test]
    fn uris_go_both_ways_or_not_at_all() {
        for text in [
            "sip:h;lr=on;ttl=015;user=phone;maddr=192.0.2.1",
            "sip:a@[2001:db8::1]:5060;lr",
            "sips:h",
            "sip:%61:x@h.example;transport=ws;ob",
            "sip:h;transport=odd",
        ] {
            let theirs = rsip::Uri::try_from(&Uri::parse(text).unwrap()).unwrap();
            let back = Uri::try_from(&theirs).unwrap();
            assert!(back.equivalent(&Uri::parse(text).unwrap()), "{text} {theirs}");
            assert_eq!(back.params().count(), Uri::parse(text).unwrap().params().count(), "{text} {theirs}");
        }
        for text in ["tel:+7495", "urn:service:sos", "sip:h?Subject=x"] {
            assert!(rsip::Uri::try_from(&Uri::parse(text).unwrap()).is_err(), "{text}");
        }
    }

    #[test]
    fn line_breaks_in_their_values_are_refused() {
        let mut theirs = rsip::Request::try_from(&ours(REQUESTS[0])).unwrap();
        theirs.headers.push(rsip::Header::Subject(rsip::headers::Subject::new("x\r\nX-Evil: 1")));
        assert!(Message::try_from(&theirs).is_err());
    }

    proptest! {
        #[test]
        fn where_rsip_reads_a_uri_we_read_the_same(
            // rsip reads punctuation in a user part as part of the host.
            user in "[a-z0-9]{1,8}", host in "[a-z][a-z0-9-]{0,6}(\\.[a-z]{2,3}){0,2}", port in proptest::option::of(1..u16::MAX),
            params in proptest::collection::vec("[a-z]{3,6}(=[a-z0-9.]{1,6})?", 0..4),
        ) {
            let port = port.map(|p| format!(":{p}")).unwrap_or_default();
            let params: String = params.iter().map(|p| format!(";{p}")).collect();
            let text = format!("sip:{user}@{host}{port}{params}");
            let theirs = rsip::Uri::try_from(text.as_str());
            if let (Ok(theirs), Ok(ours)) = (theirs, Uri::parse(&text)) {
                prop_assert_eq!(rsip::Uri::try_from(&ours).unwrap(), theirs);
            }
        }
    }
}
