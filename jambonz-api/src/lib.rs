//! Names of jambonz applications, cached and correct, and the REST calls round them.
//!
//! A SIP URI such as `sip:app-0397dc5f-2f8f-4778-8499-0af934dd1196@example.com` says nothing to a person. This crate
//! answers with `voicebot`: from memory in some hundred nanoseconds, with one request where many ask at once, and with the
//! old name while the API is slow or down. It is of use on its own to anyone who talks to a
//! [jambonz](https://www.jambonz.org) platform from Rust.
//!
//! # Quick start
//!
//! Address, API key and account come from `JAMBONZ_API_BASE_URL`, `JAMBONZ_API_KEY` and `JAMBONZ_ACCOUNT_SID`:
//!
//! ```sh
//! cargo run -p codex-jambonz-api --example list_applications
//! cargo run -p codex-jambonz-api --example name_of -- sip:app-0397dc5f-2f8f-4778-8499-0af934dd1196@sip.example.com
//! ```
//!
//! ```no_run
//! use codex_jambonz_api::JambonzApiClient;
//!
//! #[tokio::main]
//! async fn main() -> codex_jambonz_api::Result<()> {
//!     let client = JambonzApiClient::from_env()?; // says everything that is missing or wrong at once
//!     let uri = "sip:app-0397dc5f-2f8f-4778-8499-0af934dd1196@sip.example.com";
//!     match client.get_application_name_from_uri(uri).await {
//!         Ok(Some(name)) => println!("this is {name}"),
//!         Ok(None) => println!("no application, or none that the key may see"),
//!         Err(error) => eprintln!("{error}"), // what is wrong and what to do about it; the call goes on without a name
//!     }
//!     Ok(())
//! }
//! ```
//!
//! Everything else that it does:
//!
//! ```no_run
//! use codex_jambonz_api::{ApplicationHooks, JambonzApiClient, JambonzApiConfig};
//!
//! # async fn run() -> codex_jambonz_api::Result<()> {
//! let client = JambonzApiClient::new(JambonzApiConfig {
//!     api_base_url: "https://api.jambonz.example.com/v1".to_owned(),
//!     api_key: "your-api-key".into(),
//!     account_sid: "9351f46a-678c-43f5-b8a6-d4eb58d131af".to_owned(),
//! })?; // or JambonzApiClient::from_env()
//!
//! let name = client.get_application_name("0397dc5f-2f8f-4778-8499-0af934dd1196").await?;
//! assert_eq!(name.as_deref(), Some("voicebot"));
//! let uri = "sip:0397dc5f-2f8f-4778-8499-0af934dd1196@sip.example.com";
//! assert_eq!(client.get_application_name_from_uri(uri).await?.as_deref(), Some("voicebot"));
//!
//! for application in client.get_applications().await? {
//!     println!("{} {}", application.application_sid, application.name);
//! }
//! client.clear_cache();
//!
//! let hooks = ApplicationHooks::new("https://bridge.example.com/call", "https://bridge.example.com/status");
//! client.update_application_hooks("0397dc5f-2f8f-4778-8499-0af934dd1196", &hooks).await?;
//! # Ok(())
//! # }
//! ```
//!
//! What needs no network:
//!
//! ```
//! use codex_jambonz_api::{Error, application_in_uri};
//!
//! let sid = application_in_uri("sip:APP-0397DC5F-2F8F-4778-8499-0AF934DD1196@[2001:db8::1]:8443;transport=ws")?;
//! assert_eq!(sid.unwrap().to_string(), "0397dc5f-2f8f-4778-8499-0af934dd1196");
//! assert_eq!(application_in_uri("sip:170@sip.example.com")?, None);
//! assert!(matches!(application_in_uri("170"), Err(Error::BadUri { .. })));
//! # Ok::<(), Error>(())
//! ```
//!
//! # What is where
//!
//! ```text
//!  JambonzApiClient ── names ────── near cache, moka: store, one flight a sid, one list    feature `client`
//!     │    │             └───────── freshness: how old a name may be                     no moka, tokio, reqwest
//!     │    └── requests ── retries, total deadline, rate limit, pages
//!     │           └─────── exchange ── reqwest, rustls, gzip, brotli, body limit
//!     ▼
//!  port ApplicationNames (codex-core-sip) ◄── widget, bridge           mock: MockApplicationNames, feature `mock`
//! ```
//!
//! | item | what it is | feature |
//! |---|---|---|
//! | [`JambonzApiClient`], [`JambonzApiConfig`] | the client and what it has to be told | `client` |
//! | [`application_in_uri`], [`ToApplicationSid`], [`AccountSid`], [`CallSid`] | sids, checked before anything is sent | |
//! | [`Application`], [`Webhook`], [`EnvironmentVariables`], [`Call`] | what jambonz answers with, secrets in secret types | |
//! | [`ApplicationHooks`] | where an application's hooks are to point | `client` |
//! | [`freshness`], [`CachePolicy`], [`Clock`] | how long names are good for, and time from outside | |
//! | [`Error`] | what can go wrong, and what to do about it | |
//!
//! `default = ["client"]`. With `default-features = false` there is no tokio, moka, reqwest or TLS, and the crate builds
//! for the browser.
//!
//! # How old a name may be
//!
//! Five minutes ([`CachePolicy::FRESH_FOR`]) it is served as it is; a week longer it is served at once and fetched again in
//! the background, whether the API answers or not. So a call waits for a name only if nobody has asked for it yet, or not
//! for a week, and then for [`total_timeout`](JambonzApiClientBuilder::total_timeout) at most. Whoever gives up sooner (drops
//! the future) stops nothing: the answer is kept for the next who asks. That there is *no* such application is remembered
//! for 30 seconds. `clear_cache` forgets everything, and what requests under way bring as well.
//!
//! # What it costs jambonz
//!
//! jambonz allows 600 requests in 5 minutes for the whole platform by default. Who wants one name alone asks for it alone;
//! who wants several at once, or near the end of the budget, gets them from one list. A 429 is obeyed by the whole client:
//! it asks nothing before the wait is over and says so in [`Error::RateLimited`].
//!
//! # Secrets
//!
//! The API key, hook passwords, environment variables and the webhook secret are [`secrecy`] types; they are in no
//! `Debug`, no error, no log and not in the cache, which holds names only. Of an answer's body, errors quote the `msg` with
//! which jambonz explains a refusal, and the title of a page that is no answer of jambonz, without our key. A base URL
//! without https is refused unless it is a loopback address, or a host that was named for it
//! ([`allow_insecure_host`](JambonzApiClientBuilder::allow_insecure_host)). Redirects are not followed, so that the key goes
//! to no other address. `HTTPS_PROXY`, `HTTP_PROXY`, `ALL_PROXY` and `NO_PROXY` are obeyed, except for loopback addresses:
//! a proxy for https sees the host, one for http everything.
//!
//! # For users of the TypeScript `JambonzApiClient`
//!
//! | there | here | what is different |
//! |---|---|---|
//! | `new JambonzApiClient({apiBaseUrl, apiKey, accountSid})` | [`JambonzApiClient::new`], [`from_env`](JambonzApiClient::from_env), [`builder`](JambonzApiClient::builder) | wrong settings are told at once, before any request |
//! | `getApplicationName(sid)` | [`get_application_name`](JambonzApiClient::get_application_name) | `None` where that was `undefined`; why there is no answer is an [`Error`]; names are kept for five minutes, not for ever |
//! | `getApplicationNameFromUri(uri)` | [`get_application_name_from_uri`](JambonzApiClient::get_application_name_from_uri) | the URI is parsed: a GUID in a host or a parameter is not an application |
//! | `getApplications(useCache = true)` | [`get_applications`](JambonzApiClient::get_applications) | asks each time, as `getApplications(false)` did: applications hold secrets and are not kept, their names are |
//! | `getApplication(sid)` | [`get_application`](JambonzApiClient::get_application) | [`Error::NotFound`] if there is none |
//! | `clearCache()` | [`clear_cache`](JambonzApiClient::clear_cache) | wins over requests under way |
//! | `updateApplicationWebhooks(sid)` | [`update_application_hooks`](JambonzApiClient::update_application_hooks) | the URLs are arguments, everything else stays; `custom_headers`, which jambonz does not have, are not sent |
//! | `updateCallMetadata(callSid, data)` | [`update_call_metadata`](JambonzApiClient::update_call_metadata) | sends what jambonz has for it, update-call with `tag` |
//! | `getCall(callSid)` | [`get_call`](JambonzApiClient::get_call) | |
//! | `getPhoneNumbers()` | not carried over | nothing in this stack needs phone numbers, and no answer to that request was recorded to hold a type against |
//!
//! # What it is not
//!
//! Not a client of all of jambonz' REST API: what this stack needs is there, typed and tested against recorded answers.
//! It starts no calls and buys no numbers.

#![cfg_attr(
    not(feature = "client"),
    allow(rustdoc::broken_intra_doc_links, reason = "the client is documented where it is")
)]

mod application;
mod call;
#[cfg(feature = "client")]
mod client;
mod clock;
#[cfg(feature = "client")]
mod config;
mod error;
pub mod freshness;
#[cfg(feature = "client")]
mod hooks;
#[cfg(feature = "client")]
mod listing;
#[cfg(feature = "client")]
mod rate_limit;
mod sid;

pub use application::{Application, EnvironmentVariables, Webhook};
pub use call::Call;
#[cfg(feature = "client")]
pub use client::{HooksUpdate, JambonzApiClient, JambonzApiClientBuilder};
pub use clock::Clock;
#[cfg(feature = "client")]
pub use clock::SystemClock;
#[cfg(feature = "mock")]
pub use codex_core_sip::application_names::MockApplicationNames;
pub use codex_core_sip::application_names::{ApplicationNames, NameLookupError};
pub use codex_core_sip::metadata::{ApplicationName, ApplicationSid};
#[cfg(feature = "client")]
pub use config::{JAMBONZ_ACCOUNT_SID, JAMBONZ_API_BASE_URL, JAMBONZ_API_KEY, JambonzApiConfig};
pub use error::{Error, Result};
pub use freshness::CachePolicy;
#[cfg(feature = "client")]
pub use hooks::{ApplicationHooks, Hook, HookCredentials};
pub use sid::{AccountSid, CallSid, ToApplicationSid, application_in_uri};
