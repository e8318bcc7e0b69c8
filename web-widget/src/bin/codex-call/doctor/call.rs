//! The test call: a tone goes out, something has to come back.

use std::time::Duration;

use codex_core_sip::client::{EventStream, StartCall};
use codex_core_sip::event::{CallState, Event, MetricsEvent};
use codex_core_sip::metadata::LanguageTag;
use codex_core_sip::{Error, Locale, MediaFault};
use codex_web_widget::Text;
use tokio::time::timeout;

use super::TONE_HZ;
use super::report::{Check, Report};
use crate::exit::Kind;
use crate::explanation::Explanation;
use crate::line::Line;
use crate::sound::{HEARD_MS, Sound};
use crate::task::now;

/// How long the far end may ring.
const ANSWER_LIMIT: Duration = Duration::from_secs(30);
/// How long an application may take to say something, and the far end to report what it receives: RTCP comes every 5 s
/// at least (RFC 3550 §6.2).
const LISTEN_LIMIT: Duration = Duration::from_secs(8);
/// Once something is heard, so much more is listened to.
const GLANCE: Duration = Duration::from_millis(100);
/// Sound for so long, and it is known whether it is our own tone. Lost packets may tear the tone at times.
const ENOUGH_MS: u64 = 2500;
/// What share of what is heard must lie at our tone's frequency for it to be our own tone.
const ECHO_SHARE: f64 = 0.5;

pub(super) async fn check(report: &mut Report<'_>, line: &Line, sound: &Sound, language: LanguageTag) {
    let mut events = line.client.events();
    let start = now();
    let call = StartCall { language: Some(language), ..StartCall::default() };
    if let Err(error) = line.client.start_call(call).await {
        return report.error(Check::Call, &error);
    }
    match timeout(ANSWER_LIMIT, answered(&mut events)).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => return report.error(Check::Call, &error),
        Err(_) => return report.error(Check::Call, &Error::Timeout { operation: "INVITE", after: ANSWER_LIMIT }),
    }
    let set_up = start.elapsed().as_millis();
    let mut metrics = None;
    let mut echo = false;
    let heard = timeout(LISTEN_LIMIT, listen(&mut events, sound, &mut metrics, &mut echo)).await;
    if let Ok(Err(error)) = &heard {
        return report.error(Check::Call, error);
    }
    let heard_ms = sound.loud().milliseconds;
    // The far end may have ended the call meanwhile.
    let _over = line.client.hangup(None).await;
    if heard_ms < HEARD_MS {
        return silent(report, metrics.as_ref());
    }
    let number = |value: Option<f64>| value.map_or_else(|| "–".to_owned(), |value| format!("{value:.0}"));
    let rtt = number(metrics.as_ref().and_then(|metrics| metrics.rtt_ms));
    let evidence = if echo {
        Text::fixed("our tone came back: audio flows both ways", "наш тон вернулся: звук идёт в обе стороны")
    } else {
        evidence(metrics.as_ref())
    };
    let (en, ru) = (evidence.in_locale(Locale::En), evidence.in_locale(Locale::Ru));
    report.fine(
        Check::Call,
        &Text::new(
            format!("answered after {set_up} ms; {en}; RTT {rtt} ms"),
            format!("ответ через {set_up} мс; {ru}; RTT {rtt} мс"),
        ),
    );
}

/// What is known of the way to a far end that does not send our tone back.
fn evidence(metrics: Option<&MetricsEvent>) -> Text {
    let reported = metrics.and_then(|metrics| metrics.far_end_packets_received.zip(metrics.packets_sent));
    let Some((got, sent)) = reported else {
        return Text::fixed(
            "we hear the far end; whether it hears us only it can say: it neither sends our tone back nor reports what it receives (RTCP)",
            "собеседника слышно; слышит ли он нас, видно только на его стороне: наш тон он не возвращает и о полученном не сообщает (RTCP)",
        );
    };
    let loss = metrics.and_then(|metrics| metrics.far_end_loss_percent).unwrap_or_default();
    Text::new(
        format!(
            "audio flows both ways: we hear the far end, and by its own report (RTCP) it got {got} of our {sent} packets (last loss {loss:.0} %); what the application behind it hears only that can say"
        ),
        format!(
            "звук идёт в обе стороны: собеседника слышно, и он сообщает (RTCP), что получил наших пакетов: {got} из {sent} (последние потери {loss:.0} %); что слышит приложение за ним, видно только там"
        ),
    )
}

/// Until the call is up.
async fn answered(events: &mut EventStream) -> Result<(), Error> {
    loop {
        match events.next().await.ok_or(Error::Destroyed)? {
            Event::Call(call) if call.state == CallState::Connected => return Ok(()),
            Event::Call(call) if matches!(call.state, CallState::Ended | CallState::Error) => {
                let unknown = Error::WrongState { operation: "call", problem: "it ended before it was up" };
                return Err(call.error.unwrap_or(unknown));
            }
            _ => {}
        }
    }
}

/// Until our own tone came back, enough of anything else was heard and the far end has reported what it receives, or it
/// hangs up.
async fn listen(
    events: &mut EventStream,
    sound: &Sound,
    metrics: &mut Option<MetricsEvent>,
    echo: &mut bool,
) -> Result<(), Error> {
    let mut glance = tokio::time::interval(GLANCE);
    loop {
        tokio::select! {
            event = events.next() => match event.ok_or(Error::Destroyed)? {
                Event::Metrics(event) => *metrics = Some(event),
                Event::Call(call) if call.state == CallState::Error => {
                    return Err(call.error.unwrap_or(Error::Media { fault: MediaFault::IceFailed }));
                }
                Event::Call(call) if call.state == CallState::Ended => return Ok(()),
                _ => {}
            },
            _ = glance.tick() => {
                let milliseconds = sound.loud().milliseconds;
                *echo |= milliseconds >= HEARD_MS && sound.heard.tone_share(TONE_HZ) > ECHO_SHARE;
                let reported = metrics.as_ref().is_some_and(|metrics| metrics.far_end_packets_received.is_some());
                if *echo || (milliseconds >= ENOUGH_MS && reported) {
                    return Ok(());
                }
            }
        }
    }
}

fn silent(report: &mut Report<'_>, metrics: Option<&MetricsEvent>) {
    let seconds = LISTEN_LIMIT.as_secs();
    let sent = metrics.and_then(|metrics| metrics.packets_sent).unwrap_or_default();
    let received = metrics.and_then(|metrics| metrics.packets_received).unwrap_or_default();
    let reported = metrics.and_then(|metrics| metrics.far_end_packets_received);
    let got = |text: &str| reported.map(|got| format!("{text} {got}")).unwrap_or_default();
    let details = Text::new(
        format!("{sent} packets sent, {received} received{}", got("; of ours, the far end reports to have")),
        format!("пакетов отправлено: {sent}, получено: {received}{}", got("; из наших на том конце получено:")),
    );
    let explanation = if received == 0 {
        Explanation::of(&Error::Media { fault: MediaFault::NoPackets { after: LISTEN_LIMIT } })
    } else {
        Explanation::new(
            Text::new(
                format!("audio packets come from the far end, but for {seconds} s they held nothing but silence"),
                format!("пакеты звука с того конца приходят, но {seconds} с в них была только тишина"),
            ),
            Text::fixed(
                "look whether the application says something at once (a failing text-to-speech is silent); if it waits for the caller to speak, this is right",
                "проверьте, говорит ли приложение сразу (при ошибке синтеза речи — тишина); если оно ждёт слов звонящего, всё верно",
            ),
        )
    };
    report.fault(Check::Call, Kind::Audio, &explanation, Some(&details));
}
