//! What jambonz posts: the `call_hook` with the INVITE, and the status events after it.
//!
//! Everything but the identity of the call may be missing, of another type or unknown: it is left out then. See the tests
//! for requests as jambonz made them.

use codex_core_sip::metadata::{
    ApplicationName, ApplicationSid, CallTag, DisplayNames, IncomingParties, Party, ReceivedMetadata,
    X_APPLICATION_NAME, X_CALL_TAG, X_LANG,
};
use serde_json::{Map, Value, json};

use super::claims::{self, Claims};
use crate::call_book::{CallFact, CallStatus, Direction, FactSource};
use crate::clock::UnixMillis;

/// How many headers of one webhook are looked at.
const MAX_HEADERS: usize = 256;
/// Digits of a telephone number; what has fewer is an extension, and a name as good as any.
const MIN_NUMBER_DIGITS: usize = 7;

/// The keys that the bridge adds to the data of the `tag` verb, beside the customer's own. Values are texts.
pub mod tag_keys {
    /// The call's tag.
    pub const TAG: &str = "tag";
    /// How the caller is shown.
    pub const DISPLAY_FROM: &str = "displayFrom";
    /// How the callee is shown.
    pub const DISPLAY_TO: &str = "displayTo";
    /// The application's name.
    pub const APPLICATION_NAME: &str = "applicationName";
    /// The call's language.
    pub const LANGUAGE: &str = "language";
    /// All of them.
    pub const ALL: [&str; 5] = [TAG, DISPLAY_FROM, DISPLAY_TO, APPLICATION_NAME, LANGUAGE];
}

/// Why a body is no webhook of jambonz.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum WebhookFault {
    /// It is empty: jambonz sends no payload with GET, and some proxies drop it.
    #[error("the request has no body: set the hook's method to POST in jambonz")]
    Empty,
    /// It is not JSON.
    #[error("the body is not JSON (line {line}, column {column})")]
    NotJson {
        /// From 1.
        line: usize,
        /// From 1.
        column: usize,
    },
    /// It is JSON, but no object.
    #[error("the body is JSON but no object")]
    NotAnObject,
}

/// A webhook's payload.
#[derive(Clone)]
pub struct Webhook {
    payload: Map<String, Value>,
}

/// The data of a `tag` verb that tells who is calling.
pub type TagData = Map<String, Value>;

/// What a `call_hook` says.
#[derive(Debug, Clone)]
pub struct Announcement {
    /// The fact to be committed.
    pub fact: CallFact,
    /// What goes into the `tag` verb.
    pub tag_data: TagData,
}

impl Webhook {
    /// Reads a body.
    ///
    /// # Errors
    ///
    /// [`WebhookFault`] if it is not a JSON object.
    pub fn parse(body: &[u8]) -> Result<Self, WebhookFault> {
        if body.trim_ascii().is_empty() {
            return Err(WebhookFault::Empty);
        }
        match serde_json::from_slice(body) {
            Ok(Value::Object(payload)) => Ok(Self { payload }),
            Ok(_) => Err(WebhookFault::NotAnObject),
            Err(error) => Err(WebhookFault::NotJson { line: error.line(), column: error.column() }),
        }
    }

    /// The application that the call is for, if its GUID is there.
    #[must_use]
    pub fn application(&self) -> Option<ApplicationSid> {
        ApplicationSid::from_user_part(self.text("application_sid")?.trim())
    }

    /// Whether it names its application itself: by the header of the INVITE, or by the `tag` that brought it back.
    #[must_use]
    pub fn names_application(&self) -> bool {
        let is_name = |value: &str| ApplicationName::parse(X_APPLICATION_NAME, value).is_ok();
        let headers = self.invite_headers();
        headers.iter().any(|(name, value)| name.eq_ignore_ascii_case(X_APPLICATION_NAME) && is_name(value))
            || self.tagged_data().get(tag_keys::APPLICATION_NAME).and_then(text_of).is_some()
    }

    /// What a `call_hook` says. `known_name` is the application's name as jambonz' API knows it; the caller's own
    /// `X-Application-Name` wins.
    #[must_use]
    pub fn announcement(&self, at: UnixMillis, known_name: Option<&ApplicationName>) -> Announcement {
        let headers = self.invite_headers();
        let metadata = ReceivedMetadata::from_headers(headers.iter().map(|(name, value)| (name, value)));
        let claims = claims::in_headers(&headers);
        let header =
            |wanted: &str| headers.iter().find(|(n, _)| n.eq_ignore_ascii_case(wanted)).map(|(_, v)| v.as_str());

        let mut fact = self.fact(FactSource::CallHook, at);
        if fact.sip_call_id.is_none() {
            fact.sip_call_id = header("X-CID").map(str::trim).filter(|id| !id.is_empty()).map(str::to_owned);
        }
        let name = metadata.application.as_ref().or(known_name);
        let call_id = fact.sip_call_id.as_deref().or(fact.call_sid.as_deref()).unwrap_or_default();
        let tag = metadata.tag.clone().unwrap_or_else(|| CallTag::from_call_id(call_id));
        // A registered client of the account calls: its user name or extension says nothing to a person.
        let own_user = header("X-Authenticated-User").and_then(|user| user.split('@').next()).unwrap_or_default();
        let caller_name = self.text("caller_name").map(|name| unquoted(&name));
        let names = DisplayNames::incoming(&IncomingParties {
            own_users: &[own_user],
            tag: &tag,
            application: name,
            from: Party { display_name: caller_name.as_deref(), user: fact.from.as_deref() },
            to: Party { display_name: None, user: fact.to.as_deref() },
            x_display_from: metadata.display_from.as_deref(),
            x_display_to: metadata.display_to.as_deref(),
        });
        let is_own = |party: &Option<String>| !own_user.is_empty() && party.as_deref() == Some(own_user);
        fact.display_from = metadata.display_from.or_else(|| is_own(&fact.from).then(|| names.from.clone()));
        fact.display_to = metadata.display_to;
        fact.tag = metadata.tag.map(|tag| tag.as_str().to_owned());
        fact.application_name = name.map(|name| name.as_str().to_owned());
        fact.language = metadata.language.map(|language| language.as_str().to_owned());
        fact.customer_data = claims.customer_data;

        let mut tag_data = claims.as_it_came;
        tag_data.insert(tag_keys::TAG.to_owned(), json!(tag.as_str()));
        tag_data.insert(tag_keys::DISPLAY_FROM.to_owned(), json!(names.from));
        tag_data.insert(tag_keys::DISPLAY_TO.to_owned(), json!(names.to));
        let known = [(tag_keys::APPLICATION_NAME, &fact.application_name), (tag_keys::LANGUAGE, &fact.language)];
        for (key, value) in known {
            tag_data.shift_remove(key);
            if let Some(value) = value {
                tag_data.insert(key.to_owned(), json!(value));
            }
        }
        Announcement { fact, tag_data }
    }

    /// What a status event says. The data that a `tag` verb left with the call comes along in it.
    #[must_use]
    pub fn status_fact(&self, at: UnixMillis, known_name: Option<&ApplicationName>) -> CallFact {
        let mut fact = self.fact(FactSource::StatusHook, at);
        let mut tagged = self.tagged_data();
        let mut take = |key: &str| tagged.shift_remove(key).as_ref().and_then(text_of);
        // What was made up from the call itself says nothing new when it comes back: a telephone call stays a plain one.
        fact.tag = take(tag_keys::TAG).filter(|tag| !is_prefix_of_own_id(&fact, tag));
        fact.display_from = take(tag_keys::DISPLAY_FROM)
            .filter(|shown| !is_same_number(shown, fact.from.as_deref().unwrap_or_default()));
        fact.display_to = take(tag_keys::DISPLAY_TO);
        let tagged_name = take(tag_keys::APPLICATION_NAME);
        fact.language = take(tag_keys::LANGUAGE);
        fact.application_name = tagged_name.or_else(|| known_name.map(|name| name.as_str().to_owned()));
        let of_bye = || claims::in_headers(&headers_of(self.payload.get("headers")));
        let claims = if claims::is_customer_data(&tagged) { claims::in_object(tagged) } else { Claims::default() };
        fact.customer_data = claims.customer_data.or_else(|| {
            // Headers of a BYE are no metadata of the call unless they say who called.
            let of_bye = of_bye();
            of_bye.customer_data.filter(|_| claims::is_customer_data(&of_bye.as_it_came))
        });
        fact
    }

    /// What every webhook says alike.
    fn fact(&self, source: FactSource, at: UnixMillis) -> CallFact {
        CallFact {
            call_sid: self.text("call_sid"),
            parent_call_sid: self.text("parent_call_sid"),
            sip_call_id: self.text("sbc_callid"),
            status: self.text("call_status").and_then(|status| CallStatus::from_name(&status.to_ascii_lowercase())),
            direction: self.text("direction").and_then(|direction| match direction.to_ascii_lowercase().as_str() {
                "inbound" => Some(Direction::Inbound),
                "outbound" => Some(Direction::Outbound),
                _ => None,
            }),
            from: self.text("from"),
            to: self.text("to"),
            sip_status: self.number("sip_status").and_then(|status| u16::try_from(status).ok()).filter(is_sip_status),
            sip_reason: self.text("sip_reason"),
            duration_s: self.number("duration").and_then(|seconds| u32::try_from(seconds).ok()),
            terminated_by: self.text("call_termination_by"),
            application_sid: self.text("application_sid"),
            account_sid: self.text("account_sid"),
            trace_id: self.text("trace_id"),
            ..CallFact::new(source, at)
        }
    }

    /// The headers of the INVITE.
    fn invite_headers(&self) -> Vec<(String, String)> {
        headers_of(self.payload.get("sip").and_then(|sip| sip.get("headers")))
    }

    /// `customerData`, in any spelling.
    fn tagged_data(&self) -> Map<String, Value> {
        let is_it = |key: &str| {
            key.eq_ignore_ascii_case("customerData")
                || key.eq_ignore_ascii_case("customer_data")
                || key.eq_ignore_ascii_case("tag")
        };
        let found = self.payload.iter().filter(|(key, _)| is_it(key)).find_map(|(_, value)| value.as_object());
        found.cloned().unwrap_or_default()
    }

    fn text(&self, key: &str) -> Option<String> {
        self.payload.get(key).and_then(text_of)
    }

    fn number(&self, key: &str) -> Option<u64> {
        match self.payload.get(key)? {
            Value::Number(number) => {
                // Whole seconds, also where they come as 12.0 or 12.7.
                number.as_u64().or_else(|| number.as_f64().filter(|n| (0.0..1e9).contains(n)).map(|n| n as u64))
            }
            Value::String(text) => text.trim().parse().ok(),
            _ => None,
        }
    }
}

impl std::fmt::Debug for Webhook {
    /// Names of properties, never what they hold.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_set().entries(self.payload.keys().take(64)).finish()
    }
}

/// Whether `tag` is what any caller's tag is made of if none was given: the beginning of the call's identity.
fn is_prefix_of_own_id(fact: &CallFact, tag: &str) -> bool {
    let own = [&fact.sip_call_id, &fact.call_sid];
    own.into_iter().flatten().any(|id| CallTag::from_call_id(id).as_str() == tag)
}

/// Whether `shown` is no more than the telephone number `from`, however it is written.
fn is_same_number(shown: &str, from: &str) -> bool {
    let number = |text: &str| -> Option<String> {
        let is_of_number = |c: char| c.is_ascii_digit() || matches!(c, '+' | ' ' | '-' | '(' | ')' | '.' | '\u{a0}');
        let digits: String = text.chars().filter(char::is_ascii_digit).collect();
        (digits.len() >= MIN_NUMBER_DIGITS && text.chars().all(is_of_number)).then_some(digits)
    };
    number(shown).is_some_and(|shown| number(from) == Some(shown))
}

fn is_sip_status(status: &u16) -> bool {
    (100..700).contains(status)
}

fn text_of(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()).filter(|text| !text.is_empty()),
        Value::Number(number) => Some(number.to_string()),
        _ => None,
    }
}

/// jambonz shows the caller's name with the quotes that it has in the header.
fn unquoted(name: &str) -> String {
    let name = name.trim();
    name.strip_prefix('"').and_then(|name| name.strip_suffix('"')).unwrap_or(name).replace("\\\"", "\"")
}

/// Headers of a webhook. Names keep their case or have lost it, or stand in snake_case; the values of a repeated header are
/// joined with `,`, of which only the first can count where a value has no comma of its own.
fn headers_of(headers: Option<&Value>) -> Vec<(String, String)> {
    let Some(Value::Object(headers)) = headers else { return Vec::new() };
    let mut found = Vec::with_capacity(headers.len().min(MAX_HEADERS));
    for (name, value) in headers.iter().take(MAX_HEADERS) {
        let name = name.replace('_', "-");
        let values = match value {
            Value::Array(values) => values.iter().take(MAX_HEADERS).filter_map(text_of).collect(),
            value => Vec::from_iter(text_of(value)),
        };
        for mut value in values {
            if name.eq_ignore_ascii_case(X_CALL_TAG) || name.eq_ignore_ascii_case(X_LANG) {
                value.truncate(value.find(',').unwrap_or(value.len()));
            }
            found.push((name.clone(), value));
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    const AT: UnixMillis = UnixMillis::new(1_795_330_417_000);

    fn webhook(value: &Value) -> Webhook {
        Webhook::parse(value.to_string().as_bytes()).unwrap()
    }

    /// The bodies of the recorded requests, in order.
    fn recorded() -> Vec<&'static str> {
        let mut lines = include_str!("../../tests/fixtures/webhooks-raw.txt").lines();
        let mut bodies = Vec::new();
        while let Some(line) = lines.next() {
            if line.starts_with(">>> ") {
                let _headers = lines.next();
                bodies.extend(lines.next());
            }
        }
        bodies
    }

    #[test]
    fn the_recorded_call_hook_is_understood() {
        let hook = Webhook::parse(recorded()[0].as_bytes()).unwrap();
        let name = "hello world".parse().unwrap();
        let Announcement { fact, tag_data } = hook.announcement(AT, Some(&name));
        assert_eq!(fact.call_sid.as_deref(), Some("3c7b1d5e-0000-4000-8000-000000000001"));
        assert_eq!(fact.sip_call_id.as_deref(), Some("ws-call-1"));
        assert_eq!((fact.status, fact.direction), (Some(CallStatus::Trying), Some(Direction::Inbound)));
        assert_eq!((fact.from.as_deref(), fact.sip_status), (Some("alice"), Some(100)));
        assert_eq!(fact.application_sid.as_deref(), Some("7087fe50-8acb-4f3b-b820-97b573723aab"));
        assert_eq!(fact.application_name.as_deref(), Some("hello world"));
        assert_eq!(fact.display_from.as_deref(), Some("Jörg"));
        assert_eq!(fact.trace_id.as_deref(), Some("654c5323d6f907233a1069136b8a330e"));
        // It states no callType, and names the customer in fields of its own: kept, in both.
        let data = fact.customer_data.unwrap();
        assert_eq!((data.call_type.as_str(), data.extra["name"].as_str()), ("unknown", Some("Müller, Jörg 👋")));
        assert_eq!(
            Value::Object(tag_data),
            json!({
                "customerId": "42", "name": "Müller, Jörg 👋", "tag": "ws-call-", "displayFrom": "Jörg",
                "displayTo": "hello world", "applicationName": "hello world"
            })
        );
        assert_eq!(hook.application().unwrap().to_string(), "7087fe50-8acb-4f3b-b820-97b573723aab");
    }

    #[test]
    fn the_recorded_status_events_are_understood() {
        let bodies = recorded();
        let answered = Webhook::parse(bodies[1].as_bytes()).unwrap().status_fact(AT, None);
        assert_eq!((answered.status, answered.sip_status), (Some(CallStatus::InProgress), Some(200)));
        assert_eq!(answered.customer_data, None, "an application's own data is no customer data");
        let ended = Webhook::parse(bodies[2].as_bytes()).unwrap().status_fact(AT, None);
        assert_eq!((ended.status, ended.duration_s), (Some(CallStatus::Completed), Some(12)));
        assert_eq!(ended.terminated_by.as_deref(), Some("caller"));
        assert_eq!(ended.customer_data, None, "headers of a BYE that say nothing of a customer");
        assert_eq!(Webhook::parse(bodies[3].as_bytes()).unwrap_err(), WebhookFault::Empty);
        assert_eq!(bodies.len(), 8);
    }

    #[test]
    fn a_status_event_brings_back_what_the_tag_verb_took_along() {
        let hook = json!({"call_sid": "s1", "sbc_callid": "kqzmwbtr-1", "from": "170", "to": "app-0397dc5f-2f8f-4778-8499-0af934dd1196",
        "sip": {"headers": {
            "X-Customer-Data": r#"{"clientId":"user_12345","clientName":"Иван Иванов","callType":"webcall","tag":"mine"}"#,
            "X-Authenticated-User": "170@sip.example.com", "X-Application-Name": "voicebot", "X-Lang": "ru,ru"
        }}});
        let Announcement { fact, tag_data } = webhook(&hook).announcement(AT, Some(&"other".parse().unwrap()));
        assert_eq!(fact.display_from.as_deref(), Some("webcall:kqzmwbtr → voicebot"));
        assert_eq!(tag_data[tag_keys::TAG], "kqzmwbtr");
        assert_eq!(tag_data[tag_keys::DISPLAY_FROM], "webcall:kqzmwbtr → voicebot");
        for spelling in ["customerData", "customerdata", "customer_data"] {
            let status = webhook(&json!({"call_sid": "s1", "call_status": "in-progress", spelling: tag_data}));
            let told = status.status_fact(AT, None);
            assert_eq!(told.application_name.as_deref(), Some("voicebot"), "{spelling}");
            assert_eq!((told.tag.as_deref(), told.language.as_deref()), (Some("kqzmwbtr"), Some("ru")));
            assert_eq!(told.display_to.as_deref(), Some("voicebot"));
            let data = told.customer_data.unwrap();
            assert_eq!(data.client_name.as_deref(), Some("Иван Иванов"));
            assert_eq!(data.extra.len(), 0, "our own keys are no customer data");
        }
    }

    #[test]
    fn a_telephone_call_stays_one_when_its_tag_comes_back() {
        let call =
            |from: &str| json!({"call_sid": "s1", "sbc_callid": "kqzmwbtr-1", "from": from, "to": "+74951234567"});
        for from in ["+79161234567", "%2B79161234567", "84951234567"] {
            let Announcement { fact, tag_data } = webhook(&call(from)).announcement(AT, None);
            assert_eq!((fact.tag.as_deref(), fact.display_from.as_deref()), (None, None));
            let mut status = call(&from.replace("%2B", "+"));
            status["customerData"] = Value::Object(tag_data);
            let told = webhook(&status).status_fact(AT, None);
            assert_eq!((told.tag, told.display_from), (None, None), "{from}");
        }
        // A tag and a name that somebody gave are kept.
        let mut status = call("+79161234567");
        status["customerData"] = json!({"tag": "abcdefgh", "displayFrom": "+7 916 123-45-68"});
        let told = webhook(&status).status_fact(AT, None);
        assert_eq!((told.tag.as_deref(), told.display_from.as_deref()), (Some("abcdefgh"), Some("+7 916 123-45-68")));
    }

    #[test]
    fn wrong_types_and_unknown_words_are_left_out() {
        let odd = webhook(&json!({
            "call_sid": 7, "parent_call_sid": null, "sbc_callid": {"a": 1}, "call_status": "levitating",
            "direction": "sideways", "from": 170, "to": ["x"], "sip_status": "two hundred", "duration": "12",
            "sip": "INVITE", "customerData": "text", "headers": [1], "application_sid": "x", "caller_name": false
        }));
        let fact = odd.status_fact(AT, None);
        assert_eq!((fact.call_sid.as_deref(), fact.sip_call_id, fact.status), (Some("7"), None, None));
        assert_eq!((fact.from.as_deref(), fact.to, fact.direction), (Some("170"), None, None));
        assert_eq!((fact.sip_status, fact.duration_s, fact.customer_data), (None, Some(12), None));
        assert_eq!(odd.application(), None);
        let announced = odd.announcement(AT, None);
        assert_eq!(announced.fact.display_from, None);
        assert_eq!(announced.tag_data[tag_keys::DISPLAY_TO], "Unknown");
        for duration in [json!(12.9), json!(12)] {
            assert_eq!(webhook(&json!({"duration": duration})).status_fact(AT, None).duration_s, Some(12));
        }
        for nonsense in [json!(-3), json!(1e300), json!("12s"), json!(true)] {
            let odd = webhook(&json!({"duration": nonsense, "sip_status": nonsense}));
            assert_eq!(odd.status_fact(AT, None).duration_s, None, "{nonsense}");
        }
        assert_eq!(webhook(&json!({"sip_status": 42})).status_fact(AT, None).sip_status, None);
    }

    #[test]
    fn headers_of_a_bye_count_if_they_say_who_called() {
        let ended = |header: &str, value: &str| {
            webhook(&json!({"call_sid": "s", "call_status": "completed", "headers": {header: value}}))
                .status_fact(AT, None)
        };
        let data = r#"{"clientName":"Anna","callType":"webcall"}"#;
        assert_eq!(ended("x_customer_data", data).customer_data.unwrap().client_name.as_deref(), Some("Anna"));
        let hex: String = data.bytes().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(ended("user_to_user", &hex).customer_data.unwrap().call_type, "webcall");
        assert_eq!(ended("x_customer_data", r#"{"orderId":7}"#).customer_data, None);
    }

    #[test]
    fn repeated_headers_come_as_lists_too() {
        let hook = webhook(&json!({"call_sid": "s", "sip": {"headers": {
            "X-Call-Tag": "abcdefgh,abcdefgh", "X-Customer-Data": [7, "{", r#"{"callType":"mobile"}"#], "X-CID": "cid-1"
        }}}));
        let fact = hook.announcement(AT, None).fact;
        assert_eq!(fact.tag.as_deref(), Some("abcdefgh"));
        assert_eq!(fact.customer_data.unwrap().call_type, "mobile");
        assert_eq!(fact.sip_call_id.as_deref(), Some("cid-1"));
    }

    #[test]
    fn what_is_no_webhook_is_told_apart() {
        for (body, fault) in [
            ("", WebhookFault::Empty),
            (" \n", WebhookFault::Empty),
            ("[]", WebhookFault::NotAnObject),
            ("7", WebhookFault::NotAnObject),
            ("{\"a\":", WebhookFault::NotJson { line: 1, column: 5 }),
        ] {
            assert_eq!(Webhook::parse(body.as_bytes()).unwrap_err(), fault, "{body}");
        }
        let deep = "[".repeat(100_000);
        assert!(matches!(Webhook::parse(deep.as_bytes()), Err(WebhookFault::NotJson { .. })));
        assert!(Webhook::parse(b"{\"a\":\"\xff\"}").is_err());
        let shown = format!("{:?}", webhook(&json!({"from": "S3CRET"})));
        assert_eq!(shown, "{\"from\"}");
    }

    #[test]
    fn mutations_of_recorded_bodies_never_panic() {
        // A small generator of our own suffices: every byte of a recorded body is replaced or cut once.
        for body in recorded().iter().filter(|body| !body.is_empty()).take(3) {
            let bytes = body.as_bytes();
            for at in 0..bytes.len() {
                let mut mutated = bytes.to_vec();
                mutated[at] = b"\"{}[]0,\\\xff n"[at % 11];
                for candidate in [&mutated[..], &bytes[..at]] {
                    if let Ok(hook) = Webhook::parse(candidate) {
                        let _ = (hook.announcement(AT, None), hook.status_fact(AT, None));
                    }
                }
            }
        }
    }
}
