//! Writes JSON: what crosses to JavaScript.

/// A text that grows, value by value.
#[derive(Debug, Default)]
pub(crate) struct Json {
    text: String,
}

impl Json {
    /// Begins an array.
    pub(crate) fn open(&mut self) {
        self.raw("[");
    }

    /// Ends it.
    pub(crate) fn close(&mut self) {
        self.text.push(']');
    }

    /// Begins an object.
    pub(crate) fn open_object(&mut self) {
        self.raw("{");
    }

    /// A member's name; its value follows.
    pub(crate) fn key(&mut self, name: &str) {
        self.text(name);
        self.text.push(':');
    }

    /// Ends it.
    pub(crate) fn close_object(&mut self) {
        self.text.push('}');
    }

    /// A text.
    pub(crate) fn text(&mut self, text: &str) {
        self.separate();
        self.text.push('"');
        for character in text.chars() {
            match character {
                '"' | '\\' => {
                    self.text.push('\\');
                    self.text.push(character);
                }
                '\0'..='\u{1f}' => {
                    self.text.push_str("\\u00");
                    for digit in [character as u32 / 16, character as u32 % 16] {
                        self.text.extend(char::from_digit(digit, 16));
                    }
                }
                _ => self.text.push(character),
            }
        }
        self.text.push('"');
    }

    /// A number.
    pub(crate) fn number(&mut self, number: u64) {
        self.raw(&number.to_string());
    }

    /// A truth value.
    pub(crate) fn flag(&mut self, flag: bool) {
        self.raw(if flag { "true" } else { "false" });
    }

    /// Nothing.
    pub(crate) fn null(&mut self) {
        self.raw("null");
    }

    /// A value that is JSON already.
    pub(crate) fn raw(&mut self, json: &str) {
        self.separate();
        self.text.push_str(json);
    }

    fn separate(&mut self) {
        if !matches!(self.text.as_bytes().last(), None | Some(b'[' | b'{' | b':')) {
            self.text.push(',');
        }
    }

    /// What was written.
    pub(crate) fn into_text(self) -> String {
        self.text
    }
}

#[cfg(test)]
mod tests {
    use super::Json;

    #[test]
    fn values_are_parted_by_commas_and_texts_are_escaped() {
        let mut json = Json::default();
        json.open();
        json.null();
        json.open();
        json.text("a\"[\r\n\u{1}я");
        json.number(7);
        json.close();
        json.open();
        json.close();
        json.flag(true);
        json.raw("{}");
        json.close();
        assert_eq!(json.into_text(), r#"[null,["a\"[\u000d\u000a\u0001я",7],[],true,{}]"#);
    }
}
