//! The credentials of our requests.

use core::fmt;

use crate::error::Result;
use crate::header_field::{HeaderField, HeaderName};
use crate::random::Random;
use crate::sip::digest::{Attempt, AuthorizedRequest, Credentials, DigestSession, Verdict};
use crate::sip::header::NameAddr;
use crate::sip::message::{Message, Method};
use crate::sip::uri::Uri;

use super::config::UserAgentConfig;
use super::request::Request;

/// Hosts whose challenges are remembered; the one that challenged longest ago is forgotten.
const MAX_HOSTS: usize = 8;

/// The account, with the challenges that it has answered, for each host that asked: nobody gets what another one asked
/// for. Without a password no challenge can be answered.
pub(super) struct Digests {
    credentials: Option<Credentials>,
    /// The least recently challenged first.
    hosts: Vec<(String, DigestSession)>,
}

impl fmt::Debug for Digests {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let hosts: Vec<&str> = self.hosts.iter().map(|(host, _)| host.as_str()).collect();
        f.debug_struct("Digests").field("credentials", &self.credentials.is_some()).field("hosts", &hosts).finish()
    }
}

impl Digests {
    pub(super) fn new(config: &UserAgentConfig) -> Self {
        let username = config.auth_user.clone().unwrap_or_else(|| config.user.clone());
        let credentials = config.password.clone().map(|password| Credentials { username, password });
        Self { credentials, hosts: Vec::new() }
    }

    /// The credentials of a request: what its host has asked for before.
    pub(super) fn credentials(&mut self, request: &Request, random: &mut dyn Random) -> Result<Vec<HeaderField>> {
        let Some(session) = self.session_of(request) else { return Ok(Vec::new()) };
        let body = request.body.as_ref().map_or(&[][..], |(_, body)| body.as_ref());
        let authorized = AuthorizedRequest { method: &request.method, uri: &request.uri, body };
        session
            .authorize(authorized, random)?
            .into_iter()
            .map(|(name, value)| Ok(HeaderField { name: HeaderName::new(name.as_str())?, value }))
            .collect()
    }

    /// Whether `request`, which got this challenge, is worth another try; `attempt` is what it and its repetitions have
    /// tried.
    pub(super) fn challenged(&mut self, request: &Request, attempt: &mut Attempt, response: &Message) -> bool {
        let Some(credentials) = &self.credentials else { return false };
        let host = host_of(request);
        let (host, mut session) = match self.hosts.iter().position(|(known, _)| *known == host) {
            Some(at) => self.hosts.remove(at),
            None => (host, DigestSession::new(credentials.clone())),
        };
        let again = session.challenged(attempt, response) == Verdict::Retry;
        if self.hosts.len() >= MAX_HOSTS {
            self.hosts.remove(0);
        }
        self.hosts.push((host, session));
        again
    }

    /// Takes in the next nonce, if the response to `request` names one.
    pub(super) fn accepted(&mut self, request: &Request, response: &Message) {
        if let Some(session) = self.session_of(request) {
            session.accepted(response);
        }
    }

    fn session_of(&mut self, request: &Request) -> Option<&mut DigestSession> {
        if self.hosts.is_empty() {
            return None;
        }
        let host = host_of(request);
        self.hosts.iter_mut().find(|(known, _)| *known == host).map(|(_, session)| session)
    }
}

/// Who will ask for credentials: the host of the Request-URI. In a call that is the address of one device, behind the
/// proxies that the call went through; there it is the host that was called, or that calls, in `To`.
fn host_of(request: &Request) -> String {
    let other_end = (request.method != Method::Register)
        .then(|| NameAddr::parse(request.to.as_str()).ok())
        .flatten()
        .filter(|to| to.tag().is_some());
    let uri = match &other_end {
        Some(to) => to.parse_uri(),
        None => Uri::parse(&request.uri),
    };
    uri.map(|uri| uri.host().to_ascii_lowercase()).unwrap_or_default()
}
