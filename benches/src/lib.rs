//! What is measured: three operations on two messages, by core-sip and by other parsers in Rust.
//!
//! - `parse`: from the received bytes to the library's message;
//! - `typed`: the same, then every header that routing needs as a typed value with its URI parsed (Request-URI, all Via,
//!   all Record-Route, To, From, Contact, Call-ID, CSeq, Max-Forwards), then the whole message written anew;
//! - `write`: a parsed message written anew.
//!
//! core-sip could hand out the bytes that it has received. That is not what is compared: where it is to write, it writes
//! every header and the body into a new buffer, as the others do. `write-unchanged` and `typed-unchanged`, which only
//! core-sip has, hand them out; they are in no list.

use std::hint::black_box;

use bytes::Bytes;

/// A message as it is sent.
#[derive(Debug, Clone, Copy)]
pub struct Sample {
    /// Its name in the report.
    pub name: &'static str,
    /// The message.
    pub bytes: &'static [u8],
}

/// What is read and written.
pub const SAMPLES: [Sample; 2] = [
    Sample { name: "invite", bytes: include_bytes!("../messages/invite.sip") },
    Sample { name: "options", bytes: include_bytes!("../messages/options.sip") },
];

/// The names of the operations.
pub const OPERATIONS: [&str; 3] = ["parse", "typed", "write"];

/// The names of the libraries.
pub const LIBRARIES: [&str; 3] = ["core-sip", "rsip", "rsipstack"];

/// One call does the operation once. `None` for names that are not in the lists.
pub fn operation(library: &str, operation: &str, sample: &Sample) -> Option<Box<dyn FnMut()>> {
    Some(match library {
        "core-sip" => core_sip::operation(operation, Bytes::from_static(sample.bytes))?,
        "rsip" => rsip_0_4::operation(operation, sample.bytes)?,
        "rsipstack" => rsipstack_0_7::operation(operation, sample.bytes)?,
        _ => return None,
    })
}

/// The sample of this name.
pub fn sample(name: &str) -> Option<&'static Sample> {
    SAMPLES.iter().find(|sample| sample.name == name)
}

mod core_sip {
    use super::*;
    use codex_core_sip::sip::header::Name;
    use codex_core_sip::sip::message::{Message, MessageBuilder};
    use codex_core_sip::sip::uri::UriRef;

    pub(super) fn operation(operation: &str, bytes: Bytes) -> Option<Box<dyn FnMut()>> {
        let parsed = parse(&bytes);
        let copy = Message::parse(write(&parsed)).expect("what was written is a message");
        assert_eq!(copy.header_lines().count(), parsed.header_lines().count(), "every header is written");
        assert_eq!(copy.body(), parsed.body());
        Some(match operation {
            "parse" => Box::new(move || drop(black_box(parse(&bytes)))),
            "typed" => Box::new(move || {
                let message = parse(&bytes);
                typed(&message);
                drop(black_box(write(&message)));
            }),
            "write" => Box::new(move || drop(black_box(write(&parsed)))),
            "typed-unchanged" => Box::new(move || {
                let message = parse(&bytes);
                typed(&message);
                drop(black_box(unchanged(&message)));
            }),
            "write-unchanged" => Box::new(move || drop(black_box(unchanged(&parsed)))),
            _ => return None,
        })
    }

    fn parse(bytes: &Bytes) -> Message {
        Message::parse(black_box(bytes).clone()).expect("the sample is a message")
    }

    fn typed(message: &Message) {
        const REASON: &str = "the sample is well-formed";
        black_box(UriRef::parse(message.request_uri().expect(REASON)).expect(REASON));
        for via in message.via_iter() {
            black_box(via.expect(REASON));
        }
        for route in message.address_iter(Name::RecordRoute) {
            black_box(route.expect(REASON).parse_uri_ref().expect(REASON));
        }
        for address in [message.to().expect(REASON), message.from().expect(REASON)] {
            black_box(address.tag());
            black_box(address.parse_uri_ref().expect(REASON));
        }
        for contact in message.contact_iter() {
            black_box(contact.expect(REASON).parse_uri_ref().expect(REASON));
        }
        black_box(message.call_id().expect(REASON));
        black_box(message.cseq().expect(REASON));
        black_box(message.number(Name::MaxForwards, 255).expect(REASON).expect(REASON));
    }

    /// Every header anew, name by name and value by value, and the body copied.
    fn write(message: &Message) -> Bytes {
        MessageBuilder::from_message(black_box(message)).build()
    }

    /// What was received, as an element sends it that has changed nothing.
    fn unchanged(message: &Message) -> Bytes {
        black_box(message).as_bytes().clone()
    }
}

mod rsip_0_4 {
    use super::*;
    use rsip::SipMessage;
    use rsip::headers::{Header, ToTypedHeader as _};
    use rsip::message::{HasHeaders as _, HeadersExt as _};

    const REASON: &str = "the sample is well-formed";

    pub(super) fn operation(operation: &str, bytes: &'static [u8]) -> Option<Box<dyn FnMut()>> {
        let parsed = parse(bytes);
        assert_eq!(parse(&write(&parsed)).headers().iter().count(), parsed.headers().iter().count());
        Some(match operation {
            "parse" => Box::new(move || drop(black_box(parse(bytes)))),
            "typed" => Box::new(move || {
                let message = parse(bytes);
                typed(&message);
                drop(black_box(write(&message)));
            }),
            "write" => Box::new(move || drop(black_box(write(&parsed)))),
            _ => return None,
        })
    }

    fn parse(bytes: &[u8]) -> SipMessage {
        SipMessage::try_from(black_box(bytes)).expect("the sample is a message")
    }

    /// The Request-URI is parsed with the message.
    fn typed(message: &SipMessage) {
        for header in message.headers().iter() {
            match header {
                Header::Via(via) => drop(black_box(via.typed().expect(REASON))),
                Header::RecordRoute(route) => drop(black_box(route.typed().expect(REASON))),
                // rsip has no type for `+sip.instance` and gives up; it is not held against it.
                Header::Contact(contact) => drop(black_box(contact.typed())),
                _ => {}
            }
        }
        drop(black_box(message.to_header().expect(REASON).typed().expect(REASON)));
        drop(black_box(message.from_header().expect(REASON).typed().expect(REASON)));
        black_box(message.call_id_header().expect(REASON));
        black_box(message.cseq_header().expect(REASON).typed().expect(REASON));
        black_box(message.max_forwards_header().expect(REASON).num().expect(REASON));
    }

    fn write(message: &SipMessage) -> Vec<u8> {
        black_box(message).to_string().into_bytes()
    }
}

mod rsipstack_0_7 {
    use super::*;
    use rsipstack::sip::prelude::*;
    use rsipstack::sip::{Header, SipMessage};

    const REASON: &str = "the sample is well-formed";

    pub(super) fn operation(operation: &str, bytes: &'static [u8]) -> Option<Box<dyn FnMut()>> {
        let parsed = parse(bytes);
        assert_eq!(parse(&write(&parsed)).headers().iter().count(), parsed.headers().iter().count());
        Some(match operation {
            "parse" => Box::new(move || drop(black_box(parse(bytes)))),
            "typed" => Box::new(move || {
                let message = parse(bytes);
                typed(&message);
                drop(black_box(write(&message)));
            }),
            "write" => Box::new(move || drop(black_box(write(&parsed)))),
            _ => return None,
        })
    }

    fn parse(bytes: &[u8]) -> SipMessage {
        SipMessage::try_from(black_box(bytes)).expect("the sample is a message")
    }

    /// The Request-URI is parsed with the message.
    fn typed(message: &SipMessage) {
        for header in message.headers().iter() {
            if let Header::Via(via) = header {
                drop(black_box(via.typed().expect(REASON)));
            }
        }
        drop(black_box(message.typed_record_route_headers().expect(REASON)));
        drop(black_box(message.typed_contact_headers().expect(REASON)));
        drop(black_box(message.to_header().expect(REASON).typed().expect(REASON)));
        drop(black_box(message.from_header().expect(REASON).typed().expect(REASON)));
        black_box(message.call_id_header().expect(REASON));
        black_box(message.cseq_header().expect(REASON).typed().expect(REASON));
        black_box(message.max_forwards_header().expect(REASON).value().parse::<u32>().expect(REASON));
    }

    fn write(message: &SipMessage) -> Vec<u8> {
        black_box(message).to_bytes()
    }
}
