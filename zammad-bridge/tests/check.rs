//! `check`: every fault is told apart and explained in both languages, against stand-ins; nothing is changed.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;

use codex_e2e::jambonz::{
    ACCOUNT_KEY, ACCOUNT_SID, HELLO_WORLD, JambonzApi, OTHER_ACCOUNT_SID, WEBHOOK_SECRET, answer,
};
use codex_e2e::zammad::{API_TOKEN, Fault, Integration, Permissions, ZammadServer};
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use serde_json::json;
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

/// Stand-ins in which everything is right, and settings that fit them.
struct Scene {
    api: JambonzApi,
    zammad: ZammadServer,
    application: TcpListener,
    tls: String,
    settings: BTreeMap<String, String>,
}

impl Scene {
    async fn new(folder: &Path) -> Self {
        let (api, zammad) = (JambonzApi::start().await.unwrap(), ZammadServer::start().await.unwrap());
        let application = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let hook = |path: &str| {
            json!({"webhook_sid": "11111111-0000-4000-8000-000000000001", "url": format!("https://bridge.example.com/jambonz/{path}"),
                   "method": "POST", "username": null, "password": null})
        };
        api.set_property(HELLO_WORLD, "call_hook", hook("call"));
        api.set_property(HELLO_WORLD, "call_status_hook", hook("status"));
        std::fs::write(folder.join("fallback.json"), r#"[{"verb":"hangup"}]"#).unwrap();
        let settings = [
            ("BRIDGE_DATABASE_URL", "sqlite://calls.db".to_owned()),
            ("BRIDGE_PUBLIC_URL", "https://bridge.example.com".to_owned()),
            ("JAMBONZ_API_BASE_URL", api.base_url()),
            ("JAMBONZ_API_KEY", ACCOUNT_KEY.to_owned()),
            ("JAMBONZ_ACCOUNT_SID", ACCOUNT_SID.to_owned()),
            ("JAMBONZ_WEBHOOK_SECRET", WEBHOOK_SECRET.to_owned()),
            ("UPSTREAM_CALL_HOOK", format!("http://{}/call", application.local_addr().unwrap())),
            ("FALLBACK_VERBS_FILE", "fallback.json".to_owned()),
            ("ZAMMAD_CTI_URL", zammad.cti_url()),
            ("ZAMMAD_URL", zammad.url()),
            ("ZAMMAD_API_TOKEN", API_TOKEN.to_owned()),
        ];
        let settings = settings.into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
        Self { api, zammad, application, tls: unknown_authority().await, settings }
    }

    fn set(&mut self, name: &str, value: &str) {
        self.settings.insert(name.to_owned(), value.to_owned());
    }

    /// What `check` says, and whether it ends well.
    async fn check(&self, folder: &Path, language: &str) -> (String, bool) {
        let mut command = Command::new(env!("CARGO_BIN_EXE_codex-zammad-bridge"));
        command.args(["check", "--lang", language]).current_dir(folder).env_clear().envs(&self.settings);
        let output = tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap();
        let said = String::from_utf8(output.stdout).unwrap() + &String::from_utf8(output.stderr).unwrap();
        (said, output.status.success())
    }
}

/// The origin of a server whose certificate nobody vouches for.
async fn unknown_authority() -> String {
    let certified = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
    let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(certified.signing_key.serialize_der()));
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certified.cert.der().clone()], key)
        .unwrap();
    let (listener, acceptor) = (TcpListener::bind("127.0.0.1:0").await.unwrap(), TlsAcceptor::from(Arc::new(config)));
    let origin = format!("https://localhost:{}", listener.local_addr().unwrap().port());
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            // The client gives up on the certificate.
            let _ = acceptor.accept(stream).await;
        }
    });
    origin
}

/// What is changed, and what is said then in English and in Russian: finding and remedy.
struct Case {
    what: &'static str,
    change: fn(&mut Scene),
    en: [&'static str; 2],
    ru: [&'static str; 2],
}

/// Nobody listens there.
const NOBODY: &str = "http://127.0.0.1:1";

#[tokio::test(flavor = "multi_thread")]
async fn every_fault_has_its_finding_and_its_remedy_in_both_languages() {
    let cases = [
        Case {
            what: "a wrong CTI token",
            change: |scene| scene.zammad.set_cti_token("another"),
            en: [
                "[FAIL] Zammad default does not know the token in ZAMMAD_CTI_URL.",
                "Copy the URL anew: Admin > Integrations > CTI",
            ],
            ru: ["[FAIL] Zammad default не знает токена из ZAMMAD_CTI_URL.", "Скопируйте URL заново"],
        },
        Case {
            what: "the integration switched off",
            change: |scene| scene.zammad.set_integration(Integration::Off),
            en: ["[FAIL] The CTI integration of Zammad default is switched off.", "Switch it on"],
            ru: ["[FAIL] Интеграция CTI в Zammad default выключена.", "Включите её"],
        },
        Case {
            what: "the integration never saved",
            change: |scene| scene.zammad.set_integration(Integration::NotConfigured),
            en: ["[FAIL] The CTI integration of Zammad default is not configured.", "save it once"],
            ru: ["[FAIL] Интеграция CTI в Zammad default не настроена.", "сохраните настройки"],
        },
        Case {
            what: "an unknown API token",
            change: |scene| scene.zammad.set_api_token("another"),
            en: ["[FAIL] Zammad default does not take ZAMMAD_API_TOKEN (HTTP 401).", "Token Access"],
            ru: ["[FAIL] Zammad default не принимает ZAMMAD_API_TOKEN (HTTP 401).", "Создайте новый в профиле агента"],
        },
        Case {
            what: "a token without ticket.agent",
            change: |scene| {
                let permissions = Permissions { ticket_agent: false, cti_agent: true, admin_group: false };
                scene.zammad.set_permissions(permissions);
            },
            en: ["[FAIL] The token may not work with tickets (HTTP 403).", "the permission ticket.agent"],
            ru: ["[FAIL] Токену недоступны заявки (HTTP 403).", "право ticket.agent"],
        },
        Case {
            what: "a token without cti.agent",
            change: |scene| {
                let permissions = Permissions { ticket_agent: true, cti_agent: false, admin_group: false };
                scene.zammad.set_permissions(permissions);
            },
            en: ["[ ?? ] The token may not read the caller log", "the permission cti.agent"],
            ru: ["[ ?? ] Токену недоступен журнал звонков", "право cti.agent"],
        },
        Case {
            what: "a group that is not the agent's",
            change: |scene| scene.zammad.set_groups_of_agent(&["Calls"]),
            en: [
                "[ ?? ] The token's user has no right of its own to make tickets in the group Users.",
                "set TICKET_GROUP",
            ],
            ru: [
                "[ ?? ] У пользователя токена нет собственного права создавать заявки в группе Users.",
                "задайте TICKET_GROUP",
            ],
        },
        Case {
            what: "maintenance",
            change: |scene| scene.zammad.set_fault(Some(Fault::status(200))),
            en: ["[ ?? ] Zammad default took a request that it should refuse", "Admin > Maintenance"],
            ru: ["[ ?? ] Zammad default принял запрос, который должен отклонить", "Обслуживание"],
        },
        Case {
            what: "something else at ZAMMAD_URL",
            change: |scene| {
                scene.zammad.fault_next_rest("GET", "/api/v1/users/me", Fault::status(404));
                scene.zammad.fault_next_rest("GET", "/api/v1/users/me", Fault::status(404));
            },
            en: ["[FAIL] What ZAMMAD_URL names answers with HTTP 404", "the address at which agents open Zammad"],
            ru: ["[FAIL] Адрес из ZAMMAD_URL отвечает HTTP 404", "по которому агенты открывают Zammad"],
        },
        Case {
            what: "no Zammad there",
            change: |scene| scene.set("ZAMMAD_CTI_URL", &format!("{NOBODY}/api/v1/cti/token")),
            en: ["[FAIL] Zammad default cannot be reached", "Check the address and the firewall"],
            ru: ["[FAIL] Zammad default недоступен", "Проверьте адрес, межсетевой экран"],
        },
        Case {
            what: "a Zammad that nobody vouches for",
            change: |scene| scene.set("ZAMMAD_CTI_URL", &format!("{}/api/v1/cti/token", scene.tls)),
            en: ["[FAIL] TLS with Zammad default fails", "goes into ZAMMAD_CA_FILE"],
            ru: ["[FAIL] Не удаётся установить TLS-соединение (Zammad default)", "укажите в ZAMMAD_CA_FILE"],
        },
        Case {
            what: "a wrong jambonz key",
            change: |scene| scene.set("JAMBONZ_API_KEY", "wrong"),
            en: ["[FAIL] jambonz does not know JAMBONZ_API_KEY (401).", "Make a new key"],
            ru: ["[FAIL] jambonz не знает ключа JAMBONZ_API_KEY (401).", "Создайте новый ключ"],
        },
        Case {
            what: "another account",
            change: |scene| scene.set("JAMBONZ_ACCOUNT_SID", OTHER_ACCOUNT_SID),
            en: [
                "[FAIL] The key in JAMBONZ_API_KEY may not see the account JAMBONZ_ACCOUNT_SID.",
                "Use a key of that account",
            ],
            ru: [
                "[FAIL] Ключу JAMBONZ_API_KEY недоступна учётная запись JAMBONZ_ACCOUNT_SID.",
                "Возьмите ключ этой учётной записи",
            ],
        },
        Case {
            what: "no jambonz there",
            change: |scene| scene.set("JAMBONZ_API_BASE_URL", &format!("{NOBODY}/v1")),
            en: ["[FAIL] jambonz' API cannot be reached.", "Check JAMBONZ_API_BASE_URL and the firewall"],
            ru: ["[FAIL] API jambonz недоступен.", "Проверьте JAMBONZ_API_BASE_URL и межсетевой экран"],
        },
        Case {
            what: "a jambonz that nobody vouches for",
            change: |scene| scene.set("JAMBONZ_API_BASE_URL", &format!("{}/v1", scene.tls)),
            en: ["[FAIL] TLS with JAMBONZ_API_BASE_URL fails", "goes into SSL_CERT_FILE"],
            ru: ["[FAIL] Не удаётся установить TLS-соединение (JAMBONZ_API_BASE_URL)", "укажите в SSL_CERT_FILE"],
        },
        Case {
            what: "no API at all",
            change: |scene| {
                let page = answer(200, "OK", &[("Content-Type", "text/html")], "<title>Welcome</title>");
                scene.api.set_fault(Some(codex_e2e::jambonz::Fault::Answer(page)));
            },
            en: ["[FAIL] What answers at JAMBONZ_API_BASE_URL is not jambonz' API.", "It looks like https://"],
            ru: ["[FAIL] По адресу JAMBONZ_API_BASE_URL отвечает не API jambonz.", "Он выглядит как https://"],
        },
        Case {
            what: "a wrong webhook secret",
            change: |scene| scene.set("JAMBONZ_WEBHOOK_SECRET", "wh_secret_of_another"),
            en: ["[FAIL] JAMBONZ_WEBHOOK_SECRET is not the account's webhook secret", "Copy it anew"],
            ru: ["[FAIL] JAMBONZ_WEBHOOK_SECRET не совпадает с секретом учётной записи", "Скопируйте его заново"],
        },
        Case {
            what: "a hook that leads elsewhere",
            change: |scene| {
                let hook = json!({"webhook_sid": "11111111-0000-4000-8000-000000000002", "url": "https://elsewhere.example.com/status",
                                  "method": "POST", "username": null, "password": null});
                scene.api.set_property(HELLO_WORLD, "call_status_hook", hook);
            },
            en: [
                "[FAIL] The call_status_hook of hello world does not lead to the bridge, the other one does.",
                "Run `setup --application",
            ],
            ru: ["[FAIL] call_status_hook приложения hello world не ведёт к мосту", "Выполните `setup --application"],
        },
        Case {
            what: "a hook with GET",
            change: |scene| {
                let mut hook = scene.api.application(HELLO_WORLD).unwrap()["call_hook"].clone();
                hook["method"] = "GET".into();
                scene.api.set_property(HELLO_WORLD, "call_hook", hook);
            },
            en: ["[FAIL] A hook of hello world has the method GET", "Set it to POST"],
            ru: ["[FAIL] У вебхука приложения hello world метод GET", "Выберите POST"],
        },
        Case {
            what: "hooks that do not log in",
            change: |scene| {
                scene.set("JAMBONZ_HOOK_USERNAME", "bridge");
                scene.set("JAMBONZ_HOOK_PASSWORD", "S3CRET-hook-password");
            },
            en: ["[FAIL] A hook of hello world does not log in", "user name and password in jambonz' portal"],
            ru: ["[FAIL] Вебхук приложения hello world не передаёт JAMBONZ_HOOK_USERNAME", "Задайте имя и пароль"],
        },
        Case {
            what: "hooks that all lead elsewhere",
            change: |scene| scene.set("BRIDGE_PUBLIC_URL", "https://other.example.com"),
            en: ["[FAIL] No application's hooks lead to the bridge", "Run `setup --application NAME`"],
            ru: ["[FAIL] Ни у одного приложения вебхуки не ведут к мосту", "Выполните `setup --application ИМЯ`"],
        },
        Case {
            what: "no application there",
            change: |scene| scene.set("UPSTREAM_CALL_HOOK", &format!("{NOBODY}/call")),
            en: ["[FAIL] UPSTREAM_CALL_HOOK cannot be reached", "Start the application"],
            ru: ["[FAIL] UPSTREAM_CALL_HOOK недоступен", "Запустите приложение"],
        },
        Case {
            what: "an application that nobody vouches for",
            change: |scene| scene.set("UPSTREAM_CALL_HOOK", &format!("{}/call", scene.tls)),
            en: ["[FAIL] TLS with UPSTREAM_CALL_HOOK fails", "goes into UPSTREAM_CA_FILE"],
            ru: ["[FAIL] Не удаётся установить TLS-соединение (UPSTREAM_CALL_HOOK)", "укажите в UPSTREAM_CA_FILE"],
        },
        Case {
            what: "a store without a folder",
            change: |scene| scene.set("BRIDGE_DATABASE_URL", "sqlite://missing/calls.db"),
            en: ["[FAIL] The store missing/calls.db cannot be used: there is no folder missing", "Make the folder"],
            ru: ["[FAIL] Хранилищем missing/calls.db нельзя пользоваться", "Создайте папку"],
        },
    ];
    for Case { what, change, en, ru } in cases {
        let folder = tempfile::tempdir().unwrap();
        let mut scene = Scene::new(folder.path()).await;
        change(&mut scene);
        for (language, [finding, remedy]) in [("en", en), ("ru", ru)] {
            let (said, all_right) = scene.check(folder.path(), language).await;
            let at = said.find(finding).unwrap_or_else(|| panic!("{what}, {language}: no {finding:?} in\n{said}"));
            let after = said[at..].lines().nth(1).unwrap_or_default();
            assert!(after.trim_start().starts_with("->") && after.contains(remedy), "{what}, {language}: {after}");
            assert_eq!(all_right, finding.starts_with("[ ?? ]"), "{what}: {said}");
            for secret in [API_TOKEN, ACCOUNT_KEY, WEBHOOK_SECRET, "S3CRET", "cti-token"] {
                assert!(!said.contains(secret), "{what}: {secret} in\n{said}");
            }
        }
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1, "{what}: nothing is made");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn where_everything_is_right_nothing_is_changed_and_it_says_so() {
    let folder = tempfile::tempdir().unwrap();
    let scene = Scene::new(folder.path()).await;
    for (language, words) in
        [("en", "Both hooks of hello world lead to the bridge."), ("ru", "Оба вебхука приложения hello world")]
    {
        let (said, all_right) = scene.check(folder.path(), language).await;
        assert!(all_right && said.contains(words), "{said}");
        assert!(said.lines().all(|line| line.starts_with("[ ok ]")), "{said}");
    }
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1, "no store was made");
    assert_eq!((scene.zammad.rows_made(), scene.zammad.tickets().len(), scene.zammad.users().len()), (0, 0, 1));
    assert!(scene.api.request_lines().iter().all(|line| line.starts_with("GET ")), "{:?}", scene.api.request_lines());
    // The application was connected to, and asked nothing.
    let (mut stream, _) = scene.application.accept().await.unwrap();
    let mut asked = Vec::new();
    tokio::io::AsyncReadExt::read_to_end(&mut stream, &mut asked).await.unwrap();
    assert_eq!(asked, b"");
}
