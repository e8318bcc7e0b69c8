//! What is wrong with `CUSTOMER_DATA`, in both languages.

use codex_core_sip::CustomerDataProblem;

use crate::text::{Text, bilingual};

/// Where the problem is, and what it is.
pub(super) fn text(line: usize, column: usize, field: Option<&str>, problem: &CustomerDataProblem) -> Text {
    let of_field = |word: &str| field.map(|field| format!(", {word} `{field}`")).unwrap_or_default();
    bilingual!(
        format!("line {line}, column {column}{}: {problem}", of_field("field")),
        format!("строка {line}, столбец {column}{}: {}", of_field("поле"), russian(problem)),
    )
}

/// A page takes the English words, and should not have to load these.
#[cfg(not(feature = "russian"))]
fn russian(problem: &CustomerDataProblem) -> String {
    format!("«{problem}»")
}

#[cfg(feature = "russian")]
fn russian(problem: &CustomerDataProblem) -> String {
    use CustomerDataProblem as Problem;
    match problem {
        Problem::Nothing => "пусто; нужен объект JSON, например {\"callType\":\"webcall\"}".to_owned(),
        Problem::Unexpected { wanted, found } => format!("здесь ожидается {}, а {}", words::wanted(*wanted), words::found(*found)),
        Problem::TooDeep(limit) => format!("объекты и массивы вложены глубже {limit} уровней"),
        Problem::KeyTwice => "этот ключ встречается дважды".to_owned(),
        Problem::UnclosedText => "у строки, которая здесь начинается, нет закрывающей кавычки `\"`".to_owned(),
        Problem::ControlCharacter => {
            "в строке управляющий символ; JSON требует записывать его как `\\n` и подобно".to_owned()
        }
        Problem::WrongEscape => {
            "в строке последовательность с `\\`, которой нет в JSON, или половина суррогатной пары".to_owned()
        }
        Problem::WrongNumber => "это не число в записи JSON".to_owned(),
        Problem::NumberTooLarge => {
            "число слишком велико или в нём слишком много цифр, точно его не сохранить; запишите его строкой в двойных кавычках".to_owned()
        }
        Problem::NumberTooSmall => {
            "число так мало, что неотличимо от 0; запишите его строкой в двойных кавычках".to_owned()
        }
        Problem::WrongType { found, wanted } => {
            let leave_out = if *found == codex_core_sip::error::JsonType::Null { "; если значения нет, уберите поле" } else { "" };
            format!("это {}, а нужно: {}{leave_out}", words::of_type(*found), words::of_type(*wanted))
        }
        Problem::EmptyCallType => "пусто; укажите вид звонка, например webcall".to_owned(),
        Problem::NoCallType => {
            "нет обязательного поля callType; добавьте, например, \"callType\":\"webcall\"".to_owned()
        }
        Problem::WrongTimestamp => "нужны дата и время по RFC 3339, например 2025-11-14T12:00:00Z".to_owned(),
        Problem::KnownFieldAmongExtra => "известному полю не место среди дополнительных".to_owned(),
        other => format!("«{other}»"),
    }
}

#[cfg(feature = "russian")]
mod words {
    use codex_core_sip::error::{JsonFound, JsonType, JsonWanted};

    pub(super) fn wanted(wanted: JsonWanted) -> &'static str {
        match wanted {
            JsonWanted::Object => "объект `{…}`",
            JsonWanted::Key => "ключ в двойных кавычках",
            JsonWanted::Colon => "`:`",
            JsonWanted::CommaOrBrace => "`,` или `}`",
            JsonWanted::CommaOrBracket => "`,` или `]`",
            JsonWanted::End => "конец",
            _ => "значение",
        }
    }

    pub(super) fn found(found: JsonFound) -> String {
        match found {
            JsonFound::End => "текст кончается".to_owned(),
            JsonFound::Text => "начинается строка".to_owned(),
            JsonFound::Object => "начинается объект".to_owned(),
            JsonFound::Array => "начинается массив".to_owned(),
            JsonFound::Sign(sign) => format!("стоит `{sign}`"),
            JsonFound::SingleQuote => "стоит `\'` (в JSON кавычки двойные)".to_owned(),
            JsonFound::ByteOrderMark => "стоит метка порядка байтов (BOM)".to_owned(),
            _ => "стоит что-то другое".to_owned(),
        }
    }

    pub(super) fn of_type(of: JsonType) -> &'static str {
        match of {
            JsonType::Null => "null",
            JsonType::Boolean => "логическое значение",
            JsonType::Number => "число",
            JsonType::Text => "строка в двойных кавычках",
            JsonType::Array => "массив",
            JsonType::Object => "объект `{…}`",
        }
    }
}

#[cfg(all(test, feature = "russian"))]
mod tests {
    use codex_core_sip::Error;
    use codex_core_sip::metadata::CustomerData;

    use super::*;

    /// Every way in which a text is no customer data.
    #[test]
    fn every_problem_is_told_in_russian_words() {
        let deep = format!("{{\"callType\":\"w\",\"a\":{}", "[".repeat(80));
        for (json, words) in [
            ("", "пусто; нужен объект"),
            ("[]", "ожидается объект `{…}`, а начинается массив"),
            ("{", "ожидается ключ в двойных кавычках, а текст кончается"),
            ("{\'a\':1}", "а стоит `\'` (в JSON кавычки двойные)"),
            ("\u{feff}{}", "BOM"),
            ("{\"a\" 1}", "ожидается `:`"),
            ("{\"a\":}", "ожидается значение, а стоит `}`"),
            ("{\"a\":x}", "что-то другое"),
            ("{\"a\":1 \"b\"}", "ожидается `,` или `}`, а начинается строка"),
            ("{\"a\":[1 {}]}", "ожидается `,` или `]`, а начинается объект"),
            ("{\"callType\":\"w\"} x", "ожидается конец"),
            (&deep, "вложены глубже 64"),
            ("{\"callType\":\"w\",\"callType\":\"w\"}", "встречается дважды"),
            ("{\"callType\":\"w", "нет закрывающей кавычки"),
            ("{\"callType\":\"a\nb\"}", "управляющий символ"),
            ("{\"callType\":\"\\x\"}", "которой нет в JSON"),
            ("{\"a\":01}", "это не число"),
            ("{\"a\":1e999}", "слишком велико"),
            ("{\"a\":1e-999}", "неотличимо от 0"),
            ("{\"callType\":null}", "это null, а нужно: строка в двойных кавычках; если значения нет"),
            ("{\"callType\":true}", "это логическое значение"),
            ("{\"callType\":7}", "это число"),
            ("{\"location\":\"RU\"}", "это строка в двойных кавычках, а нужно: объект"),
            ("{\"callType\":\"\"}", "укажите вид звонка"),
            ("{}", "нет обязательного поля callType"),
            ("{\"callType\":\"w\",\"timestamp\":\"x\"}", "RFC 3339"),
        ] {
            let Err(Error::CustomerData { line, column, field, problem, .. }) = CustomerData::from_json("k", json)
            else {
                panic!("{json} is right");
            };
            let text = text(line, column, field.as_deref(), &problem);
            let told = text.in_locale(codex_core_sip::Locale::Ru);
            assert!(told.contains(words), "{json}: {told}");
            // What is quoted in English would be in « ».
            assert!(!told.contains('«'), "{json}: {told}");
        }
    }
}
