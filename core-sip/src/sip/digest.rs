//! Digest authentication (RFC 3261 §22, RFC 7616, RFC 8760), both sides.
//!
//! **Algorithms**: MD5, SHA-256, SHA-512-256; of several challenges for a realm the strongest is answered. The `-sess`
//! variants, which RFC 8760 does not register for SIP, are never chosen and never offered. **Quality of protection**:
//! `auth`, `auth-int` and, as a client, none (RFC 2069). `auth` is taken where both are offered, since gateways rewrite
//! bodies.
//!
//! **Client**: one [`DigestSession`] for an account keeps the last challenge of each realm, so that only the first
//! request of a realm pays a round trip; `nc` rises with each use. A request and its repetitions share one [`Attempt`]:
//!
//! ```text
//! authorize(…) ─────────────► send ─► 401/407 ─► challenged(&mut attempt, response)
//!     ▲                                                 │ Retry      │ Refused, Unsupported
//!     └─────────────────────────────────────────────────┘            └─► give up
//! ```
//!
//! **Server**: [`DigestServer`] makes challenges and verifies answers, each nonce with its own rising `nc`.
//!
//! `unq(X)` of the RFCs is what stands between the quotes, escapes included: realm, nonce and opaque are kept, hashed
//! and written back in that form.

use core::fmt;
use core::time::Duration;
use std::borrow::Cow;
use std::collections::VecDeque;

use md5::Md5;
use secrecy::{ExposeSecret, SecretString};
#[cfg(not(target_arch = "wasm32"))]
use sha2::Sha512_256;
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

use crate::error::{ParseError, Result};
use crate::header_field::HeaderValue;
use crate::random::Random;
use crate::sip::header::{Elements, Name, is_blank, is_token_byte, quote, unquote};
use crate::sip::message::{Message, Method, StatusCode};
use crate::sip::uri::Uri;
use crate::time::Time;

/// A hash algorithm, the weakest first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Algorithm {
    /// `MD5` (RFC 2617). Broken as a hash; most edges know nothing else.
    Md5,
    /// `SHA-256` (RFC 8760).
    Sha256,
    /// `SHA-512-256`: SHA-512/256 of FIPS 180-4, which is not a truncated SHA-512 (RFC 8760, erratum 4897 of RFC 7616).
    Sha512_256,
}

impl Algorithm {
    /// The name in headers.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Md5 => "MD5",
            Self::Sha256 => "SHA-256",
            Self::Sha512_256 => "SHA-512-256",
        }
    }

    /// A page does without SHA-512-256, which jambonz does not offer.
    const KNOWN: &[Self] = if cfg!(target_arch = "wasm32") {
        &[Self::Md5, Self::Sha256]
    } else {
        &[Self::Md5, Self::Sha256, Self::Sha512_256]
    };

    /// The algorithm of that name, without regard to case; `None` if it is not known here.
    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        Self::KNOWN.iter().copied().find(|a| a.as_str().eq_ignore_ascii_case(name))
    }

    /// The hash of `parts` joined by `:`, in lower-case hexadecimal.
    fn hash(self, parts: &[&[u8]]) -> String {
        fn run<D: Digest>(parts: &[&[u8]]) -> String {
            const HEX: &[u8; 16] = b"0123456789abcdef";
            let mut hasher = D::new();
            for (i, part) in parts.iter().enumerate() {
                if i > 0 {
                    hasher.update(b":");
                }
                hasher.update(part);
            }
            let mut text = String::new();
            for byte in hasher.finalize() {
                text.push(char::from(HEX[usize::from(byte >> 4)]));
                text.push(char::from(HEX[usize::from(byte & 15)]));
            }
            text
        }
        match self {
            Self::Md5 => run::<Md5>(parts),
            Self::Sha256 => run::<Sha256>(parts),
            #[cfg(not(target_arch = "wasm32"))]
            Self::Sha512_256 => run::<Sha512_256>(parts),
            // Never parsed there, so never asked for.
            #[cfg(target_arch = "wasm32")]
            Self::Sha512_256 => String::new(),
        }
    }
}

impl fmt::Display for Algorithm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Quality of protection (RFC 7616 §3.3).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Qop {
    /// Method and URI are protected.
    Auth,
    /// Method, URI and body are protected.
    AuthInt,
}

impl Qop {
    /// The name in headers.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Auth => "auth",
            Self::AuthInt => "auth-int",
        }
    }
}

const RULE: &str = "RFC 7616 §3.3";

const fn error(problem: &'static str, offset: usize) -> ParseError {
    ParseError { problem, rule: RULE, offset }
}

/// A scheme and its parameters, of a challenge or of credentials.
struct SchemeParams<'a> {
    scheme: &'a str,
    params: Vec<(&'a str, &'a str)>,
}

/// Schemes that one header may hold, and parameters that one scheme may have. No real one comes near.
const MAX_SCHEMES: usize = 16;
const MAX_PARAMS: usize = 32;

impl<'a> SchemeParams<'a> {
    /// Reads what stands in `WWW-Authenticate`, `Authorization` and their like: `scheme name=value, …`, several of
    /// them in one value as well (RFC 9110 §11.6.1).
    fn parse_all(text: &'a str) -> Result<Vec<Self>, ParseError> {
        let mut all: Vec<Self> = Vec::new();
        for element in Elements::new(text) {
            // Borrowed, since the text is.
            let Cow::Borrowed(mut element) = element else { continue };
            let offset = |part: &str| part.as_ptr() as usize - text.as_ptr() as usize;
            if element.is_empty() {
                continue;
            }
            let name_len = element.bytes().take_while(|&b| is_token_byte(b)).count();
            if name_len == 0 {
                return Err(error("expected a name", offset(element)));
            }
            let after = element[name_len..].trim_start_matches([' ', '\t', '\r', '\n']);
            if !after.starts_with('=') {
                if all.len() == MAX_SCHEMES {
                    return Err(error("too many challenges in one header", offset(element)));
                }
                all.push(Self { scheme: &element[..name_len], params: Vec::new() });
                if after.is_empty() {
                    continue;
                }
                if !element.as_bytes().get(name_len).copied().is_some_and(is_blank) {
                    return Err(error("expected a blank after the scheme", offset(after)));
                }
                element = after;
            }
            let Some(current) = all.last_mut() else {
                return Err(error("expected a scheme such as Digest", offset(element)));
            };
            match Self::param(element) {
                Some((name, value)) => {
                    if current.params.len() == MAX_PARAMS {
                        return Err(error("too many parameters", offset(element)));
                    }
                    if current.params.iter().any(|(n, _)| n.eq_ignore_ascii_case(name)) {
                        return Err(error("a parameter occurs twice", offset(element)));
                    }
                    current.params.push((name, value));
                }
                // What other schemes write (a token68) is not ours to judge.
                None if !current.is_digest() => {}
                None => return Err(error("expected name=value", offset(element))),
            }
        }
        Ok(all)
    }

    fn param(element: &'a str) -> Option<(&'a str, &'a str)> {
        let (name, value) = element.split_once('=')?;
        let (name, value) = (name.trim_end(), value.trim_start());
        let quoted = value.len() >= 2 && value.starts_with('"') && value.ends_with('"') && closes_once(value);
        let plain = !value.is_empty() && !value.bytes().any(|b| is_blank(b) || b == b'"');
        (!name.is_empty() && name.bytes().all(is_token_byte) && (quoted || plain)).then_some((name, value))
    }

    fn is_digest(&self) -> bool {
        self.scheme.eq_ignore_ascii_case("Digest")
    }

    /// A parameter's `unq(value)`.
    fn get(&self, name: &str) -> Option<&'a str> {
        let (_, value) = self.params.iter().find(|(n, _)| n.eq_ignore_ascii_case(name))?;
        Some(value.strip_prefix('"').and_then(|v| v.strip_suffix('"')).unwrap_or(value))
    }
}

/// Whether `value` can stand in a header of challenges or, with `credentials`, of credentials: the form, and for Digest
/// what is mandatory (RFC 7616 §3.3, §3.4: what lacks it is answered with 400).
pub(crate) fn check_value(value: &str, credentials: bool) -> Result<(), ParseError> {
    let schemes = SchemeParams::parse_all(value)?;
    if schemes.is_empty() {
        return Err(error("expected a scheme such as Digest", 0));
    }
    if credentials && schemes.len() > 1 {
        return Err(error("credentials of two schemes in one header", 0));
    }
    for scheme in schemes.iter().filter(|scheme| scheme.is_digest()) {
        let missing = |names: &[&str]| names.iter().any(|name| scheme.get(name).is_none());
        if credentials {
            if missing(&["realm", "nonce", "uri", "response"]) || missing(&["username"]) && missing(&["username*"]) {
                return Err(error("credentials need username, realm, nonce, uri and response", 0));
            }
            if scheme.get("nc").is_some_and(|nc| nc.len() != 8 || !nc.bytes().all(|b| b.is_ascii_hexdigit())) {
                return Err(error("nc has eight hexadecimal digits", 0));
            }
        } else if missing(&["realm", "nonce"]) {
            return Err(error("a challenge needs realm and nonce", 0));
        }
    }
    Ok(())
}

/// Whether the only unescaped quotes of `value` are its first and last byte.
fn closes_once(value: &str) -> bool {
    let mut escaped = false;
    let bytes = value.as_bytes();
    for (i, &b) in bytes.iter().enumerate().skip(1) {
        match b {
            _ if escaped => escaped = false,
            b'\\' => escaped = true,
            b'"' => return i + 1 == bytes.len(),
            _ => {}
        }
    }
    false
}

/// One Digest challenge.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Challenge {
    /// The realm, as it stands between its quotes.
    pub realm: String,
    /// The nonce, as it stands between its quotes.
    pub nonce: String,
    /// What has to be sent back unchanged, as it stands between its quotes.
    pub opaque: Option<String>,
    /// The algorithm, MD5 where none is named; `None` if it is one that is not known here.
    pub algorithm: Option<Algorithm>,
    /// Whether the challenge names its algorithm. If it does not, the answer does not either.
    pub algorithm_named: bool,
    /// The qualities of protection that are known here, in the order of the challenge.
    pub qop: Vec<Qop>,
    /// Whether there is a `qop` at all.
    pub qop_named: bool,
    /// The credentials were right but the nonce was too old.
    pub stale: bool,
}

impl Challenge {
    /// Reads the Digest challenges in the value of one `WWW-Authenticate` or `Proxy-Authenticate`. Those of other
    /// schemes are left out.
    ///
    /// # Errors
    ///
    /// [`ParseError`] if the value is no list of challenges or a Digest challenge lacks its realm or nonce.
    pub fn parse_all(value: &str) -> Result<Vec<Self>, ParseError> {
        let mut challenges = Vec::new();
        for part in SchemeParams::parse_all(value)?.iter().filter(|part| part.is_digest()) {
            let required = |name| part.get(name).ok_or_else(|| error("a challenge needs realm and nonce", 0));
            let algorithm = part.get("algorithm");
            let qop = part.get("qop");
            challenges.push(Self {
                realm: required("realm")?.to_owned(),
                nonce: required("nonce")?.to_owned(),
                opaque: part.get("opaque").map(str::to_owned),
                algorithm: algorithm.map_or(Some(Algorithm::Md5), Algorithm::parse),
                algorithm_named: algorithm.is_some(),
                qop: qop.unwrap_or_default().split(',').filter_map(|name| parse_qop(name.trim())).take(2).collect(),
                qop_named: qop.is_some(),
                stale: part.get("stale").is_some_and(|s| s.eq_ignore_ascii_case("true")),
            });
        }
        Ok(challenges)
    }

    fn is_supported(&self) -> bool {
        self.algorithm.is_some() && (!self.qop_named || !self.qop.is_empty())
    }

    fn chosen_qop(&self) -> Option<Qop> {
        self.qop.iter().copied().find(|q| *q == Qop::Auth).or_else(|| self.qop.first().copied())
    }
}

fn parse_qop(name: &str) -> Option<Qop> {
    [Qop::Auth, Qop::AuthInt].into_iter().find(|q| q.as_str().eq_ignore_ascii_case(name))
}

/// What is hashed besides HA1 (RFC 7616 §3.4.1).
struct Response<'a> {
    algorithm: Algorithm,
    nonce: &'a str,
    /// Quality, nc in eight hexadecimal digits, cnonce.
    qop: Option<(Qop, &'a str, &'a str)>,
    method: &'a str,
    uri: &'a str,
    body: &'a [u8],
}

impl Response<'_> {
    fn compute(&self, ha1: &str) -> String {
        let (method, uri) = (self.method.as_bytes(), self.uri.as_bytes());
        let ha2 = match self.qop {
            Some((Qop::AuthInt, ..)) => {
                self.algorithm.hash(&[method, uri, self.algorithm.hash(&[self.body]).as_bytes()])
            }
            _ => self.algorithm.hash(&[method, uri]),
        };
        match self.qop {
            Some((qop, nc, cnonce)) => self.algorithm.hash(&[
                ha1.as_bytes(),
                self.nonce.as_bytes(),
                nc.as_bytes(),
                cnonce.as_bytes(),
                qop.as_str().as_bytes(),
                ha2.as_bytes(),
            ]),
            None => self.algorithm.hash(&[ha1.as_bytes(), self.nonce.as_bytes(), ha2.as_bytes()]),
        }
    }
}

fn ha1(algorithm: Algorithm, username: &str, realm: &str, password: &SecretString) -> SecretString {
    algorithm.hash(&[username.as_bytes(), realm.as_bytes(), password.expose_secret().as_bytes()]).into()
}

/// A user name and its password.
#[derive(Debug, Clone)]
pub struct Credentials {
    /// The user name.
    pub username: String,
    /// The password.
    pub password: SecretString,
}

/// The request for which credentials are made.
#[derive(Debug, Clone, Copy)]
pub struct AuthorizedRequest<'a> {
    /// Its method.
    pub method: &'a Method,
    /// Its Request-URI, as it will be sent.
    pub uri: &'a str,
    /// Its body, for `auth-int`.
    pub body: &'a [u8],
}

/// What a request and its repetitions have tried; one for each request that is not a repetition, `default()` at first.
#[derive(Debug, Clone, Default)]
pub struct Attempt {
    realms: Vec<Tried>,
}

#[derive(Debug, Clone)]
struct Tried {
    protection: Protection,
    realm: String,
    /// Challenges of this realm that have been answered in this attempt.
    answered: u32,
}

/// What to do about a challenge.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// Send the request again, with a higher CSeq and what [`DigestSession::authorize`] gives now: it was sent without
    /// credentials, or with a nonce that had been used before, or the server says that only the nonce was stale.
    Retry,
    /// Credentials made for a fresh nonce were refused: user name or password is wrong. Repeating would loop.
    Refused,
    /// There is no challenge that can be answered here (scheme, algorithm or quality unknown, or malformed).
    Unsupported,
}

/// Who asks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Protection {
    /// 401, `WWW-Authenticate`, `Authorization`.
    Server,
    /// 407, `Proxy-Authenticate`, `Proxy-Authorization`.
    Proxy,
}

impl Protection {
    const fn answer_name(self) -> Name {
        match self {
            Self::Server => Name::Authorization,
            Self::Proxy => Name::ProxyAuthorization,
        }
    }
}

/// The client's side: the challenges of each realm, answered again and again with a rising `nc`.
///
/// `Debug` shows neither password nor hashes.
#[derive(Debug)]
pub struct DigestSession {
    credentials: Credentials,
    /// The least recently challenged first.
    realms: Vec<Realm>,
}

#[derive(Debug)]
struct Realm {
    protection: Protection,
    challenge: Challenge,
    algorithm: Algorithm,
    /// As good as the password within its realm.
    ha1: SecretString,
    /// The last `nc` that was used with this nonce.
    nc: u32,
}

/// Realms that are remembered; a client has one or two. The one that was challenged longest ago is forgotten.
const MAX_REALMS: usize = 8;

/// Answers within one attempt to challenges that call the nonce stale; a server that never takes one is looping.
const MAX_STALE: u32 = 3;

/// Letters and digits of a cnonce: 82 bits.
const CNONCE_LENGTH: usize = 16;

impl DigestSession {
    /// A session of one account.
    #[must_use]
    pub fn new(credentials: Credentials) -> Self {
        Self { credentials, realms: Vec::new() }
    }

    /// Forgets all challenges, as after a change of the account or the edge.
    pub fn forget(&mut self) {
        self.realms.clear();
    }

    /// Takes in the challenges of a 401 or 407 to a request of `attempt`.
    pub fn challenged(&mut self, attempt: &mut Attempt, response: &Message) -> Verdict {
        let mut retry = false;
        let mut refused = false;
        let mut asked_by_server = false;
        for (protection, name) in
            [(Protection::Server, Name::WwwAuthenticate), (Protection::Proxy, Name::ProxyAuthenticate)]
        {
            for challenge in strongest_per_realm(response, name) {
                match self.take(attempt, protection, challenge) {
                    Verdict::Retry => {
                        retry = true;
                        asked_by_server |= protection == Protection::Server;
                    }
                    Verdict::Refused => refused = true,
                    Verdict::Unsupported => {}
                }
            }
        }
        if asked_by_server {
            // A server has one realm, unlike proxies, of which there may be several on the way: what another realm
            // asked for before this request is not what this one wants.
            self.realms.retain(|realm| {
                let is_it =
                    |tried: &Tried| tried.protection == realm.protection && tried.realm == realm.challenge.realm;
                realm.protection == Protection::Proxy || attempt.realms.iter().any(is_it)
            });
        }
        match (refused, retry) {
            (true, _) => Verdict::Refused,
            (false, true) => Verdict::Retry,
            (false, false) => Verdict::Unsupported,
        }
    }

    fn take(&mut self, attempt: &mut Attempt, protection: Protection, challenge: Challenge) -> Verdict {
        let Some(algorithm) = challenge.algorithm else { return Verdict::Unsupported };
        let known = self.position(protection, &challenge.realm);
        let index = attempt.realms.iter().position(|t| t.protection == protection && t.realm == challenge.realm);
        let answered = index.map_or(0, |i| attempt.realms[i].answered);
        if answered >= if challenge.stale { MAX_STALE } else { 1 } {
            if let Some(at) = known {
                self.realms.remove(at);
            }
            return Verdict::Refused;
        }
        match index {
            Some(i) => attempt.realms[i].answered += 1,
            None if attempt.realms.len() == MAX_REALMS => return Verdict::Unsupported,
            None => attempt.realms.push(Tried { protection, realm: challenge.realm.clone(), answered: 1 }),
        }
        let previous = known.map(|at| self.realms.remove(at));
        // The server may hand out the same nonce again; its nc then goes on.
        let nc = previous.as_ref().filter(|p| p.challenge.nonce == challenge.nonce).map_or(0, |p| p.nc);
        let ha1 = match previous {
            Some(previous) if previous.algorithm == algorithm => previous.ha1,
            _ => ha1(algorithm, &escaped(&self.credentials.username), &challenge.realm, &self.credentials.password),
        };
        if self.realms.len() == MAX_REALMS {
            self.realms.remove(0);
        }
        self.realms.push(Realm { protection, challenge, algorithm, ha1, nc });
        Verdict::Retry
    }

    fn position(&self, protection: Protection, realm: &str) -> Option<usize> {
        self.realms.iter().position(|r| r.protection == protection && r.challenge.realm == realm)
    }

    /// The headers that prove who we are in a request: none before the first challenge, preemptive ones afterwards, one
    /// for each proxy's realm that has asked and for the realm (in a forked request: realms) of the server that did last.
    ///
    /// For CANCEL and ACK repeat the headers of their INVITE instead (RFC 3261 §22.1).
    ///
    /// # Errors
    ///
    /// [`crate::Error::HeaderNotAllowed`] if the account's user name or a challenge holds control characters.
    pub fn authorize(
        &mut self,
        request: AuthorizedRequest<'_>,
        random: &mut dyn Random,
    ) -> Result<Vec<(Name, HeaderValue)>> {
        // A nonce whose count is used up has to be replaced by the server's next one.
        self.realms.retain(|realm| realm.nc < u32::MAX);
        let username = escaped(&self.credentials.username);
        let mut fields = Vec::with_capacity(self.realms.len());
        for realm in &mut self.realms {
            realm.nc += 1;
            let nc = format!("{:08x}", realm.nc);
            let cnonce = random.alphanumerics(CNONCE_LENGTH);
            let challenge = &realm.challenge;
            let qop = challenge.chosen_qop();
            let response = Response {
                algorithm: realm.algorithm,
                nonce: &challenge.nonce,
                qop: qop.map(|qop| (qop, nc.as_str(), cnonce.as_str())),
                method: request.method.as_str(),
                uri: request.uri,
                body: request.body,
            }
            .compute(realm.ha1.expose_secret());
            let mut value = format!(
                "Digest username=\"{username}\", realm=\"{}\", nonce=\"{}\", uri=\"{}\", response=\"{response}\"",
                challenge.realm, challenge.nonce, request.uri
            );
            if challenge.algorithm_named {
                value.push_str(", algorithm=");
                value.push_str(realm.algorithm.as_str());
            }
            if let Some(opaque) = &challenge.opaque {
                value.push_str(&format!(", opaque=\"{opaque}\""));
            }
            if let Some(qop) = qop {
                value.push_str(&format!(", qop={}, cnonce=\"{cnonce}\", nc={nc}", qop.as_str()));
            }
            let name = realm.protection.answer_name();
            fields.push((name, HeaderValue::new(name.as_str(), value)?));
        }
        Ok(fields)
    }

    /// Takes in the `nextnonce` of a response that accepted the credentials (RFC 7616 §3.5), so that the next request
    /// is not challenged again. Where several realms ask, it is not known which one it is for, and it is ignored.
    pub fn accepted(&mut self, response: &Message) {
        for (protection, name) in
            [(Protection::Server, Name::AuthenticationInfo), (Protection::Proxy, Name::ProxyAuthenticationInfo)]
        {
            let Some(value) = response.header(name) else { continue };
            // The header is a list of parameters without a scheme.
            let with_scheme = format!("Digest {value}");
            let Ok(parts) = SchemeParams::parse_all(&with_scheme) else { continue };
            let Some(nonce) = parts.first().and_then(|part| part.get("nextnonce")) else { continue };
            let mut realms = self.realms.iter_mut().filter(|r| r.protection == protection);
            if let (Some(realm), None) = (realms.next(), realms.next())
                && realm.challenge.nonce != nonce
            {
                nonce.clone_into(&mut realm.challenge.nonce);
                realm.nc = 0;
            }
        }
    }
}

/// What stands between the quotes when `text` is written as a quoted string.
fn escaped(text: &str) -> String {
    let quoted = quote(text);
    quoted[1..quoted.len() - 1].to_owned()
}

/// Of each realm the challenge that we answer. Malformed header lines count as not there.
fn strongest_per_realm(response: &Message, name: Name) -> Vec<Challenge> {
    let mut best: Vec<Challenge> = Vec::new();
    for value in response.headers(name) {
        for challenge in Challenge::parse_all(&value).unwrap_or_default() {
            if !challenge.is_supported() {
                continue;
            }
            match best.iter().position(|c| c.realm == challenge.realm) {
                Some(at) if challenge.algorithm > best[at].algorithm => best[at] = challenge,
                None if best.len() < MAX_REALMS => best.push(challenge),
                _ => {}
            }
        }
    }
    best
}

/// Settings of a [`DigestServer`].
#[derive(Debug, Clone)]
pub struct DigestServerSettings {
    /// The realm.
    pub realm: String,
    /// The algorithms that are offered, the preferred one first; one challenge for each (RFC 8760 §2.4).
    pub algorithms: Vec<Algorithm>,
    /// The qualities of protection that are offered.
    pub qop: Vec<Qop>,
    /// How long a nonce may be used.
    pub nonce_lifetime: Duration,
    /// Nonces that are remembered; the oldest is forgotten, and its user asked again with `stale=true`.
    pub nonce_capacity: usize,
}

impl DigestServerSettings {
    /// All algorithms, `auth` and `auth-int`, nonces that live five minutes, a thousand of them.
    #[must_use]
    pub fn new(realm: impl Into<String>) -> Self {
        Self {
            realm: realm.into(),
            algorithms: vec![Algorithm::Sha512_256, Algorithm::Sha256, Algorithm::Md5],
            qop: vec![Qop::Auth, Qop::AuthInt],
            nonce_lifetime: Duration::from_secs(300),
            nonce_capacity: 1000,
        }
    }
}

/// The server's side.
///
/// A client that knows no `qop` (RFC 2069) cannot be told from someone who replays it, and is refused.
#[derive(Debug)]
pub struct DigestServer {
    settings: DigestServerSettings,
    /// The oldest first.
    nonces: VecDeque<IssuedNonce>,
}

#[derive(Debug)]
struct IssuedNonce {
    nonce: String,
    issued: Time,
    /// The highest nc that was accepted.
    nc: u32,
}

/// What a server finds in a request.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Verification {
    /// The request comes from this user.
    Accepted {
        /// The user name.
        username: String,
    },
    /// There are no credentials for the realm: challenge.
    Missing,
    /// The password is right, but the nonce is too old, unknown, or its count was used before: challenge with `stale`.
    Stale,
    /// User name or password is wrong, or the credentials are for another URI or not made as the challenge asks.
    Refused,
}

/// Letters and digits of a nonce: 165 bits.
const NONCE_LENGTH: usize = 32;

impl DigestServer {
    /// A server with these settings.
    #[must_use]
    pub fn new(settings: DigestServerSettings) -> Self {
        Self { settings, nonces: VecDeque::new() }
    }

    /// Challenges for one response, a header line for each algorithm. `stale` tells the client that its password was
    /// right ([`Verification::Stale`]).
    pub fn challenges(&mut self, now: Time, random: &mut dyn Random, stale: bool) -> Vec<HeaderValue> {
        let nonce = random.alphanumerics(NONCE_LENGTH);
        while self.nonces.len() >= self.settings.nonce_capacity.max(1) {
            self.nonces.pop_front();
        }
        self.nonces.push_back(IssuedNonce { nonce: nonce.clone(), issued: now, nc: 0 });
        let qop: Vec<_> = self.settings.qop.iter().map(|q| q.as_str()).collect();
        let realm = quote(&self.settings.realm);
        let stale = if stale { ", stale=true" } else { "" };
        self.settings
            .algorithms
            .iter()
            .map(|algorithm| {
                HeaderValue::sanitized(&format!(
                    "Digest realm={realm}, nonce=\"{nonce}\", algorithm={algorithm}, qop=\"{}\"{stale}",
                    qop.join(",")
                ))
            })
            .collect()
    }

    /// Verifies the credentials of `request` in its `Authorization` headers (`Proxy-Authorization` with
    /// `Name::ProxyAuthorization`). `password` gives the password of a user, `None` for users that do not exist; it is
    /// asked at most once, and both cases take the same time here.
    pub fn verify(
        &mut self,
        now: Time,
        request: &Message,
        name: Name,
        password: impl FnOnce(&str) -> Option<SecretString>,
    ) -> Verification {
        let realm = escaped(&self.settings.realm);
        let mut malformed = false;
        for value in request.headers(name) {
            let Ok(parts) = SchemeParams::parse_all(&value) else {
                malformed = true;
                continue;
            };
            if let [credentials] = parts.as_slice()
                && credentials.is_digest()
                && credentials.get("realm") == Some(&realm)
            {
                return self.verify_one(now, request, credentials, password).unwrap_or(Verification::Refused);
            }
        }
        if malformed { Verification::Refused } else { Verification::Missing }
    }

    /// `None` where the credentials are not made as the challenge asks.
    fn verify_one(
        &mut self,
        now: Time,
        request: &Message,
        given: &SchemeParams<'_>,
        password: impl FnOnce(&str) -> Option<SecretString>,
    ) -> Option<Verification> {
        let method = request.method()?.as_str();
        let algorithm = given.get("algorithm").map_or(Some(Algorithm::Md5), Algorithm::parse)?;
        let qop = parse_qop(given.get("qop")?)?;
        if !self.settings.algorithms.contains(&algorithm) || !self.settings.qop.contains(&qop) {
            return None;
        }
        let nc_text = given.get("nc")?;
        if nc_text.len() != 8 || !nc_text.bytes().all(|b| b.is_ascii_hexdigit()) {
            return None;
        }
        let nc = u32::from_str_radix(nc_text, 16).ok()?;
        let (username, nonce, uri) = (given.get("username")?, given.get("nonce")?, given.get("uri")?);
        let cnonce = given.get("cnonce").filter(|c| !c.is_empty())?;
        let response = given.get("response")?.to_ascii_lowercase();
        if !same_resource(uri, request.request_uri()?) {
            return None;
        }
        let plain_name = unquote(&format!("\"{username}\"")).into_owned();
        let known = password(&plain_name);
        let exists = known.is_some();
        let secret = known.unwrap_or_default();
        let expected =
            Response { algorithm, nonce, qop: Some((qop, nc_text, cnonce)), method, uri, body: request.body() }
                .compute(ha1(algorithm, username, given.get("realm")?, &secret).expose_secret());
        let right: bool = expected.as_bytes().ct_eq(response.as_bytes()).into();
        if !(right && exists) {
            return Some(Verification::Refused);
        }
        let lifetime = self.settings.nonce_lifetime;
        let fresh = self
            .nonces
            .iter_mut()
            .find(|n| n.nonce == nonce)
            .filter(|n| now.saturating_since(n.issued) <= lifetime && nc > n.nc);
        Some(match fresh {
            Some(issued) => {
                issued.nc = nc;
                Verification::Accepted { username: plain_name }
            }
            None => Verification::Stale,
        })
    }
}

/// Whether the credentials' `uri` means the Request-URI (RFC 7616 §3.4.6).
fn same_resource(uri: &str, request_uri: &str) -> bool {
    uri == request_uri
        || match (Uri::parse(uri), Uri::parse(request_uri)) {
            (Ok(a), Ok(b)) => a.equivalent(&b),
            _ => false,
        }
}

/// Whether a response asks for credentials.
#[must_use]
pub fn is_challenge(status: StatusCode) -> bool {
    matches!(status, StatusCode::UNAUTHORIZED | StatusCode::PROXY_AUTHENTICATION_REQUIRED)
}

#[cfg(test)]
#[path = "digest/tests.rs"]
mod tests;
