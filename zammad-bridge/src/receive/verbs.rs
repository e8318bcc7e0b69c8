//! The `tag` verb in front of an application's verbs.
//!
//! jambonz tells the headers of an INVITE once, in the `call_hook`. What a `tag` verb holds it repeats in every later
//! status event (`customerData`), so a call whose facts could not be stored brings them along again, and other receivers of
//! status events learn who is calling. A later `tag` replaces the data of an earlier one, so ours go beneath the
//! application's own in each of them.
//!
//! Verbs that are no `tag` are passed on byte for byte.

use serde_json::value::RawValue;
use serde_json::{Map, Value, json};

/// An application's verbs, with a tag or as they came.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Tagged {
    /// The verbs with our data in a `tag`.
    Verbs(Vec<u8>),
    /// Nothing was changed: the answer is empty, or it is no list of verbs. jambonz reports both as what they are.
    AsItCame,
}

/// Puts `{"verb":"tag","data":…}` in front of the verbs in `answer`; where the application has a `tag` of its own, `data`
/// goes into that one, and its keys win.
///
/// An answer that holds no verb stays as it is: jambonz reports it as "no application provided", which a `tag` would hide.
#[must_use]
pub fn tagged(answer: &[u8], data: &Map<String, Value>) -> Tagged {
    let Ok(verbs) = serde_json::from_slice::<Vec<&RawValue>>(answer) else { return Tagged::AsItCame };
    if verbs.is_empty() || data.is_empty() {
        return Tagged::AsItCame;
    }
    let mut out = Vec::with_capacity(answer.len() + 512);
    out.push(b'[');
    for (index, verb) in verbs.iter().enumerate() {
        let merged = merged_tag(verb.get(), data);
        if index == 0 {
            if merged.is_none() {
                out.extend_from_slice(json!({"verb": "tag", "data": data}).to_string().as_bytes());
                out.push(b',');
            }
        } else {
            out.push(b',');
        }
        match merged {
            Some(tag) => out.extend_from_slice(tag.to_string().as_bytes()),
            None => out.extend_from_slice(verb.get().as_bytes()),
        }
    }
    out.push(b']');
    Tagged::Verbs(out)
}

/// The verb with `data` beneath its own, if it is a `tag`: `{"verb":"tag","data":{…}}`, or `{"tag":{"data":{…}}}`, which
/// jambonz takes as well.
fn merged_tag(verb: &str, data: &Map<String, Value>) -> Option<Value> {
    // Most verbs are none: no need to read them whole.
    if !verb.contains("tag") {
        return None;
    }
    let mut verb: Value = serde_json::from_str(verb).ok()?;
    let object = verb.as_object_mut()?;
    let tag = match object.get("verb") {
        Some(name) => (name == "tag").then_some(object)?,
        None if object.len() == 1 => object.get_mut("tag")?.as_object_mut()?,
        None => return None,
    };
    let own = tag.get_mut("data")?.as_object_mut()?;
    let mut merged = data.clone();
    merged.extend(std::mem::take(own));
    *own = merged;
    Some(verb)
}

/// Whether `text` is what jambonz takes for verbs: a JSON array of objects, not empty.
///
/// # Errors
///
/// What is wrong and where, for whoever wrote the file.
pub fn check_verbs(text: &str) -> Result<(), String> {
    let value: Value = serde_json::from_str(text)
        .map_err(|error| format!("line {}, column {} is not JSON", error.line(), error.column()))?;
    let Value::Array(verbs) = value else {
        return Err("it is not a JSON array of verbs, [{\"verb\":…}, …]".to_owned());
    };
    if verbs.is_empty() {
        return Err("it holds no verb, so jambonz would end the call with 'no application provided'".to_owned());
    }
    for (index, verb) in verbs.iter().enumerate() {
        let is_verb =
            verb.as_object().is_some_and(|verb| verb.get("verb").map_or(verb.len() == 1, |name| name.is_string()));
        if !is_verb {
            return Err(format!("its item {} is no verb such as {{\"verb\":\"say\",\"text\":\"…\"}}", index + 1));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn data(value: &Value) -> Map<String, Value> {
        value.as_object().unwrap().clone()
    }

    #[test]
    fn a_table_of_answers() {
        let ours = data(&json!({"clientId": "7", "tag": "kqzmwbtr"}));
        let front = r#"{"verb":"tag","data":{"clientId":"7","tag":"kqzmwbtr"}}"#;
        let cases: &[(&str, &str, Option<String>)] = &[
            ("empty body", "", None),
            ("no verbs", " [ ] ", None),
            ("an object", r#"{"verb":"hangup"}"#, None),
            ("text", "Not Found", None),
            ("cut short", r#"[{"verb":"say""#, None),
            ("null", "null", None),
            (
                "numbers, escapes and blanks of other verbs stay byte for byte",
                "[ {\"verb\" : \"say\",\"text\":\"\\u0416\", \"loop\":1e2, \"x\":123456789012345678901234567890} ]",
                Some(format!(
                    "[{front},{{\"verb\" : \"say\",\"text\":\"\\u0416\", \"loop\":1e2, \"x\":123456789012345678901234567890}}]"
                )),
            ),
            (
                "a tag in front is merged, its keys win",
                r#"[{"verb":"tag","data":{"orderId":7,"clientId":"theirs"}},{"verb":"hangup"}]"#,
                Some(
                    r#"[{"verb":"tag","data":{"clientId":"theirs","tag":"kqzmwbtr","orderId":7}},{"verb":"hangup"}]"#
                        .to_owned(),
                ),
            ),
            (
                "a later tag would replace ours, so it gets them too",
                r#"[{"verb":"answer"},{"verb":"tag","data":{"a":1}},{"verb":"hangup"}]"#,
                Some(format!(
                    r#"[{front},{{"verb":"answer"}},{{"verb":"tag","data":{{"clientId":"7","tag":"kqzmwbtr","a":1}}}},{{"verb":"hangup"}}]"#
                )),
            ),
            (
                "the short form",
                r#"[{"tag":{"data":{"a":1}}},{"hangup":{}}]"#,
                Some(r#"[{"tag":{"data":{"clientId":"7","tag":"kqzmwbtr","a":1}}},{"hangup":{}}]"#.to_owned()),
            ),
            (
                "what only looks like a tag",
                r#"[{"verb":"say","text":"tag"},{"verb":"dial","tag":{"a":1}},{"verb":"tag","data":"x"},{"verb":"tag"},7]"#,
                Some(format!(
                    r#"[{front},{{"verb":"say","text":"tag"}},{{"verb":"dial","tag":{{"a":1}}}},{{"verb":"tag","data":"x"}},{{"verb":"tag"}},7]"#
                )),
            ),
        ];
        for (what, answer, expected) in cases {
            let found = match tagged(answer.as_bytes(), &ours) {
                Tagged::Verbs(verbs) => Some(String::from_utf8(verbs).unwrap()),
                Tagged::AsItCame => None,
            };
            assert_eq!(&found, expected, "{what}");
        }
        assert_eq!(tagged(br#"[{"verb":"hangup"}]"#, &Map::new()), Tagged::AsItCame);
        assert_eq!(tagged(b"[\"\xff\"]", &ours), Tagged::AsItCame);
    }

    #[test]
    fn a_file_of_verbs_is_checked() {
        for good in [r#"[{"verb":"hangup"}]"#, "[\n {\"say\":{\"text\":\"Привет\"}}\n]"] {
            check_verbs(good).unwrap();
        }
        for (bad, words) in [
            ("", "line 1, column 0 is not JSON"),
            ("[\n{\"verb\":}]", "line 2, column 9"),
            (r#"{"verb":"hangup"}"#, "not a JSON array"),
            ("[]", "no verb"),
            (r#"[{"verb":"hangup"},{"verb":7}]"#, "item 2"),
            (r#"[{"text":"a","loop":1}]"#, "item 1"),
        ] {
            let problem = check_verbs(bad).unwrap_err();
            assert!(problem.contains(words), "{bad}: {problem}");
        }
    }
}
