use std::collections::BTreeMap;

use secrecy::ExposeSecret as _;

use super::*;
use crate::call_book::TicketMode;
use crate::delivery::{FromStyle, RecordLanguage};

/// Loads from an environment and a configuration file alone.
fn load(environment: &[(&str, &str)], toml: &str) -> Result<Settings> {
    let dir = tempfile::tempdir().unwrap();
    let (env_file, config_file) = (dir.path().join("env"), dir.path().join("config.toml"));
    std::fs::write(&env_file, "").unwrap();
    std::fs::write(&config_file, toml).unwrap();
    let environment: BTreeMap<_, _> = environment.iter().map(|&(name, value)| (name, value.to_owned())).collect();
    let places = Places { set: Vec::new(), env_file: Some(env_file), config_file: Some(config_file) };
    Settings::load(&places, |name| environment.get(name).cloned())
}

fn problems(environment: &[(&str, &str)], toml: &str) -> Vec<String> {
    match load(environment, toml).unwrap_err() {
        Error::Settings { problems } => problems.iter().map(ToString::to_string).collect(),
        other => panic!("{other}"),
    }
}

const CTI_URL: (&str, &str) = ("ZAMMAD_CTI_URL", "https://zammad.example.com/api/v1/cti/S3CRET");

#[test]
fn without_anything_set_the_bridge_listens_on_loopback_and_keeps_calls() {
    let settings = load(&[], "").unwrap();
    assert_eq!(settings.listen, "127.0.0.1:8787".parse::<SocketAddr>().unwrap());
    assert_eq!(settings.database.place(), "zammad-bridge.db");
    assert_eq!(settings.retain, Some(Duration::from_secs(90 * 86_400)));
    assert_eq!(settings.call_max_age, Duration::from_secs(12 * 3_600));
    assert_eq!(settings.upstream_call_limit, Duration::from_secs(8));
    assert!(settings.zammads.is_empty() && settings.jambonz_api.is_none() && !settings.allow_unsigned);
}

#[test]
fn one_zammad_by_the_environment() {
    let zammads = load(
        &[
            CTI_URL,
            ("ZAMMAD_URL", "https://zammad.example.com"),
            ("ZAMMAD_API_TOKEN", "S3CRET"),
            ("ZAMMAD_CONCURRENCY", "64"),
            ("ZAMMAD_FROM", "Phone"),
            ("RECORD_LANG", "ru"),
            ("TRUST_CUSTOMER_DATA", "true"),
            ("ZAMMAD_MAX_PER_SECOND", "0"),
        ],
        "",
    )
    .unwrap()
    .zammads;
    let [zammad] = &zammads[..] else { panic!("{zammads:?}") };
    assert_eq!((&*zammad.name, zammad.concurrency, zammad.max_per_second), ("default", 64, None));
    assert_eq!((zammad.from, zammad.language), (FromStyle::Phone, RecordLanguage::Ru));
    assert_eq!(zammad.tickets, TicketMode::All, "a token makes tickets");
    assert_eq!(zammad.cti_url.expose_secret(), CTI_URL.1);
    assert!(zammad.trust_customer_data && zammad.applications.is_empty());
    assert_eq!(load(&[CTI_URL], "").unwrap().zammads[0].tickets, TicketMode::Off);
}

#[test]
fn several_zammads_by_tables_which_take_from_the_bridge_what_they_do_not_say() {
    let toml = r#"
        record_lang = "ru"
        ticket_mode = "missed"
        [[zammad]]
        name = "support"
        applications = ["voicebot", "0397dc5f-2f8f-4778-8499-0af934dd1196"]
        cti_url = "https://support.example.com/api/v1/cti/S3CRET"
        url = "https://support.example.com"
        api_token = "S3CRET"
        concurrency = 5
        [[zammad]]
        name = "sales"
        record_lang = "en"
        cti_url = "https://sales.example.com/api/v1/cti/S3CRET"
    "#;
    let zammads = load(&[CTI_URL], toml).unwrap().zammads;
    let names: Vec<&str> = zammads.iter().map(|zammad| &*zammad.name).collect();
    assert_eq!(names, ["support", "sales", "default"]);
    assert_eq!(zammads[0].applications, ["voicebot", "0397dc5f-2f8f-4778-8499-0af934dd1196"]);
    assert_eq!((zammads[0].language, zammads[0].tickets), (RecordLanguage::Ru, TicketMode::Missed));
    assert_eq!((zammads[0].concurrency, zammads[1].concurrency), (5, 3));
    assert_eq!((zammads[1].language, zammads[1].tickets), (RecordLanguage::En, TicketMode::Off));
    assert!(zammads[1].api_token.is_none());
}

#[test]
fn beyond_loopback_hooks_must_show_something() {
    let open = ("BRIDGE_LISTEN", "0.0.0.0:8787");
    let found = problems(&[open], "");
    assert_eq!(found.len(), 1, "{found:?}");
    assert!(found[0].contains("JAMBONZ_WEBHOOK_SECRET") && found[0].contains("ALLOW_UNSIGNED"), "{found:?}");
    for enough in [
        vec![("JAMBONZ_WEBHOOK_SECRET", "wh_secret_a,wh_secret_b")],
        vec![("JAMBONZ_HOOK_USERNAME", "u"), ("JAMBONZ_HOOK_PASSWORD", "p")],
        vec![("ALLOW_UNSIGNED", "true")],
        vec![
            ("JAMBONZ_API_BASE_URL", "https://a.example"),
            ("JAMBONZ_API_KEY", "k"),
            ("JAMBONZ_ACCOUNT_SID", "9351f46a-678c-43f5-b8a6-d4eb58d131af"),
        ],
    ] {
        load(&[&[open], &enough[..]].concat(), "").unwrap();
    }
    load(&[("BRIDGE_LISTEN", "[::1]:8787")], "").unwrap();
}

#[test]
fn everything_that_is_wrong_is_told_at_once_and_no_secret_is_shown() {
    let found = problems(
        &[
            ("BRIDGE_LISTEN", "8787"),
            ("BRIDGE_DATABASE_URL", "mysql://u:S3CRET@db/x"),
            ("ZAMMAD_CTI_URL", "http://zammad.example.com/api/v1/cti/S3CRET"),
            ("ZAMMAD_CONCURRENCY", "0"),
            ("JAMBONZ_HOOK_USERNAME", "u"),
            ("JAMBONZ_API_KEY", "S3CRET"),
            ("UPSTREAM_CALL_HOOK", "https://me:S3CRET@a.example/"),
            ("UPSTREAM_TIMEOUT_MS", "10000"),
            ("CALL_MAX_AGE", "4 hours"),
            ("ALLOW_UNSIGNED", "maybe"),
            ("FALLBACK_VERBS_FILE", "/nonexistent/verbs.json"),
        ],
        "retain_days = -1\nzammad_ulr = \"x\"\n[[zammad]]\nconcurency = 3\ncti_url = \"https://a.example/S3CRET\"\n",
    );
    let all = found.join("\n");
    assert!(!all.contains("S3CRET"), "{all}");
    for key in [
        "BRIDGE_LISTEN = 8787: it is no address with a port; for example 0.0.0.0:8787",
        "BRIDGE_DATABASE_URL",
        "ZAMMAD_CTI_URL = ***: it is not https",
        "INSECURE_HTTP_HOSTS",
        "ZAMMAD_CONCURRENCY = 0: it is no whole number from 1 to 256",
        "JAMBONZ_HOOK_PASSWORD",
        "JAMBONZ_API_BASE_URL",
        "JAMBONZ_ACCOUNT_SID",
        "UPSTREAM_CALL_HOOK = ***: it holds a user name or password",
        "UPSTREAM_TIMEOUT_MS = 10000: it is no whole number from 100 to 9500",
        "CALL_MAX_AGE = 4 hours",
        "ALLOW_UNSIGNED = maybe",
        "FALLBACK_VERBS_FILE = /nonexistent/verbs.json: it cannot be read",
        "RETAIN_DAYS = -1",
        "zammad_ulr: ",
        "did you mean ZAMMAD_URL?",
        "concurency of [[zammad]] number 1: there is no such setting",
        "name of [[zammad]] number 1",
        "cti_url of [[zammad]] number 1: it is not the whole URL",
    ] {
        assert!(all.contains(key), "{key} is not in:\n{all}");
    }
}

#[test]
fn tickets_need_a_token_where_they_were_asked_for() {
    let found = problems(&[CTI_URL, ("TICKET_MODE", "all")], "");
    assert!(found.len() == 1 && found[0].contains("ZAMMAD_API_TOKEN: it is not set, and tickets need it"), "{found:?}");
    let table = "[[zammad]]\nname = \"a\"\ncti_url = \"https://a.example/api/v1/cti/t\"\nticket_mode = \"missed\"\n";
    assert!(problems(&[], table)[0].contains("api_token of [[zammad]] a"));
    let alone = problems(&[("ZAMMAD_URL", "https://a.example"), ("ZAMMAD_API_TOKEN", "t")], "");
    assert!(alone.len() == 1 && alone[0].starts_with("ZAMMAD_CTI_URL: it is not set"), "{alone:?}");
}

#[test]
fn plain_http_is_for_this_machine_and_for_hosts_that_are_named() {
    for (url, named, is_taken) in [
        ("http://127.0.0.1:3000/api/v1/cti/t", "", true),
        ("http://localhost:3000/api/v1/cti/t", "", true),
        ("http://zammad-nginx:8080/api/v1/cti/t", "", false),
        ("http://zammad-nginx:8080/api/v1/cti/t", "other, Zammad-Nginx", true),
        ("http://[fd00::1]/api/v1/cti/t", "fd00::1", true),
        ("http://localhost.example.com/api/v1/cti/t", "", false),
    ] {
        let loaded = load(&[("ZAMMAD_CTI_URL", url), ("INSECURE_HTTP_HOSTS", named)], "");
        assert_eq!(loaded.is_ok(), is_taken, "{url} {named}");
    }
}

#[test]
fn files_of_verbs_are_read_and_checked() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("verbs.json");
    let name = path.to_str().unwrap();
    std::fs::write(&path, r#"[{"verb":"hangup"}]"#).unwrap();
    let settings = load(&[("VERBS_FILE", name), ("FALLBACK_VERBS_FILE", name)], "").unwrap();
    assert_eq!(settings.verbs.unwrap(), settings.fallback_verbs.unwrap());
    std::fs::write(&path, r#"{"verb":"hangup"}"#).unwrap();
    let found = problems(&[("VERBS_FILE", name)], "");
    assert!(found[0].starts_with("VERBS_FILE = ") && found[0].contains("not a JSON array"), "{found:?}");
}

#[test]
fn settings_show_no_secret() {
    let settings = load(
        &[
            CTI_URL,
            ("JAMBONZ_WEBHOOK_SECRET", "S3CRET"),
            ("JAMBONZ_HOOK_USERNAME", "u"),
            ("JAMBONZ_HOOK_PASSWORD", "S3CRET"),
            ("BRIDGE_API_TOKEN", "S3CRET"),
            ("BRIDGE_ADMIN_TOKEN", "S3CRET"),
            ("ZAMMAD_URL", "https://a.example"),
            ("ZAMMAD_API_TOKEN", "S3CRET"),
            ("JAMBONZ_API_BASE_URL", "https://a.example"),
            ("JAMBONZ_API_KEY", "S3CRET"),
            ("JAMBONZ_ACCOUNT_SID", "9351f46a-678c-43f5-b8a6-d4eb58d131af"),
        ],
        "",
    );
    let shown = format!("{:?}", settings.unwrap());
    assert!(!shown.contains("S3CRET"), "{shown}");
}
