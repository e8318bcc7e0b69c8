//! Credentials from the page's request to jambonz' question, on a virtual clock.

use codex_core_sip::random::SeededRandom;

use super::registration::{Asked, Refused, md5_hex};
use super::*;

const NOW: UnixMillis = UnixMillis::new(1_795_330_382_500);
const REALM: &str = "acme.sip.example.com";

fn widget_with(secret: &str, realm: &str) -> Widget {
    let settings = WidgetSettings {
        origins: vec!["https://shop.example.com".to_owned()],
        secret: secret.into(),
        realm: realm.to_owned(),
        lifetime: CREDENTIALS_LIFETIME,
        application: None,
        tokens_per_minute: TOKENS_PER_MINUTE,
        behind_proxy: false,
    };
    Widget::new(settings, Box::new(SeededRandom::new(1)))
}

fn widget() -> Widget {
    widget_with("a secret of more than 32 characters", REALM)
}

/// What jambonz asks when a device answers its challenge with these credentials.
fn asked(username: &str, password: &str) -> Asked {
    let (nonce, uri, nc, cnonce) = ("5a071321-0000", "sip:acme.sip.example.com", "00000001", "abc");
    let ha1 = md5_hex(&[username, REALM, password]);
    let ha2 = md5_hex(&["REGISTER", uri]);
    Asked {
        method: "REGISTER".to_owned(),
        scheme: Some("digest".to_owned()),
        username: username.to_owned(),
        realm: REALM.to_owned(),
        nonce: nonce.to_owned(),
        uri: uri.to_owned(),
        response: md5_hex(&[&ha1, nonce, nc, cnonce, "auth", &ha2]),
        qop: Some("auth".to_owned()),
        nc: Some(nc.to_owned()),
        cnonce: Some(cnonce.to_owned()),
        algorithm: Some("MD5".to_owned()),
        expires: Some(3600.into()),
    }
}

#[test]
fn the_digest_is_rfc_2617s() {
    // RFC 2617 §3.5.
    let ha1 = md5_hex(&["Mufasa", "testrealm@host.com", "Circle Of Life"]);
    let ha2 = md5_hex(&["GET", "/dir/index.html"]);
    let nonce = "dcd98b7102dd2f0e8b11d0f600bfb0c093";
    let response = md5_hex(&[&ha1, nonce, "00000001", "0a4f113b", "auth", &ha2]);
    assert_eq!(response, "6629fae49393a05397450978507c4ef1");
}

#[test]
fn credentials_hold_until_their_end_and_not_a_second_longer() {
    let widget = widget();
    let Credentials { username, password, expires } = widget.mint(NOW);
    let question = asked(&username, password.expose_secret());
    assert_eq!(widget.verify(&question, NOW), Ok(CREDENTIALS_LIFETIME.as_secs() - 1));
    assert_eq!(widget.verify(&question, expires - Duration::from_secs(1)), Ok(1));
    assert_eq!(widget.verify(&question, expires), Err(Refused::Expired));
    assert_eq!(widget.verify(&question, expires + Duration::from_secs(86_400)), Err(Refused::Expired));
}

#[test]
fn what_was_not_given_out_is_refused() {
    let widget = widget();
    let Credentials { username, password, .. } = widget.mint(NOW);
    let good = || asked(&username, password.expose_secret());
    let (_, rest) = username.split_once('-').unwrap();
    let (seconds, letters) = rest.split_once('-').unwrap();
    let later = format!("web-{}-{letters}", seconds.parse::<u64>().unwrap() + 3600);
    let cases: [(&str, Asked, Refused); 10] = [
        ("a later end", asked(&later, password.expose_secret()), Refused::Password),
        ("another password", asked(&username, "guess"), Refused::Password),
        ("no answer", Asked { response: String::new(), ..good() }, Refused::Password),
        ("another method", Asked { method: "INVITE".to_owned(), ..good() }, Refused::Password),
        ("a user of somebody else", asked("alice", password.expose_secret()), Refused::Unknown),
        ("an odd end", asked(&format!("web-+5-{letters}"), ""), Refused::Unknown),
        ("a huge end", asked(&format!("web-{}-{letters}", "9".repeat(18)), ""), Refused::Unknown),
        ("another realm", Asked { realm: "other.example.com".to_owned(), ..good() }, Refused::Realm),
        ("basic", Asked { scheme: Some("basic".to_owned()), ..good() }, Refused::Scheme),
        ("nothing", Asked::default(), Refused::Realm),
    ];
    for (what, question, refused) in cases {
        assert_eq!(widget.verify(&question, NOW), Err(refused), "{what}");
    }
    // Another secret or realm makes other passwords.
    for other in [
        widget_with("another secret of 32 characters!!", REALM),
        widget_with("a secret of more than 32 characters", "b"),
    ] {
        assert_ne!(other.password_of(&username).expose_secret(), password.expose_secret());
    }
}

#[test]
fn nothing_shows_the_secret() {
    assert!(!format!("{:?}", widget()).contains("more than 32"));
}
