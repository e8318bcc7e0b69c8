//! Everything together: the program that `serve` runs, and that tests start in their own process.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use codex_core_sip::application_names::ApplicationNames;
use codex_core_sip::metadata::ApplicationSid;
use codex_core_sip::random::Random;
use codex_jambonz_api::JambonzApiClient;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::{JoinHandle, JoinSet};
use tracing::{error, info, warn};

use crate::clock::Clock;
use crate::config::Settings;
use crate::control;
use crate::delivery::{Dispatcher, HttpZammad, LinkWatcher, SystemRandom, Zammad, ZammadSettings};
use crate::error::{Error, Result};
use crate::housekeeping::{keep_house, watch_store};
use crate::late_store::{LateStore, REOPEN_WAITS};
use crate::listener::{self, Limits};
use crate::metrics::Metrics;
use crate::receive::{
    ForwardingTasks, HookAuthentication, HookKeys, HttpUpstreamHook, Proxy, ReceiveSettings, Receiver, StatusForwarder,
    UpstreamHook, Widget,
};
use crate::store::{CallStore, Routes};
use crate::tally::Tally;

/// How long open requests may take to finish at the end.
pub const SHUTDOWN_REQUESTS_LIMIT: Duration = Duration::from_secs(10);
/// How long what waits for the application may take to be passed on at the end.
pub const SHUTDOWN_FORWARDING_LIMIT: Duration = Duration::from_secs(10);
/// How long a delivery under way may take at the end, beyond its own time limit.
pub const SHUTDOWN_DELIVERY_GRACE: Duration = Duration::from_secs(5);
/// The longest that deliveries under way are waited for at the end, however long one may take: what is cut is told again.
pub const SHUTDOWN_DELIVERY_LIMIT: Duration = Duration::from_secs(40);
/// How long closing the store may take.
pub const SHUTDOWN_STORE_LIMIT: Duration = Duration::from_secs(10);
/// The longest that the end may take: requests and then what waits for the application, beside it deliveries; then the
/// store. The systemd unit (`TimeoutStopSec`) and the compose file (`stop_grace_period`) give 60 s.
pub const SHUTDOWN_LIMIT: Duration = SHUTDOWN_DELIVERY_LIMIT.saturating_add(SHUTDOWN_STORE_LIMIT);
const _: () = assert!(
    SHUTDOWN_REQUESTS_LIMIT.as_secs() + SHUTDOWN_FORWARDING_LIMIT.as_secs() <= SHUTDOWN_DELIVERY_LIMIT.as_secs()
);

/// How long to wait until the webhook secret is asked for again, at first and at most.
const SECRET_RETRY: (Duration, Duration) = (Duration::from_secs(2), Duration::from_secs(60));

/// A bridge that runs.
pub struct Bridge {
    address: SocketAddr,
    parts: Parts,
    serving: JoinHandle<()>,
    stop: watch::Sender<bool>,
    dispatcher: Dispatcher,
    forwarding: Option<ForwardingTasks>,
    background: JoinSet<()>,
    delivery_limit: Duration,
}

/// What the parts of a bridge share, for those that show it.
#[derive(Clone)]
pub struct Parts {
    /// What receives.
    pub receiver: Receiver,
    /// The call book.
    pub store: Arc<dyn CallStore>,
    /// What is counted.
    pub metrics: Arc<Metrics>,
    /// The state of each link to a Zammad.
    pub links: LinkWatcher,
    /// Time.
    pub clock: Arc<dyn Clock>,
    /// The settings.
    pub settings: Arc<Settings>,
    /// Wrong tokens so far, for all that have tokens.
    pub guesses: Arc<Tally>,
    /// Becomes true when the bridge stops: what never ends by itself, such as a stream of events, ends then.
    pub stopping: watch::Receiver<bool>,
}

impl Bridge {
    /// Opens the store, starts to deliver and to listen. `pages` adds routes of its own to those of the hooks.
    ///
    /// # Errors
    ///
    /// [`Error::Configuration`] if it cannot listen or reach out as the settings say, and faults of the store.
    pub async fn start(
        settings: Settings,
        clock: Arc<dyn Clock>,
        pages: impl FnOnce(&Parts) -> Router,
    ) -> Result<Self> {
        let settings = Arc::new(settings);
        let listener = TcpListener::bind(settings.listen).await.map_err(|error| Error::Configuration {
            setting: "BRIDGE_LISTEN".to_owned(),
            problem: format!("nothing can listen at {}: {error}", settings.listen),
            remedy: "choose another port, or stop the program that has it".to_owned(),
        })?;
        let address = listener.local_addr().unwrap_or(settings.listen);
        let metrics = Metrics::new();
        let routes = Routes { routes: settings.zammads.iter().map(ZammadSettings::route).collect() };
        let mut background = JoinSet::new();
        let store = open_store(&settings, routes, &clock, &mut background).await?;
        let mut zammads: Vec<(ZammadSettings, Arc<dyn Zammad>)> = Vec::new();
        for zammad in &settings.zammads {
            zammads.push((zammad.clone(), Arc::new(HttpZammad::new(zammad, Arc::clone(&clock))?)));
        }
        if zammads.is_empty() {
            warn!("no Zammad is configured: calls are kept, and nobody is told; set ZAMMAD_CTI_URL");
        }
        let random = || -> Box<dyn Random> { Box::new(SystemRandom) };
        let dispatcher = Dispatcher::start(zammads, &store, &clock, &metrics, random);
        let api = jambonz_api(&settings)?;
        let keys = hook_keys(&settings, api.as_ref(), &mut background);
        let (receiver, forwarding) = receiver(&settings, keys, api, &store, &clock, &metrics)?;
        let (book, time, counts) = (Arc::clone(&store), Arc::clone(&clock), Arc::clone(&metrics));
        background.spawn(keep_house(book, time, counts, settings.call_max_age, settings.retain));
        background.spawn(watch_store(Arc::clone(&store), receiver.clone(), Arc::clone(&clock)));

        let longest = settings.zammads.iter().map(|zammad| zammad.request_timeout).max().unwrap_or_default();
        let stop = watch::Sender::new(false);
        let links = dispatcher.watcher();
        let guesses = Arc::clone(receiver.guesses());
        let parts = Parts { receiver, store, metrics, links, clock, settings, guesses, stopping: stop.subscribe() };
        let app = parts.receiver.routes().merge(control::routes(&parts)).merge(pages(&parts));
        let app = parts.receiver.pass_on_the_rest(app);
        let serving = tokio::spawn(listener::serve(listener, app, Limits::default(), stop.subscribe()));
        info!(%address, zammads = parts.settings.zammads.len(), "the bridge takes calls");
        Ok(Self {
            address,
            parts,
            serving,
            stop,
            dispatcher,
            forwarding,
            background,
            delivery_limit: (longest + SHUTDOWN_DELIVERY_GRACE).min(SHUTDOWN_DELIVERY_LIMIT),
        })
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// What it is made of.
    #[must_use]
    pub fn parts(&self) -> &Parts {
        &self.parts
    }

    /// Takes nothing new, finishes what is under way, closes the store; within [`SHUTDOWN_LIMIT`]. What is not delivered
    /// waits on disk.
    pub async fn shutdown(self) {
        info!("the bridge stops: it takes nothing new and finishes what is under way");
        let Self { parts, mut serving, stop, dispatcher, forwarding, background, delivery_limit, .. } = self;
        stop.send_replace(true);
        let receiving = async {
            if tokio::time::timeout(SHUTDOWN_REQUESTS_LIMIT, &mut serving).await.is_err() {
                warn!(limit_s = SHUTDOWN_REQUESTS_LIMIT.as_secs(), "requests are still open and are cut");
                serving.abort();
            }
            // Once nothing comes in any more, what waits is all there is.
            parts.receiver.stop_forwarding();
            if let Some(forwarding) = forwarding
                && tokio::time::timeout(SHUTDOWN_FORWARDING_LIMIT, forwarding.finish()).await.is_err()
            {
                warn!("status events that waited for UPSTREAM_STATUS_HOOK are dropped");
            }
        };
        let delivering = async {
            if tokio::time::timeout(delivery_limit, dispatcher.stop()).await.is_err() {
                warn!("deliveries are still under way; they are made again after the next start");
            }
        };
        tokio::join!(receiving, delivering);
        drop(background);
        if tokio::time::timeout(SHUTDOWN_STORE_LIMIT, parts.store.close()).await.is_err() {
            warn!("the store is not closed in time; it will be mended when it is opened");
        }
        info!("the bridge has stopped");
    }
}

impl std::fmt::Debug for Bridge {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Bridge").field("address", &self.address).finish_non_exhaustive()
    }
}

/// The store; if its file is damaged, out of reach or the disk full, one that takes nothing in until it can be opened, so
/// that calls go on all the same.
async fn open_store(
    settings: &Settings,
    routes: Routes,
    clock: &Arc<dyn Clock>,
    background: &mut JoinSet<()>,
) -> Result<Arc<dyn CallStore>> {
    match settings.database.open(routes.clone(), Arc::clone(clock)).await {
        Ok(store) => Ok(store),
        Err(
            fault @ (Error::StoreDamaged { .. }
            | Error::StoreDiskFull { .. }
            | Error::StoreFailed { .. }
            | Error::StoreAway { .. }),
        ) => {
            error!(%fault, "the store cannot be opened: calls go on without being kept, and it is tried again");
            let store = Arc::new(LateStore::new(fault, clock.now()));
            let (database, clock) = (settings.database.clone(), Arc::clone(clock));
            let open = move || {
                let (database, routes, clock) = (database.clone(), routes.clone(), Arc::clone(&clock));
                async move { database.open(routes, clock).await }
            };
            background.spawn(Arc::clone(&store).open_later(open, REOPEN_WAITS));
            Ok(store)
        }
        Err(fault) => Err(fault),
    }
}

/// The client of jambonz' API, if it is configured.
///
/// # Errors
///
/// [`Error::Configuration`] if the settings cannot be right.
pub fn jambonz_api(settings: &Settings) -> Result<Option<Arc<JambonzApiClient>>> {
    let Some(config) = &settings.jambonz_api else { return Ok(None) };
    let mut builder = JambonzApiClient::builder().config(config.clone());
    for host in &settings.insecure_http_hosts {
        builder = builder.allow_insecure_host(host.clone());
    }
    let client = builder.build().map_err(|error| Error::Configuration {
        setting: "JAMBONZ_API_BASE_URL, JAMBONZ_API_KEY, JAMBONZ_ACCOUNT_SID".to_owned(),
        problem: error.to_string(),
        remedy: "see jambonz' portal, Account; hosts without TLS go into INSECURE_HTTP_HOSTS".to_owned(),
    })?;
    Ok(Some(Arc::new(client)))
}

/// What hooks must show: what is configured, or, with nothing but an API key, the secret that jambonz tells.
fn hook_keys(settings: &Settings, api: Option<&Arc<JambonzApiClient>>, background: &mut JoinSet<()>) -> HookKeys {
    let login = settings.hook_login.as_ref();
    let is_configured = !settings.webhook_secrets.is_empty() || login.is_some() || settings.allow_unsigned;
    let Some(api) = api.filter(|_| !is_configured) else {
        let authentication = HookAuthentication::new(settings.webhook_secrets.clone(), login);
        if authentication.is_open() {
            warn!("hooks need show nothing: anybody who reaches the bridge can make up calls");
        }
        return HookKeys::known(authentication);
    };
    let keys = HookKeys::unknown();
    background.spawn(learn_secret(Arc::clone(api), keys.clone()));
    keys
}

/// Asks jambonz for the webhook secret until it is known, and again when a signature does not fit.
async fn learn_secret(api: Arc<JambonzApiClient>, keys: HookKeys) {
    let (first_wait, longest_wait) = SECRET_RETRY;
    loop {
        let mut wait = first_wait;
        loop {
            match api.get_webhook_secret().await {
                Ok(secret) => {
                    keys.learn(HookAuthentication::new(vec![secret], None));
                    info!("the webhook secret was fetched from jambonz");
                    break;
                }
                Err(fault) => {
                    error!(%fault, retry_s = wait.as_secs(), "the webhook secret cannot be fetched: status events are refused");
                    tokio::time::sleep(wait).await;
                    wait = (wait * 2).min(longest_wait);
                }
            }
        }
        // Anybody can send wrong signatures: they do not make us ask more often than this.
        tokio::time::sleep(longest_wait).await;
        keys.doubted().await;
    }
}

/// The receiving side, and the tasks that pass status events on.
fn receiver(
    settings: &Settings,
    keys: HookKeys,
    api: Option<Arc<JambonzApiClient>>,
    store: &Arc<dyn CallStore>,
    clock: &Arc<dyn Clock>,
    metrics: &Arc<Metrics>,
) -> Result<(Receiver, Option<ForwardingTasks>)> {
    let ca = settings.upstream_ca_pem.as_deref();
    let hook = |setting, url: &Option<url::Url>| -> Result<Option<Arc<dyn UpstreamHook>>> {
        let Some(url) = url else { return Ok(None) };
        Ok(Some(Arc::new(HttpUpstreamHook::new(setting, url.clone(), ca)?)))
    };
    let proxy = match &settings.upstream_call_hook {
        Some(url) => {
            let own_tokens = settings.admin_token.iter().cloned().collect();
            Some(Proxy::new("UPSTREAM_CALL_HOOK", url, ca)?.keeping_back(own_tokens))
        }
        None => None,
    };
    let (forwarder, forwarding) = match hook("UPSTREAM_STATUS_HOOK", &settings.upstream_status_hook)? {
        Some(upstream) => {
            let (forwarder, tasks) = StatusForwarder::start(&upstream, metrics);
            (Some(forwarder), Some(tasks))
        }
        None => (None, None),
    };
    let receive = ReceiveSettings {
        keys,
        upstream: hook("UPSTREAM_CALL_HOOK", &settings.upstream_call_hook)?,
        upstream_call_limit: settings.upstream_call_limit,
        proxy,
        fallback_verbs: settings.fallback_verbs.clone(),
        verbs: settings.verbs.clone(),
        api_tokens: settings.api_tokens.clone(),
        names: api.map(|api| -> Arc<dyn ApplicationNames> { api }),
        names_decide_routes: settings.zammads.iter().flat_map(|zammad| &zammad.applications).any(|application| {
            // A GUID is in every event, a name may come late.
            ApplicationSid::from_user_part(application.trim()).is_none()
        }),
        widget: settings.widget.clone().map(|widget| Widget::new(widget, Box::new(SystemRandom))),
    };
    let receiver = Receiver::new(receive, Arc::clone(store), Arc::clone(clock), Arc::clone(metrics), forwarder);
    Ok((receiver, forwarding))
}
