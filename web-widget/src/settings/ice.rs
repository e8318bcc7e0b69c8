//! STUN and TURN servers as people write them.

use codex_core_sip::config::IceServer;
use secrecy::SecretString;

use super::masked;
use crate::text::{Text, bilingual};

/// Servers separated by commas or white space.
fn list(value: &str) -> impl Iterator<Item = &str> {
    value.split(|c: char| c == ',' || c.is_whitespace()).filter(|item| !item.is_empty())
}

/// One server, all of them STUN.
pub(super) fn stun_servers(value: &str) -> Result<Vec<IceServer>, Text> {
    let mut urls = Vec::new();
    for url in list(value) {
        check(url, &shown(url, value), &["stun", "stuns"], "stun")?;
        urls.push(with_lower_scheme(url));
    }
    if urls.is_empty() {
        return Ok(Vec::new());
    }
    Ok(vec![IceServer { urls, username: None, credential: None }])
}

/// Each server with its own credentials, or the common ones.
pub(super) fn turn_servers(
    value: &str,
    common_user: Option<&str>,
    common_password: Option<&SecretString>,
) -> Result<Vec<IceServer>, Text> {
    let mut servers = Vec::new();
    for item in list(value) {
        let (url, own) = without_credentials(item);
        check(&url, &shown(item, value), &["turn", "turns"], "turn")?;
        let (username, credential) = match own {
            Some((user, password)) => (Some(user), Some(password)),
            None => (common_user.map(str::to_owned), common_password.cloned()),
        };
        if username.is_none() || credential.is_none() {
            return Err(Text::fixed(
                "a TURN server needs user and password: set TURN_USERNAME and TURN_PASSWORD, or write turn:user:password@host:port",
                "TURN-серверу нужны имя и пароль: задайте TURN_USERNAME и TURN_PASSWORD или напишите turn:имя:пароль@хост:порт",
            ));
        }
        servers.push(IceServer { urls: vec![with_lower_scheme(&url)], username, credential });
    }
    Ok(servers)
}

/// `turn:user:password@host` as `turn:host` and the credentials. RFC 7065 has no place for them in the URL.
fn without_credentials(item: &str) -> (String, Option<(String, SecretString)>) {
    let split = item.split_once(':').and_then(|(scheme, rest)| {
        let (credentials, host) = rest.rsplit_once('@')?;
        let (user, password) = credentials.split_once(':')?;
        Some((scheme, user.trim_start_matches('/'), password, host))
    });
    match split {
        Some((scheme, user, password, host)) => {
            let own = (percent_decoded(user), SecretString::from(percent_decoded(password)));
            (format!("{scheme}:{host}"), Some(own))
        }
        None => (item.to_owned(), None),
    }
}

/// Schemes may be written in capitals (RFC 3986 §3.1); media engines want them small.
fn with_lower_scheme(url: &str) -> String {
    let (scheme, rest) = url.split_once(':').unwrap_or((url, ""));
    format!("{}:{rest}", scheme.to_ascii_lowercase())
}

/// A password with `@`, `,` or a blank in it is written with `%40` and the like.
fn percent_decoded(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut decoded = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        let digits = |hex: &&str| bytes[at] == b'%' && hex.bytes().all(|byte| byte.is_ascii_hexdigit());
        let hex = text.get(at + 1..at + 3).filter(digits);
        match hex.and_then(|hex| u8::from_str_radix(hex, 16).ok()) {
            Some(byte) => {
                decoded.push(byte);
                at += 3;
            }
            None => {
                decoded.push(bytes[at]);
                at += 1;
            }
        }
    }
    String::from_utf8(decoded).unwrap_or_else(|_| text.to_owned())
}

/// An item as an error may repeat it. A password with a comma or blank in it is cut into items: where the list holds
/// credentials, one without an `@` may be a part of them.
fn shown(item: &str, list: &str) -> String {
    if !item.contains('@') && list.contains('@') {
        return "***".to_owned();
    }
    masked::url(item)
}

fn check(url: &str, shown: &str, schemes: &[&str], usual: &str) -> Result<(), Text> {
    let Some((scheme, rest)) = url.split_once(':') else {
        return Err(no_scheme(shown, usual));
    };
    if !schemes.iter().any(|known| scheme.eq_ignore_ascii_case(known)) {
        return Err(match scheme.to_ascii_lowercase().as_str() {
            "turn" | "turns" => Text::fixed("a TURN server belongs into TURN_URLS", "TURN-серверу место в TURN_URLS"),
            "stun" | "stuns" => Text::fixed("a STUN server belongs into STUN_URLS", "STUN-серверу место в STUN_URLS"),
            _ => no_scheme(shown, usual),
        });
    }
    if let Some(host) = rest.strip_prefix("//") {
        let host = if host.contains('@') || shown != url { "…" } else { host };
        return Err(bilingual!(
            format!("there is no // in such a URL: write {scheme}:{host}"),
            format!("в таком URL нет //: напишите {scheme}:{host}"),
        ));
    }
    let (host, query) = rest.split_once('?').unwrap_or((rest, ""));
    let port = host.rsplit_once(':').filter(|(_, port)| !port.ends_with(']')).map(|(_, port)| port);
    if host.is_empty() || host.starts_with(':') || host.contains(['/', '@']) {
        return Err(bilingual!(format!("`{shown}` names no host"), format!("в `{shown}` нет имени хоста")));
    }
    if port.is_some_and(|port| !matches!(port.parse::<u16>(), Ok(1..))) {
        return Err(bilingual!(
            format!("the port of `{shown}` is not a number from 1 to 65535"),
            format!("порт в `{shown}` — не число от 1 до 65535"),
        ));
    }
    if !query.is_empty() && !matches!(query.to_ascii_lowercase().as_str(), "transport=udp" | "transport=tcp") {
        return Err(bilingual!(
            format!("after ? only transport=udp or transport=tcp may follow in `{shown}`"),
            format!("в `{shown}` после ? возможно только transport=udp или transport=tcp"),
        ));
    }
    Ok(())
}

fn no_scheme(shown: &str, usual: &str) -> Text {
    bilingual!(
        format!("`{shown}` has no scheme: write {usual}:{shown}"),
        format!("в `{shown}` нет схемы: напишите {usual}:{shown}"),
    )
}

#[cfg(test)]
mod tests {
    use secrecy::ExposeSecret;

    use super::*;

    #[test]
    fn lists_with_commas_blanks_and_lines() {
        let servers = stun_servers("stun:a.example:3478, stun:b.example\n stuns:[2001:db8::1]:5349,").unwrap();
        assert_eq!(servers[0].urls, ["stun:a.example:3478", "stun:b.example", "stuns:[2001:db8::1]:5349"]);
        assert!(stun_servers(" , ").unwrap().is_empty());
        assert_eq!(stun_servers("STUN:A.example:3478").unwrap()[0].urls, ["stun:A.example:3478"]);
        assert_eq!(turn_servers("TURN:u:p@a.example", None, None).unwrap()[0].urls, ["turn:a.example"]);
    }

    #[test]
    fn percent_signs_are_taken_as_they_are_unless_two_hex_digits_follow() {
        for (text, decoded) in [("a%40b", "a@b"), ("%+5", "%+5"), ("100%", "100%"), ("%4", "%4"), ("%zz", "%zz")] {
            assert_eq!(percent_decoded(text), decoded);
        }
    }

    #[test]
    fn turn_credentials_are_in_the_url_or_beside_it() {
        let common = SecretString::from("common");
        let servers = turn_servers(
            "turn:a.example:3478?transport=udp turn:u:p%40s%2Cs@b.example turns:v:x:y@c.example:5349?transport=tcp",
            Some("webrtc"),
            Some(&common),
        )
        .unwrap();
        let found: Vec<_> = servers
            .iter()
            .map(|server| {
                let password = server.credential.as_ref().unwrap().expose_secret();
                (server.urls[0].as_str(), server.username.as_deref().unwrap(), password)
            })
            .collect();
        assert_eq!(
            found,
            [
                ("turn:a.example:3478?transport=udp", "webrtc", "common"),
                ("turn:b.example", "u", "p@s,s"),
                ("turns:c.example:5349?transport=tcp", "v", "x:y"),
            ]
        );
    }
}
