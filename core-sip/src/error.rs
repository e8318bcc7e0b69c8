//! What can go wrong, told apart by cause.

use core::fmt;
use std::time::Duration;

use crate::escape::{Escaped, escape};

mod customer_data_problem;
mod person;

pub use customer_data_problem::{CustomerDataProblem, JsonFound, JsonType, JsonWanted};
pub use person::Locale;

/// The result of everything in this crate that can fail.
pub type Result<T, E = Error> = core::result::Result<T, E>;

/// What went wrong, where, and what to do about it.
///
/// `Display` is for developers (English, with the facts), [`Error::code`] is stable and for programs,
/// [`Error::for_person`] is a short sentence for the person who wanted to call. None of them holds a secret.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// Settings are wrong; all of them are listed.
    #[error("{}", display_problems(.problems))]
    Configuration {
        /// One entry for each wrong setting.
        problems: Vec<ConfigurationProblem>,
    },
    /// Customer data is not what it has to be.
    #[error("{key}: customer data is wrong at line {line}, column {column}{}: {problem}", field.as_ref().map(|f| format!(" (field `{f}`)")).unwrap_or_default())]
    CustomerData {
        /// The setting or header that it came from, such as `CUSTOMER_DATA`.
        key: String,
        /// Line in the JSON text, from 1.
        line: usize,
        /// Column in that line, from 1.
        column: usize,
        /// The path of the field, such as `location.city`, where it is known.
        field: Option<String>,
        /// What is wrong and what a right value looks like.
        problem: CustomerDataProblem,
    },
    /// The headers that carry the customer data would be larger than the edge lets through.
    #[error(
        "customer data takes {size_bytes} bytes in X-Customer-Data and User-to-User together, at most {limit_bytes} are allowed: send fewer or shorter fields, set USER_TO_USER_ENCODING=off, or raise the limit if your edge takes more"
    )]
    CustomerDataTooLarge {
        /// What both header values take, in bytes.
        size_bytes: usize,
        /// What they may take, in bytes.
        limit_bytes: usize,
    },
    /// A header that was asked for may not be sent.
    #[error("header `{name}` cannot be sent: {problem}")]
    HeaderNotAllowed {
        /// The header's name as given (control characters escaped).
        name: String,
        /// Why, and what to do.
        problem: String,
    },
    /// The audio source or sink cannot be used.
    #[error("audio {device} failed: {problem}")]
    Audio {
        /// What was used, such as `source hello.wav`.
        device: String,
        /// What is wrong.
        problem: String,
    },
    /// A host name has no address.
    #[error("the name `{host}` cannot be resolved: {problem}. Check the host in JAMBONZ_WSS_ADDRESS")]
    NameResolution {
        /// The host.
        host: String,
        /// The resolver's words.
        problem: String,
    },
    /// No TCP connection came about.
    #[error("no connection to {address}: {problem}")]
    Connect {
        /// Host and port.
        address: String,
        /// The system's words.
        problem: String,
    },
    /// TLS failed.
    #[error("TLS with `{host}` failed: {fault}")]
    Tls {
        /// The name that was asked for.
        host: String,
        /// Why.
        fault: TlsFault,
    },
    /// The server answered the WebSocket handshake with another status than 101.
    #[error(
        "{url} refused the WebSocket with HTTP status {status}: check path and port (jambonz listens for SIP over WebSocket on 8443 as a rule)"
    )]
    WebSocketRefused {
        /// The address without user data or query.
        url: String,
        /// The HTTP status.
        status: u16,
    },
    /// The server speaks WebSocket but not SIP over it (RFC 7118 §4.1).
    #[error("{url} speaks WebSocket but not SIP over it: it {} the sub-protocol `sip` (RFC 7118); check path and port", chosen_instead(chosen.as_deref()))]
    SubprotocolRefused {
        /// The address without user data or query.
        url: String,
        /// What the server chose instead, if that is known.
        chosen: Option<String>,
    },
    /// What answered the handshake is no WebSocket server, nor a web server that refuses (RFC 6455 §4).
    #[error("{url} does not speak WebSocket (RFC 6455 §4): {problem}; check scheme and port")]
    NotWebSocket {
        /// The address without user data or query.
        url: String,
        /// What was wrong with the answer, in the WebSocket library's words.
        problem: String,
    },
    /// The flow to the edge was lost or is not there.
    #[error("the connection to the SIP edge is lost: {problem}")]
    FlowLost {
        /// What is known of the cause.
        problem: String,
    },
    /// The flow was lost before an INVITE was answered; its responses cannot reach another flow.
    #[error("the connection to the SIP edge was lost while the call was set up; call again")]
    FlowLostDuringSetup,
    /// The registrar refused.
    #[error("registration refused with {status} {}: {}{}", Foreign(.phrase), refusal.explanation(), x_reason_note(x_reason.as_deref()))]
    RegistrationRefused {
        /// The cause in plain words.
        refusal: RegistrationRefusal,
        /// The SIP status.
        status: u16,
        /// Its reason phrase.
        phrase: String,
        /// What the edge said in `X-Reason`, as jambonz does.
        x_reason: Option<String>,
    },
    /// The call was refused or failed at the far end.
    #[error("call refused with {status} {}: {}{}{}", Foreign(.phrase), refusal.explanation(), x_reason_note(x_reason.as_deref()), retry_after.map(|d| format!("; it asks to wait {} s", d.as_secs())).unwrap_or_default())]
    CallRefused {
        /// The cause in plain words.
        refusal: CallRefusal,
        /// The SIP status.
        status: u16,
        /// Its reason phrase.
        phrase: String,
        /// What the edge said in `X-Reason`, as jambonz does.
        x_reason: Option<String>,
        /// When to try again, if the far end said so.
        retry_after: Option<Duration>,
    },
    /// Audio cannot flow.
    #[error("media failed: {fault}")]
    Media {
        /// Why.
        fault: MediaFault,
    },
    /// Bytes that are not SIP.
    #[error("malformed SIP: {0}")]
    Malformed(ParseError),
    /// A well-formed message that breaks the protocol.
    #[error("protocol violation: {problem}")]
    Protocol {
        /// What was wrong, with the rule it breaks.
        problem: String,
    },
    /// Nothing came back in time.
    #[error("{operation} got no answer within {} s", Seconds(*.after))]
    Timeout {
        /// What was waited for, such as `REGISTER`.
        operation: &'static str,
        /// How long.
        after: Duration,
    },
    /// The command does not fit the state.
    #[error("`{operation}` is not possible now: {problem}")]
    WrongState {
        /// The command.
        operation: &'static str,
        /// What state there is and what to do first.
        problem: &'static str,
    },
    /// The client has been destroyed.
    #[error("the client has been destroyed; make a new one")]
    Destroyed,
}

impl Error {
    /// The cause as a word for programs: lower-case ASCII and `_`, unique, and the same in every release.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::Configuration { .. } => "configuration",
            Self::CustomerData { .. } => "customer_data",
            Self::CustomerDataTooLarge { .. } => "customer_data_too_large",
            Self::HeaderNotAllowed { .. } => "header_not_allowed",
            Self::Audio { .. } => "audio",
            Self::NameResolution { .. } => "name_resolution",
            Self::Connect { .. } => "connect",
            Self::Tls { fault, .. } => match fault {
                TlsFault::NameMismatch { .. } => "tls_name_mismatch",
                TlsFault::UnknownIssuer => "tls_unknown_issuer",
                TlsFault::Expired => "tls_expired",
                TlsFault::NotYetValid => "tls_not_yet_valid",
                TlsFault::Revoked => "tls_revoked",
                TlsFault::Other(_) => "tls_other",
            },
            Self::WebSocketRefused { .. } => "websocket_refused",
            Self::SubprotocolRefused { .. } => "subprotocol_refused",
            Self::NotWebSocket { .. } => "not_websocket",
            Self::FlowLost { .. } => "flow_lost",
            Self::FlowLostDuringSetup => "flow_lost_during_setup",
            Self::RegistrationRefused { refusal, .. } => match refusal {
                RegistrationRefusal::Credentials => "registration_credentials",
                RegistrationRefusal::Realm => "registration_realm",
                RegistrationRefusal::Forbidden => "registration_forbidden",
                RegistrationRefusal::Expired => "registration_expired",
                RegistrationRefusal::Unavailable => "registration_unavailable",
                RegistrationRefusal::Other => "registration_refused",
            },
            Self::CallRefused { refusal, .. } => match refusal {
                CallRefusal::Busy => "call_busy",
                CallRefusal::Declined => "call_declined",
                CallRefusal::NotFound => "call_not_found",
                CallRefusal::NoApplication => "call_no_application",
                CallRefusal::NoAnswer => "call_no_answer",
                CallRefusal::Unavailable => "call_unavailable",
                CallRefusal::Overloaded => "call_overloaded",
                CallRefusal::Forbidden => "call_forbidden",
                CallRefusal::NotAcceptable => "call_not_acceptable",
                CallRefusal::TransferNotSupported => "call_transfer_not_supported",
                CallRefusal::Cancelled => "call_cancelled",
                CallRefusal::Other => "call_refused",
            },
            Self::Media { fault } => match fault {
                MediaFault::NoCommonCodec => "media_no_common_codec",
                MediaFault::IceFailed => "media_ice_failed",
                MediaFault::DtlsFailed => "media_dtls_failed",
                MediaFault::NoPackets { .. } => "media_no_packets",
                MediaFault::BadDescription(_) => "media_bad_description",
                MediaFault::Engine(_) => "media_engine",
            },
            Self::Malformed(_) => "malformed",
            Self::Protocol { .. } => "protocol",
            Self::Timeout { .. } => "timeout",
            Self::WrongState { .. } => "wrong_state",
            Self::Destroyed => "destroyed",
        }
    }

    /// Whether doing the same once more is in vain until somebody changes something: a setting, a certificate, an
    /// account. What time alone can mend (a network, an overload, a certificate that is renewed by a timer) is not
    /// permanent, nor is what is not known well enough.
    #[must_use]
    pub fn is_permanent(&self) -> bool {
        match self {
            Self::Configuration { .. }
            | Self::CustomerData { .. }
            | Self::CustomerDataTooLarge { .. }
            | Self::HeaderNotAllowed { .. }
            | Self::SubprotocolRefused { .. }
            | Self::Destroyed => true,
            Self::Audio { .. }
            | Self::NameResolution { .. }
            | Self::Connect { .. }
            | Self::NotWebSocket { .. }
            | Self::FlowLost { .. }
            | Self::FlowLostDuringSetup
            | Self::Malformed(_)
            | Self::Protocol { .. }
            | Self::Timeout { .. }
            | Self::WrongState { .. } => false,
            Self::Tls { fault, .. } => match fault {
                TlsFault::NameMismatch { .. } | TlsFault::UnknownIssuer | TlsFault::Revoked => true,
                TlsFault::Expired | TlsFault::NotYetValid | TlsFault::Other(_) => false,
            },
            // 408, 425 and 429 are the client errors of HTTP that ask for another try (RFC 9110, RFC 8470, RFC 6585).
            Self::WebSocketRefused { status, .. } => *status < 500 && !matches!(status, 408 | 425 | 429),
            Self::RegistrationRefused { refusal, status, .. } => match refusal {
                RegistrationRefusal::Credentials
                | RegistrationRefusal::Realm
                | RegistrationRefusal::Forbidden
                | RegistrationRefusal::Expired => true,
                RegistrationRefusal::Unavailable => false,
                RegistrationRefusal::Other => is_final_refusal(*status),
            },
            Self::CallRefused { refusal, status, .. } => match refusal {
                CallRefusal::NotFound
                | CallRefusal::NoApplication
                | CallRefusal::Forbidden
                | CallRefusal::TransferNotSupported
                | CallRefusal::NotAcceptable => true,
                CallRefusal::Busy
                | CallRefusal::Declined
                | CallRefusal::NoAnswer
                | CallRefusal::Unavailable
                | CallRefusal::Overloaded
                | CallRefusal::Cancelled => false,
                CallRefusal::Other => is_final_refusal(*status),
            },
            Self::Media { fault } => match fault {
                MediaFault::NoCommonCodec | MediaFault::BadDescription(_) => true,
                MediaFault::IceFailed
                | MediaFault::DtlsFailed
                | MediaFault::NoPackets { .. }
                | MediaFault::Engine(_) => false,
            },
        }
    }
}

/// Whether a SIP status that is known only by its number refuses the same request for good: redirections, which are not
/// followed, and client errors but those that speak of now (408, 480, 481, 482, 491), and 501, 505, 513 of the server's.
fn is_final_refusal(status: u16) -> bool {
    match status {
        408 | 480 | 481 | 482 | 491 => false,
        300..=499 | 501 | 505 | 513 | 600..=699 => true,
        _ => false,
    }
}

/// One wrong setting.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigurationProblem {
    /// The setting's name, such as `JAMBONZ_WSS_ADDRESS` or `wssServer`.
    pub key: String,
    /// The value that was given, masked if it is a secret; `None` if there was none.
    pub value: Option<String>,
    /// What is wrong.
    pub problem: String,
    /// What a right value looks like.
    pub example: String,
}

fn display_problems(problems: &[ConfigurationProblem]) -> String {
    let mut text = format!("{} setting{} wrong:", problems.len(), if problems.len() == 1 { " is" } else { "s are" });
    for p in problems {
        text.push_str("\n  ");
        text.push_str(&p.key);
        if let Some(value) = &p.value {
            text.push_str(&format!(" = \"{}\"", Escaped(value)));
        }
        text.push_str(&format!(": {}; for example {}", p.problem, p.example));
    }
    text
}

fn chosen_instead(chosen: Option<&str>) -> String {
    chosen.map_or_else(|| "did not choose".to_owned(), |chosen| format!("chose {} instead of", Foreign(chosen)))
}

/// Seconds, with as many decimals as there are milliseconds. Without the floating-point numbers, whose formatting would be
/// the only one in the browser's module.
struct Seconds(Duration);

impl fmt::Display for Seconds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0.as_secs())?;
        match self.0.subsec_millis() {
            0 => Ok(()),
            ms => f.write_str(format!(".{ms:03}").trim_end_matches('0')),
        }
    }
}

/// Text from the far end, in one line and short, whatever it holds.
struct Foreign<'a>(&'a str);

/// How much of a text from the far end an error shows, in characters.
const SHOWN_FOREIGN_CHARACTERS: usize = 200;

impl fmt::Display for Foreign<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, character) in self.0.chars().enumerate() {
            match character {
                _ if index == SHOWN_FOREIGN_CHARACTERS => return f.write_str("…"),
                '"' | '\\' => fmt::Write::write_char(f, character)?,
                _ => escape(character, f)?,
            }
        }
        Ok(())
    }
}

fn x_reason_note(x_reason: Option<&str>) -> String {
    x_reason.map(|r| format!(" (the edge says: {})", Foreign(r))).unwrap_or_default()
}

/// Why TLS failed.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum TlsFault {
    /// The certificate is for other names.
    NameMismatch {
        /// The name that was asked for.
        expected: String,
        /// The names that the certificate holds.
        presented: Vec<String>,
    },
    /// The certificate's issuer is not trusted (self-signed, or an authority of one's own).
    UnknownIssuer,
    /// The certificate is past its time.
    Expired,
    /// The certificate is not valid yet; the clock of this machine may be wrong.
    NotYetValid,
    /// The certificate has been revoked.
    Revoked,
    /// Something else, in the TLS library's words.
    Other(String),
}

impl fmt::Display for TlsFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NameMismatch { expected, presented } => {
                write!(f, "the certificate is not for `{expected}`")?;
                if !presented.is_empty() {
                    f.write_str(" but for ")?;
                    for (index, name) in presented.iter().enumerate() {
                        write!(f, "{}{}", if index == 0 { "" } else { ", " }, Foreign(name))?;
                    }
                }
                f.write_str("; use a name that it holds, or get a certificate for this one")
            }
            Self::UnknownIssuer => f.write_str(
                "the certificate's issuer is not trusted (self-signed, or an authority of your own); give the CA's certificate (or the server's, if it signs for itself) in `extra_ca_certificates_pem`",
            ),
            Self::Expired => f.write_str("the certificate has expired; it must be renewed"),
            Self::NotYetValid => f.write_str("the certificate is not valid yet; check this machine's clock"),
            Self::Revoked => f.write_str("the certificate has been revoked"),
            Self::Other(text) => f.write_str(text),
        }
    }
}

/// Why a registrar refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum RegistrationRefusal {
    /// User name or password is wrong.
    Credentials,
    /// The SIP domain (realm) is not one that the edge knows.
    Realm,
    /// The edge knows the user and says no.
    Forbidden,
    /// What was presented has expired.
    Expired,
    /// The edge cannot answer now.
    Unavailable,
    /// Another status.
    Other,
}

impl RegistrationRefusal {
    fn explanation(self) -> &'static str {
        match self {
            Self::Credentials => "user name or password is wrong; check JAMBONZ_SIP_USERNAME and JAMBONZ_SIP_PASSWORD",
            Self::Realm => {
                "the edge knows no account with this SIP domain; JAMBONZ_SIP_DOMAIN must be the account's SIP realm as the jambonz portal shows it, not the host of the edge"
            }
            Self::Forbidden => {
                "the edge forbids this user to register; check that the user exists in the account that owns JAMBONZ_SIP_DOMAIN, and that the account is active"
            }
            Self::Expired => "what was presented has expired; get fresh credentials",
            Self::Unavailable => "the registrar cannot answer now",
            Self::Other => "the status is all that is known",
        }
    }
}

/// Why a call was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum CallRefusal {
    /// 486, 600: the far end is busy.
    Busy,
    /// 603, 607 and the like: the far end declined.
    Declined,
    /// 404, 410, 484, 485, 604: there is no such user or number.
    NotFound,
    /// 480 `no configured application` and the like: jambonz found no application for the call.
    NoApplication,
    /// Nobody picked up for as long as `no_answer_timeout`, and the call was cancelled: 487 if the far end confirmed
    /// that, else 480.
    NoAnswer,
    /// 480, 408, 430: the far end is not reachable now or did not answer in time.
    Unavailable,
    /// 503, 500, 504, 580: the far end or the way to it is overloaded or broken.
    Overloaded,
    /// 401, 403, 407: not allowed, user name or password wrong.
    Forbidden,
    /// 488, 606, 415: the far end has no audio format in common with us.
    NotAcceptable,
    /// 501 or 405 to a REFER: the far end does not transfer calls. jambonz does if the application has a `referHook`.
    TransferNotSupported,
    /// 487: cancelled.
    Cancelled,
    /// Another status.
    Other,
}

impl CallRefusal {
    fn explanation(self) -> &'static str {
        match self {
            Self::Busy => "the far end is busy",
            Self::Declined => "the far end declined",
            Self::NotFound => {
                "there is no such user or number; check TARGET_SIP_URI, its host included: it should be the account's SIP realm"
            }
            Self::NoApplication => {
                "jambonz has no application for this call; choose the account's application for SIP device calls in the jambonz portal, or call `sip:app-<application_sid>@<SIP realm>` with a user that may call applications"
            }
            Self::NoAnswer => {
                "nobody answered in time, and the call was cancelled; no_answer_timeout says how long it waits"
            }
            Self::Unavailable => "the far end is not reachable now or did not answer",
            Self::Overloaded => "the far end is overloaded or out of order",
            Self::Forbidden => {
                "this user may not make the call, or its name or password is wrong; check JAMBONZ_SIP_USERNAME, JAMBONZ_SIP_PASSWORD, and whether the user may call applications"
            }
            Self::NotAcceptable => "the far end has no audio format in common with us",
            Self::TransferNotSupported => {
                "the far end does not transfer calls; in jambonz the application needs a referHook"
            }
            Self::Cancelled => "the call was cancelled",
            Self::Other => "the status is all that is known",
        }
    }
}

/// Why audio cannot flow.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum MediaFault {
    /// Offer and answer share no audio codec.
    NoCommonCodec,
    /// No path was found between the two ends.
    IceFailed,
    /// A path was found, but the keys could not be agreed.
    DtlsFailed,
    /// The call is up but nothing was heard for so long.
    NoPackets {
        /// How long.
        after: Duration,
    },
    /// The session description is not one that can be used.
    BadDescription(String),
    /// Something else, in the media engine's words.
    Engine(String),
}

impl fmt::Display for MediaFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoCommonCodec => f.write_str("the two ends share no audio codec (Opus, PCMU and PCMA are offered)"),
            Self::IceFailed => {
                f.write_str("no network path to the far end; a TURN server helps behind strict firewalls (TURN_URLS)")
            }
            Self::DtlsFailed => f.write_str("the DTLS handshake with the far end failed"),
            Self::NoPackets { after } => write!(f, "no audio packet came for {} s", after.as_secs()),
            Self::BadDescription(text) => write!(f, "the session description cannot be used: {text}"),
            Self::Engine(text) => f.write_str(text),
        }
    }
}

/// What is wrong with bytes that should have been SIP, a URI, a header value or SDP.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ParseError {
    /// What was expected or found.
    pub problem: &'static str,
    /// The rule, such as `RFC 3261 §7.3.1`.
    pub rule: &'static str,
    /// Where, in bytes from the start of what was parsed.
    pub offset: usize,
}

impl fmt::Display for ParseError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} at byte {} ({})", self.problem, self.offset, self.rule)
    }
}

impl std::error::Error for ParseError {}

impl From<ParseError> for Error {
    fn from(error: ParseError) -> Self {
        Self::Malformed(error)
    }
}

#[cfg(test)]
mod tests;
