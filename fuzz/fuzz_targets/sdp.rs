#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| codex_hostile::run("sdp", data));
