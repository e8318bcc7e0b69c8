//! Dialogs of RFC 3261 §12: what two ends of a call know of each other.

use crate::error::ParseError;
use crate::sip::header::{Name, NameAddr};
use crate::sip::message::{Message, MessageBuilder, Method};

/// More proxies than this on the way are not believed; each of them costs a header in every request.
const MAX_ROUTES: usize = 32;

/// What tells a dialog from all others (RFC 3261 §12): the Call-ID and both tags.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct DialogId {
    /// The Call-ID.
    pub call_id: String,
    /// Our tag.
    pub local_tag: String,
    /// The far end's tag; empty if it gave none, as peers older than RFC 3261 do.
    pub remote_tag: String,
}

/// Where a request goes: its Request-URI and the `Route` headers it carries.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RequestTarget {
    /// The Request-URI.
    pub uri: String,
    /// Values of `Route`, in order.
    pub routes: Vec<String>,
}

/// How a request of the far end stands to those before it (RFC 3261 §12.2.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SequenceCheck {
    /// It is new.
    New,
    /// It has the number of the one before: a repetition.
    Repeated,
    /// It is older than one that has been seen; it gets a 500.
    OutOfOrder,
}

/// One proxy that wants to stay on the way.
#[derive(Debug, Clone)]
struct RouteEntry {
    /// The header value, as it came.
    text: String,
    /// The URI in it.
    uri: String,
    /// It is a loose router (`;lr`).
    loose: bool,
}

/// A dialog.
#[derive(Debug, Clone)]
pub struct Dialog {
    id: DialogId,
    local: String,
    remote: String,
    local_sequence: u32,
    remote_sequence: Option<u32>,
    routes: Vec<RouteEntry>,
    remote_target: String,
}

impl Dialog {
    /// The dialog that a response to our own INVITE makes (RFC 3261 §12.1.2). `from` is the `From` value and
    /// `local_sequence` the number of that INVITE.
    ///
    /// # Errors
    ///
    /// If the response has no usable `Contact`, `To`, `Call-ID` or `Record-Route`.
    pub fn from_response(
        from: &str,
        local_tag: &str,
        local_sequence: u32,
        response: &Message,
    ) -> Result<Self, ParseError> {
        let mut routes = routes(response)?;
        routes.reverse();
        let to = response.to()?;
        Ok(Self {
            id: DialogId {
                call_id: response.call_id()?.to_owned(),
                local_tag: local_tag.to_owned(),
                remote_tag: to.tag().unwrap_or_default().to_owned(),
            },
            local: from.to_owned(),
            remote: response.header(Name::To).unwrap_or_default().into_owned(),
            local_sequence,
            remote_sequence: None,
            routes,
            remote_target: remote_target(response)?,
        })
    }

    /// The dialog that our response with `local_tag` to an INVITE makes (RFC 3261 §12.1.1). Our own numbers start
    /// after `local_sequence`.
    ///
    /// # Errors
    ///
    /// If the request has no usable `Contact`, `From`, `Call-ID`, `CSeq` or `Record-Route`.
    pub fn from_request(request: &Message, local_tag: &str, local_sequence: u32) -> Result<Self, ParseError> {
        let from = request.from()?;
        let to = request.header(Name::To).unwrap_or_default();
        Ok(Self {
            id: DialogId {
                call_id: request.call_id()?.to_owned(),
                local_tag: local_tag.to_owned(),
                remote_tag: from.tag().unwrap_or_default().to_owned(),
            },
            local: format!("{to};tag={local_tag}"),
            remote: request.header(Name::From).unwrap_or_default().into_owned(),
            local_sequence,
            remote_sequence: Some(request.cseq()?.number),
            routes: routes(request)?,
            remote_target: remote_target(request)?,
        })
    }

    /// Its identity.
    #[must_use]
    pub fn id(&self) -> &DialogId {
        &self.id
    }

    /// The `From` of our requests, tag included.
    #[must_use]
    pub fn local(&self) -> &str {
        &self.local
    }

    /// The `To` of our requests, tag included.
    #[must_use]
    pub fn remote(&self) -> &str {
        &self.remote
    }

    /// The number of our last request.
    #[must_use]
    pub fn local_sequence(&self) -> u32 {
        self.local_sequence
    }

    /// The number for our next request.
    pub fn next_sequence(&mut self) -> u32 {
        // RFC 3261 §8.1.1.5: below 2^31. Nobody sends that many requests in one call.
        self.local_sequence = (self.local_sequence + 1) & 0x7fff_ffff;
        self.local_sequence
    }

    /// The far end's `Contact`.
    #[must_use]
    pub fn remote_target(&self) -> &str {
        &self.remote_target
    }

    /// Where our next request goes (RFC 3261 §12.2.1.1), past strict routers too.
    #[must_use]
    pub fn request_target(&self) -> RequestTarget {
        match self.routes.first() {
            None => RequestTarget { uri: self.remote_target.clone(), routes: Vec::new() },
            Some(first) if first.loose => RequestTarget {
                uri: self.remote_target.clone(),
                routes: self.routes.iter().map(|route| route.text.clone()).collect(),
            },
            Some(strict) => {
                // A strict router finds itself in the Request-URI and the real target at the end of the route.
                let mut routes: Vec<String> = self.routes.iter().skip(1).map(|route| route.text.clone()).collect();
                routes.push(format!("<{}>", self.remote_target));
                RequestTarget { uri: strict.uri.clone(), routes }
            }
        }
    }

    /// Takes note of the number of a request of the far end.
    pub fn check_sequence(&mut self, number: u32) -> SequenceCheck {
        match self.remote_sequence {
            Some(last) if number < last => SequenceCheck::OutOfOrder,
            Some(last) if number == last => SequenceCheck::Repeated,
            _ => {
                self.remote_sequence = Some(number);
                SequenceCheck::New
            }
        }
    }

    /// Goes on with the numbers of `early`, the same dialog before its confirmation.
    pub fn continue_sequences(&mut self, early: &Self) {
        self.local_sequence = self.local_sequence.max(early.local_sequence);
        self.remote_sequence = self.remote_sequence.max(early.remote_sequence);
    }

    /// Takes the far end's new `Contact` out of a target refresh (a re-INVITE or its 2xx). A message without one
    /// changes nothing.
    pub fn refresh_target(&mut self, message: &Message) {
        if let Ok(target) = remote_target(message) {
            self.remote_target = target;
        }
    }
}

fn remote_target(message: &Message) -> Result<String, ParseError> {
    let contacts = message.contacts()?;
    let Some(contact) = contacts.first() else {
        return Err(ParseError { problem: "there is no Contact", rule: "RFC 3261 §12.1", offset: 0 });
    };
    // It becomes a Request-URI: what cannot be one must not get into the dialog.
    contact.parse_uri()?;
    if MessageBuilder::request(&Method::Bye, contact.uri()).is_err() {
        return Err(ParseError { problem: "the Contact cannot be a Request-URI", rule: "RFC 3261 §12.1", offset: 0 });
    }
    Ok(contact.uri().to_owned())
}

fn routes(message: &Message) -> Result<Vec<RouteEntry>, ParseError> {
    let mut routes = Vec::new();
    for value in message.list(Name::RecordRoute) {
        if routes.len() == MAX_ROUTES {
            return Err(ParseError { problem: "more than 32 Record-Route values", rule: "RFC 3261 §12.1", offset: 0 });
        }
        let parsed = NameAddr::parse(&*value)?;
        let uri = parsed.parse_uri()?;
        routes.push(RouteEntry {
            uri: parsed.uri().to_owned(),
            loose: uri.param("lr").is_some(),
            text: value.clone().into_owned(),
        });
    }
    Ok(routes)
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;

    fn message(text: &str) -> Message {
        Message::parse(Bytes::from(text.trim_start().replace('\n', "\r\n"))).unwrap()
    }

    fn answer(record_routes: &str) -> Message {
        message(&format!(
            "
SIP/2.0 200 OK
Via: SIP/2.0/WS c.invalid;branch=z9hG4bKa
From: <sip:alice@example.com>;tag=a
To: Bot <sip:bot@example.com>;tag=b
Call-ID: c1
CSeq: 7 INVITE
{record_routes}Contact: <sip:bot@192.0.2.4:5090;transport=udp>;expires=5
Content-Length: 0

"
        ))
    }

    #[test]
    fn a_response_makes_a_dialog_with_the_record_route_reversed() {
        let response = answer(
            "Record-Route: <sip:p2.example.com;lr>, <sip:p1.example.com;lr;ftag=a>\nRecord-Route: <sip:p0.example.com;lr>\n",
        );
        let mut dialog = Dialog::from_response("<sip:alice@example.com>;tag=a", "a", 7, &response).unwrap();
        assert_eq!(
            dialog.id(),
            &DialogId { call_id: "c1".to_owned(), local_tag: "a".to_owned(), remote_tag: "b".to_owned() }
        );
        assert_eq!(dialog.remote(), "Bot <sip:bot@example.com>;tag=b");
        assert_eq!(
            dialog.request_target(),
            RequestTarget {
                uri: "sip:bot@192.0.2.4:5090;transport=udp".to_owned(),
                routes: vec![
                    "<sip:p0.example.com;lr>".to_owned(),
                    "<sip:p1.example.com;lr;ftag=a>".to_owned(),
                    "<sip:p2.example.com;lr>".to_owned()
                ],
            }
        );
        assert_eq!(dialog.next_sequence(), 8);
    }

    #[test]
    fn a_strict_router_gets_the_request_uri() {
        let response = answer("Record-Route: <sip:loose.example.com;lr>\nRecord-Route: <sip:strict.example.com>\n");
        let dialog = Dialog::from_response("<sip:alice@example.com>;tag=a", "a", 7, &response).unwrap();
        assert_eq!(
            dialog.request_target(),
            RequestTarget {
                uri: "sip:strict.example.com".to_owned(),
                routes: vec![
                    "<sip:loose.example.com;lr>".to_owned(),
                    "<sip:bot@192.0.2.4:5090;transport=udp>".to_owned()
                ],
            }
        );
    }

    #[test]
    fn a_request_makes_a_dialog_and_its_numbers_rise() {
        let request = message(
            "
INVITE sip:me@c.invalid SIP/2.0
Via: SIP/2.0/WS d.invalid;branch=z9hG4bKb
From: sip:bot@example.com;tag=b
To: <sip:me@example.com>
Call-ID: c2
CSeq: 10 INVITE
Record-Route: <sip:p1.example.com;lr>
Record-Route: <sip:p0.example.com;lr>
Contact: <sip:bot@192.0.2.4>
Content-Length: 0

",
        );
        let mut dialog = Dialog::from_request(&request, "t", 41).unwrap();
        assert_eq!(dialog.local(), "<sip:me@example.com>;tag=t");
        assert_eq!(dialog.remote(), "sip:bot@example.com;tag=b");
        assert_eq!(dialog.request_target().routes, ["<sip:p1.example.com;lr>", "<sip:p0.example.com;lr>"]);
        for (number, expected) in [
            (10, SequenceCheck::Repeated),
            (9, SequenceCheck::OutOfOrder),
            (11, SequenceCheck::New),
            (200, SequenceCheck::New),
            (199, SequenceCheck::OutOfOrder),
        ] {
            assert_eq!(dialog.check_sequence(number), expected, "{number}");
        }
    }

    #[test]
    fn without_a_usable_contact_there_is_no_dialog() {
        let mut response = String::from_utf8(answer("").as_bytes().to_vec()).unwrap();
        response = response.replace("Contact:", "X-Contact:");
        let response = Message::parse(Bytes::from(response)).unwrap();
        assert!(Dialog::from_response("<sip:a@b>;tag=a", "a", 1, &response).is_err());
    }
}
