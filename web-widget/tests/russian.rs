//! With `--lang ru` everything that people read is Russian: no English prose but in « », where others are quoted.

use codex_core_sip::sip::message::StatusCode;
use codex_e2e::codex_call::{Call, Run, keys, keys_of};
use codex_e2e::gateway::{Gateway, Voicebot};

fn codex_call(keys: &[(String, String)]) -> Call {
    Call::new(std::path::Path::new(env!("CARGO_BIN_EXE_codex-call")), keys).args(["--lang", "ru"])
}

/// Words of English that are no prose: names of things, values that are typed as they are.
const NAMES: [&str; 29] = [
    "true",
    "false",
    "off",
    "all",
    "relay",
    "hex",
    "base64",
    "null",
    "udp",
    "tcp",
    "jambonz",
    "rtpengine",
    "portal",
    "sip",
    "wss",
    "codex",
    "call",
    "call_hook",
    "sox",
    "wav",
    "echo",
    "edge",
    "realm",
    "device",
    "tone",
    "say",
    "libasound2-dev",
    "keep-alive",
    "features",
];

/// Runs of at least two English words in lower case that are not quoted: prose.
fn english_prose(text: &str) -> Vec<String> {
    let mut found = Vec::new();
    for line in text.lines() {
        let mut plain = String::new();
        let (mut quoted, mut code) = (0_usize, false);
        for c in line.chars() {
            match c {
                '«' => quoted += 1,
                '»' => quoted = quoted.saturating_sub(1),
                '`' => code = !code,
                _ if quoted == 0 && !code => plain.push(c),
                _ => {}
            }
        }
        let mut words: Vec<&str> = Vec::new();
        let end = |words: &mut Vec<&str>, found: &mut Vec<String>| {
            if words.len() > 1 {
                found.push(words.join(" "));
            }
            words.clear();
        };
        for word in plain.split_whitespace() {
            let bare = word.trim_matches(|c: char| matches!(c, ',' | ';' | ':' | '.' | '(' | ')' | '"' | '!' | '?'));
            let english = bare.len() > 1
                && !bare.starts_with('-')
                && bare.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'\'' || byte == b'-')
                && !NAMES.contains(&bare);
            if english {
                words.push(bare);
            } else {
                end(&mut words, &mut found);
            }
        }
        end(&mut words, &mut found);
    }
    found
}

#[test]
fn prose_is_told_from_names_and_quotes() {
    for (text, prose) in [
        ("соединено  webcall:abc → voicebot", vec![]),
        ("ответ системы: «Connection refused (os error 111)»", vec![]),
        ("проверьте `sox in.wav -b 16 out.wav`", vec![]),
        ("what to do: проверьте", vec!["what to"]),
        ("строка 1: the key is there twice", vec!["the key is there twice"]),
        ("true или false", vec![]),
    ] {
        let expected: Vec<_> = prose.into_iter().map(|words: &str| words.to_owned()).collect();
        // `do:` has its colon, `to do` is one run.
        let found: Vec<_> = english_prose(text);
        assert_eq!(found.is_empty(), expected.is_empty(), "{text}: {found:?}");
    }
}

fn prose_in(what: &str, run: &Run) -> Vec<String> {
    assert!(!run.stderr.contains("panicked"), "{what}: {run}");
    [&run.stdout, &run.stderr]
        .into_iter()
        .flat_map(|text| english_prose(text))
        .map(|prose| format!("{what}: {prose}"))
        .collect()
}

fn is_russian(what: &str, run: &Run) {
    let prose = prose_in(what, run);
    assert!(prose.is_empty(), "{prose:?} in {run}");
}

#[tokio::test]
async fn whatever_goes_wrong_is_told_in_russian() {
    let gateway = Gateway::builder().start().await.unwrap();
    let silent = Gateway::builder().voicebot(Voicebot::Silent).start().await.unwrap();
    let busy = Gateway::builder().refuses(StatusCode::BUSY_HERE, "busy").start().await.unwrap();
    let none = StatusCode::new(480).unwrap();
    let none = Gateway::builder().refuses(none, "no configured application").start().await.unwrap();
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str, text: &[u8]| {
        let path = folder.path().join(name);
        std::fs::write(&path, text).unwrap();
        path.display().to_string()
    };
    let text_file = file("text.wav", b"this is text");
    let broken = file("broken.env", b"A=1\nnonsense here\nCUSTOMER_DATA='{\n");
    let latin1 = file("latin1.env", b"A=\xe9\n");
    let huge = file("huge.env", &vec![b'#'; 1024 * 1024 + 1]);
    let no_folder = "/nonexistent/folder/a.wav";
    let unused = tokio::net::TcpSocket::new_v4().unwrap();
    unused.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let closed = format!("ws://{}", unused.local_addr().unwrap());
    let closed_tls = closed.replace("ws://", "wss://");
    let api = format!("http://{}/v1", unused.local_addr().unwrap());
    let stun = format!("stun:{}", unused.local_addr().unwrap());
    type Case<'a> = (&'a str, &'a Gateway, Vec<(&'a str, &'a str)>, Vec<&'a str>);
    let api_keys = vec![
        ("JAMBONZ_API_BASE_URL", &*api),
        ("JAMBONZ_API_KEY", "key"),
        ("JAMBONZ_ACCOUNT_SID", "9351f46a-678c-43f5-b8a6-d4eb58d131af"),
    ];
    let every_key: Vec<(&str, &str)> = vec![
        ("JAMBONZ_SIP_DOMAIN", "sip example"),
        ("JAMBONZ_WSS_ADDRESS", "https://a.example"),
        ("JAMBONZ_SIP_USERNAME", "a b"),
        ("TARGET_SIP_URI", "https://a.example"),
        ("TARGET_APPLICATION_NAME", "\u{1}"),
        ("DEFAULT_LANG", "ru_RU.UTF-8"),
        ("FALLBACK_LANG", "!"),
        ("STUN_URLS", "a.example"),
        ("TURN_URLS", "turn:a.example"),
        ("ICE_TRANSPORT_POLICY", "some"),
        ("MAX_REGISTER_RETRIES", "many"),
        ("INFINITE_RECONNECT", "perhaps"),
        ("KEEP_ALIVE_INTERVAL", "30"),
        ("CUSTOMER_DATA", "{\"callType\": }"),
        ("USER_TO_USER_ENCODING", "rot13"),
        ("JAMBONZ_API_BASE_URL", "api"),
        ("JAMBONZ_API_KEY", "a b"),
        ("JAMBONZ_ACCOUNT_SID", "1"),
        ("REQUIRE_TLS", "perhaps"),
    ];
    let missing: Vec<(&str, &str)> = every_key[..4].iter().map(|(key, _)| (*key, "")).collect();
    let warned = vec![
        ("JAMBONZ_WSS_ADRESS", "x"),
        ("TURN_USERNAME", "u"),
        ("TARGET_APPLICATION_NAME", "'voicebot'"),
        ("JAMBONZ_API_BASE_URL", "http://a.example/v1"),
    ];
    let cases: Vec<Case<'_>> = vec![
        ("a call", &gateway, vec![], vec!["--duration", "2s", "--tone", "440", "--dtmf", "1"]),
        ("warnings", &gateway, warned, vec!["register"]),
        ("every key", &gateway, every_key.clone(), vec![]),
        ("every key, doctor", &gateway, every_key, vec!["doctor"]),
        ("missing keys", &gateway, missing, vec![]),
        ("silence", &silent, vec![], vec!["--duration", "1s", "--expect-audio"]),
        ("silence, doctor", &silent, vec![], vec!["doctor"]),
        ("busy", &busy, vec![], vec![]),
        ("busy, doctor", &busy, vec![], vec!["doctor"]),
        ("no application", &none, vec![], vec![]),
        ("a wrong password", &gateway, vec![("JAMBONZ_SIP_PASSWORD", "wrong")], vec![]),
        ("a wrong password, doctor", &gateway, vec![("JAMBONZ_SIP_PASSWORD", "wrong")], vec!["doctor"]),
        ("a wrong realm", &gateway, vec![("JAMBONZ_SIP_DOMAIN", "elsewhere.example")], vec![]),
        ("a closed port", &gateway, vec![("JAMBONZ_WSS_ADDRESS", &closed)], vec![]),
        ("a closed port, doctor", &gateway, vec![("JAMBONZ_WSS_ADDRESS", &closed_tls)], vec!["doctor"]),
        ("no name", &gateway, vec![("JAMBONZ_WSS_ADDRESS", "wss://no-such-host.invalid")], vec![]),
        ("no name, doctor", &gateway, vec![("JAMBONZ_WSS_ADDRESS", "wss://no-such-host.invalid")], vec!["doctor"]),
        ("dead API and STUN", &gateway, [api_keys, vec![("STUN_URLS", &*stun)]].concat(), vec!["doctor"]),
        ("no STUN name", &gateway, vec![("STUN_URLS", "stun:no-such-host.invalid")], vec!["doctor"]),
        ("nobody calls", &gateway, vec![], vec!["answer", "--wait", "100ms"]),
        ("no file of settings", &gateway, vec![], vec!["--env", no_folder]),
        ("a broken file", &gateway, vec![], vec!["--env", &broken]),
        ("not UTF-8", &gateway, vec![], vec!["--env", &latin1]),
        ("too large", &gateway, vec![], vec!["--env", &huge]),
        ("no WAV", &gateway, vec![], vec!["--say", &text_file]),
        ("no such WAV", &gateway, vec![], vec!["--say", no_folder]),
        ("no recording", &gateway, vec![], vec!["--record", no_folder]),
        ("no certificate", &gateway, vec![], vec!["--ca", &text_file]),
        ("an empty target", &gateway, vec![], vec!["--to", ""]),
        ("customer data", &gateway, vec![], vec!["--customer-data", "{\"callType\":\"a\",\"callType\":\"b\"}"]),
        ("a folder as data", &gateway, vec![], vec!["--customer-data", "@/"]),
    ];
    let mut prose = Vec::new();
    for (what, gateway, environment, arguments) in cases {
        let mut call = codex_call(&keys(gateway)).args(&arguments);
        for (name, value) in &environment {
            call = call.env(name, value);
        }
        prose.extend(prose_in(what, &call.run().await));
    }
    assert!(prose.is_empty(), "{prose:#?}");
}

#[tokio::test]
async fn another_service_and_a_lost_edge_are_told_in_russian() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let serving = tokio::spawn(async move {
        let mut open = Vec::new();
        while let Ok((mut stream, _)) = listener.accept().await {
            use tokio::io::AsyncWriteExt as _;
            let _gone = stream.write_all(b"SSH-2.0-OpenSSH_9.6\r\n\r\n").await;
            open.push(stream);
        }
    });
    for scheme in ["ws", "wss"] {
        for task in ["register", "doctor"] {
            let run = codex_call(&keys_of(&format!("{scheme}://{address}"))).arg(task).run().await;
            assert_ne!(run.status, 0, "{run}");
            is_russian(&format!("{task} over {scheme}"), &run);
        }
    }
    serving.abort();

    let gateway = Gateway::builder().start().await.unwrap();
    let mut listening = codex_call(&keys(&gateway)).args(["listen", "--trace"]).spawn();
    listening.line("ждём звонков").await;
    drop(gateway);
    let run = listening.end().await;
    assert_eq!(run.status, 4, "{run}");
    is_russian("a lost edge", &run);
}
