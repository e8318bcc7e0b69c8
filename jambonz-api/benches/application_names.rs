//! What a name in memory costs, beside moka alone in the same run.
//!
//! `cargo bench -p codex-jambonz-api --bench application_names`. The bars: `cached_name/inherent` at most 150 ns, and at
//! most 1.5 times `cached_name/moka_alone`.

#![allow(missing_docs, reason = "criterion's macros make items without documentation")]
#![allow(clippy::unwrap_used, reason = "a benchmark that cannot be set up ends")]

#[path = "../../tests/src/jambonz.rs"]
#[allow(dead_code, unreachable_pub, reason = "the stand-in is shared with the end-to-end tests, which use all of it")]
mod jambonz;

use std::future::Future;
use std::hint::black_box;
use std::pin::pin;
use std::task::{Context, Poll, Waker};

use codex_core_sip::metadata::{ApplicationName, ApplicationSid};
use codex_jambonz_api::{ApplicationNames, JambonzApiClient};
use criterion::{Criterion, criterion_group, criterion_main};
use jambonz::{ACCOUNT_KEY, ACCOUNT_SID, HELLO_WORLD, JambonzApi};

/// A future that is ready at once: what is measured is the look-up, not a runtime.
fn ready<T>(future: impl Future<Output = T>) -> Option<T> {
    match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(value) => Some(value),
        Poll::Pending => None,
    }
}

fn cached_name(criterion: &mut Criterion) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let _guard = runtime.enter();
    let api = runtime.block_on(JambonzApi::start()).unwrap();
    let client = JambonzApiClient::builder()
        .api_base_url(api.base_url())
        .api_key(ACCOUNT_KEY)
        .account_sid(ACCOUNT_SID)
        .build()
        .unwrap();
    let sid: ApplicationSid = HELLO_WORLD.parse().unwrap();
    let name = runtime.block_on(client.get_application_name(sid)).unwrap().unwrap();
    let moka_alone: moka::sync::Cache<ApplicationSid, ApplicationName> = moka::sync::Cache::new(10_000);
    moka_alone.insert(sid, name);
    let uri = format!("sip:app-{HELLO_WORLD}@sip.example.com;transport=ws");

    let mut group = criterion.benchmark_group("cached_name");
    group.bench_function("moka_alone", |b| b.iter(|| moka_alone.get(black_box(&sid)).unwrap()));
    group.bench_function("inherent", |b| {
        b.iter(|| ready(client.get_application_name(black_box(sid))).unwrap().unwrap());
    });
    group.bench_function("inherent_from_text", |b| {
        b.iter(|| ready(client.get_application_name(black_box(HELLO_WORLD))).unwrap().unwrap());
    });
    group.bench_function("from_uri", |b| {
        b.iter(|| ready(client.get_application_name_from_uri(black_box(&uri))).unwrap().unwrap());
    });
    let port: &dyn ApplicationNames = &client;
    group.bench_function("through_the_port", |b| {
        b.iter(|| ready(port.application_name(black_box(sid))).unwrap().unwrap());
    });
    group.finish();
    assert_eq!(api.request_lines().len(), 1);
}

criterion_group!(benches, cached_name);
criterion_main!(benches);
