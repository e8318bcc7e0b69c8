//! Where an application's hooks point, and the update that changes them without changing anything else.

use core::fmt;

use secrecy::{ExposeSecret, SecretString};
use serde_json::{Map, Value, json};
use url::Url;

use crate::application::url_without_secrets;
use crate::error::{Error, Result};

/// How long jambonz' database lets a hook's URL be.
const MAX_HOOK_URL_CHARS: usize = 1024;

/// Where an application's hooks are to point. `None` leaves a hook as it is.
#[derive(Debug, Clone, Default)]
pub struct ApplicationHooks {
    /// Where calls are announced and verbs are asked for.
    pub call_hook: Option<Hook>,
    /// Where the course of calls is told.
    pub call_status_hook: Option<Hook>,
}

impl ApplicationHooks {
    /// Both hooks, each with the credentials that it has.
    #[must_use]
    pub fn new(call_hook_url: impl Into<String>, call_status_hook_url: impl Into<String>) -> Self {
        Self { call_hook: Some(Hook::new(call_hook_url)), call_status_hook: Some(Hook::new(call_status_hook_url)) }
    }
}

/// Where one hook is to point. Its method becomes POST: with GET jambonz sends no payload. `Debug` shows neither user data
/// nor query of the URL.
#[derive(Clone)]
pub struct Hook {
    /// An absolute URL: `http`, `https`, `ws` or `wss`, at most 1024 characters.
    pub url: String,
    /// Whether jambonz authenticates there.
    pub credentials: HookCredentials,
}

impl Hook {
    /// The URL, with the credentials that the hook has now.
    #[must_use]
    pub fn new(url: impl Into<String>) -> Self {
        Self { url: url.into(), credentials: HookCredentials::Keep }
    }
}

impl fmt::Debug for Hook {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Hook")
            .field("url", &url_without_secrets(&self.url))
            .field("credentials", &self.credentials)
            .finish()
    }
}

/// HTTP Basic authentication at a hook.
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub enum HookCredentials {
    /// What the hook has now, so that it can be passed on to the application behind. The new URL gets to see it.
    #[default]
    Keep,
    /// None.
    Remove,
    /// These.
    Basic {
        /// User name.
        username: String,
        /// Password.
        password: SecretString,
    },
}

impl HookCredentials {
    fn apply(&self, hook: &mut Map<String, Value>) {
        let (username, password) = match self {
            Self::Keep => return,
            Self::Remove => (Value::Null, Value::Null),
            Self::Basic { username, password } => {
                (Value::from(username.as_str()), Value::from(password.expose_secret()))
            }
        };
        hook.insert("username".to_owned(), username);
        hook.insert("password".to_owned(), password);
    }
}

fn check_url(url: &str) -> Result<()> {
    let wrong = |problem: String| Error::BadRequest { what: "a hook's URL", problem };
    let parsed = Url::parse(url).map_err(|error| wrong(format!("it is not an absolute URL: {error}")))?;
    if !matches!(parsed.scheme(), "http" | "https" | "ws" | "wss") || !parsed.has_host() {
        return Err(wrong("it must begin with https://, http://, wss:// or ws://".to_owned()));
    }
    if url.chars().nth(MAX_HOOK_URL_CHARS).is_some() {
        return Err(wrong(format!("it is longer than {MAX_HOOK_URL_CHARS} characters")));
    }
    Ok(())
}

/// The body of the PUT that gives `application` these hooks; `None` if it has them.
///
/// jambonz' `PUT /Applications/{sid}` changes the columns that are in the body and leaves the others alone, with one
/// exception: a hook (`call_hook`, `call_status_hook`, `messaging_hook`) that is not in the body is **removed**. So what
/// is to stay goes along as it is. A hook with a `webhook_sid` is changed in place, and applications can share it: a hook
/// that changes is sent without, which makes a new one for this application alone. `null` for a hook is answered with
/// 500, `{}` means none; `call_status_hook` is only taken beside a `call_hook` that is an object.
pub(crate) fn update_body(application: &Value, hooks: &ApplicationHooks) -> Result<Option<Value>> {
    for hook in [&hooks.call_hook, &hooks.call_status_hook].into_iter().flatten() {
        check_url(&hook.url)?;
    }
    let has_verbs = application.get("app_json").and_then(Value::as_str).is_some_and(|text| !text.trim().is_empty());
    if hooks.call_hook.is_some() && has_verbs {
        return Err(Error::BadRequest {
            what: "a call hook",
            problem:
                "the application has its verbs in `app_json`, so jambonz would never call the hook: remove app_json"
                    .to_owned(),
        });
    }
    let mut body = Map::new();
    let mut changes = false;
    for (name, wanted) in [
        ("call_hook", hooks.call_hook.as_ref()),
        ("call_status_hook", hooks.call_status_hook.as_ref()),
        ("messaging_hook", None),
    ] {
        let present = application.get(name).and_then(Value::as_object);
        match (present, wanted) {
            (Some(present), None) => {
                body.insert(name.to_owned(), Value::Object(present.clone()));
            }
            (None, None) if name == "call_hook" => {
                body.insert(name.to_owned(), json!({}));
            }
            (None, None) => {}
            (present, Some(wanted)) => {
                let mut hook = present.cloned().unwrap_or_default();
                hook.insert("url".to_owned(), Value::from(wanted.url.as_str()));
                let is_post =
                    hook.get("method").and_then(Value::as_str).is_some_and(|m| m.eq_ignore_ascii_case("POST"));
                if !is_post {
                    hook.insert("method".to_owned(), Value::from("POST"));
                }
                wanted.credentials.apply(&mut hook);
                if present != Some(&hook) {
                    hook.shift_remove("webhook_sid");
                    changes = true;
                }
                body.insert(name.to_owned(), Value::Object(hook));
            }
        }
    }
    Ok(changes.then_some(Value::Object(body)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn application() -> Value {
        json!({
            "application_sid": "7087fe50-8acb-4f3b-b820-97b573723aab", "name": "hello world", "app_json": null,
            "env_vars": {"A": "b"}, "record_all_calls": 0,
            "call_hook": {"webhook_sid": "c", "url": "https://a.example/", "method": "GET", "username": "u", "password": "p"},
            "call_status_hook": {"webhook_sid": "s", "url": "https://a.example/s", "method": "POST", "username": null, "password": null},
            "messaging_hook": {"webhook_sid": "m", "url": "https://a.example/m", "method": "POST", "username": null, "password": null}
        })
    }

    #[test]
    fn only_hooks_are_sent_and_those_that_stay_go_along() {
        let body = update_body(&application(), &ApplicationHooks::new("https://b.example/", "https://b.example/s"));
        assert_eq!(
            body.unwrap().unwrap(),
            json!({
                "call_hook": {"url": "https://b.example/", "method": "POST", "username": "u", "password": "p"},
                "call_status_hook": {"url": "https://b.example/s", "method": "POST", "username": null, "password": null},
                "messaging_hook": {"webhook_sid": "m", "url": "https://a.example/m", "method": "POST", "username": null, "password": null}
            })
        );
    }

    #[test]
    fn a_hook_that_stays_keeps_its_webhook() {
        let only_call = ApplicationHooks { call_hook: Some(Hook::new("wss://b.example/ws")), call_status_hook: None };
        let body = update_body(&application(), &only_call).unwrap().unwrap();
        assert_eq!(body["call_status_hook"]["webhook_sid"], "s");
        assert_eq!(body["call_hook"].get("webhook_sid"), None);
    }

    #[test]
    fn what_is_as_it_should_be_is_not_sent() {
        let mut application = application();
        application["call_hook"]["method"] = "post".into();
        let same = ApplicationHooks::new("https://a.example/", "https://a.example/s");
        assert_eq!(update_body(&application, &same).unwrap(), None);
        assert_eq!(update_body(&application, &ApplicationHooks::default()).unwrap(), None);
    }

    #[test]
    fn hooks_that_are_not_there_are_an_empty_object_or_left_out() {
        let bare = json!({"call_hook": null, "call_status_hook": null, "messaging_hook": null});
        let only_status = ApplicationHooks { call_hook: None, call_status_hook: Some(Hook::new("http://b.example/s")) };
        assert_eq!(
            update_body(&bare, &only_status).unwrap().unwrap(),
            json!({"call_hook": {}, "call_status_hook": {"url": "http://b.example/s", "method": "POST"}})
        );
    }

    #[test]
    fn credentials_are_kept_removed_or_set() {
        let with = |credentials| ApplicationHooks {
            call_hook: Some(Hook { url: "https://b.example/".to_owned(), credentials }),
            call_status_hook: None,
        };
        let body = update_body(&application(), &with(HookCredentials::Remove)).unwrap().unwrap();
        assert_eq!((&body["call_hook"]["username"], &body["call_hook"]["password"]), (&Value::Null, &Value::Null));
        let hooks = with(HookCredentials::Basic { username: "me".to_owned(), password: "S3CRET".into() });
        assert!(!format!("{hooks:?}").contains("S3CRET"));
        let hook = Hook::new("https://me:S3CRET@b.example/call?token=S3CRET");
        assert!(format!("{hook:?}").contains("b.example/call") && !format!("{hook:?}").contains("S3CRET"), "{hook:?}");
        let body = update_body(&application(), &hooks).unwrap().unwrap();
        assert_eq!((&body["call_hook"]["username"], &body["call_hook"]["password"]), (&"me".into(), &"S3CRET".into()));
    }

    #[test]
    fn what_cannot_work_is_refused_before_it_is_sent() {
        for url in
            ["/relative", "b.example", "ftp://b.example", "mailto:a@b", &format!("https://b/{}", "x".repeat(1024))]
        {
            let error = update_body(&application(), &ApplicationHooks::new(url, "https://b.example")).unwrap_err();
            assert!(matches!(error, Error::BadRequest { what: "a hook's URL", .. }), "{url}: {error}");
        }
        let mut with_verbs = application();
        with_verbs["app_json"] = r#"[{"verb":"hangup"}]"#.into();
        let error = update_body(&with_verbs, &ApplicationHooks::new("https://b.example", "https://b.example"));
        assert!(error.unwrap_err().to_string().contains("app_json"));
    }
}
