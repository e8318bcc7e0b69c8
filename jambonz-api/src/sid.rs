//! Sids: the GUIDs by which jambonz knows accounts, calls and applications. All are checked before anything is sent, so
//! that none can change the path of a request.

use core::fmt;
use core::str::FromStr;
use std::borrow::Cow;

use codex_core_sip::metadata::ApplicationSid;
use codex_core_sip::sip::uri::Uri;
use uuid::Uuid;

use crate::error::{Error, Result, cut};

/// The only spelling that jambonz knows: 36 characters, with hyphens, in either case.
fn parse(kind: &'static str, text: &str) -> Result<Uuid> {
    let sid = if text.len() == 36 { Uuid::try_parse(text).ok() } else { None };
    sid.ok_or_else(|| bad_sid(kind, text))
}

pub(crate) fn bad_sid(kind: &'static str, text: &str) -> Error {
    Error::BadSid { kind, value: cut(text, 60) }
}

macro_rules! sid {
    ($(#[$doc:meta])* $name:ident, $kind:literal) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub struct $name(Uuid);

        impl FromStr for $name {
            type Err = Error;

            /// # Errors
            ///
            /// [`Error::BadSid`] if it is not a GUID with hyphens.
            fn from_str(text: &str) -> Result<Self> {
                parse($kind, text).map(Self)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(&self.0.as_hyphenated(), f)
            }
        }
    };
}

sid! {
    /// An account's identity. Displayed in lower case.
    AccountSid, "account"
}
sid! {
    /// A call's identity (`call_sid`). Displayed in lower case.
    CallSid, "call"
}

/// What names an application: its sid as text (`<guid>` or `app-<guid>`, in either case) or parsed.
pub trait ToApplicationSid {
    /// The sid.
    ///
    /// # Errors
    ///
    /// [`Error::BadSid`] if the text is not one.
    fn to_application_sid(&self) -> Result<ApplicationSid>;
}

impl ToApplicationSid for ApplicationSid {
    fn to_application_sid(&self) -> Result<ApplicationSid> {
        Ok(*self)
    }
}

impl ToApplicationSid for str {
    fn to_application_sid(&self) -> Result<ApplicationSid> {
        ApplicationSid::from_user_part(self).ok_or_else(|| bad_sid("application", self))
    }
}

impl ToApplicationSid for String {
    fn to_application_sid(&self) -> Result<ApplicationSid> {
        self.as_str().to_application_sid()
    }
}

impl<T: ToApplicationSid + ?Sized> ToApplicationSid for &T {
    fn to_application_sid(&self) -> Result<ApplicationSid> {
        (**self).to_application_sid()
    }
}

/// The application that a SIP URI names in its user part, as `<guid>` or `app-<guid>`, in either case; `None` if it
/// names something else, such as an extension. A bare sid without scheme and host is taken as well.
///
/// # Errors
///
/// [`Error::BadUri`] if it is not a URI.
///
/// ```
/// use codex_jambonz_api::application_in_uri;
///
/// let uri = "sips:app-0397DC5F-2F8F-4778-8499-0AF934DD1196@[2001:db8::1]:8443;transport=ws?Subject=hi";
/// assert_eq!(application_in_uri(uri)?.unwrap().to_string(), "0397dc5f-2f8f-4778-8499-0af934dd1196");
/// assert_eq!(application_in_uri("sip:170@sip.example.com")?, None);
/// # Ok::<(), codex_jambonz_api::Error>(())
/// ```
pub fn application_in_uri(sip_uri: &str) -> Result<Option<ApplicationSid>> {
    let text = sip_uri.trim();
    if let Some(sid) = ApplicationSid::from_user_part(text) {
        return Ok(Some(sid));
    }
    let uri = Uri::parse(text)
        .map_err(|error| Error::BadUri { value: cut(&without_password(text), 120), problem: error.to_string() })?;
    if !uri.is_sip() {
        return Ok(None);
    }
    Ok(uri.user_unescaped().and_then(|user| ApplicationSid::from_user_part(&user)))
}

/// What is shown of a text that was to be a URI: `sip:user:***@host` in place of a password.
fn without_password(text: &str) -> Cow<'_, str> {
    let masked = || {
        let at = text.rfind('@')?;
        let scheme_end = text.find(':')?;
        let colon = scheme_end + 1 + text.get(scheme_end + 1..at)?.find(':')?;
        Some(format!("{}:***{}", &text[..colon], &text[at..]))
    };
    masked().map_or(Cow::Borrowed(text), Cow::Owned)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const GUID: &str = "0397dc5f-2f8f-4778-8499-0af934dd1196";

    #[test]
    fn an_application_is_found_however_its_uri_is_written() {
        let upper = GUID.to_uppercase();
        for uri in [
            GUID.to_owned(),
            format!("app-{GUID}"),
            format!(" {GUID}\n"),
            format!("sip:{GUID}@sip.example.com"),
            format!("sip:{upper}@sip.example.com"),
            format!("sip:app-{GUID}@sip.example.com"),
            format!("sip:APP-{upper}@sip.example.com"),
            format!("SIPS:app-{GUID}@sip.example.com:8443;transport=wss;lr"),
            format!("sip:{GUID}@sip.example.com?X-A=b&Subject=c"),
            format!("sip:{GUID}@[2001:db8::1]:5060;transport=ws"),
            format!("sip:{GUID}:password@10.0.0.1"),
            format!("sip:app%2D{GUID}@sip.example.com"),
        ] {
            assert_eq!(application_in_uri(&uri).unwrap().unwrap().to_string(), GUID, "{uri}");
        }
    }

    #[test]
    fn a_guid_elsewhere_is_not_an_application() {
        for uri in [
            format!("sip:{GUID}.example.com"),
            format!("sip:170@{GUID}.example.com"),
            format!("sip:170@sip.example.com;app={GUID}"),
            format!("sip:170@sip.example.com?X-App={GUID}"),
            format!("sip:x{GUID}@sip.example.com"),
            format!("sip:app-{GUID}0@sip.example.com"),
            format!("mailto:{GUID}@sip.example.com"),
            format!("urn:uuid:{GUID}"),
            "tel:+74951234567".to_owned(),
            "sip:sip.example.com".to_owned(),
        ] {
            assert_eq!(application_in_uri(&uri).unwrap(), None, "{uri}");
        }
        for wrong in ["", "170", "sip:", "sip:@host", "sip:a b@host", "sip:170@", "ЖЖЖ", "sip:170@[::1"] {
            let error = application_in_uri(wrong).unwrap_err();
            assert!(matches!(error, Error::BadUri { .. }), "{wrong}: {error}");
        }
    }

    #[test]
    fn a_password_in_what_is_no_uri_is_not_shown() {
        for (wrong, shown) in [
            ("sip:170:S3CRET@a b", "sip:170:***@a b"),
            ("sip:170:S3:CR@ET@[::1", "sip:170:***@[::1"),
            ("Иван:я:S3CRET@", "Иван:я:***@"),
        ] {
            let error = application_in_uri(wrong).unwrap_err();
            assert!(matches!(&error, Error::BadUri { value, .. } if value == shown), "{error}");
            assert!(!format!("{error} {error:?}").contains("S3"), "{error:?}");
        }
        for same in ["", "@", ":", "170", "sip:170@host:5060", "a@b:c@"] {
            assert_eq!(without_password(same), same);
        }
    }

    #[test]
    fn other_sids_are_guids_in_jambonz_spelling_only() {
        assert_eq!(GUID.to_uppercase().parse::<AccountSid>().unwrap().to_string(), GUID);
        assert_eq!(GUID.parse::<CallSid>().unwrap().to_string(), GUID);
        for wrong in ["", "xyz", "../../Users", "app-0397dc5f-2f8f-4778-8499-0af934dd1196", &GUID.replace('-', "")] {
            let error = wrong.parse::<AccountSid>().unwrap_err();
            assert!(matches!(error, Error::BadSid { kind: "account", .. }), "{error}");
            assert!(wrong.parse::<CallSid>().is_err());
        }
        assert!("a/b".to_application_sid().is_err());
        assert!(String::from(GUID).to_application_sid().is_ok() && (&&GUID).to_application_sid().is_ok());
    }

    proptest! {
        #[test]
        fn no_text_panics(text in "\\PC*") {
            let _ = application_in_uri(&text);
            let _ = application_in_uri(&format!("sip:{text}"));
        }

        #[test]
        fn whatever_surrounds_the_user_part_does_not_matter(
            bytes in any::<[u8; 16]>(),
            upper in any::<bool>(),
            prefix in prop_oneof![Just(""), Just("app-"), Just("APP-")],
            scheme in prop_oneof![Just("sip"), Just("sips"), Just("SIP")],
            host in prop_oneof![
                "[a-z][a-z0-9]{0,8}(\\.[a-z]{2,5})?".prop_map(String::from),
                any::<[u8; 4]>().prop_map(|b| std::net::Ipv4Addr::from(b).to_string()),
                any::<[u16; 8]>().prop_map(|w| format!("[{}]", std::net::Ipv6Addr::from(w))),
            ],
            port in proptest::option::of(any::<u16>()),
            params in "(;[a-z]{1,5}x=[a-z0-9.]{1,8}){0,1}",
            headers in "(\\?[A-Za-z-]{1,8}=[a-z0-9%20]{0}[a-z0-9]{1,8}){0,1}",
        ) {
            let guid = Uuid::from_bytes(bytes).as_hyphenated().to_string();
            let written = if upper { guid.to_uppercase() } else { guid.clone() };
            let port = port.map(|p| format!(":{p}")).unwrap_or_default();
            let uri = format!("{scheme}:{prefix}{written}@{host}{port}{params}{headers}");
            prop_assert_eq!(application_in_uri(&uri).unwrap().unwrap().to_string(), guid);
            let elsewhere = format!("{scheme}:170@{host}{port};app={written}");
            prop_assert_eq!(application_in_uri(&elsewhere).unwrap(), None);
        }
    }
}
