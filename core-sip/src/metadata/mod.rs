//! Call metadata: who is calling and why, and how the parties of a call are shown.
//!
//! No SIP stack, no I/O: what reads webhooks or runs in a browser uses this as well as the client.
//!
//! | what | where |
//! |---|---|
//! | who is calling and why | [`CustomerData`], [`Location`] |
//! | what the call is known by everywhere | [`CallTag`], [`new_call_id`] |
//! | whom it is for | [`ApplicationName`], [`ApplicationSid`], [`LanguageTag`] |
//! | readable names | [`DisplayNames`] |
//! | headers of an INVITE | [`CallHeaders`], [`ReceivedMetadata`], [`UserToUserEncoding`] |
//! | headers of your own | [`parse_extra_header`], [`extra_header`], [`check_extra_headers`] |

mod application;
mod base64;
mod call_headers;
mod call_tag;
mod customer_data;
mod display_names;
mod extra_headers;
mod json;
mod language;
#[cfg(test)]
mod properties;
mod timestamp;
mod user_to_user;

pub use application::{ApplicationName, ApplicationSid, MAX_APPLICATION_NAME_CHARS, UNKNOWN_APPLICATION};
pub use call_headers::{
    CallHeaders, METADATA_HEADERS, ReceivedMetadata, X_APPLICATION_NAME, X_CALL_TAG, X_CUSTOMER_DATA, X_DISPLAY_FROM,
    X_DISPLAY_TO, X_LANG,
};
pub use call_tag::{CALL_TAG_CHARS, CallTag, new_call_id};
pub use customer_data::{CustomerData, Location};
pub use display_names::{DisplayNames, IncomingParties, MAX_DISPLAY_NAME_CHARS, Party, UNKNOWN_PARTY};
pub use extra_headers::{check_extra_headers, extra_header, parse_extra_header};
pub use language::LanguageTag;
pub use user_to_user::{USER_TO_USER, UserToUserEncoding};
