//! Calls from a page: the npm package in Chromium, through Kamailio over WSS and rtpengine.

use std::path::PathBuf;
use std::time::Duration;

use codex_e2e::peers::{APPLICATION, Chromium, Kamailio, PASSWORD, Page, REALM, Rtpengine, Sipp, VoicebotScript};
use codex_e2e::scenario::{Failure, Fallible, Scenario};
use codex_e2e::sipp_log::LoggedMessage;
use codex_e2e::web_site::WebSite;
use serde_json::{Value, json};

const LIMIT: Duration = Duration::from_secs(90);
const STEP: Duration = Duration::from_secs(15);

/// What the older guide shows.
const CUSTOMER: &str = r#"{"clientId":"user_12345","clientName":"Иван Иванов","callType":"webcall","sessionId":"session_abc123","timestamp":"2025-11-14T12:00:00Z","location":{"country":"RU","city":"Moscow"},"customFields":{"department":"Отдел продаж","priority":"high"}}"#;

/// The package as `cargo xtask web` builds it, and the page that uses it.
async fn site() -> Fallible<WebSite> {
    let here = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    let package = here.join("../web-widget/npm/dist");
    if !package.join("index.js").is_file() {
        return Err("the npm package is not built: cargo xtask web".into());
    }
    Ok(WebSite::start(&[("/package/", package), ("/page/", here.join("browser"))], &[]).await?)
}

/// The configuration of the older guide, for this edge.
fn keys(edge: &Kamailio, user: &str) -> Value {
    json!({
        "JAMBONZ_SIP_DOMAIN": REALM,
        "JAMBONZ_WSS_ADDRESS": edge.wss_url(),
        "JAMBONZ_SIP_USERNAME": user,
        "JAMBONZ_SIP_PASSWORD": PASSWORD,
        "TARGET_SIP_URI": format!("sip:{APPLICATION}@{REALM}"),
        "TARGET_APPLICATION_NAME": "voicebot",
        "DEFAULT_LANG": "ru",
        "FALLBACK_LANG": "en",
        "CUSTOMER_DATA": CUSTOMER,
    })
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
