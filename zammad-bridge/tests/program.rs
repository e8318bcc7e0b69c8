//! The program as a person meets it: its messages, its commands, its end.

#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::path::Path;
use std::process::{Command, Output};

use codex_e2e::bridge::Bridge;
use codex_e2e::jambonz::{self, ACCOUNT_KEY, ACCOUNT_SID, HELLO_WORLD, JambonzApi, WEBHOOK_SECRET};
use codex_e2e::jambonz_webhooks::recorded;
use codex_e2e::raw_http;
use codex_e2e::zammad::ZammadServer;
use serde_json::{Value, json};

const PROGRAM: &str = env!("CARGO_BIN_EXE_codex-zammad-bridge");

/// Runs a command of the program in a folder, with nothing else in its environment.
fn run(folder: &Path, settings: &[(&str, &str)], arguments: &[&str]) -> Output {
    let mut command = Command::new(PROGRAM);
    command.args(arguments).current_dir(folder).env_clear().envs(settings.iter().copied());
    command.output().unwrap()
}

/// The same while stand-ins in this process answer.
async fn run_beside(folder: &Path, settings: &[(&str, &str)], arguments: &[&str]) -> Output {
    let folder = folder.to_owned();
    let owned = |text: &str| text.to_owned();
    let settings: Vec<(String, String)> = settings.iter().map(|(key, value)| (owned(key), owned(value))).collect();
    let arguments: Vec<String> = arguments.iter().map(|argument| owned(argument)).collect();
    tokio::task::spawn_blocking(move || {
        let settings: Vec<(&str, &str)> = settings.iter().map(|(key, value)| (key.as_str(), value.as_str())).collect();
        let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
        run(&folder, &settings, &arguments)
    })
    .await
    .unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

#[test]
fn wrong_settings_are_told_all_at_once_and_nothing_is_started() {
    let folder = tempfile::tempdir().unwrap();
    let output = run(
        folder.path(),
        &[
            ("BRIDGE_LISTEN", "0.0.0.0:0"),
            ("ZAMMAD_CTI_URL", "https://zammad.example.com/S3CRET"),
            ("RECORD_LANG", "de"),
        ],
        &["serve"],
    );
    let said = text(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{said}");
    assert!(said.starts_with("codex-zammad-bridge: 3 settings are wrong:\n"), "{said}");
    for words in
        ["JAMBONZ_WEBHOOK_SECRET", "ends in /api/v1/cti/ and a token", "RECORD_LANG = de: it is none of en, ru"]
    {
        assert!(said.contains(words), "{words}: {said}");
    }
    assert!(!said.contains("S3CRET") && output.stdout.is_empty(), "{said}");
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0, "no store was made");
}

#[test]
fn help_teaches_and_mistakes_get_a_usage() {
    let folder = tempfile::tempdir().unwrap();
    let help = text(&run(folder.path(), &[], &["--help"]).stdout);
    for words in
        ["First steps", "ZAMMAD_CTI_URL", "JAMBONZ_WEBHOOK_SECRET", "the strongest first", "[[zammad]]", "forget"]
    {
        assert!(help.contains(words), "{words}: {help}");
    }
    let mistake = run(folder.path(), &[], &["serv"]);
    assert!(!mistake.status.success() && text(&mistake.stderr).contains("serve"), "{}", text(&mistake.stderr));
    let secret = run(folder.path(), &[], &["--set", "ZAMMAD_API_TOKEN=S3CRET", "status"]);
    let said = text(&secret.stderr);
    assert!(secret.status.code() == Some(2) && said.contains("command line") && !said.contains("S3CRET"), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn recorded_requests_reach_zammad_and_commands_ask_the_bridge_that_runs() {
    let folder = tempfile::tempdir().unwrap();
    let zammad = ZammadServer::start().await.unwrap();
    let mut bridge = Bridge::new(Path::new(PROGRAM), folder.path())
        .unwrap()
        // The recorded signatures are too old by now.
        .with("JAMBONZ_HOOK_USERNAME", "u")
        .with("JAMBONZ_HOOK_PASSWORD", "p")
        .with("ZAMMAD_CTI_URL", &zammad.cti_url())
        .with("BRIDGE_ADMIN_TOKEN", "0123456789abcdef0123456789abcdef")
        .with("BRIDGE_API_TOKEN", "S3CRET-report")
        .with("RECORD_LANG", "ru");
    bridge.start().await;
    for (index, path) in [(1, "/jambonz/status"), (2, "/jambonz/status")] {
        let answer = raw_http::exchange(bridge.address(), &recorded()[index].bytes_to(path, bridge.address())).await;
        assert_eq!(answer.unwrap().status, 200);
    }
    let report = r#"{"callId":"kqzmwbtr-1","callStatus":"completed","customerData":{"callType":"webcall","clientId":"user_1","clientName":"Иван"}}"#;
    let request = raw_http::request(
        "POST",
        "/v1/calls",
        &[("Authorization", "Bearer S3CRET-report"), ("Connection", "close")],
        report.as_bytes(),
    );
    assert_eq!(raw_http::exchange(bridge.address(), &request).await.unwrap().status, 201);
    zammad
        .wait_until(|zammad| zammad.events_of("ws-call-1").len() == 3 && zammad.events_of("kqzmwbtr-1").len() == 3)
        .await;
    assert_eq!(zammad.events_of("ws-call-1"), ["newCall", "answer", "hangup"]);

    let (address, database) = (bridge.address().to_string(), format!("sqlite://{}", bridge.database().display()));
    let settings = [
        ("BRIDGE_LISTEN", address.as_str()),
        ("BRIDGE_DATABASE_URL", database.as_str()),
        ("BRIDGE_ADMIN_TOKEN", "0123456789abcdef0123456789abcdef"),
    ];
    for running in [true, false] {
        let status = run_beside(folder.path(), &settings, &["status", "--json"]).await;
        let found: Value =
            serde_json::from_slice(&status.stdout).unwrap_or_else(|_| panic!("{}", text(&status.stderr)));
        assert_eq!((found["running"].as_bool(), status.status.code()), (Some(running), Some(0)), "{found}");
        let export = run_beside(folder.path(), &settings, &["export", "--client-id", "user_1"]).await;
        let lines = text(&export.stdout);
        if running {
            assert!(lines.lines().count() == 1 && lines.contains("Иван"), "{lines} {}", text(&export.stderr));
            let forget = run_beside(folder.path(), &settings, &["forget", "--client-id", "user_1"]).await;
            assert!(forget.status.success() && text(&forget.stdout).contains("1 calls"), "{}", text(&forget.stderr));
            let replay = run_beside(folder.path(), &settings, &["replay"]).await;
            assert!(replay.status.success() && text(&replay.stdout).starts_with("0 calls"), "{}", text(&replay.stderr));
            let closed = run_beside(folder.path(), &settings[..2], &["status"]).await;
            assert_eq!(closed.status.code(), Some(2), "{}", text(&closed.stderr));
            let status = bridge.stop().await.unwrap();
            assert!(status.success(), "{status} {}", bridge.log());
        } else {
            assert_eq!(lines, "", "forgotten");
        }
    }
    let log = bridge.log();
    for secret in ["S3CRET", "Иван", "user_1", &zammad.cti_url()] {
        assert!(!log.contains(secret), "{secret} is in the log:\n{log}");
    }
    assert!(log.contains("the bridge has stopped"), "{log}");
}

#[tokio::test(flavor = "multi_thread")]
async fn setup_brings_back_the_logins_that_hooks_had() {
    let folder = tempfile::tempdir().unwrap();
    let api = JambonzApi::start().await.unwrap();
    let base = api.base_url();
    let hook = |path: &str, username: Value, password: Value| {
        json!({"webhook_sid": "11111111-0000-4000-8000-000000000001", "url": format!("https://bot.example.com/{path}"),
               "method": "POST", "username": username, "password": password})
    };
    api.set_property(HELLO_WORLD, "call_hook", hook("call", "bot".into(), "S3CRET-old".into()));
    api.set_property(HELLO_WORLD, "call_status_hook", hook("status", Value::Null, Value::Null));
    let settings = [
        ("JAMBONZ_API_BASE_URL", base.as_str()),
        ("JAMBONZ_API_KEY", ACCOUNT_KEY),
        ("JAMBONZ_ACCOUNT_SID", ACCOUNT_SID),
        ("BRIDGE_PUBLIC_URL", "https://bridge.example.com"),
        ("JAMBONZ_HOOK_USERNAME", "bridge"),
        ("JAMBONZ_HOOK_PASSWORD", "S3CRET-new"),
    ];
    let login = |name: &str| {
        let hook = &api.application(HELLO_WORLD).unwrap()[name];
        (hook["username"].clone(), hook["password"].clone())
    };
    let done = run_beside(folder.path(), &settings, &["setup", "--application", "hello world"]).await;
    assert!(done.status.success(), "{}", text(&done.stderr));
    for name in ["call_hook", "call_status_hook"] {
        assert_eq!(login(name), ("bridge".into(), "S3CRET-new".into()), "{name}");
    }
    let memory = folder.path().join(format!("zammad-bridge-setup-{HELLO_WORLD}.json"));
    let mode = std::os::unix::fs::PermissionsExt::mode(&std::fs::metadata(&memory).unwrap().permissions());
    assert_eq!(mode & 0o777, 0o600, "it holds passwords");
    let undone = run_beside(folder.path(), &settings, &["setup", "--application", "hello world", "--undo"]).await;
    assert!(undone.status.success(), "{}", text(&undone.stderr));
    assert_eq!(login("call_hook"), ("bot".into(), "S3CRET-old".into()));
    assert_eq!(login("call_status_hook"), (Value::Null, Value::Null));
    assert!(!memory.exists());
    for output in [&done, &undone] {
        assert!(!(text(&output.stdout) + &text(&output.stderr)).contains("S3CRET"));
    }
    // A memory of an older version knows no logins: they stay what they are.
    let old = json!({"application_sid": HELLO_WORLD, "name": "hello world", "call_hook": "https://old.example.com/call",
                     "call_status_hook": null});
    std::fs::write(&memory, old.to_string()).unwrap();
    let undone = run_beside(folder.path(), &settings, &["setup", "--application", "hello world", "--undo"]).await;
    assert!(undone.status.success(), "{}", text(&undone.stderr));
    assert_eq!(api.application(HELLO_WORLD).unwrap()["call_hook"]["url"], "https://old.example.com/call");
    assert_eq!(login("call_hook"), ("bot".into(), "S3CRET-old".into()));
}

#[test]
fn commands_make_no_store_by_looking() {
    let folder = tempfile::tempdir().unwrap();
    for arguments in [&["status"][..], &["replay"], &["export"], &["forget", "--client-id", "a"]] {
        let output = run(folder.path(), &[], arguments);
        let said = text(&output.stderr);
        assert!(
            !output.status.success() && said.contains("there is no store zammad-bridge.db"),
            "{arguments:?}: {said}"
        );
    }
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn setup_points_hooks_at_the_bridge_and_back_and_check_sees_it() {
    let folder = tempfile::tempdir().unwrap();
    let (api, zammad) = (JambonzApi::start().await.unwrap(), ZammadServer::start().await.unwrap());
    let (base, cti_url) = (api.base_url(), zammad.cti_url());
    let settings = [
        ("JAMBONZ_API_BASE_URL", base.as_str()),
        ("JAMBONZ_API_KEY", ACCOUNT_KEY),
        ("JAMBONZ_ACCOUNT_SID", ACCOUNT_SID),
        ("JAMBONZ_WEBHOOK_SECRET", WEBHOOK_SECRET),
        ("BRIDGE_PUBLIC_URL", "https://bridge.example.com/"),
        ("ZAMMAD_CTI_URL", cti_url.as_str()),
    ];
    let before = api.application(HELLO_WORLD).unwrap();
    let check = async |lang: &str| run_beside(folder.path(), &settings, &["check", "--lang", lang]).await;
    let found = check("en").await;
    let said = text(&found.stdout);
    assert_eq!(found.status.code(), Some(1), "{said}{}", text(&found.stderr));
    for words in [
        "No application's hooks lead to the bridge",
        "[ ok ] Zammad default takes the CTI token.",
        "[ ok ] The webhook secret",
    ] {
        assert!(said.contains(words), "{words}: {said}");
    }

    let dry = run_beside(folder.path(), &settings, &["setup", "--application", "hello world", "--dry-run"]).await;
    assert!(dry.status.success(), "{}", text(&dry.stderr));
    assert_eq!(api.application(HELLO_WORLD).unwrap(), before);
    let done = run_beside(folder.path(), &settings, &["setup", "--application", "hello world"]).await;
    let said = text(&done.stdout);
    assert!(
        done.status.success() && said.contains("UPSTREAM_CALL_HOOK=https://public-apps"),
        "{said}{}",
        text(&done.stderr)
    );
    let after = api.application(HELLO_WORLD).unwrap();
    assert_eq!(after["call_hook"]["url"], "https://bridge.example.com/jambonz/call");
    assert_eq!(after["call_status_hook"]["url"], "https://bridge.example.com/jambonz/status");
    assert_eq!(api.application(jambonz::TEST).unwrap()["call_hook"], before["call_hook"], "the hook was shared");
    let again = run_beside(folder.path(), &settings, &["setup", "--application", HELLO_WORLD]).await;
    assert!(text(&again.stdout).contains("already"), "{}", text(&again.stderr));

    zammad.set_cti_token("another");
    let said = text(&check("ru").await.stdout);
    assert!(said.contains("[ ok ] Оба вебхука приложения hello world ведут к мосту."), "{said}");
    assert!(said.contains("[FAIL] Zammad default не знает токена"), "{said}");

    let undone = run_beside(folder.path(), &settings, &["setup", "--application", "hello world", "--undo"]).await;
    assert!(undone.status.success(), "{}", text(&undone.stderr));
    let after = api.application(HELLO_WORLD).unwrap();
    for hook in ["call_hook", "call_status_hook"] {
        assert_eq!(after[hook]["url"], before[hook]["url"], "{hook}");
    }
    let twice = run_beside(folder.path(), &settings, &["setup", "--application", "hello world", "--undo"]).await;
    assert_eq!(twice.status.code(), Some(1), "there is nothing to bring back any more");
}
