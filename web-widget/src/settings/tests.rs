use codex_core_sip::Locale;
use secrecy::ExposeSecret;

use super::*;
use crate::keys::KEYS;

const GUID: &str = "0397dc5f-2f8f-4778-8499-0af934dd1196";

/// The least that a client needs.
fn least() -> Vec<(&'static str, &'static str)> {
    vec![
        ("JAMBONZ_SIP_DOMAIN", "sip.example.com"),
        ("JAMBONZ_WSS_ADDRESS", "wss://sip.example.com:8443"),
        ("JAMBONZ_SIP_USERNAME", "170"),
        ("JAMBONZ_SIP_PASSWORD", "hunter2"),
        ("TARGET_SIP_URI", "sip:app-0397dc5f-2f8f-4778-8499-0af934dd1196@sip.example.com"),
    ]
}

fn read(changes: &[(&str, &str)]) -> Result<Settings, KeyProblems> {
    Settings::from_keys(&KeyValues::from_pairs(least()).over_by(changes.iter().copied()))
}

#[track_caller]
fn right(changes: &[(&str, &str)]) -> Settings {
    read(changes).unwrap_or_else(|problems| panic!("{changes:?}: {problems}"))
}

/// Every key with values that are right, and what of them is seen in the settings.
#[test]
fn right_values_of_every_key() {
    type Seen = fn(&Settings) -> String;
    let cases: &[(&str, &str, Seen, &str)] = &[
        ("JAMBONZ_SIP_DOMAIN", " sip.example.org ", |s| s.sip.domain.clone(), "sip.example.org"),
        ("JAMBONZ_SIP_DOMAIN", "192.0.2.1", |s| s.sip.domain.clone(), "192.0.2.1"),
        ("JAMBONZ_WSS_ADDRESS", "wss://e.example/ws?t=1", |s| s.sip.wss_server.clone(), "wss://e.example/ws?t=1"),
        ("JAMBONZ_WSS_ADDRESS", "ws://127.0.0.1:8080", |s| s.warnings.len().to_string(), "0"),
        ("JAMBONZ_SIP_USERNAME", "ivan.ivanov", |s| s.sip.username.clone(), "ivan.ivanov"),
        ("JAMBONZ_SIP_USERNAME", "user_12345", |s| s.sip.username.clone(), "user_12345"),
        ("JAMBONZ_SIP_PASSWORD", "'quo\"ted #'", |s| s.sip.password.expose_secret().to_owned(), "'quo\"ted #'"),
        (
            "TARGET_SIP_URI",
            "sips:170@sip.example.com;transport=ws",
            |s| s.sip.target_uri.clone(),
            "sips:170@sip.example.com;transport=ws",
        ),
        ("TARGET_SIP_URI", "SIP:170@a.example", |s| s.sip.target_uri.clone(), "SIP:170@a.example"),
        ("TARGET_SIP_URI", "170@a.example", |s| s.sip.target_uri.clone(), "sip:170@a.example"),
        ("TARGET_SIP_URI", "170", |s| s.sip.target_uri.clone(), "sip:170@sip.example.com"),
        (
            "TARGET_APPLICATION_NAME",
            " Голосовой бот ",
            |s| s.sip.target_application_name.clone().unwrap().to_string(),
            "Голосовой бот",
        ),
        ("DEFAULT_LANG", "pt-br", |s| s.sip.default_language.to_string(), "pt-BR"),
        ("FALLBACK_LANG", "ru", |s| s.sip.fallback_language.to_string(), "ru"),
        (
            "STUN_URLS",
            "stun:a.example:3478, stun:b.example",
            |s| s.sip.ice_servers[0].urls.join("|"),
            "stun:a.example:3478|stun:b.example",
        ),
        (
            "TURN_URLS",
            "turn:u:p%40ss@a.example",
            |s| s.sip.ice_servers[0].credential.as_ref().unwrap().expose_secret().to_owned(),
            "p@ss",
        ),
        ("MAX_REGISTER_RETRIES", "0", |s| s.sip.max_register_retries.to_string(), "0"),
        ("MAX_REGISTER_RETRIES", "12", |s| s.sip.max_register_retries.to_string(), "12"),
        ("INFINITE_RECONNECT", "false", |s| s.sip.infinite_reconnect.to_string(), "false"),
        ("INFINITE_RECONNECT", "TRUE", |s| s.sip.infinite_reconnect.to_string(), "true"),
        ("KEEP_ALIVE_INTERVAL", "0", |s| format!("{:?}", s.sip.keep_alive_interval), "None"),
        ("KEEP_ALIVE_INTERVAL", "1000", |s| format!("{:?}", s.sip.keep_alive_interval), "Some(1s)"),
        (
            "CUSTOMER_DATA",
            r#"{"clientName":"Иван","callType":"webcall","x":1}"#,
            |s| s.sip.customer_data.as_ref().unwrap().to_json(),
            r#"{"clientName":"Иван","callType":"webcall","x":1}"#,
        ),
        (
            "CUSTOMER_DATA",
            r#"'{"callType":"webcall"}'"#,
            |s| s.sip.customer_data.as_ref().unwrap().to_json(),
            r#"{"callType":"webcall"}"#,
        ),
        ("USER_TO_USER_ENCODING", "base64", |s| format!("{:?}", s.sip.user_to_user_encoding), "Base64"),
        ("USER_TO_USER_ENCODING", "OFF", |s| format!("{:?}", s.sip.user_to_user_encoding), "Off"),
        ("REQUIRE_TLS", "true", |s| s.sip.wss_server.clone(), "wss://sip.example.com:8443"),
    ];
    for (key, value, seen, expected) in cases {
        for prefix in ["", "VITE_"] {
            let keys = KeyValues::from_pairs(least()).without(key).with(&format!("{prefix}{key}"), value, "");
            let settings = Settings::from_keys(&keys).unwrap_or_else(|problems| panic!("{key}={value}: {problems}"));
            assert_eq!(seen(&settings), *expected, "{prefix}{key}={value}");
        }
    }
    let common = right(&[
        ("TURN_URLS", "turn:a.example"),
        ("TURN_USERNAME", "u"),
        ("TURN_PASSWORD", "p"),
        ("ICE_TRANSPORT_POLICY", "relay"),
    ]);
    assert_eq!(common.sip.ice_servers[0].username.as_deref(), Some("u"));
    assert_eq!(common.sip.ice_transport_policy, IceTransportPolicy::Relay);
    let api = right(&[
        ("JAMBONZ_API_BASE_URL", "https://api.example.com/v1"),
        ("JAMBONZ_API_KEY", "key"),
        ("JAMBONZ_ACCOUNT_SID", "9351f46a-678c-43f5-b8a6-d4eb58d131af"),
    ]);
    assert_eq!(api.name_to_look_up().unwrap().1.to_string(), GUID);
}

#[test]
fn defaults_are_those_of_the_older_packages() {
    let settings = right(&[]);
    let sip = &settings.sip;
    assert_eq!((sip.default_language.as_str(), sip.fallback_language.as_str()), ("en", "en"));
    assert_eq!((sip.max_register_retries, sip.infinite_reconnect), (5, true));
    assert_eq!(sip.keep_alive_interval, Some(Duration::from_secs(30)));
    assert_eq!(sip.user_to_user_encoding, UserToUserEncoding::Hex);
    assert!(sip.ice_servers.is_empty() && sip.customer_data.is_none() && sip.target_application_name.is_none());
    assert!(settings.api.is_none() && settings.warnings.is_empty() && settings.name_to_look_up().is_none());
}

/// Every key with values that are wrong, and what is said of them in both languages.
#[test]
fn wrong_values_of_every_key() {
    let cases = [
        ("JAMBONZ_SIP_DOMAIN", "sip:sip.example.com", "only the host name", "только имя хоста"),
        ("JAMBONZ_SIP_DOMAIN", "170@sip.example.com", "after the @", "после @"),
        ("JAMBONZ_SIP_DOMAIN", "sip example", "not a host name", "не имя хоста"),
        (
            "JAMBONZ_WSS_ADDRESS",
            "sip.example.com:8443",
            "write wss://sip.example.com:8443",
            "напишите wss://sip.example.com:8443",
        ),
        ("JAMBONZ_WSS_ADDRESS", "https://sip.example.com", "begin with wss://", "начинаться с wss://"),
        ("JAMBONZ_WSS_ADDRESS", "sip:sip.example.com", "this is a SIP URI", "это SIP URI"),
        ("JAMBONZ_WSS_ADDRESS", "wss://", "names no host", "нет имени хоста"),
        ("JAMBONZ_WSS_ADDRESS", "wss://a.example:99999", "port is not", "порт — не"),
        ("JAMBONZ_WSS_ADDRESS", "wss://u:hunter2@a.example", "do not belong in it", "здесь не место"),
        ("JAMBONZ_WSS_ADDRESS", "wss://a.example/#x", "no fragment", "не бывает фрагмента"),
        ("JAMBONZ_WSS_ADDRESS", "wss://пример.рф", "xn--", "xn--"),
        ("JAMBONZ_WSS_ADDRESS", "wss://a b", "white space", "пробел"),
        ("JAMBONZ_SIP_USERNAME", "170@sip.example.com", "only the user", "только имя пользователя"),
        ("JAMBONZ_SIP_USERNAME", "иван", "user part", "именем в SIP URI"),
        ("JAMBONZ_SIP_USERNAME", "a b", "user part", "именем в SIP URI"),
        ("TARGET_SIP_URI", "https://sip.example.com", "begin with sip:", "начинаться с sip:"),
        ("TARGET_SIP_URI", "tel:+74951234567", "begin with sip:", "начинаться с sip:"),
        ("TARGET_SIP_URI", "sip:sip.example.com", "with a user part", "с именем пользователя"),
        ("TARGET_APPLICATION_NAME", "a\u{7}b", "no control character", "без управляющих"),
        ("DEFAULT_LANG", "ru_RU.UTF-8", "not `_`: ru-RU", "а не `_`: ru-RU"),
        ("DEFAULT_LANG", "русский", "BCP 47", "BCP 47"),
        ("FALLBACK_LANG", "e", "BCP 47", "BCP 47"),
        (
            "STUN_URLS",
            "stun.example.com:3478",
            "write stun:stun.example.com:3478",
            "напишите stun:stun.example.com:3478",
        ),
        ("STUN_URLS", "stun:a.example stun://b.example", "write stun:b.example", "напишите stun:b.example"),
        ("STUN_URLS", "turn:a.example", "TURN_URLS", "TURN_URLS"),
        ("STUN_URLS", "stun:a.example:0", "port of", "порт в"),
        ("TURN_URLS", "turn:a.example", "TURN_USERNAME and TURN_PASSWORD", "TURN_USERNAME и TURN_PASSWORD"),
        ("TURN_URLS", "stun:a.example", "STUN_URLS", "STUN_URLS"),
        ("TURN_URLS", "turn:u:hunter2@a.example?transport=sctp", "transport=udp", "transport=udp"),
        ("ICE_TRANSPORT_POLICY", "none", "neither all nor relay", "не all и не relay"),
        ("ICE_TRANSPORT_POLICY", "relay", "TURN_URLS is not set", "TURN_URLS не задано"),
        ("MAX_REGISTER_RETRIES", "-1", "whole number", "целое число"),
        ("MAX_REGISTER_RETRIES", "five", "whole number", "целое число"),
        ("INFINITE_RECONNECT", "maybe", "neither true nor false", "не true и не false"),
        ("KEEP_ALIVE_INTERVAL", "30s", "milliseconds", "миллисекунд"),
        ("KEEP_ALIVE_INTERVAL", "30", "30 seconds are 30000", "30 секунд — это 30000"),
        ("CUSTOMER_DATA", "{\n  \"callType\": }", "line 2, column 15", "строка 2, столбец 15"),
        ("CUSTOMER_DATA", r#"{"clientId":"hunter2"}"#, "callType", "callType"),
        ("CUSTOMER_DATA", r#"{"callType":"a","location":{"city":7}}"#, "field `location.city`", "поле `location.city`"),
        ("USER_TO_USER_ENCODING", "utf8", "neither hex nor base64 nor off", "не hex, не base64 и не off"),
        ("JAMBONZ_API_BASE_URL", "api.example.com", "not a URL", "не URL"),
        ("JAMBONZ_API_BASE_URL", "ftp://api.example.com/v1", "begin with https://", "начинаться с https://"),
        ("JAMBONZ_API_BASE_URL", "https://u:hunter2@api.example.com", "do not belong here", "не место"),
        ("JAMBONZ_API_KEY", "hunter2 hunter2", "it holds blanks", "есть пробелы"),
        ("JAMBONZ_ACCOUNT_SID", "170", "not a GUID", "не GUID"),
        ("REQUIRE_TLS", "sure", "neither true nor false", "не true и не false"),
    ];
    for (key, value, en, ru) in cases {
        for prefix in ["", "VITE_"] {
            let keys = KeyValues::from_pairs(least()).without(key).with(&format!("{prefix}{key}"), value, "a.env:7");
            let problems = Settings::from_keys(&keys).expect_err(&format!("{key}={value}"));
            let problem = &problems.0[0];
            assert_eq!(problem.key, format!("{prefix}{key}"), "{value}");
            assert_eq!(problem.place.as_deref(), Some("a.env:7"), "{key}={value}");
            let (told_en, told_ru) = (problem.in_locale(Locale::En), problem.in_locale(Locale::Ru));
            assert!(told_en.contains(en), "{key}={value}: {told_en}");
            assert!(told_ru.contains(ru), "{key}={value}: {told_ru}");
            assert!(!told_en.contains("hunter2") && !told_ru.contains("hunter2"), "{told_en}");
            for locale in [Locale::En, Locale::Ru] {
                assert!(!problem.example.in_locale(locale).is_empty(), "{key}");
            }
        }
    }
}

#[test]
fn a_missing_required_key_is_told_of_and_an_optional_one_is_not() {
    for key in &KEYS {
        let keys = KeyValues::from_pairs(least()).without(key.name);
        match (key.required, Settings::from_keys(&keys)) {
            (true, Err(problems)) => {
                assert_eq!(problems.0.len(), 1, "{problems}");
                assert_eq!((problems.0[0].key.as_str(), problems.0[0].value.as_deref()), (key.name, None));
                assert!(problems.to_string().contains(key.meaning.in_locale(Locale::En)), "{problems}");
            }
            (false, Ok(_)) => {}
            (required, result) => panic!("{}, required: {required}: {result:?}", key.name),
        }
        // Empty is missing.
        let emptied = least().into_iter().map(|(name, value)| (name, if name == key.name { " " } else { value }));
        assert_eq!(Settings::from_keys(&KeyValues::from_pairs(emptied)).is_err(), key.required, "{}", key.name);
    }
}

#[test]
fn a_misspelt_key_is_warned_of_and_named_where_the_right_one_is_missing() {
    for key in &KEYS {
        let typo = format!("{}X{}", &key.name[..4], &key.name[4..]);
        let keys = KeyValues::from_pairs(least()).with(&typo, "1", "a.env:3");
        let warnings = Settings::from_keys(&keys).unwrap().warnings;
        assert_eq!(warnings.len(), 1, "{warnings:?}");
        let text = warnings[0].in_locale(Locale::En);
        assert!(
            text.starts_with(&format!("{typo} (a.env:3)")) && text.contains(&format!("mean {}?", key.name)),
            "{text}"
        );
        if key.required {
            let text = Settings::from_keys(&keys.without(key.name)).unwrap_err().to_string();
            assert!(text.contains(&typo), "{text}");
        }
    }
}

#[test]
fn all_problems_are_told_at_once_and_no_secret_with_them() {
    let problems = Settings::from_keys(&KeyValues::from_pairs([
        ("JAMBONZ_WSS_ADDRESS", "https://me:hunter2@sip.example.com?token=hunter2"),
        ("JAMBONZ_SIP_PASSWORD", "hunter2"),
        ("TURN_URLS", "turn:me:hunter2,hunter2@a.example:x, turns://b.example"),
        ("CUSTOMER_DATA", r#"{"clientName":"hunter2","#),
        ("KEEP_ALIVE_INTERVAL", "often"),
    ]))
    .unwrap_err();
    let keys: Vec<_> = problems.0.iter().map(|problem| problem.key.as_str()).collect();
    let expected = [
        "JAMBONZ_SIP_DOMAIN",
        "JAMBONZ_WSS_ADDRESS",
        "JAMBONZ_SIP_USERNAME",
        "TARGET_SIP_URI",
        "TURN_URLS",
        "KEEP_ALIVE_INTERVAL",
        "CUSTOMER_DATA",
    ];
    assert_eq!(keys, expected);
    for locale in [Locale::En, Locale::Ru] {
        let text = problems.in_locale(locale);
        assert!(!text.contains("hunter2"), "{text}");
        assert_eq!(text.lines().count(), 8, "{text}");
    }
    let core: Error = problems.into();
    assert_eq!(core.code(), "configuration");
}

#[test]
fn a_password_in_the_wrong_place_or_with_a_blank_is_not_shown() {
    for (key, value) in [
        ("TURN_URLS", "turn:me:hunter2 horse@turn.example.com"),
        ("TURN_URLS", "turn:me:horse hunter2@turn.example.com"),
        ("TURN_URLS", "turn:me:hunter2"),
        ("TURN_URLS", "turn://me:hunter2"),
        ("TURN_URLS", "me:hunter2"),
        ("STUN_URLS", "stun:me:hunter2"),
        ("JAMBONZ_SIP_USERNAME", "170:hunter2@sip.example.com"),
        ("JAMBONZ_SIP_USERNAME", "170:hunter2"),
        ("JAMBONZ_SIP_DOMAIN", "170:hunter2@sip.example.com"),
        ("JAMBONZ_WSS_ADDRESS", "me:hunter2"),
        ("TARGET_SIP_URI", "sip:u:hunter2@a b"),
    ] {
        let problems = read(&[(key, value)]).expect_err(value);
        for locale in [Locale::En, Locale::Ru] {
            let text = problems.in_locale(locale);
            assert!(text.contains("***") && !text.contains("hunter2"), "{key}={value}: {text}");
        }
    }
    let settings = right(&[("TARGET_SIP_URI", "u:hunter2@a.example")]);
    assert_eq!(settings.shown_target(), "sip:u:***@a.example");
    let warning = settings.warnings[0].in_locale(Locale::En);
    assert!(warning.contains("completed to sip:u:***@a.example"), "{warning}");
}

#[test]
fn unencrypted_connections_are_warned_of_loudly_or_refused() {
    let far = ("JAMBONZ_WSS_ADDRESS", "ws://sip.example.com:5066");
    let warnings = right(&[far]).warnings;
    assert_eq!(warnings.len(), 1);
    assert!(warnings[0].in_locale(Locale::En).contains("NOT ENCRYPTED"));
    assert!(warnings[0].in_locale(Locale::Ru).contains("БЕЗ ШИФРОВАНИЯ"));
    let problems = read(&[far, ("REQUIRE_TLS", "true")]).unwrap_err();
    assert!(problems.to_string().contains("REQUIRE_TLS is on"), "{problems}");
    for near in ["ws://127.0.0.1:5066", "ws://localhost", "ws://[::1]:80", "wss://sip.example.com"] {
        let settings = right(&[("JAMBONZ_WSS_ADDRESS", near), ("REQUIRE_TLS", "true")]);
        assert!(settings.warnings.is_empty(), "{near}");
    }
}

#[test]
fn what_is_given_in_part_is_warned_of() {
    for (changes, text) in [
        (
            vec![("JAMBONZ_API_BASE_URL", "https://api.example.com/v1")],
            "JAMBONZ_API_KEY, JAMBONZ_ACCOUNT_SID is not set",
        ),
        (vec![("TURN_USERNAME", "u")], "TURN_URLS is not set"),
        (vec![("TURN_PASSWORD", "p")], "TURN_URLS is not set"),
        (vec![("JAMBONZ_SIP_PASSWORD", "hunter2 ")], "white space"),
        (vec![("TARGET_SIP_URI", "170")], "completed to sip:170@sip.example.com"),
        (vec![("DEFAULT_LANG", "\"ru\"")], "came with its quotes"),
        (vec![("JAMBONZ_SIP_PASSWORD", "'hunter2'")], "came with its quotes"),
    ] {
        let warnings = right(&changes).warnings;
        assert_eq!(warnings.len(), 1, "{changes:?}");
        let told = warnings[0].in_locale(Locale::En);
        assert!(told.contains(text) && !told.contains("hunter2"), "{told}");
        assert_ne!(told, warnings[0].in_locale(Locale::Ru));
    }
}

#[test]
fn an_api_without_encryption_is_an_error_only_where_a_key_would_be_sent() {
    let far = ("JAMBONZ_API_BASE_URL", "http://api.example.com/v1");
    let warnings: Vec<_> = right(&[far]).warnings.iter().map(|warning| warning.in_locale(Locale::En)).collect();
    assert_eq!(warnings.len(), 2, "{warnings:?}");
    assert!(warnings[0].contains("not https") && warnings[1].contains("JAMBONZ_API_KEY"), "{warnings:?}");
    let keyed = [("JAMBONZ_API_KEY", "key"), ("JAMBONZ_ACCOUNT_SID", "9351f46a-678c-43f5-b8a6-d4eb58d131af")];
    let problems = read(&[&keyed[..], &[far]].concat()).unwrap_err().to_string();
    assert!(problems.contains("not https"), "{problems}");
    for near in ["http://127.0.0.1:3002/v1", "http://localhost/v1", "https://api.example.com/v1"] {
        assert!(right(&[&keyed[..], &[("JAMBONZ_API_BASE_URL", near)]].concat()).warnings.is_empty(), "{near}");
    }
}

/// The examples of the older guide, as they stand in it.
#[test]
fn the_examples_of_the_older_guide_work() {
    let guide = KeyValues::from_env_file(
        ".env",
        r#"
# .env файл
CUSTOMER_DATA='{"clientId":"user_12345","clientName":"Иван Иванов","callType":"webcall","sessionId":"session_abc123","timestamp":"2025-11-14T12:00:00Z","userAgent":"Chrome/120.0.0.0","location":{"country":"RU","city":"Moscow"}}'
TARGET_APPLICATION_NAME=voicebot
STUN_URLS='stun:stun.l.google.com:19302'
DEFAULT_LANG=ru
FALLBACK_LANG=en
"#,
    )
    .unwrap();
    let settings = Settings::from_keys(&guide.over(KeyValues::from_pairs(least()))).unwrap();
    let data = settings.sip.customer_data.unwrap().to_json();
    assert!(data.contains("Иван Иванов") && data.contains(r#""city":"Moscow""#), "{data}");
    assert_eq!(settings.sip.target_application_name.unwrap().as_str(), "voicebot");
    assert_eq!((settings.sip.default_language.as_str(), settings.sip.fallback_language.as_str()), ("ru", "en"));
    assert!(settings.warnings.is_empty(), "{:?}", settings.warnings);
}

#[test]
fn the_name_is_looked_up_only_where_there_is_none_and_an_api_and_an_application() {
    let api = [
        ("JAMBONZ_API_BASE_URL", "https://api.example.com/v1"),
        ("JAMBONZ_API_KEY", "key"),
        ("JAMBONZ_ACCOUNT_SID", "9351f46a-678c-43f5-b8a6-d4eb58d131af"),
    ];
    let looked_up = |more: &[(&str, &str)]| right(&[&api[..], more].concat()).name_to_look_up().is_some();
    assert!(looked_up(&[]));
    assert!(looked_up(&[("TARGET_SIP_URI", "sip:0397DC5F-2f8f-4778-8499-0af934dd1196@sip.example.com")]));
    assert!(!looked_up(&[("TARGET_APPLICATION_NAME", "voicebot")]));
    assert!(!looked_up(&[("TARGET_SIP_URI", "sip:170@sip.example.com")]));
    assert!(right(&[]).name_to_look_up().is_none());
}
