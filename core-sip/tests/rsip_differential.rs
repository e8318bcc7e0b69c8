//! Our parser and that of the crate `rsip` over the same generated messages: what `rsip` can read, both read alike.

#![cfg(feature = "rsip")]

use std::cell::Cell;

use bytes::Bytes;
use codex_core_sip::sip::{Message, StatusCode, Uri};
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use rsip::headers::ToTypedHeader;
use rsip::message::HeadersExt;

/// A URI of the kind that `rsip` can read: no punctuation in the user part, no IPv6 address.
fn uri() -> impl Strategy<Value = String> {
    let user = proptest::option::of("[a-zA-Z0-9]{1,10}");
    let host = "[a-z][a-z0-9]{0,6}(\\.[a-z]{2,4}){1,2}|192\\.0\\.2\\.[1-9][0-9]?";
    let port = proptest::option::of(1_u16..);
    let params =
        proptest::collection::vec("lr|ob|transport=(udp|tcp|tls|ws|wss)|user=phone|[a-z]{4,6}=[a-z0-9.]{1,6}", 0..3);
    ("sips?", user, host, port, params).prop_map(|(scheme, user, host, port, params)| {
        let mut params: Vec<String> = params;
        params.sort();
        params.dedup_by(|a, b| a.split('=').next() == b.split('=').next());
        let user = user.map(|user| format!("{user}@")).unwrap_or_default();
        let port = port.map(|port| format!(":{port}")).unwrap_or_default();
        let params: String = params.iter().map(|param| format!(";{param}")).collect();
        format!("{scheme}:{user}{host}{port}{params}")
    })
}

fn address() -> impl Strategy<Value = String> {
    (proptest::option::of("\"[A-Za-z .]{1,12}\" |[A-Z][a-z]{1,8} "), uri())
        .prop_map(|(display, uri)| format!("{}<{uri}>", display.unwrap_or_default()))
}

/// The first line and, of a request, its method.
fn first_line() -> impl Strategy<Value = (String, String)> {
    let methods = prop::sample::select(vec![
        "INVITE", "ACK", "BYE", "CANCEL", "REGISTER", "OPTIONS", "INFO", "UPDATE", "MESSAGE", "NOTIFY",
    ]);
    let codes = prop::sample::select(vec![100_u16, 180, 183, 200, 302, 401, 404, 480, 486, 503, 603]);
    prop_oneof![
        (methods.clone(), uri()).prop_map(|(method, uri)| (format!("{method} {uri} SIP/2.0"), method.to_owned())),
        // `rsip` keeps no phrase for the codes that it knows, so it is the usual one.
        (codes, methods).prop_map(|(code, method)| {
            let phrase = StatusCode::new(code).map_or("", StatusCode::default_reason);
            (format!("SIP/2.0 {code} {phrase}"), method.to_owned())
        }),
    ]
}

fn message() -> impl Strategy<Value = String> {
    let vias = proptest::collection::vec(
        ("UDP|TCP|TLS|WS|WSS", "[a-z]{2,8}\\.(invalid|example)", proptest::option::of(1_u16..), "[A-Za-z0-9]{1,12}"),
        1..4,
    );
    let extra = proptest::collection::vec(
        prop_oneof![
            "X-[A-Z][a-z]{1,6}: [!-~]([ -~]{0,20}[!-~])?",
            "Subject: [a-zж]([a-zж ]{0,10}[a-zж])?",
            "Supported: (timer|100rel|replaces)(, (outbound|gruu)){0,2}",
            "Expires: [1-9][0-9]{0,4}",
            "User-Agent: [A-Za-z]{1,8}/[0-9]\\.[0-9]",
        ],
        0..6,
    );
    let names = ("[A-Za-z0-9]{1,16}", "[A-Za-z0-9]{1,10}", proptest::option::of("[A-Za-z0-9]{1,10}"), 1_u32..(1 << 31));
    (first_line(), vias, address(), address(), names, proptest::option::of(address()), extra, "[ -~]{0,40}").prop_map(
        |((line, method), vias, from, to, (call_id, from_tag, to_tag, number), contact, extra, body)| {
            let mut text = format!("{line}\r\n");
            for (transport, host, port, branch) in vias {
                let port = port.map(|port| format!(":{port}")).unwrap_or_default();
                text.push_str(&format!("Via: SIP/2.0/{transport} {host}{port};branch=z9hG4bK{branch}\r\n"));
            }
            let to_tag = to_tag.map(|tag| format!(";tag={tag}")).unwrap_or_default();
            text.push_str(&format!("Max-Forwards: 70\r\nFrom: {from};tag={from_tag}\r\nTo: {to}{to_tag}\r\n"));
            text.push_str(&format!("Call-ID: {call_id}\r\nCSeq: {number} {method}\r\n"));
            if let Some(contact) = contact {
                text.push_str(&format!("Contact: {contact}\r\n"));
            }
            let mut extra: Vec<String> = extra;
            extra.sort();
            extra.dedup_by(|a, b| a.split(':').next() == b.split(':').next());
            for line in extra {
                text.push_str(&format!("{line}\r\n"));
            }
            text.push_str(&format!("Content-Length: {}\r\n\r\n{body}", body.len()));
            text
        },
    )
}

fn same<T: PartialEq + std::fmt::Debug>(what: &str, ours: &T, theirs: &T) -> Result<(), TestCaseError> {
    prop_assert_eq!(ours, theirs, "{}", what);
    Ok(())
}

/// The typed headers that both know.
fn compare_typed(ours: &Message, theirs: &impl HeadersExt, text: &str) -> Result<(), TestCaseError> {
    let cseq = ours.cseq().expect("checked when it was read");
    if let Ok(header) = theirs.cseq_header().and_then(ToTypedHeader::typed) {
        same(text, &cseq.number, &header.seq)?;
        same(text, &cseq.method.to_string(), &header.method.to_string())?;
    }
    if let Ok(header) = theirs.via_header().and_then(ToTypedHeader::typed) {
        let via = ours.top_via().expect("rsip reads it");
        same(text, &via.transport().to_ascii_uppercase(), &header.transport.to_string().to_ascii_uppercase())?;
        same(text, &via.branch().map(str::to_owned), &header.branch().map(ToString::to_string))?;
    }
    let address = |ours: codex_core_sip::sip::NameAddr<'_>, uri: &rsip::Uri, tag: Option<String>| {
        let converted = Uri::try_from(uri).expect("rsip has read it");
        prop_assert!(ours.parse_uri().expect("rsip reads it").equivalent(&converted), "{} {}", text, converted);
        same(text, &ours.tag().map(str::to_owned), &tag)
    };
    if let Ok(header) = theirs.from_header().and_then(ToTypedHeader::typed) {
        address(ours.from().expect("rsip reads it"), &header.uri, header.tag().map(ToString::to_string))?;
    }
    if let Ok(header) = theirs.to_header().and_then(ToTypedHeader::typed) {
        address(ours.to().expect("rsip reads it"), &header.uri, header.tag().map(ToString::to_string))?;
    }
    Ok(())
}

#[test]
fn what_rsip_reads_both_read_alike() {
    let read_by_both = Cell::new(0_u32);
    let cases = 2000;
    TestRunner::new(Config { cases, failure_persistence: None, ..Config::default() })
        .run(&message(), |text| {
            let ours =
                Message::parse(Bytes::from(text.clone())).map_err(|e| TestCaseError::fail(format!("{e}: {text}")))?;
            ours.check().map_err(|e| TestCaseError::fail(format!("{e}: {text}")))?;
            let Ok(theirs) = rsip::SipMessage::try_from(text.as_str()) else { return Ok(()) };
            let converted =
                rsip::SipMessage::try_from(&ours).map_err(|e| TestCaseError::fail(format!("{e}: {text}")))?;
            prop_assert_eq!(&converted, &theirs, "{}", text);
            let back = Message::try_from(&theirs).map_err(|e| TestCaseError::fail(format!("{e}: {text}")))?;
            prop_assert_eq!(back.as_bytes(), text.as_bytes());
            match &theirs {
                rsip::SipMessage::Request(request) => compare_typed(&ours, request, &text)?,
                rsip::SipMessage::Response(response) => compare_typed(&ours, response, &text)?,
            }
            read_by_both.set(read_by_both.get() + 1);
            Ok(())
        })
        .unwrap_or_else(|e| panic!("{e}"));
    assert!(read_by_both.get() > cases / 2, "only {} of {cases} were read by both", read_by_both.get());
}
