//! `POST /jambonz/registration`: whether a device may register or call.
//!
//! jambonz asks for each REGISTER and INVITE of a device that it does not know itself, with the fields of the
//! `Authorization` header. The digest is computed anew from the user name's password (RFC 2617 §3.2.2). jambonz does not
//! check the nonce: whoever has overheard an answer can repeat it, until the credentials end.

use axum::extract::{Request, State};
use axum::http::{Method, StatusCode};
use axum::response::Response;
use bytes::Bytes;
use md5::{Digest as _, Md5};
use secrecy::ExposeSecret as _;
use serde::Deserialize;
use serde_json::{Value, json};
use subtle::ConstantTimeEq as _;
use tracing::{debug, warn};

use super::Widget;
use crate::clock::UnixMillis;
use crate::receive::{Receiver, answers};

/// What jambonz posts. Fields may be missing; then the digest fits nothing.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Asked {
    pub(super) method: String,
    pub(super) scheme: Option<String>,
    pub(super) username: String,
    pub(super) realm: String,
    pub(super) nonce: String,
    pub(super) uri: String,
    pub(super) response: String,
    pub(super) qop: Option<String>,
    pub(super) nc: Option<String>,
    pub(super) cnonce: Option<String>,
    pub(super) algorithm: Option<String>,
    pub(super) expires: Option<Value>,
}

/// Why a device is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum Refused {
    #[error("the scheme is not digest with MD5 and no qop but auth")]
    Scheme,
    #[error("the realm is not WIDGET_SIP_REALM")]
    Realm,
    #[error("the user name is none that was given out")]
    Unknown,
    #[error("the credentials have expired")]
    Expired,
    #[error("the password is wrong")]
    Password,
}

pub(in crate::receive) async fn receive(State(receiver): State<Receiver>, request: Request) -> Response {
    let Some(widget) = &receiver.settings.widget else {
        return answers::problem(StatusCode::NOT_FOUND, "no credentials are given out", "set WIDGET_ORIGINS");
    };
    if request.method() != Method::POST {
        return answers::only_post(request.method().as_str());
    }
    let (parts, body) = request.into_parts();
    let body = match receiver.let_in(&parts.headers, body).await {
        Ok((body, true)) => body,
        Ok((_, false)) => return answers::unavailable("the webhook secret is not known yet", 2),
        Err(refusal) => return refusal,
    };
    // jambonz wants 200 in any case.
    let answer = match serde_json::from_slice::<Asked>(&body) {
        Ok(asked) => match widget.verify(&asked, receiver.clock.now()) {
            Ok(left_s) => {
                debug!(username = asked.username, method = asked.method, "a device was let in");
                widget.accepted(&asked, left_s)
            }
            Err(refused) => {
                warn!(method = asked.method, %refused, "a device was not let in");
                json!({"status": "fail", "msg": refused.to_string()})
            }
        },
        Err(error) => {
            warn!(line = error.line(), column = error.column(), "a registration_hook cannot be read");
            json!({"status": "fail", "msg": "the request is not what jambonz posts"})
        }
    };
    answers::json_bytes(StatusCode::OK, Bytes::from(answer.to_string()))
}

impl Widget {
    /// How many seconds the credentials still last.
    pub(super) fn verify(&self, asked: &Asked, now: UnixMillis) -> Result<u64, Refused> {
        let is =
            |text: &Option<String>, wanted: &str| text.as_deref().is_none_or(|text| text.eq_ignore_ascii_case(wanted));
        let qop = asked.qop.as_deref().filter(|qop| !qop.is_empty());
        if !is(&asked.scheme, "digest") || !is(&asked.algorithm, "MD5") || qop.is_some_and(|qop| qop != "auth") {
            return Err(Refused::Scheme);
        }
        if !asked.realm.eq_ignore_ascii_case(&self.settings.realm) {
            return Err(Refused::Realm);
        }
        let end = Self::end_of(&asked.username).ok_or(Refused::Unknown)?;
        let password = self.password_of(&asked.username);
        let ha1 = md5_hex(&[&asked.username, &asked.realm, password.expose_secret()]);
        let ha2 = md5_hex(&[&asked.method, &asked.uri]);
        let expected = match (qop, &asked.nc, &asked.cnonce) {
            (Some(qop), Some(nc), Some(cnonce)) => md5_hex(&[&ha1, &asked.nonce, nc, cnonce, qop, &ha2]),
            _ => md5_hex(&[&ha1, &asked.nonce, &ha2]),
        };
        if !bool::from(expected.as_bytes().ct_eq(asked.response.to_ascii_lowercase().as_bytes())) {
            return Err(Refused::Password);
        }
        // Said only to who has the password.
        let left = end.saturating_since(now).as_secs();
        if left == 0 { Err(Refused::Expired) } else { Ok(left) }
    }

    /// No registration outlives its credentials.
    fn accepted(&self, asked: &Asked, left_s: u64) -> Value {
        let wanted = asked.expires.as_ref().and_then(|expires| match expires {
            Value::Number(number) => number.as_u64(),
            Value::String(text) => text.trim().parse().ok(),
            _ => None,
        });
        let mut answer = json!({"status": "ok", "expires": wanted.unwrap_or(left_s).min(left_s)});
        if let Some(application) = self.settings.application {
            answer["application_sid"] = application.to_string().into();
        }
        answer
    }
}

/// The MD5 of the parts with `:` between them, in hexadecimal digits (RFC 2617 §3.1.3).
pub(super) fn md5_hex(parts: &[&str]) -> String {
    let mut digest = Md5::new();
    for (at, part) in parts.iter().enumerate() {
        if at > 0 {
            digest.update(b":");
        }
        digest.update(part.as_bytes());
    }
    digest.finalize().iter().map(|byte| format!("{byte:02x}")).collect()
}
