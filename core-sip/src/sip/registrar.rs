//! The registrar of one accepted flow (RFC 3261 §10.3): it holds one binding.

use std::time::Duration;

use crate::error::ParseError;
use crate::sip::header::Name;
use crate::sip::message::Message;
use crate::time::Time;

/// What a registrar grants.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ExpiryPolicy {
    /// Less gets 423.
    pub min: Duration,
    /// More is cut down to this.
    pub max: Duration,
    /// For a REGISTER that names none.
    pub default: Duration,
}

/// Where somebody is reached.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Binding {
    /// The address of record: the URI in `To`.
    pub aor: String,
    /// The contact's URI.
    pub contact: String,
    /// The whole `Contact` value without `expires`, to be given back.
    value: String,
    call_id: String,
    sequence: u32,
    /// When it expires.
    pub expires_at: Time,
}

/// What a REGISTER came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Registered {
    /// 200: the binding is stored or refreshed.
    Bound {
        /// For how long.
        expires: Duration,
    },
    /// 200: the binding is gone.
    Removed,
    /// 200: the request only asked.
    Fetched,
    /// 423: less than [`ExpiryPolicy::min`].
    TooBrief,
    /// 500: older than what is stored (RFC 3261 §10.3, step 7).
    OutOfOrder,
    /// 400, with what is wrong.
    Bad(ParseError),
}

/// A registrar with room for one binding.
#[derive(Debug, Clone, Default)]
pub struct Registrar {
    binding: Option<Binding>,
}

impl Registrar {
    /// The binding, unless it has expired.
    #[must_use]
    pub fn binding(&self, now: Time) -> Option<&Binding> {
        self.binding.as_ref().filter(|binding| now < binding.expires_at)
    }

    /// Takes out the binding, expired or not.
    pub fn remove(&mut self) -> Option<Binding> {
        self.binding.take()
    }

    /// Takes out a binding that has expired.
    pub fn take_expired(&mut self, now: Time) -> Option<Binding> {
        self.binding.take_if(|binding| binding.expires_at <= now)
    }

    /// The value of `Contact` in an answer.
    #[must_use]
    pub fn contact_value(&self, now: Time) -> Option<String> {
        let binding = self.binding(now)?;
        Some(format!("{};expires={}", binding.value, (binding.expires_at - now).as_secs()))
    }

    /// Carries out a REGISTER. One contact replaces another: a client has one flow here.
    pub fn register(&mut self, now: Time, request: &Message, policy: ExpiryPolicy) -> Registered {
        match self.try_register(now, request, policy) {
            Ok(registered) => registered,
            Err(error) => Registered::Bad(error),
        }
    }

    fn try_register(&mut self, now: Time, request: &Message, policy: ExpiryPolicy) -> Result<Registered, ParseError> {
        let (call_id, sequence) = (request.call_id()?.to_owned(), request.cseq()?.number);
        let whole = request.header(Name::Expires).and_then(|value| value.trim().parse::<u32>().ok());
        if self.binding(now).is_some_and(|binding| binding.call_id == call_id && sequence <= binding.sequence) {
            return Ok(Registered::OutOfOrder);
        }
        if request.header(Name::Contact).is_some_and(|value| value.trim() == "*") {
            if whole != Some(0) {
                return Err(bad("`Contact: *` without `Expires: 0`"));
            }
            self.binding = None;
            return Ok(Registered::Removed);
        }
        let contacts = request.contacts()?;
        let Some(contact) = contacts.first() else { return Ok(Registered::Fetched) };
        if contacts.len() > 1 {
            return Err(bad("more than one Contact on one flow"));
        }
        contact.parse_uri()?;
        let own = contact.param("expires").flatten().and_then(|value| value.trim().parse::<u32>().ok());
        let expires = own.or(whole).map_or(policy.default, |seconds| Duration::from_secs(u64::from(seconds)));
        if expires.is_zero() {
            self.binding = None;
            return Ok(Registered::Removed);
        }
        if expires < policy.min {
            return Ok(Registered::TooBrief);
        }
        let expires = expires.min(policy.max);
        let mut value = format!("<{}>", contact.uri());
        if let Some(instance) = contact.param("+sip.instance").flatten() {
            value.push_str(&format!(";+sip.instance=\"{}\"", instance.replace(['"', '\\'], "")));
        }
        if let Some(reg_id) = contact.param("reg-id").flatten().and_then(|value| value.parse::<u32>().ok()) {
            value.push_str(&format!(";reg-id={reg_id}"));
        }
        self.binding = Some(Binding {
            aor: request.to()?.uri().to_owned(),
            contact: contact.uri().to_owned(),
            value,
            call_id,
            sequence,
            expires_at: now + expires,
        });
        Ok(Registered::Bound { expires })
    }
}

fn bad(problem: &'static str) -> ParseError {
    ParseError { problem, rule: "RFC 3261 §10.3", offset: 0 }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;

    const POLICY: ExpiryPolicy =
        ExpiryPolicy { min: Duration::from_secs(10), max: Duration::from_secs(100), default: Duration::from_secs(50) };

    fn request(sequence: u32, headers: &str) -> Message {
        Message::parse(Bytes::from(format!(
            "REGISTER sip:example.com SIP/2.0\r\nVia: SIP/2.0/WS a.invalid;branch=z9hG4bK1\r\nFrom: <sip:a@example.com>;tag=1\r\nTo: <sip:a@example.com>\r\nCall-ID: c\r\nCSeq: {sequence} REGISTER\r\n{headers}Content-Length: 0\r\n\r\n"
        )))
        .unwrap()
    }

    fn bound(seconds: u64) -> Registered {
        Registered::Bound { expires: Duration::from_secs(seconds) }
    }

    #[test]
    fn bindings() {
        let mut registrar = Registrar::default();
        let mut now = Time::ZERO;
        let contact = "Contact: <sip:a@a.invalid;transport=ws>;+sip.instance=\"<urn:uuid:1>\";reg-id=1";
        for (sequence, headers, expected) in [
            (1, String::new(), Registered::Fetched),
            (2, format!("{contact}\r\nExpires: 9\r\n"), Registered::TooBrief),
            (3, format!("{contact}\r\n"), bound(50)),
            (3, format!("{contact}\r\n"), Registered::OutOfOrder),
            (4, format!("{contact};expires=3600\r\nExpires: 20\r\n"), bound(100)),
            (5, format!("{contact}\r\nExpires: 20\r\n"), bound(20)),
            (6, "Contact: *\r\nExpires: 1\r\n".to_owned(), Registered::Bad(bad("`Contact: *` without `Expires: 0`"))),
        ] {
            assert_eq!(registrar.register(now, &request(sequence, &headers), POLICY), expected, "{sequence} {headers}");
        }
        assert_eq!(
            registrar.contact_value(now).as_deref(),
            Some("<sip:a@a.invalid;transport=ws>;+sip.instance=\"<urn:uuid:1>\";reg-id=1;expires=20")
        );
        now += Duration::from_secs(20);
        assert!(registrar.binding(now).is_none());
        assert_eq!(registrar.take_expired(now).map(|binding| binding.aor).as_deref(), Some("sip:a@example.com"));

        assert_eq!(registrar.register(now, &request(7, &format!("{contact}\r\n")), POLICY), bound(50));
        assert_eq!(
            registrar.register(now, &request(8, &format!("{contact};expires=0\r\n")), POLICY),
            Registered::Removed
        );
        assert!(registrar.binding(now).is_none());
    }
}
