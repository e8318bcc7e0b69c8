//! [`JambonzApiClient`].

mod exchange;
mod names;
mod near_cache;
mod requests;

use core::fmt;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use codex_core_sip::application_names::{ApplicationNames, NameLookupError};
use codex_core_sip::metadata::{ApplicationName, ApplicationSid};
use secrecy::SecretString;
use serde::{Deserialize, Serialize};
use serde_json::json;

use self::exchange::{Exchange, ExchangeSettings};
use self::names::Names;
use self::requests::{Patience, Request, Requests};
use crate::application::Application;
use crate::call::Call;
use crate::clock::{Clock, SystemClock};
use crate::config::{JambonzApiConfig, environment};
use crate::error::{Error, Result};
use crate::freshness::CachePolicy;
use crate::hooks::{ApplicationHooks, update_body};
use crate::listing::showable;
use crate::sid::{AccountSid, CallSid, ToApplicationSid, application_in_uri};

/// A client of jambonz' REST API for one account. A clone is the same client.
///
/// Its names come from memory where they can: see [`CachePolicy`]. It needs a tokio runtime with I/O and time.
#[derive(Clone)]
pub struct JambonzApiClient {
    requests: Arc<Requests>,
    names: Arc<Names>,
    clock: Arc<dyn Clock>,
    account: AccountSid,
    host: String,
}

impl fmt::Debug for JambonzApiClient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("JambonzApiClient")
            .field("host", &self.host)
            .field("account_sid", &format_args!("{}", self.account))
            .finish_non_exhaustive()
    }
}

/// What a [`JambonzApiClient`] is made of: [`JambonzApiConfig`] and settings that have good defaults.
#[derive(Clone)]
pub struct JambonzApiClientBuilder {
    config: JambonzApiConfig,
    insecure_hosts: Vec<String>,
    extra_ca_certificates_pem: Vec<String>,
    connect_timeout: Duration,
    patience: Patience,
    body_limit_bytes: usize,
    policy: CachePolicy,
    cache_capacity: u64,
    clock: Option<Arc<dyn Clock>>,
}

impl fmt::Debug for JambonzApiClientBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("JambonzApiClientBuilder")
            .field("config", &self.config)
            .field("insecure_hosts", &self.insecure_hosts)
            .field("patience", &self.patience)
            .field("body_limit_bytes", &self.body_limit_bytes)
            .field("policy", &self.policy)
            .field("cache_capacity", &self.cache_capacity)
            .finish_non_exhaustive()
    }
}

impl JambonzApiClientBuilder {
    /// The default of [`connect_timeout`](Self::connect_timeout).
    pub const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);
    /// The default of [`request_timeout`](Self::request_timeout).
    pub const REQUEST_TIMEOUT: Duration = Duration::from_secs(5);
    /// The default of [`total_timeout`](Self::total_timeout).
    pub const TOTAL_TIMEOUT: Duration = Duration::from_secs(10);
    /// The default of [`retries`](Self::retries).
    pub const RETRIES: u32 = 2;
    /// The longest wait before the first retry; it doubles from retry to retry.
    pub const BACKOFF_INITIAL: Duration = Duration::from_millis(250);
    /// The longest wait before any retry.
    pub const BACKOFF_CAP: Duration = Duration::from_secs(2);
    /// The default of [`body_limit_bytes`](Self::body_limit_bytes): some ten thousand applications.
    pub const BODY_LIMIT_BYTES: usize = 16 * 1024 * 1024;
    /// The default of [`cache_capacity`](Self::cache_capacity).
    pub const CACHE_CAPACITY: u64 = 10_000;

    fn new() -> Self {
        Self {
            config: JambonzApiConfig {
                api_base_url: String::new(),
                api_key: SecretString::default(),
                account_sid: String::new(),
            },
            insecure_hosts: Vec::new(),
            extra_ca_certificates_pem: Vec::new(),
            connect_timeout: Self::CONNECT_TIMEOUT,
            patience: Patience {
                request_timeout: Self::REQUEST_TIMEOUT,
                total_timeout: Self::TOTAL_TIMEOUT,
                retries: Self::RETRIES,
                backoff_initial: Self::BACKOFF_INITIAL,
                backoff_cap: Self::BACKOFF_CAP,
            },
            body_limit_bytes: Self::BODY_LIMIT_BYTES,
            policy: CachePolicy::default(),
            cache_capacity: Self::CACHE_CAPACITY,
            clock: None,
        }
    }

    /// Address, key and account in one.
    #[must_use]
    pub fn config(mut self, config: JambonzApiConfig) -> Self {
        self.config = config;
        self
    }

    /// See [`JambonzApiConfig::api_base_url`].
    #[must_use]
    pub fn api_base_url(mut self, url: impl Into<String>) -> Self {
        self.config.api_base_url = url.into();
        self
    }

    /// See [`JambonzApiConfig::api_key`].
    #[must_use]
    pub fn api_key(mut self, key: impl Into<SecretString>) -> Self {
        self.config.api_key = key.into();
        self
    }

    /// See [`JambonzApiConfig::account_sid`].
    #[must_use]
    pub fn account_sid(mut self, sid: impl Into<String>) -> Self {
        self.config.account_sid = sid.into();
        self
    }

    /// Lets this host (a name or an address, without port) be asked by `http`: everybody on the way there can read the
    /// API key. Loopback addresses need no permission.
    #[must_use]
    pub fn allow_insecure_host(mut self, host: impl Into<String>) -> Self {
        self.insecure_hosts.push(host.into());
        self
    }

    /// Trusts these certificates in PEM beside the system's.
    #[must_use]
    pub fn extra_ca_certificate_pem(mut self, pem: impl Into<String>) -> Self {
        self.extra_ca_certificates_pem.push(pem.into());
        self
    }

    /// How long a connection may take to come about, TLS included.
    #[must_use]
    pub fn connect_timeout(mut self, timeout: Duration) -> Self {
        self.connect_timeout = timeout;
        self
    }

    /// How long one attempt may take, until the last byte of the answer.
    #[must_use]
    pub fn request_timeout(mut self, timeout: Duration) -> Self {
        self.patience.request_timeout = timeout;
        self
    }

    /// How long one call of the client may take: all attempts, pages and waits together.
    #[must_use]
    pub fn total_timeout(mut self, timeout: Duration) -> Self {
        self.patience.total_timeout = timeout;
        self
    }

    /// How often a request that failed is sent again, where that is allowed and can help.
    #[must_use]
    pub fn retries(mut self, retries: u32) -> Self {
        self.patience.retries = retries;
        self
    }

    /// How large an answer may be, after decompression.
    #[must_use]
    pub fn body_limit_bytes(mut self, limit: usize) -> Self {
        self.body_limit_bytes = limit;
        self
    }

    /// How long names are kept, and what happens after.
    #[must_use]
    pub fn cache_policy(mut self, policy: CachePolicy) -> Self {
        self.policy = policy;
        self
    }

    /// How many names are kept at most.
    #[must_use]
    pub fn cache_capacity(mut self, names: u64) -> Self {
        self.cache_capacity = names;
        self
    }

    /// Another clock than the system's: names age by it and retries wait by it.
    #[must_use]
    pub fn clock(mut self, clock: Arc<dyn Clock>) -> Self {
        self.clock = Some(clock);
        self
    }

    /// The client. Sends nothing.
    ///
    /// # Errors
    ///
    /// [`Error::Configuration`] with everything that is wrong.
    pub fn build(self) -> Result<JambonzApiClient> {
        let checked = self.config.check(&self.insecure_hosts)?;
        let clock = self.clock.unwrap_or_else(|| Arc::new(SystemClock::default()));
        let settings = ExchangeSettings {
            connect_timeout: self.connect_timeout,
            body_limit_bytes: self.body_limit_bytes,
            extra_ca_certificates_pem: self.extra_ca_certificates_pem,
        };
        let host = checked.base.host();
        if checked.base.is_in_the_clear() {
            tracing::warn!(%host, "jambonz' API is asked without TLS: everybody on the way there can read the API key");
        }
        let exchange = Exchange::new(checked.base, &checked.key, &settings)?;
        let requests = Arc::new(Requests::new(exchange, checked.key, Arc::clone(&clock), self.patience));
        let names = Arc::new(Names::new(Arc::clone(&requests), Arc::clone(&clock), self.policy, self.cache_capacity));
        Ok(JambonzApiClient { requests, names, clock, account: checked.account, host })
    }
}

/// What [`JambonzApiClient::update_application_hooks`] did.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct HooksUpdate {
    /// The application before: where its hooks pointed is where the application itself answers.
    pub before: Application,
    /// Whether anything was changed; `false` if the hooks pointed there already.
    pub changed: bool,
}

#[derive(Deserialize)]
struct WebhookSecret {
    webhook_secret: SecretString,
}

const AN_APPLICATION: &str = "an application";

impl JambonzApiClient {
    /// A client with the default settings. Sends nothing.
    ///
    /// # Errors
    ///
    /// [`Error::Configuration`] with everything that is wrong.
    pub fn new(config: JambonzApiConfig) -> Result<Self> {
        Self::builder().config(config).build()
    }

    /// A client of `JAMBONZ_API_BASE_URL`, `JAMBONZ_API_KEY` and `JAMBONZ_ACCOUNT_SID`. Sends nothing.
    ///
    /// # Errors
    ///
    /// [`Error::Configuration`] with everything that is missing or wrong.
    pub fn from_env() -> Result<Self> {
        Self::new(JambonzApiConfig::unchecked(environment))
    }

    /// A client with settings of your own.
    #[must_use]
    pub fn builder() -> JambonzApiClientBuilder {
        JambonzApiClientBuilder::new()
    }

    /// The application's name; `None` if there is no such application.
    ///
    /// From memory, without allocation, where the [`CachePolicy`] allows it: an expired name is served at once and
    /// fetched again in the background. Those who ask for a name at the same time cost one request, those who ask for
    /// several names cost one for the list.
    ///
    /// Cancel safety: dropping the future does not end the request, whose answer is kept for the next who asks.
    ///
    /// # Errors
    ///
    /// [`Error::BadSid`] without a request; any other if there is no name in memory and the API gives none.
    #[inline]
    pub async fn get_application_name(&self, sid: impl ToApplicationSid) -> Result<Option<ApplicationName>> {
        self.names.get(sid.to_application_sid()?).await
    }

    /// The name of the application that a SIP URI names ([`application_in_uri`]); `None` if it names none.
    ///
    /// # Errors
    ///
    /// [`Error::BadUri`] without a request; otherwise as [`get_application_name`](Self::get_application_name).
    pub async fn get_application_name_from_uri(&self, sip_uri: &str) -> Result<Option<ApplicationName>> {
        match application_in_uri(sip_uri)? {
            Some(sid) => self.names.get(sid).await,
            None => Ok(None),
        }
    }

    /// All applications of the account, asked for each time: they hold secrets and are not kept. Their names are.
    ///
    /// # Errors
    ///
    /// Any but [`Error::BadSid`] and [`Error::BadUri`].
    pub async fn get_applications(&self) -> Result<Vec<Application>> {
        let (generation, asked_at) = (self.names.generation(), self.clock.now());
        let account = self.account;
        let request = Request::get(
            format!("/Accounts/{account}/Applications"),
            format!("list the applications of account {account}"),
            format!("account {account}"),
        );
        let applications: Vec<Application> = self.requests.list(request, self.requests.deadline()).await?;
        self.keep_names(generation, asked_at, &applications);
        Ok(applications)
    }

    /// One application, asked for each time. Its name is kept.
    ///
    /// # Errors
    ///
    /// [`Error::NotFound`] if there is none; any other.
    pub async fn get_application(&self, sid: impl ToApplicationSid) -> Result<Application> {
        let sid = sid.to_application_sid()?;
        let (generation, asked_at) = (self.names.generation(), self.clock.now());
        let request = application_request(sid);
        let application: Application = self.requests.json(&request, self.requests.deadline(), AN_APPLICATION).await?;
        self.keep_names(generation, asked_at, std::slice::from_ref(&application));
        Ok(application)
    }

    fn keep_names(&self, generation: u64, asked_at: codex_core_sip::time::Time, applications: &[Application]) {
        let names: Vec<_> = applications.iter().filter_map(|a| Some((a.application_sid, showable(&a.name)?))).collect();
        self.names.fill(generation, asked_at, names.iter().map(|(sid, name)| (*sid, name)));
    }

    /// Forgets all names, also those that requests under way will bring.
    pub fn clear_cache(&self) {
        self.names.clear();
    }

    /// A call that lasts or is just over.
    ///
    /// # Errors
    ///
    /// [`Error::BadSid`] without a request; [`Error::NotFound`] if there is none; any other.
    pub async fn get_call(&self, call_sid: &str) -> Result<Call> {
        let (call, path) = self.call_path(call_sid)?;
        let request = Request::get(path, format!("read call {call}"), format!("call {call}"));
        self.requests.json(&request, self.requests.deadline(), "a call").await
    }

    /// Gives a call that lasts the customer data that every later status event of it carries as `customerData`
    /// (update-call with `tag`). It replaces what the call carried before.
    ///
    /// `data` must be an object: [`CustomerData`](codex_core_sip::metadata::CustomerData), a
    /// [`serde_json::Map`], a struct of your own.
    ///
    /// # Errors
    ///
    /// [`Error::BadSid`] or [`Error::BadRequest`] without a request; [`Error::NotFound`] if there is no such call;
    /// any other.
    pub async fn update_call_metadata(&self, call_sid: &str, data: &(impl Serialize + ?Sized)) -> Result<()> {
        let (call, path) = self.call_path(call_sid)?;
        let bad = |problem: String| Error::BadRequest { what: "call metadata", problem };
        let tag = serde_json::to_value(data).map_err(|_| bad("it cannot be written as JSON".to_owned()))?;
        if !tag.is_object() {
            return Err(bad("it is not a JSON object, which is all that jambonz takes".to_owned()));
        }
        let body = json!({ "tag": tag }).to_string();
        let request = Request::put(path, body.as_bytes(), format!("tag call {call}"), format!("call {call}"));
        self.requests.send(&request, self.requests.deadline()).await.map(drop)
    }

    /// The secret with which jambonz signs this account's webhooks (`Jambonz-Signature`).
    ///
    /// # Errors
    ///
    /// Any but [`Error::BadSid`] and [`Error::BadUri`].
    pub async fn get_webhook_secret(&self) -> Result<SecretString> {
        let account = self.account;
        let request = Request::get(
            format!("/Accounts/{account}/WebhookSecret"),
            format!("read the webhook secret of account {account}"),
            format!("account {account}"),
        );
        let found: WebhookSecret = self.requests.json(&request, self.requests.deadline(), "a webhook secret").await?;
        Ok(found.webhook_secret)
    }

    /// Points an application's `call_hook` and `call_status_hook` at URLs and leaves everything else as it is, hooks of
    /// other applications included. Nothing is sent to change what is right already, so it can be called at every start.
    ///
    /// Two who do this for the same application at the same time can undo each other's work: jambonz has no conditional
    /// update.
    ///
    /// # Errors
    ///
    /// [`Error::BadSid`] without a request; [`Error::BadRequest`] if jambonz would not take a URL or never call it;
    /// [`Error::NotFound`] if there is no such application; any other. After [`Error::Timeout`] or
    /// [`Error::ConnectionLost`] it is not known whether it was done: call it again.
    pub async fn update_application_hooks(
        &self,
        sid: impl ToApplicationSid,
        hooks: &ApplicationHooks,
    ) -> Result<HooksUpdate> {
        let sid = sid.to_application_sid()?;
        let deadline = self.requests.deadline();
        let request = application_request(sid);
        let (before, raw) = self.requests.json_and_raw(&request, deadline, AN_APPLICATION).await?;
        let body = update_body(&raw, hooks)?;
        let Some(body) = body else { return Ok(HooksUpdate { before, changed: false }) };
        let body = body.to_string();
        let request = Request::put_once(
            format!("/Applications/{sid}"),
            body.as_bytes(),
            format!("change the hooks of application {sid}"),
            format!("application {sid}"),
        );
        self.requests.send(&request, deadline).await?;
        Ok(HooksUpdate { before, changed: true })
    }

    fn call_path(&self, call_sid: &str) -> Result<(CallSid, String)> {
        let call: CallSid = call_sid.parse()?;
        Ok((call, format!("/Accounts/{}/Calls/{call}", self.account)))
    }
}

fn application_request(sid: ApplicationSid) -> Request<'static> {
    let path = format!("/Applications/{sid}");
    Request::get(path, format!("read application {sid}"), format!("application {sid}"))
}

#[async_trait]
impl ApplicationNames for JambonzApiClient {
    async fn application_name(&self, application: ApplicationSid) -> Result<Option<ApplicationName>, NameLookupError> {
        let name = self.get_application_name(application).await;
        name.map_err(|error| NameLookupError { problem: error.to_string() })
    }
}
