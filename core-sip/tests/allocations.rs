//! What reading and writing a message allocates. One test alone in its program, since the counter is the program's.

use std::alloc::System;
use std::hint::black_box;

use bytes::Bytes;
use codex_core_sip::header_field::HeaderValue;
use codex_core_sip::sip::{Message, MessageBuilder, Name, StatusCode};
use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};

#[global_allocator]
static COUNTING: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

/// How often `work` asked for memory, and its result.
fn allocations<T>(work: impl FnOnce() -> T) -> (usize, T) {
    let region = Region::new(COUNTING);
    let result = black_box(work());
    let change = region.change();
    (change.allocations + change.reallocations, result)
}

fn invite() -> Bytes {
    let body = "v=0\r\n".to_owned() + &"a=candidate:1 1 udp 2122260223 192.0.2.20 54609 typ host\r\n".repeat(25);
    Bytes::from(format!(
        "INVITE sip:app-0f3d2c1b@sip.example.com SIP/2.0\r\nVia: SIP/2.0/WSS sbc.example.com:8443;branch=z9hG4bK-52;rport\r\n\
         Via: SIP/2.0/WSS 7q2m.invalid;branch=z9hG4bK68;received=198.51.100.23\r\nRecord-Route: <sip:sbc.example.com:8443;transport=ws;lr>\r\n\
         Max-Forwards: 69\r\nTo: <sip:app-0f3d2c1b@sip.example.com>\r\nFrom: \"Widget User\" <sip:widget-42@sip.example.com>;tag=k3u1\r\n\
         Call-ID: ke5mlh3c0q8d2vlp1t9a\r\nCSeq: 5437 INVITE\r\nContact: <sip:8n4d@7q2m.invalid;transport=ws;ob>;+sip.instance=\"<urn:uuid:6f>\"\r\n\
         Content-Type: application/sdp\r\nSession-Expires: 90\r\nSupported: timer,ice,replaces\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    ))
}

#[test]
fn reading_allocates_once_and_writing_hardly_more() {
    let invite = invite();
    let ringing = Bytes::from_static(
        b"SIP/2.0 180 Ringing\r\nVia: SIP/2.0/WSS a.invalid;branch=z9hG4bK1\r\nFrom: <sip:a@example.com>;tag=1\r\n\
          To: <sip:b@example.com>;tag=2\r\nCall-ID: c\r\nCSeq: 1 INVITE\r\nContent-Length: 0\r\n\r\n",
    );
    // The first use of a static table or a CPU feature test is not what is measured.
    drop(Message::parse(invite.clone()));

    for bytes in [&invite, &ringing] {
        let (count, message) = allocations(|| Message::parse(bytes.clone()).expect("a message"));
        assert_eq!(count, 1, "reading a message allocates its index and nothing else");

        let (count, ()) = allocations(|| {
            black_box(message.top_via().map(|via| via.branch().map(str::len))).expect("a Via");
            black_box(message.from().map(|from| from.tag().map(str::len))).expect("a From");
            black_box(message.to().map(|to| to.display_name().map(|name| name.len()))).expect("a To");
            black_box(message.call_id()).expect("a Call-ID");
            black_box(message.cseq()).expect("a CSeq");
            black_box((message.request_uri(), message.status(), message.number(Name::MaxForwards, 255)));
            black_box((message.content_type(), message.session_expires(), message.has_token(Name::Supported, "ice")));
            black_box((message.list(Name::RecordRoute).count(), message.body()));
        });
        assert_eq!(count, 0, "typed values borrow from the message");

        let (count, written) = allocations(|| message.as_bytes().clone());
        assert_eq!((count, &written), (0, bytes), "an unchanged message is written by counting a reference");

        if message.is_request() {
            let (count, answer) = allocations(|| MessageBuilder::response(&message, StatusCode::OK, None).build());
            assert!(count <= 2, "a message is built in one piece and cut to its size");
            assert_eq!(Message::parse(answer).expect("a message").status(), Some(StatusCode::OK));
        }

        let hops = HeaderValue::from_static("68");
        let (count, written) = allocations(|| message.edit().set(Name::MaxForwards, hops).build());
        assert!(count <= 2, "a changed message is written in one piece; its changes are a list");
        assert_eq!(Message::parse(written).expect("a message").number(Name::MaxForwards, 255), Some(Ok(68)));
    }
}
