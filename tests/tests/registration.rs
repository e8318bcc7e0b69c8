//! Registering at a real registrar: over WS and WSS, with MD5 and SHA-256, with what goes wrong, and after a restart.

use std::time::Duration;

use codex_core_sip::client::StartCall;
use codex_core_sip::event::{CallState, Event, RegistrationState};
use codex_core_sip::{Error, RegistrationRefusal, TlsFault};
use codex_e2e::peers::{Authority, Digest, Identity, InviteChallenge, Kamailio, Rtpengine, Sipp, VoicebotScript};
use codex_e2e::phone::Phone;
use codex_e2e::scenario::{Failure, Fallible, Scenario, Stage};
use codex_e2e::sip_trace::TracedMessage;
use secrecy::SecretString;
use tokio::time::Instant;

const LIMIT: Duration = Duration::from_secs(60);
const STEP: Duration = Duration::from_secs(10);
/// Longer than the first two retries could take: 1 s and 2 s at most, with full jitter.
const RETRY_WINDOW: Duration = Duration::from_millis(3200);
const USER: &str = "user_12345";

/// The requests of this method that the edge received from clients, in order.
fn requests<'a>(trace: &'a [TracedMessage], method: &str) -> Vec<&'a TracedMessage> {
    let start = format!("{method} ");
    trace.iter().filter(|m| m.from.starts_with("client") && m.first_line().starts_with(&start)).collect()
}

/// The statuses with which the edge answered clients' requests of this method, in order.
fn answers(trace: &[TracedMessage], method: &str) -> Vec<u16> {
    let is_of = |m: &&TracedMessage| {
        m.to.starts_with("client") && m.header("CSeq").is_some_and(|cseq| cseq.ends_with(&format!(" {method}")))
    };
    trace.iter().filter(is_of).filter_map(|m| m.first_line().strip_prefix("SIP/2.0 ")?.get(..3)?.parse().ok()).collect()
}

#[expect(clippy::disallowed_methods, reason = "figures are measured by the real clock")]
fn now() -> Instant {
    Instant::now()
}

/// Registers, is found by the edge, unregisters, is found no more.
async fn registers(stage: &Stage, edge: &Kamailio, phone: &mut Phone, transport: &str) -> Fallible<()> {
    let begin = now();
    phone.client().register().await?;
    stage.figure("time to register", &format!("{} ms", begin.elapsed().as_millis()));
    phone.registration(RegistrationState::Registered, STEP).await?;
    let contacts = edge.contacts(USER).await?;
    assert_eq!(contacts.len(), 1, "{contacts:?}");
    // RFC 7118 §5: a client that nobody can connect to has a host of the domain `.invalid` and `transport=ws`.
    assert!(contacts[0].contains(".invalid") && contacts[0].contains(";transport=ws"), "{contacts:?}");
    assert!(phone.client().check_connection().await?, "the edge answers");
    let trace =
        stage.edge_saw("two REGISTERs", STEP, |t| (answers(t, "REGISTER").len() == 2).then(|| t.to_vec())).await?;
    assert_eq!(answers(&trace, "REGISTER"), [401, 200]);
    let via = requests(&trace, "REGISTER")[0].header("Via").unwrap_or_default();
    assert!(via.starts_with(&format!("SIP/2.0/{transport} ")), "{via}");
    phone.client().unregister().await?;
    phone.registration(RegistrationState::Unregistered, STEP).await?;
    assert_eq!(edge.contacts(USER).await?, Vec::<String>::new());
    Ok(())
}

async fn registers_over(name: &'static str, secure: bool, digest: Digest) -> Result<(), Failure> {
    Scenario::new(name, LIMIT)
        .play(async |stage| {
            let edge = Kamailio::builder().digest(digest).start(stage).await?;
            let mut phone = Phone::builder(stage, &edge)
                .configure(|config| {
                    if secure {
                        config.wss_server = edge.wss_url();
                        config.extra_ca_certificates_pem = vec![edge.ca_pem().to_owned()];
                    }
                })
                .build()?;
            registers(stage, &edge, &mut phone, if secure { "WSS" } else { "WS" }).await?;
            // The edge writes its part some milliseconds late.
            let all = |trace: &[TracedMessage]| (answers(trace, "REGISTER").len() >= 3).then(|| trace.to_vec());
            let trace = stage.edge_saw("the answer to the last REGISTER", STEP, all).await?;
            let authorization = requests(&trace, "REGISTER")[1].header("Authorization").unwrap_or_default();
            let algorithm = match digest {
                Digest::Md5 => "algorithm=MD5",
                Digest::Sha256 => "algorithm=SHA-256",
            };
            assert!(authorization.contains(algorithm) && authorization.contains("qop=auth"), "{authorization}");
            // Unregistering did not pay another round trip: the nonce was good still.
            assert_eq!(answers(&trace, "REGISTER"), [401, 200, 200]);
            Ok(())
        })
        .await
}

#[tokio::test]
async fn registers_over_ws_with_md5() -> Result<(), Failure> {
    registers_over("registers_over_ws_with_md5", false, Digest::Md5).await
}

#[tokio::test]
async fn registers_over_ws_with_sha_256() -> Result<(), Failure> {
    registers_over("registers_over_ws_with_sha_256", false, Digest::Sha256).await
}

#[tokio::test]
async fn registers_over_wss_with_md5() -> Result<(), Failure> {
    registers_over("registers_over_wss_with_md5", true, Digest::Md5).await
}

#[tokio::test]
async fn registers_over_wss_with_sha_256() -> Result<(), Failure> {
    registers_over("registers_over_wss_with_sha_256", true, Digest::Sha256).await
}

/// Nothing further is tried after a refusal that only a person can mend.
async fn gives_up(phone: &mut Phone) -> Fallible<()> {
    phone.registration(RegistrationState::Failed, STEP).await?;
    let tries = |event: &Event| matches!(event, Event::Reconnecting(_) | Event::Registration(_));
    phone.stays_quiet(RETRY_WINDOW, tries).await?;
    Ok(())
}

#[tokio::test]
async fn a_wrong_password_is_told_and_not_tried_again() -> Result<(), Failure> {
    for (edge, expected_status, expected_reason) in [
        (Kamailio::builder(), 401, None),
        (Kamailio::builder().forbids_wrong_password(), 403, Some("Invalid credentials")),
    ] {
        Scenario::new("a_wrong_password_is_told_and_not_tried_again", LIMIT)
            .play(async |stage| {
                let edge = edge.start(stage).await?;
                let wrong = SecretString::from("wrong-password");
                let mut phone = Phone::builder(stage, &edge).configure(|config| config.password = wrong).build()?;
                let error = phone.client().register().await.unwrap_err();
                let Error::RegistrationRefused { refusal, status, x_reason, .. } = &error else {
                    return Err(format!("another error: {error}").into());
                };
                assert_eq!((*refusal, *status), (RegistrationRefusal::Credentials, expected_status), "{error}");
                assert_eq!(x_reason.as_deref(), expected_reason);
                assert_eq!(error.code(), "registration_credentials");
                assert!(!error.to_string().contains("wrong-password"), "{error}");
                gives_up(&mut phone).await?;
                assert_eq!(answers(&stage.edge_trace(), "REGISTER"), [401, expected_status]);
                assert_eq!(requests(&stage.edge_trace(), "REGISTER").len(), 2);
                assert!(edge.contacts(USER).await?.is_empty());
                Ok(())
            })
            .await?;
    }
    Ok(())
}

#[tokio::test]
async fn an_unknown_realm_is_forbidden_at_once() -> Result<(), Failure> {
    Scenario::new("an_unknown_realm_is_forbidden_at_once", LIMIT)
        .play(async |stage| {
            let edge = Kamailio::builder().start(stage).await?;
            let elsewhere =
                |config: &mut codex_core_sip::config::SipClientConfig| config.domain = "elsewhere.test".to_owned();
            let mut phone = Phone::builder(stage, &edge).configure(elsewhere).build()?;
            let error = phone.client().register().await.unwrap_err();
            let Error::RegistrationRefused { refusal, status, .. } = &error else {
                return Err(format!("another error: {error}").into());
            };
            // This edge does not say why; what it says is told, with what to check.
            assert_eq!((*refusal, *status), (RegistrationRefusal::Forbidden, 403), "{error}");
            assert!(error.to_string().contains("JAMBONZ_SIP_DOMAIN"), "{error}");
            gives_up(&mut phone).await?;
            assert_eq!(answers(&stage.edge_trace(), "REGISTER"), [403]);
            Ok(())
        })
        .await
}

/// What registering over WSS fails with, and that no SIP was sent.
async fn tls_fault(stage: &Stage, edge: &Kamailio, trusted: Vec<String>) -> Fallible<(TlsFault, String)> {
    let mut phone = Phone::builder(stage, edge)
        .configure(|config| {
            config.wss_server = edge.wss_url();
            config.extra_ca_certificates_pem = trusted;
        })
        .build()?;
    let Err(error) = phone.client().register().await else { return Err("it registered".into()) };
    let Error::Tls { host, fault } = &error else { return Err(format!("another error: {error}").into()) };
    assert_eq!(host, "localhost");
    gives_up(&mut phone).await?;
    assert!(stage.edge_trace().is_empty(), "SIP was sent over a connection that is not trusted");
    Ok((fault.clone(), error.to_string()))
}

#[tokio::test]
async fn a_certificate_of_a_private_authority_is_refused_unless_that_is_trusted() -> Result<(), Failure> {
    Scenario::new("a_certificate_of_a_private_authority_is_refused_unless_that_is_trusted", LIMIT)
        .play(async |stage| {
            let edge = Kamailio::builder().start(stage).await?;
            let (fault, text) = tls_fault(stage, &edge, Vec::new()).await?;
            assert_eq!(fault, TlsFault::UnknownIssuer, "{text}");
            assert!(text.contains("localhost") && text.contains("extra_ca_certificates_pem"), "{text}");
            let (fault, text) = tls_fault(stage, &edge, vec![Authority::new()?.ca_pem()]).await?;
            assert_eq!(fault, TlsFault::UnknownIssuer, "{text}");
            Ok(())
        })
        .await
}

#[tokio::test]
async fn a_self_signed_certificate_is_refused_by_default_and_taken_when_it_is_trusted() -> Result<(), Failure> {
    Scenario::new("a_self_signed_certificate_is_refused_by_default_and_taken_when_it_is_trusted", LIMIT)
        .play(async |stage| {
            let identity = Identity::self_signed(&["localhost"])?;
            let edge = Kamailio::builder().identity(identity).start(stage).await?;
            let (fault, text) = tls_fault(stage, &edge, Vec::new()).await?;
            assert_eq!(fault, TlsFault::UnknownIssuer, "{text}");
            let mut phone = Phone::builder(stage, &edge)
                .configure(|config| {
                    config.wss_server = edge.wss_url();
                    config.extra_ca_certificates_pem = vec![edge.ca_pem().to_owned()];
                })
                .build()?;
            registers(stage, &edge, &mut phone, "WSS").await
        })
        .await
}

#[tokio::test]
async fn a_certificate_for_another_name_or_past_its_time_is_refused_and_told() -> Result<(), Failure> {
    Scenario::new("a_certificate_for_another_name_is_refused_and_told", LIMIT)
        .play(async |stage| {
            let identity = Authority::new()?.identity(&["sip.example.test", "edge.example.test"])?;
            let edge = Kamailio::builder().identity(identity).start(stage).await?;
            let (fault, text) = tls_fault(stage, &edge, vec![edge.ca_pem().to_owned()]).await?;
            let presented = ["sip.example.test", "edge.example.test"].map(str::to_owned).to_vec();
            assert_eq!(fault, TlsFault::NameMismatch { expected: "localhost".to_owned(), presented }, "{text}");
            Ok(())
        })
        .await?;
    Scenario::new("a_certificate_past_its_time_is_refused_and_told", LIMIT)
        .play(async |stage| {
            let identity = Authority::new()?.expired_identity(&["localhost"])?;
            let edge = Kamailio::builder().identity(identity).start(stage).await?;
            let (fault, text) = tls_fault(stage, &edge, vec![edge.ca_pem().to_owned()]).await?;
            assert_eq!(fault, TlsFault::Expired, "{text}");
            Ok(())
        })
        .await
}

#[tokio::test]
async fn a_registrar_that_restarts_while_the_client_is_idle_has_it_back_soon() -> Result<(), Failure> {
    Scenario::new("a_registrar_that_restarts_while_the_client_is_idle_has_it_back_soon", LIMIT)
        .play(async |stage| {
            let mut edge = Kamailio::builder().start(stage).await?;
            let mut phone = Phone::builder(stage, &edge).build()?;
            phone.client().register().await?;
            phone.registration(RegistrationState::Registered, STEP).await?;
            let before = edge.contacts(USER).await?;

            // A crash that lasts for more than one try.
            edge.kill();
            let reconnecting = |event: &Event| match event {
                Event::Reconnecting(event) => Some(event.clone()),
                _ => None,
            };
            let first = phone.event("the first try", STEP, reconnecting).await?;
            let second = phone.event("the second try", STEP, reconnecting).await?;
            assert_eq!((first.attempt, second.attempt), (1, 2));
            // Backoff with full jitter: at most 1 s, then 2 s.
            assert!(first.delay_ms <= 1000 && second.delay_ms <= 2000, "{first:?} {second:?}");
            edge.start_again().await?;
            phone.registration(RegistrationState::Registered, Duration::from_secs(15)).await?;
            let after = edge.contacts(USER).await?;
            assert_eq!(after.len(), 1);
            assert!(phone.client().check_connection().await?);
            // RFC 5626: the same instance with the same contact, over another flow.
            let contact = |uri: &str| uri.split(';').next().unwrap_or_default().to_owned();
            assert_eq!(contact(&before[0]), contact(&after[0]));

            // An orderly restart.
            edge.restart().await?;
            phone.registration(RegistrationState::Registered, Duration::from_secs(15)).await?;
            assert_eq!(edge.contacts(USER).await?.len(), 1);

            // Told to reconnect no more, it does not.
            phone.client().destroy().await?;
            Ok(())
        })
        .await
}

#[tokio::test]
async fn an_edge_that_is_gone_does_not_answer_the_check() -> Result<(), Failure> {
    Scenario::new("an_edge_that_is_gone_does_not_answer_the_check", LIMIT)
        .play(async |stage| {
            let mut edge = Kamailio::builder().start(stage).await?;
            let mut phone = Phone::builder(stage, &edge).build()?;
            phone.client().register().await?;
            assert!(phone.client().check_connection().await?);
            edge.kill();
            let gone = |event: &Event| matches!(event, Event::Reconnecting(_)).then_some(());
            phone.event("the loss of the edge", STEP, gone).await?;
            assert!(!tokio::time::timeout(STEP, phone.client().check_connection()).await??);
            Ok(())
        })
        .await
}

/// Makes a call and ends it; returns how many INVITEs it took and how they were answered.
async fn call_once(stage: &Stage, phone: &mut Phone) -> Fallible<Vec<u16>> {
    let mut voicebot = Sipp::voicebot(VoicebotScript::Answers { ringing: Duration::ZERO }).start(stage).await?;
    let before = answers(&stage.edge_trace(), "INVITE").len();
    phone.client().start_call(StartCall::default()).await?;
    phone.reaches(CallState::Connected, STEP).await?;
    phone.client().hangup(None).await?;
    voicebot.succeeded(STEP).await?;
    phone.reaches(CallState::Idle, STEP).await?;
    let all = answers(&stage.edge_trace(), "INVITE");
    Ok(all.into_iter().skip(before).filter(|status| *status >= 200).collect())
}

#[tokio::test]
async fn a_nonce_is_used_again_so_that_only_the_first_request_pays_a_round_trip() -> Result<(), Failure> {
    for (challenge, first, second) in [
        // 401 as jambonz has it: the credentials of REGISTER are good for INVITE.
        (InviteChallenge::Unauthorized, &[200][..], &[200][..]),
        // 407: the proxy's credentials are asked for once.
        (InviteChallenge::ProxyAuthentication, &[407, 200], &[200]),
    ] {
        Scenario::new("a_nonce_is_used_again_so_that_only_the_first_request_pays_a_round_trip", LIMIT)
            .play(async |stage| {
                let _media = Rtpengine::start(stage).await?;
                let edge = Kamailio::builder().with_rtpengine().invite_challenge(challenge).start(stage).await?;
                let mut phone = Phone::builder(stage, &edge).build()?;
                phone.client().register().await?;
                assert_eq!(call_once(stage, &mut phone).await?, first);
                assert_eq!(call_once(stage, &mut phone).await?, second);
                // nc rises (RFC 7616 §3.4).
                let trace = stage.edge_trace();
                let header = match challenge {
                    InviteChallenge::ProxyAuthentication => "Proxy-Authorization",
                    _ => "Authorization",
                };
                let counts: Vec<String> = requests(&trace, "INVITE")
                    .iter()
                    .filter_map(|invite| Some(invite.header(header)?.split("nc=").nth(1)?.get(..8)?.to_owned()))
                    .collect();
                let risen = counts.windows(2).all(|pair| pair[0] < pair[1]);
                assert!(counts.len() == 2 && risen, "{counts:?}");
                Ok(())
            })
            .await?;
    }
    Ok(())
}

#[tokio::test]
async fn a_nonce_that_is_too_old_costs_one_round_trip_and_nothing_else() -> Result<(), Failure> {
    Scenario::new("a_nonce_that_is_too_old_costs_one_round_trip_and_nothing_else", LIMIT)
        .play(async |stage| {
            let edge = Kamailio::builder().registration(Duration::from_secs(6)).nonce_lifetime(Duration::from_secs(1));
            let edge = edge.start(stage).await?;
            let mut phone = Phone::builder(stage, &edge).build()?;
            phone.client().register().await?;
            // The registrar grants 6 s, so the refresh comes before that, with a nonce that is too old.
            let refreshed = |t: &[TracedMessage]| {
                let statuses = answers(t, "REGISTER");
                (statuses.iter().filter(|status| **status == 200).count() == 2).then_some(statuses)
            };
            let statuses = stage.edge_saw("the refresh", STEP, refreshed).await?;
            assert_eq!(statuses, [401, 200, 401, 200]);
            let trace = stage.edge_trace();
            // This edge does not even call it stale: only a nonce that was used before may be answered once more.
            let challenges: Vec<_> = trace.iter().filter_map(|m| m.header("WWW-Authenticate")).collect();
            assert!(challenges.len() == 2 && challenges[0] != challenges[1], "{challenges:?}");
            assert_eq!(edge.contacts(USER).await?.len(), 1);
            phone
                .stays_quiet(
                    Duration::from_millis(300),
                    |event| matches!(event, Event::Registration(event) if event.state == RegistrationState::Failed),
                )
                .await?;
            Ok(())
        })
        .await
}
