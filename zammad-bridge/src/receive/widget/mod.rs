//! Short-lived SIP credentials for web pages, minted here and checked here: no lasting password stands in a page.
//!
//! ```text
//! page ── POST /widget/token ──────────► user name with its end in it, and a password made of both
//! page ── REGISTER, INVITE ──► jambonz ── POST /jambonz/registration ──► the digest is right and the end not reached
//! ```
//!
//! Nothing is kept: a password is the HMAC-SHA256 of its user name and realm, so any bridge with the same secret can check
//! it, after a restart too. A user name that was changed, its end say, has another password.
//!
//! What an `Origin` is worth: browsers say truthfully which page asks, so other sites' pages get nothing; a program can
//! claim any. That is why credentials end soon, and are given out at a bounded rate.

mod registration;
#[cfg(test)]
mod tests;
mod token;

use std::fmt;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use codex_core_sip::metadata::ApplicationSid;
use codex_core_sip::random::Random;
use hmac::{Hmac, KeyInit as _, Mac as _};
use secrecy::{ExposeSecret as _, SecretString};
use sha2::Sha256;

use crate::clock::UnixMillis;
use crate::tally::Tally;

pub(super) use self::registration::receive as registration;
pub(super) use self::token::receive as token;

/// Where pages fetch credentials.
pub const TOKEN_PATH: &str = "/widget/token";
/// Where jambonz asks whether a device may register or call: the account's `registration_hook`.
pub const REGISTRATION_PATH: &str = "/jambonz/registration";
/// How long credentials last by default.
pub const CREDENTIALS_LIFETIME: Duration = Duration::from_secs(10 * 60);
/// How many credentials one address gets in a minute by default.
pub const TOKENS_PER_MINUTE: u32 = 10;
/// How many all together get in a minute, in times of what one address gets.
const ALL_TOGETHER: u32 = 60;
/// The least characters of the secret.
pub const MIN_SECRET_CHARS: usize = 32;

/// What every user name begins with.
const USER_PREFIX: &str = "web";
/// Letters that tell user names of one second apart.
const USER_LETTERS: usize = 12;
/// Keeps what is signed here apart from everything else that the secret may sign.
const PURPOSE: &[u8] = b"codex-zammad-bridge SIP password\0";

/// Credentials for web pages, if they are given out.
#[derive(Clone)]
pub struct WidgetSettings {
    /// Of which pages: origins such as `https://shop.example.com`, in lower case.
    pub origins: Vec<String>,
    /// What passwords are made of.
    pub secret: SecretString,
    /// The account's SIP realm.
    pub realm: String,
    /// How long credentials last.
    pub lifetime: Duration,
    /// Which application takes the calls; without it the account's device application does.
    pub application: Option<ApplicationSid>,
    /// How many credentials one address gets in a minute.
    pub tokens_per_minute: u32,
    /// Whether a proxy before the bridge says in `X-Forwarded-For` which address asks.
    pub behind_proxy: bool,
}

impl fmt::Debug for WidgetSettings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WidgetSettings")
            .field("origins", &self.origins)
            .field("realm", &self.realm)
            .field("lifetime", &self.lifetime)
            .finish_non_exhaustive()
    }
}

/// Mints credentials and checks them.
pub struct Widget {
    settings: WidgetSettings,
    random: Mutex<Box<dyn Random>>,
    tally: Tally,
    all: Tally,
}

impl fmt::Debug for Widget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Widget").field("settings", &self.settings).finish_non_exhaustive()
    }
}

/// What a page gets.
struct Credentials {
    username: String,
    password: SecretString,
    expires: UnixMillis,
}

impl Widget {
    /// Gives out credentials as `settings` say; `random` tells user names apart.
    #[must_use]
    pub fn new(settings: WidgetSettings, random: Box<dyn Random>) -> Self {
        let most = settings.tokens_per_minute;
        let (tally, all) = (Tally::of_at_most(most), Tally::of_at_most(most.saturating_mul(ALL_TOGETHER)));
        Self { settings, random: Mutex::new(random), tally, all }
    }

    fn mint(&self, now: UnixMillis) -> Credentials {
        let seconds = (now + self.settings.lifetime).as_seconds();
        let letters = self.random.lock().unwrap_or_else(PoisonError::into_inner).letters(USER_LETTERS);
        let username = format!("{USER_PREFIX}-{seconds}-{letters}");
        let password = self.password_of(&username);
        Credentials { username, password, expires: UnixMillis::new(seconds.saturating_mul(1000)) }
    }

    /// The password that belongs to a user name, whoever made that up.
    fn password_of(&self, username: &str) -> SecretString {
        // A key of any length is taken (RFC 2104 §2).
        let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(self.settings.secret.expose_secret().as_bytes()) else {
            return String::new().into();
        };
        mac.update(PURPOSE);
        mac.update(self.settings.realm.as_bytes());
        mac.update(b"\0");
        mac.update(username.as_bytes());
        let password: String = mac.finalize().into_bytes().iter().map(|byte| format!("{byte:02x}")).collect();
        password.into()
    }

    /// When credentials of this user name end; `None` if it is none of ours.
    fn end_of(username: &str) -> Option<UnixMillis> {
        let (seconds, letters) = username.strip_prefix(USER_PREFIX)?.strip_prefix('-')?.split_once('-')?;
        let is_ours = letters.len() == USER_LETTERS && letters.bytes().all(|byte| byte.is_ascii_lowercase());
        let seconds: i64 = seconds.parse().ok().filter(|_| is_ours && seconds.bytes().all(|b| b.is_ascii_digit()))?;
        Some(UnixMillis::new(seconds.checked_mul(1000)?))
    }
}
