//! The page: one self-contained document, and the policy that lets nothing else run in it.

use std::sync::Arc;

use axum::extract::State;
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use sha2::{Digest as _, Sha256};

use super::Admin;

const DOCUMENT: &str = include_str!("page/page.html");
const STYLE: &str = include_str!("page/page.css");
const SCRIPT: &str = include_str!("page/page.js");

/// The document and the headers that go with it, made once.
pub(super) struct Page {
    document: String,
    policy: HeaderValue,
    etag: HeaderValue,
}

impl Page {
    pub(super) fn new() -> Self {
        let document = DOCUMENT.replacen("/*style*/", STYLE, 1).replacen("/*script*/", SCRIPT, 1);
        let hash = |text: &str| format!("'sha256-{}'", BASE64_STANDARD.encode(Sha256::digest(text.as_bytes())));
        let policy = format!(
            "default-src 'none'; script-src {}; style-src {}; connect-src 'self'; img-src data:; base-uri 'none'; \
             form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types 'none'",
            hash(SCRIPT),
            hash(STYLE),
        );
        let etag = format!("\"{}\"", &BASE64_STANDARD.encode(Sha256::digest(document.as_bytes()))[..22]);
        Self { document, policy: value(&policy), etag: value(&etag) }
    }
}

fn value(text: &str) -> HeaderValue {
    // Ours alone, and ASCII: hashes and words.
    HeaderValue::from_str(text).unwrap_or_else(|_| HeaderValue::from_static(""))
}

/// `GET /`
pub(super) async fn serve(State(admin): State<Arc<Admin>>, headers: HeaderMap) -> Response {
    let page = &admin.page;
    let fixed: [(HeaderName, HeaderValue); 8] = [
        (header::CONTENT_SECURITY_POLICY, page.policy.clone()),
        (header::ETAG, page.etag.clone()),
        (header::CACHE_CONTROL, HeaderValue::from_static("no-cache")),
        (header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff")),
        (header::X_FRAME_OPTIONS, HeaderValue::from_static("DENY")),
        (header::REFERRER_POLICY, HeaderValue::from_static("no-referrer")),
        (HeaderName::from_static("cross-origin-opener-policy"), HeaderValue::from_static("same-origin")),
        (
            HeaderName::from_static("permissions-policy"),
            HeaderValue::from_static("camera=(), microphone=(), geolocation=()"),
        ),
    ];
    if headers.get(header::IF_NONE_MATCH) == Some(&page.etag) {
        return (StatusCode::NOT_MODIFIED, fixed).into_response();
    }
    let kind = [(header::CONTENT_TYPE, HeaderValue::from_static("text/html; charset=utf-8"))];
    (fixed, kind, page.document.clone()).into_response()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_needs_nothing_but_itself() {
        let page = Page::new();
        assert!(!page.document.contains("/*style*/") && !page.document.contains("/*script*/"));
        for outside in ["http://", "https://", "src=", "@import", "url(", "style=\"", "onclick=", "innerHTML", "eval("]
        {
            let found = page.document.replace("http://www.w3.org/2000/svg", "");
            assert!(!found.contains(outside), "{outside}");
        }
    }

    #[test]
    fn the_policy_allows_the_pages_own_script_and_style_by_their_hashes() {
        let policy = Page::new().policy.to_str().unwrap().to_owned();
        let hash = |text: &str| BASE64_STANDARD.encode(Sha256::digest(text.as_bytes()));
        assert!(policy.contains(&format!("script-src 'sha256-{}'", hash(SCRIPT))), "{policy}");
        assert!(policy.contains(&format!("style-src 'sha256-{}'", hash(STYLE))), "{policy}");
        assert!(!policy.contains("unsafe"), "{policy}");
        for between in [("<script>", "</script>", SCRIPT), ("<style>", "</style>", STYLE)] {
            let document = Page::new().document;
            let (_, rest) = document.split_once(between.0).unwrap();
            let (text, _) = rest.split_once(between.1).unwrap();
            assert_eq!(text, between.2, "what the hash is of is what a browser hashes");
        }
    }
}
