//! Who is calling, as it arrives at the voicebot: every header byte for byte, with the target as it was configured.

use std::time::Duration;

use codex_core_sip::Error;
use codex_core_sip::client::StartCall;
use codex_core_sip::config::SipClientConfig;
use codex_core_sip::event::{CallState, Event};
use codex_core_sip::metadata::{CustomerData, LanguageTag, UserToUserEncoding, extra_header};
use codex_e2e::peers::{APPLICATION, Kamailio, REALM, Rtpengine, Sipp, VoicebotScript};
use codex_e2e::phone::Phone;
use codex_e2e::scenario::{Failure, Fallible, Outcome, Scenario, Stage};
use codex_e2e::sipp_log::LoggedMessage;

const LIMIT: Duration = Duration::from_secs(60);
const STEP: Duration = Duration::from_secs(10);

/// What the older guide shows, with quotes, an emoji and a line break on top.
const CONFIGURED: &str = r#"{"clientId":"user_12345","clientName":"Иван Иванов","callType":"webcall","sessionId":"session_abc123","timestamp":"2025-11-14T12:00:00Z","userAgent":"Chrome/120.0.0.0","location":{"country":"RU","city":"Moscow"},"customFields":{"department":"Отдел продаж","note":"он сказал \"да\" 👍\nи ещё","priority":3}}"#;
/// Its bytes as RFC 7433 hex.
const CONFIGURED_HEX: &str = "7b22636c69656e744964223a22757365725f3132333435222c22636c69656e744e616d65223a22d098d0b2d0b0d0bd20d098d0b2d0b0d0bdd0bed0b2222c2263616c6c54797065223a2277656263616c6c222c2273657373696f6e4964223a2273657373696f6e5f616263313233222c2274696d657374616d70223a22323032352d31312d31345431323a30303a30305a222c22757365724167656e74223a224368726f6d652f3132302e302e302e30222c226c6f636174696f6e223a7b22636f756e747279223a225255222c2263697479223a224d6f73636f77227d2c22637573746f6d4669656c6473223a7b226465706172746d656e74223a22d09ed182d0b4d0b5d0bb20d0bfd180d0bed0b4d0b0d0b6222c226e6f7465223a22d0bed0bd20d181d0bad0b0d0b7d0b0d0bb205c22d0b4d0b05c2220f09f918d5c6ed0b820d0b5d189d191222c227072696f72697479223a337d7d";
/// Its bytes in base64, for receivers made for the older packages.
const CONFIGURED_BASE64: &str = "eyJjbGllbnRJZCI6InVzZXJfMTIzNDUiLCJjbGllbnROYW1lIjoi0JjQstCw0L0g0JjQstCw0L3QvtCyIiwiY2FsbFR5cGUiOiJ3ZWJjYWxsIiwic2Vzc2lvbklkIjoic2Vzc2lvbl9hYmMxMjMiLCJ0aW1lc3RhbXAiOiIyMDI1LTExLTE0VDEyOjAwOjAwWiIsInVzZXJBZ2VudCI6IkNocm9tZS8xMjAuMC4wLjAiLCJsb2NhdGlvbiI6eyJjb3VudHJ5IjoiUlUiLCJjaXR5IjoiTW9zY293In0sImN1c3RvbUZpZWxkcyI6eyJkZXBhcnRtZW50Ijoi0J7RgtC00LXQuyDQv9GA0L7QtNCw0LYiLCJub3RlIjoi0L7QvSDRgdC60LDQt9Cw0LsgXCLQtNCwXCIg8J+RjVxu0Lgg0LXRidGRIiwicHJpb3JpdHkiOjN9fQ==";

/// The one value of a header; an error if it is there more than once.
fn only<'a>(invite: &'a LoggedMessage, name: &str) -> Fallible<Option<&'a str>> {
    let text = std::str::from_utf8(&invite.bytes)?;
    let head = text.split("\r\n\r\n").next().unwrap_or_default();
    let mut values = head.split("\r\n").skip(1).filter_map(|line| {
        let (field, value) = line.split_once(':')?;
        field.eq_ignore_ascii_case(name).then(|| value.trim())
    });
    let value = values.next();
    match values.next() {
        None => Ok(value),
        Some(_) => Err(format!("{name} is there more than once:\n{head}").into()),
    }
}

/// Calls, has the call answered, hangs up; returns the INVITE that the voicebot received.
async fn invite_of(
    stage: &Stage,
    call: StartCall,
    change: impl FnOnce(&mut SipClientConfig),
    then: impl FnOnce(&mut Phone, &LoggedMessage) -> Outcome,
) -> Outcome {
    let _media = Rtpengine::start(stage).await?;
    let edge = Kamailio::builder().with_rtpengine().start(stage).await?;
    let mut voicebot = Sipp::voicebot(VoicebotScript::Answers { ringing: Duration::ZERO }).start(stage).await?;
    let mut phone = Phone::builder(stage, &edge).configure(change).build()?;
    let call_id = phone.client().start_call(call).await?;
    phone.reaches(CallState::Connected, STEP).await?;
    let invite = voicebot.received("INVITE", STEP).await?;
    assert_eq!(only(&invite, "Call-ID")?, Some(call_id.as_str()));
    let tag: String = call_id.chars().take(8).collect();
    assert!(tag.bytes().all(|byte| byte.is_ascii_lowercase()), "{call_id}");
    assert_eq!(only(&invite, "X-Call-Tag")?, Some(tag.as_str()));
    phone.client().hangup(None).await?;
    phone.reaches(CallState::Ended, STEP).await?;
    voicebot.succeeded(STEP).await?;
    // Every event of the call says the same as the headers.
    for (_, event) in phone.events() {
        if let Event::Call(event) = event {
            assert_eq!(event.call_id.as_deref(), Some(call_id.as_str()));
            assert_eq!(event.tag.as_deref(), Some(tag.as_str()));
            assert_eq!(event.display_from.as_deref(), only(&invite, "X-Display-From")?);
            assert_eq!(event.display_to.as_deref(), only(&invite, "X-Display-To")?);
            assert_eq!(event.application_name.as_deref(), only(&invite, "X-Application-Name")?);
            let sent = event.customer_data.as_ref().map(|data| data.to_json());
            assert_eq!(sent.as_deref(), only(&invite, "X-Customer-Data")?);
        }
    }
    then(&mut phone, &invite)
}

#[tokio::test]
async fn a_call_to_a_guid_carries_every_header_byte_for_byte() -> Result<(), Failure> {
    for user in [APPLICATION.to_owned(), format!("app-{APPLICATION}")] {
        Scenario::new("a_call_to_a_guid_carries_every_header_byte_for_byte", LIMIT)
            .play(async |stage| {
                let target = format!("sip:{user}@{REALM}");
                let data = CustomerData::from_json("CUSTOMER_DATA", CONFIGURED)?;
                let language = LanguageTag::parse("DEFAULT_LANG", "ru")?;
                let configured = |config: &mut SipClientConfig| {
                    config.target_uri.clone_from(&target);
                    config.customer_data = Some(data);
                    config.default_language = language;
                };
                invite_of(stage, StartCall::default(), configured, |phone, invite| {
                    assert_eq!(invite.first_line(), format!("INVITE {target} SIP/2.0"));
                    assert_eq!(only(invite, "X-Customer-Data")?, Some(CONFIGURED));
                    assert_eq!(only(invite, "User-to-User")?, Some(format!("{CONFIGURED_HEX};encoding=hex").as_str()));
                    let tag = only(invite, "X-Call-Tag")?.unwrap_or_default();
                    let from = format!("webcall:{tag} → voicebot");
                    assert_eq!(only(invite, "X-Display-From")?, Some(from.as_str()));
                    assert_eq!(only(invite, "X-Display-To")?, Some("voicebot"));
                    assert_eq!(only(invite, "X-Application-Name")?, Some("voicebot"));
                    assert_eq!(only(invite, "X-Lang")?, Some("ru"));
                    assert!(only(invite, "To")?.is_some_and(|to| to.contains(&target)), "{:?}", only(invite, "To")?);
                    // As the older guide shows it in logs (section 3), and nothing of the customer's there.
                    let logs: Vec<String> = phone
                        .events()
                        .into_iter()
                        .filter_map(|(_, event)| match event {
                            Event::Log(log) => Some(serde_json::to_string(&log).unwrap_or_default()),
                            _ => None,
                        })
                        .collect();
                    assert!(logs.iter().any(|log| log.contains(&format!("From: {from}"))), "{logs:#?}");
                    assert!(!logs.iter().any(|log| log.contains("Иван")), "{logs:#?}");
                    Ok(())
                })
                .await
            })
            .await?;
    }
    Ok(())
}

#[tokio::test]
async fn user_to_user_is_base64_or_not_there_where_that_is_asked_for() -> Result<(), Failure> {
    for (encoding, expected) in [
        (UserToUserEncoding::Base64, Some(format!("{CONFIGURED_BASE64};encoding=base64"))),
        (UserToUserEncoding::Off, None),
    ] {
        Scenario::new("user_to_user_is_base64_or_not_there_where_that_is_asked_for", LIMIT)
            .play(async |stage| {
                let data = CustomerData::from_json("CUSTOMER_DATA", CONFIGURED)?;
                let configured = |config: &mut SipClientConfig| {
                    config.customer_data = Some(data);
                    config.user_to_user_encoding = encoding;
                };
                invite_of(stage, StartCall::default(), configured, |_, invite| {
                    assert_eq!(only(invite, "X-Customer-Data")?, Some(CONFIGURED));
                    assert_eq!(only(invite, "User-to-User")?, expected.as_deref());
                    Ok(())
                })
                .await
            })
            .await?;
    }
    Ok(())
}

#[tokio::test]
async fn a_call_s_own_customer_data_language_and_headers_replace_or_join_the_configured_ones() -> Result<(), Failure> {
    Scenario::new("a_call_s_own_customer_data_language_and_headers_replace_or_join_the_configured_ones", LIMIT)
        .play(async |stage| {
            const OWN: &str =
                r#"{"clientId":"different_user","callType":"urgent_call","customFields":{"заявка":"№42"}}"#;
            let configured_data = CustomerData::from_json("CUSTOMER_DATA", CONFIGURED)?;
            let configured_header = extra_header("X-Department", "продажи")?;
            let call = StartCall {
                language: Some(LanguageTag::parse("language", "de-AT")?),
                customer_data: Some(CustomerData::from_json("customerData", OWN)?),
                extra_headers: vec![extra_header("X-Ticket", "№42")?],
                ..StartCall::default()
            };
            let configured = |config: &mut SipClientConfig| {
                config.customer_data = Some(configured_data);
                config.extra_headers = vec![configured_header];
            };
            invite_of(stage, call, configured, |_, invite| {
                assert_eq!(only(invite, "X-Customer-Data")?, Some(OWN));
                let hex: String = OWN.bytes().map(|byte| format!("{byte:02x}")).collect();
                assert_eq!(only(invite, "User-to-User")?, Some(format!("{hex};encoding=hex").as_str()));
                assert_eq!(only(invite, "X-Lang")?, Some("de-AT"));
                assert_eq!(only(invite, "X-Department")?, Some("продажи"));
                assert_eq!(only(invite, "X-Ticket")?, Some("№42"));
                Ok(())
            })
            .await
        })
        .await
}

#[tokio::test]
async fn without_an_application_name_the_display_names_do_without_it() -> Result<(), Failure> {
    for user in [APPLICATION.to_owned(), format!("app-{APPLICATION}")] {
        Scenario::new("without_an_application_name_the_display_names_do_without_it", LIMIT)
            .play(async |stage| {
                let target = format!("sip:{user}@{REALM}");
                let configured = |config: &mut SipClientConfig| {
                    config.target_uri.clone_from(&target);
                    config.target_application_name = None;
                };
                invite_of(stage, StartCall::default(), configured, |_, invite| {
                    let tag = only(invite, "X-Call-Tag")?.unwrap_or_default();
                    assert_eq!(only(invite, "X-Display-From")?, Some(format!("webcall:{tag}").as_str()));
                    assert_eq!(only(invite, "X-Display-To")?, Some("voicebot"));
                    assert_eq!(only(invite, "X-Application-Name")?, None);
                    assert_eq!(only(invite, "X-Customer-Data")?, None);
                    assert_eq!(only(invite, "User-to-User")?, None);
                    assert_eq!(invite.first_line(), format!("INVITE {target} SIP/2.0"));
                    Ok(())
                })
                .await
            })
            .await?;
    }
    Ok(())
}

#[tokio::test]
async fn customer_data_that_is_too_large_is_told_and_nothing_is_sent() -> Result<(), Failure> {
    Scenario::new("customer_data_that_is_too_large_is_told_and_nothing_is_sent", LIMIT)
        .play(async |stage| {
            let edge = Kamailio::builder().start(stage).await?;
            let phone = Phone::builder(stage, &edge).build()?;
            phone.client().register().await?;
            let data = CustomerData::new("webcall").custom_field("note", "ж".repeat(1000));
            let call = StartCall { customer_data: Some(data), ..StartCall::default() };
            let error = phone.client().start_call(call).await.unwrap_err();
            // 2,049 bytes as they are, twice that and `;encoding=hex` as hex.
            assert_eq!(error, Error::CustomerDataTooLarge { size_bytes: 6160, limit_bytes: 4096 });
            assert!(phone.client().check_connection().await?);
            let invites = stage.edge_trace().iter().filter(|m| m.first_line().starts_with("INVITE")).count();
            assert_eq!((invites, phone.client().state()), (0, CallState::Idle));
            Ok(())
        })
        .await
}
