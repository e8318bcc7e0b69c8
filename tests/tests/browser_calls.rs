//! Calls from a page: the npm package in Chromium, through Kamailio over WSS and rtpengine.

use std::time::Duration;

use codex_e2e::audio::Audio;
use codex_e2e::npm_package;
use codex_e2e::peers::{
    APPLICATION, Baresip, CallerScript, Chromium, Kamailio, PASSWORD, Page, REALM, Rtpengine, Sipp, VoicebotScript,
};
use codex_e2e::scenario::{Failure, Fallible, Scenario};
use codex_e2e::sipp_log::LoggedMessage;
use codex_e2e::web_site::WebSite;
use serde_json::{Value, json};

const LIMIT: Duration = Duration::from_secs(90);
const STEP: Duration = Duration::from_secs(15);
/// What the visitor's microphone hears.
const OURS_HZ: f64 = 1000.0;

/// What the older guide shows.
const CUSTOMER: &str = r#"{"clientId":"user_12345","clientName":"Иван Иванов","callType":"webcall","sessionId":"session_abc123","timestamp":"2025-11-14T12:00:00Z","location":{"country":"RU","city":"Moscow"},"customFields":{"department":"Отдел продаж","priority":"high"}}"#;

/// The package as `cargo xtask web` builds it, and the page that uses it.
async fn site() -> Fallible<WebSite> {
    Ok(npm_package::site(&[], &[]).await?)
}

/// The configuration of the older guide, for this edge.
fn keys(edge: &Kamailio, user: &str) -> Value {
    let mut keys = npm_package::keys(edge, user);
    keys["CUSTOMER_DATA"] = json!(CUSTOMER);
    keys
}

async fn open(browser: &Chromium, site: &WebSite) -> Fallible<Page> {
    Ok(browser.open(&site.url("/page/page.html")).await?)
}

fn only<'a>(invite: &'a LoggedMessage, name: &str) -> Fallible<&'a str> {
    let text = std::str::from_utf8(&invite.bytes)?;
    let values: Vec<&str> = text
        .split("\r\n\r\n")
        .next()
        .unwrap_or_default()
        .split("\r\n")
        .filter_map(|line| line.split_once(':'))
        .filter(|(field, _)| field.eq_ignore_ascii_case(name))
        .map(|(_, value)| value.trim())
        .collect();
    match values[..] {
        [value] => Ok(value),
        _ => Err(format!("{name} is there {} times:\n{text}", values.len()).into()),
    }
}

#[tokio::test]
async fn the_older_guide_s_example_calls_from_a_page() -> Result<(), Failure> {
    Scenario::new("the_older_guide_s_example_calls_from_a_page", LIMIT)
        .play(async |stage| {
            let _media = Rtpengine::start(stage).await?;
            let edge = Kamailio::builder().with_rtpengine().start(stage).await?;
            let mut voicebot = Sipp::voicebot(VoicebotScript::Answers { ringing: Duration::ZERO }).start(stage).await?;
            let site = site().await?;
            let browser = Chromium::builder().start(stage).await?;
            let mut page = open(&browser, &site).await?;
            // As the guide has it: events first, then register and call, without waiting for anything else.
            let script = format!(
                "(async () => {{
                    const client = codex.createClient({});
                    window.phone = new Phone(client);
                    await client.register();
                    const callId = await client.startCall({{ language: 'ru' }});
                    await phone.reaches('connected');
                    return callId;
                }})()",
                keys(&edge, "170")
            );
            let call_id = page.evaluate(&script).await?;
            let call_id = call_id.as_str().ok_or("startCall gave no Call-ID")?;
            let invite = voicebot.received("INVITE", STEP).await?;
            let tag: String = call_id.chars().take(8).collect();
            assert_eq!(only(&invite, "Call-ID")?, call_id);
            assert_eq!(invite.first_line(), format!("INVITE sip:{APPLICATION}@{REALM} SIP/2.0"));
            assert_eq!(only(&invite, "X-Customer-Data")?, CUSTOMER);
            let hex: String = CUSTOMER.bytes().map(|byte| format!("{byte:02x}")).collect();
            assert_eq!(only(&invite, "User-to-User")?, format!("{hex};encoding=hex"));
            assert_eq!(only(&invite, "X-Call-Tag")?, tag);
            assert_eq!(only(&invite, "X-Display-From")?, format!("webcall:{tag} → voicebot"));
            assert_eq!(only(&invite, "X-Display-To")?, "voicebot");
            assert_eq!(only(&invite, "X-Application-Name")?, "voicebot");
            assert_eq!(only(&invite, "X-Lang")?, "ru");
            let sums = page.evaluate("heard()").await?;
            stage.figure("audio both ways by getStats", &sums.to_string());
            let metrics =
                page.evaluate("phone.until('metrics', (e) => e.mos !== undefined && e.rttMs !== undefined)").await?;
            assert_eq!((&metrics["applicationName"], &metrics["tag"]), (&json!("voicebot"), &json!(tag)), "{metrics}");
            page.evaluate("phone.client.hangup().then(() => phone.reaches('idle'))").await?;
            voicebot.succeeded(STEP).await?;
            let states = page.evaluate("phone.states()").await?;
            let states: Vec<&str> = states.as_array().into_iter().flatten().filter_map(Value::as_str).collect();
            assert_eq!(states.first(), Some(&"connecting"));
            assert_eq!(states[states.len() - 3..], ["connected", "ended", "idle"]);
            let told = page.evaluate("phone.events.filter((e) => e.name === 'call')").await?;
            for event in told.as_array().into_iter().flatten() {
                assert_eq!(event["applicationName"], "voicebot", "{event}");
                assert_eq!(event["callId"], call_id, "{event}");
                assert_eq!(event["tag"], json!(tag), "{event}");
                assert_eq!(event["customerData"]["clientName"], "Иван Иванов", "{event}");
            }
            assert_eq!(page.evaluate("unhandled").await?, json!([]));
            assert_eq!(page.evaluate("connections.map((one) => one.signalingState)").await?, json!(["closed"]));
            Ok(())
        })
        .await
}

#[tokio::test]
async fn a_page_and_baresip_hear_each_other_and_keys_arrive() -> Result<(), Failure> {
    Scenario::new("a_page_and_baresip_hear_each_other_and_keys_arrive", LIMIT)
        .play(async |stage| {
            const KEYS: &str = "1590*#";
            // What the visitor says: short tones, since browsers take a steady one for noise.
            let mut speech = Audio { sample_rate: 48_000, samples: Vec::new() };
            for _ in 0..10 {
                speech.samples.extend(Audio::tone(48_000, OURS_HZ, 0.5, 0.3).samples);
                speech.samples.extend(Audio::tone(48_000, OURS_HZ, 0.0, 0.4).samples);
            }
            let microphone = stage.folder().join("microphone.wav");
            speech.write_wav(&microphone)?;
            let _media = Rtpengine::start(stage).await?;
            let edge = Kamailio::builder().with_rtpengine().start(stage).await?;
            let mut voicebot = Baresip::builder().tone_hz(620.0).start(stage).await?;
            let site = site().await?;
            let browser = Chromium::builder().microphone(&microphone).start(stage).await?;
            let mut page = open(&browser, &site).await?;
            // Under the names of `new CodexSipClient({…})`; the call's own data, target and headers.
            let config = json!({
                "domain": REALM, "wssServer": edge.wss_url(), "username": "170", "password": PASSWORD,
                "targetUri": format!("sip:nobody@{REALM}"), "iceServers": [], "defaultLanguage": "ru",
                "fallbackLanguage": "en", "customerData": { "callType": "webcall" }, "targetApplicationName": "voicebot",
                "maxRegisterRetries": 5, "infiniteReconnect": true, "keepAliveInterval": 30000,
                "extraHeaders": ["X-Department: продажи"],
            });
            page.evaluate(&format!(
                "(async () => {{
                    window.seen = [];
                    const client = new codex.CodexSipClient({{
                        ...{config}, onMetrics: (e) => seen.push('metrics'), onLog: (e) => seen.push('log'),
                    }});
                    window.phone = new Phone(client);
                    await client.startCall({{
                        targetUri: 'sip:{APPLICATION}@{REALM}', language: 'de-AT',
                        customerData: {{ callType: 'urgent_call', customFields: {{ заявка: '№42' }} }},
                        extraHeaders: ['X-Ticket: №42'],
                    }});
                    await phone.reaches('connected');
                    await heard();
                }})()"
            ))
            .await?;
            for key in KEYS.chars() {
                page.evaluate(&format!("phone.client.sendDtmf('{key}')")).await?;
            }
            voicebot.keyed(KEYS, STEP).await?;
            assert_eq!(voicebot.digits(), KEYS);
            let refused = page.evaluate("refusal(phone.client.sendDtmf('x'))").await?;
            assert_eq!((&refused["code"], &refused["isCodexError"]), (&json!("wrong_state"), &json!(true)));
            // Everything that the older packages could do during a call.
            let during = "(async () => {
                const { client } = phone;
                await client.mute();
                const off = client.getLocalMediaStream().getAudioTracks().every((track) => !track.enabled);
                await client.unmute();
                await client.setSpeakerMuted(true);
                await client.setSpeakerMuted(false);
                const audio = new Audio();
                client.setRemoteAudioElement(audio);
                await client.setLanguage('en');
                return [off, await client.checkConnection(), client.state, client.language, audio.srcObject !== null];
            })()";
            assert_eq!(page.evaluate(during).await?, json!([true, true, "connected", "en", true]));
            let invites = stage.edge_trace();
            let invite = invites.iter().find(|m| m.first_line().starts_with("INVITE")).ok_or("no INVITE")?;
            let header = |name: &str| invite.header(name);
            assert_eq!(header("X-Customer-Data").as_deref(), Some(r#"{"callType":"urgent_call","customFields":{"заявка":"№42"}}"#));
            assert_eq!(header("X-Lang").as_deref(), Some("de-AT"));
            assert_eq!(header("X-Department").as_deref(), Some("продажи"));
            assert_eq!(header("X-Ticket").as_deref(), Some("№42"));
            page.evaluate("phone.client.hangup('done').then(() => phone.client.destroy())").await?;
            voicebot.event("CALL_CLOSED", STEP).await?;
            let recorded = voicebot.heard()?;
            let seconds = recorded.seconds();
            let windows = (0..).map(|n| f64::from(n) * 0.1).take_while(|from| from + 0.2 < seconds);
            let loudest = windows
                .map(|from| recorded.between(from, from + 0.2))
                .max_by(|a, b| a.tone_amplitude(OURS_HZ).total_cmp(&b.tone_amplitude(OURS_HZ)))
                .ok_or("baresip recorded nothing")?;
            let (ours, beside) = (loudest.tone_amplitude(OURS_HZ), loudest.tone_amplitude(OURS_HZ * 1.5));
            stage.figure("our tone in baresip's recording", &format!("amplitude {ours:.3}, beside it {beside:.3}"));
            assert!(ours > 0.02 && ours > 5.0 * beside, "amplitude {ours}, beside it {beside}");
            let after = page.evaluate("refusal(phone.client.startCall())").await?;
            assert_eq!(after["code"], "destroyed");
            assert_eq!(page.evaluate("seen.includes('log') && seen.includes('metrics')").await?, json!(true));
            assert_eq!(page.evaluate("unhandled").await?, json!([]));
            Ok(())
        })
        .await
}

#[tokio::test]
async fn a_page_holds_a_call_is_held_and_moves_its_media_and_hears_again() -> Result<(), Failure> {
    Scenario::new("a_page_holds_a_call_is_held_and_moves_its_media_and_hears_again", LIMIT)
        .play(async |stage| {
            let _media = Rtpengine::start(stage).await?;
            let edge = Kamailio::builder().with_rtpengine().start(stage).await?;
            let mut voicebot = Baresip::builder().tone_hz(620.0).start(stage).await?;
            let site = site().await?;
            let browser = Chromium::builder().start(stage).await?;
            let mut page = open(&browser, &site).await?;
            page.evaluate(&format!(
                "(async () => {{
                    window.phone = new Phone(codex.createClient({}));
                    // It opens no microphone; what it gathered is the call's.
                    await phone.client.prepare();
                    window.prepared = [phone.client.getLocalMediaStream(), connections.length];
                    await phone.client.startCall();
                    await phone.reaches('connected');
                    window.microphone = phone.client.getLocalMediaStream().getAudioTracks()[0];
                    await heard();
                    window.connection = connections[0];
                    window.track = () => connection.getSenders()[0].track;
                    window.audio = new Audio();
                    phone.client.setRemoteAudioElement(audio);
                }})()",
                keys(&edge, "170")
            ))
            .await?;
            assert_eq!(page.evaluate("[...prepared, connections.length]").await?, json!([null, 1, 1]));
            // Ours. Mute is another matter, so that the microphone's track is not touched.
            page.evaluate("phone.client.hold()").await?;
            let held = page.evaluate("phone.until('hold', (e) => e.held && !e.heldByFarEnd)").await?;
            assert_eq!(held["applicationName"], "voicebot", "{held}");
            let silence = "[track() !== microphone, track().enabled, microphone.enabled, audio.muted, phone.client.state]";
            assert_eq!(page.evaluate(silence).await?, json!([true, false, true, true, "connected"]));
            let before = page.evaluate("(async () => { window.before = await counted(); return before; })()").await?;
            page.evaluate("phone.client.unhold()").await?;
            page.evaluate("phone.until('hold', (e) => !e.held, 15000, phone.events.findLast((e) => e.held).at)").await?;
            let after = page.evaluate("heard(before)").await?;
            stage.figure("before and after unhold by getStats", &format!("{before} {after}"));
            assert_eq!(page.evaluate("[track() === microphone, audio.muted]").await?, json!([true, false]));
            // The far end's.
            voicebot.command("hold", "").await?;
            page.evaluate("phone.until('hold', (e) => e.heldByFarEnd)").await?;
            assert_eq!(page.evaluate("[track(), audio.muted, phone.client.state]").await?, json!([null, false, "connected"]));
            page.evaluate("(async () => { window.before = await counted(); })()").await?;
            voicebot.command("resume", "").await?;
            let theirs = "phone.events.findLast((e) => e.heldByFarEnd).at";
            page.evaluate(&format!("phone.until('hold', (e) => !e.heldByFarEnd, 15000, {theirs})")).await?;
            page.evaluate("heard(before)").await?;
            // A path that fails: the browser's own report, as if it had found so.
            let restarted = page
                .evaluate(
                    "(async () => {
                        const ufrag = () => /a=ice-ufrag:(.*)/.exec(connection.currentLocalDescription.sdp)[1];
                        const old = ufrag();
                        Object.defineProperty(connection, 'iceConnectionState', { value: 'failed', configurable: true });
                        connection.dispatchEvent(new Event('iceconnectionstatechange'));
                        delete connection.iceConnectionState;
                        for (const end = performance.now() + 15000; ufrag() === old; ) {
                            if (performance.now() > end) throw new Error('ICE was not restarted');
                            await new Promise((resolve) => setTimeout(resolve, 50));
                        }
                        const sums = await heard(await counted());
                        return [connections.length, connection.signalingState, phone.client.state, sums.packetsSent > 0];
                    })()",
                )
                .await?;
            assert_eq!(restarted, json!([1, "stable", "connected", true]));
            page.evaluate("phone.client.hangup().then(() => phone.reaches('idle'))").await?;
            voicebot.event("CALL_CLOSED", STEP).await?;
            assert!(!page.evaluate("phone.states()").await?.to_string().contains("error"));
            assert_eq!(page.evaluate("unhandled").await?, json!([]));
            Ok(())
        })
        .await
}

#[tokio::test]
async fn a_page_s_call_goes_on_after_the_death_of_the_edge() -> Result<(), Failure> {
    Scenario::new("a_page_s_call_goes_on_after_the_death_of_the_edge", LIMIT)
        .play(async |stage| {
            let _media = Rtpengine::start(stage).await?;
            let mut edge = Kamailio::builder().with_rtpengine().start(stage).await?;
            let script = VoicebotScript::HangsUpAfterReinvite { talking: Duration::from_secs(2) };
            let mut voicebot = Sipp::voicebot(script).start(stage).await?;
            let site = site().await?;
            let browser = Chromium::builder().start(stage).await?;
            let mut page = open(&browser, &site).await?;
            page.evaluate(&format!(
                "(async () => {{
                    window.phone = new Phone(codex.createClient({}));
                    await phone.client.startCall();
                    await phone.reaches('connected');
                    await heard();
                }})()",
                keys(&edge, "170")
            ))
            .await?;
            edge.kill();
            page.evaluate("phone.until('reconnecting', () => true, 30000)").await?;
            // The audio goes past the edge.
            page.evaluate("(async () => heard(await counted()))()").await?;
            edge.start_again().await?;
            // The far end hangs up once a re-INVITE has shown it the way to the page.
            let ended = page.evaluate("phone.reaches('ended', 40000)").await?;
            assert_eq!(ended["causeCode"], 16, "{ended}");
            voicebot.succeeded(STEP).await?;
            assert_eq!(page.evaluate("unhandled").await?, json!([]));
            Ok(())
        })
        .await
}

#[tokio::test]
async fn a_page_s_call_goes_on_after_the_media_relay_is_restarted() -> Result<(), Failure> {
    Scenario::new("a_page_s_call_goes_on_after_the_media_relay_is_restarted", LIMIT)
        .play(async |stage| {
            let media = Rtpengine::start(stage).await?;
            let edge = Kamailio::builder().with_rtpengine().start(stage).await?;
            let script = VoicebotScript::HangsUpAfterReinvite { talking: Duration::from_secs(8) };
            let mut voicebot = Sipp::voicebot(script).start(stage).await?;
            let site = site().await?;
            let browser = Chromium::builder().start(stage).await?;
            let mut page = open(&browser, &site).await?;
            page.evaluate(&format!(
                "(async () => {{
                    window.phone = new Phone(codex.createClient({}));
                    await phone.client.startCall();
                    await phone.reaches('connected');
                    await heard();
                }})()",
                keys(&edge, "170")
            ))
            .await?;
            // The relay that comes after it has other ports and other keys.
            drop(media);
            let _media = Rtpengine::start(stage).await?;
            page.evaluate("phone.until('log', (e) => e.message === 'the media are restarted', 30000)").await?;
            let sums = page.evaluate("(async () => heard(await counted()))()").await?;
            let connections = page.evaluate("connections.map((one) => one.signalingState)").await?;
            stage.figure("audio both ways after the restart", &format!("{sums}, connections {connections}"));
            assert_eq!(page.evaluate("phone.client.state").await?, json!("connected"));
            let ended = page.evaluate("phone.reaches('ended', 20000)").await?;
            assert_eq!(ended["causeCode"], 16, "{ended}");
            voicebot.succeeded(STEP).await?;
            assert_eq!(page.evaluate("unhandled").await?, json!([]));
            Ok(())
        })
        .await
}

#[tokio::test]
async fn a_page_takes_an_offer_with_other_keys_by_another_connection() -> Result<(), Failure> {
    Scenario::new("a_page_takes_an_offer_with_other_keys_by_another_connection", LIMIT)
        .play(async |stage| {
            let media = Rtpengine::start(stage).await?;
            let edge = Kamailio::builder().with_rtpengine().start(stage).await?;
            let mut voicebot = Baresip::builder().tone_hz(620.0).start(stage).await?;
            let site = site().await?;
            let browser = Chromium::builder().start(stage).await?;
            let mut page = open(&browser, &site).await?;
            page.evaluate(&format!(
                "(async () => {{
                    window.phone = new Phone(codex.createClient({}));
                    await phone.client.startCall();
                    await phone.reaches('connected');
                    await heard();
                }})()",
                keys(&edge, "170")
            ))
            .await?;
            // The relay that comes after it has other keys; the far end offers them, and holds the call as well, before
            // the page has noticed that its path is lost.
            drop(media);
            let _media = Rtpengine::start(stage).await?;
            voicebot.command("hold", "").await?;
            page.evaluate("phone.until('hold', (e) => e.heldByFarEnd)").await?;
            voicebot.command("resume", "").await?;
            let theirs = "phone.events.findLast((e) => e.heldByFarEnd).at";
            page.evaluate(&format!("phone.until('hold', (e) => !e.heldByFarEnd, 15000, {theirs})")).await?;
            let sums = page.evaluate("heard()").await?;
            stage.figure("audio both ways over the other connection", &sums.to_string());
            let connections = page.evaluate("connections.map((one) => one.signalingState)").await?;
            assert_eq!(connections, json!(["closed", "stable"]));
            assert_eq!(page.evaluate("phone.client.state").await?, json!("connected"));
            page.evaluate("phone.client.hangup().then(() => phone.reaches('idle'))").await?;
            voicebot.event("CALL_CLOSED", STEP).await?;
            assert_eq!(
                page.evaluate("connections.map((one) => one.signalingState)").await?,
                json!(["closed", "closed"])
            );
            assert_eq!(page.evaluate("unhandled").await?, json!([]));
            Ok(())
        })
        .await
}

#[tokio::test]
async fn a_wrong_configuration_rejects_everything_and_tells_all_problems_once() -> Result<(), Failure> {
    Scenario::new("a_wrong_configuration_rejects_everything_and_tells_all_problems_once", LIMIT)
        .play(async |stage| {
            let site = site().await?;
            let browser = Chromium::builder().start(stage).await?;
            let mut page = open(&browser, &site).await?;
            // Made and listened to in the same turn, long before the module has come.
            let told = page
                .evaluate(
                    "(async () => {
                        const client = codex.createClient({ JAMBONZ_SIP_DOMAIN: 'a b', CUSTOMER_DATA: '{\"clientId\":1}' });
                        window.phone = new Phone(client);
                        const { ready, state } = { ready: client.ready, state: client.state };
                        const methods = ['register', 'unregister', 'startCall', 'hangup', 'acceptIncomingCall',
                            'rejectIncomingCall', 'mute', 'unmute', 'checkConnection'];
                        const codes = [];
                        for (const method of methods) codes.push((await refusal(client[method]())).code);
                        const { code, message } = await refusal(ready);
                        await client.destroy();
                        return { state, codes, code, message, errors: phone.events.filter((e) => e.name === 'error') };
                    })()",
                )
                .await?;
            assert_eq!(told["state"], "idle");
            assert!(told["codes"].as_array().is_some_and(|codes| codes.iter().all(|c| c == "configuration")), "{told}");
            let message = told["message"].as_str().unwrap_or_default();
            for key in ["JAMBONZ_SIP_DOMAIN", "JAMBONZ_WSS_ADDRESS", "JAMBONZ_SIP_PASSWORD", "TARGET_SIP_URI", "CUSTOMER_DATA"] {
                assert!(message.contains(key), "{key}: {message}");
            }
            assert_eq!(told["errors"], json!([{ "name": "error", "at": told["errors"][0]["at"], "code": "configuration", "message": message }]));
            assert_eq!(page.evaluate("unhandled").await?, json!([]));
            Ok(())
        })
        .await
}

#[tokio::test]
async fn a_page_takes_a_call_and_shows_the_caller_s_own_data() -> Result<(), Failure> {
    Scenario::new("a_page_takes_a_call_and_shows_the_caller_s_own_data", LIMIT)
        .play(async |stage| {
            const CALLERS: &str = r#"{"clientId":"user_777","clientName":"Мария Петрова","callType":"callback"}"#;
            let _media = Rtpengine::start(stage).await?;
            let edge = Kamailio::builder().with_rtpengine().start(stage).await?;
            let site = site().await?;
            let browser = Chromium::builder().start(stage).await?;
            let mut page = open(&browser, &site).await?;
            page.evaluate(&format!(
                "(async () => {{
                    window.phone = new Phone(codex.createClient({}));
                    await phone.client.register();
                }})()",
                keys(&edge, "user_12345")
            ))
            .await?;
            let talking = Duration::from_secs(6);
            let caller = Sipp::caller(CallerScript::Talks { talking }, "user_12345").customer_data(CALLERS);
            let caller = caller.display_names("webcall:kqzmwbtr → Отдел продаж", "Отдел продаж");
            let mut caller = caller.start(stage).await?;
            let call = page.evaluate("phone.until('incomingCall')").await?;
            assert_eq!(call["displayFrom"], "webcall:kqzmwbtr → Отдел продаж", "{call}");
            assert_eq!(call["customerData"], serde_json::from_str::<Value>(CALLERS)?, "{call}");
            page.evaluate("phone.client.acceptIncomingCall().then(() => heard())").await?;
            page.evaluate("phone.reaches('idle')").await?;
            caller.succeeded(STEP).await?;
            assert_eq!(page.evaluate("phone.states()").await?, json!(["incoming", "connected", "ended", "idle"]));
            Ok(())
        })
        .await
}

#[tokio::test]
async fn a_denied_microphone_says_so_and_no_invite_goes_out() -> Result<(), Failure> {
    Scenario::new("a_denied_microphone_says_so_and_no_invite_goes_out", LIMIT)
        .play(async |stage| {
            let edge = Kamailio::builder().start(stage).await?;
            let site = site().await?;
            let browser = Chromium::builder().denies_microphone().start(stage).await?;
            let mut page = open(&browser, &site).await?;
            let script = format!(
                "(async () => {{
                    window.phone = new Phone(codex.createClient({}));
                    const refused = await refusal(phone.client.startCall());
                    await phone.reaches('idle');
                    return [refused.code, phone.events.find((e) => e.state === 'error').code];
                }})()",
                keys(&edge, "170")
            );
            assert_eq!(page.evaluate(&script).await?, json!(["microphone_denied", "microphone_denied"]));
            page.evaluate("phone.until('registration', (e) => e.state === 'registered')").await?;
            assert_eq!(page.evaluate("phone.client.checkConnection()").await?, json!(true));
            assert!(!stage.edge_trace().iter().any(|m| m.first_line().starts_with("INVITE")));
            assert_eq!(page.evaluate("connections.length").await?, json!(0));
            Ok(())
        })
        .await
}
