//! The keys of all sources as settings.

use std::path::Path;

use codex_web_widget::keys::{
    CUSTOMER_DATA, DEFAULT_LANG, JAMBONZ_SIP_DOMAIN, JAMBONZ_SIP_USERNAME, TARGET_APPLICATION_NAME, TARGET_SIP_URI,
};
use codex_web_widget::{KeyValues, Settings, Text};

use crate::arguments::{Arguments, Task};
use crate::details;
use crate::exit::{Failure, Kind};

/// Read without `--env`, if it is there.
const DEFAULT_FILE: &str = ".env";
/// Nothing that this program reads into memory as a whole is larger.
const FILE_LIMIT_BYTES: u64 = 1024 * 1024;

/// The settings, and where they came from in words.
pub(crate) struct Configuration {
    pub(crate) settings: Settings,
    pub(crate) source: Text,
}

/// Reads and checks everything.
pub(crate) fn load(arguments: &Arguments) -> Result<Configuration, Failure> {
    let (mut keys, source) = sources(arguments)?;
    // An empty key is as good as none, and what is configured would be taken instead of what was asked for.
    for (option, value) in
        [("--to", &arguments.to), ("--language", &arguments.language), ("--customer-data", &arguments.customer_data)]
    {
        if let Some(value) = value {
            not_empty(option, value)?;
        }
    }
    if let Some(target) = &arguments.to {
        if keys.value(TARGET_SIP_URI) != Some(target) {
            // The configured name belongs to the configured target.
            keys = keys.without(TARGET_APPLICATION_NAME);
        }
        keys = keys.with(TARGET_SIP_URI, target, "--to");
    } else if !matches!(arguments.task, Task::Call | Task::Doctor) && !keys.has(TARGET_SIP_URI) {
        // Nobody is called; the client's settings want a target all the same.
        let own = keys.value(JAMBONZ_SIP_USERNAME).zip(keys.value(JAMBONZ_SIP_DOMAIN));
        let own = own.map_or_else(|| "sip:nobody@invalid".to_owned(), |(user, domain)| format!("sip:{user}@{domain}"));
        keys = keys.with(TARGET_SIP_URI, &own, "");
    }
    if let Some(language) = &arguments.language {
        keys = keys.with(DEFAULT_LANG, language, "--language");
    }
    match arguments.customer_data.as_deref().map(|data| (data, data.strip_prefix('@'))) {
        Some((_, Some(file))) => {
            let option = format!("--customer-data @{file}");
            let data = read(Path::new(file))?;
            not_empty(&option, &data)?;
            keys = keys.with(CUSTOMER_DATA, &data, &option);
        }
        Some((data, None)) => keys = keys.with(CUSTOMER_DATA, data, "--customer-data"),
        None => {}
    }
    let mut settings = Settings::from_keys(&keys)?;
    if let Some(file) = &arguments.ca {
        let pem = read(file)?;
        if !pem.contains("-----BEGIN CERTIFICATE-----") {
            return Err(Failure::Other(
                Kind::Settings,
                Text::new(
                    format!("{} (--ca) holds no certificate in PEM (-----BEGIN CERTIFICATE-----)", file.display()),
                    format!("в {} (--ca) нет сертификата в PEM (-----BEGIN CERTIFICATE-----)", file.display()),
                ),
            ));
        }
        settings.sip.extra_ca_certificates_pem.push(pem);
    }
    Ok(Configuration { settings, source })
}

fn not_empty(option: &str, value: &str) -> Result<(), Failure> {
    if !value.trim().is_empty() {
        return Ok(());
    }
    Err(Failure::Other(
        Kind::Settings,
        Text::new(
            format!("{option} is empty: leave it out to use what is configured"),
            format!("{option}: пусто; чтобы взять значение из настроек, уберите этот параметр"),
        ),
    ))
}

fn sources(arguments: &Arguments) -> Result<(KeyValues, Text), Failure> {
    let environment = KeyValues::from_process_environment();
    if let Some(file) = &arguments.env {
        let name = file.display().to_string();
        let keys = KeyValues::from_env_file(&name, &read(file)?)?;
        if keys.is_empty() {
            return Err(Failure::Other(
                Kind::Settings,
                Text::new(
                    format!("{name} holds none of the settings (see --help)"),
                    format!("в {name} нет ни одной настройки (см. --help)"),
                ),
            ));
        }
        let source = Text::new(format!("{name}, then the environment"), format!("{name}, затем окружение"));
        return Ok((keys.over(environment), source));
    }
    let file = Path::new(DEFAULT_FILE);
    if file.is_file() {
        let keys = environment.over(KeyValues::from_env_file(DEFAULT_FILE, &read(file)?)?);
        return Ok((keys, Text::fixed("the environment, then ./.env", "окружение, затем ./.env")));
    }
    Ok((environment, Text::fixed("the environment", "окружение")))
}

fn read(file: &Path) -> Result<String, Failure> {
    let failed = |en: &str, ru: &str| {
        Failure::Other(
            Kind::Device,
            Text::new(
                format!("{} cannot be read: {en}", file.display()),
                format!("не удаётся прочитать {}: {ru}", file.display()),
            ),
        )
    };
    let by_system = |error: std::io::Error| failed(&error.to_string(), &details::quoted(&error.to_string()));
    let size = std::fs::metadata(file).map_err(by_system)?.len();
    if size > FILE_LIMIT_BYTES {
        return Err(failed(
            &format!("{size} bytes are more than the {FILE_LIMIT_BYTES} that are taken"),
            &format!("{size} байт — больше допустимых {FILE_LIMIT_BYTES}"),
        ));
    }
    let bytes = std::fs::read(file).map_err(by_system)?;
    String::from_utf8(bytes).map_err(|_| failed("it is not UTF-8", "это не UTF-8"))
}
