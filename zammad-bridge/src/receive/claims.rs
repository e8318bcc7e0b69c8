//! What a call's metadata says, read so that nothing a caller or an application sends can lose the call.
//!
//! Customer data is read strictly first. Where that fails, what can be understood of it is kept: a caller with a field of
//! the wrong type is better shown without that field than without a name.

use codex_core_sip::metadata::{CustomerData, Location, USER_TO_USER, UserToUserEncoding, X_CUSTOMER_DATA};
use serde_json::value::RawValue;
use serde_json::{Map, Value};

/// How large customer data may be to be kept, in bytes of JSON. What SIP lets through is far smaller.
pub const MAX_CUSTOMER_DATA_BYTES: usize = 32 * 1024;

/// The `callType` of customer data that states none.
pub const UNSTATED_CALL_TYPE: &str = "unknown";

const TEXTS: [&str; 6] = ["clientId", "clientName", "callType", "sessionId", "timestamp", "userAgent"];
const LOCATION: &str = "location";
const CUSTOM_FIELDS: &str = "customFields";

/// Customer data as it came, and as far as it is understood.
#[derive(Debug, Clone, PartialEq, Default)]
pub(super) struct Claims {
    /// The JSON object as it came, for the `tag` verb.
    pub(super) as_it_came: Map<String, Value>,
    /// What is understood of it.
    pub(super) customer_data: Option<CustomerData>,
}

/// The claims in the headers of an INVITE: the first `X-Customer-Data` that is right, else the first `User-to-User` that
/// is, else the first of either that is an object at all.
pub(super) fn in_headers(headers: &[(String, String)]) -> Claims {
    let values = |header: &'static str| {
        headers.iter().filter(move |(name, _)| name.eq_ignore_ascii_case(header)).map(|(_, value)| value.as_str())
    };
    let texts = || {
        let direct = values(X_CUSTOMER_DATA).flat_map(joined_objects);
        let decoded = values(USER_TO_USER).filter_map(|value| {
            let content = UserToUserEncoding::decode(value).ok()?;
            String::from_utf8(content).ok()
        });
        direct.chain(decoded).filter(|text| text.len() <= MAX_CUSTOMER_DATA_BYTES)
    };
    for text in texts() {
        if let Ok(data) = CustomerData::from_json(X_CUSTOMER_DATA, &text)
            && let Ok(Value::Object(as_it_came)) = serde_json::from_str(&text)
        {
            return Claims { as_it_came, customer_data: Some(data) };
        }
    }
    let mut objects = texts().filter_map(|text| serde_json::from_str::<Map<String, Value>>(&text).ok());
    objects.find(|object| !object.is_empty()).map(in_object).unwrap_or_default()
}

/// The claims in an object that is meant to be customer data.
pub(super) fn in_object(object: Map<String, Value>) -> Claims {
    Claims { customer_data: understood(&object), as_it_came: object }
}

/// Whether an object is customer data, and not data of an application's own: it has one of the fields that say who is
/// calling.
pub(super) fn is_customer_data(object: &Map<String, Value>) -> bool {
    TEXTS.iter().any(|key| object.get(*key).is_some_and(|value| text_of(value).is_some()))
}

/// jambonz joins the values of a repeated header with `,`: the objects in `value`, or `value` itself if it is none.
fn joined_objects(value: &str) -> Vec<String> {
    let value = value.trim();
    if value.len() > 2 * MAX_CUSTOMER_DATA_BYTES {
        return Vec::new();
    }
    if serde_json::from_str::<&RawValue>(value).is_ok() {
        return vec![value.to_owned()];
    }
    match serde_json::from_str::<Vec<&RawValue>>(&format!("[{value}]")) {
        Ok(joined) => joined.into_iter().map(|object| object.get().to_owned()).collect(),
        Err(_) => vec![value.to_owned()],
    }
}

/// What can be understood of `object`: fields of the right type, numbers and booleans in place of texts, and what is
/// neither left out.
fn understood(object: &Map<String, Value>) -> Option<CustomerData> {
    let whole = Value::Object(object.clone());
    if whole.to_string().len() > MAX_CUSTOMER_DATA_BYTES {
        return None;
    }
    if let Ok(data) = serde_json::from_value(whole) {
        return Some(data);
    }
    let text = |key: &str| object.get(key).and_then(text_of);
    let mut data = CustomerData::new(text("callType").unwrap_or_else(|| UNSTATED_CALL_TYPE.to_owned()));
    data.client_id = text("clientId");
    data.client_name = text("clientName");
    data.session_id = text("sessionId");
    data.timestamp = text("timestamp");
    data.user_agent = text("userAgent");
    data.location = object.get(LOCATION).and_then(Value::as_object).map(|location| {
        let part = |key: &str| location.get(key).and_then(text_of);
        let mut found = Location::new();
        (found.country, found.city, found.region) = (part("country"), part("city"), part("region"));
        found
    });
    data.custom_fields = object.get(CUSTOM_FIELDS).and_then(Value::as_object).cloned();
    let is_known = |key: &str| TEXTS.contains(&key) || key == LOCATION || key == CUSTOM_FIELDS;
    for (key, value) in object.iter().filter(|(key, _)| !is_known(key)) {
        data = data.extra(key.clone(), value.clone());
    }
    if data.validate().is_err() {
        // The one field of which the form is checked, and the two that can be nested too deep.
        data.timestamp = None;
        if data.validate().is_err() {
            data.custom_fields = None;
            data.extra.clear();
        }
    }
    data.validate().is_ok().then_some(data)
}

/// A text, or what can stand for one; `None` if nothing is left of it.
fn text_of(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.trim()).filter(|text| !text.is_empty()).map(str::to_owned),
        Value::Number(number) => Some(number.to_string()),
        Value::Bool(flag) => Some(flag.to_string()),
        Value::Null | Value::Array(_) | Value::Object(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn claims(headers: &[(&str, &str)]) -> Claims {
        let owned: Vec<_> = headers.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        in_headers(&owned)
    }

    fn name(claims: &Claims) -> Option<&str> {
        claims.customer_data.as_ref()?.client_name.as_deref()
    }

    #[test]
    fn headers_are_read_whatever_their_case_and_form() {
        let right = r#"{"clientName":"Иван","callType":"webcall","x":1}"#;
        let other = r#"{"clientName":"Anna","callType":"webcall"}"#;
        let hex = UserToUserEncoding::Hex.encode(right.as_bytes()).unwrap();
        let base64 = UserToUserEncoding::Base64.encode(right.as_bytes()).unwrap();
        let joined = format!("{right},{other}");
        let wrong_first = format!(r#"{{"clientName":7}},{right}"#);
        for (what, headers, expected) in [
            ("as it is", vec![("X-Customer-Data", right)], Some("Иван")),
            ("in lower case", vec![("x-customer-data", right)], Some("Иван")),
            ("joined", vec![("X-Customer-Data", joined.as_str())], Some("Иван")),
            ("joined, the first wrong", vec![("X-Customer-Data", wrong_first.as_str())], Some("Иван")),
            ("hex", vec![("user-to-user", hex.as_str())], Some("Иван")),
            ("base64", vec![("User-To-User", base64.as_str())], Some("Иван")),
            ("X-Customer-Data wins", vec![("user-to-user", hex.as_str()), ("X-Customer-Data", other)], Some("Anna")),
            ("unless it is wrong", vec![("X-Customer-Data", "{oops"), ("user-to-user", hex.as_str())], Some("Иван")),
            ("nothing", vec![("X-Other", right)], None),
            ("no object", vec![("X-Customer-Data", "[1,2]"), ("user-to-user", "00")], None),
        ] {
            assert_eq!(name(&claims(&headers)), expected, "{what}");
        }
        assert_eq!(claims(&[("X-Customer-Data", right)]).as_it_came["x"], 1);
    }

    #[test]
    fn what_can_be_understood_is_kept() {
        let found = claims(&[(
            "X-Customer-Data",
            r#"{"clientId":42,"clientName":["no"],"timestamp":"yesterday","location":{"city":"Омск","country":7},"customFields":{"a":[1]},"orderId":7}"#,
        )]);
        let data = found.customer_data.unwrap();
        assert_eq!(
            serde_json::to_value(&data).unwrap(),
            json!({"clientId":"42","callType":"unknown","location":{"country":"7","city":"Омск"},"customFields":{"a":[1]},"orderId":7})
        );
        // It can be kept and read again.
        assert_eq!(CustomerData::from_json("", &data.to_json()).unwrap(), data);
        assert_eq!(found.as_it_came["timestamp"], "yesterday");
    }

    #[test]
    fn what_is_too_deep_or_too_large_does_no_harm() {
        let deep = format!(
            r#"{{"callType":7,"clientName":"A","customFields":{}1{}}}"#,
            r#"{"a":"#.repeat(100),
            "}".repeat(100)
        );
        assert_eq!(name(&claims(&[("X-Customer-Data", &deep)])), Some("A"));
        let large = format!(r#"{{"callType":"w","clientName":"{}"}}"#, "я".repeat(MAX_CUSTOMER_DATA_BYTES));
        assert_eq!(claims(&[("X-Customer-Data", &large)]), Claims::default());
        let endless = "{\"a\":".repeat(10_000);
        assert_eq!(claims(&[("X-Customer-Data", &endless)]), Claims::default());
    }

    #[test]
    fn an_applications_own_data_is_told_from_customer_data() {
        for (object, is) in [
            (json!({"orderId": 7}), false),
            (json!({}), false),
            (json!({"clientId": null, "callType": ""}), false),
            (json!({"callType": "webcall"}), true),
            (json!({"orderId": 7, "clientId": 5}), true),
        ] {
            assert_eq!(is_customer_data(object.as_object().unwrap()), is, "{object}");
        }
    }
}
