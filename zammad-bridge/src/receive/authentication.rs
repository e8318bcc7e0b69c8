//! Whether a request comes from jambonz: its signature, and HTTP basic authentication.
//!
//! jambonz signs each request of an account that has a webhook secret: `Jambonz-Signature: t=<unix seconds>,v1=<hex>`,
//! where `v1` is the HMAC-SHA256 (RFC 2104) of `<t>.<raw body>`. While a secret is being changed two `v1` can stand in the
//! header, and two secrets can be configured here: one match is enough. A request that comes again within the tolerance is
//! jambonz' own retry, which repeats time stamp and signature; it is let in and does no harm.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit, Mac};
use secrecy::{ExposeSecret, SecretString};
use sha2::Sha256;
use subtle::{Choice, ConstantTimeEq};

/// The header that carries jambonz' signature.
pub const JAMBONZ_SIGNATURE: &str = "Jambonz-Signature";

/// How far jambonz' clock and ours may lie apart, in seconds, both ways.
pub const SIGNATURE_TOLERANCE_SECONDS: u64 = 300;

/// How many `v1` of one header are looked at: two are there while a secret is being changed.
const MAX_SIGNATURES: usize = 8;
/// How large a signature header may be to be looked at, in bytes.
const MAX_HEADER_BYTES: usize = 2_048;
/// An HMAC-SHA256, in bytes.
const MAC_BYTES: usize = 32;

/// Why a request is not let in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum AuthenticationFault {
    /// There is no `Jambonz-Signature`.
    #[error(
        "the request has no Jambonz-Signature header: does it come from jambonz, and does a proxy in between keep the header?"
    )]
    NoSignature,
    /// The header is not `t=<unix seconds>,v1=<hex>`.
    #[error("the Jambonz-Signature header is not of the form t=<unix seconds>,v1=<hex>")]
    MalformedSignature,
    /// The time stamp is too far away.
    #[error(
        "the Jambonz-Signature is {apart_seconds} s away from this machine's time, at most {SIGNATURE_TOLERANCE_SECONDS} s are tolerated: set both clocks right"
    )]
    OutOfTime {
        /// How far, in seconds, either way.
        apart_seconds: u64,
    },
    /// No secret gives any of the signatures.
    #[error(
        "the Jambonz-Signature does not fit: JAMBONZ_WEBHOOK_SECRET must be the webhook secret of the account, and no proxy may change the body"
    )]
    WrongSignature,
    /// User name and password are missing or not the configured ones.
    #[error(
        "user name and password of the hook are missing or wrong: set the same at the application's hook in jambonz and in JAMBONZ_HOOK_USERNAME and JAMBONZ_HOOK_PASSWORD"
    )]
    WrongCredentials,
}

impl AuthenticationFault {
    /// One word for metrics.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::NoSignature => "no_signature",
            Self::MalformedSignature => "malformed_signature",
            Self::OutOfTime { .. } => "out_of_time",
            Self::WrongSignature => "wrong_signature",
            Self::WrongCredentials => "wrong_credentials",
        }
    }
}

/// User name and password that jambonz sends with its hooks.
#[derive(Clone)]
pub struct HookLogin {
    /// The user name.
    pub username: String,
    /// The password.
    pub password: SecretString,
}

impl fmt::Debug for HookLogin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HookLogin").field("username", &self.username).finish_non_exhaustive()
    }
}

/// What a request of jambonz must show to be let in. What is configured is required: with secrets a signature, with a login
/// that login, with both both, with neither nothing.
#[derive(Clone, Default)]
pub struct HookAuthentication {
    secrets: Vec<SecretString>,
    basic: Option<SecretString>,
}

impl fmt::Debug for HookAuthentication {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HookAuthentication")
            .field("secrets", &self.secrets.len())
            .field("basic", &self.basic.is_some())
            .finish()
    }
}

impl HookAuthentication {
    /// Requires a signature by one of `secrets`, unless there are none, and `login`, if there is one.
    #[must_use]
    pub fn new(secrets: Vec<SecretString>, login: Option<&HookLogin>) -> Self {
        let basic = login.map(|login| {
            SecretString::from(STANDARD.encode(format!("{}:{}", login.username, login.password.expose_secret())))
        });
        Self { secrets, basic }
    }

    /// Whether anybody is let in.
    #[must_use]
    pub fn is_open(&self) -> bool {
        self.secrets.is_empty() && self.basic.is_none()
    }

    /// Checks one request: the values of its headers `Jambonz-Signature` and `Authorization`, its raw body, and the time in
    /// seconds since 1970.
    ///
    /// # Errors
    ///
    /// [`AuthenticationFault`], which can be told to whoever sent the request: it holds nothing secret.
    pub fn check(
        &self,
        signature: Option<&[u8]>,
        authorization: Option<&[u8]>,
        body: &[u8],
        now_unix_seconds: u64,
    ) -> Result<(), AuthenticationFault> {
        let Some(signature) = self.check_headers(signature, authorization, now_unix_seconds)? else { return Ok(()) };
        if !self.is_signed(&signature, body) {
            return Err(AuthenticationFault::WrongSignature);
        }
        Ok(())
    }

    /// What can be checked without the body: the login, and that there is a signature of the right form and time, which is
    /// returned if one is required.
    pub(super) fn check_headers<'a>(
        &self,
        signature: Option<&'a [u8]>,
        authorization: Option<&[u8]>,
        now_unix_seconds: u64,
    ) -> Result<Option<Signature<'a>>, AuthenticationFault> {
        if let Some(expected) = &self.basic
            && !is_basic(authorization.unwrap_or_default(), expected.expose_secret().as_bytes())
        {
            return Err(AuthenticationFault::WrongCredentials);
        }
        if self.secrets.is_empty() {
            return Ok(None);
        }
        let signature = Signature::parse(signature.ok_or(AuthenticationFault::NoSignature)?)
            .ok_or(AuthenticationFault::MalformedSignature)?;
        let apart_seconds = signature.unix_seconds.abs_diff(now_unix_seconds);
        if apart_seconds > SIGNATURE_TOLERANCE_SECONDS {
            return Err(AuthenticationFault::OutOfTime { apart_seconds });
        }
        Ok(Some(signature))
    }

    /// Whether any secret gives any of the signatures. How long it takes tells nothing of which, or of how near.
    fn is_signed(&self, signature: &Signature<'_>, body: &[u8]) -> bool {
        let mut found = Choice::from(0);
        for secret in &self.secrets {
            let expected = sign(secret, signature.stamp, body);
            for mac in &signature.macs {
                found |= expected.ct_eq(mac);
            }
        }
        found.into()
    }
}

/// The HMAC-SHA256 of `<stamp>.<body>`.
fn sign(secret: &SecretString, stamp: &[u8], body: &[u8]) -> [u8; MAC_BYTES] {
    // A key of any length is taken (RFC 2104 §2); the branch is there because the trait speaks for other algorithms too.
    let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(secret.expose_secret().as_bytes()) else {
        return [0; MAC_BYTES];
    };
    mac.update(stamp);
    mac.update(b".");
    mac.update(body);
    mac.finalize().into_bytes().into()
}

/// The value of `Jambonz-Signature` for `body`, as jambonz makes it: for tests and for programs that stand in for jambonz.
#[must_use]
pub fn jambonz_signature(secret: &SecretString, unix_seconds: u64, body: &[u8]) -> String {
    let mac = sign(secret, unix_seconds.to_string().as_bytes(), body);
    let hex: String = mac.iter().map(|byte| format!("{byte:02x}")).collect();
    format!("t={unix_seconds},v1={hex}")
}

/// A signature header, read.
pub(super) struct Signature<'a> {
    /// The time stamp as it stands there, since that is what was signed.
    stamp: &'a [u8],
    unix_seconds: u64,
    macs: Vec<[u8; MAC_BYTES]>,
}

impl<'a> Signature<'a> {
    /// Items separated by `,`; those that are neither `t` nor `v1` belong to schemes that we do not know.
    fn parse(header: &'a [u8]) -> Option<Self> {
        if header.len() > MAX_HEADER_BYTES {
            return None;
        }
        let (mut stamp, mut macs) = (None, Vec::new());
        for item in header.split(|&byte| byte == b',') {
            let item = item.trim_ascii();
            if let Some(value) = item.strip_prefix(b"t=") {
                if stamp.replace(value).is_some() {
                    return None;
                }
            } else if let Some(value) = item.strip_prefix(b"v1=")
                && macs.len() < MAX_SIGNATURES
            {
                macs.extend(mac_of_hex(value));
            }
        }
        let stamp = stamp.filter(|stamp| !stamp.is_empty() && stamp.iter().all(u8::is_ascii_digit))?;
        let unix_seconds = std::str::from_utf8(stamp).ok()?.parse().ok()?;
        (!macs.is_empty()).then_some(Self { stamp, unix_seconds, macs })
    }
}

fn mac_of_hex(hex: &[u8]) -> Option<[u8; MAC_BYTES]> {
    let digit = |byte: u8| char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
    let (pairs, rest) = hex.as_chunks::<2>();
    if pairs.len() != MAC_BYTES || !rest.is_empty() {
        return None;
    }
    let mut mac = [0; MAC_BYTES];
    for (byte, &[high, low]) in mac.iter_mut().zip(pairs) {
        *byte = digit(high)? << 4 | digit(low)?;
    }
    Some(mac)
}

/// Whether an `Authorization` header is `Basic <expected>` (RFC 7617), whatever the scheme's case.
fn is_basic(authorization: &[u8], expected: &[u8]) -> bool {
    credentials_of(authorization, b"basic").is_some_and(|given| given.ct_eq(expected).into())
}

/// Whether an `Authorization` header is `Bearer <one of tokens>` (RFC 6750), whatever the scheme's case. How long it takes
/// tells nothing of the tokens but their lengths.
#[must_use]
pub fn is_bearer(authorization: &[u8], tokens: &[SecretString]) -> bool {
    let Some(given) = credentials_of(authorization, b"bearer").filter(|given| !given.is_empty()) else { return false };
    let mut found = Choice::from(0);
    for token in tokens {
        found |= given.ct_eq(token.expose_secret().as_bytes());
    }
    found.into()
}

fn credentials_of<'a>(authorization: &'a [u8], scheme: &[u8]) -> Option<&'a [u8]> {
    let at = authorization.iter().position(|&byte| byte == b' ')?;
    let (found, credentials) = authorization.split_at(at);
    found.eq_ignore_ascii_case(scheme).then(|| credentials.trim_ascii())
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECRET: &str = "wh_secret_cJqgtMDPzDhhnjmaJH6Mtk";
    const STAMP: u64 = 1_795_330_382;
    const MAC: &str = "fe1ffa68b5e82606357c1c656422f59d35c889498cb616e64a09c9f7d8aa8c28";
    const BODY: &[u8] = br#"{"a":1}"#;

    fn with_secrets(secrets: &[&str]) -> HookAuthentication {
        HookAuthentication::new(secrets.iter().map(|&secret| secret.into()).collect(), None)
    }

    fn check(authentication: &HookAuthentication, header: &str, now: u64) -> Result<(), AuthenticationFault> {
        authentication.check(Some(header.as_bytes()), None, BODY, now)
    }

    #[test]
    fn the_recorded_signature_fits_and_is_what_we_make() {
        let header = format!("t={STAMP},v1={MAC}");
        assert_eq!(jambonz_signature(&SECRET.into(), STAMP, BODY), header);
        check(&with_secrets(&[SECRET]), &header, STAMP).unwrap();
    }

    #[test]
    fn a_table_of_signatures() {
        use AuthenticationFault::{MalformedSignature, OutOfTime, WrongSignature};
        let good = format!("t={STAMP},v1={MAC}");
        let upper = format!("t={STAMP},v1={}", MAC.to_uppercase());
        let wrong = MAC.replace('f', "0");
        // What it is, the secrets, the header, the time, the outcome.
        type Case<'a> = (&'a str, &'a [&'a str], String, u64, Result<(), AuthenticationFault>);
        let cases: &[Case<'_>] = &[
            ("one secret", &[SECRET], good.clone(), STAMP, Ok(())),
            ("the second of two secrets", &["old", SECRET], good.clone(), STAMP, Ok(())),
            ("another secret", &["other"], good.clone(), STAMP, Err(WrongSignature)),
            ("two v1, the first good", &[SECRET], format!("{good},v1={wrong}"), STAMP, Ok(())),
            ("two v1, the second good", &[SECRET], format!("t={STAMP},v1={wrong},v1={MAC}"), STAMP, Ok(())),
            ("order and blanks", &[SECRET], format!(" v1={MAC} , v0=abc , t={STAMP} "), STAMP, Ok(())),
            ("hex in capitals", &[SECRET], upper, STAMP, Ok(())),
            ("an unknown item", &[SECRET], format!("{good},v2=zz,x"), STAMP, Ok(())),
            ("at the edge, our clock ahead", &[SECRET], good.clone(), STAMP + 300, Ok(())),
            ("at the edge, our clock behind", &[SECRET], good.clone(), STAMP - 300, Ok(())),
            ("too old", &[SECRET], good.clone(), STAMP + 301, Err(OutOfTime { apart_seconds: 301 })),
            ("from the future", &[SECRET], good.clone(), STAMP - 301, Err(OutOfTime { apart_seconds: 301 })),
            ("a forged time stamp", &[SECRET], format!("t={},v1={MAC}", STAMP + 1), STAMP, Err(WrongSignature)),
            ("empty", &[SECRET], String::new(), STAMP, Err(MalformedSignature)),
            ("no time stamp", &[SECRET], format!("v1={MAC}"), STAMP, Err(MalformedSignature)),
            ("no v1", &[SECRET], format!("t={STAMP}"), STAMP, Err(MalformedSignature)),
            ("two time stamps", &[SECRET], format!("t=1,{good}"), STAMP, Err(MalformedSignature)),
            ("a signed time stamp", &[SECRET], format!("t=+{STAMP},v1={MAC}"), STAMP, Err(MalformedSignature)),
            ("a huge time stamp", &[SECRET], format!("t={},v1={MAC}", "9".repeat(40)), STAMP, Err(MalformedSignature)),
            ("hex cut short", &[SECRET], format!("t={STAMP},v1={}", &MAC[2..]), STAMP, Err(MalformedSignature)),
            ("no hex", &[SECRET], format!("t={STAMP},v1={}", "g".repeat(64)), STAMP, Err(MalformedSignature)),
            ("endless", &[SECRET], format!("{good},{}", "x".repeat(4_000)), STAMP, Err(MalformedSignature)),
            (
                "the good one after eight others",
                &[SECRET],
                format!("t={STAMP},{}v1={MAC}", format!("v1={wrong},").repeat(8)),
                STAMP,
                Err(WrongSignature),
            ),
        ];
        for (what, secrets, header, now, expected) in cases {
            assert_eq!(check(&with_secrets(secrets), header, *now), *expected, "{what}");
        }
        let missing = with_secrets(&[SECRET]).check(None, None, BODY, STAMP);
        assert_eq!(missing, Err(AuthenticationFault::NoSignature));
        let changed = with_secrets(&[SECRET]).check(Some(good.as_bytes()), None, br#"{"a":2}"#, STAMP);
        assert_eq!(changed, Err(WrongSignature));
    }

    #[test]
    fn a_login_is_required_if_there_is_one_beside_the_signature() {
        let login = HookLogin { username: "u".to_owned(), password: "pä:ss".into() };
        let value = |text: &str, scheme: &str| format!("{scheme} {}", STANDARD.encode(text));
        let only_login = HookAuthentication::new(Vec::new(), Some(&login));
        for (authorization, lets_in) in [
            (value("u:pä:ss", "Basic"), true),
            (value("u:pä:ss", "bASIC"), true),
            (value("u:pä:ss", "Basic "), true),
            (value("u:pass", "Basic"), false),
            (value("v:pä:ss", "Basic"), false),
            (value("u:pä:ss", "Bearer"), false),
            ("Basic".to_owned(), false),
            (String::new(), false),
        ] {
            let result = only_login.check(None, Some(authorization.as_bytes()), BODY, STAMP);
            assert_eq!(result.is_ok(), lets_in, "{authorization}");
        }
        assert_eq!(only_login.check(None, None, BODY, STAMP), Err(AuthenticationFault::WrongCredentials));
        let both = HookAuthentication::new(vec![SECRET.into()], Some(&login));
        let signature = jambonz_signature(&SECRET.into(), STAMP, BODY);
        let authorization = value("u:pä:ss", "Basic");
        both.check(Some(signature.as_bytes()), Some(authorization.as_bytes()), BODY, STAMP).unwrap();
        assert!(both.check(Some(signature.as_bytes()), None, BODY, STAMP).is_err());
        assert!(both.check(None, Some(authorization.as_bytes()), BODY, STAMP).is_err());
        assert!(HookAuthentication::default().is_open());
        HookAuthentication::default().check(None, None, BODY, STAMP).unwrap();
    }

    #[test]
    fn bearer_tokens_are_compared_whole() {
        let tokens = ["S3CRET-one".into(), "S3CRET-two".into()];
        assert!(is_bearer(b"Bearer S3CRET-one", &tokens));
        assert!(is_bearer(b"bearer  S3CRET-two", &tokens));
        for wrong in ["Bearer S3CRET", "Bearer S3CRET-one2", "Basic S3CRET-one", "S3CRET-one", "Bearer ", ""] {
            assert!(!is_bearer(wrong.as_bytes(), &tokens), "{wrong}");
        }
        assert!(!is_bearer(b"Bearer ", &["".into()]));
    }

    #[test]
    fn nothing_shows_a_secret() {
        let login = HookLogin { username: "u".to_owned(), password: "S3CRET".into() };
        let shown = format!("{login:?} {:?}", HookAuthentication::new(vec!["S3CRET".into()], Some(&login)));
        assert!(!shown.contains("S3CRET") && !shown.contains(&STANDARD.encode("u:S3CRET")), "{shown}");
    }
}
