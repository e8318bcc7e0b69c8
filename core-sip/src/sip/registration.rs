//! What a client remembers of its registration (RFC 3261 §10.2, RFC 5626 §4.2), and when it is due again.

use std::borrow::Cow;
use std::time::Duration;

use crate::error::ParseError;
use crate::sip::header::{Name, NameAddr};
use crate::sip::message::Message;
use crate::sip::uri::Uri;

/// A refresh begins this long before the binding expires, if it is granted for long enough: one try that fails only
/// after 32 s, a wait of up to 30 s and another try fit in.
const REFRESH_MARGIN: Duration = Duration::from_secs(90);

/// No registrar is asked more often than this, whatever it grants.
const SHORTEST_REFRESH: Duration = Duration::from_secs(1);

/// More is not believed of a `Min-Expires`; nobody's binding has to outlive a week.
const LONGEST_MIN_EXPIRES: Duration = Duration::from_secs(7 * 24 * 3600);

/// The numbers of one registration, which stay the same over all flows: the registrar sees one client.
#[derive(Debug, Clone)]
pub struct Registration {
    call_id: String,
    tag: String,
    sequence: u32,
    requested: Duration,
}

impl Registration {
    /// A registration under `call_id` that asks for `requested`.
    #[must_use]
    pub fn new(call_id: String, tag: String, requested: Duration) -> Self {
        Self { call_id, tag, sequence: 0, requested }
    }

    /// The Call-ID of every REGISTER.
    #[must_use]
    pub fn call_id(&self) -> &str {
        &self.call_id
    }

    /// The `From` tag of every REGISTER.
    #[must_use]
    pub fn tag(&self) -> &str {
        &self.tag
    }

    /// The number of the next REGISTER; it rises for ever (RFC 3261 §10.2).
    pub fn next_sequence(&mut self) -> u32 {
        self.sequence = (self.sequence + 1) & 0x7fff_ffff;
        self.sequence
    }

    /// What expiry is asked for.
    #[must_use]
    pub fn requested(&self) -> Duration {
        self.requested
    }

    /// The registrar answered 423: asks for what it names in `Min-Expires` from now on. False if it names none, or
    /// one that is no more than was asked for, or an absurd one: then asking again would change nothing.
    pub fn raise_to_minimum(&mut self, response: &Message) -> bool {
        let Some(minimum) = seconds(response.header(Name::MinExpires).as_deref()) else { return false };
        if minimum <= self.requested || minimum > LONGEST_MIN_EXPIRES {
            return false;
        }
        self.requested = minimum;
        true
    }

    /// What a 2xx grants to our contact: its own `expires`, else `Expires`, else what was asked for (RFC 3261
    /// §10.2.4). Ours is the one with our URI, or with our `instance` and, if we gave one, `reg_id`: an edge may
    /// rewrite the URI. `None` if the answer lists contacts and ours is not among them: we are not registered.
    ///
    /// # Errors
    ///
    /// If a `Contact` cannot be read.
    pub fn granted(
        &self,
        response: &Message,
        contact_uri: &str,
        instance: &str,
        reg_id: Option<u32>,
    ) -> Result<Option<Duration>, ParseError> {
        let whole = seconds(response.header(Name::Expires).as_deref());
        let contacts = response.contacts()?;
        if contacts.is_empty() {
            return Ok(Some(whole.unwrap_or(self.requested)));
        }
        Ok(ours(&contacts, contact_uri, instance, reg_id)?.map(|contact| {
            let own = contact.param("expires").flatten();
            seconds(own.as_deref()).or(whole).unwrap_or(self.requested)
        }))
    }

    /// The GRUU that a 2xx gives to our contact (RFC 5627 §4.2): the public one, else the temporary one.
    #[must_use]
    pub fn gruu(response: &Message, contact_uri: &str, instance: &str, reg_id: Option<u32>) -> Option<String> {
        let contacts = response.contacts().ok()?;
        let contact = ours(&contacts, contact_uri, instance, reg_id).ok()??;
        ["pub-gruu", "temp-gruu"].iter().find_map(|name| contact.param(name).flatten().map(Cow::into_owned))
    }

    /// How long after a grant of `expires` the refresh begins: half of it at the latest when it is short.
    #[must_use]
    pub fn refresh_after(expires: Duration) -> Duration {
        (expires - REFRESH_MARGIN.min(expires / 2)).max(SHORTEST_REFRESH)
    }

    /// How long a refresh of a binding that was granted for `expires` may go unanswered before it is tried on another
    /// flow: so that the second try still comes before the binding is gone.
    #[must_use]
    pub fn answer_within(expires: Duration, transaction_timeout: Duration) -> Duration {
        (expires / 4).max(SHORTEST_REFRESH).min(transaction_timeout)
    }
}

/// Our contact among those of an answer.
fn ours<'a, 'm>(
    contacts: &'a [NameAddr<'m>],
    contact_uri: &str,
    instance: &str,
    reg_id: Option<u32>,
) -> Result<Option<&'a NameAddr<'m>>, ParseError> {
    let ours = Uri::parse(contact_uri)?;
    let instance = format!("<{instance}>");
    let reg_id = reg_id.map(|number| number.to_string());
    Ok(contacts.iter().find(|contact| {
        let is = |name: &str, value: &str| {
            contact.param(name).flatten().is_some_and(|found| found.eq_ignore_ascii_case(value))
        };
        let same_instance = is("+sip.instance", &instance) && reg_id.as_ref().is_none_or(|reg_id| is("reg-id", reg_id));
        same_instance || contact.parse_uri().is_ok_and(|uri| uri.equivalent(&ours))
    }))
}

/// Delta seconds (RFC 3261 §20.19); what overflows is the largest number that there is room for.
fn seconds(value: Option<&str>) -> Option<Duration> {
    let value = value?.trim();
    if value.is_empty() || !value.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    Some(Duration::from_secs(u64::from(value.parse::<u32>().unwrap_or(u32::MAX))))
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;

    const OURS: &str = "sip:alice@abc.invalid;transport=ws";
    const INSTANCE: &str = "urn:uuid:00000000-0000-4000-8000-000000000001";

    fn registration() -> Registration {
        Registration::new("c".to_owned(), "t".to_owned(), Duration::from_secs(600))
    }

    fn response(headers: &str) -> Message {
        Message::parse(Bytes::from(format!(
            "SIP/2.0 200 OK\r\nVia: SIP/2.0/WS a.invalid;branch=z9hG4bK1\r\nFrom: <sip:a@example.com>;tag=1\r\nTo: <sip:a@example.com>;tag=2\r\nCall-ID: c\r\nCSeq: 1 REGISTER\r\n{headers}Content-Length: 0\r\n\r\n"
        ))).unwrap()
    }

    #[test]
    fn the_grant_for_our_own_contact_counts() {
        let table: &[(&str, Option<u64>)] = &[
            ("", Some(600)),
            ("Expires: 120\r\n", Some(120)),
            ("Contact: <sip:alice@abc.invalid;transport=ws>;expires=30\r\nExpires: 120\r\n", Some(30)),
            ("Contact: <sip:alice@abc.invalid;transport=ws>\r\nExpires: 120\r\n", Some(120)),
            ("Contact: <sip:alice@abc.invalid;transport=ws>;expires=x\r\n", Some(600)),
            ("Contact: <sip:other@x.invalid>;expires=9, <sip:alice@ABC.invalid;transport=ws>;expires=31\r\n", Some(31)),
            // An edge may rewrite the URI; the instance remains.
            (
                "Contact: <sip:alice@192.0.2.1:4000;transport=ws>;expires=32;+sip.instance=\"<urn:uuid:00000000-0000-4000-8000-000000000001>\";reg-id=1\r\n",
                Some(32),
            ),
            ("Contact: <sip:alice@other.invalid>;expires=9\r\n", None),
            ("Expires: 99999999999999999999\r\n", Some(u64::from(u32::MAX))),
        ];
        for (headers, expected) in table {
            let found = registration().granted(&response(headers), OURS, INSTANCE, Some(1)).unwrap();
            assert_eq!(found.map(|d| d.as_secs()), *expected, "{headers}");
        }
    }

    #[test]
    fn a_refresh_leaves_time_for_a_second_try() {
        for (expires, refresh, answer) in [(600, 510, 32), (3600, 3510, 32), (60, 30, 15), (30, 15, 7), (1, 1, 1)] {
            let expires = Duration::from_secs(expires);
            assert_eq!(Registration::refresh_after(expires).as_secs(), refresh, "{expires:?}");
            let within = Registration::answer_within(expires, Duration::from_secs(32));
            assert_eq!(within.as_secs(), answer, "{expires:?}");
            if expires >= Duration::from_secs(8) {
                assert!(Registration::refresh_after(expires) + within < expires, "{expires:?}");
            }
        }
    }

    #[test]
    fn min_expires_is_taken_once() {
        let mut registration = registration();
        let too_brief = response("Min-Expires: 1800\r\n");
        assert!(registration.raise_to_minimum(&too_brief));
        assert_eq!(registration.requested(), Duration::from_secs(1800));
        assert!(!registration.raise_to_minimum(&too_brief), "the same again would loop");
        assert!(!registration.raise_to_minimum(&response("")));
        assert!(!registration.raise_to_minimum(&response("Min-Expires: 4000000000\r\n")));
    }
}
