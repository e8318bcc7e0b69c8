//! Writes JSON arrays: what crosses to JavaScript.

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

    /// A text.
    pub(crate) fn text(&mut self, text: &str) {
        // A text cannot fail to be written.
        self.raw(&serde_json::to_string(text).unwrap_or_default());
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
        if !self.text.is_empty() && !self.text.ends_with('[') {
            self.text.push(',');
        }
        self.text.push_str(json);
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
        assert_eq!(json.into_text(), r#"[null,["a\"[\r\n\u0001я",7],[],true,{}]"#);
    }
}
