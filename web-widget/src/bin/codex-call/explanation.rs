//! Errors in plain words with a remedy, for whoever runs a deployment.

use codex_core_sip::error::{CallRefusal, Error, Locale, MediaFault, RegistrationRefusal, TlsFault};
use codex_web_widget::Text;

/// What happened, and what to do about it.
#[derive(Debug, Clone)]
pub(crate) struct Explanation {
    pub(crate) what: Text,
    pub(crate) remedy: Text,
}

impl Explanation {
    pub(crate) fn new(what: Text, remedy: Text) -> Self {
        Self { what, remedy }
    }

    const fn fixed(what: (&'static str, &'static str), remedy: (&'static str, &'static str)) -> Self {
        Self { what: Text::fixed(what.0, what.1), remedy: Text::fixed(remedy.0, remedy.1) }
    }

    /// The explanation of an error.
    pub(crate) fn of(error: &Error) -> Self {
        match error {
            Error::NameResolution { host, .. } => Self::new(
                Text::new(format!("the name {host} has no address"), format!("имя {host} не найдено в DNS")),
                Text::fixed(
                    "check the host in JAMBONZ_WSS_ADDRESS for typos, and this machine's DNS",
                    "проверьте имя хоста в JAMBONZ_WSS_ADDRESS и настройки DNS на этой машине",
                ),
            ),
            Error::Connect { address, .. } => Self::new(
                Text::new(format!("nothing answers at {address}"), format!("по адресу {address} никто не отвечает")),
                Text::fixed(
                    "check the port in JAMBONZ_WSS_ADDRESS (jambonz listens on 8443 as a rule), that the SIP edge runs, and the firewalls between",
                    "проверьте порт в JAMBONZ_WSS_ADDRESS (у jambonz обычно 8443), работает ли SIP-сервер и пропускают ли межсетевые экраны",
                ),
            ),
            Error::Tls { host, fault } => Self::of_tls(host, fault),
            Error::WebSocketRefused { url, status } => Self::new(
                Text::new(
                    format!("{url} is a web server, but it refuses a WebSocket (HTTP status {status})"),
                    format!("{url} — веб-сервер, но он отказывает в WebSocket (статус HTTP {status})"),
                ),
                Text::fixed(
                    "check port and path in JAMBONZ_WSS_ADDRESS, and that a proxy before the edge lets WebSockets through",
                    "проверьте порт и путь в JAMBONZ_WSS_ADDRESS и пропускает ли WebSocket прокси перед сервером",
                ),
            ),
            Error::SubprotocolRefused { url, .. } => Self::new(
                Text::new(
                    format!("{url} speaks WebSocket, but not SIP over it (sub-protocol sip, RFC 7118)"),
                    format!("{url} поддерживает WebSocket, но не SIP поверх него (субпротокол sip, RFC 7118)"),
                ),
                Text::fixed(
                    "another service listens there: check port and path in JAMBONZ_WSS_ADDRESS",
                    "там другая служба: проверьте порт и путь в JAMBONZ_WSS_ADDRESS",
                ),
            ),
            Error::NotWebSocket { url, .. } => Self::new(
                Text::new(
                    format!("somebody listens at {url}, but does not speak WebSocket"),
                    format!("по адресу {url} кто-то слушает, но это не WebSocket"),
                ),
                Text::fixed(
                    "another service listens there: check scheme and port in JAMBONZ_WSS_ADDRESS (jambonz listens on 8443 as a rule, with wss://)",
                    "там другая служба: проверьте схему и порт в JAMBONZ_WSS_ADDRESS (у jambonz обычно 8443 и wss://)",
                ),
            ),
            Error::FlowLost { .. } | Error::FlowLostDuringSetup => Self::fixed(
                ("the connection to the edge broke", "соединение с SIP-сервером оборвалось"),
                (
                    "try again; if it goes on, look at the edge's log and at proxies that close idle connections",
                    "попробуйте ещё раз; если повторяется, посмотрите журнал сервера и прокси, которые закрывают простаивающие соединения",
                ),
            ),
            Error::RegistrationRefused { refusal, status, .. } => Self::of_registration(*refusal, *status),
            Error::CallRefused { refusal, status, .. } => Self::of_call(*refusal, *status),
            Error::Media { fault } => Self::of_media(fault),
            Error::Timeout { operation, after } => Self::new(
                Text::new(
                    format!("{operation} got no answer within {} s", after.as_secs()),
                    format!("{}: нет ответа за {} с", russian_of_operation(operation), after.as_secs()),
                ),
                Text::fixed(
                    "check that host and port in JAMBONZ_WSS_ADDRESS are those of the SIP edge, and the firewalls between",
                    "проверьте хост и порт SIP-сервера в JAMBONZ_WSS_ADDRESS и межсетевые экраны на пути к нему",
                ),
            ),
            Error::Audio { device, problem } if device.starts_with("recorder") => Self::new(
                Text::new(
                    format!("the recording cannot be written ({device}): {problem}"),
                    format!("запись сохранить нельзя ({}): «{problem}»", file_of(device)),
                ),
                Text::fixed(
                    "check that the folder exists and may be written",
                    "проверьте, что папка существует и в неё можно писать",
                ),
            ),
            Error::Audio { device, problem } if matches!(device.as_str(), "microphone" | "speaker") => Self::new(
                Text::new(
                    format!("the {device} cannot be used: {problem}"),
                    format!(
                        "{} использовать нельзя: «{problem}»",
                        if device == "speaker" { "динамик" } else { "микрофон" }
                    ),
                ),
                Text::fixed(
                    "check that the device is plugged in, is the system's default and may be used by this program; without one, send a tone (--tone 440) or a file (--say FILE.wav)",
                    "проверьте, что устройство подключено, выбрано в системе по умолчанию и доступно этой программе; без него можно передать тон (--tone 440) или файл (--say FILE.wav)",
                ),
            ),
            Error::Audio { device, problem } => Self::new(
                Text::new(
                    format!("the audio {device} cannot be used: {problem}"),
                    format!("звук ({}) использовать нельзя: «{problem}»", file_of(device)),
                ),
                Text::fixed(
                    "check the path; a WAV file has to have 16 bits and one or two channels: `sox in.wav -b 16 -c 1 out.wav`",
                    "проверьте путь; файл WAV должен быть 16-битным, с одним или двумя каналами: `sox in.wav -b 16 -c 1 out.wav`",
                ),
            ),
            Error::CustomerDataTooLarge { size_bytes, limit_bytes } => Self::new(
                Text::new(
                    format!("customer data takes {size_bytes} bytes in the headers, {limit_bytes} are allowed"),
                    format!("данные клиента занимают в заголовках {size_bytes} байт, разрешено {limit_bytes}"),
                ),
                Text::fixed(
                    "send fewer or shorter fields, or set USER_TO_USER_ENCODING=off",
                    "передавайте меньше полей или задайте USER_TO_USER_ENCODING=off",
                ),
            ),
            other => Self::new(
                Text::new(other.to_string(), other.for_person(Locale::Ru)),
                Text::fixed("see the details", "см. подробности"),
            ),
        }
    }

    pub(crate) fn of_tls(host: &str, fault: &TlsFault) -> Self {
        match fault {
            TlsFault::NameMismatch { presented, .. } => {
                let names = if presented.is_empty() { "?".to_owned() } else { presented.join(", ") };
                Self::new(
                    Text::new(
                        format!("the certificate is not for {host} but for {names}"),
                        format!("сертификат выдан не для {host}, а для {names}"),
                    ),
                    Text::fixed(
                        "use a name that the certificate holds in JAMBONZ_WSS_ADDRESS, or get a certificate for this one",
                        "укажите в JAMBONZ_WSS_ADDRESS имя из сертификата или получите сертификат для этого имени",
                    ),
                )
            }
            TlsFault::UnknownIssuer => Self::fixed(
                (
                    "the certificate is not trusted: it is self-signed, or its authority is one that this machine does not know",
                    "сертификату нет доверия: он самоподписанный, или этот центр сертификации неизвестен этой машине",
                ),
                (
                    "get a certificate from a public authority (browsers will refuse this one too); for a private authority give its certificate with --ca FILE.pem",
                    "получите сертификат публичного центра (браузеры тоже не примут этот); для собственного центра передайте его сертификат через --ca FILE.pem",
                ),
            ),
            TlsFault::Expired => Self::fixed(
                ("the certificate has expired", "срок действия сертификата истёк"),
                (
                    "renew it and have the SIP edge load it; certificates are often renewed without the edge being told",
                    "обновите сертификат и перезагрузите его на SIP-сервере: сертификат часто обновляют, а сервер об этом не знает",
                ),
            ),
            TlsFault::NotYetValid => Self::fixed(
                ("the certificate is not valid yet", "сертификат ещё не действует"),
                ("check the clocks of this machine and of the server", "проверьте часы на этой машине и на сервере"),
            ),
            TlsFault::Revoked => Self::fixed(
                ("the certificate has been revoked", "сертификат отозван"),
                ("get a new one", "получите новый сертификат"),
            ),
            other => Self::new(
                Text::new(
                    format!("TLS with {host} failed: {other}"),
                    format!("не удалось установить TLS с {host}: «{other}»"),
                ),
                Text::fixed(
                    "check that the port in JAMBONZ_WSS_ADDRESS is the one for wss",
                    "проверьте, что порт в JAMBONZ_WSS_ADDRESS — для wss",
                ),
            ),
        }
    }

    fn of_registration(refusal: RegistrationRefusal, status: u16) -> Self {
        match refusal {
            RegistrationRefusal::Credentials => Self::new(
                Text::new(
                    format!("user name or password is wrong (status {status})"),
                    format!("неверное имя пользователя или пароль (статус {status})"),
                ),
                Text::fixed(
                    "compare JAMBONZ_SIP_USERNAME and JAMBONZ_SIP_PASSWORD with the client in jambonz' portal (Clients); a password with # or blanks needs quotes in a .env file",
                    "сверьте JAMBONZ_SIP_USERNAME и JAMBONZ_SIP_PASSWORD с клиентом в портале jambonz (Clients); пароль с # или пробелами в .env нужно брать в кавычки",
                ),
            ),
            RegistrationRefusal::Realm => Self::new(
                Text::new(
                    format!("the edge knows no account with this SIP domain (status {status})"),
                    format!("SIP-сервер не знает аккаунта с таким SIP-доменом (статус {status})"),
                ),
                Text::fixed(
                    "JAMBONZ_SIP_DOMAIN must be the account's SIP realm as the jambonz portal shows it (Account), not the host name of the edge",
                    "JAMBONZ_SIP_DOMAIN — это SIP realm аккаунта, как в портале jambonz (Account), а не имя хоста сервера",
                ),
            ),
            RegistrationRefusal::Forbidden => Self::new(
                Text::new(
                    format!("the edge forbids this user to register (status {status})"),
                    format!("SIP-сервер запрещает этому пользователю регистрацию (статус {status})"),
                ),
                Text::fixed(
                    "check that the user exists in the account that owns JAMBONZ_SIP_DOMAIN (a wrong SIP realm looks the same), and that user and account are active",
                    "проверьте, что пользователь есть в аккаунте с этим JAMBONZ_SIP_DOMAIN (неверный SIP realm выглядит так же) и что он и аккаунт активны",
                ),
            ),
            RegistrationRefusal::Expired => Self::fixed(
                ("the credentials have expired", "срок действия учётных данных истёк"),
                ("get fresh ones", "получите новые"),
            ),
            RegistrationRefusal::Unavailable => Self::new(
                Text::new(
                    format!("the registrar cannot answer now (status {status})"),
                    format!("сервер регистрации временно недоступен (статус {status})"),
                ),
                Text::fixed(
                    "try again; if it goes on, look at the edge's log and its database",
                    "попробуйте ещё раз; если повторяется, посмотрите журнал SIP-сервера и его базу данных",
                ),
            ),
            _ => Self::new(
                Text::new(
                    format!("the registration was refused with status {status}"),
                    format!("в регистрации отказано, статус {status}"),
                ),
                Text::fixed("look at the edge's log", "посмотрите журнал SIP-сервера"),
            ),
        }
    }

    fn of_call(refusal: CallRefusal, status: u16) -> Self {
        let what = |en: &str, ru: &str| Text::new(format!("{en} (status {status})"), format!("{ru} (статус {status})"));
        let (what, remedy) = match refusal {
            CallRefusal::Busy => {
                (what("the far end is busy", "линия занята"), Text::fixed("call again later", "позвоните позже"))
            }
            CallRefusal::Declined => (
                what("the far end declined the call", "звонок отклонён"),
                Text::fixed("look at the application's log", "посмотрите журнал приложения"),
            ),
            CallRefusal::NotFound => (
                what("there is no such user or number", "такого пользователя или номера нет"),
                Text::fixed(
                    "check TARGET_SIP_URI, its host included: it should be the account's SIP realm",
                    "проверьте TARGET_SIP_URI вместе с хостом: это должен быть SIP realm аккаунта",
                ),
            ),
            CallRefusal::NoApplication => (
                what("jambonz has no application for this call", "у jambonz нет приложения для этого звонка"),
                Text::fixed(
                    "choose the account's application for SIP device calls in the jambonz portal (Account), or call sip:app-<application_sid>@<SIP realm> with a user that may call applications",
                    "выберите в портале jambonz (Account) приложение для звонков SIP-устройств или звоните на sip:app-<application_sid>@<SIP realm> пользователем, которому разрешено звонить приложениям",
                ),
            ),
            CallRefusal::NoAnswer => (
                what("nobody answered in time", "никто не ответил вовремя"),
                Text::fixed(
                    "look whether the application answers its call_hook",
                    "проверьте, отвечает ли приложение на call_hook",
                ),
            ),
            CallRefusal::Unavailable => (
                what("the far end is not reachable now", "вызываемый сейчас недоступен"),
                Text::fixed(
                    "look whether the application runs and answers its call_hook, and at jambonz' recent calls",
                    "проверьте, работает ли приложение и отвечает ли на call_hook, и недавние звонки в jambonz",
                ),
            ),
            CallRefusal::Overloaded => (
                what("the far end is overloaded or out of order", "вызываемый перегружен или неисправен"),
                Text::fixed(
                    "look at jambonz' feature servers and their log",
                    "проверьте feature-серверы jambonz и их журнал",
                ),
            ),
            CallRefusal::Forbidden => (
                what("this user may not make the call", "этому пользователю нельзя звонить туда"),
                Text::fixed(
                    "check in jambonz' portal whether the client may call applications or users, and its password",
                    "проверьте в портале jambonz, разрешено ли клиенту звонить приложениям или пользователям, и его пароль",
                ),
            ),
            CallRefusal::NotAcceptable => (
                what("the far end has no audio format in common with us", "нет общего аудиоформата"),
                Text::fixed("allow Opus, PCMU or PCMA at the edge", "разрешите на SIP-сервере Opus, PCMU или PCMA"),
            ),
            CallRefusal::Cancelled => {
                (what("the call was cancelled", "звонок отменён"), Text::fixed("call again", "позвоните ещё раз"))
            }
            _ => (
                what("the call was refused", "в звонке отказано"),
                Text::fixed("look at the edge's log", "посмотрите журнал SIP-сервера"),
            ),
        };
        Self { what, remedy }
    }

    fn of_media(fault: &MediaFault) -> Self {
        match fault {
            MediaFault::IceFailed => Self::fixed(
                ("no network path for audio was found", "не найден сетевой путь для звука"),
                (
                    "open the edge's UDP ports for RTP, or set TURN_URLS: behind strict firewalls only a TURN server helps",
                    "откройте на SIP-сервере порты UDP для RTP или задайте TURN_URLS: за строгими межсетевыми экранами помогает только TURN",
                ),
            ),
            MediaFault::NoPackets { after } => Self::new(
                Text::new(
                    format!("the call is up, but no audio packet came for {} s", after.as_secs()),
                    format!("звонок установлен, но за {} с не пришло ни одного пакета звука", after.as_secs()),
                ),
                Text::fixed(
                    "look whether rtpengine runs and has the right public address, and whether the application says something",
                    "проверьте, работает ли rtpengine, верен ли его внешний адрес и говорит ли приложение что-нибудь",
                ),
            ),
            MediaFault::DtlsFailed => Self::fixed(
                (
                    "a path was found, but the audio's encryption (DTLS) could not be agreed",
                    "путь найден, но не удалось согласовать шифрование звука (DTLS)",
                ),
                ("look at rtpengine's log and DTLS settings", "посмотрите журнал rtpengine и его настройки DTLS"),
            ),
            other => Self::new(
                Text::new(format!("audio is not possible: {other}"), format!("звук невозможен: «{other}»")),
                Text::fixed("look at the edge's media settings", "проверьте настройки медиа на SIP-сервере"),
            ),
        }
    }
}

/// What was waited for. Methods of SIP are the same in every language.
fn russian_of_operation(operation: &str) -> &str {
    match operation {
        "the TLS handshake" => "рукопожатие TLS",
        "the WebSocket handshake" => "рукопожатие WebSocket",
        method if method.bytes().all(|byte| byte.is_ascii_uppercase()) => method,
        _ => "SIP-сервер",
    }
}

/// The file in `recorder FILE` and `source FILE`.
fn file_of(device: &str) -> &str {
    device.split_once(' ').map_or(device, |(_, file)| file)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_microphone_is_not_told_of_wav_files() {
        let of = |device: &str| {
            let error = Error::Audio { device: device.to_owned(), problem: "there is none".to_owned() };
            Explanation::of(&error)
        };
        for (device, ru) in [("microphone", "микрофон"), ("speaker", "динамик")] {
            let explanation = of(device);
            assert!(explanation.what.in_locale(Locale::Ru).starts_with(ru));
            for locale in [Locale::En, Locale::Ru] {
                let remedy = explanation.remedy.in_locale(locale);
                assert!(remedy.contains("--tone 440") && !remedy.contains("sox"), "{remedy}");
            }
        }
        assert!(of("source hello.wav").remedy.in_locale(Locale::En).contains("sox"));
    }
}
