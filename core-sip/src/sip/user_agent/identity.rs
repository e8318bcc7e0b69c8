//! Who we are on the wire: names that are drawn once and stay for the life of the user agent.

use crate::header_field::HeaderField;
use crate::random::Random;
use crate::sip::header::quote;
use crate::sip::uri::escape_user;

use super::config::{UserAgentConfig, WebSocketScheme};
use super::request::field;

/// What every branch begins with (RFC 3261 §8.1.1.7).
const BRANCH_COOKIE: &str = "z9hG4bK";

/// Methods that are answered with something else than 405.
pub(super) const ALLOW: &str = "INVITE, ACK, CANCEL, BYE, OPTIONS, INFO, PRACK, UPDATE, REFER, NOTIFY";
/// The same for a registrar.
pub(super) const ALLOW_WITH_REGISTER: &str =
    "INVITE, ACK, CANCEL, BYE, OPTIONS, INFO, PRACK, UPDATE, REFER, NOTIFY, REGISTER";
/// Extensions that are supported (RFC 5626, RFC 3327, RFC 3262, RFC 4028, RFC 3891, RFC 5627).
const SUPPORTED: &str = "outbound, path, 100rel, timer, replaces, gruu";
/// The same where no INVITE may take the place of a call.
const SUPPORTED_WITHOUT_REPLACES: &str = "outbound, path, 100rel, timer, gruu";
/// What a REGISTER names where the way to the registrar does not support outbound.
const SUPPORTED_WITHOUT_OUTBOUND: &str = "path, gruu";

impl UserAgentConfig {
    /// `Supported` of everything but a REGISTER.
    pub(super) fn supported(&self) -> HeaderField {
        field("Supported", if self.accept_replaces { SUPPORTED } else { SUPPORTED_WITHOUT_REPLACES })
    }
}

/// The names of one user agent.
#[derive(Debug)]
pub(super) struct Identity {
    /// A host name nobody can resolve (RFC 7118 §5.4): a browser, and whoever stands in for one, has no address.
    host: String,
    user: String,
    domain: String,
    via_transport: &'static str,
    instance: String,
    reg_id: u32,
    /// RFC 5626's `;ob` tells the edge to keep our requests in a call on this flow. An edge itself has no such flow.
    outbound: bool,
    /// What the registrar gave us to be called back at from anywhere (RFC 5627).
    pub(super) gruu: Option<String>,
}

impl Identity {
    pub(super) fn new(config: &UserAgentConfig, random: &mut dyn Random) -> Self {
        let instance = config.instance_id.clone().unwrap_or_else(|| {
            let mut bytes = [0_u8; 16];
            random.fill(&mut bytes);
            format!("urn:uuid:{}", uuid::Builder::from_random_bytes(bytes).into_uuid())
        });
        Self {
            host: format!("{}.invalid", random.alphanumerics(12)),
            user: escape_user(&config.user),
            domain: config.domain.clone(),
            via_transport: match config.scheme {
                WebSocketScheme::Ws => "WS",
                WebSocketScheme::Wss => "WSS",
            },
            instance,
            reg_id: config.reg_id,
            outbound: config.server.is_none(),
            gruu: None,
        }
    }

    /// `sip:user@domain`.
    pub(super) fn address_of_record(&self) -> String {
        format!("sip:{}@{}", self.user, self.domain)
    }

    /// The value of `Via` for a request with `branch`.
    pub(super) fn via(&self, branch: &str) -> String {
        format!("SIP/2.0/{} {};branch={branch};rport", self.via_transport, self.host)
    }

    /// The host that our `Via` names.
    pub(super) fn host(&self) -> &str {
        &self.host
    }

    /// The URI that we register.
    pub(super) fn registered_uri(&self) -> String {
        format!("sip:{}@{};transport=ws", self.user, self.host)
    }

    /// `Contact` of a REGISTER (RFC 5626 §4.2).
    pub(super) fn registered_contact(&self) -> String {
        let reg_id = self.reg_id().map(|number| format!(";reg-id={number}")).unwrap_or_default();
        format!("<{}>;+sip.instance=\"<{}>\"{reg_id}", self.registered_uri(), self.instance)
    }

    /// The flow's number for the registrar, if outbound is in use.
    pub(super) fn reg_id(&self) -> Option<u32> {
        self.outbound.then_some(self.reg_id)
    }

    /// The value of `Supported` in a REGISTER.
    pub(super) fn supported_by_registration(&self) -> &'static str {
        if self.outbound { "outbound, path, gruu" } else { SUPPORTED_WITHOUT_OUTBOUND }
    }

    /// Does without outbound from now on. False if it did already.
    pub(super) fn give_up_outbound(&mut self) -> bool {
        std::mem::replace(&mut self.outbound, false)
    }

    /// The instance id.
    pub(super) fn instance(&self) -> &str {
        &self.instance
    }

    /// `Contact` of calls: a GRUU if there is one, which finds us on whatever flow we have then (RFC 5627 §4.4); else our
    /// own with the wish to be asked on this flow (RFC 5626 §4.3).
    pub(super) fn contact(&self) -> String {
        if let Some(gruu) = &self.gruu {
            return format!("<{gruu}>");
        }
        let ob = if self.outbound { ";ob" } else { "" };
        format!("<{}{ob}>", self.registered_uri())
    }

    /// The value of `From` without its tag.
    pub(super) fn from(&self, display_name: Option<&str>) -> String {
        let uri = self.address_of_record();
        match display_name {
            Some(name) if !name.is_empty() => format!("{} <{uri}>", quote(name)),
            _ => format!("<{uri}>"),
        }
    }
}

pub(super) fn branch(random: &mut dyn Random) -> String {
    format!("{BRANCH_COOKIE}{}", random.alphanumerics(20))
}

/// 62 bits: nobody guesses a tag, and two do not meet.
pub(super) fn tag(random: &mut dyn Random) -> String {
    random.alphanumerics(12)
}

pub(super) fn has_cookie(branch: &str) -> bool {
    branch.len() > BRANCH_COOKIE.len()
        && branch.get(..BRANCH_COOKIE.len()).is_some_and(|start| start.eq_ignore_ascii_case(BRANCH_COOKIE))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::SeededRandom;

    #[test]
    fn the_instance_is_a_uuid_and_stays() {
        let config = UserAgentConfig::new("alice", "example.com", None);
        let identity = Identity::new(&config, &mut SeededRandom::new(1));
        let contact = identity.registered_contact();
        assert!(contact.starts_with("<sip:alice@") && contact.contains(".invalid;transport=ws>;"), "{contact}");
        assert!(contact.contains(";+sip.instance=\"<urn:uuid:") && contact.ends_with(">\";reg-id=1"), "{contact}");
        assert!(identity.contact().ends_with(".invalid;transport=ws;ob>"));
    }
}
