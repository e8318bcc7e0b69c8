//! The element in a page with a strict Content-Security-Policy, by a person's path: pointer, keyboard, incoming calls.

use std::time::Duration;

use codex_e2e::npm_package::{STRICT_POLICY, site};
use codex_e2e::peers::{
    APPLICATION, Baresip, CallerScript, Chromium, Kamailio, PASSWORD, Page, REALM, Rtpengine, Sipp, VoicebotScript,
};
use codex_e2e::scenario::{Failure, Fallible, Scenario};
use serde_json::{Value, json};

const LIMIT: Duration = Duration::from_secs(120);
const STEP: Duration = Duration::from_secs(15);
const ELEMENT: &str = "codex-voice-widget";
const CUSTOMER: &str = r#"{"clientName":"Иван Иванов","callType":"webcall"}"#;

/// The element for this edge, with some attributes more.
async fn mount(page: &mut Page, edge: &Kamailio, user: &str, more: &Value) -> Fallible<()> {
    let mut attributes = json!({
        "id": format!("of-{user}"), "sip-domain": REALM, "wss-address": edge.wss_url(), "sip-username": user,
        "target-uri": format!("sip:{APPLICATION}@{REALM}"), "application-name": "voicebot", "customer-data": CUSTOMER,
        "consent": "",
    });
    for (name, value) in more.as_object().into_iter().flatten() {
        attributes[name] = value.clone();
    }
    let script = format!(
        "(async () => {{ mount({attributes}, {{ password: '{PASSWORD}' }}); await until(() => seen('card') || seen('launcher')); }})()"
    );
    page.evaluate(&script).await?;
    Ok(())
}

/// Nothing went wrong beside what the scenario looked at.
async fn quiet(page: &mut Page) -> Fallible<()> {
    assert_eq!(page.evaluate("violations").await?, json!([]));
    assert_eq!(page.evaluate("unhandled").await?, json!([]));
    let foreign = "performance.getEntriesByType('resource').map((one) => one.name).filter((one) => !one.startsWith(location.origin))";
    assert_eq!(page.evaluate(foreign).await?, json!([]), "the element asks nobody else");
    Ok(())
}

#[tokio::test]
async fn a_visitor_calls_talks_presses_keys_and_calls_again() -> Result<(), Failure> {
    Scenario::new("a_visitor_calls_talks_presses_keys_and_calls_again", LIMIT)
        .play(async |stage| {
            let _media = Rtpengine::start(stage).await?;
            let edge = Kamailio::builder().with_rtpengine().start(stage).await?;
            let mut voicebot = Baresip::builder().tone_hz(620.0).start(stage).await?;
            let site = site(&[], &[STRICT_POLICY]).await?;
            let browser = Chromium::builder().start(stage).await?;
            let mut page = browser.open(&site.url("/page/element.html")).await?;
            mount(&mut page, &edge, "170", &json!({ "language": "en" })).await?;
            assert_eq!(page.evaluate("[seen('card'), text('launcher')]").await?, json!([false, "Talk to us"]));
            // Nothing goes over the network for a visitor who does nothing.
            assert!(stage.edge_trace().is_empty());
            page.click_in(ELEMENT, "[part=launcher]").await?;
            page.evaluate("until(() => seen('call'))").await?;
            assert_eq!(page.evaluate("[seen('consent'), streams.length, events.length]").await?, json!([true, 0, 0]));
            page.click_in(ELEMENT, "[part=call]").await?;
            page.evaluate("reaches('connected')").await?;
            let invites = stage.edge_trace();
            let invite = invites.iter().find(|m| m.first_line().starts_with("INVITE")).ok_or("no INVITE")?;
            assert_eq!(invite.header("X-Customer-Data").as_deref(), Some(CUSTOMER));
            assert_eq!(invite.header("X-Lang").as_deref(), Some("en"));
            let told = page.evaluate("events.find((e) => e.name === 'codex-call' && e.state === 'connected')").await?;
            assert_eq!((&told["id"], &told["applicationName"]), (&json!("of-170"), &json!("voicebot")), "{told}");
            // Both meters move, and time goes by.
            let meter = |which: &str| {
                format!("until(() => Number(part('{which}').style.getPropertyValue('--level')) > 0.1, '{which}')")
            };
            page.evaluate(&meter("meter-microphone")).await?;
            page.evaluate(&meter("meter-speaker")).await?;
            page.evaluate("until(() => text('timer') === '0:02')").await?;
            page.click_in(ELEMENT, "[part=mute]").await?;
            let muted = "[part('mute').getAttribute('aria-pressed'), streams.at(-1).getAudioTracks()[0].enabled]";
            assert_eq!(page.evaluate(muted).await?, json!(["true", false]));
            page.click_in(ELEMENT, "[part=mute]").await?;
            assert_eq!(page.evaluate(muted).await?, json!(["false", true]));
            for (pressed, status) in [("true", "The call is on hold"), ("false", "You are connected")] {
                page.click_in(ELEMENT, "[part=hold]").await?;
                let shown =
                    format!("until(() => part('hold').getAttribute('aria-pressed') === '{pressed}' && text('status'))");
                assert_eq!(page.evaluate(&shown).await?, status);
            }
            page.click_in(ELEMENT, "[part=keypad-toggle]").await?;
            page.click_in(ELEMENT, "[data-key='5']").await?;
            page.click_in(ELEMENT, "[data-key='#']").await?;
            voicebot.keyed("5#", STEP).await?;
            assert_eq!(voicebot.digits(), "5#");
            page.click_in(ELEMENT, "[part~=hangup]").await?;
            voicebot.event("CALL_CLOSED", STEP).await?;
            page.evaluate("reaches('ended')").await?;
            assert_eq!(page.evaluate("text('call')").await?, "Call again");
            // Who has called is not rung by others afterwards.
            page.evaluate(
                "until(() => events.some((e) => e.name === 'codex-registration' && e.state === 'unregistered'))",
            )
            .await?;
            assert!(edge.contacts("170").await?.is_empty());
            page.click_in(ELEMENT, "[part=call]").await?;
            page.evaluate("reaches('connected')").await?;
            page.click_in(ELEMENT, "[part~=hangup]").await?;
            page.evaluate("reaches('ended')").await?;
            let left = "[connections.every((one) => one.signalingState === 'closed'), \
                streams.every((one) => one.getTracks().every((track) => track.readyState === 'ended'))]";
            assert_eq!(page.evaluate(left).await?, json!([true, true]));
            page.evaluate("document.querySelector('codex-voice-widget').remove()").await?;
            quiet(&mut page).await
        })
        .await
}

#[tokio::test]
async fn a_visitor_without_a_pointer_does_everything_by_keyboard() -> Result<(), Failure> {
    Scenario::new("a_visitor_without_a_pointer_does_everything_by_keyboard", LIMIT)
        .play(async |stage| {
            let _media = Rtpengine::start(stage).await?;
            let edge = Kamailio::builder().with_rtpengine().start(stage).await?;
            let voicebot = Sipp::voicebot(VoicebotScript::Answers { ringing: Duration::ZERO }).start(stage).await?;
            let site = site(&[], &[STRICT_POLICY]).await?;
            let browser = Chromium::builder().start(stage).await?;
            let mut page = browser.open(&site.url("/page/element.html")).await?;
            mount(&mut page, &edge, "170", &json!({})).await?;
            // The page's link comes first.
            page.press("Tab").await?;
            page.press("Tab").await?;
            assert_eq!(page.evaluate("focused()").await?, "launcher");
            page.press("Enter").await?;
            assert_eq!(page.evaluate("until(() => focused() === 'card' && 'card')").await?, "card");
            page.press("Escape").await?;
            assert_eq!(
                page.evaluate("until(() => focused() === 'launcher' && [seen('card'), focused()])").await?,
                json!([false, "launcher"])
            );
            page.press("Enter").await?;
            page.evaluate("until(() => focused() === 'card')").await?;
            for expected in ["language", "close", "call"] {
                page.press("Tab").await?;
                assert_eq!(page.evaluate("focused()").await?, expected);
            }
            page.press("Enter").await?;
            page.evaluate("reaches('connected')").await?;
            // What had the focus is gone; it went to what took its place.
            assert_eq!(page.evaluate("until(() => ['mute', 'hangup'].includes(focused()) && 'there')").await?, "there");
            page.evaluate("part('mute').focus()").await?;
            page.press("Tab").await?;
            assert_eq!(page.evaluate("focused()").await?, "keypad-toggle");
            page.press("Enter").await?;
            page.press("7").await?;
            assert_eq!(page.evaluate("[seen('keypad'), focused()]").await?, json!([true, "key"]));
            page.evaluate("part('hold').focus()").await?;
            page.press("Tab").await?;
            page.press("Enter").await?;
            page.evaluate("reaches('ended')").await?;
            assert_eq!(page.evaluate("focused()").await?, "call");
            drop(voicebot);
            quiet(&mut page).await
        })
        .await
}

#[tokio::test]
async fn a_call_comes_in_where_it_is_asked_for_and_is_answered() -> Result<(), Failure> {
    Scenario::new("a_call_comes_in_where_it_is_asked_for_and_is_answered", LIMIT)
        .play(async |stage| {
            let _media = Rtpengine::start(stage).await?;
            let edge = Kamailio::builder().with_rtpengine().start(stage).await?;
            let site = site(&[], &[STRICT_POLICY]).await?;
            let browser = Chromium::builder().start(stage).await?;
            let mut page = browser.open(&site.url("/page/element.html")).await?;
            mount(&mut page, &edge, "user_12345", &json!({ "incoming": "", "locale": "ru" })).await?;
            page.evaluate(
                "until(() => events.some((e) => e.name === 'codex-registration' && e.state === 'registered'))",
            )
            .await?;
            let caller = Sipp::caller(CallerScript::Talks { talking: Duration::from_secs(4) }, "user_12345");
            let caller = caller.customer_data(r#"{"clientName":"Мария Петрова","callType":"callback"}"#);
            let mut caller = caller.start(stage).await?;
            page.evaluate("reaches('incoming')").await?;
            let shown = page.evaluate("[seen('card'), text('status'), text('detail'), text('accept')]").await?;
            assert_eq!(shown, json!([true, "Входящий звонок", "Мария Петрова", "Ответить"]));
            assert_eq!(page.evaluate("events.filter((e) => e.name === 'codex-incoming').length").await?, json!(1));
            page.click_in(ELEMENT, "[part~=accept]").await?;
            page.evaluate("reaches('connected')").await?;
            page.evaluate("reaches('ended')").await?;
            caller.succeeded(STEP).await?;
            // It is there for the next one.
            assert_eq!(edge.contacts("user_12345").await?.len(), 1);
            quiet(&mut page).await
        })
        .await
}

#[tokio::test]
async fn a_blocked_microphone_is_explained_and_no_invite_goes_out() -> Result<(), Failure> {
    Scenario::new("a_blocked_microphone_is_explained_and_no_invite_goes_out", LIMIT)
        .play(async |stage| {
            let edge = Kamailio::builder().start(stage).await?;
            let site = site(&[], &[STRICT_POLICY]).await?;
            let browser = Chromium::builder().denies_microphone().start(stage).await?;
            let mut page = browser.open(&site.url("/page/element.html")).await?;
            for (locale, problem) in [("ru", "Доступ к микрофону запрещён"), ("en", "The microphone is blocked")]
            {
                mount(&mut page, &edge, "170", &json!({ "locale": locale, "variant": "card" })).await?;
                page.click_in(ELEMENT, "[part=call]").await?;
                page.evaluate("reaches('failed')").await?;
                let help = page.evaluate("[seen('help'), text('help')]").await?;
                assert_eq!(help[0], true);
                assert!(
                    help[1].as_str().is_some_and(|text| text.starts_with(problem) && text.len() > problem.len() + 20),
                    "{help}"
                );
                let told = page.evaluate("until(() => events.find((e) => e.name === 'codex-error'))").await?;
                assert_eq!(told["code"], "microphone_denied", "{told}");
                page.evaluate("events.length = 0; document.querySelector('codex-voice-widget').remove()").await?;
            }
            assert!(!stage.edge_trace().iter().any(|m| m.first_line().starts_with("INVITE")));
            quiet(&mut page).await
        })
        .await
}

#[tokio::test]
async fn two_elements_of_a_page_call_side_by_side() -> Result<(), Failure> {
    Scenario::new("two_elements_of_a_page_call_side_by_side", LIMIT)
        .play(async |stage| {
            let _media = Rtpengine::start(stage).await?;
            let edge = Kamailio::builder().with_rtpengine().start(stage).await?;
            let script = VoicebotScript::Answers { ringing: Duration::ZERO };
            let mut voicebot = Sipp::voicebot(script).calls(2).start(stage).await?;
            let site = site(&[], &[STRICT_POLICY]).await?;
            let browser = Chromium::builder().start(stage).await?;
            let mut page = browser.open(&site.url("/page/element.html")).await?;
            for user in ["170", "user_12345"] {
                mount(&mut page, &edge, user, &json!({ "variant": "card" })).await?;
            }
            page.click_in("#of-170", "[part=call]").await?;
            page.evaluate("document.querySelector('#of-user_12345').scrollIntoView()").await?;
            page.click_in("#of-user_12345", "[part=call]").await?;
            let both = "(async () => {
                const [one, other] = document.querySelectorAll('codex-voice-widget');
                await reaches('connected', one);
                await reaches('connected', other);
                const tags = events.filter((e) => e.state === 'connected').map((e) => e.tag);
                await one.hangup();
                await reaches('ended', one);
                return [new Set(tags).size, phase(other), one.client !== other.client];
            })()";
            assert_eq!(page.evaluate(both).await?, json!([2, "connected", true]));
            page.evaluate("document.querySelector('#of-user_12345').hangup()").await?;
            voicebot.succeeded(STEP).await?;
            // Each registered with an instance of its own.
            let registers: Vec<_> =
                stage.edge_trace().into_iter().filter(|m| m.first_line().starts_with("REGISTER")).collect();
            let mut instances: Vec<String> = registers
                .iter()
                .filter_map(|m| {
                    Some(m.header("Contact")?.split("+sip.instance=").nth(1)?.split(';').next()?.to_owned())
                })
                .collect();
            instances.sort();
            instances.dedup();
            assert_eq!(instances.len(), 2, "{instances:?}");
            quiet(&mut page).await
        })
        .await
}
