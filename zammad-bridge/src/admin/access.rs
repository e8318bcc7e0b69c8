//! Who may look at the admin page, and who may change something.
//!
//! Without [`AdminSettings::allow_remote`] only programs on this machine are answered: a peer on loopback, with a `Host` of
//! this machine (a page elsewhere that lets its name point here has another one) and without the headers that a proxy
//! adds. Then the login token is asked for, once: a session is a random name in an `HttpOnly`, `SameSite=Strict` cookie.
//! What changes something needs the session's CSRF token in the header `X-CSRF-Token` besides. Programs send
//! `Authorization: Bearer <BRIDGE_ADMIN_TOKEN>` instead of both.

use std::fmt;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use axum::Extension;
use axum::body::Bytes;
use axum::extract::rejection::BytesRejection;
use axum::extract::{ConnectInfo, Request, State};
use axum::http::{HeaderMap, Method, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use codex_core_sip::random::Random;
use secrecy::{ExposeSecret as _, SecretString};
use serde::Deserialize;
use serde_json::json;
use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq as _;
use tokio::sync::watch;

use super::{Admin, refuse};
use crate::clock::UnixMillis;
use crate::tally::{Place, Tally, comes_through_proxy};

/// The name of the session's cookie.
pub const COOKIE: &str = "zammad_bridge_session";
/// The header that carries the CSRF token.
pub const CSRF_HEADER: &str = "x-csrf-token";
/// How long a session lasts without being used.
pub const SESSION_LASTS: Duration = Duration::from_secs(12 * 3600);
/// How many sessions there may be; the one unused longest goes.
const MAX_SESSIONS: usize = 64;
/// Characters of a session's name and of its CSRF token: more than 200 bits.
const NAME_CHARACTERS: usize = 43;

/// Who may look.
#[derive(Clone, Default)]
pub struct AdminSettings {
    /// `BRIDGE_ADMIN_TOKEN`: what people log in with, and programs send as a bearer token. Without it nobody gets in.
    pub token: Option<SecretString>,
    /// `BRIDGE_ADMIN_ALLOW_REMOTE`: whether others than programs on this machine are answered.
    pub allow_remote: bool,
}

impl fmt::Debug for AdminSettings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AdminSettings")
            .field("token", &self.token.as_ref().map(|_| "…"))
            .field("allow_remote", &self.allow_remote)
            .finish()
    }
}

/// Where people get in.
pub(super) struct Access {
    settings: AdminSettings,
    guesses: Arc<Tally>,
    state: Mutex<Inside>,
    /// Moves when somebody has logged out.
    left: watch::Sender<u64>,
}

struct Inside {
    random: Box<dyn Random>,
    sessions: Vec<Session>,
}

/// A session, without its name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct SessionHash([u8; 32]);

struct Session {
    /// Of the name, so that a dump of memory or a slow comparison tells nothing.
    hash: [u8; 32],
    csrf: String,
    used: UnixMillis,
}

impl fmt::Debug for Access {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Access").field("settings", &self.settings).finish_non_exhaustive()
    }
}

/// What came of an attempt to log in.
#[derive(Debug, PartialEq, Eq)]
enum LogIn {
    In { name: String, csrf: String },
    Wrong,
    TooMany { retry_after_s: u64 },
    Closed,
}

impl Access {
    pub(super) fn new(settings: AdminSettings, random: Box<dyn Random>, guesses: Arc<Tally>) -> Self {
        let state = Inside { random, sessions: Vec::new() };
        Self { settings, guesses, state: Mutex::new(state), left: watch::Sender::new(0) }
    }

    fn state(&self) -> MutexGuard<'_, Inside> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn is_token(&self, offered: &str) -> bool {
        let Some(token) = &self.settings.token else { return false };
        hash(offered).ct_eq(&hash(token.expose_secret())).into()
    }

    fn log_in(&self, offered: &str, place: Place, now: UnixMillis) -> LogIn {
        if self.settings.token.is_none() {
            return LogIn::Closed;
        }
        if let Some(retry_after_s) = self.guesses.closed_for_s(place, now) {
            return LogIn::TooMany { retry_after_s };
        }
        if !self.is_token(offered) {
            self.guesses.count(place, now);
            return LogIn::Wrong;
        }
        let mut state = self.state();
        let name = state.random.alphanumerics(NAME_CHARACTERS);
        let csrf = state.random.alphanumerics(NAME_CHARACTERS);
        state.sessions.retain(|session| now.saturating_since(session.used) < SESSION_LASTS);
        if state.sessions.len() >= MAX_SESSIONS {
            let oldest = state.sessions.iter().enumerate().min_by_key(|(_, session)| session.used).map(|(at, _)| at);
            if let Some(oldest) = oldest {
                state.sessions.swap_remove(oldest);
            }
        }
        state.sessions.push(Session { hash: hash(&name), csrf: csrf.clone(), used: now });
        LogIn::In { name, csrf }
    }

    /// The CSRF token of the session that the cookie names.
    fn session(&self, headers: &HeaderMap, now: UnixMillis) -> Option<String> {
        let hash = hash(cookie(headers)?);
        let mut state = self.state();
        let session = state.sessions.iter_mut().find(|session| session.hash.ct_eq(&hash).into())?;
        if now.saturating_since(session.used) >= SESSION_LASTS {
            return None;
        }
        session.used = now;
        Some(session.csrf.clone())
    }

    fn log_out(&self, headers: &HeaderMap) {
        if let Some(name) = cookie(headers) {
            let hash = hash(name);
            self.state().sessions.retain(|session| session.hash != hash);
            self.left.send_modify(|count| *count = count.wrapping_add(1));
        }
    }

    /// The session by which a request was let in; `None` if it carries the token itself.
    pub(super) fn session_of(headers: &HeaderMap) -> Option<SessionHash> {
        if bearer(headers).is_some() {
            return None;
        }
        cookie(headers).map(|name| SessionHash(hash(name)))
    }

    /// Whether a session goes on. Asking does not prolong it.
    pub(super) fn goes_on(&self, session: SessionHash, now: UnixMillis) -> bool {
        self.state().sessions.iter().any(|own| own.hash == session.0 && now.saturating_since(own.used) < SESSION_LASTS)
    }

    /// Changes when somebody has logged out.
    pub(super) fn left(&self) -> watch::Receiver<u64> {
        self.left.subscribe()
    }

    /// Whether a request comes from this machine, or may come from elsewhere.
    fn is_near_enough(&self, peer: Option<SocketAddr>, headers: &HeaderMap) -> bool {
        if self.settings.allow_remote {
            return true;
        }
        peer.is_some_and(|peer| peer.ip().to_canonical().is_loopback())
            && !comes_through_proxy(headers)
            && headers.get(header::HOST).and_then(|host| host.to_str().ok()).is_some_and(is_own_name)
    }
}

/// The operating system's randomness, for names of sessions.
#[derive(Debug, Clone, Copy)]
pub(super) struct SessionRandom;

impl Random for SessionRandom {
    #[expect(clippy::disallowed_methods, reason = "this is the adapter through which randomness comes in")]
    fn fill(&mut self, bytes: &mut [u8]) {
        getrandom::fill(bytes).expect("a system that has no random bytes cannot have logins");
    }
}

fn hash(text: &str) -> [u8; 32] {
    Sha256::digest(text.as_bytes()).into()
}

fn cookie(headers: &HeaderMap) -> Option<&str> {
    headers
        .get_all(header::COOKIE)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(';'))
        .filter_map(|pair| pair.trim().split_once('='))
        .find(|(name, _)| *name == COOKIE)
        .map(|(_, value)| value)
}

/// Whether a `Host` means this machine.
fn is_own_name(host: &str) -> bool {
    let name = match host.strip_prefix('[') {
        Some(rest) => rest.split(']').next().unwrap_or_default(),
        None => host.rsplit_once(':').map_or(host, |(name, _)| name),
    };
    name.eq_ignore_ascii_case("localhost")
        || name.parse::<std::net::IpAddr>().is_ok_and(|address| address.to_canonical().is_loopback())
}

fn bearer(headers: &HeaderMap) -> Option<&str> {
    let value = headers.get(header::AUTHORIZATION)?.to_str().ok()?;
    let (scheme, token) = value.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
}

fn too_far() -> Response {
    refuse(
        StatusCode::FORBIDDEN,
        "the admin page answers programs on this machine only",
        "open it through a tunnel (ssh -L 8787:127.0.0.1:8787 …), or set BRIDGE_ADMIN_ALLOW_REMOTE=true behind a proxy with TLS",
    )
}

/// 429 for whoever has offered too many wrong tokens.
pub(crate) fn too_many(retry_after_s: u64) -> Response {
    let mut answer = refuse(StatusCode::TOO_MANY_REQUESTS, "too many wrong tokens", "wait a minute and try again");
    answer.headers_mut().insert(header::RETRY_AFTER, retry_after_s.into());
    answer
}

pub(crate) fn peer_of(request: &Request) -> Option<SocketAddr> {
    request.extensions().get::<ConnectInfo<SocketAddr>>().map(|ConnectInfo(peer)| *peer)
}

/// Lets a request through if it comes from near enough.
pub(super) async fn require_near(State(admin): State<Arc<Admin>>, request: Request, next: Next) -> Response {
    if !admin.access.is_near_enough(peer_of(&request), request.headers()) {
        return too_far();
    }
    next.run(request).await
}

/// Lets a request through that comes from near enough, with a bearer token or a session; what changes something needs the
/// session's CSRF token too.
pub(super) async fn require_login(State(admin): State<Arc<Admin>>, request: Request, next: Next) -> Response {
    let headers = request.headers();
    if !admin.access.is_near_enough(peer_of(&request), headers) {
        return too_far();
    }
    if admin.access.settings.token.is_none() {
        return refuse(
            StatusCode::FORBIDDEN,
            "no BRIDGE_ADMIN_TOKEN is set",
            "set BRIDGE_ADMIN_TOKEN and start the bridge again",
        );
    }
    if let Some(token) = bearer(headers) {
        let (place, now) = (Place::of(peer_of(&request), headers), admin.clock.now());
        if let Some(retry_after_s) = admin.access.guesses.closed_for_s(place, now) {
            return too_many(retry_after_s);
        }
        if admin.access.is_token(token) {
            return next.run(request).await;
        }
        admin.access.guesses.count(place, now);
        return refuse(StatusCode::UNAUTHORIZED, "the bearer token is wrong", "send the value of BRIDGE_ADMIN_TOKEN");
    }
    let Some(csrf) = admin.access.session(headers, admin.clock.now()) else {
        return refuse(
            StatusCode::UNAUTHORIZED,
            "not logged in",
            "log in on the admin page, or send Authorization: Bearer <BRIDGE_ADMIN_TOKEN>",
        );
    };
    if !matches!(*request.method(), Method::GET | Method::HEAD) {
        let offered = headers.get(CSRF_HEADER).and_then(|value| value.to_str().ok()).unwrap_or_default();
        if !bool::from(hash(offered).ct_eq(&hash(&csrf))) {
            return refuse(StatusCode::FORBIDDEN, "the CSRF token is missing or wrong", "reload the admin page");
        }
    }
    next.run(request).await
}

/// `GET /admin/session`
pub(super) async fn session(State(admin): State<Arc<Admin>>, headers: HeaderMap) -> Response {
    let csrf = admin.access.session(&headers, admin.clock.now());
    let body = json!({
        "logged_in": csrf.is_some(),
        "csrf": csrf,
        "open": admin.access.settings.token.is_some(),
        "version": env!("CARGO_PKG_VERSION"),
    });
    ([(header::CACHE_CONTROL, "no-store")], axum::Json(body)).into_response()
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Offered {
    token: String,
}

/// `POST /admin/login`
pub(super) async fn log_in(
    State(admin): State<Arc<Admin>>,
    peer: Option<Extension<ConnectInfo<SocketAddr>>>,
    headers: HeaderMap,
    body: Result<Bytes, BytesRejection>,
) -> Response {
    let body = match body {
        Ok(body) => body,
        Err(rejection) => return refuse(rejection.status(), &rejection.body_text(), "send the token alone"),
    };
    // A form of another site cannot have this type.
    let is_json = headers
        .get(header::CONTENT_TYPE)
        .and_then(|value| value.to_str().ok())
        .is_some_and(|value| value.split(';').next() == Some("application/json"));
    let offered = if is_json { serde_json::from_slice::<Offered>(&body).ok() } else { None };
    let Some(offered) = offered else {
        return refuse(StatusCode::BAD_REQUEST, "no login", r#"send {"token":"…"} as application/json"#);
    };
    let place = Place::of(peer.map(|Extension(ConnectInfo(peer))| peer), &headers);
    match admin.access.log_in(&offered.token, place, admin.clock.now()) {
        LogIn::In { name, csrf } => {
            tracing::info!("somebody logged in to the admin page");
            let secure = headers.get("x-forwarded-proto").is_some_and(|value| value == "https");
            let cookie = format!(
                "{COOKIE}={name}; Path=/; HttpOnly; SameSite=Strict; Max-Age={}{}",
                SESSION_LASTS.as_secs(),
                if secure { "; Secure" } else { "" }
            );
            let headers = [(header::SET_COOKIE, cookie), (header::CACHE_CONTROL, "no-store".to_owned())];
            (headers, axum::Json(json!({ "csrf": csrf }))).into_response()
        }
        LogIn::Wrong => {
            tracing::warn!("a wrong token was offered to the admin page");
            refuse(StatusCode::UNAUTHORIZED, "the token is wrong", "it is the value of BRIDGE_ADMIN_TOKEN")
        }
        LogIn::TooMany { retry_after_s } => too_many(retry_after_s),
        LogIn::Closed => refuse(
            StatusCode::FORBIDDEN,
            "no BRIDGE_ADMIN_TOKEN is set",
            "set BRIDGE_ADMIN_TOKEN and start the bridge again",
        ),
    }
}

/// `POST /admin/logout`
pub(super) async fn log_out(State(admin): State<Arc<Admin>>, headers: HeaderMap) -> Response {
    admin.access.log_out(&headers);
    let cookie = format!("{COOKIE}=; Path=/; HttpOnly; SameSite=Strict; Max-Age=0");
    (StatusCode::NO_CONTENT, [(header::SET_COOKIE, cookie)]).into_response()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tally::{MAX_WRONG, WINDOW};
    use codex_core_sip::random::SeededRandom;

    fn access(allow_remote: bool) -> Access {
        let settings = AdminSettings { token: Some("a long enough token".into()), allow_remote };
        Access::new(settings, Box::new(SeededRandom::new(1)), Arc::default())
    }

    /// Straight from this machine.
    fn here() -> Place {
        Place::of(Some("127.0.0.1:4000".parse().unwrap()), &HeaderMap::new())
    }

    fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
        pairs.iter().map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap())).collect::<HeaderMap>()
    }

    #[test]
    fn only_this_machine_is_near() {
        let here: SocketAddr = "127.0.0.1:4000".parse().unwrap();
        let mapped: SocketAddr = "[::ffff:127.0.0.1]:4000".parse().unwrap();
        let there: SocketAddr = "192.0.2.1:4000".parse().unwrap();
        for (name, peer, pairs, near) in [
            ("loopback", Some(here), &[("host", "127.0.0.1:8787")][..], true),
            ("mapped", Some(mapped), &[("host", "localhost")], true),
            ("IPv6 name", Some(here), &[("host", "[::1]:8787")], true),
            ("elsewhere", Some(there), &[("host", "127.0.0.1:8787")], false),
            ("peer unknown", None, &[("host", "127.0.0.1:8787")], false),
            ("another name", Some(here), &[("host", "attacker.example:8787")], false),
            ("no name", Some(here), &[], false),
            ("through a proxy", Some(here), &[("host", "localhost"), ("x-forwarded-for", "192.0.2.1")], false),
        ] {
            assert_eq!(access(false).is_near_enough(peer, &headers(pairs)), near, "{name}");
            assert!(access(true).is_near_enough(peer, &headers(pairs)), "{name}");
        }
    }

    #[test]
    fn a_session_is_found_by_its_cookie_until_it_is_left_alone_too_long() {
        let access = access(false);
        let start = UnixMillis::new(1_000_000);
        let LogIn::In { name, csrf } = access.log_in("a long enough token", here(), start) else { panic!("refused") };
        assert_ne!(name, csrf);
        let cookie = format!("other=1; {COOKIE}={name}");
        let own = headers(&[("cookie", cookie.as_str())]);
        let half = SESSION_LASTS / 2;
        assert_eq!(access.session(&own, start + half), Some(csrf.clone()));
        assert_eq!(access.session(&own, start + half + half), Some(csrf), "it was used in between");
        assert_eq!(access.session(&own, start + half + half + SESSION_LASTS), None);
        assert_eq!(access.session(&headers(&[("cookie", "zammad_bridge_session=guess")]), start), None);
        assert_eq!(access.session(&HeaderMap::new(), start), None);
        let hash = Access::session_of(&own).unwrap();
        let (last, left) = (start + half + half, access.left());
        assert!(access.goes_on(hash, last) && !access.goes_on(hash, last + SESSION_LASTS));
        access.log_out(&own);
        assert_eq!(access.session(&own, start), None);
        assert!(!access.goes_on(hash, last) && left.has_changed().unwrap());
    }

    #[test]
    fn wrong_tokens_are_counted_and_then_all_are_refused_for_a_while() {
        let access = access(false);
        let start = UnixMillis::new(1_000_000);
        for _ in 0..MAX_WRONG {
            assert_eq!(access.log_in("guess", here(), start), LogIn::Wrong);
        }
        let LogIn::TooMany { retry_after_s } = access.log_in("a long enough token", here(), start) else {
            panic!("let in")
        };
        assert_eq!(retry_after_s, WINDOW.as_secs() + 1);
        assert!(matches!(access.log_in("a long enough token", here(), start + WINDOW), LogIn::In { .. }));
    }

    #[test]
    fn without_a_token_nobody_gets_in() {
        let access = Access::new(AdminSettings::default(), Box::new(SeededRandom::new(1)), Arc::default());
        assert_eq!(access.log_in("", here(), UnixMillis::ZERO), LogIn::Closed);
        assert!(!access.is_token(""));
    }

    #[test]
    fn sessions_are_bounded() {
        let access = access(false);
        let first = access.log_in("a long enough token", here(), UnixMillis::new(1));
        for at in 0..MAX_SESSIONS as i64 {
            access.log_in("a long enough token", here(), UnixMillis::new(2 + at));
        }
        assert_eq!(access.state().sessions.len(), MAX_SESSIONS);
        let LogIn::In { name, .. } = first else { panic!("refused") };
        let cookie = format!("{COOKIE}={name}");
        assert_eq!(access.session(&headers(&[("cookie", cookie.as_str())]), UnixMillis::new(3)), None);
    }

    #[test]
    fn the_token_is_not_told() {
        assert!(!format!("{:?}", access(false)).contains("enough"));
    }
}
