//! Where a command finds the records: in the store, or, while a bridge has it open, at that bridge.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use codex_zammad_bridge::clock::{Clock as _, SystemClock};
use codex_zammad_bridge::config::Settings;
use codex_zammad_bridge::control::{ExportRequest, ForgetRequest, ReplayRequest};
use codex_zammad_bridge::delivery::ZammadSettings;
use codex_zammad_bridge::http_client::{innermost_cause, verified_client};
use codex_zammad_bridge::store::{CallStore, DatabaseSettings, Routes};
use codex_zammad_bridge::{Error, Result};
use secrecy::{ExposeSecret as _, SecretString};
use serde::Serialize;
use serde_json::{Value, json};

/// How long a bridge may take to answer a command.
const CONTROL_LIMIT: Duration = Duration::from_secs(60);

/// Where the records are.
pub(super) enum Desk {
    /// In the store: a file that nobody else has open, or a database.
    Store(Arc<dyn CallStore>),
    /// At a bridge that runs.
    Bridge { http: reqwest::Client, base: String, token: SecretString },
}

impl Desk {
    pub(super) async fn open(settings: &Settings) -> Result<Self> {
        if let DatabaseSettings::Sqlite(file) = &settings.database
            && !file.path.exists()
        {
            let path = file.path.display();
            return Err(Error::Control {
                problem: format!("there is no store {path}: is BRIDGE_DATABASE_URL the bridge's, and this its folder?"),
            });
        }
        let routes = Routes { routes: settings.zammads.iter().map(ZammadSettings::route).collect() };
        match settings.database.open(routes, Arc::new(SystemClock)).await {
            Ok(store) => Ok(Self::Store(store)),
            Err(Error::StoreInUse { path }) => {
                let token = settings.admin_token.clone().ok_or_else(|| Error::Configuration {
                    setting: "BRIDGE_ADMIN_TOKEN".to_owned(),
                    problem: format!("it is not set, and a bridge that runs has {path} open"),
                    remedy: "set it for both, so that the command can ask the bridge, or stop the bridge".to_owned(),
                })?;
                let http = verified_client("BRIDGE_LISTEN", None)?;
                Ok(Self::Bridge { http, base: format!("http://{}", reachable(settings.listen)), token })
            }
            Err(fault) => Err(fault),
        }
    }

    pub(super) async fn status(&self) -> Result<Value> {
        match self {
            Self::Store(store) => Ok(json!({"running": false, "backlog": store.backlog().await?})),
            Self::Bridge { http, base, token } => {
                let request = http.get(format!("{base}/v1/control/status")).bearer_auth(token.expose_secret());
                let mut status = answer_of(request).await?;
                if let Some(status) = status.as_object_mut() {
                    status.insert("running".to_owned(), Value::Bool(true));
                }
                Ok(status)
            }
        }
    }

    /// How many lanes were put back.
    pub(super) async fn replay(&self, request: ReplayRequest) -> Result<u64> {
        match self {
            Self::Store(store) => request.run(&**store, SystemClock.now()).await,
            Self::Bridge { .. } => Ok(self.ask("replay", &request).await?["lanes"].as_u64().unwrap_or_default()),
        }
    }

    pub(super) async fn forget(&self, request: &ForgetRequest) -> Result<Value> {
        match self {
            Self::Store(store) => Ok(json!(store.forget(&request.client_id).await?)),
            Self::Bridge { .. } => self.ask("forget", request).await,
        }
    }

    /// One page of records.
    pub(super) async fn export(&self, request: &ExportRequest) -> Result<Value> {
        match self {
            Self::Store(store) => Ok(json!(request.clone().run(&**store).await?)),
            Self::Bridge { .. } => self.ask("export", request).await,
        }
    }

    pub(super) async fn close(self) {
        if let Self::Store(store) = self {
            store.close().await;
        }
    }

    async fn ask(&self, what: &str, body: &impl Serialize) -> Result<Value> {
        let Self::Bridge { http, base, token } = self else { return Ok(Value::Null) };
        let request = http.post(format!("{base}/v1/control/{what}")).bearer_auth(token.expose_secret()).json(body);
        answer_of(request).await
    }
}

/// Where a bridge that listens at `listen` is reached from this machine.
fn reachable(listen: SocketAddr) -> SocketAddr {
    let ip = match listen.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => IpAddr::V4(Ipv4Addr::LOCALHOST),
        IpAddr::V6(ip) if ip.is_unspecified() => IpAddr::V6(Ipv6Addr::LOCALHOST),
        ip => ip,
    };
    SocketAddr::new(ip, listen.port())
}

async fn answer_of(request: reqwest::RequestBuilder) -> Result<Value> {
    let response = request.timeout(CONTROL_LIMIT).send().await.map_err(failed)?;
    let status = response.status();
    let answer: Value = response.json().await.map_err(failed)?;
    if status.is_success() {
        return Ok(answer);
    }
    let said = |key: &str| answer.get(key).and_then(Value::as_str).unwrap_or("it gave no reason").to_owned();
    Err(Error::Control { problem: format!("{} (HTTP {}); {}", said("error"), status.as_u16(), said("remedy")) })
}

fn failed(error: reqwest::Error) -> Error {
    Error::Control {
        problem: format!(
            "the bridge that has the store open did not answer ({}); is BRIDGE_LISTEN the same for both?",
            innermost_cause(&error.without_url())
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unspecified_address_is_reached_by_loopback() {
        for (listen, reached) in
            [("0.0.0.0:8787", "127.0.0.1:8787"), ("[::]:8787", "[::1]:8787"), ("192.0.2.7:80", "192.0.2.7:80")]
        {
            assert_eq!(reachable(listen.parse().unwrap()), reached.parse::<SocketAddr>().unwrap());
        }
    }
}
