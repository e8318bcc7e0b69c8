//! What may be shown of values that people put passwords into.

/// Schemes that may stand before a host.
const SCHEMES: [&str; 10] = ["stun", "stuns", "turn", "turns", "ws", "wss", "http", "https", "sip", "sips"];

/// Stands for what is not shown.
const MASK: &str = "***";

/// A known scheme with its `:` or `://`, and what follows.
fn without_scheme(text: &str) -> (&str, &str) {
    let Some(colon) = text.find(':') else { return ("", text) };
    let (scheme, rest) = (&text[..colon], &text[colon + 1..]);
    let slashes = if rest.starts_with("//") { 2 } else { 0 };
    let plain = !scheme.is_empty() && scheme.bytes().all(|byte| byte.is_ascii_alphanumeric());
    if plain && (slashes == 2 || SCHEMES.iter().any(|known| scheme.eq_ignore_ascii_case(known))) {
        return text.split_at(colon + 1 + slashes);
    }
    ("", text)
}

/// URLs separated by commas or white space, without user data, queries and fragments. A password may hold a comma or a
/// blank: what stands before the last `@` goes as a whole.
pub(super) fn urls(list: &str) -> String {
    let list = list.trim();
    let (before, rest) = match list.rsplit_once('@') {
        Some((before, rest)) => (format!("{}{MASK}@", without_scheme(before).0), rest),
        None => (String::new(), list),
    };
    let mut masked = before;
    let mut secret_before = false;
    for item in rest.split_inclusive(|c: char| c == ',' || c.is_whitespace()) {
        let separator = item.len() - item.trim_end_matches(|c: char| c == ',' || c.is_whitespace()).len();
        let (item, separator) = item.split_at(item.len() - separator);
        if secret_before && without_scheme(item).0.is_empty() && !item.is_empty() {
            // The rest of what was masked before it.
            masked.push_str(MASK);
        } else {
            let shown = url(item);
            secret_before |= shown.ends_with(MASK);
            masked.push_str(&shown);
        }
        masked.push_str(separator);
    }
    masked
}

/// One URL without user data, query and fragment. Where a port should be, only a port is shown: `turn:user:password`
/// without its host looks like that.
pub(super) fn url(text: &str) -> String {
    let text = text.rsplit_once('@').map_or(text, |(_, host)| host);
    let text = text.split(['?', '#']).next().unwrap_or_default();
    let (scheme, rest) = without_scheme(text);
    let host_end = match (rest.starts_with('['), rest.find(']')) {
        (true, Some(end)) => end + 1,
        _ => rest.find([':', '/']).unwrap_or(rest.len()),
    };
    let (host, after) = rest.split_at(host_end);
    let port = after.strip_prefix(':').map(|after| after.split('/').next().unwrap_or_default());
    match port {
        Some(port) if !port.is_empty() && port.parse::<u16>().is_err() => format!("{scheme}{host}:{MASK}"),
        _ => format!("{scheme}{rest}"),
    }
}

/// A SIP URI, a part of one or a user, without a password (RFC 3261 §19.1.1 advises against one in a URI).
pub(super) fn sip(value: &str) -> String {
    let (scheme, rest) = without_scheme(value);
    match rest.rsplit_once('@') {
        Some((user, host)) => match user.split_once(':') {
            Some((user, _password)) => format!("{scheme}{user}:{MASK}@{host}"),
            None => value.to_owned(),
        },
        None => match rest.split_once(':') {
            Some((user, _password)) if !rest.starts_with('[') => format!("{scheme}{user}:{MASK}"),
            _ => value.to_owned(),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_show_hosts_and_no_credentials() {
        for (list, shown) in [
            ("turn:me:correct horse@turn.example.com", "turn:***@turn.example.com"),
            ("turn:a.example, turn:me:a,b@c.example:3478?x=y", "turn:***@c.example:3478"),
            ("turn:user:hunter2", "turn:user:***"),
            ("turn:user:correct horse", "turn:user:*** ***"),
            ("turn:user:a,b stun:c.example:3478", "turn:user:***,*** stun:c.example:3478"),
            ("user:hunter2", "user:***"),
            ("correct horse@turn.example.com", "***@turn.example.com"),
            ("stun:a.example:3478, stun:b.example", "stun:a.example:3478, stun:b.example"),
            ("wss://[::1]:8443/ws?token=x#y", "wss://[::1]:8443/ws"),
            ("https://me:hunter2@sip.example.com/v1", "https://***@sip.example.com/v1"),
            ("ftp://a.example", "ftp://a.example"),
        ] {
            assert_eq!(urls(list), shown, "{list}");
        }
    }

    #[test]
    fn sip_uris_show_no_password() {
        for (value, shown) in [
            ("170:pw@host", "170:***@host"),
            ("170:pw", "170:***"),
            ("sip:u:pw@host:5060;transport=ws", "sip:u:***@host:5060;transport=ws"),
            ("sip:u:p@w@host", "sip:u:***@host"),
            ("sip:u:pw", "sip:u:***"),
            ("sip:170@host", "sip:170@host"),
            ("170@host:5060", "170@host:5060"),
            ("sip example", "sip example"),
            ("https://sip.example.com", "https://sip.example.com"),
            ("иван", "иван"),
        ] {
            assert_eq!(sip(value), shown, "{value}");
        }
    }
}
