//! `doctor`: a deployment checked step by step, the first fault explained.
//!
//! ```text
//! settings → name → connection → certificate → websocket → registration → target, api → stun, turn → call
//! ```
//!
//! Up to the registration a fault ends the examination, since nothing after it could work; a fault of the API or of a
//! STUN or TURN server does not, since calls may work all the same.

mod api;
mod call;
mod certificate;
mod report;
mod stun;

use std::net::SocketAddr;
use std::time::Duration;

use codex_core_sip::Error;
use codex_core_sip::transport::{SignalingTransport as _, WebSocketSettings, WebSocketTransport};
use codex_web_widget::{Settings, Text, WebSocketAddress};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::arguments::Arguments;
use crate::configuration;
use crate::details;
use crate::exit::{Failure, Kind};
use crate::explanation::Explanation;
use crate::line::Line;
use crate::screen::Screen;
use crate::sound::Sound;
use crate::task::{interrupted, now};
use report::{Check, Report};

/// How long one address may take to take the connection, and a name to be resolved.
const CONNECT_LIMIT: Duration = Duration::from_secs(5);
/// The tone of the test call, in hertz.
const TONE_HZ: f64 = 440.0;

pub(crate) async fn run(arguments: &Arguments, screen: &Screen) -> Result<(), Failure> {
    let mut report = Report::new(screen);
    // It outlives an examination that is interrupted: the far end and the registrar are to hear that we go.
    let mut line = None;
    let outcome = tokio::select! {
        outcome = examine(arguments, screen, &mut report, &mut line) => outcome,
        () = interrupted() => Err(Failure::Other(Kind::Interrupted, Text::fixed("interrupted", "прервано"))),
    };
    if let Some(line) = line {
        let trace = line.trace();
        // Who presses Ctrl-C once more does not want to wait for good-byes.
        tokio::select! {
            () = line.close(screen) => {}
            () = interrupted() => {}
        }
        if arguments.trace {
            trace.draw(screen);
        }
    }
    outcome?;
    report.end()
}

/// Everything in its order. What it returns as an error is no finding but something of this program.
async fn examine(
    arguments: &Arguments,
    screen: &Screen,
    report: &mut Report<'_>,
    open: &mut Option<Line>,
) -> Result<(), Failure> {
    let settings = match configuration::load(arguments) {
        Ok(found) => {
            let source = screen.text(&found.source).to_owned();
            report.fine(
                Check::Settings,
                &Text::new(format!("complete (from {source})"), format!("полные (источник: {source})")),
            );
            found.settings
        }
        Err(Failure::Keys(problems)) => {
            report.wrong_settings(&problems);
            return Ok(());
        }
        Err(other) => return Err(other),
    };
    for warning in &settings.warnings {
        report.warn(
            Check::Settings,
            &Text::new(warning.in_locale(codex_core_sip::Locale::En), warning.in_locale(codex_core_sip::Locale::Ru)),
        );
    }
    let address =
        WebSocketAddress::parse(&settings.sip.wss_server).map_err(|text| Failure::Other(Kind::Settings, text))?;
    let Some(addresses) = name(report, &address).await else { return Ok(()) };
    if !connection(report, &address, &addresses).await || !websocket(report, &settings, &address, &addresses).await? {
        return Ok(());
    }
    // One client registers and makes the test call.
    let sound = Sound::tone(TONE_HZ)?;
    let line = open.insert(Line::open(&settings, &sound)?);
    line.registers();
    if registration(report, line).await {
        target(report, &settings);
        api::check(report, &settings).await;
        stun::check(report, &settings.sip).await;
        call::check(report, line, &sound, settings.sip.default_language.clone()).await;
    }
    Ok(())
}

/// The addresses of the edge's name.
async fn name(report: &mut Report<'_>, address: &WebSocketAddress) -> Option<Vec<SocketAddr>> {
    let found = timeout(CONNECT_LIMIT, tokio::net::lookup_host((address.host.as_str(), address.port))).await;
    let problem = match found {
        Ok(Ok(found)) => {
            let addresses: Vec<SocketAddr> = found.collect();
            if !addresses.is_empty() {
                let mut listed: Vec<String> = addresses.iter().map(|address| address.ip().to_string()).collect();
                listed.dedup();
                let text = format!("{} → {}", address.host, listed.join(", "));
                report.fine(Check::Name, &Text::new(text.clone(), text));
                return Some(addresses);
            }
            Text::fixed("it has no address", "у имени нет адреса")
        }
        Ok(Err(error)) => by_system(&error),
        Err(_) => too_late(CONNECT_LIMIT),
    };
    let explanation = Explanation::of(&Error::NameResolution { host: address.host.clone(), problem: String::new() });
    report.fault(Check::Name, Kind::Connection, &explanation, Some(&problem));
    None
}

/// The system's words, which are English.
pub(crate) fn by_system(error: &std::io::Error) -> Text {
    Text::new(error.to_string(), details::quoted(&error.to_string()))
}

pub(crate) fn too_late(limit: Duration) -> Text {
    let seconds = limit.as_secs_f32();
    Text::new(format!("no answer within {seconds} s"), format!("нет ответа за {seconds} с"))
}

async fn connection(report: &mut Report<'_>, address: &WebSocketAddress, addresses: &[SocketAddr]) -> bool {
    let mut problem = Text::fixed("", "");
    for &one in addresses {
        let start = now();
        match timeout(CONNECT_LIMIT, TcpStream::connect(one)).await {
            Ok(Ok(_stream)) => {
                let text = format!("{one}, {} ms", start.elapsed().as_millis());
                report.fine(Check::Connection, &Text::new(text.clone(), text));
                return true;
            }
            Ok(Err(error)) => problem = by_system(&error),
            Err(_) => problem = too_late(CONNECT_LIMIT),
        }
    }
    let address = if address.host.contains(':') {
        format!("[{}]:{}", address.host, address.port)
    } else {
        format!("{}:{}", address.host, address.port)
    };
    let explanation = Explanation::of(&Error::Connect { address, problem: String::new() });
    report.fault(Check::Connection, Kind::Connection, &explanation, Some(&problem));
    false
}

/// TLS and the WebSocket handshake, by the very adapter that calls use; what the certificate holds is read beside it.
async fn websocket(
    report: &mut Report<'_>,
    settings: &Settings,
    address: &WebSocketAddress,
    addresses: &[SocketAddr],
) -> Result<bool, Failure> {
    let mut transport = WebSocketSettings::new(settings.sip.wss_server.as_str());
    transport.url_key = "JAMBONZ_WSS_ADDRESS".to_owned();
    transport.tls.extra_ca_certificates_pem.clone_from(&settings.sip.extra_ca_certificates_pem);
    let transport = WebSocketTransport::new(transport)?;
    let reading = async { if address.secure { certificate::read(address, addresses).await } else { None } };
    let (facts, connected) = tokio::join!(reading, transport.connect());
    match (&connected, &facts) {
        (Err(error @ Error::Tls { fault, .. }), facts) => {
            let mut explanation = Explanation::of(error);
            if let Some(facts) = facts {
                explanation.what = facts.added_to(&explanation.what, fault);
            }
            report.fault(Check::Certificate, Kind::Tls, &explanation, Some(&details::of(error)));
            return Ok(false);
        }
        (Err(error @ Error::Timeout { .. }), None) if address.secure => {
            let explanation = Explanation::new(
                Text::new(
                    format!("somebody listens at {}:{}, but does not speak TLS", address.host, address.port),
                    format!("на {}:{} кто-то слушает, но не по TLS", address.host, address.port),
                ),
                Text::fixed(
                    "check the port in JAMBONZ_WSS_ADDRESS: it may be the one for ws://, or of another service",
                    "проверьте порт в JAMBONZ_WSS_ADDRESS: возможно, он для ws:// или принадлежит другой службе",
                ),
            );
            report.fault(Check::Certificate, Kind::Tls, &explanation, Some(&details::of(error)));
            return Ok(false);
        }
        (_, Some(facts)) => facts.tell(report),
        (_, None) if !address.secure => {
            let (en, ru) = ("none: ws:// is not encrypted", "нет: ws:// без шифрования");
            if address.is_loopback() {
                report.left_out(Check::Certificate, &Text::fixed(en, ru));
            } else {
                report.warn(Check::Certificate, &Text::fixed(en, ru));
            }
        }
        (_, None) => {}
    }
    match connected {
        Ok(flow) => {
            flow.close().await;
            let text = Text::fixed("SIP over WebSocket (sub-protocol sip)", "SIP поверх WebSocket (субпротокол sip)");
            report.fine(Check::WebSocket, &text);
            Ok(true)
        }
        Err(error) => {
            report.error(Check::WebSocket, &error);
            Ok(false)
        }
    }
}

async fn registration(report: &mut Report<'_>, line: &Line) -> bool {
    let start = now();
    match line.client.register().await {
        Ok(()) => {
            let took = start.elapsed().as_millis();
            report.fine(Check::Registration, &Text::new(format!("accepted, {took} ms"), format!("принята, {took} мс")));
            true
        }
        Err(error) => {
            report.error(Check::Registration, &error);
            false
        }
    }
}

/// What jambonz does with the target, which it does not say itself.
fn target(report: &mut Report<'_>, settings: &Settings) {
    let uri = settings.shown_target();
    let Some(application) = settings.target_application() else {
        return report.fine(Check::Target, &Text::new(uri.clone(), uri));
    };
    let with_prefix = format!("app-{application}@");
    if uri.to_ascii_lowercase().contains(&with_prefix) {
        return report.fine(Check::Target, &Text::new(uri.clone(), uri));
    }
    report.warn(
        Check::Target,
        &Text::new(
            format!("a bare GUID has no rule of its own in jambonz: the call goes to the account's application for SIP device calls, whichever that is; to reach this one for sure, write sip:app-{application}@… (the user must be allowed to call applications)"),
            format!("для GUID без app- у jambonz нет отдельного правила: звонок попадёт в приложение аккаунта для SIP-устройств, каким бы оно ни было; чтобы попасть именно в это, напишите sip:app-{application}@… (пользователю должны быть разрешены звонки приложениям)"),
        ),
    );
}
