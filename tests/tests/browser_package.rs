//! The package in sites as people build them, with short-lived credentials, and through what a browser does to a page.

use std::path::Path;
use std::time::Duration;

use codex_e2e::npm_package::{STRICT_POLICY, keys, site};
use codex_e2e::peers::{Baresip, Chromium, Kamailio, PASSWORD, Page, Rtpengine, Sipp, VoicebotScript};
use codex_e2e::scenario::{Failure, Fallible, Scenario, Stage};
use codex_e2e::sip_trace::TracedMessage;
use serde_json::{Value, json};

const LIMIT: Duration = Duration::from_secs(170);
const STEP: Duration = Duration::from_secs(15);

#[tokio::test]
async fn sites_of_every_bundler_call_under_a_strict_policy() -> Result<(), Failure> {
    Scenario::new("sites_of_every_bundler_call_under_a_strict_policy", LIMIT)
        .play(async |stage| {
            const SITES: [&str; 4] = ["esbuild", "vite", "webpack", "plain"];
            let _media = Rtpengine::start(stage).await?;
            let edge = Kamailio::builder().with_rtpengine().start(stage).await?;
            let script = VoicebotScript::Answers { ringing: Duration::ZERO };
            let mut voicebot = Sipp::voicebot(script).calls(SITES.len() as u32).start(stage).await?;
            let web = site(&[], &[STRICT_POLICY]).await?;
            let browser = Chromium::builder().start(stage).await?;
            for name in SITES {
                let mut page = browser.open(&web.url(&format!("/build/{name}/index.html"))).await?;
                let called = page
                    .evaluate(&format!(
                        "(async () => {{
                            const client = codex.createClient({});
                            const ended = new Promise((resolve) => client.on('call', ({{ state }}) => state === 'ended' && resolve()));
                            const up = new Promise((resolve) => client.on('call', ({{ state }}) => state === 'connected' && resolve()));
                            await client.startCall();
                            await up;
                            await client.hangup();
                            await ended;
                            const element = document.querySelector('codex-voice-widget');
                            return [document.title, older.CodexSipClient === codex.CodexSipClient, element.shadowRoot !== null];
                        }})()",
                        keys(&edge, "170")
                    ))
                    .await?;
                assert_eq!(called, json!(["A site", true, true]), "{name}");
            }
            voicebot.succeeded(STEP).await?;
            // A module that is not the one that was built with the script does not run.
            let mut page = browser.open(&web.url("/page/page.html")).await?;
            let refused = page
                .evaluate(
                    "(async () => {
                        codex.configureWasm({ integrity: 'sha384-' + 'A'.repeat(64) });
                        return (await refusal(codex.createClient({}).ready)).code;
                    })()",
                )
                .await;
            assert_eq!(refused?, "wasm");
            Ok(())
        })
        .await
}

#[tokio::test]
async fn react_18_and_19_wake_up_what_the_server_rendered_and_call() -> Result<(), Failure> {
    Scenario::new("react_18_and_19_wake_up_what_the_server_rendered_and_call", LIMIT)
        .play(async |stage| {
            let _media = Rtpengine::start(stage).await?;
            let edge = Kamailio::builder().with_rtpengine().start(stage).await?;
            let script = VoicebotScript::Answers { ringing: Duration::ZERO };
            let mut voicebot = Sipp::voicebot(script).calls(2).start(stage).await?;
            let web = site(&[], &[STRICT_POLICY]).await?;
            let browser = Chromium::builder().start(stage).await?;
            for version in ["react18", "react19"] {
                let mut page = browser.open(&web.url(&format!("/build/{version}/index.html"))).await?;
                let called = page
                    .evaluate(
                        "(async () => {
                            const until = async (of) => {
                                for (const end = performance.now() + 15000; !of(); ) {
                                    if (performance.now() > end) throw new Error(`not in time: ${of}`);
                                    await new Promise((resolve) => setTimeout(resolve, 20));
                                }
                            };
                            const widget = document.querySelector('codex-voice-widget');
                            await until(() => widget.shadowRoot && window.voice?.client && widget.client === window.voice.client);
                            setCard(true);
                            await until(() => document.querySelectorAll('codex-voice-widget').length === 2);
                            const card = document.querySelectorAll('codex-voice-widget')[1];
                            await until(() => card.shadowRoot?.querySelector('[part=call]').checkVisibility() && card.client);
                            const words = card.shadowRoot.querySelector('[part=call]').textContent;
                            card.shadowRoot.querySelector('[part=call]').click();
                            await until(() => document.querySelector('#state').textContent === 'connected');
                            await voice.client.hangup();
                            await until(() => voice.state === 'idle');
                            return [problems, words, widget.languages.length, widget.getAttribute('position')];
                        })()",
                    )
                    .await?;
                assert_eq!(called, json!([[], "Начать разговор", 2, "bottom-left"]), "{version}");
            }
            voicebot.succeeded(STEP).await?;
            drop(edge);
            Ok(())
        })
        .await
}

/// What `POST /widget/token` answers; the time is the browser's.
async fn write_token(page: &mut Page, folder: &Path, user: &str, lasts: Duration) -> Fallible<()> {
    let expires = page.evaluate(&format!("new Date(Date.now() + {}).toISOString()", lasts.as_millis())).await?;
    let token = json!({ "username": user, "password": PASSWORD, "expires": expires, "applicationName": "voicebot" });
    Ok(tokio::fs::write(folder.join("token"), token.to_string()).await?)
}

fn sent_by(stage: &Stage, method: &str) -> Vec<TracedMessage> {
    stage.edge_trace().into_iter().filter(|message| message.first_line().starts_with(method)).collect()
}

#[tokio::test]
async fn credentials_are_fetched_when_they_are_needed_and_again_when_they_end() -> Result<(), Failure> {
    Scenario::new("credentials_are_fetched_when_they_are_needed_and_again_when_they_end", LIMIT)
        .play(async |stage| {
            let _media = Rtpengine::start(stage).await?;
            let mut edge = Kamailio::builder().with_rtpengine().start(stage).await?;
            let script = VoicebotScript::Answers { ringing: Duration::ZERO };
            let mut voicebot = Sipp::voicebot(script).calls(3).start(stage).await?;
            let folder = stage.folder().join("widget");
            tokio::fs::create_dir_all(&folder).await?;
            let web = site(&[("/widget/", folder.clone())], &[STRICT_POLICY]).await?;
            let browser = Chromium::builder().start(stage).await?;
            let mut page = browser.open(&web.url("/page/page.html")).await?;
            let mut config = keys(&edge, "170");
            for name in ["JAMBONZ_SIP_USERNAME", "JAMBONZ_SIP_PASSWORD", "TARGET_APPLICATION_NAME"] {
                config.as_object_mut().ok_or("no keys")?.remove(name);
            }
            config["TOKEN_URL"] = json!("/widget/token");
            let fetched = "performance.getEntriesByType('resource').filter((one) => one.name.endsWith('/widget/token')).length";
            // Nothing is fetched for a page that only loads, and what is wrong is said when it is asked for.
            let made = page
                .evaluate(&format!(
                    "(async () => {{
                        window.phone = new Phone(codex.createClient({config}));
                        await phone.client.ready;
                        const before = {fetched};
                        return [before, (await refusal(phone.client.startCall())).code];
                    }})()"
                ))
                .await?;
            assert_eq!(made, json!([0, "token_refused"]));
            for (answer, code) in [("{}", "token_invalid"), ("<html>", "token_invalid")] {
                tokio::fs::write(folder.join("token"), answer).await?;
                assert_eq!(page.evaluate("refusal(phone.client.startCall())").await?["code"], code, "{answer}");
            }
            assert!(stage.edge_trace().is_empty());
            let call = "(async () => {
                await phone.client.startCall();
                const { applicationName } = await phone.until('call', (e) => e.state === 'connected', 15000, window.since ?? 0);
                window.since = performance.now();
                await phone.client.hangup();
                await phone.until('call', (e) => e.state === 'idle', 15000, since);
                return applicationName;
            })()";
            write_token(&mut page, &folder, "170", Duration::from_secs(3600)).await?;
            assert_eq!(page.evaluate(call).await?, "voicebot");
            // They are good for another call.
            tokio::fs::remove_file(folder.join("token")).await?;
            assert_eq!(page.evaluate(call).await?, "voicebot");
            // Others, under another name, once these have ended: a client of its own, whose first ones are short.
            write_token(&mut page, &folder, "171", Duration::from_secs(31)).await?;
            page.evaluate(&format!("(async () => {{ await phone.client.destroy(); window.phone = new Phone(codex.createClient({config})); await phone.client.register(); }})()")).await?;
            assert_eq!(edge.contacts("171").await?.len(), 1);
            write_token(&mut page, &folder, "172", Duration::from_secs(3600)).await?;
            // It waits for calls, and so registers anew by itself.
            edge.has_contacts("172", 1, Duration::from_secs(10)).await?;
            edge.has_contacts("171", 0, Duration::from_secs(10)).await?;
            assert_eq!((edge.contacts("171").await?.len(), edge.contacts("172").await?.len()), (0, 1));
            assert_eq!(page.evaluate(call).await?, "voicebot");
            voicebot.succeeded(STEP).await?;
            let from = sent_by(stage, "INVITE").last().and_then(|m| m.header("From")).ok_or("no INVITE")?;
            assert!(from.contains("sip:172@"), "{from}");
            assert_eq!(page.evaluate("unhandled").await?, json!([]));
            Ok(())
        })
        .await
}

#[tokio::test]
async fn a_page_that_sleeps_goes_on_and_one_that_is_left_says_good_bye() -> Result<(), Failure> {
    Scenario::new("a_page_that_sleeps_goes_on_and_one_that_is_left_says_good_bye", LIMIT)
        .play(async |stage| {
            let _media = Rtpengine::start(stage).await?;
            let edge = Kamailio::builder().with_rtpengine().start(stage).await?;
            let mut voicebot = Baresip::builder().tone_hz(620.0).start(stage).await?;
            let web = site(&[], &[]).await?;
            let browser = Chromium::builder().start(stage).await?;
            let mut page = browser.open(&web.url("/page/page.html")).await?;
            let script = format!(
                "(async () => {{
                    window.phone = new Phone(codex.createClient({}));
                    await phone.client.startCall();
                    await phone.reaches('connected');
                }})()",
                keys(&edge, "170")
            );
            page.evaluate(&script).await?;
            // Another tab is in front of it for a while.
            let other = browser.open("about:blank").await?;
            page.command("Page.setWebLifecycleState", json!({ "state": "frozen" })).await?;
            tokio::time::sleep(Duration::from_secs(3)).await;
            page.command("Page.setWebLifecycleState", json!({ "state": "active" })).await?;
            page.command("Page.bringToFront", json!({})).await?;
            drop(other);
            // A page that is frozen loses its WebSocket; the client notices when it wakes, and the call has gone on.
            page.evaluate("phone.until('registration', (e) => e.state === 'registered', 15000, phone.events.findLast((e) => e.name === 'reconnecting')?.at ?? 0)").await?;
            let after = page.evaluate("(async () => [await phone.client.checkConnection(), phone.client.state])()").await?;
            assert_eq!(after, json!([true, "connected"]));
            page.evaluate("(async () => heard(await counted()))()").await?;
            // The machine has another network, as the browser tells it (in a namespace with loopback only it says that
            // there is none, always): the flow is made anew, the call goes on.
            let registers = sent_by(stage, "REGISTER").len();
            page.evaluate("dispatchEvent(new Event('online'))").await?;
            page.evaluate("phone.until('log', (e) => e.message === 'the network changed')").await?;
            page.evaluate("(async () => heard(await counted()))()").await?;
            assert!(sent_by(stage, "REGISTER").len() > registers, "it registered over the network that came");
            assert_eq!(page.evaluate("phone.client.state").await?, "connected");
            // The visitor leaves.
            page.go("about:blank").await?;
            voicebot.event("CALL_CLOSED", STEP).await?;
            for _ in 0..50 {
                if edge.contacts("170").await?.is_empty() {
                    break;
                }
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
            assert!(edge.contacts("170").await?.is_empty(), "it took its registration along");
            Ok(())
        })
        .await
}

#[tokio::test]
async fn a_microphone_that_is_taken_away_is_replaced_or_told() -> Result<(), Failure> {
    Scenario::new("a_microphone_that_is_taken_away_is_replaced_or_told", LIMIT)
        .play(async |stage| {
            let _media = Rtpengine::start(stage).await?;
            let edge = Kamailio::builder().with_rtpengine().start(stage).await?;
            let script = VoicebotScript::Answers { ringing: Duration::ZERO };
            let _voicebot = Sipp::voicebot(script).start(stage).await?;
            let web = site(&[], &[]).await?;
            let browser = Chromium::builder().start(stage).await?;
            let mut page = browser.open(&web.url("/page/page.html")).await?;
            let script = format!(
                "(async () => {{
                    window.phone = new Phone(codex.createClient({}));
                    window.states = [];
                    phone.client.on('microphone', (event) => states.push(event));
                    await phone.client.startCall();
                    await phone.reaches('connected');
                    await heard();
                    window.unplug = () => {{
                        const [track] = phone.client.getLocalMediaStream().getAudioTracks();
                        track.stop();
                        track.dispatchEvent(new Event('ended'));
                    }};
                    window.until = async (of) => {{ while (!of()) await new Promise((resolve) => setTimeout(resolve, 20)); }};
                }})()",
                keys(&edge, "170")
            );
            page.evaluate(&script).await?;
            // Another one is there.
            page.evaluate("(async () => { unplug(); await until(() => states.length > 0); })()").await?;
            assert_eq!(page.evaluate("states").await?, json!([{ "state": "replaced" }]));
            page.evaluate("(async () => heard(await counted()))()").await?;
            // None is; then one is plugged in.
            let lost = "(async () => {
                states.length = 0;
                const { mediaDevices } = navigator;
                const open = mediaDevices.getUserMedia;
                mediaDevices.getUserMedia = () => Promise.reject(new DOMException('', 'NotFoundError'));
                unplug();
                await until(() => states.length > 0);
                mediaDevices.getUserMedia = open;
                mediaDevices.dispatchEvent(new Event('devicechange'));
                await until(() => states.length > 1);
                await heard(await counted());
                return [states, phone.client.state];
            })()";
            assert_eq!(page.evaluate(lost).await?, json!([[{ "state": "lost", "code": "microphone_none" }, { "state": "replaced" }], "connected"]));
            page.evaluate("phone.client.hangup()").await?;
            assert_eq!(page.evaluate("unhandled").await?, json!([]));
            Ok(())
        })
        .await
}

#[tokio::test]
async fn each_fault_of_a_microphone_has_its_code() -> Result<(), Failure> {
    Scenario::new("each_fault_of_a_microphone_has_its_code", LIMIT)
        .play(async |stage| {
            let edge = Kamailio::builder().start(stage).await?;
            let web = site(&[], &["Permissions-Policy: microphone=()"]).await?;
            let browser = Chromium::builder().start(stage).await?;
            let mut page = browser.open(&web.url("/page/page.html")).await?;
            let called = format!(
                "(async () => {{
                    window.phone = new Phone(codex.createClient({}));
                    return (await refusal(phone.client.startCall())).code;
                }})()",
                keys(&edge, "170")
            );
            assert_eq!(page.evaluate(&called).await?, "microphone_policy");
            let free = site(&[], &[]).await?;
            page.go(&free.url("/page/page.html")).await?;
            page.evaluate(&called.replace("return (await refusal(phone.client.startCall())).code;", "")).await?;
            let codes = page
                .evaluate(
                    "(async () => {
                        const codes = [];
                        for (const [name, message] of [['NotFoundError', ''], ['OverconstrainedError', ''], ['NotReadableError', ''],
                            ['NotAllowedError', 'Permission denied by system'], ['TypeError', 'x']]) {
                            navigator.mediaDevices.getUserMedia = () => Promise.reject(new DOMException(message, name));
                            codes.push((await refusal(phone.client.startCall())).code);
                        }
                        return codes;
                    })()",
                )
                .await?;
            let expected: Value = json!(["microphone_none", "microphone_none", "microphone_in_use", "microphone_system", "microphone"]);
            assert_eq!(codes, expected);
            // Each has words in both languages.
            let help = page
                .evaluate(
                    "(async () => {
                        const { microphoneHelp } = await import('/package/help.js');
                        const codes = ['denied', 'policy', 'system', 'none', 'in_use', 'insecure'].map((one) => `microphone_${one}`);
                        return ['en', 'ru'].every((locale) => codes.every((code) => microphoneHelp(code, locale).remedy.length > 20));
                    })()",
                )
                .await?;
            assert_eq!(help, json!(true));
            Ok(())
        })
        .await
}
