//! `status`, `replay`, `forget` and `export`: what is in the call book, and what can be done about it.

use std::io::{self, Write};
use std::sync::Arc;

use codex_zammad_bridge::clock::SystemClock;
use codex_zammad_bridge::config::Settings;
use codex_zammad_bridge::control::{ExportRequest, ForgetRequest, ReplayRequest};
use codex_zammad_bridge::delivery::ZammadSettings;
use codex_zammad_bridge::store::{self, DatabaseSettings, PostgresSettings, RecordId, Routes, SqliteSettings};
use codex_zammad_bridge::{Error, Result};
use serde_json::Value;

use super::desk::Desk;

/// Writes a line of output.
pub(super) fn say(line: impl std::fmt::Display) -> Result<()> {
    writeln!(io::stdout().lock(), "{line}").map_err(unwritten)
}

#[expect(clippy::needless_pass_by_value, reason = "the form that map_err wants")]
fn unwritten(error: io::Error) -> Error {
    Error::Control { problem: format!("its output cannot be written: {error}") }
}

/// Moves a file into a database. Whether all of it could be read.
pub(super) async fn migrate(settings: &Settings, from: &str, to: Option<&str>) -> Result<bool> {
    let from = SqliteSettings::from_url(from)?;
    let to = match (to, &settings.database) {
        (Some(url), _) => PostgresSettings::from_url(url)?,
        (None, DatabaseSettings::Postgres(database)) => (**database).clone(),
        (None, DatabaseSettings::Sqlite(_)) => {
            let problem = "--to is missing, and BRIDGE_DATABASE_URL names no postgres: database".to_owned();
            return Err(Error::Control { problem });
        }
    };
    let routes = Routes { routes: settings.zammads.iter().map(ZammadSettings::route).collect() };
    let moved = store::migrate(&from, &to, routes, Arc::new(SystemClock)).await?;
    say(format_args!("{} calls are in {} now.", moved.records, to.place()))?;
    if moved.unreadable > 0 {
        say(format_args!("{} calls cannot be read and stayed behind.", moved.unreadable))?;
    }
    say(format_args!("The file is {} now; delete it when nobody misses anything.", moved.moved_to.display()))?;
    Ok(moved.unreadable == 0)
}

/// Whether nothing waits on the dead-letter shelf and the store works.
pub(super) async fn status(settings: &Settings, json: bool) -> Result<bool> {
    let desk = Desk::open(settings).await?;
    let status = desk.status().await;
    desk.close().await;
    let status = status?;
    if json {
        say(&status)?;
    } else {
        say_status(&status)?;
    }
    let shelved = |zammad: &Value| zammad["lanes_shelved"].as_u64().unwrap_or_default() > 0;
    let has_shelved = status["backlog"]["zammads"].as_array().is_some_and(|zammads| zammads.iter().any(shelved));
    Ok(!has_shelved && status.get("store_failing_since").is_none())
}

fn say_status(status: &Value) -> Result<()> {
    let backlog = &status["backlog"];
    say(if status["running"] == true { "The bridge runs." } else { "No bridge runs on this store." })?;
    if status.get("store_failing_since").is_some() {
        say("The store FAILS: see the bridge's log.")?;
    }
    let number = |value: &Value| value.as_u64().unwrap_or_default();
    say(format_args!("Calls not over: {}", number(&backlog["calls_open"])))?;
    say(format_args!("Store: {} KiB", number(&backlog["store_bytes"]) / 1024))?;
    let zammads = backlog["zammads"].as_array().map(Vec::as_slice).unwrap_or_default();
    if zammads.is_empty() {
        say("Nothing waits to be told to Zammad.")?;
    }
    for zammad in zammads {
        say(format_args!(
            "Zammad {} ({}): {} calls wait, {} on the dead-letter shelf",
            zammad["zammad"].as_str().unwrap_or_default(),
            zammad["channel"].as_str().unwrap_or_default(),
            number(&zammad["lanes_pending"]),
            number(&zammad["lanes_shelved"]),
        ))?;
    }
    for link in status["links"].as_array().map(Vec::as_slice).unwrap_or_default() {
        say(format_args!(
            "Link to {} ({}): {}",
            link["zammad"].as_str().unwrap_or_default(),
            link["channel"].as_str().unwrap_or_default(),
            link["circuit"],
        ))?;
    }
    Ok(())
}

pub(super) async fn replay(settings: &Settings, record: Option<i64>) -> Result<bool> {
    let desk = Desk::open(settings).await?;
    let lanes = desk.replay(ReplayRequest { record: record.map(RecordId) }).await;
    desk.close().await;
    say(format_args!("{} calls were taken off the dead-letter shelf and are told to Zammad again.", lanes?))?;
    Ok(true)
}

pub(super) async fn forget(settings: &Settings, client_id: String) -> Result<bool> {
    let desk = Desk::open(settings).await?;
    let forgotten = desk.forget(&ForgetRequest { client_id }).await;
    desk.close().await;
    let forgotten = forgotten?;
    let calls = forgotten["calls"].as_u64().unwrap_or_default();
    say(format_args!("Everything about people was erased from {calls} calls."))?;
    for ticket in forgotten["tickets"].as_array().map(Vec::as_slice).unwrap_or_default() {
        say(format_args!(
            "Still to be deleted in Zammad {}: ticket with the id {}",
            ticket[0].as_str().unwrap_or_default(),
            ticket[1]
        ))?;
    }
    Ok(calls > 0)
}

/// Every record as a line of JSON, the youngest first.
pub(super) async fn export(settings: &Settings, client_id: Option<String>) -> Result<bool> {
    let desk = Desk::open(settings).await?;
    let exported = export_pages(&desk, client_id).await;
    desk.close().await;
    exported.map(|()| true)
}

async fn export_pages(desk: &Desk, client_id: Option<String>) -> Result<()> {
    let mut request = ExportRequest { before: None, client_id };
    loop {
        let page = desk.export(&request).await?;
        for call in page["calls"].as_array().map(Vec::as_slice).unwrap_or_default() {
            say(call)?;
        }
        match page["next_before"].as_i64() {
            Some(before) => request.before = Some(RecordId(before)),
            None => return Ok(()),
        }
    }
}
