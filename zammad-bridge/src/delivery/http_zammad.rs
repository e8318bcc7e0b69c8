//! [`Zammad`] by HTTP: the CTI endpoint and the REST API.

use std::error::Error as StdError;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use reqwest::header::{ACCEPT, AUTHORIZATION, HeaderValue, RETRY_AFTER};
use reqwest::{Method, redirect};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::{ClientConfig, RootCertStore};
use secrecy::ExposeSecret;
use serde_json::{Map, Value, json};
use url::Url;

use super::port::{
    CallerLogRow, CtiEvent, CtiEventKind, CtiReply, CustomerSearch, DeliveryFault, FaultScope, NewTicket, TicketNote,
    Zammad,
};
use super::settings::ZammadSettings;
use crate::clock::Clock;
use crate::error::{Error, Result};
use crate::store::{TicketId, ZammadName};

/// How long an answer may be, in bytes. The caller log's 60 rows with what belongs to them come to a few hundred KB.
const MAX_ANSWER_BYTES: usize = 4 * 1024 * 1024;
/// How long making a connection may take.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// Connections that are idle are given up before a proxy in front of Zammad does it.
const IDLE_CONNECTION: Duration = Duration::from_secs(30);
/// The longest wait that Zammad may ask for.
const MAX_RETRY_AFTER: Duration = Duration::from_secs(3600);
/// How much of an answer is quoted, in characters.
const QUOTE_CHARS: usize = 200;
/// What Zammad says that holds no value of anybody's.
const KNOWN_PHRASES: [&str; 9] = [
    "Invalid token",
    "Feature is disabled",
    "Feature not configured",
    "Invalid 'direction'",
    "This object already exists",
    "No lookup value found for 'group'",
    "No lookup value found for 'customer'",
    "Not authorized",
    "No route matches",
];
/// How long an error ID may be that is quoted.
const MAX_ERROR_ID_CHARS: usize = 40;
/// How many users or tickets a search may bring.
const SEARCH_LIMIT: usize = 50;
const USER_AGENT: &str = concat!("codex-zammad-bridge/", env!("CARGO_PKG_VERSION"));

/// One Zammad, by HTTP.
pub struct HttpZammad {
    name: ZammadName,
    http: reqwest::Client,
    cti_url: Url,
    rest: Option<Rest>,
    timeout: Duration,
    clock: Arc<dyn Clock>,
}

struct Rest {
    base: Url,
    authorization: HeaderValue,
}

impl fmt::Debug for HttpZammad {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HttpZammad")
            .field("name", &self.name)
            .field("rest", &self.rest.is_some())
            .finish_non_exhaustive()
    }
}

/// An answer, whatever its status.
struct Answer {
    status: u16,
    retry_after: Option<Duration>,
    body: Vec<u8>,
}

impl Answer {
    fn json(&self) -> Option<Value> {
        serde_json::from_slice(&self.body).ok()
    }

    /// The status, and what of Zammad's words is known to hold nobody's data: its texts quote values that it was sent.
    fn quoted(&self) -> String {
        let said = self.error();
        let known = KNOWN_PHRASES.iter().find(|phrase| said.contains(**phrase)).map(|phrase| (*phrase).to_owned());
        let known = known.or_else(|| {
            let (_, rest) = said.split_once("Error ID ")?;
            let id: String = rest.chars().take_while(char::is_ascii_alphanumeric).take(MAX_ERROR_ID_CHARS).collect();
            (!id.is_empty()).then(|| format!("Error ID {id}"))
        });
        let status = self.status;
        known.map_or_else(|| format!("HTTP {status}"), |known| format!("HTTP {status}: {known}"))
    }

    /// Whether the error names one of these fields: `No lookup value found for 'group': "Calls"` and the like.
    fn blames(&self, fields: &[&str]) -> bool {
        let said = self.error();
        // What follows the first colon is a value that was sent.
        let subject = said.split_once(": ").map_or(said.as_str(), |(subject, _)| subject).to_lowercase();
        subject.split(|c: char| !c.is_ascii_alphanumeric() && c != '_').any(|word| fields.contains(&word))
    }

    /// What Zammad says went wrong. It may quote what it was sent: for decisions, never for people or logs.
    fn error(&self) -> String {
        let json = self.json();
        let told = json.as_ref().and_then(|json| json.get("error")?.as_str()).map(str::to_owned);
        let text = told.unwrap_or_else(|| String::from_utf8_lossy(&self.body).into_owned());
        text.split_whitespace().collect::<Vec<_>>().join(" ").chars().take(QUOTE_CHARS).collect()
    }
}

impl HttpZammad {
    /// A client for these settings.
    ///
    /// # Errors
    ///
    /// [`Error::Configuration`] for `ZAMMAD_CTI_URL`, `ZAMMAD_URL`, `ZAMMAD_API_TOKEN` or `ZAMMAD_CA_FILE`.
    pub fn new(settings: &ZammadSettings, clock: Arc<dyn Clock>) -> Result<Self> {
        const EXAMPLE: &str = "write https://zammad.example.com/api/v1/cti/<token>";
        let cti_url = Url::parse(settings.cti_url.expose_secret().trim())
            .map_err(|error| wrong("ZAMMAD_CTI_URL", &format!("it is not a URL ({error})"), EXAMPLE))?;
        if !matches!(cti_url.scheme(), "http" | "https") || cti_url.host().is_none() {
            return Err(wrong("ZAMMAD_CTI_URL", "it is not an http or https URL", EXAMPLE));
        }
        let rest = match (&settings.url, &settings.api_token) {
            (Some(base), Some(token)) => {
                let mut authorization = HeaderValue::from_str(&format!("Token token={}", token.expose_secret().trim()))
                    .map_err(|_| wrong("ZAMMAD_API_TOKEN", "it cannot be sent in a header", "copy it from Zammad"))?;
                authorization.set_sensitive(true);
                Some(Rest { base: base.clone(), authorization })
            }
            _ => None,
        };
        let mut builder = reqwest::Client::builder()
            .tls_backend_preconfigured(tls(settings.extra_ca_pem.as_deref())?)
            .user_agent(USER_AGENT)
            .redirect(redirect::Policy::none())
            // Repeating is decided in one place, by the dispatcher.
            .retry(reqwest::retry::never())
            .connect_timeout(CONNECT_TIMEOUT.min(settings.request_timeout))
            .pool_idle_timeout(IDLE_CONNECTION)
            .pool_max_idle_per_host(settings.concurrency.max(1))
            .tcp_nodelay(true);
        if cti_url.host_str().is_some_and(|host| host == "localhost" || host.starts_with("127.") || host == "[::1]") {
            builder = builder.no_proxy();
        }
        let http = builder.build().map_err(|error| {
            wrong("ZAMMAD_CTI_URL", &format!("the HTTP client cannot be set up: {}", cause(&error)), EXAMPLE)
        })?;
        Ok(Self { name: settings.name.clone(), http, cti_url, rest, timeout: settings.request_timeout, clock })
    }

    fn fault(&self, scope: FaultScope, status: Option<u16>, problem: String) -> DeliveryFault {
        DeliveryFault {
            zammad: self.name.to_string(),
            scope,
            status,
            problem,
            remedy: None,
            retry_after: None,
            uncertain: false,
        }
    }

    fn refusal(&self, answer: &Answer, problem: &str, remedy: &str) -> DeliveryFault {
        let problem = format!("{problem} ({})", answer.quoted());
        DeliveryFault {
            remedy: Some(remedy.to_owned()),
            ..self.fault(FaultScope::Refusal, Some(answer.status), problem)
        }
    }

    async fn exchange(&self, request: reqwest::RequestBuilder) -> Result<Answer, DeliveryFault> {
        let exchange = async {
            let mut response = request.send().await.map_err(|error| self.failure(&error))?;
            let retry_after = response.headers().get(RETRY_AFTER).and_then(|value| self.retry_after(value));
            let mut body = Vec::new();
            while let Some(chunk) = response.chunk().await.map_err(|error| self.failure(&error))? {
                if chunk.len() > MAX_ANSWER_BYTES - body.len() {
                    let problem = format!("its answer is longer than {MAX_ANSWER_BYTES} bytes");
                    return Err(self.fault(FaultScope::Event, Some(response.status().as_u16()), problem));
                }
                body.extend_from_slice(&chunk);
            }
            Ok(Answer { status: response.status().as_u16(), retry_after, body })
        };
        match tokio::time::timeout(self.timeout, exchange).await {
            Ok(result) => result,
            Err(_) => {
                let problem = format!("no answer within {} s", self.timeout.as_secs_f32());
                Err(DeliveryFault { uncertain: true, ..self.fault(FaultScope::Outage, None, problem) })
            }
        }
    }

    fn failure(&self, error: &reqwest::Error) -> DeliveryFault {
        let connecting = error.is_connect();
        let doing = if connecting { "cannot be reached" } else { "the connection broke" };
        let problem = format!("{doing}: {}", cause(error));
        DeliveryFault { uncertain: !connecting, ..self.fault(FaultScope::Outage, None, problem) }
    }

    /// Seconds, or a date.
    fn retry_after(&self, value: &HeaderValue) -> Option<Duration> {
        let text = value.to_str().ok()?.trim();
        let wait = match text.parse::<u64>() {
            Ok(seconds) => Duration::from_secs(seconds),
            Err(_) => {
                let date = httpdate::parse_http_date(text).ok()?;
                let date = date.duration_since(std::time::UNIX_EPOCH).ok()?;
                let now = u64::try_from(self.clock.now().as_seconds()).unwrap_or(0);
                date.saturating_sub(Duration::from_secs(now))
            }
        };
        Some(wait.min(MAX_RETRY_AFTER))
    }

    /// What the statuses mean that mean the same everywhere; `None` for the others.
    fn common_fault(&self, answer: &Answer) -> Option<DeliveryFault> {
        let outage = |problem: String| DeliveryFault {
            retry_after: answer.retry_after,
            // A proxy gave up waiting: Zammad may still have taken it.
            uncertain: matches!(answer.status, 408 | 502 | 504),
            ..self.fault(FaultScope::Outage, Some(answer.status), problem)
        };
        match answer.status {
            408 | 429 | 502..=504 => Some(outage(answer.quoted())),
            300..=399 => Some(self.refusal(
                answer,
                "it answers with a redirect",
                "write the URL as Zammad has it (System > Base), https and host name included",
            )),
            _ => None,
        }
    }

    fn judge_cti(&self, event: &CtiEvent, answer: &Answer) -> Result<CtiReply, DeliveryFault> {
        if let Some(fault) = self.common_fault(answer) {
            return Err(fault);
        }
        let said = answer.error();
        match answer.status {
            200..=299 => self.taken(answer),
            401 => Err(self.refusal(
                answer,
                "it does not know the token of the CTI endpoint",
                "copy the endpoint's URL anew from Zammad (Admin > System > Integrations > CTI) to ZAMMAD_CTI_URL",
            )),
            403 => Err(self.refusal(answer, "it forbids the CTI endpoint", "look at proxies and firewalls before it")),
            404 | 405 => Err(self.refusal(
                answer,
                "there is no CTI endpoint at this URL",
                "ZAMMAD_CTI_URL is https://<zammad>/api/v1/cti/<token>",
            )),
            422 if said.contains("disabled") => Err(self.refusal(
                answer,
                "its CTI integration is switched off",
                "switch it on: Admin > System > Integrations > CTI (generic)",
            )),
            422 if said.contains("not configured") => Err(self.refusal(
                answer,
                "its CTI integration is not configured",
                "save it once in Zammad: Admin > System > Integrations > CTI (generic)",
            )),
            500 if event.kind == CtiEventKind::NewCall && said.contains("already exists") => {
                Ok(CtiReply::AlreadyExists)
            }
            500 if event.kind != CtiEventKind::NewCall && said.contains("Error ID") => {
                Ok(CtiReply::UnknownCall { answer: answer.quoted() })
            }
            status @ 500..=599 => Err(DeliveryFault {
                retry_after: answer.retry_after,
                uncertain: event.kind == CtiEventKind::NewCall,
                ..self.fault(FaultScope::Event, Some(status), answer.quoted())
            }),
            status => Err(DeliveryFault {
                remedy: Some("replay it from the dead letters once the reason is gone".to_owned()),
                ..self.fault(FaultScope::Poison, Some(status), answer.quoted())
            }),
        }
    }

    /// A success is a JSON object, or nothing at all; a web page comes from something else than Zammad.
    fn taken(&self, answer: &Answer) -> Result<CtiReply, DeliveryFault> {
        if answer.body.iter().all(u8::is_ascii_whitespace) {
            return Ok(CtiReply::Taken { action: None });
        }
        match answer.json() {
            Some(Value::Object(object)) => {
                let action = object.contains_key("action").then(|| Value::Object(object).to_string());
                Ok(CtiReply::Taken { action })
            }
            _ => Err(self.refusal(
                answer,
                "what answers at this URL is not Zammad's CTI endpoint",
                "ZAMMAD_CTI_URL is https://<zammad>/api/v1/cti/<token>",
            )),
        }
    }

    async fn rest(
        &self,
        method: Method,
        path: &str,
        query: &[(&str, &str)],
        body: Option<Value>,
    ) -> Result<Answer, DeliveryFault> {
        let Some(rest) = &self.rest else {
            return Err(DeliveryFault {
                remedy: Some("set ZAMMAD_URL and ZAMMAD_API_TOKEN, or TICKET_MODE=off".to_owned()),
                ..self.fault(FaultScope::Refusal, None, "it has no REST access configured".to_owned())
            });
        };
        let creates = method == Method::POST;
        let mut url = rest.base.clone();
        if let Ok(mut segments) = url.path_segments_mut() {
            segments.pop_if_empty().extend(["api", "v1"]).extend(path.split('/'));
        }
        if !query.is_empty() {
            url.query_pairs_mut().extend_pairs(query);
        }
        let mut request = self
            .http
            .request(method, url)
            .header(ACCEPT, "application/json")
            .header(AUTHORIZATION, rest.authorization.clone());
        // Group and customer of every ticket, as the settings name them.
        let (mut names_group, mut names_customer) = (false, false);
        if let Some(body) = body {
            names_group = creates && path == "tickets";
            let customer = body.get("customer_id").and_then(Value::as_str);
            names_customer = names_group && customer.is_some_and(|customer| customer.starts_with("guess:"));
            request = request.json(&body);
        }
        let answer = self.exchange(request).await?;
        if let Some(mut fault) = self.common_fault(&answer) {
            fault.uncertain |= creates && answer.status >= 500;
            return Err(fault);
        }
        match answer.status {
            200..=299 => Ok(answer),
            422 if names_group && answer.blames(&["group", "group_id"]) => Err(self.refusal(
                &answer,
                "it does not take the tickets' group",
                "TICKET_GROUP must be the name of an active group that the API token's user may create tickets in",
            )),
            422 if names_customer && answer.blames(&["customer", "customer_id"]) => Err(self.refusal(
                &answer,
                "it does not take the tickets' customer",
                "TICKET_CUSTOMER must be an e-mail address",
            )),
            401 => Err(self.refusal(
                &answer,
                "it does not know the API token",
                "make one in Zammad (profile > Token Access) and set ZAMMAD_API_TOKEN",
            )),
            // Of one ticket, as one that was moved to a group of others; the rest goes on.
            403 if path.starts_with("ticket_articles") => Err(DeliveryFault {
                remedy: Some("give the API token's user access to the ticket's group, then replay it".to_owned()),
                ..self.fault(FaultScope::Poison, Some(403), format!("the ticket is closed to us ({})", answer.quoted()))
            }),
            403 => Err(self.refusal(
                &answer,
                "the API token may not do this",
                "it needs ticket.agent (and cti.agent to read the caller log), and its user access to the group",
            )),
            404 if self.is_missing_route(&answer) => Err(self.refusal(
                &answer,
                "there is no Zammad at this URL",
                "ZAMMAD_URL is where Zammad's web page is, such as https://zammad.example.com",
            )),
            status @ 500..=599 => Err(DeliveryFault {
                retry_after: answer.retry_after,
                // Zammad can fail after it has made what it was to make.
                uncertain: creates,
                ..self.fault(FaultScope::Event, Some(status), answer.quoted())
            }),
            status => Err(self.fault(FaultScope::Poison, Some(status), answer.quoted())),
        }
    }

    fn is_missing_route(&self, answer: &Answer) -> bool {
        answer.json().is_none() || answer.error().contains("No route matches")
    }

    fn json_of(&self, answer: &Answer) -> Result<Value, DeliveryFault> {
        answer.json().ok_or_else(|| {
            self.refusal(answer, "what answers at ZAMMAD_URL is not Zammad", "write the URL of Zammad's web page")
        })
    }

    fn id_of(&self, answer: &Answer) -> Result<i64, DeliveryFault> {
        let json = self.json_of(answer)?;
        json.get("id").and_then(Value::as_i64).ok_or_else(|| {
            let problem = "its answer has no id".to_owned();
            DeliveryFault { uncertain: true, ..self.fault(FaultScope::Event, Some(answer.status), problem) }
        })
    }
}

#[async_trait]
impl Zammad for HttpZammad {
    async fn send(&self, event: &CtiEvent) -> Result<CtiReply, DeliveryFault> {
        let mut body = Map::with_capacity(8);
        let mut put = |name: &str, value: &str| body.insert(name.to_owned(), Value::from(value));
        put("event", event.kind.name());
        put("direction", event.direction);
        put("from", &event.from);
        put("to", &event.to);
        put("callId", &event.call_id);
        if let Some(user) = &event.user {
            put("user", user);
        }
        if let Some(cause) = &event.cause {
            put("cause", cause);
        }
        let request =
            self.http.post(self.cti_url.clone()).header(ACCEPT, "application/json").json(&Value::Object(body));
        let answer = self.exchange(request).await?;
        self.judge_cti(event, &answer)
    }

    async fn caller_log(&self) -> Result<Vec<CallerLogRow>, DeliveryFault> {
        if self.rest.is_none() {
            return Ok(Vec::new());
        }
        let answer = self.rest(Method::GET, "cti/log", &[], None).await?;
        let json = self.json_of(&answer)?;
        let rows = json.get("list").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
        let text = |row: &Value, name: &str| row.get(name).and_then(Value::as_str).map(str::to_owned);
        let rows = rows
            .iter()
            .filter_map(|row| Some(CallerLogRow { call_id: text(row, "call_id")?, state: text(row, "state")? }));
        Ok(rows.collect())
    }

    async fn find_ticket(&self, mark: &str) -> Result<Option<TicketId>, DeliveryFault> {
        let limit = SEARCH_LIMIT.to_string();
        let query = [("query", mark), ("limit", limit.as_str()), ("expand", "true")];
        let answer = self.rest(Method::GET, "tickets/search", &query, None).await?;
        let json = self.json_of(&answer)?;
        let marked = format!("[{mark}]");
        let has_mark =
            |ticket: &&Value| ticket.get("title").and_then(Value::as_str).is_some_and(|title| title.contains(&marked));
        // With `expand` an array; some versions wrap it, or answer with assets all the same.
        let assets = json.pointer("/assets/Ticket").and_then(Value::as_object);
        let found = json.as_array().into_iter().flatten().chain(assets.into_iter().flat_map(Map::values));
        let ids = found.filter(has_mark).filter_map(|ticket| ticket.get("id")?.as_i64());
        Ok(ids.min().map(TicketId))
    }

    async fn create_ticket(&self, ticket: &NewTicket) -> Result<TicketId, DeliveryFault> {
        let sender = if ticket.from_customer { "Customer" } else { "Agent" };
        let body = json!({
            "title": ticket.title,
            "group": ticket.group,
            "customer_id": ticket.customer,
            "article": {
                "type": "phone",
                "sender": sender,
                "internal": false,
                "content_type": "text/plain",
                "subject": ticket.title,
                "body": ticket.body,
            },
        });
        let answer = self.rest(Method::POST, "tickets", &[], Some(body)).await?;
        self.id_of(&answer).map(TicketId)
    }

    async fn has_note(&self, ticket: TicketId, subject: &str) -> Result<bool, DeliveryFault> {
        let path = format!("ticket_articles/by_ticket/{}", ticket.0);
        let answer = self.rest(Method::GET, &path, &[], None).await?;
        let json = self.json_of(&answer)?;
        let has = |article: &Value| article.get("subject").and_then(Value::as_str) == Some(subject);
        Ok(json.as_array().into_iter().flatten().any(has))
    }

    async fn add_note(&self, note: &TicketNote) -> Result<(), DeliveryFault> {
        let body = json!({
            "ticket_id": note.ticket.0,
            "type": "note",
            "internal": true,
            "content_type": "text/plain",
            "subject": note.subject,
            "body": note.body,
        });
        let answer = self.rest(Method::POST, "ticket_articles", &[], Some(body)).await?;
        self.id_of(&answer).map(drop)
    }

    async fn find_customer(&self, field: &str, value: &str) -> Result<CustomerSearch, DeliveryFault> {
        let limit = SEARCH_LIMIT.to_string();
        let query = [("query", value), ("limit", limit.as_str())];
        let answer = self.rest(Method::GET, "users/search", &query, None).await?;
        let json = self.json_of(&answer)?;
        // A search finds what is alike; only the very same counts. Zammad keeps logins and addresses in lower case.
        let folds = matches!(field, "login" | "email");
        let same = |user: &&Value| {
            user.get(field)
                .and_then(Value::as_str)
                .is_some_and(|known| if folds { known.to_lowercase() == value.to_lowercase() } else { known == value })
        };
        let mut ids = json.as_array().into_iter().flatten().filter(same).filter_map(|user| user.get("id")?.as_i64());
        Ok(match (ids.next(), ids.next()) {
            (None, _) => CustomerSearch::Nobody,
            (Some(id), None) => CustomerSearch::One(id),
            (Some(_), Some(_)) => CustomerSearch::Several,
        })
    }

    async fn create_customer(&self, field: &str, value: &str, name: Option<&str>) -> Result<i64, DeliveryFault> {
        let mut body = Map::new();
        let (first, last) = name.map_or((value, ""), |name| name.split_once(' ').unwrap_or((name, "")));
        body.insert("firstname".to_owned(), Value::from(first));
        body.insert("lastname".to_owned(), Value::from(last));
        body.insert("roles".to_owned(), json!(["Customer"]));
        body.insert(field.to_owned(), Value::from(value));
        let answer = self.rest(Method::POST, "users", &[], Some(Value::Object(body))).await?;
        self.id_of(&answer)
    }
}

fn wrong(setting: &str, problem: &str, remedy: &str) -> Error {
    Error::Configuration { setting: setting.to_owned(), problem: problem.to_owned(), remedy: remedy.to_owned() }
}

/// rustls with the provider `ring`, as everywhere in this stack; trusts the system's authorities and `extra`.
fn tls(extra: Option<&str>) -> Result<ClientConfig> {
    const KEY: &str = "ZAMMAD_CA_FILE";
    const REMEDY: &str = "name a file with certificates in PEM";
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    if let Some(pem) = extra {
        let mut found = false;
        for certificate in CertificateDer::pem_slice_iter(pem.as_bytes()) {
            found = true;
            let added = certificate.map_err(|e| e.to_string()).and_then(|c| roots.add(c).map_err(|e| e.to_string()));
            added.map_err(|error| wrong(KEY, &format!("it cannot be read ({error})"), REMEDY))?;
        }
        if !found {
            return Err(wrong(KEY, "it holds no certificate in PEM", REMEDY));
        }
    }
    let builder = ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(|error| wrong("ZAMMAD_CTI_URL", &format!("TLS cannot be set up ({error})"), "use the defaults"))?;
    Ok(builder.with_root_certificates(roots).with_no_client_auth())
}

/// The innermost cause: the layers above quote the URL, and with it the token.
fn cause(error: &dyn StdError) -> String {
    let mut innermost = error;
    while let Some(source) = innermost.source() {
        innermost = source;
    }
    innermost.to_string().chars().take(QUOTE_CHARS).collect()
}
