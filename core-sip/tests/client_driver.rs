//! `CodexSipClient` with a media engine that misbehaves.

#![cfg(feature = "client")]
#![expect(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use codex_core_sip::client::{CodexSipClient, StartCall};
use codex_core_sip::config::SipClientConfig;
use codex_core_sip::event::CallState;
use codex_core_sip::media::{MediaEngine, MediaNotifier, MediaSession, MediaSettings};
use codex_core_sip::transport::{SignalingFlow, SignalingTransport};
use codex_core_sip::{Error, MediaFault, Result};
use tokio::time::timeout;

/// An edge that never answers.
struct Nowhere;

#[async_trait]
impl SignalingTransport for Nowhere {
    async fn connect(&self) -> Result<Box<dyn SignalingFlow>> {
        core::future::pending().await
    }
}

struct Hangs;

#[async_trait]
impl MediaEngine for Hangs {
    async fn create_session(&self, _: MediaSettings, _: MediaNotifier) -> Result<Box<dyn MediaSession>> {
        core::future::pending().await
    }
}

struct Panics;

#[async_trait]
impl MediaEngine for Panics {
    async fn create_session(&self, _: MediaSettings, _: MediaNotifier) -> Result<Box<dyn MediaSession>> {
        panic!("the sound card has caught fire")
    }
}

fn client(engine: impl MediaEngine + 'static) -> CodexSipClient {
    let config = SipClientConfig::new(
        "sip.example.com",
        "ws://127.0.0.1:9",
        "170",
        "secret".to_owned().into(),
        "sip:app-0397dc5f-2f8f-4778-8499-0af934dd1196@sip.example.com",
    );
    CodexSipClient::builder(config, Arc::new(engine)).transport(Arc::new(Nowhere)).build().unwrap()
}

#[tokio::test(start_paused = true)]
async fn a_media_engine_that_hangs_does_not_hold_up_destroy() {
    let client = client(Hangs);
    let calling = tokio::spawn({
        let client = client.clone();
        async move { client.start_call(StartCall::default()).await }
    });
    while client.state() == CallState::Idle {
        tokio::task::yield_now().await;
    }
    timeout(Duration::from_secs(10), client.destroy()).await.unwrap().unwrap();
    assert!(calling.await.unwrap().is_err());
}

#[tokio::test(start_paused = true)]
async fn a_media_engine_that_panics_ends_the_call_with_an_error() {
    let client = client(Panics);
    let result = timeout(Duration::from_secs(1), client.start_call(StartCall::default())).await.unwrap();
    assert!(matches!(result, Err(Error::Media { fault: MediaFault::Engine(_) })), "{result:?}");
    assert_eq!(client.state(), CallState::Idle);
    client.destroy().await.unwrap();
}
