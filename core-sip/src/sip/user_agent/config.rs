//! The settings of a user agent.

use core::fmt;
use std::sync::Arc;
use std::time::Duration;

use secrecy::SecretString;

use crate::header_field::HeaderField;
use crate::sip::digest::Algorithm;
use crate::sip::transaction::TimerSettings;

/// How SIP over WebSocket is named in `Via` (RFC 7118 §5.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum WebSocketScheme {
    /// `ws`: `Via: SIP/2.0/WS`.
    Ws,
    /// `wss`: `Via: SIP/2.0/WSS`.
    #[default]
    Wss,
}

/// The waits between attempts to reach the edge: exponential, with full jitter (a wait is drawn evenly from zero to
/// the step), so that clients which lost the same edge do not come back all at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Backoff {
    /// The first step.
    pub initial: Duration,
    /// By what each step is longer than the one before.
    pub factor: u32,
    /// The longest step.
    pub cap: Duration,
}

impl Default for Backoff {
    fn default() -> Self {
        Self { initial: Duration::from_secs(1), factor: 2, cap: Duration::from_secs(30) }
    }
}

impl Backoff {
    /// The longest wait before attempt `attempt`, counted from 1.
    #[must_use]
    pub fn step(&self, attempt: u32) -> Duration {
        let mut step = self.initial;
        for _ in 1..attempt {
            if step >= self.cap {
                break;
            }
            step = step.saturating_mul(self.factor.max(1));
            if self.factor <= 1 {
                break;
            }
        }
        step.min(self.cap)
    }
}

/// What one user agent may hold at the same time. Whatever a peer does, it holds no more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct UserAgentLimits {
    /// Calls; further ones get 486 (incoming) or an error (outgoing).
    pub calls: usize,
    /// INVITE transactions of the far end; further requests get 503.
    pub server_transactions: usize,
    /// Requests of ours that wait for a response. A quarter of them is kept for those that end something: BYE, CANCEL,
    /// and REGISTER that takes the registration back.
    pub client_transactions: usize,
    /// Answers from different branches of one forked call that are taken note of.
    pub forks: usize,
}

impl Default for UserAgentLimits {
    fn default() -> Self {
        Self { calls: 32, server_transactions: 128, client_transactions: 128, forks: 8 }
    }
}

/// The settings of a [`super::UserAgent`].
#[derive(Debug, Clone)]
pub struct UserAgentConfig {
    /// The user part of our address of record.
    pub user: String,
    /// Its host part: the SIP domain, in jambonz the account's SIP realm.
    pub domain: String,
    /// The name shown in `From` unless a call gives another.
    pub display_name: Option<String>,
    /// The user name for digests, if it is not `user`.
    pub auth_user: Option<String>,
    /// The password for digests.
    pub password: Option<SecretString>,
    /// Where REGISTER goes, if not to `sip:<domain>`.
    pub registrar_uri: Option<String>,
    /// Whether the flow is encrypted.
    pub scheme: WebSocketScheme,
    /// The instance id (RFC 5626 §4.1), a URN such as `urn:uuid:…`. `None`: one is drawn, which holds as long as the
    /// user agent lives.
    pub instance_id: Option<String>,
    /// The flow's number for the registrar (RFC 5626 §4.2).
    pub reg_id: u32,
    /// What expiry REGISTER asks for. The registrar's answer counts.
    pub register_expires: Duration,
    /// How many times in a row connecting or registering is tried again when it fails for a cause that may go away,
    /// if `infinite_reconnect` is off.
    pub max_register_retries: u32,
    /// Whether it is tried again for ever.
    pub infinite_reconnect: bool,
    /// How often the flow is probed (RFC 5626 §3.5.1); `None` for never. In the server role it is never probed.
    pub keep_alive_interval: Option<Duration>,
    /// How long the answer to a probe may take.
    pub keep_alive_deadline: Duration,
    /// The waits between attempts to reach the edge.
    pub backoff: Backoff,
    /// How long opening a flow may take.
    pub flow_open_timeout: Duration,
    /// How long a request waits for a flow when there is none.
    pub flow_wait: Duration,
    /// How long the program may take to answer an offer of the far end in a call; then it gets 488.
    pub offer_answer_timeout: Duration,
    /// What interval between refreshes our calls ask for (RFC 4028), at least 90 s; `None` to ask for none. What the
    /// far end asks for is granted in any case.
    pub session_expires: Option<Duration>,
    /// RFC 3261's base timers.
    pub timers: TimerSettings,
    /// How long an outgoing call may go unanswered before it is cancelled.
    pub no_answer_timeout: Duration,
    /// Whether the far end of a call may ask the program to go to somebody else (REFER, [`super::UaEvent::Referred`]). If
    /// not, it gets 603: who sends us anywhere decides whom we call.
    pub accept_referrals: bool,
    /// Whether an INVITE may take the place of a call that is there (`Replaces`, RFC 3891). It takes knowing the call's
    /// Call-ID and both tags, as a re-INVITE does.
    pub accept_replaces: bool,
    /// How many times a call of ours follows a redirection (300, 301, 302); 0 for never. It then goes to the address that
    /// the far end names, by way of the same edge.
    pub max_redirects: usize,
    /// How long an incoming call may go unanswered before it is refused with 480.
    pub ring_timeout: Duration,
    /// The value of `User-Agent` (and `Server`).
    pub user_agent: Option<String>,
    /// Headers added to every REGISTER.
    pub register_headers: Vec<HeaderField>,
    /// What it may hold at the same time.
    pub limits: UserAgentLimits,
    /// Whether every message is reported as [`super::UaEvent::Trace`].
    pub trace: bool,
    /// With it, the user agent is the edge's side of one accepted flow.
    pub server: Option<ServerSettings>,
}

impl UserAgentConfig {
    /// Settings with defaults for everything that has one.
    #[must_use]
    pub fn new(user: impl Into<String>, domain: impl Into<String>, password: Option<SecretString>) -> Self {
        Self {
            user: user.into(),
            domain: domain.into(),
            display_name: None,
            auth_user: None,
            password,
            registrar_uri: None,
            scheme: WebSocketScheme::default(),
            instance_id: None,
            reg_id: 1,
            register_expires: Duration::from_secs(600),
            max_register_retries: 5,
            infinite_reconnect: true,
            keep_alive_interval: Some(Duration::from_secs(30)),
            keep_alive_deadline: Duration::from_secs(10),
            backoff: Backoff::default(),
            flow_open_timeout: Duration::from_secs(20),
            flow_wait: Duration::from_secs(32),
            offer_answer_timeout: Duration::from_secs(10),
            session_expires: Some(Duration::from_secs(1800)),
            timers: TimerSettings::default(),
            no_answer_timeout: Duration::from_secs(60),
            accept_referrals: false,
            accept_replaces: true,
            max_redirects: 3,
            ring_timeout: Duration::from_secs(180),
            user_agent: None,
            register_headers: Vec::new(),
            limits: UserAgentLimits::default(),
            trace: false,
            server: None,
        }
    }
}

/// Knows the passwords of those who may register and call.
pub trait CredentialLookup: Send + Sync {
    /// The password of `username` in `realm`, if there is such a user.
    fn password(&self, username: &str, realm: &str) -> Option<SecretString>;
}

impl<F> CredentialLookup for F
where
    F: Fn(&str, &str) -> Option<SecretString> + Send + Sync,
{
    fn password(&self, username: &str, realm: &str) -> Option<SecretString> {
        self(username, realm)
    }
}

/// The settings of the edge's side of an accepted flow: a registrar that holds one binding, and digests as jambonz
/// asks for them.
#[derive(Clone)]
pub struct ServerSettings {
    /// The realm, which is also the only domain that is served; requests for another one get 403.
    pub realm: String,
    /// The digest algorithms that are offered, the preferred one first, one challenge each.
    pub algorithms: Vec<Algorithm>,
    /// The users. `None`: nobody is challenged.
    pub credentials: Option<Arc<dyn CredentialLookup>>,
    /// Whether INVITE is challenged as REGISTER is.
    pub challenge_invites: bool,
    /// How long a nonce may be used.
    pub nonce_lifetime: Duration,
    /// The shortest expiry that is granted; less gets 423.
    pub min_expires: Duration,
    /// The longest expiry that is granted.
    pub max_expires: Duration,
    /// What is granted to a REGISTER that names no expiry.
    pub default_expires: Duration,
    /// A page is no edge: there are no such settings there, and the compiler leaves the edge's side out.
    #[cfg(target_arch = "wasm32")]
    pub never: core::convert::Infallible,
}

#[cfg(not(target_arch = "wasm32"))]
impl ServerSettings {
    /// Settings with defaults for everything that has one: MD5, REGISTER and INVITE challenged.
    #[must_use]
    pub fn new(realm: impl Into<String>, credentials: Option<Arc<dyn CredentialLookup>>) -> Self {
        Self {
            realm: realm.into(),
            algorithms: vec![Algorithm::Md5],
            credentials,
            challenge_invites: true,
            nonce_lifetime: Duration::from_secs(300),
            min_expires: Duration::from_secs(1),
            max_expires: Duration::from_secs(3600),
            default_expires: Duration::from_secs(600),
        }
    }
}

impl fmt::Debug for ServerSettings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ServerSettings")
            .field("realm", &self.realm)
            .field("algorithms", &self.algorithms)
            .field("credentials", &self.credentials.is_some())
            .field("challenge_invites", &self.challenge_invites)
            .field("nonce_lifetime", &self.nonce_lifetime)
            .field("min_expires", &self.min_expires)
            .field("max_expires", &self.max_expires)
            .field("default_expires", &self.default_expires)
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn backoff_doubles_up_to_its_cap() {
        let steps: Vec<u64> = (1..=8).map(|attempt| Backoff::default().step(attempt).as_secs()).collect();
        assert_eq!(steps, [1, 2, 4, 8, 16, 30, 30, 30]);
        assert_eq!(Backoff::default().step(u32::MAX).as_secs(), 30);
        let constant = Backoff { factor: 1, ..Backoff::default() };
        assert_eq!(constant.step(u32::MAX).as_secs(), 1);
    }
}
