//! What one call costs: processor time and memory of this process, which holds client, media engine and nothing else of
//! weight (peers are processes of their own).

use std::fs;
use std::time::Duration;

use codex_core_sip::event::{CallState, Event};
use codex_e2e::peers::{Kamailio, Rtpengine, Sipp, VoicebotScript};
use codex_e2e::phone::Phone;
use codex_e2e::scenario::{Failure, Fallible, Scenario};
use tokio::time::Instant;

const LIMIT: Duration = Duration::from_secs(60);
const STEP: Duration = Duration::from_secs(15);
/// How long the call is held at least.
const HELD: Duration = Duration::from_secs(20);
/// `USER_HZ`, the unit of time in `/proc/self/stat`: 100 on every Linux.
const TICKS_PER_SECOND: f64 = 100.0;

#[expect(clippy::disallowed_methods, reason = "figures are measured by the real clock")]
fn now() -> Instant {
    Instant::now()
}

/// Processor time, user and system, since the process began, in seconds.
fn processor_seconds() -> Fallible<f64> {
    let stat = fs::read_to_string("/proc/self/stat")?;
    // The second field, the name in parentheses, may hold blanks; utime and stime are fields 14 and 15.
    let (_, rest) = stat.rsplit_once(')').ok_or("no name in /proc/self/stat")?;
    let mut fields = rest.split_ascii_whitespace().skip(11);
    let mut ticks = || Fallible::Ok(fields.next().ok_or("/proc/self/stat is too short")?.parse::<f64>()?);
    Ok((ticks()? + ticks()?) / TICKS_PER_SECOND)
}

/// Resident memory, in KiB.
fn resident_kib() -> Fallible<u64> {
    let status = fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).ok_or("no VmRSS")?;
    Ok(line.trim().trim_end_matches("kB").trim().parse()?)
}

#[tokio::test]
async fn what_one_call_costs() -> Result<(), Failure> {
    Scenario::new("what_one_call_costs", LIMIT)
        .play(async |stage| {
            let _media = Rtpengine::start(stage).await?;
            let edge = Kamailio::builder().with_rtpengine().start(stage).await?;
            let mut voicebot = Sipp::voicebot(VoicebotScript::Answers { ringing: Duration::ZERO }).start(stage).await?;
            let mut phone = Phone::builder(stage, &edge).build()?;
            phone.client().register().await?;
            let idle_kib = resident_kib()?;
            phone.call(STEP).await?;
            phone.hears(1000.0, STEP).await?;
            let (begin, processor) = (now(), processor_seconds()?);
            // Reports come every 5 s.
            while begin.elapsed() < HELD {
                let report = |event: &Event| matches!(event, Event::Metrics(_)).then_some(());
                phone.event("metrics", STEP, report).await?;
            }
            let (seconds, processor) = (begin.elapsed().as_secs_f64(), processor_seconds()? - processor);
            let call_kib = resident_kib()?;
            let share = 100.0 * processor / seconds;
            let profile = if cfg!(debug_assertions) { "debug build" } else { "release build" };
            stage.figure("processor", &format!("{share:.1} % of a core over {seconds:.1} s ({profile})"));
            stage.figure("memory", &format!("{idle_kib} KiB registered, {call_kib} KiB in the call ({profile})"));
            // Far above what is measured: a busy loop or a leak shows, another machine does not.
            assert!(share < 40.0, "{share} % of a core");
            assert!(call_kib < idle_kib + 32 * 1024, "{idle_kib} KiB became {call_kib} KiB");
            phone.client().hangup(None).await?;
            phone.reaches(CallState::Ended, STEP).await?;
            voicebot.succeeded(STEP).await?;
            Ok(())
        })
        .await
}
