//! A name in memory is handed out without allocation.

#[path = "../../tests/src/jambonz.rs"]
#[allow(dead_code, unreachable_pub, reason = "the stand-in is shared with the end-to-end tests, which use all of it")]
mod jambonz;

use codex_core_sip::metadata::ApplicationSid;
use codex_jambonz_api::JambonzApiClient;
use jambonz::{ACCOUNT_KEY, ACCOUNT_SID, HELLO_WORLD, JambonzApi};

#[test]
fn a_name_in_memory_costs_no_allocation() {
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
    let ask = |times: u32| {
        for _ in 0..times {
            // Polled by hand: a runtime has allocations of its own.
            let mut context = std::task::Context::from_waker(std::task::Waker::noop());
            for name in [
                std::pin::pin!(client.get_application_name(sid)).poll(&mut context),
                std::pin::pin!(client.get_application_name(HELLO_WORLD)).poll(&mut context),
            ] {
                let std::task::Poll::Ready(Ok(Some(name))) = name else { panic!("not in memory") };
                assert_eq!(&*name, "hello world");
            }
        }
    };
    runtime.block_on(client.get_application_name(sid)).unwrap();
    // The first reads set up what moka and its epochs keep for a thread.
    ask(1000);
    let info = allocation_counter::measure(|| ask(10_000));
    assert_eq!(info.count_total, 0, "{info:?}");
    assert_eq!(api.request_lines().len(), 1);
}
