//! The headers that carry call metadata, written and read.

use super::application::ApplicationName;
use super::call_tag::{CALL_TAG_CHARS, CallTag};
use super::customer_data::CustomerData;
use super::display_names::{DisplayNames, readable};
use super::language::LanguageTag;
use super::user_to_user::{self, USER_TO_USER, UserToUserEncoding};
use crate::error::{CustomerDataProblem, Error, Result};
use crate::header_field::{HeaderField, HeaderName, HeaderValue};

/// The header that carries customer data as compact JSON in raw UTF-8.
pub const X_CUSTOMER_DATA: &str = "X-Customer-Data";
/// The header that carries how the caller is shown.
pub const X_DISPLAY_FROM: &str = "X-Display-From";
/// The header that carries how the callee is shown.
pub const X_DISPLAY_TO: &str = "X-Display-To";
/// The header that carries the call's tag.
pub const X_CALL_TAG: &str = "X-Call-Tag";
/// The header that carries the application's name.
pub const X_APPLICATION_NAME: &str = "X-Application-Name";
/// The header that carries the call's language.
pub const X_LANG: &str = "X-Lang";

/// All headers that carry call metadata, as INVITE has them.
pub const METADATA_HEADERS: [&str; 7] =
    [X_CUSTOMER_DATA, USER_TO_USER, X_DISPLAY_FROM, X_DISPLAY_TO, X_CALL_TAG, X_APPLICATION_NAME, X_LANG];

/// How many problems of received headers are kept.
const MAX_PROBLEMS: usize = 16;

/// What the metadata headers of an INVITE say.
#[derive(Debug, Clone, Copy)]
pub struct CallHeaders<'a> {
    /// Who is calling and why.
    pub customer_data: Option<&'a CustomerData>,
    /// How `User-to-User` is written.
    pub user_to_user_encoding: UserToUserEncoding,
    /// What the values of `X-Customer-Data` and `User-to-User` may take together, in bytes.
    pub customer_data_limit_bytes: usize,
    /// How the parties are shown.
    pub display_names: &'a DisplayNames,
    /// The call's tag.
    pub tag: &'a CallTag,
    /// The application's name, if it is known.
    pub application: Option<&'a ApplicationName>,
    /// The call's language.
    pub language: &'a LanguageTag,
}

impl CallHeaders<'_> {
    /// The headers: `X-Customer-Data`, `User-to-User`, `X-Display-From`, `X-Display-To`, `X-Call-Tag`,
    /// `X-Application-Name`, `X-Lang`, in this order, without those that have nothing to say.
    ///
    /// # Errors
    ///
    /// [`Error::CustomerData`] if the data is not valid, [`Error::CustomerDataTooLarge`] if both values together are
    /// larger than the limit.
    pub fn to_fields(&self) -> Result<Vec<HeaderField>> {
        let mut fields = Vec::with_capacity(METADATA_HEADERS.len());
        let mut push = |name: &'static str, value: HeaderValue| {
            if !value.as_str().is_empty() {
                fields.push(HeaderField { name: HeaderName::from_static(name), value });
            }
        };
        if let Some(data) = self.customer_data {
            data.validate()?;
            let json = data.to_json();
            let user_to_user = self.user_to_user_encoding.encode(json.as_bytes());
            let size_bytes = json.len() + user_to_user.as_ref().map_or(0, |value| value.as_str().len());
            if size_bytes > self.customer_data_limit_bytes {
                return Err(Error::CustomerDataTooLarge { size_bytes, limit_bytes: self.customer_data_limit_bytes });
            }
            push(X_CUSTOMER_DATA, HeaderValue::new(X_CUSTOMER_DATA, json)?);
            if let Some(value) = user_to_user {
                push(USER_TO_USER, value);
            }
        }
        push(X_DISPLAY_FROM, HeaderValue::sanitized(&self.display_names.from));
        push(X_DISPLAY_TO, HeaderValue::sanitized(&self.display_names.to));
        push(X_CALL_TAG, HeaderValue::sanitized(self.tag.as_str()));
        if let Some(name) = self.application {
            push(X_APPLICATION_NAME, HeaderValue::sanitized(name.as_str()));
        }
        push(X_LANG, HeaderValue::sanitized(self.language.as_str()));
        Ok(fields)
    }
}

/// What the metadata headers of a received INVITE (or of a webhook that repeats them) say.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct ReceivedMetadata {
    /// The caller's data: the first `X-Customer-Data` that is right, else the first `User-to-User`.
    pub customer_data: Option<CustomerData>,
    /// `X-Call-Tag`.
    pub tag: Option<CallTag>,
    /// `X-Application-Name`.
    pub application: Option<ApplicationName>,
    /// `X-Display-From`, control characters replaced, cut to 128 characters.
    pub display_from: Option<String>,
    /// `X-Display-To`, likewise.
    pub display_to: Option<String>,
    /// `X-Lang`.
    pub language: Option<LanguageTag>,
    /// What could not be read, each naming its header; at most 16. A call is never refused for these.
    pub problems: Vec<Error>,
}

impl ReceivedMetadata {
    /// Reads the headers, whose names are compared without regard to case. Of a header that is there more than once the
    /// first counts that can be read.
    pub fn from_headers<N: AsRef<str>, V: AsRef<str>>(headers: impl IntoIterator<Item = (N, V)>) -> Self {
        let mut received = Self::default();
        let mut by_user_to_user = None;
        for (name, value) in headers {
            let (name, value) = (name.as_ref(), value.as_ref().trim());
            let is = |header: &str| name.eq_ignore_ascii_case(header);
            if is(X_CUSTOMER_DATA) {
                let data = || CustomerData::from_json(X_CUSTOMER_DATA, value);
                take(&mut received.customer_data, &mut received.problems, data);
            } else if is(USER_TO_USER) {
                let data = || first_customer_data(value);
                take(&mut by_user_to_user, &mut received.problems, data);
            } else if is(X_DISPLAY_FROM) {
                received.display_from = received.display_from.or_else(|| readable(value));
            } else if is(X_DISPLAY_TO) {
                received.display_to = received.display_to.or_else(|| readable(value));
            } else if is(X_CALL_TAG) {
                take(&mut received.tag, &mut received.problems, || received_tag(value));
            } else if is(X_APPLICATION_NAME) {
                let name = || ApplicationName::parse(X_APPLICATION_NAME, value);
                take(&mut received.application, &mut received.problems, name);
            } else if is(X_LANG) {
                take(&mut received.language, &mut received.problems, || LanguageTag::parse(X_LANG, value));
            }
        }
        received.customer_data = received.customer_data.or(by_user_to_user);
        received
    }
}

fn take<T>(place: &mut Option<T>, problems: &mut Vec<Error>, read: impl FnOnce() -> Result<T>) {
    if place.is_none() {
        match read() {
            Ok(value) => *place = Some(value),
            Err(problem) if problems.len() < MAX_PROBLEMS => problems.push(problem),
            Err(_) => {}
        }
    }
}

/// The first of the comma-joined values that is customer data; others may stand there for other purposes (RFC 7433 §4).
fn first_customer_data(value: &str) -> Result<CustomerData> {
    let mut first_problem = None;
    for content in user_to_user::contents(value) {
        let data = content.and_then(|bytes| {
            let text = core::str::from_utf8(&bytes).map_err(|e| Error::CustomerData {
                key: USER_TO_USER.to_owned(),
                line: 1,
                column: e.valid_up_to() + 1,
                field: None,
                problem: CustomerDataProblem::Header("its content is not UTF-8".to_owned()),
            })?;
            CustomerData::from_json(USER_TO_USER, text)
        });
        match data {
            Ok(data) => return Ok(data),
            Err(problem) => {
                first_problem.get_or_insert(problem);
            }
        }
    }
    match first_problem {
        Some(problem) => Err(problem),
        None => CustomerData::from_json(USER_TO_USER, ""),
    }
}

fn received_tag(value: &str) -> Result<CallTag> {
    if value.is_empty() || value.chars().nth(CALL_TAG_CHARS).is_some() {
        let problem = "it is not 1 to 8 characters, the beginning of a Call-ID";
        return Err(super::application::wrong_setting(X_CALL_TAG, value, problem, "kqzmwbtr"));
    }
    Ok(CallTag::from_call_id(value))
}

#[cfg(test)]
mod tests {
    use super::*;

    const JSON: &str = r#"{"clientId":"user_12345","clientName":"Иван Иванов","callType":"webcall"}"#;

    fn fields(
        limit: usize,
        encoding: UserToUserEncoding,
        application: Option<&ApplicationName>,
    ) -> Result<Vec<(String, String)>> {
        let data = CustomerData::from_json("CUSTOMER_DATA", JSON).unwrap();
        let tag = CallTag::from_call_id("kqzmwbtr-1");
        let fields = CallHeaders {
            customer_data: Some(&data),
            user_to_user_encoding: encoding,
            customer_data_limit_bytes: limit,
            display_names: &DisplayNames::outgoing(&tag, application, Some("app-0397dc5f-2f8f-4778-8499-0af934dd1196")),
            tag: &tag,
            application,
            language: &LanguageTag::RU,
        }
        .to_fields()?;
        Ok(fields.into_iter().map(|f| (f.name.as_str().to_owned(), f.value.as_str().to_owned())).collect())
    }

    fn pairs(list: &[(&str, &str)]) -> Vec<(String, String)> {
        list.iter().map(|(n, v)| ((*n).to_owned(), (*v).to_owned())).collect()
    }

    #[test]
    fn an_invite_carries_what_the_design_says() {
        let voicebot = "voicebot".parse().unwrap();
        let hex: String = JSON.bytes().map(|b| format!("{b:02x}")).collect::<String>() + ";encoding=hex";
        assert_eq!(
            fields(4096, UserToUserEncoding::Hex, Some(&voicebot)).unwrap(),
            pairs(&[
                ("X-Customer-Data", JSON),
                ("User-to-User", &hex),
                ("X-Display-From", "webcall:kqzmwbtr → voicebot"),
                ("X-Display-To", "voicebot"),
                ("X-Call-Tag", "kqzmwbtr"),
                ("X-Application-Name", "voicebot"),
                ("X-Lang", "ru"),
            ])
        );
        assert_eq!(
            fields(4096, UserToUserEncoding::Off, None).unwrap(),
            pairs(&[
                ("X-Customer-Data", JSON),
                ("X-Display-From", "webcall:kqzmwbtr"),
                ("X-Display-To", "voicebot"),
                ("X-Call-Tag", "kqzmwbtr"),
                ("X-Lang", "ru"),
            ])
        );
    }

    #[test]
    fn both_values_together_are_held_to_the_limit() {
        let both = JSON.len() + JSON.len() * 2 + ";encoding=hex".len();
        assert!(fields(both, UserToUserEncoding::Hex, None).is_ok());
        assert_eq!(
            fields(both - 1, UserToUserEncoding::Hex, None).unwrap_err(),
            Error::CustomerDataTooLarge { size_bytes: both, limit_bytes: both - 1 }
        );
        assert!(fields(JSON.len(), UserToUserEncoding::Off, None).is_ok());
        assert!(fields(JSON.len() - 1, UserToUserEncoding::Off, None).is_err());
    }

    #[test]
    fn data_that_is_not_valid_is_not_sent() {
        let tag = CallTag::from_call_id("a");
        let headers = CallHeaders {
            customer_data: Some(&CustomerData::new(" ")),
            user_to_user_encoding: UserToUserEncoding::Hex,
            customer_data_limit_bytes: 4096,
            display_names: &DisplayNames::outgoing(&tag, None, None),
            tag: &tag,
            application: None,
            language: &LanguageTag::EN,
        };
        assert!(
            matches!(headers.to_fields(), Err(Error::CustomerData { field: Some(field), .. }) if field == "callType")
        );
    }

    #[test]
    fn what_was_sent_is_read_whatever_the_case_of_names() {
        let voicebot: ApplicationName = "voicebot".parse().unwrap();
        let sent = fields(4096, UserToUserEncoding::Base64, Some(&voicebot)).unwrap();
        let received = ReceivedMetadata::from_headers(sent.iter().map(|(n, v)| (n.to_lowercase(), v)));
        assert_eq!(
            received,
            ReceivedMetadata {
                customer_data: Some(CustomerData::from_json("", JSON).unwrap()),
                tag: Some(CallTag::from_call_id("kqzmwbtr")),
                application: Some(voicebot),
                display_from: Some("webcall:kqzmwbtr → voicebot".to_owned()),
                display_to: Some("voicebot".to_owned()),
                language: Some(LanguageTag::RU),
                problems: Vec::new(),
            }
        );
    }

    #[test]
    fn what_is_wrong_is_a_problem_and_the_next_source_is_taken() {
        let user_to_user = "00, 7b7d, e30=;encoding=base64, 7b2263616c6c54797065223a2277227d;purpose=x";
        let received = ReceivedMetadata::from_headers([
            ("User-to-User", user_to_user),
            ("X-Customer-Data", r#"{"callType":7}"#),
            ("X-Call-Tag", "waytoolong"),
            ("X-Call-Tag", ""),
            ("X-Application-Name", ""),
            ("X-Lang", "ru_RU"),
            ("X-Lang", "ru-RU"),
            ("X-Display-From", "\r\n"),
            ("X-Display-From", "a\rb"),
            ("Subject", "x"),
        ]);
        assert_eq!(received.customer_data, Some(CustomerData::new("w")));
        assert_eq!((received.tag, received.application), (None, None));
        assert_eq!(received.language.unwrap().as_str(), "ru-RU");
        assert_eq!(received.display_from.as_deref(), Some("a b"));
        let problems: Vec<String> = received.problems.iter().map(ToString::to_string).collect();
        assert_eq!(problems.len(), 5, "{problems:?}");
        for (problem, header) in
            problems.iter().zip(["X-Customer-Data", "X-Call-Tag", "X-Call-Tag", "X-Application-Name", "X-Lang"])
        {
            assert!(problem.contains(header), "{problem}");
        }
        let wins = ReceivedMetadata::from_headers([("User-to-User", user_to_user), ("X-Customer-Data", JSON)]);
        assert_eq!(wins.customer_data.unwrap().client_name.as_deref(), Some("Иван Иванов"));
    }

    #[test]
    fn problems_are_bounded() {
        let received = ReceivedMetadata::from_headers((0..1000).map(|_| ("User-to-User", "zz")));
        assert_eq!(received.problems.len(), MAX_PROBLEMS);
        for value in ["", "ff", "zz"] {
            let received = ReceivedMetadata::from_headers([("User-to-User", value)]);
            assert_eq!((received.customer_data, received.problems.len()), (None, 1), "{value}");
        }
    }
}
