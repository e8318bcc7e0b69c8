//! The edge's side of one accepted flow: registrar and digests, as jambonz has them.

use std::time::Duration;

use crate::event::LogLevel;
use crate::header_field::{HeaderField, HeaderName};
use crate::sip::digest::{DigestServer, DigestServerSettings, Qop, Verification};
use crate::sip::header::Name;
use crate::sip::message::{Message, Method, StatusCode};
use crate::sip::registrar::{ExpiryPolicy, Registered, Registrar};
use crate::sip::uri::Uri;
use crate::time::Time;

use super::config::ServerSettings;
use super::request::field;
use super::timers::Timer;
use super::{UaEvent, UserAgent};

/// Nonces of one flow that are remembered: its one client needs a few.
const NONCES: usize = 16;

/// What an edge holds.
#[derive(Debug)]
pub(super) struct Edge {
    settings: ServerSettings,
    pub(super) registrar: Registrar,
    digest: DigestServer,
}

impl Edge {
    pub(super) fn new(settings: ServerSettings) -> Self {
        let digest = DigestServer::new(DigestServerSettings {
            algorithms: settings.algorithms.clone(),
            qop: vec![Qop::Auth],
            nonce_lifetime: settings.nonce_lifetime,
            nonce_capacity: NONCES,
            ..DigestServerSettings::new(settings.realm.clone())
        });
        Self { settings, registrar: Registrar::default(), digest }
    }

    fn policy(&self) -> ExpiryPolicy {
        ExpiryPolicy {
            min: self.settings.min_expires,
            max: self.settings.max_expires,
            default: self.settings.default_expires,
        }
    }
}

impl UserAgent {
    /// Whether a request was answered with a challenge or a refusal, as jambonz does it: 401 for who shows no
    /// credentials, 403 with the cause in `X-Reason` for a wrong password and for a domain that is not served. Without
    /// the server role nobody is challenged.
    pub(super) fn is_challenged(&mut self, now: Time, request: &Message) -> bool {
        let Some(edge) = &mut self.edge else { return false };
        let host = request.request_uri().and_then(|uri| Uri::parse(uri).ok()).map(|uri| uri.host().to_owned());
        if !host.is_some_and(|host| host.eq_ignore_ascii_case(&edge.settings.realm)) {
            self.respond(request, StatusCode::FORBIDDEN, vec![field("X-Reason", "Unknown realm")]);
            return true;
        }
        let Some(users) = edge.settings.credentials.clone() else { return false };
        if request.method() == Some(&Method::Invite) && !edge.settings.challenge_invites {
            return false;
        }
        let realm = edge.settings.realm.clone();
        let verification =
            edge.digest.verify(now, request, Name::Authorization, |username| users.password(username, &realm));
        let stale = match verification {
            Verification::Accepted { .. } => return false,
            Verification::Missing => false,
            Verification::Stale => true,
            _ => {
                self.respond(request, StatusCode::FORBIDDEN, vec![field("X-Reason", "Invalid credentials")]);
                return true;
            }
        };
        let challenges = edge.digest.challenges(now, &mut *self.random.0, stale);
        let name = HeaderName::from_static("WWW-Authenticate");
        let fields = challenges.into_iter().map(|value| HeaderField { name: name.clone(), value }).collect();
        self.respond(request, StatusCode::UNAUTHORIZED, fields);
        true
    }

    pub(super) fn registration_asked(&mut self, now: Time, request: &Message) {
        if self.is_challenged(now, request) {
            return;
        }
        let Some(edge) = &mut self.edge else { return };
        let policy = edge.policy();
        let before = edge.registrar.binding(now).cloned();
        match edge.registrar.register(now, request, policy) {
            Registered::Bad(error) => {
                self.log(LogLevel::Warn, format!("a REGISTER cannot be carried out: {error}"));
                self.respond(request, StatusCode::BAD_REQUEST, Vec::new());
            }
            Registered::OutOfOrder => self.respond(request, StatusCode::SERVER_INTERNAL_ERROR, Vec::new()),
            Registered::TooBrief => {
                let least = field("Min-Expires", &policy.min.as_secs().to_string());
                self.respond(request, StatusCode::INTERVAL_TOO_BRIEF, vec![least]);
            }
            Registered::Fetched => self.respond_with_binding(now, request),
            Registered::Removed => {
                self.timers.stop(&Timer::Binding);
                self.respond_with_binding(now, request);
                if let Some(binding) = before {
                    self.emit(UaEvent::Binding { aor: binding.aor, contact: None, expires: Duration::ZERO });
                }
            }
            Registered::Bound { expires } => {
                self.timers.set(Timer::Binding, now + expires);
                self.respond_with_binding(now, request);
                if let Some(binding) = self.binding(now).cloned() {
                    self.emit(UaEvent::Binding { aor: binding.aor, contact: Some(binding.contact), expires });
                }
            }
        }
    }

    fn respond_with_binding(&mut self, now: Time, request: &Message) {
        let contact = self.edge.as_ref().and_then(|edge| edge.registrar.contact_value(now));
        let mut fields: Vec<_> = contact.map(|contact| field("Contact", &contact)).into_iter().collect();
        if request.has_token(Name::Supported, "outbound") && !fields.is_empty() {
            // RFC 5626 §6: the registrar took note of instance and reg-id.
            fields.push(field("Require", "outbound"));
        }
        self.respond(request, StatusCode::OK, fields);
    }

    /// The flow that the binding stands for is gone (RFC 5626 §6).
    pub(super) fn drop_binding(&mut self) {
        self.timers.stop(&Timer::Binding);
        if let Some(binding) = self.edge.as_mut().and_then(|edge| edge.registrar.remove()) {
            self.emit(UaEvent::Binding { aor: binding.aor, contact: None, expires: Duration::ZERO });
        }
    }

    pub(super) fn binding_due(&mut self, now: Time) {
        let expired = self.edge.as_mut().and_then(|edge| edge.registrar.take_expired(now));
        if let Some(binding) = expired {
            self.emit(UaEvent::Binding { aor: binding.aor, contact: None, expires: Duration::ZERO });
        }
    }
}
