//! The edge's address, `wss://host:port/path`.

use core::fmt;
use std::net::IpAddr;

use codex_core_sip::config::split_scheme;

use super::masked;
use crate::text::{Text, bilingual};

/// A `ws` or `wss` address that has been looked at. Its `Debug` shows no query, which may hold a token.
#[derive(Clone, PartialEq, Eq)]
pub struct WebSocketAddress {
    /// The whole address.
    pub url: String,
    /// Whether it is `wss`.
    pub secure: bool,
    /// The host, IPv6 addresses without brackets.
    pub host: String,
    /// The port; 443 and 80 unless written.
    pub port: u16,
}

impl fmt::Debug for WebSocketAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("WebSocketAddress").field(&masked::url(&self.url)).finish()
    }
}

impl WebSocketAddress {
    /// Takes an address apart.
    ///
    /// # Errors
    ///
    /// What is wrong with it.
    pub fn parse(value: &str) -> Result<Self, Text> {
        let Some((scheme, rest)) = split_scheme(value) else {
            let sip = ["sip:", "sips:"].iter().any(|scheme| value.to_ascii_lowercase().starts_with(scheme));
            return Err(if sip {
                Text::fixed(
                    "this is a SIP URI; the WebSocket address begins with wss://",
                    "это SIP URI; адрес WebSocket начинается с wss://",
                )
            } else {
                let shown = masked::url(value);
                bilingual!(
                    format!("it has no scheme: write wss://{shown}"),
                    format!("нет схемы: напишите wss://{shown}"),
                )
            });
        };
        let secure = match scheme.to_ascii_lowercase().as_str() {
            "wss" => true,
            "ws" => false,
            _ => {
                return Err(Text::fixed(
                    "it must begin with wss:// (or ws://, which is not encrypted)",
                    "должно начинаться с wss:// (или с ws://, без шифрования)",
                ));
            }
        };
        let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
        if authority.contains('@') {
            return Err(Text::fixed(
                "user and password do not belong in it; JAMBONZ_SIP_USERNAME and JAMBONZ_SIP_PASSWORD are for them",
                "имени и паролю здесь не место; для них есть JAMBONZ_SIP_USERNAME и JAMBONZ_SIP_PASSWORD",
            ));
        }
        if value.contains('#') {
            return Err(Text::fixed(
                "a WebSocket address has no fragment (#…)",
                "в адресе WebSocket не бывает фрагмента (#…)",
            ));
        }
        if !value.is_ascii() {
            return Err(Text::fixed(
                "it holds other than ASCII letters: write the host in its xn-- form",
                "в нём есть буквы вне ASCII: запишите имя хоста в виде xn--",
            ));
        }
        if value.bytes().any(|byte| byte <= b' ' || byte == 0x7f) {
            return Err(Text::fixed("it holds white space", "в нём есть пробел"));
        }
        let host = host_of(authority);
        if host.is_empty() {
            return Err(Text::fixed("it names no host", "в нём нет имени хоста"));
        }
        let after_host = authority.rsplit_once(':').filter(|(_, port)| !port.ends_with(']')).map(|(_, port)| port);
        let port = match after_host {
            None => {
                if secure {
                    443
                } else {
                    80
                }
            }
            Some(port) => match port.parse() {
                Ok(0) | Err(_) => {
                    return Err(Text::fixed(
                        "its port is not a number from 1 to 65535",
                        "порт — не число от 1 до 65535",
                    ));
                }
                Ok(port) => port,
            },
        };
        Ok(Self { url: value.to_owned(), secure, host: host.to_owned(), port })
    }

    /// Whether it is this machine.
    #[must_use]
    pub fn is_loopback(&self) -> bool {
        is_loopback(&self.host)
    }
}

/// The host of `host:port`, without brackets.
pub(super) fn host_of(authority: &str) -> &str {
    if let Some(inside) = authority.strip_prefix('[') {
        return inside.split(']').next().unwrap_or_default();
    }
    authority.split(':').next().unwrap_or_default()
}

pub(super) fn is_loopback(host: &str) -> bool {
    let name = host.trim_end_matches('.').to_ascii_lowercase();
    name == "localhost"
        || name.ends_with(".localhost")
        || name.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn right_ones() {
        for (value, secure, host, port, loopback) in [
            ("wss://sip.example.com:8443", true, "sip.example.com", 8443, false),
            ("wss://sip.example.com/ws?a=b", true, "sip.example.com", 443, false),
            ("WS://127.0.0.1:8080/", false, "127.0.0.1", 8080, true),
            ("ws://[::1]:5066", false, "::1", 5066, true),
            ("ws://[2001:db8::1]", false, "2001:db8::1", 80, false),
            ("ws://edge.localhost", false, "edge.localhost", 80, true),
            ("ws://127.0.0.1.example.com", false, "127.0.0.1.example.com", 80, false),
        ] {
            let address = WebSocketAddress::parse(value).unwrap();
            let found = (address.secure, address.host.as_str(), address.port, address.is_loopback());
            assert_eq!(found, (secure, host, port, loopback), "{value}");
        }
    }

    #[test]
    fn debug_shows_no_query() {
        let address = WebSocketAddress::parse("wss://sip.example.com/ws?token=hunter2").unwrap();
        assert_eq!(format!("{address:?}"), r#"WebSocketAddress("wss://sip.example.com/ws")"#);
    }

    #[test]
    fn a_hint_repeats_no_secret() {
        let text = WebSocketAddress::parse("me:hunter2@sip.example.com:8443?token=hunter2").unwrap_err();
        assert_eq!(text.in_locale(codex_core_sip::Locale::En), "it has no scheme: write wss://sip.example.com:8443");
        let text = WebSocketAddress::parse("me:hunter2").unwrap_err();
        assert_eq!(text.in_locale(codex_core_sip::Locale::En), "it has no scheme: write wss://me:***");
    }
}
