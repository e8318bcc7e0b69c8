//! Calls whose media break under them: the machine gets another address, the media relay is restarted. Nobody tells the
//! client; it notices, and the call goes on over a new path.

use std::process::Command;
use std::time::Duration;

use codex_core_sip::event::{CallState, Event};
use codex_e2e::peers::{Kamailio, PeerError, Rtpengine, Sipp, VoicebotScript};
use codex_e2e::phone::Phone;
use codex_e2e::scenario::{Failure, Fallible, Scenario};

const LIMIT: Duration = Duration::from_secs(90);
const STEP: Duration = Duration::from_secs(20);
const TONE_HZ: f64 = 1000.0;
/// From the re-INVITE to the voicebot's BYE: time to hear that the audio is back.
const TALKING: Duration = Duration::from_secs(4);
/// What a change of address may cost, from the change on.
const LONGEST_GAP: Duration = Duration::from_millis(1500);

/// Gives an address to the loopback device of this network namespace, or takes it away.
fn address(action: &str, address: &str) -> Fallible<()> {
    let output = Command::new("ip").args(["addr", action, &format!("{address}/32"), "dev", "lo"]).output();
    let output = output.map_err(|_| PeerError::Missing { command: "ip", package: "iproute2" })?;
    if output.status.success() {
        return Ok(());
    }
    Err(format!("ip addr {action} {address}: {}", String::from_utf8_lossy(&output.stderr)).into())
}

/// Takes its address back however a scenario ends.
struct Address(&'static str);

impl Address {
    fn new(text: &'static str) -> Fallible<Address> {
        address("add", text)?;
        Ok(Address(text))
    }
}

impl Drop for Address {
    fn drop(&mut self) {
        // It may have been taken away already, which is what is wanted.
        let _taken = address("del", self.0);
    }
}

#[tokio::test]
async fn a_call_moves_to_the_address_that_the_machine_gets() -> Result<(), Failure> {
    Scenario::new("a_call_moves_to_the_address_that_the_machine_gets", LIMIT)
        .play(async |stage| {
            let before = Address::new("10.77.0.2")?;
            let _media = Rtpengine::start(stage).await?;
            let edge = Kamailio::builder().with_rtpengine().start(stage).await?;
            let script = VoicebotScript::HangsUpAfterReinvite { talking: TALKING };
            let mut voicebot = Sipp::voicebot(script).start(stage).await?;
            let mut phone = Phone::builder(stage, &edge).all_addresses().build()?;
            phone.call(STEP).await?;
            phone.hears(TONE_HZ, STEP).await?;
            let _before = phone.longest_silence();
            drop(before);
            let _after = Address::new("10.77.0.3")?;
            let reinvite = phone.event("the change of network", STEP, |event| {
                matches!(event, Event::Log(log) if log.message == "the network changed").then_some(())
            });
            reinvite.await?;
            voicebot.received("INVITE", STEP).await?;
            let moved =
                |event: &Event| matches!(event, Event::Log(log) if log.message == "first audio packet").then_some(());
            phone.event("audio on the new path", STEP, moved).await?;
            phone.hears(TONE_HZ, STEP).await?;
            let gap = phone.longest_silence();
            stage.figure("audio gap", &format!("{} ms", gap.as_millis()));
            assert_eq!(phone.client().state(), CallState::Connected);
            assert!(gap < LONGEST_GAP, "{gap:?}");
            let ended = phone.reaches(CallState::Ended, STEP).await?;
            assert_eq!((ended.cause_code, ended.error), (Some(16), None));
            voicebot.succeeded(STEP).await?;
            Ok(())
        })
        .await
}

#[tokio::test]
async fn a_call_goes_on_after_the_media_relay_is_restarted() -> Result<(), Failure> {
    Scenario::new("a_call_goes_on_after_the_media_relay_is_restarted", LIMIT)
        .play(async |stage| {
            let media = Rtpengine::start(stage).await?;
            let edge = Kamailio::builder().with_rtpengine().start(stage).await?;
            let script = VoicebotScript::HangsUpAfterReinvite { talking: TALKING };
            let mut voicebot = Sipp::voicebot(script).start(stage).await?;
            let mut phone = Phone::builder(stage, &edge).build()?;
            phone.call(STEP).await?;
            phone.hears(TONE_HZ, STEP).await?;
            let _before = phone.longest_silence();
            drop(media);
            let _media = Rtpengine::start(stage).await?;
            let restarted = |event: &Event| {
                matches!(event, Event::Log(log) if log.message == "the media are restarted").then_some(())
            };
            phone.event("the restart of the media", STEP, restarted).await?;
            let moved =
                |event: &Event| matches!(event, Event::Log(log) if log.message == "first audio packet").then_some(());
            phone.event("audio on the new path", STEP, moved).await?;
            phone.hears(TONE_HZ, STEP).await?;
            stage.figure("audio gap", &format!("{} ms", phone.longest_silence().as_millis()));
            assert_eq!(phone.client().state(), CallState::Connected);
            let ended = phone.reaches(CallState::Ended, STEP).await?;
            assert_eq!((ended.cause_code, ended.error), (Some(16), None));
            voicebot.succeeded(STEP).await?;
            Ok(())
        })
        .await
}
