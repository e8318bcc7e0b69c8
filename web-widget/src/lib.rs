//! A ready client from env-style keys, for whoever has the `.env` of the older TypeScript packages: `createClient` in Rust.
//!
//! ```
//! use codex_web_widget::{KeyValues, Settings};
//!
//! let keys = KeyValues::from_env_file(".env", r#"
//!     VITE_JAMBONZ_SIP_DOMAIN=sip.example.com
//!     VITE_JAMBONZ_WSS_ADDRESS=wss://sip.example.com:8443
//!     VITE_JAMBONZ_SIP_USERNAME=170
//!     VITE_JAMBONZ_SIP_PASSWORD='p$ss#word'
//!     VITE_TARGET_SIP_URI=sip:app-0397dc5f-2f8f-4778-8499-0af934dd1196@sip.example.com
//!     VITE_DEFAULT_LANG=ru
//!     CUSTOMER_DATA='{"clientId":"user_12345","clientName":"Иван Иванов","callType":"webcall"}'
//! "#)?;
//! let settings = Settings::from_keys(&keys)?;
//! assert_eq!(settings.sip.default_language.as_str(), "ru");
//! assert!(settings.warnings.is_empty());
//!
//! // Everything that is wrong is told at once, in English and Russian, without a secret.
//! let wrong = keys.over_by([("JAMBONZ_WSS_ADDRESS", "https://sip.example.com"), ("CUSTOMER_DATA", r#"{"callType": }"#)]);
//! let problems = Settings::from_keys(&wrong).unwrap_err().to_string();
//! assert!(problems.contains(r#"JAMBONZ_WSS_ADDRESS = "https://sip.example.com": it must begin with wss://"#));
//! assert!(problems.contains("CUSTOMER_DATA") && problems.contains("line 1, column 14"));
//! # Ok::<(), codex_web_widget::KeyProblems>(())
//! ```
//!
//! With the feature `client`, `create_client(&keys, engine)` answers with a [`Client`]: core-sip's `CodexSipClient` whose
//! target's name is looked up at jambonz' API in the background.
//!
//! # What is where
//!
//! ```text
//!  process environment ─┐                        warnings ▲   ▲ KeyProblems: all at once
//!  .env text ───────────┤► KeyValues ─► Settings ─────────┴───┘
//!  JSON object ─────────┤               │ SipClientConfig, ApiAccess                        no I/O, builds for the browser
//!  map ─────────────────┘               ▼
//!                              create_client ─► Client = CodexSipClient + ApplicationNames   feature `client` (tokio)
//!                                                 ▲
//!                              codex-call ────────┘ register, call, answer, listen, doctor   feature `codex-call`
//! ```
//!
//! | module | what it is | feature |
//! |---|---|---|
//! | [`keys`] | [`KeyValues`] from every source, their names, problems and warnings, misspelt keys | |
//! | `settings` | [`Settings`]: every value checked and turned into what core-sip takes | |
//! | `languages` | [`text_locale`]: which language a text is in | |
//! | `client` | [`create_client`], [`Client`] | `client` |
//! | program `codex-call` | calls from a shell, and the doctor of a deployment | `codex-call` |
//! | `codex-call --mic` | the sound card | `audio-device` |
//!
//! # The keys
//!
//! Each with or without the prefix `VITE_`; without it counts where both are there. In a `.env` file `KEY=value` and
//! `KEY: value` are the same, as for the npm package `dotenv`. Of several sources, one is laid
//! [`over`](KeyValues::over) the other.
//!
//! | key | default | what it says | since |
//! |---|---|---|---|
//! | `JAMBONZ_SIP_DOMAIN` | required | the account's SIP realm | older |
//! | `JAMBONZ_WSS_ADDRESS` | required | the edge, `wss://host:port`; `ws://` to another machine is warned of | older |
//! | `JAMBONZ_SIP_USERNAME`, `JAMBONZ_SIP_PASSWORD` | required | who registers and calls | older |
//! | `TARGET_SIP_URI` | required | whom to call, sent as it is | older |
//! | `TARGET_APPLICATION_NAME` | none | its readable name; else it is looked up, else there is none | older |
//! | `DEFAULT_LANG`, `FALLBACK_LANG` | `en` | languages, BCP 47 | older |
//! | `STUN_URLS`, `TURN_URLS` | none | lists with commas or white space; TURN as `turn:user:password@host:port` if need be | older |
//! | `TURN_USERNAME`, `TURN_PASSWORD` | none | for TURN URLs that carry none | new |
//! | `ICE_TRANSPORT_POLICY` | `all` | `all` or `relay` | new |
//! | `MAX_REGISTER_RETRIES` | `5` | tries of a registration, if `INFINITE_RECONNECT` is off | older |
//! | `INFINITE_RECONNECT` | `true` | `true`, `false` | older |
//! | `KEEP_ALIVE_INTERVAL` | `30000` | milliseconds, `0` is off | older |
//! | `CUSTOMER_DATA` | none | JSON, [`CustomerData`](codex_core_sip::metadata::CustomerData) | older |
//! | `USER_TO_USER_ENCODING` | `hex` | `hex`, `base64`, `off` | new |
//! | `JAMBONZ_API_BASE_URL`, `JAMBONZ_API_KEY`, `JAMBONZ_ACCOUNT_SID` | none | to look the target's name up; all three or none | older, new, new |
//! | `REQUIRE_TLS` | `false` | makes `ws://` to another machine an error | new |
//!
//! # From the TypeScript packages
//!
//! | there | here |
//! |---|---|
//! | `createClient(config)` | `create_client(&keys, engine)`; `keys` from [`KeyValues::from_json`], [`KeyValues::from_pairs`], … |
//! | `new CodexSipClient({domain, wssServer, username, password, targetUri, …})` | `CodexSipClient::new(SipClientConfig::new(…), engine)` in core-sip |
//! | `iceServers`, `defaultLanguage`, `fallbackLanguage`, `maxRegisterRetries`, `infiniteReconnect`, `keepAliveInterval`, `customerData`, `targetApplicationName`, `extraHeaders` | the fields of [`SipClientConfig`](codex_core_sip::config::SipClientConfig) of the same names in snake case |
//! | `onMetrics`, `onLog` | `Event::Metrics`, `Event::Log` on the stream of events |
//! | `client.on(name, f)`, `once`, `off` | `client.events()`: a stream of [`Event`](codex_core_sip::event::Event), dropped to unsubscribe |
//! | events `registration`, `call`, `incomingCall`, `metrics`, `ice`, `dtmf`, `reconnecting`, `language`, `log` | `Event::Registration`, `Call`, `IncomingCall`, `Metrics`, `Ice`, `Dtmf`, `Reconnecting`, `Language`, `Log`; as JSON they are what they were |
//! | `state`, `language` | `state()`, `language()` |
//! | `setLanguage(l)` | `set_language(l)` |
//! | `register()`, `unregister()` | the same |
//! | `startCall({language, extraHeaders, targetUri, customerData})` | `start_call(StartCall { … })` |
//! | `hangup(reason)`, `acceptIncomingCall({language})`, `rejectIncomingCall(reason)` | `hangup`, `accept_incoming_call`, `reject_incoming_call` |
//! | `mute()`, `unmute()`, `setSpeakerMuted(b)`, `sendDtmf(tone)` | `mute`, `unmute`, `set_speaker_muted`, `send_dtmf` |
//! | `setRemoteAudioElement(el)`, `getLocalMediaStream()` | natively the media engine's `AudioSource` and `AudioSink`; in the browser they stay |
//! | `checkConnection()`, `destroy()` | `check_connection`, `destroy` |
//! | `new JambonzApiClient({apiBaseUrl, apiKey, accountSid})` and its methods | `codex_jambonz_api::JambonzApiClient`, the names in snake case; `updateApplicationWebhooks` is `update_application_hooks` |
//!
//! Deliberate differences:
//!
//! - **User-to-User** is written in hex (RFC 7433) and holds every language; the older base64 lost what was not Latin.
//!   `USER_TO_USER_ENCODING=base64` is there for receivers made for the older form.
//! - **The target is never rewritten.** The older client put a name in the place of the GUID, which jambonz cannot route.
//!   (A target without `sip:` is completed, as JsSIP did, and warned of.)
//! - **Customer data that is no JSON is an error** that names line, column and field; it was ignored.
//! - **No name means no arrow**: without a configured or looked-up name, `applicationName` is absent, From is
//!   `webcall:<tag>`, To is `voicebot`. The older default was the name `voicebot` for every application.
//! - **`metrics`** come every 5 s and with each change of ICE as they did, and besides a second after the first audio packet
//!   and with the far end's first report; they tell jitter, loss, MOS and what the far end received as well.
//! - An incoming call shows its caller's own data, not the configured one.
//! - `DEFAULT_LANG` and `FALLBACK_LANG` may be left out; they must be BCP 47 tags (`ru-RU`, not `ru_RU`).
//! - Wrong numbers, booleans and URLs are errors; they fell back to defaults.
//! - `KEEP_ALIVE_INTERVAL` is 0 or at least 1000 ms: less is taken for seconds written by mistake, and is an error.
//! - `JAMBONZ_API_BASE_URL` with `http://` to another machine is an error where there is an API key, which would be sent
//!   readably; without a key it is warned of.
//!
//! # What it is not
//!
//! Not the widget that a page shows, nor its WebAssembly: those are made of this (`web-widget/browser`, `web-widget/npm`).

#![cfg_attr(
    not(feature = "client"),
    allow(rustdoc::broken_intra_doc_links, reason = "the client is documented where it is")
)]

#[cfg(feature = "client")]
mod client;
mod error;
pub mod keys;
mod languages;
mod settings;
mod text;

#[cfg(feature = "client")]
pub use client::{Client, FIRST_CALL_NAME_WAIT, application_names, create_client};
pub use error::{Error, Result};
pub use keys::{KeyProblem, KeyProblems, KeyValues, KeyWarning};
pub use languages::text_locale;
pub use settings::{ApiAccess, Settings, WebSocketAddress};
pub use text::Text;
