//! Calls whose signalling breaks under them: the edge dies and comes back, the connection is cut, or goes silent. The call
//! stays, nothing is missed in the audio, and the far end finds the new way to us.

use std::time::Duration;

use codex_core_sip::event::{CallState, Event, RegistrationState};
use codex_e2e::cut::CutProxy;
use codex_e2e::peers::{Kamailio, Rtpengine, Sipp, VoicebotScript, ports};
use codex_e2e::phone::Phone;
use codex_e2e::scenario::{Failure, Fallible, Scenario, Stage};

const LIMIT: Duration = Duration::from_secs(90);
const STEP: Duration = Duration::from_secs(20);
/// What the phone says, and hears back from the voicebot.
const TONE_HZ: f64 = 1000.0;
/// After the re-INVITE the far end talks on for so long.
const TALKING: Duration = Duration::from_secs(1);
/// Silence that the ear takes for none: a lost packet or two on a busy machine.
const NO_GAP: Duration = Duration::from_millis(200);

/// The voicebot has hung up along the new way; nothing was missed up to then.
async fn is_hung_up_on(stage: &Stage, mut phone: Phone, mut voicebot: Sipp) -> Fallible<()> {
    phone.hears(TONE_HZ, STEP).await?;
    let gap = phone.longest_silence();
    stage.figure("audio gap", &format!("{} ms", gap.as_millis()));
    let ended = phone.reaches(CallState::Ended, STEP).await?;
    assert_eq!((ended.cause_code, ended.error), (Some(16), None), "the far end's BYE has found us");
    voicebot.succeeded(STEP).await?;
    assert!(gap < NO_GAP, "{gap:?}");
    phone.reaches(CallState::Idle, STEP).await?;
    Ok(())
}

fn reconnecting(event: &Event) -> Option<()> {
    matches!(event, Event::Reconnecting(_)).then_some(())
}

#[tokio::test]
async fn a_call_survives_the_death_of_the_edge() -> Result<(), Failure> {
    Scenario::new("a_call_survives_the_death_of_the_edge", LIMIT)
        .play(async |stage| {
            let _media = Rtpengine::start(stage).await?;
            let mut edge = Kamailio::builder().with_rtpengine().start(stage).await?;
            let script = VoicebotScript::HangsUpAfterReinvite { talking: TALKING };
            let voicebot = Sipp::voicebot(script).start(stage).await?;
            let mut phone = Phone::builder(stage, &edge).build()?;
            phone.call(STEP).await?;
            phone.hears(TONE_HZ, STEP).await?;
            let _before = phone.longest_silence();
            edge.kill();
            phone.event("the loss of the edge", STEP, reconnecting).await?;
            // The audio goes past the edge.
            phone.hears(TONE_HZ, STEP).await?;
            edge.start_again().await?;
            phone.registration(RegistrationState::Registered, STEP).await?;
            assert_eq!(phone.client().state(), CallState::Connected);
            is_hung_up_on(stage, phone, voicebot).await
        })
        .await
}

#[tokio::test]
async fn a_call_survives_a_cut_connection() -> Result<(), Failure> {
    Scenario::new("a_call_survives_a_cut_connection", LIMIT)
        .play(async |stage| {
            let _media = Rtpengine::start(stage).await?;
            let edge = Kamailio::builder().with_rtpengine().start(stage).await?;
            let line = CutProxy::to(ports::EDGE_WS).await?;
            let script = VoicebotScript::HangsUpAfterReinvite { talking: TALKING };
            let voicebot = Sipp::voicebot(script).start(stage).await?;
            let mut phone =
                Phone::builder(stage, &edge).configure(|config| config.wss_server = line.ws_url()).build()?;
            phone.call(STEP).await?;
            phone.hears(TONE_HZ, STEP).await?;
            let _before = phone.longest_silence();
            line.cut();
            phone.event("the loss of the connection", STEP, reconnecting).await?;
            phone.registration(RegistrationState::Registered, STEP).await?;
            is_hung_up_on(stage, phone, voicebot).await
        })
        .await
}

#[tokio::test]
async fn a_call_survives_a_connection_that_goes_silent() -> Result<(), Failure> {
    Scenario::new("a_call_survives_a_connection_that_goes_silent", LIMIT)
        .play(async |stage| {
            let _media = Rtpengine::start(stage).await?;
            let edge = Kamailio::builder().with_rtpengine().start(stage).await?;
            let line = CutProxy::to(ports::EDGE_WS).await?;
            let script = VoicebotScript::HangsUpAfterReinvite { talking: TALKING };
            let voicebot = Sipp::voicebot(script).start(stage).await?;
            let interval = Duration::from_secs(2);
            let mut phone = Phone::builder(stage, &edge)
                .configure(|config| {
                    config.wss_server = line.ws_url();
                    config.keep_alive_interval = Some(interval);
                })
                .build()?;
            phone.call(STEP).await?;
            phone.hears(TONE_HZ, STEP).await?;
            let _before = phone.longest_silence();
            line.hold();
            // Within the interval and 10 s, and one second for a slow machine.
            phone.event("the loss of the connection", interval + Duration::from_secs(11), reconnecting).await?;
            phone.registration(RegistrationState::Registered, STEP).await?;
            is_hung_up_on(stage, phone, voicebot).await
        })
        .await
}
