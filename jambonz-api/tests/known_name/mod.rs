//! A client that has one name in memory, for those who look at what reading it costs.

#[path = "../../../tests/src/jambonz.rs"]
#[allow(dead_code, unreachable_pub, reason = "the stand-in is shared with the end-to-end tests, which use all of it")]
pub(crate) mod jambonz;

use std::future::Future;
use std::pin::pin;
use std::task::{Context, Poll, Waker};

use codex_jambonz_api::{ApplicationName, ApplicationSid, JambonzApiClient};
pub(crate) use jambonz::HELLO_WORLD;
use jambonz::{ACCOUNT_KEY, ACCOUNT_SID, JambonzApi};

/// The client, its API, and the runtime of both.
pub(crate) struct KnownName {
    pub(crate) client: JambonzApiClient,
    /// [`HELLO_WORLD`].
    pub(crate) sid: ApplicationSid,
    pub(crate) name: ApplicationName,
    api: JambonzApi,
    _runtime: tokio::runtime::Runtime,
}

impl KnownName {
    pub(crate) fn new() -> Self {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let api = runtime.block_on(JambonzApi::start()).unwrap();
        let builder = JambonzApiClient::builder().api_base_url(api.base_url());
        let client = builder.api_key(ACCOUNT_KEY).account_sid(ACCOUNT_SID).build().unwrap();
        let sid = HELLO_WORLD.parse().unwrap();
        let name = runtime.block_on(client.get_application_name(sid)).unwrap().unwrap();
        Self { client, sid, name, api, _runtime: runtime }
    }

    /// How many requests the API has had.
    pub(crate) fn requests(&self) -> usize {
        self.api.request_lines().len()
    }
}

/// What a future is ready with at once. Polled by hand: a runtime has allocations, and takes time, of its own.
pub(crate) fn ready<T>(future: impl Future<Output = T>) -> Option<T> {
    match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(value) => Some(value),
        Poll::Pending => None,
    }
}
