//! `codex-call` as a process, against the embedded gateway.

use std::time::Duration;

use codex_e2e::audio::Audio;
use codex_e2e::codex_call::{Call, Run, keys, keys_of};
use codex_e2e::gateway::{Gateway, GatewayEvent, Voicebot};

/// The program of this build with these keys.
fn codex_call(keys: &[(String, String)]) -> Call {
    Call::new(std::path::Path::new(env!("CARGO_BIN_EXE_codex-call")), keys)
}

const PATIENCE: Duration = Duration::from_secs(40);

async fn gateway_event<T>(gateway: &mut Gateway, mut find: impl FnMut(GatewayEvent) -> Option<T>) -> T {
    let looking = async {
        loop {
            if let Some(found) = find(gateway.next_event().await.expect("the gateway runs")) {
                return found;
            }
        }
    };
    tokio::time::timeout(PATIENCE, looking).await.expect("the gateway sees it")
}

#[tokio::test]
async fn a_call_says_who_is_calling_is_heard_and_hears() {
    let mut gateway = Gateway::builder().voicebot(Voicebot::Tone(1000.0)).start().await.unwrap();
    let folder = tempfile::tempdir().unwrap();
    let recording = folder.path().join("heard.wav");
    let run = codex_call(&keys(&gateway))
        .args(["--tone", "440", "--duration", "4s", "--expect-audio", "--dtmf", "1#", "--json", "--trace"])
        .args(["--customer-data", r#"{"clientId":"user_12345","clientName":"Иван Иванов","callType":"webcall"}"#])
        .args(["--language", "ru", "--record"])
        .arg(&recording)
        .run()
        .await;
    assert_eq!(run.status, 0, "{run}");

    let connected = run.event("call", |event| event["state"] == "connected");
    let tag = connected["tag"].as_str().unwrap();
    assert_eq!(connected["displayFrom"], format!("webcall:{tag}"), "no name, no arrow");
    assert_eq!(connected["displayTo"], "voicebot");
    assert_eq!(connected["customerData"]["clientName"], "Иван Иванов");
    let sent = &run.event("headers", |_| true)["headers"];
    assert_eq!((sent["X-Call-Tag"].as_str(), sent["X-Lang"].as_str()), (Some(tag), Some("ru")));
    run.event("levels", |event| event["sentDbfs"].as_f64().is_some_and(|level| level > -15.0));
    run.event("call", |event| event["state"] == "ended");
    run.event("registration", |event| event["state"] == "unregistered");
    assert_eq!(run.events.last().unwrap()["status"], 0);
    let ladder = run.event("ladder", |_| true)["drawing"].as_str().unwrap().to_owned();
    for expected in ["--INVITE sip:", "200 OK (BYE)", "Digest username=\"170\"", "response=***"] {
        assert!(ladder.contains(expected), "{expected}: {ladder}");
    }

    let headers = gateway_event(&mut gateway, |event| match event {
        GatewayEvent::Invite { headers, .. } => Some(headers),
        _ => None,
    })
    .await;
    let header = |name: &str| headers.iter().find(|(found, _)| found == name).map(|(_, value)| value.as_str());
    assert_eq!(
        header("X-Customer-Data"),
        Some(r#"{"clientId":"user_12345","clientName":"Иван Иванов","callType":"webcall"}"#)
    );
    let mut pressed = String::new();
    let heard = gateway_event(&mut gateway, |event| match event {
        GatewayEvent::Dtmf(key) => {
            pressed.push(key);
            None
        }
        GatewayEvent::Ended { heard, .. } => Some(heard),
        _ => None,
    })
    .await;
    assert_eq!(pressed, "1#");
    assert!(heard.tone_share(440.0) > 0.8, "the voicebot heard {:.2} of its energy at 440 Hz", heard.tone_share(440.0));

    let recorded = Audio::read_wav(&recording).unwrap();
    assert!(recorded.seconds() > 1.0, "{} s recorded", recorded.seconds());
    let middle = recorded.between(0.5, recorded.seconds() - 0.2);
    let (hz, _) = middle.strongest_tone(300.0, 3000.0).unwrap();
    assert!((hz - 1000.0).abs() < 10.0, "{hz} Hz recorded");
}

#[tokio::test]
async fn what_people_see_is_readable_in_both_languages() {
    let gateway = Gateway::builder().start().await.unwrap();
    let calls = |lang: &'static str| {
        codex_call(&keys(&gateway))
            .args(["call", "--duration", "1s", "--tone", "600", "--trace", "--lang", lang])
            .env("TARGET_APPLICATION_NAME", "voicebot")
    };
    for (lang, expected) in [
        ("en", ["registering", "registered", "calling", "connected", "call over", "heard sound for"]),
        ("ru", ["регистрация", "зарегистрирован", "звоним", "соединено", "звонок окончен", "слышен звук"]),
    ] {
        let run = calls(lang).run().await;
        assert_eq!(run.status, 0, "{run}");
        let mut from = 0;
        for text in expected {
            let found = run.stdout[from..].find(text).unwrap_or_else(|| panic!("`{text}` in its place: {run}"));
            from += found;
        }
        assert!(run.stdout.contains("X-Display-From: webcall:") && run.stdout.contains(" → voicebot"), "{run}");
        assert!(!run.stdout.contains("secret") && !run.stderr.contains("secret"), "{run}");
        assert!(
            !run.stdout.contains('\u{1b}') && !run.stderr.contains('\u{1b}'),
            "no meters without a terminal: {run}"
        );
    }
}

#[tokio::test]
async fn silence_is_a_failure_only_where_audio_is_expected() {
    let gateway = Gateway::builder().start().await.unwrap();
    let call = || codex_call(&keys(&gateway)).args(["--duration", "1s", "--json"]);
    let run = call().run().await;
    assert_eq!(run.status, 0, "an echo of silence: {run}");
    let run = call().arg("--expect-audio").run().await;
    assert_eq!(run.status, 9, "{run}");
    assert_eq!(run.event("error", |_| true)["kind"], "audio");
}

#[tokio::test]
async fn ctrl_c_says_good_bye() {
    let mut gateway = Gateway::builder().start().await.unwrap();
    let mut child = codex_call(&keys(&gateway)).args(["--json", "--tone", "500"]).spawn();
    gateway_event(&mut gateway, |event| matches!(event, GatewayEvent::Answered).then_some(())).await;
    child.event(|event| event["event"] == "call" && event["state"] == "connected").await;
    child.interrupt();
    let run = child.end().await;
    assert_eq!(run.status, 0, "a call that was up has gone as it should: {run}");
    run.event("call", |event| event["state"] == "ended");
    run.event("registration", |event| event["state"] == "unregistered");
    let reason = gateway_event(&mut gateway, |event| match event {
        GatewayEvent::Ended { reason, .. } => Some(reason),
        _ => None,
    })
    .await;
    assert_ne!(reason.as_deref(), Some("the WebSocket was closed"), "a BYE came");
}

#[tokio::test]
async fn a_far_end_that_hangs_up_just_as_something_is_due_ends_the_call_well() {
    // The first key is due 400 ms after the call is up.
    for milliseconds in [380, 395, 400, 405, 420] {
        let talking = Duration::from_millis(milliseconds);
        let gateway = Gateway::builder().hangs_up_after(talking).start().await.unwrap();
        for due in [["--dtmf", "1"], ["--duration", "400ms"]] {
            let run = codex_call(&keys(&gateway)).args(due).arg("--json").run().await;
            assert_eq!(run.status, 0, "{due:?}, hung up after {milliseconds} ms: {run}");
            let ended = run.events.iter().filter(|event| event["event"] == "call" && event["state"] == "ended").count();
            assert_eq!(ended, 1, "{due:?}, hung up after {milliseconds} ms: {run}");
            assert!(!run.events.iter().any(|event| event["event"] == "error"), "{run}");
        }
    }
}

#[tokio::test]
async fn a_caller_who_gives_up_before_the_answer_is_not_the_call_that_is_waited_for() {
    // A STUN server that says nothing holds the answer up.
    let silent = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    let stun = format!("stun:{}", silent.local_addr().unwrap());
    for lang in ["en", "ru"] {
        let answer = |gateway: &Gateway| {
            let call = codex_call(&keys(gateway)).env("STUN_URLS", &stun);
            call.args(["answer", "--wait", "3s", "--lang", lang])
        };
        let gateway = Gateway::builder().calls_and_gives_up().start().await.unwrap();
        let run = answer(&gateway).arg("--json").run().await;
        run.event("incomingCall", |_| true);
        run.event("call", |event| event["state"] == "ended");
        assert_eq!(run.status, 11, "nobody else called: {run}");
        assert!(!run.events.iter().any(|event| event["state"] == "connected"), "{run}");
        // And for people.
        let gateway = Gateway::builder().calls_and_gives_up().start().await.unwrap();
        let run = answer(&gateway).run().await;
        let gave_up =
            if lang == "en" { "the caller gave up" } else { "звонивший не дождался ответа" };
        assert!(run.status == 11 && run.stdout.contains(gave_up), "{run}");
    }
}

#[tokio::test]
async fn interrupted_before_the_call_is_up_is_130() {
    // Nobody ever answers the handshake.
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("ws://{}", listener.local_addr().unwrap());
    let child = codex_call(&keys_of(&url)).arg("--json").spawn();
    let (_open, _) = tokio::time::timeout(PATIENCE, listener.accept()).await.unwrap().unwrap();
    child.interrupt();
    let run = child.end().await;
    assert_eq!(run.status, 130, "{run}");
}

#[tokio::test]
async fn listening_ends_well_by_ctrl_c_and_with_its_reason_when_the_registration_is_lost() {
    let gateway = Gateway::builder().start().await.unwrap();
    let registered = |event: &serde_json::Value| event["event"] == "registration" && event["state"] == "registered";
    let mut listening = codex_call(&keys(&gateway)).args(["listen", "--json"]).spawn();
    listening.event(registered).await;
    listening.interrupt();
    let run = listening.end().await;
    assert_eq!(run.status, 0, "{run}");
    run.event("registration", |event| event["state"] == "unregistered");

    let mut waiting = [codex_call(&keys(&gateway)).args(["listen", "--json"]).spawn(), {
        codex_call(&keys(&gateway)).args(["answer", "--json"]).spawn()
    }];
    for run in &mut waiting {
        run.event(registered).await;
    }
    drop(gateway);
    for run in waiting {
        let run = run.end().await;
        assert_eq!(run.status, 4, "{run}");
        let error = run.event("error", |_| true);
        assert!(error["details"].as_str().is_some_and(|details| !details.is_empty()), "{error}");
    }
}

#[tokio::test]
async fn another_protocol_on_the_port_is_no_sip_over_websocket() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("ws://{}", listener.local_addr().unwrap());
    let serving = tokio::spawn(async move {
        let mut open = Vec::new();
        while let Ok((mut stream, _)) = listener.accept().await {
            use tokio::io::AsyncWriteExt as _;
            let _gone = stream.write_all(b"SSH-2.0-OpenSSH_9.6\r\n\r\n").await;
            open.push(stream);
        }
    });
    let run = codex_call(&keys_of(&url)).args(["register", "--json", "--lang", "ru"]).run().await;
    assert_eq!(run.status, 6, "{run}");
    let error = run.event("error", |_| true);
    assert!(error["message"].as_str().is_some_and(|text| text.contains("не WebSocket")), "{error}");
    serving.abort();
}

#[cfg(target_os = "linux")]
#[test]
fn an_output_that_takes_nothing_makes_no_panic() {
    for option in [&["--completions", "bash"][..], &["--man"]] {
        let full = std::fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
        let output = std::process::Command::new(env!("CARGO_BIN_EXE_codex-call"))
            .args(option)
            .stdout(full)
            .stderr(std::process::Stdio::piped())
            .output()
            .unwrap();
        let stderr = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(1), "{stderr}");
        assert!(stderr.contains("cannot be written") && !stderr.contains("panicked"), "{stderr}");
    }
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn a_reader_who_went_away_holds_nothing_up() {
    let unused = tokio::net::TcpSocket::new_v4().unwrap();
    unused.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let mut run = tokio::process::Command::new(env!("CARGO_BIN_EXE_codex-call"));
    run.args(["register", "-vv"]).env_clear().current_dir("/").kill_on_drop(true);
    run.envs(keys_of(&format!("ws://{}", unused.local_addr().unwrap())));
    let mut child = run.stdout(writer.try_clone().unwrap()).stderr(writer).spawn().unwrap();
    let status = tokio::time::timeout(PATIENCE, child.wait()).await.expect("it ends").unwrap();
    assert_eq!(status.code(), Some(4));
}

#[tokio::test]
async fn registering_and_listening() {
    let mut gateway = Gateway::builder().start().await.unwrap();
    let without_target: Vec<_> = keys(&gateway).into_iter().filter(|(name, _)| name != "TARGET_SIP_URI").collect();
    for (task, arguments) in [("register", vec![]), ("listen", vec!["--duration", "300ms"])] {
        let run = codex_call(&without_target).arg(task).args(arguments).arg("--json").run().await;
        assert_eq!(run.status, 0, "{run}");
        run.event("registration", |event| event["state"] == "registered");
        run.event("registration", |event| event["state"] == "unregistered");
        gateway_event(&mut gateway, |event| matches!(event, GatewayEvent::Registered { .. }).then_some(())).await;
    }
    let run = codex_call(&without_target).args(["answer", "--wait", "200ms", "--json"]).run().await;
    assert_eq!((run.status, run.events.last().unwrap()["kind"].as_str()), (11, Some("nobody_called")), "{run}");
}

/// What fails, its exit status, and what is said of it in English and Russian.
#[tokio::test]
async fn every_failure_has_its_status_and_says_what_to_do() {
    let gateway = Gateway::builder().start().await.unwrap();
    // Bound and not listening: nobody else gets the port meanwhile.
    let unused = tokio::net::TcpSocket::new_v4().unwrap();
    unused.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let closed = format!("ws://{}", unused.local_addr().unwrap());
    let folder = tempfile::tempdir().unwrap();
    let empty = folder.path().join("empty.env");
    std::fs::write(&empty, "OTHER=1\n").unwrap();
    let broken = folder.path().join("broken.env");
    std::fs::write(&broken, "A=1\nnonsense\n").unwrap();
    let no_wav = folder.path().join("no.wav");
    std::fs::write(&no_wav, "this is text").unwrap();
    let blank = folder.path().join("blank.json");
    std::fs::write(&blank, "\n").unwrap();
    let at_blank = format!("@{}", blank.display());
    let (empty, broken, no_wav) = (empty.to_str().unwrap(), broken.to_str().unwrap(), no_wav.to_str().unwrap());
    type Case<'a> = (&'a str, Vec<(&'a str, &'a str)>, Vec<&'a str>, u8, &'a str, &'a str);
    let cases: Vec<Case<'_>> = vec![
        (
            "no settings",
            vec![("JAMBONZ_SIP_DOMAIN", ""), ("JAMBONZ_SIP_PASSWORD", "")],
            vec![],
            3,
            "2 settings are wrong",
            "ошибок в настройках: 2",
        ),
        ("bad customer data", vec![], vec!["--customer-data", "{\"callType\":"], 3, "--customer-data", "строка 1"),
        (
            "bad target",
            vec![],
            vec!["--to", "https://sip.example.com"],
            3,
            "(--to): it must begin with sip:",
            "(--to): должно начинаться с sip:",
        ),
        (
            "no such file of settings",
            vec![],
            vec!["--env", "/nonexistent/a.env"],
            10,
            "/nonexistent/a.env cannot be read",
            "не удаётся прочитать /nonexistent/a.env",
        ),
        (
            "a file without settings",
            vec![],
            vec!["--env", empty],
            3,
            "holds none of the settings",
            "нет ни одной настройки",
        ),
        ("a file that cannot be read", vec![], vec!["--env", broken], 3, "broken.env:2", "эта строка не вида"),
        (
            "a wrong port",
            vec![("JAMBONZ_WSS_ADDRESS", &closed)],
            vec![],
            4,
            "nothing answers at 127.0.0.1:",
            "никто не отвечает",
        ),
        (
            "no name",
            vec![("JAMBONZ_WSS_ADDRESS", "wss://no-such-host.invalid:8443")],
            vec![],
            4,
            "no-such-host.invalid has no address",
            "имя no-such-host.invalid не найдено",
        ),
        (
            "a wrong password",
            vec![("JAMBONZ_SIP_PASSWORD", "hunter2")],
            vec![],
            7,
            "user name or password is wrong",
            "неверное имя пользователя или пароль",
        ),
        (
            "a wrong realm",
            vec![("JAMBONZ_SIP_DOMAIN", "edge.example.com")],
            vec![],
            7,
            "knows no account with this SIP domain",
            "не знает аккаунта с таким SIP-доменом",
        ),
        ("an empty target", vec![], vec!["--to", ""], 3, "--to is empty", "--to: пусто"),
        ("empty data", vec![], vec!["--customer-data", " "], 3, "--customer-data is empty", "--customer-data: пусто"),
        ("an empty file of data", vec![], vec!["--customer-data", &at_blank], 3, "is empty", ": пусто"),
        ("no WAV", vec![], vec!["--say", no_wav], 10, "no.wav", "no.wav"),
        ("no certificate", vec![], vec!["--ca", no_wav], 3, "holds no certificate in PEM", "нет сертификата в PEM"),
        (
            "no folder",
            vec![],
            vec!["--record", "/nonexistent/a.wav"],
            10,
            "check that the folder exists",
            "в неё можно писать",
        ),
        (
            "both sounds",
            vec![],
            vec!["--say", no_wav, "--tone", "440"],
            2,
            "cannot be used with",
            "нельзя указать вместе с",
        ),
        ("a wrong time", vec![], vec!["--wait", "soon"], 2, "a time such as 10s", "нужно время, например 10s"),
        ("a wrong key", vec![], vec!["--dtmf=x"], 2, "keys are 0 to 9", "возможны 0–9"),
        ("a wrong tone", vec![], vec!["--tone=1"], 2, "a number of hertz", "нужно число герц"),
        ("a wrong task", vec![], vec!["dial"], 2, "possible values: register", "возможны: register, call"),
        ("a wrong option", vec![], vec!["--tune"], 2, "--tone", "возможно, имелось в виду --tone"),
        ("no value", vec![], vec!["--say"], 2, "a value is required", "нужно значение"),
    ];
    for (what, environment, arguments, status, en, ru) in cases {
        for (lang, expected) in [("en", en), ("ru", ru)] {
            let mut call = codex_call(&keys(&gateway)).args(["--duration", "1s", "--lang", lang]).args(&arguments);
            for (name, value) in &environment {
                call = call.env(name, value);
            }
            let run: Run = call.run().await;
            assert_eq!(run.status, status, "{what}: {run}");
            assert!(run.stderr.contains(expected), "{what}: `{expected}` is not in {run}");
            assert!(!run.stderr.contains("hunter2"), "{what}: {run}");
            assert!(!run.stderr.contains("panicked"), "{what}: {run}");
        }
    }
}

#[tokio::test]
async fn settings_of_a_file_and_of_options_count_before_the_environment() {
    let gateway = Gateway::builder().start().await.unwrap();
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("prod.env");
    let lines: String = keys(&gateway).iter().map(|(name, value)| format!("VITE_{name}='{value}'\n")).collect();
    std::fs::write(&file, format!("{lines}JAMBONZ_SIP_DOMIAN=typo\n")).unwrap();
    let run = codex_call(&[])
        .env("JAMBONZ_SIP_PASSWORD", "another")
        .args(["register", "--json", "--env"])
        .arg(&file)
        .run()
        .await;
    assert_eq!(run.status, 0, "{run}");
    let warning = run.event("warning", |_| true)["message"].as_str().unwrap();
    assert!(warning.contains("JAMBONZ_SIP_DOMIAN") && warning.contains("did you mean JAMBONZ_SIP_DOMAIN"), "{warning}");
    // Without --env a .env in the folder fills gaps.
    std::fs::rename(&file, folder.path().join(".env")).unwrap();
    let run = codex_call(&[]).current_dir(folder.path()).args(["register", "--json"]).run().await;
    assert_eq!(run.status, 0, "{run}");
}

#[tokio::test]
async fn help_manual_and_completions() {
    let run = codex_call(&[]).arg("--help").run().await;
    assert_eq!(run.status, 0);
    for expected in ["Exit status:", "JAMBONZ_WSS_ADDRESS", "--expect-audio", "doctor"] {
        assert!(run.stdout.contains(expected), "{expected}: {run}");
    }
    let run = codex_call(&[]).arg("--man").run().await;
    assert!(run.status == 0 && run.stdout.contains(".TH codex-call") && run.stdout.contains("Exit status"), "{run}");
    for shell in ["bash", "zsh", "fish"] {
        let run = codex_call(&[]).args(["--completions", shell]).run().await;
        assert!(run.status == 0 && run.stdout.contains("customer-data"), "{run}");
    }
    let run = codex_call(&[]).arg("--tune").run().await;
    assert!(run.status == 2 && run.stderr.contains("--tone"), "a near option is named: {run}");
}
