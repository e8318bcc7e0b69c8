//! What a hostile peer sends to core-sip, and what must hold whatever it sends.
//!
//! Each [`Target`] takes any bytes, hands them to one part of core-sip and checks what must hold of the outcome. It
//! panics if something does not: that is how a fuzzer and a test both learn of it. The same bodies run in two ways:
//!
//! - as targets of `cargo fuzz` (folder `fuzz/`), which look for new paths through the code by its coverage;
//! - with [`Mutator`], whose changes of valid [`seeds`](Target::seeds) depend on a number only, as tests on the stable
//!   compiler: a few thousand in every test run, 10⁶ of each target in `cargo xtask soak`.
//!
//! ```text
//! wire         message, URI, typed headers, SDP, digests: what is read is also written, copied, compared
//! user_agent   a whole user agent and a peer that says anything at any time, on a clock that the input moves
//! mutation     changes of valid input that a number determines
//! ```
#![expect(clippy::panic, reason = "a broken invariant is told by a panic: fuzzers and tests listen for it")]

mod mutation;
mod user_agent;
mod wire;

pub use mutation::Mutator;
pub use user_agent::HostilePeer;

/// A part of core-sip that takes bytes from outside.
#[derive(Debug, Clone, Copy)]
pub struct Target {
    /// The name of the fuzz target.
    pub name: &'static str,
    /// Hands over any bytes; panics if something does not hold.
    pub run: fn(&[u8]),
    /// Valid input to begin with.
    pub seeds: &'static [&'static [u8]],
}

/// An INVITE with everything in it that core-sip types.
pub(crate) const INVITE: &[u8] = include_bytes!("../seeds/invite.sip");
const TRYING: &[u8] = include_bytes!("../seeds/unauthorized.sip");
const FOLDED: &[u8] = include_bytes!("../seeds/folded.sip");
pub(crate) const OFFER: &[u8] = include_bytes!("../seeds/offer.sdp");

/// All of them.
pub const TARGETS: [Target; 6] = [
    Target { name: "message", run: wire::message, seeds: &[INVITE, TRYING, FOLDED] },
    Target {
        name: "uri",
        run: wire::uri,
        seeds: &[
            b"sip:alice:secret@example.com:5061;transport=tcp;lr?subject=a%20b&priority=urgent",
            b"sips:%61lice@[2001:db8::1]:5061;user=phone",
            b"tel:+7-495-123;phone-context=example.com",
            b"urn:service:sos",
            b"sip:a@b\0sip:%61@B:5060",
        ],
    },
    Target {
        name: "header",
        run: wire::header,
        seeds: &[
            b"\"A. \\\"G.\\\" Bell\" <sip:a@example.com;lr?x=y>;tag=1;+sip.instance=\"<urn:uuid:0>\", <sip:b>",
            b"SIP / 2.0 / WSS [2001:db8::9]:5060 ;received=192.0.2.1;rport;branch=z9hG4bK77ef4c2312983.1",
            b"314159 INVITE",
            b"multipart/mixed;boundary=\"a b\"",
        ],
    },
    Target {
        name: "sdp",
        run: wire::sdp,
        seeds: &[OFFER, b"v=0\no=- 1 1 IN IP4 0.0.0.0\ns=-\nt=0 0\nm=audio 9 RTP/AVP 0\n"],
    },
    Target {
        name: "digest",
        run: wire::digest,
        seeds: &[
            b"Digest realm=\"atlanta.com\", domain=\"sip:ss1.carrier.com\", qop=\"auth,auth-int\", \
              nonce=\"f84f1cec41e6cbe5aea9c8e88d359\", opaque=\"\", stale=FALSE, algorithm=MD5",
            b"Digest realm=\"a\", nonce=\"b\", algorithm=SHA-512-256, Digest realm=\"a\", nonce=\"c\", algorithm=SHA-256",
            b"Digest username=\"alice\", realm=\"example.com\", nonce=\"a\", uri=\"sip:example.com\", qop=auth, \
              nc=00000001, cnonce=\"0a4f113b\", response=\"6629fae49393a05397450978507c4ef1\"",
            b"nextnonce=\"x\", qop=auth, rspauth=\"1\"",
        ],
    },
    Target { name: "user_agent", run: user_agent::run, seeds: user_agent::SEEDS },
];

/// Runs the target called `name`, for the fuzzer's programs.
///
/// # Panics
///
/// If something does not hold, or if there is no such target.
pub fn run(name: &str, data: &[u8]) {
    match TARGETS.iter().find(|target| target.name == name) {
        Some(target) => (target.run)(data),
        None => panic!("no target {name}"),
    }
}
