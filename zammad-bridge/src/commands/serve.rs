//! `serve`: the bridge runs until it is told to stop.

use std::io::IsTerminal as _;
use std::sync::Arc;

use codex_zammad_bridge::admin;
use codex_zammad_bridge::bridge::Bridge;
use codex_zammad_bridge::clock::SystemClock;
use codex_zammad_bridge::config::{LogFormat, Settings};
use codex_zammad_bridge::{Error, Result};
use tokio::signal::unix::{SignalKind, signal};
use tracing_subscriber::EnvFilter;

pub(super) async fn serve(settings: Settings) -> Result<bool> {
    start_logging(&settings)?;
    let listen = |kind| {
        signal(kind).map_err(|error| Error::Configuration {
            setting: "the machine".to_owned(),
            problem: format!("signals cannot be listened for: {error}"),
            remedy: "raise the limits of the process".to_owned(),
        })
    };
    let (mut terminate, mut interrupt) = (listen(SignalKind::terminate())?, listen(SignalKind::interrupt())?);
    let bridge = Bridge::start(settings, Arc::new(SystemClock), admin::pages).await?;
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    bridge.shutdown().await;
    Ok(true)
}

/// Log lines go to standard error.
fn start_logging(settings: &Settings) -> Result<()> {
    let filter = EnvFilter::try_new(&settings.log).map_err(|error| Error::Configuration {
        setting: "BRIDGE_LOG".to_owned(),
        problem: format!("it is no filter of tracing ({error})"),
        remedy: "for example info or info,codex_zammad_bridge=debug".to_owned(),
    })?;
    let lines = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    match settings.log_format {
        LogFormat::Text => lines.with_ansi(std::io::stderr().is_terminal()).init(),
        LogFormat::Json => lines.json().flatten_event(true).init(),
    }
    Ok(())
}
