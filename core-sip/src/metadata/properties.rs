//! Properties that hold for whatever comes in.

use proptest::prelude::*;
use proptest::test_runner::RngSeed;
use serde_json::{Map, Value};

use super::*;
use crate::header_field::HeaderField;

/// The same cases in every run: a suite that fails must fail again.
fn deterministic() -> ProptestConfig {
    ProptestConfig {
        cases: 256,
        rng_seed: RngSeed::Fixed(0x00c0_de13),
        failure_persistence: None,
        ..ProptestConfig::default()
    }
}

/// Texts in which everything occurs that has ever broken a header.
fn text() -> impl Strategy<Value = String> {
    let piece = prop_oneof![
        any::<char>().prop_map(String::from),
        "[а-яёА-ЯЁ ]{0,8}",
        "[\\x00-\\x1f\\x7f-\\x9f]{1,3}",
        proptest::sample::select(vec![
            "\"",
            "\\",
            "\r\n",
            "\0",
            "👩‍👩‍👧",
            "\u{2028}",
            "%0d%0a",
            "\\u0000",
            ";",
            ",",
            "\u{feff}",
            "é",
            " ",
            "\r\nX-CID: 1",
            "Иван",
        ])
        .prop_map(String::from),
        "[ -~]{0,12}",
    ];
    proptest::collection::vec(piece, 0..6).prop_map(|pieces| pieces.concat())
}

fn value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<u64>().prop_map(Value::from),
        (proptest::num::f64::NORMAL | proptest::num::f64::SUBNORMAL | proptest::num::f64::ZERO).prop_map(Value::from),
        text().prop_map(Value::String),
    ];
    leaf.prop_recursive(4, 24, 5, |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..5).prop_map(Value::Array),
            proptest::collection::vec((text(), inner), 0..5)
                .prop_map(|pairs| Value::Object(pairs.into_iter().collect())),
        ]
    })
}

fn object() -> impl Strategy<Value = Map<String, Value>> {
    proptest::collection::vec((text(), value()), 0..4).prop_map(|pairs| pairs.into_iter().collect())
}

/// The members of any customer data, in any order.
fn members() -> impl Strategy<Value = Vec<(String, Value)>> {
    fn named(
        name: &'static str,
        value: impl Strategy<Value = Value>,
    ) -> impl Strategy<Value = Option<(String, Value)>> {
        proptest::option::of(value.prop_map(move |value| (name.to_owned(), value)))
    }
    let texts = || text().prop_map(Value::String);
    let location = (
        named("country", texts()),
        named("city", texts()),
        named("region", texts()),
        text().prop_map(|key| format!("x{key}")),
        value(),
    )
        .prop_map(|(country, city, region, key, other)| {
            let mut map: Map<String, Value> = [country, city, region].into_iter().flatten().collect();
            map.insert(key, other);
            Value::Object(map)
        });
    let call_type = text().prop_map(|rest| Some(("callType".to_owned(), Value::String(format!("w{rest}")))));
    let timestamp = Just(Value::from("2025-11-14T12:00:00.5+03:00"));
    (
        (named("clientId", texts()), named("clientName", texts()), call_type, named("sessionId", texts())),
        (named("timestamp", timestamp), named("userAgent", texts()), named("location", location)),
        named("customFields", object().prop_map(Value::Object)),
        object(),
    )
        .prop_map(|((a, b, c, d), (e, f, g), h, extra)| {
            let mut members: Map<String, Value> =
                extra.into_iter().map(|(key, value)| (format!("x{key}"), value)).collect();
            members.extend([a, b, c, d, e, f, g, h].into_iter().flatten());
            members.into_iter().collect()
        })
        .prop_shuffle()
}

fn customer_data() -> impl Strategy<Value = (String, CustomerData)> {
    members().prop_map(|members| {
        let json = Value::Object(members.into_iter().collect()).to_string();
        let data = CustomerData::from_json("CUSTOMER_DATA", &json).expect("the strategy makes valid data");
        (json, data)
    })
}

fn encoding() -> impl Strategy<Value = UserToUserEncoding> {
    proptest::sample::select(vec![UserToUserEncoding::Hex, UserToUserEncoding::Base64])
}

fn assert_safe(field: &HeaderField) -> Result<(), TestCaseError> {
    for text in [field.name.as_str(), field.value.as_str()] {
        prop_assert!(!text.contains(['\r', '\n', '\0']), "{field:?}");
    }
    Ok(())
}

/// The names that nobody may set, as `facts` and RFC 3261 list them, written down a second time on purpose.
const RESERVED: [&str; 35] = [
    "authorization",
    "max-forwards",
    "record-route",
    "session-expires",
    "x",
    "x-application-sid",
    "x-authenticated-user",
    "x-account-sid",
    "x-cid",
    "x-forwarded-for",
    "x-retain-call-sid",
    "x-voip-carrier-sid",
    "via",
    "v",
    "from",
    "f",
    "to",
    "t",
    "call-id",
    "i",
    "cseq",
    "contact",
    "m",
    "route",
    "content-length",
    "l",
    "content-type",
    "c",
    "x-customer-data",
    "user-to-user",
    "x-display-from",
    "x-display-to",
    "x-call-tag",
    "x-application-name",
    "x-lang",
];

proptest! {
    #![proptest_config(deterministic())]

    #[test]
    fn customer_data_survives_the_trip_through_headers_byte_for_byte((json, data) in customer_data(), encoding in encoding()) {
        // As it was written by the customer's program, but for the escape of 0x7f.
        prop_assert_eq!(data.to_json().replace("\\u007f", "\u{7f}"), json);
        let tag = CallTag::from_call_id("kqzmwbtr-1");
        let fields = CallHeaders {
            customer_data: Some(&data),
            user_to_user_encoding: encoding,
            customer_data_limit_bytes: usize::MAX,
            display_names: &DisplayNames::outgoing(&tag, None, None),
            tag: &tag,
            application: None,
            language: &LanguageTag::RU,
        }
        .to_fields()?;
        for (carrier, other) in [(X_CUSTOMER_DATA, USER_TO_USER), (USER_TO_USER, X_CUSTOMER_DATA)] {
            let received = ReceivedMetadata::from_headers(
                fields.iter().filter(|field| field.name != *other).map(|field| (field.name.as_str(), field.value.as_str())),
            );
            prop_assert_eq!(&received.problems, &[]);
            let received = received.customer_data.expect(carrier);
            prop_assert_eq!(&received, &data);
            prop_assert_eq!(received.to_json(), data.to_json());
            prop_assert_eq!(received.client_name.map(String::into_bytes), data.client_name.clone().map(String::into_bytes));
        }
        for field in &fields {
            assert_safe(field)?;
        }
    }

    #[test]
    fn no_input_makes_an_unsafe_metadata_header(
        call_id in text(), application in text(), language in text(), user in text(), (_, data) in customer_data(), raw_from in text(),
    ) {
        let tag = CallTag::from_call_id(&call_id);
        let application = application.parse().ok();
        let language = language.parse().unwrap_or(LanguageTag::EN);
        let mut display_names = DisplayNames::outgoing(&tag, application.as_ref(), Some(&user));
        prop_assert!(!display_names.to.is_empty() && !display_names.to.contains(char::is_control));
        display_names.from = raw_from;
        let fields = CallHeaders {
            customer_data: Some(&data),
            user_to_user_encoding: UserToUserEncoding::Hex,
            customer_data_limit_bytes: usize::MAX,
            display_names: &display_names,
            tag: &tag,
            application: application.as_ref(),
            language: &language,
        }
        .to_fields()?;
        for field in &fields {
            assert_safe(field)?;
            prop_assert!(METADATA_HEADERS.contains(&field.name.as_str()), "{field:?}");
        }
    }

    #[test]
    fn no_extra_header_is_unsafe_or_reserved(
        reserved in proptest::sample::select(RESERVED.to_vec()),
        capitals in any::<u64>(),
        before in "[ \\t\\r\\n\\x00]{0,2}",
        between in "[ \\t\\r\\n\\x00]{0,2}",
        name in prop_oneof![text(), "[A-Za-z-]{1,12}", "X-[A-Z]{1,3}"],
        value in text(),
    ) {
        let reserved: String = reserved.chars().enumerate()
            .map(|(i, c)| if capitals >> (i % 64) & 1 == 1 { c.to_ascii_uppercase() } else { c }).collect();
        for name in [format!("{before}{reserved}{between}"), name] {
            for field in [parse_extra_header(&format!("{name}:{value}")), extra_header(&name, &value)].into_iter().flatten() {
                assert_safe(&field)?;
                let lower = field.name.as_str().to_lowercase();
                prop_assert!(!RESERVED.contains(&lower.as_str()), "{field:?}");
            }
        }
        let smuggled = format!("X-Ok: {value}\r\n{reserved}: 1");
        prop_assert!(parse_extra_header(&smuggled).is_err());
    }

    #[test]
    fn whatever_arrives_is_read_without_a_panic(name in proptest::sample::select(METADATA_HEADERS.to_vec()), a in text(), (json, _) in customer_data(), cut in any::<proptest::sample::Index>()) {
        let cut = (0..=cut.index(json.len() + 1)).rev().find(|at| json.is_char_boundary(*at)).unwrap_or(0);
        for value in [a.as_str(), &json[..cut], &json] {
            let received = ReceivedMetadata::from_headers([(name, value)]);
            for shown in [received.display_from, received.display_to, received.tag.map(|t| t.to_string())].into_iter().flatten() {
                prop_assert!(!shown.contains(char::is_control), "{shown:?}");
            }
            if let Some(data) = received.customer_data {
                prop_assert_eq!(data.validate(), Ok(()));
            }
            for problem in received.problems {
                prop_assert!(!problem.to_string().contains(['\r', '\n', '\0']) || matches!(problem, crate::Error::Configuration { .. }), "{problem}");
            }
        }
    }

    #[test]
    fn user_to_user_gives_back_what_went_in(content in proptest::collection::vec(any::<u8>(), 0..200), encoding in encoding()) {
        let value = encoding.encode(&content).expect("not off");
        prop_assert_eq!(UserToUserEncoding::decode(value.as_str())?, content);
    }
}
