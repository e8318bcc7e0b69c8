//! [`create_client`]: the keys turned into a client on tokio, and the name of its target looked up beside it.

use core::fmt;
use core::ops::Deref;
use std::sync::Arc;
use std::time::Duration;

use codex_core_sip::Locale;
use codex_core_sip::application_names::ApplicationNames;
use codex_core_sip::client::{CodexSipClient, CodexSipClientBuilder, StartCall};
use codex_core_sip::media::MediaEngine;
use codex_core_sip::metadata::{ApplicationSid, LanguageTag};
use codex_jambonz_api::{JambonzApiClient, JambonzApiConfig};
use tokio::sync::watch;

use crate::error::Result;
use crate::keys::{KeyValues, KeyWarning};
use crate::languages::text_locale;
use crate::settings::{ApiAccess, Settings};

/// How long the first call waits for its application's name to be looked up; later calls do not wait, though each has it
/// looked up again. A name that comes later is in the next event.
pub const FIRST_CALL_NAME_WAIT: Duration = Duration::from_millis(300);

/// A client with everything from keys, whose calls go through `engine`. Nothing is connected yet; the name of the target's
/// application is looked up at once, in the background.
///
/// ```no_run
/// use std::sync::Arc;
/// use codex_core_sip::{client::StartCall, media::MediaEngine};
/// use codex_web_widget::{KeyValues, create_client};
///
/// # async fn run(engine: Arc<dyn MediaEngine>) -> codex_web_widget::Result<()> {
/// let client = create_client(&KeyValues::from_process_environment(), engine)?;
/// let mut events = client.events();
/// client.register().await?;
/// client.start_call(StartCall::default()).await?;
/// while let Some(event) = events.next().await {
///     println!("{event:?}");
/// }
/// # Ok(())
/// # }
/// ```
///
/// # Errors
///
/// [`crate::Error::Keys`] with everything that is wrong or missing, [`crate::Error::Client`] or [`crate::Error::Names`] for
/// what only the adapters find out (a certificate that is none).
///
/// # Panics
///
/// Outside of a tokio runtime.
pub fn create_client(keys: &KeyValues, engine: Arc<dyn MediaEngine>) -> Result<Client> {
    Client::new(&Settings::from_keys(keys)?, engine)
}

/// A [`CodexSipClient`] made of keys. Everything that a `CodexSipClient` does, it does.
#[derive(Clone)]
pub struct Client {
    sip: CodexSipClient,
    name: Option<TargetName>,
    fallback_language: LanguageTag,
    warnings: Arc<[KeyWarning]>,
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client").field("sip", &self.sip).finish_non_exhaustive()
    }
}

/// The client itself: all methods and events.
impl Deref for Client {
    type Target = CodexSipClient;

    fn deref(&self) -> &CodexSipClient {
        &self.sip
    }
}

impl Client {
    /// A client with these settings.
    ///
    /// # Errors
    ///
    /// As [`create_client`].
    ///
    /// # Panics
    ///
    /// Outside of a tokio runtime.
    pub fn new(settings: &Settings, engine: Arc<dyn MediaEngine>) -> Result<Self> {
        let names: Option<Arc<dyn ApplicationNames>> = match settings.name_to_look_up() {
            Some((api, _)) => Some(Arc::new(application_names(api)?)),
            None => None,
        };
        Self::with_parts(settings, CodexSipClient::builder(settings.sip.clone(), engine), names)
    }

    /// A client with parts of one's own: a builder with another transport or a tracer (its settings must be those of
    /// `settings`), and another source of names.
    ///
    /// # Errors
    ///
    /// As [`create_client`].
    ///
    /// # Panics
    ///
    /// Outside of a tokio runtime.
    pub fn with_parts(
        settings: &Settings,
        builder: CodexSipClientBuilder,
        names: Option<Arc<dyn ApplicationNames>>,
    ) -> Result<Self> {
        for warning in &settings.warnings {
            tracing::warn!("{}", warning.in_locale(Locale::En));
        }
        let sip = builder.build()?;
        let unnamed = settings.sip.target_application_name.is_none();
        let application = settings.target_application().filter(|_| unnamed);
        let name = names.zip(application).map(|(names, application)| TargetName::look_up(&sip, names, application));
        Ok(Self {
            sip,
            name,
            fallback_language: settings.sip.fallback_language.clone(),
            warnings: settings.warnings.as_slice().into(),
        })
    }

    /// What works but should be looked at, as it was when the client was made.
    #[must_use]
    pub fn warnings(&self) -> &[KeyWarning] {
        &self.warnings
    }

    /// The language of texts for the person who calls: the client's language, else `FALLBACK_LANG`, else English.
    #[must_use]
    pub fn text_locale(&self) -> Locale {
        text_locale(&self.sip.language(), &self.fallback_language)
    }

    /// As [`CodexSipClient::start_call`]; the first call waits at most [`FIRST_CALL_NAME_WAIT`] for the name of its
    /// application, if that is being looked up.
    ///
    /// # Errors
    ///
    /// Those of [`CodexSipClient::start_call`].
    pub async fn start_call(&self, call: StartCall) -> codex_core_sip::Result<String> {
        // Another target has a name of its own.
        if let Some(name) = self.name.as_ref().filter(|_| call.target_uri.is_none()) {
            name.before_call(&self.sip).await;
        }
        self.sip.start_call(call).await
    }
}

/// The client for jambonz' API that these settings ask for.
///
/// # Errors
///
/// [`codex_jambonz_api::Error::Configuration`].
pub fn application_names(api: &ApiAccess) -> Result<JambonzApiClient, codex_jambonz_api::Error> {
    JambonzApiClient::new(JambonzApiConfig {
        api_base_url: api.base_url.clone(),
        api_key: api.api_key.clone(),
        account_sid: api.account_sid.to_string(),
    })
}

/// How far a look-up has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Progress {
    UnderWay,
    /// There is a name, or jambonz says that there is none.
    Known,
    /// It is not known whether there is a name.
    Failed,
}

/// The name of the target, looked up beside the client.
#[derive(Clone)]
struct TargetName {
    names: Arc<dyn ApplicationNames>,
    application: ApplicationSid,
    progress: Arc<watch::Sender<Progress>>,
    first_call: Arc<std::sync::atomic::AtomicBool>,
}

impl TargetName {
    fn look_up(client: &CodexSipClient, names: Arc<dyn ApplicationNames>, application: ApplicationSid) -> Self {
        let (progress, _) = watch::channel(Progress::Failed);
        let first_call = Arc::new(std::sync::atomic::AtomicBool::new(true));
        let name = Self { names, application, progress: Arc::new(progress), first_call };
        name.start(client);
        name
    }

    /// Asks, unless that is under way.
    fn start(&self, client: &CodexSipClient) {
        if self.progress.send_replace(Progress::UnderWay) == Progress::UnderWay {
            return;
        }
        let (name, client) = (self.clone(), client.clone());
        tokio::spawn(async move {
            let progress = match name.names.application_name(name.application).await {
                Ok(found) => {
                    if found.is_none() {
                        tracing::warn!(application = %name.application, "jambonz knows no such application, or none that the API key may see");
                    }
                    // A client that has been destroyed needs no name.
                    let _gone = client.set_target_application_name(found).await;
                    Progress::Known
                }
                Err(error) => {
                    tracing::warn!(%error, "calls go ahead without the application's name");
                    Progress::Failed
                }
            };
            name.progress.send_replace(progress);
        });
    }

    /// Every call asks again, since an application may be renamed; what is known comes from the memory of who answers. The
    /// first call waits a little where no name is known yet.
    async fn before_call(&self, client: &CodexSipClient) {
        let known = *self.progress.borrow() == Progress::Known;
        self.start(client);
        if self.first_call.swap(false, std::sync::atomic::Ordering::Relaxed) && !known {
            let mut progress = self.progress.subscribe();
            let known = progress.wait_for(|progress| *progress != Progress::UnderWay);
            // Whether it came in time or not, the call goes ahead.
            let _late = tokio::time::timeout(FIRST_CALL_NAME_WAIT, known).await;
        }
    }
}
