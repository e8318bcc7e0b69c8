//! `setup`: an application's hooks are pointed at the bridge, and back.
//!
//! Where they pointed before, and with which login, is kept in a file, so that `setup --undo` can bring it back; the file
//! may be read by its owner alone.

use std::fs;
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use codex_jambonz_api::{Application, ApplicationHooks, Hook, HookCredentials, JambonzApiClient, Webhook};
use codex_zammad_bridge::config::Settings;
use codex_zammad_bridge::receive::{CALL_HOOK_PATH, STATUS_HOOK_PATH};
use codex_zammad_bridge::{Error, Result};
use secrecy::ExposeSecret as _;
use serde::{Deserialize, Serialize};

use super::records::say;

/// What `setup` was asked for.
pub(super) struct SetUp<'a> {
    /// Name or GUID of the application.
    pub(super) application: &'a str,
    /// Whether to bring back what was before.
    pub(super) undo: bool,
    /// Whether to only say what would be done.
    pub(super) dry_run: bool,
    /// The file in which is kept what was before; by default one that has the application's GUID in its name.
    pub(super) memory: Option<&'a Path>,
}

impl SetUp<'_> {
    fn memory_of(&self, application: &Application) -> PathBuf {
        let default = || PathBuf::from(format!("zammad-bridge-setup-{}.json", application.application_sid));
        self.memory.map_or_else(default, Path::to_owned)
    }
}

/// What was before.
#[derive(Serialize, Deserialize)]
struct Before {
    application_sid: String,
    name: String,
    call_hook: Option<HookBefore>,
    call_status_hook: Option<HookBefore>,
}

/// A hook as it was.
#[derive(Serialize, Deserialize)]
#[serde(untagged)]
enum HookBefore {
    /// As older versions wrote it: the login is not known, and stays what it is.
    Url(String),
    /// The whole hook.
    Whole { url: String, method: Option<String>, username: Option<String>, password: Option<String> },
}

impl HookBefore {
    fn of(hook: &Webhook) -> Self {
        Self::Whole {
            url: hook.url.clone(),
            method: hook.method.clone(),
            username: hook.username.clone(),
            password: hook.password.as_ref().map(|password| password.expose_secret().to_owned()),
        }
    }

    fn url(&self) -> &str {
        match self {
            Self::Url(url) | Self::Whole { url, .. } => url,
        }
    }

    fn had_method_get(&self) -> bool {
        matches!(self, Self::Whole { method: Some(method), .. } if method.eq_ignore_ascii_case("GET"))
    }

    /// The hook as it is to be again.
    fn again(&self) -> Hook {
        let mut hook = Hook::new(self.url());
        if let Self::Whole { username, password, .. } = self {
            hook.credentials = match username {
                Some(username) if !username.is_empty() => HookCredentials::Basic {
                    username: username.clone(),
                    password: password.clone().unwrap_or_default().into(),
                },
                _ => HookCredentials::Remove,
            };
        }
        hook
    }
}

pub(super) async fn set_up(settings: &Settings, api: &JambonzApiClient, wanted: &SetUp<'_>) -> Result<bool> {
    let application = find(api, wanted.application).await?;
    if wanted.undo {
        undo(api, &application, wanted).await
    } else {
        point_at_bridge(settings, api, &application, wanted).await
    }
}

/// The application of this name or GUID.
async fn find(api: &JambonzApiClient, wanted: &str) -> Result<Application> {
    let applications = api.get_applications().await.map_err(|error| failed(&error))?;
    let is_it = |one: &Application| one.name == wanted || one.application_sid.to_string().eq_ignore_ascii_case(wanted);
    let names: Vec<String> = applications.iter().map(|one| one.name.clone()).collect();
    applications.into_iter().find(is_it).ok_or_else(|| Error::Control {
        problem: format!("there is no application {wanted:?}; the account has {}", names.join(", ")),
    })
}

async fn point_at_bridge(
    settings: &Settings,
    api: &JambonzApiClient,
    application: &Application,
    wanted: &SetUp<'_>,
) -> Result<bool> {
    let public = settings.public_url.as_ref().ok_or_else(|| Error::Configuration {
        setting: "BRIDGE_PUBLIC_URL".to_owned(),
        problem: "it is not set, and jambonz must be told where the bridge is".to_owned(),
        remedy: "for example https://bridge.example.com".to_owned(),
    })?;
    let base = public.as_str().trim_end_matches('/');
    let (call_hook, status_hook) = (format!("{base}{CALL_HOOK_PATH}"), format!("{base}{STATUS_HOOK_PATH}"));
    let before = Before {
        application_sid: application.application_sid.to_string(),
        name: application.name.clone(),
        call_hook: application.call_hook.as_ref().map(HookBefore::of),
        call_status_hook: application.call_status_hook.as_ref().map(HookBefore::of),
    };
    let url_of = |hook: &Option<HookBefore>| hook.as_ref().map(|hook| hook.url().to_owned());
    let (call_before, status_before) = (url_of(&before.call_hook), url_of(&before.call_status_hook));
    if call_before.as_deref().is_some_and(|url| url.starts_with("ws")) {
        return Err(Error::Control {
            problem: format!(
                "the application {} answers by WebSocket ({}), which the bridge does not pass on; report its calls to POST /v1/calls",
                before.name,
                application.call_hook.as_ref().map(|hook| hook.shown_url()).unwrap_or_default()
            ),
        });
    }
    let is_ours = call_before.as_deref() == Some(&call_hook) && status_before.as_deref() == Some(&status_hook);
    if is_ours {
        say(format_args!("The hooks of {} point at the bridge already.", before.name))?;
        return Ok(true);
    }
    let is_half_ours = call_before.as_deref() == Some(&call_hook);
    say(format_args!("The hooks of the application {}:", before.name))?;
    say(format_args!("  call_hook         {} -> {call_hook}", shown(&application.call_hook)))?;
    say(format_args!("  call_status_hook  {} -> {status_hook}", shown(&application.call_status_hook)))?;
    if wanted.dry_run {
        say("Nothing was changed (--dry-run).")?;
        return Ok(true);
    }
    // First what is needed to undo it, then the change.
    let memory = wanted.memory_of(application);
    if !is_half_ours {
        remember(&memory, &before)?;
    }
    let mut hooks = ApplicationHooks::new(call_hook, status_hook);
    if let Some(login) = &settings.hook_login {
        let credentials = HookCredentials::Basic { username: login.username.clone(), password: login.password.clone() };
        for hook in [&mut hooks.call_hook, &mut hooks.call_status_hook].into_iter().flatten() {
            hook.credentials = credentials.clone();
        }
    }
    api.update_application_hooks(application.application_sid, &hooks).await.map_err(|error| failed(&error))?;
    say(format_args!(
        "Done. What was before is kept in {} (with the hooks' logins: only you can read it); `setup --undo` brings it back.",
        memory.display()
    ))?;
    if settings.upstream_call_hook.is_none() && settings.verbs.is_none() {
        let own = call_before.as_deref().unwrap_or("the application's own call_hook");
        say(format_args!(
            "Now set UPSTREAM_CALL_HOOK={own} and start the bridge: until then calls find no application."
        ))?;
    }
    Ok(true)
}

async fn undo(api: &JambonzApiClient, application: &Application, wanted: &SetUp<'_>) -> Result<bool> {
    let memory = wanted.memory_of(application);
    let unreadable = |problem: String| Error::Control {
        problem: format!("{} does not say what was before: {problem}", memory.display()),
    };
    let text = fs::read_to_string(&memory).map_err(|error| unreadable(error.to_string()))?;
    let before: Before = serde_json::from_str(&text).map_err(|error| unreadable(error.to_string()))?;
    if before.application_sid != application.application_sid.to_string() {
        return Err(unreadable(format!("it is about the application {}", before.name)));
    }
    let hooks = ApplicationHooks {
        call_hook: before.call_hook.as_ref().map(HookBefore::again),
        call_status_hook: before.call_status_hook.as_ref().map(HookBefore::again),
    };
    say(format_args!("The hooks of the application {} point again where they did before.", before.name))?;
    if wanted.dry_run {
        say("Nothing was changed (--dry-run).")?;
        return Ok(true);
    }
    api.update_application_hooks(application.application_sid, &hooks).await.map_err(|error| failed(&error))?;
    for (name, hook) in [("call_hook", &before.call_hook), ("call_status_hook", &before.call_status_hook)] {
        match hook {
            None => say(format_args!("It had no {name} before; remove it in jambonz' portal if it is not wanted."))?,
            Some(hook) if hook.had_method_get() => {
                say(format_args!(
                    "The {name} had the method GET, and has POST now; set it in jambonz' portal if it is wanted."
                ))?;
            }
            Some(_) => {}
        }
    }
    // The next `setup` writes a memory of its own.
    fs::remove_file(&memory).map_err(|error| unreadable(format!("it cannot be removed: {error}")))?;
    Ok(true)
}

fn shown(hook: &Option<Webhook>) -> String {
    hook.as_ref().map_or_else(|| "(none)".to_owned(), |hook| hook.shown_url())
}

/// Writes what was before; an older memory is not overwritten.
fn remember(path: &Path, before: &Before) -> Result<()> {
    let failed = |error: &dyn std::fmt::Display| Error::Control {
        problem: format!(
            "{} cannot be written: {error}. It would be needed to undo this; nothing was changed. Name another with --memory",
            path.display()
        ),
    };
    let text = serde_json::to_string_pretty(before).map_err(|error| failed(&error))?;
    let mut options = fs::OpenOptions::new();
    let mut file = options.write(true).create_new(true).mode(0o600).open(path).map_err(|error| failed(&error))?;
    file.write_all(text.as_bytes()).and_then(|()| file.sync_all()).map_err(|error| failed(&error))
}

fn failed(error: &codex_jambonz_api::Error) -> Error {
    Error::Control { problem: error.to_string() }
}
