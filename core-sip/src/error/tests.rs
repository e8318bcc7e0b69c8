use std::collections::BTreeSet;
use std::time::Duration;

use super::*;

fn tls(fault: TlsFault) -> Error {
    Error::Tls { host: "edge.example".into(), fault }
}

fn registration(refusal: RegistrationRefusal, status: u16, x_reason: Option<&str>) -> Error {
    Error::RegistrationRefused { refusal, status, phrase: "Forbidden".into(), x_reason: x_reason.map(Into::into) }
}

fn call(refusal: CallRefusal, status: u16, phrase: &str) -> Error {
    Error::CallRefused { refusal, status, phrase: phrase.into(), x_reason: None, retry_after: None }
}

fn media(fault: MediaFault) -> Error {
    Error::Media { fault }
}

/// Every cause, with its code and whether it is permanent. The codes are a promise to programs: a line here may be
/// added, never changed.
fn causes() -> Vec<(Error, &'static str, bool)> {
    use CallRefusal as C;
    use RegistrationRefusal as R;
    let text = || "text".to_owned();
    let parse_error = ParseError { problem: "no colon", rule: "RFC 3261 §7.3.1", offset: 7 };
    vec![
        (Error::Configuration { problems: vec![] }, "configuration", true),
        (
            Error::CustomerData {
                key: text(),
                line: 1,
                column: 2,
                field: None,
                problem: CustomerDataProblem::KeyTwice,
            },
            "customer_data",
            true,
        ),
        (Error::CustomerDataTooLarge { size_bytes: 5000, limit_bytes: 4096 }, "customer_data_too_large", true),
        (Error::HeaderNotAllowed { name: text(), problem: text() }, "header_not_allowed", true),
        (Error::Audio { device: text(), problem: text() }, "audio", false),
        (Error::NameResolution { host: text(), problem: text() }, "name_resolution", false),
        (Error::Connect { address: text(), problem: text() }, "connect", false),
        (
            tls(TlsFault::NameMismatch { expected: text(), presented: vec!["other.example".into()] }),
            "tls_name_mismatch",
            true,
        ),
        (tls(TlsFault::UnknownIssuer), "tls_unknown_issuer", true),
        (tls(TlsFault::Expired), "tls_expired", false),
        (tls(TlsFault::NotYetValid), "tls_not_yet_valid", false),
        (tls(TlsFault::Revoked), "tls_revoked", true),
        (tls(TlsFault::Other(text())), "tls_other", false),
        (Error::WebSocketRefused { url: text(), status: 404 }, "websocket_refused", true),
        (Error::SubprotocolRefused { url: text(), chosen: None }, "subprotocol_refused", true),
        (Error::NotWebSocket { url: text(), problem: text() }, "not_websocket", false),
        (Error::FlowLost { problem: text() }, "flow_lost", false),
        (Error::FlowLostDuringSetup, "flow_lost_during_setup", false),
        (registration(R::Credentials, 403, None), "registration_credentials", true),
        (registration(R::Realm, 403, None), "registration_realm", true),
        (registration(R::Forbidden, 403, None), "registration_forbidden", true),
        (registration(R::Expired, 403, None), "registration_expired", true),
        (registration(R::Unavailable, 503, None), "registration_unavailable", false),
        (registration(R::Other, 420, None), "registration_refused", true),
        (call(C::Busy, 486, "Busy Here"), "call_busy", false),
        (call(C::Declined, 603, "Decline"), "call_declined", false),
        (call(C::NotFound, 404, "Not Found"), "call_not_found", true),
        (call(C::NoApplication, 480, "no configured application"), "call_no_application", true),
        (call(C::NoAnswer, 487, "Request Terminated"), "call_no_answer", false),
        (call(C::Unavailable, 480, "Temporarily Unavailable"), "call_unavailable", false),
        (call(C::Overloaded, 503, "Service Unavailable"), "call_overloaded", false),
        (call(C::Forbidden, 403, "Forbidden"), "call_forbidden", true),
        (call(C::NotAcceptable, 488, "Not Acceptable Here"), "call_not_acceptable", true),
        (call(C::TransferNotSupported, 501, "Not Implemented"), "call_transfer_not_supported", true),
        (call(C::Cancelled, 487, "Request Terminated"), "call_cancelled", false),
        (call(C::Other, 491, "Request Pending"), "call_refused", false),
        (media(MediaFault::NoCommonCodec), "media_no_common_codec", true),
        (media(MediaFault::IceFailed), "media_ice_failed", false),
        (media(MediaFault::DtlsFailed), "media_dtls_failed", false),
        (media(MediaFault::NoPackets { after: Duration::from_secs(10) }), "media_no_packets", false),
        (media(MediaFault::BadDescription(text())), "media_bad_description", true),
        (media(MediaFault::Engine(text())), "media_engine", false),
        (Error::Malformed(parse_error), "malformed", false),
        (Error::Protocol { problem: text() }, "protocol", false),
        (Error::Timeout { operation: "REGISTER", after: Duration::from_secs(32) }, "timeout", false),
        (Error::WrongState { operation: "hangup", problem: "there is no call" }, "wrong_state", false),
        (Error::Destroyed, "destroyed", true),
    ]
}

#[test]
fn each_cause_has_its_own_stable_code() {
    let causes = causes();
    for (error, code, permanent) in &causes {
        assert_eq!(error.code(), *code, "{error:?}");
        assert_eq!(error.is_permanent(), *permanent, "{error:?}");
        assert!(code.bytes().all(|b| b.is_ascii_lowercase() || b == b'_'), "{code}");
    }
    let codes: BTreeSet<_> = causes.iter().map(|(_, code, _)| *code).collect();
    assert_eq!(codes.len(), causes.len(), "a code is used twice");
    // Every literal that `code` can give is in the table above, so that a new cause cannot be left out of it.
    let source = include_str!("../error.rs");
    let body = source.split_once("pub fn code(&self)").unwrap().1.split_once("\n    }\n").unwrap().0;
    let written: BTreeSet<_> = body.split('"').skip(1).step_by(2).collect();
    assert_eq!(written, codes);
}

#[test]
fn every_cause_is_told_to_people_in_english_and_russian() {
    let cyrillic = |c: char| ('\u{400}'..='\u{4ff}').contains(&c);
    for (error, code, _) in causes() {
        let english = error.for_person(Locale::En);
        let russian = error.for_person(Locale::Ru);
        assert!(english.is_ascii() && !english.is_empty(), "{code}: {english}");
        assert!(russian.chars().any(cyrillic), "{code}: {russian}");
        // VPN is the one Latin word that Russian readers expect.
        assert!(!russian.replace("VPN", "").chars().any(|c| c.is_ascii_alphabetic()), "{code}: {russian}");
        for sentence in [&english, &russian] {
            assert!(sentence.ends_with('.') && sentence.chars().count() <= 200, "{code}: {sentence}");
            for jargon in ["SIP", "TLS", "WebSocket", "ICE", "codec", "кодек", "INVITE", "realm"] {
                assert!(!sentence.contains(jargon), "{code}: {sentence}");
            }
        }
    }
}

#[test]
fn texts_for_people_quote_nothing_from_the_far_end() {
    let error = Error::CallRefused {
        refusal: CallRefusal::Overloaded,
        status: 503,
        phrase: "s3cret".into(),
        x_reason: Some("s3cret".into()),
        retry_after: None,
    };
    for locale in [Locale::En, Locale::Ru] {
        assert!(!error.for_person(locale).contains("s3cret"));
    }
}

#[test]
fn waiting_times_are_counted_as_people_count() {
    for (milliseconds, english, russian) in [
        (0, "later.", "Позвоните позже."),
        (1_000, "in 1 second.", "через 1 секунду."),
        (1_200, "in 2 seconds.", "через 2 секунды."),
        (11_000, "in 11 seconds.", "через 11 секунд."),
        (21_000, "in 21 seconds.", "через 21 секунду."),
        (90_000, "in 90 seconds.", "через 90 секунд."),
        (91_000, "in 2 minutes.", "через 2 минуты."),
        (300_000, "in 5 minutes.", "через 5 минут."),
        (3_660_000, "in 61 minutes.", "через 61 минуту."),
    ] {
        let error = Error::CallRefused {
            refusal: CallRefusal::Busy,
            status: 486,
            phrase: "Busy Here".into(),
            x_reason: None,
            retry_after: Some(Duration::from_millis(milliseconds)),
        };
        assert!(error.for_person(Locale::En).ends_with(english), "{}", error.for_person(Locale::En));
        assert!(error.for_person(Locale::Ru).ends_with(russian), "{}", error.for_person(Locale::Ru));
    }
}

#[test]
fn mistakes_that_jambonz_users_make_are_named() {
    for (error, words) in [
        (
            registration(RegistrationRefusal::Credentials, 403, Some("Invalid credentials")),
            &["403 Forbidden", "JAMBONZ_SIP_PASSWORD", "the edge says: Invalid credentials"][..],
        ),
        (registration(RegistrationRefusal::Realm, 403, None), &["JAMBONZ_SIP_DOMAIN", "SIP realm", "not the host"]),
        (
            call(CallRefusal::NoApplication, 480, "no configured application"),
            &["480 no configured application", "application for SIP device calls", "app-<application_sid>"],
        ),
        (call(CallRefusal::NotFound, 404, "Not Found"), &["TARGET_SIP_URI", "SIP realm"]),
        (
            tls(TlsFault::NameMismatch {
                expected: "a.example".into(),
                presented: vec!["b.example".into(), "c.example".into()],
            }),
            &["not for `a.example` but for b.example, c.example"],
        ),
        (
            Error::WebSocketRefused { url: "wss://a.example:443/".into(), status: 404 },
            &["404", "path and port", "8443"],
        ),
        (
            Error::SubprotocolRefused { url: "wss://a.example:443/".into(), chosen: Some("mqtt".into()) },
            &["chose mqtt instead of the sub-protocol `sip`"],
        ),
    ] {
        let shown = error.to_string();
        for word in words {
            assert!(shown.contains(word), "{word:?} is not in: {shown}");
        }
    }
}

#[test]
fn words_of_the_far_end_stay_in_one_line_and_short() {
    let error = Error::RegistrationRefused {
        refusal: RegistrationRefusal::Other,
        status: 499,
        phrase: "a\r\nINFO forged: line\u{1b}[31m".into(),
        x_reason: Some("x".repeat(5000)),
    };
    let shown = error.to_string();
    assert!(!shown.chars().any(char::is_control), "{shown:?}");
    assert!(shown.chars().count() < 500, "{}", shown.len());
}

#[test]
fn http_and_sip_statuses_that_ask_for_another_try() {
    for (status, permanent) in [
        (301, true),
        (400, true),
        (401, true),
        (403, true),
        (404, true),
        (408, false),
        (429, false),
        (502, false),
        (503, false),
    ] {
        assert_eq!(Error::WebSocketRefused { url: String::new(), status }.is_permanent(), permanent, "{status}");
    }
    for (status, permanent) in
        [(302, true), (400, true), (420, true), (481, false), (491, false), (500, false), (501, true), (606, true)]
    {
        assert_eq!(call(CallRefusal::Other, status, "").is_permanent(), permanent, "{status}");
        assert_eq!(registration(RegistrationRefusal::Other, status, None).is_permanent(), permanent, "{status}");
    }
}

#[test]
fn locales_from_language_tags() {
    for (tag, locale) in [
        ("ru", Locale::Ru),
        ("ru-RU", Locale::Ru),
        (" RU_ru.UTF-8", Locale::Ru),
        ("en", Locale::En),
        ("de-DE", Locale::En),
        ("run", Locale::En),
        ("", Locale::En),
    ] {
        assert_eq!(Locale::from_language(tag), locale, "{tag}");
    }
}
