//! What is measured: three operations on two messages, by core-sip and by other parsers in Rust.
//!
//! - `parse`: from the received bytes to the library's message;
//! - `typed`: the same, then every header that routing needs as a typed value with its URI parsed (Request-URI, all Via,
//!   all Record-Route, To, From, Contact, Call-ID, CSeq, Max-Forwards), then the whole message written anew;
//! - `write`: a parsed message written anew.
//!
//! core-sip could hand out the bytes that it has received. That is not what is compared: where it is to write, it writes
//! every header and the body into a new buffer, as the others do.

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
    let bytes = Bytes::from_static(sample.bytes);
    match library {
        "core-sip" => repeatable::<CoreSip>(operation, bytes),
        "rsip" => repeatable::<Rsip>(operation, bytes),
        "rsipstack" => repeatable::<Rsipstack>(operation, bytes),
        _ => None,
    }
}

/// The sample of this name.
pub fn sample(name: &str) -> Option<&'static Sample> {
    SAMPLES.iter().find(|sample| sample.name == name)
}

/// What a library does.
trait Library {
    type Message: 'static;
    type Written: Into<Bytes>;

    fn parse(bytes: &Bytes) -> Self::Message;
    /// Reads every header that routing needs, and the URIs in them. Those who parse the Request-URI with the message have
    /// it already.
    fn typed(message: &Self::Message);
    /// Every header anew, name by name and value by value, and the body copied.
    fn write(message: &Self::Message) -> Self::Written;
    fn header_count(message: &Self::Message) -> usize;
}

fn repeatable<L: Library>(operation: &str, bytes: Bytes) -> Option<Box<dyn FnMut()>> {
    let parsed = L::parse(&bytes);
    let copy = L::parse(&L::write(&parsed).into());
    assert_eq!(L::header_count(&copy), L::header_count(&parsed), "every header is written");
    Some(match operation {
        "parse" => Box::new(move || drop(black_box(L::parse(black_box(&bytes))))),
        "typed" => Box::new(move || {
            let message = L::parse(black_box(&bytes));
            L::typed(&message);
            drop(black_box(L::write(black_box(&message))));
        }),
        "write" => Box::new(move || drop(black_box(L::write(black_box(&parsed))))),
        _ => return None,
    })
}

const REASON: &str = "the sample is well-formed";

struct CoreSip;

impl Library for CoreSip {
    type Message = codex_core_sip::sip::Message;
    type Written = Bytes;

    fn parse(bytes: &Bytes) -> Self::Message {
        codex_core_sip::sip::Message::parse(bytes.clone()).expect(REASON)
    }

    fn typed(message: &Self::Message) {
        use codex_core_sip::sip::header::Name;
        use codex_core_sip::sip::uri::UriRef;

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

    fn write(message: &Self::Message) -> Self::Written {
        codex_core_sip::sip::MessageBuilder::from_message(message).build()
    }

    fn header_count(message: &Self::Message) -> usize {
        message.header_lines().count()
    }
}

struct Rsip;

impl Library for Rsip {
    type Message = rsip::SipMessage;
    type Written = Vec<u8>;

    fn parse(bytes: &Bytes) -> Self::Message {
        rsip::SipMessage::try_from(&bytes[..]).expect(REASON)
    }

    fn typed(message: &Self::Message) {
        use rsip::headers::{Header, ToTypedHeader as _};
        use rsip::message::{HasHeaders as _, HeadersExt as _};

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

    fn write(message: &Self::Message) -> Self::Written {
        message.to_string().into_bytes()
    }

    fn header_count(message: &Self::Message) -> usize {
        use rsip::message::HasHeaders as _;

        message.headers().iter().count()
    }
}

struct Rsipstack;

impl Library for Rsipstack {
    type Message = rsipstack::sip::SipMessage;
    type Written = Vec<u8>;

    fn parse(bytes: &Bytes) -> Self::Message {
        rsipstack::sip::SipMessage::try_from(&bytes[..]).expect(REASON)
    }

    fn typed(message: &Self::Message) {
        use rsipstack::sip::Header;
        use rsipstack::sip::prelude::*;

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

    fn write(message: &Self::Message) -> Self::Written {
        message.to_bytes()
    }

    fn header_count(message: &Self::Message) -> usize {
        use rsipstack::sip::prelude::*;

        message.headers().iter().count()
    }
}
