//! What a name in memory costs, beside moka alone in the same run.
//!
//! `cargo bench -p codex-jambonz-api --bench application_names`. The bars: `cached_name/inherent` at most 150 ns, and at
//! most 1.5 times `cached_name/moka_alone`.

#![allow(missing_docs, reason = "criterion's macros make items without documentation")]
#![allow(clippy::unwrap_used, reason = "a benchmark that cannot be set up ends")]

#[path = "../tests/known_name/mod.rs"]
mod known_name;

use std::hint::black_box;

use codex_jambonz_api::{ApplicationName, ApplicationNames, ApplicationSid};
use criterion::{Criterion, criterion_group, criterion_main};
use known_name::{HELLO_WORLD, KnownName, ready};

fn cached_name(criterion: &mut Criterion) {
    let known = KnownName::new();
    let (client, sid) = (&known.client, known.sid);
    let moka_alone: moka::sync::Cache<ApplicationSid, ApplicationName> = moka::sync::Cache::new(10_000);
    moka_alone.insert(sid, known.name.clone());
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
    let port: &dyn ApplicationNames = client;
    group.bench_function("through_the_port", |b| {
        b.iter(|| ready(port.application_name(black_box(sid))).unwrap().unwrap());
    });
    group.finish();
    assert_eq!(known.requests(), 1);
}

criterion_group!(benches, cached_name);
criterion_main!(benches);
