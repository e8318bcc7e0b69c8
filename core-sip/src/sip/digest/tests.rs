//! The RFCs' own vectors, and both sides against each other.

use super::*;
use crate::random::SeededRandom;
use crate::sip::message::MessageBuilder;

const LEGACY_NONCE: &str = "dcd98b7102dd2f0e8b11d0f600bfb0c093";

struct Vector {
    source: &'static str,
    algorithm: Algorithm,
    user: &'static str,
    realm: &'static str,
    password: &'static str,
    nonce: &'static str,
    method: &'static str,
    uri: &'static str,
    qop: Option<(Qop, &'static str)>,
    body: &'static [u8],
    response: &'static str,
}

#[test]
fn responses_are_those_of_the_rfcs() {
    let rfc7616 = |algorithm, response| Vector {
        source: "RFC 7616 §3.9.1",
        algorithm,
        user: "Mufasa",
        realm: "http-auth@example.org",
        password: "Circle of Life",
        nonce: "7ypf/xlj9XXwfDPEoM4URrv/xwf94BcCAzFZH4GiTo0v",
        method: "GET",
        uri: "/dir/index.html",
        qop: Some((Qop::Auth, "f2/wE4q74E6zIJEtWaHKaf5wv/H5QzzpXusqGemxURZJ")),
        body: b"",
        response,
    };
    // The RFCs have no example of these; the values were computed with another implementation of the hashes.
    let bob = |algorithm, qop, response| Vector {
        source: "computed with Python's hashlib",
        algorithm,
        user: "bob",
        realm: "biloxi.com",
        password: "zanzibar",
        nonce: LEGACY_NONCE,
        method: "INVITE",
        uri: "sip:bob@biloxi.com",
        qop,
        body: b"v=0\r\n",
        response,
    };
    let int = Some((Qop::AuthInt, "0a4f113b"));
    let vectors = [
        Vector {
            source: "RFC 2617 §3.5",
            algorithm: Algorithm::Md5,
            user: "Mufasa",
            realm: "testrealm@host.com",
            password: "Circle Of Life",
            nonce: LEGACY_NONCE,
            method: "GET",
            uri: "/dir/index.html",
            qop: Some((Qop::Auth, "0a4f113b")),
            body: b"",
            response: "6629fae49393a05397450978507c4ef1",
        },
        rfc7616(Algorithm::Md5, "8ca523f5e9506fed4657c9700eebdbec"),
        rfc7616(Algorithm::Sha256, "753927fa0e85d155564e2e272a28d1802ca10daf4496794697cf8db5856cb6c1"),
        Vector {
            source: "RFC 7616 §3.9.2 with erratum 4897",
            algorithm: Algorithm::Sha512_256,
            user: "Jäsøn Doe",
            realm: "api@example.org",
            password: "Secret, or not?",
            nonce: "5TsQWLVdgBdmrQ0XsxbDODV+57QdFR34I9HAbC/RVvkK",
            method: "GET",
            uri: "/doe.json",
            qop: Some((Qop::Auth, "NTg6RKcb9boFIAS3KrFK9BGeh+iDa/sm6jUMp2wds69v")),
            body: b"",
            response: "3798d4131c277846293534c3edc11bd8a5e4cdcbff78b05db9d95eeb1cec68a5",
        },
        bob(Algorithm::Md5, None, "bf57e4e0d0bffc0fbaedce64d59add5e"),
        bob(Algorithm::Sha256, None, "38aad98c50c33abe72c5f88dd17246ffcfa6b1f68852c855719ff0659386c0ca"),
        bob(Algorithm::Sha512_256, None, "9e960b3a01beb63f1ea5d45d43bd8a2178879d3c9ddbbdb0624187ca823c6eca"),
        bob(Algorithm::Md5, int, "77226bb823dc077c1ad3537415667bae"),
        bob(Algorithm::Sha256, int, "554a9ffe79ce71c3cb6c9630deddd2787d8033f895e5cdef6a73c8e84ed4c979"),
        bob(Algorithm::Sha512_256, int, "e9a7fbc1c80a10421c59a0c982f28d40e0ddc7b62ef3dc4faf68f179c6e05922"),
    ];
    for v in vectors {
        let response = Response {
            algorithm: v.algorithm,
            nonce: v.nonce,
            qop: v.qop.map(|(qop, cnonce)| (qop, "00000001", cnonce)),
            method: v.method,
            uri: v.uri,
            body: v.body,
        }
        .compute(ha1(v.algorithm, v.user, v.realm, &v.password.into()).expose_secret());
        assert_eq!(response, v.response, "{} {}", v.source, v.algorithm);
    }
}

#[test]
fn challenges_are_read() {
    let both = "Digest realm=\"a, \\\"b\\\"\", nonce=\"n1\" , qop=\"auth,auth-int\",algorithm=SHA-256, stale=TRUE, \
                Bearer token68==, DIGEST nonce=n2,realm=\"c\", opaque=\"\", future=1";
    let challenges = Challenge::parse_all(both).unwrap();
    assert_eq!(challenges.len(), 2, "{challenges:?}");
    assert_eq!(challenges[0].realm, "a, \\\"b\\\"");
    assert_eq!(challenges[0].qop, [Qop::Auth, Qop::AuthInt]);
    assert!(challenges[0].stale && challenges[0].algorithm == Some(Algorithm::Sha256));
    assert_eq!((challenges[1].nonce.as_str(), challenges[1].opaque.as_deref()), ("n2", Some("")));
    assert!(!challenges[1].qop_named && !challenges[1].algorithm_named);
    assert_eq!(challenges[1].algorithm, Some(Algorithm::Md5));
    assert_eq!(Challenge::parse_all("NoOneKnowsThisScheme opaque-data=here").unwrap(), []);
    for wrong in [
        "Digest realm=\"a\"",
        "Digest realm=\"a\", nonce=\"n\", nonce=\"m\"",
        "Digest realm=\"a, nonce=\"n\"",
        "realm=\"a\", nonce=\"n\"",
        "Digest realm=, nonce=\"n\"",
        "Digest realm=\"a\" nonce=\"n\"",
        "\"Digest\" realm=\"a\"",
    ] {
        assert!(Challenge::parse_all(wrong).is_err(), "{wrong}");
    }
    let many = "Digest ".to_owned() + &(0..100).map(|i| format!("p{i}=1")).collect::<Vec<_>>().join(",");
    assert!(Challenge::parse_all(&many).is_err());
}

/// A request with these headers, as the server receives it.
fn request(uri: &str, fields: Vec<(Name, HeaderValue)>, body: &'static str) -> Message {
    let mut builder = MessageBuilder::request(&Method::Invite, uri)
        .unwrap()
        .field(Name::Via, HeaderValue::from_static("SIP/2.0/WS a.invalid;branch=z9hG4bK1"))
        .field(Name::From, HeaderValue::from_static("<sip:bob@biloxi.com>;tag=1"))
        .field(Name::To, HeaderValue::from_static("<sip:bob@biloxi.com>"))
        .field(Name::CallId, HeaderValue::from_static("c"))
        .cseq(1, &Method::Invite);
    for (name, value) in fields {
        builder = builder.field(name, value);
    }
    Message::parse(builder.body(HeaderValue::from_static("text/plain"), body).build()).unwrap()
}

fn response(request: &Message, status: StatusCode, name: Name, values: Vec<HeaderValue>) -> Message {
    let builder = MessageBuilder::response(request, status, None);
    Message::parse(values.into_iter().fold(builder, |b, value| b.field(name, value)).build()).unwrap()
}

struct Pair {
    client: DigestSession,
    server: DigestServer,
    random: SeededRandom,
    now: Time,
}

impl Pair {
    fn new(password: &str, settings: DigestServerSettings) -> Self {
        let credentials = Credentials { username: "bo\"b".to_owned(), password: password.into() };
        Self {
            client: DigestSession::new(credentials),
            server: DigestServer::new(settings),
            random: SeededRandom::new(1),
            now: Time::ZERO,
        }
    }

    fn signed(&mut self, uri: &str, body: &'static str) -> Message {
        let parts = AuthorizedRequest { method: &Method::Invite, uri, body: body.as_bytes() };
        let fields = self.client.authorize(parts, &mut self.random).unwrap();
        request(uri, fields, body)
    }

    fn verify(&mut self, message: &Message) -> Verification {
        self.server.verify(self.now, message, Name::Authorization, |user| {
            (user == "bo\"b").then(|| SecretString::from("zanzibar"))
        })
    }

    fn challenge(&mut self, attempt: &mut Attempt, message: &Message, stale: bool) -> Verdict {
        let challenges = self.server.challenges(self.now, &mut self.random, stale);
        let refusal = response(message, StatusCode::UNAUTHORIZED, Name::WwwAuthenticate, challenges);
        self.client.challenged(attempt, &refusal)
    }
}

const URI: &str = "sip:bob@biloxi.com";

fn accepted() -> Verification {
    Verification::Accepted { username: "bo\"b".to_owned() }
}

#[test]
fn only_the_first_request_of_a_realm_pays_a_round_trip() {
    let qops = [vec![Qop::Auth, Qop::AuthInt], vec![Qop::AuthInt], vec![Qop::Auth]];
    for algorithm in [Algorithm::Md5, Algorithm::Sha256, Algorithm::Sha512_256] {
        for qop in qops.clone() {
            let settings =
                DigestServerSettings { algorithms: vec![algorithm], qop, ..DigestServerSettings::new("the \"realm\"") };
            let mut pair = Pair::new("zanzibar", settings);
            let first = pair.signed(URI, "one");
            assert_eq!(pair.verify(&first), Verification::Missing);
            assert_eq!(pair.challenge(&mut Attempt::default(), &first, false), Verdict::Retry);
            for nc in ["nc=00000001", "nc=00000002", "nc=00000003"] {
                let message = pair.signed(URI, "one");
                assert!(message.header(Name::Authorization).unwrap().contains(nc));
                assert_eq!(pair.verify(&message), accepted(), "{algorithm}");
                assert_eq!(pair.verify(&message), Verification::Stale, "a replay");
            }
        }
    }
}

#[test]
fn the_strongest_known_algorithm_is_answered() {
    let mut pair = Pair::new("zanzibar", DigestServerSettings::new("r"));
    let message = request(URI, vec![], "");
    let challenges = ["MD5", "SHA-512-256-sess", "SHA-256", "NEW-1"].map(|a| {
        HeaderValue::new("", format!("Digest realm=\"r\", nonce=\"n\", qop=\"auth\", algorithm={a}")).unwrap()
    });
    let refusal = response(&message, StatusCode::UNAUTHORIZED, Name::WwwAuthenticate, challenges.into());
    assert_eq!(pair.client.challenged(&mut Attempt::default(), &refusal), Verdict::Retry);
    let value = pair.signed(URI, "").header(Name::Authorization).unwrap().into_owned();
    assert!(value.contains("algorithm=SHA-256,"), "{value}");
}

#[test]
fn what_cannot_be_answered_is_told() {
    let message = request(URI, vec![], "");
    for value in [
        "Digest realm=\"r\", nonce=\"n\", algorithm=MD5-sess",
        "Digest realm=\"r\", nonce=\"n\", qop=\"auth-conf\"",
        "Basic realm=\"r\"",
        "Digest realm=\"r",
    ] {
        let mut client = Pair::new("x", DigestServerSettings::new("r")).client;
        let refusal =
            response(&message, StatusCode::UNAUTHORIZED, Name::WwwAuthenticate, vec![HeaderValue::from_static(value)]);
        assert_eq!(client.challenged(&mut Attempt::default(), &refusal), Verdict::Unsupported, "{value}");
    }
}

#[test]
fn a_wrong_password_is_tried_once() {
    let mut pair = Pair::new("wrong", DigestServerSettings::new("r"));
    let mut attempt = Attempt::default();
    let message = pair.signed(URI, "");
    assert_eq!(pair.challenge(&mut attempt, &message, false), Verdict::Retry);
    let message = pair.signed(URI, "");
    assert_eq!(pair.verify(&message), Verification::Refused);
    assert_eq!(pair.challenge(&mut attempt, &message, false), Verdict::Refused);
    assert!(pair.signed(URI, "").header(Name::Authorization).is_none(), "refused credentials are not sent again");
}

#[test]
fn a_challenge_to_a_reused_nonce_is_answered_once() {
    let mut pair = Pair::new("zanzibar", DigestServerSettings::new("r"));
    let message = pair.signed(URI, "");
    assert_eq!(pair.challenge(&mut Attempt::default(), &message, false), Verdict::Retry);
    let mut attempt = Attempt::default();
    let message = pair.signed(URI, "");
    // A server that forgets its nonces and does not say `stale`.
    assert_eq!(pair.challenge(&mut attempt, &message, false), Verdict::Retry);
    let message = pair.signed(URI, "");
    assert_eq!(pair.verify(&message), accepted());
    assert_eq!(pair.challenge(&mut attempt, &message, false), Verdict::Refused);
}

#[test]
fn a_server_that_calls_every_nonce_stale_is_given_up() {
    let mut pair = Pair::new("zanzibar", DigestServerSettings::new("r"));
    let mut attempt = Attempt::default();
    let verdicts: Vec<_> = (0..5)
        .map(|_| {
            let message = pair.signed(URI, "");
            pair.challenge(&mut attempt, &message, true)
        })
        .take_while(|v| *v == Verdict::Retry)
        .collect();
    assert_eq!(verdicts.len(), 3);
}

#[test]
fn old_and_forgotten_nonces_are_stale() {
    let settings = DigestServerSettings { nonce_capacity: 2, ..DigestServerSettings::new("r") };
    let mut pair = Pair::new("zanzibar", settings);
    let message = pair.signed(URI, "");
    pair.challenge(&mut Attempt::default(), &message, false);
    let message = pair.signed(URI, "");
    pair.now += Duration::from_secs(301);
    assert_eq!(pair.verify(&message), Verification::Stale);
    pair.challenge(&mut Attempt::default(), &message, true);
    let message = pair.signed(URI, "");
    for _ in 0..2 {
        pair.server.challenges(pair.now, &mut SeededRandom::new(9), false);
    }
    assert_eq!(pair.verify(&message), Verification::Stale);
    assert_eq!(pair.server.nonces.len(), 2);
}

#[test]
fn credentials_for_something_else_are_refused() {
    let mut pair =
        Pair::new("zanzibar", DigestServerSettings { qop: vec![Qop::AuthInt], ..DigestServerSettings::new("r") });
    let message = pair.signed(URI, "");
    pair.challenge(&mut Attempt::default(), &message, false);
    let signed = pair.signed(URI, "body");
    let value = HeaderValue::new("", signed.header(Name::Authorization).unwrap()).unwrap();
    let with =
        |uri, value: &str, body| request(uri, vec![(Name::Authorization, HeaderValue::new("", value).unwrap())], body);
    let value = value.as_str();
    let cases = [
        ("another URI", with("sip:eve@biloxi.com", value, "body")),
        ("another body", with(URI, value, "else")),
        ("no qop", with(URI, &value.replace("qop=auth-int, ", ""), "body")),
        ("a quality that was not offered", with(URI, &value.replace("auth-int", "auth"), "body")),
        ("a count that is none", with(URI, &value.replace("nc=0", "nc=+"), "body")),
        ("another user", with(URI, &value.replace("bo\\\"b", "eve"), "body")),
        ("a response of another length", with(URI, &value.replace("response=\"", "response=\"0"), "body")),
        ("broken quotes", with(URI, &value.replace("nonce=\"", "nonce="), "body")),
    ];
    for (what, message) in cases {
        assert_eq!(pair.verify(&message), Verification::Refused, "{what}");
    }
    assert_eq!(pair.verify(&with(URI, &value.replace("realm=\"r\"", "realm=\"q\""), "body")), Verification::Missing);
    assert_eq!(pair.verify(&signed), accepted(), "and the real one still passes");
}

#[test]
fn a_users_empty_password_is_not_that_of_nobody() {
    let mut pair = Pair::new("", DigestServerSettings::new("r"));
    let message = pair.signed(URI, "");
    pair.challenge(&mut Attempt::default(), &message, false);
    let message = pair.signed(URI, "");
    assert_eq!(pair.server.verify(pair.now, &message, Name::Authorization, |_| None), Verification::Refused);
}

#[test]
fn nextnonce_replaces_the_nonce() {
    let mut pair = Pair::new("zanzibar", DigestServerSettings::new("r"));
    let message = pair.signed(URI, "");
    pair.challenge(&mut Attempt::default(), &message, false);
    let message = pair.signed(URI, "");
    let info = vec![HeaderValue::from_static("nextnonce=\"n2\", qop=auth")];
    pair.client.accepted(&response(&message, StatusCode::OK, Name::AuthenticationInfo, info));
    let value = pair.signed(URI, "").header(Name::Authorization).unwrap().into_owned();
    assert!(value.contains("nonce=\"n2\"") && value.contains("nc=00000001"), "{value}");
}

#[test]
fn debug_shows_no_secret() {
    let mut pair = Pair::new("zanzibar", DigestServerSettings::new("r"));
    let message = pair.signed(URI, "");
    pair.challenge(&mut Attempt::default(), &message, false);
    let debug = format!("{:?} {:?}", pair.client, pair.client.credentials);
    let ha1 = pair.client.realms[0].ha1.expose_secret().to_owned();
    assert!(!debug.contains("zanzibar") && !debug.contains(&ha1), "{debug}");
}

#[test]
fn realms_do_not_pile_up() {
    let mut pair = Pair::new("zanzibar", DigestServerSettings::new("r"));
    let message = request(URI, vec![], "");
    for i in 0..50 {
        let value = HeaderValue::new("", format!("Digest realm=\"{i}\", nonce=\"n\"")).unwrap();
        let status = StatusCode::PROXY_AUTHENTICATION_REQUIRED;
        let refusal = response(&message, status, Name::ProxyAuthenticate, vec![value]);
        pair.client.challenged(&mut Attempt::default(), &refusal);
    }
    assert_eq!(pair.client.realms.len(), MAX_REALMS);
    assert!(pair.signed(URI, "").as_bytes().len() < 4096);
}

#[test]
fn several_realms_of_servers_are_answered_only_if_one_request_was_asked_for_them() {
    let message = request(URI, vec![], "");
    let ask = |pair: &mut Pair, attempt: &mut Attempt, realm: &str| {
        let value = HeaderValue::new("", format!("Digest realm=\"{realm}\", nonce=\"n\"")).unwrap();
        let refusal = response(&message, StatusCode::UNAUTHORIZED, Name::WwwAuthenticate, vec![value]);
        assert_eq!(pair.client.challenged(attempt, &refusal), Verdict::Retry);
        pair.signed(URI, "").headers(Name::Authorization).count()
    };
    let mut pair = Pair::new("zanzibar", DigestServerSettings::new("r"));
    assert_eq!(ask(&mut pair, &mut Attempt::default(), "one"), 1);
    let mut attempt = Attempt::default();
    assert_eq!(ask(&mut pair, &mut attempt, "two"), 1);
    assert_eq!(ask(&mut pair, &mut attempt, "three"), 2);
}
