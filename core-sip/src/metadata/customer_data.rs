//! Who is calling and why.

use core::fmt;

use serde::de::{Deserialize, Deserializer, Error as _, MapAccess, Visitor};
use serde::ser::{Serialize, SerializeMap, Serializer};

use super::json::{
    Fault, Reader, StrictValue, kind, line_and_column, write_list, write_object, write_text, write_value,
};
use super::timestamp::is_rfc3339;
use crate::error::{CustomerDataProblem, Error, JsonType, Result};
use crate::escape::escaped;
use crate::json::{Map, Value};

const CLIENT_ID: &str = "clientId";
const CLIENT_NAME: &str = "clientName";
const CALL_TYPE: &str = "callType";
const SESSION_ID: &str = "sessionId";
const TIMESTAMP: &str = "timestamp";
const USER_AGENT: &str = "userAgent";
const LOCATION: &str = "location";
const CUSTOM_FIELDS: &str = "customFields";
const KNOWN: [&str; 8] =
    [CLIENT_ID, CLIENT_NAME, CALL_TYPE, SESSION_ID, TIMESTAMP, USER_AGENT, LOCATION, CUSTOM_FIELDS];

const COUNTRY: &str = "country";
const CITY: &str = "city";
const REGION: &str = "region";
const KNOWN_IN_LOCATION: [&str; 3] = [COUNTRY, CITY, REGION];

/// How many field names [`CustomerData`]'s `Debug` shows.
const MAX_DEBUG_FIELDS: usize = 32;

/// Who is calling and why. JSON in camelCase; only `callType` is required. Unknown keys are kept.
///
/// It comes from a browser and proves nothing: who acts on it must say that it trusts it.
///
/// JSON is read strictly ([`from_json`](Self::from_json)), and what was read is written back: the same keys in the
/// same order with the same values. Texts survive byte for byte. Numbers that fit 64-bit integers survive exactly;
/// numbers with a fraction or an exponent are doubles, as in JavaScript (RFC 8259 §6), and survive as the same double;
/// numbers that would lose digits as integers, or become infinite or zero, are refused: write them as texts.
///
/// `Debug` shows field names and sizes, never content. Equality does not look at the order of keys.
///
/// ```
/// use codex_core_sip::metadata::{CustomerData, Location};
///
/// let data = CustomerData::new("webcall")
///     .client_id("user_12345")
///     .client_name("Иван Иванов")
///     .location(Location::new().country("RU").city("Moscow"))
///     .custom_field("priority", "high");
/// data.validate()?;
/// assert_eq!(CustomerData::from_json("CUSTOMER_DATA", &data.to_json())?, data);
/// # Ok::<(), codex_core_sip::Error>(())
/// ```
#[derive(Clone, PartialEq, Default)]
pub struct CustomerData {
    /// `clientId`: the customer's id in your own system.
    pub client_id: Option<String>,
    /// `clientName`: the customer's name.
    pub client_name: Option<String>,
    /// `callType`: the kind of call, such as `webcall`, `mobile`, `desktop`. Not empty.
    pub call_type: String,
    /// `sessionId`: the visitor's session in your own system.
    pub session_id: Option<String>,
    /// `timestamp`: when the call was asked for, as RFC 3339 writes it, such as `2025-11-14T12:00:00Z`.
    pub timestamp: Option<String>,
    /// `userAgent`: the browser or device.
    pub user_agent: Option<String>,
    /// `location`: where the customer is.
    pub location: Option<Location>,
    /// `customFields`: whatever else you need.
    pub custom_fields: Option<Map<String, Value>>,
    /// Keys that are none of the above, kept as they came.
    pub extra: Map<String, Value>,
    order: KeyOrder,
}

/// Where a customer is. Unknown keys are kept.
#[derive(Clone, PartialEq, Default)]
pub struct Location {
    /// `country`, such as `RU`.
    pub country: Option<String>,
    /// `city`.
    pub city: Option<String>,
    /// `region`.
    pub region: Option<String>,
    /// Keys that are none of the above, kept as they came.
    pub extra: Map<String, Value>,
    order: KeyOrder,
}

/// The order in which keys came: a known key, or `None` for the next of the unknown ones, which keep their own order.
#[derive(Clone, Default)]
struct KeyOrder(Vec<Option<&'static str>>);

impl PartialEq for KeyOrder {
    /// Always true: an object's members have no order that matters (RFC 8259 §1).
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

/// A member's value, borrowed.
#[derive(Clone, Copy)]
enum Member<'a> {
    Text(&'a str),
    Location(&'a Location),
    Object(&'a Map<String, Value>),
    Any(&'a Value),
}

impl Serialize for Member<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Text(text) => serializer.serialize_str(text),
            Self::Location(location) => location.serialize(serializer),
            Self::Object(object) => object.serialize(serializer),
            Self::Any(value) => value.serialize(serializer),
        }
    }
}

type Members<'a> = Vec<(&'a str, Member<'a>)>;

impl KeyOrder {
    /// The members in the order in which they came; new ones follow, known before unknown.
    fn arrange<'a>(&self, mut known: Members<'a>, extra: &'a Map<String, Value>, names: &[&str]) -> Members<'a> {
        let mut extra =
            extra.iter().filter(|(key, _)| !names.contains(&key.as_str())).map(|(k, v)| (k.as_str(), Member::Any(v)));
        let mut members = Vec::new();
        for slot in &self.0 {
            match slot {
                Some(name) => {
                    if let Some(index) = known.iter().position(|(key, _)| key == name) {
                        members.push(known.remove(index));
                    }
                }
                None => members.extend(extra.next()),
            }
        }
        members.extend(known);
        members.extend(extra);
        members
    }

    fn push(&mut self, key: &str, names: &[&'static str]) {
        self.0.push(names.iter().find(|name| **name == key).copied());
    }
}

fn write_member(json: &mut String, member: Member<'_>) {
    match member {
        Member::Text(text) => write_text(json, text),
        Member::Location(location) => write_members(json, &location.members()),
        Member::Object(object) => write_object(json, object),
        Member::Any(value) => write_value(json, value),
    }
}

fn write_members(json: &mut String, members: &Members<'_>) {
    write_list(json, ['{', '}'], members.iter(), |json, (key, member)| {
        write_text(json, key);
        json.push(':');
        write_member(json, *member);
    });
}

fn serialize_members<S: Serializer>(members: &Members<'_>, serializer: S) -> Result<S::Ok, S::Error> {
    let mut map = serializer.serialize_map(Some(members.len()))?;
    for (key, value) in members {
        map.serialize_entry(key, value)?;
    }
    map.end()
}

fn text_member<'a>(name: &'static str, text: &'a Option<String>) -> Option<(&'a str, Member<'a>)> {
    text.as_deref().map(|text| (name, Member::Text(text)))
}

/// What is wrong with a field: its path below the object, and the problem.
struct FieldFault {
    field: String,
    problem: CustomerDataProblem,
}

impl FieldFault {
    fn new(field: &str, problem: CustomerDataProblem) -> Self {
        Self { field: field.to_owned(), problem }
    }

    fn wrong_type(field: &str, value: &Value, wanted: JsonType) -> Self {
        Self::new(field, CustomerDataProblem::WrongType { found: kind(value), wanted })
    }
}

fn text(field: &str, value: Value) -> Result<String, FieldFault> {
    match value {
        Value::String(text) => Ok(text),
        other => Err(FieldFault::wrong_type(field, &other, JsonType::Text)),
    }
}

fn object(field: &str, value: Value) -> Result<Map<String, Value>, FieldFault> {
    match value {
        Value::Object(map) => Ok(map),
        other => Err(FieldFault::wrong_type(field, &other, JsonType::Object)),
    }
}

impl CustomerData {
    /// Data of nothing but the kind of call, such as `webcall`.
    #[must_use]
    pub fn new(call_type: impl Into<String>) -> Self {
        Self { call_type: call_type.into(), ..Self::default() }
    }

    /// Sets `clientId`.
    #[must_use]
    pub fn client_id(mut self, id: impl Into<String>) -> Self {
        self.client_id = Some(id.into());
        self
    }

    /// Sets `clientName`.
    #[must_use]
    pub fn client_name(mut self, name: impl Into<String>) -> Self {
        self.client_name = Some(name.into());
        self
    }

    /// Sets `sessionId`.
    #[must_use]
    pub fn session_id(mut self, id: impl Into<String>) -> Self {
        self.session_id = Some(id.into());
        self
    }

    /// Sets `timestamp`, as RFC 3339 writes it: `2025-11-14T12:00:00Z`.
    #[must_use]
    pub fn timestamp(mut self, timestamp: impl Into<String>) -> Self {
        self.timestamp = Some(timestamp.into());
        self
    }

    /// Sets `userAgent`.
    #[must_use]
    pub fn user_agent(mut self, user_agent: impl Into<String>) -> Self {
        self.user_agent = Some(user_agent.into());
        self
    }

    /// Sets `location`.
    #[must_use]
    pub fn location(mut self, location: Location) -> Self {
        self.location = Some(location);
        self
    }

    /// Adds a field to `customFields`, or replaces it.
    #[must_use]
    pub fn custom_field(mut self, key: impl Into<String>, value: impl Into<Value>) -> Self {
        self.custom_fields.get_or_insert_default().insert(key.into(), value.into());
        self
    }

    /// Adds a key of your own at the top level, or replaces it. The known keys have their own methods.
    #[must_use]
    pub fn extra(mut self, key: impl Into<String>, value: impl Into<Value>) -> Self {
        self.extra.insert(key.into(), value.into());
        self
    }

    /// Reads JSON. `key` is the setting or header that it comes from; errors name it.
    ///
    /// # Errors
    ///
    /// [`Error::CustomerData`] with line, column and field if the text is not JSON, holds a key twice, lies more than
    /// 64 levels deep, lacks `callType`, or if a known field has another type than it should, `callType` is empty,
    /// `timestamp` is not RFC 3339, or a number cannot be kept.
    pub fn from_json(key: &str, text: &str) -> Result<Self> {
        Self::read(text).map_err(|fault| {
            let (line, column) = line_and_column(text, fault.at);
            Error::CustomerData { key: key.to_owned(), line, column, field: fault.field, problem: fault.problem }
        })
    }

    fn read(text: &str) -> Result<Self, Fault> {
        let mut reader = Reader::new(text);
        if reader.peek().is_none() {
            return Err(reader.fault(reader.position(), CustomerDataProblem::Nothing));
        }
        let start = reader.position();
        let mut data = Self::default();
        let mut has_call_type = false;
        reader.members(&mut |reader, key| {
            let at = reader.position();
            has_call_type |= key == CALL_TYPE;
            if key == LOCATION && reader.peek() == Some(b'{') {
                let mut location = Location::default();
                reader.members(&mut |reader, key| {
                    let at = reader.position();
                    let value = reader.value()?;
                    location.set(key, value).map_err(|fault| reader.fault(at, fault.problem))
                })?;
                data.order.push(LOCATION, &KNOWN);
                data.location = Some(location);
                return Ok(());
            }
            let value = reader.value()?;
            data.set(key, value).map_err(|fault| reader.fault(at, fault.problem))
        })?;
        reader.end()?;
        if !has_call_type {
            return Err(reader.fault_below(start, CALL_TYPE, CustomerDataProblem::NoCallType));
        }
        Ok(data)
    }

    /// Sets the member `key`, whose type is checked.
    fn set(&mut self, key: String, value: Value) -> Result<(), FieldFault> {
        self.order.push(&key, &KNOWN);
        match key.as_str() {
            CLIENT_ID => self.client_id = Some(text(CLIENT_ID, value)?),
            CLIENT_NAME => self.client_name = Some(text(CLIENT_NAME, value)?),
            CALL_TYPE => {
                self.call_type = text(CALL_TYPE, value)?;
                if self.call_type.trim().is_empty() {
                    return Err(FieldFault::new(CALL_TYPE, CustomerDataProblem::EmptyCallType));
                }
            }
            SESSION_ID => self.session_id = Some(text(SESSION_ID, value)?),
            TIMESTAMP => {
                let timestamp = text(TIMESTAMP, value)?;
                if !is_rfc3339(&timestamp) {
                    return Err(FieldFault::new(TIMESTAMP, CustomerDataProblem::WrongTimestamp));
                }
                self.timestamp = Some(timestamp);
            }
            USER_AGENT => self.user_agent = Some(text(USER_AGENT, value)?),
            LOCATION => {
                let mut location = Location::default();
                for (key, value) in object(LOCATION, value)? {
                    location
                        .set(key, value)
                        .map_err(|fault| FieldFault::new(&format!("{LOCATION}.{}", fault.field), fault.problem))?;
                }
                self.location = Some(location);
            }
            CUSTOM_FIELDS => self.custom_fields = Some(object(CUSTOM_FIELDS, value)?),
            _ => {
                self.extra.insert(key, value);
            }
        }
        Ok(())
    }

    /// Checks data that was put together in Rust as strictly as JSON is read.
    ///
    /// # Errors
    ///
    /// [`Error::CustomerData`] for the key `customerData`; line and column are those of [`to_json`](Self::to_json).
    pub fn validate(&self) -> Result<()> {
        let known_twice = self.extra.keys().find(|key| KNOWN.contains(&key.as_str())).cloned().or_else(|| {
            let location = self.location.as_ref()?;
            let key = location.extra.keys().find(|key| KNOWN_IN_LOCATION.contains(&key.as_str()))?;
            Some(format!("{LOCATION}.{key}"))
        });
        if let Some(field) = known_twice {
            return Err(Error::CustomerData {
                key: "customerData".to_owned(),
                line: 1,
                column: 1,
                problem: CustomerDataProblem::KnownFieldAmongExtra,
                field: Some(field),
            });
        }
        Self::from_json("customerData", &self.to_json()).map(drop)
    }

    /// Compact JSON in raw UTF-8. Control characters (0x7f too, which JSON would allow) are escaped, so that it is a
    /// header value as it is.
    #[must_use]
    pub fn to_json(&self) -> String {
        let mut json = String::new();
        write_members(&mut json, &self.members());
        // 0x7f can only stand inside a text, where its escape means the same.
        if json.contains('\u{7f}') { json.replace('\u{7f}', "\\u007f") } else { json }
    }

    /// What a log may say of it: field names and sizes.
    pub(crate) fn shape(&self) -> String {
        shape("CustomerData", &self.members())
    }

    fn members(&self) -> Members<'_> {
        let known = [
            text_member(CLIENT_ID, &self.client_id),
            text_member(CLIENT_NAME, &self.client_name),
            Some((CALL_TYPE, Member::Text(&self.call_type))),
            text_member(SESSION_ID, &self.session_id),
            text_member(TIMESTAMP, &self.timestamp),
            text_member(USER_AGENT, &self.user_agent),
            self.location.as_ref().map(|location| (LOCATION, Member::Location(location))),
            self.custom_fields.as_ref().map(|fields| (CUSTOM_FIELDS, Member::Object(fields))),
        ];
        self.order.arrange(known.into_iter().flatten().collect(), &self.extra, &KNOWN)
    }
}

impl Location {
    /// An empty location.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets `country`.
    #[must_use]
    pub fn country(mut self, country: impl Into<String>) -> Self {
        self.country = Some(country.into());
        self
    }

    /// Sets `city`.
    #[must_use]
    pub fn city(mut self, city: impl Into<String>) -> Self {
        self.city = Some(city.into());
        self
    }

    /// Sets `region`.
    #[must_use]
    pub fn region(mut self, region: impl Into<String>) -> Self {
        self.region = Some(region.into());
        self
    }

    /// Adds a key of your own, or replaces it.
    #[must_use]
    pub fn extra(mut self, key: impl Into<String>, value: impl Into<Value>) -> Self {
        self.extra.insert(key.into(), value.into());
        self
    }

    fn set(&mut self, key: String, value: Value) -> Result<(), FieldFault> {
        self.order.push(&key, &KNOWN_IN_LOCATION);
        match key.as_str() {
            COUNTRY => self.country = Some(text(COUNTRY, value)?),
            CITY => self.city = Some(text(CITY, value)?),
            REGION => self.region = Some(text(REGION, value)?),
            _ => {
                self.extra.insert(key, value);
            }
        }
        Ok(())
    }

    fn members(&self) -> Members<'_> {
        let known =
            [text_member(COUNTRY, &self.country), text_member(CITY, &self.city), text_member(REGION, &self.region)];
        self.order.arrange(known.into_iter().flatten().collect(), &self.extra, &KNOWN_IN_LOCATION)
    }
}

impl Serialize for CustomerData {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serialize_members(&self.members(), serializer)
    }
}

impl Serialize for Location {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serialize_members(&self.members(), serializer)
    }
}

/// As strict as [`CustomerData::from_json`], but for numbers, which are as the deserializer hands them over.
impl<'de> Deserialize<'de> for CustomerData {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Fields;

        impl<'de> Visitor<'de> for Fields {
            type Value = CustomerData;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("customer data, an object with callType")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut access: A) -> Result<CustomerData, A::Error> {
                let mut data = CustomerData::default();
                let mut seen = std::collections::HashSet::new();
                while let Some(key) = access.next_key::<String>()? {
                    let value = access.next_value_seed(StrictValue { depth: 1 })?;
                    if !seen.insert(key.clone()) {
                        return Err(A::Error::custom("a key is there twice"));
                    }
                    data.set(key, value)
                        .map_err(|fault| A::Error::custom(format!("field `{}`: {}", fault.field, fault.problem)))?;
                }
                if !seen.contains(CALL_TYPE) {
                    return Err(A::Error::custom(CustomerDataProblem::NoCallType));
                }
                Ok(data)
            }
        }

        deserializer.deserialize_map(Fields)
    }
}

/// Field names and sizes.
fn shape(name: &str, members: &Members<'_>) -> String {
    let mut shape = format!("{name} {{");
    for (index, (key, member)) in members.iter().take(MAX_DEBUG_FIELDS).enumerate() {
        shape.push_str(if index == 0 { " " } else { ", " });
        shape.push_str(&escaped(key, 64));
        let size_bytes = match member {
            Member::Text(text) => text.len(),
            Member::Any(Value::String(text)) => text.len(),
            other => {
                let mut json = String::new();
                write_member(&mut json, *other);
                json.len()
            }
        };
        shape.push_str(&format!(": {size_bytes} bytes"));
    }
    if members.len() > MAX_DEBUG_FIELDS {
        shape.push_str(&format!(", and {} more", members.len() - MAX_DEBUG_FIELDS));
    }
    shape + if members.is_empty() { "}" } else { " }" }
}

impl fmt::Debug for CustomerData {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.shape())
    }
}

impl fmt::Debug for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&shape("Location", &self.members()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GUIDE: &str = r#"{"clientId":"user_12345","clientName":"Иван Иванов","callType":"webcall","sessionId":"session_abc123","timestamp":"2025-11-14T12:00:00Z","userAgent":"Chrome/120.0.0.0","location":{"country":"RU","city":"Moscow"}}"#;

    fn error(text: &str) -> (usize, usize, Option<String>, String) {
        match CustomerData::from_json("CUSTOMER_DATA", text).unwrap_err() {
            Error::CustomerData { key, line, column, field, problem } => {
                assert_eq!(key, "CUSTOMER_DATA");
                (line, column, field, problem.to_string())
            }
            other => panic!("{other}"),
        }
    }

    #[test]
    fn the_older_guides_example_is_read_and_written_as_it_is() {
        let data = CustomerData::from_json("CUSTOMER_DATA", GUIDE).unwrap();
        let built = CustomerData::new("webcall")
            .client_id("user_12345")
            .client_name("Иван Иванов")
            .session_id("session_abc123")
            .timestamp("2025-11-14T12:00:00Z")
            .user_agent("Chrome/120.0.0.0")
            .location(Location::new().country("RU").city("Moscow"));
        assert_eq!(data, built);
        assert_eq!(data.to_json(), GUIDE);
        assert_eq!(built.to_json(), GUIDE);
        assert_eq!(built.validate(), Ok(()));
    }

    #[test]
    fn unknown_keys_and_the_order_of_keys_are_kept() {
        let text = r#"{"zeta":[1,{"b":null,"a":2}],"location":{"zip":"101000","city":"Москва","lat":55.75,"country":"RU"},"callType":"w","alpha":true,"customFields":{"z":1,"a":{}},"clientId":""}"#;
        let data = CustomerData::from_json("k", text).unwrap();
        assert_eq!(data.to_json(), text);
        assert_eq!(data.extra["alpha"], Value::Bool(true));
        assert_eq!(data.location.as_ref().unwrap().extra["zip"], "101000");
        let changed = data.client_name("Ж").extra("omega", 1).custom_field("n", "m");
        assert_eq!(
            changed.to_json(),
            text.replace("\"a\":{}}", "\"a\":{},\"n\":\"m\"}")
                .replace("\"\"}", "\"\",\"clientName\":\"Ж\",\"omega\":1}")
        );
        assert_eq!(serde_json::from_str::<CustomerData>(text).unwrap().to_json(), text);
    }

    #[test]
    fn a_fault_is_told_with_line_column_and_field() {
        let cases: [(&str, usize, usize, Option<&str>, &str); 20] = [
            ("", 1, 1, None, "there is nothing"),
            (" \n ", 2, 2, None, "there is nothing"),
            ("[]", 1, 1, None, "an object"),
            ("'{\"callType\":\"w\"}'", 1, 1, None, "double quotes"),
            ("{}", 1, 1, Some("callType"), "required"),
            ("{\"clientId\":\"u\"}", 1, 1, Some("callType"), "required"),
            ("{\"callType\":\"\"}", 1, 13, Some("callType"), "empty"),
            ("{\"callType\":\" \"}", 1, 13, Some("callType"), "empty"),
            ("{\"callType\":null}", 1, 13, Some("callType"), "null"),
            ("{\"callType\":7}", 1, 13, Some("callType"), "a number"),
            ("{\n  \"callType\": \"w\",\n  \"clientName\": [\"Иван\"]\n}", 3, 17, Some("clientName"), "an array"),
            ("{\"callType\":\"w\",\"clientId\":null}", 1, 28, Some("clientId"), "leave the field out"),
            ("{\"callType\":\"w\",\"timestamp\":1763121600}", 1, 29, Some("timestamp"), "a number"),
            ("{\"callType\":\"w\",\"timestamp\":\"14.11.2025\"}", 1, 29, Some("timestamp"), "RFC 3339"),
            ("{\"callType\":\"w\",\"location\":\"RU\"}", 1, 28, Some("location"), "an object"),
            (
                "{\"callType\":\"w\",\"location\":{\"city\":\"Ж\",\n\"region\":5}}",
                2,
                10,
                Some("location.region"),
                "a number",
            ),
            ("{\"callType\":\"w\",\"customFields\":[]}", 1, 32, Some("customFields"), "an array"),
            (
                "{\"callType\":\"w\",\"customFields\":{\"a\":{\"id\":12345678901234567890123}}}",
                1,
                43,
                Some("customFields.a.id"),
                "text in double quotes",
            ),
            ("{\"callType\":\"w\",\"callType\":\"v\"}", 1, 17, Some("callType"), "twice"),
            ("{\"callType\":\"w\"} x", 1, 18, None, "the end"),
        ];
        for (text, line, column, field, words) in cases {
            let (found_line, found_column, found_field, problem) = error(text);
            assert_eq!((found_line, found_column, found_field.as_deref()), (line, column, field), "{text}: {problem}");
            assert!(problem.contains(words), "{text}: {problem}");
        }
    }

    #[test]
    fn numbers_survive_or_are_refused() {
        for (number, written) in [
            ("18446744073709551615", "18446744073709551615"),
            ("-9223372036854775808", "-9223372036854775808"),
            ("9007199254740993", "9007199254740993"),
            ("0.1", "0.1"),
            ("55.75396188236549", "55.75396188236549"),
            ("5e-324", "5e-324"),
            ("1e2", "100.0"),
        ] {
            let data = CustomerData::from_json("k", &format!(r#"{{"callType":"w","n":{number}}}"#)).unwrap();
            let json = data.to_json();
            assert_eq!(json, format!(r#"{{"callType":"w","n":{written}}}"#));
            assert_eq!(CustomerData::from_json("k", &json).unwrap().to_json(), json);
        }
        for number in ["1e400", "-1e400", "18446744073709551616", "-9223372036854775809", "1e-400"] {
            let (_, column, field, problem) = error(&format!(r#"{{"callType":"w","n":{number}}}"#));
            assert_eq!((column, field.as_deref()), (21, Some("n")), "{number}");
            assert!(problem.contains("as a text"), "{problem}");
        }
    }

    #[test]
    fn the_json_is_a_header_value_as_it_is() {
        let every_control: String = (0..=0x9f).filter_map(char::from_u32).collect();
        let data = CustomerData::new("w").client_name(&every_control).extra(&every_control, " \u{2028}👋");
        let json = data.to_json();
        assert_eq!(crate::header_field::HeaderValue::new("X-Customer-Data", json.clone()).unwrap().as_str(), json);
        assert!(json.contains("\\u0000") && json.contains("\\f\\r") && json.contains("\\u007f"), "{json}");
        assert_eq!(CustomerData::from_json("k", &json).unwrap(), data);
    }

    #[test]
    fn debug_shows_names_and_sizes_only() {
        let data =
            CustomerData::from_json("k", GUIDE).unwrap().custom_field("secret", "geheim").extra("a\r\nb", "geheim");
        let shown = format!("{data:?} {:?}", data.location);
        assert_eq!(
            shown,
            "CustomerData { clientId: 10 bytes, clientName: 21 bytes, callType: 7 bytes, sessionId: 14 bytes, timestamp: 20 bytes, \
             userAgent: 16 bytes, location: 32 bytes, customFields: 19 bytes, a\\r\\nb: 6 bytes } Some(Location { country: 2 bytes, city: 6 bytes })"
        );
        let many = (0..100).fold(CustomerData::new("w"), |data, i| data.extra(format!("k{i}"), i));
        assert!(format!("{many:?}").ends_with("k30: 2 bytes, and 69 more }"), "{many:?}");
    }

    #[test]
    fn errors_do_not_give_content_away() {
        for text in [
            r#"{"callType":"w","timestamp":"geheim"}"#,
            r#"{"callType":["geheim"]}"#,
            r#"{"callType":"geheim"#,
            r#"{"callType":"geheim\x"}"#,
            r#"{"callType":geheim}"#,
            r#"{"callType":"w" geheim}"#,
        ] {
            let error = CustomerData::from_json("k", text).unwrap_err();
            assert!(!format!("{error} {error:?}").contains("geheim"), "{error}");
        }
    }

    #[test]
    fn what_was_put_together_in_rust_is_checked_as_strictly() {
        for (data, field) in [
            (CustomerData::default(), "callType"),
            (CustomerData::new("w").timestamp("now"), "timestamp"),
            (CustomerData::new("w").extra("clientId", "u"), "clientId"),
            (CustomerData::new("w").location(Location::new().extra("city", "x")), "location.city"),
        ] {
            let error = data.validate().unwrap_err();
            assert!(
                matches!(&error, Error::CustomerData { key, field: Some(f), .. } if key == "customerData" && f == field),
                "{error}"
            );
        }
        let deep = (0..200).fold(Value::Null, |inner, _| Value::Array(vec![inner]));
        assert!(CustomerData::new("w").extra("deep", deep).validate().unwrap_err().to_string().contains("64 deep"));
    }

    #[test]
    fn other_formats_are_read_as_strictly() {
        for (text, words) in [
            (r#"{"callType":"w","callType":"w"}"#, "twice"),
            (r#"{"callType":"w","x":{"a":1,"a":2}}"#, "twice"),
            (r#"{"callType":"w","location":{"a":1,"a":2}}"#, "twice"),
            (r#"{"callType":""}"#, "callType"),
            (r#"{"clientId":"u"}"#, "callType"),
            (r#"{"callType":"w","location":{"city":1}}"#, "location.city"),
            (r#"{"callType":"w","timestamp":"x"}"#, "RFC 3339"),
            ("[]", "customer data"),
        ] {
            let error = serde_json::from_str::<CustomerData>(text).unwrap_err().to_string();
            assert!(error.contains(words), "{text}: {error}");
        }
        let deep = format!(r#"{{"callType":"w","x":{}{}}}"#, "[".repeat(64), "]".repeat(64));
        assert!(serde_json::from_str::<CustomerData>(&deep).unwrap_err().to_string().contains("64 deep"));
        assert!(CustomerData::from_json("k", &deep).is_err());
        let allowed = deep.replacen('[', "", 1).replacen(']', "", 1);
        assert_eq!(
            serde_json::from_str::<CustomerData>(&allowed).unwrap(),
            CustomerData::from_json("k", &allowed).unwrap()
        );
    }
}
