//! What the wire format reads, refuses and writes.

use bytes::Bytes;
use proptest::prelude::*;

use super::*;
use crate::error::Error;
use crate::header_field::{HeaderName, HeaderValue};

/// A request that is right, with `extra` header lines (each ending in CR LF) before its empty line.
fn options(extra: &str) -> Bytes {
    Bytes::from(format!(
        "OPTIONS sip:bob@example.com SIP/2.0\r\nVia: SIP/2.0/WSS a.invalid;branch=z9hG4bK1\r\nMax-Forwards: 70\r\n\
         From: <sip:alice@example.com>;tag=1\r\nTo: <sip:bob@example.com>\r\nCall-ID: c1\r\nCSeq: 1 OPTIONS\r\n{extra}\r\n"
    ))
}

#[test]
fn a_request_is_read() {
    let message = Message::parse(options("Contact: \"A, B\" <sip:a@[::1]:7;ob>;q=0.3, <sip:b@h>\r\n")).unwrap();
    assert_eq!(message.method(), Some(&Method::Options));
    assert_eq!(message.request_uri(), Some("sip:bob@example.com"));
    assert_eq!(message.top_via().unwrap().branch(), Some("z9hG4bK1"));
    assert_eq!(message.from().unwrap().tag(), Some("1"));
    assert_eq!(message.to().unwrap().tag(), None);
    assert_eq!(message.call_id().unwrap(), "c1");
    assert_eq!(message.cseq().unwrap(), CSeq { number: 1, method: Method::Options });
    let contacts = message.contacts().unwrap();
    assert_eq!(contacts.len(), 2);
    assert_eq!(contacts[0].display_name().as_deref(), Some("A, B"));
    assert_eq!(contacts[0].parse_uri().unwrap().host(), "[::1]");
}

#[test]
fn a_response_copies_what_identifies_the_request() {
    let request = Message::parse(options("")).unwrap();
    let bytes = MessageBuilder::response(&request, StatusCode::OK, None)
        .to_tag("xyz")
        .to_tag("again")
        .field(HeaderName::from_static("X-Test"), HeaderValue::from_static("1"))
        .body(HeaderValue::from_static("text/plain"), "hi")
        .build();
    let response = Message::parse(bytes).unwrap();
    assert_eq!(response.status(), Some(StatusCode::OK));
    assert_eq!(response.reason_phrase(), Some("OK"));
    assert_eq!(response.to().unwrap().tag(), Some("xyz"));
    assert_eq!(response.body(), b"hi");
    assert_eq!(response.header_named("x-test").as_deref(), Some("1"));
}

#[test]
fn the_index_is_small() {
    assert_eq!(size_of::<Line>(), 16);
}

/// Every liberty of the grammar at once (RFC 4475 §3.1.1.1 tests the same ones).
const TORTUOUS: &str = "INVITE sip:vivian@example.net;unknown SIP/2.0\r\n\
    tO :\r\n sip:vivian@example.net ;   tag    = 19\r\n\
    fRoM   : \"J \\\\\\\"\"       <sip:jo@example.net>\r\n  ;\r\n  tag = 98as\r\n\
    mAx-FoRwArDs: 0068\r\n\
    i: one.two@192.0.2.1\r\n\
    Content-Length   : 4\r\n\
    cseq: 0009\r\n  INVITE\r\n\
    Via  : SIP  /   2.0\r\n /UDP\r\n    192.0.2.2;branch=39skd\r\n\
    s :\r\n\
    Fangled:   new\r\n\t more\r\n\
    Odd: ;;,,;;,;\r\n\
    c: application/sdp\r\n\
    Route:\r\n <sip:a.example.net;lr;with=value;without>\r\n\
    v:  SIP  / 2.0  / TCP     h.example.net   ;\r\n  branch  =   z9hG4bK9 ,\r\n SIP  /    2.0   / UDP  192.0.2.5 : 5061 ; branch=\r\n z9hG4bK3\r\n\
    m:\"Quoted \\\"\\\"\" <sip:q@example.net> ; a =\r\n      b ;\r\n  flag ; q = 0.33\r\n\
    \r\nbody and what follows it";

#[test]
fn every_liberty_of_the_grammar_is_read() {
    let message = Message::parse(Bytes::from_static(TORTUOUS.as_bytes())).unwrap();
    assert_eq!(message.to().unwrap().tag(), Some("19"));
    assert_eq!(message.to().unwrap().uri(), "sip:vivian@example.net");
    assert_eq!(message.from().unwrap().display_name().as_deref(), Some("J \\\""));
    assert_eq!(message.from().unwrap().tag(), Some("98as"));
    assert_eq!(message.number(Name::MaxForwards, 255), Some(Ok(68)));
    assert_eq!(message.call_id().unwrap(), "one.two@192.0.2.1");
    assert_eq!(message.cseq().unwrap(), CSeq { number: 9, method: Method::Invite });
    assert_eq!(message.header(Name::Subject).as_deref(), Some(""));
    assert_eq!(message.header_named("FANGLED").as_deref(), Some("new more"));
    assert_eq!(message.header_named("subject").as_deref(), Some(""));
    assert!(message.content_type().unwrap().is("Application/SDP"));
    assert_eq!(message.body(), b"body");
    assert_eq!(message.as_bytes(), TORTUOUS.as_bytes());
    let vias = message.vias().unwrap();
    assert_eq!(vias.iter().map(|v| v.branch().unwrap()).collect::<Vec<_>>(), ["39skd", "z9hG4bK9", "z9hG4bK3"]);
    assert_eq!(vias.iter().map(Via::transport).collect::<Vec<_>>(), ["UDP", "TCP", "UDP"]);
    assert_eq!((vias[2].sent_by_host(), vias[2].sent_by_port()), ("192.0.2.5", Some(5061)));
    assert_eq!(message.top_via().unwrap(), vias[0]);
    let contacts = message.contacts().unwrap();
    assert_eq!(contacts[0].display_name().as_deref(), Some("Quoted \"\""));
    assert_eq!(contacts[0].param("Q").flatten().as_deref(), Some("0.33"));
    assert_eq!(contacts[0].param("flag"), Some(None));
    assert_eq!(contacts[0].param("none"), None);
    assert_eq!(message.list(Name::Route).collect::<Vec<_>>(), ["<sip:a.example.net;lr;with=value;without>"]);
}

#[test]
fn what_is_unusual_but_right_is_read() {
    let replaced = |from: &str, to: &str| String::from_utf8(options("").to_vec()).unwrap().replace(from, to);
    let odd = "!interesting-Method0123456789_*+`.%indeed'~";
    let cases = [
        ("an unknown method of odd characters", replaced("OPTIONS", odd)),
        (
            "a user part of odd characters",
            replaced("sip:bob@example.com SIP", "sip:1_u~(to-be!s)&isn't+it$/crazy?,/;;*:&it+has=1@example.com SIP"),
        ),
        ("escaped NUL in a user part", replaced("sip:bob@", "sip:n-%00-l@")),
        ("control characters in quoted pairs", replaced("From: <", "From: \"BEL:\\\u{7} NUL:\\\0 DEL:\\\u{7f}\" <")),
        ("NUL after NUL in quoted pairs and folds", replaced("From: <", "From: \"\\\0\\\0\r\n \\\\\\\0\" <")),
        ("no blank before <", replaced("From: <", "From: caller<")),
        ("an unknown scheme", replaced("sip:bob@example.com SIP", "nobodyKnowsThisScheme:totally-opaque SIP")),
        ("a scheme of odd characters", replaced("sip:bob@example.com SIP", "soap.beep://192.0.2.103:3002 SIP")),
        ("an IPv6 host", replaced("sip:bob@example.com SIP", "sip:[2001:db8::10]:5070 SIP")),
        ("empty lines before the start line", "\r\n\r\n".to_owned() + &replaced("", "")),
        ("no Max-Forwards", replaced("Max-Forwards: 70\r\n", "")),
        ("a lower-case version", replaced("SIP/2.0\r\nVia", "sip/2.0\r\nVia")),
        ("text that is not ASCII", replaced("From: <", "From: \"Иван 👋\" <")),
        (
            "a reason phrase of many languages",
            replaced("OPTIONS sip:bob@example.com SIP/2.0", "SIP/2.0 200 = 2**3 * \u{43d}\u{435}"),
        ),
        ("an empty reason phrase", replaced("OPTIONS sip:bob@example.com SIP/2.0", "SIP/2.0 100 ")),
        ("no blank before no reason phrase", replaced("OPTIONS sip:bob@example.com SIP/2.0", "SIP/2.0 100")),
    ];
    for (what, text) in cases {
        let message = Message::parse(Bytes::from(text.clone())).unwrap_or_else(|e| panic!("{what}: {e}"));
        assert_eq!(message.as_bytes(), text.as_bytes());
        message.from().unwrap_or_else(|e| panic!("{what}: {e}"));
        message.top_via().unwrap_or_else(|e| panic!("{what}: {e}"));
    }
}

#[test]
fn what_is_dangerous_is_refused() {
    let replaced = |from: &str, to: &str| String::from_utf8(options("").to_vec()).unwrap().replacen(from, to, 1);
    let extra = |line: &str| replaced("CSeq", &format!("{line}\r\nCSeq"));
    let response = |line: &str| replaced("OPTIONS sip:bob@example.com SIP/2.0", line);
    let cases = [
        ("nothing", String::new()),
        ("only empty lines", "\r\n\r\n".to_owned()),
        ("no end of the headers", replaced("\r\n\r\n", "\r\n")),
        ("Via missing", replaced("Via", "Vai")),
        ("From missing", replaced("From", "Form")),
        ("To missing", replaced("To", "Ot")),
        ("Call-ID missing", replaced("Call-ID", "Cal-ID")),
        ("CSeq missing", replaced("CSeq", "SCeq")),
        ("an empty To", replaced("To: <sip:bob@example.com>", "To: ")),
        ("two From", extra("f: <sip:eve@example.com>")),
        ("two To", extra("t: <sip:eve@example.com>")),
        ("two Call-ID", extra("i: c2")),
        ("a Call-ID of two words", replaced("Call-ID: c1", "Call-ID: c1 c2")),
        ("a Call-ID of two words in two lines", replaced("Call-ID: c1", "Call-ID: c1\r\n c2")),
        ("two CSeq", extra("CSeq: 2 OPTIONS")),
        ("two Max-Forwards", extra("Max-Forwards: 69")),
        ("two Content-Length", extra("Content-Length: 0\r\nl: 0")),
        ("Content-Length beyond the body", extra("Content-Length: 1")),
        ("a negative Content-Length", extra("Content-Length: -999")),
        ("Content-Length beyond 64 bits", extra("Content-Length: 18446744073709551617")),
        ("Max-Forwards above 255", replaced("70", "256")),
        ("Max-Forwards that is no number", replaced("70", "x")),
        ("a CSeq of 2^31", replaced("1 OPTIONS", "2147483648 OPTIONS")),
        ("a CSeq beyond 64 bits", replaced("1 OPTIONS", "36893488147419103232 OPTIONS")),
        ("a CSeq without method", replaced("1 OPTIONS", "1")),
        ("a CSeq of another method", replaced("1 OPTIONS", "1 INVITE")),
        ("a CSeq of the method in another case", replaced("1 OPTIONS", "1 options")),
        ("a bare LF in a value", extra("X: a\nb")),
        ("a bare CR in a value", extra("X: a\rb")),
        ("NUL in a value", extra("X: a\0b")),
        ("NUL in a quoted string without backslash", extra("X: \"a\0b\"")),
        ("NUL after an escaped backslash", extra("X: \"a\\\\\0b\"")),
        ("NUL after a NUL in a quoted pair", extra("X: \"a\\\0\0b\"")),
        ("NUL after a quoted string in another line", extra("X: \"a\\\0\"\r\n \\\0b")),
        ("NUL after a backslash outside of quotes", extra("X: a\\\0b")),
        ("a header line without colon", extra("X")),
        ("a blank in a header name", extra("X Y: 1")),
        ("a header line without name", extra(": 1")),
        ("a fold before the first header", replaced("Via", " x\r\nVia")),
        ("two blanks in the request line", replaced("OPTIONS ", "OPTIONS  ")),
        ("a blank in the Request-URI", replaced("sip:bob@example.com SIP", "sip:bob@example.com; lr SIP")),
        ("a blank after the version", replaced("SIP/2.0\r\nVia", "SIP/2.0 \r\nVia")),
        ("a tab in the request line", replaced("OPTIONS ", "OPTIONS\t")),
        ("angle brackets round the Request-URI", replaced("sip:bob@example.com SIP", "<sip:bob@example.com> SIP")),
        ("headers in the Request-URI", replaced("sip:bob@example.com SIP", "sip:bob@example.com?Route=x SIP")),
        ("a Request-URI without scheme", replaced("sip:bob@example.com SIP", "bob@example.com SIP")),
        ("a broken escape in the Request-URI", replaced("sip:bob@", "sip:%0g@")),
        ("no version", replaced(" SIP/2.0", "")),
        ("a method that is no token", replaced("OPTIONS", "OPT[ONS")),
        ("status 99", response("SIP/2.0 099 No")),
        ("status 700", response("SIP/2.0 700 No")),
        ("status beyond 32 bits", response("SIP/2.0 4294967301 No")),
        ("status and phrase in one", response("SIP/2.0 200OK")),
        ("another response version", response("SIP/3.0 200 OK")),
        ("HTTP", response("HTTP/1.1 200 OK")),
    ];
    for (what, text) in cases {
        let result = Message::parse(Bytes::from(text));
        let error = result.err().unwrap_or_else(|| panic!("{what} was accepted"));
        assert!(error.rule.starts_with("RFC "), "{what}: {error}");
    }
}

#[test]
fn limits_hold() {
    let limits =
        Limits { message_bytes: 600, header_count: 8, header_bytes: 100, start_line_bytes: 60, ..Limits::DEFAULT };
    let parse = |text: Bytes| Message::parse_with(text, &limits);
    assert!(parse(options("")).is_ok());
    let folded = format!("X: a\r\n {}\r\n", "b".repeat(100));
    let many = "X: 1\r\n".repeat(5);
    let body = format!("\r\n{}", "x".repeat(600));
    for extra in [folded, many, body] {
        let error = parse(options(&extra)).unwrap_err();
        assert_eq!(rejection_status(&error), StatusCode::MESSAGE_TOO_LARGE, "{error}");
    }
    let long = String::from_utf8(options("").to_vec())
        .unwrap()
        .replace("bob@example.com SIP", &format!("{} SIP", "b".repeat(60)));
    assert_eq!(rejection_status(&parse(Bytes::from(long)).unwrap_err()), StatusCode::MESSAGE_TOO_LARGE);
}

#[test]
fn a_message_written_anew_says_the_same() {
    let text = "INVITE sip:bob@example.com SIP/2.0\r\nv: SIP/2.0/WSS a.invalid;branch=z9hG4bK1 \r\nf:<sip:a@example.com>;tag=1\r\n\
        t: <sip:b@example.com>\r\n ;x=y\r\ni: c1\r\nCSeq: 1 INVITE\r\nX-Other: 1\r\nc: text/plain\r\n\r\nbody";
    let message = Message::parse(Bytes::from_static(text.as_bytes())).unwrap();
    let expected = "INVITE sip:bob@example.com SIP/2.0\r\nVia: SIP/2.0/WSS a.invalid;branch=z9hG4bK1\r\n\
        From: <sip:a@example.com>;tag=1\r\nTo: <sip:b@example.com> ;x=y\r\nCall-ID: c1\r\nCSeq: 1 INVITE\r\nX-Other: 1\r\n\
        Content-Type: text/plain\r\nContent-Length: 4\r\n\r\nbody";
    assert_eq!(MessageBuilder::from_message(&message).build(), expected.as_bytes());
    let response = MessageBuilder::response(&message, StatusCode::OK, Some("Fine")).build();
    let read = Message::parse(response.clone()).unwrap();
    assert_eq!(MessageBuilder::from_message(&read).build(), response);
    let again = message.via_iter().chain(read.via_iter()).collect::<Result<Vec<_>, _>>().unwrap();
    assert_eq!(again, [message.top_via().unwrap(), read.top_via().unwrap()]);
}

#[test]
fn a_request_that_was_refused_can_be_answered() {
    let text = String::from_utf8(options("").to_vec()).unwrap();
    let cases = [
        (text.replace("SIP/2.0\r\nVia", "SIP/7.0\r\nVia"), Some(505)),
        (text.replace("70", "700"), Some(400)),
        (text.replace("1 OPTIONS", "1 INVITE"), Some(400)),
        (text.replace("Call-ID", "X"), None),
        (text.replace("OPTIONS", "ACK").replace("70", "700"), None),
        (text.replace("OPTIONS sip:bob@example.com SIP/2.0", "SIP/2.0 999 X"), None),
    ];
    for (text, status) in cases {
        let bytes = Bytes::from(text.clone());
        let error = Message::parse(bytes.clone()).unwrap_err();
        let answer = Message::parse_for_rejection(bytes, &Limits::DEFAULT)
            .map(|request| Message::parse(MessageBuilder::response(&request, rejection_status(&error), None).build()));
        assert_eq!(answer.map(|r| r.ok().and_then(|m| m.status()).map(StatusCode::as_u16)), status.map(Some), "{text}");
    }
}

#[test]
fn what_is_not_utf8_does_no_harm() {
    let mut bytes = options("").to_vec();
    let at = bytes.windows(6).position(|w| w == b"From: ").unwrap() + 6;
    bytes.splice(at..at, *b"\"M\xfcller\" ");
    let message = Message::parse(Bytes::from(bytes.clone())).unwrap();
    assert_eq!(message.from().unwrap().display_name().as_deref(), Some("M\u{fffd}ller"));
    assert_eq!(message.as_bytes(), &bytes);
    let response = MessageBuilder::response(&message, StatusCode::OK, Some("\r\nX: 1\u{7}")).build();
    assert!(response.windows(10).any(|w| w == b"\"M\xfcller\" <"), "the response carries the same bytes");
    assert_eq!(Message::parse(response).unwrap().reason_phrase(), Some("X: 1"));

    let latin = [b"SIP/2.0 480 Nicht verf\xfcgbar\r\n".as_slice(), &options("")[37..]].concat();
    let message = Message::parse(Bytes::from(latin)).unwrap();
    assert_eq!(message.reason_phrase(), Some("Nicht verf"));
    let call_id = [&options("")[..], b""].concat();
    let call_id: Vec<u8> = String::from_utf8(call_id)
        .unwrap()
        .replace("c1", "c\u{1}")
        .bytes()
        .map(|b| if b == 1 { 0xff } else { b })
        .collect();
    assert!(Message::parse(Bytes::from(call_id)).unwrap().call_id().is_err());
}

#[test]
fn record_route_is_copied_where_a_dialog_can_begin() {
    let text =
        String::from_utf8(options("Record-Route: <sip:p1;lr>,\r\n <sip:p2;lr>\r\nTimestamp: 5\r\n").to_vec()).unwrap();
    let cases = [
        ("INVITE", StatusCode::TRYING, false, true),
        ("INVITE", StatusCode::RINGING, true, false),
        ("INVITE", StatusCode::OK, true, false),
        ("INVITE", StatusCode::BUSY_HERE, false, false),
        ("OPTIONS", StatusCode::OK, false, false),
    ];
    for (method, status, route, timestamp) in cases {
        let request = Message::parse(Bytes::from(text.replace("OPTIONS", method))).unwrap();
        let response = Message::parse(MessageBuilder::response(&request, status, None).build()).unwrap();
        assert_eq!(response.header(Name::RecordRoute).as_deref(), route.then_some("<sip:p1;lr>, <sip:p2;lr>"));
        assert_eq!(response.header(Name::Timestamp).is_some(), timestamp);
    }
}

#[test]
fn a_request_line_cannot_be_broken() {
    for uri in ["sip:a b", "sip:a\r\nX: 1", "sip:a\0", "", "a", "sip:", "sip:ö", "<sip:a>", "sip:a?b=c", "sip:\"a\"@h"]
    {
        assert!(matches!(MessageBuilder::request(&Method::Bye, uri), Err(Error::Malformed(_))), "{uri:?}");
    }
    for method in ["", "A B", "A\r\nB"] {
        assert!(MessageBuilder::request(&Method::Other(method.into()), "sip:a").is_err(), "{method:?}");
    }
    let value = name_addr_value(Name::From, Some("a\"\\\r\nX"), "sip:a@b", ";tag=1").unwrap();
    assert_eq!(value.as_str(), "\"a\\\"\\\\  X\" <sip:a@b>;tag=1");
    assert!(name_addr_value(Name::From, None, "sip:a>\r\n", "").is_err());
    assert!(name_addr_value(Name::From, None, "sip:a", ";a\r\n").is_err());
}

#[test]
fn debug_shows_no_values() {
    let message = Message::parse(options("Authorization: Digest username=\"secret\"\r\n")).unwrap();
    let debug = format!("{message:?}");
    assert!(debug.contains("Authorization") && !debug.contains("secret") && !debug.contains("alice"), "{debug}");
}

/// Asks for everything that a message can be asked for.
fn read_all(message: &Message) {
    let _ = (message.top_via(), message.vias(), message.from(), message.to(), message.call_id());
    let _ = (message.contacts(), message.content_type(), message.reason_phrase(), message.body().len());
    assert!(message.cseq().is_ok(), "checked when it was read");
    for &name in Name::ALL {
        let _ = (message.list(name).count(), message.number(name, u64::MAX), message.addresses(name));
    }
    for (_, value) in message.header_lines() {
        assert!(!value.contains(['\r', '\n']), "unfolded");
        let _ = (NameAddr::parse(&*value), Via::parse(&*value), ContentType::parse(&*value), CSeq::parse(&value));
        let _ = (crate::sip::uri::Uri::parse(&value), crate::sip::digest::Challenge::parse_all(&value));
    }
    if message.is_request() {
        let response = MessageBuilder::response(message, StatusCode::OK, None).to_tag("t").build();
        let response = Message::parse(response).expect("what was accepted can be answered");
        assert_eq!(response.call_id().ok(), message.call_id().ok());
    }
}

proptest! {
    #[test]
    fn mutated_messages_never_panic(
        edits in proptest::collection::vec((0..TORTUOUS.len(), 0..4_u8, any::<u8>(), 0..40_usize), 1..6),
        pick in any::<bool>(),
    ) {
        let mut bytes = if pick { TORTUOUS.as_bytes().to_vec() } else { options("k: a,\r\n b\r\nm: *\r\n").to_vec() };
        for (at, kind, value, length) in edits {
            let at = at % bytes.len().max(1);
            let end = (at + length).min(bytes.len());
            match kind {
                0 => bytes[at] = value,
                1 => bytes.insert(at, b" \t\r\n\0\\\",;:<>@=%/"[usize::from(value) % 16]),
                2 => { bytes.drain(at..end); }
                _ => { let copy = bytes[at..end].to_vec(); bytes.splice(at..at, copy); }
            }
            if bytes.is_empty() { break; }
        }
        let bytes = Bytes::from(bytes);
        if let Ok(message) = Message::parse(bytes.clone()) {
            prop_assert_eq!(message.as_bytes(), &bytes);
            read_all(&message);
        }
        if let Some(message) = Message::parse_for_rejection(bytes, &Limits::DEFAULT) {
            let _ = MessageBuilder::response(&message, StatusCode::BAD_REQUEST, None).build();
        }
    }

    #[test]
    fn any_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        prop_assert!(Message::parse(Bytes::from(bytes)).is_err());
    }

    #[test]
    fn what_is_built_is_read(
        fields in proptest::collection::vec(("[a-zA-Z0-9-]{1,12}", any::<String>()), 0..12),
        display in any::<String>(), body in proptest::collection::vec(any::<u8>(), 0..80), number in 0..=i32::MAX as u32,
    ) {
        let mut builder = MessageBuilder::request(&Method::Info, "sip:b@h;x=%20").unwrap()
            .field(Name::Via, HeaderValue::from_static("SIP/2.0/WS h;branch=z9hG4bK1"))
            .field(Name::From, name_addr_value(Name::From, Some(&display), "sip:a@h", ";tag=1").unwrap())
            .field(Name::To, HeaderValue::from_static("<sip:b@h>;tag=2"))
            .field(Name::CallId, HeaderValue::from_static("c"))
            .cseq(number, &Method::Info);
        let mut expected = Vec::new();
        for (name, value) in fields {
            // Such names are those of headers that occur once.
            let name = format!("X-T-{name}");
            let value = HeaderValue::sanitized(&value);
            expected.push((name.clone(), value.as_str().to_owned()));
            builder = builder.field(HeaderName::new(&name).unwrap(), value);
        }
        let bytes = builder.body(HeaderValue::from_static("a/b"), body.clone()).build();
        let message = Message::parse(bytes).unwrap();
        prop_assert_eq!(message.cseq().unwrap().number, number);
        let shown = message.from().unwrap().display_name().map(|n| n.into_owned()).unwrap_or_default();
        let sent: String = display.chars().map(|c| if c.is_ascii_control() { ' ' } else { c }).collect();
        prop_assert_eq!(shown, sent);
        let found: Vec<_> = message.header_lines().filter(|(n, _)| n.starts_with("X-T-"))
            .map(|(n, v)| (n.to_owned(), v.into_owned())).collect();
        prop_assert_eq!(found, expected);
        prop_assert_eq!(message.body(), body);
        prop_assert_eq!(message.header(Name::ContentLength).unwrap().parse(), Ok(message.body().len()));
    }
}
