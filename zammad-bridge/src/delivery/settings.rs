//! What delivery to one Zammad must know.

use core::time::Duration;

use secrecy::SecretString;
use url::Url;

use crate::call_book::TicketMode;
use crate::record::{FromStyle, RecordLanguage};
use crate::store::{Route, ZammadName};

/// By which field of a Zammad user a trusted caller is found. Fields of Zammad: `login`, `email`, `phone` or one of your
/// own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CustomerLookup {
    /// The user's field.
    pub field: String,
    /// Whether a customer is made if none is found.
    pub create: bool,
}

/// One Zammad.
#[derive(Debug, Clone)]
pub struct ZammadSettings {
    /// Its name in logs, metrics and the store: `default` for the one of the environment, else that of its
    /// `[[zammad]]`. Records remember it; renaming one leaves its undelivered calls waiting for the old name.
    pub name: ZammadName,
    /// Whose calls it gets; see [`Route::applications`].
    pub applications: Vec<String>,
    /// `ZAMMAD_CTI_URL`: the whole URL of the CTI endpoint, with its token.
    pub cti_url: SecretString,
    /// `ZAMMAD_URL`: where its REST API is, without `/api`.
    pub url: Option<Url>,
    /// `ZAMMAD_API_TOKEN`.
    pub api_token: Option<SecretString>,
    /// `ZAMMAD_CONCURRENCY`: requests under way at a time, at least 1.
    pub concurrency: usize,
    /// `ZAMMAD_MAX_PER_SECOND`: requests begun in a second at most; `None` for as many as concurrency and Zammad allow.
    pub max_per_second: Option<u32>,
    /// `ZAMMAD_TIMEOUT_MS`: how long one request may take.
    pub request_timeout: Duration,
    /// `ZAMMAD_MAX_ATTEMPTS`: after how many tries that failed for the event's own sake it goes on the dead-letter
    /// shelf. Outages do not count.
    pub max_attempts: u32,
    /// `ZAMMAD_BACKOFF_MS`: the ceiling of the first retry's random wait; it doubles with each try.
    pub backoff_initial: Duration,
    /// `ZAMMAD_BACKOFF_CAP_MS`: the ceiling of every retry's random wait.
    pub backoff_cap: Duration,
    /// `ZAMMAD_FROM`.
    pub from: FromStyle,
    /// `RECORD_LANG`.
    pub language: RecordLanguage,
    /// `TICKET_MODE`. Needs [`url`](Self::url) and [`api_token`](Self::api_token).
    pub tickets: TicketMode,
    /// `TICKET_GROUP`: the group of the tickets.
    pub ticket_group: String,
    /// `TICKET_CUSTOMER`: the e-mail address of the customer that carries tickets of callers whose word is not taken.
    pub ticket_customer: String,
    /// `TRUST_CUSTOMER_DATA`: whether customer data is believed. Without it nobody's claim finds, makes or changes a
    /// customer, nor counts as a phone number.
    pub trust_customer_data: bool,
    /// `TICKET_CUSTOMER_FIELD` and `TICKET_CUSTOMER_CREATE`: how a trusted caller becomes a customer.
    pub customer_lookup: CustomerLookup,
    /// `ZAMMAD_CA_FILE`: further trusted authorities, PEM.
    pub extra_ca_pem: Option<String>,
}

impl ZammadSettings {
    /// The default of [`concurrency`](Self::concurrency).
    pub const CONCURRENCY: usize = 3;
    /// The default of [`request_timeout`](Self::request_timeout).
    pub const REQUEST_TIMEOUT: Duration = Duration::from_secs(15);
    /// The default of [`max_attempts`](Self::max_attempts).
    pub const MAX_ATTEMPTS: u32 = 10;
    /// The default of [`backoff_initial`](Self::backoff_initial).
    pub const BACKOFF_INITIAL: Duration = Duration::from_secs(1);
    /// The default of [`backoff_cap`](Self::backoff_cap).
    pub const BACKOFF_CAP: Duration = Duration::from_secs(300);
    /// The default of [`ticket_group`](Self::ticket_group).
    pub const TICKET_GROUP: &str = "Users";
    /// The default of [`ticket_customer`](Self::ticket_customer).
    pub const TICKET_CUSTOMER: &str = "voice-calls@example.invalid";
    /// The default of [`CustomerLookup::field`].
    pub const CUSTOMER_FIELD: &str = "login";

    /// Settings with the defaults for a CTI endpoint.
    #[must_use]
    pub fn new(name: &str, cti_url: SecretString) -> Self {
        Self {
            name: name.into(),
            applications: Vec::new(),
            cti_url,
            url: None,
            api_token: None,
            concurrency: Self::CONCURRENCY,
            max_per_second: None,
            request_timeout: Self::REQUEST_TIMEOUT,
            max_attempts: Self::MAX_ATTEMPTS,
            backoff_initial: Self::BACKOFF_INITIAL,
            backoff_cap: Self::BACKOFF_CAP,
            from: FromStyle::Display,
            language: RecordLanguage::En,
            tickets: TicketMode::Off,
            ticket_group: Self::TICKET_GROUP.to_owned(),
            ticket_customer: Self::TICKET_CUSTOMER.to_owned(),
            trust_customer_data: false,
            customer_lookup: CustomerLookup { field: Self::CUSTOMER_FIELD.to_owned(), create: false },
            extra_ca_pem: None,
        }
    }

    /// What the store must know of it.
    #[must_use]
    pub fn route(&self) -> Route {
        Route { zammad: self.name.clone(), applications: self.applications.clone(), tickets: self.tickets }
    }
}
