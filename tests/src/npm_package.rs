//! The npm package as `cargo xtask web` builds it, on a web site with pages that use it.

use std::io;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use crate::peers::{APPLICATION, Kamailio, PASSWORD, REALM};
use crate::web_site::WebSite;

/// What a site with a strict policy allows, and all that the package needs.
pub const STRICT_POLICY: &str = "Content-Security-Policy: default-src 'none'; script-src 'self' 'wasm-unsafe-eval'; \
     style-src 'self'; connect-src 'self' wss://localhost:8443 wss://127.0.0.1:8443; img-src 'self'; base-uri 'none'; \
     form-action 'none'; require-trusted-types-for 'script'";

/// A site with the package under `/package/`, pages under test under `/page/`, sites that were built with it under
/// `/build/`, and `more`. Every answer carries `headers`, lines `Name: value`.
///
/// # Errors
/// When the package is not built, or no port can be had.
pub async fn site(more: &[(&str, PathBuf)], headers: &[&str]) -> io::Result<WebSite> {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    let npm = here.join("../web-widget/npm");
    if !npm.join("dist/index.js").is_file() {
        return Err(io::Error::other("the npm package is not built: cargo xtask web"));
    }
    let mut folders =
        vec![("/package/", npm.join("dist")), ("/page/", here.join("browser")), ("/build/", npm.join("build"))];
    folders.extend_from_slice(more);
    WebSite::start(&folders, headers).await
}

/// What `createClient` takes, for this edge.
#[must_use]
pub fn keys(edge: &Kamailio, user: &str) -> Value {
    json!({
        "JAMBONZ_SIP_DOMAIN": REALM,
        "JAMBONZ_WSS_ADDRESS": edge.wss_url(),
        "JAMBONZ_SIP_USERNAME": user,
        "JAMBONZ_SIP_PASSWORD": PASSWORD,
        "TARGET_SIP_URI": format!("sip:{APPLICATION}@{REALM}"),
        "TARGET_APPLICATION_NAME": "voicebot",
        "DEFAULT_LANG": "ru",
        "FALLBACK_LANG": "en",
    })
}
